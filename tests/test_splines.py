"""Linear splines against the 2n-column program (CVXPY), the certified search of any rank, and known numbers."""

from __future__ import annotations

import warnings
from fractions import Fraction

import cvxpy as cp
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import linprog

import extremal
from extremal.closed_forms import (
    LinearSpline,
    SplineResult,
    ntk,
    ntk_interpolant,
    ramps,
    spline_fit,
    spline_max_margin,
    spline_min_norm,
    spline_squared,
)
from extremal.closed_forms.banded import solve_banded
from extremal.closed_forms.spline_squared import Squares

Array = NDArray[np.float64]
TIGHT = {"tol_gap_abs": 1e-12, "tol_gap_rel": 1e-12, "tol_feas": 1e-12}
FIVE, VALUES = np.array([-2.0, -1, 0, 1, 2]), np.array([1.0, -1, 1, 1, -1])


def columns(x: Array, Y: Array, *, w: Array | None = None, beta: float = 0.0, loss: str = "squared") -> float:
    """The value of the program over 2n ramps and a constant; beta = 0 asks for f = y or y f >= 1.

    Quadratic and conic programs by CVXPY and Clarabel, linear programs by HiGHS.
    """
    A, c = np.hstack([np.maximum(x[:, None] - x, 0), np.maximum(x - x[:, None], 0)]), Y.shape[1]
    weight = np.ones(x.size) if w is None else w
    if c == 1 and (beta == 0 or loss == "hinge"):
        return linear(A, Y[:, 0], weight, beta, loss)
    V, constant = cp.Variable((A.shape[1], c)), cp.Variable((1, c))
    f = A @ V + np.ones((x.size, 1)) @ constant
    cost = cp.sum(cp.norm(V, 2, axis=1)) if c > 1 else cp.norm1(V)
    if beta == 0:
        problem = cp.Problem(cp.Minimize(cost), [f == Y])
    else:
        misfit = cp.sum(cp.multiply(weight[:, None], 0.5 * cp.square(f - Y)))
        problem = cp.Problem(cp.Minimize(misfit + beta * cost))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            problem.solve(solver=cp.CLARABEL, **(TIGHT if c == 1 else {}))
        except cp.SolverError:
            reject()  # dense ramps are ill-conditioned; another example then
    return float(problem.value)


def linear(A: Array, y: Array, w: Array, beta: float, loss: str) -> float:
    """The linear programs, with v = p - q, a constant, and what the margins are short of."""
    n, m = A.shape
    out = np.hstack([A, -A, np.ones((n, 1))])
    cost = np.append(np.full(2 * m, beta or 1.0), 0.0)
    bounds = [(0, None)] * (2 * m) + [(None, None)]
    if loss == "squared":
        found = linprog(cost, A_eq=out, b_eq=y, bounds=bounds)
    elif beta == 0:
        found = linprog(cost, A_ub=-y[:, None] * out, b_ub=-np.ones(n), bounds=bounds)
    else:
        short = np.hstack([-y[:, None] * out, -np.eye(n)])
        found = linprog(np.append(cost, w), A_ub=short, b_ub=-np.ones(n), bounds=[*bounds, *[(0, None)] * n])
    assert found.success, found.message
    return float(found.fun)


def gauge_on_grid(x: Array, lam: Array) -> float:
    """max |sum lam_i (x_i - t)_+|, |sum lam_i (t - x_i)_+| over the data and a grid that goes beyond them."""
    span = np.ptp(x) + 1.0
    grid = np.concatenate([x, np.linspace(x.min() - 3 * span, x.max() + 3 * span, 500)])
    lam = lam.reshape(x.size, -1)
    sides = [np.maximum(s * (x - grid[:, None]), 0.0) @ lam for s in (1, -1)]
    return max(float(np.linalg.norm(side, axis=1).max()) for side in sides)


