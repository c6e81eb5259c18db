"""Numbers against time: how objective and proven bound closed on each other, and what a flow did."""

from __future__ import annotations

from typing import Any

import numpy as np

from extremal.design import Array
from extremal.flow import FlowResult
from extremal.flow.trajectory import LowerBounds
from extremal.report.figures.common import (
    BLUE,
    GREEN,
    MIDDLE,
    ORANGE,
    VERMILION,
    Figure,
    Moving,
    axis,
    faded,
    label,
    log_axis,
    spread,
)  # fmt: skip
from extremal.report.figures.moments import Moments
from extremal.training import Record

#: Bars of a multiplier, and points of a curve.
MOST_BARS, MOST_POINTS = 80, 1000
#: Rows up to which each is named.
FEW = 20


def history_figure(history: tuple[Record, ...], primal: float, dual: float, seconds: float) -> Figure | None:
    """Objective, bound, gap and neurons against the seconds of the training."""
    if not history:
        return None
    end = max(seconds, history[-1].time)
    time = np.array([*(record.time for record in history), end, 1.03 * end])
    objective = np.minimum.accumulate([*(record.objective for record in history), primal, primal])
    bound = np.maximum.accumulate([*(record.bound for record in history), dual, dual])
    neurons = np.array([*(record.neurons for record in history), *[history[-1].neurons] * 2], dtype=float)
    phases = [*(record.phase for record in history), "end", "end"]
    gap = np.maximum((objective - bound) / np.where(objective > 0, objective, 1.0), 0.0)
    data = [
        _steps(time, objective, "objective", BLUE, text=phases),
        _steps(time, np.where(bound > 0, bound, np.nan), "proven lower bound", VERMILION, dash="dash"),
        _steps(time, np.where(gap > 0, gap, np.nan), "relative gap", GREEN, row=2, text=phases),
        _steps(time, neurons, "neurons", ORANGE, row=3, text=phases, dash="dot"),
    ]
    layout = {
        "xaxis": axis("seconds", anchor="y3", rangemode="tozero"),
        "yaxis": log_axis("objective", np.concatenate([objective, bound]), 5, domain=[0.58, 1]),
        "yaxis2": log_axis("gap", gap, 4, domain=[0.29, 0.5]),
        "yaxis3": axis("neurons", domain=[0, 0.21], nticks=4, rangemode="tozero"),
    }
    caption = (
        "How the training went: the objective of the best network so far falls, the proven lower bound on every "
        "network rises, the optimum is always between them. Below, their relative distance, and the neurons in use. "
        "A bound or gap of zero is not drawn."
    )
    return Figure("Objective and proven bound over time", caption, data, layout, tall=True)


def _steps(time: Array, values: Array, name: str, colour: str, row: int = 1, **more: Any) -> dict[str, Any]:
    index = spread(len(time), MOST_POINTS)
    text = more.pop("text", None)
    line = {"color": colour, "width": 2, "shape": "hv", **({"dash": more["dash"]} if "dash" in more else {})}
    trace: dict[str, Any] = {
        "type": "scatter", "mode": "lines", "x": time[index], "y": values[index], "name": name, "line": line,
        "hovertemplate": "%{y:.8g} after %{x:.3g} s" + (", %{text}" if text else "") + f"<extra>{name}</extra>",
    }  # fmt: skip
    if text:
        trace["text"] = [text[k] for k in index]
    return trace if row == 1 else {**trace, "yaxis": f"y{row}"}


def margin_figure(result: FlowResult, moments: Moments, lower: LowerBounds | None) -> Figure | None:
    """1/2 |theta|^2 of the network scaled to margin 1, against what is proved, over the flow."""
    trajectory = result.trajectory
    upper = trajectory.upper_bounds
    if not np.isfinite(upper).any():
        return None
    index = spread(len(trajectory), MOST_POINTS)
    data = [_curve(trajectory.time[index], upper[index], "network, scaled to margin 1", BLUE)]
    if lower is not None and len(lower.indices):
        bounds = np.where(lower.values > 0, lower.values, np.nan)
        data.append(_curve(trajectory.time[lower.indices], bounds, "proved from its multiplier", VERMILION, "dash"))
    ends = trajectory.time[[0, -1]]
    if result.lower > 0:
        data.append(_curve(ends, np.full(2, result.lower), "no network can be below", GREEN, "dot"))
    shown = upper[moments.index]
    data.append({
        "type": "scatter", "mode": "markers", "x": moments.time[-1:], "y": shown[-1:], "name": "now",
        "marker": {"color": MIDDLE, "size": 11, "line": {"color": "#ffffff", "width": 1}},
        "hoverinfo": "skip",
    })  # fmt: skip
    now = Moving(len(data) - 1, {"x": moments.time[:, None], "y": shown[:, None]})
    layout = {
        "xaxis": axis("loss-normalised time τ"),
        "yaxis": log_axis("½|θ|² at margin 1", upper[np.isfinite(upper)]),
    }
    caption = (
        "The norm of the network, scaled so that its smallest margin is one, from the moment on at which it separates "
        "the labels; and the lower bounds on what any network needs."
    )
    return Figure("Size at margin one, over the flow", caption, data, layout, [now])


