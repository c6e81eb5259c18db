"""The gauge from above for data of any size: Shor's relaxation, through its dual and without second derivatives.

On |u| <= 1, with z_i = x_i^T u and any w_i > 0, gamma_i >= 0, |s_i| + gamma_i <= 1, |g_i| <= 1,

    (z_i)_+  <=  z_i / 2 + (w_i z_i^2 + 1 / w_i) / 4                         for the rows of positive weight,
    (z_i)_+  >=  (1 + s_i) z_i / 2 + gamma_i (g_i^T u) z_i / 2               for the others,

the second because |z_i| >= s_i z_i + gamma_i |g_i^T u| |z_i|. So f(u) <= constant + l^T u + u^T G u, and

    m  <=  constant + min over nu, nu I - G positive semidefinite, of  nu + l^T (nu I - G)^+ l / 4.

Any multipliers give a bound. They are improved by a quasi-Newton method on the bound smoothed by
-mu logdet(nu I - G), whose gradient is that of a primal point (u, U), U = u u^T + mu (nu I - G)^{-1}; at the
optimum several eigenvalues of nu I - G vanish, so the bound itself is not smooth there. With g_i = x_i this
is Shor's relaxation; free g_i make it stronger.

The interior-point method of `interior` finds the same bound more precisely where its Newton matrix, of order d^2 / 2,
is not too large.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from extremal.design import Array
from extremal.gauge.bounds import GaugeStatus, SideBound
from extremal.gauge.sides import EPS, Side, one_thread

#: The largest |log w_i|.
WIDEST = 12.0

#: The smoothing mu of the rounds, as fractions of bound / d.
SMOOTHING = (0.1, 0.02, 0.004, 0.001)


@dataclass(frozen=True, eq=False)
class Quadratic:
    """constant + l^T u + u^T G u, a majorant of f on the unit ball."""

    constant: float
    linear: Array
    matrix: Array


@dataclass(frozen=True, eq=False)
class Multipliers:
    """log w_i for the rows of positive weight; for the others alpha_i, beta_i and v_i.

    g_i = v_i / |v_i|, and s_i = p_1 - p_0, gamma_i = p_2 for the probabilities p of the logits
    -alpha_i, alpha_i, beta_i: every vector of multipliers is allowed.
    """

    log_w: Array
    alpha: Array
    beta: Array
    v: Array

    @cached_property
    def w(self) -> Array:
        return np.exp(np.clip(self.log_w, -WIDEST, WIDEST))

    @cached_property
    def probabilities(self) -> Array:
        logits = np.stack([-self.alpha, self.alpha, self.beta])
        powers = np.exp(logits - logits.max(axis=0))
        return powers / powers.sum(axis=0)

    @property
    def s(self) -> Array:
        return self.probabilities[1] - self.probabilities[0]

    @property
    def gamma(self) -> Array:
        return self.probabilities[2]

    @cached_property
    def size(self) -> Array:
        return np.maximum(np.linalg.norm(self.v, axis=1, keepdims=True), 1e-300)

    @cached_property
    def g(self) -> Array:
        return self.v / self.size


class Relaxation:
    """The relaxation of one side: the majorant of given multipliers, its bound, and the gradient of that."""

    def __init__(self, side: Side, deadline: float | None) -> None:
        convex = side.weights > 0
        self.side = side
        self.deadline = deadline
        self.A, self.a = side.rows[convex], side.weights[convex]
        self.B, self.b = side.rows[~convex], -side.weights[~convex]
        self.best, self.best_point = np.inf, self.start()
        self.u = np.zeros(side.rank)

    def start(self) -> Array:
        """w_i = 2, s_i = 0, gamma_i = 1/2, g_i = x_i."""
        zeros = np.zeros(self.b.size)
        return np.concatenate([np.full(self.a.size, np.log(2.0)), zeros, zeros + np.log(2.0), self.B.ravel()])

    def curvature(self) -> Array:
        """The scale of the second derivatives, (a, b, b, b): the metric of the descent."""
        scale = np.concatenate([self.a, self.b, self.b, np.repeat(self.b, self.side.rank)])
        return np.maximum(scale, 1e-6 * scale.max())

    def split(self, flat: Array) -> Multipliers:
        log_w, alpha, beta, v = np.split(flat, np.cumsum([self.a.size, self.b.size, self.b.size]))
        return Multipliers(log_w, alpha, beta, v.reshape(self.B.shape))

    def majorant(self, y: Multipliers) -> Quadratic:
        """The quadratic majorant of f that the multipliers define."""
        linear = self.side.linear + self.A.T @ (self.a / 2) - self.B.T @ (self.b * (1 + y.s) / 2)
        mixed = (self.B.T * (self.b * y.gamma / 4)) @ y.g
        matrix = (self.A.T * (self.a * y.w / 4)) @ self.A - mixed - mixed.T
        return Quadratic(float((self.a / y.w).sum()) / 4, linear, matrix)

    def smoothed(self, flat: Array, mu: float) -> tuple[float, Array]:
        """The smoothed bound and its gradient; keeps the multipliers with the best unsmoothed bound."""
        if self.deadline is not None and time.monotonic() > self.deadline:
            raise TimeoutError
        y = self.split(flat)
        quadratic = self.majorant(y)
        eigenvalues, Q = np.linalg.eigh(quadratic.matrix)
        rotated = Q.T @ quadratic.linear / 2
        bound = quadratic.constant + secular(eigenvalues, rotated, 0.0)[1]
        if bound < self.best:
            self.best, self.best_point = bound, flat.copy()
        nu, value = secular(eigenvalues, rotated, mu)
        inverse = 1.0 / (nu - eigenvalues)
        self.u = Q @ (rotated * inverse)
        U = np.outer(self.u, self.u) + (Q * (mu * inverse)) @ Q.T
        return quadratic.constant + value, self.gradient(y, self.u, U)

    def gradient(self, y: Multipliers, u: Array, U: Array) -> Array:
        """The derivative of the bound in the multipliers, at the primal point (u, U)."""
        d_log_w = self.a / 4 * (y.w * np.einsum("ij,ij->i", self.A @ U, self.A) - 1 / y.w)
        z, BU = self.B @ u, self.B @ U
        square = np.einsum("ij,ij->i", BU, y.g)
        gains = np.stack([-z, z, square])
        d_logits = y.probabilities * (gains - (y.probabilities * gains).sum(axis=0)) * (-self.b / 2)
        d_v = (-self.b / 2 * y.gamma)[:, None] * (BU - square[:, None] * y.g) / y.size
        return np.concatenate([d_log_w, d_logits[1] - d_logits[0], d_logits[2], d_v.ravel()])

    def certified(self, flat: Array) -> float:
        """The bound of the multipliers, with an allowance for every rounding.

        With A = nu I - G proven positive semidefinite by a Cholesky factorisation of A - shift I, and any v,
        l^T u - u^T A u <= v^T A v + 2 |l / 2 - A v| for |u| <= 1.
        """
        y = self.split(flat)
        quadratic = self.majorant(y)
        d = self.side.rank
        size = abs(quadratic.constant) + float(np.linalg.norm(quadratic.linear)) + self.matrix_size(y)
        shift = (self.side.rounding + 4 * (d + 8) ** 2 * EPS) * size
        eigenvalues, Q = np.linalg.eigh(quadratic.matrix)
        rotated = Q.T @ quadratic.linear / 2
        nu = secular(eigenvalues, rotated, 0.0)[0] + 2 * shift
        while True:
            A = nu * np.eye(d) - quadratic.matrix
            try:
                np.linalg.cholesky(A - shift * np.eye(d))
                break
            except np.linalg.LinAlgError:
                nu += 4 * shift
        v = Q @ (rotated / (nu - eigenvalues))
        defect = float(np.linalg.norm(quadratic.linear / 2 - A @ v))
        value = quadratic.constant + nu + float(v @ A @ v) + 2 * defect
        return max(value, 0.0) + 4 * shift + self.side.rounding

    def matrix_size(self, y: Multipliers) -> float:
        """A bound on the sum of the norms of the terms of G."""
        return float((self.a * y.w).sum() / 4 + (self.b * y.gamma).sum() / 2)


def secular(eigenvalues: Array, rotated: Array, mu: float) -> tuple[float, float]:
    """(nu, value) of the minimum of nu + sum rotated^2 / (nu - eigenvalues) - mu sum log(nu - eigenvalues).

    The derivative 1 - sum (rotated / (nu - e))^2 - mu sum 1 / (nu - e) increases in nu: safeguarded Newton
    steps.
    """
    top = float(eigenvalues[-1])
    gaps = top - eigenvalues
    squares = rotated * rotated
    high = float(np.sqrt(squares.sum())) + mu * gaps.size
    low = 0.0
    scale = max(high, abs(top), 1e-300)
    if mu == 0.0:
        low = 1e-14 * scale
        if high <= low:
            return top + low, top + low + float((squares / (low + gaps)).sum())
    delta = high
    for _ in range(100):
        inverse = 1.0 / (delta + gaps)
        weighted = squares * inverse * inverse
        slope = 1.0 - float(weighted.sum()) - mu * float(inverse.sum())
        curvature = 2 * float((weighted * inverse).sum()) + mu * float((inverse * inverse).sum())
        if slope > 0:
            high = delta
        else:
            low = delta
        step = delta - slope / curvature if curvature > 0 else low
        if not low < step < high:
            step = low + (high - low) / 2 if low > 0 else high / 16
        if abs(step - delta) <= 1e-13 * delta or high - low <= 1e-13 * high:
            break
        delta = step
    delta = max(delta, 1e-14 * scale if mu == 0.0 else 1e-300)
    value = top + delta + float((squares / (delta + gaps)).sum())
    return top + delta, value - (mu * float(np.log(delta + gaps).sum()) if mu > 0 else 0.0)


def descend(
    function: Callable[[Array], tuple[float, Array]], x: Array, metric: Array, *, steps: int, progress: float
) -> Array:
    """A minimiser by L-BFGS in a diagonal metric, until five steps gain less than `progress`."""
    value, gradient = function(x)
    history: list[tuple[Array, Array, float]] = []
    values = [value]
    for _ in range(steps):
        direction = -quasi_newton(gradient, history, metric)
        slope = float(direction @ gradient)
        if slope >= 0.0:
            break
        length = 1.0 if history else min(1.0, abs(value) / -slope)
        for _ in range(20):
            trial = x + length * direction
            new_value, new_gradient = function(trial)
            if new_value <= value + 1e-4 * length * slope:
                break
            curve = 2 * (new_value - value - length * slope)
            length *= min(max(-length * slope / curve, 0.1), 0.5)
        else:
            break
        change, difference = trial - x, new_gradient - gradient
        product = float(change @ difference)
        if product > 1e-10 * float(np.linalg.norm(change) * np.linalg.norm(difference)):
            history = [*history[-9:], (change, difference, product)]
        x, value, gradient = trial, new_value, new_gradient
        values.append(value)
        if len(values) > 5 and values[-6] - value < progress:
            break
    return x


def quasi_newton(gradient: Array, history: list[tuple[Array, Array, float]], metric: Array) -> Array:
    """The inverse Hessian of the L-BFGS recursion times the gradient."""
    result = gradient.copy()
    steps = []
    for change, difference, product in reversed(history):
        factor = float(change @ result) / product
        result -= factor * difference
        steps.append(factor)
    result /= metric
    if history:
        _, difference, product = history[-1]
        result *= product / float(difference @ (difference / metric))
    for (change, difference, product), factor in zip(history, reversed(steps), strict=True):
        result += (factor - float(difference @ result) / product) * change
    return result


def relaxed_bound(side: Side, *, deadline: float | None = None, target: float = 0.0, steps: int = 150) -> SideBound:
    """m <= upper by the relaxation; a first bound is at hand at once, and later ones are better.

    Parameters
    ----------
    side : Side
    deadline : float, optional
        A time of time.monotonic() at which to stop.
    target : float
        Stop at the round that brings the bound below it.
    steps : int
        The quasi-Newton steps of a round.

    Returns
    -------
    SideBound
        With the value at the best primal direction as the lower bound.
    """
    relaxation, status = minimised(side, deadline=deadline, target=target, steps=steps)
    u = relaxation.u
    return SideBound(max(side.value(u), 0.0), relaxation.certified(relaxation.best_point), u, status)


def minimised(
    side: Side, *, deadline: float | None = None, target: float = 0.0, steps: int = 150
) -> tuple[Relaxation, GaugeStatus]:
    """The relaxation with the best multipliers that were found, and how the search for them ended."""
    relaxation = Relaxation(side, None)
    x, metric = relaxation.start(), relaxation.curvature()
    relaxation.smoothed(x, 1.0 / side.rank)
    relaxation.deadline = deadline
    status = GaugeStatus.RELAXATION
    try:
        with one_thread().limit(limits=1, user_api="blas"):
            for fraction in SMOOTHING:
                if relaxation.best <= target - 16 * side.rounding:
                    break
                mu = fraction * relaxation.best / side.rank
                x = descend(
                    lambda point: relaxation.smoothed(point, mu),  # noqa: B023  (used within the round only)
                    x,
                    metric,
                    steps=steps,
                    progress=0.02 * fraction * relaxation.best,
                )
    except TimeoutError:
        status = GaugeStatus.TIME_LIMIT
    except KeyboardInterrupt:
        status = GaugeStatus.INTERRUPTED
    return relaxation, status
