"""Networks of other libraries: the same function, and the same objective to the last digits."""

import copy
import pickle
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import extremal
from extremal import Network
from extremal.conventions import WeightDecay
from extremal.interop import (
    Imported,
    Units,
    as_imported,
    from_arrays,
    from_onnx,
    from_state_dict,
    load,
    save,
    to_onnx,
    to_sklearn,
    to_state_dict,
)
from extremal.interop import sklearn as from_sklearn

# scikit-learn's own training may stop as it likes
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

#: Every network, by its shape, what biases it has, and a seed.
shapes = st.tuples(
    st.integers(1, 5), st.integers(1, 6), st.integers(1, 3), st.booleans(), st.booleans(), st.integers(0, 10**6)
)


def network_of(shape):
    d, m, c, bias, intercept, seed = shape
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=(d + bias, m))
    return Network(hidden, rng.normal(size=(m, c)), rng.normal(size=c) * intercept, bias=bias)


def rows_for(network, n=11):
    return np.random.default_rng(3).normal(size=(n, network.n_features))


def same(first, second, tol=1e-12):
    X = rows_for(first)
    np.testing.assert_allclose(first.predict(X), second.predict(X), rtol=0, atol=tol)


# Arrays and state dicts ----------------------------------------------------------------------------------------------


def torch_by_hand(state, X):
    """Linear, ReLU, Linear, as PyTorch documents them: x W^T + b."""
    hidden = np.maximum(X @ state["0.weight"].T + state.get("0.bias", 0), 0)
    return hidden @ state["2.weight"].T + state.get("2.bias", 0)


@given(shapes)
def test_state_dicts_are_the_same_function_and_come_back(shape):
    network = network_of(shape)
    state = to_state_dict(network)
    X = rows_for(network)
    np.testing.assert_allclose(torch_by_hand(state, X), network.predict(X), rtol=0, atol=1e-12)
    back = from_state_dict(state)
    assert (back.bias, back.width) == (network.bias, network.width)
    np.testing.assert_array_equal(back.hidden, network.hidden)
    np.testing.assert_array_equal(back.output, network.output)
    np.testing.assert_array_equal(back.intercept, network.intercept)


@given(shapes)
def test_either_layout_is_found_out_or_asked_for(shape):
    network = network_of(shape)
    hidden = network.hidden[:-1] if network.bias else network.hidden
    biases = (network.hidden[-1] if network.bias else None, network.intercept)
    d, m = hidden.shape
    ambiguous = d == m == network.n_outputs  # the biases' sizes tell otherwise
    for layout, arrays in (("extremal", (hidden, network.output)), ("torch", (hidden.T, network.output.T))):
        same(from_arrays(*arrays, *biases, layout=layout), network)
        if ambiguous:
            with pytest.raises(ValueError, match="two layouts"):
                from_arrays(*arrays, *biases)
        else:
            same(from_arrays(*arrays, *biases), network)


def test_a_vector_of_output_weights_is_one_output():
    hidden, output = np.ones((3, 5)), np.arange(5.0)
    for arrays in ((hidden, output), (hidden.T, output)):
        same(from_arrays(*arrays), Network(hidden, output[:, None]))


def test_an_autoencoder_without_biases_fits_two_layouts():
    with pytest.raises(ValueError, match="layout='torch'"):
        from_arrays(np.ones((5, 3)), np.ones((3, 5)))
    assert from_arrays(np.ones((5, 3)), np.ones((3, 5)), np.zeros(5)).n_features == 3


@pytest.mark.parametrize(
    ("arrays", "options", "message"),
    [
        ((np.ones((2, 3)), np.ones((4, 1))), {}, r"theirs are \(2, 3\), \(4, 1\), none, none"),
        ((np.ones((2, 3)), np.ones((3, 1))), {"layout": "torch"}, r"\(m, d\), \(c, m\)"),
        ((np.ones((2, 3)), np.ones((3, 1)), np.ones(2)), {}, "must have shapes"),
        ((np.ones(3), np.ones((3, 1))), {}, "hidden must be a matrix"),
        ((np.ones((2, 3)), np.ones((3, 1))), {"layout": "keras"}, "'auto', 'extremal' or 'torch'"),
        ((np.full((2, 3), np.nan), np.ones((3, 1))), {}, "NaN or infinite"),
    ],
)
def test_arrays_that_are_no_network(arrays, options, message):
    with pytest.raises(ValueError, match=message):
        from_arrays(*arrays, **options)


