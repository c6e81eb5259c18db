"""The gauge of several outputs through the doubly nonnegative relaxation: closed forms, references, attack."""

from __future__ import annotations

import time
from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extremal.design import Array, Design
from extremal.gauge import several
from extremal.gauge.bounds import GaugeStatus, SideBound
from extremal.gauge.nonnegative import Node
from extremal.gauge.search import upper_bounds
from extremal.gauge.several import reduce_outputs, several_bound

fast = settings(max_examples=40, deadline=None, derandomize=True)


def bound(X: Array, Lam: Array, tol: float = 1e-4, max_nodes: int = 150, **limits: float) -> SideBound:
    return several_bound(Design(X), Lam, tol=tol, max_nodes=max_nodes, **limits)


def attained(X: Array, Lam: Array, u: Array) -> float:
    return float(np.linalg.norm(Lam.T @ np.maximum(X @ u, 0)) / np.linalg.norm(u))


def climb(X: Array, Lam: Array, rng: np.random.Generator, starts: int = 200, steps: int = 40) -> float:
    """The best |Lam^T (Xu)_+| that random starts of a plain ascent reach."""
    U = rng.normal(size=(X.shape[1], starts))
    best = 0.0
    for step in range(steps):
        U /= np.maximum(np.linalg.norm(U, axis=0), 1e-300)
        Z = X @ U
        V = Lam.T @ np.maximum(Z, 0)
        best = max(best, float(np.linalg.norm(V, axis=0).max()))
        ascent = X.T @ ((Z > 0) * (Lam @ V))
        U = U * (0.0 if step % 2 else 0.7) + ascent / np.maximum(np.linalg.norm(ascent, axis=0), 1e-300)
    return best


def check(X: Array, Lam: Array, found: SideBound) -> None:
    """`u` attains the lower end, and an attack does not exceed the upper end."""
    size = np.linalg.norm(Lam, axis=1) @ np.linalg.norm(X, axis=1)
    assert attained(X, Lam, found.u) == pytest.approx(found.lower, rel=1e-10, abs=1e-12 * size)
    assert found.lower <= found.upper
    assert climb(X, Lam, np.random.default_rng(0)) <= found.upper * (1 + 1e-14)


def gaussian(n: int, d: int, c: int, seed: int = 0) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) / np.sqrt(d), rng.normal(size=(n, c))


