"""Deep networks with known answers, and the collapse of their last layer."""

from __future__ import annotations

from itertools import pairwise

import cvxpy as cp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.sparse import csr_array

import extremal
from extremal.closed_forms import (
    DeepNetwork,
    batch_norm,
    deep_duality,
    deep_incidence,
    deep_linear,
    deep_threshold,
    deep_whitened,
    descend,
    network_collapse,
    neural_collapse,
    simplex_frame,
)
from reference import Array

SEEDS = st.integers(0, 10**6)
#: 4.2: n_j = (3, 2), beta = 0.4; confirmed by 300 descents each.
DERIVED = {2: 1.098505748, 3: 1.491321880, 4: 1.887341530}


def orthonormal(n: int, d: int, seed: int) -> Array:
    """X (n, d) with orthonormal rows, or columns if n > d."""
    Q = np.linalg.qr(np.random.default_rng(seed).normal(size=(max(n, d), min(n, d))))[0]
    return Q if n >= d else Q.T


def one_hot(*counts: int) -> Array:
    return np.repeat(np.eye(len(counts)), counts, axis=0)


def start(widths: list[int], seed: int, activation: str = "relu", size: float = 1.5) -> DeepNetwork:
    rng = np.random.default_rng(seed)
    layers = [size * rng.normal(size=shape) / np.sqrt(shape[0]) for shape in pairwise(widths)]
    return DeepNetwork(tuple(layers), activation)


def lowest(X: Array, Y: Array, beta: float, depth: int, *, starts: int, width: int = 6, activation="relu") -> float:
    widths = [X.shape[1], *[width] * (depth - 1), Y.shape[1]]
    found = [descend(start(widths, k, activation), X, Y, beta=beta, steps=400) for k in range(starts)]
    return min(net.objective(X, Y, beta=beta) for net in found)


# --------------------------------------------------------------------------------------------------------- thresholds


@settings(max_examples=60, deadline=None)
@given(s=st.floats(0, 5), beta=st.floats(1e-3, 3), depth=st.integers(1, 7))
def test_thresholds_are_global_minima(s, beta, depth):
    """On a fine grid nothing is lower, and the stationarity condition holds at amplitudes above zero."""
    found = deep_threshold(s, beta, depth)
    grid = np.concatenate([np.linspace(0, s, 4001), np.geomspace(1e-12, max(s, 1e-12), 500)])
    values = 0.5 * (s - grid) ** 2 + 0.5 * beta * depth * grid ** (2 / depth)
    assert found.value <= values.min() + 1e-13
    a = float(found.amplitude)
    assert found.value == pytest.approx(0.5 * (s - a) ** 2 + 0.5 * beta * depth * a ** (2 / depth), abs=1e-14)
    if a > 0:
        assert s - a == pytest.approx(beta * a ** (2 / depth - 1), rel=1e-9, abs=1e-12)
    if depth > 1:
        assert (a > 0) == (s > found.cut) or s == pytest.approx(float(found.cut))


@pytest.mark.parametrize("depth", [3, 4, 5, 10, 50])
def test_at_the_cut_zero_and_the_jump_are_both_optimal(depth):
    beta = np.array([1e-6, 0.1, 2.0, 1e5])
    cut = deep_threshold(1.0, beta, depth).cut
    at = deep_threshold(cut * (1 + 1e-14), beta, depth)
    np.testing.assert_allclose(at.amplitude, cut * (depth - 2) / (depth - 1), rtol=1e-6)
    np.testing.assert_allclose(at.value, cut**2 / 2, rtol=1e-12)
    below = deep_threshold(cut * (1 - 1e-12), beta, depth)
    assert not below.amplitude.any()
    if depth == 3:
        np.testing.assert_allclose(cut, 2 * beta**0.75, rtol=1e-14)


def test_three_and_four_layers_are_polynomials():
    s, beta = np.linspace(0.8, 4, 9), 0.1
    third = deep_threshold(s, beta, 3).amplitude ** (1 / 3)
    half = deep_threshold(s, beta, 4).amplitude ** 0.5
    for k, value in enumerate(s):
        assert third[k] == pytest.approx(max(np.roots([1, 0, 0, -value, beta]).real), rel=1e-12)
        assert half[k] == pytest.approx(max(np.roots([1, 0, -value, beta]).real), rel=1e-12)


