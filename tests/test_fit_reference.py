"""Training and its certificate against the enumerated convex program, which knows nothing of the package's searches."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import extremal
import reference
from extremal import FitResult
from reference import Array, Optimum

#: Shrinking would repeat a fit and an enumerated program hundreds of times; the example is small as it is.
few = settings(max_examples=40, phases=(Phase.explicit, Phase.generate))
LOSSES = ["squared", "logistic", "huber", "squared_hinge"]
FAMILIES = ["gaussian", "grid", "duplicated", "zero rows", "collinear", "wide", "nearly equal", "signs"]
#: The agreement that is asked for, relative to the optimal value; the reference adds its own error.
AGREEMENT = 1e-8


def labels(rng: np.random.Generator, n: int, *, both: bool = False) -> Array:
    y = rng.choice([-1.0, 1.0], n)
    if both and n > 1:
        y[0], y[-1] = 1.0, -1.0
    return y


def random_data(family: str, rng: np.random.Generator) -> Array:
    n, d = int(rng.integers(1, 9)), int(rng.integers(1, 4))
    X = rng.normal(size=(n, d))
    if family == "grid":
        X = rng.integers(-2, 3, size=(n, d)).astype(float)
    elif family == "duplicated":
        X = X[rng.integers(0, n, n)] * rng.choice([1.0, 1.0, -1.0, 2.0], size=(n, 1))
    elif family == "zero rows":
        X[rng.random(n) < 0.4] = 0
    elif family == "collinear":
        X = X[:, :1] * np.array([1.0, 2.0, -1.0])[:d]
    elif family == "wide":
        n = min(n, 4)
        X = rng.normal(size=(n, n + 2))
    elif family == "nearly equal":
        X = X[rng.integers(0, n, n)] + 1e-3 * rng.normal(size=(n, d))
    elif family == "signs":
        X = rng.choice([-1.0, 1.0], size=(n, d))
    return X


def compare(X: Array, y: Array, beta: float, *, proof: float = 1e-6, **model: Any) -> tuple[FitResult, Optimum]:
    """Fit, check the certificate from scratch, and compare with the enumerated program; `proof` is the gap to reach."""
    best = reference.solve(X, y, beta, **model)
    result = extremal.fit(X, y, beta=beta, tol=AGREEMENT, **model)
    check_certificate(result, X, y, beta, **model)
    zero = reference.loss_value(model.get("loss", "squared"), np.zeros(len(y)), y, weights(model, len(y)))
    tiny = 1e-13 * max(best.upper, zero)
    certificate = result.certificate
    assert certificate.dual <= best.upper + tiny
    assert certificate.primal >= best.lower - tiny
    assert certificate.primal <= best.upper + AGREEMENT * best.upper + best.error + tiny, result.status
    assert certificate.dual >= best.lower - proof * best.upper - best.error - tiny, result.status
    return result, best


def weights(model: dict[str, Any], n: int) -> Array:
    weight = model.get("sample_weight")
    return np.ones(n) if weight is None else np.asarray(weight, dtype=float)


def check_certificate(result: FitResult, X: Array, y: Array, beta: float, **model: Any) -> None:
    """Everything the certificate claims, recomputed: both values, dual feasibility, the gauge, stationarity."""
    loss, w, intercept = model.get("loss", "squared"), weights(model, len(y)), model.get("intercept", False)
    A = reference.augmented(X, model.get("bias", "penalized"))
    certificate, net = result.certificate, result.network
    b = float(net.intercept[0])
    assert intercept or b == 0
    primal = reference.objective(A, y, net.hidden, net.output[:, 0], beta, loss=loss, w=w, intercept=b)
    zero = max(reference.loss_value(loss, np.zeros(len(y)), y, w), 1e-300)
    assert certificate.primal == pytest.approx(primal, rel=1e-12, abs=1e-14 * zero)
    lam = certificate.lam[:, 0]
    assert not lam[w == 0].any()
    assert certificate.dual <= reference.dual_value(loss, lam[w > 0], y[w > 0], w[w > 0]) + 1e-14 * zero
    patterns = reference.cells(A)
    gauge = reference.exact_gauge(A, lam, patterns)
    size = float(np.abs(lam) @ np.linalg.norm(A, axis=1))
    assert gauge <= beta * (1 + 1e-9) + 1e-12 * size
    assert (
        certificate.gauge.lower * (1 - 1e-9) - 1e-12 * size
        <= gauge
        <= certificate.gauge.upper * (1 + 1e-12) + 1e-13 * size
    )
    assert not intercept or abs(lam.sum()) <= 1e-12 * np.abs(lam).sum() + 1e-300
    if result.status is extremal.Status.OPTIMAL:
        assert certificate.gap <= certificate.tol
    assert net.width <= len(y)
    F = np.maximum(A @ net.hidden, 0) @ net.output[:, 0] + b
    at_network = reference.loss_dual(loss, F, y, w)
    assert certificate.violation <= reference.exact_gauge(A, at_network, patterns) / beta - 1 + 1e-6
    if certificate.gap <= 1e-6 and net.width:
        assert certificate.stationarity <= 1e-4
        moments = (
            at_network @ np.maximum(A @ net.hidden, 0) / np.linalg.norm(net.hidden, axis=0) * np.sign(net.output[:, 0])
        )
        np.testing.assert_allclose(moments, beta, rtol=1e-4)
        np.testing.assert_allclose(np.linalg.norm(net.hidden, axis=0), np.abs(net.output[:, 0]), rtol=1e-9)


# ------------------------------------------------------------------------------------------------- the reference itself


@pytest.mark.parametrize(("n", "d"), [(1, 1), (1, 3), (5, 2), (6, 3), (7, 3), (8, 2), (3, 6), (9, 4)])
def test_reference_counts_generic_cells(n: int, d: int) -> None:
    X = np.random.default_rng(n * d).normal(size=(n, d))
    assert len(reference.cells(X)) == reference.generic_count(n, min(n, d))


def test_reference_cells_of_the_slides() -> None:
    patterns = reference.cells(np.array([[3.0, 3], [2, 2], [1, 0]])).astype(int)
    assert {tuple(row) for row in patterns} == {(1, 1, 1), (1, 1, 0), (0, 0, 1), (0, 0, 0)}
    assert len(reference.cells(np.array([[1.0], [-1.0], [0.0]]))) == 2


@settings(max_examples=15)
@given(st.sampled_from(FAMILIES), st.integers(0, 10**6))
def test_reference_misses_no_cell_and_no_direction(family: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    X = random_data(family, rng)
    patterns = reference.cells(X)
    U = rng.normal(size=(X.shape[1], 3000))
    known = {tuple(row) for row in patterns}
    assert {tuple(row) for row in (X @ U > 0).T} <= known
    lam = rng.normal(size=len(X))
    gauge = reference.exact_gauge(X, lam, patterns)
    sampled = np.abs(lam @ np.maximum(X @ U, 0)) / np.linalg.norm(U, axis=0)
    assert sampled.max() <= gauge * (1 + 1e-12)
    assert sampled.max() >= 0.7 * gauge or X.shape[1] > 3


# ----------------------------------------------------------------------------------------------------------- agreement


@few
@given(
    family=st.sampled_from(FAMILIES),
    loss=st.sampled_from(LOSSES),
    bias=st.sampled_from(["none", "penalized"]),
    intercept=st.booleans(),
    weighted=st.booleans(),
    strength=st.floats(0.01, 1.1),
    seed=st.integers(0, 10**6),
)
def test_degenerate_data(
    family: str, loss: str, bias: str, intercept: bool, weighted: bool, strength: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    X = random_data(family, rng)
    n = len(X)
    bias = "none" if X.shape[1] > 3 else bias
    intercept = intercept and n > 1
    y = 2 * np.round(rng.normal(size=n), 1) if loss in ("squared", "huber") else labels(rng, n, both=intercept)
    w = rng.choice([0.5, 1.0, 2.0], n) if weighted else np.ones(n)
    start = reference.loss_dual(loss, np.zeros(n), y, w)
    beta = strength * max(reference.exact_gauge(reference.augmented(X, bias), start), 0.1)
    # coordinate descent in the gauge's subsets is slow among rows that are nearly parallel
    proof = 1e-4 if family == "nearly equal" else 1e-6
    compare(X, y, beta, proof=proof, loss=loss, bias=bias, intercept=intercept, sample_weight=w)


@settings(max_examples=20, phases=(Phase.explicit, Phase.generate))
@given(
    st.lists(st.tuples(st.integers(-2, 2), st.integers(-2, 2), st.integers(-3, 3)), min_size=1, max_size=6),
    st.sampled_from([0.05, 0.25, 1.0]),
    st.sampled_from(["none", "penalized"]),
)
def test_integer_grids(rows: list[tuple[int, int, int]], beta: float, bias: str) -> None:
    table = np.array(rows, dtype=float)
    compare(table[:, :2], table[:, 2], beta, bias=bias)


@pytest.mark.parametrize("intercept", [False, True])
@pytest.mark.parametrize("bias", ["none", "penalized"])
@pytest.mark.parametrize("loss", LOSSES)
def test_every_model(loss: str, bias: str, intercept: bool) -> None:
    rng = np.random.default_rng(11)
    X = rng.normal(size=(8, 2))
    y = X[:, 0] * X[:, 1] + rng.normal(size=8)
    y = np.where(y > 0, 1.0, -1.0) if loss in ("logistic", "squared_hinge") else y
    w = np.array([1.0, 0.0, 2.0, 1.0, 0.5, 1.0, 1.0, 3.0])
    compare(X, y, 0.15, loss=loss, bias=bias, intercept=intercept, sample_weight=w)


@pytest.mark.parametrize(
    ("n", "d", "loss"),
    [
        (12, 3, "squared"),
        (12, 3, "logistic"),
        (12, 3, "huber"),
        pytest.param(12, 4, "squared", marks=pytest.mark.slow),
        pytest.param(12, 4, "logistic", marks=pytest.mark.slow),
        pytest.param(12, 4, "huber", marks=pytest.mark.slow),
        pytest.param(12, 4, "squared_hinge", marks=pytest.mark.slow),
    ],
)
def test_twelve_samples(n: int, d: int, loss: str) -> None:
    rng = np.random.default_rng(n + d)
    X = rng.normal(size=(n, d))
    y = rng.normal(size=n) if loss in ("squared", "huber") else labels(rng, n)
    compare(X, y, 0.1, loss=loss, bias="none")


@pytest.mark.parametrize("seed", range(3))
def test_small_penalty_with_outliers(seed: int) -> None:
    """Huber's loss with samples outside its quadratic zone, and nearly interpolating networks."""
    rng = np.random.default_rng(seed)
    X, y = rng.normal(size=(8, 2)), rng.normal(size=8)
    y[:2] += 20.0
    compare(X, y, 0.3, loss="huber", bias="none", intercept=True)
    compare(X, y, 0.01, proof=1e-5, loss="huber", bias="none")


