"""The hidden convex landscape: stationary points that are not what was claimed, and the way down from any network."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

import extremal
from extremal.closed_forms import Path, path_to_optimum
from extremal.design import Array
from extremal.programs import pattern_program
from extremal.reproductions.result import Comparison, Reproduction
from extremal.stationarity import Kind, Stationarity

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CLAIM = "every Clarke stationary network is a global optimum of the convex program over its patterns 1(X w >= 0)"
BETA = 0.1
ROOT = np.sqrt(0.9)
#: One neuron along the first axis: |w| = |a| = sqrt(0.9), a tie on the second row of either data set.
NEURON = extremal.Network(np.array([[ROOT], [0.0]]), np.array([ROOT]))
WRONG_TIE = np.array([[1.0, -1.0], [0.0, 1.0]]), np.array([1.0, 1.0])
HELD_TIE = np.array([[1.0, 1.0], [0.0, 1.0]]), np.array([1.0, -1.0])


# ------------------------------------------------------------------------------------------------- the counterexamples


def counterexamples() -> Reproduction:
    """Three networks that are Clarke stationary and not optimal over their own patterns, and what is true instead."""
    zero = extremal.stationarity(extremal.Network(np.zeros((1, 1)), np.zeros(1)), [[1.0]], [1.0], beta=0.5)
    toy = pattern_program(zero.problem, [[True]]).value
    wrong = extremal.stationarity(NEURON, *WRONG_TIE, beta=BETA)
    held = extremal.stationarity(NEURON, *HELD_TIE, beta=BETA)
    values = [pattern_program(wrong.problem, patterns).value for patterns in ([[1, 1]], [[1, 0]], [[1, 1], [1, 0]])]
    both = pattern_program(held.problem, [[1, 1]]).value
    best = extremal.fit(*WRONG_TIE, beta=BETA, bias="none").certificate.primal
    comparisons = (
        _refuted("(a) the zero network, whose pattern is all ones", zero, toy, factor=2.0),
        Comparison.number("(a) value of the zero network (loss without 1/2)", 1.0, 2 * zero.objective, tol=1e-12),
        Comparison.number("(a) value of the program with the pattern of ones", 0.75, 2 * toy, tol=1e-7),
        _refuted("(b) a tie of the wrong sign", wrong, values[0]),
        Comparison.number("(b) objective of the network (reference)", 0.595, wrong.objective, tol=1e-12),
        Comparison.number("(b) program with pattern 11 (reference)", 0.2106, values[0], tol=5e-5),
        Comparison.number("(b) program with pattern 10 (reference)", 0.5682, values[1], tol=5e-5),
        Comparison.number("(b) program with both (reference)", 0.1996, values[2], tol=5e-5),
        Comparison.number("(b) global optimum (reference)", 0.1632, best, tol=5e-5),
        Comparison.claim(
            "(b) is it a local minimum?", "no", "no" if wrong.local_minimum is False else "yes", not wrong.local_minimum
        ),
        _refuted("(c) a local minimum, the pattern taken with both signs", held, both),
        Comparison.number("(c) objective of the network (reference)", 0.595, held.objective, tol=1e-12),
        Comparison.number("(c) program with pattern 11 and both signs (reference)", 0.226421, both, tol=5e-7),
        Comparison.number(
            "(c) program with pattern 11 and its sign (reference)", 0.595, held.signed_program().value, tol=1e-7
        ),
        Comparison.claim(
            "(c) is it a local minimum?", "yes", "yes" if held.local_minimum else "no", bool(held.local_minimum)
        ),
    )
    sentence = (
        "As printed the theorem fails for zero neurons, for ties of the wrong sign and for programs with both signs; "
        "with directional stationarity, nonzero neurons and each neuron's own sign it is true. The reference values "
        "are not the talk's: they were derived independently of this library."
    )
    return Reproduction(comparisons, sentence, partial(_draw_counterexamples, wrong, held))


def _refuted(what: str, found: Stationarity, program: float, factor: float = 1.0) -> Comparison:
    """The printed claim at a point that is Clarke stationary, and above its program."""
    stationary = found.clarke_residual <= 1e-12 and found.kind in (Kind.CLARKE_ONLY, Kind.DIRECTIONAL)
    reason = {
        Kind.CLARKE_ONLY: "Clarke stationarity does not exclude a descent at first order",
        Kind.DIRECTIONAL: "no descent at first order, but the program has a neuron that is nowhere near",
    }
    return Comparison.claim(
        what,
        CLAIM,
        f"stationary with {factor * found.objective:.6g}, the program has {factor * program:.6g}",
        not (stationary and program < found.objective * (1 - 1e-6)),
        reason.get(found.kind, "not stationary"),
    )


def _draw_counterexamples(wrong: Stationarity, held: Stationarity) -> Figure:
    """The objective in the direction of the hidden neuron: a kink that falls off, and one that holds."""
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10.5, 4.3), layout="constrained")
    _draw_kink(left, wrong, "(b) Clarke stationary, no minimum: X = [[1, -1], [0, 1]], y = (1, 1)")
    _draw_kink(right, held, "(c) a local minimum: X = [[1, 1], [0, 1]], y = (1, -1)")
    return figure


def _draw_kink(ax: Axes, found: Stationarity, title: str) -> None:
    from extremal.plotting.style import BLUE, ORANGE, VERMILION, lighten

    s = np.linspace(-0.8, 0.8, 401)
    moved = [extremal.Network(np.array([[ROOT], [t]]), np.array([ROOT])) for t in s]
    ax.plot(s, [found.problem.value(net) for net in moved], color=BLUE, linewidth=2, label="w₂ = s")
    second = [extremal.Network(np.diag([ROOT, np.sqrt(abs(t))]), np.array([ROOT, _outer(found, t)])) for t in s]
    values = [found.problem.value(net) for net in second]
    ax.plot(s, values, color=ORANGE, linewidth=1.6, linestyle="--", label="a second neuron (0, 1) of strength |s|")
    ax.plot(0, found.objective, "o", color="black", zorder=4, label=f"the network, {found.objective:.3f}")
    ax.axhline(found.certificate.dual, color=VERMILION, linewidth=1.2, linestyle=":", label="no network is below")
    lighten(ax)
    ax.set_title(title, fontsize=10)
    ax.set(xlabel="s", ylabel="objective")
    ax.legend(fontsize=8.5, framealpha=1.0)


def _outer(found: Stationarity, t: float) -> float:
    """The output weight of a second neuron that fits the residual of the second sample, or opposes it for t < 0."""
    wanted = np.sign(found.problem.multiplier(found.network)[1, 0])
    return float(np.sign(t) * wanted * np.sqrt(abs(t)))


# -------------------------------------------------------------------------------------------------------- the way down


def way_down() -> Reproduction:
    """A path from a wide random network, from a narrow one and from a strict local minimum, each to the optimum."""
    rng = np.random.default_rng(1)
    X, y = rng.standard_normal((12, 2)), rng.standard_normal(12)
    wide = extremal.Network(rng.standard_normal((3, 30)), rng.standard_normal(30), bias=True)
    narrow = extremal.Network(rng.standard_normal((3, 13)), rng.standard_normal(13), bias=True)
    paths = [path_to_optimum(network, X, y, beta=BETA) for network in (wide, narrow)]
    paths.append(path_to_optimum(NEURON, *HELD_TIE, beta=BETA))
    names = ("30 random neurons", "n + 1 = 13 random neurons", "a strict local minimum of one neuron")
    rises = [path.rise(2000) for path in paths]
    comparisons = [
        Comparison.claim(
            f"from {name} to the optimum",
            "a path along which the objective never rises",
            f"{path.stages[0].before:.4f} to {path.stages[-1].after:.6f} (proven bound {path.lower:.6f}), largest rise "
            f"{rise:.0e} of it",
            rise <= 1e-12 and path.stages[-1].after <= path.target * (1 + 1e-12),
        )
        for name, path, rise in zip(names, paths, rises, strict=True)
    ]
    comparisons.append(
        Comparison.claim(
            "the width that is enough for n = 12",
            "2 (n + 1) = 26",
            f"{paths[1].width}: neurons are exchanged one at a time",
            paths[1].width <= 26,
        )
    )
    comparisons.append(
        Comparison.claim(
            "a local minimum needs more neurons than it has",
            "spurious minima at small widths",
            f"from width {NEURON.width} to {paths[2].width}",
            paths[2].width > NEURON.width,
        )
    )
    gaps = _gaps(paths[0])
    sentence = (
        "Balancing, merging, pruning and a rotation into the optimum's neurons lead down from every network; near the "
        "end the gap that a network's own multiplier proves falls in proportion to the distance."
    )
    return Reproduction(tuple(comparisons), sentence, partial(_draw_way_down, paths, gaps))


def _gaps(path: Path, points: int = 25) -> tuple[Array, Array]:
    """The relative gap that each network's own multiplier proves, at distances 1 - t from the end."""
    left = np.geomspace(1e-6, 1, points)
    found = []
    for t in 1 - left:
        lam = path.problem.multiplier(path.network(t))
        upper = extremal.gauge(path.problem.design.dense(), lam[:, 0], tol=1e-9).upper
        value = path.problem.dual_point(lam, upper)[1]
        found.append(1 - max(value, 0.0) / path.objective(t))
    return left, np.array(found)


def _draw_way_down(paths: list[Path], gaps: tuple[Array, Array]) -> Figure:
    from matplotlib import pyplot

    from extremal.plotting import plot_landscape, plot_path
    from extremal.plotting.style import BLUE, lighten

    figure, axes = pyplot.subplots(2, 2, figsize=(11.5, 9), layout="constrained")
    plot_path(paths[0], axes[0, 0])
    plot_landscape(paths[2], axes[0, 1])
    plot_path(paths[1], axes[1, 0])
    axes[0, 0].set_title("30 neurons, room for both networks", pad=36)
    axes[1, 0].set_title("n + 1 = 13 neurons: exchanged one at a time", pad=36)
    axes[0, 1].set_title("from a local minimum: the slice with the last stage")
    gap = axes[1, 1]
    gap.loglog(*gaps, "o-", color=BLUE)
    gap.invert_xaxis()
    lighten(gap)
    gap.set(xlabel="distance from the end, 1 − t", ylabel="(objective − dual value) / objective")
    gap.set_title("the gap that each network's own multiplier proves (30 neurons)")
    return figure
