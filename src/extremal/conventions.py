"""The weight decay of other libraries: which parameters are penalised, and how much.

Other libraries penalise with a factor of their own for every group of parameters,

    sum_i w_i loss(f(x_i), y_i) + 1/2 (hidden |W|_F^2 + hidden_bias |b|^2 + output |A|_F^2 + output_bias |c|^2),

of f(x) = sum_j (w_j . x + b_j)_+ a_j + c. `WeightDecay` names the four factors.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class WeightDecay:
    """The factors of  1/2 (hidden |W|_F^2 + hidden_bias |b|^2 + output |A|_F^2 + output_bias |c|^2).

    Parameters
    ----------
    hidden, output : float
        The factors of the two layers' weights, positive.
    hidden_bias, output_bias : float or None
        The factors of the biases; 0 for biases that are not penalised, None for layers without any.
    """

    hidden: float
    output: float
    hidden_bias: float | None = None
    output_bias: float | None = None

    @classmethod
    def uniform(cls, beta: float, *, hidden_bias: bool = True, output_bias: bool = True) -> WeightDecay:
        """One factor for every parameter there is, as PyTorch's `weight_decay` has it."""
        return cls(beta, beta, beta if hidden_bias else None, beta if output_bias else None)
