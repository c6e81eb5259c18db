"""Convolutional networks of two layers: certified training with pooling, and the linear ones as norms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

import extremal
import reference
from extremal.closed_forms import (
    fit_convolutional,
    linear_circular_convolution,
    linear_convolution,
    linear_network,
    nuclear_program,
    patch_matrix,
)
from extremal.closed_forms.linear_networks import Fourier
from extremal.design import Array

few = settings(max_examples=10, deadline=None, derandomize=True)


def orthonormal(n: int, d: int, rng: np.random.Generator) -> Array:
    return np.linalg.qr(rng.normal(size=(n, d)))[0]


def thresholded(s: Array, beta: float) -> float:
    return float(np.where(s >= beta, beta * s - beta**2 / 2, s**2 / 2).sum())


# ---------------------------------------------------------------------------------------------------------- patches


def test_patches_of_signals_and_images() -> None:
    X = np.arange(10.0).reshape(2, 5)
    np.testing.assert_array_equal(patch_matrix(X, 3)[1], [[5, 6, 7], [6, 7, 8], [7, 8, 9]])
    np.testing.assert_array_equal(patch_matrix(X, 3, stride=2)[0], [[0, 1, 2], [2, 3, 4]])
    np.testing.assert_array_equal(patch_matrix(X, 3, circular=True)[0, -1], [4, 0, 1])
    np.testing.assert_array_equal(patch_matrix(X, 2, bias=True)[0, 0], [0, 1, 1])
    image = np.arange(12.0).reshape(1, 3, 4)
    patches = patch_matrix(image, (2, 3))
    assert patches.shape == (1, 4, 6)
    np.testing.assert_array_equal(patches[0, 3], [5, 6, 7, 9, 10, 11])
    for bad, window in ((X, 6), (X, 0), (X, (2, 2)), (X[0], 2), (np.full((2, 3), np.nan), 2), (X[:0], 2)):
        with pytest.raises(ValueError, match=r"window|shape"):
            patch_matrix(bad, window)
    with pytest.raises(ValueError, match="stride"):
        patch_matrix(X, 2, stride=0)


# ---------------------------------------------------------------------------------------------- rectified, pooling


@pytest.mark.parametrize("loss", ["squared", "logistic", "huber", "squared_hinge"])
def test_one_patch_is_the_dense_network(loss: str) -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(9, 3))
    y = rng.normal(size=9) if loss in ("squared", "huber") else np.where(rng.random(9) < 0.5, 1.0, -1.0)
    found = fit_convolutional(X[:, None], y, beta=0.2, loss=loss)
    dense = extremal.fit(X, y, beta=0.2, loss=loss, bias="none").certificate
    assert found.gap <= 1e-6
    assert found.value == pytest.approx(dense.primal, rel=2e-6)
    assert found.dual_value <= dense.primal * (1 + 1e-12)


def pooled_program(patches: Array, y: Array, beta: float, scale: float) -> float:
    """The convex program over all patterns of the stacked patches, by CVXPY."""
    cp = pytest.importorskip("cvxpy")
    n, k, h = patches.shape
    tall = patches.reshape(n * k, h)
    pool = np.kron(np.eye(n), np.ones((1, k))) * scale
    f, size, constraints = 0, 0, []
    for pattern in reference.cells(tall):
        for sign in (1, -1):
            u = cp.Variable(h)
            f = f + sign * (pool @ (pattern[:, None] * tall)) @ u
            size = size + cp.norm(u)
            constraints.append(cp.multiply(np.where(pattern, 1.0, -1.0), tall @ u) >= 0)
    return cp.Problem(cp.Minimize(0.5 * cp.sum_squares(f - y) + beta * size), constraints).solve(solver="CLARABEL")


@pytest.mark.filterwarnings("ignore:Solution may be inaccurate")
@pytest.mark.parametrize(("n", "length", "window", "pooling"), [(4, 4, 2, "average"), (3, 5, 2, "sum")])
def test_pooling_is_the_program_over_all_patterns_of_the_patches(n: int, length: int, window: int, pooling) -> None:
    rng = np.random.default_rng(1)
    patches, y = patch_matrix(rng.normal(size=(n, length)), window), rng.normal(size=n)
    found = fit_convolutional(patches, y, beta=0.1, pooling=pooling)
    scale = 1 / patches.shape[1] if pooling == "average" else 1.0
    assert found.gap <= 1e-6
    assert found.value == pytest.approx(pooled_program(patches, y, 0.1, scale), rel=2e-6)


@few
@given(
    n=st.integers(1, 8),
    k=st.integers(1, 4),
    h=st.integers(1, 3),
    pooling=st.sampled_from(["average", "sum"]),
    grid=st.booleans(),
    seed=st.integers(0, 10**6),
)
def test_the_gap_is_proved_and_closed(n: int, k: int, h: int, pooling, grid: bool, seed: int) -> None:
    """Weak duality at the returned multiplier, the objective of the returned filters, and local search above it."""
    rng = np.random.default_rng(seed)
    patches = rng.integers(-2, 3, size=(n, k, h)).astype(float) if grid else rng.normal(size=(n, k, h))
    y, beta = rng.normal(size=n), 0.1
    found = fit_convolutional(patches, y, beta=beta, pooling=pooling, time_limit=10)
    assert found.gap <= 1e-6
    W, a = found.network.hidden, found.network.output[:, 0]
    share = 1 / k if pooling == "average" else 1.0

    def objective(x: Array) -> float:
        U, b = x[: h * 4].reshape(h, 4), x[h * 4 :]
        f = share * np.maximum(patches @ U, 0).sum(axis=1) @ b
        return float(0.5 * np.sum((f - y) ** 2) + beta / 2 * x @ x)

    f = share * np.maximum(patches @ W, 0).sum(axis=1) @ a
    np.testing.assert_allclose(found.predict(patches), f, atol=1e-10)
    value = 0.5 * np.sum((f - y) ** 2) + beta / 2 * (np.sum(W**2) + np.sum(a**2))
    assert found.value == pytest.approx(value, rel=1e-10)
    assert found.lam @ y - 0.5 * found.lam @ found.lam == pytest.approx(found.dual_value, rel=1e-9, abs=1e-12)
    tall = share * patches.reshape(n * k, h)
    assert extremal.gauge(tall, np.repeat(found.lam, k), tol=1e-3).lower <= beta * (1 + 1e-12)
    assert minimize(objective, rng.normal(size=5 * h - h + 4), method="L-BFGS-B").fun >= found.dual_value * (1 - 1e-12)
    assert found.network.width <= n


def test_pooling_is_not_the_network_of_the_averaged_patch() -> None:
    rng = np.random.default_rng(2)
    patches, y = rng.normal(size=(8, 3, 2)), rng.normal(size=8)
    found = fit_convolutional(patches, y, beta=0.05)
    averaged = extremal.fit(patches.mean(axis=1), y, beta=0.05, bias="none").certificate
    assert abs(found.value - averaged.primal) > 0.01 * averaged.primal
    # with equal patches it is
    equal = np.repeat(patches[:, :1], 3, axis=1)
    dense = extremal.fit(patches[:, 0], y, beta=0.05, bias="none").certificate
    assert fit_convolutional(equal, y, beta=0.05).value == pytest.approx(dense.primal, rel=2e-6)
    # and the sum is the average with a third of the penalty's unit: (3 a, w) in place of (a, w)
    total = fit_convolutional(patches, y, beta=0.15, pooling="sum")
    assert total.value == pytest.approx(found.value, rel=2e-6)


def test_a_large_penalty_and_scales() -> None:
    rng = np.random.default_rng(3)
    patches, y = rng.normal(size=(6, 2, 2)), rng.normal(size=6)
    limit = extremal.gauge(patches.reshape(12, 2), np.repeat(y, 2)).upper
    zero = fit_convolutional(patches, y, beta=1.001 * limit, pooling="sum")
    assert zero.network.width == 0
    assert zero.value == pytest.approx(0.5 * y @ y)
    assert zero.gap <= 1e-6
    base = fit_convolutional(patches, y, beta=0.1)
    scaled = fit_convolutional(1e5 * patches, 1e-3 * y, beta=0.1 * 1e2)
    assert scaled.value == pytest.approx(base.value * 1e-6, rel=3e-6)
    assert "filters of 2 weights" in str(base)


def test_unusable_convolutional_arguments() -> None:
    patches, y = np.ones((4, 2, 2)), np.arange(4.0)
    for kwargs, match in (
        ({"beta": -1.0}, "beta"),
        ({"beta": 1.0, "pooling": "max"}, "pooling"),
        ({"beta": 1.0, "tol": 0.0}, "tol"),
        ({"beta": 1.0, "loss": "hinge"}, "unknown loss"),
    ):
        with pytest.raises(ValueError, match=match):
            fit_convolutional(patches, y, **kwargs)
    with pytest.raises(ValueError, match="samples"):
        fit_convolutional(patches, y[:3], beta=1.0)
    with pytest.raises(ValueError, match="one output"):
        fit_convolutional(patches, np.ones((4, 2)), beta=1.0)
    for bad in (np.ones((4, 2)), np.full((4, 2, 2), np.inf), np.ones((0, 2, 2))):
        with pytest.raises(ValueError, match="patches"):
            fit_convolutional(bad, y, beta=1.0)
        with pytest.raises(ValueError, match="patches"):
            linear_convolution(bad, y, beta=1.0)


# ----------------------------------------------------------------------------------------------------------- linear


@few
@given(d=st.integers(1, 6), c=st.integers(1, 3), beta=st.sampled_from([0.1, 0.7, 3.0]), seed=st.integers(0, 10**6))
def test_soft_thresholding_of_orthonormal_columns(d: int, c: int, beta: float, seed: int) -> None:
    """4.1: 1/2 |Y - X X^T Y|^2 + sum (beta s - beta^2/2 | s^2/2) for the singular values s of X^T Y."""
    rng = np.random.default_rng(seed)
    X, Y = orthonormal(d + 3, d, rng), rng.normal(size=(d + 3, c))
    found = linear_network(X, Y, beta=beta)
    rest = Y - X @ X.T @ Y
    value = 0.5 * np.vdot(rest, rest) + thresholded(np.linalg.svd(X.T @ Y, compute_uv=False), beta)
    assert found.iterations == 0
    assert found.value == pytest.approx(value, rel=1e-10)
    assert found.dual_value == pytest.approx(value, rel=1e-9)
    check_layers(found, X @ found.first @ found.second, Y, beta)
    scaled = linear_network(3 * X, Y, beta=3 * beta)  # the same network with a third of the weights
    assert scaled.iterations == 0
    assert scaled.value == pytest.approx(value, rel=1e-10)


def check_layers(found, f: Array, Y: Array, beta: float) -> None:
    """The layers have the value's objective, and the multiplier its bound."""
    penalty = beta / 2 * (np.vdot(found.first, found.first) + np.vdot(found.second, found.second))
    Y = Y.reshape(len(Y), -1)
    assert 0.5 * np.sum((f.reshape(Y.shape) - Y) ** 2) + penalty == pytest.approx(found.value, rel=1e-9)
    bound = np.vdot(found.lam, Y) - 0.5 * np.vdot(found.lam, found.lam)
    assert bound == pytest.approx(found.dual_value, rel=1e-9, abs=1e-12)
    assert found.dual_value <= found.value * (1 + 1e-13)


