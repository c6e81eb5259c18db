"""Where the flow ends: the optimality conditions that its limit direction satisfies, solved to working precision.

The limit of theta / |theta|, scaled to smallest margin one, is a KKT point of  min 1/2 |theta|^2, y_k f(x_k) >= 1
(Lyu & Li, ICLR 2020; Ji & Telgarsky, 2020). With lam_k = y_k * (multiplier >= 0) and one neuron for all that share a
sign s, a pattern D and a set of hyperplanes that they slide on (P projects along them),

    v = s P X^T D lam,   |v| = 1,   sum_i mass_i s_i D_i X v_i = y  on the samples of margin one,

and lam_k = 0 on the others. The directions follow from lam, so that the unknowns are lam and the masses |w_i|^2:

    sum_i mass_i M_i lam = y,   lam^T M_i lam = 1,   M_i = D_i X P_i X^T D_i,

the conditions of max y^T lam, lam^T M_i lam <= 1, y_k lam_k >= 0. The convex program over the cells of the flow finds
the active sets; neurons of its solution that would not stay in their cells are followed into the next ones, which join
the program. Newton's method finds the last digits, and every condition is then checked, because a Newton point with the
wrong active set says nothing about the flow.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np

from extremal.design import Array
from extremal.flow.fate import Fate, fate
from extremal.flow.integrate import Flow
from extremal.programs.margin import margin_program_on

#: Neurons with a smaller share of the largest mass have no part in the program, if it can do without them.
SHARES = (1e-2, 1e-4, 1e-6, 1e-9)
#: The program says nothing about a flow whose value is this many times as large.
FAR = 1.5
#: Newton's method: iterations; and corrections of the active sets.
ITERATIONS, CORRECTIONS = 20, 20
#: A condition that is violated by more than this fails its check.
TOLERANCE = 1e-9
#: What rounding leaves of a margin, relative to the value.
ROUNDING = 1e-12
#: The residual at which Newton's method has converged; what is active in the program; what touches a hyperplane there.
CONVERGED, ACTIVE, TOUCH = 1e-12, 1e-8, 1e-6
#: The condition number from which on a multiplier is not unique; the accuracy of the flow's own.
SINGULAR, ROUGHLY = 1e10, 1e-2
#: The one failure that the passage of time mends by itself.
OUTGROWN = "a small neuron will outgrow the others"


@dataclass(frozen=True, eq=False)
class Cell:
    """The sides (H,) of the lines, 0 where it slides, of a neuron with output sign `sign`."""

    sign: float
    side: Array

    def key(self, lam: Array, flow: Flow) -> bytes:
        """What identifies it as far as the rows with weight go."""
        return np.append(self.side[flow.lines.heavy(lam + walls(flow))], self.sign).tobytes()


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
        Of the conditions above, the largest in absolute value, relative to max(1, value).
    seen : boolean array of shape (n,)
        The samples on which some neuron of the flow is active; the others have f = 0 for ever.
    members : integer array of shape (m,)
        Which neuron of the limit every neuron of the flow becomes, -1 for those that die.
    growth : array of shape (m,)
        |g_i|: the norm of a neuron grows like |theta|^growth, so that those below one die out in proportion.
    unique : bool
        Whether lam is the only multiplier of this limit; if not, another one may have a smaller gauge.
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
    unique: bool = True
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
        return replace(self, masses=self.masses / stretch, lam=self.lam / stretch, value=self.value / stretch)


def limit_of(flow: Flow, deadline: float = np.inf) -> Limit:
    """The KKT point that the flow is heading for, with every check; `failure` says which one does not hold.

    No program is begun after the `deadline`, a time of `time.monotonic`.
    """
    seen = flow.acting
    if not seen.any() or (flow.y * flow.f)[seen].min() <= 0:
        return _nothing(flow, "the samples are not separated")
    for share in SHARES:
        cells = _cells(flow, share)
        for _ in range(CORRECTIONS):
            if time.monotonic() > deadline:
                return _nothing(flow, "the time is spent")
            lam, directions, signs, masses = _program(flow, seen, cells)
            if not len(signs):
                break  # smaller neurons are needed to separate
            if float(flow.y @ lam) * FAR < upper_bound(flow, seen):
                return _nothing(flow, "the flow is far from what its cells allow")
            resting = [_at_rest(flow, v, sign, lam) for v, sign in zip(directions, signs, strict=True)]
            found = {cell.key(lam, flow): cell for cell in resting}
            shares = dict.fromkeys(found, 0.0)
            for cell, mass in zip(resting, masses, strict=True):
                shares[cell.key(lam, flow)] += mass
            missing = [cell for cell in found.values() if not any(_covers(c, cell) for c in cells)]
            if not missing:
                return _judged(flow, seen, list(found.values()), lam, np.array(list(shares.values())))
            cells = cells + missing
    return _nothing(flow, "the active sets do not settle")


def upper_bound(flow: Flow, seen: Array) -> float:
    """1/2 |theta|^2 / min q of the flow, on the samples that are seen."""
    size = np.exp(2 * flow.state.log_norms) * (1 + flow.state.ratios**2)
    return float(0.5 * size.sum() / (flow.y * flow.f)[seen].min())


def _cells(flow: Flow, share: float) -> list[Cell]:
    """The cells and signs of the neurons that carry more than a share of the largest mass."""
    mass = np.exp(2 * flow.state.log_norms)
    signs = np.sign(flow.state.ratios)
    heavy = np.flatnonzero((mass > share * mass.max()) & ~flow.dead)
    found = {(flow.side[i].tobytes(), signs[i]): Cell(signs[i], flow.side[i].copy()) for i in heavy}
    return list(found.values())


def _program(flow: Flow, seen: Array, cells: list[Cell]) -> tuple[Array, Array, Array, Array]:
    """lam (n,), and directions, signs and masses of the neurons, of the convex program over the closure of these cells.

    With the cells of all its neurons the flow itself is feasible. Samples that no neuron sees have no margin, but they
    are walls: a neuron that they attract would be on, and pushed back, and the others would see them.
    """
    patterns = flow.lines.active(np.array([np.where(c.side == 0, 1.0, c.side) for c in cells])) > 0
    patterns[:, ~seen] = False
    result = margin_program_on(flow.X, np.where(seen, flow.y, 0.0), patterns, np.array([c.sign for c in cells]))
    lam = result.dual[:, 0].copy()
    lam[np.abs(lam) < ACTIVE * np.abs(lam).max()] = 0.0
    used = result.active
    U = result.U[:, used]
    size = np.linalg.norm(U, axis=0)
    large = size > ACTIVE * size.sum()
    return lam, (U[:, large] / size[large]).T, result.signs[used[large]], size[large]


def walls(flow: Flow) -> Array:
    """The labels of the samples that no neuron sees, 0 for the others."""
    return np.where(flow.acting, 0.0, flow.y)


def _at_rest(flow: Flow, v: Array, sign: float, lam: Array) -> Cell:
    """Where a neuron of direction v comes to rest under lam; hyperplanes it touches are open to decision.

    Rows without weight do not pull, and so do not stop it: their sides are those of where it ends.
    """
    end = _rest(flow, v, sign, lam)
    side = _sides(flow, sign * end.pull)
    heavy = flow.lines.heavy(lam + walls(flow))
    side[heavy] = end.side[heavy]
    return Cell(sign, side)


def _rest(flow: Flow, v: Array, sign: float, lam: Array) -> Fate:
    """The walk of `_at_rest`."""
    return fate(v, _sides(flow, v), sign, lam, flow.X, flow.lines, walls(flow))


def _sides(flow: Flow, v: Array) -> Array:
    """The sides of the lines that v is on, 0 where it touches."""
    z = flow.lines.normals @ v
    return np.where(np.abs(z) <= TOUCH * np.linalg.norm(v), 0.0, np.sign(z))


def _covers(cell: Cell, other: Cell) -> bool:
    """Whether the other cell is in the closure of this one."""
    here = np.where(cell.side == 0, 1.0, cell.side)
    return cell.sign == other.sign and bool(np.all((other.side == 0) | (other.side == here)))


def _factor(flow: Flow, cell: Cell, lam: Array) -> Array:
    """The rows P x_k, zero where they are off: v = s factor^T lam."""
    A = flow.lines.active(cell.side[None])[0][:, None] * flow.X
    slides = flow.lines.heavy(lam + walls(flow))
    slides = slides[cell.side[slides] == 0]
    if len(slides):
        N = flow.lines.normals[slides]
        A = A - (np.linalg.pinv(N) @ (N @ A.T)).T
    return A


def _newton(factors: list[Array], y: Array, lam: Array, masses: Array) -> tuple[Array, Array, float] | None:
    """lam, the masses and the residual of the conditions, from a point near the solution; None without convergence."""
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


def _judged(flow: Flow, seen: Array, cells: list[Cell], lam: Array, masses: Array) -> Limit:
    """The limit with these cells, to the last digit, and what speaks against it."""
    support = np.flatnonzero(lam)
    factors = [_factor(flow, cell, lam) for cell in cells]
    signs = np.array([cell.sign for cell in cells])
    polished = _newton([A[support] for A in factors], flow.y[support], lam[support], masses)
    if polished is None:
        return _nothing(flow, "Newton's method does not converge")
    lam = lam.copy()
    lam[support], masses, residual = polished
    V = np.array([s * (A.T @ lam) for s, A in zip(signs, factors, strict=True)])
    masses = masses / float((flow.y * (np.maximum(flow.X @ V.T, 0.0) @ (signs * masses)))[seen].min())
    total = float(masses.sum())
    curvature = np.tensordot(masses, np.array([A[support] @ A[support].T for A in factors]), 1)
    limit = Limit(
        directions=V,
        signs=signs,
        masses=masses,
        lam=lam,
        value=total,
        residual=max(residual, abs(total - float(flow.y @ lam))) / max(total, 1.0),
        unique=bool(np.linalg.cond(curvature) < SINGULAR),
        seen=seen,
        members=np.full(flow.state.width, -1),
        growth=np.zeros(flow.state.width),
    )
    failures = [
        _objection(flow, limit, cells),
        *(_follow(flow, int(i), limit, cells) for i in np.flatnonzero(~flow.dead)),
    ]
    failures.sort(key=lambda failure: (failure == "", failure == OUTGROWN))
    return replace(limit, failure=failures[0])


def _objection(flow: Flow, limit: Limit, cells: list[Cell]) -> str:
    """Which of the conditions does not hold; empty if all do."""
    lam, V = limit.lam, limit.directions
    if np.any(flow.y * lam < 0) or np.any(limit.masses < 0):
        return "a multiplier or a mass is negative"
    if np.any((flow.y * limit.fits(flow.X))[limit.seen] < 1 - max(TOLERANCE, ROUNDING * limit.value)):
        return "a margin is too small"
    slack = TOLERANCE * np.linalg.norm(flow.X, axis=1)
    if np.any((slack[:, None] < flow.X @ V.T)[~limit.seen]):
        return "a neuron is about to see a sample that none sees"
    heavy = flow.lines.heavy(lam)
    for cell, v in zip(cells, V, strict=True):
        z = flow.lines.normals[heavy] @ v
        if np.any(cell.side[heavy] * z < -TOLERANCE):
            return "a neuron is about to cross a row"
        if np.abs(cell.sign * _rest(flow, v, cell.sign, lam).pull - v).max() > TOUCH:
            return "a neuron is about to stop sliding"
    return ""


def _follow(flow: Flow, i: int, limit: Limit, cells: list[Cell]) -> str:
    """What becomes of neuron i of the flow: noted in the limit, or said if it would upset the limit."""
    sign = float(np.sign(flow.state.ratios[i]))
    end = fate(flow.state.directions[i], flow.side[i], sign, limit.lam, flow.X, flow.lines, walls(flow))
    limit.growth[i] = np.linalg.norm(end.pull)
    keys = [cell.key(limit.lam, flow) for cell in cells]
    key = Cell(sign, end.side).key(limit.lam, flow)
    if key in keys:
        limit.members[i] = keys.index(key)
        return ""
    if not end.settled:
        return "a small neuron wanders"
    if flow.lines.active(end.side[None])[0][~limit.seen].any():
        return "a small neuron is about to see a sample that none sees"
    if limit.growth[i] > 1 + TOLERANCE and not _shrinks(flow, i, limit):
        return OUTGROWN
    return ""


def _shrinks(flow: Flow, i: int, limit: Limit) -> bool:
    """Whether neuron i dies out under the flow's own multiplier, where the limit has several."""
    if limit.unique:
        return False
    own = np.where(limit.seen, flow.lam, 0.0)
    own = own * (limit.value / float(flow.y @ own))
    sign = float(np.sign(flow.state.ratios[i]))
    end = fate(flow.state.directions[i], flow.side[i], sign, own, flow.X, flow.lines, walls(flow))
    limit.growth[i] = np.linalg.norm(end.pull)
    return bool(limit.growth[i] <= 1 + ROUGHLY)


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
