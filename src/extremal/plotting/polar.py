"""The dual feasible set {lam : g(lam) <= 1} of two or three rows, and the path of the multiplier to its boundary."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from extremal.plotting.ellipsoid import check_rows, multiplier
from extremal.plotting.runs import colour_of_time, time_bar, timed_line
from extremal.plotting.sphere import look_from, octant_triangles
from extremal.plotting.style import GREEN, GREY, ORANGE, flat_axes, lighten, solid_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike

    from extremal.design import Array
    from extremal.flow.trajectory import Trajectory

#: Directions around the circle, and on an edge of an octant of the sphere, which is halved so often where faces meet.
AROUND, EDGE, REFINED = 1440, 32, 4
#: The set is cut at this multiple of the path's extent.
FAR = 1.25
#: From this ratio on the sides of a picture are not in proportion.
SLIM = 4.0
#: Where the light comes from, seen from the orthant of the labels.
LIGHT = np.array([0.25, 0.55, 0.8])


def plot_polar(
    trajectory: Trajectory,
    ax: Axes | None = None,
    *,
    lam: ArrayLike | None = None,
    value: float | None = None,
    optimum: float | None = None,
    colorbar: bool = True,
) -> Axes:
    """The polar set {lam : g(lam) <= 1} of the rectified ellipsoid, and lam / g(lam) along a run.

    The dual problem maximises y^T lam over this set and the orthant y_k lam_k >= 0, in which the multipliers of a run
    lie (for the squared loss they may leave it). Scaled to the boundary they give the lower bounds y^T lam / g(lam) <=
    P*. At a global optimum the path ends where the level y^T lam = P* touches the set. For three rows the part of the
    boundary in that orthant is drawn.

    Parameters
    ----------
    trajectory : Trajectory
        Of two or three rows, in any dimension.
    ax : Axes, optional
        For three rows of three dimensions.
    lam : array of shape (n,), optional
        The multiplier of the limit, scaled in the same way and marked by a star.
    value, optimum : float, optional
        The value of the limit and P*; the level of P* (or else of the value) is drawn for two rows.
    colorbar : bool
        Whether to draw that of the time.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        For other numbers of rows, axes of the wrong number of dimensions, or a multiplier of another shape.
    """
    n = check_rows(trajectory)
    axes: Any = flat_axes(ax) if n == 2 else solid_axes(ax)
    X, y = trajectory.X, trajectory.y
    path = on_boundary(X, trajectory.lam)
    orthant = np.where(y >= 0, 1.0, -1.0)
    end = on_boundary(X, path[-1:] if lam is None else multiplier(trajectory, lam)[None])
    extent = _extent(np.vstack([path, end]))
    if n == 2:
        draw_region(axes, X, orthant, extent, np.vstack([path, end]))
    else:
        look_from(axes, orthant * np.array([1.0, 0.8, 0.65]))
        draw_surface(axes, X, orthant, extent)
    scale = colour_of_time(trajectory)
    timed_line(axes, path, trajectory.time, scale, linewidth=2.6, zorder=4)
    solid: dict[str, Any] = {"depthshade": False} if n == 3 else {}
    axes.scatter(
        *path[:1].T, s=30, facecolor="white", edgecolor="black", zorder=6, label="λ / g(λ) at the start", **solid
    )
    axes.scatter(*path[-1:].T, s=42, facecolor="black", edgecolor="white", zorder=6, label="at the end", **solid)
    if lam is not None:
        star: dict[str, Any] = {
            "marker": "*",
            "s": 210,
            "facecolor": "none",
            "edgecolor": "black",
            "zorder": 7,
            **solid,
        }
        axes.scatter(*end.T, label="limit", **star)
    level, name = (optimum, "P*") if optimum is not None else (value, "the value of the limit")
    if level is not None and n == 2:
        draw_level(axes, y, level, name)
    _finish(axes, n, orthant, extent)
    if colorbar:
        time_bar(axes, scale, shrink=0.7)
    below: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (0, -0.15 if n == 2 else 0), "ncols": 3}
    axes.legend(frameon=False, fontsize="small", **below)
    return axes


def on_boundary(X: Array, Lam: Array) -> Array:
    """lam / g(lam) for each row; NaN where g(lam) = 0: the set is unbounded there."""
    from extremal.gauge.few_rows import gauge_values

    size = np.abs(Lam).max(axis=1, keepdims=True)
    unit = Lam / np.where(size > 0, size, 1.0)
    gauge = gauge_values(X, unit)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        found = unit / gauge[:, None]
    found[~np.isfinite(found).all(axis=1)] = np.nan
    return found


def _extent(points: Array) -> Array:
    """The largest |lam_k| on the way, none smaller than a hundredth of the largest; the picture is scaled to it."""
    size = np.nanmax(np.abs(points), axis=0, initial=0.0)
    size = np.where(size > 0, size, 1.0)
    return np.maximum(size, 0.01 * size.max())


def _clipped(X: Array, directions: Array, extent: Array) -> Array:
    """Points of the boundary; where it is outside the box of FAR times the extent, points of the box's surface."""
    points = on_boundary(X, directions)
    far = FAR / np.max(np.abs(directions) / extent, axis=1, keepdims=True) * directions
    inside = (np.abs(points) <= np.abs(far) * (1 + 1e-12)).all(axis=1)
    return np.where(inside[:, None], points, far)


