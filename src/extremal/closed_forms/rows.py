"""The rows of a data matrix as unit vectors and norms, at any scale."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from extremal.design import Array, Design
from extremal.losses import bind


def unit_rows(X: Array) -> tuple[Array, Array]:
    """x_i / |x_i| of shape (n, d) and |x_i| of shape (n,); a zero row stays zero. Nothing under- or overflows."""
    exponent = np.frexp(np.abs(X).max(axis=1))[1]
    scaled = np.ldexp(X, -exponent[:, None])
    size = np.linalg.norm(scaled, axis=1)
    return scaled / np.where(size > 0, size, 1.0)[:, None], np.ldexp(size, exponent)


def labelled(X: ArrayLike, y: ArrayLike) -> tuple[Array, Array]:
    """A user's data as a dense matrix and labels -1/+1; ValueError if they are not that or do not fit together."""
    return fitting(X, bind("logistic", y).target[:, 0])


def fitting(X: ArrayLike, y: Array) -> tuple[Array, Array]:
    """A user's data as a dense matrix, with a y that has as many rows."""
    rows = Design.from_data(X).dense()
    if len(rows) != y.size:
        raise ValueError(f"X has {len(rows)} rows and y has {y.size}")
    return rows, y


def with_targets(X: ArrayLike, Y: ArrayLike) -> tuple[Array, Array]:
    """A user's data as a dense matrix, and finite targets (n, c) with as many rows."""
    rows = Design.from_data(X).dense()
    targets = np.asarray(Y, dtype=np.float64)
    targets = targets[:, None] if targets.ndim == 1 else targets
    if targets.ndim != 2 or targets.size == 0 or not np.isfinite(targets).all():
        raise ValueError(f"Y must be finite numbers of shape (n,) or (n, c); its shape is {np.shape(Y)}")
    if len(rows) != len(targets):
        raise ValueError(f"X has {len(rows)} rows and Y has {len(targets)}")
    return rows, targets


def positive(value: Any, name: str = "beta") -> float:
    """A user's number, which has to be positive and finite; ValueError if it is anything else."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = np.nan
    if not (np.isfinite(number) and number > 0):
        raise ValueError(f"{name} must be positive and finite, not {value!r}")
    return number


def classes(X: ArrayLike, y: ArrayLike) -> tuple[Array, Array, int]:
    """A user's data as a dense matrix, the class 0, ..., K-1 of every row, and K >= 2.

    Labels -1/+1 are the classes 0 and 1; otherwise they are class numbers, as for the softmax.

    Raises
    ------
    ValueError
        If the labels are of another kind, or do not fit the data.
    """
    labels = np.asarray(y, dtype=np.float64)
    if labels.ndim == 1 and labels.size and np.isin(labels, (-1, 1)).all():
        labels = (labels + 1) / 2
    if labels.ndim != 1 or not labels.size or np.any(labels < 0) or np.any(labels != np.floor(labels)):
        raise ValueError("y must hold labels -1/+1, or class numbers 0, 1, ..., K-1, in one column")
    one_hot = bind("softmax", labels).target
    rows, number = fitting(X, np.argmax(one_hot, axis=1))
    return rows, number, one_hot.shape[1]
