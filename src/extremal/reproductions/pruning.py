"""The optimal set of a trained network, on real data: is there anything to prune or to choose?"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from extremal.design import Array
from extremal.network import Network
from extremal.plotting.style import BLUE, GREEN, GREY, ORANGE, VERMILION, lighten
from extremal.problem import Problem
from extremal.programs import gated_program, optimal_set
from extremal.reproductions.result import Comparison, Reproduction
from extremal.training import beta_max, fit_problem

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Samples to train on, principal components kept, and the penalty as a share of beta_max.
TRAIN, COMPONENTS, SHARE = 60, 3, 0.05
LOSSES = ("squared", "squared_hinge")
CHOICES = ("given", "least norm", "sparsest", "best on validation", "best on test")


@dataclass(frozen=True)
class Row:
    """The optimal set of one data set and one loss.

    Attributes
    ----------
    name, loss : str
    neurons, rank : int
        Of the optimal set, and of their fits.
    dimension : int
        Of the set of optimal networks: 0 if there is one.
    accuracies : dict
        Test accuracy of the members named in CHOICES.
    widths : dict
        Their numbers of neurons.
    """

    name: str
    loss: str
    neurons: int
    rank: int
    dimension: int
    accuracies: dict[str, float]
    widths: dict[str, int]

    @property
    def spread(self) -> float:
        """The range of the test accuracies."""
        return max(self.accuracies.values()) - min(self.accuracies.values())


def spread() -> Reproduction:
    """Test accuracies over the whole optimal set, on data sets that are shipped with scikit-learn.

    Two classes, 60 samples to train on, three principal components; the rest is halved for validation and test.
    """
    rows = [row for name, X, y in _shipped() for row in _rows(name, X, y)]
    squared = [row for row in rows if row.loss == "squared"]
    counts = monks()
    active, rank = counts[0, 1:]
    comparisons = (
        Comparison.incomparable(
            "range of test accuracy over the optimal set, squared loss",
            "0.05 (fertility) to 0.26 (horse colic)",
            f"{min(row.spread for row in squared):.3f} to {max(row.spread for row in squared):.3f}",
            "other data, 500 sampled gates instead of all patterns, and no dimension reduction",
        ),
        Comparison.claim(
            "monks-1 (made from its rule), 500 gates, lambda .001: spread of test accuracy over the optimal set",
            "0.17",
            f"no spread: {active:.0f} gates are active, their fits have rank {rank:.0f}, so the optimum is unique",
            active > rank,
            "the published split, scaling and gates are not known; here the fits stay independent even if gates within "
            f"{counts[-1, 0]:.0%} of lambda count as active ({counts[-1, 1]:.0f} gates of rank {counts[-1, 2]:.0f})",
        ),
        Comparison.claim(
            "no vertex has more neurons than the rank of the fits",
            "pruning ends with at most rank many neurons",
            ", ".join(f"{row.widths['sparsest']} of rank {row.rank}" for row in squared),
            all(row.widths["sparsest"] <= row.rank for row in squared),
        ),
        Comparison.claim(
            "the network is unique exactly where the fits are independent (squared loss)",
            "unique iff the fits are independent",
            ", ".join(f"dimension {row.dimension}: {row.neurons} neurons, rank {row.rank}" for row in squared),
            all((row.dimension == 0) == (row.neurons == row.rank) for row in squared),
        ),
    )
    sentence = (
        "Trained to the optimum over all patterns, the network was unique on every one of these data sets, whatever "
        "the loss, and so was the gated network of monks-1 with sampled gates: there is nothing to choose from."
    )
    return Reproduction(comparisons, sentence, lambda: _draw(rows, counts))


def monks() -> Array:
    """(tolerance, active gates, rank of their fits) at the optimum of the gated program for monks-1, shape (t, 3).

    The data are 124 of all 432 combinations of six categories, with the label (a1 = a2 or a5 = 1); a gate is active if
    |X^T D lam| >= (1 - tolerance) beta. With strict tolerances and independent fits the optimum is unique.
    """
    rng = np.random.default_rng(0)
    every = np.array(list(product(*[range(1, k + 1) for k in (3, 3, 2, 3, 4, 2)])), dtype=float)
    train = rng.permutation(len(every))[:124]
    y = np.where((every[:, 0] == every[:, 1]) | (every[:, 4] == 1), 1.0, -1.0)[train]
    X = (every - every.mean(axis=0))[train]
    patterns = np.unique((X @ rng.normal(size=(6, 500)) >= 0).T, axis=0)
    problem = Problem.from_data(X, y, beta=1e-3 * len(y), bias="none")
    blocks = (patterns * gated_program(problem, patterns).dual[:, 0]) @ X
    sizes = np.linalg.norm(blocks, axis=1) / problem.beta
    counts = []
    for tolerance in 10.0 ** np.arange(-7, 0):
        active = sizes >= 1 - tolerance
        fits = patterns[active] * (blocks[active] @ X.T)
        counts.append((tolerance, active.sum(), np.linalg.matrix_rank(fits, rtol=1e-7)))
    return np.array(counts)


def table(paths: Iterable[str | Path]) -> list[Row]:
    """The same for UCI-style files of comma-separated numbers, a sample a line with its class in the last column.

    Parameters
    ----------
    paths : iterable of paths
        Lines that are empty, or have another number of columns than most, or an entry that is missing ("?") are left
        out; so is a header. Of more than two classes the two most frequent are taken. Classes may be words.

    Raises
    ------
    ValueError
        If a file has fewer than 70 usable samples or a single class.
    """
    return [row for path in map(Path, paths) for row in _rows(path.stem, *read_classes(path))]


def read_classes(path: str | Path) -> tuple[Array, Array]:
    """(X, y) of a file as `table` reads it, y being 0 and 1."""
    lines = [line.split(",") for line in Path(path).read_text("utf-8").splitlines() if line.strip()]
    widths = [len(line) for line in lines]
    width = max(set(widths), key=widths.count, default=0)
    samples, classes = [], []
    for line in lines:
        try:
            numbers = [float(entry) for entry in line[:-1]]
        except ValueError:
            continue
        if len(line) == width and np.isfinite(numbers).all():
            samples.append(numbers)
            classes.append(line[-1].strip())
    names, counts = np.unique(classes, return_counts=True)
    if names.size < 2:
        raise ValueError(f"{path} has {names.size} classes in its last column; two are needed")
    first, second = sorted(names[np.argsort(-counts, kind="stable")[:2]])
    labels = np.array(classes)
    chosen = (labels == first) | (labels == second)
    if chosen.sum() < TRAIN + 10:
        raise ValueError(f"{path} has {chosen.sum()} usable samples of two classes; at least {TRAIN + 10} are needed")
    return np.array(samples)[chosen], (labels[chosen] == second).astype(int)


def _shipped() -> Iterable[tuple[str, Array, Array]]:
    from sklearn.datasets import load_breast_cancer, load_digits, load_wine

    cancer, wine, digits = load_breast_cancer(), load_wine(), load_digits()
    yield "breast cancer", cancer.data, cancer.target
    two = wine.target < 2
    yield "wine 0, 1", wine.data[two], wine.target[two]
    for pair in ((3, 5), (1, 8)):
        chosen = np.isin(digits.target, pair)
        yield f"digits {pair[0]}, {pair[1]}", digits.data[chosen], (digits.target[chosen] == pair[0]).astype(int)


def _rows(name: str, X: Array, y: Array) -> list[Row]:
    order = np.random.default_rng(0).permutation(len(X))
    train, rest = order[:TRAIN], order[TRAIN:]
    valid, test = rest[: len(rest) // 2], rest[len(rest) // 2 :]
    features, labels = _components(X, train), np.where(y > 0, 1.0, -1.0)
    return [_row(name, loss, features, labels, train, valid, test) for loss in LOSSES]


def _components(X: Array, train: Array) -> Array:
    """The first principal components of the standardised features, by the training samples."""
    mean, scale = X[train].mean(axis=0), X[train].std(axis=0)
    Z = (X - mean) / np.where(scale > 0, scale, 1.0)
    _, singular, Vt = np.linalg.svd(Z[train], full_matrices=False)
    return Z @ Vt[:COMPONENTS].T / singular[:COMPONENTS] * np.sqrt(len(train))


def _row(name: str, loss: str, X: Array, y: Array, train: Array, valid: Array, test: Array) -> Row:
    beta = SHARE * beta_max(X[train], y[train], loss)
    problem = Problem.from_data(X[train], y[train], beta=beta, loss=loss)
    trained = fit_problem(problem, tol=1e-10, proof=False, time_limit=20)
    found = optimal_set(problem, trained.network)
    members = {
        "given": found.given(),
        "least norm": found.least_norm(),
        "sparsest": found.sparsest(objectives=10).member,
        "best on validation": found.best_on(X[valid], y[valid]),
        "best on test": found.best_on(X[test], y[test]),
    }

    def accuracy(network: Network) -> float:
        return float(np.mean(np.where(network.predict(X[test])[:, 0] > 0, 1.0, -1.0) == y[test]))

    return Row(
        name=name,
        loss=loss,
        neurons=len(found.V),
        rank=found.rank,
        dimension=found.dimension,
        accuracies={key: accuracy(member.network) for key, member in members.items()},
        widths={key: member.network.width for key, member in members.items()},
    )


def _draw(rows: list[Row], counts: Array) -> Figure:
    from matplotlib import pyplot

    figure, (ax, right) = pyplot.subplots(1, 2, figsize=(13, 4.4), layout="constrained", width_ratios=(2, 1))
    colours = (GREY, BLUE, GREEN, ORANGE, VERMILION)
    for place, row in enumerate(rows):
        values = list(row.accuracies.values())
        ax.plot([place, place], [min(values), max(values)], color="0.8", linewidth=6, solid_capstyle="round", zorder=1)
        for k, (key, colour) in enumerate(zip(CHOICES, colours, strict=True)):
            shift = 0.13 * (k - 2)
            label = key if place == 0 else None
            ax.plot(place + shift, row.accuracies[key], "o", color=colour, label=label, zorder=2)
    labels = [f"{row.name}\n{row.loss.replace('_', ' ')}\ndimension {row.dimension}" for row in rows]
    ax.set_xticks(range(len(rows)), labels, fontsize=8)
    ax.set(ylabel="test accuracy")
    ax.legend(fontsize=8, ncols=5, loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False)
    right.semilogx(counts[:, 0], counts[:, 1], "o-", color=VERMILION, label="active gates")
    right.semilogx(counts[:, 0], counts[:, 2], "s--", color=BLUE, label="rank of their fits")
    right.set(
        xlabel="tolerance, relative to beta",
        ylabel="number",
        title="monks-1, gated, 500 gates",
        ylim=(0, 1.3 * counts[:, 1].max()),
    )
    right.legend(loc="upper left")
    lighten(ax)
    lighten(right)
    return figure
