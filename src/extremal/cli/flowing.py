"""The command that follows gradient flow from many starts."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from extremal.cli.commands import scaling, target_scaling
from extremal.cli.report import finite
from extremal.cli.reporting import write
from extremal.cli.screen import ProgressLine, show_rows, show_table
from extremal.cli.table import Table
from extremal.design import Design
from extremal.flow import FlowResult, Moment, Verdict
from extremal.flow.course import Ending
from extremal.flow.starts import FlowStatistics, flows, name_of
from extremal.training.constrained import impossible

if TYPE_CHECKING:
    from extremal.design import Array

#: The sentences of so many starts are printed.
SHOWN = 5
#: Columns whose sizes differ by this factor are worth a word.
UNEVEN = 100.0


@dataclass(frozen=True, eq=False)
class FlowReport:
    """The verdicts, and where they came from."""

    table: Table
    features: list[str]
    target: str
    classes: list[str]
    options: dict[str, Any]
    statistics: FlowStatistics
    seconds: float
    files: list[str]
    notes: list[str]

    @property
    def interrupted(self) -> bool:
        return self.statistics.interrupted

    @property
    def out_of_time(self) -> bool:
        """Whether a start was stopped by the time limit before its verdict."""
        return any(
            result.ending is Ending.TIME_LIMIT and result.verdict is Verdict.NOT_CONVERGED
            for result in self.statistics.results
        )

    def json(self) -> str:
        """Everything as one JSON object; a number that is not finite is null."""
        found = self.statistics
        content = {
            "data": self.table.name,
            "rows": len(self.table.cells),
            "features": self.features,
            "target": self.target,
            "classes": dict(zip(("-1", "+1"), self.classes, strict=False)),
            **{name: self.options[name] for name in ("loss", "bias", "method", "width", "init", "standardize")},
            "runs": [facts(seed, result) for seed, result in zip(found.seeds, found.results, strict=True)],
            "counts": {name_of(verdict): count for verdict, count in found.counts.items()},
            "best": found.best,
            "bound": found.lower,
            "sentence": found.sentence,
            "interrupted": self.interrupted,
            "seconds": round(self.seconds, 3),
            "files": self.files,
        }
        return json.dumps(finite(content), allow_nan=False)

    def show(self) -> None:
        """Print a table for people."""
        found, options = self.statistics, self.options
        method = "gradient flow" if options["method"] == "flow" else options["method"]
        head = {
            "data": f"{self.table.name}: {len(self.table.cells)} rows, {len(self.features)} features",
            "target": f"{self.target} ({_described(self.classes)}, {options['loss']} loss)",
            "method": f"{method}, {options['width']} neurons, start of scale {options['init']:g}",
        }
        foot = {
            "best network": f"{found.best:.9g}" if np.isfinite(found.best) else "none of these fits the labels",
            "proven bound": f"{found.lower:.9g}",
            "time": f"{self.seconds:.2f} s",
        }
        if self.files:
            place = "" if is_page(options["report"]) else f" in {options['report']}"
            foot["written"] = f"{', '.join(self.files)}{place}"
        status = found.sentence[0].upper() + found.sentence[1:] + "."
        if self.interrupted:
            status = f"Interrupted after {len(found.seeds)} of {options['seeds']} starts. {status}"
        certain = found.counts[Verdict.GLOBAL] == len(found.results)
        show_rows(head)
        click.echo(f"\n{found.table}\n")
        show_table(foot, status, certain, [*self._told, *self.notes])

    @property
    def _told(self) -> list[str]:
        """What the table cannot say of starts without a limit."""
        starts: dict[str, list[str]] = {}
        for seed, result in zip(self.statistics.seeds, self.statistics.results, strict=True):
            if result.verdict not in (Verdict.GLOBAL, Verdict.NOT_GLOBAL):
                starts.setdefault(result.sentence, []).append(str(seed))
        told = [f"seed{'s' * (len(seeds) > 1)} {', '.join(seeds)}: {text}" for text, seeds in starts.items()]
        more = [f"of {len(told) - SHOWN} more, the report and --json tell"] if len(told) > SHOWN else []
        counted = ["rows are counted from 0, without the header"] if any(" row" in text for text in starts) else []
        return [*told[:SHOWN], *more, *counted]


def flow(data: str, *, quiet: bool, **options: Any) -> FlowReport:
    """Follow the flow on a CSV file from several starts, and write what was asked for."""
    table = Table.read(data).without(options["drop"])
    target = table.target(options["target"])
    features = [column for column in table.columns if column != target]
    if options["drop_missing"]:
        table = table.without_missing(table.columns)
    X = table.numbers(features)
    y, classes = _targets(table, target, options)
    centre, scale = scaling(X, options["standardize"])
    X = (X - centre) / scale
    if classes:
        _refuse_impossible(X, y, options["bias"] == "penalized")
    written = Path(options["report"]) if options["report"] else None
    if written and not is_page(options["report"]):
        written.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    with ProgressLine(quiet, "getting ready (after an installation some code is compiled, once)") as line:
        watch = _Watch(line.say, options["seeds"])
        statistics = flows(
            X,
            y,
            seeds=range(options["seed"], options["seed"] + options["seeds"]),
            progress=watch.moment,
            each=watch.done,
            **{name: options[name] for name in _HANDED_ON},
        )
        seconds = time.perf_counter() - start
        line.say("drawing")
        files = _write(statistics, written, _Page(X, y, features, classes, target)) if written else []
    notes = [] if options["standardize"] else _uneven(X, features)
    return FlowReport(table, features, target, classes, options, statistics, seconds, files, notes)


_HANDED_ON = ("width", "init", "loss", "bias", "method", "step", "max_steps", "time_limit", "proof_time")


class _Watch:
    """What is being done, as a line: which start, how the others ended, and where this one is."""

    def __init__(self, say: Callable[[str], None], total: int) -> None:
        self.say, self.total = say, total
        self.ended: list[str] = []

    def moment(self, moment: Moment) -> None:
        self.say(f"start {len(self.ended) + 1} of {self.total}{self._tally()}, {moment}")

    def done(self, seed: int, result: FlowResult) -> None:
        self.ended.append(name_of(result.verdict))

    def _tally(self) -> str:
        counts = [f"{self.ended.count(name)} {name}" for name in dict.fromkeys(self.ended)]
        return f" ({', '.join(counts)})" if counts else ""


def facts(seed: int, result: FlowResult) -> dict[str, Any]:
    """A run in plain numbers."""
    return {
        "seed": seed,
        "verdict": name_of(result.verdict),
        "value": result.value,
        "excess": result.excess,
        "gauge": result.gauge.upper if result.gauge is not None else float("nan"),
        "lower": result.lower,
        "upper": result.upper,
        "residual": result.residual,
        "neurons": result.network.width,
        "tau": float(result.trajectory.time[-1]),
        "events": int(result.trajectory.events.size),
        "evaluations": result.evaluations,
        "seconds": round(result.seconds, 4),
        "sentence": result.sentence,
    }


def _targets(table: Table, target: str, options: dict[str, Any]) -> tuple[Array, list[str]]:
    """Labels -1/+1 and the two classes that they stand for; or numbers, and no classes."""
    table.refuse_missing([target])
    numeric = table.is_numeric(target)
    if options["loss"] == "squared":
        if not numeric:
            raise ValueError(f"column {target!r} holds words, and loss 'squared' is for numbers")
        y = table.numbers([target])[:, 0]
        centre, scale = target_scaling(y, options["standardize"])
        return (y - centre) / scale, []
    cells = table.numbers([target])[:, 0] if numeric else table.text(target)
    classes = np.unique(cells)
    names = [f"{value:g}" if numeric else str(value) for value in classes[:6]]
    if len(classes) != 2:
        listed = ", ".join(names) + (", ..." if len(classes) > 6 else "")
        kind = "one class only" if len(classes) == 1 else f"{len(classes)} different values"
        raise ValueError(f"column {target!r} has {kind} ({listed}); the flow is that of two classes")
    return np.where(cells == classes[1], 1.0, -1.0), names


def _refuse_impossible(X: Array, y: Array, bias: bool) -> None:
    """Say at once what every start would end with."""
    proof = impossible(Design.from_data(X, bias=bias).dense(), y, bias=bias)
    if proof is None:
        return
    rows = np.flatnonzero(proof.lam)
    listed = " and ".join(map(str, rows[:6]))
    which = f"row {listed} is zero" if len(rows) == 1 else f"rows {listed} point the same way, with different labels"
    raise ValueError(f"no network of any width fits these labels: {which} (counted from 0, without the header)")


def _uneven(X: Array, features: list[str]) -> list[str]:
    """A hint where some columns weigh nothing beside others."""
    size = np.abs(X).max(axis=0)
    small, large = int(np.argmin(np.where(size > 0, size, np.inf))), int(np.argmax(size))
    if not size[large] > UNEVEN * size[small] > 0:
        return []
    return [
        f"column {features[large]!r} is {size[large] / size[small]:.0f} times as large as {features[small]!r}; "
        "with --standardize all columns count alike"
    ]


def _described(classes: list[str]) -> str:
    if not classes:
        return "numbers"
    return "-1 or +1" if classes == ["-1", "1"] else f"-1 is {classes[0]}, +1 is {classes[1]}"


def is_page(path: str | None) -> bool:
    """Whether a page alone is asked for, and not a folder."""
    return path is not None and path.lower().endswith((".html", ".htm"))


@dataclass(frozen=True, eq=False)
class _Page:
    """What the page says beyond the runs."""

    X: Array
    y: Array
    features: list[str]
    classes: list[str]
    target: str

    def write(self, statistics: FlowStatistics, path: Path) -> str:
        write(
            str(path), statistics, self.X, self.y, feature_names=self.features, class_names=self.classes or None,
            title=f"{self.target}: where gradient flow ends up", random_state=_best(statistics)[0],
        )  # fmt: skip
        return path.name


def _best(statistics: FlowStatistics) -> tuple[int, FlowResult]:
    """The run of the smallest value, with its seed."""
    runs = zip(statistics.seeds, statistics.results, strict=True)
    return min(runs, key=lambda run: run[1].value)


def _write(statistics: FlowStatistics, path: Path, page: _Page) -> list[str]:
    """The page; into a folder also the verdicts, and the record and pictures of the best run."""
    if is_page(str(path)):
        return [page.write(statistics, path)]
    return [*_write_folder(statistics, path), *_write_page(statistics, path, page)]


def _write_page(statistics: FlowStatistics, folder: Path, page: _Page) -> list[str]:
    """The page in a folder, where plotly is there to draw it."""
    try:
        return [page.write(statistics, folder / "report.html")]
    except ImportError:
        return []


def _write_folder(statistics: FlowStatistics, folder: Path) -> list[str]:
    """The verdicts, and the record and pictures of the best run."""
    import csv

    rows = [facts(seed, result) for seed, result in zip(statistics.seeds, statistics.results, strict=True)]
    with open(folder / "verdicts.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    best = _best(statistics)[1]
    best.trajectory.save(folder / "best.npz")
    return ["verdicts.csv", "best.npz", *_draw(best, statistics, folder)]


def _draw(best: FlowResult, statistics: FlowStatistics, folder: Path) -> list[str]:
    """The dashboard; in two and three dimensions a film."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    from extremal import plotting

    limit = np.isfinite(best.residual)
    figure = plotting.plot_flow(
        best.trajectory,
        lam=best.lam if limit else None,
        value=best.value if limit else None,
        optimum=statistics.best if statistics.best <= statistics.lower * (1 + 1e-6) else None,
    )
    figure.savefig(folder / "best.png", dpi=100)
    pyplot.close(figure)
    if best.trajectory.X.shape[1] not in (2, 3):
        return ["best.png"]
    plotting.animate(best.trajectory, folder / "best.gif", fps=12, seconds=5.0, dpi=70)
    return ["best.png", "best.gif"]
