"""Cone decompositions: w = u - v in the cone, the proved bounds, the optimal value, and gated networks as ReLU ones."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rational
import reference
from extremal.problem import Problem
from extremal.programs.decomposition import cone_decomposition
from extremal.programs.gated_conversion import gated_to_relu
from extremal.programs.pattern_cone import PatternCone


def gaussian(n, d, m, seed):
    """Data, weights, and the patterns of random gates (so that every cone has interior)."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d))
    return X, (X @ rng.normal(size=(d, m)) > 0).T, rng.normal(size=(d, m))


def inside(X, pattern, u, tol=1e-12):
    """Whether u has the pattern, up to rounding."""
    return np.all((X @ u) * np.where(pattern, 1, -1) >= -tol * np.linalg.norm(X, axis=1) * np.linalg.norm(u))


def cvxpy_value(X, pattern, w):
    import cvxpy as cp

    u, v = cp.Variable(len(w)), cp.Variable(len(w))
    sides = X * np.where(pattern, 1.0, -1.0)[:, None]
    program = cp.Problem(cp.Minimize(cp.norm(u) + cp.norm(v)), [u - v == w, sides @ u >= 0, sides @ v >= 0])
    return program.solve(solver=cp.CLARABEL, tol_gap_abs=1e-10, tol_gap_rel=1e-10, tol_feas=1e-10)


@pytest.mark.parametrize(("n", "d"), [(3, 3), (4, 7), (8, 3), (12, 2), (1, 1), (1, 4)])
def test_both_methods_decompose_within_the_bound_and_the_program_is_solved(n, d):
    X, patterns, W = gaussian(n, d, 5, seed=n + d)
    closed = cone_decomposition(X, patterns, W, method="closed_form")
    best = cone_decomposition(X, patterns, W)
    for parts in (closed, best):
        assert np.allclose(parts.U - parts.V, W, rtol=0, atol=1e-13 * max(1, parts.value))
        assert all(inside(X, patterns[j], parts.U[:, j]) for j in range(5))
        assert all(inside(X, patterns[j], parts.V[:, j]) for j in range(5))
        assert np.all(parts.values <= parts.bounds * (1 + 1e-12))
        assert np.all(parts.duals <= parts.values * (1 + 1e-12))
        assert parts.violation < 1e-12
    assert np.all(best.values <= closed.values * (1 + 1e-12))
    assert np.allclose(best.duals, best.values, rtol=1e-8)
    for j in range(5):
        assert best.values[j] == pytest.approx(cvxpy_value(X, patterns[j], W[:, j]), rel=1e-7)


def test_full_row_rank_factor_is_root_two_kappa_and_below_the_literatures():
    X, patterns, W = gaussian(4, 6, 1, seed=3)
    unit = X / np.linalg.norm(X, axis=1)[:, None]
    kappa = np.linalg.cond(unit)
    parts = cone_decomposition(X, patterns, W, method="closed_form")
    assert parts.bound == pytest.approx(min(np.sqrt(2) * kappa, _interior_factor(X, patterns[0])) * np.linalg.norm(W))
    assert parts.bound <= (1 + 2 * kappa) * np.linalg.norm(W)


def _interior_factor(X, pattern):
    """1 + 2 / depth, the depth from a second-order cone program."""
    import cvxpy as cp

    sides = X / np.linalg.norm(X, axis=1)[:, None] * np.where(pattern, 1.0, -1.0)[:, None]
    g, depth = cp.Variable(X.shape[1]), cp.Variable()
    program = cp.Problem(cp.Maximize(depth), [sides @ g >= depth, cp.norm(g) <= 1])
    return 1 + 2 / program.solve(solver=cp.CLARABEL, tol_gap_abs=1e-10, tol_gap_rel=1e-10, tol_feas=1e-10)


