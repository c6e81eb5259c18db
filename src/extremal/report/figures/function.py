"""What the network computes: a curve, a surface or regions; in more features, slices through two of them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from extremal.design import Array
from extremal.network import Network
from extremal.plotting.fits import kinks_1d
from extremal.report.figures.common import (
    MIDDLE,
    VERMILION,
    Choice,
    Figure,
    axis,
    class_colour,
    faded,
    label,
    scene,
    spread,
)  # fmt: skip
from extremal.report.subject import Subject

#: Points of a curve, cells along a side of a picture, rows that are drawn, and features whose pairs are in the menu.
FINE, CELLS, MOST_ROWS, MOST_FEATURES = 400, 61, 600, 4
#: From dark blue over light to dark orange, told apart by every kind of colour vision (and in grey).
VALUES = [[0.0, "#0b3c6f"], [0.25, "#3f8fc4"], [0.5, "#e8e8e8"], [0.75, "#e69f00"], [1.0, "#8a4b00"]]


def function_figure(subject: Subject) -> Figure | None:
    """The figure for the network on its data."""
    network = subject.network
    if network is None:
        return None
    d = subject.X.shape[1]
    if d == 1:
        return _curves(subject, network)
    if d == 2 and not subject.is_classes:
        return _surface(subject, network)
    order = importance(network, subject.X)[: MOST_FEATURES if d > 2 else 2]
    pairs = list(combinations(order, 2))
    draw = _regions if subject.is_classes else _levels
    choices = [_slice(subject, network, i, j, draw) for i, j in pairs]
    what = "Decision regions" if subject.is_classes else "The fitted function"
    title = what if d == 2 else f"{what}, in slices"
    first = choices[0]
    return Figure(title, _slice_words(subject), first.data, first.layout, choices=choices if len(choices) > 1 else ())


def importance(network: Network, X: Array) -> Array:
    """The features in the order of sum_j |w_kj| |a_j| std(x_k), the largest first."""
    weight = np.abs(network.hidden[: network.n_features]) @ np.linalg.norm(network.output, axis=1)
    return np.argsort(-weight * X.std(axis=0), kind="stable")


def chances(outputs: Array) -> Array:
    """Probabilities of the classes, (n, K), from one output (logistic) or several (softmax)."""
    logits = np.column_stack([np.zeros(len(outputs)), outputs]) if outputs.shape[1] == 1 else outputs
    with np.errstate(under="ignore"):
        weight = np.exp(logits - logits.max(axis=1, keepdims=True))
    return weight / weight.sum(axis=1, keepdims=True)


# ------------------------------------------------------------------------------------------------------ one feature


def _curves(subject: Subject, network: Network) -> Figure:
    low, high = _widened(subject.X[:, 0])
    kinks = kinks_1d(network)
    inside = kinks[(kinks > low) & (kinks < high)]
    grid = np.union1d(np.linspace(low, high, FINE), inside)  # between kinks the function is linear: the curve is exact
    outputs = network.predict(grid[:, None])
    rows = spread(len(subject.X), MOST_ROWS)
    values = chances(outputs) if subject.is_classes else outputs
    names = _curve_names(subject, values.shape[1])
    shown = range(1, 2) if subject.is_classes and len(names) == 2 else range(len(names))
    data = [_points_1d(subject, rows)] if not subject.is_classes else _points_of_classes(subject, rows)
    for k in shown:
        data.append({
            "type": "scatter", "mode": "lines", "x": grid, "y": values[:, k], "name": names[k],
            "line": {"color": class_colour(k), "width": 3},
        })  # fmt: skip
    if not subject.is_classes:
        data += [_kink_marks(inside, np.interp(inside, grid, values[:, k]), k) for k in shown if len(inside)]
    if subject.y.shape[1] > 1 and not subject.is_classes:
        data += [_points_1d(subject, rows, k) for k in range(1, subject.y.shape[1])]
    height = "probability" if subject.is_classes else "output"
    layout = {"xaxis": axis(label(subject.features[0]), range=[low, high]), "yaxis": axis(height)}
    caption = (
        f"The network on the whole range of the data, with its {len(inside)} kinks: between two kinks it is linear."
        + _some(len(rows), len(subject.X))
    )
    return Figure("The fitted function", caption, data, layout, wide=True)


def _curve_names(subject: Subject, count: int) -> list[str]:
    if subject.is_classes:
        return [f"chance of {label(name)}" for name in subject.classes]
    return ["network"] if count == 1 else [f"output {k + 1}" for k in range(count)]


def _points_1d(subject: Subject, rows: Array, k: int = 0) -> dict[str, Any]:
    colour = MIDDLE if subject.y.shape[1] == 1 else class_colour(k)
    return {
        "type": "scatter", "mode": "markers", "x": subject.X[rows, 0], "y": subject.y[rows, k], "name": "data",
        "marker": {"color": faded(colour, 0.75), "size": 7}, "showlegend": k == 0,
        "text": [f"row {i}" for i in rows], "hovertemplate": "%{text}: %{x:.4g}, %{y:.4g}<extra></extra>",
    }  # fmt: skip


def _points_of_classes(subject: Subject, rows: Array) -> list[dict[str, Any]]:
    """The classes as ticks, at the bottom for the first and above for the others."""
    found = []
    for k, name in enumerate(subject.classes):
        here = rows[subject.y[rows, 0] == k]
        height = k / max(len(subject.classes) - 1, 1)
        found.append({
            "type": "scatter", "mode": "markers", "x": subject.X[here, 0], "y": np.full(len(here), height),
            "name": label(name), "text": [f"row {i}" for i in here], "hoverinfo": "text+name",
            "marker": {"color": faded(class_colour(k), 0.6), "size": 9, "symbol": SYMBOLS[k % len(SYMBOLS)]},
        })  # fmt: skip
    return found


def _kink_marks(kinks: Array, heights: Array, k: int) -> dict[str, Any]:
    return {
        "type": "scatter", "mode": "markers", "x": kinks, "y": heights, "name": "kinks",
        "marker": {"color": "#ffffff", "size": 8, "line": {"color": class_colour(k), "width": 2}},
        "showlegend": k == 0, "hovertemplate": "kink at %{x:.6g}<extra></extra>",
    }  # fmt: skip


# ----------------------------------------------------------------------------------------------------- two and more

SYMBOLS = ("circle", "diamond", "square", "triangle-up", "cross", "x", "star")


@dataclass(frozen=True, eq=False)
class Slice:
    """A grid over two features, the others at their medians, with the network's outputs (cells, cells, c)."""

    x: Array
    y: Array
    outputs: Array


