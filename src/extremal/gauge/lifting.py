"""The constraints of the lifted relaxation, and the Newton matrix of (u, U) when the unknowns r_i are eliminated.

See `interior` for the problem. A symmetric U is a vector of its entries with i <= j, after those of u.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from extremal.design import Array

#: Rows of the Newton matrix that are formed at once.
BLOCK = 96


@njit(cache=True, nogil=True)
def solve_factored(L: Array, x: Array) -> None:  # pragma: no cover - compiled
    """x <- (L L^T)^{-1} x, by rows of L only."""
    n = x.size
    for i in range(n):
        total = x[i]
        for k in range(i):
            total -= L[i, k] * x[k]
        x[i] = total / L[i, i]
    for i in range(n - 1, -1, -1):
        x[i] /= L[i, i]
        for k in range(i):
            x[k] -= L[i, k] * x[i]


@njit(cache=True, nogil=True)
def slacks(
    P: Array, N: Array, A: Array, x: Array, r: Array, index: Array, const: float, out: tuple
) -> None:  # pragma: no cover - compiled
    """The slacks of all constraints at (u, U, r): of the matrix, the second-order cones and the linear ones."""
    M, S, s = out
    p, m, k, d = P.shape[0], N.shape[0], A.shape[0], P.shape[1]
    U = M[1:, 1:]
    u = x[:d]
    M[0, 0] = const
    trace = 0.0
    for i in range(d):
        M[0, i + 1] = u[i]
        M[i + 1, 0] = u[i]
        for j in range(d):
            U[i, j] = x[index[i, j]]
        trace += U[i, i]
    s[0] = const - trace
    V = np.ascontiguousarray(U)
    PU = np.dot(P, V)
    for i in range(p):
        q = 0.0
        for j in range(d):
            q += PU[i, j] * P[i, j]
        S[i, 0] = 0.5 * (q + const)
        S[i, 1] = 0.5 * (q - const)
        S[i, 2] = r[i]
    NU = np.dot(N, V)
    for i in range(m):
        a = 0.0
        for j in range(d):
            a += N[i, j] * u[j]
            S[p + i, j + 1] = NU[i, j]
        S[p + i, 0] = r[p + i]
        s[1 + i] = r[p + i] - a
        s[1 + m + i] = r[p + i] + a
    AU = np.dot(A, V)
    for i in range(k):
        a = 0.0
        for j in range(d):
            a += A[i, j] * u[j]
            S[p + m + i, j + 1] = AU[i, j]
        S[p + m + i, 0] = a
    at = 1 + 2 * m
    for i in range(k):
        for l in range(i + 1, k):
            total = 0.0
            for j in range(d):
                total += AU[i, j] * A[l, j]
            s[at] = total
            at += 1


@njit(cache=True, nogil=True)
def adjoint(
    P: Array, N: Array, A: Array, dual: tuple, index: Array, g: Array, gr: Array
) -> None:  # pragma: no cover - compiled
    """The gradient (g, gr) in (u, U) and r of the inner product of dual variables with the slacks."""
    Zm, Z, z = dual
    p, m, k, d = P.shape[0], N.shape[0], A.shape[0], P.shape[1]
    full = np.dot((P.T * (0.5 * (Z[:p, 0] + Z[:p, 1]))), P)
    full += np.dot(N.T, np.ascontiguousarray(Z[p : p + m, 1 : d + 1]))
    full += np.dot(A.T, np.ascontiguousarray(Z[p + m :, 1 : d + 1]))
    if k > 1:
        pairs = np.zeros((k, k))
        at = 1 + 2 * m
        for i in range(k):
            for l in range(i + 1, k):
                pairs[i, l] = z[at]
                at += 1
        full += np.dot(np.dot(A.T, pairs), A)
    full += Zm[1:, 1:]
    for i in range(d):
        full[i, i] -= z[0]
        g[i] = 2.0 * Zm[0, i + 1]
    for i in range(m):
        difference = z[1 + m + i] - z[1 + i]
        for j in range(d):
            g[j] += difference * N[i, j]
    for i in range(k):
        for j in range(d):
            g[j] += Z[p + m + i, 0] * A[i, j]
    for i in range(d):
        g[index[i, i]] = full[i, i]
        for j in range(i + 1, d):
            g[index[i, j]] = full[i, j] + full[j, i]
    for i in range(p):
        gr[i] = Z[i, 2]
    for i in range(m):
        gr[p + i] = Z[p + i, 0] + z[1 + i] + z[1 + m + i]


@njit(cache=True, nogil=True)
def quadratic_features(X: Array, Y: Array, index: Array, out: Array) -> None:  # pragma: no cover - compiled
    """The coefficients of y_i^T U x_i in the entries of U, a column for every i."""
    m, d = X.shape
    XT, YT = np.ascontiguousarray(X.T), np.ascontiguousarray(Y.T)
    for a in range(d):
        for i in range(m):
            out[index[a, a] - d, i] = XT[a, i] * YT[a, i]
        for b in range(a + 1, d):
            row = index[a, b] - d
            for i in range(m):
                out[row, i] = XT[a, i] * YT[b, i] + XT[b, i] * YT[a, i]


@njit(cache=True, nogil=True)
def add_weighted_gram(F: Array, weight: Array, H: Array) -> None:  # pragma: no cover - compiled
    """The lower triangle of H += F diag(weight) F^T, in blocks of rows."""
    n = F.shape[0]
    for start in range(0, n, BLOCK):
        end = min(start + BLOCK, n)
        H[start:end, :end] += np.dot(F[start:end] * weight, F[:end].T)


@njit(cache=True, nogil=True)
def newton_matrix(
    P: Array, N: Array, A: Array, scaling: tuple, index: Array, H: Array, F: Array, elimination: Array
) -> None:  # pragma: no cover - compiled
    """The lower triangle of H, the Newton matrix of (u, U) without the r_i; elimination[:, i] = (pivot, two couplings).

    The columns of F are the features of all cones and products, those of `fixed_features` filled in already.
    """
    (_, _, _, _, _, Q), (W, eta, _), (_, _, w) = scaling
    p, m, k, d = P.shape[0], N.shape[0], A.shape[0], P.shape[1]
    root = np.sqrt(0.5)
    for i in range(d + 1):  # the matrix cone: tr(Q E_a Q E_b), E_a the symmetric unit matrices
        for j in range(max(i, 1), d + 1):
            a = j - 1 if i == 0 else index[i - 1, j - 1]
            f = root if i == j else 2.0 * root
            for s in range(i + 1):
                for t in range(max(s, 1), j + 1 if s == i else d + 1):
                    b = t - 1 if s == 0 else index[s - 1, t - 1]
                    H[a, b] = (Q[i, s] * Q[j, t] + Q[i, t] * Q[j, s]) * f * (root if s == t else 2.0 * root)
    for i in range(d):
        for j in range(i + 1):
            H[index[i, i], index[j, j]] += w[0]
    weight = np.empty(F.shape[1])
    T = np.zeros((d, d))
    cross = np.zeros(F.shape[1])
    square = np.zeros(m + k)
    for i in range(p):
        e = 1.0 / (eta[i] * eta[i])
        w0, w1, w2 = W[i, 0], -W[i, 1], -W[i, 2]
        rr = e * (2.0 * w2 * w2 + 1.0)
        qr = e * (w0 + w1) * w2
        qq = 0.25 * e * 2.0 * (w0 + w1) * (w0 + w1)
        elimination[0, i], elimination[1, i], elimination[2, i] = rr, qr, 0.0
        weight[i] = max(qq - qr * qr / rr, 0.0)
    if m:
        quadratic_features(N, W[p : p + m, 1:], index, F[:, p : p + m])
    if k:
        quadratic_features(A, W[p + m :, 1:], index, F[:, p + m : p + m + k])
    for i in range(m + k):
        e = 1.0 / (eta[p + i] * eta[p + i])
        w0 = W[p + i, 0]
        X = N[i] if i < m else A[i - m]
        for a in range(d):
            for b in range(d):
                T[a, b] += e * X[a] * X[b]
        if i < m:
            low, high = w[1 + i], w[1 + m + i]
            pivot = e * (2.0 * w0 * w0 - 1.0) + low + high
            by, ba = -2.0 * e * w0, high - low
            elimination[0, p + i], elimination[1, p + i], elimination[2, p + i] = pivot, by, ba
            weight[p + i] = 2.0 * e - by * by / pivot
            cross[p + i] = -by * ba / pivot
            square[i] = low + high - ba * ba / pivot
        else:
            weight[p + i] = 2.0 * e
            cross[p + i] = -2.0 * e * w0
            square[i] = e * (2.0 * w0 * w0 - 1.0)
    weight[p + m + k :] = w[1 + 2 * m :]
    add_weighted_gram(F, weight, H[d:, d:])
    for i in range(d):  # sum e |U x|^2 = sum_i (U_i T U_i)
        for j in range(d):
            for l in range(d):
                if index[i, j] >= index[i, l]:
                    H[index[i, j], index[i, l]] += T[j, l]
    if m + k:
        X = np.concatenate((N, A))
        H[d:, :d] += np.dot(np.ascontiguousarray(F[:, p : p + m + k]) * cross[p : p + m + k], X)
        H[:d, :d] += np.dot(X.T * square, X)


@njit(cache=True, nogil=True)
def solve_newton(
    P: Array, N: Array, F: Array, L: Array, scale: Array, elimination: Array, g: Array, gr: Array
) -> None:  # pragma: no cover - compiled  # fmt: skip
    """(g, gr) <- the solution of the Newton system with that right-hand side."""
    p, m, d = P.shape[0], N.shape[0], P.shape[1]
    shift = np.zeros(F.shape[1])
    for i in range(p + m):
        shift[i] = -elimination[1, i] * gr[i] / elimination[0, i]
    g[d:] += np.dot(F, shift)
    for i in range(m):
        factor = elimination[2, p + i] * gr[p + i] / elimination[0, p + i]
        for j in range(d):
            g[j] -= factor * N[i, j]
    g *= scale
    solve_factored(L, g)
    g *= scale
    linear = np.dot(g[d:], F)
    for i in range(p + m):
        gr[i] -= elimination[1, i] * linear[i]
    for i in range(m):
        dot = 0.0
        for j in range(d):
            dot += N[i, j] * g[j]
        gr[p + i] -= elimination[2, p + i] * dot
    for i in range(p + m):
        gr[i] /= elimination[0, i]


@njit(cache=True, nogil=True)
def numbering(d: int) -> Array:  # pragma: no cover - compiled
    """The number of the unknown U_ij, after those of u."""
    index = np.empty((d, d), np.int64)
    at = d
    for i in range(d):
        for j in range(i, d):
            index[i, j] = at
            index[j, i] = at
            at += 1
    return index


@njit(cache=True, nogil=True)
def factor(H: Array, scale: Array) -> tuple[bool, Array]:  # pragma: no cover - compiled
    """The Cholesky factor of diag(scale) H diag(scale), unit diagonal and a little more, from the lower triangle."""
    for i in range(scale.size):
        scale[i] = 1.0 / np.sqrt(H[i, i])
    for i in range(scale.size):
        for j in range(i + 1):
            H[i, j] *= scale[i] * scale[j]
        H[i, i] += 1e-13
    L = H
    try:
        L = np.linalg.cholesky(H)
    except Exception:  # the only kind that compiled code can name
        return False, H
    return True, L


@njit(cache=True, nogil=True)
def fixed_features(phi: Array, A: Array, index: Array, cones: int, F: Array) -> None:  # pragma: no cover - compiled
    """The columns of F that do not depend on the scaling: x_i^T U x_i of the rows P, a_i^T U a_j of the pairs."""
    k, d = A.shape
    for i in range(phi.shape[0]):
        for j in range(phi.shape[1]):
            F[j, i] = phi[i, j]
    first, second = np.empty((k * (k - 1) // 2, d)), np.empty((k * (k - 1) // 2, d))
    at = 0
    for i in range(k):
        for l in range(i + 1, k):
            for j in range(d):
                first[at, j], second[at, j] = A[i, j], A[l, j]
            at += 1
    quadratic_features(first, second, index, F[:, cones:])