@settings(max_examples=30, deadline=None)
@given(power=st.integers(-60, 60), depth=st.integers(2, 6), seed=SEEDS)
def test_thresholds_scale(power, depth, seed):
    s, unit = np.random.default_rng(seed).uniform(0, 3, 5), 2.0**power
    plain, scaled = deep_threshold(s, 0.3, depth), deep_threshold(unit * s, 0.3 * unit ** (2 - 2 / depth), depth)
    np.testing.assert_allclose(scaled.amplitude, unit * plain.amplitude, rtol=1e-10)
    np.testing.assert_allclose(scaled.value, unit**2 * plain.value, rtol=1e-10)


def test_what_thresholds_refuse():
    for s, beta, depth in ((-1, 1, 2), (np.nan, 1, 2), (1, 0, 2), (1, np.inf, 2), (1, 1, 0), (1, 1, 2.5), (1, 1, True)):
        with pytest.raises(ValueError, match=r"must be|positive"):
            deep_threshold(s, beta, depth)
    assert "1 of 2" in str(deep_threshold([0.1, 3.0], 0.5, 3))
    assert deep_threshold(np.zeros((2, 0)), 1.0, 3).amplitude.shape == (2, 0)


# ----------------------------------------------------------------------------------------------------- linear networks


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 7), d=st.integers(1, 7), c=st.integers(1, 4), depth=st.integers(1, 5), seed=SEEDS)
def test_linear_networks_attain_their_value_and_align(n, d, c, depth, seed):
    rng = np.random.default_rng(seed)
    X, Y, beta = rng.uniform(0.2, 5) * orthonormal(n, d, seed), 3 * rng.normal(size=(n, c)), rng.uniform(0.01, 2)
    found = deep_linear(X, Y, beta=beta, depth=depth)
    net = found.network
    assert net.objective(X, Y, beta=beta) == pytest.approx(found.value, rel=1e-10)
    assert found.optimal
    assert net.depth == depth
    assert net.misalignment() <= 1e-12
    for other in range(3):
        widths = [d, *[3] * (depth - 1), c]
        assert start(widths, other, "linear", 0.5).objective(X, Y, beta=beta) >= found.value * (1 - 1e-12)


@settings(max_examples=8, deadline=None)
@given(n=st.integers(2, 6), d=st.integers(2, 4), seed=SEEDS)
def test_two_linear_layers_are_the_nuclear_norm(n, d, seed):
    X, Y = orthonormal(n, d, seed), 2 * np.random.default_rng(seed).normal(size=(n, 3))
    Z = cp.Variable((d, 3))
    problem = cp.Problem(cp.Minimize(0.5 * cp.sum_squares(X @ Z - Y) + 0.7 * cp.normNuc(Z)))
    assert deep_linear(X, Y, beta=0.7, depth=2).value == pytest.approx(problem.solve(solver=cp.CLARABEL), rel=1e-6)


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_descents_of_linear_networks_end_at_or_above_it(depth):
    X, Y = orthonormal(8, 4, 5), 2 * np.random.default_rng(5).normal(size=(8, 3))
    found = deep_linear(X, Y, beta=0.2, depth=depth)
    best = lowest(X, Y, 0.2, depth, starts=6, width=4, activation="linear")
    assert best == pytest.approx(found.value, rel=1e-7)
    assert best >= found.value * (1 - 1e-12)
    trained = descend(start([4, *[4] * (depth - 1), 3], 1, "linear"), X, Y, beta=0.2)
    assert trained.misalignment() < 1e-4
    assert trained.imbalance() < 1e-4


def test_what_linear_networks_refuse():
    with pytest.raises(ValueError, match="singular values of X have to be the same"):
        deep_linear([[1.0, 0], [0, 2]], [1.0, 2], beta=1, depth=2)
    with pytest.raises(ValueError, match="2 rows and Y has 3"):
        deep_linear(np.eye(2), np.ones(3), beta=1, depth=2)
    for Y in ([1.0, np.nan], np.ones((2, 0)), np.ones((2, 2, 2))):
        with pytest.raises(ValueError, match="finite"):
            deep_linear(np.eye(2), Y, beta=1, depth=2)
    for beta in (0.0, -1.0, np.inf):
        with pytest.raises(ValueError, match="beta"):
            deep_linear(np.eye(2), np.ones(2), beta=beta, depth=2)
    nothing = deep_linear(np.zeros((3, 2)), [1.0, 2, 3], beta=1, depth=3)
    assert nothing.value == pytest.approx(7.0)
    assert not nothing.network.predict(np.zeros((3, 2))).any()


