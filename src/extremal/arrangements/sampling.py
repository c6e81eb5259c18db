"""Some of the cells, when all of them are too many: drawn at random, with an estimate of what is missing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, log

import numpy as np
from numpy.typing import ArrayLike

from extremal.arrangements.central import Central
from extremal.arrangements.counting import count_cells
from extremal.arrangements.patterns import Patterns
from extremal.arrangements.signs import exact_signs
from extremal.design import Array, Design

#: The number of cells up to which a sample is compared with the exact number.
COUNTABLE = 1_000_000

_BLOCK = 2**22
_WALKERS = 256


@dataclass(frozen=True, eq=False)
class PatternSample:
    """The distinct patterns of random directions, and how much of the arrangement they are.

    Attributes
    ----------
    patterns : Patterns
        The distinct patterns.
    times : integer array of shape (p,)
        How often each was drawn.
    draws : int
        Directions drawn; directions on a hyperplane belong to no cell and are not counted.
    unseen : float
        Good and Turing's estimate of the chance that another draw is a new pattern: the share of the draws whose
        pattern was drawn once. For a walk, whose draws depend on each other, a rough guide only.
    total : int, optional
        The exact number of cells, where it is cheap.
    """

    patterns: Patterns
    times: Array
    draws: int
    unseen: float
    total: int | None

    @property
    def coverage(self) -> float | None:
        """The share of all cells that were found; None if their number is not known."""
        return self.patterns.count / self.total if self.total else None

    def __str__(self) -> str:
        share = f", {self.coverage:.3g} of all {self.total} cells" if self.coverage is not None else ""
        return (
            f"{self.patterns.count} patterns in {self.draws} draws{share}; another is new with chance {self.unseen:.2g}"
        )


def sample_arrangements(
    X: ArrayLike, size: int, *, random_state: int = 0, method: str = "gaussian", y: ArrayLike | None = None
) -> PatternSample:
    """The patterns 1(X u > 0) of `size` random directions u.

    Parameters
    ----------
    X : array of shape (n, d)
    size : int
        The number of directions.
    method : {"gaussian", "data", "walk"}
        "gaussian": u is normal, so a cell is found in proportion to its solid angle. "data": signed sums of a few rows
        of X (rows, differences of rows and means of groups or, with `y`, of the classes), where training starts to
        look. "walk": along random great circles, to the middle of any of the arcs between two boundaries, which finds
        small cells more often.
    y : array of shape (n,), optional
        Classes, for "data".

    Returns
    -------
    PatternSample

    Raises
    ------
    ValueError
        If the data are not finite, or size or method are not as said.
    """
    methods: dict[str, Callable[[Design, int, np.random.Generator, Array | None], Array]]
    methods = {"gaussian": _gaussian, "data": _from_data, "walk": _walk}
    if method not in methods:
        raise ValueError(f"method must be one of {', '.join(methods)}; got {method!r}")
    if size < 1:
        raise ValueError("size must be positive")
    design = Design.from_data(X)
    central, rng = Central.of(design), np.random.default_rng(random_state)
    labels = None if y is None else np.asarray(y)
    if labels is not None:
        if labels.shape != (design.n,):
            raise ValueError(f"y must have shape ({design.n},); its shape is {labels.shape}")
        labels = labels[central.line_of >= 0] if central.N else labels
    unit = _unit_rows(design, central)
    parts, step = [], max(1, _BLOCK // (design.n + design.d))
    for start in range(0, size, step):
        U = methods[method](unit, min(step, size - start), rng, labels)
        parts.append(_strict_patterns(design, central, U))
    bits = np.vstack(parts)
    patterns, times = Patterns(bits, central).counted()
    unseen = float((times == 1).sum() / len(bits)) if len(bits) else 1.0
    counted = count_cells(central, COUNTABLE)
    return PatternSample(patterns, times, len(bits), unseen, counted.value if counted.exact else None)


def scenario_size(n: int, violation: float, confidence: float) -> int:
    """How many independent patterns to sample so that one more would rarely help.

    With so many patterns P, with probability at least 1 - confidence over their draw, one more pattern drawn alike
    improves the optimum of the sampled convex program for n data points with probability at most `violation`:

        P >= min{(n + 1) / (confidence * violation) - 1,  2 / violation (n + 1 - log confidence)}.

    Parameters
    ----------
    n : int
    violation, confidence : float
        Between 0 and 1.

    References
    ----------
    Calafiore & Campi, The scenario approach to robust control design (2006), applied to the dual of the program.
    """
    if n < 1 or not (0 < violation < 1 and 0 < confidence < 1):
        raise ValueError("n must be positive, violation and confidence between 0 and 1")
    first = (n + 1) / (confidence * violation) - 1
    second = 2 / violation * (n + 1 - log(confidence))
    return ceil(round(min(first, second), 9))


def _unit_rows(design: Design, central: Central) -> Design:
    """The rows that are not zero, with norm one: the lengths of rows are nothing to the cells."""
    if central.N == 0:
        return design
    rows = design.rows(np.flatnonzero(central.line_of >= 0))
    rows = np.ldexp(rows, -np.frexp(np.abs(rows).max(axis=1, keepdims=True))[1])
    return Design(rows / np.linalg.norm(rows, axis=1, keepdims=True))


def _strict_patterns(design: Design, central: Central, U: Array) -> Array:
    """The packed patterns of the directions that are on no hyperplane."""
    signs = exact_signs(design, U)
    strict = (signs[central.line_of >= 0] != 0).all(axis=0)
    return np.packbits(signs[:, strict].T > 0, axis=1, bitorder="little")


def _gaussian(unit: Design, size: int, rng: np.random.Generator, y: Array | None) -> Array:
    return rng.standard_normal((unit.d, size))


def _from_data(unit: Design, size: int, rng: np.random.Generator, y: Array | None) -> Array:
    """Rows, differences of rows and differences of group means in turn, either sign, with a little noise."""
    n, X = unit.n, unit.dense()
    kind = np.arange(size) % 3
    i, j = rng.integers(n, size=(2, size))
    U = np.where(kind == 0, X[i].T, (X[i] - X[j]).T)
    means = np.flatnonzero(kind == 2)
    if means.size:
        U[:, means] = _contrasts(n, means.size, rng, y, X)
    U *= rng.choice([-1.0, 1.0], size=size)
    # rows that are zero on the direction, x_i - x_j for equal rows say, would be on a boundary
    scale = np.maximum(np.linalg.norm(U, axis=0), 1e-3)
    return U + 10.0 ** rng.uniform(-6, 0, size=size) * scale * rng.standard_normal(U.shape) / np.sqrt(unit.d)


def _contrasts(n: int, size: int, rng: np.random.Generator, y: Array | None, X: Array) -> Array:
    """Differences of the means of two groups: of random subsets of the classes, or of the rows."""
    if y is None:
        member = rng.random((size, n)) < 0.5
    else:
        classes, index = np.unique(y, return_inverse=True)
        member = (rng.random((size, len(classes))) < 0.5)[:, index]
    inside = member / np.maximum(member.sum(axis=1, keepdims=True), 1)
    outside = ~member / np.maximum((~member).sum(axis=1, keepdims=True), 1)
    return ((inside - outside) @ X).T


def _walk(unit: Design, size: int, rng: np.random.Generator, y: Array | None) -> Array:
    """The points of many walkers, who go around the sphere from boundary to boundary."""
    walkers = min(_WALKERS, size)
    U = rng.standard_normal((unit.d, walkers))
    steps = []
    for _ in range(-(-size // walkers)):
        U = _along_a_circle(unit, U / np.linalg.norm(U, axis=0), rng)
        steps.append(U)
    return np.hstack(steps)[:, :size]


def _along_a_circle(unit: Design, U: Array, rng: np.random.Generator) -> Array:
    """The middle of one of the arcs, all equally likely, into which the hyperplanes cut a random great circle by u."""
    V = rng.standard_normal(U.shape)
    angles = np.sort(np.arctan2(-unit.forward(U), unit.forward(V)) % np.pi, axis=0)
    k = rng.integers(unit.n, size=U.shape[1])
    ends = np.vstack([angles, angles[0] + np.pi])
    walker = np.arange(U.shape[1])
    middle = 0.5 * (ends[k, walker] + ends[k + 1, walker]) + np.pi * rng.integers(2, size=k.shape)
    return np.cos(middle) * U + np.sin(middle) * V