def test_layers_are_in_the_order_of_their_numbers_and_checkpoints_are_opened():
    network = network_of((2, 3, 2, True, True, 0))
    state = to_state_dict(network)
    renamed = {f"net.{10 if key[0] == '2' else 9}{key[1:]}": value for key, value in state.items()}
    assert sorted(renamed)[0].startswith("net.10")
    same(from_state_dict(dict(sorted(renamed.items()))), network)
    same(from_state_dict({"epoch": 3, "model_state_dict": renamed}), network)
    words = {key.replace("0.", "encoder.").replace("2.", "decoder."): value for key, value in state.items()}
    same(from_state_dict(words), network)


def test_float32_weights_are_kept_exactly():
    state = {
        name: part.astype(np.float32) for name, part in to_state_dict(network_of((3, 4, 1, True, True, 0))).items()
    }
    back = to_state_dict(from_state_dict(state))
    assert all(np.array_equal(back[name], part) for name, part in state.items())


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"0.weight": np.ones((3, 2))},
        {f"{i}.weight": np.ones((2, 2)) for i in (0, 2, 4)},
        {"0.weight": np.ones((3, 2)), "2.weight": np.ones((1, 3)), "1.running_mean": np.ones(3)},
    ],
)
def test_other_state_dicts_are_refused(state):
    with pytest.raises(ValueError, match="has two weights"):
        from_state_dict(state)


# Files ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".pt", ".pth", ".onnx", ".skops"])
@pytest.mark.parametrize("shape", [(3, 4, 1, True, True, 0), (2, 5, 3, False, False, 1), (4, 4, 4, True, False, 2)])
def test_files_come_back(tmp_path, suffix, shape):
    network = network_of(shape)
    path = tmp_path / f"net{suffix}"
    save(network, path, **({"dtype": np.float64} if suffix == ".onnx" else {}))
    same(as_imported(path).network, network)


def test_a_network_without_neurons_is_written_with_one_of_zeros(tmp_path):
    for suffix in (".safetensors", ".pt", ".onnx", ".skops"):
        save(Network.zero(3, 2, bias=True), tmp_path / f"net{suffix}")
        network = load(tmp_path / f"net{suffix}").network
        assert not network.predict(np.ones((1, 3))).any()
        assert network.penalty() == 0


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_safetensors_of_every_precision(tmp_path, dtype):
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file

    state = {
        name: torch.from_numpy(part).to(getattr(torch, dtype))
        for name, part in to_state_dict(network_of((3, 5, 2, True, True, 4))).items()
    }
    save_file(state, tmp_path / "net.safetensors")
    back = to_state_dict(load(tmp_path / "net.safetensors").network)
    for name, part in state.items():
        np.testing.assert_array_equal(back[name], part.double().numpy())


def test_state_dicts_in_npz_files(tmp_path):
    network = network_of((3, 4, 2, True, True, 0))
    np.savez(tmp_path / "net.npz", **to_state_dict(network))
    same(load(tmp_path / "net.npz").network, network)


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".pt", ".onnx", ".skops"])
@pytest.mark.parametrize("content", [b"", b"nonsense that is no file of this kind"])
def test_files_that_are_something_else(tmp_path, suffix, content):
    path = tmp_path / f"net{suffix}"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"net{suffix}: "):
        load(path)


def test_a_pickle_is_not_run(tmp_path):
    torch = pytest.importorskip("torch")

    class Evil:
        def __reduce__(self):
            return (exec, (f"open({str(tmp_path / 'ran')!r}, 'w')",))

    torch.save({"0.weight": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(ValueError, match="without running code"):
        load(tmp_path / "evil.pt")
    assert not (tmp_path / "ran").exists()


def test_other_suffixes_say_which_there_are(tmp_path):
    with pytest.raises(ValueError, match="load other files with their own library"):
        load(tmp_path / "net.pkl")
    with pytest.raises(ValueError, match=r"\.npz, \.safetensors"):
        save(Network.zero(2), tmp_path / "net.h5")
    with pytest.raises(TypeError, match="weights only"):
        save(Network.zero(2), tmp_path / "net.pt", classes=["a", "b"])


# scikit-learn --------------------------------------------------------------------------------------------------------


def loss_of(model, X, y, sample_weight=None):
    """The model's own loss + penalty at its weights, by its own code."""
    X, targets = model._validate_input(X, y, False, False)
    targets = targets.reshape(len(X), -1)
    layers = [X, None, None]
    gradients = [[None] * 2 for _ in range(3)]
    return model._backprop(X, targets, sample_weight, layers, *gradients)[0]


def data(task, seed=0, n=40):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 3))
    y = {
        "regression": np.abs(X[:, 0]) + X[:, 1],
        "outputs": np.abs(X[:, :2]) + X[:, 1:],
        "two classes": np.where(X[:, 0] > np.abs(X[:, 1]) - 1, "yes", "no"),
        "classes": np.array(["c", "a", "b"])[(X[:, :3] + 0.3).argmax(axis=1)],
    }[task]
    return X, y