# ------------------------------------------------------------------------------------------------------- ReLU networks


@pytest.mark.parametrize("depth", DERIVED)
def test_derived_values_and_descents(depth):
    X, Y = orthonormal(5, 6, 0), one_hot(3, 2)
    found = deep_whitened(X, Y, beta=0.4, depth=depth)
    assert found.value == pytest.approx(DERIVED[depth], abs=1.5e-9)
    best = lowest(X, Y, 0.4, depth, starts=30)
    assert best == pytest.approx(found.value, abs=1e-7)
    assert best >= found.value - 1e-10


@pytest.mark.slow
@pytest.mark.parametrize("depth", DERIVED)
def test_derived_values_and_three_hundred_descents(depth):
    X, Y = orthonormal(5, 6, 0), one_hot(3, 2)
    value = deep_whitened(X, Y, beta=0.4, depth=depth).value
    assert lowest(X, Y, 0.4, depth, starts=300) == pytest.approx(value, abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(
    counts=st.lists(st.integers(1, 4), min_size=1, max_size=4),
    depth=st.integers(2, 6),
    beta=st.floats(1e-3, 2),
    seed=SEEDS,
)
def test_relu_networks_attain_their_value(counts, depth, beta, seed):
    rng = np.random.default_rng(seed)
    n = sum(counts)
    X, Y = rng.uniform(0.3, 4) * orthonormal(n, n + 2, seed), one_hot(*counts)
    signed = Y * rng.normal(size=(n, 1))
    for targets in (Y, signed):
        found = deep_whitened(X, targets, beta=beta, depth=depth)
        assert found.network.objective(X, targets, beta=beta) == pytest.approx(found.value, rel=1e-10)
        assert found.lower <= found.value
        assert found.network.imbalance() <= 1e-12
        for net in (start([n + 2, 3, *[3] * (depth - 2), len(counts)], 1, size=s) for s in (0.1, 0.5, 1.0)):
            moved = descend(net, X, targets, beta=beta, steps=10)
            assert moved.objective(X, targets, beta=beta) >= found.lower * (1 - 1e-12)
    single = deep_whitened(X, np.ones(n), beta=beta, depth=depth)
    assert single.optimal


@pytest.mark.parametrize("beta", [0.3, 1.5])
def test_two_layers_are_those_of_the_certified_solver(beta):
    X, Y = orthonormal(7, 7, 3), one_hot(4, 2, 1)
    fitted = extremal.fit(X, Y, beta=beta, bias="none", time_limit=1)
    found = deep_whitened(X, Y, beta=beta, depth=2)
    assert found.optimal
    assert fitted.certificate.primal == pytest.approx(found.value, rel=1e-8)
    assert fitted.certificate.dual <= found.value * (1 + 1e-12)
    y = np.random.default_rng(1).normal(size=7)
    fitted = extremal.fit(X, y, beta=0.3, bias="none", time_limit=1)
    assert fitted.certificate.primal == pytest.approx(deep_whitened(X, y, beta=0.3, depth=2).value, rel=1e-8)


@settings(max_examples=30, deadline=None)
@given(k=st.integers(2, 5), depth=st.integers(2, 6), beta=st.floats(0.01, 2), seed=SEEDS)
def test_the_bound_on_shared_paths_is_its_minimum(k, depth, beta, seed):
    """min over a >= 0 of 1/2 |s - a|^2 + beta L/2 (sum a)^(2/L), on a fine grid of nu with a = (s - nu)_+."""
    from extremal.closed_forms.deep import _shared_bound

    s = np.random.default_rng(seed).uniform(0.1, 3, k)
    nu = np.linspace(0, s.max(), 20001)
    a = np.maximum(s - nu[:, None], 0)
    values = 0.5 * np.sum((s - a) ** 2, axis=1) + 0.5 * beta * depth * a.sum(axis=1) ** (2 / depth)
    bound = _shared_bound(s, beta, depth)
    assert bound <= values.min() + 1e-12
    assert bound == pytest.approx(values.min(), rel=1e-4, abs=1e-6)


def test_what_relu_networks_refuse():
    X = orthonormal(3, 3, 0)
    with pytest.raises(ValueError, match=r"not orthogonal: two have a cosine of 0\.6"):
        deep_whitened([[1.0, 0.0], [0.6, 0.8]], np.eye(2), beta=1, depth=3)
    with pytest.raises(ValueError, match="same norm"):
        deep_whitened(np.diag([1.0, 2.0]), np.eye(2), beta=1, depth=3)
    with pytest.raises(ValueError, match="one entry"):
        deep_whitened(X, np.ones((3, 2)), beta=1, depth=3)
    with pytest.raises(ValueError, match="at least 2; the depth is 1"):
        deep_whitened(X, np.ones(3), beta=1, depth=1)
    with pytest.raises(ValueError, match="at least 3; the depth is 2"):
        deep_incidence(X, np.ones(3), beta=1, depth=2)
    with pytest.raises(ValueError, match="nonnegative"):
        deep_incidence(X, [1.0, -1, 1], beta=1, depth=3)
    with pytest.raises(ValueError, match="NaN"):
        deep_whitened(X * np.nan, np.ones(3), beta=1, depth=3)
    assert deep_whitened(X, np.zeros((3, 2)), beta=1, depth=3).value == 0
    assert deep_incidence(X, np.zeros((3, 2)), beta=1, depth=3).value == 0


# ------------------------------------------------------------------------------------------------------ shared neurons


@settings(max_examples=40, deadline=None)
@given(
    counts=st.lists(st.integers(1, 3), min_size=1, max_size=8),
    depth=st.integers(3, 7),
    beta=st.floats(1e-3, 0.5),
    seed=SEEDS,
)
def test_classes_as_pairs_attain_their_value(counts, depth, beta, seed):
    n = sum(counts)
    X, Y = 1.7 * orthonormal(n, n, seed), one_hot(*counts)
    found = deep_incidence(X, Y, beta=beta, depth=depth)
    assert found.network.objective(X, Y, beta=beta) == pytest.approx(found.value, rel=1e-10)
    assert found.lower <= found.value
    if found.amplitudes.any():
        predicted = found.network.predict(X)
        np.testing.assert_allclose(predicted, predicted * (Y > 0), atol=1e-12)


@pytest.mark.parametrize(("r", "depth", "better"), [(4, 3, 0), (4, 4, 0), (4, 5, 1), (5, 5, 1), (6, 4, 0), (6, 6, 1)])
def test_a_path_for_each_class_is_not_optimal_for_many_classes_and_layers(r, depth, better):
    """The printed value of whitened deep networks is too high: six classes and five layers suffice, for small beta."""
    K = r * (r - 1) // 2
    X, Y = np.eye(K), np.eye(K)
    paths, pairs = (form(X, Y, beta=0.01, depth=depth) for form in (deep_whitened, deep_incidence))
    assert (pairs.value < paths.value) == bool(better)
    assert bool(better) == ((2 / (r - 1)) ** (depth - 2) * r * (r - 1) / 4 < 1)
    assert pairs.network.objective(X, Y, beta=0.01) == pytest.approx(pairs.value, rel=1e-12)
    assert paths.lower < min(paths.value, pairs.value)
    assert not paths.optimal


# ------------------------------------------------------------------------------------------------------------- duality


@settings(max_examples=30, deadline=None)
@given(counts=st.lists(st.integers(1, 4), min_size=1, max_size=4), depth=st.integers(2, 6), seed=SEEDS)
def test_the_dual_is_attained_in_parallel_and_by_no_single_network(counts, depth, seed):
    rng = np.random.default_rng(seed)
    n = sum(counts)
    scale = rng.uniform(0.5, 2)
    X, Y = scale * orthonormal(n, n + 1, seed), one_hot(*counts)
    for activation, targets in (
        ("relu", Y),
        ("relu", Y * rng.normal(size=(n, 1))),
        ("linear", rng.normal(size=(n, 3))),
    ):
        found = deep_duality(X, targets, depth=depth, activation=activation)
        assert np.vdot(found.multiplier, targets) == pytest.approx(found.dual, rel=1e-12)
        assert found.dual == found.parallel <= found.standard * (1 + 1e-12)
        for k in range(5):  # feasible: <Lambda, f> <= |W_1| ... |W_L|
            net = start([n + 1, *[3] * (depth - 1), targets.shape[1]], k + seed, activation)
            product = np.prod([np.linalg.norm(W) for W in net.layers])
            assert np.vdot(found.multiplier, net.predict(X)) <= product * (1 + 1e-12)
    sizes = np.sqrt(counts)
    found = deep_duality(X, Y, depth=depth)
    assert found.dual == pytest.approx(sizes.sum() / scale, rel=1e-12)
    assert (found.gap > 1e-9) == (depth > 2 and len(counts) > 1)


def test_three_layers_of_two_classes_have_a_gap():
    """One network needs (3^(1/3) + 2^(1/3))^(3/2), as descents find; the dual is sqrt 3 + sqrt 2."""
    X, Y, beta = orthonormal(5, 5, 1), one_hot(3, 2), 1e-3
    found = deep_duality(X, Y, depth=3)
    assert found.standard == pytest.approx((3 ** (1 / 3) + 2 ** (1 / 3)) ** 1.5, rel=1e-12)
    assert found.dual == pytest.approx(np.sqrt(3) + np.sqrt(2), rel=1e-12)
    assert "in parallel" in str(found)
    # 1/2 |f - Y|^2 + beta L/2 (product)^(2/L) -> beta L/2 standard^(2/L) as beta -> 0
    best = lowest(X, Y, beta, 3, starts=10) / (1.5 * beta)
    assert best == pytest.approx(found.standard ** (2 / 3), rel=2e-3)
    assert best > found.dual ** (2 / 3) * 1.1
    with pytest.raises(ValueError, match="activation"):
        deep_duality(X, Y, depth=3, activation="tanh")


@pytest.mark.parametrize(("K", "depth"), [(15, 5), (15, 6), (3, 5)])
def test_the_smallest_known_network_is_no_larger_than_that_of_shared_neurons(K, depth):
    X, Y = np.eye(K), np.eye(K)
    shared = deep_incidence(X, Y, beta=1e-9, depth=depth)
    product = np.prod([np.linalg.norm(W) for W in shared.network.layers]) / shared.amplitudes[0]
    standard = deep_duality(X, Y, depth=depth).standard
    assert standard == pytest.approx(min(product, K ** (depth / 2)), rel=1e-12)


def test_depths_are_whole_numbers():
    X, Y = np.eye(3), [1.0, 1.0, 0.0]
    for call, least in (
        (lambda depth: deep_linear(X, Y, beta=0.1, depth=depth), 1),
        (lambda depth: deep_whitened(X, Y, beta=0.1, depth=depth), 2),
        (lambda depth: deep_incidence(X, Y, beta=0.1, depth=depth), 3),
        (lambda depth: deep_duality(X, Y, depth=depth), 2),
    ):
        for depth in (least - 1, least + 0.5, True, "3", np.inf):
            with pytest.raises(ValueError, match=f"at least {least}; the depth is"):
                call(depth)
        call(np.int64(least))


# -------------------------------------------------------------------------------------------------- batch normalisation


def normalised_objective(theta: Array, X: Array, Y: Array, beta: float, m: int) -> tuple[float, Array]:
    """The objective of a batch-normalised network from its definition, and its gradient."""
    n, d = X.shape
    U, gamma, alpha, W = np.split(theta, np.cumsum([d * m, m, m]))
    U, W = U.reshape(d, m), W.reshape(m, -1)
    Z = X @ U
    Z = Z - Z.mean(axis=0)
    length = np.linalg.norm(Z, axis=0)
    Z = Z / length
    H = np.maximum(gamma * Z + alpha / np.sqrt(n), 0)
    residual = H @ W - Y
    back = residual @ W.T * (H > 0)
    dZ = back * gamma
    dZ = dZ - Z * np.sum(dZ * Z, axis=0)
    dZ = (dZ - dZ.mean(axis=0)) / length
    parts = [
        X.T @ dZ, np.sum(back * Z, axis=0) + beta * gamma, back.sum(axis=0) / np.sqrt(n) + beta * alpha,
        H.T @ residual + beta * W,
    ]  # fmt: skip
    value = 0.5 * np.sum(residual**2) + 0.5 * beta * (gamma @ gamma + alpha @ alpha + np.sum(W**2))
    return value, np.concatenate([part.ravel() for part in parts])


def test_batch_normalisation_against_descents():
    """4.3: 1.0985057 for n_j = (3, 2) and beta = 0.4, whatever the samples are."""
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(5, 7)) + 2.0, one_hot(3, 2)
    found = batch_norm(X, Y, beta=0.4)
    assert found.value == pytest.approx(1.0985057, abs=6e-8)
    assert found.value == pytest.approx(deep_whitened(np.eye(5), Y, beta=0.4, depth=2).value, rel=1e-14)
    values = []
    for _ in range(20):
        theta = rng.normal(size=7 * 4 + 8 + 8)
        run = minimize(
            normalised_objective, theta, (X, Y, 0.4, 4), jac=True, method="L-BFGS-B", options={"maxiter": 300}
        )
        values.append(run.fun)
    assert min(values) == pytest.approx(found.value, abs=2e-6)
    assert min(values) >= found.value - 1e-12