def test_huber_far_from_its_quadratic_zone() -> None:
    """All residuals of the zero network are in the linear zone, where the loss itself has no curvature."""
    result, best = compare(
        np.array([[-3.0], [3.0], [0.0]]), np.array([-5.0, 5.0, -5.0]), 3.645, loss="huber", bias="none"
    )
    assert result.certificate.primal == pytest.approx(16.512525, rel=1e-10)
    assert best.value == pytest.approx(16.512525, rel=1e-9)
    rng = np.random.default_rng(0)
    compare(rng.normal(size=(6, 2)), 1e4 * rng.normal(size=6), 0.5, loss="huber", bias="none", proof=1e-5)


@pytest.mark.parametrize("ratio", [1e-3, 1e-5, 1e-7])
def test_many_copies_of_two_rows_at_small_beta(ratio: float) -> None:
    """Only weighted means matter; single-precision factorisations broke down here."""
    rng = np.random.default_rng(1)
    X, y = rng.choice([-1.0, 1.0], size=(30, 1)), rng.normal(size=30)
    beta = ratio * extremal.beta_max(X, y)
    result = extremal.fit(X, y, beta=beta)
    best = reference.solve(X, y, beta, bias="penalized")
    assert best.lower * (1 - 1e-12) <= result.certificate.primal <= best.upper * (1 + 1e-6)
    assert result.certificate.dual <= best.upper * (1 + 1e-13)


