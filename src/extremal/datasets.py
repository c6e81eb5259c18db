"""Families of small data sets on which two-layer ReLU networks are studied, each with the property that it promises.

Every generator returns X of shape (n, d) and labels or targets y of shape (n,), the same for the same `random_state`.
None has a column of ones: that is what the bias of a model is for.
"""

from __future__ import annotations

import numpy as np

from extremal.design import Array

Seed = int | np.random.Generator


def orthogonally_separable(n: int, d: int, *, random_state: Seed = 0) -> tuple[Array, Array]:
    """Data with x_i . x_j > 0 within a class and x_i . x_j < 0 across the classes, both present; n >= 2, d >= 2.

    In a random orthonormal basis, cut into two blocks, class +1 is (a, -s b) and class -1 is (-s a, b) with a, b > 0
    and 0 < s < 1 drawn anew for every row. All inner products are far from zero compared with their rounding.
    """
    rng = _generator(n, d, random_state, min_d=2)
    y = _labels(n, rng)
    sizes = 0.1 + np.abs(rng.standard_normal((n, d)))
    minor = (np.arange(d) < (d + 1) // 2) == (y[:, None] < 0)
    X = np.where(minor, -rng.uniform(0.1, 0.9, (n, 1)), 1.0) * sizes / np.sqrt(d)
    return X @ _rotation(d, rng), y


def gaussian_labels(n: int, d: int, *, random_state: Seed = 0) -> tuple[Array, Array]:
    """Independent entries N(0, 1/d), and labels that have nothing to do with them, both present; n >= 2."""
    rng = _generator(n, d, random_state)
    return rng.standard_normal((n, d)) / np.sqrt(d), _labels(n, rng)


def linearly_separable(n: int, d: int, *, margin: float = 0.1, random_state: Seed = 0) -> tuple[Array, Array]:
    """Data with y_i x_i . w >= margin for some unit vector w: a hyperplane through the origin separates; n >= 2.

    w is uniform on the sphere, y_i x_i . w - margin is the absolute value of an N(0, 1/d), and the rest of x_i is
    Gaussian with entries of that variance.
    """
    rng = _generator(n, d, random_state)
    if not (np.isfinite(margin) and margin >= 0):
        raise ValueError(f"margin must be finite and not negative, not {margin!r}")
    y = _labels(n, rng)
    X = rng.standard_normal((n, d)) / np.sqrt(d)
    size = margin + np.abs(X[:, 0])
    X[:, 0] = y * (size + 1e-13 * (size + np.linalg.norm(X, axis=1)))  # what the rotation rounds
    return X @ _rotation(d, rng), y


def xor(n: int, d: int = 2, *, noise: float = 0.5, random_state: Seed = 0) -> tuple[Array, Array]:
    """y_i = sign(x_i1 x_i2), from the four quadrants in turn and in random order; n >= 2, d >= 2.

    |x_i1| and |x_i2| are uniform in [1 - noise, 1 + noise] with 0 <= noise < 1, further features N(0, noise^2).
    """
    rng = _generator(n, d, random_state, min_d=2)
    if not 0 <= noise < 1:
        raise ValueError(f"noise must be in [0, 1), not {noise!r}")
    quadrant = rng.permutation(n) % 4
    signs = np.array([[1, 1], [1, -1], [-1, -1], [-1, 1]])[quadrant]
    X = noise * rng.standard_normal((n, d))
    X[:, :2] = signs * (1 + noise * rng.uniform(-1, 1, (n, 2)))
    return X, signs.prod(axis=1).astype(np.float64)


def spiral(
    n: int, d: int = 2, *, turns: float = 1.0, noise: float = 0.1, random_state: Seed = 0
) -> tuple[Array, Array]:
    """Two spirals of Archimedes, one for each class and each the other's mirror image in the origin; n >= 2, d >= 2.

    The first two features are y_i t_i (cos 2 pi turns t_i, sin 2 pi turns t_i) with t_i uniform in [0.1, 1], further
    features N(0, noise^2). The classes alternate.
    """
    rng = _generator(n, d, random_state, min_d=2)
    if not (np.isfinite(turns) and np.isfinite(noise) and noise >= 0):
        raise ValueError(f"turns must be finite, noise finite and not negative; got {turns!r} and {noise!r}")
    y = np.where(np.arange(n) % 2 == 0, 1.0, -1.0)
    t = rng.uniform(0.1, 1, n)
    X = noise * rng.standard_normal((n, d))
    X[:, :2] = (y * t)[:, None] * np.column_stack([np.cos(2 * np.pi * turns * t), np.sin(2 * np.pi * turns * t)])
    return X, y


def whitened(n: int, d: int, *, labels: bool = True, random_state: Seed = 0) -> tuple[Array, Array]:
    """X X^T = I up to rounding, uniform among such X, and random labels or targets N(0, 1); 2 <= n <= d."""
    rng = _generator(n, d, random_state)
    if n > d:
        raise ValueError(f"n = {n} rows in d = {d} dimensions cannot be orthonormal")
    return _rotation(d, rng)[:n], _labels(n, rng) if labels else rng.standard_normal(n)


def one_dimensional(n: int, *, random_state: Seed = 0) -> tuple[Array, Array]:
    """n >= 2 increasing points N(0, 1) on the line, X of shape (n, 1), and random labels, both present."""
    rng = _generator(n, 1, random_state)
    return np.sort(rng.standard_normal((n, 1)), axis=0), _labels(n, rng)


def teacher(n: int, d: int, width: int = 3, *, labels: bool = False, random_state: Seed = 0) -> tuple[Array, Array]:
    """y = f(X), or its sign, for a random network f(x) = sum_j a_j (w_j . x)_+ of the given width, X Gaussian; n >= 2.

    |w_j| = |a_j| = 1, the first a_j is positive and the second negative. With labels both signs occur, and f is not
    zero on the data.

    Raises
    ------
    ValueError
        If labels of both signs do not turn up in a thousand draws (as at width 1, where no network has both).
    """
    rng = _generator(n, d, random_state)
    if width < 1:
        raise ValueError(f"the teacher needs at least one neuron, not {width}")
    for _ in range(1000):
        X = rng.standard_normal((n, d)) / np.sqrt(d)
        W = rng.standard_normal((d, width))
        a = np.concatenate([[1.0, -1.0], rng.choice([1.0, -1.0], width)])[:width]
        y = np.maximum(X @ (W / np.linalg.norm(W, axis=0)), 0) @ a
        if not labels:
            return X, y
        if y.min() < 0 < y.max() and y.all():
            return X, np.sign(y)
    raise ValueError("no draw had labels of both signs on all rows; ask for more rows or neurons")


def _generator(n: int, d: int, random_state: Seed, min_d: int = 1) -> np.random.Generator:
    if n < 2 or d < min_d:
        raise ValueError(f"this family needs n >= 2 rows and d >= {min_d} features; got n = {n} and d = {d}")
    return np.random.default_rng(random_state)


def _labels(n: int, rng: np.random.Generator) -> Array:
    """Independent fair signs, but for one row of each class."""
    y = rng.choice([-1.0, 1.0], n)
    y[rng.choice(n, 2, replace=False)] = (1.0, -1.0)
    return y


def _rotation(d: int, rng: np.random.Generator) -> Array:
    """An orthogonal matrix from the uniform distribution."""
    Q, R = np.linalg.qr(rng.standard_normal((d, d)))
    return Q * np.sign(np.diag(R))
