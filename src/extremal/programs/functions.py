"""When are two networks the same function? Kinks and linear parts."""

from __future__ import annotations

import numpy as np

from extremal.design import Array
from extremal.problem import Problem
from extremal.programs.polytope import IMPLIED

#: Directions closer than this are one neuron.
SAME = 1e-6


def function_dimension(problem: Problem, U: Array, V: Array, null: Array, offset: float) -> int:
    """The rank of the changes `null` of amplitudes and intercept, as functions of x.

    (x.u)_+ = |x.u| / 2 + x.u / 2, and |x.u| for different lines +-u are independent of each other and of the linear
    functions. With a bias, the constant is linear, and a neuron that is a constant has no kink.
    """
    m, k = V.shape[0], null.shape[1]
    if k == 0:
        return 0
    flat = np.linalg.norm(U[:-1], axis=0) <= SAME if problem.bias else np.zeros(m, dtype=bool)
    change = null[:m, None, :] * V[:, :, None]
    slopes = np.where(flat, np.maximum(U, 0), 0.5 * U)
    linear = np.einsum("dm,mck->dck", slopes, change)
    constant = offset * null[m:] if problem.intercept else np.zeros((V.shape[1], k))
    if problem.bias:
        linear[-1] += constant
    near = np.minimum(_distances(U, U), _distances(U, -U)) <= SAME
    leaders = [j for j in range(m) if not near[j, :j].any() and not flat[j]]
    kinks = [change[near[j]].sum(axis=0) for j in leaders]
    table = np.vstack([linear.reshape(-1, k), *kinks, np.zeros((1, k)) if problem.bias else constant])
    size = max(1.0, offset) if problem.intercept else 1.0
    return int((np.linalg.svd(table, compute_uv=False) > IMPLIED * size).sum())


def _distances(A: Array, B: Array) -> Array:
    return np.linalg.norm(A[:, :, None] - B[:, None, :], axis=0)
