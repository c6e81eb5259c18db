"""The finite convex programs: networks whose neurons have given activation patterns, solved by Clarabel.

They share no code with the search that trains networks, and so are its independent check.
"""

from __future__ import annotations

from extremal.programs.kkt import KKT, kkt_residuals, margin_residuals
from extremal.programs.maps import ConvexSolution, split
from extremal.programs.margin import MarginResult, margin_program
from extremal.programs.pattern import gated_program, pattern_program
from extremal.programs.result import GatedResult, ProgramResult, ProgramStatus

__all__ = [
    "KKT",
    "ConvexSolution",
    "GatedResult",
    "MarginResult",
    "ProgramResult",
    "ProgramStatus",
    "gated_program",
    "kkt_residuals",
    "margin_program",
    "margin_residuals",
    "pattern_program",
    "split",
]
