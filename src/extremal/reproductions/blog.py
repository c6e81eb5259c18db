"""Two experiments of the blog post on hidden convexity: patterns along training, and small against large starts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

import extremal
from extremal.design import Array
from extremal.programs import pattern_program
from extremal.reproductions.result import Comparison, Reproduction

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: The post gives n, d, m and a linear target; the start and the step are chosen here so that 300 steps suffice.
SAMPLES, FEATURES, NEURONS, STEPS = 100, 10, 20, 300
START, STEP = 1e-3, 0.04
#: As good as no penalty: the program's value is its loss.
BETA = 1e-7


@dataclass(frozen=True, eq=False)
class Descent:
    """Gradient descent: losses relative to the first, distinct patterns, and the convex optimum at step 0."""

    losses: Array
    patterns: Array
    convex: float

    @property
    def beaten(self) -> int:
        """The step at which the loss falls below the convex optimum over the first patterns."""
        return int(np.argmax(self.losses < self.convex)) if self.losses[-1] < self.convex else -1


# ---------------------------------------------------------------------------------------------- patterns along training


def pattern_count() -> Reproduction:
    """n = 100, d = 10, 20 neurons, a linear target: patterns merge, and descent beats the program it started from."""
    runs = [_descend(seed) for seed in range(6)]
    first, ends = runs[0], [int(run.patterns[-1]) for run in runs]
    values = [run.convex for run in runs]
    comparisons = (
        Comparison.claim("distinct patterns at the start", "20", str(first.patterns[0]), first.patterns[0] == 20),
        Comparison.claim(
            "distinct patterns after 300 steps",
            "5",
            f"{ends[0]}; over six draws {min(ends)} to {max(ends)}",
            max(ends) <= 10,
        ),
        Comparison.claim(
            "convex optimum over the patterns at step 0, in units of the first loss",
            "0.1",
            f"{values[0]:.3f}; over six draws {min(values):.3f} to {max(values):.3f}",
            0.03 <= min(values) <= 0.1 <= max(values) <= 0.4,
        ),
        Comparison.claim(
            "the step at which gradient descent beats that optimum",
            "about 175",
            f"{first.beaten}; over six draws {min(r.beaten for r in runs)} to {max(r.beaten for r in runs)}",
            min(r.beaten for r in runs) > 50,
        ),
        Comparison.incomparable(
            "the same numbers for the post's own draw",
            "20, 5, 0.1, 175",
            f"20, {ends[0]}, {values[0]:.3f}, {first.beaten}",
            "the post's data, start and step size are not known; ours were chosen to end within 300 steps",
        ),
    )
    sentence = (
        "Neurons of a small start turn towards a few directions, so that their patterns merge; being free to move into "
        "other cells, they end below the program over the cells they started from."
    )
    return Reproduction(comparisons, sentence, partial(_draw_descents, runs))


def _descend(seed: int) -> Descent:
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((SAMPLES, FEATURES))
    y = X @ rng.standard_normal(FEATURES)
    W = START * rng.standard_normal((FEATURES, NEURONS)) / np.sqrt(FEATURES)
    a = START * rng.choice([-1.0, 1.0], NEURONS)
    losses, patterns = [], []
    problem = extremal.Problem.from_data(X, y, beta=BETA, bias="none", sample_weight=np.full(SAMPLES, 1 / SAMPLES))
    convex = pattern_program(problem, (X @ W > 0).T, np.sign(a)).value
    for _ in range(STEPS + 1):
        active = X @ W > 0
        hidden = active * (X @ W)
        residual = hidden @ a - y
        losses.append(0.5 * residual @ residual / SAMPLES)
        patterns.append(len(np.unique(active.T, axis=0)))
        gradient = X.T @ ((residual[:, None] * a) * active) / SAMPLES
        a = a - STEP * (hidden.T @ residual) / SAMPLES
        W = W - STEP * gradient
    return Descent(np.array(losses) / losses[0], np.array(patterns), convex / losses[0])


def _draw_descents(runs: list[Descent]) -> Figure:
    from matplotlib import pyplot

    from extremal.plotting.style import BLUE, GREY, VERMILION, lighten

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10.5, 4.3), layout="constrained")
    for run in runs[1:]:
        left.plot(run.patterns, color=GREY, linewidth=0.7, alpha=0.6)
        right.semilogy(run.losses, color=GREY, linewidth=0.7, alpha=0.6)
    first = runs[0]
    left.plot(first.patterns, color=BLUE, linewidth=2)
    left.plot([], [], color=GREY, linewidth=0.7, label="five more draws")
    left.plot([0, STEPS], [20, 5], "o", color=VERMILION, label="published: 20 and 5")
    left.set(xlabel="step", ylabel="distinct patterns of 20 neurons", ylim=(0, 21))
    right.semilogy(first.losses, color=BLUE, linewidth=2, label="gradient descent")
    right.axhline(first.convex, color=VERMILION, linestyle="--", label="convex optimum, patterns of step 0")
    right.plot(first.beaten, first.convex, "o", color=VERMILION, label=f"beaten at step {first.beaten}")
    right.set(xlabel="step", ylabel="loss / loss at the start")
    for ax in (left, right):
        lighten(ax)
        ax.legend(framealpha=1.0, fontsize=9)
    return figure


# ----------------------------------------------------------------------------------------------- small and large starts


POINTS = np.array([-1.5, -0.5, 0.5, 1.5])[:, None]
TARGETS = np.array([1.0, -0.3, -0.2, 0.8])
WIDTH = 1000


@dataclass(frozen=True, eq=False)
class Line:
    """A trained network of one feature, and what became of its neurons.

    `turned` is the mean angle by which a neuron turned, weighted by its strength at the end; `patterns` the number of
    patterns that carry 99 % of the strength; `cost` is 1/2 |theta|^2 relative to the least of an interpolating network.
    """

    name: str
    network: extremal.Network
    loss: float
    turned: float
    patterns: int
    cost: float


def two_starts() -> Reproduction:
    """1000 neurons on four points of a line, from a small and from a large start: alignment, or hardly a movement."""
    least = extremal.min_norm(POINTS, TARGETS, bias="penalized").value
    small, large = _train("small", 1e-3, 0.05, 20_000, least), _train("large", 1.0, 2e-4, 10_000, least)
    comparisons = (
        Comparison.claim(
            "the small start aligns, then fits",
            "neurons gather in a few directions before the loss falls",
            f"strength turned by {np.degrees(small.turned):.0f} degrees on average, {small.patterns} signed patterns "
            f"carry 99 % of it; loss {small.loss:.0e}",
            small.turned > 0.2 and small.patterns <= 4 and small.loss < 1e-6,
        ),
        Comparison.claim(
            "the large start fits without moving",
            "directions hardly change",
            f"turned by {np.degrees(large.turned):.1f} degrees, {large.patterns} signed patterns carry 99 %; "
            f"loss {large.loss:.0e}",
            large.turned < 0.05 and large.loss < 1e-6,
        ),
        Comparison.claim(
            "patterns of four points on a line",
            "10, counting both orientations",
            f"{len(extremal.arrangements(np.column_stack([POINTS, np.ones(4)])).patterns)} distinct",
            False,
            "a kink in one of 5 intervals, times 2 orientations, counts all-active and all-inactive twice",
        ),
        Comparison.incomparable(
            "1/2 |theta|^2 over that of the certified min-norm interpolant",
            "not given",
            f"small {small.cost:.4f}, large {large.cost:.1f} (least: {least:.6f})",
            "the post compares pictures; its points are not known",
        ),
    )
    sentence = (
        "From a small start the network comes close to the certified interpolant of least norm; from a large one it "
        "stays a sum of a thousand random neurons."
    )
    return Reproduction(comparisons, sentence, partial(_draw_lines, [small, large]))


def _train(name: str, start: float, step: float, steps: int, least: float) -> Line:
    """Gradient descent on 1/2 |f - y|^2 without a penalty, from neurons with |w| = |a| = start."""
    rng = np.random.default_rng(0)
    X = np.column_stack([POINTS, np.ones(len(POINTS))])
    angles = rng.uniform(0, 2 * np.pi, WIDTH)
    W = start * np.stack([np.cos(angles), np.sin(angles)])
    a = start * np.where(np.arange(WIDTH) % 2 == 0, 1.0, -1.0)
    for _ in range(steps):
        Z = X @ W
        active = Z > 0
        residual = (active * Z) @ a - TARGETS
        gradient = X.T @ ((residual[:, None] * a) * active)
        a, W = a - step * ((active * Z).T @ residual), W - step * gradient
    network = extremal.Network(W, a, bias=True)
    strength = network.strength
    after = np.arctan2(W[1], W[0])
    turn = np.abs((after - angles + np.pi) % (2 * np.pi) - np.pi)
    codes = (2 ** np.arange(len(X))) @ (X @ W > 0) * 2 + (a > 0)
    shares = np.sort(np.bincount(codes, weights=strength))[::-1] / strength.sum()
    loss = 0.5 * float(np.sum((network.predict(POINTS)[:, 0] - TARGETS) ** 2))
    carrying = int(np.searchsorted(np.cumsum(shares), 0.99) + 1)
    return Line(name, network, loss, float(turn @ strength / strength.sum()), carrying, network.penalty() / least)


def _draw_lines(lines: list[Line]) -> Figure:
    from matplotlib import pyplot

    from extremal.plotting.style import BLUE, ORANGE, VERMILION, lighten

    figure, axes = pyplot.subplots(1, 3, figsize=(13, 4.2), layout="constrained", width_ratios=[1.3, 1, 1])
    grid = np.linspace(-2.2, 2.2, 600)[:, None]
    for line, colour, style in zip(lines, (BLUE, ORANGE), ("-", "--"), strict=True):
        axes[0].plot(grid, line.network.predict(grid), style, color=colour, linewidth=2, label=f"{line.name} start")
    best = extremal.min_norm(POINTS, TARGETS, bias="penalized").network
    axes[0].plot(grid, best.predict(grid), ":", color="black", linewidth=1.5, label="certified least norm")
    axes[0].plot(POINTS[:, 0], TARGETS, "o", color=VERMILION, markersize=8, zorder=5)
    axes[0].set(xlabel="x", ylabel="f(x)", title="what was learned")
    lighten(axes[0])
    axes[0].legend(framealpha=1.0, fontsize=9)
    for ax, line, colour in zip(axes[1:], lines, (BLUE, ORANGE), strict=True):
        ends = line.network.hidden * np.abs(line.network.output[:, 0])
        ax.scatter(*ends, s=8, color=colour, alpha=0.5, linewidths=0)
        for point in POINTS[:, 0]:
            normal = np.array([-1.0, point]) * 1e3
            ax.axline((0, 0), tuple(normal), color="0.75", linewidth=0.8, zorder=0)
        reach = 1.08 * np.abs(ends).max()
        ax.set(xlim=(-reach, reach), ylim=(-reach, reach), xlabel="w₁ |a|", ylabel="bias · |a|")
        ax.set_title(f"{line.name} start: neurons and cells")
        ax.set_aspect("equal")
    return figure