def test_the_bound_is_attained_by_orthonormal_rows():
    # u >= w_+ and v >= w_- in every coordinate, so the optimum for X = I is |w_+| + |w_-| = sqrt(2) |w|
    parts = cone_decomposition(np.eye(2), [True, True], [1.0, -1.0])
    assert parts.value == pytest.approx(2.0, rel=1e-14)
    assert parts.bound == pytest.approx(2.0, rel=1e-14)
    assert parts.dual == pytest.approx(2.0, rel=1e-8)


def test_the_interior_factor_for_more_rows_than_features():
    X, patterns, W = gaussian(9, 3, 1, seed=8)
    parts = cone_decomposition(X, patterns, W, method="closed_form")
    assert parts.bound == pytest.approx(_interior_factor(X, patterns[0]) * np.linalg.norm(W), rel=1e-6)


def test_vectors_of_the_cone_and_of_its_negative_stay_whole():
    X = np.array([[1.0, 0.0], [1.0, 1.0]])
    for w, u in (([2.0, 1.0], [2.0, 1.0]), ([-2.0, -1.0], [0.0, 0.0])):
        parts = cone_decomposition(X, [True, True], w)
        assert np.array_equal(parts.U[:, 0], u)
        assert parts.value == parts.dual == np.linalg.norm(w)


def test_a_cone_without_interior_is_refused():
    with pytest.raises(ValueError, match="without interior"):
        cone_decomposition([[1.0], [-1.0]], [True, True], [1.0])
    X = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]])  # K is a ray: 0 x [0, inf)
    with pytest.raises(ValueError, match="pattern 1"):
        cone_decomposition(X, np.array([[1, 0, 1], [1, 1, 1]]), np.ones((2, 2)))


@pytest.mark.parametrize(
    ("patterns", "W", "message"),
    [
        (np.ones((1, 3)), np.ones((2, 1)), "must be"),
        (np.ones((2, 2)), np.ones((2, 1)), "2 patterns and 1"),
        (np.full((1, 2), 0.5), np.ones((2, 1)), "boolean"),
        (np.ones((1, 2)), np.array([[np.nan], [1.0]]), "NaN"),
    ],
)
def test_bad_input_is_refused(patterns, W, message):
    with pytest.raises(ValueError, match=message):
        cone_decomposition(np.eye(2), patterns, W)
    with pytest.raises(ValueError, match="method"):
        cone_decomposition(np.eye(2), np.ones((1, 2)), np.ones((2, 1)), method="best")


@pytest.mark.parametrize("scale", [1e-160, 1e149])
def test_scales_of_data_and_weights_do_not_matter(scale):
    X, patterns, W = gaussian(4, 3, 2, seed=5)
    X = np.vstack([X, np.zeros(3), X[:1]])
    patterns = np.hstack([patterns, [[False], [True]], patterns[:, :1]])
    plain = cone_decomposition(X, patterns, W)
    scaled = cone_decomposition(X * scale, patterns, W / scale)
    assert np.allclose(scaled.U * scale, plain.U, rtol=1e-9, atol=1e-9)
    assert scaled.value * scale == pytest.approx(plain.value, rel=1e-12)


@settings(max_examples=60)
@given(st.data())
def test_integer_data_with_all_degeneracies(data):
    n, d = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 4))
    X, w = data.draw(rational.integers(n, d)), data.draw(rational.integers(d))
    gate = data.draw(rational.integers(d)) + np.sqrt([2, 3, 5, 7][:d]) / 9
    pattern = X @ gate > 0
    parts = cone_decomposition(X, pattern, w)
    u, v = parts.U[:, 0], parts.V[:, 0]
    assert np.allclose(u - v, w, atol=1e-12)
    assert inside(X, pattern, u)
    assert inside(X, pattern, v)
    assert parts.value <= parts.bound * (1 + 1e-12)
    assert parts.dual == pytest.approx(parts.value, rel=1e-7, abs=1e-12)


