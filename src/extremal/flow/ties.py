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

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy.optimize import lsq_linear

from extremal.design import Array

#: A push towards a hyperplane below this fraction of the field is none.
EDGE = 1e-10
#: A jump of the field below this fraction of it is none.
NOTHING = 1e-15
#: A share this close to the end of its box is at the end.
ROUNDING = 1e-13
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
    repelling = np.flatnonzero(sign * (plus - minus) > 0)
    ties = _Ties(g0, normals, plus, minus, sign, repelling)
    found = list(ties.solutions((1.0, -1.0), 0.0)) or list(ties.solutions((1.0, -1.0)))
    if len(found) == 1:
        return Resolution(found[0], True)
    if not found or choice == "slide":  # both sides of some hyperplane push back through the others: stay on it
        staying = max(ties.solutions((0.0, 1.0, -1.0)), key=lambda side: int((side == 0).sum()), default=None)
        return Resolution(ties.box(np.zeros(len(plus)), np.arange(len(plus))) if staying is None else staying, False)
    on = np.where(np.abs(plus) >= np.abs(minus), 1.0, -1.0)
    preferred = on if choice == "on" else -on
    return Resolution(max(found, key=lambda side: float((side * preferred)[repelling].sum())), False)


@dataclass(frozen=True, eq=False)
class _Ties:
    """The ties of `resolve`; those in `repelling` have no unique side."""

    g0: Array
    normals: Array
    plus: Array
    minus: Array
    sign: float
    repelling: Array

    def solutions(self, sides: tuple[float, ...], edge: float = EDGE) -> Iterator[Array]:
        """All consistent choices for the repelling hyperplanes among `sides`, with what the others do then."""
        if len(self.repelling) > FEW:
            return
        attracting = np.setdiff1d(np.arange(len(self.plus)), self.repelling)
        for chosen in product(sides, repeat=len(self.repelling)):
            side = np.zeros(len(self.plus))
            side[self.repelling] = chosen
            side = self.box(side, attracting)
            if self.consistent(side, edge):
                yield side

    def box(self, side: Array, free: Array) -> Array:
        """`side` with those at `free` by the min-norm problem, within the hyperplanes on which it is 0 elsewhere."""
        side = side.copy()
        stays = np.setdiff1d(np.flatnonzero(side == 0), free)
        pull = np.where(side > 0, self.plus, np.where(side < 0, self.minus, 0.0)) @ self.normals
        inside = _projector(self.normals[stays])
        side[free] = _box((self.g0 + pull) @ inside, self.normals[free] @ inside, self.plus[free], self.minus[free])
        return side

    def consistent(self, side: Array, edge: float) -> bool:
        """Whether the field leads away from the hyperplanes or along them, and every tie has its share."""
        g = field_on(side, self.g0, self.normals, self.plus, self.minus)
        size = max(float(np.abs(g).max(initial=0.0)), float(np.abs(self.g0).max(initial=0.0)))
        stays = side == 0
        rest = self.g0 + np.where(side > 0, self.plus, np.where(side < 0, self.minus, 0.0)) @ self.normals
        tau = np.linalg.lstsq(self.normals[stays].T, g - rest, rcond=None)[0]
        low, high = np.minimum(self.plus, self.minus)[stays], np.maximum(self.plus, self.minus)[stays]
        away = self.sign * side[self.repelling] * (self.normals[self.repelling] @ g)
        return bool((away >= -edge * size).all() and (np.r_[tau - low, high - tau] >= -EDGE * size).all())


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


def _projector(normals: Array) -> Array:
    """The orthogonal projector onto the intersection of the hyperplanes."""
    return np.eye(normals.shape[1]) - np.linalg.pinv(normals) @ normals


def _box(g0: Array, normals: Array, plus: Array, minus: Array) -> Array:
    """The sides of the min-norm problem: 0 where the pull is strictly inside its box."""
    if len(normals) == 0:
        return np.zeros(0)
    if len(normals) == 1:
        pull, size = normals[0] @ g0, normals[0] @ normals[0]
        above, below = pull + size * plus, pull + size * minus
        return np.where(above * below < 0, 0.0, np.where(above * (plus - minus) <= 0, 1.0, -1.0))
    low, high = np.minimum(plus, minus), np.maximum(plus, minus)
    size = float((high - low).max())
    found = lsq_linear(normals.T, -g0 / size, bounds=(low / size, high / size), method="bvls", tol=1e-14)
    at_low, at_high = found.x - low / size <= ROUNDING, high / size - found.x <= ROUNDING
    return np.where(at_low, -1.0, np.where(at_high, 1.0, 0.0)) * np.where(plus > minus, 1.0, -1.0)
