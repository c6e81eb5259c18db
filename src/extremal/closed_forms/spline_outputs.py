"""Several outputs: min loss + beta sum_j |v_j|_2 over ramps at the data, as a banded second-order cone program.

With f' = P - Q, where P are the slopes of the neurons that are turned right (nothing before the first point) and -Q
those of the others (nothing after the last), the cost is the sum of the lengths of the jumps of P and Q.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse
from scipy.optimize import lsq_linear

from extremal.closed_forms.spline_dual import LONG, gauge_of, moments, second_differences
from extremal.closed_forms.spline_parts import Rows, peaks
from extremal.design import Array

#: Knots at first, and rounds at most.
KNOTS, ROUNDS = 65, 60
#: The multiplier exceeds beta at a new knot by this fraction, and the proven gap at which the search ends.
VIOLATION, TOL = 1e-10, 1e-9
#: Jumps below this fraction of the largest are traces of an interior point.
TRACE = 1e-7
#: Accuracies asked of the cone program.
ACCURACY = (1e-12, 1e-10, 1e-8)


@dataclass(frozen=True, eq=False)
class Vectors:
    """Increasing positions x (k,) with targets Y (k, c) and weights w, of order 1; beta = 0 asks for interpolation."""

    x: Array
    Y: Array
    w: Array
    beta: float


@dataclass(frozen=True, eq=False)
class VectorSolution:
    """Knots (indices, m), values there, the jumps p, q (m, c) of both orientations, lam (k, c), and bounds."""

    knots: Array
    f: Array
    p: Array
    q: Array
    lam: Array
    primal: float
    dual: float
    beta: float
    rounds: int = 0

    @property
    def gap(self) -> float:
        return (self.primal - self.dual) / self.primal if self.primal > 0 else 0.0


def interpolate(data: Vectors) -> VectorSolution:
    """min sum_j |v_j|_2 subject to f(x_i) = Y_i: straight lines between the points are an optimum.

    It is in closed form if the sum of |c_k| can be reached, that is if -s_1 = sum theta_k c_k with 0 <= theta_k <= 1.
    """
    k = data.x.size
    knots = np.arange(k)
    changes = np.diff(np.diff(data.Y, axis=0) / np.diff(data.x)[:, None], axis=0)
    p, G = _split(data.x, data.Y, changes)
    if p is None:
        return _refined(data)
    p, q = _completed(data.x, data.Y, p)
    lam = second_differences(data.x, G)
    return _bounded(data, knots, data.Y, p, q, lam, 0)


def _split(x: Array, Y: Array, changes: Array) -> tuple[Array | None, Array]:
    """Parts p (k, c) of the slope changes c_k so that the others sum to -s_1, or None; and G."""
    G = np.zeros(Y.shape)
    p = np.zeros(Y.shape)
    if x.size == 1:
        return p, G
    slope = (Y[1] - Y[0]) / (x[1] - x[0])
    length = np.linalg.norm(changes, axis=1)
    bent = length > 0
    G[1:-1][bent] = changes[bent] / length[bent][:, None]
    if x.size == 2:
        return (None if np.any(slope) else p), G
    found = lsq_linear(changes.T, -slope, bounds=(0.0, 1.0), method="bvls" if x.size < 50 else "trf", tol=1e-14)
    if np.linalg.norm(changes.T @ found.x + slope) > 1e-12 * (np.linalg.norm(slope) + length.sum()):
        return None, G
    p[1:-1] = (1 - found.x)[:, None] * changes
    return p, G


def fit_vectors(data: Vectors) -> VectorSolution:
    """min 1/2 sum_i w_i |f(x_i) - Y_i|^2 + beta sum_j |v_j|_2, to a relative gap of `TOL` or what is possible."""
    mean = data.w @ data.Y / data.w.sum()
    lam = data.w[:, None] * (data.Y - mean)
    one = np.zeros(1, dtype=int)
    zero = _bounded(data, one, mean[None], np.zeros((1, mean.size)), np.zeros((1, mean.size)), lam, 0)
    return zero if data.x.size == 1 or zero.gap <= TOL else _refined(data, zero)


def _refined(data: Vectors, start: VectorSolution | None = None) -> VectorSolution:
    """Rounds of the cone program, with more knots where the multiplier asks for them; all of them for interpolation."""
    k = data.x.size
    knots = np.unique(np.linspace(0, k - 1, min(k, KNOTS) if data.beta else k).astype(int))
    best, size = _solved(data, knots, 1)
    if start is not None and start.gap < best.gap:
        best = start
    for count in range(2, ROUNDS + 1):
        more = peaks(size, knots, VIOLATION)
        if best.gap <= TOL or not more.size:
            break
        knots = np.union1d(knots, more)
        found, size = _solved(data, knots, count)
        best = found if found.primal - found.dual < best.primal - best.dual else best
    return best


def _solved(data: Vectors, knots: Array, count: int) -> tuple[VectorSolution, Array]:
    """The program with these knots, solved; and G over its bound at all points."""
    f, p, at_knots = _cone_program(data, knots)
    x = data.x[knots]
    if data.beta:
        rows = Rows.of(knots, data.x, LONG)
        fitted = np.column_stack([rows.forward(column) for column in f.T.astype(LONG)])
        lam = data.w[:, None] * (data.Y - fitted)
        there = np.column_stack([rows.adjoint(column) for column in lam.T])
        lam[knots] += second_differences(x.astype(LONG), at_knots.astype(LONG)) - there
    else:
        lam = second_differences(x, at_knots)
    G = moments(data.x, lam)
    size = np.sqrt(np.maximum((G**2).sum(axis=1), ((G - G[:1]) ** 2).sum(axis=1))).astype(float)
    keep = _bends(x, f) if data.beta else np.ones(knots.size, dtype=bool)
    used = knots[keep]
    p, q = _completed(data.x[used], f[keep], p[keep])
    return _bounded(data, used, f[keep], p, q, lam, count), size / (data.beta or 1.0)


def _bends(x: Array, f: Array) -> Array:
    """The ends, and where the slope changes by more than the traces that an interior point leaves."""
    changes = np.linalg.norm(np.diff(np.diff(f, axis=0) / np.diff(x)[:, None], axis=0), axis=1)
    return np.concatenate([[True], changes > TRACE * changes.max(initial=0.0), [True]])


def _completed(x: Array, f: Array, p: Array) -> tuple[Array, Array]:
    """Jumps p, q (m, c) that give exactly this spline: p at the inner knots is taken over, without traces."""
    if x.size == 1:
        return np.zeros(f.shape), np.zeros(f.shape)
    slopes = np.diff(f, axis=0) / np.diff(x)[:, None]
    changes = np.diff(slopes, axis=0)
    p, q = p.copy(), np.zeros(f.shape)
    size = np.linalg.norm(changes, axis=1)
    right, left = np.linalg.norm(p[1:-1], axis=1), np.linalg.norm(changes - p[1:-1], axis=1)
    p[1:-1][right <= TRACE * size] = 0.0
    p[1:-1][left <= TRACE * size] = changes[left <= TRACE * size]
    q[1:-1] = changes - p[1:-1]
    p[0], p[-1] = slopes[0] + q[1:-1].sum(axis=0), 0.0
    return p, q


def _bounded(data: Vectors, knots: Array, f: Array, p: Array, q: Array, lam: Array, count: int) -> VectorSolution:
    """The spline with its objective, and lam scaled to be feasible, with its dual value."""
    cost = float(np.linalg.norm(p, axis=1).sum() + np.linalg.norm(q, axis=1).sum())
    gauge = gauge_of(moments(data.x, lam))
    scale = (data.beta or 1.0) / gauge if gauge > 0 else 1.0
    if not data.beta:
        return VectorSolution(knots, f, p, q, scale * lam, cost, scale * float(np.vdot(lam, data.Y)), 0.0, count)
    fitted = np.column_stack([np.interp(data.x, data.x[knots], column) for column in f.T])
    primal = 0.5 * float(data.w @ ((fitted - data.Y) ** 2).sum(axis=1)) + data.beta * cost
    scale = min(scale, 1.0)
    quadratic = float(((lam**2).sum(axis=1) / data.w).sum())
    dual = scale * (float(np.vdot(lam, data.Y)) - 0.5 * scale * quadratic)
    return VectorSolution(knots, f, p, q, scale * lam, primal, dual, data.beta, count)


def _cone_program(data: Vectors, knots: Array) -> tuple[Array, Array, Array]:
    """Values f (m, c) and right jumps p (m, c) at the knots, and G there (m, c).

    Variables: f, P (m - 1, c), Q (m - 1, c), and the lengths of the m - 1 jumps of either.
    """
    import clarabel

    m, c = knots.size, data.Y.shape[1]
    eye = sparse.identity(c)
    D = sparse.diags([np.full(m - 1, -1.0), np.ones(m - 1)], [0, 1], shape=(m - 1, m))
    h = sparse.kron(sparse.diags(np.diff(data.x[knots])), eye)
    # (length, jump) for every jump of P, from zero, and of Q, to zero
    rest = np.vstack([np.zeros(c), np.eye(c)])
    jumps = sparse.kron(sparse.identity(m - 1) - sparse.eye(m - 1, k=-1), rest)
    falls = sparse.kron(sparse.identity(m - 1) - sparse.eye(m - 1, k=1), rest)
    tips = sparse.kron(sparse.identity(m - 1), np.eye(c + 1)[:, :1])
    blocks = [
        [sparse.kron(D, eye), -h, h, None, None],
        [None, -jumps, None, -tips, None],
        [None, None, -falls, None, -tips],
    ]
    b = np.zeros((m - 1) * (3 * c + 2))
    equations = (m - 1) * c
    quadratic, linear = _fidelity(data, knots)
    if not data.beta:
        blocks.insert(0, [sparse.identity(m * c), None, None, None, None])
        b, equations = np.concatenate([data.Y[knots].ravel(), b]), equations + m * c
    others = 2 * (m - 1) * (c + 1)
    P = sparse.block_diag([quadratic, sparse.csc_matrix((others, others))], format="csc")
    q = np.concatenate([linear, np.zeros(2 * (m - 1) * c), np.full(2 * (m - 1), data.beta or 1.0)])
    A = sparse.bmat(blocks, format="csc")
    cones = [clarabel.ZeroConeT(equations)] + [clarabel.SecondOrderConeT(c + 1)] * (2 * (m - 1))
    settings = clarabel.DefaultSettings()
    settings.verbose, settings.max_threads = False, 1
    for accuracy in ACCURACY:
        settings.tol_gap_abs = settings.tol_gap_rel = settings.tol_feas = accuracy
        solution = clarabel.DefaultSolver(P, q, A, b, cones, settings).solve()
        if solution.status == clarabel.SolverStatus.Solved:
            break
    x, z = np.array(solution.x), np.array(solution.z)
    f, right = x[: m * c].reshape(m, c), x[m * c : (2 * m - 1) * c].reshape(m - 1, c)
    p, G = np.zeros((m, c)), np.zeros((m, c))
    p[:-1] = np.diff(right, axis=0, prepend=0.0)
    G[:-1] = -z[equations : equations + (m - 1) * (c + 1)].reshape(m - 1, c + 1)[:, 1:]
    return (f if data.beta else data.Y), p, G


def _fidelity(data: Vectors, knots: Array) -> tuple[Any, Array]:
    """1/2 f^T P f + q^T f, the squared loss of the knot values; nothing for interpolation."""
    m, c = knots.size, data.Y.shape[1]
    if not data.beta:
        return sparse.csc_matrix((m * c, m * c)), np.zeros(m * c)
    rows = Rows.of(knots, data.x)
    upper = sparse.kron(sparse.diags(rows.gram(data.w), [0, 1]), sparse.identity(c))
    return upper, -np.column_stack([rows.adjoint(data.w * y) for y in data.Y.T]).ravel()
