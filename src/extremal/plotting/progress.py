"""How objective and proven bound closed on each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from extremal.plotting.style import BLUE, GREEN, VERMILION, axes, lighten

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from extremal.training import FitResult


def history(result: FitResult, ax: Axes | None = None) -> Axes:
    """Objective and proven lower bound closing on each other over time; the optimum lies in the shaded gap.

    Both are drawn as their relative distance from the final objective, logarithmic on either side of zero,
    so that the last digits are seen as well as the first.

    Parameters
    ----------
    result : FitResult
        From `fit`, or the `result_` of an estimator.
    ax : Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        If the result has no history.
    """
    if not result.history:
        raise ValueError("the result has no history")
    ax = axes(ax)
    certificate = result.certificate
    final = certificate.primal if certificate.primal > 0 else 1.0
    states = [(record.time, record.objective, record.bound) for record in result.history]
    states.append((max(result.seconds, states[-1][0]), certificate.primal, certificate.dual))
    time, objective, bound = np.array(states).T
    # Both only ever improve, and the final objective is the least: rounding may say otherwise in the last
    # digit.
    above = np.maximum(np.minimum.accumulate(objective) - certificate.primal, 0.0) / final
    below = np.minimum(np.maximum.accumulate(bound) - certificate.primal, 0.0) / final

    ax.fill_between(time, below, above, step="post", color=BLUE, alpha=0.12, linewidth=0)
    ax.step(time, above, where="post", color=BLUE, linewidth=1.8, label="objective")
    ax.step(time, below, where="post", color=VERMILION, linewidth=1.8, label="proven lower bound")
    ax.axhspan(-certificate.tol, certificate.tol, color=GREEN, alpha=0.25, linewidth=0, label="tolerance")
    _scale_to_decades(ax, certificate.tol, above.max(initial=0.0), -below.min(initial=0.0))
    ax.set_xlabel("seconds")
    ax.set_ylabel("relative distance from the final objective")
    facts = (f"objective {certificate.primal:.6g}", f"proven gap {certificate.gap:.1e}")
    ax.set_title(", ".join([*facts, f"{result.network.width} neurons"]), fontsize="medium")
    ax.margins(x=0.01)
    ax.legend(frameon=False)
    lighten(ax)
    return ax


def _scale_to_decades(ax: Axes, tol: float, above: float, below: float) -> None:
    """Make the vertical axis logarithmic on both sides of zero, with at most five labels a side."""
    ax.set_yscale("symlog", linthresh=tol, linscale=0.5)
    smallest = int(np.floor(np.log10(tol)))
    largest = [int(np.ceil(np.log10(max(side, 10 * tol)))) for side in (above, below)]
    step = max(1, -(-(max(largest) - smallest) // 5))
    upper, lower = (np.arange(top, smallest, -step) for top in largest)
    ax.set_yticks([*(-(10.0**lower)), 0.0, *(10.0 ** upper[::-1])])
    ax.set_yticks([], minor=True)
    ax.set_ylim(-(10.0 ** (largest[1] + 0.3)), 10.0 ** (largest[0] + 0.3))
