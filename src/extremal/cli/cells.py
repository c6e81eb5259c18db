"""The command that counts, lists and samples activation patterns."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from extremal.arrangements import (
    Arrangement,
    CellCount,
    Patterns,
    TooManyCells,
    count_arrangements,
    sample_arrangements,
)
from extremal.arrangements import arrangements as arrangement_of
from extremal.cli.screen import ProgressLine, show_table
from extremal.cli.table import Table
from extremal.design import Design

if TYPE_CHECKING:
    from extremal.design import Array


@dataclass(frozen=True, eq=False)
class CellReport:
    """What was found: names and values for people, and for programs."""

    shown: dict[str, str]
    status: str
    certain: bool
    content: dict[str, Any]

    def json(self) -> str:
        """One JSON object."""
        return json.dumps(self.content, allow_nan=False)

    def show(self) -> None:
        """Print a table for people."""
        show_table(self.shown, self.status, self.certain)


def arrangements(data: str, *, quiet: bool, **options: Any) -> CellReport:
    """Count, list or sample the patterns of a CSV file."""
    table = Table.read(data).without(options["drop"])
    target = table.target(options["target"])
    features = [column for column in table.columns if column != target]
    if options["drop_missing"]:
        table = table.without_missing(features)
    X = Design.from_data(table.numbers(features), bias=options["bias"] == "penalized").dense()
    start = time.perf_counter()
    shown = {"data": f"{table.name}: {X.shape[0]} rows, {len(features)} features"}
    content = {"data": table.name, "rows": X.shape[0], "features": features, "bias": options["bias"]}
    with ProgressLine(quiet, "counting") as line:
        if options["sample"]:
            status, certain = _sample(X, shown, content, options)
        else:
            counted = count_arrangements(X) if options["count"] else None
            status, certain = _count(counted, shown, content) if counted else _list(X, shown, content, line, options)
    content["seconds"] = round(time.perf_counter() - start, 3)
    shown["time"] = f"{content['seconds']:.2f} s"
    return CellReport(shown, status, certain, content)


def _count(counted: CellCount, shown: dict[str, str], content: dict[str, Any]) -> tuple[str, bool]:
    shown["hyperplanes"] = f"{counted.hyperplanes} of rank {counted.rank}"
    shown["patterns"] = f"{counted.value}" if counted.exact else f"at most {counted.value}"
    shown["a listing"] = counted.describe().split(", ", 1)[1]
    content |= {
        "hyperplanes": counted.hyperplanes,
        "rank": counted.rank,
        "patterns": counted.value,
        "exact": counted.exact,
        "method": counted.method,
        "bytes": counted.size,
    }
    return f"{'exact' if counted.exact else 'an upper bound'}: {counted.method}", counted.exact


def _list(
    X: Array, shown: dict[str, str], content: dict[str, Any], line: ProgressLine, options: dict[str, Any]
) -> tuple[str, bool]:
    found = arrangement_of(X, limit=options["limit"])
    try:
        found.check_size()
    except TooManyCells as error:
        size = str(error).partition(";")[0]  # what follows is advice for Python
        raise ValueError(f"too many to list: {size}; --count, --sample N and --limit N help") from error
    patterns = _gathered(found, line)
    shown |= {"hyperplanes": f"{found.central.N} of rank {found.rank}", "patterns": f"{patterns.count}"}
    content |= {"hyperplanes": found.central.N, "rank": found.rank, "patterns": patterns.count, "exact": True}
    _save(options["out"], patterns, shown, content)
    return "exact: all patterns were listed", True


def _gathered(found: Arrangement, line: ProgressLine) -> Patterns:
    parts, count = [], 0
    for chunk in found.chunks():
        parts.append(chunk.bits)
        count += chunk.count
        line.say(f"{count} patterns")
    return Patterns(np.vstack(parts), found.central)


def _sample(X: Array, shown: dict[str, str], content: dict[str, Any], options: dict[str, Any]) -> tuple[str, bool]:
    sample = sample_arrangements(X, options["sample"], random_state=options["seed"], method=options["method"])
    shown["patterns"] = f"{sample.patterns.count} in {sample.draws} draws ({options['method']})"
    if sample.coverage is not None:
        shown["coverage"] = f"{sample.coverage:.2%} of all {sample.total}"
    shown["another draw"] = f"is a new pattern with chance {sample.unseen:.2g}"
    content |= {
        "patterns": sample.patterns.count,
        "exact": sample.coverage == 1.0,
        "draws": sample.draws,
        "method": options["method"],
        "unseen": sample.unseen,
        "total": sample.total,
    }
    _save(options["out"], sample.patterns, shown, content)
    return "all patterns" if sample.coverage == 1.0 else "a sample of the patterns", sample.coverage == 1.0


def _save(path: str | None, patterns: Patterns, shown: dict[str, str], content: dict[str, Any]) -> None:
    """Packed bits, the first row in the lowest bit, and the number of rows: np.unpackbits with bitorder="little"."""
    content["out"] = path
    if path:
        with open(path, "wb") as file:
            np.savez(file, bits=patterns.bits, n=patterns.n)
        shown["saved"] = path
