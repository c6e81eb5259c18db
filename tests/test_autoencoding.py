"""Neurons that see one sample: distances to hulls, proven vertices, zero-error networks, filters of patches."""

from __future__ import annotations

from fractions import Fraction

import cvxpy as cp
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.optimize import linprog

import extremal
import reference
from extremal.closed_forms import (
    convex_features,
    extreme_point,
    gaussian_hull,
    hull_distances,
    zero_error_network,
)
from reference import Array

SEEDS = st.integers(0, 10**6)


def distance_by_program(X: Array, i: int) -> float:
    """min over the simplex of |a_i - sum lam_j a_j|."""
    others = np.delete(X, i, axis=0)
    lam = cp.Variable(len(others), nonneg=True)
    problem = cp.Problem(cp.Minimize(cp.norm(X[i] - others.T @ lam)), [cp.sum(lam) == 1])
    return float(problem.solve(solver=cp.CLARABEL))


def neuron_by_program(X: Array, i: int) -> float:
    """max of what a neuron with |u| <= 1 and a free bias gives for sample i, while it is off for the others."""
    u, b = cp.Variable(X.shape[1]), cp.Variable()
    conditions = [np.delete(X, i, axis=0) @ u + b <= 0, cp.norm(u) <= 1]
    return float(cp.Problem(cp.Maximize(X[i] @ u + b), conditions).solve(solver=cp.CLARABEL))


def is_inside(X: Array, i: int) -> bool:
    others = np.delete(X, i, axis=0)
    A, b = np.vstack([others.T, np.ones(len(others))]), np.append(X[i], 1.0)
    return linprog(np.zeros(len(others)), A_eq=A, b_eq=b).status == 0


def consistent(X: Array) -> None:
    """What every answer has to fulfil, whatever the data."""
    hulls = hull_distances(X)
    weights = hulls.weights.toarray()
    size = float(np.abs(X - X[0]).max()) or 1.0
    assert np.all(weights >= 0)
    assert not np.diag(weights).any()
    np.testing.assert_allclose(weights.sum(axis=1), 1.0, rtol=1e-12)
    assert np.all(hulls.lower <= hulls.upper)
    assert not np.any(hulls.vertices & hulls.inside)
    assert np.all(hulls.upper[hulls.inside] == 0)
    gaps = (X - X[0]) - weights @ (X - X[0])
    np.testing.assert_allclose(np.linalg.norm(gaps, axis=1), hulls.distance, atol=1e-12 * size)
    known = hulls.lower > 0
    np.testing.assert_allclose(hulls.lower[known], hulls.upper[known], rtol=1e-7, atol=1e-13 * size)
    heights = (X - X[0]) @ hulls.directions.T
    own = np.diag(heights) - np.where(np.eye(len(X), dtype=bool), -np.inf, heights).max(axis=0)
    np.testing.assert_allclose(own[known], hulls.distance[known], rtol=1e-6, atol=1e-12 * size)


# ---------------------------------------------------------------------------------------------------------- distances


@settings(max_examples=12, deadline=None)
@given(n=st.integers(2, 9), d=st.integers(1, 4), seed=SEEDS)
def test_distances_are_those_of_the_program_and_of_its_dual(n, d, seed):
    X = np.random.default_rng(seed).normal(size=(n, d))
    hulls = hull_distances(X)
    consistent(X)
    i = seed % n
    assert hulls.distance[i] == pytest.approx(distance_by_program(X, i), abs=1e-6)
    assert hulls.distance[i] == pytest.approx(max(neuron_by_program(X, i), 0.0), abs=1e-6)
    for j in range(n):
        assert hulls.inside[j] == is_inside(X, j)
    assert not hulls.undecided.any()


@settings(max_examples=60, deadline=None)
@given(n=st.integers(2, 12), d=st.integers(1, 4), size=st.integers(1, 3), seed=SEEDS)
def test_integers_with_all_their_ties_are_decided(n, d, size, seed):
    """Duplicates, points on edges and faces, flat hulls: all decided, and as a linear program says."""
    X = np.random.default_rng(seed).integers(0, size + 1, size=(n, d)).astype(float)
    hulls = hull_distances(X)
    consistent(X)
    assert not hulls.undecided.any()
    assert [is_inside(X, i) for i in range(n)] == hulls.inside.tolist()


