"""Orthogonally separable data: the larger class that is solved, the limit of the flow, and more than two classes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import sparse

import extremal
from extremal import datasets, is_orthogonally_separable
from extremal.closed_forms import class_cosines, multiclass_max_margin, orthogonal_flow_limit, orthogonal_max_margin
from reference import exact_gauge

# ------------------------------------------------------------------------------------------------- the larger class


def test_rows_without_a_multiplier_may_do_as_they_like():
    """(3, -1, 0) and (2, 3, 0) make acute angles with the other class or blunt ones with their own."""
    X = np.array([[1.0, 0, 0], [3.0, 5.0, 0.0], [1.5, -4.0, 0.0], [-1.0, 0, 0], [-2.0, 4.0, 0.0]])
    y = np.array([1.0, 1, 1, -1, -1])
    assert (X[1] @ X[2] < 0) & (X[1] @ X[4] > 0)
    assert not is_orthogonally_separable(X, y)
    found = orthogonal_max_margin(X, y)
    assert found.value == pytest.approx(2, rel=1e-14)
    assert extremal.max_margin(X, y).value == pytest.approx(2, rel=2e-6)


@settings(max_examples=60)
@given(st.integers(0, 10**6), st.integers(2, 3), st.integers(2, 6))
def test_what_is_accepted_is_right(seed, d, n):
    """Random cones: whenever the closed form answers, it is primal and dual feasible by other code."""
    rng = np.random.default_rng(seed)
    y = np.where(np.arange(n) % 2, 1.0, -1.0)
    X = rng.standard_normal((n, d))
    X[:, 0] = y * (0.2 + np.abs(X[:, 0]))
    try:
        found = orthogonal_max_margin(X, y)
    except ValueError:
        assume(False)
    assert np.min(y * found.network.predict(X)[:, 0]) >= 1 - 1e-9
    assert y @ found.lam == pytest.approx(found.value, rel=1e-9)
    assert exact_gauge(X, found.lam) == pytest.approx(1, rel=1e-8)


def test_a_class_around_the_origin_is_refused():
    for X in ([[1.0, 0.0], [-1.0, 0.0]], [[1.0, 0.0], [-1.0, 1.0], [-1.0, -1.0]], np.vstack([np.eye(2), -np.eye(2)])):
        with pytest.raises(ValueError, match="no common side of the origin"):
            orthogonal_max_margin(X, np.ones(len(X)))


# --------------------------------------------------------------------------------------------------- limit of the flow


@pytest.mark.parametrize(("n", "d", "seed"), [(6, 3, 0), (10, 5, 1), (8, 2, 2)])
def test_the_flow_goes_where_it_is_said_to(n, d, seed):
    """1.11 and 1.12: value, shares, and directions early and late, for every start."""
    X, y = datasets.orthogonally_separable(n, d, random_state=seed)
    said = orthogonal_flow_limit(X, y)
    for start in range(2):
        result = extremal.flow(X, y, width=20, init=1e-6, random_state=start)
        assert result.value == pytest.approx(said.value, rel=1e-9)
        net = result.network.balance()
        mass = (net.hidden**2).sum(axis=0) + net.output[:, 0] ** 2
        for label, share, late in zip(said.labels, said.shares, said.late.T, strict=True):
            own = np.sign(net.output[:, 0]) == label
            assert mass[own].sum() / mass.sum() == pytest.approx(share, rel=1e-7)
            np.testing.assert_allclose((net.hidden / np.linalg.norm(net.hidden, axis=0))[:, own].T @ late, 1, atol=1e-9)
        np.testing.assert_allclose(result.lam, said.lam, atol=1e-7 * np.abs(said.lam).max())
        run = result.trajectory
        small = int(np.searchsorted(run.half_norm2, 0.5e-2))
        for label, early in zip(said.labels, said.early.T, strict=True):
            own = np.sign(run.ratios[small]) == label
            heaviest = np.argmax(np.where(own, run.log_norms[small], -np.inf))
            assert run.directions[small][heaviest] @ early >= 1 - 1e-3


def test_the_recalled_example():
    """1.14: P* = 1/|x1| + 1/|x2| = 1.282432; every class has one row, so early and late are the same."""
    X = np.array([[1.65, 0.47], [-0.47, 1.35]])
    said = orthogonal_flow_limit(X, [1, -1])
    assert said.value == pytest.approx(1.282432, abs=1e-6)
    assert said.margin == pytest.approx(0.5 / said.value)
    np.testing.assert_allclose(said.late, X.T / np.linalg.norm(X, axis=1), atol=1e-14)
    np.testing.assert_allclose(said.early, said.late, atol=1e-14)
    np.testing.assert_allclose(said.shares, (1 / np.linalg.norm(X, axis=1)) / said.value)
    assert "P* = 1.28243" in str(said)


def test_one_class_and_scales():
    X, y = datasets.orthogonally_separable(7, 3, random_state=3)
    one = orthogonal_flow_limit(X[y > 0], np.ones((y > 0).sum()))
    assert one.labels == [1.0]
    assert one.shares == [1.0]
    for scale in (1e-150, 1e140):
        np.testing.assert_allclose(orthogonal_flow_limit(scale * X, y).late, orthogonal_flow_limit(X, y).late)
        np.testing.assert_allclose(orthogonal_flow_limit(scale * X, y).early, orthogonal_flow_limit(X, y).early)
    assert orthogonal_flow_limit(-X, -y, tol=1e-12).value == pytest.approx(orthogonal_flow_limit(X, y).value)


# -------------------------------------------------------------------------------------------------------- K classes


def simplex_data(K: int, n: int, extra: int, spread: float, rng: np.random.Generator):
    """Rows near the vertices of a simplex, of any lengths, in K + extra dimensions; rows may stray into extra ones."""
    labels = np.concatenate([np.arange(K), rng.integers(K, size=n - K)])
    X = np.hstack([(np.eye(K) - 1 / K)[labels] + spread * rng.standard_normal((n, K)), np.zeros((n, extra))])
    X *= rng.uniform(0.3, 3, (n, 1))
    return X @ np.linalg.qr(rng.standard_normal((K + extra, K + extra)))[0], labels


def check_multiclass(X, labels, K: int):
    """Margins, and a dual point made of nonnegative multipliers of equal value; then g(lam) <= 1 is all there is."""
    found = multiclass_max_margin(X, labels)
    F = found.network.predict(X)
    own = F[np.arange(len(X)), labels]
    margins = own[:, None] - F
    margins[np.arange(len(X)), labels] = np.inf
    assert margins.min() >= 1 - 1e-12
    assert found.network.penalty() == pytest.approx(found.value, rel=1e-12)
    multipliers = -found.lam
    multipliers[np.arange(len(X)), labels] = 0.0
    assert np.all(multipliers >= 0)
    np.testing.assert_allclose(found.lam.sum(axis=1), 0, atol=1e-12)
    assert multipliers.sum() == pytest.approx(found.value, rel=1e-11)
    rng = np.random.default_rng(0)
    U = rng.standard_normal((X.shape[1], 20_000))
    reached = np.linalg.norm(found.lam.T @ np.maximum(X @ (U / np.linalg.norm(U, axis=0)), 0), axis=0)
    assert reached.max() <= 1 + 1e-12
    return found


@settings(max_examples=40)
@given(st.integers(0, 10**6), st.integers(2, 5), st.integers(0, 2), st.floats(0, 0.15))
def test_multiclass_max_margin_is_proved_by_its_own_numbers(seed, K, extra, spread):
    rng = np.random.default_rng(seed)
    X, labels = simplex_data(K, K + 4, extra, spread, rng)
    assume(is_orthogonally_separable(X, labels))
    check_multiclass(X, labels, K)


@pytest.mark.parametrize("seed", range(3))
def test_multiclass_multiplier_has_gauge_one(seed):
    X, labels = simplex_data(3, 6, 0, 0.1, np.random.default_rng(seed))
    assert is_orthogonally_separable(X, labels)
    bounds = extremal.gauge(X, multiclass_max_margin(X, labels).lam, time_limit=2.0)
    assert bounds.lower <= 1 + 1e-9
    assert bounds.upper == pytest.approx(1, rel=1e-4)


def test_two_classes_are_those_of_one_output():
    """Two outputs share what one does: 1 / sqrt 2 of it."""
    X, y = datasets.orthogonally_separable(8, 3, random_state=4)
    one, two = orthogonal_max_margin(X, y), multiclass_max_margin(X, y)
    assert two.value == pytest.approx(one.value / np.sqrt(2), rel=1e-12)
    check_multiclass(X, ((y + 1) / 2).astype(int), 2)
    # beyond orthogonal separability too, where rows of different classes make acute angles
    X, y = np.array([[1.0, 0.0], [1.0, 5.0], [-1.0, 0.0], [-1.0, 5.0]]), np.array([0, 0, 1, 1])
    check_multiclass(X, y, 2)


def leaning(K: int, lean: float):
    """Each class has two rows that lean towards each other's opposites, and so towards rows of the other classes."""
    rows = np.hstack([np.repeat(np.eye(K), 2, axis=0), np.tile([[lean], [-lean]], (K, 1))])
    return rows, np.repeat(np.arange(K), 2)


