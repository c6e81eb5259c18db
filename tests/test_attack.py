"""Attempts to break weak duality and the validity of what is returned early, scaled badly or interrupted."""

from __future__ import annotations

import warnings
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import expit, logsumexp, softmax

import extremal
import reference
from extremal import Certificate, Network, Record, Status
from reference import Array, Optimum

SMOOTH = ["squared", "logistic", "huber", "squared_hinge"]


def targets(loss: str, rng: np.random.Generator, n: int) -> Array:
    if loss in ("squared", "huber"):
        return 2 * rng.normal(size=n)
    y = rng.choice([-1.0, 1.0], n)
    y[0], y[-1] = 1.0, -1.0
    return y


def random_problem(seed: int, *, n: int = 8, d: int = 2) -> tuple[Array, Array, float, dict[str, Any]]:
    """Data, beta and a model; every fourth seed is one of the losses."""
    rng = np.random.default_rng(seed)
    loss = SMOOTH[seed % 4]
    X = rng.normal(size=(n, d)) if rng.random() < 0.7 else rng.integers(-2, 3, size=(n, d)).astype(float)
    model = {
        "loss": loss,
        "bias": str(rng.choice(["none", "penalized"])),
        "intercept": bool(rng.random() < 0.3),
        "sample_weight": rng.uniform(0.2, 2, n),
    }
    return X, targets(loss, rng, n), float(10.0 ** rng.uniform(-1.5, 0.3)), model


def tiny(X: Array, y: Array, model: dict[str, Any]) -> float:
    """The rounding of a comparison of two objectives."""
    return 1e-13 * reference.loss_value(model["loss"], np.zeros(len(y)), y, model["sample_weight"])


# ---------------------------------------------------------------------------------------------- an optimiser of its own


def outputs_loss(loss: str, F: Array, y: Array, w: Array) -> tuple[float, Array]:
    """The value of the loss and its gradient in F (n, c)."""
    if loss == "softmax":
        one_hot = np.eye(F.shape[1])[y.astype(int)]
        value = w @ (logsumexp(F, axis=1) - (F * one_hot).sum(axis=1))
        return float(value), w[:, None] * (softmax(F, axis=1) - one_hot)
    if loss == "squared":
        residual = F - y.reshape(len(F), -1)
        return float(0.5 * w @ (residual**2).sum(axis=1)), w[:, None] * residual
    f = F[:, 0]
    gradient = {
        "logistic": lambda: -w * y * expit(-y * f),
        "huber": lambda: -w * np.clip(y - f, -1.35, 1.35),
        "squared_hinge": lambda: -w * y * np.maximum(1 - y * f, 0),
    }[loss]()
    return reference.loss_value(loss, f, y, w), gradient[:, None]


def lowest_of_restarts(
    X: Array, y: Array, beta: float, model: dict[str, Any], *, restarts: int, width: int, c: int = 1, seed: int = 0
) -> float:
    """The least objective that SciPy's L-BFGS finds from random networks."""
    A = reference.augmented(X, model["bias"])
    d, w, intercept = A.shape[1], model["sample_weight"], model["intercept"]
    rng = np.random.default_rng(seed)

    def oracle(theta: Array) -> tuple[float, Array]:
        W, a, b = theta[: d * width].reshape(d, width), theta[d * width :][: width * c].reshape(width, c), theta[-c:]
        Z = A @ W
        hidden = np.maximum(Z, 0)
        value, slope = outputs_loss(model["loss"], hidden @ a + b * intercept, y, w)
        gradient = np.concatenate(
            [
                (A.T @ ((Z > 0) * (slope @ a.T)) + beta * W).ravel(),
                (hidden.T @ slope + beta * a).ravel(),
                slope.sum(axis=0) * intercept,
            ]
        )  # fmt: skip
        return value + 0.5 * beta * float((W**2).sum() + (a**2).sum()), gradient

    best = np.inf
    for _ in range(restarts):
        start = 10.0 ** rng.uniform(-1.5, 0.5) * rng.normal(size=d * width + width * c + c)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            best = min(best, minimize(oracle, start, jac=True, method="L-BFGS-B", options={"maxiter": 150}).fun)
    return float(best)


@pytest.mark.parametrize("seed", range(20))
def test_no_restart_is_below_the_proof(seed: int) -> None:
    X, y, beta, model = random_problem(seed)
    certificate = extremal.fit(X, y, beta=beta, **model).certificate
    lowest = lowest_of_restarts(X, y, beta, model, restarts=10, width=10, seed=seed)
    assert lowest >= certificate.dual - tiny(X, y, model)
    assert certificate.primal <= lowest * (1 + 1e-7)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 124))
