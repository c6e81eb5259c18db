"""Proofs of several outputs at once: the leaves against 80-digit arithmetic, attacks, mutations, and whole problems.

A leaf proves |B^T z|^2 <= m + (m - level)_+ tau, m and tau eigenvalues from above; the checker measures them in double
precision with error bounds, and here they are evaluated for the very same numbers in decimal numbers.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal, localcontext
from importlib import import_module

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_iris

import extremal
from extremal.design import Design
from extremal.gauge.ascent import ascend, random_starts
from extremal.gauge.joint_proofs import joint_proof
from extremal.proof import JointTree, Proof
from extremal.verify.arithmetic import Rejected, binary_rows
from extremal.verify.leaves import Majorant
from proofs import FACTORS, MALFORMED, Case, check_mutant, copy_of, numeric, random_joint, sealed

checker = import_module("extremal.verify.joint_leaves")

DIGITS = Context(prec=80, Emax=MAX_EMAX, Emin=MIN_EMIN)
UNIT = checker.UNIT


def problems(count: int, *, seed: int = 0, most: int = 5, dimension: int = 3, outputs: int = 4, leaves: int = 6):
    """Random rows, weights and trees: zero rows, repeated and tiny rows, weights of zero, rows that are left out."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        n, d, c = (int(rng.integers(1, size + 1)) for size in (most, dimension, outputs))
        X = rng.standard_normal((n, d)) * 10.0 ** (rng.uniform(-4, 4, (n, 1)) * rng.integers(0, 2, (n, 1)))
        X[rng.random(n) < 0.1] = 0.0
        X[0] = X[-1] * rng.choice([1.0, -1.0, 0.3])
        lam = rng.standard_normal((n, c)) * (rng.random((n, 1)) < 0.9)
        rows, weights = units(X, lam)[1:]
        yield rng, rows, weights, random_joint(rng, n, d, leaves=leaves, extra=int(rng.integers(0, 3)))


def units(X, lam):
    """(unit, rows, weights) as the checker has them: |lam^T (Xu)_+| = 2^unit |weights^T (rows u)_+|."""
    exponents, rows = binary_rows(X)
    sizes = np.frexp(np.abs(lam).max(axis=1))[1] + exponents
    unit = int(sizes[lam.any(axis=1)].max()) if lam.any() else 0
    return unit, rows, np.ldexp(lam, (exponents - unit)[:, None])


class Watch:
    """The matrices of which the checker bounds an eigenvalue, with the other numbers of the leaf."""

    def __init__(self, monkeypatch):
        self.leaves, self.matrices = [], []
        majorant, largest = checker.majorant, checker.largest_eigenvalue

        def watched_majorant(*parts):
            self.leaves.append([np.array(part) for part in parts])
            return majorant(*parts)

        def watched_eigenvalue(matrix, size, error):
            self.matrices.append((np.array(matrix), size, error, largest(matrix, size, error)))
            return self.matrices[-1][-1]

        monkeypatch.setattr(checker, "majorant", watched_majorant)
        monkeypatch.setattr(checker, "largest_eigenvalue", watched_eigenvalue)


def exact(array):
    """The decimal numbers that the doubles are."""
    return np.vectorize(Decimal, otypes=[object])(np.asarray(array, dtype=np.float64))


def exact_majorant(A, B, walls, state, products, level):
    """H + diag(0, level) for the numbers of the checker: z, z - Au and the walls as functions of (u, z)."""
    (f, d), k = A.shape, len(walls)
    A, zero = exact(A), exact(np.zeros((f, f)))
    z = np.hstack([A * (state > 0)[:, None], exact(np.diag(state == 0))])
    forms = np.vstack([z, z - np.hstack([A, zero]), np.hstack([exact(walls), exact(np.zeros((k, f)))])])
    free = np.eye(2 * f + k, k=f, dtype=bool) & (np.arange(2 * f + k) < f)[:, None]
    half = forms.T @ (exact(np.where(free, products, np.maximum(products, 0))) @ forms)
    E = z.T @ exact(B)
    return E @ E.T + half + half.T + exact(np.diag([0.0] * d + [float(level)] * f))


