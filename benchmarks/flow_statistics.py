"""Two questions about small starts: do the neurons align first, and how often is the end not the global optimum?"""

from __future__ import annotations

import multiprocessing
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from extremal import Trajectory, Verdict, flow, max_margin
from extremal.datasets import gaussian_labels, linearly_separable, orthogonally_separable, spiral, xor
from extremal.flow.integrate import Flow
from extremal.flow.state import random_start
from extremal.flow.trajectory import Recorder
from flow_timing import warm
from report import table

FAMILIES = {
    "orthogonal": orthogonally_separable,
    "linear": linearly_separable,
    "gaussian": gaussian_labels,
    "xor": xor,
    "spiral": spiral,
}
WIDTHS, SCALES, ROWS, DIMENSIONS = (5, 10, 20, 40), (1e-1, 1e-3, 1e-6), (8, 15), (2, 3)
#: Seconds for a run and for a proof.
LIMIT, PROOF = 20.0, 5.0
#: Seconds after which no more runs are waited for.
BUDGET = 3600.0

#: The start scales |W|_F of the alignment theorem, its data, and the distance at which a row counts as tied.
STARTS = tuple(10.0**-k for k in range(1, 9))
ALIGNING: dict[str, tuple[Callable[..., Any], int, int]] = {
    "orthogonal 20x10": (orthogonally_separable, 20, 10),
    "Gaussian 20x10": (gaussian_labels, 20, 10),
    "XOR 20x3": (xor, 20, 3),
}
TIED = 1e-9


# --- alignment ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Alignment:
    """1 - cos at the moment |W|_F = sqrt(its start): the best neuron of the worse sign and the median neuron.

    `ever`, `best` and `median` are with D = diag 1(x_k . v > 0), the first the best of all moments so far; `best_tied`
    and `median_tied` are with the multipliers that keep sliding neurons on their hyperplanes; `sliding` is the share of
    neurons on one.
    """

    ever: float
    best: float
    median: float
    best_tied: float
    median_tied: float
    sliding: float

    @classmethod
    def of(cls, record: Trajectory) -> Alignment:
        signs = record[0].state.signs
        strict, tied, slides = misalignments(record, -1)
        both = [signs == 1, signs == -1]
        everything = np.array([misalignments(record, k)[0] for k in range(len(record))])
        return cls(
            max(float(everything[:, own].min()) for own in both),
            max(float(strict[own].min()) for own in both),
            float(np.median(strict)),
            max(float(tied[own].min()) for own in both),
            float(np.median(tied)),
            float(slides.mean()),
        )


