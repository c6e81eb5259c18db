"""Neurons as marks: their places, the sign of their outputs as colour and shape, their share as area."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from extremal.design import Array
from extremal.report.figures.common import BLUE, GREEN, VERMILION, Moving, sign_name
from extremal.report.figures.moments import Moments

#: Diameters of marks: at least, and more for the largest share.
SMALLEST, MORE = 5.0, 15.0


@dataclass(frozen=True, eq=False)
class Neurons:
    """Unit directions (m, D), their shares (m,) of the penalty or the mass, and the signs (m,) of their outputs."""

    directions: Array
    share: Array
    sign: Array

    @classmethod
    def at_the_end(cls, moments: Moments) -> Neurons:
        return cls(moments.directions[-1], moments.share[-1], moments.sign)


def marks(places: Array, neurons: Neurons) -> list[dict[str, Any]]:
    """Two traces, positive and negative outputs, of marks at `places` (m, 2) or (m, 3)."""
    flat = places.shape[1] == 2
    traces = []
    for side, colour in ((1, VERMILION), (-1, BLUE)):
        chosen = _of_side(neurons.sign, side)
        symbol = ("triangle-up" if side > 0 else "triangle-down") if flat else ("circle" if side > 0 else "diamond")
        look = {"color": colour, "symbol": symbol, "size": sizes(neurons.share[chosen]), "line": _EDGE}
        traces.append(
            {
                "type": "scatter" if flat else "scatter3d",
                "mode": "markers",
                "name": sign_name(side),
                **dict(zip("xyz", places[chosen].T, strict=False)),
                "marker": look,
                "text": [f"neuron {k + 1}" for k in np.flatnonzero(chosen)],
                "hoverinfo": "text",
                "showlegend": bool(chosen.any()),
            }
        )
    return traces


def moving_marks(places: Array, moments: Moments, first: int) -> list[Moving]:
    """How the two traces from number `first` on move, for `places` of shape (T, m, 2) or (T, m, 3)."""
    found = []
    for k, side in enumerate((1, -1)):
        chosen = _of_side(moments.sign, side)
        values: dict[str, Any] = {name: places[:, chosen, j] for j, name in enumerate("xyz"[: places.shape[2]])}
        values["marker.size"] = sizes(moments.share[:, chosen])
        found.append(Moving(first + k, values))
    return found


def rings(places: Array) -> dict[str, Any]:
    """Where the limit's neurons are, as rings at `places` (m, 2) or (m, 3)."""
    flat = places.shape[1] == 2
    return {
        "type": "scatter" if flat else "scatter3d",
        "mode": "markers",
        "name": "the limit",
        **dict(zip("xyz", places.T, strict=False)),
        "marker": {"color": GREEN, "symbol": "circle-open", "size": 17 if flat else 12, "line": {"width": 3}},
        "hoverinfo": "name",
        "showlegend": True,
    }


def sizes(share: Array) -> Array:
    """Diameters of marks."""
    return np.round(SMALLEST + MORE * np.sqrt(share), 1)


def _of_side(sign: Array, side: int) -> Array:
    return sign > 0 if side > 0 else sign <= 0


_EDGE = {"color": "#ffffff", "width": 1}
