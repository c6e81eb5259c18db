"""Several outputs: the training problem as a copositive program, and when its semidefinite relaxation is exact.

In the cell of a pattern D the neurons are the vectors of a cone, K = {w : (2D - I) X w >= 0}, and the moments
sum_j (w_j, a_j) (w_j, a_j)^T of all neurons there are what the objective depends on. They are the matrices
[W, M; M^T, V] whose part (2D - I) X W X^T (2D - I) is completely positive. Its relaxation: positive semidefinite and
nonnegative, which is the same up to order four (Maxfield & Minc 1962). In the dual, g(lam) <= beta becomes

    beta^2 |u|^2 - |lam^T D X u|^2 >= 0 on K   (copositive over K),    relaxed to   >= u^T S^T N S u for some N >= 0.

On spike-free data one cone, {w : X w >= 0} with f = sum_j X w_j a_j^T, is enough; for X X^T = I the constraint becomes
max z^T lam lam^T z <= beta^2 over z >= 0, |z| = 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import Bounds, minimize, nnls

from extremal.arrangements import arrangements
from extremal.certificate import relative_gap
from extremal.closed_forms.completely_positive import rotate
from extremal.closed_forms.moments import Cone, Moments, solve_moments
from extremal.closed_forms.rows import unit_rows
from extremal.closed_forms.spike_free import SAME, is_spike_free
from extremal.design import Array
from extremal.gauge import check_limits
from extremal.gauge.nonnegative import Node
from extremal.gauge.sides import EPS
from extremal.network import Network
from extremal.problem import Problem
from extremal.programs.pattern_cone import PatternCone
from extremal.training import fit_problem

#: More cells, or moments with more entries in all, are not handed to the cone solver.
MOST_CELLS, MOST_ENTRIES = 200, 8000
#: A side of a cone is implied by the others if it is this close to a nonnegative combination of them.
IMPLIED = 1e-12
#: Eigenvalues of the moments below this share of the penalty belong to no neuron.
RANK = 1e-8
#: Random rotations of the moments' factors that are tried.
ATTEMPTS = 3
#: Seconds for training where the moments gave no optimal network.
SECONDS = 3.0


@dataclass(frozen=True, eq=False)
class CopositiveResult:
    """The relaxation of the copositive program, proved from below and met from above as far as it goes.

    Attributes
    ----------
    value : float
        The objective of `network`: an upper bound on the optimum.
    dual_value : float
        A proven lower bound on the objective of every network: what the relaxation amounts to.
    network : Network
        From the factors of the moments; by local search where these were not found or are not optimal.
    lam : array of shape (n, c)
        The dual point that proves `dual_value`: g(lam) <= beta.
    moments : tuple of arrays (r + c, r + c)
        The relaxation's solution, a matrix for each cone in use, in coordinates of the row space of X.
    cones : int
        One for spike-free data, else the cells of the arrangement.
    facets : int
        The largest number of facets of a cone; with at most four the relaxation is exact, whatever Y and beta.
    extracted : bool
        Whether the network came from the moments alone.
    relaxed : float
        The optimum of the relaxation as the cone solver sees it.
    bound : float
        The best lower bound on every network: `dual_value`, or what training proved where that was not attained.
    tol : float
    """

    value: float
    dual_value: float
    network: Network
    lam: Array
    moments: tuple[Array, ...]
    cones: int
    facets: int
    extracted: bool
    relaxed: float
    bound: float
    tol: float

    @property
    def gap(self) -> float:
        """(value - dual_value) / value."""
        return relative_gap(self.value, self.dual_value)

    @property
    def inexact(self) -> bool:
        """Whether every network is above the relaxation by more than the tolerance."""
        return self.bound > self.relaxed + self.tol * self.value

    @property
    def exact(self) -> bool:
        """Whether the relaxation is proved to have the value of the training problem here, to the tolerance."""
        return self.gap <= self.tol

    @property
    def sentence(self) -> str:
        """What the test of exactness says."""
        if self.exact:
            reason = "as it must with at most four facets" if self.facets <= 4 else "by the network that attains it"
            return f"the relaxation is exact, {reason}"
        if self.facets <= 4:
            return "the relaxation is exact in theory; the gap is the accuracy of the solvers"
        if self.inexact:
            return "the relaxation is inexact: it is below a proven bound for networks"
        return "not decided: no network was found that attains the relaxation, and no bound that excludes it"

    def __str__(self) -> str:
        rows = {
            "objective of the network": f"{self.value:.10g}",
            "no network can be below": f"{self.dual_value:.10g}",
            "relative gap": f"{self.gap:.1e}",
            "cones": f"{self.cones}, of at most {self.facets} facets",
            "network": f"{self.network}, {'from the moments' if self.extracted else 'by local search'}",
            "test": self.sentence,
        }
        return "\n".join(f"{name:<27}{text}" for name, text in rows.items())


@dataclass(frozen=True, eq=False)
class NuclearResult:
    """The gated (or linear) relaxation without cones, where the penalty is a sum of nuclear norms.

    Attributes
    ----------
    value : float
        loss(sum_k D_k X M_k) + beta sum_k |M_k|_* at the solution.
    dual_value : float
        A proven lower bound on its optimum. Where the patterns are those of all cells, that bounds the ReLU networks
        too; the linear networks of the default are no relaxation of them.
    lam : array of shape (n, c)
        |X^T D_k lam|_2 <= beta (spectral norms).
    blocks : tuple of arrays (d, c)
        M_k.
    """

    value: float
    dual_value: float
    lam: Array
    blocks: tuple[Array, ...]

    @property
    def gap(self) -> float:
        """(value - dual_value) / value."""
        return relative_gap(self.value, self.dual_value)

    def __str__(self) -> str:
        rows = {
            "objective": f"{self.value:.10g}",
            "proven to be at least": f"{self.dual_value:.10g}",
            "relative gap": f"{self.gap:.1e}",
            "patterns": f"{len(self.blocks)}",
        }
        return "\n".join(f"{name:<27}{text}" for name, text in rows.items())


def copositive_program(X: ArrayLike, Y: ArrayLike, *, beta: float, tol: float = 1e-6) -> CopositiveResult:
    """min 1/2 |f(X) - Y|^2 + beta/2 (|W|^2 + |A|^2) over networks with c outputs, relaxed to a semidefinite program.

    Parameters
    ----------
    X : array of shape (n, d)
        Used as they are: no bias. Any data with at most 200 cells, or spike-free.
    Y : array of shape (n,) or (n, c)
    beta : float
    tol : float
        The relative gap up to which the relaxation counts as exact.

    Returns
    -------
    CopositiveResult

    Raises
    ------
    ValueError
        If the data are unusable, or X is not spike-free and has too many cells.

    Notes
    -----
    The lower bound is proved without trust in the solver. On spike-free data, X = A up to repeated directions: with
    z = (Xu)_+, m = z - Xu, H = (A A^T)^-1 and K = lam lam^T,

        z^T K z <= z^T (K + N) z <= nu z^T H z <= nu (|u|^2 + 2 z^T H m),    z_i m_i = 0, H_ij <= 0 elsewhere,

    which is a multiplier of the relaxation of the gauge in `gauge.nonnegative`, valid for any X. Elsewhere every cell
    has its N.

    References
    ----------
    Sahiner, Ergen, Pauly & Pilanci (ICLR 2021). On spike-free data it is the bidual of Ergen & Pilanci (JMLR 2021,
    section 4.5): the least |M|_* over the hull of the w a^T with X w >= 0.
    """
    check_limits(tol)
    problem = Problem.from_data(X, Y, beta=beta, bias="none")
    normal, scaling = problem.normalised()
    free = is_spike_free(X)
    cones = [_positive_cone(normal.design.dense())] if free else _cells(problem, normal)
    moments = solve_moments(_affordable(cones, normal), normal.loss, normal.beta)
    gauge = _spike_free_gauge(cones[0], moments) if free else _cells_gauge(cones, moments)
    lam, dual_value = normal.dual_point(moments.lam, gauge)
    network = Network.zero(normal.design.d, normal.loss.shape[1])
    for attempt in range(ATTEMPTS):
        network = min((network, extract(normal, cones, moments, attempt)), key=normal.value)
        if extracted := relative_gap(normal.value(network), dual_value) <= tol:
            break
    relaxed, bound = _relaxed(normal, cones, moments), scaling.value(dual_value)
    if not extracted:
        start = scaling.network(network) if network.width else None
        trained = fit_problem(problem, start=start, tol=tol / 10, time_limit=SECONDS)
        bound = max(bound, trained.certificate.dual)
        inner = scaling.inverse(trained.network)
        extracted = normal.value(network) <= normal.value(inner)
        network = min((network, inner), key=normal.value)
    outer = scaling.network(network)
    used = [M for M in moments.M if np.trace(M) > RANK * sum(np.trace(M) for M in moments.M)]
    return CopositiveResult(
        value=problem.value(outer),
        dual_value=scaling.value(dual_value),
        network=outer,
        lam=scaling.multiplier(lam),
        moments=tuple(M * (scaling.tau / scaling.stretch) for M in used),
        cones=len(cones),
        facets=max(len(cone.sides) for cone in cones),
        extracted=extracted,
        relaxed=scaling.value(relaxed),
        bound=bound,
        tol=tol,
    )


def nuclear_program(X: ArrayLike, Y: ArrayLike, *, beta: float, patterns: ArrayLike | None = None) -> NuclearResult:
    """min 1/2 |sum_k D_k X M_k - Y|^2 + beta sum_k |M_k|_*: gated networks of several outputs, without cones.

    Parameters
    ----------
    X : array of shape (n, d)
    Y : array of shape (n,) or (n, c)
    beta : float
    patterns : boolean array of shape (p, n), optional
        The diagonals of D_k. By default one of ones: two-layer linear networks. Over all cells it is below the ReLU
        networks.

    Raises
    ------
    ValueError
        If the data are unusable, the patterns do not fit, or there are too many.
    """
    problem = Problem.from_data(X, Y, beta=beta, bias="none")
    normal, scaling = problem.normalised()
    matrix = normal.design.dense()
    n, r = matrix.shape
    gates = np.ones((1, n)) if patterns is None else np.asarray(patterns)
    if gates.ndim != 2 or gates.shape[1] != n or not len(gates) or not np.isin(gates, (0, 1)).all():
        raise ValueError(f"patterns must be booleans of shape (p, {n}); their shape is {gates.shape}")
    cones = [Cone(gate[:, None] * matrix, np.zeros((0, r))) for gate in gates]
    moments = solve_moments(_affordable(cones, normal), normal.loss, normal.beta)
    lam, dual_value = normal.dual_point(moments.lam, _cells_gauge(cones, moments))
    blocks = [M[:r, r:] for M in moments.M]
    outputs = sum((cone.map @ block for cone, block in zip(cones, blocks, strict=True)), np.zeros((n, 1)))
    size = sum(float(np.linalg.svd(block, compute_uv=False).sum()) for block in blocks)
    unit = scaling.tau / scaling.stretch
    return NuclearResult(
        value=scaling.value(normal.loss.value(outputs) + normal.beta * size),
        dual_value=scaling.value(dual_value),
        lam=scaling.multiplier(lam),
        blocks=tuple(scaling.directions(block) * unit for block in blocks),
    )


def _relaxed(normal: Problem, cones: list[Cone], moments: Moments) -> float:
    r = normal.design.d
    outputs = sum((cone.map @ M[:r, r:] for cone, M in zip(cones, moments.M, strict=True)), np.zeros((1, 1)))
    return normal.loss.value(outputs) + normal.beta / 2 * sum(float(np.trace(M)) for M in moments.M)


def _affordable(cones: list[Cone], normal: Problem) -> list[Cone]:
    order = normal.design.d + normal.loss.shape[1]
    entries = len(cones) * order * (order + 1) // 2
    if entries > MOST_ENTRIES:
        raise ValueError(f"{len(cones)} moment matrices of order {order} are too many for the cone solver")
    return cones


def _positive_cone(X: Array) -> Cone:
    """{w : Xw >= 0} for spike-free X of full column rank r: its r directions as sides."""
    units, norms = unit_rows(X)
    sides: list[Array] = []
    for row in units[norms > 0]:
        if all(np.linalg.norm(row - side) > SAME for side in sides):
            sides.append(row)
    return Cone(X, np.array(sides).reshape(len(sides), X.shape[1]))


def _cells(problem: Problem, normal: Problem) -> list[Cone]:
    """The cone of every cell, of its facets only."""
    cells = arrangements(problem.design.X)
    if cells.count > MOST_CELLS:
        raise ValueError(f"X is not spike-free, and its {cells.count} cells are too many: at most {MOST_CELLS}")
    X = normal.design.dense()
    patterns = cells.patterns.unpack()
    return [Cone(pattern[:, None] * X, facets(PatternCone.of(X, pattern).sides)) for pattern in patterns]


def facets(sides: Array) -> Array:
    """The rows that are not nonnegative combinations of the others: {u : sides u >= 0} has these facets."""
    kept = list(range(len(sides)))
    for k in range(len(sides)):
        others = [j for j in kept if j != k]
        if others and nnls(sides[others].T, sides[k])[1] <= IMPLIED:
            kept = others
    return sides[kept]


def _cells_gauge(cones: list[Cone], moments: Moments) -> float:
    """An upper bound on the gauge of lam over the cones."""
    bounds = [cone.bound(moments.lam, N) for cone, N in zip(cones, moments.N, strict=True)]
    return float(np.sqrt(max(bounds))) * (1 + 4 * EPS)


def _spike_free_gauge(cone: Cone, moments: Moments) -> float:
    """An upper bound on the gauge of lam over the whole ball (see `copositive_program`)."""
    A, X, lam, N = cone.sides, cone.map, moments.lam, moments.N[0]
    if not len(A):
        return 0.0
    k, r = A.shape
    shares = np.maximum(X @ np.linalg.inv(A), 0.0)
    shares = np.where(shares < shares.max(axis=1, keepdims=True), 0.0, shares)
    slack = float(np.linalg.norm(lam, axis=1) @ np.linalg.norm(X - shares @ A, axis=1))
    slack += 4 * (k + r) * EPS * float(np.linalg.norm(lam, axis=1) @ np.linalg.norm(X, axis=1))
    nu, H = cone.bound(lam, N), np.linalg.inv(A @ A.T)
    products = np.where(np.eye(k) > 0, -nu * H, np.maximum(-nu * H, 0.0))
    multiplier = np.block([[N, products], [products.T, np.zeros((k, k))]])
    E = np.vstack([np.zeros((r, lam.shape[1])), shares.T @ lam])
    forms = np.block([[np.zeros((k, r)), np.eye(k)], [-A, np.eye(k)]])
    tau = float(np.linalg.norm(A, 2) ** 2 + 16 * (k + r) * EPS * k)
    node = Node(E, forms, np.column_stack([np.arange(k), k + np.arange(k)]), tau)
    return (float(np.sqrt(node.certified((multiplier + multiplier.T) / 2))) + slack) * (1 + 8 * EPS)


def extract(normal: Problem, cones: list[Cone], moments: Moments, random_state: int = 0) -> Network:
    """The network of the moments' factors within the cones, after a descent that keeps it within them."""
    r = normal.design.d
    total = sum(float(np.trace(M)) for M in moments.M)
    neurons, homes = [np.zeros((r + normal.loss.shape[1], 0))], []
    for cone, M in zip(cones, moments.M, strict=True):
        size, axes = np.linalg.eigh(M)
        keep = size > RANK * total
        factor = axes[:, keep] * np.sqrt(size[keep])
        if keep.any():
            neurons.append(factor @ rotate(cone.sides @ factor[:r], random_state=random_state))
            homes += [cone] * neurons[-1].shape[1]
    both = np.hstack(neurons)
    network = Network(both[:r], both[r:].T)
    if not homes:
        return network
    found = descend(normal, homes, network)
    return min((network.balance(), found.balance()), key=normal.value)


