"""What programs over sampled patterns miss."""

from __future__ import annotations

from typing import TYPE_CHECKING

from extremal.plotting.style import BLUE, GREY, VERMILION, axes, lighten

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from extremal.closed_forms import SampledPatterns


def plot_excess(found: SampledPatterns, ax: Axes | None = None, *, colour: str = BLUE, label: str = "") -> Axes:
    """How far the optimum of the sampled program is above the best network, against the number of patterns drawn.

    Parameters
    ----------
    found : SampledPatterns
    ax : Axes, optional
    colour, label : str

    Returns
    -------
    Axes
    """
    ax = axes(ax)
    shown = [program for program in found.programs if program.ratio > 1 + 1e-9]
    sizes = [program.size for program in shown]
    ax.loglog(sizes, [program.ratio - 1 for program in shown], "o-", color=colour, label=label or "above the optimum")
    lighten(ax)
    ax.set(xlabel="random directions", ylabel="(sampled optimum − best) / best")
    ax.legend(framealpha=1.0)
    return ax


def plot_improving(found: SampledPatterns, ax: Axes | None = None) -> Axes:
    """The share of fresh patterns that would improve the sampled program, under the scenario bound.

    Parameters
    ----------
    found : SampledPatterns
    ax : Axes, optional

    Returns
    -------
    Axes
    """
    ax = axes(ax)
    sizes = [program.size for program in found.programs]
    floor = 0.5 / found.probes
    ax.loglog(sizes, [p.scenario for p in found.programs], "s--", color=VERMILION, label="scenario bound")
    measured = [max(program.improving, floor) for program in found.programs]
    ax.loglog(sizes, measured, "o-", color=BLUE, label=f"measured, {found.probes} fresh patterns")
    ax.axhline(1 / found.probes, color=GREY, linewidth=0.8, linestyle=":")
    lighten(ax)
    ax.set(xlabel="random directions", ylabel="chance that another pattern helps")
    ax.legend(framealpha=1.0)
    return ax
