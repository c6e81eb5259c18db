"""Spike-free data: the distance from it, the program without ReLU, and the network of fewest neurons."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.optimize import nnls

import extremal
import reference
from extremal import datasets, is_spike_free
from extremal.closed_forms import (
    minimal_network,
    orthogonal_min_norm,
    spike_free_distance,
    spike_free_fit,
    spike_free_max_margin,
    spike_free_min_norm,
    whitened_fit,
)
from extremal.programs import interpolation_program


def m_matrix_rows(r: int, rng: np.random.Generator, extra: int = 0):
    """Rows whose inverse Gram matrix is diagonally dominant with off-diagonal entries <= 0, in r + extra dimensions."""
    off = -rng.uniform(size=(r, r)) * (rng.uniform(size=(r, r)) < 0.7)
    H = np.triu(off, 1) + np.triu(off, 1).T
    H += np.diag(-H.sum(axis=1) + rng.uniform(0.1, 1, r))
    return np.linalg.cholesky(np.linalg.inv(H)) @ np.linalg.qr(rng.standard_normal((r + extra, r + extra)))[0][:r]


def repeated(rng: np.random.Generator, r: int, more: int):
    """Spike-free data with rows that are repeated in several lengths, and which row each is."""
    owner = np.concatenate([np.arange(r), rng.integers(r, size=more)])
    lengths = rng.uniform(0.3, 3, r + more)
    return m_matrix_rows(r, rng, extra=1)[owner] * lengths[:, None], owner, lengths


# ---------------------------------------------------------------------------------------------------------- distance


@settings(max_examples=50)
@given(st.integers(0, 10**6), st.floats(0.02, 3.1))
def test_two_rows(seed, angle):
    """1 / sin of an obtuse angle, 1 for the others, whatever the lengths."""
    rng = np.random.default_rng(seed)
    X = np.array([[1.0, 0.0], [np.cos(angle), np.sin(angle)]]) * rng.uniform(0.1, 10, (2, 1))
    found = spike_free_distance(X @ np.linalg.qr(rng.standard_normal((3, 2)))[0].T)
    expected = 1.0 if angle <= np.pi / 2 else 1 / np.sin(angle)
    assert found.stretch.lower <= expected * (1 + 1e-9)
    assert found.stretch.upper >= expected * (1 - 1e-9)
    assert found.stretch.gap < 1e-5
    assert found.spike_free == (angle <= np.pi / 2)
    assert found.outside.upper == 0


def sines(X) -> float:
    """1 / sin of the least angle between a column of X^+ and the cone of the others: all there is for three rows."""
    P = np.linalg.pinv(X)
    P /= np.linalg.norm(P, axis=0)
    return 1 / min(min(nnls(np.delete(P, i, axis=1), P[:, i])[1], 1.0) for i in range(3))


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.integers(3, 5))
def test_three_rows(seed, d):
    X = np.random.default_rng(seed).standard_normal((3, d))
    found = spike_free_distance(X, time_limit=3.0)
    assert found.stretch.lower <= sines(X) * (1 + 1e-7)
    assert found.stretch.upper >= sines(X) * (1 - 1e-7)
    assert found.spike_free == (sines(X) <= 1 + 1e-12)


@settings(max_examples=15)
@given(st.integers(0, 10**6), st.integers(3, 5), st.integers(2, 5))
def test_the_bounds_hold_at_their_witness_and_on_samples(seed, n, d):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d))
    found = spike_free_distance(X, time_limit=1.0)
    pinv = np.linalg.pinv(X)
    largest = np.linalg.norm(X, 2)

    def both(U):
        F = np.maximum(X @ U, 0)
        Z = pinv @ F
        return np.linalg.norm(Z, axis=0), np.linalg.norm(F - X @ Z, axis=0) / largest

    U = rng.standard_normal((d, 3000))
    stretch, outside = both(U / np.linalg.norm(U, axis=0))
    assert stretch.max() <= found.stretch.upper * (1 + 1e-9)
    assert outside.max() <= found.outside.upper * (1 + 1e-9) + 1e-12
    assert both(found.stretch.witness[:, None])[0][0] == pytest.approx(found.stretch.lower, rel=1e-7)
    assert (found.outside.upper == 0) == (n <= d)
    if n > d:
        assert both(found.outside.witness[:, None])[1][0] == pytest.approx(found.outside.lower, rel=1e-7)
        assert 0 < found.outside.lower <= found.outside.upper <= 1 + 1e-6
    assert found.spike_free == (found.stretch.lower <= 1 + 1e-9 and found.outside.upper == 0)


def test_spike_free_data_have_distance_one_exactly():
    rng = np.random.default_rng(0)
    for X in (repeated(rng, 4, 3)[0], datasets.whitened(5, 9)[0], np.outer([1.0, 0.0, 2.0], [3.0, 4.0])):
        found = spike_free_distance(X)
        assert found.spike_free
        assert found.stretch.lower == found.stretch.upper == 1
        assert found.outside.upper == 0
        u = found.stretch.witness
        assert np.linalg.norm(u) == pytest.approx(1)
        assert np.linalg.norm(np.linalg.pinv(X) @ np.maximum(X @ u, 0)) == pytest.approx(1, rel=1e-12)
    zero = spike_free_distance(np.zeros((2, 3)))
    assert zero.spike_free
    assert zero.stretch.upper == 0


def test_repetitions_lengths_and_scales_change_nothing():
    rng = np.random.default_rng(1)
    A = np.array([[1.0, 0.0, 0.0], [-1.0, 1.0, 0.0], [0.3, -0.5, 1.0]])
    expected = spike_free_distance(A).stretch.upper
    X = np.vstack([A, A[[0, 2]], np.zeros((1, 3))]) * rng.uniform(0.1, 10, (6, 1))
    for data in (X, sparse.csr_array(X), 1e140 * X, 1e-140 * X, X.astype(np.float32).astype(float)):
        assert spike_free_distance(data).stretch.upper == pytest.approx(expected, rel=3e-6)
    assert spike_free_distance([[1.0], [-1.0]]).outside.upper == pytest.approx(np.sqrt(0.25), rel=1e-6)
    assert "not spike-free" in str(spike_free_distance(A))


def spike_free_share(n: int, d: int, draws: int, seed: int = 0) -> float:
    """How often Gaussian rows (n, d) are spike-free, by Bartlett's factor of their Gram matrix."""
    rng = np.random.default_rng(seed)
    L = np.tril(rng.standard_normal((draws, n, n)), -1)
    L[:, np.arange(n), np.arange(n)] = np.sqrt(rng.chisquare(d - np.arange(n), size=(draws, n)))
    half = np.linalg.inv(L)
    H = np.swapaxes(half, 1, 2) @ half
    return float(np.mean(np.all(H - H * np.eye(n) <= 0, axis=(1, 2))))


