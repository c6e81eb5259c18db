"""What weight decay on L layers does to one singular value: a threshold and a shrinkage, for any depth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from extremal.design import Array

#: Newton's method converges from one side and quadratically; this many steps are never needed.
STEPS = 100


@dataclass(frozen=True, eq=False)
class DeepThreshold:
    """min over a >= 0 of 1/2 (s - a)^2 + beta L/2 a^(2/L), for an array of s.

    Attributes
    ----------
    amplitude : array of the shape of s
        The largest minimiser a.
    value : array of the shape of s
        The minimum.
    cut : array
        The s up to which a = 0 is optimal; at s = cut both a = 0 and `amplitude` are.
    """

    amplitude: Array
    value: Array
    cut: Array

    def __str__(self) -> str:
        kept = int(np.count_nonzero(self.amplitude))
        return f"{kept} of {self.amplitude.size} amplitudes are above the cut; value {float(np.sum(self.value)):.12g}"


def deep_threshold(s: ArrayLike, beta: ArrayLike, depth: int) -> DeepThreshold:
    """min over a >= 0 of 1/2 (s - a)^2 + beta L/2 a^(2/L): the penalty beta/2 sum_l w_l^2 of a product w_1 ... w_L = a.

    Parameters
    ----------
    s : array
        Finite, nonnegative.
    beta : float or array that broadcasts with s
        Positive and finite.
    depth : int
        L >= 1. One is ridge regression, a = s / (1 + beta), and two the soft threshold, a = (s - beta)_+.

    Raises
    ------
    ValueError
        If a number is outside of these ranges.

    Notes
    -----
    For L >= 3 zero is always a local minimum, and the problem has two solutions at s = cut, where both conditions hold,
    s - a = beta a^(2/L-1) and value s^2/2:

        a = (beta (L - 2))^(L / (2L - 2)),    cut = a (L - 1) / (L - 2),

    so that amplitudes jump from 0 to cut (L - 2) / (L - 1). Above it the minimiser is the largest root of
    s - a = beta a^(2/L-1). In x = a / s that is x + kappa x^(2/L-1) = 1 with kappa = beta s^(2/L-2), whose left side is
    convex and increasing at the root: Newton's method falls monotonically from x = 1.
    """
    s, beta = (np.asarray(value, dtype=np.float64) for value in (s, beta))
    if not (np.isfinite(s).all() and np.all(s >= 0)):
        raise ValueError("s must be finite and nonnegative")
    if not (np.isfinite(beta).all() and np.all(beta > 0)):
        raise ValueError("beta must be positive and finite")
    if isinstance(depth, bool) or not isinstance(depth, int | np.integer) or depth < 1:
        raise ValueError(f"the depth must be a positive integer, not {depth!r}")
    s, beta = np.broadcast_arrays(s, beta)
    if depth == 1:
        a, cut = s / (1 + beta), np.zeros(s.shape)
    elif depth == 2:
        a, cut = np.maximum(s - beta, 0.0), beta.copy()
    else:
        cut = (beta * (depth - 2)) ** (depth / (2 * depth - 2)) * ((depth - 1) / (depth - 2))
        a = np.where(s >= cut, s * _largest_root(np.where(s >= cut, s, cut), beta, 2 / depth), 0.0)
    return DeepThreshold(a, _value(s, a, beta, depth), cut)


def local_minimum(s: float, beta: float, depth: int) -> float:
    """The largest a > 0 with s - a = beta a^(2/L-1), a local minimum though zero may be lower; NaN if there is none."""
    power = 2 / depth
    fold = (beta * (1 - power)) ** (1 / (2 - power))  # where a + beta a^(power-1) is smallest
    if depth < 3 or s < fold + beta * fold ** (power - 1):
        a = float(deep_threshold(s, beta, depth).amplitude)
        return a if a > 0 else np.nan
    return s * float(_largest_root(np.asarray(s), np.asarray(beta), power))


def _largest_root(s: Array, beta: Array, power: float) -> Array:
    """The largest x with x + kappa x^(power-1) = 1, kappa = beta s^(power-2), for s above the cut."""
    kappa = beta * s ** (power - 2)
    x = np.ones(s.shape)
    for _ in range(STEPS):
        bent = kappa * x ** (power - 1)
        step = (x + bent - 1) / (1 + (power - 1) * bent / x)
        x = x - step
        if np.all(np.abs(step) <= 4e-16):
            break
    return x


def _value(s: Array, a: Array, beta: Array, depth: int) -> Array:
    return 0.5 * (s - a) ** 2 + 0.5 * beta * depth * a ** (2 / depth)
