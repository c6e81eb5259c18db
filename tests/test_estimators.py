"""The scikit-learn estimators."""

import pickle
import warnings

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_diabetes, load_iris
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import extremal
from extremal import Network, ReLUClassifier, ReLUClassifierCV, ReLURegressor, ReLURegressorCV
from extremal.estimators.rows import DistinctRows

# The checks are about the interface, and fit some eighty models each, most of them to noise: a tolerance of a few
# percent ends these fits early, and a large alpha makes their proofs short. The search over alphas is the same for
# short and long grids.
ROUGH = {"tol": 5e-2}
GRID = {"alphas": [0.3, 0.1], "cv": 2, **ROUGH}
SINGLE = [ReLURegressor(alpha=0.3, **ROUGH), ReLUClassifier(alpha=0.1, **ROUGH)]
CROSS_VALIDATED = [ReLURegressorCV(**GRID), ReLUClassifierCV(**GRID)]


def repeats(check):
    """Whether shorter checks cover it: sparse arrays, data on read-only memory, single precision."""
    name = check.func.__name__
    trains = name in ("check_regressors_train", "check_classifiers_train")
    return name == "check_estimator_sparse_matrix" or (trains and bool(check.keywords))


def checks_of(estimators):
    """scikit-learn's checks; those that only repeat a long fit are slow."""
    mark = parametrize_with_checks(estimators).mark
    names, pairs = mark.args
    cases = [pytest.param(*pair, marks=[pytest.mark.slow] * repeats(pair[1])) for pair in pairs]
    return pytest.mark.parametrize(names, cases, **mark.kwargs)


@checks_of(SINGLE)
def test_scikit_learn(estimator, check):
    run_check(estimator, check)


@pytest.mark.slow
@parametrize_with_checks(CROSS_VALIDATED)
def test_scikit_learn_cross_validated(estimator, check):
    run_check(estimator, check)


def run_check(estimator, check):
    with warnings.catch_warnings():
        # warnings about what the checks do on purpose: column vectors as targets, classes of one member, ...
        warnings.simplefilter("ignore")
        if check.func.__name__ == "check_regressor_data_not_an_array" and "alpha" in estimator.get_params():
            estimator = clone(estimator).set_params(alpha=30)  # a target of standard deviation 42
        check(estimator)


@pytest.fixture
def bumps():
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, size=(40, 2))
    return X, np.abs(X[:, 0]) - np.maximum(X[:, 1], 0) + 0.05 * rng.normal(size=40)


@pytest.fixture
def rings():
    X = np.random.default_rng(1).normal(size=(60, 2))
    return X, np.digitize(np.linalg.norm(X, axis=1), [0.8, 1.6])


def objective(model, X, y, weight):
    return model.network_.objective(X, y, beta=model.alpha * weight.sum(), sample_weight=weight)


def test_alpha_is_relative_to_the_mean_loss(bumps):
    X, y = bumps
    model = ReLURegressor(alpha=0.02, fit_intercept=False).fit(X, y)
    result = extremal.fit(X, y, beta=0.02 * len(y))
    assert model.certificate_.beta == pytest.approx(0.02 * len(y))
    assert model.certificate_.primal == pytest.approx(result.certificate.primal, rel=2e-6)
    assert model.certificate_.primal == pytest.approx(objective(model, X, y, np.ones(len(y))))


def test_certificate_belongs_to_the_rows_that_were_given(bumps):
    X, y = bumps
    X, y = np.vstack([X, X[:7]]), np.concatenate([y, y[:7]])
    weight = np.r_[np.zeros(5), np.ones(30), np.full(12, 2.5)]
    model = ReLURegressor(alpha=0.02).fit(X, y, sample_weight=weight)
    lam = model.certificate_.lam
    assert lam.shape == (len(y), 1)
    assert not lam[:5].any()
    assert abs(lam.sum()) <= 1e-9 * np.abs(lam).sum()  # the intercept is free
    # weak duality, evaluated again on the rows as they are
    bound = extremal.losses.bind("squared", y, weight).dual_value(lam)
    assert bound == pytest.approx(model.certificate_.dual, rel=1e-9)
    bounds = extremal.gauge(np.column_stack([X, np.ones(len(y))]), lam)
    assert bounds.lower <= model.certificate_.beta * (1 + 1e-12)
    assert bounds.upper <= model.certificate_.beta * (1 + 1e-5)
    assert model.gap_ == model.certificate_.gap >= 0


