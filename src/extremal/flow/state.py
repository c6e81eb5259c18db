"""The neurons of a network in log-norm coordinates, in which a flow to infinity neither under- nor overflows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from extremal.design import Array
from extremal.network import Network

#: A neuron whose |b| / |w| is this close to one is balanced.
ROUNDING = 8 * np.finfo(np.float64).eps


@dataclass(eq=False)
class State:
    """f(x) = sum_i b_i (w_i . x)_+ with w_i = e^(a_i) v_i and b_i = kappa_i |w_i|.

    Attributes
    ----------
    directions : array of shape (m, d)
        The unit vectors v_i = w_i / |w_i|, a row for each neuron.
    log_norms : array of shape (m,)
        a_i = log |w_i|, finite.
    ratios : array of shape (m,)
        kappa_i = b_i / |w_i|; +1 or -1 for a balanced neuron.
    """

    directions: Array
    log_norms: Array
    ratios: Array

    def __post_init__(self) -> None:
        self.directions = np.asarray(self.directions, dtype=np.float64)
        self.log_norms = np.asarray(self.log_norms, dtype=np.float64)
        self.ratios = np.asarray(self.ratios, dtype=np.float64)
        if self.directions.ndim != 2 or not self.log_norms.shape == self.ratios.shape == self.directions.shape[:1]:
            raise ValueError(
                "directions must be (m, d), log_norms and ratios (m,); their shapes are "
                f"{self.directions.shape}, {self.log_norms.shape} and {self.ratios.shape}"
            )
        if not all(np.isfinite(part).all() for part in (self.directions, self.log_norms, self.ratios)):
            raise ValueError("the state has entries that are NaN or infinite")

    @classmethod
    def of_network(cls, network: Network) -> State:
        """The state of a network of one output without intercept; neurons whose hidden weights are zero are dropped.

        They compute nothing, and with relu'(0) = 0 no gradient ever moves them.

        Raises
        ------
        ValueError
            If the network has several outputs or an intercept.
        """
        if network.n_outputs != 1 or np.any(network.intercept):
            raise ValueError("the flow is that of networks of one output without intercept")
        return cls.of_weights(network.hidden.T, network.output[:, 0])

    @classmethod
    def of_weights(cls, hidden: Array, output: Array) -> State:
        """The state of the rows w_i of `hidden` (m, d) and the output weights b_i (m,); rows of zeros are dropped."""
        largest = np.abs(hidden).max(axis=1, initial=0.0)
        alive = largest > 0
        exponent = np.frexp(largest[alive])[1]
        scaled = np.ldexp(hidden[alive], -exponent[:, None])  # squares of the entries neither under- nor overflow
        size = np.linalg.norm(scaled, axis=1)
        with np.errstate(over="ignore"):
            ratios = np.ldexp(output[alive] / size, -exponent)
        balanced = np.abs(np.abs(ratios) - 1) <= ROUNDING  # stays so; a rounding error would grow while it shrinks
        ratios = np.where(balanced, np.sign(ratios), ratios)
        return cls(scaled / size[:, None], np.log(size) + exponent * np.log(2.0), ratios)

    @property
    def width(self) -> int:
        """The number of neurons m."""
        return self.directions.shape[0]

    @property
    def d(self) -> int:
        return self.directions.shape[1]

    @property
    def signs(self) -> Array:
        """sign(b_i), constant along the flow where |b_i| >= |w_i|."""
        return np.sign(self.ratios)

    @property
    def log_size(self) -> float:
        """log |theta|^2 = log sum_i (|w_i|^2 + b_i^2)."""
        return float(np.logaddexp.reduce(2 * self.log_norms + np.log1p(self.ratios**2)))

    @property
    def invariants(self) -> Array:
        """|w_i|^2 - b_i^2, constant along the flow, shape (m,)."""
        return np.exp(2 * self.log_norms) * (1 - self.ratios) * (1 + self.ratios)

    def network(self, log_scale: float = 0.0, *, bias: bool = False) -> Network:
        """The network of weights e^(log_scale) w_i and e^(log_scale) b_i; `bias` if the last feature is the constant 1.

        Raises
        ------
        ValueError
            If a weight overflows.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            norms = np.exp(self.log_norms + log_scale)
            return Network((self.directions * norms[:, None]).T, self.ratios * norms, bias=bias)

    def copy(self) -> State:
        return State(self.directions.copy(), self.log_norms.copy(), self.ratios.copy())


def random_start(d: int, width: int, scale: float, rng: np.random.Generator, balanced: bool = True) -> State:
    """A start of the given scale: directions uniform on the sphere, as many positive as negative outputs.

    The signs are in random order; at an odd width one sign, drawn at random, has one neuron more.

    Parameters
    ----------
    d, width : int
        The number of features (with the constant, if there is one) and of neurons.
    scale : float
        |w_i| = |b_i| = scale if balanced; otherwise |w_i| = scale chi_d / sqrt(d), as for Gaussian entries of variance
        scale^2 / d, and |b_i| = scale |N(0, 1)|.
    rng : numpy.random.Generator
    balanced : bool

    Raises
    ------
    ValueError
        If d or width are not positive, or scale is not positive and finite.
    """
    if d < 1 or width < 1:
        raise ValueError(f"a start needs at least one feature and one neuron, not d = {d} and width = {width}")
    if not (np.isfinite(scale) and scale > 0):
        raise ValueError(f"the scale of the start must be positive and finite, not {scale!r}")
    weights = rng.standard_normal((width, d))
    sizes = np.linalg.norm(weights, axis=1)
    alternating = np.where((np.arange(width) + rng.integers(2)) % 2 == 0, 1.0, -1.0)
    signs = rng.permutation(alternating)
    log_norms = np.full(width, np.log(scale))
    if balanced:
        return State(weights / sizes[:, None], log_norms, signs)
    log_norms += np.log(sizes / np.sqrt(d))
    return State(weights / sizes[:, None], log_norms, signs * np.abs(rng.standard_normal(width)) * np.sqrt(d) / sizes)