def measured(matrix, size, error):
    """nu and R of the checker; (true) -> nu + |true - nu + R R^T|_F exactly."""
    zero = np.zeros(len(matrix))
    whole = Majorant(np.zeros(1), zero[None], matrix[None], np.zeros(1), np.array([size]), error)
    nu, R, _ = whole.factor()
    nu, R = Decimal(float(nu[0])), exact(R[0])
    return lambda true: nu + length(true - nu * exact(np.eye(len(matrix))) + R @ R.T)


def length(array):
    """The root of the sum of squares."""
    return sum((value * value for value in array.ravel()), Decimal(0)).sqrt()


def eigenvalues(watch, rows, weights, tree):
    """The checker's bound, and (bound, exact bound, size) of |A|^2 and then of every leaf."""
    watch.leaves.clear(), watch.matrices.clear()
    bound = checker.joint_bound(rows, weights, tree)
    A = exact(watch.leaves[0][0])
    true = [A.T @ A] if tree.rows.size else [exact(np.zeros((rows.shape[1],) * 2))]
    true += [exact_majorant(*leaf, level) for leaf, level in zip(watch.leaves, tree.levels, strict=True)]
    found = zip(watch.matrices, true, strict=True)
    return bound, [(value, measured(matrix, size, error)(H), size) for (matrix, size, error, value), H in found]


def comparisons(monkeypatch, count, **options):
    """(bound, exact bound, the sum of the sizes of all terms) of every eigenvalue that matters."""
    with (
        monkeypatch.context() as patch,
        localcontext(DIGITS),
        np.errstate(all="ignore"),
    ):
        watch = Watch(patch)
        for _, rows, weights, tree in problems(count, **options):
            if tree.rows.size:
                yield from eigenvalues(watch, rows, weights, tree)[1]


def test_bound_contains_exact_bound(monkeypatch):
    checked = 0
    for bound, value, size in comparisons(monkeypatch, 60):
        assert Decimal(bound) >= value
        assert bound <= float(value) * (1 + 1e-12) + 1e-12 * size + 1e-100
        checked += 1
    assert checked > 250


@pytest.mark.slow
def test_bound_contains_exact_bound_on_more_leaves(monkeypatch):
    for bound, value, _ in comparisons(monkeypatch, 400, seed=1, most=8, leaves=12):
        assert Decimal(bound) >= value


def test_error_terms_are_needed(monkeypatch):
    monkeypatch.setattr(checker, "UNIT", 0.0)
    assert sum(Decimal(bound) < value for bound, value, _ in comparisons(monkeypatch, 20, seed=2)) > 20


def test_whole_bound_contains_exact_bound(monkeypatch):
    """The end of the computation: square roots, rows that are left out, the largest leaf."""
    watch = Watch(monkeypatch)
    with localcontext(DIGITS):
        for _, rows, weights, tree in problems(60, seed=3):
            bound, values = eigenvalues(watch, rows, weights, tree)
            sizes = [length(exact(x)) * length(exact(v)) for x, v in zip(rows, weights, strict=True)]
            left = sum((size for i, size in enumerate(sizes) if i not in tree.rows), Decimal(0))
            (_, tau, _), *leaves = values
            levels = [Decimal(level) for level in tree.levels.tolist()]
            square = max(m + max(m - level, Decimal(0)) * tau for (_, m, _), level in zip(leaves, levels, strict=True))
            value, size = sum(sizes) * square.sqrt() + left, max(size for _, _, size in values)
            assert Decimal(bound) >= value
            assert bound <= float(value) * (1 + 1e-9) + 1e-9 * size + 1e-100


