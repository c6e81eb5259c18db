"""Points strictly inside a cell, and the exact decision whether a sign pattern is that of a cell.

For the rows a_j = s_j x_j / |x_j| of a cell, the shortest vector of their convex hull is the direction of largest
margin min_j a_j . u over unit vectors; it is zero if and only if there is no cell. Wolfe's algorithm finds it in
floating point; what that cannot decide goes to a simplex method in rational numbers.
"""

from __future__ import annotations

from fractions import Fraction
from math import lcm

import numpy as np
from numba import njit

from extremal.arrangements.central import Central
from extremal.arrangements.patterns import Patterns
from extremal.arrangements.signs import exact_signs
from extremal.design import Array, Design

_BLOCK = 2**22


@njit(cache=True, nogil=True)
def affine_minimum(A: Array, active: Array, m: int, weights: Array) -> bool:  # pragma: no cover - compiled
    """The weights, of sum one, of the shortest vector in the affine hull of the rows active[:m] of A."""
    G = np.empty((m, m + 1))
    for i in range(m):
        for j in range(m):
            G[i, j] = (A[active[i]] * A[active[j]]).sum() + 1.0
        G[i, m] = 1.0
    for c in range(m):
        p = c
        for i in range(c + 1, m):
            if abs(G[i, c]) > abs(G[p, c]):
                p = i
        if abs(G[p, c]) < 1e-15:
            return False
        for j in range(m + 1):
            G[p, j], G[c, j] = G[c, j], G[p, j]
        for i in range(m):
            if i != c:
                f = G[i, c] / G[c, c]
                for j in range(c, m + 1):
                    G[i, j] -= f * G[c, j]
    total = 0.0
    for i in range(m):
        weights[i] = G[i, m] / G[i, i]
        total += weights[i]
    for i in range(m):
        weights[i] /= total
    return True


@njit(cache=True, nogil=True)
def shortest(A: Array, x: Array) -> None:  # pragma: no cover - compiled
    """x ~ the shortest vector in the convex hull of the rows of A (Wolfe 1976)."""
    n, d = A.shape
    active, weights, target = np.zeros(d + 2, np.int64), np.zeros(d + 2), np.zeros(d + 2)
    m = 1
    weights[0] = 1.0
    x[:] = A[0]
    for _ in range(50 * (d + 2)):
        least, j = np.inf, -1
        for i in range(n):
            value = 0.0
            for t in range(d):
                value += A[i, t] * x[t]
            if value < least:
                least, j = value, i
        square = (x * x).sum()
        if least >= square - 1e-14 * np.sqrt(square) or m > d + 1 or np.any(active[:m] == j):
            return
        active[m], weights[m] = j, 0.0
        m += 1
        while True:
            if not affine_minimum(A, active, m, target):
                return
            step, leaver = 1.0, -1
            for i in range(m):
                if target[i] <= 1e-14 and weights[i] - target[i] > 0.0:
                    ratio = weights[i] / (weights[i] - target[i])
                    if ratio < step:
                        step, leaver = ratio, i
            for i in range(m):
                weights[i] += step * (target[i] - weights[i])
            if leaver < 0:
                break
            for i in range(leaver, m - 1):
                active[i], weights[i] = active[i + 1], weights[i + 1]
            m -= 1
        x[:] = 0.0
        for i in range(m):
            x += weights[i] * A[active[i]]


@njit(cache=True, nogil=True)
def margins(A: Array, signs: Array, points: Array) -> None:  # pragma: no cover - compiled
    """points[q] = the direction of largest margin for the rows signs[q, j] A[j]."""
    oriented = np.empty_like(A)
    for q in range(signs.shape[0]):
        for j in range(A.shape[0]):
            for t in range(A.shape[1]):
                oriented[j, t] = signs[q, j] * A[j, t]
        shortest(oriented, points[q])


def has_interior(central: Central, pattern: Array) -> bool:
    """Whether the rows of X take the signs of a pattern (n,) strictly, zero rows counted as 0."""
    if central.N == 0:
        return not pattern.any()
    signs = _line_signs(central, pattern[None, :])
    if not _is_consistent(central, signs, pattern[None, :]):
        return False
    u = _wide_points(central, signs)[0]
    if np.isfinite(u).all() and (signs[0] * np.sign(central.lines @ _integers(u)) > 0).all():
        return True
    return _rational_point(central.lines, signs[0]) is not None


