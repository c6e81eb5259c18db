"""The cells of hyperplanes in general position: one for every independent set of at most r-1 of them, no search.

Let f_0, ..., f_{r-1} be a flag: f_0 is the last hyperplane's normal, the others are generic. In the chart f_0 = 1 a
cell has a unique vertex where f_1 is least; a cell without one reaches f_1 = -infinity, where it has a vertex with
least f_2, and so on. So the cells up to sign are the sets S of at most r-1 of the other hyperplanes, each at its own
vertex:

    not in S:  x_j restricted to the intersection of S is sum_c b_c f_c, c <= l = r-1-|S|, and its sign there is that of
               -b_l (of b_0 if l = 0);
    in S:      f_{l+1} - sum_{c <= l} (...) f_c = sum_S mu_i x_i on the intersection, and the sign is that of mu_i.

A depth-first walk inverts one small matrix for every line, with a bound on its error. A sign below its bound is decided
exactly (`modular`); if it is zero, the hyperplanes are not in general position, and `flats` takes over.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import comb

import numpy as np
from numba import njit

from extremal.arrangements.central import Central, to_floats
from extremal.arrangements.enclosure import UNIT, invert, restrict, set_bit, settle
from extremal.arrangements.modular import moduli_for, residues
from extremal.arrangements.status import DONE, FULL, ZERO
from extremal.design import Array


class Degenerate(ArithmeticError):
    """The hyperplanes are not in general position, or the flag is not."""


@njit(cache=True, nogil=True)
def contains(S: Array, j: int) -> bool:  # pragma: no cover - compiled
    found = False
    for i in S:
        found |= i == j
    return found


@njit(cache=True, nogil=True)
def set_support(
    mu: Array, bound: float, S: Array, words: Array, R: Array, moduli: Array
) -> bool:  # pragma: no cover - compiled
    """The signs of mu, known up to the bound, for the rows S; False if one is zero."""
    for t in range(S.size):
        if abs(mu[t]) > bound:
            set_bit(words, S[t], mu[t] > 0.0)
        else:
            others = np.concatenate((S[:t], S[t + 1 :]))
            if not settle(R, moduli, others, R.shape[2] - S.size, 1.0, S[t : t + 1], words):
                return False
    return True


@njit(cache=True, nogil=True)
def set_column(
    column: Array, bound: float, S: Array, words: Array, R: Array, moduli: Array
) -> bool:  # pragma: no cover - compiled
    """The signs of -column, known up to the bound, for the rows outside S; False if one is zero."""
    doubtful, count = np.empty(column.size, np.int64), 0
    for j in range(column.size):
        set_bit(words, j, column[j] < 0.0)
        if not abs(column[j]) > bound and not contains(S, j):
            doubtful[count] = j
            count += 1
    return settle(R, moduli, S, R.shape[2] - 1 - S.size, -1.0, doubtful[:count], words)


@njit(cache=True, nogil=True)
def set_crossing(
    a: Array, b: Array, e: Array, S: Array, words: Array, R: Array, moduli: Array
) -> bool:  # pragma: no cover - compiled
    """The signs of a_j - b_j a_i / b_i on the line of the rows S but the last, i; False if one is zero."""
    M = a.size
    i = S[S.size - 1]
    up, across, ei = (a[i], b[i], e[i]) if b[i] > 0.0 else (-a[i], -b[i], e[i])
    size = (abs(up) + across) * (1.0 + 8.0 * UNIT)
    wide, slack = size + ei, ei + 4.0 * UNIT * size
    sure = across > ei
    for block in range((M + 63) // 64):
        word = np.uint64(0)
        start = 64 * block
        for s in range(min(64, M - start)):
            j = start + s
            value = a[j] * across - b[j] * up
            word |= np.uint64(value > 0.0) << np.uint64(s)
            sure &= (abs(value) > e[j] * wide + slack * (abs(a[j]) + abs(b[j]))) | (j == i)
        words[block] = word
    if sure:
        return True
    doubtful, count = np.empty(M, np.int64), 0
    for j in range(M):
        error = e[j] * wide + slack * (abs(a[j]) + abs(b[j]))
        if not (across > ei and abs(a[j] * across - b[j] * up) > error) and not contains(S, j):
            doubtful[count] = j
            count += 1
    return settle(R, moduli, S, 0, 1.0, doubtful[:count], words)


@njit(cache=True, nogil=True)
def walk(
    Z: Array, R: Array, moduli: Array, S: Array, state: Array, out: Array
) -> tuple[int, int]:  # pragma: no cover - compiled
    """Fill `out` with cells; state = (depth or -1 at the start, next row of every level...). (status, cells)."""
    M, r = Z.shape
    count = 0
    B, inverse = np.empty((r, r)), np.zeros((r, r))
    a, b, e, mu = np.empty(M), np.empty(M), np.empty(M), np.empty(r)
    if state[0] < 0:
        if not set_column(Z[:, r - 1], UNIT, S[:0], out[0], R, moduli):
            return ZERO, 0
        count, state[0], state[1] = 1, 0, 0
    if r == 1:
        return DONE, count
    while state[0] >= 0:
        k = state[0]
        i = state[k + 1]
        if i == M:
            state[0] = k - 1
        elif k < r - 2:
            if count == out.shape[0]:
                return FULL, count
            S[k] = i
            T, words = S[: k + 1], out[count]
            norm, g = invert(Z, T, B, inverse)
            bound = restrict(Z, T, r - 2 - k, inverse, norm, g, a)
            if not set_column(a, bound, T, words, R, moduli):
                return ZERO, count
            if not set_support(inverse[0], 2.0 * g * norm if g < 0.5 else np.inf, T, words, R, moduli):
                return ZERO, count
            count += 1
            state[k + 1] = i + 1
            state[k + 2] = i + 1
            state[0] = k + 1
        else:
            T = S[:k]
            norm, g = invert(Z, T, B, inverse)
            e[:] = max(restrict(Z, T, 0, inverse, norm, g, a), restrict(Z, T, 1, inverse, norm, g, b))
            for t in range(k):
                e[T[t]] = -np.inf
            bound = k * norm * (2.0 * g + (k + 2) * UNIT) if g < 0.5 else np.inf
            while i < M:
                if count == out.shape[0]:
                    state[k + 1] = i
                    return FULL, count
                S[k] = i
                words = out[count]
                sign = -1.0 if b[i] > 0.0 else 1.0
                for t in range(k):
                    mu[t] = 0.0
                    for s in range(k):
                        mu[t] += sign * Z[i, 2 + s] * inverse[s, t]
                mu[k] = b[i]
                if not set_crossing(a, b, e, S, words, R, moduli):
                    return ZERO, count
                if not set_support(mu[: k + 1], bound if abs(b[i]) > e[i] else np.inf, S, words, R, moduli):
                    return ZERO, count
                count += 1
                i += 1
            state[k + 1] = M
    return DONE, count


def generic_cells(central: Central, size: int, seed: int = 0) -> Iterator[Array]:
    """The cells up to sign in blocks of at most `size`, as words (p, W) of bits, one for each hyperplane.

    The last hyperplane's sign is +.

    Raises
    ------
    Degenerate
        When a sign is zero; the cells so far are right.
    """
    N, r = central.N, central.rank
    integers = central.flag(seed)[:-1]
    Z = to_floats(integers)
    moduli = moduli_for(integers, r)
    R = residues(integers, moduli)
    words = (N + 63) // 64
    S, state = np.zeros(r - 1, dtype=np.int64), np.full(r, -1, dtype=np.int64)
    last = np.uint64(1) << np.uint64((N - 1) & 63)
    most = sum(comb(N - 1, k) for k in range(r))
    while True:
        out = np.zeros((min(size, most), words), dtype=np.uint64)
        status, count = walk(Z, R, moduli, S, state, out)
        if status == ZERO:
            raise Degenerate
        out[:count, -1] |= last
        yield out[:count]
        if status == DONE:
            return
