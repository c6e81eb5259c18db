"""Several outputs on whitened data by a formula, and the penalties that separate the outputs instead."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from extremal.arrangements import arrangements
from extremal.certificate import Certificate, relative_gap
from extremal.closed_forms.copositive import MOST_CELLS, copositive_program, nuclear_program
from extremal.closed_forms.result import ClosedForm
from extremal.closed_forms.rows import unit_rows
from extremal.design import Array
from extremal.network import Network
from extremal.problem import Problem
from extremal.programs import gated_program, pattern_program
from extremal.training import fit_problem

#: Inner products of unit rows that count as those of whitened data, and cosines that count as 1.
TOLERANCE = 1e-9


@dataclass(frozen=True, eq=False)
class SeparateOutputs:
    """Training with beta/2 (|W|_F^2 + sum_j |a_j|_1^2), which is training every output separately.

    Attributes
    ----------
    network : Network
        All neurons side by side, each with one output; its objective with |a_j|_2 is the same number.
    value, dual_value : float
        The sums over the outputs: the objective, and a lower bound on it for every network and this penalty.
    lam : array of shape (n, c)
        max over |u| <= 1 of |lam^T (Xu)_+|_inf <= beta, that is g(lam_k) <= beta for every output k.
    certificates : tuple of Certificate
        For the outputs one by one.
    """

    network: Network
    value: float
    dual_value: float
    lam: Array
    certificates: tuple[Certificate, ...]

    @property
    def gap(self) -> float:
        """(value - dual_value) / value."""
        return relative_gap(self.value, self.dual_value)

    def __str__(self) -> str:
        return "\n".join(
            [
                f"{self.network}, every output trained separately",
                f"objective                  {self.value:.10g}",
                f"no network can be below    {self.dual_value:.10g}, with |a_j|_1 in place of |a_j|_2",
                f"relative gap               {self.gap:.1e}",
            ]
        )


@dataclass(frozen=True)
class PenaltyComparison:
    """Optimal values of five programs that pass for the training of networks with several outputs.

    Attributes
    ----------
    relu, relu_bound : float
        Weight decay: the objective of the best network known, and a proven lower bound.
    separate : float
        A group lasso with cones for every output and pattern, sum_k sum_l |u_kl|: no neuron serves two outputs.
    gated : float
        Nuclear norms without cones, sum_k |M_k|_*.
    gated_separate : float
        A group lasso without cones for every output and pattern.
    linear : float
        One nuclear norm: two-layer linear networks.
    cells : int
    """

    relu: float
    relu_bound: float
    separate: float
    gated: float
    gated_separate: float
    linear: float
    cells: int

    def __str__(self) -> str:
        rows = {
            "weight decay, ReLU": self.relu,
            "  no network can be below": self.relu_bound,
            "separate outputs, ReLU": self.separate,
            "weight decay, gated": self.gated,
            "separate outputs, gated": self.gated_separate,
            "weight decay, linear": self.linear,
        }
        return "\n".join(f"{name:<27}{value:.10g}" for name, value in rows.items())


def soft_thresholded_svd(X: ArrayLike, Y: ArrayLike, *, beta: float) -> ClosedForm:
    """min 1/2 |f(X) - Y|^2 + beta/2 |theta|^2 for whitened X and Y whose rows are parallel or at angles >= 90 degrees.

    With the groups g of rows of one direction v_g, and s_g the norm of Y on the group, Y = sum_g s_g u_g v_g^T where
    the u_g >= 0 have disjoint supports: where the v_g are orthogonal (one-hot Y) that is the singular value
    decomposition with U >= 0, and its soft thresholding is optimal. One neuron for each s_g > beta:

        value = sum_g (beta s_g - beta^2/2 if beta <= s_g else s_g^2/2),   w = X^T u_g,  a = (s_g - beta) v_g (balanced)
        lam = sum_g min(s_g, beta) u_g v_g^T.

    Parameters
    ----------
    X : array of shape (n, d)
        With X X^T = I, to 1e-9.
    Y : array of shape (n,) or (n, c)
        Nonnegative left singular vectors that are orthogonal have disjoint supports, so this is the condition of the
        paper, and more: y_i . y_j <= 0 between groups will do, as for one output, where the groups are the two signs.
    beta : float

    Raises
    ------
    ValueError
        If the rows of X are not orthonormal, two rows of Y are at an angle strictly between 0 and 90 degrees, or the
        data are unusable.

    Notes
    -----
    |lam^T z|^2 = sum_gh min(s_g, beta) min(s_h, beta) (u_g . z) (u_h . z) (v_g . v_h) <= sum_g beta^2 (u_g . z)^2 <=
    beta^2 |z|^2 for z >= 0.

    References
    ----------
    Sahiner, Ergen, Pauly & Pilanci (ICLR 2021); Ergen & Pilanci (JMLR 2021), Theorem 15 for one-hot targets.
    """
    problem = Problem.from_data(X, Y, beta=beta, bias="none")
    rows, targets = problem.design.dense(), problem.loss.target
    error = float(np.abs(rows @ rows.T - np.eye(len(rows))).max())
    if error > TOLERANCE:
        raise ValueError(f"the rows of X are not orthonormal: X X^T differs from I by {error:.3g}")
    units, norms = unit_rows(targets)
    cosines = units @ units.T
    parallel = cosines > 1 - TOLERANCE
    acute = cosines[(cosines > TOLERANCE) & ~parallel]
    if acute.size:
        raise ValueError(f"two rows of Y are neither parallel nor at 90 degrees or more: a cosine of {acute.max():.3g}")
    neurons, lam, value = [], np.zeros_like(targets), 0.0
    rest = norms > 0
    while rest.any():
        own = parallel[np.flatnonzero(rest)[0]] & rest
        rest = rest & ~own
        size = float(np.linalg.norm(norms[own]))
        u, v = np.where(own, norms, 0.0) / size, units[own][0]
        lam += np.outer(min(size, beta) * u, v)
        value += beta * size - beta**2 / 2 if beta <= size else size**2 / 2
        if size > beta:
            neurons.append((np.sqrt(size - beta) * (rows.T @ u), np.sqrt(size - beta) * v))
    hidden = np.array([w for w, _ in neurons]).reshape(len(neurons), rows.shape[1]).T
    output = np.array([a for _, a in neurons]).reshape(len(neurons), targets.shape[1])
    objective = "1/2 |f - Y|^2 + beta/2 |theta|^2"
    return ClosedForm("soft-thresholded SVD", objective, value, Network(hidden, output), lam, error)


def separate_outputs(
    X: ArrayLike, Y: ArrayLike, *, beta: float, tol: float = 1e-6, time_limit: float | None = None
) -> SeparateOutputs:
    """min 1/2 |f(X) - Y|^2 + beta/2 (|W|_F^2 + sum_j |a_j|_1^2): every output is trained by itself.

    The l1 norm makes the dual constraint |lam^T (Xu)_+|_inf <= beta, one gauge for every output, and the loss is a sum
    over the outputs: the problem falls apart. Its networks are networks for weight decay too, with the same objective,
    so that `value` is never below the optimum of weight decay, and above it wherever sharing neurons pays.

    Parameters
    ----------
    X : array of shape (n, d)
        Used as they are: no bias.
    Y : array of shape (n,) or (n, c)
    beta, tol, time_limit
        As for `extremal.fit`; the time is for each output.

    References
    ----------
    Ergen & Pilanci (JMLR 2021), section 4.5.5.
    """
    problem = Problem.from_data(X, Y, beta=beta, bias="none")
    fits = [fit_problem(single, tol=tol, time_limit=time_limit) for single in _singles(problem)]
    c = len(fits)
    hidden = np.hstack([fit.network.hidden for fit in fits])
    output = np.vstack([fit.network.output * np.eye(c)[k] for k, fit in enumerate(fits)])
    return SeparateOutputs(
        network=Network(hidden, output),
        value=sum(fit.certificate.primal for fit in fits),
        dual_value=sum(fit.certificate.dual for fit in fits),
        lam=np.hstack([fit.certificate.lam for fit in fits]),
        certificates=tuple(fit.certificate for fit in fits),
    )


def compare_penalties(X: ArrayLike, Y: ArrayLike, *, beta: float) -> PenaltyComparison:
    """What the finite convex programs for several outputs solve, over all cells of X, next to the true problem.

    CRONOS and scnn penalise sum_k sum_l |u_kl|, a group for every pattern and output: that is `separate_outputs`, not
    weight decay. The true penalty of a pattern is a nuclear norm over its cone (`copositive_program`). Always

        gated <= relu <= separate   and   gated <= gated_separate <= separate.

    Parameters
    ----------
    X : array of shape (n, d)
        With at most 200 cells.
    Y : array of shape (n, c)
    beta : float

    Raises
    ------
    ValueError
        If the data are unusable or have too many cells.
    """
    cells = arrangements(X)
    if cells.count > MOST_CELLS:
        raise ValueError(f"X has {cells.count} cells; the programs are for at most {MOST_CELLS}")
    patterns = cells.patterns.unpack()
    problem = Problem.from_data(X, Y, beta=beta, bias="none")
    true = copositive_program(X, Y, beta=beta)
    singles = list(_singles(problem))
    return PenaltyComparison(
        relu=true.value,
        relu_bound=true.bound,
        separate=sum(pattern_program(single, patterns).value for single in singles),
        gated=nuclear_program(X, Y, beta=beta, patterns=patterns).value,
        gated_separate=sum(gated_program(single, patterns).value for single in singles),
        linear=nuclear_program(X, Y, beta=beta).value,
        cells=len(patterns),
    )


def _singles(problem: Problem) -> list[Problem]:
    """The problem of every output."""
    loss = problem.loss
    return [
        Problem(problem.design, type(loss)(loss.target[:, [k]], loss.weight), problem.beta)
        for k in range(loss.shape[1])
    ]
