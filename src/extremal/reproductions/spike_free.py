"""Spike-free data (Ergen & Pilanci, JMLR 2021): how rare they are, what two neurons cost, and a cutting plane."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import linprog, nnls

import extremal
from extremal.closed_forms import minimal_network, spike_free_distance, spike_free_min_norm
from extremal.design import Array
from extremal.reproductions.result import Agreement, Comparison, Reproduction

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# ------------------------------------------------------------------------------------------------------- Theorem 5

DRAWS = 20_000


def gaussian_rows() -> Reproduction:
    """How often n Gaussian rows in d dimensions are spike-free, and how far from it they are."""
    counts, dimensions = (2, 3, 4, 5), (5, 10, 30, 100, 300, 1000, 10_000)
    rng = np.random.default_rng(0)
    shares = np.array([[spike_free_share(n, d, rng) for d in dimensions] for n in counts])
    limits = np.array([2.0 ** (-n * (n - 1) / 2) for n in counts])
    widths = (5, 10, 30, 100, 300, 1000)
    distances = np.array([_distances(3, d, rng) for d in widths])
    last, most = shares[:, -1], distances[-1, :, 1].max()
    comparisons = (
        Comparison.claim(
            "probability that Gaussian rows are spike-free, d = 10000, n = 2, 3, 4, 5",
            "1 in the limit",
            ", ".join(f"{share:.3g}" for share in last) + "; limits 1/2, 1/8, 1/64, 1/1024",
            bool(np.all(last > 0.99)),
            "Theorem 5 as stated is false: X is spike-free if and only if no off-diagonal entry of (X X^T)^-1 is "
            "positive, and the signs of these become independent and fair, so that the limit is 2^(-n (n - 1) / 2)",
        ),
        Comparison.claim(
            "its true version: max |X^+ (Xu)_+| tends to 1",
            "1 in the limit",
            f"n = 3: median {np.median(distances[0, :, 1]):.3g} at d = 5, largest {most:.5f} at d = 1000",
            1 <= most < 1.01,
        ),
    )
    sentence = (
        f"Shares of {DRAWS} draws agree with 2^(-n (n - 1) / 2) up to "
        f"{np.abs(last - limits).max():.1g}; what vanishes is the distance from spike-free, like 1/d."
    )
    return Reproduction(
        comparisons, sentence, lambda: _draw_gaussian(counts, dimensions, shares, limits, widths, distances)
    )


def spike_free_share(n: int, d: int, rng: np.random.Generator) -> float:
    """The share of draws with an M-matrix (X X^T)^-1, by Bartlett's triangular factor of X X^T: d costs nothing."""
    L = np.tril(rng.standard_normal((DRAWS, n, n)), -1)
    L[:, np.arange(n), np.arange(n)] = np.sqrt(rng.chisquare(d - np.arange(n), size=(DRAWS, n)))
    half = np.linalg.inv(L)
    H = np.swapaxes(half, 1, 2) @ half
    return float(np.mean(np.all(H - H * np.eye(n) <= 0, axis=(1, 2))))


def _distances(n: int, d: int, rng: np.random.Generator) -> Array:
    """Proven bounds (15, 2) on max |X^+ (Xu)_+| for draws that are not spike-free."""
    found: list[tuple[float, float]] = []
    while len(found) < 15:
        distance = spike_free_distance(rng.standard_normal((n, d)), tol=1e-5, time_limit=0.6)
        if not distance.spike_free:
            found.append((distance.stretch.lower, distance.stretch.upper))
    return np.array(found)


def _draw_gaussian(
    counts: tuple[int, ...],
    dimensions: tuple[int, ...],
    shares: Array,
    limits: Array,
    widths: tuple[int, ...],
    distances: Array,
) -> Figure:
    from matplotlib import pyplot

    from extremal.plotting.style import BLUE, class_colour, lighten

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
    for k, (n, share, limit) in enumerate(zip(counts, shares, limits, strict=True)):
        left.plot(dimensions, np.maximum(share, 1e-5), "o-", color=class_colour(k), markersize=4)
        left.axhline(limit, color=class_colour(k), linewidth=0.9, linestyle="--")
        left.annotate(f"n = {n}", (dimensions[-1], share[-1]), xytext=(6, 4), textcoords="offset points")
    left.axhline(1.0, color="black", linewidth=0.9, linestyle=":", label="as stated: 1 in the limit")
    left.plot([], [], "--", color="black", linewidth=0.9, label="2^(-n (n - 1) / 2)")
    left.set(xscale="log", yscale="log", xlabel="features d", ylabel="share that is spike-free")
    left.set(ylim=(3e-4, 2), xlim=(4, 4e4), title=f"{DRAWS} draws each")
    left.legend(frameon=False, fontsize="small", loc="center", bbox_to_anchor=(0.42, 0.545))
    for column in range(distances.shape[1]):
        label = "15 draws, n = 3" if column == 0 else None
        right.plot(widths, distances[:, column, 1] - 1, "o", color=BLUE, alpha=0.6, markersize=4, label=label)
    right.plot(widths, np.median(distances[..., 1], axis=1) - 1, "-", color=BLUE, label="median")
    guide = np.array(widths, dtype=float)
    right.plot(guide, 0.5 / guide, ":", color="black", label="1 / (2d)")
    right.set(
        xscale="log",
        yscale="log",
        xlabel="features d",
        ylabel="max |X⁺ (Xu)₊| - 1",
        title="The distance from spike-free",
    )
    right.legend(frameon=False, fontsize="small")
    for ax in (left, right):
        lighten(ax)
    return figure