def check(result: SplineResult, X: Array, *, limit: float, tol: float = 1e-9) -> None:
    """Everything that makes an answer right: feasible multiplier, network of the same function, cost and size."""
    line = result.line
    x = line.positions(X)
    lam = result.lam.reshape(x.size, -1)
    scale = np.abs(lam).sum() + 1e-300
    assert np.abs(lam.sum(axis=0)).max() <= 1e-12 * scale
    # grid points far away multiply the rounding of the sum
    assert gauge_on_grid(x, lam) <= limit * (1 + tol) + 1e-10 * scale * (np.ptp(x) + 1)
    network = result.network
    rows = X.reshape(x.size, -1)
    size = np.abs(result.spline.offset).max() + np.abs(result.spline.heights).max() + 1e-300
    size += float(np.linalg.norm(network.hidden[-1]) * np.linalg.norm(network.output))
    np.testing.assert_allclose(network.predict(rows), result.predict(X), atol=1e-11 * size, rtol=0)
    cost = np.linalg.norm(network.hidden[:-1], axis=0) @ np.linalg.norm(network.output, axis=1)
    assert cost == pytest.approx(result.cost, rel=1e-9, abs=1e-12 * size)


@st.composite
def points(draw: st.DrawFn, least: int = 1, most: int = 14) -> tuple[Array, np.random.Generator]:
    """Positions, some of them equal, on a grid or not, with an offset, not sorted."""
    n = draw(st.integers(least, most))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kind = draw(st.sampled_from(["normal", "grid", "ties", "offset", "clusters"]))
    x = rng.normal(size=n)
    if kind == "grid":
        x = rng.permutation(np.arange(float(n)))
    elif kind == "ties":
        x = rng.integers(0, 4, size=n).astype(float)
    elif kind == "offset":
        x = 1000.0 + x
    elif kind == "clusters":
        x = np.round(x) + 1e-3 * rng.normal(size=n)
    return x, rng


def targets(x: Array, rng: np.random.Generator, c: int = 1) -> Array:
    """Numbers, integers (with slopes that are equal), nearly linear, or constant."""
    kind = rng.integers(4)
    noise = rng.normal(size=(x.size, c))
    lines = np.outer(x - x.mean(), rng.normal(size=c))
    return [noise, np.round(2 * noise), lines + 0.01 * noise, np.ones((x.size, c))][kind]


# --------------------------------------------------------------------------------------------------- the program


@given(points(), st.floats(-4, 1))
@settings(max_examples=40)
def test_squared_loss_is_the_program_over_two_n_columns(data: tuple[Array, np.random.Generator], log: float) -> None:
    x, rng = data
    y, w, beta = targets(x, rng)[:, 0], rng.uniform(0.1, 2, x.size), 10.0**log
    result = spline_fit(x, y, beta=beta, sample_weight=w)
    check(result, x, limit=beta)
    scale = float(w @ y**2)
    # slopes between points at a distance of 1e-4 have lost these digits
    assert result.gap * result.value <= 1e-11 * result.value + 1e-10 * scale
    assert result.value == pytest.approx(
        columns(x - x.mean(), y[:, None], w=w, beta=beta), rel=2e-7, abs=1e-8 * (scale + 1e-4)
    )
    f = result.network.predict(x[:, None])[:, 0]
    assert 0.5 * w @ (f - y) ** 2 + beta * result.cost == pytest.approx(result.value, rel=1e-8, abs=1e-12 * scale)
    # the proof in its own words: D(lam) at the multiplier that is returned
    dual = result.lam @ y - 0.5 * (result.lam**2 / w).sum()
    assert dual == pytest.approx(result.dual_value, rel=1e-9, abs=1e-11 * scale)


@given(points(), st.floats(-3, 1))
@settings(max_examples=40)
def test_hinge_loss_is_the_program_over_two_n_columns(data: tuple[Array, np.random.Generator], log: float) -> None:
    x, rng = data
    y, w, beta = np.sign(rng.normal(size=x.size)), rng.uniform(0.1, 2, x.size), 10.0**log
    result = spline_fit(x, y, beta=beta, loss="hinge", sample_weight=w)
    check(result, x, limit=beta)
    assert result.gap <= 1e-9 or result.value < 1e-12
    expected = columns(x - x.mean(), y[:, None], w=w, beta=beta, loss="hinge")
    assert result.value == pytest.approx(expected, rel=1e-6, abs=1e-7)
    assert np.all(y * result.lam >= 0)
    assert np.all(y * result.lam <= w * (1 + 1e-12))
    assert y @ result.lam == pytest.approx(result.dual_value, rel=1e-10, abs=1e-12)
    short = np.maximum(1 - y * result.network.predict(x[:, None])[:, 0], 0)
    assert w @ short + beta * result.cost == pytest.approx(result.value, rel=1e-7, abs=1e-9)


