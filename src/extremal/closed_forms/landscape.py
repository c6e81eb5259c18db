"""A way down from every network to a global optimum, along which the objective never rises; written out, not argued.

In the coordinates u_j = w_j |a_j| of balanced neurons the penalty is beta sum_j |u_j|, and the outputs are linear in
u_j as long as the neurons keep their cells and outer directions. The way has four stages.

- Balance: (e^{st} w, e^{-st} a) keeps the outputs, and |w|^2 + |a|^2 falls along the hyperbola until |w| = |a|; a
  neuron with weights in one layer only shrinks to zero.
- Merge: neurons of one cell and one outer direction go, along segments in u, into one. The outputs do not change, and
  sum |u_j| is convex along a segment and smallest at its end.
- Prune: along a linear dependency of the fits mass is shifted until a neuron is empty, in the direction that does not
  raise the penalty. That leaves m_0 <= n c neurons with independent fits.
- Bring in: theta(t) = (sqrt(1 - t) theta_0, sqrt(t) theta_*) has the outputs (1 - t) f_0 + t f_* and the penalty
  (1 - t) R_0 + t R_*. The objective is convex in t and minimal at t = 1, hence never rises.

The last stage needs room for m_0 + m_* neurons. Where the network is narrower, neurons are exchanged one at a time
(`exchange`): the same line of outputs, each of its points at the least penalty that the neurons of both networks allow,
which is a convex function of t too. Then r + 1 <= n c + 1 neurons are enough, r the rank of the fits of both.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count, pairwise
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq

from extremal.certificate import problem_of
from extremal.closed_forms.exchange import RANK, Corner, Stuck, exchange
from extremal.design import Array
from extremal.losses import Loss
from extremal.network import Network, dependency
from extremal.problem import Problem
from extremal.programs import optimal_set
from extremal.training import fit_problem

#: Relative changes of the objective below this are rounding.
ROUNDING = 1e-13
#: A combination of unit fits that is shorter than this, times their number, counts as zero.
DEPENDENT = 1e-15
#: An optimum of at most so many hidden weights is polished by Newton's method.
POLISHED = 500
#: Outer directions closer than this are one.
SAME = 4 * np.finfo(float).eps


class Piece(Protocol):
    """A part of a path: a network for every s in [0, 1]."""

    def weights(self, s: float) -> tuple[Array, Array, Array]:
        """Hidden weights, output weights and intercept."""
        ...


@dataclass(frozen=True, eq=False)
class Hyperbola:
    """Every neuron moves along (e^{st} w, e^{-st} a), those with weights in one layer only along (1 - s)."""

    hidden: Array
    output: Array
    intercept: Array
    rate: Array
    half: Array

    @classmethod
    def balancing(cls, network: Network) -> Hyperbola:
        """From a network to the balanced one."""
        inner, outer = np.linalg.norm(network.hidden, axis=0), np.linalg.norm(network.output, axis=1)
        alive = (inner > 0) & (outer > 0)
        rate = np.zeros(network.width)
        rate[alive] = 0.5 * (np.log(outer[alive]) - np.log(inner[alive]))
        return cls(network.hidden, network.output, network.intercept, rate, ~alive & ((inner > 0) | (outer > 0)))

    @property
    def stays(self) -> bool:
        """Whether the network is balanced already, up to rounding."""
        return not self.half.any() and bool(np.abs(self.rate).max(initial=0.0) <= SAME)

    def weights(self, s: float) -> tuple[Array, Array, Array]:
        shrink, factor = np.where(self.half, 1.0 - s, 1.0), np.exp(s * self.rate)
        return self.hidden * (shrink * factor), self.output * (shrink / factor)[:, None], self.intercept


@dataclass(frozen=True, eq=False)
class Segment:
    """Balanced neurons u_j v_j^T with u_j on a segment; an intercept likewise."""

    before: Array
    after: Array
    outer: Array
    intercept_before: Array
    intercept_after: Array

    def weights(self, s: float) -> tuple[Array, Array, Array]:
        U = self.after if s >= 1 else (1 - s) * self.before + s * self.after
        root = np.sqrt(np.linalg.norm(U, axis=0))
        hidden = U / np.where(root > 0, root, 1.0)
        return hidden, self.outer * root[:, None], (1 - s) * self.intercept_before + s * self.intercept_after

    def cut(self, s: float) -> Segment:
        """Its first part."""
        middle = (1 - s) * self.before + s * self.after
        shift = (1 - s) * self.intercept_before + s * self.intercept_after
        return Segment(self.before, middle, self.outer, self.intercept_before, shift)


@dataclass(frozen=True)
class Stage:
    """A stage of a path.

    Attributes
    ----------
    name : str
        "balance", "merge", "prune", "bring in" or "exchange"; "stay" if there is nothing to do.
    start, stop : float
        Where in [0, 1] it is.
    before, after : float
        The objective there.
    neurons : int
        Those that are not zero at its end.
    """

    name: str
    start: float
    stop: float
    before: float
    after: float
    neurons: int

    def __str__(self) -> str:
        return f"{self.name:<10}{self.start:.3f} - {self.stop:.3f}   {self.after:.12g} with {self.neurons} neurons"


@dataclass(frozen=True, eq=False)
class Path:
    """A continuous path of networks of one width, from a given one to a global optimum; the objective never rises.

    Attributes
    ----------
    stages : tuple of Stage
    width : int
        Of all its networks: that of the given one, or `needed` if that is more.
    needed : int
        The most neurons that are not zero at one time after pruning; a network at least as wide has room for the path.
    enough : int
        What suffices for every network with these data: min(m_0 + m_*, r + 1) for the neurons m_0 after pruning, those
        of the optimum m_*, and the rank r of their fits together; at most n c + 1.
    target : float
        The objective of the optimum that the path leads to. It ends there, or below if that was not optimal.
    lower : float or None
        A proven lower bound on the objective of every network, if training has one.
    problem : Problem
    """

    stages: tuple[Stage, ...]
    width: int
    needed: int
    enough: int
    target: float
    lower: float | None
    problem: Problem = field(repr=False)
    _pieces: tuple[tuple[Piece, ...], ...] = field(repr=False)

    def network(self, t: float) -> Network:
        """The network at t in [0, 1].

        Raises
        ------
        ValueError
            If t is not in [0, 1].
        """
        if not 0 <= t <= 1:
            raise ValueError(f"t must be in [0, 1], not {t!r}")
        index = next(k for k, stage in enumerate(self.stages) if t <= stage.stop)
        stage, pieces = self.stages[index], self._pieces[index]
        position = (t - stage.start) / (stage.stop - stage.start) * len(pieces)
        piece = min(int(position), len(pieces) - 1)
        hidden, output, intercept = pieces[piece].weights(min(max(position - piece, 0.0), 1.0))
        spare = self.width - len(output)
        hidden = np.hstack([hidden, np.zeros((len(hidden), spare))])
        output = np.vstack([output, np.zeros((spare, output.shape[1]))])
        return Network(hidden, output, intercept, bias=self.problem.bias)

    def objective(self, t: float) -> float:
        """The objective at t in [0, 1]."""
        return self.problem.value(self.network(t))

    def sample(self, points: int = 400) -> tuple[Array, Array]:
        """A grid of t, with all corners of the path in it, and the objectives there."""
        corners = [
            np.linspace(stage.start, stage.stop, len(pieces) + 1)
            for stage, pieces in zip(self.stages, self._pieces, strict=True)
        ]
        t = np.clip(np.unique(np.concatenate([np.linspace(0, 1, points), *corners])), 0.0, 1.0)
        return t, np.array([self.objective(s) for s in t])

    def rise(self, points: int = 400) -> float:
        """The most by which the objective on the grid is above an earlier value, relative to that; 0 if it never is."""
        values = self.sample(points)[1]
        lowest = np.minimum.accumulate(values)
        return float(np.max((values - lowest) / np.maximum(lowest, 1e-300)))

    def __str__(self) -> str:
        head = (
            f"from {self.stages[0].before:.12g} to {self.stages[-1].after:.12g}, the optimum being {self.target:.12g}"
        )
        if self.lower is not None:
            head += f" and proven to be at least {self.lower:.12g}"
        room = f"width {self.width}; {self.needed} neurons at one time, {self.enough} are enough"
        return "\n".join([head, room, *map(str, self.stages)])


def path_to_optimum(
    network: Network,
    X: ArrayLike,
    y: ArrayLike,
    *,
    beta: float,
    loss: str | Loss = "squared",
    intercept: bool | None = None,
    sample_weight: ArrayLike | None = None,
    optimum: Network | None = None,
    time_limit: float | None = None,
    random_state: int | np.random.Generator | None = 0,
) -> Path:
    """A continuous path from any network to a global optimum along which the objective never rises.

    Parameters
    ----------
    network : Network
        Of any width: a narrower one than the path needs gets zero neurons at its start, which change nothing. (At small
        widths there are networks without such a path: strict local minima.)
    X, y, beta, loss, intercept, sample_weight
        The training problem, as for :func:`extremal.certify`.
    optimum : Network, optional
        Where to go. By default the problem is solved, as by :func:`extremal.fit` with `time_limit` and `random_state`.
        If it is not optimal, the path ends at the best network on the last stage, which is no worse than it.

    Returns
    -------
    Path

    Raises
    ------
    ValueError
        If the data are unusable, or one of the networks does not fit them.

    Notes
    -----
    The width that is enough, min(m_0 + m_*, r + 1), is at most n c + 1: what Haeffele & Vidal show to exclude local
    minima that are not global. The convex combination alone would need up to 2 n c.

    References
    ----------
    Wang, Lacotte & Pilanci (ICLR 2022), the path to the global minimum; Haeffele & Vidal (CVPR 2017).
    """
    problem = problem_of(network, X, y, beta=beta, loss=loss, intercept=intercept, sample_weight=sample_weight)
    target, lower = _target(problem, optimum, time_limit, random_state)
    balancing = Hyperbola.balancing(network)
    stages: list[tuple[str, Sequence[Piece]]] = [("balance", [] if balancing.stays else [balancing])]
    state = _State.of(*balancing.weights(1.0))
    for name, move in (("merge", _merge), ("prune", _prune)):
        pieces: list[Segment] = move(problem, state)
        stages.append((name, pieces))
        state = state.moved(pieces)
    name, last, enough = _last_stage(problem, state, _State.of_network(target), network.width)
    stages.append((name, last))
    stages = [(name, pieces) for name, pieces in stages if pieces] or [("stay", [state.segment(state.U)])]
    needed = max([state.count, *map(_crowd, last)])
    return Path(
        _measured(problem, stages), max(network.width, needed), needed, enough, problem.value(target), lower, problem,
        tuple(tuple(pieces) for _, pieces in stages),
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class _State:
    """A balanced network in convex coordinates: neurons u_j v_j^T, |v_j| = 1; u_j = 0 is a free place."""

    U: Array
    V: Array
    intercept: Array

    @classmethod
    def of(cls, hidden: Array, output: Array, intercept: Array) -> _State:
        size = np.linalg.norm(output, axis=1)
        default = np.eye(1, output.shape[1])
        V = np.where(size[:, None] > 0, output / np.where(size > 0, size, 1.0)[:, None], default)
        return cls(hidden * size, V, intercept)

    @classmethod
    def of_network(cls, network: Network) -> _State:
        balanced = network.balance()
        return cls.of(balanced.hidden, balanced.output, balanced.intercept)

    @property
    def alive(self) -> Array:
        return np.flatnonzero(np.any(self.U, axis=0))

    @property
    def count(self) -> int:
        return self.alive.size

    @property
    def strength(self) -> Array:
        return np.linalg.norm(self.U, axis=0)

    def fits(self, problem: Problem) -> Array:
        """(X u_j)_+ v_j^T as columns, shape (n c, m)."""
        hidden = np.maximum(problem.design.forward(self.U), 0)
        return np.einsum("im,mc->icm", hidden, self.V).reshape(hidden.shape[0] * self.V.shape[1], hidden.shape[1])

    def segment(self, after: Array) -> Segment:
        return Segment(self.U, after, self.V, self.intercept, self.intercept)

    def moved(self, pieces: Sequence[Segment]) -> _State:
        """Where the segments lead."""
        if not pieces:
            return self
        return _State(pieces[-1].after, pieces[-1].outer, pieces[-1].intercept_after)


def _target(
    problem: Problem, optimum: Network | None, time_limit: float | None, random_state: int | np.random.Generator | None
) -> tuple[Network, float | None]:
    """The optimum with independent fits, to the last digits where that is cheap, and the proven lower bound."""
    lower = None
    if optimum is None:
        result = fit_problem(problem, time_limit=time_limit, random_state=random_state)
        optimum, lower = result.network, result.certificate.dual
    elif (optimum.hidden.shape, optimum.n_outputs, optimum.bias) != (
        (problem.design.d, optimum.width),
        problem.loss.shape[1],
        problem.bias,
    ):
        raise ValueError(f"the optimum, {optimum}, does not belong to the problem")
    elif not problem.intercept and np.any(optimum.intercept):
        raise ValueError("the optimum has an intercept and the model has none; pass intercept=True")
    candidates = [optimum, optimum.prune_on(problem.design)]
    if optimum.hidden.size <= POLISHED:
        with suppress(ValueError):  # not stationary enough to be polished
            candidates.append(optimal_set(problem, optimum).prune().network)
    best = min(map(problem.value, candidates))
    good = [net for net in candidates if problem.value(net) <= best + ROUNDING * abs(best)]
    return min(good, key=lambda net: net.width), lower


# ------------------------------------------------------------------------------------------------------------- stages


def _merge(problem: Problem, state: _State) -> list[Segment]:
    """Neurons of one closed cell and one outer direction go into the strongest of them, all at once."""
    strength = state.strength
    sides = np.sign(problem.design.forward(state.U))
    after = state.U.copy()
    free = strength > 0
    for leader in np.argsort(-strength, kind="stable"):
        if not free[leader]:
            continue
        free[leader] = False
        low, high = np.minimum(sides[:, leader], 0), np.maximum(sides[:, leader], 0)
        for j in np.flatnonzero(free & (np.abs(state.V - state.V[leader]).max(axis=1) <= SAME)):
            below, above = np.minimum(low, sides[:, j]), np.maximum(high, sides[:, j])
            if not np.any((below < 0) & (above > 0)):
                low, high, free[j] = below, above, False
                after[:, leader] += state.U[:, j]
                after[:, j] = 0.0
    return [] if np.array_equal(after, state.U) else [state.segment(after)]


def _prune(problem: Problem, state: _State) -> list[Segment]:
    """Neurons without a fit shrink; then, along one dependency of the fits after the other, a neuron is emptied."""
    pieces: list[Segment] = []
    fits, strength = state.fits(problem), state.strength
    share = (strength > 0).astype(float)
    dead = (share > 0) & ~fits.any(axis=0)
    if dead.any():
        share[dead] = 0.0
        pieces.append(state.segment(state.U * share))
    lowest = problem.value(_network(problem, state.segment(state.U * share), 1.0))
    while True:
        for tol in (DEPENDENT, 0.0):  # with 0, only columns that are too many
            moved = _shifted(fits, strength, share, tol)
            if moved is None:
                return pieces
            piece = state.moved(pieces).segment(state.U * moved)
            value = problem.value(_network(problem, piece, 1.0))
            if value <= lowest * (1 + ROUNDING):
                break
        else:
            return pieces
        pieces.append(piece)
        lowest, share = min(lowest, value), moved


def _shifted(fits: Array, cost: Array, share: Array, tol: float) -> Array | None:
    """The shares at the end of one dependency, where one more is zero and fits and cost are no larger; None if none."""
    alive = np.flatnonzero(share)[: len(fits) + 1]
    direction = dependency(fits[:, alive] * share[alive], tol)
    if direction is None:
        return None
    if cost[alive] * share[alive] @ direction > 0 or not np.any(direction < 0):
        direction = -direction
    emptied = int(np.argmin(direction))
    scale = 1.0 - direction / direction[emptied]
    moved = share.copy()
    moved[alive] = np.where(scale > 1e-14, share[alive] * scale, 0.0)
    moved[alive[emptied]] = 0.0
    return moved


def _last_stage(problem: Problem, state: _State, target: _State, width: int) -> tuple[str, list[Segment], int]:
    """The optimum's neurons come in: all at once if there is room, else in exchange; and the width that is enough."""
    m = state.count
    outer = np.vstack([state.V[state.alive], target.V])
    both = _State(np.hstack([state.U[:, state.alive], target.U]), outer, state.intercept)
    fits = both.fits(problem)
    norms = np.linalg.norm(fits, axis=0)
    singular = np.linalg.svd(fits / np.where(norms > 0, norms, 1.0), compute_uv=False)
    rank = int((singular > RANK * singular.max(initial=0.0)).sum())
    enough = min(both.count, rank + 1)
    start = (np.arange(both.count) < m).astype(float)
    name, corners = "bring in", [Corner(0.0, start), Corner(1.0, 1.0 - start)]
    if max(width, enough) < both.count:
        try:
            name, corners = "exchange", exchange(fits, both.strength, start, 1.0 - start)
        except Stuck:
            enough = both.count
    pieces = _in_places(both, corners, state.alive, target.intercept)
    return name, _descending(problem, pieces), enough


