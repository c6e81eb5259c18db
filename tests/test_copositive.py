"""Several outputs: the copositive program against its relaxation, certified training, CVXPY and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.optimize import minimize

import extremal
from extremal.closed_forms import (
    compare_penalties,
    copositive_program,
    is_spike_free,
    nonnegative_maximum,
    nuclear_program,
    separate_outputs,
    soft_thresholded_svd,
)
from extremal.closed_forms.completely_positive import rotate
from extremal.closed_forms.copositive import facets
from extremal.design import Array

few = settings(max_examples=15, deadline=None, derandomize=True)

#: X X^T = I: five rows of six columns and targets on which the relaxation is not exact.
INEXACT_SEED = 44


def whitened(n: int, d: int, rng: np.random.Generator) -> Array:
    return np.linalg.qr(rng.normal(size=(d, n)))[0].T


def spike_free(n: int, rng: np.random.Generator) -> Array:
    """X X^T the inverse of an M-matrix."""
    H = -0.3 * np.abs(rng.normal(size=(n, n)))
    H = (H + H.T) / 2
    np.fill_diagonal(H, 0.0)
    np.fill_diagonal(H, 0.3 - H.sum(axis=1))
    return np.linalg.cholesky(np.linalg.inv(H)) @ np.linalg.qr(rng.normal(size=(n, n)))[0]


def thresholded(s: Array, beta: float) -> float:
    return float(np.where(s >= beta, beta * s - beta**2 / 2, s**2 / 2).sum())


def attained(X: Array, lam: Array, rng: np.random.Generator, size: int = 2000) -> float:
    """The largest |lam^T (Xu)_+| over random unit vectors u and short ascents from the best of them."""
    U = rng.normal(size=(X.shape[1], size))
    best = 0.0
    for _ in range(30):
        U /= np.maximum(np.linalg.norm(U, axis=0), 1e-300)
        Z = X @ U
        V = lam.T @ np.maximum(Z, 0)
        best = max(best, float(np.linalg.norm(V, axis=0).max()))
        U = X.T @ ((Z > 0) * (lam @ V))
    return best


# ------------------------------------------------------------------------------------------------ the quadratic form


@few
@given(n=st.integers(1, 4), c=st.integers(1, 5), seed=st.integers(0, 10**6))
def test_up_to_four_rows_the_relaxation_of_the_form_is_exact(n: int, c: int, seed: int) -> None:
    """5.2: at n <= 4 the doubly nonnegative bound is the maximum, and the largest eigenvalue is above both."""
    lam = np.random.default_rng(seed).normal(size=(n, c))
    found = nonnegative_maximum(lam @ lam.T)
    assert found.gap <= 1e-9
    assert found.upper <= found.eigenvalue * (1 + 1e-12)
    assert found.z.min() >= 0
    assert np.linalg.norm(found.z) == pytest.approx(1)
    assert found.z @ lam @ lam.T @ found.z == pytest.approx(found.lower, rel=1e-12)
    gauge = extremal.gauge(np.eye(n), lam, tol=1e-3, time_limit=1)
    assert gauge.lower**2 <= found.upper * (1 + 1e-9)
    assert gauge.upper**2 >= found.lower * (1 - 1e-9)


@pytest.mark.filterwarnings("ignore:Solution may be inaccurate")
@pytest.mark.parametrize(("n", "seed"), [(3, 0), (8, 2), (15, 3)])
def test_the_bound_of_the_form_is_the_semidefinite_program_of_cvxpy(n: int, seed: int) -> None:
    cp = pytest.importorskip("cvxpy")
    K = np.random.default_rng(seed).normal(size=(n, n))
    K = K + K.T
    Z = cp.Variable((n, n), PSD=True)
    value = cp.Problem(cp.Maximize(cp.trace(K @ Z)), [cp.trace(Z) == 1, Z >= 0]).solve(solver="CLARABEL")
    found = nonnegative_maximum(K)
    assert found.upper == pytest.approx(value, rel=1e-6)
    assert np.linalg.eigvalsh(K + found.N)[-1] <= found.upper
    assert found.N.min() >= 0
    assert found.lower <= found.upper


def test_a_form_whose_relaxation_is_not_exact() -> None:
    """Horn's matrix H is copositive but not a sum of a semidefinite and a nonnegative matrix."""
    row = np.array([1.0, -1, 1, 1, -1])
    horn = np.array([np.roll(row, k) for k in range(5)])
    found = nonnegative_maximum(-horn)
    assert found.lower == pytest.approx(0.0, abs=1e-12)
    assert found.upper > 0.1
    # the dual of the relaxation attains the gap: <-H, Z> at a doubly nonnegative Z that is not completely positive
    assert -np.vdot(horn, found.Z) == pytest.approx(found.upper, abs=1e-7)


