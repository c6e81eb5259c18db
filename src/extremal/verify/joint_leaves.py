"""The bound of several outputs at once, by a tree of half-spaces: products of nonnegative forms on every leaf.

On a leaf z_i = (A_i . u)_+ is A_i . u, or zero, or unknown. The forms y = (z, z - Au, extra half-spaces of the path) in
(u, z) are nonnegative, and z_i (z_i - A_i . u) = 0. So for any N with entries >= 0, except at these pairs,

    |B^T z|^2  <=  |B^T z|^2 + 2 y^T N y  =  (u, z)^T H (u, z)  <=  m |u|^2 + (m - level) |z|^2,

m the largest eigenvalue of H + diag(0, level I) from above (docs/rigour.md).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from extremal.verify.arithmetic import TINY, UNIT, Array, norm, require
from extremal.verify.leaves import Majorant, paths_of


@np.errstate(all="ignore")
def joint_bound(rows: Array, lam: Array, tree: Any) -> float:
    """An upper bound of max over |u| <= 1 of |sum_i lam_i (rows_i . u)_+|, proved by a tree.

    Parameters
    ----------
    rows : array of shape (n, d), entries of magnitude at most 1
    lam : array of shape (n, c), entries of magnitude at most 1
    tree : extremal.proof.JointTree, or what has its fields
    """
    (n, d), kept, f = rows.shape, tree.rows, len(tree.rows)
    known = (np.diff(kept, prepend=-1, append=n) > 0).all()
    paths = list(paths_of(tree.splits, n + len(tree.extra)))
    require(known, "a tree speaks of rows that do not exist, or of one twice")
    require(len(tree.levels) == len(tree.products) == len(paths), "a tree has more or fewer leaves than multipliers")
    norms, sizes = norm(rows), norm(rows) * norm(lam)
    total, left = float(sizes.sum()), float(np.delete(sizes, kept).sum())
    error = (2 * (n + d + tree.products.shape[1]) + lam.shape[1] + 64) * UNIT
    used = np.where(sizes > 0, np.sqrt(sizes / total) / norms, 0.0)[kept]
    A = used[:, None] * rows[kept]
    B = np.where(used > 0, 1 / (used * total), 0.0)[:, None] * lam[kept]
    place = np.full(n, -1)
    place[kept] = np.arange(f)
    tau, squares = largest_eigenvalue(A.T @ A, float((A * A).sum()), error), []
    for path, level, products in zip(paths, tree.levels.tolist(), tree.products, strict=True):
        state, walls = np.zeros(f + 1), np.zeros((products.shape[0] - 2 * f, d))
        for split, sign in path:
            if split < n:
                state[place[split]] = sign  # the last entry for a row that is not kept
        for j, (split, sign) in zip(range(len(walls)), (step for step in path if step[0] >= n), strict=False):
            walls[j] = sign * tree.extra[split - n]
        H, size = majorant(A, B, walls, state[:f], products.astype(np.float64))
        H[d:, d:] += level * np.eye(f)
        m = largest_eigenvalue(H, size + abs(level) * np.sqrt(f), error)
        squares.append(m + max(m - level, 0.0) * tau)
    require(np.isfinite(squares).all(), "the multipliers of a leaf give no finite bound")
    return (total * float(np.sqrt(max(squares))) + left + error * total) * (1 + error) + TINY


def majorant(A: Array, B: Array, walls: Array, state: Array, products: Array) -> tuple[Array, float]:
    """H, and a bound on the sum of the norms of its terms, for rows of known sign (+1 or -1) or unknown (0)."""
    f = len(A)
    z = np.hstack([np.where(state > 0, 1.0, 0.0)[:, None] * A, np.diag(np.where(state == 0, 1.0, 0.0))])
    forms = np.vstack([z, z - np.pad(A, ((0, 0), (0, f))), np.pad(walls, ((0, 0), (0, f)))])
    N, pairs, lengths = np.maximum(products, 0.0), (np.arange(f), f + np.arange(f)), norm(forms)
    N[pairs] = products[pairs]
    size = 2 * lengths @ np.abs(N) @ lengths + (lengths[:f] @ norm(B)) ** 2
    N[:f, :f] += B @ B.T / 2
    half = forms.T @ (N @ forms)
    return half + half.T, float(size)


def largest_eigenvalue(matrix: Array, size: float, error: float) -> float:
    """A nonnegative upper bound, for a matrix with rounding errors of at most error * size."""
    zero = np.zeros(len(matrix))
    whole = Majorant(np.zeros(1), zero[None], matrix[None], np.zeros(1), np.array([size]), error)
    return float(whole.bounds(*whole.factor())[0])
