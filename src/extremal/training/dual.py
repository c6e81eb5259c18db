"""The dual point is free: any lam with g(lam) <= beta proves a bound, not only the network's own.

At the optimum g(lam) = beta, attained by every neuron and nearly attained far around them, and where that plateau is
wide a search for the gauge of lam does not end. The training problem over relaxed neurons (`gauge.relaxed`) has a dual
point whose relaxed gauge is at most beta: a bound at once, and a direction. Between the two, on lam_t = (1 - t) lam + t
relaxed, the plateau is gone and the search is short; the price is D(lam) - D(lam_t), which is small for small t.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from extremal.certificate import DualBound, relative_gap
from extremal.design import Array
from extremal.gauge import bounds_of
from extremal.gauge.bounds import GaugeBounds, GaugeStatus
from extremal.gauge.relaxed import relaxed_maximisers
from extremal.gauge.search import CONE_RANK, Unfinished, largest_sum
from extremal.gauge.tree import node_work
from extremal.problem import Problem
from extremal.training.amplitudes import fit_columns
from extremal.training.atoms import Atoms

#: Cutting planes at most, the relative progress of the bound below which they end, and the share of the new
#: multiplier in the next.
CUTS, PROGRESS, MIX = 40, 1e-3, 0.7

#: Relaxed neurons that are kept although they carry nothing.
IDLE_COLUMNS = 60

#: The share of the time for lam itself before other points are tried; the points that are compared; and how much nearer
#: the next one is when a search has ended.
FIRST_SHARE, SHARES, NEARER = 0.25, np.array([0.01, 0.03, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0]), 0.3

#: The relative accuracy of the relaxations that are compared.
ROUGH = 0.01

#: What a search of lam would leave of the root's excess where there was none: the gauge is known, the gap is open.
UNKNOWN_EXCESS = 0.5

#: The method of a bound on the way, before a search names its own.
METHOD = "relaxed neurons"

#: The first share in low rank, where the search cannot be continued.
LOW_RANK_SHARE = 0.6

#: Seconds between two reports of a falling bound.
TOLD_EVERY = 0.5

#: Multiplications in a second, and nodes that must be affordable for it to make sense: the relaxed optimum takes about
#: twenty.
WORK_PER_SECOND, FEW_NODES = 2e9, 40


def relaxed_dual(
    problem: Problem, atoms: Atoms, *, deadline: float, report: Callable[[DualBound], None] | None = None
) -> tuple[Array, DualBound]:
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
        found = DualBound.at(problem, centre, bounds_at(problem, atoms, centre, upper, GaugeStatus.RELAXATION))
        if found.value > best.value:
            best = found
            if report is not None:
                report(best)
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


def bounds_at(problem: Problem, atoms: Atoms, lam: Array, upper: float, status: GaugeStatus) -> GaugeBounds:
    """A known upper bound of the gauge of lam, and the best of the network's neurons below it."""
    if not atoms.width:
        return GaugeBounds(0.0, upper, np.eye(problem.design.d)[0], status, METHOD)
    values = np.linalg.norm(np.maximum(problem.design.forward(atoms.U), 0).T @ lam, axis=1)
    best = int(np.argmax(values))
    return GaugeBounds(min(float(values[best]), upper), upper, atoms.U[:, best], status, METHOD)


@dataclass(frozen=True, eq=False)
class Budget:
    """What a proof may use: seconds until the deadline, cones (or what costs the same) and threads."""

    tol: float
    deadline: float
    max_nodes: int | None = None
    n_jobs: int = 1

    def until(self, share: float) -> float:
        """The time when a share of what remains is spent."""
        now = time.monotonic()
        return now + share * max(self.deadline - now, 0.0)

    @property
    def is_spent(self) -> bool:
        return time.monotonic() >= self.deadline


def proven_bound(
    problem: Problem,
    atoms: Atoms,
    *,
    budget: Budget,
    rng: np.random.Generator,
    threshold: float | None = None,
    report: Callable[[DualBound], None] | None = None,
) -> tuple[DualBound, GaugeBounds]:
    """The best lower bound on the optimum within the budget, and what is known of the gauge of the network's own lam.

    The gauge of lam comes first. If its search does not end, the rest of the time goes to a point lam_t near it, and
    to nearer ones as long as their searches end; or, where no point promises more, to lam itself again. A direction in
    which |lam^T (Xu)_+| exceeds the threshold ends it all. After Ctrl-C the gauge's status is INTERRUPTED, the bound
    is valid.
    """
    proof = _Proof(problem, atoms, budget, rng, report)
    gauge = bounds_at(problem, atoms, proof.lam, largest_sum(problem.design, proof.lam), GaugeStatus.INTERRUPTED)
    try:
        gauge = proof.of_lam(threshold)
        if not proof.is_over(gauge, threshold):
            gauge = proof.go_on(gauge)
    except KeyboardInterrupt:
        gauge = replace(gauge, status=GaugeStatus.INTERRUPTED)
    return proof.best, gauge


