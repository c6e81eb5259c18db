"""Orthogonally separable and spike-free data, and their closed forms: against exact arithmetic and other programs."""

from __future__ import annotations

from fractions import Fraction

import cvxpy as cp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

import extremal
from extremal import datasets, is_orthogonally_separable, is_spike_free
from extremal.closed_forms import orthogonal_max_margin, orthogonal_min_norm
from rational import integers
from reference import exact_gauge

SHAPES = st.tuples(st.integers(2, 8), st.integers(2, 6), st.integers(0, 30))

# -------------------------------------------------------------------------------------------- orthogonal separability


def by_fractions(X, y) -> bool:
    rows = [[Fraction(v) for v in row] for row in X]
    n = len(rows)
    products = {(i, j): sum(a * b for a, b in zip(rows[i], rows[j], strict=True)) for i in range(n) for j in range(n)}
    return all(product > 0 if y[i] == y[j] else product <= 0 for (i, j), product in products.items())


@given(integers(4, 2), st.lists(st.sampled_from([-1.0, 1.0]), min_size=4, max_size=4))
def test_orthogonal_separability_of_integers(X, y):
    assert is_orthogonally_separable(X, y) == by_fractions(X, y)


@given(SHAPES, st.sampled_from([1e-150, 1.0, 1e148]))
def test_the_family_is_recognised_at_every_scale(shape, scale):
    n, d, seed = shape
    X, y = datasets.orthogonally_separable(n, d, random_state=seed)
    assert is_orthogonally_separable(X * scale, y)
    assert is_orthogonally_separable(X, (y + 1) / 2)
    assert is_orthogonally_separable(sparse.csr_array(X), y)
    assert is_orthogonally_separable(X, y, tol=1e-9)
    assert not is_orthogonally_separable(X, np.where(np.arange(n) == 0, -y, y))


def test_products_that_round_to_zero_are_decided_exactly():
    """0.1 . 3 - 0.3 . 1 is not zero for the doubles 0.1 and 0.3: its sign decides."""
    a, b = np.array([0.1, 0.3]), np.array([3.0, -1.0])
    exact = Fraction(0.1) * 3 - Fraction(0.3)
    assert exact > 0
    assert not is_orthogonally_separable([a, b], [1, -1])
    assert is_orthogonally_separable([a, b], [1, 1])
    assert is_orthogonally_separable([-a, b], [1, -1])
    assert is_orthogonally_separable([a, b], [1, -1], tol=1e-12)
    assert is_orthogonally_separable([[1.0, 1.0], [1.0, -1.0]], [1, -1])
    assert not is_orthogonally_separable([[1.0, 1.0], [1.0, -1.0]], [1, 1])


def test_one_class_and_zero_rows():
    assert is_orthogonally_separable([[1.0, 0.0], [1.0, 1.0]], [1, 1])
    assert not is_orthogonally_separable([[1.0, 0.0], [0.0, 0.0]], [1, -1])
    assert is_orthogonally_separable([[2.0]], [1])


# -------------------------------------------------------------------------------------------------------- spike-free


def worst_ratio(X) -> float:
    """A lower bound on max over u of |z| / |u|, z the smallest solution of Xz = (Xu)_+ (infinite if there is none)."""
    n, d = X.shape
    inverse = np.linalg.pinv(X)
    rng = np.random.default_rng(0)
    pairs = [
        np.eye(n)[i] - t * np.eye(n)[j] for i in range(n) for j in range(n) if i != j for t in 10.0 ** np.arange(-5, 1)
    ]
    U = np.column_stack([rng.standard_normal((d, 200)), inverse @ np.array(pairs).reshape(-1, n).T])
    U = U[:, np.linalg.norm(U, axis=0) > 1e-12]
    target = np.maximum(X @ U, 0)
    Z = inverse @ target
    if np.abs(X @ Z - target).max(initial=0.0) > 1e-9 * np.abs(X).max(initial=1.0):
        return np.inf
    return float((np.linalg.norm(Z, axis=0) / np.linalg.norm(U, axis=0)).max(initial=0.0))


@pytest.mark.parametrize(("n", "d"), [(2, 2), (2, 3), (3, 3), (3, 2), (3, 4), (4, 2), (4, 1)])
def test_spike_free_is_its_definition(n, d):
    @given(integers(n, d))
    def check(X):
        assert is_spike_free(X) == (worst_ratio(X) <= 1 + 1e-12)

    check()