@settings(max_examples=40, deadline=None)
@given(counts=st.lists(st.integers(1, 4), min_size=1, max_size=4), beta=st.floats(0.01, 1.5), seed=SEEDS)
def test_batch_normalised_networks_attain_their_value(counts, beta, seed):
    rng = np.random.default_rng(seed)
    n = sum(counts)
    X, Y = rng.normal(size=(n, n + 2)) + 5 * rng.normal(size=n + 2), one_hot(*counts)
    for targets in (Y, Y * rng.normal(size=(n, 1))):
        found = batch_norm(X, targets, beta=beta)
        residual = found.predict(X) - targets
        objective = 0.5 * np.sum(residual**2) + beta * found.penalty()
        assert objective == pytest.approx(found.value, rel=1e-9, abs=1e-12)
        np.testing.assert_allclose(
            found.scale**2 + found.shift**2, np.sum(found.output**2, axis=1), rtol=1e-9, atol=1e-14
        )
    found = batch_norm(X, Y, beta=beta)
    if n > 1 and len(counts) > 1 and found.scale.size:
        theta = np.concatenate([found.directions.ravel(), found.scale, found.shift, found.output.ravel()])
        value, gradient = normalised_objective(theta, X, Y, beta, found.scale.size)
        assert value == pytest.approx(found.value, rel=1e-9)
        # samples outside of a class are on the boundary of its neuron, where either share is a gradient
        slack = gradient[found.directions.size :]
        assert np.abs(slack).max() < 1e-6


