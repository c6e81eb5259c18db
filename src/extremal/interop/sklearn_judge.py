"""A judge that watches scikit-learn's networks train: as one of its callbacks, or by training them epoch by epoch."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from extremal.interop.live import LiveJudge, Standard
from extremal.interop.sklearn import imported
from extremal.losses import bind
from extremal.network import Network

#: Iterations of L-BFGS between two looks.
ITERATIONS = 10


class SklearnJudge(LiveJudge):
    """Watches an MLPRegressor or MLPClassifier train: objective, proven lower bound and gap, for <= 5 % of the time.

    MLPRegressor and MLPClassifier do not tell callbacks about their epochs, so the judge trains them itself:

        judge = SklearnJudge(X, y, csv="run.csv")
        model = judge.fit(MLPRegressor(hidden_layer_sizes=50, alpha=1.0))
        print(judge.verdict())

    It is also a callback of scikit-learn 1.9 and later, for estimators that hand a fitted network to their callbacks:
    `estimator.set_callbacks(SklearnJudge())`.

    Parameters
    ----------
    X, y, sample_weight : arrays, optional
        The training data. As a callback it takes those that the estimator was given.
    tol, time_limit : float
        Of the search for the best possible before the first look: a relative gap, and seconds (12 by default).
    options
        name, budget, every, csv, log_dir and clock, see `LiveJudge`.

    Attributes
    ----------
    history : tuple of Look
        .epoch, .seconds, .objective, .lower, .best, .gap
    standard : Standard
        The best network found and the bound.
    share : float
        What the looks have cost, as a share of the training time.
    """

    def __init__(
        self,
        X: ArrayLike | None = None,
        y: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
        *,
        tol: float = 1e-6,
        time_limit: float | None = None,
        **options: Any,
    ) -> None:
        if (X is None) != (y is None):
            raise ValueError("give both X and y, or neither")
        super().__init__(**options)
        self._X, self._y, self._weight = X, y, sample_weight
        self._tol, self._time_limit = tol, time_limit

    def fit(self, model: Any, *, epochs: int | None = None) -> Any:
        """Train a model epoch by epoch, and look at it after each.

        Parameters
        ----------
        model : MLPRegressor or MLPClassifier
            If it is fitted, its training goes on. With solver="lbfgs" an epoch is ten iterations, after which L-BFGS
            starts with a fresh memory.
        epochs : int, optional
            By default as many as `model.max_iter` allows; it ends earlier by the model's own rule.

        Returns
        -------
        The model.

        Raises
        ------
        ValueError
            If the model holds data out (early_stopping), or is not one of these.
        """
        if self._X is None or self._y is None:
            raise ValueError("to train a model the judge needs the data: SklearnJudge(X, y)")
        if not hasattr(model, "hidden_layer_sizes"):
            raise ValueError(f"MLPRegressor and MLPClassifier are trained here, not {type(model).__name__}")
        if model.early_stopping:
            raise ValueError(
                "early_stopping=True holds data out and ends elsewhere than the objective; set it to False"
            )
        iterations = ITERATIONS if model.solver == "lbfgs" else 1
        epochs = max(model.max_iter // iterations, 1) if epochs is None else epochs
        self.name = self.name or f"{type(model).__name__} ({model.solver})"
        start = self._epoch = max(self._epoch, 0)
        with _stepwise(model, iterations):
            self.accounts.begin()
            for epoch in range(start + 1, start + epochs + 1):
                ended = self._advance(model, iterations)
                self(model, epoch)
                if ended:
                    break
        model.n_iter_ = iterations * (self._epoch - start)
        if self._looks[-1].epoch < self._epoch:
            self.verdict(model)
        return model

    def _advance(self, model: Any, iterations: int) -> bool:
        """One epoch; whether the model's own rule says that it was the last."""
        from sklearn.base import is_classifier

        options = {} if self._weight is None else {"sample_weight": self._weight}
        if model.solver == "lbfgs":
            model.fit(self._X, self._y, **options)
            return bool(model.n_iter_ < iterations)
        if is_classifier(model):
            options["classes"] = np.unique(np.asarray(self._y))
        model.partial_fit(self._X, self._y, **options)
        return bool(getattr(model, "_no_improvement_count", 0) > model.n_iter_no_change)

    def setup(self, estimator: Any, context: Any) -> None:
        """scikit-learn's callback: a fit begins."""
        self.restart()

    def teardown(self, estimator: Any, context: Any) -> None:
        """scikit-learn's callback: a fit has ended."""

    def on_fit_task_begin(
        self,
        estimator: Any,
        context: Any,
        *,
        X: Any = None,
        y: Any = None,
        metadata: Any = None,
        fitted_estimator: Any = None,
    ) -> None:
        """scikit-learn's callback: keeps the data that the fit was given."""
        if self._X is None and X is not None and y is not None:
            self._X, self._y, self._weight = X, y, (metadata or {}).get("sample_weight")

    def on_fit_task_end(
        self,
        estimator: Any,
        context: Any,
        *,
        X: Any = None,
        y: Any = None,
        metadata: Any = None,
        fitted_estimator: Any = None,
    ) -> bool:
        """scikit-learn's callback: a look at the network after every innermost task, or at the end; the fit goes on."""
        self.on_fit_task_begin(estimator, context, X=X, y=y, metadata=metadata)
        model = estimator if fitted_estimator is None else fitted_estimator
        has_network = hasattr(model, "coefs_") or hasattr(model, "network_")
        if has_network and self._X is not None and (context.max_subtasks == 0 or not self._looks):
            self.name = self.name or type(estimator).__name__
            self(model, max(self._epoch, 0) + 1)
        return False

    def _prepared(self, model: Any) -> Standard:
        if self._X is None or self._y is None:
            raise ValueError("the judge needs the training data: SklearnJudge(X, y)")
        found = imported(model)
        targets = found.targets(self._y)
        n = len(targets)
        if found.loss == "softmax":
            targets = np.eye(found.network.n_outputs)[targets.astype(int)]
        decay = found.decay_for(n, self._weight)
        if decay is None or found.loss is None:
            raise ValueError(f"the objective of {found.source} is not known")
        loss = bind(found.loss, targets, found.sample_weight(n, self._weight))
        standard = Standard(self._X, decay.problem(self._X, targets, loss=loss), self._tol)
        return standard.search(found.network, self._time_limit)

    def _objective(self, model: Any) -> float:
        parts = [*model.coefs_, *model.intercepts_] if hasattr(model, "coefs_") else []
        if not all(np.isfinite(part).all() for part in parts):
            return np.inf
        assert self.standard is not None
        return self.standard.mapped.value(self._network(model))

    def _network(self, model: Any) -> Network:
        return imported(model).network


@contextmanager
def _stepwise(model: Any, iterations: int) -> Iterator[None]:
    """The model's settings for training in steps; what the user had set comes back.

    One generator serves all epochs: `partial_fit` would start the same one anew, and shuffle alike every time.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.utils import check_random_state

    given = {name: getattr(model, name) for name in ("max_iter", "warm_start", "random_state")}
    model.set_params(random_state=check_random_state(model.random_state))
    if model.solver == "lbfgs":
        model.set_params(max_iter=iterations, warm_start=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        try:
            yield
        finally:
            model.set_params(**given)
