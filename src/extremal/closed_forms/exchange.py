"""From one network to another by exchanging neurons one at a time: a simplex method whose steps are a path.

The neurons of both networks, with fits z_k and costs c_k = beta |w_k||a_k|, make a network of every share vector
x >= 0, with outputs Z x and penalty c^T x. Two walks lead from the first network to one with the outputs of the second:

1. at fixed outputs, along edges of {x >= 0 : Z x = f_0}, to the cheapest representation of f_0: the primal simplex
   method;
2. with the outputs (1 - t) f_0 + t f_1, along their cheapest representations: the dual simplex method for a moving
   right-hand side. That cost is convex in t, and so is the objective.

A basic solution has at most r = rank(Z) neurons, and one more on an edge.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from scipy.linalg import LinAlgWarning, lu_factor, lu_solve, qr
from scipy.linalg.lapack import dgecon

from extremal.design import Array

#: A pivot below this, in a basis of unit columns, is none.
PIVOT = 1e-9
#: Reduced costs above minus this part of the largest cost count as nonnegative.
PRICED = 1e-11
#: Directions of Z below this part of its largest are none.
RANK = 1e-12
#: Shares, relative to the largest, that count as zero.
EMPTY = 1e-13


class Stuck(RuntimeError):
    """The fits are too nearly dependent for the walk in double precision."""


@dataclass(frozen=True, eq=False)
class Corner:
    """A corner of the walk: where the outputs are, (1 - t) f_0 + t f_1, and the shares of the neurons."""

    t: float
    shares: Array


def exchange(fits: Array, cost: Array, start: Array, end: Array) -> list[Corner]:
    """The corners of a path of shares from `start` to a cheapest representation of fits @ end.

    Parameters
    ----------
    fits : array of shape (N, K)
        z_k as columns.
    cost : positive array of shape (K,)
    start, end : nonnegative arrays of shape (K,)
        The neurons that `start` uses are to have independent fits.

    Returns
    -------
    list of Corner
        Beginning with `start`. Between two corners the shares are interpolated linearly; at most rank(fits) + 1 of them
        are positive at any time.

    Raises
    ------
    Stuck
        If double precision does not suffice.
    """
    norms = np.linalg.norm(fits, axis=0)
    used = np.flatnonzero(norms > 0)
    if used.size == 0:
        return [Corner(0.0, start), Corner(1.0, np.zeros(norms.size))]
    rows, rank = _full_rank(fits[:, used] / norms[used])
    walk = _Walk(rows[:rank], cost[used] / norms[used], (start * norms)[used], (end * norms)[used])
    corners = [Corner(0.0, start)]
    for t, x in walk.corners():
        shares = np.zeros(norms.size)
        shares[used] = x / norms[used]
        corners.append(Corner(t, shares))
    return corners


def _full_rank(columns: Array) -> tuple[Array, int]:
    """The columns in coordinates of their span, and its dimension."""
    Q, R, _ = qr(columns, mode="economic", pivoting=True)
    diagonal = np.abs(np.diag(R))
    rank = int((diagonal > RANK * diagonal.max(initial=0.0)).sum())
    return Q.T @ columns, rank


class _Walk:
    """The two walks, on unit columns A of full row rank."""

    def __init__(self, A: Array, cost: Array, start: Array, end: Array) -> None:
        self.A, self.cost = A, cost
        self.start, self.end = start, end
        self.near, self.far = A @ start, A @ end
        self.basis = self._first_basis()
        self.budget = 200 + 50 * A.shape[1]

    def corners(self) -> list[tuple[float, Array]]:
        """All corners after the start."""
        return [*self._cheaper(), *self._across()]

    def _first_basis(self) -> Array:
        """The columns in use and, where they are too few, further ones that are independent of them."""
        own = np.flatnonzero(self.start > 0)
        missing = len(self.A) - own.size
        if missing < 0:
            raise Stuck("the neurons at the start have dependent fits")
        Q = np.linalg.qr(self.A[:, own])[0] if own.size else np.zeros((len(self.A), 0))
        rest = self.A - Q @ (Q.T @ self.A)
        rest[:, own] = 0.0
        order = qr(rest, mode="r", pivoting=True)[1] if missing else np.zeros(0, dtype=int)
        return np.concatenate([own, order[:missing]]).astype(int)

    def _factor(self) -> tuple[Array, Array]:
        matrix = self.A[:, self.basis]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", LinAlgWarning)
            factor = lu_factor(matrix)
        if matrix.size and dgecon(factor[0], float(np.abs(matrix).sum(axis=0).max()))[0] < RANK:
            raise Stuck("a basis is nearly singular")
        return factor

    def _reduced(self, factor: tuple[Array, Array]) -> Array:
        """c_k - y^T z_k with y from the basis, zero on it."""
        y = lu_solve(factor, self.cost[self.basis], trans=1)
        reduced = self.cost - self.A.T @ y
        reduced[self.basis] = 0.0
        return reduced

    def _shares(self, values: Array) -> Array:
        x = np.zeros(self.A.shape[1])
        x[self.basis] = np.where(values > EMPTY * max(float(values.max(initial=0.0)), 1e-300), values, 0.0)
        return x

    def _spend(self) -> None:
        self.budget -= 1
        if self.budget < 0:
            raise Stuck("too many exchanges")

    def _cheaper(self) -> list[tuple[float, Array]]:
        """Primal simplex steps at the outputs of the start; Bland's rule once a step has had no length."""
        found: list[tuple[float, Array]] = []
        careful = False
        while True:
            self._spend()
            factor = self._factor()
            reduced = self._reduced(factor)
            cheap = np.flatnonzero(reduced < -PRICED * np.abs(self.cost).max())
            if cheap.size == 0:
                return found
            entering = int(cheap[0] if careful else cheap[np.argmin(reduced[cheap])])
            values = np.maximum(lu_solve(factor, self.near), 0.0)
            values[values <= EMPTY * values.max(initial=0.0)] = 0.0
            change = lu_solve(factor, self.A[:, entering])
            falling = np.flatnonzero(change > PIVOT)
            if falling.size == 0:
                raise Stuck("an edge without an end")
            ratios = values[falling] / change[falling]
            step = float(ratios.min())
            leaving = falling[ratios == step]
            place = int(leaving[np.argmin(self.basis[leaving])])
            self.basis[place] = entering
            if step > 0:
                values = values - step * change
                values[place] = step
                found.append((0.0, self._shares(values)))
            careful = careful or step == 0

    def _across(self) -> list[tuple[float, Array]]:
        """Dual simplex steps while the outputs move from the first network's to the second's."""
        found: list[tuple[float, Array]] = []
        t = 0.0
        while True:
            self._spend()
            factor = self._factor()
            values, ends = lu_solve(factor, self.near), lu_solve(factor, self.far)
            here = (1 - t) * values + t * ends
            size = max(float(np.abs(here).max(initial=0.0)), float(np.abs(ends).max(initial=0.0)))
            negative = np.flatnonzero(ends < -EMPTY * 10 * size)
            if negative.size == 0:
                found.append((1.0, self._shares(ends)))
                return found
            zeros = np.maximum(here[negative], 0.0) / (np.maximum(here[negative], 0.0) - ends[negative])
            step = float(zeros.min())
            leaving = negative[zeros <= step + 1e-15]
            place = int(leaving[np.argmin(self.basis[leaving])])
            t = t + (1 - t) * step
            if step > 0:
                values = (1 - t) * values + t * ends
                values[place] = 0.0
                found.append((t, self._shares(values)))
            self.basis[place] = self._entering(factor, place)

    def _entering(self, factor: tuple[Array, Array], place: int) -> int:
        """The column that takes the place of a basic one which would become negative: the cheapest exchange."""
        unit = np.zeros(len(self.basis))
        unit[place] = 1.0
        row = self.A.T @ lu_solve(factor, unit, trans=1)
        row[self.basis] = 0.0
        possible = np.flatnonzero(row < -PIVOT)
        if possible.size == 0:
            raise Stuck("no neuron can take the place of one that leaves")
        ratios = np.maximum(self._reduced(factor)[possible], 0.0) / -row[possible]
        return int(possible[ratios <= ratios.min() + 1e-15].min())
