"""A network in the coordinates of the convex program: unit directions, unit outer weights, amplitudes."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from extremal.design import Array, Design
from extremal.network import Network
from extremal.problem import Problem


@dataclass(frozen=True, eq=False)
class Atoms:
    """f(x) = sum_j r_j (u_j . x)_+ v_j + intercept with |u_j| = |v_j| = 1 and r_j >= 0; the penalty is beta sum_j r_j.

    Attributes
    ----------
    U : array of shape (d, m)
    V : array of shape (m, c)
    r : array of shape (m,)
    intercept : array of shape (c,)
    """

    U: Array
    V: Array
    r: Array
    intercept: Array

    @classmethod
    def empty(cls, d: int, c: int) -> Atoms:
        return cls(np.zeros((d, 0)), np.zeros((0, c)), np.zeros(0), np.zeros(c))

    @classmethod
    def from_network(cls, network: Network) -> Atoms:
        net = network.balance()
        inner = np.linalg.norm(net.hidden, axis=0)
        outer = np.linalg.norm(net.output, axis=1)
        return cls(net.hidden / inner, net.output / outer[:, None], inner * outer, net.intercept)

    @property
    def width(self) -> int:
        return self.r.size

    def network(self) -> Network:
        """The balanced network."""
        root = np.sqrt(self.r)
        return Network(self.U * root, self.V * root[:, None], self.intercept)

    def outputs(self, design: Design) -> Array:
        return np.maximum(design.forward(self.U), 0) @ (self.V * self.r[:, None]) + self.intercept

    def value(self, problem: Problem) -> float:
        """The objective: loss + beta sum_j r_j."""
        return problem.loss.value(self.outputs(problem.design)) + problem.beta * float(self.r.sum())

    def multiplier(self, problem: Problem) -> Array:
        return problem.loss.dual(self.outputs(problem.design))

    def take(self, index: Array) -> Atoms:
        return Atoms(self.U[:, index], self.V[index], self.r[index], self.intercept)

    def join(self, U: Array, V: Array) -> Atoms:
        """These neurons and new ones of amplitude zero."""
        U, V = np.hstack([self.U, U]), np.vstack([self.V, V])
        return Atoms(U, V, np.concatenate([self.r, np.zeros(U.shape[1] - self.width)]), self.intercept)

    def with_amplitudes(self, r: Array, intercept: Array) -> Atoms:
        return replace(self, r=r, intercept=intercept)

    def merge_cells(self, design: Design) -> Atoms:
        """One neuron for all those with the same pattern and outer weight: same outputs, objective no larger.

        Within a cell (X u)_+ is linear, so r_1 (Xu_1)_+ + r_2 (Xu_2)_+ = (X (r_1 u_1 + r_2 u_2))_+, and
        |r_1 u_1 + r_2 u_2| <= r_1 + r_2.
        """
        if self.width == 0:
            return self
        pattern = np.packbits(design.forward(self.U) > 0, axis=0)
        outer = np.ascontiguousarray(np.round(self.V, 9) + 0.0).view(np.uint8).T  # 0.0 and -0.0 are one
        key = np.vstack([pattern, outer])
        _, group = np.unique(key, axis=1, return_inverse=True)
        group = group.ravel()
        count = int(group.max()) + 1
        if count == self.width:
            return self
        summed = np.zeros((self.U.shape[0], count))
        np.add.at(summed.T, group, (self.U * self.r).T)
        size = np.linalg.norm(summed, axis=0)
        first = np.unique(group, return_index=True)[1]
        alive = size > 0
        return Atoms(summed[:, alive] / size[alive], self.V[first][alive], size[alive], self.intercept)
