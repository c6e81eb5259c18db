"""The last digits: Newton's method on the face of the cones that an interior point has found.

With the blocks in use and the sides on which they lie known, u_k = N_k v_k with N_k an orthonormal basis of the
subspace of those sides, and  loss(sum_k s_k D_k X N_k v_k + b) + beta sum_k |v_k|  is smooth around the solution.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import block_diag, null_space

from extremal.design import Array
from extremal.losses import Huber, Loss
from extremal.programs.blocks import Blocks

#: A direction closer to a side of its cone than this lies on it; interior points keep some distance where the
#: multiplier of the side vanishes too.
TIES = (1e-7, 1e-5, 1e-3)
STEPS = 30
SHORTEST = 1e-10
#: A vector may leave its cone by this fraction of the longest: rounding.
INSIDE = 1e-12


@dataclass(frozen=True, eq=False)
class Face:
    """The fits A v of the free coordinates v, whose groups are [start_k, start_k+1), and the way back to the blocks."""

    A: Array
    bases: list[Array]
    start: Array

    @classmethod
    def of(cls, blocks: Blocks, U: Array, tie: float) -> Face:
        """The smallest face of every cone that contains its u, for blocks that are all in use."""
        z = np.abs(blocks.lines @ (U / np.linalg.norm(U, axis=0)))
        bases = [null_space(blocks.lines[z[:, k] <= tie], rcond=1e-9) for k in range(blocks.count)]
        fits = [blocks.signs[k] * blocks.patterns[k, :, None] * (blocks.X @ basis) for k, basis in enumerate(bases)]
        start = np.concatenate([[0], np.cumsum([basis.shape[1] for basis in bases])])
        return cls(np.hstack(fits), bases, start)

    def coordinates(self, U: Array) -> Array:
        return np.concatenate([basis.T @ u for basis, u in zip(self.bases, U.T, strict=True)])

    def vectors(self, v: Array) -> Array:
        parts = np.split(v, self.start[1:-1])
        return np.column_stack([basis @ part for basis, part in zip(self.bases, parts, strict=True)])


@dataclass(frozen=True, eq=False)
class Smooth:
    """The objective on a face, as a function of x = (v, constant) or v."""

    loss: Loss
    beta: float
    face: Face
    A: Array
    shift: float

    @property
    def groups(self) -> Array:
        return self.face.start

    def value(self, x: Array) -> float:
        penalty = np.linalg.norm(self.face.vectors(x[: self.groups[-1]]), axis=0).sum()
        return self.loss.value((self.A @ x + self.shift)[:, None]) + self.beta * float(penalty)

    def model(self, x: Array) -> tuple[Array, Array]:
        """Gradient and Hessian at x."""
        outputs, m = (self.A @ x + self.shift)[:, None], self.groups[-1]
        parts = np.split(x[:m], self.groups[1:-1])
        units = [v / np.linalg.norm(v) for v in parts]
        bends = [(np.eye(v.size) - np.outer(u, u)) / np.linalg.norm(v) for v, u in zip(parts, units, strict=True)]
        gradient = -self.A.T @ self.loss.dual(outputs)[:, 0]
        gradient[:m] += self.beta * np.concatenate(units)
        hessian = (self.A.T * _curvature(self.loss, outputs)) @ self.A
        hessian[:m, :m] += self.beta * block_diag(*bends)
        return gradient, hessian

    def descend(self, x: Array) -> tuple[Array, float]:
        """Damped Newton steps, each to a lower value."""
        best = self.value(x)
        for _ in range(STEPS):
            gradient, hessian = self.model(x)
            step, t = -_solve(hessian, gradient), 1.0
            while t > SHORTEST and not self.value(x + t * step) < best:
                t *= 0.5
            if t <= SHORTEST:
                break
            x = x + t * step
            best = self.value(x)
        return x, best


def polish(
    loss: Loss, beta: float, intercept: bool, blocks: Blocks, U: Array, constant: float, value: float
) -> tuple[Array, float]:
    """Blocks and constant of the least value on a face of U that stay in their cones; those given if none is lower."""
    best, found, shift = value, U, constant
    for tie in TIES:
        face = Face.of(blocks, U, tie)
        m = face.start[-1]
        if np.any(np.diff(face.start) == 0):
            continue
        x = face.coordinates(U)
        if intercept:
            smooth = Smooth(loss, beta, face, np.column_stack([face.A, np.ones(len(face.A))]), 0.0)
            x = np.append(x, constant)
        else:
            smooth = Smooth(loss, beta, face, face.A, constant)
        x, reached = smooth.descend(x)
        vectors = face.vectors(x[:m])
        if reached < best and blocks.violation(vectors) <= INSIDE:
            best, found, shift = reached, vectors, float(x[m]) if intercept else constant
    return found, shift


def _curvature(loss: Loss, outputs: Array) -> Array:
    """The second derivatives; those of the Huber loss vanish beyond delta, where its own curvature only majorises."""
    if isinstance(loss, Huber):
        return loss.weight * (np.abs(outputs - loss.target)[:, 0] <= loss.delta)
    return loss.curvature(outputs)[:, 0, 0]


def _solve(hessian: Array, gradient: Array) -> Array:
    """The least-norm Newton step in coordinates that are scaled to a unit diagonal."""
    scale = 1.0 / np.sqrt(np.maximum(np.diag(hessian), 1e-300))
    return scale * (np.linalg.lstsq(hessian * np.outer(scale, scale), scale * gradient, rcond=1e-13)[0])
