"""What the pictures of trajectories share: clocks, signs, masses, and lines in the colours of time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

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
    """Values of a clock at the snapshots `index`, and what the axis is called."""

    index: Array
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


def colour_of_time(trajectory: Trajectory) -> Normalize:
    from matplotlib.colors import Normalize

    start, end = float(trajectory.time[0]), float(trajectory.time[-1])
    return Normalize(start, end if end > start else start + 1.0)


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
    options: dict[str, Any] = {"cmap": time_map(), "norm": scale, "array": time[:-1][drawn], "capstyle": "round", **style}
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


def mark_ends(ax: Any, points: Array, sign: Array, share: Array, *, unit: float | Array = 1.0, **style: Any) -> None:
    """Triangles where the neurons end, up for positive and down for negative outputs, their area the share of the mass.

    Those that are not finite are left out; `unit` is the size of the picture.
    """
    known = np.isfinite(points).all(axis=1)
    points, sign, share = merged(points[known] / unit, sign[known], share[known])
    for side, marker in ((1, "^"), (-1, "v")):
        chosen = sign == side
        look: dict[str, Any] = {"color": sign_colour(side), "edgecolor": "white", "linewidth": 0.7, "zorder": 6, **style}
        if chosen.any():
            ax.scatter(*(unit * points[chosen]).T, s=12 + 200 * share[chosen], marker=marker, **look)


def time_bar(ax: Axes, scale: Normalize, **options: Any) -> None:
    from matplotlib.cm import ScalarMappable

    figure: Any = ax.figure
    figure.colorbar(ScalarMappable(scale, time_map()), ax=ax, label=TAU, **{"shrink": 0.8, "pad": 0.03, **options})


def mark_signs(handles: list[Any] | None = None, *, ends: bool = False) -> list[Any]:
    """Entries of a legend that tell positive from negative output weights, by lines or by end markers."""
    from matplotlib.lines import Line2D

    found = []
    for side, marker, name in ((1, "^", "positive"), (-1, "v", "negative")):
        line: dict[str, Any] = {"linestyle": "none"} if ends else {"linewidth": 1.4}
        look = {"color": sign_colour(side), "marker": marker, "markersize": 7, "markeredgecolor": "white", **line}
        found.append(Line2D([], [], label=f"{name} output weight", **look))
    return [*found, *(handles or [])]
