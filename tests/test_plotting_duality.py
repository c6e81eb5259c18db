"""The dual geometry without a run: the spikes, the rectified ellipsoid, the polar set, and the globe of cells."""

import matplotlib

matplotlib.use("Agg")

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from mpl_toolkits.mplot3d.art3d import Poly3DCollection

import extremal
from extremal import plotting
from extremal.gauge.few_rows import best_points, gauge_values, spikes

OBTUSE = np.array([[1.5, 0.2], [-0.9, 1.2]])
ACUTE = np.array([[1.5, 0.4], [0.7, 1.3]])
SOLID = np.array([[1.0, 0.1, 0.0], [-0.5, 1.0, 0.1], [0.3, -0.4, 1.0]])


@pytest.fixture
def ax():
    return Figure().add_subplot()


@pytest.fixture
def solid():
    return Figure().add_subplot(projection="3d")


def line(ax, start):
    (found,) = (line for line in ax.get_lines() if line.get_label().startswith(start))
    return np.column_stack(found.get_data())


def same_points(found, expected):
    def sort(points):
        return points[np.lexsort(np.round(points, 9).T)]

    np.testing.assert_allclose(sort(found), sort(np.asarray(expected)), atol=1e-12)


# ---------------------------------------------------------------------------------------------------------- the spikes


@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(1, 4))
def test_best_points_attain_the_gauge(seed, n, d):
    rng = np.random.default_rng(seed)
    X, Lam = rng.standard_normal((n, d)), rng.standard_normal((5, n))
    np.testing.assert_allclose((best_points(X, Lam) * Lam).sum(axis=1), gauge_values(X, Lam), rtol=1e-12)


def test_spikes_of_obtuse_rows_are_as_long_as_the_rows():
    lengths = np.linalg.norm(OBTUSE, axis=1)
    same_points(spikes(OBTUSE), np.concatenate([np.diag(lengths), -np.diag(lengths)]))


def test_spikes_of_acute_rows_are_what_is_left_of_a_row_beside_the_other():
    (x, z), inner = ACUTE, ACUTE[0] @ ACUTE[1]
    left = [np.linalg.norm(x - inner / (z @ z) * z), np.linalg.norm(z - inner / (x @ x) * x)]
    same_points(spikes(ACUTE), np.concatenate([np.diag(left), -np.diag(left)]))


@pytest.mark.parametrize("scale", [1e-9, 1e9])
def test_spikes_are_invariant(scale):
    rotation = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))[0]
    same_points(spikes(SOLID @ rotation), spikes(SOLID))
    same_points(spikes(scale * SOLID) / scale, spikes(SOLID))
    same_points(-spikes(SOLID), spikes(SOLID))


@pytest.mark.parametrize("X", [OBTUSE, ACUTE, SOLID], ids=["obtuse", "acute", "solid"])
def test_a_spike_is_the_best_point_of_a_whole_cone_of_multipliers(X):
    """Each has a multiplier for which it wins, and wins still after a perturbation in any direction."""
    rng = np.random.default_rng(1)
    Lam = rng.standard_normal((4000, len(X)))
    best = best_points(X, Lam)
    for spike in spikes(X):
        winners = Lam[np.abs(best - spike).max(axis=1) < 1e-9]
        middle = (winners / np.linalg.norm(winners, axis=1, keepdims=True)).mean(axis=0)
        near = middle + 1e-3 * np.linalg.norm(middle) * rng.standard_normal((50, len(X)))
        np.testing.assert_allclose(best_points(X, near), np.tile(spike, (50, 1)), atol=1e-9)


# ------------------------------------------------------------------------------------------------------------ pictures


@pytest.mark.parametrize("X", [OBTUSE, ACUTE], ids=["obtuse", "acute"])
def test_the_hull_in_the_picture_has_the_gauge_as_its_support_function(X, ax):
    plotting.rectified_ellipsoid(X, ax)
    (hull,) = (line for line in ax.get_lines() if line.get_linestyle() == ":")
    corners = np.column_stack(hull.get_data())
    for lam in np.random.default_rng(2).standard_normal((10, 2)):
        assert (corners @ lam).max() == pytest.approx(extremal.gauge(X, lam).upper, rel=1e-3)
        assert (corners @ lam).max() <= extremal.gauge(X, lam).upper * (1 + 1e-9)


