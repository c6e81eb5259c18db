"""The smallest network that separates, or that interpolates: column generation over all patterns, with the exact gauge.

    P* = min 1/2 |theta|^2  subject to  y_i f(x_i) >= 1  (or f(x_i) = y_i)
       = max y^T lam  subject to  g(lam) <= 1            (and y_i lam_i >= 0 for margins).

The finite program for the patterns at hand is solved; its multiplier is handed to the gauge; a direction in which it
exceeds one is a violated constraint of the dual and, by its pattern, a new block of the primal. When none is left the
network is the smallest of any width, and y^T lam / g(lam) proves it. Read in the dual this is the cutting-plane method
of Ergen & Pilanci (JMLR 2021, algorithm 1), with an oracle that is exact for all data and with whole cells as cuts; a
free hidden bias adds sum_i lam_i = 0 to the dual (their algorithm 3).
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import linprog

from extremal.arrangements.central import lines_through
from extremal.arrangements.counting import cover_count
from extremal.certificate import relative_gap
from extremal.conventions import free_column
from extremal.design import Array, Design
from extremal.gauge import GaugeBounds, GaugeStatus, bounds_of, check_limits, compile_kernels
from extremal.gauge.ascent import ascend, distinct, random_starts
from extremal.losses import Squared, SquaredHinge
from extremal.network import Network
from extremal.problem import Problem
from extremal.programs import MarginResult, interpolation_program, margin_program
from extremal.programs.blocks import Blocks
from extremal.training import fit_problem

Bias = Literal["none", "penalized", "free"]

#: A direction is a violator if it exceeds the constraint by this fraction.
VIOLATION = 1e-9
#: New patterns in one round, and directions from which they are searched.
BATCH, STARTS = 30, 100
#: Patterns whose price is below this are left out while the value falls.
CHEAP = 0.8
#: With so few cells the search starts from nothing.
FEW_CELLS = 3000
#: The share of the time, and the penalty relative to sum_i |y_i|, of the training that the search starts from.
START_SHARE, START_PENALTY = 0.1, 1e-4
#: The share of the time after which the search gives way to the proof, and the time that is taken by default.
SEARCH_SHARE, SECONDS = 0.7, 60.0
#: The residual of a ray that proves that there is no solution.
RAY = 1e-9


class MinNormStatus(Enum):
    """How the search ended."""

    OPTIMAL = "globally optimal: the proven gap is within the tolerance"
    TIME_LIMIT = "stopped at the time limit; the network and the gap shown are valid, and more time improves both"
    STALLED = "the finite programs are solved as well as double precision allows; the gap shown is valid"
    RELAXED = "no violator was found, but only a relaxation bounds the gauge; the gap shown is valid"
    INTERRUPTED = "interrupted; the network and the gap shown are valid"
    IMPOSSIBLE = "no network of any width can do it, to working precision; `lam` is the proof"


#: Nothing is searched for after these.
ENDS = (MinNormStatus.OPTIMAL, MinNormStatus.INTERRUPTED)


@dataclass(frozen=True, eq=False)
class MinNormResult:
    """The smallest network that separates the labels, or interpolates the targets.

    Attributes
    ----------
    network : Network
        With smallest margin one (or f = y); without neurons if it is impossible.
    value : float
        Its 1/2 |theta|^2 (a free bias is not counted): an upper bound on P*. Infinite if it is impossible.
    dual_value : float
        y^T lam, a proven lower bound on P*. Infinite if it is impossible.
    lam : array of shape (n,)
        The dual-feasible multiplier that proves it: g(lam) <= 1. If it is impossible a ray: lam^T (Xu)_+ = 0 for every
        u (to 1e-9 for rows and targets of order one), but y^T lam = 1.
    gauge : GaugeBounds or None
        What is known of g at the last multiplier.
    status : MinNormStatus
    patterns : int
        The patterns of the last finite program.
    rounds : int
    seconds : float
    """

    network: Network
    value: float
    dual_value: float
    lam: Array
    gauge: GaugeBounds | None
    status: MinNormStatus
    patterns: int
    rounds: int
    seconds: float

    @property
    def possible(self) -> bool:
        """Whether some network does it."""
        return self.status is not MinNormStatus.IMPOSSIBLE

    @property
    def gap(self) -> float:
        """(value - dual_value) / value; no network has a smaller 1/2 |theta|^2 by more than this fraction."""
        return relative_gap(self.value, self.dual_value) if np.isfinite(self.value) else 1.0 if self.possible else 0.0

    @property
    def margin(self) -> float:
        """1 / (2 value): the smallest y_i f(x_i) when the network is scaled to |theta| = 1."""
        return 0.5 / self.value

    def __str__(self) -> str:
        return "\n".join(
            [
                f"{self.network}",
                f"1/2 |theta|^2              {self.value:.10g}",
                f"no network can be below    {self.dual_value:.10g}",
                f"relative gap               {self.gap:.2e}",
                f"patterns                   {self.patterns} in {self.rounds} rounds",
                f"status                     {self.status.value}",
                f"time                       {self.seconds:.2f} s",
            ]
        )


def max_margin(
    X: ArrayLike,
    y: ArrayLike,
    *,
    bias: Bias = "none",
    intercept: bool = False,
    tol: float = 1e-6,
    time_limit: float | None = None,
    random_state: int = 0,
) -> MinNormResult:
    """P* = min 1/2 |theta|^2 = min sum_j |v_j|  subject to  y_i f(x_i) >= 1, over two-layer ReLU networks of any width.

    Where gradient descent on the logistic or exponential loss converges, its limit direction is a stationary point of
    this problem, and the global one if and only if g(lam) <= 1 at its multiplier.

    Parameters
    ----------
    X : array of shape (n, d)
    y : array of shape (n,), labels -1/+1 or 0/1
    bias : {"none", "penalized", "free"}
        The hidden bias: none (as in the papers on gradient flow), penalised with the weights (a column of ones), or
        free. The free one is penalised a million times less than the weights (with c = 1000 max |x_i| as its column),
        and both values are corrected for that, so that the gap is proven for the free one; it is no smaller than 5e-7.
    intercept : bool
        Whether the outputs have a free constant. A free hidden bias implies one.
    tol : float
        The relative gap at which the search ends.
    time_limit : float, optional
        Seconds; 60 by default. Whatever is found by then is returned with a valid gap.
    random_state : int
        Seed of the search for violators; it has no influence on what is proved.

    Returns
    -------
    MinNormResult

    Raises
    ------
    ValueError
        If the data are not finite, the labels of another kind, or a single class meets a free constant.

    References
    ----------
    Wang & Pilanci (ICLR 2022) for the program and its dual; Ergen & Pilanci (JMLR 2021) for cutting planes.
    """
    labels = SquaredHinge.from_data(y)
    if (intercept or bias == "free") and np.unique(labels.target).size < 2:
        raise ValueError("with a free constant and a single class the constant alone separates: the value is 0")
    return _search(X, labels.target[:, 0], True, bias, intercept, tol, time_limit, random_state)


def min_norm(
    X: ArrayLike,
    y: ArrayLike,
    *,
    bias: Bias = "none",
    intercept: bool = False,
    tol: float = 1e-6,
    time_limit: float | None = None,
    random_state: int = 0,
) -> MinNormResult:
    """P* = min 1/2 |theta|^2 = min sum_j |v_j|  subject to  f(x_i) = y_i, over two-layer ReLU networks of any width.

    The parameters are those of :func:`max_margin`; y are numbers, not all zero. The outputs of the network are the
    targets to 1e-7 of the largest.

    References
    ----------
    Ergen & Pilanci (JMLR 2021), Theorem 1 and algorithms 1 and 3.
    """
    target = Squared.from_data(y).target
    if target.shape[1] != 1 or not target.any():
        raise ValueError("y must be one column of numbers that are not all zero")
    if (intercept or bias == "free") and np.ptp(target) == 0:
        raise ValueError("with a free constant a constant y is interpolated by it: the value is 0")
    return _search(X, target[:, 0], False, bias, intercept, tol, time_limit, random_state)


def impossible(X: Array, y: Array, *, bias: bool) -> MinNormResult | None:
    """The proof that no network separates the labels y of X (with its column of ones if `bias`); None if one does."""
    design = Design(X)
    line, _ = lines_through(X)
    ray = Task(design.scaled(1.0 / design.magnitude), y, True, False, line).ray
    return None if ray is None else _no_network(ray, design.d - bias, bias, 0.0)


def _no_network(ray: Array, features: int, bias: bool, seconds: float) -> MinNormResult:
    nothing = Network.zero(features, 1, bias=bias)
    return MinNormResult(nothing, np.inf, np.inf, ray, None, MinNormStatus.IMPOSSIBLE, 0, 0, seconds)


@dataclass(frozen=True, eq=False)
class Task:
    """The data in units in which rows and targets are of order one, with a penalised bias (or none) in X."""

    design: Design
    y: Array
    margins: bool
    intercept: bool
    #: The line through the origin that carries each row, -1 for a zero row.
    line: Array

    def solve(self, patterns: Array, signs: Array) -> MarginResult:
        """The finite program for these patterns."""
        program = margin_program if self.margins else interpolation_program
        return program(self.design.dense(), self.y, patterns, signs, intercept=self.intercept)

    def feasible(self, lam: Array) -> Array:
        """The multiplier without rounding in its sum, where that must vanish."""
        if not self.intercept:
            return lam
        loss = SquaredHinge if self.margins else Squared
        return loss.from_data(self.y).centred(lam[:, None])[:, 0]

    def trained(self, seconds: float, rng: np.random.Generator) -> Array:
        """Directions (d, m) that are near the right cells: those of a network trained with a small penalty."""
        loss = (SquaredHinge if self.margins else Squared).from_data(self.y)
        beta = START_PENALTY * float(np.abs(loss.dual(np.zeros((self.design.n, 1)))).sum())
        problem = Problem(self.design, loss, beta, intercept=self.intercept)
        return fit_problem(problem, time_limit=seconds, random_state=rng, proof=False).network.hidden

    @cached_property
    def ray(self) -> Array | None:
        """lam with y^T lam = 1, y_i lam_i >= 0 for margins, and lam^T (Xu)_+ = 0 for all u: None if there is none.

        (z)_+ = (z + |z|) / 2, and the |x_i^T u| of different lines are linearly independent. So it vanishes if and only
        if the rows of every line cancel, sum |x_i| lam_i = 0, and X^T lam = 0 (and 1^T lam = 0 with a free constant).
        A row alone on its line has lam_i = 0, so that few rows take part.
        """
        _, group, size = np.unique(self.line, return_inverse=True, return_counts=True)
        sample = np.flatnonzero((size[group] > 1) | (self.line < 0))
        if not self.y[sample].any():
            return None
        y, line, norms = self.y[sample], self.line[sample], self.design.row_norms[sample]
        cancel = (np.unique(line[line >= 0])[:, None] == line) * norms
        equations = np.vstack([cancel, self.design.rows(sample).T, np.ones((int(self.intercept), sample.size))])
        values = np.append(np.zeros(len(equations)), 1.0)
        bounds = (0, None) if self.margins else (None, None)
        found = linprog(np.zeros(sample.size), A_eq=np.vstack([equations * y, y**2]), b_eq=values, bounds=bounds)
        if found.x is None or np.abs(equations @ (y * found.x)).max(initial=0.0) > RAY:
            return None
        lam = np.zeros(len(self.y))
        lam[sample] = y * found.x
        return lam


def _search(
    X: ArrayLike,
    y: Array,
    margins: bool,
    bias: Bias,
    intercept: bool,
    tol: float,
    time_limit: float | None,
    random_state: int,
) -> MinNormResult:
    """Scale the data, generate columns, and scale back."""
    if bias not in ("none", "penalized", "free"):
        raise ValueError(f"bias must be 'none', 'penalized' or 'free', not {bias!r}")
    check_limits(tol, time_limit)
    given = Design.from_data(X, bias=bias == "penalized")
    if len(y) != given.n:
        raise ValueError(f"X has {given.n} rows and y has {len(y)}")
    compile_kernels()
    began = time.monotonic()
    column, excess = free_column(given) if bias == "free" else (0.0, 1.0)
    design = given.with_column(column) if column else given
    stretch, scale = design.magnitude, float(np.abs(y).max())
    normal, basis = design.scaled(1.0 / stretch).row_space()
    task = Task(normal, y / scale, margins, intercept or bias == "free", lines_through(design.dense())[0])
    if task.ray is not None:
        features = given.d - (bias == "penalized")
        return _no_network(task.ray / scale, features, bias != "none", time.monotonic() - began)
    state = generate(task, tol, time_limit or SECONDS, np.random.default_rng(random_state))
    network = _network(state.network, basis, stretch, scale, column, bias)
    weights = network.hidden[:-1] if column else network.hidden
    value = float(np.linalg.norm(weights, axis=0) @ np.linalg.norm(network.output, axis=1))
    return MinNormResult(
        network=network,
        value=value if network.width else np.inf,
        dual_value=state.dual_value * (scale / stretch) / excess,
        lam=state.lam / (stretch * excess),
        gauge=state.gauge,
        status=state.status,
        patterns=len(state.patterns),
        rounds=state.rounds,
        seconds=time.monotonic() - began,
    )


def _network(normal: Network, basis: Array | None, stretch: float, scale: float, column: float, bias: Bias) -> Network:
    """The network of the user's data for one of the normal form."""
    hidden = (normal.hidden if basis is None else basis @ normal.hidden) / stretch
    if column:
        hidden = np.vstack([hidden[:-1], column * hidden[-1:]])
    network = Network(hidden, normal.output * scale, normal.intercept * scale, bias=bias != "none")
    return network if column else network.balance()