def test_what_batch_normalisation_refuses():
    with pytest.raises(ValueError, match="full row rank: it has 3 rows and the rank 1"):
        batch_norm(np.ones((3, 4)), np.ones(3), beta=1)
    with pytest.raises(ValueError, match="full row rank"):
        batch_norm(np.ones((3, 2)), np.ones(3), beta=1)
    with pytest.raises(ValueError, match="beta"):
        batch_norm(np.eye(2), np.ones(2), beta=0)
    with pytest.raises(ValueError, match="one entry"):
        batch_norm(np.eye(2), np.ones((2, 2)), beta=1)
    assert batch_norm(np.eye(3), np.eye(3), beta=5).value == pytest.approx(1.5)
    assert "optimal value" in str(batch_norm(np.eye(2), np.eye(2), beta=0.1))


# ------------------------------------------------------------------------------------------------------------ collapse


@pytest.mark.parametrize("K", [2, 3, 10])
def test_a_simplex_is_collapsed(K):
    frame = simplex_frame(K)
    np.testing.assert_allclose(np.linalg.norm(frame, axis=1), 1.0)
    np.testing.assert_allclose(frame @ frame.T, (K * np.eye(K) - 1) / (K - 1), atol=1e-14)
    labels = np.repeat(np.arange(K), 4)
    Q = np.linalg.qr(np.random.default_rng(K).normal(size=(K + 3, K)))[0]
    features = 7 * frame[labels] @ Q.T + np.random.default_rng(0).normal(size=K + 3)
    found = neural_collapse(features, labels, 3 * Q @ frame.T)
    assert found.holds(1e-12)
    assert found.accuracy == 1
    assert not neural_collapse(features, labels, -Q @ frame.T).holds(0.1)


