"""The dual point that moves with the tree: what leaves know about multipliers they were not solved for, and the bound."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import extremal
from extremal.certificate import DualBound
from extremal.design import Array, Design
from extremal.gauge.bounds import GaugeStatus
from extremal.gauge.forest import Forest, Leaf
from extremal.problem import Problem
from extremal.training import dual, fit_problem
from extremal.training.atoms import Atoms
from extremal.training.dual import Budget, proven_bound, relaxed_dual
from extremal.training.joint import Joint

LATER = 60.0


def data(seed: int, n: int = 14, d: int = 3) -> Array:
    """Rows of very different lengths; some of them share a line, one is zero."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d)) * 10.0 ** rng.uniform(-2, 2, size=(n, 1))
    X[1], X[2], X[3], X[4] = 2 * X[0], -0.5 * X[0], X[5], 0
    return X


def grown(X: Array, lam: Array, size: int) -> Forest:
    """About so many leaves, the largest first, all solved at lam."""
    forest = Forest(Design(X))
    point = forest.move(lam)
    options: dict[str, Any] = {"solve_all": map, "width": 1, "is_late": lambda: False}
    forest.refine(point, 0.0, 0.0, most=2, is_split=lambda _: False, **options)
    forest.refine(point, 0.0, 0.0, most=2 * size, is_split=lambda leaf: leaf.fresh, **options)
    return forest


def values(forest: Forest, leaf: Leaf, lam: Array, U: Array) -> Array:
    """+-lam . (Xu)_+ for the directions of the leaf."""
    inside = np.all(leaf.signs[:, None] * (forest.lines.normals[leaf.lines] @ U) >= 0, axis=0)
    return leaf.side * (lam @ np.maximum(forest.design.dense() @ U[:, inside], 0))


@given(seed=st.integers(0, 2**32 - 1), far=st.sampled_from([0.0, 0.1, 1.0, 1e6]))
@settings(max_examples=40, deadline=None)
def test_a_leaf_bounds_every_multiplier(seed: int, far: float) -> None:
    """Above all that is attained in the leaf, whatever lam it was solved for; and its column is below the bound."""
    rng = np.random.default_rng(seed)
    X = data(seed)
    lam = rng.normal(size=len(X)) / np.maximum(np.linalg.norm(X, axis=1), 1e-3)
    forest = grown(X, lam, 10)
    other = lam + far * rng.normal(size=len(X)) / np.maximum(np.linalg.norm(X, axis=1), 1e-3)
    U = rng.normal(size=(X.shape[1], 3000))
    U /= np.linalg.norm(U, axis=0)
    point = forest.move(other)
    for leaf in forest.leaves:
        upper = point.upper(leaf.bound)
        assert values(forest, leaf, other, U).max(initial=0.0) <= upper
        if far == 0.0:
            assert leaf.height <= upper + 1e-9 * point.scale
    covered = [sum(values(forest, leaf, other, U).size for leaf in forest.leaves if leaf.side == s) for s in (1, -1)]
    assert min(covered) >= U.shape[1]


@pytest.mark.parametrize("seed", range(5))
def test_old_multipliers_are_exact_to_first_order(seed: int) -> None:
    rng = np.random.default_rng(seed)
    X, lam, step = rng.normal(size=(20, 4)), rng.normal(size=20), rng.normal(size=20)
    lam += 0.5 * np.sign(lam)  # no sign changes on the way
    lost = []
    for t in (0.08, 0.02):
        forest = Forest(Design(X))
        leaf = forest.leaves[0]
        for accurate in (0.0, 1 - 1e-7):
            at = forest.lines.at(lam)
            forest.solve(leaf, at, accurate * leaf.bound)
        point = forest.move(lam + t * step)
        stale = leaf.bound
        for accurate in (0.0, 1 - 1e-7):
            forest.solve(leaf, point, accurate * leaf.bound)
        lost.append(point.scale * (stale - leaf.bound))
    assert -1e-9 <= lost[1] <= lost[0] / 8 + 1e-6


def test_parallel_rows_are_branched_on_once() -> None:
    forest = Forest(Design(data(0)))
    assert len(forest.lines.normals) == 14 - 2 - 1 - 1
    lam, u = np.random.default_rng(0).normal(size=(2, 14))
    u = u[:3] / np.linalg.norm(u[:3])
    point = forest.lines.at(lam)
    lines = point.linear @ u + point.weights @ np.maximum(forest.lines.normals @ u, 0)
    assert point.scale * lines == pytest.approx(lam @ np.maximum(data(0) @ u, 0), rel=1e-10)


