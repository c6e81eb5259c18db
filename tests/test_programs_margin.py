"""The finite max-margin program and its dual: closed forms, CVXPY, weak duality, and proofs of inseparability."""

from __future__ import annotations

import warnings

import cvxpy as cp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import nnls

import reference
from extremal.programs import MarginResult, ProgramStatus, margin_program, margin_residuals

EVERYTHING = 10**9


def assert_optimal(X, y, result: MarginResult, **options):
    kkt = margin_residuals(X, y, result, **options)
    assert result.status is ProgramStatus.SOLVED
    assert result.separable
    assert result.gap <= 1e-8
    assert kkt.primal <= 1e-9
    assert kkt.domain <= 1e-12
    assert kkt.dual <= 1e-12
    assert kkt.complementarity <= 1e-7
    assert kkt.gap <= 1e-7
    assert kkt.stationarity <= 1e-3
    margins = np.where(np.asarray(y) > 0, 1, -1) * result.network.predict(X)[:, 0]
    assert margins.min() == pytest.approx(1.0, abs=1e-12)
    assert result.value == pytest.approx(result.network.penalty(), rel=1e-14)


def assert_inseparable(X, y, result: MarginResult, cells):
    """The ray itself: y^T lam = 1, the right signs, and no direction in any cell that it sees."""
    y, lam = np.where(np.asarray(y) > 0, 1.0, -1.0), result.dual[:, 0]
    assert result.status is ProgramStatus.NOT_SEPARABLE
    assert not result.separable
    assert result.network.width == 0
    assert result.margin == 0.0
    assert y @ lam == pytest.approx(1.0, abs=1e-9)
    assert np.all(y * lam >= 0)
    assert reference.exact_gauge(X, lam, cells) <= 1e-8 * max(np.linalg.norm(X, axis=1).max(), 1e-300)


