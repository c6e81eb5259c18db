"""All pictures of a run that make sense for its data, in one figure."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from extremal.plotting.directions import plot_directions
from extremal.plotting.ellipsoid import plot_ellipsoid
from extremal.plotting.events import plot_events
from extremal.plotting.flow import plot_alignment, plot_loss, plot_norms
from extremal.plotting.margin import plot_margin
from extremal.plotting.polar import plot_polar

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike

    from extremal.flow.trajectory import LowerBounds, Trajectory

COLUMNS, WIDTH, HEIGHT = 3, 6.2, 4.6


class Panel(NamedTuple):
    title: str
    draw: Callable[..., Any]
    solid: bool = False


def plot_flow(
    trajectory: Trajectory,
    *,
    lam: ArrayLike | None = None,
    value: float | None = None,
    optimum: float | None = None,
    lower: LowerBounds | None = None,
    time_limit: float = 5.0,
) -> Figure:
    """Directions, norms, events, alignment, loss and bounds; for two or three rows the dual geometry too.

    Parameters
    ----------
    trajectory : Trajectory
    lam : array of shape (n,), optional
        The multiplier of the limit.
    value, optimum : float, optional
        The value of the limit, and P*.
    lower : LowerBounds, optional
        From `Trajectory.lower_bounds`; computed here by default.
    time_limit : float
        Seconds for the lower bounds.

    Returns
    -------
    Figure
    """
    from matplotlib import pyplot

    margin = partial(plot_margin, value=value, optimum=optimum, lower=lower, time_limit=time_limit)
    panels = _panels(trajectory, lam, value, optimum, margin)
    rows = -(-len(panels) // COLUMNS)
    figure = pyplot.figure(figsize=(WIDTH * COLUMNS, HEIGHT * rows), layout="constrained")
    for k, panel in enumerate(panels):
        ax = figure.add_subplot(rows, COLUMNS, k + 1, projection="3d" if panel.solid else None)
        panel.draw(trajectory, ax)
        ax.set_title(
            " – ".join(part for part in (panel.title, ax.get_title()) if part), loc="center", fontsize="medium"
        )
    m = trajectory.ratios.shape[1]
    n, d = trajectory.X.shape
    neurons = f"{m} neuron{'s' * (m != 1)}"
    figure.suptitle(f"{trajectory.method}, {trajectory.loss} loss: {n} rows in {d} dimensions, {neurons}")
    return figure


def _panels(
    trajectory: Trajectory,
    lam: ArrayLike | None,
    value: float | None,
    optimum: float | None,
    margin: Callable[..., Any],
) -> list[Panel]:
    n, d = trajectory.X.shape
    found = [Panel("", plot_directions)] if d > 1 else []
    found.append(Panel("norms", plot_norms))
    if trajectory.events.size:
        found.append(Panel("", plot_events))
    found.append(Panel("alignment", plot_alignment))
    if np.isfinite(trajectory.upper_bounds).any():
        found.append(Panel("", margin))
    found.append(Panel("loss", partial(plot_loss, clock="tau")))
    if n in (2, 3):
        found.append(Panel("rectified ellipsoid", partial(plot_ellipsoid, lam=lam), n == 3))
        found.append(Panel("dual feasible set", partial(plot_polar, lam=lam, value=value, optimum=optimum), n == 3))
    if d == 2:
        found.append(Panel("", partial(plot_directions, view="circle")))
    if d == 3:
        found.append(Panel("", partial(plot_directions, view="globe"), True))
    return found