def strict_vertices(points: list[tuple[Fraction, Fraction]]) -> list[bool]:
    """Which points of the plane are vertices and not repeated: some line through each has all others on one side."""

    def cross(o, a, b):
        return (a[0] - o[0]) * (b[1] - o[1]) - (a[1] - o[1]) * (b[0] - o[0])

    result = []
    for i, o in enumerate(points):
        rest = [p for j, p in enumerate(points) if j != i]
        # the directions to the others lie in an open half plane: one of them is extreme on either side
        first = next(
            (
                p
                for p in rest
                if p != o and all(cross(o, p, q) > 0 or (cross(o, p, q) == 0 and dot(o, p, q)) for q in rest)
            ),
            None,
        )
        result.append(o not in rest and first is not None)
    return result


def dot(o, p, q) -> bool:
    """Whether q lies in the direction of p seen from o."""
    return (p[0] - o[0]) * (q[0] - o[0]) + (p[1] - o[1]) * (q[1] - o[1]) > 0


@settings(max_examples=60, deadline=None)
@given(n=st.integers(3, 9), seed=SEEDS)
def test_no_claim_is_wrong_where_rounding_decides(n, seed):
    """Points on a line of a rotated grid, rounded: by how much each is off the line only exact arithmetic knows."""
    rng = np.random.default_rng(seed)
    angle = rng.uniform(0, np.pi)
    steps, aside = rng.integers(-3, 4, size=n), rng.integers(0, 2, size=n) * rng.integers(0, 2)
    X = np.outer(steps, [np.cos(angle), np.sin(angle)]) + np.outer(aside, [-np.sin(angle), np.cos(angle)])
    exact = np.array(strict_vertices([(Fraction(float(x)), Fraction(float(y))) for x, y in X]))
    hulls = hull_distances(X)
    assert not np.any(hulls.vertices & ~exact)
    assert not np.any(hulls.inside & exact)
    assert hulls.undecided.sum() <= n // 2 + 2


@pytest.mark.parametrize("only", [[True, False, True], [0.7], [-1], [3], []])
def test_rows_are_named_by_their_numbers(only):
    with pytest.raises(ValueError, match="only must name some of the rows 0 to 2"):
        hull_distances(np.eye(3), only=only)


def test_regular_figures():
    for n in (4, 7, 60):
        angles = 2 * np.pi * np.arange(n) / n
        hulls = hull_distances(np.column_stack([np.cos(angles), np.sin(angles)]))
        np.testing.assert_allclose(hulls.distance, 1 - np.cos(2 * np.pi / n), rtol=1e-12)
    for n in (2, 5, 40):
        hulls = hull_distances(np.eye(n))
        np.testing.assert_allclose(hulls.distance, np.sqrt(n / (n - 1)), rtol=1e-13)
        np.testing.assert_allclose(hulls.weights.toarray(), (1 - np.eye(n)) / (n - 1), atol=1e-13)
        assert hulls.vertices.all()
    line = hull_distances(np.array([[0.0], [3.0], [1.0], [-2.0]]))
    np.testing.assert_allclose(line.distance, [0, 2, 0, 2])
    assert line.vertices.tolist() == [False, True, False, True]
    assert "2 proven vertices" in str(line)


@settings(max_examples=25, deadline=None)
@given(n=st.integers(2, 30), d=st.integers(1, 8), power=st.integers(-300, 300), seed=SEEDS)
def test_scale_offset_order_and_rotation(n, d, power, seed):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d))
    hulls = hull_distances(X)
    scaled = hull_distances(np.ldexp(X, power))
    np.testing.assert_array_equal(scaled.upper, np.ldexp(hulls.upper, power))
    np.testing.assert_array_equal(scaled.vertices, hulls.vertices)
    order, Q = rng.permutation(n), np.linalg.qr(rng.normal(size=(d, d)))[0]
    moved = hull_distances((X @ Q)[order] + 1e4)
    np.testing.assert_allclose(moved.distance, hulls.distance[order], atol=1e-10)
    few = hull_distances(X, only=[n - 1, 0])
    np.testing.assert_array_equal(few.lower, hulls.lower[[n - 1, 0]])


