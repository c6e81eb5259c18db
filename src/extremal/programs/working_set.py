"""The finite programs by column generation over their blocks.

Blocks that are left out are zero. Their exact price |Proj_K (s X^T D lam)| says whether that is optimal: it is, and the
value is the optimum over ALL blocks, once no price exceeds beta. The multiplier, scaled by the largest price, is a
feasible point of the dual of the whole program.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from extremal.design import Array
from extremal.network import remove_dependencies
from extremal.programs.blocks import Blocks
from extremal.programs.cones import ConicSolution, Term, solve_conic

#: Prices above the limit by less than this fraction count as equal to it.
SAME = 1e-10
#: Blocks below this fraction of the limit leave again, as long as the value falls.
CHEAP = 0.999
#: Interior points leave small vectors in blocks that do not matter. Those below such a fraction of the longest are
#: tried at zero, and the value may rise by no more than the solver's own accuracy.
NEGLIGIBLE = (1e-4, 1e-6)
ACCURACY = 1e-10
DIGITS = 1e-6


@dataclass(frozen=True, eq=False)
class State:
    """Blocks that are not zero, by their index, with the value they reach and the multiplier that prices the others.

    `limit` is the price from which a block that is left out would improve the value.
    """

    index: Array
    U: Array
    intercept: float
    value: float
    lam: Array
    limit: float


class Objective(Protocol):
    """A loss with its penalty, or the margins: what a working-set search asks about."""

    @property
    def term(self) -> Term: ...

    @property
    def beta(self) -> float: ...

    @property
    def intercept(self) -> bool: ...

    def start(self) -> State:
        """The state without blocks."""
        ...

    def polished(self, blocks: Blocks, state: State) -> State:
        """The state with its last digits."""
        ...

    def size(self, state: State) -> float:
        """A guess of the optimal value."""
        ...

    def judge(self, blocks: Blocks, index: Array, found: ConicSolution) -> State:
        """What a conic solution over the blocks `index` is worth."""
        ...

    def bound(self, lam: Array, price: float) -> tuple[Array, float]:
        """The best dual-feasible multiple of lam, and its value, if no price of lam exceeds `price`."""
        ...


@dataclass(frozen=True, eq=False)
class Search:
    """The end of a search: the last state, the best dual point with its value, rounds and blocks used."""

    state: State
    lam: Array
    dual_value: float
    rounds: int
    used: int


def search(blocks: Blocks, objective: Objective, *, batch: int | None = None) -> Search:
    """Solve, price the blocks left out, take in the dearest ones, until none is worth it.

    With `batch` no smaller than the number of blocks this is one solve over all of them.
    """
    from extremal.programs.projection import facets

    batch = 1 + 5 * blocks.X.shape[1] if batch is None else batch
    sides = blocks.sides.copy()
    blocks = replace(blocks, sides=sides)  # the cones stay what they are; implied sides are marked along the way
    working = np.zeros(blocks.count, bool)
    state, rounds, falling = objective.start(), 0, False
    proven, price = Proven(state.lam, -np.inf).by(blocks, objective, state)
    while True:
        entering = np.flatnonzero(~working & (price > state.limit * (1 + SAME)))
        if entering.size == 0:
            break
        dearest = entering[np.argsort(-price[entering], kind="stable")[:batch]]
        new = dearest if batch < blocks.count else np.arange(blocks.count)
        if falling and batch < blocks.count:
            working &= price > CHEAP * state.limit
        working[new] = True
        sides[new] = facets(blocks.lines, sides[new])
        solved, rounds = _solved(blocks, objective, state, np.flatnonzero(working)), rounds + 1
        proven, price = proven.by(blocks, objective, solved)
        if _exhausted(state.value, solved.value, float(price.max()) / state.limit):
            break
        state, falling = solved, solved.value < state.value * (1 - SAME)
    if state.index.size:
        cleaned = _cleaned(blocks, objective, state, proven.value)
        state = objective.polished(blocks, cleaned)
        for last in (cleaned, state):
            proven, _ = proven.by(blocks, objective, last)
    return Search(state, proven.lam, proven.value, rounds, int(working.sum()))


@dataclass(frozen=True, eq=False)
class Proven:
    """The best dual point so far, and its value."""

    lam: Array
    value: float

    def by(self, blocks: Blocks, objective: Objective, state: State) -> tuple[Proven, Array]:
        """What the multiplier of a state proves if that is more, and the prices of all blocks."""
        price = np.linalg.norm(blocks.projections(state.lam, cutoff=0.99 * state.limit), axis=1)
        lam, value = objective.bound(state.lam, float(price.max()))
        return (Proven(lam, value) if value > self.value else self), price


def _exhausted(before: float, after: float, price: float) -> bool:
    """Whether a value that rose is the end of the cone solver's digits: prices are all but met, or it failed."""
    return after > before and (price <= 1 + DIGITS or after > before * (1 + DIGITS))


def _solved(blocks: Blocks, objective: Objective, state: State, index: Array) -> State:
    part = blocks.take(index)
    found = solve_conic(part, objective.term, objective.beta, intercept=objective.intercept, size=objective.size(state))
    return objective.judge(part, index, found)


def _cleaned(blocks: Blocks, objective: Objective, state: State, dual_value: float) -> State:
    """The same value with fewer blocks, solved for once more: none that is dust, and then none whose fit depends on
    those of others."""
    most = max(state.value, dual_value) * (1 + ACCURACY)  # a state may be below the optimum by what it leaves its cones
    for fraction in NEGLIGIBLE:
        length = np.linalg.norm(state.U, axis=0)
        large = state.index[length > fraction * length.max(initial=0.0)]
        cleaned = _solved(blocks, objective, state, large)
        if cleaned.value <= most:
            state = cleaned
            break
    share = remove_dependencies(blocks.take(state.index).fits(state.U), np.linalg.norm(state.U, axis=0))
    if np.all(share > 0):
        return state
    cleaned = _solved(blocks, objective, state, state.index[share > 0])
    return cleaned if cleaned.value <= most else state
