"""The bound of a tree of half-spaces: a quadratic majorant on every leaf, and its maximum on the ball from above.

Any multipliers give a bound. Those of the file only suggest numbers in double precision, which then count as exact;
what remains are the rounding errors of the sums, and they are bounded a priori (docs/rigour.md).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from extremal.verify.arithmetic import TINY, UNIT, Array, binary_rows, norm, require

#: Weights below this size count as zero, within TINY.
NEGLIGIBLE = 2.0**-900
#: Numbers in the arrays of the leaves that are bounded at a time.
CHUNK = 1_000_000
#: The multipliers w are clipped to this range.
SMALLEST, LARGEST = 2.0**-30, 2.0**30
#: Rows whose unit vectors are closer than this to a common line count as one row.
PARALLEL = 1e-11


def side_bound(rows: Array, weights: Array, tree: Any) -> float:
    """An upper bound of max over |u| <= 1 of sum_i weights_i (rows_i . u)_+, proved by a tree.

    Parameters
    ----------
    rows : array of shape (n, d), entries of magnitude at most 1
    weights : array of shape (n,), entries of magnitude at most 1
    tree : extremal.proof.SideTree, or what has its fields
    """
    lines = Lines.of(rows, np.where(np.abs(weights) < NEGLIGIBLE, 0.0, weights))
    bounds = [float(leaves.bounds().max()) for leaves in Leaves.of(lines, tree)]
    return (max(bounds) + lines.slack) * (1 + 2 * UNIT)


@dataclass(frozen=True)
class Lines:
    """sum_i c_i (x_i . u)_+ with one row for every line through zero: linear . u + sum_g weights_g (rows_g . u)_+.

    With z = rows_g . u and rows p_i and -p_j on the line, p (z)_+ + m (-z)_+ = (p + m) (z)_+ - m z.

    Attributes
    ----------
    rows : (g, d); weights : (g,); linear : (d,)
    l_size : float
        The sum of the norms of the terms of `linear`.
    slack : float
        A bound on the difference to the sum with the rows as they were; rows of a line differ by rounding.
    total : float
        sum_i |c_i| |x_i|.
    first, group : (g,), (n,)
        The row that stands for a line, and the line of a row.
    normals : (n, d); orientation : (n,)
        The rows on their lines: +rows_g or -rows_g.
    """

    rows: Array
    weights: Array
    linear: Array
    l_size: float
    slack: float
    total: float
    first: Array
    group: Array
    normals: Array
    orientation: Array

    @classmethod
    def of(cls, rows: Array, weights: Array) -> Lines:
        """Rows whose directions are closer than PARALLEL are put onto one line."""
        n, d = rows.shape
        norms, generic = norm(rows), np.cos(1.7 * np.arange(1, d + 1)) + 1.3
        units = rows / np.where(norms > 0, norms, 1.0)[:, None]
        units = units * np.where(units @ generic < 0, -1.0, 1.0)[:, None]
        order = np.argsort(units @ generic[::-1], kind="stable")
        new = np.concatenate([[True], norm(np.diff(units[order], axis=0)) > PARALLEL])
        group = np.empty(n, np.int64)
        group[order] = np.cumsum(new) - 1
        _, first, group, count = np.unique(group, return_index=True, return_inverse=True, return_counts=True)
        along = rows[first][group]
        orientation = np.where((along * rows).sum(axis=1) < 0, -1.0, 1.0)
        factor = np.where(norms[first][group] > 0, norms / np.maximum(norms[first][group], 0.25), 1.0)
        off = norm(rows - (orientation * factor)[:, None] * along) + 4 * (n + d + 16) * UNIT * norms
        sizes, total = weights * factor, float(np.abs(weights) @ norms)
        plus, minus = (np.bincount(group, np.where(orientation == s, sizes, 0.0)) for s in (1, -1))
        return cls(
            rows=rows[first],
            weights=plus + minus,
            linear=-minus @ rows[first],
            l_size=float(np.abs(minus) @ norms[first]),
            slack=float(np.abs(weights) @ (off * (count[group] > 1))) * (1 + 2 * (n + d + 16) * UNIT),
            total=total,
            first=first,
            group=group,
            normals=along * orientation[:, None],
            orientation=orientation,
        )


@dataclass(frozen=True)
class Leaves:
    """Some leaves of a tree, with k half-spaces each (shorter paths are padded with half-spaces of sign 0).

    Attributes
    ----------
    lines : Lines
    normals : (L, k, d); signs : (L, k)
        The half-spaces signs * (normals . u) >= 0.
    state : (L, g)
        +1 or -1 for lines whose sign the path decides, 0 for the others.
    w : (L, g); slopes : (L, g); vectors : (L, g, d); rho : (L, k); pulls : (L, k, d); theta : (L, k, k)
        The multipliers; theta is strictly upper triangular.
    """

    lines: Lines
    normals: Array
    signs: Array
    state: Array
    w: Array
    slopes: Array
    vectors: Array
    rho: Array
    pulls: Array
    theta: Array

    @classmethod
    def of(cls, lines: Lines, tree: Any) -> Iterator[Leaves]:
        """The leaves of a tree that covers the ball, in portions."""
        n, d = lines.normals.shape
        paths = list(paths_of(np.asarray(tree.splits), n + len(tree.extra)))
        lengths = np.array([len(path) for path in paths])
        forces, pairs = np.cumsum(lengths), np.cumsum(lengths * (lengths - 1) // 2)
        leaves = len(paths)
        same = len(tree.w) == len(tree.slopes) == len(tree.vectors) == leaves
        require(same, "a tree has more or fewer leaves than multipliers")
        require(len(tree.forces) == len(tree.pulls) == forces[-1], "a tree has more or fewer forces than half-spaces")
        require(len(tree.pairs) in (0, pairs[-1]), "a tree has more or fewer pairs than its paths")
        listed = np.concatenate([tree.positive, tree.negative])
        require(((listed >= 0) & (listed < n)).all(), "a tree has multipliers of rows that do not exist")
        require((tree.forces >= 0).all() and (tree.pairs >= 0).all(), "a force is negative")
        vectors_of = np.vstack([lines.normals, binary_rows(tree.extra)[1]])
        norms = norm(vectors_of)
        inverse = np.divide(1.0, norms, out=np.zeros_like(norms), where=norms > 0)
        step = max(1, int(CHUNK / ((n + lengths.max()) * d + lengths.max() ** 2)))
        for start in range(0, leaves, step):
            some = slice(start, min(start + step, leaves))
            L, k = some.stop - start, int(lengths[some].max())
            index, signs, rho = np.zeros((L, k), np.int64), np.zeros((L, k)), np.zeros((L, k))
            theta, pulls = np.zeros((L, k, k)), np.zeros((L, k, d))
            state = np.zeros((L, len(lines.rows)))
            for leaf, path in enumerate(paths[some]):
                if not path:
                    continue
                size, upper = len(path), np.triu_indices(len(path), 1)
                index[leaf, :size], signs[leaf, :size] = np.array(path).T
                rho[leaf, :size] = tree.forces[forces[start + leaf] - size : forces[start + leaf]]
                pulls[leaf, :size] = tree.pulls[forces[start + leaf] - size : forces[start + leaf]]
                if len(tree.pairs):
                    theta[leaf][upper] = tree.pairs[pairs[start + leaf] - len(upper[0]) : pairs[start + leaf]]
                decided = index[leaf, :size] < n
                row = index[leaf, :size][decided]
                state[leaf, lines.group[row]] = signs[leaf, :size][decided] * lines.orientation[row]
            w, slopes, vectors = np.ones(state.shape), np.zeros(state.shape), np.zeros((*state.shape, d))
            turned = lines.orientation[tree.negative]
            w[:, lines.group[tree.positive]] = np.clip(tree.w[some], SMALLEST, LARGEST)
            slopes[:, lines.group[tree.negative]] = tree.slopes[some] * turned
            vectors[:, lines.group[tree.negative]] = tree.vectors[some] * turned[:, None]
            scale = lines.total * inverse[index]
            theta = theta * scale[:, :, None] * inverse[index][:, None, :]
            pulls = pulls * scale[:, :, None]
            yield cls(lines, vectors_of[index], signs, state, w, slopes, vectors, rho * scale, pulls, theta)

    @property
    def rows(self) -> Array:
        return self.lines.rows

    @property
    def weights(self) -> Array:
        return self.lines.weights

    def multipliers(self) -> Multipliers:
        """The multipliers in the form in which they are used; from here on they count as exact."""
        free = self.state == 0
        convex, b = free & (self.weights > 0), np.where(free & (self.weights < 0), -self.weights, 0.0)
        norms = norm(self.rows)
        q = np.where(convex & (norms > 0), self.weights * self.w / (4 * np.where(norms > 0, norms, 1.0)), 0.0)
        half = b / 2 / np.maximum(np.abs(self.slopes) + norm(self.vectors), 1.0)
        return Multipliers(
            q=q,
            a=self.slopes * half,
            m=self.vectors * half[:, :, None],
            rho=self.rho,
            h=self.pulls * np.minimum(1.0, self.rho / np.maximum(norm(self.pulls), TINY))[:, :, None],
            theta=self.theta * self.signs[:, :, None] * self.signs[:, None, :],
        )

    @np.errstate(all="ignore")
    def majorant(self, y: Multipliers) -> Majorant:
        """constant + l . u + u^T G u >= f(u) on the leaves, with sizes that bound the rounding errors."""
        n, d = self.rows.shape
        k = self.signs.shape[1]
        error, of_norms = (2 * n + 2 * k + 2 * d + 32) * UNIT, (d + 16) * UNIT
        norms, lengths = norm(self.rows), norm(self.normals)
        free, half = self.state == 0, np.abs(self.weights) / 2
        convex, concave = free & (self.weights > 0), free & (self.weights < 0)
        gain = np.where(convex & (norms > 0), self.weights / 4 / y.q * (self.weights / 4), 0.0)
        m_sizes = norm(y.m)
        excess = (np.abs(y.a) + m_sizes) * (1 + of_norms) - half
        constant = (gain + np.where(concave, np.maximum(excess, 0.0), 0.0) * norms).sum(axis=1)
        coefficient = np.where(self.state > 0, self.weights, 0.0)
        coefficient = np.where(convex, half, np.where(concave, -(half + y.a), coefficient))
        h_sizes = norm(y.h)
        rho = np.maximum(y.rho, h_sizes * (1 + of_norms))
        linear = self.lines.linear + coefficient @ self.rows + ((self.signs * rho)[:, None, :] @ self.normals)[:, 0]
        left = np.where(convex[:, :, None], y.q[:, :, None] * self.rows, -y.m)
        right = y.theta @ self.normals - self.signs[:, :, None] * y.h
        G = np.swapaxes(left, 1, 2) @ self.rows + np.swapaxes(right, 1, 2) @ self.normals
        l_size = self.lines.l_size + np.abs(coefficient) @ norms + (rho * lengths).sum(axis=1)
        G_size = ((y.q * norms + m_sizes) * norms).sum(axis=1)
        products = (np.abs(y.theta) @ lengths[:, :, None])[:, :, 0]
        G_size = G_size + ((h_sizes + products) * lengths).sum(axis=1)
        return Majorant(constant, linear, 0.5 * (G + np.swapaxes(G, 1, 2)), l_size, G_size, error)

    @np.errstate(all="ignore")
    def bounds(self) -> Array:
        """An upper bound of f on every leaf, shape (L,); NaN counts as infinity."""
        majorant = self.majorant(self.multipliers())
        bounds = majorant.bounds(*majorant.factor())
        return np.where(np.isnan(bounds), np.inf, bounds)


class Multipliers(NamedTuple):
    """For b = |c_i|: c_i (z)_+ <= c_i z / 2 + q_i z^2 + c_i^2 / (16 q_i) for the rows of positive weight, b |z| / 2
    >= a_i z + (m_i . u) z for the others, as |a_i| + |m_i| <= b / 2, and 0 <= (rho_j - h_j . u) sign_j (a_j . u),
    as |h_j| <= rho_j, and 0 <= theta_jl (a_j . u) (a_l . u)."""

    q: Array
    a: Array
    m: Array
    rho: Array
    h: Array
    theta: Array


class Majorant(NamedTuple):
    """constant + linear . u + u^T matrix u; l_size and G_size bound the sums of the norms of their terms."""

    constant: Array
    linear: Array
    matrix: Array
    l_size: Array
    G_size: Array
    error: float

    def factor(self) -> tuple[Array, Array, Array]:
        """nu >= 0, R and p with nu I - G near R R^T and l near 2 R p; nothing depends on how near."""
        usable = np.isfinite(self.matrix).all(axis=(1, 2), keepdims=True)
        eigenvalues, Q = np.linalg.eigh(np.where(usable, self.matrix, 0.0))
        halves = (np.swapaxes(Q, 1, 2) @ self.linear[:, :, None])[:, :, 0] / 2
        nu = secular(eigenvalues, halves)
        root = np.sqrt(np.maximum(nu - eigenvalues, 0.0))
        p = np.divide(halves, root, out=np.zeros_like(root), where=root > 0)
        return nu[:, 0], Q * root[:, None, :], p

    def bounds(self, nu: Array, R: Array, p: Array) -> Array:
        """constant + nu + |G - nu I + R R^T|_F + |p|^2 + |l - 2 R p|, an upper bound on |u| <= 1, rounded up."""
        d = self.matrix.shape[-1]
        residual = self.matrix - nu[:, None, None] * np.eye(d) + R @ np.swapaxes(R, 1, 2)
        rest = self.linear - 2 * (R @ p[:, :, None])[:, :, 0]
        square, columns = (p * p).sum(axis=1), norm(np.swapaxes(R, 1, 2))
        size = 2 * self.G_size + 2 * self.l_size + nu * np.sqrt(d) + (columns**2 + 2 * columns * np.abs(p)).sum(axis=1)
        value = self.constant + nu + norm(norm(residual)) + square + norm(rest)
        return np.where(nu >= 0, value * (1 + self.error) + self.error * size + TINY, np.inf)


def paths_of(splits: Array, most: int) -> Iterator[list[tuple[int, int]]]:
    """The half-spaces (index, sign) of every leaf of a tree in preorder; rejects what does not cover the ball."""
    path: list[tuple[int, int]] = []
    ended = False
    for split in splits.tolist():
        require(not ended and -1 <= split < most, "the half-spaces of a tree do not cover the ball")
        if split >= 0:
            path.append((split, 1))
            continue
        yield list(path)
        while path and path[-1][1] < 0:
            path.pop()
        ended = not path
        if path:
            path[-1] = (path[-1][0], -1)
    require(ended, "the half-spaces of a tree do not cover the ball")


def secular(eigenvalues: Array, halves: Array) -> Array:
    """(L, 1): nu >= max(eigenvalues, 0) near the minimum of nu + sum halves^2 / (nu - eigenvalues)."""
    top = np.maximum(eigenvalues[:, -1:], 0.0)
    size = norm(halves)[:, None]
    scale = np.maximum(np.maximum(size, np.abs(eigenvalues).max(axis=1, keepdims=True)), 2.0**-450)
    low = 2.0**-47 * scale
    high = np.maximum(size, low)
    for _ in range(50):
        middle = np.sqrt(low) * np.sqrt(high)
        short = ((halves / (middle + top - eigenvalues)) ** 2).sum(axis=1, keepdims=True) > 1
        low, high = np.where(short, middle, low), np.where(short, high, middle)
    return top + high