TASKS = ["regression", "outputs", "two classes", "classes"]


def mlp(task, **settings):
    kind = MLPRegressor if task in ("regression", "outputs") else MLPClassifier
    defaults = {"hidden_layer_sizes": (6,), "solver": "lbfgs", "alpha": 0.3, "random_state": 1, "max_iter": 10**4}
    return kind(**(defaults | settings))


@pytest.mark.parametrize("task", TASKS)
def test_objective_is_that_of_scikit_learn(task):
    X, y = data(task)
    model = mlp(task).fit(X, y)
    got = as_imported(model)
    assert got.objective(X, y) == pytest.approx(model.loss_, rel=1e-10)
    assert got.objective(X, y) == pytest.approx(loss_of(model, X, y), rel=1e-10)
    decay = got.decay_for(len(X))
    assert decay == WeightDecay(0.3 / 40, 0.3 / 40, 0.0, 0.0)


@pytest.mark.parametrize("task", TASKS)
def test_objective_with_sample_weights(task):
    X, y = data(task)
    weight = np.random.default_rng(5).uniform(0.1, 3, size=len(X))
    model = mlp(task).fit(X, y, sample_weight=weight)
    assert as_imported(model).objective(X, y, weight) == pytest.approx(model.loss_, rel=1e-10)
    assert as_imported(model).objective(X, y) != pytest.approx(model.loss_, rel=1e-4)


@pytest.mark.parametrize("solver", ["sgd", "adam"])
@pytest.mark.parametrize("batch_size", [7, 40, "auto", 16])
@pytest.mark.parametrize("task", ["outputs", "classes"])
def test_objective_of_the_minibatch_solvers(task, solver, batch_size):
    """With steps of nearly zero `loss_` is the objective of an epoch at fixed weights."""
    X, y = data(task)
    model = mlp(task, solver=solver, batch_size=batch_size, learning_rate_init=1e-14, tol=1.0, n_iter_no_change=1)
    model.fit(X, y)
    assert as_imported(model).objective(X, y) == pytest.approx(model.loss_, rel=1e-10)
    batches = {7: 6, 40: 1, "auto": 1, 16: 3}[batch_size]
    assert as_imported(model).decay_for(40).hidden == pytest.approx(0.3 * batches / 40)


@pytest.mark.parametrize("task", TASKS)
def test_sklearn_there_and_back(task):
    X, y = data(task)
    model = mlp(task).fit(X, y)
    got = as_imported(model)
    back = to_sklearn(got.network, alpha=0.3, classes=got.classes)
    assert type(back) is type(model)
    np.testing.assert_array_equal(back.predict(X), model.predict(X))
    if got.classes is not None:
        np.testing.assert_array_equal(back.predict_proba(X), model.predict_proba(X))
    assert back.score(X, y) == model.score(X, y)
    assert loss_of(back, X, y) == pytest.approx(model.loss_, rel=1e-12)
    assert clone(back).get_params() == back.get_params()


@pytest.mark.parametrize("task", TASKS)
def test_an_exported_model_can_be_trained_on(task):
    X, y = data(task)
    got = as_imported(mlp(task, max_iter=10**4).fit(X, y))
    model = to_sklearn(got.network, alpha=0.3, classes=got.classes)
    model.set_params(learning_rate_init=1e-12).partial_fit(X, y)
    same(as_imported(model).network, got.network, 1e-9)
    assert model.loss_curve_ == pytest.approx([got.objective(X, y)], rel=1e-6)
    warm = to_sklearn(got.network, alpha=0.3, classes=got.classes).set_params(solver="lbfgs", warm_start=True)
    assert warm.fit(X, y).loss_ <= got.objective(X, y) * (1 + 1e-12)


