"""The finite convex programs: networks whose neurons have given activation patterns, solved by Clarabel.

They share no code with the search that trains networks, and so are its independent check.
"""

from __future__ import annotations

from extremal.programs.decomposition import ConeDecomposition, cone_decomposition
from extremal.programs.gated_conversion import ReLUConversion, gated_to_relu
from extremal.programs.kkt import KKT, kkt_residuals, margin_residuals
from extremal.programs.maps import ConvexSolution, split
from extremal.programs.margin import MarginResult, interpolation_program, margin_program
from extremal.programs.optimal_set import OptimalSet, multiplier_error, optimal_set
from extremal.programs.pattern import gated_program, pattern_program
from extremal.programs.result import GatedResult, ProgramResult, ProgramStatus

__all__ = [
    "KKT",
    "ConeDecomposition",
    "ConvexSolution",
    "GatedResult",
    "MarginResult",
    "OptimalSet",
    "ProgramResult",
    "ProgramStatus",
    "ReLUConversion",
    "cone_decomposition",
    "gated_program",
    "gated_to_relu",
    "interpolation_program",
    "kkt_residuals",
    "margin_program",
    "margin_residuals",
    "multiplier_error",
    "optimal_set",
    "pattern_program",
    "split",
]
