"""What a race leaves behind: the curves of all methods on all problems, kept as a JSON file."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

#: CPU seconds and an objective or a lower bound.
Curve = list[tuple[float, float]]
OURS = "ours"
#: Objectives closer than this are the same.
SAME = 1e-6


@dataclass(frozen=True)
class Outcome:
    """What one method did on one problem.

    Attributes
    ----------
    curve : list of (CPU seconds, objective)
        The lowest objective that any of its runs has reached by then, each on its own clock.
    runs : dict
        The lowest objective of every setting, None where there is no network.
    score : float or None
        R^2 or accuracy of the network with the lowest objective on the test part.
    notes : dict
        Why a setting was not run, or failed.
    """

    curve: Curve
    runs: dict[str, float | None]
    score: float | None
    notes: dict[str, str]

    @property
    def objective(self) -> float:
        return self.curve[-1][1] if self.curve else float("inf")

    @property
    def setting(self) -> str:
        """The setting that reached the lowest objective."""
        reached = {setting: value for setting, value in self.runs.items() if value is not None}
        return min(reached, key=lambda setting: reached[setting]) if reached else ""

    def first_below(self, target: float) -> float | None:
        """CPU seconds until the objective is below the target."""
        return next((seconds for seconds, value in self.curve if value < target), None)


@dataclass(frozen=True)
class Entry:
    """One problem: data, penalty, the methods, the lower bound on the optimum, and simple models on the test part."""

    problem: str
    n: int
    d: int
    n_test: int
    classes: bool
    fraction: float
    b: float
    seconds: float
    proof_seconds: float
    machine: str
    outcomes: dict[str, Outcome]
    bounds: Curve
    longer_bound: float
    neurons: int
    baselines: dict[str, float]

    @property
    def key(self) -> tuple[str, float]:
        return self.problem, self.fraction

    @property
    def title(self) -> str:
        return f"{self.problem} {self.n}x{self.d}, {self.fraction:g} beta_max"

    @property
    def ours(self) -> Outcome:
        return self.outcomes[OURS]

    @property
    def peers(self) -> dict[str, Outcome]:
        """The peers that have a network."""
        return {name: one for name, one in self.outcomes.items() if name != OURS and one.curve}

    @property
    def best(self) -> float:
        """The lowest objective known."""
        return min(one.objective for one in self.outcomes.values())

    @property
    def closest(self) -> str:
        """The peer with the lowest objective."""
        return min(self.peers, key=lambda name: self.peers[name].objective)

    def excess(self, name: str) -> float:
        """How far a method ends above the lowest objective known, as a fraction of it."""
        return self.outcomes[name].objective / self.best - 1

    def gap(self, bound: float) -> float:
        """How far the optimum can lie below the lowest objective known, as a fraction of it."""
        return max(1 - bound / self.best, 0.0)


def envelope(curves: Iterable[Curve]) -> Curve:
    """The lowest objective of all curves up to every moment at which it falls."""
    kept: Curve = []
    for seconds, value in sorted(point for curve in curves for point in curve):
        if not kept or value < kept[-1][1]:
            kept.append((seconds, value))
    return kept


def save(entries: Sequence[Entry], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = ",\n".join(json.dumps(asdict(entry), default=float) for entry in entries)
    path.write_text(f"[\n{rows}\n]\n")


def load(path: Path) -> list[Entry]:
    entries = []
    for row in json.loads(path.read_text()):
        outcomes = {name: Outcome(**one) for name, one in row.pop("outcomes").items()}
        entries.append(Entry(outcomes=outcomes, **row))
    return entries
