"""The best dual point for a growing tree: training over the relaxed neurons of its leaves.

The leaves of a tree of signs, of both sides, are convex sets of relaxed neurons (`gauge.forest`). The largest D(lam) at
which all of them are at most beta is dual to training over their union, and column generation finds both: the master
problem fits the amplitudes of the relaxed neurons that are known, a lower bound on the objective that the tree allows;
its dual point shows which leaves stand in the way. Those are split or solved again at a point between it and the best
one, which needs the tree to be only where the network's neurons and their relaxations compete. As the tree grows lam
moves from the relaxed optimum towards the network's own by itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from extremal.certificate import DualBound
from extremal.design import Array
from extremal.gauge.bounds import GaugeBounds, GaugeStatus
from extremal.gauge.forest import Forest, Leaf, Point
from extremal.gauge.sides import one_thread
from extremal.gauge.tree import workers
from extremal.problem import Problem
from extremal.training.amplitudes import fit_columns
from extremal.training.atoms import Atoms

#: The method of a bound on the way, before a search names its own.
METHOD = "relaxed neurons"

#: The way from the best point to the master's that is tried: at first, at least, and what failure and success make it.
STEP, SHORTEST, SHORTER, LONGER = 0.5, 0.05, 0.7, 1.3

#: Nodes of a round: at least, and as a share of the leaves.
LEAST_NODES, SHARE = 16, 0.15

#: The tree grows while the bound is this near to the master's value, as a share of what the master has left, or after
#: so many failures.
LAG, FAILURES = 0.25, 6

#: A leaf is split at once where a known column reaches this share of beta, without being solved again.
REACHED = 0.95

#: Leaves are solved down to beta (1 - NEAR gap).
NEAR, LEAST_NEAR, MOST_NEAR = 3.0, 1e-7, 0.5

#: Columns that are kept, those that a round of the master adds at most, its rounds, and what it sees at first.
MOST_COLUMNS, ADDED, MASTERS, NEARLY = 6000, 60, 30, 0.97

#: The relative violation of a column that the master does not see.
SATISFIED = 1e-6

#: The memory for the leaves, in bytes.
MEMORY = 4e8


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


@dataclass(eq=False)
class Master:
    """Training over columns (n,), each with its sign: the network's neurons, and the relaxed ones of the leaves.

    The amplitudes are remembered for the next time.
    """

    problem: Problem
    atoms: Atoms
    neurons: Array = field(init=False)
    own: Array = field(init=False)
    intercept: Array = field(init=False)

    def __post_init__(self) -> None:
        self.neurons = np.maximum(self.problem.design.forward(self.atoms.U), 0)
        self.own, self.intercept = self.atoms.r, self.atoms.intercept

    def solve(self, forest: Forest, near: Array) -> tuple[Array, float]:
        """(lam (n, 1), objective): with the columns that pay at the dual point `near` or at one on the way."""
        problem, beta, width = self.problem, self.problem.beta, self.atoms.width
        Z, V = np.hstack([self.neurons, forest.outputs]), np.concatenate([self.atoms.V[:, 0], forest.sides])
        r, b = np.concatenate([self.own, [column.amplitude for column in forest.columns]]), self.intercept
        seen = (r > 0) | ((near[:, 0] @ Z) * V > NEARLY * beta)
        for _ in range(MASTERS):
            index = np.flatnonzero(seen)
            r[index], b = fit_columns(problem, Z[:, index], V[index, None], r[index], b, tol=1e-8, exact=True)
            outputs = (Z[:, index] * r[index]) @ V[index, None] + b
            lam = dual_of(problem, outputs)
            pays = (lam[:, 0] @ Z) * V
            new = np.flatnonzero((pays > beta * (1 + SATISFIED)) & ~seen)
            if not new.size:
                break
            seen = r > 0
            seen[new[np.argsort(-pays[new], kind="stable")[:ADDED]]] = True
        self.own, self.intercept = r[:width], b
        for column, amplitude in zip(forest.columns, r[width:], strict=True):
            column.amplitude = float(amplitude)
        return lam, problem.loss.value(outputs) + beta * float(r.sum())


def tidy(forest: Forest, lam: Array) -> None:
    """Forget the columns without amplitude that pay least at a dual point (n,), if there are too many."""
    if len(forest.columns) > MOST_COLUMNS:
        pays = (lam @ forest.outputs) * forest.sides
        pays[[column.amplitude > 0 for column in forest.columns]] = np.inf
        kept = np.sort(np.argsort(-pays, kind="stable")[: MOST_COLUMNS // 2])
        forest.columns = [forest.columns[i] for i in kept]


@dataclass(eq=False)
class Joint:
    """Master, tree and the best bound so far, `centre`; `value` is the network's objective.

    `keep` is told every bound that is better than those before; `enough` is a bound that ends the search.
    """

    problem: Problem
    atoms: Atoms
    centre: DualBound
    value: float
    keep: Callable[[DualBound], None]
    enough: float
    deadline: float
    max_nodes: float = np.inf
    n_jobs: int = 1
    forest: Forest = field(init=False)
    master: Master = field(init=False)
    step: float = STEP
    failures: int = 0

    def __post_init__(self) -> None:
        self.forest = Forest(self.problem.design)
        self.master = Master(self.problem, self.atoms)

    @property
    def is_late(self) -> bool:
        return time.monotonic() > self.deadline

    @property
    def is_over(self) -> bool:
        full = len(self.forest.leaves) * self.forest.leaf_bytes > MEMORY
        return self.is_late or full or self.forest.nodes >= self.max_nodes or self.centre.value >= self.enough

    def run(self) -> DualBound:
        """The best bound until it is enough, or a limit is reached; the roots are solved first."""
        with one_thread().limit(limits=1, user_api="blas"), workers(self.n_jobs) as solve_all:
            self.refine(self.centre.lam, len(self.forest.leaves), False, solve_all)
            while not self.is_over:
                self.round(solve_all)
        return self.centre

    def round(self, solve_all: Callable) -> None:
        """The master's dual point; the tree on the way to it; the better one of the bounds there and at the centre."""
        lam, model = self.master.solve(self.forest, self.centre.lam)
        grows = model - self.centre.value < LAG * (self.value - model) or self.failures >= FAILURES
        trial = self.centre.lam + self.step * (lam - self.centre.lam)
        most = max(LEAST_NODES, int(SHARE * len(self.forest.leaves)))
        leaves = self.forest.leaves
        found = self.refine(trial, most, grows, solve_all)
        again = found
        if found.value <= self.centre.value and self.forest.leaves is not leaves:
            again = self.bound(self.centre.lam, self.bound_at(self.centre.lam))
        if max(found.value, again.value) > self.centre.value:
            self.failures = 0
            if found.value >= again.value:
                self.step = min(LONGER * self.step, STEP)
            self.centre = max(again, found, key=lambda bound: bound.value)
            self.keep(self.centre)
        else:
            self.failures += 1
            self.step = max(SHORTER * self.step, SHORTEST)
        tidy(self.forest, self.centre.lam[:, 0])

    def refine(self, lam: Array, most: int, grows: bool, solve_all: Callable) -> DualBound:
        """The bound at lam after so many nodes."""
        forest, beta = self.forest, self.problem.beta
        point = forest.move(lam[:, 0])
        near = min(max(NEAR * (1 - self.centre.value / self.value), LEAST_NEAR), MOST_NEAR) if self.value > 0 else NEAR

        def is_split(leaf: Leaf) -> bool:
            return grows and (leaf.fresh or leaf.height >= REACHED * beta)

        threshold = beta / point.scale
        bound = forest.refine(
            point,
            threshold,
            threshold * (1 - near),
            most=most,
            is_split=is_split,
            solve_all=solve_all,
            width=self.n_jobs,
            is_late=lambda: self.is_late,
        )
        return self.bound(lam, point.upper(bound))

    def bound_at(self, lam: Array) -> float:
        """What the multipliers of all leaves prove about the gauge of lam."""
        point: Point = self.forest.lines.at(lam[:, 0])
        return point.upper(max(self.forest.bound(leaf, point) for leaf in self.forest.leaves))

    def bound(self, lam: Array, upper: float) -> DualBound:
        gauge = bounds_at(self.problem, self.atoms, lam, upper, GaugeStatus.RELAXATION)
        return DualBound.at(self.problem, lam, gauge)
