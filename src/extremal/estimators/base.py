"""What all estimators share: checked data, targets in and out, and the attributes of a fit."""

from __future__ import annotations

import os
import warnings
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import expit, log_expit, log_softmax, softmax
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_array, column_or_1d
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_consistent_length, check_is_fitted, validate_data

from extremal.estimators.callbacks import CallbackSupportMixin
from extremal.estimators.rows import DistinctRows
from extremal.estimators.state import plain, restored

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from extremal.certificate import Certificate
    from extremal.design import Array
    from extremal.network import Network
    from extremal.problem import Bias
    from extremal.training import FitResult


#: What `_adopt` sets.
_ADOPTED = ("result_", "network_", "certificate_", "gap_", "n_iter_", "n_outputs_", "coefs_", "intercepts_")


class ReLUEstimator(CallbackSupportMixin, BaseEstimator):
    """An estimator that holds one certified network."""

    bias: Bias
    fit_intercept: bool
    tol: float
    time_limit: float | None
    random_state: int
    verbose: Any
    network_: Network
    certificate_: Certificate

    def _adopt(self, result: FitResult) -> None:
        """Set the fitted attributes."""
        network = result.network
        self.result_ = result
        self.network_ = network
        self.certificate_ = result.certificate
        self.gap_ = result.certificate.gap
        self.n_iter_ = max(len(result.history), 1)
        self.n_outputs_ = network.n_outputs
        weights, biases = network.hidden, np.zeros(network.width)
        if network.bias:
            weights, biases = network.hidden[:-1], network.hidden[-1]
        self.coefs_ = [weights, network.output]
        self.intercepts_ = [biases, network.intercept]

    def __getstate__(self) -> dict[str, Any]:
        """The parameters and the result of the fit as plain arrays, so that skops can load them."""
        state = super().__getstate__()
        if "result_" in state:
            state = {name: value for name, value in state.items() if name not in _ADOPTED}
            state["result_"] = plain(self.result_)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if "result_" in state:
            self._adopt(restored(state["result_"]))

    def _train(
        self, rows: DistinctRows, loss: str, alpha: float, *, progress: Any, start: Network | None = None
    ) -> None:
        """Train on the distinct rows and set the fitted attributes; warn if it was cut short."""
        from extremal.training import fit

        result = fit(
            rows.X,
            rows.y,
            beta=alpha * float(rows.weight.sum()),
            loss=loss,
            bias=self.bias,
            intercept=self.fit_intercept,
            sample_weight=rows.weight,
            tol=self.tol,
            time_limit=self.time_limit,
            random_state=self.random_state,
            progress=progress,
            start=start,
            n_jobs=threads(getattr(self, "n_jobs", None)),
        )
        self._adopt(rows.expand(result))
        _warn_unless_converged(result)

    def _outputs(self, X: ArrayLike) -> Array:
        """The network's outputs, shape (n, c)."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, accept_sparse="csr", dtype=np.float64)
        return self.network_.predict(X)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


class RegressionTask(RegressorMixin):
    """Targets are numbers, one column or several."""

    def _read(self, X: ArrayLike, y: ArrayLike) -> tuple[Any, Array]:
        X, y = validate_data(self, X, y, accept_sparse="csr", dtype=np.float64, multi_output=True, y_numeric=True)
        return X, np.asarray(y, dtype=np.float64)

    def _encode(self, y: Array, weight: Array) -> tuple[Array, str]:
        """The targets for the solver, and the loss."""
        self._column = y.ndim == 1
        return y, self.loss

    def predict(self, X: ArrayLike) -> Array:
        """The predicted targets.

        Parameters
        ----------
        X : array or sparse matrix of shape (n, d)

        Returns
        -------
        array of shape (n,), or (n, c) after fitting targets of that shape
        """
        outputs = self._outputs(X)
        return outputs[:, 0] if self._column else outputs

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


def _is_probabilistic(estimator: Any) -> bool:
    if estimator.loss != "logistic":
        raise AttributeError(f"probabilities need loss='logistic'; here loss={estimator.loss!r}")
    return True


class ClassificationTask(ClassifierMixin):
    """Targets are classes: one output for two of them, otherwise one output a class."""

    classes_: Array

    def _read(self, X: ArrayLike, y: ArrayLike) -> tuple[Any, Array]:
        X, y = validate_data(self, X, y, accept_sparse="csr", dtype=np.float64)
        check_classification_targets(y)
        return X, column_or_1d(y, warn=True)

    def _encode(self, y: Array, weight: Array) -> tuple[Array, str]:
        """The targets for the solver, and the loss; classes without any weight are not there."""
        self.classes_ = np.unique(y[weight > 0])
        count = len(self.classes_)
        if count < 2:
            raise ValueError(f"a classifier needs at least two classes; y has one class only: {self.classes_[0]}")
        loss = self.loss
        if loss == "squared_hinge" and count > 2:
            raise ValueError(f"loss 'squared_hinge' is for two classes, and y has {count}; use loss='logistic'")
        if loss not in ("logistic", "squared_hinge"):
            raise ValueError(f"unknown loss {loss!r} for a classifier; choose 'logistic' or 'squared_hinge'")
        codes = np.searchsorted(self.classes_, y).clip(max=count - 1).astype(np.float64)
        return codes, loss if count == 2 else "softmax"

    def decision_function(self, X: ArrayLike) -> Array:
        """The network's outputs: log-odds of the second class, or a score for every class.

        Returns
        -------
        array of shape (n,) for two classes, otherwise (n, n_classes)
        """
        outputs = self._outputs(X)
        return outputs[:, 0] if len(self.classes_) == 2 else outputs

    def predict(self, X: ArrayLike) -> Array:
        """The most likely class of every row, shape (n,)."""
        scores = self.decision_function(X)
        winner = scores.argmax(axis=1) if scores.ndim == 2 else (scores > 0).astype(int)
        return self.classes_[winner]

    @available_if(_is_probabilistic)
    def predict_proba(self, X: ArrayLike) -> Array:
        """The probability of every class, in the order of `classes_`; for loss="logistic".

        Returns
        -------
        array of shape (n, n_classes)
        """
        scores = self.decision_function(X)
        if scores.ndim == 1:
            return np.column_stack([expit(-scores), expit(scores)])
        return softmax(scores, axis=1)

    @available_if(_is_probabilistic)
    def predict_log_proba(self, X: ArrayLike) -> Array:
        """The logarithm of `predict_proba`, accurate for tiny probabilities too."""
        scores = self.decision_function(X)
        if scores.ndim == 1:
            return np.column_stack([log_expit(-scores), log_expit(scores)])
        return log_softmax(scores, axis=1)


def check_weight(sample_weight: ArrayLike | None, X: Any) -> Array:
    """The sample weights as a vector; ones if there are none.

    Raises
    ------
    ValueError
        If they are not one finite nonnegative number a row, or are all zero.
    """
    if sample_weight is None:
        return np.ones(X.shape[0])
    weight = check_array(sample_weight, ensure_2d=False, dtype=np.float64, input_name="sample_weight")
    if weight.ndim != 1:
        raise ValueError(f"sample_weight must be a vector, not of shape {weight.shape}")
    check_consistent_length(X, weight)
    if np.any(weight < 0) or not np.any(weight > 0):
        raise ValueError("sample_weight must be nonnegative, and not zero everywhere")
    return weight


def check_alpha(alpha: float) -> float:
    """alpha as a float; raises ValueError unless it is positive and finite."""
    number = float(alpha)
    if not (np.isfinite(number) and number > 0):
        raise ValueError(f"alpha must be positive and finite, not {alpha!r}")
    return number


def threads(n_jobs: int | None) -> int:
    """scikit-learn's n_jobs as a number of threads: None is one, -1 all cores."""
    if n_jobs is None:
        return 1
    if isinstance(n_jobs, bool) or not isinstance(n_jobs, Integral) or n_jobs == 0:
        raise ValueError(f"n_jobs must be a nonzero integer or None, not {n_jobs!r}")
    return int(n_jobs) if n_jobs > 0 else max((os.cpu_count() or 1) + 1 + int(n_jobs), 1)


def _warn_unless_converged(result: FitResult) -> None:
    """Warn if the training was cut short, by the clock or by its own limit on rounds.

    A network that has converged without a proof of optimality is the normal end in many features: the bound
    on the gauge is what is loose then, not the network. `gap_` says so; a warning at every fit would only
    be switched off.
    """
    from extremal.certificate import Status

    if result.status in (Status.OPTIMAL, Status.CONVERGED):
        return
    warnings.warn(
        f"the training stopped before it converged, with a proven gap of {result.certificate.gap:.1e} "
        f"to the global optimum ({result.status.value})",
        ConvergenceWarning,
        stacklevel=5,  # the line that called fit, beyond its decorator
    )
