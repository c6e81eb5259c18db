"""Data on which the classes do not disturb each other: one neuron for each class is the global optimum."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg import solve_triangular
from scipy.optimize import nnls

from extremal.closed_forms.result import ClosedForm
from extremal.closed_forms.rows import classes, fitting, labelled, unit_rows
from extremal.closed_forms.separability import is_orthogonally_separable
from extremal.design import Array
from extremal.network import Network

#: A solution whose optimality conditions are violated by more, relative to its size, is refused.
ACCURATE = 1e-9
DEPENDENT = "rows of one class are too nearly dependent: double precision does not determine the answer"
#: A class is separated from the origin if its separator is not longer than this, in units of 1 / its shortest row.
LONGEST = 1e7


def orthogonal_max_margin(X: ArrayLike, y: ArrayLike, *, tol: float = 1e-12) -> ClosedForm:
    """min 1/2 |theta|^2 s.t. y_i f(x_i) >= 1, for data whose classes are separated independently of each other.

    With v_c = argmin |v| s.t. x_i . v >= 1 for the rows of class c, and its multipliers alpha (v_c = sum alpha_i x_i):

        P* = |v_+| + |v_-|,    w_c = v_c / sqrt|v_c|,  b_c = +-sqrt|v_c|,    lam_i = y_i alpha_i / |v_c|.

    Parameters
    ----------
    X : array of shape (n, d)
        Used as they are. Required: x_i . x_j >= 0 for rows of one class with alpha_i, alpha_j > 0, v_+ . x_j <= 0 on
        class -1 and v_- . x_i <= 0 on class +1. Orthogonally separable data and orthogonal rows fulfil that.
    y : array of shape (n,)
        Labels -1/+1 or 0/1; there may be a single class.
    tol : float
        What these cosines may violate the conditions by; the answer's `residual` says what they do.

    Raises
    ------
    ValueError
        If the data do not fulfil the conditions (zero rows can never be separated), are not finite, or are so nearly
        dependent that double precision does not determine the answer.

    Notes
    -----
    Optimal because lam^T (Xu)_+ <= sum_+ lam_i (x_i . u)_+ <= max over subsets S of |sum_S lam_i x_i| = |X_+^T lam_+|
    = 1: adding rows with nonnegative inner products only lengthens the sum. And y^T lam = sum alpha_i / |v_c| = P*.
    Rows without a multiplier take no part in it: of them only the margins are asked, which is less than the papers do.
    Where the multipliers are not unique those of the active-set solution count.

    References
    ----------
    Phuong & Lampert (ICLR 2021) and Wang & Pilanci (ICLR 2022) for orthogonally separable data.
    """
    rows, labels = labelled(X, y)
    units, norms = unit_rows(rows)
    _require_nonzero(norms)
    lam, parts, residual = np.zeros(len(rows)), [], 0.0
    for sign in (1.0, -1.0):
        own = labels == sign
        if own.any():
            part, multipliers, error = _separator(units[own], norms[own], tol)
            error = max(error, _require_inactive(units[~own], part, tol))
            lam[own] = sign * multipliers
            residual = max(residual, error)
        else:
            part = np.zeros(rows.shape[1])
        parts.append(part)
    return _two_neurons("max-margin, class by class", parts, lam, residual)


def multiclass_max_margin(X: ArrayLike, y: ArrayLike, *, tol: float = 1e-12) -> ClosedForm:
    """min 1/2 |theta|^2 s.t. f_c(x_i) - f_k(x_i) >= 1 for every row of class c and every k != c: K outputs.

    That is the margin of the softmax. With v_c and alpha as in `orthogonal_max_margin`, and the unit vectors
    h_c = (e_c - 1/K) sqrt(K / (K - 1)), the vertices of a simplex,

        P* = sqrt((K - 1) / K) sum_c |v_c|,    one neuron (v_c, h_c) for each class,    lam_i = alpha_i h_c / |v_c|.

    Parameters
    ----------
    X : array of shape (n, d)
        Required: x_i . x_j >= 0 for rows of one class with multipliers; v_c . x_j <= 0 for all rows of the others; and
        if K > 2, for each two classes, sum_ij a_i a_j (x_i . x_j)_+ <= 1 / (K - 1) with a_i = alpha_i / |v_c|.
        Orthogonally separable data and orthogonal rows fulfil that: the sum is 0.
    y : array of shape (n,)
        Class numbers 0, ..., K-1, K the largest and one, at least 2; or labels -1/+1. Classes may be empty.
    tol : float
        What these cosines may violate the conditions by; the answer's `residual` says what they do.

    Returns
    -------
    ClosedForm
        `lam` (n, K) is sum_k mu_ik (e_c - e_k) with the multipliers mu >= 0 of the margins, here all the same in k.

    Raises
    ------
    ValueError
        As for `orthogonal_max_margin`.

    Notes
    -----
    Feasible: v_c does not see the other classes, and h_c / sqrt(K / (K - 1)) is the shortest a with a_c - a_k >= 1.
    Optimal: let q_c(u) be the sum of a_i x_i over the rows of c that u sees, t_c = q_c . u >= 0. As before |q_c| <= 1,
    and across the classes q_c . q_k <= g = 1 / (K - 1). With w = sum_c t_c q_c, A = sum_c t_c^2 = w . u, |u| <= 1, and
    B = 2 sum_{c < k} t_c t_k, A^2 <= |w|^2 <= A + g B. Because h_c . h_k = -g,

        |lam^T (Xu)_+|^2 = |sum_c t_c h_c|^2 = A - g B <= A - A (A - 1) = 1 - (A - 1)^2 <= 1   (if A <= 1, it is <= A).

    For K = 2 it is |t_1 - t_2| <= 1 whatever the products across. The margins' multipliers sum up to P*.

    That gradient flow on the softmax ends there is a conjecture here, which the tests watch: Min, Zhu & Vidal show
    collapse onto K such neurons, for somewhat different data and under conditions on the start.

    References
    ----------
    Min, Zhu & Vidal (NeurIPS 2025) for the flow on K classes. The closed form and its proof are this library's.
    """
    rows, labels, K = classes(X, y)
    units, norms = unit_rows(rows)
    _require_nonzero(norms)
    simplex = (np.eye(K) - 1.0 / K) * np.sqrt(K / (K - 1))
    lam, parts, residual = np.zeros((len(rows), K)), [], 0.0
    for c in range(K):
        own = labels == c
        part = np.zeros(rows.shape[1])
        if own.any():
            part, multipliers, error = _separator(units[own], norms[own], tol)
            error = max(error, _require_inactive(units[~own], part, tol))
            lam[own] = multipliers[:, None] * simplex[c]
            residual = max(residual, error)
        parts.append(part * np.sqrt((K - 1) / K))
    if K > 2:
        excess = _require_apart(units, labels, norms * np.linalg.norm(lam, axis=1), 1 / (K - 1), tol)
        residual = max(residual, excess)
    sizes = np.array([_norm(part) for part in parts])
    used = np.flatnonzero(sizes)
    hidden = np.column_stack([parts[c] / np.sqrt(sizes[c]) for c in used])
    network = Network(hidden, simplex[used] * np.sqrt(sizes[used])[:, None])
    name, objective = f"max-margin of {K} classes, class by class", "1/2 |theta|^2 = the sum of the multipliers"
    return ClosedForm(name, objective, float(sizes.sum()), network, lam, residual)


@dataclass(frozen=True, eq=False)
class FlowLimit:
    """Where gradient flow on orthogonally separable data goes: the classes one by one, +1 before -1.

    Attributes
    ----------
    value : float
        P*: 1/2 |theta|^2 of the limit, scaled to margin one.
    labels : array of shape (k,)
        The classes that are there: +1, -1 or both. A neuron's sign of output is that of its class.
    shares : array of shape (k,)
        The parts of |theta|^2 that the neurons of each sign carry in the end, |v_c| / P*.
    early : array of shape (d, k)
        Unit vectors: what small neurons align with before they are felt, the sum of the rows of the class.
    late : array of shape (d, k)
        Unit vectors v_c / |v_c|: where all neurons of the sign point in the end.
    lam : array of shape (n,)
        The limit of the multipliers, in the units of the value.
    """

    value: float
    labels: Array
    shares: Array
    early: Array
    late: Array
    lam: Array

    @property
    def margin(self) -> float:
        """The limit of min_i y_i f(x_i) / |theta|^2, 1 / (2 P*)."""
        return 0.5 / self.value

    def __str__(self) -> str:
        parts = [f"{share:.6g} in class {label:+.0f}" for share, label in zip(self.shares, self.labels, strict=True)]
        return f"margin / |theta|^2 -> {self.margin:.10g}, P* = {self.value:.10g}; of |theta|^2 {', '.join(parts)}"


def orthogonal_flow_limit(X: ArrayLike, y: ArrayLike, *, tol: float = 0.0) -> FlowLimit:
    """The limit of gradient flow from a small balanced start, logistic or exponential loss: value, shares, directions.

    For every start that has, for each class, a neuron with its sign of output that sees some of its rows: such neurons
    become active on the whole class and on nothing else, and from then on the two classes are two linear networks.

    Parameters
    ----------
    X : array of shape (n, d)
        Orthogonally separable. The larger class of `orthogonal_max_margin` is solved too, but there nothing is
        known of the flow.
    y : array of shape (n,)
        Labels -1/+1 or 0/1.
    tol : float
        As for `is_orthogonally_separable`.

    Raises
    ------
    ValueError
        If the data are not orthogonally separable, or not finite.

    References
    ----------
    Phuong & Lampert (ICLR 2021); Wang & Pilanci (ICLR 2022).
    """
    rows, labels = labelled(X, y)
    if not is_orthogonally_separable(rows, labels, tol=tol):
        raise ValueError("the data are not orthogonally separable: x_i . x_j > 0 within a class, <= 0 across")
    found = orthogonal_max_margin(rows, labels, tol=max(tol, 1e-12))
    present = np.array([sign for sign in (1.0, -1.0) if np.any(labels == sign)])
    scaled = np.ldexp(rows, -int(np.frexp(np.abs(rows).max())[1]))
    sums = np.column_stack([scaled[labels == sign].sum(axis=0) for sign in present])
    shares = found.shares if present.size == 2 else np.ones(1)
    late = found.network.hidden
    early, late = (V / np.linalg.norm(V, axis=0) for V in (sums, late))
    return FlowLimit(found.value, present, shares, early, late, found.lam)


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

    Everything is in units of 1 / min |x_i|: if the inner products are >= 0 the solution has a norm between 1 and n.
    """
    smallest = float(norms.min())
    bounds = smallest / norms
    support = _support(units, bounds)
    cosine = float((units[support] @ units[support].T).min())
    if cosine < -tol:
        raise ValueError(f"two rows of one class that hold its separator have a negative inner product ({cosine:.3g})")
    Q, R = np.linalg.qr(units[support].T)
    if support.size > len(Q) or np.abs(np.diag(R)).min() < np.finfo(float).eps:
        raise ValueError(DEPENDENT)
    z = solve_triangular(R, bounds[support], trans="T")
    v = Q @ z
    alpha = solve_triangular(R, z)
    size = float(np.linalg.norm(v))
    short = np.max((bounds - units @ v) / size)
    error = max(float(short), float(np.max(-alpha)) / size, float(np.abs(units[support] @ v - bounds[support]).max()))
    if error > ACCURATE:
        raise ValueError(DEPENDENT)
    multipliers = np.zeros(len(units))
    multipliers[support] = np.maximum(alpha, 0.0) / size / norms[support]
    return v / smallest, multipliers, max(error, -cosine, 0.0)


