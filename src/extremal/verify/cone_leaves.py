"""The bound of a tree of simplicial cones: on a leaf the convex part is interpolated, and all else is linear.

The rays of the cones are vectors of integers, computed here from the list of splits without any rounding; so the cones
cover the space. The bounds of the leaves have a priori error bounds (docs/rigour.md).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np

from extremal.verify.arithmetic import TINY, UNIT, Array, norm, require
from extremal.verify.leaves import CHUNK, NEGLIGIBLE, Lines

#: Integers up to this size are added in double precision without rounding.
LARGEST = 2.0**52


def cone_bound(rows: Array, weights: Array, tree: Any) -> float:
    """An upper bound of max over |u| <= 1 of sum_i weights_i (rows_i . u)_+, proved by a tree of cones.

    Parameters
    ----------
    rows : array of shape (n, d), entries of magnitude at most 1
    weights : array of shape (n,), entries of magnitude at most 1
    tree : extremal.proof.ConeTree, or what has its fields
    """
    lines, stretch = in_frame(Lines.of(rows, np.where(np.abs(weights) < NEGLIGIBLE, 0.0, weights)), tree.frame)
    bound = max(float(bounds.max()) for bounds in bounds_of(lines, tree))
    return (bound * stretch + lines.slack) * (1 + 8 * UNIT)


def in_frame(lines: Lines, frame: Array) -> tuple[Lines, float]:
    """The lines in the coordinates frame^T u, and a bound on |frame^T u|; what the frame misses is in their slack."""
    (g, d), r = lines.rows.shape, frame.shape[1]
    rows, linear, size = lines.rows @ frame, lines.linear @ frame, float(norm(frame.ravel()))
    error = 2 * (g + d + r * r + 16) * UNIT
    missed = norm(lines.rows - rows @ frame.T) + error * (norm(lines.rows) + size * norm(rows))
    of_linear = float(norm(lines.linear - frame @ linear) + error * (lines.l_size + size * norm(linear)))
    excess = float(norm((frame.T @ frame - np.eye(r)).ravel()) + error * (size * size + r))
    slack = (lines.slack + float(np.abs(lines.weights) @ missed) + of_linear) * (1 + error) + TINY
    return replace(lines, rows=rows, linear=linear, l_size=float(norm(linear)), slack=slack), 1 + excess


@np.errstate(all="ignore")
def bounds_of(lines: Lines, tree: Any) -> Iterator[Array]:
    """Upper bounds of f on the leaves in portions, level by level; rejects what does not cover the ball."""
    r = lines.rows.shape[1]
    starts = check_exceptions(tree, len(lines.group))
    rays = orthants(r)
    heights = interpolated(lines, rays)
    node = inner = leaf = 0
    step = max(1, CHUNK // len(lines.rows))
    while len(rays):
        edges = tree.edges[node : node + len(rays)]
        require(
            len(edges) == len(rays) and (edges < r * (r - 1) // 2).all(), "the cones of a tree do not cover the ball"
        )
        ends, split = np.flatnonzero(edges < 0), np.flatnonzero(edges >= 0)
        shifts = tree.shifts[inner : inner + split.size]
        more = leaf + ends.size <= len(tree.vectors) and len(shifts) == split.size
        require(more, "a tree has more or fewer cones than multipliers")
        for first, last in pairwise([*range(0, ends.size, step), ends.size]):
            some = slice(leaf + first, leaf + last)
            part, used = ends[first:last], slice(starts[some.start], starts[some.stop])
            owners = np.repeat(np.arange(last - first), tree.counts[some])
            exceptions = owners, tree.rows[used], np.clip(tree.t[used], 0, 1).astype(np.float64)
            yield leaf_bounds(lines, rays[part], heights[part], tree.vectors[some] * lines.total, exceptions)
        node, inner, leaf = node + len(rays), inner + split.size, leaf + ends.size
        rays, heights = children(lines, rays[split], heights[split], edges[split], shifts.astype(np.int64))
    complete = (node, inner, leaf) == (len(tree.edges), len(tree.shifts), len(tree.vectors))
    require(complete, "the cones of a tree do not cover the ball")


def check_exceptions(tree: Any, n: int) -> Array:
    """Where the exceptions of every leaf begin, and the end of the last."""
    require((tree.counts >= 0).all() and len(tree.counts) == len(tree.vectors), "a tree has malformed exceptions")
    starts = np.concatenate([[0], np.cumsum(tree.counts, dtype=np.int64)])
    require(starts[-1] == len(tree.rows) == len(tree.t), "a tree has more or fewer exceptions than its leaves")
    require(((tree.rows >= 0) & (tree.rows < n)).all(), "a tree has exceptions of rows that do not exist")
    return starts


def orthants(r: int) -> Array:
    """(2^r, r, r): the rays of the orthants, -e_j in the k-th if bit j of k is set."""
    signs = 1.0 - 2.0 * ((np.arange(2**r)[:, None] >> np.arange(r)) & 1)
    return signs[:, :, None] * np.eye(r)


def children(lines: Lines, rays: Array, heights: Array, edges: Array, shifts: Array) -> tuple[Array, Array]:
    """The cones split by a ray on an edge (a, b), exactly: in the first child it replaces a, in the second b."""
    a, b = (part[edges] for part in np.triu_indices(rays.shape[1], 1))
    each = np.arange(len(rays))
    require((np.abs(shifts) <= 52).all(), "a ray is out of range")
    middle = np.ldexp(rays[each, a], np.maximum(shifts, 0)[:, None])
    middle = middle + np.ldexp(rays[each, b], np.maximum(-shifts, 0)[:, None])
    require((np.abs(middle) <= LARGEST).all(), "a ray is out of range")
    bits = np.bitwise_or.reduce(np.abs(middle).astype(np.int64), axis=1)
    middle = middle / (bits & -bits)[:, None]
    new_rays, new_heights = np.repeat(rays, 2, axis=0), np.repeat(heights, 2, axis=0)
    new_rays[2 * each, a] = new_rays[2 * each + 1, b] = middle
    new_heights[2 * each, a] = new_heights[2 * each + 1, b] = interpolated(lines, middle)
    return new_rays, new_heights


def interpolated(lines: Lines, rays: Array) -> Array:
    """q = sum over the rows of positive weight of c_i (x_i . v)_+, for rays of shape (..., r)."""
    convex, step = lines.weights > 0, max(1, CHUNK // len(lines.rows))
    flat, rows, weights = rays.reshape(-1, rays.shape[-1]), lines.rows[convex], lines.weights[convex]
    parts = [np.maximum(flat[k : k + step] @ rows.T, 0) @ weights for k in range(0, len(flat), step)]
    return np.concatenate([np.zeros(0), *parts]).reshape(rays.shape[:-1])


def leaf_bounds(
    lines: Lines, rays: Array, heights: Array, vectors: Array, exceptions: tuple[Array, Array, Array]
) -> Array:
    """|p| + sqrt(r) max_k (q_k + s . v_k - p . v_k)_+ / |v_k|_1 for every leaf, s = linear - sum_N t_i |c_i| x_i.

    t_i is 1 if x_i . p > 0 and 0 otherwise, but for the exceptions (leaf, row, t).
    """
    (g, r), norms = lines.rows.shape, norm(lines.rows)
    error = (2 * g + 2 * r + 32) * UNIT
    t = (vectors @ lines.rows.T > 0).astype(np.float64)
    leaf, row, given = exceptions
    t[leaf, lines.group[row]] = np.where(lines.orientation[row] > 0, given, 1 - given)
    rest = lines.linear + t @ (np.minimum(lines.weights, 0)[:, None] * lines.rows)
    lengths, sizes = norm(vectors), np.abs(rays).sum(axis=2)
    lacking = (heights + (rays @ (rest - vectors)[:, :, None])[:, :, 0]) / sizes
    slack = error * (np.abs(lines.weights) @ norms + lines.l_size + lengths)
    bounds = lengths + np.sqrt(r) * (np.maximum(lacking.max(axis=1), 0.0) + slack)
    return np.where(np.isfinite(bounds), bounds * (1 + error) + TINY, np.inf)