def trained(
    n: int, d: int, seed: int, *, loss: str = "squared", share: float = 0.1, intercept: bool = False
) -> tuple[Problem, Atoms]:
    """A problem in normal form and its optimal network."""
    rng = np.random.default_rng(seed)
    X, y = rng.normal(size=(n, d)) / np.sqrt(d), rng.normal(size=n)
    y = y if loss in ("squared", "huber") else np.where(y > 0, 1.0, -1.0)
    beta = share * extremal.beta_max(X, y, loss, bias="none", intercept=intercept)
    problem = Problem.from_data(X, y, beta=beta, loss=loss, bias="none", intercept=intercept)
    result = fit_problem(problem, tol=1e-8)
    assert result.certificate.gap <= 1e-7
    normal, scaling = problem.normalised()
    return normal, Atoms.from_network(scaling.inverse(result.network))


def joint(problem: Problem, atoms: Atoms, **options: Any) -> tuple[Joint, list[float]]:
    """The search from the relaxed optimum, and a list of all bounds that it tells."""
    told: list[float] = []
    _, start = relaxed_dual(problem, atoms, deadline=time.monotonic() + LATER)
    value = atoms.value(problem)
    limits: dict[str, Any] = {"deadline": time.monotonic() + LATER, "enough": value * (1 - 1e-6)} | options
    return Joint(problem, atoms, start, value, keep=lambda bound: told.append(bound.value), **limits), told


@pytest.mark.parametrize("loss", ["squared", "huber", "logistic", "squared_hinge"])
@pytest.mark.parametrize("intercept", [False, True])
def test_the_bound_reaches_the_optimum(loss: str, intercept: bool) -> None:
    problem, atoms = trained(20, 4, 1, loss=loss, intercept=intercept)
    value = atoms.value(problem)
    search, told = joint(problem, atoms)
    start = search.centre.value
    bound = search.run()
    assert value * (1 - 1.1e-6) <= bound.value <= value * (1 + 1e-9)
    assert told == sorted(told)
    assert bound.value >= max([start, *told])
    hidden = np.maximum(problem.design.forward(atoms.U), 0)
    assert np.abs(bound.lam[:, 0] @ hidden).max() <= problem.beta * (1 + 1e-9)


def test_limits_leave_a_valid_bound_and_nodes_the_same_one_every_time() -> None:
    problem, atoms = trained(40, 8, 0)
    value = atoms.value(problem)
    late, told = joint(problem, atoms, deadline=time.monotonic() - 1.0)
    assert late.run() is late.centre
    assert not told
    bounds: list[DualBound] = []
    for n_jobs in (1, 1, 2):
        search, _ = joint(problem, atoms, max_nodes=150, n_jobs=n_jobs)
        bounds.append(search.run())
        assert 150 <= search.forest.nodes <= 150 + 40
    assert bounds[0].value == bounds[1].value
    np.testing.assert_array_equal(bounds[0].lam, bounds[1].lam)
    for bound in bounds:
        assert late.centre.value < bound.value <= value
    more = joint(problem, atoms, max_nodes=600)[0].run()
    assert bounds[0].value < more.value <= value


def test_a_poor_network_gets_the_same_optimum() -> None:
    """The network is a start, not an input of the bound."""
    problem, atoms = trained(20, 4, 3)
    value = atoms.value(problem)
    poor = atoms.take(np.arange(atoms.width // 2))
    search, _ = joint(problem, poor, enough=value * (1 - 1e-5))
    assert value * (1 - 1.1e-5) <= search.run().value <= value * (1 + 1e-9)


@pytest.mark.parametrize("after", [0, 1, 40])
def test_ctrl_c_leaves_a_valid_bound(after: int, monkeypatch: pytest.MonkeyPatch) -> None:
    problem, atoms = trained(40, 8, 1)
    solve, calls = Forest.solve, 0

    def interrupted(self: Forest, *arguments: Any) -> Array:
        nonlocal calls
        calls += 1
        if calls > after:
            raise KeyboardInterrupt
        return solve(self, *arguments)

    monkeypatch.setattr(Forest, "solve", interrupted)
    monkeypatch.setattr(dual, "SMALL_GAP", 1.0)
    budget = Budget(1e-6, time.monotonic() + LATER, max_nodes=500)
    bound, gauge = proven_bound(problem, atoms, budget=budget, rng=np.random.default_rng(0))
    assert calls > after
    assert gauge.status is GaugeStatus.INTERRUPTED
    assert 0.0 < bound.value <= atoms.value(problem)