def descend(normal: Problem, homes: list[Cone], network: Network) -> Network:
    """A local minimum near a network, each neuron w = R b in the cone of b >= 0: the r sides that are nearest to it.

    Smooth but for the bounds, so L-BFGS-B attains the accuracy that fits ought to have.
    """
    (r, m), c = network.hidden.shape, network.n_outputs
    bases = [np.linalg.inv(_nearest_sides(cone.sides, w)) for cone, w in zip(homes, network.hidden.T, strict=True)]
    maps = np.array([cone.map @ R for cone, R in zip(homes, bases, strict=True)])
    grams = np.array([R.T @ R for R in bases])
    start = np.array([np.linalg.solve(R, w) for R, w in zip(bases, network.hidden.T, strict=True)])
    bounds = np.concatenate([np.zeros(m * r), np.full(m * c, -np.inf)])

    def value(x: Array) -> tuple[float, Array]:
        b, A = x[: m * r].reshape(m, r), x[m * r :].reshape(m, c)
        hidden, long = np.einsum("mnr,mr->nm", maps, b), np.einsum("mrs,ms->mr", grams, b)
        outputs = hidden @ A
        lam = normal.loss.dual(outputs)
        slope_b = normal.beta * long - np.einsum("mnr,nm->mr", maps, lam @ A.T)
        slope_A = normal.beta * A - hidden.T @ lam
        size = normal.loss.value(outputs) + normal.beta / 2 * (float(np.vdot(b, long)) + float(np.vdot(A, A)))
        return size, np.concatenate([slope_b.ravel(), slope_A.ravel()])

    x = np.concatenate([np.maximum(start, 0.0).ravel(), network.output.ravel()])
    found = minimize(
        value,
        x,
        jac=True,
        method="L-BFGS-B",
        bounds=Bounds(bounds, np.inf),
        options={"maxiter": 5000, "maxfun": 10000, "ftol": 1e-16, "gtol": 1e-12},
    ).x
    hidden = np.einsum("mrs,ms->rm", np.array(bases), found[: m * r].reshape(m, r))
    return Network(hidden, found[m * r :].reshape(m, c))


def _nearest_sides(sides: Array, w: Array) -> Array:
    """r linearly independent sides with the smallest sides w, greedily; there are that many since X has rank r."""
    chosen: list[int] = []
    rest = np.eye(sides.shape[1])
    for k in np.argsort(sides @ w):
        new = rest @ sides[k]
        if (size := float(np.linalg.norm(new))) > 1e-6:
            chosen.append(int(k))
            rest = rest - np.outer(new, new) / size**2
    return sides[chosen]
