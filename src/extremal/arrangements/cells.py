"""All cells of the hyperplane arrangement of a data matrix."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse

from extremal.arrangements.central import Central
from extremal.arrangements.counting import count_cells, cover_count, is_generic
from extremal.arrangements.flats import degenerate_cells, first_lucky
from extremal.arrangements.patterns import Patterns
from extremal.arrangements.walk import Degenerate, generic_cells
from extremal.design import Array, Design

#: The largest listing, in bytes, that is made without an explicit limit.
MEMORY = 2**31

#: The bytes of one chunk.
CHUNK = 2**25

_BLOCK = 2**18


class TooManyCells(ValueError):
    """A listing that would not fit; the message says how large it is."""


@dataclass(frozen=True, eq=False)
class Arrangement:
    """The cells {u : the signs of X u are fixed and nonzero} of the hyperplanes {x_i . u = 0}.

    Nothing is listed before it is asked for.

    Attributes
    ----------
    design : Design
        The data matrix X (n, d).
    central : Central
        Its distinct hyperplanes, in exact integers.
    limit : int, optional
        The largest number of cells that may be listed; by default what fits into 2 GiB.
    """

    design: Design
    central: Central
    limit: int | None = None

    @property
    def rank(self) -> int:
        """The rank r of X."""
        return self.central.rank

    @cached_property
    def count(self) -> int:
        """The exact number of cells.

        Raises
        ------
        TooManyCells
            If it cannot be found in reasonable time.
        """
        if "patterns" in self.__dict__:
            return self.patterns.count
        found = count_cells(self.central)
        if not found.exact:
            raise TooManyCells(f"the number of cells is at most {found.value}; it is too large to be counted exactly")
        return found.value

    @cached_property
    def patterns(self) -> Patterns:
        """All patterns.

        Raises
        ------
        TooManyCells
            If the limit does not allow it.
        """
        self.check_size()
        return Patterns(np.vstack([self._complete(words) for words in self._all()]), self.central)

    def chunks(self, size: int | None = None) -> Iterator[Patterns]:
        """All patterns, at most about `size` at a time, so that they never have to be in memory together."""
        if size is not None and size < 2:
            raise ValueError("a chunk holds at least two patterns, a cell and its opposite")
        if self.limit is not None:
            self.check_size()
        pairs = self._block() if size is None else size // 2
        for words in self._blocks(pairs):
            for start in range(0, len(words), pairs):
                yield Patterns(self._complete(words[start : start + pairs]), self.central)

    def __iter__(self) -> Iterator[Patterns]:
        return self.chunks()

    def contains(self, pattern: ArrayLike) -> bool:
        """Whether a pattern (n,) is the pattern of a cell; decided exactly, without a listing."""
        from extremal.arrangements.interior import has_interior

        booleans = np.asarray(pattern)
        if booleans.shape != (self.design.n,):
            raise ValueError(f"a pattern has shape ({self.design.n},), not {booleans.shape}")
        return has_interior(self.central, booleans.astype(bool))

    def witnesses(self, patterns: Patterns | None = None) -> Array:
        """A unit vector strictly inside every cell, shape (p, d); NaN where no vector of floats is inside.

        Parameters
        ----------
        patterns : Patterns, optional
            Patterns of cells; all of them by default.
        """
        from extremal.arrangements.interior import interior_points

        return interior_points(self.design, self.patterns if patterns is None else patterns)

    def adjacency(self) -> sparse.csr_array:
        """The graph of cells that share a facet, in the order of `patterns`."""
        return self.patterns.adjacency()

    def __repr__(self) -> str:
        facts = f"{self.design.n} rows, {self.central.N} hyperplanes, rank {self.rank}"
        listed = f", {self.patterns.count} cells" if "patterns" in self.__dict__ else ""
        return f"Arrangement({facts}{listed})"

    def _all(self) -> list[Array]:
        """All cells up to sign, in blocks of words."""
        if self.central.N == 0:
            return [np.zeros((1, 1), dtype=np.uint64)]
        try:
            return list(generic_cells(self.central, self._block()))
        except Degenerate:
            return first_lucky(lambda seed: list(degenerate_cells(self.central, self._block(), seed)))

    def _blocks(self, pairs: int) -> Iterator[Array]:
        """The cells up to sign, block by block; a first run over them makes sure that nothing has to be repeated."""
        if self.central.N == 0:
            return iter(self._all())
        if is_generic(self.central):
            return generic_cells(self.central, pairs)
        seed = first_lucky(
            lambda seed: sum(0 * len(block) for block in degenerate_cells(self.central, pairs, seed)) + seed
        )
        return degenerate_cells(self.central, pairs, seed)

    def _block(self) -> int:
        return max(CHUNK // (16 * (self.central.N // 64 + 1)), 1)

    def _complete(self, words: Array) -> Array:
        """The packed patterns of the rows of X for cells up to sign, followed by their opposites."""
        half = rows_of(words, self.central)
        if self.central.N == 0:
            return half
        return np.vstack([half, ~half & self.central.mask])

    def check_size(self) -> None:
        """Raise TooManyCells if the limit does not allow a listing."""
        upper = cover_count(self.central.N, self.rank)
        room = MEMORY // -(-self.design.n // 8) if self.limit is None else self.limit
        if upper <= room:
            return
        found = count_cells(self.central)
        if not found.exact or found.value > room:
            allowed = f"the limit is {room}" if self.limit is not None else "limit= allows more"
            raise TooManyCells(f"{found.describe()}; {allowed}, and chunks() lists them piece by piece")


def arrangements(X: ArrayLike, *, limit: int | None = None) -> Arrangement:
    """All cells of {x_i . u = 0}: the strict sign patterns that X u takes.

    Parameters
    ----------
    X : array of shape (n, d)
        The data, used as they are (append a column of ones for a hidden bias).
    limit : int, optional
        The largest number of cells that may be listed; by default what fits into 2 GiB.

    Returns
    -------
    Arrangement

    Raises
    ------
    ValueError
        If X is not a finite, nonempty, real matrix.

    Notes
    -----
    The result is exact for every matrix of floating-point numbers, however degenerate: a sign that rounding leaves open
    is decided in integers. Rows that are multiples of each other are one hyperplane, and rows of zeros none; their bits
    are copies or complements of each other, and 0.

    References
    ----------
    Cover (1965) and Zaslavsky (1975) for the count; Pilanci & Ergen (ICML 2020) for its use.
    """
    if limit is not None and limit < 1:
        raise ValueError("limit must be positive")
    design = Design.from_data(X)
    return Arrangement(design, Central.of(design), limit)


def rows_of(words: Array, central: Central) -> Array:
    """The packed bits of the rows of X, from the bits of the hyperplanes."""
    size = -(-central.n // 8)
    if central.is_plain:
        return words.view(np.uint8)[:, :size]
    out = np.empty((len(words), size), dtype=np.uint8)
    step = max(1, _BLOCK // central.n)
    for start in range(0, len(words), step):
        lines = np.unpackbits(words[start : start + step].view(np.uint8), axis=1, bitorder="little")
        rows = np.take(lines, central.line_of, axis=1, mode="clip") ^ central.opposite
        out[start : start + step] = np.packbits(rows, axis=1, bitorder="little") & central.mask
    return out