def _in_places(both: _State, corners: list[Corner], places: Array, intercept: Array) -> list[Segment]:
    """The segments between corners, each neuron in a place of its own as long as it is there.

    The first neurons are at `places`; one that comes in takes the first free place. The intercept moves with the
    outputs.
    """
    place = {k: int(p) for k, p in enumerate(places)}
    pieces: list[Segment] = []
    for corner, following in pairwise(corners):
        first, second = corner.shares, following.shares
        place = {k: p for k, p in place.items() if first[k] > 0}
        for k in np.flatnonzero((second > 0) & (first == 0)):
            place[int(k)] = next(p for p in count() if p not in place.values())
        neurons, own = np.array(list(place), dtype=int), np.array(list(place.values()), dtype=int)
        size = int(own.max(initial=-1)) + 1
        before, after = np.zeros((len(both.U), size)), np.zeros((len(both.U), size))
        outer = np.tile(np.eye(1, both.V.shape[1]), (size, 1))
        before[:, own], after[:, own] = both.U[:, neurons] * first[neurons], both.U[:, neurons] * second[neurons]
        outer[own] = both.V[neurons]
        shifts = [(1 - t) * both.intercept + t * intercept for t in (corner.t, following.t)]
        pieces.append(Segment(before, after, outer, *shifts))
    return pieces


