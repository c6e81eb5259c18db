"""What a proof says, read from the arrays of its file, and the data that it is about."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Container, Iterable, Mapping
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from numpy.typing import ArrayLike

from extremal.verify.arithmetic import Array, Rejected, require

VERSION = 3
#: Arrays with these names are the proof; a file may hold others.
PREFIX = "proof."
LOSSES = ("squared", "huber", "logistic", "squared_hinge", "softmax")

#: The arrays and their types; the trees' names have a number in front: "0.splits".
TYPES = {
    "version": "<i8", "loss": "U", "delta": "<f8", "beta": "<f8", "bias": "|b1", "intercept": "|b1", "weight": "<f8",
    "shape": "<i8", "X_hash": "U", "y_hash": "U", "lam": "<f8", "directions": "<f8", "cones": "<i8", "normals": "<f8",
    "hidden": "<f8", "output": "<f8", "offset": "<f8", "dual": "<f8", "primal": "<f8", "digest": "U",
}  # fmt: skip
TREE = {
    "splits": "<i4", "extra": "<f8", "positive": "<i4", "negative": "<i4", "w": "<f4", "slopes": "<f4",
    "vectors": "<f4", "forces": "<f4", "pulls": "<f4", "pairs": "<f4",
}  # fmt: skip
CONES = {
    "frame": "<f8", "edges": "|i1", "shifts": "|i1", "vectors": "<f8", "counts": "<i4", "rows": "<i4", "t": "<f4",
}  # fmt: skip
JOINT = {"splits": "<i4", "extra": "<f8", "rows": "<i4", "levels": "<f8", "products": "<f4"}
#: The sphere of r dimensions has 2^r orthants to begin with.
LARGEST_RANK = 8


def read(path: str | Path) -> dict[str, Array]:
    """The arrays of the proof in a file; other arrays in it are not looked at."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
        require(len(set(names)) == len(names), "it holds two arrays of the same name")
        with np.load(path, allow_pickle=False) as file:
            return {name.removeprefix(PREFIX): file[name] for name in file.files if name.startswith(PREFIX)}
    except Rejected:
        raise
    except Exception as error:  # whatever a damaged archive makes of the libraries
        raise Rejected("the file is damaged, or is not a proof") from error


def seal(arrays: Mapping[str, Array]) -> str:
    """The SHA-256 digest of names, types, shapes and contents of all arrays but `digest`."""
    digest = hashlib.sha256()
    for name in sorted(set(arrays) - {"digest"}):
        digest.update(f"{name} {arrays[name].dtype.str} {arrays[name].shape}\n".encode())
        digest.update(arrays[name].tobytes())
    return digest.hexdigest()


def fingerprint(matrix: Array) -> str:
    """The SHA-256 digest of a matrix: its shape, and its entries as little-endian doubles (-0 counts as 0)."""
    plain = (np.asarray(matrix, dtype=np.float64) + 0.0).astype("<f8")
    return hashlib.sha256(f"{plain.shape}\n".encode() + plain.tobytes()).hexdigest()


def statement_of(arrays: Mapping[str, Array]) -> SimpleNamespace:
    """The fields of `extremal.proof.Proof`, every array of the right type and shape, finite, and in its range."""
    count = number_of_trees(arrays)
    kinds = [kind_of(arrays, k) for k in range(count)]
    types = TYPES | {f"{k}.{name}": kind for k, parts in enumerate(kinds) for name, kind in parts.items()}
    require(set(arrays) == set(types), "it lacks arrays, or has some that do not belong")
    for name, kind in types.items():
        dtype = arrays[name].dtype
        require(dtype.kind == "U" if kind == "U" else dtype.str == kind, f"{name} has the wrong type")
        require("f" not in kind or np.isfinite(arrays[name]).all(), f"{name} holds NaN or infinity")
    require(arrays["version"].size == 1 and (arrays["version"] == VERSION).all(), "its version is not known here")
    require(seal(arrays) == str(arrays["digest"]), "it was altered after it was sealed")
    require(arrays["shape"].shape == (2,) and (arrays["shape"] > 0).all(), "the shape of the data is malformed")
    require(arrays["lam"].ndim == arrays["hidden"].ndim == 2 and arrays["bias"].size == 1, "its shapes are malformed")
    n, d, c, m = *map(int, arrays["shape"]), arrays["lam"].shape[1], arrays["hidden"].shape[1]
    columns, K = d + int(arrays["bias"].all()), count // 2
    cones, normals = (arrays[name].shape[0] if arrays[name].ndim else 0 for name in ("cones", "normals"))
    shapes = {
        "weight": (n,), "lam": (n, c), "directions": (c, K),
        "hidden": (columns, m), "output": (m, c), "offset": (c,), "shape": (2,), "cones": (cones, 3),
        "normals": (normals, c),
    }  # fmt: skip
    for name in TYPES:
        require(arrays[name].shape == shapes.get(name, ()), f"{name} has the wrong shape")
    fitting = count == 1 if JOINT in kinds else count == 2 * K > 0
    require(c > 0 and fitting, "its trees are neither two for every direction nor one for all")
    s = SimpleNamespace(**{name: arrays[name] if name in shapes else arrays[name].item() for name in TYPES})
    parts = [{name: arrays[f"{k}.{name}"] for name in kind} for k, kind in enumerate(kinds)]
    s.shape, s.trees = (n, d), [SimpleNamespace(**part) for part in parts]
    for tree in s.trees:
        require(is_well_formed(tree, columns), "a tree has arrays of the wrong shape")
    require(s.loss in LOSSES, f"the loss {s.loss!r} is not known here")
    outputs = c > 1 if s.loss == "softmax" else c == 1 or s.loss in ("squared", "huber")
    require(outputs, "this loss has another number of outputs")
    require(s.beta > 0 and (s.loss != "huber" or s.delta > 0), "beta and delta must be positive")
    require((s.weight >= 0).all() and s.weight.any(), "sample weights must be nonnegative, and not all zero")
    require((np.abs(s.directions) <= 1).all(), "directions are out of range")
    require(s.intercept or not s.offset.any(), "the network has an intercept that the model lacks")
    return s


