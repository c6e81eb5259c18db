"""Values and slope changes of a linear spline, as linear functions of its values at the knots."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from extremal.design import Array


@dataclass(frozen=True, eq=False)
class Rows:
    """Interpolation of knot values at samples: f(x_i) = (1 - share_i) f[at_i] + share_i f[at_i + 1].

    The samples are sorted, and the knots are among them, the first and the last at the ends: start[k] is the first
    sample at knot k.
    """

    start: Array
    share: Array

    @classmethod
    def of(cls, knots: Array, x: Array, dtype: type = np.float64) -> Rows:
        """The samples x, of which those with the increasing indices `knots` are knots (both ends are)."""
        if knots.size == 1:
            return cls(knots, np.zeros(x.size, dtype))
        at = _spread(knots, np.arange(knots.size - 1), x.size)
        share = (x.astype(dtype) - x[knots[at]]) / np.diff(x[knots].astype(dtype))[at]
        return cls(knots, share)

    def forward(self, f: Array) -> Array:
        if self.start.size == 1:
            return np.repeat(f, self.share.size)
        n = self.share.size
        return _spread(self.start, f[:-1], n) + self.share * _spread(self.start, np.diff(f), n)

    def adjoint(self, r: Array) -> Array:
        if self.start.size == 1:
            return r.sum(keepdims=True)
        later = self.share * r
        return self._summed(r - later, later)

    def gram(self, weight: Array) -> tuple[Array, Array]:
        """The diagonal (k,) and off-diagonal (k - 1,) of B^T diag(weight) B."""
        if self.start.size == 1:
            return weight.sum(keepdims=True), weight[:0]
        one = 1 - self.share
        diagonal = self._summed(weight * one * one, weight * self.share**2)
        return diagonal, np.add.reduceat(weight * one * self.share, self.start[:-1])

    def _summed(self, first: Array, second: Array) -> Array:
        """Sums over the samples between two knots, given to the first and to the second of them."""
        out = np.zeros(self.start.size, first.dtype)
        out[:-1] = np.add.reduceat(first, self.start[:-1])
        out[1:] += np.add.reduceat(second, self.start[:-1])
        return out


def _spread(start: Array, values: Array, n: int) -> Array:
    """The value of every interval at its samples; those at the last knot belong to the last interval."""
    return np.repeat(values, np.diff(np.append(start[:-1], n)))


@dataclass(frozen=True, eq=False)
class Bends:
    """The slope changes D f (k - 2,) at the inner knots, and the sum e . f of the outer slopes."""

    h: Array

    def forward(self, f: Array) -> Array:
        return np.diff(np.diff(f) / self.h)

    def adjoint(self, G: Array) -> Array:
        slopes = np.diff(np.concatenate([[0.0], G, [0.0]])) / self.h
        return np.diff(np.concatenate([[0.0], slopes, [0.0]]))

    @property
    def outer(self) -> Array:
        e = np.zeros(self.h.size + 1)
        e[1] += 1 / self.h[0]
        e[0] -= 1 / self.h[0]
        e[-1] += 1 / self.h[-1]
        e[-2] -= 1 / self.h[-1]
        return e


def peaks(G: Array, knots: Array, violation: float) -> Array:
    """Between any two knots (indices) the point where |G| exceeds 1 most, if it does by more than `violation`."""
    if knots.size == 1:
        return knots[:0]
    size = np.abs(G)
    size[knots] = 0.0
    worst = np.maximum.reduceat(size[:-1], knots[:-1])
    worst = np.repeat(np.where(worst > 1 + violation, worst, np.inf), np.diff(knots))
    hit = np.flatnonzero(size[:-1] == worst)
    return hit[np.diff(np.searchsorted(knots, hit, side="right"), prepend=0) > 0]