@pytest.mark.parametrize("depth", [2, 3, 5])
def test_the_closed_forms_collapse_when_classes_are_balanced(depth):
    X, labels = orthonormal(9, 9, 1), np.repeat(["a", "b", "c"], 3)
    Y = one_hot(3, 3, 3)
    found = network_collapse(deep_whitened(X, Y, beta=0.05, depth=depth).network, X, labels)
    assert max(found.within, found.equinorm, found.equiangular, found.nearest) < 1e-12
    assert max(found.directional, found.orthogonal) < 1e-12
    # the classifier is one-hot, the centred means are a simplex: dual up to the mean
    assert found.duality == pytest.approx(np.linalg.norm(np.eye(3) / 3**0.5 - simplex_frame(3) / 3**0.5), rel=1e-10)
    normal = network_collapse(batch_norm(np.random.default_rng(0).normal(size=(9, 9)), Y, beta=0.05), X, labels)
    assert not np.isnan(normal.duality)
    rows = np.random.default_rng(0).normal(size=(9, 9))
    assert network_collapse(batch_norm(rows, Y, beta=0.05), rows, labels).within < 1e-12
    unbalanced = network_collapse(deep_whitened(X, one_hot(5, 2, 2), beta=0.05, depth=depth).network, X, labels)
    assert unbalanced.within > 1e-3


