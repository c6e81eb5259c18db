"""Training on spike-free data, where the ReLU disappears from the convex program: two vectors for all patterns."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from extremal.closed_forms.result import ClosedForm
from extremal.closed_forms.spike_free import is_spike_free
from extremal.design import Array, Design
from extremal.losses import Loss
from extremal.problem import Problem
from extremal.programs import MarginResult, ProgramResult, interpolation_program, margin_program, pattern_program

#: A program whose relative gap is larger is refused.
ACCURATE = 1e-6


def spike_free_fit(
    X: ArrayLike,
    y: ArrayLike,
    *,
    beta: float,
    loss: str | Loss = "squared",
    sample_weight: ArrayLike | None = None,
) -> ClosedForm:
    """min over w1, w2 of  sum_i weight_i loss(x_i . (w1 - w2), y_i) + beta (|w1| + |w2|),  X w1 >= 0, X w2 >= 0.

    For spike-free X that is the training problem over networks of every width, and (w1)_+, (w2)_+ are its neurons. The
    dual is max D(lam) subject to |Proj_K (X^T lam)| <= beta and |Proj_K (-X^T lam)| <= beta with K = {u : Xu >= 0}.

    Parameters
    ----------
    X : array of shape (n, d)
        Spike-free; used as it is, without a bias.
    y : array of shape (n,)
    beta : float
        The penalty, positive.
    loss : str
        "squared", "huber", "logistic" or "squared_hinge".
    sample_weight : array of shape (n,), optional

    Returns
    -------
    ClosedForm
        `residual` is the proven relative gap.

    Raises
    ------
    ValueError
        If X is not spike-free, or the data or the loss cannot be used.

    Notes
    -----
    For other X the same program is one of a single pattern: its optimum is attained by a network, so it is an upper
    bound on the global optimum; the set {Xu >= 0} is part of the rectified ellipsoid, no relaxation of it, and the
    program proves nothing (section 2.2.1 calls it a relaxation). In (21) the bound 1 should be beta.

    References
    ----------
    Ergen & Pilanci (JMLR 2021), Theorem 4 and section 4.4.
    """
    problem = Problem.from_data(X, y, beta=beta, loss=loss, bias="none", sample_weight=sample_weight)
    _require_spike_free(problem.design.dense())
    found = pattern_program(problem, np.ones((1, problem.design.n), dtype=bool))
    return _form(f"spike-free data, loss {problem.loss.name!r}", "loss + beta/2 |theta|^2", found)


def spike_free_min_norm(X: ArrayLike, y: ArrayLike) -> ClosedForm:
    """min |w1| + |w2| s.t. X (w1 - w2) = y, X w1 >= 0, X w2 >= 0: the smallest network with f(x_i) = y_i.

    Parameters
    ----------
    X : array of shape (n, d)
        Spike-free.
    y : array of shape (n,)
        Numbers, not all zero.

    Returns
    -------
    ClosedForm
        `residual` is the proven relative gap.

    Raises
    ------
    ValueError
        If X is not spike-free, no network has these outputs, or the data are not finite; or if the lengths of the rows
        differ by more than about 1e9, where the program does not tell.

    References
    ----------
    Ergen & Pilanci (JMLR 2021), Theorem 4.
    """
    rows = _require_spike_free(Design.from_data(X).dense())
    found = interpolation_program(rows, y, np.ones((1, len(rows)), dtype=bool))
    if not found.separable:
        raise ValueError(_unmet("has these outputs", "target"))
    return _form("spike-free data, interpolation", "1/2 |theta|^2 = y^T lam", found)


def spike_free_max_margin(X: ArrayLike, y: ArrayLike) -> ClosedForm:
    """min |w1| + |w2| s.t. y_i x_i . (w1 - w2) >= 1, X w1 >= 0, X w2 >= 0: the max-margin network.

    Parameters, returns and errors: as for `spike_free_min_norm`, with labels -1/+1 or 0/1.
    """
    rows = _require_spike_free(Design.from_data(X).dense())
    found = margin_program(rows, y, np.ones((1, len(rows)), dtype=bool))
    if not found.separable:
        raise ValueError(_unmet("separates the classes", "label"))
    return _form("spike-free data, max-margin", "1/2 |theta|^2 = y^T lam", found)


def _require_spike_free(rows: Array) -> Array:
    if not is_spike_free(rows):
        raise ValueError("X is not spike-free: see `spike_free_distance` for how far it is from that")
    return rows


def _unmet(what: str, kind: str) -> str:
    return (
        f"to working precision no network {what}: rows of one direction, or zero rows, have a {kind} that does not fit"
        ", or the lengths of the rows differ by more than about 1e9, which is beyond double precision"
    )


def _form(name: str, objective: str, found: ProgramResult | MarginResult) -> ClosedForm:
    if found.gap > ACCURATE:
        raise ValueError(f"the program was solved only to a relative gap of {found.gap:.1e}; rescale the rows of X")
    return ClosedForm(name, objective, found.value, found.network, found.dual[:, 0], found.gap)
