"""The cells of {x_i . u = 0} on the circle and on the sphere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from extremal.plotting.sphere import great_circles, half, look_from
from extremal.plotting.style import GREY, POINTS, flat_axes, solid_axes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike

    from extremal.design import Array


_LARGEST_LABEL = 12


def arrangement(
    X: ArrayLike, ax: Axes | None = None, *, labels: bool = True, view: Literal["disc", "globe"] = "disc"
) -> Axes:
    """The cells of {x_i . u = 0}: arcs of the circle for two columns, regions of the sphere for three.

    Colours tell how many rows are active. The sphere is shown by stereographic projection from its south pole: the disc
    is the hemisphere u_3 >= 0, great circles are circles, and the cells of the other hemisphere are opposite to these.

    Parameters
    ----------
    X : array of shape (n, 2) or (n, 3)
    ax : Axes, optional
    labels : bool
        Write the patterns into the cells that have room for them, for at most 12 rows; not on the globe.
    view : {"disc", "globe"}
        For three columns: the disc, or the sphere itself, on axes of three dimensions.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        If X has another number of columns, there is no such view of it, or the axes have the wrong dimensions.
    """
    from extremal.arrangements import arrangements

    found = arrangements(X)
    rows = found.design.dense()
    if rows.shape[1] not in (2, 3):
        raise ValueError(f"this picture is for 2 or 3 columns; X has {rows.shape[1]}")
    if view not in ("disc", "globe") or (view == "globe" and rows.shape[1] == 2):
        raise ValueError(f'the views are "disc" and, for 3 columns, "globe"; not {view!r} of {rows.shape[1]} columns')
    ax = solid_axes(ax) if view == "globe" else flat_axes(ax)
    patterns = found.patterns.unpack()
    labels = labels and len(rows) <= _LARGEST_LABEL
    if rows.shape[1] == 2:
        _draw_arcs(ax, rows, found.witnesses(), patterns, labels)
    elif view == "globe":
        _draw_globe(ax, rows, patterns)
    else:
        _draw_sphere(ax, rows, labels)
    if view == "disc":
        ax.set_aspect("equal")
    ax.set_axis_off()
    ax.set_title(f"{len(patterns)} cells of {found.central.N} hyperplanes", fontsize="medium")
    return ax


def _draw_arcs(ax: Axes, rows: Array, witnesses: Array, patterns: np.ndarray, labels: bool) -> None:
    """A sector for every cell, the lines between them, and the rows as arrows."""
    from matplotlib.patches import Wedge

    norms = np.linalg.norm(rows, axis=1)
    units = rows[norms > 0] / norms[norms > 0, None]
    across = np.arctan2(units[:, 0], -units[:, 1])
    ends = np.unique(np.round(np.concatenate([across, across + np.pi]) % (2 * np.pi), 12))
    shade = _shades(patterns.sum(axis=1))
    for u, pattern in zip(witnesses, patterns, strict=True):
        angle = np.arctan2(u[1], u[0]) % (2 * np.pi)
        place = int(np.searchsorted(ends, angle)) if ends.size else 0
        start, stop = (ends[place - 1], ends[place % ends.size]) if ends.size else (0.0, 0.0)
        sweep = (stop - start) % (2 * np.pi) or 2 * np.pi
        colour = shade(pattern.sum())
        sector = (np.degrees(start), np.degrees(start + sweep))
        ax.add_patch(Wedge((0, 0), 1.0, *sector, facecolor=colour, edgecolor="white", linewidth=1.2))
        if labels and sweep > 0.06:
            _write_outside(ax, start + 0.5 * sweep, pattern)
    for unit in units:
        for end in ([-unit[1], unit[0]], [unit[1], -unit[0]]):
            ax.plot(*np.outer(end, [1.0, 1.06]), color=GREY, linewidth=0.8)
        if len(units) <= _LARGEST_LABEL:
            ax.annotate("", 0.55 * unit, (0, 0), arrowprops={"arrowstyle": "-|>", "color": "black", "linewidth": 1.2})
    margin = 1.5 if labels else 1.15
    ax.set_xlim(-margin, margin)
    ax.set_ylim(-margin, margin)


def _write_outside(ax: Axes, angle: float, pattern: np.ndarray) -> None:
    """A pattern next to the circle, upright on both sides."""
    turn = np.degrees(angle) % 360
    left = 90 < turn < 270
    ax.text(
        1.1 * np.cos(angle),
        1.1 * np.sin(angle),
        _bits(pattern),
        rotation=turn - 180 if left else turn,
        rotation_mode="anchor",
        ha="right" if left else "left",
        va="center",
        fontsize=8,
        family="monospace",
    )


def _draw_sphere(ax: Axes, rows: Array, labels: bool) -> None:
    """The northern hemisphere, every pixel in the colour of its cell, and the great circles over it."""
    from matplotlib.patches import Circle

    side = np.linspace(-1, 1, 2 * POINTS + 1)
    x, y = np.meshgrid(side, side)
    square = x * x + y * y
    directions = np.stack([2 * x, 2 * y, 1 - square]) / (1 + square)
    active = np.tensordot(rows, directions, axes=1) > 0
    inside = square <= 1
    image = np.ones((*x.shape, 4))
    numbers = active.sum(axis=0)
    shade = _shades(numbers[inside])
    image[..., :3] = np.array([shade(k)[:3] for k in range(len(rows) + 1)])[numbers]
    image[..., 3] = inside
    ax.imshow(image, origin="lower", extent=(-1, 1, -1, 1), interpolation="bilinear", zorder=0)
    border = Circle((0, 0), 1.0, facecolor="none", edgecolor="black", linewidth=1.0, zorder=3)
    ax.add_patch(border)
    for row in rows[rows.any(axis=1)]:
        (line,) = ax.plot(*_great_circle(row / np.linalg.norm(row)), color="white", linewidth=1.2, zorder=2)
        line.set_clip_path(border)
    if labels:
        _write_inside(ax, active, inside, side, shade)
    ax.set_xlim(-1.05, 1.05)
    ax.set_ylim(-1.05, 1.05)


def _draw_globe(ax: Any, rows: Array, patterns: np.ndarray) -> None:
    """The sphere in the colours of its cells, seen from a little above the equator, and the great circles on it."""
    eye = np.array([0.2, -0.55, 0.8])
    outline = next(great_circles(eye[None]))[0]
    ax.plot(*(1.003 * outline).T, color="0.3", linewidth=1.4, zorder=6)
    look_from(ax, eye)
    longitude, latitude = np.meshgrid(
        np.linspace(-np.pi, np.pi, POINTS + 1), np.linspace(-np.pi, np.pi, POINTS // 2 + 1) / 2
    )
    sphere = np.stack([np.cos(latitude) * np.cos(longitude), np.cos(latitude) * np.sin(longitude), np.sin(latitude)])
    middle = 0.25 * (sphere[:, 1:, 1:] + sphere[:, 1:, :-1] + sphere[:, :-1, 1:] + sphere[:, :-1, :-1])
    active = (np.tensordot(rows, middle, axes=1) > 0).sum(axis=0)
    shade = _shades(patterns.sum(axis=1))
    colours = np.array([shade(k) for k in range(len(rows) + 1)])[active]
    ax.plot_surface(*sphere, facecolors=colours, rstride=1, cstride=1, linewidth=0, antialiased=False, shade=False)
    for circle, _ in great_circles(rows):
        ax.plot(*(1.004 * half(circle, eye, True)).T, color="white", linewidth=1.3, zorder=5)
    ax.set(xlim=(-0.65, 0.65), ylim=(-0.65, 0.65), zlim=(-0.65, 0.65))
    ax.set_box_aspect((1, 1, 1))


def _great_circle(normal: Array) -> Array:
    """The stereographic projection of half of the great circle across a unit vector, the half with u_3 >= 0."""
    along = np.array([-normal[1], normal[0], 0.0])
    along = along / np.linalg.norm(along) if along.any() else np.array([1.0, 0.0, 0.0])
    up = np.cross(along, normal)
    up = up if up[2] >= 0 else -up
    span = np.pi if up[2] > 0 else 2 * np.pi
    t = np.linspace(0, span, POINTS)
    points = np.outer(along, np.cos(t)) + np.outer(up, np.sin(t))
    return points[:2] / (1 + points[2])


def _write_inside(
    ax: Axes, active: np.ndarray, inside: np.ndarray, side: Array, shade: Callable[[int], Sequence[float]]
) -> None:
    """Every pattern where its region is widest, if it fits."""
    from scipy.ndimage import distance_transform_edt

    n = len(active)
    codes = np.tensordot(2 ** np.arange(n), active, axes=1)
    step = side[1] - side[0]
    for code in np.unique(codes[inside]):
        region = np.pad((codes == code) & inside, 1)
        room = distance_transform_edt(region)[1:-1, 1:-1]
        i, j = np.unravel_index(int(room.argmax()), room.shape)
        pattern = active[:, i, j]
        if room[i, j] * step > 0.016 * n + 0.01:
            dark = sum(shade(pattern.sum())[:3]) < 1.5
            ax.text(
                side[j], side[i], _bits(pattern), ha="center", va="center", fontsize=8, family="monospace",
                color="white" if dark else "black", zorder=4,
            )  # fmt: skip


def _shades(numbers: np.ndarray) -> Callable[[int], Sequence[float]]:
    """Colours for the numbers of active rows, from dark for the fewest to bright for the most."""
    from matplotlib import colormaps

    low, high = int(numbers.min()), int(numbers.max())
    return lambda number: colormaps["cividis"](0.08 + 0.84 * (number - low) / max(high - low, 1))


def _bits(pattern: np.ndarray) -> str:
    return "".join("1" if bit else "0" for bit in pattern)
