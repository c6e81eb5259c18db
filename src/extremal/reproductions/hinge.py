"""The toy program of the ICML paper's code: a circle's labels, the hinge loss, a hundred sampled patterns."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

import extremal
from extremal.design import Array, Design
from extremal.programs.blocks import Blocks, lengths, signed
from extremal.programs.cones import Term, solve_conic
from extremal.reproductions.result import Comparison, Reproduction

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SAMPLES, BETA, PATTERNS, DRAWS = 10, 1e-4, 100, 20


def hinge_toy() -> Reproduction:
    """n = 10 points, y = sign(|x| - 1), mean hinge loss, beta = 1e-4: 100 sampled patterns against all cells."""
    X, y = _data()
    cells = extremal.arrangements(X).patterns.unpack()
    value, lam, blocks, U = _program(X, y, cells)
    # 0 <= n y lam <= 1 and g(lam) <= beta prove y^T lam; the gauge is the one that certifies every other loss
    upper = extremal.gauge(X, lam, tol=1e-9).upper
    proven = float(y @ lam) * min(1.0, BETA / upper)
    samples = [extremal.sample_arrangements(X, PATTERNS, random_state=k).patterns.unpack() for k in range(DRAWS)]
    values = [_program(X, y, patterns)[0] for patterns in samples]
    counts = [len(patterns) for patterns in samples]
    excess = np.array(values) / value - 1
    comparisons = (
        Comparison.claim(
            "the convex program over all cells is the training problem",
            "strong duality",
            f"{value:.9g} over {len(cells)} cells, and no network is below {proven:.9g} (gauge)",
            abs(value - proven) <= 1e-6 * value,
            "primal and dual value differ",
        ),
        Comparison.claim(
            "100 sampled patterns give the optimum",
            "used as the training problem",
            f"{min(counts)} to {max(counts)} distinct of {len(cells)}; above the optimum by {excess.min():.1e} to "
            f"{excess.max():.1e} in {DRAWS} draws",
            bool(excess.max() <= 1e-3),
            "a hundred draws miss cells, and it matters which",
        ),
        Comparison.incomparable(
            "the value that the code prints", "not recorded", f"{value:.9g}", "its random data are not recorded"
        ),
    )
    sentence = (
        "The hinge loss is none of the library's losses, but its dual has the same constraint, and so a certificate."
    )
    return Reproduction(comparisons, sentence, partial(_draw, X, y, blocks, U))


def _data() -> tuple[Array, Array]:
    """Points with labels of both signs; the last column is the ones."""
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.standard_normal((SAMPLES, 2)), np.ones(SAMPLES)])
    return X, np.where(np.linalg.norm(X[:, :2], axis=1) > 1, 1.0, -1.0)


def _program(X: Array, y: Array, patterns: Array) -> tuple[float, Array, Blocks, Array]:
    """min mean hinge + beta sum |u_k| over the patterns with both signs: its value, multiplier, blocks and solution."""
    n = len(y)
    blocks = Blocks.relu(Design.from_data(X), *signed(patterns, None, n))
    eye = sparse.identity(n)
    term = Term(
        sample=np.arange(n),
        shift=np.zeros(n),
        quadratic=np.zeros(2 * n),
        linear=np.append(np.zeros(n), np.full(n, 1 / n)),
        rows=sparse.bmat([[-sparse.diags(y), -eye], [None, -eye]]),
        rhs=np.append(-np.ones(n), np.zeros(n)),
        cones=[("nonnegative", 2 * n)],
        low=np.where(y > 0, 0.0, -1 / n),
        high=np.where(y > 0, 1 / n, 0.0),
    )
    found = solve_conic(blocks, term, BETA, intercept=False, size=1e-2)
    outputs = blocks.outputs(found.U)
    value = float(np.maximum(1 - y * outputs, 0).mean() + BETA * lengths(found.U).sum())
    return value, term.in_domain(found.lam), blocks, found.U


def _draw(X: Array, y: Array, blocks: Blocks, U: Array) -> Figure:
    from matplotlib import pyplot

    from extremal.plotting.style import BLUE, ORANGE

    figure, ax = pyplot.subplots(figsize=(5.8, 4.8), layout="constrained")
    used = lengths(U) > 1e-6 * lengths(U).max()
    reach = 1.15 * float(np.abs(X[:, :2]).max())
    side = np.linspace(-reach, reach, 301)
    grid = np.stack([*np.meshgrid(side, side), np.ones((301, 301))], axis=-1)
    values = np.maximum(grid @ U[:, used], 0) @ blocks.signs[used]
    filled = ax.contourf(side, side, values, levels=np.linspace(-3, 3, 25), cmap="PuOr_r", extend="both")
    ax.contour(side, side, values, levels=[0], colors="black", linewidths=1.6)
    angle = np.linspace(0, 2 * np.pi, 200)
    ax.plot(np.cos(angle), np.sin(angle), ":", color="black", linewidth=1.0, label="|x| = 1")
    for label, marker, colour in ((1.0, "o", ORANGE), (-1.0, "s", BLUE)):
        own = y == label
        ax.plot(*X[own, :2].T, marker, color=colour, markeredgecolor="black", markersize=9, label=f"y = {label:+.0f}")
    figure.colorbar(filled, ax=ax, label="f(x)", ticks=range(-3, 4))
    ax.set(xlabel="x₁", ylabel="x₂", title=f"hinge optimum over all cells: {used.sum()} neurons")
    ax.set_aspect("equal")
    ax.legend(loc="lower right", framealpha=1.0)
    return figure
