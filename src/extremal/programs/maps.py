"""Between networks and solutions of the convex program: the square-root map, its inverse, and splitting.

A block u != 0 with sign s is the neuron w = u / sqrt|u|, a = s sqrt|u|. A balanced neuron is the block u = |a| w of its
pattern; neurons with the same pattern and sign add up to one block, because their cone is convex, and the penalty can
only fall. A block is split into collinear copies gamma_k u, sum gamma_k = 1, at no cost.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from extremal.design import Array, Design
from extremal.network import Network
from extremal.programs.blocks import distinct, lengths

#: A pre-activation below this fraction of |u| |x_i| counts as a tie, and ties as active.
TIE = 1e-7


@dataclass(frozen=True, eq=False)
class ConvexSolution:
    """Vectors u_k with patterns and signs: f(x_i) = sum_k s_k D_k,ii x_i . u_k + intercept.

    Attributes
    ----------
    patterns : boolean array of shape (K, n)
        patterns[k, i] says whether block k is active on row i.
    signs : array of shape (K,), of +1 and -1
    U : array of shape (d, K)
        A column u_k in the cone {u : (2D_k - I) X u >= 0} for each block; zero for those that are not used.
    intercept : array of shape (1,)
        A constant added to the outputs.
    bias : bool
        Whether the last row of U multiplies a constant 1.
    """

    patterns: Array
    signs: Array
    U: Array
    intercept: Array = field(default_factory=lambda: np.zeros(1))
    bias: bool = False

    @property
    def active(self) -> Array:
        """The indices of the blocks that are not zero."""
        return np.flatnonzero(np.any(self.U, axis=0))

    @property
    def penalty(self) -> float:
        """sum_k |u_k|."""
        return float(lengths(self.U).sum())

    def network(self) -> Network:
        """One balanced neuron for each block that is not zero; its penalty 1/2 (|W|^2 + |A|^2) is sum_k |u_k|."""
        used = self.active
        size = lengths(self.U[:, used])
        root = np.sqrt(size)
        return Network(self.U[:, used] / root, (self.signs[used] * root)[:, None], self.intercept, bias=self.bias)

    @classmethod
    def from_network(cls, network: Network, design: Design) -> ConvexSolution:
        """The blocks of a network's own patterns on a design that has the column of ones, if there is one.

        Raises
        ------
        ValueError
            If the network has several outputs, or does not fit the design.
        """
        if network.n_outputs != 1:
            raise ValueError(f"only networks of one output are solutions of these programs; it has {network.n_outputs}")
        if network.hidden.shape[0] != design.d:
            raise ValueError(f"the network has {network.hidden.shape[0]} hidden rows, the design {design.d} columns")
        net = network.balance()
        scale = np.outer(design.row_norms, np.linalg.norm(net.hidden, axis=0))
        patterns = (design.forward(net.hidden) >= -TIE * scale).T
        signs = np.sign(net.output[:, 0])
        first, copy = distinct(patterns, signs)
        U = np.zeros((design.d, first.size))
        np.add.at(U.T, copy, (net.hidden * np.abs(net.output[:, 0])).T)
        return cls(patterns[first], signs[first], U, net.intercept, net.bias)


def split(network: Network, shares: list[ArrayLike]) -> Network:
    """The same function and penalty with neuron j replaced by collinear copies.

    Parameters
    ----------
    network : Network
    shares : list of positive arrays
        shares[j] are the parts gamma of neuron j, which sum to one; each becomes the neuron (sqrt(gamma) w_j,
        sqrt(gamma) a_j).

    Raises
    ------
    ValueError
        If there are not as many entries as neurons, or parts that are not positive or do not sum to one.
    """
    if len(shares) != network.width:
        raise ValueError(f"shares must have an entry for each of the {network.width} neurons; it has {len(shares)}")
    parts = [np.atleast_1d(np.asarray(share, dtype=np.float64)) for share in shares]
    if any(part.ndim != 1 or not np.all(part > 0) or abs(part.sum() - 1) > 1e-12 for part in parts):
        raise ValueError("the shares of every neuron must be positive and sum to one")
    origin = np.repeat(np.arange(network.width), [part.size for part in parts])
    root = np.sqrt(np.concatenate([np.zeros(0), *parts]))
    return Network(
        network.hidden[:, origin] * root, network.output[origin] * root[:, None], network.intercept, bias=network.bias
    )
