"""The page of the race: tables, and sentences that are computed from the numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from race_pictures import draw
from race_results import OURS, SAME, Entry
from racers import METHODS
from report import table

#: Test scores closer than this are the same.
POINT = 0.01


def sections(entries: Sequence[Entry], pictures: Path | None) -> Iterator[str]:
    """The page, piece by piece."""
    if not entries:
        yield "No problem was run.\n"
        return
    yield machines(entries)
    yield "### In short\n"
    yield "\n".join(f"- {sentence}" for sentence in summary(entries)) + "\n"
    yield "### Who is first, and what is proven\n"
    yield LEGEND
    yield table(HEAD, [summary_row(entry) for entry in entries])
    if pictures:
        yield "### The curves\n"
        for name, shown in draw(entries, pictures):
            yield f"![objective against CPU time: {shown}]({name})\n"
    yield "### Where everyone ends\n"
    yield "How far each ends above the lowest objective that anyone has, as a fraction of it; 0 is that lowest one.\n"
    yield table(["problem", "ours", *titles(entries)], [ending_row(entry, entries) for entry in entries])
    yield "### On unseen data\n"
    yield from unseen(entries)
    yield "### Settings\n"
    yield "How often each setting reached a method's lowest objective, and what was not run.\n"
    yield table(
        ["method", "lowest with", "not run, or failed"], [settings_row(name, entries) for name in raced(entries)]
    )


def machines(entries: Sequence[Entry]) -> str:
    """What ran where: the machine, or every machine with its problems."""
    problems: dict[str, list[str]] = {}
    for entry in entries:
        problems.setdefault(entry.machine, []).append(f"{entry.problem} {entry.fraction:g}")
    if len(problems) == 1:
        return entries[0].machine
    return "\n".join(f"{', '.join(names)} beta_max:\n{machine}" for machine, names in problems.items())


# --- the objective ------------------------------------------------------------------------------------------

LEGEND = (
    "The closest peer is the one that ends lowest, with its best setting. *Below all after* is when ours is below "
    "what every peer reaches in all its time, with every setting. Gaps are relative to the objective of our network: "
    "no network of any width is lower by more than this, after the race and after the longer proof.\n"
)
HEAD = [
    "problem", "b", "ours", "neurons", "closest peer", "its objective / ours - 1", "below all after, s",
    "proven gap", "after more proof",
]  # fmt: skip


def raced(entries: Sequence[Entry]) -> list[str]:
    """The peers that were run at all, in their usual order."""
    return [name for name in METHODS if any(name in entry.outcomes for entry in entries)]


def titles(entries: Sequence[Entry]) -> list[str]:
    return [METHODS[name].title for name in raced(entries)]


def summary_row(entry: Entry) -> list[str]:
    ours = entry.ours.objective
    gaps = [f"{max(1 - bound / ours, 0.0):.1e}" for bound in (entry.bounds[-1][1], entry.longer_bound)]
    row = [entry.title, f"{entry.b:g}", f"{ours:.9f}", str(entry.neurons)]
    if not entry.peers:
        return [*row, "", "", "", *gaps]
    peer = entry.peers[entry.closest]
    after = entry.ours.first_below(peer.objective)
    seconds = "never" if after is None else f"{after:.2g}"
    who = f"{METHODS[entry.closest].title}, {peer.setting}"
    return [*row, who, f"{peer.objective / ours - 1:.1e}", seconds, *gaps]


def ending_row(entry: Entry, entries: Sequence[Entry]) -> list[str]:
    cells = [f"{entry.excess(OURS):.1e}"]
    for name in raced(entries):
        cells.append(f"{entry.excess(name):.1e}" if name in entry.peers else "")
    return [entry.title, *("0" if cell == "0.0e+00" else cell for cell in cells)]


def summary(entries: Sequence[Entry]) -> Iterator[str]:
    """What the race says, in sentences."""
    run = [entry for entry in entries if entry.peers]
    total = len(run)
    if not total:
        return
    lead = np.array([entry.peers[entry.closest].objective / entry.ours.objective - 1 for entry in run])
    lower, same = int(np.sum(lead > SAME)), int(np.sum(np.abs(lead) <= SAME))
    yield (
        f"Of {total} problems ours ends below every peer on {lower}, level with the closest (within {SAME:g}) on "
        f"{same}, and above it on {total - lower - same}. The closest peer is above ours by {np.median(lead):.1e} in "
        f"the median and by {lead.max():.1e} at most."
    )
    times = [entry.ours.first_below(entry.peers[entry.closest].objective) for entry in run]
    reached = [seconds for seconds in times if seconds is not None]
    if reached:
        allowed = ", ".join(f"{seconds:g}" for seconds in sorted({entry.seconds for entry in run}))
        yield (
            f"Ours is below what every peer reaches in {allowed} s, with its best setting, on {len(reached)} of "
            f"{total} problems: after {np.median(reached):.2g} CPU s in the median and {max(reached):.2g} at most."
        )
    for fraction in sorted({entry.fraction for entry in run}, reverse=True):
        gaps = [1 - entry.longer_bound / entry.ours.objective for entry in run if entry.fraction == fraction]
        closed, percent = sum(gap <= 1e-6 for gap in gaps), sum(gap <= 1e-2 for gap in gaps)
        yield (
            f"At {fraction:g} beta_max the gap is closed to 1e-6 on {closed} of {len(gaps)} problems and is below 1 % "
            f"on {percent}; it is {max(gaps):.1e} at most."
        )


# --- unseen data --------------------------------------------------------------------------------------------


def unseen(entries: Sequence[Entry]) -> Iterator[str]:
    """Test scores of everyone's network with the lowest objective, of simple models, and what they say."""
    scored = [entry for entry in entries if entry.peers and entry.ours.score is not None]
    yield (
        "The score on the 20 % that nobody has seen, of the network with the lowest objective: R^2, or the share of "
        f"right labels for two classes. Nobody chose b by it. In bold where ours is better by {POINT:g} or more than "
        'both the closest peer in objective and the linear model; "no" where it is not better than one of them.\n'
    )
    head = ["problem", "score", "rows", "ours", *titles(entries), "linear", "constant", "ours better?"]
    yield table(head, [unseen_row(entry, entries) for entry in scored])
    yield "\n".join(f"- {sentence}" for sentence in verdicts(scored)) + "\n"


