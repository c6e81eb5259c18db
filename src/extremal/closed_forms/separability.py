"""Orthogonal separability, x_i . x_j > 0 within a class and <= 0 across: of two classes and of more."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike

from extremal.closed_forms.rows import classes, unit_rows
from extremal.design import Array


def is_orthogonally_separable(X: ArrayLike, y: ArrayLike, *, tol: float = 0.0) -> bool:
    """Whether x_i . x_j > 0 for rows of the same label (i = j included) and x_i . x_j <= 0 for different labels.

    On such data of two classes gradient flow from a small balanced start ends at the global max-margin network
    (`orthogonal_flow_limit`); that of K classes is `multiclass_max_margin`.

    Parameters
    ----------
    X : array of shape (n, d)
    y : array of shape (n,)
        Labels -1/+1, or class numbers 0, ..., K-1; there may be a single class.
    tol : float
        With a positive `tol`, cosines up to it are accepted across the classes (and must exceed it within one): for
        data that have been rounded. With 0 the answer is exact for the numbers given; where rounding could decide,
        they are multiplied as fractions.

    Raises
    ------
    ValueError
        If X or y are not finite or do not fit together, or y holds no labels.

    References
    ----------
    Phuong & Lampert (ICLR 2021); Wang & Pilanci (ICLR 2022); Min, Zhu & Vidal (NeurIPS 2025) for K classes.
    """
    rows, labels, _ = classes(X, y)
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


@dataclass(frozen=True)
class ClassCosines:
    """How far apart the classes are, in cosines of their rows.

    Attributes
    ----------
    within : float
        mu_s, the smallest cosine of two rows of one class; 1 if no class has two.
    across : float
        -mu_d, the largest cosine of two rows of different classes; -1 if there is one class.
    n_classes : int
        The classes that have a row.
    """

    within: float
    across: float
    n_classes: int

    @property
    def bound(self) -> float:
        """-1 / (K - 1): no data of K classes have all cosines across them below it; -1 for one class."""
        return -1.0 / max(self.n_classes - 1, 1)

    @property
    def separable(self) -> bool:
        """Whether the rows are orthogonally separable, up to rounding: `is_orthogonally_separable` is exact."""
        return self.within > 0 >= self.across

    def __str__(self) -> str:
        return (
            f"{self.n_classes} classes: cosines >= {self.within:.6g} within, <= {self.across:.6g} across "
            f"(no data are below {self.bound:.6g})"
        )


def class_cosines(X: ArrayLike, y: ArrayLike) -> ClassCosines:
    """The constants mu_s and mu_d of orthogonal separability, x_i . x_j >= mu_s |x_i| |x_j| or <= -mu_d |x_i| |x_j|.

    Parameters
    ----------
    X : array of shape (n, d)
        Without zero rows, which have no direction.
    y : array of shape (n,)
        Labels -1/+1, or class numbers 0, ..., K-1.

    Raises
    ------
    ValueError
        If X or y are not finite or do not fit together, X has a zero row, or y holds no labels.

    Notes
    -----
    mu_d <= 1 / (K - 1): for a unit vector u_c of each class 0 <= |sum_c u_c|^2 <= K - K (K - 1) mu_d, with equality
    for the vertices of a simplex.

    References
    ----------
    Min, Zhu & Vidal (NeurIPS 2025).
    """
    rows, labels, _ = classes(X, y)
    units, norms = unit_rows(rows)
    if not norms.all():
        raise ValueError("X has a zero row, which has no direction")
    cosines = np.clip(units @ units.T, -1.0, 1.0)
    same = labels[:, None] == labels
    pairs = ~np.eye(len(rows), dtype=bool)
    within, across = cosines[same & pairs].min(initial=1.0), cosines[~same].max(initial=-1.0)
    return ClassCosines(float(within), float(across), np.unique(labels).size)


def _sign(a: Array, b: Array) -> int:
    """The sign of a . b, exactly."""
    both = np.flatnonzero((a != 0) & (b != 0))
    product = sum((Fraction(float(a[k])) * Fraction(float(b[k])) for k in both), Fraction(0))
    return (product > 0) - (product < 0)