def test_forms_of_one_sign_and_bad_forms() -> None:
    assert nonnegative_maximum(np.zeros((3, 3))).upper == 0.0
    negative = nonnegative_maximum(-np.eye(3) - 1)
    assert negative.lower == pytest.approx(-2)
    assert negative.upper == pytest.approx(-2, abs=1e-8)
    for size in (1e-200, 1e200):
        found = nonnegative_maximum(size * (np.eye(4) + 1))
        assert found.upper / size == pytest.approx(5, rel=1e-8)
    for bad in (np.ones((2, 3)), np.array([[0.0, 1], [0, 0]]), np.full((2, 2), np.nan), np.zeros((0, 0))):
        with pytest.raises(ValueError, match="K"):
            nonnegative_maximum(bad)


@few
@given(n=st.integers(1, 4), c=st.integers(1, 4), seed=st.integers(0, 10**6))
def test_factors_in_the_orthant(n: int, c: int, seed: int) -> None:
    """A completely positive matrix of a known factor is rotated back into the orthant."""
    rng = np.random.default_rng(seed)
    B = np.maximum(rng.normal(size=(n, c)), 0)
    L = B @ np.linalg.qr(rng.normal(size=(c, c)))[0]
    Q = rotate(L)
    np.testing.assert_allclose(Q @ Q.T, np.eye(c), atol=1e-12)
    assert (L @ Q).min() >= -(1e-9 if c <= 2 else 1e-3)


# -------------------------------------------------------------------------------------------------- the closed form


@few
@given(
    sizes=st.lists(st.integers(1, 4), min_size=1, max_size=4),
    beta=st.sampled_from([0.05, 0.4, 1.0, 1.7, 5.0]),
    obtuse=st.booleans(),
    seed=st.integers(0, 10**6),
)
def test_soft_thresholding(sizes: list[int], beta: float, obtuse: bool, seed: int) -> None:
    """5.3: nonnegative left singular vectors; and groups at more than 90 degrees, where it is no SVD any more."""
    rng = np.random.default_rng(seed)
    n, k = sum(sizes), len(sizes)
    directions = np.eye(k) - obtuse * np.ones((k, k)) / k if k > 1 else np.eye(1)
    directions = directions @ np.linalg.qr(rng.normal(size=(k + 1, k)))[0].T
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    Y = np.repeat(directions, sizes, axis=0) * rng.uniform(0.2, 2, size=(n, 1))
    order = rng.permutation(n)
    X, Y = whitened(n, n + 1, rng), Y[order]
    form = soft_thresholded_svd(X, Y, beta=beta)
    assert form.network.objective(X, Y, beta=beta) == pytest.approx(form.value, rel=1e-9)
    assert nonnegative_maximum(form.lam @ form.lam.T).upper <= beta**2 * (1 + 1e-8)
    assert np.vdot(form.lam, Y) - 0.5 * np.vdot(form.lam, form.lam) == pytest.approx(form.value, rel=1e-9)
    if not obtuse or k == 1:
        assert form.value == pytest.approx(thresholded(np.linalg.svd(Y, compute_uv=False), beta), rel=1e-9)
    program = copositive_program(X, Y, beta=beta)
    assert program.dual_value <= form.value * (1 + 1e-12)
    assert program.dual_value == pytest.approx(form.value, rel=1e-6)
    assert program.value == pytest.approx(form.value, rel=1e-6)


def test_numbers_of_the_closed_form() -> None:
    """5.3: 1.12 = 1.12 (classes of 1, 1, 4, 4 at beta = .2: .2 (1 + 1 + 2 + 2) - 4 .02), and 3.9: 1.0985057."""
    for sizes, beta, value, digits in (([1, 1, 4, 4], 0.2, 1.12, 1e-12), ([3, 2], 0.4, 1.0985057, 1e-7)):
        X = whitened(sum(sizes), 12, np.random.default_rng(0))
        Y = np.repeat(np.eye(len(sizes)), sizes, axis=0)
        assert soft_thresholded_svd(X, Y, beta=beta).value == pytest.approx(value, rel=digits)
        program = copositive_program(X, Y, beta=beta)
        assert program.exact
        assert program.value == pytest.approx(value, rel=1e-7)
        assert nuclear_program(X, Y, beta=beta).value == pytest.approx(value, rel=1e-7)
        assert extremal.fit(X, Y, beta=beta, bias="none", time_limit=2).certificate.primal == pytest.approx(value)


