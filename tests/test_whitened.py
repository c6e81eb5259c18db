"""Whitened data: closed forms for every beta against their own duals, the certified solver and CVXPY."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

import extremal
import reference
from extremal import datasets, losses
from extremal.closed_forms import soft_threshold_bound, whitened_fit, whitened_path

LABEL_LOSSES = ["hinge", "squared_hinge", "logistic"]
SIZES = st.tuples(st.integers(2, 6), st.integers(0, 3), st.integers(0, 50))


def rows(n: int, d: int, seed: int, scale: float = 1.0):
    return scale * datasets.whitened(n, d, random_state=seed)[0]


def hinge(F, y) -> float:
    return float(np.maximum(1 - y * F, 0).sum())


def primal_and_dual(found, X, y, beta, loss) -> tuple[float, float]:
    """The objective of the network, and the dual value at lam: evaluated here, or by the package's losses."""
    F = found.network.predict(X)
    if loss == "hinge":
        inside = np.all((y * found.lam >= -1e-15) & (y * found.lam <= 1 + 1e-15))
        return hinge(F[:, 0], y) + beta * found.network.penalty(), float(y @ found.lam) if inside else -np.inf
    bound = losses.bind(loss, y)
    lam = found.lam.reshape(bound.shape)
    np.testing.assert_allclose(bound.dual(F), lam, atol=1e-12 * max(1.0, np.abs(lam).max()))
    return bound.value(F) + beta * found.network.penalty(), bound.dual_value(lam)


def exact_gauge_of_nonnegative(X, lam, norm) -> float:
    """max over z >= 0, |z| <= sqrt(s) of |lam^T z| for one column: the neurons' outputs are all such z."""
    return norm * max(np.linalg.norm(np.maximum(lam, 0)), np.linalg.norm(np.maximum(-lam, 0)))


@given(SIZES, st.sampled_from(["squared", *LABEL_LOSSES]), st.floats(0.01, 1.3), st.sampled_from([1e-3, 1.0, 7.0]))
def test_one_output_is_proved_by_its_own_numbers(shape, loss, share, scale):
    n, extra, seed = shape
    X, (_, y) = rows(n, n + extra, seed, scale), datasets.whitened(n, n, labels=loss != "squared", random_state=seed)
    path = whitened_path(X, y, loss=loss)
    beta = share * path.beta_max
    found = path.at(beta)
    primal, dual = primal_and_dual(found, X, y, beta, loss)
    assert primal == pytest.approx(found.value, rel=1e-12)
    assert dual == pytest.approx(found.value, rel=1e-12)
    assert exact_gauge_of_nonnegative(X, found.lam, scale) <= beta * (1 + 1e-12)
    assert found.network.width == (path.thresholds > beta).sum()
    np.testing.assert_allclose(found.network.strength, path.strengths(beta)[: found.network.width], rtol=1e-12)


@settings(max_examples=20)
@given(
    st.tuples(st.integers(2, 5), st.integers(0, 3), st.integers(0, 50)),
    st.floats(0.05, 0.95),
    st.sampled_from(["one-hot", "softmax", "blunt"]),
)
def test_several_outputs_are_proved_by_the_gauge(shape, share, kind):
    """One-hot rows, the simplex of the softmax, and directions that make blunt angles with sizes of their own."""
    n, extra, seed = shape
    rng = np.random.default_rng(seed)
    X, labels = rows(n, n + extra, seed, 2.0), rng.integers(3, size=n)
    y = np.eye(3)[labels]
    if kind == "blunt":
        y = rng.uniform(0.2, 3, (n, 1)) * np.array([[1.0, 0.0], [-0.6, 0.8], [-0.5, -0.8]])[labels]
    loss = "softmax" if kind == "softmax" else "squared"
    path = whitened_path(X, y, loss=loss)
    beta = share * path.beta_max
    found = path.at(beta)
    primal, dual = primal_and_dual(found, X, y, beta, loss)
    assert primal == pytest.approx(found.value, rel=1e-11)
    assert dual == pytest.approx(found.value, rel=1e-11)
    gauge = extremal.gauge(X, found.lam, time_limit=0.5)
    assert gauge.lower <= beta * (1 + 1e-9)
    assert gauge.upper >= beta * (1 - 1e-9)
    assert np.linalg.norm(found.lam, 2) * 2.0 == pytest.approx(beta, rel=1e-9) or kind != "one-hot"


