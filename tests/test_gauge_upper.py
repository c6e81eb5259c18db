"""The proven upper bound of the gauge: against brute force, between methods, and under attack."""

from __future__ import annotations

import time
import warnings
from itertools import product

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.optimize import lsq_linear, minimize

import extremal
from extremal.design import Array, Design
from extremal.gauge import search
from extremal.gauge.bounds import GaugeStatus, SideBound
from extremal.gauge.cells import FEW_ROWS, cell_bound, cell_work, vertices
from extremal.gauge.cones import cone_bound
from extremal.gauge.faces import face_bound
from extremal.gauge.outputs import cone_height, largest_height
from extremal.gauge.relaxation import Relaxation, relaxed_bound, secular
from extremal.gauge.search import upper_bounds
from extremal.gauge.sides import Side, reduce_side

fast = settings(max_examples=40, deadline=None, derandomize=True)


def brute_force(X: Array, c: Array) -> float:
    """max over subsets S of P of dist(sum_S c_i x_i, Z_N), by SciPy's box-constrained least squares.

    The distance to any point of the zonotope Z_N is above that to Z_N: subsets that are close to a point that projected
    gradient steps find need no least squares.
    """
    convex, concave = X[c > 0] * c[c > 0, None], -X[c < 0] * c[c < 0, None]
    sums = np.array(list(product((0.0, 1.0), repeat=len(convex)))).reshape(2 ** len(convex), -1) @ convex
    t, size = np.zeros((len(sums), len(concave))), np.linalg.norm(concave) or 1.0
    for _ in range(20):
        t = np.clip(t + (sums - t @ concave) / size @ (concave / size).T, 0.0, 1.0)
    above = np.linalg.norm(sums - t @ concave, axis=1)
    best = 0.0
    for k in np.argsort(-above):
        if above[k] <= best:
            break
        q = sums[k]
        if len(concave):
            q = q - lsq_linear(concave.T, q, (0.0, 1.0), method="bvls", tol=1e-14).x @ concave
        best = max(best, float(np.linalg.norm(q)))
    return best


def climb(X: Array, lam: Array, rng: np.random.Generator, starts: int = 500, steps: int = 40) -> tuple[float, Array]:
    """The best |lam^T (Xu)_+| that many random starts of a plain ascent reach, for lam (n, c)."""
    Lam = lam.reshape(len(X), -1)
    U = rng.normal(size=(X.shape[1], starts))
    U /= np.linalg.norm(U, axis=0)
    best, u = 0.0, U[:, 0]
    for step in range(steps):
        Z = X @ U
        V = Lam.T @ np.maximum(Z, 0)
        values = np.linalg.norm(V, axis=0)
        top = int(values.argmax())
        if values[top] > best:
            best, u = float(values[top]), U[:, top].copy()
        ascent = X.T @ ((Z > 0) * (Lam @ V))
        U = U * (0.0 if step % 2 else 0.7) + ascent / np.maximum(np.linalg.norm(ascent, axis=0), 1e-300)
        U /= np.maximum(np.linalg.norm(U, axis=0), 1e-300)
    return best, u


def check_sound(X: Array, lam: Array, bounds: search.GaugeBounds, seed: int = 0) -> None:
    """The lower end is attained by the witness, and nothing found by attack exceeds the upper end."""
    Lam = lam.reshape(len(X), -1)
    assert np.linalg.norm(bounds.witness) == pytest.approx(1.0, abs=1e-12)
    attained = np.linalg.norm(Lam.T @ np.maximum(X @ bounds.witness, 0))
    assert attained == pytest.approx(bounds.lower, rel=1e-10, abs=1e-13 * np.abs(Lam).sum() * np.abs(X).max())
    assert bounds.lower <= bounds.upper
    assert climb(X, lam, np.random.default_rng(seed))[0] <= bounds.upper * (1 + 1e-12)


def random_side(seed: int, n: int, d: int) -> Side:
    rng = np.random.default_rng(seed)
    reduction = reduce_side(Design(rng.normal(size=(n, d))), rng.normal(size=n))
    assert reduction is not None
    return reduction.side


