"""How fast the proven gap of a trained network falls: gap against time, as one Markdown table.

    python benchmarks/proof.py
    python benchmarks/proof.py --case 'diabetes*' --limits 1,10,60 --out table.md --picture gaps.png
    python benchmarks/proof.py --case '*20x5*' --references

The objective is  1/2 |f(X) - y|^2 + beta sum_j |w_j| |a_j|,  and beta a fraction of the largest value of g(y) that is
attained. A network is trained first, to convergence; what is timed is the proof alone: `extremal.certify` with one time
limit after the other, each from the beginning, on one thread or on `--jobs`. An entry is the gap (P - D) / P with its
wall and CPU seconds. The root is what is known before any branching, as a gap and as a multiple of beta, which the
exact gauge is at an optimal network. A proof that ended before its limit is not repeated with a longer one.

With --references the bounds of `references.py` follow in the column of the root. Each proves a gap in the same
way: a bound B >= g(lam) makes t lam feasible for t <= beta / B, and D(t lam) = t lam^T y - t^2 |lam|^2 / 2.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from threadpoolctl import threadpool_limits

import extremal
from extremal.design import Design
from extremal.gauge import bounds_of
from extremal.training import fit_problem
from peers import NotApplicable
from problems import DATA, Array, MissingData, random_labels, teacher
from references import REFERENCES, Reference
from report import machine

T = TypeVar("T")
Data = Callable[[Path], tuple[Array, Array]]

#: The relative gap at which a proof may stop, and the violation of g <= beta above which training goes on.
TOL, VIOLATION = 1e-6, 1e-7
#: What the name of a reference follows in the table, and the smallest gap in a picture.
REFERENCE, LEAST_DRAWN = "... ", 1e-10


@dataclass(frozen=True)
class Case:
    """Data, the penalty as a fraction of beta_max, and the gap that is to be reached."""

    name: str
    data: Data
    fraction: float
    target: str = ""

    @property
    def title(self) -> str:
        return f"{self.name} {self.fraction:g}".replace(" 0.", " .")


def teachers(n: int, d: int, fraction: float, target: str = "") -> Case:
    return Case(f"teacher {n}x{d}", lambda _: teacher(n, d), fraction, target)


def randoms(n: int, d: int, fraction: float, target: str = "") -> Case:
    return Case(f"random {n}x{d}", lambda _: random_labels(n, d), fraction, target)


def real(name: str, fraction: float, target: str) -> Case:
    return Case(name, DATA[name], fraction, target)


CASES = (
    teachers(10_000, 3, 0.1, "1e-6 in 2 s"),
    teachers(100_000, 3, 0.1, "1e-6, a stretch"),
    teachers(1000, 5, 0.1, "1e-6 in 5 s"),
    randoms(100, 5, 0.1, "1e-6 in 60 s, a stretch"),
    teachers(50, 10, 0.3, "1e-6 in 5 s"),
    randoms(50, 10, 0.3, "1e-6 in 5 s"),
    teachers(50, 10, 0.1),
    randoms(50, 10, 0.1, "1e-4 in 60 s, a stretch"),
    teachers(100, 10, 0.3, "1e-4 in 30 s"),
    teachers(200, 10, 0.3, "1e-4 in 60 s"),
    teachers(50, 20, 0.3, "1e-4 in 60 s"),
    teachers(100, 20, 0.3, "1e-3 in 120 s"),
    teachers(500, 20, 0.3, "root: 2e-2 in 10 s"),
    teachers(500, 30, 0.3, "root: 2e-2 in 10 s"),
    real("diabetes", 0.3, "5e-4 in 60 s"),
    real("diabetes", 0.1, "5e-2 in 60 s"),
    real("diabetes", 0.05, "5e-2 in 60 s"),
    real("yacht", 0.1, "5e-4 in 60 s"),
    real("energy", 0.1, "2e-3 in 60 s"),
    real("concrete", 0.3, "3e-3 in 60 s"),
    real("concrete", 0.1, "5e-2 in 60 s"),
    real("breast_cancer", 0.3, "1e-3 in 60 s"),
    real("breast_cancer", 0.1, "1e-2 in 60 s"),
    real("breast_cancer", 0.01, "5e-2 in 60 s"),
    real("ionosphere", 0.3, "2e-2 in 60 s"),
    # small enough for every reference
    teachers(20, 5, 0.1),
    randoms(20, 5, 0.1),
    randoms(20, 10, 0.1),
    randoms(30, 8, 0.1),
)


@dataclass(frozen=True)
class Timed:
    """A proven gap and the seconds it took; the bound on the gauge as a multiple of beta if it came from one."""

    gap: float
    wall: float
    cpu: float
    multiple: float | None = None

    def __str__(self) -> str:
        bound = "" if self.multiple is None else f", {self.multiple:.4f} beta"
        return f"{self.gap:.1e}{bound} ({self.wall:.2g} / {self.cpu:.2g})"


@dataclass(frozen=True, eq=False)
class Trained:
    """A network for a case, and what a bound on g(lam), lam = y - f(X), proves about it."""

    X: Array
    y: Array
    beta: float
    network: extremal.Network
    seconds: float

    @property
    def lam(self) -> Array:
        return self.y - self.network.predict(self.X)[:, 0]

    @property
    def objective(self) -> float:
        return self.network.objective(self.X, self.y, beta=self.beta)

    def gap(self, bound: float) -> float:
        """(P - D(t lam)) / P for the best t in [0, beta / bound]."""
        lam = self.lam
        t = np.clip(lam @ self.y / (lam @ lam), 0, self.beta / bound)
        return 1 - float(t * (lam @ self.y) - t * t * (lam @ lam) / 2) / self.objective


@dataclass(frozen=True)
class Row:
    """One line of the table, as printed, with the gaps that were measured."""

    cells: tuple[str, ...]
    gaps: tuple[Timed, ...] = ()

    def __str__(self) -> str:
        return f"| {' | '.join(self.cells)} |"


# --- measuring ----------------------------------------------------------------------------------------------


def timed(function: Callable[[], T]) -> tuple[T, float, float]:
    """The value of function(), wall seconds, CPU seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    value = function()
    return value, time.perf_counter() - wall, time.process_time() - cpu


