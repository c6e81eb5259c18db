"""Deep networks with known answers: against descents, and where the published answer is not the best."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import minimize

from extremal.closed_forms import (
    DeepNetwork,
    batch_norm,
    deep_duality,
    deep_incidence,
    deep_linear,
    deep_threshold,
    deep_whitened,
    descend,
    network_collapse,
)
from extremal.plotting.style import BLUE, GREEN, ORANGE, PURPLE, VERMILION, lighten
from extremal.reproductions.result import Comparison, Reproduction

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from extremal.closed_forms import NeuralCollapse
    from extremal.design import Array

#: Class sizes and penalty of the derived values.
COUNTS, BETA, DEPTHS = (3, 2), 0.4, (2, 3, 4)
DERIVED = {2: 1.098505748, 3: 1.491321880, 4: 1.887341530}
STARTS, WIDTH = 60, 6
#: Digits.
CLASSES = 10


def closed_forms() -> Reproduction:
    """Descents from random starts for linear, ReLU and batch-normalised networks, next to the closed forms."""
    rng = np.random.default_rng(0)
    X, Y = _orthonormal(rng, 5, 6), np.repeat(np.eye(2), COUNTS, axis=0)
    comparisons, values, trained = [], {}, {}
    for depth in DEPTHS:
        nets = [descend(_start(rng, [6, *[WIDTH] * (depth - 1), 2], "relu"), X, Y, beta=BETA) for _ in range(STARTS)]
        values[depth] = np.sort([net.objective(X, Y, beta=BETA) for net in nets])
        form = deep_whitened(X, Y, beta=BETA, depth=depth).value
        comparisons += [
            Comparison.number(f"{depth} ReLU layers, derived value and closed form", DERIVED[depth], form, tol=1e-9),
            Comparison.number(f"{depth} ReLU layers, best of {STARTS} descents", form, values[depth][0], tol=1e-7),
        ]
    A = _orthonormal(rng, 4, 9).T
    B = A @ _orthonormal(rng, 3, 4).T @ np.diag([2.8, 1.9, 1.15]) @ _orthonormal(rng, 3, 3)
    for depth in DEPTHS:
        nets = [descend(_start(rng, [4, *[4] * (depth - 1), 3], "linear"), A, B, beta=BETA) for _ in range(20)]
        trained[depth] = min(nets, key=lambda net: net.objective(A, B, beta=BETA))
        best, form = trained[depth].objective(A, B, beta=BETA), deep_linear(A, B, beta=BETA, depth=depth).value
        comparisons.append(Comparison.number(f"{depth} linear layers, best of 20 descents", form, best, tol=1e-7))
    gap = max(net.misalignment() for net in trained.values())
    comparisons.append(
        Comparison.claim("layers of trained linear networks align", "yes", f"misalignment {gap:.0e}", gap < 1e-4)
    )
    normal = batch_norm(rng.normal(size=(5, 7)) + 1, Y, beta=BETA)
    comparisons.append(Comparison.number("batch normalisation, closed form", 1.0985057, normal.value, tol=6e-8))
    best = _normalised_descents(rng, rng.normal(size=(5, 7)) + 1, Y)
    comparisons.append(Comparison.number("batch normalisation, other data, descents", normal.value, best, tol=1e-5))
    share = {depth: float(np.mean(values[depth] < values[depth][0] + 1e-6)) for depth in DEPTHS}
    sentence = (
        "Of the descents "
        + ", ".join(f"{100 * share[depth]:.0f} % ({depth} layers)" for depth in DEPTHS)
        + " end at the closed form, the others above it: weight decay makes zero a local minimum from three layers on."
    )
    return Reproduction(tuple(comparisons), sentence, lambda: _draw_closed_forms(values, trained, A, B))


def shared_neurons() -> Reproduction:
    """Whether a path for each class is the best deep network on orthonormal samples: not for many of both."""
    sizes, depths, beta = {4: 6, 5: 10, 6: 15}, range(3, 9), 0.02
    ratio: dict[int, list[float]] = {}
    bound: dict[int, list[float]] = {}
    for r, K in sizes.items():
        forms = [
            (
                deep_whitened(np.eye(K), np.eye(K), beta=beta, depth=L),
                deep_incidence(np.eye(K), np.eye(K), beta=beta, depth=L),
            )
            for L in depths
        ]
        ratio[r] = [pairs.value / paths.value for paths, pairs in forms]
        bound[r] = [paths.lower / paths.value for paths, _ in forms]
    K, depth = 6, 5
    start = deep_incidence(np.eye(K), np.eye(K), beta=beta, depth=depth)
    polished = descend(start.network, np.eye(K), np.eye(K), beta=beta)
    paths = deep_whitened(np.eye(K), np.eye(K), beta=beta, depth=depth)
    attained = start.network.objective(np.eye(K), np.eye(K), beta=beta)
    dual = deep_duality(np.eye(5), np.repeat(np.eye(2), COUNTS, axis=0), depth=3)
    rng = np.random.default_rng(0)
    Y = np.repeat(np.eye(2), COUNTS, axis=0)
    small = 1e-3
    single = min(
        descend(_start(rng, [5, 5, 5, 2], "relu"), np.eye(5), Y, beta=small).objective(np.eye(5), Y, beta=small)
        for _ in range(15)
    )
    comparisons = (
        Comparison.claim(
            "a path for each class is optimal, any depth",
            "optimal",
            f"value {paths.value:.6f} for {K} classes and {depth} layers; pairs sharing neurons {attained:.6f}, "
            f"after a descent {polished.objective(np.eye(K), np.eye(K), beta=beta):.6f}",
            attained >= paths.value,
            "rectifiers let K classes share about sqrt(2 K) neurons in all but two layers; the networks are explicit",
        ),
        Comparison.number("two-layer and single-class cases, lower bound", 1.0, _proved_cases(), tol=1e-12),
        Comparison.claim(
            "three layers, whitened data: one network has a duality gap",
            "gap",
            f"(single, dual) = ({dual.standard:.6f}, {dual.dual:.6f})",
            dual.gap > 0.1,
        ),
        Comparison.number("in parallel there is none", dual.dual, dual.parallel, tol=1e-12),
        Comparison.number(
            "the single network by descents, (3^(1/3) + 2^(1/3))^(3/2)",
            dual.standard, (single / (1.5 * small)) ** 1.5, tol=3e-3, digits=5,
        ),
    )  # fmt: skip
    sentence = (
        "Six classes and five layers are enough for neurons that are shared to be better, and the more of both the "
        "better; with three or four layers these networks are not."
    )
    return Reproduction(comparisons, sentence, lambda: _draw_shared(sizes, list(depths), ratio, bound))


def collapse() -> Reproduction:
    """The measures of collapse while a deep network is trained to the end on digits, and those of the closed forms."""
    steps, measures = _trained()
    first, last = measures[0], measures[-1]
    rng = np.random.default_rng(0)
    Y, rows, X = np.repeat(np.eye(4), 5, axis=0), rng.normal(size=(20, 25)), _orthonormal(rng, 20, 20)
    labels = Y.argmax(axis=1)
    deep = network_collapse(deep_whitened(X, Y, beta=0.1, depth=4).network, X, labels)
    normal = network_collapse(batch_norm(rows, Y, beta=0.1), rows, labels)
    exact = max(max(found.within, found.equinorm, found.equiangular) for found in (deep, normal))
    # a classifier that is one-hot, without intercept, next to class means less their mean
    floor = float(np.sqrt(2 - 2 * np.sqrt(1 - 1 / CLASSES)))
    comparisons = (
        Comparison.claim(
            "closed forms, deep and batch-normalised: a simplex frame",
            "exact",
            f"NC1 and NC2 <= {exact:.0e}",
            exact < 1e-10,
        ),
        Comparison.claim(
            "NC1: scatter within classes vanishes in training",
            "to zero",
            f"{first.within:.2g} -> {last.within:.2g}",
            last.within < 1e-3 * first.within,
        ),
        Comparison.claim(
            "NC2: lengths and angles of a simplex",
            "to zero",
            f"lengths {first.equinorm:.2g} -> {last.equinorm:.2g}, angles {first.equiangular:.2g} -> "
            f"{last.equiangular:.2g}",
            last.equinorm < 0.2 * first.equinorm and last.equiangular < 0.2 * first.equiangular,
        ),
        Comparison.claim(
            "NC3: classifier and class means become dual",
            f"to {floor:.3f}, what the mean leaves without an intercept",
            f"{first.duality:.2g} -> {last.duality:.3f}",
            abs(last.duality - floor) < 0.05,
        ),
        Comparison.claim(
            "NC4: the classifier chooses the nearest class mean",
            "to zero",
            f"{first.nearest:.2g} -> {last.nearest:.2g}",
            last.nearest == 0,
        ),
    )
    sentence = (
        f"On digits, which are not whitened, four layers with weight decay come close to the frame: the scatter within "
        f"classes falls by a factor of {first.within / last.within:.0f}; in the closed forms the collapse is exact."
    )
    return Reproduction(comparisons, sentence, lambda: _draw_collapse(steps, measures))


def _trained() -> tuple[list[int], list[NeuralCollapse]]:
    """Steps of L-BFGS, and the measures of collapse after them, of a network of four layers without intercepts."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    chosen = np.concatenate([np.flatnonzero(digits.target == k)[:30] for k in range(CLASSES)])
    X, y = digits.data[chosen], digits.target[chosen]
    X = X - X.mean(axis=0)
    X = X / np.linalg.norm(X, axis=1).mean()
    net = _start(np.random.default_rng(0), [64, 40, 40, 40, CLASSES], "relu")
    steps, measures = [1], [network_collapse(net, X, y)]
    for more in (2, 2, 4, 8, 16, 32, 64, 128, 256, 512):
        net = descend(net, X, np.eye(CLASSES)[y], beta=0.05, steps=more)
        steps.append(steps[-1] + more)
        measures.append(network_collapse(net, X, y))
    return steps, measures


