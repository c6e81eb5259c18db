"""The distinct rows of a data set.

Training depends on the data only through its distinct rows (x_i, y_i) and the total weight of each. Handing
the solver exactly these, in a fixed order, makes an estimator's answer the same, digit for digit, for every
order of the rows, for weights or repetitions, and for rows of weight zero or their absence.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse

if TYPE_CHECKING:
    from extremal.certificate import Certificate
    from extremal.design import Array
    from extremal.training import FitResult


@dataclass(frozen=True, eq=False)
class DistinctRows:
    """The distinct rows of (X, y), and which of them each original row is.

    Attributes
    ----------
    X : array or CSR array of shape (k, d)
    y : array of shape (k,) or (k, c)
    weight : array of shape (k,)
        The total weight of the original rows, positive.
    member : array of shape (n,)
        The distinct row of every original row; 0 for those without weight.
    share : array of shape (n,)
        The part of that row's weight which an original row has.
    """

    X: Any
    y: Array
    weight: Array
    member: Array
    share: Array

    @classmethod
    def of(cls, X: Any, y: Array, weight: Array) -> DistinctRows:
        """The distinct rows among those with positive weight."""
        used = np.flatnonzero(weight)
        X_used, y_used = X[used], y[used]
        _, first, inverse = np.unique(_row_keys(X_used, y_used), return_index=True, return_inverse=True)
        total = np.bincount(inverse, weights=weight[used])
        member = np.zeros(len(weight), dtype=np.intp)
        member[used] = inverse
        return cls(X_used[first], y_used[first], total, member, weight / total[member])

    def expand(self, result: FitResult) -> FitResult:
        """The result for the original rows: the same network, and the multiplier split by weight."""
        return replace(result, certificate=self._expand_certificate(result.certificate))

    def _expand_certificate(self, certificate: Certificate) -> Certificate:
        # lam_i = -w_i grad loss(f(x_i), y_i) is proportional to the weight, and so every part is dual
        # feasible.
        return replace(certificate, lam=certificate.lam[self.member] * self.share[:, None])


def _row_keys(X: Any, y: Array) -> Array:
    """A key for every row, equal exactly for equal rows (x_i, y_i); 0.0 and -0.0 are equal."""
    labels = np.ascontiguousarray(y.reshape(len(y), -1) + 0.0)
    if sparse.issparse(X):
        parts = _sparse_rows(X)
    else:
        parts = (row.tobytes() for row in np.ascontiguousarray(X + 0.0))
    keys = np.empty(len(labels), dtype=object)
    keys[:] = [part + label.tobytes() for part, label in zip(parts, labels, strict=True)]
    return keys


def _sparse_rows(X: Any) -> Any:
    matrix = sparse.csr_array(X, copy=True)
    matrix.sum_duplicates()
    matrix.eliminate_zeros()
    columns = matrix.indices.astype(np.int64)
    for start, stop in zip(matrix.indptr[:-1], matrix.indptr[1:], strict=True):
        yield columns[start:stop].tobytes() + matrix.data[start:stop].tobytes()