@given(points(), st.floats(-3, 0.5), st.integers(2, 3))
@settings(max_examples=25)
def test_several_outputs_are_the_group_program(data: tuple[Array, np.random.Generator], log: float, c: int) -> None:
    x, rng = data
    Y, w, beta = targets(x, rng, c), rng.uniform(0.1, 2, x.size), 10.0**log
    result = spline_fit(x, Y, beta=beta, sample_weight=w)
    check(result, x, limit=beta, tol=1e-8)
    scale = float(w @ (Y**2).sum(axis=1))
    assert result.gap <= 1e-6 or result.value < 1e-9 * scale
    expected = columns(x - x.mean(), Y, w=w, beta=beta)
    assert result.value == pytest.approx(expected, rel=1e-6, abs=1e-7 * scale)
    f = result.network.predict(x[:, None])
    assert 0.5 * w @ ((f - Y) ** 2).sum(axis=1) + beta * result.cost == pytest.approx(result.value, rel=1e-8, abs=1e-9)


def distinct(x: Array) -> Array:
    return np.unique(x)


@given(points(), st.integers(1, 3))
@settings(max_examples=40)
def test_min_norm_is_the_program_over_two_n_columns(data: tuple[Array, np.random.Generator], c: int) -> None:
    x, rng = data
    x = rng.permutation(distinct(x if c == 1 else np.round(8 * x) / 8))
    Y = targets(x, rng, c)
    result = spline_min_norm(x, Y)
    check(result, x, limit=1.0, tol=1e-8)
    assert result.gap <= (1e-12 if c == 1 else 1e-7)
    expected = columns((x - x.mean()) / max(np.ptp(x), 1), Y) / max(np.ptp(x), 1)
    assert result.value == pytest.approx(expected, rel=1e-5, abs=1e-6)
    np.testing.assert_allclose(result.predict(x), Y, atol=1e-12 * (1 + np.abs(Y).max()))
    assert np.vdot(result.lam.reshape(Y.shape), Y) == pytest.approx(result.dual_value, rel=1e-8, abs=1e-9)


@given(points(least=2))
@settings(max_examples=30)
def test_max_margin_is_the_program_over_two_n_columns(data: tuple[Array, np.random.Generator]) -> None:
    x, rng = data
    x = rng.permutation(distinct(x))
    y = np.sign(rng.normal(size=x.size))
    result = spline_max_margin(x, y)
    check(result, x, limit=1.0)
    assert result.gap <= 1e-12
    assert np.min(y * result.predict(x)[:, 0]) >= 1 - 1e-9
    expected = columns((x - x.mean()) / max(np.ptp(x), 1), y[:, None], loss="hinge") / max(np.ptp(x), 1)
    assert result.value == pytest.approx(expected, rel=1e-5, abs=1e-6)
    assert np.all(y * result.lam >= 0)
    gaps = np.diff(np.sort(x))[np.diff(y[np.argsort(x)]) != 0]
    inner = 4 / gaps[1:-1]
    by_hand = 0.0 if not gaps.size else 2 / gaps[0] if gaps.size == 1 else 2 / gaps[0] + inner.sum() + 2 / gaps[-1]
    assert result.value == pytest.approx(by_hand, rel=1e-9)


@pytest.mark.parametrize("seed", range(2))
def test_the_certified_search_of_any_rank_finds_no_more(seed: int) -> None:
    """`min_norm` and `max_margin` with a free bias, whose gap is no smaller than 5e-7."""
    rng = np.random.default_rng(seed)
    x, y = np.sort(rng.normal(size=6)), rng.normal(size=6)
    labels = np.array([1.0, -1, -1, 1, 1, -1])
    for ours, search, target in (
        (spline_min_norm, extremal.min_norm, y),
        (spline_max_margin, extremal.max_margin, labels),
    ):
        found = search(x[:, None], target, bias="free", tol=1e-5, time_limit=5)
        value = ours(x, target).value
        assert found.dual_value <= value * (1 + 1e-9)
        assert value <= found.value * (1 + 1e-6)
        assert found.value == pytest.approx(value, rel=2e-5)


