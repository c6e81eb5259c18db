"""Exact signs of the pre-activations X U: floating point where it decides, rational arithmetic where it does not."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from extremal.design import Array, Design


def exact_signs(design: Design, U: Array) -> Array:
    """The signs -1, 0, 1 of X U, shape (n, m), as if computed without rounding."""
    X = design.dense()
    # powers of two, so that neither the products nor their error bounds leave the range of floats
    X, V = _scaled(X, axis=1), _scaled(U, axis=0)
    Z = X @ V
    size = np.abs(X) @ np.abs(V)
    slack = (X.shape[1] + 4) * np.finfo(float).eps
    signs = np.sign(Z).astype(np.int8)
    for i, k in np.argwhere(np.abs(Z) <= slack * size + 1e-290):
        signs[i, k] = _exact_sign(design.rows(np.array([i]))[0], U[:, k])
    return signs


def _scaled(A: Array, axis: int) -> Array:
    """A divided by powers of two along an axis, so that the largest entries are between 1/2 and 1."""
    exponent = np.frexp(np.abs(A).max(axis=axis, keepdims=True, initial=0.0))[1]
    return np.ldexp(A, -exponent)


def _exact_sign(x: Array, u: Array) -> int:
    if not x.any() or not u.any():
        return 0
    total = sum(
        (Fraction(a) * Fraction(b) for a, b in zip(x.tolist(), u.tolist(), strict=True) if a and b), Fraction(0)
    )
    return (total > 0) - (total < 0)
