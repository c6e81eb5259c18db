"""The discrete methods against their formulas in fractions, in 60 decimals and in PyTorch, and their clock."""

from __future__ import annotations

from decimal import Decimal, localcontext
from fractions import Fraction
from itertools import chain

import numpy as np
import pytest

from extremal import datasets
from extremal.closed_forms import orthogonal_max_margin
from extremal.design import Design
from extremal.flow import discrete
from extremal.flow.discrete import Descent, DescentStop, Method, descend
from extremal.flow.state import State, random_start
from extremal.flow.trajectory import Recorder, Trajectory

X = np.array([[1.0, 0.25], [0.5, 1.0], [-1.0, 0.5], [-0.25, -1.0]])
Y = np.array([1.0, 1.0, -1.0, -1.0])
HIDDEN = np.array([[0.5, -0.25], [0.75, 0.5], [-0.5, 1.0], [-1.0, -0.25]])
OUTPUT = np.array([0.5, -1.0, 0.75, -0.25])
METHODS = {Method.GD: 0.125, Method.MOMENTUM: 0.125, Method.ADAM: 0.0625, Method.NORMALISED: 0.25,
           Method.DECAYING: 0.25, Method.UNIT: 0.25}  # fmt: skip


def start() -> State:
    return State.of_weights(HIDDEN, OUTPUT)


def weights(state: State) -> tuple[np.ndarray, np.ndarray]:
    net = state.network()
    return net.hidden.T, net.output[:, 0]


def run(loss: str, method: Method | str, step: float, *, y=Y, X=X, state: State | None = None, **options) -> Descent:
    return descend(Design(X), y, loss, start() if state is None else state, method=method, step=step, **options)


def recorded(loss: str, method: Method | str, step: float, *, y=Y, X=X, **options) -> tuple[Descent, Trajectory]:
    recorder = Recorder()
    end = run(loss, method, step, y=y, X=X, recorder=recorder, **options)
    return end, recorder.finish(X, y, loss=loss, method=str(method))


# ------------------------------------------------------------------------------------------- the gradient, by hand


def gradient(loss: str, W, b, X, y, number):
    """-grad of the summed loss in the entries of `number`, relu'(0) = 0, and the slope sum |lam|."""
    lam = []
    for row, target in zip(X, y, strict=True):
        f = sum((bi * max(dot(w, row), number(0)) for w, bi in zip(W, b, strict=True)), number(0))
        if loss == "squared":
            lam.append(target - f)
        else:
            tail = (-target * f).exp()
            lam.append(target * (tail / (1 + tail) if loss == "logistic" else tail))
    on = [[dot(w, row) > 0 for row in X] for w in W]
    dW = [
        [sum((lam[k] * bi * X[k][j] for k in range(len(X)) if act[k]), number(0)) for j in range(len(w))]
        for w, bi, act in zip(W, b, on, strict=True)
    ]
    db = [
        sum((lam[k] * dot(w, X[k]) for k in range(len(X)) if act[k]), number(0)) for w, act in zip(W, on, strict=True)
    ]
    return [*chain(*dW), *db], sum(abs(v) for v in lam)


def dot(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True))


def exactly(array, number):
    return [exactly(part, number) if np.ndim(part) else number(float(part)) for part in array]


def unpacked(theta, m, d):
    return [theta[i * d : (i + 1) * d] for i in range(m)], theta[m * d :]