@st.composite
def small_problems(draw: st.DrawFn) -> tuple[Array, Array]:
    """Few rows: Gaussian or on an integer grid, with zero, parallel, opposite and nearly duplicated rows."""
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    n, d = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    X = rng.integers(-2, 3, size=(n, d)).astype(float) if draw(st.booleans()) else rng.normal(size=(n, d))
    copies = draw(st.sampled_from([0, 1, 2]))
    factors = rng.choice([-2.0, -1.0, 1.0, 3.0], size=(copies, 1))
    noise = draw(st.sampled_from([0.0, 1e-15, 1e-12, 1e-9, 1e-6]))
    X = np.vstack([X, factors * X[rng.integers(0, n, copies)] + noise * rng.normal(size=(copies, d))])
    integral = draw(st.booleans())
    lam = rng.integers(-2, 3, size=len(X)).astype(float) if integral else rng.normal(size=len(X))
    return X, lam


@fast
@given(small_problems())
def test_agrees_with_brute_force(problem: tuple[Array, Array]) -> None:
    X, lam = problem
    bounds = upper_bounds(Design(X), lam, tol=1e-8, max_nodes=50_000)
    exact = max(brute_force(X, lam), brute_force(X, -lam))
    size = np.abs(lam) @ np.linalg.norm(X, axis=1)
    assert bounds.upper >= exact - 1e-12 * size
    assert bounds.upper <= exact * (1 + 1e-7) + 1e-6 * size * (exact < 0.1 * size) + 1e-9 * size
    check_sound(X, lam, bounds)


@fast
@given(small_problems())
def test_every_method_is_above_brute_force(problem: tuple[Array, Array]) -> None:
    X, lam = problem
    reduction = reduce_side(Design(X), lam)
    assume(reduction is not None)
    assert reduction is not None
    assume(reduction.side.weights.size > 0)
    side = reduction.side
    exact = brute_force(X, lam) / reduction.scale
    results = [cell_bound(side, tol=1e-9), relaxed_bound(side)]
    if side.rank <= 2:
        results.append(face_bound(side))
    if side.rank >= 2:
        results.append(cone_bound(side, tol=1e-9, max_nodes=3000))
    for result in results:
        assert result.upper >= exact - reduction.slack - 1e-13
        assert result.lower == pytest.approx(max(side.value(result.u), 0.0), abs=1e-14)
        assert result.lower <= exact + reduction.slack + 1e-9


@pytest.mark.parametrize(("n", "d"), [(12, 2), (30, 2), (60, 2)])
def test_faces_and_cones_agree(n: int, d: int) -> None:
    for seed in range(5):
        side = random_side(seed, n, d)
        faces, cones = face_bound(side), cone_bound(side, tol=1e-10, max_nodes=200_000)
        assert faces.upper == pytest.approx(cones.upper, rel=1e-9)
        assert faces.lower == pytest.approx(faces.upper, rel=1e-9)
        assert cones.lower == pytest.approx(cones.upper, rel=1e-9)


@pytest.mark.parametrize(("n", "d"), [(60, 2), (60, 3), (30, 4), (24, 5), (16, 6), (18, 12)])
def test_cells_and_the_others_agree(n: int, d: int) -> None:
    for seed in range(3):
        side = random_side(seed, n, d)
        cells = cell_bound(side, tol=1e-9)
        assert cells.status is GaugeStatus.EXACT
        assert cells.upper <= cells.lower * (1 + 2e-9) + 2e-11
        if d <= 6:
            other = face_bound(side) if d == 2 else cone_bound(side, tol=1e-8)
            assert cells.upper == pytest.approx(other.upper, rel=3e-8)
        assert relaxed_bound(side).upper >= cells.lower


