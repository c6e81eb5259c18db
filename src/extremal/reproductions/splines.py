"""One feature: linear splines next to descent, as in Ergen & Pilanci (JMLR 2021) and Pilanci & Ergen (ICML 2020)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

import extremal
from extremal.closed_forms import LinearSpline, SplineResult, ntk_interpolant, spline_fit, spline_min_norm
from extremal.design import Array
from extremal.reproductions.descent import restarts, small_start, stochastic
from extremal.reproductions.result import Comparison, Reproduction

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, VERMILION, PURPLE = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7"
#: The data of the counter-example, which both papers use.
FIVE, LABELS = np.array([-2.0, -1, 0, 1, 2]), np.array([1.0, -1, 1, 1, -1])


def small_initialisation() -> Reproduction:
    """Gradient descent from small weights against the linear spline, for several widths and sizes of the start."""
    x, y = FIVE, np.array([0.5, -0.5, 0.5, -0.5, 0.5])
    grid = np.linspace(x[0], x[-1], 401)
    spline = spline_min_norm(x, y)
    target = spline.predict(grid)[:, 0]
    widths, sizes, trials = (600, 800, 1000), np.array([0.01, 0.02, 0.04, 0.07, 0.1]), 4
    far = np.zeros((len(widths), sizes.size))
    curves = {}
    for row, width in enumerate(widths):
        for column, size in enumerate(sizes):
            for seed in range(trials):
                w, b, a = small_start(x, y, width=width, init=size, seed=seed)
                f = np.maximum(np.outer(grid, w) + b, 0) @ a
                far[row, column] += np.abs(f - target).max() / trials
                curves[width, size] = f
    kernel = ntk_interpolant(x[:, None], y).predict(grid[:, None])[:, 0]
    comparisons = (
        Comparison.claim(
            "max |network - spline|, mean of the trials, falls with the size of the start",
            "decreases from at most 0.18 towards 0 over [1e-2, 1e-1], m = 600, 800, 1000",
            "; ".join(f"m = {m}: {far[k, -1]:.3f} to {far[k, 0]:.1g}" for k, m in enumerate(widths)),
            bool(np.all(far[:, 0] < 0.05 * far[:, -1]) and far.max() < 0.18),
        ),
        Comparison.incomparable(
            "the curves themselves",
            "figure 1 b - d",
            "above",
            "the points in [-2.5, 2.5] are not printed; ours are five",
        ),
    )

    def draw() -> Figure:
        from matplotlib import pyplot

        figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
        for row, (width, colour, mark) in enumerate(zip(widths, (BLUE, ORANGE, GREEN), "os^", strict=True)):
            left.loglog(sizes, far[row], marker=mark, color=colour, label=f"m = {width}")
        left.set(xlabel="standard deviation of the initial weights", ylabel="max |network - spline|")
        left.legend()
        right.axhline(0, color="black", linewidth=4, alpha=0.25, label="linear spline")
        right.plot(grid, curves[1000, 0.1] - target, color=VERMILION, label="descent, std 0.1, m = 1000")
        right.plot(grid, curves[1000, 0.01] - target, "--", color=BLUE, label="descent, std 0.01, m = 1000")
        right.plot(grid, kernel - target, ":", color=PURPLE, linewidth=2, label="tangent kernel")
        right.plot(x, np.zeros(x.size), "o", color="black", zorder=5, label="data")
        right.set(xlabel="x", ylabel="f(x) - spline(x)", ylim=(-0.09, 0.16))
        right.legend(loc="upper center", ncols=2, fontsize=8)
        return figure

    sentence = (
        f"From small weights descent ends at the spline of cost {spline.value:g}; from larger ones, and with the "
        "tangent kernel, at other functions through the same points."
    )
    return Reproduction(comparisons, sentence, draw)


def width_and_gap() -> Reproduction:
    """The gap between trained networks of width m and the bound on all widths, one feature and rank-one rows."""
    beta, rng = 1e-3, np.random.default_rng(0)
    X, y = np.outer(rng.normal(size=15), rng.normal(size=10)), rng.normal(size=15)
    cases = (
        ("one feature, n = 5", FIVE[:, None], LABELS, range(1, 9), 60),
        ("rank one, n = 15, d = 10", X, y, (1, 2, 4, 6, 8, 10, 12, 14, 16, 20, 30, 40), 12),
    )
    found = []
    for name, rows, target, widths, runs in cases:
        best = spline_fit(rows, target, beta=beta)
        # a constant is not free for them, but a neuron without weight is one
        trained = np.array([restarts(rows, target, width=m, beta=beta, runs=runs, seed=m).min() for m in widths])
        exact = _narrowest(best)
        value = exact.objective(rows, target, beta=0.0) + beta * _cost(exact)
        found.append(
            (name, list(widths), (trained - best.dual_value) / best.value, exact.width, value / best.dual_value)
        )
    equality = spline_min_norm(FIVE, LABELS)
    comparisons = (
        *(
            Comparison.claim(
                f"{name}, beta = 1e-3: the gap is zero from a width of at most n + 1",
                f"m* <= {len(target) + 1}",
                f"a network of width {width} has the value of the bound (gap {max(ratio - 1, 0):.0e})",
                width <= len(target) + 1 and ratio - 1 < 1e-9,
            )
            for (name, _, _, width, ratio), (_, _, target, _, _) in zip(found, cases, strict=True)
        ),
        Comparison.claim(
            "one feature, f = y: the gap is zero from a width of at most n + 1",
            "m* <= 6",
            f"width {_narrowest(equality).width}, gap {equality.gap:.0e}",
            _narrowest(equality).width <= 6 and equality.gap < 1e-12,
        ),
        Comparison.incomparable("the gaps at smaller widths", "figure 6", "the picture", "the data are not printed"),
    )

    def draw() -> Figure:
        from matplotlib import pyplot

        figure, axes = pyplot.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
        for ax, (name, widths, gaps, width, _), n in zip(axes, found, (5, 15), strict=True):
            ax.semilogy(widths, np.maximum(gaps, 1e-6), "o-", color=BLUE, label="best of many trainings of width m")
            ax.axvline(width, color=VERMILION, label=f"width {width}: a network with gap zero")
            ax.axvline(n + 1, color="0.5", linestyle="--", label=f"n + 1 = {n + 1}")
            ax.set(title=name, xlabel="width m", ylabel="(trained - bound) / optimum, at least 1e-6")
            ax.legend(fontsize=9)
        axes[1].set_ylim(1, 100)
        return figure

    sentence = (
        "The optimum needs fewer neurons than there are points. With five points restarts of L-BFGS find it; with "
        f"fifteen they end at {found[1][2].min() + 1:.1f} times the optimum or more, whatever the width."
    )
    return Reproduction(comparisons, sentence, draw)


def _narrowest(result: SplineResult) -> extremal.Network:
    """The network of an optimal function with the fewest kinks."""
    assert result.optima is not None
    return result.network_of(result.optima.sparsest())


def _cost(network: extremal.Network) -> float:
    return float(np.linalg.norm(network.hidden[:-1], axis=0) @ np.linalg.norm(network.output, axis=1))


def four_optima() -> Reproduction:
    """The counter-example of Proposition 1: four optimal networks of one problem, at equality and regularised."""
    result = spline_min_norm(FIVE, LABELS)
    fit = spline_fit(FIVE, LABELS, beta=1e-4, sample_weight=np.full(5, 0.2))
    assert result.optima is not None
    assert fit.optima is not None
    functions = {"kinks at the data": fit.spline} | {f"c = {c:g}": _with_kink(fit, c) for c in (0.5, 0.2, 0.8)}
    values = []
    for spline in functions.values():
        network = fit.network_of(spline)
        misfit = 0.1 * float(np.sum((network.predict(FIVE[:, None])[:, 0] - LABELS) ** 2))
        values.append(misfit + 1e-4 * _cost(network))
    wrong = np.array([1, -11 / 4, 5 / 4, 7 / 4, -5 / 4])
    [_, free] = result.optima.intervals
    comparisons = (
        Comparison.number("P*, f = y", 8.0, result.value, tol=1e-14),
        Comparison.number("D*", 8.0, result.dual_value, tol=1e-14),
        Comparison.claim(
            "the multiplier v*", "(1, -3, 2, 1, -1)", _listed(result.lam),
            bool(np.allclose(result.lam, [1, -3, 2, 1, -1])),
        ),
        Comparison.number("regularised, beta = 1e-4, 1/(2n) |f - y|^2: value", 1999 / 2500000, fit.value, tol=1e-15),
        Comparison.number("its |w|_1", 7.992, fit.cost, tol=1e-13),
        Comparison.claim(
            "four optimal networks, whose kink c may be anywhere in [0, 1]",
            "the same value for c = .2, .5, .8 and kinks at the data",
            f"interval [{free.low - 2:g}, {free.high - 2:g}]; largest relative difference of the values "
            f"{max(abs(v / fit.value - 1) for v in values):.0e}",
            max(abs(v / fit.value - 1) for v in values) < 1e-10,
        ),
        Comparison.claim(
            "a second multiplier, (1, -11/4, 5/4, 7/4, -5/4), is optimal too",
            "yes",
            f"not feasible: max |v^T (a u + b)_+| = {_largest(wrong):g}",
            False,
            "an error in the paper (Appendix 11): one kink, at a bias between the printed ones, exceeds 1; v* "
            "certifies both networks",
        ),
        Comparison.claim(
            "an optimum with fewer kinks", "b = -1/2 (the second printed network)",
            f"{result.optima.fewest} kinks, at {_listed(result.optima.sparsest().kinks - 2)}",
            result.optima.fewest == 2,
        ),
    )  # fmt: skip

    def draw() -> Figure:
        from matplotlib import pyplot

        figure, ax = pyplot.subplots(figsize=(7.5, 4.4), layout="constrained")
        grid = np.linspace(-2.2, 2.2, 881)
        styles = zip(functions.items(), (BLUE, VERMILION, GREEN, ORANGE), ("-", "--", "-.", ":"), strict=True)
        ax.axvspan(0, 1, color="0.93")
        for (name, spline), colour, dash in styles:
            ax.plot(grid, spline(grid + 2)[:, 0], dash, color=colour, linewidth=2, label=name)
        ax.plot(FIVE, LABELS, "o", color="black", zorder=5)
        ax.text(0.5, -1.1, "kinks may lie\nanywhere here", ha="center", fontsize=9)
        ax.set(xlabel="x", ylabel="f(x)", ylim=(-1.5, 2.6))
        ax.legend(title="four optimal networks", loc="upper left", fontsize=9)
        return figure

    sentence = "All optima agree at the data and outside [0, 1]; inside they are the concave functions below the peak."
    return Reproduction(comparisons, sentence, draw)


def _with_kink(fit: SplineResult, c: float) -> LinearSpline:
    """The optimum with a kink at c in (0, 1), and one at that end of the interval which lets it go through the points.

    Both kinks have the mass of those at the data, and its mean.
    """
    spline = fit.spline
    changes = spline.changes[:, 0]
    total, mean = changes[2] + changes[3], changes[3] / (changes[2] + changes[3])
    other = 1.0 if c <= mean else 0.0
    if abs(c - mean) < 1e-9:
        c = mean
    mass = total * (mean - other) / (c - other)
    knots = np.array([0, 1, 2 + min(c, other), 2 + max(c, other), 4])
    inner = np.array([mass, total - mass] if c < other else [total - mass, mass])
    slopes = spline.left[0] + np.cumsum(np.concatenate([[0.0, changes[1]], inner]))
    heights = spline.heights[0, 0] + np.concatenate([[0.0], np.cumsum(slopes * np.diff(knots))])
    return LinearSpline(knots, heights[:, None], spline.left, spline.right, spline.offset)


def _largest(lam: Array) -> float:
    """max over the data and between them of |sum lam_i (x_i - t)_+| and |sum lam_i (t - x_i)_+|."""
    t = np.linspace(-3, 3, 601)[:, None]
    return max(float(np.abs(np.maximum(s * (FIVE - t), 0) @ lam).max()) for s in (1, -1))


def _listed(values: Array) -> str:
    return "(" + ", ".join(f"{v:.6g}" for v in values) + ")"


def hinge() -> Reproduction:
    """Classification of one feature with the hinge loss: the convex optimum against runs of stochastic descent."""
    beta, width, runs = 1e-2, 10, 20
    best = spline_fit(FIVE, LABELS, beta=beta, loss="hinge")
    values, w, b, a, c = stochastic(
        FIVE, LABELS, width=width, beta=beta, runs=runs, seed=0, loss="hinge", free=True, steps=60_000
    )
    ratio = np.sort(values / best.value)
    order = np.argsort(values)
    comparisons = (
        Comparison.claim(
            "no run is below the theory's loss",
            "L_theory = L_GD in one run, L_GD 4.9 % higher in another",
            f"smallest ratio {ratio[0]:.4f}, median {np.median(ratio):.4f}, largest {ratio[-1]:.4f}",
            bool(ratio[0] >= 1 - 1e-9 and ratio[0] < 1.05),
        ),
        Comparison.claim(
            "some runs end in worse local minima", "yes (figure 8 b)", f"{int((ratio > 1.2).sum())} of {runs} runs end "
            f"more than 20 % above", bool((ratio > 1.2).any()),
        ),
        Comparison.incomparable(
            "L_theory", "1.600e-4", f"{best.value:.4e}",
            "data and beta are not printed; the data of figure 7, of value 8 beta, would give it at beta = 2e-5",
        ),
    )  # fmt: skip

    def draw() -> Figure:
        from matplotlib import pyplot

        figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
        grid = np.linspace(-2.5, 2.5, 501)
        left.plot(grid, best.predict(grid)[:, 0], color="black", linewidth=4, alpha=0.25, label="convex optimum")
        for k, colour, dash, name in ((order[0], BLUE, "-", "best run"), (order[-1], VERMILION, "--", "worst run")):
            f = np.maximum(np.outer(grid, w[k]) + b[k], 0) @ a[k] + c[k]
            left.plot(grid, f, dash, color=colour, label=f"{name}, {values[k] / best.value:.2f} times the optimum")
        left.scatter(FIVE, LABELS, c=[BLUE if v > 0 else ORANGE for v in LABELS], zorder=5, edgecolors="black")
        left.set(xlabel="x", ylabel="f(x)", ylim=(-2.2, 3.6))
        left.legend(fontsize=9, loc="upper center")
        right.plot(np.arange(1, runs + 1), ratio, "o", color=BLUE)
        right.axhline(1, color="black", linewidth=1)
        right.set(xlabel=f"run of SGD (m = {width}), sorted", ylabel="objective / convex optimum")
        right.set_xticks([1, 5, 10, 15, 20])
        return figure

    return Reproduction(
        comparisons,
        "Descent comes within a few percent of the convex optimum in most runs and stops far above it in others.",
        draw,
    )


def mixture() -> Reproduction:
    """Classes that alternate along the line: test accuracy of the convex optimum (Theorem 11) and of descent."""
    beta, n, trials, width = 0.5, 100, 8, 50
    test_x, test_y = _mixture(20_000, 999)
    ours, descent, ratios = [], [], []
    for seed in range(trials):
        x, y = _mixture(n, seed)
        best = spline_fit(x, y, beta=beta, loss="hinge")
        values, w, b, a, c = stochastic(
            x, y, width=width, beta=beta, runs=1, seed=seed, loss="hinge", free=True, step=5e-4, steps=30_000
        )
        f = np.maximum(np.outer(test_x, w[0]) + b[0], 0) @ a[0] + c[0]
        ours.append(float(np.mean(np.sign(best.predict(test_x)[:, 0]) == test_y)))
        descent.append(float(np.mean(np.sign(f) == test_y)))
        ratios.append(float(values[0] / best.value))
    bayes = _bayes(test_x, test_y)
    difference = np.array(ours) - np.array(descent)
    error = float(difference.std(ddof=1) / np.sqrt(trials))
    comparisons = (
        Comparison.claim(
            "the theory's objective is never above that of descent",
            "yes",
            f"descent / optimum between {min(ratios):.4f} and {max(ratios):.4f} in {trials} trials",
            min(ratios) >= 1 - 1e-9,
        ),
        Comparison.claim(
            "mean test accuracy of Theorem 11 and of gradient descent",
            "the theory's is not lower",
            f"{np.mean(ours):.4f} and {np.mean(descent):.4f}; difference {difference.mean():+.4f} +- {error:.4f}",
            bool(difference.mean() > -2 * error),
            "the better optimum is not the better classifier here",
        ),
        Comparison.incomparable(
            "the accuracies themselves", "figure 10", f"{np.mean(ours):.3f}; no classifier is above {bayes:.3f}",
            "sample size and beta are not printed; N(mu, 0.25) is read as a variance",
        ),
    )  # fmt: skip

    def draw() -> Figure:
        from matplotlib import pyplot

        figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
        grid = np.linspace(-4, 4, 801)
        left.plot(grid, best.predict(grid)[:, 0], color="black", linewidth=4, alpha=0.25, label="convex optimum")
        left.plot(
            grid, np.maximum(np.outer(grid, w[0]) + b[0], 0) @ a[0] + c[0], "--", color=VERMILION, label="descent"
        )
        for label, colour, height in ((1, BLUE, 1.0), (-1, ORANGE, -1.0)):
            left.plot(x[y == label], np.full(int((y == label).sum()), height), "|", color=colour, markersize=12)
        left.axhline(0, color="0.6", linewidth=0.8)
        left.set(xlabel="x", ylabel="f(x)", ylim=(-3, 3.6), title="one trial; ticks are the training data")
        left.legend(loc="upper right")
        right.plot(np.arange(1, trials + 1) - 0.08, ours, "o", color="black", label="convex optimum")
        right.plot(np.arange(1, trials + 1) + 0.08, descent, "X", color=VERMILION, label="descent")
        right.axhline(bayes, color=GREEN, linestyle="--", label="best possible")
        right.set(xlabel="trial", ylabel="test accuracy")
        right.legend()
        return figure

    sentence = "The convex optimum has the lower objective in every trial; the test accuracies are close to each other."
    return Reproduction(comparisons, sentence, draw)


CENTRES, POSITIVE = np.array([-2.0, -1, 0, 1, 2]), np.array([False, True, True, False, True])


def _mixture(n: int, seed: int) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    k = rng.integers(5, size=n)
    return CENTRES[k] + 0.5 * rng.normal(size=n), np.where(POSITIVE[k], 1.0, -1.0)


def _bayes(x: Array, y: Array) -> float:
    """The accuracy of the classifier that knows the distribution."""
    density = np.exp(-2 * (x[:, None] - CENTRES) ** 2)
    return float(np.mean(np.where(density[:, POSITIVE].sum(axis=1) > density[:, ~POSITIVE].sum(axis=1), 1, -1) == y))


def widths_of_descent() -> Reproduction:
    """The fraction of SGD runs that reach the convex optimum, for widths 8, 15 and 50."""
    beta, runs, widths = 1e-2, 40, (8, 15, 50)
    best = extremal.fit(FIVE[:, None], LABELS, beta=beta).certificate
    ends = {m: stochastic(FIVE, LABELS, width=m, beta=beta, runs=runs, seed=0)[0] / best.primal for m in widths}
    reached = {m: float(np.mean(ratio < 1.01)) for m, ratio in ends.items()}
    free = spline_min_norm(FIVE, LABELS).value
    penalised = extremal.min_norm(FIVE[:, None], LABELS, bias="penalized", time_limit=10)
    shares = [reached[m] for m in widths]
    comparisons = (
        Comparison.claim(
            "the share of SGD runs that reach the convex optimum grows with the width",
            "it grows over m = 8, 15, 50 (10 runs each)",
            ", ".join(f"m = {m}: {share:.0%}" for m, share in reached.items()) + f" of {runs} runs within 1 %",
            shares == sorted(shares) and shares[0] < 1 and shares[-1] == 1,
        ),
        Comparison.claim(
            "no run is below the convex optimum", "yes", f"smallest ratio {min(r.min() for r in ends.values()):.6f}",
            min(float(r.min()) for r in ends.values()) >= 1 - 1e-9,
        ),
        Comparison.number("value of f = y, penalised bias", 10.12899, penalised.value, tol=1e-6, digits=7),
        Comparison.number("value of f = y, free bias", 8.0, free, tol=1e-14),
    )  # fmt: skip

    def draw() -> Figure:
        from matplotlib import pyplot

        figure, ax = pyplot.subplots(figsize=(7.5, 4.2), layout="constrained")
        for m, colour, mark in zip(widths, (BLUE, ORANGE, GREEN), "os^", strict=True):
            label = f"m = {m}: {reached[m]:.0%} within 1 %"
            ax.plot(np.arange(1, runs + 1), np.sort(ends[m]), mark, color=colour, markersize=5, label=label)
        ax.axhline(1, color="black", linewidth=1)
        ax.set(xlabel="run of SGD, sorted", ylabel="objective / convex optimum")
        ax.legend()
        return figure

    return Reproduction(
        comparisons, "Wider networks have fewer bad local minima: all their runs end at the optimum.", draw
    )
