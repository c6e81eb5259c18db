"""Whitened data (Ergen & Pilanci, JMLR 2021): the gap against the width, and the closed form against SGD."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.optimize import minimize

from extremal import datasets
from extremal.closed_forms import orthogonal_min_norm, whitened_fit, whitened_path
from extremal.design import Array
from extremal.reproductions.result import Comparison, Reproduction

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BETA = 1e-3

# ------------------------------------------------------------------------------------------------------- figure 6c

WIDTHS, RESTARTS = (1, 2, 3, 4, 6, 10), 16


def gap_against_width() -> Reproduction:
    """(n, d) = (30, 40), beta = 1e-3: the best of several trained networks of each width against the dual optimum."""
    X, y = datasets.whitened(30, 40, labels=False, random_state=0)
    path = whitened_path(X, y)
    rng = np.random.default_rng(0)
    found = {m: np.array([_trained(X, y, m, rng) for _ in range(RESTARTS)]) for m in WIDTHS}
    dual = path.value(BETA)
    gaps = {m: (values - dual) / dual for m, values in found.items()}
    best = {m: float(gap.min()) for m, gap in gaps.items()}
    equality = orthogonal_min_norm(X, y)
    alone = (min(_one_neuron(y), _one_neuron(-y)) - dual) / dual
    comparisons = (
        Comparison.claim(
            "duality gap at m = 2, beta = 1e-3",
            "vanishes",
            f"relative gap {best[2]:.1e} (best of {RESTARTS} runs)",
            abs(best[2]) < 1e-6,
        ),
        Comparison.claim(
            "duality gap at m = 1, beta = 1e-3",
            "positive",
            f"relative gap {best[1]:.4g}; by the closed form of one neuron {alone:.4g}",
            best[1] > 1 and abs(best[1] / alone - 1) < 1e-6,
        ),
        Comparison.claim(
            "wider networks", "gap zero", f"largest best gap {max(best[m] for m in WIDTHS[1:]):.1e}",
            all(abs(best[m]) < 1e-5 for m in WIDTHS[1:]),
        ),
        Comparison.claim(
            "with equality constraints",
            "the gap vanishes at m = 2",
            f"the optimum, {equality.value:.8g}, has {equality.network.width} neurons; dual value "
            f"{float(y @ equality.lam):.8g}",
            bool(equality.network.width == 2 and abs(y @ equality.lam / equality.value - 1) < 1e-12),
        ),
    )  # fmt: skip
    stuck = float(np.mean(gaps[2] > 1e-3))
    sentence = (
        f"Two neurons are enough, one for each sign of the targets; of {RESTARTS} runs with m = 2 {100 * stuck:.0f} % "
        "end elsewhere, as they do where both neurons start with one sign; wider networks mostly avoid that."
    )
    return Reproduction(comparisons, sentence, lambda: _draw_gaps(gaps))


def _one_neuron(y: Array) -> float:
    """The best single neuron of positive output: the other sign costs its own square."""
    size = float(np.linalg.norm(np.maximum(y, 0)))
    return 0.5 * float(np.square(np.minimum(y, 0)).sum()) + BETA * size - BETA**2 / 2


def _trained(X: Array, y: Array, m: int, rng: np.random.Generator) -> float:
    """The objective that L-BFGS reaches from a random start of width m."""
    d = X.shape[1]

    def value(theta: Array) -> tuple[float, Array]:
        W, a = theta[: d * m].reshape(d, m), theta[d * m :]
        Z = X @ W
        F = np.maximum(Z, 0)
        residual = F @ a - y
        gradient = np.concatenate([(X.T @ ((Z > 0) * np.outer(residual, a))).ravel(), F.T @ residual])
        return 0.5 * float(residual @ residual) + 0.5 * BETA * float(theta @ theta), gradient + BETA * theta

    start = rng.standard_normal(d * m + m) / np.sqrt(m)
    options: dict[str, Any] = {"maxiter": 4000, "maxfun": 8000, "ftol": 1e-16, "gtol": 1e-10, "maxcor": 30}
    return float(minimize(value, start, jac=True, method="L-BFGS-B", options=options).fun)


def _draw_gaps(gaps: dict[int, Array]) -> Figure:
    from matplotlib import pyplot

    from extremal.plotting.style import BLUE, GREY, VERMILION, lighten

    figure, ax = pyplot.subplots(figsize=(6.4, 4.2), layout="constrained")
    floor = 1e-10
    place = {m: k for k, m in enumerate(gaps)}
    for m, values in gaps.items():
        ax.plot(np.full(len(values), place[m]), np.maximum(values, floor), "o", color=GREY, alpha=0.5, markersize=4)
    best = [max(float(values.min()), floor) for values in gaps.values()]
    ax.plot(list(place.values()), best, "o-", color=BLUE, label="best run (1e-10: or less)")
    ax.plot([], [], "o", color=GREY, alpha=0.5, markersize=4, label="all runs (L-BFGS)")
    ax.axhline(1e-6, color=VERMILION, linewidth=0.8, linestyle="--", label="a gap of 1e-6")
    ax.set(yscale="log", xlabel="width m", ylabel="(objective - dual optimum) / dual optimum")
    ax.set(xticks=list(place.values()), xticklabels=[str(m) for m in gaps], title="Whitened, (n, d) = (30, 40)")
    ax.legend(frameon=False, fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.15), ncols=3)
    lighten(ax)
    return figure


# ------------------------------------------------------------------------------------------------- figures 11 and 12

WIDTH, RUNS, BATCH, STEP = 100, 5, 10, 0.2
#: Scales of the random start, in units of He's.
STARTS = {"He's start": 1.0, "a tenth of it": 0.1}


@dataclass(frozen=True, eq=False)
class Setting:
    """What the closed form and SGD make of the same rows: objectives and accuracies (starts, runs, looks)."""

    name: str
    theory: float
    theory_accuracy: float
    epochs: Array
    objectives: Array
    accuracies: Array


def closed_form_against_sgd() -> Reproduction:
    """Digits instead of MNIST and CIFAR-10: (n, d) = (50, 64), pixels, and (200, 250), random ReLU features."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    rng = np.random.default_rng(0)
    order = rng.permutation(len(images))
    images, labels = images[order] / 16.0, labels[order]
    features = np.maximum(images @ rng.standard_normal((64, 250)), 0)
    settings = (
        _setting("pixels, (n, d) = (50, 64)", images, labels, 50, 1000, rng),
        _setting("random features, (n, d) = (200, 250)", features, labels, 200, 400, rng),
    )
    comparisons = []
    for s in settings:
        lowest, best = s.objectives[..., -1].min(axis=1), s.accuracies[..., -1].max(axis=1)
        shown = [f"{low:.5f} from {name}" for name, low in zip(STARTS, lowest, strict=True)]
        reached = [f"{100 * high:.1f} % from {name}" for name, high in zip(STARTS, best, strict=True)]
        comparisons += [
            Comparison.claim(
                f"objective, {s.name}",
                "the closed form attains the lowest",
                f"closed form {s.theory:.5f}; the best of five SGD runs {', '.join(shown)}",
                s.theory <= lowest.min(),
            ),
            Comparison.claim(
                f"test accuracy, {s.name}",
                "the closed form attains the best",
                f"closed form {100 * s.theory_accuracy:.1f} %; the best of five SGD runs {', '.join(reached)}",
                s.theory_accuracy >= best.max(),
                "nothing makes the optimum on the training rows the best network elsewhere; from a small start SGD is "
                "close to it in both respects",
            ),
        ]
    for what, n, printed in (("MNIST (200, 250)", 200, "0.055 to 0.060"), ("CIFAR-10 (60, 60)", 60, "0.0275 to 0.031")):
        largest = BETA * np.sqrt(10 * n) - 10 * BETA**2 / 2
        comparisons.append(
            Comparison.incomparable(
                f"objective in the inset, {what}",
                printed,
                f"at most {largest:.4f} by Theorem 15",
                "beta (sqrt n_1 + ... + sqrt n_10) - 10 beta^2 / 2 is largest for classes of equal size; the inset is "
                "above it, so that it shows another objective than the theorem's (settings are not printed)",
            )
        )
    far = [s.objectives[..., -1].min(axis=1) / s.theory - 1 for s in settings]
    sentence = (
        f"The closed form has the lowest objective at once. SGD ends {100 * far[0][0]:.0f} and {100 * far[1][0]:.0f} % "
        f"above it from He's start, and {100 * far[0][1]:.0f} and {100 * far[1][1]:.0f} % from a tenth of that: "
        "what is left decays like exp(-beta t)."
    )
    return Reproduction(tuple(comparisons), sentence, lambda: _draw_runs(settings))


