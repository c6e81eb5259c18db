"""What a working-set search minimises: a loss with its penalty, or the penalty subject to margins."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from extremal.design import Array
from extremal.losses import Logistic, balance_signs
from extremal.problem import Problem, best_intercept
from extremal.programs.blocks import Blocks
from extremal.programs.cones import (
    ConicSolution,
    Outcome,
    Term,
    interpolation_term,
    loss_term,
    margin_term,
    newton_term,
    solve_conic,
)
from extremal.programs.polish import polish
from extremal.programs.working_set import State

#: The relative gap over the blocks at hand from which on exponential cones are helped, and with how many steps.
NEWTON_GAP = 1e-9
NEWTON_STEPS = 30
#: A ray y^T lam = 1 whose prices are no larger proves that a separating network costs at least 1 / RAY in normal form.
RAY = 1e-9
#: Outputs this close to the targets, relative to the largest, interpolate them.
INTERPOLATED = 1e-7


@dataclass(frozen=True, eq=False)
class LossObjective:
    """sum_i w_i loss(f(x_i), y_i) + beta sum_k |u_k| of a problem in normal form."""

    problem: Problem

    @cached_property
    def term(self) -> Term:
        return loss_term(self.problem.loss)

    @property
    def beta(self) -> float:
        return self.problem.beta

    @property
    def intercept(self) -> bool:
        return self.problem.intercept

    def start(self) -> State:
        zero, d = self.problem.zero_network, self.problem.design.d
        outputs = np.zeros(self.problem.loss.shape) + zero.intercept
        lam = self.problem.loss.dual(outputs)[:, 0]
        return self._state(np.zeros(0, int), np.zeros((d, 0)), zero.intercept, outputs, lam)

    def judge(self, blocks: Blocks, index: Array, found: ConicSolution) -> State:
        state = self._judged(blocks, found)
        if isinstance(self.problem.loss, Logistic):
            state = self._newton(blocks, state)
        used = np.flatnonzero(np.any(state.U, axis=0))
        return replace(state, index=index[used], U=state.U[:, used])

    def _judged(self, blocks: Blocks, found: ConicSolution) -> State:
        outputs = blocks.outputs(found.U)[:, None]
        constant = np.array([found.intercept])
        if self.intercept:
            constant = best_intercept(self.problem.loss, outputs, constant)
        outputs = outputs + constant
        lam = found.lam if found.outcome is Outcome.SOLVED else self.problem.loss.dual(outputs)[:, 0]
        return self._state(np.arange(blocks.count), found.U, constant, outputs, lam)

    def _newton(self, blocks: Blocks, state: State) -> State:
        """Proximal Newton steps where the exponential cones were too hard: the loss becomes its second-order model.

        The cones and the penalty stay, so a step ends at a solution of the squared kind, and a line search goes there.
        """
        zero = self.start()
        if state.value > zero.value:
            state = replace(zero, index=state.index, U=np.zeros_like(state.U))
        for _ in range(NEWTON_STEPS):
            price = float(np.linalg.norm(blocks.projections(state.lam), axis=1).max())
            if state.value - self.bound(state.lam, price)[1] <= NEWTON_GAP * state.value:
                break
            term = newton_term(self.problem.loss, blocks.outputs(state.U) + state.intercept)
            found = solve_conic(blocks, term, self.beta, intercept=self.intercept, size=state.value)
            trial, t = self._judged(blocks, found), 1.0
            while trial.value > state.value and t > NEWTON_GAP:
                t *= 0.5
                U = state.U + t * (found.U - state.U)
                trial = self._judged(blocks, replace(found, U=U, outcome=Outcome.FAILED))
            if trial.value > state.value:
                break
            state = trial
        return state

    def polished(self, blocks: Blocks, state: State) -> State:
        """Newton's method on the face of the solution, with lam = -grad loss."""
        part = blocks.take(state.index)
        problem = self.problem
        U, constant = polish(problem.loss, self.beta, self.intercept, part, state.U, state.intercept, state.value)
        outputs = part.outputs(U)[:, None] + constant
        return self._state(state.index, U, np.array([constant]), outputs, problem.loss.dual(outputs)[:, 0])

    def _state(self, index: Array, U: Array, intercept: Array, outputs: Array, lam: Array) -> State:
        """With the multiplier in the dual domain."""
        loss, lam = self.problem.loss, self.term.in_domain(lam)
        lam = loss.centred(lam[:, None])[:, 0] if self.intercept else lam
        value = loss.value(outputs) + self.beta * float(np.linalg.norm(U, axis=0).sum())
        return State(index, U, float(intercept[0]), value, lam, self.beta)

    def size(self, state: State) -> float:
        return state.value

    def bound(self, lam: Array, price: float) -> tuple[Array, float]:
        point, value = self.problem.dual_point(lam[:, None], price)
        return point[:, 0], value


