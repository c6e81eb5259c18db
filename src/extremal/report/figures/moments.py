"""Which moments of a run a slider shows, and which of its neurons."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from extremal.design import Array
from extremal.flow.trajectory import Trajectory
from extremal.plotting.runs import pace, shares, signs

#: Positions of the slider, and neurons that are drawn.
MOST_MOMENTS, MOST_NEURONS = 80, 60


@dataclass(frozen=True, eq=False)
class Moments:
    """Some snapshots of a run, evenly spread on a clock on which all of its phases are seen.

    Attributes
    ----------
    index : array of shape (T,)
        The snapshots.
    time : array of shape (T,)
        tau.
    directions : array of shape (T, m, D)
    share : array of shape (T, m)
        Of the mass |w| |b|, at each moment.
    sign : array of shape (m,)
    left_out : int
        The neurons without much mass at any moment that are not shown.
    """

    index: Array
    time: Array
    directions: Array
    share: Array
    sign: Array
    left_out: int

    @classmethod
    def of(cls, trajectory: Trajectory) -> Moments:
        clock = pace(trajectory)
        index = np.unique(np.searchsorted(clock, np.linspace(0, 1, MOST_MOMENTS)).clip(max=len(clock) - 1))
        index = np.union1d(index, [0, len(clock) - 1])
        share = np.array([shares(trajectory, k) for k in index])
        kept = np.sort(np.argsort(-share.max(axis=0), kind="stable")[:MOST_NEURONS])
        return cls(
            index,
            trajectory.time[index],
            trajectory.directions[index][:, kept],
            share[:, kept],
            signs(trajectory)[kept],
            share.shape[1] - len(kept),
        )

    @property
    def labels(self) -> list[str]:
        """What the slider says at each moment."""
        return [f"τ = {time:.4g}" for time in self.time]
