"""Which neuron is active on which row."""

from __future__ import annotations

import numpy as np

from extremal.design import Array
from extremal.report.figures.common import BLUE, GREEN, VERMILION, Figure, axis, faded, spread

#: Neurons and rows that are drawn.
MOST_NEURONS, MOST_ROWS = 150, 400


def pattern_figure(active: Array, strength: Array, sign: Array, several: bool) -> Figure | None:
    """Neurons (down, the strongest first) against rows (sorted by their patterns).

    Parameters
    ----------
    active : boolean array of shape (m, n)
        x_i . w_j > 0.
    strength, sign : arrays of shape (m,)
    several : bool
        Whether there are several outputs; the colours then do not tell the sign.
    """
    if not active.size:
        return None
    neurons = np.argsort(-strength, kind="stable")[:MOST_NEURONS]
    rows = spread(active.shape[1], MOST_ROWS)
    shown = active[np.ix_(neurons, rows)]
    order = np.lexsort(shown[::-1])  # the strongest neuron splits the rows first
    shown, rows = shown[:, order], rows[order]
    value = shown * (1.0 if several else np.where(sign[neurons] > 0, 1.0, -1.0)[:, None])
    data = [{
        "type": "heatmap", "z": value.astype(int), "y": [str(k + 1) for k in neurons], "zmin": -1, "zmax": 1,
        "colorscale": [[0, BLUE], [0.5, faded("#7d7d7d", 0.12)], [1, GREEN if several else VERMILION]],
        "showscale": False, "xgap": 1 if len(rows) < 80 else 0, "ygap": 1,
        "customdata": np.tile(rows, (len(neurons), 1)),
        "hovertemplate": "neuron %{y}, row %{customdata}<extra></extra>",
    }]  # fmt: skip
    layout = {
        "xaxis": axis("rows, sorted by their patterns", showgrid=False, showticklabels=False, ticks=""),
        "yaxis": axis("neurons, the strongest first", type="category", autorange="reversed", showgrid=False),
    }
    return Figure("Activation patterns", _words(active.shape, len(neurons), len(rows), several), data, layout)


def _words(shape: tuple[int, ...], neurons: int, rows: int, several: bool) -> str:
    m, n = shape
    colours = "coloured" if several else "red-orange (positive output weight) or blue (negative)"
    parts = [
        f"the {neurons} strongest of {m} neurons" if neurons < m else "",
        f"{rows} of {n} rows, evenly spread" if rows < n else "",
    ]
    some = " Drawn are " + " and ".join(part for part in parts if part) + "." if any(parts) else ""
    return f"A cell is {colours} where the neuron is active on the row, and empty where it is off.{some}"