@dataclass(frozen=True, eq=False)
class ConstraintObjective:
    """sum_k |u_k| subject to conditions on the outputs; the dual: max y^T lam subject to all prices <= 1.

    A state without a solution has a ray, y^T lam = 1, as its multiplier, of which all prices must vanish.
    """

    target: Array
    d: int
    intercept: bool
    beta: float = 1.0

    @property
    def term(self) -> Term:
        raise NotImplementedError

    def feasible(self, U: Array, outputs: Array, intercept: float) -> tuple[Array, float] | None:
        """Blocks and intercept that satisfy the conditions, from the solver's; None if there are none."""
        raise NotImplementedError

    def centred(self, lam: Array) -> Array:
        """lam with the sum zero, in the dual domain."""
        raise NotImplementedError

    def start(self) -> State:
        return self._state(np.zeros(0, int), np.zeros((self.d, 0)), 0.0, np.inf, self.target)

    def judge(self, blocks: Blocks, index: Array, found: ConicSolution) -> State:
        used = np.flatnonzero(np.any(found.U, axis=0))
        U = found.U[:, used]
        point = self.feasible(U, blocks.take(used).outputs(U) + found.intercept, found.intercept)
        if found.outcome is Outcome.INFEASIBLE or point is None:
            return self._state(index[:0], U[:, :0], 0.0, np.inf, found.lam)
        return self._state(index[used], *point, float(np.linalg.norm(point[0], axis=0).sum()), found.lam)

    def _state(self, index: Array, U: Array, intercept: float, value: float, lam: Array) -> State:
        lam = self.term.in_domain(lam)
        lam = self.centred(lam) if self.intercept else lam
        if np.isfinite(value):
            return State(index, U, intercept, value, lam, 1.0)
        return State(index, U, intercept, value, lam / max(float(self.target @ lam), 1e-300), RAY)

    def polished(self, blocks: Blocks, state: State) -> State:
        """The state: a linear program in disguise gains nothing from Newton's method."""
        return state

    def size(self, state: State) -> float:
        return state.value if np.isfinite(state.value) else 1.0

    def bound(self, lam: Array, price: float) -> tuple[Array, float]:
        """lam / price; a ray without a price stays as it is, and its bound is infinite."""
        total = float(self.target @ lam)
        if price == 0.0:
            return lam, np.inf if total > 0 else 0.0
        return lam / price, total / price


@dataclass(frozen=True, eq=False)
class MarginObjective(ConstraintObjective):
    """y_i f(x_i) >= 1 for labels y, nothing where y_i = 0; the dual has y_i lam_i >= 0 besides."""

    @cached_property
    def term(self) -> Term:
        return margin_term(self.target)

    def feasible(self, U: Array, outputs: Array, intercept: float) -> tuple[Array, float] | None:
        margin = float((self.target * outputs)[self.target != 0].min())
        return (U / margin, intercept / margin) if margin > 0 else None

    def centred(self, lam: Array) -> Array:
        return balance_signs(lam[:, None])[:, 0]


@dataclass(frozen=True, eq=False)
class InterpolationObjective(ConstraintObjective):
    """f(x_i) = y_i."""

    @cached_property
    def term(self) -> Term:
        return interpolation_term(self.target)

    def feasible(self, U: Array, outputs: Array, intercept: float) -> tuple[Array, float] | None:
        missed = float(np.abs(outputs - self.target).max())
        return (U, intercept) if missed <= INTERPOLATED * float(np.abs(self.target).max()) else None

    def centred(self, lam: Array) -> Array:
        return lam - lam.mean()
