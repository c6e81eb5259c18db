"""The sections of a report: which figures apply, the table of neurons, the starts, how to do it again, citations."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from extremal.design import Array
from extremal.flow.starts import FlowStatistics, name_of
from extremal.judgement import Judgement
from extremal.network import Network
from extremal.report.figures.arrangement import arrangement_figure
from extremal.report.figures.bounds import (
    agreement_figure,
    history_figure,
    margin_figure,
    multiplier_figure,
    waterfall_figure,
)
from extremal.report.figures.common import Figure
from extremal.report.figures.ellipsoid import Support, ellipsoid_figure
from extremal.report.figures.function import function_figure
from extremal.report.figures.marks import Neurons
from extremal.report.figures.moments import Moments
from extremal.report.figures.patterns import pattern_figure
from extremal.report.subject import Subject, winners

#: Neurons in the table, weights of a direction that get a column each, and points at which a flow is bounded.
MOST_NEURONS, MOST_COLUMNS, BOUNDED = 500, 12, 16
#: Seconds for these bounds.
BOUND_TIME = 2.0


@dataclass(frozen=True)
class Table:
    """Rows of texts and numbers under a heading each.

    Attributes
    ----------
    caption : str
    columns : list of str
    rows : list of lists
        Numbers are shown to six digits and sorted as numbers.
    """

    caption: str
    columns: list[str]
    rows: list[list[object]]


def figures_of(subject: Subject) -> tuple[list[Figure], list[str]]:
    """All figures that apply, and what the slider says at each moment of a run."""
    if subject.flow is None:
        return [figure for figure in _fit_figures(subject) if figure is not None], []
    moments = Moments.of(subject.flow.trajectory)
    return [figure for figure in _flow_figures(subject, moments) if figure is not None], moments.labels


def _fit_figures(subject: Subject) -> list[Figure | None]:
    """Those of the network; where a judgement found a better one, its function beside the given one's, and the rest."""
    certificate, better = subject.certificate, subject.better
    assert certificate is not None
    figures: list[Figure | None] = [
        history_figure(subject.history, certificate.primal, certificate.dual, subject.seconds or 0.0),
        _waterfall(subject),
    ]
    if better is None:
        return [function_figure(subject), *figures, *_network_figures(subject)]
    improved = replace(subject, network=better)
    functions = [_about(function_figure(part), word) for part, word in ((subject, "given"), (improved, "better"))]
    given = [_about(_patterns(subject), "given")]
    return [*functions, *figures, *given, *(_about(figure, "better") for figure in _network_figures(improved))]


def _network_figures(subject: Subject) -> list[Figure | None]:
    """The figures of a network beside its function."""
    network, certificate = subject.network, subject.certificate
    if network is None or certificate is None:
        return []
    geometry: list[Figure | None] = []
    if network.width:
        neurons = _neurons(network)
        if subject.is_plain:
            support = Support(certificate.lam, certificate.beta, certificate.gauge.upper)
            geometry.append(ellipsoid_figure(subject.rows, neurons, support))
        geometry.append(arrangement_figure(subject.rows, neurons))
    return [*geometry, _agreement(subject), _patterns(subject)]


def _about(figure: Figure | None, which: str) -> Figure | None:
    """The figure, titled as that of the "given" or the "better" network."""
    if figure is None:
        return None
    return replace(figure, title=f"{figure.title}: the {which} network", wide=False)


def _flow_figures(subject: Subject, moments: Moments) -> list[Figure | None]:
    result = subject.flow
    assert result is not None
    run = result.trajectory
    X, neurons = run.X, Neurons.at_the_end(moments)
    known, limit = result.gauge is not None, None
    if np.isfinite(result.residual):
        limit = _neurons(result.network).directions
    support = Support(
        result.lam[:, None],
        1.0 if known else None,
        result.gauge.upper if result.gauge is not None else np.inf,
        violator=result.violator,
        over_time=run.lam[moments.index],
        limit=limit,
    )
    lower = run.lower_bounds(BOUNDED, time_limit=BOUND_TIME) if run.loss != "squared" else None
    return [
        ellipsoid_figure(X, neurons, support, moments),
        arrangement_figure(X, neurons, moments, limit),
        multiplier_figure(result, moments),
        margin_figure(result, moments, lower),
        function_figure(subject),
        _patterns(subject),
    ]


