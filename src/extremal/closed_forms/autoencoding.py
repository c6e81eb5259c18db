"""Neurons as autoencoders: with a free bias a neuron can see a single sample, and n of them interpolate anything."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.integrate import quad
from scipy.optimize import brentq, lsq_linear
from scipy.special import gammaln, log_ndtr, ndtr
from scipy.stats import t as student

from extremal.closed_forms.hulls import EPS, HullDistances, hull_distances
from extremal.closed_forms.rows import fitting
from extremal.design import Array
from extremal.gauge import gauge
from extremal.network import Network

#: Pre-activations below this, relative to their sample's, lie on the neuron's boundary.
TIE = 1e-7


@dataclass(frozen=True, eq=False)
class ZeroErrorNetwork:
    """One neuron for each sample: (X U + 1 b^T)_+ is diagonal, so that any targets are interpolated.

    Attributes
    ----------
    network : Network
        Unit hidden weights u_i with a bias, output weights y_i / heights_i.
    heights : array of shape (n,)
        What neuron i sees of its sample: the distance to the hull of the others, less an allowance for rounding.
    hulls : HullDistances
        The distances, with the proof that every sample is a vertex.
    """

    network: Network
    heights: Array
    hulls: HullDistances

    @property
    def strength(self) -> float:
        """sum_i |y_i| / dist_i: its 1/2 |theta|^2 when balanced, biases not counted; no smaller than the optimum."""
        return float(np.linalg.norm(self.network.output, axis=1).sum())

    def __str__(self) -> str:
        return f"zero-error network: {self.network}, strength {self.strength:.10g}\n{self.hulls}"


def zero_error_network(X: ArrayLike, y: ArrayLike) -> ZeroErrorNetwork:
    """The n neurons of samples that are all vertices of their convex hull, and their interpolation of y.

    u_i = (a_i - p_i) / |a_i - p_i| with p_i the closest point of the hull of the others, b_i = -max_{j != i} a_j . u_i.

    Parameters
    ----------
    X : array of shape (n, d)
        At least two samples.
    y : array of shape (n,) or (n, c)
        Any finite targets.

    Returns
    -------
    ZeroErrorNetwork

    Raises
    ------
    ValueError
        If a sample is not proven to be a vertex (the message says which), or lies so near to the hull of the others,
        relative to its distance from the origin, that rounding would switch other neurons on.

    References
    ----------
    Ergen & Pilanci (JMLR 2021), Lemma 7 and Theorem 6.
    """
    targets = np.asarray(y, dtype=np.float64)
    if targets.ndim not in (1, 2) or targets.size == 0 or not np.isfinite(targets).all():
        raise ValueError(f"y must be finite numbers of shape (n,) or (n, c); its shape is {targets.shape}")
    targets = targets.reshape(len(targets), -1)
    rows, _ = fitting(X, targets[:, 0])
    hulls = hull_distances(rows)
    _require_vertices(hulls)
    U = hulls.directions.T
    heights = rows @ U
    others = np.where(np.eye(len(rows), dtype=bool), -np.inf, heights)
    # lowered by what the evaluation may round, so that the other samples are seen by none but their own neuron
    allowance = 2 * (rows.shape[1] + 4) * EPS * (np.abs(rows) @ np.abs(U)).max(axis=0)
    bias = -others.max(axis=0) - allowance
    seen = np.diag(heights) + bias
    if np.any(seen <= allowance):
        bad = int(np.argmin(seen - allowance))
        raise ValueError(
            f"sample {bad} is nearer to the hull of the others than rounding allows at its distance from the origin; "
            "subtract the mean from the columns of X"
        )
    return ZeroErrorNetwork(Network(np.vstack([U, bias]), targets / seen[:, None], bias=True), seen, hulls)


def _require_vertices(hulls: HullDistances) -> None:
    if hulls.vertices.all():
        return
    for bad, what in ((hulls.inside, "a convex combination of the others"), (hulls.undecided, "not proven to be one")):
        if bad.any():
            some = ", ".join(map(str, np.flatnonzero(bad)[:5]))
            more = ", ..." if bad.sum() > 5 else ""
            raise ValueError(
                "the zero-error network needs every sample to be a vertex of the convex hull: "
                f"{bad.sum()} of {bad.size} are {what} (rows {some}{more})"
            )


@dataclass(frozen=True, eq=False)
class ExtremePoint:
    """A neuron with a free bias that is largest in a direction: argmax of |v^T (X u + b 1)_+| over |u| <= 1 and b.

    Attributes
    ----------
    direction : array of shape (d,)
    bias : float
        -a_k . direction.
    anchor : int
        k, a sample on the neuron's boundary.
    weights : array of shape (n,)
        alpha, with direction = sum_i alpha_i (a_i - a_k) / |sum_i alpha_i (a_i - a_k)|: +-v_i where the neuron is on, 0
        where it is off, in between on its boundary.
    value : float
        |v^T (X u + b 1)_+|, attained.
    upper : float
        A proven upper bound on it over all neurons.
    residual : float
        The distance of `direction` from that combination.
    """

    direction: Array
    bias: float
    anchor: int
    weights: Array
    value: float
    upper: float
    residual: float

    def __str__(self) -> str:
        return (
            f"extreme point: value {self.value:.12g}, at most {self.upper:.12g}; boundary at sample {self.anchor}, "
            f"{np.count_nonzero(self.weights)} samples in its direction, residual {self.residual:.1e}"
        )


def extreme_point(X: ArrayLike, v: ArrayLike, *, tol: float = 1e-9, time_limit: float = 10.0) -> ExtremePoint:
    """max over |u| <= 1 and b of |v^T (X u + b 1)_+|, sum_i v_i = 0: the gauge with a free hidden bias.

    For fixed u the value is piecewise linear in b, so that a maximum lies at a kink, b = -a_k . u: n gauges of the data
    X - 1 a_k^T, one for every k.

    Parameters
    ----------
    X : array of shape (n, d)
    v : array of shape (n,)
        Not zero, and its sum zero up to rounding; otherwise the value is infinite.
    tol, time_limit : float
        Of every single gauge (`extremal.gauge`).

    Returns
    -------
    ExtremePoint

    Raises
    ------
    ValueError
        If X or v are not finite or do not fit together, v is zero, or its sum is not.

    References
    ----------
    Ergen & Pilanci (JMLR 2021), Lemma 8 and Corollary 1; their multipliers of the samples on the boundary are in alpha.
    """
    v = np.asarray(v, dtype=np.float64)
    if v.ndim != 1 or not np.isfinite(v).all() or not v.any():
        raise ValueError(f"v must be finite numbers of shape (n,), not all zero; its shape is {v.shape}")
    rows, _ = fitting(X, v)
    if abs(v.sum()) > 16 * len(v) * EPS * np.abs(v).sum():
        raise ValueError(f"with a free bias the entries of v have to sum to zero; they sum to {v.sum():.3g}")
    found = [gauge(rows - row, v, tol=tol, time_limit=time_limit) for row in rows]
    upper = max(bounds.upper for bounds in found)
    k = int(np.argmax([bounds.lower for bounds in found]))
    u = np.asarray(found[k].witness, dtype=np.float64).ravel()
    u = u / (float(np.linalg.norm(u)) or 1.0)
    moved = rows - rows[k]
    value = float(v @ np.maximum(moved @ u, 0))
    weights, residual = _combination(moved, np.copysign(1.0, value) * v, u)
    return ExtremePoint(u, -float(rows[k] @ u), k, weights, abs(value), upper, residual)


def _combination(moved: Array, v: Array, u: Array) -> tuple[Array, float]:
    """alpha with u parallel to moved^T alpha: v where the neuron is on, and shares of v on its boundary."""
    heights = moved @ u
    ties = np.abs(heights) <= TIE * (np.linalg.norm(moved, axis=1) + np.abs(heights).max())
    alpha = np.where(heights > 0, v, 0.0)
    alpha[ties] = 0.0
    on = moved.T @ alpha
    across = np.eye(u.size) - np.outer(u, u)
    shares = np.flatnonzero(ties & (v != 0) & moved.any(axis=1))
    if shares.size:
        # the part of u's own direction is |.|, whatever it is: only what is orthogonal to u has to vanish
        columns = across @ (moved[shares].T * v[shares])
        alpha[shares] = v[shares] * lsq_linear(columns, -across @ on, bounds=(0.0, 1.0), tol=1e-14).x
    total = moved.T @ alpha
    size = float(np.linalg.norm(total))
    return alpha, float(np.linalg.norm(u - total / (size or 1.0)))


@dataclass(frozen=True)
class GaussianHull:
    """What is known of n independent standard normal samples in d dimensions.

    Attributes
    ----------
    n, d : int
    printed : float
        The paper's lower bound on the expected distance to the others' hull, sqrt(d) / sqrt(n) - sqrt(2 log(n - 1)).
    enough : bool
        The paper's condition under which all samples are vertices with high probability, d > 2 n log(n - 1).
    bound : float
        A larger lower bound on the expected distance.
    predicted : float
        Its value in the limit of large n and d; zero where a sample is expected to be inside.
    probability : float
        A lower bound on the probability that all samples are vertices.
    """

    n: int
    d: int
    printed: float
    enough: bool
    bound: float
    predicted: float
    probability: float

    def __str__(self) -> str:
        return (
            f"{self.n} normal samples in {self.d} dimensions: distance to the others' hull {self.predicted:.5g} "
            f"(mean, predicted), >= {self.bound:.5g} (proven; printed bound {self.printed:.5g}); "
            f"all are vertices with probability >= {self.probability:.5g}"
        )


def gaussian_hull(n: int, d: int) -> GaussianHull:
    """How far standard normal samples are from each other's hull, and whether they are all vertices.

    Parameters
    ----------
    n : int
        Samples, at least 2.
    d : int
        Dimensions, at least 1.

    Raises
    ------
    ValueError
        If there are fewer.

    Notes
    -----
    The distance is min over the simplex of |A^T (e_i - lam)|. Gordon's comparison bounds its mean by

        E min over lam of sqrt(1 + |lam|^2) |g| - lam . h,      g normal in R^d, h in R^(n-1),

    and as |lam|^2 >= 1/(n-1) that is at least sqrt(n/(n-1)) E|g| - E max h: `bound`. The problem is convex, so that for
    large n and d it is the distance itself: with S_k = (n - 1) E (h - tau)_+^k and S_1^2 + S_2 = d the minimum is
    S_1 - tau: `predicted`.

    Sample i is a vertex if a_i itself separates it, a_j . a_i < |a_i|^2. As a_j . a_i / |a_i| is normal, that fails for
    one pair with the probability that Student's t of d degrees exceeds sqrt(d); n (n - 1) times that bounds the
    probability of an exception: `probability`. It falls like 2^(-d/2), so that d > 4 log2(n) is about enough.

    The printed statement is true and far from sharp: its bound on the distance is negative and its condition fails
    where all samples are vertices.

    References
    ----------
    Ergen & Pilanci (JMLR 2021), Theorem 7; Gordon (Israel J. Math. 1985); Thrampoulidis, Oymak & Hassibi (COLT 2015).
    """
    if n != int(n) or d != int(d) or n < 2 or d < 1:
        raise ValueError(f"it takes at least two samples and one dimension, whole numbers, not n = {n} and d = {d}")
    logs = float(np.log(n - 1))
    length = float(np.sqrt(2) * np.exp(gammaln((d + 1) / 2) - gammaln(d / 2)))
    bound = float(np.sqrt(n / (n - 1)) * length - _expected_maximum(n - 1))
    exceptions = n * (n - 1) * float(student.sf(np.sqrt(d), d))
    return GaussianHull(
        n, d,
        printed=float(np.sqrt(d / n) - np.sqrt(2 * logs)),
        enough=bool(d > 2 * n * logs),
        bound=max(bound, 0.0),
        predicted=max(bound, _predicted_distance(n, d)),
        probability=max(0.0, 1.0 - exceptions),
    )  # fmt: skip


def _expected_maximum(m: int) -> float:
    """E max of m independent standard normal numbers."""
    if m == 1:
        return 0.0
    peak = float(np.sqrt(2 * np.log(m)))

    def integrand(z: float) -> float:
        return float(z * m * np.exp((m - 1) * log_ndtr(z) - 0.5 * z * z) / np.sqrt(2 * np.pi))

    return float(quad(integrand, -12.0, peak + 12.0, points=[0.0, peak], limit=200)[0])


def _predicted_distance(n: int, d: int) -> float:
    """S_1 - tau where S_1^2 + S_2 = d, with S_k = (n - 1) E (h - tau)_+^k for a normal h; zero if it is negative."""

    def sums(tau: float) -> tuple[float, float]:
        density, tail = float(np.exp(-0.5 * tau * tau) / np.sqrt(2 * np.pi)), float(ndtr(-tau))
        return (n - 1) * max(density - tau * tail, 0.0), (n - 1) * max((1 + tau * tau) * tail - tau * density, 0.0)

    def excess(tau: float) -> float:
        first, second = sums(tau)
        return first**2 + second - d

    low, high = -float(np.sqrt(d) + 1), float(np.sqrt(2 * np.log(n)) + 2)
    if excess(high) > 0:
        high = 38.0
    tau = brentq(excess, low, high, xtol=1e-13)
    return max(0.0, sums(tau)[0] - tau)