def test_no_restart_of_two_hundred_is_below_the_proof(seed: int) -> None:
    X, y, beta, model = random_problem(seed, n=12, d=3)
    certificate = extremal.fit(X, y, beta=beta, **model).certificate
    lowest = lowest_of_restarts(X, y, beta, model, restarts=200, width=14, seed=seed)
    assert lowest >= certificate.dual - tiny(X, y, model)
    assert certificate.primal <= lowest * (1 + 1e-7)


@pytest.mark.parametrize(
    ("loss", "intercept"), [("softmax", False), ("softmax", True), ("squared", False), ("squared", True)]
)
def test_no_restart_with_several_outputs_is_below_the_proof(loss: str, intercept: bool) -> None:
    rng = np.random.default_rng(3)
    X, w = rng.normal(size=(9, 2)), rng.uniform(0.5, 1.5, 9)
    y = np.arange(9) % 3 if loss == "softmax" else rng.normal(size=(9, 2))
    c = 3 if loss == "softmax" else 2
    model = {"loss": loss, "bias": "penalized", "intercept": intercept, "sample_weight": w}
    for beta in (0.05, 0.5):
        certificate = extremal.fit(X, y, beta=beta, time_limit=2.0, **model).certificate
        lowest = lowest_of_restarts(X, y, beta, model, restarts=10, width=12, c=c)
        assert 0 < certificate.dual <= lowest * (1 + 1e-13)
        assert certificate.primal <= lowest * (1 + 1e-5)
        assert certificate.gap < 1


# -------------------------------------------------------------------------------------------------- certifying anything


@pytest.fixture(scope="module")
def solved() -> list[tuple[Array, Array, float, dict[str, Any], Optimum]]:
    found = []
    for seed in range(40, 48):
        X, y, beta, model = random_problem(seed, n=7, d=2)
        found.append((X, y, beta, model, reference.solve(X, y, beta, **model)))
    return found


def tampered(best: Optimum, rng: np.random.Generator, *, bias: bool, intercept: bool) -> dict[str, Network]:
    """Networks of all kinds: random, near the optimum, scaled, permuted, duplicated, with dead neurons."""
    W, a, b = best.hidden, best.output, best.intercept
    d, m = W.shape
    k = int(rng.integers(1, 9))
    order = rng.permutation(m)
    noise = 10.0 ** rng.uniform(-8, 0)

    def net(hidden: Array, output: Array, shift: float = 0.0) -> Network:
        return Network(hidden, output, np.array([b + shift]) if intercept else None, bias=bias)

    return {
        "zero": net(np.zeros((d, 0)), np.zeros(0)),
        "random": net(rng.normal(size=(d, k)), rng.normal(size=k), rng.normal()),
        "huge": net(1e6 * rng.normal(size=(d, k)), 1e6 * rng.normal(size=k)),
        "tiny": net(1e-9 * rng.normal(size=(d, k)), rng.normal(size=k)),
        "optimal": net(W, a),
        "noisy": net(W + noise * rng.normal(size=W.shape), a + noise * rng.normal(size=m), noise),
        "scaled": net(rng.uniform(0.3, 3) * W, a),
        "unbalanced": net(W * 1e4, a / 1e4),
        "permuted": net(W[:, order], a[order]),
        "split": net(np.hstack([W, W]) / np.sqrt(2), np.concatenate([a, a]) / np.sqrt(2)),
        "half": net(W[:, ::2], a[::2]),
        "with dead neurons": net(np.hstack([W, np.zeros((d, 1)), np.ones((d, 1))]), np.concatenate([a, [1.0, 0.0]])),
    }


@pytest.mark.parametrize("seed", range(8))
def test_bounds_of_tampered_networks(
    seed: int, solved: list[tuple[Array, Array, float, dict[str, Any], Optimum]]
) -> None:
    X, y, beta, model, best = solved[seed]
    rng = np.random.default_rng(seed)
    rest = {key: value for key, value in model.items() if key != "bias"}
    slack = tiny(X, y, model)
    for kind, net in tampered(best, rng, bias=model["bias"] == "penalized", intercept=model["intercept"]).items():
        optimal = kind in ("optimal", "permuted", "split")
        limit = None if optimal or seed == 0 else 0.1  # a bound is valid whenever its search is stopped
        certificate = extremal.certify(net, X, y, beta=beta, time_limit=limit, **rest)
        assert certificate.dual <= best.upper + slack, kind
        assert certificate.primal >= best.lower - slack, kind
        assert certificate.dual <= certificate.primal, kind
        assert 0 <= certificate.gap <= 1, kind
        assert certificate.primal == pytest.approx(
            net.objective(X, y, beta=beta, loss=model["loss"], sample_weight=model["sample_weight"]), rel=1e-13
        )
        if optimal:
            assert certificate.gap <= 1e-6, kind
            assert certificate.status is Status.OPTIMAL, kind
        if certificate.status is Status.NOT_OPTIMAL:
            assert improves(certificate, net, X, y, beta, model), kind
        elif certificate.status is Status.OPTIMAL:
            assert certificate.primal <= best.upper * (1 + 2e-6) + slack, kind


