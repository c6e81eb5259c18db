"""The cells of the arrangement {x_i . u = 0}, the activation patterns of X: counted, listed, sampled."""

from __future__ import annotations

from extremal.arrangements.cells import Arrangement, TooManyCells, arrangements
from extremal.arrangements.counting import CellCount, count_arrangements
from extremal.arrangements.patterns import Patterns
from extremal.arrangements.sampling import PatternSample, sample_arrangements, scenario_size

__all__ = [
    "Arrangement",
    "CellCount",
    "PatternSample",
    "Patterns",
    "TooManyCells",
    "arrangements",
    "count_arrangements",
    "sample_arrangements",
    "scenario_size",
]