@given(st.integers(1, 4), st.integers(0, 10**6), st.integers(0, 3))
def test_spike_free_of_any_rank(r, seed, extra):
    """X = C A with nonnegative C of at most one entry a row is spike-free with A; a mixed row spoils it."""
    rng = np.random.default_rng(seed)
    A = np.hstack([m_matrix_rows(r, rng), np.zeros((r, 2))]) @ np.linalg.qr(rng.standard_normal((r + 2, r + 2)))[0]
    owner = np.concatenate([np.arange(r), rng.integers(r, size=extra)])
    X = A[owner] * rng.uniform(0.1, 10, (r + extra, 1))
    X = rng.permutation(np.vstack([X, np.zeros((1, r + 2))]))
    assert is_spike_free(X)
    assert worst_ratio(X) <= 1 + 1e-9
    assert not is_spike_free(np.vstack([X, -A[:1]]))
    if r > 1:
        assert not is_spike_free(np.vstack([X, A[0] + A[1]]))


def m_matrix_rows(r: int, rng: np.random.Generator):
    """Rows whose inverse Gram matrix is diagonally dominant with off-diagonal entries <= 0."""
    off = -rng.uniform(size=(r, r)) * (rng.uniform(size=(r, r)) < 0.7)
    H = np.triu(off, 1) + np.triu(off, 1).T
    H += np.diag(-H.sum(axis=1) + rng.uniform(0.1, 1, r))
    return np.linalg.cholesky(np.linalg.inv(H))


def test_known_spike_free_data():
    rng = np.random.default_rng(0)
    assert is_spike_free(datasets.whitened(6, 9)[0])
    assert is_spike_free(datasets.whitened(6, 6)[0] * rng.uniform(0.1, 10, (6, 1)))
    assert is_spike_free(np.outer([0.0, 1.0, 2.0], rng.standard_normal(4)))
    assert not is_spike_free(np.outer([-1.0, 1.0, 2.0], rng.standard_normal(4)))
    assert is_spike_free(np.zeros((3, 2)))
    for scale in (1e-150, 1e150):
        assert is_spike_free(scale * np.array([[1.0, 0.0], [1.0, 1.0]]))
        assert not is_spike_free(scale * np.array([[1.0, 0.0], [-1.0, 1.0]]))
        assert is_spike_free([[1.0, 0.0], [scale, scale]])


@pytest.mark.parametrize("seed", range(4))
def test_spike_free_programs_need_no_relu(seed):
    """P* = min |w1| + |w2| s.t. X (w1 - w2) = y, X w1 >= 0, X w2 >= 0; with repeated rows too."""
    rng = np.random.default_rng(seed)
    A = m_matrix_rows(3, rng)
    owner = np.array([0, 1, 2, 0, 2])
    scales = rng.uniform(0.5, 2, 5)
    X, y = A[owner] * scales[:, None], rng.standard_normal(3)[owner] * scales
    w1, w2 = cp.Variable(3), cp.Variable(3)
    program = cp.Problem(
        cp.Minimize(cp.norm(w1) + cp.norm(w2)), [A @ (w1 - w2) == y[:3] / scales[:3], A @ w1 >= 0, A @ w2 >= 0]
    )
    program.solve(solver=cp.CLARABEL, tol_gap_rel=1e-11, tol_gap_abs=1e-11, tol_feas=1e-11)
    assert is_spike_free(X)
    assert extremal.min_norm(X, y).value == pytest.approx(program.value, rel=2e-6)


# ------------------------------------------------------------------------------------------------------ closed forms


@given(SHAPES)
def test_orthogonal_max_margin_is_proved_by_its_own_numbers(shape):
    """Primal feasible, dual feasible, equal values: nothing else is needed. g(lam) = 1 by projection onto all cells."""
    n, d, seed = shape
    X, y = datasets.orthogonally_separable(n, d, random_state=seed)
    found = orthogonal_max_margin(X, y)
    assert np.min(y * found.network.predict(X)[:, 0]) >= 1 - 1e-13
    assert found.network.penalty() == pytest.approx(found.value, rel=1e-14)
    assert y @ found.lam == pytest.approx(found.value, rel=1e-13)
    assert np.all(y * found.lam >= 0)
    assert found.residual < 1e-13
    assert found.shares.sum() == pytest.approx(1)
    positive = found.network.output[:, 0] > 0
    size = (found.network.hidden**2).sum(axis=0) + found.network.output[:, 0] ** 2
    assert found.shares[0] == pytest.approx(size[positive].sum() / size.sum(), rel=1e-13)
    if n * d <= 20:
        assert exact_gauge(X, found.lam) == pytest.approx(1, rel=1e-10)