def test_a_case_that_was_called_converged_with_a_violator() -> None:
    X = np.array(
        [
            [0.78085407, 0.54397364, -0.96138264],
            [1.07100867, 0.70145566, 0.70497346],
            [0.7450626, 1.10434724, 2.2429724],
            [-0.61149312, 0.04721118, 1.75423468],
            [-1.33797987, 0.32557447, -0.68911772],
            [-0.01982181, 0.47475325, -1.93110142],
            [-0.99247828, -1.40547108, -0.23109551],
        ]
    )
    y, w = np.array([-1.2, 3.4, -0.8, 0.6, 0.0, 0.0, -2.2]), np.array([0.5, 2.0, 1.0, 0.5, 0.5, 0.5, 2.0])
    compare(X, y, 0.007851893076613539, loss="huber", bias="none", sample_weight=w)


@pytest.mark.parametrize("intercept", [False, True])
@pytest.mark.parametrize("loss", LOSSES)
def test_zero_rows_next_to_others(loss: str, intercept: bool) -> None:
    """A zero row is at a tie with every neuron, whatever its direction."""
    X = np.array([[0.0, 0.0], [1.0, 0.5], [-1.0, 2.0], [0.0, 0.0], [2.0, -1.0]])
    y = np.array([1.0, -1, 1, -1, 1]) * (1 if loss in ("logistic", "squared_hinge") else 2)
    compare(X, y, 0.2, loss=loss, bias="none", intercept=intercept)


