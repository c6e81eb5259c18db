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
from extremal.gauge.conic import (
    aim,
    find_scaling,
    longest_step,
    new_scaling,
    scale_slack,
    unscale_dual,
    unscale_slack,
    views,
)
from extremal.gauge.lifting import adjoint, factor, fixed_features, newton_matrix, numbering, slacks, solve_newton
from extremal.gauge.majorant import bound_of_multipliers

#: Iterations at most, and the first one whose multipliers are worth a bound.
ITERATIONS, FIRST_BOUND = 30, 3

#: The fraction of the way to the boundary, and the step below which the method has stalled.
FRACTION, STALLED = 0.98, 1e-4


@njit(cache=True, nogil=True)
def combine(y: Array, a: float, b: float, x: Array) -> None:  # pragma: no cover - compiled
    """y <- a y + b x."""
    for i in range(y.size):
        y[i] = a * y[i] + b * x[i]


@njit(cache=True, nogil=True)
def inner(x: Array, y: Array) -> float:  # pragma: no cover - compiled
    total = 0.0
    for i in range(x.size):
        total += x[i] * y[i]
    return total


@njit(cache=True, nogil=True)
def start(
    P: Array, N: Array, A: Array, cp: Array, cn: Array, index: Array, x: Array, r: Array, slack: tuple, dual: tuple
) -> None:  # pragma: no cover - compiled
    """u = 0 and U = I / (d + 1), in the interior; what they violate is left to the infeasible method."""
    p, m, k, d = P.shape[0], N.shape[0], A.shape[0], P.shape[1]
    middle = 1.0 / np.sqrt(d + 1.0)
    for i in range(d):
        x[index[i, i]] = 1.0 / (d + 1.0)
    for i in range(p + m):
        r[i] = 0.5 * middle if i < p else 2.0 * middle
    slacks(P, N, A, x, r, index, 1.0, slack)
    _, S, s = slack
    Zm, Z, z = dual
    for i in range(d + 1):
        Zm[i, i] = 0.5 / (d + 1.0)
    for i in range(p):
        Z[i, 0] = 0.6 * cp[i] + 1e-3 / p
        Z[i, 2] = -0.5 * cp[i]
    z[0] = 0.5
    for i in range(m):
        share = cn[i] / 6.0 + 1e-4 / m
        Z[p + i, 0] = share
        z[1 + i] = share
        z[1 + m + i] = share
    for i in range(p + m, p + m + k):
        for j in range(S.shape[1]):
            S[i, j] = 0.0
        S[i, 0] = middle
        Z[i, 0] = 0.05 / k
    for i in range(1 + 2 * m, s.size):
        s[i] = 1.0 / (d + 1.0)
        z[i] = 0.1 / (k * (k - 1))


@njit(cache=True, nogil=True)
def objective_gradient(b: Array, cp: Array, cn: Array, g: Array, gr: Array) -> None:  # pragma: no cover - compiled
    """Adds the gradient of b . u + (sum_P cp r - sum_N cn r) / 2."""
    for i in range(b.size):
        g[i] += b[i]
    for i in range(cp.size):
        gr[i] += 0.5 * cp[i]
    for i in range(cn.size):
        gr[cp.size + i] -= 0.5 * cn[i]


@njit(cache=True, nogil=True)
def relaxed_value(b: Array, cp: Array, cn: Array, x: Array, r: Array) -> float:  # pragma: no cover - compiled
    total = 0.0
    for i in range(b.size):
        total += b[i] * x[i]
    for i in range(cp.size):
        total += 0.5 * cp[i] * r[i]
    for i in range(cn.size):
        total -= 0.5 * cn[i] * r[cp.size + i]
    return total


@njit(cache=True, nogil=True)
def read_multipliers(cp: Array, cn: Array, dual: tuple, out: tuple) -> None:  # pragma: no cover - compiled
    """The multipliers of the bound from the dual iterate, moved into their domain."""
    _, Z, z = dual
    w, slope, E, force, H, pairs = out
    p = cp.size
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


@njit(cache=True, nogil=True)
def keep_multipliers(source: tuple, target: tuple) -> None:  # pragma: no cover - compiled
    for i in range(source[0].size):
        target[0][i] = source[0][i]
    for i in range(source[1].size):
        target[1][i] = source[1][i]
        for j in range(source[2].shape[1]):
            target[2][i, j] = source[2][i, j]
    for i in range(source[3].size):
        target[3][i] = source[3][i]
        for j in range(source[4].shape[1]):
            target[4][i, j] = source[4][i, j]
    for i in range(source[5].size):
        target[5][i] = source[5][i]


@njit(cache=True, nogil=True)
def read_point(x: Array, index: Array, point: tuple) -> None:  # pragma: no cover - compiled
    """(u, U) of the unknowns."""
    u, U = point
    for i in range(u.size):
        u[i] = x[i]
        for j in range(u.size):
            U[i, j] = x[index[i, j]]


def interior_point(
    P: Array, N: Array, A: Array, phi: Array, cp: Array, cn: Array, b: Array, cutoff: float, accuracy: float,
    iterations: int, multipliers: tuple, point: tuple,
) -> tuple[float, float, int]:  # fmt: skip
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
    P, N, A, phi = (np.ascontiguousarray(rows) for rows in (P, N, A, phi))
    return _interior_point(P, N, A, phi, cp, cn, b, cutoff, accuracy, iterations, multipliers, point)


