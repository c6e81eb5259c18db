"""Spike-free data: the rectified ellipsoid is the part of the ellipsoid in the nonnegative orthant."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from extremal.closed_forms.rows import unit_rows
from extremal.design import Array, Design

#: Unit rows closer than this are one.
SAME = 1e-12


def is_spike_free(X: ArrayLike, *, tol: float = 1e-9) -> bool:
    """Whether for every |u| <= 1 there is |z| <= 1 with (Xu)_+ = Xz.

    Then the ReLU disappears from the convex programs: two vectors u with Xu >= 0 do.

    Parameters
    ----------
    X : array of shape (n, d)
        Any shape and rank.
    tol : float
        Off-diagonal entries of the inverse Gram matrix, divided by the roots of the diagonal ones, count as <= 0 up to
        this: those of whitened data are zero and rounded.

    Raises
    ------
    ValueError
        If X is not a finite, nonempty matrix.

    Notes
    -----
    Full row rank: X is spike-free if and only if no off-diagonal entry of H = (X X^T)^-1 is positive. With z = Xu the
    condition is z_+^T H z_+ <= z^T H z = z_+^T H z_+ - 2 z_+^T H z_- + z_-^T H z_-; scaling z_- towards zero forces
    z_+^T H z_- <= 0 for all z_+, z_- >= 0 of disjoint supports, and that suffices.

    Any rank: the range of X must contain (Xu)_+ with Xu. Such a subspace of R^n is spanned by nonnegative vectors of
    disjoint supports, that is X = C A where every row of C >= 0 has at most one entry and A has full row rank: apart
    from zero rows, every row is a positive multiple of one of rank(X) independent ones. Since (Xu)_+ = C (Au)_+ and C
    is injective, X is spike-free if and only if A is.

    References
    ----------
    Ergen & Pilanci (JMLR 2021), definition and Lemmas 3 - 5.
    """
    directions = _distinct_directions(Design.from_data(X).dense())
    k, d = directions.shape
    if k > d:
        return False
    triangle = np.linalg.qr(directions.T, mode="r")
    singular = np.linalg.svd(triangle, compute_uv=False)
    if k and singular[-1] <= max(k, d) * np.finfo(float).eps * singular[0]:
        return False
    half = np.linalg.inv(triangle)
    half /= np.linalg.norm(half, axis=1, keepdims=True)
    cosines = half @ half.T
    np.fill_diagonal(cosines, 0.0)
    return bool(np.all(cosines <= tol))


def _distinct_directions(X: Array) -> Array:
    """The directions of the nonzero rows, each once; of more than d only d + 1."""
    units, norms = unit_rows(X)
    rest = units[norms > 0]
    found = np.zeros((0, X.shape[1]))
    while len(rest) and len(found) <= X.shape[1]:
        found = np.vstack([found, rest[:1]])
        rest = rest[np.linalg.norm(rest - rest[0], axis=1) > SAME]
    return found
