"""Column generation over all activation patterns: explore, refine, prove, and hand every violator back."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from extremal.certificate import DualBound, Status, relative_gap
from extremal.design import Array
from extremal.gauge import GaugeStatus
from extremal.gauge.ascent import Candidates, ascend, distinct, random_starts
from extremal.gauge.outputs import MANY_OUTPUTS
from extremal.problem import Problem
from extremal.training.amplitudes import fit_amplitudes
from extremal.training.atoms import Atoms
from extremal.training.dual import Budget, proven_bound
from extremal.training.newton import (
    MOST_DAMPING,
    evaluate,
    minimise_smoothed,
    predict,
    refit,
    residual,
    smooth,
    step_work,
)
from extremal.training.wide import local_descent, wide_start

#: A fresh start is a violator if its gauge exceeds beta by this fraction.
VIOLATION = 1e-7
#: The smoothing parameters of a cycle, and the relative gain below which a level is left for the next.
LEVELS = (1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-9)
PAYS = 1e-3
#: Rounds of pricing at one level.
LEVEL_ROUNDS = 5
#: Changes of the objective below this fraction are not seen.
ROUNDING = 1e-13
#: A cycle that gains less than this fraction ends the search by default where the gap cannot be closed.
UNPROVABLE_GAIN = 1e-5
#: Without a time limit a search of the proof may split so many cones for each sign, or as many signs as cost the same,
#: and the proof may take so many seconds at the least.
PROOF_NODES, LONGEST_PROOF = 150_000, 30.0
#: Newton steps from a fine level to the ties and from the coarsest one, roughly; multiplications in a second of one.
STEPS_DOWN, PATH_STEPS, WORK_PER_SECOND = 20, 60, 4e10
#: Up to this rank a search closes the gap on most data; beyond, the tree of signs may or may not.
LOW_RANK = 6
#: A round of exploration that gains less than this fraction ends it, if there is time for Newton's method.
EXPLORED = 5e-4
#: A violation below this fraction of beta needs its neuron added, not a new search.
SLIGHT = 1e-4
#: Cycles in a row without gain, though violators are known, before those are left alone; and by default where the gap
#: cannot be closed.
MOST_IDLE, UNPROVABLE_IDLE = 3, 1
#: Rounds of proof and refinement that gain nothing before the violators they found are left as they are.
PATIENCE = 5
#: New neurons are added down to this delta only: closer to the ties they would have to cross too many kinks.
FINEST_PRICED = 1e-4
#: A residual above this fraction of beta means that the path was lost; a decade of delta is halved so often then.
LOST, HALVINGS = 1e-3, 3
#: A step that needs more damping than this is better replaced by two shorter ones.
SHORT_CUT = 10.0
#: Newton's method is used while its factorisations stay below this order and its Jacobian below this many numbers.
LARGEST_FACTOR = 4000
LARGEST_JACOBIAN = 40_000_000


@dataclass(eq=False)
class Run:
    """One training run on a problem in normal form: the best network, the best proven bound, and the clock."""

    problem: Problem
    tol: float
    time_limit: float | None
    rng: np.random.Generator
    report: Callable[[float, float, float, int, str], None]
    best: Atoms
    bound: DualBound
    value: float = np.inf
    violation: float = -1.0
    witness: Array = field(default_factory=lambda: np.zeros(0))
    proof: bool = True
    n_jobs: int = 1
    settled: bool = False
    step_seconds: float = 0.0
    last_step: float = field(default_factory=time.monotonic)
    started: float = field(default_factory=time.monotonic)

    def elapsed(self) -> float:
        return time.monotonic() - self.started

    def out_of_time(self, share: float = 1.0) -> bool:
        """Whether this share of the time limit is used up."""
        return self.time_limit is not None and self.elapsed() >= share * self.time_limit

    def keep(self, atoms: Atoms, phase: str, *, settled: bool = False) -> None:
        """Remember the network if it is the best so far, and whether its ties are settled."""
        value = atoms.value(self.problem)
        if value < self.value or (settled and value <= self.value * (1 + ROUNDING)):
            self.best, self.value, self.settled = atoms, value, settled
        self.tell(phase)

    def tell(self, phase: str) -> None:
        self.report(self.elapsed(), self.value, self.bound.value, self.best.width, phase)

    @property
    def bounds_are_exact(self) -> bool:
        """Whether a search closes the gap on most data: low rank, and not too many outputs."""
        return self.problem.design.d <= LOW_RANK and self.problem.loss.shape[1] <= MANY_OUTPUTS

    @property
    def search_share(self) -> float:
        """The share of the time limit after which the search gives way to the proof."""
        return 0.6 if self.bounds_are_exact else 0.7

    @property
    def least_gain(self) -> float:
        """The relative gain of a cycle below which the network counts as converged.

        In high rank the gap that remains may be larger by orders of magnitude; by default the last digits are left
        alone there, unless the proof asks for them with a violator. A time limit asks for them.
        """
        return self.tol if self.bounds_are_exact or self.time_limit is not None else max(self.tol, UNPROVABLE_GAIN)

    @property
    def least_violation(self) -> float:
        """The fraction by which the gauge may exceed beta: the gap that it leaves is within the tolerance."""
        return 0.1 * self.tol

    @property
    def most_cycles(self) -> int:
        """Cycles of one refinement; without a time limit it should end in reasonable time, far from the gap."""
        return 50 if self.bounds_are_exact or self.time_limit is not None else 8

    @property
    def search_deadline(self) -> float | None:
        """The time of time.monotonic() when the search gives way to the proof."""
        return None if self.time_limit is None else self.started + self.search_share * self.time_limit

    @property
    def most_idle(self) -> int:
        """Cycles in a row that may gain next to nothing: each looks harder than the last, at a multiple of its cost."""
        return MOST_IDLE if self.time_limit is not None else UNPROVABLE_IDLE

    def search_is_over(self) -> bool:
        """Whether it is time to end the search and follow the path down, which takes about STEPS_DOWN Newton steps."""
        reserve = STEPS_DOWN * self.step_seconds
        return self.time_limit is not None and self.elapsed() + reserve >= self.search_share * self.time_limit

    def has_time_for(self, steps: int, share: float | None = None) -> bool:
        """Whether so many Newton steps fit into what is left of the search (or of a share of the time limit)."""
        if self.time_limit is None or not newton_fits(self.problem, self.best):
            return True
        seconds = steps * step_work(self.problem, self.best) / WORK_PER_SECOND
        return self.elapsed() + seconds < (share or self.search_share) * self.time_limit

    def next_step_is_late(self) -> bool:
        """Asked before every Newton step: whether time is up. Keeps the time between two askings on the way."""
        now = time.monotonic()
        since = now - self.last_step
        self.step_seconds = since if self.step_seconds == 0 else min(2 * self.step_seconds, since)
        self.last_step = now
        return self.out_of_time(0.95)

    @property
    def gap(self) -> float:
        return relative_gap(self.value, self.bound.value)


def train(run: Run, start: Atoms | None) -> Status:
    """The main loop. Leaves the best network and bound in `run`, and says how it ended."""
    if start is None and zero_is_optimal(run):
        return Status.OPTIMAL
    explore(run, start)
    idle, converged, search_again = 0, False, True
    while True:
        before = run.value
        if search_again:
            converged = refine(run)
        settle_ties(run)
        if not run.proof:
            return Status.CONVERGED if converged else Status.TIME_LIMIT
        if prove(run, stop_at_violators=True):
            return Status.OPTIMAL
        idle = idle + 1 if before - run.value < 0.1 * run.tol * run.value else 0
        if run.violation <= run.least_violation or idle == PATIENCE or run.search_is_over():
            break
        search_again = run.violation > SLIGHT
        add_witness(run)
    if run.violation > run.least_violation and prove(run, stop_at_violators=False):
        return Status.OPTIMAL
    return Status.CONVERGED if converged else Status.TIME_LIMIT


def zero_is_optimal(run: Run) -> bool:
    """beta >= beta_max: the network without neurons is optimal, and nothing else needs to be done."""
    problem = run.problem
    zero = Atoms.from_network(problem.zero_network)
    run.keep(zero, "start")
    lam = zero.multiplier(problem)
    U = random_starts(problem.design, 64, run.rng)
    probe = ascend(problem.design, lam, U, rounds=10, rng=run.rng, deadline=run.search_deadline)
    if probe.value.size and probe.value[0] > problem.beta * (1 + 1e-12):
        return False
    return prove(run, stop_at_violators=True)


def explore(run: Run, start: Atoms | None, *, rounds: int = 60) -> None:
    """Cheap rounds while they pay: price, size the new neurons, descend in single precision, merge."""
    problem = run.problem
    if start is None:
        atoms = wide_start(problem, run.rng, width=start_width(problem), stop=run.search_is_over)
    else:
        atoms = start
    atoms = tidy(problem, atoms, exact=True)
    run.keep(atoms, "start")
    for _ in range(rounds):
        if run.search_is_over():
            return
        before = run.value
        atoms = join(problem, atoms, price(run, atoms))
        run.keep(atoms, "explore")
        if run.search_is_over() or (run.out_of_time(0.5) and run.has_time_for(PATH_STEPS)):
            break
        atoms = tidy(problem, local_descent(problem, atoms, iterations=60, stop=run.search_is_over), exact=True)
        run.keep(atoms, "explore")
        # what a Newton path would gain in no time is left to it
        if before - run.value < EXPLORED * run.value and run.has_time_for(PATH_STEPS):
            break
    # no more neurons than the rank of their fits: everything that follows costs by the neuron
    run.keep(tidy(problem, run.best, exact=True), "explore")


def refine(run: Run) -> bool:
    """Price, follow the smoothing down to the ties, and again, until nothing is gained; False if time ran out first."""
    start, gained, idle = LEVELS[0], 1.0, 0
    for _ in range(run.most_cycles):
        if run.search_is_over() or not run.has_time_for(STEPS_DOWN):
            return False
        before = run.value
        violators = price(run, run.best, effort=4**idle)
        atoms = join(run.problem, run.best, violators, exact=True)
        run.keep(atoms, "refine")
        if newton_fits(run.problem, atoms):
            levels = tuple(delta for delta in LEVELS if delta <= start)
            atoms = descend(run, atoms, levels, pays=min(PAYS, max(0.1 * gained, run.least_gain)))
        else:
            atoms = local_descent(run.problem, atoms, iterations=200, dtype=np.float64, stop=run.search_is_over)
        run.keep(tidy(run.problem, atoms, exact=True), "refine", settled=True)
        gained = (before - run.value) / max(run.value, 1e-300)
        if run.search_is_over():
            return False
        if gained >= run.least_gain:
            # where little was gained little has to be rearranged, and the next cycle starts closer to the ties
            start, idle = min(start, max(30 * gained, 1e-5)), 0
        elif (
            run.bounds_are_exact
            or idle == run.most_idle
            or (idle > 1 and not violators.exceed(run.problem.beta, SLIGHT))
        ):
            return True  # where bounds are exact, the proof looks for violators better than more starts do
        else:  # look harder, and step back from the ties, where new neurons are of little use
            start, idle = min(LEVELS[0], 100 * start), idle + 1
    return True


def descend(run: Run, atoms: Atoms, levels: tuple[float, ...], pays: float) -> Atoms:
    """Minimise the smoothed objective for each delta; at the coarse ones, add violators while that pays.

    When the search runs out of time the path is still followed to its end, where the ties are exact.
    """
    problem = run.problem
    for i, delta in enumerate(levels):
        coarser = atoms
        atoms = follow(run, atoms, levels[i - 1], delta) if i else corrected(run, atoms, delta)
        if delta >= FINEST_PRICED:
            atoms = grow(run, atoms, delta, pays)
        run.keep(atoms, "refine")
        if run.out_of_time(0.95) or not atoms.width:
            return atoms
    if residual(problem, evaluate(problem, atoms, levels[-1])) > 1e-6 * problem.beta:
        return coarser  # rounding can hide the last level from a neuron of small amplitude
    return atoms


def corrected(run: Run, atoms: Atoms, delta: float, *, most_damping: float = MOST_DAMPING) -> Atoms:
    """Newton steps at one level of smoothing, while there is time."""
    return minimise_smoothed(run.problem, atoms, delta, steps=10, most_damping=most_damping, stop=run.next_step_is_late)


def follow(run: Run, atoms: Atoms, delta: float, smaller: float, halvings: int = HALVINGS) -> Atoms:
    """Along the path from delta to a smaller one; by way of their geometric mean where the path bends too much.

    Shorter steps keep to the path, but do not lead back to it.
    """
    bisect = halvings > 0 and smaller < FINEST_PRICED and is_on_path(run, atoms, delta)
    predicted = predict(run.problem, atoms, delta, smaller)
    moved = corrected(run, predicted, smaller, most_damping=SHORT_CUT if bisect else MOST_DAMPING)
    if not bisect or is_on_path(run, moved, smaller) or run.out_of_time(0.95):
        return moved
    middle = float(np.sqrt(delta * smaller))
    return follow(run, follow(run, atoms, delta, middle, halvings - 1), middle, smaller, halvings - 1)


def is_on_path(run: Run, atoms: Atoms, delta: float) -> bool:
    """Whether the network is near a minimiser of the smoothed objective."""
    return residual(run.problem, evaluate(run.problem, atoms, delta)) <= LOST * run.problem.beta


def grow(run: Run, atoms: Atoms, delta: float, pays: float) -> Atoms:
    """Add violators of the smoothed problem while that pays."""
    value = np.inf
    for _ in range(LEVEL_ROUNDS):
        run.keep(atoms, "refine")
        state = evaluate(run.problem, atoms, delta)
        if value - state.value < pays * state.value or run.search_is_over() or not atoms.width:
            break
        value = state.value
        atoms = corrected(run, add_smoothed_violators(run, atoms, delta), delta)
    return atoms


def settle_ties(run: Run) -> None:
    """The last steps down to exact ties, for a network from the middle of a cycle or with a new neuron.

    A neuron that violates the gauge slightly is a neuron of the smoothed problem only where delta is smaller still.
    """
    if not run.settled and newton_fits(run.problem, run.best) and run.has_time_for(STEPS_DOWN, share=0.95):
        if run.violation < 0 and not run.search_is_over():
            coarsest = FINEST_PRICED
        else:
            coarsest = min(1e-5, max(1e-2 * run.violation, 1e-8))
        levels = tuple(delta for delta in LEVELS if delta <= coarsest)
        run.keep(descend(run, run.best, levels, pays=1.0), "refine", settled=True)


def newton_fits(problem: Problem, atoms: Atoms) -> bool:
    """Whether Newton's method applies: factorisations of moderate size."""
    n, c = problem.loss.shape
    unknowns = atoms.width * (problem.design.d + (c if c > 1 else 0))
    return unknowns * n * c <= LARGEST_JACOBIAN and min(n * c, unknowns) <= LARGEST_FACTOR


