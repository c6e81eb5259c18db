"""Exact zeros and exact signs of integer determinants, from their residues modulo a few primes.

An integer v with |v| <= 2^b is known from its residues modulo primes whose product exceeds 2^(b+1): it is zero if all
of them are, and otherwise the mixed-radix digits (Garner) tell its sign. So a compiled loop over machine integers
decides what no fixed precision can, whatever the size of the entries.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numba import njit

from extremal.design import Array

#: Every prime is above 2^30 and below 2^31, so that products of residues fit into 64 bits.
BITS_OF_A_PRIME = 30


@cache
def primes(count: int) -> tuple[int, ...]:
    """The largest `count` primes below 2^31."""
    found: list[int] = []
    candidate = 2**31 - 1
    while len(found) < count:
        if _is_prime(candidate):
            found.append(candidate)
        candidate -= 2
    return tuple(found)


def _is_prime(number: int) -> bool:
    """Miller and Rabin's test with the bases 2, 3, 5 and 7, which is a proof below 3.2e9."""
    odd, twos = number - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for base in (2, 3, 5, 7):
        power = pow(base, odd, number)
        if power not in (1, number - 1) and all(pow(power, 2**k, number) != number - 1 for k in range(1, twos)):
            return False
    return True


def moduli_for(rows: Array, order: int, attempt: int = 0) -> Array:
    """Enough primes for every minor of at most the given order of an integer matrix (Hadamard's bound).

    Every attempt has primes of its own.
    """
    squares = sorted((sum(int(entry) ** 2 for entry in row) for row in rows), reverse=True)
    bits = sum(square.bit_length() + 1 for square in squares[:order]) // 2 + 2
    count = bits // BITS_OF_A_PRIME + 1
    return np.array(primes((attempt + 1) * count)[-count:], dtype=np.int64)


def residues(rows: Array, moduli: Array) -> Array:
    """The entries of an integer matrix modulo every prime, shape (number of primes, n, d)."""
    return np.array([(rows % int(p)).astype(np.int64) for p in moduli]).reshape(len(moduli), *rows.shape)


@njit(cache=True, nogil=True)
def inverse(a: int, p: int) -> int:  # pragma: no cover - compiled
    """1 / a modulo p, by Euclid's algorithm."""
    r0, r1, t0, t1 = p, a, 0, 1
    while r1 != 0:
        q = r0 // r1
        r0, r1 = r1, r0 - q * r1
        t0, t1 = t1, t0 - q * t1
    return t0 % p


@njit(cache=True, nogil=True)
def echelon(A: Array, p: int) -> tuple[int, Array]:  # pragma: no cover - compiled
    """Rank of A modulo p and the columns of its pivots; A is reduced in place, row by row."""
    n, d = A.shape
    pivots = np.empty(min(n, d), np.int64)
    used = np.zeros(d, np.bool_)
    rank = 0
    for i in range(n):
        column = -1
        for c in range(d):
            if not used[c] and A[i, c] != 0:
                column = c
                break
        if column < 0:
            continue
        used[column] = True
        pivots[rank] = column
        rank += 1
        scale = inverse(A[i, column], p)
        for j in range(i + 1, n):
            if A[j, column] != 0:
                m = A[j, column] * scale % p
                for c in range(d):
                    A[j, c] = (A[j, c] - m * A[i, c]) % p
        if rank == d:
            break
    return rank, pivots[:rank]


@njit(cache=True, nogil=True)
def determinant(A: Array, p: int) -> int:  # pragma: no cover - compiled
    """det A modulo p, of a square matrix that is overwritten."""
    k = A.shape[0]
    value = 1
    for c in range(k):
        pivot = c
        while pivot < k and A[pivot, c] == 0:
            pivot += 1
        if pivot == k:
            return 0
        if pivot != c:
            for t in range(k):
                A[c, t], A[pivot, t] = A[pivot, t], A[c, t]
            value = p - value
        value = value * A[c, c] % p
        scale = inverse(A[c, c], p)
        for j in range(c + 1, k):
            if A[j, c] != 0:
                m = A[j, c] * scale % p
                for t in range(c, k):
                    A[j, t] = (A[j, t] - m * A[c, t]) % p
    return value


@njit(cache=True, nogil=True)
def sign_of(values: Array, moduli: Array) -> int:  # pragma: no cover - compiled
    """The sign of the integer with the given residues, smaller in magnitude than half the product of the moduli.

    With v = d_0 + d_1 p_0 + d_2 p_0 p_1 + ..., v is negative if it is above half the product, and the digits of
    (product - 1) / 2 are (p_k - 1) / 2: the highest digit that differs from it decides.
    """
    K = moduli.size
    digits = np.empty(K, np.int64)
    for k in range(K):
        p = moduli[k]
        value, weight = 0, 1
        for i in range(k):
            value = (value + digits[i] % p * weight) % p
            weight = weight * (moduli[i] % p) % p
        digits[k] = (values[k] - value) % p * inverse(weight, p) % p
    for k in range(K - 1, -1, -1):
        half = (moduli[k] - 1) // 2
        if digits[k] != half:
            if digits[k] > half:
                return -1
            break
    for k in range(K):
        if digits[k] != 0:
            return 1
    return 0


@njit(cache=True, nogil=True)
def determinant_sign(R: Array, moduli: Array, rows: Array, columns: Array) -> int:  # pragma: no cover - compiled
    """The sign of det Z[rows, columns], from the residues R of the integer matrix Z."""
    k = rows.size
    values = np.empty(moduli.size, np.int64)
    A = np.empty((k, k), np.int64)
    for t in range(moduli.size):
        for i in range(k):
            for c in range(k):
                A[i, c] = R[t, rows[i], columns[c]]
        values[t] = determinant(A, moduli[t])
    return sign_of(values, moduli)


@njit(cache=True, nogil=True)
def coefficient_sign(R: Array, moduli: Array, j: int, S: Array, c: int) -> int:  # pragma: no cover - compiled
    """The sign of coordinate c of row j where the rows S vanish and the last |S| coordinates are eliminated.

    By Schur's complement the coefficient is det Z[(j, S), (c, later)] / det Z[S, later].
    """
    k, r = S.size, R.shape[2]
    rows, columns = np.empty(k + 1, np.int64), np.empty(k + 1, np.int64)
    rows[0], columns[0] = j, c
    for t in range(k):
        rows[t + 1], columns[t + 1] = S[t], r - k + t
    above = determinant_sign(R, moduli, rows, columns)
    return above * determinant_sign(R, moduli, S, columns[1:]) if above != 0 else 0