def _curve(x: Array, y: Array, name: str, colour: str, dash: str = "solid") -> dict[str, Any]:
    return {
        "type": "scatter", "mode": "lines", "x": x, "y": y, "name": name,
        "line": {"color": colour, "width": 2, "dash": dash},
    }  # fmt: skip


def multiplier_figure(result: FlowResult, moments: Moments) -> Figure:
    """lam, the weights of the rows, over the flow."""
    trajectory = result.trajectory
    lams = trajectory.lam[moments.index]
    rows = spread(lams.shape[1], MOST_BARS)
    positive = trajectory.y[rows] > 0
    data = [{
        "type": "bar", "x": rows, "y": lams[-1, rows], "hovertemplate": "row %{x}: λ = %{y:.4g}<extra></extra>",
        "marker": {"color": [VERMILION if side else BLUE for side in positive]}, "showlegend": False,
    }]  # fmt: skip
    top = 1.05 * float(np.abs(lams[:, rows]).max(initial=0.0)) or 1.0
    layout = {
        "xaxis": axis("row", **({"dtick": 1} if len(rows) <= FEW else {})),
        "yaxis": axis("λ, scaled to Σ|λ| = 1", range=[-top if (lams < 0).any() else 0, top if (lams > 0).any() else 0]),
    }
    some = f" {len(rows)} of {lams.shape[1]} rows, evenly spread." if len(rows) < lams.shape[1] else ""
    caption = (
        "The pull of each row, -grad of its loss: it is what the neurons follow. At the limit only the rows of the "
        f"smallest margin pull. The slider goes through the flow.{some}"
    )
    return Figure("The multiplier λ", caption, data, layout, [Moving(0, {"y": lams[:, rows]})])


def waterfall_figure(parts: dict[str, float], objective: float, bound: float) -> Figure:
    """Where the gap comes from: a bar for every share, from the objective down to the proven bound."""
    names = ["given", *parts, "proven bound"]
    data = [{
        "type": "waterfall", "x": [label(name) for name in names],
        "measure": ["absolute", *["relative"] * len(parts), "total"],
        "y": [objective, *(-size for size in parts.values()), 0.0],
        "decreasing": {"marker": {"color": ORANGE}}, "increasing": {"marker": {"color": VERMILION}},
        "totals": {"marker": {"color": BLUE}}, "connector": {"line": {"color": MIDDLE, "width": 1}},
        "hovertemplate": "%{x}: %{y:.8g}<extra></extra>", "showlegend": False,
    }]  # fmt: skip
    total = max(objective - bound, 1e-12 * abs(objective))
    layout = {"yaxis": axis("objective", range=[bound - 0.15 * total, objective + 0.15 * total]), "xaxis": axis("")}
    caption = (
        "From the given network down to the proven bound: balancing its layers, descent with the neurons that are "
        "there (stationarity), merging neurons, the search for new ones, and what is open. The axis need not "
        "start at zero."
    )
    return Figure("Where the gap comes from", caption, data, layout)


def agreement_figure(observed: Array, fitted: Array, classes: list[str]) -> Figure:
    """Fitted against observed values of a regression; how often which class is taken for which."""
    if classes:
        return _confusion(observed, fitted, classes)
    rows = spread(len(observed), MOST_POINTS)
    x, y = observed[rows, 0], fitted[rows, 0]
    ends = np.array([min(x.min(), y.min()), max(x.max(), y.max())])
    data = [
        {"type": "scatter", "mode": "lines", "x": ends, "y": ends, "line": {"color": MIDDLE, "dash": "dash"},
         "name": "equal", "hoverinfo": "skip"},
        {"type": "scatter", "mode": "markers", "x": x, "y": y, "marker": {"color": faded(BLUE, 0.6), "size": 6},
         "name": "rows", "text": [f"row {k}" for k in rows],
         "hovertemplate": "%{text}: %{x:.4g}, fitted %{y:.4g}<extra></extra>"},
    ]  # fmt: skip
    some = f" {len(rows)} of {len(observed)} rows, evenly spread." if len(rows) < len(observed) else ""
    caption = f"Every row of the data: what was observed, and what the network says.{some}"
    layout = {"xaxis": axis("observed"), "yaxis": axis("fitted")}
    return Figure("Fitted against observed", caption, data, layout)


def _confusion(labels: Array, winners: Array, classes: list[str]) -> Figure:
    counts = np.zeros((len(classes), len(classes)), dtype=int)
    np.add.at(counts, (labels, winners), 1)
    names = [label(name) for name in classes]
    data = [{
        "type": "heatmap", "x": names, "y": names, "z": counts, "text": counts, "texttemplate": "%{text}",
        "colorscale": [[0, faded(BLUE, 0.08)], [1, faded(BLUE, 0.75)]], "showscale": False, "xgap": 2, "ygap": 2,
        "hovertemplate": "%{z} rows of class %{y} taken for %{x}<extra></extra>",
    }]  # fmt: skip
    layout = {
        "xaxis": axis("predicted class", type="category", showgrid=False),
        "yaxis": axis("class", type="category", autorange="reversed", showgrid=False),
    }
    caption = "How many rows of which class (down) the network takes for which (across)."
    return Figure("Predicted against true classes", caption, data, layout)
