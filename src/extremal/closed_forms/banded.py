"""Banded systems by elimination with partial pivoting, compiled: the general routine needs several times as long."""

from __future__ import annotations

from numba import njit

from extremal.design import Array


@njit(cache=True, nogil=True)
def solve_banded(rows: Array, right: Array) -> Array:
    """x with A x = right.

    Parameters
    ----------
    rows : array of shape (N, 2 w + 1)
        A has w diagonals on either side, and rows[i, w + j - i] = A[i, j]. Overwritten.
    right : array of shape (N, r)
        Overwritten with the solution, which is returned; not finite if A is singular.
    """
    N, r = right.shape
    reach = rows.shape[1]
    width = reach // 2
    # In the window of the pivot k every row starts at column k: that is so for row k + width, and elimination shifts
    # the others. A row never has more than `reach` entries from there.
    for i in range(min(width, N)):
        skip = width - i
        for j in range(reach):
            rows[i, j] = rows[i, j + skip] if j + skip < reach else 0.0
    for k in range(N):
        last = min(k + width, N - 1)
        pivot = k
        for i in range(k + 1, last + 1):
            if abs(rows[i, 0]) > abs(rows[pivot, 0]):
                pivot = i
        if pivot != k:
            for j in range(reach):
                rows[k, j], rows[pivot, j] = rows[pivot, j], rows[k, j]
            for j in range(r):
                right[k, j], right[pivot, j] = right[pivot, j], right[k, j]
        for i in range(k + 1, last + 1):
            factor = rows[i, 0] / rows[k, 0] if rows[i, 0] != 0.0 else 0.0
            for j in range(1, reach):
                rows[i, j - 1] = rows[i, j] - factor * rows[k, j]
            rows[i, reach - 1] = 0.0
            for j in range(r):
                right[i, j] -= factor * right[k, j]
    for k in range(N - 1, -1, -1):
        for j in range(1, min(reach, N - k)):
            for c in range(r):
                right[k, c] -= rows[k, j] * right[k + j, c]
        for c in range(r):
            right[k, c] = right[k, c] / rows[k, 0] if rows[k, 0] != 0.0 else float("nan")
    return right
