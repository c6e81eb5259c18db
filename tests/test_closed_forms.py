"""Cases whose optimum is known in closed form."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

import extremal
import reference
from reference import Array

WHITENED = [(3, 3, 0), (5, 7, 1), (12, 20, 2)]


def whitened(n: int, d: int, seed: int) -> Array:
    """X (n, d) with X X^T = I."""
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(d, n)))[0].T


def threshold_value(size: float, beta: float) -> float:
    """min over r >= 0 of 1/2 (size - r)^2 + beta r."""
    return beta * size - beta**2 / 2 if beta <= size else size**2 / 2


# ------------------------------------------------------------------------------------------------- orthonormal rows


@pytest.mark.parametrize("share", [0.01, 0.3, 0.9, 0.999])
@pytest.mark.parametrize(("n", "d", "seed"), WHITENED)
def test_whitened_squared(n: int, d: int, seed: int, share: float) -> None:
    """3.7: a neuron for each sign of y, of strength |y_+| - beta and |y_-| - beta."""
    X, y = whitened(n, d, seed), np.random.default_rng(seed + 10).normal(size=n)
    parts = [np.maximum(y, 0), np.maximum(-y, 0)]
    sizes = [float(np.linalg.norm(part)) for part in parts]
    beta = share * max(sizes)
    result = extremal.fit(X, y, beta=beta, bias="none")
    expected = sum(threshold_value(size, beta) for size in sizes)
    assert result.status is extremal.Status.OPTIMAL
    assert result.certificate.primal == pytest.approx(expected, rel=1e-10)
    assert expected * (1 - 1e-6) <= result.certificate.dual <= expected * (1 + 1e-13)
    net = result.network.merge(1e-8)
    assert net.width == sum(size > beta for size in sizes)
    for size, part, sign in zip(sizes, parts, (1, -1), strict=True):
        if size > beta:
            chosen = np.sign(net.output[:, 0]) == sign
            assert net.strength[chosen].sum() == pytest.approx(size - beta, rel=1e-5)
            direction = net.hidden[:, chosen][:, 0] / np.linalg.norm(net.hidden[:, chosen][:, 0])
            np.testing.assert_allclose(direction, X.T @ part / size, atol=1e-4)
    # the multiplier is y with each sign's part on the ball of radius beta
    multiplier = sum(
        sign * part * min(1.0, beta / size) for sign, part, size in zip((1, -1), parts, sizes, strict=True) if size > 0
    )
    np.testing.assert_allclose(result.certificate.lam[:, 0], multiplier, atol=2e-3 * np.abs(y).max())


@pytest.mark.parametrize("beta", [0.05, 0.4, 0.7])
def test_whitened_labels(beta: float) -> None:
    """As 3.8, with the losses of this package: g(lam) = max(|lam_+|, |lam_-|), so the dual splits into the classes."""
    X, y = whitened(7, 9, 3), np.array([1.0, 1, 1, 1, -1, -1, -1])
    sizes = [4, 3]

    def entropy(p: float) -> float:
        return float(-p * np.log(p) - (1 - p) * np.log(1 - p))

    hinge = sum(threshold_value(np.sqrt(size), beta) for size in sizes)
    logistic = sum(size * entropy(min(0.5, beta / np.sqrt(size))) for size in sizes)
    for loss, expected in (("squared_hinge", hinge), ("logistic", logistic)):
        result = extremal.fit(X, y, beta=beta, bias="none", loss=loss)
        assert result.certificate.primal == pytest.approx(expected, rel=1e-9), loss
        assert expected * (1 - 1e-6) <= result.certificate.dual <= expected * (1 + 1e-12), loss


@pytest.mark.parametrize("beta", [0.1, 1.2, 1.6])
def test_whitened_one_hot(beta: float) -> None:
    """3.9: a neuron for each class of more than beta^2 samples; the others cost their own loss."""
    X, counts = whitened(8, 8, 4), [4, 2, 2]
    Y = np.repeat(np.eye(3), counts, axis=0)
    expected = sum(threshold_value(np.sqrt(count), beta) for count in counts)
    result = extremal.fit(X, Y, beta=beta, bias="none", time_limit=3)
    assert result.certificate.primal == pytest.approx(expected, rel=1e-9)
    assert result.certificate.dual <= expected * (1 + 1e-12)
    strength = result.network.merge(1e-6).strength
    assert (strength > 1e-6).sum() == sum(count > beta**2 for count in counts)


def test_one_hot_value_of_the_paper() -> None:
    """The package's value for sizes and beta of one's own choice is the formula; a slip of a factor 2 would show."""
    X, Y = whitened(3, 3, 5), np.eye(3)
    result = extremal.fit(X, Y, beta=0.25, bias="none", time_limit=3)
    assert result.certificate.primal == pytest.approx(3 * (0.25 - 0.25**2 / 2), rel=1e-7)


# ------------------------------------------------------------------------------------------------------ one dimension


def test_toy_landscape() -> None:
    """2.3: (1 - u_+ a)^2 + (u^2 + a^2) / 2 is twice our objective for beta = 1/2; u = a = 1/sqrt 2, value 3/4."""
    result = extremal.fit([[1.0]], [1.0], beta=0.5, bias="none")
    assert 2 * result.certificate.primal == pytest.approx(0.75, rel=1e-12)
    assert 2 * result.certificate.dual == pytest.approx(0.75, rel=1e-7)
    assert result.network.width == 1
    assert result.network.hidden[0, 0] == pytest.approx(1 / np.sqrt(2), rel=1e-6)
    assert result.network.output[0, 0] == pytest.approx(1 / np.sqrt(2), rel=1e-6)
    zero = extremal.certify(extremal.Network.zero(1), [[1.0]], [1.0], beta=0.5)
    assert zero.primal == 0.5
    assert zero.status is extremal.Status.NOT_OPTIMAL


@pytest.mark.parametrize("seed", range(4))
def test_one_feature_without_bias_is_two_soft_thresholds(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, y, w = rng.normal(size=9), rng.normal(size=9), rng.uniform(0.2, 2, 9)
    beta, expected = 0.4, 0.0
    for side in (x > 0, x < 0):
        moment, square = abs(float((w * x * y)[side].sum())), float((w * x * x)[side].sum())
        gain = max(moment - beta, 0.0) ** 2 / (2 * square)
        expected += 0.5 * float((w * y * y)[side].sum()) - gain
    result = extremal.fit(x[:, None], y, beta=beta, bias="none", sample_weight=w)
    assert result.certificate.primal == pytest.approx(expected, rel=1e-10)
    assert result.certificate.gap <= 1e-6


FIVE = np.array([-2.0, -1, 0, 1, 2])[:, None], np.array([1.0, -1, 1, 1, -1])


@pytest.mark.parametrize("beta", [1e-3, 1e-4])
def test_five_points_as_beta_vanishes(beta: float) -> None:
    """3.11 and 6.4: interpolation costs 10.12899 with a penalised bias; the value is beta 10.12899 - O(beta^2)."""
    result = extremal.fit(*FIVE, beta=beta)
    assert result.certificate.gap <= 1e-5
    assert result.certificate.primal / beta == pytest.approx(10.12899, abs=1e-5 + 20 * beta)
    assert result.certificate.primal / beta <= 10.128995
    np.testing.assert_allclose(result.network.predict(FIVE[0])[:, 0], FIVE[1], atol=10 * beta)


@pytest.mark.parametrize("beta", [1e-2, 0.3])
def test_five_points_with_a_real_penalty(beta: float) -> None:
    for intercept in (False, True):
        result = extremal.fit(*FIVE, beta=beta, intercept=intercept, tol=1e-8)
        best = reference.solve(*FIVE, beta, bias="penalized", intercept=intercept)
        assert result.certificate.primal == pytest.approx(best.value, rel=1e-8)


# ----------------------------------------------------------------------------------------------------------- margins


def shortest_separator(rows: Array) -> tuple[Array, Array]:
    """v = argmin |v| subject to rows v >= 1, and the multipliers alpha >= 0 with v = rows^T alpha, by the SVM dual."""
    Q = rows @ rows.T
    found = minimize(
        lambda a: 0.5 * a @ Q @ a - a.sum(), np.ones(len(rows)), jac=lambda a: Q @ a - 1,
        bounds=[(0, None)] * len(rows),
        method="L-BFGS-B", options={"ftol": 1e-16, "gtol": 1e-12, "maxiter": 10_000},
    )  # fmt: skip
    return rows.T @ found.x, found.x


def test_the_two_by_two_example() -> None:
    """1.14: P* = 1/|x_1| + 1/|x_2| = 1.282432; the squared hinge loss adds a known term of second order."""
    X, y = np.array([[1.65, 0.47], [-0.47, 1.35]]), np.array([1.0, -1.0])
    norms = np.linalg.norm(X, axis=1)
    assert (1 / norms).sum() == pytest.approx(1.282432, abs=1e-6)
    for beta in (0.3, 1e-2, 1e-5):
        result = extremal.fit(X, y, beta=beta, loss="squared_hinge", bias="none")
        expected = float((beta / norms - beta**2 / (2 * norms**2)).sum())
        assert result.certificate.primal == pytest.approx(expected, rel=1e-8)
        assert result.certificate.dual == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_orthogonally_separable_margins(seed: int) -> None:
    """1.11: as beta -> 0 the cost per beta tends to 1/gamma_+ + 1/gamma_-, one neuron for each class."""
    rng = np.random.default_rng(seed)
    X = np.abs(rng.normal(size=(6, 3))) * np.repeat([1.0, -1.0], 3)[:, None]
    y = np.repeat([1.0, -1.0], 3)
    (plus, alpha), (minus, gamma) = shortest_separator(X[:3]), shortest_separator(X[3:])
    cost = np.linalg.norm(plus) + np.linalg.norm(minus)
    size = (alpha @ alpha) / (plus @ plus) + (gamma @ gamma) / (minus @ minus)
    beta = 1e-4
    result = extremal.fit(X, y, beta=beta, loss="squared_hinge", bias="none")
    assert result.certificate.gap <= 1e-5
    # the max-margin multiplier is dual feasible: beta cost - beta^2 size / 2 <= value <= beta cost
    assert beta * cost - 0.5 * beta**2 * size - 1e-9 * beta <= result.certificate.primal <= beta * cost * (1 + 1e-9)
    net = result.network.merge(1e-4)
    assert sorted(np.sign(net.output[:, 0])) == [-1, 1]
    for v, sign in ((plus, 1), (minus, -1)):
        w = net.hidden[:, np.sign(net.output[:, 0]) == sign][:, 0]
        assert w @ v / np.linalg.norm(w) / np.linalg.norm(v) == pytest.approx(1, abs=1e-4)


# ---------------------------------------------------------------------------------------------------------- beta_max


@pytest.mark.parametrize("bias", ["none", "penalized"])
@pytest.mark.parametrize("loss", ["squared", "logistic", "huber", "squared_hinge"])
def test_beta_max_is_where_the_zero_network_begins(loss: str, bias: str) -> None:
    rng = np.random.default_rng(7)
    X, w = rng.normal(size=(9, 3)), rng.uniform(0.5, 2, 9)
    y = 3 * rng.normal(size=9) if loss in ("squared", "huber") else np.where(rng.random(9) < 0.4, 1.0, -1.0)
    limit = extremal.beta_max(X, y, loss, bias=bias, sample_weight=w)
    A = reference.augmented(X, bias)
    exact = reference.exact_gauge(A, reference.loss_dual(loss, np.zeros(9), y, w))
    assert limit == pytest.approx(exact, rel=1e-8)
    if loss == "squared" and bias == "none":
        assert extremal.gauge(X, w * y).upper == pytest.approx(limit, rel=1e-8)
    zero = reference.loss_value(loss, np.zeros(9), y, w)
    for factor in (1.0, 1.0001, 10.0, 1e6):
        result = extremal.fit(X, y, beta=factor * limit, loss=loss, bias=bias, sample_weight=w)
        assert result.network.width == 0
        assert result.status is extremal.Status.OPTIMAL
        assert result.certificate.primal == pytest.approx(zero, rel=1e-14)
        assert not result.network.predict(X).any()
    below = extremal.fit(X, y, beta=0.999 * limit, loss=loss, bias=bias, sample_weight=w, tol=1e-10)
    assert below.network.width >= 1
    assert below.certificate.primal < zero * (1 - 1e-10)


@pytest.mark.parametrize("loss", ["squared", "logistic", "huber", "squared_hinge"])
def test_beta_max_with_a_free_intercept(loss: str) -> None:
    """The zero network keeps its best intercept, so the multiplier is that of a constant."""
    rng = np.random.default_rng(8)
    X = rng.normal(size=(8, 2))
    y = 50 + 3 * rng.standard_t(1.5, size=8) if loss in ("squared", "huber") else np.array([1.0, 1, 1, -1, 1, 1, -1, 1])
    limit = extremal.beta_max(X, y, loss, intercept=True)
    constants = np.linspace(y.min() - 3, y.max() + 3, 200_001)
    values = [reference.loss_value(loss, np.full(8, b), y, np.ones(8)) for b in constants[::100]]
    near = constants[::100][int(np.argmin(values))]
    best = minimize(
        lambda b: reference.loss_value(loss, np.full(8, b[0]), y, np.ones(8)), [near], method="BFGS", tol=1e-12
    )
    above = extremal.fit(X, y, beta=1.001 * limit, loss=loss, intercept=True)
    assert above.network.width == 0
    assert above.status is extremal.Status.OPTIMAL
    assert above.certificate.primal == pytest.approx(best.fun, rel=1e-8)
    below = extremal.fit(X, y, beta=0.99 * limit, loss=loss, intercept=True)
    assert below.network.width >= 1
    assert below.certificate.primal < best.fun
    assert below.certificate.primal == pytest.approx(
        reference.solve(X, y, 0.99 * limit, loss=loss, bias="penalized", intercept=True).value, rel=1e-7
    )


def test_beta_max_of_orthogonal_rows() -> None:
    """g(y) = max over the signs of |(|x_i| y_i)_+-| for orthogonal rows of any length."""
    size, y = np.array([0.5, 2.0, 3.0, 1.0]), np.array([1.0, -2.0, 0.5, 4.0])
    X = size[:, None] * whitened(4, 6, 1)
    parts = size * y
    expected = max(np.linalg.norm(np.maximum(parts, 0)), np.linalg.norm(np.maximum(-parts, 0)))
    assert extremal.beta_max(X, y, bias="none") == pytest.approx(expected, rel=1e-10)


def test_beta_max_of_several_outputs_is_safe() -> None:
    X, Y = whitened(6, 6, 2), np.repeat(np.eye(3), [3, 2, 1], axis=0)
    limit = extremal.beta_max(X, Y, bias="none")
    assert limit >= np.sqrt(3) * (1 - 1e-12)
    assert extremal.fit(X, Y, beta=limit * 1.0001, bias="none", time_limit=2).network.width == 0


def test_five_points_with_an_unpenalised_bias() -> None:
    """3.11: 1/(2n) |f - y|^2 + 1e-4 sum |w| has the value 1999/2500000, with sum |w| = 7.992.

    A column of 200 makes the bias cost next to nothing, and then the output intercept is free as well.
    """
    a, y = np.array([-2.0, -1, 0, 1, 2]), np.array([1.0, -1, 1, 1, -1])
    X = np.column_stack([a, np.full(5, 200.0)])
    result = extremal.fit(X, y, beta=1e-4, bias="none", intercept=True, sample_weight=np.full(5, 0.2), time_limit=2)
    assert result.certificate.primal == pytest.approx(1999 / 2500000, rel=2e-5)
    assert result.certificate.dual <= 1999 / 2500000 * (1 + 2e-5)
    size = np.abs(result.network.hidden[0]) @ np.abs(result.network.output[:, 0])
    assert size == pytest.approx(7.992, rel=1e-5)
