"""States in log-norm coordinates, and what a trajectory derives from them, against formulas in long arithmetic."""

from __future__ import annotations

import sys
from dataclasses import replace
from decimal import Decimal, localcontext

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import extremal
from extremal.flow.quantities import log_losses, log_smoothed, multipliers
from extremal.flow.state import State, random_start
from extremal.flow.trajectory import EVENT, EventKind, Recorder, Trajectory
from reference import exact_gauge

X = np.array([[1.0, 0.25], [0.5, 1.0], [-1.0, 0.5], [-0.25, -1.0]])
Y = np.array([1.0, 1.0, -1.0, -1.0])


def recorded(states: list[State], loss: str = "logistic", y=Y, limit: int = 64_000_000) -> Trajectory:
    recorder = Recorder(limit)
    for k, state in enumerate(states):
        recorder.record(float(k), np.log(k) if k else -np.inf, state.directions, state.log_norms, state.ratios)
    return recorder.finish(X, y, loss=loss, method="by hand")


def random_states(count: int, *, scale: float = 1.0, width: int = 5, seed: int = 0) -> list[State]:
    rng = np.random.default_rng(seed)
    return [random_start(2, width, scale, rng, balanced=False) for _ in range(count)]


# --------------------------------------------------------------------------------------------------------- states


@given(st.integers(1, 7), st.integers(1, 9), st.integers(-300, 300), st.booleans(), st.integers(0, 5))
def test_random_start(d, width, exponent, balanced, seed):
    """Unit directions, signs in equal number, the promised norms at every scale, and the same state for a seed."""
    scale = 10.0**exponent if exponent > -300 else 1e-300
    state, again = (random_start(d, width, scale, np.random.default_rng(seed), balanced) for _ in range(2))
    np.testing.assert_allclose(np.linalg.norm(state.directions, axis=1), 1, rtol=4e-15)
    assert abs(state.signs.sum()) == width % 2
    np.testing.assert_array_equal(state.directions, again.directions)
    if balanced:
        np.testing.assert_array_equal(np.abs(state.ratios), 1)
        np.testing.assert_allclose(state.log_norms, np.log(scale))
    assert np.abs(state.log_norms - np.log(scale)).max() < 10


def test_unbalanced_start_has_gaussian_weights():
    """|w|^2 d / scale^2 is chi^2_d, b / scale normal: their means within five standard errors."""
    d, m, scale = 3, 40_000, 1e-3
    state = random_start(d, m, scale, np.random.default_rng(1), balanced=False)
    inner = np.exp(2 * state.log_norms) / scale**2
    outer = state.ratios * np.exp(state.log_norms) / scale
    assert abs(inner.mean() - 1) < 5 * np.sqrt(2 / d / m)
    assert abs((outer**2).mean() - 1) < 5 * np.sqrt(2 / m)
    assert abs(np.mean(np.exp(state.log_norms) ** 2 * state.directions[:, 0] ** 2) * d / scale**2 - 1) < 0.05


def test_network_and_back():
    rng = np.random.default_rng(0)
    hidden, output = rng.normal(size=(3, 6)), rng.normal(size=6)
    hidden[:, 2] = 0
    network = extremal.Network(hidden, output)
    state = State.of_network(network)
    assert state.width == 5
    again = state.network()
    np.testing.assert_allclose(again.hidden, np.delete(hidden, 2, axis=1), rtol=1e-14)
    np.testing.assert_allclose(again.output[:, 0], np.delete(output, 2), rtol=1e-14)
    np.testing.assert_allclose(state.network(np.log(3.0)).hidden, 3 * again.hidden, rtol=1e-14)
    np.testing.assert_allclose(
        state.invariants, (np.delete(hidden, 2, axis=1) ** 2).sum(axis=0) - np.delete(output, 2) ** 2, atol=1e-14
    )


