"""The dual feasible set {lam : g(lam) <= 1} of two or three rows, and the path of the multiplier to its boundary."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from extremal.gauge.few_rows import gauge_values
from extremal.plotting.ellipsoid import check_rows, multiplier
from extremal.plotting.runs import colour_of_time, time_bar, timed_line
from extremal.plotting.sphere import look_from, octant_triangles
from extremal.plotting.style import GREEN, GREY, ORANGE, flat_axes, lighten, solid_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike

    from extremal.design import Array
    from extremal.flow.trajectory import Trajectory

#: Directions around the circle, and on an edge of an octant of the sphere.
AROUND, EDGE = 1440, 40
#: An unbounded set is cut at this multiple of its smallest radius.
FAR = 20.0


def plot_polar(
    trajectory: Trajectory,
    ax: Axes | None = None,
    *,
    lam: ArrayLike | None = None,
    value: float | None = None,
    optimum: float | None = None,
) -> Axes:
    """The polar set {lam : g(lam) <= 1} of the rectified ellipsoid, and lam / g(lam) along a run.

    The dual problem maximises y^T lam over this set and the orthant y_k lam_k >= 0, in which the multipliers of a run lie
    (for the squared loss they may leave it). Scaled to the boundary they give the lower bounds y^T lam / g(lam) <= P*. At a
    global optimum the path ends where the level y^T lam = P* touches the set.

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

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        For other numbers of rows, axes of the wrong number of dimensions, or a multiplier of another shape.
    """
    n = check_rows(trajectory)
    ax = flat_axes(ax) if n == 2 else solid_axes(ax)
    X, y = trajectory.X, trajectory.y
    path = on_boundary(X, trajectory.lam)
    orthant = np.where(y >= 0, 1.0, -1.0)
    reach = float(np.nanmin(np.linalg.norm(on_boundary(X, np.vstack([np.eye(n), -np.eye(n)])), axis=1), initial=np.inf))
    reach = reach if np.isfinite(reach) else 1.0
    if n == 2:
        radius = _draw_region(ax, X, orthant, FAR * reach)
    else:
        look_from(ax, orthant * np.array([1.0, 0.8, 0.65]))
        radius = _draw_surface(ax, X, orthant, FAR * reach)
    scale = colour_of_time(trajectory)
    timed_line(ax, path, trajectory.time, scale, linewidth=2.6, zorder=4)
    solid: dict[str, Any] = {"depthshade": False} if n == 3 else {}
    ax.scatter(*path[:1].T, s=30, facecolor="white", edgecolor="black", zorder=6, label="λ / g(λ) at the start", **solid)
    ax.scatter(*path[-1:].T, s=42, facecolor="black", edgecolor="white", zorder=6, label="at the end", **solid)
    if lam is not None:
        end = on_boundary(X, multiplier(trajectory, lam)[None])
        star: dict[str, Any] = {"marker": "*", "s": 210, "facecolor": "none", "edgecolor": "black", "zorder": 7, **solid}
        ax.scatter(*end.T, label="limit", **star)
    level, name = (optimum, "P*") if optimum is not None else (value, "the value of the limit")
    if level is not None and n == 2:
        nearest = y * level / (y @ y)
        ax.axline(nearest, nearest + np.array([-y[1], y[0]]), color=GREEN, linewidth=1.2, linestyle="--", zorder=3)
        ax.plot([], [], color=GREEN, linewidth=1.2, linestyle="--", label=f"yᵀλ = {name}")
    _finish(ax, n, orthant, radius)
    time_bar(ax, scale, shrink=0.7)
    ax.legend(frameon=False, fontsize="small", loc="best" if n == 2 else "upper left")
    return ax


def on_boundary(X: Array, Lam: Array) -> Array:
    """lam / g(lam) for each row; NaN where g(lam) = 0: the set is unbounded there."""
    size = np.abs(Lam).max(axis=1, keepdims=True)
    unit = Lam / np.where(size > 0, size, 1.0)
    gauge = gauge_values(X, unit)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        found = unit / gauge[:, None]
    found[~np.isfinite(found).all(axis=1)] = np.nan
    return found


def _clipped(X: Array, directions: Array, far: float) -> Array:
    """Points of the boundary, and where it is farther away than that, points at distance `far`."""
    points = on_boundary(X, directions)
    size = np.linalg.norm(points, axis=1)
    outside = ~(size < far)
    points[outside] = far * directions[outside] / np.linalg.norm(directions[outside], axis=1, keepdims=True)
    return points


def _draw_region(ax: Axes, X: Array, orthant: Array, far: float) -> float:
    """The set in the plane, its part in the orthant of the labels darker; its largest radius there."""
    turn = np.linspace(0, 2 * np.pi, AROUND + 1)
    boundary = _clipped(X, np.column_stack([np.cos(turn), np.sin(turn)]), far)
    ax.fill(*boundary.T, facecolor=ORANGE, alpha=0.15, edgecolor="none", zorder=1)
    ax.plot(*boundary.T, color="0.4", linewidth=1.0, zorder=2, label="g(λ) = 1")
    mine = boundary[(boundary * orthant >= -1e-12).all(axis=1)]
    ax.fill(*_around(mine, orthant).T, facecolor=ORANGE, alpha=0.35, edgecolor="none", zorder=1)
    return float(np.abs(mine).max())


def _around(points: Array, orthant: Array) -> Array:
    """Points of one quadrant in the order of their angles, from the origin."""
    angle = np.arctan2(points[:, 1] * orthant[1], points[:, 0] * orthant[0])
    return np.concatenate([np.zeros((1, 2)), points[np.argsort(angle)]])


def _draw_surface(ax: Any, X: Array, orthant: Array, far: float) -> float:
    """The boundary in space: shaded in the orthant of the labels, faint elsewhere; its largest radius there."""
    from matplotlib.colors import LightSource
    from mpl_toolkits.mplot3d.art3d import Poly3DCollection

    radius = 1.0
    for signs in np.array(np.meshgrid(*[[1.0, -1.0]] * 3)).reshape(3, -1).T:
        corners = octant_triangles(EDGE if (signs == orthant).all() else EDGE // 4) * signs
        points = _clipped(X, corners.reshape(-1, 3), far).reshape(-1, 3, 3)
        if (signs == orthant).all():
            radius = float(np.abs(points).max())
            normals = np.cross(points[:, 1] - points[:, 0], points[:, 2] - points[:, 0])
            normals *= np.sign((normals * points[:, 0]).sum(axis=1))[:, None]
            normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-300)
            shade = 0.55 + 0.45 * np.clip(normals @ LightSource(20, 50).direction, 0, 1)
            colours = np.column_stack([np.outer(shade, [0.99, 0.85, 0.6]), np.full(len(shade), 0.9)])
            patch = Poly3DCollection(points, facecolors=colours, edgecolors="none", linewidth=0, zorder=1)
        else:
            patch = Poly3DCollection(points, facecolor=ORANGE, alpha=0.05, edgecolor="0.5", linewidth=0.2, zorder=0)
        ax.add_collection3d(patch, autolim=False)
    return radius


def _finish(ax: Any, n: int, orthant: Array, radius: float) -> None:
    names = ["λ₁", "λ₂", "λ₃"]
    ax.set_xlabel(names[0])
    ax.set_ylabel(names[1])
    if n == 2:
        low, high = np.sort(np.outer([-0.35, 1.15], orthant * radius), axis=0)
        ax.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]))
        ax.axhline(0, color=GREY, linewidth=0.6)
        ax.axvline(0, color=GREY, linewidth=0.6)
        ax.set_aspect("equal")
        lighten(ax)
        return
    low, high = np.sort(np.outer([-0.25, 1.0], orthant * radius), axis=0)
    ax.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), zlim=(low[2], high[2]))
    ax.set_zlabel(names[2])
    ax.set_box_aspect((1, 1, 1), zoom=0.9)
    ax.tick_params(labelsize="x-small", colors=GREY)
