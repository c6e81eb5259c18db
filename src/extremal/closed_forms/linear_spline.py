"""Piecewise linear functions of one variable: what they cost as networks with a free hidden bias, and which these are.

A neuron v (s (x - t))_+, s = +-1, costs |v|; a neuron without weight is a constant and costs nothing. It bends f by v
at t whichever way it is turned, and its slope is v to the right of t (s = 1) or -v to the left of it (s = -1). So,
with the slope changes c_k = p_k + q_k divided between the two orientations, sum p_k = f'(inf) and sum q_k = -f'(-inf),
and

    cost(f) = min sum |p_k| + |q_k| = max(sum |c_k|, |f'(inf) + f'(-inf)|)        (Savarese et al., COLT 2019).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from extremal.closed_forms.line import Line
from extremal.design import Array
from extremal.network import Network

#: A part of a slope change below this fraction of all of them is no neuron.
NOTHING = 1e-13


@dataclass(frozen=True, eq=False)
class LinearSpline:
    """A piecewise linear function on the whole line.

    Attributes
    ----------
    knots : array of shape (m,)
        Where it may bend, increasing, m >= 1.
    heights : array of shape (m, c)
        Its values there, less `offset`.
    left, right : arrays of shape (c,)
        Its slopes before the first and after the last knot.
    offset : array of shape (c,)
        A constant, kept apart because its digits would be lost to the heights.
    """

    knots: Array
    heights: Array
    left: Array
    right: Array
    offset: Array

    @property
    def slopes(self) -> Array:
        """The slopes between the knots, shape (m - 1, c)."""
        return np.diff(self.heights, axis=0) / np.diff(self.knots)[:, None]

    @property
    def changes(self) -> Array:
        """The slope changes at the knots, shape (m, c)."""
        return np.diff(np.vstack([self.left, self.slopes, self.right]), axis=0)

    @property
    def kinks(self) -> Array:
        """The knots at which it bends."""
        size = np.linalg.norm(self.changes, axis=1)
        return self.knots[size > NOTHING * size.sum()]

    @property
    def cost(self) -> float:
        """What it costs as a network of one output, max(sum |c_k|, |f'(inf) + f'(-inf)|)."""
        if self.heights.shape[1] != 1:
            raise ValueError("the cost of several outputs is that of their split into two orientations")
        return max(float(np.abs(self.changes).sum()), abs(float(self.left[0] + self.right[0])))

    def __call__(self, x: ArrayLike) -> Array:
        """The values at x (n,), shape (n, c)."""
        points = np.asarray(x, dtype=np.float64)
        inner = np.clip(points, self.knots[0], self.knots[-1])
        values = np.column_stack([np.interp(inner, self.knots, column) for column in self.heights.T])
        below, above = np.minimum(points - self.knots[0], 0.0), np.maximum(points - self.knots[-1], 0.0)
        return values + np.outer(below, self.left) + np.outer(above, self.right) + self.offset

    def orientations(self) -> tuple[Array, Array]:
        """The slope changes p of the neurons that are turned right and q of those turned left, each (m,); one output.

        They cost no more than the function, and at most one knot needs both.
        """
        c = self.changes[:, 0]
        need, tiny = -float(self.left[0]), NOTHING * float(np.abs(c).sum())
        c = np.where(np.abs(c) <= tiny, 0.0, c)
        same = np.where(c * need > 0, np.abs(c), 0.0)
        q = np.sign(need) * np.clip(abs(need) - (np.cumsum(same) - same), 0.0, same)
        q = np.where(np.abs(q) <= tiny, 0.0, np.where(np.abs(c - q) <= tiny, c, q))
        return c - q, q

    def network(self, line: Line, split: tuple[Array, Array] | None = None) -> Network:
        """The network of the rows of a line, balanced in |w_j| = |a_j|: its cost is sum_j |w_j| |a_j|, without biases.

        Parameters
        ----------
        line : Line
        split : (p, q), arrays of shape (m,) or (m, c), optional
            The slope changes of the neurons that are turned right and left; `orientations` for one output.
        """
        p, q = (np.atleast_2d(part.T).T for part in (split or self.orientations()))
        knots = np.concatenate([self.knots, self.knots])
        side = np.repeat([1.0, -1.0], self.knots.size)
        weights = np.vstack([p, q])
        sizes = np.linalg.norm(weights, axis=1)
        used = sizes > 0
        knots, side, weights, root = knots[used], side[used], weights[used], np.sqrt(sizes[used])
        inner = root * side
        start = self.heights[0] - np.maximum(side * (self.knots[0] - knots), 0.0) @ weights
        bias = -inner * (line.origin @ line.direction + knots)
        hidden = np.vstack([np.outer(line.direction, inner), bias])
        return Network(hidden, weights / root[:, None], start + self.offset, bias=True)


def through(x: Array, heights: Array, offset: Array) -> LinearSpline:
    """The cheapest function through the points (x_k, heights_k + offset) that is straight between them, for one output.

    With the slopes s_1, ..., s_{k-1} between the points and TV = sum |s_{i+1} - s_i|, the best slopes outside are s_1
    and s_{k-1} if |s_1 + s_{k-1}| <= TV. Otherwise bending by e = (|s_1 + s_{k-1}| - TV) / 2 at an end is worth it,
    and

        cost = max(TV, (TV + |s_1 + s_{k-1}|) / 2).

    Parameters
    ----------
    x : increasing array of shape (k,)
    heights : array of shape (k,)
    offset : array of shape (1,)
    """
    if x.size == 1:
        return LinearSpline(x, heights[:, None], np.zeros(1), np.zeros(1), offset)
    slopes = np.diff(heights) / np.diff(x)
    variation, ends = float(np.abs(np.diff(slopes)).sum()), float(slopes[0] + slopes[-1])
    excess = abs(ends) - variation
    bend = 0.5 * np.sign(ends) * excess if excess > NOTHING * abs(ends) else 0.0
    return LinearSpline(x, heights[:, None], slopes[:1] - bend, slopes[-1:], offset)
