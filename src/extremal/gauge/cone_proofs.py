"""Proofs in low dimension: the search over simplicial cones of `cones`, with rays of integers, that keeps its leaves.

The bound of a cone is that of :mod:`extremal.gauge.cones`. A ray that splits an edge (a, b) is 2^k v_a + 2^l v_b, with
powers that make the two summands about as long, so that a checker computes all rays without rounding, and nothing else
is needed to see that the cones cover the sphere. A leaf keeps the vector p with f <= |p| on the cone, and those t_i
that a checker cannot guess as [x_i . p > 0].
"""

from __future__ import annotations

import time
from functools import cache
from typing import NamedTuple

import numpy as np
from scipy.spatial import cKDTree

from extremal.design import Array, Design
from extremal.gauge.ascent import ascend, random_starts
from extremal.gauge.cone_record import EXCEPTIONS, LEAVES, NODES, OPEN, Book, Cones, record
from extremal.gauge.cones import DONE, MORE_ROOM, SLICE_WORK, orthants
from extremal.gauge.sides import Reduction, Side, reduce_side
from extremal.proof import ConeTree, SideTree

#: Up to this rank a proof by cones is attempted.
LARGEST_RANK = 6

#: The tolerances to fall back on where a search does not end.
FALLBACKS = (3.0, 0.5, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5)

#: Local ascents for a first direction.
STARTS = 64

#: A tree grows to this many leaves at most.
MOST_LEAVES = 2_000_000


def first_cones(side: Side) -> Cones:
    """The 2^r orthants."""
    stack = orthants(side, np.ones(side.rank))
    k = 2**side.rank
    node = np.zeros(stack.bounds.size, np.int64)
    node[:k] = np.arange(k)
    return Cones(
        rays=np.where(np.arange(stack.bounds.size)[:, None, None] < k, np.sign(stack.gens), 0.0),
        gens=stack.gens,
        base=stack.base,
        coef=stack.coef,
        node=node,
        first=stack.first,
        mixed=stack.count,
        rows=stack.rows,
        z=stack.z,
        t=stack.t,
    )


def empty_book(nodes: int, leaves: int, exceptions: int, r: int) -> Book:
    """Room for a tree."""
    return Book(
        edge=np.empty(nodes, np.int8),
        shift=np.empty(nodes, np.int8),
        child=np.empty(nodes, np.int32),
        vectors=np.empty((leaves, r)),
        counts=np.empty(leaves, np.int32),
        rows=np.empty(exceptions, np.int32),
        t=np.empty(exceptions, np.float32),
    )


def longer(array: Array) -> Array:
    """The array with room for twice as much."""
    return np.concatenate([array, np.empty_like(array)])


def grown(cones: Cones, book: Book, state: Array, n: int) -> tuple[Cones, Book]:
    """More room where less than what the next cone may take is left."""
    size = int(cones.first[state[OPEN] - 1] + 2 * cones.mixed[state[OPEN] - 1])
    pool = ("rows", "z", "t")
    short = set()
    short |= set(pool) if size > cones.rows.size else set()
    short |= set(Cones._fields) - set(pool) if state[OPEN] + 1 > cones.node.size else set()
    cones = Cones(*(longer(part) if name in short else part for name, part in zip(cones._fields, cones, strict=True)))
    nodes, leaves = state[NODES] + 2 > book.edge.size, state[LEAVES] + 1 > book.counts.size
    listed = state[EXCEPTIONS] + n > book.rows.size
    full = (nodes, nodes, nodes, leaves, leaves, listed, listed)
    return cones, Book(*(longer(part) if more else part for part, more in zip(book, full, strict=True)))


class Found(NamedTuple):
    """A tree with its size and its frame, its largest bound, and whether the search came to its end."""

    book: Book
    state: Array
    frame: Array
    upper: float
    ended: bool

    def tree(self, rows: Array, basis: Array | None) -> ConeTree:
        """The tree in terms of the data; see `cone_tree`."""
        return assemble(self.book, self.state, self.frame if basis is None else basis @ self.frame, rows)


