"""The cells of an arrangement: the talk's example, and how many there are."""

from __future__ import annotations

from math import comb, e
from typing import TYPE_CHECKING

import numpy as np

import extremal
from extremal.reproductions.result import Comparison, Reproduction

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: The talk's data: the first two rows are parallel.
X = np.array([[3.0, 3.0], [2.0, 2.0], [1.0, 0.0]])
#: (n, d): the number of cells in general position.
COUNTS = {(5, 2): 10, (6, 3): 32, (7, 3): 44, (8, 2): 16}


def talk_arrangement() -> Reproduction:
    """The four patterns of X = [[3, 3], [2, 2], [1, 0]], and 2 sum_{k < r} C(n - 1, k) cells in general position."""
    found = extremal.arrangements(X).patterns.unpack().astype(int)
    patterns = sorted("".join(map(str, row)) for row in found)[::-1]
    comparisons = [
        Comparison.claim(
            "patterns of the talk's example",
            "111, 110, 000, 001",
            ", ".join(patterns),
            set(patterns) == {"111", "110", "000", "001"},
        )
    ]
    rng = np.random.default_rng(0)
    for (n, d), count in COUNTS.items():
        listed = len(extremal.arrangements(rng.standard_normal((n, d))).patterns)
        comparisons.append(Comparison.number(f"cells of {n} Gaussian rows in R^{d} (Cover)", count, listed, tol=0))
    bounds = [(n, r, extremal.count_arrangements(rng.standard_normal((n, r)))) for n in (2, 5, 20, 80) for r in (2, 3)]
    comparisons.append(
        Comparison.claim(
            "the bound 2 r (e (n - 1) / r)^r on the number of cells",
            "an upper bound",
            ", ".join(f"n = {n}, r = {r}: {found.value} <= {bound(n, r):.0f}" for n, r, found in bounds),
            all(found.value <= bound(n, r) for n, r, found in bounds if n > r),
        )
    )
    one = extremal.count_arrangements(np.ones((1, 3))).value
    comparisons.append(
        Comparison.claim(
            "the bound for a single sample",
            f"{bound(1, 1):.0f}",
            f"{one} cells",
            one <= bound(1, 1),
            "the formula is 0 at n = 1, where a hyperplane has two sides; it holds for n > r only",
        )
    )
    line = np.column_stack([[-1.5, -0.5, 0.5, 1.5], np.ones(4)])
    count = len(extremal.arrangements(line).patterns)
    comparisons.append(
        Comparison.claim(
            "patterns of four points on a line, with a bias",
            "10, counting both orientations",
            f"{count} distinct ones",
            count == 10,
            "a kink in one of 5 intervals, times 2 orientations, counts the all-active and the all-inactive twice",
        )
    )
    sentence = "Two of the three rows are parallel, so that the plane has four sectors and not six."
    return Reproduction(tuple(comparisons), sentence, _draw)


def bound(n: int, r: int) -> float:
    """2 r (e (n - 1) / r)^r."""
    return 2 * r * (e * (n - 1) / r) ** r


def cover(n: int, r: int) -> int:
    """2 sum_{k < r} C(n - 1, k)."""
    return 2 * sum(comb(n - 1, k) for k in range(r))


def _draw() -> Figure:
    from matplotlib import pyplot

    from extremal.plotting import arrangement
    from extremal.plotting.style import BLUE, GREEN, VERMILION, lighten

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10.5, 4.6), layout="constrained")
    arrangement(X, left)
    left.set_title("X = [[3, 3], [2, 2], [1, 0]]: four patterns")
    n = np.unique(np.geomspace(4, 1000, 60).astype(int))
    for r, colour in ((2, BLUE), (3, GREEN), (5, VERMILION)):
        shown = n[n > r]
        right.loglog(shown, [cover(k, r) for k in shown], color=colour, linewidth=2, label=f"rank {r}: exact")
        right.loglog(shown, [bound(k, r) for k in shown], color=colour, linestyle="--", linewidth=1.2, label="bound")
    lighten(right)
    right.set(xlabel="samples n", ylabel="cells", title="Cells in general position")
    right.legend(ncols=1, framealpha=1.0, fontsize=9)
    return figure
