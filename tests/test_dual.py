"""Bounds from dual points that are not the network's own: relaxed neurons, and the way to them."""

from __future__ import annotations

import time

import numpy as np
import pytest

import extremal
from extremal.design import Array, Design
from extremal.gauge import bounds_of
from extremal.gauge.bounds import GaugeStatus
from extremal.gauge.relaxed import relaxed_maximisers
from extremal.gauge.search import Unfinished, upper_bounds
from extremal.gauge.tree import Search
from extremal.problem import Problem
from extremal.training import dual, fit_problem
from extremal.training.atoms import Atoms
from extremal.training.dual import Budget, proven_bound, relaxed_dual

LATER = 60.0


def labels(n: int, d: int, seed: int, loss: str = "squared") -> tuple[Array, Array]:
    """Gaussian rows of norm about one with random targets: nothing to learn, and the hardest to prove."""
    rng = np.random.default_rng(seed)
    X, y = rng.normal(size=(n, d)) / np.sqrt(d), rng.normal(size=n)
    return X, y if loss in ("squared", "huber") else np.where(y > 0, 1.0, -1.0)


def trained(
    n: int,
    d: int,
    seed: int,
    *,
    loss: str = "squared",
    share: float = 0.1,
    intercept: bool = False,
    proof: bool = False,
) -> tuple[Problem, Atoms]:
    """A problem in normal form and a converged network."""
    X, y = labels(n, d, seed, loss)
    beta = share * extremal.beta_max(X, y, loss, bias="none", intercept=intercept)
    problem = Problem.from_data(X, y, beta=beta, loss=loss, bias="none", intercept=intercept)
    result = fit_problem(problem, proof=proof, tol=1e-8)
    normal, scaling = problem.normalised()
    return normal, Atoms.from_network(scaling.inverse(result.network))


def budget(seconds: float = LATER, **options: int) -> Budget:
    return Budget(1e-6, time.monotonic() + seconds, **options)


def scaled_root_bound(problem: Problem, atoms: Atoms) -> float:
    """The bound of the network's own multiplier by the relaxation of its gauge."""
    lam = dual.dual_of(problem, atoms.outputs(problem.design))
    return problem.dual_point(lam, relaxed_maximisers(problem.design, lam[:, 0])[0])[1]


@pytest.mark.parametrize("loss", ["squared", "huber", "logistic", "squared_hinge"])
@pytest.mark.parametrize("intercept", [False, True])
def test_the_relaxed_dual_is_below_the_network_and_above_the_scaled_relaxation(loss: str, intercept: bool) -> None:
    for seed in range(4):
        problem, atoms = trained(20, 5, seed, loss=loss, intercept=intercept)
        lam, bound = relaxed_dual(problem, atoms, deadline=time.monotonic() + LATER)
        assert bound.value <= atoms.value(problem)
        assert bound.value >= scaled_root_bound(problem, atoms) - 1e-9
        exact = bounds_of(problem.design, lam, tol=1e-9, deadline=None, rng=np.random.default_rng(0))
        assert exact.upper <= problem.beta * (1 + 1e-8)
        assert problem.loss.dual_value(lam) >= bound.value - 1e-9


def relaxed_program(X: Array, y: Array, weight: Array, beta: float) -> float:
    """Training over relaxed neurons, one for each sign, by CVXPY: a semidefinite program."""
    import cvxpy as cp

    n, d = X.shape
    constraints, output, penalty = [], 0, 0
    for sign in (1.0, -1.0):
        M, z = cp.Variable((d + 1, d + 1), symmetric=True), cp.Variable(n)
        t, linear, moved = M[0, 0], X @ M[0, 1:], X @ M[1:, 1:]
        r, q = 2 * z - linear, cp.sum(cp.multiply(moved, X), axis=1)
        constraints += [M >> 0, cp.trace(M[1:, 1:]) <= t, r >= linear, r >= -linear, cp.SOC(r, moved.T)]
        constraints += [cp.SOC(t + q, cp.vstack([2 * r, t - q]))]
        output, penalty = output + sign * z, penalty + t
    program = cp.Problem(
        cp.Minimize(0.5 * cp.sum_squares(cp.multiply(np.sqrt(weight), output - y)) + beta * penalty), constraints
    )
    return float(program.solve(solver="CLARABEL"))


