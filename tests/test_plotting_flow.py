"""Pictures of runs hold the right data."""

import matplotlib

matplotlib.use("Agg")

from dataclasses import replace

import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.collections import LineCollection, PatchCollection
from matplotlib.figure import Figure
from PIL import Image

import extremal
from extremal import datasets, plotting
from extremal.design import Design
from extremal.flow.discrete import descend
from extremal.flow.integrate import Flow
from extremal.flow.state import random_start
from extremal.flow.trajectory import EventKind, Recorder, Trajectory
from extremal.gauge.few_rows import gauge_values, touched_points
from extremal.plotting.animation import evenly
from extremal.plotting.ellipsoid import ellipsoid, reached
from extremal.plotting.events import slides
from extremal.plotting.polar import boundary_triangles, on_boundary
from extremal.plotting.runs import pace, shares
from extremal.plotting.sphere import discs, frame


def run(X, y, width=10, seed=0, r2=2e3, *, loss="logistic", bias=False, steps=5000):
    X = np.asarray(X, dtype=float)
    flow = Flow(X, np.asarray(y, dtype=float), loss, random_start(X.shape[1], width, 1e-3, np.random.default_rng(seed)))
    while np.exp(2 * flow.state.log_norms).sum() < r2 and flow.steps < steps:
        flow.advance()
    return flow.recorder.finish(X, y, loss=loss, method="flow", bias=bias)


@pytest.fixture(scope="module")
def xor():
    return run(*datasets.xor(12), width=20)


@pytest.fixture(scope="module")
def pair():
    """Two orthogonally separable rows: by hand, P* = 1/|x_1| + 1/|x_2|, lam* = (1/|x_1|, -1/|x_2|)."""
    return run([[1.65, 0.47], [-0.47, 1.35]], [1.0, -1.0], width=8, seed=1)


@pytest.fixture(scope="module")
def triple():
    return run(*datasets.orthogonally_separable(3, 3, random_state=1))


@pytest.fixture(scope="module")
def space():
    return run(*datasets.gaussian_labels(8, 3, random_state=1), width=12, r2=200)


@pytest.fixture(autouse=True)
def close():
    yield
    pyplot.close("all")


@pytest.fixture
def ax():
    return Figure().add_subplot()


@pytest.fixture
def solid():
    return Figure().add_subplot(projection="3d")


def labelled(ax, start):
    (line,) = (line for line in ax.get_lines() if line.get_label().startswith(start))
    return line.get_data()


# ------------------------------------------------------------------------------------------------ the gauge of few rows


@pytest.mark.parametrize(("n", "d"), [(1, 1), (2, 2), (2, 5), (3, 1), (3, 2), (3, 4), (5, 3)])
def test_the_gauge_of_few_rows_is_the_gauge(n, d):
    rng = np.random.default_rng(10 * n + d)
    X, Lam = rng.standard_normal((n, d)), rng.standard_normal((4, n))
    expected = [extremal.gauge(X, lam, tol=1e-9) for lam in Lam]
    found = gauge_values(X, Lam)
    assert np.all(found >= [(1 - 1e-9) * bounds.lower for bounds in expected])
    assert np.all(found <= [(1 + 1e-9) * bounds.upper for bounds in expected])


@pytest.mark.parametrize("scale", [1e-150, 1e150])
def test_the_gauge_of_few_rows_scales(scale):
    X, Lam = np.array([[1.0, 2.0], [-0.5, 0.3]]), np.array([[1.0, -0.7]])
    np.testing.assert_allclose(gauge_values(scale * X, Lam), scale * gauge_values(X, Lam), rtol=1e-12)
    np.testing.assert_allclose(gauge_values(X, scale * Lam), scale * gauge_values(X, Lam), rtol=1e-12)


def test_the_gauge_of_nothing_is_zero():
    np.testing.assert_array_equal(gauge_values(np.zeros((2, 3)), np.ones((2, 2))), 0)
    np.testing.assert_array_equal(gauge_values(np.ones((2, 3)), np.zeros((1, 2))), 0)
    assert touched_points(np.zeros((2, 3)), np.ones(2)).shape == (0, 2)
    with pytest.raises(ValueError, match="n <= 6"):
        gauge_values(np.ones((7, 2)), np.ones((1, 7)))


