"""Where a neuron's boundary meets rows: cross, slide along, or leave; the Clarke field as a min-norm box problem.

On x . v = 0 the field jumps: with the row on it pulls along the row, with the row off it does not. The Clarke field
takes a share theta in [0, 1] of that pull. If both sides push towards the hyperplane the flow slides on it, and theta
is the share that keeps it there; for several hyperplanes at once,

    minimise 1/2 |g0 + sum_h tau_h n_h|^2  over the boxes tau_h in [off_h, on_h],

whose solution pulls away from a hyperplane exactly where tau_h is at the end that belongs to that side. If both sides
push away, the solution is not unique (Filippov), and a choice has to be made.

Clarke et al., Nonsmooth Analysis and Control Theory; Davis et al. (2020) for the min-norm selection along flows.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy.optimize import lsq_linear

from extremal.design import Array

#: A push towards a hyperplane below this fraction of the field is none.
EDGE = 1e-10
#: A jump of the field below this fraction of it is none.
NOTHING = 1e-15
#: Repelling hyperplanes at one point up to which every combination of sides is tried.
FEW = 6


@dataclass(frozen=True)
class Resolution:
    """The sides (-1, +1, or 0: sliding) that a neuron takes at its ties, and whether they were the only possible."""

    side: Array
    unique: bool


def resolve(g0: Array, normals: Array, plus: Array, minus: Array, sign: float, choice: str) -> Resolution:
    """The sides a neuron with sign(b) = `sign` takes at hyperplanes `normals` (T, d), all of which contain it.

    Parameters
    ----------
    g0 : array of shape (d,)
        The pull of all other rows.
    plus, minus : arrays of shape (T,)
        The pull along the normal on either side of each hyperplane.
    choice : {"on", "off", "slide"}
        What is done where both sides push away: the side with the larger |pull|, the other one, or stay.
    """
    idle = np.abs(plus - minus) <= NOTHING * max(float(np.abs(g0).max(initial=0.0)), 1e-300)
    if idle.any():  # rows without weight: the field does not jump, and the motion decides
        return _around(idle, g0, normals, plus, minus, sign, choice)
    repelling = sign * (plus - minus) > 0
    attracting = ~repelling
    few = np.flatnonzero(repelling)
    options = []
    if len(few) <= FEW:
        for sides in product((1.0, -1.0), repeat=len(few)):
            side = np.zeros(len(plus))
            side[few] = sides
            pull = np.where(side > 0, plus, minus)[few] @ normals[few]
            side[attracting] = _box(g0 + pull, normals[attracting], plus[attracting], minus[attracting])
            if _consistent(side, few, g0, normals, plus, minus, sign):
                options.append(side)
    if len(options) == 1:
        return Resolution(options[0], True)
    if not options or choice == "slide":  # both sides of some hyperplane push back through the others: stay on it
        return Resolution(_box(g0, normals, plus, minus), not len(few))
    on = np.where(np.abs(plus) >= np.abs(minus), 1.0, -1.0)
    preferred = on if choice == "on" else -on
    return Resolution(max(options, key=lambda side: float((side * preferred)[few].sum())), False)


def _around(idle: Array, g0: Array, normals: Array, plus: Array, minus: Array, sign: float, choice: str) -> Resolution:
    """The resolution where some of the hyperplanes carry no pull."""
    side = np.zeros(len(plus))
    busy = ~idle
    rest = resolve(g0, normals[busy], plus[busy], minus[busy], sign, choice)
    side[busy] = rest.side
    motion = sign * (normals[idle] @ field_on(side[busy], g0, normals[busy], plus[busy], minus[busy]))
    side[idle] = np.where(motion >= 0, 1.0, -1.0)
    return Resolution(side, rest.unique)


def field_on(side: Array, g0: Array, normals: Array, plus: Array, minus: Array) -> Array:
    """The pull on these sides, without its part along the hyperplanes that the neuron slides on."""
    g = g0 + np.where(side > 0, plus, np.where(side < 0, minus, 0.0)) @ normals
    slide = side == 0
    if slide.any():
        g = g - np.linalg.lstsq(normals[slide], normals[slide] @ g, rcond=None)[0]
    return g


def _box(g0: Array, normals: Array, plus: Array, minus: Array) -> Array:
    """The sides of the min-norm problem: 0 where the pull is strictly inside its box."""
    if len(normals) == 0:
        return np.zeros(0)
    if len(normals) == 1:
        pull = normals[0] @ g0
        return np.where(
            (pull + plus) * (pull + minus) < 0, 0.0, np.where((pull + plus) * (plus - minus) <= 0, 1.0, -1.0)
        )
    low, high = np.minimum(plus, minus), np.maximum(plus, minus)
    size = float((high - low).max())
    found = lsq_linear(normals.T, -g0 / size, bounds=(low / size, high / size), method="bvls", tol=1e-14)
    return found.active_mask * np.where(plus > minus, 1.0, -1.0)


def _consistent(side: Array, few: Array, g0: Array, normals: Array, plus: Array, minus: Array, sign: float) -> bool:
    """Whether the field on the chosen sides of the repelling hyperplanes points away from them."""
    g = field_on(side, g0, normals, plus, minus)
    push = sign * side[few] * (normals[few] @ g)
    return bool((push >= -EDGE * float(np.abs(g).max(initial=0.0))).all())
