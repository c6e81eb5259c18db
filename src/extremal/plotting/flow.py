"""A run against time: norms, loss, alignment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from extremal.plotting.runs import Clock, is_small, mark_signs, shares, sign_colour, signs, times
from extremal.plotting.style import GREY, flat_axes, lighten

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from extremal.design import Array
    from extremal.flow.trajectory import Trajectory

#: What is smaller cannot be told from the rounding of a cosine.
ROUNDING = 1e-16
#: Outputs of this size change the multiplier.
SEEN = 0.1


def plot_norms(trajectory: Trajectory, ax: Axes | None = None, *, clock: Clock = "tau") -> Axes:
    """log |w_i| of every neuron, and log |theta|; dashed if it ends with below a thousandth of the largest mass.

    On the clock tau a neuron's norm grows exponentially, at the rate that its direction and the multiplier give it.

    Parameters
    ----------
    trajectory : Trajectory
    ax : Axes, optional
    clock : {"tau", "log t"}

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        If the clock has another name.
    """
    from matplotlib.lines import Line2D

    ax = flat_axes(ax)
    index, when, label = times(trajectory, clock)
    _neuron_lines(ax, trajectory, when, trajectory.log_norms[index])
    size = trajectory.half_norm2[index]
    known = np.isfinite(size) & (size > 0)
    ax.plot(when[known], 0.5 * np.log(2 * size[known]), color="black", linewidth=1.0, linestyle=":", zorder=4)
    dying = int(is_small(shares(trajectory)).sum())
    extra = [Line2D([], [], color="black", linewidth=1.0, linestyle=":", label="log |θ|")]
    if dying:
        extra.append(Line2D([], [], color=GREY, linewidth=0.8, linestyle="--", label=f"{dying} left behind"))
    ax.set_xlabel(label)
    ax.set_ylabel("log |w|")
    ax.margins(x=0.02)
    ax.legend(handles=mark_signs(extra), frameon=False, fontsize="small")
    lighten(ax)
    return ax


def plot_loss(trajectory: Trajectory, ax: Axes | None = None, *, clock: Clock = "log t") -> Axes:
    """log of the loss, against log t (where the late slope of a margin loss is -1) or against tau.

    On the clock tau, on which the log of the loss falls exponentially, its axis is logarithmic beyond -1 and 1.

    Parameters
    ----------
    trajectory : Trajectory
    ax : Axes, optional
    clock : {"log t", "tau"}

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        If the clock has another name.
    """
    ax = flat_axes(ax)
    index, when, label = times(trajectory, clock)
    loss = trajectory.log_loss[index]
    known = np.isfinite(loss)
    ax.plot(when[known], loss[known], color="black", linewidth=1.6)
    if trajectory.loss != "squared":
        _mark_first(ax, when, trajectory.smoothed_margin[index] >= 0, "separated")
    if clock == "tau":
        ax.set_yscale("symlog", linthresh=1.0)
    ax.set_xlabel(label)
    ax.set_ylabel("log loss")
    ax.margins(x=0.02)
    lighten(ax)
    return ax


def plot_alignment(trajectory: Trajectory, ax: Axes | None = None, *, clock: Clock = "tau") -> Axes:
    """1 - cos of the angle between v_i and sign(b_i) X^T diag(x_k . v_i > 0) y, on a logarithmic axis.

    A small start aligns with these vectors before it grows (Wang & Pilanci, ICLR 2022); once the multiplier is no
    longer proportional to y, neurons may leave them again; where the outputs begin to matter is marked. Neurons active
    on no row have no such vector, and those that slide have many: their lines are interrupted.

    Parameters
    ----------
    trajectory : Trajectory
    ax : Axes, optional
    clock : {"tau", "log t"}

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        If the clock has another name.
    """
    ax = flat_axes(ax)
    index, when, label = times(trajectory, clock)
    distance = np.maximum(1 - trajectory.alignment[index], ROUNDING)
    distance[trajectory.sliding[index] > 0] = np.nan
    _neuron_lines(ax, trajectory, when, distance)
    outputs = np.abs(trajectory.margins[index]).max(axis=1) / max(1.0, float(np.abs(trajectory.y).max()))
    _mark_first(ax, when, outputs > SEEN, f"|f| > {SEEN:g}")
    ax.set_yscale("log")
    ax.set_xlabel(label)
    ax.set_ylabel("1 − cos(v, ± Xᵀ D(v) y)")
    ax.margins(x=0.02)
    ax.legend(handles=mark_signs(), frameon=False, fontsize="small")
    lighten(ax)
    return ax


def _mark_first(ax: Axes, when: Array, reached: Array, text: str) -> None:
    """A dashed line where something first holds, with its name."""
    if not reached.any():
        return
    first = when[np.flatnonzero(reached)[0]]
    ax.axvline(first, color=GREY, linewidth=0.9, linestyle="--", zorder=1)
    ax.annotate(
        text, (first, 0.0), xycoords=("data", "axes fraction"), xytext=(4, 4), textcoords="offset points",
        color=GREY, fontsize="small",
    )  # fmt: skip


def _neuron_lines(ax: Axes, trajectory: Trajectory, when: Array, values: Array) -> None:
    """A line for each neuron (T, m): colour and final marker for the sign, dashes for those that die out."""
    share, sign = shares(trajectory), signs(trajectory)
    small = is_small(share)
    for i in np.argsort(share):
        dying: dict[str, Any] = {"linewidth": 0.8, "linestyle": "--", "alpha": 0.6}
        style = dying if small[i] else {"linewidth": 1.5, "alpha": 0.9}
        known = np.flatnonzero(np.isfinite(values[:, i]))
        if not known.size:
            continue
        ax.plot(
            when, values[:, i], color=sign_colour(sign[i]), marker="^" if sign[i] > 0 else "v",
            markevery=[int(known[-1])], markersize=6, markeredgecolor="white", markeredgewidth=0.6,
            zorder=2 if small[i] else 3, **style,
        )  # fmt: skip
