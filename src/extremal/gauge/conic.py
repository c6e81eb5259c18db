"""The cones of the interior-point method: one matrix cone, second-order cones, a linear one, and their scaling point.

After Vandenberghe, "The CVXOPT linear and quadratic cone program solvers" (2010). All second-order cones are rows of
one array, the short ones padded with zeros, and slacks and duals are flat vectors of which `views` shows the three
parts.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from extremal.design import Array
from extremal.gauge.majorant import is_positive_definite


@njit(cache=True, nogil=True)
def scale_cones(S: Array, Z: Array, W: Array, eta: Array) -> bool:  # pragma: no cover - compiled
    """The scaling points W (m, d+1) of unit hyperbolic norm and the factors eta of the second-order cones."""
    m, size = S.shape
    for i in range(m):
        a = S[i, 0] * S[i, 0]
        b = Z[i, 0] * Z[i, 0]
        for k in range(1, size):
            a -= S[i, k] * S[i, k]
            b -= Z[i, k] * Z[i, k]
        if not (a > 0.0 and b > 0.0):
            return False
        a, b = np.sqrt(a), np.sqrt(b)
        dot = 0.0
        for k in range(size):
            dot += S[i, k] * Z[i, k]
        g = 1.0 / (2.0 * np.sqrt(0.5 * (1.0 + dot / (a * b))))
        square = 0.0
        for k in range(1, size):
            W[i, k] = g * (S[i, k] / a - Z[i, k] / b)
            square += W[i, k] * W[i, k]
        W[i, 0] = np.sqrt(1.0 + square)
        eta[i] = np.sqrt(a / b)
    return True


@njit(cache=True, nogil=True)
def apply_scaling(W: Array, eta: Array, X: Array, out: Array, inverse: bool) -> None:  # pragma: no cover - compiled
    """W x, or W^{-1} x, for every second-order cone."""
    m, size = X.shape
    for i in range(m):
        sign = -1.0 if inverse else 1.0
        factor = 1.0 / eta[i] if inverse else eta[i]
        dot = 0.0
        for k in range(1, size):
            dot += W[i, k] * X[i, k]
        dot *= sign
        first = X[i, 0]
        shift = sign * (first + dot / (1.0 + W[i, 0]))
        out[i, 0] = factor * (W[i, 0] * first + dot)
        for k in range(1, size):
            out[i, k] = factor * (X[i, k] + shift * W[i, k])


@njit(cache=True, nogil=True)
def cone_products(X: Array, Y: Array, out: Array) -> None:  # pragma: no cover - compiled
    """The Jordan product x o y of every second-order cone."""
    m, size = X.shape
    for i in range(m):
        dot = X[i, 0] * Y[i, 0]
        for k in range(1, size):
            dot += X[i, k] * Y[i, k]
            out[i, k] = X[i, 0] * Y[i, k] + Y[i, 0] * X[i, k]
        out[i, 0] = dot


@njit(cache=True, nogil=True)
def cone_quotients(Lam: Array, X: Array) -> None:  # pragma: no cover - compiled
    """x <- the y with lam o y = x, for every second-order cone."""
    m, size = X.shape
    for i in range(m):
        det = Lam[i, 0] * Lam[i, 0]
        dot = 0.0
        for k in range(1, size):
            det -= Lam[i, k] * Lam[i, k]
            dot += Lam[i, k] * X[i, k]
        first = (Lam[i, 0] * X[i, 0] - dot) / max(det, 1e-300)
        X[i, 0] = first
        for k in range(1, size):
            X[i, k] = (X[i, k] - Lam[i, k] * first) / Lam[i, 0]


@njit(cache=True, nogil=True)
def cone_step(Lam: Array, D: Array) -> float:  # pragma: no cover - compiled
    """1 / t for the longest t with lam + t d in the second-order cones."""
    worst = 0.0
    m, size = D.shape
    for i in range(m):
        det = Lam[i, 0] * Lam[i, 0]
        dot = Lam[i, 0] * D[i, 0]
        for k in range(1, size):
            det -= Lam[i, k] * Lam[i, k]
            dot -= Lam[i, k] * D[i, k]
        a = np.sqrt(max(det, 1e-300))
        first = dot / a
        ratio = (first + D[i, 0]) / (Lam[i, 0] / a + 1.0)
        square = 0.0
        for k in range(1, size):
            rest = D[i, k] - ratio * Lam[i, k] / a
            square += rest * rest
        worst = max(worst, (np.sqrt(square) - first) / a)
    return worst


@njit(cache=True, nogil=True)
def views(flat: Array, d: int, cones: int, width: int) -> tuple:  # pragma: no cover - compiled
    """The matrix (d+1, d+1), the second-order cones (m, width) and the linear part of a vector of slacks or duals."""
    a = (d + 1) * (d + 1)
    b = a + cones * width
    return flat[:a].reshape((d + 1, d + 1)), flat[a:b].reshape((cones, width)), flat[b:]


@njit(cache=True, nogil=True)
def new_scaling(d: int, cones: int, width: int, lines: int) -> tuple:  # pragma: no cover - compiled
    """Room for the scaling point of Nesterov and Todd: W z = W^{-T} s = lambda.

    R and its inverse (transposes too) and the eigenvalues of lambda for the matrix; W, eta and lambda for the
    second-order cones; the root of s / z, lambda and z / s for the linear part; the inverse of the matrix' point.
    """
    square = (d + 1, d + 1)
    matrix = (np.empty(square), np.empty(square), np.empty(square), np.empty(square), np.empty(d + 1), np.empty(square))
    cone = (np.zeros((cones, width)), np.empty(cones), np.zeros((cones, width)))
    return matrix, cone, (np.empty(lines), np.empty(lines), np.empty(lines))


@njit(cache=True, nogil=True)
def find_scaling(slack: tuple, dual: tuple, scaling: tuple) -> bool:  # pragma: no cover - compiled
    """The scaling point of the slacks and their duals; False if they are not in the interior any more."""
    (M, S, s), (Zm, Z, z) = slack, dual
    (R, RT, inverse, inverseT, lam, Q), (W, eta, Lam), (root, line, ratio) = scaling
    L1, L2 = np.zeros_like(M), np.zeros_like(M)
    if not (is_positive_definite(M, 0.0, L1) and is_positive_definite(Zm, 0.0, L2) and scale_cones(S, Z, W, eta)):
        return False
    product = np.dot(np.ascontiguousarray(L2.T), L1)
    if not np.isfinite(product.sum()):
        return False
    left, values, right = np.linalg.svd(product)
    size = values.size
    if not values[size - 1] > 0.0:
        return False
    columns = np.dot(L1, np.ascontiguousarray(right.T))
    rows = np.dot(np.ascontiguousarray(left.T), np.ascontiguousarray(L2.T))
    for i in range(size):
        lam[i] = values[i]
        for j in range(size):
            R[i, j] = columns[i, j] / np.sqrt(values[j])
            inverse[i, j] = rows[i, j] / np.sqrt(values[i])
            RT[j, i] = R[i, j]
            inverseT[j, i] = inverse[i, j]
    np.dot(inverseT, inverse, Q)
    apply_scaling(W, eta, Z, Lam, False)
    for i in range(s.size):
        root[i] = np.sqrt(s[i] / z[i])
        line[i] = np.sqrt(s[i] * z[i])
        ratio[i] = z[i] / s[i]
    return True


@njit(cache=True, nogil=True)
def transform(
    scaling: tuple, left: Array, right: Array, inverse: bool, x: Array, y: Array
) -> None:  # pragma: no cover - compiled
    """y <- x with its matrix between left and right, and its other cones scaled by W or its inverse."""
    (_, _, _, _, lam, _), (W, eta, _), (root, _, _) = scaling
    X, out = views(x, lam.size - 1, *W.shape), views(y, lam.size - 1, *W.shape)
    np.dot(np.dot(left, X[0]), right, out[0])
    apply_scaling(W, eta, X[1], out[1], inverse)
    for i in range(root.size):
        out[2][i] = X[2][i] / root[i] if inverse else X[2][i] * root[i]


@njit(cache=True, nogil=True)
def scale_slack(scaling: tuple, x: Array, y: Array) -> None:  # pragma: no cover - compiled
    """y <- W^{-T} x."""
    transform(scaling, scaling[0][2], scaling[0][3], True, x, y)


@njit(cache=True, nogil=True)
def unscale_slack(scaling: tuple, x: Array, y: Array) -> None:  # pragma: no cover - compiled
    """y <- W^T x."""
    transform(scaling, scaling[0][0], scaling[0][1], False, x, y)


@njit(cache=True, nogil=True)
def unscale_dual(scaling: tuple, x: Array, y: Array) -> None:  # pragma: no cover - compiled
    """y <- W^{-1} x."""
    transform(scaling, scaling[0][3], scaling[0][2], True, x, y)


@njit(cache=True, nogil=True)
def aim(
    scaling: tuple, centre: float, second_order: bool, moved: Array, scaled: Array, out: tuple
) -> None:  # pragma: no cover - compiled
    """out <- the y with lambda o y = centre e - lambda o lambda (- moved o scaled, the steps of the predictor)."""
    (_, _, _, _, lam, _), (W, _, Lam), (_, line, _) = scaling
    C, cones, lines = out
    first, second = views(moved, lam.size - 1, *W.shape), views(scaled, lam.size - 1, *W.shape)
    cone_products(Lam, Lam, cones)
    for i in range(cones.shape[0]):
        for j in range(cones.shape[1]):
            cones[i, j] = -cones[i, j]
        cones[i, 0] += centre
    for i in range(line.size):
        lines[i] = centre - line[i] * line[i]
    for i in range(lam.size):
        for j in range(lam.size):
            C[i, j] = centre - lam[i] * lam[i] if i == j else 0.0
    if second_order:
        product = np.empty_like(cones)
        cone_products(first[1], second[1], product)
        square = np.dot(first[0], second[0])
        for i in range(cones.shape[0]):
            for j in range(cones.shape[1]):
                cones[i, j] -= product[i, j]
        for i in range(line.size):
            lines[i] -= first[2][i] * second[2][i]
        for i in range(lam.size):
            for j in range(lam.size):
                C[i, j] -= 0.5 * (square[i, j] + square[j, i])
    cone_quotients(Lam, cones)
    for i in range(line.size):
        lines[i] /= line[i]
    for i in range(lam.size):
        for j in range(lam.size):
            C[i, j] *= 2.0 / (lam[i] + lam[j])


@njit(cache=True, nogil=True)
def longest_step(scaling: tuple, direction: Array) -> float:  # pragma: no cover - compiled
    """1 / t for the longest t with lambda + t direction in the cones; infinity for a direction that is not finite."""
    (_, _, _, _, lam, _), (W, _, Lam), (_, line, _) = scaling
    D, cones, lines = views(direction, lam.size - 1, *W.shape)
    X = np.empty_like(D)
    for i in range(lam.size):
        for j in range(lam.size):
            X[i, j] = D[i, j] / np.sqrt(lam[i] * lam[j])
    if not np.isfinite(X.sum()):
        return np.inf
    longest = max(-np.linalg.eigvalsh(X)[0], cone_step(Lam, cones))
    for i in range(line.size):
        longest = max(longest, -lines[i] / line[i])
    return longest