@given(shapes)
def test_exported_regressors_predict_the_same(shape):
    network = network_of(shape)
    X = rows_for(network)
    found = to_sklearn(network).predict(X).reshape(len(X), -1)
    np.testing.assert_allclose(found, network.predict(X), rtol=0, atol=1e-12)


def test_pipeline_in_the_users_units():
    rng = np.random.default_rng(0)
    X, network = rng.normal(50, 20, size=(9, 3)), network_of((3, 4, 1, True, True, 0))
    units = Units(X.mean(axis=0), X.std(axis=0), 7.0, 3.0)
    names = ["a", "b", "c"]
    model = to_sklearn(network, units=units, feature_names=names)
    expected = network.predict((X - units.centre) / units.scale)[:, 0] * 3 + 7
    import pandas

    np.testing.assert_allclose(model.predict(pandas.DataFrame(X, columns=names)), expected, rtol=1e-13)
    with pytest.raises(ValueError, match="feature names"):
        model.predict(pandas.DataFrame(X, columns=["b", "a", "c"]))
    plain = to_sklearn(network, units=Units(units.centre, units.scale))
    np.testing.assert_allclose(plain.predict(X), (expected - 7) / 3, rtol=1e-11)


def skops_trip(model, trusted=()):
    from skops.io import dumps, get_untrusted_types, loads

    content = dumps(model)
    assert set(get_untrusted_types(data=content)) <= set(trusted)
    return loads(content, trusted=list(trusted))


def test_exports_are_safe_for_skops():
    pytest.importorskip("skops")
    network = network_of((3, 4, 1, True, True, 0))
    X = rows_for(network)
    models = [
        to_sklearn(network),
        to_sklearn(network, classes=["no", "yes"]),
        to_sklearn(network, classes=[0, 1], units=Units(1.0, 2.0)),
        to_sklearn(network, units=Units(1.0, 2.0, 3.0, 4.0), feature_names=["a", "b", "c"]),
    ]
    import pandas

    for model in models:
        rows = pandas.DataFrame(X, columns=["a", "b", "c"]) if hasattr(model, "feature_names_in_") else X
        np.testing.assert_array_equal(skops_trip(model).predict(rows), model.predict(rows))


def test_our_estimators_in_files(tmp_path):
    from skops.io import dump

    trips = [lambda model: skops_trip(model, from_sklearn.TRUSTED), lambda model: pickle.loads(pickle.dumps(model))]
    for task, kind in (("regression", extremal.ReLURegressor), ("classes", extremal.ReLUClassifier)):
        X, y = data(task)
        for model in (kind(alpha=0.1), kind(alpha=0.1).fit(X, y), copy.deepcopy(kind(alpha=0.1).fit(X, y))):
            for trip in trips:
                back = trip(model)
                assert back.get_params() == model.get_params()
                assert sorted(vars(back)) == sorted(vars(model))
                if hasattr(model, "network_"):
                    np.testing.assert_array_equal(back.predict(X), model.predict(X))
                    assert str(back.result_) == str(model.result_)
                    assert back.result_.history == model.result_.history
                    assert back.certificate_ is back.result_.certificate
        dump(model, tmp_path / "model.skops")
        assert as_imported(tmp_path / "model.skops").objective(X, y) == as_imported(model).objective(X, y)


def test_skops_files_of_strangers_are_refused(tmp_path):
    from skops.io import dump

    dump(Network.zero(2), tmp_path / "net.skops")
    with pytest.raises(ValueError, match="load it with skops"):
        load(tmp_path / "net.skops")


def broken(task="regression", **settings):
    X, y = data(task)
    return mlp(task, **settings).fit(X, y)


def several_labels():
    X, _ = data("regression")
    return mlp("classes").fit(X, X > 0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MLPRegressor(), "this MLPRegressor is not fitted"),
        (lambda: broken(hidden_layer_sizes=(3, 3), max_iter=3), "has 2 hidden layers; one is needed"),
        (lambda: broken(activation="tanh", max_iter=3), "activation of this MLPRegressor is 'tanh'"),
        (several_labels, "several labels a row"),
        (lambda: make_pipeline(StandardScaler(), MLPRegressor()), r"pipeline\[:-1\].transform\(X\)"),
        (lambda: StandardScaler(), "StandardScaler is not a network"),
        (lambda: extremal.ReLURegressor(), "this ReLURegressor is not fitted"),
    ],
)
def test_models_that_cannot_be_judged(make, message):
    with pytest.raises(ValueError, match=message):
        as_imported(make())


