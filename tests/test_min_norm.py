"""max_margin and min_norm: closed forms, the enumerated programs, rays, invariances, and attacks on the proof."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

import extremal
import reference
from extremal.gauge import GaugeStatus
from extremal.losses import SquaredHinge
from extremal.problem import Problem
from extremal.programs import interpolation_program, margin_program
from extremal.training import constrained
from extremal.training.constrained import MinNormStatus, max_margin, min_norm


def check(result, X, y, *, margins=True):
    """What every answer must satisfy, evaluated here."""
    y = np.asarray(y, dtype=float)
    f = result.network.predict(X).ravel()
    if margins:
        assert (y * f).min() >= 1 - 1e-9
        assert (y * result.lam).min() >= -1e-12 * np.abs(result.lam).max()
    else:
        assert np.abs(f - y).max() <= 1e-6 * np.abs(y).max()
    assert result.dual_value <= result.value * (1 + 1e-9)
    assert y @ result.lam == pytest.approx(result.dual_value, rel=1e-9)
    assert result.gap <= 1e-6
    assert result.status is MinNormStatus.OPTIMAL


def orthogonally_separable(n, d, seed):
    """Rows of one class have inner products >= 0 with each other, and <= 0 with those of the other."""
    rng = np.random.default_rng(seed)
    half = np.abs(rng.normal(size=(n, d))) + 0.1
    y = np.where(np.arange(n) % 2, 1.0, -1.0)
    return half * y[:, None], y


@pytest.mark.parametrize("seed", range(4))
def test_orthogonally_separable_data_have_two_support_vector_machines(seed):
    """1.11: P* = |v_+| + |v_-|, with the hard-margin solutions v of the two classes."""
    X, y = orthogonally_separable(10, 3, seed)
    result = max_margin(X, y)
    lengths = []
    for c in (1, -1):
        rows = X[y == c]
        v = minimize(
            lambda v: v @ v,
            rows.sum(axis=0),
            constraints={"type": "ineq", "fun": lambda v, rows=rows: rows @ v - 1, "jac": lambda v, rows=rows: rows},
            options={"ftol": 1e-14, "maxiter": 500},
        ).x
        lengths.append(np.linalg.norm(v))
    assert result.value == pytest.approx(sum(lengths), rel=1e-6)
    assert result.margin == pytest.approx(0.5 / sum(lengths), rel=1e-6)
    check(result, X, y)
    direction = result.network.hidden / np.linalg.norm(result.network.hidden, axis=0)
    assert np.linalg.matrix_rank(direction, tol=1e-4) <= 2


def test_whitened_rows():
    """3.8 and 3.5: orthonormal rows have the values sqrt(n_+) + sqrt(n_-) and |y_+| + |y_-|."""
    X = np.linalg.qr(np.random.default_rng(0).normal(size=(7, 7)))[0][:5]
    y = np.array([1.0, 1, 1, -1, -1])
    assert max_margin(X, y).value == pytest.approx(np.sqrt(3) + np.sqrt(2), rel=1e-7)
    t = np.array([1.0, -2, 3, 0, -0.5])
    result = min_norm(X, t)
    assert result.value == pytest.approx(np.sqrt(10) + np.sqrt(4.25), rel=1e-7)
    check(result, X, t, margins=False)
    scaled = X * np.array([1.0, 2, 3, 4, 5])[:, None]
    expected = np.hypot(1, 1) + np.hypot(2 / 2, 0.5 / 5)
    assert min_norm(scaled, t).value == pytest.approx(expected, rel=1e-7)


def test_the_counterexample_with_a_free_bias():
    """3.11: five points on a line, P* = 8, proved by v* = (1, -3, 2, 1, -1); the bias costs nothing."""
    a, y = np.array([-2.0, -1, 0, 1, 2])[:, None], np.array([1.0, -1, 1, 1, -1])
    for result in (min_norm(a, y, bias="free"), max_margin(a, y, bias="free")):
        check(result, a, y, margins=False)
        assert result.value == pytest.approx(8, rel=1e-6)
        assert 8 * (1 - 1e-6) <= result.dual_value <= 8 * (1 + 1e-9)
        assert result.lam == pytest.approx([1, -3, 2, 1, -1], abs=1e-4)
        assert abs(result.lam.sum()) <= 1e-9
    assert min_norm(a, y, bias="penalized").value > 10


def test_the_two_by_two_example():
    X = np.array([[1.65, 0.47], [-0.47, 1.35]])
    result = max_margin(X, [1, -1])
    assert result.value == pytest.approx((1 / np.linalg.norm(X, axis=1)).sum(), rel=1e-8)
    assert max_margin(X, [1, 0]).value == pytest.approx(result.value, rel=1e-8)


@pytest.mark.parametrize("bias", ["none", "penalized"])
@pytest.mark.parametrize("intercept", [False, True])
def test_the_enumerated_programs_agree(bias, intercept):
    rng = np.random.default_rng(1)
    X, y, t = rng.normal(size=(9, 2)), np.where(np.arange(9) % 3, 1.0, -1.0), rng.normal(size=9)
    cells = reference.cells(reference.augmented(X, bias))
    result = max_margin(X, y, bias=bias, intercept=intercept)
    expected = margin_program(X, y, cells, bias=bias, intercept=intercept)
    assert result.value == pytest.approx(expected.value, rel=1e-6)
    check(result, X, y)
    result = min_norm(X, t, bias=bias, intercept=intercept)
    expected = interpolation_program(X, t, cells, bias=bias, intercept=intercept)
    assert result.value == pytest.approx(expected.value, rel=1e-6)
    check(result, X, t, margins=False)


def test_cvxpy_agrees_on_interpolation():
    import cvxpy as cp

    rng = np.random.default_rng(5)
    X, t = rng.normal(size=(6, 2)), rng.normal(size=6)
    cells = reference.cells(X)
    U, V = cp.Variable((2, len(cells))), cp.Variable((2, len(cells)))
    conditions, f = [], 0
    for k, cell in enumerate(cells):
        sides = X * np.where(cell, 1.0, -1.0)[:, None]
        conditions += [sides @ U[:, k] >= 0, sides @ V[:, k] >= 0]
        f = f + cp.multiply(cell.astype(float), X @ (U[:, k] - V[:, k]))
    size = cp.sum(cp.norm(U, 2, axis=0)) + cp.sum(cp.norm(V, 2, axis=0))
    value = cp.Problem(cp.Minimize(size), [*conditions, f == t]).solve(solver=cp.CLARABEL)
    assert min_norm(X, t).value == pytest.approx(value, rel=1e-6)


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_integer_data(data):
    """Separable or not is decided exactly; both answers prove themselves."""
    n, d = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 3))
    small = st.integers(-2, 2)
    X = np.array(data.draw(st.lists(st.lists(small, min_size=d, max_size=d), min_size=n, max_size=n)), dtype=float)
    y = np.array(data.draw(st.lists(st.sampled_from([-1.0, 1.0]), min_size=n, max_size=n)))
    result = max_margin(X, y)
    if result.possible:
        check(result, X, y)
        assert y @ result.lam / extremal.gauge(X, result.lam).upper <= result.value * (1 + 1e-9)
    else:
        assert np.isinf(result.value)
        assert (y * result.lam).min() >= 0
        assert y @ result.lam == pytest.approx(1)
        U = np.random.default_rng(0).normal(size=(d, 200))
        assert np.abs(result.lam @ np.maximum(X @ U, 0)).max() <= 1e-8 * np.abs(X).max(initial=1)


@given(st.integers(0, 10_000))
@settings(max_examples=10, deadline=None)
def test_scaling_permutation_and_rotation(seed):
    rng = np.random.default_rng(seed)
    X, y = rng.normal(size=(7, 3)), rng.choice([-1.0, 1.0], 7)
    value = max_margin(X, y).value
    order, turn = rng.permutation(7), np.linalg.qr(rng.normal(size=(3, 3)))[0]
    assert max_margin(X[order], y[order]).value == pytest.approx(value, rel=2e-6)
    assert max_margin(X @ turn, -y).value == pytest.approx(value, rel=2e-6)
    assert max_margin(1e8 * X, y).value == pytest.approx(1e-8 * value, rel=2e-6)
    assert max_margin(np.vstack([X, X, 2 * X]), np.tile(y, 3)).value == pytest.approx(value, rel=2e-6)
    t = rng.normal(size=7)
    least = min_norm(X, t).value
    assert min_norm(1e-9 * X, 1e5 * t).value == pytest.approx(1e14 * least, rel=2e-6)
    assume(np.abs(t).min() > 1e-3)
    assert max_margin(X, np.sign(t)).value <= least / np.abs(t).min() * (1 + 1e-6)


def test_no_trained_network_is_smaller():
    """Networks trained with a small penalty, scaled to margin one, are never below the proven bound."""
    rng = np.random.default_rng(3)
    X, y = rng.normal(size=(12, 3)), rng.choice([-1.0, 1.0], 12)
    result = max_margin(X, y)
    check(result, X, y)
    best = np.inf
    for seed in range(20):
        problem = Problem(extremal.design.Design(X), SquaredHinge.from_data(y), 10.0 ** -(2 + seed % 4))
        net = extremal.training.fit_problem(problem, random_state=seed, proof=False, time_limit=0.3).network
        margin = (y * net.predict(X).ravel()).min()
        if margin > 0:
            best = min(best, net.penalty() / margin)
    assert result.dual_value <= best
    assert best <= result.value * 1.01  # the attack is a serious one


def test_contradictions_are_proved():
    """Equal rows with different labels; x, -x and a third row whose odd part is not linear."""
    for X, y in [
        ([[1.0], [2.0]], [1, -1]),
        ([[0.0, 0.0], [1.0, 2.0]], [1, 1]),
        ([[1.0, 2, 3], [3.0, 6, 9], [5.0, 7, 12]], [1, -1, -1]),
        ([[1.0, 0], [-1, 0], [0, 1], [0, -1], [1, 1], [-1, -1]], [1, -1, 1, -1, -1, 1]),
    ]:
        result = max_margin(X, y)
        assert result.status is MinNormStatus.IMPOSSIBLE
        assert result.network.width == 0
        assert "no network" in str(result)
    assert max_margin([[1.0], [2.0]], [1, -1], bias="penalized").possible
    assert min_norm([[1.0], [1.0]], [1.0, 1.5], bias="free").status is MinNormStatus.IMPOSSIBLE


def test_bad_input():
    X = np.eye(3)
    with pytest.raises(ValueError, match="labels"):
        max_margin(X, [1, 2, 3])
    with pytest.raises(ValueError, match="3 rows and y has 2"):
        max_margin(X, [1, -1])
    with pytest.raises(ValueError, match="NaN"):
        max_margin(np.full((2, 2), np.nan), [1, -1])
    with pytest.raises(ValueError, match="single class"):
        max_margin(X, [1, 1, 1], bias="free")
    with pytest.raises(ValueError, match="constant y"):
        min_norm(X, [2.0, 2.0, 2.0], intercept=True)
    with pytest.raises(ValueError, match="not all zero"):
        min_norm(X, np.zeros(3))
    with pytest.raises(ValueError, match="bias"):
        max_margin(X, [1, -1, 1], bias="some")
    with pytest.raises(ValueError, match="time_limit"):
        max_margin(X, [1, -1, 1], time_limit=0)
    assert max_margin(np.float32([[1.0, 2.0]]), [1]).value == pytest.approx(1 / np.sqrt(5), rel=1e-7)


def test_control_c_and_the_time_limit_leave_valid_bounds(monkeypatch):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 8)), rng.choice([-1.0, 1.0], 60)
    short = max_margin(X, y, time_limit=1.0)
    assert short.status in (MinNormStatus.TIME_LIMIT, MinNormStatus.RELAXED)
    assert 0 < short.dual_value <= short.value
    assert short.seconds < 6
    count = [0]
    usual = constrained.Task.solve

    def interrupted(self, *arguments):
        count[0] += 1
        if count[0] == 3:
            raise KeyboardInterrupt
        return usual(self, *arguments)

    monkeypatch.setattr(constrained.Task, "solve", interrupted)
    result = max_margin(X, y)
    assert result.status is MinNormStatus.INTERRUPTED
    assert result.dual_value <= result.value < np.inf
    assert (y * result.network.predict(X).ravel()).min() >= 1 - 1e-9


def test_an_interrupted_proof_ends_the_search(monkeypatch):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(12, 3)), rng.choice([-1.0, 1.0], 12)
    usual, calls = constrained.bounds_of, []

    def interrupted(*arguments, **options):
        calls.append(0)
        found = usual(*arguments, **options)
        return replace(found, upper=2 * found.upper, lower=1.5, status=GaugeStatus.INTERRUPTED)

    monkeypatch.setattr(constrained, "bounds_of", interrupted)
    result = max_margin(X, y)
    assert result.status is MinNormStatus.INTERRUPTED
    assert len(calls) == 1
    assert 0 < result.dual_value <= result.value
