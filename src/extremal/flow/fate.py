"""Where a single neuron ends while the multiplier stands still: a walk through the cells, exact in each of them.

With lam fixed the direction of a neuron moves along  v + t s g,  the great circle towards the pull s g of its cell, so
that the next hyperplane is a matter of division. The growth |g| never falls on the way (it is the Riemannian ascent of
s lam^T (X v)_+). Only rows with lam_k != 0 pull, so that only their lines matter.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from extremal.design import Array
from extremal.flow.lines import Lines
from extremal.flow.ties import field_on, resolve

#: Cells after which the walk is given up.
LONGEST = 200
#: A pull below this fraction of the largest row's moves nothing.
STILL = 1e-10
#: The weight of a wall, relative to the largest.
HARD = 1e6


@dataclass(frozen=True, eq=False)
class Fate:
    """The sides (H,) of the lines on which the neuron comes to rest, and the pull g there; `settled` if it does."""

    side: Array
    pull: Array
    settled: bool


def fate(v: Array, side: Array, sign: float, lam: Array, X: Array, lines: Lines, walls: Array) -> Fate:
    """The end of a neuron with direction v, on these sides (0: sliding) of the lines, for a multiplier that stays.

    `walls` (n,) are labels -1/+1 of rows whose weight is without bound (0: an ordinary row).
    """
    side = side.copy()
    size = float((np.abs(lam) * np.linalg.norm(X, axis=1)).max(initial=0.0))
    lam = lam + HARD * float(np.abs(lam).max(initial=0.0)) * walls
    heavy = lines.heavy(lam)
    plus, minus = lines.pulls(lam)
    N = lines.normals
    touching = heavy[side[heavy] == 0]
    g = np.zeros_like(v)
    for _ in range(LONGEST):
        others = (lines.active(side[None])[0] * ~np.isin(lines.line, touching) * lam) @ X
        if len(touching):
            found = resolve(others, N[touching], plus[touching], minus[touching], sign, "on").side
            side[touching] = found
            g = field_on(found, others, N[touching], plus[touching], minus[touching])
        else:
            g = others
        if np.linalg.norm(g) <= STILL * size:
            return Fate(side, np.zeros_like(g), True)
        free = heavy[side[heavy] != 0]
        start, motion = N[free] @ v, sign * (N[free] @ g)
        leaves = side[free] * motion < -STILL * np.linalg.norm(g)
        if not leaves.any():
            return Fate(side, g, True)
        times = np.where(leaves, side[free] * start / np.where(leaves, np.abs(motion), 1.0), np.inf)
        first = float(times.min())
        v = v + max(first, 0.0) * sign * g
        size_of_v = float(np.linalg.norm(v))
        if size_of_v <= STILL:  # it was pushed straight back to zero, where it has no direction
            return Fate(side, np.zeros_like(g), True)
        v = v / size_of_v
        met = free[times <= first + 1e-12]
        touching = np.union1d(heavy[side[heavy] == 0], met)
    return Fate(side, g, False)