def test_far_from_the_origin_the_proofs_remain():
    X = np.random.default_rng(3).integers(-8, 9, size=(40, 3)) * 1.0
    near, far = hull_distances(X), hull_distances(X + 2.0**45)
    np.testing.assert_array_equal(near.vertices, far.vertices)
    np.testing.assert_array_equal(near.lower, far.lower)


def test_a_thousand_samples():
    X = np.random.default_rng(0).normal(size=(1000, 12))
    hulls = hull_distances(X, only=np.arange(150))
    assert not hulls.undecided.any()
    assert 0 < hulls.inside.sum() < 150
    heights = X @ hulls.directions.T
    own = heights[np.arange(150), np.arange(150)]
    heights[np.arange(150), np.arange(150)] = -np.inf
    margin = own - heights.max(axis=0)
    np.testing.assert_allclose(margin[hulls.vertices], hulls.distance[hulls.vertices], rtol=1e-9)


@pytest.mark.parametrize("bad", [np.ones((1, 3)), np.array([[0.0], [np.nan]]), np.ones(3), np.ones((0, 2)), "text"])
def test_bad_samples_are_refused(bad):
    with pytest.raises(ValueError):  # noqa: PT011 the message is Design's, but for a single sample
        hull_distances(bad)
    with pytest.raises(ValueError, match="only must name"):
        hull_distances(np.eye(2), only=[2])


def test_all_the_same_and_other_containers():
    assert hull_distances(np.ones((3, 2))).inside.all()
    X = np.random.default_rng(1).normal(size=(6, 3)).astype(np.float32)
    expected = hull_distances(X.astype(float)).distance
    for container in (X, sparse.csr_array(X), pd.DataFrame(X), X.tolist()):
        np.testing.assert_array_equal(hull_distances(container).distance, expected)


# ------------------------------------------------------------------------------------------------------ zero error


@settings(max_examples=25, deadline=None)
@given(n=st.integers(2, 12), extra=st.integers(0, 5), c=st.integers(1, 3), seed=SEEDS)
def test_one_neuron_for_each_sample_interpolates(n, extra, c, seed):
    """n points of n - 1 dimensions or more in general position are all vertices."""
    rng = np.random.default_rng(seed)
    X, Y = rng.normal(size=(n, n - 1 + extra or 1)), rng.normal(size=(n, c))
    found = zero_error_network(X, Y)
    np.testing.assert_allclose(found.network.predict(X), Y, rtol=1e-9, atol=1e-12)
    activations = np.maximum(X @ found.network.hidden[:-1] + found.network.hidden[-1], 0)
    np.testing.assert_array_equal(activations, np.diag(np.diag(activations)))
    np.testing.assert_allclose(np.linalg.norm(found.network.hidden[:-1], axis=0), 1.0, rtol=1e-12)
    np.testing.assert_allclose(found.heights, found.hulls.distance, rtol=1e-7)
    assert found.strength == pytest.approx(np.sum(np.linalg.norm(Y, axis=1) / found.hulls.distance), rel=1e-7)


@settings(max_examples=5, deadline=None)
@given(n=st.integers(3, 6), seed=SEEDS)
def test_zero_error_is_above_every_dual_value(n, seed):
    """y^T v / g(v) with 1^T v = 0 is below the least 1/2 |theta|^2 of interpolation with a free bias."""
    rng = np.random.default_rng(seed)
    X, y = rng.normal(size=(n, n - 1)), rng.normal(size=n)
    strength = zero_error_network(X, y).strength
    for v in (y - y.mean(), rng.normal(size=n)):
        v = v - v.mean()
        assert abs(y @ v) / extreme_point(X, v, tol=1e-4).upper <= strength


@pytest.mark.slow
def test_zero_error_is_above_the_certified_optimum():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(4, 3)), rng.normal(size=4)
    best = extremal.min_norm(X, y, bias="free", time_limit=5)
    assert best.value <= zero_error_network(X, y).strength * (1 + 1e-6)


def test_zero_error_of_points_on_a_circle():
    angles = 2 * np.pi * np.arange(8) / 8
    X, y = np.column_stack([np.cos(angles), np.sin(angles)]), np.array([1.0, -1, 2, 0, 3, -2, 1, 5])
    found = zero_error_network(X, y)
    np.testing.assert_allclose(found.network.predict(X)[:, 0], y, atol=1e-13)
    assert found.strength == pytest.approx(15 / (1 - np.cos(np.pi / 4)), rel=1e-12)
    assert "8 proven vertices" in str(found)


