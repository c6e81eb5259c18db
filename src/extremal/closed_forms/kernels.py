"""The finite program of one variable as a matrix of ramps, and the kernel method that very wide networks become."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg import cho_factor, cho_solve

from extremal.design import Array, Design
from extremal.losses import Squared


def ramps(x: ArrayLike, at: ArrayLike | None = None) -> Array:
    """The neurons of the 2n-column program, (x_i - t_j)_+ and (t_j - x_i)_+, shape (n, 2 m).

    min loss(A v + c) + beta |v|_1 over v and a constant c is the problem that `spline_fit` solves, with kinks at the
    data. (Zeger & Pilanci (2024) call A the dictionary of depth 2.) The kernel (x_i - x_j)_+ of Ergen & Pilanci (JMLR
    2021, Section 4.2) is the first half; a network has both.

    Parameters
    ----------
    x : array of shape (n,)
    at : array of shape (m,), optional
        The kinks t; x by default.

    Raises
    ------
    ValueError
        If x or the kinks are not finite vectors.
    """
    points = np.asarray(x, dtype=np.float64)
    knots = points if at is None else np.asarray(at, dtype=np.float64)
    if points.ndim != 1 or knots.ndim != 1 or not (np.isfinite(points).all() and np.isfinite(knots).all()):
        raise ValueError("x and the kinks must be finite vectors")
    steps = points[:, None] - knots
    return np.hstack([np.maximum(steps, 0.0), np.maximum(-steps, 0.0)])


def ntk(X: ArrayLike, Z: ArrayLike | None = None, *, bias: bool = True) -> Array:
    """The tangent kernel of infinitely wide ReLU networks, both layers trained, shape (n, m).

    K(x, z) = |x| |z| (u k0(u) + k1(u)),  u = cos(x, z),
    k0 = (pi - arccos u) / pi,  k1 = (u (pi - arccos u) + sqrt(1 - u^2)) / pi.

    Parameters
    ----------
    X, Z : arrays of shape (n, d) and (m, d)
        Z is X by default.
    bias : bool
        Whether a column of ones is appended; without it one feature has a kernel of rank two.

    References
    ----------
    Jacot, Gabriel & Hongler (NeurIPS 2018); Ergen & Pilanci (JMLR 2021), Section 5.
    """
    A = Design.from_data(X, bias=bias).dense()
    B = A if Z is None else Design.from_data(Z, bias=bias).dense()
    if A.shape[1] != B.shape[1]:
        raise ValueError(f"X has {A.shape[1] - bias} features and Z has {B.shape[1] - bias}")
    lengths = np.outer(np.linalg.norm(A, axis=1), np.linalg.norm(B, axis=1))
    u = np.clip(np.divide(A @ B.T, lengths, out=np.zeros_like(lengths), where=lengths > 0), -1.0, 1.0)
    angle = np.pi - np.arccos(u)
    return lengths * (2 * u * angle + np.sqrt((1 - u) * (1 + u))) / np.pi


@dataclass(frozen=True, eq=False)
class KernelInterpolant:
    """f(x) = sum_i K(x, x_i) coef_i, the function of smallest norm in the kernel's space that goes through the data.

    Attributes
    ----------
    X : array of shape (n, d)
    coef : array of shape (n, c)
    norm : float
        Its norm, sqrt(sum_c coef_c^T K coef_c).
    bias : bool
    """

    X: Array
    coef: Array
    norm: float
    bias: bool

    def predict(self, X: ArrayLike) -> Array:
        """The values at new rows, shape (n, c)."""
        return ntk(X, self.X, bias=self.bias) @ self.coef


def ntk_interpolant(X: ArrayLike, y: ArrayLike, *, bias: bool = True) -> KernelInterpolant:
    """What gradient descent on an infinitely wide network in the kernel's scaling converges to, from outputs zero.

    Parameters
    ----------
    X : array of shape (n, d)
    y : array of shape (n,) or (n, c)
    bias : bool
        Whether a column of ones is appended to X.

    Raises
    ------
    ValueError
        If the kernel matrix is singular to working precision: equal rows, or, without bias, rows of one feature.
    """
    rows, target = Design.from_data(X).dense(), Squared.from_data(y).target
    if len(rows) != len(target):
        raise ValueError(f"X has {len(rows)} rows and y has {len(target)}")
    K = ntk(rows, bias=bias)
    try:
        coef = cho_solve(cho_factor(K), target)
    except np.linalg.LinAlgError:
        coef = np.full(target.shape, np.nan)
    if not np.abs(K @ coef - target).max() <= 1e-6 * max(float(np.abs(target).max()), 1e-300):
        raise ValueError("the kernel matrix is singular to working precision: rows are equal, or nearly so")
    return KernelInterpolant(rows, coef, float(np.sqrt(max(np.vdot(coef, target), 0.0))), bias)
