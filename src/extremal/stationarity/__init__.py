"""What kind of point a network is: Clarke stationary, directionally stationary, a local or the global minimum."""

from __future__ import annotations

import time

import numpy as np
from numpy.typing import ArrayLike

from extremal.certificate import TIE, certify_on, problem_of
from extremal.losses import Loss
from extremal.network import Network
from extremal.stationarity.escape import along_descent, by_neuron, gradient_factors, length
from extremal.stationarity.first_order import FirstOrder
from extremal.stationarity.local import is_local_minimum
from extremal.stationarity.result import Escape, EscapeKind, Kind, Stationarity

__all__ = ["Escape", "EscapeKind", "Kind", "Stationarity", "stationarity"]


def stationarity(
    network: Network,
    X: ArrayLike,
    y: ArrayLike,
    *,
    beta: float,
    loss: str | Loss = "squared",
    intercept: bool | None = None,
    sample_weight: ArrayLike | None = None,
    tol: float = 1e-6,
    tie: float = TIE,
    time_limit: float | None = None,
    random_state: int | np.random.Generator | None = 0,
) -> Stationarity:
    """What kind of point a network is of  P = sum_i w_i loss(f(x_i), y_i) + beta/2 (|W|_F^2 + |A|_F^2).

    In the ladder  global minimum => local minimum => directionally stationary => Clarke stationary  every step down is
    strict in general, and subgradient methods see the last rung only.

    Parameters
    ----------
    network : Network
        Any two-layer ReLU network, however it was trained; of one or several outputs.
    X, y, beta, loss, intercept, sample_weight
        The training problem, as for :func:`extremal.certify`.
    tol : float
        The residual, relative to beta and the size of a neuron, at which a condition counts as satisfied, and the
        relative gap at which the network counts as globally optimal.
    tie : float
        |x_i . w_j| <= tie |x_i| |w_j| counts as a tie, x_i . w_j = 0. For a network that is only nearly converged,
        both are to be as large as its error.
    time_limit : float, optional
        Seconds for the search for the bound on the global optimum, and at most as long for that for descent directions;
        10 by default.
    random_state : int
        Seed of the search for violating neurons; it has no influence on what is proved.

    Returns
    -------
    Stationarity

    Raises
    ------
    ValueError
        If the data or the parameters are unusable, or the network does not fit the data.

    Notes
    -----
    With lam = -grad loss, P is smooth in the output weights, and to first order in w_j it is linear with a kink at each
    tie (see `extremal.stationarity.kinks`).

    *Clarke.* 0 is in the subdifferential, the hull of the limits of gradients, iff the output weights have gradient 0
    and for each neuron  beta w_j = X^T D lam a_j,  D = 1 on active rows, in [0, 1] on ties (rows on one line are one
    kink: opposite ones have complementary multipliers). Where lines of ties are dependent and kinks of both signs
    occur, not every D is a limit, and the hull of those that are is used.

    *Directional.* P' >= 0 in all directions. A tie of the right sign, lam_i . a_j <= 0, is a convex kink; one of the
    wrong sign is concave. P' >= 0 iff for every choice of sides of the concave kinks the convex ones hold the neuron, a
    box-constrained least squares each. A neuron w_j = 0, a_j = 0 has no first-order term; it is stationary. Neurons
    smaller than tol times the largest count as such.

    *Local, one output.* Without neurons that are zero, directionally stationary points are exactly the local minima,
    whatever the ties, and exactly the networks that are optimal in the convex program of their own patterns, each with
    its neuron's sign and with every completion of the ties: near the network P is at least
    P + sum_j beta |w'_j||a'_j| - a'_j lam^T (X w'_j)_+, and no term is negative while the sides off the ties are kept.
    With a zero neuron, it is a local minimum only if g(lam) <= beta, and then a global one.

    *Global.* By :func:`extremal.certify`.

    The theorem that Clarke stationary points are the global optima of the subsampled program of their own patterns
    1(X w_j >= 0) needs three corrections: (a) a neuron w_j = 0 has no pattern (theta = 0 is Clarke stationary, and the
    pattern of ones that it would have may be worth something); (b) Clarke stationarity is too weak: ties of the wrong
    sign make points Clarke stationary from which P falls at first order; directional stationarity is what is needed;
    (c) a pattern goes with the sign of its neuron: with both signs the program may be lower than a local minimum. So
    corrected it is true, and the lines of ties need not be independent: see `Stationarity.signed_program`.

    References
    ----------
    Wang, Lacotte & Pilanci (ICLR 2022).
    """
    for name, value in (("tol", tol), ("tie", tie)):
        if not 0 < value < 1:
            raise ValueError(f"{name} must be between 0 and 1, not {value!r}")
    problem = problem_of(network, X, y, beta=beta, loss=loss, intercept=intercept, sample_weight=sample_weight)
    certificate = certify_on(problem, network, tol=tol, time_limit=time_limit, random_state=random_state)
    normal, scaling = problem.normalised(rotate=False)
    inside = scaling.inverse(network)
    deadline = time.monotonic() + (10.0 if time_limit is None else time_limit)
    first = FirstOrder.of(normal, inside, tol=tol, tie=tie, deadline=deadline)
    kind = kind_of(first, certificate.status.proven, tol)
    stationary = first.descent_bound <= tol
    local = False if first.descent_residual > tol else None
    if stationary:
        local = is_local_minimum(normal, inside, first, certificate, tol)
    elif kind is Kind.GLOBAL:
        local = None  # within the tolerance of the minimum, not at it
    escape = None
    if kind in (Kind.NOT_STATIONARY, Kind.CLARKE_ONLY):
        escape = along_descent(problem, network, first, scaling)
    if escape is None and kind is not Kind.GLOBAL:
        escape = by_neuron(problem, network, certificate, first.dead)
    theta, shift = gradient_factors(scaling)
    rest = (theta * first.output, shift * first.intercept)
    return Stationarity(
        kind=kind,
        objective=certificate.primal,
        clarke_distance=length(theta * first.clarke, *rest),
        descent_rate=length(theta * first.steepest()[0], *rest),
        clarke_residual=first.clarke_residual,
        descent_residual=first.descent_residual,
        descent_bound=first.descent_bound,
        ties=first.ties_of_living,
        wrong=np.array([kinks.wrong for kinks in first.kinks], dtype=int),
        dead=first.dead,
        local_minimum=local,
        escape=escape,
        certificate=certificate,
        problem=problem,
        network=network,
        tie=tie,
        tol=tol,
    )


def kind_of(first: FirstOrder, proven: bool, tol: float) -> Kind:
    """The strongest condition that holds."""
    if proven:
        return Kind.GLOBAL
    if first.descent_bound <= tol:
        return Kind.DIRECTIONAL
    if first.descent_residual <= tol:
        return Kind.UNDECIDED
    return Kind.CLARKE_ONLY if first.clarke_residual <= tol else Kind.NOT_STATIONARY