@settings(max_examples=30, deadline=None)
@given(K=st.integers(2, 4), m=st.integers(1, 6), seed=SEEDS)
def test_measures_are_their_definitions_and_invariant(K, m, seed):
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(K), rng.integers(0, K, 10)])
    H, W = rng.normal(size=(K + 10, m)), rng.normal(size=(m, K))
    found = neural_collapse(H, labels, W)
    means = np.array([H[labels == k].mean(axis=0) for k in range(K)])
    M = means - means.mean(axis=0)
    within = (H - means[labels]).T @ (H - means[labels]) / len(H)
    assert found.within == pytest.approx(np.trace(within @ np.linalg.pinv(M.T @ M / K, rcond=1e-12)) / K, rel=1e-4)
    Q = np.linalg.qr(rng.normal(size=(m, m)))[0]
    order = rng.permutation(len(H))
    moved = neural_collapse(5 * (H @ Q)[order], labels[order], 2 * Q.T @ W)
    for name in ("within", "equinorm", "equiangular", "duality", "nearest", "accuracy", "directional", "orthogonal"):
        assert getattr(moved, name) == pytest.approx(getattr(found, name), rel=1e-6, abs=1e-9), name


def test_features_of_gradient_descent_on_orthogonally_separable_classes():
    """10.2: from a small start the features of a class share a direction, those of classes are orthogonal.

    Classes with nonnegative inner products inside and zero ones across, cross entropy, a balanced start.
    """
    rng = np.random.default_rng(0)
    K, m = 3, 30
    labels = np.repeat(np.arange(K), 6)
    X = np.zeros((18, 6))
    for k in range(K):
        X[labels == k, 2 * k : 2 * k + 2] = rng.uniform(0.3, 1.5, (6, 2))
    W, A, Y = 1e-4 * rng.normal(size=(6, m)), 1e-4 * rng.normal(size=(m, K)), np.eye(K)[labels]
    A *= np.linalg.norm(W, axis=0)[:, None] / np.linalg.norm(A, axis=1)[:, None]
    for _ in range(20_000):
        H = np.maximum(X @ W, 0)
        scores = np.exp(H @ A - (H @ A).max(axis=1, keepdims=True))
        residual = Y - scores / scores.sum(axis=1, keepdims=True)
        W, A = W + 0.02 * X.T @ ((residual @ A.T) * (H > 0)), A + 0.02 * H.T @ residual
    found = network_collapse(extremal.Network(W, A), X, labels)
    assert found.directional < 0.05
    assert found.orthogonal < 0.05
    assert found.nearest == 0
    assert network_collapse(extremal.Network(rng.normal(size=(6, m)), A), X, labels).directional > 0.2


def test_networks_of_this_library_and_what_is_refused():
    rng = np.random.default_rng(0)
    X, labels = rng.normal(size=(12, 2)), np.arange(12) % 3
    net = extremal.Network(rng.normal(size=(3, 5)), rng.normal(size=(5, 3)), bias=True)
    found = network_collapse(net, X, labels)
    H = np.maximum(X @ net.hidden[:2] + net.hidden[2], 0)
    assert found == neural_collapse(H, labels, net.output)
    assert "NC1" in str(found)
    assert np.isnan(neural_collapse(H, labels).duality)
    assert network_collapse(net, csr_array(X), labels).within == pytest.approx(found.within, rel=1e-12)
    with pytest.raises(ValueError, match="1 features, the network 2"):
        network_collapse(net, X[:, :1], labels)
    with pytest.raises(ValueError, match="intercept"):
        neural_collapse(H, labels, net.output, [1.0, 2.0])
    with pytest.raises(ValueError, match="intercept"):
        neural_collapse(H, labels, net.output, [1.0, 2.0, np.nan])
    with pytest.raises(TypeError, match="str"):
        network_collapse("network", X, labels)
    for features, names, classifier, message in (
        (H[:5], labels, None, "labels must have shape"),
        (H * np.nan, labels, None, "finite"),
        (H, np.zeros(12), None, "two classes"),
        (np.ones((12, 2)), labels, None, "means are the same"),
        (H, labels, np.ones((5, 2)), "classifier"),
    ):
        with pytest.raises(ValueError, match=message):
            neural_collapse(features, names, classifier)
    with pytest.raises(ValueError, match="two classes"):
        simplex_frame(1)


