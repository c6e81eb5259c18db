"""Where the boundary of a neuron meets a row within a step: roots of the cubics of the continuous output, compiled."""

from __future__ import annotations

import numpy as np
from numba import njit

from extremal.design import Array

#: A boundary is crossed when it is beyond the hyperplane by more than this (both are unit vectors).
THROUGH = 1e-13
#: Points at which a cubic that may have a root is looked at.
SAMPLES = 16


@njit(cache=True, nogil=True)
def crossings(side: Array, P0: Array, P1: Array, P3: Array, P4: Array) -> tuple[Array, Array, Array]:
    """First roots s in (0, 1] of  side * ((1 - s) p0 + s (p1 + (1 - s) (p3 + s p4))), (neuron, line, s) for each.

    Without a negative Bernstein coefficient there is no root, which settles nearly all of them.
    """
    m, H = side.shape
    neuron, line, when = [0 for _ in range(0)], [0 for _ in range(0)], [0.0 for _ in range(0)]
    for i in range(m):
        for k in range(H):
            t = side[i, k]
            if t == 0:
                continue
            b0, b1, b2, b3 = coefficients(t * P0[i, k], t * P1[i, k], t * P3[i, k], t * P4[i, k])
            if b1 >= -THROUGH and b2 >= -THROUGH and b3 >= -THROUGH and b0 >= -THROUGH:
                continue
            s = first_root(b0, b1, b2, b3)
            if s >= 0.0:
                neuron.append(i)
                line.append(k)
                when.append(s)
    return np.array(neuron), np.array(line), np.array(when)


@njit(cache=True, nogil=True)
def coefficients(p0: float, p1: float, p3: float, p4: float) -> tuple[float, float, float, float]:
    """The Bernstein coefficients of  (1 - s) p0 + s (p1 + (1 - s) (p3 + s p4))."""
    third = (p1 - p0) / 3.0
    return p0, p0 + third + p3 / 3.0, p1 - third + (p3 + p4) / 3.0, p1


@njit(cache=True, nogil=True)
def bernstein(b0: float, b1: float, b2: float, b3: float, s: float) -> float:
    """The cubic with these Bernstein coefficients."""
    r = 1.0 - s
    return r * r * r * b0 + 3.0 * r * r * s * b1 + 3.0 * r * s * s * b2 + s * s * s * b3


@njit(cache=True, nogil=True)
def first_root(b0: float, b1: float, b2: float, b3: float) -> float:
    """The first s at which the cubic goes below -THROUGH, -1 if it does not."""
    low = 0.0
    for j in range(1, SAMPLES + 1):
        high = j / SAMPLES
        if bernstein(b0, b1, b2, b3, high) < -THROUGH:
            for _ in range(60):
                middle = 0.5 * (low + high)
                if bernstein(b0, b1, b2, b3, middle) < 0.0:
                    high = middle
                else:
                    low = middle
            return high
        low = high
    return -1.0
