"""Pictures: how objective and bound closed on each other, and what a network of few features computes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike

    from extremal.design import Array
    from extremal.network import Network
    from extremal.training import FitResult

# Okabe and Ito's colours, which every kind of colour vision tells apart.
BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY, YELLOW = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442",
)  # fmt: skip
_CLASS_COLOURS = (BLUE, ORANGE, GREEN, PURPLE, VERMILION, SKY, YELLOW)
_GREY = "0.45"
_POINTS = 400


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
    ax = _axes(ax)
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
    _lighten(ax)
    return ax


def fit_1d(model: Any, X: ArrayLike, y: ArrayLike | None = None, ax: Axes | None = None) -> Axes:
    """A network of one feature: the function, the kinks of its neurons, and the data.

    Parameters
    ----------
    model : Network, FitResult or fitted estimator
    X : array of shape (n, 1) or (n,)
    y : array of shape (n,) or (n, c), optional
        Targets, or the classes of a classifier.
    ax : Axes, optional

    Returns
    -------
    Axes
    """
    ax = _axes(ax)
    network = _network(model)
    points = np.asarray(X, dtype=np.float64).reshape(-1)
    _check_features(network, 1)
    low, high = _widened(points)
    kinks = kinks_1d(network)
    inside = kinks[(kinks >= low) & (kinks <= high)]
    # The function is linear between kinks: with them in the grid the picture is exact.
    grid = np.union1d(np.linspace(low, high, _POINTS), inside)
    outputs = network.predict(grid[:, None])
    is_classifier = hasattr(model, "classes_")
    curves = _probabilities(outputs) if is_classifier else outputs

    if y is not None:
        _scatter_1d(ax, model, points, np.asarray(y))
    count = curves.shape[1]
    for k, curve in enumerate(curves.T):
        colour = _class_colour(k + 1 if is_classifier and count == 1 else k)
        ax.plot(grid, curve, color=colour, linewidth=2, zorder=3, label=_curve_label(model, count, k))
        marks: dict[str, Any] = {"color": colour, "markersize": 5, "markerfacecolor": "white", "zorder": 4}
        ax.plot(inside, np.interp(inside, grid, curve), "o", **marks)
    ticks: dict[str, Any] = {"color": _GREY, "markersize": 12, "markeredgewidth": 1.5, "clip_on": False}
    ax.plot(inside, np.zeros_like(inside), "|", transform=ax.get_xaxis_transform(), label="kinks", **ticks)
    ax.set_xlim(low, high)
    ax.set_xlabel(_feature_names(model, 1)[0])
    ax.legend(frameon=False)
    _lighten(ax)
    return ax


def fit_2d(model: Any, X: ArrayLike, y: ArrayLike | None = None, ax: Axes | None = None) -> Axes:
    """A network of two features: its values or regions, the lines where neurons switch, and the data.

    Parameters
    ----------
    model : Network, FitResult or fitted estimator
    X : array of shape (n, 2)
    y : array of shape (n,), optional
        Targets, or the classes of a classifier.
    ax : Axes, optional

    Returns
    -------
    Axes
    """
    ax = _axes(ax)
    network = _network(model)
    _check_features(network, 2)
    points = np.asarray(X, dtype=np.float64)
    (left, right), (bottom, top) = _widened(points[:, 0]), _widened(points[:, 1])
    grid = np.meshgrid(np.linspace(left, right, _POINTS // 2), np.linspace(bottom, top, _POINTS // 2))
    outputs = network.predict(np.column_stack([axis.ravel() for axis in grid]))
    if hasattr(model, "classes_"):
        _draw_regions(ax, grid, outputs, len(model.classes_))
        _scatter_classes(ax, points, y, model.classes_)
    else:
        _draw_surface(ax, grid, outputs[:, 0], points, y)
    _draw_kink_lines(ax, network)
    ax.set_xlim(left, right)
    ax.set_ylim(bottom, top)
    names = _feature_names(model, 2)
    ax.set_xlabel(names[0])
    ax.set_ylabel(names[1])
    return ax


def kinks_1d(network: Network) -> Array:
    """Where the neurons of a network of one feature switch, in increasing order."""
    slope = network.hidden[0]
    offset = network.hidden[1] if network.bias else np.zeros(network.width)
    switching = slope != 0
    return np.unique(-offset[switching] / slope[switching])


def _draw_regions(ax: Axes, grid: Sequence[Array], outputs: Array, count: int) -> None:
    """The decision regions of a classifier, paler where it is less sure."""
    from matplotlib.colors import to_rgb

    chances = _probabilities(outputs)
    if chances.shape[1] == 1:
        chances = np.hstack([1 - chances, chances])
    colours = np.array([to_rgb(_class_colour(k)) for k in range(count)])
    image = (0.55 + 0.45 * (chances @ colours)).reshape(*grid[0].shape, 3)
    extent = (grid[0].min(), grid[0].max(), grid[1].min(), grid[1].max())
    ax.imshow(image, origin="lower", extent=extent, aspect="auto", interpolation="bilinear", zorder=0)
    for k in range(count if count > 2 else 1):
        lead = chances[:, k] - np.delete(chances, k, axis=1).max(axis=1)
        if lead.min() < 0 < lead.max():
            ax.contour(*grid, lead.reshape(grid[0].shape), levels=[0.0], colors="0.2", linewidths=1.4)


def _scatter_classes(ax: Axes, points: Array, y: ArrayLike | None, classes: np.ndarray) -> None:
    if y is None:
        return
    for k, label in enumerate(classes):
        here = points[np.asarray(y) == label]
        ax.scatter(
            here[:, 0],
            here[:, 1],
            s=18,
            color=_class_colour(k),
            edgecolor="white",
            linewidth=0.5,
            zorder=3,
            label=str(label),
        )
    ax.legend(loc="best", framealpha=0.9)


def _draw_surface(ax: Axes, grid: Sequence[Array], values: Array, points: Array, y: ArrayLike | None) -> None:
    """The values of a network, and the data in the same colours."""
    from matplotlib.colors import Normalize

    targets = np.ravel(values if y is None else np.asarray(y, dtype=np.float64))
    low, high = min(values.min(), targets.min()), max(values.max(), targets.max())
    high = high if high > low else low + 1.0
    scale = Normalize(low, high)
    levels = np.linspace(low, high, 21)
    filled = ax.contourf(*grid, values.reshape(grid[0].shape), levels=levels, cmap="cividis", norm=scale, zorder=0)
    if y is not None:
        ax.scatter(
            points[:, 0],
            points[:, 1],
            c=targets,
            cmap="cividis",
            norm=scale,
            s=18,
            edgecolor="white",
            linewidth=0.6,
            zorder=3,
        )
    ax.figure.colorbar(filled, ax=ax, label="f(x)")


def _draw_kink_lines(ax: Axes, network: Network) -> None:
    """The lines on which neurons switch, the stronger the darker."""
    offset = network.hidden[2] if network.bias else np.zeros(network.width)
    strength = network.strength / max(float(network.strength.max(initial=0.0)), 1e-300)
    for (a, b), c, share in zip(network.hidden[:2].T, offset, strength, strict=True):
        squared = a * a + b * b
        if squared == 0:
            continue
        nearest = np.array([a, b]) * (-c / squared)
        along = np.array([-b, a]) / np.sqrt(squared)
        style: dict[str, Any] = {
            "color": "black",
            "linewidth": 0.9,
            "linestyle": (0, (4, 3)),
            "alpha": 0.25 + 0.5 * share,
        }
        ax.axline(nearest, nearest + along, zorder=2, **style)


def _scatter_1d(ax: Axes, model: Any, points: Array, y: np.ndarray) -> None:
    """The data: targets as they are, and the classes of a classifier as ticks below and above the curves."""
    if not hasattr(model, "classes_"):
        for k, column in enumerate(y.reshape(len(points), -1).T):
            colour = _GREY if y.ndim == 1 else _class_colour(k)
            ax.plot(points, column, ".", color=colour, alpha=0.6, markersize=5, zorder=1)
        return
    count = len(model.classes_)
    for k, label in enumerate(model.classes_):
        here = points[y == label]
        height = 1.1 * k - 0.05 if count == 2 else 1.05 + 0.05 * k
        ax.plot(here, np.full(len(here), height), "|", color=_class_colour(k), alpha=0.6, markersize=9, zorder=1)


def _probabilities(outputs: Array) -> Array:
    """The probabilities of the classes; for two of them, those of the second."""
    from scipy.special import expit, softmax

    return expit(outputs) if outputs.shape[1] == 1 else softmax(outputs, axis=1)


def _class_colour(k: int) -> str:
    return _CLASS_COLOURS[k % len(_CLASS_COLOURS)]


def _curve_label(model: Any, count: int, k: int) -> str:
    if not hasattr(model, "classes_"):
        return "f(x)" if count == 1 else f"f(x), output {k + 1}"
    return f"probability of {model.classes_[k + 1 if count == 1 else k]}"


def _network(model: Any) -> Network:
    """The network of whatever holds one."""
    for attribute in ("network_", "network"):
        if hasattr(model, attribute):
            return getattr(model, attribute)
    return model


def _check_features(network: Network, wanted: int) -> None:
    if network.n_features != wanted:
        raise ValueError(
            f"this picture is for {wanted} feature{'s' * (wanted > 1)}; the network has {network.n_features}"
        )


def _feature_names(model: Any, count: int) -> list[str]:
    fallback = ["x"] if count == 1 else [f"x{i + 1}" for i in range(count)]
    return [str(name) for name in getattr(model, "feature_names_in_", fallback)]


def _axes(ax: Axes | None) -> Axes:
    if ax is not None:
        return ax
    from matplotlib import pyplot

    return pyplot.subplots(layout="constrained")[1]


def _widened(values: Array) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    margin = 0.05 * (high - low) or 1.0
    return low - margin, high + margin


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


def _lighten(ax: Axes) -> None:
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    ax.grid(True, color="0.9", linewidth=0.6)
    ax.set_axisbelow(True)


_LARGEST_LABEL = 12


def arrangement(X: ArrayLike, ax: Axes | None = None, *, labels: bool = True) -> Axes:
    """The cells of {x_i . u = 0}: arcs of the circle for two columns, regions of the sphere for three.

    Colours tell how many rows are active. The sphere is shown by stereographic projection from its south pole: the disc
    is the hemisphere u_3 >= 0, great circles are circles, and the cells of the other hemisphere are opposite to these.

    Parameters
    ----------
    X : array of shape (n, 2) or (n, 3)
    ax : Axes, optional
    labels : bool
        Write the patterns into the cells that have room for them, for at most 12 rows.

    Returns
    -------
    Axes

    Raises
    ------
    ValueError
        If X has another number of columns.
    """
    from extremal.arrangements import arrangements

    found = arrangements(X)
    rows = found.design.dense()
    if rows.shape[1] not in (2, 3):
        raise ValueError(f"this picture is for 2 or 3 columns; X has {rows.shape[1]}")
    ax = _axes(ax)
    patterns = found.patterns.unpack()
    labels = labels and len(rows) <= _LARGEST_LABEL
    if rows.shape[1] == 2:
        _draw_arcs(ax, rows, found.witnesses(), patterns, labels)
    else:
        _draw_sphere(ax, rows, labels)
    ax.set_aspect("equal")
    ax.set_axis_off()
    ax.set_title(f"{len(patterns)} cells of {found.central.N} hyperplanes", fontsize="medium")
    return ax


def _draw_arcs(ax: Axes, rows: Array, witnesses: Array, patterns: np.ndarray, labels: bool) -> None:
    """A sector for every cell, the lines between them, and the rows as arrows."""
    from matplotlib.patches import Wedge

    norms = np.linalg.norm(rows, axis=1)
    units = rows[norms > 0] / norms[norms > 0, None]
    across = np.arctan2(units[:, 0], -units[:, 1])
    ends = np.unique(np.round(np.concatenate([across, across + np.pi]) % (2 * np.pi), 12))
    shade = _shades(patterns.sum(axis=1))
    for u, pattern in zip(witnesses, patterns, strict=True):
        angle = np.arctan2(u[1], u[0]) % (2 * np.pi)
        place = int(np.searchsorted(ends, angle)) if ends.size else 0
        start, stop = (ends[place - 1], ends[place % ends.size]) if ends.size else (0.0, 0.0)
        sweep = (stop - start) % (2 * np.pi) or 2 * np.pi
        colour = shade(pattern.sum())
        sector = (np.degrees(start), np.degrees(start + sweep))
        ax.add_patch(Wedge((0, 0), 1.0, *sector, facecolor=colour, edgecolor="white", linewidth=1.2))
        if labels and sweep > 0.06:
            _write_outside(ax, start + 0.5 * sweep, pattern)
    for unit in units:
        for end in ([-unit[1], unit[0]], [unit[1], -unit[0]]):
            ax.plot(*np.outer(end, [1.0, 1.06]), color=_GREY, linewidth=0.8)
        if len(units) <= _LARGEST_LABEL:
            ax.annotate("", 0.55 * unit, (0, 0), arrowprops={"arrowstyle": "-|>", "color": "black", "linewidth": 1.2})
    margin = 1.5 if labels else 1.15
    ax.set_xlim(-margin, margin)
    ax.set_ylim(-margin, margin)


def _write_outside(ax: Axes, angle: float, pattern: np.ndarray) -> None:
    """A pattern next to the circle, upright on both sides."""
    turn = np.degrees(angle) % 360
    left = 90 < turn < 270
    ax.text(
        1.1 * np.cos(angle),
        1.1 * np.sin(angle),
        _bits(pattern),
        rotation=turn - 180 if left else turn,
        rotation_mode="anchor",
        ha="right" if left else "left",
        va="center",
        fontsize=8,
        family="monospace",
    )


def _draw_sphere(ax: Axes, rows: Array, labels: bool) -> None:
    """The northern hemisphere, every pixel in the colour of its cell, and the great circles over it."""
    from matplotlib.patches import Circle

    side = np.linspace(-1, 1, 2 * _POINTS + 1)
    x, y = np.meshgrid(side, side)
    square = x * x + y * y
    directions = np.stack([2 * x, 2 * y, 1 - square]) / (1 + square)
    active = np.tensordot(rows, directions, axes=1) > 0
    inside = square <= 1
    image = np.ones((*x.shape, 4))
    numbers = active.sum(axis=0)
    shade = _shades(numbers[inside])
    image[..., :3] = np.array([shade(k)[:3] for k in range(len(rows) + 1)])[numbers]
    image[..., 3] = inside
    ax.imshow(image, origin="lower", extent=(-1, 1, -1, 1), interpolation="bilinear", zorder=0)
    border = Circle((0, 0), 1.0, facecolor="none", edgecolor="black", linewidth=1.0, zorder=3)
    ax.add_patch(border)
    for row in rows[rows.any(axis=1)]:
        (line,) = ax.plot(*_great_circle(row / np.linalg.norm(row)), color="white", linewidth=1.2, zorder=2)
        line.set_clip_path(border)
    if labels:
        _write_inside(ax, active, inside, side, shade)
    ax.set_xlim(-1.05, 1.05)
    ax.set_ylim(-1.05, 1.05)


def _great_circle(normal: Array) -> Array:
    """The stereographic projection of half of the great circle across a unit vector, the half with u_3 >= 0."""
    along = np.array([-normal[1], normal[0], 0.0])
    along = along / np.linalg.norm(along) if along.any() else np.array([1.0, 0.0, 0.0])
    up = np.cross(along, normal)
    up = up if up[2] >= 0 else -up
    span = np.pi if up[2] > 0 else 2 * np.pi
    t = np.linspace(0, span, _POINTS)
    points = np.outer(along, np.cos(t)) + np.outer(up, np.sin(t))
    return points[:2] / (1 + points[2])


def _write_inside(
    ax: Axes, active: np.ndarray, inside: np.ndarray, side: Array, shade: Callable[[int], Sequence[float]]
) -> None:
    """Every pattern where its region is widest, if it fits."""
    from scipy.ndimage import distance_transform_edt

    n = len(active)
    codes = np.tensordot(2 ** np.arange(n), active, axes=1)
    step = side[1] - side[0]
    for code in np.unique(codes[inside]):
        region = np.pad((codes == code) & inside, 1)
        room = distance_transform_edt(region)[1:-1, 1:-1]
        i, j = np.unravel_index(int(room.argmax()), room.shape)
        pattern = active[:, i, j]
        if room[i, j] * step > 0.016 * n + 0.01:
            dark = sum(shade(pattern.sum())[:3]) < 1.5
            ax.text(
                side[j], side[i], _bits(pattern), ha="center", va="center", fontsize=8, family="monospace",
                color="white" if dark else "black", zorder=4,
            )  # fmt: skip


def _shades(numbers: np.ndarray) -> Callable[[int], Sequence[float]]:
    """Colours for the numbers of active rows, from dark for the fewest to bright for the most."""
    from matplotlib import colormaps

    low, high = int(numbers.min()), int(numbers.max())
    return lambda number: colormaps["cividis"](0.08 + 0.84 * (number - low) / max(high - low, 1))


def _bits(pattern: np.ndarray) -> str:
    return "".join("1" if bit else "0" for bit in pattern)