def residual(n: int, d: int, c: int, seed: int = 0) -> tuple[Array, Array]:
    """What n/2 random neurons leave of random outputs: the rows nearly cancel, as in the multiplier of a fit."""
    X, Y = gaussian(n, d, c, seed)
    neurons = np.maximum(X @ np.random.default_rng(seed + 1).normal(size=(d, n // 2)), 0)
    return X, Y - neurons @ np.linalg.lstsq(neurons, Y, rcond=None)[0]


@st.composite
def small_problems(draw: st.DrawFn) -> tuple[Array, Array]:
    """Few rows: Gaussian or on an integer grid, with zero, parallel, opposite and nearly duplicated rows."""
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    n, d, c = draw(st.integers(1, 5)), draw(st.integers(1, 4)), draw(st.integers(1, 4))
    X = rng.integers(-2, 3, size=(n, d)).astype(float) if draw(st.booleans()) else rng.normal(size=(n, d))
    copies = draw(st.sampled_from([0, 1, 2]))
    noise = draw(st.sampled_from([0.0, 1e-15, 1e-9, 1e-3]))
    factors = rng.choice([-2.0, -1.0, 1.0, 3.0], size=(copies, 1))
    X = np.vstack([X, factors * X[rng.integers(0, n, copies)] + noise * rng.normal(size=(copies, d))])
    integral = draw(st.booleans())
    Lam = rng.integers(-2, 3, size=(len(X), c)).astype(float) if integral else rng.normal(size=(len(X), c))
    return X, Lam


@fast
@given(small_problems())
def test_agrees_with_the_search_over_directions(problem: tuple[Array, Array]) -> None:
    X, Lam = problem
    found, exact = bound(X, Lam, tol=1e-3), upper_bounds(Design(X), Lam, max_nodes=20_000)
    size = np.linalg.norm(Lam, axis=1) @ np.linalg.norm(X, axis=1)
    check(X, Lam, found)
    assert found.upper >= exact.lower * (1 - 1e-13)
    assert found.lower <= exact.upper * (1 + 1e-13)
    assert found.upper <= exact.upper * 1.01 + 1e-4 * size


def largest_on_orthant(K: Array) -> float:
    """max z^T K z over z >= 0, |z| = 1: at an eigenvector of a principal submatrix."""
    best = 0.0
    for size in range(1, len(K) + 1):
        for chosen in map(list, combinations(range(len(K)), size)):
            values, vectors = np.linalg.eigh(K[np.ix_(chosen, chosen)])
            same = np.all(vectors >= -1e-9, axis=0) | np.all(vectors <= 1e-9, axis=0)
            best = max(best, *values[same], 0.0)
    return best


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("n", [2, 3, 4])
def test_the_root_is_exact_for_four_orthogonal_rows(n: int, seed: int) -> None:
    """Doubly nonnegative matrices of order four are completely positive (Maxfield & Minc 1962)."""
    rng = np.random.default_rng(seed)
    Lam = rng.normal(size=(n, 3))
    X = np.linalg.qr(rng.normal(size=(n + 1, n)))[0].T
    exact = np.sqrt(largest_on_orthant(Lam @ Lam.T))
    found = bound(X, Lam, max_nodes=1)
    assert exact * (1 - 1e-12) <= found.upper <= exact * 1.005


@pytest.mark.parametrize(("n", "c"), [(6, 2), (30, 3), (12, 10)])
def test_multipliers_of_one_sign_on_orthogonal_rows(n: int, c: int) -> None:
    """Where Lam Lam^T >= 0 the best z is its Perron vector."""
    Lam = np.abs(np.random.default_rng(n).normal(size=(n, c)))
    exact = np.linalg.norm(Lam, 2)
    assert exact * (1 - 1e-12) <= bound(np.eye(n), Lam, max_nodes=1).upper <= exact * 1.015


@pytest.mark.parametrize(("n", "d", "c"), [(5, 3, 2), (8, 4, 3), (15, 6, 10)])
def test_opposite_rows_make_a_linear_map(n: int, d: int, c: int) -> None:
    """(z)_+ - (-z)_+ = z: the gauge is a spectral norm, which single outputs exceed by up to sqrt(c)."""
    X, Lam = gaussian(n, d, c)
    exact = np.linalg.norm(Lam.T @ X, 2)
    found = bound(np.vstack([X, -X]), np.vstack([Lam, -Lam]), max_nodes=1)
    assert exact * (1 - 1e-12) <= found.upper <= exact * 1.02


def test_one_feature() -> None:
    rng = np.random.default_rng(0)
    for c in (1, 2, 12):
        x, Lam = rng.normal(size=(9, 1)), rng.normal(size=(9, c))
        exact = max(np.linalg.norm(Lam.T @ np.maximum(x, 0)), np.linalg.norm(Lam.T @ np.maximum(-x, 0)))
        found = bound(x, Lam)
        assert exact * (1 - 1e-12) <= found.upper <= exact * (1 + 2e-4)


@pytest.mark.filterwarnings("ignore:Solution may be inaccurate")
@pytest.mark.parametrize(("n", "d", "c"), [(10, 3, 3), (12, 4, 5), (14, 5, 3)])
def test_the_root_is_the_value_of_the_semidefinite_program(n: int, d: int, c: int) -> None:
    cp = pytest.importorskip("cvxpy")
    X, Lam = residual(n, d, c)
    M = cp.Variable((d + n, d + n), PSD=True)
    W, Z = M[d:, :d], M[d:, d:]
    G = W @ X.T
    constraints = [cp.trace(M[:d, :d]) == 1, cp.diag(Z) == cp.diag(G), Z >= 0, Z >= G]
    constraints.append(Z - G - G.T + X @ M[:d, :d] @ X.T >= 0)
    program = cp.Problem(cp.Maximize(cp.sum(cp.multiply(Lam @ Lam.T, Z))), constraints)
    value = np.sqrt(program.solve(solver="CLARABEL"))
    assert value * (1 - 1e-4) <= bound(X, Lam, max_nodes=1).upper <= value * 1.002


@pytest.mark.parametrize(("n", "d"), [(12, 3), (20, 4)])
def test_one_output_is_the_scalar_gauge(n: int, d: int) -> None:
    X, lam = gaussian(n, d, 1)
    exact = upper_bounds(Design(X), lam[:, 0])
    for weights in (np.ones(1), np.array([0.6, 0.0, -0.8]), np.full(11, 11**-0.5)):
        found = bound(X, np.outer(lam, weights))
        assert exact.lower * (1 - 1e-12) <= found.upper <= exact.upper * (1 + 2e-4)
        assert found.lower <= exact.upper


def test_rotated_and_repeated_outputs() -> None:
    X, Lam = residual(15, 4, 3)
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    first = bound(X, Lam, max_nodes=1).upper
    assert bound(X, Lam @ turn, max_nodes=1).upper == pytest.approx(first, rel=1e-3)
    repeated = np.hstack([Lam, Lam, np.zeros((15, 2))])
    assert bound(X, repeated, max_nodes=1).upper == pytest.approx(np.sqrt(2) * first, rel=1e-3)


def test_rotated_and_permuted_rows() -> None:
    X, Lam = residual(15, 4, 3)
    first, order = bound(X, Lam, max_nodes=1).upper, np.random.default_rng(1).permutation(15)
    turn = np.linalg.qr(np.random.default_rng(2).normal(size=(6, 4)))[0]
    assert bound(X[order] @ turn.T, Lam[order], max_nodes=1).upper == pytest.approx(first, rel=1e-3)


@pytest.mark.parametrize(("make", "n", "d", "c", "share"), [
    (gaussian, 30, 5, 3, 0.95), (residual, 30, 5, 3, 0.9), (gaussian, 40, 10, 10, 0.65), (residual, 40, 10, 10, 0.65),
    (gaussian, 20, 3, 10, 0.8), (residual, 20, 3, 10, 0.97),
])  # fmt: skip
def test_the_root_is_well_below_the_root_of_the_sum_of_squares(make, n: int, d: int, c: int, share: float) -> None:
    """Even below that of the values an ascent finds for the single outputs, which no upper bounds can go below."""
    X, Lam = make(n, d, c)
    rng = np.random.default_rng(0)
    singles = [climb(X, Lam[:, [k]], rng) for k in range(c)]
    assert bound(X, Lam, max_nodes=1).upper <= share * np.linalg.norm(singles)


def test_branches_close_the_gap() -> None:
    X, Lam = residual(16, 3, 10)
    best = climb(X, Lam, np.random.default_rng(0))
    root, found = bound(X, Lam, max_nodes=1), bound(X, Lam, tol=1e-3, max_nodes=400, lower=best * (1 - 1e-12))
    best = max(best, found.lower)
    assert root.upper >= 1.02 * best
    assert found.status is GaugeStatus.EXACT
    assert found.upper <= best * 1.00101


def random_node(seed: int, n: int, d: int, c: int) -> tuple[Array, Array, Node]:
    rng = np.random.default_rng(seed)
    joint = reduce_outputs(Design(rng.normal(size=(n, d))), rng.normal(size=(n, c)))
    assert joint is not None
    return joint.A, joint.B, joint.root()


def multiplier_of(node: Node, rng: np.random.Generator, size: float) -> Array:
    """Any allowed N: nonnegative, but of any sign at the pairs."""
    N = size * rng.exponential(size=(len(node.forms),) * 2) * (rng.random((len(node.forms),) * 2) < 0.3)
    N = N + N.T
    first, second = node.pairs.T
    N[first, second] = N[second, first] = size * rng.normal(size=len(first)) * 5
    return N


@given(seed=st.integers(0, 10**6), n=st.integers(3, 7), d=st.integers(2, 3), size=st.sampled_from([0.0, 0.1, 10.0]))
@fast
def test_any_multiplier_bounds_every_node(seed: int, n: int, d: int, size: float) -> None:
    """Random signs and cuts: the forms of a node are nonnegative on its cone, and its bound is above f there."""
    A, B, node = random_node(seed, n, d, 3)
    rng = np.random.default_rng(seed)
    U = rng.normal(size=(d, 3000))
    U /= np.linalg.norm(U, axis=0)
    free, normals = list(range(n)), []
    for _ in range(rng.integers(0, n + 1)):
        j, active = int(rng.integers(0, len(free))), bool(rng.integers(0, 2))
        node, _ = node.decide(j, active)
        normals.append(A[free.pop(j)] * (1 if active else -1))
    if rng.integers(0, 2):
        normals.append(rng.normal(size=d))
        node = node.cut(normals[-1])
    U = U[:, np.all(np.reshape(normals, (-1, d)) @ U >= 0, axis=0)]
    Z = np.maximum(A @ U, 0)
    lifted = np.vstack([U, Z[free]])
    np.testing.assert_allclose(node.E.T @ lifted, B.T @ Z, atol=1e-12)
    assert (node.forms @ lifted).min(initial=0.0) >= -1e-14
    bounds = node.certified(multiplier_of(node, rng, size))
    assert ((B.T @ Z) ** 2).sum(axis=0).max(initial=0.0) <= bounds


def is_psd(A: list[list[Fraction]]) -> bool:
    """By elimination in rational numbers, for a positive definite matrix."""
    for k in range(len(A)):
        if A[k][k] <= 0:
            return False
        for i in range(k + 1, len(A)):
            factor = A[i][k] / A[k][k]
            A[i] = [a - factor * b for a, b in zip(A[i], A[k], strict=True)]
    return True


@given(seed=st.integers(0, 10**6), size=st.sampled_from([1e-3, 1.0, 1e6]))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_levels_hold_in_rational_arithmetic(seed: int, size: float) -> None:
    """diag(nu, kappa) - H is positive definite for the exact H of the stored numbers, and not with both lowered."""
    A, _, node = random_node(seed, 3, 2, 2)
    rng = np.random.default_rng(seed)
    if rng.integers(0, 2):
        node, _ = node.decide(int(rng.integers(0, 3)), bool(rng.integers(0, 2)))
    N = multiplier_of(node, rng, size)
    E, forms, exact_N = ([[Fraction(x) for x in row] for row in M] for M in (node.E, node.forms, N))
    m, k = len(E), len(forms)
    NF = [[sum(exact_N[a][b] * forms[b][j] for b in range(k)) for j in range(m)] for a in range(k)]

    def rest(nu: float, kappa: float) -> list[list[Fraction]]:
        H = [[sum(x * y for x, y in zip(E[i], E[j], strict=True)) for j in range(m)] for i in range(m)]
        H = [[H[i][j] + sum(forms[a][i] * NF[a][j] for a in range(k)) for j in range(m)] for i in range(m)]
        return [[Fraction((nu, kappa)[i >= node.d]) * (i == j) - H[i][j] for j in range(m)] for i in range(m)]

    nu, kappa = node.levels(N)
    assert is_psd(rest(nu, kappa))
    lower = 1e-6 * (nu + kappa)
    assert nu == 0 or kappa == 0 or not is_psd(rest(nu - lower, kappa - lower))
    exact = sum(Fraction(a) ** 2 for a in A.ravel())
    assert Fraction(node.tau) <= exact * (1 + Fraction(1, 10**9))


def test_scale_equivariance() -> None:
    X, Lam = residual(10, 3, 3)
    first = bound(X, Lam, max_nodes=1)
    for factor in (1e-150, 1e150):
        scaled = bound(X * factor, Lam / factor**0.5, max_nodes=1)
        assert scaled.upper / factor**0.5 == pytest.approx(first.upper, rel=1e-3)
    rows = 10.0 ** np.linspace(-8, 8, 10)[:, None]
    assert bound(X * rows, Lam / rows, max_nodes=1).upper == pytest.approx(first.upper, rel=1e-3)


def test_degenerate_problems() -> None:
    rng = np.random.default_rng(0)
    assert bound(np.zeros((3, 2)), rng.normal(size=(3, 2))).upper == 0.0
    assert bound(rng.normal(size=(3, 2)), np.zeros((3, 2))).upper == 0.0
    one = bound(np.array([[3.0, 4.0]]), np.array([[5.0, 12.0]]))
    assert 65.0 <= one.upper <= 65.0 * (1 + 2e-4)
    wide = rng.normal(size=(4, 30))
    Lam = rng.normal(size=(4, 12))
    check(wide, Lam, bound(wide, Lam))
    copies = np.repeat(rng.normal(size=(3, 2)), 4, axis=0)
    Lam = rng.normal(size=(12, 2))
    check(copies, Lam, bound(copies, Lam))


def test_limits_leave_a_valid_bound() -> None:
    X, Lam = residual(60, 10, 3)
    start = time.monotonic()
    found = bound(X, Lam, max_nodes=10**6, deadline=start + 0.3)
    assert time.monotonic() - start < 2.0
    assert found.status is GaugeStatus.TIME_LIMIT
    check(X, Lam, found)
    past = bound(X, Lam, deadline=start)
    check(X, Lam, past)
    few = bound(X, Lam, max_nodes=3)
    assert few.status is GaugeStatus.NODE_LIMIT
    check(X, Lam, few)


def test_threshold_decides() -> None:
    X, Lam = gaussian(15, 4, 3)
    value = climb(X, Lam, np.random.default_rng(0))
    above = bound(X, Lam, threshold=1.5 * value)
    assert above.upper <= 1.5 * value
    assert above.status is GaugeStatus.EXACT
    below = bound(X, Lam, threshold=0.5 * value, lower=value * (1 - 1e-9))
    assert below.upper > 0.5 * value


@pytest.mark.parametrize("looks", [0, 1, 2, 5])
def test_interrupt_leaves_a_valid_bound(looks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    X, Lam = residual(20, 5, 3)
    calls, relax = iter(range(100)), several.relax

    def interrupted(*args, **limits):
        if next(calls) == looks:
            raise KeyboardInterrupt
        return relax(*args, **limits)

    monkeypatch.setattr(several, "relax", interrupted)
    found = bound(X, Lam, tol=1e-9)
    assert found.status is GaugeStatus.INTERRUPTED
    check(X, Lam, found)


@pytest.mark.parametrize(("n", "d", "c"), [(20, 3, 10), (30, 9, 3), (20, 8, 10)])
def test_the_gauge_takes_the_better_of_both_searches(n: int, d: int, c: int) -> None:
    """Never above the root of the sum of squares over a frame, and for ten outputs well below it."""
    X, Lam = residual(n, d, c)
    deadline = time.monotonic() + 2.0
    found = upper_bounds(Design(X), Lam, tol=1e-3, deadline=deadline, lower=climb(X, Lam, np.random.default_rng(0)))
    singles = [upper_bounds(Design(X), Lam[:, k], tol=1e-6).upper for k in range(c)]
    assert found.upper <= np.linalg.norm(singles) * (0.97 if c == 10 else 1.0)
    assert attained(X, Lam, found.witness) == pytest.approx(found.lower, rel=1e-10)
