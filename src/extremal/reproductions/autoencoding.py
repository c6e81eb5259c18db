"""Neurons as autoencoders: normal samples as vertices of their hull, and features learnt without descent."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from extremal.closed_forms import convex_features, gaussian_hull, hull_distances
from extremal.plotting.style import BLUE, GREEN, ORANGE, VERMILION, lighten
from extremal.reproductions.result import Comparison, Reproduction

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from extremal.closed_forms import GaussianHull
    from extremal.design import Array

#: Samples, the dimensions in which they are drawn, and how often.
SAMPLES, DIMENSIONS, DRAWS = 50, (2, 4, 6, 8, 10, 12, 15, 18, 22, 27, 33, 40, 60, 100, 200, 400), 15
#: Dimensions from which the limit of large ones is compared.
LARGE = 10


def gaussian_hulls() -> Reproduction:
    """Mean distances and how often all samples are vertices, next to the printed bound and to sharper ones."""
    known, distance, vertices = [], [], []
    for d in DIMENSIONS:
        rng = np.random.default_rng(d)
        draws = [hull_distances(rng.normal(size=(SAMPLES, d))) for _ in range(DRAWS)]
        distance.append(float(np.mean([hulls.distance.mean() for hulls in draws])))
        vertices.append(float(np.mean([hulls.vertices.all() for hulls in draws])))
        known.append(gaussian_hull(SAMPLES, d))
    measured = np.array(distance)
    error = np.abs(measured / np.maximum([hull.predicted for hull in known], 1e-3) - 1)[np.array(DIMENSIONS) >= LARGE]
    first = DIMENSIONS[int(np.argmax(np.array(vertices) == 1))]
    needed = 2 * SAMPLES * np.log(SAMPLES - 1)
    comparisons = (
        Comparison.claim(
            "mean distance >= sqrt(d/n) - sqrt(2 log(n - 1))",
            "lower bound",
            f"holds in all {len(DIMENSIONS)} dimensions; {measured[-1]:.3f} >= {known[-1].printed:.3f} for d = 400",
            all(m >= hull.printed for m, hull in zip(measured, known, strict=True)),
        ),
        Comparison.claim(
            "all samples are vertices with high probability if d > 2 n log(n - 1)",
            f"d > {needed:.0f} for n = {SAMPLES}",
            f"true, and in all {DRAWS} draws from d = {first} on",
            vertices[-1] == 1,
            "chance of the draws",
        ),
        Comparison.claim(
            "a sharper bound, sqrt(n/(n-1)) E|g| - E max h",
            "not in the paper",
            f"{known[-1].bound:.3f} for d = 400",
            all(m >= 0.97 * hull.bound for m, hull in zip(measured, known, strict=True)),
        ),
        Comparison.claim(
            "the limit of large n and d, S_1 - tau with S_1^2 + S_2 = d",
            "not in the paper",
            f"within {100 * error.max():.1f} % of the measured means from d = {LARGE} on",
            error.max() < 0.05,
            "chance of the draws",
        ),
    )
    sentence = (
        f"With n = {SAMPLES} the printed condition asks for d > {needed:.0f}; d = {first} was enough in all draws, and "
        f"from d = {next(hull.d for hull in known if hull.probability > 0.99)} on 0.99 is a proven probability."
    )
    return Reproduction(comparisons, sentence, lambda: _draw_hulls(known, measured, vertices))


@dataclass(frozen=True)
class _Row:
    """Accuracies (or relative errors) of one data set, by method."""

    name: str
    scores: dict[str, float]
    regression: bool = False


def table() -> Reproduction:
    """Accuracies and errors on scikit-learn's data, in the order of the published table's columns."""
    rows = [_classified(name) for name in ("wine", "breast cancer")] + [_digits(), _regressed()]
    digits = rows[2].scores
    better = digits["convex features"] > max(score for name, score in digits.items() if name != "convex features")
    printed = "MNIST 86.04 / 96.25 / 96.94 / 97.72, CIFAR-10 36.39 / 41.57 / 42.16 / 80.28"
    listed = "; ".join(f"{row.name} {' / '.join(f'{score:.4g}' for score in row.scores.values())}" for row in rows[:3])
    error = rows[3].scores
    comparisons = (
        Comparison.incomparable(
            "accuracy in %: LS / backprop / convex / Convex-RF", printed, listed, "these data are not shipped"
        ),
        Comparison.incomparable(
            "relative errors: LS / backprop / convex",
            "Boston .3490 / .1612 / .1492, California .8158 / .8101 / .6344, ...",
            "diabetes " + " / ".join(f"{score:.4f}" for score in error.values()),
            "these data are not shipped",
        ),
        Comparison.claim(
            "order on images: convex random features above the others",
            "highest accuracy",
            f"{digits['convex features']:.2f} % on digits, the others up to "
            f"{max(score for name, score in digits.items() if name != 'convex features'):.2f} %",
            better,
            "on these digits the order is another",
        ),
        Comparison.claim(
            "order on images: LS < backprop < convex",
            "LS < backprop < convex",
            f"{digits['least squares']:.2f} / {digits['backprop']:.2f} / {digits['convex']:.2f} % on digits; "
            f"{5.4 * (digits['convex'] - digits['backprop']):.0f} of 540 test samples between the last two",
            digits["least squares"] < digits["backprop"] < digits["convex"],
            "the three differ by a few of 540 test samples",
        ),
        Comparison.claim(
            "order of errors: convex < backprop < LS",
            "convex < backprop < LS",
            " / ".join(f"{score:.4f}" for score in error.values()) + " on diabetes (LS / backprop / convex)",
            error["convex"] < error["backprop"] < error["least squares"],
            "diabetes is nearly linear: least squares leaves nothing to a network but noise",
        ),
    )
    sentence = "Filters that are extreme points of patches, found without any descent, classify digits best."
    return Reproduction(comparisons, sentence, lambda: _draw_table(rows))


def _classified(name: str) -> _Row:
    from sklearn import datasets

    data = {"wine": datasets.load_wine, "breast cancer": datasets.load_breast_cancer}[name]()
    return _Row(name, _scores(*_split(data.data, data.target), alpha=1e-2, seconds=5))


def _digits() -> _Row:
    from sklearn.datasets import load_digits
    from sklearn.linear_model import RidgeClassifierCV

    digits = load_digits()
    train, test, y_train, y_test = _split(np.arange(len(digits.target))[:, None], digits.target, raw=True)
    scores = _scores(
        *_standard(digits.data[train[:, 0]], digits.data[test[:, 0]]), y_train, y_test, alpha=1e-3, seconds=20
    )
    features = convex_features(digits.images[train[:, 0]], 400, patch=3)
    A, B = _standard(*(features.transform(digits.images[rows[:, 0]]) for rows in (train, test)))
    model = RidgeClassifierCV(np.geomspace(1e-4, 1e2, 7)).fit(A, y_train)
    return _Row("digits", {**scores, "convex features": 100 * float(model.score(B, y_test))})


def _regressed() -> _Row:
    from sklearn.datasets import load_diabetes
    from sklearn.linear_model import LinearRegression
    from sklearn.neural_network import MLPRegressor

    import extremal

    data = load_diabetes()
    target = (data.target - data.target.mean()) / data.target.std()
    A, B, a, b = _split(data.data, target)
    models = {
        "least squares": LinearRegression(),
        "backprop": MLPRegressor(hidden_layer_sizes=(100,), max_iter=300, random_state=0),
        "convex": extremal.ReLURegressor(alpha=0.05, time_limit=10),
    }
    errors = {}
    for name, model in models.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # both kinds of network may stop before they have converged
            residual = model.fit(A, a).predict(B) - b
        errors[name] = float(np.linalg.norm(residual) / np.linalg.norm(b))
    return _Row("diabetes", errors, regression=True)


def _scores(A: Array, B: Array, a: Array, b: Array, *, alpha: float, seconds: float) -> dict[str, float]:
    """Accuracies in % of least squares, backpropagation and convex training."""
    from sklearn.linear_model import RidgeClassifier
    from sklearn.neural_network import MLPClassifier

    import extremal

    models = {
        "least squares": RidgeClassifier(1e-8),
        "backprop": MLPClassifier(hidden_layer_sizes=(100,), max_iter=300, random_state=0),
        "convex": extremal.ReLUClassifier(alpha=alpha, time_limit=seconds, tol=1e-3),
    }
    scores = {}
    for name, model in models.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # as above
            scores[name] = 100 * float(model.fit(A, a).score(B, b))
    return scores


def _split(X: Array, y: Array, *, raw: bool = False) -> tuple[Array, Array, Array, Array]:
    """70 % for training and 30 % for the test, standardised unless raw."""
    from sklearn.model_selection import train_test_split

    classes = y if y.dtype.kind == "i" else None
    A, B, a, b = train_test_split(X, y, test_size=0.3, random_state=0, stratify=classes)
    return (A, B, a, b) if raw else (*_standard(A, B), a, b)


def _standard(A: Array, B: Array) -> tuple[Array, Array]:
    """Columns of mean zero, rows of mean square one."""
    mean, spread = A.mean(axis=0), A.std(axis=0)
    scale = np.where(spread > 0, spread, 1.0) * np.sqrt(A.shape[1])
    return (A - mean) / scale, (B - mean) / scale


def _draw_hulls(known: list[GaussianHull], measured: Array, vertices: list[float]) -> Figure:
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4.4), layout="constrained")
    d = np.array(DIMENSIONS)
    left.plot(d, measured, "o", color="black", markersize=4, label=f"measured, {DRAWS} draws")
    left.plot(d, [hull.predicted for hull in known], color=BLUE, label="predicted, large n and d")
    left.plot(d, [hull.bound for hull in known], "--", color=GREEN, label="proven lower bound")
    left.plot(d, [hull.printed for hull in known], "-.", color=VERMILION, label="printed lower bound")
    left.axhline(0, color="0.6", linewidth=0.8)
    left.set(
        xscale="log",
        xlabel="dimension d",
        ylabel="distance to the hull of the others",
        title=f"n = {SAMPLES} normal samples",
    )
    right.plot(d, vertices, "o", color="black", markersize=4, label=f"share of {DRAWS} draws")
    right.plot(d, [hull.probability for hull in known], "--", color=GREEN, label="proven lower bound")
    right.axvline(2 * SAMPLES * np.log(SAMPLES - 1), color=VERMILION, linestyle="-.", label="printed condition")
    right.set(xscale="log", xlabel="dimension d", ylabel="probability", title="all samples are vertices")
    for ax in (left, right):
        ax.legend(frameon=False, fontsize="small")
        lighten(ax)
    return figure


def _draw_table(rows: list[_Row]) -> Figure:
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(rows), figsize=(3.1 * len(rows), 4.2), layout="constrained")
    colours = dict(
        zip(("least squares", "backprop", "convex", "convex features"), (ORANGE, BLUE, GREEN, VERMILION), strict=True)
    )
    for ax, row in zip(axes, rows, strict=True):
        names, values = list(row.scores), list(row.scores.values())
        bars = ax.bar(range(len(names)), values, color=[colours[name] for name in names])
        ax.bar_label(bars, fmt="%.3f" if row.regression else "%.1f", fontsize="small", padding=2)
        ax.set_xticks(range(len(names)), [name.replace(" ", "\n") for name in names], fontsize="small")
        ax.set_title(f"{row.name}: " + ("relative error" if row.regression else "accuracy, %"), fontsize="medium")
        ax.set_ylim((0, 1) if row.regression else (85, 101.5))
        lighten(ax)
    return figure