@dataclass(eq=False)
class State:
    """The best network and the best multiplier of a search so far."""

    network: Network
    value: float
    lam: Array
    dual_value: float
    patterns: Array
    signs: Array
    gauge: GaugeBounds | None = None
    status: MinNormStatus = MinNormStatus.TIME_LIMIT
    rounds: int = 0

    @classmethod
    def empty(cls, task: Task) -> State:
        none, n = Network.zero(task.design.d, 1, bias=False), task.design.n
        return cls(none, np.inf, np.zeros(n), 0.0, np.zeros((0, n), bool), np.zeros(0))

    def drop_cheap(self, design: Design, lam: Array) -> None:
        """Forget the patterns whose price, the gauge of lam within their cells, is far below one."""
        prices = np.linalg.norm(Blocks.relu(design, self.patterns, self.signs).projections(lam), axis=1)
        self.patterns, self.signs = self.patterns[prices > CHEAP], self.signs[prices > CHEAP]

    def offer_dual(self, task: Task, lam: Array, gauge: GaugeBounds) -> None:
        """lam, scaled to be feasible."""
        self.gauge = gauge
        total = float(task.y @ lam) / (gauge.upper * (1 + 1e-14)) if gauge.upper > 0 else 0.0
        if total > self.dual_value:
            self.lam, self.dual_value = lam / (gauge.upper * (1 + 1e-14)), total

    def add(self, patterns: Array, signs: Array) -> bool:
        """Whether there was a new one among them."""
        known = {(p.tobytes(), s) for p, s in zip(self.patterns, self.signs, strict=True)}
        new = [k for k in range(len(signs)) if (patterns[k].tobytes(), signs[k]) not in known]
        self.patterns = np.vstack([self.patterns, patterns[new]])
        self.signs = np.concatenate([self.signs, signs[new]])
        return bool(new)


