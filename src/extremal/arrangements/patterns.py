"""Sets of activation patterns, packed into bits: those of an arrangement, of a network or of a whole training run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse

from extremal.arrangements.central import Central
from extremal.arrangements.signs import exact_signs
from extremal.design import Array, Design

if TYPE_CHECKING:
    from extremal.network import Network


@dataclass(frozen=True, eq=False)
class Patterns:
    """Patterns 1(x_i . u > 0) of the rows of one data matrix, a pattern a row.

    Attributes
    ----------
    bits : array of uint8, shape (p, ceil(n / 8))
        Row i of the data is bit i % 8 (the lowest is 0) of byte i // 8; unused bits are 0.
    central : Central
        The hyperplanes of the data. The bit of a zero row is always 0.
    """

    bits: Array
    central: Central

    @classmethod
    def pack(cls, X: ArrayLike, patterns: ArrayLike) -> Patterns:
        """Patterns given as booleans (p, n), unchecked, for the data matrix X (n, d)."""
        return cls._packed(Central.of(Design.from_data(X)), np.atleast_2d(np.asarray(patterns, dtype=bool)))

    @classmethod
    def of_directions(cls, X: ArrayLike, U: ArrayLike, *, closed: bool = False) -> Patterns:
        """The patterns 1(X u > 0) of the nonzero columns u of U (d, m), without repetition; signs are exact.

        Parameters
        ----------
        closed : bool
            Count ties x_i . u = 0 of nonzero rows as active: 1(X u >= 0).
        """
        design = Design.from_data(X)
        return cls._visited(design, [_directions(U)], closed)

    @classmethod
    def of_network(cls, X: ArrayLike, network: Network | ArrayLike, *, closed: bool = False) -> Patterns:
        """The patterns of the neurons of a network, or of hidden weights (d, m); zero neurons have none.

        A network with a hidden bias sees X with a column of ones, and so do these patterns.
        """
        return cls.of_trajectory(X, [network], closed=closed)

    @classmethod
    def of_trajectory(
        cls, X: ArrayLike, trajectory: Iterable[Network | ArrayLike], *, closed: bool = False
    ) -> Patterns:
        """All patterns that a sequence of networks, or of hidden weights (d, m), visits."""
        steps: list[Any] = list(trajectory)
        if not steps:
            raise ValueError("the trajectory is empty")
        bias = {bool(getattr(step, "bias", False)) for step in steps}
        if len(bias) > 1:
            raise ValueError("some networks have a hidden bias and some have not")
        design = Design.from_data(X, bias=bias.pop())
        return cls._visited(design, [_directions(getattr(step, "hidden", step)) for step in steps], closed)

    @classmethod
    def _visited(cls, design: Design, steps: list[Array], closed: bool) -> Patterns:
        """The patterns of the nonzero columns of several matrices, without repetition."""
        central, parts = Central.of(design), []
        for U in steps:
            if U.shape[0] != design.d:
                raise ValueError(f"directions must have {design.d} entries, one for each column of X, not {len(U)}")
            signs = exact_signs(design, U[:, U.any(axis=0)])
            active = signs >= 0 if closed else signs > 0
            active[central.line_of < 0] = False
            parts.append(cls._packed(central, active.T).unique().bits)
        return cls(np.vstack(parts), central).unique()

    @classmethod
    def _packed(cls, central: Central, patterns: Array) -> Patterns:
        if patterns.ndim != 2 or patterns.shape[1] != central.n:
            raise ValueError(f"patterns must have shape (p, {central.n}); the shape is {patterns.shape}")
        return cls(np.packbits(patterns, axis=1, bitorder="little"), central)

    @property
    def count(self) -> int:
        return self.bits.shape[0]

    def __len__(self) -> int:
        return self.count

    @property
    def n(self) -> int:
        """The number of rows of the data."""
        return self.central.n

    def __getitem__(self, index: Any) -> Patterns:
        """Some of the patterns."""
        return Patterns(np.atleast_2d(self.bits[index]), self.central)

    def unpack(self) -> Array:
        """The patterns as booleans, shape (p, n)."""
        return np.unpackbits(self.bits, axis=1, count=self.n, bitorder="little").view(bool)

    def unique(self) -> Patterns:
        """The patterns in lexicographic order of their bytes, without repetition."""
        return self.counted()[0]

    def counted(self) -> tuple[Patterns, Array]:
        """The patterns in order, without repetition, and how often each occurs."""
        keys, times = np.unique(self._keys, return_counts=True)
        return Patterns(keys.view(np.uint8).reshape(len(keys), self.bits.shape[1]), self.central), times

    def contains(self, patterns: ArrayLike | Patterns) -> Any:
        """Whether a pattern (n,) is in the set, or for several (p, n) or Patterns which of them are."""
        if isinstance(patterns, Patterns):
            self._check(patterns)
            return _isin(patterns._keys, self._sorted)
        booleans = np.asarray(patterns)
        found = _isin(self._packed(self.central, np.atleast_2d(booleans).astype(bool))._keys, self._sorted)
        return bool(found[0]) if booleans.ndim == 1 else found

    def union(self, other: Patterns) -> Patterns:
        """The patterns of either set."""
        self._check(other)
        return Patterns(np.vstack([self.bits, other.bits]), self.central).unique()

    def intersection(self, other: Patterns) -> Patterns:
        """The patterns of both sets."""
        return self[other.contains(self)].unique()

    def difference(self, other: Patterns) -> Patterns:
        """The patterns of this set that are not in the other."""
        return self[~other.contains(self)].unique()

    def opposite(self) -> Patterns:
        """The patterns of the directions -u."""
        return Patterns(~self.bits & self.central.mask, self.central)

    __or__, __and__, __sub__ = union, intersection, difference

    def __eq__(self, other: object) -> bool:
        """Whether both are the same set."""
        if not isinstance(other, Patterns):
            return NotImplemented
        return self.n == other.n and np.array_equal(np.unique(self._keys), np.unique(other._keys))

    __hash__ = None  # type: ignore[assignment]

    def adjacency(self) -> sparse.csr_array:
        """The graph of cells that share a facet, a symmetric boolean matrix (p, p).

        Two cells share a facet if and only if exactly one hyperplane separates them: they differ in all rows of one
        class of parallel rows, and in no other.
        """
        from extremal.arrangements.graph import facets

        return facets(self)

    @cached_property
    def _keys(self) -> Array:
        """Every pattern as one item that can be compared and sorted: a string of bytes of fixed length."""
        return np.ascontiguousarray(self.bits).view(np.dtype((np.bytes_, self.bits.shape[1]))).ravel()

    @cached_property
    def _sorted(self) -> Array:
        return np.sort(self._keys)

    def _check(self, other: Patterns) -> None:
        if self.n != other.n:
            raise ValueError(f"the patterns are of {self.n} and of {other.n} rows")

    def __repr__(self) -> str:
        return f"Patterns({self.count} of {self.n} rows)"


def _directions(U: ArrayLike) -> Array:
    directions = np.asarray(U, dtype=np.float64)
    directions = directions[:, None] if directions.ndim == 1 else directions
    if directions.ndim != 2:
        raise ValueError(f"directions must be columns of a matrix (d, m); the shape is {directions.shape}")
    if not np.isfinite(directions).all():
        raise ValueError("the directions contain NaN or infinity")
    return directions


def _isin(keys: Array, known: Array) -> Array:
    if not len(known):
        return np.zeros(len(keys), dtype=bool)
    place = np.minimum(np.searchsorted(known, keys), len(known) - 1)
    return known[place] == keys
