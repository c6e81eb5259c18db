"""How far every sample is from the convex hull of the others, and which samples are vertices, both with proofs.

Per sample a_i everything is computed with the differences a_j - a_i, which a floating-point subtraction rounds by one
part in 10^16 of themselves, wherever the origin is. A direction with a margin bounds the distance from below and proves
a vertex, weights on the others bound it from above; where rounding could decide, integers do.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse
from scipy.linalg import solve_triangular
from scipy.optimize import nnls

from extremal.design import Array, Design

EPS = float(np.finfo(float).eps)
#: What underflow may do to a sum of products of numbers of order one.
TINY = 1e-290
#: A squared distance that falls by less, relative to itself, has converged.
ROUNDING = 1e-13
#: A multiple of d of the nearest samples from which the search starts, and of those that join it in one round.
FIRST, MORE = 2, 1
#: Elimination with integers is left out where it would take more multiplications.
LONGEST = 600_000


@dataclass(frozen=True, eq=False)
class HullDistances:
    """The distance of every sample to the convex hull of the others, and what is proven.

    Attributes
    ----------
    lower, upper : arrays of shape (n,)
        Proven bounds on the distances, rounding included.
    vertices : boolean array of shape (n,)
        Proven to be outside of the hull of the others: a direction separates them.
    inside : boolean array of shape (n,)
        Proven to be a convex combination of the others, by weights that are positive beyond rounding or exact.
    directions : array of shape (n, d)
        (a_i - p_i) / |a_i - p_i|, p_i the closest point of the hull of the others; zero where the distance is.
    weights : sparse array of shape (n, n)
        Row i holds the convex combination p_i of the others: p = weights @ X.
    """

    lower: Array
    upper: Array
    vertices: Array
    inside: Array
    directions: Array
    weights: sparse.csr_array

    @property
    def distance(self) -> Array:
        """The distances: those to the points `weights @ X`, zero for samples proven to be inside."""
        return self.upper

    @property
    def undecided(self) -> Array:
        """Samples for which neither is proven: nearer to the boundary than double precision can tell."""
        return ~(self.vertices | self.inside)

    def __str__(self) -> str:
        width = float(np.max((self.upper - self.lower) / np.where(self.upper > 0, self.upper, 1.0), initial=0.0))
        found = self.distance[self.vertices]
        span = f", at distances {found.min():.6g} to {found.max():.6g} from the others" if found.size else ""
        return (
            f"{self.vertices.size} samples: {self.vertices.sum()} proven vertices of their hull{span}, "
            f"{self.inside.sum()} proven inside, {self.undecided.sum()} undecided; largest relative error {width:.1e}"
        )


def hull_distances(X: ArrayLike, *, only: ArrayLike | None = None) -> HullDistances:
    """dist_i = min over the simplex of |a_i - sum over j != i of lam_j a_j|, for every row a_i of X.

    Parameters
    ----------
    X : array of shape (n, d)
        At least two samples, used as they are.
    only : array of m row numbers, optional
        The rows whose distances are wanted; all by default. The answer has m rows then.

    Returns
    -------
    HullDistances

    Raises
    ------
    ValueError
        If X is not a finite matrix of at least two rows, or `only` names rows that it does not have.

    Notes
    -----
    By duality dist_i = max over |u| <= 1 of min_j (a_i - a_j) . u: the neuron along e_i of Ergen & Pilanci (JMLR 2021,
    Lemma 7). Nonnegative least squares solves it: mu >= 0 that minimises |sum mu_j (a_j - a_i)|^2 + c^2 (sum mu - 1)^2
    is parallel to the weights, for every c > 0; on a working set of samples, to which those join that the direction
    does not separate. A projection onto the affine hull of the support adds the last digits.
    """
    rows = Design.from_data(X).dense()
    if len(rows) < 2:
        raise ValueError("the convex hull of the others needs at least two samples; X has one")
    largest = float(np.abs(rows).max())
    exponent = int(np.frexp(largest)[1]) if largest > 0 else 0
    scaled = np.ldexp(rows, -exponent)
    n, d = scaled.shape
    wanted = np.arange(n) if only is None else np.asarray(only).ravel()
    m = wanted.size
    if m == 0 or wanted.dtype.kind not in "iu" or wanted.min() < 0 or wanted.max() >= n:
        raise ValueError(f"only must name some of the rows 0 to {n - 1}; it is {only!r}")
    varies = np.flatnonzero(np.ptp(scaled, axis=0) > 0)
    lower, upper = np.zeros(m), np.zeros(m)
    vertices, inside = np.zeros(m, dtype=bool), np.zeros(m, dtype=bool)
    directions, entries = np.zeros((m, d)), []
    for k, i in enumerate(wanted):
        others = np.delete(np.arange(n), i)
        P = scaled[others][:, varies] - scaled[i, varies]
        x, support, weights = _nearest(P)
        entries.append((others[support], weights))
        lower[k], doubtful = _separation(P, x)
        vertices[k] = lower[k] > 0 or _separates(-x, rows[i, varies], rows[np.ix_(others[doubtful], varies)])
        inside[k] = not vertices[k] and (
            _is_interior(P[support], weights) or _is_combination(rows[i, varies], rows[np.ix_(others[support], varies)])
        )
        if not inside[k]:
            upper[k] = _length(P[support], weights)
            directions[k, varies] = -x / (float(np.linalg.norm(x)) or 1.0)
    counts = np.cumsum([0] + [len(index) for index, _ in entries])
    columns, shares = (np.concatenate([entry[side] for entry in entries]) for side in (0, 1))
    table = sparse.csr_array((shares, columns, counts), shape=(m, n))
    # scaling back by a power of two is exact
    return HullDistances(np.ldexp(lower, exponent), np.ldexp(upper, exponent), vertices, inside, directions, table)


def _nearest(P: Array) -> tuple[Array, Array, Array]:
    """The point x of smallest norm in the hull of the rows of P, its support, and positive weights that sum to one."""
    d = P.shape[1]
    squares = np.einsum("ij,ij->i", P, P)
    unit = float(np.sqrt(squares.min()))
    if unit == 0.0:
        return np.zeros(d), np.array([int(np.argmin(squares))]), np.ones(1)
    working = np.argsort(squares)[: FIRST * d + 2]
    best: tuple[Array, Array, Array] | None = None
    while True:
        scale = float(np.sqrt(squares[working].max()))
        system = np.vstack([P[working].T / scale, np.full(working.size, unit / scale)])
        target = np.zeros(d + 1)
        target[-1] = unit / scale
        mu, _ = nnls(system, target, maxiter=50 * system.shape[1])
        chosen = np.flatnonzero(mu > 0)
        x, keep, weights = _polish(P[working[chosen]], mu[chosen] / mu.sum())
        support = working[chosen[keep]]
        if best is not None and x @ x >= best[0] @ best[0] * (1 - ROUNDING):
            return best
        best = x, support, weights
        heights = P @ x
        short = x @ x * (1 - ROUNDING) - heights - 1e-15 * np.sqrt(squares * (x @ x))
        short[working] = -np.inf
        new = np.flatnonzero(short > 0)
        if new.size == 0 or x @ x <= (4 * EPS) ** 2 * squares[support].max():
            return best
        worst = new[np.argsort(-short[new])[: MORE * d + 2]]
        working = np.concatenate([support, worst])


def _polish(P: Array, weights: Array) -> tuple[Array, Array, Array]:
    """The same point once more, as the foot of the perpendicular on the affine hull of its support."""
    keep = np.arange(len(P))
    point = weights @ P
    if len(P) == 1:
        return P[0], keep, np.ones(1)
    first = int(np.argmin(np.einsum("ij,ij->i", P, P)))
    rest = np.delete(keep, first)
    Q, R = np.linalg.qr((P[rest] - P[first]).T)
    diagonal = np.abs(np.diag(R))
    if len(rest) > P.shape[1] or diagonal.min() <= 1e-14 * diagonal.max():
        return point, keep, weights
    foot = P[first] - Q @ (Q.T @ P[first])
    foot -= Q @ (Q.T @ foot)
    shares = solve_triangular(R, -(Q.T @ P[first]))
    better = np.empty(len(P))
    better[rest], better[first] = shares, 1.0 - shares.sum()
    if better.min() < -1e-12:
        return point, keep, weights
    keep = np.flatnonzero(better > 0)
    return foot, keep, better[keep] / better[keep].sum()


def _separation(P: Array, x: Array) -> tuple[float, Array]:
    """min_j P_j . x / |x|, lowered by rounding, if it is positive; else the j for which it may be zero or less."""
    size = float(np.linalg.norm(x))
    if size == 0.0:
        return 0.0, np.arange(len(P))
    heights, rounding = P @ x, (P.shape[1] + 6) * EPS * (np.abs(P) @ np.abs(x))
    lower = float(np.min(heights - rounding)) / size * (1 - 2 * (P.shape[1] + 8) * EPS)
    return (lower, np.zeros(0, dtype=int)) if lower > TINY else (0.0, np.flatnonzero(heights <= rounding))


def _separates(x: Array, a: Array, others: Array) -> bool:
    """Whether x . a > x . b for all the others, exactly; those that it certainly separates need not be among them."""
    if not x.any() or len(others) > 20 * (a.size + 1):
        return False
    normal, point = _fractions(x), _fractions(a)
    return all(
        sum((u * (s - t) for u, s, t in zip(normal, point, _fractions(b), strict=True)), Fraction(0)) > 0
        for b in others
    )


def _fractions(values: Array) -> list[Fraction]:
    return [Fraction(float(value)) for value in values]


def _length(P: Array, weights: Array) -> float:
    """An upper bound on |sum weights_j P_j| for weights that sum to one up to rounding, of the exact convex point."""
    k, d = P.shape
    rounding = (k + 6) * EPS * (weights @ np.abs(P)) + TINY
    return float(np.linalg.norm(np.abs(weights @ P) + rounding)) * (1 + (d + 8) * EPS)


def _is_interior(P: Array, weights: Array) -> bool:
    """Whether zero is inside of the simplex of d + 1 points, by an approximate inverse (Rump's verification)."""
    k, d = P.shape
    if k != d + 1 or d == 0:
        return False
    M = np.vstack([P.T / np.abs(P).max(), np.ones(k)])
    b = np.append(np.zeros(d), 1.0)
    try:
        R = np.linalg.inv(M)
    except np.linalg.LinAlgError:
        return False
    weights = weights + R @ (b - M @ weights)
    rounding = (k + 6) * EPS
    off = np.abs(np.eye(k) - R @ M) + rounding * (np.abs(R) @ np.abs(M))
    residual = np.abs(b - M @ weights) + rounding * (np.abs(M) @ np.abs(weights) + b)
    contraction = float(off.sum(axis=1).max()) * (1 + rounding)
    if not contraction < 0.5:
        return False
    error = float((np.abs(R) @ residual).max()) / (1 - contraction) * (1 + 2 * rounding)
    return bool(weights.min() > error + TINY)


def _is_combination(a: Array, others: Array) -> bool:
    """Whether a is a convex combination of affinely independent others, by elimination with integers."""
    k, d = others.shape
    if k * k * d > LONGEST:
        return False
    point = _fractions(a)
    rows = [[t - s for s, t in zip(point, _fractions(b), strict=True)] for b in others]
    denominator = max((x.denominator for row in rows for x in row), default=1)  # all are powers of two
    columns = [[int(x * denominator) for x in column] for column in zip(*rows, strict=True)]
    return _has_nonnegative_solution([[*column, 0] for column in columns if any(column)] + [[1] * (k + 1)])


def _has_nonnegative_solution(table: list[list[int]]) -> bool:
    """Whether the system with the augmented matrix `table` has a solution, a single one, and it is nonnegative.

    Fraction-free elimination (Bareiss): every division is exact.
    """
    unknowns, previous = len(table[0]) - 1, 1
    for step in range(unknowns):
        pivot = next((r for r in range(step, len(table)) if table[r][step]), None)
        if pivot is None:
            return False
        table[step], table[pivot] = table[pivot], table[step]
        head, lead = table[step], table[step][step]
        for r, row in enumerate(table):
            if r != step:
                factor = row[step]
                table[r] = [(lead * x - factor * h) // previous for x, h in zip(row, head, strict=True)]
        previous = lead
    consistent = not any(row[-1] for row in table[unknowns:])
    return consistent and all(row[-1] * row[r] >= 0 for r, row in enumerate(table[:unknowns]))
