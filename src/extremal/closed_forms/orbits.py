"""What may be done to the neurons of a network without changing anything: permuting and splitting them."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from extremal.design import Array
from extremal.network import Network


def permute(network: Network, order: ArrayLike) -> Network:
    """The network with its neurons in another order: neuron `order[k]` becomes neuron k.

    Raises
    ------
    ValueError
        If `order` is not a permutation of 0, ..., m - 1.
    """
    index = np.asarray(order)
    if index.shape != (network.width,) or not np.array_equal(np.sort(index), np.arange(network.width)):
        raise ValueError(f"order must be a permutation of the {network.width} neurons, not {order!r}")
    index = index.astype(int)
    return Network(network.hidden[:, index], network.output[index], network.intercept, bias=network.bias)


def split(network: Network, neuron: int, shares: ArrayLike) -> Network:
    """The network with one neuron (w, a) split into copies (sqrt(gamma_k) w, sqrt(gamma_k) a), which come last.

    Function and penalty stay the same. So every optimum of fewer neurons is a continuum of optima of more.

    Parameters
    ----------
    network : Network
    neuron : int
        Which one.
    shares : array of shape (K,)
        gamma_k >= 0 with sum 1. A copy of share 0 is a zero neuron.

    Raises
    ------
    ValueError
        If there is no such neuron, or the shares are negative or do not add up to 1.

    References
    ----------
    Wang, Lacotte & Pilanci (ICLR 2022): with the permutations, splitting makes all optima from the convex ones.
    """
    gamma = np.asarray(shares, dtype=np.float64)
    if neuron not in range(network.width):
        raise ValueError(f"the network has {network.width} neurons; there is no neuron {neuron}")
    if gamma.ndim != 1 or not np.all(gamma >= 0) or abs(gamma.sum() - 1.0) > 1e-12:
        raise ValueError("the shares must be nonnegative and add up to 1")
    root = np.sqrt(gamma)
    rest = np.arange(network.width) != neuron
    hidden = np.column_stack([network.hidden[:, rest], np.outer(network.hidden[:, neuron], root)])
    output = np.vstack([network.output[rest], np.outer(root, network.output[neuron])])
    return Network(hidden, output, network.intercept, bias=network.bias)


def same_orbit(first: Network, second: Network, *, tol: float = 1e-6) -> bool:
    """Whether two networks, of whatever widths, are the same up to permutation and splitting of neurons.

    A neuron (w, a) is its directions w/|w| and a/|a|, its ratio |w|/|a| and its strength |w||a|. Splitting keeps the
    first three and the sum of the last: two networks lie in one orbit if and only if these sums agree. Neurons w = 0,
    a = 0 count for nothing.

    Parameters
    ----------
    first, second : Network
        They may have been trained to a finite accuracy: hence the tolerance.
    tol : float
        Distances of unit directions, relative differences of ratios, of intercepts, and of strengths relative to the
        total one, that count as none.

    Raises
    ------
    ValueError
        If the networks have not the same numbers of inputs and outputs.
    """
    if (first.hidden.shape[0], first.n_outputs, first.bias) != (second.hidden.shape[0], second.n_outputs, second.bias):
        raise ValueError(f"{first} and {second} are not networks of the same inputs and outputs")
    size = max(float(np.abs(first.intercept).max()), float(np.abs(second.intercept).max()))
    if float(np.abs(first.intercept - second.intercept).max()) > tol * size:
        return False
    places, charges = zip(_located(first, 1.0), _located(second, -1.0), strict=True)
    place, charge = np.vstack(places), np.concatenate(charges)
    allowed = tol * max(float(np.abs(charges[0]).sum()), float(np.abs(charges[1]).sum()))
    free = np.ones(len(place), dtype=bool)
    for k in np.argsort(-np.abs(charge), kind="stable"):
        if free[k]:
            near = free & (np.linalg.norm(place - place[k], axis=1) <= tol)
            if abs(float(charge[near].sum())) > allowed:
                return False
            free &= ~near
    return True


def _located(network: Network, sign: float) -> tuple[Array, Array]:
    """For every neuron that is not zero its directions and the logarithm of its ratio, and its signed strength.

    A neuron with weights in one layer only has no ratio; its strength is then the square of their norm.
    """
    inner = np.linalg.norm(network.hidden, axis=0)
    outer = np.linalg.norm(network.output, axis=1)
    some = (inner > 0) | (outer > 0)
    inner, outer = inner[some], outer[some]
    both = (inner > 0) & (outer > 0)
    size = np.where(inner > 0, inner, 1.0), np.where(outer > 0, outer, 1.0)
    ratio = np.where(both, np.log(size[0]) - np.log(size[1]), 0.0)
    place = np.column_stack([(network.hidden[:, some] / size[0]).T, network.output[some] / size[1][:, None], ratio])
    return place, sign * np.where(both, inner * outer, inner**2 + outer**2)