@pytest.mark.parametrize(("K", "lean"), [(3, 0.25), (3, 0.95), (5, 0.7)])
def test_classes_with_some_acute_angles(K, lean):
    """sum_ij a_i a_j (x_i . x_j)_+ = lean^2 / 2 <= 1 / (K - 1) suffices."""
    X, labels = leaning(K, lean)
    assert class_cosines(X, labels).across > 0
    found = check_multiclass(X, labels, K)
    assert found.value == pytest.approx(K * np.sqrt((K - 1) / K), rel=1e-12)


def test_classes_that_lean_too_far():
    with pytest.raises(ValueError, match=r"share too much: 0\.32 is above 0\.25"):
        multiclass_max_margin(*leaning(5, 0.8))


def test_classes_without_rows_count():
    """A third output that no row has must stay below the others: sqrt(2/3) for each instead of sqrt(1/2)."""
    X = np.eye(2)
    assert multiclass_max_margin(X, [0, 1]).value == pytest.approx(2 * np.sqrt(1 / 2))
    assert multiclass_max_margin(X, [0, 2]).value == pytest.approx(2 * np.sqrt(2 / 3))
    assert multiclass_max_margin([[2.0]], [1]).value == pytest.approx(np.sqrt(1 / 2) / 2)


def test_gradient_descent_on_the_softmax_ends_there():
    """Evidence for what is a conjecture for K classes: loss-normalised descent from a small balanced start."""
    rng = np.random.default_rng(0)
    X, labels = simplex_data(3, 6, 0, 0.1, rng)
    assert is_orthogonally_separable(X, labels)
    Y, m = np.eye(3)[labels], 16
    W, A = rng.standard_normal((3, m)), rng.standard_normal((m, 3))
    W *= 1e-4 * np.linalg.norm(A, axis=1) / np.linalg.norm(W, axis=0)
    A *= 1e-4
    for _ in range(25_000):
        Z = X @ W
        F = np.maximum(Z, 0)
        logits = F @ A
        P = np.exp(logits - logits.max(axis=1, keepdims=True))
        P /= P.sum(axis=1, keepdims=True)
        R = Y - P
        R[np.arange(6), labels] = -(R.sum(axis=1) - R[np.arange(6), labels])  # 1 - p without cancellation
        step = min(0.02, 0.3 / ((W**2).sum() + (A**2).sum())) / R[np.arange(6), labels].sum()
        W, A = W + step * X.T @ ((Z > 0) * (R @ A.T)), A + step * F.T @ R
    found = multiclass_max_margin(X, labels)
    logits = np.maximum(X @ W, 0) @ A
    others = np.where(Y > 0, -np.inf, logits).max(axis=1)
    margin = (logits[np.arange(6), labels] - others).min()
    cost = 0.5 * ((W**2).sum() + (A**2).sum()) / margin
    assert found.value <= cost <= found.value * 1.01
    heavy = np.flatnonzero(np.linalg.norm(A, axis=1) > 0.05 * np.linalg.norm(A, axis=1).max())
    outputs = A[heavy] / np.linalg.norm(A[heavy], axis=1)[:, None]
    expected = found.network.output / np.linalg.norm(found.network.output, axis=1)[:, None]
    assert (outputs @ expected.T).max(axis=1).min() > 0.999


