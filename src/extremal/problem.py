"""The training problem: data, loss and penalty, with its primal and dual objective and its normal form."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize_scalar

from extremal.design import Array, Design
from extremal.losses import Loss, bind
from extremal.network import Network

Bias = Literal["penalized", "none"]


@dataclass(frozen=True, eq=False)
class Problem:
    """min over networks of  sum_i w_i loss(f(x_i), y_i) + beta/2 (|W|_F^2 + |A|_F^2).

    In convex form, with unit directions u_j and outer weights v_j, the penalty is beta sum_j |v_j|, and the dual is
    max D(lam) subject to g(lam) <= beta (and sum_i lam_i = 0 if the output intercept is free).

    Attributes
    ----------
    design : Design
        X, with the column of ones if the hidden bias is penalised.
    loss : Loss
    beta : float
        The penalty, positive.
    bias : bool
        Whether the last column of the design is the column of ones.
    intercept : bool
        Whether the outputs have an unpenalised intercept.
    left_out : array of shape (n,), optional
        The length of what this normal form has lost of every row of the data; nothing by default.
    """

    design: Design
    loss: Loss
    beta: float
    bias: bool = False
    intercept: bool = False
    left_out: Array | None = None

    @classmethod
    def from_data(
        cls,
        X: ArrayLike,
        y: ArrayLike,
        *,
        beta: float,
        loss: str | Loss = "squared",
        bias: Bias = "penalized",
        intercept: bool = False,
        sample_weight: ArrayLike | None = None,
    ) -> Problem:
        """Check everything a user gives and bind it together; raises ValueError with what is wrong."""
        if bias not in ("penalized", "none"):
            raise ValueError(f"bias must be 'penalized' or 'none', not {bias!r}")
        design = Design.from_data(X, bias=bias == "penalized")
        bound = bind(loss, y, sample_weight)
        if bound.shape[0] != design.n:
            raise ValueError(f"X has {design.n} rows and y has {bound.shape[0]}")
        problem = cls(design, bound, positive(beta, "beta"), bias == "penalized", intercept)
        problem.zero_network  # noqa: B018  (an intercept without a finite optimum is refused here)
        return problem

    def value(self, network: Network) -> float:
        """The objective of a network that belongs to this design."""
        return self.loss.value(network.evaluate(self.design)) + self.beta * network.penalty()

    @cached_property
    def zero_network(self) -> Network:
        """The network without neurons, with the best intercept if it is free."""
        zero = Network.zero(self.design.d - self.bias, self.loss.shape[1], bias=self.bias)
        return self.with_best_intercept(zero)

    @cached_property
    def zero_value(self) -> float:
        """The objective of the zero network, the worst that an optimal network can have."""
        return self.value(self.zero_network)

    def with_best_intercept(self, network: Network) -> Network:
        """The network with the output intercept that minimises the loss, if the intercept is free."""
        if not self.intercept:
            return network
        outputs = network.evaluate(self.design) - network.intercept
        best = best_intercept(self.loss, outputs, network.intercept)
        return Network(network.hidden, network.output, best, bias=network.bias)

    def multiplier(self, network: Network) -> Array:
        """lam = -grad loss at the network's outputs, shape (n, c)."""
        return self.loss.dual(network.evaluate(self.design))

    def dual_point(self, lam: Array, gauge_upper: float) -> tuple[Array, float]:
        """The best dual-feasible multiple of lam and its value, a lower bound on the optimum of the problem.

        Parameters
        ----------
        lam : array (n, c) in the dual domain (columns summing to zero if the intercept is free)
        gauge_upper : a proven upper bound on g(lam)

        Notes
        -----
        t lam is feasible for 0 <= t <= beta / g(lam); D is concave, and maximised over that interval. The value is
        lowered by a bound on the rounding of its own evaluation: that of a sum of n numbers, and that of <lam, y>,
        where a free intercept makes lam sum to zero and what is common to all targets cancels.
        """
        if not gauge_upper >= 0:
            raise ValueError(f"a gauge is bounded by a nonnegative number, not {gauge_upper!r}")
        if self.left_out is not None:
            gauge_upper += float(self.left_out @ np.linalg.norm(lam, axis=1))
        longest = self.beta / gauge_upper if gauge_upper > self.beta * 1e-3 else 1e3

        def value(t: float) -> float:
            return self.loss.dual_value(t * lam)

        search = minimize_scalar(
            lambda t: -max(value(t), -1e300),
            bounds=(0.0, longest),
            method="bounded",
            options={"xatol": 1e-12},
        )
        best = max((0.0, min(1.0, longest), longest, float(search.x)), key=value)
        size = np.sqrt(self.design.n) * max(abs(self.zero_value), abs(value(best)))
        size += best * float(np.abs(lam).sum(axis=0) @ np.abs(self.loss.target).max(axis=0))
        return best * lam, float(value(best) - 8 * np.finfo(float).eps * size)

    def normalised(self, *, rotate: bool = True) -> tuple[Problem, Scaling]:
        """An equivalent problem in normal form, and the way back.

        The rows of X have norm at most about one, targets and total weight are of order one, and X has full column
        rank. All factors are powers of two, so nothing is rounded but the rotation into the row space, and what that
        costs every row is kept as `left_out`; without it the features, and what a network has outside the row space,
        stay as they are.
        """
        stretch = self.design.magnitude
        unit, tau, scale = self.loss.normalised()
        scaled = self.design.scaled(1.0 / stretch)
        design, basis = scaled.row_space() if rotate else (scaled, None)
        beta = self.beta * (tau / scale) / stretch
        if not (np.isfinite(beta) and beta > 1e-280):
            raise ValueError("beta is too small or too large for the scale of X, y and the weights; rescale the data")
        scaling = Scaling(stretch=stretch, tau=tau, scale=scale, basis=basis, bias=self.bias)
        lost = None
        if basis is not None:
            lost = np.linalg.norm(scaled.dense() - design.dense() @ basis.T, axis=1)
            lost += 4 * np.finfo(float).eps * np.sqrt(self.design.d) * scaled.row_norms
        return Problem(design, unit, beta, intercept=self.intercept, left_out=lost), scaling


