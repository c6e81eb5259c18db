"""The gauge with a free hidden bias: a tree of signs in which every node chooses the column that carries the bias.

Where lam sums to zero, a bias beyond the data changes nothing. So with R = max |x_i|

    g(lam) = max |lam^T (X w + b)_+|   over the cylinder  |w| <= 1, |b| <= R.

For every F the ball |w|^2 + (b / (F R))^2 <= 1 + 1 / F^2 contains the cylinder: Shor's relaxation there, with the
column F R, bounds f on the part of it that belongs to a node. What is linear in (w, b) is bounded without loss by the
best F, and different parts ask for different ones: a long column where the bias is inside the data, a short one where
the signs leave much of it open.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from extremal.design import Array, Design
from extremal.gauge.bounds import GaugeBounds, GaugeStatus
from extremal.gauge.sides import EPS, Side, merge_parallel
from extremal.gauge.tree import Multipliers, Node, Search, node_work, products

METHOD = "tree over a free bias"

#: F = 2^e: what the root tries, the limits elsewhere, and the finest step of e where no sign is left to branch on.
ROOT_EXPONENTS, LOWEST, HIGHEST, FINEST = range(-1, 10), -8.0, 12.0, 1 / 64

#: Generations without a trial of a longer ball, after one that was no better.
PAUSE = 2

#: Multiplications in a second, and balls that shall fit into the time: those of the roots, and as many below them.
WORK_PER_SECOND, FEW_NODES = 2e9, 80

#: Steps of an ascent.
CLIMB = 20


@dataclass(frozen=True, eq=False)
class Cylinder:
    """lam^T (X w + b)_+ on |w| <= 1, |b| <= R, as `unit` times f of a Side at u = (basis^T w, b / R) / sqrt(2).

    That is the ball of F = 1. `slack` bounds the difference, in units of f, and what lam fails to sum to zero by.
    """

    side: Side
    unit: float
    slack: float
    radius: float
    basis: Array | None

    @classmethod
    def around(cls, design: Design, lam: Array) -> Cylinder:
        """The rows (x_i, R) and their weights, the rows of X in coordinates of their span, those that agree joined."""
        stretch, size = design.magnitude, float(np.abs(lam).max())
        unit = design.scaled(1.0 / stretch)
        norms = unit.row_norms * (1 + (design.d + 2) * EPS)
        radius = float(norms.max()) or 1.0
        reduced, basis = unit.row_space()
        points = np.column_stack([reduced.dense(), np.full(design.n, radius)])
        lost = np.zeros(design.n)
        if basis is not None:
            lost = np.linalg.norm(unit.dense() - reduced.dense() @ basis.T, axis=1) + 16 * EPS * design.d * norms
        length = np.linalg.norm(points, axis=1)
        weights = lam / size * length
        total = float(np.abs(weights).sum())
        side, slack, _ = merge_parallel(points / length[:, None], weights / total)
        slack += float(np.abs(lam / size) @ lost) / total
        # the gauge is that of lam less its mean, which is nearer to lam than this
        slack += 2 * radius * abs(math.fsum(lam / size)) / total + 4 * EPS
        return cls(side, math.sqrt(2.0) * total * stretch * size, slack, radius * stretch, basis)

    def coordinates(self, W: Array) -> Array:
        """The columns of W (d, m), in the span of the rows."""
        return W if self.basis is None else self.basis.T @ W

    def neuron(self, u: Array) -> Array:
        """(w, b) in the features of X for (w, b / R) in those of the side."""
        w = u[:-1] if self.basis is None else self.basis @ u[:-1]
        return np.append(w, u[-1] * self.radius)


@dataclass(eq=False)
class FreeSearch(Search):
    """Branch and bound on the cylinder |w|, |v| <= 1, v = b / R, in units of the ball of F = 1, which are the sides'.

    `choices` holds the e of a node's best ball, F = 2^e, which its children start from, and the generations that pass
    until a longer one is tried again. `u` is (w, v).
    """

    choices: dict[Node, tuple[float, int]] = field(default_factory=dict)

    def ball(self, side: Side, exponent: float) -> tuple[Side, float]:
        """The side with the column F times as long, and the factor with f <= factor max over its unit ball."""
        F = 2.0**exponent
        rows = side.rows.copy()
        rows[:, -1] *= F
        length = np.linalg.norm(rows, axis=1)
        weights = side.weights * length
        total = float(np.abs(weights).sum())
        scaled = Side(rows / length[:, None], weights / total, np.zeros(self.rank))
        return scaled, math.sqrt(0.5 * (1 + F**-2)) * total

    def solve(self, node: Node) -> tuple[float, int, Array, Multipliers | None]:
        """The best bound of some balls: at the root of all, else of the parent's and now and then of a longer one."""
        found: dict[float, tuple[float, int, Array, int]] = {}
        exponent, pause = (None, 0) if node.parent is None else self.choices[node.parent]
        best = self.best_of(node, found, *(ROOT_EXPONENTS if exponent is None else (exponent,)))
        if found[best][3] < 0:
            best = self.refined(node, found, best)
        elif exponent is not None and pause == 0 and found[best][0] > self.cutoff:
            best = self.best_of(node, found, best + 1)
            pause = PAUSE + 1 if best == exponent else 1
        self.choices[node] = best, max(pause - 1, 0)
        bound, _, u, node.branch = found[best]
        return bound, sum(trial[1] for trial in found.values()), u, None

    def best_of(self, node: Node, found: dict[float, tuple[float, int, Array, int]], *exponents: float) -> float:
        """The e of the smallest bound found so far, after these are tried as well."""
        for exponent in exponents:
            if exponent not in found and LOWEST <= exponent <= HIGHEST:
                found[exponent] = self.trial(node, exponent)
        return min(found, key=lambda e: found[e][0])

    def refined(self, node: Node, found: dict[float, tuple[float, int, Array, int]], best: float) -> float:
        """The best e to within FINEST, or one that closes the node: there is no sign left that could do so."""
        step = 1.0
        while step >= FINEST and found[best][0] > self.cutoff:
            better = self.best_of(node, found, best + step, best - step)
            step = 0.5 * step if better == best else step
            best = better
        return best

    def trial(self, node: Node, exponent: float) -> tuple[float, int, Array, int]:
        """(bound, iterations, (w, v), row to branch on) from one ball, with the allowance for rounding in its units."""
        side, factor = self.ball(self.sides[node.side], exponent)
        cutoff = self.cutoff / factor - side.rounding
        bound, iterations, u, _, branch = self.relaxed(node, side, products(side.rows), cutoff)
        return factor * (bound + side.rounding), iterations, np.append(u[:-1], 2.0**exponent * u[-1]), branch

    @cached_property
    def points(self) -> Array:
        """x_i / R."""
        return self.sides[0].rows[:, :-1] / self.sides[0].rows[:, -1:]

    def learn(self, node: Node, u: Array) -> None:
        self.climb(node.side, u[:-1])

    def climb(self, s: int, w: Array) -> None:
        """A better lower bound: the best bias for w, then w along the gradient, as long as f rises."""
        side = self.sides[s]
        mass, before = side.weights * side.rows[:, -1] / math.sqrt(2.0), 0.0
        for _ in range(CLIMB):
            norm = float(np.linalg.norm(w))
            if not norm > 1e-12:
                return
            w = w / norm
            z = self.points @ w
            value, v = best_bias(z, mass)
            if value <= before * (1 + 1e-12):
                return
            if value > self.lower:
                self.lower, self.u, self.where = value, np.append(w, v), s
            before, w = value, (mass * (z + v > 0)) @ self.points


