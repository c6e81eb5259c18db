"""The gradient flow in log-norm coordinates and loss-normalised time, its Jacobian, and one Rosenbrock step: compiled.

A neuron is a unit direction v, a = log |w| and kappa = b / |w| (+-1 if balanced):

    v' = kappa (g - h v),   a' = kappa h,   kappa' = (1 - kappa^2) h,   g = P sum_k D_k lam_k x_k,   h = v . g,

where P projects along the hyperplanes that the neuron slides on and lam = -grad loss, divided by sum |lam| (by sum |y|
for the squared loss), which makes dtau = sum |lam| dt. Neither the norms nor the loss ever under- or overflow.

The Jacobian is one small block for each neuron, a multiple of the identity and a few rank-one terms, plus the coupling
through the n outputs. So a linear system costs an n x n factorisation (only of the samples that carry weight), however
wide the network is and whatever the dimension: nothing of size (m d)^2 is ever formed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from extremal.design import Array

LOGISTIC, EXPONENTIAL, SQUARED = 0, 1, 2
LOSSES = {"logistic": LOGISTIC, "exponential": EXPONENTIAL, "squared": SQUARED}
#: Samples of smaller weight are left out of the Jacobian (never of the field).
NEGLIGIBLE = 1e-13
#: From so many samples on a feedback weaker than this is summed up instead of factorised.
MANY, WEAK = 100, 0.1
#: log |lam| of a sample that does not act is cut off here, relative to those that do.
LARGEST = 14.0

# Rodas4 (Hairer & Wanner, Solving ODEs II, IV.7 and its code RODAS): L-stable, stiffly accurate, order 4(3).
GAMMA = 0.25
A = np.array(
    [
        [0.0, 0.0, 0.0, 0.0, 0.0],
        [1.544, 0.0, 0.0, 0.0, 0.0],
        [0.9466785280815826, 0.2557011698983284, 0.0, 0.0, 0.0],
        [3.314825187068521, 2.896124015972201, 0.9986419139977817, 0.0, 0.0],
        [1.221224509226641, 6.019134481288629, 12.53708332932087, -0.6878860361058950, 0.0],
        [1.221224509226641, 6.019134481288629, 12.53708332932087, -0.6878860361058950, 1.0],
    ]
)
C = np.array(
    [
        [0.0, 0.0, 0.0, 0.0, 0.0],
        [-5.6688, 0.0, 0.0, 0.0, 0.0],
        [-2.430093356833875, -0.2063599157091915, 0.0, 0.0, 0.0],
        [-0.1073529058151375, -9.594562251023355, -20.47028614809616, 0.0, 0.0],
        [7.496443313967647, -10.24680431464352, -33.99990352819905, 11.70890893206160, 0.0],
        [8.083246795921522, -7.981132988064893, -31.52159432874371, 16.31930543123136, -6.058818238834054],
    ]
)
DENSE = np.array(
    [
        [10.12623508344586, -7.487995877610167, -34.80091861555747, -7.992771707568823, 1.025137723295662],
        [-0.6762803392801253, 6.087714651680015, 16.43084320892478, 24.76722511418386, -6.594389125716872],
    ]
)


@njit(cache=True, nogil=True)
def multipliers(f: Array, y: Array, acting: Array, loss: int, total: float) -> tuple[Array, float, Array]:
    """(lam normalised, log of the normaliser, slope): slope is d log p / dq with its sign changed, for margin losses.

    The normaliser is the sum of |lam| over the samples that act on some neuron: while no neuron sees a sample, it has
    no part in the flow, and its constant |lam| must not slow down the clock of the others. If none acts, all count.
    """
    n = f.size
    slope = np.ones(n)
    if loss == SQUARED:
        return (y - f) / total, np.log(total), slope
    logp = np.empty(n)
    for k in range(n):
        q = y[k] * f[k]
        if loss == EXPONENTIAL:
            logp[k] = -q
        elif q > 0:
            tail = np.exp(-q)
            logp[k] = -q - np.log1p(tail)
            slope[k] = 1.0 / (1.0 + tail)
        else:
            tail = np.exp(q)
            logp[k] = -np.log1p(tail)
            slope[k] = tail / (1.0 + tail)
    counted = logp[acting] if acting.any() else logp
    top = counted.max()
    log_share = np.log(np.exp(counted - top).sum())  # not added to `top` first, in whose last digit it would be lost
    return y * np.exp(np.minimum(logp - top - log_share, LARGEST)), top + log_share, slope


@njit(cache=True, nogil=True)
def project(G: Array, normals: Array, start: Array) -> None:
    """Remove from every row i of G its components along normals[start[i] : start[i + 1]], which are orthonormal."""
    for i in range(G.shape[0]):
        for r in range(start[i], start[i + 1]):
            G[i] -= np.dot(G[i], normals[r]) * normals[r]


@njit(cache=True, nogil=True)
def outputs(X: Array, D: Array, V: Array, a: Array, kappa: Array) -> tuple[Array, Array]:
    """(f, Z): the outputs and the active products D x.v."""
    Z = D * np.dot(V, X.T)
    return np.dot(kappa * np.exp(2.0 * a), Z), Z


@njit(cache=True, nogil=True)
def field(
    X: Array,
    y: Array,
    D: Array,
    acting: Array,
    normals: Array,
    start: Array,
    V: Array,
    a: Array,
    kappa: Array,
    loss: int,
    total: float,
) -> Any:
    """The right-hand side (dV, da, dkappa) and what it is made of (f, lam, log normaliser, slope, Z, G, h)."""
    f, Z = outputs(X, D, V, a, kappa)
    lam, log_slope, slope = multipliers(f, y, acting, loss, total)
    G = np.dot(D * lam, X)
    project(G, normals, start)
    h = (V * G).sum(axis=1)
    dV = np.empty_like(V)
    for i in range(V.shape[0]):
        dV[i] = kappa[i] * (G[i] - h[i] * V[i])
    return dV, kappa * h, (1.0 - kappa**2) * h, f, lam, log_slope, slope, Z, G, h


@njit(cache=True, nogil=True)
def block_solve(
    V: Array, G: Array, h: Array, kappa: Array, E: float, rV: Array, ra: Array, rk: Array
) -> tuple[Array, Array, Array]:
    """Solve (E - B) u = r for the blocks B of all neurons: a multiple of the identity and rank-one terms, in O(d)."""
    uV, ua, uk = np.empty_like(rV), np.empty_like(ra), np.empty_like(rk)
    for i in range(V.shape[0]):
        alpha, beta, e = E + kappa[i] * h[i], E + 2.0 * kappa[i] * h[i], 1.0 - kappa[i] ** 2
        across = np.dot(G[i], G[i]) - h[i] ** 2
        right = np.dot(G[i], rV[i]) + across * rk[i] / beta
        s = right / (alpha + kappa[i] * h[i] - across * e / beta)
        uk[i] = (rk[i] + e * s) / beta
        ua[i] = (ra[i] + kappa[i] * s + h[i] * uk[i]) / E
        uV[i] = (rV[i] + uk[i] * G[i] - (kappa[i] * s + h[i] * uk[i]) * V[i]) / alpha
    return uV, ua, uk


@njit(cache=True, nogil=True)
def coupling(
    X: Array,
    D: Array,
    normals: Array,
    start: Array,
    V: Array,
    Z: Array,
    G: Array,
    h: Array,
    a: Array,
    kappa: Array,
    E: float,
    sample: Array,
) -> Array:
    """T = Q (E - B)^-1 R on the samples given: Q = d outputs / d state, R = d field / d lam."""
    Xs = X[sample]
    Ds, Zs = D[:, sample], Z[:, sample]
    Gs = Ds * np.dot(G, Xs.T)
    weight = np.exp(2.0 * a)
    alpha, beta, e = E + kappa * h, E + 2.0 * kappa * h, 1.0 - kappa**2
    across = (G * G).sum(axis=1) - h**2
    den = alpha + kappa * h - across * e / beta
    s1, s2 = kappa / den, (-kappa * h + across * e / beta) / den
    k1, k2 = e * s1 / beta, e * (1.0 + s2) / beta
    a1, a2 = (kappa * s1 + h * k1) / E, (kappa + kappa * s2 + h * k2) / E
    own = weight * kappa**2 / alpha
    from_g = weight * (-(kappa**2) * s1 / alpha - kappa * h * k1 / alpha + 2.0 * kappa * a1 + k1)
    from_z = weight * (-(kappa**2) * (1.0 + s2) / alpha - kappa * h * k2 / alpha + 2.0 * kappa * a2 + k2)
    mixed = weight * kappa / alpha
    T = np.dot(Xs, Xs.T) * np.dot(Ds.T, (Ds.T * own).T)
    T += np.dot(Zs.T, (Gs.T * from_g + Zs.T * from_z).T)
    if np.abs(e).max() > 0.0:
        T += np.dot(Gs.T, (Gs.T * (mixed * k1) + Zs.T * (mixed * k2)).T)
    if normals.shape[0] > 0:
        along = np.dot(normals, Xs.T)
        scaled = np.empty_like(along)
        for i in range(V.shape[0]):
            for r in range(start[i], start[i + 1]):
                along[r] *= Ds[i]
                scaled[r] = own[i] * along[r]
        T -= np.dot(along.T, scaled)
    return T


@njit(cache=True, nogil=True)
def change_of_lam(b: Array, y: Array, lam: Array, slope: Array, loss: int, total: float) -> Array:
    """d lam for a change b of the outputs."""
    if loss == SQUARED:
        return -b / total
    share, t = np.abs(lam), -slope * y * b
    return lam * (t - np.dot(share, t) / max(share.sum(), 1e-300))


@njit(cache=True, nogil=True)
def change_of_outputs(X: Array, D: Array, Z: Array, a: Array, kappa: Array, uV: Array, ua: Array, uk: Array) -> Array:
    """d f for a change of the state."""
    weight = np.exp(2.0 * a)
    total = np.dot(weight * kappa, D * np.dot(uV, X.T))
    return total + np.dot(weight * (2.0 * kappa * ua + uk), Z)


@njit(cache=True, nogil=True)
def closed_loop(T: Array, y: Array, lam: Array, slope: Array, loss: int, total: float) -> Array:
    """I - C T with C = d lam / d f, which is diagonal plus rank one."""
    n = T.shape[0]
    if loss == SQUARED:
        return np.eye(n) + T / total
    share, t = np.abs(lam), T * -(slope * y).reshape(n, 1)
    return np.eye(n) - lam.reshape(n, 1) * (t - np.dot(share, t) / max(share.sum(), 1e-300))


@njit(cache=True, nogil=True)
def pushed(
    X: Array, D: Array, normals: Array, start: Array, V: Array, kappa: Array, moved: Array
) -> tuple[Array, Array, Array]:
    """The change of the field for a change of lam."""
    push = np.dot(D * moved, X)
    project(push, normals, start)
    along = (push * V).sum(axis=1)
    for i in range(V.shape[0]):
        push[i] = kappa[i] * (push[i] - along[i] * V[i])
    return push, kappa * along, (1.0 - kappa**2) * along


@njit(cache=True, nogil=True)
def rounds_of_feedback(
    X: Array, y: Array, a: Array, kappa: Array, G: Array, h: Array, E: float, loss: int, total: float
) -> int:
    """How often the feedback of the outputs on lam has to be summed up for full precision, 0 if it is strong.

    |C T| <= gain in the sum of absolute values, with C and T as in `coupling` and `closed_loop`.
    """
    rate = np.abs(kappa * h).max() + (np.maximum(np.abs(kappa), 1.0) * np.sqrt((G * G).sum(axis=1))).max()
    gain = 8.0 * np.dot(np.exp(2.0 * a), np.maximum(kappa**2, 1.0)) * (X * X).sum(axis=1).max() / E
    if loss == SQUARED:
        gain *= y.size / total
    if y.size < MANY or gain > WEAK or 4.0 * rate > E:
        return 0
    return int(np.ceil(np.log(1e-15) / np.log(gain))) + 1


@njit(cache=True, nogil=True)
def rosenbrock(
    X: Array,
    y: Array,
    D: Array,
    acting: Array,
    normals: Array,
    start: Array,
    V: Array,
    a: Array,
    kappa: Array,
    step: float,
    loss: int,
    total: float,
    drift: float = 0.0,
) -> Any:
    """One step of Rodas4 with the patterns and the sliding sets held fixed; all log norms move by -drift besides.

    Returns the new state, the error estimate of it, that of the outputs weighted by |lam|, and the two coefficients of
    the continuous output  (1 - s) y0 + s (y1 + (1 - s) (c3 + s c4)).
    """
    m, d = V.shape
    E = 1.0 / (GAMMA * step)
    dV, da, dk, _, lam, _, slope, Z, G, h = field(X, y, D, acting, normals, start, V, a, kappa, loss, total)
    da = da - drift
    share = np.abs(lam) * acting
    sample = np.flatnonzero(acting if loss == SQUARED else share > NEGLIGIBLE)
    ys, lams, slopes = y[sample], lam[sample], slope[sample]
    rounds = rounds_of_feedback(X, y, a, kappa, G, h, E, loss, total)
    inverse = np.eye(1)
    if rounds == 0:
        T = coupling(X, D, normals, start, V, Z, G, h, a, kappa, E, sample)
        inverse = np.ascontiguousarray(np.linalg.inv(closed_loop(T, ys, lams, slopes, loss, total)))
    UV, Ua, Uk = np.zeros((6, m, d)), np.zeros((6, m)), np.zeros((6, m))
    V1, a1, k1 = V, a, kappa
    for j in range(6):
        V1, a1, k1 = V.copy(), a.copy(), kappa.copy()
        for i in range(min(j, 5)):
            V1 += A[j, i] * UV[i]
            a1 += A[j, i] * Ua[i]
            k1 += A[j, i] * Uk[i]
        if j > 0:
            dV, da, dk, _, _, _, _, _, _, _ = field(X, y, D, acting, normals, start, V1, a1, k1, loss, total)
            da = da - drift
        rV, ra, rk = dV, da, dk
        for i in range(j):
            rV += (C[j, i] / step) * UV[i]
            ra += (C[j, i] / step) * Ua[i]
            rk += (C[j, i] / step) * Uk[i]
        uV, ua, uk = block_solve(V, G, h, kappa, E, rV, ra, rk)
        b = change_of_outputs(X, D, Z, a, kappa, uV, ua, uk)
        moved, own = np.zeros(y.size), change_of_lam(b[sample], ys, lams, slopes, loss, total)
        if rounds == 0:
            moved[sample] = np.dot(inverse, own)
        else:
            moved[sample] = own
        for _ in range(rounds):
            pV, pa, pk = pushed(X, D, normals, start, V, kappa, moved)
            uV, ua, uk = block_solve(V, G, h, kappa, E, pV, pa, pk)
            b = change_of_outputs(X, D, Z, a, kappa, uV, ua, uk)
            moved[sample] = own + change_of_lam(b[sample], ys, lams, slopes, loss, total)
        pV, pa, pk = pushed(X, D, normals, start, V, kappa, moved)
        rV += pV
        ra += pa
        rk += pk
        UV[j], Ua[j], Uk[j] = block_solve(V, G, h, kappa, E, rV, ra, rk)
    V1, a1, k1 = V1 + UV[5], a1 + Ua[5], k1 + Uk[5]
    c3V, c3a, c3k = np.zeros((m, d)), np.zeros(m), np.zeros(m)
    c4V, c4a, c4k = np.zeros((m, d)), np.zeros(m), np.zeros(m)
    for i in range(5):
        c3V += DENSE[0, i] * UV[i]
        c3a += DENSE[0, i] * Ua[i]
        c3k += DENSE[0, i] * Uk[i]
        c4V += DENSE[1, i] * UV[i]
        c4a += DENSE[1, i] * Ua[i]
        c4k += DENSE[1, i] * Uk[i]
    wrong = y * change_of_outputs(X, D, Z, a, kappa, UV[5], Ua[5], Uk[5])
    if loss != SQUARED:  # all margins together are a matter of the clock
        wrong -= np.dot(share, wrong)
    return V1, a1, k1, UV[5], Ua[5], Uk[5], np.dot(share, np.abs(wrong)), c3V, c3a, c3k, c4V, c4a, c4k
