"""The gauge of several outputs: what is proved at the root and after a search, as one Markdown table.

    python benchmarks/outputs.py

Every number is an upper bound divided by the best lower bound that any of the methods knows, so 1 is exact, with the
CPU seconds that it took on one thread. The multipliers are Gaussian, or those of fits at a tenth of beta_max: networks
with 6 neurons and noise (squared loss), and three sets of labels (softmax), the digits by their principal components.

"frame" is the root of the sum of squares of the gauges of c single outputs, "root" the doubly nonnegative relaxation,
"search" its branch and bound, and "gauge" what `extremal.gauge` does.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator

import numpy as np
from sklearn.datasets import load_digits, load_iris, load_wine
from threadpoolctl import threadpool_limits

import extremal
from extremal.design import Design
from extremal.gauge import compile_kernels
from extremal.gauge.ascent import ascend, random_starts
from extremal.gauge.search import upper_bounds
from extremal.gauge.several import several_bound
from problems import Array, standardise, with_ones
from report import machine

SHAPES = (
    (20, 3, 2), (50, 10, 2), (100, 20, 2), (30, 5, 3), (50, 10, 3), (100, 10, 3), (20, 5, 10), (40, 10, 10),
    (100, 20, 10), (200, 10, 10),
)  # fmt: skip

Data = tuple[Array, Array]


def gaussian(n: int, d: int, c: int) -> Data:
    rng = np.random.default_rng(n + d + c)
    return rng.standard_normal((n, d)) / np.sqrt(d), rng.standard_normal((n, c))


def multiplier(X: Array, target: Array, loss: str) -> Data:
    """-grad loss of a fit, as its certificate has it."""
    beta = 0.1 * extremal.beta_max(X, target, loss=loss, bias="none")
    lam = extremal.fit(X, target, beta=beta, loss=loss, bias="none", time_limit=6.0).certificate.lam
    return X, lam


def teacher(n: int, d: int, c: int) -> Data:
    rng = np.random.default_rng(n + d + c)
    X = rng.standard_normal((n, d)) / np.sqrt(d)
    Y = np.maximum(X @ rng.standard_normal((d, 6)), 0) @ rng.standard_normal((6, c))
    return multiplier(X, standardise(standardise(Y) + 0.1 * rng.standard_normal(Y.shape)), "squared")


def flowers() -> Data:
    features, labels = load_iris(return_X_y=True)
    return multiplier(with_ones(features), labels, "softmax")


def wines() -> Data:
    features, labels = load_wine(return_X_y=True)
    return multiplier(with_ones(features), labels, "softmax")


def digits(n: int, components: int) -> Data:
    features, labels = load_digits(return_X_y=True)
    chosen = np.random.default_rng(0).permutation(len(features))[:n]
    U, s, _ = np.linalg.svd(standardise(features[chosen]), full_matrices=False)
    return multiplier(with_ones((U * s)[:, :components]), labels[chosen], "softmax")


def cases() -> Iterator[tuple[str, Callable[[], Data]]]:
    for n, d, c in SHAPES:
        yield "Gaussian", lambda n=n, d=d, c=c: gaussian(n, d, c)
        yield "teacher", lambda n=n, d=d, c=c: teacher(n, d, c)
    yield "iris", flowers
    yield "wine", wines
    for n, components in ((60, 10), (200, 5), (200, 20)):
        yield "digits", lambda n=n, k=components: digits(n, k)


def timed(compute: Callable[[], float]) -> tuple[float, float]:
    start = time.process_time()
    return compute(), time.process_time() - start


def frame(design: Design, Lam: Array, seconds: float) -> float:
    """The root of the sum of squares over the right singular vectors of Lam."""
    directions = np.linalg.svd(Lam, full_matrices=False)[2]
    share = seconds / len(directions)
    ends = [upper_bounds(design, Lam @ v, tol=1e-4, deadline=time.monotonic() + share).upper for v in directions]
    return float(np.linalg.norm(ends))


def measure(name: str, X: Array, Lam: Array, seconds: float) -> str:
    """One line of the table."""
    design, rng = Design(X), np.random.default_rng(0)
    best = ascend(design, Lam, random_starts(design, 200, rng), rounds=30, sweeps=20, rng=rng)
    found = [float(best.value[0])]

    def bounded(search: Callable[..., extremal.GaugeBounds], **limits: float) -> float:
        bounds = search(design, Lam, tol=1e-4, lower=found[0], **limits)
        found.append(bounds.lower)
        return bounds.upper

    results = (
        timed(lambda: frame(design, Lam, seconds)),
        timed(lambda: bounded(several_bound, max_nodes=1)),
        timed(lambda: bounded(several_bound, deadline=time.monotonic() + seconds)),
        timed(lambda: bounded(upper_bounds, deadline=time.monotonic() + seconds, witness=best.U[:, 0])),
    )
    cells = (f"{upper / max(found):.4f} | {used:.2f}" for upper, used in results)
    return f"| {name} | {X.shape[0]}x{X.shape[1]} | {Lam.shape[1]} | {' | '.join(cells)} |"


def main() -> None:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("--seconds", type=float, default=10.0, help="wall seconds for a search")
    parser.add_argument("--only", default="", help="the name of the data")
    options = parser.parse_args()
    print(machine(), flush=True)
    compile_kernels()
    print("| data | X | c | frame | s | root | s | search | s | gauge | s |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    with threadpool_limits(1):
        for name, data in cases():
            if options.only in name:
                print(measure(name, *data(), options.seconds), flush=True)


if __name__ == "__main__":
    main()
