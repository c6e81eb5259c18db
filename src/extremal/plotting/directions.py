"""Where the neurons point along a run: on the circle, on the sphere, or projected."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from extremal.plotting.runs import (
    FEW,
    TAU,
    colour_of_time,
    is_small,
    mark_ends,
    mark_signs,
    shares,
    sign_colour,
    signs,
    time_bar,
    timed_line,
)  # fmt: skip
from extremal.plotting.sphere import draw_discs, draw_globe, refined
from extremal.plotting.style import GREY, flat_axes, lighten, solid_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from extremal.design import Array
    from extremal.flow.trajectory import Trajectory

View = Literal["unrolled", "circle", "globe", "discs", "projection"]
_OF_DIMENSION = {2: ("unrolled", "circle"), 3: ("discs", "globe")}
#: Where time starts on the radius of the circle.
INNER = 0.35


def plot_directions(trajectory: Trajectory, ax: Axes | None = None, *, view: View | None = None) -> Axes:
    """The directions v_i = w_i / |w_i| along a run, and the hyperplanes {x_k . u = 0} on which rows switch.

    Triangles mark the ends, up for positive and down for negative output weights; their area is the neuron's share of
    the mass. Neurons that die out are thin.

    Parameters
    ----------
    trajectory : Trajectory
    ax : Axes, optional
        Of three dimensions for the globe.
    view : {"unrolled", "circle", "discs", "globe", "projection"}, optional
        In the plane the angle against tau (the default) or the circle with time as radius; in space both hemispheres as
        discs of equal area (the default; the first is centred at the mean direction), or the globe in three dimensions,
        where what is behind is pale. Small teeth on a hyperplane point to the side on which the row is active. In any
        dimension, and by default above three, the orthogonal projection onto the two leading principal directions of
        the final neurons, weighted by mass.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        If there is no such view in this dimension, or the axes have the wrong number of dimensions.
    """
    d = trajectory.X.shape[1]
    views = (*_OF_DIMENSION.get(d, ()), *(("projection",) if d > 1 else ()))
    if not views:
        raise ValueError("in one dimension there are only the directions +1 and -1")
    view = views[0] if view is None else view
    if view not in views:
        raise ValueError(f"in {d} dimensions the views are {', '.join(views)}, not {view!r}")
    ax = solid_axes(ax) if view == "globe" else flat_axes(ax)
    {
        "unrolled": _draw_unrolled,
        "circle": _draw_circle,
        "discs": draw_discs,
        "globe": draw_globe,
        "projection": _draw_projection,
    }[view](ax, trajectory)
    return ax


def _draw_unrolled(ax: Axes, trajectory: Trajectory) -> None:
    """Angles in [-180, 180] degrees against tau; a line that leaves at the top comes back at the bottom."""
    share, sign = shares(trajectory), signs(trajectory)
    small, time = is_small(share), trajectory.time
    angles = np.degrees(np.unwrap(np.arctan2(trajectory.directions[:, :, 1], trajectory.directions[:, :, 0]), axis=0))
    _draw_switches(ax, trajectory.X)
    for i in np.argsort(share):
        dying: dict[str, Any] = {"linewidth": 0.8, "linestyle": "--", "alpha": 0.7}
        style = dying if small[i] else {"linewidth": 1.6, "alpha": 0.9}
        turns = np.unique(np.floor((angles[:, i] + 180) / 360))
        for turn in np.arange(turns.min(), turns.max() + 1):
            ax.plot(time, angles[:, i] - 360 * turn, color=sign_colour(sign[i]), zorder=2 if small[i] else 3, **style)
    last = (angles[-1] + 180) % 360 - 180
    span = np.array([float(time[-1] - time[0]) or 1.0, 360.0])
    mark_ends(ax, np.column_stack([np.full(last.size, time[-1]), last]), sign, share, unit=span, clip_on=False)
    ax.set_ylim(-180, 180)
    ax.set_yticks(np.arange(-180, 181, 45))
    ax.margins(x=0.02)
    ax.set_xlabel(TAU)
    ax.set_ylabel("angle of v in degrees")
    _legend_above(ax)
    lighten(ax)
    ax.grid(False)


def _draw_switches(ax: Axes, X: Array) -> None:
    """Where rows switch: a line at each angle; the name of the row stands on the side on which it is active."""
    for k, x in enumerate(X):
        if not x.any():
            continue
        middle = np.degrees(np.arctan2(x[1], x[0]))
        for side in (-1, 1):
            angle = (middle + 90 * side + 180) % 360 - 180
            ax.axhline(angle, color=GREY, linewidth=0.7, linestyle=(0, (4, 3)), zorder=1)
            if len(X) <= FEW // 2:
                ax.annotate(
                    f"x{_subscript(k)}", (1.0, angle), xycoords=("axes fraction", "data"), xytext=(3, -side * 4),
                    textcoords="offset points", va="center", fontsize=7, color=GREY, annotation_clip=False,
                )  # fmt: skip


def _draw_circle(ax: Axes, trajectory: Trajectory) -> None:
    """The inner circle is the start and the outer one the end: the radius grows with tau."""
    share, sign = shares(trajectory), signs(trajectory)
    small, scale = is_small(share), colour_of_time(trajectory)
    turn = np.linspace(0, 2 * np.pi, 361)
    for radius in (INNER, 1.0):
        ax.plot(radius * np.cos(turn), radius * np.sin(turn), color="0.75", linewidth=0.8, zorder=1)
    draw_rows(ax, trajectory)
    for i in np.argsort(share):
        path, time = refined(trajectory.directions[:, i], trajectory.time)
        outwards = INNER + (1 - INNER) * np.asarray(scale(time))
        timed_line(ax, path * outwards[:, None], time, scale, linewidth=0.7 if small[i] else 1.8, zorder=3)
    mark_ends(ax, trajectory.directions[-1], sign, share)
    ax.set_xlim(-1.2, 1.2)
    ax.set_ylim(-1.2, 1.2)
    ax.set_aspect("equal")
    ax.set_axis_off()
    time_bar(ax, scale)
    ax.legend(
        handles=mark_signs(ends=True), loc="lower left", bbox_to_anchor=(0, -0.05), frameon=False, fontsize="small"
    )


def draw_rows(ax: Axes, trajectory: Trajectory) -> None:
    """The rows around the unit circle: where they point, and where they switch."""
    for x, y in zip(trajectory.X, trajectory.y, strict=True):
        if x.any():
            _draw_line_of_row(ax, x / np.linalg.norm(x), y)


def _draw_line_of_row(ax: Any, unit: Array, y: float) -> None:
    """The line {x . u = 0} with teeth on its active side, and the sign of y in the direction of x."""
    for side in (-1.0, 1.0):
        end = side * np.array([-unit[1], unit[0]])
        ax.plot(*np.outer(end, [0.0, 1.05]), color=GREY, linewidth=0.7, linestyle=(0, (4, 3)), zorder=1)
        ax.plot(*np.array([1.05 * end, 1.05 * end + 0.06 * unit]).T, color=GREY, linewidth=1.2, zorder=1)
    ax.text(*(1.12 * unit), "+" if y > 0 else "−", color=sign_colour(y), ha="center", va="center", weight="bold")


def _draw_projection(ax: Any, trajectory: Trajectory) -> None:
    """Orthogonal projection onto the leading right singular vectors of the final directions, weighted by mass."""
    share, sign = shares(trajectory), signs(trajectory)
    small, scale = is_small(share), colour_of_time(trajectory)
    _, s, Vt = np.linalg.svd(np.sqrt(share)[:, None] * trajectory.directions[-1])
    plane = Vt[:2]
    turn = np.linspace(0, 2 * np.pi, 361)
    ax.plot(np.cos(turn), np.sin(turn), color="0.75", linewidth=0.8, zorder=1)
    for i in np.argsort(share):
        path = trajectory.directions[:, i] @ plane.T
        timed_line(ax, path, trajectory.time, scale, linewidth=0.7 if small[i] else 1.6, zorder=3)
    mark_ends(ax, trajectory.directions[-1] @ plane.T, sign, share)
    for x, y in zip(trajectory.X, trajectory.y, strict=True):
        point = plane @ x / (np.linalg.norm(x) or 1.0)
        ax.text(*point, "+" if y > 0 else "−", color=sign_colour(y), ha="center", va="center", alpha=0.6, zorder=2)
    part = float((s[:2] ** 2).sum() / max((s**2).sum(), 1e-300))
    dimensions = trajectory.X.shape[1]
    ax.set_title(
        f"{dimensions} dimensions, projected onto two that hold {100 * part:.0f} % of the mass", fontsize="medium"
    )
    ax.set_aspect("equal")
    ax.set_xlabel("first principal direction of the final neurons")
    ax.set_ylabel("second")
    time_bar(ax, scale)
    ax.legend(
        handles=mark_signs(ends=True), loc="upper left", bbox_to_anchor=(0, -0.12), ncols=2, frameon=False,
        fontsize="small",
    )  # fmt: skip
    lighten(ax)


def _legend_above(ax: Axes) -> None:
    ax.legend(handles=mark_signs(), loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False, fontsize="small")


def _subscript(k: int) -> str:
    return str(k).translate(str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉"))
