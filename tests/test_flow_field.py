"""The field of the flow against long arithmetic in the weights, and its steps against dense linear algebra."""

from __future__ import annotations

from itertools import pairwise

import mpmath as mp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from extremal.flow.field import DENSE, GAMMA, LOSSES, A, C, field, rosenbrock
from extremal.flow.integrate import Flow
from extremal.flow.lines import Lines
from extremal.flow.sliding import Sliding, Span
from extremal.flow.state import State

NAMES = list(LOSSES)
DIGITS = 60


# ------------------------------------------------------------------------------- the flow in the weights, by the book


def dot(u, v):
    return mp.fsum(a * b for a, b in zip(u, v, strict=True))


def multiplier(loss, f, y):
    """-d loss / df of one sample."""
    if loss == "squared":
        return y - f
    return y * mp.exp(-y * f) if loss == "exponential" else y / (1 + mp.exp(y * f))


def weights_field(X, y, D, normals, v, a, kappa, loss):
    """(dv, da, dkappa) by the chain rule from dw = b P X^T D lam and db = w . P X^T D lam, and log sum |lam|.

    `normals[i]` are the rows that neuron i slides on.
    """
    w = [[mp.exp(ai) * entry for entry in vi] for vi, ai in zip(v, a, strict=True)]
    b = [k * mp.exp(ai) for k, ai in zip(kappa, a, strict=True)]
    n, m = len(X), len(v)
    f = [mp.fsum(b[i] * dot(w[i], X[k]) for i in range(m) if D[i][k]) for k in range(n)]
    lam = [multiplier(loss, f[k], y[k]) for k in range(n)]
    acting = [k for k in range(n) if any(D[i][k] for i in range(m))] or range(n)
    size = mp.fsum(abs(t) for t in y) if loss == "squared" else mp.fsum(abs(lam[k]) for k in acting)
    dv, da, dk = [], [], []
    for i in range(m):
        pull = [mp.fsum(lam[k] * X[k][j] for k in range(n) if D[i][k]) / size for j in range(len(X[0]))]
        pull = across(pull, normals[i])
        dw, db, r = [b[i] * p for p in pull], dot(w[i], pull), mp.sqrt(dot(w[i], w[i]))
        dr = dot(w[i], dw) / r
        dv.append([(dw[j] - w[i][j] * dr / r) / r for j in range(len(pull))])
        da.append(dr / r)
        dk.append(db / r - b[i] * dr / r**2)
    return dv, da, dk, mp.log(size)


def across(g, rows):
    """g without its part in the span of the rows."""
    if not len(rows):
        return g
    N = mp.matrix([[mp.mpf(float(t)) for t in row] for row in rows])
    tau = mp.lu_solve(N * N.T, N * mp.matrix(g))
    return list(mp.matrix(g) - N.T * tau)


def flat(dv, da, dk):
    return np.array([float(t) for row in [*dv, da, dk] for t in row])


def packed(V, a, kappa):
    return np.concatenate([V.ravel(), a, kappa])


