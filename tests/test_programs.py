"""The finite programs against closed forms, CVXPY and each other."""

from __future__ import annotations

import warnings
from dataclasses import replace

import cvxpy as cp
import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from scipy import sparse

import reference
from extremal.network import Network
from extremal.problem import Problem
from extremal.programs import ConvexSolution, ProgramStatus, gated_program, kkt_residuals, pattern_program

LOSSES = ["squared", "logistic", "huber", "squared_hinge"]
EVERYTHING = 10**9  # a batch that no number of blocks reaches: one solve over all of them


def problem_of(X, y, beta, loss="squared", **options) -> Problem:
    return Problem.from_data(X, y, beta=beta, loss=loss, bias=options.pop("bias", "none"), **options)


def targets(rng, n, loss):
    y = rng.normal(size=n)
    if loss in ("logistic", "squared_hinge"):
        y = np.where(np.arange(n) % 2 == 0, 1.0, -1.0)
    return y


def assert_optimal(problem, result, tol=1e-8):
    """Primal = dual, and every optimality condition at the answer itself."""
    kkt = kkt_residuals(problem, result)
    assert result.status is ProgramStatus.SOLVED
    assert result.gap <= tol
    assert kkt.primal <= 1e-9
    assert kkt.domain <= 1e-12
    assert kkt.dual <= 1e-12
    assert kkt.complementarity <= 10 * tol
    assert kkt.gap <= 10 * tol
    assert kkt.stationarity <= 1e-3  # directions are known to the square root of the values
    assert kkt.gradient <= 1e-3


# ------------------------------------------------------------------------------------------------ closed forms


def test_toy_landscape():
    """(1 - v + w)^2 + |v| + |w| over v, w >= 0 is least at v = 1/2, with value 3/4 (theory of one sample)."""
    problem = problem_of([[1.0]], [1.0], 1.0, sample_weight=[2.0])
    result = pattern_program(problem, [[1], [0]])
    assert result.value == pytest.approx(0.75, rel=1e-12)
    assert result.U[0, 0] == pytest.approx(0.5, rel=1e-10)
    assert result.network.width == 1
    assert_optimal(problem, result)


def test_patterns_of_a_stationary_point_with_a_wrong_tie():
    """X = [[1,-1],[0,1]], y = (1,1): the point (1,0) is Clarke stationary with objective .595, and far from optimal."""
    X, y = np.array([[1.0, -1.0], [0.0, 1.0]]), np.ones(2)
    problem = problem_of(X, y, 0.1)
    values = {
        name: pattern_program(problem, patterns).value
        for name, patterns in {"11": [[1, 1]], "10": [[1, 0]], "both": [[1, 1], [1, 0]]}.items()
    }
    assert values == pytest.approx({"11": 0.2106, "10": 0.5682, "both": 0.1996}, abs=5e-5)
    everything = pattern_program(problem, reference.cells(X))
    assert everything.value == pytest.approx(0.1632, abs=5e-5)
    assert_optimal(problem, everything)


def test_signs_matter_at_ties():
    """X = [[1,1],[0,1]], y = (1,-1): a local minimum of value .595 is optimal for its signed program only."""
    problem = problem_of([[1.0, 1.0], [0.0, 1.0]], [1.0, -1.0], 0.1)
    local = Network(np.sqrt(0.9) * np.array([[1.0], [0.0]]), [[np.sqrt(0.9)]])
    assert problem.value(local) == pytest.approx(0.595, abs=1e-12)
    own = ConvexSolution.from_network(local, problem.design)
    np.testing.assert_array_equal(own.patterns, [[True, True]])
    signed = pattern_program(problem, own.patterns, own.signs)
    assert signed.value == pytest.approx(0.595, rel=1e-10)
    assert_optimal(problem, signed)
    assert pattern_program(problem, own.patterns).value == pytest.approx(0.226421, abs=5e-7)
    assert pattern_program(problem, [[1, 0]]).value == pytest.approx(0.595, rel=1e-10)


