"""The few compiled loops of training."""

from __future__ import annotations

import numpy as np
from numba import njit

from extremal.design import Array


@njit(cache=True)
def nonnegative_quadratic(
    Q: Array, linear: Array, start: Array, n_free: int, tol: float, sweeps: int
) -> Array:  # pragma: no cover - compiled
    """argmin of 1/2 x^T Q x + linear^T x over x >= 0 (the last n_free entries free), by coordinate descent."""
    x = start.copy()
    n = x.size
    gradient = Q @ x + linear
    for sweep in range(sweeps):
        moved = 0.0
        size = 1e-300
        only_active = sweep % 10 != 0
        for j in range(n):
            if only_active and x[j] == 0.0:
                continue
            if Q[j, j] <= 0.0:
                continue
            new = x[j] - gradient[j] / Q[j, j]
            if new < 0.0 and j < n - n_free:
                new = 0.0
            change = new - x[j]
            if change != 0.0:
                x[j] = new
                row = Q[j]
                for k in range(n):
                    gradient[k] += change * row[k]
                moved = max(moved, abs(change) * np.sqrt(Q[j, j]))
            size = max(size, abs(x[j]) * np.sqrt(Q[j, j]))
        if moved <= tol * size and not only_active:
            break
    return x
