"""Linear and quadratic programs over a small polytope that is given with a point of it, in coordinates along it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse
from scipy.linalg import null_space, qr
from scipy.optimize import Bounds, LinearConstraint, linprog, milp

from extremal.design import Array

#: The feasibility asked of the LP solver; the coordinates are of order one.
LP_TOLERANCE = 1e-10
#: A slack that is at most this all over the polytope counts as zero.
IMPLIED = 1e-7
#: A share below this is set to zero in a solution.
EMPTY = 1e-9


@dataclass(frozen=True, eq=False)
class Polytope:
    """{x : matrix x = matrix start, x_k >= 0 for k < m, rows x >= limits}, as {start + null t}.

    Attributes
    ----------
    matrix : array of shape (E, m + f)
    start : array of shape (m + f,)
        A point of it.
    rows, limits : arrays of shape (h, m + f) and (h,)
    m : int
        The number of nonnegative variables; the others are free.
    null : array of shape (m + f, k)
        Orthonormal, null(matrix).
    singular : array
        The singular values of the matrix with columns of unit norm, relative to the largest.
    tol : float
        Those up to here count as zero.
    """

    matrix: Array
    start: Array
    rows: Array
    limits: Array
    m: int
    null: Array
    singular: Array
    tol: float

    @classmethod
    def around(cls, start: Array, matrix: Array, rows: Array, limits: Array, m: int, tol: float) -> Polytope:
        """The polytope of a point, the null space found by a singular value decomposition."""
        norms = np.linalg.norm(matrix, axis=0)
        norms[norms == 0] = 1.0
        _, values, Vt = np.linalg.svd(matrix / norms)
        relative = values / max(float(values.max(initial=0.0)), 1e-300)
        rank = int((relative > tol).sum())
        null = qr(Vt[rank:].T / norms[:, None], mode="economic")[0] if rank < start.size else np.zeros((start.size, 0))
        return cls(matrix, start, rows, limits, m, null, relative, tol)

    @property
    def rank(self) -> int:
        return int((self.singular > self.tol).sum())

    @property
    def dimension(self) -> int:
        return self.null.shape[1]

    @property
    def inequalities(self) -> tuple[Array, Array]:
        """(G, h) with G t <= h."""
        G = -np.vstack([self.null[: self.m], self.rows @ self.null])
        return G, np.maximum(np.concatenate([self.start[: self.m], self.rows @ self.start - self.limits]), 0.0)

    def minimise(self, objective: Array) -> Array:
        """A vertex that minimises objective^T x, by the simplex method (HiGHS)."""
        if self.dimension == 0:
            return self.start
        G, h = self.inequalities
        tight = {"primal_feasibility_tolerance": LP_TOLERANCE, "dual_feasibility_tolerance": LP_TOLERANCE}
        slope = self.null.T @ objective
        size = float(np.abs(slope).max())
        if size == 0.0:
            slope, size = np.ones_like(slope), 1.0
        solution = linprog(slope / size, A_ub=G, b_ub=h, bounds=(None, None), method="highs-ds", options=tight)
        if solution.x is None:
            raise RuntimeError(f"the linear program over the optimal set was not solved: {solution.message}")
        return self.clean(self.start + self.null @ solution.x)

    def fewest(self, highest: Array, *, time_limit: float | None = None) -> tuple[Array, int]:
        """A point with as few positive x_k, k < m, as was found, and a lower bound on their number, HiGHS's.

        Parameters
        ----------
        highest : array of shape (m,)
            Upper bounds of the nonnegative variables over the polytope.
        time_limit : float, optional
            Seconds.
        """
        possible = np.flatnonzero(highest > EMPTY)
        if self.dimension == 0 or possible.size == 0:
            return self.start, int((self.start[: self.m] > EMPTY).sum())
        k, used = self.dimension, possible.size
        G, h = self.inequalities
        caps = np.hstack([self.null[possible], -np.diag(highest[possible] * (1 + IMPLIED))])
        held = LinearConstraint(np.hstack([G, np.zeros((len(h), used))]), ub=h + LP_TOLERANCE)
        chosen = LinearConstraint(caps, ub=-self.start[possible] + LP_TOLERANCE)
        solution = milp(
            np.concatenate([np.zeros(k), np.ones(used)]),
            integrality=np.concatenate([np.zeros(k), np.ones(used)]),
            bounds=Bounds(np.append(np.full(k, -np.inf), np.zeros(used)), np.append(np.full(k, np.inf), np.ones(used))),
            constraints=[held, chosen],
            options={} if time_limit is None else {"time_limit": time_limit},
        )
        bound = 0.0 if solution.mip_dual_bound is None else float(solution.mip_dual_bound)
        lower = int(np.ceil(max(bound, 0.0) - 1e-6))
        if solution.x is None:
            return self.start, lower
        left_out = np.zeros(self.start.size)
        left_out[possible] = solution.x[k:] < 0.5
        return self.minimise(left_out), lower

    def minimise_quadratic(self, Q: Array, linear: Array) -> Array:
        """argmin of 1/2 x^T Q x + linear^T x, by Clarabel."""
        if self.dimension == 0:
            return self.start
        import clarabel

        G, h = self.inequalities
        P = self.null.T @ Q @ self.null
        q = self.null.T @ (Q @ self.start + linear)
        size = max(float(np.abs(P).max()), float(np.abs(q).max()), 1e-300)
        settings = clarabel.DefaultSettings()
        settings.verbose = False
        settings.tol_gap_abs = settings.tol_gap_rel = settings.tol_feas = 1e-12
        upper, A = sparse.triu(P / size, format="csc"), sparse.csc_matrix(G)
        solution = clarabel.DefaultSolver(upper, q / size, A, h, [clarabel.NonnegativeConeT(len(h))], settings).solve()
        t = np.asarray(solution.x)
        if not np.isfinite(t).all():
            raise RuntimeError(f"the quadratic program over the optimal set was not solved: {solution.status}")
        return self.clean(self.start + self.null @ t)

    def reduced(self) -> tuple[Polytope, Array, list[Array]]:
        """The same polytope in its own dimension, the ranges (m, 2) of the nonnegative variables, and vertices met.

        An inequality that holds with equality all over the polytope, which a linear program tells, is an equation.
        """
        if self.dimension == 0:
            return self, np.column_stack([self.start[: self.m]] * 2), []
        axes = np.eye(self.start.size)[: self.m]
        low, high = [self.minimise(axis) for axis in axes], [self.minimise(-axis) for axis in axes]
        ranges = np.array([[low[k][k], high[k][k]] for k in range(self.m)]).reshape(self.m, 2)
        widest = [float(row @ self.minimise(-row) - limit) for row, limit in zip(self.rows, self.limits, strict=True)]
        G, _ = self.inequalities
        size = np.linalg.norm(G, axis=1)
        implied = (np.concatenate([ranges[:, 1], widest]) <= IMPLIED) & (size > IMPLIED)
        normals = G[implied] / size[implied, None]
        null = self.null @ null_space(normals, rcond=IMPLIED) if implied.any() else self.null
        return replace(self, null=null), ranges, low + high

    def clean(self, x: Array) -> Array:
        """x with tiny shares set to zero and the equations restored by the least change of the others."""
        kept = np.concatenate([x[: self.m] > EMPTY, np.ones(x.size - self.m, dtype=bool)])
        point = np.where(kept, x, 0.0)
        error = self.matrix @ (self.start - point)
        point[kept] += np.linalg.lstsq(self.matrix[:, kept], error, rcond=self.tol)[0]
        point[: self.m] = np.maximum(point[: self.m], 0.0)
        return point