def draw_region(ax: Axes, X: Array, orthant: Array, extent: Array, path: Array) -> None:
    """The set in the plane, darker in the orthant of the labels; its edge has points in the directions of the path."""
    turn = np.linspace(0, 2 * np.pi, AROUND + 1)
    known = path[np.isfinite(path).all(axis=1)] / extent
    turn = np.union1d(turn, np.mod(np.arctan2(known[:, 1], known[:, 0]), 2 * np.pi))
    boundary = _clipped(X, np.column_stack([np.cos(turn), np.sin(turn)]) * extent, extent)
    ax.fill(*boundary.T, facecolor=ORANGE, alpha=0.15, edgecolor="none", zorder=1)
    ax.plot(*boundary.T, color="0.4", linewidth=1.0, zorder=2, label="g(λ) = 1")
    mine = boundary[(boundary * orthant >= -1e-12 * extent).all(axis=1)]
    ax.fill(*_around(mine, orthant).T, facecolor=ORANGE, alpha=0.35, edgecolor="none", zorder=1)


def draw_level(ax: Any, y: Array, level: float, name: str) -> None:
    """The line y^T lam = level."""
    nearest = y * level / (y @ y)
    ax.axline(nearest, nearest + np.array([-y[1], y[0]]), color=GREEN, linewidth=1.2, linestyle="--", zorder=3)
    ax.plot([], [], color=GREEN, linewidth=1.2, linestyle="--", label=f"yᵀλ = {name}")


def _around(points: Array, orthant: Array) -> Array:
    """Points of one quadrant in the order of their angles, from the origin."""
    angle = np.arctan2(points[:, 1] * orthant[1], points[:, 0] * orthant[0])
    return np.concatenate([np.zeros((1, 2)), points[np.argsort(angle)]])


def draw_surface(ax: Any, X: Array, orthant: Array, extent: Array) -> Array:
    """The boundary in the orthant of the labels, shaded, with its faces told apart; its triangles (k, 3, 3)."""
    from mpl_toolkits.mplot3d.art3d import Poly3DCollection

    points = boundary_triangles(X, orthant * extent)
    scaled = points / extent
    normals = np.cross(scaled[:, 1] - scaled[:, 0], scaled[:, 2] - scaled[:, 0])
    normals *= np.sign((normals * scaled[:, 0]).sum(axis=1))[:, None]
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-300)
    shade = 0.6 + 0.4 * np.clip(normals @ (orthant * LIGHT), 0, 1)
    colours = np.outer(shade, [1.0, 0.88, 0.66])
    patch = Poly3DCollection(points, facecolors=colours, edgecolors=colours, linewidth=0.3, zorder=1)
    ax.add_collection3d(patch, autolim=False)
    return points


def boundary_triangles(X: Array, corner: Array) -> Array:
    """Triangles (k, 3, 3) inscribed in the boundary over the orthant of `corner`, ever finer where faces meet.

    The mesh is uniform in lam / corner; parts that are farther away than FAR corners are cut off.
    """
    from extremal.gauge.few_rows import best_faces

    extent = np.abs(corner)
    directions = octant_triangles(EDGE) * corner
    for _ in range(REFINED):
        faces = best_faces(X, directions.reshape(-1, 3)).reshape(-1, 3)
        mixed = (faces != faces[:, :1]).any(axis=1)
        directions = np.concatenate([directions[~mixed], quartered(directions[mixed])])
    return _clipped(X, directions.reshape(-1, 3), extent).reshape(-1, 3, 3)


def quartered(triangles: Array) -> Array:
    """Each triangle (k, 3, d) cut into four."""
    a, b, c = np.moveaxis(triangles, 1, 0)
    ab, bc, ca = (a + b) / 2, (b + c) / 2, (c + a) / 2
    parts = [(a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca)]
    return np.concatenate([np.stack(part, axis=1) for part in parts])


def _finish(ax: Any, n: int, orthant: Array, extent: Array) -> None:
    names = ["λ₁", "λ₂", "λ₃"]
    low, high = np.sort(np.outer([-0.3, 1.25] if n == 2 else [0.0, FAR], orthant * extent), axis=0)
    ax.set(xlabel=names[0], ylabel=names[1], xlim=(low[0], high[0]), ylim=(low[1], high[1]))
    if n == 2:
        ax.axhline(0, color=GREY, linewidth=0.6)
        ax.axvline(0, color=GREY, linewidth=0.6)
        ax.set_aspect("equal" if extent.max() < SLIM * extent.min() else "auto")
        lighten(ax)
        return
    ax.set(zlabel=names[2], zlim=(low[2], high[2]))
    ax.set_box_aspect((1, 1, 1), zoom=0.9)
    ax.tick_params(labelsize="x-small", colors=GREY)
