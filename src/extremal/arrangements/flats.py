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
from extremal.arrangements.modular import inverse, moduli_for, remainder, residues
from extremal.arrangements.walk import invert, restrict, set_bit, settle
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
def reduce_modulo(A: Array, S: Array, used: Array, p: int) -> bool:  # pragma: no cover - compiled
    """Restrict the columns of A (d, n) to where the columns S vanish, modulo p; False if S is dependent modulo p."""
    d, n = A.shape
    used[:] = False
    reciprocal = 1.0 / p
    m = np.empty(n, np.int64)
    for i in S:
        lead = -1
        for c in range(d):
            if not used[c] and A[c, i] != 0:
                lead = c
                break
        if lead < 0:
            return False
        used[lead] = True
        scale = p - inverse(A[lead, i], p)
        for j in range(n):
            m[j] = remainder(A[lead, j] * scale, p, reciprocal)
        for c in range(d):
            if not used[c] and A[c, i] != 0:
                factor = A[c, i]
                for j in range(n):
                    A[c, j] = remainder(A[c, j] + m[j] * factor, p, reciprocal)
    return True


@njit(cache=True, nogil=True)
def fingerprints(
    A: Array, inside: Array, used: Array, p: int, weights: Array, keys: Array
) -> bool:  # pragma: no cover - compiled
    """keys[j] = a hash of column j divided by its first entry, for columns outside the flat; False if one is zero."""
    d, n = A.shape
    lead, before = np.zeros(n, np.int64), np.empty(n + 1, np.int64)
    reciprocal = 1.0 / p
    for c in range(d):
        if not used[c]:
            for j in range(n):
                lead[j] = A[c, j] if lead[j] == 0 else lead[j]
    before[0] = 1
    for j in range(n):
        if inside[j]:
            lead[j] = 1
        elif lead[j] == 0:
            return False
        before[j + 1] = remainder(before[j] * lead[j], p, reciprocal)
    running = inverse(int(before[n]), p)  # all inverses from one
    for j in range(n - 1, -1, -1):
        before[j] = remainder(running * before[j], p, reciprocal)
        running = remainder(running * lead[j], p, reciprocal)
    keys[:] = 0
    for c in range(d):
        if not used[c]:
            for j in range(n):
                key = (keys[j] ^ np.uint64(remainder(A[c, j] * before[j], p, reciprocal))) * weights[c]
                keys[j] = key ^ (key >> np.uint64(29))
    return True


@njit(cache=True, nogil=True)
def are_parallel(A: Array, used: Array, i: int, j: int, p: int) -> bool:  # pragma: no cover - compiled
    """Whether two columns are nonzero and proportional modulo p."""
    lead = -1
    for c in range(A.shape[0]):
        if used[c]:
            continue
        if lead < 0:
            if A[c, i] == 0 and A[c, j] == 0:
                continue
            lead = c
        if (A[lead, i] * A[c, j] - A[lead, j] * A[c, i]) % p != 0:
            return False
    return lead >= 0 and A[lead, i] != 0 and A[lead, j] != 0


@njit(cache=True, nogil=True)
def classes(
    R: Array, moduli: Array, S: Array, inside: Array, weights: Array, label: Array
) -> int:  # pragma: no cover - compiled
    """label[j] = the class of row j among the rows that are parallel on the flat; their number, or -1.

    Rows that differ modulo the first prime are not parallel; the others are compared modulo all primes.
    """
    K, d, n = R.shape
    A, used = R[0].copy(), np.zeros(d, np.bool_)
    keys = np.empty(n, np.uint64)
    if not reduce_modulo(A, S, used, moduli[0]) or not fingerprints(A, inside, used, moduli[0], weights, keys):
        return -1
    mask = 1
    while mask < 2 * n:
        mask *= 2
    mask -= 1
    table, leader, count = np.full(mask + 1, -1, np.int64), np.empty(n, np.int64), 0
    repeated = False
    for j in range(n):
        label[j] = -1
        if inside[j]:
            continue
        slot = np.int64(keys[j] & np.uint64(mask))
        while table[slot] >= 0 and keys[leader[table[slot]]] != keys[j]:
            slot = (slot + 1) & mask
        if table[slot] < 0:
            table[slot], leader[count] = count, j
            count += 1
        else:
            repeated = True
        label[j] = table[slot]
    if repeated:
        for t in range(K):
            if t > 0:
                A[:] = R[t]
                if not reduce_modulo(A, S, used, moduli[t]):
                    return -1
            for j in range(n):
                repeats = label[j] >= 0 and leader[label[j]] != j
                if repeats and not are_parallel(A, used, leader[label[j]], j, moduli[t]):
                    return -1
    return count


