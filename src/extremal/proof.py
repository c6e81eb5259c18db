"""What a checker needs to see that a network is close to the global optimum: data hashes, lam, trees, the network."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from extremal.verify import verify
from extremal.verify.statement import (
    CONES,
    JOINT,
    PREFIX,
    TREE,
    VERSION,
    fingerprint,
    kind_of,
    number_of_trees,
    read,
    seal,
)

if TYPE_CHECKING:
    from extremal.design import Array
    from extremal.network import Network
    from extremal.problem import Problem

#: A claim that is always true.
LARGEST = sys.float_info.max


@dataclass(frozen=True, eq=False)
class SideTree:
    """A bound of f(u) = sum_i c_i (x_i . u)_+ on the unit ball: a binary tree of half-spaces with multipliers.

    Any multipliers give a valid bound; good ones give a good bound. On a leaf, for unit vectors x_i and a_j, weights
    with sum_i |c_i| = 1 and z = x_i . u,

        |z|  <=  (w_i z^2 + 1 / w_i) / 2                          for the undecided rows of positive weight,
        |z|  >=  s_i z + (e_i . u) z,  |s_i| + |e_i| <= 1          for those of negative weight,
        0    <=  (rho_j - h_j . u) (sign_j a_j . u),  |h_j| <= rho_j    for the half-spaces of the path,
        0    <=  theta_jl (sign_j a_j . u) (sign_l a_l . u)        for their pairs.

    So rho, h and theta are those of the weights c_i |x_i| / sum |c_i| |x_i|; nothing depends on the scale of the data.

    Attributes
    ----------
    splits : int32 array of shape (nodes,)
        Preorder: the normal's index for an inner node, whose first child has normal . u >= 0; -1 for a leaf.
        An index i < n is row i, and decides it (and rows parallel to it); n + j is row j of `extra`.
    extra : float64 array of shape (k, d)
    positive, negative : int32 arrays of shape (p,), (m,)
        The rows to which the columns of w, and of slopes and vectors, belong: one of every line of parallel rows.
        Rows that are not listed get w = 1, s = 0 and e = 0.
    w : float32 array of shape (leaves, p)
    slopes, vectors : float32 arrays of shape (leaves, m), (leaves, m, d)
        s and e; what belongs to a decided row is not looked at.
    forces, pulls : float32 arrays of shape (steps,), (steps, d)
        rho and h for every half-space of every leaf's path, in the order of leaves and paths.
    pairs : float32 array
        theta for every pair of half-spaces j < l of every leaf's path, (0, 1), (0, 2), ..., (1, 2), ...; or empty.
    """

    splits: Array
    extra: Array
    positive: Array
    negative: Array
    w: Array
    slopes: Array
    vectors: Array
    forces: Array
    pulls: Array
    pairs: Array

    def __post_init__(self) -> None:
        typed(self, TREE)

    @property
    def leaves(self) -> int:
        """The number of leaves."""
        return len(self.w)

    @classmethod
    def trivial(cls, d: int) -> SideTree:
        """A single leaf: a bound of any weights, good enough where they are nearly zero."""
        none, pulls = np.zeros(0), np.zeros((0, d))
        return cls(
            np.array([-1]),
            pulls,
            none,
            none,
            np.zeros((1, 0)),
            np.zeros((1, 0)),
            np.zeros((1, 0, d)),
            none,
            pulls,
            none,
        )

    @classmethod
    def assemble(cls, leaves: Sequence[Leaf], rows: Array, basis: Array) -> SideTree:
        """The tree of leaves in preorder, the positive side first, that speak of unit rows in reduced coordinates.

        Parameters
        ----------
        leaves : sequence of Leaf
        rows : int array of shape (r,)
            For the r rows of the leaves a row of the data with the same direction.
        basis : array of shape (d, rank)
            Orthonormal columns: the leaves' rows are x_i^T basis / |x_i|.
        """
        positive = np.unique(np.concatenate([leaf.positive for leaf in leaves]).astype(int))
        negative = np.unique(np.concatenate([leaf.negative for leaf in leaves]).astype(int))
        w = np.ones((len(leaves), positive.size), np.float32)
        slopes = np.zeros((len(leaves), negative.size), np.float32)
        vectors = np.zeros((*slopes.shape, len(basis)), np.float32)
        splits: list[int] = []
        before: list[tuple[int, bool]] = []
        for at, leaf in enumerate(leaves):
            w[at, np.searchsorted(positive, leaf.positive)] = leaf.w
            slopes[at, np.searchsorted(negative, leaf.negative)] = leaf.slope
            vectors[at, np.searchsorted(negative, leaf.negative)] = leaf.E @ basis.T
            signed = [(int(row), sign > 0) for row, sign in zip(leaf.path, leaf.signs, strict=True)]
            shared = 0
            while shared < min(len(before), len(signed)) and before[shared] == signed[shared]:
                shared += 1
            splits += [int(rows[row]) for row, _ in signed[shared + (at > 0) :]] + [-1]
            before = signed
        return cls(
            np.array(splits),
            np.zeros((0, len(basis))),
            rows[positive],
            rows[negative],
            w,
            slopes,
            vectors,
            np.concatenate([leaf.force for leaf in leaves]),
            np.vstack([leaf.H @ basis.T for leaf in leaves]),
            np.concatenate([leaf.pairs for leaf in leaves]),
        )


@dataclass(frozen=True, eq=False)
class Leaf:
    """A leaf of a search: its path, the undecided rows of either sign, and the multipliers of `SideTree`."""

    path: Sequence[int]
    signs: Sequence[float]
    positive: Array
    negative: Array
    w: Array
    slope: Array
    E: Array
    force: Array
    H: Array
    pairs: Array


@dataclass(frozen=True, eq=False)
class ConeTree:
    """A bound of f(u) = sum_i c_i (x_i . u)_+ on the unit ball: a binary tree of simplicial cones with multipliers.

    In the coordinates `frame`^T u (r of them) the orthants cover the space. A cone with the rays v_1, ..., v_r is split
    by a ray m = 2^max(s, 0) v_a + 2^max(-s, 0) v_b, without common powers of two, which replaces v_a in the first child
    and v_b in the second. On a leaf, for rows of norm one, sum_i |c_i| = 1, and numbers t_i in [0, 1],

        f(u) <= |p|   if   p . v_k >= sum_{c_i > 0} c_i (x_i . v_k)_+ - sum_{c_i < 0} t_i |c_i| x_i . v_k  for all k;

    what p lacks of that is paid for. t_i is 1 where x_i . p > 0 and 0 elsewhere, but for the exceptions listed.

    Attributes
    ----------
    frame : float64 array of shape (d, r)
        Orthonormal columns that span the rows of nonzero weight.
    edges : int8 array of shape (nodes,)
        Level by level, from the 2^r orthants on (the k-th has -e_j if bit j of k is set): the number of the edge
        (a, b) among (0, 1), (0, 2), ..., (1, 2), ...; -1 for a leaf.
    shifts : int8 array
        s for every node that is not a leaf.
    vectors : float64 array of shape (leaves, r)
        p.
    counts : int32 array of shape (leaves,)
        The number of exceptions of every leaf.
    rows, t : int32, float32 arrays
        Their rows and numbers t_i.
    """

    frame: Array
    edges: Array
    shifts: Array
    vectors: Array
    counts: Array
    rows: Array
    t: Array

    def __post_init__(self) -> None:
        typed(self, CONES)

    @property
    def leaves(self) -> int:
        """The number of leaves."""
        return len(self.vectors)


@dataclass(frozen=True, eq=False)
class JointTree:
    """A bound of |sum_i lam_i (x_i . u)_+| on the unit ball, for rows lam_i: a binary tree of half-spaces.

    With shares s_i = |lam_i| |x_i| / sum_i |lam_i| |x_i| let A_i = x_i sqrt(s_i) / |x_i| and B_i = lam_i sqrt(s_i) /
    |lam_i| for the rows that are listed. On a leaf the path decides some z_i = (A_i . u)_+, and the forms

        y  =  (z, z - A u, sign_j e_j . u)      (e_j the extra normals on the path, in its order; zero beyond)

    are nonnegative. For any products N with entries >= 0, except at the places (i, f + i) of the f rows, any sign,

        |B^T z|^2  <=  |B^T z|^2 + 2 y^T N y  <=  m + (m - level)_+ |A|_2^2,

    m the largest eigenvalue of the quadratic form in (u, z) in the middle plus diag(0, level I).

    Attributes
    ----------
    splits : int32 array of shape (nodes,)
        Preorder, as in `SideTree`.
    extra : float64 array of shape (e, d)
        Normals that are no rows.
    rows : int32 array of shape (f,)
        Increasing; the shares of the others are added.
    levels : float64 array of shape (leaves,)
    products : float32 array of shape (leaves, 2 f + k, 2 f + k)
        N, for at most k extra normals on a path; the checker takes zero for a negative entry.
    """

    splits: Array
    extra: Array
    rows: Array
    levels: Array
    products: Array

    def __post_init__(self) -> None:
        typed(self, JOINT)

    @property
    def leaves(self) -> int:
        """The number of leaves."""
        return len(self.levels)

    @classmethod
    def trivial(cls, d: int) -> JointTree:
        """A single leaf without rows: the sum of all |lam_i| |x_i|."""
        return cls(np.array([-1]), np.zeros((0, d)), np.zeros(0), np.zeros(1), np.zeros((1, 0, 0)))


def typed(tree: SideTree | ConeTree | JointTree, types: Mapping[str, str]) -> None:
    """Give the arrays of a tree the types of the file."""
    for name, dtype in types.items():
        object.__setattr__(tree, name, np.ascontiguousarray(getattr(tree, name), dtype=dtype))


Tree = SideTree | ConeTree | JointTree


@dataclass(frozen=True, eq=False)
class Proof:
    """No network of any width has an objective below `dual`, and the network in here has one of at most `primal`.

    `extremal.verify` checks it from scratch. With several outputs a `JointTree` bounds all of them at once; or trees
    bound h(v) = max (lam v)^T (Xu)_+ for directions v_k of the outputs and for -v_k, `cones` whose generators are such
    directions cover the outputs, and in each h(v) <= p . v <= |p| for a p with p . v_k >= h(v_k).

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
    directions : array of shape (c, K)
        v_k in the columns, [[1]] for one output; the first c are orthonormal, or nearly. None with a `JointTree`.
    cones : int array of shape (N, 3)
        The splits of the 2^c cones of +-v_1, ..., +-v_c, in preorder, from the last cone to the first; the bits of its
        number are the signs, v_1's is the lowest, and 1 is minus. (a, b, k) halves the edge between the generators at
        the places a and b by (v_a + v_b) / 2, number k of v_1, -v_1, v_2, ..., which takes the place of a first;
        (-1, -1, -1) is a leaf. Empty with a `JointTree`.
    normals : array of shape (leaves, c)
        p for every leaf, of any length.
    trees : 2 K of `SideTree` or `ConeTree`, or one `JointTree`
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
    cones: Array
    normals: Array
    trees: tuple[Tree, ...]
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
        trees: tuple[Tree, ...],
        *,
        dual: float = 0.0,
        primal: float = LARGEST,
        directions: Array | None = None,
        cones: Array | None = None,
        normals: Array | None = None,
    ) -> Proof:
        """The proof for a network of a problem, in the user's units (no normal form).

        Without `directions` they are the outputs themselves, and the first cones are not divided; there are none with a
        `JointTree`.
        """
        X = problem.design.dense()
        if directions is None:
            c = lam.shape[1]
            numbers = np.arange(0 if len(trees) == 1 else 2**c)[::-1]
            corners = 1.0 - 2.0 * (numbers[:, None] >> np.arange(c) & 1)
            directions, cones = np.eye(c)[:, : len(trees) // 2], np.full((len(corners), 3), -1)
            normals = corners if normals is None else normals
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
            directions=directions,
            cones=np.zeros((0, 3), np.int64) if cones is None else cones,
            normals=np.zeros((0, lam.shape[1])) if normals is None else normals,
            trees=trees,
            hidden=network.hidden,
            output=network.output,
            offset=network.intercept,
            dual=dual,
            primal=primal,
        )

    def proved(self, X: ArrayLike, y: ArrayLike) -> Proof:
        """The same proof, claiming just what the checker finds.

        Raises
        ------
        ValueError
            If the checker rejects it.
        """
        verdict = verify(self.claiming(0.0, LARGEST), X, y)
        if not verdict.accepted:
            raise ValueError(str(verdict))
        return self.claiming(verdict.dual, verdict.primal)

    def claiming(self, dual: float, primal: float) -> Proof:
        """The same proof of other numbers."""
        return replace(self, dual=float(dual), primal=float(primal))

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
        trees = tuple(_tree(arrays, k) for k in range(number_of_trees(arrays)))
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


def _tree(arrays: Mapping[str, Array], k: int) -> Tree:
    """The k-th tree of a file."""
    types = kind_of(arrays, k)
    kind = ConeTree if types is CONES else JointTree if types is JOINT else SideTree
    return kind(**{name: arrays[f"{k}.{name}"] for name in types})


def _value(array: Array) -> Any:
    return array.item() if array.ndim == 0 else array
