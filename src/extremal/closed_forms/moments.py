"""Semidefinite programs over the moments of neurons: sum_j (w_j, a_j) (w_j, a_j)^T for the neurons of a cone.

    min  1/2 sum_i weight_i |f_i - y_i|^2 + beta/2 sum_k tr M_k,    f = sum_k map_k W_k',
    M_k = [W_k, W_k'; W_k'^T, V_k] positive semidefinite,    s_i^T W_k s_j >= 0 for the sides s_i, s_j of cone k.

W_k' = sum_j w_j a_j^T makes the outputs and tr M_k / 2 is the penalty. Where the moments of vectors in the cone
{w : sides w >= 0} are all such M_k, the program is the training problem; without sides it is the nuclear norm.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from extremal.design import Array
from extremal.losses import Loss

#: The accuracy and the regularisation asked of Clarabel, one pair after the other until it reports success. What it
#: reached is proven afterwards.
ATTEMPTS = ((1e-11, 1e-8), (1e-11, 1e-10), (1e-11, 1e-12), (1e-9, 1e-8), (1e-7, 1e-8))
#: A gap of its objectives, as a share of the loss of zero outputs, at which no other pair is tried.
MET = 1e-9
ROOT = float(np.sqrt(2.0))


@dataclass(frozen=True, eq=False)
class Cone:
    """{w : sides w >= 0}, where a neuron w has the outputs map w on the data.

    Attributes
    ----------
    map : array (n, r)
    sides : array (f, r)
        Unit vectors, none of them implied by the others.
    """

    map: Array
    sides: Array

    @property
    def simple(self) -> bool:
        """Whether the moments of the cone are known: doubly nonnegative matrices of order <= 4 are those of vectors."""
        return len(self.sides) <= 4

    def bound(self, lam: Array, N: Array) -> float:
        """nu >= |lam^T map w|^2 for all w of the cone with |w| <= 1, proved by N >= 0 of shape (f, f), symmetric.

        w^T H w <= w^T (H + sides^T N sides) w for H = map^T lam lam^T map: the largest eigenvalue of that, and an
        allowance for the rounding of its entries and of the sides.
        """
        moment = self.map.T @ lam
        H = moment @ moment.T + self.sides.T @ N @ self.sides
        size = float(np.sum(moment**2) + N.sum())
        rounding = 16 * (len(self.map) + len(self.sides) + 8) * np.finfo(float).eps * size
        return max(float(np.linalg.eigvalsh(H)[-1]), 0.0) + rounding


@dataclass(frozen=True, eq=False)
class Moments:
    """The solution: M_k, lam (n, c) = -grad loss, and the multipliers N_k >= 0 of the sides' products."""

    M: list[Array]
    lam: Array
    N: list[Array]


def solve_moments(cones: list[Cone], loss: Loss, beta: float) -> Moments:
    """The program for the squared loss, by Clarabel; targets and beta of order one are best."""
    import clarabel

    (n, c), r = loss.shape, cones[0].map.shape[1]
    order, p = r + c, len(cones)
    size = order * (order + 1) // 2
    columns = p * size + n * c
    fit = sparse.hstack([*[_outputs(cone.map, c) for cone in cones], -sparse.identity(n * c)])
    pairs = [np.triu_indices(len(cone.sides), 1) for cone in cones]
    products = sparse.block_diag([_products(cone.sides, c, *pair) for cone, pair in zip(cones, pairs, strict=True)])
    products.resize(products.shape[0], columns)
    psd = -sparse.identity(p * size, format="csc")
    psd.resize(p * size, columns)
    A = sparse.vstack([fit, -products, psd], format="csc")
    b = np.concatenate([loss.target.ravel(), np.zeros(A.shape[0] - n * c)])
    diagonal = np.zeros(size)
    unit = loss.value(np.zeros((n, c))) or 1.0  # Clarabel's gap is absolute below 1
    diagonal[np.cumsum(np.arange(1, order + 1)) - 1] = beta / 2 / unit
    q = np.concatenate([np.tile(diagonal, p), np.zeros(n * c)])
    P = sparse.diags(np.concatenate([np.zeros(p * size), np.repeat(loss.weight, c) / unit]), format="csc")
    kinds = [clarabel.ZeroConeT(n * c)]
    if products.shape[0]:
        kinds.append(clarabel.NonnegativeConeT(products.shape[0]))
    kinds += [clarabel.PSDTriangleConeT(order)] * p
    best, least = None, np.inf
    for accuracy, regularisation in ATTEMPTS:
        settings = clarabel.DefaultSettings()
        settings.verbose, settings.max_threads = False, 1
        settings.static_regularization_constant = regularisation
        settings.tol_gap_abs = settings.tol_gap_rel = settings.tol_feas = accuracy
        solution = clarabel.DefaultSolver(P, q, A, b, kinds, settings).solve()
        gap = abs(float(solution.obj_val) - float(solution.obj_val_dual))
        if gap < least:
            best, least = solution, gap
        if gap < MET and "Solved" in str(solution.status):
            break
    assert best is not None
    x, z = np.nan_to_num(np.asarray(best.x)), unit * np.nan_to_num(np.asarray(best.z))
    M = [_matrix(x[k * size : (k + 1) * size], order) for k in range(p)]
    N, start = [], n * c
    for cone, (i, j) in zip(cones, pairs, strict=True):
        N.append(np.zeros((len(cone.sides),) * 2))
        # the multiplier of beta/2 |.|^2 in units of the squared gauge, beta^2: twice beta, halved for (i, j) and (j, i)
        N[-1][i, j] = N[-1][j, i] = beta * np.maximum(z[start : start + i.size], 0.0)
        start += i.size
    return Moments(M, -z[: n * c].reshape(n, c), N)


def _outputs(map: Array, c: int) -> sparse.coo_array:
    """(map W')_il as a row for every (i, l), in the entries of the triangle of M."""
    n, r = map.shape
    order = r + c
    i, a, l = np.meshgrid(np.arange(n), np.arange(r), np.arange(c), indexing="ij")
    column = (r + l) * (r + l + 1) // 2 + a
    shape = (n * c, order * (order + 1) // 2)
    return sparse.coo_array((map[i, a].ravel() / ROOT, ((i * c + l).ravel(), column.ravel())), shape=shape)


def _products(sides: Array, c: int, first: Array, second: Array) -> sparse.csr_array:
    """s_i^T W s_j as a row for every pair of sides, in the entries of the triangle of M."""
    r = sides.shape[1]
    order = r + c
    a, b = np.tril_indices(r)
    column = a * (a + 1) // 2 + b
    S, T = sides[first], sides[second]
    values = np.where(a == b, 0.5 * ROOT, 1.0) * (S[:, a] * T[:, b] + S[:, b] * T[:, a]) / ROOT
    rows = np.zeros((first.size, order * (order + 1) // 2))
    rows[:, column] = values
    return sparse.csr_array(rows)


def _matrix(triangle: Array, order: int) -> Array:
    """The symmetric matrix of a scaled triangle, column by column."""
    M = np.zeros((order, order))
    row, column = np.tril_indices(order)
    M[row, column] = M[column, row] = triangle * np.where(row == column, 1.0, 1 / ROOT)
    return M