def _neurons(network: Network) -> Neurons:
    size = np.linalg.norm(network.hidden, axis=0)
    strength = network.strength
    return Neurons(
        (network.hidden / np.where(size > 0, size, 1.0)).T,
        strength / (strength.sum() or 1.0),
        np.sign(network.output.sum(axis=1)),
    )


def _waterfall(subject: Subject) -> Figure | None:
    """The split of the gap, where the result has one."""
    certificate = subject.certificate
    if not isinstance(certificate, Judgement):
        return None
    return waterfall_figure(certificate.split, certificate.primal, certificate.dual)


def _agreement(subject: Subject) -> Figure | None:
    if subject.is_classes:
        return agreement_figure(subject.y[:, 0], winners(subject.outputs), subject.classes)
    return agreement_figure(subject.y, subject.outputs, []) if subject.X.shape[1] > 1 else None


def _patterns(subject: Subject) -> Figure | None:
    network = subject.network
    if network is None:
        return None
    sign = np.sign(network.output.sum(axis=1))
    return pattern_figure(_active(subject, network), network.strength, sign, network.n_outputs > 1)


def _active(subject: Subject, network: Network) -> Array:
    """x_i . w_j > 0, shape (m, n)."""
    return (subject.rows @ network.hidden > 0).T


def neuron_table(subject: Subject) -> Table | None:
    """Every neuron with its weights, the strongest first."""
    network = subject.network
    if network is None or not network.width:
        return None
    strength = network.strength
    kept = np.argsort(-strength, kind="stable")[:MOST_NEURONS]
    size = np.linalg.norm(network.hidden, axis=0)
    direction = network.hidden / np.where(size > 0, size, 1.0)
    outer = (network.output * size[:, None])[kept]
    active = _active(subject, network).sum(axis=1)
    total = 0.5 * (np.square(network.hidden).sum() + np.square(network.output).sum()) or 1.0
    cost = 0.5 * (np.square(size) + np.square(network.output).sum(axis=1)) / total
    features = subject.features if network.n_features <= MOST_COLUMNS else ["largest weights of the direction"]
    columns = [
        "neuron", *features, *(["bias"] if network.bias else []), *_outputs(subject, network), "strength |w| |a|",
        "share of the penalty, %", "active rows", "active rows, %",
    ]  # fmt: skip
    rows: list[list[object]] = []
    for k, j in enumerate(kept):
        weights = direction[: network.n_features, j]
        rows.append([
            int(j) + 1, *(weights.tolist() if len(weights) <= MOST_COLUMNS else [_leading(weights, subject.features)]),
            *([float(direction[-1, j])] if network.bias else []), *outer[k].tolist(), float(strength[j]),
            float(100 * cost[j]), int(active[j]), float(100 * active[j] / len(subject.X)),
        ])  # fmt: skip
    some = f" The {MOST_NEURONS} strongest of {network.width}." if network.width > MOST_NEURONS else ""
    caption = (
        "Each neuron is (u·x + bias)₊ times its outer weight: u and the bias together have norm one, so the outer "
        f"weight is |w| a.{some}"
    )
    return Table(caption, columns, rows)


def _outputs(subject: Subject, network: Network) -> list[str]:
    if network.n_outputs == 1:
        return ["outer weight"]
    names = subject.classes or [f"output {k + 1}" for k in range(network.n_outputs)]
    return [f"outer weight, {name}" for name in names]


def _leading(weights: Array, names: list[str]) -> str:
    order = np.argsort(-np.abs(weights))[:6]
    return ", ".join(f"{names[k]}: {weights[k]:.3g}" for k in order)


def starts_table(statistics: FlowStatistics) -> Table:
    """Every start of many."""
    rows: list[list[object]] = [
        [
            seed, name_of(result.verdict), float(result.value),
            100 * max(float(result.value / statistics.best - 1), 0.0),
            result.gauge.upper if result.gauge is not None else float("nan"), result.network.width, result.seconds,
        ]
        for seed, result in zip(statistics.seeds, statistics.results, strict=True)
    ]  # fmt: skip
    columns = ["seed", "verdict", "½|θ|² at margin 1", "worse, %", "g(λ) at most", "neurons", "seconds"]
    text = statistics.sentence[0].upper() + statistics.sentence[1:] + "."
    return Table(f"{text} The rest of this page is about the best of them.", columns, rows)
