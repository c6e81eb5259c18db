"""The cells of the arrangement {x_i . u = 0}, the activation patterns of X: counted, listed, sampled."""

from __future__ import annotations

from extremal.arrangements.cells import Arrangement, TooManyCells, arrangements
from extremal.arrangements.counting import CellCount, count_arrangements
from extremal.arrangements.patterns import Patterns

__all__ = ["Arrangement", "CellCount", "Patterns", "TooManyCells", "arrangements", "count_arrangements"]