def is_affordable(design: Design, seconds: float) -> bool:
    """Whether the root and a few nodes can be solved in the time."""
    return FEW_NODES * node_work(design.n, design.d + 1) < WORK_PER_SECOND * seconds


def best_bias(z: Array, mass: Array) -> tuple[float, float]:
    """(f, v) at the largest f(v) = sum_i mass_i (z_i + v)_+, which has its maxima at v = -z_i as the masses cancel."""
    order = np.argsort(-z)
    z, mass = z[order], mass[order]
    values = np.cumsum(mass * z) - z * np.cumsum(mass)
    best = int(np.argmax(values))
    return float(values[best]), -float(z[best])


def free_bounds(
    design: Design,
    lam: Array,
    *,
    near: Array | None = None,
    tol: float = 1e-6,
    deadline: float | None = None,
    n_jobs: int = 1,
) -> GaugeBounds:
    """max over |w| <= 1 and all b of |lam^T (Xw + b)_+|, as a proven interval, for lam that sums to zero.

    Parameters
    ----------
    design : Design
        X, centred: the shorter its longest row, the tighter the bounds.
    lam : array (n,)
        What it fails to sum to zero by is subtracted from it evenly, and allowed for.
    near : array (d, m), optional
        Directions w to start from.
    tol : float
        The relative width of the interval at which the search stops.
    deadline : float, optional
        A time of time.monotonic(); the interval at hand is returned soon after it.
    n_jobs : int
        Threads.

    Returns
    -------
    GaugeBounds
        Its witness is (w, b), with |w| = 1, or zero. After Ctrl-C the status is INTERRUPTED, the interval is valid.
    """
    if not lam.any():
        return GaugeBounds(0.0, 0.0, np.zeros(design.d + 1), GaugeStatus.EXACT, METHOD)
    cylinder = Cylinder.around(design, lam)
    side = cylinder.side
    if not side.weights.size:
        upper = (cylinder.slack + side.rounding) * cylinder.unit
        return GaugeBounds(0.0, upper, np.zeros(design.d + 1), GaugeStatus.EXACT, METHOD)
    search = FreeSearch([side, Side(side.rows, -side.weights, side.linear)], 0.0, tol=tol)
    for w in cylinder.coordinates(np.zeros((design.d, 0)) if near is None else near).T:
        search.climb(0, w)
        search.climb(1, w)
    status = search.run(deadline=deadline, n_jobs=n_jobs)
    upper = (search.upper + cylinder.slack) * cylinder.unit
    witness = cylinder.neuron(search.u)
    lower = min(abs(float(lam @ np.maximum(design.forward(witness[:-1]) + witness[-1], 0))), upper)
    if status is GaugeStatus.EXACT and upper - lower > 2 * tol * upper:
        status = GaugeStatus.RELAXATION
    return GaugeBounds(lower, upper, witness, status, METHOD)
