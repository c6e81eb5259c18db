"""The largest value of a quadratic form on the nonnegative part of the sphere: is beta^2 I - K copositive?"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse

from extremal.design import Array

#: Up to this order all principal submatrices are looked at, and the maximum is exact.
ENUMERATED = 12
#: Steps of the ascent from every start, for larger orders.
ASCENT = 500
#: The largest order handed to the cone solver.
LARGEST = 60


@dataclass(frozen=True, eq=False)
class NonnegativeMaximum:
    """lower <= max z^T K z over z >= 0, |z| = 1 <= upper.

    Attributes
    ----------
    lower, upper : float
        `lower` is attained by `z`; `upper` is proved by `N`: K + N has no larger eigenvalue, and N >= 0.
    eigenvalue : float
        The largest eigenvalue of K: the maximum over all z, and the root of the bound.
    z : array of shape (n,)
    Z : array of shape (n, n)
        The solution of the doubly nonnegative relaxation, of trace one.
    N : array of shape (n, n)
    """

    lower: float
    upper: float
    eigenvalue: float
    z: Array
    Z: Array
    N: Array

    @property
    def gap(self) -> float:
        """(upper - lower) / upper, 0 if the form is nowhere positive."""
        return (self.upper - self.lower) / self.upper if self.upper > 0 else 0.0

    def __str__(self) -> str:
        return "\n".join(
            [
                f"attained                   {self.lower:.10g}",
                f"doubly nonnegative bound   {self.upper:.10g}",
                f"relative gap               {self.gap:.1e}",
                f"largest eigenvalue         {self.eigenvalue:.10g}",
            ]
        )


def nonnegative_maximum(K: ArrayLike) -> NonnegativeMaximum:
    """max z^T K z over z >= 0, |z| = 1, from both sides; with K = lam lam^T the squared gauge of whitened data.

    Parameters
    ----------
    K : symmetric array of shape (n, n), n <= 60
        Used as it is. From below it is exact up to n = 12: the maximum is the largest eigenvalue of a principal
        submatrix with an eigenvector z > 0. From above it is exact up to n = 4 (Maxfield & Minc 1962).

    Raises
    ------
    ValueError
        If K is not symmetric, finite and of order 1 to 60.
    """
    form = np.asarray(K, dtype=np.float64)
    if form.ndim != 2 or form.shape[0] != form.shape[1] or not 1 <= len(form) <= LARGEST:
        raise ValueError(f"K must be a square matrix of order 1 to {LARGEST}; its shape is {form.shape}")
    if not np.isfinite(form).all():
        raise ValueError("K contains NaN or infinity")
    size = float(np.abs(form).max())
    if np.abs(form - form.T).max() > 1e-12 * size:
        raise ValueError("K is not symmetric")
    if size == 0.0:
        none = np.zeros_like(form)
        return NonnegativeMaximum(0.0, 0.0, 0.0, np.eye(len(form))[0], np.eye(len(form)) / len(form), none)
    form = (form + form.T) / 2 / size
    Z, N = _relaxed(form)
    z = _on_supports(form) if len(form) <= ENUMERATED else _climbed(form, Z)
    N = np.maximum(N - np.diag(np.diag(N)), 0.0)
    top, bounded = (float(np.linalg.eigvalsh(part)[-1]) for part in (form, form + N))
    if top <= bounded:
        N = np.zeros_like(N)
    upper = min(top, bounded) + 16 * len(form) * (len(form) + 8) * np.finfo(float).eps * (1 + float(N.max()))
    return NonnegativeMaximum(size * float(z @ form @ z), size * upper, size * top, z, Z, size * N)


def _relaxed(K: Array) -> tuple[Array, Array]:
    """(Z, N): max <K, Z> over doubly nonnegative Z of trace one, and the multipliers of Z >= 0, by Clarabel."""
    import clarabel

    n = len(K)
    row, column = np.tril_indices(n)
    scale = np.where(row == column, 1.0, np.sqrt(2.0))
    off = np.flatnonzero(row != column)
    trace = sparse.csc_matrix((row == column).astype(float)[None, :])
    signs = sparse.csc_matrix((-np.ones(off.size), (np.arange(off.size), off)), shape=(off.size, row.size))
    A = sparse.vstack([trace, signs, -sparse.identity(row.size)], format="csc")
    b = np.concatenate([[1.0], np.zeros(off.size + row.size)])
    kinds = [clarabel.ZeroConeT(1), clarabel.NonnegativeConeT(off.size), clarabel.PSDTriangleConeT(n)]
    settings = clarabel.DefaultSettings()
    settings.verbose, settings.max_threads = False, 1
    settings.tol_gap_abs = settings.tol_gap_rel = settings.tol_feas = 1e-11
    P = sparse.csc_matrix((row.size, row.size))
    solution = clarabel.DefaultSolver(
        P, -scale * K[row, column], A, b, kinds[: 1 + (n > 1)] + kinds[2:], settings
    ).solve()
    x, multipliers = np.nan_to_num(np.asarray(solution.x)), np.nan_to_num(np.asarray(solution.z))
    Z, N = np.zeros((n, n)), np.zeros((n, n))
    Z[row, column] = Z[column, row] = x / scale
    N[row[off], column[off]] = N[column[off], row[off]] = multipliers[1 : 1 + off.size] / np.sqrt(2.0)
    return Z, N


def _on_supports(K: Array) -> Array:
    """The maximiser, by the eigenvectors of all principal submatrices."""
    n, best, z = len(K), -np.inf, np.eye(len(K))[0]
    for count in range(1, n + 1):
        chosen = np.array(list(combinations(range(n), count)))
        values, vectors = np.linalg.eigh(K[chosen[:, :, None], chosen[:, None, :]])
        vectors = vectors * np.where(vectors.sum(axis=1, keepdims=True) < 0, -1.0, 1.0)
        values = np.where(vectors.min(axis=1) >= 0, values, -np.inf)
        k, l = np.unravel_index(int(np.argmax(values)), values.shape)
        if values[k, l] > best:
            best, z = float(values[k, l]), np.zeros(n)
            z[chosen[k]] = vectors[k, :, l]
    return z


def _climbed(K: Array, Z: Array) -> Array:
    """The best of projected ascents from the columns of Z: z^T K z never falls, since K + shift I is convex."""
    shifted = K + max(0.0, -float(np.linalg.eigvalsh(K)[0])) * np.eye(len(K))
    starts = np.hstack([np.maximum(Z, 0.0), np.eye(len(K))])
    starts = starts[:, np.linalg.norm(starts, axis=0) > 0]
    for _ in range(ASCENT):
        starts = starts / np.linalg.norm(starts, axis=0)
        moved = np.maximum(shifted @ starts, 0.0)
        starts = np.where(np.linalg.norm(moved, axis=0) > 0, moved, starts)
    starts = starts / np.linalg.norm(starts, axis=0)
    return starts[:, int(np.argmax(np.einsum("ik,ij,jk->k", starts, K, starts)))]