def _proved_cases() -> float:
    """The smallest lower / value over cases in which the bounds have to meet."""
    rng = np.random.default_rng(1)
    X, Y = _orthonormal(rng, 6, 7), np.repeat(np.eye(3), 2, axis=0)
    forms = [deep_whitened(X, Y, beta=0.3, depth=2), deep_whitened(X, Y[:, 0], beta=0.3, depth=5)]
    return min(form.lower / form.value for form in forms)


def _orthonormal(rng: np.random.Generator, n: int, d: int) -> Array:
    return np.linalg.qr(rng.normal(size=(d, n)))[0].T


def _start(rng: np.random.Generator, widths: list[int], activation: str) -> DeepNetwork:
    layers = [1.5 * rng.normal(size=shape) / np.sqrt(shape[0]) for shape in pairwise(widths)]
    return DeepNetwork(tuple(layers), activation)  # type: ignore[arg-type]


def _normalised_descents(rng: np.random.Generator, X: Array, Y: Array) -> float:
    """The lowest objective of 20 descents of a batch-normalised network of four neurons."""
    (n, d), m, c = X.shape, 4, Y.shape[1]

    def objective(theta: Array) -> tuple[float, Array]:
        U, gamma, alpha, W = np.split(theta, np.cumsum([d * m, m, m]))
        W = W.reshape(m, c)
        Z = X @ U.reshape(d, m)
        Z = Z - Z.mean(axis=0)
        length = np.linalg.norm(Z, axis=0)
        Z = Z / length
        H = np.maximum(gamma * Z + alpha / np.sqrt(n), 0)
        residual = H @ W - Y
        back = residual @ W.T * (H > 0)
        along = back * gamma
        along = along - Z * np.sum(along * Z, axis=0)
        parts = (
            X.T @ ((along - along.mean(axis=0)) / length),
            np.sum(back * Z, axis=0) + BETA * gamma,
            back.sum(axis=0) / np.sqrt(n) + BETA * alpha,
            H.T @ residual + BETA * W,
        )
        penalty = gamma @ gamma + alpha @ alpha + np.sum(W**2)
        return 0.5 * float(np.sum(residual**2) + BETA * penalty), np.concatenate([part.ravel() for part in parts])

    starts = [rng.normal(size=d * m + 2 * m + m * c) for _ in range(20)]
    return min(float(minimize(objective, x, jac=True, method="L-BFGS-B", options={"maxiter": 400}).fun) for x in starts)


