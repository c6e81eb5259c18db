"""The optimality conditions of the finite programs, measured at an answer and independent of how it was found.

For beta sum_k |u_k| plus a loss, with lam = -grad loss and c_k = s_k X^T D_k lam, a point is optimal iff every u_k is
in its cone, |Proj_k c_k| <= beta for every block, and Proj_k c_k = beta u_k / |u_k| for those that are not zero (and
sum_i lam_i = 0 if the intercept is free). Proj_k c_k = c_k + G_k^T rho_k with the multipliers rho_k >= 0 of the
cone's rows; the projection finds the best ones. In a max-margin program beta is 1 and lam_i > 0 only where y_i f_i = 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from extremal.design import Array, Design
from extremal.losses import SquaredHinge
from extremal.problem import Bias, Problem
from extremal.programs.blocks import Blocks, lengths
from extremal.programs.margin import MarginResult
from extremal.programs.result import GatedResult, Solution


@dataclass(frozen=True, eq=False)
class KKT:
    """Residuals of the optimality conditions, each relative to the size of its terms; all are 0 at an exact optimum.

    Attributes
    ----------
    primal : float
        The largest distance of a u_k from a side of its cone, over max |u|; for margins also max 1 - y_i f_i.
    domain : float
        The distance of lam from the domain of the dual; with a free intercept also |sum_i lam_i| / sum_i |lam_i|.
    dual : float
        max_k |Proj_k c_k| / beta - 1, at least 0: over all blocks, used or not.
    stationarity : float
        max |Proj_k c_k / beta - u_k / |u_k|| over the blocks in use, each times |u_k| / max |u|.
    complementarity : float
        sum_k (beta |u_k| - c_k . u_k), for margins also sum_i lam_i (f_i - y_i), over the value.
    gradient : float
        max |lam + grad loss| / max |grad loss at f = 0|; 0 for margins.
    gap : float
        |value - dual value| / value.
    """

    primal: float
    domain: float
    dual: float
    stationarity: float
    complementarity: float
    gradient: float
    gap: float

    @property
    def largest(self) -> float:
        return max(vars(self).values())

    def __str__(self) -> str:
        return "\n".join(f"{name:16s}{value:.1e}" for name, value in vars(self).items())


def kkt_residuals(problem: Problem, result: Solution) -> KKT:
    """The residuals of a solution of :func:`pattern_program` or :func:`gated_program`.

    They are measured in the user's units and features, with the exact finite form of dual feasibility.
    """
    loss, lam = problem.loss, result.dual
    blocks = _blocks(problem.design, result)
    outputs = blocks.outputs(result.U)[:, None] + result.intercept
    scale = float(np.abs(loss.dual(np.zeros(loss.shape))).max()) or 1.0
    sums = float(np.abs(lam.sum()) / max(np.abs(lam).sum(), 1e-300)) if problem.intercept else 0.0
    dual, stationarity, slack = _blockwise(blocks, result.U, lam[:, 0], problem.beta)
    return KKT(
        primal=blocks.violation(result.U),
        domain=max(sums, 0.0 if np.isfinite(loss.dual_value(lam)) else np.inf),
        dual=dual,
        stationarity=stationarity,
        complementarity=abs(slack) / (result.value or 1.0),
        gradient=float(np.abs(lam - loss.dual(outputs)).max()) / scale,
        gap=abs(result.value - loss.dual_value(lam)) / (result.value or 1.0),
    )


def margin_residuals(
    X: ArrayLike, y: ArrayLike, result: MarginResult, *, bias: Bias = "none", intercept: bool = False
) -> KKT:
    """The residuals of a separating solution of :func:`margin_program`, for the arguments that it was called with."""
    design, target = Design.from_data(X, bias=bias == "penalized"), SquaredHinge.from_data(y).target[:, 0]
    blocks, lam = _blocks(design, result), result.dual[:, 0]
    outputs = blocks.outputs(result.U) + result.intercept
    wrong = float(np.maximum(-target * lam, 0).max() / max(np.abs(lam).max(), 1e-300))
    sums = float(abs(lam.sum()) / max(np.abs(lam).sum(), 1e-300)) if intercept else 0.0
    dual, stationarity, slack = _blockwise(blocks, result.U, lam, 1.0)
    return KKT(
        primal=max(blocks.violation(result.U), float((1 - target * outputs).max())),
        domain=max(sums, wrong),
        dual=dual,
        stationarity=stationarity,
        complementarity=(abs(slack) + abs(float(lam @ (outputs - target)))) / result.value,
        gradient=0.0,
        gap=abs(result.value - float(target @ lam)) / result.value,
    )


def _blocks(design: Design, result: Solution) -> Blocks:
    if isinstance(result, GatedResult):
        return Blocks.gated(design, result.patterns)
    return Blocks.relu(design, result.patterns, result.signs)


def _blockwise(blocks: Blocks, U: Array, lam: Array, beta: float) -> tuple[float, float, float]:
    """Dual feasibility, stationarity, and sum_k (beta |u_k| - c_k . u_k)."""
    projections = blocks.projections(lam).T / beta
    dual = float(np.linalg.norm(projections, axis=0).max()) - 1.0
    length = lengths(U)
    used = np.flatnonzero(length)
    if used.size == 0:
        return max(dual, 0.0), 0.0, 0.0
    distance = np.linalg.norm(projections[:, used] - U[:, used] / length[used], axis=0)
    stationarity = float((distance * length[used]).max() / length.max())
    slack = float(beta * length.sum() - np.vdot(blocks.take(used).moments(lam).T, U[:, used]))
    return max(dual, 0.0), stationarity, slack
