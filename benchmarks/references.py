"""Upper bounds on the gauge by other means, to set the numbers of `proof.py` against.

For one sign c = lam or c = -lam, with P = {c_i > 0}, N = {c_i < 0} and b_i = |c_i|,

    M(c) = max over |u| <= 1 of  f(u) = sum_P c_i (x_i^T u)_+ - sum_N b_i (x_i^T u)_+,

and g(lam) = max(M(lam), M(-lam)). Nothing here comes from the package but the list of cells. A relaxation is solved in
its dual form, and its bound is not the solver's value: the multipliers are moved into their domain, and what their
matrix lacks of being positive semidefinite is added, with eigenvalues in float64. CVXPY, Clarabel and SCIP are loaded
when they are used:

    pip install cvxpy pyscipopt
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import lsq_linear

import extremal
from peers import NotApplicable
from problems import Array

#: The cells of one side that are worth a least squares problem each, the rows up to which products are formed, and the
#: size of X up to which CVXPY makes Shor's relaxation in reasonable time.
MOST_CELLS, MOST_PRODUCTS, MOST_ENTRIES = 50_000, 30, 20_000


@dataclass(frozen=True)
class Reference:
    """A bound on M(c) as a function of X, c and a time limit, and where it can be computed in a minute or so."""

    title: str
    bound: Callable[[Array, Array, float], float]
    suits: Callable[[Array, Array], bool]

    def gauge(self, X: Array, lam: Array, limit: float) -> float:
        """The larger bound of the two signs."""
        return max(self.bound(X, sign * lam, limit / 2) for sign in (1.0, -1.0))


def chord(X: Array, c: Array, _: float = 0.0) -> float:
    """(z)_+ <= (z + |x|) / 2 on P and (z)_+ >= alpha z on N, with the best alpha in [0, 1]^N.

    The linear bounds that CROWN (Zhang et al., NeurIPS 2018) propagates, with optimised slopes as in alpha-CROWN.
    """
    convex, concave = c > 0, c < 0
    middle = X[convex].T @ c[convex] / 2
    norms = np.linalg.norm(X[convex], axis=1)
    return _distance(middle, X[concave].T * -c[concave]) + float(c[convex] @ norms) / 2


def cells(X: Array, c: Array, _: float = 0.0) -> float:
    """M(c) itself: the largest distance of a vertex of sum_P c_i [0, x_i] from the zonotope sum_N b_i [0, x_i].

    A vertex is a cell of the rows of P; it is nearer than its own length, which dismisses most.
    """
    convex, concave = c > 0, c < 0
    if not convex.any():
        return _distance(np.zeros(X.shape[1]), X[concave].T * -c[concave])
    active = np.asarray(extremal.arrangements(X[convex]).patterns.unpack(), dtype=np.float64)
    vertices = active @ (X[convex] * c[convex, None])
    lengths = np.linalg.norm(vertices, axis=1)
    farthest = 0.0
    for k in np.argsort(-lengths):
        if lengths[k] <= farthest:
            break
        farthest = max(farthest, _distance(vertices[k], X[concave].T * -c[concave]))
    return farthest


def shor(X: Array, c: Array, _: float = 0.0) -> float:
    """Shor's relaxation of (u, u u^T), in its dual form, by CVXPY and Clarabel.

    With w > 0, |s| + gamma <= 1 the majorants (z)_+ <= z/2 + (w z^2 + 1/w)/4 on P and
    -(z)_+ <= -(1 + s) z/2 - gamma z^2 / (2 |x|) on N make f(u) <= k + l^T u + u^T G u, so
    M <= mu if [[mu - k - nu, -l^T/2], [-l/2, nu I - G]] is positive semidefinite for a nu >= 0.
    """
    import cvxpy as cp

    convex, concave = c > 0, c < 0
    A, a = X[convex], c[convex]
    B, b = X[concave], -c[concave]
    w, inverse = cp.Variable(a.size), cp.Variable(a.size)
    s, gamma = cp.Variable(b.size), cp.Variable(b.size)
    mu, nu = cp.Variable(), cp.Variable()
    tilt, bend = b / 2, b / (2 * np.linalg.norm(B, axis=1))
    linear = A.T @ a / 2 - B.T @ tilt - B.T @ cp.multiply(tilt, s)
    G = A.T @ cp.diag(cp.multiply(a / 4, w)) @ A - B.T @ cp.diag(cp.multiply(bend, gamma)) @ B
    side = cp.reshape(-linear / 2, (X.shape[1], 1), order="F")
    corner = cp.reshape(mu - a @ inverse / 4 - nu, (1, 1), order="F")
    Z = cp.bmat([[corner, side.T], [side, nu * np.eye(X.shape[1]) - G]])
    domain = [inverse >= cp.inv_pos(w), cp.abs(s) + gamma <= 1, gamma >= 0, nu >= 0]
    _solve(cp.Problem(cp.Minimize(mu), [*domain, (Z + Z.T) / 2 >> 0]))
    w.value = np.maximum(w.value, 1e-12)
    inverse.value = 1 / w.value
    nu.value, gamma.value = max(float(nu.value), 0.0), np.clip(gamma.value, 0, 1)
    s.value = np.clip(s.value, gamma.value - 1, 1 - gamma.value)
    return float(mu.value) + _lack(Z.value) * 2


def products(X: Array, c: Array, _: float = 0.0) -> float:
    """The relaxation of (1, u, p), p = (Xu)_+, with all products, in its dual form, by CVXPY and Clarabel.

    With q = p - Xu >= 0, p_i q_i = 0 and |x_i^T u| <= |x_i|: M <= mu if  mu - c^T p  equals
    (1, u, p)^T Z (1, u, p) with a positive semidefinite Z, plus nonnegative multiples of 1 - |u|^2, p, q, p p^T, p q^T,
    q q^T and |x_i| (p_i + q_i) - (x_i^T u)^2, plus any multiples of p_i q_i.
    """
    import cvxpy as cp

    rows = c != 0
    X, c = X[rows], c[rows]
    n, d = X.shape
    norms = np.linalg.norm(X, axis=1)
    one = np.eye(1 + d + n)[:1]
    u = np.eye(1 + d + n)[1 : 1 + d]
    p = np.eye(1 + d + n)[1 + d :]
    q = p - X @ u
    mu, nu = cp.Variable(), cp.Variable(nonneg=True)
    a, b, h = (cp.Variable((1, n), nonneg=True) for _ in range(3))
    pp, qq = (cp.Variable((n, n), symmetric=True) for _ in range(2))
    pq = cp.Variable((n, n))
    apart = 1 - np.eye(n)
    chords = cp.multiply(h, norms[None, :])
    linear = (c[None, :] + a + chords) @ p + (b + chords) @ q
    bowl = (X @ u).T @ cp.diag(cp.vec(h, order="F")) @ (X @ u)
    total = mu * (one.T @ one) - nu * (one.T @ one - u.T @ u) - one.T @ linear + bowl
    total = total - p.T @ pp @ p - p.T @ pq @ q - q.T @ qq @ q
    Z = (total + total.T) / 2
    domain = [Z >> 0, pp >= 0, qq >= 0, cp.multiply(apart, pq) >= 0]
    _solve(cp.Problem(cp.Minimize(mu), domain))
    for multiplier in (nu, a, b, h, pp, qq):
        multiplier.value = np.maximum(multiplier.value, 0)
    pq.value = np.where(apart > 0, np.maximum(pq.value, 0), pq.value)
    return float(mu.value) + _lack(Z.value) * float(2 + norms @ norms)


def scip(X: Array, c: Array, limit: float) -> float:
    """SCIP's dual bound of the mixed-integer program with a binary for each row of P: its value, not rigorous.

    max c^T z over |u| <= 1, z >= 0, z >= Xu on N, and on P  z <= |x| t, z <= x^T u + |x| (1 - t), t in {0, 1}.
    """
    from pyscipopt import Model, quicksum

    model: Any = Model()
    model.hideOutput()
    model.setParam("limits/time", limit)
    u = [model.addVar(lb=-1, ub=1) for _ in range(X.shape[1])]
    model.addCons(quicksum(v * v for v in u) <= 1)
    terms = []
    for row, weight in zip(X[c != 0], c[c != 0], strict=True):
        size = float(np.linalg.norm(row))
        z = model.addVar(lb=0, ub=size)
        product = quicksum(float(x) * v for x, v in zip(row, u, strict=True))
        model.addCons(z >= product)
        if weight > 0:
            t = model.addVar(vtype="B")
            model.addCons(z <= size * t)
            model.addCons(z <= product + size * (1 - t))
        terms.append(float(weight) * z)
    model.setObjective(quicksum(terms), "maximize")
    model.optimize()
    return float(model.getDualbound())


def _solve(program: Any) -> None:
    """Clarabel's multipliers; whether they are accurate is seen afterwards, from what they prove."""
    import cvxpy as cp

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Solution may be inaccurate")
        try:
            program.solve(solver=cp.CLARABEL)
        except cp.SolverError as error:
            raise NotApplicable("the solver failed") from error


