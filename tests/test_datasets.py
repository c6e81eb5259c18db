"""Each family of data keeps its promise, in exact arithmetic where the promise is an inequality."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linprog

from extremal import datasets

SIZES = st.tuples(st.integers(2, 12), st.integers(2, 9), st.integers(0, 50))
FAMILIES = {
    "orthogonally_separable": datasets.orthogonally_separable,
    "gaussian_labels": datasets.gaussian_labels,
    "linearly_separable": datasets.linearly_separable,
    "xor": datasets.xor,
    "spiral": datasets.spiral,
    "whitened": lambda n, d, random_state: datasets.whitened(min(n, d), d, random_state=random_state),
    "one_dimensional": lambda n, d, random_state: datasets.one_dimensional(n, random_state=random_state),
}


@pytest.mark.parametrize("name", FAMILIES)
@given(SIZES)
def test_every_family(name, sizes):
    """The shapes, both classes, generic rows, and the same data for the same seed."""
    n, d, seed = sizes
    X, y = FAMILIES[name](n, d, random_state=seed)
    assert X.shape == (min(n, d) if name == "whitened" else n, 1 if name == "one_dimensional" else d)
    assert X.dtype == y.dtype == np.float64
    assert set(y) == {-1.0, 1.0}
    assert len(np.unique(X, axis=0)) == len(X)
    again = FAMILIES[name](n, d, random_state=seed)
    np.testing.assert_array_equal(X, again[0])
    np.testing.assert_array_equal(y, again[1])
    assert not np.array_equal(X, FAMILIES[name](n, d, random_state=seed + 1)[0])


@given(SIZES)
def test_orthogonally_separable(sizes):
    n, d, seed = sizes
    X, y = datasets.orthogonally_separable(n, d, random_state=seed)
    rows = [[Fraction(v) for v in row] for row in X]
    for i in range(n):
        for j in range(n):
            product = sum(a * b for a, b in zip(rows[i], rows[j], strict=True))
            assert product > 0 if y[i] == y[j] else product < 0


@pytest.mark.parametrize(("n", "d"), [(400, 2), (200, 300), (1000, 50)])
def test_orthogonally_separable_large(n, d):
    X, y = datasets.orthogonally_separable(n, d, random_state=1)
    products = y[:, None] * (X @ X.T) * y
    assert products.min() > 1e-6 * np.linalg.norm(X, axis=1).max() ** 2 / d


@given(SIZES, st.sampled_from([0.0, 0.1, 3.0]))
def test_linearly_separable(sizes, margin):
    """The largest t with y_i x_i . w >= t for a w of the unit ball is at least the margin: a dual bound by duality.

    min |sum_i a_i y_i x_i| over the simplex is that t; each a in a random sample must give at least the margin.
    """
    n, d, seed = sizes
    X, y = datasets.linearly_separable(n, d, margin=margin, random_state=seed)
    shares = np.random.default_rng(seed).dirichlet(np.full(n, 0.3), 200)
    assert np.linalg.norm(shares @ (y[:, None] * X), axis=1).min() >= margin
    feasible = linprog(np.zeros(d), A_ub=-y[:, None] * X, b_ub=-np.ones(n), bounds=(None, None))
    assert feasible.status == 0
    smallest = min_norm_separator(X, y)
    assert 1 / np.linalg.norm(smallest) >= margin * (1 - 1e-7)


def min_norm_separator(X, y):
    import cvxpy as cp

    v = cp.Variable(X.shape[1])
    cp.Problem(cp.Minimize(cp.norm(v)), [cp.multiply(y, X @ v) >= 1]).solve(solver=cp.CLARABEL)
    return v.value


@given(SIZES, st.sampled_from([0.0, 0.5, 0.99]))
def test_xor(sizes, noise):
    n, d, seed = sizes
    X, y = datasets.xor(n, d, noise=noise, random_state=seed)
    np.testing.assert_array_equal(y, np.sign(X[:, 0] * X[:, 1]))
    assert np.abs(np.abs(X[:, :2]) - 1).max() <= noise
    quadrants = np.unique(np.sign(X[:, :2]), axis=0, return_counts=True)[1]
    assert len(quadrants) == min(n, 4)
    assert np.ptp(quadrants) <= 1


@given(SIZES, st.sampled_from([0.0, 0.5, 2.0]))
def test_spiral(sizes, turns):
    n, d, seed = sizes
    X, y = datasets.spiral(n, d, turns=turns, noise=0.2, random_state=seed)
    t = np.hypot(X[:, 0], X[:, 1])
    assert np.all((t > 0.1 - 1e-12) & (t < 1 + 1e-12))
    point = y * (X[:, 0] + 1j * X[:, 1])
    np.testing.assert_allclose(point, t * np.exp(2j * np.pi * turns * t), atol=1e-13)
    assert abs(y.sum()) <= 1


@given(SIZES, st.booleans())
def test_whitened(sizes, labels):
    n, d, seed = min(sizes[0], sizes[1]), sizes[1], sizes[2]
    X, y = datasets.whitened(n, d, labels=labels, random_state=seed)
    np.testing.assert_allclose(X @ X.T, np.eye(n), atol=1e-14)
    assert np.array_equal(np.abs(y), np.ones(n)) == labels


def test_one_dimensional_increases():
    X, _ = datasets.one_dimensional(50, random_state=3)
    assert np.all(np.diff(X[:, 0]) > 0)


@given(SIZES, st.integers(2, 5))
def test_teacher(sizes, width):
    """A function of the promised kind: positively homogeneous teachers have a min-norm network of at most `width`."""
    n, d, seed = sizes
    X, y = datasets.teacher(n + 4, d, width, random_state=seed)
    assert np.all(np.abs(y) <= width * np.linalg.norm(X, axis=1) + 1e-12)
    X, y = datasets.teacher(n + 4, d, width, labels=True, random_state=seed)
    assert set(y) == {-1.0, 1.0}


def test_teacher_is_a_network_of_unit_neurons():
    """The smallest interpolator costs at most sum |w_j| |a_j| = width."""
    import extremal

    X, y = datasets.teacher(12, 2, 3, random_state=5)
    assert extremal.min_norm(X, y).dual_value <= 3


@pytest.mark.parametrize(
    "call",
    [
        lambda: datasets.orthogonally_separable(1, 2),
        lambda: datasets.orthogonally_separable(2, 1),
        lambda: datasets.gaussian_labels(1, 2),
        lambda: datasets.gaussian_labels(2, 0),
        lambda: datasets.linearly_separable(2, 2, margin=-1),
        lambda: datasets.linearly_separable(2, 2, margin=np.nan),
        lambda: datasets.xor(4, 1),
        lambda: datasets.xor(4, 2, noise=1.0),
        lambda: datasets.spiral(4, 1),
        lambda: datasets.spiral(4, 2, noise=-1),
        lambda: datasets.spiral(4, 2, turns=np.inf),
        lambda: datasets.whitened(4, 3),
        lambda: datasets.one_dimensional(1),
        lambda: datasets.teacher(4, 2, 0),
        lambda: datasets.teacher(4, 2, 1, labels=True),
    ],
)
def test_impossible_requests(call):
    with pytest.raises(ValueError, match=r"needs|must be|cannot be|no draw"):
        call()


def test_a_generator_goes_on():
    rng = np.random.default_rng(0)
    first, second = (datasets.xor(5, random_state=rng)[0] for _ in range(2))
    assert not np.array_equal(first, second)