def interior_points(design: Design, patterns: Patterns) -> Array:
    """A unit vector strictly inside every cell, shape (p, d); NaN where there is none among the floats."""
    central = patterns.central
    if (design.n, design.d) != (central.n, central.d):
        raise ValueError(f"the patterns are of a matrix of shape {(central.n, central.d)}")
    points = np.zeros((patterns.count, design.d))
    if central.N == 0:
        points[:, 0] = 1.0
        return points
    step = max(1, _BLOCK // (design.n * central.rank))
    for start in range(0, patterns.count, step):
        booleans = patterns[start : start + step].unpack()
        points[start : start + step] = _points(design, central, booleans)
    return points


def _points(design: Design, central: Central, booleans: Array) -> Array:
    signs = _line_signs(central, booleans)
    if not _is_consistent(central, signs, booleans):
        raise ValueError("a pattern is not that of a cell: parallel rows contradict each other")
    points = _in_coordinates(central, _wide_points(central, signs))
    for q in _wrong(design, central, points, booleans):
        exact = _rational_point(central.lines, signs[q])
        if exact is None:
            raise ValueError("a pattern is not that of a cell")
        points[q] = _in_coordinates(central, np.array([_rounded(exact)]))[0]
    points[_wrong(design, central, points, booleans)] = np.nan
    return points


def _wide_points(central: Central, signs: Array) -> Array:
    """Directions of largest margin in reduced coordinates, the margin measured in orthonormal ones."""
    Q, R = np.linalg.qr(central.floats / np.linalg.norm(central.floats, axis=1, keepdims=True))
    points = np.empty((len(signs), central.rank))
    margins(Q / np.maximum(np.linalg.norm(Q, axis=1, keepdims=True), 1e-300), signs.astype(np.float64), points)
    try:
        return np.linalg.solve(R, points.T).T
    except np.linalg.LinAlgError:  # dependent as far as floats can tell
        return points


def _integers(u: Array) -> Array:
    """A positive multiple of u in Python integers, exactly."""
    fractions = [Fraction(entry) for entry in u.tolist()]
    common = lcm(*(entry.denominator for entry in fractions))
    return np.array([int(entry * common) for entry in fractions], dtype=object)


def _wrong(design: Design, central: Central, points: Array, booleans: Array) -> Array:
    """The indices of points that are not strictly inside their cell, exactly."""
    signs = exact_signs(design, points.T).T
    wanted = np.where(central.line_of >= 0, np.where(booleans, 1, -1), 0)
    return np.flatnonzero((signs != wanted).any(axis=1))


def _line_signs(central: Central, booleans: Array) -> Array:
    """The signs +-1 of the hyperplanes, read off one row each."""
    first = np.zeros(central.N, dtype=np.int64)
    rows = np.arange(central.n)[::-1]
    used = central.line_of[rows] >= 0
    first[central.line_of[rows[used]]] = rows[used]
    return np.where(booleans[:, first] ^ central.opposite[first], 1, -1)


def _is_consistent(central: Central, signs: Array, booleans: Array) -> bool:
    """Whether all rows have the signs of their hyperplanes, and zero rows none."""
    rows = (signs[:, central.line_of] > 0) ^ central.opposite
    return bool((np.where(central.line_of >= 0, rows, False) == booleans).all())


def _in_coordinates(central: Central, reduced: Array) -> Array:
    """Unit vectors of X from vectors in the reduced coordinates."""
    exponent = np.frexp(np.abs(reduced))[1] + np.where(reduced != 0, central.shift, -(2**20))
    scaled = np.ldexp(np.frexp(reduced)[0], np.maximum(exponent - exponent.max(axis=1, keepdims=True), -1100))
    points = np.zeros((len(reduced), central.d))
    points[:, central.columns] = scaled / np.linalg.norm(scaled, axis=1, keepdims=True)
    return points


def _rounded(point: list[Fraction]) -> list[float]:
    largest = max(abs(entry) for entry in point)
    return [float(entry / largest) for entry in point]


def _rational_point(lines: Array, signs: Array) -> list[Fraction] | None:
    """A vector u with s_j x_j . u > 0 for all j, or None: by duality.

    Such a u exists unless lam^T A = 0, sum lam = 1 for some lam >= 0 (Gordan), A = diag(s) X. The simplex method with
    Bland's rule looks for lam; if its first phase ends above zero, its multipliers are u.
    """
    N, r = lines.shape
    A = [[int(s) * int(entry) for entry in row] for s, row in zip(signs, lines, strict=True)]
    # rows: A^T lam + artificial = 0, sum lam + artificial = 1; minimise the sum of the artificial variables
    table = [[Fraction(A[j][i]) for j in range(N)] + [Fraction(int(t == i)) for t in range(r + 1)] + [Fraction(0)]
             for i in range(r)]  # fmt: skip
    table.append([Fraction(1)] * N + [Fraction(int(t == r)) for t in range(r + 1)] + [Fraction(1)])
    cost = [-sum((row[j] for row in table), Fraction(0)) for j in range(N)]
    cost += [Fraction(0)] * (r + 1) + [-Fraction(1)]
    basis = [N + i for i in range(r + 1)]
    while (entering := next((j for j in range(N) if cost[j] < 0), None)) is not None:
        ratios = [(row[-1] / row[entering], basis[i], i) for i, row in enumerate(table) if row[entering] > 0]
        leaving = min(ratios)[2]
        pivot = table[leaving][entering]
        table[leaving] = [value / pivot for value in table[leaving]]
        for row in [*table[:leaving], *table[leaving + 1 :], cost]:
            if row[entering]:
                factor = row[entering]
                row[:] = [a - factor * b for a, b in zip(row, table[leaving], strict=True)]
        basis[leaving] = entering
    if cost[-1] == 0:
        return None
    # the reduced cost of artificial variable i is 1 - y_i, and y_1..r . a_j + y_{r+1} <= 0 with y_{r+1} > 0
    return [cost[N + i] - 1 for i in range(r)]