def test_the_vertices_are_those_of_the_zonotope() -> None:
    """Every direction has its vertex among them: max over S of q_S . u = linear . u + sum_i (A_i . u)_+."""
    rng = np.random.default_rng(0)
    for p, d in [(3, 5), (FEW_ROWS, 3), (FEW_ROWS + 1, 3), (20, 4)]:
        A, linear, U = rng.normal(size=(p, d)), rng.normal(size=d), rng.normal(size=(d, 500))
        Q = np.vstack(list(vertices(A, linear)))
        assert np.allclose((Q @ U).max(axis=0), linear @ U + np.maximum(A @ U, 0).sum(axis=0))


def test_cells_of_a_grid_and_of_parallel_rows() -> None:
    """Rows in special position are moved apart, with what that may change added to the bound."""
    grid = np.array([u for u in product((-1.0, 0.0, 1.0), repeat=3) if any(u)])
    rng = np.random.default_rng(4)
    for rows in (
        grid,
        np.vstack([grid, 3 * grid[:5]]),
        np.repeat(grid[:8], 2, axis=0) + 1e-9 * rng.normal(size=(16, 3)),
    ):
        weights = rng.normal(size=len(rows))
        side = Side(rows / np.linalg.norm(rows, axis=1, keepdims=True), weights / np.abs(weights).sum(), np.zeros(3))
        cells = cell_bound(side, tol=1e-9)
        assert cells.upper <= cells.lower * (1 + 2e-9) + 2e-11
        u = rng.normal(size=(3, 20_000))
        assert (side.weights @ np.maximum(side.rows @ (u / np.linalg.norm(u, axis=0)), 0)).max() <= cells.upper


@pytest.mark.parametrize(("n", "d"), [(40, 2), (200, 3), (60, 4), (50, 5), (25, 6)])
def test_cones_close_the_gap_and_survive_attack(n: int, d: int) -> None:
    rng = np.random.default_rng(n)
    X, lam = rng.normal(size=(n, d)), rng.normal(size=n)
    bounds = upper_bounds(Design(X), lam, tol=1e-3)
    assert bounds.status is GaugeStatus.EXACT
    assert bounds.gap <= 2e-3
    check_sound(X, lam, bounds)


def test_relaxed_bound_beats_shor() -> None:
    cp = pytest.importorskip("cvxpy")
    side = random_side(3, 25, 5)
    A, a = side.rows[side.weights > 0], side.weights[side.weights > 0]
    B, b = side.rows[side.weights < 0], -side.weights[side.weights < 0]
    for strong in (False, True):
        W = cp.Variable((6, 6), PSD=True)
        u, U = W[0, 1:], W[1:, 1:]
        gain = cp.norm(B @ U, axis=1) if strong else cp.sum(cp.multiply(B @ U, B), axis=1)
        convex = a @ (A @ u) / 2 + a @ cp.sqrt(cp.sum(cp.multiply(A @ U, A), axis=1)) / 2
        concave = b @ (B @ u) / 2 + b @ cp.maximum(cp.abs(B @ u), gain) / 2
        program = cp.Problem(cp.Maximize(convex - concave), [W[0, 0] == 1, cp.trace(U) == 1])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program.solve(solver="CLARABEL")
        upper = relaxed_bound(side).upper
        assert upper >= cone_bound(side, tol=1e-6).lower
        assert upper <= program.value * (1.01 if strong else 1.001)
    assert upper >= program.value * (1 - 1e-6)


def test_lifted_gradient_is_the_derivative() -> None:
    relaxation = Relaxation(random_side(1, 12, 4), None)
    rng = np.random.default_rng(0)
    x = relaxation.start() + 0.3 * rng.normal(size=relaxation.start().size)
    direction = rng.normal(size=x.size)
    step = 1e-5
    above, below = (relaxation.smoothed(x + sign * step * direction, 0.01)[0] for sign in (1, -1))
    slope = relaxation.smoothed(x, 0.01)[1] @ direction
    assert slope == pytest.approx((above - below) / (2 * step), rel=1e-6)


@fast
@given(st.integers(0, 10**6))
def test_any_multipliers_give_a_bound(seed: int) -> None:
    side = random_side(seed % 7, 14, 3)
    relaxation = Relaxation(side, None)
    x = relaxation.start()
    x = x + np.random.default_rng(seed).normal(size=x.size) * 3
    assert relaxation.certified(x) >= cell_bound(side).lower


