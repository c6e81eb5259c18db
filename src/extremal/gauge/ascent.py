"""The gauge from below: local maxima of |lam^T (Xu)_+| over the unit sphere, from many starts.

For a fixed outer direction v and c = Lam v, h(u) = sum_i c_i (x_i . u)_+ is a difference of convex functions.
Linearising the convex part (the rows P with c_i > 0; N are the others) at the current u leaves a concave maximisation
over the ball that is solved through its dual: with q the sum of c_i x_i over the rows of P that are active at u,

    max_{|u| <= 1} q . u - sum_N |c_i| (x_i . u)_+  =  min_{t in [0,1]^N} |q - sum_N t_i |c_i| x_i|,

a box-constrained least squares whose residual is the next u. Values only rise, and the end is a true local maximum in
the sense of DC programming: no violator that such a step could still improve is missed.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from numba import njit

from extremal.design import Array, Design

#: Numbers in X beyond which the ascent works on a sample of the rows.
LARGEST_SEARCH = 200_000

#: Starts between two looks at the clock.
SLICE = 8

#: |lam_i| |x_i|^2 below which a row plays no part: in single precision products of such numbers underflow.
TINY = np.float32(1e-30)


@dataclass(frozen=True, eq=False)
class Candidates:
    """Directions U (d, k), outer directions V (k, c) and values v_j^T Lam^T (Xu_j)_+, best first."""

    U: Array
    V: Array
    value: Array

    def exceed(self, beta: float, fraction: float) -> bool:
        """Whether any value is above (1 + fraction) beta."""
        return bool(np.any(self.value > beta * (1 + fraction)))

    def take(self, index: Array) -> Candidates:
        return Candidates(self.U[:, index], self.V[index], self.value[index])


def ascend(
    design: Design,
    lam: Array,
    starts: Array,
    *,
    rounds: int = 12,
    sweeps: int = 6,
    rng: np.random.Generator | None = None,
    deadline: float | None = None,
) -> Candidates:
    """Local maxima reached from the columns of `starts` (d, k), for lam (n, c); for c = 1 both signs of every start.

    The search runs in single precision, and on a sample of the rows if there are very many (and `rng` is given); the
    values returned are evaluated on all rows in double precision. After the deadline, a time of time.monotonic(), the
    remaining starts are left out.
    """
    c = lam.shape[1]
    size = float(np.abs(lam).max(initial=0.0))
    if c == 1:
        U = np.repeat(starts, 2, axis=1)
        V = np.tile([1.0, -1.0], starts.shape[1])[:, None]
    else:
        U, V = starts, _outer_directions(design, lam, starts)
    if size > 0:
        U32, V32 = np.ascontiguousarray(U.T, np.float32), np.ascontiguousarray(V, np.float32)
        rows = np.arange(design.n)
        if rng is not None and design.n * design.d > LARGEST_SEARCH:
            rows = rng.choice(design.n, LARGEST_SEARCH // design.d, replace=False)
        X32 = np.ascontiguousarray(design.rows(rows), np.float32)
        lam32 = np.ascontiguousarray(lam[rows] / size, np.float32)
        done = 0
        while done < len(U32) and (done == 0 or deadline is None or time.monotonic() < deadline):
            _dc_ascent(X32, lam32, U32[done : done + SLICE], V32[done : done + SLICE], rounds, sweeps)
            done += SLICE
        U, V = U32[:done].T.astype(np.float64), V32[:done].astype(np.float64)
    norm = np.linalg.norm(U, axis=0)
    U = U[:, norm > 0] / norm[norm > 0]
    V = V[norm > 0]
    moments = np.maximum(design.forward(U), 0).T @ lam
    value = np.linalg.norm(moments, axis=1)
    if c > 1:
        V = moments / np.maximum(value, 1e-300)[:, None]
    else:
        value = moments[:, 0] * V[:, 0]
    order = np.argsort(-value)
    return Candidates(U[:, order], V[order], value[order])


def random_starts(design: Design, size: int, rng: np.random.Generator, near: Array | None = None) -> Array:
    """`size` unit directions (d, size): Gaussian, differences of rows, and perturbations of the columns of `near`."""
    d, n = design.d, design.n
    kinds = rng.integers(0, 3 if near is not None and near.shape[1] else 2, size)
    U = rng.standard_normal((d, size))
    pairs = np.flatnonzero(kinds == 1)
    first, second = rng.integers(0, n, (2, pairs.size))
    U[:, pairs] = (design.rows(first) - design.rows(second)).T + 1e-3 * U[:, pairs]
    if near is not None and near.shape[1]:
        around = np.flatnonzero(kinds == 2)
        spread = 10.0 ** rng.uniform(-2, 0, around.size)
        U[:, around] = near[:, rng.integers(0, near.shape[1], around.size)] + spread * U[:, around] / np.sqrt(d)
    norm = np.linalg.norm(U, axis=0)
    return U / np.where(norm > 0, norm, 1.0)


def distinct(candidates: Candidates, limit: int, cosine: float = 0.99) -> Candidates:
    """At most `limit` candidates, best first, no two within the given cosine of each other (with like outer weight)."""
    chosen: list[int] = []
    alike = (candidates.U.T @ candidates.U) * (candidates.V @ candidates.V.T)
    free = np.ones(candidates.value.size, dtype=bool)
    for j in range(candidates.value.size):
        if free[j]:
            chosen.append(j)
            free &= alike[j] < cosine
            if len(chosen) == limit:
                break
    return candidates.take(np.array(chosen, dtype=int))


def _outer_directions(design: Design, lam: Array, starts: Array) -> Array:
    V = np.maximum(design.forward(starts), 0).T @ lam
    norm = np.linalg.norm(V, axis=1)
    V[norm == 0] = 1.0
    return V / np.where(norm > 0, norm, np.sqrt(lam.shape[1]))[:, None]


@njit(fastmath=True, inline="always")
def _dot(a: Array, b: Array) -> np.float32:  # pragma: no cover - compiled
    total = np.float32(0)
    for k in range(a.size):
        total += a[k] * b[k]
    return total


@njit(fastmath=True, inline="always")
def _add(a: Array, factor: float, b: Array) -> None:  # pragma: no cover - compiled
    for k in range(a.size):
        a[k] += factor * b[k]


@njit(cache=True, fastmath=True, nogil=True)
def _dc_ascent(
    X: Array, lam: Array, U: Array, V: Array, rounds: int, sweeps: int
) -> None:  # pragma: no cover - compiled
    """Improve the rows of U (k, d) and V (k, c) in place."""
    n, d = X.shape
    c = lam.shape[1]
    norms = np.empty(n, np.float32)
    for i in range(n):
        norms[i] = _dot(X[i], X[i])
    cost = np.empty(n, np.float32)
    t = np.empty(n, np.float32)
    z = np.empty(n, np.float32)
    w = np.empty(d, np.float32)
    active = np.empty(n, np.bool_)
    for b in range(U.shape[0]):
        u, v = U[b], V[b]
        for i in range(n):
            z[i] = _dot(X[i], u)
            t[i] = 1.0 if z[i] > 0 else 0.0
            active[i] = False
        for step in range(rounds):
            if c > 1 and step > 0:
                v[:] = 0
                for i in range(n):
                    if z[i] > 0:
                        _add(v, z[i], lam[i])
                size = np.sqrt(_dot(v, v))
                if size == 0:
                    break
                v /= size
            changed = c > 1
            w[:] = 0
            for i in range(n):
                cost[i] = _dot(lam[i], v)
                if cost[i] > 0:
                    on = z[i] > 0
                    if on != active[i]:
                        active[i] = on
                        changed = True
                    if on:
                        _add(w, cost[i], X[i])
                elif t[i] > 0:
                    _add(w, t[i] * cost[i], X[i])
            if not changed and step > 0:
                break
            for _sweep in range(sweeps):
                moved = np.float32(0)
                for i in range(n):
                    curvature = -cost[i] * norms[i]
                    if curvature > TINY:
                        new = t[i] + _dot(X[i], w) / curvature
                        new = min(max(new, np.float32(0)), np.float32(1))
                        change = new - t[i]
                        if change != 0:
                            t[i] = new
                            _add(w, change * cost[i], X[i])
                            moved = max(moved, abs(change))
                if moved < 1e-4:
                    break
            size = np.sqrt(_dot(w, w))
            if size < 1e-12:
                break
            for q in range(d):
                u[q] = w[q] / size
            for i in range(n):
                z[i] = _dot(X[i], u)