def number_of_trees(names: Iterable[str]) -> int:
    """The number of trees in a file with arrays of these names."""
    return sum(name.endswith((".splits", ".edges")) for name in names)


def kind_of(names: Container[str], k: int) -> dict[str, str]:
    """The arrays of the k-th tree in a file with arrays of these names."""
    if f"{k}.edges" in names:
        return CONES
    return JOINT if f"{k}.levels" in names else TREE


def is_well_formed(tree: SimpleNamespace, columns: int) -> bool:
    """Whether the arrays of a tree have shapes that fit together."""
    if hasattr(tree, "edges"):
        flat = all(part.ndim == 1 for part in (tree.edges, tree.shifts, tree.counts, tree.rows, tree.t))
        r = tree.frame.shape[1] if tree.frame.ndim == 2 else 0
        right = 0 < r <= LARGEST_RANK and len(tree.frame) == columns and tree.vectors.shape[1:] == (r,)
        return flat and right
    if hasattr(tree, "levels"):
        right = tree.splits.ndim == tree.rows.ndim == tree.levels.ndim == 1 and tree.extra.shape[1:] == (columns,)
        sizes = tree.products.shape[1:]
        return right and len(sizes) == 2 and 2 * len(tree.rows) <= sizes[0] == sizes[1]
    flat = all(part.ndim == 1 for part in (tree.splits, tree.positive, tree.negative, tree.forces, tree.pairs))
    right = tree.extra.shape[1:] == tree.pulls.shape[1:] == (columns,) and tree.w.shape[1:] == tree.positive.shape
    right &= tree.slopes.shape[1:] == tree.negative.shape and tree.vectors.shape == (*tree.slopes.shape, columns)
    return flat and right


def data_of(s: SimpleNamespace, X: ArrayLike, y: ArrayLike) -> tuple[Array, Array]:
    """The design, with the column of ones if there is a bias, and the targets (n, c), if they are those meant."""
    given = np.asarray(X.toarray() if hasattr(X, "toarray") else X, dtype=np.float64)
    target = np.asarray(y, dtype=np.float64)
    right = given.shape == s.shape and target.shape[:1] == s.shape[:1]
    require(right and fingerprint(given) == s.X_hash, "X is not the data that the proof is about")
    target = targets(s.loss, target, s.lam.shape)
    require(fingerprint(target) == s.y_hash, "y is not the target that the proof is about")
    require(np.isfinite(given).all() and np.isfinite(target).all(), "the data hold NaN or infinity")
    return (np.hstack([given, np.ones((len(given), 1))]) if s.bias else given), target


def targets(loss: str, y: Array, shape: tuple[int, ...]) -> Array:
    """y as values, labels -1/+1, or one-hot rows."""
    if loss in ("logistic", "squared_hinge"):
        require(np.isin(y, (-1, 0, 1)).all(), "this loss needs labels -1/+1 or 0/1")
        y = np.where(y > 0, 1.0, -1.0)
    elif loss == "softmax" and y.size == shape[0]:
        y = (y.reshape(-1, 1) == np.arange(shape[1])).astype(np.float64)
    y = y.reshape(len(y), -1)
    require(y.shape == shape, "y has another shape than the proof")
    if loss == "softmax":
        require(np.isin(y, (0, 1)).all() and (y.sum(axis=1) == 1).all(), "y does not hold the numbers of classes")
    return y
