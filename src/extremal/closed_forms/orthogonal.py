"""Data on which the classes do not disturb each other: one neuron for each sign is the global optimum."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg import solve_triangular
from scipy.optimize import nnls

from extremal.closed_forms.result import ClosedForm
from extremal.closed_forms.rows import fitting, labelled, unit_rows
from extremal.design import Array
from extremal.network import Network

#: A solution whose optimality conditions are violated by more, relative to its size, is refused.
ACCURATE = 1e-9


def orthogonal_max_margin(X: ArrayLike, y: ArrayLike, *, tol: float = 1e-12) -> ClosedForm:
    """min 1/2 |theta|^2 s.t. y_i f(x_i) >= 1, for data whose classes are separated independently of each other.

    With v_c = argmin |v| s.t. x_i . v >= 1 for the rows of class c, and its multipliers alpha (v_c = sum alpha_i x_i):

        P* = |v_+| + |v_-|,    w_c = v_c / sqrt|v_c|,  b_c = +-sqrt|v_c|,    lam_i = y_i alpha_i / |v_c|.

    Parameters
    ----------
    X : array of shape (n, d)
        Used as they are. Required: x_i . x_j >= 0 within a class, v_+ . x_j <= 0 on class -1 and v_- . x_i <= 0 on
        class +1. Orthogonally separable data and orthogonal rows fulfil that.
    y : array of shape (n,)
        Labels -1/+1 or 0/1; there may be a single class.
    tol : float
        What these cosines may violate the conditions by.

    Raises
    ------
    ValueError
        If the data do not fulfil the conditions (zero rows can never be separated), are not finite, or are so nearly
        dependent that double precision does not determine the answer.

    Notes
    -----
    Optimal because lam^T (Xu)_+ <= sum_+ lam_i (x_i . u)_+ <= max over subsets S of |sum_S lam_i x_i| = |X_+^T lam_+|
    = 1: adding rows with nonnegative inner products only lengthens the sum. And y^T lam = sum alpha_i / |v_c| = P*.

    References
    ----------
    Phuong & Lampert (ICLR 2021) and Wang & Pilanci (ICLR 2022) for orthogonally separable data.
    """
    rows, labels = labelled(X, y)
    units, norms = unit_rows(rows)
    if not norms.all():
        raise ValueError("X has a zero row, which no network without bias separates")
    lam, parts, residual = np.zeros(len(rows)), [], 0.0
    for sign in (1.0, -1.0):
        own = labels == sign
        if own.any():
            part, multipliers, error = _separator(units[own], norms[own], tol)
            _require_inactive(units[~own], part, tol)
            lam[own] = sign * multipliers
            residual = max(residual, error)
        else:
            part = np.zeros(rows.shape[1])
        parts.append(part)
    return _two_neurons("max-margin, class by class", parts, lam, residual)


def orthogonal_min_norm(X: ArrayLike, y: ArrayLike, *, tol: float = 1e-12) -> ClosedForm:
    """min 1/2 |theta|^2 s.t. f(x_i) = y_i, for orthogonal rows.

    With z_+ = X^+ y_+ and z_- = X^+ (-y)_+, where X^+ y = sum_i y_i x_i / |x_i|^2,

        P* = |z_+| + |z_-|,    w_c = z_c / sqrt|z_c|,  b_c = +-sqrt|z_c|,    lam_i = y_i / (|x_i|^2 |z_c|).

    With labels that is the max-margin network too (`orthogonal_max_margin`): sqrt(n_+) + sqrt(n_-) for whitened data.

    Parameters
    ----------
    X : array of shape (n, d)
        Rows with |x_i . x_j| <= tol |x_i| |x_j|, i != j.
    y : array of shape (n,)
        Targets.

    Raises
    ------
    ValueError
        If rows are not orthogonal, a zero row has a target other than 0, or the data are not finite.

    References
    ----------
    Ergen & Pilanci (JMLR 2021), Lemma 9; Boursier, Pillaud-Vivien & Flammarion (NeurIPS 2022).
    """
    rows, targets = fitting(X, _targets(y))
    units, norms = unit_rows(rows)
    cosines = np.abs(units @ units.T)
    np.fill_diagonal(cosines, 0.0)
    error = float(cosines.max())
    if error > tol:
        raise ValueError(f"the rows are not orthogonal: two have a cosine of {error:.3g}")
    if np.any(targets[norms == 0]):
        raise ValueError("X has a zero row with a target that is not 0")
    alive = norms > 0
    weights = np.where(alive, targets, 0.0) / np.where(alive, norms, 1.0)
    lam, parts = np.zeros(len(rows)), []
    for own in (targets > 0, targets < 0):
        part, size = units[own].T @ np.abs(weights[own]), _norm(weights[own])
        lam[own] = weights[own] / size / norms[own]
        parts.append(part)
    return _two_neurons("min-norm, sign by sign", parts, lam, error)


def _separator(units: Array, norms: Array, tol: float) -> tuple[Array, Array, float]:
    """argmin |v| s.t. |x_i| units_i . v >= 1, its multipliers over |v|, and the violation of their conditions.

    The rows have inner products >= 0, so that in units of 1 / min |x_i| the solution has a norm between 1 and n.
    """
    cosines = units @ units.T
    if cosines.min() < -tol:
        raise ValueError(f"two rows of one class have a negative inner product (cosine {cosines.min():.3g})")
    smallest = float(norms.min())
    bounds = smallest / norms
    support = _support(units, bounds)
    Q, R = np.linalg.qr(units[support].T)
    z = solve_triangular(R, bounds[support], trans="T")
    v = Q @ z
    alpha = solve_triangular(R, z)
    size = float(np.linalg.norm(v))
    short = np.max((bounds - units @ v) / size)
    error = max(float(short), float(np.max(-alpha)) / size, float(np.abs(units[support] @ v - bounds[support]).max()))
    if error > ACCURATE:
        raise ValueError("rows of one class are too nearly dependent: double precision does not determine the answer")
    multipliers = np.zeros(len(units))
    multipliers[support] = np.maximum(alpha, 0.0) / size / norms[support]
    return v / smallest, multipliers, max(error, 0.0)


def _support(units: Array, bounds: Array) -> Array:
    """The rows with a positive multiplier in min |v| s.t. units v >= bounds, by nonnegative least squares.

    Lawson & Hanson (1974), chapter 23: u >= 0 that minimises |U^T u|^2 + (bounds . u - 1)^2 is parallel to them.
    """
    weights, _ = nnls(np.vstack([units.T, bounds]), np.append(np.zeros(units.shape[1]), 1.0))
    return np.flatnonzero(weights > 1e-13 * weights.max())


def _require_inactive(units: Array, v: Array, tol: float) -> None:
    cosine = float((units @ v).max(initial=-1.0)) / float(np.linalg.norm(v))
    if cosine > tol:
        raise ValueError(f"the separator of one class is active on the other (cosine {cosine:.3g})")


def _two_neurons(name: str, parts: list[Array], lam: Array, residual: float) -> ClosedForm:
    sizes = np.array([_norm(part) for part in parts])
    used = [(part, np.sqrt(size), sign) for part, size, sign in zip(parts, sizes, (1, -1), strict=True) if size > 0]
    hidden = np.array([part / root for part, root, _ in used]).reshape(len(used), parts[0].size).T
    network = Network(hidden, np.array([sign * root for _, root, sign in used]))
    value = float(sizes.sum())
    return ClosedForm(name, "1/2 |theta|^2 = y^T lam", value, network, lam, residual)


def _targets(y: ArrayLike) -> Array:
    targets = np.asarray(y, dtype=np.float64)
    if targets.ndim != 1 or not np.isfinite(targets).all():
        raise ValueError(f"y must be finite numbers of shape (n,); its shape is {targets.shape}")
    return targets


def _norm(v: Array) -> float:
    """|v|, without under- or overflow of the squares."""
    largest = float(np.abs(v).max(initial=0.0))
    return largest * float(np.linalg.norm(v / largest)) if largest > 0 else 0.0
