"""All optima: where the kinks of a cheapest function through given points may lie.

The dual's G is linear between two points of the data. Where it equals +cost at both, it does in between: so between
two neighbouring points at which the function bends the same way, the slope changes may be spread over the interval, as
long as the function still goes through the points. That is, on a run of such points it may be any function that bends
one way.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from extremal.closed_forms.linear_spline import LinearSpline
from extremal.design import Array


@dataclass(frozen=True)
class KinkInterval:
    """An interval whose slope changes have one sign: a point where the function has to bend, or a run of points.

    Attributes
    ----------
    low, high : float
        The positions between which the kinks may lie; equal if there is no choice.
    change : float
        The sum of the slope changes.
    points : int
        The points of the data on it that are no straight continuation of their neighbours.
    """

    low: float
    high: float
    change: float
    points: int

    @property
    def fewest(self) -> int:
        """The smallest number of kinks: one for two points, because only every other interval needs one."""
        return (self.points + 1) // 2


@dataclass(frozen=True, eq=False)
class OptimalSplines:
    """The optimal functions that have the same values at the data, between the first point and the last.

    Attributes
    ----------
    spline : LinearSpline
        The one with its kinks at the data, for one output; every inner knot is a kink.
    neighbours : bool array of shape (m - 1,)
        Whether no other point of the data lies between knots k and k + 1.
    bend : float
        A slope change that the cost asks for at an end, and that the function does not show between the points: it may
        be at (or anywhere before) the first, with this sign, or at (or after) the last, with the other. Usually zero.
    """

    spline: LinearSpline
    neighbours: Array
    bend: float = 0.0

    @cached_property
    def intervals(self) -> tuple[KinkInterval, ...]:
        """The intervals with their slope changes, from left to right (`bend` at the first point)."""
        return self._intervals(1.0)

    @property
    def unique(self) -> bool:
        """Whether there is one optimal function on the interval of the data."""
        return not (self._free(1.0).any() or self._free(0.0).any())

    @property
    def fewest(self) -> int:
        """The smallest number of kinks of an optimal function."""
        return min(self._fewest(1.0), self._fewest(0.0))

    def sparsest(self) -> LinearSpline:
        """An optimal function with the fewest kinks: Debarre, Denoyelle, Unser & Fageot (2022)."""
        if self.spline.knots.size == 1:
            return self.spline
        share = 1.0 if self._fewest(1.0) <= self._fewest(0.0) else 0.0
        slopes = self._slopes(share)
        before, after = slopes[:-1].copy(), slopes[1:].copy()
        for first, last in self._runs(share):
            for k in range(first, last, 2):
                after[k], before[k + 1] = slopes[k], slopes[k + 2]
        return self._bent(before, after)

    def sample(self, random_state: int | np.random.Generator = 0) -> LinearSpline:
        """A random optimal function: random one-sided slopes at the points, and one kink in every free interval."""
        if self.spline.knots.size == 1:
            return self.spline
        rng = np.random.default_rng(random_state)
        share = float(rng.uniform()) if self.bend else 1.0
        slopes = self._slopes(share)
        before, after = slopes[:-1].copy(), slopes[1:].copy()
        for first, last in self._runs(share):
            for k in range(first, last + 1):
                low, high = np.sort(rng.uniform(size=2))
                if k > first:
                    before[k] = slopes[k] + low * (slopes[k + 1] - slopes[k])
                if k < last:
                    after[k] = slopes[k] + high * (slopes[k + 1] - slopes[k])
        return self._bent(before, after)

    def moved(self, shift: float) -> OptimalSplines:
        """The same functions further to the right."""
        return replace(self, spline=replace(self.spline, knots=self.spline.knots + shift))

    def __str__(self) -> str:
        count = sum(interval.points for interval in self.intervals)
        lines = [f"{'one optimal function' if self.unique else 'infinitely many optimal functions'}"]
        lines.append(f"kinks at the data {count}, at least {self.fewest}")
        for k in self.intervals[:20]:
            where = f"at {k.low:.6g}" if k.low == k.high else f"in [{k.low:.6g}, {k.high:.6g}], at least {k.fewest}"
            lines.append(f"  slope change {k.change:+.6g} {where}")
        if len(self.intervals) > 20:
            lines.append(f"  and {len(self.intervals) - 20} more")
        return "\n".join(lines)

    def _slopes(self, share: float) -> Array:
        """All slopes, shape (m + 1,), with this share of the bend at the first point."""
        inner = self.spline.slopes[:, 0]
        if inner.size == 0:
            return np.zeros(2)
        return np.concatenate([[inner[0] - share * self.bend], inner, [inner[-1] - (1 - share) * self.bend]])

    def _free(self, share: float) -> Array:
        if not self.neighbours.size:
            return self.neighbours
        changes = np.diff(self._slopes(share))
        return self.neighbours & (changes[:-1] * changes[1:] > 0)

    def _runs(self, share: float) -> list[tuple[int, int]]:
        """The first and last knots of the longest stretches of free intervals."""
        free = np.concatenate([[False], self._free(share), [False]])
        edges = np.flatnonzero(free[1:] != free[:-1])
        return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]

    def _intervals(self, share: float) -> tuple[KinkInterval, ...]:
        changes, knots = np.diff(self._slopes(share)), self.spline.knots
        inside = np.zeros(knots.size, dtype=bool)
        found = []
        for first, last in self._runs(share):
            inside[first : last + 1] = True
            total = float(changes[first : last + 1].sum())
            found.append(KinkInterval(float(knots[first]), float(knots[last]), total, last - first + 1))
        alone = np.flatnonzero(~inside & (changes != 0))
        found += [KinkInterval(float(knots[k]), float(knots[k]), float(changes[k]), 1) for k in alone]
        return tuple(sorted(found, key=lambda interval: interval.low))

    def _fewest(self, share: float) -> int:
        return sum(interval.fewest for interval in self._intervals(share))

    def _bent(self, before: Array, after: Array) -> LinearSpline:
        """The function with these one-sided slopes at the knots, and one kink in every interval where they differ.

        The lines with slopes a from x_k and b to x_k+1 meet at x_k + h (s - b) / (a - b), s the slope of the chord.
        """
        knots, heights = self.spline.knots, self.spline.heights[:, 0]
        chord, a, b = self.spline.slopes[:, 0], after[:-1], before[1:]
        meet = a != b
        step = np.diff(knots)[meet] * (chord - b)[meet] / (a - b)[meet]
        inner = knots[:-1][meet] + step
        value = heights[:-1][meet] + step * a[meet]
        bends = before != after
        bends[[0, -1]] = True
        x = np.concatenate([knots[bends], inner])
        order = np.argsort(x, kind="stable")
        y = np.concatenate([heights[bends], value])[order]
        return LinearSpline(x[order], y[:, None], before[:1], after[-1:], self.spline.offset)
