"""The rectified ellipsoid {(X u)_+ : |u| <= 1} of two or three rows, and what a run does on it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np

from extremal.plotting.runs import colour_of_time, is_small, mark_ends, mark_signs, shares, signs, time_bar, timed_line
from extremal.plotting.sphere import look_from, octant_triangles, refined
from extremal.plotting.style import GREEN, GREY, SKY, flat_axes, lighten, solid_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike

    from extremal.design import Array
    from extremal.flow.trajectory import Trajectory

#: Points on a quarter of a circle.
FINE = 96
#: From this ratio on the sides of a picture are not in proportion.
SLIM = 4.0


def plot_ellipsoid(
    trajectory: Trajectory, ax: Axes | None = None, *, lam: ArrayLike | None = None, colorbar: bool = True
) -> Axes:
    """The rectified ellipsoid {(X u)_+ : |u| <= 1}, the ways of (X v_i)_+ on it, and the spikes that lam touches.

    The hyperplanes lam^T z = +-g(lam) support the ellipsoid and its mirror image. Stars mark the points that they touch
    (to one part in a thousand): for the multiplier of a global optimum these are the spikes, exposed points of the
    convex hull of both, and all its neurons are there. A neuron of mass away from every star tells that the run has not
    arrived, or that where it ends is not optimal.

    Parameters
    ----------
    trajectory : Trajectory
        Of two or three rows, in any dimension.
    ax : Axes, optional
        For three rows of three dimensions.
    lam : array of shape (n,), optional
        The multiplier of the limit; that of the last snapshot by default.
    colorbar : bool
        Whether to draw that of the time.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        For other numbers of rows, axes of the wrong number of dimensions, or a multiplier of another shape.

    References
    ----------
    Wang & Pilanci, "The convex geometry of backpropagation" (ICLR 2022).
    """
    from extremal.gauge.few_rows import gauge_values, touched_points

    n = check_rows(trajectory)
    lam = multiplier(trajectory, lam)
    axes: Any = flat_axes(ax) if n == 2 else solid_axes(ax)
    X, share, sign = trajectory.X, shares(trajectory), signs(trajectory)
    reach = float(np.linalg.norm(X, axis=1).max(initial=0.0)) or 1.0
    draw_ellipsoid(axes, X)
    scale, small = colour_of_time(trajectory), is_small(share)
    for i in np.argsort(share):
        path, time = refined(trajectory.directions[:, i], trajectory.time)
        timed_line(axes, np.maximum(path @ X.T, 0), time, scale, linewidth=0.8 if small[i] else 2.0, zorder=4)
    ends = np.maximum(trajectory.directions[-1] @ X.T, 0)
    solid: dict[str, Any] = {"depthshade": False} if n == 3 else {}
    mark_ends(axes, ends, sign, share, unit=reach, **solid)
    touched = touched_points(X, lam)
    star: dict[str, Any] = {
        "marker": "*",
        "s": 190,
        "facecolor": "none",
        "edgecolor": "black",
        "linewidth": 1.1,
        "zorder": 7,
    }
    axes.scatter(*touched.T, label="touched by λ", **star, **solid)
    if n == 2:
        draw_supports(axes, lam, float(gauge_values(X, lam[None])[0]))
    if colorbar:
        time_bar(axes, scale, shrink=0.7)
    handles = [*mark_signs(ends=True), *axes.get_legend_handles_labels()[0]]
    place: dict[str, Any] = {"loc": "upper left"}
    if n == 2:
        place |= {"bbox_to_anchor": (0, -0.15), "ncols": 2}
    axes.legend(handles=handles, frameon=False, fontsize="small", **place)
    return axes


def draw_ellipsoid(ax: Any, X: Array) -> None:
    """The rectified ellipsoid alone, on axes of as many dimensions as X has rows."""
    if len(X) == 3:
        look_from(ax, np.array([1.0, 0.75, 0.6]))
    for patch in ellipsoid(X):
        _draw_patch(ax, patch)
    _scale_axes(ax, X)


def ellipsoid(X: Array) -> Iterator[Array]:
    """Polygons (k, n) that make up the rectified ellipsoid: flat ones exactly, the curved part inscribed.

    A segment is a polygon of two points. For three rows of rank three the boundary, otherwise all of it.
    """
    _, s, Vt = np.linalg.svd(X, full_matrices=False)
    rank = int((s > 1e-12 * s[0]).sum()) if s.size and s[0] > 0 else 0
    reduced = X @ Vt[:rank].T
    if rank == 1:
        yield from (np.stack([np.zeros(len(X)), np.maximum(side * reduced[:, 0], 0)]) for side in (1.0, -1.0))
    elif rank == 2:
        yield from _sectors(reduced)
    elif rank == 3:
        yield from _octant(reduced)


def _sectors(X: Array) -> Iterator[Array]:
    """The image of the unit disc, a polygon for each cell: u -> (X u)_+ is linear there."""
    switches = [np.arctan2(x[1], x[0]) + side * np.pi / 2 for x in X if x.any() for side in (1, -1)]
    ends = np.unique(np.mod(switches, 2 * np.pi))
    for start, stop in zip(ends, np.append(ends[1:], ends[0] + 2 * np.pi), strict=True):
        turn = np.linspace(start, stop, 2 * FINE)
        image = np.maximum(np.column_stack([np.cos(turn), np.sin(turn)]) @ X.T, 0)
        if image.any():
            yield np.concatenate([np.zeros((1, len(X))), image])


def _octant(X: Array) -> Iterator[Array]:
    """The boundary over the positive octant: a curved triangle, three flat sectors, and three segments on the axes."""
    size = np.linalg.norm(X, axis=1)
    mesh = octant_triangles(FINE // 3) * size
    least = np.linalg.norm(mesh @ np.linalg.pinv(X).T, axis=2, keepdims=True)
    yield from mesh / least
    turn = np.linspace(0, np.pi / 2, FINE)
    for axis in range(3):
        rim = np.insert(np.column_stack([np.cos(turn), np.sin(turn)]), axis, 0.0, axis=1) * size
        yield np.concatenate([np.zeros((1, 3)), reached(X, rim)])
        yield np.stack([np.zeros(3), reached(X, np.eye(3)[axis : axis + 1])[0]])


def reached(X: Array, directions: Array) -> Array:
    """The last point t z of the rectified ellipsoid in each direction z >= 0, X of full row rank; shape (k, n).

    t = 1 / min |u| subject to x_i . u = z_i where z_i > 0 and x_i . u <= 0 elsewhere, by trying all sets of active
    constraints. At the edges of the octant t jumps.
    """
    scaled = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    least = np.full(len(scaled), np.inf)
    for kinds in product((False, True), repeat=len(X)):
        active = np.array(kinds)
        U = scaled[:, active] @ np.linalg.pinv(X[active]).T
        feasible = (np.abs(np.maximum(U @ X.T, 0) - scaled) < 1e-9).all(axis=1)
        least = np.where(feasible, np.minimum(least, np.linalg.norm(U, axis=1)), least)
    return scaled / least[:, None]


def _draw_patch(ax: Any, corners: Array) -> None:
    if corners.shape[1] == 2:
        ax.fill(*corners.T, facecolor=SKY, alpha=0.35, linewidth=0, zorder=1)
        ax.plot(*corners[1 if len(corners) > 2 else 0 :].T, color=SKY, linewidth=2.0, zorder=2, solid_capstyle="round")
        return
    from mpl_toolkits.mplot3d.art3d import Poly3DCollection

    if len(corners) == 2:
        ax.plot(*corners.T, color=SKY, linewidth=3.0, zorder=2)
        return
    ax.add_collection3d(Poly3DCollection([corners], facecolor=SKY, alpha=0.22, linewidth=0, zorder=1), autolim=False)
    if len(corners) > 3:
        ax.plot(*corners[1:].T, color="0.35", linewidth=0.8, zorder=2)


def draw_supports(ax: Axes, lam: Array, gauge: float) -> None:
    """The lines lam^T z = +-g(lam)."""
    if gauge <= 0:
        return
    nearest, along = lam * gauge / (lam @ lam), np.array([-lam[1], lam[0]])
    for side in (1.0, -1.0):
        point = side * nearest
        ax.axline(point, point + along, color=GREEN, linewidth=1.1, linestyle="--", zorder=3)
    ax.plot([], [], color=GREEN, linewidth=1.1, linestyle="--", label="λᵀz = ± g(λ)")


def check_rows(trajectory: Trajectory) -> int:
    """The number of rows, if it is two or three."""
    n = len(trajectory.y)
    if n not in (2, 3):
        raise ValueError(f"this picture is for 2 or 3 rows; the data have {n}")
    return n


def multiplier(trajectory: Trajectory, lam: ArrayLike | None) -> Array:
    """The multiplier given, or that of the last snapshot."""
    found = trajectory.lam[-1] if lam is None else np.asarray(lam, dtype=np.float64)
    if found.shape != trajectory.y.shape or not np.isfinite(found).all():
        raise ValueError(f"lam must be finite numbers of shape {trajectory.y.shape}; its shape is {found.shape}")
    return found


def _scale_axes(ax: Any, X: Array) -> None:
    """Axes as long as the rows: z_k = (x_k . u)_+ is at most |x_k|."""
    size = np.linalg.norm(X, axis=1)
    size = np.maximum(size, 0.05 * size.max(initial=0.0)) if size.any() else np.ones(len(X))
    low = -0.06 if len(X) == 2 else 0.0
    ax.set(
        xlabel="(x₁·u)₊", ylabel="(x₂·u)₊", xlim=(low * size[0], 1.08 * size[0]), ylim=(low * size[1], 1.08 * size[1])
    )
    if len(X) == 2:
        ax.set_aspect("equal" if size.max() < SLIM * size.min() else "auto")
        lighten(ax)
        return
    ax.set(zlabel="(x₃·u)₊", zlim=(0, 1.08 * size[2]))
    ax.set_box_aspect((1, 1, 1), zoom=0.9)
    ax.tick_params(labelsize="x-small", colors=GREY)
