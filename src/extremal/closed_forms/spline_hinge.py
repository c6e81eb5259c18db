"""min sum_i w_i (1 - y_i f(x_i))_+ + beta cost(f): an interior-point method over few knots, more where they lack."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from extremal.closed_forms.spline_dual import gauge_of, moments
from extremal.closed_forms.spline_parts import Bends, Rows, peaks
from extremal.closed_forms.spline_program import Program, solve
from extremal.design import Array

#: Knots at first, and rounds at most.
KNOTS, ROUNDS = 65, 80
#: Rounds with the last accuracy that do not halve the gap, before double precision is held responsible.
PATIENCE = 3
#: The multiplier exceeds beta at a new knot by this fraction, and the proven gap at which the search ends.
VIOLATION, TOL = 1e-9, 1e-10
#: Where the program stops while the gap is large, as a fraction of it, and in the end.
LOOSE, TIGHT = 1e-4, 1e-12


@dataclass(frozen=True, eq=False)
class Margins:
    """Samples with increasing positions x (n,) from 0 to 1 (once for each label), labels y, and weights w."""

    x: Array
    y: Array
    w: Array
    beta: float


@dataclass(frozen=True, eq=False)
class MarginSolution:
    """A spline by its knots and values there (m,), a dual-feasible lam (n,), and bounds that hold for them."""

    knots: Array
    f: Array
    lam: Array
    primal: float
    dual: float
    rounds: int = 0

    @property
    def gap(self) -> float:
        return (self.primal - self.dual) / self.primal if self.primal > 0 else 0.0


def fit_margins(data: Margins) -> MarginSolution:
    """The optimum, to a proven relative gap of `TOL` or to what double precision allows."""
    where, first = np.unique(data.x, return_index=True)
    zero = float(min(data.w[data.y > 0].sum(), data.w[data.y < 0].sum()))
    label = 1.0 if data.w[data.y > 0].sum() >= data.w[data.y < 0].sum() else -1.0
    best = MarginSolution(where[:1], np.array([label]), np.zeros(data.x.size), 2 * zero, 0.0)
    if where.size == 1 or zero == 0:
        balanced = _balanced(data, data.w * data.y)
        return replace(best, lam=balanced, dual=float(balanced @ data.y))
    at = np.unique(np.linspace(0, where.size - 1, min(where.size, KNOTS)).astype(int))
    f, tight, idle, before = np.zeros(at.size), False, 0, np.inf
    for count in range(1, ROUNDS + 1):
        program = _program(data, where[at], first[at])
        inside = solve(program, f, scale=best.primal, tol=TIGHT if tight else max(LOOSE * best.gap, TIGHT))
        lam, dual, G = _dual(data, where, first, -inside.multiplier)
        splines = [_primal(data, where[at], inside.f), _primal(data, *_cleaned(where[at], inside.f, inside.kink))]
        found = [spline for spline in splines if spline.primal <= splines[0].primal * (1 + TOL / 10)][-1]
        if found.primal < best.primal or dual > best.dual:
            spline = found if found.primal <= best.primal * (1 + TOL / 10) else best
            proof = (lam, dual) if dual > best.dual else (best.lam, best.dual)
            best = replace(spline, lam=proof[0], dual=proof[1], rounds=count)
        more = peaks(G, at, VIOLATION)
        idle = idle + 1 if tight and best.gap > 0.5 * before else 0
        before = best.gap
        if best.gap <= TOL or (tight and not more.size) or idle > PATIENCE:
            break
        tight = not more.size or best.gap < 1e-6
        wider = np.union1d(at, more)
        f = np.interp(where[wider], where[at], inside.f)
        at = wider
    return best


def _program(data: Margins, knots: Array, start: Array) -> Program:
    rows = Rows.of(start, data.x)
    lower, upper = np.where(data.y > 0, -data.w, 0.0), np.where(data.y > 0, 0.0, data.w)
    return Program(Bends(np.diff(knots)), data.beta, rows, data.y, lower, upper)


def _cleaned(knots: Array, f: Array, kink: Array) -> tuple[Array, Array]:
    """The spline without the slope changes that are traces of an interior point."""
    keep = np.concatenate([[True], kink != 0, [True]])
    return knots[keep], f[keep]


def _primal(data: Margins, knots: Array, f: Array) -> MarginSolution:
    bends = Bends(np.diff(knots))
    variation, ends = float(np.abs(bends.forward(f)).sum()), abs(float(bends.outer @ f))
    short = np.maximum(1 - data.y * np.interp(data.x, knots, f), 0)
    primal = float(data.w @ short) + data.beta * max(variation, 0.5 * (variation + ends))
    return MarginSolution(knots, f, np.zeros(0), primal, 0.0)


def _balanced(data: Margins, lam: Array) -> Array:
    """lam in its box, with the heavier label shrunk until the sum vanishes."""
    size = np.clip(data.y * lam, 0.0, data.w)
    up, down = size[data.y > 0].sum(), size[data.y < 0].sum()
    total = min(up, down)
    return np.where(data.y > 0, size * (total / up if up else 0.0), -size * (total / down if down else 0.0))


def _dual(data: Margins, where: Array, first: Array, lam: Array) -> tuple[Array, float, Array]:
    """A dual-feasible multiplier near lam, its value, and G - M / 2 over its bound at the positions."""
    lam = _balanced(data, lam)
    G = moments(where, np.add.reduceat(lam, first)[:, None])
    gauge = gauge_of(G)
    scale = min(1.0, data.beta / gauge) if gauge > 0 else 1.0
    centred = (G[:, 0] - 0.5 * G[0]) / (data.beta - 0.5 * min(abs(float(G[0, 0])), data.beta))
    return scale * lam, scale * float(lam @ data.y), centred.astype(float)