def _setting(name: str, X: Array, labels: Array, n: int, epochs: int, rng: np.random.Generator) -> Setting:
    """The first n rows whitened, (A A^T)^(-1/2) A = A M, and the same linear map M for the others."""
    U, s, Vt = np.linalg.svd(X[:n], full_matrices=False)
    rows, rest = U @ Vt, X[n:] @ (Vt.T / s) @ Vt
    Y = np.eye(10)[labels[:n]]
    form = whitened_fit(rows, Y, beta=BETA)
    runs = [[_descend(rows, Y, rest, labels[n:], epochs, scale, rng) for _ in range(RUNS)] for scale in STARTS.values()]
    accuracy = float(np.mean(np.argmax(form.network.predict(rest), axis=1) == labels[n:]))
    objectives, accuracies = (np.array([[run[k] for run in some] for some in runs]) for k in (1, 2))
    return Setting(name, form.value, accuracy, runs[0][0][0], objectives, accuracies)


def _descend(
    X: Array, Y: Array, rest: Array, labels: Array, epochs: int, scale: float, rng: np.random.Generator
) -> tuple[Array, Array, Array]:
    """SGD from He's start times a scale: the epochs of the record, the objective and the test accuracy there."""
    (n, d), c = X.shape, Y.shape[1]
    W = scale * rng.standard_normal((d, WIDTH)) * np.sqrt(2 / d)
    A = scale * rng.standard_normal((WIDTH, c)) * np.sqrt(2 / WIDTH)
    looks = np.unique(np.geomspace(1, epochs + 1, 60).astype(int)) - 1
    objectives, accuracies = [], []
    for epoch in range(epochs + 1):
        if epoch in looks:
            residual = np.maximum(X @ W, 0) @ A - Y
            penalty = 0.5 * BETA * float((W**2).sum() + (A**2).sum())
            objectives.append(0.5 * float((residual**2).sum()) + penalty)
            accuracies.append(float(np.mean(np.argmax(np.maximum(rest @ W, 0) @ A, axis=1) == labels)))
        order = rng.permutation(n)
        for start in range(0, n, BATCH):
            batch = order[start : start + BATCH]
            share = len(batch) / n
            Z = X[batch] @ W
            F = np.maximum(Z, 0)
            R = F @ A - Y[batch]
            steps = X[batch].T @ ((Z > 0) * (R @ A.T)), F.T @ R
            W -= STEP * (steps[0] + share * BETA * W)
            A -= STEP * (steps[1] + share * BETA * A)
    return looks, np.array(objectives), np.array(accuracies)


def _draw_runs(settings: tuple[Setting, ...]) -> Figure:
    from matplotlib import pyplot

    from extremal.plotting.style import BLUE, GREEN, VERMILION, lighten

    figure, axes = pyplot.subplots(2, 2, figsize=(9.6, 6.6), layout="constrained", sharex="col")
    for column, s in zip(axes.T, settings, strict=True):
        for ax, runs, level, name in (
            (column[0], s.objectives, s.theory, "objective"),
            (column[1], 100 * s.accuracies, 100 * s.theory_accuracy, "test accuracy (%)"),
        ):
            for some, start, colour in zip(runs, STARTS, (BLUE, GREEN), strict=True):
                ax.plot(np.maximum(s.epochs, 0.7), some.T, color=colour, alpha=0.55)
                ax.plot([], [], color=colour, label=f"SGD, five runs from {start}")
            ax.axhline(level, color=VERMILION, label=f"closed form, {level:.4g}")
            ax.set(xscale="log", ylabel=name)
            lighten(ax)
            ax.legend(frameon=False, fontsize="small", loc="upper right" if name == "objective" else "lower right")
        column[0].set(yscale="log", title=s.name)
        column[1].set(xlabel="epoch")
    return figure