def _slice_of(subject: Subject, network: Network, i: int, j: int) -> Slice:
    x = np.linspace(*_widened(subject.X[:, i]), CELLS)
    y = np.linspace(*_widened(subject.X[:, j]), CELLS)
    points = np.tile(np.median(subject.X, axis=0), (CELLS * CELLS, 1))
    points[:, i], points[:, j] = np.tile(x, CELLS), np.repeat(y, CELLS)
    return Slice(x, y, network.predict(points).reshape(CELLS, CELLS, -1))


def _slice(subject: Subject, network: Network, i: int, j: int, draw: Any) -> Choice:
    part = _slice_of(subject, network, i, j)
    names = [label(subject.features[k]) for k in (i, j)]
    layout = {
        "xaxis": axis(names[0], range=[part.x[0], part.x[-1]], showgrid=False, zeroline=False),
        "yaxis": axis(names[1], range=[part.y[0], part.y[-1]], showgrid=False, zeroline=False),
    }
    return Choice(f"{subject.features[i]} and {subject.features[j]}", draw(subject, part, i, j), layout)


def _levels(subject: Subject, part: Slice, i: int, j: int) -> list[dict[str, Any]]:
    """The values of the first output, and the rows in the same colours."""
    rows = spread(len(subject.X), MOST_ROWS)
    values, targets = part.outputs[:, :, 0], subject.y[rows, 0]
    low, high = float(min(values.min(), targets.min())), float(max(values.max(), targets.max()))
    ends = {"cmin": low, "cmax": high}
    return [
        {"type": "contour", "x": part.x, "y": part.y, "z": values, "zmin": low, "zmax": high, "colorscale": VALUES,
         "contours": {"coloring": "heatmap", "showlines": True}, "line": {"width": 0.5, "color": MIDDLE},
         "ncontours": 16, "colorbar": {"title": {"text": "output"}, "thickness": 14},
         "hovertemplate": "%{z:.4g}<extra></extra>"},
        {"type": "scatter", "mode": "markers", "x": subject.X[rows, i], "y": subject.X[rows, j], "name": "data",
         "marker": {"color": targets, "colorscale": VALUES, "size": 8, "line": {"color": "#333333", "width": 1},
                    **ends},
         "text": [f"row {k}: {value:.4g}" for k, value in zip(rows, targets, strict=True)], "hoverinfo": "text",
         "showlegend": False},
    ]  # fmt: skip