def test_the_multiplier_touches_the_spikes_of_obtuse_rows(ax):
    lam = np.array([1.0, -1.0]) / np.linalg.norm(OBTUSE, axis=1)
    plotting.rectified_ellipsoid(OBTUSE, ax, lam=lam)
    (stars,) = (points for points in ax.collections if points.get_label() == "touched by λ")
    lengths = np.linalg.norm(OBTUSE, axis=1)
    same_points(np.asarray(stars.get_offsets()), np.diag(lengths * [1, -1]))


@pytest.mark.parametrize("X", [OBTUSE, ACUTE], ids=["obtuse", "acute"])
def test_the_boundary_of_the_polar_set_has_gauge_one_and_the_optimum_is_farthest(X, ax):
    y = np.array([1.0, -1.0])
    best = extremal.max_margin(X, y)
    plotting.polar_set(X, ax, lam=best.lam, y=y)
    boundary = line(ax, "g(λ) = 1")
    np.testing.assert_allclose(gauge_values(X, boundary), 1, rtol=1e-9)
    assert (boundary @ y).max() == pytest.approx(best.value, rel=1e-6)
    low, high = np.array([ax.get_xlim(), ax.get_ylim()]).T
    assert np.all(low < boundary.min(axis=0))
    assert np.all(high > boundary.max(axis=0))


def test_three_rows_are_drawn_in_space(solid):
    best = extremal.max_margin(SOLID, np.ones(3))
    plotting.rectified_ellipsoid(SOLID, solid, lam=best.lam)
    (shown,) = (points for points in solid.collections if points.get_label() == "spikes")
    same_points(np.column_stack(shown._offsets3d), spikes(SOLID)[(spikes(SOLID) >= -1e-12).all(axis=1)])
    other = Figure().add_subplot(projection="3d")
    plotting.polar_set(SOLID, other, lam=best.lam, y=np.ones(3))
    assert len([patch for patch in other.collections if isinstance(patch, Poly3DCollection)]) == 1
    for k, limits in enumerate((other.get_xlim(), other.get_ylim(), other.get_zlim())):
        assert limits[0] == 0
        assert limits[1] > best.lam[k]
        assert limits[1] > 1 / np.linalg.norm(SOLID[k])


def test_the_globe_has_the_colours_of_the_disc(solid):
    plotting.arrangement(SOLID, solid, view="globe")
    assert solid.get_title() == "8 cells of 3 hyperplanes"
    (sphere,) = (patch for patch in solid.collections if isinstance(patch, Poly3DCollection))
    colours = np.unique(np.round(sphere.get_facecolor(), 6), axis=0)
    assert len(colours) == 4  # 0 to 3 active rows


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.ones((4, 2)), "2 or 3"),
        (np.zeros((2, 2)), "not zero"),
        ([[1, np.nan], [0, 1]], "finite"),
        (np.ones(3), "2 or 3"),
    ],
)
def test_unsuitable_rows_are_refused(X, message, ax):
    for draw in (plotting.rectified_ellipsoid, plotting.polar_set):
        with pytest.raises(ValueError, match=message):
            draw(X, ax)


def test_unsuitable_axes_multipliers_and_views_are_refused(ax, solid):
    with pytest.raises(ValueError, match="two dimensions"):
        plotting.rectified_ellipsoid(OBTUSE, solid)
    with pytest.raises(ValueError, match="three dimensions"):
        plotting.polar_set(SOLID, ax)
    with pytest.raises(ValueError, match=r"shape \(2,\)"):
        plotting.polar_set(OBTUSE, ax, lam=np.ones(3))
    with pytest.raises(ValueError, match="views are"):
        plotting.arrangement(OBTUSE, ax, view="globe")
    with pytest.raises(ValueError, match="three dimensions"):
        plotting.arrangement(SOLID, ax, view="globe")
    with pytest.raises(ValueError, match="two dimensions"):
        plotting.arrangement(SOLID, solid)