def _distance(point: Array, generators: Array) -> float:
    """The distance of a point from the zonotope {generators @ t, 0 <= t <= 1}, for the best t found."""
    if generators.shape[1] == 0:
        return float(np.linalg.norm(point))
    t = np.clip(lsq_linear(generators, point, bounds=(0.0, 1.0), tol=1e-12).x, 0.0, 1.0)
    return float(np.linalg.norm(point - generators @ t))


def _lack(Z: Array) -> float:
    """How far the smallest eigenvalue is below zero."""
    return max(0.0, -float(np.linalg.eigvalsh((Z + Z.T) / 2)[0]))


def _few_cells(X: Array, lam: Array) -> bool:
    counts = [extremal.count_arrangements(X[side]).value for side in (lam > 0, lam < 0) if side.any()]
    return max(counts, default=0) <= MOST_CELLS


REFERENCES = (
    Reference("chords, as in CROWN", chord, lambda X, lam: True),
    Reference("Shor, Clarabel", shor, lambda X, lam: X.size <= MOST_ENTRIES),
    Reference("Shor with all products, Clarabel", products, lambda X, lam: X.shape[0] <= MOST_PRODUCTS),
    Reference("SCIP (its value, not rigorous)", scip, lambda X, lam: X.shape[0] <= 100),
    Reference("all cells, exact", cells, _few_cells),
)
