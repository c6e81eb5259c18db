"""Runs racing to the best possible: how far each objective is above what no network can be below."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from extremal.plotting.style import GREY, axes, class_colour, lighten

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike

#: Curves are told apart in print as well.
DASHES = ("-", (0, (5, 1.5)), (0, (1, 1.2)), (0, (6, 1.5, 1, 1.5)))
#: Below this fraction of the optimum nothing is drawn: doubles end there.
FLOOR = 1e-12
#: What a name takes up, as a share of the axes.
ROOM = (0.2, 0.055)


def plot_race(
    runs: Mapping[str, tuple[ArrayLike, ArrayLike]],
    *,
    lower: float,
    best: float | None = None,
    xlabel: str = "epochs",
    log_x: bool = False,
    ax: Axes | None = None,
) -> Axes:
    """(objective - lower bound) / lower bound of several runs, on a logarithmic axis, against epochs or time.

    The best possible lies in the shaded region, which is proven: no network of any width is below it.

    Parameters
    ----------
    runs : mapping of names to (x, objective)
        Two sequences of the same length for each run. Values that are not finite are left out.
    lower : float
        A proven lower bound on the objective of every network.
    best : float, optional
        The lowest objective known of any network; by default that of the runs.
    xlabel : str
        What x is.
    log_x : bool
        Whether that axis is logarithmic too: for times. What is at zero is then left out.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        If there is nothing to draw.
    """
    curves = {name: _curve(*run, positive=log_x) for name, run in runs.items()}
    curves = {name: run for name, run in curves.items() if run[0].size}
    if not curves:
        raise ValueError("there is no run with a finite objective to draw")
    ax = axes(ax)
    unit, word = (lower, "objective above the lower bound") if lower > 0 else (1.0, "objective − lower bound")
    least = min(float(run[1].min()) for run in curves.values())
    best = least if best is None else min(best, least)
    floor = max((best - lower) / unit, FLOOR)
    for k, (name, (x, objective)) in enumerate(curves.items()):
        above = np.maximum((objective - lower) / unit, floor)
        dots = "o" if x.size == 1 else None
        ax.plot(x, above, color=class_colour(k), linestyle=DASHES[k % len(DASHES)], marker=dots, label=name)
    ax.set_yscale("log")
    ax.set_xscale("log" if log_x else "linear")
    x_min, x_max = (float(end(np.concatenate([run[0] for run in curves.values()]))) for end in (np.min, np.max))
    ax.set_xlim(x_min, x_max if x_max > x_min else x_min + 1.0)
    top = max(float(np.max((run[1] - lower) / unit)) for run in curves.values())
    bottom = floor / 10**0.8
    ax.set_ylim(bottom, 2 * max(top, floor))
    ax.axhspan(bottom, floor, color="0.88", linewidth=0)
    ax.axhline(floor, color="0.2", linewidth=1.0, zorder=1.5)
    words = f"the best possible is in here: {_interval(lower, best)}"
    ax.text(0.015, 0.02, words, transform=ax.transAxes, va="bottom", fontsize="small", color="0.2")
    _name_ends(ax, [(x[-1], max((f[-1] - lower) / unit, floor), name) for name, (x, f) in curves.items()])
    ax.set_xlabel(xlabel)
    ax.set_ylabel(word)
    if lower > 0:
        _as_shares(ax)
    lighten(ax)
    return ax


def _curve(x: ArrayLike, objective: ArrayLike, *, positive: bool) -> tuple[np.ndarray, np.ndarray]:
    place, value = np.asarray(x, dtype=np.float64), np.asarray(objective, dtype=np.float64)
    if place.shape != value.shape or place.ndim != 1:
        raise ValueError(f"a run is two sequences of one length; these have shapes {place.shape} and {value.shape}")
    seen = np.isfinite(value) & ((place > 0) | (not positive))
    return place[seen], value[seen]


def _interval(lower: float, best: float) -> str:
    """Both ends, with the digits in which they differ and no more."""
    for digits in range(4, 12):
        low, high = f"{lower:.{digits}g}", f"{best:.{digits}g}"
        if low != high:
            return f"{low} .. {high}"
    return f"{best:.6g}"


def _name_ends(ax: Any, ends: list[tuple[float, float, str]]) -> None:
    """Names beside the ends of the curves, moved apart where they would overlap."""
    to_axes = ax.transData + ax.transAxes.inverted()
    places = [(*to_axes.transform((x, y)), name, class_colour(k)) for k, (x, y, name) in enumerate(ends)]
    taken: list[tuple[float, float]] = []
    for across, up, name, colour in sorted(places, key=lambda place: place[1]):
        height = up
        while any(abs(height - h) < ROOM[1] and abs(across - a) < ROOM[0] for a, h in taken):
            height += 0.25 * ROOM[1]
        taken.append((across, height))
        ax.annotate(
            name, (across, height), (5, 0), xycoords="axes fraction", textcoords="offset points",
            va="center", color=colour, weight="bold", annotation_clip=False,
        )  # fmt: skip


def _as_shares(ax: Any) -> None:
    """Ticks as shares of the bound: 10 %, 0.1 %, and powers where these get long."""
    from matplotlib.ticker import FuncFormatter, NullFormatter

    def words(value: float, _: object) -> str:
        share = 100 * value
        return f"{share:g} %" if 1e-3 < share < 1e5 else f"$10^{{{np.log10(share):.0f}}}$ %"

    ax.yaxis.set_major_formatter(FuncFormatter(words))
    ax.yaxis.set_minor_formatter(NullFormatter())
    ax.tick_params(axis="y", which="minor", color=GREY, length=2)