@pytest.mark.parametrize(
    ("loss", "beta", "gap"),
    [("squared", b, 1e-12) for b in (1e-6, 1e-4, 1e-2)] + [("hinge", b, 1e-9) for b in (1e-4, 1e-2)],
)
def test_many_points_are_solved_to_the_proven_gap(loss: str, beta: float, gap: float) -> None:
    """The multiplier, checked here with exact sums, proves the value."""
    rng = np.random.default_rng(0)
    n = 3000
    x = rng.standard_t(3, size=n)
    y = np.sin(3 * x) + 0.5 * rng.normal(size=n)
    y = np.sign(y) if loss == "hinge" else y
    w = np.full(n, 1 / n)
    result = spline_fit(x, y, beta=beta, loss=loss, sample_weight=w)
    assert result.gap <= gap
    order = np.argsort(x)
    lam = [Fraction(float(v)) for v in result.lam[order]]
    lam[0] -= sum(lam)  # of the size of rounding
    t = [Fraction(float(v)) for v in x[order]]
    G, slope, largest = [Fraction(0)], Fraction(0), Fraction(0)
    for i in range(n - 1):
        slope += lam[i]
        G.append(G[-1] + (t[i + 1] - t[i]) * slope)
    largest = max(max(abs(g), abs(g - G[-1])) for g in G)
    scale = min(1.0, float(beta / largest))
    lam_array = scale * np.array([float(v) for v in lam])
    if loss == "squared":
        dual = lam_array @ y[order] - 0.5 * (lam_array**2 / w).sum()
    else:
        dual = lam_array @ y[order]
    assert dual >= result.value * (1 - 2 * gap - 1e-12)
    f = result.predict(x)[:, 0]
    misfit = 0.5 * (f - y) ** 2 if loss == "squared" else np.maximum(1 - y * f, 0)
    assert w @ misfit + beta * result.cost == pytest.approx(result.value, rel=1e-9)


def test_a_hundred_thousand_points() -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(size=100_000)
    y = np.sin(12 * x) + 0.3 * rng.normal(size=x.size)
    result = spline_fit(x, y, beta=1.0)
    assert result.gap <= 1e-13
    assert result.rounds <= 60


def test_where_rounds_go_in_circles_the_descent_takes_over() -> None:
    """Optimal kinks at two neighbouring points: rounds that exchange many kinks at once find one and lose the other."""
    rng = np.random.default_rng(1)
    x = np.linspace(0, 1, 10_000)
    data = Squares(x, np.sin(12 * x) + 0.3 * rng.normal(size=x.size), np.full(x.size, 1 / x.size), 1e-3)
    first = spline_squared._in_rounds(data, np.zeros(x.size))
    assert first.gap > 1e-6
    assert spline_squared._step_by_step(data, first).gap <= 1e-13
    assert spline_squared.fit_squares(data).gap <= 1e-13


def test_interpolation_is_the_limit_of_small_penalties() -> None:
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=300), rng.normal(size=300)
    limit = spline_min_norm(x, y)
    for beta in (1e-9, 1e-13):
        result = spline_fit(x, y, beta=beta)
        assert result.gap <= 1e-11
        # beta P* - beta^2 |lam|^2 / 2 <= value <= beta P*
        assert result.value <= beta * limit.value * (1 + 1e-11)
        assert result.value >= beta * limit.value - 0.5 * beta**2 * (limit.lam @ limit.lam) - 1e-11 * beta * limit.value


# ------------------------------------------------------------------------------------------------ the cost itself


@given(points(least=2))
def test_the_cost_is_savareses(data: tuple[Array, np.random.Generator]) -> None:
    """The network of a function costs max(sum |c|, |f'(inf) + f'(-inf)|), with at most one knot in two neurons."""
    x, rng = data
    knots = distinct(x)
    changes = rng.normal(size=knots.size)
    left = -rng.uniform(min(0, changes[changes < 0].sum()), changes[changes > 0].sum())
    heights = np.concatenate([[0.0], np.cumsum(np.diff(knots) * (left + np.cumsum(changes)[:-1]))])
    spline = LinearSpline(knots, heights[:, None], np.array([left]), np.array([left + changes.sum()]), np.zeros(1))
    p, q = spline.orientations()
    assert np.abs(p).sum() + np.abs(q).sum() == pytest.approx(spline.cost, rel=1e-9)
    assert p.sum() == pytest.approx(spline.right[0], abs=1e-9 * (1 + spline.cost))
    assert -q.sum() == pytest.approx(left, abs=1e-9 * (1 + spline.cost))
    assert np.count_nonzero(p * q) <= 1


