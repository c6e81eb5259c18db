"""What another library trained, in Extremal's terms: the network, and the objective it was trained on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from extremal.conventions import WeightDecay
from extremal.design import Array
from extremal.network import Network


@dataclass(frozen=True, eq=False)
class Imported:
    """A network of another library, and the objective that it was trained on as far as the library knows it.

        sum_i w loss(f(x_i), y_i) + 1/2 (hidden |W|^2 + hidden_bias |b|^2 + output |A|^2 + output_bias |c|^2),

    with w = factor / n where the library takes the mean over the samples, w = factor where it takes the sum.

    Attributes
    ----------
    network : Network
        The same function. With hidden biases they are the last row of its `hidden`, and `bias` is True.
    decay : WeightDecay, optional
        None if it is not known. For a library that divides its penalty by n (scikit-learn) it depends on n.
    loss : str, optional
        "squared", "logistic", "softmax" or "huber"; None if it is not known.
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
    decay: WeightDecay | None = None
    loss: str | None = None
    factor: float = 1.0
    mean: bool = True
    source: str = "arrays"
    classes: np.ndarray | None = None

    def sample_weight(self, n: int) -> Array:
        """The weight of every sample's loss, shape (n,)."""
        return np.full(n, self.factor / n if self.mean else self.factor)
