"""A race: objective against CPU time for everyone, on real data, with the proven lower bound.

    python benchmarks/race.py --raw race.json --pictures pictures
    python benchmarks/race.py --from race.json --pictures pictures
    python benchmarks/race.py --problems diabetes,sonar --fractions .1 --seconds 3 --raw race.json

Everyone minimises  1/(2n) |f(X) - y|^2 + b sum_j |w_j| |a_j|  on one thread, b a fraction of the smallest penalty
at which the zero network is optimal. Every setting of every method has --seconds CPU seconds, ours, which has one
setting, with its proof included. The lower bound is then searched for --proof wall seconds more, which do not count.

Prints Markdown; keeps all curves in the file --raw, problem by problem, from which pages are made again with --from.
What that file holds already is replaced where it is measured again, and kept otherwise.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import replace
from multiprocessing import TimeoutError as TookTooLong
from pathlib import Path
from typing import Any

import numpy as np

import extremal
import race_page
import race_results
from fit import names_in
from problems import REAL, MissingData, Problem, Split
from processes import in_own_process
from race_results import OURS, Entry, Outcome, envelope
from racers import METHODS, OurWatch, Watch, warm_ours
from report import machine

#: Nine real data sets: four regressions and five pairs of classes, ranks 4 to 62.
MAIN = ("diabetes", "concrete", "yacht", "energy", "breast_cancer", "ionosphere", "sonar", "banknote", "digits")
#: From a penalty with a few neurons and a closed gap to one as small as cross-validation likes it.
FRACTIONS = (0.3, 0.1, 0.01)


# --- one problem --------------------------------------------------------------------------------------------


def penalty(name: str, fraction: float, folder: Path) -> float:
    """A fraction of the largest value of g(y) that is attained, to three digits; 1/n is in the weights."""
    split = REAL[name](folder)
    found = extremal.gauge(split.X, split.y, time_limit=5.0)
    return float(f"{fraction * found.lower / split.y.size:.3g}")


def peer_outcome(name: str, b: float, method: str, seconds: float, folder: Path) -> Outcome:
    """All runs of one peer."""
    split = REAL[name](folder)
    METHODS[method].warm()
    return outcome(METHODS[method].race(Problem(name, split.X, split.y, b), seconds), split)


def outcome(watches: dict[str, Watch], split: Split) -> Outcome:
    best = min(watches.values(), key=lambda watch: watch.best)
    return Outcome(
        envelope(watch.points for watch in watches.values()),
        {setting: watch.best if watch.network else None for setting, watch in watches.items()},
        None if best.network is None else split.score(best.network.predict(split.X_test)[:, 0]),
        {setting: watch.note for setting, watch in watches.items() if watch.note},
    )


def our_entry(name: str, fraction: float, b: float, seconds: float, proof: float, folder: Path) -> Entry:
    """Ours, the lower bound during the race and after a longer proof, and simple models."""
    split = REAL[name](folder)
    problem = Problem(name, split.X, split.y, b)
    warm_ours()
    seen = OurWatch(Watch(problem, seconds))
    result = seen.fit()
    return Entry(
        name, *split.X.shape, split.y_test.size, split.classes, fraction, b, seconds, proof, machine(),
        {OURS: outcome({"its defaults": seen.watch}, split)},
        seen.bounds, max(seen.bounds[-1][1], longer_bound(problem, result.network, proof)), result.network.width,
        baselines(split),
    )  # fmt: skip


def longer_bound(problem: Problem, network: extremal.Network, seconds: float) -> float:
    if seconds <= 0:
        return 0.0
    certificate = extremal.certify(
        network, problem.X, problem.y, beta=problem.b, sample_weight=problem.weight, time_limit=seconds
    )
    return certificate.dual


def baselines(split: Split) -> dict[str, float]:
    """Test scores of models without hidden neurons, their penalty chosen by cross-validation, and of a constant."""
    from sklearn.linear_model import LogisticRegression, RidgeCV
    from sklearn.model_selection import GridSearchCV

    if not split.classes:
        ridge = RidgeCV(np.logspace(-4, 4, 17)).fit(split.X, split.y)
        mean = np.full(split.y_test.size, split.y.mean())
        return {"ridge": split.score(ridge.predict(split.X_test)), "constant": split.score(mean)}
    grid = GridSearchCV(LogisticRegression(max_iter=10_000), {"C": np.logspace(-3, 5, 17)})
    logistic = grid.fit(split.X, split.y)
    larger = np.full(split.y_test.size, np.sign(split.y.mean()))
    return {"logistic": split.score(logistic.predict(split.X_test)), "constant": split.score(larger)}


# --- all of them --------------------------------------------------------------------------------------------


def race(name: str, fraction: float, pool: Executor, options: argparse.Namespace) -> Entry:
    """One problem, every method in a process of its own when the pool has room for it."""
    folder, seconds, proof = options.data, options.seconds, options.proof
    REAL[name](folder)  # raises what is missing here
    b = pool.submit(in_own_process, 120, penalty, name, fraction, folder).result()
    limit = 4 * seconds + 2 * proof + 120
    ours = pool.submit(in_own_process, limit, our_entry, name, fraction, b, seconds, proof, folder)
    theirs = {peer: pool.submit(patient, name, b, peer, seconds, folder) for peer in options.peers}
    entry = ours.result()
    return replace(entry, outcomes={**entry.outcomes, **{peer: run.result() for peer, run in theirs.items()}})


def patient(name: str, b: float, peer: str, seconds: float, folder: Path) -> Outcome:
    """A peer's outcome; nothing if it goes on long after its time."""
    limit = 3 * seconds * len(METHODS[peer].runs) + 120
    try:
        return in_own_process(limit, peer_outcome, name, b, peer, seconds, folder)
    except TookTooLong:
        return Outcome([], {}, None, {"all": f"stopped after {limit:g} s"})


