"""The way down from a network: balanced, made stationary, merged, and searched globally; the better one is kept."""

from __future__ import annotations

import time

import numpy as np

from extremal.certificate import DualBound
from extremal.conventions import MappedProblem
from extremal.network import Network
from extremal.problem import Problem
from extremal.training import FitResult, fit_problem
from extremal.training.atoms import Atoms
from extremal.training.solver import FINEST_PRICED, LEVELS, Run, descend, newton_fits, start_width, tidy
from extremal.training.wide import local_descent, wide_start

#: Parallel neurons are joined if their cosine is within this of one: no output changes by more than rounding.
PARALLEL = 1e-24
#: Iterations of the first descent, in double precision.
ITERATIONS = 500
#: Levels of smoothing so fine that no pricing belongs to them.
FINE_LEVELS = tuple(delta for delta in LEVELS if delta < FINEST_PRICED)
#: The column of a free hidden bias, in units of the longest row: while exploring, and then for the last digits. The
#: first shows the data best; with the last the penalty of the neurons is too high by 1/1800 at the most, and the
#: objective of the network where that is least by the square of it.
EXPLORING, REFINING = 1.0, (10.0, 30.0)


def balanced(mapped: MappedProblem, network: Network) -> Network:
    """The same function at the least penalty: balanced, dead neurons gone, parallel ones joined."""
    return mapped.decay.balance(network.merge(PARALLEL))


def stationary(mapped: MappedProblem, network: Network, deadline: float, rng: np.random.Generator) -> Network:
    """A stationary point near the network, by descent with its own neurons."""
    mapped = mapped.reaching(REFINING[-1])
    normal, scaling = mapped.problem.normalised()
    atoms = Atoms.from_network(scaling.inverse(mapped.inside(network)))
    return mapped.outside(scaling.network(descended(normal, atoms, deadline, rng).network()))


def merged(mapped: MappedProblem, network: Network, deadline: float, rng: np.random.Generator) -> Network:
    """No more neurons than patterns and independent fits, and a stationary point again."""
    mapped = mapped.reaching(REFINING[-1])
    normal, scaling = mapped.problem.normalised()
    before = Atoms.from_network(scaling.inverse(mapped.inside(network)))
    atoms = Atoms.from_network(tidy(normal, before, exact=True).network().prune_on(normal.design))
    if atoms.width < before.width:
        atoms = descended(normal, atoms, deadline, rng)
    return mapped.outside(scaling.network(atoms.network()))


def descended(normal: Problem, atoms: Atoms, deadline: float, rng: np.random.Generator) -> Atoms:
    """L-BFGS, and Newton's method down to exact ties where its factorisations are of moderate size."""
    if not atoms.width:
        return Atoms.from_network(normal.with_best_intercept(atoms.network()))
    found = local_descent(
        normal, atoms, iterations=ITERATIONS, dtype=np.float64, stop=lambda: time.monotonic() > deadline
    )
    best = min((atoms, found), key=lambda candidate: candidate.value(normal))
    if best.width and newton_fits(normal, best):
        left = max(deadline - time.monotonic(), 1e-3)
        run = Run(normal, 1e-9, left, rng, lambda *_: None, best, DualBound.trivial(normal))
        run.keep(best, "refine")
        run.keep(descend(run, best, FINE_LEVELS, pays=1.0), "refine")
        best = run.best
    return best


def globally(
    mapped: MappedProblem,
    network: Network,
    *,
    tol: float,
    deadline: float,
    rng: np.random.Generator,
    n_jobs: int,
    proof: bool,
) -> FitResult:
    """Training from the network's neurons and as many random ones, all of which the search may keep or drop."""
    normal, scaling = mapped.problem.normalised()
    own = Atoms.from_network(scaling.inverse(mapped.inside(network)))
    now = time.monotonic()
    half = now + 0.5 * (deadline - now)  # on large data it would take all of the time
    wide = wide_start(normal, rng, width=start_width(normal), stop=lambda: time.monotonic() > half)
    start = Network(
        np.hstack([own.network().hidden, wide.network().hidden]),
        np.vstack([own.network().output, wide.network().output]),
        own.intercept,
    )
    return fit_problem(
        mapped.problem,
        tol=tol,
        time_limit=max(deadline - time.monotonic(), 1e-3),
        random_state=rng,
        start=scaling.network(start),
        proof=proof,
        n_jobs=n_jobs,
    )
