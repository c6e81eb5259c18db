"""The parts of training, each against something independent of it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import check_grad, nnls

import extremal
from extremal.design import Design
from extremal.gauge.ascent import ascend, random_starts
from extremal.problem import Problem
from extremal.programs import ConvexSolution, pattern_program
from extremal.training import fit_problem
from extremal.training.amplitudes import active_set, fit_amplitudes
from extremal.training.atoms import Atoms
from extremal.training.newton import evaluate, minimise_smoothed, newton_step
from extremal.training.wide import _objective


def noisy_teacher(n: int = 40, d: int = 4, seed: int = 0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d)) / np.sqrt(d)
    y = np.maximum(X @ rng.normal(size=(d, 3)), 0) @ rng.normal(size=3) + 0.1 * rng.normal(size=n)
    return X, y


def random_atoms(problem: Problem, m: int, seed: int = 0) -> Atoms:
    rng = np.random.default_rng(seed)
    U = rng.normal(size=(problem.design.d, m))
    c = problem.loss.shape[1]
    V = rng.choice([-1.0, 1.0], size=(m, 1)) if c == 1 else rng.normal(size=(m, c))
    V /= np.linalg.norm(V, axis=1, keepdims=True)
    return Atoms(U / np.linalg.norm(U, axis=0), V, rng.uniform(0.1, 1, m), np.zeros(c))


@pytest.mark.parametrize("loss", ["squared", "logistic", "softmax"])
@pytest.mark.parametrize("intercept", [False, True])
def test_gradient_of_the_weights(loss, intercept):
    X, y = noisy_teacher()
    target = {"squared": y, "logistic": (y > 0) * 1, "softmax": np.digitize(y, np.quantile(y, [0.3, 0.6]))}[loss]
    problem = Problem.from_data(X, target, beta=0.3, loss=loss, intercept=intercept)
    c = problem.loss.shape[1]
    oracle = _objective(problem, (problem.design.d, 6, c), np.float64)
    theta = np.random.default_rng(1).normal(size=problem.design.d * 6 + 6 * c + c * intercept)
    assert check_grad(lambda t: oracle(t)[0], lambda t: oracle(t)[1], theta) < 1e-4 * np.linalg.norm(oracle(theta)[1])


@pytest.mark.parametrize("loss", ["squared", "logistic", "huber", "softmax"])
def test_a_newton_step_is_the_minimum_of_its_model(loss):
    """Where nothing is dropped from the Hessian the damped step predicts the decrease of the smoothed objective."""
    X, y = noisy_teacher(30, 3)
    target = {"logistic": (y > 0) * 1, "softmax": np.digitize(y, np.quantile(y, [0.3, 0.6]))}.get(loss, y)
    problem = Problem.from_data(X, target, beta=0.5, loss=loss).normalised()[0]
    atoms = fit_amplitudes(problem, random_atoms(problem, 30), tol=1e-8)
    atoms = minimise_smoothed(problem, atoms, 0.1, steps=40)
    state = evaluate(problem, atoms, 0.1)
    step = newton_step(problem, state, 0.0)
    assert step.decrease <= 1e-6 * state.value  # at the minimum of the smoothed problem nothing is left to gain
    worse = evaluate(problem, random_atoms(problem, 5, seed=3), 0.1)
    assert newton_step(problem, worse, 10.0).decrease > 0


@pytest.mark.parametrize("loss", ["logistic", "softmax"])
@pytest.mark.parametrize("size", [1e2, 1e3, 1e6])
@pytest.mark.parametrize("intercept", [False, True])
def test_a_saturated_loss_is_no_end(loss, size, intercept):
    """Where the curvature has vanished the models say nothing; steps from there stay finite and do not rise."""
    X, y = noisy_teacher(30, 3)
    target = (y > 0) * 1 if loss == "logistic" else np.digitize(y, np.quantile(y, [0.3, 0.6]))
    problem = Problem.from_data(X, target, beta=1e-3, loss=loss, intercept=intercept).normalised()[0]
    atoms = random_atoms(problem, 12)
    atoms = atoms.with_amplitudes(size * atoms.r, atoms.intercept)
    for trial in (fit_amplitudes(problem, atoms, exact=True), minimise_smoothed(problem, atoms, 1e-2, steps=5)):
        assert np.isfinite(trial.U).all()
        assert np.isfinite(trial.r).all()
        assert trial.value(problem) <= atoms.value(problem)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(n=st.integers(1, 12), m=st.integers(1, 12), seed=st.integers(0, 10_000))
def test_active_set_against_nnls(n, m, seed):
    rng = np.random.default_rng(seed)
    A, b = rng.normal(size=(n, m)), rng.normal(size=n)
    best = active_set(A.T @ A, -A.T @ b, np.zeros(m), 0)
    assert (best >= 0).all()
    assert np.linalg.norm(A @ best - b) <= nnls(A, b)[1] * (1 + 1e-7) + 1e-6


def test_merging_a_cell_keeps_the_outputs():
    X, y = noisy_teacher(6, 2)
    problem = Problem.from_data(X, y, beta=0.1, bias="none")
    atoms = random_atoms(problem, 60)
    merged = atoms.merge_cells(problem.design)
    assert merged.width < atoms.width
    np.testing.assert_allclose(merged.outputs(problem.design), atoms.outputs(problem.design), atol=1e-12)
    assert merged.r.sum() <= atoms.r.sum()


@pytest.mark.parametrize("c", [1, 3])
def test_ascent_only_rises_and_attains_its_values(c):
    rng = np.random.default_rng(0)
    design, lam = Design(rng.normal(size=(50, 5))), rng.normal(size=(50, c))
    starts = random_starts(design, 20, rng)
    found = ascend(design, lam, starts)
    moments = np.maximum(design.forward(found.U), 0).T @ lam
    np.testing.assert_allclose(np.einsum("jk,jk->j", moments, found.V), found.value, rtol=1e-12)
    before = np.linalg.norm(np.maximum(design.forward(starts), 0).T @ lam, axis=1)
    assert found.value[0] >= before.max()
    assert np.all(np.diff(found.value) <= 0)


@pytest.mark.parametrize(("n", "d", "fraction"), [(40, 3, 0.1), (40, 4, 0.03), (60, 8, 0.1)])
def test_the_pattern_program_cannot_improve_an_optimal_network(n, d, fraction):
    """Clarabel on the network's own patterns: an upper bound that a local optimum attains."""
    X, y = noisy_teacher(n, d)
    problem = Problem.from_data(X, y, beta=fraction * extremal.beta_max(X, y))
    result = fit_problem(problem, time_limit=20)
    own = ConvexSolution.from_network(result.network, problem.design)
    program = pattern_program(problem, own.patterns, own.signs)
    assert program.value >= result.certificate.dual - 1e-9 * abs(program.value)
    assert result.certificate.primal == pytest.approx(program.value, rel=2e-8)


