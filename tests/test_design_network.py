"""The data matrix and the network: products, the row space, and the moves that keep what a network computes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from extremal.design import Array, Design
from extremal.network import Network, remove_dependencies

many = settings(max_examples=50)


def random_matrix(rng: np.random.Generator) -> Array:
    """Gaussian or integer, with repeated, zero and collinear parts, wide and tall."""
    n, d = int(rng.integers(1, 8)), int(rng.integers(1, 6))
    X = rng.normal(size=(n, d)) if rng.random() < 0.5 else rng.integers(-2, 3, size=(n, d)).astype(float)
    if rng.random() < 0.3:
        X[:, -1] = 2 * X[:, 0]
    if rng.random() < 0.3:
        X[rng.random(n) < 0.4] = 0
    return X


def random_network(rng: np.random.Generator, d: int, *, bias: bool = False, c: int | None = None) -> Network:
    """Unbalanced, with dead neurons, exact copies and neurons in the same direction."""
    m, c = int(rng.integers(0, 9)), int(rng.integers(1, 4)) if c is None else c
    hidden = rng.normal(size=(d + bias, m)) * 10.0 ** rng.uniform(-3, 3, m)
    output = rng.normal(size=(m, c)) * 10.0 ** rng.uniform(-3, 3, (m, 1))
    if m > 2:
        hidden[:, 1], output[1] = 3 * hidden[:, 0], 0.5 * output[0]
        hidden[:, 2] = 0
    if m > 4:
        output[3] = 0
        hidden[:, 4] = hidden[:, 0]
    return Network(hidden, output, rng.normal(size=c) if rng.random() < 0.5 else None, bias=bias)


# ---------------------------------------------------------------------------------------------------------- design


@many
@given(st.integers(0, 10**6))
def test_products_dense_and_sparse(seed: int) -> None:
    rng = np.random.default_rng(seed)
    X = random_matrix(rng)
    n, d = X.shape
    U, R, w = rng.normal(size=(d, 3)), rng.normal(size=(n, 2)), rng.normal(size=n) * (rng.random(n) < 0.7)
    index = rng.integers(0, n, 4)
    for kind in (np.asarray, sparse.csr_matrix, sparse.csr_array, sparse.coo_matrix):
        for bias in (False, True):
            design = Design.from_data(kind(X), bias=bias)
            A = np.column_stack([X, np.ones(n)]) if bias else X
            V = np.vstack([U, np.ones((1, 3))]) if bias else U
            assert (design.n, design.d) == A.shape
            np.testing.assert_allclose(design.forward(V), A @ V, rtol=1e-13, atol=1e-13)
            np.testing.assert_allclose(design.adjoint(R), A.T @ R, rtol=1e-13, atol=1e-13)
            np.testing.assert_allclose(design.gram(w), A.T @ np.diag(w) @ A, rtol=1e-12, atol=1e-12)
            np.testing.assert_allclose(design.row_norms, np.linalg.norm(A, axis=1), rtol=1e-14)
            np.testing.assert_array_equal(design.rows(index), A[index])
            np.testing.assert_array_equal(design.dense(), A)
            np.testing.assert_array_equal(design.scaled(0.25).dense(), 0.25 * A)
            np.testing.assert_allclose(design.scale_rows(w).adjoint(R), (w[:, None] * A).T @ R, atol=1e-12)
            assert design.magnitude / 4 <= max(np.linalg.norm(A, axis=1).max(), 0) <= design.magnitude or not A.any()


@many
@given(st.integers(0, 10**6))
def test_the_row_space_gives_the_same_outputs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    X = random_matrix(rng)
    design = Design.from_data(X)
    reduced, basis = design.row_space()
    assert reduced.d == max(np.linalg.matrix_rank(X), 1)
    if basis is None:
        assert reduced is design
        return
    np.testing.assert_allclose(basis.T @ basis, np.eye(reduced.d), atol=1e-13)
    W = rng.normal(size=(reduced.d, 3))
    np.testing.assert_allclose(design.forward(basis @ W), reduced.forward(W), atol=1e-12)
    outside = rng.normal(size=(design.d, 3))
    np.testing.assert_allclose(reduced.forward(basis.T @ outside), X @ outside, atol=1e-12)


@pytest.mark.parametrize("size", [1e-150, 1e-100, 1e-10, 1.0, 1e100, 1e149])
def test_magnitude_of_extreme_rows(size: float) -> None:
    X = size * np.array([[3.0, 4.0], [0.0, 0.0], [-1.0, 1.0]])
    magnitude = Design.from_data(X).magnitude
    assert 0.5 * magnitude <= 5 * size <= 2 * magnitude
    assert np.frexp(magnitude)[0] == 0.5


def test_types_that_users_bring() -> None:
    pandas, polars = pytest.importorskip("pandas"), pytest.importorskip("polars")
    X = np.array([[1.0, 2.0], [3.0, 4.5]])
    for given_X in (
        X.tolist(),
        pandas.DataFrame(X),
        polars.DataFrame(X),
        X.astype(np.float32),
        np.asfortranarray(X),
    ):
        design = Design.from_data(given_X)
        assert design.X.dtype == np.float64
        np.testing.assert_array_equal(design.dense(), X)
    np.testing.assert_array_equal(Design.from_data(np.eye(2, dtype=int)).dense(), np.eye(2))
    np.testing.assert_array_equal(Design.from_data(np.eye(2, dtype=bool)).dense(), np.eye(2))


def test_the_user_s_data_are_not_changed() -> None:
    X = np.array([[1.0, 2.0], [3.0, 4.0]])
    before = X.copy()
    Design.from_data(X, bias=True).scaled(2.0)
    np.testing.assert_array_equal(X, before)


# --------------------------------------------------------------------------------------------------------- network


def same_function(one: Network, other: Network, X: Array) -> None:
    size = np.abs(one.predict(X) - one.intercept).max(initial=0.0) + np.abs(one.intercept).max() + 1e-12
    scale = max(size, float((one.strength.sum() if one.width else 0) * np.linalg.norm(X, axis=1).max(initial=0)))
    np.testing.assert_allclose(other.predict(X), one.predict(X), rtol=0, atol=1e-11 * scale)


@many
@given(st.integers(0, 10**6))
def test_moves_keep_the_function_and_never_raise_the_penalty(seed: int) -> None:
    rng = np.random.default_rng(seed)
    X = random_matrix(rng)
    bias = bool(rng.random() < 0.5)
    net = random_network(rng, X.shape[1], bias=bias)
    design = Design.from_data(X, bias=bias)
    balanced, merged, pruned = net.balance(), net.merge(), net.prune(X)
    for moved in (balanced, merged, pruned):
        same_function(net, moved, X)
        assert moved.penalty() <= net.penalty() * (1 + 1e-12)
        assert moved.bias == bias
    fresh = rng.normal(size=(5, X.shape[1]))
    same_function(net, balanced, fresh)
    same_function(net, merged, fresh)
    inner, outer = np.linalg.norm(balanced.hidden, axis=0), np.linalg.norm(balanced.output, axis=1)
    np.testing.assert_allclose(inner, outer, rtol=1e-12)
    assert balanced.penalty() == pytest.approx(net.strength.sum(), rel=1e-12)
    assert merged.width <= balanced.width
    Z = np.maximum(design.forward(balanced.hidden), 0)
    fits = np.einsum("ij,jk->ikj", Z, balanced.output).reshape(Z.shape[0] * net.n_outputs, -1) if Z.size else Z
    rank = np.linalg.matrix_rank(fits / np.maximum(np.linalg.norm(fits, axis=0), 1e-300)) if fits.size else 0
    assert pruned.width <= rank <= X.shape[0] * net.n_outputs


def test_merge_drops_neurons_whose_strength_underflows() -> None:
    net = Network([[1e-300, 1.0]], [1e-300, 2.0]).merge()
    assert net.width == 1
    assert Network([[1e-300]], [1e-300]).merge().width == 0


def test_merge_joins_copies() -> None:
    hidden, output = np.array([[1.0, 2.0, -1.0], [1.0, 2.0, 0.0]]), np.array([1.0, 3.0, 1.0])
    merged = Network(hidden, output).merge()
    assert merged.width == 2
    split = Network(np.hstack([hidden, hidden]) / np.sqrt(2), np.concatenate([output, output]) / np.sqrt(2))
    assert split.merge().width == 2
    assert split.merge().penalty() == pytest.approx(merged.penalty())


@pytest.mark.parametrize("bias", [False, True])
def test_the_network_without_neurons(bias: bool) -> None:
    net = Network.zero(3, 2, bias=bias)
    X = np.ones((4, 3))
    assert (net.width, net.n_features, net.n_outputs) == (0, 3, 2)
    for moved in (net, net.balance(), net.merge(), net.prune(X)):
        assert moved.width == 0
        np.testing.assert_array_equal(moved.predict(X), np.zeros((4, 2)))
    assert net.penalty() == 0


def test_dead_and_cancelling_neurons_are_pruned_away() -> None:
    X = np.array([[1.0, 0.0], [0.0, 1.0]])
    silent = Network(np.array([[-1.0], [-1.0]]), np.array([2.0]))
    assert silent.prune(X).width == 0
    cancelling = Network(np.array([[1.0, 1.0], [1.0, 1.0]]), np.array([2.0, -2.0]))
    assert cancelling.prune(X).width == 0


@many
@given(st.integers(0, 10**6))
def test_remove_dependencies(seed: int) -> None:
    rng = np.random.default_rng(seed)
    N, m, r = int(rng.integers(1, 6)), int(rng.integers(1, 12)), int(rng.integers(1, 4))
    fits = rng.normal(size=(N, min(r, N))) @ rng.normal(size=(min(r, N), m))
    cost = rng.uniform(0, 1, m) * (rng.random(m) < 0.8)
    share = remove_dependencies(fits, cost)
    assert share.min() >= 0
    assert (share > 0).sum() <= np.linalg.matrix_rank(fits)
    np.testing.assert_allclose(fits @ share, fits.sum(axis=1), atol=1e-10 * np.abs(fits).sum())
    assert cost @ share <= cost.sum() * (1 + 1e-12)


def test_objective_is_the_definition() -> None:
    rng = np.random.default_rng(0)
    X, y, w = rng.normal(size=(5, 2)), rng.normal(size=5), rng.uniform(size=5)
    net = random_network(rng, 2, bias=True, c=1)
    F = np.maximum(np.column_stack([X, np.ones(5)]) @ net.hidden, 0) @ net.output + net.intercept
    expected = 0.5 * w @ (F[:, 0] - y) ** 2 + 0.3 * 0.5 * ((net.hidden**2).sum() + (net.output**2).sum())
    assert net.objective(X, y, beta=0.3, sample_weight=w) == pytest.approx(expected, rel=1e-14)


def test_save_and_load(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    for k in range(6):
        net = random_network(rng, 3, bias=bool(k % 2))
        net.save(tmp_path / "net.npz")
        again = Network.load(tmp_path / "net.npz")
        for name in ("hidden", "output", "intercept", "bias"):
            np.testing.assert_array_equal(getattr(again, name), getattr(net, name))
    np.savez(tmp_path / "other.npz", hidden=np.ones((2, 1)))
    with pytest.raises(ValueError, match="no output"):
        Network.load(tmp_path / "other.npz")


@pytest.mark.parametrize(
    ("hidden", "output", "intercept", "message"),
    [
        (np.ones((2, 3)), np.ones(2), None, "same m"),
        (np.ones(3), np.ones(3), None, "same m"),
        (np.ones((2, 3)), np.ones((3, 2)), np.ones(3), "intercept must have shape"),
        (np.array([[np.nan]]), np.ones(1), None, "NaN or infinite"),
        (np.ones((1, 1)), np.array([np.inf]), None, "NaN or infinite"),
        (np.ones((1, 1)), np.ones(1), np.array([np.nan]), "NaN or infinite"),
    ],
)
def test_impossible_networks(hidden: Array, output: Array, intercept: Array | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Network(hidden, output, intercept)


def test_data_with_other_features() -> None:
    net = Network(np.ones((3, 1)), np.ones(1), bias=True)
    with pytest.raises(ValueError, match="2 features, X has 3"):
        net.predict(np.ones((4, 3)))
    with pytest.raises(ValueError, match="NaN"):
        net.predict(np.full((4, 2), np.nan))
