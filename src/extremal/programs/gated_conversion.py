"""A gated-ReLU network as a ReLU network with the same outputs on the data, and what it says about both optima."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from extremal.design import Array
from extremal.network import Network
from extremal.problem import Problem
from extremal.programs.decomposition import ConeDecomposition, Method, checked_blocks, decompose


@dataclass(frozen=True, eq=False)
class ReLUConversion:
    """A gated-ReLU network as a ReLU network with the same outputs on the data.

    Attributes
    ----------
    network : Network
        Two neurons (at most) for every gated one.
    gated_value : float
        loss + beta sum_j |w_j|, the gated objective.
    value : float
        The objective of the ReLU network, gated_value + beta sum_j (|u_j| + |v_j| - |w_j|): an upper bound on p*.
    lower : float
        A proven lower bound on d*, the optimum of the gated program with these patterns. If every cell is among the
        patterns, it is one on the optimum p* of the ReLU problem too, since d* <= p*.
    bound : float
        The upper bound on `value` known beforehand, gated_value + beta sum_j (factor_j - 1) |w_j|, where factor_j is
        that of the closed form.
    difference : float
        The largest difference of the two networks' outputs on the data: rounding.
    decomposition : ConeDecomposition
    """

    network: Network
    gated_value: float
    value: float
    lower: float
    bound: float
    difference: float
    decomposition: ConeDecomposition

    @property
    def gap_bound(self) -> float:
        """value - lower, an upper bound on p* - d* for these patterns."""
        return self.value - self.lower

    def __str__(self) -> str:
        return "\n".join(
            [
                f"gated objective            {self.gated_value:.10g}",
                f"gated optimum, at least    {self.lower:.10g}",
                f"ReLU objective             {self.value:.10g}",
                f"  known beforehand         {self.bound:.6g}",
                f"so p* - d* is at most      {self.gap_bound:.6g}",
                f"difference of the outputs  {self.difference:.1e}",
            ]
        )


def gated_to_relu(
    problem: Problem,
    patterns: ArrayLike,
    W: ArrayLike,
    *,
    intercept: float = 0.0,
    method: Method = "optimal",
    tol: float = 1e-10,
) -> ReLUConversion:
    """The ReLU network with the outputs of the gated network sum_j D_j X w_j + intercept, and what it proves.

    With d* = min loss(sum_j D_j X w_j) + beta sum_j |w_j| (the relaxation without the cones) and p* the optimum of the
    ReLU networks with the same patterns, d* <= p* <= d* + beta (max_j factor_j - 1) sum_j |w_j| at a gated optimum w.

    Parameters
    ----------
    problem : Problem
        With one output; any loss.
    patterns : boolean array of shape (m, n), one pattern a row
    W : array of shape (d, m)
        With the bias last, if the problem has one.
    intercept : float
        The output intercept of the gated network, if the problem has a free one.

    Raises
    ------
    ValueError
        As `cone_decomposition`; or if the problem has several outputs, or an intercept is given that it does not have.
    """
    if problem.loss.shape[1] != 1:
        raise ValueError("gated networks of several outputs are not decomposed; the problem must have one output")
    if intercept and not problem.intercept:
        raise ValueError("the problem has no free output intercept, so the gated network cannot have one")
    gates, weights = checked_blocks(problem.design, patterns, W)
    X = problem.design.dense()
    parts = decompose(X, gates, weights, method, tol)
    outputs = np.einsum("ji,ij->i", gates, X @ weights)[:, None] + intercept
    sizes = np.linalg.norm(weights, axis=0)
    gated_value = problem.loss.value(outputs) + problem.beta * float(sizes.sum())
    network = _as_network(parts, problem, intercept)
    return ReLUConversion(
        network=network,
        gated_value=gated_value,
        value=problem.value(network),
        lower=_gated_dual(problem, X, gates, outputs),
        bound=gated_value + problem.beta * (parts.bound - float(sizes.sum())),
        difference=float(np.abs(network.evaluate(problem.design) - outputs).max()),
        decomposition=parts,
    )


def _gated_dual(problem: Problem, X: Array, gates: Array, outputs: Array) -> float:
    """A lower bound on the gated optimum: the dual constraint is |X^T D_j lam| <= beta for every pattern."""
    lam = problem.loss.dual(outputs)
    if problem.intercept:
        lam = problem.loss.centred(lam)
    gauge = float(np.linalg.norm((gates * lam[:, 0]) @ X, axis=1).max(initial=0.0)) * (1 + 1e-13)
    return problem.dual_point(lam, gauge)[1]


def _as_network(parts: ConeDecomposition, problem: Problem, intercept: float) -> Network:
    U = np.hstack([parts.U, parts.V])
    sizes = np.linalg.norm(U, axis=0)
    signs = np.repeat([1.0, -1.0], parts.U.shape[1])
    keep = sizes > 0
    root = np.sqrt(sizes[keep])
    return Network(U[:, keep] / root, signs[keep] * root, np.array([intercept]), bias=problem.bias)
