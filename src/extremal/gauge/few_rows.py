"""The gauge of a handful of rows at many multipliers at once, exact: what pictures of its unit ball need.

On a face {x_i . u = 0 for i in T} of the cells, f(u) = lam^T (X u)_+ is linear, so a maximiser over |u| <= 1 is the
projection of X_S^T lam_S onto that face for some disjoint sets of rows S (active) and T (on the boundary). All 3^n
pairs are tried; a candidate outside the cell it was made for is still a point of the ball.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np

from extremal.design import Array

#: 3^n candidates are tried.
MOST_ROWS = 6


def gauge_values(X: Array, Lam: Array) -> Array:
    """g(lam) = max over |u| <= 1 of |lam^T (X u)_+| for each row lam of Lam, shape (k,).

    Parameters
    ----------
    X : array of shape (n, d), n <= 6
    Lam : array of shape (k, n)

    Raises
    ------
    ValueError
        If X has more rows, or the shapes do not fit together.
    """
    return np.max([np.abs((Lam * points).sum(axis=1)) for points in _points(X, Lam)], axis=0, initial=0.0)


def best_faces(X: Array, Lam: Array) -> Array:
    """For each row lam of Lam the number of the face and side at which the gauge is reached, shape (k,)."""
    sides = [side * (Lam * points).sum(axis=1) for points in _points(X, Lam) for side in (1.0, -1.0)]
    return np.argmax(sides, axis=0) if sides else np.zeros(len(Lam), dtype=int)


def touched_points(X: Array, lam: Array, tol: float = 1e-3) -> Array:
    """The points (X u)_+ of the rectified ellipsoid with |lam^T (X u)_+| >= (1 - tol) g(lam), shape (k, n).

    One point for each face on which there is a maximiser, up to the tolerance, the best first.
    """
    found = np.concatenate([np.zeros((0, len(lam))), *_points(X, lam[None])])
    values = np.abs(found @ lam)
    best = float(values.max(initial=0.0))
    order = np.argsort(-values, kind="stable")
    kept: list[Array] = []
    for point in found[order[(values[order] > 0) & (values[order] >= (1 - tol) * best)]]:
        if all(np.linalg.norm(point - other) > np.sqrt(tol) * np.linalg.norm(other) for other in kept):
            kept.append(point)
    return np.array(kept).reshape(-1, len(lam))


def best_points(X: Array, Lam: Array) -> Array:
    """For each row lam of Lam a point s (X u)_+ with s lam^T (X u)_+ = g(lam), s = +-1, shape (k, n)."""
    best, value = np.zeros(Lam.shape), np.zeros(len(Lam))
    for points in _points(X, Lam):
        products = (Lam * points).sum(axis=1)
        better = np.abs(products) > value
        best[better] = np.sign(products[better])[:, None] * points[better]
        value = np.maximum(value, np.abs(products))
    return best


def spikes(X: Array, *, samples: int = 4096) -> Array:
    """The corners of the convex hull of the rectified ellipsoid and its mirror image: s (X u)_+, shape (k, n).

    A corner is the maximiser for a whole cone of multipliers lam, so it is found by some of many of them, evenly
    distributed, unless its cone is thin. What moves with lam is on the curved part, and no corner.

    Parameters
    ----------
    X : array of shape (n, d), n <= 6
    samples : int
        Multipliers that are tried.
    """
    stretch = float(np.abs(X).max(initial=0.0)) or 1.0
    rng = np.random.default_rng(0)
    Lam = rng.standard_normal((samples, len(X)))
    points = best_points(X / stretch, Lam)
    moved = best_points(X / stretch, Lam + 1e-3 * rng.standard_normal(Lam.shape))
    fixed = points[np.abs(moved - points).max(axis=1, initial=0.0) < 1e-12]
    _, first = np.unique(np.round(fixed, 6) + 0.0, axis=0, return_index=True)
    return stretch * fixed[first]


def _points(X: Array, Lam: Array) -> Iterator[Array]:
    """(X u)_+ of (k, n) for every unit vector u that is a candidate for the rows of Lam."""
    X, Lam = np.asarray(X, dtype=np.float64), np.asarray(Lam, dtype=np.float64)
    if X.ndim != 2 or len(X) > MOST_ROWS or Lam.shape[1:] != (len(X),):
        raise ValueError(f"needs X of (n, d) with n <= {MOST_ROWS} and Lam of (k, n); got {X.shape} and {Lam.shape}")
    stretch = float(np.abs(X).max(initial=0.0)) or 1.0
    rows, largest = X / stretch, np.abs(Lam).max(axis=1, initial=0.0)
    for candidates in _candidates(rows, Lam / np.where(largest > 0, largest, 1.0)[:, None]):
        size = np.linalg.norm(candidates, axis=1)
        size[size <= 1e-14] = np.inf  # nothing but rounding
        yield stretch * np.maximum(candidates @ rows.T / size[:, None], 0)


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
