"""Fit three data sets that scikit-learn ships, follow a gradient flow, print what was proved, draw pictures into out/.

python examples/demo.py
"""

from __future__ import annotations

import warnings
from pathlib import Path
from time import perf_counter
from typing import Any

import matplotlib

matplotlib.use("Agg")  # pictures go to files

import matplotlib.pyplot as plt
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from sklearn.base import BaseEstimator
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler, scale

from extremal import ReLUClassifier, ReLURegressor, datasets, flows, plotting

OUT = Path("out")
CASES = (
    ("diabetes", load_diabetes, ReLURegressor(alpha=0.2, time_limit=8), Ridge()),
    ("iris", load_iris, ReLUClassifier(alpha=0.03, time_limit=8), LogisticRegression()),
    ("breast cancer", load_breast_cancer, ReLUClassifier(alpha=0.05, time_limit=8), LogisticRegression()),
)


def main() -> None:
    warnings.simplefilter("ignore", ConvergenceWarning)  # it says what the table says: the gap
    console = Console()
    OUT.mkdir(exist_ok=True)
    console.print("\nTwo-layer ReLU networks at their global optimum\n", style="bold")
    with console.status("compiling the inner loops, the first time only: a minute ..."):
        compile_once()
    table = Table(box=SIMPLE, pad_edge=False, padding=(0, 1, 0, 0))
    for column in ("data", "size", "neurons", "objective", "proven gap", "seconds", "score", "linear"):
        table.add_column(column, justify="left" if column == "data" else "right", no_wrap=True)
    for name, load, model, linear in CASES:
        with console.status(f"fitting {name} ..."):
            table.add_row(name, *fit_and_score(load, model, linear))
        draw(plotting.history(model.result_), f"{name.replace(' ', '_')}_history.png")
    console.print(table)
    console.print(
        "The gap is proved: no network of any width has an objective below (1 - gap)\n"
        "times the one found. The score, R^2 for diabetes and accuracy for the others,\n"
        "is on a quarter of the rows held back; beside it that of a linear model.\n"
    )
    draw_one_feature()
    draw_two_features()
    with console.status("following the gradient flow ..."):
        follow(console)
    console.print("Pictures:", *sorted(str(path) for path in OUT.glob("*.png")), sep="\n  ")


def compile_once() -> None:
    """Fit a few rows, so that the seconds in the table are those of the fits."""
    X, y = load_diabetes(return_X_y=True)
    ReLURegressor(alpha=0.2, time_limit=1).fit(scale(X[:60]), scale(y[:60]))
    X, y = load_iris(return_X_y=True)
    ReLUClassifier(alpha=0.03, time_limit=1).fit(X[::5], y[::5])


def fit_and_score(load: Any, model: BaseEstimator, linear: BaseEstimator) -> list[str]:
    """Fit both models to three quarters of the data, and say how it went as the cells of a row."""
    X, y = load(return_X_y=True)
    if isinstance(model, ReLURegressor):
        y = (y - y.mean()) / y.std()
    X, X_test, y, y_test = train_test_split(X, y, random_state=0)
    scaler = StandardScaler().fit(X)
    X, X_test = scaler.transform(X), scaler.transform(X_test)
    start = perf_counter()
    model.fit(X, y)
    seconds = perf_counter() - start
    scores = model.score(X_test, y_test), linear.fit(X, y).score(X_test, y_test)
    return [
        f"{X.shape[0]}x{X.shape[1]}",
        str(model.network_.width),
        f"{model.certificate_.primal / len(y):.6f}",
        f"{100 * model.gap_:.2g} %",
        f"{seconds:.1f}",
        *(f"{score:.3f}" for score in scores),
    ]


def draw_one_feature() -> None:
    """The progression of diabetes against the body mass index, both standardised."""
    X, y = load_diabetes(return_X_y=True)
    X, y = scale(X[:, [2]]), scale(y)
    axes = plotting.fit_1d(ReLURegressor(alpha=1e-3, time_limit=5).fit(X, y), X, y)
    axes.set(xlabel="body mass index", ylabel="progression of diabetes")
    draw(axes, "diabetes_bmi.png")


def draw_two_features() -> None:
    """The three irises by the measures of their petals."""
    X, y = load_iris(return_X_y=True)
    X = X[:, 2:]
    axes = plotting.fit_2d(ReLUClassifier(alpha=1e-3, time_limit=5).fit(X, y), X, y)
    axes.set(xlabel="petal length (cm)", ylabel="petal width (cm)")
    draw(axes, "iris_petals.png")


def follow(console: Console) -> None:
    """Where backpropagation ends without a penalty, on eight points with random labels."""
    X, y = datasets.gaussian_labels(8, 3, random_state=4)
    runs = flows(X, y, width=30, seeds=8)
    console.print(f"Gradient flow on eight random labels: {runs.sentence}.\n")
    figure = plotting.plot_flow(runs.results[2].trajectory, optimum=runs.best)
    figure.savefig(OUT / "flow.png", dpi=100)
    plt.close(figure)


def draw(axes: Any, name: str) -> None:
    axes.figure.savefig(OUT / name, dpi=150, bbox_inches="tight")
    plt.close(axes.figure)


if __name__ == "__main__":
    main()