@pytest.mark.parametrize(("n", "d", "seed"), [(10, 2, 0), (20, 4, 1), (16, 6, 2)])
def test_orthogonal_max_margin_against_the_search(n, d, seed):
    X, y = datasets.orthogonally_separable(n, d, random_state=seed)
    found, searched = orthogonal_max_margin(X, y), extremal.max_margin(X, y)
    assert searched.dual_value * (1 - 1e-9) <= found.value <= searched.value * (1 + 1e-9)
    assert found.value == pytest.approx(searched.value, rel=2e-6)
    for column, b in zip(found.network.hidden.T, found.network.output[:, 0], strict=True):
        v = cp.Variable(d)
        own = X[y == np.sign(b)]
        cp.Problem(cp.Minimize(cp.sum_squares(v)), [own @ v >= 1]).solve(
            solver=cp.CLARABEL, tol_gap_abs=1e-12, tol_gap_rel=1e-12, tol_feas=1e-12
        )
        np.testing.assert_allclose(column * abs(b), v.value, atol=1e-5 * np.linalg.norm(v.value))
    if d <= 4:
        gauge = extremal.gauge(X, found.lam, tol=1e-9)
        assert gauge.lower <= 1 + 1e-12
        assert gauge.upper >= 1 - 1e-9


def test_rows_may_be_of_very_different_size():
    rng = np.random.default_rng(3)
    X, y = datasets.orthogonally_separable(12, 4, random_state=4)
    X = X * 10.0 ** rng.integers(-140, 140, (12, 1))
    found = orthogonal_max_margin(X, y)
    assert np.min(y * found.network.predict(X)[:, 0]) >= 1 - 1e-12
    assert y @ found.lam == pytest.approx(found.value, rel=1e-12)


@pytest.mark.parametrize("scale", [1e-150, 1e-3, 1e148])
def test_closed_forms_scale(scale):
    X, y = datasets.orthogonally_separable(9, 3, random_state=0)
    one, other = orthogonal_max_margin(X, y), orthogonal_max_margin(X * scale, y)
    assert other.value == pytest.approx(one.value / scale, rel=1e-13)
    np.testing.assert_allclose(other.lam, one.lam / scale, rtol=1e-10)
    X, y = datasets.whitened(5, 7, labels=False)
    one, other = orthogonal_min_norm(X, y), orthogonal_min_norm(X * scale, y * scale)
    assert other.value == pytest.approx(one.value, rel=1e-13)


def test_two_rows_of_the_paper():
    """P* = 1/|x1| + 1/|x2|."""
    X = np.array([[1.65, 0.47], [-0.47, 1.35]])
    found = orthogonal_max_margin(X, [1, -1])
    assert found.value == pytest.approx(1 / np.hypot(1.65, 0.47) + 1 / np.hypot(0.47, 1.35), rel=1e-14)
    assert found.value == pytest.approx(1.282432, abs=1e-6)
    np.testing.assert_allclose(found.network.hidden.T, X / np.linalg.norm(X, axis=1)[:, None] ** 1.5)
    assert "1/2 |theta|^2" in str(found)
    assert found.margin == pytest.approx(0.5 / found.value)


def test_the_wider_class():
    """Rows off the margin may have positive products across the classes."""
    X, y = np.array([[1.0, 0.0], [1.0, 5.0], [-1.0, 0.0], [-1.0, 5.0]]), [1, 1, -1, -1]
    assert not is_orthogonally_separable(X, y)
    found = orthogonal_max_margin(X, y)
    assert found.value == pytest.approx(2, rel=1e-15)
    assert extremal.max_margin(X, y).value == pytest.approx(2, rel=2e-6)


def test_ties_duplicates_and_one_class():
    X = np.array([[1.0, 0, 0], [1.0, 0, 0], [0, 1.0, 0], [1, 1, 0], [0, 0, 2.0]])
    found = orthogonal_max_margin(X, [1, 1, 1, 1, -1])
    assert found.value == pytest.approx(np.sqrt(2) + 0.5, rel=1e-15)
    assert y_dot(found, [1, 1, 1, 1, -1]) == pytest.approx(found.value, rel=1e-15)
    single = orthogonal_max_margin(X, np.ones(5))
    assert single.network.width == 1
    np.testing.assert_allclose(single.shares, [1, 0])
    assert single.value == pytest.approx(np.sqrt(2.25), rel=1e-14)
    assert orthogonal_max_margin([[4.0]], [0]).value == 0.25


