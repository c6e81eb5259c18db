"""Projections onto the cones {u : Gu >= 0} of many patterns at once.

    |Proj_K c| = max {c^T u : |u| <= 1, u in K} = min over rho >= 0 of |c + G^T rho|,

a nonnegative least squares problem for each cone, by the active-set method of Lawson & Hanson. Every rho >= 0 gives an
upper bound, so a search that ends early is still a proof.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from extremal.design import Array

#: Inner products below this fraction of |c| count as nonnegative.
SLACK = 1e-13
#: The side of a line that constrains nothing because the others do; a line is implied by them up to this distance.
REDUNDANT = 2
IMPLIED = 1e-12


@njit(cache=True, nogil=True)
def _solve(
    lines: Array, active: Array, turn: Array, m: int, c: Array, Q: Array, R: Array, z: Array
) -> bool:  # pragma: no cover - compiled
    """z = argmin |c + sum_k z_k turn_k line_k| over the first m active lines; False if they are dependent."""
    d = c.size
    for k in range(m):
        for j in range(d):
            Q[k, j] = turn[k] * lines[active[k], j]
        for i in range(k):
            R[i, k] = 0.0
        for _repeat in range(2):  # orthogonalise twice: as good as Householder
            for i in range(k):
                dot = 0.0
                for j in range(d):
                    dot += Q[i, j] * Q[k, j]
                R[i, k] += dot
                for j in range(d):
                    Q[k, j] -= dot * Q[i, j]
        size = np.sqrt((Q[k] * Q[k]).sum())
        if size < 1e-12:
            return False
        R[k, k] = size
        for j in range(d):
            Q[k, j] /= size
    for k in range(m - 1, -1, -1):
        total = -(Q[k] * c).sum()
        for i in range(k + 1, m):
            total -= R[k, i] * z[i]
        z[k] = total / R[k, k]
    return True


@njit(cache=True, nogil=True)
def _residual(
    lines: Array, active: Array, turn: Array, rho: Array, m: int, c: Array, r: Array
) -> None:  # pragma: no cover - compiled
    r[:] = c
    for k in range(m):
        for j in range(c.size):
            r[j] += rho[k] * turn[k] * lines[active[k], j]


@njit(cache=True, nogil=True)
def _entering(
    lines: Array, sides: Array, banned: Array, r: Array, least: float
) -> tuple[int, float]:  # pragma: no cover - compiled
    """The line that r violates most, and the side on which the cone lies; (-1, 0) if there is none."""
    best, found, turn = -least, -1, 0.0
    for i in range(lines.shape[0]):
        if banned[i]:
            continue
        dot = 0.0
        for j in range(r.size):
            dot += lines[i, j] * r[j]
        side = float(sides[i])
        if side == 0.0:  # an equality: either side may be pushed
            side = -1.0 if dot > 0 else 1.0
        if side * dot < best:
            best, found, turn = side * dot, i, side
    return found, turn


@njit(cache=True, nogil=True)
def _project(
    lines: Array, sides: Array, free: Array, c: Array, cutoff: float, r: Array, work: tuple
) -> None:  # pragma: no cover - compiled
    """r = c + G^T rho for the cone of the lines that are not `free`."""
    active, turn, rho, z, banned, Q, R = work
    L, d = lines.shape
    size = np.sqrt((c * c).sum())
    banned[:] = free
    r[:] = c
    m = 0
    for _iteration in range(3 * (L + d)):
        if np.sqrt((r * r).sum()) <= cutoff or m == d:
            break
        i, side = _entering(lines, sides, banned, r, SLACK * size)
        if i < 0:
            break
        active[m], turn[m], rho[m] = i, side, 0.0
        banned[i] = True
        if not _solve(lines, active, turn, m + 1, c, Q, R, z) or z[m] <= 0:
            continue  # dependent on the active lines up to rounding: it stays out
        m += 1
        while m > 0:
            step, leaving = 1.0, -1
            for a in range(m):
                if z[a] <= 0 and rho[a] / (rho[a] - z[a]) < step:
                    step, leaving = rho[a] / (rho[a] - z[a]), a
            for a in range(m):
                rho[a] = max(rho[a] + step * (z[a] - rho[a]), 0.0)
            if leaving < 0:
                break
            rho[leaving] = 0.0
            kept = 0
            for a in range(m):
                if rho[a] > 0:
                    active[kept], turn[kept], rho[kept] = active[a], turn[a], rho[a]
                    kept += 1
                else:
                    banned[active[a]] = False
            m = kept
            if not _solve(lines, active, turn, m, c, Q, R, z):
                break
        _residual(lines, active, turn, rho, m, c, r)


@njit(cache=True, nogil=True)
def _workspace(L: int, d: int) -> tuple:  # pragma: no cover - compiled
    return (
        np.empty(d + 1, np.int64),
        np.empty(d + 1),
        np.empty(d + 1),
        np.empty(d + 1),
        np.empty(L, np.bool_),
        np.empty((d + 1, d)),
        np.empty((d + 1, d + 1)),
    )


@njit(cache=True, nogil=True)
def project(lines: Array, sides: Array, C: Array, cutoff: float) -> Array:  # pragma: no cover - compiled
    """c_k + G_k^T rho_k for every row c_k of C (K, d), the projection of c_k onto the cone of sides[k].

    Parameters
    ----------
    lines : array of shape (L, d)
        Unit vectors.
    sides : int8 array of shape (K, L)
        The cone k is {u : sides[k, l] lines[l] . u >= 0}, with = 0 where the side is 0; REDUNDANT lines are left out.
    C : array of shape (K, d)
    cutoff : float
        A projection that is known to be no longer than this is not pursued any further.
    """
    work = _workspace(*lines.shape)
    out = np.empty(C.shape)
    for k in range(C.shape[0]):
        _project(lines, sides[k], sides[k] == REDUNDANT, C[k], cutoff, out[k], work)
    return out


@njit(cache=True, nogil=True)
def facets(lines: Array, sides: Array) -> Array:  # pragma: no cover - compiled
    """The sides with REDUNDANT for every line that the others of its cone imply: g = sum rho_i g_i, rho >= 0."""
    work = _workspace(*lines.shape)
    out = sides.copy()
    r = np.empty(lines.shape[1])
    for k in range(sides.shape[0]):
        for l in range(lines.shape[0]):
            side = out[k, l]
            if side == 1 or side == -1:
                out[k, l] = REDUNDANT
                _project(lines, out[k], out[k] == REDUNDANT, -side * lines[l], IMPLIED, r, work)
                if np.sqrt((r * r).sum()) > IMPLIED:
                    out[k, l] = side
    return out