def _descending(problem: Problem, pieces: list[Segment]) -> list[Segment]:
    """The pieces as long as the objective falls. It is convex along each, and rises only if the end is not optimal."""
    kept: list[Segment] = []
    for piece in pieces:
        line = _Line.of(problem, piece)
        if line.slope(1.0) <= ROUNDING * line.size:
            kept.append(piece)
            continue
        if line.slope(0.0) < 0:
            kept.append(piece.cut(brentq(line.slope, 0.0, 1.0, xtol=1e-15)))
        return kept
    return kept


@dataclass(frozen=True, eq=False)
class _Line:
    """The objective along a segment on which the neurons keep their directions: loss(line) + a linear penalty."""

    problem: Problem
    start: Array
    end: Array
    change: float
    size: float

    @classmethod
    def of(cls, problem: Problem, piece: Segment) -> _Line:
        start, end = (_network(problem, piece, s).evaluate(problem.design) for s in (0.0, 1.0))
        costs = [problem.beta * float(np.linalg.norm(U, axis=0).sum()) for U in (piece.before, piece.after)]
        return cls(problem, start, end, costs[1] - costs[0], problem.loss.value(start) + max(costs))

    def slope(self, s: float) -> float:
        """The derivative at s."""
        outputs = (1 - s) * self.start + s * self.end
        return self.change - float(np.vdot(self.problem.loss.dual(outputs), self.end - self.start))


# ------------------------------------------------------------------------------------------------------------ measures


def _network(problem: Problem, piece: Piece, s: float) -> Network:
    return Network(*piece.weights(s), bias=problem.bias)


def _crowd(piece: Segment) -> int:
    """The neurons that are there at some time."""
    return int(np.any((piece.before != 0) | (piece.after != 0), axis=0).sum())


def _measured(problem: Problem, stages: Sequence[tuple[str, Sequence[Piece]]]) -> tuple[Stage, ...]:
    """The stages, each with the same part of [0, 1]."""
    ends = np.linspace(0, 1, len(stages) + 1)
    found: list[Stage] = []
    for k, (name, pieces) in enumerate(stages):
        first, last = _network(problem, pieces[0], 0.0), _network(problem, pieces[-1], 1.0)
        neurons = int((np.any(last.hidden, axis=0) | np.any(last.output, axis=1)).sum())
        values = problem.value(first), problem.value(last)
        found.append(Stage(name, float(ends[k]), float(ends[k + 1]), *values, neurons))
    return tuple(found)
