"""The compiled loop of the discrete methods.

Parameters are one array theta of shape (d + 1, m): a column (w_i, b_i) for each neuron. Gradients are those of -loss
divided by its slope S = sum_k |lam_k|, with log S beside them, so that no loss under- or overflows.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from extremal.design import Array

# Codes of the losses, of the methods and of the reasons to leave the loop.
LOGISTIC, EXPONENTIAL, SQUARED = 0, 1, 2
PLAIN, MOMENTUM, ADAM, NORMALISED, DECAYING, UNIT = 0, 1, 2, 3, 4, 5
GOES_ON, LARGE, NOT_FINITE, FIXED = 0, 1, 2, 3

#: The places of `clock`: tau, log t, 1/2 |theta|^2, the number of steps, and of passes over the data.
TAU, LOG_T, HALF_NORM2, STEPS, PASSES = 0, 1, 2, 3, 4


@njit(cache=True, nogil=True)
def slopes(loss: int, f: Array, y: Array, lam: Array) -> float:  # pragma: no cover - compiled
    """Write lam / S with lam = -grad_f of the loss, and return log S (-inf if lam = 0)."""
    n = f.size
    if loss == SQUARED:
        total = 0.0
        for k in range(n):
            lam[k] = y[k] - f[k]
            total += abs(lam[k])
        for k in range(n):
            lam[k] /= total if total > 0.0 else 1.0
        return np.log(total) if total > 0.0 else -np.inf
    top = -np.inf
    for k in range(n):
        q = y[k] * f[k]
        if loss == LOGISTIC:
            lam[k] = -max(q, 0.0) - np.log1p(np.exp(-abs(q)))
        else:
            lam[k] = -q
        top = max(top, lam[k])
    total = 0.0
    for k in range(n):
        lam[k] = np.exp(lam[k] - top)
        total += lam[k]
    for k in range(n):
        lam[k] *= y[k] / total
    return top + np.log(total)


@njit(cache=True, nogil=True)
def ascent_direction(
    X: Array, y: Array, loss: int, theta: Array, out: Array, Z: Array, lam: Array
) -> float:  # pragma: no cover - compiled
    """Write -grad of the loss over S, and return log S; relu'(0) = 0. Z (n, m) and lam (n,) are work space."""
    n, d = X.shape
    m = theta.shape[1]
    np.dot(X, theta[:d], Z)
    b = theta[d]
    for k in range(n):
        for i in range(m):
            Z[k, i] = max(Z[k, i], 0.0)
    log_slope = slopes(loss, np.dot(Z, b), y, lam)
    out[d] = np.dot(lam, Z)
    for k in range(n):
        for i in range(m):
            Z[k, i] = lam[k] * b[i] if Z[k, i] > 0.0 else 0.0
    np.dot(X.T, Z, out[:d])
    return log_slope


@njit(cache=True, nogil=True)
def norm(v: Array) -> float:  # pragma: no cover - compiled
    """|v|, without under- or overflow of the squares."""
    top = np.abs(v).max()
    if top == 0.0:
        return 0.0
    total = 0.0
    for entry in v.flat:
        total += (entry / top) ** 2
    return top * np.sqrt(total)


@njit(cache=True, nogil=True)
def move(theta: Array, G: Array, size: float) -> bool:  # pragma: no cover - compiled
    """theta += size G; whether any entry changed."""
    moved = False
    rows, m = theta.shape
    for j in range(rows):
        for i in range(m):
            new = theta[j, i] + size * G[j, i]
            moved = moved or new != theta[j, i]
            theta[j, i] = new
    return moved


@njit(cache=True, nogil=True)
def straight_step(
    method: int, theta: Array, G: Array, log_slope: float, half_norm2: float, step: float
) -> tuple[bool, float]:  # pragma: no cover - compiled
    """A step along the gradient; whether anything moved, and log dt."""
    if log_slope == -np.inf:
        return False, (np.log(step) if method == PLAIN else -np.inf)
    if method == PLAIN:
        return move(theta, G, step * np.exp(log_slope)), np.log(step)
    size = step
    if method == DECAYING:
        size = step / max(1.0, 2 * half_norm2)
    if method == UNIT:
        length = norm(G)
        size = step / length if length > 0.0 else 0.0
    return move(theta, G, size), np.log(size) - log_slope


@njit(cache=True, nogil=True)
def momentum_step(
    theta: Array, G: Array, scale: float, mean: Array, step: float, momentum: float
) -> tuple[bool, float]:  # pragma: no cover - compiled
    """Heavy ball: mean <- momentum mean + gradient, theta += step mean; dt = step / (1 - momentum)."""
    pulled = False
    rows, m = theta.shape
    for j in range(rows):
        for i in range(m):
            g = scale * G[j, i]
            pulled = pulled or g != 0.0
            mean[j, i] = momentum * mean[j, i] + g
    return move(theta, mean, step) or pulled, np.log(step / (1.0 - momentum))