def train(case: Case, folder: Path, limit: float) -> Trained:
    """A network that leaves the gap to the proof: trained without one, and again with it if that finds a violator."""
    X, y = case.data(folder)
    beta = case.fraction * extremal.gauge(X, y).lower
    problem = extremal.Problem.from_data(X, y, beta=beta, bias="none")

    def best() -> extremal.Network:
        network = fit_problem(problem, tol=1e-9, time_limit=limit, proof=False).network.balance()
        if extremal.certify(network, X, y, beta=beta, time_limit=5.0).violation <= VIOLATION:
            return network
        return fit_problem(problem, tol=1e-7, time_limit=2 * limit, start=network).network.balance()

    network, _, seconds = timed(best)
    return Trained(X, y, beta, network, seconds)


def root(trained: Trained) -> Timed:
    """The bound without branching."""
    search = partial(bounds_of, tol=TOL, deadline=None, rng=np.random.default_rng(0), max_nodes=1)
    directions = trained.network.hidden
    found, wall, cpu = timed(lambda: search(Design.from_data(trained.X), trained.lam[:, None], near=directions))
    return Timed(trained.gap(found.upper), wall, cpu, found.upper / trained.beta)


def proofs(trained: Trained, limits: Sequence[float], jobs: int) -> Iterator[Timed]:
    """The gap after each limit, until a proof ends by itself."""
    for limit in limits:
        certify = partial(extremal.certify, trained.network, trained.X, trained.y, beta=trained.beta, tol=TOL)
        certificate, wall, cpu = timed(partial(certify, time_limit=limit, n_jobs=jobs))
        yield Timed(certificate.gap, wall, cpu)
        if wall < 0.8 * limit:
            return


def reference_row(trained: Trained, reference: Reference, limits: Sequence[float]) -> Row:
    """A reference in the column of the root."""
    title = REFERENCE + reference.title
    try:
        bound, wall, cpu = timed(lambda: reference.gauge(trained.X, trained.lam, max(limits)))
    except ModuleNotFoundError as error:
        return Row((title, "", "", "", f"not installed ({error.name})", *("" for _ in limits), ""))
    except NotApplicable as error:
        return Row((title, "", "", "", f"no bound: {error}", *("" for _ in limits), ""))
    entry = Timed(trained.gap(bound), wall, cpu, bound / trained.beta)
    return Row((title, "", "", "", str(entry), *("" for _ in limits), ""), (entry,))


