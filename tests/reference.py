"""The truth on small data, without any of the package's search code: cells, convex program, gauge, bounds.

Every cell of the arrangement {x_i . u = 0} is enumerated, the convex program of Pilanci & Ergen (2020) over all of them
is solved with CVXPY and Clarabel, and its solution is turned into two numbers that hold whatever the solver did: the
objective of a network (above the optimum) and a dual value at a point that is scaled by the exact gauge (below it).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from math import comb

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls
from scipy.special import expit, xlogy

Array = NDArray[np.float64]

PARALLEL = 1e-9
HUBER = 1.35


# ---------------------------------------------------------------------------------------------------------- cells


def cells(X: Array) -> Array:
    """The patterns 1(x_i . u > 0) of all cells, shape (p, n); rows that are zero never change and are 0."""
    return np.unique(X @ interior_points(X) > 1e-12 * np.linalg.norm(X, axis=1)[:, None], axis=1).T


def interior_points(X: Array) -> Array:
    """A point of every cell, as columns (d, p).

    Every cell has a facet, and every facet is a cell of the arrangement that the others induce on its hyperplane: a
    step to either side of it leads into the cell. Parallel rows are one hyperplane, zero rows none.
    """
    lines = _lines(X)
    if len(lines) == 0:
        return np.ones((X.shape[1], 1))
    _, singular, Vt = np.linalg.svd(lines)
    basis = Vt[: int((singular > 1e-9).sum())].T
    return basis @ _points(lines @ basis)


def _points(lines: Array) -> Array:
    """The points for unit rows of full column rank, no two of them parallel."""
    if lines.shape[1] == 1:
        return np.array([[1.0, -1.0]])
    found = []
    for k, normal in enumerate(lines):
        others = np.delete(lines, k, axis=0)
        within = np.linalg.svd(normal[None, :])[2][1:].T
        inside = within @ interior_points(others @ within)
        inside /= np.linalg.norm(inside, axis=0)
        step = 0.5 * np.abs(others @ inside).min(axis=0, initial=1.0)
        found += [inside + step * normal[:, None], inside - step * normal[:, None]]
    points = np.hstack(found)
    _, first = np.unique(lines @ points > 0, axis=1, return_index=True)
    return points[:, first]


def _lines(X: Array) -> Array:
    """The distinct lines of the nonzero rows, as unit vectors."""
    norms = np.linalg.norm(X, axis=1)
    kept: list[Array] = []
    for row in X[norms > PARALLEL * max(norms.max(initial=0.0), 1e-300)]:
        unit = row / np.linalg.norm(row)
        if all(min(np.linalg.norm(unit - line), np.linalg.norm(unit + line)) > PARALLEL for line in kept):
            kept.append(unit)
    return np.array(kept).reshape(len(kept), X.shape[1])


def generic_count(n: int, rank: int) -> int:
    """Cover's number of cells of n hyperplanes in general position."""
    return 2 * sum(comb(n - 1, k) for k in range(rank))


# ---------------------------------------------------------------------------------------------------------- gauge


def exact_gauge(X: Array, lam: Array, patterns: Array | None = None) -> float:
    """max over |u| <= 1 of |lam^T (Xu)_+|, a projection onto the cone of every cell by nonnegative least squares."""
    patterns = cells(X) if patterns is None else patterns
    best = 0.0
    for pattern in patterns:
        sides = X.T * np.where(pattern, 1.0, -1.0)
        moment = X.T @ (pattern * lam)
        for c in (moment, -moment):
            if np.linalg.norm(c) > best:
                best = max(best, float(nnls(sides, -c)[1]))
    return best


# ---------------------------------------------------------------------------------------------------------- losses


def loss_value(loss: str, F: Array, y: Array, w: Array) -> float:
    """sum_i w_i loss(F_i, y_i), for labels -1/+1 where the loss wants labels."""
    if loss == "squared":
        return float(w @ (0.5 * (F - y) ** 2))
    if loss == "huber":
        size = np.abs(F - y)
        return float(w @ np.where(size <= HUBER, 0.5 * size**2, HUBER * size - 0.5 * HUBER**2))
    if loss == "logistic":
        return float(w @ np.logaddexp(0.0, -y * F))
    return float(w @ (0.5 * np.maximum(1 - y * F, 0) ** 2))


def loss_dual(loss: str, F: Array, y: Array, w: Array) -> Array:
    """lam = -gradient."""
    if loss == "squared":
        return w * (y - F)
    if loss == "huber":
        return w * np.clip(y - F, -HUBER, HUBER)
    if loss == "logistic":
        return w * y * expit(-y * F)
    return w * y * np.maximum(1 - y * F, 0)


def dual_value(loss: str, lam: Array, y: Array, w: Array) -> float:
    """-l^*(-lam), -inf outside the domain; weights must be positive."""
    p = y * lam / w
    if loss == "logistic":
        inside = np.all((p >= 0) & (p <= 1))
        return -float(w @ (xlogy(p, p) + xlogy(1 - p, 1 - p))) if inside else -np.inf
    if loss == "squared_hinge" and np.any(p < 0):
        return -np.inf
    if loss == "huber" and np.any(np.abs(lam) > HUBER * w * (1 + 1e-15)):
        return -np.inf
    return float(lam @ y - 0.5 * (lam * lam / w).sum())


# --------------------------------------------------------------------------------------------------------- program


@dataclass(frozen=True)
class Optimum:
    """lower <= optimal value <= upper, with the network of value `upper` and the multiplier that proves `lower`."""

    lower: float
    upper: float
    hidden: Array
    output: Array
    intercept: float
    lam: Array
    patterns: Array

    @property
    def value(self) -> float:
        return 0.5 * (self.lower + self.upper)

    @property
    def error(self) -> float:
        return self.upper - self.lower


