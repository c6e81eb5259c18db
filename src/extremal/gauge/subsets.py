"""The gauge for few rows of positive weight, in any dimension: every subset of them is tried.

    m  =  max over |u| <= 1 of f(u)  =  max over S subset of P of dist(q_S, Z),
    q_S = linear + sum_S w_i x_i,   Z = {sum_N t_i |w_i| x_i : 0 <= t <= 1},

because (z)_+ is the larger of 0 and z. Every t gives an upper bound |q_S - sum_N t_i |w_i| x_i| on the
distance, and the direction of the residual a lower bound on m. Consecutive subsets of the Gray code differ by
one row, so that t starts near its best value, and most subsets are dismissed as soon as their residual is
shorter than the best value so far.
"""

from __future__ import annotations

import time

import numpy as np
from numba import njit

from extremal.design import Array
from extremal.gauge.bounds import GaugeStatus, SideBound
from extremal.gauge.sides import Side

#: Multiplications between two looks at the clock.
SLICE_WORK = 4_000_000

#: Coordinate descent sweeps for one subset.
SWEEPS = 2000


@njit(cache=True, nogil=True)
def descend_distance(
    B: Array, squares: Array, q: Array, t: Array, r: Array, cutoff: float, accuracy: float
) -> float:  # pragma: no cover - compiled
    """|r|, r = q - B^T t, decreased by coordinate descent in t until it is below the cutoff or accurate.

    With u = r / |r|, the distance is between |r| - sum_i (b_i^T u)_+ - t_i b_i^T u and |r|.
    """
    n, d = B.shape
    r[:] = q
    for i in range(n):
        if t[i] != 0.0:
            for j in range(d):
                r[j] -= t[i] * B[i, j]
    size = np.sqrt((r * r).sum())
    for _sweep in range(SWEEPS):
        if size <= cutoff:
            break
        defect = 0.0
        for i in range(n):
            dot = 0.0
            for j in range(d):
                dot += B[i, j] * r[j]
            defect += max(dot, 0.0) - t[i] * dot
            new = min(max(t[i] + dot / squares[i], 0.0), 1.0)
            change = new - t[i]
            if change != 0.0:
                t[i] = new
                for j in range(d):
                    r[j] -= change * B[i, j]
        size = np.sqrt((r * r).sum())
        if defect <= accuracy * size * size:
            break
    r[:] = q
    for i in range(n):
        for j in range(d):
            r[j] -= t[i] * B[i, j]
    return np.sqrt((r * r).sum())


@njit(cache=True, nogil=True)
def visit_subsets(
    linear: Array,
    A: Array,
    B: Array,
    squares: Array,
    begin: int,
    end: int,
    t: Array,
    numbers: Array,
    witness: Array,
    tol: float,
    margin: float,
    threshold: float,
    stop: float,
) -> int:  # pragma: no cover - compiled
    """The next subset after begin..end-1 of the Gray code; numbers = (lower bound, largest residual)."""
    p, d = A.shape
    r = np.empty(d)
    for index in range(begin, end):
        if numbers[0] > stop:
            return index
        code = index ^ (index >> 1)
        q = linear.copy()
        for i in range(p):
            if (code >> i) & 1:
                q += A[i]
        cutoff = max(numbers[0] * (1.0 + tol) + margin, threshold)
        size = descend_distance(B, squares, q, t, r, cutoff, 0.1 * tol)
        numbers[1] = max(numbers[1], size)
        if size > cutoff:
            value = (linear * r).sum()
            for i in range(p):
                value += max((A[i] * r).sum(), 0.0)
            for i in range(B.shape[0]):
                value -= max((B[i] * r).sum(), 0.0)
            if value / size > numbers[0]:
                numbers[0] = value / size
                witness[:] = r / size
    return end


def subset_bound(
    side: Side,
    *,
    tol: float = 1e-6,
    deadline: float | None = None,
    lower: float = 0.0,
    witness: Array | None = None,
    threshold: float | None = None,
) -> SideBound:
    """lower <= m <= upper for a side with few rows of positive weight, at most twenty or so; any rank.

    The parameters are those of :func:`extremal.gauge.cones.cone_bound`. Subsets that the deadline leaves
    unvisited are bounded by the sum of the positive weights.
    """
    convex = side.weights > 0
    A = side.weights[convex, None] * side.rows[convex]
    B = -side.weights[~convex, None] * side.rows[~convex]
    squares = np.maximum((B * B).sum(axis=1), 1e-300)
    u = np.ones(side.rank) if witness is None else np.array(witness, dtype=np.float64)
    numbers = np.array([max(lower, side.value(u), 0.0), 0.0])
    prune, stop = 0.0, np.inf
    if threshold is not None:
        prune, stop = threshold - side.rounding, threshold + side.rounding
    tol = max(tol, 1e-12)
    t = np.full(len(B), 0.5)
    position, total = 0, 2 ** len(A)
    step = max(1, SLICE_WORK // (20 * (side.rows.size + 1)))
    status = GaugeStatus.EXACT
    try:
        while position < total:
            end = min(position + step, total)
            reached = visit_subsets(
                side.linear, A, B, squares, position, end, t, numbers, u, tol, side.rounding, prune, stop
            )  # fmt: skip
            position = reached
            if reached < end:
                break
            if position < total and deadline is not None and time.monotonic() > deadline:
                status = GaugeStatus.TIME_LIMIT
                break
    except KeyboardInterrupt:
        status = GaugeStatus.INTERRUPTED
    upper = max(numbers) if position == total else max(numbers[0], side.trivial)
    return SideBound(max(side.value(u), 0.0), upper + side.rounding, u, status)