@pytest.mark.parametrize("seed", range(3))
def test_orthonormal_rows(seed):
    """X X^T = I: the value is h(|y_+|) + h(|y_-|), h(s) = beta s - beta^2/2 for beta <= s and s^2/2 beyond."""
    rng = np.random.default_rng(seed)
    X, y = np.linalg.qr(rng.normal(size=(7, 4)))[0].T, rng.normal(size=4)
    beta = (0.1, 0.5, 1.5)[seed]
    sizes = np.linalg.norm(np.maximum(y, 0)), np.linalg.norm(np.maximum(-y, 0))
    expected = sum(beta * s - beta**2 / 2 if beta <= s else s**2 / 2 for s in sizes)
    problem = problem_of(X, y, beta)
    result = pattern_program(problem, reference.cells(X))
    assert result.value == pytest.approx(expected, rel=1e-10)
    assert_optimal(problem, result)


def test_spike_free_data_need_the_full_pattern_only():
    """(X X^T)^-1 an M-matrix: the pattern of ones alone reaches the optimum over all cells; otherwise it need not."""
    spike_free = np.linalg.cholesky(np.eye(3) + 0.8 * np.ones((3, 3)))
    spiky = np.linalg.cholesky(np.eye(3) - 0.3 * np.ones((3, 3)))
    y = np.array([1.0, -2.0, 0.5])
    for X, equal in ((spike_free, True), (spiky, False)):
        inverse = np.linalg.inv(X @ X.T)
        assert np.all(inverse[~np.eye(3, dtype=bool)] <= 0) == equal
        problem = problem_of(X, y, 0.05)
        ones, full = pattern_program(problem, np.ones((1, 3))), pattern_program(problem, reference.cells(X))
        assert_optimal(problem, ones)
        assert_optimal(problem, full)
        assert (ones.value <= full.value * (1 + 1e-10)) == equal


def test_least_interpolating_norm_is_the_limit_of_small_penalties():
    """x = (-2..2), y = (1,-1,1,1,-1) with a penalised bias: the least norm of an interpolating network is 10.12899."""
    X, y = np.column_stack([np.arange(-2.0, 3.0), np.ones(5)]), np.array([1.0, -1, 1, 1, -1])
    for beta in (1e-4, 1e-6):
        problem = problem_of(X, y, beta)
        result = pattern_program(problem, reference.cells(X))
        assert_optimal(problem, result)
        assert result.value / beta == pytest.approx(10.12899, abs=5e-6 + 100 * beta)


def test_above_beta_max_the_network_is_zero():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(8, 2)), rng.normal(size=8)
    cells = reference.cells(X)
    top = reference.exact_gauge(X, y, cells)
    above, below = (pattern_program(problem_of(X, y, f * top), cells) for f in (1.0001, 0.9999))
    assert above.network.width == 0
    assert above.value == pytest.approx(0.5 * y @ y, rel=1e-14)
    assert above.gap <= 1e-12
    assert below.network.width >= 1
    assert below.value < above.value


# ------------------------------------------------------------------------------------------------ CVXPY


@pytest.mark.parametrize("intercept", [False, True])
@pytest.mark.parametrize("loss", LOSSES)
def test_enumerated_program_agrees_with_cvxpy(loss, intercept):
    rng = np.random.default_rng(3)
    X, y, w = rng.normal(size=(9, 3)), targets(rng, 9, loss), rng.uniform(0.2, 2.0, 9)
    optimum = reference.solve(X, y, 0.1, loss=loss, intercept=intercept, sample_weight=w)
    problem = problem_of(X, y, 0.1, loss, intercept=intercept, sample_weight=w)
    result = pattern_program(problem, optimum.patterns)
    assert result.value == pytest.approx(optimum.value, rel=1e-8)
    assert_optimal(problem, result)
    whole = pattern_program(problem, optimum.patterns, batch=EVERYTHING)
    assert whole.value == pytest.approx(result.value, rel=1e-9)
    assert whole.rounds == 1
    assert_optimal(problem, whole)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("kind", ["subsampled", "signed", "gated"])
