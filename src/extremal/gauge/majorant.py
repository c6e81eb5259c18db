"""Quadratic majorants of f on a part of the unit ball, and the bound that they prove.

For unit vectors x, |u| <= 1 and z = x . u, any numbers w > 0, |s| + |e| <= 1 and |h| <= rho, theta >= 0 give

    |z|  <=  (w z^2 + 1 / w) / 2,                     for the rows of positive weight,
    |z|  >=  s z + (e . u) z,                         for the others, since |e . u| <= |e|,
    0    <=  rho (a . u) - (h . u) (a . u),           where a . u >= 0,
    0    <=  theta (a . u) (a' . u),                  where a . u >= 0 and a' . u >= 0.

So f(u) <= constant + l . u + u^T G u there. For nu >= 0 with A = nu I - G positive semidefinite, and any v,

    l . u - u^T A u  =  v^T A v + 2 u^T (l / 2 - A v) - (u - v)^T A (u - v)  <=  v^T A v + 2 |l / 2 - A v|,

and u^T G u <= nu - u^T A u, so that f(u) <= constant + nu + v^T A v + 2 |l / 2 - A v|. At the best v = A^{-1} l / 2
and nu this is the maximum of the majorant over the ball. Nothing but the positive semidefiniteness of one matrix has
to be proved: by a Cholesky factorisation of A - shift I, where the shift exceeds what forming and factoring it may
have rounded.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from extremal.design import Array

#: The unit of rounding.
EPS = float(np.finfo(np.float64).eps)


@njit(cache=True, nogil=True)
def is_positive_definite(A: Array, shift: float, L: Array) -> bool:  # pragma: no cover - compiled
    """Whether the Cholesky factorisation of A - shift I succeeds; its factor is left in the lower triangle of L."""
    n = A.shape[0]
    for i in range(n):
        for j in range(i + 1):
            total = A[i, j]
            if i == j:
                total -= shift
            for k in range(j):
                total -= L[i, k] * L[j, k]
            if i == j:
                if not total > 0.0:
                    return False
                L[i, i] = np.sqrt(total)
            else:
                L[i, j] = total / L[j, j]
    return True


@njit(cache=True, nogil=True)
def trust_region_multiplier(eigenvalues: Array, squares: Array) -> float:  # pragma: no cover - compiled
    """The nu >= max(0, largest eigenvalue) that minimises nu + sum squares / (nu - eigenvalues)."""
    top = max(eigenvalues[-1], 0.0)
    total = np.sqrt(squares.sum())
    scale = max(total, top, 1e-300)
    low, high = 1e-14 * scale, total
    if high <= low:
        return top + low
    delta = high
    for _ in range(100):
        slope, curvature = 1.0, 0.0
        for k in range(eigenvalues.size):
            inverse = 1.0 / (delta + (top - eigenvalues[k]))
            term = squares[k] * inverse * inverse
            slope -= term
            curvature += 2.0 * term * inverse
        if slope > 0.0:
            high = delta
        else:
            low = delta
        step = delta - slope / curvature if curvature > 0.0 else low
        if not low < step < high:
            step = 0.5 * (low + high)
        if abs(step - delta) <= 1e-12 * delta or high - low <= 1e-12 * high:
            break
        delta = step
    return top + delta


@njit(cache=True, nogil=True)
def bound_of_multipliers(
    P: Array, N: Array, A: Array, cp: Array, cn: Array, b: Array, w: Array, slope: Array, E: Array, force: Array,
    H: Array, pairs: Array,
) -> float:  # pragma: no cover - compiled  # fmt: skip
    """The bound of the multipliers, with an allowance for every rounding of its own evaluation.

    Rows P and N with weights cp > 0 and -cn < 0, half-spaces A, f(u) = b . u + sum_P cp |z| / 2 - sum_N cn |z| / 2, all
    rows of norm about one. It holds for any multipliers: what |s| + |e| exceeds one by is paid for, rho is at least
    |h|, and the bound is infinite where some w <= 0 or theta < 0, or where anything is NaN, infinite or beyond 1e100.

    `size` is at least the sum of the norms of all terms of the constant, of l and of G (Frobenius). With K the number
    of terms, G and l are right to K eps size, so is nu I - G up to eps (size + nu). Cholesky's method factors
    a matrix that differs by at most (d + 1) eps tr(nu I - G) <= (d + 1) d eps (size + nu); products with v and norms
    are right to d eps (size + nu) (1 + |v|)^2. `shift` is more than each of them several times over.
    """
    p, m, k, d = P.shape[0], N.shape[0], A.shape[0], P.shape[1]
    constant = 0.0
    size = np.sqrt((b * b).sum()) + 1e-280
    for i in range(p):
        if not w[i] > 0.0:
            return np.inf
        constant += 0.25 * cp[i] / w[i]
        size += 0.25 * cp[i] * w[i]
    linear = b.copy()
    for i in range(m):
        half = 0.5 * cn[i]
        norm = 0.0
        for j in range(d):
            linear[j] -= half * slope[i] * N[i, j]
            norm += E[i, j] * E[i, j]
        norm = abs(slope[i]) + np.sqrt(norm)
        constant += half * max(norm - 1.0, 0.0)
        size += half * max(norm, 1.0)
        if not norm < 1e100:
            return np.inf
    G = np.dot(P.T * (0.25 * cp * w), P)
    mixed = np.dot(N.T * (0.5 * cn), E)
    for i in range(k):
        norm = 0.0
        for j in range(d):
            norm += H[i, j] * H[i, j]
        rho = max(force[i], np.sqrt(norm))
        size += 2.0 * rho
        if not (rho < 1e100 and norm < 1e200):
            return np.inf
        for j in range(d):
            linear[j] += rho * A[i, j]
    mixed += np.dot(A.T, H)
    if k > 1:
        coupled = np.zeros((k, k))
        at = 0
        for i in range(k):
            for l in range(i + 1, k):
                if not pairs[at] >= 0.0:
                    return np.inf
                coupled[i, l] = -pairs[at]
                size += pairs[at]
                at += 1
        mixed += np.dot(A.T, np.dot(coupled, A))
    size += constant
    if not size < 1e100:
        return np.inf
    for i in range(d):
        for j in range(d):
            G[i, j] -= 0.5 * (mixed[i, j] + mixed[j, i])
    for i in range(d):
        for j in range(i):
            G[i, j] = G[j, i]
    eigenvalues, Q = np.linalg.eigh(G)
    rotated = np.dot(Q.T, 0.5 * linear)
    nu = trust_region_multiplier(eigenvalues, rotated * rotated)
    units = (8.0 * (p + m + k * k + 8.0 * d + 64.0) + 4.0 * (d + 8.0) ** 2) * EPS
    L = np.empty((d, d))
    B = np.empty((d, d))
    factor = 2.0
    while nu < 1e100:
        nu += factor * units * (size + nu)
        shift = units * (size + nu)
        B[:] = -G
        for i in range(d):
            B[i, i] += nu
        if is_positive_definite(B, shift, L):
            break
        factor *= 2.0
    for j in range(d):
        rotated[j] /= max(nu - eigenvalues[j], shift)
    v = np.dot(Q, rotated)
    Av = np.dot(B, v)
    defect = 0.5 * linear - Av
    return constant + nu + np.dot(v, Av) + 2.0 * np.sqrt((defect * defect).sum()) + 4.0 * shift * max(1.0, np.dot(v, v))