@pytest.mark.parametrize(("n", "measured"), [(2, 0.506), (3, 0.118), (4, 0.020), (5, 0.004)])
def test_gaussian_rows_are_rarely_spike_free(n, measured):
    """Theorem 5 says with a probability that tends to one. It tends to 2^(-n (n - 1) / 2): errata."""
    limit, draws = 2.0 ** (-n * (n - 1) / 2), 40_000
    share = spike_free_share(n, 1000, draws)
    assert abs(share - measured) < 4 * np.sqrt(limit / 1000)
    assert abs(spike_free_share(n, 10**7, draws) - limit) < 5 * np.sqrt(limit / draws)
    rng = np.random.default_rng(n)
    direct = np.mean([is_spike_free(rng.standard_normal((n, 60))) for _ in range(400)])
    assert abs(direct - spike_free_share(n, 60, draws)) < 5 * np.sqrt(max(limit, 0.01) / 400)


def test_what_is_true_of_gaussian_rows():
    """The distance tends to one: P(max |A^+ (Au)_+| > 1 + eps) -> 0."""
    rng = np.random.default_rng(0)
    medians = [
        np.median([spike_free_distance(rng.standard_normal((4, d)), time_limit=1.0).stretch.upper for _ in range(3)])
        for d in (5, 60, 1000)
    ]
    assert medians[0] > medians[1] > medians[2]
    assert 1 < medians[2] < 1.01


# ---------------------------------------------------------------------------------------------------------- programs


