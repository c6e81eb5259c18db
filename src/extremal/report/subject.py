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
from extremal.judgement import Judgement
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
    task : str
        "fit", "certify" or "flow".
    network : Network or None
    better : Network or None
        What a judgement found.
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
    task: str
    network: Network | None
    better: Network | None
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
    def is_plain(self) -> bool:
        """Whether the certificate is about unit vectors of the rows as they are: the penalty is that of `fit`."""
        return not isinstance(self.certificate, Judgement) or self.certificate.decay.is_plain

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
    if hasattr(found, "result_"):  # an estimator
        y = _numbers_of_classes(found, y)
        if class_names is None and hasattr(found, "classes_"):
            class_names = [str(name) for name in found.classes_]
        found = found.result_
    if not isinstance(found, FitResult | Certificate | FlowResult):
        raise TypeError(
            "a report is about what fit, certify, flow or flows return, or about a fitted estimator; "
            f"not about {type(result).__name__}"
        )
    network = getattr(found, "network", None) if network is None else network
    loss = found.trajectory.loss if isinstance(found, FlowResult) else _certificate(found).loss
    table = Design.from_data(X, bias=False).dense()
    given = np.asarray(y)
    given = given[:, None] if given.ndim == 1 else given
    _check(table, given, network)
    classes: list[str] = []
    targets = given
    if loss in CLASS_LOSSES:
        targets, classes = _labelled(given, loss, network)
        classes = _named(classes, class_names)
    return Subject(
        X=table,
        y=np.asarray(targets, dtype=np.int64 if classes else np.float64),
        given=np.asarray(targets if given.dtype.kind not in "fiub" else given, dtype=np.float64),
        task="flow" if isinstance(found, FlowResult) else "fit" if isinstance(found, FitResult) else "certify",
        network=network,
        better=found.improved if isinstance(found, Judgement) and found.is_improved else None,
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


def _check(X: Array, y: Array, network: Network | None) -> None:
    if len(X) != len(y):
        raise ValueError(f"X has {len(X)} rows and y has {len(y)}")
    if network is not None and network.n_features != X.shape[1]:
        raise ValueError(f"the network has {network.n_features} features, X has {X.shape[1]}")


def _numbers_of_classes(estimator: Any, y: ArrayLike) -> ArrayLike:
    """The targets of an estimator in numbers: a classifier's labels may be words."""
    classes = getattr(estimator, "classes_", None)
    return y if classes is None else np.searchsorted(classes, np.asarray(y)).astype(np.float64)


def _labelled(y: np.ndarray, loss: str, network: Network | None) -> tuple[np.ndarray, list[str]]:
    """The numbers 0, 1, ... of the classes, in a column, and their labels."""
    if y.shape[1] > 1:  # a column for each class
        return y.argmax(axis=1)[:, None], [str(k) for k in range(y.shape[1])]
    labels = np.unique(y)
    numeric = labels.dtype.kind in "fiub"
    count = 2 if loss != "softmax" else network.n_outputs if network is not None else len(labels)
    if numeric and loss != "softmax" and np.isin(labels, (-1, 0, 1)).all():
        return (y > 0).astype(int), ["-1", "+1"] if labels.min() < 0 else ["0", "1"]
    if numeric and loss == "softmax" and np.isin(labels, np.arange(count)).all():
        return y.astype(int), [str(k) for k in range(count)]
    if len(labels) != count:
        raise ValueError(f"the network is for {count} classes; y holds {len(labels)} different values")
    return np.searchsorted(labels, y), [f"{label:g}" if numeric else str(label) for label in labels]


def _named(labels: list[str], names: Sequence[str] | None) -> list[str]:
    """The names given, or the labels."""
    if names is not None and len(names) != len(labels):
        raise ValueError(f"there are {len(labels)} classes; class_names has {len(names)}")
    return labels if names is None else [str(name) for name in names]


def _feature_names(X: ArrayLike, d: int, names: Sequence[str] | None) -> list[str]:
    """The names given, or those of a data frame, or x1, x2, ..."""
    if names is None and hasattr(X, "columns"):
        names = list(X.columns)
    if names is None:
        return [f"x{k + 1}" for k in range(d)] if d > 1 else ["x"]
    if len(names) != d:
        raise ValueError(f"X has {d} features; feature_names has {len(names)}")
    return [str(name) for name in names]
