"""Proofs for the tests of the checker, made without the search, and their mutations: enumerated and random trees."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import lsq_linear

import extremal
from extremal.losses import bind
from extremal.problem import Problem
from extremal.proof import JointTree, Proof, SideTree
from extremal.verify.arithmetic import binary_rows, largest_exponent
from extremal.verify.leaves import Lines, side_bound
from extremal.verify.statement import seal


@dataclass(frozen=True, eq=False)
class Case:
    X: np.ndarray
    y: np.ndarray
    proof: Proof


@dataclass(frozen=True)
class Raw:
    """Arrays that pass for a proof."""

    content: dict

    def arrays(self):
        return self.content


def sealed(arrays) -> Raw:
    return Raw(arrays | {"digest": np.array(seal(arrays))})


def proof_of(X, y, *, beta, loss="squared", bias="penalized", intercept=False, sample_weight=None, **options) -> Proof:
    """A proof that a trained network is close to optimal, with a tree of all patterns for either sign."""
    problem = Problem.from_data(X, y, beta=beta, loss=loss, bias=bias, intercept=intercept, sample_weight=sample_weight)
    result = extremal.fit(
        X, y, beta=beta, loss=loss, bias=bias, intercept=intercept, sample_weight=sample_weight, **options
    )
    lam = result.certificate.lam
    sides = [sign * lam[:, k] for k in range(lam.shape[1]) for sign in (1, -1)]
    trees = tuple(enumeration_tree(problem.design.dense(), side) for side in sides)
    heights = [height(problem.design.dense(), side, tree) for side, tree in zip(sides, trees, strict=True)]
    pairs = np.maximum(np.reshape(heights, (-1, 2)), 1e-9 * max(heights)) * [1.0, -1.0]
    corners = [[pair[number >> k & 1] for k, pair in enumerate(pairs)] for number in range(2 ** len(pairs))]
    return Proof.of(problem, result.network, lam, trees, normals=np.array(corners[::-1])).proved(X, y)


def height(X, c, tree) -> float:
    """The bound of max over |u| <= 1 of c^T (Xu)_+ that a tree proves."""
    exponents, rows = binary_rows(X)
    unit = largest_exponent(np.abs(c), exponents)
    return side_bound(rows, np.ldexp(c, exponents - unit), tree) * 2.0**unit


def check_mutant(case: Case, arrays, X=None, y=None) -> bool:
    """Whether a sealed mutant is rejected; if it is accepted, its claims must be true."""
    X, y = case.X if X is None else X, case.y if y is None else y
    verdict = extremal.verify(sealed(arrays), X, y)
    if not verdict.accepted:
        assert verdict.reason
        assert str(verdict).startswith("Rejected: ")
        return True
    claimed_dual, claimed_primal = float(arrays["dual"]), float(arrays["primal"])
    assert verdict.dual >= claimed_dual - 1.1e-9 * abs(claimed_dual)
    assert verdict.primal <= claimed_primal * (1 + 1.1e-9)
    loss = bind(str(arrays["loss"]), y, arrays["weight"])
    if loss.name == "huber":
        loss = replace(loss, delta=float(arrays["delta"]))
    problem = Problem.from_data(
        X, y, beta=float(arrays["beta"]), loss=loss, bias="penalized" if arrays["bias"] else "none",
        intercept=bool(arrays["intercept"]),
    )  # fmt: skip
    own = extremal.Network(arrays["hidden"], arrays["output"], arrays["offset"], bias=problem.bias)
    given = extremal.Network(case.proof.hidden, case.proof.output, case.proof.offset, bias=problem.bias)
    exact = problem.value(own)
    assert exact <= verdict.primal * (1 + 1e-13)
    assert verdict.primal <= exact * (1 + 1e-11)
    if given.hidden.shape[0] == problem.design.d and (problem.intercept or not given.intercept.any()):
        assert verdict.dual <= problem.value(given)
    assert verdict.dual <= min(problem.zero_value, exact)
    return False


def copy_of(case: Case) -> dict:
    arrays = {name: np.array(array) for name, array in case.proof.arrays().items()}
    arrays.pop("digest")
    return arrays


def numeric(rng, arrays, name, factors) -> bool:
    """Change one entry of an array; False if there is none."""
    array = arrays[name]
    if array.size == 0:
        return False
    index = tuple(int(rng.integers(0, size)) for size in array.shape)
    before = array[index].copy()
    kind = rng.integers(0, len(factors))
    array[index] = factors[kind] * before if before != 0 else rng.standard_normal()
    return array[index] != before


FACTORS = (-1.0, 0.0, 0.5, 0.9, 0.999, 1.001, 1.1, 2.0, 1e3, 1e-3)


def changed_first(value):
    def mutate(array):
        if array.size == 0 or array.dtype.kind != "f":
            return None
        new = np.array(array)
        new.flat[-1] = value
        return new

    return mutate


MALFORMED = (
    lambda a: a[:-1] if a.ndim and len(a) else None,
    lambda a: a[..., :-1] if a.ndim > 1 and a.shape[1] else None,
    lambda a: a[None],
    lambda a: np.concatenate([a, a]) if a.ndim and len(a) else None,
    lambda a: a.astype(np.float16) if a.dtype.kind == "f" else None,
    lambda a: a.astype(a.dtype.newbyteorder()) if a.dtype.kind in "fi" else None,
    lambda a: a.astype(complex) if a.dtype.kind in "fi" else None,
    lambda a: a.astype(object) if a.dtype.kind != "U" else None,
    lambda a: a.astype("U") if a.dtype.kind != "U" else np.array("x"),
    changed_first(np.nan),
    changed_first(np.inf),
    changed_first(-np.inf),
)


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

    def scattered(shape) -> np.ndarray:
        return rng.standard_normal(shape) * 10.0 ** rng.uniform(-3, 0, shape) * rng.integers(0, 2, shape)

    splits, listed = random_splits(rng, n + extra, leaves), np.flatnonzero(rng.random(n) < 0.9)
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


def random_joint(rng, n: int, d: int, *, leaves: int, extra: int = 0) -> JointTree:
    """Random half-spaces and random products: a valid bound, and nearly always a bad one."""
    splits, rows = random_splits(rng, n + extra, leaves), np.flatnonzero(rng.random(n) < 0.9)
    size = 2 * rows.size + int(rng.integers(0, 3)) * (extra > 0)
    shape = (leaves, size, size)
    return JointTree(
        splits=splits,
        extra=rng.standard_normal((extra, d)),
        rows=rows,
        levels=rng.standard_normal(leaves) * 10.0 ** rng.uniform(-3, 1, leaves),
        products=rng.standard_normal(shape) * 10.0 ** rng.uniform(-4, 1, shape) * rng.integers(0, 2, shape),
    )


def random_splits(rng, count: int, leaves: int) -> np.ndarray:
    """A tree in preorder with so many leaves."""
    if leaves == 1:
        return np.array([-1])
    left = int(rng.integers(1, leaves))
    halves = random_splits(rng, count, left), random_splits(rng, count, leaves - left)
    return np.concatenate([[int(rng.integers(0, count))], *halves])
