"""What a state computes on the data: outputs, losses and multipliers, in logarithms where they may under- or overflow.

q_k = y_k f(x_k) for the losses of margins, q_k = f(x_k) for the squared loss. lam = -grad_f of the loss, and
S = sum_k |lam_k| is its slope. Snapshots are rows throughout: every array has their number T as first axis.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.special import logsumexp

from extremal.design import Array, Design

#: Losses whose minimisation sends the weights to infinity.
MARGIN_LOSSES = ("logistic", "exponential")
LOSSES = (*MARGIN_LOSSES, "squared")

#: Entries of the largest intermediate array.
BLOCK = 4_000_000


def check_loss(loss: str) -> str:
    """The name of a loss that the flow knows; ValueError for any other."""
    if loss not in LOSSES:
        raise ValueError(f"unknown loss {loss!r}; the flow knows {', '.join(LOSSES)}")
    return loss


def blocks(count: int, size: int) -> Iterator[slice]:
    """Slices of range(count) such that arrays of `size` entries per index stay below BLOCK entries."""
    step = max(1, BLOCK // max(size, 1))
    return (slice(start, min(start + step, count)) for start in range(0, count, step))


def scaled_outputs(X: Array, directions: Array, log_norms: Array, ratios: Array) -> tuple[Array, Array]:
    """f(X) / e^(2 s) of shape (T, n) with s = max_i log_norms (T,), and s: no factor overflows.

    Parameters
    ----------
    X : array of shape (n, d)
    directions : array of shape (T, m, d)
    log_norms, ratios : arrays of shape (T, m)
    """
    count, m = log_norms.shape
    top = log_norms.max(axis=1, initial=-np.inf) if m else np.zeros(count)
    weights = ratios * np.exp(2 * (log_norms - top[:, None]))
    outputs = np.empty((count, len(X)))
    for block in blocks(count, m * len(X)):
        active = np.maximum(directions[block] @ X.T, 0)
        outputs[block] = np.matmul(weights[block][:, None, :], active)[:, 0, :]
    return outputs, top


def log_losses(loss: str, q: Array, y: Array) -> Array:
    """log of the total loss, shape (T,); -inf where it is zero."""
    with np.errstate(divide="ignore"):
        if loss == "squared":
            return 2 * np.log(np.linalg.norm(q - y, axis=1)) - np.log(2.0)
        if loss == "exponential":
            return logsumexp(-q, axis=1)
        # log(1 + e^-q) = e^-q (1 - e^-q / 2 + ...): beyond 40 its logarithm is -q to all digits
        return logsumexp(np.where(q > 40, -q, np.log(np.logaddexp(0, -np.minimum(q, 40)))), axis=1)


def multipliers(loss: str, q: Array, y: Array) -> tuple[Array, Array]:
    """lam / S of shape (T, n), and log S of shape (T,); zeros and -inf where the loss has no slope."""
    if loss == "squared":
        residual = y - q
        size = np.abs(residual).sum(axis=1)
        with np.errstate(divide="ignore"):
            return residual / np.where(size > 0, size, 1.0)[:, None], np.log(size)
    log_sizes = -q if loss == "exponential" else -np.logaddexp(0, q)
    log_slope = logsumexp(log_sizes, axis=1)
    return y * np.exp(log_sizes - log_slope[:, None]), log_slope


def log_smoothed(loss: str, log_loss: Array) -> Array:
    """log(1 / L) for the exponential, log(1 / (e^L - 1)) for the logistic loss: smooth minima of the margins q.

    The second is -log(prod_k (1 + e^-q_k) - 1). NaN for the squared loss and where the value is negative.
    """
    if loss == "squared":
        return np.full_like(log_loss, np.nan)
    value = -log_loss
    if loss == "logistic":
        small = log_loss < -40
        value = np.where(small, value, -np.log(np.expm1(np.exp(np.clip(log_loss, -40, 1)))))
    return np.where(value >= 0, value, np.nan)


def alignments(X: Array, y: Array, directions: Array, ratios: Array) -> Array:
    """cos(v_i, s_i X^T diag(x_k . v_i > 0) y), s_i = sign(b_i), shape (T, m); NaN where that vector is zero.

    Its fixed points +1 are what a small start aligns with first (Wang & Pilanci, ICLR 2022).
    """
    count, m = ratios.shape
    cosines = np.full((count, m), np.nan)
    X = X / Design(X).magnitude
    for block in blocks(count, m * max(X.shape)):
        drive = np.sign(ratios[block])[:, :, None] * (((directions[block] @ X.T) > 0) * y @ X)
        size = np.linalg.norm(drive, axis=2)
        moving = size > 1e-14 * float(np.abs(y) @ np.linalg.norm(X, axis=1))
        along = np.einsum("tmd,tmd->tm", drive, directions[block])
        cosines[block] = np.where(moving, along / np.where(moving, size, 1.0), np.nan)
    return np.clip(cosines, -1.0, 1.0)
