"""The cone of an activation pattern, K_D = {u : (2D - I) X u >= 0}: projection and interior, by least squares."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.optimize import nnls

from extremal.design import Array

#: A cone whose largest inscribed ball (around a unit vector) is smaller than this counts as one without interior.
THIN = 1e-10


@dataclass(frozen=True, eq=False)
class PatternCone:
    """K = {u : sides u >= 0}.

    Attributes
    ----------
    sides : array of shape (k, d)
        Unit vectors: the nonzero rows of (2D - I) X. K does not depend on their lengths.
    """

    sides: Array

    @classmethod
    def of(cls, X: Array, pattern: Array) -> PatternCone:
        """The cone of a boolean pattern (n,): True where x_i . u >= 0, False where x_i . u <= 0."""
        rows = unit_rows(X)
        alive = rows.any(axis=1)
        return cls(rows[alive] * np.where(pattern[alive], 1.0, -1.0)[:, None])

    def project(self, c: Array) -> Array:
        """argmin over u in K of |u - c|, which is c + sides^T a for the best a >= 0 (Moreau)."""
        size = float(np.abs(c).max(initial=0.0))
        if size == 0.0 or len(self.sides) == 0:
            return c
        multipliers = nonnegative_least_squares(self.sides.T, -c / size)
        return c + size * (self.sides.T @ multipliers)

    @cached_property
    def interior(self) -> tuple[Array, float]:
        """The unit vector deepest inside, and its depth: the distance to the nearest side, <= 0 without interior.

        min |g| s.t. sides g >= 1 is Lawson & Hanson's least distance program, one nonnegative least-squares problem.
        """
        k, d = self.sides.shape
        if k == 0:
            return np.zeros(d), 1.0
        target = np.zeros(d + 1)
        target[d] = 1.0
        weights = nonnegative_least_squares(np.vstack([self.sides.T, np.ones(k)]), target)
        g = self.sides.T @ weights
        norm = float(np.linalg.norm(g))
        if norm <= THIN * float(weights.sum()):
            return np.zeros(d), 0.0
        return g / norm, float((self.sides @ (g / norm)).min())

    @property
    def has_interior(self) -> bool:
        return self.interior[1] > THIN

    def violation(self, u: Array) -> float:
        """How far u lies outside, relative to |u|; 0 inside."""
        norm = float(np.linalg.norm(u))
        return max(0.0, -float((self.sides @ u).min(initial=0.0)) / norm) if norm > 0 else 0.0


def unit_rows(X: Array) -> Array:
    """The rows of X divided by their norms, without overflow or underflow; zero rows stay."""
    largest = np.abs(X).max(axis=1, keepdims=True)
    rows = np.divide(X, largest, out=np.zeros_like(X), where=largest > 0)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(norms > 0, norms, 1.0)


def nonnegative_least_squares(A: Array, b: Array) -> Array:
    """argmin over x >= 0 of |A x - b|."""
    return np.asarray(nnls(A, b, maxiter=30 * A.shape[1] + 300)[0])