def generate(task: Task, tol: float, time_limit: float, rng: np.random.Generator) -> State:
    """The main loop: solve the finite program, look for violators, prove when none is found or time runs out."""
    design, began = task.design, time.monotonic()
    state, U = State.empty(task), None
    try:
        state.add(*violators(design, task.feasible(task.y.copy()), 0.0, None, rng))
        if cover_count(design.n, design.d) > FEW_CELLS:
            state.add(*signed_patterns(design, task.trained(START_SHARE * time_limit, rng)))
        while True:
            result = task.solve(state.patterns, state.signs)
            state.rounds += 1
            lam, limit = task.feasible(result.dual[:, 0]), 1.0
            if not result.separable:  # a ray: any direction in which it does not vanish improves it
                lam, limit = lam / np.abs(lam).max(), RAY
            elif result.value < state.value * (1 - VIOLATION):
                state.network, state.value, U = result.network, result.value, result.network.hidden
                state.drop_cheap(design, lam)
            late = time.monotonic() - began > SEARCH_SHARE * time_limit
            if late or not state.add(*violators(design, lam, limit, U, rng)):
                deadline = began + time_limit
                gauge = bounds_of(design, lam[:, None], tol=0.1 * tol, deadline=deadline, rng=rng, near=U)
                state.offer_dual(task, lam, gauge)
                state.status = _verdict(state, gauge, tol, late)
                done = late or state.status in ENDS or gauge.lower <= limit * (1 + VIOLATION)
                if done or not state.add(*pattern_of(design, lam, gauge.witness)):
                    return state
    except KeyboardInterrupt:
        state.status = MinNormStatus.INTERRUPTED
        return state


