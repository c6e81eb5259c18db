"""The cells of hyperplanes in any position, through the lattice of their flats; exact, without linear programs.

The flag and the vertices are those of `walk`. A flat F is the set of all hyperplanes that contain some intersection
L_F. In general position exactly one cell starts at the vertex of F; otherwise it is a set N(F) of |mu(F)| sign patterns
on F (Zaslavsky): those of the cells of the hyperplanes in F on which the functional f_{l+1} reduced by f_0, ..., f_l to
vanish on L_F is positive. Up to sign,

    cells = union over flats F without the last hyperplane of N(F) x {the signs of the others at the vertex of F}.

N(F) follows from the flats w covered by F. Cut by {functional = 1}, its cells are the bounded ones; the next functional
has its minimum over a cell at some w, where the cell's signs on w are in N(w), and its maximum at another, where they
are in -N(w). So N(F) is what both lists,

    {(T on w, s)},  {(-T on w, s)}   for w below F, T in N(w), s = the signs of F - w at the vertex of w,

have in common, and every element is in each list once. Which hyperplanes agree on L_w is decided modulo primes,
exactly; signs are decided in floating point with an error bound, or else exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from extremal.arrangements.central import Central, to_floats
from extremal.arrangements.matching import meet
from extremal.arrangements.modular import moduli_for, residues
from extremal.arrangements.status import FULL, UNLUCKY
from extremal.arrangements.vertices import visit
from extremal.design import Array

_ATTEMPTS = 20
_PAIRS = 2**16


class Unlucky(ArithmeticError):
    """The random flag is not generic, or a prime divides a minor: to be drawn again."""


def first_lucky(attempt: Callable[[int], Any]) -> Any:
    """The result of the first attempt, called with a seed, that is not unlucky."""
    for seed in range(_ATTEMPTS):
        try:
            return attempt(seed)
        except Unlucky:
            continue
    raise ArithmeticError("no generic flag was found")


@dataclass(frozen=True, eq=False)
class Flats:
    """The flats of one rank without the last hyperplane: members (bits), bases, and the patterns N(F) of each."""

    members: Array
    bases: Array
    offsets: Array
    patterns: Array

    @property
    def count(self) -> int:
        return self.members.shape[0]


@dataclass(frozen=True, eq=False)
class Covers:
    """Pairs w < F of neighbouring flats: a hash of F, its members, the signs of F - w on w, w, and a row of F - w."""

    key: Array
    members: Array
    signs: Array
    below: Array
    row: Array

    def __getitem__(self, index: Array | slice) -> Covers:
        return Covers(*(part[index] for part in (self.key, self.members, self.signs, self.below, self.row)))

    @classmethod
    def empty(cls, size: int, words: int) -> Covers:
        bits = np.zeros((2, size, words), dtype=np.uint64)
        numbers = np.zeros((2, size), dtype=np.int64)
        return cls(np.zeros(size, dtype=np.uint64), bits[0], bits[1], numbers[0], numbers[1])

    @classmethod
    def join(cls, parts: list[Covers]) -> Covers:
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in cls.__dataclass_fields__))


class Lattice:
    """The flats of an arrangement, rank by rank, for one flag and one choice of primes."""

    def __init__(self, central: Central, seed: int) -> None:
        integers = central.flag(seed)
        self.N, self.r = central.N, central.rank
        self.words = (self.N + 63) // 64
        self.Z = to_floats(integers)
        self.moduli = moduli_for(integers, self.r, seed)
        self.R = residues(integers, self.moduli)
        self.line_moduli = moduli_for(central.lines, self.r, seed)
        self.lines = np.ascontiguousarray(residues(central.lines, self.line_moduli).transpose(0, 2, 1))
        rng = np.random.default_rng(seed)
        self.zobrist = rng.integers(2**63, size=max(self.N, self.r), dtype=np.uint64) * np.uint64(2) + np.uint64(1)

    def bottom(self) -> Flats:
        """The one flat of rank zero, with the empty pattern."""
        empty = np.zeros((1, self.words), dtype=np.uint64)
        return Flats(empty, np.zeros((1, 0), dtype=np.int64), np.array([0, 1]), empty.copy())

    def explore(self, flats: Flats) -> tuple[Array, Covers]:
        """The signs outside every flat, as bits, and the flats that cover it."""
        outside = np.zeros_like(flats.members)
        parts, begin, status = [], 0, FULL
        while status == FULL:
            part = Covers.empty(max(min(_PAIRS, flats.count * self.N), self.N), self.words)
            arrays = (part.key, part.members, part.signs, part.below, part.row)
            status, begin, count = visit(
                self.Z, self.R, self.moduli, self.lines, self.line_moduli, self.zobrist,
                flats.members, flats.bases, begin, outside, arrays,
            )  # fmt: skip
            if status == UNLUCKY:
                raise Unlucky
            parts.append(part[:count] if 2 * count > part.key.size else part[np.arange(count)])
        return outside, Covers.join(parts)

    def above(self, flats: Flats, covers: Covers, size: int) -> Iterator[Flats]:
        """The flats of the next rank, in blocks that hold about `size` patterns."""
        order = np.argsort(covers.key)
        keys = covers.key[order]
        starts = np.append(np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]])), keys.size)
        candidates = np.concatenate([[0], np.cumsum(np.diff(flats.offsets)[covers.below[order]])])[starts]
        begin = 0
        while begin < starts.size - 1:
            end = int(np.searchsorted(candidates, candidates[begin] + size, side="right")) - 1
            end = max(end, begin + 1)
            block = starts[begin : end + 1]
            sizes = np.zeros(end - begin, dtype=np.int64)
            out = np.empty((candidates[end] - candidates[begin] + 1, self.words), dtype=np.uint64)
            status, count = meet(
                order, block, covers.members, covers.below, covers.signs,
                flats.members, flats.offsets, flats.patterns, sizes, out,
            )  # fmt: skip
            if status == UNLUCKY:
                raise Unlucky
            first = covers[order[block[:-1]]]
            bases = np.column_stack([flats.bases[first.below], first.row])
            yield Flats(first.members, bases, np.concatenate([[0], np.cumsum(sizes)]), out[:count])
            begin = end

    def rise(self, flats: Flats, covers: Covers, moebius: Array) -> tuple[Flats, Array]:
        """The flats of the next rank without their patterns, and |mu| of each.

        |mu(F)| is the sum of |mu(w)| over the w below F that leave out a fixed hyperplane of F (Weisner).
        """
        covers = covers[np.argsort(covers.key, kind="stable")]
        starts = np.flatnonzero(np.concatenate([[True], covers.key[1:] != covers.key[:-1]]))
        first, group = covers[starts], np.repeat(np.arange(starts.size), np.diff(np.append(starts, covers.key.size)))
        if (covers.members != first.members[group]).any():
            raise Unlucky
        fixed = first.row[group]
        without = flats.members[covers.below, fixed >> 6] >> (fixed & 63).astype(np.uint64) & np.uint64(1) == 0
        sums = np.add.reduceat(np.where(without, moebius[covers.below], 0), starts)
        bases = np.column_stack([flats.bases[first.below], first.row])
        return Flats(first.members, bases, np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.uint64)), sums

    def cells(self, size: int) -> Iterator[Array]:
        """The cells up to sign in blocks, as words of bits."""
        flats = self.bottom()
        for _rank in range(self.r - 1):
            outside, covers = self.explore(flats)
            yield assemble(flats, outside)
            if _rank == self.r - 2:
                for block in self.above(flats, covers, size):
                    yield assemble(block, self.explore(block)[0])
                return
            flats = gather(list(self.above(flats, covers, size)))
        yield assemble(flats, self.explore(flats)[0])


def assemble(flats: Flats, outside: Array) -> Array:
    """Every pattern of every flat, completed by the signs outside the flat."""
    return flats.patterns | np.repeat(outside, np.diff(flats.offsets), axis=0)


def gather(blocks: list[Flats]) -> Flats:
    sizes = np.concatenate([np.diff(block.offsets) for block in blocks])
    return Flats(
        np.concatenate([block.members for block in blocks]),
        np.concatenate([block.bases for block in blocks]),
        np.concatenate([[0], np.cumsum(sizes)]),
        np.concatenate([block.patterns for block in blocks]),
    )


def degenerate_cells(central: Central, size: int, seed: int = 0) -> Iterator[Array]:
    """The cells up to sign in blocks of words (p, W), one bit for each hyperplane; the last hyperplane's sign is +."""
    return Lattice(central, seed).cells(size)
