"""Two-layer convolutional networks with pooling: f(x) = sum_j sum_k (x^(k) . w_j)_+ a_j over the patches x^(k) of x.

The ReLU acts on the patches, so that pooling is not the network of the averaged patch. But f is linear in the neurons
as before, and the dual constraint is the gauge of the stacked patches with lam_i at every patch of sample i,

    max over |u| <= 1 of |sum_i lam_i sum_k (x_i^(k) . u)_+| <= beta,

so that everything known of the gauge applies: column generation with the finite program of the patterns of all
patches (only the loss sees the sums), and a proof by the upper bound.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import index
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse

from extremal.certificate import relative_gap
from extremal.design import Array, Design
from extremal.gauge import GaugeBounds, bounds_of, check_limits, compile_kernels
from extremal.losses import Loss, bind
from extremal.network import Network, remove_dependencies
from extremal.problem import Problem
from extremal.programs.blocks import Blocks
from extremal.programs.cones import Term, loss_term, solve_conic
from extremal.training.constrained import pattern_of, violators

Pooling = Literal["average", "sum"]

#: A direction is a violator if it exceeds beta by this fraction.
VIOLATION = 1e-9
#: Patterns that are not in use and whose price is below this share of beta are left out.
CHEAP = 0.5
#: Filters of a smaller share of the largest are dropped.
NEGLIGIBLE = 1e-8
#: Rounds of the column generation, and seconds by default.
ROUNDS, SECONDS = 60, 30.0
#: The share of the time after which the search gives way to the proof.
SEARCH_SHARE = 0.7


@dataclass(frozen=True, eq=False)
class ConvolutionalResult:
    """A convolutional network of least objective, and the proof.

    Attributes
    ----------
    network : Network
        The filters w_j as hidden weights (h, m) and a_j (m, 1). `Network.predict` is for one patch.
    value : float
        sum_i loss(f(x_i), y_i) + beta/2 (|W|^2 + |a|^2).
    dual_value : float
        A proven lower bound on the objective of every such network.
    lam : array of shape (n,)
        The dual-feasible point that proves it.
    gauge : GaugeBounds
        Of the last multiplier, before it was scaled.
    patterns, rounds : int
        Of the last finite program, and how many were solved.
    seconds : float
    pooling : str
    """

    network: Network
    value: float
    dual_value: float
    lam: Array
    gauge: GaugeBounds
    patterns: int
    rounds: int
    seconds: float
    pooling: Pooling

    @property
    def gap(self) -> float:
        """(value - dual_value) / value."""
        return relative_gap(self.value, self.dual_value)

    def predict(self, patches: ArrayLike) -> Array:
        """f of shape (n,) for patches (n, k, h)."""
        stack = checked_patches(patches)
        if stack.shape[2] != len(self.network.hidden):
            raise ValueError(f"the patches have {stack.shape[2]} entries, the filters {len(self.network.hidden)}")
        return pooled(self.network, stack, self.pooling)

    def __str__(self) -> str:
        h, m = self.network.hidden.shape
        return "\n".join(
            [
                f"{m} filters of {h} weights, {self.pooling} pooling",
                f"objective of the network   {self.value:.10g}",
                f"no network can be below    {self.dual_value:.10g}",
                f"relative gap               {self.gap:.2e}",
                f"patterns                   {self.patterns} in {self.rounds} rounds",
                f"time                       {self.seconds:.2f} s",
            ]
        )


def patch_matrix(
    X: ArrayLike, window: int | Sequence[int], *, stride: int = 1, circular: bool = False, bias: bool = False
) -> Array:
    """The patches (n, k, h) of signals (n, length) or images (n, height, width), in the order of their corners.

    Parameters
    ----------
    X : array of shape (n, length) or (n, height, width)
    window : int or (int, int)
        The length of a patch, or its height and width (one number for both).
    stride : int
        The step between the corners.
    circular : bool
        Whether patches go on at the other end, one for every corner.
    bias : bool
        Append a 1 to every patch, for filters with a penalised bias.

    Raises
    ------
    ValueError
        If X has another shape or is not finite, or the window does not fit.
    """
    array = np.asarray(X, dtype=np.float64)
    if array.ndim not in (2, 3) or 0 in array.shape or not np.isfinite(array).all():
        raise ValueError(f"X must be finite, of shape (n, length) or (n, height, width); its shape is {array.shape}")
    sides = array.shape[1:]
    try:
        step = index(stride)
        size = tuple(index(w) for w in window) if isinstance(window, Iterable) else (index(window),) * len(sides)
    except TypeError:
        raise ValueError(f"window and stride must be whole numbers, not {window!r} and {stride!r}") from None
    if len(size) != len(sides) or not all(1 <= w <= s for w, s in zip(size, sides, strict=True)):
        raise ValueError(f"a window of {size} does not fit into samples of shape {sides}")
    if step < 1:
        raise ValueError(f"stride must be positive, not {stride!r}")
    if circular:
        array = np.pad(array, [(0, 0), *[(0, w - 1) for w in size]], mode="wrap")
    axes = tuple(range(1, array.ndim))
    windows = np.lib.stride_tricks.sliding_window_view(array, size, axis=axes)
    windows = windows[(slice(None), *[slice(None, None, step)] * len(size))]
    patches = windows.reshape(len(array), -1, int(np.prod(size)))
    return np.concatenate([patches, np.ones((*patches.shape[:2], 1))], axis=2) if bias else patches.copy()


def pooled(network: Network, patches: Array, pooling: Pooling) -> Array:
    """f of shape (n,): the network's outputs on the patches (n, k, h), summed or averaged."""
    n, k, h = patches.shape
    outputs = network.evaluate(Design(patches.reshape(n * k, h))).reshape(n, k)
    return outputs.sum(axis=1) if pooling == "sum" else outputs.mean(axis=1)


