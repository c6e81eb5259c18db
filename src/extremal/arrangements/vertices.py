"""The signs at the vertices of flats, and the flats that cover them: see `flats`."""

from __future__ import annotations

import numpy as np
from numba import njit

from extremal.arrangements.enclosure import invert, restrict, set_bit, settle
from extremal.arrangements.parallel import classes
from extremal.arrangements.status import DONE, FULL, UNLUCKY
from extremal.design import Array


@njit(cache=True, nogil=True)
def signs_at_vertex(
    Z: Array, R: Array, moduli: Array, S: Array, inside: Array, at_infinity: Array, words: Array, scratch: Array
) -> bool:  # pragma: no cover - compiled
    """The signs at the vertex of the flat of S, of the rows that are not inside it; False if one is zero."""
    (N, r), k = Z.shape, S.size
    c = r - 1 - k
    value, last, error = scratch[0, :N], scratch[1, :N], scratch[2, :N]
    B, Y = scratch[3, : r * r].reshape(r, r), scratch[4, : r * r].reshape(r, r)
    norm, g = invert(Z, S, B, Y)
    error[:] = restrict(Z, S, 0, Y, norm, g, value)
    if c > 0:
        bound = restrict(Z, S, c, Y, norm, g, last)
        for j in range(N):
            value[j] = value[j] if at_infinity[j] else -last[j]
            error[j] = error[j] if at_infinity[j] else bound
    sure = True
    for block in range(words.size):
        word, start = np.uint64(0), 64 * block
        for s in range(min(64, N - start)):
            j = start + s
            word |= np.uint64((value[j] > 0.0) & ~inside[j]) << np.uint64(s)
            sure &= (abs(value[j]) > error[j]) | inside[j]
        words[block] = word
    if sure:
        return True
    near, far, doubtful = 0, 0, np.empty((2, N), np.int64)
    for j in range(N):
        if not inside[j] and not abs(value[j]) > error[j]:
            if at_infinity[j]:
                doubtful[0, far] = j
                far += 1
            else:
                doubtful[1, near] = j
                near += 1
    if not settle(R, moduli, S, 0, 1.0, doubtful[0, :far], words):
        return False
    return settle(R, moduli, S, c, -1.0, doubtful[1, :near], words)


@njit(cache=True, nogil=True)
def visit(
    Z: Array,
    R: Array,
    moduli: Array,
    lines: Array,
    line_moduli: Array,
    zobrist: Array,
    members: Array,
    bases: Array,
    begin: int,
    outside: Array,
    covers: tuple[Array, Array, Array, Array, Array],
) -> tuple[int, int, int]:  # pragma: no cover - compiled
    """The signs outside every flat at its vertex, and the flats that cover it. (status, next flat, covers)."""
    N, r = Z.shape
    key, above, signs, below, row = covers
    is_last = bases.shape[1] == r - 1
    label, inside, at_infinity = np.zeros(N, np.int64), np.zeros(N, np.bool_), np.ones(N, np.bool_)
    first, scratch = np.empty(N, np.int64), np.empty((5, max(N, r * r)))
    count = 0
    for w in range(begin, members.shape[0]):
        if not is_last and count + N > key.size:
            return FULL, w, count
        S, base = bases[w], np.uint64(0)
        for block in range(members.shape[1]):
            word, start = members[w, block], 64 * block
            for s in range(min(64, N - start)):
                inside[start + s] = (word >> np.uint64(s)) & np.uint64(1) != 0
        if not is_last:
            for j in range(N):
                base ^= zobrist[j] if inside[j] else np.uint64(0)
            number = classes(lines, line_moduli, S, inside, zobrist[:r], label)
            if number < 0:
                return UNLUCKY, w, count
            for j in range(N):
                at_infinity[j] = label[j] == label[N - 1]
            first[:number] = -1
        if not signs_at_vertex(Z, R, moduli, S, inside, at_infinity, outside[w], scratch):
            return UNLUCKY, w, count
        if is_last:
            continue
        new = count
        for j in range(N):
            if inside[j] or at_infinity[j]:
                continue
            f = first[label[j]]
            if f < 0:
                f = count
                first[label[j]] = f
                count += 1
                signs[f] = 0
                below[f], row[f], key[f] = w, j, base
            set_bit(signs[f], j, True)
            key[f] ^= zobrist[j]
        for f in range(new, count):  # at the vertex of w the last coordinate is negative
            for t in range(signs.shape[1]):
                above[f, t] = members[w, t] | signs[f, t]
                signs[f, t] &= ~outside[w, t]
    return DONE, members.shape[0], count