def test_fitted_attributes(bumps):
    X, y = bumps
    model = ReLURegressor().fit(X, y)
    assert (model.n_features_in_, model.n_outputs_) == (2, 1)
    assert model.n_iter_ == len(model.result_.history) >= 1
    hidden = np.maximum(X @ model.coefs_[0] + model.intercepts_[0], 0)
    np.testing.assert_allclose(hidden @ model.coefs_[1][:, 0] + model.intercepts_[1], model.predict(X))
    plain = ReLURegressor(bias="none", fit_intercept=False).fit(X, y)
    assert plain.coefs_[0].shape == (2, plain.network_.width)
    assert not plain.intercepts_[0].any()
    assert not plain.intercepts_[1].any()


def test_weights_are_repetitions_and_order_does_not_matter(bumps):
    X, y = bumps
    rng = np.random.default_rng(3)
    weight = rng.integers(0, 4, size=len(y))
    weighted = ReLURegressor(alpha=0.02).fit(X, y, sample_weight=weight)
    order = rng.permutation(weight.sum())
    repeated = ReLURegressor(alpha=0.02).fit(X.repeat(weight, axis=0)[order], y.repeat(weight)[order])
    np.testing.assert_array_equal(weighted.predict(X), repeated.predict(X))
    assert weighted.certificate_.primal == pytest.approx(repeated.certificate_.primal, rel=1e-12)


def test_distinct_rows():
    X = np.array([[1.0, 0.0], [0.0, 2.0], [1.0, -0.0], [5.0, 5.0], [1.0, 0.0]])
    y = np.array([1.0, 2.0, 1.0, 3.0, 7.0])
    weight = np.array([1.0, 1.0, 3.0, 0.0, 1.0])
    dense, thin = DistinctRows.of(X, y, weight), DistinctRows.of(sparse.csr_array(X), y, weight)
    for rows in (dense, thin):
        assert sorted(rows.weight) == [1, 1, 4]
        assert rows.member[0] == rows.member[2] != rows.member[4]
        np.testing.assert_allclose(rows.share, [0.25, 1, 0.75, 0, 1])
        used = weight > 0
        np.testing.assert_array_equal(rows.y[rows.member][used], y[used])
        kept = rows.X.toarray() if sparse.issparse(rows.X) else rows.X
        np.testing.assert_array_equal(kept[rows.member][used], X[used])


def test_sparse_is_dense(bumps):
    X, y = bumps
    X = np.where(np.abs(X) > 0.5, X, 0.0)
    dense, thin = ReLURegressor().fit(X, y), ReLURegressor().fit(sparse.csr_matrix(X), y)
    assert thin.certificate_.primal == pytest.approx(dense.certificate_.primal, rel=2e-6)
    np.testing.assert_allclose(thin.predict(sparse.coo_array(X)), thin.predict(X))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # the time is short on purpose
def test_several_outputs_share_the_hidden_layer(bumps):
    X, y = bumps
    Y = np.column_stack([y, -2 * y, X[:, 0]])
    model = ReLURegressor(alpha=0.02, time_limit=1).fit(X, Y)
    assert model.predict(X).shape == Y.shape
    assert model.network_.output.shape[1] == 3
    assert model.score(X, Y) > 0.8


def test_two_classes(bumps):
    X, y = bumps
    labels = np.where(y > 0, "yes", "no")
    model = ReLUClassifier(alpha=0.003).fit(X, labels)
    assert model.classes_.tolist() == ["no", "yes"]
    assert model.network_.n_outputs == 1
    assert model.score(X, labels) > 0.9
    scores, chances = model.decision_function(X), model.predict_proba(X)
    np.testing.assert_allclose(np.log(chances[:, 1] / chances[:, 0]), scores, atol=1e-9)
    np.testing.assert_allclose(np.exp(model.predict_log_proba(X)), chances)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # the time is short on purpose
def test_more_classes_share_one_network(rings):
    X, y = rings
    model = ReLUClassifier(alpha=0.003, time_limit=1).fit(X, y)
    assert model.network_.n_outputs == 3
    assert model.certificate_.loss == "softmax"
    assert model.score(X, y) > 0.9
    np.testing.assert_allclose(model.predict_proba(X).sum(axis=1), 1)
    np.testing.assert_allclose(np.exp(model.predict_log_proba(X)), model.predict_proba(X))


def test_squared_hinge(rings):
    X, y = rings
    model = ReLUClassifier(alpha=0.003, loss="squared_hinge").fit(X, y > 0)
    assert model.score(X, y > 0) > 0.9
    assert not hasattr(model, "predict_proba")
    with pytest.raises(ValueError, match="two classes"):
        ReLUClassifier(loss="squared_hinge").fit(X, y)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # the time is short on purpose
