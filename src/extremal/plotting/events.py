"""What happens between neurons and rows: crossings, sliding, branches, deaths."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from extremal.plotting.runs import FEW, TAU, shares, sign_colour, signs
from extremal.plotting.style import GREEN, ORANGE, PURPLE, SKY, YELLOW, flat_axes, lighten

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from extremal.design import Array
    from extremal.flow.trajectory import Trajectory

_DARK = "#882255"
_ROW_COLOURS = (SKY, ORANGE, GREEN, PURPLE, YELLOW, "#999999", _DARK, "#44AA99")


class Slide(NamedTuple):
    """A neuron slid on the hyperplane of a row from `start` to `end`; `lane` tells apart those at the same time."""

    neuron: int
    row: int
    start: float
    end: float
    lane: int


def slides(trajectory: Trajectory) -> list[Slide]:
    """All intervals of sliding; one that has not ended ends with the run."""
    from extremal.flow.trajectory import EventKind

    over = {EventKind.LEAVE_ON, EventKind.LEAVE_OFF}
    started: dict[tuple[int, int], tuple[float, int]] = {}
    found = []
    for time, kind, neuron, row in trajectory.events.tolist():
        if kind == EventKind.DEATH:
            ended = [key for key in started if key[0] == neuron]
        elif kind in over:
            ended = [(neuron, row)] if (neuron, row) in started else []
        else:
            ended = []
        for key in ended:
            start, lane = started.pop(key)
            found.append(Slide(*key, start, time, lane))
        if kind == EventKind.SLIDE and (neuron, row) not in started:
            busy = {lane for (i, _), (_, lane) in started.items() if i == neuron}
            started[neuron, row] = (time, next(lane for lane in range(len(busy) + 1) if lane not in busy))
    last = float(trajectory.time[-1])
    return [*found, *(Slide(*key, start, last, lane) for key, (start, lane) in started.items())]


def plot_events(trajectory: Trajectory, ax: Axes | None = None) -> Axes:
    """A line for each neuron: bars where it slides on a row's hyperplane, ticks where it crosses one.

    Neurons are sorted by their mass at the end, positive outputs above negative ones. A bar's colour tells the row if
    there are few, and its number where there is room. Upward triangles are rows switched on, downward ones rows
    switched off; diamonds are points where the flow is not unique, crosses are deaths.

    Parameters
    ----------
    trajectory : Trajectory
    ax : Axes, optional

    Returns
    -------
    Axes
    """
    from extremal.flow.trajectory import EventKind

    ax = flat_axes(ax)
    share, sign = shares(trajectory), signs(trajectory)
    order = np.lexsort((share, sign > 0))
    place = np.empty(order.size)
    place[order] = np.arange(order.size)
    few = order.size <= 40
    for i in range(order.size):
        ax.axhline(place[i], color=sign_colour(sign[i]), linewidth=0.5, alpha=0.35 + 0.65 * (share[i] > 1e-3), zorder=0)
    bars = _draw_slides(ax, trajectory, place)
    events = trajectory.events
    marks = [
        (EventKind.ON, "^", "black", "row on"),
        (EventKind.OFF, "v", "white", "row off"),
        (EventKind.BRANCH, "D", YELLOW, "not unique"),
        (EventKind.DEATH, "X", "red", "death"),
    ]
    for kind, marker, face, label in marks:
        chosen = events[events["kind"] == kind]
        if chosen.size:
            look: dict[str, Any] = {"facecolor": face, "edgecolor": "black", "linewidth": 0.6, "zorder": 3}
            size = 18 if few else 6
            ax.scatter(chosen["time"], place[chosen["neuron"]], s=size, marker=marker, label=label, **look)
    start, end = float(trajectory.time[0]), float(trajectory.time[-1])
    pad = 0.01 * (end - start) or 1.0
    ax.set_xlim(start - pad, end + pad)
    ax.set_ylim(-0.8, order.size - 0.2)
    _name_neurons(ax, order, sign)
    ax.set_xlabel(TAU)
    entries = [*bars, *ax.get_legend_handles_labels()[0]]
    if entries:
        ax.legend(
            handles=entries,
            loc="lower left",
            bbox_to_anchor=(0, 1),
            ncols=5,
            frameon=False,
            fontsize="small",
            borderpad=0,
        )
    lighten(ax)
    ax.grid(False)
    return ax


def _draw_slides(ax: Axes, trajectory: Trajectory, place: Array) -> list[Any]:
    """The bars, side by side where a neuron slides on several rows at once; the entries of their legend."""
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import Patch, Rectangle

    found = slides(trajectory)
    if not found:
        return []
    lanes = 1 + max(bar.lane for bar in found)
    height = 0.76 / lanes
    boxes, colours = [], []
    span = float(trajectory.time[-1] - trajectory.time[0]) or 1.0
    rows = sorted({bar.row for bar in found})
    told = len(rows) <= len(_ROW_COLOURS)
    colour = {row: _ROW_COLOURS[k] if told else "0.75" for k, row in enumerate(rows)}
    for bar in found:
        bottom = place[bar.neuron] - 0.38 + bar.lane * height
        boxes.append(Rectangle((bar.start, bottom), bar.end - bar.start, height))
        colours.append(colour[bar.row])
        if place.size * lanes <= 45 and bar.end - bar.start > 0.04 * span:
            middle = (0.5 * (bar.start + bar.end), bottom + 0.5 * height)
            ax.annotate(
                str(bar.row),
                middle,
                ha="center",
                va="center_baseline",
                fontsize=6,
                zorder=4,
                color="white" if colour[bar.row] == _DARK else "black",
            )
    ax.add_collection(PatchCollection(boxes, facecolor=colours, edgecolor="black", linewidth=0.4, zorder=2))
    if not told:
        return [Patch(facecolor="0.75", edgecolor="black", linewidth=0.4, label="slides on the row")]
    return [Patch(facecolor=colour[row], edgecolor="black", linewidth=0.4, label=f"slides on {row}") for row in rows]


def _name_neurons(ax: Axes, order: Array, sign: Array) -> None:
    """The numbers of the neurons if they are few, otherwise where the positive ones begin."""
    if order.size <= 3 * FEW:
        ax.set_yticks(np.arange(order.size), [f"{i}{'+' if sign[i] > 0 else '−'}" for i in order], fontsize="x-small")
        ax.set_ylabel("neuron, sign of its output")
    else:
        negative = int((sign[order] < 0).sum())
        ax.set_yticks([0.5 * negative, 0.5 * (negative + order.size)], ["−", "+"])
        ax.set_ylabel("neurons by sign and mass")
