"""ReLURegressor and ReLUClassifier: one penalty, one certified network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from extremal.estimators.base import (
    ClassificationTask,
    RegressionTask,
    ReLUEstimator,
    check_alpha,
    check_weight,
)
from extremal.estimators.callbacks import progress_of, with_callbacks
from extremal.estimators.rows import DistinctRows

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from extremal.network import Network
    from extremal.problem import Bias


class _OnePenalty(ReLUEstimator):
    """The fit at one given alpha."""

    @with_callbacks
    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Train the network to the global optimum, and certify it.

        Parameters
        ----------
        X : array or sparse matrix of shape (n, d)
        y : array of shape (n,), or (n, c) for a regression with several outputs
        sample_weight : array of shape (n,), optional
            Nonnegative weights, not all zero.

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
            If the time limit or an interrupt came before the training had converged; it names the proven gap.
        """
        alpha = check_alpha(self.alpha)
        start = getattr(self, "network_", None) if self.warm_start else None
        X, y = self._read(X, y)
        weight = check_weight(sample_weight, X)
        shown = {"X": X, "y": y, "metadata": None if sample_weight is None else {"sample_weight": weight}}
        context = self._init_callback_context(max_subtasks=None)
        context.call_on_fit_task_begin(estimator=self, **shown)

        target, loss = self._encode(y, weight)
        rows = DistinctRows.of(X, target, weight)
        self._train(
            rows,
            loss,
            alpha,
            progress=progress_of(self, context, shown),
            start=start if self._fits(start, rows, loss) else None,
        )
        context.call_on_fit_task_end(estimator=self, reconstruction_attributes={}, **shown)
        return self

    def _fits(self, start: Network | None, rows: DistinctRows, loss: str) -> bool:
        """Whether a network has the shape that this problem asks for."""
        if start is None:
            return False
        if loss == "softmax":
            outputs = len(self.classes_)
        else:
            outputs = 1 if rows.y.ndim == 1 else rows.y.shape[1]
        features = rows.X.shape[1]
        return (start.n_features, start.n_outputs, start.bias) == (
            features,
            outputs,
            self.bias == "penalized",
        )


class ReLURegressor(RegressionTask, _OnePenalty):
    """A two-layer ReLU network of any width, trained to the certified global optimum of

        1/sum(w) sum_i w_i loss(f(x_i), y_i) + alpha/2 (|W|_F^2 + |A|_F^2)

    over all networks f(x) = A^T (W^T x + b)_+ + c; W holds the biases b as well, and c is free.

    The width is found, not given: the optimum needs at most n + 1 neurons and typically a handful.

    Parameters
    ----------
    alpha : float, default=0.01
        The penalty on the squared weights, relative to the mean loss. As with the lasso, the right size
        grows in proportion to the scale of y and of X: the default suits columns and targets of unit
        variance. From `extremal.beta_max(X, y) / n` on, the optimal network is constant. See
        :class:`ReLURegressorCV`.
    loss : {"squared", "huber"}, default="squared"
        Half the squared residual, or Huber's loss, which is linear beyond a residual of 1.35.
    bias : {"penalized", "none"}, default="penalized"
        Whether neurons have a bias, penalised with their weights, or none.
    fit_intercept : bool, default=True
        Whether the outputs have an intercept; it is not penalised.
    tol : float, default=1e-4
        The gap, relative to the objective, at which the network counts as proven optimal.
    time_limit : float, optional
        Seconds after which the best network so far is returned, with its valid gap. By default the training
        goes on until it has converged, and the proof has about as much time again.
    random_state : int, default=0
        Seeds the search. The certified optimum does not depend on it.
    n_jobs : int, optional
        Threads of the proof; -1 for all cores. With one, the default, the proven gap is the same every time.
    warm_start : bool, default=False
        Whether to start from the network of the previous fit, if it has the right shape.
    verbose : bool or callable, default=False
        Show the progress on a line, or hand every `Record` of the training to a function.

    Attributes
    ----------
    network_ : Network
    certificate_ : Certificate
        Primal and dual value, gap, status, and the multiplier that proves them.
    gap_ : float
        The proven relative distance to the global optimum; at most `tol` if optimality is proven.
    result_ : FitResult
        Network and certificate with the history of the training, for `extremal.plotting.history`.
    coefs_ : list of two arrays, (d, m) and (m, c)
        Hidden and output weights.
    intercepts_ : list of two arrays, (m,) and (c,)
        Hidden biases and output intercepts.
    n_iter_ : int
        The number of records in the history.
    n_features_in_ : int
    feature_names_in_ : array of shape (d,)
        If X had names for its columns.
    n_outputs_ : int

    Notes
    -----
    Features are not scaled. The penalty treats all of them alike, so standardise them in a pipeline unless
    their scales carry meaning, and the target with `TransformedTargetRegressor`.

    Examples
    --------
    >>> import numpy as np
    >>> from extremal import ReLURegressor
    >>> X = np.linspace(-1, 1, 21)[:, None]
    >>> model = ReLURegressor(alpha=1e-3).fit(X, np.abs(X[:, 0]))
    >>> model.network_.width
    2
    """

    def __init__(
        self,
        alpha: float = 0.01,
        *,
        loss: str = "squared",
        bias: Bias = "penalized",
        fit_intercept: bool = True,
        tol: float = 1e-4,
        time_limit: float | None = None,
        random_state: int = 0,
        n_jobs: int | None = None,
        warm_start: bool = False,
        verbose: Any = False,
    ) -> None:
        self.alpha = alpha
        self.loss = loss
        self.bias = bias
        self.fit_intercept = fit_intercept
        self.tol = tol
        self.time_limit = time_limit
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.warm_start = warm_start
        self.verbose = verbose


