"""A one-layer ReLU generator against a linear discriminator: gradient descent-ascent is a linear recursion."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq

from extremal.closed_forms.rows import positive
from extremal.design import Array

#: Eigenvalues of V V^T below this share of the largest one count as zero.
NEGLIGIBLE = 1e-12


@dataclass(frozen=True, eq=False)
class GeneratorDynamics:
    """Simultaneous gradient descent-ascent on min over W max over delta of

        delta . (mean - g(W)) - 1/2 |delta|^2,    g(W) = E V (W z)_+,  z ~ N(0, sigma^2 I).

    g(W) = c V (|w_1|, ..., |w_k|) with c = sigma / sqrt(2 pi). The gradient with respect to w_i is along w_i, so that
    directions never change, and as long as no norm reaches zero r = mean - g(W) and delta follow exactly

        r <- r - eta K delta,    delta <- delta + mu (r - delta),    K = c^2 V V^T,

    which does not depend on W. On an eigenvector of K to kappa it is a 2 x 2 matrix with the characteristic polynomial
    s^2 - (2 - mu) s + 1 - mu + mu eta kappa: it contracts if and only if 0 < eta kappa < 1, mu > 0 and
    mu (2 - eta kappa) < 4, at the best rate |1 - mu / 2| for eta kappa = mu / 4.

    Attributes
    ----------
    decoder : array V of shape (p, k)
    sigma : float
        The standard deviation of z.
    eta, mu : float
        The steps of the generator and of the discriminator.

    Notes
    -----
    The convergence of gradient descent-ascent for this game is due to Balaji, Sajedi, Kalibhat, Ding, Stoeger,
    Soltanolkotabi & Feizi (ICLR 2021). The exact recursion was derived for this library.
    """

    decoder: Array
    sigma: float
    eta: float
    mu: float

    @property
    def c(self) -> float:
        return self.sigma / np.sqrt(2 * np.pi)

    @cached_property
    def _modes(self) -> tuple[Array, Array]:
        """The eigenvalues of K, ascending and not below zero, and its eigenvectors."""
        kappa, Q = np.linalg.eigh(self.c**2 * self.decoder @ self.decoder.T)
        return np.where(kappa > NEGLIGIBLE * kappa[-1], kappa, 0.0), Q

    @property
    def curvatures(self) -> Array:
        """The eigenvalues of K, shape (p,), ascending."""
        return self._modes[0]

    @property
    def radii(self) -> Array:
        """The spectral radius of the recursion on each eigenvector of K; 1 or more where it does not contract."""
        return mode_radius(self.eta * self.curvatures, self.mu)

    @property
    def radius(self) -> float:
        """The asymptotic rate on the range of V: the largest of `radii` over positive curvatures."""
        return float(self.radii[self.curvatures > 0].max())

    @property
    def is_stable(self) -> bool:
        """Whether the recursion contracts on the range of V."""
        return self.radius < 1

    def reachable(self, residual: ArrayLike) -> Array:
        """The part of mean - g(W) that can be removed: its projection on the range of V."""
        kappa, Q = self._modes
        return Q[:, kappa > 0] @ (Q[:, kappa > 0].T @ np.asarray(residual, dtype=np.float64))

    def residuals(self, residual: ArrayLike, delta: ArrayLike, steps: int) -> tuple[Array, Array]:
        """r_t and delta_t for t = 0, ..., steps, shape (steps + 1, p) each, from powers of the 2 x 2 matrices."""
        kappa, Q = self._modes
        state = np.stack([Q.T @ np.asarray(residual, float), Q.T @ np.asarray(delta, float)], axis=-1)
        matrices = np.empty((len(kappa), 2, 2))
        matrices[:] = [[1.0, 0.0], [self.mu, 1.0 - self.mu]]
        matrices[:, 0, 1] = -self.eta * kappa
        states = [state]
        for _ in range(steps):
            states.append(np.einsum("pij,pj->pi", matrices, states[-1]))
        path = np.array(states)
        return path[..., 0] @ Q.T, path[..., 1] @ Q.T

    def norms(self, start: ArrayLike, deltas: Array) -> Array:
        """|w_i| at every step, shape (steps + 1, k): the recursion is exact until the first of them reaches zero."""
        moves = self.eta * self.c * deltas[:-1] @ self.decoder
        return np.asarray(start, float) + np.vstack([np.zeros(self.decoder.shape[1]), np.cumsum(moves, axis=0)])

    def exact_steps(self, start: ArrayLike, deltas: Array) -> int:
        """For how many steps from these norms no neuron dies; all of them if none does."""
        dead = np.flatnonzero((self.norms(start, deltas) <= 0).any(axis=1))
        return int(dead[0]) - 1 if dead.size else len(deltas) - 1

    def __str__(self) -> str:
        kappa = self.curvatures[self.curvatures > 0]
        return "\n".join(
            [
                f"generator with {self.decoder.shape[1]} neurons for {self.decoder.shape[0]} features",
                f"curvatures                 {kappa.size} from {kappa[0]:.6g} to {kappa[-1]:.6g}",
                f"steps eta, mu              {self.eta:.6g}, {self.mu:.6g}",
                f"eta kappa                  {self.eta * kappa[0]:.6g} to {self.eta * kappa[-1]:.6g} (stable below 1)",
                f"rate                       {self.radius:.9f}{'' if self.is_stable else ', it does not converge'}",
            ]
        )


def generator_dynamics(
    V: ArrayLike, *, eta: float | None = None, mu: float = 0.5, sigma: float = 1.0
) -> GeneratorDynamics:
    """The dynamics of gradient descent-ascent for a generator V (Wz)_+ with fixed V: see `GeneratorDynamics`.

    Parameters
    ----------
    V : array of shape (p, k)
        Not zero.
    eta : float, optional
        The generator's step; by default the one of the best rate for this mu (`best_step`), which has to be below 2.
    mu : float
        The discriminator's step.
    sigma : float
        The standard deviation of the latent variable.

    Raises
    ------
    ValueError
        If V is not a finite matrix or zero, or a step or sigma is not positive; or mu is 2 or more and
        eta is not given.
    """
    decoder = np.asarray(V, dtype=np.float64)
    if decoder.ndim != 2 or not decoder.size or not np.isfinite(decoder).all() or not decoder.any():
        raise ValueError(f"V must be a finite matrix that is not zero; its shape is {decoder.shape}")
    mu, sigma = positive(mu, "mu"), positive(sigma, "sigma")
    dynamics = GeneratorDynamics(decoder, sigma, 1.0, mu)
    step = best_step(dynamics.curvatures, mu) if eta is None else positive(eta, "eta")
    return GeneratorDynamics(decoder, sigma, step, mu)


def best_step(curvatures: ArrayLike, mu: float) -> float:
    """The eta that minimises the rate max over kappa > 0, for a given mu in (0, 2).

    The radius falls with eta kappa up to mu / 4, and rises beyond it: the best eta makes the smallest and the largest
    curvature equally fast. With one curvature it is mu / (4 kappa).

    Raises
    ------
    ValueError
        If no curvature is positive, or mu is not in (0, 2).
    """
    kappa = np.asarray(curvatures, dtype=np.float64)
    kappa = kappa[kappa > 0]
    if kappa.size == 0:
        raise ValueError("no curvature is positive")
    low, high = float(kappa.min()), float(kappa.max())
    # with mu >= 2 the slow real root is negative, and the rate is no longer set by the smallest curvature alone
    if not 0 < mu < 2:
        raise ValueError(f"mu must be in (0, 2), where the rule holds; it is {mu}")
    left, right = mu / (4 * high), mu / (4 * low)

    def difference(eta: float) -> float:
        return float(mode_radius(eta * high, mu) - mode_radius(eta * low, mu))

    return left if low == high or difference(left) >= 0 else float(brentq(difference, left, right, xtol=1e-16 * right))


def mode_radius(step: ArrayLike, mu: ArrayLike) -> Array:
    """The larger modulus of the roots of s^2 - (2 - mu) s + 1 - mu + mu step, for step = eta kappa."""
    step, mu = np.asarray(step, dtype=np.float64), np.asarray(mu, dtype=np.float64)
    discriminant = mu * mu - 4 * mu * step
    real = (np.abs(2 - mu) + np.sqrt(np.maximum(discriminant, 0.0))) / 2
    return np.where(discriminant >= 0, real, np.sqrt(np.maximum(1 - mu + mu * step, 0.0)))


@dataclass(frozen=True, eq=False)
class GameRun:
    """Gradient descent-ascent as it was run on the weights.

    Attributes
    ----------
    hidden : array W of shape (k, q) at the end
    residuals, deltas : arrays of shape (steps + 1, p)
        mean - g(W), and the discriminator.
    norms : array of shape (steps + 1, k)
    """

    hidden: Array
    residuals: Array
    deltas: Array
    norms: Array

    def measured_rate(self, last: int = 50) -> float:
        """The factor by which (r, delta) shrank a step, over the last steps: from a line through their logarithms."""
        size = np.sqrt(np.sum(self.residuals**2 + self.deltas**2, axis=1))
        tail = np.log(size[-last - 1 :])
        return float(np.exp(np.polyfit(np.arange(tail.size), tail, 1)[0]))


def descend_ascend(
    dynamics: GeneratorDynamics,
    W: ArrayLike,
    mean: ArrayLike,
    *,
    steps: int,
    samples: int | None = None,
    random_state: int = 0,
) -> GameRun:
    """Gradient descent-ascent on all weights, with expectations over z or (with `samples`) averages over fresh ones.

    Parameters
    ----------
    W : array of shape (k, q)
        The generator's start, no row zero.
    mean : array of shape (p,)
        The mean of the data.
    steps : int
    samples : int, optional
        The size of a batch of z; None takes the expectation.

    Raises
    ------
    ValueError
        If shapes do not fit, numbers are not finite, a row of W is zero, steps is negative or samples not positive.
    """
    V, c, eta, mu = dynamics.decoder, dynamics.c, dynamics.eta, dynamics.mu
    hidden, target = np.array(W, dtype=np.float64), np.asarray(mean, dtype=np.float64)
    if steps < 0 or (samples is not None and samples < 1):
        raise ValueError(f"steps must not be negative and samples positive; they are {steps} and {samples}")
    if hidden.ndim != 2 or len(hidden) != V.shape[1] or target.shape != (len(V),):
        raise ValueError(f"with V {V.shape}, W must be ({V.shape[1]}, q) and mean ({len(V)},)")
    if not (np.isfinite(hidden).all() and np.isfinite(target).all()):
        raise ValueError("W and mean must be finite")
    if not np.linalg.norm(hidden, axis=1).all():
        raise ValueError("a row of W is zero: the gradient has no direction there")
    rng = np.random.default_rng(random_state)
    delta, record = np.zeros(len(V)), []
    for _ in range(steps + 1):
        size = np.linalg.norm(hidden, axis=1)
        if samples is None:
            features, slopes = c * size, c * hidden / size[:, None]
        else:
            z = dynamics.sigma * rng.standard_normal((samples, hidden.shape[1]))
            active = z @ hidden.T
            features, slopes = np.maximum(active, 0).mean(axis=0), (active > 0).T @ z / samples
        residual = target - V @ features
        record.append((residual, delta, size))
        hidden, delta = hidden + eta * (V.T @ delta)[:, None] * slopes, delta + mu * (residual - delta)
    residuals, deltas, norms = (np.array(part) for part in zip(*record, strict=True))
    return GameRun(hidden, residuals, deltas, norms)