def improves(certificate: Certificate, net: Network, X: Array, y: Array, beta: float, model: dict[str, Any]) -> bool:
    """Whether the witness, with an amplitude found by line search, lowers the objective."""
    u = certificate.witness / np.linalg.norm(certificate.witness)
    weigh = {"loss": model["loss"], "sample_weight": model["sample_weight"]}
    before = net.objective(X, y, beta=beta, **weigh)
    for r in 10.0 ** np.linspace(-12, 2, 57):
        for sign in (1.0, -1.0):
            hidden = np.column_stack([net.hidden, np.sqrt(r) * u])
            output = np.append(net.output[:, 0], sign * np.sqrt(r))
            if Network(hidden, output, net.intercept, bias=net.bias).objective(X, y, beta=beta, **weigh) < before:
                return True
    return False


@pytest.mark.parametrize(("seed", "size"), list(enumerate([1e-100, 1e-8, 1.0, 1e8, 1e100])))
def test_bounds_survive_scaling(seed: int, size: float) -> None:
    """The certificate of a random network for scaled data is the scaled certificate."""
    rng = np.random.default_rng(seed)
    X, y = rng.normal(size=(6, 2)), rng.normal(size=6)
    W, a = rng.normal(size=(2, 3)), rng.normal(size=3)
    plain = extremal.certify(Network(W, a), X, y, beta=0.3)
    assert plain.dual <= plain.primal
    for height in (1e-50, 1.0, 1e50):
        net = Network(W / size, a * height)
        scaled = extremal.certify(net, size * X, height * y, beta=0.3 * size * height)
        assert scaled.dual <= scaled.primal
        assert scaled.dual == pytest.approx(height**2 * plain.dual, rel=1e-5)


