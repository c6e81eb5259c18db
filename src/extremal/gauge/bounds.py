"""What is known of a gauge: an interval, the direction that attains its lower end, and how it was found."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from extremal.design import Array


class GaugeStatus(Enum):
    """How a search for the gauge ended."""

    EXACT = "the gauge is known within the tolerance"
    TIME_LIMIT = "stopped at the time limit; the interval is valid, and more time narrows it"
    NODE_LIMIT = "stopped at the limit on the search tree, or at what it was asked to decide; the interval is valid"
    RELAXATION = "a relaxation bounds the gauge; it is valid, and no search narrows it further"
    INTERRUPTED = "interrupted; the interval is valid"


@dataclass(frozen=True, eq=False)
class GaugeBounds:
    """lower <= g(lam) <= upper, with a unit direction `witness` (d,) that attains `lower`."""

    lower: float
    upper: float
    witness: Array
    status: GaugeStatus
    method: str

    @property
    def gap(self) -> float:
        """(upper - lower) / upper, 0 if the gauge is 0."""
        return (self.upper - self.lower) / self.upper if self.upper > 0 else 0.0

    def scaled(self, factor: float) -> GaugeBounds:
        """The bounds for factor * lam."""
        return GaugeBounds(self.lower * factor, self.upper * factor, self.witness, self.status, self.method)

    def __str__(self) -> str:
        return (
            f"{self.lower:.10g} <= gauge <= {self.upper:.10g} (relative width {self.gap:.1e}, {self.method}): "
            f"{self.status.value}"
        )


@dataclass(frozen=True, eq=False)
class SideBound:
    """lower <= M(c) = max over |u| <= 1 of c^T (Xu)_+ <= upper, for one sign of lam; `u` attains lower."""

    lower: float
    upper: float
    u: Array
    status: GaugeStatus
