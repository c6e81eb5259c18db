"""Optimal networks, as the questions to an optimal set return them."""

from __future__ import annotations

from dataclasses import dataclass

from extremal.design import Array
from extremal.network import Network


@dataclass(frozen=True, eq=False)
class Member:
    """One optimal network.

    Attributes
    ----------
    network : Network
    amplitudes : array of shape (m,)
        Of the neurons of the set, on unit directions.
    objective : float
        As evaluated at the network.
    excess : float
        objective minus that of the network that the set was built from.
    fit_difference : float
        The largest difference of the outputs on the training data from that network's.
    """

    network: Network
    amplitudes: Array
    objective: float
    excess: float
    fit_difference: float

    @property
    def width(self) -> int:
        return self.network.width


@dataclass(frozen=True, eq=False)
class Sparsest:
    """The narrowest of the vertices that were met: how many there were, for how many linear programs."""

    member: Member
    vertices: int
    programs: int


@dataclass(frozen=True, eq=False)
class Narrowest:
    """A member with the fewest neurons that were found, and the number that no member is below, as HiGHS says."""

    member: Member
    lower: int

    @property
    def proven(self) -> bool:
        """Whether no member of the set has fewer neurons, by the mixed-integer solver."""
        return self.member.width <= self.lower


@dataclass(frozen=True, eq=False)
class PredictionRange:
    """What optimal networks can say at a point: the least and the largest output, and networks that say it."""

    low: float
    high: float
    lowest: Member
    highest: Member