def fit_convolutional(
    patches: ArrayLike,
    y: ArrayLike,
    *,
    beta: float,
    pooling: Pooling = "average",
    loss: str = "squared",
    tol: float = 1e-6,
    time_limit: float | None = None,
    random_state: int = 0,
) -> ConvolutionalResult:
    """min sum_i loss(f(x_i), y_i) + beta/2 (|W|^2 + |a|^2), f(x) = sum_j pool_k (x^(k) . w_j)_+ a_j, for any width.

    Parameters
    ----------
    patches : array of shape (n, k, h)
        `patch_matrix` makes them. Column generation over the patterns of all n k patches: for small data.
    y : array of shape (n,)
    beta : float
    pooling : "average" or "sum"
        The average is the sum with 1/k of the weights a.
    loss : str
        "squared", "logistic", "huber" or "squared_hinge".
    tol : float
        The relative gap at which the search ends.
    time_limit : float, optional
        Seconds; 30 by default. The gap is valid whenever the search ends.
    random_state : int
        Seed of the search for violators; it has no influence on what is proved.

    Raises
    ------
    ValueError
        If the data are unusable or do not fit together, or an argument is unknown.

    References
    ----------
    Pilanci & Ergen (ICML 2020), section on convolutional networks: the convex program for sampled patterns.
    """
    if pooling not in ("average", "sum"):
        raise ValueError(f"pooling must be 'average' or 'sum', not {pooling!r}")
    check_limits(tol, time_limit)
    stack = checked_patches(patches)
    n, k, h = stack.shape
    bound = bind(loss, y)
    if bound.shape != (n, 1):
        raise ValueError(
            f"there are patches of {n} samples, and targets of shape {bound.shape}; one output is possible"
        )
    compile_kernels()
    began = time.monotonic()
    tall = stack.reshape(n * k, h) / (k if pooling == "average" else 1)
    checked = Problem.from_data(np.zeros((n, 1)), np.zeros(n), beta=beta, bias="none")
    problem = Problem(Design(tall), bound, checked.beta)
    normal, scaling = problem.normalised()
    search = Search(normal, k, np.random.default_rng(random_state), began + (time_limit or SECONDS), tol)
    search.run()
    network = scaling.network(search.network)
    outputs = pooled(network, stack, pooling)
    return ConvolutionalResult(
        network=network,
        value=bound.value(outputs[:, None]) + beta * network.penalty(),
        dual_value=scaling.value(search.dual_value),
        lam=scaling.multiplier(search.lam)[:, 0],
        gauge=search.gauge.scaled(scaling.gauge(1.0)),
        patterns=len(search.patterns),
        rounds=search.rounds,
        seconds=time.monotonic() - began,
        pooling=pooling,
    )