@pytest.mark.parametrize("loss", LOSSES)
def test_one_sample(loss: str) -> None:
    for X in (np.array([[2.0]]), np.array([[-1.0, 2.0, 0.5]])):
        for y in (1.0, -1.0):
            compare(X, np.array([y]), 0.3, loss=loss, bias="none")
            compare(X, np.array([y]), 0.3, loss=loss, bias="penalized")


# --------------------------------------------------------------------------------------------------------- invariances


@pytest.fixture(scope="module")
def base() -> tuple[Array, Array, float, FitResult]:
    rng = np.random.default_rng(5)
    X, y = rng.normal(size=(10, 3)), rng.normal(size=10)
    return X, y, 0.2, extremal.fit(X, y, beta=0.2, bias="none", tol=1e-8)


def value(X: Array, y: Array, beta: float, **model: Any) -> float:
    result = extremal.fit(X, y, beta=beta, tol=1e-8, **{"bias": "none", **model})
    assert result.certificate.gap <= 1e-6
    return result.certificate.primal


def test_permutation_of_rows_and_columns(base: tuple[Array, Array, float, FitResult]) -> None:
    X, y, beta, result = base
    order = np.random.default_rng(0).permutation(len(y))
    assert value(X[order][:, [2, 0, 1]], y[order], beta) == pytest.approx(result.certificate.primal, rel=AGREEMENT)


def test_rotation_of_the_features(base: tuple[Array, Array, float, FitResult]) -> None:
    X, y, beta, result = base
    Q = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    assert value(X @ Q, y, beta) == pytest.approx(result.certificate.primal, rel=AGREEMENT)
    assert value(np.hstack([X @ Q, np.zeros((len(y), 2))]), y, beta) == pytest.approx(
        result.certificate.primal, rel=AGREEMENT
    )


