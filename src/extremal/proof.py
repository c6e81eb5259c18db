"""What a checker needs to see that a network is close to the global optimum: data hashes, lam, trees, the network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from extremal.verify.statement import PREFIX, VERSION, fingerprint, read, seal

if TYPE_CHECKING:
    from extremal.design import Array
    from extremal.network import Network
    from extremal.problem import Problem


@dataclass(frozen=True, eq=False)
class SideTree:
    """A bound of f(u) = sum_i c_i (x_i . u)_+ on the unit ball: a binary tree of half-spaces with multipliers.

    Forces and pairs are for half-spaces with unit normals, and for weights with sum_i |c_i| |x_i| = 1; nothing else
    depends on the scale of rows or weights. Any multipliers give a valid bound.

    Attributes
    ----------
    splits : int32 array of shape (nodes,)
        Preorder: the normal's index for an inner node, whose first child has normal . u >= 0; -1 for a leaf.
        An index i < n is row i, and decides it (and rows equal to it up to sign); n + j is row j of `extra`.
    extra : float64 array of shape (k, d)
    moments : float32 array of shape (leaves, d (d + 1) / 2)
        U, about E[u u^T] on the leaf: its lower triangle, row by row.
    slopes : float32 array of shape (leaves, n)
        In [-1, 1]; it matters for the undecided rows of negative weight.
    forces : float32 array
        One for every half-space of every leaf's path, in the order of leaves and paths; nonnegative.
    pairs : float32 array
        One for every pair of half-spaces j < l of every leaf's path, (0, 1), (0, 2), ..., (1, 2), ...; nonnegative.
        Empty if there are none.
    """

    splits: Array
    extra: Array
    moments: Array
    slopes: Array
    forces: Array
    pairs: Array

    def __post_init__(self) -> None:
        types = (np.int32, np.float64, np.float32, np.float32, np.float32, np.float32)
        for part, kind in zip(fields(self), types, strict=True):
            object.__setattr__(self, part.name, np.ascontiguousarray(getattr(self, part.name), dtype=kind))

    @property
    def leaves(self) -> int:
        """The number of leaves."""
        return len(self.moments)

    @classmethod
    def trivial(cls, n: int, d: int) -> SideTree:
        """A single leaf with U = I / d: a bound of any weights, good enough where they are zero."""
        moments = np.eye(d)[np.tril_indices(d)][None] / d
        none = np.zeros(0)
        return cls(np.array([-1]), np.zeros((0, d)), moments, np.zeros((1, n)), none, none)


@dataclass(frozen=True, eq=False)
class Proof:
    """No network of any width has an objective below `dual`, and the network in here has one of at most `primal`.

    `extremal.verify` checks it from scratch. With several outputs, g(lam)^2 is bounded by sum_k shares_k h_k^2 with
    h_k a bound of |(lam v_k)^T (Xu)_+|, where sum_k shares_k v_k v_k^T >= I: an orthonormal frame with shares of one,
    for example.

    Attributes
    ----------
    loss : str; delta : float
        The loss, and the parameter of Huber's.
    beta : float
    bias, intercept : bool
        Whether the hidden neurons have a penalised bias, and the outputs a free intercept.
    weight : array of shape (n,)
        The sample weights.
    X_hash, y_hash : str
        SHA-256 of the data without the column of ones, and of the targets as a matrix (n, c).
    shape : (n, d)
    lam : array of shape (n, c)
        The dual point. The checker uses t lam with the largest feasible t <= 1.
    directions : array of shape (c, K); shares : array of shape (K,)
        v_k in the columns; [[1]] and [1] for one output.
    trees : 2 K of `SideTree`
        For +lam v_1, -lam v_1, +lam v_2, ...; rows and normals have the column of ones if there is a bias.
    hidden, output, offset : arrays of shape (d, m), (m, c), (c,)
        The network; the last row of `hidden` is the bias, if there is one.
    dual, primal : float
        What is claimed.
    """

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
    trees: tuple[SideTree, ...]
    hidden: Array
    output: Array
    offset: Array
    dual: float
    primal: float

    @classmethod
    def of(
        cls,
        problem: Problem,
        network: Network,
        lam: Array,
        trees: tuple[SideTree, ...],
        *,
        dual: float,
        primal: float,
        directions: Array | None = None,
        shares: Array | None = None,
    ) -> Proof:
        """The proof for a network of a problem, in the user's units (no normal form)."""
        X = problem.design.dense()
        frame = np.eye(lam.shape[1]) if directions is None else directions
        data = X[:, :-1] if problem.bias else X
        return cls(
            loss=problem.loss.name,
            delta=float(getattr(problem.loss, "delta", 0.0)),
            beta=problem.beta,
            bias=problem.bias,
            intercept=problem.intercept,
            weight=problem.loss.weight,
            X_hash=fingerprint(data),
            y_hash=fingerprint(problem.loss.target),
            shape=(data.shape[0], data.shape[1]),
            lam=lam,
            directions=frame,
            shares=np.ones(frame.shape[1]) if shares is None else shares,
            trees=trees,
            hidden=network.hidden,
            output=network.output,
            offset=network.intercept,
            dual=dual,
            primal=primal,
        )

    def claiming(self, dual: float, primal: float) -> Proof:
        """The same proof of other numbers."""
        return replace(self, dual=dual, primal=primal)

    def arrays(self) -> dict[str, Array]:
        """The arrays of the file, with their seal."""
        arrays: dict[str, Any] = {"version": np.array(VERSION, dtype=np.int64)}
        for part in fields(self):
            if part.name != "trees":
                arrays[part.name] = _plain(getattr(self, part.name))
        for k, tree in enumerate(self.trees):
            arrays |= {f"{k}.{part.name}": getattr(tree, part.name) for part in fields(tree)}
        return arrays | {"digest": np.array(seal(arrays))}

    def save(self, path: str | Path) -> None:
        """Write the proof to an .npz file (no pickle)."""
        with open(path, "wb") as file:
            np.savez_compressed(file, **self.named_arrays())

    def named_arrays(self) -> dict[str, Any]:
        """The arrays under the names that they have in a file, where others may stand next to them."""
        return {PREFIX + name: array for name, array in self.arrays().items()}

    @classmethod
    def load(cls, path: str | Path) -> Proof:
        """Read a proof written by `save`, unchecked.

        Raises
        ------
        ValueError
            If the file is something else.
        """
        return cls.from_arrays(read(path))

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array]) -> Proof:
        """The proof in the arrays of a file, unchecked."""
        names = [part.name for part in fields(cls) if part.name != "trees"]
        missing = [name for name in names if name not in arrays]
        if missing:
            raise ValueError(f"there is no proof: {', '.join(missing)} missing")
        given: dict[str, Any] = {name: _value(arrays[name]) for name in names}
        given["shape"] = tuple(int(size) for size in given["shape"])
        count = sum(name.endswith(".splits") for name in arrays)
        parts = [part.name for part in fields(SideTree)]
        trees = tuple(SideTree(*(arrays[f"{k}.{name}"] for name in parts)) for k in range(count))
        return cls(trees=trees, **given)

    def __str__(self) -> str:
        leaves = sum(tree.leaves for tree in self.trees)
        return f"a proof in {leaves} leaves that the optimum is between {self.dual:.10g} and {self.primal:.10g}"


def _plain(value: Any) -> Array:
    """A field as an array of the file's types."""
    array = np.asarray(value)
    if array.dtype.kind == "f":
        return array.astype("<f8")
    return array.astype("<i8") if array.dtype.kind == "i" else array


def _value(array: Array) -> Any:
    return array.item() if array.ndim == 0 else array