@njit(cache=True, nogil=True)
def signs_at_vertex(
    Z: Array, R: Array, moduli: Array, S: Array, inside: Array, at_infinity: Array, words: Array, scratch: Array
) -> bool:  # pragma: no cover - compiled
    """The signs at the vertex of the flat of S, of the rows that are not inside it; False if one is zero."""
    (N, r), k = Z.shape, S.size
    c = r - 1 - k
    value, last, error = scratch[0, :N], scratch[1, :N], scratch[2, :N]
    B, Y = scratch[3, : r * r].reshape(r, r), scratch[4, : r * r].reshape(r, r)
    norm, g = invert(Z, S, B, Y)
    error[:] = restrict(Z, S, 0, Y, norm, g, value)
    if c > 0:
        bound = restrict(Z, S, c, Y, norm, g, last)
        for j in range(N):
            value[j] = value[j] if at_infinity[j] else -last[j]
            error[j] = error[j] if at_infinity[j] else bound
    sure = True
    for block in range(words.size):
        word, start = np.uint64(0), 64 * block
        for s in range(min(64, N - start)):
            j = start + s
            word |= np.uint64((value[j] > 0.0) & ~inside[j]) << np.uint64(s)
            sure &= (abs(value[j]) > error[j]) | inside[j]
        words[block] = word
    if sure:
        return True
    near, far, doubtful = 0, 0, np.empty((2, N), np.int64)
    for j in range(N):
        if not inside[j] and not abs(value[j]) > error[j]:
            if at_infinity[j]:
                doubtful[0, far] = j
                far += 1
            else:
                doubtful[1, near] = j
                near += 1
    if not settle(R, moduli, S, 0, 1.0, doubtful[0, :far], words):
        return False
    return settle(R, moduli, S, c, -1.0, doubtful[1, :near], words)


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
    is_last = bases.shape[1] == r - 1
    label, inside, at_infinity = np.zeros(N, np.int64), np.zeros(N, np.bool_), np.ones(N, np.bool_)
    first, scratch = np.empty(N, np.int64), np.empty((5, max(N, r * r)))
    count = 0
    for w in range(begin, members.shape[0]):
        if not is_last and count + N > key.size:
            return FULL, w, count
        S, base = bases[w], np.uint64(0)
        for block in range(members.shape[1]):
            word, start = members[w, block], 64 * block
            for s in range(min(64, N - start)):
                inside[start + s] = (word >> np.uint64(s)) & np.uint64(1) != 0
        if not is_last:
            for j in range(N):
                base ^= zobrist[j] if inside[j] else np.uint64(0)
            number = classes(lines, line_moduli, S, inside, zobrist[:r], label)
            if number < 0:
                return UNLUCKY, w, count
            for j in range(N):
                at_infinity[j] = label[j] == label[N - 1]
            first[:number] = -1
        if not signs_at_vertex(Z, R, moduli, S, inside, at_infinity, outside[w], scratch):
            return UNLUCKY, w, count
        if is_last:
            continue
        new = count
        for j in range(N):
            if inside[j] or at_infinity[j]:
                continue
            f = first[label[j]]
            if f < 0:
                f = count
                first[label[j]] = f
                count += 1
                signs[f] = 0
                below[f], row[f], key[f] = w, j, base
            set_bit(signs[f], j, True)
            key[f] ^= zobrist[j]
        for f in range(new, count):  # at the vertex of w the last coordinate is negative
            for t in range(signs.shape[1]):
                above[f, t] = members[w, t] | signs[f, t]
                signs[f, t] &= ~outside[w, t]
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
    group: Array,
    below: Array,
    signs: Array,
    members: Array,
    offsets: Array,
    patterns: Array,
    out: Array,
    table: Array,
    least: Array,
) -> int:  # pragma: no cover - compiled
    """Write N(F) for the flat F with the given group of covers; the table is empty (-1) before and after."""
    total = 0
    for s in group:
        total += offsets[below[s] + 1] - offsets[below[s]]
    mask = 1
    while mask < 2 * total:
        mask *= 2
    mask -= 1
    W = signs.shape[1]
    position = 0
    for s in group:
        for q in range(offsets[below[s]], offsets[below[s] + 1]):
            for t in range(W):
                least[position, t] = patterns[q, t] | signs[s, t]
            slot = slot_of(least[position], mask)
            while table[slot] >= 0:
                slot = (slot + 1) & mask
            table[slot] = position
            position += 1
    count = 0
    for s in group:
        w = below[s]
        for q in range(offsets[w], offsets[w + 1]):
            key = out[count]
            for t in range(W):
                key[t] = (members[w, t] & ~patterns[q, t]) | signs[s, t]
            slot = slot_of(key, mask)
            while table[slot] >= 0:
                if same(least[table[slot]], key):
                    count += 1
                    break
                slot = (slot + 1) & mask
    table[: mask + 1] = -1
    return count


@njit(cache=True, nogil=True)
def meet(
    order: Array,
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
    """N(F) for the groups order[starts[f] : starts[f + 1]] of covers. (status, patterns)."""
    most = 1
    for f in range(starts.size - 1):
        total = 0
        for position in range(starts[f], starts[f + 1]):
            s = order[position]
            total += offsets[below[s] + 1] - offsets[below[s]]
            if not same(above[s], above[order[starts[f]]]):
                return UNLUCKY, 0
        most = max(most, total)
    table, least = np.full(4 * most, -1, np.int64), np.empty((most, signs.shape[1]), np.uint64)
    count = 0
    for f in range(starts.size - 1):
        group = order[starts[f] : starts[f + 1]]
        sizes[f] = common(group, below, signs, members, offsets, patterns, out[count:], table, least)
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