def test_one_output_is_two_groups() -> None:
    """3.7: the two signs of y."""
    rng = np.random.default_rng(3)
    X, y = whitened(6, 8, rng), rng.normal(size=6)
    sizes = np.array([np.linalg.norm(np.maximum(y, 0)), np.linalg.norm(np.maximum(-y, 0))])
    assert soft_thresholded_svd(X, y, beta=0.4).value == pytest.approx(thresholded(sizes, 0.4), rel=1e-12)


def test_generic_targets_are_above_the_soft_thresholded_svd() -> None:
    """5.3: for generic Y the SVD is a lower bound only; it is the optimum of the linear networks."""
    rng = np.random.default_rng(0)
    X, Y = whitened(4, 5, rng), rng.normal(size=(4, 3))
    linear = nuclear_program(X, Y, beta=0.4)
    assert linear.value == pytest.approx(thresholded(np.linalg.svd(Y, compute_uv=False), 0.4), rel=1e-7)
    assert linear.dual_value == pytest.approx(linear.value, rel=1e-7)
    assert copositive_program(X, Y, beta=0.4).dual_value > 1.1 * linear.value
    with pytest.raises(ValueError, match="neither parallel nor at 90 degrees"):
        soft_thresholded_svd(X, Y, beta=0.4)
    with pytest.raises(ValueError, match="not orthonormal"):
        soft_thresholded_svd(2 * X, np.eye(4), beta=0.4)


# ------------------------------------------------------------------------------------------------------ the program


def check(X: Array, Y: Array, beta: float, *, exact: bool | None = True, seconds: float = 1.0) -> None:
    """The bound, the network, and the certified value of training; the multiplier under attack."""
    found = copositive_program(X, Y, beta=beta)
    trained = extremal.fit(X, Y, beta=beta, bias="none", time_limit=seconds).certificate
    assert found.network.objective(X, Y, beta=beta) == pytest.approx(found.value, rel=1e-12)
    assert found.dual_value <= found.value
    assert found.dual_value <= trained.primal * (1 + 1e-12)
    assert trained.dual <= found.value * (1 + 1e-12)
    lam = found.lam
    assert np.vdot(lam, Y) - 0.5 * np.vdot(lam, lam) == pytest.approx(found.dual_value, rel=1e-9, abs=1e-12)
    assert attained(X, lam, np.random.default_rng(0)) <= beta * (1 + 1e-12)
    if exact:
        assert found.exact, str(found)
        assert found.value == pytest.approx(trained.primal, rel=2e-6)
        assert not found.inexact


