"""Checks a proof of optimality from scratch, with NumPy and the standard library and nothing of the search.

A proof claims, for data X (n, d) and y, that no two-layer ReLU network of any width has an objective

    P = sum_i w_i loss(f(x_i), y_i) + beta/2 (|W|_F^2 + |A|_F^2)

below `dual`, and that the network in it has an objective of at most `primal`. By weak duality the first follows from
a matrix lam (n, c) in the domain of the conjugate with g(lam) = max over |u| <= 1 of |lam^T (Xu)_+| <= beta: then
D(lam) = -loss*(-lam) is such a number. An upper bound of g comes from trees of half-spaces whose leaves carry
multipliers. Whatever the multipliers are, they give a bound: the checker trusts no number of the file.

Every step is derived in docs/rigour.md. The arithmetic is IEEE double precision with a priori error bounds for the
leaves and the network's outputs, and 50 decimal digits or exact fractions for the rest.
"""

from __future__ import annotations

import decimal
import hashlib
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[Any]

#: Twice the unit roundoff of IEEE double precision. Every error bound for floating point is a multiple of it.
UNIT = 2.0**-52
#: More than all underflows together can do, in units in which the largest |c_i| and |x_i| are about one.
TINY = 2.0**-400
#: Weights below this fraction of the largest count as zero, within TINY.
NEGLIGIBLE = 2.0**-900
#: A bound on the relative error of the decimal sums, many times what 50 digits leave.
SLACK = Decimal("1e-30")
#: By how much, relatively, a recomputed number may miss the claimed one: other machines round otherwise.
CLAIM = Decimal("1e-9")
#: Numbers in the arrays of the leaves that are bounded at a time.
CHUNK = 1_000_000
#: Deviation |z_i| of a row on a leaf below and above which it is clipped, as a fraction of |x_i|.
NARROWEST, WIDEST = 2.0**-30, 2.0**30

VERSION = 1
PREFIX = "proof."
LOSSES = ("squared", "huber", "logistic", "squared_hinge", "softmax")


class Rejected(Exception):
    """The reason why a proof is not accepted."""


@dataclass(frozen=True)
class Verdict:
    """What was proved, or why nothing was; true if the proof was accepted.

    Attributes
    ----------
    accepted : bool
    reason : str
        Why the proof was rejected; empty if it was accepted.
    dual : float
        No network of any width has an objective below it, as recomputed here.
    primal : float
        The network in the proof has an objective of at most this.
    leaves : int
        The number of leaves that were checked.
    setting : str
        The data and the objective in words.
    """

    accepted: bool
    reason: str = ""
    dual: float = -np.inf
    primal: float = np.inf
    leaves: int = 0
    setting: str = ""

    @property
    def gap(self) -> float:
        """(primal - dual) / primal, rounded up; 1 if nothing was proved."""
        if not self.accepted or self.primal <= 0.0:
            return 0.0 if self.accepted else 1.0
        return min(float(max(1 - Fraction(self.dual) / Fraction(self.primal), Fraction(0))) * (1 + UNIT), 1.0)

    def __bool__(self) -> bool:
        return self.accepted

    def __str__(self) -> str:
        if not self.accepted:
            return f"Rejected: {self.reason}."
        return (
            f"Proved: no two-layer ReLU network of any width has an objective below {_digits(self.dual, 10)} for "
            f"{self.setting}; the network in the file has {_digits(self.primal, 10, up=True)}; it is within "
            f"{_digits(self.gap, 2, up=True)} of the global optimum."
        )


def verify(proof: Any, X: ArrayLike, y: ArrayLike) -> Verdict:
    """Check a proof of optimality from scratch.

    Parameters
    ----------
    proof : path or Proof
        A file written by `Certificate.save(path, proof=True)` or `Proof.save`, or the proof itself.
    X : array of shape (n, d); y : array of shape (n,) or (n, c)
        The data that the proof is about, as they were given to `fit` or `certify`.

    Returns
    -------
    Verdict
        Its text is one sentence: what was proved, or why the proof was rejected.

    Raises
    ------
    OSError
        If the file cannot be opened.
    """
    try:
        arrays = proof.arrays() if hasattr(proof, "arrays") else read(proof)
        statement = Statement.of(arrays)
        with decimal.localcontext(_DIGITS), np.errstate(all="ignore"):
            return _verdict(statement, *_data(statement, X, y))
    except Rejected as reason:
        return Verdict(False, str(reason))


