"""Where the flow ends: the optimality conditions that its limit direction satisfies, solved to working precision.

The limit of theta / |theta|, scaled to smallest margin one, is a KKT point of  min 1/2 |theta|^2, y_k f(x_k) >= 1
(Lyu & Li, ICLR 2020; Ji & Telgarsky, 2020). With lam_k = y_k * (multiplier >= 0) and one neuron for all that share a
sign s, a pattern D and a set of hyperplanes that they slide on (P projects along them),

    v = s P X^T D lam,   |v| = 1,   sum_i mass_i s_i D_i X v_i = y  on the samples of margin one,

and lam_k = 0 on the others. The directions follow from lam, so that the unknowns are lam and the masses |w_i|^2:

    sum_i mass_i M_i lam = y,   lam^T M_i lam = 1,   M_i = D_i X P_i X^T D_i,

the conditions of the convex problem  max y^T lam, lam^T M_i lam <= 1, y_k lam_k >= 0.  A conic solver finds the active
sets, Newton's method the last digits. The cells are those of the flow, corrected where their solution leaves them; every
condition is then checked, because a Newton point with the wrong active set says nothing about the flow.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse

from extremal.design import Array
from extremal.flow.fate import fate
from extremal.flow.integrate import Flow
from extremal.flow.ties import field_on

#: Samples with a smaller share of the multiplier, and clusters with a smaller share of the mass, are left out at first.
SUPPORT, MASS = 1e-4, 1e-4
#: Newton's method: iterations; and corrections of the active sets.
ITERATIONS, CORRECTIONS = 20, 20
#: A condition that is violated by more than this fails its check.
TOLERANCE = 1e-9
#: The residual at which Newton's method has converged, and what the conic solver calls active.
CONVERGED, ACTIVE = 1e-12, 1e-6


@dataclass(frozen=True, eq=False)
class Cluster:
    """Neurons with one sign in one cell: `side` (H,) of the lines, 0 where they slide. In the limit, one neuron."""

    sign: float
    side: Array
    members: Array


@dataclass(frozen=True, eq=False)
class Limit:
    """A KKT point of the max-margin problem that the flow is near, or why none was found.

    Attributes
    ----------
    directions, signs, masses : arrays of shape (p, d), (p,), (p,)
        Its neurons: w = sqrt(mass) v, b = s sqrt(mass), scaled to smallest margin one on the samples that are seen.
    lam : array of shape (n,)
    value : float
        1/2 |theta|^2 = sum of the masses = y^T lam.
    residual : float
        Of the conditions above, the largest in absolute value.
    seen : boolean array of shape (n,)
        The samples on which some neuron of the flow is active; the others have f = 0 for ever.
    members : integer array of shape (m,)
        Which neuron of the limit every neuron of the flow becomes, -1 for those that die.
    growth : array of shape (m,)
        |g_i|: the norm of a neuron grows like |theta|^growth, so that those below one die out in proportion.
    failure : str
        Empty if every check holds.
    """

    directions: Array
    signs: Array
    masses: Array
    lam: Array
    value: float
    residual: float
    seen: Array
    members: Array
    growth: Array
    failure: str = ""

    def fits(self, X: Array) -> Array:
        """Its outputs on X."""
        return np.maximum(X @ self.directions.T, 0.0) @ (self.signs * self.masses)

    @property
    def slowest(self) -> float:
        """The largest growth of a neuron that dies: its share of |theta|^2 falls like |theta|^-2(1 - growth)."""
        return float(self.growth[self.members < 0].max(initial=0.0))

    def scaled(self, stretch: float) -> Limit:
        """The limit for the data stretch * X."""
        return replace(
            self, masses=self.masses / stretch, lam=self.lam / stretch, value=self.value / stretch
        )


def limit_of(flow: Flow) -> Limit:
    """The KKT point that the flow is heading for, with every check; `failure` says which one does not hold."""
    seen = flow.acting
    margins = flow.y * flow.f
    if not seen.any() or margins[seen].min() <= 0:
        return _nothing(flow, "the samples are not separated")
    share = np.abs(flow.lam) * seen
    mass = np.exp(2 * flow.state.log_norms)
    support = np.flatnonzero(share > SUPPORT * share.max())
    clusters = [c for c in _clusters(flow, support) if mass[c.members].sum() > MASS * mass.sum()]
    for _ in range(CORRECTIONS):
        solved = _solve(flow, support, clusters)
        if solved is None:
            return _nothing(flow, "the conditions have no solution")
        lam, masses, residual = solved
        kept = masses > 0
        V = np.array([c.sign * _pull(flow, c, lam) for c in clusters])
        fits = np.maximum(flow.X @ V[kept].T, 0.0) @ (np.array([c.sign for c in clusters])[kept] * masses[kept])
        short = np.where(seen, flow.y * fits, np.inf)
        short[support] = np.inf
        if short.min() < 1 - TOLERANCE:
            support = np.union1d(support, short.argmin())
            continue
        moved = [_followed(flow, c, lam) if keep else c for c, keep in zip(clusters, kept, strict=True)]
        if all(a is b for a, b in zip(clusters, moved, strict=True)):
            return _judged(flow, seen, clusters, kept, V, lam, masses, residual)
        clusters = moved
    return _nothing(flow, "the active sets do not settle")


def _clusters(flow: Flow, support: Array) -> list[Cluster]:
    """The neurons by sign and by their sides of the lines that carry weight."""
    heavy = np.unique(flow.lines.line[support])
    heavy = heavy[heavy >= 0]
    groups: dict[bytes, list[int]] = {}
    for i, sign in enumerate(np.sign(flow.state.ratios)):
        if not flow.dead[i]:
            groups.setdefault(np.append(flow.side[i, heavy], sign).tobytes(), []).append(i)
    return [
        Cluster(float(np.sign(flow.state.ratios[g[0]])), flow.side[g[0]].copy(), np.array(g)) for g in groups.values()
    ]


def _pull(flow: Flow, cluster: Cluster, lam: Array) -> Array:
    """P X^T D lam."""
    slides = np.flatnonzero(cluster.side == 0)
    slides = slides[np.isin(slides, flow.lines.line[lam != 0])]
    g0 = (flow.lines.active(cluster.side[None])[0] * lam) @ flow.X
    none = np.zeros(len(slides))
    return field_on(none, g0, flow.lines.normals[slides], none, none)


def _followed(flow: Flow, cluster: Cluster, lam: Array) -> Cluster:
    """The cluster in the cell in which it comes to rest; itself if it stays where it is."""
    v = flow.state.directions[cluster.members[0]]
    end = fate(v, cluster.side, cluster.sign, lam, flow.X, flow.lines)
    heavy = np.unique(flow.lines.line[lam != 0])
    if np.array_equal(end.side[heavy], cluster.side[heavy]):
        return cluster
    return replace(cluster, side=end.side)


def _solve(flow: Flow, support: Array, clusters: list[Cluster]) -> tuple[Array, Array, float] | None:
    """lam (n,), the masses, and the residual of the conditions; None if there is no solution."""
    X, y = flow.X[support], flow.y[support]
    factors = []
    for c in clusters:
        A = flow.lines.active(c.side[None])[0][support, None] * X
        slides = np.intersect1d(np.flatnonzero(c.side == 0), flow.lines.line[support])
        if len(slides):
            N = flow.lines.normals[slides]
            A = A - (np.linalg.pinv(N) @ (N @ A.T)).T
        factors.append(A)
    found = _conic(factors, y)
    if found is None:
        return None
    mu, masses = found
    rows, blocks = mu > ACTIVE * mu.max(), masses > ACTIVE * masses.sum()
    polished = _newton([A[rows] for A, b in zip(factors, blocks, strict=True) if b], y[rows], (y * mu)[rows], masses[blocks])
    if polished is None:
        return None
    lam, total = np.zeros(len(flow.y)), np.zeros(len(clusters))
    lam[support[rows]], total[blocks] = polished[0], polished[1]
    return lam, total, polished[2]


def _conic(factors: list[Array], y: Array) -> tuple[Array, Array] | None:
    """max sum mu subject to mu >= 0 and |A_i^T (y mu)| <= 1: mu and the multipliers of the cones."""
    import clarabel

    k, d = len(y), factors[0].shape[1]
    cone = np.vstack([np.vstack([np.zeros(k), -(A.T * y)]) for A in factors])
    rhs = np.tile(np.append(1.0, np.zeros(d)), len(factors))
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    settings.tol_gap_abs = settings.tol_gap_rel = settings.tol_feas = 1e-10
    solution = clarabel.DefaultSolver(
        sparse.csc_matrix((k, k)),
        -np.ones(k),
        sparse.csc_matrix(np.vstack([-np.eye(k), cone])),
        np.concatenate([np.zeros(k), rhs]),
        [clarabel.NonnegativeConeT(k), *[clarabel.SecondOrderConeT(d + 1) for _ in factors]],
        settings,
    ).solve()
    if "Solved" not in str(solution.status):
        return None
    return np.maximum(np.array(solution.x), 0.0), np.maximum(np.array(solution.z)[k :: d + 1], 0.0)


def _newton(factors: list[Array], y: Array, lam: Array, masses: Array) -> tuple[Array, Array, float] | None:
    """The conditions on the active sets, from a point near their solution; None without convergence."""
    M = np.array([A @ A.T for A in factors])
    p, best = len(M), np.inf
    for _ in range(ITERATIONS):
        ML = M @ lam
        residual = np.concatenate([masses @ ML - y, 0.5 * (ML @ lam - 1.0)])
        size = float(np.abs(residual).max())
        if size <= CONVERGED or (size <= TOLERANCE and size >= 0.5 * best):
            return lam, masses, size
        if not size < 1e3:
            return None
        best = min(best, size)
        matrix = np.block([[np.tensordot(masses, M, 1), ML.T], [ML, np.zeros((p, p))]])
        step = np.linalg.lstsq(matrix, residual, rcond=1e-13)[0]
        lam, masses = lam - step[: len(lam)], masses - step[len(lam) :]
    return None


def _judged(
    flow: Flow, seen: Array, clusters: list[Cluster], kept: Array, V: Array, lam: Array, masses: Array, residual: float
) -> Limit:
    """The limit, and what speaks against it."""
    members, growth, failure = np.full(flow.state.width, -1), np.zeros(flow.state.width), ""
    for place, j in enumerate(np.flatnonzero(kept)):
        members[clusters[j].members] = place
        growth[clusters[j].members] = 1.0
    if np.any(flow.y * lam < 0) or np.any(masses < 0):
        failure = "a multiplier or a mass is negative"
    z = flow.X @ V[kept].T
    if np.any(z[~seen] > TOLERANCE * np.linalg.norm(flow.X[~seen], axis=1, keepdims=True)):
        failure = "a neuron is about to see a sample that none sees"
    for i in np.flatnonzero((members < 0) & ~flow.dead):
        end = fate(
            flow.state.directions[i], flow.side[i], float(np.sign(flow.state.ratios[i])), lam, flow.X, flow.lines
        )
        growth[i] = np.linalg.norm(end.pull)
        if not end.settled:
            failure = failure or "a small neuron wanders"
        if growth[i] > 1 + TOLERANCE:
            failure = failure or "a small neuron will outgrow the others"
        if growth[i] > 0 and np.any((flow.X[~seen] @ end.pull) * np.sign(flow.state.ratios[i]) > 0):
            failure = failure or "a small neuron is about to see a sample that none sees"
    total = float(masses[kept].sum())
    return Limit(
        directions=V[kept],
        signs=np.array([c.sign for c in clusters])[kept],
        masses=masses[kept],
        lam=lam,
        value=total,
        residual=max(residual, abs(total - float(flow.y @ lam)) / max(total, 1.0)),
        seen=seen,
        members=members,
        growth=growth,
        failure=failure,
    )


def _nothing(flow: Flow, why: str) -> Limit:
    d, m = flow.X.shape[1], flow.state.width
    return Limit(
        directions=np.zeros((0, d)),
        signs=np.zeros(0),
        masses=np.zeros(0),
        lam=np.zeros(len(flow.y)),
        value=np.nan,
        residual=np.inf,
        seen=flow.acting,
        members=np.full(m, -1),
        growth=np.zeros(m),
        failure=why,
    )