def add_smoothed_violators(run: Run, atoms: Atoms, delta: float) -> Atoms:
    """The network with new neurons that improve the smoothed objective, amplitudes fitted."""
    problem = run.problem
    state = evaluate(problem, atoms, delta)
    lam = state.lam
    starts = pricing_starts(problem) // 2
    U = random_starts(problem.design, starts, run.rng, atoms.U)
    found = ascend(problem.design, lam, U, rounds=12, sweeps=20, rng=run.rng, deadline=run.search_deadline)
    phi = smooth(problem.design.forward(found.U), state.eps)[0]
    value = np.einsum("jk,jk->j", phi.T @ lam, found.V)
    order = np.argsort(-value)
    order = order[value[order] > problem.beta * (1 + 1e-6)]
    new = distinct(Candidates(found.U[:, order], found.V[order], value[order]), starts // 2)
    state = refit(problem, evaluate(problem, atoms.join(new.U, new.V), delta), exact=True)
    return state.take(np.flatnonzero(state.atoms.r)).atoms


def prove(run: Run, *, stop_at_violators: bool) -> bool:
    """Bound the optimum from below, starting with the gauge of the best network's lam; whether the gap is closed.

    The search may stop at the first violator: good enough for the next neuron, but the bound is then a poor one.
    """
    problem = run.problem
    if run.time_limit is None:  # counting cones instead of seconds gives the same answer on a busy machine
        remaining, max_nodes = max(LONGEST_PROOF, 2 * run.elapsed()), PROOF_NODES
    else:
        remaining, max_nodes = run.time_limit - run.elapsed(), None

    def report(bound: DualBound) -> None:
        run.bound = run.bound.better(bound)
        run.tell("prove")

    bound, gauge = proven_bound(
        problem,
        run.best,
        budget=Budget(run.tol, time.monotonic() + max(remaining, 0.0), max_nodes, run.n_jobs),
        rng=run.rng,
        threshold=problem.beta * (1 + run.least_violation) if stop_at_violators else None,
        report=report,
    )
    run.bound = run.bound.better(bound)
    run.violation, run.witness = gauge.lower / problem.beta - 1, gauge.witness
    run.tell("prove")
    if gauge.status is GaugeStatus.INTERRUPTED:
        raise KeyboardInterrupt
    return run.gap <= run.tol


def add_witness(run: Run) -> None:
    """The violator that the proof found becomes a neuron, even where its gain drowns in rounding: lam improves."""
    problem = run.problem
    moment = np.maximum(problem.design.forward(run.witness[:, None]), 0).T @ run.best.multiplier(problem)
    grown = run.best.join(run.witness[:, None], moment / np.linalg.norm(moment))
    run.keep(fit_amplitudes(problem, grown, tol=1e-6, exact=True), "prove", settled=True)
    run.settled = False


def price(run: Run, atoms: Atoms, effort: int = 1) -> Candidates:
    """Mutually distinct neurons that improve the network, best first."""
    problem = run.problem
    starts = effort * pricing_starts(problem)
    U = random_starts(problem.design, starts, run.rng, atoms.U)
    lam = atoms.multiplier(problem)
    found = ascend(problem.design, lam, U, rounds=12, sweeps=20, rng=run.rng, deadline=run.search_deadline)
    return distinct(found.take(np.flatnonzero(found.value > problem.beta * (1 + VIOLATION))), starts // 2)


def pricing_starts(problem: Problem) -> int:
    """So many that pricing costs about as much as a short descent, whatever the size of the data."""
    return int(np.clip(1.2e6 / (problem.design.n * problem.design.d), 30, 300))


def join(problem: Problem, atoms: Atoms, new: Candidates, *, exact: bool = False) -> Atoms:
    """The network with new neurons, its amplitudes fitted again."""
    return fit_amplitudes(problem, atoms.join(new.U, new.V), tol=1e-6 if exact else 1e-3, exact=exact)


def tidy(problem: Problem, atoms: Atoms, *, exact: bool = False) -> Atoms:
    """Merge the neurons of each cell and fit the amplitudes: the objective can only fall."""
    return fit_amplitudes(problem, atoms.merge_cells(problem.design), tol=1e-6 if exact else 1e-3, exact=exact)


def start_width(problem: Problem) -> int:
    n = problem.design.n
    return int(np.clip(min(4 * n, 2e7 / n), 60, 500))
