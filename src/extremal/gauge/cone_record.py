"""The search over simplicial cones of `cones` once more, with rays of integers, writing down all splits and leaves."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from extremal.design import Array
from extremal.gauge.cones import (
    DONE,
    MORE_ROOM,
    SLICE_OVER,
    ascend,
    bound_cone,
    choose_edge,
    evaluate,
    nonnegative_projection,
)

#: Integers up to this size are added in double precision without rounding.
LARGEST = 2.0**52

#: A row with |x_i . p| below this share of |p| is listed: rounding may decide on which side of it p is.
NEAR = 1e-9

#: Attempts at a vector for which all t_i can be guessed, and exceptions with which it is good enough.
GUESSES, FEW = 4, 8


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
