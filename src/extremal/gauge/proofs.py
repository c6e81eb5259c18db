"""Trees that prove an upper bound of the gauge to someone who trusts no search: what `extremal.verify` checks.

The search for a bound throws its nodes away; here the tree of signs is built once more around a lam whose gauge is
known, and its leaves keep their multipliers. Whatever ends it, the tree at hand proves something: where a node's
children were not reached, or prove less than the node itself, the node is a leaf of the proof.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from typing import Any

import numpy as np
from scipy.optimize import nnls

from extremal.design import Array, Design
from extremal.gauge.cone_proofs import best_search
from extremal.gauge.joint_proofs import joint_proof
from extremal.gauge.outputs import MANY_OUTPUTS
from extremal.gauge.relaxation import minimised
from extremal.gauge.search import CONE_RANK, FAR_BELOW, WORK_PER_SECOND, largest_sum
from extremal.gauge.several import MOST_ROWS
from extremal.gauge.sides import EPS, Reduction, Side, reduce_side
from extremal.gauge.tree import Node, Search, node_work
from extremal.proof import ConeTree, Leaf, SideTree, Tree

#: The memory for the multipliers of a tree, in bytes.
MEMORY = 4e8

#: In low rank, the shares of the remaining time for signs, which are quick with few rows, and then for cones.
LOW_RANK_SHARES = (0.1, 1.0)

#: With several outputs, those for cones over their directions, for all of them at once, and for the cones again.
SEVERAL_SHARES = (0.3, 0.5, 1.0)

#: With several outputs: the grid of the directions, the distance of generators that are not told apart any more, the
#: share of the largest height that is nothing, the most directions, and the share of the remaining time for one.
GRID, NARROW, LOW, MOST_DIRECTIONS, SHARE = 2.0**-36, 1e-4, 1e-7, 3000, 0.1

#: What rounding does to the bound of a cone, relatively.
ROUNDING = 1e-12


@dataclass(frozen=True, eq=False)
class GaugeProof:
    """g(lam) <= upper, from trees; `directions`, `cones` and `normals` are those of `extremal.Proof`."""

    trees: tuple[Tree, ...]
    upper: float
    directions: Array | None = None
    cones: Array | None = None
    normals: Array | None = None


@dataclass(frozen=True)
class Options:
    """A search ends when the bound is below (1 + tol) times a known value, or below `enough`, or at the deadline.

    Bounds below `nothing` are as good as zero.
    """

    tol: float
    enough: float
    nothing: float
    deadline: float
    n_jobs: int = 1

    def part(self, share: float) -> Options:
        """The options of a search that may take a share of what is left of the time."""
        now = time.monotonic()
        return replace(self, deadline=now + share * max(self.deadline - now, 0.0))


def prove_gauge(design: Design, lam: Array, near: Array, options: Options) -> GaugeProof:
    """The trees for lam (n, c), and what they prove; `near` (d, m) holds directions that attain it or nearly do.

    With several outputs: cones over their directions, which are quick where they close, then all of them at once, and
    the cones again if time is left; the best is the proof. With many, all at once if there are not too many rows.
    """
    c = lam.shape[1]
    if c == 1:
        trees, bounds = side_trees(design, lam[:, 0], near, options)
        return GaugeProof(trees, max(bounds))
    schedule = list(zip((over_directions, all_at_once, over_directions), SEVERAL_SHARES, strict=True))
    if c > MANY_OUTPUTS:
        schedule = [(all_at_once, 1.0)] if design.n <= MOST_ROWS else [(over_directions, 1.0)]
    lower = attained_by(design, lam, near)
    best: GaugeProof | None = None
    for search, share in schedule:
        found = search(design, lam, near, options.part(share))
        best = found if best is None or found.upper < best.upper else best
        if best.upper <= max(lower * (1 + options.tol), options.enough):
            break
    assert best is not None
    return best


def attained_by(design: Design, lam: Array, near: Array) -> float:
    """The largest |lam^T (Xu)_+| for unit vectors along the columns of `near`."""
    lengths = np.linalg.norm(near, axis=0)
    moments = np.maximum(design.forward(near), 0).T @ lam
    return float(np.max(np.linalg.norm(moments, axis=1) / np.where(lengths > 0, lengths, 1.0), initial=0.0))


def all_at_once(design: Design, lam: Array, near: Array, options: Options) -> GaugeProof:
    """The relaxation of all outputs together, and its branches."""
    lower = max(attained_by(design, lam, near), options.enough / (1 + options.tol))
    tree, upper = joint_proof(design, lam, lower=lower, tol=options.tol, deadline=options.deadline, memory=MEMORY)
    return GaugeProof((tree,), upper)


def side_trees(
    design: Design, c: Array, near: Array, options: Options, *, apart: tuple[float, float] | None = None
) -> tuple[tuple[SideTree | ConeTree, SideTree | ConeTree], tuple[float, float]]:
    """Trees for c and for -c, and the upper bounds of M(c) and M(-c), max over |u| <= 1 of c^T (Xu)_+, that they prove.

    Only the larger of the two matters, unless `apart` says for each of them what is enough.
    """
    reduction = reduce_side(design, c)
    trivial = largest_sum(design, c[:, None])
    if reduction is None or trivial <= options.nothing:
        nothing = SideTree.trivial(design.d)
        return (nothing, nothing), (trivial, trivial)
    sides = [Side(reduction.side.rows, s * reduction.side.weights, s * reduction.side.linear) for s in (1.0, -1.0)]
    known = [max((side.value(reduction.coordinates(u)) for u in near.T), default=0.0) for side in sides]
    groups = [(sides, max(known), options.enough)]
    if apart is not None:
        groups = [([side], lower, enough) for side, lower, enough in zip(sides, known, apart, strict=True)]
    trees: list[SideTree | ConeTree] = []
    bounds: list[float] = []
    for i, (some, lower, enough) in enumerate(groups):
        scaled = replace(options.part(1 / (len(groups) - i)), enough=enough / reduction.scale)
        found, uppers = trees_of(reduction, some, lower, near, scaled)
        trees += found
        bounds += [reduction.scale * (bound + reduction.slack) * (1 + 8 * EPS) for bound in uppers]
    return (trees[0], trees[1]), (bounds[0], bounds[1])


Trees = tuple[list[SideTree | ConeTree], list[float]]


def trees_of(reduction: Reduction, sides: list[Side], lower: float, near: Array, options: Options) -> Trees:
    """Signs, or in low rank cones where signs do not finish soon; a relaxation where data are too wide for both."""
    if sides[0].weights.size == 0:
        lengths = [float(np.linalg.norm(side.linear)) + side.rounding for side in sides]
        return [SideTree.trivial(reduction.dimension) for _ in sides], lengths
    too_large = len(sides) * node_work(*sides[0].rows.shape) > WORK_PER_SECOND * (options.deadline - time.monotonic())
    if too_large:
        return by_relaxation(reduction, sides, lower, options)
    if sides[0].rank > CONE_RANK:
        return by_signs(reduction, sides, lower, options)
    best: Trees | None = None
    for share in LOW_RANK_SHARES:
        search = by_signs if best is None else partial(by_cones, near=near)
        found = search(reduction, sides, lower, options=options.part(share))
        best = found if best is None else min(best, found, key=lambda trees: max(trees[1]))
        if max(best[1]) <= max(options.enough, lower * (1 + options.tol)) + 4 * sides[0].rounding:
            break
    assert best is not None
    return best


def by_cones(reduction: Reduction, sides: list[Side], lower: float, options: Options, near: Array) -> Trees:
    """A tree of cones for every side, laid around the best direction that is known."""
    U = [reduction.coordinates(u) for u in near.T] or [np.ones(sides[0].rank)]
    trees: list[SideTree | ConeTree] = []
    bounds: list[float] = []
    for i, side in enumerate(sides):
        found = best_search(
            side,
            tol=options.tol,
            lower=max(lower, options.enough / (1 + options.tol)),
            witness=max(U, key=side.value),
            deadline=options.part(1 / (len(sides) - i)).deadline,
        )
        tree = found.tree(reduction.index, reduction.basis)
        trees.append(tree)
        longest = float(np.linalg.norm(tree.vectors, axis=1).max())  # no vector is shorter than the checker can use
        bounds.append(max(found.upper, longest) + side.rounding)
    return trees, bounds


def by_signs(reduction: Reduction, sides: list[Side], lower: float, options: Options) -> Trees:
    """A tree of signs for every side, from one search over all of them."""
    search = Search(sides, lower, tol=options.tol, threshold=options.enough, keep=True)
    limits: dict[str, Any] = {"max_nodes": MEMORY / leaf_bytes(sides[0]), "n_jobs": options.n_jobs}
    search.run(deadline=options.deadline, **limits)
    if search.is_decided:  # more than `enough` is attained, if only by rounding: now the bound itself is asked for
        search.threshold = None
        search.run(deadline=options.deadline, **limits)
    proofs = [proof_of_root(root, side) for root, side in zip(search.roots, sides, strict=True)]
    return [assembled(reduction, leaves) for leaves, _ in proofs], [bound for _, bound in proofs]


def by_relaxation(reduction: Reduction, sides: list[Side], lower: float, options: Options) -> Trees:
    """For every side the whole ball as a leaf, with the multipliers of `relaxation`."""
    trees, bounds = [], []
    for i, side in enumerate(sides):
        target = max(lower * (1 + options.tol), options.enough)
        found, _ = minimised(side, deadline=options.part(1 / (len(sides) - i)).deadline, target=target)
        y = found.split(found.best_point)
        positive, negative = np.flatnonzero(side.weights > 0), np.flatnonzero(side.weights < 0)
        vectors, nothing = y.gamma[:, None] * y.g, np.zeros((0, side.rank))
        leaf = Leaf([], [], positive, negative, y.w, y.s, vectors, np.zeros(0), nothing, np.zeros(0))
        trees.append(assembled(reduction, [leaf]))
        bounds.append(found.certified(found.best_point))
    return trees, bounds


def assembled(reduction: Reduction, leaves: list[Leaf]) -> SideTree | ConeTree:
    """The tree of leaves, which speak of the rows of the reduction, in terms of the data."""
    basis = np.eye(reduction.dimension) if reduction.basis is None else reduction.basis
    return SideTree.assemble(leaves, reduction.index, basis)


def proof_of_root(root: Node, side: Side) -> tuple[list[Leaf], float]:
    """The leaves that prove the bound of a tree, as few as can be, and the bound."""
    proved: dict[int, float] = {}
    for node in reversed(list(root.preorder())):
        below = max(proved[id(child)] for child in node.children) if node.children else np.inf
        proved[id(node)] = min(own_bound(node, side), below)
    bound = proved[id(root)]

    def is_leaf(node: Node) -> bool:
        return node.children is None or own_bound(node, side) <= bound

    return [leaf_of(node, side) for node in root.preorder(is_leaf) if is_leaf(node)], bound + side.rounding


def own_bound(node: Node, side: Side) -> float:
    """What a node's multipliers prove, or those that hold anywhere."""
    return min(node.own if node.multipliers is not None else np.inf, side.trivial)