def test_lines_and_constants() -> None:
    """f = s x costs |s|: one neuron; not 2 |s|, as p and q at both ends would."""
    x = np.array([0.0, 1.0, 5.0])
    line = spline_min_norm(x, 3 * x + 7)
    assert (line.value, line.network.width) == (3.0, 1)
    assert line.optima is not None
    assert line.optima.unique
    for beta in (0.1, 1.0, 1e3):
        # slope s: 1/2 S (3 - s)^2 + beta |s|, S = sum (x - mean)^2 = 14
        fit, S = spline_fit(x, 3 * x + 7, beta=beta), 14.0
        slope = max(3 - beta / S, 0.0)
        assert fit.value == pytest.approx(0.5 * S * (3 - slope) ** 2 + beta * slope, rel=1e-13)
        assert fit.network.width == (slope > 0)
    constant = spline_min_norm(x, np.full(3, 4.0))
    assert (constant.value, constant.gap, constant.network.width) == (0.0, 0.0, 0)
    np.testing.assert_array_equal(constant.predict([9.0]), [[4.0]])


@given(points(), st.integers(0, 100))
def test_all_optima_interpolate_and_cost_the_same(data: tuple[Array, np.random.Generator], seed: int) -> None:
    x, rng = data
    x = distinct(x)
    y = targets(x, rng)[:, 0]
    result = spline_min_norm(x, y)
    optima, t = result.optima, result.line.positions(x)
    assert optima is not None
    sparse_one = optima.sparsest()
    for spline in (sparse_one, optima.sample(seed), optima.sample(seed + 1)):
        np.testing.assert_allclose(spline(t)[:, 0], y, atol=1e-9 * (1 + np.abs(y).max()))
        assert spline.cost == pytest.approx(result.value, rel=1e-9, abs=1e-12)
        network = result.network_of(spline)
        size = np.linalg.norm(network.hidden[:-1], axis=0) @ np.linalg.norm(network.output, axis=1)
        assert size == pytest.approx(result.value, rel=1e-8, abs=1e-10)
    changes = np.abs(sparse_one.changes[:, 0])
    assert np.sum(changes > 1e-9 * changes.max(initial=1e-300)) == optima.fewest
    different = not np.allclose(optima.sample(seed)(np.linspace(t[0], t[-1], 997)), optima.sample(seed + 1)(
        np.linspace(t[0], t[-1], 997)), atol=1e-12)  # fmt: skip
    assert not (optima.unique and different)
    total = sum(interval.change for interval in optima.intervals)
    assert total == pytest.approx(float(result.spline.changes.sum()), abs=1e-9 * (1 + result.value))


@given(points(least=2, most=8))
@settings(max_examples=20)
def test_kinks_elsewhere_are_optimal_exactly_on_the_intervals(data: tuple[Array, np.random.Generator]) -> None:
    """The range of the function at a new point over all optima, by a linear program with a fine grid of kinks."""
    x, rng = data
    x = np.arange(float(distinct(x).size))
    y = np.round(2 * rng.normal(size=x.size))
    result = spline_min_norm(x, y)
    assert result.optima is not None
    grid = np.linspace(0, x[-1], 4 * (x.size - 1) + 1) if x.size > 1 else x
    A, B = ramps(x, grid), ramps(grid, grid)
    v, constant = cp.Variable(A.shape[1]), cp.Variable()
    middle = cp.Parameter(grid.size)
    value = middle @ (B @ v + constant)
    problem = cp.Problem(cp.Maximize(value), [A @ v + constant == y, cp.norm1(v) <= result.value + 1e-9])
    free = np.zeros(grid.size, dtype=bool)
    for interval in result.optima.intervals:
        free |= (grid > interval.low) & (grid < interval.high)
    for k in range(2, grid.size, 4):  # the middles between two points
        middle.value = np.eye(grid.size)[k]
        high = problem.solve(solver=cp.CLARABEL)
        middle.value = -np.eye(grid.size)[k]
        low = -problem.solve(solver=cp.CLARABEL)
        assert (high - low > 1e-3) == free[k]


# ---------------------------------------------------------------------------------------- numbers of the literature


