"""Layer-wise training: the ideal Gram matrix, its alignment, and stacks of certified networks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import check_grad

import extremal
from extremal.closed_forms import gram_alignment, ideal_gram, ideal_hidden, stack, stacked_features, train_layerwise
from extremal.closed_forms.layerwise import _alignment

seeds = st.integers(0, 2**32 - 1)


@settings(max_examples=60, deadline=None)
@given(seeds, st.integers(2, 8), st.floats(0, 1))
def test_no_gram_matrix_has_larger_margins_than_the_ideal_one(seed, n, low):
    rng = np.random.default_rng(seed)
    y, alpha = rng.choice([-1.0, 1.0], n), rng.exponential(size=n)
    G = rng.uniform(low, 1, (n, n))
    best = y * (ideal_gram(y, other=low) @ (alpha * y))
    assert np.all(y * (G @ (alpha * y)) <= best + 1e-12)


@settings(max_examples=40, deadline=None)
@given(seeds, st.integers(3, 9), st.integers(1, 5), st.integers(2, 3))
def test_alignment_is_that_of_centred_matrices(seed, n, m, k):
    rng = np.random.default_rng(seed)
    y = np.append(np.arange(k), rng.integers(0, k, n - k if n > k else 0))
    H = rng.standard_normal((y.size, m))
    C = np.eye(y.size) - 1 / y.size
    G, T = C @ H @ H.T @ C, C @ ideal_gram(y) @ C
    expected = np.vdot(G, T) / (np.linalg.norm(G) * np.linalg.norm(T))
    np.testing.assert_allclose(gram_alignment(H, y), expected, rtol=1e-9)
    Q = np.linalg.qr(rng.standard_normal((m, m)))[0]
    np.testing.assert_allclose(gram_alignment(3.7 * H @ Q + 5.0, y), expected, rtol=1e-7)  # rotated, scaled, moved
    Y = (y[:, None] == np.arange(k)) * 1.0
    error = check_grad(
        lambda h: _alignment(h.reshape(H.shape), Y)[0],
        lambda h: _alignment(h.reshape(H.shape), Y)[1].ravel(),
        H.ravel(),
    )
    assert error < 1e-5


@settings(max_examples=30, deadline=None)
@given(seeds, st.integers(2, 6), st.integers(0, 4))
def test_full_row_rank_reaches_the_ideal(seed, n, more):
    rng = np.random.default_rng(seed)
    X, y = rng.standard_normal((n, n + more)), np.append([0, 1], rng.integers(0, 3, n - 2))
    H = np.maximum(X @ ideal_hidden(X, y), 0)
    np.testing.assert_allclose(H @ H.T, ideal_gram(y), atol=1e-7)
    assert gram_alignment(H, y) == pytest.approx(1.0, abs=1e-7)


def test_optimal_networks_on_whitened_data_have_ideal_features():
    X = np.linalg.qr(np.random.default_rng(0).standard_normal((7, 5)))[0].T
    y = np.array([0, 0, 0, 1, 1])
    net = extremal.fit(X, np.eye(2)[y], beta=0.3, bias="none").network
    H = np.maximum(X @ net.hidden, 0)
    assert gram_alignment(H / np.linalg.norm(H, axis=1, keepdims=True), y) == pytest.approx(1.0, abs=1e-6)


@settings(max_examples=20, deadline=None)
@given(seeds)
def test_training_a_layer_improves_what_it_reports(seed):
    rng = np.random.default_rng(seed)
    X, y = rng.standard_normal((20, 3)), np.arange(20) % 2
    before, after = (train_layerwise(X, y, 5, iterations=k, random_state=seed).alignments[1] for k in (1, 30))
    assert after >= before


def test_every_layer_is_better_aligned_and_separates():
    X, y = extremal.datasets.xor(60, 4, random_state=1)
    result = train_layerwise(X, y, [20, 20], random_state=3)
    assert np.all(np.diff(result.alignments) > 0)
    H = result.features(X)
    assert gram_alignment(H, y) == pytest.approx(result.alignments[-1], abs=1e-12)
    G = H @ H.T
    same = y[:, None] == y
    assert G[same].mean() > 0.9 > 0.5 > G[~same].mean()
    again = train_layerwise(X, y, [20, 20], random_state=3)
    assert all(np.array_equal(a, b) for a, b in zip(result.layers, again.layers, strict=True))


def test_stacked_networks_are_certified_on_the_features_of_the_one_before():
    X, y = extremal.datasets.xor(40, 2, random_state=0)
    results = stack(X, y, depth=3, fraction=0.2)
    H = X
    for result in results:
        beta = 0.2 * extremal.beta_max(H, y)
        assert result.certificate.gap < 1e-4
        assert result.network.objective(H, y, beta=beta) == pytest.approx(result.certificate.primal, rel=1e-9)
        H = stacked_features(result, H)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda X, y: train_layerwise(X, y, []), "widths"),
        (lambda X, y: train_layerwise(X, y, [0]), "widths"),
        (lambda X, y: train_layerwise(X, y, [2.5]), "widths"),
        (lambda X, y: train_layerwise(X, y[:-1], [2]), "rows"),
        (lambda X, y: train_layerwise(X, np.zeros(len(X)), [2]), "single class"),
        (lambda X, y: train_layerwise(X * np.nan, y, [2]), "NaN|finite"),
        (lambda X, y: ideal_hidden(X, y), "full row rank"),
        (lambda X, y: ideal_gram(np.zeros((2, 2))), "shape"),
        (lambda X, y: gram_alignment(X, y[:, None]), "shape"),
        (lambda X, y: stack(X, y, depth=0, fraction=0.1), "depth"),
        (lambda X, y: stack(X, y, depth=1, fraction=1.0), "fraction"),
    ],
)
def test_bad_input(call, match):
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match=match):
        call(rng.standard_normal((6, 2)), np.array([0, 1, 0, 1, 1, 0]))


def test_constant_features_have_no_alignment():
    assert gram_alignment(np.ones((4, 2)), [0, 1, 0, 1]) == 0.0


def test_layers_know_their_features():
    result = train_layerwise(np.eye(4), [0, 1, 0, 1], 2, iterations=3)
    with pytest.raises(ValueError, match="X has 2 features, the layers were trained on 4"):
        result.features(np.eye(2))
