"""All cells of a hyperplane arrangement: time and completeness, as one Markdown table.

    python benchmarks/arrangements.py

CPU seconds of one process on one thread, compiled code loaded before. "LP for every cell" is the usual incremental
enumeration: rows are added one by one, and for each cell of the rows so far, with a point inside, a linear program
(SciPy, HiGHS) decides whether the new row cuts it. It is run within a budget of time and otherwise extrapolated: the
number of its programs is that of the cells of all X[:k], the mean time of one is measured on programs of the last row.
"Gaussian" is the share of all cells that the patterns of 10^6 normal directions are.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog
from threadpoolctl import threadpool_limits

import extremal
from report import machine

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Case:
    name: str
    X: Array
    in_chunks: bool = False


def gaussian(n: int, r: int) -> Array:
    return np.random.default_rng(0).standard_normal((n, r))


def grid(d: int) -> Array:
    """One vector of every pair of {-1, 0, 1}^d without zero."""
    vectors = np.array(list(itertools.product([-1, 0, 1], repeat=d)), dtype=float)
    return vectors[: len(vectors) // 2]


def digits(n: int, r: int) -> Array:
    return np.random.default_rng(0).integers(0, 10, size=(n, r)).astype(float)


CASES = (
    Case("Gaussian 10x3", gaussian(10, 3)),
    Case("Gaussian 200x3", gaussian(200, 3)),
    Case("Gaussian 100x4", gaussian(100, 4)),
    Case("Gaussian 50x5", gaussian(50, 5)),
    Case("Gaussian 30x8", gaussian(30, 8)),
    Case("Gaussian 1000x3, in chunks", gaussian(1000, 3), in_chunks=True),
    Case("Gaussian 40x4", gaussian(40, 4)),
    Case("grid {-1,0,1}^4, 40x4", grid(4)),
    Case("Gaussian 121x5, in chunks", gaussian(121, 5), in_chunks=True),
    Case("grid {-1,0,1}^5, 121x5", grid(5)),
    Case("digits 0..9, 100x4", digits(100, 4)),
)


def listed(case: Case) -> tuple[int, float]:
    """The number of cells and the CPU seconds of listing them."""
    start = time.process_time()
    found = extremal.arrangements(case.X)
    count = sum(chunk.count for chunk in found) if case.in_chunks else found.patterns.count
    return count, time.process_time() - start


def by_programs(X: Array, budget: float) -> tuple[float, bool]:
    """CPU seconds of the incremental enumeration, and whether they are extrapolated."""
    expected = mean_program(X) * programs(X)
    if expected > budget:
        return expected, True
    start = time.process_time()
    cells = [(np.array([1.0]), X[0]), (np.array([-1.0]), -X[0])]
    for k in range(1, len(X)):
        cells = [child for cell in cells for child in children(*cell, X[: k + 1])]
    if len(cells) != extremal.arrangements(X).count:
        raise AssertionError("the enumerations disagree")
    return time.process_time() - start, False


def children(signs: Array, inside: Array, rows: Array) -> Iterator[tuple[Array, Array]]:
    """The cells into which the last row cuts a cell: one is known from a point inside, the other takes a program."""
    side = 1.0 if rows[-1] @ inside > 0 else -1.0
    yield np.append(signs, side), inside
    other = np.append(signs, -side)
    point = point_inside(other, rows)
    if point is not None:
        yield other, point


def programs(X: Array) -> float:
    """The number of programs, one for every cell of every X[:k]; counted for a few k and interpolated."""
    k = np.arange(1, len(X))
    known = np.unique(np.linspace(1, len(X) - 1, 12).astype(int))
    return float(np.interp(k, known, [extremal.count_arrangements(X[:m]).value for m in known]).sum())


def mean_program(X: Array, samples: int = 50) -> float:
    """Mean CPU seconds of a program with all rows: the other side of the last row for cells of the others."""
    directions = np.random.default_rng(1).standard_normal((X.shape[1], samples))
    signs = np.sign(X @ directions).T
    signs[:, -1] *= -1
    start = time.process_time()
    for pattern in signs:
        point_inside(pattern, X)
    return (time.process_time() - start) / samples


def point_inside(signs: Array, rows: Array) -> Array | None:
    """Some u with signs_i x_i . u >= 1 for all rows, or None."""
    bounds = [(None, None)] * rows.shape[1]
    answer = linprog(
        np.zeros(rows.shape[1]), -signs[:, None] * rows, -np.ones(len(rows)), bounds=bounds, method="highs"
    )
    return answer.x if answer.status == 0 else None


def line(case: Case, budget: float, draws: int) -> str:
    count, seconds = listed(case)
    by_lp, extrapolated = by_programs(case.X, budget)
    start = time.process_time()
    sample = extremal.sample_arrangements(case.X, draws)
    drawn = time.process_time() - start
    ours = f"{seconds:.4f} | {1e6 * seconds / count:.2f}"
    times = f"{by_lp:.3g} s{', extrapolated' if extrapolated else ''} | {by_lp / seconds:.1g} x"
    return f"| {case.name} | {count} | {ours} | {times} | {100 * sample.patterns.count / count:.3g} % | {drawn:.1f} |"


def lines(budget: float, draws: int) -> Iterator[str]:
    yield "| X | cells | CPU s | us a cell | LP for every cell | ratio | Gaussian | its CPU s |"
    yield "| --- | --- | --- | --- | --- | --- | --- | --- |"
    for X in (gaussian(5, 3), grid(3)):  # loads the compiled code
        listed(Case("", X))
        listed(Case("", X, in_chunks=True))
        extremal.count_arrangements(X)
    for case in CASES:
        yield line(case, budget, draws)


def main() -> None:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("--budget", type=float, default=20.0, help="CPU seconds for one run of the linear programs")
    parser.add_argument("--draws", type=int, default=10**6, help="Gaussian directions")
    options = parser.parse_args()
    print(machine(), flush=True)
    with threadpool_limits(1):
        for text in lines(options.budget, options.draws):
            print(text, flush=True)


if __name__ == "__main__":
    main()
