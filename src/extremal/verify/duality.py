"""The two ends of the gap: the dual value from below, with the bound of the gauge, and the objective from above."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import numpy as np

from extremal.verify.arithmetic import (
    SLACK,
    TINY,
    UNIT,
    Array,
    decimals,
    fractions,
    largest_exponent,
    norm,
    require,
    to_digits,
    total,
)
from extremal.verify.cone_leaves import cone_bound
from extremal.verify.joint_leaves import joint_bound
from extremal.verify.leaves import side_bound


def gauge_bound(s: SimpleNamespace, exponents: Array, rows: Array) -> Decimal:
    """An upper bound of g(lam), of all outputs at once or from cones that cover their directions."""
    unit = largest_exponent(np.abs(s.lam).max(axis=1), exponents)
    lam = np.ldexp(s.lam, (exponents - unit)[:, None])
    if len(s.trees) == 1:
        return Decimal(joint_bound(rows, lam, s.trees[0])) * Decimal(2) ** unit * (1 + SLACK)
    error = (2 * len(s.directions) + 32) * UNIT
    slack = error * (norm(rows) @ (np.abs(lam) @ np.abs(s.directions))) + TINY
    heights: list[Decimal] = []
    for k, tree in enumerate(s.trees):
        weights = (1 - 2 * (k % 2)) * (lam @ s.directions[:, k // 2])
        bound = tree_bound(rows, weights, tree)
        require(np.isfinite(bound), "the multipliers of a leaf give no finite bound")
        heights.append(Decimal(bound) + Decimal(float(slack[k // 2])))
    return largest_height(s, heights) * Decimal(2) ** unit * (1 + SLACK)


def largest_height(s: SimpleNamespace, heights: list[Decimal]) -> Decimal:
    """An upper bound of h(v) = max over |u| <= 1 of v . lam^T (Xu)_+ on |v| <= 1, from its values at v_0, -v_0, ...

    h is sublinear: where p . v_k >= h(v_k) for the generators of a cone, h(v) <= p . v <= |p| in all of it. The first c
    directions and their negatives span cones that cover everything; a split replaces one or the other of two generators
    by their mean.
    """
    c, count, exact = len(s.directions), len(heights), fractions(s.directions.T)
    squares = [
        (sum(a * b for a, b in zip(v, w, strict=True)) - (i == j)) ** 2
        for i, v in enumerate(exact[:c])
        for j, w in enumerate(exact[:c])
    ]
    spanning = count >= 2 * c and len(s.cones) >= 2**c and sum(squares) < 1
    require(spanning, "the directions do not span the outputs")
    V = [[sign * value for value in exact[k // 2]] for k in range(count) for sign in (1 - 2 * (k % 2),)]
    steps, normals, largest = iter(s.cones.tolist()), iter(decimals(s.normals)), Decimal(0)
    stack = [[2 * k + (number >> k & 1) for k in range(c)] for number in range(2**c)]
    while stack:
        cone = stack.pop()
        a, b, middle = next(steps, (0, 0, 0))
        if a < 0:
            p: list[Decimal] = next(normals, [])
            largest = max(largest, height_on_cone(p, [V[k] for k in cone], [heights[k] for k in cone]))
            continue
        right = a != b and a < c and 0 <= b < c and 0 <= middle < count
        right = right and all(2 * m == x + y for m, x, y in zip(V[middle], V[cone[a]], V[cone[b]], strict=True))
        require(right, "the cones do not cover the directions of the outputs")
        stack += [[middle if k == place else cone[k] for k in range(c)] for place in (b, a)]
    require(next(steps, None) is None and next(normals, None) is None, "there are more cones than cover the directions")
    return largest


def height_on_cone(p: list[Decimal], V: list[list[Fraction]], heights: list[Decimal]) -> Decimal:
    """|t p| with the least t >= 0 for which t p . v_k >= heights_k, rounded up."""
    stretch = Decimal(0)
    for v, height in zip(V, heights, strict=True):
        terms = [a * to_digits(b) for a, b in zip(p, v, strict=False)]
        reach = total(terms) - SLACK * total(abs(term) for term in terms)
        require(reach > 0, "a cone of outputs has a normal that bounds nothing")
        stretch = max(stretch, height / reach)
    return stretch * total(a * a for a in p).sqrt() * (1 + SLACK)


def tree_bound(rows: Array, weights: Array, tree: Any) -> float:
    """The bound of one side by a tree of either kind."""
    return (cone_bound if hasattr(tree, "edges") else side_bound)(rows, weights, tree)


def dual_value(s: SimpleNamespace, exponents: Array, rows: Array, target: Array) -> Decimal:
    """D(t lam) from below, for the longest t <= 1 that the bound of the gauge and the conjugate's domain allow."""
    y = fractions(target)
    lam, moved = repaired(s, exponents, rows, y)
    t = Decimal(1)
    for w, labels, row in zip(s.weight.tolist(), y, lam, strict=True):
        _, reach, cap = limits(s, w, labels, row)
        if reach > cap:
            t = min(t, to_digits(cap / reach) * (1 - SLACK))
    gauge = gauge_bound(s, exponents, rows) + moved
    t = min(t, Decimal(s.beta) / gauge * (1 - SLACK)) if gauge > 0 else t
    value, size = Decimal(0), Decimal(0)
    for w, labels, row in zip(s.weight.tolist(), decimals(target), lam, strict=True):
        if w > 0:
            term, magnitude = dual_term(s.loss, Decimal(w), labels, [t * to_digits(v) for v in row])
            value, size = value + term, size + magnitude
    return max(value - SLACK * size, Decimal(0))


