"""The finite convex program of Pilanci & Ergen for given activation patterns."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from extremal.design import Array
from extremal.problem import Problem, Scaling, best_intercept
from extremal.programs.blocks import Blocks, as_patterns, distinct, lengths, signed
from extremal.programs.maps import ConvexSolution
from extremal.programs.objectives import LossObjective
from extremal.programs.result import GatedResult, ProgramResult, ProgramStatus, relative_gap
from extremal.programs.working_set import Search, search


def pattern_program(
    problem: Problem,
    patterns: ArrayLike,
    signs: ArrayLike | None = None,
    *,
    tol: float = 1e-8,
    batch: int | None = None,
) -> ProgramResult:
    """min over u_k in K_k of  sum_i w_i loss(f(x_i), y_i) + beta sum_k |u_k|,  f = sum_k s_k D_k X u_k (+ intercept).

    D_k = diag(pattern_k), K_k = {u : (2D_k - I) X u >= 0}. Over all cells of the arrangement of the rows this is the
    training problem itself (the enumerated program); over some of them (the subsampled program) its optimum is the best
    network whose neurons have these patterns.

    Parameters
    ----------
    problem : Problem
        With one output; any loss but the softmax, any weights, with or without a free intercept.
    patterns : boolean array of shape (p, n)
        One pattern a row: patterns[k, i] says whether x_i . u >= 0 (active) or <= 0 in cell k.
    signs : array of shape (p,), optional
        The signs of the output weights that go with the patterns (the signed program). Default: both for each.
    tol : float
        The relative gap from which on the program counts as solved.
    batch : int, optional
        How many blocks enter a round of the working set; the number of blocks for one solve over all of them.

    Returns
    -------
    ProgramResult
        Its bounds hold for the program: only over all cells are they bounds on every network.

    Raises
    ------
    ValueError
        If the loss has several outputs, or patterns or signs do not fit the data.

    References
    ----------
    Pilanci & Ergen (ICML 2020), Theorem 1; with signs fixed, Wang, Lacotte & Pilanci (ICLR 2022).
    """
    patterns, signs = signed(patterns, signs, problem.design.n)
    first, _ = distinct(patterns, signs)
    normal, scaling = problem.normalised()
    blocks = Blocks.relu(normal.design, patterns[first], signs[first])
    found = search(blocks, LossObjective(normal), batch=batch)
    U = restored(found, scaling, first, len(patterns))
    solution = ConvexSolution(patterns, signs, U, np.array([found.state.intercept * scaling.tau]), problem.bias)
    network = problem.with_best_intercept(solution.network())
    value, dual_value = problem.value(network), scaling.value(found.dual_value)
    return ProgramResult(
        U=U,
        patterns=patterns,
        signs=signs,
        intercept=network.intercept,
        value=value,
        dual=scaling.multiplier(found.lam[:, None]),
        dual_value=dual_value,
        status=status_of(value, dual_value, tol),
        rounds=found.rounds,
        used=found.used,
        network=network,
    )


def gated_program(problem: Problem, patterns: ArrayLike, *, tol: float = 1e-8, batch: int | None = None) -> GatedResult:
    """min over u_k of  sum_i w_i loss(f(x_i), y_i) + beta sum_k |u_k|,  f = sum_k D_k X u_k (+ intercept): no cones.

    That is the training of a gated ReLU network with the gates 1(x_i . g_k >= 0) = pattern_k. Its value is no larger
    than that of the ReLU program with the same patterns.

    Parameters, errors: as for :func:`pattern_program`; a sign of a block would change nothing.

    References
    ----------
    Mishkin, Sahiner & Pilanci (ICML 2022).
    """
    patterns = as_patterns(patterns, problem.design.n)
    signs = np.ones(len(patterns))
    first, _ = distinct(patterns, signs)
    normal, scaling = problem.normalised()
    found = search(Blocks.gated(normal.design, patterns[first]), LossObjective(normal), batch=batch)
    U = restored(found, scaling, first, len(patterns))
    outputs = Blocks.gated(problem.design, patterns).outputs(U)[:, None]
    intercept = np.array([found.state.intercept * scaling.tau])
    if problem.intercept:
        intercept = best_intercept(problem.loss, outputs, intercept)
    value = problem.loss.value(outputs + intercept) + problem.beta * float(lengths(U).sum())
    dual_value = scaling.value(found.dual_value)
    return GatedResult(
        U=U,
        patterns=patterns,
        signs=signs,
        intercept=intercept,
        value=value,
        dual=scaling.multiplier(found.lam[:, None]),
        dual_value=dual_value,
        status=status_of(value, dual_value, tol),
        rounds=found.rounds,
        used=found.used,
    )


def restored(found: Search, scaling: Scaling, first: Array, count: int) -> Array:
    """The blocks (d, count) in the original features: zero but for those that the search ended with."""
    part = scaling.directions(found.state.U) * (scaling.tau / scaling.stretch)
    return scatter(part, first[found.state.index], count)


def scatter(part: Array, index: Array, count: int) -> Array:
    """(d, count) with the columns `part` at `index`, zero elsewhere."""
    U = np.zeros((len(part), count))
    U[:, index] = part
    return U


def status_of(value: float, dual_value: float, tol: float) -> ProgramStatus:
    return ProgramStatus.SOLVED if relative_gap(value, dual_value) <= tol else ProgramStatus.INACCURATE
