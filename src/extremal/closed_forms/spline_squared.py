"""min 1/2 sum_i w_i (f(x_i) - y_i)^2 + beta cost(f), exactly, by its kinks.

For given kinks and signs the optimum is a linear spline by least squares, a tridiagonal system in its knot values.
Kinks of the wrong sign leave; the residuals are a multiplier, and where it exceeds beta most, between any two kinks, a
kink is added. A dozen rounds of that are nearly always enough, whatever the number of points; where they are not, an
active-set method whose objective falls in every step takes over.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import solveh_banded

from extremal.closed_forms.spline_dual import LONG, gauge_of, moments, second_differences
from extremal.closed_forms.spline_parts import Bends, Rows, peaks
from extremal.design import Array

#: Rounds in which many kinks come and go at once, and steps of the method that takes over.
ROUNDS, STEPS = 60, 20_000
#: The multiplier exceeds beta at a new kink by this fraction.
VIOLATION = 1e-11
#: The proven gap, relative to the objective, at which the search ends.
TOL = 1e-11


@dataclass(frozen=True, eq=False)
class Squares:
    """Increasing positions x (k,) from 0 to 1 with targets y and positive weights w, all of order one."""

    x: Array
    y: Array
    w: Array
    beta: float


@dataclass(frozen=True, eq=False)
class Solution:
    """A spline by the indices of its knots (both ends, and kinks between them), with bounds that hold for it.

    Attributes
    ----------
    knots : array of shape (m,), indices
    f : array of shape (m,)
    sign : array of shape (m,)
        Those of the slope changes; 0 at the ends.
    lam : array of shape (k,)
        Dual feasible.
    primal, dual : float
    rounds : int
    """

    knots: Array
    f: Array
    sign: Array
    lam: Array
    primal: float
    dual: float
    rounds: int = 0

    @property
    def gap(self) -> float:
        return (self.primal - self.dual) / self.primal if self.primal > 0 else 0.0


@dataclass(frozen=True, eq=False)
class Spline:
    """The best spline for given kinks: knots (m,), their signs, values, slope changes (m - 2,), and M / 2."""

    knots: Array
    sign: Array
    f: Array
    changes: Array
    half: float

    @property
    def wrong(self) -> Array:
        """The knots whose slope changes have the wrong sign."""
        return self.knots[1:-1][self.changes * self.sign[1:-1] < 0]


def fit_squares(data: Squares) -> Solution:
    """The optimum, to a proven relative gap of `TOL` or to what double precision allows."""
    k = data.x.size
    curvature = Bends(np.diff(data.x)).forward(data.y)
    zero = 0.5 * float(data.w @ (data.y - data.w @ data.y / data.w.sum()) ** 2)
    kinks = np.zeros(k)
    if data.beta * np.abs(curvature).sum() < zero:
        kinks[1:-1] = np.sign(curvature)
    best = _in_rounds(data, kinks)
    return best if best.gap <= TOL else _step_by_step(data, best)


def _in_rounds(data: Squares, kinks: Array) -> Solution:
    """The best of some rounds from signed kinks (k,): all of the wrong sign leave, and one comes in every gap."""
    best: Solution | None = None
    seen: set[bytes] = set()
    while len(seen) < ROUNDS:
        spline = _spline(data, kinks)
        while spline.wrong.size:
            kinks[spline.wrong] = 0.0
            spline = _spline(data, kinks)
        found, G = _certified(data, spline)
        best = found if best is None or found.gap < best.gap else best
        more = peaks(G, spline.knots, VIOLATION)
        state = spline.knots.tobytes() + more.tobytes()
        if best.gap <= TOL or not more.size or state in seen:
            break
        seen.add(state)
        kinks[more] = np.sign(G[more])
    assert best is not None
    return replace(best, rounds=len(seen) + 1)


def _step_by_step(data: Squares, start: Solution) -> Solution:
    """The active-set method: kinks come, one in every gap or only the most wanted, and leave where they reach zero.

    On the way to the best spline for a set of signed kinks the objective falls; where one of them reaches zero, it
    leaves and the way is a new one. No set comes twice, and so the method ends.
    """
    kinks = np.zeros(data.x.size)
    kinks[start.knots] = start.sign
    spline, best, careful = _spline(data, kinks), start, False
    steps = 0
    while steps < STEPS:
        steps += 1
        found, G = _certified(data, spline)
        best = found if found.gap < best.gap else best
        more = peaks(G, spline.knots, VIOLATION)
        if best.gap <= TOL or not more.size:
            break
        if careful:
            more = more[[np.argmax(np.abs(G[more]))]]
        kinks = np.zeros(data.x.size)
        kinks[spline.knots], kinks[more] = spline.sign, np.sign(G[more])
        after = _descend(data, spline, kinks)
        stuck = np.array_equal(after.knots, spline.knots)
        if stuck and careful:
            break
        spline, careful = after, stuck
    return replace(best, rounds=start.rounds + steps)


def _descend(data: Squares, spline: Spline, kinks: Array) -> Spline:
    """From a spline towards the best one for more signed kinks (k,), giving up those that reach zero."""
    every = np.unique(np.concatenate([spline.knots, np.flatnonzero(kinks)]))
    bends = Bends(np.diff(data.x[every]))
    f = np.interp(data.x[every], data.x[spline.knots], spline.f)
    now = bends.forward(f)
    now[~np.isin(every[1:-1], spline.knots)] = 0.0
    while True:
        aim = _spline(data, kinks)
        then = np.zeros(every.size - 2)
        then[np.isin(every[1:-1], aim.knots)] = aim.changes
        falling = (then * kinks[every[1:-1]] < 0) & (kinks[every[1:-1]] != 0)
        if not falling.any():
            return aim
        size, to = np.abs(now[falling]), np.abs(then[falling])
        share = size / (size + to)
        least = float(share.min())
        leaving = every[1:-1][falling][share <= least]
        now = now + least * (then - now)
        now[np.isin(every[1:-1], leaving)] = 0.0
        kinks[leaving] = 0.0


def _spline(data: Squares, kinks: Array) -> Spline:
    """The best spline with these signed kinks (k,)."""
    k = data.x.size
    knots = np.concatenate([[0], 1 + np.flatnonzero(kinks[1:-1]), [k - 1]])[: max(k, 1) if k > 1 else 1]
    rows = Rows.of(knots, data.x)
    H, g = rows.gram(data.w), rows.adjoint(data.w * data.y)
    if knots.size == 1:
        return Spline(knots, np.zeros(1), g / H[0], np.zeros(0), 0.0)
    bends = Bends(np.diff(data.x[knots]))
    f, half = _stationary(H, g, bends, kinks[knots[1:-1]], data.beta)
    return Spline(knots, kinks[knots], f, bends.forward(f), half)


def _stationary(H: tuple[Array, Array], g: Array, bends: Bends, sign: Array, beta: float) -> tuple[Array, float]:
    """Knot values that minimise 1/2 f^T H f - g^T f + beta max(TV, (TV + |e . f|) / 2), TV = sign . D f, and M / 2.

    M = 0 if |e . f| <= TV there; else |e . f| = TV, unless the multiplier |M| of that exceeds beta.
    """
    u, e = bends.adjoint(sign), bends.outer
    bands = np.zeros((2, g.size))
    bands[1], bands[0, 1:] = H
    f, by_u, by_e = solveh_banded(bands, np.column_stack([g, u, e])).T
    f = f - beta * by_u
    ends = float(e @ f)
    if abs(ends) <= float(u @ f):
        return f, 0.0
    side = np.sign(ends)
    direction, tilt = by_u - side * by_e, u - side * e
    half = min(-float(tilt @ f) / float(tilt @ direction), 0.5 * beta)
    return f + half * direction, float(side * half)


def _certified(data: Squares, spline: Spline) -> tuple[Solution, Array]:
    """The spline with bounds, and G - M / 2 over its bound, shape (k,).

    Away from the knots lam are the residuals; at the knots they are what makes G there exactly what it has to be, so
    that no digits are lost where the spline nearly interpolates.
    """
    knots, f, half = spline.knots, spline.f, spline.half
    rows = Rows.of(knots, data.x, LONG)
    misfit = data.y - rows.forward(f.astype(LONG))
    lam, cost = data.w * misfit, 0.0
    if knots.size > 1:
        bends = Bends(np.diff(data.x[knots]))
        ends, variation = float(bends.outer @ f), float(np.abs(spline.changes).sum())
        cost = max(variation, 0.5 * (variation + abs(ends)))
        G_at = ((data.beta - abs(half)) * spline.sign + half).astype(LONG)
        G_at[0], G_at[-1] = 2 * half, 0.0
        lam[knots] += second_differences(data.x[knots].astype(LONG), G_at[:, None])[:, 0] - rows.adjoint(lam)
    else:
        lam -= data.w * (lam.sum() / data.w.sum())
    primal = float(0.5 * (data.w @ misfit**2)) + data.beta * cost
    G = moments(data.x, lam[:, None])
    gauge = gauge_of(G)
    scale = min(1.0, data.beta / gauge) if gauge > 0 else 1.0
    dual = float(scale * (lam @ data.y - 0.5 * scale * (lam * lam / data.w).sum()))
    centred = (G[:, 0] - 0.5 * G[0]) / (data.beta - 0.5 * abs(G[0]))
    return Solution(knots, f, spline.sign, scale * lam, primal, dual), centred.astype(float)