def measure(case: Case, limits: Sequence[float], options: argparse.Namespace) -> Iterator[Row]:
    """The lines of one case."""
    try:
        trained = train(case, options.data, options.train)
    except MissingData as error:
        yield Row((case.title, "", f"not run: {error}", "", "", *("" for _ in limits), case.target))
        return
    gaps = (root(trained), *proofs(trained, limits, options.jobs))
    n, d = trained.X.shape
    seen = [str(entry) for entry in gaps]
    seen += ["ended"] * (1 + len(limits) - len(seen))
    network = f"{trained.objective:.10g}"
    yield Row((case.title, f"{n}x{d}", network, f"{trained.seconds:.2g}", *seen, case.target), gaps)
    for reference in REFERENCES if options.references else ():
        if reference.suits(trained.X, trained.lam):
            yield reference_row(trained, reference, limits)


# --- printing and drawing -----------------------------------------------------------------------------------


def heading(limits: Sequence[float]) -> list[str]:
    names = ["case, beta / beta_max", "X", "objective", "trained in, s", "root", *(f"{limit:g} s" for limit in limits)]
    return [f"| {' | '.join([*names, 'to reach'])} |", "| --- " * (len(names) + 1) + "|"]


def draw(rows: Sequence[Row], path: Path) -> None:
    """The best gap so far against wall time, a line for a case, and a mark in its colour for every reference."""
    from matplotlib import pyplot

    figure, ax = pyplot.subplots(figsize=(9, 5.5), layout="constrained")
    marks = dict(zip((reference.title for reference in REFERENCES), "v^s*P", strict=True))
    colour = "black"
    for row in (row for row in rows if row.gaps):
        entries = sorted(row.gaps, key=lambda entry: entry.wall)
        x = [entry.wall for entry in entries]
        best = np.maximum(np.minimum.accumulate([entry.gap for entry in entries]), LEAST_DRAWN)
        if row.cells[1]:
            (line,) = ax.loglog(x, best, "o-", markersize=4, drawstyle="steps-post", label=row.cells[0])
            colour = line.get_color()
        else:
            ax.loglog(x, best, marks[row.cells[0].removeprefix(REFERENCE)], color=colour, fillstyle="none")
    if any(not row.cells[1] for row in rows):
        for title, mark in marks.items():
            ax.plot([], [], mark, color="grey", fillstyle="none", label=title)
    ax.axhline(TOL, color="grey", linestyle=":", linewidth=1)
    ax.set(xlabel="seconds of proof", ylabel="proven gap", title="No network of any width is better by more than this")
    ax.legend(fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
    figure.savefig(path, dpi=80, bbox_inches="tight")
    pyplot.close(figure)


def chosen(patterns: str) -> list[Case]:
    """The cases whose titles match one of the comma-separated patterns."""
    found = [case for case in CASES if any(fnmatch(case.title, pattern) for pattern in patterns.split(","))]
    if not found:
        raise argparse.ArgumentTypeError(f"no such case; there are {', '.join(case.title for case in CASES)}")
    return found


def seconds(text: str) -> list[float]:
    """An argument type: comma-separated positive seconds, in increasing order."""
    values = sorted(float(part) for part in text.split(","))
    if not 0 < values[0] <= values[-1] < np.inf:
        raise argparse.ArgumentTypeError(f"not positive seconds: {text}")
    return values


def main() -> None:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    add = parser.add_argument
    add("--case", type=chosen, default=list(CASES), help="titles, comma-separated, with * for anything")
    add("--limits", type=seconds, default=[1.0, 10.0, 60.0], help="time limits of the proof, in seconds")
    add("--references", action="store_true", help="add the bounds of references.py where they can be computed")
    add("--train", type=float, default=30.0, help="seconds for training")
    add("--jobs", type=int, default=1, help="threads of the proof")
    add("--data", type=Path, default=Path("data"), help="folder with the CSV files")
    add("--out", type=Path, help="also write the table to this file")
    add("--picture", type=Path, help="draw gap against time into this file")
    options = parser.parse_args()
    X, y = teacher(20, 3)
    extremal.fit(X, y, beta=1.0, bias="none")  # loads the compiled kernels
    lines, rows = [machine(), *heading(options.limits)], []
    print(*lines, sep="\n")
    with threadpool_limits(1):
        for case in options.case:
            for row in measure(case, options.limits, options):
                print(row, flush=True)
                rows.append(row)
                lines.append(str(row))
                if options.out:
                    options.out.write_text("\n".join(lines) + "\n")
    if options.picture:
        draw(rows, options.picture)
        print(f"\n![the proven gap against time]({options.picture.name})")


if __name__ == "__main__":
    main()
