"""The start: a wide random network, trained for a few hundred L-BFGS iterations in single precision."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import numpy as np

from extremal.design import Array
from extremal.problem import Problem
from extremal.training.atoms import Atoms

Oracle = Callable[[Array], tuple[float, Array]]


def wide_start(
    problem: Problem,
    rng: np.random.Generator,
    *,
    width: int = 500,
    iterations: int = 150,
    stop: Callable[[], bool] = lambda: False,
) -> Atoms:
    """Local minimisation from a random network of the given width.

    Any local method would do here: what follows only needs neurons near the right cells. Single precision halves
    the time, and its floor of 1e-6 of the objective is far below what this stage aims for.
    """
    d, c = problem.design.d, problem.loss.shape[1]
    U = rng.standard_normal((d, width))
    U /= np.linalg.norm(U, axis=0)
    V = rng.standard_normal((width, c))
    V /= np.linalg.norm(V, axis=1, keepdims=True)
    scale = np.sqrt(1.0 / width)
    start = Atoms(U, V, np.full(width, scale), problem.zero_network.intercept)
    return local_descent(problem, start, iterations=iterations, stop=stop)


def local_descent(
    problem: Problem,
    start: Atoms,
    *,
    iterations: int,
    dtype: type = np.float32,
    stop: Callable[[], bool] = lambda: False,
) -> Atoms:
    """L-BFGS on the balanced weights (W, A, intercept) of the network `start`."""
    shape = (problem.design.d, start.width, problem.loss.shape[1])
    oracle = _objective(problem, shape, dtype)
    root = np.sqrt(start.r)
    parts = [start.U * root, start.V * root[:, None]]
    theta = np.concatenate([part.ravel() for part in parts] + ([start.intercept] if problem.intercept else []))
    # Small products in single precision now and then raise the flag for an invalid operation although all their numbers
    # are finite; a step to values that are not finite is refused by `lbfgs`, whose test of descent they fail.
    with np.errstate(invalid="ignore"):
        theta = lbfgs(oracle, theta.astype(dtype), iterations=iterations, stop=stop)
    W, A, intercept = _unpack(theta.astype(np.float64), shape)
    inner, outer = np.linalg.norm(W, axis=0), np.linalg.norm(A, axis=1)
    r = inner * outer
    alive = r > 1e-6 * max(r.max(initial=0.0), 1e-300)
    W, A, inner, outer, r = W[:, alive], A[alive], inner[alive], outer[alive], r[alive]
    return Atoms(W / inner, A / outer[:, None], r, intercept if problem.intercept else start.intercept)


def _unpack(theta: Array, shape: tuple[int, int, int]) -> tuple[Array, Array, Array]:
    d, m, c = shape
    W = theta[: d * m].reshape(d, m)
    A = theta[d * m : d * m + m * c].reshape(m, c)
    return W, A, theta[d * m + m * c :]


def _objective(problem: Problem, shape: tuple[int, int, int], dtype: type) -> Oracle:
    """theta -> (value, gradient) of loss + beta/2 (|W|^2 + |A|^2); the buffers are reused between calls."""
    d, m, c = shape
    design, loss, beta = problem.design.astype(dtype), problem.loss.astype(dtype), dtype(problem.beta)
    hidden: Array = np.empty((design.n, m), dtype)
    mask: Array = np.empty((design.n, m), dtype)

    def oracle(theta: Array) -> tuple[float, Array]:
        W, A, intercept = _unpack(theta, shape)
        Z = design.forward(W)
        np.greater(Z, 0, out=mask)
        np.maximum(Z, 0, out=hidden)
        F = hidden @ A
        if intercept.size:
            F += intercept
        lam = loss.dual(F)
        value = loss.value(F) + 0.5 * float(beta) * float(np.vdot(theta[: d * m + m * c], theta[: d * m + m * c]))
        gradient = np.empty_like(theta)
        gW, gA, g_intercept = _unpack(gradient, shape)
        np.multiply(A, beta, out=gA)
        gA -= hidden.T @ lam
        if c == 1:  # X^T diag(lam) mask, without forming the outer product
            np.multiply(design.scale_rows(lam[:, 0]).adjoint(mask), -A[:, 0], out=gW)
        else:
            np.multiply(mask, lam @ A.T, out=mask)
            np.negative(design.adjoint(mask), out=gW)
        gW += beta * W
        if intercept.size:
            g_intercept[:] = -lam.sum(axis=0)
        return value, gradient

    return oracle


def lbfgs(
    oracle: Oracle, theta: Array, *, iterations: int, memory: int = 20, stop: Callable[[], bool] = lambda: False
) -> Array:
    """Limited-memory BFGS with backtracking (Nocedal & Wright, algorithm 7.4), in the precision of theta.

    SciPy's L-BFGS-B works in double precision only: measured on diabetes (width 500, 150 iterations) it takes 1.75
    times as long for the same objective, and on digits it mistakes the rounding of single precision for convergence.
    """
    value, gradient = oracle(theta)
    pairs: deque[tuple[Array, Array, float]] = deque(maxlen=memory)
    for _ in range(iterations):
        if stop():
            break
        step = -_inverse_hessian(pairs, gradient)
        slope = float(gradient @ step)
        if slope >= 0:
            pairs.clear()
            step, slope = -gradient, -float(gradient @ gradient)
        if slope == 0:
            break
        t = 1.0 if pairs else min(1.0, 1.0 / float(np.abs(gradient).sum()))
        for _ in range(20):
            trial = theta + step.dtype.type(t) * step
            trial_value, trial_gradient = oracle(trial)
            if trial_value <= value + 1e-4 * t * slope:
                break
            t *= 0.5
        else:
            if not pairs:
                break
            pairs.clear()
            continue
        s, y = trial - theta, trial_gradient - gradient
        curvature = float(s @ y)
        if curvature > 1e-10 * float(y @ y) > 1e-40:  # not below what single precision can invert
            pairs.append((s, y, 1.0 / curvature))
        theta, value, gradient = trial, trial_value, trial_gradient
    return theta


def _inverse_hessian(pairs: deque[tuple[Array, Array, float]], gradient: Array) -> Array:
    """The two-loop recursion."""
    q = gradient.copy()
    coefficients = []
    for s, y, rho in reversed(pairs):
        a = rho * float(s @ q)
        q -= q.dtype.type(a) * y
        coefficients.append(a)
    if pairs:
        s, y, rho = pairs[-1]
        q *= q.dtype.type(1.0 / (rho * float(y @ y)))
    for (s, y, rho), a in zip(pairs, reversed(coefficients), strict=True):
        q += q.dtype.type(a - rho * float(y @ q)) * s
    return q
