"""Proofs in low dimension: the search over simplicial cones of `cones`, with rays of integers, that keeps its leaves.

The bound of a cone is that of :mod:`extremal.gauge.cones`. A ray that splits an edge (a, b) is 2^k v_a + 2^l v_b, with
powers that make the two summands about as long, so that a checker computes all rays without rounding, and nothing else
is needed to see that the cones cover the sphere. A leaf keeps the vector p with f <= |p| on the cone, and those t_i
that a checker cannot guess as [x_i . p > 0].
"""

from __future__ import annotations

import time
from typing import NamedTuple

import numpy as np
from numba import njit
from scipy.spatial import cKDTree

from extremal.design import Array, Design
from extremal.gauge.ascent import ascend as ascend_from
from extremal.gauge.ascent import random_starts
from extremal.gauge.cones import (
    DONE,
    MORE_ROOM,
    SLICE_OVER,
    SLICE_WORK,
    ascend,
    bound_cone,
    choose_edge,
    evaluate,
    nonnegative_projection,
    orthants,
)
from extremal.gauge.sides import Reduction, Side, reduce_side
from extremal.proof import ConeTree, SideTree

#: Up to this rank a proof by cones is attempted.
LARGEST_RANK = 6

#: The tolerances to fall back on where a search does not end.
FALLBACKS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)

#: Local ascents for a first direction.
STARTS = 64

#: Integers up to this size are added in double precision without rounding.
LARGEST = 2.0**52

#: A row with |x_i . p| below this share of |p| is listed: rounding may decide on which side of it p is.
NEAR = 1e-9

#: Attempts at a vector for which all t_i can be guessed, and exceptions with which it is good enough.
GUESSES, FEW = 4, 8

#: A tree grows to this many leaves at most.
MOST_LEAVES = 2_000_000


class Cones(NamedTuple):
    """A stack of open cones: rays (of integers, and of norm one), bases, nodes, slices of a pool of mixed rows."""

    rays: Array
    gens: Array
    base: Array
    coef: Array
    node: Array
    first: Array
    mixed: Array
    rows: Array
    z: Array
    t: Array


class Book(NamedTuple):
    """The tree: for every node its edge and shift and its first child, or -1 and its leaf; for every leaf p and t."""

    edge: Array
    shift: Array
    child: Array
    vectors: Array
    counts: Array
    rows: Array
    t: Array


#: Where a search left off: open cones, cones seen, nodes, leaves, exceptions.
OPEN, SEEN, NODES, LEAVES, EXCEPTIONS = range(5)


@njit(cache=True, nogil=True)
def shortest(
    gens: Array, gram: Array, e: Array, a: Array, work: Array, p: Array
) -> float:  # pragma: no cover - compiled
    """|p| for a vector p with gens_k . p >= e_k, nearly the shortest."""
    d = e.size
    nonnegative_projection(gram, e, a, work)
    centre = np.zeros(d)
    for k in range(d):
        for j in range(d):
            centre[j] += gens[k, j]
    nearest = np.inf
    for k in range(d):
        nearest = min(nearest, (gens[k] * centre).sum())
    for j in range(d):
        p[j] = 0.0
        for k in range(d):
            p[j] += a[k] * gens[k, j]
    lack, top = 0.0, 0.0
    for k in range(d):
        lack = max(lack, e[k] - (gens[k] * p).sum())
        top = max(top, e[k])
    if nearest > 0.0:
        for j in range(d):
            p[j] += lack / nearest * centre[j]
        length = np.sqrt((centre * centre).sum()) * top / nearest
        if length * length < (p * p).sum():
            for j in range(d):
                p[j] = top / nearest * centre[j]
    return np.sqrt((p * p).sum())


@njit(cache=True, nogil=True)
def stretched(gens: Array, e: Array, p: Array, out: Array) -> float:  # pragma: no cover - compiled
    """|out| for the shortest multiple of p with gens_k . out >= e_k; it decides all signs as p does."""
    factor = 1e-6
    for k in range(e.size):
        along = (gens[k] * p).sum()
        if e[k] > 0.0:
            if along <= 0.0:
                return np.inf
            factor = max(factor, e[k] / along)
    out[:] = factor * p
    return np.sqrt((out * out).sum())


@njit(cache=True, nogil=True)
def needed_heights(
    X: Array, w: Array, gens: Array, base: Array, rows: Array, z: Array, t: Array, e: Array
) -> None:  # pragma: no cover - compiled
    """e_k = sum_P w_i (z_ik)_+ + base . v_k + sum_N t_i w_i z_ik."""
    d = base.size
    for k in range(d):
        e[k] = (base * gens[k]).sum()
    for i in range(rows.size):
        weight = w[rows[i]]
        for k in range(d):
            if weight < 0:
                e[k] += weight * t[i] * z[i, k]
            elif z[i, k] > 0:
                e[k] += weight * z[i, k]


