"""The gauge of several outputs by branch and bound over the signs of the rows, on the relaxation of `nonnegative`.

A node is split by the row whose two forms are both farthest from zero in the relaxed optimum; where no row is in doubt
any more, by a hyperplane through its best direction.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count

import numpy as np

from extremal.design import Array, Design
from extremal.gauge.bounds import GaugeStatus, SideBound
from extremal.gauge.nonnegative import PENALTY, Node, State, relax
from extremal.gauge.sides import EPS, one_thread

#: Rows that all together carry no more than this share of sum |Lam_i| |x_i| are left to a sum of norms.
LEFT_OUT = 1e-13

#: The most iterations for the first node and for the others, and the progress below which they end earlier.
ROOT_STEPS, NODE_STEPS, ROOT_SLOW, NODE_SLOW = 600, 80, 0.01, 0.05

#: A row is in doubt if the squares of both of its forms are above this, in the units of tr U = 1.
IN_DOUBT = 1e-9

#: With more rows than this a step of the relaxation takes too long, and a sum of norms is the bound.
MOST_ROWS = 600

#: The memory for the open nodes, in bytes.
MEMORY = 5e8


@dataclass(frozen=True, eq=False)
class Joint:
    """|g(Lam) - scale max over |u| <= 1 of |B^T (Au)_+|| <= scale slack, with the rows of A and B of like size.

    Attributes
    ----------
    index : array of int
        The rows of the data that these are, of n.
    stretch, height : float
        What A was divided by, and then B^T (Au)_+: before, |A_i| = |B_i| and sum_i |A_i| |B_i| = 1 over all rows.
    basis : array, optional
        Orthonormal columns in which A is given.
    """

    A: Array
    B: Array
    scale: float
    slack: float
    basis: Array | None
    index: Array
    n: int
    stretch: float
    height: float

    @property
    def total(self) -> float:
        """sum |A_i| |B_i|: no gauge is larger."""
        return float(np.linalg.norm(self.A, axis=1) @ np.linalg.norm(self.B, axis=1)) * (1 + len(self.A) * EPS)

    def value(self, u: Array) -> float:
        """|B^T (Au)_+| for a unit vector along u."""
        norm = float(np.linalg.norm(u))
        return float(np.linalg.norm(self.B.T @ np.maximum(self.A @ u, 0))) / norm if norm > 0 else 0.0

    @property
    def best_row(self) -> Array:
        """The best direction among the rows and their opposites."""
        values = [max((self.value(u), sign) for u, sign in ((a, 1.0), (-a, -1.0))) for a in self.A]
        best = max(range(len(values)), key=lambda i: values[i])
        return values[best][1] * self.A[best]

    def root(self) -> Node:
        """The node of the whole ball; |z|^2 <= |A|^2 |u|^2, with an allowance for the rounding of the norm."""
        n, d = self.A.shape
        tau = float(np.linalg.norm(self.A, 2) ** 2 + 16 * (n + d) * EPS * np.sum(self.A**2))
        E = np.vstack([np.zeros((d, self.B.shape[1])), self.B])
        forms = np.block([[np.zeros((n, d)), np.eye(n)], [-self.A, np.eye(n)]])
        return Node(E, forms, np.column_stack([np.arange(n), n + np.arange(n)]), tau)


def reduce_outputs(design: Design, Lam: Array) -> Joint | None:
    """The Joint of Lam^T (Xu)_+ without the rows of (nearly) no weight, in the span of the others; None if all are.

    Lam_i (x_i . u)_+ = B_i (A_i . u)_+ with A_i = x_i sqrt(w_i) / (|x_i| s), w_i = |Lam_i| |x_i|, and s such that
    |A| = 1.
    """
    unit, largest = design.scaled(1.0 / design.magnitude), float(np.abs(Lam).max(initial=0.0))
    norms = unit.row_norms
    weighted = Lam / (largest or 1.0) * norms[:, None]
    weights = np.linalg.norm(weighted, axis=1)
    total = float(weights.sum())
    keep = np.flatnonzero(weights > LEFT_OUT * total / design.n)
    if keep.size == 0:
        return None
    slack = total - float(weights[keep].sum()) + 4 * EPS * design.n * total
    rows = np.asarray(unit.rows(keep), dtype=np.float64) / norms[keep, None]
    basis = Design(rows).row_space()[1]
    reduced = rows if basis is None else rows @ basis
    if basis is not None:
        slack += float(weights[keep] @ np.linalg.norm(rows - reduced @ basis.T, axis=1))
    slack += (keep.size + 2 * rows.shape[1] + 64) * EPS * total
    spread = np.sqrt(weights[keep] / total)[:, None]
    A = reduced * spread
    size = float(np.linalg.norm(A, 2))
    joint = Joint(A / size, weighted[keep] / (total * spread) * size, 1.0, 0.0, basis, keep, design.n, size, 1.0)
    height = max(joint.value(joint.best_row), 1e-3 * joint.total)
    scale = largest * design.magnitude * total * height
    return replace(joint, B=joint.B / height, scale=scale, slack=slack / (total * height), height=height)


Split = int | Array | None


@dataclass(eq=False)
class Kept:
    """What stays of a node where a proof is wanted: the bound that its N proves, its split, and the two halves."""

    bound: float
    N: Array
    split: Split
    children: tuple[Kept, ...] = ()

    def preorder(self) -> Iterator[Kept]:
        yield self
        for child in self.children:
            yield from child.preorder()


@dataclass(frozen=True, eq=False)
class Open:
    """A node with its bound, in squares, where its iteration stands, and its split: a free row or a normal."""

    bound: float
    node: Node
    state: State
    split: Split
    kept: Kept | None = None

    @property
    def bytes(self) -> int:
        return int(self.state.sum.nbytes + self.node.forms.nbytes + self.node.E.nbytes)

    def children(self) -> list[tuple[Node, State]]:
        if isinstance(self.split, np.ndarray):
            return [(self.node.cut(sign * self.split), self.state.with_zero()) for sign in (1.0, -1.0)]
        assert self.split is not None
        decided = (self.node.decide(self.split, active) for active in (True, False))
        return [(node, self.state.without(self.node.d + form)) for node, form in decided]


class Search:
    """The branch and bound of one Joint; `lower`, `threshold` and the result are in its units.

    With `keep` the tree is at hand afterwards, as `root`.
    """

    def __init__(
        self,
        joint: Joint,
        lower: float,
        tol: float,
        threshold: float | None,
        deadline: float | None,
        *,
        keep: bool = False,
    ) -> None:
        self.joint, self.tol, self.threshold, self.deadline, self.keep = joint, tol, threshold, deadline, keep
        self.root: Kept | None = None
        self.u, self.visited = joint.best_row, 0
        self.best = joint.value(self.u)
        self.lower = max(lower, self.best)
        self.heap: list[tuple[float, int, Open]] = []
        self.bytes, self.numbers, self.dismissed = 0, count(), 0.0

    @property
    def target(self) -> float:
        """An upper bound, without the slack, that ends the search."""
        return max(self.lower * (1 + self.tol), self.threshold or 0.0)

    @property
    def upper(self) -> float:
        """The square root of the largest bound of a node that is open or was dismissed."""
        return float(np.sqrt(max(self.dismissed, self.heap[0][2].bound if self.heap else 0.0))) * (1 + 4 * EPS)

    def visit(self, node: Node, state: State, known: float, steps: int = NODE_STEPS, slow: float = NODE_SLOW) -> Open:
        """The relaxation of a node whose bound is known to be at most `known`."""
        found = relax(node, state, self.target**2, steps=steps, slow=slow, deadline=self.deadline)
        self.visited += 1
        d = node.d
        vectors = np.linalg.eigh(found.Y[:d, :d])
        for u in (vectors.eigenvectors[:, -1], -vectors.eigenvectors[:, -1]):
            self.offer(u)
        sizes = np.diag(found.Y)
        doubt = np.minimum(*(sizes[node.pairs.T + d]))
        split: Split = None
        if doubt.size and doubt.max() > IN_DOUBT:
            split = int(doubt.argmax())
        elif d > 1:
            split = vectors.eigenvectors[:, -2]
        kept = Kept(found.bound, found.N.astype(np.float32), split) if self.keep else None
        return Open(min(found.bound, known), node, found.state, split, kept)

    def offer(self, u: Array) -> None:
        value = self.joint.value(u)
        if value > self.best:
            self.best, self.u = value, u
        self.lower = max(self.lower, value)

    def push(self, item: Open) -> None:
        heapq.heappush(self.heap, (-item.bound, next(self.numbers), item))
        self.bytes += item.bytes

    def ended(self, max_nodes: int | None) -> GaugeStatus | None:
        """Why the search ends here, if it does."""
        if not self.heap or self.upper <= self.target:
            return GaugeStatus.EXACT
        if self.deadline is not None and time.monotonic() > self.deadline:
            return GaugeStatus.TIME_LIMIT
        if self.threshold is not None and self.lower > self.threshold:
            return GaugeStatus.NODE_LIMIT
        if (max_nodes is not None and self.visited >= max_nodes) or self.bytes > MEMORY:
            return GaugeStatus.NODE_LIMIT
        return GaugeStatus.RELAXATION if self.heap[0][2].split is None else None

    def run(self, max_nodes: int | None) -> GaugeStatus:
        node = self.joint.root()
        size = node.d + len(node.forms)
        start = State(np.zeros((size, size), np.float32), PENALTY)
        trivial = self.joint.total**2 * (1 + 8 * EPS)
        self.push(Open(trivial, node, start, None))
        if len(self.joint.A) > MOST_ROWS:
            return GaugeStatus.RELAXATION
        try:
            root = self.visit(node, start, trivial, ROOT_STEPS, ROOT_SLOW)
            self.heap, self.bytes, self.root = [(-root.bound, next(self.numbers), root)], root.bytes, root.kept
            while (status := self.ended(max_nodes)) is None:
                parent = self.heap[0][2]
                children = [self.visit(*child, parent.bound) for child in parent.children()]
                if parent.kept is not None:
                    parent.kept.children = tuple(child.kept for child in children if child.kept is not None)
                for child in children:
                    if child.bound > self.target**2:
                        self.push(child)
                    else:
                        self.dismissed = max(self.dismissed, child.bound)
                heapq.heappop(self.heap)  # the parent still: it is the oldest of the largest bounds
                self.bytes -= parent.bytes
        except KeyboardInterrupt:
            return GaugeStatus.INTERRUPTED
        return status


def several_bound(
    design: Design,
    Lam: Array,
    *,
    tol: float = 1e-6,
    deadline: float | None = None,
    lower: float = 0.0,
    threshold: float | None = None,
    max_nodes: int | None = None,
) -> SideBound:
    """lower <= g(Lam) = max over |u| <= 1 of |Lam^T (Xu)_+|_2 <= upper, for Lam (n, c) with any c.

    The parameters are those of :func:`extremal.gauge.search.upper_bounds`. The returned lower bound is attained by `u`,
    which may be worse than the lower bound that was given.
    """
    joint = reduce_outputs(design, Lam)
    if joint is None:
        return SideBound(0.0, 0.0, np.ones(design.d), GaugeStatus.EXACT)
    if threshold is not None:
        threshold = max(threshold / joint.scale * (1 - 16 * EPS) - joint.slack, 0.0)
    search = Search(joint, lower / joint.scale, tol, threshold, deadline)
    with one_thread().limit(limits=1, user_api="blas"):
        status = search.run(max_nodes)
    u = search.u if joint.basis is None else joint.basis @ search.u
    return SideBound(search.best * joint.scale, joint.scale * (search.upper + joint.slack) * (1 + 8 * EPS), u, status)