@pytest.mark.filterwarnings("ignore:Solution may be inaccurate")
@pytest.mark.parametrize(("n", "d", "c", "seed"), [(8, 4, 3, 0), (5, 8, 2, 1)])
def test_the_nuclear_norm_of_cvxpy(n: int, d: int, c: int, seed: int) -> None:
    cp = pytest.importorskip("cvxpy")
    rng = np.random.default_rng(seed)
    X, Y, beta = rng.normal(size=(n, d)), rng.normal(size=(n, c)), 0.5
    found = linear_network(X, Y, beta=beta)
    Z = cp.Variable((d, c))
    value = cp.Problem(cp.Minimize(0.5 * cp.sum_squares(X @ Z - Y) + beta * cp.normNuc(Z))).solve(solver="CLARABEL")
    assert found.gap <= 1e-8
    assert found.value == pytest.approx(value, rel=1e-6)
    assert np.linalg.norm(X.T @ found.lam, 2) <= beta * (1 + 1e-12)
    assert nuclear_program(X, Y, beta=beta).value == pytest.approx(found.value, rel=1e-7)
    check_layers(found, X @ found.first @ found.second, Y, beta)


@pytest.mark.filterwarnings("ignore:Solution may be inaccurate")
@pytest.mark.parametrize("seed", [0, 1])
def test_linear_convolution_is_a_nuclear_norm(seed: int) -> None:
    """6.2: f(x) = <patches, Z>."""
    cp = pytest.importorskip("cvxpy")
    rng = np.random.default_rng(seed)
    patches, y, beta = patch_matrix(rng.normal(size=(12, 7)), 3), rng.normal(size=12), 0.4
    found = linear_convolution(patches, y, beta=beta)
    Z = cp.Variable((3, 5))
    f = cp.hstack([cp.sum(cp.multiply(patch.T, Z)) for patch in patches])
    value = cp.Problem(cp.Minimize(0.5 * cp.sum_squares(f - y) + beta * cp.normNuc(Z))).solve(solver="CLARABEL")
    assert found.gap <= 1e-8
    assert found.value == pytest.approx(value, rel=1e-6)
    outputs = np.einsum("nkh,hm,mk->n", patches, found.first, found.second)
    check_layers(found, outputs, y, beta)


