"""Exact zeros and exact signs of integer determinants, from their residues modulo a few primes.

An integer v with |v| <= 2^b is known from its residues modulo primes whose product exceeds 2^(b+1): it is zero if all
of them are, and otherwise the mixed-radix digits (Garner) tell its sign. So a compiled loop over machine integers
decides what no fixed precision can, whatever the size of the entries.
"""

from __future__ import annotations

from functools import cache
from typing import Any

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
def remainder(x: int, p: int, reciprocal: float) -> Any:  # pragma: no cover - compiled
    """x modulo p for 0 <= x < 2^62 + 2^31; the quotient is off by one at most, and no division is needed."""
    rest = x - np.int64(x * reciprocal) * p
    if rest < 0:
        rest += p
    return rest - p if rest >= p else rest


@njit(cache=True, nogil=True)
def solve(A: Array, p: int) -> int:  # pragma: no cover - compiled
    """det B modulo p for A = (B, b); b is replaced by the solution of B y = b unless the determinant is zero."""
    k = A.shape[0]
    value = 1
    for c in range(k):
        pivot = c
        while pivot < k and A[pivot, c] == 0:
            pivot += 1
        if pivot == k:
            return 0
        if pivot != c:
            for t in range(k + 1):
                A[c, t], A[pivot, t] = A[pivot, t], A[c, t]
            value = p - value
        value = value * A[c, c] % p
        scale = inverse(A[c, c], p)
        for t in range(c, k + 1):
            A[c, t] = A[c, t] * scale % p
        for j in range(k):
            if j != c and A[j, c] != 0:
                m = p - A[j, c]
                for t in range(c, k + 1):
                    A[j, t] = (A[j, t] + m * A[c, t]) % p
    return value


@njit(cache=True, nogil=True)
def sign_of(values: Array, moduli: Array, scales: Array) -> int:  # pragma: no cover - compiled
    """The sign of the integer with the given residues, smaller in magnitude than half the product of the moduli.

    With v = d_0 + d_1 p_0 + d_2 p_0 p_1 + ..., v is negative if it is above half the product, and the digits of
    (product - 1) / 2 are (p_k - 1) / 2: the highest digit that differs from it decides. The scales are
    1 / (p_0 ... p_{k-1}) modulo p_k.
    """
    K = moduli.size
    digits = np.empty(K, np.int64)
    for k in range(K):
        p = moduli[k]
        reciprocal = 1.0 / p
        value = 0
        for i in range(k - 1, -1, -1):
            # all moduli are of one size: one subtraction reduces them modulo each other
            value = remainder(value * (moduli[i] - p if moduli[i] >= p else moduli[i]) + digits[i], p, reciprocal)
        digits[k] = (values[k] + p - value) % p * scales[k] % p
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
def coefficient_signs(
    R: Array, moduli: Array, S: Array, c: int, rows: Array, signs: Array
) -> bool:  # pragma: no cover - compiled
    """The signs of coordinate c of some rows where the rows S vanish and the last |S| coordinates are eliminated.

    R holds the residues of the integer matrix Z. The coefficient of row j is z_jc - z_j,later B^-1 z_Sc with
    B = Z[S, later]; times det B it is an integer, a minor of Z. False if B is singular, for one of the primes at least.
    """
    K, k, r = moduli.size, S.size, R.shape[2]
    A, values, scales = np.empty((k, k + 1), np.int64), np.empty((rows.size + 1, K), np.int64), np.empty(K, np.int64)
    for t in range(K):
        p = moduli[t]
        reciprocal = 1.0 / p
        for i in range(k):
            for s in range(k):
                A[i, s] = R[t, S[i], r - k + s]
            A[i, k] = R[t, S[i], c]
        det = solve(A, p)
        if det == 0:
            return False
        for q in range(rows.size):
            value = R[t, rows[q], c]
            for s in range(k):
                value = remainder(value + (p - A[s, k]) * R[t, rows[q], r - k + s], p, reciprocal)
            values[q, t] = remainder(value * det, p, reciprocal)
        values[rows.size, t] = det
        weight = 1
        for i in range(t):
            weight = remainder(weight * (moduli[i] - p if moduli[i] >= p else moduli[i]), p, reciprocal)
        scales[t] = inverse(weight, p)
    below = sign_of(values[rows.size], moduli, scales)
    for q in range(rows.size):
        signs[q] = below * sign_of(values[q], moduli, scales)
    return True
