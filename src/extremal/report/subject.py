"""What a report is about: a network on its data, and what is known of it, whichever result it came from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from extremal.certificate import Certificate
from extremal.design import Array, Design
from extremal.flow import FlowResult
from extremal.flow.starts import FlowStatistics
from extremal.network import Network
from extremal.training import FitResult, Record

#: Losses whose targets are classes.
CLASS_LOSSES = ("logistic", "squared_hinge", "softmax", "exponential")


@dataclass(frozen=True, eq=False)
class Subject:
    """A network, the data, and the result that speaks about them.

    Attributes
    ----------
    X : array of shape (n, d)
        The features, without a column of ones.
    y : array of shape (n, c)
        Targets; for classes their numbers 0, 1, ... in one column.
    given : array
        The targets as they were given, in numbers.
    network : Network or None
    certificate : Certificate or None
    flow : FlowResult or None
    starts : FlowStatistics or None
        All starts, of which `flow` is the best.
    history : tuple of Record
    seconds : float or None
    loss : str
    features, classes : lists of str
        No classes for a regression.
    """

    X: Array
    y: Array
    given: Array
    network: Network | None
    certificate: Certificate | None
    flow: FlowResult | None
    starts: FlowStatistics | None
    history: tuple[Record, ...]
    seconds: float | None
    loss: str
    features: list[str]
    classes: list[str]

    @cached_property
    def rows(self) -> Array:
        """The rows as the hidden layer sees them: with the column of ones if there is a bias."""
        if self.network is None or not self.network.bias:
            return self.X
        return np.column_stack([self.X, np.ones(len(self.X))])

    @cached_property
    def outputs(self) -> Array:
        """f(X), shape (n, c)."""
        assert self.network is not None
        return self.network.predict(self.X)

    @property
    def task(self) -> str:
        """ "fit", "certify" or "flow"."""
        if self.flow is not None:
            return "flow"
        return "fit" if self.seconds is not None else "certify"

    @property
    def is_classes(self) -> bool:
        return bool(self.classes)

    @cached_property
    def score(self) -> tuple[str, float] | None:
        """R^2 or accuracy on these rows, with its name."""
        if self.network is None:
            return None
        if self.is_classes:
            return "accuracy on these rows", float(np.mean(winners(self.outputs) == self.y[:, 0]))
        total = float(np.square(self.y - self.y.mean(axis=0)).sum())
        return ("R² on these rows", 1 - float(np.square(self.y - self.outputs).sum()) / total) if total > 0 else None


def subject_of(
    result: Any,
    X: ArrayLike,
    y: ArrayLike,
    *,
    network: Network | None = None,
    feature_names: Sequence[str] | None = None,
    class_names: Sequence[str] | None = None,
) -> Subject:
    """The subject of a result, checked against the data; see `extremal.report`."""
    starts = result if isinstance(result, FlowStatistics) else None
    found = min(result.results, key=lambda run: run.value) if isinstance(result, FlowStatistics) else result
    names = class_names
    if hasattr(found, "result_"):  # an estimator
        names = getattr(found, "classes_", None) if names is None else names
        y = _numbers_of_classes(found, y)
        found = found.result_
    known = isinstance(found, FitResult | Certificate | FlowResult)
    if not known:
        raise TypeError(
            "a report is about what fit, certify, flow or flows return, or about a fitted estimator; "
            f"not about {type(result).__name__}"
        )
    network = _network(found, network)
    loss = found.trajectory.loss if isinstance(found, FlowResult) else _certificate(found).loss
    table = _table(X)
    raw = np.asarray(y, dtype=np.float64)
    raw = raw[:, None] if raw.ndim == 1 else raw
    _check(table, raw, network)
    classes = _classes(loss, raw, names, network)
    return Subject(
        X=table,
        y=_class_numbers(raw, loss)[:, None] if classes else raw,
        given=raw,
        network=network,
        certificate=None if isinstance(found, FlowResult) else _certificate(found),
        flow=found if isinstance(found, FlowResult) else None,
        starts=starts,
        history=getattr(found, "history", ()),
        seconds=getattr(found, "seconds", None),
        loss=loss,
        features=_feature_names(X, table.shape[1], feature_names),
        classes=classes,
    )


def winners(outputs: Array) -> Array:
    """The number of the class that wins."""
    return outputs.argmax(axis=1) if outputs.shape[1] > 1 else (outputs[:, 0] > 0).astype(int)


def _certificate(result: Any) -> Certificate:
    return result if isinstance(result, Certificate) else result.certificate


def _network(result: Any, network: Network | None) -> Network | None:
    """The network that the result is about, unless one is given."""
    return network if network is not None else getattr(result, "network", None)


def _table(X: ArrayLike) -> Array:
    return Design.from_data(X, bias=False).dense()


def _check(X: Array, y: Array, network: Network | None) -> None:
    if len(X) != len(y):
        raise ValueError(f"X has {len(X)} rows and y has {len(y)}")
    if network is not None and network.n_features != X.shape[1]:
        raise ValueError(f"the network has {network.n_features} features, X has {X.shape[1]}")


def _numbers_of_classes(estimator: Any, y: ArrayLike) -> ArrayLike:
    """The targets of an estimator in numbers: a classifier's labels may be words."""
    classes = getattr(estimator, "classes_", None)
    return y if classes is None else np.searchsorted(classes, np.asarray(y)).astype(np.float64)


def _class_numbers(y: Array, loss: str) -> Array:
    return y[:, 0].astype(int) if loss == "softmax" else (y[:, 0] > 0).astype(int)


def _classes(loss: str, y: Array, names: Sequence[str] | None, network: Network | None) -> list[str]:
    """The names of the classes: those given, or the labels."""
    if loss not in CLASS_LOSSES:
        return []
    count = max(int(y.max()) + 1, network.n_outputs if network else 0) if loss == "softmax" else 2
    if names is not None:
        if len(names) != count:
            raise ValueError(f"there are {count} classes; class_names has {len(names)}")
        return [str(name) for name in names]
    if loss == "softmax":
        return [str(k) for k in range(count)]
    return ["-1", "+1"] if y.min() < 0 else ["0", "1"]


def _feature_names(X: ArrayLike, d: int, names: Sequence[str] | None) -> list[str]:
    """The names given, or those of a data frame, or x1, x2, ..."""
    if names is None and hasattr(X, "columns"):
        names = list(X.columns)
    if names is None:
        return [f"x{k + 1}" for k in range(d)] if d > 1 else ["x"]
    if len(names) != d:
        raise ValueError(f"X has {d} features; feature_names has {len(names)}")
    return [str(name) for name in names]
