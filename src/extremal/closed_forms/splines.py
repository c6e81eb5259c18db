"""One feature, or rows on a line: the best network is a linear spline, computed for 1e5 points in a second.

The model: f(x) = sum_j (w_j x + b_j)_+ a_j + constant, with biases that are not penalised. In the rows of a line, x =
o + s u, every neuron is one of s (a w orthogonal to u is a constant and costs norm). The dual,

    max D(lam)  subject to  sum_i lam_i = 0,  |sum_i lam_i (x_i - t)_+| <= beta  and  |sum_i lam_i (t - x_i)_+| <= beta,

has piecewise linear constraints in t, so that kinks at the data suffice: 2n columns (x - x_i)_+, (x_i - x)_+ with an l1
penalty (a group penalty with several outputs). That program is the total variation of the slopes, see `linear_spline`.

A penalised bias is another model: its best kinks need not be at the data. `extremal.fit`, `extremal.min_norm` and
`extremal.max_margin` with bias="penalized" solve it; they walk the circle of the directions (w, b).

References
----------
Ergen & Pilanci (JMLR 2021), Corollary 8, Theorems 11 and 14, Proposition 1; Savarese, Evron, Soudry & Srebro (COLT
2019) for the cost; Debarre, Denoyelle, Unser & Fageot (2022) for the sparsest. The paper's Lemma 6 needs sum_i lam_i =
0, which it states in Appendix 9 only; its kernel (a_i - a_j)_+ of Section 4.2 is one orientation only (`ramps`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from extremal.closed_forms.line import Line
from extremal.closed_forms.linear_spline import LinearSpline, through
from extremal.closed_forms.optimal_splines import OptimalSplines
from extremal.closed_forms.rows import positive
from extremal.closed_forms.spline_dual import LONG, second_differences
from extremal.closed_forms.spline_hinge import Margins, fit_margins
from extremal.closed_forms.spline_outputs import Vectors, VectorSolution, fit_vectors, interpolate
from extremal.closed_forms.spline_squared import Squares, fit_squares
from extremal.design import Array
from extremal.losses import Squared, SquaredHinge
from extremal.network import Network


@dataclass(frozen=True, eq=False)
class SplineResult:
    """An optimal linear spline, as a function and as a network, with its proof.

    Attributes
    ----------
    objective : str
        What is minimised, in words.
    value, dual_value : float
        The objective, and a lower bound on that of every network, up to the rounding of extended precision: it is
        not rounded downwards as the bounds of `extremal.fit` are.
    lam : array of shape (n,) or (n, c)
        The dual-feasible multiplier that proves it, rounded; the bound is that of the one in extended precision.
    spline : LinearSpline
        The function of the position on the line, x - min x for one feature (x itself has the position
        `line.positions`).
    line : Line
    optima : OptimalSplines or None
        All optimal functions with the same values at the data; None with several outputs, and for the hinge loss,
        whose optima may have other values too.
    split : (p, q) or None
        With several outputs the slope changes of the neurons turned right and left.
    rounds : int
    """

    objective: str
    value: float
    dual_value: float
    lam: Array
    spline: LinearSpline
    line: Line
    optima: OptimalSplines | None
    split: tuple[Array, Array] | None
    rounds: int

    @property
    def gap(self) -> float:
        """(value - dual_value) / value, at least 0."""
        return max((self.value - self.dual_value) / self.value, 0.0) if self.value > 0 else 0.0

    @property
    def cost(self) -> float:
        """sum_j |w_j| |a_j|, biases not counted."""
        if self.split is None:
            return self.spline.cost
        return sum(float(np.linalg.norm(part, axis=1).sum()) for part in self.split)

    @property
    def kinks(self) -> Array:
        """Where the function bends, as rows on the line, shape (m, d)."""
        return self.line.origin + np.outer(self.spline.kinks, self.line.direction)

    @cached_property
    def network(self) -> Network:
        """The network, with |w_j| = |a_j|. Its biases have the digits that the offset of the data leaves them."""
        return self.network_of(self.spline)

    def network_of(self, spline: LinearSpline) -> Network:
        """The network of another optimal function, one of `optima`."""
        return spline.network(self.line, self.split if spline is self.spline else None)

    def predict(self, X: ArrayLike) -> Array:
        """The values at new rows (their projections on the line), shape (n, c): exact for any offset."""
        return self.spline(self.line.positions(X))

    def __str__(self) -> str:
        rows = {self.objective: f"{self.value:.15g}", "duality gap": f"{self.gap:.1e}"}
        rows["sum |w| |a|"] = f"{self.cost:.12g}"
        rows["kinks"] = f"{self.spline.kinks.size}"
        if self.optima is not None:
            free = "" if self.optima.unique else f"; not the only optimum, the fewest kinks are {self.optima.fewest}"
            rows["kinks"] += free
        width = max(map(len, rows)) + 4
        head = f"linear spline of {self.line.n} points, free bias"
        return "\n".join([head] + [f"{name:<{width}}{text}" for name, text in rows.items()])


def spline_min_norm(X: ArrayLike, y: ArrayLike) -> SplineResult:
    """min sum_j |w_j| |a_j| (= 1/2 |theta|^2 without biases) s.t. f(x_i) = y_i: the dots connected, in O(n log n).

    With the slopes s_1, ..., s_{k-1} between the distinct points and TV = sum |s_{i+1} - s_i|,

        P* = max(TV, (TV + |s_1 + s_{k-1}|) / 2).

    The function is unique unless it bends the same way at two neighbouring points (`optima`).

    Parameters
    ----------
    X : array of shape (n,), or (n, d) with rows on a line
    y : array of shape (n,) or (n, c)
        With several outputs the cost is sum_j |w_j| |a_j|_2.

    Returns
    -------
    SplineResult
        `.value .network .spline .lam .optima`

    Raises
    ------
    ValueError
        If the data are not finite or not on a line, or two rows at one position have different targets.

    Notes
    -----
    G = sign(c_k) at the points where the function bends and M = 0 at the first prove TV. If |s_1 + s_{k-1}| > TV, then
    M = +-1, and G is M where the function bends that way and 0 where it bends the other way.
    """
    line, Y, ones = _data(X, Squared.from_data(y).target, None)
    at = np.zeros((line.k, Y.shape[1]))
    at[line.group] = Y
    if np.any(at[line.group] != Y):
        raise ValueError("two rows at one position have different targets: no function interpolates them")
    objective, x, counts = "sum |w| |a| with f = y", line.position, np.bincount(line.group)
    if Y.shape[1] > 1:
        scale = _Scale.of(line, Y, ones, 1.0)
        found = interpolate(Vectors(x / scale.length, (at - scale.offset) / scale.height, np.ones(line.k), 0.0))
        return _vectors(objective, line, x, found, scale, (found.lam / scale.length / counts[:, None])[line.group], 0.0)
    knots = np.arange(line.k)
    if line.k > 1:
        knots = np.flatnonzero(np.concatenate([[True], _bends(line, at[:, 0]), [True]]))
    spline = through(x[knots], at[knots, 0] - at[0, 0], at[0])
    optima = _optima(x, spline, knots)
    G = np.zeros((line.k, 1))
    G[:, 0] = np.interp(x, x[knots], _proof(spline, optima.bend))
    lam = second_differences(x.astype(LONG), G.astype(LONG))[:, 0]
    dual = float(lam @ (at[:, 0] - at[0, 0]))
    per_row = (lam.astype(float) / counts)[line.group]
    return SplineResult(objective, spline.cost, min(dual, spline.cost), per_row, spline, line, optima, None, 0)


def spline_max_margin(X: ArrayLike, y: ArrayLike) -> SplineResult:
    """min sum_j |w_j| |a_j| (= 1/2 |theta|^2 without biases) s.t. y_i f(x_i) >= 1, in O(n log n).

    Only the points on either side of a change of label count: the best function interpolates their labels. With the
    gaps g_1, ..., g_k between them the value is 2 / g_1 for one gap, and for more

        P* = 2 / g_1 + 4 / g_2 + ... + 4 / g_{k-1} + 2 / g_k.

    Parameters
    ----------
    X : array of shape (n,), or (n, d) with rows on a line
    y : array of shape (n,), labels -1/+1 or 0/1

    Returns
    -------
    SplineResult
        `.spline` has one kink for every run of labels but the first and the last, where that is possible; `.optima`
        are all optima between the first and the last change.

    Raises
    ------
    ValueError
        If the data are not finite or not on a line, or two rows at one position have different labels.

    Notes
    -----
    Between two changes the mean slopes are at least 2 / g in size and alternate, which bounds TV from below. The
    function that interpolates is convex or concave on every run of labels and so beyond +-1 there.
    """
    line, Y, _ = _data(X, SquaredHinge.from_data(y).target, None)
    labels = np.zeros(line.k)
    labels[line.group] = Y[:, 0]
    if np.any(labels[line.group] != Y[:, 0]):
        raise ValueError("two rows at one position have different labels: no function separates them")
    change = np.flatnonzero(np.diff(labels))
    support = np.unique(np.concatenate([change, change + 1])) if change.size else np.zeros(1, dtype=int)
    full = spline_min_norm(line.position[support], labels[support])
    assert full.optima is not None
    lam = np.zeros(line.k)
    lam[support] = full.lam
    per_row = (lam / np.bincount(line.group))[line.group]
    # a run of labels is crossed by one kink instead of two
    optima = full.optima.moved(float(line.position[support[0]]))
    return SplineResult(
        "sum |w| |a| with y f >= 1", full.value, full.dual_value, per_row, optima.sparsest(), line, optima, None, 0
    )


def spline_fit(
    X: ArrayLike,
    y: ArrayLike,
    *,
    beta: float,
    loss: Literal["squared", "hinge"] = "squared",
    sample_weight: ArrayLike | None = None,
) -> SplineResult:
    """min sum_i w_i loss(f(x_i), y_i) + beta sum_j |w_j| |a_j|, the biases and a constant free.

    Parameters
    ----------
    X : array of shape (n,), or (n, d) with rows on a line
    y : array of shape (n,) or (n, c)
        Numbers for the squared loss, 1/2 |f - y|^2; labels -1/+1 or 0/1 for the hinge loss, (1 - y f)_+.
    beta : float
    loss : {"squared", "hinge"}
    sample_weight : array of shape (n,), optional
        1 by default; 1/n for a mean over the samples.

    Returns
    -------
    SplineResult
        With the squared loss of one output the gap is that of rounding, about 1e-15; with the hinge loss and several
        outputs it is that of an interior-point method, about 1e-10, in any case what `.gap` says.

    Raises
    ------
    ValueError
        If the data are not finite or not on a line, or beta is not positive or out of proportion to the data.
    """
    beta = positive(beta)
    if loss not in ("squared", "hinge"):
        raise ValueError(f"loss must be 'squared' or 'hinge', not {loss!r}")
    bound = (Squared if loss == "squared" else SquaredHinge).from_data(y, sample_weight)
    line, Y, w = _data(X, bound.target, bound.weight)
    if loss == "hinge":
        return _hinge(line, Y[:, 0], w, beta)
    return _squared(line, Y, w, beta)


def _data(X: ArrayLike, target: Array, weight: Array | None) -> tuple[Line, Array, Array]:
    line = Line.from_data(X)
    if len(target) != line.n:
        raise ValueError(f"X has {line.n} rows and y has {len(target)}")
    return line, target, np.ones(line.n) if weight is None else weight


def _bends(line: Line, heights: Array) -> Array:
    """Whether the function bends at the inner points (k - 2,), by more than the data are rounded."""
    x, eps = line.position, float(np.finfo(float).eps)
    h, slopes = np.diff(x), np.diff(heights) / np.diff(x)
    size = float(np.abs(line.origin @ line.direction)) + x[-1]
    rounding = 4 * eps * (np.abs(heights[1:]) + np.abs(heights[:-1]) + size * np.abs(slopes)) / h
    bent = np.abs(np.diff(slopes)) > rounding[1:] + rounding[:-1]
    keep = np.concatenate([[True], bent, [True]])
    miss = np.abs(np.interp(x, x[keep], heights[keep]) - heights)
    exact = miss <= 8 * eps * (np.abs(heights) + size * np.abs(slopes).max())
    return bent if exact.all() else np.diff(slopes) != 0


def _proof(spline: LinearSpline, bend: float) -> Array:
    """G at the knots of the cheapest interpolating spline."""
    G = np.sign(spline.changes[:, 0])
    if bend:
        G = np.where(np.sign(bend) == G, G, 0.0)
    G[0], G[-1] = np.sign(bend), 0.0
    return G


def _optima(x: Array, spline: LinearSpline, knots: Array) -> OptimalSplines:
    """All optima, from the spline whose knots are the points x[knots]."""
    if knots.size == 1:
        return OptimalSplines(spline, np.zeros(0, dtype=bool))
    bend = float(spline.slopes[0, 0] - spline.left[0])
    return OptimalSplines(spline, np.diff(knots) == 1, bend)


def _squared(line: Line, Y: Array, w: Array, beta: float) -> SplineResult:
    """The squared loss, in units in which everything is of order one."""
    scale = _Scale.of(line, Y, w, beta)
    total = np.bincount(line.group, w)
    used = np.flatnonzero(total)
    centred = Y - scale.offset
    means = np.column_stack([np.bincount(line.group, w * column) for column in centred.T])[used] / total[used, None]
    index = np.full(line.k, -1)
    index[used] = np.arange(used.size)
    own = w > 0
    within = np.zeros(Y.shape)
    within[own] = centred[own] - means[index[line.group[own]]]
    spread = 0.5 * float(w @ (within**2).sum(axis=1))
    x = (line.position[used] - line.position[used[0]]) / scale.length
    weights, targets = total[used] / scale.weight, means / scale.height
    objective = "1/2 |f - y|^2 + beta sum |w| |a|"
    share = np.where(own, w / np.where(own, total[line.group], 1.0), 0.0)

    def per_row(lam: Array) -> Array:
        return w[:, None] * within + share[:, None] * (scale.weight * scale.height * lam)[index[line.group]]

    if Y.shape[1] > 1:
        vectors = fit_vectors(Vectors(x, targets, weights, scale.beta))
        return _vectors(objective, line, line.position[used], vectors, scale, per_row(vectors.lam), spread)
    found = fit_squares(Squares(x, targets[:, 0], weights, scale.beta))
    spline = through(line.position[used[found.knots]], scale.height * found.f, scale.offset)
    value, dual = (scale.unit * bound + spread for bound in (found.primal, found.dual))
    lam = per_row(found.lam.astype(float)[:, None])[:, 0]
    optima = _optima(line.position[used], spline, found.knots)
    return SplineResult(objective, value, dual, lam, spline, line, optima, None, found.rounds)


def _hinge(line: Line, y: Array, w: Array, beta: float) -> SplineResult:
    """The hinge loss; rows with the same position and label are one."""
    own = w > 0
    key = 2 * line.group[own] + (y[own] < 0)
    keys, group = np.unique(key, return_inverse=True)
    total = np.bincount(group, w[own])
    scale = _Scale.of(line, y[:, None], w, beta, labels=True)
    position = line.position[keys // 2]
    labels = np.where(keys % 2, -1.0, 1.0)
    x = (position - position[0]) / scale.length
    found = fit_margins(Margins(x, labels, total / scale.weight, scale.beta))
    spline = through(position[0] + scale.length * found.knots, found.f, np.zeros(1))
    lam = np.zeros(line.n)
    lam[own] = scale.weight * found.lam[group] * (w[own] / total[group])
    value, dual = scale.weight * found.primal, scale.weight * found.dual
    return SplineResult("sum (1 - y f)_+ + beta sum |w| |a|", value, dual, lam, spline, line, None, None, found.rounds)


@dataclass(frozen=True)
class _Scale:
    """Powers of two that bring lengths, targets (less `offset`) and weights to order one, and beta in these units."""

    length: float
    height: float
    weight: float
    offset: Array
    beta: float

    @classmethod
    def of(cls, line: Line, Y: Array, w: Array, beta: float, *, labels: bool = False) -> _Scale:
        offset = np.zeros(Y.shape[1]) if labels else Y[np.argmax(w > 0)]
        length, weight = _power(line.position[-1]), _power(float(w.sum()))
        height = 1.0 if labels else _power(float(np.abs(Y - offset)[w > 0].max(initial=0.0)))
        with np.errstate(over="ignore", under="ignore"):
            scaled = beta / length / weight / height
        if not (np.isfinite(scaled) and scaled > 1e-280):
            raise ValueError("beta is too small or too large for the scale of X, y and the weights; rescale the data")
        return cls(length, height, weight, offset, float(scaled))

    @property
    def unit(self) -> float:
        """The unit of the squared loss."""
        return self.weight * self.height**2


def _power(value: float) -> float:
    return float(np.ldexp(1.0, int(np.frexp(value)[1]))) if value > 0 else 1.0


def _vectors(
    objective: str, line: Line, position: Array, found: VectorSolution, scale: _Scale, lam: Array, spread: float
) -> SplineResult:
    """The result for several outputs; `spread` is what the loss costs beyond the mean of every position."""
    unit = scale.unit if found.beta else scale.height / scale.length
    slope = scale.height / scale.length
    p, q = slope * found.p, slope * found.q
    left, right = -q.sum(axis=0), p.sum(axis=0)
    spline = LinearSpline(position[found.knots], scale.height * found.f, left, right, scale.offset)
    value, dual = unit * found.primal + spread, unit * found.dual + spread
    return SplineResult(objective, value, dual, lam, spline, line, None, (p, q), found.rounds)
