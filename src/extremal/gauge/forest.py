"""The trees of signs of both sides for a multiplier that moves.

On the rows of known sign and the relaxation of all others, a leaf is a convex set Z of relaxed neurons z whatever lam
is; with rho the largest of |lam . z| over the leaves, lam beta / rho is dual-feasible. What a node solved at one lam
leaves behind serves at all others: its z is a lower bound lam . z <= rho, its multipliers are an upper bound (see
`majorant`), exact to first order in the change of lam, for a hundredth of what solving the node costs.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np

from extremal.design import Array, Design
from extremal.gauge.interior import ITERATIONS, interior_point
from extremal.gauge.majorant import bound_of_multipliers
from extremal.gauge.sides import EPS, lines_of
from extremal.gauge.tree import ACCURACY

#: What the multipliers of a row are kept from when its sign changes: the inverse of a w at most, and the interior.
FLAT, INSIDE = 1e-6, 1.0 - 1e-6


@dataclass(frozen=True, eq=False)
class Point:
    """A multiplier in the units of the relaxation: f(u) = linear . u + sum_k weights_k (normal_k . u)_+.

    The absolute weights of all rows add up to one; g(lam) <= scale (bound + slack) for a bound of both sides.
    """

    weights: Array
    linear: Array
    scale: float
    slack: float

    def upper(self, bound: float) -> float:
        return self.scale * (min(bound, 1.0) + self.slack) * (1 + 8 * EPS)


@dataclass(frozen=True, eq=False)
class Lines:
    """The rows of the data as lines with unit normals: parallel rows share one, so that it is branched on once.

    c_i (x_i . u)_+ of a row against its normal is |c_i x_i| ((z)_+ - z): the weights and the linear part of a side are
    linear in lam.
    """

    normals: Array
    features: Array
    norms: Array
    group: Array
    signs: Array
    distances: Array

    @classmethod
    def of(cls, design: Design) -> Lines:
        X, norms = design.dense(), design.row_norms
        alive = np.flatnonzero(norms > 0)
        unit = X[alive] / norms[alive, None]
        order, members, directions, normals = lines_of(unit)
        group, signs, distances = np.zeros(design.n, dtype=int), np.zeros(design.n), np.zeros(design.n)
        rows = alive[order]
        group[rows], signs[rows] = members, directions
        distances[rows] = np.linalg.norm(unit[order] * directions[:, None] - normals[members], axis=1)
        first, second = np.triu_indices(design.d)
        features = normals[:, first] * normals[:, second] * np.where(first == second, 1.0, 2.0)
        return cls(np.ascontiguousarray(normals), features, norms, group, signs, distances)

    def at(self, lam: Array) -> Point:
        c = lam * self.norms
        scale = float(np.abs(c).sum())
        c = c / max(scale, 1e-300)
        weights = np.bincount(self.group, c, minlength=len(self.normals))
        against = np.bincount(self.group, np.where(self.signs < 0, c, 0.0), minlength=len(self.normals))
        n, d = self.norms.size, self.normals.shape[1]
        # the unit rows, the weights and the linear part are rounded: see `Side.rounding`
        rounding = 8 * (2 * n + 8 * d + 64) * EPS
        return Point(weights, -against @ self.normals, scale, rounding + float(np.abs(c) @ self.distances))

    def neuron(self, linear: Array, size: Array) -> Array:
        """z (n,) from normal . u and what stands for its absolute value, for every line."""
        z = 0.5 * (self.signs * linear[self.group] + size[self.group])
        return self.norms * np.where(self.signs == 0, 0.0, np.maximum(z, 0.0))


@dataclass(eq=False, slots=True)
class Leaf:
    """A side, the signs of some lines, and what the last solution left: multipliers for every line, whatever its sign.

    `bound` is for the point at hand, `fresh` whether the leaf was solved there, `height` the largest +-lam . z of its
    columns there; `branch` is the line to fix next, or -1. The multipliers are those of `majorant`.
    """

    side: float
    lines: Array
    signs: Array
    bound: float = 1.0
    height: float = 0.0
    fresh: bool = False
    gone: bool = False
    branch: int = -1
    w: Array = field(default_factory=lambda: np.zeros(0))
    slope: Array = field(default_factory=lambda: np.zeros(0))
    E: Array = field(default_factory=lambda: np.zeros(0))
    force: Array = field(default_factory=lambda: np.zeros(0))
    H: Array = field(default_factory=lambda: np.zeros(0))
    pairs: Array = field(default_factory=lambda: np.zeros(0))

    def split(self) -> tuple[Leaf, Leaf]:
        """The leaf's halves, with the sign of the line `branch` fixed."""
        self.gone = True
        lines = np.append(self.lines, self.branch)
        first, second = (Leaf(self.side, lines, np.append(self.signs, s), self.bound) for s in (1.0, -1.0))
        return first, second


