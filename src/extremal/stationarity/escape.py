"""The way down: a line search along the steepest descent, or over the size of a new neuron."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from scipy.optimize import minimize_scalar

from extremal.certificate import Certificate
from extremal.design import Array
from extremal.network import Network
from extremal.problem import Problem, Scaling
from extremal.stationarity.first_order import FirstOrder
from extremal.stationarity.result import Escape, EscapeKind

#: The halvings of the longest step that are tried.
HALVINGS = 100


def along_descent(problem: Problem, network: Network, first: FirstOrder, scaling: Scaling) -> Escape | None:
    """The best step along the direction of steepest descent, or None if none is better beyond rounding."""
    theta, shift = gradient_factors(scaling)
    hidden, output = first.steepest()
    parts = [theta * hidden, theta * output, shift * first.intercept]
    rate = length(*parts)
    if rate == 0.0:
        return None
    W, A, b = (part / rate for part in parts)

    def at(t: float) -> Network:
        return Network(network.hidden + t * W, network.output + t * A, network.intercept + t * b, bias=network.bias)

    # beyond this step the penalty alone is larger than the objective, or the intercept larger than the outputs
    objective = problem.value(network)
    size = length(network.hidden, network.output)
    reach = size + float(np.sqrt(2 * objective) / np.sqrt(problem.beta))
    if b.any():
        reach = max(reach, 2 * float(np.abs(network.evaluate(problem.design) - problem.loss.target).max()))
    return lowered(problem, network, at, reach, Escape(EscapeKind.DIRECTION, W, A, b, -rate, 0.0, network, 0.0, 0.0))


def by_neuron(problem: Problem, network: Network, certificate: Certificate, dead: Array) -> Escape | None:
    """The best size of the neuron that violates g(lam) <= beta, or None if none is better beyond rounding."""
    norm = float(np.linalg.norm(certificate.witness))
    if norm == 0.0:
        return None
    u = certificate.witness / norm
    fit = np.maximum(problem.design.forward(u[:, None]), 0)
    pull = (problem.multiplier(network).T @ fit)[:, 0]
    height = length(pull)
    if height <= problem.beta:
        return None
    v = pull / height

    def at(t: float) -> Network:
        root = np.sqrt(t)
        hidden, output = network.hidden.copy(), network.output.copy()
        if dead.size:
            hidden[:, dead[0]], output[dead[0]] = root * u, root * v
        else:
            hidden, output = np.column_stack([hidden, root * u]), np.vstack([output, root * v])
        return Network(hidden, output, network.intercept, bias=network.bias)

    step = Escape(
        EscapeKind.NEURON, u[:, None], v[None], np.zeros(v.size), problem.beta - height, 0.0, network, 0.0, 0.0
    )
    return lowered(problem, network, at, problem.value(network) / problem.beta, step)


def lowered(
    problem: Problem, network: Network, at: Callable[[float], Network], reach: float, escape: Escape
) -> Escape | None:
    """The escape with the best step of a line search, if it lowers the objective by more than rounding may have."""
    before = problem.value(network)
    step = best_step(lambda t: problem.value(at(t)), reach)
    after = problem.value(at(step))
    if not before - after > 2 * (rounding(problem, network) + rounding(problem, at(step))):
        return None
    return replace(escape, step=step, network=at(step), objective=after, decrease=before - after)


def best_step(value: Callable[[float], float], reach: float) -> float:
    """The best of the steps reach, reach/2, reach/4, ..., and then between its neighbours."""
    steps = reach * 0.5 ** np.arange(HALVINGS)
    values = [value(float(t)) for t in steps]
    k = int(np.nanargmin(values))
    t = float(steps[k])
    found = minimize_scalar(value, bounds=(0.5 * t, min(2 * t, reach)), method="bounded", options={"xatol": 1e-9 * t})
    return float(found.x) if found.fun < values[k] else t


def rounding(problem: Problem, network: Network) -> float:
    """A bound, to first order, on the rounding of the objective: n + d + m terms in each of its sums."""
    terms = problem.design.n + problem.design.d + network.width + 16
    outputs = float(np.linalg.norm(problem.multiplier(network), axis=1) @ problem.design.row_norms)
    return terms * float(np.finfo(float).eps) * (problem.value(network) + outputs * float(network.strength.sum()))


def gradient_factors(scaling: Scaling) -> tuple[float, float]:
    """What derivatives in the weights, and in the intercept, are multiplied with on the way back."""
    root = np.sqrt(scaling.stretch) / np.sqrt(scaling.tau)
    return float(scaling.scale * root), float(scaling.scale / scaling.tau)


def length(*parts: Array) -> float:
    """The Euclidean norm of all entries together, whatever their scale."""
    largest = max((float(np.abs(part).max(initial=0.0)) for part in parts), default=0.0)
    if largest == 0.0:
        return 0.0
    return largest * float(np.sqrt(sum(float(np.square(part / largest).sum()) for part in parts)))