def violators(
    design: Design, lam: Array, limit: float, near: Array | None, rng: np.random.Generator
) -> tuple[Array, Array]:
    """Patterns and signs of mutually distinct local maxima of |lam^T (Xu)_+| above the limit."""
    found = ascend(design, lam[:, None], random_starts(design, STARTS, rng, near), rounds=20, sweeps=20)
    chosen = distinct(found.take(np.flatnonzero(found.value > limit * (1 + VIOLATION))), BATCH)
    return (design.forward(chosen.U) > 0).T, chosen.V[:, 0]


def signed_patterns(design: Design, U: Array) -> tuple[Array, Array]:
    """The patterns of the columns of U, with both signs."""
    patterns = (design.forward(U) > 0).T
    return np.vstack([patterns, patterns]), np.repeat([1.0, -1.0], len(patterns))


def pattern_of(design: Design, lam: Array, u: Array) -> tuple[Array, Array]:
    """The pattern (1, n) of u, and the sign of lam^T (Xu)_+."""
    z = design.forward(u[:, None])
    return (z > 0).T, np.sign(np.maximum(z, 0).T @ lam)


def _verdict(state: State, gauge: GaugeBounds, tol: float, late: bool) -> MinNormStatus:
    if state.value < np.inf and relative_gap(state.value, state.dual_value) <= tol:
        return MinNormStatus.OPTIMAL
    if gauge.status is GaugeStatus.INTERRUPTED:
        return MinNormStatus.INTERRUPTED
    if late or gauge.status in (GaugeStatus.TIME_LIMIT, GaugeStatus.NODE_LIMIT):
        return MinNormStatus.TIME_LIMIT
    return MinNormStatus.STALLED if gauge.status is GaugeStatus.EXACT else MinNormStatus.RELAXED