def test_counter_example_of_jmlr() -> None:
    """3.11: value 8, v* = (1, -3, 2, 1, -1), two optima that are printed, and a printed multiplier that is none."""
    result = spline_min_norm(FIVE, VALUES)
    assert result.value == result.dual_value == 8.0
    np.testing.assert_allclose(result.lam, [1, -3, 2, 1, -1], atol=1e-14)
    u = np.repeat([1.0, -1.0], 4)
    first = np.array([0, 6419 / 5000, -3919 / 2500, -8581 / 5000, 13581 / 5000, -1081 / 2500, -1419 / 5000, 0])
    second = np.array([0, 4 / 3, 0, -10 / 3, 8 / 3, 0, -2 / 3, 0])
    for w, b in ((first, [2, 1, 0, -1, -1, 0, 1, 2]), (second, [2, 1, 0, -0.5, -1, 0, 0.5, 2])):
        np.testing.assert_allclose(np.maximum(np.outer(FIVE, u) + b, 0) @ w, VALUES, atol=1e-12)
        assert np.abs(w).sum() == pytest.approx(8, rel=1e-14)
    assert gauge_on_grid(FIVE, np.array([1.0, -3, 2, 1, -1])) == pytest.approx(1, abs=1e-12)
    wrong = np.array([1, -11 / 4, 5 / 4, 7 / 4, -5 / 4])
    assert wrong @ VALUES == 8
    assert gauge_on_grid(FIVE, wrong) == pytest.approx(1.25, abs=1e-12)
    assert result.optima is not None
    [_, interval] = result.optima.intervals
    assert (interval.low, interval.high, interval.change) == (2.0, 3.0, -4.0)  # positions: 0 <= x <= 1
    np.testing.assert_array_equal(result.kinks, [[-1.0], [0.0], [1.0]])
    np.testing.assert_allclose(result.optima.sparsest().kinks, [1.0, 2.5])  # that is w^: kinks at -1 and .5
    assert not result.optima.unique
    assert result.optima.fewest == 2
    # a regularised fit: 1999/2500000 and |w|_1 = 7.992 with 1/(2n) and beta = 1e-4
    fit = spline_fit(FIVE, VALUES, beta=1e-4, sample_weight=np.full(5, 0.2))
    assert fit.value == pytest.approx(1999 / 2500000, rel=1e-14)
    assert fit.cost == pytest.approx(7.992, rel=1e-13)


def test_the_sign_of_equation_50() -> None:
    """0.6: A^T v* = +sign(w*) on the support, so that v*^T y = +8."""
    A = ramps(FIVE)[:, [0, 1, 2, 3, 6, 7, 8, 9]]
    np.testing.assert_array_equal(A.T @ [1, -3, 2, 1, -1], [0, 1, -1, -1, 1, -1, -1, 0])


def test_a_penalised_bias_is_another_model() -> None:
    """6.4: 10.12899 instead of 8, and its kinks leave the data."""
    found = extremal.min_norm(FIVE[:, None], VALUES, bias="penalized", time_limit=5)
    assert found.value == pytest.approx(10.12899, abs=2e-5)
    net = found.network.merge(1e-9)
    kinks = -net.hidden[1] / net.hidden[0]
    assert np.min(np.abs(kinks[:, None] - FIVE), axis=1).max() > 1e-2


def test_one_orientation_is_half_of_the_kernel() -> None:
    """3.10: (x_i - x_j)_+ alone, with a constant, costs more; either half alone cannot start with a slope for free."""
    A = ramps(FIVE)
    values = []
    for part in (A, A[:, :5]):
        v, constant = cp.Variable(part.shape[1]), cp.Variable()
        problem = cp.Problem(cp.Minimize(cp.norm1(v)), [part @ v + constant == VALUES])
        values.append(problem.solve(solver=cp.CLARABEL))
    assert values[0] == pytest.approx(8, rel=1e-7)
    assert values[1] == pytest.approx(10, rel=1e-7)  # the slope -2 at the start is a neuron of its own


# --------------------------------------------------------------------------------------------------- rank-one data