def misalignments(record: Trajectory, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """1 - cos(v_i, s_i X^T D y), the same projected along the hyperplanes of the ties, and who has ties.

    Where no row that is on pulls, the cosine counts as 0: that neuron does not move.
    """
    X, y, state = record.X, record.y, record[k].state
    products = state.directions @ X.T
    ties = np.abs(products) <= TIED * np.linalg.norm(X, axis=1)
    pulls = state.signs[:, None] * (((products > 0) & ~ties) * y @ X)
    projected = np.array([along(pull, X[tie]) for pull, tie in zip(pulls, ties, strict=True)])
    return one_minus_cos(state.directions, pulls), one_minus_cos(state.directions, projected), ties.any(axis=1)


def along(pull: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """The pull without its components along the normals."""
    return pull - np.linalg.pinv(normals) @ (normals @ pull) if len(normals) else pull


def one_minus_cos(V: np.ndarray, G: np.ndarray) -> np.ndarray:
    """1 - v . g / |g| = |v - g / |g||^2 / 2, without cancellation; v are unit vectors."""
    size = np.linalg.norm(G, axis=1)
    moves = size > 1e-12
    units = G / np.where(moves, size, 1.0)[:, None]
    return np.where(moves, 0.5 * np.square(V - units).sum(axis=1), 1.0)


def aligned(family: str, scale: float, seed: int) -> Alignment:
    """The alignment of a run from |W|_F = scale on its way to one, at the geometric mean of the two."""
    make, n, d = ALIGNING[family]
    X, y = make(n, d, random_state=seed)
    X = X / np.linalg.norm(X, axis=1).mean()
    start = random_start(d, 40, scale / np.sqrt(40), np.random.default_rng(seed))
    recorder = Recorder(rows=n)
    run = Flow(X, y, "logistic", start, tol=1e-8, recorder=recorder)
    while np.exp(2 * run.state.log_norms).sum() < scale:  # |W|_F^2
        run.advance()
    return Alignment.of(recorder.finish(X, y, loss="logistic", method="flow", bias=False))


def alignment(quick: bool, pictures: Path | None) -> Iterator[str]:
    """1 - cos(w_i, s X^T D y) against the scale of the start."""
    seeds = 2 if quick else 5
    found = {
        (family, scale): median_of([aligned(family, scale, seed) for seed in range(seeds)])
        for family, scale in product(ALIGNING, STARTS)
    }
    head = ["data", "start", "best, any time", "best", "median", "best, ties", "median, ties", "on a hyperplane"]
    rows = [
        [family, f"{scale:.0e}", *(f"{value:.1e}" for value in numbers[:5]), f"{100 * numbers[5]:.0f} %"]
        for (family, scale), numbers in found.items()
    ]
    yield f"Medians over {seeds} data sets, 40 neurons; 'best' is of the worse of the two signs.\n"
    yield table(head, rows)
    if pictures is not None:
        draw_alignment(found, pictures / "flow-alignment.png")


def median_of(found: Sequence[Alignment]) -> np.ndarray:
    return np.median([astuple(one) for one in found], axis=0)


def draw_alignment(found: dict[tuple[str, float], np.ndarray], path: Path) -> None:
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, len(ALIGNING), figsize=(11, 3.6), sharey=True, layout="constrained")
    styles = [
        ("best", "C0", "-"),
        ("median", "C1", "-"),
        ("best, with ties", "C0", ":"),
        ("median, with ties", "C1", ":"),
    ]
    for ax, family in zip(panels, ALIGNING, strict=True):
        for j, (label, colour, dashes) in enumerate(styles):
            values = [found[family, scale][j + 1] for scale in STARTS]
            ax.loglog(STARTS, values, dashes, color=colour, marker="o", markersize=3, label=label)
        ax.set_title(family, fontsize="medium")
        ax.set_xlabel("|W| of the start")
        ax.invert_xaxis()
        ax.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("1 - cos(w, s Xᵀ D y)")
    panels[0].legend(frameon=False, fontsize="small")
    figure.savefig(path, dpi=90)
    pyplot.close(figure)


# --- how often is the end not global? -----------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """One run: its data and start, and how it ended."""

    family: str
    n: int
    d: int
    width: int
    scale: float
    verdict: Verdict
    excess: float


def outcomes(job: tuple[str, int, int, int]) -> list[Outcome]:
    """All widths and scales on one data set, whose optimum is computed once."""
    family, n, d, seed = job
    X, y = FAMILIES[family](n, d, random_state=1000 + seed)
    optimum = max_margin(X, y, time_limit=2 * PROOF)
    found = []
    for width, scale in product(WIDTHS, SCALES):
        result = flow(
            X, y, width=width, init=scale, optimum=optimum, random_state=seed, time_limit=LIMIT, proof_time=PROOF
        )
        found.append(Outcome(family, n, d, width, scale, result.verdict, result.excess))
    return found


def prepare() -> None:
    threadpool_limits(1)
    warm()


def statistics(quick: bool, pictures: Path | None) -> Iterator[str]:
    """How often the flow ends globally, by family, width, start and data."""
    seeds = 1 if quick else 6
    jobs = [(f, n, d, seed) for seed, f, n, d in product(range(seeds), FAMILIES, ROWS, DIMENSIONS)]
    began = time.monotonic()
    every: list[Outcome] = []
    with multiprocessing.get_context("spawn").Pool(2, prepare) as pool:
        for found in pool.imap_unordered(outcomes, jobs):
            every += found
            if time.monotonic() - began > BUDGET:
                break
    sets = len(every) // (len(WIDTHS) * len(SCALES))
    yield f"{len(every)} runs on {sets} data sets in {time.monotonic() - began:.0f} s, two processes.\n"
    head = ["", "runs", "global", "not global", "median excess", "largest", "stalled", "no verdict"]
    fixed: tuple[tuple[str, Sequence[Any]], ...] = (
        ("family", list(FAMILIES)), ("width", WIDTHS), ("scale", SCALES), ("n", ROWS), ("d", DIMENSIONS),
    )  # fmt: skip
    lines = [
        outcome_row(f"{name} {value}", [run for run in every if getattr(run, name) == value])
        for name, values in fixed
        for value in values
    ]
    yield table(head, [*lines, outcome_row("all", every)])
    yield "Not global, or stalled, of all runs, in percent, by width:\n"
    yield table(["family", "start", *(f"width {w}" for w in WIDTHS)], list(grid_rows(every)))
    if pictures is not None:
        draw_statistics(every, pictures / "flow-statistics.png")


def outcome_row(name: str, runs: Sequence[Outcome]) -> list[str]:
    counts = Counter(run.verdict for run in runs)
    worse = [run.excess for run in runs if run.verdict is Verdict.NOT_GLOBAL]
    decided = (Verdict.GLOBAL, Verdict.NOT_GLOBAL, Verdict.STALLED)
    excess = [f"{100 * np.median(worse):.2g} %", f"{100 * max(worse):.3g} %"] if worse else ["", ""]
    numbers = [len(runs), counts[Verdict.GLOBAL], counts[Verdict.NOT_GLOBAL]]
    vague = len(runs) - sum(counts[verdict] for verdict in decided)
    return [name, *map(str, numbers), *excess, str(counts[Verdict.STALLED]), str(vague)]


def share(runs: Sequence[Outcome], verdict: Verdict) -> float:
    return 100 * float(np.mean([run.verdict is verdict for run in runs]))


def chosen(every: Sequence[Outcome], family: str, scale: float, width: int) -> list[Outcome]:
    return [run for run in every if (run.family, run.scale, run.width) == (family, scale, width)]


def grid_rows(every: Sequence[Outcome]) -> Iterator[list[str]]:
    for family, scale in product(FAMILIES, SCALES):
        cells = [chosen(every, family, scale, width) for width in WIDTHS]
        shown = [f"{share(runs, Verdict.NOT_GLOBAL):.0f}, {share(runs, Verdict.STALLED):.0f}" for runs in cells]
        yield [family, f"{scale:.0e}", *shown]


def draw_statistics(every: Sequence[Outcome], path: Path) -> None:
    from matplotlib import pyplot

    kinds = [(Verdict.GLOBAL, "global", "#009E73"), (Verdict.NOT_GLOBAL, "not global", "#E69F00"),
             (Verdict.STALLED, "stalled", "#999999")]  # fmt: skip
    figure, panels = pyplot.subplots(1, len(FAMILIES), figsize=(12, 3.6), sharey=True, layout="constrained")
    for ax, family in zip(panels, FAMILIES, strict=True):
        for (i, width), (j, scale) in product(enumerate(WIDTHS), enumerate(SCALES)):
            runs, bottom = chosen(every, family, scale, width), 0.0
            for verdict, label, colour in kinds:
                height = share(runs, verdict)
                first = label if (i, j) == (0, 0) else None
                ax.bar(i + 0.28 * (j - 1), height, 0.25, bottom=bottom, color=colour, label=first)
                bottom += height
        ax.set_xticks(range(len(WIDTHS)), [str(width) for width in WIDTHS])
        ax.set_xlabel("width")
        ax.set_title(family, fontsize="medium")
        ax.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("runs, %")
    scales = ", ".join(f"{scale:.0e}" for scale in SCALES)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    figure.suptitle(f"Where the flow ends; the three bars of a width: start scale {scales}", fontsize="medium")
    figure.savefig(path, dpi=90)
    pyplot.close(figure)
