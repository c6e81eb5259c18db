"""Data on a line: one feature, or rows X = c a^T + 1 o^T, as sorted distinct positions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from extremal.design import Array, Design

#: Rows may be off their line by this fraction of its length.
OFF = 1e-9


@dataclass(frozen=True, eq=False)
class Line:
    """Rows x_i = origin + s_i direction, with sorted distinct positions.

    Attributes
    ----------
    origin, direction : arrays of shape (d,)
        A row of the data and a unit vector.
    position : array of shape (k,)
        The distinct s_i in increasing order; the first is 0.
    group : array of shape (n,)
        position[group[i]] is that of row i.
    """

    origin: Array
    direction: Array
    position: Array
    group: Array

    @classmethod
    def from_data(cls, X: ArrayLike) -> Line:
        """The line through a user's rows; X (n,) is one feature.

        Everything is a difference to the first point, so that a large offset costs no digits.

        Raises
        ------
        ValueError
            If X is not finite or empty, or its rows are not on one line.
        """
        plain = np.asarray(X) if not hasattr(X, "ndim") else X
        rows = Design.from_data(np.asarray(plain).reshape(-1, 1) if plain.ndim == 1 else plain).dense()
        unit, along = _along(rows)
        order = np.lexsort(along[:, None].T)
        first = order[0]
        position, group = np.unique(along - along[first], return_inverse=True)
        return cls(rows[first].copy(), unit, position, group.ravel())

    @property
    def n(self) -> int:
        return self.group.size

    @property
    def k(self) -> int:
        """The number of distinct positions."""
        return self.position.size

    def positions(self, X: ArrayLike) -> Array:
        """The positions of new rows: their projections on the line."""
        plain = np.asarray(X, dtype=np.float64)
        rows = plain.reshape(-1, 1) if plain.ndim == 1 else plain
        if rows.ndim != 2 or rows.shape[1] != self.origin.size:
            raise ValueError(f"X must have {self.origin.size} columns; its shape is {plain.shape}")
        return (rows - self.origin) @ self.direction


def _along(rows: Array) -> tuple[Array, Array]:
    """A unit vector along the rows and their positions on it, up to an offset."""
    d = rows.shape[1]
    unit = np.eye(d)[0]
    if d == 1:
        return unit, rows[:, 0] - rows[:, 0].min()
    steps = rows - rows[0]
    sizes = np.linalg.norm(steps, axis=1)
    if not sizes.any():
        return unit, sizes
    unit = steps[np.argmax(sizes)] / sizes.max()
    along = steps @ unit
    off = float(np.linalg.norm(steps - np.outer(along, unit), axis=1).max())
    # differences of rounded entries are only as exact as these
    if off > (OFF + 8 * np.finfo(float).eps * np.abs(rows).max() / sizes.max()) * sizes.max():
        raise ValueError(
            f"the rows of X are not on one line: they are off by {off / sizes.max():.2g} of its length; "
            "`extremal.fit` and `extremal.min_norm` take data of any rank"
        )
    # the orientation is that of the first feature which changes, so that one feature stays what it is
    lead = int(np.flatnonzero(np.abs(unit) > OFF)[0])
    sign = np.sign(unit[lead])
    return sign * unit, sign * along
