"""The dual point is free: any lam with g(lam) <= beta proves a bound, not only the network's own.

At the optimum g(lam) = beta, attained by every neuron, and nearly attained far around them: where that plateau is wide,
a search for the gauge of lam does not end. The training problem over relaxed neurons (`gauge.relaxed`) has a dual point
whose relaxed gauge is at most beta: a bound at once, and a direction. Between the two, lam_t = (1 - t) lam + t relaxed, the plateau
is gone and the search is short; the price is D(lam) - D(lam_t), which is small for small t.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from extremal.certificate import DualBound
from extremal.design import Array
from extremal.gauge import bounds_of
from extremal.gauge.bounds import GaugeBounds, GaugeStatus
from extremal.gauge.relaxed import relaxed_maximisers
from extremal.gauge.sides import Side
from extremal.gauge.tree import node_work
from extremal.problem import Problem
from extremal.training.amplitudes import fit_columns
from extremal.training.atoms import Atoms

#: Cutting planes at most, the relative progress of the bound below which they end, and the share of the new multiplier in the next.
CUTS, PROGRESS, MIX = 40, 1e-3, 0.7

#: Relaxed neurons that are kept although they carry nothing.
IDLE_COLUMNS = 60

#: Each point aims at this share of the gap that is known, and the last one is abandoned when it is so close to lam.
AIM, CLOSEST = 0.4, 1e-4

#: Multiplications in a second of an interior-point method.
WORK_PER_SECOND = 2e9


def relaxed_dual(problem: Problem, atoms: Atoms, *, deadline: float) -> tuple[Array, DualBound]:
    """(lam, bound): the dual solution of training over relaxed neurons, and the best bound met on the way.

    Column generation, as in training, with relaxed neurons instead of neurons: the amplitudes of all columns are
    fitted, and the relaxed gauge of the new lam adds one column for each sign. The network's own neurons are the start.
    """
    design, beta = problem.design, problem.beta
    Z = np.maximum(design.forward(atoms.U), 0)
    V, r, b = atoms.V, atoms.r, atoms.intercept
    best, centre = DualBound.trivial(problem), None
    for _ in range(CUTS):
        r, b = fit_columns(problem, Z, V, r, b, tol=1e-8, exact=True)
        lam = dual_of(problem, (Z * r) @ V + b)
        centre = lam if centre is None else MIX * lam + (1 - MIX) * centre
        upper, new = relaxed_maximisers(design, centre[:, 0])
        before = best.value
        found = DualBound.at(problem, centre, relaxed_bounds(design.d, upper))
        if found.value > best.value:
            best = found
        centre = found.lam if found.value >= best.value else centre
        if upper <= beta * (1 + PROGRESS) and best.value - before <= PROGRESS * abs(best.value):
            break
        if time.monotonic() > deadline:
            break
        Z, V = np.hstack([Z, new]), np.vstack([V, [[1.0]], [[-1.0]]])
        r = np.concatenate([r, np.zeros(2)])
        kept = (r > 0) | (np.arange(r.size) >= r.size - IDLE_COLUMNS)
        Z, V, r = Z[:, kept], V[kept], r[kept]
    return best.lam, best


def dual_of(problem: Problem, outputs: Array) -> Array:
    lam = problem.loss.dual(outputs)
    return problem.loss.centred(lam) if problem.intercept else lam


def relaxed_bounds(d: int, upper: float) -> GaugeBounds:
    return GaugeBounds(0.0, upper, np.zeros(d), GaugeStatus.RELAXATION, "relaxed neurons")


def nearby_bound(
    problem: Problem,
    atoms: Atoms,
    lam: Array,
    bound: DualBound,
    *,
    tol: float,
    deadline: float,
    rng: np.random.Generator,
    max_nodes: int | None = None,
    n_jobs: int = 1,
    report: Callable[[DualBound], None] | None = None,
) -> DualBound:
    """The best bound from dual points between the network's lam and that of the relaxation, for one output.

    The first point is chosen so that its own D leaves AIM of the known gap; where the search for its gauge ends, the next
    one is closer to lam, and so on until the deadline.
    """
    value = atoms.value(problem)
    if not can_be_relaxed(problem, deadline):
        return bound
    far, found = relaxed_dual(problem, atoms, deadline=time.monotonic() + 0.3 * (deadline - time.monotonic()))
    best = bound.better(found)
    while time.monotonic() < deadline and value - best.value > tol * value:
        share = share_for(problem, lam, far, value - AIM * (value - best.value))
        if share < CLOSEST:
            break
        point = (1 - share) * lam + share * far
        gauge = bounds_of(
            problem.design, point, near=atoms.U, tol=0.1 * tol, deadline=deadline, rng=rng, max_nodes=max_nodes,
            n_jobs=n_jobs,
        )  # fmt: skip
        new = DualBound.at(problem, point, gauge)
        gained = new.value - best.value > 0.1 * (value - best.value)
        best = best.better(new)
        if report is not None:
            report(best)
        if gauge.status is GaugeStatus.INTERRUPTED:
            raise KeyboardInterrupt
        if gauge.status is not GaugeStatus.EXACT or not gained:
            break
    return best


def can_be_relaxed(problem: Problem, deadline: float) -> bool:
    """Whether the relaxation applies, and a few of its solutions can be afforded."""
    design = problem.design
    if problem.loss.shape[1] > 1 or design.d < 2:
        return False
    side = Side(np.empty((design.n, design.d)), np.empty(design.n), np.empty(design.d))
    return 20 * node_work(side) < WORK_PER_SECOND * (deadline - time.monotonic())


def share_for(problem: Problem, lam: Array, far: Array, target: float) -> float:
    """The largest share t of `far` with D((1 - t) lam + t far) >= target, by bisection: D is concave along the way."""

    def reaches(t: float) -> bool:
        return problem.loss.dual_value((1 - t) * lam + t * far) >= target

    if reaches(1.0):
        return 1.0
    low, high = 0.0, 1.0
    while high - low > 1e-3 * high and high > 0.1 * CLOSEST:
        middle = 0.5 * (low + high)
        low, high = (middle, high) if reaches(middle) else (low, middle)
    return low
