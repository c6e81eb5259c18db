"""The pictures of the race: for every problem how far everyone is above the lowest objective known, against CPU time.

Distances to the lower bound itself could not be told apart where the gap is open. Here the zero of the logarithmic
axis is the lowest objective known, and the bound is drawn as its distance from that, below.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from extremal.plotting.style import BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILION, lighten
from race_results import OURS, Curve, Entry
from racers import METHODS

#: Colours that every kind of colour vision tells apart, and dashes for print.
STYLES: dict[str, dict[str, Any]] = {
    OURS: {"color": VERMILION, "linewidth": 2.4, "zorder": 4},
    "lbfgs": {"color": BLUE},
    "adam": {"color": ORANGE, "linestyle": (0, (5, 1.5))},
    "sgd": {"color": SKY, "linestyle": (0, (6, 1.5, 1, 1.5))},
    "mlp": {"color": GREEN, "linestyle": (0, (3, 1))},
    "clarabel": {"color": PURPLE, "marker": "s", "markersize": 4},
    "pyscnn": {"color": "black", "linestyle": (0, (1, 1.2))},
}
#: Data sets in a picture; excess below and above which nothing is drawn; what a name takes up of the axes' height.
ROWS, FLOOR, CEILING, ROOM = 3, 1e-7, 2.0, 0.07
FIRST_SECONDS = 3e-3


def draw(entries: Sequence[Entry], folder: Path) -> Iterator[tuple[str, str]]:
    """Pictures with a row for every data set and a column for every penalty: file names, and what they show."""
    from matplotlib import pyplot

    names = list(dict.fromkeys(entry.problem for entry in entries))
    fractions = sorted({entry.fraction for entry in entries}, reverse=True)
    by_key = {entry.key: entry for entry in entries}
    folder.mkdir(parents=True, exist_ok=True)
    for k, first in enumerate(range(0, len(names), ROWS), start=1):
        shown = names[first : first + ROWS]
        size = (4.6 * len(fractions), 3.3 * len(shown))
        figure, panels = pyplot.subplots(len(shown), len(fractions), figsize=size, squeeze=False, layout="constrained")
        for row, name in zip(panels, shown, strict=True):
            for ax, fraction in zip(row, fractions, strict=True):
                if (name, fraction) in by_key:
                    panel(by_key[name, fraction], ax)
                else:
                    ax.set_axis_off()
            row[0].set_ylabel("above the lowest objective known")
        for ax in panels[-1]:
            ax.set_xlabel("CPU seconds")
        path = folder / f"race-{k}.png"
        figure.savefig(path, dpi=100)
        pyplot.close(figure)
        yield path.name, ", ".join(shown)


def panel(entry: Entry, ax: Any) -> None:
    """Everyone's excess, the distance of the lower bound, and in grey what is not known about the optimum."""
    ax.set(xscale="log", yscale="log", xlim=(FIRST_SECONDS, entry.seconds), ylim=(FLOOR, CEILING))
    ax.set_title(f"{entry.title}, b = {entry.b:g}", fontsize="medium", loc="left")
    gap = max(entry.gap(entry.longer_bound), FLOOR)
    ax.axhspan(FLOOR, gap, color="0.9", linewidth=0, zorder=0)
    bounds = [(seconds, entry.gap(value)) for seconds, value in entry.bounds]
    x, y = steps(bounds, entry.seconds)
    ax.step(x, y, where="post", color=VERMILION, linewidth=1.1, linestyle=(0, (2, 2)), zorder=3)
    ends = [(y[-1], "lower bound", VERMILION)]
    for name, outcome in entry.outcomes.items():
        if not outcome.curve:
            continue
        above = [(seconds, value / entry.best - 1) for seconds, value in outcome.curve]
        x, y = steps(above, entry.seconds)
        ax.step(x, y, where="post", **{"linewidth": 1.4, **STYLES[name], **one_marker(name, len(above))})
        label = "ours" if name == OURS else METHODS[name].short
        ends.append((y[-1], label, STYLES[name]["color"]))
    name_ends(ax, ends)
    words = f"proven: the optimum is at most {share(gap)} below"
    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 1}
    ax.text(0.02, 0.03, words, transform=ax.transAxes, fontsize="x-small", color="0.2", bbox=box, zorder=5)
    lighten(ax)


def steps(points: Curve, end: float) -> tuple[list[float], list[float]]:
    """A curve that stays where it is until the end, within the picture."""
    x = [max(seconds, FIRST_SECONDS) for seconds, _ in points]
    y = [float(np.clip(value, FLOOR, CEILING)) for _, value in points]
    return [*x, max(end, x[-1])], [*y, y[-1]]


def one_marker(name: str, points: int) -> dict[str, Any]:
    """Markers at answers, not where the line ends."""
    return {"markevery": slice(0, points)} if "marker" in STYLES[name] else {}


def name_ends(ax: Any, ends: Sequence[tuple[float, str, str]]) -> None:
    """Names to the right of the ends, moved apart where they would overlap."""
    heights = [float(np.log(y / FLOOR) / np.log(CEILING / FLOOR)) for y, _, _ in ends]
    order = np.argsort(heights, kind="stable")
    for k, height in zip(order, spread([heights[k] for k in order]), strict=True):
        _, label, colour = ends[k]
        ax.annotate(
            label, (1, heights[k]), (1.035, height), xycoords="axes fraction", va="center", fontsize="small",
            color=colour, weight="bold" if label == "ours" else "normal",
            arrowprops={"arrowstyle": "-", "color": GREY, "linewidth": 0.5, "shrinkA": 0, "shrinkB": 0},
        )  # fmt: skip


def spread(heights: Sequence[float]) -> list[float]:
    """Increasing heights moved apart to a distance of ROOM, as little as it takes from below, within 0 .. 1."""
    moved: list[float] = []
    for height in heights:
        moved.append(max(height, moved[-1] + ROOM) if moved else max(height, 0.0))
    ceiling = 1.0
    for k in reversed(range(len(moved))):
        moved[k] = min(moved[k], ceiling)
        ceiling = moved[k] - ROOM
    return moved


def share(value: float) -> str:
    """A fraction in percent, or as a power of ten."""
    return f"{100 * value:.2g} %" if value >= 1e-4 else f"{value:.0e} of it"