def test_other_programs_agree_with_cvxpy(kind, loss):
    """Few patterns, most of them of no cell; the program is written down once more, row by row."""
    rng = np.random.default_rng(5)
    X, y = rng.normal(size=(8, 3)), targets(rng, 8, loss)
    patterns = rng.random((6, 8)) < 0.7
    patterns[:3] = (X @ rng.normal(size=(3, 3)) >= 0).T
    signs = np.array([1.0, -1, 1, 1, -1, -1])
    problem = problem_of(X, y, 0.05, loss)
    if kind == "gated":
        result, kinds = gated_program(problem, patterns), (1.0,)
    else:
        result, kinds = pattern_program(problem, patterns, signs if kind == "signed" else None), (1.0, -1.0)
    outputs, size, cones = 0, 0, []
    for pattern, own in zip(patterns, signs, strict=True):
        for sign in kinds if kind != "signed" else (own,):
            u = cp.Variable(3)
            outputs = outputs + sign * (pattern[:, None] * X) @ u
            size = size + cp.norm(u)
            if kind != "gated":
                cones.append(((2.0 * pattern - 1)[:, None] * X) @ u >= 0)
    F = cp.Variable(8)
    loss_term = reference._cvxpy_loss(loss, F, y, np.ones(8))
    program = cp.Problem(cp.Minimize(loss_term + 0.05 * size), [outputs == F, *cones])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "may be inaccurate": the comparison says how inaccurate
        program.solve(solver=cp.CLARABEL, tol_gap_abs=1e-11, tol_gap_rel=1e-11, tol_feas=1e-11)
    assert result.value == pytest.approx(program.value, rel=1e-8)
    assert_optimal(problem, result)


# ------------------------------------------------------------------------------------------------ any data


@st.composite
def tasks(draw):
    """Integer grids, with everything that degenerates: zero, repeated and collinear rows and columns, d > n, n = 1."""
    n, d = draw(st.integers(1, 6)), draw(st.integers(1, 3))
    loss = draw(st.sampled_from(LOSSES))
    X = np.array(draw(st.lists(st.lists(st.integers(-2, 2), min_size=d, max_size=d), min_size=n, max_size=n)), float)
    labels = st.sampled_from([-1, 1]) if loss in ("logistic", "squared_hinge") else st.integers(-3, 3)
    y = np.array(draw(st.lists(labels, min_size=n, max_size=n)), float)
    w = np.array(draw(st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0]), min_size=n, max_size=n)))
    assume(w.any())
    return X, y, w, loss, draw(st.sampled_from([0.03, 0.3, 1.0])), draw(st.booleans())


@settings(max_examples=60)
@given(tasks())
@example((np.zeros((2, 2)), np.array([1.0, -1.0]), np.ones(2), "huber", 0.3, False))
@example((np.array([[1.0, 0, 0]]), np.array([2.0]), np.ones(1), "squared", 0.3, True))
def test_degenerate_data_agree_with_cvxpy(task):
    X, y, w, loss, beta, intercept = task
    try:
        problem = problem_of(X, y, beta, loss, intercept=intercept, sample_weight=w)
    except ValueError:
        assert intercept  # a free intercept without a finite optimum
        return
    cells = reference.cells(X)
    result = pattern_program(problem, cells)
    assert_optimal(problem, result)
    optimum = reference.solve(X, y, beta, loss=loss, intercept=intercept, sample_weight=w)
    slack = 1e-7 * max(optimum.upper, 1e-3)
    assert optimum.lower - slack <= result.value <= optimum.upper + slack
    gated = gated_program(problem, cells)
    assert_optimal(problem, gated)
    assert gated.value <= result.value * (1 + 1e-9) + 1e-15