@dataclass(eq=False, slots=True)
class Column:
    """A relaxed neuron z (n,) of a leaf, and its amplitude in the training problem."""

    z: Array
    leaf: Leaf
    amplitude: float = 0.0


@dataclass(frozen=True, eq=False)
class Program:
    """The arguments of the relaxation of a leaf at a point."""

    positive: Array
    negative: Array
    P: Array
    N: Array
    A: Array
    cp: Array
    cn: Array
    linear: Array


@dataclass(eq=False)
class Forest:
    """The leaves of both sides, and the relaxed neurons that were found in them on the way."""

    design: Design
    lines: Lines = field(init=False)
    leaves: list[Leaf] = field(init=False)
    columns: list[Column] = field(default_factory=list)
    nodes: int = 0

    def __post_init__(self) -> None:
        self.lines = Lines.of(self.design)
        self.leaves = [Leaf(side, np.zeros(0, dtype=int), np.zeros(0)) for side in (1.0, -1.0)]

    def program(self, leaf: Leaf, point: Point) -> Program:
        normals, c = self.lines.normals, leaf.side * point.weights
        free = np.ones(c.size, dtype=bool)
        free[leaf.lines] = False
        positive, negative = np.flatnonzero(free & (c > 0)), np.flatnonzero(free & (c < 0))
        linear = leaf.side * point.linear + 0.5 * (c * free) @ normals
        linear += (np.maximum(leaf.signs, 0.0) * c[leaf.lines]) @ normals[leaf.lines]
        A = leaf.signs[:, None] * normals[leaf.lines]
        return Program(positive, negative, normals[positive], normals[negative], A, c[positive], -c[negative], linear)

    def bound(self, leaf: Leaf, point: Point) -> float:
        """What the leaf's multipliers prove at a point: a number of at most one, as the weights add up to one."""
        if not leaf.w.size:
            return 1.0
        q = self.program(leaf, point)
        w, slope = leaf.w[q.positive].astype(np.float64), leaf.slope[q.negative].astype(np.float64)
        E = leaf.E[q.negative].astype(np.float64)
        bound = bound_of_multipliers(
            q.P, q.N, q.A, q.cp, q.cn, q.linear, w, slope, E, leaf.force, leaf.H, leaf.pairs
        )  # fmt: skip
        return bound if bound < 1.0 else 1.0

    def solve(self, leaf: Leaf, point: Point, cutoff: float) -> Array:
        """The leaf at a point: its bound, its multipliers and its next line; and its relaxed neuron (n,).

        The multipliers of the lines whose weight has the other sign, or none, are closed forms of (u, U): they count
        for little until lam has moved far.
        """
        q = self.program(leaf, point)
        p, m, k, d = q.positive.size, q.negative.size, leaf.lines.size, self.design.d
        multipliers = (
            np.ones(p), np.zeros(m), np.zeros((m, d)), np.zeros(k), np.zeros((k, d)), np.zeros(k * (k - 1) // 2)
        )  # fmt: skip
        u, U = np.zeros(d), np.zeros((d, d))
        bound, _, _ = interior_point(
            q.P, q.N, q.A, self.lines.features[q.positive], q.cp, q.cn, q.linear, cutoff, ACCURACY if p else 0.0,
            ITERATIONS, multipliers, (u, U),
        )  # fmt: skip
        normals = self.lines.normals
        linear, moved = normals @ u, normals @ U
        spread = np.sqrt(np.maximum(np.einsum("ij,ij->i", moved, normals), 0.0))
        length = np.linalg.norm(moved, axis=1)
        straight = np.abs(linear) >= length
        w, slope = 1.0 / np.maximum(spread, FLAT), np.where(straight, INSIDE * np.sign(linear), 0.0)
        E = np.where(straight[:, None], 0.0, INSIDE * moved / np.maximum(length, 1e-300)[:, None])
        w[q.positive], slope[q.negative], E[q.negative] = multipliers[:3]
        leaf.w, leaf.slope, leaf.E = w.astype(np.float32), slope.astype(np.float32), E.astype(np.float32)
        leaf.force, leaf.H, leaf.pairs = multipliers[3:]
        leaf.bound, leaf.fresh = bound if bound < leaf.bound else leaf.bound, True
        leaf.branch = int(q.positive[np.argmax(q.cp * (spread - np.abs(linear))[q.positive])]) if p else -1
        size = np.where(leaf.side * point.weights > 0, spread, np.maximum(np.abs(linear), length))
        size[leaf.lines] = leaf.signs * linear[leaf.lines]
        height = leaf.side * float(point.linear @ u + 0.5 * point.weights @ (linear + size))
        # where the method stopped early, or the leaf has no interior, (u, U) may be outside
        return self.lines.neuron(linear, size) * (leaf.bound / height if height > leaf.bound else 1.0)

    def move(self, lam: Array) -> Point:
        """Bounds and heights of all leaves for another multiplier (n,)."""
        point = self.lines.at(lam)
        for leaf in self.leaves:
            leaf.bound, leaf.height, leaf.fresh = self.bound(leaf, point), 0.0, False
        for column, height in zip(self.columns, self.outputs.T @ lam, strict=True):
            column.leaf.height = max(column.leaf.height, column.leaf.side * float(height))
        return point

    @property
    def outputs(self) -> Array:
        """The columns as a matrix (n, m)."""
        return np.column_stack([column.z for column in self.columns]) if self.columns else np.zeros((self.design.n, 0))

    @property
    def sides(self) -> Array:
        return np.array([column.leaf.side for column in self.columns])

    def refine(
        self,
        point: Point,
        threshold: float,
        cutoff: float,
        *,
        most: int,
        is_split: Callable[[Leaf], bool],
        solve_all: Callable[..., Iterable[Array]],
        width: int,
        is_late: Callable[[], bool],
    ) -> float:
        """Solve or split the leaves with the largest bounds, above the threshold; the largest bound afterwards.

        Those that `is_split` chooses are split, others are solved unless they are fresh. About `most` nodes are solved,
        `width` leaves at a time.
        """
        end = self.nodes + most
        heap = [(-leaf.bound, i, leaf) for i, leaf in enumerate(self.leaves)]
        heapq.heapify(heap)
        number = len(heap)
        stuck: list[Leaf] = []
        while heap and self.nodes < end and -heap[0][0] > threshold and not is_late():
            taken: list[Leaf] = []
            while heap and len(taken) < width and -heap[0][0] > threshold:
                leaf = heapq.heappop(heap)[2]
                if leaf.branch >= 0 and is_split(leaf):
                    taken += leaf.split()
                elif not leaf.fresh:
                    taken.append(leaf)
                else:
                    stuck.append(leaf)
            found = solve_all(lambda leaf: self.solve(leaf, point, cutoff), taken)
            for leaf, z in zip(taken, found, strict=True):
                self.columns.append(Column(z, leaf))
                self.nodes, number = self.nodes + 1, number + 1
                heapq.heappush(heap, (-leaf.bound, number, leaf))
        self.leaves = stuck + [item[2] for item in heap]
        self.columns = [column for column in self.columns if not column.leaf.gone]
        return max(leaf.bound for leaf in self.leaves)

    @property
    def leaf_bytes(self) -> float:
        """The memory of a leaf, roughly."""
        return 500.0 + 4 * len(self.lines.normals) * (self.design.d + 2) + 8 * self.design.n
