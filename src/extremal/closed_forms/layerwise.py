"""Training layer by layer: features that are alike within a class and differ across classes as much as they can."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize

from extremal.closed_forms.rows import fitting
from extremal.design import Array, Design
from extremal.training import beta_max, fit

if TYPE_CHECKING:
    from extremal.training import FitResult

#: L-BFGS remembers this many steps.
MEMORY = 20


def ideal_gram(y: ArrayLike, *, same: float = 1.0, other: float = 0.0) -> Array:
    """The ideal Gram matrix G*: `same` for two samples of one class, `other` across classes; shape (n, n).

    For two classes and a kernel machine f(x_i) = sum_j alpha_j y_j G_ij, alpha >= 0, every margin y_i f(x_i) is a sum
    of alpha_j G_ij over the own class minus the same over the other, so that no G with entries in [other, same] has
    larger margins, or a smaller value of any loss that decreases in them. Features of a ReLU layer are nonnegative:
    their cosines lie in [0, 1].

    Raises
    ------
    ValueError
        If y is not a vector of labels.

    References
    ----------
    Duan, Yu, Chen & Principe (Neural Computation 2020).
    """
    labels = np.asarray(y)
    if labels.ndim != 1 or not labels.size:
        raise ValueError(f"y must be labels of shape (n,); its shape is {labels.shape}")
    return np.where(labels[:, None] == labels, same, other)


def gram_alignment(H: ArrayLike, y: ArrayLike) -> float:
    """<G_c, G*_c> / (|G_c| |G*_c|) of the centred Gram matrices of features H (n, m) and of the classes: 1 is ideal.

    Raises
    ------
    ValueError
        If H is not finite, does not fit y, or there is a single class.
    """
    rows, labels = _classes(H, y)
    return _alignment(rows, _indicator(labels))[0]


def ideal_hidden(X: ArrayLike, y: ArrayLike) -> Array:
    """Hidden weights W (d, K) with (XW)_+ the indicators of the classes: alignment one, for X of full row rank.

    W = X^+ Y with Y the indicators. On whitened data the neurons of the optimal network are of this form too: training
    both layers together and layer by layer find the same features.

    Raises
    ------
    ValueError
        If the rows of X are linearly dependent, so that not every feature can be reached.
    """
    rows, labels = _classes(X, y)
    if np.linalg.matrix_rank(rows) < len(rows):
        raise ValueError("the rows of X are linearly dependent; ideal features need full row rank")
    return np.linalg.lstsq(rows, _indicator(labels), rcond=None)[0]


@dataclass(frozen=True, eq=False)
class LayerwiseResult:
    """Hidden layers that were trained one after the other.

    Attributes
    ----------
    layers : list of arrays (d_l + 1, m_l)
        The weights of each layer; the last row is the bias.
    alignments : list of float
        The alignment with the ideal Gram matrix: of the data, and after each layer.
    """

    layers: list[Array]
    alignments: list[float]

    def features(self, X: ArrayLike) -> Array:
        """What the last layer makes of X."""
        H = Design.from_data(X).dense()
        if H.shape[1] != len(self.layers[0]) - 1:
            raise ValueError(f"X has {H.shape[1]} features, the layers were trained on {len(self.layers[0]) - 1}")
        for W in self.layers:
            H = _layer(H, W)
        return H

    def __str__(self) -> str:
        steps = " -> ".join(f"{alignment:.4f}" for alignment in self.alignments)
        return (
            f"{len(self.layers)} layers of widths {', '.join(str(W.shape[1]) for W in self.layers)}, alignment {steps}"
        )


def train_layerwise(
    X: ArrayLike,
    y: ArrayLike,
    widths: ArrayLike,
    *,
    iterations: int = 200,
    random_state: int = 0,
) -> LayerwiseResult:
    """Train layer after layer: each maximises the alignment of its features with the classes, the earlier ones fixed.

    maximise <G_c, G*_c> / (|G_c| |G*_c|) over W (d + 1, m), by L-BFGS from a random start, for G the Gram matrix of the
    features (XW)_+, with a bias; they are scaled to rows of norm one on average, which changes nothing. No gradient
    passes through more than one layer.

    Parameters
    ----------
    X : array of shape (n, d)
    y : array of shape (n,)
        Labels of any kind, two classes or more.
    widths : sequence of int
        Of the layers.
    iterations : int
        Of L-BFGS for each layer.

    Raises
    ------
    ValueError
        If the data are not finite or do not fit together, there is a single class, or a width is not positive.
    """
    H, labels = _classes(X, y)
    sizes = np.atleast_1d(np.asarray(widths))
    if sizes.ndim != 1 or not np.issubdtype(sizes.dtype, np.integer) or not sizes.size or sizes.min() < 1:
        raise ValueError(f"widths must be positive integers; they are {widths!r}")
    Y, rng = _indicator(labels), np.random.default_rng(random_state)
    layers, alignments = [], [_alignment(H, Y)[0]]
    for m in sizes:
        start = rng.standard_normal((H.shape[1] + 1, m)) / np.sqrt(H.shape[1] + 1)
        W = _best_layer(H, Y, start, iterations)
        H = _layer(H, W)
        layers.append(W)
        alignments.append(_alignment(H, Y)[0])
    return LayerwiseResult(layers, alignments)


def stack(
    X: ArrayLike, y: ArrayLike, *, depth: int, fraction: float, time_limit: float | None = None
) -> list[FitResult]:
    """Certified two-layer networks on top of each other: each is trained on the hidden features of the one before.

    The features of network l are (H w_j)_+ scaled to |w_j| = 1 and to rows of norm about one; beta is the same fraction
    of beta_max at every stage. Each stage is the global optimum of its own problem, which the next one can only know by
    its features. A stage whose network is zero ends the stack.

    Parameters
    ----------
    X, y
        As for `fit`, squared loss.
    depth : int
        The number of networks.
    fraction : float
        beta / beta_max of each stage, between 0 and 1.
    time_limit : float, optional
        Seconds for each stage.

    Raises
    ------
    ValueError
        If depth or fraction are out of range, or the data cannot be used.
    """
    if depth < 1 or not 0 < fraction < 1:
        raise ValueError(f"depth must be at least 1 and fraction between 0 and 1; they are {depth} and {fraction}")
    H, results = Design.from_data(X).dense(), []
    for _ in range(depth):
        result = fit(H, y, beta=fraction * beta_max(H, y), time_limit=time_limit)
        results.append(result)
        if not result.network.width:
            break
        H = stacked_features(result, H)
    return results


def stacked_features(result: FitResult, H: ArrayLike) -> Array:
    """The hidden features of a stage for the next one: neurons of unit norm, divided by the root of their number."""
    directions = result.network.hidden / np.linalg.norm(result.network.hidden, axis=0)
    rows = Design.from_data(H).dense()
    if result.network.bias:
        rows = np.column_stack([rows, np.ones(len(rows))])
    return np.maximum(rows @ directions, 0) / np.sqrt(result.network.width)


def _best_layer(H: Array, Y: Array, start: Array, iterations: int) -> Array:
    rows, (d, m) = np.column_stack([H, np.ones(len(H))]), start.shape

    def negative(flat: Array) -> tuple[float, Array]:
        Z = rows @ flat.reshape(d, m)
        value, slope = _alignment(np.maximum(Z, 0), Y)
        return -value, -(rows.T @ (slope * (Z > 0))).ravel()

    options = {"maxiter": iterations, "maxcor": MEMORY}
    W = minimize(negative, start.ravel(), jac=True, method="L-BFGS-B", options=options).x.reshape(d, m)
    size = float(np.linalg.norm(_layer(H, W)))
    return W * (np.sqrt(len(H)) / size if size > 0 else 1.0)  # the alignment does not depend on the scale


def _alignment(H: Array, Y: Array) -> tuple[float, Array]:
    """The centred alignment of H H^T with Y Y^T, and its gradient with respect to H; 0 for constant features.

    |G_c| = |Hc^T Hc| and <G_c, G*_c> = |Hc^T Yc|^2: no n x n matrix is formed.
    """
    Hc, Yc = H - H.mean(axis=0), Y - Y.mean(axis=0)
    cross, inner = Yc.T @ Hc, Hc.T @ Hc
    size, target = float(np.linalg.norm(inner)), float(np.linalg.norm(Yc.T @ Yc))
    if size == 0.0:
        return 0.0, np.zeros_like(H)
    value = float(np.vdot(cross, cross)) / (size * target)
    return value, 2 * Yc @ cross / (size * target) - 2 * value * (Hc @ inner) / size**2


def _layer(H: Array, W: Array) -> Array:
    return np.maximum(np.column_stack([H, np.ones(len(H))]) @ W, 0)


def _classes(X: ArrayLike, y: ArrayLike) -> tuple[Array, Array]:
    labels = np.asarray(y)
    if labels.ndim != 1:
        raise ValueError(f"y must be labels of shape (n,); its shape is {labels.shape}")
    _, index = np.unique(labels, return_inverse=True)
    rows, index = fitting(X, index)
    if index.max(initial=0) == 0:
        raise ValueError("there is a single class")
    return rows, index


def _indicator(index: Array) -> Array:
    return (index[:, None] == np.arange(index.max() + 1)).astype(np.float64)