def test_no_direction_exceeds_a_leaf(monkeypatch):
    """|B^T z|^2 <= (u, z)^T H (u, z) for directions in the leaf's part of the ball."""
    watch, seen = Watch(monkeypatch), 0
    for rng, rows, weights, tree in problems(60, seed=4):
        watch.leaves.clear()
        bound = checker.joint_bound(rows, weights, tree)
        U = rng.standard_normal((400, rows.shape[1]))
        U /= np.linalg.norm(U, axis=1, keepdims=True)
        values = np.linalg.norm(np.maximum(U @ rows.T, 0) @ weights, axis=1)
        assert values.max() <= bound * (1 + 1e-14)
        for A, B, walls, state, products in list(watch.leaves):
            inside = ((U @ A.T) * state >= 0).all(axis=1) & (U @ walls.T >= 0).all(axis=1)
            Z = np.maximum(U[inside] @ A.T, 0)
            points = np.hstack([U[inside], Z * (state == 0)])
            H, size = checker.majorant(A, B, walls, state, products)
            above = np.einsum("ij,jk,ik->i", points, H, points)
            assert (np.square(Z @ B).sum(axis=1) <= above + 1e-13 * (size + 1)).all()
            seen += inside.sum()
    assert seen > 5_000


# ------------------------------------------------------------------------------------------------ useful bounds


def useful(seed=0):
    for n, d, c in ((12, 3, 2), (20, 4, 3), (15, 5, 10), (25, 6, 6)):
        rng = np.random.default_rng(seed + n)
        X, lam = rng.standard_normal((n, d)), rng.standard_normal((n, c))
        design = Design(X)
        best = float(ascend(design, lam, random_starts(design, 100, rng), rounds=20, sweeps=20, rng=rng).value[0])
        tree, upper = joint_proof(design, lam, lower=best, tol=1e-3, deadline=np.inf, memory=1e8)
        unit, rows, weights = units(X, lam)
        yield best, upper, checker.joint_bound(rows, weights, tree) * 2.0**unit, tree


def test_the_checker_finds_what_the_search_says(monkeypatch):
    for best, upper, bound, _ in useful():
        assert best <= bound <= best * 1.0011
        assert bound == pytest.approx(upper, rel=1e-8)
    plain = [bound for _, _, bound, _ in useful()]
    monkeypatch.setattr(checker, "UNIT", 1000 * UNIT)
    for before, (_, _, after, _) in zip(plain, useful(), strict=True):
        assert before < after <= before * (1 + 1e-6)


@pytest.mark.parametrize(("n", "d", "c"), [(5, 2, 2), (5, 2, 3)])
def test_a_single_leaf_attains_the_relaxation(n, d, c):
    """max |B^T z|^2 over [U W; W^T Z] psd, tr U = 1, products of forms >= 0 and of pairs = 0, by Clarabel."""
    import cvxpy as cp

    rng = np.random.default_rng(n)
    X, lam = rng.standard_normal((n, d)), rng.standard_normal((n, c))
    M = cp.Variable((d + n, d + n), symmetric=True)
    F = np.block([[np.zeros((n, d)), np.eye(n)], [-X, np.eye(n)]])
    Y = F @ M @ F.T
    zero = [Y[i, n + i] == 0 for i in range(n)]
    relaxation = cp.Problem(
        cp.Maximize(cp.trace(lam @ lam.T @ M[d:, d:])),
        [M >> 0, cp.trace(M[:d, :d]) == 1, Y >= 0, *zero],
    )
    relaxation.solve(solver=cp.CLARABEL)
    tree, _ = joint_proof(Design(X), lam, lower=0.0, tol=0.0, deadline=np.inf, memory=1.0)
    unit, rows, weights = units(X, lam)
    assert tree.leaves == 1
    bound = checker.joint_bound(rows, weights, tree) * 2.0**unit
    assert np.sqrt(relaxation.value) * (1 - 1e-6) <= bound <= np.sqrt(relaxation.value) * (1 + 1e-3)


def test_walls_are_worth_something():
    """A tree that splits by a vector that is no row: products with the wall lower the bound of what it leaves."""
    X, lam = np.array([[1.0, 0.0]]), np.array([[1.0, 1.0]])
    unit, rows, weights = units(X, lam)
    products = np.zeros((2, 3, 3))
    products[1, 0, 2] = 100.0  # z (-u_1) >= 0 where u_1 <= 0
    products[:, 0, 1] = -5.0  # z (z - u_1) = 0
    tree = JointTree([1, -1, -1], [[1.0, 0.0]], [0], [0.0, 0.0], products)
    whole = checker.joint_bound(rows, weights, tree)
    assert whole * 2.0**unit >= np.sqrt(2)
    one = replace(tree, splits=[-1], levels=[0.0], products=products[:1])
    assert whole >= checker.joint_bound(rows, weights, one) * (1 - 1e-12)
    # the second half alone, as the first one of a tree split the other way, with z = 0 there but for rounding
    A = np.array([[1.0, 0.0]])
    free = checker.majorant(A, A[:, :1], np.array([[-1.0, 0.0]]), np.zeros(1), products[0])[0]
    walled = checker.majorant(A, A[:, :1], np.array([[-1.0, 0.0]]), np.zeros(1), products[1])[0]
    assert np.linalg.eigvalsh(walled - free)[0] < -10


