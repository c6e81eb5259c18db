"""Gated ReLU networks next to ReLU networks: the gap, and the bound of the cone decomposition."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from extremal.arrangements import arrangements
from extremal.plotting.style import BLUE, GREEN, GREY, ORANGE, lighten
from extremal.problem import Problem
from extremal.programs import gated_program, gated_to_relu, pattern_program
from extremal.reproductions.result import Comparison, Reproduction

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: (n, d) and the range of p*/d* that was measured before, on a few Gaussian problems of each kind.
SIZES = (((4, 4), (1.10, 1.81)), ((8, 3), (1.8, 3.3)), ((10, 3), (2.3, 3.7)))
TRIALS, BETA = 15, 0.1


def gap() -> Reproduction:
    """p*/d* over all cells for Gaussian data, 1/2 |.|^2 and beta = .1, and p* against d* + 2 beta kappa sum |w|."""
    found = {size: np.array([_trial(*size, seed) for seed in range(TRIALS)]) for size, _ in SIZES}
    comparisons = []
    for (n, d), (low, high) in SIZES:
        ratio = found[n, d][:, 0]
        comparisons.append(
            Comparison.claim(
                f"p*/d* for n = {n}, d = {d}: the median of {TRIALS} problems",
                f"{low} to {high}",
                f"{np.median(ratio):.2f} (from {ratio.min():.2f} to {ratio.max():.2f})",
                low <= np.median(ratio) <= high,
                "the published range is of other random problems",
            )
        )
    own = np.concatenate([rows[:, 2] for rows in found.values()])
    comparisons.append(
        Comparison.claim(
            "p* <= d* + 2 beta kappa sum |w| where X has full row rank (n = d = 4)",
            "holds; largest share of the bound .447",
            f"largest share {found[4, 4][:, 1].max():.3f}",
            bool(found[4, 4][:, 1].max() <= 1),
        )
    )
    comparisons.append(
        Comparison.claim(
            "p* is below the bound of this library's decomposition (any rank)",
            "a bound of this kind",
            f"largest share {own.max():.3f}",
            bool(own.max() <= 1 + 1e-9),
        )
    )
    sentence = "Gated networks have a much smaller optimum than ReLU networks, the more the more samples a feature has."
    return Reproduction(tuple(comparisons), sentence, lambda: _draw(found))


def _trial(n: int, d: int, seed: int) -> tuple[float, float, float]:
    """(p*/d*, (p* - d*) over 2 beta kappa sum |w|, and over the bound of the conversion)."""
    rng = np.random.default_rng(seed)
    X, y = rng.normal(size=(n, d)), rng.normal(size=n)
    patterns = arrangements(X).patterns.unpack()
    problem = Problem.from_data(X, y, beta=BETA, bias="none")
    gated, relu = gated_program(problem, patterns), pattern_program(problem, patterns)
    used = gated.active
    converted = gated_to_relu(problem, patterns[used], gated.U[:, used])
    singular = np.linalg.svd(X, compute_uv=False)
    plain = 2 * BETA * singular[0] / singular[-1] * float(np.linalg.norm(gated.U, axis=0).sum())
    above = relu.value - gated.value
    return relu.value / gated.value, above / plain, above / (converted.bound - converted.gated_value)


def _draw(found: dict) -> Figure:
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
    rng = np.random.default_rng(0)
    for place, ((size, (low, high)), colour) in enumerate(zip(SIZES, (BLUE, ORANGE, GREEN), strict=True)):
        ratios = found[size][:, 0]
        left.bar(
            place, high - low, bottom=low, width=0.6, color="0.88", label="measured before" if place == 0 else None
        )
        left.plot(place + rng.uniform(-0.15, 0.15, len(ratios)), ratios, "o", color=colour)
        right.plot(ratios, found[size][:, 2], "o", color=colour, label=f"n = {size[0]}, d = {size[1]}")
    left.set_xticks(range(len(SIZES)), [f"n = {n}, d = {d}" for (n, d), _ in SIZES])
    left.set(ylabel="optimum of ReLU / optimum of gated networks")
    left.legend(loc="upper left")
    right.axhline(1.0, color=GREY, linestyle="--", linewidth=1)
    right.text(right.get_xlim()[1], 0.97, "the bound", ha="right", va="top", color=GREY)
    right.set(xlabel="optimum of ReLU / optimum of gated", ylabel="gap as a share of its bound", ylim=(0, 1.08))
    right.legend(loc="center right")
    for ax in (left, right):
        lighten(ax)
    return figure