def _draw_closed_forms(values: dict[int, Array], trained: dict[int, DeepNetwork], A: Array, B: Array) -> Figure:
    from matplotlib import pyplot

    figure, (left, middle, right) = pyplot.subplots(1, 3, figsize=(13, 4.2), layout="constrained")
    colours = dict(zip(DEPTHS, (BLUE, ORANGE, GREEN), strict=True))
    for depth, found in values.items():
        left.plot(
            np.arange(1, len(found) + 1), found, "o", markersize=3.5, color=colours[depth], label=f"{depth} layers"
        )
        left.axhline(DERIVED[depth], color=colours[depth], linewidth=1.2)
    left.axhline(2.5, color="0.45", linestyle="--", linewidth=1, label="zero network")
    left.set(title="ReLU: descents (dots), closed form (lines)", xlabel="descents, sorted", ylabel="objective")
    left.set_ylim(0.95, 3.05)
    s = np.linspace(0, 3.2, 1000)
    top = np.linalg.svd(A.T @ B, compute_uv=False)
    for depth, net in trained.items():
        shrunk = deep_threshold(s, BETA, depth)
        kept = shrunk.amplitude > 0
        middle.plot(s[kept], shrunk.amplitude[kept], color=colours[depth], label=f"{depth} layers")
        middle.plot(s[~kept], 0 * s[~kept], color=colours[depth], linewidth=8 - 1.8 * depth)
        product = np.linalg.multi_dot([*net.layers, np.eye(B.shape[1])])
        middle.plot(top, np.linalg.svd(product, compute_uv=False)[: top.size], "o", color=colours[depth], markersize=5)
        shift = 0.22 * (depth - 3)
        for k, layer in enumerate(net.singular_values()):
            right.plot(np.arange(1, 4) + shift + 0.03 * k, layer[:3], "osD^"[k], color=colours[depth], markersize=5)
    middle.plot(s, s, color="0.6", linewidth=0.8, linestyle=":")
    middle.set(
        title="linear: shrinkage (lines), trained (dots)", xlabel="singular value of XᵀY",
        ylabel="singular value of the network",
        xlim=(0, 3.2), ylim=(-0.05, 3.2),
    )  # fmt: skip
    right.set(title="trained linear layers share singular values", xlabel="index", ylabel="singular value")
    right.set_xticks([1, 2, 3])
    right.set_ylim(bottom=0)
    for k, marker in enumerate("osD^"):
        right.plot([], [], marker, color="0.3", label=f"layer {k + 1}")
    for ax in (left, middle, right):
        ax.legend(frameon=False, fontsize="small")
        lighten(ax)
    return figure


