"""Sampled patterns: how far the convex programs over them are from the certified optimum, and what theory says."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

import extremal
from extremal.closed_forms import SampledPatterns, SampledProgram, sampled_patterns
from extremal.design import Array
from extremal.programs import gated_program
from extremal.reproductions.result import Comparison, Reproduction

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: The penalty, as a part of the largest one that leaves a neuron, and the numbers of patterns.
SETTINGS = {
    "Gaussian": (0.1, (10, 100, 1000, 10_000, 100_000)),
    "diabetes": (0.1, (10, 100, 1000, 10_000)),
    "breast cancer": (0.3, (100,)),
}


# ----------------------------------------------------------------------------------------------- programs and scenarios


def sampled_programs() -> Reproduction:
    """10 to 1e5 random patterns on Gaussian data, diabetes and breast cancer, against the best certified network."""
    found = {name: _sampled(X, y, *SETTINGS[name]) for name, (X, y) in _data().items()}
    comparisons = [
        Comparison.claim(
            f"{name} (n = {table.n}): the optimum over sampled patterns, above that of the network",
            "hundreds to thousands of sampled patterns stand in for all of them",
            ", ".join(f"{row.size}: +{100 * (row.ratio - 1):.2g} %" for row in table.programs)
            + f"; the optimum has a proven gap of {1 - table.lower / table.optimum:.1e}",
            _with_a_thousand(table).ratio < 1.001,
            "the optimum of a sampled program is not that of the network: percents are left",
        )
        for name, table in found.items()
    ]
    for name, table in found.items():
        rows = [row for row in table.programs if row.scenario < 1]
        if not rows:  # too few patterns for the bound to say anything
            continue
        comparisons.append(
            Comparison.claim(
                f"{name}: chance that another pattern helps, under the scenario bound (confidence 0.95)",
                ", ".join(f"{row.size}: {row.scenario:.2g}" for row in rows),
                ", ".join(f"{row.size}: {row.improving:.2g}" for row in rows),
                all(row.improving <= row.scenario for row in rows),
            )
        )
    comparisons.append(
        Comparison.number(
            "patterns for n = 100, violation 0.1, confidence 0.05", 2080, extremal.scenario_size(100, 0.1, 0.05), tol=0
        )
    )
    comparisons.append(
        Comparison.number(
            "patterns for n = 100, violation and confidence 0.01",
            21121, extremal.scenario_size(100, 0.01, 0.01), tol=1e-4,
        )
    )  # fmt: skip
    sentence = (
        "The scenario bound holds with room to spare; it bounds how often a further pattern helps and not by how much, "
        "and where hardly any random pattern helps the program can still be percents above the optimum."
    )
    return Reproduction(tuple(comparisons), sentence, partial(_draw_programs, found))


def _data() -> dict[str, tuple[Array, Array]]:
    from sklearn.datasets import load_breast_cancer, load_diabetes

    rng = np.random.default_rng(0)
    X = rng.standard_normal((100, 10))
    data = {"Gaussian": (X, rng.standard_normal(100))}
    for name, load in (("diabetes", load_diabetes), ("breast cancer", load_breast_cancer)):
        X, y = load(return_X_y=True)
        data[name] = (X - X.mean(axis=0)) / X.std(axis=0), (y - y.mean()) / y.std()
    return data


def _sampled(X: Array, y: Array, share: float, sizes: tuple[int, ...]) -> SampledPatterns:
    beta = share * extremal.beta_max(X, y, time_limit=1.0)
    best = extremal.fit(X, y, beta=beta, time_limit=8.0)
    return sampled_patterns(X, y, beta=beta, best=best, sizes=sizes, relaxed=False, probes=1000, time_limit=30.0)


def _with_a_thousand(table: SampledPatterns) -> SampledProgram:
    """The program over a thousand patterns, or the largest that time allowed."""
    return [row for row in table.programs if row.size <= 1000][-1]


def _draw_programs(found: dict[str, SampledPatterns]) -> Figure:
    from matplotlib import pyplot

    from extremal.plotting import plot_excess, plot_improving
    from extremal.plotting.style import BLUE, GREEN, ORANGE

    figure, axes = pyplot.subplots(1, 2, figsize=(11, 4.4), layout="constrained")
    for (name, table), colour in zip(found.items(), (BLUE, ORANGE, GREEN), strict=True):
        plot_excess(table, axes[0], colour=colour, label=f"{name}, n = {table.n}, rank {table.rank}")
    plot_improving(found["Gaussian"], axes[1])
    axes[0].set_title("the sampled optimum above the best network")
    axes[1].set_title("Gaussian data: does another pattern help?")
    return figure


# -------------------------------------------------------------------------------------------------- the relaxed program


@dataclass(frozen=True)
class Ratio:
    """optimum / relaxed program for one draw: an interval, as far as the optimum is proven."""

    n: int
    low: float
    high: float


SHARE = 0.1
SIZES = (10, 20, 40, 80)
ASPECT = 4
DRAWS = 3
GATES = 20


def relaxation_ratio() -> Reproduction:
    """The optimum over the relaxed program with 20 n random gates, for Gaussian data with n / d = 4."""
    ratios = [_ratio(n, seed) for n in SIZES for seed in range(DRAWS)]
    means = [float(np.mean([r.high for r in ratios if r.n == n])) for n in SIZES]
    parts = [mean / np.sqrt(np.log(2 * n)) for n, mean in zip(SIZES, means, strict=True)]
    comparisons = (
        Comparison.claim(
            "optimum / relaxed program for Gaussian data, n / d fixed",
            "at most C sqrt(log 2n)",
            ", ".join(f"n = {n}: {m:.3f} = {p:.3f} sqrt(log 2n)" for n, m, p in zip(SIZES, means, parts, strict=True)),
            parts[-1] <= 1.1 * max(parts[:-1]),
            "the factor grows over this range",
        ),
    )
    sentence = (
        f"With {GATES} n gates and a penalty of {SHARE} of the largest, C = {max(parts):.2f} covers these means. "
        "For small penalties in few dimensions the ratio is larger. Intervals: the optimum is proven to that extent."
    )
    return Reproduction(comparisons, sentence, partial(_draw_ratios, ratios))


def _ratio(n: int, seed: int) -> Ratio:
    rng = np.random.default_rng([n, seed])
    d = max(n // ASPECT, 2)
    X, y = rng.standard_normal((n, d)) / np.sqrt(d), rng.standard_normal(n)
    beta = SHARE * extremal.beta_max(X, y, bias="none", time_limit=1.0)
    certificate = extremal.fit(X, y, beta=beta, bias="none", time_limit=4.0).certificate
    problem = extremal.Problem.from_data(X, y, beta=beta, bias="none")
    relaxed = gated_program(problem, extremal.sample_arrangements(X, GATES * n, random_state=seed).patterns.unpack())
    return Ratio(n, certificate.dual / relaxed.value, certificate.primal / relaxed.value)


def _draw_ratios(ratios: list[Ratio]) -> Figure:
    from matplotlib import pyplot

    from extremal.plotting.style import BLUE, VERMILION, lighten

    figure, ax = pyplot.subplots(figsize=(6.5, 4.3), layout="constrained")
    for k, ratio in enumerate(ratios):
        place = ratio.n * (1 + 0.05 * (k % DRAWS - 1))
        label = "optimum / relaxed (proven interval)" if k == 0 else None
        ax.plot([place, place], [ratio.low, ratio.high], "o-", color=BLUE, markersize=4, label=label)
    n = np.geomspace(8, 110, 100)
    ax.plot(n, np.sqrt(np.log(2 * n)), "--", color=VERMILION, label="sqrt(log 2n)")
    ax.axhline(1.0, color="0.6", linewidth=0.8)
    ax.set_xscale("log")
    ax.set_xticks(SIZES, [str(size) for size in SIZES])
    ax.minorticks_off()
    lighten(ax)
    ax.set(xlabel="samples n, in n / 4 dimensions", ylabel="ratio", ylim=(0.9, None))
    ax.legend(framealpha=1.0)
    return figure