@pytest.mark.parametrize("seed", range(4))
def test_the_relaxed_dual_solves_the_semidefinite_program(seed: int) -> None:
    problem, atoms = trained(14, 4, seed)
    loss = problem.loss
    value = relaxed_program(problem.design.dense(), loss.target[:, 0], loss.weight, problem.beta)
    found = relaxed_dual(problem, atoms, deadline=time.monotonic() + LATER)[1].value
    assert value * (1 - 5e-3) <= found <= value * (1 + 1e-5)


def test_relaxed_neurons_contain_the_neurons() -> None:
    """At the maximiser lam . z is the relaxed gauge, which is no smaller than what any direction attains."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        X, lam = rng.normal(size=(15, 4)), rng.normal(size=15)
        upper, Z = relaxed_maximisers(Design(X), lam)
        U = rng.normal(size=(4, 2000))
        attained = np.abs(lam @ np.maximum(X @ (U / np.linalg.norm(U, axis=0)), 0)).max()
        assert attained <= upper
        assert max(lam @ Z[:, 0], -lam @ Z[:, 1]) == pytest.approx(upper, rel=1e-3)


@pytest.mark.parametrize("seed", range(3))
def test_every_bound_is_below_the_optimum_however_little_it_may_cost(seed: int) -> None:
    problem, atoms = trained(30, 8, seed, proof=True)
    value = atoms.value(problem)
    proved, _ = proven_bound(problem, atoms, budget=budget(), rng=np.random.default_rng(0))
    assert value * (1 - 1e-6) <= proved.value <= value * (1 + 1e-12)
    for nodes in (1, 2000, 20_000):
        bound, gauge = proven_bound(problem, atoms, budget=budget(max_nodes=nodes), rng=np.random.default_rng(0))
        assert bound.value <= value
        assert bound.value >= scaled_root_bound(problem, atoms) - 1e-9 * value
        assert gauge.lower == pytest.approx(problem.beta, rel=1e-6)
    hidden = np.maximum(problem.design.forward(atoms.U), 0)
    assert np.abs(bound.lam[:, 0] @ hidden).max() <= problem.beta * (1 + 1e-9)


def test_a_nearby_point_is_better_than_half_a_search() -> None:
    """A teacher's data, where the search of the network's own multiplier is long and the relaxation is good."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 10)) / np.sqrt(10)
    y = np.maximum(X @ rng.normal(size=(10, 5)), 0) @ rng.normal(size=5)
    y = (y - y.mean()) / y.std() + 0.1 * rng.normal(size=200)
    beta = 0.3 * extremal.beta_max(X, y, bias="none")
    problem = Problem.from_data(X, y, beta=beta, bias="none")
    normal, scaling = problem.normalised()
    atoms = Atoms.from_network(scaling.inverse(fit_problem(problem, proof=False).network))
    nodes = 20_000
    lam = dual.dual_of(normal, atoms.outputs(normal.design))
    own = bounds_of(
        normal.design, lam, near=atoms.U, tol=1e-7, deadline=None, rng=np.random.default_rng(0), max_nodes=3 * nodes
    )
    value = atoms.value(normal)
    alone = 1 - normal.dual_point(lam, own.upper)[1] / value
    bound, _ = proven_bound(normal, atoms, budget=budget(max_nodes=nodes), rng=np.random.default_rng(0))
    assert 1 - bound.value / value < 0.7 * alone


def test_a_search_that_was_stopped_goes_on() -> None:
    problem, atoms = trained(40, 8, 0, share=0.05, proof=True)
    design, y = problem.design, atoms.multiplier(problem)[:, 0]
    unfinished: list[Unfinished] = []
    first = upper_bounds(design, y, tol=1e-7, max_nodes=1000, unfinished=unfinished)
    assert first.status is GaugeStatus.NODE_LIMIT
    (left,) = unfinished
    before = left.search.nodes
    later = left.resumed(design, y, first, tol=1e-7, deadline=None, max_nodes=30, n_jobs=1)
    assert before < left.search.nodes <= before + 32
    assert first.lower <= later.lower <= later.upper <= first.upper
    end = left.resumed(design, y, later, tol=1e-7, deadline=None, max_nodes=np.inf, n_jobs=2)
    whole = upper_bounds(design, y, tol=1e-7, max_nodes=None)
    assert end.status is whole.status is GaugeStatus.EXACT
    assert end.upper == pytest.approx(whole.upper, rel=2e-7)
    assert np.linalg.norm(end.witness) == pytest.approx(1.0)


