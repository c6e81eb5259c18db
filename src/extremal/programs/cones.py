"""The finite programs in Clarabel's form: min 1/2 x^T P x + q^T x subject to A x + s = b, s in a product of cones.

The variables are the blocks u_1 ... u_K, their lengths t_1 ... t_K, the intercept if it is free, what is left of the
outputs after a shift, g = f - shift, and those that a loss needs besides.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
from scipy import sparse

from extremal.design import Array
from extremal.losses import Huber, Logistic, Loss, Squared, SquaredHinge
from extremal.programs.blocks import Blocks

#: The accuracy and the regularisation asked of Clarabel, one pair after the other until it reports success. What it
#: reached is proven afterwards.
ATTEMPTS = ((1e-11, 1e-10), (1e-11, 1e-8), (1e-9, 1e-12), (1e-7, 1e-8))


class Outcome(Enum):
    """What Clarabel found."""

    SOLVED = "solved"
    INFEASIBLE = "infeasible"
    FAILED = "failed"


@dataclass(frozen=True, eq=False)
class ConicSolution:
    """Blocks U (d, K), intercept, and multiplier lam (n,) of a conic program: the dual ray if it is infeasible."""

    U: Array
    intercept: float
    lam: Array
    outcome: Outcome


@dataclass(frozen=True, eq=False)
class Term:
    """What the outputs f have to satisfy: the loss, or the margins, as cones of (g, extra), g = f - shift.

    min 1/2 sum quadratic x^2 + linear^T x  over x = (g, extra)  subject to  rhs - rows x in cones.
    Its conjugate is finite where low <= lam <= high.
    """

    sample: Array
    shift: Array
    quadratic: Array
    linear: Array
    rows: Any
    rhs: Array
    cones: list[tuple[str, int]]
    low: Array
    high: Array

    def in_domain(self, lam: Array) -> Array:
        """The nearest lam (n,) for which the dual value is finite."""
        result = np.zeros(lam.shape)
        result[self.sample] = np.clip(lam[self.sample], self.low, self.high)
        return result


def loss_term(loss: Loss) -> Term:
    """The loss on the samples of positive weight.

    Raises
    ------
    ValueError
        For losses of several outputs: their atomic norm is no sum over finitely many vectors.
    """
    if loss.shape[1] != 1 or type(loss) not in _TERMS:
        raise ValueError(
            f"the finite programs are for one output; loss {loss.name!r} has {loss.shape[1]} here. "
            "With several outputs the penalty becomes a nuclear norm over the cones, which is no finite program "
            "of this form"
        )
    sample = np.flatnonzero(loss.weight > 0)
    return _TERMS[type(loss)](loss.at(sample), sample)


def margin_term(y: Array) -> Term:
    """y_i f_i >= 1 for every row with a label; a row with y_i = 0 has none."""
    sample = np.flatnonzero(y)
    y, n = y[sample], len(sample)
    none = np.zeros(n)
    cones = [("nonnegative", n)]
    return Term(sample, none, none, none, -sparse.diags(y), -np.ones(n), cones, *_sides_of(y, np.inf))


def interpolation_term(y: Array) -> Term:
    """f_i = y_i for every row."""
    n = len(y)
    none, free = np.zeros(n), np.full(n, np.inf)
    return Term(np.arange(n), none, none, none, sparse.identity(n, format="csc"), y, [("zero", n)], -free, free)


def _sides_of(y: Array, most: Array | float) -> tuple[Array, Array]:
    """The interval 0 <= y lam <= most for labels y."""
    high = np.zeros(len(y)) + most
    return np.where(y > 0, 0.0, -high), np.where(y > 0, high, 0.0)


def newton_term(loss: Loss, outputs: Array) -> Term:
    """The second-order model of a twice differentiable loss around the outputs (n,), up to a constant."""
    sample = np.flatnonzero(loss.weight > 0)
    n, part, at = sample.size, loss.at(sample), outputs[sample, None]
    free = np.full(n, np.inf)
    curvature, slope = part.curvature(at)[:, 0, 0], -part.dual(at)[:, 0]
    return Term(sample, at[:, 0], curvature, slope, sparse.csc_matrix((0, n)), np.zeros(0), [], -free, free)


def _squared(loss: Loss, sample: Array) -> Term:
    n = sample.size
    free = np.full(n, np.inf)
    rows = sparse.csc_matrix((0, n))
    return Term(sample, loss.target[:, 0], loss.weight, np.zeros(n), rows, np.zeros(0), [], -free, free)


def _huber(loss: Loss, sample: Array) -> Term:
    """h(r) = min over a of a^2/2 + delta |r - a|, with a = unit a' so that no number is extreme."""
    assert isinstance(loss, Huber)
    n, w = sample.size, loss.weight
    delta = min(loss.delta, 1e6)  # beyond any residual: targets are of order one here
    unit = min(delta, 1.0)
    eye = sparse.identity(n)
    rows = sparse.bmat([[eye, -unit * eye, -eye], [-eye, unit * eye, -eye]])
    return Term(
        sample,
        loss.target[:, 0],
        np.concatenate([np.zeros(n), w * unit**2, np.zeros(n)]),
        np.concatenate([np.zeros(2 * n), w * delta]),
        rows,
        np.zeros(2 * n),
        [("nonnegative", 2 * n)],
        -loss.delta * w,
        loss.delta * w,
    )