def _verdict(s: Statement, X: Array, target: Array) -> Verdict:
    exponents, rows = _binary_rows(X)
    dual = _dual(s, exponents, rows, target)
    primal = _primal(s, exponents, rows, target)
    if not dual >= _claimed(s.dual) - CLAIM * abs(_claimed(s.dual)):
        raise Rejected(f"the proof claims the bound {s.dual!r}, and only {float(dual)!r} follows from it")
    if not primal <= _claimed(s.primal) * (1 + CLAIM):
        raise Rejected(f"the network is claimed to have objective {s.primal!r}, and it has {float(primal)!r}")
    low, high = np.nextafter(float(dual), -np.inf), np.nextafter(float(primal), np.inf)
    return Verdict(True, "", max(float(low), 0.0), float(high), sum(tree.leaves for tree in s.trees), s.setting)


# ----------------------------------------------------------------------------------------------------- the file


class Tree(NamedTuple):
    """A tree of half-spaces in preorder, and the multipliers of its leaves (see `extremal.proof.SideTree`)."""

    splits: Array
    extra: Array
    moments: Array
    slopes: Array
    forces: Array
    pairs: Array

    @property
    def leaves(self) -> int:
        return len(self.moments)


_TREE = {"splits": "<i4", "extra": "<f8", "moments": "<f4", "slopes": "<f4", "forces": "<f4", "pairs": "<f4"}
_TYPES = {
    "version": "<i8", "loss": "U", "delta": "<f8", "beta": "<f8", "bias": "|b1", "intercept": "|b1", "weight": "<f8",
    "shape": "<i8", "X_hash": "U", "y_hash": "U", "lam": "<f8", "directions": "<f8", "shares": "<f8",
    "hidden": "<f8", "output": "<f8", "offset": "<f8", "dual": "<f8", "primal": "<f8", "digest": "U",
}  # fmt: skip


class Statement(NamedTuple):
    """What a proof says, with every array of the right type and shape, finite, and in its range."""

    loss: str
    delta: float
    beta: float
    bias: bool
    intercept: bool
    weight: Array
    X_hash: str
    y_hash: str
    shape: tuple[int, int]
    lam: Array
    directions: Array
    shares: Array
    trees: tuple[Tree, ...]
    hidden: Array
    output: Array
    offset: Array
    dual: float
    primal: float

    @classmethod
    def of(cls, arrays: Mapping[str, Array]) -> Statement:
        """The statement in the arrays of a file."""
        count = sum(name.endswith(".splits") for name in arrays)
        types = _TYPES | {f"{k}.{name}": kind for k in range(count) for name, kind in _TREE.items()}
        _require(set(arrays) == set(types), "it lacks arrays, or has some that do not belong")
        for name, kind in types.items():
            right = arrays[name].dtype.kind == "U" if kind == "U" else arrays[name].dtype.str == kind
            _require(right, f"{name} has the wrong type")
        _require(arrays["version"].shape == () and arrays["version"] == VERSION, "its version is not known here")
        _require(seal(arrays) == str(arrays["digest"]), "it was altered after it was sealed")
        _require(arrays["shape"].shape == (2,) and arrays["lam"].ndim == 2, "the shape of the data is malformed")
        n, d = (int(size) for size in arrays["shape"])
        _require(n > 0 and d > 0 and count > 0 and count % 2 == 0, "the shape of the data is malformed")
        c, D, K = arrays["lam"].shape[1], d + int(arrays["bias"].any()), count // 2
        m = arrays["hidden"].shape[1] if arrays["hidden"].ndim == 2 else -1
        shapes = {
            "weight": (n,), "lam": (n, c), "directions": (c, K), "shares": (K,),
            "hidden": (D, m), "output": (m, c), "offset": (c,), "shape": (2,),
        }  # fmt: skip
        for name in _TYPES:
            _require(arrays[name].shape == shapes.get(name, ()), f"{name} has the wrong shape")
        trees = tuple(Tree(*(arrays[f"{k}.{name}"] for name in _TREE)) for k in range(count))
        _require(all(np.isfinite(a).all() for a in arrays.values() if a.dtype.kind == "f"), "NaN or infinity in it")
        _require(c > 0 and all(_has_shapes(tree, n, D) for tree in trees), "a tree has arrays of the wrong shape")
        given: dict[str, Any] = {name: arrays[name] if name in shapes else arrays[name].item() for name in _TYPES}
        given["shape"] = (n, d)
        fields = cls(trees=trees, **{name: given[name] for name in cls._fields if name != "trees"})
        _require(fields.loss in LOSSES, f"the loss {fields.loss!r} is not known here")
        _require(c == 1 or fields.loss in ("squared", "huber", "softmax"), "this loss has one output")
        _require(c > 1 or fields.loss != "softmax", "softmax needs two outputs or more")
        _require(fields.beta > 0 and (fields.loss != "huber" or fields.delta > 0), "beta and delta must be positive")
        _require(bool((fields.weight >= 0).all() and fields.weight.any()), "sample weights must not be negative")
        in_range = (fields.shares >= 0).all() and (np.abs(fields.directions) <= 1).all()
        _require(bool(in_range), "the directions must be in [-1, 1], and their shares not negative")
        _require(fields.intercept or not fields.offset.any(), "the network has an intercept that the model lacks")
        return fields

    @property
    def setting(self) -> str:
        bias = "penalised bias" if self.bias else "no bias"
        intercept = ", free intercept" if self.intercept else ""
        weights = "" if bool((self.weight == 1).all()) else ", sample weights as in the file"
        loss = f"Huber loss, delta = {self.delta:g}" if self.loss == "huber" else f"{self.loss} loss"
        size = f"{self.shape[0]} x {self.shape[1]}"
        return f"these {size} data ({loss}, beta = {self.beta!r}, {bias}{intercept}{weights})"


