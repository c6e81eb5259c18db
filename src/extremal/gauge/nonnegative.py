"""The gauge of several outputs from above, all of them at once: a doubly nonnegative relaxation and its branches.

With z = (Xu)_+ the forms y = (z, z - Xu) in (u, z) are nonnegative, and z_i (z_i - x_i . u) = 0. So for every symmetric
N with N_jk >= 0, except at these pairs, where its sign is free, and all nu, kappa >= 0 with |z|^2 <= tau |u|^2,

    |Lam^T z|^2  <=  |Lam^T z|^2 + y^T N y  =  (u, z)^T H (u, z)  <=  nu + kappa tau    for |u| <= 1
                                                            if diag(nu I, kappa I) - H is positive semidefinite.

No direction v of the outputs is chosen: one bound does for both signs and any number of outputs. Its order is n + d.
The best N is the multiplier of Y >= 0 (Y_jk = 0 at the pairs) in the relaxation

    maximise <Lam Lam^T, Z>  over  M = [U W^T; W Z] positive semidefinite, tr U = 1, Y = F M F^T, y = F (u, z),

which the alternating direction method of multipliers approaches; whatever it finds gives a bound. A branch decides the
sign of one row, x_i . u >= 0 (z_i = x_i . u) or x_i . u <= 0 (z_i = 0): one unknown and one form less.

The gauge of several outputs as a copositive program: Sahiner, Ergen, Pauly & Pilanci (ICLR 2021), cell by cell; the
method: Wen, Goldfarb & Yin (Mathematical Programming Computation 2010).
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from extremal.design import Array
from extremal.gauge.sides import EPS

#: Iterations between two looks at the bound, and looks without progress after which it ends.
LOOK, PATIENCE = 20, 3

#: Over-relaxation, the first penalty, and the share of the steps during which it adapts.
RELAXED, PENALTY, ADAPTING = 1.6, 10.0, 0.7


@dataclass(frozen=True, eq=False)
class Node:
    """max |E^T (u, z)|^2 over |u| <= 1, forms (u, z) >= 0, and products of zero for the pairs of forms.

    Attributes
    ----------
    E : array (d + f, c)
        For the f rows that are free, and u for the others.
    forms : array (k, d + f)
    pairs : array of int (f, 2)
        The forms z_i and z_i - x_i . u of every free row.
    tau : float
        |z|^2 <= tau |u|^2.
    """

    E: Array
    forms: Array
    pairs: Array
    tau: float

    @property
    def d(self) -> int:
        return self.forms.shape[1] - len(self.pairs)

    def decide(self, j: int, active: bool) -> tuple[Node, int]:
        """The node with x_j . u >= 0 or <= 0 for the free row j, and the form that vanishes there."""
        z, rest = self.pairs[j]
        column, gone = self.d + j, rest if active else z
        E, forms = self.E.copy(), self.forms.copy()
        if active:
            x = -forms[rest, : self.d]
            forms[z, : self.d] = x
            E[: self.d] += np.outer(x, E[column])
        pairs = np.delete(self.pairs, j, axis=0)
        pairs -= pairs > gone
        forms = np.delete(np.delete(forms, column, axis=1), gone, axis=0)
        return Node(np.delete(E, column, axis=0), forms, pairs, self.tau), int(gone)

    def cut(self, a: Array) -> Node:
        """The node with a . u >= 0 for any vector a."""
        return Node(self.E, np.vstack([self.forms, np.pad(a, (0, len(self.pairs)))]), self.pairs, self.tau)

    def cone(self, Y: Array) -> Array:
        """The projection of Y, with u before the forms, to tr U = 1 and products of forms >= 0, of pairs = 0."""
        d, result = self.d, Y.copy()
        np.maximum(Y[d:, d:], 0.0, out=result[d:, d:])
        first, second = self.pairs.T + d
        result[first, second] = result[second, first] = 0.0
        result[np.arange(d), np.arange(d)] += (1.0 - np.trace(Y[:d, :d])) / d
        return result

    def majorant(self, N: Array) -> Array:
        """H."""
        return self.E @ self.E.T + self.forms.T @ N @ self.forms

    def rounding(self, N: Array) -> float:
        """A bound on the norm of what the evaluation of H may have rounded: its largest row sum."""
        sizes = np.abs(self.E) @ np.abs(self.E).T.sum(axis=1)
        sizes += np.abs(self.forms).T @ (np.abs(N) @ np.abs(self.forms).sum(axis=1))
        return (2 * len(self.forms) + self.E.shape[1] + 16) * EPS * float(sizes.max())

    def levels(self, N: Array) -> tuple[float, float]:
        """nu and kappa >= 0 such that diag(nu I, kappa I) - H is positive semidefinite, by a Cholesky factorisation.

        Where that of A, of order m, succeeds, no eigenvalue of A is below -2 (m + 4) eps tr A.
        """
        H = self.majorant(N)
        nu, kappa = balance(H, self.d, self.tau)
        level = np.concatenate([np.full(self.d, nu), np.full(len(self.pairs), kappa)])
        size = float(level.sum() + np.abs(np.diag(H)).sum())
        raised = 2 * self.rounding(N) + 8 * (len(H) + 8) * EPS * size + 1e-30
        while True:
            try:
                np.linalg.cholesky(np.diag(level + raised / 2) - H)
                break
            except np.linalg.LinAlgError:
                raised *= 2
        return (nu + raised) * (1 + EPS), (kappa + raised if len(self.pairs) else 0.0) * (1 + EPS)

    def certified(self, N: Array) -> float:
        """nu + kappa tau >= |Lam^T z|^2 on the node, for a symmetric N."""
        nu, kappa = self.levels(N)
        return (nu + kappa * self.tau) * (1 + 4 * EPS)


def balance(H: Array, d: int, tau: float) -> tuple[float, float]:
    """nu, kappa >= 0 with diag(nu I, kappa I) - H nearly positive semidefinite and nu + kappa tau small.

    nu is the largest eigenvalue of the Schur complement of kappa I - H_zz.
    """
    if len(H) == d:
        return max(float(np.linalg.eigvalsh(H)[-1]), 0.0), 0.0
    e, Q = np.linalg.eigh(H[d:, d:])
    G = Q.T @ H[d:, :d]
    size = max(float(np.abs(e).max()), float(np.abs(H[:d]).max()), 1e-300)
    choices = []
    for kappa in max(float(e[-1]), 0.0) + size * 10.0 ** np.arange(-9.0, 0.5, 0.5):
        nu = max(float(np.linalg.eigvalsh(H[:d, :d] + (G.T / (kappa - e)) @ G)[-1]), 0.0)
        choices.append((nu + kappa * tau, nu, float(kappa)))
    return min(choices)[1:]


@dataclass(frozen=True, eq=False)
class State:
    """Where the iteration stands: Y + multiplier / penalty, before the projection."""

    sum: Array
    penalty: float

    def without(self, form: int) -> State:
        return State(np.delete(np.delete(self.sum, form, axis=0), form, axis=1), self.penalty)

    def with_zero(self) -> State:
        return State(np.pad(self.sum, (0, 1)), self.penalty)


@dataclass(frozen=True, eq=False)
class Relaxed:
    """An upper bound of a node, in squares, the N that gave it, the primal point Y, and where to go on."""

    bound: float
    N: Array
    Y: Array
    state: State


def relax(
    node: Node, state: State, target: float, *, steps: int, slow: float, deadline: float | None = None
) -> Relaxed:
    """The relaxation of the node by the alternating direction method, until its bound is below the target.

    It also ends after so many steps, or when PATIENCE looks gained less than the share `slow` of the distance to
    the target.
    """
    d = node.d
    F = np.vstack([np.eye(d, node.forms.shape[1]), node.forms])
    e, V = np.linalg.eigh(F.T @ F)
    root = (V / np.sqrt(e)) @ V.T
    Q, C = F @ root, root @ node.E
    C = C @ C.T
    size, rho, V = float(np.linalg.norm(C)) + 1e-300, state.penalty, np.array(state.sum, dtype=np.float64)
    Y = node.cone(V)
    best, best_N, history = np.inf, np.zeros((len(node.forms),) * 2), [np.inf] * PATIENCE
    for step in range(1, steps + 1):
        e, P = np.linalg.eigh(Q.T @ (2 * Y - V) @ Q + C / rho)
        P = Q @ (P[:, e > 0] * np.sqrt(e[e > 0]))
        psd, before = P @ P.T, Y
        V = RELAXED * psd + (1 - RELAXED) * Y + (V - Y)
        Y = node.cone(V)
        late = deadline is not None and time.monotonic() > deadline
        if step % LOOK == 0 or late:
            N = rho * (Y - V)[d:, d:]
            bound = sum(np.multiply(balance(node.majorant(N), d, node.tau), (1.0, node.tau)))
            if bound < best:
                best, best_N = bound, N
            history.append(best)
            if late or best <= target or history[-1 - PATIENCE] - best < slow * (best - target):
                break
            if step < ADAPTING * steps:
                primal = float(np.linalg.norm(psd - Y)) / (float(np.linalg.norm(Y)) + 1e-300)
                dual = rho * float(np.linalg.norm(Y - before)) / size
                factor = float(np.clip(np.sqrt(primal / (dual + 1e-300)), 0.5, 2.0))
                V, rho = Y + (V - Y) / factor, rho * factor
    N = (best_N + best_N.T) / 2
    return Relaxed(node.certified(N), N, Y, State(V.astype(np.float32), rho))