def test_one_output_is_a_classifier_of_two():
    X = np.linalg.qr(np.random.default_rng(0).normal(size=(6, 6)))[0]
    labels = np.array([-1, 1, 1, -1, 1, -1])
    result = extremal.fit(X, labels, beta=0.01, bias="none")
    found = network_collapse(result.network, X, labels)
    assert found.holds(1e-4)
    assert found.accuracy == 1.0
    assert network_collapse(result.network, X, -labels).nearest == 1.0


def test_torch_modules():
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.ReLU(), torch.nn.Dropout(0.5), torch.nn.Linear(6, 3))
    X, labels = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32), np.arange(9) % 3
    found = network_collapse(model, X, labels)
    assert model.training
    with torch.no_grad():
        H = torch.relu(model[0](torch.as_tensor(X))).numpy()
    last = model[3]
    expected = neural_collapse(H, labels, last.weight.detach().numpy().T, last.bias.detach().numpy())
    assert found == expected
    assert not last._forward_pre_hooks
    with pytest.raises(ValueError, match="no linear layer"):
        network_collapse(torch.nn.ReLU(), X, labels)


# ------------------------------------------------------------------------------------------------------------ networks


@pytest.mark.parametrize("activation", ["relu", "linear"])
def test_gradients_of_descents_by_differences(activation, monkeypatch):
    rng = np.random.default_rng(3)
    X, Y, net = rng.normal(size=(6, 3)), rng.normal(size=(6, 2)), start([3, 4, 4, 2], 0, activation)
    caught = {}
    monkeypatch.setattr(
        "extremal.closed_forms.deep_network.minimize", lambda f, x, **_: caught.update(f=f, x=x) or 1 / 0
    )
    with pytest.raises(ZeroDivisionError):
        descend(net, X, Y, beta=0.3)
    f, theta = caught["f"], caught["x"]
    value, gradient = f(theta)
    assert value == pytest.approx(net.objective(X, Y, beta=0.3), rel=1e-13)
    for k in range(theta.size):
        step = np.zeros(theta.size)
        step[k] = 1e-6
        assert (f(theta + step)[0] - f(theta - step)[0]) / 2e-6 == pytest.approx(gradient[k], rel=1e-6, abs=1e-7)


def test_deep_networks_are_checked():
    net = DeepNetwork(([[1.0, -1]], [[1.0], [2]]))
    np.testing.assert_array_equal(net.predict([[3.0], [-4]]), [[3.0], [8]])
    np.testing.assert_array_equal(DeepNetwork(net.layers, "linear").predict([[3.0]]), [[-3.0]])
    assert net.objective([[3.0]], [1.0], beta=2) == 0.5 * 4 + 7
    assert str(net) == "DeepNetwork(1 - 2 - 1, relu)"
    assert net.imbalance() == pytest.approx(3 / 5)
    assert [values.tolist() for values in net.singular_values()] == [[pytest.approx(2**0.5)], [pytest.approx(5**0.5)]]
    assert DeepNetwork((np.zeros((2, 0)), np.zeros((0, 1)))).singular_values()[0].size == 0
    for layers, message in (
        ((), "at least one layer"),
        (([1.0],), "matrix"),
        (([[1.0]], [[1.0], [1.0]]), "fit together"),
        (([[np.inf]],), "infinite"),
    ):
        with pytest.raises(ValueError, match=message):
            DeepNetwork(layers)
    with pytest.raises(ValueError, match="activation"):
        DeepNetwork(([[1.0]],), "tanh")
    with pytest.raises(ValueError, match="2 features"):
        net.predict([[1.0, 2.0]])


def test_batch_normalised_networks_know_their_features():
    network = batch_norm(np.eye(3), [1.0, 0, 0], beta=0.1)
    with pytest.raises(ValueError, match="X has 2 features, the network 3"):
        network.predict(np.eye(2))
