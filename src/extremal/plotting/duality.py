"""The dual geometry of two or three rows without a run: the rectified ellipsoid with its spikes, and its polar set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from extremal.plotting.ellipsoid import draw_ellipsoid, draw_supports, ellipsoid
from extremal.plotting.polar import draw_level, draw_region, draw_surface
from extremal.plotting.sphere import look_from
from extremal.plotting.style import GREY, VERMILION, flat_axes, lighten, solid_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike

    from extremal.design import Array

#: The polar set may be unbounded; it is cut at this multiple of 1 / |x_k|, where it meets the axes.
REACH = 2.0
STAR: dict[str, Any] = {"marker": "*", "s": 210, "facecolor": "white", "edgecolor": "black", "zorder": 8}


def rectified_ellipsoid(X: ArrayLike, ax: Axes | None = None, *, lam: ArrayLike | None = None) -> Axes:
    """The rectified ellipsoid Q = {(X u)_+ : |u| <= 1}, and the spikes: the corners of the hull of Q and -Q.

    For two rows the mirror image -Q and the convex hull of both are drawn too: the unit ball of the norm that training
    minimises. An output vector on its boundary costs one.

    Parameters
    ----------
    X : array of shape (2, d) or (3, d)
    ax : Axes, optional
        For three rows of three dimensions.
    lam : array of shape (n,), optional
        A multiplier: stars mark what its supporting hyperplanes lam^T z = +-g(lam) touch, for two rows with the lines.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        For another number of rows, axes of the wrong number of dimensions, or a multiplier of another shape.

    References
    ----------
    Ergen & Pilanci (JMLR 2021); Wang & Pilanci (ICLR 2022).
    """
    from extremal.gauge.few_rows import gauge_values, spikes, touched_points

    rows = _rows(X)
    plane = len(rows) == 2
    axes: Any = flat_axes(ax) if plane else solid_axes(ax)
    solid: dict[str, Any] = {} if plane else {"depthshade": False}
    draw_ellipsoid(axes, rows)
    if plane:
        _draw_mirror(axes, rows)
    corners = spikes(rows)
    shown = corners if plane else corners[(corners > -1e-12).all(axis=1)]
    axes.scatter(*shown.T, color=VERMILION, edgecolor="white", s=50, zorder=6, label="spikes", **solid)
    if lam is not None:
        point = _vector(lam, rows)
        touched = touched_points(rows, point)
        touched = touched * np.sign(touched @ point)[:, None] if plane else touched
        if plane:
            draw_supports(axes, point, float(gauge_values(rows, point[None])[0]))
        axes.scatter(*touched.T, label="touched by λ", **STAR, **solid)
    _name(axes, plane)
    return axes


def polar_set(
    X: ArrayLike, ax: Axes | None = None, *, lam: ArrayLike | None = None, y: ArrayLike | None = None
) -> Axes:
    """The polar set {lam : g(lam) <= 1} of the rectified ellipsoid: the multipliers that no neuron violates.

    Parameters
    ----------
    X : array of shape (2, d) or (3, d)
        For three rows the boundary is drawn, in one orthant.
    ax : Axes, optional
        For three rows of three dimensions.
    lam : array of shape (n,), optional
        A multiplier, marked by a star.
    y : array of shape (n,), optional
        Labels or targets: their orthant is darker, or for three rows the one that is drawn; with `lam` and two rows
        also the level y^T z = y^T lam.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        For another number of rows, axes of the wrong number of dimensions, or a multiplier of another shape.
    """
    rows = _rows(X)
    plane = len(rows) == 2
    axes: Any = flat_axes(ax) if plane else solid_axes(ax)
    extent = REACH / np.linalg.norm(rows, axis=1)
    target = np.ones(len(rows)) if y is None else _vector(y, rows)
    orthant = np.where(target >= 0, 1.0, -1.0)
    marked = np.zeros((0, len(rows))) if lam is None else _vector(lam, rows)[None]
    if plane:
        draw_region(axes, rows, orthant, extent, marked)
        limits = 1.15 * np.array([axes.dataLim.intervalx, axes.dataLim.intervaly])
        axes.set(xlim=limits[0], ylim=limits[1])
        axes.axhline(0, color=GREY, linewidth=0.6)
        axes.axvline(0, color=GREY, linewidth=0.6)
        axes.set_aspect("equal")
        lighten(axes)
        if lam is not None and y is not None:
            draw_level(axes, target, float(target @ marked[0]), f"{target @ marked[0]:.4g}")
    else:
        look_from(axes, orthant * np.array([1.0, 0.8, 0.65]))
        size = 1.05 * np.abs(draw_surface(axes, rows, orthant, extent)).max(axis=(0, 1))
        low, high = np.sort([0 * size, orthant * size], axis=0)
        axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), zlim=(low[2], high[2]))
        axes.set_box_aspect((1, 1, 1), zoom=0.88)
        axes.tick_params(labelsize="x-small", colors=GREY)
        axes.locator_params(nbins=5)
        axes.set(zlabel="λ₃")
    axes.set(xlabel="λ₁", ylabel="λ₂")
    if lam is not None:
        axes.scatter(*marked.T, label="λ", **STAR, **({} if plane else {"depthshade": False}))
    _name(axes, plane)
    return axes


def _name(ax: Any, plane: bool) -> None:
    """A legend, below a plane picture."""
    place: dict[str, Any] = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.13)} if plane else {"loc": "upper left"}
    if ax.get_legend_handles_labels()[0]:
        ax.legend(frameon=False, fontsize="small", ncols=3 if plane else 1, **place)


def _draw_mirror(ax: Axes, X: Array) -> None:
    """-Q, and the hull of Q and -Q."""
    from scipy.spatial import ConvexHull

    patches = list(ellipsoid(X))
    for patch in patches:
        ax.fill(*-patch.T, facecolor="0.6", alpha=0.25, linewidth=0, zorder=1)
        ax.plot(*-patch[1 if len(patch) > 2 else 0 :].T, color="0.6", linewidth=2.0, zorder=2)
    points = np.concatenate([side * patch for patch in patches for side in (1.0, -1.0)])
    if np.linalg.matrix_rank(points) == 2:
        outline = points[ConvexHull(points).vertices]
        ax.fill(*outline.T, facecolor="0.5", alpha=0.07, linewidth=0, zorder=0)
        ax.plot(*np.concatenate([outline, outline[:1]]).T, color="0.3", linewidth=1.0, linestyle=":", zorder=3)
    size = 1.12 * np.abs(points).max(axis=0)
    ax.set(xlim=(-size[0], size[0]), ylim=(-size[1], size[1]))


def _rows(X: ArrayLike) -> Array:
    rows = np.asarray(X, dtype=np.float64)
    if rows.ndim != 2 or len(rows) not in (2, 3) or not np.isfinite(rows).all() or not rows.any(axis=1).all():
        raise ValueError(f"this picture is for 2 or 3 finite rows that are not zero; the shape of X is {rows.shape}")
    return rows


def _vector(values: ArrayLike, X: Array) -> Array:
    found = np.asarray(values, dtype=np.float64)
    if found.shape != (len(X),) or not np.isfinite(found).all():
        raise ValueError(f"lam and y must be finite numbers of shape ({len(X)},); the shape is {found.shape}")
    return found
