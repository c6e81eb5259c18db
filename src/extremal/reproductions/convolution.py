"""Convolutional networks of two layers: pooled, and linear ones as norms."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import minimize

from extremal.closed_forms import (
    LinearNetwork,
    fit_convolutional,
    linear_circular_convolution,
    linear_convolution,
    patch_matrix,
)
from extremal.design import Array
from extremal.plotting.style import BLUE, GREY, VERMILION, lighten
from extremal.reproductions.result import Comparison, Reproduction

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Objective = Callable[[Array], tuple[float, Array]]


def networks() -> Reproduction:
    """A signal of two frequencies: local search on the filters next to the convex programs, three architectures."""
    rng = np.random.default_rng(0)
    d, n, beta = 24, 40, 2.0
    t = np.arange(d)
    true = np.cos(2 * np.pi * 3 * t / d) + 0.7 * np.sin(2 * np.pi * 7 * t / d)
    X = rng.normal(size=(n, d))
    y = X @ true + 0.5 * rng.normal(size=n)
    circular = linear_circular_convolution(X, y, beta=beta)
    patches = patch_matrix(X[:, :8], 3)
    linear = linear_convolution(patches, y, beta=beta)
    small, target = patches[:15], np.maximum(patches[:15, :, 0], 0).mean(axis=1) + 0.1 * rng.normal(size=15)
    rectified = fit_convolutional(small, target, beta=0.02)
    searches = [
        _best(lambda x: _circular(x, X, y, beta), 2 * d, rng),
        _best(lambda x: _linear(x, patches, y, beta), 4 * (3 + patches.shape[1]), rng),
        _best(lambda x: _pooled(x, small, target, 0.02), 16 * (3 + 1), rng, restarts=30),
    ]
    comparisons = tuple(
        Comparison.claim(
            name,
            claim,
            f"proved >= {found.dual_value:.6f}, attained {found.value:.6f}; local search {best:.6f}",
            found.gap < 2e-6 and best > found.dual_value * (1 - 1e-9),
        )
        for name, claim, found, best in (
            ("linear circular network", "l1 norm of the Fourier transform", circular, searches[0]),
            ("linear convolutional network", "nuclear norm", linear, searches[1]),
            ("ReLU with average pooling", "the convex program of the patch matrix", rectified, searches[2]),
        )
    )
    sentence = (
        "All three nonconvex problems are convex ones with a known norm, and a proof of optimality comes with each; "
        "the circular network keeps the two frequencies of the signal and few others."
    )
    return Reproduction(comparisons, sentence, lambda: _draw(circular, true))


def _best(objective: Objective, size: int, rng: np.random.Generator, restarts: int = 8) -> float:
    starts = (0.5 * rng.normal(size=size) for _ in range(restarts))
    return min(float(minimize(objective, start, method="L-BFGS-B", jac=True).fun) for start in starts)


def _circular(x: Array, X: Array, y: Array, beta: float) -> tuple[float, Array]:
    u, w = np.fft.fft(x.reshape(2, -1))
    residual = X @ np.fft.ifft(u * w).real - y
    slope = np.fft.fft(X.T @ residual)
    gradient = np.concatenate([np.fft.ifft(slope * np.conj(w)).real, np.fft.ifft(slope * np.conj(u)).real])
    return float(0.5 * residual @ residual + beta / 2 * x @ x), gradient + beta * x


def _linear(x: Array, patches: Array, y: Array, beta: float) -> tuple[float, Array]:
    h = patches.shape[2]
    W, A = x[: 4 * h].reshape(h, 4), x[4 * h :].reshape(4, -1)
    residual = np.einsum("nkh,hm,mk->n", patches, W, A) - y
    moment = np.einsum("n,nkh->hk", residual, patches)
    gradient = np.concatenate([(moment @ A.T).ravel(), (W.T @ moment).ravel()])
    return float(0.5 * residual @ residual + beta / 2 * x @ x), gradient + beta * x


def _pooled(x: Array, patches: Array, y: Array, beta: float) -> tuple[float, Array]:
    h, k = patches.shape[2], patches.shape[1]
    W, a = x[: 16 * h].reshape(h, 16), x[16 * h :]
    Z = patches @ W
    hidden = np.maximum(Z, 0).mean(axis=1)
    residual = hidden @ a - y
    slope = np.einsum("nkh,nkm->hm", patches, (Z > 0) * residual[:, None, None] * a / k)
    gradient = np.concatenate([slope.ravel(), hidden.T @ residual])
    return float(0.5 * residual @ residual + beta / 2 * x @ x), gradient + beta * x


def _draw(found: LinearNetwork, true: Array) -> Figure:
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4), layout="constrained")
    left.plot(true, color=GREY, linewidth=3, label="map that made the data")
    left.plot(found.weights[:, 0], color=BLUE, label="optimal circular network")
    left.set(xlabel="position", ylabel="weight of the linear map")
    left.set_ylim(top=1.5 * float(np.abs(true).max()))
    left.legend(loc="upper right")
    half = len(true) // 2 + 1
    moduli = [np.abs(np.fft.fft(z, norm="ortho"))[:half] for z in (true, found.weights[:, 0])]
    for shift, values, colour, label in ((-0.2, moduli[0], GREY, "data"), (0.2, moduli[1], VERMILION, "network")):
        right.bar(np.arange(half) + shift, values, width=0.4, color=colour, label=label)
    right.set(xlabel="frequency", ylabel="modulus of the Fourier coefficient")
    right.legend()
    for ax in (left, right):
        lighten(ax)
    return figure