def test_poisson_loss_is_refused():
    X, y = data("regression")
    try:
        model = MLPRegressor(loss="poisson", max_iter=2, tol=10, n_iter_no_change=1, alpha=1.0)
    except TypeError:
        pytest.skip("this scikit-learn has no Poisson loss")
    with pytest.raises(ValueError, match="loss='squared_error' is needed"):
        as_imported(model.fit(X, np.abs(y)))


@pytest.mark.parametrize("bias", ["penalized", "none"])
@pytest.mark.parametrize("intercept", [True, False])
def test_our_estimators_know_their_objective(bias, intercept):
    for task, kind in (("regression", extremal.ReLURegressor), ("classes", extremal.ReLUClassifier)):
        X, y = data(task)
        model = kind(alpha=0.05, bias=bias, fit_intercept=intercept).fit(X, y)
        got = as_imported(model)
        assert got.objective(X, y) * len(X) == pytest.approx(model.certificate_.primal, rel=1e-10)
        assert (got.decay_for(40).output_bias is None) == (not intercept)


# ONNX ----------------------------------------------------------------------------------------------------------------


def run_onnx(model, X):
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    kind = {"tensor(float)": np.float32, "tensor(double)": np.float64}[session.get_inputs()[0].type]
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, {"x": X.astype(kind)}), strict=True))


@given(shapes)
def test_onnx_computes_the_same(shape):
    network = network_of(shape)
    X = rows_for(network).astype(np.float32).astype(np.float64)
    expected = network.predict(X)
    hidden = network.hidden[:-1] if network.bias else network.hidden
    size = max(1.0, np.abs(X).max() * np.abs(hidden).max() * np.abs(network.output).max())  # of what is summed
    for dtype, tol in ((np.float32, 1e-6), (np.float64, 1e-12)):
        model = to_onnx(network, dtype=dtype)
        found = run_onnx(model, X)["output"]
        assert found.dtype == dtype
        assert np.abs(found - expected).max() <= tol * size
    same(from_onnx(model), network)


def test_onnx_takes_any_number_of_rows():
    network = network_of((3, 4, 2, True, True, 0))
    model = to_onnx(network)
    for n in (1, 2, 100):
        assert run_onnx(model, rows_for(network, n))["output"].shape == (n, 2)


@pytest.mark.parametrize("classes", [["no", "yes"], [3, 7], [0.5, 1.5], [False, True]])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_onnx_labels_two_classes(classes, dtype):
    network = network_of((3, 4, 1, True, True, 0))
    network = Network(network.hidden, network.output, network.intercept - 1, bias=True)
    X = rows_for(network, 50)
    model = to_sklearn(network, classes=["no", "yes"])
    labels = np.array(classes)[(model.predict(X) == "yes").astype(int)]
    assert len(set(labels)) == 2
    found = run_onnx(to_onnx(network, dtype=dtype, classes=classes), X)
    np.testing.assert_array_equal(found["label"], labels)
    np.testing.assert_allclose(found["probability"], model.predict_proba(X), atol=1e-6)


def test_onnx_labels_several_classes_in_the_users_units():
    network = network_of((3, 6, 3, True, True, 8))
    X = rows_for(network, 50)
    model = to_sklearn(network, classes=["a", "b", "c"], units=Units(0.5, 2.0))
    assert len(set(model.predict(X))) == 3
    onnx_model = to_onnx(network, classes=["a", "b", "c"], units=Units(0.5, 2.0), feature_names=["u", "v", "w"])
    found = run_onnx(onnx_model, X)
    np.testing.assert_array_equal(found["label"], model.predict(X))
    np.testing.assert_allclose(found["probability"], model.predict_proba(X), atol=1e-6)
    assert {entry.key: entry.value for entry in onnx_model.metadata_props} == {"features": "u,v,w"}
    assert "probability" not in run_onnx(to_onnx(network, classes=["a", "b", "c"], probabilities=False), X)