def test_gradient_descent_in_fractions():
    """Squared loss: all numbers are rational, so the reference is exact."""
    W, b, rows, y = (exactly(part, Fraction) for part in (HIDDEN, OUTPUT, X, Y * 0.75))
    step = Fraction(1, 16)
    theta = [*chain(*W), *b]
    for _ in range(6):
        g, _ = gradient("squared", *unpacked(theta, 4, 2), rows, y, Fraction)
        theta = [v + step * s for v, s in zip(theta, g, strict=True)]
    found = weights(run("squared", "gd", 1 / 16, y=Y * 0.75, max_steps=6).state)
    expected = unpacked([float(v) for v in theta], 4, 2)
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-14, atol=1e-15)
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("loss", ["logistic", "exponential", "squared"])
@pytest.mark.parametrize("method", METHODS)
def test_every_method_in_long_arithmetic(loss, method):
    """Five steps of the formulas in `Method`, and tau and log t as promised."""
    count, step = 5, METHODS[method]
    with localcontext() as context:
        context.prec = 60
        theta, tau, t = reference(loss, method, Decimal(step), count)
        expected = unpacked([float(v) for v in theta], 4, 2)
        tau, log_t = float(tau), float(t.ln())
    end = run(loss, method, step, max_steps=count)
    assert end.steps == count
    assert end.gradients == count
    found = weights(end.state)
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-12, atol=1e-14)
    assert end.time == pytest.approx(tau, rel=1e-12)
    assert end.log_clock == pytest.approx(log_t, rel=1e-12, abs=1e-12)
    assert end.half_norm2 == pytest.approx(0.5 * sum(float(v) ** 2 for v in theta), rel=1e-13)


def reference(loss: str, method: Method, step: Decimal, count: int):
    W, b, rows, y = (exactly(part, Decimal) for part in (HIDDEN, OUTPUT, X, Y))
    theta = [*chain(*W), *b]
    m1, m2 = [Decimal(0)] * len(theta), [Decimal(0)] * len(theta)
    mu, b1, b2, eps = (Decimal(v) for v in (0.9, 0.9, 0.999, 1e-8))
    tau = t = Decimal(0)
    for k in range(1, count + 1):
        g, slope = gradient(loss, *unpacked(theta, 4, 2), rows, y, Decimal)
        dt = step
        if method is Method.MOMENTUM:
            m1 = [mu * m + v for m, v in zip(m1, g, strict=True)]
            change, dt = [step * m for m in m1], step / (1 - mu)
        elif method is Method.ADAM:
            m1 = [b1 * m + (1 - b1) * v for m, v in zip(m1, g, strict=True)]
            m2 = [b2 * m + (1 - b2) * v * v for m, v in zip(m2, g, strict=True)]
            mean = [m / (1 - b1**k) for m in m1]
            change = [step * m / ((v / (1 - b2**k)).sqrt() + eps) for m, v in zip(mean, m2, strict=True)]
            dt = (dot(change, change) / dot(mean, mean)).sqrt()
        else:
            if method is Method.NORMALISED:
                dt = step / slope
            if method is Method.DECAYING:
                dt = step / slope / max(Decimal(1), dot(theta, theta))
            if method is Method.UNIT:
                dt = step / dot(g, g).sqrt()
            change = [dt * v for v in g]
        theta = [v + c for v, c in zip(theta, change, strict=True)]
        t += dt
        tau += dt * (sum(abs(v) for v in y) if loss == "squared" else slope)
    return theta, tau, t


@pytest.mark.parametrize("loss", ["logistic", "squared"])
@pytest.mark.parametrize("method", ["gd", "momentum", "adam"])
def test_pytorch_takes_the_same_steps(loss, method):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    rows, y = rng.standard_normal((20, 3)), np.where(rng.uniform(size=20) < 0.5, 1.0, -1.0)
    rows[0] = [0, 0, 1]
    begin = random_start(3, 7, 0.5, rng, balanced=False)
    begin.directions[0] = [0.6, 0.8, 0.0]  # a tie with row 0 at the start
    W, b = (torch.tensor(part, requires_grad=True) for part in weights(begin))
    make = {
        "gd": lambda p: torch.optim.SGD(p, lr=0.01),
        "momentum": lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.8),
        "adam": lambda p: torch.optim.Adam(p, lr=0.01, betas=(0.8, 0.95), eps=1e-6),
    }
    optimiser = make[method]([W, b])
    inputs, targets = torch.tensor(rows), torch.tensor(y)
    for _ in range(50):
        optimiser.zero_grad()
        f = torch.relu(inputs @ W.T) @ b
        value = (
            0.5 * ((f - targets) ** 2).sum() if loss == "squared" else torch.nn.functional.softplus(-targets * f).sum()
        )
        value.backward()
        optimiser.step()
    end = run(loss, method, 0.01, y=y, X=rows, state=begin, max_steps=50, momentum=0.8, betas=(0.8, 0.95), eps=1e-6)
    found = weights(end.state)
    np.testing.assert_allclose(found[0], W.detach().numpy(), rtol=1e-10, atol=1e-11)
    np.testing.assert_allclose(found[1], b.detach().numpy(), rtol=1e-10, atol=1e-11)