@dataclass(frozen=True, eq=False)
class Scaling:
    """The way back from a problem in normal form: X = stretch X' V^T, f = tau f', loss = scale loss'."""

    stretch: float
    tau: float
    scale: float
    basis: Array | None
    bias: bool

    def network(self, network: Network) -> Network:
        """The original problem's network for one of the normal form."""
        root = np.sqrt(self.tau) / np.sqrt(self.stretch)
        hidden = self.directions(network.hidden) * root
        return Network(hidden, network.output * root, network.intercept * self.tau, bias=self.bias)

    def directions(self, U: Array) -> Array:
        """Neuron directions (d, m) in the original features."""
        return U if self.basis is None else self.basis @ U

    def inverse(self, network: Network) -> Network:
        """The normal form's network for one of the original problem."""
        root = np.sqrt(self.stretch) / np.sqrt(self.tau)
        hidden = network.hidden if self.basis is None else self.basis.T @ network.hidden
        return Network(hidden * root, network.output * root, network.intercept / self.tau)

    def value(self, value: float) -> float:
        """An objective of the original problem."""
        return self.scale * value

    def multiplier(self, lam: Array) -> Array:
        """A dual variable of the original problem."""
        return lam * (self.scale / self.tau)

    def gauge(self, value: float) -> float:
        """A gauge of the original problem."""
        return value * (self.scale / self.tau) * self.stretch


def best_intercept(loss: Loss, outputs: Array, start: Array) -> Array:
    """argmin over b of loss(outputs + b), a convex function of c variables.

    Damped Newton steps, and bisection where they end early because the loss has no curvature there (Huber).

    Raises
    ------
    ValueError
        If there is no minimiser: a class without a sample.
    """
    if not loss.holds_intercept:
        raise ValueError(
            "an unpenalised intercept has no finite optimum here: there is only one class, or one is missing"
        )
    b = np.array(start, dtype=np.float64)
    value = loss.value(outputs + b)
    for _ in range(200):
        gradient = -loss.dual(outputs + b).sum(axis=0)
        hessian = loss.curvature(outputs + b).sum(axis=0)
        size = float(np.abs(hessian).max())
        if size == 0.0:
            break
        step = np.linalg.lstsq(hessian + 1e-14 * size * np.eye(b.size), -gradient, rcond=1e-12)[0]
        slope = float(gradient @ step)
        if slope > -1e-30:
            break
        t = 1.0
        while t > 1e-12 and loss.value(outputs + (b + t * step)) > value + 1e-4 * t * slope:
            t *= 0.5
        trial = loss.value(outputs + (b + t * step))
        if trial >= value:
            break
        b, value = b + t * step, trial
    lam = loss.dual(outputs + b)
    if loss.separable and np.any(np.abs(lam.sum(axis=0)) > 1e-12 * np.abs(lam).sum(axis=0)):
        bisected = _bisected_intercept(loss, outputs, b)
        return bisected if loss.value(outputs + bisected) < value else b
    return b


def _bisected_intercept(loss: Loss, outputs: Array, start: Array) -> Array:
    """The root of sum_i lam_i, which falls in b, column by column."""
    reach = 2.0 * float(np.abs(loss.target - outputs - start).max()) or 1.0
    low, high = start - reach, start + reach
    for _ in range(2000):
        middle = 0.5 * (low + high)
        if np.all((middle == low) | (middle == high)):
            break
        rises = loss.dual(outputs + middle).sum(axis=0) > 0
        low, high = np.where(rises, middle, low), np.where(rises, high, middle)
    return high


def positive(value: float, name: str) -> float:
    """The number; raises ValueError for one that is not positive and finite."""
    number = float(value)
    if not (np.isfinite(number) and number > 0):
        raise ValueError(f"{name} must be positive and finite, not {value!r}")
    return number
