"""Two layers with batch normalisation: whitened data's closed form for any samples that are independent."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from extremal.closed_forms.deep import parts_of
from extremal.closed_forms.rows import positive, with_targets
from extremal.closed_forms.thresholds import deep_threshold
from extremal.design import Array, Design


@dataclass(frozen=True, eq=False)
class BatchNormNetwork:
    """f(X) = (BN(X U))_+ W with BN(z) = gamma (C z) / |C z| + alpha 1 / sqrt(n), C = I - 1 1^T / n, for every neuron.

    Attributes
    ----------
    directions : array of shape (d, m)
        U, not penalised: normalisation removes their length.
    scale, shift : arrays of shape (m,)
        gamma and alpha.
    output : array of shape (m, c)
    means, lengths : arrays of shape (m,)
        The mean of X u and |C X u| of the training data, for predictions elsewhere.
    samples : int
        n, the number of training samples.
    value : float
        1/2 |f(X) - Y|^2 + beta/2 (|gamma|^2 + |alpha|^2 + |W|_F^2) on the training data: the optimum of any width.
    """

    directions: Array
    scale: Array
    shift: Array
    output: Array
    means: Array
    lengths: Array
    samples: int
    value: float

    def features(self, X: ArrayLike) -> Array:
        """The hidden layer with the statistics of the training data, shape (n, m)."""
        rows = Design.from_data(X).dense()
        if rows.shape[1] != len(self.directions):
            raise ValueError(f"X has {rows.shape[1]} features, the network {len(self.directions)}")
        z = rows @ self.directions - self.means
        normalised = z / np.where(self.lengths > 0, self.lengths, 1.0)
        return np.maximum(self.scale * normalised + self.shift / np.sqrt(self.samples), 0)

    def predict(self, X: ArrayLike) -> Array:
        """The outputs, shape (n, c)."""
        return self.features(X) @ self.output

    def penalty(self) -> float:
        """1/2 (|gamma|^2 + |alpha|^2 + |W|_F^2)."""
        return 0.5 * float(self.scale @ self.scale + self.shift @ self.shift + np.vdot(self.output, self.output))

    def __str__(self) -> str:
        return (
            f"batch-normalised network: {self.directions.shape[0]} features, {self.scale.size} neurons, "
            f"{self.output.shape[1]} outputs; optimal value {self.value:.15g}"
        )


def batch_norm(X: ArrayLike, Y: ArrayLike, *, beta: float) -> BatchNormNetwork:
    """min 1/2 |f(X) - Y|^2 + beta/2 (|gamma|^2 + |alpha|^2 + |W|_F^2) for two layers with batch normalisation.

    {gamma z + alpha 1 / sqrt(n) : gamma^2 + alpha^2 <= 1} over the z that are centred and of norm one is the unit ball
    of R^n, as X has full row rank; so the hidden layer is what it is for whitened data, and so is the value. For each
    class u_j = X^+ y_j, gamma_j = |C y_j| / |y_j|, alpha_j = 1^T y_j / (sqrt(n) |y_j|), of output (|y_j| - beta) e_j;
    balanced here, with gamma^2 + alpha^2 = |w|^2.

    Parameters
    ----------
    X : array of shape (n, d)
        Full row rank, n <= d.
    Y : array of shape (n,) or (n, c)
        At most one entry of every row is not zero, as in one-hot labels.
    beta : float
        Positive; classes with |y_j| <= beta get no neuron.

    Returns
    -------
    BatchNormNetwork

    Raises
    ------
    ValueError
        If the rows of X are dependent, a row of Y has two entries, or the data are not finite.

    References
    ----------
    Ergen & Pilanci (ICML 2021).
    """
    rows, targets = with_targets(X, Y)
    beta = positive(beta)
    n, d = rows.shape
    singular = np.linalg.svd(rows, compute_uv=False)
    if n > d or singular[-1] <= 1e-12 * singular[0]:
        rank = int((singular > 1e-12 * singular[0]).sum()) if singular[0] > 0 else 0
        raise ValueError(f"X needs full row rank: it has {n} rows and the rank {rank}")
    directions, outputs, sizes = parts_of(targets)
    found = deep_threshold(sizes, float(beta), 2)
    kept = found.amplitude > 0
    units, strength = directions[:, kept], np.sqrt(found.amplitude[kept])
    U = np.linalg.lstsq(rows, units, rcond=None)[0]
    z = rows @ U
    means = z.mean(axis=0)
    lengths = np.linalg.norm(z - means, axis=0)
    # a class of all samples alike is its mean: nothing is left to normalise
    constant = np.ptp(units, axis=0) <= 1e-13
    lengths[constant] = 0.0
    scale = np.where(constant, 0.0, np.linalg.norm(units - units.mean(axis=0), axis=0))
    shift = units.sum(axis=0) / np.sqrt(n)
    return BatchNormNetwork(
        U, scale * strength, shift * strength, strength[:, None] * outputs[kept], means, lengths, n,
        float(found.value.sum()),
    )  # fmt: skip
