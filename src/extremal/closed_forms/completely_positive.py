"""Factors B >= 0 of a positive semidefinite matrix, L L^T = B B^T: a rotation of L into the orthant."""

from __future__ import annotations

import numpy as np

from extremal.design import Array

#: Starts, steps of each, and the entry below zero, relative to the largest, at which they end.
STARTS, STEPS, ENOUGH = 6, 1000, 1e-12


def rotate(L: Array, *, extra: int = 2, random_state: int = 0) -> Array:
    """Q (k, q) with orthonormal rows and L Q >= 0, or as nearly as was found, for L (f, k).

    Then L L^T = (L Q) (L Q)^T is completely positive. One column needs a sign and two a turn, since vectors of the
    plane with nonnegative inner products lie in a quarter of it; otherwise alternating projections onto
    {Q : L Q >= 0} (approximately) and {Q : Q Q^T = I} from random starts, with up to `extra` further columns.

    References
    ----------
    Groetzner & Duer (2020), a factorisation method for completely positive matrices.
    """
    k = L.shape[1]
    if k == 1:
        return np.array([[1.0 if L.sum() >= 0 else -1.0]])
    scale = float(np.abs(L).max(initial=0.0))
    if scale == 0.0:
        return np.eye(k)
    if k == 2:
        return _turn(L)
    rng, inverse = np.random.default_rng(random_state), np.linalg.pinv(L, rcond=1e-7)
    outside = np.eye(k) - inverse @ L
    best, least = np.eye(k), -np.inf
    for start in range(STARTS):
        Q = np.linalg.qr(rng.normal(size=(k + start % (extra + 1), k)))[0].T
        for _ in range(STEPS):
            B = L @ Q
            if (low := float(B.min()) / scale) > least:
                best, least = Q, low
            if least >= -ENOUGH:
                return best
            U, _, Vt = np.linalg.svd(inverse @ np.maximum(B, 0.0) + outside @ Q, full_matrices=False)
            Q = U @ Vt
    return best


def _turn(L: Array) -> Array:
    """The axes at 45 degrees to both sides of the middle of the rows of L (f, 2)."""
    lengths = np.linalg.norm(L, axis=1)
    alive = lengths > 1e-12 * lengths.max()
    angles = np.angle(L[alive] @ np.array([1, 1j]))
    turned = np.angle(np.exp(1j * (angles - angles[0])))
    middle = angles[0] + (turned.max() + turned.min()) / 2
    first = middle - np.pi / 4
    return np.array([[np.cos(first), -np.sin(first)], [np.sin(first), np.cos(first)]])