def test_ctrl_c_on_the_way_leaves_a_valid_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    problem, atoms = trained(40, 8, 1)

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    for name in ("relaxed_dual", "best_share"):
        with monkeypatch.context() as patch:
            patch.setattr(dual, name, interrupted)
            bound, gauge = proven_bound(problem, atoms, budget=budget(max_nodes=500), rng=np.random.default_rng(0))
        assert gauge.status is GaugeStatus.INTERRUPTED
        assert 0.0 < bound.value <= atoms.value(problem)


def test_threads_prove_the_same() -> None:
    X, y = labels(30, 7, 3)
    beta = 0.2 * extremal.beta_max(X, y, bias="none")
    one, two = (extremal.fit(X, y, beta=beta, bias="none", n_jobs=jobs) for jobs in (1, 2))
    assert one.certificate.status.proven
    assert two.certificate.status.proven
    assert one.certificate.primal == pytest.approx(two.certificate.primal, rel=2e-6)
    again = extremal.certify(one.network, X, y, beta=beta, n_jobs=2)
    assert again.status.proven
    with pytest.raises(ValueError, match="n_jobs"):
        extremal.fit(X, y, beta=beta, n_jobs=0)


def test_a_network_far_from_the_optimum_gets_a_good_bound_too() -> None:
    """The gauge of its multiplier is known at once, and says little: the time is for other dual points."""
    X, y = labels(40, 8, 5)
    beta = 0.3 * extremal.beta_max(X, y, bias="none")
    best = extremal.fit(X, y, beta=beta, bias="none")
    assert best.certificate.status.proven
    nothing = extremal.certify(extremal.Network.zero(8, 1, bias=False), X, y, beta=beta, time_limit=10.0)
    own = upper_bounds(Design(X), y, tol=1e-7).upper
    scaled = Problem.from_data(X, y, beta=beta, bias="none").dual_point(y[:, None], own)[1]
    assert scaled < nothing.dual <= best.certificate.primal
    assert best.certificate.primal - nothing.dual < 0.5 * (best.certificate.primal - scaled)


@pytest.mark.parametrize("when", ["ascent", "tree", "relaxed"])
def test_certify_says_that_it_was_interrupted(when: str, monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = labels(40, 8, 2)
    beta = 0.1 * extremal.beta_max(X, y, bias="none")
    network = extremal.fit(X, y, beta=beta, bias="none", time_limit=5.0).network

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    target = {"ascent": "bounds_of", "relaxed": "relaxed_dual"}.get(when)
    if target is not None:
        monkeypatch.setattr(dual, target, interrupted)
        monkeypatch.setattr(dual, "FIRST_SHARE", 0.001)
    else:
        monkeypatch.setattr(Search, "solve", interrupted)
    certificate = extremal.certify(network, X, y, beta=beta)
    assert certificate.status is extremal.Status.INTERRUPTED
    assert 0.0 <= certificate.dual <= certificate.primal


@pytest.mark.parametrize("n_jobs", [0, -1, 1.5, 2.0, None, float("nan"), "two", True])
def test_a_number_of_threads_that_makes_no_sense(n_jobs: object) -> None:
    X, y = labels(10, 3, 0)
    with pytest.raises(ValueError, match="n_jobs"):
        extremal.gauge(X, y, n_jobs=n_jobs)  # type: ignore[arg-type]


def test_methods_by_name() -> None:
    X, y = labels(30, 7, 0)
    for method in ("cells", "cones", "tree", "relaxation"):
        found = extremal.gauge(X, y, method=method, time_limit=3.0)
        assert method in found.method
        assert found.lower <= extremal.gauge(X, y, tol=1e-8).upper * (1 + 1e-9)
    line = extremal.gauge(X[:, :1], y, method="cones")
    assert line.status is GaugeStatus.EXACT
    with pytest.raises(ValueError, match="rank"):
        extremal.gauge(
            np.random.default_rng(0).normal(size=(60, 20)), np.ones(60) - 2 * (np.arange(60) % 2), method="cones"
        )
    with pytest.raises(ValueError, match="method"):
        extremal.gauge(X, y, method="best")