class ReLUClassifier(ClassificationTask, _OnePenalty):
    """A two-layer ReLU network for two or more classes, trained to the certified global optimum of

        1/sum(w) sum_i w_i loss(f(x_i), y_i) + alpha/2 (|W|_F^2 + |A|_F^2)

    over all networks f(x) = A^T (W^T x + b)_+ + c; W holds the biases b as well, and c is free.

    Two classes share one output. More have an output each over the same hidden layer, and the loss is the
    cross entropy of the softmax: one network, not one against the rest.

    Parameters
    ----------
    alpha : float, default=0.01
        The penalty on the squared weights, relative to the mean loss; suits features of unit variance.
        See :class:`ReLUClassifierCV`.
    loss : {"logistic", "squared_hinge"}, default="logistic"
        The cross entropy (softmax for more than two classes), or half the squared hinge loss for two classes,
        without probabilities.
    bias : {"penalized", "none"}, default="penalized"
        Whether neurons have a bias, penalised with their weights, or none.
    fit_intercept : bool, default=True
        Whether the outputs have an intercept; it is not penalised.
    tol : float, default=1e-4
        The gap, relative to the objective, at which the network counts as proven optimal.
    time_limit : float, optional
        Seconds after which the best network so far is returned, with its valid gap. By default the training
        goes on until it has converged, and the proof has about as much time again.
    random_state : int, default=0
        Seeds the search. The certified optimum does not depend on it.
    n_jobs : int, optional
        Threads of the proof; -1 for all cores. With one, the default, the proven gap is the same every time.
    warm_start : bool, default=False
        Whether to start from the network of the previous fit, if it has the right shape.
    verbose : bool or callable, default=False
        Show the progress on a line, or hand every `Record` of the training to a function.

    Attributes
    ----------
    classes_ : array of shape (n_classes,)
        The classes that have any weight.
    network_ : Network
    certificate_ : Certificate
        Primal and dual value, gap, status, and the multiplier that proves them.
    gap_ : float
        The proven relative distance to the global optimum; at most `tol` if optimality is proven.
    result_ : FitResult
        Network and certificate with the history of the training, for `extremal.plotting.history`.
    coefs_ : list of two arrays, (d, m) and (m, c)
        Hidden and output weights.
    intercepts_ : list of two arrays, (m,) and (c,)
        Hidden biases and output intercepts.
    n_iter_ : int
        The number of records in the history.
    n_features_in_ : int
    feature_names_in_ : array of shape (d,)
        If X had names for its columns.
    n_outputs_ : int

    Notes
    -----
    Features are not scaled. The penalty treats all of them alike, so standardise them in a pipeline unless
    their scales carry meaning.

    Examples
    --------
    >>> import numpy as np
    >>> from extremal import ReLUClassifier
    >>> X = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    >>> ReLUClassifier(alpha=1e-3).fit(X, ["no", "yes", "yes", "no"]).predict(X).tolist()
    ['no', 'yes', 'yes', 'no']
    """

    def __init__(
        self,
        alpha: float = 0.01,
        *,
        loss: str = "logistic",
        bias: Bias = "penalized",
        fit_intercept: bool = True,
        tol: float = 1e-4,
        time_limit: float | None = None,
        random_state: int = 0,
        n_jobs: int | None = None,
        warm_start: bool = False,
        verbose: Any = False,
    ) -> None:
        self.alpha = alpha
        self.loss = loss
        self.bias = bias
        self.fit_intercept = fit_intercept
        self.tol = tol
        self.time_limit = time_limit
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.warm_start = warm_start
        self.verbose = verbose