def _squared_hinge(loss: Loss, sample: Array) -> Term:
    """1/2 (1 - y f)_+^2 = min s^2/2 over s >= 1 - y f."""
    n = sample.size
    rows = sparse.hstack([-sparse.diags(loss.target[:, 0]), -sparse.identity(n)])
    quadratic = np.concatenate([np.zeros(n), loss.weight])
    cones = [("nonnegative", n)]
    interval = _sides_of(loss.target[:, 0], np.inf)
    return Term(sample, np.zeros(n), quadratic, np.zeros(2 * n), rows, -np.ones(n), cones, *interval)


def _logistic(loss: Loss, sample: Array) -> Term:
    """log(1 + exp(-y f)) <= t  iff  a + b <= 1 for some a >= exp(-t), b >= exp(-y f - t)."""
    n, y = sample.size, loss.target[:, 0]
    at = np.arange(n)
    g, t, a, b = at, n + at, 2 * n + at, 3 * n + at
    first, second = n + 3 * at, 4 * n + 3 * at  # rows: the n sums, then the triples (x, 1, z) of both cones
    row = np.concatenate([at, at, first, first + 2, second, second, second + 2])
    column = np.concatenate([a, b, t, a, g, t, b])
    value = np.concatenate([np.ones(3 * n), -np.ones(n), y, np.ones(n), -np.ones(n)])
    rhs = np.concatenate([np.ones(n), np.tile([0.0, 1.0, 0.0], 2 * n)])
    return Term(
        sample,
        np.zeros(n),
        np.zeros(4 * n),
        np.concatenate([np.zeros(n), loss.weight, np.zeros(2 * n)]),
        sparse.csc_matrix((value, (row, column)), shape=(7 * n, 4 * n)),
        rhs,
        [("nonnegative", n)] + [("exponential", 3)] * (2 * n),
        *_sides_of(y, loss.weight),
    )


_TERMS: dict[type[Loss], Any] = {
    Squared: _squared,
    Huber: _huber,
    SquaredHinge: _squared_hinge,
    Logistic: _logistic,
}