@njit(cache=True, nogil=True)
def adam_step(
    theta: Array, G: Array, scale: float, m1: Array, m2: Array, count: int, step: float, constants: Array
) -> tuple[bool, float]:  # pragma: no cover - compiled
    """Adam (Kingma & Ba, 2015); dt = |the step| / |the averaged gradient|."""
    beta1, beta2, eps = constants[1], constants[2], constants[3]
    bias1, bias2 = 1.0 - beta1**count, 1.0 - beta2**count
    pulled, top, moved, mean = False, 0.0, 0.0, 0.0
    rows, m = theta.shape
    for j in range(rows):
        for i in range(m):
            g = scale * G[j, i]
            pulled = pulled or g != 0.0
            m1[j, i] = beta1 * m1[j, i] + (1.0 - beta1) * g
            m2[j, i] = beta2 * m2[j, i] + (1.0 - beta2) * g * g
            top = max(top, abs(m1[j, i]))
    for j in range(rows):
        for i in range(m):
            denominator = np.sqrt(m2[j, i] / bias2) + eps
            change = step * (m1[j, i] / bias1) / denominator if denominator > 0.0 else 0.0
            theta[j, i] += change
            moved += change * change
            mean += (m1[j, i] / top) ** 2 if top > 0.0 else 0.0
    if moved == 0.0:
        return pulled, -np.inf
    return True, 0.5 * np.log(moved) - 0.5 * np.log(mean) - np.log(top / bias1)


@njit(cache=True, nogil=True)
def half_square(theta: Array) -> float:  # pragma: no cover - compiled
    """1/2 |theta|^2."""
    total = 0.0
    for entry in theta.flat:
        total += entry * entry
    return 0.5 * total


@njit(cache=True, nogil=True)
def tick(clock: Array, log_dt: float, log_rate: float) -> None:  # pragma: no cover - compiled
    """Move t on by dt, and tau by dt times the rate."""
    clock[TAU] += np.exp(log_dt + log_rate)
    high, low = max(clock[LOG_T], log_dt), min(clock[LOG_T], log_dt)
    if high > -np.inf:
        clock[LOG_T] = high + np.log1p(np.exp(low - high))


@njit(cache=True, nogil=True)
def advance(
    X: Array,
    y: Array,
    loss: int,
    method: int,
    theta: Array,
    m1: Array,
    m2: Array,
    clock: Array,
    steps: int,
    step: float,
    constants: Array,
    batches: Array,
    sizes: Array,
    limit: float,
) -> int:  # pragma: no cover - compiled
    """Up to `steps` steps; the return value says why it ended.

    Parameters
    ----------
    theta, m1, m2 : arrays of shape (d + 1, m)
        Changed in place: the parameters (the last finite ones) and the running means of momentum and Adam.
    clock : array of shape (5,)
        Changed in place.
    constants : array of (momentum, beta1, beta2, eps)
    batches, sizes : integer arrays of shape (steps, batch) and (steps,)
        The rows of each step; without any, all rows at every step.
    limit : float
        Of 1/2 |theta|^2.
    """
    n, d = X.shape
    whole = sizes.size == 0
    rows = n if whole else batches.shape[1]
    G, last = np.empty_like(theta), np.empty_like(theta)
    Z, lam = np.empty((rows, theta.shape[1])), np.empty(rows)
    part, target = (X, y) if whole else (np.empty((rows, d)), np.empty(rows))
    log_targets = np.log(np.abs(y).sum())
    for s in range(steps):
        size = n
        if not whole:
            size = sizes[s]
            for k in range(size):
                part[k] = X[batches[s, k]]
                target[k] = y[batches[s, k]]
        log_slope = ascent_direction(part[:size], target[:size], loss, theta, G, Z[:size], lam[:size])
        log_slope += np.log(n / size)  # unbiased for the sum over all rows
        last[:] = theta
        if method == ADAM:
            count = int(clock[STEPS]) + 1
            moved, log_dt = adam_step(theta, G, np.exp(log_slope), m1, m2, count, step, constants)
        elif method == MOMENTUM:
            moved, log_dt = momentum_step(theta, G, np.exp(log_slope), m1, step, constants[0])
        else:
            moved, log_dt = straight_step(method, theta, G, log_slope, clock[HALF_NORM2], step)
        clock[PASSES] += size / n
        half = half_square(theta)
        if not np.isfinite(half):
            theta[:] = last
            return NOT_FINITE
        if whole and not moved:
            return FIXED
        clock[STEPS] += 1
        clock[HALF_NORM2] = half
        tick(clock, log_dt, log_targets if loss == SQUARED else log_slope)
        if half >= limit:
            return LARGE
    return GOES_ON
