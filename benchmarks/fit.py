"""Training to the global optimum against what people use, as one Markdown table.

    python benchmarks/fit.py
    python benchmarks/fit.py --problems teacher,diabetes --peers lbfgs,adam --out table.md

Every method minimises  1/(2n) |f(X) - y|^2 + b sum_j |w_j| |a_j|  on one thread, and every answer is
evaluated by `Problem.objective` in float64. Seconds are CPU seconds; importing a library and the first call
of a process, which loads compiled code, are not counted. What does not run here is a row that says so.

The data sets that scikit-learn ships need nothing; the others are read from the folder given by --data, as
CSV files with a header line and the target in the last column.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import extremal
from peers import PEERS, Answer, NotApplicable, cpu_clock
from problems import DATA, MissingData, Problem, load, teacher
from processes import in_own_process
from report import machine

MAIN = ("synthetic", "teacher", "diabetes", "breast_cancer", "ionosphere", "concrete", "digits")
PENALTIES = (1e-2, 1e-3)
CHECKPOINTS = (1.0, 3.0, 6.0)


@dataclass(frozen=True)
class Row:
    """One line of the table; without an objective it is only the note."""

    method: str
    objective: float | None
    seconds: float | None
    note: str


@dataclass(frozen=True)
class Ours:
    """Our network, its CPU seconds, and the run that led to it."""

    answer: Answer
    history: Sequence[Any]
    wall_seconds: float


# --- running ------------------------------------------------------------------------------------------------


def fit_ours(problem: Problem, limit: float) -> Ours:
    """`extremal.fit` with its defaults and the time limit."""
    X, y = teacher(20, 3)
    extremal.fit(X, y, beta=1.0, bias="none", time_limit=5)  # loads the compiled kernels
    cpu, wall = cpu_clock(), time.perf_counter()
    result = extremal.fit(
        problem.X, problem.y, beta=problem.b, bias="none", sample_weight=problem.weight, time_limit=limit
    )
    cpu, wall = cpu_clock() - cpu, time.perf_counter() - wall
    proof = result.certificate
    note = f"proven gap {100 * proof.gap:.2g} %, KKT residual {proof.stationarity:.0e}, "
    note += f"{result.network.width} neurons, {result.status.name.lower().replace('_', ' ')}"
    return Ours(Answer(result.network, cpu, note), result.history, wall)


def run_peer(problem: Problem, name: str) -> Answer:
    return PEERS[name][1](problem)


def peer_row(problem: Problem, name: str, limit: float) -> Row:
    """The peer's answer, or why there is none."""
    title = PEERS[name][0]
    try:
        answer = in_own_process(limit + 10, run_peer, problem, name)  # some seconds to start the process
    except ModuleNotFoundError as error:
        return Row(title, None, None, f"not installed ({error.name})")
    except NotApplicable as error:
        return Row(title, None, None, f"not run: {error}")
    except multiprocessing.TimeoutError:
        return Row(title, None, None, f"stopped after {limit:g} s without an answer")
    return Row(title, problem.objective(answer.network), answer.cpu_seconds, answer.note)


def our_rows(problem: Problem, limit: float, target: float | None) -> Iterator[Row]:
    """When our objective first fell below the target, some checkpoints, and the end."""
    ours = in_own_process(4 * limit + 120, fit_ours, problem, limit)
    pace = ours.answer.cpu_seconds / ours.wall_seconds  # the history is in wall seconds
    if target is not None:
        below = next((record for record in ours.history if record.objective < target), None)
        if below is None:
            yield Row("extremal, below the best L-BFGS", None, None, "not reached")
        else:
            yield Row("extremal, first below the best L-BFGS", below.objective, below.time * pace, "")
    for seconds in CHECKPOINTS:
        if seconds >= ours.answer.cpu_seconds:
            break
        past = [record for record in ours.history if record.time * pace <= seconds]
        if past:
            best = min(past, key=lambda record: record.objective)
            yield Row("extremal, so far", best.objective, seconds, f"{best.neurons} neurons")
    final = problem.objective(ours.answer.network)
    reported = min(record.objective for record in ours.history)
    if reported < final * (1 - 1e-9):
        yield Row("extremal", None, None, f"the history claims {reported:.12g}, below the network's {final:.12g}")
    yield Row("**extremal**", final, ours.answer.cpu_seconds, ours.answer.note)


# --- printing -----------------------------------------------------------------------------------------------


def table(problem: Problem, rows: Sequence[Row]) -> str:
    """The rows of one problem as a Markdown table, with the excess over the lowest objective in it."""
    lowest = min((row.objective for row in rows if row.objective is not None), default=float("nan"))
    lines = ["| method | objective | above the lowest | CPU s | |", "| --- | --- | --- | --- | --- |"]
    for row in rows:
        if row.objective is None or row.seconds is None:
            lines.append(f"| {row.method} | | | | {row.note} |")
        else:
            excess = row.objective / lowest - 1
            lines.append(f"| {row.method} | {row.objective:.9f} | {excess:.1e} | {row.seconds:.2f} | {row.note} |")
    return f"### {problem}\n\n" + "\n".join(lines) + "\n"


def sections(names: Sequence[str], peers: Sequence[str], folder: Path, limit: float) -> Iterator[str]:
    """The benchmark, piece by piece, so that it can be read while it runs."""
    yield machine()
    for name in names:
        for b in PENALTIES:
            try:
                problem = load(name, b, folder)
            except MissingData as error:
                yield f"### {name}, b={b:g}\n\nNot run: {error}.\n"
                continue
            rows = [peer_row(problem, peer, limit) for peer in peers]
            target = next((row.objective for row in rows if row.method == PEERS["lbfgs"][0]), None)
            yield table(problem, [*our_rows(problem, limit, target), *rows])


def names_in(known: Sequence[str]) -> Callable[[str], list[str]]:
    """An argument type: comma-separated names, each of them known."""

    def parse(text: str) -> list[str]:
        chosen = [name for name in text.split(",") if name]
        unknown = [name for name in chosen if name not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; choose from {', '.join(known)}")
        return chosen

    return parse


def main() -> None:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    add = parser.add_argument
    add("--problems", type=names_in(list(DATA)), default=list(MAIN), help=f"of {', '.join(DATA)}")
    add("--peers", type=names_in(list(PEERS)), default=list(PEERS), help=f"of {', '.join(PEERS)}")
    add("--data", type=Path, default=Path("data"), help="folder with the CSV files")
    add("--time-limit", type=float, default=120.0, help="seconds for each method and problem")
    add("--out", type=Path, help="also write the table to this file")
    options = parser.parse_args()
    written = []
    for section in sections(options.problems, options.peers, options.data, options.time_limit):
        print(section, flush=True)
        written.append(section)
        if options.out:
            options.out.write_text("\n".join(written))


if __name__ == "__main__":
    main()
