"""min loss(f(x_i)) + beta cost(f) over functions with given knots: an interior-point method with banded systems.

With e . f = s_1 + s_last (the sum of the outer slopes) and the slope changes D f = p - q, p, q >= 0,

    cost = max(TV, (TV + |e . f|) / 2) = min over p, q, tau of 1/2 sum (p + q) + 1/2 tau,  tau >= +-e . f, sum (p + q).

Its multiplier G of D f, with mu_+- and mu_0 of tau, mu_+ + mu_- + mu_0 = beta / 2, has |G_k| <= kappa = beta / 2 +
mu_0. A loss that is piecewise linear has rows of the same kind: B f - y = p - q with a multiplier in a box.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from extremal.closed_forms.banded import solve_banded
from extremal.closed_forms.spline_parts import Bends, Rows
from extremal.design import Array

#: How far a step goes towards the boundary, and the most steps.
BOUNDARY, STEPS = 0.995, 80


@dataclass(frozen=True, eq=False)
class Program:
    """min sum_i upper_i p_i - lower_i q_i + beta cost(f),  B f - target = p - q,  p, q >= 0."""

    bends: Bends
    beta: float
    rows: Rows
    target: Array
    lower: Array
    upper: Array


@dataclass(frozen=True, eq=False)
class Interior:
    """Where the method stopped: knot values, the parts p, q of the slope changes with their slacks, and the loss's.

    `kink` is the sign of the slope change where it is an active one, 0 elsewhere.
    """

    f: Array
    G: Array
    kink: Array
    multiplier: Array
    complementarity: float
    steps: int


def solve(program: Program, f: Array, *, scale: float, tol: float = 1e-11) -> Interior:
    """Mehrotra's predictor and corrector from knot values f; stops when the complementarity is tol * scale.

    Parameters
    ----------
    program : Program
        With at least two knots.
    f : array of shape (k,)
    scale : float
        The size of the objective.
    tol : float
    """
    bends, beta, e = program.bends, program.beta, program.bends.outer
    inner = f.size - 2
    count = 2 * inner + 2 * program.target.size + 3
    small = scale / count
    change, miss = bends.forward(f), program.rows.forward(f) - program.target
    # p, q of the kinks, p, q of the loss
    parts = [np.maximum(v, 0) + s for v, s in ((change, small / beta), (-change, small / beta))]
    widths = program.upper - program.lower
    room = 2 * small / widths
    parts += [np.maximum(miss, 0) + room, np.maximum(-miss, 0) + room]
    G, lam = np.zeros(inner), 0.5 * (program.lower + program.upper)
    mu = np.full(2, beta / 8)
    tau = max(float(parts[0].sum() + parts[1].sum()), abs(float(e @ f))) + 8 * small / beta
    f = f.copy()
    # Slacks and what they belong to move together, but each by its own step: differences would cancel to zero.
    kappa, outer, total = beta - mu.sum(), float(e @ f), float(parts[0].sum() + parts[1].sum())
    slack = [kappa - G, kappa + G, program.upper - lam, lam - program.lower]
    cost = np.array([mu[0], mu[1], 0.5 * beta - mu.sum()])
    free = np.array([tau - outer, tau + outer, tau - total])
    steps = 0
    while steps < STEPS:
        steps += 1
        gap = float(sum(p @ s for p, s in zip(parts, slack, strict=True)) + cost @ free)
        stationary = -(bends.adjoint(G) + program.rows.adjoint(lam) + (cost[0] - cost[1]) * e)
        bent = -(bends.forward(f) - parts[0] + parts[1])
        missed = -(program.rows.forward(f) - program.target - parts[2] + parts[3])
        if gap <= tol * scale:
            break
        step = _Step(program, parts, slack, cost, free, stationary, bent, missed, e)
        affine = step.solve([-p * s for p, s in zip(parts, slack, strict=True)], -cost * free)
        length = step.longest(affine)
        after = step.gap(affine, length)
        centre = gap / count * (after / gap) ** 3
        corrected = [
            centre - p * s - dp * ds for p, s, dp, ds in zip(parts, slack, affine.parts, affine.slack, strict=True)
        ]
        move = step.solve(corrected, centre - cost * free - affine.cost * affine.free)
        length = min(1.0, BOUNDARY * step.longest(move))
        if not np.isfinite(move.f).all() or length < 1e-10:
            break
        f += length * move.f
        G += length * move.G
        lam += length * move.lam
        cost, free = cost + length * move.cost, free + length * move.free
        parts = [p + length * dp for p, dp in zip(parts, move.parts, strict=True)]
        slack = [s + length * ds for s, ds in zip(slack, move.slack, strict=True)]
    reach = max(float(parts[0].max(initial=0.0)), float(parts[1].max(initial=0.0)))
    up, down = parts[0] * beta > slack[0] * reach, parts[1] * beta > slack[1] * reach
    kink = np.where(up, 1.0, 0.0) - np.where(down, 1.0, 0.0)
    return Interior(f, G, kink, lam, gap, steps)


@dataclass(frozen=True, eq=False)
class _Move:
    f: Array
    G: Array
    lam: Array
    cost: Array
    free: Array
    parts: list[Array]
    slack: list[Array]


class _Step:
    """Newton's equations at one point, for several right-hand sides."""

    def __init__(
        self,
        program: Program,
        parts: list[Array],
        slack: list[Array],
        cost: Array,
        free: Array,
        stationary: Array,
        bent: Array,
        missed: Array,
        e: Array,
    ) -> None:
        self.program, self.parts, self.slack, self.cost, self.free = program, parts, slack, cost, free
        self.stationary, self.bent, self.missed, self.e = stationary, bent, missed, e
        self.ratio = [p / s for p, s in zip(parts, slack, strict=True)]
        self.theta = self.ratio[0] + self.ratio[1]
        self.delta = self.ratio[0] - self.ratio[1]
        self.soft = self.ratio[2] + self.ratio[3]
        self.matrix = _interleaved(program.rows.gram(1 / self.soft), program.bends.h, self.theta)

    def solve(self, right: list[Array], outer: Array) -> _Move:
        """The step for  p ds + s dp = right  and the same for the three of tau."""
        program, e, k = self.program, self.e, self.e.size
        rp = [r / s for r, s in zip(right, self.slack, strict=True)]
        rho = self.bent + rp[0] - rp[1]
        sigma = self.missed + rp[2] - rp[3]
        stationary = self.stationary + program.rows.adjoint(sigma / self.soft)
        system = np.zeros((2 * k, 3))
        system[::2, 0], system[3:-1:2, 0] = stationary, rho
        system[::2, 1], system[3:-1:2, 2] = e, self.delta
        solution = solve_banded(self.matrix.copy(), system)
        fs, Gs = solution[::2], solution[3:-1:2]
        # the border: unknowns d mu_+, d mu_-, d tau
        ups = np.column_stack([fs[:, 1] - fs[:, 2], -fs[:, 1] - fs[:, 2]])
        tilts = np.column_stack([Gs[:, 1] - Gs[:, 2], -Gs[:, 1] - Gs[:, 2]])
        cost, free = self.cost, self.free
        spread = float(self.theta.sum())
        M = np.zeros((3, 3))
        M[0, :2], M[1, :2] = cost[0] * (e @ ups), -cost[1] * (e @ ups)
        M[0, 0] += free[0]
        M[1, 1] += free[1]
        M[:, 2] = cost
        M[2, :2] = -free[2] - cost[2] * (spread - self.delta @ tilts)
        lead = float(e @ fs[:, 0])
        total = float(rp[0].sum() + rp[1].sum() + self.delta @ Gs[:, 0])
        found = np.linalg.solve(M, outer + np.array([cost[0] * lead, -cost[1] * lead, cost[2] * total]))
        dmu, dtau = found[:2], float(found[2])
        df, dG = fs[:, 0] - ups @ dmu, Gs[:, 0] - tilts @ dmu
        dkappa = -float(dmu.sum())
        dlam = (program.rows.forward(df) - sigma) / self.soft
        slack = [dkappa - dG, dkappa + dG, -dlam, dlam]
        parts = [r - q * ds for r, q, ds in zip(rp, self.ratio, slack, strict=True)]
        bent = float(e @ df)
        rises = np.array([dtau - bent, dtau + bent, dtau - float(parts[0].sum() + parts[1].sum())])
        return _Move(df, dG, dlam, np.append(dmu, dkappa), rises, parts, slack)

    def longest(self, move: _Move) -> float:
        """The longest step in [0, 1] that keeps everything nonnegative."""
        length = 1.0
        pairs = [*zip(self.parts, move.parts, strict=True), *zip(self.slack, move.slack, strict=True)]
        for value, change in [*pairs, (self.cost, move.cost), (self.free, move.free)]:
            worst = float((change / value).min(initial=0.0))
            length = min(length, -1 / worst) if worst < 0 else length
        return length

    def gap(self, move: _Move, length: float) -> float:
        """The complementarity after a step."""
        every = zip(self.parts, move.parts, self.slack, move.slack, strict=True)
        inner = sum(float((p + length * dp) @ (s + length * ds)) for p, dp, s, ds in every)
        return inner + float((self.cost + length * move.cost) @ (self.free + length * move.free))


def _interleaved(H: tuple[Array, Array], h: Array, theta: Array) -> Array:
    """[[H, D^T], [D, -theta]] with f_k at 2k and G_k at 2k + 1, three diagonals on either side; the ends have no G."""
    k = h.size + 1
    A = np.zeros((2 * k, 7))
    f, G = A[::2], A[1::2]
    f[:, 3] = H[0]
    f[:-1, 5] = H[1]
    f[1:, 1] = H[1]
    before, after = 1 / h[:-1], 1 / h[1:]
    G[0, 3] = G[-1, 3] = 1.0
    G[1:-1, 3] = -theta
    G[1:-1, 0], G[1:-1, 2], G[1:-1, 4] = before, -(before + after), after
    f[:-2, 6], f[1:-1, 4], f[2:, 2] = before, -(before + after), after
    return A