@fast
@given(
    st.lists(st.floats(-5, 5), min_size=1, max_size=6),
    st.integers(0, 10**6),
    st.sampled_from([0.0, 1e-6, 1.0]),
)
def test_secular_minimum(eigenvalues: list[float], seed: int, mu: float) -> None:
    e = np.sort(np.array(eigenvalues))
    r = np.random.default_rng(seed).normal(size=e.size) * np.random.default_rng(seed + 1).integers(0, 2, e.size)
    nu, value = secular(e, r, mu)

    def function(nu: float) -> float:
        return nu + float((r**2 / (nu - e)).sum()) - (mu * float(np.log(nu - e).sum()) if mu else 0.0)

    assert nu > e[-1]
    assert value == pytest.approx(function(nu), rel=1e-9, abs=1e-9)
    for factor in (0.5, 0.99, 1.01, 2.0):
        other = e[-1] + factor * (nu - e[-1])
        assert function(other) >= value - 1e-9 * max(1, abs(value))


@pytest.mark.parametrize(("n", "d"), [(40, 8), (30, 50), (120, 20)])
def test_high_rank_survives_attack(n: int, d: int) -> None:
    rng = np.random.default_rng(d)
    X, lam = rng.normal(size=(n, d)), rng.normal(size=n)
    check_sound(X, lam, upper_bounds(Design(X), lam))


@pytest.mark.parametrize("d", [1, 2, 3, 4, 8])
def test_scale_equivariance(d: int) -> None:
    rng = np.random.default_rng(d)
    X, lam = rng.normal(size=(20, d)), rng.normal(size=20)
    unit = upper_bounds(Design(X), lam)
    for a, b in [(1.0, 1e-200), (1e140, 1e-120), (1e-150, 1e200), (1e-200, 1.0), (3.0, 1e100)]:
        scaled = upper_bounds(Design(a * X), b * lam)
        assert scaled.upper == pytest.approx(unit.upper * (a * b), rel=1e-5, abs=0)
        assert scaled.lower == pytest.approx(unit.lower * (a * b), rel=1e-5, abs=0)


def test_badly_scaled_rows() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(20, 4)) * 10.0 ** rng.integers(-30, 30, size=(20, 1))
    lam = rng.normal(size=20) * 10.0 ** rng.integers(-10, 10, size=20)
    bounds = upper_bounds(Design(X), lam)
    assert bounds.gap < 1e-6
    check_sound(X, lam, bounds)


@pytest.mark.parametrize("d", [2, 3, 4])
def test_invariance_under_permutations_and_rotations(d: int) -> None:
    rng = np.random.default_rng(d)
    X, lam = rng.normal(size=(25, d)), rng.normal(size=25)
    unit = upper_bounds(Design(X), lam, tol=1e-9)
    rotation = np.linalg.qr(rng.normal(size=(d + 3, d)))[0].T
    order = rng.permutation(25)
    turned = upper_bounds(Design((X @ rotation)[order]), lam[order], tol=1e-9)
    assert turned.upper == pytest.approx(unit.upper, rel=3e-9)
    assert upper_bounds(Design(X), -lam, tol=1e-9).upper == pytest.approx(unit.upper, rel=3e-9)


def test_rows_of_both_signs_on_one_line_cancel() -> None:
    rng = np.random.default_rng(5)
    X, lam = rng.normal(size=(6, 4)), rng.normal(size=6)
    doubled = np.vstack([X, X, -X])
    assert upper_bounds(Design(doubled), np.concatenate([lam, -lam, 0 * lam])).upper <= 1e-11
    opposite = upper_bounds(Design(doubled), np.concatenate([lam, 0 * lam, -lam]))
    assert opposite.upper == pytest.approx(np.linalg.norm(X.T @ lam), rel=1e-11)