def repaired(s: SimpleNamespace, exponents: Array, rows: Array, y: list) -> tuple[list[list[Fraction]], Decimal]:
    """lam with those sums exactly zero that have to be, and a bound on what that does to the gauge.

    A row of the softmax loss sums to zero, by its entry at the sample's class; the columns sum to zero if there is a
    free intercept, by one row with room in the domain.
    """
    lam, moved = fractions(s.lam), Decimal(0)
    root = Decimal(rows.shape[1]).sqrt()
    length = [Decimal(2) ** int(e) * root * int(row.any()) for e, row in zip(exponents, rows, strict=True)]
    if s.loss == "softmax":
        for i, row in enumerate(lam):
            defect = sum(row, Fraction(0))
            row[y[i].index(Fraction(1))] -= defect
            moved += abs(to_digits(defect)) * length[i]
    if s.intercept:
        known = [limits(s, *sample) for sample in zip(s.weight.tolist(), y, lam, strict=True)]
        roomy = max(range(len(lam)), key=lambda i: min(known[i][0], known[i][2] - known[i][1]))
        defects = [sum(column, Fraction(0)) for column in zip(*lam, strict=True)]
        lam[roomy] = [value - defect for value, defect in zip(lam[roomy], defects, strict=True)]
        moved += total(abs(to_digits(defect)) for defect in defects) * length[roomy]
    return lam, moved * (1 + SLACK)


def limits(s: SimpleNamespace, w: float, y: list, lam: list[Fraction]) -> tuple[Fraction, Fraction, Fraction]:
    """(least, reach, cap): lam_i is in the domain of the conjugate if and only if least >= 0 and reach <= cap.

    Rejects lam_i of which no positive multiple is in the domain.
    """
    cap = Fraction(w)
    least, reach = cap, Fraction(0)
    if s.loss == "huber":
        cap *= Fraction(s.delta)
        least, reach = cap, max(abs(v) for v in lam)
    elif s.loss in ("logistic", "squared_hinge"):
        least = y[0] * lam[0]
        reach = least if s.loss == "logistic" else reach
    elif s.loss == "softmax":
        least = min(-v for v, is_class in zip(lam, y, strict=True) if not is_class)
        reach = sum((v for v, is_class in zip(lam, y, strict=True) if is_class), Fraction(0))
    require(least >= 0 and (w > 0 or not any(lam)), "lam is not in the domain of the conjugate loss")
    return least, reach, cap


