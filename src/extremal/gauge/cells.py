"""The gauge by cells: exact in any rank, as long as the rows of positive weight have a moderate number of cells.

With P the rows of positive weight and N the others,

    m  =  max over |u| <= 1 of f(u)  =  max over S of dist(q_S, Z),
    q_S = linear + sum_S w_i x_i,   Z = {sum_N t_i |w_i| x_i : 0 <= t <= 1},

where S runs over the activation patterns of P alone: q_S are the vertices of its zonotope, and the distance to the
convex set Z is largest at a vertex. So neither the rows of N nor the shape of f add to the number of cells, and what
stalls a branch and bound, a multiplier whose f is nearly flat, does not matter here.

Every t gives an upper bound |q_S - sum_N t_i |w_i| x_i| on the distance, and the direction of the residual a lower
bound on m. Most vertices are dismissed as soon as their residual is shorter than the best value so far.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
from numba import njit

from extremal.arrangements.counting import cover_count
from extremal.arrangements.walk import Degenerate
from extremal.design import Array, Design
from extremal.gauge.bounds import GaugeStatus, SideBound
from extremal.gauge.sides import Side

#: Multiplications between two looks at the clock, and numbers in a block of cells.
SLICE_WORK, BLOCK = 4_000_000, 400_000

#: Coordinate descent sweeps for one vertex, and the number that a typical one takes.
SWEEPS, TYPICAL_SWEEPS = 2000, 10

#: Unit rows are moved so far into general position; with weights of total one that changes f by no more.
MOVED = 1e-11

#: With so few rows all subsets are taken, cells or not.
FEW_ROWS = 10

#: The cells of more dimensions than this are too many for any budget, and their number too large for a float.
MOST_DIMENSIONS = 32


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
def visit_vertices(
    Q: Array,
    begin: int,
    linear: Array,
    A: Array,
    B: Array,
    squares: Array,
    numbers: Array,
    witness: Array,
    tol: float,
    margin: float,
    threshold: float,
    stop: float,
    work: float,
) -> int:  # pragma: no cover - compiled
    """The first row of Q not visited, from `begin` on; numbers = (lower bound, largest residual)."""
    p, d = A.shape
    n = B.shape[0]
    r = np.empty(d)
    t = np.zeros(n)
    for index in range(begin, Q.shape[0]):
        if numbers[0] > stop or work < 0:
            return index
        q = Q[index]
        cutoff = max(numbers[0] * (1.0 + tol) + margin, threshold)
        work -= d
        size = np.sqrt((q * q).sum())
        if size > cutoff:
            for i in range(n):  # the rows of N that are active at q: one step of the ascent
                dot = 0.0
                for j in range(d):
                    dot += B[i, j] * q[j]
                t[i] = 1.0 if dot > 0 else 0.0
            size = descend_distance(B, squares, q, t, r, cutoff, 0.1 * tol)
            work -= 2 * (n + 1) * d * TYPICAL_SWEEPS
        numbers[1] = max(numbers[1], size)
        if size > cutoff:
            value = (linear * r).sum()
            for i in range(p):
                value += max((A[i] * r).sum(), 0.0)
            for i in range(n):
                value -= max((B[i] * r).sum(), 0.0)
            if value / size > numbers[0]:
                numbers[0] = value / size
                witness[:] = r / size
    return Q.shape[0]


def cell_work(side: Side) -> float:
    """Multiplications that `cell_bound` takes at most, roughly: the cells times the cost of a distance."""
    convex = int((side.weights > 0).sum())
    cells = float(cover_count(convex, min(side.rank, MOST_DIMENSIONS)))
    return cells * (side.weights.size + 1) * side.rank * 2 * TYPICAL_SWEEPS


def vertices(A: Array, linear: Array) -> Iterator[Array]:
    """The vertices q_S = linear + sum_S A_i, block by block.

    The cells are those of rows moved by MOVED: in general position, which floating-point numbers decide.
    """
    p, d = A.shape
    if p <= FEW_ROWS:
        subsets = (np.arange(2**p)[:, None] >> np.arange(p)) & 1
        yield linear + subsets @ A
        return
    from extremal.arrangements.cells import rows_of
    from extremal.arrangements.central import Central
    from extremal.arrangements.patterns import Patterns
    from extremal.arrangements.walk import generic_cells

    noise = np.random.default_rng(0).normal(size=A.shape)
    noise *= MOVED / np.linalg.norm(noise, axis=1, keepdims=True)
    central = Central.of(Design(A / np.linalg.norm(A, axis=1, keepdims=True) + noise))
    total = A.sum(axis=0)
    for words in generic_cells(central, max(BLOCK // (p + d), 1)):
        half = Patterns(rows_of(words, central), central).unpack() @ A
        yield linear + half
        yield linear + total - half


def cell_bound(
    side: Side,
    *,
    tol: float = 1e-6,
    deadline: float | None = None,
    lower: float = 0.0,
    witness: Array | None = None,
    threshold: float | None = None,
) -> SideBound:
    """lower <= m <= upper by all cells of the rows of positive weight; any rank.

    The parameters are those of :func:`extremal.gauge.cones.cone_bound`. If the deadline leaves cells unvisited the
    upper bound is the sum of the positive weights.
    """
    convex = side.weights > 0
    A = side.weights[convex, None] * side.rows[convex]
    B = np.ascontiguousarray(-side.weights[~convex, None] * side.rows[~convex])
    squares = np.maximum((B * B).sum(axis=1), 1e-300)
    u = np.ones(side.rank) if witness is None else np.array(witness, dtype=np.float64)
    numbers = np.array([max(lower, side.value(u), 0.0), 0.0])
    prune, stop = 0.0, np.inf
    if threshold is not None:
        prune, stop = threshold - side.rounding - MOVED, threshold + side.rounding
    tol = max(tol, 1e-12)
    status = GaugeStatus.EXACT
    try:
        for Q in vertices(A, side.linear):
            position = 0
            while position < len(Q) and numbers[0] <= stop and status is GaugeStatus.EXACT:
                if deadline is not None and time.monotonic() > deadline:
                    status = GaugeStatus.TIME_LIMIT
                    break
                position = visit_vertices(
                    Q, position, side.linear, A, B, squares, numbers, u, tol, side.rounding, prune, stop, SLICE_WORK
                )  # fmt: skip
            if status is not GaugeStatus.EXACT or numbers[0] > stop:
                break
    except KeyboardInterrupt:
        status = GaugeStatus.INTERRUPTED
    except Degenerate:  # rows that are still not in general position: the cells are not known
        status = GaugeStatus.NODE_LIMIT
    finished = status is GaugeStatus.EXACT and numbers[0] <= stop
    upper = max(numbers) if finished else max(numbers[0], side.trivial)
    return SideBound(max(side.value(u), 0.0), upper + MOVED + side.rounding, u, status)
