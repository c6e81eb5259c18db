"""The cells of an arrangement by brute force in rational numbers: nothing is rounded, nothing is clever."""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from math import gcd, lcm

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp


def integers(*shape: int) -> st.SearchStrategy[np.ndarray]:
    """Arrays of integers from -2 to 2: among them are all degeneracies."""
    return hnp.arrays(float, shape, elements=st.integers(-2, 2).map(float))


def cells(X) -> np.ndarray:
    """The strict sign patterns of X u as booleans (p, n), in lexicographic order; the bits of zero rows are 0."""
    rows = [whole([Fraction(entry) for entry in row]) for row in np.asarray(X, dtype=float).tolist()]
    prefixes: list[tuple[bool, ...]] = [()]
    for i, row in enumerate(rows):
        longer = []
        for prefix in prefixes:
            if not any(row):
                longer.append((*prefix, False))
                continue
            for sign in (False, True):
                if feasible([oriented(r, s) for r, s in zip(rows[: i + 1], (*prefix, sign), strict=True) if any(r)]):
                    longer.append((*prefix, sign))
        prefixes = longer
    return np.array(sorted(prefixes), dtype=bool).reshape(len(prefixes), len(rows))


def feasible(rows: list[tuple[int, ...]]) -> bool:
    """Whether some u has r . u > 0 for all rows r: Fourier and Motzkin eliminate one variable after the other."""
    rows = list(set(rows))
    if any(not any(row) for row in rows):
        return False
    if not rows or not rows[0]:
        return True
    up, down = [r for r in rows if r[-1] > 0], [r for r in rows if r[-1] < 0]
    level = [r[:-1] for r in rows if r[-1] == 0]
    for p, q in product(up, down):
        level.append(whole([-q[-1] * a + p[-1] * b for a, b in zip(p[:-1], q[:-1], strict=True)]))
    return feasible(level)


def whole(row) -> tuple[int, ...]:
    """The primitive integer vector on the ray of a rational vector."""
    factor = lcm(*(Fraction(entry).denominator for entry in row))
    integers = [int(entry * factor) for entry in row]
    divisor = gcd(*integers) or 1
    return tuple(entry // divisor for entry in integers)


def oriented(row: tuple[int, ...], sign: bool) -> tuple[int, ...]:
    return row if sign else tuple(-entry for entry in row)
