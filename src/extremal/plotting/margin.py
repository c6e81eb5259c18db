"""How a run closes in on P*: the bounds that its margin and its multiplier give, alone and against other methods."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np

from extremal.plotting.runs import Clock, times
from extremal.plotting.style import BLUE, CLASS_COLOURS, GREEN, VERMILION, flat_axes, lighten

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike

    from extremal.design import Array
    from extremal.flow.trajectory import LowerBounds, Trajectory

#: Larger numbers are beyond what a logarithmic axis can show.
LARGEST = 1e250


def plot_margin(
    trajectory: Trajectory,
    ax: Axes | None = None,
    *,
    value: float | None = None,
    optimum: float | None = None,
    lower: LowerBounds | None = None,
    relative: bool = True,
    time_limit: float = 5.0,
) -> Axes:
    """Bounds on P* along a run, against r^2 = 1/2 |theta|^2.

    From above 1/2 |theta|^2 / min_k q_k, and the same with the smoothed margin; from below y^T lam / g(lam), proven.
    They are drawn as relative distances from a reference on a logarithmic axis: from P*, if it is given, else from the
    value of the limit, else from the best upper bound. With ``relative=False`` the margins 2 min q / |theta|^2
    themselves are drawn, which never exceed 1 / P*.

    Parameters
    ----------
    trajectory : Trajectory
    ax : Axes, optional
    value : float, optional
        1/2 |theta|^2 / min_k q_k of the limit.
    optimum : float, optional
        P*.
    lower : LowerBounds, optional
        From `Trajectory.lower_bounds`; computed here by default.
    relative : bool
    time_limit : float
        Seconds for the lower bounds.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        For the squared loss, and if the run never separates the labels.
    """
    _check(trajectory)
    ax = flat_axes(ax)
    upper = trajectory.upper_bounds
    best = float(upper.min())
    if not np.isfinite(best):
        raise ValueError("the run never separates the labels, so that there is no margin to draw")
    lower = trajectory.lower_bounds(time_limit=time_limit) if lower is None else lower
    with np.errstate(divide="ignore"):
        smoothed = 0.5 / trajectory.smoothed_margin
    size = np.where(trajectory.half_norm2 < LARGEST, trajectory.half_norm2, np.nan)
    reference, name = _reference(value, optimum, best)
    curves = [
        (size, upper, "black", "-", "½|θ|² / min q (upper bound)"),
        (size, smoothed, BLUE, "--", "the same, smoothed margin"),
        (size[lower.indices], lower.values, VERMILION, "-", "yᵀλ / g(λ) (proven lower bound)"),
    ]
    for where, bound, colour, dashes, label in curves:
        drawn = np.abs(bound / reference - 1) if relative else 1 / np.where(bound > 0, bound, np.nan)
        known = np.isfinite(drawn) & np.isfinite(where) & (drawn > 0)
        marker = "o" if where.size < size.size else None
        style: dict[str, Any] = {
            "color": colour,
            "linestyle": dashes,
            "linewidth": 1.6,
            "marker": marker,
            "markersize": 3.5,
        }
        ax.plot(where, np.where(known, drawn, np.nan), label=label, **style)
    if relative and optimum is not None and value is not None and value > optimum * (1 + 1e-9):
        ax.axhline(value / optimum - 1, color=GREEN, linewidth=1.2, linestyle="-.", label="the limit, not P*")
    if relative:
        ax.set_yscale("log")
    else:
        ax.axhline(1 / reference, color=GREEN, linewidth=1.2, linestyle="-.", label=f"1 / {name}")
        ax.set_ylim(0, 1.4 / reference)
    ax.set_xscale("log")
    if np.isfinite(smoothed).any():
        ax.set_xlim(left=size[np.flatnonzero(np.isfinite(smoothed))[0]] / 30)
    ax.set_xlabel("r² = ½|θ|²")
    ax.set_ylabel(f"relative distance from {name}" if relative else "margin, 2 min q / |θ|²")
    ax.set_title(f"{float(lower.values[-1]):.7g} ≤ P* ≤ {best:.7g}", fontsize="medium")
    ax.legend(frameon=False, fontsize="small")
    lighten(ax)
    return ax


def compare(
    trajectories: Sequence[Trajectory],
    labels: Sequence[str],
    ax: Axes | None = None,
    *,
    optimum: float | None = None,
    clock: Clock | Sequence[ArrayLike] = "tau",
    clock_label: str = "gradient evaluations",
) -> Axes:
    """Several methods on the same data: the relative gap of 1/2 |theta|^2 / min_k q_k to P*, on one clock.

    Parameters
    ----------
    trajectories : sequence of Trajectory
    labels : sequence of str
    ax : Axes, optional
    optimum : float, optional
        P*; by default the best of these upper bounds, which flatters the method that found it.
    clock : {"tau", "log t"} or sequence of arrays
        For each trajectory what it had spent at its snapshots, for example gradient evaluations.
    clock_label : str
        What such numbers are.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        If there is nothing to compare, the data differ, labels or clocks do not fit, or no run separates the labels.
    """
    if not trajectories or len(labels) != len(trajectories):
        raise ValueError(
            f"{len(trajectories)} trajectories and {len(labels)} labels: give a label for each, at least one"
        )
    for one in trajectories:
        _check(one)
        first = trajectories[0]
        if not (np.array_equal(one.X, first.X) and np.array_equal(one.y, first.y)):
            raise ValueError("the trajectories are on different data")
    best = min(float(one.upper_bounds.min()) for one in trajectories)
    if not np.isfinite(best):
        raise ValueError("none of the runs separates the labels")
    ax = flat_axes(ax)
    reference, name = _reference(None, optimum, best)
    spent = [_spent(one, clock, k) for k, one in enumerate(trajectories)]
    dashes = ["-", "--", "-.", ":"]
    for k, (one, label, (index, when)) in enumerate(zip(trajectories, labels, spent, strict=True)):
        gap = one.upper_bounds[index] / reference - 1
        gap[~(np.isfinite(gap) & (gap > 0))] = np.nan
        colour = ("black", *CLASS_COLOURS)[k % (1 + len(CLASS_COLOURS))]
        ax.plot(when, gap, color=colour, linestyle=dashes[k % 4], linewidth=1.6, label=label)
    ax.set_yscale("log")
    if isinstance(clock, str):
        ax.set_xlabel(times(trajectories[0], cast("Clock", clock)).label)
        if clock == "tau":
            ax.set_xscale("log")
    else:
        ax.set_xlabel(clock_label)
        ax.set_xscale("log")
    ax.set_ylabel(f"½|θ|² / min q relative to {name}, minus 1")
    ax.legend(frameon=False)
    lighten(ax)
    return ax


def _spent(trajectory: Trajectory, clock: Clock | Sequence[ArrayLike], k: int) -> tuple[Array, Array]:
    """The snapshots that have a value of the clock, and those values."""
    if isinstance(clock, str):
        return times(trajectory, cast("Clock", clock))[:2]
    if k >= len(clock) or np.shape(clock[k]) != (len(trajectory),):
        raise ValueError(f"the clock must have {len(trajectory)} numbers, one for each snapshot, for trajectory {k}")
    return np.arange(len(trajectory)), np.asarray(clock[k], dtype=np.float64)


def _check(trajectory: Trajectory) -> None:
    if trajectory.loss == "squared":
        raise ValueError("the squared loss has no margin; plot_loss and plot_norms show its runs")


def _reference(value: float | None, optimum: float | None, best: float) -> tuple[float, str]:
    """The value that gaps are relative to, and its name."""
    for number, name in ((optimum, "P*"), (value, "the limit")):
        if number is not None:
            if not (np.isfinite(number) and number > 0):
                raise ValueError(f"P* and the value of the limit are positive numbers, not {number!r}")
            return float(number), name
    return best, "the best upper bound"
