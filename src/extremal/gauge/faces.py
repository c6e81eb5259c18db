"""The gauge exactly in dimension at most three: all faces of the arrangement {x_i^T u = 0} are visited.

The maximiser of f over the ball lies in the relative interior of one face (a cell, an arc, a vertex). On the
face with the pattern D, f(u) = v_D^T u, so there u is the normalised projection of v_D onto the span of the
face, and f(u) its length. Hence m is the largest length of a projected v_D whose direction lies in its face.
A direction that misses its face by an angle e is accepted when |v_D| e is below a tolerance: that raises the
maximum by |v_D| e^2 / 2 only.

On the circle u = (cos, sin), the arcs are walked in the order of their angles, and v_D is a cumulative sum.
In dimension three every row has its circle: the arcs on it are the faces of dimension one, and a cell is seen
from its arcs, with that row switched on or off: O(n^2 log n) altogether, apart from the membership tests of
the few cells whose v_D is longer than the best value on the arcs.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from extremal.design import Array
from extremal.gauge.bounds import GaugeStatus, SideBound
from extremal.gauge.sides import Side

#: |v| times the angle by which a direction may miss its face, in units of sum |weights|.
MISS = 1e-10

#: Rows closer than this to a common line are put onto it, and the change is added to the bound.
PARALLEL = 1e-7

#: Arcs shorter than this are not looked at, their end points are: a cell with short arcs only is smaller than
#: the number of lines times this, and within it f is below its value at a vertex plus the square of that.
SHORT = 1e-9

#: The sphere in dimension one.
POINTS = np.array([[1.0], [-1.0]])

#: Numbers in the largest array of a block of circles.
BLOCK = 1_000_000


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


def face_bound(side: Side, *, deadline: float | None = None) -> SideBound:
    """m exactly, up to rounding, for a side of rank at most three.

    Past the deadline the bound is the sum of the positive weights.
    """
    lines = Lines.of(side)
    d = side.rank
    best = Best(0.0, np.eye(d)[0])
    status = GaugeStatus.EXACT
    try:
        if d == 1:
            best.offer(np.array([side.value(u) for u in POINTS]), POINTS)
        elif d == 2:
            visit_circle(lines, best)
        elif not visit_sphere(lines, best, deadline):
            status = GaugeStatus.TIME_LIMIT
    except KeyboardInterrupt:
        status = GaugeStatus.INTERRUPTED
    upper = best.value if status is GaugeStatus.EXACT else side.trivial
    return SideBound(
        max(side.value(best.u), 0.0),
        upper + lines.slack + (SHORT * lines.plus.size) ** 2 + side.rounding,
        best.u,
        status,
    )


@dataclass(frozen=True, eq=False)
class Arcs:
    """The arcs between the points where circles meet lines, shape (circles, arcs, ...)."""

    start: Array
    middle: Array
    stop: Array
    long: Array
    vectors: Array


def walk(lines: Lines, bases: Array, others: Array) -> Arcs:
    """The arcs of the circles u = basis (cos, sin), bases (circles, d, 2), with the v_D of the `others`.

    Parameters
    ----------
    others : integer array (circles, k)
        The lines that meet each circle in two points.
    """
    normals = lines.normals[others]
    jumps = (lines.plus + lines.minus)[others][..., None] * normals
    planar = normals @ bases
    entering = np.arctan2(planar[..., 1], planar[..., 0]) - np.pi / 2
    angles = np.concatenate([entering, entering + np.pi], axis=1) % (2 * np.pi)
    order = np.argsort(angles, axis=1)
    angles = np.take_along_axis(angles, order, axis=1)
    steps = np.take_along_axis(np.concatenate([jumps, -jumps], axis=1), order[..., None], axis=1)
    ends = np.concatenate([angles[:, 1:], angles[:, :1] + 2 * np.pi], axis=1)
    middle = circle_points((angles + ends) / 2)
    longest = np.argmax(ends - angles, axis=1)
    signs = np.einsum("bkj,bj->bk", planar, middle[np.arange(len(longest)), longest])
    weights = np.where(signs > 0, lines.plus[others], -lines.minus[others])
    sums = np.cumsum(steps, axis=1)
    known = lines.linear + np.einsum("bk,bkj->bj", weights, normals) - sums[np.arange(len(longest)), longest]
    vectors = known[:, None, :] + sums
    return Arcs(circle_points(angles), middle, circle_points(ends), ends - angles > SHORT, vectors)


def circle_points(angles: Array) -> Array:
    return np.stack([np.cos(angles), np.sin(angles)], axis=-1)


def on_arc(arcs: Arcs, planar: Array) -> Array:
    """Whether the directions of `planar` lie on their arcs, which are at most half circles."""
    after = cross(arcs.start, planar) >= -MISS
    before = cross(planar, arcs.stop) >= -MISS
    return arcs.long & after & before & ((arcs.middle * planar).sum(axis=-1) >= -MISS)


def cross(a: Array, b: Array) -> Array:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def visit_circle(lines: Lines, best: Best) -> None:
    """All faces in dimension two."""
    arcs = walk(lines, np.eye(2)[None], np.arange(lines.plus.size)[None])
    offer_arcs(arcs, np.eye(2)[None], best)


def offer_arcs(arcs: Arcs, bases: Array, best: Best) -> None:
    """The vertices and the arcs of some circles."""
    planar = arcs.vectors @ bases
    at_vertex = (planar * arcs.start).sum(axis=-1)
    inside = on_arc(arcs, planar)
    length = np.linalg.norm(planar, axis=-1)
    to_space = np.swapaxes(bases, 1, 2)
    best.offer(at_vertex.ravel(), (arcs.start @ to_space).reshape(-1, bases.shape[1]))
    best.offer(length[inside], (planar @ to_space)[inside] / np.maximum(length[inside], 1e-300)[:, None])


def visit_sphere(lines: Lines, best: Best, deadline: float | None) -> bool:
    """All faces in dimension three, a block of circles at a time; False if the deadline passed."""
    count = lines.plus.size
    size = max(1, BLOCK // (12 * count))
    cells: list[tuple[Array, Array]] = []
    for begin in range(0, count, size):
        if deadline is not None and begin > 0 and time.monotonic() > deadline:
            return False
        circles = np.arange(begin, min(begin + size, count))
        bases = np.linalg.svd(lines.normals[circles][:, None, :])[2].transpose(0, 2, 1)[:, :, 1:]
        others = np.arange(count - 1)[None] + (np.arange(count - 1)[None] >= circles[:, None])
        arcs = walk(lines, bases, others)
        offer_arcs(arcs, bases, best)
        cells += adjacent_cells(lines, circles, bases, arcs, best.value)
    for vectors, points in cells:
        offer_cells(lines, vectors, points, best)
    return True


def adjacent_cells(lines: Lines, circles: Array, bases: Array, arcs: Arcs, value: float) -> list[tuple[Array, Array]]:
    """(v_D, a point) of the cells beside the arcs that could exceed the value.

    The point is the middle of the arc, moved off the circle by a hundredth of the shortest arc: to the side
    of the cell.
    """
    found = []
    normals = lines.normals[circles][:, None, :]
    middle = arcs.middle @ np.swapaxes(bases, 1, 2)
    for sign, weight in ((1.0, lines.plus), (-1.0, lines.minus)):
        vectors = arcs.vectors + (sign * weight[circles])[:, None, None] * normals
        longer = (vectors * vectors).sum(axis=-1) > value * value
        facing = sign * (vectors * normals).sum(axis=-1) >= -MISS
        keep = arcs.long & longer & facing
        points = (middle + 0.01 * SHORT * sign * normals)[keep]
        found.append((vectors[keep], points))
    return found


def offer_cells(lines: Lines, vectors: Array, points: Array, best: Best) -> None:
    """The cells that contain the direction of their v_D: few lines are tested first, then all."""
    length = np.linalg.norm(vectors, axis=1)
    keep = length > best.value
    vectors, points, length = vectors[keep], points[keep], length[keep]
    count = lines.plus.size
    shuffled = np.random.default_rng(0).permutation(count)
    for begin, end in ((0, 8), (8, 40), (40, count)):
        normals = lines.normals[shuffled[begin:end]]
        if not normals.size:
            continue
        inside = np.ones(len(vectors), dtype=bool)
        step = max(1, BLOCK // len(normals))
        for k in range(0, len(vectors), step):
            part = slice(k, k + step)
            signs = np.sign(points[part] @ normals.T)
            inside[part] = (signs * (vectors[part] @ normals.T) >= -MISS).all(axis=1)
        vectors, points, length = vectors[inside], points[inside], length[inside]
    best.offer(length, vectors / np.maximum(length, 1e-300)[:, None])
