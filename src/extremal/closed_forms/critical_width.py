"""The critical width m*: the number of neurons of the narrowest optimal network."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from extremal.arrangements import TooManyCells, arrangements
from extremal.design import Array
from extremal.losses import Loss
from extremal.network import Network
from extremal.problem import Bias, Problem
from extremal.programs import OptimalSet, optimal_set
from extremal.training import fit_problem

#: The largest number of cells that are searched for further optimal neurons.
CELLS = 20_000


@dataclass(frozen=True, eq=False)
class CriticalWidth:
    """How many neurons an optimal network needs.

    From width m* on the nonconvex problem has the value of the convex one.

    Attributes
    ----------
    width : int
        The neurons of the narrowest optimal network that was found: an upper bound on m*.
    lower : int
        No network on the optimal neurons of `optimal` has fewer: a lower bound on m* if `complete`.
    complete : bool
        Whether all cells were searched for optimal neurons. Otherwise there may be others, and a narrower network.
    rank : int
        Of the fits of the optimal neurons, with the intercept: m* is at most that, unless some rows lie on a straight
        part of the loss (squared hinge, Huber).
    bound : int
        n c: m* is at most that. (The literature has n + 1, from Caratheodory's theorem; the optimal fits lie on the
        boundary of the hull, which saves one.)
    gap : float
        The proven relative gap of the optimum.
    network : Network
        The narrowest one.
    optimal : OptimalSet
        The set of optimal networks that was searched.
    """

    width: int
    lower: int
    complete: bool
    rank: int
    bound: int
    gap: float
    network: Network
    optimal: OptimalSet

    @property
    def exact(self) -> bool:
        """Whether `width` is m*: all optimal neurons are known, and no fewer of them suffice."""
        return self.complete and self.width <= self.lower

    def __str__(self) -> str:
        scope = "all cells were searched" if self.complete else "on the neurons at hand, others were not looked for"
        found = self.optimal
        return "\n".join(
            [
                f"critical width             {'' if self.exact else 'at most '}{self.width}",
                f"lower bound                {self.lower}, {scope}",
                f"upper bounds               rank of the fits {self.rank}, n c = {self.bound}",
                f"optimal neurons            {found.V.shape[0]}, a polytope of dimension {found.dimension}",
                f"relative gap               {self.gap:.1e}",
            ]
        )


def critical_width(
    X: ArrayLike,
    y: ArrayLike,
    *,
    beta: float,
    loss: str | Loss = "squared",
    bias: Bias = "penalized",
    intercept: bool = False,
    sample_weight: ArrayLike | None = None,
    cells: int = CELLS,
    time_limit: float | None = None,
    random_state: int | np.random.Generator | None = 0,
) -> CriticalWidth:
    """The number m* of neurons of the narrowest optimal network; m* <= n c.

    Parameters
    ----------
    X, y, beta, loss, bias, intercept, sample_weight, time_limit, random_state
        The training problem, as for :func:`extremal.fit`.
    cells : int
        With one output and at most so many cells, all of them are searched for optimal neurons, and the answer is
        exact.

    Returns
    -------
    CriticalWidth

    Raises
    ------
    ValueError
        If the data or the parameters are unusable, or training ended too far from a stationary point.

    References
    ----------
    Wang, Lacotte & Pilanci (ICLR 2022), Pilanci & Ergen (ICML 2020): m* <= n + 1. Mishkin & Pilanci (ICML 2023): the
    optimal set.
    """
    problem = Problem.from_data(X, y, beta=beta, loss=loss, bias=bias, intercept=intercept, sample_weight=sample_weight)
    result = fit_problem(problem, time_limit=time_limit, random_state=random_state)
    patterns = _all_patterns(problem, cells)
    found = optimal_set(problem, result.network, patterns=patterns)
    narrowest = found.narrowest()
    return CriticalWidth(
        width=narrowest.member.width,
        lower=narrowest.lower,
        complete=patterns is not None,
        rank=found.rank,
        bound=problem.design.n * problem.loss.shape[1],
        gap=result.certificate.gap,
        network=narrowest.member.network,
        optimal=found,
    )


def _all_patterns(problem: Problem, cells: int) -> Array | None:
    """The patterns of all cells, or None for several outputs or more cells than that."""
    if problem.loss.shape[1] > 1:
        return None
    try:
        return arrangements(problem.design.dense(), limit=cells).patterns.unpack()
    except TooManyCells:
        return None
