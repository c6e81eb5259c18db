"""Directions in space: a globe in three dimensions, or its two hemispheres side by side."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from extremal.plotting.runs import (
    colour_of_time,
    is_small,
    mark_ends,
    mark_signs,
    shares,
    sign_colour,
    signs,
    time_bar,
    timed_line,
)
from extremal.plotting.style import GREY

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from extremal.design import Array
    from extremal.flow.trajectory import Trajectory

#: Points between two snapshots, so that a line on the sphere is an arc.
BETWEEN = 8
#: Distance between the centres of the two discs.
APART = 2.25
#: Length of the teeth on the active side of a great circle.
TOOTH = 0.06


def refined(path: Array, time: Array, between: int = BETWEEN) -> tuple[Array, Array]:
    """Unit vectors (T, d) with arcs put between them, and the times."""
    share = np.arange(between) / between
    points = path[:-1, None] * (1 - share[:, None]) + path[1:, None] * share[:, None]
    points = np.concatenate([points.reshape(-1, path.shape[1]), path[-1:]])
    when = np.append((time[:-1, None] * (1 - share) + time[1:, None] * share).ravel(), time[-1])
    size = np.linalg.norm(points, axis=1, keepdims=True)
    return points / np.where(size > 0, size, 1.0), when


def camera(trajectory: Trajectory) -> Array:
    """The direction from which most of the final mass is seen: its mean, or the heaviest neuron."""
    share = shares(trajectory)
    mean = share @ trajectory.directions[-1]
    size = float(np.linalg.norm(mean))
    return mean / size if size > 0.1 else trajectory.directions[-1, int(share.argmax())]


def frame(towards: Array) -> Array:
    """An orthonormal basis (3, 3): right, up, and towards the viewer."""
    up = np.eye(3)[2] if abs(towards[2]) < 0.95 else np.eye(3)[1]
    right = np.cross(up, towards)
    right /= np.linalg.norm(right)
    return np.array([right, np.cross(towards, right), towards])


def great_circles(X: Array) -> Iterator[tuple[Array, Array]]:
    """For each row that is not zero, its circle (181, 3) and teeth (24, 2, 3) from it towards the active side."""
    turn = np.radians(np.arange(0, 361, 2))
    for x in X[X.any(axis=1)]:
        unit = x / np.abs(x).max()
        unit = unit / np.linalg.norm(unit)
        right, up, _ = frame(unit)
        circle = np.outer(np.cos(turn), right) + np.outer(np.sin(turn), up)
        feet = circle[np.linspace(0, 180, 25).astype(int)[:-1]]
        tips = feet + TOOTH * unit
        yield circle, np.stack([feet, tips / np.linalg.norm(tips, axis=1, keepdims=True)], axis=1)


def discs(points: Array, basis: Array, side: int) -> Array:
    """Lambert's projection of equal area of one hemisphere, NaN on the other: side +1 on the left, -1 on the right.

    The second is seen from behind, as if one had walked around the globe.
    """
    right, up, depth = (points @ basis.T * np.array([side, 1, side])).T
    with np.errstate(invalid="ignore", divide="ignore"):
        stretch = np.sqrt(1 / (1 + depth))
    flat = np.column_stack([right * stretch + (0.0 if side > 0 else APART), up * stretch])
    flat[depth < -1e-9] = np.nan
    return flat


def draw_discs(ax: Axes, trajectory: Trajectory) -> None:
    """Both hemispheres, the first centred at the mean direction of the mass."""
    share, sign = shares(trajectory), signs(trajectory)
    small, scale, basis = is_small(share), colour_of_time(trajectory), frame(camera(trajectory))
    turn = np.linspace(0, 2 * np.pi, 361)
    for centre in (0.0, APART):
        ax.fill(centre + np.cos(turn), np.sin(turn), facecolor="0.98", edgecolor="0.3", linewidth=0.9, zorder=0)
    for side in (1, -1):
        for circle, teeth in great_circles(trajectory.X):
            ax.plot(*discs(circle, basis, side).T, color=GREY, linewidth=0.8, zorder=1)
            for tooth in teeth:
                ax.plot(*discs(tooth, basis, side).T, color=GREY, linewidth=0.8, zorder=1)
        for i in np.argsort(share):
            path, time = refined(trajectory.directions[:, i], trajectory.time)
            timed_line(ax, discs(path, basis, side), time, scale, linewidth=0.7 if small[i] else 1.8, zorder=3)
        _name_rows(ax, trajectory, basis, side)
        mark_ends(ax, discs(trajectory.directions[-1], basis, side), sign, share)
    ax.text(0, 1.04, "towards the mean direction", ha="center", va="bottom", fontsize="small", color=GREY)
    ax.text(APART, 1.04, "the other hemisphere, from behind", ha="center", va="bottom", fontsize="small", color=GREY)
    ax.set_xlim(-1.08, APART + 1.08)
    ax.set_ylim(-1.1, 1.2)
    ax.set_aspect("equal")
    ax.set_axis_off()
    time_bar(ax, scale, orientation="horizontal", shrink=0.5)
    ax.legend(
        handles=mark_signs(ends=True), loc="lower left", bbox_to_anchor=(0, -0.12), frameon=False, fontsize="small"
    )


def _name_rows(ax: Any, trajectory: Trajectory, basis: Array, side: int) -> None:
    """The sign of y where x_k points."""
    for x, y in zip(trajectory.X, trajectory.y, strict=True):
        place = discs((x / (np.linalg.norm(x) or np.inf))[None], basis, side)[0]
        if x.any() and np.isfinite(place).all():
            ax.text(
                *place, "+" if y > 0 else "−", color=sign_colour(y), ha="center", va="center", weight="bold", zorder=4
            )


def draw_globe(ax: Any, trajectory: Trajectory) -> None:
    """Seen from the mean direction of the mass; what is behind is pale."""
    share, sign = shares(trajectory), signs(trajectory)
    small, scale, eye = is_small(share), colour_of_time(trajectory), camera(trajectory)
    look_from(ax, eye)
    outline = next(great_circles(eye[None]))[0]
    ax.plot(*outline.T, color="0.3", linewidth=0.9)
    for circle, teeth in great_circles(trajectory.X):
        for front, alpha in ((True, 0.8), (False, 0.2)):
            ax.plot(*half(circle, eye, front).T, color=GREY, linewidth=0.8, alpha=alpha)
        for tooth in teeth[teeth[:, 0] @ eye > 0]:
            ax.plot(*tooth.T, color=GREY, linewidth=0.8, alpha=0.8)
    for i in np.argsort(share):
        path, time = refined(trajectory.directions[:, i], trajectory.time)
        width = 0.7 if small[i] else 1.8
        for front, alpha in ((False, 0.25), (True, 1.0)):
            timed_line(ax, half(path, eye, front), time, scale, linewidth=width, alpha=alpha)
    ends = trajectory.directions[-1]
    for front, alpha in ((False, 0.35), (True, 1.0)):
        here = (ends @ eye >= 0) == front
        mark_ends(ax, ends[here], sign[here], share[here], alpha=alpha, depthshade=False)
    for x, y in zip(trajectory.X, trajectory.y, strict=True):
        if x.any():
            unit = x / np.linalg.norm(x)
            ax.text(*(1.06 * unit), "+" if y > 0 else "−", color=sign_colour(y), alpha=1.0 if unit @ eye > 0 else 0.35)
    ax.set(xlim=(-0.75, 0.75), ylim=(-0.75, 0.75), zlim=(-0.75, 0.75))
    ax.set_box_aspect((1, 1, 1))
    ax.set_axis_off()
    time_bar(ax, scale, shrink=0.6)
    ax.legend(handles=mark_signs(ends=True), loc="lower left", frameon=False, fontsize="small")


def look_from(ax: Any, eye: Array) -> None:
    """Put the camera in the direction `eye`, infinitely far away."""
    ax.set_proj_type("ortho")
    ax.computed_zorder = False
    ax.view_init(
        elev=np.degrees(np.arcsin(np.clip(eye[2] / np.linalg.norm(eye), -1, 1))),
        azim=np.degrees(np.arctan2(eye[1], eye[0])),
    )


def half(points: Array, eye: Array, front: bool) -> Array:
    """Points in front of the globe, or behind; NaN for the others."""
    return np.where(((points @ eye >= -0.02) if front else (points @ eye <= 0.02))[:, None], points, np.nan)


def octant_triangles(edge: int) -> Array:
    """Triangles (k, 3, 3) of directions that cover the positive octant, each edge cut into so many parts."""
    found = []
    for i in range(edge):
        for j in range(edge - i):
            found.append([(i, j), (i + 1, j), (i, j + 1)])
            if i + j < edge - 1:
                found.append([(i + 1, j), (i + 1, j + 1), (i, j + 1)])
    corners = np.array(found, dtype=np.float64)
    return np.concatenate([corners, edge - corners.sum(axis=2, keepdims=True)], axis=2)