def unseen_row(entry: Entry, entries: Sequence[Entry]) -> list[str]:
    better = all(ours_minus(entry, other) >= POINT for other in (closest_score, linear_score))
    ours = f"{entry.ours.score:.3f}"
    peers = [entry.peers[name].score if name in entry.peers else None for name in raced(entries)]
    scores = ["" if score is None else f"{score:.3f}" for score in peers]
    linear, constant = entry.baselines.values()
    return [
        entry.title, "accuracy" if entry.classes else "R^2", str(entry.n_test), f"**{ours}**" if better else ours,
        *scores, f"{linear:.3f}", f"{constant:.3f}", "yes" if better else "no",
    ]  # fmt: skip


Score = Callable[[Entry], float]


def closest_score(entry: Entry) -> float:
    """The test score of the peer that was closest in objective, which is known without the test part."""
    score = entry.peers[entry.closest].score
    return float("nan") if score is None else score


def linear_score(entry: Entry) -> float:
    return next(iter(entry.baselines.values()))


def ours_minus(entry: Entry, other: Score) -> float:
    return float(entry.ours.score or 0.0) - other(entry)


def verdicts(entries: Sequence[Entry]) -> Iterator[str]:
    """Where the lower objective pays on unseen data and where it does not."""
    if not entries:
        return
    total = len(entries)
    for words, other in (("the closest peer's network", closest_score), ("the linear model", linear_score)):
        lead = np.array([ours_minus(entry, other) for entry in entries])
        better, worse = int(np.sum(lead >= POINT)), int(np.sum(lead <= -POINT))
        yield (
            f"Against {words}: ours scores better by {POINT:g} or more on {better} of {total} problems, worse by as "
            f"much on {worse}, and about the same on {total - better - worse}."
        )
    no_better = [entry for entry in entries if ours_minus(entry, closest_score) < POINT]
    yield (
        f"The lower objective generalises no better than the closest peer's network on {len(no_better)} of {total} "
        "problems."
    )
    names = list(dict.fromkeys(entry.problem for entry in entries))
    lost = [name for name in names if all(ours_minus(e, linear_score) < POINT for e in entries if e.problem == name)]
    if lost:
        yield f"No penalty tried makes the best network better than the linear model on: {', '.join(lost)}."
    labelled = [entry for entry in entries if entry.classes]
    if labelled:
        fewest = min(labelled, key=lambda entry: entry.n_test)
        yield (
            f"One row is worth {1 / fewest.n_test:.3f} of accuracy on the smallest test part of two classes "
            f"({fewest.problem}, {fewest.n_test} rows), so small differences mean little."
        )


# --- settings -----------------------------------------------------------------------------------------------


def settings_row(name: str, entries: Sequence[Entry]) -> list[str]:
    outcomes = [entry.outcomes[name] for entry in entries if name in entry.outcomes]
    wins = Counter(outcome.setting for outcome in outcomes if outcome.setting)
    notes = Counter(f"{setting}: {note}" for outcome in outcomes for setting, note in shortened(outcome.notes).items())
    return [METHODS[name].title, said(wins), said(notes)]


def shortened(notes: dict[str, str]) -> dict[str, str]:
    """Notes without what differs from problem to problem."""
    return {setting: note.splitlines()[0].split(" has ")[0].replace("|", "/")[:80] for setting, note in notes.items()}


def said(counts: Counter[str]) -> str:
    return "; ".join(f"{words} ({count})" for words, count in counts.most_common())