@njit(cache=True, nogil=True)
def _interior_point(
    P: Array, N: Array, A: Array, phi: Array, cp: Array, cn: Array, b: Array, cutoff: float, accuracy: float,
    iterations: int, multipliers: tuple, point: tuple,
) -> tuple[float, float, int]:  # pragma: no cover - compiled  # fmt: skip
    """See `interior_point`, which gives it arrays of one memory layout: for another one it is compiled once more."""
    p, m, k, d = P.shape[0], N.shape[0], A.shape[0], P.shape[1]
    order, unknowns, cones, pairs = d + d * (d + 1) // 2, p + m, p + m + k, k * (k - 1) // 2
    width, lines = max(d + 1, 3), 1 + 2 * m + pairs  # whatever pads a short cone stays zero
    size, degree = (d + 1) * (d + 1) + cones * width + lines, d + 1.0 + cones + lines
    index = numbering(d)
    x, r = np.zeros(order), np.empty(unknowns)
    slack, dual = np.zeros(size), np.zeros(size)
    start(P, N, A, cp, cn, index, x, r, views(slack, d, cones, width), views(dual, d, cones, width))
    missing, target, primal, scaled = np.zeros(size), np.zeros(size), np.zeros(size), np.zeros(size)
    complement, moved = np.zeros(size), np.zeros(size)
    point_of_scaling = new_scaling(d, cones, width, lines)
    H, F, elimination = np.empty((order, order)), np.empty((order - d, cones + pairs)), np.empty((3, unknowns))
    fixed_features(phi, A, index, cones, F)
    scale, gx, gr, dx, dr = np.empty(order), np.empty(order), np.empty(unknowns), np.empty(order), np.empty(unknowns)
    candidate = (np.empty(p), np.empty(m), np.empty((m, d)), np.empty(k), np.empty((k, d)), np.empty(pairs))
    best, value, done = np.inf, -np.inf, 0
    for iteration in range(iterations):
        done = iteration
        if not find_scaling(views(slack, d, cones, width), views(dual, d, cones, width), point_of_scaling):
            break
        newton_matrix(P, N, A, point_of_scaling, index, H, F, elimination)
        factored, L = factor(H, scale)
        if not factored:
            break
        # what is missing: the gradient of the Lagrangian, and the slacks at (u, U, r)
        adjoint(P, N, A, views(dual, d, cones, width), index, gx, gr)
        objective_gradient(b, cp, cn, gx, gr)
        slacks(P, N, A, x, r, index, 1.0, views(missing, d, cones, width))
        combine(missing, -1.0, 1.0, slack)
        mu = inner(slack, dual) / degree
        sigma, longest = 0.0, np.inf
        for corrector in range(2):  # Mehrotra: the way to the boundary, then centred and corrected to second order
            aim(point_of_scaling, sigma * mu, corrector == 1, moved, scaled, views(complement, d, cones, width))
            unscale_slack(point_of_scaling, complement, target)
            combine(target, 1.0, 1.0 - sigma, missing)
            scale_slack(point_of_scaling, target, primal)
            unscale_dual(point_of_scaling, primal, scaled)
            adjoint(P, N, A, views(scaled, d, cones, width), index, dx, dr)
            combine(dx, 1.0, 1.0 - sigma, gx)
            combine(dr, 1.0, 1.0 - sigma, gr)
            solve_newton(P, N, F, L, scale, elimination, dx, dr)
            slacks(P, N, A, dx, dr, index, 0.0, views(primal, d, cones, width))
            combine(target, 1.0, -1.0, primal)  # the step of the dual, W^T W times
            combine(primal, 1.0, sigma - 1.0, missing)  # the step of the slacks
            scale_slack(point_of_scaling, target, scaled)
            scale_slack(point_of_scaling, primal, moved)
            longest = max(longest_step(point_of_scaling, moved), longest_step(point_of_scaling, scaled))
            sigma = (1.0 - 1.0 / max(longest, 1.0)) ** 3 if corrector == 0 else sigma
        if not (np.isfinite(longest) and np.isfinite(mu)):
            break
        step = min(1.0, FRACTION / max(longest, 1e-10))
        combine(x, 1.0, step, dx)
        combine(r, 1.0, step, dr)
        combine(slack, 1.0, step, primal)
        unscale_dual(point_of_scaling, scaled, target)
        combine(dual, 1.0, step, target)
        done = iteration + 1
        value = relaxed_value(b, cp, cn, x, r)
        if done >= FIRST_BOUND:
            read_multipliers(cp, cn, views(dual, d, cones, width), candidate)
            bound = bound_of_multipliers(P, N, A, cp, cn, b, *candidate)
            if bound < best:
                best = bound
                keep_multipliers(candidate, multipliers)
            gap = best - value
            if best <= cutoff or gap <= accuracy * (value - cutoff) or gap <= 1e-11 * abs(best):
                break
        if step < STALLED or mu < 1e-14:
            break
    read_point(x, index, point)
    return best, value, done
