"""The objective to first order in the hidden weights of one neuron: linear, with a kink at every tie.

For a neuron (w, a) let mu_i = lam_i . a. Along a direction p of w alone the objective has the derivative

    h(p) = (beta w - sum over x_i.w > 0 of mu_i x_i) . p  -  sum over x_i.w = 0 of mu_i (x_i . p)_+ .

Ties on one line are one kink, mu (z)_+ + mu' (-z)_+ = (mu + mu') (z)_+ - mu' z, so that -h is a `Side` of the gauge: a
linear function plus sum_e nu_e (e . p)_+ over distinct lines e. A kink of nu_e < 0 is convex; one of nu_e > 0, a tie of
the wrong sign, is concave: the objective falls off it on one side at least unless other kinks hold it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from scipy.optimize import lsq_linear, nnls

from extremal.arrangements import TooManyCells, arrangements
from extremal.design import Array, Design
from extremal.gauge.cells import cell_bound, cell_work, vertices
from extremal.gauge.search import WORK_PER_SECOND
from extremal.gauge.sides import Side, merge_parallel

#: The most cells of a neuron's ties of which Clarke's set is formed as the hull of the limits of gradients.
MOST_CELLS = 4000

#: With so few concave kinks all their subsets are taken, cells or not.
FEW_WRONG = 8


@dataclass(frozen=True, eq=False)
class Ties:
    """Which rows a neuron is active on, and which lie on its boundary (zero rows do neither)."""

    active: Array
    tied: Array

    @classmethod
    def of(cls, design: Design, w: Array, tie: float) -> Ties:
        """Ties are |x_i . w| <= tie |x_i| |w|: all rows, for w = 0."""
        z, norms = design.forward(w[:, None])[:, 0], design.row_norms
        tied = (np.abs(z) <= tie * norms * np.linalg.norm(w)) & (norms > 0)
        return cls((z > 0) & ~tied, tied)

    def cells(self, design: Design, w: Array, limit: int | None = None) -> Array:
        """The sides of the tied rows, (p, k), that neurons near w take: the cells of these rows, across w.

        Raises
        ------
        TooManyCells
            If there are more than the limit.
        """
        rows = design.rows(np.flatnonzero(self.tied))
        if len(rows) == 0:
            return np.zeros((1, 0), dtype=bool)
        return cells_across(rows, w, limit)


def cells_across(rows: Array, w: Array, limit: int | None = None) -> Array:
    """The patterns (p, k) of nonzero rows on directions near w, which is orthogonal to them up to rounding."""
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    if w.any():  # a tie is exact: what is left of w in the rows would only split cells
        axis = w / np.linalg.norm(w)
        unit = unit - np.outer(unit @ axis, axis)
    left, size, _ = np.linalg.svd(unit, full_matrices=False)
    rank = int((size > 1e-9 * size[0]).sum())
    coordinates = (left * size)[:, :rank]
    turn = np.where(coordinates @ (np.cos(1.7 * np.arange(1, rank + 1)) + 1.3) >= 0, 1.0, -1.0)
    lines, copy = np.unique(np.round(turn[:, None] * coordinates, 10), axis=0, return_inverse=True)
    patterns = arrangements(lines, limit=limit).patterns.unpack()
    return np.asarray(patterns[:, copy.ravel()] ^ (turn < 0))


@dataclass(frozen=True, eq=False)
class Descent:
    """lower <= max over |p| <= 1 of -h(p) <= upper; the unit vector `direction` attains lower."""

    lower: float
    upper: float
    direction: Array


@dataclass(frozen=True, eq=False)
class Kinks:
    """-h(p) = size * side.value(p) for unit vectors p, and the rows of its kinks as they are in Clarke's set."""

    side: Side
    size: float
    origin: Array

    @classmethod
    def of(cls, design: Design, lam: Array, w: Array, a: Array, beta: float, ties: Ties) -> Kinks:
        mu = lam @ a
        linear = design.adjoint((ties.active * mu)[:, None])[:, 0] - beta * w
        tied = np.flatnonzero(ties.tied & (mu != 0))
        weights = mu[tied] * design.row_norms[tied]
        total = float(np.abs(weights).sum())
        size = (total + float(np.linalg.norm(linear))) or 1.0
        if total == 0.0:
            return cls(Side(np.zeros((0, w.size)), np.zeros(0), linear / size), size, w)
        merged, _, _ = merge_parallel(design.rows(tied) / design.row_norms[tied, None], weights / total)
        share = total / size
        return cls(Side(merged.rows, share * merged.weights, share * merged.linear + linear / size), size, w)

    @property
    def wrong(self) -> int:
        """The number of concave kinks."""
        return int((self.side.weights > 0).sum())

    def clarke(self) -> float:
        """The distance of 0 from Clarke's set of h, the hull of the limits of its gradients.

        That is linear + sum_e [0, nu_e] e where all kinks have one sign or independent lines; otherwise not every
        choice of sides is a cell, and the limits are listed; where they are too many, the larger set gives a lower
        bound.
        """
        rows, weights = self.side.rows, self.side.weights
        mixed = bool(np.any(weights > 0) and np.any(weights < 0))
        if mixed and np.linalg.matrix_rank(rows, tol=1e-9) < len(rows):
            try:
                sides = cells_across(rows, self.origin, MOST_CELLS)
            except TooManyCells:
                pass
            else:
                return self.size * shortest(self.side.linear + (sides * weights) @ rows)
        return self.size * float(np.linalg.norm(remainder(self.side.linear, -weights[:, None] * rows)))

    def descent(self, deadline: float, margin: float = 0.0) -> Descent:
        """The steepest descent: max over S of dist(q_S, Z), as in `extremal.gauge.cells`.

        q_S = linear + sum over S of nu_e e over subsets (cells, where there are many) S of the concave kinks, and
        Z = {sum t_e |nu_e| e : margin <= t <= 1 - margin} of the convex ones. h >= 0 if and only if every q_S lies in
        Z; if it does with a margin, then h(p) >= margin sum |nu_e| |e . p| over the convex kinks.
        """
        side = self.side
        if self.wrong > FEW_WRONG:
            return self._searched(deadline)
        A, B = self._parts()
        best = np.zeros(side.rank)
        for Q in vertices(A, side.linear):
            for q in Q:
                rest = remainder(q, B, margin)
                best = rest if rest @ rest > best @ best else best
        return self._along(best, float(np.linalg.norm(best)))

    def _searched(self, deadline: float) -> Descent:
        A, B = self._parts()
        seconds = max(deadline - time.monotonic(), 0.0)
        start = ascend(self.side)
        if cell_work(self.side) > WORK_PER_SECOND * seconds:
            return self._along(start, self.side.trivial)
        found = cell_bound(self.side, tol=1e-9, deadline=deadline, witness=start)
        exact = remainder(self.side.linear + A[A @ found.u > 0].sum(axis=0), B)
        return self._along(max(found.u, exact, key=self.side.value), found.upper)

    def _parts(self) -> tuple[Array, Array]:
        weighted = self.side.weights[:, None] * self.side.rows
        concave = self.side.weights > 0
        return weighted[concave], -weighted[~concave]

    def _along(self, p: Array, upper: float) -> Descent:
        length = float(np.linalg.norm(p))
        lower = max(self.side.value(p), 0.0)
        unit = p / length if length > 0 else p
        return Descent(self.size * lower, self.size * max(upper, lower), unit)


