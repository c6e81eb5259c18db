"""The finite convex program of Pilanci & Ergen for a given set of activation patterns, solved by Clarabel.

    min over u_j in K_j  of  1/2 sum_i w_i |sum_j s_j D_j X u_j - y|^2 + beta sum_j |u_j|,
    D_j = diag(pattern_j),  K_j = {u : (2 D_j - I) X u >= 0},  s_j = +-1.

It shares no code with the search that trains networks, and so is its independent check: the value for the patterns of
an optimal network is the optimum, and a network's own patterns can never give a larger value than the network.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from extremal.design import Array
from extremal.losses import Squared
from extremal.network import Network
from extremal.problem import Problem


@dataclass(frozen=True, eq=False)
class ProgramResult:
    """The solution of a finite program.

    Attributes
    ----------
    network : Network
        One neuron for every pattern with a nonzero solution.
    value : float
        The program's optimal value, as evaluated at the network.
    dual : array of shape (n, 1)
        lam = -grad loss at the solution.
    solved : bool
        Whether Clarabel reached its full accuracy.
    """

    network: Network
    value: float
    dual: Array
    solved: bool


def pattern_program(problem: Problem, patterns: Array, signs: Array, *, tol: float = 1e-10) -> ProgramResult:
    """The optimal network whose neurons have the given patterns and output signs.

    Parameters
    ----------
    problem : Problem
        With the squared loss, one output and no free intercept.
    patterns : boolean array of shape (n, m)
        patterns[i, j] says whether neuron j is active (x_i . u_j >= 0) or not (<= 0) on row i.
    signs : array of shape (m,)
        The signs of the output weights.
    tol : float
        The accuracy asked of Clarabel.

    Raises
    ------
    ValueError
        If the problem is of another kind, or the patterns do not fit the data.

    References
    ----------
    Pilanci & Ergen (ICML 2020), Theorem 1; with signs fixed, Wang, Lacotte & Pilanci (ICLR 2022).
    """
    import clarabel

    if not isinstance(problem.loss, Squared) or problem.loss.shape[1] != 1 or problem.intercept:
        raise ValueError("the pattern program is solved for the squared loss with one output and no free intercept")
    X, n, d = problem.design.dense(), problem.design.n, problem.design.d
    if patterns.shape[0] != n or signs.shape != patterns.shape[1:]:
        raise ValueError(f"patterns must be ({n}, m) and signs (m,); got {patterns.shape} and {signs.shape}")
    m = signs.size
    # variables (u_1, ..., u_m, t_1, ..., t_m, f): minimise 1/2 f^T W f - (W y)^T f + beta 1^T t
    weight, y = problem.loss.weight, problem.loss.target[:, 0]
    quadratic = sparse.block_diag([sparse.csc_matrix((m * d + m, m * d + m)), sparse.diags(weight)], format="csc")
    linear = np.concatenate([np.zeros(m * d), np.full(m, problem.beta), -weight * y])
    active = patterns.astype(float)
    fits = sparse.hstack([sparse.csc_matrix(signs[j] * active[:, j, None] * X) for j in range(m)])
    equal = sparse.hstack([fits, sparse.csc_matrix((n, m)), -sparse.identity(n)])
    inside = sparse.block_diag([-(2 * active[:, j, None] - 1) * X for j in range(m)])
    inside = sparse.hstack([inside, sparse.csc_matrix((n * m, m + n))])
    norms = sparse.lil_matrix((m * (d + 1), m * d + m + n))
    for j in range(m):
        norms[j * (d + 1), m * d + j] = -1.0
        for k in range(d):
            norms[j * (d + 1) + 1 + k, j * d + k] = -1.0
    A = sparse.vstack([equal, inside, norms], format="csc")
    cones = [clarabel.ZeroConeT(n), clarabel.NonnegativeConeT(n * m)]
    cones += [clarabel.SecondOrderConeT(d + 1) for _ in range(m)]
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    settings.tol_gap_abs = settings.tol_gap_rel = settings.tol_feas = tol
    solution = clarabel.DefaultSolver(
        sparse.triu(quadratic, format="csc"), linear, A, np.zeros(A.shape[0]), cones, settings
    ).solve()
    U = np.asarray(solution.x)[: m * d].reshape(m, d).T
    size = np.linalg.norm(U, axis=0)
    keep = size > 1e-9 * max(size.max(initial=0.0), 1e-300)
    root = np.sqrt(size[keep])
    network = Network(U[:, keep] / root, (signs[keep] * root)[:, None], bias=problem.bias)
    solved = str(solution.status) == "Solved"
    return ProgramResult(network, problem.value(network), problem.multiplier(network), solved)


def patterns_of(problem: Problem, network: Network) -> tuple[Array, Array]:
    """The patterns (n, m), ties counted as active, and the output signs (m,) of a network of one output."""
    net = network.balance()
    z = problem.design.forward(net.hidden)
    scale = np.outer(problem.design.row_norms, np.linalg.norm(net.hidden, axis=0))
    return z >= -1e-7 * scale, np.sign(net.output[:, 0])