@pytest.mark.parametrize("c", [1e-60, 1e-3, 7.0, 1e60])
def test_scaling_of_the_features(c: float, base: tuple[Array, Array, float, FitResult]) -> None:
    """fit(c X, c beta): the same fits from neurons of 1/c the size."""
    X, y, beta, result = base
    scaled = extremal.fit(c * X, y, beta=c * beta, bias="none", tol=1e-8)
    assert scaled.certificate.primal == pytest.approx(result.certificate.primal, rel=AGREEMENT)
    assert scaled.certificate.dual == pytest.approx(result.certificate.dual, rel=1e-6)
    np.testing.assert_allclose(scaled.network.predict(c * X), result.network.predict(X), atol=1e-3)


@pytest.mark.parametrize("c", [1e-40, -3.0, 1e40])
def test_scaling_of_the_targets(c: float, base: tuple[Array, Array, float, FitResult]) -> None:
    X, y, beta, result = base
    scaled = extremal.fit(X, c * y, beta=abs(c) * beta, bias="none", tol=1e-8)
    assert scaled.certificate.primal == pytest.approx(c**2 * result.certificate.primal, rel=AGREEMENT)
    assert scaled.certificate.gap <= 1e-6


@pytest.mark.parametrize("c", [1e-30, 0.1, 1e30])
def test_scaling_of_the_weights(c: float, base: tuple[Array, Array, float, FitResult]) -> None:
    X, y, beta, result = base
    weight = np.full(len(y), c)
    assert value(X, y, c * beta, sample_weight=weight) == pytest.approx(c * result.certificate.primal, rel=AGREEMENT)


@pytest.mark.parametrize("loss", LOSSES)
def test_repeated_rows_are_weights(loss: str) -> None:
    rng = np.random.default_rng(8)
    X, y = rng.normal(size=(6, 2)), labels(rng, 6, both=True)
    count = np.array([1, 3, 0, 2, 1, 2])
    weighted = value(X, y, 0.3, loss=loss, sample_weight=count.astype(float))
    repeated = value(np.repeat(X, count, axis=0), np.repeat(y, count), 0.3, loss=loss)
    assert weighted == pytest.approx(repeated, rel=AGREEMENT)


def test_two_identical_outputs_are_one() -> None:
    """With Y = [y, y] a neuron's outer weight is shared: the value for beta is twice that for beta / sqrt 2."""
    rng = np.random.default_rng(9)
    X, y = rng.normal(size=(8, 2)), rng.normal(size=8)
    single = value(X, y, 0.2 / np.sqrt(2))
    double = extremal.fit(X, np.column_stack([y, y]), beta=0.2, bias="none", time_limit=2)
    assert double.certificate.primal == pytest.approx(2 * single, rel=1e-4)
    assert double.certificate.dual <= 2 * single * (1 + 1e-7)


def test_labels_zero_one_are_minus_one_one() -> None:
    rng = np.random.default_rng(10)
    X, y = rng.normal(size=(8, 2)), labels(rng, 8)
    assert value(X, (y > 0).astype(int), 0.2, loss="logistic") == value(X, y, 0.2, loss="logistic")


def test_value_falls_with_beta_and_paths_agree() -> None:
    rng = np.random.default_rng(12)
    X, y = rng.normal(size=(8, 2)), rng.normal(size=8)
    problem = extremal.Problem.from_data(X, y, beta=1.0)
    betas = extremal.beta_max(X, y) * np.array([1.5, 0.9, 0.3, 0.1])
    results = extremal.training.path(problem, betas, tol=1e-8)
    values = [result.certificate.primal for result in results]
    assert values == sorted(values, reverse=True)
    for beta, found in zip(betas, values, strict=True):
        assert found == pytest.approx(reference.solve(X, y, beta, bias="penalized").value, rel=AGREEMENT)
