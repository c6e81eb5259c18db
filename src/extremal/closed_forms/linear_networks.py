"""Two-layer linear networks, dense and convolutional: their weight decay is a convex norm of the linear map.

    dense          f(x) = sum_j (x . w_j) a_j              beta |Z|_*, Z = sum_j w_j a_j^T
    convolution    f(x) = sum_j sum_k (x^(k) . w_j) a_jk   beta |Z|_*, Z = sum_j w_j a_j^T, over the patches x^(k)
    circular       f(x) = sum_j (x * w_j) . a_j, filters   beta / sqrt(d) |F z|_1, F the unitary discrete Fourier
                   w_j of full length d                    transform of the linear map z

Where the data have orthonormal columns, one proximal step is the answer (closed form); elsewhere an accelerated
proximal method ends with a duality gap.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from extremal.certificate import relative_gap
from extremal.closed_forms.convolutional import checked_patches
from extremal.design import Array
from extremal.gauge import check_limits
from extremal.problem import Problem

#: Iterations between two looks at the gap, and the most of them.
LOOK, ITERATIONS = 10, 20_000
#: Inner products of columns, relative, that count as those of orthonormal ones.
ORTHONORMAL = 1e-12


@dataclass(frozen=True, eq=False)
class LinearNetwork:
    """An optimal two-layer linear network.

    Attributes
    ----------
    name : str
    value : float
        loss + beta/2 (|first|^2 + |second|^2).
    dual_value : float
        A lower bound on it for every such network: lam satisfies |X^T lam| <= beta in the dual norm.
    weights : array
        The linear map: (d, c) dense, (h, k) for k patches of h entries, (d, c) circular.
    first, second : arrays
        Layers of the least norm with that map: (d, m) and (m, c) dense; (h, m) filters and (m, k) for patches;
        one filter (d,) and (d, c) circular.
    lam : array of shape (n, c)
    iterations : int
        0 for the closed form.
    """

    name: str
    value: float
    dual_value: float
    weights: Array
    first: Array
    second: Array
    lam: Array
    iterations: int

    @property
    def gap(self) -> float:
        """(value - dual_value) / value."""
        return relative_gap(self.value, self.dual_value)

    def __str__(self) -> str:
        how = "closed form" if self.iterations == 0 else f"{self.iterations} proximal steps"
        return "\n".join(
            [
                f"{self.name}: {how}",
                f"objective of the network   {self.value:.10g}",
                f"no network can be below    {self.dual_value:.10g}",
                f"relative gap               {self.gap:.1e}",
            ]
        )


@dataclass(frozen=True, eq=False)
class Nuclear:
    """|Z|_* of the unknown, folded into (rows, columns)."""

    rows: int

    def fold(self, theta: Array) -> Array:
        return theta.reshape(self.rows, -1)

    def norm(self, theta: Array) -> float:
        return float(np.linalg.svd(self.fold(theta), compute_uv=False).sum())

    def dual(self, theta: Array) -> float:
        return float(np.linalg.svd(self.fold(theta), compute_uv=False)[0])

    def prox(self, theta: Array, step: float) -> Array:
        U, s, Vt = np.linalg.svd(self.fold(theta), full_matrices=False)
        return ((U * np.maximum(s - step, 0.0)) @ Vt).reshape(theta.shape)


@dataclass(frozen=True, eq=False)
class Fourier:
    """sum_f |(F z)_f|_2 / sqrt(d), over the frequencies f, of the rows of z (d, c) under the unitary DFT F.

    A frequency and its conjugate have the same modulus, so in the orthonormal basis of cosines and sines the norm is a
    sum over groups: 1/sqrt(d) for frequency zero (and d/2), sqrt(2/d) for the pairs.
    """

    d: int

    @property
    def basis(self) -> Array:
        """The rows are orthonormal: the constant, cosines and sines of each frequency, and the alternating one."""
        t = np.arange(self.d)
        rows = [np.full(self.d, self.d**-0.5)]
        for f in range(1, (self.d + 1) // 2):
            rows += [np.sqrt(2 / self.d) * wave(2 * np.pi * f * t / self.d) for wave in (np.cos, np.sin)]
        if self.d % 2 == 0:
            rows.append(self.d**-0.5 * (-1.0) ** t)
        return np.array(rows)

    @property
    def starts(self) -> Array:
        """Where the groups begin."""
        pairs = 1 + 2 * np.arange((self.d - 1) // 2)
        return np.concatenate([[0], pairs, [self.d - 1] * (self.d % 2 == 0)]).astype(int)[: 1 + self.d // 2]

    def groups(self, theta: Array) -> tuple[Array, Array, Array]:
        """(coordinates, group norms, weights of the groups)."""
        coordinates = self.basis @ theta
        squares = np.add.reduceat(np.sum(coordinates**2, axis=1), self.starts)
        sizes = np.diff(np.append(self.starts, self.d))
        return coordinates, np.sqrt(squares), np.sqrt(sizes / self.d)

    def norm(self, theta: Array) -> float:
        _, norms, weights = self.groups(theta)
        return float(weights @ norms)

    def dual(self, theta: Array) -> float:
        _, norms, weights = self.groups(theta)
        return float((norms / weights).max())

    def prox(self, theta: Array, step: float) -> Array:
        coordinates, norms, weights = self.groups(theta)
        share = np.maximum(1 - step * weights / np.maximum(norms, 1e-300), 0.0)
        return self.basis.T @ (np.repeat(share, np.diff(np.append(self.starts, self.d)))[:, None] * coordinates)


Norm = Nuclear | Fourier


def linear_network(
    X: ArrayLike, y: ArrayLike, *, beta: float, loss: str = "squared", tol: float = 1e-8
) -> LinearNetwork:
    """min loss(X W A) + beta/2 (|W|^2 + |A|^2) = min over Z of loss(X Z) + beta |Z|_*.

    With X^T X = s^2 I and the squared loss, Z is the singular value thresholding of X^T Y / s^2 by beta / s^2; for
    s = 1 the value is 1/2 |Y - X X^T Y|^2 + sum (beta s_i - beta^2/2 if beta <= s_i else s_i^2/2), s_i those of X^T Y.

    Parameters
    ----------
    X : array of shape (n, d)
        Used as they are.
    y : array of shape (n,) or (n, c)
    beta : float
    loss : str
        Any loss of `extremal.fit`.
    tol : float
        The relative gap at which the iteration ends.

    Raises
    ------
    ValueError
        If the data are unusable.

    References
    ----------
    Ergen & Pilanci (ICML 2021); Srebro, Rennie & Jaakkola (2004) for the nuclear norm.
    """
    problem = Problem.from_data(X, y, beta=beta, loss=loss, bias="none")
    theta, lam, dual_value, iterations = minimise(problem, Nuclear(problem.design.d), tol)
    U, s, Vt = np.linalg.svd(theta, full_matrices=False)
    keep = s > 1e-15 * s[0]
    first, second = U[:, keep] * np.sqrt(s[keep]), np.sqrt(s[keep])[:, None] * Vt[keep]
    value = _value(problem, theta, Nuclear(problem.design.d))
    return LinearNetwork("linear network", value, dual_value, theta, first, second, lam, iterations)


def linear_convolution(
    patches: ArrayLike, y: ArrayLike, *, beta: float, loss: str = "squared", tol: float = 1e-8
) -> LinearNetwork:
    """min loss(f) + beta/2 (|W|^2 + |A|^2), f(x) = sum_j sum_k (x^(k) . w_j) a_jk: beta |Z|_* for Z = sum_j w_j a_j^T.

    Parameters
    ----------
    patches : array of shape (n, k, h)
        As from `patch_matrix`.
    y : array of shape (n,)
    beta, loss, tol
        As for `linear_network`. Closed form where the (n, k h) matrix of the patches has orthonormal columns (up to a
        factor), which overlapping patches never have.

    References
    ----------
    Pilanci & Ergen (ICML 2020), linear convolutional networks: a semidefinite program there.
    """
    stack = checked_patches(patches)
    n, k, h = stack.shape
    flat = stack.transpose(0, 2, 1).reshape(n, h * k)
    problem = Problem.from_data(flat, y, beta=beta, loss=loss, bias="none")
    _require_one_output(problem)
    theta, lam, dual_value, iterations = minimise(problem, Nuclear(h), tol)
    Z = theta.reshape(h, k)
    U, s, Vt = np.linalg.svd(Z, full_matrices=False)
    keep = s > 1e-15 * s[0]
    first, second = U[:, keep] * np.sqrt(s[keep]), np.sqrt(s[keep])[:, None] * Vt[keep]
    value = _value(problem, theta, Nuclear(h))
    return LinearNetwork("linear convolutional network", value, dual_value, Z, first, second, lam, iterations)


def linear_circular_convolution(
    X: ArrayLike, y: ArrayLike, *, beta: float, loss: str = "squared", tol: float = 1e-8
) -> LinearNetwork:
    """min loss(f) + beta/2 (|W|^2 + |A|^2), f(x) = sum_j (x * w_j)^T a_j with circular w_j of full length.

    (x * w)_k = sum_i x_(k+i mod d) w_i. The map is z = sum_j w_j * a_j (circular), so F z = sqrt(d) sum_j F w_j F a_j
    and the penalty becomes beta / sqrt(d) |F z|_1: a lasso in the Fourier basis, for which one filter is enough.
    With X^T X = s^2 I and the squared loss it is a soft thresholding of the moduli of F X^T y / s^2.

    Parameters
    ----------
    X : array of shape (n, d)
    y : array of shape (n,) or (n, c)
        With c outputs the a_j are (d, c), and the modulus of a frequency is the norm of its c coefficients.
    beta, loss, tol
        As for `linear_network`.

    References
    ----------
    Pilanci & Ergen (ICML 2020), linear circular convolutional networks.
    """
    problem = Problem.from_data(X, y, beta=beta, loss=loss, bias="none")
    d = problem.design.d
    theta, lam, dual_value, iterations = minimise(problem, Fourier(d), tol)
    spectrum = np.fft.fft(theta, axis=0)
    modulus = np.sqrt(np.linalg.norm(spectrum, axis=1))
    first = np.fft.ifft(modulus).real
    ratio = np.divide(spectrum, modulus[:, None], out=np.zeros_like(spectrum), where=modulus[:, None] > 0)
    second = np.fft.ifft(ratio, axis=0).real
    value = _value(problem, theta, Fourier(d))
    return LinearNetwork("linear circular network", value, dual_value, theta, first, second, lam, iterations)


def minimise(problem: Problem, norm: Norm, tol: float) -> tuple[Array, Array, float, int]:
    """(theta, lam, lower bound, iterations) for min loss(X theta) + beta norm(theta).

    Accelerated proximal steps with a restart where they point uphill (O'Donoghue & Candes 2015), from zero; every few
    of them lam = -grad loss, scaled to |X^T lam| <= beta in the dual norm, gives a lower bound.
    """
    check_limits(tol)
    normal, scaling = problem.normalised(rotate=False)
    X, loss, beta = normal.design.dense(), normal.loss, normal.beta
    unit = scaling.tau / scaling.stretch
    curvature = float(np.linalg.norm(X, 2)) ** 2 * float(loss.weight.max())
    theta = np.zeros((X.shape[1], loss.shape[1]))
    best = dual_bound(normal, X, norm, theta)
    if curvature == 0.0:
        return theta, scaling.multiplier(best[0]), scaling.value(best[1]), 0
    gram = X.T @ X
    size = float(np.trace(gram)) / len(gram)
    if (
        loss.quadratic
        and np.ptp(loss.weight) == 0
        and np.abs(gram - size * np.eye(len(gram))).max() < ORTHONORMAL * size
    ):
        weight = float(loss.weight[0])
        theta = norm.prox(X.T @ loss.target / size, beta / (size * weight))
        best = max(best, dual_bound(normal, X, norm, theta), key=lambda pair: pair[1])
        return theta * unit, scaling.multiplier(best[0]), scaling.value(best[1]), 0
    ahead, momentum = theta, 1.0
    for iteration in range(1, ITERATIONS + 1):
        moved = norm.prox(ahead + X.T @ loss.dual(X @ ahead) / curvature, beta / curvature)
        if np.vdot(ahead - moved, moved - theta) > 0:
            momentum = 1.0
        following = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        ahead = moved + (momentum - 1) / following * (moved - theta)
        theta, momentum = moved, following
        if iteration % LOOK == 0:
            best = max(best, dual_bound(normal, X, norm, theta), key=lambda pair: pair[1])
            if relative_gap(loss.value(X @ theta) + beta * norm.norm(theta), best[1]) <= tol:
                break
    return theta * unit, scaling.multiplier(best[0]), scaling.value(best[1]), iteration


def dual_bound(normal: Problem, X: Array, norm: Norm, theta: Array) -> tuple[Array, float]:
    """The multiplier of a point, scaled to be feasible, and the lower bound that it proves."""
    lam = normal.loss.dual(X @ theta)
    return normal.dual_point(lam, norm.dual(X.T @ lam) * (1 + 1e-13))


def _value(problem: Problem, theta: Array, norm: Norm) -> float:
    return problem.loss.value(problem.design.forward(theta)) + problem.beta * norm.norm(theta)


def _require_one_output(problem: Problem) -> None:
    if problem.loss.shape[1] != 1:
        raise ValueError(f"y must be one target for each sample; there are {problem.loss.shape[1]}")
