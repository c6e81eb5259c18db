"""The talk's toy examples: small enough to see everything."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

import extremal
from extremal.reproductions.result import Comparison, Reproduction
from extremal.stationarity import Kind

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: The talk's objective is |f - y|^2 + 1/2 |theta|^2: twice the one of this library with beta = 1/2.
BETA = 0.5


def landscape() -> Reproduction:
    """min (1 - (u)_+ a)^2 + 1/2 (u^2 + a^2) next to min (1 - v + w)^2 + v + w over v, w >= 0, for X = 1, y = 1."""
    X, y = np.ones((1, 1)), np.ones(1)
    result = extremal.fit(X, y, beta=BETA, bias="none")
    u, a = result.network.balance().merge().hidden[0, 0], result.network.balance().merge().output[0, 0]
    zero = extremal.stationarity(extremal.Network(np.zeros((1, 1)), np.zeros(1)), X, y, beta=BETA)
    comparisons = (
        Comparison.number("optimal value, nonconvex and convex", 0.75, 2 * result.certificate.primal, tol=1e-8),
        Comparison.number("proven lower bound", 0.75, 2 * result.certificate.dual, tol=2e-6),
        Comparison.number("u at the optimum", 0.5**0.5, u, tol=1e-6),
        Comparison.number("a at the optimum", 0.5**0.5, a, tol=1e-6),
        Comparison.claim(
            "the zero network (value 1) is stationary and not optimal",
            "Clarke stationary",
            f"distance of 0 from Clarke's subdifferential {zero.clarke_distance:.1g}; {zero.kind.name.lower()}",
            zero.clarke_distance <= 1e-12 and zero.kind is not Kind.GLOBAL,
        ),
    )
    sentence = "The nonconvex landscape has a ridge at u <= 0, where training stops; the convex one has a single basin."
    return Reproduction(comparisons, sentence, _draw_landscape)


def _draw_landscape() -> Figure:
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
    grid = np.linspace(-1.6, 1.6, 321)
    U, A = np.meshgrid(grid, grid)
    values = (1 - np.maximum(U, 0) * A) ** 2 + 0.5 * (U**2 + A**2)
    V, W = np.meshgrid(np.linspace(0, 1.6, 321), np.linspace(0, 1.6, 321))
    convex = (1 - V + W) ** 2 + V + W
    levels = np.geomspace(0.755, 6, 16)
    for ax, (x, y, z), point, title, names in (
        (left, (U, A, values), (0.5**0.5, 0.5**0.5), "(1 - (u)₊ a)² + ½ (u² + a²)", ("u", "a")),
        (right, (V, W, convex), (0.5, 0.0), "(1 - v + w)² + v + w", ("v", "w")),
    ):
        ax.contourf(x, y, z, levels=levels, cmap="Blues_r", extend="both")
        ax.contour(x, y, z, levels=levels, colors="0.4", linewidths=0.4)
        ax.plot(*point, "o", color="#D55E00", clip_on=False, zorder=5, label="optimum, value 3/4")
        ax.set(title=title, xlabel=names[0], ylabel=names[1])
    left.plot(0, 0, "X", color="black", label="zero network, stationary, value 1")
    left.legend(loc="lower left", framealpha=1.0)
    right.legend(loc="upper right", framealpha=1.0)
    return figure