@given(points(), st.integers(2, 5), st.floats(-2, 0))
@settings(max_examples=40)
def test_rows_on_a_line_are_one_feature(data: tuple[Array, np.random.Generator], d: int, log: float) -> None:
    """X = c a^T + 1 o^T: positions c |a|, so that the same problem has its penalty divided by |a|."""
    c, rng = data
    a, o, y, beta = rng.normal(size=d), rng.normal(size=d), targets(c, rng)[:, 0], 10.0**log
    X = np.outer(c, a) + o
    lifted = spline_fit(X, y, beta=beta)
    plain = spline_fit(c, y, beta=beta / np.linalg.norm(a))
    assert lifted.value == pytest.approx(plain.value, rel=1e-7, abs=1e-9)
    check(lifted, X, limit=beta, tol=1e-7)
    np.testing.assert_allclose(lifted.predict(X), plain.predict(c), atol=1e-6 * (1 + np.abs(y).max()))


def test_rank_one_data_against_the_search_of_any_rank() -> None:
    rng = np.random.default_rng(5)
    X, y = np.outer(rng.normal(size=5), [1.0, -2.0, 0.5]), rng.normal(size=5)
    found = extremal.min_norm(X, y, bias="free", tol=1e-5, time_limit=5)
    assert spline_min_norm(X, y).value == pytest.approx(found.value, rel=2e-5)


def test_rows_that_are_on_no_line_are_refused() -> None:
    with pytest.raises(ValueError, match="not on one line"):
        spline_fit(np.random.default_rng(0).normal(size=(5, 2)), np.arange(5.0), beta=1.0)


# -------------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize("fit", [spline_min_norm, lambda x, y: spline_fit(x, y, beta=0.1)])
def test_offsets_scales_and_types(fit) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.integers(-50, 50, size=30) / 8, rng.integers(-9, 9, size=30) / 4
    x, first = np.unique(x, return_index=True)
    y = y[first]
    plain = fit(x, y)
    far = fit(x + 1e8, y + 1e8)
    assert far.value == pytest.approx(plain.value, rel=1e-12)
    np.testing.assert_allclose(far.predict(x + 1e8) - 1e8, plain.predict(x), atol=1e-6)
    for X in (
        x[:, None],
        x.astype(np.float32),
        list(x),
        pd.DataFrame({"x": x}),
        pd.Series(x),
        sparse.csr_array(x[:, None]),
    ):
        assert fit(X, y).value == pytest.approx(plain.value, rel=1e-12)
    shuffled = rng.permutation(x.size)
    other = fit(x[shuffled], y[shuffled])
    assert other.value == pytest.approx(plain.value, rel=1e-12)
    np.testing.assert_allclose(other.lam, plain.lam[shuffled], atol=1e-11 * np.abs(plain.lam).max())


@pytest.mark.parametrize("scale", [1e-60, 1e-9, 1e9, 1e60])
def test_units_do_not_matter(scale: float) -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=40), rng.normal(size=40)
    plain, norm = spline_fit(x, y, beta=0.3), spline_min_norm(x, y)
    assert spline_fit(scale * x, y, beta=0.3 * scale).value == pytest.approx(plain.value, rel=1e-11)
    assert spline_fit(x, scale * y, beta=0.3 * scale).value == pytest.approx(plain.value * scale**2, rel=1e-11)
    assert spline_min_norm(scale * x, y).value == pytest.approx(norm.value / scale, rel=1e-11)
    labels = np.sign(y)
    hinge = spline_fit(x, labels, beta=0.3, loss="hinge")
    assert spline_fit(scale * x, labels, beta=0.3 * scale, loss="hinge").value == pytest.approx(hinge.value, rel=1e-8)


