"""The tree of `several` as a proof: its leaves in the units of the data, with products in single precision."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from extremal.design import Array, Design
from extremal.gauge.nonnegative import Node, balance
from extremal.gauge.several import Joint, Kept, Search, reduce_outputs
from extremal.gauge.sides import EPS, one_thread
from extremal.proof import JointTree


@dataclass(frozen=True, eq=False)
class Place:
    """A node of the tree in the forms of the root: the numbers of the forms and of the free rows that it still has."""

    node: Node
    forms: list[int]
    rows: list[int]

    def row(self, j: int, active: bool) -> Place:
        node, gone = self.node.decide(j, active)
        return Place(node, [*self.forms[:gone], *self.forms[gone + 1 :]], [*self.rows[:j], *self.rows[j + 1 :]])

    def wall(self, normal: Array, number: int) -> Place:
        return Place(self.node.cut(normal), [*self.forms, number], self.rows)


def joint_proof(
    design: Design, Lam: Array, *, lower: float, tol: float, deadline: float, memory: float
) -> tuple[JointTree, float]:
    """A tree that bounds g(Lam) for Lam (n, c), and its bound.

    The search ends when the bound is below (1 + tol) lower, or at the deadline, or when the multipliers need more than
    `memory` bytes; Ctrl-C ends it too. Whatever it has is a proof.
    """
    joint = reduce_outputs(design, Lam)
    if joint is None:
        return JointTree.trivial(design.d), 0.0
    search = Search(joint, lower / joint.scale, tol, None, deadline, keep=True)
    with one_thread().limit(limits=1, user_api="blas"):
        search.run(max(1, int(memory / (8 * len(joint.A) ** 2))))
    if search.root is None:  # too many rows
        return JointTree.trivial(design.d), joint.scale * (joint.total + joint.slack)
    writer = Writer(joint, proved(search.root))
    tree = writer.tree(search.root)
    return tree, joint.scale * (float(np.sqrt(writer.bound)) + joint.slack) * (1 + 64 * EPS)


def proved(kept: Kept) -> float:
    """The bound that a tree proves, in squares: every node's own, or that of its halves."""
    return min(kept.bound, max(map(proved, kept.children), default=np.inf))


class Writer:
    """The arrays of a tree, with as few leaves as prove a bound, and the bound that they prove in single precision."""

    def __init__(self, joint: Joint, enough: float) -> None:
        self.joint, self.enough, self.bound = joint, enough, 0.0
        self.splits: list[int] = []
        self.walls: list[Array] = []
        self.leaves: list[tuple[float, list[int], Array]] = []

    def tree(self, root: Kept) -> JointTree:
        joint, f = self.joint, len(self.joint.A)
        self.visit(root, Place(joint.root(), list(range(2 * f)), list(range(f))))
        most = max(2 * f, *(forms[-1] + 1 for _, forms, _ in self.leaves))
        units = joint.height * np.where(np.arange(most) < 2 * f, 1 / joint.stretch, 1.0)
        products = np.zeros((len(self.leaves), len(units), len(units)), np.float32)
        for part, (_, forms, N) in zip(products, self.leaves, strict=True):
            part[np.ix_(forms, forms)] = N * np.outer(units[forms], units[forms])
        walls = np.reshape(self.walls, (len(self.walls), joint.A.shape[1]))
        return JointTree(
            np.array(self.splits),
            walls if joint.basis is None else walls @ joint.basis.T,
            joint.index,
            np.array([level for level, _, _ in self.leaves]),
            products,
        )

    def visit(self, kept: Kept, place: Place) -> None:
        """The nodes below one in preorder."""
        if not kept.children or kept.bound <= self.enough:
            self.splits.append(-1)
            self.leaf(kept.N, place)
            return
        if isinstance(kept.split, np.ndarray):
            number = max(2 * len(self.joint.A), place.forms[-1] + 1)
            self.splits.append(self.joint.n + len(self.walls))
            self.walls.append(kept.split)
            halves = [place.wall(sign * kept.split, number) for sign in (1.0, -1.0)]
        else:
            assert kept.split is not None
            self.splits.append(int(self.joint.index[place.rows[kept.split]]))
            halves = [place.row(kept.split, active) for active in (True, False)]
        for child, half in zip(kept.children, halves, strict=True):
            self.visit(child, half)

    def leaf(self, N: Array, place: Place) -> None:
        """The half of the products above the diagonal, and the level that is best for them as they are rounded."""
        half = (np.triu(N, 1) + np.diag(np.diag(N)) / 2).astype(np.float32).astype(np.float64)
        nu, kappa = balance(place.node.majorant(half + half.T), place.node.d, place.node.tau)
        self.bound = max(self.bound, nu + kappa * place.node.tau)
        level = self.joint.height**2 * (nu - kappa / self.joint.stretch**2)
        self.leaves.append((level, place.forms, half))