# ------------------------------------------------------------------------------------------------ refusals


def tree_of(**parts):
    n, plain = 3, {"splits": [-1], "extra": np.zeros((0, 2)), "rows": [0, 1, 2], "levels": [0.0]}
    size = 2 * len(parts.get("rows", range(n)))
    leaves = int((np.array(parts.get("splits", [-1])) < 0).sum())
    return JointTree(**plain | {"levels": np.zeros(leaves), "products": np.zeros((leaves, size, size))} | parts)


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ({"rows": [0, 0]}, "of one twice"),
        ({"rows": [1, 0]}, "of one twice"),
        ({"rows": [0, 3]}, "do not exist"),
        ({"rows": [-1, 1]}, "do not exist"),
        ({"splits": [0, -1]}, "cover"),
        ({"splits": [3, -1, -1]}, "cover"),
        ({"splits": []}, "cover"),
        ({"splits": [0, -1, -1, -1]}, "cover"),
        ({"levels": [0.0, 0.0]}, "more or fewer"),
        ({"products": np.zeros((2, 6, 6))}, "more or fewer"),
        ({"extra": [[1e300, 1e300]], "splits": [3, -1, -1], "products": np.full((2, 7, 7), 1e30)}, "finite"),
        ({"levels": [1.7e308], "products": np.full((1, 6, 6), 3e38)}, "finite"),
    ],
)
def test_malformed_trees_are_rejected_for_what_they_are(parts, reason):
    rows = np.array([[0.5, 0.1], [0.2, 0.7], [-0.5, 0.3]])
    with pytest.raises(Rejected, match=reason), np.errstate(all="ignore"):
        checker.joint_bound(rows, np.ones((3, 2)), tree_of(**parts))


def test_a_row_counted_twice_would_be_false():
    """What the order of the rows is checked for: opposite multipliers of a row that cancel."""
    rows, lam = np.array([[0.5], [0.75]]), np.array([[1.0], [-0.5]])
    assert checker.joint_bound(rows, lam, JointTree.trivial(1)) >= 0.5 * 1.0 + 0.75 * 0.5
    assert checker.joint_bound(0 * rows, lam, JointTree.trivial(1)) < 1e-100
    assert checker.joint_bound(rows, 0 * lam, JointTree.trivial(1)) < 1e-100


def test_extreme_multipliers_never_prove_too_much():
    ends, finite = np.array([0.0, 1e-45, 1e-38, 1e-20, 1.0, 1e20, 3.4e38]), 0
    for rng, rows, weights, tree in problems(300, seed=5, leaves=4):
        weights = weights * 10.0 ** rng.choice([0, -10, -150, -300], (len(rows), 1))
        wild = np.where(rng.random(tree.products.shape) < 0.3, rng.choice(ends, tree.products.shape), tree.products)
        levels = tree.levels * 10.0 ** rng.uniform(-300, 300, tree.levels.shape)
        extra = tree.extra * 10.0 ** rng.uniform(-300, 300, tree.extra.shape)
        try:
            bound = checker.joint_bound(rows, weights, replace(tree, products=wild, levels=levels, extra=extra))
        except (Rejected, np.linalg.LinAlgError):
            continue
        U = rng.standard_normal((200, rows.shape[1]))
        U /= np.linalg.norm(U, axis=1, keepdims=True)
        assert np.linalg.norm(np.maximum(U @ rows.T, 0) @ weights, axis=1).max() <= bound * (1 + 1e-14)
        finite += 1
    assert finite > 60


# ------------------------------------------------------------------------------------------------ whole problems