def dual_term(loss: str, w: Decimal, y: list[Decimal], v: list[Decimal]) -> tuple[Decimal, Decimal]:
    """-(w loss)^*(-v) of one sample, and a number that its rounding error is relative to."""
    if loss in ("logistic", "softmax"):
        p = [abs(a) / w for a, b in zip(v, y, strict=True) if loss == "logistic" or not b]
        return w * total(entropy(share) for share in [*p, 1 - total(p)]), w * (1 + len(p))
    products, squares = [a * b for a, b in zip(v, y, strict=True)], total(a * a for a in v) / (2 * w)
    return total(products) - squares, total(abs(product) for product in products) + squares


def entropy(p: Decimal) -> Decimal:
    """-p log p; 0, a lower bound, where p is zero but for rounding."""
    return -p * p.ln() if p > 0 else Decimal(0)


def objective(s: SimpleNamespace, exponents: Array, rows: Array, target: Array) -> Decimal:
    """The objective of the network from above."""
    inner = np.frexp(np.abs(s.hidden).max(axis=0, initial=0.0))[1]
    unit = largest_exponent(np.abs(s.output).max(axis=1, initial=0.0), inner)
    hidden, output = np.ldexp(s.hidden, -inner), np.ldexp(s.output, (inner - unit)[:, None])
    error = (hidden.shape[0] + hidden.shape[1] + 32) * UNIT
    F = np.maximum(rows @ hidden, 0) @ output
    errors = error * ((np.abs(rows) @ np.abs(hidden)) @ np.abs(output)) + TINY * output.any()
    require(np.isfinite(F).all() and np.isfinite(errors).all(), "the network's outputs overflow")
    loss, offset = Decimal(0), decimals(s.offset)
    samples = zip(s.weight.tolist(), exponents.tolist(), decimals(target), decimals(F), decimals(errors), strict=True)
    for w, exponent, labels, values, spread in samples:
        power = Decimal(2) ** (exponent + unit)
        around = [power * (e + SLACK * abs(f)) + SLACK * abs(b) for e, f, b in zip(spread, values, offset, strict=True)]
        loss += Decimal(w) * loss_term(s, labels, [power * f + b for f, b in zip(values, offset, strict=True)], around)
    penalty = total(weight * weight for part in (s.hidden, s.output) for weight in decimals(part.ravel()))
    return (loss + Decimal(s.beta) / 2 * penalty) * (1 + SLACK)


def loss_term(s: SimpleNamespace, y: list[Decimal], F: list[Decimal], spread: list[Decimal]) -> Decimal:
    """The largest loss of one sample for outputs within `spread` of F, at least."""
    half = Decimal("0.5")
    if s.loss == "logistic":
        return log_sum_exp([Decimal(0), -y[0] * F[0]]) + spread[0]
    if s.loss == "softmax":
        return log_sum_exp([f - F[y.index(Decimal(1))] for f in F]) + 2 * max(spread)
    if s.loss == "squared_hinge":
        return half * max(1 - y[0] * F[0] + spread[0] + SLACK * (1 + abs(F[0])), Decimal(0)) ** 2
    away = [abs(f - v) + e + SLACK * (abs(f) + abs(v)) for f, v, e in zip(F, y, spread, strict=True)]
    if s.loss == "squared":
        return half * total(r * r for r in away)
    delta = Decimal(s.delta)
    return total(half * r * r if r <= delta else delta * (r - half * delta) for r in away)


def log_sum_exp(values: list[Decimal]) -> Decimal:
    """log sum exp, rounded up; one of the values is zero, so that it is not negative."""
    largest = max(values)
    return (largest + total((v - largest).exp() for v in values).ln()) * (1 + SLACK) + SLACK
