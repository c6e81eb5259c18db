"""`extremal reproduce`: the list of reproductions, and their runs."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from extremal.cli.report import finite
from extremal.cli.screen import ProgressLine
from extremal.reproductions import CATALOGUE
from extremal.reproductions import reproduce as run

if TYPE_CHECKING:
    from extremal.reproductions.result import Reproduction


def reproduce(names: tuple[str, ...], *, everything: bool, out: str | None, as_json: bool) -> tuple[str, bool]:
    """What is to be printed, and whether Ctrl-C came before the end.

    Without names it is the list, else the outcome of each run that came to its end, which is also written to `out`.
    """
    chosen = tuple(entry.name for entry in CATALOGUE) if everything else names
    if not chosen:
        return json.dumps([entry.name for entry in CATALOGUE]) + "\n" if as_json else listing(), False
    unknown = [name for name in chosen if name not in {entry.name for entry in CATALOGUE}]
    if unknown:
        raise ValueError(f"there is no reproduction {unknown[0]!r}; `extremal reproduce` lists them")
    if out:
        Path(out).mkdir(parents=True, exist_ok=True)  # before the work, not after
    results: list[Reproduction] = []
    with ProgressLine(as_json, f"Running {chosen[0]} ...") as line, suppress(KeyboardInterrupt):
        for name in chosen:
            line.say(f"Running {name} ({len(results) + 1} of {len(chosen)}) ...")
            results.append(run(name))
            if out:
                results[-1].save(out)
                Path(out, "README.md").write_text(page(results), encoding="utf-8")
    interrupted = len(results) < len(chosen)
    if as_json:
        return json.dumps([as_dict(result) for result in results], allow_nan=False) + "\n", interrupted
    return "".join(f"{result}\n\n" for result in results)[:-1], interrupted


def listing() -> str:
    width = max(len(entry.name) for entry in CATALOGUE)
    lines = [f"{entry.name:<{width}}  {entry.title} [{entry.source}]" for entry in CATALOGUE]
    return (
        "\n".join([*lines, "", "extremal reproduce NAME runs one; --out FOLDER writes its table and its picture"])
        + "\n"
    )


def page(results: list[Reproduction]) -> str:
    """A Markdown page: a table of all runs, and a section for each."""
    counts = ["| reproduction | source | agrees | differs | cannot be compared | seconds |", "| --- " * 6 + "|"]
    for result in results:
        found = [comparison.verdict.name for comparison in result.comparisons]
        numbers = " | ".join(str(found.count(name)) for name in ("AGREES", "DIFFERS", "INCOMPARABLE"))
        counts.append(f"| [{result.name}](#{result.name}) | {result.source} | {numbers} | {result.seconds:.0f} |")
    intro = "Printed by `extremal reproduce --all --out FOLDER`; no number is edited."
    return "\n".join(["# Reproductions", "", intro, "", *counts, "", *(result.markdown() for result in results)])


def as_dict(result: Reproduction) -> dict:
    """A reproduction for programs."""
    rows = [
        {"what": c.what, "published": c.published, "ours": c.ours, "verdict": c.verdict.value, "why": c.why}
        for c in result.comparisons
    ]
    return finite({"name": result.name, "agrees": result.agrees, "comparisons": rows, "seconds": result.seconds})
