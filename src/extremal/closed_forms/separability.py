"""Orthogonal separability: x_i . x_j > 0 within a class, <= 0 across."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike

from extremal.closed_forms.rows import labelled, unit_rows
from extremal.design import Array


def is_orthogonally_separable(X: ArrayLike, y: ArrayLike, *, tol: float = 0.0) -> bool:
    """Whether x_i . x_j > 0 for rows of the same label (i = j included) and x_i . x_j <= 0 for different labels.

    On such data gradient flow from a small balanced start ends at the global max-margin network.

    Parameters
    ----------
    X : array of shape (n, d)
    y : array of shape (n,)
        Labels -1/+1 or 0/1; there may be a single class.
    tol : float
        With a positive `tol`, cosines up to it are accepted across the classes (and must exceed it within one): for
        data that have been rounded. With 0 the answer is exact for the numbers given; where rounding could decide,
        they are multiplied as fractions.

    Raises
    ------
    ValueError
        If X or y are not finite, do not fit together, or y has more than two values.

    References
    ----------
    Phuong & Lampert (ICLR 2021); Wang & Pilanci (ICLR 2022).
    """
    rows, labels = labelled(X, y)
    units, _ = unit_rows(rows)
    same = labels[:, None] == labels
    cosines = units @ units.T
    doubt = (rows.shape[1] + 8) * np.finfo(float).eps * (np.abs(units) @ np.abs(units).T) if tol == 0 else 0.0
    if np.any(same & (cosines <= tol - doubt)) or np.any(~same & (cosines > tol + doubt)):
        return False
    if tol > 0:
        return True
    open_pairs = np.argwhere(np.triu(np.abs(cosines) <= doubt))
    return all((_sign(rows[i], rows[j]) > 0) == same[i, j] for i, j in open_pairs)


def _sign(a: Array, b: Array) -> int:
    """The sign of a . b, exactly."""
    both = np.flatnonzero((a != 0) & (b != 0))
    product = sum((Fraction(float(a[k])) * Fraction(float(b[k])) for k in both), Fraction(0))
    return (product > 0) - (product < 0)