def test_what_the_zero_error_network_refuses():
    square = np.array([[0.0, 0], [1, 0], [0, 1], [1, 1], [0.5, 0.5], [1, 1]])
    with pytest.raises(ValueError, match=r"3 of 6 are a convex combination of the others \(rows 3, 4, 5\)"):
        zero_error_network(square, np.ones(6))
    with pytest.raises(ValueError, match="subtract the mean"):
        zero_error_network(1.0 + np.eye(3) * 2.0**-50, np.ones(3))
    with pytest.raises(ValueError, match="2 rows and y has 3"):
        zero_error_network(np.eye(2), np.ones(3))
    with pytest.raises(ValueError, match="finite"):
        zero_error_network(np.eye(2), [1.0, np.inf])
    with pytest.raises(ValueError, match="two samples"):
        zero_error_network([[1.0, 2.0]], [1.0])


# --------------------------------------------------------------------------------------------------- extreme points


@settings(max_examples=10, deadline=None)
@given(n=st.integers(3, 7), d=st.integers(1, 2), seed=SEEDS)
def test_extreme_points_in_any_direction(n, d, seed):
    rng = np.random.default_rng(seed)
    X, v = rng.normal(size=(n, d)), rng.normal(size=n)
    v -= v.mean()
    point = extreme_point(X, v)
    expected = max(reference.exact_gauge(X - row, v) for row in X)
    assert point.value == pytest.approx(expected, rel=1e-8)
    assert expected <= point.upper * (1 + 1e-12)
    pre = X @ point.direction + point.bias
    assert abs(v @ np.maximum(pre, 0)) == pytest.approx(point.value, rel=1e-10)
    assert pre[point.anchor] == pytest.approx(0, abs=1e-12)
    total = (X - X[point.anchor]).T @ point.weights
    np.testing.assert_allclose(total / np.linalg.norm(total), point.direction, atol=1e-5)
    sign = np.sign(v @ np.maximum(pre, 0))
    assert np.all(point.weights * v * sign >= -1e-12)
    assert np.all(np.abs(point.weights) <= np.abs(v) + 1e-12)
    U = rng.normal(size=(d, 300))
    U /= np.linalg.norm(U, axis=0)
    assert np.abs(v @ np.maximum(X @ U + 2 * rng.normal(size=300), 0)).max() <= point.upper


def test_extreme_points_on_the_line():
    """3.11: the multiplier of the interpolation of five points is feasible with a free bias, the printed one is not."""
    a = np.array([[-2.0], [-1], [0], [1], [2]])
    assert extreme_point(a, [1, -3, 2, 1, -1]).value == pytest.approx(1.0, abs=1e-12)
    assert extreme_point(a, [1, -11 / 4, 5 / 4, 7 / 4, -5 / 4]).value == pytest.approx(1.25, abs=1e-12)


def test_extreme_points_along_a_sample_see_it_alone():
    """Along e_i - 1/n, minus the others, the best neuron still has sample i on its own side."""
    X = np.random.default_rng(2).normal(size=(6, 5))
    hulls = hull_distances(X)
    v = -np.full(6, 1000.0)
    v[2] = 5000.0
    point = extreme_point(X, v)
    assert point.value >= 5000 * hulls.distance[2] * (1 - 1e-9)
    with pytest.raises(ValueError, match="sum to zero"):
        extreme_point(X, np.ones(6))
    with pytest.raises(ValueError, match="not all zero"):
        extreme_point(X, np.zeros(6))


# --------------------------------------------------------------------------------------------------------- Gaussian


@pytest.mark.parametrize(("n", "d"), [(2, 1), (3, 40), (20, 20), (60, 8), (100, 40)])
def test_normal_samples_are_as_far_from_each_other_as_predicted(n, d):
    rng = np.random.default_rng(n + d)
    draws = [hull_distances(rng.normal(size=(n, d)), only=np.arange(min(n, 10))) for _ in range(60)]
    distances = np.array([hulls.distance for hulls in draws])
    known = gaussian_hull(n, d)
    noise = 4 * distances.mean(axis=1).std() / np.sqrt(len(draws))
    assert known.printed <= known.bound + 1e-12
    assert known.bound <= distances.mean() + noise
    assert known.predicted == pytest.approx(distances.mean(), abs=noise + 0.05 * max(1.0, distances.mean()))
    frequency = np.mean([hulls.vertices.all() for hulls in draws])
    assert known.probability <= frequency + 2 / np.sqrt(len(draws))
    assert f"{known.predicted:.5g}" in str(known)