class _Proof:
    """The best bound so far, and what it takes to improve it."""

    def __init__(
        self,
        problem: Problem,
        atoms: Atoms,
        budget: Budget,
        rng: np.random.Generator,
        report: Callable[[DualBound], None] | None,
    ) -> None:
        self.problem, self.atoms, self.budget, self.rng, self.report = problem, atoms, budget, rng, report
        self.lam = dual_of(problem, atoms.outputs(problem.design))
        self.value = atoms.value(problem)
        self.best = DualBound.trivial(problem)
        self.unfinished: list[Unfinished] = []
        self.told = -np.inf

    def keep(self, bound: DualBound) -> None:
        self.best = self.best.better(bound)
        if self.report is not None:
            self.report(self.best)

    def is_over(self, gauge: GaugeBounds, threshold: float | None = None) -> bool:
        """Whether the gap is closed, the time is spent, a violator is known, or somebody lost patience."""
        violated = threshold is not None and gauge.lower > threshold
        closed = relative_gap(self.value, self.best.value) <= self.budget.tol
        return closed or violated or self.budget.is_spent or gauge.status is GaugeStatus.INTERRUPTED

    def bounds(self, lam: Array, deadline: float, **options: Any) -> GaugeBounds:
        """What can be found out about the gauge of lam; the bound that it proves is kept."""
        found = bounds_of(
            self.problem.design,
            lam,
            near=self.atoms.U,
            tol=0.1 * self.budget.tol,
            deadline=deadline,
            rng=self.rng,
            max_nodes=self.budget.max_nodes,
            n_jobs=self.budget.n_jobs,
            report=self.watch(lam),
            **options,
        )
        self.keep(DualBound.at(self.problem, lam, found))
        return found

    def watch(self, lam: Array) -> Callable[[float], None] | None:
        """Tells what falling upper bounds of the gauge prove, now and then."""
        if self.report is None:
            return None

        def tell(upper: float) -> None:
            if time.monotonic() > self.told + TOLD_EVERY:
                self.told = time.monotonic()
                known = bounds_at(self.problem, self.atoms, lam, upper, GaugeStatus.TIME_LIMIT)
                self.keep(DualBound.at(self.problem, lam, known))

        return tell

    def of_lam(self, threshold: float | None) -> GaugeBounds:
        """The gauge of the network's own lam, for a first share of the time if something can follow it."""
        share = 1.0
        if self.budget.max_nodes is None and can_be_relaxed(self.problem, self.budget.deadline):
            share = FIRST_SHARE if self.problem.design.d > CONE_RANK else LOW_RANK_SHARE
        return self.bounds(self.lam, self.budget.until(share), threshold=threshold, unfinished=self.unfinished)

    def go_on(self, gauge: GaugeBounds) -> GaugeBounds:
        """Nearby points, then the search of lam again; the gauge of lam as it is known then."""
        left = self.unfinished[0] if self.unfinished else None
        if can_be_relaxed(self.problem, self.budget.deadline):
            self.try_nearby(gauge, left.excess if left is not None else UNKNOWN_EXCESS)
        if left is None or self.is_over(gauge):
            return gauge
        return self.resumed(left, gauge)

    def try_nearby(self, gauge: GaugeBounds, excess: float) -> None:
        """Points between lam and the relaxed optimum, nearer and nearer to lam as long as their searches end."""
        problem, budget, limit = self.problem, self.budget, 1.0
        share_of_time = 0.2 if budget.max_nodes is None else 1.0
        far, _ = relaxed_dual(problem, self.atoms, deadline=budget.until(share_of_time), report=self.keep)
        while not self.is_over(gauge) and can_be_relaxed(problem, budget.deadline):
            share = best_share(problem, self.atoms, self.lam, far, excess, limit)
            if share == 0.0:
                return
            nearby = self.bounds((1 - share) * self.lam + share * far, budget.deadline)
            if nearby.status is GaugeStatus.INTERRUPTED:
                raise KeyboardInterrupt
            if nearby.status is not GaugeStatus.EXACT:
                return
            limit = NEARER * share

    def resumed(self, left: Unfinished, known: GaugeBounds) -> GaugeBounds:
        """The search of the network's own lam, continued."""
        most = np.inf if self.budget.max_nodes is None else left.search.nodes
        gauge = left.resumed(
            self.problem.design,
            self.lam,
            known,
            tol=0.1 * self.budget.tol,
            deadline=self.budget.deadline,
            max_nodes=most,
            n_jobs=self.budget.n_jobs,
            report=self.watch(self.lam),
        )
        self.keep(DualBound.at(self.problem, self.lam, gauge))
        return gauge


def best_share(problem: Problem, atoms: Atoms, lam: Array, far: Array, excess: float, limit: float) -> float:
    """The t <= limit for which a search of lam_t as long as that of lam promises most; 0 if lam itself does.

    At every point of the way the relaxation at the root bounds the gauge, and the neurons bound it from below; a
    search as long is expected to leave the same share `excess` of what is between them.
    """
    hidden = np.maximum(problem.design.forward(atoms.U), 0)
    shares = np.concatenate([[0.0], limit * SHARES])

    def promised(t: float) -> float:
        point = (1 - t) * lam + t * far
        lower = float(np.abs(point.T @ hidden).max(initial=0.0))
        upper = relaxed_maximisers(problem.design, point[:, 0], accuracy=ROUGH)[0]
        return problem.dual_point(point, lower + excess * max(upper - lower, 0.0))[1]

    values = np.array([promised(t) for t in shares])
    best = int(np.argmax(values))
    return float(shares[best])


def can_be_relaxed(problem: Problem, deadline: float) -> bool:
    """Whether the relaxation applies, and a few of its solutions can be afforded."""
    design = problem.design
    if problem.loss.shape[1] > 1 or design.d < 2:
        return False
    return FEW_NODES * node_work(design.n, design.d) < WORK_PER_SECOND * (deadline - time.monotonic())
