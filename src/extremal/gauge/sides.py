"""One sign of the gauge in the form the methods share: distinct unit rows, weights of total size one."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

from extremal.design import Array, Design

EPS = float(np.finfo(np.float64).eps)

#: Unit rows closer than this to a common line are put onto it.
PARALLEL = 1e-11


@dataclass(frozen=True, eq=False)
class Side:
    """m = max over |u| <= 1 of f(u) = linear^T u + sum_i weights_i (rows_i^T u)_+.

    Attributes
    ----------
    rows : array (n, d)
        Nonzero vectors of norm about one.
    weights : array (n,)
        Nonzero numbers with sum |weights| <= 1.
    linear : array (d,)
        Of norm at most one; what remains of pairs of rows in opposite directions.
    """

    rows: Array
    weights: Array
    linear: Array

    @property
    def rank(self) -> int:
        return self.rows.shape[1]

    def value(self, u: Array) -> float:
        """f(u / |u|), 0 for u = 0."""
        norm = float(np.linalg.norm(u))
        if norm == 0.0:
            return 0.0
        return float(self.linear @ u + self.weights @ np.maximum(self.rows @ u, 0)) / norm

    @cached_property
    def trivial(self) -> float:
        """sum over P of the weights + |linear|, the first upper bound."""
        return float(np.maximum(self.weights, 0).sum() + np.linalg.norm(self.linear)) * (1 + 1e-12)

    @cached_property
    def rounding(self) -> float:
        """A bound on the rounding of sums over the rows: 8 (n + 8 d + 64) eps, as the terms are two in total.

        The sums have at most n + d terms, in any order, and the rows and weights themselves carry a few units
        of rounding. Every method adds it to its upper bound.
        """
        n, d = self.rows.shape
        return 8 * (n + 8 * d + 64) * EPS


@dataclass(frozen=True, eq=False)
class Reduction:
    """M(c) for the rows of X in terms of a Side m: |M(c) - scale m| <= scale slack, with u = basis u'.

    Row i of the side has the direction of row index_i of X.
    """

    side: Side
    scale: float
    slack: float
    basis: Array | None
    index: Array

    @property
    def dimension(self) -> int:
        """The number of the data's columns."""
        return self.side.rank if self.basis is None else self.basis.shape[0]

    def direction(self, u: Array) -> Array:
        """A direction in the original features."""
        return u if self.basis is None else self.basis @ u

    def coordinates(self, u: Array) -> Array:
        """The direction of the side for one in the original features."""
        return u if self.basis is None else self.basis.T @ u


def reduce_side(design: Design, c: Array) -> Reduction | None:
    """The Side of c^T (Xu)_+, without the rows of no weight, in the span of the rows that remain.

    c_i (x_i^T u)_+ = c_i |x_i| (x_i^T u / |x_i|)_+, so the rows become unit vectors. None if nothing remains.
    Writing the rows as (rows V) V^T leaves a remainder E of the size of rounding: slack = sum |weights_i|
    |E_i|.
    """
    unit, magnitude = design.scaled(1.0 / design.magnitude), design.magnitude
    norms, largest = unit.row_norms, float(np.abs(c).max(initial=0.0))
    weights = (c / largest) * norms if largest > 0 else np.zeros(design.n)
    keep = np.flatnonzero(weights)
    if keep.size == 0:
        return None
    rows = np.asarray(unit.rows(keep), dtype=np.float64) / norms[keep, None]
    total = float(np.abs(weights[keep]).sum())
    side, slack, index = merge_parallel(rows, weights[keep] / total)
    spanning = np.vstack([side.rows, side.linear]) if side.linear.any() else side.rows
    basis = Design(spanning).row_space()[1] if spanning.size else None
    if basis is not None:
        reduced = Side(np.ascontiguousarray(side.rows @ basis), side.weights, side.linear @ basis)
        slack += float(np.abs(side.weights) @ np.linalg.norm(side.rows - reduced.rows @ basis.T, axis=1))
        slack += float(np.linalg.norm(side.linear - basis @ reduced.linear)) + 16 * EPS * rows.shape[1]
        side = reduced
    return Reduction(side, total * largest * magnitude, slack, basis, keep[index])


def merge_parallel(rows: Array, weights: Array) -> tuple[Side, float, Array]:
    """The Side with one row for every line that carries rows, a bound on the change of f, and a row of each direction.

    p (z)_+ + m (-z)_+ = (p + m) (z)_+ - m z, where m = 0 if the line carries rows of one direction only.
    """
    d = rows.shape[1]
    generic = np.cos(1.7 * np.arange(1, d + 1)) + 1.3
    signs = np.where(rows @ generic >= 0, 1.0, -1.0)
    along = rows * signs[:, None]
    order = np.argsort(along @ generic[::-1], kind="stable")
    along, signs, weights = along[order], signs[order], weights[order]
    new = np.concatenate([[True], np.linalg.norm(np.diff(along, axis=0), axis=1) > PARALLEL])
    group = np.cumsum(new) - 1
    normals = along[new]
    # the second term: sums over the rows of a line, one after the other
    slack = float(np.abs(weights) @ np.linalg.norm(along - normals[group], axis=1)) + 2 * len(rows) * EPS
    plus = np.bincount(group, np.where(signs > 0, weights, 0.0))
    minus = np.bincount(group, np.where(signs < 0, weights, 0.0))
    flip = np.bincount(group, signs > 0) == 0
    linear = -np.where(flip, 0.0, minus) @ normals
    same = np.flatnonzero((signs < 0) == flip[group])
    index = order[same[np.unique(group[same], return_index=True)[1]]]
    kept = np.abs(plus + minus) > 1e-15 / len(rows)
    slack += float(np.abs(plus + minus)[~kept].sum())
    normals = np.where(flip, -1.0, 1.0)[:, None] * normals
    return Side(np.ascontiguousarray(normals[kept]), (plus + minus)[kept], linear), slack, index[kept]


@cache
def one_thread() -> ThreadpoolController:
    """The linear algebra libraries: products this small are slower on several threads."""
    return ThreadpoolController()
