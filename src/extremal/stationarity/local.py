"""Whether a directionally stationary network is a local minimum."""

from __future__ import annotations

import time

import numpy as np
from scipy.linalg import null_space

from extremal.certificate import Certificate
from extremal.design import Design
from extremal.network import Network
from extremal.problem import Problem
from extremal.stationarity.first_order import FirstOrder
from extremal.stationarity.kinks import FEW_WRONG

#: How far inside [0, 1] the multipliers of ties that hold a neuron strictly are, and how far curvature is below beta.
STRICT = 1e-3


def is_local_minimum(
    problem: Problem, network: Network, first: FirstOrder, certificate: Certificate, tol: float
) -> bool | None:
    """What first order and the gauge tell of a directionally stationary network (problem and network in normal form).

    With C = loss(F) + beta sum |w_j| |a_j| <= P, the convexity of the loss gives for every network near this one

        P' >= C' >= P + sum_j [beta |w'_j| |a'_j| - a'_j . lam^T (X w'_j)_+],

    so that it is enough that no neuron alone has a negative term. A dead neuron has one if and only if g(lam) > beta,
    and then the network is no minimum. A neuron of one output has none as long as its rows off the boundary keep their
    sides and a' its sign, because there a' lam^T (X w')_+ = |a'| (beta u_j . w' - h(w') / |a_j|). With several outputs
    it has none if its ties hold it strictly and the curvature along directions in which they stay ties is positive:
    the singular values of X_active^T lam across (u, v) and the ties are below beta.
    """
    if certificate.status.proven:
        return True
    if first.dead.size:
        return False if certificate.violation > tol else None
    if network.n_outputs == 1:
        return True
    held = (is_held(problem.design, network, first, j, tol) for j in range(network.width))
    return True if all(held) else None


def is_held(design: Design, network: Network, first: FirstOrder, j: int, tol: float) -> bool:
    """Whether neuron j is strictly held by its ties, and of positive curvature where they stay ties."""
    kinks, ties = first.kinks[j], first.ties[j]
    if kinks.wrong > FEW_WRONG or kinks.descent(time.monotonic(), STRICT).upper > tol * first.unit[j]:
        return False
    u = network.hidden[:, j] / np.linalg.norm(network.hidden[:, j])
    v = network.output[j] / np.linalg.norm(network.output[j])
    across = null_space(np.vstack([u, kinks.side.rows[kinks.side.weights < 0]]), rcond=1e-9)
    tied = np.flatnonzero(ties.tied)
    loose = design.rows(tied) @ across / design.row_norms[tied, None]
    if loose.size and float(np.abs(loose).max()) > 1e-6:
        return False
    moment = across.T @ design.adjoint(ties.active[:, None] * first.lam) @ null_space(v[None])
    return moment.size == 0 or float(np.linalg.norm(moment, 2)) < (1 - STRICT) * first.beta
