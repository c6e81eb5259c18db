"""Spike-free data: the rectified ellipsoid is the part of the ellipsoid in the nonnegative orthant."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from extremal.closed_forms.rows import unit_rows
from extremal.design import Array, Design
from extremal.gauge import GaugeBounds, GaugeStatus, check_limits, gauge

#: Unit rows closer than this are one.
SAME = 1e-12
#: The share of the time for a first search: near spike-free data all directions of the outputs are on a plateau, which
#: the search over these does not leave before its time is up, while the relaxation that follows ends it at once.
GLANCE = 0.05


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

    Rows that are drawn from a Gaussian are spike-free with a probability that tends to 2^(-n (n - 1) / 2) as d grows:
    the signs of H off the diagonal become independent and fair. So the probability of the opposite does not vanish, as
    Theorem 5 has it; what vanishes is the distance (`spike_free_distance`), which tends to one.

    References
    ----------
    Ergen & Pilanci (JMLR 2021), definition and Lemmas 3 - 5. The test is this library's.
    """
    return _is_spike_free(_distinct_directions(Design.from_data(X).dense()), tol)


def _is_spike_free(directions: Array, tol: float) -> bool:
    if not has_full_row_rank(directions):
        return False
    half = np.linalg.inv(np.linalg.qr(directions.T, mode="r"))
    half /= np.linalg.norm(half, axis=1, keepdims=True)
    cosines = half @ half.T
    np.fill_diagonal(cosines, 0.0)
    return bool(np.all(cosines <= tol))


def has_full_row_rank(units: Array) -> bool:
    """Whether rows of norm one are linearly independent, to working precision."""
    k, d = units.shape
    if k == 0 or k > d:
        return k == 0
    singular = np.linalg.svd(np.linalg.qr(units.T, mode="r"), compute_uv=False)
    return bool(singular[-1] > d * np.finfo(float).eps * singular[0])


@dataclass(frozen=True, eq=False)
class SpikeFreeDistance:
    """How far X is from spike-free: for every |u| <= 1 the shortest z that comes nearest to Xz = (Xu)_+.

    Attributes
    ----------
    spike_free : bool
        The exact test, `is_spike_free`: whether stretch <= 1 and outside = 0.
    stretch : GaugeBounds
        max |X^+ (Xu)_+|, the longest z; at its witness u. One if X is spike-free; for independent rows at least one.
    outside : GaugeBounds
        max |(Xu)_+ - X X^+ (Xu)_+| / max |Xu|, how far (Xu)_+ leaves the range of X, between 0 and 1: zero if apart
        from zero rows and positive multiples the rows are independent, and only then.
    """

    spike_free: bool
    stretch: GaugeBounds
    outside: GaugeBounds

    def __str__(self) -> str:
        return "\n".join(
            [
                "spike-free" if self.spike_free else "not spike-free",
                f"|z| / |u|              {self.stretch.lower:.10g} ... {self.stretch.upper:.10g}",
                f"outside of the range   {self.outside.lower:.10g} ... {self.outside.upper:.10g}",
            ]
        )


def spike_free_distance(
    X: ArrayLike, *, tol: float = 1e-6, time_limit: float | None = None, random_state: int = 0
) -> SpikeFreeDistance:
    """max over |u| <= 1 of |X^+ (Xu)_+|, which is at most one if X is spike-free, and of what is left of (Xu)_+.

    Both are gauges of several outputs, |Lam^T (Xu)_+| with Lam = (X^+)^T and with a basis of the complement of the
    range, and so are bounded from above as any gauge.

    Parameters
    ----------
    X : array of shape (n, d)
        Any shape and rank. Zero rows, and the lengths and repetitions of rows that are otherwise independent, change
        nothing; if there are more directions than the rank, all rows count as they are.
    tol : float
        The relative width of the intervals at which the search stops.
    time_limit : float, optional
        Seconds for each of the two; 10 by default. An interval is valid whenever the search ends.
    random_state : int
        Seed of the searches from below.

    Returns
    -------
    SpikeFreeDistance

    Raises
    ------
    ValueError
        If X is not a finite, nonempty matrix.

    Notes
    -----
    For independent rows let p_i be the columns of X^+. With z = Xu, X^+ z = sum_+ z_i p_i - sum_- |z_i| p_i, so that
    the maximum is 1 / sin of the least angle between the cones of two disjoint sets of columns, or one if no such
    angle is acute. Two rows at an obtuse angle phi: 1 / sin phi. The bounds hold for X^+ as it is in double precision.

    References
    ----------
    Ergen & Pilanci (JMLR 2021), Lemma 3 for full row rank.
    """
    check_limits(tol, time_limit)
    rows = Design.from_data(X).dense()
    directions = _distinct_directions(rows)
    nothing = np.zeros(rows.shape[1])
    if _is_spike_free(directions, 1e-9):
        witness = np.linalg.pinv(directions).sum(axis=1) if len(directions) else nothing
        size = float(np.linalg.norm(witness))
        one = 1.0 if size > 0 else 0.0
        return SpikeFreeDistance(True, _known(one, witness / (size or 1.0)), _known(0.0, nothing))
    independent = has_full_row_rank(directions)
    used = directions if independent else np.ldexp(rows, -int(np.frexp(np.abs(rows).max())[1]))
    U, singular, Vt = np.linalg.svd(used)
    rank = int((singular > max(used.shape) * np.finfo(float).eps * singular[0]).sum())
    core, basis = U[:, :rank] * singular[:rank], Vt[:rank].T

    def bounds(lam: Array) -> GaugeBounds:
        limit = 10.0 if time_limit is None else time_limit
        found = gauge(core, lam, tol=tol, time_limit=GLANCE * limit, random_state=random_state)
        if found.status is not GaugeStatus.EXACT:
            found = gauge(core, lam, tol=tol, time_limit=(1 - GLANCE) * limit, random_state=random_state)
        return replace(found, witness=basis @ found.witness)

    stretch = bounds(U[:, :rank] / singular[:rank])
    outside = _known(0.0, nothing) if independent else bounds(U[:, rank:] / singular[0])
    return SpikeFreeDistance(False, stretch, outside)


def _known(value: float, witness: Array) -> GaugeBounds:
    return GaugeBounds(value, value, witness, GaugeStatus.EXACT, "closed form")


def _distinct_directions(X: Array) -> Array:
    """The directions of the nonzero rows, each once; of more than d only d + 1."""
    units, norms = unit_rows(X)
    rest = units[norms > 0]
    found = np.zeros((0, X.shape[1]))
    while len(rest) and len(found) <= X.shape[1]:
        found = np.vstack([found, rest[:1]])
        rest = rest[np.linalg.norm(rest - rest[0], axis=1) > SAME]
    return found
