"""N(F) for the flats of one rank from the flats below them: see `flats`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from extremal.arrangements.status import DONE, UNLUCKY
from extremal.design import Array


@njit(cache=True, nogil=True)
def same(a: Array, b: Array) -> bool:  # pragma: no cover - compiled
    equal = True
    for t in range(a.size):
        equal &= a[t] == b[t]
    return equal


@njit(cache=True, nogil=True)
def slot_of(words: Array, mask: Any) -> Any:  # pragma: no cover - compiled
    h = np.uint64(0x9E3779B97F4A7C15)
    for t in range(words.size):
        h = (h ^ words[t]) * np.uint64(0xBF58476D1CE4E5B9)
        h ^= h >> np.uint64(31)
    return np.int64(h & np.uint64(mask))


@njit(cache=True, nogil=True)
def common(
    group: Array,
    below: Array,
    signs: Array,
    members: Array,
    offsets: Array,
    patterns: Array,
    out: Array,
    table: Array,
    least: Array,
) -> int:  # pragma: no cover - compiled
    """Write N(F) for the flat F with the given group of covers; the table is empty (-1) before and after."""
    total = 0
    for s in group:
        total += offsets[below[s] + 1] - offsets[below[s]]
    mask = 1
    while mask < 2 * total:
        mask *= 2
    mask -= 1
    W = signs.shape[1]
    position = 0
    for s in group:
        for q in range(offsets[below[s]], offsets[below[s] + 1]):
            for t in range(W):
                least[position, t] = patterns[q, t] | signs[s, t]
            slot = slot_of(least[position], mask)
            while table[slot] >= 0:
                slot = (slot + 1) & mask
            table[slot] = position
            position += 1
    count = 0
    for s in group:
        w = below[s]
        for q in range(offsets[w], offsets[w + 1]):
            key = out[count]
            for t in range(W):
                key[t] = (members[w, t] & ~patterns[q, t]) | signs[s, t]
            slot = slot_of(key, mask)
            while table[slot] >= 0:
                if same(least[table[slot]], key):
                    count += 1
                    break
                slot = (slot + 1) & mask
    table[: mask + 1] = -1
    return count


@njit(cache=True, nogil=True)
def meet(
    order: Array,
    starts: Array,
    above: Array,
    below: Array,
    signs: Array,
    members: Array,
    offsets: Array,
    patterns: Array,
    sizes: Array,
    out: Array,
) -> tuple[int, int]:  # pragma: no cover - compiled
    """N(F) for the groups order[starts[f] : starts[f + 1]] of covers. (status, patterns)."""
    most = 1
    for f in range(starts.size - 1):
        total = 0
        for position in range(starts[f], starts[f + 1]):
            s = order[position]
            total += offsets[below[s] + 1] - offsets[below[s]]
            if not same(above[s], above[order[starts[f]]]):
                return UNLUCKY, 0
        most = max(most, total)
    table, least = np.full(4 * most, -1, np.int64), np.empty((most, signs.shape[1]), np.uint64)
    count = 0
    for f in range(starts.size - 1):
        group = order[starts[f] : starts[f + 1]]
        sizes[f] = common(group, below, signs, members, offsets, patterns, out[count:], table, least)
        count += sizes[f]
    return DONE, count