def test_classes_without_weight_are_absent(rings):
    X, y = rings
    model = ReLUClassifier(time_limit=1).fit(X, y, sample_weight=(y != 1).astype(float))
    assert model.classes_.tolist() == [0, 2]
    with pytest.raises(ValueError, match="one class only: 2"):
        ReLUClassifier().fit(X, y, sample_weight=(y == 2).astype(float))


def test_warm_start_reaches_the_same_optimum(bumps):
    X, y = bumps
    model = ReLURegressor(alpha=0.05, warm_start=True).fit(X, y)
    first = model.network_
    model.set_params(alpha=0.02).fit(X, y)
    assert model.network_ is not first
    cold = ReLURegressor(alpha=0.02).fit(X, y)
    assert model.certificate_.primal == pytest.approx(cold.certificate_.primal, rel=1e-5)
    model.fit(X[:, :1], y)  # another shape: starts afresh
    assert model.n_features_in_ == 1


def test_warning_carries_the_gap(bumps):
    X, y = bumps

    def interrupt(record):
        if record.neurons:
            raise KeyboardInterrupt

    with pytest.warns(ConvergenceWarning, match=r"proven gap of \d\.\de"):
        model = ReLURegressor(alpha=0.001, verbose=interrupt).fit(X, y)
    assert model.gap_ > 0
    assert model.certificate_.dual <= model.certificate_.primal


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"alpha": 0}, "alpha must be positive"),
        ({"alpha": np.nan}, "alpha must be positive"),
        ({"loss": "logistic"}, "loss"),
        ({"bias": "free"}, "bias must be"),
        ({"tol": -1}, "tol must be positive"),
        ({"time_limit": 0}, "time_limit must be positive"),
    ],
)
def test_unusable_parameters(bumps, parameters, message):
    with pytest.raises(ValueError, match=message):
        ReLURegressor(**parameters).fit(*bumps)


@pytest.mark.parametrize("weight", [np.zeros(40), -np.ones(40), np.ones(39), np.ones((40, 1)), np.full(40, np.nan)])
def test_unusable_weights(bumps, weight):
    with pytest.raises(ValueError, match=r"weight|inconsistent"):
        ReLURegressor().fit(*bumps, sample_weight=weight)


def test_unfitted():
    with pytest.raises(NotFittedError):
        ReLURegressor().predict(np.ones((1, 1)))


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_data_frames(bumps, library):
    frames = pytest.importorskip(library)
    X, y = bumps
    frame = frames.DataFrame({"left": X[:, 0], "right": X[:, 1]})
    model = ReLURegressor().fit(frame, frames.Series(y))
    assert model.feature_names_in_.tolist() == ["left", "right"]
    np.testing.assert_allclose(model.predict(frame), ReLURegressor().fit(X, y).predict(X))
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame[["right", "left"]])


@pytest.mark.parametrize("estimator", [ReLURegressor(alpha=0.1), ReLUClassifier(alpha=0.1)])
def test_pickle_and_clone(bumps, estimator):
    X, y = bumps
    model = clone(estimator).fit(X, y if isinstance(estimator, ReLURegressor) else y > 0)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
    assert again.gap_ == model.gap_
    assert clone(model).get_params() == estimator.get_params()


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # the time is short on purpose
def test_pipeline_grid_search_and_scaled_target():
    X, y = load_diabetes(return_X_y=True)
    X, y = X[:120, 2:5], y[:120]
    pipeline = make_pipeline(StandardScaler(), ReLURegressor(time_limit=1))
    search = GridSearchCV(
        TransformedTargetRegressor(pipeline, transformer=StandardScaler()),
        {"regressor__reluregressor__alpha": [0.03, 0.1, 1.0]},
        cv=3,
    ).fit(X, y)
    assert search.best_params_["regressor__reluregressor__alpha"] < 1.0
    assert search.best_score_ > 0.2


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # the time is short on purpose
def test_classifier_in_cross_validation():
    X, y = load_iris(return_X_y=True)
    model = make_pipeline(StandardScaler(), ReLUClassifier(alpha=0.01, time_limit=1))
    assert cross_val_score(model, X[:, 2:], y, cv=3).mean() > 0.9


def test_cv_chooses_the_best_alpha(bumps):
    X, y = bumps
    model = ReLURegressorCV(alphas=5, alpha_min_ratio=0.02, cv=4).fit(X, y)
    assert model.alphas_.shape == (5,)
    assert np.all(np.diff(model.alphas_) < 0)
    assert model.scores_.shape == (5, 4)
    mean = model.scores_.mean(axis=1)
    assert model.best_score_ == mean.max() == mean[model.best_index_]
    assert model.alpha_ == model.alphas_[model.best_index_]
    assert mean[0] < 0.1 < model.best_score_  # the largest alpha gives a constant
    same = ReLURegressor(alpha=model.alpha_).fit(X, y)
    assert model.certificate_.primal == pytest.approx(same.certificate_.primal, rel=1e-6)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # the time is short on purpose
