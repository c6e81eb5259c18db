"""The leaf bounds of the checker against the same bounds in 100-digit arithmetic, and against attacks.

Whatever the multipliers are, f(u) <= constant + nu + |G - nu I + R R^T| + |p|^2 + |l - 2 R p| on the leaf's part of the
unit ball. The checker evaluates the right-hand side in double precision with error bounds; here it is evaluated for
the very same numbers in mpmath.
"""

from __future__ import annotations

from importlib import import_module

import mpmath as mp
import numpy as np
import pytest

from extremal.proof import SideTree
from proofs import enumeration_tree, random_tree

verify = import_module("extremal.verify.leaves")

DIGITS = 100


def problems(count: int, *, seed: int = 0, most: int = 12, dimension: int = 4, leaves: int = 20):
    """Random rows, weights and trees: zero rows, duplicates, opposite and tiny rows, zero weights among them."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        n, d = int(rng.integers(1, most + 1)), int(rng.integers(1, dimension + 1))
        X = rng.standard_normal((n, d)) * 10.0 ** (rng.uniform(-8, 8, (n, 1)) * rng.integers(0, 2, (n, 1)))
        X[rng.random(n) < 0.1] = 0.0
        if n > 2:
            X[0], X[1] = X[-1] * rng.choice([1.0, -1.0, 2.0, 0.3]), X[1] * rng.choice([1.0, 1e-12])
        c = rng.standard_normal(n) * (rng.random(n) < 0.9)
        exponents, rows = verify.binary_rows(X)
        sizes = np.ldexp(c, exponents)
        weights = sizes / (2.0 ** np.frexp(np.abs(sizes).max())[1] if sizes.any() else 1.0)
        tree = random_tree(rng, n, d, leaves=leaves, extra=int(rng.integers(0, 3)), size=10.0 ** rng.uniform(-3, 0.5))
        yield rng, rows, weights, tree


def portions(rows, weights, tree):
    """The leaves with the multipliers, the majorant and the factors that the checker uses."""
    with np.errstate(all="ignore"):
        for leaves in verify.Leaves.of(verify.Lines.of(rows, weights), tree):
            y = leaves.multipliers()
            majorant = leaves.majorant(y)
            nu, R, p = majorant.factor()
            sizes = majorant.l_size + majorant.G_size + np.abs(weights) @ np.linalg.norm(rows, axis=1)
            yield leaves, y, (nu, R, p), majorant.bounds(nu, R, p), sizes


def exact_bound(leaves, y, factors, leaf):
    """The bound of one leaf for the numbers of the checker, in mpmath."""
    rows, d, k = leaves.rows.tolist(), leaves.rows.shape[1], leaves.signs.shape[1]
    vector = lambda array: [mp.mpf(v) for v in np.asarray(array).tolist()]  # noqa: E731
    norm = lambda v: mp.sqrt(sum(t * t for t in v))  # noqa: E731
    G, l, constant = mp.zeros(d), vector(leaves.lines.linear), mp.mpf(0)

    def add_product(left, right):
        for s in range(d):
            for t in range(d):
                G[s, t] += (left[s] * right[t] + left[t] * right[s]) / 2

    for i, c in enumerate(vector(leaves.weights)):
        x, state = vector(rows[i]), leaves.state[leaf, i]
        share = mp.mpf(0)
        if state > 0:
            share = c
        elif state == 0 and c > 0:
            q = mp.mpf(float(y.q[leaf, i]))
            share = c / 2
            if q > 0:
                constant += c * c / (16 * q)
                add_product([q * t for t in x], x)
            else:
                constant += c / 2 * norm(x)
        elif state == 0 and c < 0:
            a, m = mp.mpf(float(y.a[leaf, i])), vector(y.m[leaf, i])
            constant += max(abs(a) + norm(m) + c / 2, mp.mpf(0)) * norm(x)
            share = c / 2 - a
            add_product([-t for t in m], x)
        l = [s + share * t for s, t in zip(l, x, strict=True)]
    normals = [vector(leaves.normals[leaf, j]) for j in range(k)]
    for j in range(k):
        sign, h = mp.mpf(float(leaves.signs[leaf, j])), vector(y.h[leaf, j])
        rho = max(mp.mpf(float(y.rho[leaf, j])), norm(h))
        l = [s + sign * rho * t for s, t in zip(l, normals[j], strict=True)]
        add_product([-sign * t for t in h], normals[j])
        for i in range(j + 1, k):
            theta = mp.mpf(float(y.theta[leaf, j, i]))
            add_product([theta * t for t in normals[j]], normals[i])
    nu, R, p = mp.mpf(float(factors[0][leaf])), mp.matrix(factors[1][leaf].tolist()), vector(factors[2][leaf])
    residual = G - nu * mp.eye(d) + R * R.T
    rest = [l[s] - 2 * sum(R[s, t] * p[t] for t in range(d)) for s in range(d)]
    frobenius = mp.sqrt(sum(v * v for v in residual))
    return constant + nu + frobenius + sum(t * t for t in p) + norm(rest)


def comparisons(count, **options):
    """(checker's bound, exact bound, sum of the sizes of all terms) of every leaf of random problems."""
    with mp.workdps(DIGITS):
        for _, rows, weights, tree in problems(count, **options):
            for leaves, y, factors, bounds, sizes in portions(rows, weights, tree):
                for leaf in range(len(bounds)):
                    yield bounds[leaf], exact_bound(leaves, y, factors, leaf), sizes[leaf]


def test_bound_contains_exact_bound_on_thousands_of_leaves():
    checked = 0
    for bound, exact, size in comparisons(250):
        assert mp.mpf(float(bound)) >= exact
        assert bound <= float(exact) * (1 + 1e-12) + 1e-12 * size + 1e-100  # and is not much larger
        checked += 1
    assert checked == 5000


@pytest.mark.slow
def test_bound_contains_exact_bound_on_more_leaves():
    for bound, exact, _ in comparisons(400, seed=7, leaves=25):
        assert mp.mpf(float(bound)) >= exact


def test_bound_contains_exact_bound_in_more_dimensions():
    for bound, exact, size in comparisons(12, seed=1, most=60, dimension=10, leaves=6):
        assert mp.mpf(float(bound)) >= exact
        assert bound <= float(exact) * (1 + 1e-11) + 1e-11 * size


def test_error_terms_are_needed(monkeypatch):
    monkeypatch.setattr(verify, "UNIT", 0.0)
    failures = sum(mp.mpf(float(bound)) < exact for bound, exact, _ in comparisons(20, seed=2))
    assert failures > 20


def test_error_terms_are_small(monkeypatch):
    plain = [(float(bound), size) for bound, _, size in comparisons(15, seed=3)]
    monkeypatch.setattr(verify, "UNIT", 1000 * verify.UNIT)
    larger = [float(bound) for bound, _, _ in comparisons(15, seed=3)]
    for new, (bound, size) in zip(larger, plain, strict=True):
        assert bound <= new <= bound + 1e-9 * max(bound, size)
    assert larger != [bound for bound, _ in plain]


def test_error_terms_are_small_against_useful_bounds(monkeypatch):
    """Leaves worth having: relatively less than 1e-9 with errors a thousand times as large."""
    plain = [bound for bound, _ in useful_bounds()]
    assert all(bound < 1.5 * value for bound, value in useful_bounds())
    monkeypatch.setattr(verify, "UNIT", 1000 * verify.UNIT)
    np.testing.assert_allclose([bound for bound, _ in useful_bounds()], plain, rtol=1e-9, atol=0)


def useful_bounds():
    """(bound, value found) for n = 40 and 100 rows, at the root: U is near u u^T for a good direction u."""
    rng = np.random.default_rng(9)
    for n, d in ((40, 5), (100, 10)):
        rows = verify.binary_rows(rng.standard_normal((n, d)))[1]
        teacher = np.maximum(rows @ rng.standard_normal(d), 0) - 0.3
        weights = teacher / np.abs(teacher).max()
        u = rows.T @ np.maximum(weights, 0)
        for _ in range(50):
            u = ((rows @ u > 0) * weights) @ rows
            u /= np.linalg.norm(u)
        U = 0.9 * np.outer(u, u) + 0.1 * np.eye(d) / d
        slopes = np.where(rows @ u > 0, 0.5, -0.5)[None]
        none = np.zeros(0)
        tree = SideTree([-1], np.zeros((0, d)), U[np.tril_indices(d)][None], slopes, none, none)
        yield verify.side_bound(rows, weights, tree), float(np.maximum(rows @ u, 0) @ weights)


def test_bound_is_that_of_the_format():
    """const + nu + l^T (nu I - G)^{-1} l / 4 at the best nu, from the closed form of the multipliers."""
    with mp.workdps(40):
        for rng, rows, weights, tree in problems(15, seed=4, leaves=6):
            for leaves, _, _, bounds, _ in portions(rows, weights, tree):
                for leaf in range(len(bounds)):
                    ideal = ideal_bound(leaves, leaf)
                    assert float(ideal) == pytest.approx(float(bounds[leaf]), rel=1e-7, abs=1e-12), rng


def ideal_bound(leaves, leaf):
    """The bound as the format writes it, with multipliers and nu in 40 digits."""
    U = mp.matrix(leaves.U[leaf].tolist())
    d, k = U.rows, leaves.signs.shape[1]
    G, l, constant = mp.zeros(d), mp.matrix(leaves.lines.linear.tolist()), mp.mpf(0)

    def unit(v):
        size = mp.norm(v)
        return v / size if size > 0 else v

    for i, c in enumerate(leaves.weights):
        x, state, c = mp.matrix(leaves.rows[i].tolist()), leaves.state[leaf, i], mp.mpf(float(c))
        if state > 0:
            l += c * x
        elif state == 0 and c > 0 and mp.norm(x) > 0:
            square = (x.T * U * x)[0]
            spread = mp.sqrt(max(square, 0))
            spread = min(max(spread, verify.NARROWEST * mp.norm(x)), verify.WIDEST * mp.norm(x))
            l, G, constant = l + c / 2 * x, G + c / (4 * spread) * x * x.T, constant + c / 4 * spread
        elif state == 0 and c < 0:
            s, g = mp.mpf(float(leaves.slopes[leaf, i])), unit(U * x)
            l += c / 2 * (1 + s) * x
            G += c / 4 * (1 - abs(s)) * (g * x.T + x * g.T)
    for j in range(k):
        a, sign = mp.matrix(leaves.normals[leaf, j].tolist()), mp.mpf(float(leaves.signs[leaf, j]))
        rho, h = mp.mpf(float(leaves.rho[leaf, j])), unit(U * a)
        l += rho * sign * a
        G -= rho * sign / 2 * (h * a.T + a * h.T)
        for i in range(j + 1, k):
            b = mp.matrix(leaves.normals[leaf, i].tolist())
            G += (
                mp.mpf(float(leaves.theta[leaf, j, i] * leaves.signs[leaf, j] * leaves.signs[leaf, i]))
                / 2
                * (a * b.T + b * a.T)
            )
    e, Q = mp.eigsy(G)
    b = Q.T * l / 2
    top = max(max(e), mp.mpf(0))
    value = lambda nu: nu + sum(t * t / (nu - s) for s, t in zip(e, b, strict=True) if t != 0)  # noqa: E731
    low, high = mp.mpf(10) ** -25 * (mp.norm(b) + top + 1), mp.norm(b) + mp.mpf(10) ** -20
    for _ in range(150):
        middle = mp.sqrt(low * high)
        slope = 1 - sum((t / (top + middle - s)) ** 2 for s, t in zip(e, b, strict=True))
        low, high = (middle, high) if slope < 0 else (low, middle)
    return constant + value(top + high)


def attack(rng, rows, weights, normals, signs, count=200):
    """The largest f found on the half-spaces within the ball: random directions, reflected into the cone, ascended."""
    U = rng.standard_normal((count, rows.shape[1]))
    U /= np.linalg.norm(U, axis=1, keepdims=True)
    best = 0.0  # u = 0 is in every cone
    for _ in range(30):
        for normal, sign in zip(normals, signs, strict=True):
            if sign != 0 and normal.any():
                z = sign * (U @ normal) / (normal @ normal)
                U = U - 1.5 * np.minimum(z, 0)[:, None] * sign * normal
        inside = ((U @ normals.T) * signs >= 0).all(axis=1)
        size = np.maximum(np.linalg.norm(U, axis=1), 1e-300)
        if inside.any():
            values = np.maximum(U[inside] @ rows.T, 0) @ weights / size[inside]
            best = max(best, float(values.max()))
        slopes = ((U @ rows.T > 0) * weights) @ rows
        U = U / size[:, None] + 0.3 * slopes / np.maximum(np.linalg.norm(slopes, axis=1), 1e-300)[:, None]
    return best


def test_no_direction_exceeds_a_leaf_bound():
    nearest = np.inf
    for rng, rows, weights, tree in problems(60, seed=5, leaves=8):
        for leaves, _, _, bounds, _ in portions(rows, weights, tree):
            for leaf in range(len(bounds)):
                value = attack(rng, rows, weights, leaves.normals[leaf], leaves.signs[leaf])
                assert value <= bounds[leaf] * (1 + 1e-13)
                if value > 0:
                    nearest = min(nearest, bounds[leaf] / value)
    assert nearest < 1.01  # some bounds are nearly attained: the attack is worth something


def test_enumerated_tree_bounds_the_exact_gauge_tightly():
    """Leaves of all patterns: the bound is the gauge, which the cells find too."""
    from extremal.gauge import gauge

    rng = np.random.default_rng(6)
    for _ in range(20):
        n, d = int(rng.integers(2, 9)), int(rng.integers(1, 4))
        X, c = rng.standard_normal((n, d)), rng.standard_normal(n)
        exponents, rows = verify.binary_rows(X)
        weights = np.ldexp(c, exponents - 10)
        bounds = [verify.side_bound(rows, s * weights, enumeration_tree(X, s * c)) * 1024 for s in (1, -1)]
        exact = gauge(X, c, tol=1e-10)
        assert exact.lower <= max(bounds) <= exact.upper * (1 + 1e-6)


def test_leaf_of_zero_moments_is_linear():
    """U = 0 leaves l . u: the bound is |sum of positive weights' halves ...|, here with all rows decided."""
    rows = np.array([[0.5, 0.0], [0.0, 0.5]])
    none = np.zeros(0)
    tree = SideTree([0, 1, -1, -1, -1], np.zeros((0, 2)), np.zeros((3, 3)), np.zeros((3, 2)), np.zeros(5), none)
    # the last leaf has row 1 free with w clipped: its chord is nearly exact only for forces that this tree lacks
    leaves = next(verify.Leaves.of(verify.Lines.of(rows, np.array([1.0, -1.0])), tree))
    bounds = leaves.bounds()
    assert bounds[0] == pytest.approx(np.hypot(0.5, 0.5), rel=1e-12)
    assert bounds[1] == pytest.approx(0.5, rel=1e-12)


def test_rows_on_a_line_count_as_one():
    """p (z)_+ + m (-z)_+ = (p + m) (z)_+ - m z, with the rows' lengths in the weights."""
    x = np.array([0.5, 0.25])
    rows, weights = np.array([x, -x, 0.75 * x, 0 * x, [0.1, 0.7]]), np.array([1.0, 0.5, -2.0, 1.0, 1.0])
    lines = verify.Lines.of(rows, weights)
    assert sorted(lines.weights.tolist()) == [0.0, 1.0, 1.0]
    rng = np.random.default_rng(10)
    for u in rng.standard_normal((100, 2)):
        value = lines.linear @ u + lines.weights @ np.maximum(lines.rows @ u, 0)
        assert value == pytest.approx(np.maximum(rows @ u, 0) @ weights, abs=1e-14)
    tree = SideTree([2, -1, -1], np.zeros((0, 2)), np.zeros((2, 3)), np.zeros((2, 5)), np.zeros(2), np.zeros(0))
    leaves = next(verify.Leaves.of(lines, tree))
    np.testing.assert_array_equal(leaves.state[:, lines.group[0]], [1, -1])


def test_rows_nearly_on_a_line_pay_for_the_difference():
    """Rows equal but for rounding: the bound holds for the rows as they are."""
    rng = np.random.default_rng(11)
    for _ in range(50):
        n, d = 6, 3
        base = verify.binary_rows(rng.standard_normal((n, d)))[1]
        rows = np.vstack([base, base * rng.uniform(0.5, 1, (n, 1)) * rng.choice([-1, 1], (n, 1))])
        rows = rows + 10.0 ** rng.uniform(-18, -12) * rng.standard_normal(rows.shape)
        weights = rng.uniform(-1, 1, 2 * n)
        lines = verify.Lines.of(rows, weights)
        U = rng.standard_normal((500, d))
        U /= np.linalg.norm(U, axis=1, keepdims=True)
        plain = np.maximum(U @ rows.T, 0) @ weights
        merged = U @ lines.linear + np.maximum(U @ lines.rows.T, 0) @ lines.weights
        assert np.abs(plain - merged).max() <= lines.slack + 1e-15
        assert lines.slack < 1e-10
        assert len(lines.rows) <= 2 * n
    assert len(verify.Lines.of(base[[0, 0, 1]] * [[1], [-0.3], [1]], np.ones(3)).rows) == 2


def test_underflow_and_negligible_weights_do_no_harm():
    rng = np.random.default_rng(8)
    for size in (1e-320, 1e-200, 1e-160, 1e-120):
        rows = verify.binary_rows(rng.standard_normal((6, 3)))[1]
        weights = np.array([1.0, -1.0, 1.0, -1.0, 1.0, -1.0]) * size
        tree = random_tree(rng, 6, 3, leaves=10)
        bound = verify.side_bound(rows, weights, tree)
        values = np.maximum(rng.standard_normal((1000, 3)) @ rows.T, 0) @ weights
        assert bound >= values.max() / 5 >= 0
        assert bound > 0
