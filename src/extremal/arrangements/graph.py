"""The graph of neighbouring cells."""

from __future__ import annotations

import numpy as np
from numba import njit
from scipy import sparse

from extremal.arrangements.matching import same, slot_of
from extremal.arrangements.patterns import Patterns
from extremal.design import Array


@njit(cache=True, nogil=True)
def neighbours(words: Array, masks: Array, pairs: Array) -> int:  # pragma: no cover - compiled
    """Pairs (i, j), i < j, of rows of `words` that differ by one of the masks; -1 if they do not fit into `pairs`."""
    p, W = words.shape
    size = 1
    while size < 2 * p:
        size *= 2
    table = np.full(size, -1, np.int64)
    for i in range(p):
        slot = slot_of(words[i], size - 1)
        while table[slot] >= 0:
            slot = (slot + 1) & (size - 1)
        table[slot] = i
    count = 0
    key = np.empty(W, np.uint64)
    for i in range(p):
        for m in range(masks.shape[0]):
            for t in range(W):
                key[t] = words[i, t] ^ masks[m, t]
            slot = slot_of(key, size - 1)
            while table[slot] >= 0:
                j = table[slot]
                if j > i and same(words[j], key):
                    if count == pairs.shape[0]:
                        return -1
                    pairs[count, 0], pairs[count, 1] = i, j
                    count += 1
                slot = (slot + 1) & (size - 1)
    return count


def facets(patterns: Patterns) -> sparse.csr_array:
    """The pairs of patterns that one hyperplane separates, as a symmetric boolean matrix."""
    p, central = patterns.count, patterns.central
    rows_of_line = central.line_of[None, :] == np.arange(central.N)[:, None]
    masks = _words(np.packbits(rows_of_line, axis=1, bitorder="little"))
    words = _words(patterns.bits)
    capacity, count = 8 * p + 64, -1
    while count < 0:
        pairs = np.empty((capacity, 2), dtype=np.int64)
        count = neighbours(words, masks, pairs)
        capacity *= 2
    i, j = pairs[:count].T
    ends = (np.concatenate([i, j]), np.concatenate([j, i]))
    return sparse.csr_array((np.ones(2 * count, dtype=bool), ends), shape=(p, p))


def _words(bits: Array) -> Array:
    """Bytes, padded to words of eight."""
    padded = np.zeros((bits.shape[0], -(-max(bits.shape[1], 1) // 8) * 8), dtype=np.uint8)
    padded[:, : bits.shape[1]] = bits
    return padded.view(np.uint64)
