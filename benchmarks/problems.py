"""The data sets of the benchmarks, prepared in one way.

Columns are standardised, a column of ones carries the (penalised) hidden bias, and everything is divided by
sqrt(d), so rows have norm about one. Regression targets are standardised; two classes become -1/+1. The
objective is

    1/(2n) |f(X) - y|^2 + b sum_j |w_j| |a_j|,

which is beta = b with every sample weight 1/n.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.model_selection import train_test_split

from extremal import Network

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Problem:
    """A data matrix with its column of ones, a target and a penalty."""

    name: str
    X: Array
    y: Array
    b: float

    @property
    def weight(self) -> Array:
        return np.full(self.y.size, 1.0 / self.y.size)

    def objective(self, network: Network) -> float:
        """The one function that evaluates every method's answer, in float64."""
        return network.balance().objective(self.X, self.y, beta=self.b, sample_weight=self.weight)

    def __str__(self) -> str:
        n, d = self.X.shape
        return f"{self.name} {n}x{d}, b={self.b:g}"


@dataclass(frozen=True)
class MissingData(Exception):
    """A data set that is not on this machine."""

    path: Path

    def __str__(self) -> str:
        return f"no file {self.path} (see --data)"


def teacher(n: int, d: int, neurons: int = 5, noise: float = 0.1, seed: int = 0) -> tuple[Array, Array]:
    """Gaussian rows of norm about one and a noisy network of a few neurons, standardised."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d)) / np.sqrt(d)
    y = np.maximum(X @ rng.standard_normal((d, neurons)), 0) @ rng.standard_normal(neurons)
    y = standardise(y)
    return X, standardise(y + noise * rng.standard_normal(n))


def random_labels(n: int, d: int, seed: int = 0) -> tuple[Array, Array]:
    """Gaussian rows of norm about one and Gaussian targets that have nothing to do with them, standardised."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, d)) / np.sqrt(d), standardise(rng.standard_normal(n))


def standardise(columns: Array, like: Array | None = None) -> Array:
    """Mean 0 and variance 1, of the columns themselves or as those of `like` need it; a constant column becomes 0."""
    like = columns if like is None else like
    mean = like.mean(axis=0)
    scale = (like - mean).std(axis=0)
    return (columns - mean) / np.where(scale > 0, scale, 1.0)


def with_ones(features: Array, like: Array | None = None) -> Array:
    """Standardised features and a column of ones, divided by sqrt(d)."""
    X = np.column_stack([standardise(features, like), np.ones(len(features))])
    return X / np.sqrt(X.shape[1])


@dataclass(frozen=True, eq=False)
class Split:
    """The two parts of scikit-learn's shuffled split; everything is standardised by the mean and scale of the first.

    The first 80 % are what the real data sets are trained on; the rest is seen by nobody before the end.
    """

    X: Array
    y: Array
    X_test: Array
    y_test: Array
    classes: bool

    @classmethod
    def of(cls, features: Array, target: Array, *, classes: bool) -> Split:
        seen, unseen, y, y_test = train_test_split(features, target, train_size=0.8, random_state=0)
        if classes:
            y, y_test = np.where(y, 1.0, -1.0), np.where(y_test, 1.0, -1.0)
        else:
            y, y_test = standardise(y), standardise(y_test, y)
        return cls(with_ones(seen), y, with_ones(unseen, seen), y_test, classes)

    def score(self, outputs: Array) -> float:
        """The accuracy of the signs of outputs on the test part, or their R^2."""
        if self.classes:
            return float(np.mean((outputs > 0) == (self.y_test > 0)))
        return 1 - float(np.sum((self.y_test - outputs) ** 2) / np.sum((self.y_test - self.y_test.mean()) ** 2))


def read_csv(path: Path) -> tuple[Array, NDArray[np.str_]]:
    """Features and target column of a CSV file with a header line, the target last."""
    if not path.exists():
        raise MissingData(path)
    table = np.loadtxt(path, delimiter=",", skiprows=1, dtype=str)
    return table[:, :-1].astype(float), table[:, -1]


def diabetes(_: Path) -> Split:
    return Split.of(*load_diabetes(return_X_y=True), classes=False)


def breast_cancer(_: Path) -> Split:
    return Split.of(*load_breast_cancer(return_X_y=True), classes=True)


def digits(_: Path) -> Split:
    """Even against odd, without the pixels that are always blank."""
    features, digit = load_digits(return_X_y=True)
    return Split.of(features[:, np.ptp(features, axis=0) > 0], digit % 2 == 0, classes=True)


def from_csv(name: str, positive: str | None = None) -> Callable[[Path], Split]:
    """A data set kept as a file: a regression, or two classes when the positive label is given."""

    def load(folder: Path) -> Split:
        features, target = read_csv(folder / f"{name}.csv")
        if positive is None:
            return Split.of(features, target.astype(float), classes=False)
        return Split.of(features, target == positive, classes=True)

    return load


#: Every real data set by name, as a function of the folder with the CSV files.
REAL: dict[str, Callable[[Path], Split]] = {
    "diabetes": diabetes,
    "breast_cancer": breast_cancer,
    "ionosphere": from_csv("ionosphere", "g"),
    "concrete": from_csv("concrete"),
    "digits": digits,
    "yacht": from_csv("yacht"),
    "energy": from_csv("energy"),
    "haberman": from_csv("haberman", "1"),
    "banknote": from_csv("banknote", "1"),
    "sonar": from_csv("sonar", "M"),
}


def training_part(name: str) -> Callable[[Path], tuple[Array, Array]]:
    """X and y of a real data set, as a function of the folder."""

    def load(folder: Path) -> tuple[Array, Array]:
        split = REAL[name](folder)
        return split.X, split.y

    return load


#: What is trained on, by name, as a function of the folder with the CSV files.
DATA: dict[str, Callable[[Path], tuple[Array, Array]]] = {
    "synthetic": lambda _: teacher(50, 3),
    "teacher": lambda _: teacher(200, 10),
    **{name: training_part(name) for name in REAL},
}


def load(name: str, b: float, folder: Path) -> Problem:
    """The problem `name` with penalty b."""
    return Problem(name, *DATA[name](folder), b)
