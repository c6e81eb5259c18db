"""Linear algebra in decimal arithmetic of many digits: object arrays of Decimals, in a `localcontext(prec=...)`.

Decimals are made from doubles without rounding, as mpmath's numbers are, and their arithmetic is compiled.
"""

from __future__ import annotations

from decimal import Decimal

import numpy as np

ZERO = Decimal(0)


def as_decimals(array) -> np.ndarray:
    """The doubles of an array, as they are."""
    array = np.asarray(array, dtype=float)
    out = np.empty(array.shape, dtype=object)
    out.flat = [Decimal(entry) for entry in array.ravel().tolist()]
    return out


def norm(array) -> Decimal:
    """The Euclidean norm of all entries."""
    return sum((entry * entry for entry in array.flat), ZERO).sqrt()


def norms(rows) -> np.ndarray:
    """The norms of the rows."""
    return np.array([norm(row) for row in rows], dtype=object)