def test_onnx_in_the_users_units_is_one_network_again():
    network = network_of((3, 4, 1, True, True, 0))
    units = Units(np.array([1.0, 2.0, -3.0]), np.array([0.5, 2.0, 4.0]), 7.0, 3.0)
    model = to_onnx(network, dtype=np.float64, units=units)
    X = rows_for(network) * 5
    expected = network.predict((X - units.centre) / units.scale) * 3 + 7
    np.testing.assert_allclose(run_onnx(model, X)["output"], expected, rtol=1e-12)
    np.testing.assert_allclose(from_onnx(model).predict(X), expected, rtol=1e-12)


def test_labels_must_fit_the_outputs():
    network = network_of((3, 4, 1, True, True, 0))
    for export in (to_onnx, to_sklearn):
        with pytest.raises(ValueError, match="does not have 1 outputs"):
            export(network, classes=["a", "b", "c"])


def graph_of(nodes, constants, d=2):
    from onnx import TensorProto, helper, numpy_helper

    entry = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", d])
    result = helper.make_tensor_value_info(nodes[-1][2], TensorProto.FLOAT, None)
    made = [
        helper.make_node(kind, inputs, [output], **(more[0] if more else {})) for kind, inputs, output, *more in nodes
    ]
    tensors = [numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in constants.items()]
    return helper.make_model(
        helper.make_graph(made, "g", [entry], [result], tensors),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )


W, B, A = [[1.0, 2.0, -1.0], [0.5, -1.0, 3.0]], [1.0, -2.0, 0.5], [[1.0], [-2.0], [0.25]]


def test_onnx_of_other_exporters():
    pytest.importorskip("onnx")
    same_net = from_arrays(W, A, B, [4.0])
    matmuls = [
        ("MatMul", ["x", "W"], "p"),
        ("Add", ["b", "p"], "q"),
        ("Relu", ["q"], "r"),
        ("MatMul", ["r", "A"], "s"),
        ("Sub", ["s", "c"], "t"),
        ("Sigmoid", ["t"], "y"),
    ]
    same(from_onnx(graph_of(matmuls, {"W": W, "b": B, "A": A, "c": [-4.0]})), same_net)
    gemms = [
        ("Gemm", ["x", "W", "b"], "p", {"transB": 1, "alpha": 2.0, "beta": 0.5}),
        ("Relu", ["p"], "r"),
        ("Gemm", ["r", "A"], "s"),
        ("Sub", ["c", "s"], "y"),
    ]
    constants = {"W": np.transpose(W) / 2, "b": np.multiply(B, 2), "A": np.negative(A), "c": [4.0]}
    same(from_onnx(graph_of(gemms, constants)), same_net)


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([("MatMul", ["x", "W"], "p"), ("Tanh", ["p"], "y")], "here it is Tanh"),
        ([("MatMul", ["x", "W"], "y")], "here it is nothing"),
        ([("MatMul", ["x", "x"], "y")], "constants"),
        ([("MatMul", ["x", "W"], "p"), ("Relu", ["p"], "r"), ("Relu", ["r"], "y")], "goes on with Relu"),
        ([("MatMul", ["x", "W"], "p"), ("Relu", ["p"], "r"), ("Relu", ["p"], "y")], "branches"),
        ([("Div", ["W", "x"], "y")], "on its left"),
    ],
)
def test_other_graphs_are_refused(nodes, message):
    pytest.importorskip("onnx")
    with pytest.raises(ValueError, match=message):
        from_onnx(graph_of(nodes, {"W": W, "b": B}))


# One door ------------------------------------------------------------------------------------------------------------


def test_as_imported_understands():
    network = network_of((3, 4, 2, True, True, 0))
    state = to_state_dict(network)
    hidden, output = network.hidden[:-1], network.output
    known = Imported(network, decay=WeightDecay.uniform(0.1), loss="squared")
    for model in (network, known, state, (hidden, output, network.hidden[-1], network.intercept)):
        same(as_imported(model).network, network)
    same(as_imported({"hidden": hidden, "output": output, "hidden_bias": network.hidden[-1]}).network,
         Network(network.hidden, output, bias=True))  # fmt: skip
    assert as_imported(known) is known


