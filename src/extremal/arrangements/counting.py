"""How many cells there are, without a listing, and what a listing would cost."""

from __future__ import annotations

from dataclasses import dataclass
from math import comb, e

import numpy as np
from numpy.typing import ArrayLike

from extremal.arrangements.central import Central
from extremal.arrangements.flats import Lattice, first_lucky
from extremal.arrangements.walk import Degenerate, generic_cells
from extremal.design import Design

_BLOCK = 2**14

#: The number of cells up to which general position is checked, or flats are counted, by default.
BUDGET = 20_000_000


@dataclass(frozen=True)
class CellCount:
    """The number of cells of an arrangement.

    Attributes
    ----------
    value : int
        The number if `exact`, and otherwise an upper bound, attained in general position.
    exact : bool
    method : str
    rank : int
    hyperplanes : int
        Distinct ones.
    bound : float
        2 r (e (n - 1) / r)^r, the bound of Pilanci & Ergen (ICML 2020), for n rows of rank r; at least 2.
    size : int
        The bytes of all patterns, packed.
    seconds : float
        A rough estimate of the time of a listing, on one core.
    """

    value: int
    exact: bool
    method: str
    rank: int
    hyperplanes: int
    bound: float
    size: int
    seconds: float

    def __int__(self) -> int:
        return self.value

    __index__ = __int__

    def describe(self) -> str:
        """The number, and what a listing would take."""
        number = f"{self.value} cells" if self.exact else f"up to {self.value:.4g} cells"
        return f"{number}, {_bytes(self.size)} and about {_duration(self.seconds)} to list"

    def __str__(self) -> str:
        return f"{self.describe()} ({self.method})"


def count_arrangements(X: ArrayLike, *, budget: int = BUDGET) -> CellCount:
    """The number of cells of {x_i . u = 0}, without listing them.

    In general position it is Cover's 2 sum_{k < r} C(N - 1, k) for N hyperplanes of rank r; otherwise it is
    |chi(-1)|, chi the characteristic polynomial of the arrangement (Zaslavsky), from flats and Möbius numbers.

    Parameters
    ----------
    X : array of shape (n, d)
    budget : int
        The number of cells up to which general position is checked and flats are counted; both take about as long as a
        listing. Beyond it the result is Cover's formula, an upper bound, unless it is exact for another reason.

    Returns
    -------
    CellCount

    References
    ----------
    Cover (1965); Zaslavsky, Facing up to arrangements (1975); Weisner's theorem for the Möbius function.
    """
    return count_cells(Central.of(Design.from_data(X)), budget)


def count_cells(central: Central, budget: int = BUDGET) -> CellCount:
    """The number of cells of the hyperplanes."""
    N, r = central.N, central.rank
    upper = cover_count(N, r)
    if r <= 2 or r == N:
        return _result(central, upper, True, "Cover's formula, always exact here")
    if upper > budget:
        return _result(central, upper, False, "Cover's formula, general position not checked")
    if is_generic(central):
        return _result(central, upper, True, "Cover's formula, general position checked")
    return _result(central, 2 * _whitney_sum(central), True, "characteristic polynomial")


def cover_count(N: int, r: int) -> int:
    """2 sum_{k < r} C(N - 1, k), the cells of N hyperplanes of rank r in general position; 1 without hyperplanes."""
    return 2 * sum(comb(N - 1, k) for k in range(r)) if N else 1


def paper_bound(n: int, r: int) -> float:
    """2 r (e (n - 1) / r)^r, and 2 for n = 1, where the formula says 0; inf beyond the range of floats."""
    if r == 0 or n == 1:
        return 2.0
    try:
        return max(2.0 * r * (e * (n - 1) / r) ** r, 2.0)
    except OverflowError:
        return float("inf")


def is_generic(central: Central) -> bool:
    """Whether all sets of r hyperplanes, and so the hyperplanes, are found to be in general position."""
    if central.N == 0:
        return False
    try:
        for _ in generic_cells(central, _BLOCK):
            pass
    except Degenerate:
        return False
    return True


def _whitney_sum(central: Central) -> int:
    """The sum of |mu(F)| over the flats F without the last hyperplane: half of |chi(-1)|."""
    return first_lucky(lambda seed: _sum_over_flats(Lattice(central, seed)))


def _sum_over_flats(lattice: Lattice) -> int:
    flats, moebius = lattice.bottom(), np.ones(1, dtype=np.int64)
    total = 1
    for _rank in range(lattice.r - 1):
        covers = lattice.explore(flats)[1]
        flats, moebius = lattice.rise(flats, covers, moebius)
        total += int(moebius.sum())
    return total


def _result(central: Central, value: int, exact: bool, method: str) -> CellCount:
    N, r = central.N, central.rank
    # two words a hyperplane and cell, and one matrix inverse a line, as measured
    each = 1e-7 * (1.0 + N / 300 + r**3 / 200) * (10.0 if exact and value < cover_count(N, r) else 1.0)
    size = value * -(-central.n // 8)
    return CellCount(value, exact, method, r, N, paper_bound(central.n, r), size, _float(value) * each)


def _float(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        return float("inf")


def _bytes(size: int) -> str:
    amount = _float(size)
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if amount < 1000 or unit == "TB":
            return f"{amount:.3g} {unit}"
        amount /= 1000
    raise AssertionError


def _duration(seconds: float) -> str:
    for limit, unit, name in ((60, 1, "s"), (3600, 60, "minutes"), (172800, 3600, "hours"), (6e7, 86400, "days")):
        if seconds < limit:
            return f"{seconds / unit:.2g} {name}"
    return f"{seconds / 3.156e7:.2g} years"