def test_linear_convolution_by_a_formula() -> None:
    """Orthonormal columns: the singular values of the folded X^T y, thresholded."""
    rng = np.random.default_rng(4)
    flat, y, beta = orthonormal(9, 6, rng), rng.normal(size=9), 0.3
    patches = flat.reshape(9, 3, 2)
    found = linear_convolution(patches, y, beta=beta)
    moment = (flat.T @ y).reshape(3, 2)
    rest = y - flat @ flat.T @ y
    assert found.iterations == 0
    assert found.value == pytest.approx(0.5 * rest @ rest + thresholded(np.linalg.svd(moment)[1], beta), rel=1e-10)


@few
@given(d=st.integers(1, 9), c=st.integers(1, 2), beta=st.sampled_from([0.05, 0.5, 2.0]), seed=st.integers(0, 10**6))
def test_circular_convolution_is_a_lasso_in_the_fourier_basis(d: int, c: int, beta: float, seed: int) -> None:
    """6.2: with orthonormal columns the moduli of the unitary transform of X^T y are thresholded by beta / sqrt(d)."""
    rng = np.random.default_rng(seed)
    X, Y = orthonormal(d + 2, d, rng), rng.normal(size=(d + 2, c))
    found = linear_circular_convolution(X, Y, beta=beta)
    rest = Y - X @ X.T @ Y
    moduli = np.linalg.norm(np.fft.fft(X.T @ Y, axis=0, norm="ortho"), axis=1)
    value = 0.5 * np.vdot(rest, rest) + thresholded(moduli, beta / np.sqrt(d))
    assert found.iterations == 0
    assert found.value == pytest.approx(value, rel=1e-10)
    # the outputs of the two layers: circular convolution with the filter, then the output weights
    lagged = np.array([[x[(k + np.arange(d)) % d] @ found.first for k in range(d)] for x in X])
    check_layers(found, lagged @ found.second, Y, beta)


