"""Training layer by layer against training end to end, on handwritten digits."""

from __future__ import annotations

import warnings
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from extremal.closed_forms import LayerwiseResult, gram_alignment, stack, stacked_features, train_layerwise
from extremal.design import Array
from extremal.plotting.style import BLUE, ORANGE, lighten
from extremal.reproductions.result import Comparison, Reproduction

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TRAIN, WIDTH, DEPTH, RIDGE = 1000, 100, 3, 1e-2


def digits() -> Reproduction:
    """Hidden layers trained one by one towards the ideal Gram matrix, next to a network trained end to end."""
    from sklearn.datasets import load_digits

    X, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(X))
    X, y = X[order] / 16, y[order]
    (train, test), (own, other) = (X[:TRAIN], X[TRAIN:]), (y[:TRAIN], y[TRAIN:])
    layered = train_layerwise(train, own, [WIDTH] * DEPTH)
    Gram = {"pixels": (train, test)}
    for depth in range(1, DEPTH + 1):
        part = LayerwiseResult(layered.layers[:depth], layered.alignments[: depth + 1])
        Gram["one layer by itself" if depth == 1 else f"{depth} layers, one by one"] = (
            part.features(train),
            part.features(test),
        )
    end, hidden = _end_to_end(train, own, test, other)
    Gram["end to end, hidden layer"] = hidden
    accuracy = {name: _readout(H, own, G, other) for name, (H, G) in Gram.items()}
    accuracy["end to end"] = end
    certified = _certified(train, own, test, other)
    comparisons = (
        Comparison.claim(
            "every layer comes closer to the ideal Gram matrix", "so it should by construction",
            " -> ".join(f"{a:.3f}" for a in layered.alignments), bool(np.all(np.diff(layered.alignments) > 0)),
        ),
        Comparison.claim(
            "training layer by layer is as accurate as end to end", "comparable test accuracy (other data)",
            f"{accuracy['one layer by itself']:.3f} (one layer) against {end:.3f}, least squares on pixels "
            f"{accuracy['pixels']:.3f}",
            accuracy["one layer by itself"] >= end - 0.01,
            "a network trained end to end is more accurate on these data",
        ),
        Comparison.claim(
            "training end to end moves the hidden Gram matrix towards the ideal one too",
            "both seek the same geometry",
            f"alignment {gram_alignment(hidden[0], own):.3f} after it, {layered.alignments[0]:.3f} of the pixels",
            gram_alignment(hidden[0], own) > layered.alignments[0],
        ),
        Comparison.incomparable(
            "a second certified network on the features of the first", "no published value",
            ", ".join(f"stage {i + 1}: objective {p:.4g}, gap {100 * g:.2g} %, accuracy {a:.3f}"
                      for i, (p, g, a) in enumerate(certified)),
            "stacks of certified networks are ours: two classes, 3 against 8",
        ),
    )  # fmt: skip
    sentence = (
        "The test accuracy is best after one layer; further layers make training features nearly ideal and generalise "
        "no better. No gradient passes through more than one layer."
    )
    return Reproduction(comparisons, sentence, partial(_draw, Gram, own, accuracy))


def _readout(H: Array, y: Array, G: Array, other: Array) -> float:
    """Test accuracy of ridge regression on the indicators of the classes."""
    A, B = (np.column_stack([features, np.ones(len(features))]) for features in (H, G))
    Y = (y[:, None] == np.arange(10)) * 1.0
    coefficients = np.linalg.solve(A.T @ A + RIDGE * np.eye(A.shape[1]), A.T @ Y)
    return float(((B @ coefficients).argmax(axis=1) == other).mean())


def _end_to_end(X: Array, y: Array, T: Array, other: Array) -> tuple[float, tuple[Array, Array]]:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = MLPClassifier((WIDTH,), random_state=0, max_iter=200).fit(X, y)
    W, b = model.coefs_[0], model.intercepts_[0]
    return float(model.score(T, other)), (np.maximum(X @ W + b, 0), np.maximum(T @ W + b, 0))


def _certified(X: Array, y: Array, T: Array, other: Array) -> list[tuple[float, float, float]]:
    """(objective, gap, test accuracy) of two certified networks on top of each other, for 3 against 8."""
    own, rest = np.isin(y, (3, 8)), np.isin(other, (3, 8))
    H, G, sign, truth = X[own], T[rest], np.where(y[own] == 3, 1.0, -1.0), np.where(other[rest] == 3, 1.0, -1.0)
    found = []
    for result in stack(H, sign, depth=2, fraction=0.05, time_limit=10):
        score = float((np.sign(result.network.predict(G)[:, 0]) == truth).mean())
        found.append((result.certificate.primal, result.certificate.gap, score))
        G = stacked_features(result, G)
    return found


def _draw(features: dict[str, tuple[Array, Array]], y: Array, accuracy: dict[str, float]) -> Figure:
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, 4, figsize=(16, 4), layout="constrained", width_ratios=[1, 1, 1, 1.2])
    order = np.argsort(y, kind="stable")
    names = ["pixels", "one layer by itself", "end to end, hidden layer"]
    for ax, name in zip(panels, names, strict=False):
        H = features[name][0][order]
        H = H / np.maximum(np.linalg.norm(H, axis=1, keepdims=True), 1e-12)
        shown = ax.imshow(H @ H.T, vmin=0, vmax=1, cmap="Blues", interpolation="antialiased")
        ax.set(title=f"{name}\nalignment {gram_alignment(features[name][0], y):.3f}", xticks=[], yticks=[])
        ax.set_xlabel("training samples, by class")
    figure.colorbar(shown, ax=panels[2], label="cosine")
    ax = panels[3]
    ax.barh(list(accuracy), list(accuracy.values()), color=[ORANGE if "end" in name else BLUE for name in accuracy])
    for i, value in enumerate(accuracy.values()):
        ax.text(value - 0.002, i, f"{value:.3f}", va="center", ha="right", color="white")
    ax.set(xlim=(0.9, 1.0), xlabel="test accuracy (axis starts at .9)", title="Readout of the features")
    ax.invert_yaxis()
    lighten(ax)
    return figure