# -------------------------------------------------------------------------------------------------------- batches


@pytest.mark.parametrize("batch", [1, 3, 4, 10, 50])
@pytest.mark.parametrize("chunk", [1e-9, 0.1])
def test_sgd_visits_every_row_once_an_epoch(batch, chunk, monkeypatch):
    """n / size times the gradient of a batch; the draws do not depend on how the loop is cut into pieces."""
    monkeypatch.setattr(discrete, "CHUNK", chunk)
    rows, y = datasets.gaussian_labels(10, 3, random_state=4)
    begin = random_start(3, 5, 0.5, np.random.default_rng(1))
    W, b = weights(begin)
    rng, steps, slope_sum = np.random.default_rng(7), 0, 0.0
    for _ in range(3):
        order = rng.permutation(10)
        for first in range(0, 10, batch):
            part = order[first : first + batch]
            z = rows[part] @ W.T
            lam = y[part] / (1 + np.exp(y[part] * (np.maximum(z, 0) @ b))) * (10 / len(part))
            slope_sum += 0.1 * np.abs(lam).sum()
            W, b = W + 0.1 * ((lam[:, None] * b * (z > 0)).T @ rows[part]), b + 0.1 * (np.maximum(z, 0).T @ lam)
            steps += 1
    end = run("logistic", "sgd", 0.1, y=y, X=rows, state=begin, batch_size=batch, max_steps=steps,
              rng=np.random.default_rng(7))  # fmt: skip
    assert end.gradients == pytest.approx(3)
    assert end.time == pytest.approx(slope_sum, rel=1e-12)
    assert end.log_clock == pytest.approx(np.log(0.1 * steps), rel=1e-12)
    np.testing.assert_allclose(weights(end.state)[0], W, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(weights(end.state)[1], b, rtol=1e-12, atol=1e-14)


# ----------------------------------------------------------------------------------------------- against the flow


def test_balance_drifts_with_the_step():
    """|w|^2 - b^2 is constant along the flow; over a fixed time gradient descent moves it by O(step)."""
    drift = []
    for step in (4e-3, 2e-3, 1e-3):
        end = run("logistic", "gd", step, max_steps=round(2 / step))
        drift.append(np.abs(end.state.invariants - start().invariants).max())
    assert drift[0] < 0.02
    assert drift[0] / drift[1] == pytest.approx(2, rel=0.1)
    assert drift[1] / drift[2] == pytest.approx(2, rel=0.1)


@pytest.mark.parametrize("loss", ["logistic", "exponential", "squared"])
def test_one_clock_for_all(loss):
    """All methods but Adam follow one curve in tau, up to O(step)."""
    rows, y = datasets.orthogonally_separable(8, 3, random_state=1)
    begin = random_start(3, 6, 0.3, np.random.default_rng(0))
    curves = []
    for method, step in (("gd", 5e-4), ("normalised", 1e-3), ("decaying", 1e-3), ("unit", 1e-3), ("momentum", 5e-5),
                         ("sgd", 1e-4)):  # fmt: skip
        options = {"batch_size": 4} if method == "sgd" else {}
        _, found = recorded(loss, method, step, y=y, X=rows, state=begin, max_steps=20_000, **options)
        assert np.all(np.diff(found.time) >= 0)
        curves.append((found.time, np.log(found.half_norm2)))
    reach = min(time[-1] for time, _ in curves)
    assert reach > 1
    grid = np.linspace(0, 0.9 * reach, 20)
    first = np.interp(grid, *curves[0])
    assert np.ptp(first) > 0.4
    for curve in curves[1:]:
        np.testing.assert_allclose(np.interp(grid, *curve), first, atol=0.02)


@pytest.mark.parametrize(("n", "d", "m"), [(6, 3, 20), (10, 5, 50)])
@pytest.mark.parametrize("loss", ["logistic", "exponential"])
def test_decaying_steps_reach_the_closed_form(n, d, m, loss):
    """Margin over 1 / (2 P*) tends to 1, the bounds close around P*, and so do the classes' shares of |theta|^2."""
    rows, y = datasets.orthogonally_separable(n, d, random_state=2)
    exact = orthogonal_max_margin(rows, y)
    begin = random_start(d, m, 1e-5, np.random.default_rng(3))
    end, found = recorded(loss, "decaying", 0.3, y=y, X=rows, state=begin, max_steps=200_000)
    assert end.stop is DescentStop.MAX_STEPS
    ratio = found.normalised_margin / exact.margin
    assert 0.9995 < ratio[-1] <= 1 + 1e-12
    assert found.upper_bounds[-1] >= exact.value * (1 - 1e-12)
    lower = found.lower_bounds(1, time_limit=2).values[0]
    assert exact.value * (1 - 2e-3) < lower <= exact.value * (1 + 1e-12)
    size = np.exp(2 * end.state.log_norms) * (1 + end.state.ratios**2)
    assert size[end.state.ratios > 0].sum() / size.sum() == pytest.approx(exact.shares[0], abs=2e-3)


def test_smoothed_margin_never_falls():
    """Small steps, exponential loss, from where it is positive (Lyu & Li); log loss falls all along."""
    rows, y = datasets.gaussian_labels(8, 4, random_state=0)
    begin = random_start(4, 20, 0.1, np.random.default_rng(0))
    _, found = recorded("exponential", "decaying", 0.02, y=y, X=rows, state=begin, max_steps=30_000)
    smooth = found.smoothed_margin
    assert np.isfinite(smooth[-1])
    assert np.all(np.diff(smooth[np.isfinite(smooth)]) > -1e-12)
    assert np.all(np.diff(found.log_loss) < 1e-12)


# -------------------------------------------------------------------------------------------------------- the ends


def test_huge_weights_do_not_overflow():
    """|theta|^2 near 1e11, where e^q is far beyond double precision: normalised steps go on; plain ones are fixed."""
    rows, y = datasets.orthogonally_separable(6, 2, random_state=0)
    exact = orthogonal_max_margin(rows, y)
    begin = State.of_network(exact.network)
    begin.log_norms += 12
    end, found = recorded("logistic", "decaying", 0.1, y=y, X=rows, state=begin, max_steps=1000)
    assert end.steps == 1000
    assert np.isfinite(found.log_loss).all()
    assert found.log_loss[-1] < -1e10
    assert found.normalised_margin[-1] == pytest.approx(exact.margin, rel=1e-10)
    assert run("logistic", "gd", 0.1, y=y, X=rows, state=begin).stop is DescentStop.FIXED


@pytest.mark.parametrize("method", METHODS)
def test_tiny_start(method):
    begin = State(start().directions, np.full(4, -340.0), start().signs)
    end, found = recorded("logistic", method, METHODS[method], state=begin, max_steps=50)
    assert end.steps == 50
    assert np.isfinite(end.time)
    assert np.isfinite(found.margins).all()


@pytest.mark.parametrize("method", METHODS)
def test_dead_neurons_stay(method):
    """No row is active: the gradient is zero, also on a tie, where relu'(0) = 0."""
    state = State(np.array([[-1.0, 0.0], [0.0, 1.0]]), np.zeros(2), np.array([1.0, -1.0]))
    end = run("logistic", method, 0.1, X=np.array([[1.0, 0.0], [1.0, 0.0]]), y=np.array([1.0, -1.0]), state=state)
    assert end.stop is DescentStop.FIXED
    assert end.steps == 0
    np.testing.assert_array_equal(weights(end.state)[0], weights(state)[0])


def test_a_neuron_that_reaches_zero_keeps_its_place():
    """One step of squared loss from w = b = 1 with f - y = 1 leaves w = b = 0."""
    state = State(np.array([[1.0]]), np.zeros(1), np.ones(1))
    end, found = recorded("squared", "gd", 1.0, X=np.array([[1.0]]), y=np.array([0.0]), state=state, max_steps=3)
    assert end.stop is DescentStop.FIXED
    assert end.steps == 1
    assert end.state.width == 1
    assert found.half_norm2[-1] < 1e-299
    assert end.half_norm2 == 0


@pytest.mark.parametrize(
    ("loss", "method"), [("squared", "gd"), ("squared", "momentum"), ("exponential", "gd"), ("logistic", "normalised")]
)
def test_divergence_is_reported(loss, method):
    step = {"squared": 50.0, "exponential": 1e200, "logistic": 1e200}[loss]
    end, found = recorded(loss, method, step)
    assert end.stop is DescentStop.DIVERGED
    assert np.isfinite(end.state.directions).all()
    assert np.isfinite(end.half_norm2)
    assert found.log_norms.shape[0] >= 1
    assert "too large" in str(end)


def test_limits():
    assert run("logistic", "gd", 0.1, max_steps=0).steps == 0
    end = run("logistic", "normalised", 0.01, max_half_norm2=50.0, max_steps=10**6)
    assert end.stop is DescentStop.NORM_REACHED
    assert 50 <= end.half_norm2 < 60
    end = run("logistic", "gd", 1e-3, max_steps=10**12, time_limit=0.3)
    assert end.stop is DescentStop.TIME_LIMIT
    assert 0.2 < end.seconds < 2


def test_progress_and_interruption():
    seen = []

    def progress(steps: int, tau: float, half_norm2: float) -> None:
        seen.append((steps, tau, half_norm2))
        if len(seen) == 2:
            raise KeyboardInterrupt

    recorder = Recorder()
    end = run("logistic", "gd", 1e-3, max_steps=10**12, progress=progress, recorder=recorder, time_limit=20)
    assert end.stop is DescentStop.INTERRUPTED
    assert end.steps == seen[-1][0] > seen[0][0]
    found = recorder.finish(X, Y, loss="logistic", method="gd")
    assert found.time[-1] == end.time == seen[-1][1]
    assert found.half_norm2[-1] == pytest.approx(end.half_norm2, rel=1e-12)


def test_a_run_goes_on():
    whole = run("logistic", "gd", 0.1, max_steps=40)
    half = run("logistic", "gd", 0.1, max_steps=20)
    rest = run("logistic", "gd", 0.1, max_steps=20, state=half.state, time=half.time, log_clock=half.log_clock)
    np.testing.assert_allclose(weights(rest.state)[0], weights(whole.state)[0], rtol=1e-13, atol=1e-14)
    assert rest.time == pytest.approx(whole.time, rel=1e-13)
    assert rest.log_clock == pytest.approx(whole.log_clock, rel=1e-13)


def test_snapshots_are_those_of_the_run():
    end, found = recorded("logistic", "adam", 0.01, max_steps=1000)
    assert len(found) > 150
    assert found.time[0] == 0
    assert found.log_clock[0] == -np.inf
    assert found.time[-1] == end.time
    np.testing.assert_allclose(found.directions[-1], end.state.directions)
    half = run("logistic", "adam", 0.01, max_steps=20)
    np.testing.assert_allclose(found.log_norms[20], half.state.log_norms, rtol=1e-13)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "newton"}, "not a valid Method"),
        ({"method": "sgd"}, "batch_size"),
        ({"method": "gd", "batch_size": 2}, "all rows"),
        ({"method": "sgd", "batch_size": 0}, "at least 1"),
        ({"step": 0.0}, "step must be"),
        ({"step": np.nan}, "step must be"),
        ({"momentum": 1.0}, "momentum and betas"),
        ({"betas": (0.9, -0.1)}, "momentum and betas"),
        ({"eps": np.nan}, "eps"),
        ({"loss": "hinge"}, "unknown loss"),
        ({"y": np.array([1.0, 2.0, -1.0, 1.0])}, "labels"),
        ({"y": np.array([1.0, np.nan, -1.0, 1.0]), "loss": "squared"}, "finite"),
        ({"y": np.ones(3)}, "shape"),
        ({"state": random_start(3, 2, 1.0, np.random.default_rng(0))}, "features"),
        ({"state": State(np.zeros((0, 2)), np.zeros(0), np.zeros(0))}, "neurons"),
        ({"state": State(np.eye(2), np.array([0.0, -800.0]), np.ones(2))}, "log norms"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        run(**({"loss": "logistic", "method": "gd", "step": 0.1} | options))