@settings(max_examples=25)
@given(tasks(), st.data())
def test_any_set_of_patterns_has_primal_equal_dual(task, data):
    """Patterns of no cell (their cones may be {0}), repeated ones, and signs."""
    X, y, w, loss, beta, _ = task
    n = len(X)
    problem = problem_of(X, y, beta, loss, sample_weight=w)
    rows = st.lists(st.lists(st.booleans(), min_size=n, max_size=n), min_size=1, max_size=4)
    patterns = np.array(data.draw(rows))
    signs = np.array(data.draw(st.lists(st.sampled_from([-1, 1]), min_size=len(patterns), max_size=len(patterns))))
    both, signed = pattern_program(problem, patterns), pattern_program(problem, patterns, signs)
    for result in (both, signed):
        assert_optimal(problem, result)
        cones = (2.0 * result.patterns - 1)[:, :, None] * X
        inside = np.einsum("kij,jk->ki", cones, result.U)
        assert inside.min() >= -1e-9 * max(np.abs(result.U).max(), 1.0)
    assert both.value <= signed.value * (1 + 1e-9) + 1e-15


@pytest.mark.parametrize(("a", "b"), [(1e100, 1e-80), (1e-120, 1e90), (1e60, 1e60), (1e-70, 1e-70)])
@pytest.mark.parametrize("loss", ["squared", "huber", "logistic"])
def test_scales_of_the_data_change_nothing(loss, a, b):
    """X -> aX, y -> by, beta -> ab beta (and b = 1 for labels, delta fixed): the value scales by b^2."""
    if loss == "huber":
        a, b = a, 1.0
    rng = np.random.default_rng(1)
    X, y = rng.normal(size=(7, 2)), targets(rng, 7, loss)
    b = 1.0 if loss == "logistic" else b
    cells = reference.cells(X)
    plain = pattern_program(problem_of(X, y, 0.1, loss), cells)
    scaled = pattern_program(problem_of(a * X, b * y, 0.1 * a * b, loss), cells)
    assert scaled.solved
    assert scaled.value / b / b == pytest.approx(plain.value, rel=1e-9)


def test_a_large_program_is_solved_by_few_blocks():
    """All 382 cells of 20 rows: the working set agrees with one solve over all blocks, and prices most of them out."""
    rng = np.random.default_rng(2)
    X, y = rng.normal(size=(20, 3)), rng.normal(size=20)
    cells = reference.cells(X)
    assert len(cells) == reference.generic_count(20, 3)
    problem = problem_of(X, y, 0.3)
    few, whole = pattern_program(problem, cells), pattern_program(problem, cells, batch=EVERYTHING)
    assert few.value == pytest.approx(whole.value, rel=1e-9)
    assert few.used < 0.25 * whole.used == 0.25 * 2 * len(cells)
    assert_optimal(problem, few)


def test_gated_bounds_relu_from_below():
    """Full row rank: d* <= p* <= d* + 2 beta kappa sum |w_i|, over the same patterns."""
    rng = np.random.default_rng(0)
    for n, d in ((4, 4), (3, 5)):
        X, y = rng.normal(size=(n, d)), rng.normal(size=n)
        cells = reference.cells(X)
        problem = problem_of(X, y, 0.1)
        gated, relu = gated_program(problem, cells), pattern_program(problem, cells)
        kappa = np.linalg.cond(X)
        norms = np.linalg.norm(gated.U, axis=0).sum()
        assert gated.value <= relu.value <= gated.value + 2 * 0.1 * kappa * norms


