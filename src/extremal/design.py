"""The data matrix X, and every product with it.

Nothing else in the package forms a product with an n-sized operand of X: dense arrays, SciPy sparse matrices and
whatever comes later live behind the few methods of :class:`Design`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

Array = NDArray[Any]

#: The largest magnitude of an entry that is accepted: squares of such numbers do not overflow.
LARGEST_ENTRY = 1e150


@dataclass(frozen=True, eq=False)
class Design:
    """The matrix X (n, d), rows x_i, and the products that the algorithms ask of it.

    Parameters
    ----------
    X : array or CSR matrix of shape (n, d)
        Finite floating-point numbers. Use :meth:`from_data` for anything that comes from a user.
    """

    X: Any

    @classmethod
    def from_data(cls, X: ArrayLike, *, bias: bool = False) -> Design:
        """Check a user's data matrix and append the column of ones that carries a penalised hidden bias.

        Raises
        ------
        ValueError
            If X is not a finite, nonempty, real matrix, or has entries above 1e150 in magnitude.
        """
        design = cls(_as_matrix(X))
        return design.with_column(1.0) if bias else design

    @property
    def n(self) -> int:
        return self.X.shape[0]

    @property
    def d(self) -> int:
        return self.X.shape[1]

    def forward(self, U: Array) -> Array:
        """X U, the pre-activations (n, m) of the directions U (d, m)."""
        return self.X @ U

    def adjoint(self, R: Array) -> Array:
        """X^T R, shape (d, m), for R (n, m)."""
        return self.X.T @ R

    def rows(self, index: Array) -> Array:
        """The rows `index` as a dense array."""
        selected = self.X[index]
        return selected.toarray() if sparse.issparse(selected) else selected

    def dense(self) -> Array:
        """X as a dense array (itself when it is one)."""
        return self.X.toarray() if sparse.issparse(self.X) else self.X

    def gram(self, weight: Array) -> Array:
        """X^T diag(weight) X, shape (d, d); only the rows with a nonzero weight are touched."""
        active = np.flatnonzero(weight)
        if active.size == self.n:
            rows = self.dense()
        else:
            rows = self.rows(active)
        return (rows.T * weight[active]) @ rows

    @cached_property
    def row_norms(self) -> Array:
        """|x_i| for every row, shape (n,)."""
        if sparse.issparse(self.X):
            return np.sqrt(np.asarray((self.X * self.X).sum(axis=1)).ravel())
        return np.sqrt(np.einsum("ij,ij->i", self.X, self.X))

    def astype(self, dtype: Any) -> Design:
        return Design(self.X.astype(dtype))

    def scaled(self, factor: float) -> Design:
        """The design factor * X."""
        return Design(self.X * self.X.dtype.type(factor))

    def with_column(self, value: float) -> Design:
        """The design with one more column, constant."""
        return self._stacked(np.full((self.n, 1), value, dtype=self.X.dtype), axis=1)

    def with_zero_row(self) -> Design:
        """The design with one more row, x = 0, where no neuron is active."""
        return self._stacked(np.zeros((1, self.d), dtype=self.X.dtype), axis=0)

    def shifted(self, shift: Array) -> Design:
        """The dense design with `shift` added to every row."""
        return Design(self.dense() + shift)

    def scale_rows(self, factor: Array) -> Design:
        """The design diag(factor) X."""
        return Design(self.X * factor[:, None])

    def _stacked(self, block: Array, axis: int) -> Design:
        if sparse.issparse(self.X):
            stack = sparse.hstack if axis else sparse.vstack
            return Design(sparse.csr_array(stack([self.X, sparse.csr_array(block)])))
        return Design(np.concatenate([self.X, block], axis=axis))

    @cached_property
    def magnitude(self) -> float:
        """A power of two within a factor of two of the largest row norm (1 for X = 0); dividing by it is exact."""
        entry = float(abs(self.X).max()) if min(self.X.shape) else 0.0
        if entry == 0.0:
            return 1.0
        unit = _power_of_two(entry)
        return unit * _power_of_two(float(self.scaled(1.0 / unit).row_norms.max()))

    def row_space(self) -> tuple[Design, Array | None]:
        """An equivalent design of full column rank: (X V, V) with orthonormal V (d, r), or (self, None).

        Neurons may be taken in the row space of X: a component orthogonal to all rows changes no output and costs norm.
        So a network U for X V is the network V U for X, with the same objective.
        """
        X = self.dense()
        n, d = X.shape
        tall = X.T if d > n else X
        triangle = np.asarray(np.linalg.qr(tall, mode="r"))
        core = triangle.T if d > n else triangle
        singular = np.linalg.svd(core, compute_uv=False)
        cut = singular[0] * max(n, d) * np.finfo(float).eps if singular.size else 0.0
        rank = max(int((singular > cut).sum()), 1)
        if rank == d:
            return self, None
        _, _, Vt = np.linalg.svd(X, full_matrices=False)
        basis = np.ascontiguousarray(Vt[:rank].T)
        return Design(X @ basis), basis


def _power_of_two(value: float) -> float:
    return float(np.ldexp(1.0, int(np.frexp(value)[1])))


def _as_matrix(X: ArrayLike) -> Any:
    """X as a float64 array or CSR array, through scikit-learn's validation when it is not plain already."""
    checked: Any = X
    if not isinstance(X, np.ndarray) or X.dtype.kind not in "fiub":
        from sklearn.utils import check_array

        checked = check_array(X, accept_sparse="csr", dtype=np.float64, input_name="X", ensure_min_samples=1)
    if checked.ndim == 1:
        raise ValueError("X must be two-dimensional; for a single feature use X.reshape(-1, 1)")
    if checked.ndim != 2 or 0 in checked.shape:
        raise ValueError(f"X must be a nonempty matrix of shape (n, d); its shape is {checked.shape}")
    matrix: Any = sparse.csr_array(checked) if sparse.issparse(checked) else np.ascontiguousarray(checked)
    matrix = matrix.astype(np.float64)
    entries: Any = matrix.data if sparse.issparse(matrix) else matrix
    if not np.isfinite(entries).all():
        raise ValueError("X contains NaN or infinity")
    if entries.size and np.abs(entries).max() > LARGEST_ENTRY:
        raise ValueError(f"X has entries above {LARGEST_ENTRY:g} in magnitude; rescale its columns")
    return matrix
