"""Linear splines against general solvers on the same problem: one Markdown table.

    python benchmarks/splines.py [--largest 100000] [--limit 60]

min 1/(2n) |f - y|^2 + beta cost(f) for a noisy sine at random points (squared loss), or its signs (hinge loss), with
free biases. "2n columns" is the dense l1 program over the ramps (x - x_i)_+, (x_i - x)_+ and a constant, "banded" the
same problem in the values at the points and their slopes; both are CVXPY models with their solvers' default
tolerances. CPU seconds of one process on one thread, CVXPY's own time included, compiled code loaded before; a solver
that needed more than the limit is not run on larger problems. Ratios are to `spline_fit`; "excess" is
(objective - proven lower bound) / optimum, where the objective is that of the cheapest function through the values
found: values of a solver that stops early are rough, and rough functions are expensive.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable

import cvxpy as cp
import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from extremal.closed_forms import ramps, spline_fit, spline_min_norm
from report import machine

Array = NDArray[np.float64]
SIZES = (100, 300, 1000, 3000, 10_000, 30_000, 100_000)


def data(n: int) -> tuple[Array, Array]:
    rng = np.random.default_rng(0)
    x = np.sort(rng.uniform(size=n))
    return x, np.sin(12 * x) + 0.3 * rng.normal(size=n)


def misfit(f: cp.Expression, y: Array, loss: str) -> cp.Expression:
    if loss == "squared":
        return cp.sum_squares(f - y) / (2 * y.size)
    return cp.sum(cp.pos(1 - cp.multiply(y, f))) / y.size


def columns(x: Array, y: Array, beta: float, loss: str) -> tuple[cp.Problem, Callable[[], Array]]:
    """The dense program over 2n ramps."""
    A = ramps(x)
    v, constant = cp.Variable(A.shape[1]), cp.Variable()
    f = A @ v + constant
    return cp.Problem(cp.Minimize(misfit(f, y, loss) + beta * cp.norm1(v))), lambda: f.value


def banded(x: Array, y: Array, beta: float, loss: str) -> tuple[cp.Problem, Callable[[], Array]]:
    """Values f and slopes s with f' = s: the cost is TV / 2 + max(TV, |s_1 + s_last|) / 2."""
    f, s = cp.Variable(x.size), cp.Variable(x.size - 1)
    variation = cp.norm1(cp.diff(s))
    cost = 0.5 * variation + 0.5 * cp.maximum(variation, cp.abs(s[0] + s[-1]))
    tied = [cp.diff(f) == cp.multiply(np.diff(x), s)]
    return cp.Problem(cp.Minimize(misfit(f, y, loss) + beta * cost), tied), lambda: f.value


PEERS = {
    "2n columns, Clarabel": (columns, cp.CLARABEL, 1000),
    "2n columns, OSQP": (columns, cp.OSQP, 1000),
    "banded, Clarabel": (banded, cp.CLARABEL, 100_000),
    "banded, OSQP": (banded, cp.OSQP, 100_000),
}


def objective(x: Array, f: Array, y: Array, beta: float, loss: str) -> float:
    """One function for all answers: the cheapest function through their values at the points."""
    fit = 0.5 * np.mean((f - y) ** 2) if loss == "squared" else np.mean(np.maximum(1 - y * f, 0))
    return float(fit) + beta * spline_min_norm(x, f).value


def timed(run: Callable[[], object]) -> tuple[object, float]:
    start = time.process_time()
    return run(), time.process_time() - start


def row(n: int, loss: str, beta: float, slow: set[str], limit: float) -> str:
    x, y = data(n)
    y = np.sign(y) if loss == "hinge" else y
    weight = np.full(n, 1 / n)
    result, seconds = timed(lambda: spline_fit(x, y, beta=beta, loss=loss, sample_weight=weight))
    cells = [loss, f"{beta:g}", str(n), f"{seconds:.3f} s", f"{result.gap:.0e}", str(result.spline.kinks.size)]
    for name, (model, solver, most) in PEERS.items():
        if n > most or name in slow:
            cells.append("-")
            continue
        problem, values = model(x, y, beta, loss)
        try:
            _, taken = timed(lambda problem=problem, solver=solver: problem.solve(solver=solver))
        except cp.SolverError:
            cells.append("failed")
            slow.add(name)
            continue
        if taken > limit:
            slow.add(name)
        found = objective(x, values(), y, beta, loss) if values() is not None else np.inf
        cells.append(f"{taken / seconds:.0f}x, {max(found - result.dual_value, 0) / result.value:.0e}")
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--largest", type=int, default=SIZES[-1])
    parser.add_argument("--limit", type=float, default=60.0, help="CPU seconds after which a solver is left out")
    chosen = parser.parse_args()
    print(machine(), flush=True)
    warnings.simplefilter("ignore")
    head = ["loss", "beta", "n", "spline_fit", "gap", "kinks", *(f"{name}: time, excess" for name in PEERS)]
    print("| " + " | ".join(head) + " |\n" + "| --- " * len(head) + "|")
    with threadpool_limits(1):
        for loss in ("squared", "hinge"):
            spline_fit(*data(200)[:1], np.sign(data(200)[1]), beta=1e-3, loss="hinge")  # loads what is compiled
            for beta in (1e-3, 1e-6):
                slow: set[str] = set()
                for n in SIZES:
                    if n <= chosen.largest:
                        print(row(n, loss, beta, slow, chosen.limit), flush=True)


if __name__ == "__main__":
    main()
