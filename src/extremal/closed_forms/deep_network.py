"""Networks of any depth, as far as closed forms need them: predictions, objective, and what weight decay balances."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize

from extremal.design import Array, Design
from extremal.losses import Loss, bind

Activation = Literal["relu", "linear"]


@dataclass(frozen=True, eq=False)
class DeepNetwork:
    """f(x) = (... ((x W_1)_+ W_2)_+ ...) W_L, or the same without the rectifiers.

    Attributes
    ----------
    layers : tuple of arrays
        W_l of shape (m_(l-1), m_l), m_0 = d and m_L = c.
    activation : {"relu", "linear"}
        Of all layers but the last.
    """

    layers: tuple[Array, ...]
    activation: Activation = "relu"

    def __post_init__(self) -> None:
        layers = tuple(np.asarray(layer, dtype=np.float64) for layer in self.layers)
        if not layers or any(layer.ndim != 2 for layer in layers):
            raise ValueError("a deep network needs at least one layer, and every layer a matrix")
        if any(first.shape[1] != second.shape[0] for first, second in pairwise(layers)):
            raise ValueError(f"the layers do not fit together: {', '.join(str(layer.shape) for layer in layers)}")
        if not all(np.isfinite(layer).all() for layer in layers):
            raise ValueError("the network has weights that are NaN or infinite")
        if self.activation not in ("relu", "linear"):
            raise ValueError(f"activation must be 'relu' or 'linear', not {self.activation!r}")
        object.__setattr__(self, "layers", layers)

    @property
    def depth(self) -> int:
        """The number of layers L."""
        return len(self.layers)

    @property
    def widths(self) -> tuple[int, ...]:
        """(d, m_1, ..., c)."""
        return (self.layers[0].shape[0], *(layer.shape[1] for layer in self.layers))

    def features(self, X: ArrayLike) -> Array:
        """The inputs of the last layer, shape (n, m_(L-1))."""
        design = Design.from_data(X)
        if design.d != self.widths[0]:
            raise ValueError(f"X has {design.d} features, the network {self.widths[0]}")
        H = design.dense()
        for W in self.layers[:-1]:
            H = H @ W
            if self.activation == "relu":
                H = np.maximum(H, 0)
        return H

    def predict(self, X: ArrayLike) -> Array:
        """The outputs f(X), shape (n, c)."""
        return self.features(X) @ self.layers[-1]

    def penalty(self) -> float:
        """1/2 sum_l |W_l|_F^2."""
        return 0.5 * sum(float(np.vdot(W, W)) for W in self.layers)

    def objective(self, X: ArrayLike, Y: ArrayLike, *, beta: float, loss: str | Loss = "squared") -> float:
        """sum_i loss(f(x_i), y_i) + beta/2 sum_l |W_l|_F^2; the squared loss is 1/2 |.|^2."""
        return bind(loss, Y).value(self.predict(X)) + beta * self.penalty()

    def imbalance(self) -> float:
        """How far the norms into neurons are from those out of them, by the largest |W_l|_F^2: zero at minima."""
        parts = [
            np.abs(np.sum(first**2, axis=0) - np.sum(second**2, axis=1)).max(initial=0.0)
            for first, second in pairwise(self.layers)
        ]
        size = max((float(np.sum(W**2)) for W in self.layers), default=0.0)
        return max(parts, default=0.0) / (size or 1.0)

    def misalignment(self) -> float:
        """The largest |W_l^T W_l - W_(l+1) W_(l+1)^T|_F, relative to |W_l|_F^2: zero at minima of linear networks.

        Then right singular vectors of a layer are left ones of the next, with the same singular values.
        """
        size = max((float(np.sum(W**2)) for W in self.layers), default=0.0)
        parts = [float(np.linalg.norm(first.T @ first - second @ second.T)) for first, second in pairwise(self.layers)]
        return max(parts, default=0.0) / (size or 1.0)

    def singular_values(self) -> list[Array]:
        """Those of every layer, largest first."""
        return [np.linalg.svd(W, compute_uv=False) if min(W.shape) else np.zeros(0) for W in self.layers]

    def __str__(self) -> str:
        return f"DeepNetwork({' - '.join(map(str, self.widths))}, {self.activation})"


def descend(
    network: DeepNetwork, X: ArrayLike, Y: ArrayLike, *, beta: float, steps: int = 2000, tol: float = 1e-10
) -> DeepNetwork:
    """A local minimum of 1/2 |f(X) - Y|^2 + beta/2 sum_l |W_l|_F^2 below the network, by L-BFGS: what training does.

    Parameters
    ----------
    network : DeepNetwork
        The start.
    X : array of shape (n, d)
    Y : array of shape (n,) or (n, c)
    beta : float
    steps : int
        At most so many iterations.
    tol : float
        Of the largest entry of the gradient.

    Returns
    -------
    DeepNetwork
        Its objective is no larger than that of the start.
    """
    X = Design.from_data(X).dense()
    targets = np.asarray(Y, dtype=np.float64).reshape(len(X), -1)
    shapes = [W.shape for W in network.layers]
    cuts = np.cumsum([W.size for W in network.layers])[:-1]
    rectified = network.activation == "relu"

    def unpack(theta: Array) -> list[Array]:
        return [part.reshape(shape) for part, shape in zip(np.split(theta, cuts), shapes, strict=True)]

    def objective(theta: Array) -> tuple[float, Array]:
        layers = unpack(theta)
        inputs = [X]
        for W in layers[:-1]:
            H = inputs[-1] @ W
            inputs.append(np.maximum(H, 0) if rectified else H)
        back = inputs[-1] @ layers[-1] - targets
        value = 0.5 * float(np.vdot(back, back)) + 0.5 * beta * float(theta @ theta)
        gradient = [np.zeros(0)] * len(layers)
        for k in range(len(layers) - 1, -1, -1):
            gradient[k] = (inputs[k].T @ back + beta * layers[k]).ravel()
            if k:
                back = back @ layers[k].T
                if rectified:
                    back = back * (inputs[k] > 0)
        return value, np.concatenate(gradient)

    start = np.concatenate([W.ravel() for W in network.layers])
    options = {"maxiter": steps, "maxfun": 3 * steps, "ftol": 1e-15, "gtol": tol, "maxcor": 20}
    found = minimize(objective, start, jac=True, method="L-BFGS-B", options=options)
    best = found.x if found.fun <= objective(start)[0] else start
    return DeepNetwork(tuple(unpack(best)), network.activation)
