"""Proofs for the tests of the checker, made without the search: enumerated trees, and trees of random multipliers."""

from __future__ import annotations

import numpy as np
from scipy.optimize import lsq_linear

import extremal
from extremal.problem import Problem
from extremal.proof import Proof, SideTree


def proof_of(X, y, *, beta, loss="squared", bias="penalized", intercept=False, sample_weight=None, **options) -> Proof:
    """A proof that a trained network is close to optimal, with a tree of all patterns for either sign."""
    problem = Problem.from_data(X, y, beta=beta, loss=loss, bias=bias, intercept=intercept, sample_weight=sample_weight)
    result = extremal.fit(
        X, y, beta=beta, loss=loss, bias=bias, intercept=intercept, sample_weight=sample_weight, **options
    )
    lam = result.certificate.lam
    sides = [sign * lam[:, k] for k in range(lam.shape[1]) for sign in (1, -1)]
    trees = tuple(enumeration_tree(problem.design.dense(), side) for side in sides)
    draft = Proof.of(problem, result.network, lam, trees, dual=0.0, primal=1e300)
    verdict = extremal.verify(draft, X, y)
    assert verdict.accepted, verdict
    return draft.claiming(verdict.dual, verdict.primal)


def enumeration_tree(X, c) -> SideTree:
    """All patterns of the rows of positive weight; every leaf is a box-constrained least squares without U.

    With the signs of these rows fixed, f is linear but for the rows of negative weight, so that for any t in [0, 1]
    and rho >= 0 it is at most |sum_on c_i x_i + sum_neg t_i c_i x_i + sum_j rho_j sigma_j a_j|.
    """
    n, d = X.shape
    norms = np.linalg.norm(X, axis=1)
    total = float(np.abs(c) @ norms) or 1.0
    positive, negative = np.flatnonzero((c > 0) & (norms > 0)), np.flatnonzero((c < 0) & (norms > 0))
    # rows equal to one of positive weight are decided together with it
    equal = [(i, j) for i in negative for j in range(positive.size) if np.array_equal(X[i], X[positive[j]])]
    negative = np.setdiff1d(negative, [i for i, _ in equal])
    splits, slopes, forces = [], [], []

    def visit(depth: int, signs: list[int]) -> None:
        if depth < positive.size:
            splits.append(positive[depth])
            visit(depth + 1, [*signs, 1])
            visit(depth + 1, [*signs, -1])
            return
        splits.append(-1)
        sigma = np.array(signs, dtype=float)
        on = np.array([*positive[sigma > 0], *{i for i, j in equal if sigma[j] > 0}], dtype=int)
        target = c[on] @ X[on] / total
        generators = np.vstack([c[negative, None] * X[negative], sigma[:, None] * X[positive]]).T / total
        norm = np.concatenate([np.ones(negative.size), norms[positive] / total])
        upper = np.concatenate([np.ones(negative.size), np.full(positive.size, np.inf)])
        x = np.zeros(0)
        if norm.size:
            x = lsq_linear(generators / norm, -target, bounds=(0, upper), method="bvls", tol=1e-15).x
        slope = np.zeros(n)
        slope[negative] = np.clip(2 * x[: negative.size] - 1, -1, 1)
        slopes.append(slope)
        forces.extend(np.maximum(x[negative.size :], 0))

    visit(0, [])
    moments = np.zeros((len(slopes), d * (d + 1) // 2))
    return SideTree(np.array(splits), np.zeros((0, d)), moments, np.array(slopes), np.array(forces), np.zeros(0))


def random_tree(rng, n: int, d: int, *, leaves: int, extra: int = 0, size: float = 1.0) -> SideTree:
    """Random half-spaces and random multipliers: a valid bound, and nearly always a bad one."""

    def grow(count: int) -> list[int]:
        if count == 1:
            return [-1]
        left = int(rng.integers(1, count))
        return [int(rng.integers(0, n + extra)), *grow(left), *grow(count - left)]

    splits = np.array(grow(leaves))
    lengths = np.array(path_lengths(splits))
    rank = rng.integers(0, d + 1, leaves)
    factors = rng.standard_normal((leaves, d, d)) * (np.arange(d) < rank[:, None])[:, None, :]
    U = factors @ np.swapaxes(factors, 1, 2)
    U += 0.1 * rng.standard_normal((leaves, 1, 1)) * np.eye(d) * rng.integers(0, 2, (leaves, 1, 1))
    rows, columns = np.tril_indices(d)
    slopes = np.clip(rng.standard_normal((leaves, n)), -1, 1)
    forces = size * np.maximum(rng.standard_normal(lengths.sum()), 0) * 10.0 ** rng.uniform(-3, 0, lengths.sum())
    pairs = int((lengths * (lengths - 1) // 2).sum())
    thetas = size * np.maximum(rng.standard_normal(pairs), 0) * rng.integers(0, 2)
    return SideTree(splits, rng.standard_normal((extra, d)), U[:, rows, columns], slopes, forces, thetas)


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