@pytest.mark.parametrize("loss", ["squared", "huber", "squared_hinge", "logistic"])
@pytest.mark.parametrize("seed", range(3))
def test_the_program_without_relu_is_training(loss, seed):
    rng = np.random.default_rng(seed)
    X = repeated(rng, 3, 2)[0]
    y = rng.standard_normal(5) if loss in ("squared", "huber") else np.array([1.0, -1, 1, 1, -1])
    weight = rng.uniform(0.5, 2, 5)
    beta = 0.2 * extremal.beta_max(X, y, loss, bias="none", sample_weight=weight)
    found = spike_free_fit(X, y, beta=beta, loss=loss, sample_weight=weight)
    best = reference.solve(X, y, beta, loss=loss, sample_weight=weight)
    assert found.value == pytest.approx(best.value, rel=1e-7)
    assert found.network.objective(X, y, beta=beta, loss=loss, sample_weight=weight) == pytest.approx(found.value)
    assert reference.exact_gauge(X, found.lam) <= beta * (1 + 1e-8)
    assert found.residual <= 1e-6


@given(st.integers(0, 10**6), st.integers(2, 4), st.integers(0, 2))
@settings(max_examples=25)
def test_interpolation_and_margins_against_cvxpy(seed, r, more):
    rng = np.random.default_rng(seed)
    X, owner, lengths = repeated(rng, r, more)
    y = rng.standard_normal(r)[owner] * lengths
    for call, target in ((spike_free_min_norm, y), (spike_free_max_margin, np.where(y > 0, 1.0, -1.0))):
        w1, w2 = cp.Variable(X.shape[1]), cp.Variable(X.shape[1])
        outputs = X @ (w1 - w2)
        asked = outputs == y if call is spike_free_min_norm else cp.multiply(target, outputs) >= 1
        program = cp.Problem(cp.Minimize(cp.norm(w1) + cp.norm(w2)), [asked, X @ w1 >= 0, X @ w2 >= 0])
        program.solve(solver=cp.CLARABEL, tol_gap_rel=1e-8, tol_gap_abs=1e-8, tol_feas=1e-8)
        found = call(X, target)
        assert found.value == pytest.approx(program.value, rel=1e-6)
        assert target @ found.lam == pytest.approx(found.value, rel=1e-6)
        assert reference.exact_gauge(X, found.lam) <= 1 + 1e-7
        F = found.network.predict(X)[:, 0]
        if call is spike_free_min_norm:
            np.testing.assert_allclose(F, y, atol=1e-6 * np.abs(y).max())
        else:
            assert np.min(target * F) >= 1 - 1e-9


@pytest.mark.parametrize("seed", range(3))
def test_against_the_search_over_all_networks(seed):
    rng = np.random.default_rng(seed)
    X, y = m_matrix_rows(4, rng, extra=2), rng.standard_normal(4)
    assert extremal.min_norm(X, y).value == pytest.approx(spike_free_min_norm(X, y).value, rel=2e-6)
    labels = np.array([1.0, -1, 1, -1])
    assert extremal.max_margin(X, labels).value == pytest.approx(spike_free_max_margin(X, labels).value, rel=2e-6)
    fit = extremal.fit(X, y, beta=0.05, bias="none")
    assert fit.certificate.primal == pytest.approx(spike_free_fit(X, y, beta=0.05).value, rel=1e-8)


def test_known_values_of_the_programs():
    X, y = datasets.whitened(5, 7, labels=False)
    assert spike_free_fit(X, y, beta=0.3).value == pytest.approx(whitened_fit(X, y, beta=0.3).value, rel=1e-9)
    X = X * np.array([0.5, 1, 2, 3, 4])[:, None]
    assert spike_free_min_norm(X, y).value == pytest.approx(orthogonal_min_norm(X, y).value, rel=1e-8)
    # the zero network from beta_max on
    limit = extremal.beta_max(X, y, bias="none")
    assert spike_free_fit(X, y, beta=1.001 * limit).network.width == 0
    # a single row: |x| |w|^2
    assert spike_free_min_norm([[3.0, 4.0]], [10.0]).value == pytest.approx(2.0, rel=1e-9)