@pytest.fixture(scope="module")
def case() -> Case:
    """A small proof of all outputs at once, with several leaves."""
    rng = np.random.default_rng(2)
    X, y = rng.standard_normal((7, 2)), rng.standard_normal((7, 9))
    result = extremal.fit(X, y, beta=0.3 * extremal.beta_max(X, y), proof=True, time_limit=5)
    assert isinstance(result.certificate.proof.trees[0], JointTree)
    assert result.certificate.proof.trees[0].leaves > 1
    return Case(X, y, result.certificate.proof)


FIELDS = (
    *["0.products"] * 6, "0.levels", "0.levels", "lam", "lam", "hidden", "output", "offset", "weight", "delta", "beta",
    "dual", "primal",
)  # fmt: skip


def mutations(case, count, seed) -> dict[str, int]:
    rng, rejected = np.random.default_rng(seed), dict.fromkeys(FIELDS, 0)
    for number in range(count):
        arrays, name = copy_of(case), FIELDS[number % len(FIELDS)]
        if arrays[name].ndim == 0:
            arrays[name] = np.asarray(arrays[name] * rng.choice([*FACTORS, 1 - 1e-7]))
            if not (arrays["beta"] > 0 and np.isfinite(arrays["primal"])):
                continue
        elif not numeric(rng, arrays, name, FACTORS):
            continue
        rejected[name] += check_mutant(case, arrays)
    return rejected


def test_mutations_of_every_number_are_rejected_or_true(case):
    rejected = mutations(case, 400, 0)
    for name in ("0.products", "0.levels", "lam", "hidden", "output", "weight", "dual", "primal"):
        assert rejected[name] > 1, rejected


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_thousands_of_mutations_are_rejected_or_true(case, seed):
    assert mutations(case, 1000, seed)["0.products"] > 30


def test_mutated_trees_are_rejected_or_true(case):
    rng, rejected = np.random.default_rng(6), 0
    for number in range(150):
        arrays, kind = copy_of(case), number % 6
        splits, rows, products = arrays["0.splits"], arrays["0.rows"], arrays["0.products"]
        inner, leaves = np.flatnonzero(splits >= 0), len(products)
        if kind == 0:
            splits[rng.choice(inner)] = rng.integers(0, 7)
        elif kind == 1:
            a, b = rng.choice(leaves, 2, replace=False)
            products[[a, b]] = products[[b, a]]
        elif kind == 2:
            rows[rng.integers(len(rows))] = rng.integers(-1, 8)
        elif kind == 3:
            keep = np.delete(np.arange(2 * len(rows)), (i := int(rng.integers(len(rows)))) + np.array([0, len(rows)]))
            arrays["0.rows"], arrays["0.products"] = np.delete(rows, i), products[:, keep][:, :, keep].copy()
        elif kind == 4:
            products[rng.integers(leaves)] *= np.float32(rng.choice([0.0, -1.0, 0.9, 1.001, 2.0]))
        else:
            arrays["0.levels"] = rng.permutation(arrays["0.levels"])
        rejected += check_mutant(case, arrays)
    assert rejected > 60


def test_malformed_arrays_are_rejected(case):
    for part in copy_of(case):
        for mutate in MALFORMED:
            arrays = copy_of(case)
            new = mutate(arrays[part])
            if new is None:
                continue
            arrays[part] = new
            verdict = extremal.verify(sealed(arrays), case.X, case.y)
            assert not verdict or (part == "0.extra" and verdict.dual == case.proof.dual), part  # more than are used
        arrays = copy_of(case)
        del arrays[part]
        assert "lacks arrays" in extremal.verify(sealed(arrays), case.X, case.y).reason
    twice = copy_of(case) | {"directions": np.zeros((9, 1))}
    twice |= {name.replace("0.", "1.", 1): array for name, array in twice.items() if name.startswith("0.")}
    assert "one for all" in extremal.verify(sealed(twice), case.X, case.y).reason


def test_other_data_are_rejected(case):
    assert "X is not the data" in extremal.verify(case.proof, case.X + 1e-9, case.y).reason
    assert "y is not the target" in extremal.verify(case.proof, case.X, case.y[::-1]).reason