@pytest.mark.filterwarnings("ignore:Solution may be inaccurate")
@pytest.mark.parametrize(("n", "d"), [(10, 5), (6, 8)])
def test_circular_convolution_against_cvxpy_and_local_search(n: int, d: int) -> None:
    cp = pytest.importorskip("cvxpy")
    rng = np.random.default_rng(n)
    X, y, beta = rng.normal(size=(n, d)), rng.normal(size=n), 0.6
    found = linear_circular_convolution(X, y, beta=beta)
    F = np.fft.fft(np.eye(d), norm="ortho")
    z = cp.Variable(d)
    spectrum = cp.sum([cp.norm(np.vstack([row.real, row.imag]) @ z) for row in F])
    value = cp.Problem(cp.Minimize(0.5 * cp.sum_squares(X @ z - y) + beta / np.sqrt(d) * spectrum)).solve(
        solver="CLARABEL"
    )
    assert found.gap <= 1e-8
    assert found.value == pytest.approx(value, rel=1e-6)

    def objective(x: Array) -> float:
        z = np.fft.ifft(np.fft.fft(x[:d]) * np.fft.fft(x[d:])).real
        return float(0.5 * np.sum((X @ z - y) ** 2) + beta / 2 * x @ x)

    best = min(minimize(objective, rng.normal(size=2 * d), method="BFGS").fun for _ in range(6))
    assert found.dual_value * (1 - 1e-9) <= best
    assert best == pytest.approx(found.value, rel=1e-5)


