"""What training returns, and how it reports on the way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from extremal.certificate import Certificate, Status, relative_gap
from extremal.network import Network


@dataclass(frozen=True)
class Record:
    """The state of training at one moment.

    Attributes
    ----------
    time : float
        Seconds since the start.
    objective : float
        The best objective so far.
    bound : float
        The best proven lower bound on the optimum so far.
    neurons : int
    phase : str
        What the solver was doing: "start", "explore", "refine" or "prove".
    """

    time: float
    objective: float
    bound: float
    neurons: int
    phase: str

    @property
    def gap(self) -> float:
        """(objective - bound) / objective."""
        return relative_gap(self.objective, self.bound)


@dataclass(frozen=True, eq=False)
class FitResult:
    """A trained network and the proof of how close it is to the global optimum.

    Attributes
    ----------
    network : Network
    certificate : Certificate
    history : tuple of Record
    seconds : float
        Wall-clock time.
    """

    network: Network
    certificate: Certificate
    history: tuple[Record, ...]
    seconds: float

    @property
    def status(self) -> Status:
        return self.certificate.status

    def __str__(self) -> str:
        return f"{self.network}\n{self.certificate}\ntime                       {self.seconds:.2f} s"


Progress = bool | Callable[[Record], None]


def reporter(
    progress: bool | Callable[[Any], None], words: Callable[[Any], str] | None = None
) -> tuple[Callable[[Any], None], Callable[[], None]]:
    """(report, close) for a `progress` argument: nothing, a live line on the terminal, or a user's function."""
    if callable(progress):
        return progress, lambda: None
    if not progress:
        return lambda record: None, lambda: None
    from rich.console import Console

    words = words or describe
    status = Console(stderr=True).status("training")
    status.start()
    return lambda record: status.update(words(record)), status.stop


def describe(record: Record) -> str:
    """One line on the state of training."""
    return (
        f"{record.phase:8s} objective {record.objective:.8g}  proven gap {record.gap:.2e}  "
        f"{record.neurons} neurons  {record.time:.1f} s"
    )