def test_torch_modules_keep_their_options():
    torch = pytest.importorskip("torch")
    network = network_of((3, 4, 1, True, True, 0))
    linear, output = torch.nn.Linear(3, 4), torch.nn.Linear(4, 1)
    module = torch.nn.Sequential(linear, torch.nn.ReLU(), output).double()
    module.load_state_dict({name: torch.from_numpy(part) for name, part in to_state_dict(network).items()})
    got = as_imported(
        module, loss=torch.nn.MSELoss(), optimizer=torch.optim.SGD(module.parameters(), lr=1.0, weight_decay=0.1)
    )
    same(got.network, network)
    assert got.decay_for(11) == WeightDecay.uniform(0.1)
    X, y = rows_for(network), np.ones(11)
    with torch.no_grad():
        loss = torch.nn.MSELoss()(module(torch.from_numpy(X))[:, 0], torch.from_numpy(y))
        expected = float(loss + 0.05 * sum((part**2).sum() for part in module.parameters()))
    assert got.objective(X, y) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("model", [None, 3, np.ones((2, 3)), object(), (1,), [1, 2, 3, 4, 5]])
def test_as_imported_lists_what_it_understands(model):
    with pytest.raises(TypeError, match="is not understood; a network is"):
        as_imported(model)


def test_options_are_for_the_libraries_that_have_them():
    with pytest.raises(TypeError, match="optimizer"):
        as_imported(network_of((3, 4, 2, True, True, 0)), optimizer=object())
    assert as_imported(network_of((3, 4, 2, True, True, 0)), optimizer=None).loss is None


def test_an_objective_that_is_not_known_is_not_made_up():
    network = network_of((3, 4, 1, True, True, 0))
    with pytest.raises(ValueError, match="does not know its loss"):
        Imported(network).objective(rows_for(network), np.ones(11))
    with pytest.raises(ValueError, match="does not know its weight decay"):
        Imported(network, loss="squared").objective(rows_for(network), np.ones(11))
    with pytest.raises(ValueError, match="does not know the class"):
        Imported(network, classes=np.array(["a", "b"])).targets(["a", "c"])


@given(shapes, st.floats(0, 3), st.floats(0, 3), st.booleans())
def test_objective_by_its_definition(shape, inner, outer, mean):
    network = network_of(shape)
    X = rows_for(network)
    y = np.random.default_rng(1).normal(size=(len(X), network.n_outputs))
    decay = WeightDecay(1.0, 2.0, inner if network.bias else None, outer)
    weights = network.hidden[:-1] if network.bias else network.hidden
    biases = network.hidden[-1] if network.bias else np.zeros(1)
    loss = ((network.predict(X) - y) ** 2).sum() / (len(X) if mean else 1)
    parts = [(1, weights), (2, network.output), (inner, biases), (outer, network.intercept)]
    expected = loss + sum(factor / 2 * (part**2).sum() for factor, part in parts)
    found = Imported(network, decay=decay, loss="squared", factor=2.0, mean=mean).objective(X, y)
    assert found == pytest.approx(expected, rel=1e-12)


# Imports -------------------------------------------------------------------------------------------------------------


def test_nothing_heavy_is_imported_before_it_is_needed():
    code = (
        "import sys, extremal.interop as interop, numpy as np\n"
        "interop.as_imported({'0.weight': np.ones((3, 2)), '2.weight': np.ones((1, 3))})\n"
        "interop.as_imported((np.ones((2, 3)), np.ones((3, 1))))\n"
        "interop.to_onnx, interop.to_sklearn, dir(interop)\n"
        "heavy = ('torch', 'sklearn', 'onnx', 'onnxruntime', 'skops', 'safetensors')\n"
        "print(*[name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize(
    ("package", "extra", "suffix"),
    [("onnx", "export", ".onnx"), ("safetensors", "export", ".safetensors"), ("skops", "export", ".skops"),
     ("torch", "torch", ".pt")],
)  # fmt: skip
def test_a_missing_package_names_its_extra(monkeypatch, tmp_path, package, extra, suffix):
    network = network_of((3, 4, 1, True, True, 0))
    path = tmp_path / f"net{suffix}"
    save(network, path)
    monkeypatch.setitem(sys.modules, package, None)
    for use in (lambda: save(network, path), lambda: load(path)):
        with pytest.raises(ImportError, match=rf"pip install 'extremal\[{extra}\]'"):
            use()


def test_names():
    import extremal.interop as interop

    assert all(getattr(interop, name) is not None and name in dir(interop) for name in interop.__all__)
    with pytest.raises(AttributeError, match="no attribute 'to_keras'"):
        interop.to_keras  # noqa: B018
    assert from_sklearn.batches(401, "adam", "auto") == 3
