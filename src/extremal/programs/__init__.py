"""Finite convex programs for given activation patterns, solved by Clarabel."""

from __future__ import annotations

from extremal.programs.pattern import ProgramResult, pattern_program, patterns_of

__all__ = ["ProgramResult", "pattern_program", "patterns_of"]