@given(st.integers(0, 2**20))
def test_the_depth_of_a_cone_has_the_projection_as_dual(seed):
    # max over |g| <= 1 of min_i s_i . g  =  min over the simplex of |S^T a|
    X, patterns, _ = gaussian(5, 3, 1, seed)
    cone = PatternCone.of(X, patterns[0])
    g, depth = cone.interior
    assert np.linalg.norm(g) == pytest.approx(1)
    assert np.all(cone.sides @ g >= depth * (1 - 1e-12))
    tight = cone.sides @ g <= depth * (1 + 1e-9)
    a = np.linalg.lstsq(np.vstack([cone.sides[tight].T, np.ones(tight.sum())]), np.append(depth * g, 1.0), rcond=None)
    assert np.all(a[0] >= -1e-9)
    assert np.linalg.norm(cone.sides[tight].T @ a[0] - depth * g) <= 1e-9


def gated_optimum(X, y, beta, patterns, intercept=False):
    import cvxpy as cp

    W = cp.Variable((X.shape[1], patterns.shape[0]))
    b = cp.Variable() if intercept else 0.0
    outputs = cp.sum(cp.multiply(patterns.T.astype(float), X @ W), axis=1) + b
    program = cp.Problem(cp.Minimize(0.5 * cp.sum_squares(outputs - y) + beta * cp.sum(cp.norm(W, 2, axis=0))))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        value = program.solve(solver=cp.CLARABEL, tol_gap_abs=1e-11, tol_gap_rel=1e-11, tol_feas=1e-11)
    return value, W.value, float(b.value) if intercept else 0.0


@pytest.mark.parametrize(("n", "d", "intercept"), [(4, 4, False), (7, 2, False), (6, 3, True)])
def test_gated_networks_become_relu_networks(n, d, intercept):
    rng = np.random.default_rng(n)
    X, y, beta = rng.normal(size=(n, d)), rng.normal(size=n), 0.1
    patterns = reference.cells(X)
    gated, W, b = gated_optimum(X, y, beta, patterns, intercept)
    problem = Problem.from_data(X, y, beta=beta, bias="none", intercept=intercept)
    optimum = reference.solve(X, y, beta, intercept=intercept)
    found = gated_to_relu(problem, patterns, W, intercept=b)
    assert found.difference < 1e-12
    assert np.allclose(found.network.predict(X)[:, 0], (patterns.T * (X @ W)).sum(axis=1) + b, atol=1e-12)
    assert found.value == pytest.approx(problem.value(found.network), rel=1e-14)
    assert found.gated_value == pytest.approx(gated, rel=1e-7)
    # all cells are there: d* is below the ReLU optimum, and the decomposition above it
    assert found.lower == pytest.approx(gated, rel=1e-5)
    assert found.lower <= optimum.upper
    assert optimum.lower <= found.value <= found.bound
    assert found.gap_bound >= optimum.lower - gated
    excess = beta * (found.decomposition.value - np.linalg.norm(W, axis=0).sum())
    assert found.value == pytest.approx(found.gated_value + excess, rel=1e-10)
    closed = gated_to_relu(problem, patterns, W, intercept=b, method="closed_form")
    assert found.value <= closed.value * (1 + 1e-12)
    assert closed.value <= closed.bound * (1 + 1e-12)


def test_gated_conversion_refuses_what_it_cannot_do():
    X = np.eye(2)
    two = Problem.from_data(X, np.eye(2), beta=0.1, bias="none")
    with pytest.raises(ValueError, match="one output"):
        gated_to_relu(two, np.ones((1, 2)), np.ones((2, 1)))
    one = Problem.from_data(X, [1.0, 2.0], beta=0.1, bias="none")
    with pytest.raises(ValueError, match="intercept"):
        gated_to_relu(one, np.ones((1, 2)), np.ones((2, 1)), intercept=1.0)
    empty = gated_to_relu(one, np.ones((0, 2)), np.ones((2, 0)))
    assert empty.network.width == 0
    assert empty.value == empty.gated_value == 2.5
