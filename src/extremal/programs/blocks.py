"""The blocks of a finite program: one vector u for every pattern D and sign s, which adds s D X u to the outputs.

The cone of a block is K = {u : (2D - I) X u >= 0}. Zero rows constrain nothing, and parallel rows the same: what counts
is on which side of every distinct line the cone lies.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from extremal.design import Array, Design

#: Bytes of the temporary arrays in one product with all patterns.
CHUNK = 2**25


@dataclass(frozen=True, eq=False)
class Blocks:
    """Patterns and signs over the rows of X, with the cones (or without them, for gated networks).

    Attributes
    ----------
    X : array of shape (n, d)
    patterns : boolean array of shape (K, n)
        patterns[k, i] says whether block k is active on row i.
    signs : array of shape (K,), of +1 and -1
    lines : array of shape (L, d)
        The distinct lines of the nonzero rows, as unit vectors.
    sides : int8 array of shape (K, L)
        The cone of block k is {u : sides[k, l] lines[l] . u >= 0 for every l}, = 0 where the side is 0. The side is
        `projection.REDUNDANT` where it has been found that the others imply it.
    """

    X: Array
    patterns: Array
    signs: Array
    lines: Array
    sides: Array

    @classmethod
    def relu(cls, design: Design, patterns: Array, signs: Array) -> Blocks:
        """Blocks with their cones."""
        X = design.dense()
        lines, line, turn = _lines(X, design.row_norms)
        return cls(X, patterns, signs, lines, _sides(patterns, line, turn, len(lines)))

    @classmethod
    def gated(cls, design: Design, patterns: Array) -> Blocks:
        """Blocks without cones: every u is allowed, and a sign would change nothing."""
        p, d = len(patterns), design.d
        return cls(design.dense(), patterns, np.ones(p), np.zeros((0, d)), np.zeros((p, 0), np.int8))

    @property
    def count(self) -> int:
        return len(self.patterns)

    def take(self, index: Array) -> Blocks:
        """The blocks `index`."""
        return replace(self, patterns=self.patterns[index], signs=self.signs[index], sides=self.sides[index])

    def moments(self, lam: Array) -> Array:
        """s X^T D lam for every block, shape (K, d); lam is (n,)."""
        product = lam[:, None] * self.X
        step = max(1, CHUNK // (8 * len(self.X)))
        parts = [self.patterns[k : k + step] @ product for k in range(0, self.count, step)]
        return self.signs[:, None] * np.concatenate(parts)

    def projections(self, lam: Array, cutoff: float = 0.0) -> Array:
        """The projections of the moments onto the cones, shape (K, d); those not longer than `cutoff` are not exact.

        Their lengths are max {lam^T (s D X u) : u in K, |u| <= 1}: the gauge of lam within the cells of the blocks.
        """
        from extremal.programs.projection import project

        return project(self.lines, self.sides, self.moments(lam), cutoff)

    def outputs(self, U: Array) -> Array:
        """sum_k s_k D_k X u_k, shape (n,), for U (d, K)."""
        used = np.flatnonzero(np.any(U, axis=0))
        return self.take(used).fits(U[:, used]).sum(axis=1)

    def fits(self, U: Array) -> Array:
        """s_k D_k X u_k as columns, shape (n, K)."""
        return (self.X @ U) * self.patterns.T * self.signs

    def violation(self, U: Array) -> float:
        """How far the blocks are outside their cones: the largest -(side line . u) / max |u|, at least 0."""
        used = np.flatnonzero(np.any(U, axis=0))
        if used.size == 0 or len(self.lines) == 0:
            return 0.0
        z = self.lines @ (U[:, used] / lengths(U[:, used]).max())
        side = self.sides[used].T
        return float(np.select([side == 0, np.abs(side) == 1], [np.abs(z), np.maximum(-side * z, 0.0)]).max())


def lengths(U: Array) -> Array:
    """|u_k| for the columns of U, whatever their scale."""
    largest = np.abs(U).max(axis=0, initial=0.0)
    unit = np.where(largest > 0, largest, 1.0)
    return unit * np.linalg.norm(U / unit, axis=0)


def as_patterns(patterns: ArrayLike, n: int) -> Array:
    """Check a user's patterns: a boolean array (p, n), one pattern a row.

    Raises
    ------
    ValueError
        If the shape is another one, there is none, or the entries are not 0 and 1.
    """
    array = np.asarray(patterns)
    if array.ndim != 2 or array.shape[1] != n or array.shape[0] == 0:
        raise ValueError(f"patterns must have shape (p, {n}), one pattern a row; their shape is {array.shape}")
    if array.dtype != bool and not np.isin(array, (0, 1)).all():
        raise ValueError("patterns must be boolean, or 0 and 1")
    return np.ascontiguousarray(array.astype(bool))


def as_signs(signs: ArrayLike, p: int) -> Array:
    """Check a user's signs: +1 and -1, one for each pattern."""
    array = np.asarray(signs, dtype=np.float64)
    if array.shape != (p,) or not np.isin(array, (-1, 1)).all():
        raise ValueError(f"signs must be +1 or -1 for each of the {p} patterns")
    return array


def signed(patterns: ArrayLike, signs: ArrayLike | None, n: int) -> tuple[Array, Array]:
    """Patterns (K, n) and signs (K,) of the blocks: as given, or every pattern with both signs."""
    array = as_patterns(patterns, n)
    if signs is not None:
        return array, as_signs(signs, len(array))
    return np.vstack([array, array]), np.repeat([1.0, -1.0], len(array))


def distinct(patterns: Array, signs: Array) -> tuple[Array, Array]:
    """(first, copy): the index of one block of each kind, and for every block its place among those."""
    keys = np.column_stack([np.packbits(patterns, axis=1), signs > 0])
    _, first, copy = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    return first, copy.ravel()


def _lines(X: Array, norms: Array) -> tuple[Array, Array, Array]:
    """Distinct lines (L, d); for each row its line (-1 for a zero row) and its direction along it."""
    nonzero = np.flatnonzero(norms > 0)
    unit = X[nonzero] / norms[nonzero, None]
    leading = np.argmax(np.abs(unit) > 1e-9, axis=1)
    turn = np.sign(unit[np.arange(len(unit)), leading])
    _, first, copy = np.unique(np.round(turn[:, None] * unit, 13) + 0.0, axis=0, return_index=True, return_inverse=True)
    line, direction = np.full(len(X), -1), np.zeros(len(X))
    line[nonzero], direction[nonzero] = copy.ravel(), turn
    return np.ascontiguousarray((turn[:, None] * unit)[first]), line, direction


def _sides(patterns: Array, line: Array, turn: Array, count: int) -> Array:
    """On which side (+1, -1) of every line the cone of a pattern lies; 0 if rows of the line are on both."""
    sides = np.zeros((len(patterns), count), np.int8)
    order = np.argsort(line, kind="stable")[np.count_nonzero(line < 0) :]
    if order.size == 0:
        return sides
    start = np.flatnonzero(np.diff(line[order], prepend=-1))
    ahead = patterns[:, order] == (turn[order] > 0)
    sides[np.logical_and.reduceat(ahead, start, axis=1)] = 1
    sides[~np.logical_or.reduceat(ahead, start, axis=1)] = -1
    return sides
