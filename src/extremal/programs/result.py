"""The answers of the finite programs."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np

from extremal.design import Array
from extremal.network import Network
from extremal.programs.maps import ConvexSolution


class ProgramStatus(Enum):
    """How a program ended."""

    SOLVED = "solved: the primal and the dual value agree within the tolerance"
    INACCURATE = "the cone solver stopped before the tolerance; both values are valid, and the gap shown is proven"
    NOT_SEPARABLE = (
        "not separable to working precision: the dual ray proves that a network with these patterns that separates the "
        "labels has 1/2 |theta|^2 of at least the dual value"
    )


@dataclass(frozen=True, eq=False)
class Solution:
    """A point of a finite program with its value, and a dual point with its own.

    Attributes
    ----------
    U : array of shape (d, K)
        The blocks; those that are not used are zero.
    patterns : boolean array of shape (K, n)
        patterns[k, i] says whether block k is active on row i.
    signs : array of shape (K,), of +1 and -1
        f(x_i) = sum_k s_k D_k,ii x_i . u_k + intercept.
    intercept : array of shape (1,)
    value : float
        The primal objective, evaluated at the solution.
    dual : array of shape (n, 1)
        The dual-feasible lam that proves `dual_value`; -grad loss at the optimum.
    dual_value : float
        A lower bound on the value of every point of the program (over the given patterns).
    status : ProgramStatus
    rounds, used : int
        The rounds of the working set, and the blocks that were in it at the end.
    """

    U: Array
    patterns: Array
    signs: Array
    intercept: Array
    value: float
    dual: Array
    dual_value: float
    status: ProgramStatus
    rounds: int
    used: int

    @property
    def solved(self) -> bool:
        """Whether primal and dual value agree within the tolerance."""
        return self.status is ProgramStatus.SOLVED

    @property
    def gap(self) -> float:
        """(value - dual_value) / value, at least 0; 1 if nothing was found."""
        return relative_gap(self.value, self.dual_value)

    @property
    def active(self) -> Array:
        """The indices of the blocks that are not zero."""
        return np.flatnonzero(np.any(self.U, axis=0))

    def __str__(self) -> str:
        used = f"{self.active.size} of {len(self.patterns)} ({self.used} priced in, {self.rounds} rounds)"
        return "\n".join(
            [
                f"value           {self.value:.10g}",
                f"dual value      {self.dual_value:.10g}",
                f"relative gap    {self.gap:.2e}",
                f"blocks          {used}",
                f"status          {self.status.value}",
            ]
        )


@dataclass(frozen=True, eq=False)
class ProgramResult(Solution):
    """The solution of a ReLU program: `value` is the objective of `network`, one neuron for each block in use."""

    network: Network

    @property
    def solution(self) -> ConvexSolution:
        """The blocks in use, as the convex counterpart of the network."""
        used = self.active
        return ConvexSolution(
            self.patterns[used], self.signs[used], self.U[:, used], self.network.intercept, self.network.bias
        )


@dataclass(frozen=True, eq=False)
class GatedResult(Solution):
    """The solution of a gated ReLU program, f(x_i) = sum_k D_k,ii x_i . u_k + intercept; all signs are +1."""


def relative_gap(value: float, dual_value: float) -> float:
    """(value - dual_value) / value, 0 if they agree, 1 if the value is infinite."""
    if not np.isfinite(value):
        return 1.0
    return max(value - dual_value, 0.0) / value if value > 0 else 0.0