def orthogonally_separable(rng, n, d):
    """Same-class inner products positive, others nonpositive."""
    half = d // 2
    X = np.zeros((n, d))
    X[: n // 2, :half] = rng.uniform(0.2, 1.0, (n // 2, half))
    X[n // 2 :, half:] = rng.uniform(0.2, 1.0, (n - n // 2, d - half))
    X[: n // 2, half:] = -rng.uniform(0.0, 0.1, (n // 2, d - half))
    X[n // 2 :, :half] = -rng.uniform(0.0, 0.1, (n - n // 2, half))
    y = np.where(np.arange(n) < n // 2, 1.0, -1.0)
    gram = (X @ X.T) * np.outer(y, y)
    assert np.all((X @ X.T)[np.equal.outer(y, y)] > 0)
    assert np.all(gram[~np.equal.outer(y, y)] >= 0)
    return X, y


def hard_margin(rows):
    """argmin |v| subject to rows v >= 1: least distance programming by nonnegative least squares."""
    d = rows.shape[1]
    system, target = np.vstack([rows.T, np.ones(len(rows))]), np.append(np.zeros(d), 1.0)
    alpha, _ = nnls(system, target)
    residual = system @ alpha - target
    return -residual[:d] / residual[d]


def test_two_orthogonal_samples():
    """X = [[1.65, .47], [-.47, 1.35]], y = (1, -1): P* = 1/|x_1| + 1/|x_2| = 1.282432."""
    X, y = np.array([[1.65, 0.47], [-0.47, 1.35]]), np.array([1.0, -1.0])
    result = margin_program(X, y, reference.cells(X))
    assert result.value == pytest.approx((1 / np.linalg.norm(X, axis=1)).sum(), rel=1e-9)
    assert result.value == pytest.approx(1.282432, abs=5e-7)
    assert result.margin == pytest.approx(0.5 / 1.282432, abs=1e-6)
    assert_optimal(X, y, result)


@pytest.mark.parametrize("seed", range(3))
def test_orthogonally_separable_data(seed):
    """P* = |v_+| + |v_-|, with the hard-margin vectors of the classes; one neuron for each."""
    X, y = orthogonally_separable(np.random.default_rng(seed), 8, 4)
    vectors = [hard_margin(X[y == label]) for label in (1, -1)]
    result = margin_program(X, y, reference.cells(X))
    assert result.value == pytest.approx(sum(np.linalg.norm(v) for v in vectors), rel=1e-8)
    assert_optimal(X, y, result)
    np.testing.assert_allclose((y * result.network.predict(X)[:, 0])[result.dual[:, 0] * y > 1e-4], 1.0, atol=1e-6)


def test_orthonormal_rows():
    """X X^T = I: sqrt(n_+) + sqrt(n_-)."""
    X = np.linalg.qr(np.random.default_rng(0).normal(size=(8, 5)))[0].T
    y = np.array([1, 1, 1, -1, -1])
    result = margin_program(X, y, reference.cells(X))
    assert result.value == pytest.approx(np.sqrt(3) + np.sqrt(2), rel=1e-9)
    assert_optimal(X, y, result)


@pytest.mark.parametrize("intercept", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_primal_and_dual_agree_with_cvxpy(seed, intercept):
    """The primal over all cells, and D* = max y^T lam with the finite form of g(lam) <= 1."""
    rng = np.random.default_rng(seed)
    X, y = rng.normal(size=(8, 3)), np.where(np.arange(8) % 2 == 0, 1.0, -1.0)
    cells = reference.cells(X)
    result = margin_program(X, y, cells, intercept=intercept)
    assert_optimal(X, y, result, intercept=intercept)
    sides = 2.0 * cells - 1
    U, V = cp.Variable((3, len(cells))), cp.Variable((3, len(cells)))
    outputs = cp.sum(cp.multiply(cells.T.astype(float), X @ (U - V)), axis=1) + (cp.Variable() if intercept else 0.0)
    inside = [cp.multiply(sides.T, X @ part) >= 0 for part in (U, V)]
    size = cp.sum(cp.norm(U, 2, axis=0)) + cp.sum(cp.norm(V, 2, axis=0))
    primal = cp.Problem(cp.Minimize(size), [cp.multiply(y, outputs) >= 1, *inside])
    lam = cp.Variable(8)
    feasible = [cp.multiply(y, lam) >= 0] + ([cp.sum(lam) == 0] if intercept else [])
    for sign in (1.0, -1.0):
        rho = cp.Variable((len(cells), 8), nonneg=True)
        moments = sign * (cells * 1.0) @ cp.diag(lam) @ X + cp.multiply(rho, sides) @ X
        feasible.append(cp.norm(moments, 2, axis=1) <= 1)
    dual = cp.Problem(cp.Maximize(y @ lam), feasible)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for program in (primal, dual):
            program.solve(solver=cp.CLARABEL, tol_gap_abs=1e-11, tol_gap_rel=1e-11, tol_feas=1e-11)
            assert program.value == pytest.approx(result.value, rel=1e-7)


def test_bounds_from_any_multiplier_and_any_separating_network():
    """y^T lam / g(lam) <= P* <= |theta|^2 / (2 min_i y_i f_i)."""
    rng = np.random.default_rng(1)
    X, y = rng.normal(size=(9, 3)), np.sign(rng.normal(size=9))
    cells = reference.cells(X)
    result = margin_program(X, y, cells)
    for _ in range(20):
        lam = y * rng.exponential(size=9)
        assert y @ lam / reference.exact_gauge(X, lam, cells) <= result.value
    assert reference.exact_gauge(X, result.dual[:, 0], cells) <= 1 + 1e-12
    assert y @ result.dual[:, 0] == pytest.approx(result.dual_value, rel=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_working_sets_agree_with_one_solve(seed):
    rng = np.random.default_rng(seed)
    X, y = rng.normal(size=(12, 3)), np.sign(rng.normal(size=12))
    cells = reference.cells(X)
    few, whole = margin_program(X, y, cells), margin_program(X, y, cells, batch=EVERYTHING)
    assert few.value == pytest.approx(whole.value, rel=1e-8)
    assert few.used < 0.5 * whole.used
    assert_optimal(X, y, few)
    assert_optimal(X, y, whole)


def test_signed_patterns_of_the_solution_are_enough():
    """The signed program over the patterns in use has the same value; without one sign it has not."""
    rng = np.random.default_rng(2)
    X, y = rng.normal(size=(8, 2)), np.sign(rng.normal(size=8))
    result = margin_program(X, y, reference.cells(X))
    own = result.solution
    again = margin_program(X, y, own.patterns, own.signs)
    assert again.value == pytest.approx(result.value, rel=1e-8)
    assert_optimal(X, y, again)
    positive = margin_program(X, y, own.patterns, np.ones(len(own.patterns)))
    assert positive.status is ProgramStatus.NOT_SEPARABLE


@pytest.mark.parametrize("conflict", ["repeated", "parallel", "zero"])
def test_conflicting_rows_are_proven_inseparable(conflict):
    """A row with both labels, up to a positive factor, or a zero row, where every network without bias is 0."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(7, 2)), np.sign(rng.normal(size=7))
    X[6] = {"repeated": X[0], "parallel": 3 * X[0], "zero": 0 * X[0]}[conflict]
    y[6] = -y[0]
    cells = reference.cells(X)
    assert_inseparable(X, y, margin_program(X, y, cells), cells)


def test_too_few_patterns_are_proven_inseparable():
    rng = np.random.default_rng(3)
    X, y = rng.normal(size=(12, 2)), np.sign(rng.normal(size=12))
    cells = reference.cells(X)
    assert margin_program(X, y, cells).separable
    for patterns in (cells[:1], cells[:8], np.ones((1, 12), bool)):
        assert_inseparable(X, y, margin_program(X, y, patterns), patterns)


def test_a_penalised_bias_is_a_column_of_ones():
    rng = np.random.default_rng(4)
    X, y = rng.normal(size=(6, 1)), np.array([1, -1, 1, -1, 1, -1])
    ones = np.column_stack([X, np.ones(6)])
    cells = reference.cells(ones)
    biased, plain = margin_program(X, y, cells, bias="penalized"), margin_program(ones, y, cells)
    assert biased.value == pytest.approx(plain.value, rel=1e-10)
    assert biased.network.bias
    np.testing.assert_allclose(biased.network.predict(X), plain.network.predict(ones), atol=1e-6)
    assert_optimal(X, y, biased, bias="penalized")


@settings(max_examples=40)
@given(st.data())
def test_integer_data(data):
    """Grids with all their degeneracies: separable iff no row carries both labels along its ray."""
    n, d = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 3))
    X = np.array(
        data.draw(st.lists(st.lists(st.integers(-2, 2), min_size=d, max_size=d), min_size=n, max_size=n)), float
    )
    y = np.array(data.draw(st.lists(st.sampled_from([-1, 1]), min_size=n, max_size=n)), float)
    cells = reference.cells(X)
    result = margin_program(X, y, cells)
    rays = [tuple(row / np.abs(row).max()) if row.any() else None for row in X]
    labels: dict[object, set[float]] = {}
    for ray, label in zip(rays, y, strict=True):
        labels.setdefault(ray, set()).add(label)
    if None in labels or any(len(values) == 2 for values in labels.values()):
        assert_inseparable(X, y, result, cells)
    else:
        assert_optimal(X, y, result)


@pytest.mark.parametrize("scale", [1e-140, 1e-20, 1e20, 1e140])
def test_scales(scale):
    rng = np.random.default_rng(5)
    X, y = rng.normal(size=(7, 2)), np.sign(rng.normal(size=7))
    cells = reference.cells(X)
    plain, scaled = margin_program(X, y, cells), margin_program(scale * X, y, cells)
    assert scaled.solved
    assert scaled.value * scale == pytest.approx(plain.value, rel=1e-9)


def test_refusals():
    X, y = np.eye(3), np.array([1, -1, 1])
    ones = np.ones((1, 3))
    with pytest.raises(ValueError, match="labels"):
        margin_program(X, [1, 2, 3], ones)
    with pytest.raises(ValueError, match="rows"):
        margin_program(X, y[:2], ones)
    with pytest.raises(ValueError, match="NaN"):
        margin_program(X * np.nan, y, ones)
    with pytest.raises(ValueError, match="patterns"):
        margin_program(X, y, np.ones((1, 4)))
    with pytest.raises(ValueError, match="bias"):
        margin_program(X, y, ones, bias="free")
    with pytest.raises(ValueError, match="single class"):
        margin_program(X, [1, 1, 1], ones, intercept=True)