def _has_shapes(tree: Tree, n: int, d: int) -> bool:
    leaves = tree.leaves
    return (
        tree.splits.ndim == tree.forces.ndim == tree.pairs.ndim == 1
        and tree.extra.ndim == 2
        and tree.extra.shape[1] == d
        and tree.moments.shape == (leaves, d * (d + 1) // 2)
        and tree.slopes.shape == (leaves, n)
    )


def read(path: str | Path) -> dict[str, Array]:
    """The arrays of the proof in a file; other arrays in it are not looked at."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
        _require(len(set(names)) == len(names), "it holds two arrays of the same name")
        with np.load(path, allow_pickle=False) as file:
            return {name.removeprefix(PREFIX): file[name] for name in file.files if name.startswith(PREFIX)}
    except Rejected:
        raise
    except Exception as error:
        raise Rejected("the file is damaged, or is not a proof") from error


def seal(arrays: Mapping[str, Array]) -> str:
    """The SHA-256 digest of names, types, shapes and contents of all arrays but `digest`."""
    total = hashlib.sha256()
    for name in sorted(set(arrays) - {"digest"}):
        array = np.asarray(arrays[name])
        total.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        total.update(array.tobytes())
    return total.hexdigest()


def fingerprint(matrix: Array) -> str:
    """The SHA-256 digest of a matrix: its shape, and its entries as little-endian doubles (-0 counts as 0)."""
    plain = np.ascontiguousarray(matrix, dtype="<f8") + 0.0
    return hashlib.sha256(f"{plain.shape}\n".encode() + plain.astype("<f8").tobytes()).hexdigest()


def _data(s: Statement, X: ArrayLike, y: ArrayLike) -> tuple[Array, Array]:
    """The design, with the column of ones if there is a bias, and the targets (n, c), if they are those meant."""
    matrix = np.asarray(X.toarray() if hasattr(X, "toarray") else X, dtype=np.float64)
    target = np.asarray(y, dtype=np.float64)
    right = matrix.shape == s.shape and target.shape[:1] == s.shape[:1]
    _require(right and fingerprint(matrix) == s.X_hash, "X is not the data that the proof is about")
    target = _targets(s.loss, target, s.lam.shape)
    _require(fingerprint(target) == s.y_hash, "y is not the target that the proof is about")
    _require(bool(np.isfinite(matrix).all() and np.isfinite(target).all()), "the data hold NaN or infinity")
    return (np.hstack([matrix, np.ones((len(matrix), 1))]) if s.bias else matrix), target


def _targets(loss: str, y: Array, shape: tuple[int, ...]) -> Array:
    """y as values, labels -1/+1, or one-hot rows."""
    if loss in ("logistic", "squared_hinge"):
        _require(bool(np.isin(y, (-1, 0, 1)).all()), "this loss needs labels -1/+1 or 0/1")
        y = np.where(y > 0, 1.0, -1.0)
    elif loss == "softmax" and y.size == shape[0]:
        y = (y.reshape(-1, 1) == np.arange(shape[1])).astype(np.float64)
    y = y.reshape(len(y), -1)
    _require(y.shape == shape, "y has another shape than the proof")
    one_hot = bool(np.isin(y, (0, 1)).all() and (y.sum(axis=1) == 1).all())
    _require(loss != "softmax" or one_hot, "y does not hold the numbers of classes")
    return y


# ------------------------------------------------------------------------------------------- the gauge from above


def side_bound(rows: Array, weights: Array, tree: Any) -> float:
    """An upper bound of max over |u| <= 1 of sum_i weights_i (rows_i . u)_+, proved by a tree.

    Parameters
    ----------
    rows : array of shape (n, d), entries of magnitude at most 1
    weights : array of shape (n,), entries of magnitude at most 1
    tree : Tree or SideTree
    """
    weights = np.where(np.abs(weights) < NEGLIGIBLE, 0.0, weights)
    return max((float(leaves.bounds().max()) for leaves in Leaves.of(rows, weights, tree)), default=np.inf)


@dataclass(frozen=True)
class Leaves:
    """Some leaves of a tree, with k half-spaces each (shorter paths are padded with half-spaces of sign 0).

    Attributes
    ----------
    rows : (n, d); weights : (n,)
    normals : (L, k, d); signs : (L, k)
        The half-spaces signs * (normals . u) >= 0.
    state : (L, n)
        +1 or -1 for rows whose sign the path decides, 0 for the others.
    U : (L, d, d); slopes : (L, n); rho : (L, k); theta : (L, k, k)
        The multipliers; theta is strictly upper triangular.
    """

    rows: Array
    weights: Array
    normals: Array
    signs: Array
    state: Array
    U: Array
    slopes: Array
    rho: Array
    theta: Array

    @classmethod
    def of(cls, rows: Array, weights: Array, tree: Any) -> Iterator[Leaves]:
        """The leaves of a tree that covers the ball, in portions."""
        n, d = rows.shape
        paths = list(_paths(np.asarray(tree.splits), n + len(tree.extra)))
        lengths = np.array([len(path) for path in paths])
        starts, pairs = np.cumsum(lengths) - lengths, np.cumsum(lengths * (lengths - 1) // 2)
        _require(len(paths) == len(tree.moments), "a tree has more or fewer leaves than multipliers")
        _require(len(tree.forces) == lengths.sum(), "a tree has more or fewer forces than half-spaces")
        _require(len(tree.pairs) in (0, pairs[-1]), "a tree has more or fewer pairs than its paths")
        _require(bool((np.abs(tree.slopes) <= 1).all()), "a slope is not in [-1, 1]")
        _require(bool((tree.forces >= 0).all() and (tree.pairs >= 0).all()), "a force is negative")
        group, orientation = _twins(rows)
        vectors = np.vstack([rows, _binary_rows(tree.extra)[1]])
        norms = _norm(vectors)
        total = float(np.abs(weights) @ norms[:n])
        inverse = np.divide(1.0, norms, out=np.zeros_like(norms), where=norms > 0)
        lower = np.tril_indices(d)
        step = max(1, int(CHUNK / ((n + lengths.max()) * d + lengths.max() ** 2)))
        for first in range(0, len(paths), step):
            chosen = range(first, min(first + step, len(paths)))
            L, k = len(chosen), int(lengths[first : first + step].max())
            index, signs = np.zeros((L, k), np.int64), np.zeros((L, k))
            rho, theta = np.zeros((L, k)), np.zeros((L, k, k))
            own, shared = np.zeros((L, n)), np.zeros((L, int(group.max()) + 1))
            for row, leaf in enumerate(chosen):
                path, size = paths[leaf], len(paths[leaf])
                if size == 0:
                    continue
                index[row, :size], signs[row, :size] = np.array(path).T
                rho[row, :size] = tree.forces[starts[leaf] : starts[leaf] + size]
                if len(tree.pairs) and size > 1:
                    upper = np.triu_indices(size, 1)
                    theta[row][upper] = tree.pairs[pairs[leaf] - len(upper[0]) : pairs[leaf]]
                decided = index[row, :size] < n
                who = index[row, :size][decided]
                own[row, who] = signs[row, :size][decided]
                shared[row, group[who]] = own[row, who] * orientation[who]
            U = np.zeros((L, d, d))
            U[:, lower[0], lower[1]] = U[:, lower[1], lower[0]] = tree.moments[first : first + step]
            lengthy = inverse[index]
            yield cls(
                rows,
                weights,
                vectors[index],
                signs,
                np.where(own != 0, own, shared[:, group] * orientation),
                U,
                np.asarray(tree.slopes[first : first + step], dtype=np.float64),
                rho * total * lengthy * np.abs(signs),
                theta * total * lengthy[:, :, None] * lengthy[:, None, :],
            )

    def multipliers(self) -> Multipliers:
        """The multipliers in the form in which they are used; from here on they count as exact."""
        free = self.state == 0
        convex, b = free & (self.weights > 0), np.where(free & (self.weights < 0), -self.weights, 0.0)
        images, norms = self.rows @ self.U, _norm(self.rows)
        deviation = np.sqrt(np.maximum((images * self.rows).sum(axis=-1), 0.0))
        deviation = np.clip(deviation, NARROWEST * norms, WIDEST * norms)
        q = np.where(convex & (norms > 0), self.weights / (4 * np.where(norms > 0, deviation, 1.0)), 0.0)
        a = self.slopes * (b / 2)
        pulls = self.normals @ self.U
        return Multipliers(
            q=q,
            a=a,
            m=_directed(images, b / 2 - np.abs(a)),
            rho=self.rho,
            h=_directed(pulls, self.rho),
            theta=self.theta * self.signs[:, :, None] * self.signs[:, None, :],
        )

    def majorant(self, y: Multipliers) -> Majorant:
        """constant + l . u + u^T G u >= f(u) on the leaves, with sizes that bound the rounding errors."""
        n, d = self.rows.shape
        k = self.signs.shape[1]
        error, of_norms = (n + 2 * k + 2 * d + 32) * UNIT, (d + 16) * UNIT
        norms, lengths = _norm(self.rows), _norm(self.normals)
        free, half = self.state == 0, np.abs(self.weights) / 2
        convex, concave = free & (self.weights > 0), free & (self.weights < 0)
        gain = np.where(y.q > 0, self.weights / 4 / np.where(y.q > 0, y.q, 1.0) * (self.weights / 4), 0.0)
        m_sizes = _norm(y.m)
        excess = (np.abs(y.a) + m_sizes) * (1 + of_norms) - half
        constant = (gain + np.where(concave, np.maximum(excess, 0.0), 0.0) * norms).sum(axis=1)
        coefficient = np.where(self.state > 0, self.weights, 0.0)
        coefficient = np.where(convex, half, np.where(concave, -(half + y.a), coefficient))
        h_sizes = _norm(y.h)
        rho = np.maximum(y.rho, h_sizes * (1 + of_norms))
        linear = coefficient @ self.rows + ((self.signs * rho)[:, None, :] @ self.normals)[:, 0]
        left = np.where(convex[:, :, None], y.q[:, :, None] * self.rows, -y.m)
        right = y.theta @ self.normals - self.signs[:, :, None] * y.h
        G = np.swapaxes(left, 1, 2) @ self.rows + np.swapaxes(right, 1, 2) @ self.normals
        l_size = np.abs(coefficient) @ norms + (rho * lengths).sum(axis=1)
        G_size = ((y.q * norms + m_sizes) * norms).sum(axis=1)
        products = (np.abs(y.theta) @ lengths[:, :, None])[:, :, 0]
        G_size = G_size + ((h_sizes + products) * lengths).sum(axis=1)
        return Majorant(constant, linear, 0.5 * (G + np.swapaxes(G, 1, 2)), l_size, G_size, error)

    def bounds(self) -> Array:
        """An upper bound of f on every leaf, shape (L,); NaN counts as infinity."""
        majorant = self.majorant(self.multipliers())
        bounds = majorant.bounds(*majorant.factor())
        return np.where(np.isnan(bounds), np.inf, bounds)


class Multipliers(NamedTuple):
    """For b = |c_i|: c_i (z)_+ <= c_i z / 2 + q_i z^2 + c_i^2 / (16 q_i) for the rows of positive weight, b |z| / 2
    >= a_i z + (m_i . u) z for the others, as |a_i| + |m_i| <= b / 2, and 0 <= (rho_j - h_j . u) sign_j (a_j . u),
    as |h_j| <= rho_j, and 0 <= theta_jl (a_j . u) (a_l . u)."""

    q: Array
    a: Array
    m: Array
    rho: Array
    h: Array
    theta: Array


class Majorant(NamedTuple):
    """constant + linear . u + u^T matrix u; l_size and G_size bound the sums of the norms of their terms."""

    constant: Array
    linear: Array
    matrix: Array
    l_size: Array
    G_size: Array
    error: float

    def factor(self) -> tuple[Array, Array, Array]:
        """nu >= 0, R and p with nu I - G near R R^T and l near 2 R p; nothing depends on how near."""
        usable = np.isfinite(self.matrix).all(axis=(1, 2), keepdims=True)
        eigenvalues, Q = np.linalg.eigh(np.where(usable, self.matrix, 0.0))
        halves = (np.swapaxes(Q, 1, 2) @ self.linear[:, :, None])[:, :, 0] / 2
        nu = _secular(eigenvalues, halves)
        root = np.sqrt(np.maximum(nu - eigenvalues, 0.0))
        p = np.divide(halves, root, out=np.zeros_like(root), where=root > 0)
        return nu[:, 0], Q * root[:, None, :], p

    def bounds(self, nu: Array, R: Array, p: Array) -> Array:
        """constant + nu + |G - nu I + R R^T|_F + |p|^2 + |l - 2 R p|, an upper bound on |u| <= 1, rounded up."""
        d = self.matrix.shape[-1]
        residual = self.matrix - nu[:, None, None] * np.eye(d) + R @ np.swapaxes(R, 1, 2)
        rest = self.linear - 2 * (R @ p[:, :, None])[:, :, 0]
        square, columns = (p * p).sum(axis=1), _norm(np.swapaxes(R, 1, 2))
        size = 2 * self.G_size + 2 * self.l_size + nu * np.sqrt(d) + (columns**2 + 2 * columns * np.abs(p)).sum(axis=1)
        value = self.constant + nu + _norm(_norm(residual)) + square + _norm(rest)
        return np.where(nu >= 0, value * (1 + self.error) + self.error * size + TINY, np.inf)


def _paths(splits: Array, most: int) -> Iterator[list[tuple[int, int]]]:
    """The half-spaces (index, sign) of every leaf of a tree in preorder; rejects what does not cover the ball."""
    path: list[tuple[int, int]] = []
    ended = False
    for split in splits.tolist():
        _require(not ended and -1 <= split < most, "the half-spaces of a tree do not cover the ball")
        if split >= 0:
            path.append((split, 1))
            continue
        yield list(path)
        while path and path[-1][1] < 0:
            path.pop()
        ended = not path
        if path:
            path[-1] = (path[-1][0], -1)
    _require(ended, "the half-spaces of a tree do not cover the ball")


def _twins(rows: Array) -> tuple[Array, Array]:
    """(group, orientation): rows of a group are equal up to the sign `orientation`, and decided together."""
    first = np.argmax(rows != 0, axis=1)
    orientation = np.where(rows[np.arange(len(rows)), first] < 0, -1.0, 1.0)
    _, group = np.unique(rows * orientation[:, None] + 0.0, axis=0, return_inverse=True)
    return group.reshape(-1), orientation


def _secular(eigenvalues: Array, halves: Array) -> Array:
    """(L, 1): nu >= max(eigenvalues, 0) near the minimum of nu + sum halves^2 / (nu - eigenvalues)."""
    top = np.maximum(eigenvalues[:, -1:], 0.0)
    size = _norm(halves)[:, None]
    scale = np.maximum(np.maximum(size, np.abs(eigenvalues).max(axis=1, keepdims=True)), 2.0**-450)
    low = 2.0**-47 * scale
    high = np.maximum(size, low)
    for _ in range(50):
        middle = np.sqrt(low) * np.sqrt(high)
        short = ((halves / (middle + top - eigenvalues)) ** 2).sum(axis=1, keepdims=True) > 1
        low, high = np.where(short, middle, low), np.where(short, high, middle)
    return top + high


def _directed(vectors: Array, length: Array) -> Array:
    """The vectors at the given length, about; zero vectors stay."""
    norms = _norm(vectors)
    return vectors * np.divide(length, norms, out=np.zeros_like(norms), where=norms > 0)[..., None]


def _gauge(s: Statement, exponents: Array, rows: Array) -> Decimal:
    """An upper bound of g(lam): |p|^2 <= sum_k shares_k (v_k . p)^2 / (1 - r) if sum_k shares_k v_k v_k^T >= 1 - r."""
    _, powers = np.frexp(np.abs(s.lam).max(axis=1))
    unit = int((powers + exponents)[s.lam.any(axis=1)].max(initial=-(10**6)))
    if unit == -(10**6):
        return Decimal(0)
    lam = np.ldexp(s.lam, (exponents - unit)[:, None])
    error = (2 * s.lam.shape[1] + len(s.shares) + 32) * UNIT
    slack = error * (_norm(rows) @ (np.abs(lam) @ np.abs(s.directions))) + TINY
    total = Decimal(0)
    for k in range(len(s.shares)):
        weights = lam @ s.directions[:, k]
        heights = [side_bound(rows, sign * weights, s.trees[2 * k + i]) for i, sign in enumerate((1.0, -1.0))]
        _require(bool(np.isfinite(heights).all()), "the multipliers of a leaf give no finite bound")
        total += Decimal(float(s.shares[k])) * (Decimal(max(heights)) + Decimal(float(slack[k]))) ** 2
    covered = 1 - _deficit(s.directions, s.shares)
    _require(covered > Decimal("0.5"), "the directions do not span the outputs")
    return (total / covered).sqrt() * Decimal(2) ** unit * (1 + SLACK)


def _deficit(directions: Array, shares: Array) -> Decimal:
    """r >= 0 with sum_k shares_k v_k v_k^T >= (1 - r) I, from a factor R: r = |I + R R^T - the sum|_F.

    In decimal arithmetic; the eigenvectors of NumPy only suggest R.
    """
    c = len(directions)
    values, Q = np.linalg.eigh((directions * shares) @ directions.T - np.eye(c))
    R = _decimals(Q * np.sqrt(np.maximum(values, 0.0)))
    V, mu = _decimals(directions), _decimals(shares)
    total, size = Decimal(0), Decimal(1)
    for i in range(c):
        for j in range(c):
            terms = [a * b for a, b in zip(R[i], R[j], strict=True)]
            terms += [-m * a * b for m, a, b in zip(mu, V[i], V[j], strict=True)] + [Decimal(int(i == j))]
            total += sum(terms) ** 2
            size += sum(abs(term) for term in terms)
    return total.sqrt() + size * SLACK


# ---------------------------------------------------------------------------------------- the two ends of the gap


def _dual(s: Statement, exponents: Array, rows: Array, target: Array) -> Decimal:
    """D(t lam) from below, for the longest t <= 1 that the bound of the gauge and the conjugate's domain allow."""
    y = _fractions(target)
    lam, moved = _repaired(s, exponents, rows, y)
    longest = Fraction(1)
    for i, w in enumerate(s.weight.tolist()):
        _, reach, cap = _limits(s, w, y[i], lam[i])
        longest = min(longest, cap / reach) if reach > cap else longest
    gauge = _gauge(s, exponents, rows) + moved
    t = _decimal(longest) * (1 - SLACK) if longest < 1 else Decimal(1)
    if gauge > 0:
        t = min(t, Decimal(s.beta) / gauge * (1 - SLACK))
    total, size = Decimal(0), Decimal(0)
    for i, w in enumerate(s.weight.tolist()):
        if w > 0:
            value, magnitude = _dual_term(s.loss, Decimal(w), _decimal_row(y[i]), [t * v for v in _decimal_row(lam[i])])
            total, size = total + value, size + magnitude
    return max(total - SLACK * size, Decimal(0))


def _repaired(s: Statement, exponents: Array, rows: Array, y: list[list[Fraction]]) -> tuple[list, Decimal]:
    """lam with the sums exactly zero that have to be, and a bound on what that does to the gauge.

    A row of the softmax loss sums to zero, by its entry at the sample's class; the columns sum to zero if there is a
    free intercept, by one row with room in the domain.
    """
    lam, moved = _fractions(s.lam), Decimal(0)
    length = Decimal(rows.shape[1]).sqrt()
    reach = [Decimal(2) ** int(e) * length for e in exponents]
    if s.loss == "softmax":
        for i, row in enumerate(lam):
            defect = sum(row, Fraction(0))
            row[y[i].index(Fraction(1))] -= defect
            moved += abs(_decimal(defect)) * reach[i]
    if s.intercept:
        rooms = []
        for i, w in enumerate(s.weight.tolist()):
            least, far, cap = _limits(s, w, y[i], lam[i])
            rooms.append(min(least, cap - far))
        roomy = max(range(len(lam)), key=rooms.__getitem__)
        defects = [sum((row[k] for row in lam), Fraction(0)) for k in range(s.lam.shape[1])]
        lam[roomy] = [value - defect for value, defect in zip(lam[roomy], defects, strict=True)]
        moved += sum((abs(_decimal(defect)) for defect in defects), Decimal(0)) * reach[roomy]
    return lam, moved * (1 + SLACK)


def _limits(s: Statement, w: float, y: list[Fraction], lam: list[Fraction]) -> tuple[Fraction, Fraction, Fraction]:
    """(least, reach, cap): lam_i is in the domain if least >= 0 and reach <= cap; rejects the former's failure."""
    cap = Fraction(w)
    least, reach = cap, Fraction(0)
    if s.loss == "huber":
        cap *= Fraction(s.delta)
        least, reach = cap, max(abs(v) for v in lam)
    elif s.loss in ("logistic", "squared_hinge"):
        least = y[0] * lam[0]
        reach = least if s.loss == "logistic" else reach
    elif s.loss == "softmax":
        least = min(-v for v, is_class in zip(lam, y, strict=True) if not is_class)
        reach = sum((v for v, is_class in zip(lam, y, strict=True) if is_class), Fraction(0))
    _require(least >= 0 and (w > 0 or not any(lam)), "lam is not in the domain of the conjugate loss")
    return least, reach, cap


def _dual_term(loss: str, w: Decimal, y: list[Decimal], v: list[Decimal]) -> tuple[Decimal, Decimal]:
    """-(w loss)^*(-v) of one sample, and a number that its rounding error is relative to."""
    if loss in ("logistic", "softmax"):
        p = [abs(value) / w for value in v] if loss == "logistic" else _others(v, y, w)
        return w * sum((_entropy(value) for value in [*p, 1 - sum(p, Decimal(0))]), Decimal(0)), w * (1 + len(p))
    products = [a * b for a, b in zip(v, y, strict=True)]
    squares = sum(value * value for value in v) / (2 * w)
    return sum(products) - squares, sum(abs(value) for value in products) + squares


def _others(v: list[Decimal], y: list[Decimal], w: Decimal) -> list[Decimal]:
    """The probabilities of the classes that are not the sample's."""
    return [-value / w for value, is_class in zip(v, y, strict=True) if not is_class]


def _entropy(p: Decimal) -> Decimal:
    """-p log p; 0, a lower bound, where p is zero but for rounding."""
    return -p * p.ln() if p > 0 else Decimal(0)


def _primal(s: Statement, exponents: Array, rows: Array, target: Array) -> Decimal:
    """The objective of the network from above."""
    _, inner = np.frexp(np.abs(s.hidden).max(axis=0, initial=0.0))
    _, outer = np.frexp(np.abs(s.output).max(axis=1, initial=0.0))
    unit = int((inner + outer)[s.hidden.any(axis=0) & s.output.any(axis=1)].max(initial=-(10**6)))
    unit = 0 if unit == -(10**6) else unit
    hidden, output = np.ldexp(s.hidden, -inner), np.ldexp(s.output, (inner - unit)[:, None])
    error = (hidden.size // max(hidden.shape[1], 1) + hidden.shape[1] + 32) * UNIT
    F = np.maximum(rows @ hidden, 0) @ output
    errors = error * ((np.abs(rows) @ np.abs(hidden)) @ np.abs(output)) + TINY
    _require(bool(np.isfinite(F).all() and np.isfinite(errors).all()), "the network's outputs overflow")
    y, offset, total = _decimals(target), _decimals(s.offset), Decimal(0)
    for i, w in enumerate(s.weight.tolist()):
        power = Decimal(2) ** (int(exponents[i]) + unit)
        outputs = [power * Decimal(f) + b for f, b in zip(F[i].tolist(), offset, strict=True)]
        spread = [
            power * Decimal(e) + SLACK * (power * abs(Decimal(f)) + abs(b))
            for e, f, b in zip(errors[i].tolist(), F[i].tolist(), offset, strict=True)
        ]
        total += Decimal(w) * _loss_term(s, y[i], outputs, spread)
    weights = [Decimal(v) for v in [*s.hidden.ravel().tolist(), *s.output.ravel().tolist()]]
    penalty = Decimal(s.beta) / 2 * sum((v * v for v in weights), Decimal(0))
    return (total + penalty) * (1 + SLACK)


def _loss_term(s: Statement, y: list[Decimal], F: list[Decimal], spread: list[Decimal]) -> Decimal:
    """The largest loss of one sample for outputs within `spread` of F."""
    half = Decimal("0.5")
    if s.loss in ("logistic", "softmax"):
        label = y.index(Decimal(1)) if s.loss == "softmax" else 0
        others = [f - F[label] for k, f in enumerate(F) if k != label] if s.loss == "softmax" else [-y[0] * F[0]]
        return _log_sum_exp([Decimal(0), *others]) + 2 * max(spread)
    if s.loss == "squared_hinge":
        short = 1 - y[0] * F[0] + spread[0]
        return half * max(short + SLACK * (1 + abs(F[0])), Decimal(0)) ** 2
    away = [abs(f - v) + e + SLACK * (abs(f) + abs(v)) for f, v, e in zip(F, y, spread, strict=True)]
    if s.loss == "squared":
        return half * sum(r * r for r in away)
    delta = Decimal(s.delta)
    return sum((half * r * r if r <= delta else delta * (r - half * delta) for r in away), Decimal(0))


def _log_sum_exp(values: list[Decimal]) -> Decimal:
    largest = max(values)
    return (largest + sum(((v - largest).exp() for v in values), Decimal(0)).ln()) * (1 + SLACK) + SLACK


# ----------------------------------------------------------------------------------------------------- arithmetic

_DIGITS = decimal.Context(prec=50, Emax=decimal.MAX_EMAX, Emin=decimal.MIN_EMIN)


def _binary_rows(matrix: Array) -> tuple[Array, Array]:
    """(e, rows): rows_i = 2^-e_i matrix_i has a largest entry in [1/2, 1); exact but for underflow."""
    _, exponents = np.frexp(np.abs(matrix).max(axis=1, initial=0.0))
    return exponents, np.ldexp(matrix, -exponents[:, None])


def _norm(vectors: Array) -> Array:
    """The Euclidean norm along the last axis."""
    return np.sqrt((vectors * vectors).sum(axis=-1))


def _decimals(array: Array) -> Any:
    """Nested lists of exact decimals."""
    return [_decimals(part) for part in array] if array.ndim > 1 else [Decimal(v) for v in array.tolist()]


def _fractions(matrix: Array) -> list[list[Fraction]]:
    return [[Fraction(v) for v in row] for row in matrix.tolist()]


def _decimal(value: Fraction) -> Decimal:
    """To 50 digits."""
    return Decimal(value.numerator) / Decimal(value.denominator)


def _decimal_row(row: list[Fraction]) -> list[Decimal]:
    return [_decimal(value) for value in row]


def _claimed(value: float) -> Decimal:
    return Decimal(float(value))


def _digits(value: float, digits: int, *, up: bool = False) -> str:
    """A number in decimal, rounded down (or up), so that the sentence stays true."""
    rounding = decimal.ROUND_CEILING if up else decimal.ROUND_FLOOR
    short = decimal.Context(prec=digits, rounding=rounding).create_decimal(Decimal(value))
    return f"{short.normalize():g}"


def _require(condition: bool, reason: str) -> None:
    if not condition:
        raise Rejected(reason)
