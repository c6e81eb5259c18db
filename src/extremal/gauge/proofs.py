"""Trees that prove an upper bound of the gauge to someone who trusts no search: what `extremal.verify` checks.

The search for a bound throws its nodes away; here the tree of signs is built once more around a lam whose gauge is
known, and its leaves keep their multipliers. Whatever ends it, the tree at hand proves something: where a node's
children were not reached, or prove less than the node itself, the node is a leaf of the proof.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse

from extremal.design import Array, Design
from extremal.gauge.outputs import MANY_OUTPUTS
from extremal.gauge.relaxation import minimised
from extremal.gauge.search import WORK_PER_SECOND, attained, largest_sum
from extremal.gauge.sides import EPS, Reduction, Side, reduce_side
from extremal.gauge.tree import Node, Search, node_work
from extremal.proof import Leaf, SideTree

#: The memory for the multipliers of a tree, in bytes.
MEMORY = 4e8

#: With several outputs: directions at most for each output, and the relative gain of a new one that is worth the next.
DIRECTIONS, GAIN = 4, 2e-3

#: Squared heights and shares that are relatively smaller count as this, or as nothing.
FLOOR = 1e-9


@dataclass(frozen=True, eq=False)
class GaugeProof:
    """g(lam)^2 <= sum_k shares_k h_k^2 = upper^2, where the trees 2 k and 2 k + 1 bound |v_k . lam^T (Xu)_+| by h_k.

    Attributes
    ----------
    trees : tuple of SideTree
    directions : array of shape (c, K)
        v_k in the columns.
    shares : array of shape (K,)
    upper : float
    """

    trees: tuple[SideTree, ...]
    directions: Array
    shares: Array
    upper: float


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

    With one output the bound converges to g(lam). With several it is that of the best ellipsoid around all
    lam^T (Xu)_+ that contains what the trees know of them, which may stay above g(lam) by up to a factor sqrt(c).
    """
    if lam.shape[1] == 1:
        trees, upper = side_trees(design, lam[:, 0], near, options)
        return GaugeProof(trees, np.eye(1), np.ones(1), upper)
    return several_outputs(design, lam, near, options)


def side_trees(design: Design, c: Array, near: Array, options: Options) -> tuple[tuple[SideTree, SideTree], float]:
    """Trees for c and for -c, and an upper bound of max over |u| <= 1 of |c^T (Xu)_+| that both of them prove."""
    reduction = reduce_side(design, c)
    trivial = largest_sum(design, c[:, None])
    if reduction is None or trivial <= options.nothing:
        nothing = SideTree.trivial(design.d)
        return (nothing, nothing), trivial
    sides = [Side(reduction.side.rows, s * reduction.side.weights, s * reduction.side.linear) for s in (1.0, -1.0)]
    known = max((attained(design, c[:, None], u) for u in near.T), default=0.0)
    scaled = replace(options, enough=options.enough / reduction.scale)
    found = leaves_of_relaxation if is_too_large(sides[0], options) else leaves_of_signs
    leaves, upper = found(sides, known / reduction.scale, scaled)
    first, second = (assembled(reduction, part, design.d) for part in leaves)
    return (first, second), reduction.scale * (upper + reduction.slack) * (1 + 8 * EPS)


def is_too_large(side: Side, options: Options) -> bool:
    """Whether not even the roots of the tree of signs can be afforded."""
    return 2 * node_work(side) > WORK_PER_SECOND * max(options.deadline - time.monotonic(), 0.0)


def assembled(reduction: Reduction, leaves: list[Leaf], d: int) -> SideTree:
    """The tree of leaves, which speak of the rows of the reduction, in terms of the data."""
    basis = np.eye(d) if reduction.basis is None else reduction.basis
    return SideTree.assemble(leaves, reduction.index, basis)


def leaves_of_signs(sides: list[Side], lower: float, options: Options) -> tuple[list[list[Leaf]], float]:
    """The leaves of the tree of signs for every side, and their largest bound."""
    tol = max(options.tol, options.enough / lower - 1) if lower > 0 else options.tol
    search = Search(sides, lower, tol=tol, keep=True)
    with np.errstate(over="ignore"):
        search.run(deadline=options.deadline, max_nodes=MEMORY / leaf_bytes(sides[0]), n_jobs=options.n_jobs)
    bounds = [proved_bounds(root, side) for root, side in zip(search.roots, sides, strict=True)]
    upper = max(proved[id(root)] for proved, root in zip(bounds, search.roots, strict=True))

    def is_leaf(node: Node) -> bool:
        return node.children is None or (node.multipliers is not None and node.own <= upper)

    leaves = [[leaf_of(node, side) for node in root.preorder(is_leaf) if is_leaf(node)]
              for root, side in zip(search.roots, sides, strict=True)]  # fmt: skip
    return leaves, upper + sides[0].rounding


def leaf_bytes(side: Side) -> float:
    """The memory of a leaf's multipliers, roughly: for every row a number or a vector."""
    negative = float((side.weights < 0).sum())
    return 500.0 + 4 * (side.weights.size + max(negative, side.weights.size - negative) * side.rank)


