"""The convex problem in the amplitudes alone: min over r >= 0 of loss(sum_j r_j Z_j) + beta sum_j r_j."""

from __future__ import annotations

import numpy as np

from extremal.design import Array
from extremal.problem import Problem
from extremal.training.atoms import Atoms
from extremal.training.kernels import nonnegative_quadratic


def fit_amplitudes(problem: Problem, atoms: Atoms, *, tol: float = 1e-3, iterations: int = 20) -> Atoms:
    """The best amplitudes (and intercept) for fixed directions; neurons of amplitude zero are dropped.

    Newton's method with the nonnegativity kept in every step: each step minimises the quadratic model over r >= 0 by
    coordinate descent on the m x m Gram matrix. For the squared loss the first step is the answer.
    """
    loss, beta, c = problem.loss, problem.beta, problem.loss.shape[1]
    hidden = np.maximum(problem.design.forward(atoms.U), 0)
    free = c if problem.intercept else 0
    r, b = atoms.r.copy(), atoms.intercept.copy()
    outputs = (hidden * r) @ atoms.V + b
    value = loss.value(outputs) + beta * float(r.sum())
    gram = None
    for _ in range(iterations):
        lam = loss.dual(outputs)
        gradient = beta - np.einsum("ij,jk,ik->j", hidden, atoms.V, lam, optimize=True)
        if gram is None or not loss.quadratic:
            gram = _gram(hidden, atoms.V, loss.curvature(outputs), bool(free))
        full = np.concatenate([gradient, -lam.sum(axis=0) if free else np.zeros(0)])
        point = np.concatenate([r, b if free else np.zeros(0)])
        target = nonnegative_quadratic(gram, full - gram @ point, point, free, tol, 1000)
        step = target - point
        slope = float(full @ step)
        if slope >= -1e-10 * max(abs(value), 1e-300):
            break
        t = 1.0
        while True:
            trial = point + t * step
            trial_outputs = (hidden * trial[: r.size]) @ atoms.V + (trial[r.size :] if free else b)
            trial_value = loss.value(trial_outputs) + beta * float(trial[: r.size].sum())
            if trial_value <= value + 1e-4 * t * slope or t < 1e-8:
                break
            t *= 0.5
        if trial_value >= value:
            break
        r, outputs, value = trial[: r.size], trial_outputs, trial_value
        b = trial[r.size :] if free else b
    return atoms.with_amplitudes(r, b).take(np.flatnonzero(r))


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