def measured(options: argparse.Namespace) -> Iterator[Entry]:
    """The problems, as they end."""
    began = time.monotonic()
    jobs = [(name, fraction) for name in options.problems for fraction in options.fractions]

    def run(job: tuple[str, float]) -> Entry | str:
        try:
            return race(*job, pool, options)
        except MissingData as error:
            return f"{job[0]}: not run: {error}"
        except TookTooLong:
            return f"{job[0]}, {job[1]:g} beta_max: stopped long after its time"

    with ThreadPoolExecutor(options.jobs) as pool, ThreadPoolExecutor(len(jobs)) as problems:
        for done, answer in enumerate(problems.map(run, jobs), start=1):
            what = answer if isinstance(answer, str) else answer.title
            print(f"[{done} of {len(jobs)}, {time.monotonic() - began:.0f} s] {what}", file=sys.stderr, flush=True)
            if isinstance(answer, Entry):
                yield answer


def merged(old: Sequence[Entry], new: Entry) -> list[Entry]:
    """The entries with a new one, in the order of the problems."""
    order = {name: k for k, name in enumerate(dict.fromkeys([*MAIN, *REAL]))}
    entries = {entry.key: entry for entry in [*old, new]}
    return sorted(entries.values(), key=lambda entry: (order[entry.problem], -entry.fraction))


def fractions(text: str) -> list[float]:
    """An argument type: comma-separated numbers between 0 and 1."""
    values = [float(part) for part in text.split(",")]
    if not all(0 < value < 1 for value in values):
        raise argparse.ArgumentTypeError(f"not fractions of beta_max: {text}")
    return values


def arguments(given: Sequence[str] | None = None) -> Any:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    add = parser.add_argument
    add("--problems", type=names_in(list(REAL)), default=list(MAIN), help=f"of {', '.join(REAL)}")
    add("--fractions", type=fractions, default=list(FRACTIONS), help="of beta_max, comma-separated")
    add("--peers", type=names_in(list(METHODS)), default=list(METHODS), help=f"of {', '.join(METHODS)}")
    add("--seconds", type=float, default=10.0, help="for every setting of every method")
    add("--proof", type=float, default=30.0, help="more seconds for the lower bound, after the race")
    add("--jobs", type=int, default=1, help="methods at a time, each on one thread")
    add("--data", type=Path, default=Path("data"), help="folder with the CSV files")
    add("--raw", type=Path, help="keep all curves in this file")
    add("--from", type=Path, dest="source", help="measure nothing; read the curves of this file")
    add("--pictures", type=Path, help="folder for the pictures")
    return parser.parse_args(given)


def main() -> None:
    options = arguments()
    if options.source:
        entries = race_results.load(options.source)
    else:
        entries = race_results.load(options.raw) if options.raw and options.raw.exists() else []
        for entry in measured(options):
            entries = merged(entries, entry)
            if options.raw:
                race_results.save(entries, options.raw)
    for section in race_page.sections(entries, options.pictures):
        print(section)


if __name__ == "__main__":
    main()
