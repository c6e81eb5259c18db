"""Gradient flow to its limit: is the limit right, how often is there a verdict, and what does it cost?

    python benchmarks/flow.py orthogonal verdicts rhs digits alignment statistics
    python benchmarks/flow.py statistics --quick --pictures docs/pictures

Every part prints Markdown. One thread; seconds are CPU seconds unless a table says otherwise, and the first
call of a process, which loads compiled code, is not counted. The data are those of `extremal.datasets`.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from extremal import FlowResult, Verdict, flow
from extremal.closed_forms import orthogonal_max_margin
from extremal.datasets import gaussian_labels, linearly_separable, orthogonally_separable, spiral, xor
from flow_descent import rhs
from flow_statistics import alignment, statistics
from flow_timing import seconds_of, warm
from report import machine, table

FAMILIES = {"gaussian": gaussian_labels, "xor": xor, "spiral": spiral, "linear": linearly_separable}
INDEFINITE = (Verdict.NOT_CONVERGED, Verdict.POLISH_FAILED, Verdict.UNDECIDED)
#: Seconds for the proof.
PROOF = 5.0
#: Every so many seeds the optimum is computed too.
EVERY = 25
#: 1/2 |theta|^2 that the digits are followed to, even where their limit is known before.
FAR = 1e5


# --- orthogonally separable data: the closed form -----------------------------------------------------------


def orthogonal(quick: bool, pictures: Path | None) -> Iterator[str]:
    """The limit against its closed form."""
    seeds = 5 if quick else 50
    rows = []
    for n, d, m in ((10, 2, 20), (20, 4, 40), (50, 10, 50)):
        runs = [closed_form_run(n, d, m, seed) for seed in range(seeds)]
        share = sum(run.verdict is Verdict.GLOBAL for run in runs)
        errors = np.array([run.errors for run in runs]).max(axis=0)
        time = float(np.median([run.seconds for run in runs]))
        rows.append([f"{n}, {d}, {m}", f"{share} of {seeds}", *(f"{error:.0e}" for error in errors), f"{time:.2f}"])
    names = ["value", "multiplier", "directions", "class shares"]
    yield table(["n, d, m", "global", *(f"error: {name}" for name in names), "median s"], rows)


@dataclass(frozen=True)
class ClosedFormRun:
    """The verdict, the errors of value, multiplier, directions and class shares, and the CPU seconds."""

    verdict: Verdict
    errors: list[float]
    seconds: float


def closed_form_run(n: int, d: int, m: int, seed: int) -> ClosedFormRun:
    X, y = orthogonally_separable(n, d, random_state=seed)
    truth = orthogonal_max_margin(X, y)
    result, seconds = seconds_of(lambda: flow(X, y, width=m, random_state=seed, proof_time=PROOF))
    ours, theirs = class_vectors(result.network), class_vectors(truth.network)
    sizes = np.linalg.norm(ours, axis=1)
    units = ours / sizes[:, None], theirs / np.linalg.norm(theirs, axis=1)[:, None]
    errors = [
        abs(result.value / truth.value - 1),
        np.abs(result.lam - truth.lam).max() / np.abs(truth.lam).max(),
        np.abs(units[0] - units[1]).max(),
        np.abs(sizes / sizes.sum() - truth.shares).max(),
    ]
    return ClosedFormRun(result.verdict, [float(error) for error in errors], seconds)


def class_vectors(network: Any) -> np.ndarray:
    """sum of |b_i| w_i over the neurons of each sign: v_+ and v_-; the positive class first."""
    output = network.output[:, 0]
    return np.array([network.hidden @ np.maximum(sign * output, 0.0) for sign in (1.0, -1.0)])


# --- verdicts -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Run:
    """One run with its data in words, its CPU seconds without an optimum, and with one (NaN if not tried)."""

    what: str
    result: FlowResult
    seconds: float
    proved: float


def verdicts(quick: bool, pictures: Path | None) -> Iterator[str]:
    """How many runs on small data end in a definite verdict."""
    seeds = 5 if quick else 50
    every = []
    head = ["family", "definite", "verdicts", "largest residual", "median s", "90 %", "median s, optimum", "90 %"]
    yield f"Times with the optimum are those of every {EVERY}th seed.\n"
    for family in FAMILIES:
        runs = [verdict_run(family, seed) for seed in range(seeds)]
        yield table(head, [verdict_row(family, runs)])
        every += runs
    yield table(head, [verdict_row("all", every)])
    slow = sorted(every, key=lambda run: -run.seconds)[:5]
    yield table(["slowest", "s", "verdict"], [[r.what, f"{r.seconds:.1f}", r.result.verdict.name] for r in slow])
    vague = [run for run in every if run.result.verdict in INDEFINITE]
    yield table(["without a definite verdict", "what is said"], [[run.what, run.result.sentence] for run in vague])


def verdict_run(family: str, seed: int) -> Run:
    rng = np.random.default_rng(seed)
    n, d, m = int(rng.integers(6, 51)), int(rng.integers(2, 6)), int(rng.integers(10, 51))
    X, y = FAMILIES[family](n, d, random_state=seed)

    def run(proof_time: float) -> tuple[FlowResult, float]:
        return seconds_of(lambda: flow(X, y, width=m, random_state=seed, proof_time=proof_time, time_limit=60))

    result, seconds = run(0.0)
    proved = run(PROOF)[1] if seed % EVERY == 0 else np.nan
    return Run(f"{family} n={n} d={d} m={m} seed {seed}", result, seconds, proved)


def verdict_row(name: str, runs: list[Run]) -> list[str]:
    counts = Counter(run.result.verdict for run in runs)
    vague = sum(counts[verdict] for verdict in INDEFINITE)
    residuals = [r.result.residual for r in runs if r.result.verdict in (Verdict.GLOBAL, Verdict.NOT_GLOBAL)]
    said = ", ".join(f"{count} {verdict.name}" for verdict, count in counts.most_common())
    times = []
    for seconds in ([run.seconds for run in runs], [run.proved for run in runs]):
        times += [f"{np.nanmedian(seconds):.2f}", f"{np.nanquantile(seconds, 0.9):.2f}"]
    share = f"{len(runs) - vague} of {len(runs)}"
    return [name, share, said, f"{max(residuals, default=np.nan):.0e}", *times]


# --- digits -------------------------------------------------------------------------------------------------


def digits(quick: bool, pictures: Path | None) -> Iterator[str]:
    """The digits of scikit-learn, 8 x 8 pixels in 0..1, centred."""
    cases = [((3,), (8,), 100, 20, 60.0), ((3,), (8,), None, 50, 150.0)]
    if not quick:
        cases.append(((1, 3), (5, 7, 8, 9), 1000, 100, 400.0))
    head = ["digits +, -", "n, m", "wall s", "CPU s", "log10 r^2", "right-hand sides", "events", "what is said"]
    for case in cases:
        yield table(head, [digits_row(*case)])


def digits_row(plus: tuple[int, ...], minus: tuple[int, ...], n: int | None, m: int, limit: float) -> list[str]:
    from sklearn.datasets import load_digits

    data = load_digits()
    rows = np.flatnonzero(np.isin(data.target, plus + minus))[:n]
    X = data.data[rows] / 16.0
    y = np.where(np.isin(data.target[rows], plus), 1.0, -1.0)
    result, seconds = seconds_of(lambda: flow(X - X.mean(0), y, width=m, until=FAR, time_limit=limit, proof_time=20.0))
    size = np.log10(result.trajectory.half_norm2[-1])
    names = ", ".join(map(str, plus)), ", ".join(map(str, minus))
    return [
        " / ".join(names), f"{len(y)}, {m}", f"{result.seconds:.1f}", f"{seconds:.1f}", f"{size:.1f}",
        str(result.evaluations), str(result.trajectory.events.size), result.sentence,
    ]  # fmt: skip


# --- all of it ----------------------------------------------------------------------------------------------

#: The parts by name, with their titles.
PARTS: dict[str, tuple[str, Callable[[bool, Path | None], Iterator[str]]]] = {
    "orthogonal": ("Orthogonally separable data, against the closed form", orthogonal),
    "verdicts": ("Verdicts on small data", verdicts),
    "rhs": ("Right-hand sides to a gap of 1e-6", rhs),
    "digits": ("Digits", digits),
    "alignment": ("Alignment", alignment),
    "statistics": ("How often the flow ends globally", statistics),
}


def main() -> None:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], default=list(PARTS))
    parser.add_argument("--quick", action="store_true", help="few seeds: minutes instead of an hour")
    parser.add_argument("--pictures", type=Path, help="folder for the pictures of alignment and statistics")
    options = parser.parse_args()
    print(machine(), flush=True)
    with threadpool_limits(1):
        warm()
        for name in options.parts:
            title, part = PARTS[name]
            print(f"### {title}\n", flush=True)
            for section in part(options.quick, options.pictures):
                print(section, flush=True)


if __name__ == "__main__":
    main()