def test_few_points() -> None:
    one = spline_fit([3.0], [2.0], beta=1.0)
    assert (one.value, one.gap, one.network.width) == (0.0, 0.0, 0)
    assert spline_min_norm([3.0], [2.0]).value == 0.0
    assert spline_max_margin([3.0], [1.0]).value == 0.0
    assert spline_min_norm([3.0], [[2.0, 1.0]]).value == 0.0
    same = spline_fit([3.0, 3.0], [2.0, 4.0], beta=1.0)
    assert same.value == pytest.approx(1.0, rel=1e-14)
    both = spline_fit([3.0, 3.0, 3.0], [1, -1, 1], beta=1.0, loss="hinge")
    assert (both.value, both.dual_value) == (pytest.approx(2.0), pytest.approx(2.0))
    assert spline_fit([1.0, 2.0], [1, 1], beta=1.0, loss="hinge").value == 0.0
    two = spline_fit([0.0, 4.0], [1, -1], beta=1.0, loss="hinge")
    assert two.value == pytest.approx(0.5, rel=1e-9)  # slope 1/2 at beta = 1
    zero_weight = spline_fit([0.0, 1.0, 2.0], [0.0, 9.0, 0.0], beta=1.0, sample_weight=[1, 0, 1])
    assert (zero_weight.value, zero_weight.lam[1]) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: spline_min_norm([0.0, np.nan], [1.0, 2.0]), "NaN"),
        (lambda: spline_min_norm([0.0, 1.0], [1.0, np.inf]), "NaN or infinity"),
        (lambda: spline_min_norm([0.0, 1.0], [1.0]), "2 rows and y has 1"),
        (lambda: spline_min_norm([], []), "nonempty"),
        (lambda: spline_min_norm([1.0, 1.0], [1.0, 2.0]), "different targets"),
        (lambda: spline_max_margin([1.0, 1.0], [1, -1]), "different labels"),
        (lambda: spline_max_margin([1.0, 2.0], [1, 2]), "needs labels"),
        (lambda: spline_fit([1.0, 2.0], [1, -1], beta=0.0), "beta must be"),
        (lambda: spline_fit([1.0, 2.0], [1, -1], beta=1.0, loss="logistic"), "loss must be"),
        (lambda: spline_fit([1.0, 2.0], [1, -1], beta=1.0, sample_weight=[1.0]), "sample_weight"),
        (lambda: spline_fit([1.0, 2.0], [1, -1], beta=1e-300), "rescale the data"),
        (lambda: spline_fit([[1.0, 2.0]], [1.0], beta=1.0).predict([[1.0]]), "2 columns"),
        (lambda: ntk_interpolant([[1.0], [1.0]], [1.0, 2.0]), "singular"),
        (lambda: ramps([[1.0]]), "finite vectors"),
    ],
)
def test_bad_input_is_named(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


# ------------------------------------------------------------------------------------------------------ the kernels


def test_the_tangent_kernel_is_that_of_wide_networks() -> None:
    """2 / m sum over neurons of the products of gradients tends to it, w ~ N(0, I), a ~ N(0, 1)."""
    rng = np.random.default_rng(0)
    X, m = rng.normal(size=(4, 2)), 400_000
    A = np.column_stack([X, np.ones(4)])
    W, a = rng.normal(size=(3, m)), rng.normal(size=m)
    Z = A @ W
    active = (Z > 0) * a
    measured = 2 / m * (np.maximum(Z, 0) @ np.maximum(Z, 0).T + (A @ A.T) * (active @ active.T))
    np.testing.assert_allclose(measured, ntk(X), rtol=0.03, atol=0.03)


def test_the_tangent_interpolant_goes_through_the_points_and_is_no_spline() -> None:
    x = FIVE[:, None]
    kernel = ntk_interpolant(x, VALUES)
    np.testing.assert_allclose(kernel.predict(x)[:, 0], VALUES, atol=1e-10)
    assert kernel.norm == pytest.approx(np.sqrt(VALUES @ np.linalg.solve(ntk(x), VALUES)), rel=1e-10)
    between = np.array([[-1.5], [0.5]])
    assert np.abs(kernel.predict(between) - spline_min_norm(FIVE, VALUES).predict(between)).max() > 0.05


@given(st.integers(1, 9), st.integers(0, 1000))
@settings(max_examples=30)
def test_banded_elimination(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(n, 7))
    A = np.array([[rows[i, 3 + j - i] if abs(i - j) <= 3 else 0.0 for j in range(n)] for i in range(n)])
    b = rng.normal(size=(n, 2))
    for i in range(n):
        for j in range(7):
            if not 0 <= i + j - 3 < n:
                rows[i, j] = 0.0
    np.testing.assert_allclose(A @ solve_banded(rows, b.copy()), b, atol=1e-8 * np.linalg.cond(A))


def test_results_print_what_counts() -> None:
    text = str(spline_min_norm(FIVE, VALUES))
    assert "8" in text
    assert "not the only optimum, the fewest kinks are 2" in text
    assert "in [2, 3]" in str(spline_min_norm(FIVE, VALUES).optima)