def ascend(side: Side) -> Array:
    """A direction of large value, by steps u <- gradient from a few starts."""
    best = side.linear
    for start in np.vstack([side.linear, side.weights @ side.rows, side.rows[np.argmax(side.weights)]]):
        u = start
        for _ in range(50):
            u = side.linear + side.weights[side.rows @ u > 0] @ side.rows[side.rows @ u > 0]
            best = u if side.value(u) > side.value(best) else best
    return best


def remainder(q: Array, B: Array, margin: float = 0.0) -> Array:
    """q - B^T t of least norm over margin <= t <= 1 - margin."""
    if len(B) == 0:
        return q
    t = np.linalg.lstsq(B.T, q, rcond=1e-12)[0]
    if np.any(t < margin) or np.any(t > 1 - margin):
        t = lsq_linear(B.T, q, bounds=(margin, 1 - margin), method="bvls", tol=1e-15, max_iter=100 * len(B)).x
    rest, free = q - B.T @ t, (t > margin) & (t < 1 - margin)
    if free.any():  # a short remainder is orthogonal to these up to the rounding of q; make it so up to its own
        rest = rest - B[free].T @ np.linalg.lstsq(B[free].T, rest, rcond=1e-12)[0]
    return rest


def shortest(V: Array) -> float:
    """The distance of 0 from the hull of the rows of V.

    The minimum over alpha >= 0 of |V^T alpha|^2 + (1 - sum alpha)^2 is s^2 / (1 + s^2) with that distance s, whatever
    sum alpha is.
    """
    scale = float(np.abs(V).max()) or 1.0
    alpha, _ = nnls(np.vstack([V.T / scale, np.ones(len(V))]), np.append(np.zeros(V.shape[1]), 1.0))
    return scale * float(np.linalg.norm((V.T / scale) @ alpha) / alpha.sum())
