"""Plain trainings that published figures compare with: gradient descent, its stochastic form, and L-BFGS restarts."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize

from extremal.design import Array


def small_start(
    x: Array, y: Array, *, width: int, init: float, seed: int, step: float = 0.02, steps: int = 40_000
) -> tuple[Array, Array, Array]:
    """Gradient descent on 1/2 |f - y|^2, f(x) = sum a_j (w_j x + b_j)_+, from weights ~ N(0, init^2): (w, b, a).

    It ends when every residual is below 1e-4.
    """
    w, b, a = np.random.default_rng(seed).normal(0.0, init, (3, width))
    for k in range(steps):
        z = np.outer(x, w) + b
        h = np.maximum(z, 0)
        r = h @ a - y
        if k % 500 == 0 and np.abs(r).max() < 1e-4:
            break
        back = (z > 0) * np.outer(r, a)
        w, b, a = w - step * (x @ back), b - step * back.sum(axis=0), a - step * (h.T @ r)
    return w, b, a


def stochastic(
    x: Array,
    y: Array,
    *,
    width: int,
    beta: float,
    runs: int,
    seed: int,
    loss: str = "squared",
    free: bool = False,
    step: float = 0.01,
    steps: int = 40_000,
) -> tuple[Array, Array, Array, Array, Array]:
    """SGD, one sample a step, on sum loss + beta / 2 (|w|^2 + |a|^2 + |b|^2): last objectives (runs,), w, b, a, c.

    The step is constant for the first half and falls linearly to zero in the second. With `free` the bias is not
    penalised, and there is a constant c; the weights are (runs, width).
    """
    rng, n = np.random.default_rng(seed), x.size
    w, b, a = rng.normal(size=(3, runs, width)) * width**-0.25
    c, kept = np.zeros((runs, 1)), 0.0 if free else beta
    for k in range(steps):
        eta = step * min(1.0, 2 * (1 - k / steps))
        i = rng.integers(n, size=runs)
        at, label = x[i][:, None], y[i][:, None]
        z = w * at + b
        h = np.maximum(z, 0)
        f = (h * a).sum(axis=1, keepdims=True) + c
        r = n * (f - label if loss == "squared" else np.where(label * f < 1, -label, 0.0))
        back = np.where(z > 0, a * r, 0.0)
        c = c - eta * r if free else c
        w, b, a = (
            (1 - eta * beta) * w - eta * back * at,
            (1 - eta * kept) * b - eta * back,
            (1 - eta * beta) * a - eta * h * r,
        )
    f = np.einsum("rm,rmn->rn", a, np.maximum(w[:, :, None] * x + b[:, :, None], 0)) + c
    misfit = 0.5 * (f - y) ** 2 if loss == "squared" else np.maximum(1 - y * f, 0)
    penalty = beta * (w**2 + a**2).sum(axis=1) + kept * (b**2).sum(axis=1)
    return misfit.sum(axis=1) + 0.5 * penalty, w, b, a, c


def restarts(X: Array, y: Array, *, width: int, beta: float, runs: int, seed: int) -> Array:
    """L-BFGS from random starts on 1/2 |f - y|^2 + beta / 2 (|W|^2 + |a|^2), bias and constant free: objectives."""
    d, rng = X.shape[1], np.random.default_rng(seed)

    def objective(theta: Array) -> tuple[float, Array]:
        W, b, a = theta[: d * width].reshape(d, width), theta[d * width : (d + 1) * width], theta[(d + 1) * width : -1]
        z = X @ W + b
        h = np.maximum(z, 0)
        r = h @ a + theta[-1] - y
        back = (z > 0) * np.outer(r, a)
        value = 0.5 * float(r @ r) + 0.5 * beta * (float(np.vdot(W, W)) + float(a @ a))
        gradient = [(X.T @ back + beta * W).ravel(), back.sum(axis=0), h.T @ r + beta * a, [r.sum()]]
        return value, np.concatenate(gradient)

    options = {"maxiter": 5000, "maxcor": 30, "ftol": 1e-12, "gtol": 1e-9}
    found = []
    for _ in range(runs):
        start = np.append(width**-0.25 * rng.normal(size=(d + 2) * width), 0.0)
        found.append(float(minimize(objective, start, jac=True, method="L-BFGS-B", options=options).fun))
    return np.array(found)