@pytest.mark.parametrize(("n", "d", "c"), [(14, 8, 2), (9, 3, 6), (10, 2, 10)])
def test_fits_keep_their_certificates(n, d, c, tmp_path):
    """2, 6 and 10 outputs: the proof is as good as the search, the file is accepted, and only for these data."""
    rng = np.random.default_rng(n + c)
    X, y = rng.standard_normal((n, d)), rng.standard_normal((n, c))
    plain = extremal.fit(X, y, beta=0.5 * extremal.beta_max(X, y), time_limit=5)
    certificate = extremal.with_proof(plain.certificate, plain.network, X, y, time_limit=10)
    assert certificate.gap <= max(plain.certificate.gap, 1e-6) * (1 + 1e-6)
    assert certificate.search_dual is None
    certificate.save(tmp_path / "proof.npz", proof=True)
    verdict = extremal.verify(tmp_path / "proof.npz", X, y)
    assert verdict.accepted
    assert verdict.dual == pytest.approx(certificate.dual, rel=1e-12)
    assert verdict.leaves == sum(tree.leaves for tree in certificate.proof.trees)
    again = Proof.load(tmp_path / "proof.npz")
    assert type(again.trees[0]) is type(certificate.proof.trees[0])
    assert not extremal.verify(again, X[::-1], y)


@pytest.mark.slow
def test_irises(tmp_path):
    X, y = load_iris(return_X_y=True)
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    beta = 0.3 * extremal.beta_max(X, y, loss="softmax")
    plain = extremal.fit(X, y, loss="softmax", beta=beta, time_limit=20)
    certificate = extremal.with_proof(plain.certificate, plain.network, X, y, time_limit=60)
    assert certificate.gap <= max(plain.certificate.gap, 1e-6)
    certificate.save(tmp_path / "proof.npz", proof=True)
    assert extremal.verify(tmp_path / "proof.npz", X, y).accepted
    assert not extremal.verify(tmp_path / "proof.npz", X, np.roll(y, 1))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32))
def test_any_multiplier(seed):
    """Degenerate data of any size: the bound is above what ascent attains, and the writer's own up to rounding."""
    rng = np.random.default_rng(seed)
    n, d, c = int(rng.integers(1, 10)), int(rng.integers(1, 5)), int(rng.integers(1, 4))
    X = rng.integers(-1, 2, (n, d)) * rng.choice([1.0, 1e-8, 1e8]) * rng.choice([1.0, 1e-3], (n, 1))
    lam = rng.integers(-1, 2, (n, c)) * rng.choice([1.0, 1e-9]) * rng.uniform(0.1, 1, (n, c))
    tree, upper = joint_proof(Design(X), lam, lower=0.0, tol=1e-3, deadline=np.inf, memory=3e4)
    unit, rows, weights = units(X, lam)
    bound = checker.joint_bound(rows, weights, tree) * 2.0**unit
    U = rng.standard_normal((500, d))
    values = np.linalg.norm(np.maximum(U @ X.T, 0) @ lam, axis=1) / np.linalg.norm(U, axis=1)
    assert values.max() <= bound * (1 + 1e-13)
    sizes = float(np.linalg.norm(X, axis=1) @ np.linalg.norm(lam, axis=1))
    assert abs(bound - upper) <= 1e-6 * upper + 1e-11 * sizes


def test_interrupted_searches_prove_what_they_have(monkeypatch):
    from extremal.gauge import several

    rng = np.random.default_rng(7)
    X, lam = rng.standard_normal((14, 5)), rng.standard_normal((14, 3))
    calls, relax = [], several.relax

    def interrupting(*parts, **options):
        calls.append(0)
        if len(calls) > 4:
            raise KeyboardInterrupt
        return relax(*parts, **options)

    monkeypatch.setattr(several, "relax", interrupting)
    tree, upper = joint_proof(Design(X), lam, lower=0.0, tol=0.0, deadline=np.inf, memory=1e8)
    unit, rows, weights = units(X, lam)
    assert len(calls) == 5
    assert checker.joint_bound(rows, weights, tree) * 2.0**unit == pytest.approx(upper, rel=1e-8)
