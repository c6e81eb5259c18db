"""From gated ReLU to ReLU: every w is a difference u - v of two vectors in the cone of a pattern.

    w = u - v,  u, v in K_D = {u : (2D - I) X u >= 0}   =>   D X w = (X u)_+ - (X v)_+,

so a gated neuron becomes two ReLU neurons with the same outputs on the data, at the price |u| + |v| instead of |w|
(`gated_conversion`). It can be done for every w if and only if K_D has interior (K_D - K_D is the span of K_D).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from extremal.design import Array, Design
from extremal.programs.pattern_cone import PatternCone

Method = Literal["optimal", "closed_form"]


@dataclass(frozen=True, eq=False)
class ConeDecomposition:
    """W = U - V, the columns of U and V in the cones of their patterns.

    Attributes
    ----------
    U, V : arrays of shape (d, m)
    values : array of shape (m,)
        |u_j| + |v_j|.
    bounds : array of shape (m,)
        factor_j |w_j|, what the closed form is proved not to exceed (see `cone_decomposition`).
    duals : array of shape (m,)
        Lower bounds on |u_j| + |v_j| over all decompositions of w_j, each proved by a dual-feasible point.
    violation : float
        The largest distance of a column of U or V from its cone, relative to its norm: rounding.
    """

    U: Array
    V: Array
    values: Array
    bounds: Array
    duals: Array
    violation: float

    @property
    def value(self) -> float:
        """sum_j |u_j| + |v_j|."""
        return float(self.values.sum())

    @property
    def dual(self) -> float:
        """A lower bound on the value of every decomposition."""
        return float(self.duals.sum())

    @property
    def bound(self) -> float:
        """The proved upper bound on the value of the closed form."""
        return float(self.bounds.sum())

    def __str__(self) -> str:
        return "\n".join(
            [
                f"neurons decomposed         {self.values.size}",
                f"sum |u| + |v|              {self.value:.10g}",
                f"no decomposition below     {self.dual:.10g}",
                f"bound of the closed form   {self.bound:.6g}",
                f"violation of the cones     {self.violation:.1e}",
            ]
        )


def cone_decomposition(
    X: ArrayLike, patterns: ArrayLike, W: ArrayLike, *, method: Method = "optimal", tol: float = 1e-10
) -> ConeDecomposition:
    """Find u_j, v_j in K_{D_j} with u_j - v_j = w_j, of least |u_j| + |v_j| or by a formula.

    Parameters
    ----------
    X : array of shape (n, d)
    patterns : boolean array of shape (m, n), or (n,)
        Row j is the diagonal of D_j.
    W : array of shape (d, m), or (d,)
        The gated weights.
    method : "optimal" or "closed_form"
        The second-order cone program min |u| + |v|, solved by Clarabel, or the formula.
    tol : float
        The accuracy asked of Clarabel.

    Raises
    ------
    ValueError
        If the shapes do not fit, numbers are not finite, or a cone has no interior.

    Notes
    -----
    Let S be the matrix of the nonzero rows of (2D - I) X, scaled to unit norm, which does not change K_D.

    - If S has full row rank: v = S^+ (S w)_-, u = w + v, so that S u = (S w)_+ and S v = (S w)_-. With
      kappa = sigma_max / sigma_min of S,  |u| + |v| <= sqrt(2) kappa |w|.  (|Pu|^2 + |v|^2 <= |S w|^2 / sigma_min^2 for
      the projection P onto the rows, and |w - Pw| belongs to u alone. The triangle inequality gives the weaker
      1 + 2 kappa of the literature. Equality holds for S = I, w = (1, -1).) The same holds with the rows as they are.
    - If K_D has interior: with a unit vector g at depth gamma (S g >= gamma), v = t g, u = w + t g,
      t = max (S w)_- / (S g), and  |u| + |v| <= (1 + 2 / gamma) |w|.
    - If K_D has no interior, K_D - K_D is a proper subspace, and the decomposition is refused.

    The closed form is the one of the two with the smaller factor. The dual of the program is max w^T y subject to
    |Proj_K(y)| <= 1, |Proj_K(-y)| <= 1; the point that Clarabel returns is scaled to be feasible.

    References
    ----------
    Mishkin, Sahiner & Pilanci (ICML 2022), cone decomposition.
    """
    design = Design.from_data(X)
    gates, weights = checked_blocks(design, patterns, W)
    return decompose(design.dense(), gates, weights, method, tol)


def decompose(X: Array, patterns: Array, W: Array, method: Method, tol: float) -> ConeDecomposition:
    """`cone_decomposition` for checked arrays."""
    if method not in ("optimal", "closed_form"):
        raise ValueError(f"method must be 'optimal' or 'closed_form', not {method!r}")
    U, V = np.zeros_like(W), np.zeros_like(W)
    (values, bounds, duals), violation = np.zeros((3, W.shape[1])), 0.0
    for j in range(W.shape[1]):
        size = float(np.abs(W[:, j]).max(initial=0.0))
        if size == 0.0:
            continue
        cone, w = _cone_with_interior(X, patterns[j], j), W[:, j] / size
        u, factor = _closed_form(cone, w)
        y = w / np.linalg.norm(w)
        if method == "optimal":
            u, y = _shortest(cone, w, u, tol)
        norm = float(np.linalg.norm(w))
        U[:, j], V[:, j] = size * u, size * (u - w)
        values[j] = size * float(np.linalg.norm(u) + np.linalg.norm(u - w))
        bounds[j], duals[j] = size * factor * norm, size * max(_dual_value(cone, w, y), norm)
        violation = max(violation, cone.violation(u), cone.violation(u - w))
    return ConeDecomposition(U, V, values, bounds, duals, violation)


def _closed_form(cone: PatternCone, w: Array) -> tuple[Array, float]:
    """(u, factor) with |u| + |u - w| <= factor |w|."""
    z = cone.sides @ w
    if len(z) == 0:
        return w, 1.0
    below = np.maximum(-z, 0.0)
    g, depth = cone.interior
    singular = np.linalg.svd(cone.sides, compute_uv=False)
    full = len(z) <= w.size and singular[-1] > 1e-12 * singular[0]
    if full and np.sqrt(2) * singular[0] / singular[-1] <= 1 + 2 / depth:
        return w + np.linalg.lstsq(cone.sides, below, rcond=None)[0], float(np.sqrt(2) * singular[0] / singular[-1])
    return w + g * float((below / (cone.sides @ g)).max()), 1 + 2 / depth


def _shortest(cone: PatternCone, w: Array, start: Array, tol: float) -> tuple[Array, Array]:
    """(u, y): the shorter of the program's solution and `start`, and the program's dual point."""
    z = cone.sides @ w
    unit = w / np.linalg.norm(w)
    if (z >= 0).all():
        return w, unit
    if (z <= 0).all():
        return np.zeros_like(w), unit
    u, y = _solve(cone.sides, w, tol)
    g, _ = cone.interior
    # the solver's small violations are taken back by a step into the interior, for u and v = u - w alike
    short = (np.maximum(z, 0.0) - cone.sides @ u) / (cone.sides @ g)
    u = u + g * max(float(short.max()), 0.0)
    return min((u, start), key=lambda point: float(np.linalg.norm(point) + np.linalg.norm(point - w))), y


def _solve(sides: Array, w: Array, tol: float) -> tuple[Array, Array]:
    """min |u| + |u - w| subject to sides u >= (sides w)_+, and the y of the dual, by Clarabel."""
    import clarabel
    from scipy import sparse

    (k, d), z = sides.shape, sides @ w
    # variables (u, t, s) with |u| <= t, |u - w| <= s
    bounds = np.zeros((2 * (d + 1), d + 2))
    bounds[1 : d + 1, :d] = bounds[d + 2 :, :d] = -np.eye(d)
    bounds[0, d] = bounds[d + 1, d + 1] = -1.0
    A = np.vstack([np.hstack([-sides, np.zeros((k, 2))]), bounds])
    b = np.concatenate([-np.maximum(z, 0.0), np.zeros(d + 2), -w])
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    settings.tol_gap_abs = settings.tol_gap_rel = settings.tol_feas = tol
    cost = np.concatenate([np.zeros(d), np.ones(2)])
    cones = [clarabel.NonnegativeConeT(k), clarabel.SecondOrderConeT(d + 1), clarabel.SecondOrderConeT(d + 1)]
    quadratic = sparse.csc_matrix((d + 2, d + 2))
    solution = clarabel.DefaultSolver(quadratic, cost, sparse.csc_matrix(A), b, cones, settings).solve()
    multipliers = np.asarray(solution.z)
    # u / |u| = y + sides^T a, where a lives on the rows that hold u back: those with (sides u)_i = 0
    return np.asarray(solution.x)[:d], -multipliers[k + 1 : k + 1 + d] - sides.T @ (multipliers[:k] * (z <= 0))


def _dual_value(cone: PatternCone, w: Array, y: Array) -> float:
    """w^T y / max(|Proj_K(y)|, |Proj_K(-y)|), a lower bound on |u| + |v| for every decomposition of w."""
    gauge = max(float(np.linalg.norm(cone.project(y))), float(np.linalg.norm(cone.project(-y))))
    return float(w @ y) / (gauge * (1 + 1e-14)) if np.isfinite(gauge) and gauge > 0 else 0.0


def _cone_with_interior(X: Array, pattern: Array, j: int) -> PatternCone:
    cone = PatternCone.of(X, pattern)
    if not cone.has_interior:
        raise ValueError(
            f"pattern {j} has a cone without interior (no u has these strict signs on X), so not every vector is a "
            "difference of two of its members"
        )
    return cone


def checked_blocks(design: Design, patterns: ArrayLike, W: ArrayLike) -> tuple[Array, Array]:
    """The patterns (m, n) and weights (d, m), checked."""
    gates, weights = np.atleast_2d(np.asarray(patterns)), np.asarray(W, dtype=np.float64)
    weights = weights[:, None] if weights.ndim == 1 else weights
    if gates.ndim != 2 or weights.ndim != 2 or (gates.shape[1], weights.shape[0]) != (design.n, design.d):
        raise ValueError(
            f"patterns must be (m, {design.n}) and W ({design.d}, m); got {np.shape(patterns)} and {np.shape(W)}"
        )
    if gates.shape[0] != weights.shape[1]:
        raise ValueError(f"there are {gates.shape[0]} patterns and {weights.shape[1]} weight vectors")
    if not np.isin(gates, (0, 1)).all():
        raise ValueError("patterns must be boolean")
    if not np.isfinite(weights).all():
        raise ValueError("W contains NaN or infinity")
    return gates.astype(bool), weights