@njit(cache=True, nogil=True)
def keep_leaf(
    X: Array,
    w: Array,
    gens: Array,
    base: Array,
    rows: Array,
    z: Array,
    t: Array,
    p: Array,
    cutoff: float,
    book: Book,
    state: Array,
) -> None:  # pragma: no cover - compiled
    """Write down the bound of a cone, with t all guessed if it stays below the cutoff, or as it is otherwise."""
    n, d = X.shape
    m = rows.size
    gram = gens @ gens.T
    e, a, work, trial = np.empty(d), np.empty(d), np.empty((d, d)), p.copy()
    guess = np.empty(m)
    centre = np.zeros(d)
    for k in range(d):
        centre += gens[k]
    accepted = False
    size = 0.0
    for attempt in range(GUESSES):
        if attempt == GUESSES - 1 or not trial.any():
            trial[:] = centre
        for i in range(m):
            guess[i] = 1.0 if (X[rows[i]] * trial).sum() > 0 else 0.0
        needed_heights(X, w, gens, base, rows, z, guess, e)
        size = stretched(gens, e, trial, work[0])
        if size <= cutoff:
            trial[:] = work[0]
            accepted = True
            break
        size = shortest(gens, gram, e, a, work, trial)
        others = 0
        for i in range(m):
            if w[rows[i]] < 0 and guess[i] != (1.0 if (X[rows[i]] * trial).sum() > 0 else 0.0):
                others += 1
        if size <= cutoff and others <= FEW:
            accepted = True
            break
    if not accepted:
        for i in range(m):
            guess[i] = np.float32(t[i])
        needed_heights(X, w, gens, base, rows, z, guess, e)
        size = shortest(gens, gram, e, a, work, trial)
    is_mixed = np.full(n, -1)
    for i in range(m):
        is_mixed[rows[i]] = i
    leaf, listed = state[LEAVES], state[EXCEPTIONS]
    book.vectors[leaf] = trial
    for i in range(n):
        if w[i] > 0:
            continue
        dot = 0.0
        for j in range(d):
            dot += X[i, j] * trial[j]
        near = abs(dot) <= NEAR * size
        if is_mixed[i] >= 0:
            given = guess[is_mixed[i]]
        elif near:
            given = 1.0 if (gens @ X[i]).sum() > 0 else 0.0
        else:
            continue
        if near or given != (1.0 if dot > 0 else 0.0):
            book.rows[listed] = i
            book.t[listed] = given
            listed += 1
    book.counts[leaf] = listed - state[EXCEPTIONS]
    state[LEAVES] += 1
    state[EXCEPTIONS] = listed


@njit(cache=True, nogil=True)
def middle_ray(first: Array, second: Array, out: Array) -> int:  # pragma: no cover - compiled
    """The shift s of out = 2^max(s, 0) first + 2^max(-s, 0) second, without common powers of two; 99 if not exact."""
    shift = int(np.round(0.5 * np.log2((second * second).sum() / (first * first).sum())))
    largest = 0.0
    for j in range(out.size):
        out[j] = first[j] * 2.0 ** max(shift, 0) + second[j] * 2.0 ** max(-shift, 0)
        largest = max(largest, abs(out[j]))
    if largest > LARGEST:
        return 99
    even = True
    while even:
        for j in range(out.size):
            even = even and out[j] % 2.0 == 0.0
        if even:
            out *= 0.5
    return shift