def search_tree(side: Side, u: Array, lower: float, tol: float, deadline: float | None) -> Found:
    """One search around u to its end, or to the deadline, when the cones that are open become leaves; u is improved."""
    turn = reflection(u)
    turned = Side(np.ascontiguousarray(side.rows @ turn.T), side.weights, turn @ side.linear)
    n, r = turned.rows.shape
    cones, book, around = first_cones(turned), empty_book(1024, 512, max(8 * n, 4096), r), turn @ u
    state, numbers = np.array([2**r, 0, 2**r, 0, 0]), np.array([max(lower, side.value(u), 0.0), 0.0])
    budget, floor = max(1, SLICE_WORK // (n + 20)), 0.0
    while True:
        code = record(
            turned.rows, turned.weights, turned.linear, cones, book, state, numbers, around, tol, side.rounding, floor,
            budget,
        )  # fmt: skip
        if code == DONE:
            break
        if code == MORE_ROOM:
            cones, book = grown(cones, book, state, n)
        elif state[LEAVES] > MOST_LEAVES or (deadline is not None and time.monotonic() > deadline):
            floor = np.inf
    u[:] = turn.T @ around
    return Found(book, state, turn.T, float(numbers[1]), floor == 0.0)


def cone_trees(
    design: Design, c: Array, *, tol: float = 1e-6, lower: float = 0.0, deadline: float | None = None
) -> tuple[SideTree | ConeTree, SideTree | ConeTree] | None:
    """Proofs for max over |u| <= 1 of c^T (Xu)_+ and of -c^T (Xu)_+, both pruned with what is known of the larger one.

    Parameters
    ----------
    design : Design
    c : array of shape (n,)
    tol : float
        See `cone_tree`.
    lower : float
        A lower bound of the larger of the two, or a number that their bounds may reach times 1 + tol: beta, say.
    deadline : float, optional
        A time of time.monotonic().

    Returns
    -------
    pair of trees
        In the order c, -c; None if the rank of the rows of nonzero weight is too high.
    """
    reduction = reduce_side(design, c)
    if reduction is None:
        return SideTree.trivial(design.d), SideTree.trivial(design.d)
    side, rows = reduction.side, data_rows(design, reduction)
    if side.rank > LARGEST_RANK:
        return None
    signed = [Side(side.rows, sign * side.weights, sign * side.linear) for sign in (1.0, -1.0)]
    directions = best_directions(side)
    lower = max(lower / reduction.scale, *(one.value(u) for one, u in zip(signed, directions, strict=True)))
    first, second = (
        cone_tree(one, rows, reduction.basis, tol=tol, lower=lower, witness=u, deadline=until)
        for one, u, until in zip(signed, directions, (halfway(deadline), deadline), strict=True)
    )
    return first, second


def best_directions(side: Side) -> tuple[Array, Array]:
    """Good local maximisers of f and of -f among those that many starts reach."""
    if side.weights.size == 0:
        return side.linear.copy(), -side.linear
    rows = Design(side.rows)
    found = ascend(rows, side.weights[:, None], random_starts(rows, STARTS, np.random.default_rng(0)))
    values = np.array([side.value(u) for u in found.U.T])
    return found.U[:, values.argmax()].copy(), found.U[:, values.argmin()].copy()


def cone_tree(
    side: Side,
    rows: Array,
    basis: Array | None = None,
    *,
    tol: float = 1e-6,
    lower: float = 0.0,
    witness: Array | None = None,
    deadline: float | None = None,
) -> ConeTree:
    """A proof that m <= lower (1 + tol), or nearly so, for a side of low rank.

    Parameters
    ----------
    side : Side
        Of rank at most LARGEST_RANK.
    rows : int array of shape (r,)
        For every row of the side a row of the data with the same direction (see `data_rows`).
    basis : array of shape (d, rank), optional
        Orthonormal columns, in which the side's rows are coordinates; none if they are the data's.
    tol : float
        A cone is not split any further if its bound is at most lower (1 + tol).
    lower : float
        A number to prune with: a lower bound of m, or a larger number that m need not be compared with any closer.
        Where m is nearly zero, that of the other sign: no search ends at a relative tolerance of zero.
    witness : array of shape (rank,), optional
        A good direction; the first cones are laid around it.
    deadline : float, optional
        A time of time.monotonic(). If the search does not end by half the time, coarser ones are tried in what
        remains.

    Returns
    -------
    ConeTree
        The best one found.
    """
    return best_search(side, tol=tol, lower=lower, witness=witness, deadline=deadline).tree(rows, basis)


def best_search(
    side: Side, *, tol: float, lower: float, witness: Array | None = None, deadline: float | None = None
) -> Found:
    """The search of `cone_tree`; its bound leaves out the side's rounding."""
    u = np.array(np.ones(side.rank) if witness is None else witness, dtype=np.float64)
    best: Found | None = None
    for level in (tol, *(coarse for coarse in FALLBACKS if coarse > tol)):
        found = search_tree(side, u, lower, level, halfway(deadline) if level == tol else deadline)
        best = found if best is None or found.upper < best.upper else best
        if found.ended == (level == tol):
            break
    assert best is not None
    return best


@cache
def compile_recorder() -> None:
    """Have the compiled search ready before a clock starts."""
    rows = np.eye(3)[[0, 0, 1, 2]]
    best_search(Side(rows, np.array([0.5, -0.5, 0.5, 0.5]), np.zeros(3)), tol=0.1, lower=0.0)


def reflection(axis: Array) -> Array:
    """An orthogonal matrix that takes the axis into the first orthant, away from the rays that will split it.

    A maximiser on such a ray would be in many cones, and each of them would have to be small.
    """
    r = axis.size
    inside = 1 + 0.5 * np.modf(np.arange(1, r + 1) * 0.6180339887498949)[0]
    mirror = inside / np.linalg.norm(inside) - axis / (float(np.linalg.norm(axis)) or 1.0)
    length = float(mirror @ mirror)
    return np.eye(r) - (2 / length) * np.outer(mirror, mirror) if length > 1e-20 else np.eye(r)


def halfway(deadline: float | None) -> float | None:
    """The middle of the time that is left."""
    return None if deadline is None else (time.monotonic() + deadline) / 2


def assemble(book: Book, state: Array, frame: Array, rows: Array) -> ConeTree:
    """The tree level by level, for the rows of the data."""
    levels, edges = [np.arange(2 ** frame.shape[1])], book.edge
    while levels[-1].size:
        children = book.child[levels[-1][edges[levels[-1]] >= 0]]
        levels.append(np.repeat(children, 2) + np.tile([0, 1], children.size))
    order = np.concatenate(levels)
    is_leaf = edges[order] < 0
    leaves = book.child[order[is_leaf]]
    starts = np.cumsum(np.concatenate([[0], book.counts[: state[LEAVES]]]), dtype=np.int64)
    counts = book.counts[leaves]
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    listed = np.repeat(starts[leaves], counts) + within
    return ConeTree(
        frame=frame,
        edges=edges[order],
        shifts=book.shift[order[~is_leaf]],
        vectors=book.vectors[leaves],
        counts=counts,
        rows=rows[book.rows[listed]],
        t=book.t[listed],
    )


def data_rows(design: Design, reduction: Reduction) -> Array:
    """For every row of the reduction's side the row of the data with the nearest direction."""
    X = design.scaled(1.0 / design.magnitude).dense()
    units = X / np.maximum(np.linalg.norm(X, axis=1), 1e-300)[:, None]
    basis = np.eye(design.d) if reduction.basis is None else reduction.basis
    return np.asarray(cKDTree(units @ basis).query(reduction.side.rows)[1], dtype=np.int64)
