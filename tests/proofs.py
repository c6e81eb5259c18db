"""Proofs for the tests of the checker, made without the search: enumerated trees, and trees of random multipliers."""

from __future__ import annotations

import numpy as np
from scipy.optimize import lsq_linear

import extremal
from extremal.problem import Problem
from extremal.proof import Proof, SideTree
from extremal.verify.arithmetic import binary_rows
from extremal.verify.leaves import Lines


def proof_of(X, y, *, beta, loss="squared", bias="penalized", intercept=False, sample_weight=None, **options) -> Proof:
    """A proof that a trained network is close to optimal, with a tree of all patterns for either sign."""
    problem = Problem.from_data(X, y, beta=beta, loss=loss, bias=bias, intercept=intercept, sample_weight=sample_weight)
    result = extremal.fit(
        X, y, beta=beta, loss=loss, bias=bias, intercept=intercept, sample_weight=sample_weight, **options
    )
    lam = result.certificate.lam
    sides = [sign * lam[:, k] for k in range(lam.shape[1]) for sign in (1, -1)]
    trees = tuple(enumeration_tree(problem.design.dense(), side) for side in sides)
    return Proof.of(problem, result.network, lam, trees).proved(X, y)


def enumeration_tree(X, c) -> SideTree:
    """All patterns of the rows of positive weight; every leaf is a box-constrained least squares.

    With the signs of these rows fixed, f is linear but for the rows of negative weight, so that for any t in [0, 1]
    and rho >= 0 it is at most |sum_on c_i x_i + sum_neg t_i c_i x_i + sum_j rho_j sigma_j a_j|.
    """
    d = X.shape[1]
    exponents, rows = binary_rows(X)
    lines = Lines.of(rows, np.ldexp(c / (np.abs(c).max() or 1.0), exponents - exponents.max()))
    total, norms = lines.total or 1.0, np.linalg.norm(lines.rows, axis=1)
    positive, negative = (np.flatnonzero((s * lines.weights > 0) & (norms > 0)) for s in (1, -1))
    splits, slopes, forces = [], [], []

    def visit(depth: int, signs: list[int]) -> None:
        if depth < positive.size:
            splits.append(lines.first[positive[depth]])
            visit(depth + 1, [*signs, 1])
            visit(depth + 1, [*signs, -1])
            return
        splits.append(-1)
        sigma = np.array(signs, dtype=float)
        on = positive[sigma > 0] if positive.size else positive
        target = (lines.linear + lines.weights[on] @ lines.rows[on]) / total
        walls = sigma[:, None] * lines.rows[positive] / norms[positive, None]
        generators = np.vstack([lines.weights[negative, None] * lines.rows[negative] / total, walls]).T
        upper = np.concatenate([np.ones(negative.size), np.full(positive.size, np.inf)])
        x = np.zeros(0)
        if upper.size:
            x = lsq_linear(generators, -target, bounds=(0, upper), method="bvls", tol=1e-15).x
        slopes.append(2 * x[: negative.size] - 1)
        forces.extend(np.maximum(x[negative.size :], 0))

    visit(0, [])
    leaves, m = len(slopes), negative.size
    return SideTree(
        splits=np.array(splits),
        extra=np.zeros((0, d)),
        positive=np.zeros(0),
        negative=lines.first[negative],
        w=np.zeros((leaves, 0)),
        slopes=np.array(slopes),
        vectors=np.zeros((leaves, m, d)),
        forces=np.array(forces),
        pulls=np.zeros((len(forces), d)),
        pairs=np.zeros(0),
    )


def random_tree(rng, n: int, d: int, *, leaves: int, extra: int = 0, size: float = 1.0) -> SideTree:
    """Random half-spaces and random multipliers: a valid bound, and nearly always a bad one."""

    def grow(count: int) -> list[int]:
        if count == 1:
            return [-1]
        left = int(rng.integers(1, count))
        return [int(rng.integers(0, n + extra)), *grow(left), *grow(count - left)]

    def scattered(shape) -> np.ndarray:
        return rng.standard_normal(shape) * 10.0 ** rng.uniform(-3, 0, shape) * rng.integers(0, 2, shape)

    splits, listed = np.array(grow(leaves)), np.flatnonzero(rng.random(n) < 0.9)
    lengths = np.array(path_lengths(splits))
    steps, pairs = int(lengths.sum()), int((lengths * (lengths - 1) // 2).sum())
    return SideTree(
        splits=splits,
        extra=rng.standard_normal((extra, d)),
        positive=listed,
        negative=listed,
        w=10.0 ** rng.uniform(-2, 4, (leaves, listed.size)),
        slopes=scattered((leaves, listed.size)),
        vectors=scattered((leaves, listed.size, d)),
        forces=size * np.abs(scattered(steps)),
        pulls=size * scattered((steps, d)),
        pairs=size * np.abs(scattered(pairs)) * rng.integers(0, 2),
    )


def path_lengths(splits) -> list[int]:
    """The lengths of the leaves' paths, in preorder."""
    lengths, open_second = [], []
    depth = 0
    for split in splits:
        if split >= 0:
            open_second.append(depth)
            depth += 1
        else:
            lengths.append(depth)
            if open_second:
                depth = open_second.pop() + 1
    return lengths
