"""The hyperplanes {x_i . u = 0} of a data matrix in exact integers: rank, zero rows, parallel rows, a generic flag.

Floating-point numbers are rationals, so every row is a positive multiple of an integer vector, and nothing here rounds.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import gcd

import numpy as np

from extremal.arrangements.modular import echelon, moduli_for, residues
from extremal.design import Array, Design

_MANTISSA = 53


@dataclass(frozen=True, eq=False)
class Central:
    """The distinct hyperplanes of X in r coordinates, and how the rows of X are read off them.

    Attributes
    ----------
    n, d : int
        The shape of X.
    lines : object array of Python integers, shape (N, r)
        A primitive normal vector for each hyperplane; the rank is r.
    line_of : integer array of shape (n,)
        The hyperplane of every row, -1 for a zero row.
    opposite : boolean array of shape (n,)
        Whether the row is a negative multiple of the normal vector.
    columns : integer array of shape (r,)
        The columns of X that carry its column space: u may be taken zero elsewhere.
    shift : integer array of shape (r,)
        Those columns were multiplied by 2 ** shift.
    """

    n: int
    d: int
    lines: Array
    line_of: Array
    opposite: Array
    columns: Array
    shift: Array

    @classmethod
    def of(cls, design: Design) -> Central:
        """Reduce a data matrix."""
        X = design.dense()
        integers, shift = _integers(X)
        columns = _independent_columns(integers)
        lines, line_of, opposite = _distinct(integers[:, columns])
        return cls(design.n, design.d, lines, line_of, opposite, columns, shift[columns])

    @property
    def N(self) -> int:
        """The number of distinct hyperplanes."""
        return self.lines.shape[0]

    @property
    def rank(self) -> int:
        return self.lines.shape[1]

    @cached_property
    def is_plain(self) -> bool:
        """Whether row i of X is hyperplane i, with the same orientation."""
        return bool(len(self.lines) == self.n and not self.opposite.any())

    @cached_property
    def mask(self) -> Array:
        """The packed bits of the nonzero rows."""
        return np.packbits(self.line_of >= 0, bitorder="little")

    @cached_property
    def floats(self) -> Array:
        """The normal vectors, each divided by a power of two and rounded: relative errors of 2^-53 in every entry."""
        return to_floats(self.lines)

    def flag(self, seed: int) -> Array:
        """The normal vectors in the coordinates of a random flag; the last hyperplane is the first coordinate.

        Column c holds the coefficients of f_c, where f_0 is the last normal vector itself and f_1, ..., f_{r-1} are
        random: x_j = sum_c Z[j, c] f_c, up to a positive factor of the row. Any invertible integer matrix T with
        x_N T = (positive, 0, ..., 0) gives such a Z = X T; this one is random in coordinates in which the rows are
        orthonormal columns, so that few signs are left open by rounding.
        """
        rng = np.random.default_rng(seed)
        r, infinity = self.rank, self.lines[-1]
        R, inverse = _whitening(self.floats)
        q = int(np.argmin(np.linalg.norm(R, axis=0) / np.maximum(np.abs(self.floats[-1]), 1e-300)))
        D = inverse @ rng.standard_normal((r, r))
        D[:, 0] = inverse @ (inverse.T @ self.floats[-1])
        D = _rounded(D)
        T = D * infinity[q]  # in the kernel of the last row, after a correction of entry q
        T[q] -= infinity @ D
        T[:, 0] = D[:, 0]
        if not infinity @ D[:, 0] > 0:
            T[:, 0] = [int(np.sign(infinity[q])) * (i == q) for i in range(r)]
        return np.array([_primitive(row) for row in _balanced(self.lines @ T, self.lines)], dtype=object).reshape(
            self.N, r
        )


def lines_through(X: Array) -> tuple[Array, Array]:
    """The number of the line through the origin that carries each row (-1: a zero row), and whether the row points
    against the first nonzero row on its line. Exact."""
    _, line_of, opposite = _distinct(_integers(X)[0])
    return line_of, opposite


def _whitening(X: Array) -> tuple[Array, Array]:
    """R and 1/R with orthonormal columns X/R, or a diagonal R if X is singular as far as floats can tell."""
    unit = X / np.linalg.norm(X, axis=1, keepdims=True)
    scale = np.linalg.norm(unit, axis=0)
    if not scale.all():  # a column that is too small for floats next to the others
        return np.eye(len(scale)), np.eye(len(scale))
    R = np.asarray(np.linalg.qr(unit / scale, mode="r"))
    if np.abs(np.diag(R)).min() < 1e-12 * np.abs(R).max():
        R = np.eye(len(scale))
    return R * scale, np.linalg.inv(R) / scale[:, None]


def _rounded(D: Array) -> Array:
    """Integers near a common multiple of D, every row to 30 bits."""
    exponent = np.frexp(np.abs(D).max(axis=1, keepdims=True))[1]
    integers = np.rint(np.ldexp(D, 30 - exponent)).astype(np.int64).astype(object)
    return integers * np.array([[1 << int(e)] for e in (exponent - exponent.min()).ravel()], dtype=object)


def _balanced(Z: Array, X: Array) -> Array:
    """Z = X T with its columns multiplied by powers of two, so that they are of one size relative to the rows of X."""
    size = (_bits(Z) - _bits(X).max(axis=1, keepdims=True)).max(axis=0)
    return Z * np.array([1 << int(size.max() - own) for own in size], dtype=object)


def _bits(integers: Array) -> Array:
    return np.array([[abs(int(entry)).bit_length() for entry in row] for row in integers])


def to_floats(integers: Array) -> Array:
    """Every row divided by a power of two near its largest entry, and rounded."""
    floats = np.empty(integers.shape)
    for i, row in enumerate(integers):
        excess = max((abs(int(entry)).bit_length() for entry in row), default=0)
        floats[i] = [_ratio(int(entry), excess) for entry in row]
    return floats


def _ratio(value: int, bits: int) -> float:
    """value / 2^bits, rounded once; numbers below 2^-900 become zero (their error is below every bound used here)."""
    own = abs(value).bit_length()
    if own - bits < -900:
        return 0.0
    drop = max(own - 64, 0)
    return float(np.ldexp(float(value >> drop if value >= 0 else -((-value) >> drop)), drop - bits))


def _primitive(row: Array) -> list[int]:
    divisor = gcd(*(int(entry) for entry in row)) or 1
    return [int(entry) // divisor for entry in row]


def _integers(X: Array) -> tuple[Array, Array]:
    """Integers that are positive multiples of the rows of X 2^shift, as an object array, and the shift (d,)."""
    fraction, exponent = np.frexp(X)
    mantissa = np.ldexp(fraction, _MANTISSA).astype(np.int64)
    nonzero = mantissa != 0
    trailing = np.zeros(X.shape, dtype=np.int64)
    lowest = mantissa[nonzero] & -mantissa[nonzero]
    trailing[nonzero] = np.frexp(lowest.astype(np.float64))[1] - 1
    exponent = np.where(nonzero, exponent.astype(np.int64) - _MANTISSA + trailing, np.iinfo(np.int32).max)
    odd = mantissa >> trailing
    low = exponent.min(axis=0)
    shift = np.where(nonzero.any(axis=0), -low, 0)
    exponent = np.where(nonzero, exponent + shift, np.iinfo(np.int32).max)
    exponent = np.where(nonzero, exponent - exponent.min(axis=1, keepdims=True), 0)
    integers = np.empty(X.shape, dtype=object)
    if exponent.max(initial=0) == 0 or (exponent + _MANTISSA).max(initial=0) < 62:
        integers[:] = odd << exponent
    else:
        integers[:] = odd.astype(object) * np.array([1 << int(e) for e in exponent.ravel()], dtype=object).reshape(
            X.shape
        )
    return integers, shift


def _independent_columns(integers: Array) -> Array:
    """The columns of a largest independent set, exactly: the rank is the largest of those modulo enough primes."""
    order = min(integers.shape)
    best = np.zeros(0, dtype=np.int64)
    for p in moduli_for(integers, order):
        rank, pivots = echelon(residues(integers, np.array([p]))[0], int(p))
        if rank > best.size:
            best = np.sort(pivots)
        if rank == order:
            break
    return best


def _distinct(integers: Array) -> tuple[Array, Array, Array]:
    """Primitive normal vectors without repetition, the one of every row (-1: none), and whether it points back."""
    n, r = integers.shape
    position: dict[tuple[int, ...], int] = {}
    line_of = np.full(n, -1, dtype=np.int64)
    opposite = np.zeros(n, dtype=bool)
    for i, row in enumerate(integers):
        key = tuple(_primitive(row))
        if not any(key):
            continue
        mirrored = tuple(-entry for entry in key)
        if mirrored in position:
            line_of[i], opposite[i] = position[mirrored], True
        else:
            line_of[i] = position.setdefault(key, len(position))
    lines = np.empty((len(position), r), dtype=object)
    for key, k in position.items():
        lines[k] = key
    return lines, line_of, opposite