def test_zero_multiplier_and_zero_rows() -> None:
    zero = upper_bounds(Design(np.ones((3, 2))), np.zeros(3))
    assert zero.upper == zero.lower == 0.0
    assert upper_bounds(Design(np.zeros((3, 2))), np.ones(3)).upper == 0.0
    assert upper_bounds(Design(np.array([[3.0, 4.0]])), np.array([-2.0])).upper == pytest.approx(10.0, rel=1e-10)


@pytest.mark.parametrize(("n", "d"), [(30, 1), (30, 2), (30, 3), (200, 6), (300, 12), (14, 9)])
@pytest.mark.parametrize("c", [1, 2, 3])
def test_no_time_at_all(n: int, d: int, c: int) -> None:
    rng = np.random.default_rng(n + d)
    X, lam = rng.normal(size=(n, d)), rng.normal(size=(n, c))
    begin = time.monotonic()
    bounds = upper_bounds(Design(X), lam, deadline=0.0)
    assert time.monotonic() - begin < 2.0
    assert np.isfinite(bounds.upper)
    check_sound(X, lam, bounds)


def test_deadline_and_node_limit_are_respected() -> None:
    rng = np.random.default_rng(1)
    X, lam = rng.normal(size=(300, 6)), rng.normal(size=300)
    begin = time.monotonic()
    bounds = upper_bounds(Design(X), lam, deadline=begin + 0.5)
    assert time.monotonic() - begin < 1.5
    assert bounds.status is GaugeStatus.TIME_LIMIT
    check_sound(X, lam, bounds)
    limited = upper_bounds(Design(X), lam, max_nodes=100)
    assert limited.status is GaugeStatus.NODE_LIMIT
    check_sound(X, lam, limited)


@pytest.mark.parametrize("d", [3, 4, 9])
def test_threshold_decides_early(d: int) -> None:
    rng = np.random.default_rng(d)
    X, lam = rng.normal(size=(40, d)), rng.normal(size=40)
    value, witness = climb(X, lam, rng)
    above = upper_bounds(Design(X), lam, threshold=3 * value, lower=value, witness=witness)
    assert above.upper <= 3 * value
    check_sound(X, lam, above)
    below = upper_bounds(Design(X), lam, threshold=0.5 * value, witness=witness)
    assert below.lower > 0.5 * value
    check_sound(X, lam, below)


@pytest.mark.parametrize("d", [2, 3, 5, 30])
def test_threshold_is_met_exactly(d: int) -> None:
    rng = np.random.default_rng(d)
    X, lam = rng.normal(size=(12 if d < 30 else 40, d)), rng.normal(size=12 if d < 30 else 40)
    loose = upper_bounds(Design(X), lam).upper * (1 + 1e-5)
    assert upper_bounds(Design(X), lam, threshold=loose).upper <= loose