def _regions(subject: Subject, part: Slice, i: int, j: int) -> list[dict[str, Any]]:
    """The class that wins, paler where it is less sure, and the rows in the colours of their classes."""
    chance = chances(part.outputs.reshape(CELLS * CELLS, -1))
    winner, count = chance.argmax(axis=1), len(subject.classes)
    least = 1.0 / count
    sure = (chance.max(axis=1) - least) / (1 - least)
    z = (winner + 0.02 + 0.96 * sure).reshape(CELLS, CELLS)
    data: list[dict[str, Any]] = [{
        "type": "heatmap", "x": part.x, "y": part.y, "z": np.round(z, 3), "zmin": 0, "zmax": count,
        "colorscale": _class_scale(count), "showscale": False, "hoverinfo": "skip",
    }]  # fmt: skip
    data += _borders(part, chance)
    rows = spread(len(subject.X), MOST_ROWS)
    for k, name in enumerate(subject.classes):
        here = rows[subject.y[rows, 0] == k]
        data.append({
            "type": "scatter", "mode": "markers", "x": subject.X[here, i], "y": subject.X[here, j], "name": label(name),
            "marker": {"color": class_colour(k), "size": 8, "symbol": SYMBOLS[k % len(SYMBOLS)],
                       "line": {"color": "#ffffff", "width": 1}},
            "text": [f"row {r}" for r in here], "hoverinfo": "text+name",
        })  # fmt: skip
    return data


def _class_scale(count: int) -> list[list[Any]]:
    """For class k the range [k, k + 1), from nearly nothing to its colour; the page shows through."""
    stops: list[list[Any]] = []
    for k in range(count):
        stops += [[k / count, faded(class_colour(k), 0.08)], [(k + 1) / count, faded(class_colour(k), 0.6)]]
    return stops


def _borders(part: Slice, chance: Array) -> list[dict[str, Any]]:
    """The lines on which a class stops winning."""
    found = []
    count = chance.shape[1]
    for k in range(1 if count == 2 else count):
        lead = (chance[:, k] - np.delete(chance, k, axis=1).max(axis=1)).reshape(CELLS, CELLS)
        if lead.min() < 0 < lead.max():
            found.append({
                "type": "contour", "x": part.x, "y": part.y, "z": np.round(lead, 4), "showscale": False,
                "contours": {"start": 0, "end": 0, "size": 1, "coloring": "none"}, "hoverinfo": "skip",
                "line": {"color": MIDDLE, "width": 2}, "showlegend": False,
            })  # fmt: skip
    return found


def _slice_words(subject: Subject) -> str:
    what = (
        "The class that wins, stronger where the network is surer; lines are the borders."
        if subject.is_classes
        else "The output of the network as colour; the rows of the data are coloured by their targets."
    )
    d = subject.X.shape[1]
    others = (
        " All other features are held at their medians, while the rows are at their own values: they lie in front of "
        f"or behind this slice. The menu has the pairs of the {min(MOST_FEATURES, d)} features that weigh most."
        if d > 2
        else ""
    )
    return what + others + _some(min(MOST_ROWS, len(subject.X)), len(subject.X))


def _surface(subject: Subject, network: Network) -> Figure:
    """Two features and a number: a surface, and the data."""
    part = _slice_of(subject, network, 0, 1)
    rows = spread(len(subject.X), MOST_ROWS)
    data = [
        {"type": "surface", "x": part.x, "y": part.y, "z": part.outputs[:, :, 0], "colorscale": VALUES,
         "opacity": 0.9, "showscale": False,
         "contours": {"z": {"show": True, "color": MIDDLE, "width": 1}},
         "hovertemplate": "%{x:.4g}, %{y:.4g}: %{z:.4g}<extra></extra>"},
        {"type": "scatter3d", "mode": "markers", "x": subject.X[rows, 0], "y": subject.X[rows, 1],
         "z": subject.y[rows, 0], "name": "data", "marker": {"size": 4, "color": VERMILION},
         "text": [f"row {k}" for k in rows], "hoverinfo": "text", "showlegend": False},
    ]  # fmt: skip
    titles = [*(label(name) for name in subject.features), "output"]
    caption = "The network over the range of the data, which are the points. Drag to turn it." + _some(
        len(rows), len(subject.X)
    )
    return Figure("The fitted function", caption, data, scene(titles), wide=True)


def _widened(values: Array) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    margin = 0.06 * (high - low) or 1.0
    return low - margin, high + margin


def _some(drawn: int, total: int) -> str:
    return f" {drawn} of the {total} rows are drawn, evenly spread." if drawn < total else ""