# --------------------------------------------------------------------------------------------------------- Lemma 9


def fewest_neurons() -> Reproduction:
    """The two neurons of Lemma 9 on spike-free rows whose (X X^T)^-1 is tridiagonal, and on random spike-free rows."""
    y = np.array([1.0, 0.3, -1.0])
    offsets = np.linspace(0.0, 0.7, 36)
    two, best, tests = [], [], []
    for offset in offsets:
        H = np.eye(3) - offset * (np.eye(3, k=1) + np.eye(3, k=-1))
        X = np.linalg.cholesky(np.linalg.inv(H))
        found = minimal_network(X, y)
        two.append(found.value)
        best.append(spike_free_min_norm(X, y).value)
        tests.append(found.optimal)
    excess = np.array(two) / np.array(best) - 1
    agree, fail, total = _random_rows()
    example = int(np.argmax(np.where(offsets <= 0.6, excess, 0.0)))
    comparisons = (
        Comparison.claim(
            "orthogonal rows: the two neurons are optimal for the l1 norm",
            "yes",
            f"{two[0]:.10g} and {best[0]:.10g}",
            bool(tests[0]) and abs(excess[0]) < 1e-8,
        ),
        Comparison.claim(
            "Lemma 10 decides when they are",
            "if and only if min g(v) <= 1",
            f"its explicit form agrees with the convex program on {agree} of {total} random spike-free sets",
            agree == total,
        ),
        Comparison.claim(
            "the condition holds for spike-free rows",
            "shown for whitened rows only",
            f"fails on {fail} of {total} sets; here {two[example]:.6g} > {best[example]:.6g}",
            True,
        ),
    )
    first = float(offsets[np.flatnonzero(~np.array(tests, dtype=bool))[0]])
    sentence = (
        f"On the tridiagonal family two neurons are the smallest network up to entries of about -{first:.2f}. Where "
        "the condition fails, and nowhere else, another network is smaller."
    )
    return Reproduction(comparisons, sentence, lambda: _draw_fewest(offsets, excess, np.array(tests, dtype=bool)))


def _random_rows() -> tuple[int, int, int]:
    """On how many random spike-free sets the test agrees with the program, it fails, and how many there are."""
    agree = fail = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        n = 3 + seed % 3
        off = -np.triu(rng.uniform(size=(n, n)), 1)
        H = off + off.T
        H += np.diag(rng.uniform(0.1, 1, n) - H.sum(axis=1))
        X, y = np.linalg.cholesky(np.linalg.inv(H)), rng.standard_normal(n)
        found = minimal_network(X, y)
        agree += found.optimal == (found.value <= spike_free_min_norm(X, y).value * (1 + 1e-7))
        fail += not found.optimal
    return agree, fail, 100


def _draw_fewest(offsets: Array, excess: Array, optimal: Array) -> Figure:
    from matplotlib import pyplot

    from extremal.plotting.style import BLUE, GREEN, VERMILION, lighten

    figure, ax = pyplot.subplots(figsize=(6.4, 4.2), layout="constrained")
    ax.plot(offsets, 100 * excess, color=BLUE, zorder=2)
    for chosen, colour, label in (
        (optimal, GREEN, "p + q ≥ 0: optimal"),
        (~optimal, VERMILION, "p + q ≱ 0: not optimal"),
    ):
        ax.plot(offsets[chosen], 100 * excess[chosen], "o", color=colour, markersize=5, label=label, zorder=3)
    ax.set(xlabel="-h, the entries of (X Xᵀ)⁻¹ next to the diagonal", ylabel="two neurons above the optimum (%)")
    ax.set_title("Lemma 9's network, y = (1, 0.3, -1)")
    ax.legend(frameon=False)
    lighten(ax)
    return figure


# ----------------------------------------------------------------------------------------------------- Algorithm 1

BOX, CUTS = 50.0, 60


