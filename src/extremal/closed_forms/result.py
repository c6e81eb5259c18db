"""What a closed form is: a network that can be written down, its value, and the multiplier that proves it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from extremal.design import Array
from extremal.network import Network


@dataclass(frozen=True, eq=False)
class ClosedForm:
    """An optimal network that can be written down, the optimal value, and the dual point that proves it.

    Attributes
    ----------
    name : str
        Which closed form it is.
    objective : str
        What is minimised, in words.
    value : float
        The optimal value, primal and dual.
    network : Network
        A network that attains it, balanced.
    lam : array of shape (n,) or (n, c)
        A dual solution: lam = -grad loss, and with conditions instead of a loss their multipliers.
    residual : float
        The largest violation of the optimality conditions: what double precision left, relative to their size.
    """

    name: str
    objective: str
    value: float
    network: Network
    lam: Array
    residual: float

    @cached_property
    def shares(self) -> Array:
        """The parts of |theta|^2 in the neurons of positive and of negative output, shape (2,); for one output."""
        sizes = np.sum(self.network.hidden**2, axis=0) + self.network.output[:, 0] ** 2
        positive = self.network.output[:, 0] > 0
        parts = np.array([sizes[positive].sum(), sizes[~positive].sum()])
        return parts / (parts.sum() or 1.0)

    @property
    def margin(self) -> float:
        """1 / (2 value): for a max-margin network the smallest y_i f(x_i) when it is scaled to |theta| = 1."""
        return 0.5 / self.value

    def __str__(self) -> str:
        rows = {self.objective: f"{self.value:.15g}"}
        if self.network.n_outputs == 1 and self.network.width:
            rows["share of + and -"] = f"{self.shares[0]:.10g}, {self.shares[1]:.10g}"
        rows["residual"] = f"{self.residual:.1e}"
        width = max(map(len, rows)) + 4
        return "\n".join([f"{self.name}: {self.network}"] + [f"{name:<{width}}{text}" for name, text in rows.items()])