@settings(max_examples=6, deadline=None, derandomize=True)
@given(
    n=st.integers(1, 4),
    c=st.integers(1, 4),
    beta=st.sampled_from([0.05, 0.3, 1.0]),
    kind=st.sampled_from(["whitened", "orthogonal", "spike-free"]),
    seed=st.integers(0, 10**6),
)
def test_up_to_four_rows_the_program_is_exact(n: int, c: int, beta: float, kind: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    X = whitened(n, n + 1, rng) if kind != "spike-free" else spike_free(n, rng)
    X = X * rng.uniform(0.3, 3, size=(n, 1)) if kind == "orthogonal" else X
    check(X, rng.normal(size=(n, c)), beta)


@pytest.mark.parametrize(("n", "d", "c", "seed"), [(5, 2, 3, 0), (6, 2, 2, 1), (5, 3, 2, 2)])
def test_cell_by_cell(n: int, d: int, c: int, seed: int) -> None:
    """5.1: general data; in the plane every cell has two sides, so that it is always exact."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d))
    assert not is_spike_free(X)
    check(X, rng.normal(size=(n, c)), 0.2)


def test_degenerate_rows() -> None:
    """Zero rows, repeated and opposite rows; spike-free with repeated directions; one sample."""
    rng = np.random.default_rng(5)
    A = spike_free(3, rng)
    check(np.vstack([A, 2 * A[:1], np.zeros((1, 3)), A[1:2]]), rng.normal(size=(6, 2)), 0.3)
    check(np.vstack([A[:2], -A[:1], np.zeros((1, 3)), A[1:2]])[:, :2], rng.normal(size=(5, 2)), 0.3)
    check(rng.normal(size=(1, 3)), rng.normal(size=(1, 2)), 0.3)
    zero = copositive_program(np.zeros((2, 2)), np.ones((2, 2)), beta=0.5)
    assert zero.value == 2.0
    assert zero.exact
    assert zero.network.width == 0


@pytest.mark.parametrize(("stretch", "size"), [(1e-6, 1e5), (1e4, 1e-7)])
def test_scales(stretch: float, size: float) -> None:
    rng = np.random.default_rng(6)
    X, Y = whitened(4, 5, rng), rng.normal(size=(4, 2))
    base = copositive_program(X, Y, beta=0.3)
    scaled = copositive_program(stretch * X, size * Y, beta=0.3 * stretch * size)
    assert scaled.value == pytest.approx(base.value * size**2, rel=1e-8)
    assert scaled.dual_value == pytest.approx(base.dual_value * size**2, rel=1e-8)


def test_a_large_penalty_leaves_the_zero_network() -> None:
    rng = np.random.default_rng(7)
    X, Y = whitened(3, 3, rng), rng.normal(size=(3, 2))
    limit = float(np.sqrt(nonnegative_maximum(Y @ Y.T).upper))
    above, below = copositive_program(X, Y, beta=1.01 * limit), copositive_program(X, Y, beta=0.95 * limit)
    assert above.value == pytest.approx(0.5 * np.vdot(Y, Y), rel=1e-6)
    assert above.exact
    assert below.value < 0.5 * np.vdot(Y, Y) * (1 - 1e-4)


@pytest.mark.filterwarnings("ignore:Solution may be inaccurate")
@pytest.mark.parametrize(("n", "seed"), [(4, 0), (7, 1)])
def test_the_relaxation_is_the_program_of_cvxpy(n: int, seed: int) -> None:
    """min 1/2 |F - Y|^2 + beta/2 (tr Z + tr V), [Z F; F^T V] positive semidefinite, Z >= 0."""
    cp = pytest.importorskip("cvxpy")
    rng = np.random.default_rng(seed)
    X, Y, beta = whitened(n, n + 2, rng), rng.normal(size=(n, 3)), 0.3
    M = cp.Variable((n + 3, n + 3), PSD=True)
    objective = 0.5 * cp.sum_squares(M[:n, n:] - Y) + beta / 2 * cp.trace(M)
    value = cp.Problem(cp.Minimize(objective), [M[:n, :n] >= 0]).solve(solver="CLARABEL")
    found = copositive_program(X, Y, beta=beta)
    assert found.dual_value == pytest.approx(value, rel=1e-6)
    assert found.relaxed == pytest.approx(value, rel=1e-6)


def test_five_rows_on_which_the_relaxation_is_not_exact() -> None:
    """Doubly nonnegative is more than completely positive from order five on: training proves a larger bound."""
    rng = np.random.default_rng(INEXACT_SEED)
    X, Y = whitened(5, 6, rng), rng.normal(size=(5, 3))
    found = copositive_program(X, Y, beta=0.3)
    assert found.inexact
    assert not found.exact
    assert found.bound > found.relaxed * 1.007
    assert found.value >= found.bound
    assert "inexact" in str(found)


def test_unusable_arguments() -> None:
    rng = np.random.default_rng(8)
    X, Y = rng.normal(size=(4, 3)), rng.normal(size=(4, 2))
    with pytest.raises(ValueError, match="too many"):
        copositive_program(rng.normal(size=(20, 4)), rng.normal(size=(20, 2)), beta=0.1)
    for function in (copositive_program, nuclear_program, separate_outputs, compare_penalties, soft_thresholded_svd):
        with pytest.raises(ValueError, match="beta"):
            function(X, Y, beta=0.0)
        with pytest.raises(ValueError, match="rows"):
            function(X, Y[:3], beta=0.1)
        with pytest.raises(ValueError, match="NaN"):
            function(np.where(X > 0, np.nan, X), Y, beta=0.1)
    with pytest.raises(ValueError, match="tol"):
        copositive_program(X, Y, beta=0.1, tol=0)
    for patterns in (np.ones((1, 3)), 2 * np.ones((1, 4)), np.ones((0, 4))):
        with pytest.raises(ValueError, match="patterns"):
            nuclear_program(X, Y, beta=0.1, patterns=patterns)


def test_sparse_float32_and_data_frames_are_the_same_data() -> None:
    pandas = pytest.importorskip("pandas")
    X = np.array([[1.0, 0.5], [0.25, 2.0], [-1.0, 1.5]])
    Y = np.array([[1.0, 0.0], [0.5, -1.0], [0.0, 2.0]])
    value = copositive_program(X, Y, beta=0.25).value
    for form in (sparse.csr_array(X), X.astype(np.float32), pandas.DataFrame(X)):
        assert copositive_program(form, Y, beta=0.25).value == pytest.approx(value, rel=1e-9)


def test_facets_of_a_cone() -> None:
    sides = np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [0.6, 0.8, 0], [1, 0, 0]])
    np.testing.assert_allclose(facets(sides)[np.argsort(facets(sides) @ [1, 2, 3])], np.eye(3))


# -------------------------------------------------------------------------------------------------- other penalties


def test_separate_outputs_are_single_fits() -> None:
    """3.14: |lam^T (Xu)_+|_inf <= beta is one constraint for every output; the objective is a sum."""
    rng = np.random.default_rng(9)
    X, Y = rng.normal(size=(7, 3)), rng.normal(size=(7, 3))
    found = separate_outputs(X, Y, beta=0.3)
    singles = [extremal.fit(X, y, beta=0.3, bias="none").certificate for y in Y.T]
    assert found.value == pytest.approx(sum(single.primal for single in singles), rel=1e-6)
    assert found.gap <= 2e-6
    assert found.network.objective(X, Y, beta=0.3) == pytest.approx(found.value, rel=1e-9)
    assert (np.count_nonzero(found.network.output, axis=1) == 1).all()
    assert max(extremal.gauge(X, column).lower for column in found.lam.T) <= 0.3 * (1 + 1e-9)


@pytest.mark.parametrize(("n", "d", "seed"), [(5, 2, 0), (4, 3, 1)])
def test_the_order_of_the_penalties(n: int, d: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    X, Y = rng.normal(size=(n, d)), rng.normal(size=(n, 3))
    found = compare_penalties(X, Y, beta=0.2)
    assert found.gated <= found.relu * (1 + 1e-6)
    assert found.relu <= found.separate * (1 + 1e-6)
    assert found.gated <= found.gated_separate * (1 + 1e-6)
    assert found.gated_separate <= found.separate * (1 + 1e-6)
    assert found.separate == pytest.approx(separate_outputs(X, Y, beta=0.2).value, rel=2e-6)
    assert found.relu_bound <= found.relu
    assert "separate outputs, ReLU" in str(found)


def test_the_nuclear_program_is_the_matrix_factorisation() -> None:
    """Without cones and with one gate: min over U, V of the loss of X U V plus beta/2 (|U|^2 + |V|^2)."""
    rng = np.random.default_rng(10)
    X, Y, beta = rng.normal(size=(7, 3)), rng.normal(size=(7, 2)), 0.7

    def objective(x: Array) -> float:
        U, V = x[:9].reshape(3, 3), x[9:].reshape(3, 2)
        return float(0.5 * np.sum((X @ U @ V - Y) ** 2) + beta / 2 * x @ x)

    best = min(minimize(objective, rng.normal(size=15), method="BFGS").fun for _ in range(4))
    found = nuclear_program(X, Y, beta=beta)
    assert found.value == pytest.approx(best, rel=1e-6)
    assert found.gap <= 1e-6
    assert np.linalg.norm(X.T @ found.lam, 2) <= beta * (1 + 1e-12)


def test_the_linear_program_is_no_relaxation_of_relu_networks() -> None:
    X, Y = np.array([[1.0], [-1.0]]), np.array([[1.0, 0.0], [1.0, 0.0]])
    linear, gated = nuclear_program(X, Y, beta=0.1), nuclear_program(X, Y, beta=0.1, patterns=[[1, 0], [0, 1]])
    relu = copositive_program(X, Y, beta=0.1)
    assert gated.dual_value <= relu.value < linear.dual_value
    assert "proven to be at least" in str(linear)