def test_other_data_get_an_upper_bound_only():
    """Section 2.2.1 calls {Au >= 0} a relaxation; it is a part, as in 1.65953 > 1.65172 (errata)."""
    X, y = np.array([[1.0, 0.2, 0.0], [-0.8, 1.0, 0.3], [0.5, -0.7, 1.0]]), np.array([1.0, 1.0, -1.0])
    assert not is_spike_free(X)
    inner = interpolation_program(X, y, np.ones((1, 3), dtype=bool))
    best = extremal.min_norm(X, y, tol=1e-8)
    assert inner.value > best.value * 1.005
    # its multiplier passes the test of algorithm 1, Au >= 0, and is infeasible for the dual
    u = cp.Variable(3)
    for sign in (1, -1):
        inside = cp.Problem(cp.Maximize(sign * inner.dual[:, 0] @ X @ u), [X @ u >= 0, cp.norm(u) <= 1])
        assert inside.solve(solver=cp.CLARABEL) <= 1 + 1e-6
    assert reference.exact_gauge(X, inner.dual[:, 0]) > 1.005


# ----------------------------------------------------------------------------------------- the fewest neurons


@given(st.integers(0, 10**6), st.integers(1, 5), st.booleans())
@settings(max_examples=40)
def test_fewest_neurons_on_spike_free_data(seed, n, zero):
    """Its own condition, p + q >= 0, against Theorem 4's program: exactly when the values agree."""
    rng = np.random.default_rng(seed)
    X, y = m_matrix_rows(n, rng, extra=seed % 2), rng.standard_normal(n)
    if zero and n > 1:
        y[0] = 0.0
    found, best = minimal_network(X, y), spike_free_min_norm(X, y).value
    np.testing.assert_allclose(found.network.predict(X)[:, 0], y, atol=1e-9)
    assert found.network.penalty() == pytest.approx(found.value, rel=1e-10)
    assert found.network.width == np.unique(np.sign(y[y != 0])).size
    assert found.spike_free
    assert found.lam @ y == pytest.approx(found.value, rel=1e-8)
    assert found.lower <= best * (1 + 1e-7) <= found.value * (1 + 2e-7)
    assert found.optimal == (found.value <= best * (1 + 1e-7))
    assert found.gauge.upper == pytest.approx(reference.exact_gauge(X, found.lam), rel=1e-8)
    assert found.optimal == (found.gauge.upper <= 1 + 1e-8)
    if n <= 2 or np.all(y >= 0) or np.all(y <= 0):
        assert found.optimal


@pytest.mark.parametrize("n", [2, 3, 4])
def test_fewest_neurons_on_other_data(n):
    """Lemma 10 on rows of any kind: by the gauge at the only multiplier that can prove it."""
    answers = set()
    for seed in range(8):
        rng = np.random.default_rng(seed)
        X, y = rng.standard_normal((n, n + 3 * (seed % 2))), rng.standard_normal(n)
        found, best = minimal_network(X, y), extremal.min_norm(X, y)
        assert found.optimal == (found.value <= best.value * (1 + 4e-6))
        assert found.lower <= best.value * (1 + 1e-9)
        answers.add(found.optimal)
    assert False in answers
    assert True in answers or n == 4


def test_orthogonal_rows_are_optimal():
    rng = np.random.default_rng(3)
    X, y = datasets.whitened(6, 8)[0] * rng.uniform(0.1, 10, (6, 1)), rng.standard_normal(6)
    found = minimal_network(X, y)
    assert found.optimal
    assert found.value == pytest.approx(orthogonal_min_norm(X, y).value, rel=1e-12)
    np.testing.assert_allclose(found.lam, orthogonal_min_norm(X, y).lam, rtol=1e-9)


def test_fewest_neurons_are_not_the_smallest_network():
    """As 2.02119 > 2.02098 (errata): rows with M-matrix (X X^T)^-1 where p + q has a negative entry."""
    H = np.array([[1.0, -0.6, 0.0], [-0.6, 1.0, -0.6], [0.0, -0.6, 1.0]])
    X, y = np.linalg.cholesky(np.linalg.inv(H)), np.array([1.0, 0.2, -1.0])
    found, best = minimal_network(X, y), spike_free_min_norm(X, y)
    p, q = H @ np.maximum(y, 0), H @ np.maximum(-y, 0)
    p, q = p / np.sqrt(p @ np.maximum(y, 0)), q / np.sqrt(q @ np.maximum(-y, 0))
    assert np.min(p + q) < 0
    assert not found.optimal
    assert best.value * (1 + 1e-4) < found.value
    assert "not the smallest" in str(found)


