"""What another library trained, in Extremal's terms: the network, and the objective it was trained on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from extremal.conventions import WeightDecay
from extremal.design import Array
from extremal.losses import bind
from extremal.network import Network


@dataclass(frozen=True, eq=False)
class Imported:
    """A network of another library, and the objective that it was trained on as far as the library knows it.

        sum_i w_i loss(f(x_i), y_i) + 1/2 (hidden |W|^2 + hidden_bias |b|^2 + output |A|^2 + output_bias |c|^2),

    with w_i = factor s_i / sum(s) where the library takes the mean over the samples, w_i = factor s_i where it takes
    the sum; s are the user's sample weights, ones by default.

    Attributes
    ----------
    network : Network
        The same function. With hidden biases they are the last row of its `hidden`, and `bias` is True.
    decay : WeightDecay, or a function of s that gives one, optional
        A function where the library divides its penalty by the number of samples; see `decay_for`. None if it is not
        known.
    loss : str, optional
        "squared", "logistic", "softmax", "huber" or "squared_hinge"; None if it is not known.
    factor : float
        Of the loss in Extremal's units (1/2 r^2): 2 for a mean of r^2.
    mean : bool
        Whether the library takes the mean over the samples.
    source : str
        For messages: "torch.nn.Sequential", "MLPRegressor".
    classes : array, optional
        The labels of a classifier, in the order of its outputs.
    """

    network: Network
    decay: WeightDecay | Callable[[Array], WeightDecay] | None = None
    loss: str | None = None
    factor: float = 1.0
    mean: bool = True
    source: str = "arrays"
    classes: np.ndarray | None = None

    def sample_weight(self, n: int, given: ArrayLike | None = None) -> Array:
        """The weight of every sample's loss in the objective, shape (n,); `given` are the user's sample weights."""
        weight = _weights(n, given)
        return self.factor * weight / weight.sum() if self.mean else self.factor * weight

    def decay_for(self, n: int, given: ArrayLike | None = None) -> WeightDecay | None:
        """The penalty for n samples, with the sample weights `given`."""
        return self.decay(_weights(n, given)) if callable(self.decay) else self.decay

    def targets(self, y: ArrayLike) -> np.ndarray:
        """y as the loss wants it: the numbers of a classifier's classes, everything else as it is."""
        labels = np.asarray(y)
        if self.classes is None:
            return labels
        unknown = np.setdiff1d(labels, self.classes)
        if unknown.size:
            raise ValueError(f"the {self.source} does not know the class {unknown[0]!r}")
        order = np.argsort(self.classes)
        return order[np.searchsorted(self.classes, labels, sorter=order)].astype(np.float64)

    def objective(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """The library's own loss + penalty on (X, y).

        Raises
        ------
        ValueError
            If the loss or the penalty is not known.
        """
        n = len(np.asarray(y))
        decay = self.decay_for(n, sample_weight)
        if self.loss is None or decay is None:
            raise ValueError(f"{self.source} does not know its {'loss' if self.loss is None else 'weight decay'}")
        loss = bind(self.loss, self.targets(y), self.sample_weight(n, sample_weight))
        return loss.value(self.network.predict(X)) + decay.penalty(self.network)


def _weights(n: int, given: ArrayLike | None) -> Array:
    weight = np.ones(n) if given is None else np.asarray(given, dtype=np.float64)
    if weight.shape != (n,):
        raise ValueError(f"sample_weight must have shape ({n},); its shape is {weight.shape}")
    return weight


def split_bias(network: Network) -> tuple[Array, Array]:
    """The hidden weights (d, m) and the hidden biases (m,), which are zero where there are none."""
    if network.bias:
        return network.hidden[:-1], network.hidden[-1]
    return network.hidden, np.zeros(network.width)