def test_the_printed_condition_is_sufficient_and_far_from_necessary():
    known = gaussian_hull(100, 40)
    assert not known.enough
    assert known.printed < 0
    assert known.probability > 0.999
    assert gaussian_hull(100, 920).enough
    assert gaussian_hull(2, 1).bound == pytest.approx(2 / np.sqrt(np.pi), rel=1e-12)
    with pytest.raises(ValueError, match="two samples"):
        gaussian_hull(1, 3)


# ------------------------------------------------------------------------------------------------------------ filters


def pictures(n: int = 12, side: int = 7, channels: int | None = None) -> Array:
    shape = (n, side, side) if channels is None else (n, side, side, channels)
    return np.random.default_rng(n).normal(size=shape).cumsum(axis=1)


@pytest.mark.parametrize("channels", [None, 2])
@pytest.mark.parametrize("group", [2, 4])
def test_features_are_what_they_say(channels, group):
    images = pictures(channels=channels)
    found = convex_features(images, 5, patch=3, group=group, random_state=1)
    features = found.transform(images)
    assert features.shape == (12, 20)
    np.testing.assert_allclose(np.linalg.norm(found.filters, axis=0), 1.0, rtol=1e-12)
    grid = images if channels else images[..., None]
    maps = np.zeros((5, 5, 5))
    for r in range(5):
        for c in range(5):
            z = grid[4, r : r + 3, c : c + 3].transpose(2, 0, 1).ravel()
            maps[r, c] = np.maximum((z - found.mean) @ found.whitening @ found.filters + found.biases, 0)
    parts = [maps[:3, :3], maps[:3, 3:], maps[3:, :3], maps[3:, 3:]]
    np.testing.assert_allclose(features[4], np.concatenate([part.mean(axis=(0, 1)) for part in parts]), atol=1e-10)
    assert "5 filters of 3 x 3" in str(found)


def test_whitened_patches_are_white():
    images = pictures(40)
    found = convex_features(images, 1, patch=2, regularisation=1e-9)
    windows = np.lib.stride_tricks.sliding_window_view(images, (2, 2), axis=(1, 2)).reshape(-1, 4)
    white = (windows - found.mean) @ found.whitening
    np.testing.assert_allclose(white.T @ white / len(white), np.eye(4), atol=1e-6)


def test_filters_beat_pixels_on_digits():
    from sklearn.datasets import load_digits
    from sklearn.linear_model import RidgeClassifier

    digits = load_digits()
    train, test = slice(0, 1200), slice(1200, None)
    found = convex_features(digits.images[train], 60, patch=3)
    features = found.transform(digits.images)
    scores = [
        RidgeClassifier(alpha=1.0).fit(table[train], digits.target[train]).score(table[test], digits.target[test])
        for table in (digits.data / 16, features)
    ]
    assert scores[1] > scores[0] + 0.03


def test_what_the_filters_refuse():
    images = pictures()
    for wrong, message in (
        ({"patch": 9}, "smaller than a patch"),
        ({"group": 1}, "group at least 2"),
        ({"regularisation": 0.0}, "regularisation positive"),
    ):
        with pytest.raises(ValueError, match=message):
            convex_features(images, 3, **wrong)
    with pytest.raises(ValueError, match="shape"):
        convex_features(np.ones((4, 4)), 3)
    with pytest.raises(ValueError, match="NaN"):
        convex_features(np.full((2, 4, 4), np.nan), 3)
    with pytest.raises(ValueError, match="the same"):
        convex_features(np.ones((2, 4, 4)), 3)
    with pytest.raises(ValueError, match="make the groups smaller"):
        convex_features(images, 3, patch=1, group=400)
    found = convex_features(images, 3)
    with pytest.raises(ValueError, match="cannot be divided"):
        found.transform(images[:, :3, :3])
    with pytest.raises(ValueError, match="patches of 9"):
        found.transform(pictures(channels=2))