def leaf_of(node: Node, side: Side) -> Leaf:
    """A node with its multipliers, or with those that prove the sum of the positive weights: w = 1 and s = -1."""
    path, signs = node.path()
    if node.multipliers is not None and node.own <= side.trivial:
        return Leaf(path, signs, **vars(node.multipliers))
    k, d = len(path), side.rank
    positive, negative = np.flatnonzero(side.weights > 0), np.flatnonzero(side.weights < 0)
    m = negative.size
    return Leaf(
        path, signs, positive, negative, np.ones(positive.size), -np.ones(m), np.zeros((m, d)), np.zeros(k),
        np.zeros((k, d)), np.zeros(k * (k - 1) // 2),
    )  # fmt: skip


def leaf_bytes(side: Side) -> float:
    """The memory of a leaf's multipliers, roughly: for every row a number or a vector."""
    negative = float((side.weights < 0).sum())
    return 500.0 + 4 * (side.weights.size + max(negative, side.weights.size - negative) * side.rank)


def over_directions(design: Design, lam: Array, near: Array, options: Options) -> GaugeProof:
    """Cones that cover the directions of the outputs: the one with the largest bound is halved, by a pair of trees."""
    norms = design.scaled(1.0 / design.magnitude).row_norms
    frame = np.linalg.svd((lam / (np.abs(lam).max() or 1.0)) * norms[:, None], full_matrices=True)[2].T
    cover = Cover(design, lam, near, options, list(np.rint(frame.T / GRID) * GRID))
    cover.halve_largest()
    return cover.proof()


@dataclass(eq=False)
class Cone:
    """A cone of output directions by the numbers of its generators, its bound |p|, and its halves."""

    generators: tuple[int, ...]
    bound: float
    p: Array
    split: tuple[int, int, int] = (-1, -1, -1)
    children: tuple[Cone, ...] = ()

    def preorder(self) -> Iterator[Cone]:
        yield self
        for child in self.children:
            yield from child.preorder()


@dataclass(eq=False)
class Cover:
    """Cones over the directions v_0, -v_0, v_1, ... of the outputs, on which h(v) = M(lam v) is known from trees.

    The directions have entries on a grid, and are halved without normalising, so that means are exact.
    """

    design: Design
    lam: Array
    near: Array
    options: Options
    frame: list[Array]
    directions: list[Array] = field(default_factory=list)
    heights: list[float] = field(default_factory=list)
    trees: list[SideTree | ConeTree] = field(default_factory=list)
    middles: dict[tuple[int, int], int] = field(default_factory=dict)
    roots: list[Cone] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.lower = attained_by(self.design, self.lam, self.near)
        for i, v in enumerate(self.frame):
            self.ask(v, 1 / (len(self.frame) + 1 - i))

    def ask(self, v: Array, share: float, most: tuple[float, float] = (np.inf, np.inf)) -> int:
        """The number of v, after searches for v and -v within a share of what is left of the time.

        Heights well below the largest need not be known better than `most`, which they are known not to exceed.
        """
        far = FAR_BELOW * self.lower * float(np.linalg.norm(v))
        # an error of the heights is magnified by narrow cones
        options = replace(self.options.part(share), tol=0.1 * self.options.tol, nothing=LOW * self.lower)
        enough = (min(far, most[0]), min(far, most[1]))
        pair, bounds = side_trees(self.design, self.lam @ v, self.near, options, apart=enough)
        self.directions.append(v)
        self.trees += pair
        self.heights += bounds
        return 2 * len(self.directions) - 2

    def vector(self, k: int) -> Array:
        return (1 - 2 * (k % 2)) * self.directions[k // 2]

    def cone(self, generators: tuple[int, ...]) -> Cone:
        heights = np.array([self.heights[k] for k in generators])
        V = np.column_stack([self.vector(k) for k in generators])
        p = shortest_normal(V, heights)
        return Cone(generators, float(np.linalg.norm(p)) * float(np.max(heights / (V.T @ p))), p)

    def halve_largest(self) -> None:
        """Until the largest bound is small enough, or nothing is gained, or time is up, or the edges are short."""
        c = len(self.frame)
        self.roots = [self.cone(tuple(2 * k + (n >> k & 1) for k in range(c))) for n in reversed(range(2**c))]
        heap = [(-cone.bound, i, cone) for i, cone in enumerate(self.roots)]
        heapq.heapify(heap)
        number = count(len(heap))
        target = max(self.lower * (1 + self.options.tol), self.options.enough * (1 - ROUNDING))
        while len(self.directions) < MOST_DIRECTIONS and time.monotonic() < self.options.deadline:
            worst = heap[0][2]
            a, b, length = self.longest_edge(worst)
            if worst.bound <= target or length < NARROW:
                break
            middle = self.between(worst.generators[a], worst.generators[b])
            halves = tuple(
                self.cone(tuple(middle if k == place else g for k, g in enumerate(worst.generators)))
                for place in (a, b)
            )
            if max(half.bound for half in halves) > worst.bound * (1 + 10 * self.options.tol):
                break  # the search for the height of the middle was cut short
            worst.split, worst.children = (a, b, middle), halves
            heapq.heapreplace(heap, (-halves[0].bound, next(number), halves[0]))
            heapq.heappush(heap, (-halves[1].bound, next(number), halves[1]))

    def longest_edge(self, cone: Cone) -> tuple[int, int, float]:
        """The places of two generators and their distance; those of no height need not be told apart."""
        V = np.column_stack([self.vector(k) for k in cone.generators])
        seen = np.array([max(self.heights[k], self.heights[k ^ 1]) for k in cone.generators]) > LOW * self.lower
        distances = np.linalg.norm(V[:, :, None] - V[:, None, :], axis=0) * np.outer(seen, seen)
        a, b = np.unravel_index(int(np.argmax(distances)), distances.shape)
        return int(a), int(b), float(distances[a, b])

    def between(self, i: int, j: int) -> int:
        """The number of the mean of two generators."""
        edge = (min(i, j), max(i, j))
        if edge not in self.middles:
            most = [0.5 * (self.heights[i ^ k] + self.heights[j ^ k]) for k in (0, 1)]  # h is sublinear
            number = self.ask(0.5 * (self.vector(i) + self.vector(j)), SHARE, (most[0], most[1]))
            self.middles[edge] = number
            self.middles[min(i ^ 1, j ^ 1), max(i ^ 1, j ^ 1)] = number ^ 1
        return self.middles[edge]

    def proof(self) -> GaugeProof:
        cones = [cone for root in self.roots for cone in root.preorder()]
        leaves = [cone for cone in cones if not cone.children]
        return GaugeProof(
            tuple(self.trees),
            max(leaf.bound for leaf in leaves) * (1 + ROUNDING),
            np.column_stack(self.directions),
            np.array([cone.split for cone in cones]),
            np.array([leaf.p for leaf in leaves]),
        )


def shortest_normal(V: Array, heights: Array) -> Array:
    """Along the shortest p with V^T p >= heights; what is nearly no height counts as a little: the checker rounds."""
    inverse = np.linalg.inv(V).T
    size = float(heights.max()) or 1.0
    needed = np.maximum(heights / size, LOW)
    p = inverse @ (needed + nnls(inverse, -inverse @ needed)[0])
    return p + inverse.sum(axis=1) * float(np.max(needed - V.T @ p, initial=0.0))
