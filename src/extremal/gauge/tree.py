"""The gauge in any rank: branch and bound over the signs of x_i . u, best bound first, both signs of lam in one tree.

A node is a set of rows whose signs are fixed; its bound is Shor's relaxation (`interior`, `majorant`). Fixing the sign
of a row makes its term linear, and adds a half-space that tightens all other terms. The row to branch on is the one
of positive weight whose term the relaxation overestimates most, c_i (sqrt(x_i^T U x_i) - |x_i . u|): measured against
splits along the widest direction of U, splits by negative rows and weighted mixtures, this is the best by far.
"""

from __future__ import annotations

import heapq
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from extremal.design import Array, Design
from extremal.gauge.ascent import ascend
from extremal.gauge.bounds import GaugeStatus, SideBound
from extremal.gauge.interior import ITERATIONS, interior_point
from extremal.gauge.sides import Side, one_thread

#: A node that stays open is solved to this fraction of its excess over the cutoff.
ACCURACY = 0.05

#: The first nodes start an ascent from their u, and later one in so many.
FIRST_ASCENTS, ASCENT_EVERY = 32, 16

#: Open nodes at most: their memory is small, but not nothing.
MOST_OPEN = 2_000_000


@dataclass(frozen=True, eq=False)
class Multipliers:
    """What proves the bound of a node: see :func:`extremal.gauge.majorant.bound_of_multipliers`.

    `positive` and `negative` are the rows whose sign is open; w (p,), slope (m,), E (m, d) belong to them, force (k,),
    H (k, d) and pairs (k (k - 1) / 2,) to the half-spaces.
    """

    positive: Array
    negative: Array
    w: Array
    slope: Array
    E: Array
    force: Array
    H: Array
    pairs: Array


@dataclass(eq=False, slots=True)
class Node:
    """A side and the signs of some rows, as a chain to the root.

    `branch` is the row to fix next, or -1 if there is none, or if the node was not solved yet. `bound` is the smallest
    on the way from the root; `own` is what the multipliers prove.
    """

    side: int
    parent: Node | None = None
    row: int = -1
    sign: float = 0.0
    bound: float = np.inf
    own: float = np.inf
    branch: int = -1
    children: tuple[Node, Node] | None = None
    multipliers: Multipliers | None = None

    def path(self) -> tuple[list[int], list[float]]:
        """The fixed rows and their signs, from the root."""
        rows: list[int] = []
        signs: list[float] = []
        node = self
        while node.parent is not None:
            rows.append(node.row)
            signs.append(node.sign)
            node = node.parent
        return rows[::-1], signs[::-1]

    def split(self) -> tuple[Node, Node]:
        """The node's children, with the sign of the row `branch` fixed."""
        first, second = (Node(self.side, self, self.branch, sign, self.bound) for sign in (1.0, -1.0))
        self.children = (first, second)
        return first, second

    def forget_parent(self) -> None:
        """Drop the multipliers of the parent once both children prove as much."""
        above = self.parent
        if above is not None and above.children and max(child.own for child in above.children) <= above.own:
            above.multipliers = None

    def preorder(self, is_leaf: Callable[[Node], bool] = lambda node: False) -> Iterator[Node]:
        """The nodes below, each before its children, the positive side of a row first; nothing below an `is_leaf`."""
        stack = [self]
        while stack:
            node = stack.pop()
            yield node
            if node.children is not None and not is_leaf(node):
                stack += node.children[::-1]


