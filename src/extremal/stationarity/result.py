"""What kind of point a network is, and the way down if there is one."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

import numpy as np

from extremal.certificate import Certificate
from extremal.design import Array
from extremal.network import Network
from extremal.problem import Problem
from extremal.programs import ProgramResult, pattern_program
from extremal.stationarity.kinks import Ties


class Kind(Enum):
    """What kind of point a network is, from the weakest condition to the strongest."""

    NOT_STATIONARY = "not stationary: 0 is not in Clarke's subdifferential; gradient descent goes on from here"
    CLARKE_ONLY = (
        "Clarke stationary only: 0 is in Clarke's subdifferential, but because of ties of the wrong sign the objective "
        "falls at first order along the escape direction; no minimum of any kind is here"
    )
    UNDECIDED = (
        "undecided: no descent direction was found, but the ties of the wrong sign have too many cells to exclude one; "
        "a longer time_limit may decide it"
    )
    DIRECTIONAL = (
        "directionally stationary: the objective falls at first order in no direction; it is not proven to be globally "
        "optimal, and an escape, if one is given, is a new neuron that proves it is not"
    )
    GLOBAL = "globally optimal: the proven gap is within the tolerance"


class EscapeKind(Enum):
    """How an escape changes the network."""

    DIRECTION = "a step along the direction of steepest descent"
    NEURON = "a new neuron"


@dataclass(frozen=True, eq=False)
class Escape:
    """A network of lower objective, and how it was reached.

    Attributes
    ----------
    kind : EscapeKind
    hidden, output, intercept : arrays (d, k), (k, c), (c,)
        For DIRECTION the unit direction of all weights, k = m. For NEURON the unit weights u, v of one neuron, k = 1.
    slope : float
        The derivative of the objective along it at the network, negative. For NEURON it is that in |w| |a|, the neuron
        being (sqrt(step) u, sqrt(step) v): beta - |lam^T (Xu)_+|.
    step : float
        How far the line search went.
    network : Network
        What it reached; a new neuron takes the place of a neuron without weights if there is one.
    objective : float
        The objective of that network.
    decrease : float
        By how much it is lower; more than rounding may have changed in either value.
    """

    kind: EscapeKind
    hidden: Array
    output: Array
    intercept: Array
    slope: float
    step: float
    network: Network
    objective: float
    decrease: float


@dataclass(frozen=True, eq=False)
class Stationarity:
    """What kind of point of P = sum_i w_i loss + beta/2 (|W|^2 + |A|^2) a network is.

    Attributes
    ----------
    kind : Kind
    objective : float
        P at the network.
    clarke_distance : float
        The distance of 0 from Clarke's subdifferential of P, in the units of the weights.
    descent_rate : float
        max over unit directions of -P', the steepest descent; never below `clarke_distance`, and equal to it if no tie
        has the wrong sign. The network is directionally stationary if and only if it is 0.
    clarke_residual, descent_residual : float
        The same, the largest over the neurons, each relative to beta max(|w_j|, |a_j|) (for a free intercept
        |sum_i lam_i| / beta): no scaling of the data changes them, and they are what `tol` is compared with.
    descent_bound : float
        A proven upper bound on `descent_residual`; above it only if there were too many cells to visit.
    ties : integer array of shape (m,)
        The rows on each neuron's boundary (0 for dead ones).
    wrong : integer array of shape (m,)
        The lines among them that carry ties of the wrong sign: lam_i . a_j > 0, added up over parallel rows.
    dead : integer array
        The neurons with w_j = 0 and a_j = 0, or smaller than tol times the largest. They have no residual.
    local_minimum : bool or None
        Whether the network is a local minimum; None where the tests do not tell.
    escape : Escape or None
        A network that is better. None if none is known.
    certificate : Certificate
        The proven bounds on the global optimum.
    problem : Problem
    network : Network
    tie, tol : float
        The relative size of a pre-activation that counts as a tie, and of a residual that counts as zero.
    """

    kind: Kind
    objective: float
    clarke_distance: float
    descent_rate: float
    clarke_residual: float
    descent_residual: float
    descent_bound: float
    ties: Array
    wrong: Array
    dead: Array
    local_minimum: bool | None
    escape: Escape | None
    certificate: Certificate
    problem: Problem = field(repr=False)
    network: Network = field(repr=False)
    tie: float
    tol: float

    def signed_program(self, *, completions: bool = False, tol: float = 1e-8) -> ProgramResult:
        """The convex program over the network's own patterns, each with its neuron's sign only: an independent check.

        Its value is at most that of the balanced network, and equal to `objective` at every directionally stationary
        point without dead neurons. Dead neurons have no pattern.

        Parameters
        ----------
        completions : bool
            Which side of its boundary a neuron's ties are on: active for all of them, or (True) every choice that
            neurons nearby make. With all of them the value equals `objective` if and only if the network is
            directionally stationary.
        tol : float
            The relative gap from which on the program counts as solved.

        Raises
        ------
        ValueError
            If there are several outputs, or no neuron has weights in both layers.
        TooManyCells
            If the completions of a neuron are too many to be listed.
        """
        if self.network.n_outputs != 1:
            raise ValueError(f"the signed program is for one output; the network has {self.network.n_outputs}")
        normal, scaling = self.problem.normalised(rotate=False)
        net = scaling.inverse(self.network)
        patterns, signs = [np.zeros((0, normal.design.n), dtype=bool)], [np.zeros(0)]
        for j in np.setdiff1d(np.flatnonzero(net.strength), self.dead):
            w, a = net.hidden[:, j], net.output[j, 0]
            ties = Ties.of(normal.design, w, self.tie)
            sides = ties.cells(normal.design, w) if completions else np.ones((1, ties.tied.sum()), dtype=bool)
            own = np.repeat(ties.active[None], len(sides), axis=0)
            own[:, ties.tied] = sides
            patterns.append(own)
            signs.append(np.full(len(own), np.sign(a)))
        if len(patterns) == 1:
            raise ValueError("no neuron has weights in both layers, so there is no pattern")
        return pattern_program(self.problem, np.vstack(patterns), np.concatenate(signs), tol=tol)

    def __str__(self) -> str:
        local = {True: "yes", False: "no", None: "not decided"}[self.local_minimum]
        lines = [
            f"objective of the network   {self.objective:.10g}",
            f"no network can be below    {self.certificate.dual:.10g}",
            f"Clarke residual            {self.clarke_residual:.1e} (distance {self.clarke_distance:.1e})",
            f"descent residual           {self.descent_residual:.1e} (rate {self.descent_rate:.1e})",
            f"ties (wrong sign)          {self.ties.sum()} ({self.wrong.sum()})",
            f"dead neurons               {self.dead.size}",
            f"local minimum              {local}",
        ]
        if self.escape is not None:
            lines.append(f"escape                     {self.escape.objective:.10g} by {self.escape.kind.value}")
        return "\n".join([*lines, f"kind                       {self.kind.value}"])
