"""The units that a network was trained in, for exports that read the user's."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from extremal.design import Array


@dataclass(frozen=True, eq=False)
class Units:
    """The network reads (x - centre) / scale, and predicts (y - target_centre) / target_scale.

    Attributes
    ----------
    centre, scale : arrays of shape (d,), or numbers for all columns
    target_centre, target_scale : float
    """

    centre: Array | float = 0.0
    scale: Array | float = 1.0
    target_centre: float = 0.0
    target_scale: float = 1.0

    @property
    def plain_target(self) -> bool:
        """Whether the target is as it is."""
        return (self.target_centre, self.target_scale) == (0.0, 1.0)

    def columns(self, d: int) -> tuple[Array, Array]:
        """Centre and scale of d columns."""
        return np.full(d, 1.0) * self.centre, np.full(d, 1.0) * self.scale