# ------------------------------------------------------------------------------------------- tests of K-class data


@settings(max_examples=60)
@given(st.integers(0, 10**6), st.integers(2, 5), st.floats(0, 0.6))
def test_no_classes_are_farther_apart_than_a_simplex(seed, K, spread):
    """mu_d <= 1 / (K - 1), with equality for the simplex."""
    X, labels = simplex_data(K, K + 3, 1, spread, np.random.default_rng(seed))
    found = class_cosines(X, labels)
    assert found.n_classes == K
    assert found.across >= found.bound - 1e-12
    if spread == 0:
        assert found.across == pytest.approx(-1 / (K - 1), abs=1e-12)
        assert found.within == pytest.approx(1)
    exact = is_orthogonally_separable(X, labels)
    if abs(found.within) > 1e-12 and abs(found.across) > 1e-12:
        assert found.separable == exact
    products = X @ X.T
    same = labels[:, None] == labels
    assert exact == bool(np.all(products[same] > 0) and np.all(products[~same] <= 0))


def test_kinds_of_labels():
    X = np.eye(3)
    assert is_orthogonally_separable(X, [0, 1, 2])
    assert is_orthogonally_separable(X, [5, 1, 0])
    assert not is_orthogonally_separable(X, [0, 0, 1])
    for data in (pd.DataFrame(X), sparse.csr_array(X), X.astype(np.float32)):
        assert is_orthogonally_separable(data, pd.Series([2, 1, 0]))
    assert class_cosines(X, [0, 1, 2]).across == 0
    one = class_cosines(np.ones((2, 2)), [1, 1])
    assert (one.n_classes, one.across, one.bound) == (1, -1.0, -1.0)
    assert "3 classes" in str(class_cosines(X, [0, 1, 2]))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: orthogonal_flow_limit([[1.0, 0], [1.0, 1.0]], [1, -1]), "not orthogonally separable"),
        (lambda: orthogonal_flow_limit(np.eye(2), [1, -1, 1]), "rows and y"),
        (lambda: orthogonal_flow_limit(np.eye(3), [0, 1, 2]), "labels"),
        (lambda: multiclass_max_margin(np.eye(2), [0.5, 1]), "class numbers"),
        (lambda: multiclass_max_margin(np.eye(2), [[0], [1]]), "one column"),
        (lambda: multiclass_max_margin(np.eye(2), []), "labels"),
        (lambda: multiclass_max_margin(np.eye(3), [0, 1]), "rows and y"),
        (lambda: multiclass_max_margin([[0.0, 0], [1, 0]], [0, 1]), "zero row"),
        (lambda: multiclass_max_margin([[1.0, 0], [1, 1]], [0, 1]), "active on the other"),
        (lambda: multiclass_max_margin([[np.nan, 0]], [0]), "NaN"),
        (lambda: class_cosines([[0.0, 0], [1, 0]], [0, 1]), "zero row"),
        (lambda: class_cosines(np.eye(2), [0, np.nan]), "class numbers"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("program", "K"), [(orthogonal_max_margin, 2), (multiclass_max_margin, 2), (multiclass_max_margin, 3)]
)
def test_what_a_tolerance_lets_through_is_the_residual(program, K):
    angle = 1e-3  # between rows of one class, beyond 90 degrees; and from one class into another
    apart = np.eye(4)
    apart[1, 0] = -np.sin(angle)
    into = np.eye(4)
    into[2, 0] = np.sin(angle)
    for X, y in ((apart, [0, 0, 1, K - 1]), (into, [0, 0, 1, K - 1])):
        with pytest.raises(ValueError, match=r"negative inner product|active on the other"):
            program(X, y)
        assert program(X, y, tol=2 * angle).residual == pytest.approx(angle, rel=0.5)
