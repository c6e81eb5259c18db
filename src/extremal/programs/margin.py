"""The finite convex max-margin program: the smallest network with given patterns that separates the labels."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from extremal.design import Design
from extremal.losses import SquaredHinge
from extremal.problem import Bias
from extremal.programs.blocks import Blocks, distinct, signed
from extremal.programs.maps import ConvexSolution
from extremal.programs.objectives import RAY, MarginObjective
from extremal.programs.pattern import scatter, status_of
from extremal.programs.result import ProgramResult, ProgramStatus
from extremal.programs.working_set import search


@dataclass(frozen=True, eq=False)
class MarginResult(ProgramResult):
    """The solution of a max-margin program: `value` = sum_k |u_k| = 1/2 |theta|^2 of `network`, whose margins are >= 1.

    If nothing separates the labels, `value` is infinite and `network` has no neuron. `dual` is then the ray that proves
    it: y^T lam = 1, y_i lam_i >= 0, and no block has a price |Proj_K (s X^T D lam)| above 1 / `dual_value`, so that a
    network that separates has 1/2 |theta|^2 >= `dual_value`. The status is NOT_SEPARABLE if that is more than 1e9 for
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
    if bias not in ("penalized", "none"):
        raise ValueError(f"bias must be 'penalized' or 'none', not {bias!r}")
    design = Design.from_data(X, bias=bias == "penalized")
    labels = SquaredHinge.from_data(y)
    if labels.shape[0] != design.n:
        raise ValueError(f"X has {design.n} rows and y has {labels.shape[0]}")
    if intercept and np.unique(labels.target).size < 2:
        raise ValueError("with a free intercept and a single class the constant alone separates: the value is 0")
    patterns, signs = signed(patterns, signs, design.n)
    first, _ = distinct(patterns, signs)
    stretch = design.magnitude
    normal, basis = design.scaled(1.0 / stretch).row_space()
    blocks = Blocks.relu(normal, patterns[first], signs[first])
    found = search(blocks, MarginObjective(labels, normal.d, intercept), batch=batch)
    part = found.state.U if basis is None else basis @ found.state.U
    U = scatter(part / stretch, first[found.state.index], len(patterns))
    solution = ConvexSolution(patterns, signs, U, np.array([found.state.intercept]), bias == "penalized")
    lam, dual_value = found.lam / stretch, found.dual_value / stretch
    if not np.isfinite(found.state.value):
        lam = found.lam / float(labels.target[:, 0] @ found.lam)
        separated, value = solution, np.inf
        status = ProgramStatus.NOT_SEPARABLE if found.dual_value >= 1 / RAY else ProgramStatus.INACCURATE
    else:
        separated = _with_margins(solution, design, labels)
        value = separated.penalty
        status = status_of(value, dual_value, tol)
    return MarginResult(
        U=separated.U,
        patterns=patterns,
        signs=signs,
        intercept=separated.intercept,
        value=value,
        dual=lam[:, None],
        dual_value=dual_value,
        status=status,
        rounds=found.rounds,
        used=found.used,
        network=separated.network(),
    )


def _with_margins(solution: ConvexSolution, design: Design, labels: SquaredHinge) -> ConvexSolution:
    """The multiple of a separating solution whose smallest margin, by its network, is one."""
    margin = float((labels.target * solution.network().evaluate(design)).min())
    return replace(solution, U=solution.U / margin, intercept=solution.intercept / margin)
