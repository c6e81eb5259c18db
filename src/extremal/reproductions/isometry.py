"""Neural isometry: from how many samples on does the convex program find a planted neuron?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from extremal.plotting.style import BLUE, GREY, VERMILION, lighten
from extremal.problem import Problem
from extremal.programs import gated_program, pattern_program
from extremal.reproductions.result import Comparison, Reproduction

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DIMENSIONS, RATIOS, TRIALS = (5, 10, 15), (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0), 5
#: The penalty stands for the equation f = y; the planted neuron is found if it carries all but this share of the cost.
BETA, MISSED = 1e-5, 1e-3


def recovery() -> Reproduction:
    """The share of problems in which the group lasso puts everything on the planted pattern.

    X is Gaussian of variance 1/n, and there are max(n, 50) random patterns besides. A ReLU neuron is searched for by
    the program with cones and both signs; a linear neuron, which a skip connection (the pattern of ones) represents, by
    the gated program, since a linear neuron has no cone.
    """
    shares = {kind: np.array([[_share(kind, d, r) for r in RATIOS] for d in DIMENSIONS]) for kind in ("ReLU", "linear")}
    relu, linear = shares["ReLU"][-1], shares["linear"][-1]
    comparisons = (
        Comparison.claim(
            "planted ReLU neuron, d = 15",
            "a phase transition in n/d",
            f"recovered in {relu[0]:.0%} at n = d and {relu[-1]:.0%} at n = 5 d",
            relu[0] <= 0.2 and relu[-1] == 1.0,
        ),
        Comparison.claim(
            "planted linear neuron with a skip connection, d = 15",
            "recovered for n > 2 d",
            f"{linear[0]:.0%} at n = d, {linear[RATIOS.index(2.5)]:.0%} at n = 2.5 d",
            linear[RATIOS.index(2.5)] == 1.0 and linear[0] <= 0.2,
        ),
        Comparison.incomparable(
            "the heat map",
            "n = 400, d = 100, 5 to 10 trials",
            f"d up to 15, n up to 75, {TRIALS} trials",
            "smaller here; the transition depends on n/d",
        ),
    )
    sentence = (
        "With few samples many combinations of patterns fit and a cheaper one than the planted neuron exists; beyond "
        "some samples a dimension the planted neuron is the only optimum."
    )
    return Reproduction(comparisons, sentence, lambda: _draw(shares))


def _share(kind: str, d: int, ratio: float) -> float:
    return float(np.mean([_recovered(kind, d, round(ratio * d), trial) for trial in range(TRIALS)]))


def _recovered(kind: str, d: int, n: int, trial: int) -> bool:
    rng = np.random.default_rng((d, n, trial))
    X, w = rng.normal(size=(n, d)) / np.sqrt(n), rng.normal(size=d)
    planted = X @ w > 0 if kind == "ReLU" else np.ones(n, dtype=bool)
    y = planted * (X @ w)
    y /= np.linalg.norm(y)
    patterns = np.vstack([planted, np.ones(n, dtype=bool), (X @ rng.normal(size=(d, max(n, 50))) > 0).T])
    signs = np.ones(len(patterns))
    problem = Problem.from_data(X, y, beta=BETA, bias="none")
    if kind == "ReLU":
        patterns, signs = np.vstack([patterns, patterns]), np.concatenate([signs, -signs])
        found = pattern_program(problem, patterns, signs).U
    else:
        found = gated_program(problem, patterns).U
    sizes = np.linalg.norm(found, axis=0)
    total = float(sizes.sum())
    own = np.linalg.norm(found[:, np.all(patterns == planted, axis=1)].sum(axis=1))
    return bool(total > 0 and own >= (1 - MISSED) * total)


def _draw(shares: dict) -> Figure:
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(10, 4), layout="constrained", sharey=True)
    for ax, (kind, values) in zip(axes, shares.items(), strict=True):
        for d, row, colour, marker in zip(DIMENSIONS, values, (GREY, BLUE, VERMILION), "s^o", strict=True):
            ax.plot(RATIOS, row, marker=marker, color=colour, label=f"d = {d}")
        ax.axvline(2.0, color=GREY, linestyle=":", linewidth=1)
        ax.set(xlabel="samples per dimension n/d", title=f"planted {kind} neuron")
        lighten(ax)
    axes[0].set(ylabel=f"share recovered of {TRIALS} problems", ylim=(-0.04, 1.04))
    axes[1].legend(loc="lower right")
    return figure
