"""The gauge of a handful of rows at many multipliers at once, exact: what pictures of its unit ball need.

On a face {x_i . u = 0 for i in T} of the cells, f(u) = lam^T (X u)_+ is linear, so a maximiser over |u| <= 1 is the
projection of X_S^T lam_S onto that face for some disjoint sets of rows S (active) and T (on the boundary). All 3^n pairs
are tried; a candidate outside the cell it was made for is still a point of the ball.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np

from extremal.design import Array

#: 3^n candidates are tried.
MOST_ROWS = 6


@dataclass(frozen=True, eq=False)
class GaugeValues:
    """g at k multipliers: `values` (k,), and the points +-(X u)_+ of (k, n) with lam^T point = g(lam)."""

    values: Array
    points: Array


def gauge_values(X: Array, Lam: Array) -> GaugeValues:
    """g(lam) = max over |u| <= 1 of |lam^T (X u)_+| for each row lam of Lam, with a maximiser.

    Parameters
    ----------
    X : array of shape (n, d), n <= 6
    Lam : array of shape (k, n)

    Raises
    ------
    ValueError
        If X has more rows, or the shapes do not fit together.
    """
    X, Lam = np.asarray(X, dtype=np.float64), np.asarray(Lam, dtype=np.float64)
    if X.ndim != 2 or len(X) > MOST_ROWS or Lam.shape[1:] != (len(X),):
        raise ValueError(f"needs X of (n, d) with n <= {MOST_ROWS} and Lam of (k, n); got {X.shape} and {Lam.shape}")
    stretch = float(np.abs(X).max(initial=0.0)) or 1.0
    rows = X / stretch
    values, points = np.zeros(len(Lam)), np.zeros_like(Lam)
    for candidates in _candidates(rows, Lam):
        size = np.linalg.norm(candidates, axis=1)
        size[size <= 1e-14 * np.abs(Lam).max(axis=1)] = np.inf  # nothing but rounding
        found = np.maximum(candidates @ rows.T, 0) / size[:, None]
        for sign in (1.0, -1.0):
            reached = sign * (Lam * found).sum(axis=1)
            better = reached > values
            values[better], points[better] = reached[better], sign * found[better]
    return GaugeValues(stretch * values, stretch * points)


def _candidates(X: Array, Lam: Array) -> Iterator[Array]:
    """+-P_T X_S^T lam_S for all disjoint S and T: an array (k, d) for each."""
    for kinds in product((-1, 0, 1), repeat=len(X)):
        active, boundary = np.equal(kinds, 1), np.equal(kinds, 0)
        if not active.any():
            continue
        drive = Lam[:, active] @ X[active]
        if boundary.any():
            _, s, Vt = np.linalg.svd(X[boundary], full_matrices=False)
            normals = Vt[s > 1e-12 * max(s[0], 1e-300)]
            drive = drive - drive @ normals.T @ normals
        yield drive
        yield -drive