class Search:
    """Column generation in normal form: the rows of the design are the patches, k for each row of the loss."""

    def __init__(self, problem: Problem, k: int, rng: np.random.Generator, deadline: float, tol: float) -> None:
        self.problem, self.k, self.rng, self.deadline, self.tol = problem, k, rng, deadline, tol
        self.began = time.monotonic()
        self.term = pooled_term(problem.loss, k)
        n = problem.loss.shape[0]
        self.sums = Problem(Design(np.zeros((n, 1))), problem.loss, problem.beta)  # what the loss sees: n rows
        self.network = Network.zero(problem.design.d)
        self.value = problem.loss.value(np.zeros((n, 1)))
        self.lam, self.dual_value = np.zeros((n, 1)), problem.loss.dual_value(np.zeros((n, 1)))
        self.patterns, self.signs = np.zeros((0, problem.design.n), bool), np.zeros(0)
        self.gauge, self.rounds = (
            bounds_of(problem.design, np.zeros((n * k, 1)), tol=tol, deadline=deadline, rng=rng),
            0,
        )

    def run(self) -> None:
        """Until the gap is closed, nothing is left to add, or time is over."""
        for _ in range(ROUNDS):
            lam = self.problem.loss.dual(self.outputs(self.network))
            tall = np.repeat(lam[:, 0], self.k)
            near = self.network.hidden if self.network.width else None
            late = time.monotonic() > self.began + SEARCH_SHARE * (self.deadline - self.began)
            limit = self.problem.beta
            if late or not self.add(*violators(self.problem.design, tall, limit, near, self.rng)):
                self.bound(lam, tall, near)
                new = self.add(*pattern_of(self.problem.design, tall, self.gauge.witness))
                if late or relative_gap(self.value, self.dual_value) <= self.tol or not new:
                    return
            self.solve()

    def outputs(self, network: Network) -> Array:
        each = network.evaluate(self.problem.design)
        return each.reshape(-1, self.k).sum(axis=1, keepdims=True)

    def bound(self, lam: Array, tall: Array, near: Array | None) -> None:
        """The lower bound of this multiplier."""
        deadline = max(self.deadline, time.monotonic() + 1.0)
        self.gauge = bounds_of(
            self.problem.design, tall[:, None], tol=0.1 * self.tol, deadline=deadline, rng=self.rng, near=near
        )
        point, value = self.sums.dual_point(lam, self.gauge.upper)
        if value > self.dual_value:
            self.lam, self.dual_value = point, value

    def solve(self) -> None:
        """The finite program of the patterns at hand; the patterns it does not want are forgotten."""
        blocks = Blocks.relu(self.problem.design, self.patterns, self.signs)
        found = solve_conic(blocks, self.term, self.problem.beta, intercept=False, size=max(self.value, 1e-12))
        self.rounds += 1
        sizes = np.linalg.norm(found.U, axis=0)
        used = sizes > NEGLIGIBLE * sizes.max(initial=0.0)
        root = np.sqrt(sizes[used])
        network = self.pruned(Network(found.U[:, used] / root, self.signs[used] * root))
        value = self.problem.loss.value(self.outputs(network)) + self.problem.beta * network.penalty()
        if value < self.value:
            self.network, self.value = network, value
        prices = np.linalg.norm(blocks.projections(found.lam), axis=1)
        keep = used | (prices > CHEAP * self.problem.beta)
        self.patterns, self.signs = self.patterns[keep], self.signs[keep]

    def pruned(self, network: Network) -> Network:
        """At most n filters of the same pooled outputs and no larger cost."""
        hidden = np.maximum(self.problem.design.forward(network.hidden), 0) * network.output[:, 0]
        fits = hidden.reshape(-1, self.k, network.width).sum(axis=1)
        root = np.sqrt(remove_dependencies(fits, network.strength))
        keep = root > 0
        return Network(network.hidden[:, keep] * root[keep], network.output[keep] * root[keep, None])

    def add(self, patterns: Array, signs: Array) -> bool:
        """Whether there was a new one among them."""
        known = {(p.tobytes(), s) for p, s in zip(self.patterns, self.signs, strict=True)}
        new = [j for j in range(len(signs)) if signs[j] and (patterns[j].tobytes(), signs[j]) not in known]
        self.patterns = np.vstack([self.patterns, patterns[new]])
        self.signs = np.concatenate([self.signs, signs[new]])
        return bool(new)


def pooled_term(loss: Loss, k: int) -> Term:
    """The loss of sums of k outputs each, as a term of all outputs g: it acts on further variables p = sum g."""
    base, n = loss_term(loss), loss.shape[0]
    tall, count, own = n * k, base.sample.size, base.linear.size
    sums = sparse.kron(sparse.identity(n), np.ones((1, k)), format="csr")[base.sample]
    link = sparse.hstack([sums, -sparse.identity(count), sparse.csc_matrix((count, own - count))])
    rest = sparse.hstack([sparse.csc_matrix((base.rows.shape[0], tall)), base.rows])
    free = np.full(tall, np.inf)
    quadratic, linear = (np.concatenate([np.zeros(tall), part]) for part in (base.quadratic, base.linear))
    rows = sparse.vstack([link, rest], format="csc")
    cones = [("zero", count), *base.cones]
    return Term(
        np.arange(tall), np.zeros(tall), quadratic, linear, rows, np.append(base.shift, base.rhs), cones, -free, free
    )


def checked_patches(patches: ArrayLike) -> Array:
    """Patches as a finite array of shape (n, k, h); ValueError if they are not that."""
    stack = np.asarray(patches, dtype=np.float64)
    if stack.ndim != 3 or 0 in stack.shape:
        raise ValueError(f"patches must have shape (n, k, h); their shape is {stack.shape}")
    if not np.isfinite(stack).all():
        raise ValueError("patches contain NaN or infinity")
    Design.from_data(stack.reshape(-1, stack.shape[2]))  # entries of a size that can be squared
    return stack