def _support(units: Array, bounds: Array) -> Array:
    """The rows with a positive multiplier in min |v| s.t. units v >= bounds, by nonnegative least squares.

    Lawson & Hanson (1974), chapter 23: u >= 0 that minimises |U^T u|^2 + (bounds . u - 1)^2 is parallel to them, and
    the minimum is 1 / (1 + |v|^2), zero if no v separates.
    """
    weights, residual = nnls(np.vstack([units.T, bounds]), np.append(np.zeros(units.shape[1]), 1.0))
    if residual * LONGEST < 1.0:
        raise ValueError("the rows of one class are on no common side of the origin: no linear neuron separates it")
    return np.flatnonzero(weights > 1e-13 * weights.max())


def _require_nonzero(norms: Array) -> None:
    if not norms.all():
        raise ValueError("X has a zero row, which no network without bias separates")


def _require_apart(units: Array, labels: Array, weights: Array, most: float, tol: float) -> float:
    """The excess of sum_ij a_i a_j (x_i . x_j)_+ over `most`, for any two classes; weights are a_i |x_i|."""
    products = np.maximum(units @ units.T, 0.0) * weights * weights[:, None]
    one_hot = np.eye(int(labels.max()) + 1)[labels]
    sums = one_hot.T @ products @ one_hot
    np.fill_diagonal(sums, 0.0)
    excess = float(sums.max()) - most
    if excess > tol:
        raise ValueError(f"the separators of two classes share too much: {sums.max():.3g} is above {most:.3g}")
    return max(excess, 0.0)


def _require_inactive(units: Array, v: Array, tol: float) -> float:
    """By how much the separator v sees these rows: a cosine, 0 if it sees none."""
    cosine = float((units @ v).max(initial=-1.0)) / float(np.linalg.norm(v))
    if cosine > tol:
        raise ValueError(f"the separator of one class is active on the other (cosine {cosine:.3g})")
    return max(cosine, 0.0)


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
