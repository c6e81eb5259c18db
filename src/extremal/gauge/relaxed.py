"""The neurons of Shor's relaxation: a convex set that contains {(Xu)_+ : |u| <= 1}, and its support function.

On the relaxed set (Xu)_+ becomes z with |x_i . u| replaced by an r_i between max(|x_i . u|, |U x_i|) and
sqrt(x_i^T U x_i). A training problem over relaxed neurons is convex, and its dual point has a smaller relaxed gauge.
"""

from __future__ import annotations

import numpy as np

from extremal.design import Array, Design
from extremal.gauge.interior import ITERATIONS, interior_point
from extremal.gauge.sides import EPS, one_thread

#: The relative accuracy of the maximiser.
PRECISE = 1e-5


def relaxed_maximisers(design: Design, lam: Array, *, accuracy: float = PRECISE) -> tuple[float, Array]:
    """(upper, Z): an upper bound on the gauge of lam (n,), and the relaxed neurons z (n, 2) that attain it roughly.

    The first column maximises lam . z, the second one -lam . z; to a relative accuracy, which only costs tightness.
    """
    X, norms = design.dense(), design.row_norms
    rows = X / np.where(norms > 0, norms, 1.0)[:, None]
    weights = lam * norms
    total = float(np.abs(weights).sum())
    if total == 0.0:
        return 0.0, np.zeros((design.n, 2))
    with one_thread().limit(limits=1, user_api="blas"):
        pairs = [_maximiser(rows, sign * weights / total, accuracy) for sign in (1.0, -1.0)]
    # the unit rows, the weights and the linear part are rounded: see `Side.rounding`
    rounding = 8 * (design.n + 8 * design.d + 64) * EPS
    upper = total * (max(bound for bound, _ in pairs) + rounding) * (1 + 8 * EPS)
    return upper, np.column_stack([norms * z for _, z in pairs])


def _maximiser(rows: Array, c: Array, accuracy: float) -> tuple[float, Array]:
    positive, negative = np.flatnonzero(c > 0), np.flatnonzero(c < 0)
    p, m, d = positive.size, negative.size, rows.shape[1]
    P = rows[positive]
    first, second = np.triu_indices(d)
    features = P[:, first] * P[:, second] * np.where(first == second, 1.0, 2.0)
    multipliers = (np.ones(p), np.zeros(m), np.zeros((m, d)), np.zeros(0), np.zeros((0, d)), np.zeros(0))
    u, U = np.zeros(d), np.zeros((d, d))
    bound, _, _ = interior_point(
        P, rows[negative], np.zeros((0, d)), features, c[positive], -c[negative], 0.5 * c @ rows, 0.0, accuracy,
        ITERATIONS, multipliers, (u, U),
    )  # fmt: skip
    linear, moved = rows @ u, rows @ U
    above = np.sqrt(np.maximum(np.einsum("ij,ij->i", moved, rows), 0.0))
    below = np.maximum(np.abs(linear), np.linalg.norm(moved, axis=1))
    return bound, 0.5 * (linear + np.where(c > 0, above, below))
