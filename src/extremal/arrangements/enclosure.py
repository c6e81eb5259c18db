"""Coefficients of hyperplanes where others vanish: floating point with a bound on the error, or exact signs."""

from __future__ import annotations

import numpy as np
from numba import njit

from extremal.arrangements.modular import coefficient_signs
from extremal.design import Array

UNIT = 2.0**-53


@njit(cache=True, nogil=True)
def invert(Z: Array, S: Array, B: Array, inverse: Array) -> tuple[float, float]:  # pragma: no cover - compiled
    """An approximate inverse Y of B = Z[S, r-|S|:], for entries of at most one known up to UNIT.

    Returns (|Y|, g) in the maximum row sum norm with |I - Y B| <= g for the true B; g = inf without an inverse. Then
    |B^-1 - Y| <= g / (1 - g) |Y| if g < 1.
    """
    k, r = S.size, Z.shape[1]
    for s in range(k):
        for t in range(k):
            B[s, t] = Z[S[s], r - k + t]
            inverse[s, t] = 1.0 if s == t else 0.0
    for c in range(k):
        p = c
        for s in range(c + 1, k):
            if abs(B[s, c]) > abs(B[p, c]):
                p = s
        if B[p, c] == 0.0:
            return np.inf, np.inf
        if p != c:
            for t in range(k):
                B[p, t], B[c, t] = B[c, t], B[p, t]
                inverse[p, t], inverse[c, t] = inverse[c, t], inverse[p, t]
        scale = 1.0 / B[c, c]
        for t in range(k):
            B[c, t] *= scale
            inverse[c, t] *= scale
        for s in range(k):
            if s != c:
                m = B[s, c]
                for t in range(k):
                    B[s, t] -= m * B[c, t]
                    inverse[s, t] -= m * inverse[c, t]
    norm, defect = 0.0, 0.0
    for s in range(k):
        size, total = 0.0, 0.0
        for t in range(k):
            size += abs(inverse[s, t])
            value = 1.0 if s == t else 0.0
            for c in range(k):
                value -= inverse[s, c] * Z[S[c], r - k + t]
            total += abs(value)
        norm = max(norm, size)
        defect = max(defect, total)
    return norm, (defect + k * (2 * k + 4) * UNIT * norm) * (1.0 + 1e-9)


@njit(cache=True, nogil=True)
def restrict(
    Z: Array, S: Array, c: int, inverse: Array, norm: float, g: float, column: Array
) -> float:  # pragma: no cover - compiled
    """column = the coefficients of f_c where the rows S vanish; returns a bound on their errors."""
    (M, r), k = Z.shape, S.size
    if not g < 0.5:
        return np.inf
    y = np.zeros(k)
    residual, size = 0.0, 1.0
    for t in range(k):
        for s in range(k):
            y[t] += inverse[t, s] * Z[S[s], c]
        size += abs(y[t])
    for s in range(k):
        value = Z[S[s], c]
        for t in range(k):
            value -= Z[S[s], r - k + t] * y[t]
        residual = max(residual, abs(value))
    for j in range(M):
        value = Z[j, c]
        for t in range(k):
            value -= Z[j, r - k + t] * y[t]
        column[j] = value
    rounding = (k + 4) * UNIT * size
    return (rounding + k * norm * (residual + rounding) / (1.0 - g)) * (1.0 + 1e-9)


@njit(cache=True, nogil=True)
def set_bit(words: Array, j: int, value: bool) -> None:  # pragma: no cover - compiled
    bit = np.uint64(1) << np.uint64(j & 63)
    if value:
        words[j >> 6] |= bit
    else:
        words[j >> 6] &= ~bit


@njit(cache=True, nogil=True)
def settle(
    R: Array, moduli: Array, S: Array, c: int, orientation: float, rows: Array, words: Array
) -> bool:  # pragma: no cover - compiled
    """Exact signs of coordinate c, times the orientation, of some rows on the flat of S; False if one is zero."""
    if rows.size == 0:
        return True
    signs = np.empty(rows.size, np.int64)
    if not coefficient_signs(R, moduli, S, c, rows, signs):
        return False
    for q in range(rows.size):
        if signs[q] == 0:
            return False
        set_bit(words, rows[q], orientation * signs[q] > 0.0)
    return True
