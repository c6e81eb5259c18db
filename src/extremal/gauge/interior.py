"""One node of the lifted branch and bound: Shor's relaxation with fixed signs, by a primal-dual interior-point method.

On the part of the unit ball where the signed normals a_j have a_j . u >= 0, the relaxation of

    f(u) = b . u + 1/2 sum_i c_i |x_i . u|        (b holds the linear half of the rows and the rows of known sign)

is, with U in the place of u u^T and r_i in that of |x_i . u|,

    max  b . u + 1/2 sum_i c_i r_i
    s.t. [1 u^T; u U] psd,  tr U <= 1,
         r_i <= sqrt(x_i^T U x_i)                    where c_i > 0,
         r_i >= |U x_i|,  r_i >= |x_i . u|           where c_i < 0,
         |U a_j| <= a_j . u,  a_j^T U a_l >= 0       (products of a_j . u >= 0 with |u| <= 1 and with each other).

The unknowns r_i are eliminated one by one, so that a Newton step costs one factorisation of the order of u and U,
d (d + 3) / 2. Every iterate has multipliers, which `majorant` turns into a bound that is valid whatever they are: the
method may stop at any step, and its own arithmetic proves nothing.

The steps are Mehrotra's with the scaling of Nesterov and Todd, after Vandenberghe, "The CVXOPT linear and quadratic
cone program solvers" (2010); all second-order cones are rows of one array, the short ones padded with zeros.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from extremal.design import Array
from extremal.gauge.majorant import bound_of_multipliers

#: Iterations at most, and the first one whose multipliers are worth a bound.
ITERATIONS, FIRST_BOUND = 30, 3

#: Rows of the Newton matrix that are formed at once.
BLOCK = 96

#: The fraction of the way to the boundary, and the step below which the method has stalled.
FRACTION, STALLED = 0.98, 1e-4


@njit(cache=True, nogil=True)
def cholesky(A: Array, L: Array) -> bool:  # pragma: no cover - compiled
    """A = L L^T; False if A is not positive definite."""
    n = A.shape[0]
    for i in range(n):
        for j in range(i + 1):
            total = A[i, j]
            for k in range(j):
                total -= L[i, k] * L[j, k]
            if i == j:
                if not total > 0.0:
                    return False
                L[i, i] = np.sqrt(total)
            else:
                L[i, j] = total / L[j, j]
        for j in range(i + 1, n):
            L[i, j] = 0.0
    return True


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
def slacks(
    P: Array, N: Array, A: Array, x: Array, r: Array, index: Array, const: float, M: Array, S: Array, s: Array
) -> None:  # pragma: no cover - compiled  # fmt: skip
    """The slacks of all constraints at (u, U, r): M of the matrix, S of the second-order cones, s of the others."""
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
    P: Array, N: Array, A: Array, Zm: Array, Z: Array, z: Array, index: Array, g: Array, gr: Array
) -> None:  # pragma: no cover - compiled  # fmt: skip
    """The gradient (g, gr) in (u, U) and r of the inner product of (Zm, Z, z) with the slacks."""
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
    P: Array, N: Array, A: Array, Q: Array, W: Array, eta: Array, w: Array, index: Array, H: Array, F: Array,
    elimination: Array,
) -> None:  # pragma: no cover - compiled  # fmt: skip
    """The lower triangle of H, the Newton matrix of (u, U) without the r_i; elimination[:, i] = (pivot, two couplings).

    Q is the inverse of the matrix cone's scaling point, w the squared scaling of the linear constraints; the columns of
    F are the features of all cones and products, those of the rows P and of products of A filled in already.
    """
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
def interior_point(
    P: Array, N: Array, A: Array, phi: Array, cp: Array, cn: Array, b: Array, cutoff: float, accuracy: float,
    iterations: int, multipliers: tuple, point: tuple,
) -> tuple[float, float, int]:  # pragma: no cover - compiled  # fmt: skip
    """(bound, value of the relaxation at the last iterate, iterations).

    Stops when the bound is below the cutoff; when it certainly will not be, as soon as the bound is known to within
    `accuracy` of its excess; when it is as good as it gets; or when the steps become short.

    Parameters
    ----------
    P, N : arrays (p, d), (m, d)
        The rows of positive and of negative weight whose sign is open.
    A : array (k, d)
        The signed normals of the half-spaces.
    phi : array (p, d (d + 1) / 2)
        The coefficients of x_i^T U x_i.
    cp, cn, b : arrays (p,), (m,), (d,)
        The weights, positive both, and the linear part.
    multipliers : arrays w (p,), slope (m,), E (m, d), force (k,), H (k, d), pairs (k (k - 1) / 2,)
        Those of the bound are left here.
    point : arrays u (d,), U (d, d)
        The last iterate.
    """
    p, m, k, d = P.shape[0], N.shape[0], A.shape[0], P.shape[1]
    w_out, slope_out, E_out, force_out, H_out, pairs_out = multipliers
    w, slope, E = np.empty(p), np.empty(m), np.empty((m, d))
    force, vectors, pairs = np.empty(k), np.empty((k, d)), np.empty(k * (k - 1) // 2)
    order = d + d * (d + 1) // 2
    index = np.empty((d, d), np.int64)
    at = d
    for i in range(d):
        for j in range(i, d):
            index[i, j] = at
            index[j, i] = at
            at += 1
    cones, lines = p + m + k, 1 + 2 * m + k * (k - 1) // 2
    degree = d + 1.0 + cones + lines
    # a start in the interior: u = 0, U = I / (d + 1); what it violates is left to the infeasible method
    x, r = np.zeros(order), np.empty(p + m)
    for i in range(d):
        x[index[i, i]] = 1.0 / (d + 1.0)
    middle = 1.0 / np.sqrt(d + 1.0)
    r[:p], r[p:] = 0.5 * middle, 2.0 * middle
    width = max(d + 1, 3)  # whatever pads a cone stays zero
    M, S, s = np.empty((d + 1, d + 1)), np.zeros((cones, width)), np.empty(lines)
    slacks(P, N, A, x, r, index, 1.0, M, S, s)
    S[p + m :, 1:] = 0.0
    S[p + m :, 0] = middle
    s[1 + 2 * m :] = 1.0 / (d + 1.0)
    Zm, Z, z = np.eye(d + 1) * (0.5 / (d + 1.0)), np.zeros((cones, width)), np.empty(lines)
    z[0] = 0.5
    for i in range(p):
        Z[i, 0] = 0.6 * cp[i] + 1e-3 / p
        Z[i, 2] = -0.5 * cp[i]
    for i in range(m):
        share = cn[i] / 6.0 + 1e-4 / m
        Z[p + i, 0] = share
        z[1 + i] = share
        z[1 + m + i] = share
    Z[p + m :, 0] = 0.05 / max(k, 1)
    z[1 + 2 * m :] = 0.05 / max(k * (k - 1) // 2, 1)
    W, eta, Lam = np.zeros_like(Z), np.empty(cones), np.zeros_like(Z)
    H, F, elimination = np.empty((order, order)), np.empty((order - d, cones + k * (k - 1) // 2)), np.empty((3, p + m))
    F[:, :p] = phi.T
    first, second = np.empty((k * (k - 1) // 2, d)), np.empty((k * (k - 1) // 2, d))
    at = 0
    for i in range(k):
        for l in range(i + 1, k):
            first[at], second[at] = A[i], A[l]
            at += 1
    quadratic_features(first, second, index, F[:, cones:])
    L1, L2, inverse = np.empty_like(M), np.empty_like(M), np.empty_like(M)
    Tm, TS, ts = np.empty_like(M), np.zeros_like(S), np.empty_like(s)
    Rm, RS, rs = np.empty_like(M), np.zeros_like(S), np.empty_like(s)
    Dm, DS, ds = np.empty_like(M), np.zeros_like(S), np.empty_like(s)
    Em, ES, es = np.empty_like(M), np.zeros_like(S), np.empty_like(s)
    Cm, CS, cs = np.empty_like(M), np.zeros_like(S), np.empty_like(s)
    gx, gr, dx, dr = np.empty(order), np.empty(p + m), np.empty(order), np.empty(p + m)
    best, value, done = np.inf, -np.inf, 0
    for iteration in range(iterations):
        done = iteration
        # the scaling point: W z = W^{-T} s = lambda
        if not (cholesky(M, L1) and cholesky(Zm, L2)) or not scale_cones(S, Z, W, eta):
            break
        product = np.dot(np.ascontiguousarray(L2.T), L1)
        if not np.isfinite(product.sum()):
            break
        left, lam, right = np.linalg.svd(product)
        if not lam[d] > 0.0:
            break
        R = np.dot(L1, np.ascontiguousarray(right.T)) / np.sqrt(lam)
        R_inverse = np.dot(np.ascontiguousarray(left.T), np.ascontiguousarray(L2.T)) / np.sqrt(lam).reshape(-1, 1)
        RT, R_inverseT = np.ascontiguousarray(R.T), np.ascontiguousarray(R_inverse.T)
        apply_scaling(W, eta, Z, Lam, False)
        root = np.sqrt(s / z)
        line = np.sqrt(s * z)
        newton_matrix(P, N, A, np.dot(R_inverseT, R_inverse), W, eta, z / s, index, H, F, elimination)
        scale = np.empty(order)
        for i in range(order):
            scale[i] = 1.0 / np.sqrt(H[i, i])
        for i in range(order):
            for j in range(i + 1):
                H[i, j] *= scale[i] * scale[j]
            H[i, i] += 1e-13
        factored = True
        L = H
        try:
            L = np.linalg.cholesky(H)  # which looks at the lower triangle only
        except Exception:  # the only kind that compiled code can name
            factored = False
        if not factored:
            break
        # residuals
        adjoint(P, N, A, Zm, Z, z, index, gx, gr)
        slacks(P, N, A, x, r, index, 1.0, Rm, RS, rs)
        Rm[:], RS[:], rs[:] = M - Rm, S - RS, s - rs
        mu = ((M * Zm).sum() + (S * Z).sum() + (s * z).sum()) / degree
        residual = -gx
        residual[:d] -= b
        residual_r = -gr
        residual_r[:p] -= 0.5 * cp
        residual_r[p:] += 0.5 * cn
        sigma, fraction, longest = 0.0, 1.0, np.inf
        for corrector in range(2):
            # complementarity in the scaled space: lambda \ (sigma mu e - lambda o lambda - second-order term)
            cone_products(Lam, Lam, CS)
            CS *= -1.0
            cs[:] = sigma * mu - line * line
            Cm[:] = 0.0
            for i in range(d + 1):
                Cm[i, i] = sigma * mu - lam[i] * lam[i]
            if corrector:
                cone_products(DS, ES, TS)
                CS -= TS
                CS[:, 0] += sigma * mu
                cs -= ds * es
                product = np.dot(Dm, Em)
                Cm -= 0.5 * (product + product.T)
            cone_quotients(Lam, CS)
            cs /= line
            for i in range(d + 1):
                for j in range(d + 1):
                    Cm[i, j] *= 2.0 / (lam[i] + lam[j])
            fraction = 1.0 - sigma
            # t = W^T comp + residual of the slacks;  V = (W^T W)^{-1} t
            Tm[:] = np.dot(np.dot(R, Cm), RT) + fraction * Rm
            apply_scaling(W, eta, CS, TS, False)
            TS += fraction * RS
            ts[:] = root * cs + fraction * rs
            Em[:] = np.dot(R_inverseT, np.dot(np.dot(np.dot(R_inverse, Tm), R_inverseT), R_inverse))
            apply_scaling(W, eta, TS, DS, True)
            apply_scaling(W, eta, DS, ES, True)
            es[:] = ts / (root * root)
            adjoint(P, N, A, Em, ES, es, index, dx, dr)
            dx -= fraction * residual
            dr -= fraction * residual_r
            solve_newton(P, N, F, L, scale, elimination, dx, dr)
            slacks(P, N, A, dx, dr, index, 0.0, Dm, DS, ds)  # what the step adds to the slacks
            Tm -= Dm
            TS -= DS
            ts -= ds
            Dm -= fraction * Rm
            DS -= fraction * RS
            ds -= fraction * rs
            # dz = (W^T W)^{-1} (t - slack of dx), kept scaled: W dz = W^{-T} (...)
            Em[:] = np.dot(np.dot(R_inverse, Tm), R_inverseT)
            apply_scaling(W, eta, TS, ES, True)
            es[:] = ts / root
            # ds scaled: W^{-T} ds
            Tm[:] = np.dot(np.dot(R_inverse, Dm), R_inverseT)
            apply_scaling(W, eta, DS, TS, True)
            ts[:] = ds / root
            for i in range(d + 1):
                for j in range(d + 1):
                    factor = 1.0 / np.sqrt(lam[i] * lam[j])
                    Cm[i, j] = Tm[i, j] * factor
                    inverse[i, j] = Em[i, j] * factor
            if not np.isfinite(Cm.sum() + inverse.sum()):
                longest = np.inf
                break
            longest = max(-np.linalg.eigvalsh(Cm)[0], -np.linalg.eigvalsh(inverse)[0])
            longest = max(longest, max(cone_step(Lam, TS), cone_step(Lam, ES)))
            longest = max(longest, max((-ts / line).max(), (-es / line).max()))
            if not corrector:
                step = 1.0 / max(longest, 1.0)
                sigma = (1.0 - step) ** 3
                Dm[:], DS[:], ds[:] = Tm, TS, ts  # both scaled, for the second-order term
        step = min(1.0, FRACTION / max(longest, 1e-10))
        if not (np.isfinite(longest) and np.isfinite(mu)):
            break
        x += step * dx
        r += step * dr
        M += step * Dm
        S += step * DS
        s += step * ds
        Zm += step * np.dot(np.dot(R_inverseT, Em), R_inverse)
        apply_scaling(W, eta, ES, TS, True)
        Z += step * TS
        z += step * es / root
        done = iteration + 1
        value = np.dot(b, x[:d]) + 0.5 * np.dot(cp, r[:p]) - 0.5 * np.dot(cn, r[p:])
        if iteration + 1 >= FIRST_BOUND:
            read_multipliers(P.shape[0], cp, cn, Z, z, w, slope, E, force, vectors, pairs)
            bound = bound_of_multipliers(P, N, A, cp, cn, b, w, slope, E, force, vectors, pairs)
            if bound < best:
                best = bound
                w_out[:], slope_out[:], E_out[:] = w, slope, E
                force_out[:], H_out[:], pairs_out[:] = force, vectors, pairs
            gap = best - value
            if best <= cutoff or gap <= accuracy * (value - cutoff) or gap <= 1e-11 * abs(best):
                break
        if step < STALLED or mu < 1e-14:
            break
    u_out, U_out = point
    u_out[:] = x[:d]
    for i in range(d):
        for j in range(d):
            U_out[i, j] = x[index[i, j]]
    return best, value, done


@njit(cache=True, nogil=True)
def read_multipliers(
    p: int, cp: Array, cn: Array, Z: Array, z: Array, w: Array, slope: Array, E: Array, force: Array, H: Array,
    pairs: Array,
) -> None:  # pragma: no cover - compiled  # fmt: skip
    """The multipliers of the bound from the dual iterate, moved into their domain."""
    m, d = E.shape
    k = force.size
    for i in range(p):
        w[i] = min(max(2.0 * (Z[i, 0] + Z[i, 1]) / cp[i], 1e-8), 1e12)
    for i in range(m):
        half = 0.5 * cn[i]
        slope[i] = min(max((z[1 + i] - z[1 + m + i]) / half, -1.0), 1.0)
        norm = 0.0
        for j in range(d):
            E[i, j] = -Z[p + i, j + 1] / half
            norm += E[i, j] * E[i, j]
        norm = np.sqrt(norm)
        room = (1.0 - abs(slope[i])) * (1.0 - 1e-14)
        if norm > room:
            for j in range(d):
                E[i, j] *= room / norm
    for i in range(k):
        force[i] = max(Z[p + m + i, 0], 0.0)
        norm = 0.0
        for j in range(d):
            H[i, j] = -Z[p + m + i, j + 1]
            norm += H[i, j] * H[i, j]
        norm = np.sqrt(norm)
        if norm > force[i] * (1.0 - 1e-14):
            for j in range(d):
                H[i, j] *= force[i] * (1.0 - 1e-14) / norm
    pairs[:] = np.maximum(z[1 + 2 * m :], 0.0)