def test_one_sign_with_zeros_may_stay_open():
    """Many multipliers are then possible; what is said is proved."""
    for seed in range(12):
        rng = np.random.default_rng(seed)
        X, y = rng.standard_normal((3, 4)), np.array([1.0, 0.0, 2.0])
        found, best = minimal_network(X, y), extremal.min_norm(X, y).value
        if found.optimal is not None:
            assert found.optimal == (found.value <= best * (1 + 4e-6))
        assert found.lower <= best * (1 + 1e-9)


@pytest.mark.parametrize("scale", [1e-140, 1e-3, 1e140])
def test_scales_of_the_network_of_fewest_neurons(scale):
    X, y = np.random.default_rng(0).standard_normal((3, 5)), np.array([1.0, -2.0, 0.5])
    one, other = minimal_network(X, y), minimal_network(scale * X, y)
    assert other.value == pytest.approx(one.value / scale, rel=1e-10)
    assert other.optimal == one.optimal
    np.testing.assert_allclose(other.network.predict(scale * X)[:, 0], y, rtol=1e-9)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: spike_free_distance([[np.nan]]), "NaN"),
        (lambda: spike_free_distance(np.ones(3)), "two-dimensional"),
        (lambda: spike_free_fit([[1.0, 0.0], [-1.0, 1.0]], [1, 1], beta=1), "not spike-free"),
        (lambda: spike_free_min_norm([[1.0], [-1.0]], [1, 1]), "not spike-free"),
        (lambda: spike_free_max_margin(np.ones((2, 1)), [1, -1]), "rows of one direction, or zero rows, have a label"),
        (lambda: spike_free_min_norm(np.ones((2, 1)), [1, 2]), "rows of one direction, or zero rows, have a target"),
        (lambda: spike_free_min_norm(np.eye(2), [0, 0]), "not all zero"),
        (lambda: spike_free_fit(np.eye(2), np.eye(2), beta=1), "one output"),
        (lambda: spike_free_fit(np.eye(2), [1, 2], beta=-1), "beta must be positive"),
        (lambda: spike_free_max_margin(np.eye(2), [1, 2]), "labels"),
        (lambda: minimal_network([[1.0, 0], [2, 0]], [1, 1]), "not linearly independent"),
        (lambda: minimal_network(np.ones((3, 2)), [1, 1, 1]), "not linearly independent"),
        (lambda: minimal_network([[0.0, 0], [2, 0]], [1, 1]), "not linearly independent"),
        (lambda: minimal_network(np.eye(2), [0, 0]), "not all zero"),
        (lambda: minimal_network(np.eye(2), np.eye(2)), "one column"),
        (lambda: minimal_network(np.eye(2), [1]), "rows and y"),
        (lambda: minimal_network(np.eye(2), [1, np.inf]), "infinity"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_lengths_beyond_double_precision_are_not_taken_for_conflicts():
    X, y = np.diag([1e-8, 1.0, 1e8]), [1.0, -1.0, 2.0]
    assert orthogonal_min_norm(X, y).value == pytest.approx(1e8, rel=1e-6)  # there is a network
    for call in (lambda: spike_free_min_norm(X, y), lambda: spike_free_max_margin(X, np.sign(y))):
        with pytest.raises(ValueError, match="beyond double precision"):
            call()


@pytest.mark.parametrize("options", [{"tol": 0.0}, {"tol": -1.0}, {"time_limit": -1.0}, {"time_limit": 0.0}])
def test_limits_have_to_be_positive(options):
    X, y = np.eye(2), np.array([1.0, -1.0])
    with pytest.raises(ValueError, match="must be positive"):
        spike_free_distance(X, **options)
    with pytest.raises(ValueError, match="must be positive"):
        minimal_network(X, y, **options)