def proved_bounds(root: Node, side: Side) -> dict[int, float]:
    """The bound that a node's own multipliers or the nodes below it prove, by the node's id."""
    proved: dict[int, float] = {}
    for node in reversed(list(root.preorder())):
        below = max((proved[id(child)] for child in node.children), default=np.inf) if node.children else np.inf
        own = node.own if node.multipliers is not None else np.inf
        proved[id(node)] = min(own, below) if np.isfinite(min(own, below)) else side.trivial
    return proved


def leaf_of(node: Node, side: Side) -> Leaf:
    """A node with its multipliers; without any, with those that hold for every row that is not mentioned."""
    path, signs = node.path()
    kept = node.multipliers
    if kept is not None:
        return Leaf(path, signs, **{name: getattr(kept, name) for name in kept.__dataclass_fields__})
    k, d = len(path), side.rank
    none = np.zeros(0, np.int32)
    zeros = np.zeros(0)
    return Leaf(path, signs, none, none, zeros, zeros, np.zeros((0, d)), np.zeros(k), np.zeros((k, d)),
                np.zeros(k * (k - 1) // 2))  # fmt: skip


def leaves_of_relaxation(sides: list[Side], lower: float, options: Options) -> tuple[list[list[Leaf]], float]:
    """For every side the whole ball as a leaf, with the multipliers of `relaxation`."""
    leaves: list[list[Leaf]] = []
    upper = 0.0
    for i, side in enumerate(sides):
        target = max(lower * (1 + options.tol), options.enough)
        found, _ = minimised(side, deadline=options.part(1 / (2 - i)).deadline, target=target)
        y = found.split(found.best_point)
        positive, negative = np.flatnonzero(side.weights > 0), np.flatnonzero(side.weights < 0)
        vectors, nothing = y.gamma[:, None] * y.g, np.zeros((0, side.rank))
        leaves.append([Leaf([], [], positive, negative, y.w, y.s, vectors, np.zeros(0), nothing, np.zeros(0))])
        upper = max(upper, found.certified(found.best_point))
    return leaves, upper


def several_outputs(design: Design, lam: Array, near: Array, options: Options) -> GaugeProof:
    """Directions of the outputs and their shares: an orthonormal frame first, then where the ellipsoid is too large.

    The least sum_k shares_k h_k^2 with sum_k shares_k v_k v_k^T >= I is the largest tr Z with v_k^T Z v_k <= h_k^2,
    Z >= 0: where the relaxation Z of p p^T is longest, the next direction cuts it off, a search each.
    """
    c = lam.shape[1]
    most = DIRECTIONS * c if c <= MANY_OUTPUTS else c
    norms = design.scaled(1.0 / design.magnitude).row_norms
    V = np.linalg.svd((lam / (np.abs(lam).max() or 1.0)) * norms[:, None], full_matrices=True)[2].T
    heights: list[float] = []
    trees: list[tuple[SideTree, SideTree]] = []

    def ask(v: Array) -> None:
        pair, height = side_trees(design, lam @ v, near, replace(options.part(1 / (most - len(heights))), enough=0.0))
        heights.append(height)
        trees.append(pair)

    for v in V.T:
        ask(v)
    shares, Z = np.ones(c), np.diag(np.square(heights))
    Z = V @ Z @ V.T
    upper = float(np.linalg.norm(heights))
    while len(heights) < most and upper > options.enough and time.monotonic() < options.deadline:
        v = np.linalg.eigh(Z)[1][:, -1]
        V = np.column_stack([V, v])
        ask(v)
        before = upper
        shares, Z = smallest_ellipsoid(V, np.array(heights))
        upper = float(np.sqrt(shares @ np.square(heights)))
        if upper > before * (1 - GAIN):
            break
    used = np.flatnonzero(shares > 0)
    flat = tuple(tree for k in used for tree in trees[k])
    return GaugeProof(flat, V[:, used], shares[used], upper * (1 + 1e-12))


def smallest_ellipsoid(V: Array, heights: Array) -> tuple[Array, Array]:
    """(shares, Z): the least sum_k shares_k heights_k^2 with sum_k shares_k v_k v_k^T >= I, and the dual solution Z."""
    import clarabel

    c, K = V.shape
    cost = np.maximum(np.square(heights / heights.max()), FLOOR)
    row, column = np.triu_indices(c)
    order = np.lexsort((row, column))  # Clarabel's triangle goes by columns
    row, column = row[order], column[order]
    double = np.where(row == column, 1.0, np.sqrt(2.0))
    A = sparse.csc_array(np.vstack([-np.eye(K), -(double[:, None] * V[row] * V[column])]))
    b = np.concatenate([np.zeros(K), -(row == column).astype(float)])
    cones = [clarabel.NonnegativeConeT(K), clarabel.PSDTriangleConeT(c)]
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    found = clarabel.DefaultSolver(sparse.csc_array((K, K)), cost, A, b, cones, settings).solve()
    shares, z = np.maximum(found.x, 0.0), np.array(found.z)[K:] / double
    shares[shares < FLOOR * shares.max()] = 0.0
    shares /= np.linalg.eigvalsh((V * shares) @ V.T)[0] * (1 - 1e-12)
    Z = np.zeros((c, c))
    Z[row, column] = Z[column, row] = z
    return shares, Z * heights.max() ** 2
