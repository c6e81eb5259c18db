"""The hyperplanes {x_i . u = 0} in the plane or on the sphere of directions, and the neurons between them."""

from __future__ import annotations

from typing import Any

import numpy as np

from extremal.design import Array
from extremal.plotting.sphere import great_circles
from extremal.report.figures.common import MIDDLE, SKY, Figure, axis, scene, spread
from extremal.report.figures.marks import Neurons, marks, moving_marks, rings
from extremal.report.figures.moments import Moments

#: Hyperplanes that are drawn.
MOST_ROWS = 60


def arrangement_figure(
    X: Array, neurons: Neurons, moments: Moments | None = None, limit: Array | None = None
) -> Figure | None:
    """The figure in two or three dimensions (with the column of ones, if there is one); None in others.

    Of a run the neurons move; `limit` (k, D) are the directions at its limit.
    """
    if X.shape[1] not in (2, 3):
        return None
    drawn = spread(len(X), MOST_ROWS)
    flat = X.shape[1] == 2
    data = [_lines(X[drawn]), _circle()] if flat else [_ball(), _circles(X[drawn])]
    first = len(data)
    data += marks(neurons.directions, neurons)
    if limit is not None:
        data.append(rings(limit))
    return Figure(
        "The arrangement of the hyperplanes xᵢ·u = 0",
        _words(len(X), len(drawn), flat, moments),
        data,
        _flat_layout() if flat else _solid_layout(),
        [] if moments is None else moving_marks(moments.directions, moments, first),
    )


def _words(n: int, drawn: int, flat: bool, moments: Moments | None) -> str:
    some = f"; {drawn} of the {n} rows are drawn, evenly spread" if drawn < n else ""
    where = "lines through the origin" if flat else "great circles"
    move = " The slider moves the neurons over the flow; rings are its limit." if moments is not None else ""
    return (
        f"Each row of the data splits the directions u in two: the neurons there that see it, and those that do not. "
        f"The rows' {where} make the cells{some}; inside a cell the activation pattern is the same. "
        f"Marks are the neurons' directions, as large as their share.{move}"
    )


def _lines(X: Array) -> dict[str, Any]:
    rows = X[X.any(axis=1)]
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    along = 1.15 * np.column_stack([-unit[:, 1], unit[:, 0]])
    ends = np.stack([-along, along, np.full_like(along, np.nan)], axis=1).reshape(-1, 2)
    return {
        "type": "scatter", "mode": "lines", "x": ends[:, 0], "y": ends[:, 1], "line": {"color": MIDDLE, "width": 1},
        "hoverinfo": "skip", "name": "rows switch", "showlegend": True,
    }  # fmt: skip


def _circle() -> dict[str, Any]:
    turn = np.linspace(0, 2 * np.pi, 121)
    return {
        "type": "scatter", "mode": "lines", "x": np.cos(turn), "y": np.sin(turn), "line": {"color": SKY, "width": 2},
        "hoverinfo": "skip", "showlegend": False,
    }  # fmt: skip


def _ball() -> dict[str, Any]:
    up, side = np.meshgrid(np.linspace(0, np.pi, 25), np.linspace(0, 2 * np.pi, 49), indexing="ij")
    radius = 0.985  # below the circles, so that they are not hidden
    return {
        "type": "surface", "x": radius * np.sin(up) * np.cos(side), "y": radius * np.sin(up) * np.sin(side),
        "z": radius * np.cos(up), "colorscale": [[0, SKY], [1, SKY]], "opacity": 0.35, "showscale": False,
        "hoverinfo": "skip", "lighting": {"ambient": 0.8, "specular": 0.05},
        "contours": {name: {"highlight": False} for name in "xyz"},
    }  # fmt: skip


def _circles(X: Array) -> dict[str, Any]:
    gap = np.full((1, 3), np.nan)
    parts = [part for circle, _ in great_circles(X) for part in (circle[::3], gap)]
    points = np.concatenate([gap, *parts])
    return {
        "type": "scatter3d", "mode": "lines", "x": points[:, 0], "y": points[:, 1], "z": points[:, 2],
        "line": {"color": MIDDLE, "width": 2}, "hoverinfo": "skip", "name": "rows switch", "showlegend": True,
    }  # fmt: skip


def _flat_layout() -> dict[str, Any]:
    return {
        "xaxis": axis("u₁", range=[-1.2, 1.2], zeroline=False),
        "yaxis": axis("u₂", range=[-1.2, 1.2], zeroline=False, scaleanchor="x"),
    }


def _solid_layout() -> dict[str, Any]:
    layout = scene(["u₁", "u₂", "u₃"])
    for name in "xyz":
        layout["scene"][f"{name}axis"]["range"] = [-1.05, 1.05]
    return layout
