"""Newton's method on the cells and ties of a nearly optimal network: from six digits of the directions to fifteen.

A training run whose objective is right to 1e-9 has directions that are right to 1e-5 only, the objective being flat
there. What follows from comparing fits (are they dependent? is a neuron active?) needs them sharper. Once the cells and
the ties of all neurons are known, the problem is smooth: neuron j lives in the subspace where its ties are exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy.linalg import block_diag, null_space

from extremal.design import Array
from extremal.network import Network
from extremal.problem import Problem
from extremal.programs.pattern_cone import PatternCone, unit_rows

#: Rows with |x_i . u| below these fractions of |x_i| are taken as ties, each in a separate attempt.
TIES = (1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3)
#: A residual at which no other set of ties is tried.
SHARP = 1e-12
#: Shares of the total strength below which neurons are dropped, each in a separate attempt.
NEGLIGIBLE = (1e-7, 1e-5, 1e-3)
#: Newton steps, and dampings tried for one.
STEPS = 30


@dataclass(frozen=True, eq=False)
class Pieces:
    """The problem with fixed cells and ties, in x = (q_1, a_1, ..., q_m, a_m, b).

    min loss(sum_j maps_j q_j a_j^T + b) + beta/2 sum_j (|q_j|^2 + |a_j|^2), smooth, with w_j = bases_j q_j.
    """

    problem: Problem
    bases: list[Array]  # (d, k_j), orthonormal, orthogonal to the ties of neuron j
    maps: list[Array]  # (n, k_j), D_j X bases_j

    @classmethod
    def of(cls, problem: Problem, network: Network, tie: float) -> Pieces | None:
        """The pieces at a network; None if the ties leave no direction to a neuron."""
        X, rows = problem.design.dense(), unit_rows(problem.design.dense())
        z = rows @ (network.hidden / np.linalg.norm(network.hidden, axis=0))
        bases = [_complement(rows[np.abs(column) <= tie], X.shape[1]) for column in z.T]
        if any(basis.shape[1] == 0 for basis in bases):
            return None
        return cls(problem, bases, [(z[:, j, None] > tie) * (X @ basis) for j, basis in enumerate(bases)])

    def point(self, network: Network) -> Array:
        """The x of a network of these pieces, its ties made exact."""
        q = [basis.T @ w for basis, w in zip(self.bases, network.hidden.T, strict=True)]
        parts = [part for pair in zip(q, network.output, strict=True) for part in pair]
        return np.concatenate([*parts, network.intercept if self.problem.intercept else np.zeros(0)])

    def blocks(self, x: Array) -> tuple[list[Array], list[Array], Array]:
        """(q_1, ..., q_m), (a_1, ..., a_m) and b."""
        c = self.problem.loss.shape[1]
        ends = np.cumsum([size for basis in self.bases for size in (basis.shape[1], c)])
        pieces = np.split(x, ends)
        return pieces[:-1:2], pieces[1:-1:2], pieces[-1] if self.problem.intercept else np.zeros(c)

    def network(self, x: Array) -> Network:
        q, a, b = self.blocks(x)
        hidden = np.column_stack([basis @ part for basis, part in zip(self.bases, q, strict=True)])
        return Network(hidden, np.vstack(a), b)

    def outputs(self, x: Array) -> Array:
        q, a, b = self.blocks(x)
        return sum((np.outer(M @ u, v) for M, u, v in zip(self.maps, q, a, strict=True)), np.zeros((1, 1))) + b

    def gradient(self, x: Array) -> Array:
        lam, beta = self.problem.loss.dual(self.outputs(x)), self.problem.beta
        parts = []
        for M, u, v in zip(self.maps, *self.blocks(x)[:2], strict=True):
            parts += [beta * u - M.T @ (lam @ v), beta * v - lam.T @ (M @ u)]
        return np.concatenate([*parts, -lam.sum(axis=0) if self.problem.intercept else np.zeros(0)])

    def hessian(self, x: Array) -> Array:
        F = self.outputs(x)
        lam, C = self.problem.loss.dual(F), self.problem.loss.curvature(F)
        (n, c), jacobian, bends = F.shape, [], []
        for M, u, v in zip(self.maps, *self.blocks(x)[:2], strict=True):
            k = u.size
            jacobian += [M[:, None, :] * v[None, :, None], (M @ u)[:, None, None] * np.eye(c)]
            bend = self.problem.beta * np.eye(k + c)
            bend[:k, k:] = -M.T @ lam
            bend[k:, :k] = bend[:k, k:].T
            bends.append(bend)
        if self.problem.intercept:
            jacobian.append(np.broadcast_to(np.eye(c), (n, c, c)))
            bends.append(np.zeros((c, c)))
        J = np.concatenate(jacobian, axis=2)
        return block_diag(*bends) + np.einsum("ikp,ikl,ilq->pq", J, C, J, optimize=True)

    def value(self, x: Array) -> float:
        network = x[: x.size - self.problem.loss.shape[1]] if self.problem.intercept else x
        return self.problem.loss.value(self.outputs(x)) + 0.5 * self.problem.beta * float(network @ network)

    def solve(self, x: Array) -> Array:
        """Damped Newton steps until neither the gradient nor the objective falls.

        Directions of negative curvature are turned round, and those of none (dependent fits) hardly move.
        """
        value, gradient, damping = self.value(x), self.gradient(x), 1e-6
        for _ in range(STEPS):
            curvature, axes = np.linalg.eigh(self.hessian(x))
            along = axes.T @ gradient
            for _ in range(STEPS):
                trial = x - axes @ (along / (np.abs(curvature) + damping))
                slope, level = self.gradient(trial), self.value(trial)
                flatter = np.linalg.norm(slope) < 0.9 * np.linalg.norm(gradient) and level <= value * (1 + 1e-13)
                if flatter or level < value * (1 - 1e-15):
                    break
                damping *= 10.0
            else:
                break
            x, value, gradient, damping = trial, level, slope, max(0.1 * damping, 1e-14)
        return x


def sharpen(problem: Problem, network: Network) -> Network:
    """The merged network, or one of smaller `residual` and no larger objective that Newton's method finds near it.

    Which rows are ties and which small neurons are only on their way to zero is tried out, from the least intrusive
    guess on.
    """
    best = significant(network.merge(), NEGLIGIBLE[0])
    least, allowed = residual(problem, best), problem.value(network) * (1 + 1e-12)
    for share, tie in product(NEGLIGIBLE, TIES):
        start = significant(best, share)
        if least <= SHARP or start.width == 0:
            break
        pieces = Pieces.of(problem, start, tie)
        if pieces is None:
            continue
        trial = significant(pieces.network(pieces.solve(pieces.point(start))).merge(), NEGLIGIBLE[0])
        size = residual(problem, trial)
        if size < least and problem.value(trial) <= allowed:
            best, least = trial, size
    return best


def significant(network: Network, share: float) -> Network:
    """The network without neurons of less than this share of the total strength."""
    strength = network.strength
    keep = strength > share * strength.sum()
    return Network(network.hidden[:, keep], network.output[keep], network.intercept, bias=network.bias)


def residual(problem: Problem, network: Network) -> float:
    """The largest |Proj_K(X^T D lam v) / beta - u| and |lam^T (Xu)_+ / beta - v| over the neurons (u, v).

    K = K_D is the cell of u, with ties counted as active. It is zero at an optimum, where u is the best direction of
    its cell, and otherwise an estimate of the error of the directions. For a free intercept also |sum_i lam_i|
    relative to sum_i |lam_i|.
    """
    lam = problem.multiplier(network)
    total = float(np.abs(lam).sum())
    worst = float(np.abs(lam.sum(axis=0)).max()) / total if problem.intercept and total > 0 else 0.0
    U, V, _ = parts(network)
    X, z = problem.design.dense(), problem.design.forward(U)
    for j in range(network.width):
        pattern = z[:, j] >= -TIES[1] * problem.design.row_norms
        best = PatternCone.of(X, pattern).project(X.T @ (pattern * (lam @ V[j]))) / problem.beta
        outer = lam.T @ np.maximum(z[:, j], 0) / problem.beta
        worst = max(worst, float(np.linalg.norm(best - U[:, j])), float(np.linalg.norm(outer - V[j])))
    return worst


def _complement(ties: Array, d: int) -> Array:
    return null_space(ties, rcond=1e-10) if len(ties) else np.eye(d)


def parts(network: Network) -> tuple[Array, Array, Array]:
    """Unit directions (d, m), unit outer directions (m, c) and amplitudes (m,) of a network without dead neurons."""
    inner, outer = np.linalg.norm(network.hidden, axis=0), np.linalg.norm(network.output, axis=1)
    return network.hidden / inner, network.output / outer[:, None], inner * outer
