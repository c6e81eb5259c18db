"""Which hyperplanes agree where others vanish, decided modulo primes, exactly."""

from __future__ import annotations

import numpy as np
from numba import njit

from extremal.arrangements.modular import inverse, remainder
from extremal.design import Array


@njit(cache=True, nogil=True)
def reduce_modulo(A: Array, S: Array, used: Array, p: int) -> bool:  # pragma: no cover - compiled
    """Restrict the columns of A (d, n) to where the columns S vanish, modulo p; False if S is dependent modulo p."""
    d, n = A.shape
    used[:] = False
    reciprocal = 1.0 / p
    m = np.empty(n, np.int64)
    for i in S:
        lead = -1
        for c in range(d):
            if not used[c] and A[c, i] != 0:
                lead = c
                break
        if lead < 0:
            return False
        used[lead] = True
        scale = p - inverse(A[lead, i], p)
        for j in range(n):
            m[j] = remainder(A[lead, j] * scale, p, reciprocal)
        for c in range(d):
            if not used[c] and A[c, i] != 0:
                factor = A[c, i]
                for j in range(n):
                    A[c, j] = remainder(A[c, j] + m[j] * factor, p, reciprocal)
    return True


@njit(cache=True, nogil=True)
def fingerprints(
    A: Array, inside: Array, used: Array, p: int, weights: Array, keys: Array
) -> bool:  # pragma: no cover - compiled
    """keys[j] = a hash of column j divided by its first entry, for columns outside the flat; False if one is zero."""
    d, n = A.shape
    lead, before = np.zeros(n, np.int64), np.empty(n + 1, np.int64)
    reciprocal = 1.0 / p
    for c in range(d):
        if not used[c]:
            for j in range(n):
                lead[j] = A[c, j] if lead[j] == 0 else lead[j]
    before[0] = 1
    for j in range(n):
        if inside[j]:
            lead[j] = 1
        elif lead[j] == 0:
            return False
        before[j + 1] = remainder(before[j] * lead[j], p, reciprocal)
    running = inverse(int(before[n]), p)  # all inverses from one
    for j in range(n - 1, -1, -1):
        before[j] = remainder(running * before[j], p, reciprocal)
        running = remainder(running * lead[j], p, reciprocal)
    keys[:] = 0
    for c in range(d):
        if not used[c]:
            for j in range(n):
                key = (keys[j] ^ np.uint64(remainder(A[c, j] * before[j], p, reciprocal))) * weights[c]
                keys[j] = key ^ (key >> np.uint64(29))
    return True


@njit(cache=True, nogil=True)
def are_parallel(A: Array, used: Array, i: int, j: int, p: int) -> bool:  # pragma: no cover - compiled
    """Whether two columns are nonzero and proportional modulo p."""
    lead = -1
    for c in range(A.shape[0]):
        if used[c]:
            continue
        if lead < 0:
            if A[c, i] == 0 and A[c, j] == 0:
                continue
            lead = c
        if (A[lead, i] * A[c, j] - A[lead, j] * A[c, i]) % p != 0:
            return False
    return lead >= 0 and A[lead, i] != 0 and A[lead, j] != 0


@njit(cache=True, nogil=True)
def classes(
    R: Array, moduli: Array, S: Array, inside: Array, weights: Array, label: Array
) -> int:  # pragma: no cover - compiled
    """label[j] = the class of row j among the rows that are parallel on the flat; their number, or -1.

    Rows that differ modulo the first prime are not parallel; the others are compared modulo all primes.
    """
    K, d, n = R.shape
    A, used = R[0].copy(), np.zeros(d, np.bool_)
    keys = np.empty(n, np.uint64)
    if not reduce_modulo(A, S, used, moduli[0]) or not fingerprints(A, inside, used, moduli[0], weights, keys):
        return -1
    mask = 1
    while mask < 2 * n:
        mask *= 2
    mask -= 1
    table, leader, count = np.full(mask + 1, -1, np.int64), np.empty(n, np.int64), 0
    repeated = False
    for j in range(n):
        label[j] = -1
        if inside[j]:
            continue
        slot = np.int64(keys[j] & np.uint64(mask))
        while table[slot] >= 0 and keys[leader[table[slot]]] != keys[j]:
            slot = (slot + 1) & mask
        if table[slot] < 0:
            table[slot], leader[count] = count, j
            count += 1
        else:
            repeated = True
        label[j] = table[slot]
    if repeated:
        for t in range(K):
            if t > 0:
                A[:] = R[t]
                if not reduce_modulo(A, S, used, moduli[t]):
                    return -1
            for j in range(n):
                repeats = label[j] >= 0 and leader[label[j]] != j
                if repeats and not are_parallel(A, used, leader[label[j]], j, moduli[t]):
                    return -1
    return count
