"""The lines through the origin that carry the rows of X: what a neuron crosses, or slides on, is the hyperplane of one.

Rows that are multiples of each other change sign together, so that a tie is a matter of a line, not of a row.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from extremal.arrangements.central import lines_through
from extremal.design import Array


@dataclass(frozen=True, eq=False)
class Lines:
    """x_k = coefficient[k] * normals[line[k]]; a zero row has line -1 and coefficient 0.

    Attributes
    ----------
    normals : array of shape (H, d)
        A unit vector on every line.
    line : integer array of shape (n,)
    coefficient : array of shape (n,)
    first : integer array of shape (H,)
        A row on each line, which stands for it in the events.
    """

    normals: Array
    line: Array
    coefficient: Array
    first: Array

    @classmethod
    def of(cls, X: Array) -> Lines:
        line, opposite = lines_through(X)
        _, first = np.unique(line[line >= 0], return_index=True)
        first = np.flatnonzero(line >= 0)[first]
        norms = np.linalg.norm(X, axis=1)
        coefficient = np.where(line >= 0, np.where(opposite, -norms, norms), 0.0)
        return cls(np.ascontiguousarray(X[first] / norms[first, None]), line, coefficient, first)

    @property
    def count(self) -> int:
        return len(self.first)

    def active(self, side: Array) -> Array:
        """The rows (m, n) that are on where each neuron is on `side` (m, H) of the lines; none where it slides (0)."""
        if not self.count:
            return np.zeros((len(side), len(self.line)))
        on = side[:, self.line] * np.sign(self.coefficient) > 0
        return on.astype(np.float64, order="C")  # one layout for all shapes: the kernels are compiled once

    def heavy(self, lam: Array) -> Array:
        """The lines with a row that has weight."""
        return np.unique(self.line[(lam != 0) & (self.line >= 0)])

    def pulls(self, lam: Array) -> tuple[Array, Array]:
        """What sum_k lam_k x_k has along each normal from the rows of its line, on the side + and on the side -."""
        pull = lam * self.coefficient
        on, line = self.coefficient > 0, np.maximum(self.line, 0)
        plus = np.bincount(line, weights=np.where(on, pull, 0.0), minlength=self.count)
        minus = np.bincount(line, weights=np.where(on, 0.0, pull), minlength=self.count)
        return plus, minus
