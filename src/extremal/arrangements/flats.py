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
from numba import njit

from extremal.arrangements.central import Central, to_floats
from extremal.arrangements.modular import coefficient_sign, inverse, moduli_for, residues
from extremal.arrangements.walk import invert, restrict, set_bit
from extremal.design import Array

DONE, FULL, UNLUCKY = 0, 1, 2

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


@njit(cache=True, nogil=True)
def has(words: Array, j: int) -> bool:  # pragma: no cover - compiled
    return (words[j >> 6] >> np.uint64(j & 63)) & np.uint64(1) != 0


@njit(cache=True, nogil=True)
def reduce_modulo(A: Array, S: Array, used: Array, p: int) -> bool:  # pragma: no cover - compiled
    """Restrict the rows of A to where the rows S vanish, modulo p; False if S is dependent modulo p."""
    n, d = A.shape
    used[:] = False
    for i in S:
        column = -1
        for c in range(d):
            if not used[c] and A[i, c] != 0:
                column = c
                break
        if column < 0:
            return False
        used[column] = True
        scale = inverse(A[i, column], p)
        for j in range(n):
            if j != i and A[j, column] != 0:
                m = p - A[j, column] * scale % p
                for c in range(d):
                    if not used[c]:
                        A[j, c] = (A[j, c] + m * A[i, c]) % p
    return True


@njit(cache=True, nogil=True)
def fingerprints(
    A: Array, members: Array, used: Array, p: int, weights: Array, keys: Array
) -> bool:  # pragma: no cover - compiled
    """keys[j] = a hash of row j divided by its first entry, for the rows outside the flat; False if one is zero."""
    n, d = A.shape
    lead, before = np.zeros(n, np.int64), np.ones(n + 1, np.int64)
    for j in range(n):
        before[j + 1] = before[j]
        if not has(members, j):
            for c in range(d):
                if not used[c] and A[j, c] != 0:
                    lead[j] = A[j, c]
                    break
            if lead[j] == 0:
                return False
            before[j + 1] = before[j] * lead[j] % p
    running = inverse(int(before[n]), p)  # all inverses from one
    for j in range(n - 1, -1, -1):
        if lead[j] != 0:
            scale = running * before[j] % p
            running = running * lead[j] % p
            key = np.uint64(0)
            for c in range(d):
                if not used[c]:
                    key = (key ^ np.uint64(A[j, c] * scale % p)) * weights[c]
                    key ^= key >> np.uint64(29)
            keys[j] = key
    return True


@njit(cache=True, nogil=True)
def are_parallel(A: Array, used: Array, i: int, j: int, p: int) -> bool:  # pragma: no cover - compiled
    """Whether two nonzero rows are proportional modulo p."""
    lead = -1
    for c in range(A.shape[1]):
        if used[c]:
            continue
        if lead < 0:
            if A[i, c] == 0 and A[j, c] == 0:
                continue
            lead = c
        if (A[i, lead] * A[j, c] - A[j, lead] * A[i, c]) % p != 0:
            return False
    return lead >= 0 and A[i, lead] != 0 and A[j, lead] != 0


@njit(cache=True, nogil=True)
def classes(
    R: Array, moduli: Array, S: Array, members: Array, weights: Array, label: Array
) -> int:  # pragma: no cover - compiled
    """label[j] = the class of row j among the rows that are parallel on the flat, -1 in it; the number, or -1."""
    K, n, d = R.shape
    A, used = R.copy(), np.zeros((K, d), np.bool_)
    keys = np.zeros(n, np.uint64)
    for t in range(K):
        if not reduce_modulo(A[t], S, used[t], moduli[t]):
            return -1
    if not fingerprints(A[0], members, used[0], moduli[0], weights, keys):
        return -1
    order = np.argsort(keys)
    count, last = 0, -1
    for j in order:
        label[j] = -1
        if has(members, j):
            continue
        if last >= 0 and keys[j] == keys[last]:
            for t in range(K):
                if not are_parallel(A[t], used[t], last, j, moduli[t]):
                    return -1
        else:
            count += 1
        label[j] = count - 1
        last = j
    return count


@njit(cache=True, nogil=True)
def exact_or(
    value: float, bound: float, R: Array, moduli: Array, j: int, S: Array, c: int
) -> float:  # pragma: no cover - compiled
    """A number with the sign of coordinate c of row j on the flat of S."""
    return value if abs(value) > bound else float(coefficient_sign(R, moduli, j, S, c))


@njit(cache=True, nogil=True)
def visit(
    Z: Array,
    R: Array,
    moduli: Array,
    lines: Array,
    line_moduli: Array,
    zobrist: Array,
    members: Array,
    bases: Array,
    begin: int,
    outside: Array,
    covers: tuple[Array, Array, Array, Array, Array],
) -> tuple[int, int, int]:  # pragma: no cover - compiled
    """The signs outside every flat at its vertex, and the flats that cover it. (status, next flat, covers)."""
    N, r = Z.shape
    key, above, signs, below, row = covers
    k = bases.shape[1]
    c = r - 1 - k
    a, b, label = np.empty(N), np.empty(N), np.zeros(N, np.int64)
    B, Y = np.empty((r, r)), np.zeros((r, r))
    count = 0
    for w in range(begin, members.shape[0]):
        if c > 0 and count + N > key.size:
            return FULL, w, count
        S = bases[w]
        norm, g = invert(Z, S, B, Y)
        zero_bound = restrict(Z, S, 0, Y, norm, g, a)
        bound = restrict(Z, S, c, Y, norm, g, b)
        number = 1
        if c > 0:
            number = classes(lines, line_moduli, S, members[w], zobrist[:r], label)
            if number < 0:
                return UNLUCKY, w, count
        infinity = label[N - 1]
        first = np.full(number, -1, np.int64)
        for j in range(N):
            if has(members[w], j):
                continue
            if c == 0 or label[j] == infinity:
                value = exact_or(a[j], zero_bound, R, moduli, j, S, 0)
                set_bit(outside[w], j, value > 0.0)
            else:
                value = exact_or(b[j], bound, R, moduli, j, S, c)
                set_bit(outside[w], j, value < 0.0)
                f = first[label[j]]
                if f < 0:
                    f = count
                    first[label[j]] = f
                    count += 1
                    above[f] = members[w]
                    signs[f] = 0
                    below[f], row[f], key[f] = w, j, np.uint64(0)
                    for i in range(N):
                        if has(members[w], i):
                            key[f] ^= zobrist[i]
                set_bit(above[f], j, True)
                set_bit(signs[f], j, value > 0.0)
                key[f] ^= zobrist[j]
            if value == 0.0:
                return UNLUCKY, w, count
    return DONE, members.shape[0], count