def test_path_agrees_with_single_fits():
    X, y = noisy_teacher(40, 3)
    problem = Problem.from_data(X, y, beta=1.0)
    top = extremal.beta_max(X, y)
    betas = top * np.array([1.01, 0.5, 0.1, 0.02])
    along = extremal.path(problem, betas)
    assert along[0].network.width == 0
    for beta, result in zip(betas, along, strict=True):
        alone = extremal.fit(X, y, beta=beta)
        assert result.certificate.gap <= 1e-6
        assert result.certificate.primal == pytest.approx(alone.certificate.primal, rel=2e-6)
    values = [result.certificate.primal for result in along]
    assert np.all(np.diff(values) < 0)  # the optimal value is increasing in beta


def test_without_proof_the_gap_stays_open():
    X, y = noisy_teacher(30, 3)
    problem = Problem.from_data(X, y, beta=0.05)
    open_end, proven = fit_problem(problem, proof=False), fit_problem(problem)
    assert open_end.certificate.dual <= proven.certificate.dual
    assert open_end.certificate.primal == pytest.approx(proven.certificate.primal, rel=1e-4)


def test_seeds_agree_for_several_outputs():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 3))
    y = np.digitize(np.linalg.norm(X[:, :2], axis=1), [0.9, 1.5])
    results = [extremal.fit(X, y, beta=0.5, loss="softmax", random_state=s) for s in range(3)]
    values = [result.certificate.primal for result in results]
    assert max(values) <= min(values) * (1 + 1e-7)
    assert all(result.certificate.gap <= 1e-6 and result.certificate.stationarity <= 1e-6 for result in results)


def test_history_is_monotone_and_brackets():
    X, y = noisy_teacher(60, 5)
    result = extremal.fit(X, y, beta=0.3)
    objective = np.array([record.objective for record in result.history])
    bound = np.array([record.bound for record in result.history])
    assert np.all(np.diff(objective) <= 1e-12 * objective[:-1])
    assert np.all(np.diff(bound) >= 0)
    assert np.all(bound <= objective)