def test_cv_with_given_alphas_weights_and_scoring(rings):
    X, y = rings
    weight = np.random.default_rng(0).uniform(0.5, 2, size=len(y))
    model = ReLUClassifierCV(alphas=[1e-3, 1e-1], cv=3, scoring="neg_log_loss", n_jobs=1, time_limit=1)
    model.fit(X, y > 1, sample_weight=weight)
    assert model.alphas_.tolist() == [1e-1, 1e-3]
    assert model.best_score_ < 0
    assert model.predict(X).dtype == bool


def test_cv_agrees_with_grid_search(bumps):
    X, y = bumps
    alphas = [0.3, 0.03, 0.003]
    ours = ReLURegressorCV(alphas=alphas, cv=4).fit(X, y)
    theirs = GridSearchCV(ReLURegressor(), {"alpha": alphas}, cv=4).fit(X, y)
    np.testing.assert_allclose(ours.scores_.mean(axis=1), theirs.cv_results_["mean_test_score"], atol=0.02)
    assert ours.alpha_ == theirs.best_params_["alpha"]


@pytest.mark.parametrize("parameters", [{"alphas": 0}, {"alphas": [1.0, -1.0]}, {"alpha_min_ratio": 2.0}])
def test_unusable_grids(bumps, parameters):
    with pytest.raises(ValueError, match="alpha"):
        ReLURegressorCV(**parameters).fit(*bumps)


def test_constant_target():
    X = np.random.default_rng(0).normal(size=(20, 2))
    for model in (ReLURegressor(), ReLURegressorCV(alphas=3)):
        assert model.fit(X, np.full(20, 7.0)).predict(X) == pytest.approx(7.0)
        assert model.network_.width == 0


class Listener:
    """Records what scikit-learn's callbacks are told, and may ask to stop."""

    def __init__(self, stop=False):
        self.stop = stop
        self.heard = []

    def setup(self, estimator, context):
        self.heard.append("setup")

    def teardown(self, estimator, context):
        self.heard.append("teardown")

    def on_fit_task_begin(self, estimator, context):
        self.heard.append(f"begin {context.task_name}")

    def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
        self.heard.append(f"end {context.task_name}")
        if context.task_name == "fit":
            assert isinstance(fitted_estimator.network_, Network)
        return self.stop and context.parent is not None


def test_callbacks(bumps):
    pytest.importorskip("sklearn.callback")
    listener = Listener()
    model = ReLURegressor().set_callbacks(listener).fit(*bumps)
    assert listener.heard[:2] == ["setup", "begin fit"]
    assert listener.heard[-2:] == ["end fit", "teardown"]
    assert len(listener.heard) == 4 + 2 * model.n_iter_
    np.testing.assert_array_equal(model.predict(bumps[0]), ReLURegressor().fit(*bumps).predict(bumps[0]))


def test_a_callback_can_stop_the_training(bumps):
    pytest.importorskip("sklearn.callback")
    with pytest.warns(ConvergenceWarning, match="interrupted"):
        model = ReLURegressor().set_callbacks(Listener(stop=True)).fit(*bumps)
    assert model.n_iter_ == 1
    assert model.certificate_.dual <= model.certificate_.primal


def test_callbacks_of_cross_validation(bumps):
    pytest.importorskip("sklearn.callback")
    listener = Listener()
    ReLURegressorCV(alphas=[0.3, 0.1], cv=3).set_callbacks(listener).fit(*bumps)
    assert [word for word in listener.heard if word.endswith("fold")] == 3 * ["begin fold", "end fold"]
    assert listener.heard[-1] == "teardown"


def test_progress_bar_of_scikit_learn(bumps, capsys):
    callback = pytest.importorskip("sklearn.callback")
    ReLURegressor().set_callbacks(callback.ProgressBar()).fit(*bumps)
    assert "ReLURegressor" in capsys.readouterr().out


def test_scoring_monitor_of_scikit_learn(bumps):
    callback = pytest.importorskip("sklearn.callback")
    monitor = callback.ScoringMonitor(scoring="r2")
    model = ReLURegressor().set_callbacks(monitor).fit(*bumps)
    logs = monitor.get_logs()
    assert logs.data[-1]["r2"] == pytest.approx(model.score(*bumps))
