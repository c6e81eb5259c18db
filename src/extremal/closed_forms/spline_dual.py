"""The dual of networks of one variable with a free hidden bias: G(t) = sum_i lam_i (x_i - t)_+.

    g(lam) = max over t of |G(t)| and |sum_i lam_i (t - x_i)_+| = |G(t) - M|,  M = sum_i lam_i x_i,  if sum_i lam_i = 0,

and infinity otherwise. G is linear between the points, so that its values there are enough: M at the first, 0 at the
last.
"""

from __future__ import annotations

import numpy as np

from extremal.design import Array

#: Extended precision where the machine has it: the double sums of 1e5 points keep all digits of a double.
LONG = np.longdouble


def moments(x: Array, lam: Array) -> Array:
    """G at increasing x (k,), for lam (k, c) with columns that sum to zero: shape (k, c), in extended precision."""
    partial = np.cumsum(lam[:-1].astype(LONG), axis=0)
    rises = np.diff(x).astype(LONG)[:, None] * partial
    from_left = np.concatenate([np.zeros((1, lam.shape[1]), LONG), np.cumsum(rises, axis=0)])
    return from_left - from_left[-1:]


def gauge_of(G: Array) -> float:
    """max |G|, |G - M| for G (k, c) at all points."""
    return float(np.sqrt(max((G**2).sum(axis=1).max(), ((G - G[:1]) ** 2).sum(axis=1).max())))


def second_differences(x: Array, G: Array) -> Array:
    """lam (k, c) with these G (k, c) at increasing x (k,)."""
    slopes = np.diff(G, axis=0) / np.diff(x)[:, None]
    nothing = np.zeros((1, G.shape[1]))
    return np.diff(np.vstack([nothing, slopes, nothing]), axis=0)