def test_the_touched_points_of_orthogonal_rows_are_on_the_axes():
    X = np.diag([2.0, 1.0])
    found = touched_points(X, np.array([0.5, -1.0]))
    np.testing.assert_allclose(sorted(found.tolist()), [[0, 1], [2, 0]])
    np.testing.assert_allclose(touched_points(X, np.array([1.0, -1.0])), [[2, 0]])


# ------------------------------------------------------------------------------------------------------------ geometry


@pytest.mark.parametrize("d", [2, 3, 4])
def test_the_ellipsoid_is_what_directions_reach(d):
    """No (X u)_+ is beyond the boundary, and the boundary is attained."""
    rng = np.random.default_rng(d)
    X = rng.standard_normal((min(d, 3), d))
    U = rng.standard_normal((20000, d))
    Z = np.maximum(U / np.linalg.norm(U, axis=1, keepdims=True) @ X.T, 0)
    Z = Z[Z.any(axis=1)]
    limit = reached(X, Z)
    assert np.all(np.linalg.norm(Z, axis=1) <= np.linalg.norm(limit, axis=1) * (1 + 1e-9))
    share = np.linalg.norm(Z, axis=1) / np.linalg.norm(limit, axis=1)
    assert share.max() > 0.999
    for lam in rng.standard_normal((5, len(X))):
        corners = np.concatenate(list(ellipsoid(X)))
        assert np.abs(corners @ lam).max() == pytest.approx(gauge_values(X, lam[None])[0], rel=5e-3)
        assert np.abs(corners @ lam).max() <= gauge_values(X, lam[None])[0] * (1 + 1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_triangles_of_the_polar_set_have_gauge_one(seed):
    rng = np.random.default_rng(seed)
    X, corner = rng.standard_normal((3, 3)), rng.choice([-1.0, 1.0], 3)
    boundary = np.linalg.norm(on_boundary(X, np.diag(corner)), axis=1) * corner
    triangles = boundary_triangles(X, boundary)
    centres = triangles.mean(axis=1)
    far = (np.abs(triangles) > 1.2 * np.abs(boundary)).any(axis=(1, 2))
    np.testing.assert_allclose(gauge_values(X, triangles[~far].reshape(-1, 3)), 1, rtol=1e-9)
    np.testing.assert_allclose(gauge_values(X, centres[~far]), 1, atol=2e-2)


def test_the_boundary_of_the_polar_set_has_gauge_one(pair, ax):
    plotting.plot_polar(pair, ax)
    boundary = np.array(labelled(ax, "g(λ)")).T
    values = gauge_values(pair.X, boundary)
    assert values.max() <= 1 + 1e-9
    (low, high), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    inside = ((boundary > [low, bottom]) & (boundary < [high, top])).all(axis=1)
    np.testing.assert_allclose(values[inside], 1, rtol=1e-9)


def test_the_path_in_the_polar_set_ends_at_the_optimum(pair, ax):
    best = 1 / np.linalg.norm(pair.X, axis=1)
    plotting.plot_polar(pair, ax, lam=[3 * best[0], -3 * best[1]], optimum=best.sum())
    start, end, limit = (group for group in ax.collections if group.get_zorder() >= 6)
    np.testing.assert_allclose(limit.get_offsets()[0], best * [1, -1], rtol=1e-9)
    np.testing.assert_allclose(end.get_offsets()[0], best * [1, -1], rtol=5e-3)
    np.testing.assert_allclose(gauge_values(pair.X, np.vstack([start.get_offsets(), end.get_offsets()])), 1, rtol=1e-9)
    (level,) = (line for line in ax.get_lines() if hasattr(line, "get_xy1"))
    assert pair.y @ level.get_xy1() == pytest.approx(best.sum())


def test_the_polar_set_of_three_rows(triple, solid):
    plotting.plot_polar(triple, solid, lam=triple.lam[-1])
    assert np.all(np.sign([solid.get_xlim()[1], solid.get_ylim()[1], solid.get_zlim()[1]]) >= 0)
    with pytest.raises(ValueError, match="three dimensions"):
        plotting.plot_polar(triple, Figure().add_subplot())


def test_the_spikes_of_orthogonally_separable_rows(pair, ax):
    plotting.plot_ellipsoid(pair, ax, lam=[1 / np.linalg.norm(pair.X[0]), -1 / np.linalg.norm(pair.X[1])])
    stars = next(group for group in ax.collections if group.get_label() == "touched by λ").get_offsets()
    expected = np.diag(np.linalg.norm(pair.X, axis=1))
    np.testing.assert_allclose(sorted(map(tuple, stars)), sorted(map(tuple, expected)), atol=1e-9)
    ends = np.concatenate([group.get_offsets() for group in ax.collections if group.get_zorder() == 6])
    for star in stars:
        assert np.linalg.norm(ends - star, axis=1).min() < 0.02


def test_the_paths_on_the_ellipsoid_are_those_of_the_neurons(pair, ax):
    plotting.plot_ellipsoid(pair, ax)
    paths = [np.array(group.get_segments()) for group in ax.collections if isinstance(group, LineCollection)]
    starts = {tuple(np.round(path[0, 0], 12)) for path in paths}
    expected = np.maximum(pair.directions[0] @ pair.X.T, 0)
    assert starts == {tuple(np.round(point, 12)) for point in expected}


@pytest.mark.parametrize("rows", [[[1.0, 2.0], [2.0, 4.0]], [[0.0, 0.0], [1.0, 1.0]], [[1.0, 0.5], [-1.0, -0.5]]])
def test_degenerate_rows_can_be_drawn(rows):
    trajectory = run(rows, [1.0, -1.0], steps=20)
    plotting.plot_ellipsoid(trajectory).figure.canvas.draw()
    plotting.plot_polar(trajectory).figure.canvas.draw()
    plotting.plot_directions(trajectory).figure.canvas.draw()


def test_the_geometry_is_for_two_or_three_rows(xor):
    for picture in (plotting.plot_ellipsoid, plotting.plot_polar):
        with pytest.raises(ValueError, match="2 or 3 rows; the data have 12"):
            picture(xor)


def test_a_multiplier_of_another_shape_is_refused(pair, ax):
    with pytest.raises(ValueError, match=r"shape \(2,\)"):
        plotting.plot_ellipsoid(pair, ax, lam=[1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="finite"):
        plotting.plot_polar(pair, ax, lam=[np.nan, 1.0])


# ---------------------------------------------------------------------------------------------------------- directions


def test_unrolled_angles(xor, ax):
    plotting.plot_directions(xor, ax)
    curves = [line for line in ax.get_lines() if len(line.get_xdata()) == len(xor)]
    angles = {tuple(np.round(np.mod(line.get_ydata(), 360), 6)) for line in curves}
    v = xor.directions
    expected = np.degrees(np.arctan2(v[:, :, 1], v[:, :, 0]))
    assert angles == {tuple(np.round(np.mod(column, 360), 6)) for column in expected.T}
    switches = [line.get_ydata()[0] for line in ax.get_lines() if len(line.get_xdata()) == 2]
    u = np.array([np.cos(np.radians(switches)), np.sin(np.radians(switches))])
    assert len(switches) == 24
    assert np.all(np.abs(xor.X @ u).min(axis=0) < 1e-12)


def test_discs_keep_areas_and_the_sphere():
    rng = np.random.default_rng(0)
    points = rng.standard_normal((4000, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    basis = frame(np.array([0.6, 0.0, 0.8]))
    np.testing.assert_allclose(basis @ basis.T, np.eye(3), atol=1e-12)
    flat = discs(points, basis, 1)
    front = np.isfinite(flat).all(axis=1)
    np.testing.assert_array_equal(front, points @ basis[2] >= 0)
    # radius^2 = 1 - cos of the angle to the centre: caps have the area of their discs
    np.testing.assert_allclose((flat[front] ** 2).sum(axis=1), 1 - points[front] @ basis[2], atol=1e-9)
    assert np.isfinite(discs(points[~front], basis, -1)).all()


@pytest.mark.parametrize("view", ["discs", "globe", "projection"])
def test_views_in_space(space, view):
    ax = plotting.plot_directions(space, view=view)
    ax.figure.canvas.draw()
    assert ("projected" in ax.get_title()) == (view == "projection")


def test_projection_of_many_dimensions(ax):
    trajectory = run(*datasets.gaussian_labels(10, 5), steps=50)
    plotting.plot_directions(trajectory, ax)
    assert "5 dimensions, projected onto two" in ax.get_title()
    for group in ax.collections:
        if isinstance(group, LineCollection):
            assert np.linalg.norm(np.concatenate(group.get_segments()), axis=1).max() <= 1 + 1e-9


def test_views_of_other_dimensions_are_refused(xor, solid):
    with pytest.raises(ValueError, match="in 2 dimensions the views are unrolled, circle, projection"):
        plotting.plot_directions(xor, view="globe")
    with pytest.raises(ValueError, match="two dimensions"):
        plotting.plot_directions(xor, solid)
    with pytest.raises(ValueError, match="only the directions"):
        plotting.plot_directions(run([[1.0], [-2.0]], [1, -1], steps=5))


# -------------------------------------------------------------------------------------------------------- against time


def test_a_bar_for_each_slide(xor, ax):
    plotting.plot_events(xor, ax)
    (bars,) = (group for group in ax.collections if isinstance(group, PatchCollection))
    started = xor.events[xor.events["kind"] == EventKind.SLIDE]
    assert started.size > 5
    assert len(bars.get_paths()) == started.size
    left = sorted(path.vertices[:, 0].min() for path in bars.get_paths())
    np.testing.assert_allclose(left, np.sort(started["time"]))
    crossed = {kind: sum(xor.events["kind"] == kind) for kind in (EventKind.ON, EventKind.OFF)}
    marks = {group.get_label(): len(group.get_offsets()) for group in ax.collections}
    assert (marks["row on"], marks["row off"]) == (crossed[EventKind.ON], crossed[EventKind.OFF])


def test_slides_agree_with_the_counts_of_the_snapshots(xor):
    found = slides(xor)
    for k in range(1, len(xor) - 1):
        now = xor.time[k]
        if np.any(np.abs(xor.events["time"] - now) < 1e-9):
            continue
        count = np.zeros(20, dtype=int)
        for bar in found:
            count[bar.neuron] += bar.start < now < bar.end
        np.testing.assert_array_equal(count, xor.sliding[k])


def test_slides_at_the_same_time_have_lanes_of_their_own():
    recorder = Recorder()
    for time in (0.0, 5.0):
        recorder.record(time, time, np.eye(2), np.zeros(2), np.ones(2))
    for time, kind, row in [(1, "SLIDE", 0), (2, "SLIDE", 1), (3, "LEAVE_ON", 0), (4, "SLIDE", 2), (4.5, "DEATH", -1)]:
        recorder.event(time, EventKind[kind], 1, row)
    recorder.event(4.6, EventKind.SLIDE, 0, 0)
    trajectory = recorder.finish(np.eye(3, 2), np.ones(3), loss="logistic", method="made up")
    found = sorted((bar.neuron, bar.row, bar.start, bar.end, bar.lane) for bar in slides(trajectory))
    assert found == [(0, 0, 4.6, 5.0, 0), (1, 0, 1, 3, 0), (1, 1, 2, 4.5, 1), (1, 2, 4, 4.5, 0)]
    plotting.plot_events(trajectory).figure.canvas.draw()


def test_norms_and_alignment(xor, ax):
    plotting.plot_norms(xor, ax)
    drawn = {tuple(line.get_ydata()) for line in ax.get_lines()}
    assert {tuple(column) for column in xor.log_norms.T} <= drawn
    assert tuple(0.5 * np.log(2 * xor.half_norm2)) in drawn
    other = Figure().add_subplot()
    plotting.plot_alignment(xor, other)
    still = xor.sliding == 0
    for line in other.get_lines():
        values = np.asarray(line.get_ydata(), dtype=float)
        if values.size == len(xor):
            assert any(np.allclose(values[still[:, i]], 1 - xor.alignment[still[:, i], i]) for i in range(20))


def test_the_loss_on_both_clocks(xor, ax):
    plotting.plot_loss(xor, ax)
    when, loss = ax.get_lines()[0].get_data()
    np.testing.assert_array_equal(when, xor.log_clock[1:])
    np.testing.assert_array_equal(loss, xor.log_loss[1:])
    # d log L / d log t -> -1
    slope = np.diff(loss)[-20:] / np.diff(when)[-20:]
    np.testing.assert_allclose(slope, -1, atol=0.05)
    plotting.plot_loss(xor, clock="tau")
    with pytest.raises(ValueError, match="clocks"):
        plotting.plot_loss(xor, clock="seconds")


def test_bounds_close_on_the_optimum_from_both_sides(pair, ax):
    optimum = (1 / np.linalg.norm(pair.X, axis=1)).sum()
    plotting.plot_margin(pair, ax, optimum=optimum)
    size, upper = labelled(ax, "½|θ|² / min q")
    np.testing.assert_array_equal(size, pair.half_norm2)
    known = np.isfinite(upper)
    np.testing.assert_allclose(upper[known], pair.upper_bounds[known] / optimum - 1)
    lower = labelled(ax, "yᵀλ")[1]
    assert upper[-1] < 1e-2
    assert lower[-1] < 1e-2
    low, high = (float(part) for part in ax.get_title().split(" ≤ P* ≤ "))
    assert low <= optimum <= high
    other = plotting.plot_margin(pair, optimum=optimum, relative=False)
    margin = labelled(other, "½|θ|² / min q")[1]
    assert np.nanmax(margin) <= 1 / optimum


def test_margins_that_do_not_exist_are_refused():
    impossible = run([[1.0, 0.0], [1.0, 0.0]], [1.0, -1.0], steps=20)
    with pytest.raises(ValueError, match="never separates"):
        plotting.plot_margin(impossible)
    squared = run([[1.0, 0.0], [0.0, 1.0]], [1.0, 2.0], loss="squared", steps=50)
    with pytest.raises(ValueError, match="squared loss has no margin"):
        plotting.plot_margin(squared)
    figure = plotting.plot_flow(squared)
    figure.canvas.draw()


def test_a_reference_must_be_positive(pair, ax):
    with pytest.raises(ValueError, match="positive"):
        plotting.plot_margin(pair, ax, optimum=0.0)


# ---------------------------------------------------------------------------------------------------------- comparison


@pytest.fixture(scope="module")
def descent(xor):
    recorder = Recorder()
    start = random_start(2, 20, 1e-3, np.random.default_rng(0))
    descend(Design(xor.X), xor.y, "logistic", start, method="gd", step=0.1, max_steps=3000, recorder=recorder)
    return recorder.finish(xor.X, xor.y, loss="logistic", method="gd")


def test_methods_on_one_clock(xor, descent, ax):
    plotting.compare([xor, descent], ["flow", "gd"], ax, optimum=4.15)
    for label, trajectory in (("flow", xor), ("gd", descent)):
        when, gap = labelled(ax, label)
        np.testing.assert_array_equal(when, trajectory.time)
        known = np.isfinite(gap)
        np.testing.assert_allclose(gap[known], trajectory.upper_bounds[known] / 4.15 - 1)
    spent = [np.arange(len(xor)), 7 * np.arange(len(descent))]
    other = plotting.compare([xor, descent], ["flow", "gd"], clock=spent)
    np.testing.assert_array_equal(labelled(other, "gd")[0], spent[1])
    assert other.get_xlabel() == "gradient evaluations"


def test_what_cannot_be_compared_is_refused(xor, pair, descent):
    with pytest.raises(ValueError, match="a label for each"):
        plotting.compare([xor], [])
    with pytest.raises(ValueError, match="different data"):
        plotting.compare([xor, pair], ["a", "b"])
    with pytest.raises(ValueError, match="one for each snapshot"):
        plotting.compare([xor, descent], ["a", "b"], clock=[np.arange(len(xor))])


# -------------------------------------------------------------------------------------------- everything, in motion too


@pytest.mark.parametrize(("name", "panels"), [("pair", 9), ("triple", 9), ("xor", 7), ("space", 7)])
def test_the_dashboard_has_what_the_data_allow(request, name, panels):
    figure = plotting.plot_flow(request.getfixturevalue(name), time_limit=0.5)
    figure.canvas.draw()
    assert len([ax for ax in figure.axes if ax.get_label() != "<colorbar>"]) == panels


def test_a_run_of_one_snapshot_can_be_drawn(pair):
    plotting.plot_flow(pair.slice(0, 1), time_limit=0.5).canvas.draw()


def test_an_optimiser_that_overflows_can_be_drawn(pair):
    large = replace(pair, log_norms=pair.log_norms + np.linspace(0, 300, len(pair))[:, None])
    plotting.plot_flow(large, time_limit=0.5).canvas.draw()


def test_the_pace_shows_all_phases(xor):
    clock = pace(xor)
    assert clock[0] == 0
    assert clock[-1] == pytest.approx(1)
    assert np.all(np.diff(clock) >= 0)
    assert clock[np.searchsorted(xor.time, 5.0)] > 0.2  # alignment, an eighth of tau, has more than its share
    film = evenly(xor, 50)
    np.testing.assert_allclose(np.interp(film.time, xor.time, clock), np.linspace(0, 1, 50), atol=5e-3)
    np.testing.assert_allclose(np.linalg.norm(film.directions, axis=2), 1)
    np.testing.assert_allclose(film.log_norms[[0, -1]], xor.log_norms[[0, -1]])
    assert shares(film).sum() == pytest.approx(1)


def film_frames(path):
    with Image.open(path) as film:
        count = film.n_frames
        pictures = []
        for k in (0, count - 1):
            film.seek(k)
            pictures.append(np.asarray(film.convert("L"), dtype=float))
    return count, *pictures


@pytest.mark.parametrize("name", ["xor", "triple", "space"])
def test_films(request, name, tmp_path):
    path = plotting.animate(request.getfixturevalue(name), tmp_path / "run.gif", fps=4, seconds=1, dpi=40)
    count, first, last = film_frames(path)
    assert 4 <= count <= 8  # equal pictures in a row are stored once
    assert np.abs(first - last).mean() > 0.5


@pytest.mark.parametrize("loss", ["logistic", "squared"])
def test_a_film_of_one_feature_and_a_bias(loss, tmp_path):
    X = np.column_stack([[-1.0, 0.0, 1.0], np.ones(3)])
    trajectory = run(X, [1.0, -1.0, 1.0], bias=True, loss=loss, steps=300)
    assert film_frames(plotting.animate(trajectory, tmp_path / "run.gif", fps=3, seconds=1, dpi=40))[0] >= 3


def test_films_that_cannot_be_made(xor, tmp_path, monkeypatch):
    from matplotlib.animation import FFMpegWriter

    monkeypatch.setattr(FFMpegWriter, "isAvailable", classmethod(lambda cls: False))
    with pytest.raises(RuntimeError, match="ffmpeg"):
        plotting.animate(xor, tmp_path / "run.mp4")
    with pytest.raises(ValueError, match=r"\.gif or \.mp4"):
        plotting.animate(xor, tmp_path / "run.avi")
    with pytest.raises(ValueError, match="positive"):
        plotting.animate(xor, tmp_path / "run.gif", seconds=0)
    with pytest.raises(ValueError, match="2 or 3 columns; this one has 5"):
        plotting.animate(run(*datasets.gaussian_labels(6, 5), steps=3), tmp_path / "run.gif")


def test_pictures_of_a_loaded_run_are_the_same(pair, tmp_path):
    pair.save(tmp_path / "run.npz")
    loaded = Trajectory.load(tmp_path / "run.npz")
    first, second = (plotting.plot_norms(one, Figure().add_subplot()) for one in (pair, loaded))
    for one, other in zip(first.get_lines(), second.get_lines(), strict=True):
        np.testing.assert_array_equal(one.get_ydata(), other.get_ydata())
