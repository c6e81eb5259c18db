"""What a network of one or two features computes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from extremal.plotting.style import GREY, POINTS, axes, class_colour, lighten

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike

    from extremal.design import Array
    from extremal.network import Network


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
    ax = axes(ax)
    network = _network(model)
    points = np.asarray(X, dtype=np.float64).reshape(-1)
    _check_features(network, 1)
    low, high = _widened(points)
    kinks = kinks_1d(network)
    inside = kinks[(kinks >= low) & (kinks <= high)]
    # The function is linear between kinks: with them in the grid the picture is exact.
    grid = np.union1d(np.linspace(low, high, POINTS), inside)
    outputs = network.predict(grid[:, None])
    is_classifier = hasattr(model, "classes_")
    curves = _probabilities(outputs) if is_classifier else outputs

    if y is not None:
        _scatter_1d(ax, model, points, np.asarray(y))
    count = curves.shape[1]
    for k, curve in enumerate(curves.T):
        colour = class_colour(k + 1 if is_classifier and count == 1 else k)
        ax.plot(grid, curve, color=colour, linewidth=2, zorder=3, label=_curve_label(model, count, k))
        marks: dict[str, Any] = {"color": colour, "markersize": 5, "markerfacecolor": "white", "zorder": 4}
        ax.plot(inside, np.interp(inside, grid, curve), "o", **marks)
    ticks: dict[str, Any] = {"color": GREY, "markersize": 12, "markeredgewidth": 1.5, "clip_on": False}
    ax.plot(inside, np.zeros_like(inside), "|", transform=ax.get_xaxis_transform(), label="kinks", **ticks)
    ax.set_xlim(low, high)
    ax.set_xlabel(_feature_names(model, 1)[0])
    ax.legend(frameon=False)
    lighten(ax)
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
    ax = axes(ax)
    network = _network(model)
    _check_features(network, 2)
    points = np.asarray(X, dtype=np.float64)
    (left, right), (bottom, top) = _widened(points[:, 0]), _widened(points[:, 1])
    grid = np.meshgrid(np.linspace(left, right, POINTS // 2), np.linspace(bottom, top, POINTS // 2))
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
    colours = np.array([to_rgb(class_colour(k)) for k in range(count)])
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
            color=class_colour(k),
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
            colour = GREY if y.ndim == 1 else class_colour(k)
            ax.plot(points, column, ".", color=colour, alpha=0.6, markersize=5, zorder=1)
        return
    count = len(model.classes_)
    for k, label in enumerate(model.classes_):
        here = points[y == label]
        height = 1.1 * k - 0.05 if count == 2 else 1.05 + 0.05 * k
        ax.plot(here, np.full(len(here), height), "|", color=class_colour(k), alpha=0.6, markersize=9, zorder=1)


def _probabilities(outputs: Array) -> Array:
    """The probabilities of the classes; for two of them, those of the second."""
    from scipy.special import expit, softmax

    return expit(outputs) if outputs.shape[1] == 1 else softmax(outputs, axis=1)


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


def _widened(values: Array) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    margin = 0.05 * (high - low) or 1.0
    return low - margin, high + margin