@pytest.mark.parametrize("share", [0.02, 0.6, 0.97])
@pytest.mark.parametrize("loss", ["squared", "squared_hinge", "logistic"])
def test_against_training(loss, share):
    X = rows(6, 8, 3, 1.5)
    y = np.array([1.0, 1, 1, 1, -1, -1]) * (np.arange(1, 7) if loss == "squared" else 1)
    path = whitened_path(X, y, loss=loss)
    beta = share * path.beta_max
    fit = extremal.fit(X, y, beta=beta, loss=loss, bias="none")
    assert fit.certificate.primal == pytest.approx(path.value(beta), rel=1e-8)
    assert fit.certificate.dual <= path.value(beta) * (1 + 1e-12)
    certificate = extremal.certify(path.at(beta).network, X, y, beta=beta, loss=loss)
    assert certificate.gap <= 1e-6


@pytest.mark.parametrize("loss", ["squared", "softmax"])
def test_several_outputs_against_training(loss):
    X, labels = rows(6, 6, 1), np.array([0, 0, 0, 1, 1, 2])
    y = labels if loss == "softmax" else np.eye(3)[labels]
    for beta in (0.2, 1.2):
        fit = extremal.fit(X, y, beta=beta, loss=loss, bias="none", time_limit=1.5)
        assert fit.certificate.primal == pytest.approx(whitened_fit(X, y, beta=beta, loss=loss).value, rel=1e-7)


@pytest.mark.parametrize("scale", [1.0, 2.5])
@pytest.mark.parametrize("beta", [0.3, 1.5, 1.7, 2.0, 6.0])
def test_the_hinge_loss_against_cvxpy_on_all_patterns(beta, scale):
    """The enumerated program of Pilanci & Ergen with a loss that the package does not have."""
    X, y = rows(5, 5, 2, scale), np.array([1.0, 1, 1, -1, -1])
    patterns = reference.cells(X)
    assert len(patterns) == 32
    signs = np.where(patterns, 1.0, -1.0).T
    plus, minus = cp.Variable((5, 32)), cp.Variable((5, 32))
    F = cp.sum(cp.multiply(patterns.T.astype(float), X @ (plus - minus)), axis=1)
    size = cp.sum(cp.norm(plus, 2, axis=0)) + cp.sum(cp.norm(minus, 2, axis=0))
    program = cp.Problem(
        cp.Minimize(cp.sum(cp.pos(1 - cp.multiply(y, F))) + beta * size),
        [cp.multiply(signs, X @ plus) >= 0, cp.multiply(signs, X @ minus) >= 0],
    )
    program.solve(solver=cp.CLARABEL, tol_gap_rel=1e-8, tol_gap_abs=1e-8, tol_feas=1e-8)
    assert whitened_fit(X, y, beta=beta, loss="hinge").value == pytest.approx(program.value, rel=1e-6)


@pytest.mark.parametrize(("beta", "value"), [(0.5, 1.573132), (1.5, 4.598076), (1.6, 4.771281), (1.8, 5.0)])
def test_values_of_the_hinge_loss(beta, value):
    """3.8: sum_c (beta sqrt(n_c) if beta < sqrt(n_c), else n_c) for n = (3, 2)."""
    X, y = rows(5, 7, 0), np.array([1, 1, 1, -1, -1])
    assert whitened_fit(X, y, beta=beta, loss="hinge").value == pytest.approx(value, abs=1e-6)


