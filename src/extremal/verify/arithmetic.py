"""Constants and small steps of the checker's arithmetic: doubles with a priori error bounds, decimals, fractions."""

from __future__ import annotations

import decimal
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

#: Twice the unit roundoff of IEEE double precision. Every error bound for floating point is a multiple of it.
UNIT = 2.0**-52
#: More than all underflows together can do, in units in which the largest |c_i| and |x_i| are about one.
TINY = 2.0**-400
#: 50 digits; the exponents have no limit that matters.
DIGITS = decimal.Context(prec=50, Emax=decimal.MAX_EMAX, Emin=decimal.MIN_EMIN)
#: A bound on the relative error of the decimal sums, many times what 50 digits leave.
SLACK = Decimal("1e-30")


class Rejected(Exception):
    """The reason why a proof is not accepted."""


def require(condition: Any, reason: str) -> None:
    """Reject unless the condition holds."""
    if not condition:
        raise Rejected(reason)


def norm(vectors: Array) -> Array:
    """The Euclidean norm along the last axis."""
    return np.sqrt((vectors * vectors).sum(axis=-1))


def binary_rows(matrix: Array) -> tuple[Array, Array]:
    """(e, rows): rows_i = 2^-e_i matrix_i has a largest entry in [1/2, 1); exact but for underflow."""
    _, exponents = np.frexp(np.abs(matrix).max(axis=1, initial=0.0))
    return exponents, np.ldexp(matrix, -exponents[:, None])


def largest_exponent(sizes: Array, exponents: Array) -> int:
    """The largest sum of an exponent and that of a nonzero size; 0 if all are zero."""
    used = sizes > 0
    return int((np.frexp(sizes)[1] + exponents)[used].max()) if used.any() else 0


def decimals(array: Array) -> Any:
    """Nested lists of exact decimals."""
    return [decimals(part) for part in array] if array.ndim > 1 else [Decimal(v) for v in array.tolist()]


def fractions(matrix: Array) -> list[list[Fraction]]:
    """Rows of exact fractions."""
    return [[Fraction(v) for v in row] for row in matrix.tolist()]


def to_digits(value: Fraction) -> Decimal:
    """A fraction to the digits of the context."""
    return Decimal(value.numerator) / Decimal(value.denominator)


def total(values: Any) -> Decimal:
    """The sum of decimals."""
    return sum(values, Decimal(0))


def below(value: Decimal) -> float:
    """The largest double that is not above, or the one before it."""
    number = float(value)
    return number if Decimal(number) <= value else float(np.nextafter(number, -np.inf))


def above(value: Decimal) -> float:
    """The smallest double that is not below, or the next."""
    return -below(-value)
