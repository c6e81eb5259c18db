"""The gauge of several outputs, g(Lam) = max over unit v of M(Lam v), by branch and bound over the directions v.

h(v) = M(Lam v) = max over |u| <= 1 of v^T Lam^T (Xu)_+ is convex and positively homogeneous. So on the cone of the
generators v_1, ..., v_c (the columns of V) it lies below the interpolation of its values there, and for every p with
v_k . p >= h(v_k) for all k

    h(sum_k a_k v_k)  <=  sum_k a_k h(v_k)  <=  p . sum_k a_k v_k  <=  |p|      for a >= 0, |sum_k a_k v_k| <= 1.

The shortest such p is a small least squares. For orthonormal generators it gives the root of the sum of squares; the
bound of a cone tends to h as the cone narrows. Each direction costs one search of one output.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import nnls

from extremal.design import Array
from extremal.gauge.bounds import GaugeStatus

#: The rounding of a cone's bound, relative.
ROUNDING = 1e-12

#: A cone whose generators are all within this angle is not divided: its bound is as good as the heights are.
NARROW = 1e-4

#: With more outputs than this the first 2^c cones are too many, and they get one bound together.
MANY_OUTPUTS = 8

Heights = Callable[[Array], tuple[float, float]]


@dataclass
class Directions:
    """The directions v and -v that were asked for, with upper bounds on h there."""

    ask: Heights
    points: list[Array] = field(default_factory=list)
    heights: list[float] = field(default_factory=list)
    middles: dict[tuple[int, int], int] = field(default_factory=dict)

    def add(self, v: Array) -> int:
        """The number of v; that of -v is one more."""
        above, below = self.ask(v)
        self.points += [v, -v]
        self.heights += [above, below]
        return len(self.points) - 2

    def between(self, i: int, j: int) -> int:
        """The number of the direction half way between two others."""
        edge = (min(i, j), max(i, j))
        if edge not in self.middles:
            middle = self.points[i] + self.points[j]
            length = float(np.linalg.norm(middle))
            number = self.add(middle / length)
            # h is sublinear: a search that ended early must not raise the bound above that of the ends
            for k, ends in ((number, (i, j)), (number + 1, (i ^ 1, j ^ 1))):
                between = sum(self.heights[e] for e in ends) / length
                self.heights[k] = min(self.heights[k], between * (1 + ROUNDING))
            self.middles[edge] = number
            self.middles[min(i ^ 1, j ^ 1), max(i ^ 1, j ^ 1)] = number + 1
        return self.middles[edge]


def largest_height(
    frame: Array, ask: Heights, *, is_enough: Callable[[float], bool], most: int | None
) -> tuple[float, GaugeStatus]:
    """An upper bound on max over |v| <= 1 of h(v), and how the search ended: EXACT if it was enough.

    Parameters
    ----------
    frame : orthogonal matrix (c, c)
        Its columns and their negatives span the first cones.
    ask : callable
        Unit v -> upper bounds on h(v) and h(-v).
    is_enough : callable
        Whether the search may end with this upper bound. Asked before every split.
    most : int, optional
        The largest number of calls of `ask`.
    """
    c = frame.shape[1]
    directions = Directions(ask)
    first = [directions.add(v) for v in frame.T]
    if c > MANY_OUTPUTS:
        largest = np.reshape(directions.heights, (c, 2)).max(axis=1)
        upper = float(np.linalg.norm(largest)) * (1 + ROUNDING)
        return upper, GaugeStatus.RELAXATION
    cones: list[tuple[float, tuple[int, ...]]] = []

    def push(cone: tuple[int, ...]) -> None:
        V = np.column_stack([directions.points[k] for k in cone])
        bound = cone_height(V, np.array([directions.heights[k] for k in cone]))
        heapq.heappush(cones, (-bound, cone))

    for signs in range(2**c):
        push(tuple(number + ((signs >> k) & 1) for k, number in enumerate(first)))
    while not is_enough(-cones[0][0]):
        if most is not None and len(directions.points) >= 2 * most:
            return -cones[0][0], GaugeStatus.NODE_LIMIT
        a, b, angle = longest_edge(np.column_stack([directions.points[k] for k in cones[0][1]]))
        if angle < NARROW:
            return -cones[0][0], GaugeStatus.RELAXATION
        _, cone = heapq.heappop(cones)
        middle = directions.between(cone[a], cone[b])
        push((*cone[:a], middle, *cone[a + 1 :]))
        push((*cone[:b], middle, *cone[b + 1 :]))
    return -cones[0][0], GaugeStatus.EXACT


def cone_height(V: Array, heights: Array) -> float:
    """min |p| subject to V^T p >= heights: max of sum_k a_k heights_k over a >= 0 with |V a| <= 1.

    Any p that satisfies the constraints is a bound; the solver's is lifted until it does.
    """
    inverse = np.linalg.inv(V).T
    slack = nnls(inverse, -inverse @ heights)[0]
    p = inverse @ (heights + slack)
    missing = float(np.max(heights - V.T @ p, initial=0.0))
    # inverse @ (1, ..., 1) raises every product by one
    p = p + (missing + ROUNDING * float(np.max(heights))) * inverse.sum(axis=1)
    return max(float(np.linalg.norm(p)) * (1 + ROUNDING), float(heights.max()))


def longest_edge(V: Array) -> tuple[int, int, float]:
    """The two generators with the widest angle between them, and the angle."""
    cosines = V.T @ V + 2 * np.eye(V.shape[1])
    a, b = np.unravel_index(int(np.argmin(cosines)), cosines.shape)
    return int(a), int(b), 2 * float(np.arcsin(min(float(np.linalg.norm(V[:, a] - V[:, b])) / 2, 1.0)))