def test_limits_and_constants():
    X, y = rows(5, 7, 0), np.array([1, 1, 1, -1, -1])
    # 3.8: the max-margin value for n = (3, 2), approached as beta -> 0
    for loss in ("hinge", "squared_hinge"):
        assert whitened_fit(X, y, beta=1e-8, loss=loss).value / 1e-8 == pytest.approx(3.146264, abs=1e-6)
    # 3.9 and 4.2: one-hot, n = (3, 2), beta = 0.4
    one_hot = np.eye(2)[(1 - y) // 2]
    assert whitened_fit(X, one_hot, beta=0.4).value == pytest.approx(1.0985057, abs=1e-7)
    np.testing.assert_allclose(whitened_path(X, one_hot).thresholds, np.sqrt([3, 2]))
    # 5.3: Y = U S V^T with U >= 0, singular values 2 and 1.2, beta = 0.4
    U = np.array([[0.6, 0], [0.8, 0], [0, 1], [0, 0], [0, 0]])
    V = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))[0][:, :2]
    Y = U @ np.diag([2, 1.2]) @ V.T
    assert whitened_fit(X, Y, beta=0.4).value == pytest.approx(1.12, abs=1e-12)
    assert soft_threshold_bound(X, Y, beta=0.4) == pytest.approx(1.12, abs=1e-12)
    # 3.7: h(s) = beta s - beta^2/2 up to beta = s, s^2/2 beyond; and the neurons' weights s - beta
    z = np.array([3.0, 4.0, 0.0, -1.0, 0.0])
    assert whitened_fit(X, z, beta=0.5).value == pytest.approx(0.5 * 5 - 0.125 + 0.5 - 0.125)
    assert whitened_fit(X, z, beta=2.0).value == pytest.approx(2 * 5 - 2 + 0.5)
    np.testing.assert_allclose(whitened_path(X, z).strengths(0.5), [4.5, 0.5])


def test_neural_collapse_under_the_softmax():
    """Balanced classes: the last weights are the vertices of a simplex, all classes alike."""
    X, labels = rows(9, 9, 4), np.repeat(np.arange(3), 3)
    net = whitened_fit(X, labels, beta=0.1, loss="softmax").network
    A = net.output / np.linalg.norm(net.output, axis=1)[:, None]
    np.testing.assert_allclose(A @ A.T, np.eye(3) * 1.5 - 0.5, atol=1e-12)
    features = np.maximum(X @ net.hidden, 0)
    np.testing.assert_allclose(features / features.max(), np.eye(3)[labels], atol=1e-12)


@given(SIZES, st.floats(0.02, 2.0))
def test_the_bound_by_singular_values(shape, beta):
    """A lower bound for any targets, strict where U has both signs; for one column only if y has one sign."""
    n, extra, seed = shape
    X, rng = rows(n, n + extra, seed), np.random.default_rng(seed)
    y = rng.standard_normal(n)
    bound, value = soft_threshold_bound(X, y, beta=beta), whitened_fit(X, y, beta=beta).value
    assert bound <= value * (1 + 1e-12)
    if beta < min(np.linalg.norm(y[y > 0]), np.linalg.norm(y[y < 0])):
        assert bound < value
    assert soft_threshold_bound(X, np.abs(y), beta=beta) == pytest.approx(whitened_fit(X, abs(y), beta=beta).value)


def test_a_generic_matrix_of_targets_is_only_bounded():
    """5.3: as 1.648 < 2.157 there; the targets make acute angles and no closed form applies."""
    X, Y = rows(4, 4, 0), np.random.default_rng(1).standard_normal((4, 2))
    fit = extremal.fit(X, Y, beta=0.4, bias="none", time_limit=2)
    assert soft_threshold_bound(X, Y, beta=0.4) < fit.certificate.dual * (1 - 1e-3)
    with pytest.raises(ValueError, match="acute angle"):
        whitened_fit(X, Y, beta=0.4)


def test_the_path_is_continuous_and_concave():
    """The optimal value is a minimum of functions that are affine in beta; with its derivative 1/2 |theta|^2."""
    X, y = rows(6, 6, 5, 0.7), np.array([2.0, 1, -1, -3, 0.5, 0])
    for loss, target in (("squared", y), *((loss, np.sign(y - 0.1)) for loss in LABEL_LOSSES)):
        path = whitened_path(X, target, loss=loss)
        grid = np.linspace(0.01, 1.2, 400) * path.beta_max
        values = np.array([path.value(beta) for beta in grid])
        assert np.all(np.diff(values) >= -1e-12)
        assert np.all(np.diff(values, 2) <= 1e-12)
        beta = 0.37 * path.beta_max
        slope = (path.value(beta * 1.0001) - path.value(beta * 0.9999)) / (2e-4 * beta)
        assert slope == pytest.approx(path.at(beta).network.penalty(), rel=1e-6), loss
        assert path.at(path.beta_max).network.width == 0
        assert path.beta_max in path.thresholds


