"""The gauge exactly in the plane: all faces of the arrangement {x_i^T u = 0} are visited, in O(n log n).

The maximiser of f over the disc lies in the relative interior of one face: an arc or a vertex of the circle. On the arc
with the pattern D, f(u) = v_D^T u, so there u is the direction of v_D, and f(u) its length, if that direction lies on
the arc; one that misses it by an angle e is accepted when |v_D| e is below a tolerance, which raises the maximum by
|v_D| e^2 / 2 only. The arcs of u = (cos, sin) are walked in the order of their angles, and v_D is a cumulative sum.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from extremal.design import Array
from extremal.gauge.bounds import GaugeStatus, SideBound
from extremal.gauge.sides import Side

#: |v| times the angle by which a direction may miss its face, in units of sum |weights|.
MISS = 1e-10

#: Rows closer than this to a common line are put onto it, and the change is added to the bound.
PARALLEL = 1e-10

#: Arcs shorter than this are not looked at, their end points are: a cell with short arcs only is smaller than
#: the number of lines times this, and within it f is below its value at a vertex plus the square of that.
SHORT = 1e-9

#: The sphere in dimension one.
POINTS = np.array([[1.0], [-1.0]])


@dataclass(frozen=True, eq=False)
class Lines:
    """f(u) = sum_l plus_l (normal_l^T u)_+ + minus_l (-normal_l^T u)_+ + linear^T u, up to `slack`."""

    normals: Array
    plus: Array
    minus: Array
    linear: Array
    slack: float

    @classmethod
    def of(cls, side: Side) -> Lines:
        """Parallel rows are merged, in either orientation; a line of no weight is added to a single one."""
        d = side.rank
        generic = np.cos(np.arange(1, d + 1) * 1.7) + 1.3
        units = side.rows / np.linalg.norm(side.rows, axis=1, keepdims=True)
        signs = np.where(units @ generic >= 0, 1.0, -1.0)
        units *= signs[:, None]
        order = np.argsort(units @ generic[::-1], kind="stable")
        steps = np.linalg.norm(np.diff(units[order], axis=0), axis=1)
        group = np.concatenate([[0], np.cumsum(steps > PARALLEL)])
        first = np.concatenate([[0], np.flatnonzero(steps > PARALLEL) + 1])
        normals = units[order][first]
        signs, weights = signs[order], side.weights[order]
        distance = np.linalg.norm(side.rows[order] - signs[:, None] * normals[group], axis=1)
        plus = np.bincount(group, np.where(signs > 0, weights, 0.0))
        minus = np.bincount(group, np.where(signs < 0, weights, 0.0))
        if len(normals) == 1:
            normals, plus, minus = (
                np.vstack([normals, other_axis(normals[0])]),
                np.append(plus, 0),
                np.append(minus, 0),
            )
        return cls(normals, plus, minus, side.linear, float(np.abs(weights) @ distance))


def other_axis(normal: Array) -> Array:
    """The unit coordinate vector most nearly orthogonal to a vector."""
    return np.eye(normal.size)[np.argmin(np.abs(normal))]


@dataclass
class Best:
    """The longest projection so far, and its direction."""

    value: float
    u: Array

    def offer(self, values: Array, directions: Array) -> None:
        if values.size:
            k = int(np.argmax(values))
            if values[k] > self.value:
                self.value, self.u = float(values[k]), directions[k]


def face_bound(side: Side) -> SideBound:
    """m exactly, up to rounding, for a side of rank at most two."""
    lines = Lines.of(side)
    best, corner = Best(0.0, np.eye(side.rank)[0]), Best(0.0, np.eye(side.rank)[0])
    status = GaugeStatus.EXACT
    try:
        if side.rank == 1:
            best.offer(np.array([side.value(u) for u in POINTS]), POINTS)
        else:
            visit_circle(lines, best, corner)
    except KeyboardInterrupt:
        status = GaugeStatus.INTERRUPTED
    upper = max(best.value, corner.value) if status is GaugeStatus.EXACT else side.trivial
    # a direction that misses its arc bounds m from above, but f may be smaller there than at the end of the arc
    u = max(best.u, corner.u, key=side.value)
    return SideBound(
        max(side.value(u), 0.0),
        upper + lines.slack + (SHORT * lines.plus.size) ** 2 + side.rounding,
        u,
        status,
    )


def visit_circle(lines: Lines, best: Best, corner: Best) -> None:
    """All arcs (best) and all vertices (corner)."""
    normals = lines.normals
    jumps = (lines.plus + lines.minus)[:, None] * normals
    entering = np.arctan2(normals[:, 1], normals[:, 0]) - np.pi / 2
    angles = np.concatenate([entering, entering + np.pi]) % (2 * np.pi)
    order = np.argsort(angles)
    angles = angles[order]
    ends = np.append(angles[1:], angles[0] + 2 * np.pi)
    sums = np.cumsum(np.concatenate([jumps, -jumps])[order], axis=0)
    # v_D is known on the longest arc, whose middle is on no line
    longest = int(np.argmax(ends - angles))
    above = normals @ circle_point((angles + ends)[longest] / 2) > 0
    known = lines.linear + np.where(above, lines.plus, -lines.minus) @ normals
    vectors = known - sums[longest] + sums
    start, middle, stop = circle_point(angles), circle_point((angles + ends) / 2), circle_point(ends)
    corner.offer((vectors * start).sum(axis=1), start)
    inside = (cross(start, vectors) >= -MISS) & (cross(vectors, stop) >= -MISS)
    inside &= ((middle * vectors).sum(axis=1) >= -MISS) & (ends - angles > SHORT)
    length = np.linalg.norm(vectors, axis=1)
    best.offer(length[inside], vectors[inside] / np.maximum(length[inside], 1e-300)[:, None])


def circle_point(angle: Array) -> Array:
    return np.stack([np.cos(angle), np.sin(angle)], axis=-1)


def cross(a: Array, b: Array) -> Array:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