def solve_conic(blocks: Blocks, term: Term, beta: float, *, intercept: bool, size: float) -> ConicSolution:
    """min over u_k in K_k of term(sum_k s_k D_k X u_k + intercept) + beta sum_k |u_k|.

    `size` is a guess of the optimal value; the objective is divided by it, because Clarabel's gap is absolute below 1.
    """
    import clarabel

    n, d, K = term.sample.size, blocks.X.shape[1], blocks.count
    start = K * d + K + intercept
    columns = start + term.linear.size
    fit, balance = _fit_rows(blocks, term.sample, intercept, columns), slice(0, n)
    equal, inside = _cone_rows(blocks, columns)
    lengths = _length_rows(K, d, columns)
    rest = sparse.hstack([sparse.csc_matrix((term.rows.shape[0], start)), term.rows])
    A = sparse.vstack([fit, equal, inside, lengths, rest], format="csc")
    b = np.concatenate([term.shift, np.zeros(A.shape[0] - n - term.rhs.size), term.rhs])
    P = sparse.diags(np.concatenate([np.zeros(start), term.quadratic / size]), format="csc")
    q = np.concatenate([np.zeros(K * d), np.full(K, beta / size), np.zeros(int(intercept)), term.linear / size])
    kinds = [("zero", n + equal.shape[0]), ("nonnegative", inside.shape[0]), *[("length", d + 1)] * K, *term.cones]
    cones = [_CONES[kind](clarabel, m) for kind, m in kinds if m > 0]
    for accuracy, regularisation in ATTEMPTS:
        settings = _settings(clarabel, accuracy, regularisation)
        solution = clarabel.DefaultSolver(P, q, A, b, cones, settings).solve()
        status = str(solution.status)
        if status in _SUCCESS or status in _INFEASIBLE:
            break
    x, z = np.asarray(solution.x), np.asarray(solution.z)
    lam = np.zeros(len(blocks.X))
    lam[term.sample] = -size * z[balance]
    if status in _INFEASIBLE:
        return ConicSolution(np.zeros((d, K)), 0.0, lam, Outcome.INFEASIBLE)
    failed = not (np.isfinite(x).all() and np.isfinite(z).all())
    U = np.zeros((d, K)) if failed else x[: K * d].reshape(K, d).T
    constant = float(x[K * d + K]) if intercept and not failed else 0.0
    outcome = Outcome.SOLVED if status in _SUCCESS else Outcome.FAILED
    return ConicSolution(U, constant, np.nan_to_num(lam), outcome)


_CONES: dict[str, Any] = {
    "zero": lambda clarabel, m: clarabel.ZeroConeT(m),
    "nonnegative": lambda clarabel, m: clarabel.NonnegativeConeT(m),
    "length": lambda clarabel, m: clarabel.SecondOrderConeT(m),
    "exponential": lambda clarabel, m: clarabel.ExponentialConeT(),
}


_SUCCESS = ("Solved", "AlmostSolved")
_INFEASIBLE = ("PrimalInfeasible", "AlmostPrimalInfeasible")


def _settings(clarabel: Any, accuracy: float, regularisation: float) -> Any:
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    settings.max_iter = 100
    settings.static_regularization_constant = regularisation
    settings.max_threads = 1
    # exponential cones ask for short steps now and then; by default Clarabel gives up at them
    settings.min_switch_step_length, settings.min_terminate_step_length = 1e-2, 1e-8
    settings.tol_gap_abs = settings.tol_gap_rel = settings.tol_feas = accuracy
    return settings


def _fit_rows(blocks: Blocks, sample: Array, intercept: bool, columns: int) -> Any:
    """sum_k s_k D_k X u_k + intercept - g = shift."""
    n, d, K = sample.size, blocks.X.shape[1], blocks.count
    block, row = np.nonzero(blocks.patterns[:, sample])
    values = blocks.signs[block, None] * blocks.X[sample[row]]
    left = _coo(row, block, values, (n, K * d))
    constant = np.ones((n, int(intercept)))
    after = columns - K * d - K - intercept - n  # what the loss needs besides
    return sparse.hstack(
        [
            left,
            sparse.csc_matrix((n, K)),
            sparse.csc_matrix(constant),
            -sparse.identity(n),
            sparse.csc_matrix((n, after)),
        ]
    )


def _cone_rows(blocks: Blocks, columns: int) -> tuple[Any, Any]:
    """-side line . u_k <= 0 for every block and line; the equalities first."""
    parts = []
    for chosen, factor in ((blocks.sides == 0, 1.0), (np.abs(blocks.sides) == 1, -1.0)):
        block, line = np.nonzero(chosen)
        values = blocks.lines[line] * np.where(factor > 0, 1.0, -blocks.sides[block, line])[:, None]
        parts.append(_coo(np.arange(block.size), block, values, (block.size, columns)))
    return parts[0], parts[1]


def _length_rows(K: int, d: int, columns: int) -> Any:
    """(t_k, u_k) in the second-order cone."""
    column = np.column_stack([K * d + np.arange(K), np.arange(K * d).reshape(K, d)]).ravel()
    return sparse.csc_matrix((-np.ones(column.size), (np.arange(column.size), column)), shape=(column.size, columns))


def _coo(row: Array, block: Array, values: Array, shape: tuple[int, int]) -> Any:
    """The matrix with the row vector values[e] at row[e] in the columns of block[e]."""
    d = values.shape[1]
    column = block[:, None] * d + np.arange(d)
    return sparse.csc_matrix((values.ravel(), (np.repeat(row, d), column.ravel())), shape=shape)
