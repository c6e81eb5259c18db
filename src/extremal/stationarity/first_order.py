"""Clarke's subdifferential and the steepest descent of the whole objective, neuron by neuron."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from extremal.design import Array
from extremal.network import Network
from extremal.problem import Problem
from extremal.stationarity.kinks import Descent, Kinks, Ties


@dataclass(frozen=True, eq=False)
class FirstOrder:
    """The objective to first order at a network, in normal form: P' is a sum over neurons and the intercept.

    Attributes
    ----------
    ties : list of Ties; kinks : list of Kinks
        One for each neuron.
    clarke : array (m,)
        Each neuron's distance of 0 from Clarke's set of its hidden weights.
    descents : list of Descent
        The steepest descent of its hidden weights.
    output : array (m, c)
        The negative gradient in the output weights, lam^T (X w_j)_+ - beta a_j.
    intercept : array (c,)
        That in a free intercept, sum_i lam_i; else zero.
    unit : array (m,)
        beta max(|w_j|, |a_j|), what the residuals are relative to; infinite for dead neurons, which do not count.
    dead : integer array
        The neurons with |w_j| and |a_j| below tol times the largest of all.
    beta : float
    """

    lam: Array
    ties: list[Ties]
    kinks: list[Kinks]
    clarke: Array
    descents: list[Descent]
    output: Array
    intercept: Array
    unit: Array
    dead: Array
    beta: float

    @classmethod
    def of(cls, problem: Problem, network: Network, *, tol: float, tie: float, deadline: float) -> FirstOrder:
        """Of a network of the problem, both in normal form; looking for descent ends soon after the deadline."""
        design, lam, beta = problem.design, problem.multiplier(network), problem.beta
        neurons = list(zip(network.hidden.T, network.output, strict=True))
        ties = [Ties.of(design, w, tie) for w, _ in neurons]
        kinks = [Kinks.of(design, lam, w, a, beta, t) for (w, a), t in zip(neurons, ties, strict=True)]
        size = neuron_sizes(network)
        dead = size <= tol * size.max(initial=0.0)
        return cls(
            lam=lam,
            ties=ties,
            kinks=kinks,
            clarke=np.array([k.clarke() for k in kinks]),
            descents=[k.descent(deadline) for k in kinks],
            output=np.maximum(design.forward(network.hidden), 0).T @ lam - beta * network.output,
            intercept=lam.sum(axis=0) * problem.intercept,
            unit=np.where(dead, np.inf, beta * size),
            dead=np.flatnonzero(dead),
            beta=beta,
        )

    @property
    def clarke_residual(self) -> float:
        return self._largest(self.clarke)

    @property
    def descent_residual(self) -> float:
        return self._largest(np.array([found.lower for found in self.descents]))

    @property
    def descent_bound(self) -> float:
        return self._largest(np.array([found.upper for found in self.descents]))

    @property
    def ties_of_living(self) -> Array:
        """The number of rows on each neuron's boundary, 0 for dead ones."""
        counts = np.array([int(ties.tied.sum()) for ties in self.ties], dtype=int)
        counts[self.dead] = 0
        return counts

    def _largest(self, inner: Array) -> float:
        """The largest relative residual: hidden weights, output weights, intercept."""
        outer = np.linalg.norm(self.output, axis=1)
        neurons = float((np.maximum(inner, outer) / self.unit).max(initial=0.0))
        return max(neurons, float(np.abs(self.intercept).max(initial=0.0)) / self.beta)

    def steepest(self) -> tuple[Array, Array]:
        """The steepest descent of the hidden weights (d, m), as long as it is steep, and that of the output weights."""
        columns = [found.lower * found.direction for found in self.descents]
        return np.column_stack(columns) if columns else np.zeros((0, 0)), self.output


def neuron_sizes(network: Network) -> Array:
    """max(|w_j|, |a_j|), shape (m,)."""
    return np.maximum(np.linalg.norm(network.hidden, axis=0), np.linalg.norm(network.output, axis=1))