def y_dot(found, y) -> float:
    return float(np.asarray(y, dtype=float) @ found.lam)


@given(st.integers(2, 7), st.integers(0, 3), st.integers(0, 20))
def test_whitened(n, extra, seed):
    """sqrt(n_+) + sqrt(n_-), and the norms of the two parts of y."""
    X, y = datasets.whitened(n, n + extra, random_state=seed)
    expected = np.sqrt((y > 0).sum()) + np.sqrt((y < 0).sum())
    assert orthogonal_max_margin(X, y).value == pytest.approx(expected, rel=1e-13)
    assert orthogonal_min_norm(X, y).value == pytest.approx(expected, rel=1e-13)
    X, y = datasets.whitened(n, n + extra, labels=False, random_state=seed)
    found = orthogonal_min_norm(X, y)
    assert found.value == pytest.approx(np.linalg.norm(y[y > 0]) + np.linalg.norm(y[y < 0]), rel=1e-13)
    np.testing.assert_allclose(found.network.predict(X)[:, 0], y, atol=1e-13)


@pytest.mark.parametrize(("n", "d", "seed"), [(3, 3, 0), (5, 8, 1)])
def test_orthogonal_rows_of_any_length(n, d, seed):
    rng = np.random.default_rng(seed)
    X = datasets.whitened(n, d, random_state=seed)[0] * rng.uniform(0.2, 5, (n, 1))
    y = rng.standard_normal(n)
    y[0] = 0.0
    found = orthogonal_min_norm(X, y)
    np.testing.assert_allclose(found.network.predict(X)[:, 0], y, atol=1e-13)
    assert found.network.penalty() == pytest.approx(found.value, rel=1e-14)
    assert y_dot(found, y) == pytest.approx(found.value, rel=1e-13)
    assert exact_gauge(X, found.lam) == pytest.approx(1, rel=1e-9)
    assert extremal.min_norm(X, y).value == pytest.approx(found.value, rel=2e-6)


def test_nothing_to_interpolate():
    found = orthogonal_min_norm(np.eye(3), np.zeros(3))
    assert found.value == 0
    assert found.network.width == 0
    assert orthogonal_min_norm([[1.0, 0.0], [0.0, 0.0]], [2.0, 0.0]).value == 2


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: orthogonal_max_margin([[1.0, 0.0], [0.0, 0.0]], [1, -1]), "zero row"),
        (lambda: orthogonal_max_margin([[1.0, 0.0], [-1.0, 1.0]], [1, 1]), "negative inner product"),
        (lambda: orthogonal_max_margin([[1.0, 0.0], [1.0, 1.0]], [1, -1]), "active on the other"),
        (lambda: orthogonal_max_margin([[1.0, 0.0]], [1, -1]), "rows and y"),
        (lambda: orthogonal_max_margin([[1.0], [2.0], [3.0]], [1, 2, 3]), "labels"),
        (lambda: orthogonal_max_margin([[np.nan, 0.0]], [1]), "NaN"),
        (lambda: orthogonal_min_norm([[1.0, 0.0], [1.0, 1.0]], [1.0, 2.0]), "not orthogonal"),
        (lambda: orthogonal_min_norm([[1.0, 0.0], [0.0, 0.0]], [1.0, 2.0]), "zero row"),
        (lambda: orthogonal_min_norm(np.eye(2), [1.0]), "rows and y"),
        (lambda: orthogonal_min_norm(np.eye(2), [1.0, np.inf]), "finite"),
        (lambda: orthogonal_min_norm(np.eye(2), np.eye(2)), "shape"),
        (lambda: is_spike_free(np.zeros((0, 3))), "0 sample|nonempty"),
        (lambda: is_spike_free([[np.inf]]), "infinity"),
        (lambda: is_spike_free(np.ones(3)), "two-dimensional"),
        (lambda: is_orthogonally_separable(np.eye(3), [1, -1]), "rows and y"),
        (lambda: is_orthogonally_separable(np.eye(3), [1, -1, 3]), "labels"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
