"""The leaf bounds of the checker against the same bounds in 100-digit arithmetic, and against attacks.

Whatever the multipliers are, f(u) <= constant + nu + |G - nu I + R R^T| + |p|^2 + |l - 2 R p| on the leaf's part of the
unit ball. The checker evaluates the right-hand side in double precision with error bounds; here it is evaluated for
the very same numbers in Decimals.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal, localcontext
from importlib import import_module
from types import SimpleNamespace

import mpmath as mp
import numpy as np
import pytest

from decimals import ZERO, as_decimals, norm, norms
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
    """The bound of one leaf for the numbers of the checker, in Decimals."""
    constant, l, G = ZERO, as_decimals(leaves.lines.linear), ZERO
    terms = (leaves.rows, leaves.weights, y.q[leaf], y.a[leaf], y.m[leaf])
    for state, x, c, q, a, m in zip(leaves.state[leaf], *map(as_decimals, terms), strict=True):
        if state > 0:
            l = l + c * x
        elif state == 0 and c > 0:
            l = l + c / 2 * x
            constant += c * c / (16 * q) if q > 0 else c / 2 * norm(x)
            G = G + q * np.outer(x, x)
        elif state == 0 and c < 0:
            l = l + (c / 2 - a) * x
            constant += max(abs(a) + norm(m) + c / 2, ZERO) * norm(x)
            G = G - np.outer(m, x)
    normals, signs, h = as_decimals(leaves.normals[leaf]), as_decimals(leaves.signs[leaf]), as_decimals(y.h[leaf])
    l = l + (signs * np.maximum(as_decimals(y.rho[leaf]), norms(h))) @ normals
    G = G - (signs * h.T) @ normals + normals.T @ as_decimals(np.triu(y.theta[leaf], 1)) @ normals
    nu, R, p = (as_decimals(part[leaf]) for part in factors)
    residual = (G + G.T) / 2 - nu * np.eye(len(p), dtype=int) + R @ R.T
    return constant + nu.item() + norm(residual) + p @ p + norm(l - 2 * (R @ p))


def comparisons(count, **options):
    """(checker's bound, exact bound, sum of the sizes of all terms) of every leaf of random problems."""
    with localcontext(prec=DIGITS):
        for _, rows, weights, tree in problems(count, **options):
            for leaves, y, factors, bounds, sizes in portions(rows, weights, tree):
                for leaf in range(len(bounds)):
                    yield bounds[leaf], exact_bound(leaves, y, factors, leaf), sizes[leaf]


def test_bound_contains_exact_bound_on_thousands_of_leaves():
    checked = 0
    for bound, exact, size in comparisons(250):
        assert Decimal(float(bound)) >= exact
        assert bound <= float(exact) * (1 + 1e-12) + 1e-12 * size + 1e-100  # and is not much larger
        checked += 1
    assert checked == 5000


@pytest.mark.slow
def test_bound_contains_exact_bound_on_more_leaves():
    for bound, exact, _ in comparisons(400, seed=7, leaves=25):
        assert Decimal(float(bound)) >= exact


def test_bound_contains_exact_bound_in_more_dimensions():
    for bound, exact, size in comparisons(12, seed=1, most=60, dimension=10, leaves=6):
        assert Decimal(float(bound)) >= exact
        assert bound <= float(exact) * (1 + 1e-11) + 1e-11 * size


def test_error_terms_are_needed(monkeypatch):
    monkeypatch.setattr(verify, "UNIT", 0.0)
    failures = sum(Decimal(float(bound)) < exact for bound, exact, _ in comparisons(20, seed=2))
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
        cosines = rows @ u / np.linalg.norm(rows, axis=1)
        w = 1 / np.maximum(np.abs(cosines), 0.2)
        tree = SideTree(**EMPTY(d, positive=np.arange(n), negative=np.arange(n)) | {
            "splits": [-1], "w": w[None], "slopes": np.sign(cosines)[None], "vectors": np.zeros((1, n, d)),
        })  # fmt: skip
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
    """The bound as the format writes it, with everything after the multipliers in 40 digits."""
    d, k = leaves.rows.shape[1], leaves.signs.shape[1]
    G, l, constant = mp.zeros(d), mp.matrix(leaves.lines.linear.tolist()), mp.mpf(0)
    column = lambda array: mp.matrix(array.tolist())  # noqa: E731
    for i, c in enumerate(leaves.weights):
        x, state, c = column(leaves.rows[i]), leaves.state[leaf, i], mp.mpf(float(c))
        size = mp.norm(x)
        if state > 0:
            l += c * x
        elif state == 0 and c > 0 and size > 0:
            w = mp.mpf(float(leaves.w[leaf, i]))
            l, G, constant = l + c / 2 * x, G + c * w / (4 * size) * x * x.T, constant + c * size / (4 * w)
        elif state == 0 and c < 0:
            s, e = mp.mpf(float(leaves.slopes[leaf, i])), column(leaves.vectors[leaf, i])
            s, e = s / max(1, abs(s) + mp.norm(e)), e / max(1, abs(s) + mp.norm(e))
            l += c / 2 * (1 + s) * x
            G += c / 4 * (e * x.T + x * e.T)
    for j in range(k):
        a, sign = column(leaves.normals[leaf, j]), mp.mpf(float(leaves.signs[leaf, j]))
        rho, h = mp.mpf(float(leaves.rho[leaf, j])), column(leaves.pulls[leaf, j])
        h = h * min(1, rho / max(mp.norm(h), mp.mpf(10) ** -100))
        l += rho * sign * a
        G -= sign / 2 * (h * a.T + a * h.T)
        for i in range(j + 1, k):
            b = column(leaves.normals[leaf, i])
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


def EMPTY(d, positive=(), negative=()):
    """The arrays of a tree without half-spaces."""
    return {
        "extra": np.zeros((0, d)), "positive": positive, "negative": negative, "forces": [], "pulls": np.zeros((0, d)),
        "pairs": [],
    }  # fmt: skip


def grid(splits, d, leaves, steps, **parts):
    """A tree with multipliers of zero, but for some of its arrays."""
    shapes = {"w": (leaves, 0), "slopes": (leaves, 0), "vectors": (leaves, 0, d), "forces": steps, "pulls": (steps, d)}
    return SideTree(**EMPTY(d) | {name: np.zeros(shape) for name, shape in shapes.items()} | parts, splits=splits)


def test_leaf_with_all_rows_decided_is_linear():
    rows = np.array([[0.5, 0.0], [0.0, 0.5]])
    tree = grid([0, 1, -1, -1, -1], 2, 3, 5)
    bounds = next(verify.Leaves.of(verify.Lines.of(rows, np.array([1.0, -1.0])), tree)).bounds()
    np.testing.assert_allclose(bounds[:2], [np.hypot(0.5, 0.5), 0.5], rtol=1e-12)


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
    tree = grid([2, -1, -1], 2, 2, 2)
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


def test_leaf_bound_is_the_value_of_the_semidefinite_relaxation():
    """With the primal and dual solution of a leaf's relaxation as multipliers, the bound is the relaxation's value.

    max 1/2 c . Xu + 1/2 sum_P c_i sqrt(x_i^T U x_i) - 1/2 sum_N |c_i| max(|x_i . u|, |U x_i|) over [1 u; u U] >= 0 and
    tr U <= 1, with sigma a . u >= |U a| for the half-spaces and sigma sigma' a^T U a' >= 0 for their pairs.
    """
    import cvxpy as cp

    rng = np.random.default_rng(12)
    for trial in range(12):
        n, d, k = 8, 3, trial % 4
        X, c = rng.standard_normal((n, d)), rng.standard_normal(n)
        exponents, rows = verify.binary_rows(X)
        c = np.ldexp(c, exponents)
        weights = c / np.abs(c).max() / 2
        path, sigma = list(range(k)), rng.choice([-1.0, 1.0], k)
        M = cp.Variable((d + 1, d + 1), symmetric=True)
        u, U = M[0, 1:], M[1:, 1:]
        walls = [cp.SOC(sigma[j] * rows[j] @ u, U @ rows[j]) for j in path]
        pairs = [(j, l) for j in path for l in path if j < l]
        products = [sigma[j] * sigma[l] * (rows[j] @ U @ rows[l]) >= 0 for j, l in pairs]
        free_minus = [i for i in range(k, n) if weights[i] < 0]
        t = cp.Variable(n)
        steep = [(t[i] >= rows[i] @ u, t[i] >= -rows[i] @ u, cp.SOC(t[i], U @ rows[i])) for i in free_minus]
        chords = [i for i in range(k, n) if weights[i] > 0]
        spread = [t[i] <= rows[i] @ U @ rows[i] for i in chords]
        value = sum(weights[i] * (rows[i] @ u) * (sigma[i] > 0) for i in path)
        for i in range(k, n):
            value = value + weights[i] / 2 * (rows[i] @ u + (cp.sqrt(t[i]) if weights[i] > 0 else t[i]))
        conditions = [
            M >> 0,
            M[0, 0] == 1,
            cp.trace(U) <= 1,
            *spread,
            *walls,
            *products,
            *(part for s in steep for part in s),
        ]
        problem = cp.Problem(cp.Maximize(value), conditions)
        problem.solve(solver=cp.CLARABEL)
        norms = np.linalg.norm(rows, axis=1)
        w = [4 * norms[i] / weights[i] * float(part.dual_value) for i, part in zip(chords, spread, strict=True)]
        slopes, vectors = [], []
        for up, down, cone in steep:
            duals = [float(up.dual_value), float(down.dual_value), *cone.dual_value[1].ravel()]
            total = duals[0] + duals[1] + float(np.ravel(cone.dual_value[0])[0])
            slopes.append((duals[0] - duals[1]) / total)
            vectors.append(-np.array(duals[2:]) / total)
        scale = norms / float(np.abs(weights) @ norms)
        forces = [float(np.ravel(wall.dual_value[0])[0]) * scale[j] for j, wall in zip(path, walls, strict=True)]
        pulls = [-sigma[j] * wall.dual_value[1].ravel() * scale[j] for j, wall in zip(path, walls, strict=True)]
        thetas = [
            float(product.dual_value) * scale[j] * norms[l] for (j, l), product in zip(pairs, products, strict=True)
        ]
        splits, leaf = chain(sigma)
        lengths = leaf_lengths(splits)
        tree = grid(
            splits, d, k + 1, sum(lengths), positive=chords, negative=free_minus,
            w=np.repeat([w], k + 1, axis=0), slopes=np.repeat([slopes], k + 1, axis=0),
            vectors=np.repeat(np.reshape(vectors, (1, len(free_minus), d)), k + 1, axis=0),
            forces=placed(forces, lengths, leaf, ()), pulls=placed(pulls, lengths, leaf, (d,)),
            pairs=np.maximum(placed(thetas, [size * (size - 1) // 2 for size in lengths], leaf, ()), 0),
        )  # fmt: skip
        leaves = next(verify.Leaves.of(verify.Lines.of(rows, weights), tree))
        at = leaves.signs[leaf] != 0
        assert leaves.signs[leaf][at].tolist() == sigma.tolist()
        assert leaves.bounds()[leaf] == pytest.approx(problem.value, rel=1e-5)


def chain(sigma) -> tuple[list[int], int]:
    """A tree in which one leaf has the half-spaces 0, 1, ... with the signs sigma, and that leaf."""
    splits, after, leaf = [], 0, 0
    for j, sign in enumerate(sigma):
        splits += [j] if sign > 0 else [j, -1]
        leaf, after = leaf + (sign < 0), after + (sign > 0)
    return splits + [-1] * (1 + after), leaf


def leaf_lengths(splits) -> list[int]:
    return [len(path) for path in verify.paths_of(np.array(splits), 10**6)]


def placed(values, lengths, leaf, shape):
    """The values for one leaf, and zeros for all others."""
    parts = [np.zeros((size, *shape)) for size in lengths]
    parts[leaf] = np.reshape(values, (lengths[leaf], *shape))
    return np.concatenate(parts)


def test_tree_assembled_from_leaves_in_reduced_coordinates():
    """Leaves that speak of unit rows in another basis give the bound that the same multipliers give there."""
    rng = np.random.default_rng(13)
    for _ in range(20):
        n, rank, d = 7, 3, 5
        Z = rng.standard_normal((n, rank))
        Z /= np.linalg.norm(Z, axis=1, keepdims=True)
        basis = np.linalg.qr(rng.standard_normal((d, rank)))[0]
        order = rng.permutation(n)
        lengths = rng.uniform(0.5, 2, n)
        X, c = np.empty((n, d)), rng.standard_normal(n)
        X[order] = lengths[:, None] * (Z @ basis.T)
        tree = random_tree(rng, n, rank, leaves=int(rng.integers(1, 12)))
        assembled = SideTree.assemble(list(leaves_of(tree, c)), order, basis)
        weights = np.empty(n)
        weights[order] = c / lengths
        bounds = []
        for rows, sizes, some in ((Z, c, tree), (X, weights, assembled)):
            exponents, scaled = verify.binary_rows(rows)
            bounds.append(verify.side_bound(scaled, np.ldexp(sizes, exponents - 4), some))
        assert bounds[1] == pytest.approx(bounds[0], rel=1e-5)  # single precision in another basis


def leaves_of(tree, c):
    """The leaves of a tree as a search has them."""
    starts = np.cumsum([0, *leaf_lengths(tree.splits)])
    sizes = np.cumsum([0, *(k * (k - 1) // 2 for k in leaf_lengths(tree.splits))])
    for at, path in enumerate(verify.paths_of(tree.splits, 10**6)):
        free = [i for i, row in enumerate(tree.positive) if row not in [split for split, _ in path]]
        rows = tree.positive[free]
        yield SimpleNamespace(
            path=[split for split, _ in path],
            signs=[float(sign) for _, sign in path],
            positive=rows[c[rows] > 0],
            negative=rows[c[rows] < 0],
            w=tree.w[at, free][c[rows] > 0],
            slope=tree.slopes[at, free][c[rows] < 0],
            E=tree.vectors[at, free][c[rows] < 0],
            force=tree.forces[starts[at] : starts[at + 1]],
            H=tree.pulls[starts[at] : starts[at + 1]],
            pairs=tree.pairs[sizes[at] : sizes[at + 1]],
        )


def test_extreme_multipliers_never_prove_too_much():
    """Numbers at the ends of single precision, extra normals at those of double precision."""
    rng = np.random.default_rng(14)
    ends = np.array([0.0, 1e-45, 1e-38, 1e-20, 1.0, 1e20, 3.4e38])
    finite = 0
    for _ in range(300):
        n, d = int(rng.integers(1, 6)), int(rng.integers(1, 4))
        rows = verify.binary_rows(rng.standard_normal((n, d)))[1]
        weights = rng.uniform(-1, 1, n) * 10.0 ** rng.choice([0, -10, -200, -320], n)
        plain = random_tree(rng, n, d, leaves=5, extra=2)
        wild = {"extra": plain.extra * 10.0 ** rng.uniform(-300, 300, plain.extra.shape)}
        for name in rng.choice(["w", "slopes", "vectors", "forces", "pulls", "pairs"], 2, replace=False):
            array = getattr(plain, name)
            some = np.where(rng.random(array.shape) < 0.3, rng.choice(ends, array.shape), array)
            wild[name] = some * np.where(array < 0, -1, 1)
        bound = verify.side_bound(rows, weights, replace(plain, **wild))
        U = rng.standard_normal((200, d))
        U /= np.linalg.norm(U, axis=1, keepdims=True)
        assert not bound < (np.maximum(U @ rows.T, 0) @ weights).max() * (1 - 1e-14)
        finite += np.isfinite(bound)
    assert finite > 100
