"""How long a proof takes: fits at a tenth of beta_max, with their certified gap, as one Markdown table.

    python benchmarks/gauge.py

The objective is 1/2 |f(X) - y|^2 + beta sum_j |w_j| |a_j|. Seconds are wall seconds of the whole of
`extremal.fit`, search and proof, on one thread; the first call, which loads compiled code, is not counted.
The last two columns are one call of `extremal.gauge` at the multiplier of the final network.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from threadpoolctl import threadpool_limits

import extremal
from problems import DATA, Array, MissingData, teacher
from report import machine


@dataclass(frozen=True)
class Case:
    """A data set, and what the fit is asked for: a gap, or the best gap within a time."""

    name: str
    data: Callable[[Path], tuple[Array, Array]]
    tol: float = 1e-6
    time_limit: float = 30.0


CASES = (
    Case("teacher, d=3, n=500", lambda _: teacher(500, 3)),
    Case("teacher, d=4, n=200", lambda _: teacher(200, 4)),
    Case("teacher, d=5, n=100", lambda _: teacher(100, 5)),
    Case("haberman", DATA["haberman"], time_limit=2.0),
    Case("banknote", DATA["banknote"], time_limit=2.0),
)


def measure(case: Case, folder: Path) -> str:
    """One line of the table."""
    try:
        X, y = case.data(folder)
    except MissingData as error:
        return f"| {case.name} | | not run: {error} | | | |"
    beta = 0.1 * extremal.beta_max(X, y, bias="none")
    start = time.perf_counter()
    result = extremal.fit(X, y, beta=beta, bias="none", tol=case.tol, time_limit=case.time_limit)
    fitted = time.perf_counter() - start
    start = time.perf_counter()
    bounds = extremal.gauge(X, y - result.network.predict(X)[:, 0], tol=case.tol, time_limit=case.time_limit)
    bounded = time.perf_counter() - start
    numbers = (f"{result.certificate.gap:.1e}", f"{fitted:.2f}", f"{bounds.gap:.1e}", f"{bounded:.2f}")
    return f"| {case.name} | {X.shape[0]}x{X.shape[1]} | {' | '.join(numbers)} |"


def lines(folder: Path) -> Iterator[str]:
    yield "| data | X | certified gap | fit, s | gauge, 1 - lower/upper | gauge, s |"
    yield "| --- | --- | --- | --- | --- | --- |"
    X, y = teacher(20, 3)
    extremal.fit(X, y, beta=0.1 * extremal.beta_max(X, y, bias="none"), bias="none")
    for case in CASES:
        yield measure(case, folder)


def main() -> None:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder with the CSV files")
    options = parser.parse_args()
    print(machine(), flush=True)
    with threadpool_limits(1):
        for line in lines(options.data):
            print(line, flush=True)


if __name__ == "__main__":
    main()