def test_the_dual_point_bounds_every_network():
    """Over all cells the bound holds for networks of any patterns: the exact gauge of lam is at most beta."""
    rng = np.random.default_rng(4)
    X, y = rng.normal(size=(10, 2)), rng.normal(size=10)
    result = pattern_program(problem_of(X, y, 0.2), reference.cells(X))
    lam = result.dual[:, 0]
    assert reference.exact_gauge(X, lam) <= 0.2 * (1 + 1e-12)
    assert lam @ y - 0.5 * lam @ lam == pytest.approx(result.dual_value, rel=1e-12)


@pytest.mark.parametrize("loss", LOSSES)
def test_kkt_residuals_see_every_kind_of_error(loss):
    """Each condition is broken by itself, at an answer for which all of them hold."""
    rng = np.random.default_rng(6)
    X, y = rng.normal(size=(8, 2)), targets(rng, 8, loss)
    problem = problem_of(X, y, 0.1, loss, intercept=True)
    result = pattern_program(problem, reference.cells(X))
    assert kkt_residuals(problem, result).largest <= 1e-5
    moved = result.U + 0.1 * rng.normal(size=result.U.shape)
    assert kkt_residuals(problem, replace(result, U=moved)).primal > 1e-2
    assert kkt_residuals(problem, replace(result, U=1.1 * result.U)).complementarity <= 1.0
    assert kkt_residuals(problem, replace(result, U=1.1 * result.U)).gradient > 1e-3
    longer = kkt_residuals(problem, replace(result, dual=1.01 * result.dual))
    assert longer.dual == pytest.approx(0.01, rel=1e-6)
    assert longer.stationarity > 1e-3
    shifted = kkt_residuals(problem, replace(result, dual=result.dual + 0.01 * np.abs(result.dual).max()))
    assert shifted.domain > 1e-4
    assert kkt_residuals(problem, replace(result, value=1.01 * result.value)).gap == pytest.approx(
        0.01 / 1.01, rel=1e-6
    )
    if loss == "logistic":
        assert kkt_residuals(problem, replace(result, dual=-result.dual)).domain == np.inf


def test_kinds_of_input_give_the_same_answer():
    rng = np.random.default_rng(7)
    X, y = np.round(rng.normal(size=(8, 3)), 2).astype(np.float32), rng.normal(size=8)
    X[rng.random(X.shape) < 0.3] = 0
    cells = reference.cells(X.astype(float))
    plain = pattern_program(problem_of(X.astype(float), y, 0.1), cells)
    for kind in (X, sparse.csr_array(X.astype(float)), pd.DataFrame(X)):
        for patterns in (cells, cells.tolist(), cells.astype(float)):
            assert pattern_program(problem_of(kind, y, 0.1), patterns).value == pytest.approx(plain.value, rel=1e-9)


# ------------------------------------------------------------------------------------------------ bad input


def test_refusals():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(6, 2)), rng.normal(size=6)
    cells = reference.cells(X)
    problem = problem_of(X, y, 0.1)
    softmax = problem_of(X, np.arange(6) % 3, 0.1, "softmax")
    outputs = problem_of(X, np.column_stack([y, y]), 0.1)
    for several in (softmax, outputs):
        with pytest.raises(ValueError, match="one output"):
            pattern_program(several, cells)
        with pytest.raises(ValueError, match="one output"):
            gated_program(several, cells)
    for wrong in (cells.T, cells[:0], cells[0], np.ones((3, 5))):
        with pytest.raises(ValueError, match="patterns must have shape"):
            pattern_program(problem, wrong)
    with pytest.raises(ValueError, match="0 and 1"):
        pattern_program(problem, np.full((2, 6), 0.5))
    with pytest.raises(ValueError, match="signs must be"):
        pattern_program(problem, cells, np.zeros(len(cells)))
    with pytest.raises(ValueError, match="signs must be"):
        pattern_program(problem, cells, [1.0])


def test_results_print_what_they_prove():
    problem = problem_of([[1.0]], [1.0], 1.0, sample_weight=[2.0])
    text = str(pattern_program(problem, [[1], [0]]))
    assert "0.75" in text
    assert "solved" in text