@pytest.mark.parametrize("loss", ["squared", "squared_hinge", "logistic"])
def test_beta_max_is_that_of_the_library(loss):
    X, y = rows(6, 8, 7, 3.0), np.array([1.0, 1, -1, -1, -1, 1])
    assert whitened_path(X, y, loss=loss).beta_max == pytest.approx(
        extremal.beta_max(X, y, loss, bias="none"), rel=1e-6
    )


@pytest.mark.parametrize("scale", [1e-150, 1e-4, 1e6, 1e140])
def test_every_scale(scale):
    X, y = rows(5, 6, 8), np.random.default_rng(0).standard_normal(5)
    one, other = whitened_fit(X, y, beta=0.3), whitened_fit(scale * X, y, beta=0.3 * scale)
    assert other.value == pytest.approx(one.value, rel=1e-13)
    np.testing.assert_allclose(other.lam, one.lam, rtol=1e-12)
    np.testing.assert_allclose(other.network.predict(scale * X), one.network.predict(X), rtol=1e-9, atol=1e-14)


def test_kinds_of_input():
    X, y = rows(4, 6, 9), np.array([1.0, 2.0, -1.0, 0.0])
    expected = whitened_fit(X, y, beta=0.2)
    for data in (pd.DataFrame(X), sparse.csr_array(X), X.tolist()):
        assert whitened_fit(data, y, beta=0.2).value == expected.value
    narrow = whitened_fit(X.astype(np.float32), y, beta=0.2, tol=1e-6)
    assert narrow.value == pytest.approx(expected.value, rel=1e-6)
    assert 1e-10 < narrow.residual < 1e-6
    column = whitened_fit(X, y[:, None], beta=0.2)
    assert column.lam.shape == (4, 1)
    assert column.value == expected.value
    single = whitened_path([[0.0, 3.0]], [2.0])
    assert single.beta_max == 6
    assert single.value(3.0) == pytest.approx(2 - 0.5)
    nothing = whitened_path(X, np.zeros(4))
    assert nothing.beta_max == 0
    assert nothing.at(1.0).network.width == 0
    assert nothing.value(1.0) == 0
    assert whitened_path(X, np.ones(4), loss="hinge").thresholds == pytest.approx([2.0])
    assert "there below beta = 2" in str(whitened_path(X, np.ones(4), loss="hinge"))
    # a class without a sample has no neuron
    assert whitened_path(X, [0, 0, 3, 3], loss="softmax").outputs.shape == (2, 4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: whitened_fit([[1.0, 0], [0.1, 1]], [1, 1], beta=1), "not whitened"),
        (lambda: whitened_fit([[1.0, 0], [0, 2]], [1, 1], beta=1), "not whitened"),
        (lambda: whitened_fit(np.zeros((1, 2)), [1], beta=1), "not whitened"),
        (lambda: whitened_fit(np.ones((3, 2)), [1, 1, 1], beta=1), "3 rows in 2 dimensions"),
        (lambda: whitened_fit(np.eye(2).astype(np.float32) + 1e-6, [1, 1], beta=1), "not whitened"),
        (lambda: whitened_fit(np.eye(2), [1, 2, 3], beta=1), "2 rows and y has 3"),
        (lambda: whitened_fit(np.eye(2), [1, 2], beta=0), "beta must be positive"),
        (lambda: whitened_fit(np.eye(2), [1, 2], beta=np.nan), "beta must be positive"),
        (lambda: whitened_fit(np.eye(2), [1, 2], beta=1, loss="hinge"), "labels"),
        (lambda: whitened_fit(np.eye(2), [1, 2], beta=1, loss="huber"), "loss must be one of"),
        (lambda: whitened_fit(np.eye(2), [1, np.nan], beta=1), "NaN"),
        (lambda: whitened_fit([[np.inf, 0]], [1], beta=1), "infinity"),
        (lambda: whitened_fit(np.eye(2), [0.5, 1], beta=1, loss="softmax"), "class numbers"),
        (lambda: soft_threshold_bound(np.eye(2), [1, 2, 3], beta=1), "2 rows and Y has 3"),
        (lambda: soft_threshold_bound(np.ones((2, 2)), [1, 2], beta=1), "not whitened"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