def cutting_planes() -> Reproduction:
    """Algorithm 1 with the paper's oracle, {Xu >= 0}, and with an exact one, on data that are not spike-free."""
    X = np.array([[1.0, 0.2, 0.0], [-0.8, 1.0, 0.3], [0.5, -0.7, 1.0]])
    y = np.array([1.0, 1.0, -1.0])
    optimum = extremal.min_norm(X, y, tol=1e-8)
    inner, exact = cutting_plane(X, y, inner_oracle), cutting_plane(X, y, exact_oracle)
    S = np.linalg.cholesky(np.linalg.inv(np.eye(3) - 0.4 * (np.eye(3, k=1) + np.eye(3, k=-1))))
    true, reached = extremal.min_norm(S, y, tol=1e-8).value, cutting_plane(S, y, inner_oracle)[-1]
    comparisons = (
        Comparison.claim(
            "spike-free rows: where the algorithm ends (Proposition 2)",
            "at the optimum",
            f"{reached:.6f}; optimum {true:.6f}",
            abs(reached / true - 1) < 1e-5,
        ),
        Comparison(
            "other rows: what the maximum over {Xu >= 0, |u| <= 1} is",
            "a convex relaxation of the rectified ellipsoid",
            f"a part of it: the algorithm ends at {inner[-1]:.6f}, above the optimum {optimum.value:.6f}",
            Agreement.DIFFERS,
            "a relaxation would end below; the set is contained in the rectified ellipsoid, so that violated "
            "constraints are missed and the value is an upper bound without a certificate",
        ),
        Comparison.claim(
            "other rows: with the exact gauge as its oracle",
            "not in the paper",
            f"{exact[-1]:.6f} after {len(exact)} rounds",
            abs(exact[-1] / optimum.value - 1) < 1e-5,
        ),
    )
    sentence = (
        f"On these rows the paper's oracle stops {100 * (inner[-1] / optimum.value - 1):.2g} % above the optimum after "
        f"{len(inner)} rounds and reports no violated constraint."
    )
    return Reproduction(comparisons, sentence, lambda: _draw_cuts(inner, exact, optimum.value))


Oracle = Callable[[Array, Array], list[tuple[float, Array]]]


def cutting_plane(X: Array, y: Array, oracle: Oracle) -> Array:
    """max v^T y subject to |v^T (X u_k)_+| <= 1 for the u_k that the oracle has found: the values of all rounds."""
    fits: list[Array] = []
    v, values = y, []
    for _ in range(CUTS):
        cuts = [np.maximum(X @ u, 0) for size, u in oracle(X, v) if size > 1 + 1e-7]
        if not cuts:
            break
        fits += cuts
        A = np.array(fits)
        solution = linprog(-y, A_ub=np.vstack([A, -A]), b_ub=np.ones(2 * len(A)), bounds=(-BOX, BOX), method="highs")
        v = solution.x
        values.append(float(y @ v))
    return np.array(values)


def inner_oracle(X: Array, v: Array) -> list[tuple[float, Array]]:
    """max and min of v^T X u over Xu >= 0, |u| <= 1: projections of +-X^T v onto that cone."""
    found = []
    for side in (1.0, -1.0):
        c = side * (X.T @ v)
        projection = c + X.T @ nnls(X.T, -c)[0]
        size = float(np.linalg.norm(projection))
        found.append((size, projection / (size or 1.0)))
    return found


def exact_oracle(X: Array, v: Array) -> list[tuple[float, Array]]:
    """max |v^T (Xu)_+| over all |u| <= 1."""
    bounds = extremal.gauge(X, v, tol=1e-9)
    return [(bounds.lower, bounds.witness)]


def _draw_cuts(inner: Array, exact: Array, optimum: float) -> Figure:
    from matplotlib import pyplot

    from extremal.plotting.style import BLUE, GREY, VERMILION, lighten

    figure, ax = pyplot.subplots(figsize=(6.4, 4.2), layout="constrained")
    for values, colour, label in ((inner, VERMILION, "oracle {Xu ≥ 0} (Algorithm 1)"), (exact, BLUE, "exact oracle")):
        rounds, excess = np.arange(1, len(values) + 1), np.maximum(values / optimum - 1, 1e-9)
        ax.plot(rounds, excess, "o-", color=colour, markersize=4, label=label)
        ax.plot(rounds[-1], excess[-1], "s", color=colour, markersize=9, fillstyle="none")
    ax.plot([], [], "s", color=GREY, markersize=9, fillstyle="none", label="no violation found")
    ax.set(xlabel="round", ylabel="restricted dual value / optimum - 1", yscale="log")
    ax.set_title("Cutting planes on data that are not spike-free")
    ax.legend(frameon=False)
    lighten(ax)
    return figure