@njit(cache=True, nogil=True)
def record(
    X: Array,
    w: Array,
    linear: Array,
    cones: Cones,
    book: Book,
    state: Array,
    numbers: Array,
    witness: Array,
    tol: float,
    margin: float,
    floor: float,
    budget: int,
) -> int:  # pragma: no cover - compiled
    """Depth-first search from the open cones, for at most `budget` of them.

    A cone is a leaf if its bound is at most max(lower (1 + tol) + margin, floor), numbers = (lower, largest bound of a
    leaf), or if it cannot be split.
    """
    n, d = X.shape
    my_rows = np.empty(n, cones.rows.dtype)
    my_z = np.empty((n, d))
    my_t = np.empty(n)
    new_z = np.empty(n)
    middle = np.empty(d)
    pair = np.empty(2, np.int64)
    r, u = np.empty(d), np.empty(d)
    for _ in range(budget):
        if state[OPEN] == 0:
            return DONE
        top = state[OPEN] - 1
        begin, m, node = cones.first[top], cones.mixed[top], cones.node[top]
        if (
            begin + 2 * m > cones.rows.size
            or top + 2 > cones.node.size
            or state[NODES] + 2 > book.edge.size
            or state[LEAVES] + 1 > book.counts.size
            or state[EXCEPTIONS] + n > book.rows.size
        ):
            return MORE_ROOM
        state[SEEN] += 1
        rows, z, t = cones.rows[begin : begin + m], cones.z[begin : begin + m], cones.t[begin : begin + m]
        gens, rays, base, coef = cones.gens[top], cones.rays[top], cones.base[top], cones.coef[top]
        cutoff = max(numbers[0] * (1.0 + tol) + margin, floor)
        r[:] = 0.0
        bound, value = bound_cone(X, w, gens, base, rows, z, t, m, cutoff, coef, r, u)
        if value > numbers[0] and evaluate(X, w, linear, u) > numbers[0]:
            numbers[0] = ascend(X, w, linear, u)
            witness[:] = u
            cutoff = max(numbers[0] * (1.0 + tol) + margin, floor)
        shift = 99
        if bound > cutoff and d > 1:
            choose_edge(w, gens, rows, z, coef, m, pair)
            shift = middle_ray(rays[pair[0]], rays[pair[1]], middle)
        if shift == 99:
            numbers[1] = max(numbers[1], bound)
            book.edge[node] = -1
            book.child[node] = state[LEAVES]
            allowed = max(numbers[0] * (1.0 + tol) + margin, bound)
            keep_leaf(X, w, gens, base, rows, z, t, r, allowed, book, state)
            state[OPEN] = top
            continue
        k1, k2 = pair[0], pair[1]
        book.edge[node] = k1 * d - k1 * (k1 + 1) // 2 + k2 - k1 - 1
        book.shift[node] = shift
        book.child[node] = state[NODES]
        size = np.sqrt((middle * middle).sum())
        share1 = 2.0 ** max(shift, 0) * np.sqrt((rays[k1] ** 2).sum())
        share2 = 2.0 ** max(-shift, 0) * np.sqrt((rays[k2] ** 2).sum())
        scale = np.sqrt(((share1 * gens[k1] + share2 * gens[k2]) ** 2).sum())
        for i in range(m):
            my_rows[i] = rows[i]
            my_t[i] = t[i]
            my_z[i] = z[i]
            new_z[i] = (share1 * z[i, k1] + share2 * z[i, k2]) / scale
        for place in range(top + 1, top - 1, -1):
            cones.gens[place] = gens
            cones.rays[place] = rays
            cones.base[place] = base
            cones.coef[place] = coef
        spot = begin
        for child in range(2):
            place, out = top + child, pair[child]
            cones.rays[place, out] = middle
            cones.gens[place, out] = middle / size
            kept = 0
            for i in range(m):
                low, high = new_z[i], new_z[i]
                for k in range(d):
                    if k != out:
                        low = min(low, my_z[i, k])
                        high = max(high, my_z[i, k])
                if high <= 0.0:
                    continue
                row = my_rows[i]
                if low >= 0.0:
                    for j in range(d):
                        cones.base[place, j] += w[row] * X[row, j]
                    continue
                cones.rows[spot + kept] = row
                cones.t[spot + kept] = my_t[i]
                cones.z[spot + kept] = my_z[i]
                cones.z[spot + kept, out] = new_z[i]
                kept += 1
            cones.node[place] = state[NODES] + child
            cones.first[place] = spot
            cones.mixed[place] = kept
            spot += kept
        state[NODES] += 2
        state[OPEN] = top + 2
    return SLICE_OVER


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
    found = ascend_from(rows, side.weights[:, None], random_starts(rows, STARTS, np.random.default_rng(0)))
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
        A time of time.monotonic(). If the search does not end, a coarser one is tried in what remains.

    Returns
    -------
    ConeTree
        The best one found.
    """
    u = np.array(np.ones(side.rank) if witness is None else witness, dtype=np.float64)
    best: Found | None = None
    for level in (tol, *(coarse for coarse in FALLBACKS if coarse > tol)):
        found = search_tree(side, u, lower, level, halfway(deadline))
        best = found if best is None or found.upper < best.upper else best
        if found.ended == (level == tol):
            break
    assert best is not None
    frame = best.frame if basis is None else basis @ best.frame
    return assemble(best.book, best.state, frame, rows)


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
