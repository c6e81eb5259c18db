"""The convex problem in the amplitudes alone: min over r >= 0 of loss(sum_j r_j Z_j) + beta sum_j r_j."""

from __future__ import annotations

import numpy as np

from extremal.design import Array
from extremal.problem import Problem
from extremal.training.atoms import Atoms
from extremal.training.kernels import nonnegative_quadratic


def fit_amplitudes(
    problem: Problem, atoms: Atoms, *, tol: float = 1e-3, exact: bool = False, iterations: int = 20
) -> Atoms:
    """The best amplitudes (and intercept) for fixed directions; neurons of amplitude zero are dropped.

    Newton's method with the nonnegativity kept in every step: each step minimises the quadratic model over r >= 0 by
    coordinate descent on the m x m Gram matrix, and if `exact` by an active-set method from there, since coordinate
    descent hardly moves mass between neurons that are nearly parallel. For the squared loss one step is the answer.
    """
    hidden = np.maximum(problem.design.forward(atoms.U), 0)
    r, b = fit_columns(problem, hidden, atoms.V, atoms.r, atoms.intercept, tol=tol, exact=exact, iterations=iterations)
    return atoms.with_amplitudes(r, b).take(np.flatnonzero(r))


def fit_columns(
    problem: Problem,
    hidden: Array,
    V: Array,
    r: Array,
    intercept: Array,
    *,
    tol: float = 1e-3,
    exact: bool = False,
    iterations: int = 20,
) -> tuple[Array, Array]:
    """The best (r, intercept) for columns hidden (n, m) with outer weights V (m, c), from those given."""
    loss, beta, c = problem.loss, problem.beta, problem.loss.shape[1]
    free = c if problem.intercept else 0
    r, b = r.copy(), intercept.copy()
    outputs = (hidden * r) @ V + b
    value = loss.value(outputs) + beta * float(r.sum())
    gram, design_rows = None, problem.design.n * c
    for _ in range(iterations):
        lam = loss.dual(outputs)
        gradient = beta - np.einsum("ij,jk,ik->j", hidden, V, lam, optimize=True)
        if gram is None or not loss.quadratic:
            gram = _gram(hidden, V, loss.curvature(outputs), bool(free))
        full = np.concatenate([gradient, -lam.sum(axis=0) if free else np.zeros(0)])
        point = np.concatenate([r, b if free else np.zeros(0)])
        linear = full - gram @ point
        target = nonnegative_quadratic(gram, linear, point, free, tol, 1000)
        if not is_moderate(target):
            break
        if exact:
            target = active_set(gram, linear, largest(target, design_rows, free), free)
        step = target - point
        slope = float(full @ step)
        if slope >= -(1e-16 if exact else 1e-10) * max(abs(value), 1e-300):
            break
        t = 1.0
        while True:
            trial = point + t * step
            trial_outputs = (hidden * trial[: r.size]) @ V + (trial[r.size :] if free else b)
            trial_value = loss.value(trial_outputs) + beta * float(trial[: r.size].sum())
            if trial_value <= value + 1e-4 * t * slope or t < 1e-8:
                break
            t *= 0.5
        if trial_value > value * (1 + 1e-14):
            break
        r, outputs, value = trial[: r.size], trial_outputs, trial_value
        b = trial[r.size :] if free else b
    return r, b


def is_moderate(x: Array) -> bool:
    """Whether all numbers are finite and far from overflow: the model of a saturated loss has next to no curvature."""
    return bool(np.abs(x).max(initial=0.0) < 1e100)


def largest(x: Array, rank: int, n_free: int) -> Array:
    """x with only its largest entries, half as many as the rank of the fits; the free ones stay."""
    bounded = x[: x.size - n_free]
    if np.count_nonzero(bounded) <= rank:
        return x
    kept = x.copy()
    kept[np.argsort(-bounded)[rank // 2 :]] = 0.0
    return kept


def active_set(Q: Array, linear: Array, start: Array, n_free: int) -> Array:
    """argmin of 1/2 x^T Q x + linear^T x over x >= 0 (the last n_free entries free), from a nearby start.

    Lawson & Hanson's method: solve on the support, walk to the first bound in the way, release the worst multiplier.
    """
    x = start.copy()
    if x.size == 0:
        return x
    bounded = np.arange(x.size) < x.size - n_free
    support = (x > 0) | ~bounded
    diagonal = np.diag(Q)
    # a neuron that is dead on all rows has a zero here; it keeps a tiny curvature, and its cost empties it
    scale = np.sqrt(np.maximum(diagonal, max(1e-30 * diagonal.max(initial=0.0), 1e-300)))
    best, best_value = x, np.inf
    for _ in range(3 * x.size + 10):
        index = np.flatnonzero(support)
        block = Q[np.ix_(index, index)] / np.outer(scale[index], scale[index])
        block[np.diag_indices_from(block)] += 1e-14
        try:
            with np.errstate(over="ignore"):
                goal = np.linalg.solve(block, -linear[index] / scale[index]) / scale[index]
        except np.linalg.LinAlgError:  # dependent to the last digit: the tiny curvature was rounded away
            break
        if not is_moderate(goal):
            break
        blocking = bounded[index] & (goal < 0)
        if blocking.any():
            ratio = x[index[blocking]] / (x[index[blocking]] - goal[blocking])
            step = float(ratio.min())
            x[index] += step * (goal - x[index])
            hit = index[blocking][ratio <= step * (1 + 1e-12)]
            x[hit] = 0.0
            support[hit] = False
            continue
        x = np.zeros_like(x)
        x[index] = goal
        value = 0.5 * x @ Q @ x + linear @ x
        if value >= best_value:
            break
        best, best_value = x.copy(), value
        gradient = np.where(support, 0.0, (Q @ x + linear) / scale)
        worst = int(np.argmin(gradient))
        if gradient[worst] > -1e-13 * float(np.abs(linear / scale).max()):
            break
        support[worst] = True
    return best


def _gram(hidden: Array, V: Array, curvature: Array, intercept: bool) -> Array:
    """The Hessian in (r, intercept): sum_i h_ij h_ik v_j^T C_i v_k, bordered by the intercept's rows."""
    n, m = hidden.shape
    c = V.shape[1]
    if c == 1:
        columns = hidden * V[:, 0]
        if intercept:
            columns = np.hstack([columns, np.ones((n, 1))])
        return (columns.T * curvature[:, 0, 0]) @ columns
    size = m + (c if intercept else 0)
    gram = np.zeros((size, size))
    for k in range(c):
        left = hidden * V[:, k]
        for q in range(c):
            weight = curvature[:, k, q]
            if not weight.any():
                continue
            right = hidden * V[:, q]
            gram[:m, :m] += (left.T * weight) @ right
            if intercept:
                gram[:m, m + q] += left.T @ weight
                gram[m + q, :m] += left.T @ weight
                gram[m + k, m + q] += weight.sum()
    return gram