@pytest.mark.parametrize("size", [1e-200, 1e-320, 1e150, 1e300])
def test_state_of_extreme_weights(size):
    """Norms neither under- nor overflow; subnormal entries lose only their own digits."""
    state = State.of_network(extremal.Network(np.array([[3.0], [-4.0]]) * size, np.array([5.0 * size])))
    rel = 1e-14 if size > 1e-300 else 1e-3
    np.testing.assert_allclose(state.directions, [[0.6, -0.8]], rtol=rel)
    assert state.log_norms[0] == pytest.approx(np.log(size) + np.log(5), rel=1e-5)
    assert state.ratios[0] == pytest.approx(1, rel=rel)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: State(np.ones(3), np.ones(3), np.ones(3)), "must be"),
        (lambda: State(np.ones((3, 2)), np.ones(2), np.ones(3)), "must be"),
        (lambda: State(np.ones((1, 2)), np.array([-np.inf]), np.ones(1)), "NaN or infinite"),
        (lambda: State.of_network(extremal.Network(np.ones((2, 1)), np.ones((1, 2)))), "one output"),
        (lambda: State.of_network(extremal.Network(np.ones((2, 1)), np.ones(1), np.ones(1))), "intercept"),
        (lambda: State.of_network(extremal.Network(np.full((1, 1), 1e-300), np.full(1, 1e300))), "infinite"),
        (lambda: State(np.ones((1, 1)), np.array([800.0]), np.ones(1)).network(), "infinite"),
        (lambda: random_start(2, 0, 1.0, np.random.default_rng(0)), "one neuron"),
        (lambda: random_start(2, 2, 0.0, np.random.default_rng(0)), "positive"),
        (lambda: random_start(2, 2, np.nan, np.random.default_rng(0)), "positive"),
    ],
)
def test_bad_states(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# ----------------------------------------------------------------------------------------------------- quantities


def log1p(x: Decimal) -> Decimal:
    return x if x < Decimal("1e-350") else (1 + x).ln()


def expm1(x: Decimal) -> Decimal:
    return x if x < Decimal("1e-350") else x.exp() - 1


def exact(loss: str, q, y):
    """Loss, lam and the smoothed margin times |theta|^2, in 400 digits."""
    q, y = [Decimal(float(v)) for v in q], [Decimal(float(v)) for v in y]
    if loss == "squared":
        lam = [b - a for a, b in zip(q, y, strict=True)]
        return sum(v * v for v in lam) / 2, lam, None
    tails = [(-v).exp() for v in q]
    if loss == "exponential":
        return sum(tails), [s * v for v, s in zip(tails, y, strict=True)], -sum(tails).ln()
    total = sum(log1p(v) for v in tails)
    return total, [s * v / (1 + v) for v, s in zip(tails, y, strict=True)], -expm1(total).ln()


@given(
    st.sampled_from(["logistic", "exponential", "squared"]),
    st.lists(st.floats(-800, 800), min_size=4, max_size=4),
    st.sampled_from([1e-3, 1.0, 100.0]),
)
def test_quantities_in_long_arithmetic(loss, q, factor):
    q = np.array(q) * factor
    log_loss = log_losses(loss, q[None], Y)
    scaled, log_slope = multipliers(loss, q[None], Y)
    with localcontext() as context:
        context.prec, context.Emax, context.Emin = 400, 10**9, -(10**9)
        value, lam, smooth = exact(loss, q, Y)
        slope = sum(abs(v) for v in lam)
        if value == 0:
            assert log_loss[0] == -np.inf
            return
        assert log_loss[0] == pytest.approx(float(value.ln()), rel=1e-13, abs=1e-13)
        assert log_slope[0] == pytest.approx(float(slope.ln()), rel=1e-13, abs=1e-13)
        np.testing.assert_allclose(scaled[0], [float(v / slope) for v in lam], rtol=1e-10, atol=1e-300)
        if loss != "squared":
            found = log_smoothed(loss, log_loss)[0]
            if smooth < -1e-9:
                assert np.isnan(found)
            elif smooth > 1e-9:
                assert found == pytest.approx(float(smooth), rel=1e-11, abs=1e-11)


def test_squared_loss_of_an_interpolator_has_no_slope():
    lam, log_slope = multipliers("squared", Y[None], Y)
    assert log_slope[0] == -np.inf
    assert not lam.any()


@pytest.mark.parametrize("loss", ["logistic", "exponential", "squared"])
def test_trajectory_against_networks(loss):
    """Every derived array against the plain network of each snapshot."""
    states = random_states(7)
    run = recorded(states, loss)
    assert len(run) == 7
    for k, (state, shot) in enumerate(zip(states, run, strict=True)):
        net = state.network()
        f = net.predict(X)[:, 0]
        q = f if loss == "squared" else Y * f
        np.testing.assert_allclose(shot.margins, q, rtol=1e-12, atol=1e-14)
        assert shot.half_norm2 == pytest.approx(net.penalty(), rel=1e-13)
        if loss == "squared":
            lam = Y - f
            assert shot.log_loss == pytest.approx(np.log(0.5 * lam @ lam))
            assert np.isnan(shot.normalised_margin)
            assert np.isnan(run.smoothed_margin[k])
            assert run.upper_bounds[k] == np.inf
        else:
            lam = Y / (1 + np.exp(q)) if loss == "logistic" else Y * np.exp(-q)
            assert shot.normalised_margin == pytest.approx(q.min() / (2 * net.penalty()), rel=1e-12)
            assert run.upper_bounds[k] == pytest.approx(net.penalty() / q.min() if q.min() > 0 else np.inf)
        assert shot.log_slope == pytest.approx(np.log(np.abs(lam).sum()))
        np.testing.assert_allclose(shot.lam, lam / np.abs(lam).sum(), rtol=1e-11)
        np.testing.assert_array_equal(run.patterns(k), net.hidden.T @ X.T > 0)
        for i in range(state.width):
            drive = np.sign(net.output[i, 0]) * X.T @ ((X @ net.hidden[:, i] > 0) * Y)
            w = net.hidden[:, i]
            cos = drive @ w / np.linalg.norm(drive) / np.linalg.norm(w) if drive.any() else np.nan
            assert run.alignment[k, i] == pytest.approx(cos, abs=1e-13, nan_ok=True)


def test_margins_where_the_weights_underflow():
    """Normalised margin and upper bound do not depend on the scale, not even where |theta|^2 is zero in doubles."""
    state = State(np.array([[0.8, 0.6], [-0.6, -0.8]]), np.zeros(2), np.array([1.0, -1.0]))
    rows = [State(state.directions, state.log_norms + shift, state.ratios) for shift in (0.0, -600.0, 5.0)]
    run = recorded(rows)
    assert run.half_norm2[1] == 0
    assert run.normalised_margin[0] != 0
    np.testing.assert_allclose(run.normalised_margin, run.normalised_margin[0], rtol=1e-14)
    np.testing.assert_allclose(run.upper_bounds, run.upper_bounds[0], rtol=1e-14)


def test_blocks_do_not_change_the_answer(monkeypatch):
    states = random_states(9)
    whole, parts = recorded(states), recorded(states)
    expected = whole.margins, whole.alignment
    monkeypatch.setattr(sys.modules["extremal.flow.quantities"], "BLOCK", 41)
    np.testing.assert_allclose(parts.margins, expected[0], rtol=1e-13)
    np.testing.assert_allclose(parts.alignment, expected[1], rtol=1e-13)


@pytest.mark.parametrize("scale", [1e-100, 1.0, 1e100])
def test_bounds_bracket_the_optimum(scale):
    """y^T lam / g(lam) <= P* <= 1/2 |theta|^2 / min q, the gauge by projection onto every cell."""
    states = [
        State(s.directions, s.log_norms - 0.5 * np.log(scale), s.ratios) for s in random_states(40, width=30, seed=3)
    ]
    recorder = Recorder()
    for k, s in enumerate(states):
        recorder.record(k, 0.0, s.directions, s.log_norms, s.ratios)
    run = recorder.finish(X * scale, Y, loss="logistic", method="random")
    best = extremal.max_margin(X, Y)
    indices, values = run.lower_bounds(8)
    assert indices[0] == 0
    assert indices[-1] == len(run) - 1
    assert np.all(np.diff(values) >= 0)
    assert values[-1] * scale <= best.value * (1 + 1e-12)
    assert run.upper_bounds.min() * scale >= best.dual_value * (1 - 1e-12)
    expected = max(Y @ run.lam[k] / exact_gauge(X, run.lam[k]) for k in indices)
    assert values[-1] * scale == pytest.approx(expected, rel=2e-6)
    assert np.isfinite(run.upper_bounds).any()


@pytest.mark.parametrize("scale", [1e-200, 1e148])
def test_alignment_does_not_depend_on_the_scale(scale):
    runs = []
    for factor in (1.0, scale):
        recorder = Recorder()
        for state in random_states(3):
            recorder.record(0.0, 0.0, state.directions, state.log_norms, state.ratios)
        runs.append(recorder.finish(X * factor, Y, loss="logistic", method="random").alignment)
    np.testing.assert_allclose(runs[1], runs[0], rtol=1e-12)
    assert np.isfinite(runs[0]).any()


def test_interrupted_bounds_keep_what_is_proved(monkeypatch):
    room = sys.modules["extremal.gauge"]
    bounds_of = room.bounds_of
    monkeypatch.setattr(
        room, "bounds_of", lambda *a, **k: replace(bounds_of(*a, **k), status=room.GaugeStatus.INTERRUPTED)
    )
    found = recorded(random_states(5)).lower_bounds(5)
    np.testing.assert_array_equal(found.indices, [4])


def test_lower_bounds_without_time_still_bound_the_last():
    run = recorded(random_states(5))
    found = run.lower_bounds(time_limit=0.0)
    np.testing.assert_array_equal(found.indices, [4])
    np.testing.assert_array_equal(run.lower_bounds(1).indices, [4])


# ------------------------------------------------------------------------------------------------------- recorder


@given(st.integers(1, 200), st.integers(0, 4000))
def test_recorder_keeps_first_and_last_and_an_even_stride(count, limit):
    states = random_states(1, width=2) * count
    run = recorded(states, limit=limit)
    assert run.time[0] == 0
    assert run.time[-1] == count - 1
    size = 2 * (2 + 1 + 1) * 8 + 2 * 4
    assert len(run) <= max(limit // size, 2) + 1
    inner = np.diff(run.time)[:-1]
    assert np.all(inner == inner[:1])
    if count * size <= limit:
        assert len(run) == count


def test_recorder_counts_what_is_derived():
    state, recorder = random_states(1)[0], Recorder(10_000, rows=40)
    for k in range(100):
        recorder.record(k, 0.0, state.directions, state.log_norms, state.ratios)
    run = recorder.finish(np.zeros((40, 2)), np.ones(40), loss="logistic", method="flow")
    assert run.margins.nbytes + run.lam.nbytes + run.directions.nbytes <= 10_000
    assert len(run) > 3


def test_recorder_copies_and_goes_on():
    state, recorder = random_states(1)[0], Recorder()
    recorder.record(0.0, -np.inf, state.directions, state.log_norms, state.ratios)
    state.log_norms += 1
    recorder.record(1.0, 0.0, state.directions, state.log_norms, state.ratios, np.arange(5))
    for k in range(200):
        recorder.event(0.5 + k, EventKind.SLIDE, k % 5, k % 4)
    run = recorder.finish(X, Y, loss="logistic", method="flow", bias=True)
    np.testing.assert_allclose(run.log_norms[1] - run.log_norms[0], 1)
    np.testing.assert_array_equal(run.sliding, [[0] * 5, range(5)])
    assert run.events.dtype == EVENT
    np.testing.assert_array_equal(run.events["time"], 0.5 + np.arange(200))
    assert EventKind(run.events[7]["kind"]) is EventKind.SLIDE
    recorder.record(2.0, 1.0, state.directions, state.log_norms, state.ratios)
    assert len(recorder.finish(X, Y, loss="logistic", method="flow")) == 3
    with pytest.raises(ValueError, match="nothing"):
        Recorder().finish(X, Y, loss="logistic", method="flow")


def test_slice_thin_save_load(tmp_path):
    recorder = Recorder()
    for k, state in enumerate(random_states(10)):
        recorder.record(k, k, state.directions, state.log_norms, state.ratios)
        recorder.event(k + 0.5, EventKind.ON, 0, k % 4)
    run = recorder.finish(X, Y, loss="exponential", method="adam", bias=True)
    part = run.slice(2, 5)
    np.testing.assert_array_equal(part.time, [2, 3, 4])
    np.testing.assert_array_equal(part.events["time"], [2.5, 3.5])
    thin = run.thin(4)
    np.testing.assert_array_equal(thin.time, [0, 3, 6, 9])
    assert thin.events.size == 10
    for call in (lambda: run.thin(1), lambda: run.slice(3, 3)):
        with pytest.raises(ValueError, match="snapshot"):
            call()
    with pytest.raises(IndexError):
        run[10]
    assert run[-1].time == 9
    whole = run.slice(0, 4).joined(run.slice(3, 10))
    np.testing.assert_array_equal(whole.directions, run.directions)
    for other in (run.slice(5, 10), replace(run.slice(3, 10), loss="logistic"), replace(run.slice(3, 10), y=-Y)):
        with pytest.raises(ValueError, match="run"):
            run.slice(0, 4).joined(other)
    path = tmp_path / "run.npz"
    run.save(path)
    again = Trajectory.load(path)
    for name in ("X", "y", "time", "log_clock", "directions", "log_norms", "ratios", "sliding", "events", "margins"):
        np.testing.assert_array_equal(getattr(run, name), getattr(again, name))
    assert (again.loss, again.method, again.bias) == ("exponential", "adam", True)
    assert "adam, exponential loss, 5 neurons" in str(again)
    np.savez(tmp_path / "other.npz", X=X)
    with pytest.raises(ValueError, match="not a trajectory"):
        Trajectory.load(tmp_path / "other.npz")
