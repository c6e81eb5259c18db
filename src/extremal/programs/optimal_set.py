"""All optimal networks of a solved problem: a polytope of amplitudes on the optimal neurons.

The losses are smooth, so the dual solution lam is unique, and a network is optimal if and only if

    every neuron (u, v) of it has |lam^T (Xu)_+| = beta and v = lam^T (Xu)_+ / beta,   and   -grad loss(f) = lam.

With the optimal neurons (u_k, v_k) and their fits z_k = (X u_k)_+ v_k^T, the second condition is linear in the
amplitudes: sum_k alpha_k z_k + b = yhat where the loss is strictly convex, and an inequality on a row where it is flat
or straight (squared hinge, Huber). So the optimal set is a polytope of amplitudes alpha >= 0, on which the objective is
constant; everything asked of it is a small linear or quadratic program.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike

from extremal.design import Array
from extremal.losses import Huber, Loss, Softmax, SquaredHinge
from extremal.network import Network
from extremal.problem import Problem, Scaling
from extremal.programs.blocks import Blocks, signed
from extremal.programs.functions import SAME, function_dimension
from extremal.programs.members import Member, PredictionRange, Sparsest
from extremal.programs.optimal_networks import OptimalSet
from extremal.programs.polytope import Polytope
from extremal.programs.sharpen import parts, residual, sharpen

__all__ = ["Member", "OptimalSet", "PredictionRange", "Sparsest", "multiplier_error", "optimal_set"]

#: The smallest tolerance: a relative deficit of |lam^T (Xu)_+| from beta, and of a singular value.
SMALLEST_TOLERANCE = 1e-9
#: A network with a larger residual than this says too little about the optimal set.
LARGEST_RESIDUAL = 1e-4
#: An output this close to the kink of its loss counts as beyond it.
KINK = 1e-9


def optimal_set(
    problem: Problem,
    network: Network,
    *,
    patterns: ArrayLike | None = None,
    directions: ArrayLike | None = None,
    tol: float | None = None,
) -> OptimalSet:
    """The set of optimal networks that contains the given one.

    Parameters
    ----------
    problem : Problem
        Any loss, bias and number of outputs.
    network : Network
        An optimal network, as `fit` or a finite program returns it. It is merged and polished by Newton's method on its
        cells, which takes the error of directions from 1e-5 to rounding.
    patterns : boolean array of shape (p, n), optional
        Cells in which to look for further optimal neurons: each has at most one maximiser for each sign, the direction
        of Proj_K(+-X^T D lam), found by nonnegative least squares. With ALL cells of the arrangement the set is the
        complete optimal set; otherwise it consists of the optimal networks with the neurons at hand. One output only.
    directions : array of shape (d, k), optional
        Further candidates for neurons, with the bias last.
    tol : float, optional
        A candidate is optimal if |lam^T (Xu)_+| >= (1 - tol) beta. Default: ten times the residual of the optimality
        conditions after polishing, and at least 1e-9. If only a duality gap is known, |lam - lam*| <=
        `multiplier_error(problem, primal - dual)`, and that times sigma_max(X) / beta is a tolerance which is proved
        to miss nothing. Neurons that are let in wrongly may widen the set a little, but not the objective: the sum of
        amplitude times deficit is kept below a 1e-10 part of the cost (a tenth of the default tolerance).

    Raises
    ------
    ValueError
        If the network is not stationary (residual above 1e-4), a candidate improves it, or the arguments do not fit.

    References
    ----------
    Mishkin & Pilanci (ICML 2023), optimal sets of convex two-layer networks.
    """
    if (network.hidden.shape[0], network.n_outputs, network.bias) != (
        problem.design.d,
        problem.loss.shape[1],
        problem.bias,
    ):
        raise ValueError(f"{network} does not belong to the problem")
    normal, scaling = problem.normalised()
    net = sharpen(normal, scaling.inverse(network))
    error = residual(normal, net)
    if error > LARGEST_RESIDUAL:
        raise ValueError(f"the network is not optimal: its residual is {error:.1e} of beta; train it to a smaller gap")
    if tol is not None and not 0 <= tol < 1:
        raise ValueError(f"tol must lie in [0, 1), not {tol!r}")
    tol = max(SMALLEST_TOLERANCE, 10 * error) if tol is None else tol
    lam = normal.multiplier(net)
    U, V, amplitudes = parts(net)
    candidates = np.hstack([*_candidates(normal, scaling, lam, patterns, directions, tol)])
    U, V, deficit = _optimal_neurons(normal, lam, U, V, candidates, tol)
    start = np.concatenate([amplitudes, np.zeros(V.shape[0] - amplitudes.size), net.intercept * normal.intercept])
    total = float(amplitudes.sum()) or 1.0
    polytope = _polytope(normal, net, U, V, deficit, start, total, max(SMALLEST_TOLERANCE, 10 * error))
    polytope, ranges, met = polytope.reduced()
    polished = scaling.network(net)
    unit = total * scaling.tau / scaling.stretch
    return OptimalSet(
        U=scaling.directions(U),
        V=V,
        ranges=unit * np.where(ranges <= 0, 0.0, ranges),
        dimension=polytope.dimension,
        function_dimension=function_dimension(problem, scaling.directions(U), V, polytope.null, scaling.tau / unit),
        rank=polytope.rank,
        singular=polytope.singular,
        tol=tol,
        residual=error,
        objective=problem.value(network),
        network=polished,
        _problem=problem,
        _polytope=polytope,
        _unit=unit,
        _offset=scaling.tau,
        _met=met,
        _outputs=network.evaluate(problem.design),
    )


def multiplier_error(problem: Problem, gap: float) -> float:
    """sqrt(2 max_i w_i gap) >= |lam - lam*|, for lam = -grad loss at a network within `gap` of the optimal objective.

    Every loss here has a gradient of Lipschitz constant at most max w_i, so at the optimum loss(f) is above its tangent
    by at least |lam - lam*|^2 / (2 max w_i), and the tangent plus the penalty is minimal there.
    """
    return float(np.sqrt(2.0 * float(problem.loss.weight.max()) * max(gap, 0.0)))


def _candidates(
    normal: Problem, scaling: Scaling, lam: Array, patterns: ArrayLike | None, directions: ArrayLike | None, tol: float
) -> Iterable[Array]:
    """Directions (d, k) in the normal form that may be optimal neurons."""
    yield np.zeros((normal.design.d, 0))
    if directions is not None:
        given = np.asarray(directions, dtype=np.float64)
        rows = normal.design.d if scaling.basis is None else scaling.basis.shape[0]
        if given.ndim != 2 or given.shape[0] != rows or not np.isfinite(given).all():
            raise ValueError(f"directions must be finite numbers of shape ({rows}, k); got shape {given.shape}")
        yield given if scaling.basis is None else scaling.basis.T @ given
    if patterns is not None:
        yield _maximisers(normal, lam, patterns, (1 - 2 * tol) * normal.beta)


def _maximisers(normal: Problem, lam: Array, patterns: ArrayLike, least: float) -> Array:
    """The maximisers of +-lam^T (Xu)_+ over the unit ball in the cells where it reaches `least`."""
    if lam.shape[1] > 1:
        raise ValueError("the best neuron of a cell is not a projection for several outputs; give directions instead")
    blocks = Blocks.relu(normal.design, *signed(patterns, None, normal.design.n))
    best = blocks.projections(lam[:, 0], cutoff=least)
    return best[np.linalg.norm(best, axis=1) > max(least, 0.0)].T


def _optimal_neurons(
    normal: Problem, lam: Array, U: Array, V: Array, candidates: Array, tol: float
) -> tuple[Array, Array, Array]:
    """The network's neurons and the new ones among the candidates, with the relative deficits of |lam^T (Xu)_+|."""
    own = V.shape[0]
    norms = np.linalg.norm(candidates, axis=0)
    U = np.hstack([U, candidates[:, norms > 0] / norms[norms > 0]])
    outer = np.maximum(normal.design.forward(U), 0).T @ lam / normal.beta
    activity = np.linalg.norm(outer, axis=1)
    if activity.max(initial=0.0) > 1 + max(tol, 1e-6):
        raise ValueError(
            f"the network is not optimal: a candidate neuron has |lam^T (Xu)_+| = {activity.max():.9g} beta"
        )
    keep = list(range(own))
    for k in own + np.flatnonzero(activity[own:] >= 1 - tol):
        if np.linalg.norm(U[:, keep] - U[:, k, None], axis=0).min(initial=1.0) > SAME:
            keep.append(int(k))
    return U[:, keep], np.vstack([V, outer[own:] / activity[own:, None].clip(1e-300)])[keep], 1 - activity[keep]