def test_the_real_fourier_basis() -> None:
    for d in range(1, 9):
        norm = Fourier(d)
        np.testing.assert_allclose(norm.basis @ norm.basis.T, np.eye(d), atol=1e-12)
        z = np.random.default_rng(d).normal(size=(d, 1))
        assert norm.norm(z) == pytest.approx(np.abs(np.fft.fft(z[:, 0], norm="ortho")).sum() / np.sqrt(d), rel=1e-12)
        assert norm.dual(z) == pytest.approx(np.abs(np.fft.fft(z[:, 0], norm="ortho")).max() * np.sqrt(d), rel=1e-12)


@pytest.mark.parametrize("function", [linear_network, linear_circular_convolution])
def test_other_losses_and_bad_input(function) -> None:
    rng = np.random.default_rng(5)
    X, labels = rng.normal(size=(12, 4)), np.where(rng.random(12) < 0.5, 1.0, -1.0)
    for loss in ("logistic", "huber", "squared_hinge"):
        found = function(X, labels, beta=0.3, loss=loss)
        assert found.gap <= 1e-8, loss
        assert found.iterations > 0
    zero = function(np.zeros((3, 2)), np.ones(3), beta=0.1)
    assert zero.value == 1.5
    assert not zero.weights.any()
    large = function(X, labels, beta=1e3)
    assert large.value == pytest.approx(6.0)
    assert not large.weights.any()
    one = function([[2.0]], [1.0], beta=0.5)  # min 1/2 (2 z - 1)^2 + |z| / 2
    assert one.weights[0, 0] == pytest.approx(0.375)
    for bad in ({"beta": 0.0}, {"beta": 0.1, "tol": -1.0}):
        with pytest.raises(ValueError, match=next(reversed(bad))):
            function(X, labels, **bad)
    with pytest.raises(ValueError, match="NaN"):
        function(np.full((3, 2), np.nan), np.ones(3), beta=0.1)


def test_several_outputs_of_patches_are_refused() -> None:
    with pytest.raises(ValueError, match="one target"):
        linear_convolution(np.ones((3, 2, 2)), np.ones((3, 2)), beta=0.1)


def test_whole_numbers_of_any_kind_and_others() -> None:
    X = np.arange(8.0).reshape(2, 4)
    np.testing.assert_array_equal(patch_matrix(X, np.int64(2), stride=np.int64(2)), patch_matrix(X, 2, stride=2))
    np.testing.assert_array_equal(patch_matrix(X, np.array([2])), patch_matrix(X, 2))
    for window, stride in ((2.0, 1), (2, 1.5), ((2.0,), 1)):
        with pytest.raises(ValueError, match="whole numbers"):
            patch_matrix(X, window, stride=stride)  # type: ignore[arg-type]
    for limit in (0, -1.0):
        with pytest.raises(ValueError, match="time_limit must be positive"):
            fit_convolutional(patch_matrix(X, 2), [0.0, 1.0], beta=0.1, time_limit=limit)


def test_filters_know_the_size_of_their_patches() -> None:
    result = fit_convolutional(np.ones((2, 2, 2)), [0.0, 1.0], beta=0.1)
    with pytest.raises(ValueError, match="patches have 3 entries, the filters 2"):
        result.predict(np.ones((2, 2, 3)))
