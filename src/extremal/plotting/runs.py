"""What the pictures of trajectories share: clocks, signs, masses, and lines in the colours of time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from scipy.special import logsumexp

from extremal.plotting.style import BLUE, VERMILION

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap, Normalize

    from extremal.design import Array
    from extremal.flow.trajectory import Trajectory

#: The palest shades of viridis, hard to tell from paper, are not used for time.
PALEST = 0.1
#: Ends closer to each other than this, with the same sign, are marked as one.
SAME = 0.02
#: Neurons with a smaller fraction of the mass of the largest one are drawn as dying.
SMALL = 1e-3
#: The number of neurons and rows up to which each is labelled.
FEW = 12

Clock = Literal["tau", "log t"]
TAU = "loss-normalised time τ"


class Times(NamedTuple):
    """Values of a clock at some `snapshots`, and what the axis is called."""

    snapshots: Array
    values: Array
    label: str


def times(trajectory: Trajectory, clock: Clock) -> Times:
    """The snapshots at which a clock is finite: log t is not at the start.

    Raises
    ------
    ValueError
        For a clock of another name.
    """
    if clock == "tau":
        return Times(np.arange(len(trajectory)), trajectory.time, TAU)
    if clock == "log t":
        index = np.flatnonzero(np.isfinite(trajectory.log_clock))
        return Times(index, trajectory.log_clock[index], "log t")
    raise ValueError(f'the clocks are "tau" and "log t", not {clock!r}')


def shares(trajectory: Trajectory, k: int = -1) -> Array:
    """|w_i| |b_i| / sum_j |w_j| |b_j| at snapshot k, shape (m,)."""
    with np.errstate(divide="ignore"):
        logs = 2 * trajectory.log_norms[k] + np.log(np.abs(trajectory.ratios[k]))
    if not np.isfinite(logs).any():
        return np.zeros_like(logs)
    mass = np.exp(logs - logs.max())
    return mass / mass.sum()


def signs(trajectory: Trajectory) -> Array:
    """sign(b_i), which the flow keeps; for a method that does not, the last one."""
    return np.sign(trajectory.ratios[-1])


def is_small(share: Array) -> Array:
    return share < SMALL * share.max(initial=0.0)


def sign_colour(sign: float) -> str:
    return VERMILION if sign > 0 else BLUE


def pace(trajectory: Trajectory) -> Array:
    """A clock from 0 to 1 on which all phases of a run are seen, at the snapshots, shape (T,).

    The mean of three shares: of tau, of the change of log |theta|, and of the angles that neurons turn by, weighted by
    their mass at the time.
    """
    if len(trajectory) == 1:
        return np.zeros(1)
    weight = np.array([shares(trajectory, k) for k in range(len(trajectory) - 1)])
    chords = np.linalg.norm(np.diff(trajectory.directions, axis=0), axis=2)
    size = np.array([logsumexp(2 * logs) for logs in trajectory.log_norms])
    parts = [np.diff(trajectory.time), np.abs(np.diff(size)), (weight * chords).sum(axis=1)]
    steps = sum(part / part.sum() for part in parts if part.sum() > 0)
    clock = np.concatenate([[0.0], np.cumsum(steps)]) if np.any(steps) else np.linspace(0, 1, len(trajectory))
    return clock / clock[-1]


def colour_of_time(trajectory: Trajectory) -> Normalize:
    """tau as a number from 0 to 1 for colours, by `pace`: quick changes get as many shades as slow ones."""
    from matplotlib.colors import FuncNorm

    time, first = np.unique(trajectory.time, return_index=True)
    if time.size == 1:
        time, clock = np.array([time[0], time[0] + 1.0]), np.array([0.0, 1.0])
    else:
        clock = pace(trajectory)[first]
        clock = 0.98 * (clock - clock[0]) / (clock[-1] - clock[0]) + 0.02 * np.linspace(0, 1, time.size)
    functions = (lambda values: np.interp(values, time, clock), lambda shares: np.interp(shares, clock, time))
    return FuncNorm(functions, float(time[0]), float(time[-1]))


def time_map() -> Colormap:
    """Time as colour, from pale to dark."""
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap

    return ListedColormap(colormaps["viridis_r"](np.linspace(PALEST, 1, 256)))


def timed_line(ax: Any, points: Array, time: Array, scale: Normalize, **style: Any) -> None:
    """A line through points (T, 2) or (T, 3) in the colours of time; points that are NaN interrupt it."""
    from matplotlib.collections import LineCollection

    pieces = np.stack([points[:-1], points[1:]], axis=1)
    drawn = np.isfinite(pieces).all(axis=(1, 2))
    options: dict[str, Any] = {
        "cmap": time_map(),
        "norm": scale,
        "array": time[:-1][drawn],
        "capstyle": "round",
        **style,
    }
    if points.shape[1] == 2:
        ax.add_collection(LineCollection(list(pieces[drawn]), **options), autolim=True)
        return
    from mpl_toolkits.mplot3d.art3d import Line3DCollection

    if drawn.any():
        ax.add_collection3d(Line3DCollection(list(pieces[drawn]), **options), autolim=False)


def merged(points: Array, sign: Array, share: Array) -> tuple[Array, Array, Array]:
    """Points of the same sign that coincide in a picture as one, with the sum of their shares."""
    left = list(np.argsort(-share))
    kept, total = [], []
    while left:
        first = left[0]
        near = [i for i in left if sign[i] == sign[first] and np.abs(points[i] - points[first]).max() < SAME]
        kept.append(first)
        total.append(share[near].sum())
        left = [i for i in left if i not in set(near)]
    return points[kept], sign[kept], np.array(total)


def mark_ends(
    ax: Any, points: Array, sign: Array, share: Array, *, unit: float | Array = 1.0, **style: Any
) -> list[Any]:
    """Triangles where the neurons end, up for positive and down for negative outputs, their area the share of the mass.

    Those that are not finite are left out, those that coincide are one; `unit` is the size of the picture.
    """
    known = np.isfinite(points).all(axis=1)
    points, sign, share = merged(points[known] / unit, sign[known], share[known])
    found = []
    for side, marker in ((1, "^"), (-1, "v")):
        chosen = sign == side
        look: dict[str, Any] = {
            "color": sign_colour(side),
            "edgecolor": "white",
            "linewidth": 0.7,
            "zorder": 6,
            **style,
        }
        if chosen.any():
            found.append(ax.scatter(*(unit * points[chosen]).T, s=12 + 200 * share[chosen], marker=marker, **look))
    return found


def time_bar(ax: Axes, scale: Normalize, **options: Any) -> None:
    from matplotlib.cm import ScalarMappable

    figure: Any = ax.figure
    bar = figure.colorbar(
        ScalarMappable(scale, time_map()), ax=ax, label=TAU, **{"shrink": 0.8, "pad": 0.03, **options}
    )
    ticks = scale.inverse(np.linspace(0, 1, 6))
    bar.set_ticks(ticks, labels=[f"{tick:.3g}" for tick in ticks])
    bar.ax.tick_params(which="minor", length=0)


def mark_signs(handles: list[Any] | None = None, *, ends: bool = False) -> list[Any]:
    """Entries of a legend that tell positive from negative output weights, by lines or by end markers."""
    from matplotlib.lines import Line2D

    found = []
    for side, marker, name in ((1, "^", "positive"), (-1, "v", "negative")):
        line: dict[str, Any] = {"linestyle": "none"} if ends else {"linewidth": 1.4}
        look = {"color": sign_colour(side), "marker": marker, "markersize": 7, "markeredgecolor": "white", **line}
        found.append(Line2D([], [], label=f"{name} output weight", **look))
    return [*found, *(handles or [])]