def _polytope(
    normal: Problem, net: Network, U: Array, V: Array, deficit: Array, start: Array, total: float, tol: float
) -> Polytope:
    """The optimal amplitudes, in units of the total one, and intercepts."""
    m, c = V.shape
    outputs = net.evaluate(normal.design)
    hidden = np.maximum(normal.design.forward(U), 0) * total
    maps = np.einsum("im,mc->icm", hidden, V)
    if normal.intercept:
        maps = np.concatenate([maps, np.broadcast_to(np.eye(c), (len(hidden), c, c))], axis=2)
    point = start[: maps.shape[2]].copy()
    point[:m] /= total
    side, kink = _straight(normal.loss, outputs)
    fixed = (side == 0) & (normal.loss.weight > 0)[:, None]
    # the cost sum_k alpha_k (beta - |lam^T z_k|) keeps out neurons that are not optimal
    cost = np.concatenate([np.maximum(deficit, 0.0), np.zeros(point.size - m)])
    rows = np.vstack([side[side != 0][:, None] * maps[side != 0], -cost[None, :]])
    limits = np.append(side[side != 0] * kink[side != 0], -float(cost @ point) - 0.1 * tol)
    if not isinstance(normal.loss, Softmax):
        return Polytope.around(point, maps[fixed], rows, limits, m, tol)
    # a constant added to all scores of a sample changes nothing; one added to the intercept is left out
    centred = maps - maps.mean(axis=1, keepdims=True)
    shift = np.concatenate([np.zeros((1, m)), np.ones((1, point.size - m))], axis=1)
    return Polytope.around(point, np.vstack([centred[fixed], shift]), rows, limits, m, tol)


def _straight(loss: Loss, F: Array) -> tuple[Array, Array]:
    """(side, kink): where side is not zero, loss' is constant on side f >= side kink, and F lies there."""
    weighted = (loss.weight > 0)[:, None]
    if isinstance(loss, SquaredHinge):
        beyond = (loss.target * F >= 1 - KINK) & weighted
        return np.where(beyond, loss.target, 0.0), loss.target
    if isinstance(loss, Huber):
        error = F - loss.target
        beyond = (np.abs(error) >= loss.delta * (1 - KINK)) & weighted
        return np.where(beyond, np.sign(error), 0.0), loss.target + np.sign(error) * loss.delta
    return np.zeros(F.shape), F
