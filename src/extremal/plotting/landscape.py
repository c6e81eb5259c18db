"""The way down: the objective along a path to the optimum, and a slice of the landscape with its last stage."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from extremal.plotting.style import BLUE, SKY, VERMILION, axes, lighten

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from extremal.closed_forms import Path
    from extremal.network import Network

#: From this ratio of the first to the last objective on the axis is logarithmic.
WIDE = 20.0


def plot_path(path: Path, ax: Axes | None = None, *, points: int = 400) -> Axes:
    """The objective along a path, a shade for every stage, and the optimum as a dashed line.

    Parameters
    ----------
    path : Path
    ax : Axes, optional
    points : int
        Of the grid.

    Returns
    -------
    Axes
    """
    ax = axes(ax)
    t, values = path.sample(points)
    for k, stage in enumerate(path.stages):
        ax.axvspan(stage.start, stage.stop, color=SKY if k % 2 == 0 else "white", alpha=0.22, linewidth=0, zorder=0)
        label = f"{stage.name}\n→ {stage.neurons} neurons"
        middle = 0.5 * (stage.start + stage.stop)
        ax.text(middle, 1.02, label, ha="center", va="bottom", fontsize=8.5, transform=ax.get_xaxis_transform())
    ax.plot(t, values, color=BLUE, linewidth=2.2, label="objective along the path", zorder=3)
    ax.axhline(path.target, color=VERMILION, linestyle="--", linewidth=1.4, label="optimum", zorder=2)
    if path.target > 0 and values.max() > WIDE * path.target:
        ax.set_yscale("log")
    lighten(ax)
    ax.set(xlabel="t", ylabel="objective", xlim=(0, 1))
    ax.legend(loc="best", framealpha=1.0)
    return ax


def plot_landscape(path: Path, ax: Axes | None = None, *, resolution: int = 121) -> Axes:
    """The objective of p theta_0 + q theta_*, with the quarter circle that is the last stage and the straight line.

    theta_0 is the network before the optimum's neurons come in, theta_* the optimum, in places of their own. Along the
    circle outputs and penalty are interpolated linearly, so the objective falls; along the line it need not.

    Parameters
    ----------
    path : Path
        With room for both: its last stage is "bring in".
    ax : Axes, optional
    resolution : int
        Of the grid, along each side.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        If the path exchanges neurons one at a time: that is in no plane.
    """
    from matplotlib.ticker import NullFormatter

    last = path.stages[-1]
    if last.name != "bring in":
        raise ValueError(f'only the stage "bring in" lies in a plane; the last stage of this path is "{last.name}"')
    ax = axes(ax)
    start, end = path.network(last.start), path.network(last.stop)
    side = np.linspace(-0.4, 1.4, resolution)
    values = np.array([[path.problem.value(between(start, end, p, q)) for p in side] for q in side])
    low, high = values.min(), np.quantile(values, 0.97)
    levels = np.geomspace(low, high, 18) if low > 0 else np.linspace(low, high, 18)
    filled = ax.contourf(side, side, values, levels=levels, cmap="cividis", extend="both")
    ax.contour(side, side, values, levels=levels, colors="white", linewidths=0.4, alpha=0.7)
    angle = np.linspace(0, np.pi / 2, 100)
    ax.plot(np.cos(angle), np.sin(angle), color="white", linewidth=4.5)
    ax.plot(np.cos(angle), np.sin(angle), color=VERMILION, linewidth=2.5, label="path: never rises")
    ax.plot([1, 0], [0, 1], color="black", linestyle=":", linewidth=1.8, label="straight line")
    ax.plot(1, 0, "o", color="black", markeredgecolor="white", markersize=8, label="before")
    ax.plot(0, 1, "*", color=VERMILION, markeredgecolor="white", markersize=15, label="optimum")
    bar = ax.figure.colorbar(filled, ax=ax, label="objective", format="%.3g")
    bar.ax.yaxis.set_minor_formatter(NullFormatter())
    ax.set(xlabel="part of the network", ylabel="part of the optimum")
    ax.set_aspect("equal")
    ax.legend(loc="upper right", framealpha=1.0, fontsize=9)
    return ax


def between(start: Network, end: Network, p: float, q: float) -> Network:
    """p start + q end, in the places that they have."""
    return type(start)(
        p * start.hidden + q * end.hidden,
        p * start.output + q * end.output,
        p * abs(p) * start.intercept + q * abs(q) * end.intercept,
        bias=start.bias,
    )