@njit(cache=True, nogil=True)
def same(a: Array, b: Array) -> bool:  # pragma: no cover - compiled
    equal = True
    for t in range(a.size):
        equal &= a[t] == b[t]
    return equal


@njit(cache=True, nogil=True)
def slot_of(words: Array, mask: Any) -> Any:  # pragma: no cover - compiled
    h = np.uint64(0x9E3779B97F4A7C15)
    for t in range(words.size):
        h = (h ^ words[t]) * np.uint64(0xBF58476D1CE4E5B9)
        h ^= h >> np.uint64(31)
    return np.int64(h & np.uint64(mask))


@njit(cache=True, nogil=True)
def common(
    below: Array, signs: Array, members: Array, offsets: Array, patterns: Array, out: Array, table: Array
) -> int:  # pragma: no cover - compiled
    """Write N(F) for the flat F with the given covered flats; table is empty (-1) before and after."""
    total = 0
    for w in below:
        total += offsets[w + 1] - offsets[w]
    mask = 1
    while mask < 2 * total:
        mask *= 2
    mask -= 1
    W = signs.shape[1]
    least = np.empty((total, W), np.uint64)
    key = np.empty(W, np.uint64)
    position = 0
    for s in range(below.size):
        for q in range(offsets[below[s]], offsets[below[s] + 1]):
            for t in range(W):
                least[position, t] = patterns[q, t] | signs[s, t]
            slot = slot_of(least[position], mask)
            while table[slot] >= 0:
                slot = (slot + 1) & mask
            table[slot] = position
            position += 1
    count = 0
    for s in range(below.size):
        w = below[s]
        for q in range(offsets[w], offsets[w + 1]):
            for t in range(W):
                key[t] = (members[w, t] & ~patterns[q, t]) | signs[s, t]
            slot = slot_of(key, mask)
            while table[slot] >= 0:
                if same(least[table[slot]], key):
                    out[count] = key
                    count += 1
                    break
                slot = (slot + 1) & mask
    table[: mask + 1] = -1
    return count


@njit(cache=True, nogil=True)
def meet(
    starts: Array,
    above: Array,
    below: Array,
    signs: Array,
    members: Array,
    offsets: Array,
    patterns: Array,
    sizes: Array,
    out: Array,
) -> tuple[int, int]:  # pragma: no cover - compiled
    """N(F) for the groups of covers between the starts. (status, patterns)."""
    most = 1
    for f in range(starts.size - 1):
        total = 0
        for s in range(starts[f], starts[f + 1]):
            total += offsets[below[s] + 1] - offsets[below[s]]
            if not same(above[s], above[starts[f]]):
                return UNLUCKY, 0
        most = max(most, total)
    table = np.full(4 * most, -1, np.int64)
    count = 0
    for f in range(starts.size - 1):
        group = slice(starts[f], starts[f + 1])
        sizes[f] = common(below[group], signs[group], members, offsets, patterns, out[count:], table)
        count += sizes[f]
    return DONE, count


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
        self.lines = residues(central.lines, self.line_moduli)
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
            part = Covers.empty(max(_PAIRS, self.N), self.words)
            arrays = (part.key, part.members, part.signs, part.below, part.row)
            status, begin, count = visit(
                self.Z, self.R, self.moduli, self.lines, self.line_moduli, self.zobrist,
                flats.members, flats.bases, begin, outside, arrays,
            )  # fmt: skip
            if status == UNLUCKY:
                raise Unlucky
            parts.append(part[:count] if count > _PAIRS // 2 else part[np.arange(count)])
        return outside, Covers.join(parts)

    def above(self, flats: Flats, covers: Covers, size: int) -> Iterator[Flats]:
        """The flats of the next rank, in blocks that hold about `size` patterns."""
        covers = covers[np.argsort(covers.key, kind="stable")]
        new = np.flatnonzero(np.concatenate([[True], covers.key[1:] != covers.key[:-1]]))
        starts = np.append(new, covers.key.size)
        candidates = np.concatenate([[0], np.cumsum(np.diff(flats.offsets)[covers.below])])[starts]
        begin = 0
        while begin < starts.size - 1:
            end = int(np.searchsorted(candidates, candidates[begin] + size, side="right")) - 1
            end = max(end, begin + 1)
            block = starts[begin : end + 1]
            sizes = np.zeros(end - begin, dtype=np.int64)
            out = np.empty((candidates[end] - candidates[begin], self.words), dtype=np.uint64)
            status, count = meet(
                block, covers.members, covers.below, covers.signs,
                flats.members, flats.offsets, flats.patterns, sizes, out,
            )  # fmt: skip
            if status == UNLUCKY:
                raise Unlucky
            first = covers[block[:-1]]
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
