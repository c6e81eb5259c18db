"""Several outputs: the copositive program, its closed form, and what other programs solve instead."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from extremal.closed_forms import (
    compare_penalties,
    copositive_program,
    nonnegative_maximum,
    nuclear_program,
    soft_thresholded_svd,
)
from extremal.design import Array
from extremal.plotting.style import BLUE, GREY, ORANGE, SKY, VERMILION, lighten
from extremal.reproductions.result import Comparison, Reproduction

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BETA = 0.3


def _whitened(n: int, rng: np.random.Generator) -> Array:
    return np.linalg.qr(rng.normal(size=(n + 1, n)))[0].T


def copositive() -> Reproduction:
    """How far the doubly nonnegative relaxation is below the training problem, by the number of whitened samples."""
    rng = np.random.default_rng(0)
    X, Y = _whitened(10, rng), np.repeat(np.eye(4), [1, 1, 4, 4], axis=0)
    form, program = soft_thresholded_svd(X, Y, beta=0.2), copositive_program(X, Y, beta=0.2)
    forms = [nonnegative_maximum(lam @ lam.T) for lam in (rng.normal(size=(4, 3)) for _ in range(20))]
    widest = max(found.gap for found in forms)
    excess = max(found.eigenvalue / found.lower for found in forms)
    X, Y = _whitened(4, rng), rng.normal(size=(4, 3))
    generic, linear = copositive_program(X, Y, beta=BETA), nuclear_program(X, Y, beta=BETA)
    gaps = {n: [_gap(n, seed) for seed in range(6)] for n in (2, 3, 4, 5, 6)}
    few = max(max(gaps[n]) for n in (2, 3, 4))
    more = max(max(gaps[n]) for n in (5, 6))
    comparisons = (
        Comparison.number(
            "nonnegative left singular vectors (classes 1, 1, 4, 4, beta .2)", 1.12, form.value, tol=1e-12
        ),
        Comparison.number("the copositive program there", 1.12, program.dual_value, tol=1e-8),
        Comparison.claim(
            "the relaxation of max z'KK'z over z >= 0 at n = 4",
            "exact; the largest eigenvalue is above it",
            f"20 forms: gap at most {widest:.0e}; eigenvalue up to {excess:.2f} times larger",
            widest < 1e-9 and excess > 1.05,
        ),
        Comparison.claim(
            "generic Y: soft-thresholded SVD",
            "a lower bound only",
            f"{linear.value:.6f}, below the optimum {generic.value:.6f} (proved: {generic.dual_value:.6f})",
            linear.value < generic.dual_value,
        ),
        Comparison.claim(
            "the relaxation at n <= 4, 18 random problems", "exact", f"relative gap at most {few:.0e}", few < 1e-6
        ),
        Comparison.claim(
            "the relaxation at n = 5 and 6, 12 random problems",
            "exact for some classes",
            f"relative gap up to {more:.1e}",
            more > 1e-4,
        ),
    )
    sentence = (
        "Up to four whitened samples a semidefinite program trains the network exactly; from five on it is a proven "
        "lower bound that is exact in most of these cases and a little below in the others."
    )
    return Reproduction(comparisons, sentence, lambda: _draw_gaps(gaps))


def _gap(n: int, seed: int) -> float:
    """The gap between the proven bound and the network, both from the moments or local search."""
    rng = np.random.default_rng(seed)
    return copositive_program(_whitened(n, rng), rng.normal(size=(n, 3)), beta=BETA).gap


def _draw_gaps(gaps: dict[int, list[float]]) -> Figure:
    from matplotlib import pyplot

    figure, ax = pyplot.subplots(figsize=(7, 4.2), layout="constrained")
    rng = np.random.default_rng(0)
    for place, (n, values) in enumerate(gaps.items()):
        spread = place + rng.uniform(-0.15, 0.15, len(values))
        ax.semilogy(spread, np.maximum(values, 1e-13), "o", color=BLUE if n <= 4 else VERMILION, alpha=0.8)
    ax.axhline(1e-6, color=GREY, linewidth=1, linestyle="--")
    ax.text(-0.3, 1.3e-6, "exact below this line", ha="left", va="bottom", color=GREY)
    ax.set_xticks(range(len(gaps)), [str(n) for n in gaps])
    ax.set(xlabel="whitened samples n (three outputs)", ylabel="relative gap: network above the relaxation")
    lighten(ax)
    return figure


def penalties() -> Reproduction:
    """The optimal values of five programs that pass for training with several outputs, on small random data."""
    found = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        found.append(compare_penalties(rng.normal(size=(6, 2)), rng.normal(size=(6, 3)), beta=BETA))
    ratio = np.array([row.separate / row.relu for row in found])
    gated = np.array([row.gated / row.relu for row in found])
    proved = max(row.relu - row.relu_bound for row in found)
    comparisons = (
        Comparison.claim(
            "a group lasso for every output (CRONOS, scnn) against weight decay",
            "another problem",
            f"its optimum is {ratio.min():.2f} to {ratio.max():.2f} times that of weight decay",
            ratio.min() > 1 + 1e-6,
        ),
        Comparison.claim(
            "nuclear norms without cones (gated)",
            "below the ReLU problem",
            f"{gated.min():.2f} to {gated.max():.2f} times",
            gated.max() < 1,
        ),
        Comparison.claim(
            "the copositive program cell by cell",
            "the training problem (in the plane every cell has two sides)",
            f"met by a network to {proved:.0e}",
            proved < 1e-6,
        ),
    )
    sentence = (
        "Treating the outputs separately forbids neurons that serve several outputs: the value is well above the "
        "optimum of weight decay, and the gap is a property of the program, not of its solver."
    )
    return Reproduction(comparisons, sentence, lambda: _draw_penalties(found))


def _draw_penalties(found: list) -> Figure:
    from matplotlib import pyplot

    figure, ax = pyplot.subplots(figsize=(8, 4.2), layout="constrained")
    series = (
        ("gated", "gated, nuclear norms", SKY),
        ("gated_separate", "gated, separate outputs", GREY),
        ("relu", "ReLU, weight decay (true problem)", BLUE),
        ("separate", "ReLU, separate outputs (CRONOS, scnn)", ORANGE),
    )
    for k, (name, label, colour) in enumerate(series):
        places = np.arange(len(found)) + 0.2 * (k - 1.5)
        ax.bar(places, [getattr(row, name) for row in found], width=0.19, color=colour, label=label)
    ax.set_xticks(range(len(found)), [str(k + 1) for k in range(len(found))])
    ax.set(xlabel="data set (6 samples in the plane, 3 outputs)", ylabel="optimal value")
    ax.set_ylim(top=1.35 * max(row.separate for row in found))
    ax.legend(loc="upper center", ncols=2, framealpha=1.0)
    lighten(ax)
    return figure