def _draw_shared(
    sizes: dict[int, int], depths: list[int], ratio: dict[int, list[float]], bound: dict[int, list[float]]
) -> Figure:
    from matplotlib import pyplot

    figure, ax = pyplot.subplots(figsize=(7, 4.4), layout="constrained")
    for (r, K), colour in zip(sizes.items(), (BLUE, VERMILION, GREEN), strict=True):
        ax.plot(depths, ratio[r], "o-", color=colour, label=f"{K} classes as pairs of {r}")
        ax.plot(depths, bound[r], ":", color=colour)
    ax.plot([], [], ":", color="0.3", label="proven lower bounds")
    ax.axhline(1.0, color="black", linewidth=1, linestyle="--", label="a path for each class (published)")
    ax.set(xlabel="layers", ylabel="objective / objective of paths", title="ReLU networks on orthonormal samples")
    ax.set_ylim(bottom=0)
    ax.legend(frameon=False, fontsize="small", ncols=2, loc="upper right")
    lighten(ax)
    return figure


def _draw_collapse(steps: list[int], measures: list[NeuralCollapse]) -> Figure:
    from matplotlib import pyplot

    figure, ax = pyplot.subplots(figsize=(7.5, 4.4), layout="constrained")
    for name, label, colour, dashes in (
        ("within", "NC1, scatter within classes", BLUE, "-"),
        ("equinorm", "NC2, lengths of class means", ORANGE, "-"),
        ("equiangular", "NC2, angles of class means", VERMILION, "--"),
        ("duality", "NC3, classifier against means", GREEN, "-."),
        ("nearest", "NC4, share not at the nearest mean", PURPLE, ":"),
    ):
        shown = np.array([getattr(measure, name) for measure in measures])
        ax.plot(steps, np.where(shown > 0, shown, np.nan), dashes, marker="o", markersize=3, color=colour, label=label)
    ax.set(xscale="log", yscale="log", xlabel="steps of L-BFGS", ylabel="measure (zero when collapsed)")
    ax.set_title("digits, four layers with weight decay")
    ax.legend(frameon=False, fontsize="small")
    lighten(ax)
    return figure
