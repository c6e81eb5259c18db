"""Trees of cones: they cover the space exactly, their bounds contain the exact ones, and proofs of them are checked."""

from __future__ import annotations

import time
from dataclasses import fields, replace
from decimal import Decimal, localcontext
from fractions import Fraction
from importlib import import_module

import numpy as np
import pytest
from hypothesis import given, settings

import extremal
from decimals import ZERO, as_decimals, norm
from extremal.design import Design
from extremal.gauge.cone_proofs import LARGEST_RANK, cone_tree, cone_trees, data_rows
from extremal.gauge.cones import cone_bound
from extremal.gauge.sides import Side, reduce_side
from extremal.proof import ConeTree, Proof, SideTree
from extremal.verify.arithmetic import Rejected, binary_rows, largest_exponent
from extremal.verify.duality import tree_bound
from extremal.verify.leaves import Lines
from extremal.verify.statement import CONES
from proofs import proof_of
from test_gauge_upper import brute_force, climb, small_problems
from test_verify import Case, check_mutant, copy_of, numeric, sealed

checker = import_module("extremal.verify.cone_leaves")

DIGITS = 80


def random_cones(rng, n: int, r: int, *, splits: int) -> ConeTree:
    """Random splits of random cones, random vectors and exceptions, a random frame: valid, and nearly always bad."""
    levels = [np.full(2**r, -1)]
    for _ in range(splits if r > 1 else 0):  # split a leaf of a random level
        levels.append(np.zeros(0, int)) if levels[-1].size and (levels[-1] >= 0).any() else None
        at = int(rng.integers(0, len(levels)))
        if not (levels[at] < 0).any():
            continue
        leaf = int(rng.choice(np.flatnonzero(levels[at] < 0)))
        levels[at][leaf] = rng.integers(0, r * (r - 1) // 2)
        before = 2 * int((levels[at][:leaf] >= 0).sum())
        if at + 1 == len(levels):
            levels.append(np.zeros(0, int))
        levels[at + 1] = np.insert(levels[at + 1], before, [-1, -1])
    edges = np.concatenate(levels)
    leaves = int((edges < 0).sum())
    counts = rng.integers(0, 3, leaves)
    return ConeTree(
        frame=np.linalg.qr(rng.standard_normal((r, r)))[0] + 10.0 ** rng.uniform(-17, -9) * rng.standard_normal((r, r)),
        edges=edges,
        shifts=rng.integers(-2, 3, int((edges >= 0).sum())),
        vectors=rng.standard_normal((leaves, r)) * 10.0 ** rng.uniform(-3, 1, (leaves, 1)),
        counts=counts,
        rows=rng.integers(0, n, counts.sum()),
        t=rng.uniform(-0.2, 1.2, counts.sum()),
    )


def random_rows(rng, n: int, d: int):
    """Rows and weights as the checker sees them: duplicates, opposite rows, zero rows and weights among them."""
    X = rng.standard_normal((n, d)) * 10.0 ** (rng.uniform(-8, 8, (n, 1)) * rng.integers(0, 2, (n, 1)))
    X[rng.random(n) < 0.1] = 0.0
    if n > 2:
        X[0], X[1] = X[-1] * rng.choice([1.0, -1.0, 2.0, 0.3]), X[1] * rng.choice([1.0, 1e-12])
    return in_units(X, rng.standard_normal(n) * (rng.random(n) < 0.9))


def in_units(X, c):
    """Rows and weights of entries of at most one, for c^T (Xu)_+ times a power of two."""
    exponents, rows = binary_rows(X)
    return rows, np.ldexp(c, exponents - largest_exponent(np.abs(c), exponents))


def exact_cones(tree: ConeTree) -> list[list[list[Fraction]]]:
    """The rays of the leaves in the order of the leaves, in integers of any size."""
    r = tree.frame.shape[1]
    level = [[[(-1) ** (k >> j & 1) * int(i == j) for i in range(r)] for j in range(r)] for k in range(2**r)]
    pairs = [(a, b) for a in range(r) for b in range(a + 1, r)]
    leaves, edges, shifts = [], iter(tree.edges.tolist()), iter(tree.shifts.tolist())
    while level:
        below = []
        for rays in level:
            edge = next(edges)
            if edge < 0:
                leaves.append(rays)
                continue
            (a, b), s = pairs[edge], next(shifts)
            middle = [2 ** max(s, 0) * v + 2 ** max(-s, 0) * w for v, w in zip(rays[a], rays[b], strict=True)]
            below += [[middle if k == out else ray for k, ray in enumerate(rays)] for out in (a, b)]
        level = below
    return leaves


def is_inside(rays, u) -> bool:
    """Whether u is in the cone of the rays: Gaussian elimination in fractions."""
    r = len(u)
    rows = [[Fraction(rays[k][j]) for k in range(r)] + [u[j]] for j in range(r)]
    for k in range(r):
        pivot = next(i for i in range(k, r) if rows[i][k] != 0)
        rows[k], rows[pivot] = rows[pivot], rows[k]
        rows[k] = [v / rows[k][k] for v in rows[k]]
        rows = [
            row if i == k else [v - row[k] * p for v, p in zip(row, rows[k], strict=True)] for i, row in enumerate(rows)
        ]
    return all(row[r] >= 0 for row in rows)


def test_leaves_cover_the_space_in_exact_arithmetic():
    """Random points, the rays themselves and sums of rays among them: each is in a leaf's cone."""
    rng = np.random.default_rng(0)
    for _ in range(25):
        r = int(rng.integers(1, 5))
        cones = exact_cones(random_cones(rng, 3, r, splits=40))
        points = [[Fraction(int(v)) for v in u] for u in rng.integers(-50, 51, (15, r))]
        for rays in (cones[int(k)] for k in rng.integers(0, len(cones), 10)):
            points += [
                [Fraction(v) for v in rays[0]],
                [Fraction(v + w) for v, w in zip(rays[0], rays[-1], strict=True)],
            ]
        for u in points:
            assert any(is_inside(rays, u) for rays in cones)


def leaves_of(lines: Lines, tree: ConeTree, monkeypatch):
    """What the checker works with at every leaf, level by level."""
    seen = []
    plain = checker.leaf_bounds

    def spy(lines, rays, heights, vectors, exceptions):
        bounds = plain(lines, rays, heights, vectors, exceptions)
        for k in range(len(rays)):
            mine = exceptions[0] == k
            listed = [(int(row), float(t)) for row, t in zip(exceptions[1][mine], exceptions[2][mine], strict=True)]
            seen.append((rays[k], vectors[k], listed, float(bounds[k])))
        return bounds

    monkeypatch.setattr(checker, "leaf_bounds", spy)
    list(checker.bounds_of(lines, tree))
    monkeypatch.setattr(checker, "leaf_bounds", plain)
    return seen


def exact_bound(lines: Lines, rays, vector, listed):
    """|p| + sqrt(r) max_k (what p . v_k lacks)_+ / |v_k|_1, for the numbers of the checker, in Decimals."""
    rows, weights, rays, p = as_decimals(lines.rows), as_decimals(lines.weights), as_decimals(rays), as_decimals(vector)
    shares = np.where(rows @ p > 0, Decimal(1), ZERO)
    for row, t in listed:
        shares[lines.group[row]] = Decimal(t if lines.orientation[row] > 0 else 1 - t)
    lack = ZERO
    for v in rays:
        z = rows @ v
        need = as_decimals(lines.linear) @ v + weights @ np.where(weights > 0, np.maximum(z, ZERO), shares * z)
        lack = max(lack, (need - p @ v) / np.abs(v).sum())
    return norm(p) + Decimal(len(p)).sqrt() * lack


def comparisons(count, monkeypatch, *, seed, most=12, rank=4, splits=12):
    """(checker's bound, exact bound, size of the terms) of every leaf of random problems."""
    rng = np.random.default_rng(seed)
    with localcontext(prec=DIGITS):
        for _ in range(count):
            n, r = int(rng.integers(1, most + 1)), int(rng.integers(1, rank + 1))
            lines = Lines.of(*random_rows(rng, n, r))
            size = float(np.abs(lines.weights) @ np.linalg.norm(lines.rows, axis=1)) + lines.l_size
            for rays, vector, listed, bound in leaves_of(lines, random_cones(rng, n, r, splits=splits), monkeypatch):
                yield bound, exact_bound(lines, rays, vector, listed), size + float(np.linalg.norm(vector))


def test_bound_contains_exact_bound_on_thousands_of_cones(monkeypatch):
    checked = 0
    for bound, exact, size in comparisons(260, monkeypatch, seed=1):
        assert Decimal(bound) >= exact
        assert bound <= float(exact) * (1 + 1e-12) + 1e-12 * size + 1e-100  # and is not much larger
        checked += 1
    assert checked > 3000


def test_bound_contains_exact_bound_with_more_rows(monkeypatch):
    for bound, exact, size in comparisons(4, monkeypatch, seed=2, most=80, rank=6, splits=5):
        assert Decimal(bound) >= exact
        assert bound <= float(exact) * (1 + 1e-11) + 1e-11 * size


def test_error_terms_are_needed_and_small(monkeypatch):
    plain = list(comparisons(15, monkeypatch, seed=3))
    unit = checker.UNIT
    monkeypatch.setattr(checker, "UNIT", 0.0)
    assert sum(Decimal(bound) < exact for bound, exact, _ in comparisons(15, monkeypatch, seed=3)) > 20
    monkeypatch.setattr(checker, "UNIT", 1000 * unit)
    larger = [bound for bound, _, _ in comparisons(15, monkeypatch, seed=3)]
    for new, (bound, _, size) in zip(larger, plain, strict=True):
        assert bound <= new <= bound + 1e-9 * size


def test_bounds_of_random_trees_are_above_every_direction():
    """With frames that are orthonormal or not, and do not span the rows: all that is lost is paid for."""
    rng = np.random.default_rng(4)
    for _ in range(150):
        n, d, r = int(rng.integers(1, 8)), int(rng.integers(1, 5)), int(rng.integers(1, 4))
        rows, weights = random_rows(rng, n, d)
        tree = random_cones(rng, n, r, splits=6)
        frame = np.linalg.qr(rng.standard_normal((max(d, r), r)))[0][:d] * 10.0 ** rng.uniform(-1, 1)
        bound = checker.cone_bound(rows, weights, replace(tree, frame=frame))
        U = rng.standard_normal((300, d))
        U /= np.linalg.norm(U, axis=1, keepdims=True)
        assert bound >= (np.maximum(U @ rows.T, 0) @ weights).max()


def bounds_by(X, c, trees):
    """The checker's bounds of M(c) and M(-c), in the units of c."""
    rows, weights = in_units(X, c)
    exponents = binary_rows(X)[0]
    factor = 2.0 ** largest_exponent(np.abs(c), exponents)
    return [tree_bound(rows, sign * weights, tree) * factor for sign, tree in zip((1, -1), trees, strict=True)]


@given(small_problems())
@settings(max_examples=60, deadline=None, derandomize=True)
def test_proofs_are_tight_on_degenerate_data(problem):
    """Zero, parallel, opposite and nearly parallel rows, integer grids, rank-deficient X, one row, one column."""
    X, c = problem
    trees = cone_trees(Design.from_data(X), c, tol=1e-6, deadline=time.monotonic() + 10)
    exact = [brute_force(X, sign * c) for sign in (1, -1)]
    for bound, value in zip(bounds_by(X, c, trees), exact, strict=True):
        assert (
            value * (1 - 1e-12)
            <= bound
            <= max(exact) * (1 + 1.01e-6) + 1e-10 * np.abs(c).sum() * np.abs(X).max() + 1e-100
        )


@pytest.mark.parametrize(("n", "d"), [(60, 2), (40, 3), (25, 4), (20, 5)])
def test_proofs_agree_with_the_search_that_keeps_nothing(n, d):
    for seed in range(3):
        rng = np.random.default_rng(seed)
        X, c = rng.standard_normal((n, d)), rng.standard_normal(n)
        reduction = reduce_side(Design(X), c)
        sides = [Side(reduction.side.rows, s * reduction.side.weights, s * reduction.side.linear) for s in (1, -1)]
        rows = data_rows(Design(X), reduction)
        np.testing.assert_allclose(X[rows] / np.linalg.norm(X[rows], axis=1)[:, None], sides[0].rows, atol=1e-12)
        found = [cone_bound(side, tol=1e-5) for side in sides]
        trees = [
            cone_tree(side, rows, tol=1e-5, lower=one.lower, witness=one.u)
            for side, one in zip(sides, found, strict=True)
        ]
        for bound, one in zip(bounds_by(X, c, trees), found, strict=True):
            assert one.lower * reduction.scale * (1 - 1e-12) <= bound
            assert bound == pytest.approx(one.upper * reduction.scale, rel=1.5e-5)


def test_a_deadline_leaves_a_valid_tree():
    rng = np.random.default_rng(5)
    X, c = rng.standard_normal((200, 5)), rng.standard_normal(200)
    trees = cone_trees(Design(X), c, tol=1e-9, deadline=0.0)
    value = climb(X, c, rng)[0]
    bounds = bounds_by(X, c, trees)
    assert value <= max(bounds) < 10 * value
    for tree in trees:
        assert tree.leaves < 5000


def test_high_rank_and_nothing_at_all():
    rng = np.random.default_rng(6)
    X = rng.standard_normal((20, LARGEST_RANK + 1))
    assert cone_trees(Design(X), rng.standard_normal(20)) is None
    assert all(isinstance(tree, SideTree) for tree in cone_trees(Design(X), np.zeros(20)))


# ------------------------------------------------------------------------------------------------- whole proofs


def with_cones(case: Case) -> Case:
    """The proof of a case with trees of cones instead."""
    bias = [np.ones((len(case.X), 1))] * case.proof.bias
    design, lam = Design(np.hstack([case.X, *bias])), case.proof.lam
    trees = [
        tree
        for k in range(lam.shape[1])
        for tree in cone_trees(design, lam[:, k], tol=1e-7, deadline=time.monotonic() + 5)
    ]
    return Case(case.X, case.y, replace(case.proof, trees=tuple(trees)).proved(case.X, case.y))


CASES = {
    "squared": {},
    "logistic, intercept": {"loss": "logistic", "intercept": True},
    "2 outputs": {"outputs": 2},
    "no bias, rank 1": {"bias": "none", "columns": 1},
}


@pytest.fixture(scope="module")
def cases() -> dict[str, Case]:
    made = {}
    for name, given_options in CASES.items():
        options = dict(given_options)
        rng = np.random.default_rng(len(name))
        X = rng.standard_normal((8, options.pop("columns", 2)))
        y = rng.standard_normal((8, options.pop("outputs", 1)))
        y = np.where(y > 0, 1.0, -1.0) if "loss" in options else y
        y = y[:, 0] if y.shape[1] == 1 else y
        made[name] = with_cones(Case(X, y, proof_of(X, y, beta=0.3, time_limit=10, **options)))
    return made


@pytest.mark.parametrize("name", CASES)
def test_proofs_with_cones_are_accepted(cases, name, tmp_path):
    case = cases[name]
    case.proof.save(tmp_path / "proof.npz")
    for source in (case.proof, tmp_path / "proof.npz", Proof.load(tmp_path / "proof.npz")):
        verdict = extremal.verify(source, case.X, case.y)
        assert verdict.accepted
        assert verdict.leaves == sum(tree.leaves for tree in case.proof.trees)
        assert verdict.dual == pytest.approx(case.proof.dual, rel=1e-12)
    if name != "2 outputs":
        assert verdict.gap < 1e-5


def test_either_kind_may_stand_for_a_side(cases):
    case = cases["squared"]
    plain = proof_of(case.X, case.y, beta=0.3, time_limit=10)
    mixed = replace(plain, trees=(case.proof.trees[0], plain.trees[1]), lam=case.proof.lam, dual=0.0)
    assert extremal.verify(mixed, case.X, case.y).dual == pytest.approx(case.proof.dual, rel=1e-5)


FACTORS = (-1.0, 0.0, 0.5, 0.9, 0.999, 1.001, 1.1, 2.0, 1e3, 1e-3)


@pytest.mark.parametrize("name", CASES)
def test_mutated_cones_never_prove_what_is_false(cases, name):
    case, rng = cases[name], np.random.default_rng(7)
    rejected = 0
    for trial in range(200):
        arrays = copy_of(case)
        k = int(rng.integers(0, len(case.proof.trees)))
        part = ["edges", "shifts", "vectors", "frame", "t", "rows", "counts", "leaves", "trees", "drop"][trial % 10]
        array = arrays.get(f"{k}.{part}", np.zeros(0))
        if part in ("vectors", "frame", "t"):
            numeric(rng, arrays, f"{k}.{part}", FACTORS)
        elif part in ("edges", "shifts", "rows", "counts") and array.size:
            array[rng.integers(0, array.size)] += rng.choice([-2, -1, 1, 2])
        elif part == "leaves":  # the vectors of two leaves exchanged, or of all shifted by one
            vectors = arrays[f"{k}.vectors"]
            a, b = rng.choice(len(vectors), 2)
            vectors[[a, b]] = vectors[[b, a]]
        elif part == "trees":  # those of two sides exchanged
            other = int(rng.integers(0, len(case.proof.trees)))
            for name_ in CONES:
                arrays[f"{k}.{name_}"], arrays[f"{other}.{name_}"] = arrays[f"{other}.{name_}"], arrays[f"{k}.{name_}"]
        else:  # a leaf and its vector left out
            edges = arrays[f"{k}.edges"]
            arrays[f"{k}.edges"] = np.delete(edges, rng.choice(np.flatnonzero(edges < 0)))
            if rng.random() < 0.5:
                arrays[f"{k}.vectors"], arrays[f"{k}.counts"] = arrays[f"{k}.vectors"][1:], arrays[f"{k}.counts"][1:]
        rejected += check_mutant(case, arrays)
    assert rejected > 40


def test_cones_that_do_not_cover_are_rejected(cases):
    tree = cases["squared"].proof.trees[0]
    rows, weights = in_units(np.hstack([cases["squared"].X, np.ones((8, 1))]), cases["squared"].proof.lam[:, 0])
    assert np.isfinite(checker.cone_bound(rows, weights, tree))
    inner = int(np.flatnonzero(tree.edges >= 0)[0])
    leaf = int(np.flatnonzero(tree.edges < 0)[0])
    bad = [
        {"edges": tree.edges[:-1]},
        {"edges": tree.edges[:-1], "vectors": tree.vectors[:-1], "counts": tree.counts[:-1]},
        {"edges": np.append(tree.edges, -1)},
        {"edges": np.append(tree.edges, [-1]), "vectors": np.vstack([tree.vectors, 0 * tree.vectors[:1]])},
        {"edges": np.zeros(0)},
        {"edges": changed(tree.edges, inner, -1)},
        {"edges": changed(tree.edges, leaf, 0)},
        {"edges": changed(tree.edges, inner, 3)},
        {"shifts": changed(tree.shifts, 0, 53)},
        {"shifts": changed(tree.shifts, 0, -128)},
        {"shifts": np.append(tree.shifts, 0)},
        {"counts": changed(tree.counts, 0, -1)},
        {"counts": changed(tree.counts, 0, 2**31 - 1)},
        {"rows": np.full(tree.rows.shape, 8)} if tree.rows.size else {"counts": tree.counts[1:]},
        {"rows": np.append(tree.rows, 0), "t": np.append(tree.t, 0)},
    ]
    for change in bad:
        with pytest.raises(Rejected):
            checker.cone_bound(rows, weights, replace(tree, **change))


def test_rays_beyond_exact_integers_are_rejected():
    """A chain of splits that doubles a ray until the sum of two would be rounded."""
    depth = 60
    edges = np.concatenate([[-1, -1, -1, 0], *([[0, -1]] * (depth - 1)), [-1, -1]])
    leaves = int((edges < 0).sum())
    tree = ConeTree(np.eye(2), edges, np.full(depth, 1), np.ones((leaves, 2)), np.zeros(leaves), [], [])
    with pytest.raises(Rejected, match="range"):
        checker.cone_bound(np.eye(2), np.ones(2), tree)


def test_malformed_cone_trees_are_rejected(cases):
    case = cases["squared"]
    for part in fields(ConeTree):
        for mutate in (
            lambda a: a[None],
            lambda a: a[:-1] if len(a) else None,
            lambda a: a[:0] if len(a) else None,
            lambda a: a.astype(np.float16),
            lambda a: a.astype(a.dtype.newbyteorder()) if a.itemsize > 1 else None,
            lambda a: a * np.nan if a.dtype.kind == "f" and a.size else None,
        ):
            arrays = copy_of(case)
            new = mutate(arrays[f"0.{part.name}"])
            if new is not None:
                arrays[f"0.{part.name}"] = new
                assert not extremal.verify(sealed(arrays), case.X, case.y), part.name
        arrays = copy_of(case)
        del arrays[f"0.{part.name}"]
        assert not extremal.verify(sealed(arrays), case.X, case.y)


def changed(array, index, value):
    new = np.array(array)
    new[index] = value
    return new


@pytest.mark.parametrize("size", [1e-150, 1e149])
def test_data_of_any_size(size):
    rng = np.random.default_rng(8)
    X, y = size * rng.standard_normal((7, 2)), rng.standard_normal(7)
    case = Case(X, y, proof_of(X, y, beta=0.3 * size, bias="none", time_limit=10))
    assert extremal.verify(with_cones(case).proof, X, y).gap < 1e-5
