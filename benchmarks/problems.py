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


@dataclass(frozen=True)
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


def standardise(columns: Array) -> Array:
    """Mean 0 and variance 1; a constant column becomes 0."""
    centred = columns - columns.mean(axis=0)
    scale = centred.std(axis=0)
    return centred / np.where(scale > 0, scale, 1.0)


def with_ones(features: Array) -> Array:
    """Standardised features and a column of ones, divided by sqrt(d)."""
    X = np.column_stack([standardise(features), np.ones(len(features))])
    return X / np.sqrt(X.shape[1])


def training_part(features: Array, target: Array, *, share: float = 0.8) -> tuple[Array, Array]:
    """The first part of scikit-learn's shuffled split: what the real data sets are trained on."""
    X, _, y, _ = train_test_split(features, target, train_size=share, random_state=0)
    return X, y


def regression(features: Array, target: Array) -> tuple[Array, Array]:
    features, target = training_part(features, target)
    return with_ones(features), standardise(target)


def labels(features: Array, target: Array) -> tuple[Array, Array]:
    features, target = training_part(features, target)
    return with_ones(features), np.where(target, 1.0, -1.0)


def read_csv(path: Path) -> tuple[Array, NDArray[np.str_]]:
    """Features and target column of a CSV file with a header line, the target last."""
    if not path.exists():
        raise MissingData(path)
    table = np.loadtxt(path, delimiter=",", skiprows=1, dtype=str)
    return table[:, :-1].astype(float), table[:, -1]


def diabetes(_: Path) -> tuple[Array, Array]:
    return regression(*load_diabetes(return_X_y=True))


def breast_cancer(_: Path) -> tuple[Array, Array]:
    return labels(*load_breast_cancer(return_X_y=True))


def digits(_: Path) -> tuple[Array, Array]:
    features, digit = load_digits(return_X_y=True)
    features, even = training_part(features, digit % 2 == 0)
    features = features[:, np.ptp(features, axis=0) > 0]
    return with_ones(features), np.where(even, 1.0, -1.0)


def from_csv(name: str, positive: str | None = None) -> Callable[[Path], tuple[Array, Array]]:
    """A data set kept as a file: a regression, or two classes when the positive label is given."""

    def load(folder: Path) -> tuple[Array, Array]:
        features, target = read_csv(folder / f"{name}.csv")
        if positive is None:
            return regression(features, target.astype(float))
        return labels(features, target == positive)

    return load


#: Every data set by name, as a function of the folder with the CSV files.
DATA: dict[str, Callable[[Path], tuple[Array, Array]]] = {
    "synthetic": lambda _: teacher(50, 3),
    "teacher": lambda _: teacher(200, 10),
    "diabetes": diabetes,
    "breast_cancer": breast_cancer,
    "ionosphere": from_csv("ionosphere", "g"),
    "concrete": from_csv("concrete"),
    "digits": digits,
    "yacht": from_csv("yacht"),
    "energy": from_csv("energy"),
    "haberman": from_csv("haberman", "1"),
    "banknote": from_csv("banknote", "1"),
}


def load(name: str, b: float, folder: Path) -> Problem:
    """The problem `name` with penalty b."""
    return Problem(name, *DATA[name](folder), b)