@dataclass(eq=False)
class Search:
    """The state of a branch and bound: it can be stopped at any time, and continued.

    Attributes
    ----------
    sides : list of Side
        The same rows and different weights; f is bounded on all of them together.
    lower : float
        The best value known, attained at `u` on the side `where`.
    roots : list of Node
    heap : list
        The open nodes, the largest bound first.
    closed : list of float
        For each side the largest bound of the nodes that were closed.
    first : float
        The bound of the roots.
    keep : bool
        Whether the multipliers are kept: those of the leaves, and of inner nodes that prove more than their children.
    """

    sides: list[Side]
    lower: float
    tol: float = 1e-6
    threshold: float | None = None
    keep: bool = False
    u: Array = field(init=False)
    where: int = -1
    nodes: int = 0
    iterations: int = 0
    first: float = np.inf
    roots: list[Node] = field(default_factory=list)
    heap: list[tuple[float, int, Node]] = field(default_factory=list)
    closed: list[float] = field(default_factory=list)
    pushed: int = 0

    def __post_init__(self) -> None:
        self.features = products(self.sides[0].rows)
        self.u = np.zeros(self.rank)
        self.roots = [Node(s, bound=side.trivial) for s, side in enumerate(self.sides)]
        self.gather()

    @property
    def rank(self) -> int:
        return self.sides[0].rank

    @property
    def cutoff(self) -> float:
        """A node with a bound this small is closed; what rounding may add to a bound stays below it."""
        return max(self.lower * (1 + self.tol), self.threshold or 0.0) - 2 * self.sides[0].rounding

    @property
    def is_decided(self) -> bool:
        """Whether a value above the threshold is known."""
        return self.threshold is not None and self.lower > self.threshold

    @property
    def upper(self) -> float:
        """The proven bound on all sides together."""
        still = -self.heap[0][0] if self.heap else 0.0
        return max(still, *self.closed) + self.sides[0].rounding

    def upper_of(self, side: int) -> float:
        """The proven bound on one side."""
        still = max((node.bound for _, _, node in self.heap if node.side == side), default=0.0)
        return max(still, self.closed[side]) + self.sides[side].rounding

    def solve(self, node: Node) -> tuple[float, int, Array, Multipliers | None]:
        """(bound, iterations, u, multipliers) of a node; sets nothing but the row to branch on."""
        side = self.sides[node.side]
        bound, iterations, u, multipliers, node.branch = self.relaxed(node, side, self.features, self.cutoff)
        return bound, iterations, u, multipliers

    def relaxed(
        self, node: Node, side: Side, features: Array, cutoff: float
    ) -> tuple[float, int, Array, Multipliers | None, int]:
        """(bound, iterations, u, multipliers, row to branch on) of a node's signs for this side; sets nothing."""
        rows, signs = node.path()
        open_ = np.ones(side.weights.size, dtype=bool)
        open_[rows] = False
        positive = np.flatnonzero(open_ & (side.weights > 0))
        negative = np.flatnonzero(open_ & (side.weights < 0))
        p, m, k, d = positive.size, negative.size, len(rows), self.rank
        A = np.array(signs)[:, None] * side.rows[rows] if k else np.zeros((0, d))
        linear = side.linear + 0.5 * (side.weights * open_) @ side.rows
        linear += np.maximum(np.array(signs), 0.0) * side.weights[rows] @ side.rows[rows] if k else 0.0
        P, cp = side.rows[positive], side.weights[positive]
        multipliers = (
            np.ones(p), np.zeros(m), np.zeros((m, d)), np.zeros(k), np.zeros((k, d)), np.zeros(k * (k - 1) // 2)
        )  # fmt: skip
        u, U = np.zeros(d), np.zeros((d, d))
        bound, _, iterations = interior_point(
            P, side.rows[negative], A, features[positive], cp, -side.weights[negative], linear,
            cutoff, ACCURACY if p else 0.0, ITERATIONS, multipliers, (u, U),
        )  # fmt: skip
        spread = np.sqrt(np.maximum(np.einsum("ij,ij->i", P @ U, P), 0.0))
        excess = cp * (spread - np.abs(P @ u))
        branch = int(positive[np.argmax(excess)]) if p else -1
        if not (self.keep and np.isfinite(bound)):
            return bound, iterations, u, None, branch
        index = (positive.astype(np.int32), negative.astype(np.int32))
        kept = Multipliers(*index, *(part.astype(np.float32) for part in multipliers))
        return bound, iterations, u, kept, branch

    def settle(self, node: Node, solved: tuple[float, int, Array, Multipliers | None]) -> None:
        """Close the node or leave it open, and learn from its u."""
        bound, iterations, u, multipliers = solved
        self.nodes += 1
        self.iterations += iterations
        node.own, node.multipliers = bound, multipliers
        node.forget_parent()
        node.bound = min(node.bound, bound)  # a node lies in its parent
        self.learn(node, u)
        self.file(node, solved=True)

    def file(self, node: Node, *, solved: bool) -> None:
        """The node among the closed ones, or among the open ones; solved with no row to branch on it is closed."""
        if node.bound <= self.cutoff or (solved and node.branch < 0):
            self.closed[node.side] = max(self.closed[node.side], node.bound)
        else:
            self.pushed += 1
            heapq.heappush(self.heap, (-node.bound, self.pushed, node))

    def gather(self) -> None:
        """Open and closed nodes from the tree itself: an interrupt may have come between any two steps."""
        self.heap, self.closed = [], [0.0] * len(self.sides)
        stack = self.roots[::-1]
        while stack:
            node = stack.pop()
            if node.children is None:
                self.file(node, solved=False)
            else:
                stack += node.children[::-1]

    def learn(self, node: Node, u: Array) -> None:
        """A better lower bound, from u itself or from an ascent that starts there."""
        side = self.sides[node.side]
        directions = [u]
        last = node.branch < 0 and node.bound > self.cutoff
        if last or self.nodes <= FIRST_ASCENTS or self.nodes % ASCENT_EVERY == 0:
            norm = float(np.linalg.norm(u))
            if norm > 1e-8:
                design, weights = self.homogeneous[node.side]
                climbed = ascend(design, weights, u[:, None] / norm, rounds=12, sweeps=20)
                directions += list(climbed.U.T)
        for v in directions:
            value = side.value(v)
            if value > self.lower:
                self.lower, self.u, self.where = value, v, node.side

    @cached_property
    def homogeneous(self) -> list[tuple[Design, Array]]:
        """f of every side as lam^T (Xu)_+: the linear part is a pair of opposite rows."""
        result = []
        for side in self.sides:
            pair = [side.linear, -side.linear] if side.linear.any() else np.zeros((0, self.rank))
            weights = np.concatenate([side.weights, [1.0, -1.0][: len(pair)]])
            result.append((Design(np.vstack([side.rows, pair])), weights[:, None]))
        return result

    def run(
        self,
        *,
        deadline: float | None,
        max_nodes: float = np.inf,
        n_jobs: int = 1,
        report: Callable[[float], None] | None = None,
    ) -> GaugeStatus:
        """Branch until all nodes are closed, or until a limit; Ctrl-C ends it with the status INTERRUPTED."""
        n_jobs = min(n_jobs, os.cpu_count() or 1)
        with one_thread().limit(limits=1, user_api="blas"), workers(n_jobs) as solve_all:
            try:
                self.gather()
                pending = [node for _, _, node in self.heap if node.branch < 0]
                self.heap = [item for item in self.heap if item[2].branch >= 0]
                heapq.heapify(self.heap)
                while True:
                    for node, solved in zip(pending, solve_all(self.solve, pending), strict=True):
                        self.settle(node, solved)
                    if self.first == np.inf:
                        self.first = self.upper
                    self.close_small()
                    if report is not None and self.heap:
                        report(self.upper)
                    if not self.heap:
                        return GaugeStatus.EXACT
                    if self.is_decided or self.nodes >= max_nodes or len(self.heap) > MOST_OPEN:
                        return GaugeStatus.NODE_LIMIT
                    if deadline is not None and time.monotonic() > deadline:
                        return GaugeStatus.TIME_LIMIT
                    pending = [child for node in self.largest(n_jobs) for child in node.split()]
            except KeyboardInterrupt:
                self.gather()
                return GaugeStatus.INTERRUPTED

    def largest(self, count: int) -> list[Node]:
        return [heapq.heappop(self.heap)[2] for _ in range(min(count, len(self.heap)))]

    def close_small(self) -> None:
        """Close everything once the largest bound is small enough: the lower bound has risen."""
        if self.heap and -self.heap[0][0] <= self.cutoff:
            for _, _, node in self.heap:
                self.closed[node.side] = max(self.closed[node.side], node.bound)
            self.heap.clear()

    def bounds(self, status: GaugeStatus) -> list[SideBound]:
        """What is known of every side."""
        result = []
        for s, side in enumerate(self.sides):
            u = self.u if s == self.where else np.zeros(self.rank)
            result.append(SideBound(max(side.value(u), 0.0), self.upper_of(s), u, status))
        return result


def products(rows: Array) -> Array:
    """The coefficients (n, d (d + 1) / 2) of x_i^T U x_i, as a linear function of the upper triangle of U."""
    first, second = np.triu_indices(rows.shape[1])
    return rows[:, first] * rows[:, second] * np.where(first == second, 1.0, 2.0)


def node_work(n: int, d: int) -> float:
    """Multiplications of a node with n rows of rank d, ten Newton steps, fitted to what it costs.

    A row costs a product of order d^2 / 2, at the speed of matrix products, and many short loops.
    """
    order = d * (d + 3) / 2
    return 10 * (n * (2000 + order**2 / 6) + order**3 / 20 + 2e5)


@contextmanager
def workers(n_jobs: int) -> Iterator[Callable]:
    """A map over nodes: the built-in one, or that of so many threads (the compiled code holds no lock)."""
    if n_jobs == 1:
        yield map
    else:
        with ThreadPoolExecutor(n_jobs) as pool:
            yield pool.map
