"""Two neurons interpolate independent rows. Whether no other network is smaller is a question to one multiplier."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg import solve_triangular

from extremal.closed_forms.rows import fitting, unit_rows
from extremal.closed_forms.spike_free import has_full_row_rank, is_spike_free
from extremal.design import Array, Design
from extremal.gauge import GaugeBounds, GaugeStatus, check_limits, gauge
from extremal.losses import bind
from extremal.network import Network
from extremal.programs.blocks import Blocks

#: Conditions count as violated by more than this, relative to the largest entry.
VIOLATED = 1e-10


@dataclass(frozen=True, eq=False)
class MinimalNetwork:
    """The interpolating network of fewest neurons, and whether it has the least 1/2 |theta|^2 as well.

    Attributes
    ----------
    network : Network
        One neuron for each sign of y, balanced.
    value : float
        Its 1/2 |theta|^2, |X^+ y_+| + |X^+ (-y)_+|.
    optimal : bool or None
        Whether no network of any width has a smaller one: g(lam) <= 1. None if that is not decided.
    lam : array of shape (n,)
        The multiplier that would have to prove it: lam^T y = value.
    gauge : GaugeBounds
        Bounds on g(lam).
    spike_free : bool
        Whether X is; then the answer is exact.
    """

    network: Network
    value: float
    optimal: bool | None
    lam: Array
    gauge: GaugeBounds
    spike_free: bool

    @property
    def lower(self) -> float:
        """value / g(lam), a proven lower bound on 1/2 |theta|^2 of all networks that interpolate."""
        return self.value / max(self.gauge.upper, 1.0)

    def __str__(self) -> str:
        words = {True: "the smallest", False: "not the smallest", None: "not known to be the smallest"}
        return "\n".join(
            [
                f"{self.network}",
                f"1/2 |theta|^2            {self.value:.10g}, {words[self.optimal]}",
                f"no network is below      {self.lower:.10g}",
            ]
        )


def minimal_network(
    X: ArrayLike, y: ArrayLike, *, tol: float = 1e-6, time_limit: float | None = None, random_state: int = 0
) -> MinimalNetwork:
    """The network f(x_i) = y_i of fewest neurons for independent rows, and whether it is optimal for min 1/2 |theta|^2.

        z_+ = X^+ y_+,  z_- = X^+ (-y)_+:    f(x) = (z_+ . x)_+ - (z_- . x)_+,   1/2 |theta|^2 = |z_+| + |z_-|

    Two neurons if y has both signs, for the output of one has one sign.

    Parameters
    ----------
    X : array of shape (n, d)
        Linearly independent rows; nothing else is asked of them.
    y : array of shape (n,)
        Numbers, not all zero.
    tol : float
        With this accuracy g(lam) has to be one.
    time_limit : float, optional
        Seconds for the gauge; 10 by default.
    random_state : int
        Seed of the gauge's search from below.

    Returns
    -------
    MinimalNetwork

    Raises
    ------
    ValueError
        If the rows are dependent, y is zero, or the data are not finite.

    Notes
    -----
    Lemma 10 asks for min g(lam) over the lam with lam^T (X u)_+ = 1 at u = z_+ / |z_+| and -1 at z_- / |z_-|. There is
    no need to search. With H = (X X^T)^-1, p = H y_+ / |z_+| and q = H (-y)_+ / |z_-|, a lam with g(lam) <= 1 has
    u as its maximiser, and moving single entries of Xu away from there shows that it must be

        lam_i = p_i where y_i > 0,  -q_i where y_i < 0,    with  p + q >= 0,  p_i <= 0 where y_i <= 0,  q_i <= 0 where
        y_i >= 0  (so that all are zero where y_i = 0, if y has both signs).

    The last conditions hold for spike-free rows. There p + q >= 0 alone decides, by the optimality conditions of
    Theorem 4. It holds for orthogonal rows, and for any two; for others it fails as a rule, but not always, so that on
    spike-free data the network of fewest neurons is not in general the smallest.

    References
    ----------
    Ergen & Pilanci (JMLR 2021), Lemmas 9 and 10. The explicit conditions are this library's.
    """
    check_limits(tol, time_limit)
    targets = bind("squared", y).target
    if targets.shape[1] != 1 or not targets.any():
        raise ValueError("y must be one column of numbers that are not all zero")
    rows, target = fitting(X, targets[:, 0])
    units, norms = unit_rows(rows)
    if not norms.all() or not has_full_row_rank(units):
        raise ValueError("the rows of X are not linearly independent")
    unit = float(np.abs(target / norms).max())
    scaled = target / norms / unit
    Q, R = np.linalg.qr(units.T)
    parts, slopes = [], []
    for own in (np.maximum(scaled, 0), np.maximum(-scaled, 0)):
        coordinates = solve_triangular(R, own, trans="T")
        size = float(np.linalg.norm(coordinates))
        parts.append(Q @ coordinates)
        slopes.append(solve_triangular(R, coordinates) / (size or 1.0))
    sizes = np.array([np.linalg.norm(part) for part in parts])
    p, q = slopes
    lam = _multiplier(scaled, p, q)
    spike_free = is_spike_free(units)
    bounds = (
        _spike_free_gauge(units, lam)
        if spike_free
        else gauge(units, lam, tol=0.1 * tol, time_limit=time_limit, random_state=random_state)
    )
    possible = _is_stationary(scaled, p, q, spike_free)
    optimal = possible if spike_free or not possible else _decided(bounds, scaled, tol)
    used = np.flatnonzero(sizes)
    root = np.sqrt(sizes[used] * unit)
    hidden = np.column_stack([parts[k] / np.sqrt(sizes[k]) for k in used]) * np.sqrt(unit)
    network = Network(hidden, np.array([1.0, -1.0])[used] * root)
    return MinimalNetwork(network, float(sizes.sum()) * unit, optimal, lam / norms, bounds, spike_free)


def _multiplier(y: Array, p: Array, q: Array) -> Array:
    """The only lam that may have g(lam) <= 1; of many, if y has one sign and zeros, the one with X^T lam = +-u."""
    if not y.min() < 0 < y.max():
        return p - q
    return np.where(y > 0, p, np.where(y < 0, -q, 0.0))


def _is_stationary(y: Array, p: Array, q: Array, spike_free: bool) -> bool:
    """Whether no single entry of Xu, moved away from a neuron, raises |lam^T (Xu)_+|."""
    least = -VIOLATED * float(max(np.abs(p).max(), np.abs(q).max()))
    both = y.min() < 0 < y.max()
    if both and np.any(p + q < least):
        return False
    return spike_free or not (np.any(-p[y <= 0] < least) or np.any(-q[y >= 0] < least))


def _spike_free_gauge(units: Array, lam: Array) -> GaugeBounds:
    """max over |u| <= 1, Xu >= 0 of |lam^T X u|: for spike-free X the gauge."""
    patterns, signs = np.ones((2, len(units)), dtype=bool), np.array([1.0, -1.0])
    found = Blocks.relu(Design(units), patterns, signs).projections(lam)
    sizes = np.linalg.norm(found, axis=1)
    best = int(np.argmax(sizes))
    witness = found[best] / (sizes[best] or 1.0)
    return GaugeBounds(float(sizes[best]), float(sizes[best]), witness, GaugeStatus.EXACT, "projection")


def _decided(bounds: GaugeBounds, y: Array, tol: float) -> bool | None:
    if bounds.upper <= 1 + tol:
        return True
    one_of_many = not y.all() and not y.min() < 0 < y.max()
    return False if bounds.lower > 1 + tol and not one_of_many else None