def case(seed, loss, balanced=True, low=-1.0, high=0.5, sliding=True):
    """Rows with all that can be odd about them, three neurons and the lines they slide on."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((8, 3))
    X[3], X[4], X[5], X[6] = X[0], 2 * X[0], -X[1], 0.0  # duplicate, parallel, opposite, zero
    y = rng.standard_normal(8) if loss == "squared" else np.where(rng.random(8) < 0.5, 1.0, -1.0)
    V = rng.standard_normal((3, 3))
    lines = Lines.of(X)
    side = np.sign(V @ lines.normals.T)
    if sliding:
        side[0, 0] = side[1, 1] = side[1, 2] = 0.0
    spans = [Span.of(s, lines.normals) for s in side]
    slide = Sliding.of(spans)
    V = slide.project(V)
    a = rng.uniform(low, high, 3)
    kappa = np.where(rng.random(3) < 0.5, 1.0, -1.0)
    if not balanced:
        kappa = kappa * np.exp(0.5 * rng.standard_normal(3))
    D = lines.active(side)
    D[:, 7] = 0.0  # a row that no neuron sees
    rows = [lines.normals[span.line] for span in spans]
    total = float(np.abs(y).sum())
    return X, y, D, D.any(axis=0), slide.orthonormal, slide.start, V, a, kappa, LOSSES[loss], total, rows


def exactly(x):
    return [exactly(part) for part in x] if np.ndim(x) else mp.mpf(float(x))


# ----------------------------------------------------------------------------------------------------------- the field


@pytest.mark.parametrize("loss", NAMES)
@pytest.mark.parametrize("balanced", [True, False])
@pytest.mark.parametrize("sizes", [(-1.0, 0.5), (-300.0, -299.0), (2.0, 2.5), (299.0, 300.0), (-300.0, 300.0)])
def test_field_is_the_gradient_in_the_weights(loss, balanced, sizes):
    if loss == "squared" and sizes[1] > 100:
        sizes = (50.0, 60.0)  # its multiplier is as large as the outputs
    with mp.workdps(DIGITS + 400):
        for seed in range(4):
            *args, rows = case(seed, loss, balanced, *sizes)
            X, y, D, _, _, _, V, a, kappa, _, _ = args
            (
                dV,
                da,
                dk,
                *_,
            ) = field(*args)
            log_size = field(*args)[5]
            *expected, log_exact = weights_field(*map(exactly, (X, y)), D, rows, *map(exactly, (V, a, kappa)), loss)
            expected = flat(*expected)
            size = np.abs(expected).max()
            # outputs of size e^(2a) are rounded before they are exponents; then only a certain multiplier is accurate
            tight = sizes[1] <= 2.5 or loss == "squared"
            if tight or margin_gap(X, y, D, V, a, kappa) > 1e4:
                assert np.abs(packed(dV, da, dk) - expected).max() <= 1e-11 * max(size, 1e-300)
                assert log_size == pytest.approx(float(log_exact), rel=1e-12, abs=1e-11)
            else:
                assert np.isfinite(packed(dV, da, dk)).all()


def margin_gap(X, y, D, V, a, kappa):
    """By how much the smallest margin among the samples that act is below the others."""
    q = np.sort((y * ((kappa * np.exp(2 * a)) @ (D * (V @ X.T))))[D.any(axis=0)])
    return float(q[1] - q[0])


def test_field_without_an_active_row_is_zero_and_its_clock_runs():
    *args, _ = case(0, "logistic")
    args[2] = np.zeros_like(args[2])
    args[3] = args[2].any(axis=0)
    dV, da, dk, f, _, log_size, *_ = field(*args)
    assert not np.any(packed(dV, da, dk))
    assert not f.any()
    assert log_size == pytest.approx(np.log(len(f) / 2))


# ----------------------------------------------------------------------------------- one step, with a dense Jacobian


def dense_jacobian(X, y, D, rows, V, a, kappa, loss):
    """Differences of the field in long arithmetic, good to far more digits than a float has."""
    m, d = V.shape
    with mp.workdps(DIGITS):
        x0 = exactly(packed(V, a, kappa))
        h = mp.mpf(10) ** (-DIGITS // 2)

        def rhs(x):
            v = [x[i * d : (i + 1) * d] for i in range(m)]
            dv, da, dk, _ = polynomial(exactly(X), exactly(y), D, rows, v, x[m * d : m * d + m], x[m * d + m :], loss)
            return [t for row in [*dv, da, dk] for t in row]

        base = rhs(x0)
        J = np.empty((len(x0), len(x0)))
        for j in range(len(x0)):
            moved = rhs([t + h * (i == j) for i, t in enumerate(x0)])
            J[:, j] = [float((p - q) / h) for p, q in zip(moved, base, strict=True)]
    return J


def polynomial(X, y, D, rows, v, a, kappa, loss):
    """The field in log-norm coordinates, where v need not be a unit vector (stages of a step leave the sphere)."""
    n, m = len(X), len(v)
    q = [mp.exp(2 * a[i]) * kappa[i] for i in range(m)]
    f = [mp.fsum(q[i] * dot(v[i], X[k]) for i in range(m) if D[i][k]) for k in range(n)]
    lam = [multiplier(loss, f[k], y[k]) for k in range(n)]
    acting = [k for k in range(n) if any(D[i][k] for i in range(m))]
    size = mp.fsum(abs(t) for t in y) if loss == "squared" else mp.fsum(abs(lam[k]) for k in acting)
    dv, da, dk = [], [], []
    for i in range(m):
        g = across([mp.fsum(lam[k] * X[k][j] for k in range(n) if D[i][k]) / size for j in range(len(X[0]))], rows[i])
        h = dot(v[i], g)
        dv.append([kappa[i] * (gj - h * vj) for gj, vj in zip(g, v[i], strict=True)])
        da.append(kappa[i] * h)
        dk.append((1 - kappa[i] ** 2) * h)
    return dv, da, dk, size


@pytest.mark.parametrize("loss", NAMES)
@pytest.mark.parametrize("balanced", [True, False])
@pytest.mark.parametrize("high", [-3.0, 0.5, 1.0])
def test_step_with_a_dense_jacobian(loss, balanced, high):
    for seed in range(2):
        *args, rows = case(seed, loss, balanced, high - 0.5, high)
        X, y, D, acting, normals, start, V, a, kappa, code, total = args
        m, d = V.shape
        J = dense_jacobian(X, y, D, rows, V, a, kappa, loss)
        for step in (1e-3, 0.05):
            out = rosenbrock(X, y, D, acting, normals, start, V, a, kappa, step, code, total)
            E = np.eye(len(J)) / (GAMMA * step) - J
            x0, U = packed(V, a, kappa), []
            for j in range(6):
                x = x0 + sum((A[j, i] * U[i] for i in range(min(j, 5))), np.zeros(len(x0)))
                Vj, aj, kj = x[: m * d].reshape(m, d), x[m * d : m * d + m], x[m * d + m :]
                rhs = packed(*field(X, y, D, acting, normals, start, Vj, aj, kj, code, total)[:3])
                U.append(np.linalg.solve(E, rhs + sum((C[j, i] / step * U[i] for i in range(j)), np.zeros(len(x0)))))
            x = x + U[5]
            for found, expected in (
                (out[:3], x),
                (out[3:6], U[5]),
                (out[7:10], sum(w * u for w, u in zip(DENSE[0], U, strict=False))),
                (out[10:13], sum(w * u for w, u in zip(DENSE[1], U, strict=False))),
            ):
                assert packed(*found) == pytest.approx(expected, rel=1e-9, abs=1e-10)


# ----------------------------------------------------------------------------------------- orders of convergence


def integrated(args, end, **options):
    """The field with its pattern held fixed, by an explicit method at the tightest tolerance."""
    X, y, D, acting, normals, start, V, a, kappa, code, total = args
    m, d = V.shape

    def rhs(_, x):
        Vx, ax, kx = x[: m * d].reshape(m, d), x[m * d : m * d + m], x[m * d + m :]
        return packed(*field(X, y, D, acting, normals, start, Vx, ax, kx, code, total)[:3])

    return solve_ivp(rhs, (0, end), packed(V, a, kappa), method="DOP853", rtol=1e-13, atol=1e-14, **options).y[:, -1]


@pytest.mark.parametrize("loss", NAMES)
@pytest.mark.parametrize("balanced", [True, False])
@pytest.mark.parametrize("sliding", [True, False])
def test_orders_of_the_step_and_of_its_continuous_output(loss, balanced, sliding):
    *args, _ = case(2, loss, balanced, -0.5, 0.2, sliding)
    fixed, (V0, a0, k0), (code, total) = args[:6], args[6:9], args[9:]
    exact = integrated(args, 0.4)
    errors = []
    for count in (16, 32, 64):
        state = V0, a0, k0
        for _ in range(count):
            state = rosenbrock(*fixed, *state, 0.4 / count, code, total)[:3]
        errors.append(np.abs(packed(*state) - exact).max())
    assert np.log2(errors[0] / errors[-1]) > 2 * 3.5
    assert errors[-1] < 1e-7
    inner = []
    for step in (0.02, 0.01, 0.005):
        out = rosenbrock(*fixed, V0, a0, k0, step, code, total)
        start, end, c3, c4 = packed(V0, a0, k0), packed(*out[:3]), packed(*out[7:10]), packed(*out[10:13])
        s = 0.4
        inner.append(np.abs((1 - s) * start + s * (end + (1 - s) * (c3 + s * c4)) - integrated(args, s * step)).max())
    assert all(np.log2(e / f) > 3.5 for e, f in pairwise(inner))  # the error of one step: one order more


def test_error_estimate_has_order_three():
    *args, _ = case(1, "logistic", True, -0.5, 0.2)
    errors = [np.abs(packed(*rosenbrock(*args[:9], step, *args[9:])[3:6])).max() for step in (0.1, 0.05, 0.025)]
    assert all(np.log2(e / f) > 3.5 for e, f in pairwise(errors))


@pytest.mark.parametrize("loss", NAMES)
@pytest.mark.parametrize("balanced", [True, False])
def test_scipy_in_the_weights_where_nothing_happens(loss, balanced):
    """In the positive orthant with X >= 0 and positive labels every row is on for every neuron, for ever."""
    rng = np.random.default_rng(5)
    X = rng.uniform(0.1, 1, (5, 3))
    y = np.ones(5) if loss != "squared" else 5 + rng.random(5)
    W = rng.uniform(0.05, 0.1, (4, 3))
    b = np.linalg.norm(W, axis=1) * (1.0 if balanced else np.array([0.5, 2.0, 1.0, 0.1]))

    def rhs(_, x):
        w, out, t = x[:12].reshape(4, 3), x[12:16], 0
        f = np.maximum(w @ X.T, 0).T @ out
        lam = y - f if loss == "squared" else np.exp(-f) if loss == "exponential" else 1 / (1 + np.exp(f))
        size = np.abs(y if loss == "squared" else lam).sum()
        g = lam @ X / size
        t = 1 / size
        return np.concatenate([np.outer(out, g).ravel(), w @ g, [t]])

    end = 4.0
    exact = solve_ivp(rhs, (0, end), np.r_[W.ravel(), b, 0.0], method="DOP853", rtol=1e-13, atol=1e-15).y[:, -1]
    errors = []
    for tol in (1e-6, 1e-8, 1e-10):
        flow = Flow(X, y, loss, State.of_weights(W, b), tol=tol)
        while flow.time < end:
            flow.advance(end)
        net = flow.state.network()
        errors.append(np.abs(np.r_[net.hidden.T.ravel(), net.output.ravel()] / exact[:16] - 1).max())
        clock = abs(flow.log_clock - np.log(exact[16]))
        assert clock < 1e-3
    assert flow.recorder.finish(X, y, loss=loss, method="flow").events.size == 0
    assert errors[0] < 1e-3
    assert errors[1] < 1e-5
    assert errors[2] < 1e-7