@pytest.mark.parametrize("shape", [(300, 6), (400, 40), (200, 3), (200, 2)])
def test_interrupt_leaves_a_valid_interval(shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    X, lam = rng.normal(size=shape), rng.normal(size=shape[0])

    def interrupted(*_: object, **__: object) -> SideBound:
        raise KeyboardInterrupt

    for name in ("cone_bound", "relaxed_bound", "cell_bound", "face_bound"):
        monkeypatch.setattr(search, name, interrupted)
    monkeypatch.setattr(search.Search, "solve", interrupted)
    bounds = upper_bounds(Design(X), lam)
    assert bounds.status is GaugeStatus.INTERRUPTED
    check_sound(X, lam, bounds)


@pytest.mark.parametrize(("shape", "looks"), [((500, 6), 3), ((500, 6), 20), ((300, 20), 3), ((300, 20), 30)])
def test_control_c(shape: tuple[int, int], looks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C at any look at the clock: the interval is valid, and says that it was interrupted."""
    rng = np.random.default_rng(2)
    X, lam = rng.normal(size=shape), rng.normal(size=shape[0])
    clock = Clock(looks)
    monkeypatch.setattr(time, "monotonic", clock)
    bounds = upper_bounds(Design(X), lam, tol=1e-9, deadline=1e9)
    assert clock.looks == 0
    assert bounds.status is GaugeStatus.INTERRUPTED
    check_sound(X, lam, bounds)


class Clock:
    """A clock at which Ctrl-C is pressed after so many looks."""

    def __init__(self, looks: int) -> None:
        self.looks, self.now = looks, 0.0

    def __call__(self) -> float:
        self.looks -= 1
        if self.looks == 0:
            raise KeyboardInterrupt
        self.looks = max(self.looks, 0)
        self.now += 1.0
        return self.now


@pytest.mark.parametrize(("n", "d", "c"), [(20, 2, 2), (25, 3, 2), (20, 3, 3), (30, 9, 2), (10, 4, 12)])
def test_several_outputs(n: int, d: int, c: int) -> None:
    rng = np.random.default_rng(n + d + c)
    X, Lam = rng.normal(size=(n, d)), rng.normal(size=(n, c))
    bounds = upper_bounds(Design(X), Lam)
    check_sound(X, Lam, bounds)
    single = upper_bounds(Design(X), np.outer(Lam[:, 0], rng.normal(size=c)))
    check_sound(X, np.outer(Lam[:, 0], np.ones(c)), upper_bounds(Design(X), np.outer(Lam[:, 0], np.ones(c))))
    assert single.gap <= 2e-6 or d > 6


@given(seed=st.integers(0, 10_000), n=st.integers(1, 9), d=st.integers(1, 3), c=st.integers(2, 4))
@fast
def test_several_outputs_are_exact_in_low_rank(seed: int, n: int, d: int, c: int) -> None:
    """max over v of the gauge of Lam v, for the v of a fine random net, never exceeds it, and an ascent attains it."""
    rng = np.random.default_rng(seed)
    X, Lam = rng.integers(-2, 3, (n, d)).astype(float), rng.normal(size=(n, c))
    bounds = upper_bounds(Design(X), Lam)
    assert bounds.gap <= 2e-6
    best, _ = climb(X, Lam, rng, starts=60)
    assert best <= bounds.upper * (1 + 1e-12)
    V = rng.normal(size=(c, 20))
    sides = [upper_bounds(Design(X), Lam @ v).lower for v in (V / np.linalg.norm(V, axis=0)).T]
    assert max(sides) <= bounds.upper * (1 + 1e-12)


def test_outputs_that_sum_to_zero_count_as_one_less() -> None:
    """The multiplier of a softmax has rank c - 1, and a rotation of the outputs changes nothing."""
    rng = np.random.default_rng(1)
    X, Lam = rng.normal(size=(20, 3)), rng.normal(size=(20, 3))
    Lam -= Lam.mean(axis=1, keepdims=True)
    turned = Lam @ np.linalg.qr(rng.normal(size=(3, 3)))[0]
    bounds, other = upper_bounds(Design(X), Lam), upper_bounds(Design(X), turned)
    assert bounds.gap <= 2e-6
    assert other.lower == pytest.approx(bounds.lower, rel=2e-6)
    padded = upper_bounds(Design(X), np.hstack([Lam, np.zeros((20, 9))]))
    assert padded.upper == pytest.approx(bounds.upper, rel=2e-6)


@given(seed=st.integers(0, 10_000), c=st.integers(1, 5))
@fast
def test_cone_height_bounds_the_interpolation(seed: int, c: int) -> None:
    rng = np.random.default_rng(seed)
    V = rng.normal(size=(c, c)) + 2 * np.eye(c)
    V /= np.linalg.norm(V, axis=0)
    assume(np.linalg.cond(V) < 1e3)
    heights = rng.uniform(0, 2, c)
    bound = cone_height(V, heights)
    weights = rng.exponential(size=(c, 4000)) * rng.integers(0, 2, (c, 4000))
    inside = heights @ weights / np.maximum(np.linalg.norm(V @ weights, axis=0), 1e-300)
    assert inside.max() <= bound
    above = {"type": "ineq", "fun": lambda p: V.T @ p - heights, "jac": lambda p: V.T}
    start = 2 * np.linalg.solve(V.T, heights)
    solution = minimize(lambda p: p @ p, start, jac=lambda p: 2 * p, constraints=above)
    assert bound <= np.linalg.norm(solution.x) * (1 + 1e-5)


@given(seed=st.integers(0, 10_000), c=st.integers(2, 4))
@fast
def test_searches_that_end_early_do_not_raise_the_bound(seed: int, c: int) -> None:
    """Heights are sublinear: without any news the bound of the first cones stays, whatever a search may answer."""
    rng = np.random.default_rng(seed)
    known = [tuple(rng.uniform(0.5, 2, 2)) for _ in range(c)]
    calls = iter(known)
    upper, _ = largest_height(np.eye(c), lambda v: next(calls, (1e3, 1e3)), is_enough=lambda _: False, most=40)
    assert upper <= np.linalg.norm(np.max(known, axis=1)) * (1 + 1e-9)


def test_directions_of_cancelling_outputs() -> None:
    """Nearly equal outputs: the rounding of Lam v, where everything cancels, is part of the bound."""
    rng = np.random.default_rng(0)
    X, lam = rng.normal(size=(12, 2)), rng.normal(size=12)
    for size in (1e-6, 1e-10, 1e-13, 1e-15):
        Lam = np.column_stack([lam, -lam]) + size * rng.normal(size=(12, 2))
        check_sound(X, Lam, upper_bounds(Design(X), Lam))


def test_work_of_too_many_cells_is_a_number() -> None:
    """The number of cells of 3000 rows in 1100 dimensions exceeds every float."""
    side = Side(np.zeros((3000, 1100)), np.full(3000, 1 / 3000), np.zeros(1100))
    assert 1e20 < cell_work(side) < np.inf


def test_cells_heed_the_clock_even_when_all_are_dismissed() -> None:
    rows = np.random.default_rng(0).normal(size=(40, 4))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    side = Side(rows, np.full(40, 1 / 40), np.zeros(4))
    bound = cell_bound(side, lower=2.0, deadline=0.0)
    assert bound.status is GaugeStatus.TIME_LIMIT


@given(seed=st.integers(0, 10_000), factor=st.sampled_from([1.0 + 1e-7, 1.01, 1.5]))
@fast
def test_cells_end_below_the_threshold(seed: int, factor: float) -> None:
    """A threshold above m is an upper bound in the end, exactly."""
    rng = np.random.default_rng(seed)
    reduction = reduce_side(Design(rng.normal(size=(14, 4))), rng.normal(size=14))
    assert reduction is not None
    exact = cell_bound(reduction.side, tol=1e-10)
    threshold = factor * exact.upper
    assert cell_bound(reduction.side, tol=1e-10, threshold=threshold).upper <= threshold


@given(seed=st.integers(0, 10_000), exponent=st.floats(5.0, 9.0))
@fast
def test_faces_of_nearly_parallel_rows(seed: int, exponent: float) -> None:
    """Weights that cancel on nearly parallel rows leave a small m, and its bounds stay close to each other."""
    rng = np.random.default_rng(seed)
    angle = np.repeat(rng.uniform(0, np.pi, 4), 2)
    angle[1::2] += 10.0**-exponent
    c = np.repeat(rng.normal(size=4), 2) * np.tile([1.0, -1.0], 4)
    reduction = reduce_side(Design(np.column_stack([np.cos(angle), np.sin(angle)])), c)
    assert reduction is not None
    bound = face_bound(reduction.side)
    assert 0 <= bound.upper - bound.lower <= 1e-10


def test_a_multiplier_that_underflows_in_single_precision_does_not_matter():
    X = np.random.default_rng(0).normal(size=(8, 3))
    X[6] *= 0.3 / np.linalg.norm(X[6])
    lam = np.array([1, -0.5, 0.3, -0.2, 0.7, -0.6, -1.4e-45, -0.3])
    bounds = extremal.gauge(X, lam)
    without = np.where(np.arange(8) == 6, 0.0, lam)
    assert max(brute_force(X, without), brute_force(X, -without)) == pytest.approx(bounds.upper, rel=1e-6)
