"""ReLURegressorCV and ReLUClassifierCV: the penalty chosen by cross-validation over a warm-started path."""

from __future__ import annotations

from numbers import Integral
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from sklearn.base import is_classifier
from sklearn.metrics import check_scoring
from sklearn.model_selection import check_cv
from sklearn.utils import _safe_indexing
from sklearn.utils.parallel import Parallel, delayed

from extremal.estimators.base import (
    ClassificationTask,
    RegressionTask,
    ReLUEstimator,
    check_alpha,
    check_weight,
)
from extremal.estimators.callbacks import progress_of, with_callbacks
from extremal.estimators.rows import DistinctRows
from extremal.estimators.single import ReLUClassifier, ReLURegressor

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from extremal.design import Array
    from extremal.problem import Bias

# A fold's networks are only compared by their scores on held-out rows, which no proof beyond this can change.
_FOLD_TOL = 1e-3
# The largest alpha of the grid is only where to begin: an upper bound does as well as the exact value.
_GRID_SECONDS = 1.0


class _ManyPenalties(ReLUEstimator):
    """The fit over a path of alphas, scored on held-out folds, and then on all rows at the best of them."""

    _single: type[ReLURegressor | ReLUClassifier]

    @with_callbacks
    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Choose alpha by cross-validation, and train the certified network at that alpha on all rows.

        Parameters
        ----------
        X : array or sparse matrix of shape (n, d)
        y : array of shape (n,), or (n, c) for a regression with several outputs
        sample_weight : array of shape (n,), optional
            Nonnegative weights, not all zero; they count in the scores too.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If the data or a parameter cannot be used.

        Warns
        -----
        ConvergenceWarning
            If the time limit or an interrupt ended the last fit before it had converged; it names the
            proven gap.
        """
        X, labels = self._read(X, y)
        weight = check_weight(sample_weight, X)
        shown = {
            "X": X,
            "y": labels,
            "metadata": None if sample_weight is None else {"sample_weight": weight},
        }
        context = self._init_callback_context(max_subtasks=2)
        context.call_on_fit_task_begin(estimator=self, **shown)

        target, loss = self._encode(labels, weight)
        rows = DistinctRows.of(X, target, weight)
        self.alphas_ = self._grid(rows, loss)
        self.scores_ = self._cross_validate(X, labels, weight, sample_weight is not None, context)
        self.best_index_ = int(np.argmax(self.scores_.mean(axis=1)))
        self.best_score_ = float(self.scores_.mean(axis=1)[self.best_index_])
        self.alpha_ = float(self.alphas_[self.best_index_])

        refit = context.subcontext(task_name="refit", max_subtasks=None)
        refit.call_on_fit_task_begin(estimator=self, **shown)
        self._train(rows, loss, self.alpha_, progress=progress_of(self, refit, shown))
        for task in (refit, context):
            task.call_on_fit_task_end(estimator=self, reconstruction_attributes={}, **shown)
        return self

    def _grid(self, rows: DistinctRows, loss: str) -> Array:
        """The alphas, decreasing: those given, or so many from the one with a constant network down."""
        from extremal.training import beta_max

        if not isinstance(self.alphas, Integral):
            return np.sort([check_alpha(alpha) for alpha in np.ravel(self.alphas)])[::-1]
        if self.alphas < 1:
            raise ValueError(f"alphas must be a positive number of values, or the values; not {self.alphas}")
        if not 0 < self.alpha_min_ratio < 1:
            raise ValueError(f"alpha_min_ratio must lie between 0 and 1; it is {self.alpha_min_ratio!r}")
        top = beta_max(
            rows.X,
            rows.y,
            loss,
            bias=self.bias,
            intercept=self.fit_intercept,
            sample_weight=rows.weight,
            time_limit=_GRID_SECONDS,
        )
        # A constant target is fitted by the intercept at every alpha, and any positive number will do.
        largest = top / float(rows.weight.sum()) if top > 0 else 1.0
        return largest * np.geomspace(1.0, self.alpha_min_ratio, self.alphas)

    def _cross_validate(self, X: Any, y: Array, weight: Array, weighted: bool, context: Any) -> Array:
        """The scores of every alpha on every fold, shape (n_alphas, n_folds)."""
        folds = list(check_cv(self.cv, y, classifier=is_classifier(self)).split(X, y))
        search = context.subcontext(task_name="cross-validation", max_subtasks=len(folds), sequential_subtasks=False)
        search.call_on_fit_task_begin(estimator=self)
        tasks = [search.subcontext(task_name="fold", task_id=number) for number in range(len(folds))]
        columns = Parallel(n_jobs=self.n_jobs)(
            delayed(_scores_on_fold)(self, X, y, weight, weighted, fold, task)
            for fold, task in zip(folds, tasks, strict=True)
        )
        search.call_on_fit_task_end(estimator=self)
        return np.column_stack(columns)

    def _member(self) -> ReLURegressor | ReLUClassifier:
        """An unfitted estimator for one of the alphas."""
        return self._single(loss=self.loss, bias=self.bias, fit_intercept=self.fit_intercept)


def _scores_on_fold(
    estimator: Any, X: Any, y: Array, weight: Array, weighted: bool, fold: tuple[Array, Array], task: Any
) -> list[float]:
    """Train the path of alphas on one part of a fold and score every network on the other."""
    from extremal.certificate import Status
    from extremal.problem import Problem
    from extremal.training import path

    task.call_on_fit_task_begin(estimator=estimator)
    train, test = fold
    member = estimator._member()
    X_train, y_train = member._read(_safe_indexing(X, train), y[train])
    target, loss = member._encode(y_train, weight[train])
    rows = DistinctRows.of(X_train, target, weight[train])
    betas = estimator.alphas_ * rows.weight.sum()
    problem = Problem.from_data(
        rows.X,
        rows.y,
        beta=betas[0],
        loss=loss,
        bias=estimator.bias,
        intercept=estimator.fit_intercept,
        sample_weight=rows.weight,
    )
    results = path(
        problem,
        betas,
        tol=max(estimator.tol, _FOLD_TOL),
        time_limit=estimator.time_limit,
        random_state=estimator.random_state,
        proof=False,
    )
    if any(result.status is Status.INTERRUPTED for result in results):
        raise KeyboardInterrupt  # scores of networks that were cut short would choose the wrong alpha
    scorer = check_scoring(member, scoring=estimator.scoring)
    extra = {"sample_weight": weight[test]} if weighted else {}
    scores = []
    for alpha, result in zip(estimator.alphas_, results, strict=True):
        member.set_params(alpha=alpha)._adopt(result)
        scores.append(float(scorer(member, _safe_indexing(X, test), y[test], **extra)))
    task.call_on_fit_task_end(estimator=estimator)
    return scores


class ReLURegressorCV(RegressionTask, _ManyPenalties):
    """ReLURegressor with alpha chosen by cross-validation over a warm-started path.

    The chosen network is trained on all rows, and certified as globally optimal for that alpha.

    Parameters
    ----------
    alphas : int or array of floats, default=10
        How many alphas to try, or which. So many are spaced evenly on a logarithmic scale, from the
        smallest one at which the optimal network is constant down to `alpha_min_ratio` times that; they
        follow the scale of X and y.
    alpha_min_ratio : float, default=1e-3
        The smallest alpha over the largest, if `alphas` is a number.
    loss : {"squared", "huber"}, default="squared"
        Half the squared residual, or Huber's loss, which is linear beyond a residual of 1.35.
    bias : {"penalized", "none"}, default="penalized"
        Whether neurons have a bias, penalised with their weights, or none.
    fit_intercept : bool, default=True
        Whether the outputs have an intercept; it is not penalised.
    cv : int, splitter or iterable of splits, default=None
        As everywhere in scikit-learn; five folds by default.
    scoring : str or callable, default=None
        What is maximised on the held-out rows; R^2 by default.
    tol, time_limit, random_state, verbose
        See :class:`ReLURegressor`; they concern the last fit. The time limit is for every
        single fit, those of the folds included.
    n_jobs : int, default=None
        The number of folds trained in parallel, and of threads of the last proof.

    Attributes
    ----------
    alpha_ : float
        The best alpha; among equals the largest.
    alphas_ : array of shape (n_alphas,)
        All alphas, decreasing.
    scores_ : array of shape (n_alphas, n_folds)
        The score of every alpha on every held-out fold.
    best_score_ : float
        The best mean score; `best_index_` is its place.
    network_, certificate_, gap_, result_, coefs_, intercepts_, n_iter_, n_features_in_, feature_names_in_,
    n_outputs_
        Of the last fit, as in :class:`ReLURegressor`.
    """

    _single = ReLURegressor

    def __init__(
        self,
        *,
        alphas: Any = 10,
        alpha_min_ratio: float = 1e-3,
        loss: str = "squared",
        bias: Bias = "penalized",
        fit_intercept: bool = True,
        cv: Any = None,
        scoring: Any = None,
        tol: float = 1e-4,
        time_limit: float | None = None,
        random_state: int = 0,
        n_jobs: int | None = None,
        verbose: Any = False,
    ) -> None:
        self.alphas = alphas
        self.alpha_min_ratio = alpha_min_ratio
        self.loss = loss
        self.bias = bias
        self.fit_intercept = fit_intercept
        self.cv = cv
        self.scoring = scoring
        self.tol = tol
        self.time_limit = time_limit
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.verbose = verbose


class ReLUClassifierCV(ClassificationTask, _ManyPenalties):
    """ReLUClassifier with alpha chosen by cross-validation over a warm-started path.

    The chosen network is trained on all rows, and certified as globally optimal for that alpha.

    Parameters
    ----------
    alphas : int or array of floats, default=10
        How many alphas to try, or which. So many are spaced evenly on a logarithmic scale, from the
        smallest one at which the optimal network is constant down to `alpha_min_ratio` times that; they
        follow the scale of X.
    alpha_min_ratio : float, default=1e-3
        The smallest alpha over the largest, if `alphas` is a number.
    loss : {"logistic", "squared_hinge"}, default="logistic"
        The cross entropy (softmax for more than two classes), or half the squared hinge loss for two classes,
        without probabilities.
    bias : {"penalized", "none"}, default="penalized"
        Whether neurons have a bias, penalised with their weights, or none.
    fit_intercept : bool, default=True
        Whether the outputs have an intercept; it is not penalised.
    cv : int, splitter or iterable of splits, default=None
        As everywhere in scikit-learn; five stratified folds by default.
    scoring : str or callable, default=None
        What is maximised on the held-out rows; the accuracy by default.
    tol, time_limit, random_state, verbose
        See :class:`ReLUClassifier`; they concern the last fit. The time limit is for every
        single fit, those of the folds included.
    n_jobs : int, default=None
        The number of folds trained in parallel, and of threads of the last proof.

    Attributes
    ----------
    alpha_ : float
        The best alpha; among equals the largest.
    alphas_ : array of shape (n_alphas,)
        All alphas, decreasing.
    scores_ : array of shape (n_alphas, n_folds)
        The score of every alpha on every held-out fold.
    best_score_ : float
        The best mean score; `best_index_` is its place.
    classes_, network_, certificate_, gap_, result_, coefs_, intercepts_, n_iter_, n_features_in_,
    feature_names_in_
        Of the last fit, as in :class:`ReLUClassifier`.
    """

    _single = ReLUClassifier

    def __init__(
        self,
        *,
        alphas: Any = 10,
        alpha_min_ratio: float = 1e-3,
        loss: str = "logistic",
        bias: Bias = "penalized",
        fit_intercept: bool = True,
        cv: Any = None,
        scoring: Any = None,
        tol: float = 1e-4,
        time_limit: float | None = None,
        random_state: int = 0,
        n_jobs: int | None = None,
        verbose: Any = False,
    ) -> None:
        self.alphas = alphas
        self.alpha_min_ratio = alpha_min_ratio
        self.loss = loss
        self.bias = bias
        self.fit_intercept = fit_intercept
        self.cv = cv
        self.scoring = scoring
        self.tol = tol
        self.time_limit = time_limit
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.verbose = verbose