def augmented(X: Array, bias: str = "none") -> Array:
    """The design: with the column of ones for a penalised hidden bias."""
    return np.column_stack([X, np.ones(len(X))]) if bias == "penalized" else np.asarray(X, dtype=float)


def objective(
    X: Array,
    y: Array,
    hidden: Array,
    output: Array,
    beta: float,
    *,
    loss: str = "squared",
    w: Array,
    intercept: float = 0.0,
) -> float:
    """sum_i w_i loss + beta/2 (|W|^2 + |a|^2), evaluated here."""
    F = np.maximum(X @ hidden, 0) @ output + intercept
    return loss_value(loss, F, y, w) + 0.5 * beta * float((hidden**2).sum() + (output**2).sum())


def solve(
    X: Array,
    y: Array,
    beta: float,
    *,
    loss: str = "squared",
    bias: str = "none",
    intercept: bool = False,
    sample_weight: Array | None = None,
) -> Optimum:
    """The global optimum of the training problem, by the convex program over all cells."""
    import cvxpy as cp

    A = augmented(np.asarray(X, dtype=float), bias)
    y = np.asarray(y, dtype=float)
    w = np.ones(len(y)) if sample_weight is None else np.asarray(sample_weight, dtype=float)
    if np.any(w == 0):
        kept = w > 0
        return solve(X[kept], y[kept], beta, loss=loss, bias=bias, intercept=intercept, sample_weight=w[kept])
    patterns = cells(A)
    signs = np.where(patterns, 1.0, -1.0).T
    plus, minus = cp.Variable((A.shape[1], len(patterns))), cp.Variable((A.shape[1], len(patterns)))
    b = cp.Variable() if intercept else 0.0
    F = cp.Variable(len(y))
    fit = cp.sum(cp.multiply(patterns.T.astype(float), A @ (plus - minus)), axis=1) + b == F
    cones = [cp.multiply(signs, A @ plus) >= 0, cp.multiply(signs, A @ minus) >= 0]
    size = cp.sum(cp.norm(plus, 2, axis=0)) + cp.sum(cp.norm(minus, 2, axis=0))
    program = cp.Problem(cp.Minimize(_cvxpy_loss(loss, F, y, w) + beta * size), [fit, *cones])
    for tol in (1e-11, 1e-9, 1e-7):
        tight = {f"tol_{name}": tol for name in ("gap_abs", "gap_rel", "feas")}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "solution may be inaccurate": the bounds below say how inaccurate
            try:
                program.solve(solver=cp.CLARABEL, max_iter=200, **tight)
                break
            except cp.SolverError:
                continue
    hidden, output = _network(plus.value, minus.value)
    constant = float(b.value) if intercept else 0.0
    best = (
        objective(A, y, hidden, output, beta, loss=loss, w=w, intercept=constant),
        hidden,
        output,
        constant,
    )
    at_zero = (loss_value(loss, np.zeros_like(y), y, w), np.zeros((A.shape[1], 0)), np.zeros(0), 0.0)
    upper, hidden, output, constant = min(best, at_zero, key=lambda found: found[0])
    F_value = np.maximum(A @ hidden, 0) @ output + constant
    lower, lam = max(
        (
            _dual_bound(A, loss, candidate, y, w, beta, intercept, patterns)
            for candidate in (loss_dual(loss, F_value, y, w), fit.dual_value, -fit.dual_value)
        ),
        key=lambda found: found[0],
    )
    return Optimum(lower, upper, hidden, output, constant, lam, patterns)


def _cvxpy_loss(loss: str, F, y: Array, w: Array):
    import cvxpy as cp

    if loss == "squared":
        return 0.5 * cp.sum_squares(cp.multiply(np.sqrt(w), F - y))
    if loss == "huber":
        return 0.5 * cp.sum(cp.multiply(w, cp.huber(F - y, HUBER)))
    if loss == "logistic":
        return cp.sum(cp.multiply(w, cp.logistic(cp.multiply(-y, F))))
    return 0.5 * cp.sum_squares(cp.multiply(np.sqrt(w), cp.pos(1 - cp.multiply(y, F))))


def _network(plus: Array, minus: Array) -> tuple[Array, Array]:
    """The balanced network of a solution: w = u / sqrt|u|, a = +-sqrt|u|."""
    U = np.hstack([plus, minus])
    size = np.linalg.norm(U, axis=0)
    sign = np.repeat([1.0, -1.0], plus.shape[1])
    alive = size > 1e-12 * max(size.max(), 1e-300)
    return U[:, alive] / np.sqrt(size[alive]), sign[alive] * np.sqrt(size[alive])


def _dual_bound(
    A: Array, loss: str, lam: Array, y: Array, w: Array, beta: float, intercept: bool, patterns: Array
) -> tuple[float, Array]:
    """D at a feasible point near lam."""
    if loss in ("logistic", "squared_hinge"):
        lam = y * np.maximum(y * lam, 0)
    if loss == "logistic":
        lam = y * np.minimum(y * lam, w)
    if loss == "huber":
        lam = np.clip(lam, -HUBER * w, HUBER * w)
    if intercept:
        up, down = np.maximum(lam, 0), np.maximum(-lam, 0)
        common = min(up.sum(), down.sum())
        lam = up * (common / max(up.sum(), 1e-300)) - down * (common / max(down.sum(), 1e-300))
    gauge = exact_gauge(A, lam, patterns)
    lam = lam * min(1.0, beta / gauge) if gauge > 0 else lam
    return dual_value(loss, lam, y, w), lam