@settings(max_examples=15)
@given(st.integers(0, 10**6))
def test_bounds_with_wild_weights_and_columns(seed: int) -> None:
    """Sample weights over twenty decades, columns over six: nothing may cross."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(6, 2)) * 10.0 ** rng.uniform(-3, 3, 2)
    y, w = rng.normal(size=6) * 10.0 ** rng.uniform(-3, 3, 6), 10.0 ** rng.uniform(-10, 10, 6)
    limit = reference.exact_gauge(X, w * y)
    result = extremal.fit(X, y, beta=limit * 10.0 ** rng.uniform(-4, 0), bias="none", sample_weight=w, time_limit=1)
    assert 0 <= result.certificate.dual <= result.certificate.primal
    assert reference.exact_gauge(X, result.certificate.lam[:, 0]) <= result.certificate.beta * (1 + 1e-9)


# ------------------------------------------------------------------------------------------------ ending before the end


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("time_limit", [1e-9, 0.02])
def test_a_tiny_time_limit_gives_a_valid_gap(
    time_limit: float, seed: int, solved: list[tuple[Array, Array, float, dict[str, Any], Optimum]]
) -> None:
    X, y, beta, model, best = solved[seed]
    slack = tiny(X, y, model)
    result = extremal.fit(X, y, beta=beta, time_limit=time_limit, **model)
    again = extremal.certify(
        result.network, X, y, beta=beta, loss=model["loss"], sample_weight=model["sample_weight"],
        intercept=model["intercept"], time_limit=time_limit,
    )  # fmt: skip
    for certificate in (result.certificate, again):
        assert certificate.dual <= best.upper + slack
        assert certificate.primal >= best.lower - slack
        assert 0 <= certificate.gap <= 1
    assert result.status in (Status.TIME_LIMIT, Status.CONVERGED, Status.OPTIMAL)
    assert result.seconds < 2


def test_a_tiny_time_limit_on_larger_data() -> None:
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(300, 12)), rng.normal(size=300)
    result = extremal.fit(X, y, beta=0.5, time_limit=1e-9)
    assert 0 <= result.certificate.dual <= result.certificate.primal
    assert result.certificate.primal <= 0.5 * y @ y * (1 + 1e-12)
    assert result.status is Status.TIME_LIMIT


class Stop:
    """A progress callback that presses Ctrl-C at its k-th call."""

    def __init__(self, at: int) -> None:
        self.left = at

    def __call__(self, record: Record) -> None:
        self.left -= 1
        if self.left <= 0:
            raise KeyboardInterrupt


@pytest.mark.parametrize("at", [1, 2, 3, 5, 10, 20])
def test_an_interrupted_fit_is_valid(
    at: int, solved: list[tuple[Array, Array, float, dict[str, Any], Optimum]]
) -> None:
    X, y, beta, model, best = solved[at % len(solved)]
    slack = tiny(X, y, model)
    result = extremal.fit(X, y, beta=beta, progress=Stop(at), **model)
    assert result.status in (Status.INTERRUPTED, Status.OPTIMAL)
    assert len(result.history) <= at
    assert result.certificate.dual <= best.upper + slack
    assert result.certificate.primal >= best.lower - slack
    assert 0 <= result.certificate.gap <= 1
    assert result.certificate.primal <= reference.loss_value(
        model["loss"], np.zeros(len(y)), y, model["sample_weight"]
    ) * (1 + 1e-12)
    resumed = extremal.fit(X, y, beta=beta, start=result.network, **model)
    assert resumed.certificate.primal == pytest.approx(best.value, rel=1e-7)


def test_other_exceptions_of_a_callback_pass_through() -> None:
    def broken(record: Record) -> None:
        raise RuntimeError("the disk is full")

    with pytest.raises(RuntimeError, match="the disk is full"):
        extremal.fit([[1.0], [2.0]], [1.0, 2.0], beta=0.1, progress=broken)


def test_history_is_monotone_and_ends_at_the_certificate() -> None:
    X, y, beta, model = random_problem(2, n=10)
    result = extremal.fit(X, y, beta=beta, **model)
    history = result.history
    for earlier, later in pairwise(history):
        assert later.time >= earlier.time
        assert later.objective <= earlier.objective * (1 + 1e-12)
        assert later.bound >= earlier.bound - 1e-12 * abs(earlier.bound)
    assert history[-1].objective == pytest.approx(result.certificate.primal, rel=1e-10)
    assert history[-1].bound == pytest.approx(result.certificate.dual, rel=1e-12)
    assert history[-1].gap == pytest.approx(result.certificate.gap, abs=1e-10)


# -------------------------------------------------------------------------------------------------------------- seeds


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_the_same_seed_gives_the_same_answer(seed: int) -> None:
    X, y, beta, model = random_problem(seed, n=10, d=3)
    one = extremal.fit(X, y, beta=beta, random_state=seed, **model)
    other = extremal.fit(X, y, beta=beta, random_state=seed, **model)
    np.testing.assert_array_equal(one.network.hidden, other.network.hidden)
    np.testing.assert_array_equal(one.network.output, other.network.output)
    assert one.certificate.primal == other.certificate.primal
    assert one.certificate.dual == other.certificate.dual


@pytest.mark.parametrize("problem", [4, 5, 6, 7])
def test_other_seeds_give_the_same_optimum(problem: int) -> None:
    X, y, beta, model = random_problem(problem, n=10, d=2)
    results = [extremal.fit(X, y, beta=beta, random_state=seed, **model) for seed in (0, 1, 2, None)]
    values = [result.certificate.primal for result in results]
    assert all(result.status is Status.OPTIMAL for result in results)
    assert max(values) - min(values) <= 1e-6 * min(values)
    assert max(result.certificate.dual for result in results) <= min(values) * (1 + 1e-13)


def test_a_generator_may_be_the_seed() -> None:
    X, y, beta, model = random_problem(0)
    one = extremal.fit(X, y, beta=beta, random_state=np.random.default_rng(5), **model)
    other = extremal.fit(X, y, beta=beta, random_state=5, **model)
    assert one.certificate.primal == other.certificate.primal


# -------------------------------------------------------------------------------------------------------- certificates


def test_a_certificate_comes_back_from_its_file(tmp_path: Path) -> None:
    X, y, beta, model = random_problem(1)
    certificate = extremal.fit(X, y, beta=beta, **model).certificate
    certificate.save(tmp_path / "proof.npz")
    again = Certificate.load(tmp_path / "proof.npz")
    for name in ("primal", "dual", "gap", "status", "violation", "stationarity", "beta", "loss", "tol"):
        assert getattr(again, name) == getattr(certificate, name), name
    np.testing.assert_array_equal(again.lam, certificate.lam)
    np.testing.assert_array_equal(again.witness, certificate.witness)
    assert str(again) == str(certificate)
    assert again.gauge.upper == certificate.gauge.upper
    np.savez(tmp_path / "other.npz", lam=np.ones(3))
    with pytest.raises(ValueError, match="not a certificate"):
        Certificate.load(tmp_path / "other.npz")


def test_a_status_never_hides_a_violator() -> None:
    """CONVERGED says that no neuron was found that improves the network."""
    for seed in range(30, 42):
        X, y, beta, model = random_problem(seed, n=7, d=3)
        result = extremal.fit(X, y, beta=0.02 * beta, time_limit=3, **model)
        if result.status is Status.CONVERGED:
            assert result.certificate.violation <= 1e-5, seed
