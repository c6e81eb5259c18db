"""The finite programs with conditions instead of a loss: the smallest network that separates, or that interpolates."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from extremal.design import Array, Design
from extremal.losses import Squared, SquaredHinge
from extremal.problem import Bias
from extremal.programs.blocks import Blocks, distinct, signed
from extremal.programs.maps import ConvexSolution
from extremal.programs.objectives import RAY, ConstraintObjective, InterpolationObjective, MarginObjective
from extremal.programs.pattern import scatter, status_of
from extremal.programs.result import ProgramResult, ProgramStatus
from extremal.programs.working_set import search


@dataclass(frozen=True, eq=False)
class MarginResult(ProgramResult):
    """The solution of a program with conditions: `value` = sum_k |u_k| = 1/2 |theta|^2 of `network`.

    Of an interpolation the outputs are the targets to 1e-7 of the largest. If nothing satisfies the conditions, `value`
    is infinite and `network` has no neuron. `dual` is then the ray that proves it: y^T lam = 1, y_i lam_i >= 0 (for
    margins), and no block has a price |Proj_K (s X^T D lam)| above 1 / `dual_value`, so that a
    network that does has 1/2 |theta|^2 >= `dual_value`. The status is NOT_SEPARABLE if that is more than 1e9 for
    rows of norm one: beyond it double precision cannot tell.
    """

    @property
    def separable(self) -> bool:
        """Whether a network that separates the labels was found."""
        return bool(np.isfinite(self.value))

    @property
    def margin(self) -> float:
        """1 / (2 value): the largest min_i y_i f(x_i) of a network with |theta|^2 = 1; 0 if there is none."""
        return 0.5 / self.value


def margin_program(
    X: ArrayLike,
    y: ArrayLike,
    patterns: ArrayLike,
    signs: ArrayLike | None = None,
    *,
    bias: Bias = "none",
    intercept: bool = False,
    tol: float = 1e-8,
    batch: int | None = None,
) -> MarginResult:
    """P* = min over u_k in K_k of  sum_k |u_k|  subject to  y_i f(x_i) >= 1,  f = sum_k s_k D_k X u_k (+ intercept).

    Its dual is D* = max y^T lam subject to y_i lam_i >= 0 and |Proj_K (s X^T D lam)| <= 1 for every block (and
    sum_i lam_i = 0 if the intercept is free); over all cells that is g(lam) <= 1, and P* is the least 1/2 |theta|^2 of
    all networks with margins of at least 1.

    Parameters
    ----------
    X : array of shape (n, d); y : array of shape (n,), labels -1/+1 or 0/1
    patterns : boolean array of shape (p, n), one pattern a row
        With ``bias="penalized"`` these are patterns of X with its column of ones.
    signs : array of shape (p,), optional
        The signs of the output weights that go with the patterns. Default: both for each.
    bias : {"none", "penalized"}
        Whether a column of ones is appended to X.
    intercept : bool
        Whether the output has a free constant.
    tol, batch : as for :func:`pattern_program`

    Raises
    ------
    ValueError
        If the labels are of another kind, the intercept is free with a single class, or the shapes do not fit.

    References
    ----------
    Wang & Pilanci (ICLR 2022).
    """
    labels = SquaredHinge.from_data(y)
    if intercept and np.unique(labels.target).size < 2:
        raise ValueError("with a free intercept and a single class the constant alone separates: the value is 0")
    return _solved(X, labels.target[:, 0], MarginObjective, patterns, signs, bias, intercept, tol, batch)


def margin_program_on(X: Array, y: Array, patterns: Array, signs: Array) -> MarginResult:
    """:func:`margin_program` for checked data; where y_i = 0 nothing is asked of f(x_i), but the patterns hold."""
    return _solved(X, y, MarginObjective, patterns, signs, "none", False, 1e-8, None)


def interpolation_program(
    X: ArrayLike,
    y: ArrayLike,
    patterns: ArrayLike,
    signs: ArrayLike | None = None,
    *,
    bias: Bias = "none",
    intercept: bool = False,
    tol: float = 1e-8,
    batch: int | None = None,
) -> MarginResult:
    """P* = min over u_k in K_k of  sum_k |u_k|  subject to  f(x_i) = y_i,  f = sum_k s_k D_k X u_k (+ intercept).

    Its dual is D* = max y^T lam subject to |Proj_K (s X^T D lam)| <= 1 for every block (and sum_i lam_i = 0 if the
    intercept is free). The parameters are those of :func:`margin_program`; y are numbers, not all zero.

    References
    ----------
    Ergen & Pilanci (JMLR 2021), Theorem 1.
    """
    target = Squared.from_data(y).target
    if target.shape[1] != 1 or not target.any():
        raise ValueError("y must be one column of numbers that are not all zero")
    if intercept and np.ptp(target) == 0:
        raise ValueError("with a free intercept a constant y is interpolated by the constant: the value is 0")
    return _solved(X, target[:, 0], InterpolationObjective, patterns, signs, bias, intercept, tol, batch)


def _solved(
    X: ArrayLike,
    y: Array,
    objective: type[ConstraintObjective],
    patterns: ArrayLike,
    signs: ArrayLike | None,
    bias: Bias,
    intercept: bool,
    tol: float,
    batch: int | None,
) -> MarginResult:
    if bias not in ("penalized", "none"):
        raise ValueError(f"bias must be 'penalized' or 'none', not {bias!r}")
    design = Design.from_data(X, bias=bias == "penalized")
    if len(y) != design.n:
        raise ValueError(f"X has {design.n} rows and y has {len(y)}")
    patterns, signs = signed(patterns, signs, design.n)
    first, _ = distinct(patterns, signs)
    stretch, scale = design.magnitude, float(np.abs(y).max())
    normal, basis = design.scaled(1.0 / stretch).row_space()
    blocks = Blocks.relu(normal, patterns[first], signs[first])
    found = search(blocks, objective(y / scale, normal.d, intercept), batch=batch)
    part = found.state.U if basis is None else basis @ found.state.U
    U = scatter(part * (scale / stretch), first[found.state.index], len(patterns))
    solution = ConvexSolution(patterns, signs, U, np.array([found.state.intercept * scale]), bias == "penalized")
    lam, value, dual_value = found.lam / stretch, np.inf, found.dual_value * (scale / stretch)
    if np.isfinite(found.state.value):
        if objective is MarginObjective:
            solution = _with_margins(solution, design, y)
        value = solution.penalty
        status = status_of(value, dual_value, tol)
    else:
        lam = found.lam / float(y @ found.lam)
        status = ProgramStatus.NOT_SEPARABLE if found.dual_value >= 1 / RAY else ProgramStatus.INACCURATE
    return MarginResult(
        U=solution.U,
        patterns=patterns,
        signs=signs,
        intercept=solution.intercept,
        value=value,
        dual=lam[:, None],
        dual_value=dual_value,
        status=status,
        rounds=found.rounds,
        used=found.used,
        network=solution.network(),
    )


def _with_margins(solution: ConvexSolution, design: Design, y: Array) -> ConvexSolution:
    """The multiple of a separating solution whose smallest margin, by its network, is one."""
    margin = float((y * solution.network().evaluate(design)[:, 0])[y != 0].min())
    return replace(solution, U=solution.U / margin, intercept=solution.intercept / margin)
