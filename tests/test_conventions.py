"""Any weight decay as a problem of ours: exact in every network, and in the optimum, against programs of its own."""

from __future__ import annotations

import time
import warnings
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

import extremal
import reference
from extremal import Network, WeightDecay
from extremal.certificate import stationarity
from extremal.conventions import MappedProblem, middle
from extremal.design import Design
from extremal.gauge import unscaled_bounds
from extremal.losses import LOSSES, Anchored, anchored, bind
from extremal.training import fit_problem

Array = np.ndarray
LABELS = ("logistic", "squared_hinge")
factors = st.floats(1e-4, 1e4)
seeds = st.integers(0, 10**6)


def decays(free: bool = True) -> st.SearchStrategy[WeightDecay]:
    biases = st.one_of(st.none(), factors, *([st.just(0.0)] if free else []))
    return st.builds(WeightDecay, factors, factors, biases, st.one_of(st.none(), st.just(0.0), factors))


def data(rng: np.random.Generator, loss: str, n: int = 8, d: int = 2) -> tuple[Array, Array, Array]:
    X, w = rng.normal(size=(n, d)) * 10.0 ** rng.uniform(-2, 2) + rng.normal(size=d), 10.0 ** rng.uniform(-1, 1, n)
    y = rng.normal(size=n)
    if loss in LABELS:
        y = np.where(np.arange(n) % 2, 1.0, -1.0)
    return X, np.arange(n) % 3 if loss == "softmax" else y, w


def network(rng: np.random.Generator, decay: WeightDecay, d: int = 2, m: int = 5, c: int = 1) -> Network:
    bias = decay.hidden_bias is not None
    hidden = rng.normal(size=(d + bias, m)) * 10.0 ** rng.uniform(-1, 1, m)
    constant = rng.normal(size=c) if decay.output_bias is not None else None
    return Network(hidden, rng.normal(size=(m, c)), constant, bias=bias)


def own_value(net: Network, decay: WeightDecay, loss: str, X: Array, y: Array, w: Array) -> float:
    """The user's formula, written out."""
    W, b = (net.hidden[:-1], net.hidden[-1]) if net.bias else (net.hidden, 0.0)
    F = np.maximum(X @ W + b, 0) @ net.output + net.intercept
    total = decay.hidden * (W**2).sum() + decay.output * (net.output**2).sum()
    total += (decay.hidden_bias or 0) * np.sum(b**2) + (decay.output_bias or 0) * (net.intercept**2).sum()
    if loss == "softmax":
        return float(w @ (np.log(np.exp(F).sum(axis=1)) - F[np.arange(len(y)), y])) + 0.5 * total
    return reference.loss_value(loss, F[:, 0], y, w) + 0.5 * total


# ------------------------------------------------------------------------------------------------- objectives agree


@settings(max_examples=150)
@given(seeds, decays(), st.sampled_from(sorted(LOSSES)))
def test_objectives_of_networks(seed: int, decay: WeightDecay, loss: str) -> None:
    """The user's formula, `value`, and the mapped objective of the mapped network: one number."""
    rng = np.random.default_rng(seed)
    X, y, w = data(rng, loss)
    net = network(rng, decay, c=3 if loss == "softmax" else 1)
    mapped = decay.problem(X, y, loss=loss, sample_weight=w)
    mapped.check(net)
    value = mapped.value(net)
    assert value == pytest.approx(own_value(net, decay, loss, X, y, w), rel=1e-12)
    inside = mapped.inside(net)
    rows = slice(0, len(X))
    np.testing.assert_allclose(
        inside.evaluate(mapped.problem.design)[rows],
        net.predict(X),
        rtol=1e-9,
        atol=1e-9 * np.abs(net.predict(X)).max(),
    )
    if decay.hidden_bias != 0:
        assert mapped.problem.value(inside) == pytest.approx(value, rel=1e-12)
    else:  # biases cost next to nothing, and the constant nothing
        paid = 0.5 * (decay.output_bias or 0) * float(net.intercept @ net.intercept)
        extra = mapped.problem.value(inside) - (value - paid)
        slack = 1e-9 * value
        assert -slack <= extra <= 0.5e-6 * decay.hidden * (net.hidden[:-1] ** 2).sum() + slack


@settings(max_examples=100)
@given(seeds, decays())
def test_way_back(seed: int, decay: WeightDecay) -> None:
    """outside(inside(.)) is the same function on the data, balanced in the user's terms; nothing rises."""
    rng = np.random.default_rng(seed)
    X, y, w = data(rng, "squared")
    net = network(rng, decay)
    mapped = decay.problem(X, y, sample_weight=w)
    back = mapped.outside(mapped.inside(net))
    mapped.check(back)
    size = np.abs(net.predict(X)).max() + 1
    np.testing.assert_allclose(back.predict(X), net.predict(X), atol=1e-8 * size)
    balanced = decay.balance(net)
    np.testing.assert_allclose(balanced.predict(3 * X), net.predict(3 * X), atol=1e-7 * size)
    assert mapped.value(back) <= mapped.value(balanced) * (1 + 1e-9)
    assert mapped.value(balanced) <= mapped.value(net) * (1 + 1e-9)
    for done in (back, balanced):
        W, b = (done.hidden[:-1], done.hidden[-1]) if done.bias else (done.hidden, np.zeros(done.width))
        moving = W.any(axis=0)
        inner = decay.hidden * (W**2).sum(axis=0) + (decay.hidden_bias or 0) * b**2
        np.testing.assert_allclose(inner[moving], decay.output * (done.output**2).sum(axis=1)[moving], rtol=1e-9)


def test_constants_cost_nothing_where_hidden_biases_are_free() -> None:
    """With a penalised output bias, or none, the constant is a neuron; with a free one such neurons are the bias."""
    hidden, output = np.array([[1.0, 0.0, 0.0], [0.5, 2.0, -1.0]]), np.array([1.0, 3.0, 5.0])
    X = np.linspace(-1, 1, 7)[:, None]
    for output_bias in (0.0, 0.3, None):
        decay = WeightDecay(1.0, 1.0, 0.0, output_bias)
        net = Network(hidden, output, [-2.0] if output_bias is not None else None, bias=True)
        done = decay.balance(net)
        np.testing.assert_allclose(done.predict(X), net.predict(X), rtol=1e-12)
        assert decay.penalty(done) == pytest.approx(1.0, rel=1e-9)  # |w| |a| of the only neuron that moves
        assert done.width == (1 if output_bias == 0.0 else 2)
        again = decay.balance(done)
        np.testing.assert_allclose(again.predict(X), net.predict(X), rtol=1e-12)
        assert again.width == done.width


def test_hidden_layers_of_any_scale() -> None:
    """Only sqrt(hidden output) matters: other factors are another scaling of the same optimal network."""
    rng = np.random.default_rng(1)
    X, y, w = data(rng, "squared")
    values = []
    for s in (1e-3, 1.0, 1e3):
        mapped = WeightDecay(0.1 * s, 0.1 / s, 0.1 * s, 0.0).problem(X, y, sample_weight=w)
        assert mapped.problem.beta == pytest.approx(0.1, rel=1e-15)
        result = fit_problem(mapped.problem)
        values.append(mapped.value(mapped.outside(result.network)))
    assert values == pytest.approx([values[0]] * 3, rel=1e-9)


# -------------------------------------------------------------------------------------------------- optima agree


def optimum(X: Array, y: Array, w: Array, decay: WeightDecay, loss: str) -> float:
    """The user's optimum by a program of its own: every pattern of [X, 1], norms and penalties as the user has them."""
    import cvxpy as cp

    biased = decay.hidden_bias is not None
    A = np.column_stack([X, np.ones(len(X))]) if biased else X
    patterns = reference.cells(A)
    signs = np.where(patterns, 1.0, -1.0).T
    weigh = np.sqrt([decay.hidden] * X.shape[1] + ([decay.hidden_bias] if biased else []))[:, None]
    plus, minus = cp.Variable((A.shape[1], len(patterns))), cp.Variable((A.shape[1], len(patterns)))
    c = cp.Variable()
    F = cp.sum(cp.multiply(patterns.T.astype(float), A @ (plus - minus)), axis=1) + c
    cones = [cp.multiply(signs, A @ plus) >= 0, cp.multiply(signs, A @ minus) >= 0]
    size = sum(cp.sum(cp.norm(cp.multiply(weigh, part), 2, axis=0)) for part in (plus, minus))
    constant = 0.5 * (decay.output_bias or 0.0) * cp.square(c)
    if decay.output_bias is None:
        cones.append(c == 0)
    elif decay.hidden_bias == 0:
        constant = 0.0
    target = reference._cvxpy_loss(loss, F, y, w) + np.sqrt(decay.output) * size + constant
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return float(cp.Problem(cp.Minimize(target), cones).solve(solver=cp.CLARABEL))


CONVENTIONS = {
    "none": WeightDecay(0.2, 0.2),
    "ours": WeightDecay(0.2, 0.2, 0.2, 0.0),
    "layers": WeightDecay(0.1, 0.5, 0.1, None),
    "bias costs more": WeightDecay(0.2, 0.1, 0.7, 0.0),
    "bias costs less": WeightDecay(0.2, 0.1, 0.03, None),
    "torch": WeightDecay.uniform(0.2),
    "penalised constant": WeightDecay(0.3, 0.1, None, 0.4),
    "all different": WeightDecay(0.3, 0.1, 0.05, 2.0),
    "sklearn": WeightDecay(0.2, 0.2, 0.0, 0.0),
    "free bias, penalised constant": WeightDecay(0.2, 0.2, 0.0, 0.3),
    "free bias, no constant": WeightDecay(0.1, 0.3, 0.0, None),
}


@pytest.mark.parametrize("loss", ["squared", "logistic"])
@pytest.mark.parametrize("name", CONVENTIONS)
def test_optima_agree_with_a_program_of_the_user(name: str, loss: str) -> None:
    decay = CONVENTIONS[name]
    rng = np.random.default_rng(len(name))
    X, w = rng.normal(size=(6, 2)) + 1.0, rng.uniform(0.5, 2.0, 6)
    y = np.where(rng.permutation(6) % 2, 1.0, -1.0) if loss == "logistic" else rng.normal(size=6) + 1.0
    value = optimum(X, y, w, decay, loss)
    mapped = decay.problem(X, y, loss=loss, sample_weight=w)
    seen = mapped.reaching(30.0)
    result = fit_problem(seen.problem, time_limit=5, proof=decay.hidden_bias != 0)
    best = mapped.value(seen.outside(result.network))
    assert best == pytest.approx(value, rel=2e-6)
    assert best >= value * (1 - 1e-7)
    if decay.hidden_bias != 0:
        assert result.certificate.dual == pytest.approx(value, rel=2e-6)
        return
    for factor in (1.0, 5.0, 30.0):  # the shorter the column, the more its penalty hides; never too little
        near = mapped.reaching(factor)
        certificate = fit_problem(near.bounding, time_limit=1).certificate
        assert certificate.dual <= value * (1 + 1e-7)
        assert certificate.primal >= value * (1 - 1.0 / factor**2)


@pytest.mark.parametrize("loss", sorted(LOSSES))
@pytest.mark.parametrize("name", ["torch", "all different", "sklearn", "bias costs less"])
def test_bounds_are_what_their_multipliers_prove(name: str, loss: str) -> None:
    """D of the user's problem, written out, at the multiplier that is handed back; and its gauge."""
    decay = CONVENTIONS[name]
    rng = np.random.default_rng(3)
    X, w = rng.normal(size=(9, 2)), rng.uniform(0.5, 2.0, 9)
    y = data(rng, loss, 9)[1]
    mapped = decay.problem(X, y, loss=loss, sample_weight=w)
    lam, dual = bound_of(mapped)
    assert lam.shape == mapped.loss.shape
    total = lam.sum(axis=0)
    proves = mapped.loss.dual_value(lam)
    if decay.output_bias and decay.hidden_bias:
        proves -= float(total @ total) / (2 * decay.output_bias)
    elif decay.output_bias is not None:
        assert np.abs(total).max() <= 1e-12 * np.abs(lam).max()
    assert dual == pytest.approx(proves, rel=1e-9, abs=1e-12)
    if lam.shape[1] == 1 and decay.hidden_bias:
        r = np.sqrt(decay.hidden / decay.hidden_bias)
        gauge = reference.exact_gauge(np.column_stack([X, np.full(9, r)]), lam[:, 0])
        assert gauge <= mapped.decay.beta * (1 + 1e-9)


def bound_of(mapped: MappedProblem) -> tuple[Array, float]:
    certificate = fit_problem(mapped.bounding, time_limit=1).certificate
    return certificate.lam[: mapped.loss.shape[0]], certificate.dual


# ----------------------------------------------------------------------------------------------------- the zero row


@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_anchored_losses(loss: str) -> None:
    """Value, gradient, curvature, conjugate and normal form of a loss with one more row."""
    rng = np.random.default_rng(5)
    _, y, w = data(rng, loss)
    inner = bind(loss, y, w)
    for own in (anchored(inner, 0.7), Anchored.around(inner, 0.7)):
        n, c = own.shape
        F, step = rng.normal(size=(n, c)), rng.normal(size=(n, c))
        assert own.value(F) == pytest.approx(inner.value(F[:-1]) + 0.35 * (F[-1] @ F[-1]), rel=1e-14)
        slope = (own.value(F + 1e-6 * step) - own.value(F - 1e-6 * step)) / 2e-6
        assert -np.vdot(own.dual(F), step) == pytest.approx(slope, rel=1e-6, abs=1e-6)
        assert own.curvature(F).shape == (n, c, c)
        lam = own.dual(F)
        # Fenchel-Young: l(F) + l*(-lam) = <-lam, F> at lam = -grad
        assert own.value(F) - own.dual_value(lam) == pytest.approx(-np.vdot(lam, F), rel=1e-9, abs=1e-9)
        centred = own.centred(lam)
        assert np.abs(centred.sum(axis=0)).max() < 1e-12
        assert np.isfinite(own.dual_value(centred))
        unit, tau, scale = own.normalised()
        assert own.value(tau * F) == pytest.approx(scale * unit.value(F), rel=1e-12)
        assert own.astype(np.float32).value(F.astype(np.float32)) == pytest.approx(own.value(F), rel=1e-5)
        assert own.holds_intercept
    with pytest.raises(ValueError, match="made from another loss"):
        Anchored.from_data(y)


@settings(max_examples=12)
@given(seeds)
def test_a_zero_row_does_no_harm(seed: int) -> None:
    """The gauge, the residual and the fit do not see it."""
    rng = np.random.default_rng(seed)
    n, d = int(rng.integers(4, 12)), int(rng.integers(1, 4))
    X, lam = rng.normal(size=(n, d)), rng.normal(size=n)
    more, longer = np.vstack([X, np.zeros(d)]), np.append(lam, rng.normal())
    without, with_row = extremal.gauge(X, lam), extremal.gauge(more, longer)
    assert with_row.lower == pytest.approx(without.lower, rel=2e-6)
    assert with_row.upper == pytest.approx(without.upper, rel=2e-6)
    y = rng.normal(size=n)
    beta = 0.3 * extremal.beta_max(X, y, bias="none")
    fitted = extremal.fit(X, y, beta=beta, bias="none")
    problem = extremal.Problem.from_data(more, np.append(y, 0.0), beta=beta, bias="none")
    again = fit_problem(problem)
    assert again.certificate.primal == pytest.approx(fitted.certificate.primal, rel=2e-6)
    assert stationarity(problem, fitted.network) == pytest.approx(fitted.certificate.stationarity, abs=1e-6)


@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_between_a_free_output_bias_and_none(loss: str) -> None:
    """The optimum rises with the factor of the output bias, from that of a free one to that without one."""
    rng = np.random.default_rng(8)
    X, y, w = rng.normal(size=(8, 1)), data(rng, loss, 8)[1], rng.uniform(0.5, 2, 8)
    optima = []
    for factor in (0.0, 1e-9, 0.1, 10.0, 1e9, None):
        mapped = WeightDecay(0.3, 0.3, 0.3, factor).problem(X, y, loss=loss, sample_weight=w)
        result = fit_problem(mapped.problem, time_limit=2)
        optima.append(mapped.value(mapped.outside(result.network)))
        assert result.certificate.gap <= 1e-3
    assert optima[0] == pytest.approx(optima[1], rel=1e-5)
    assert optima[4] == pytest.approx(optima[5], rel=1e-5)
    assert all(high >= low * (1 - 1e-5) for low, high in pairwise(optima))


def test_data_far_from_the_origin() -> None:
    """Free hidden biases make the translation of X immaterial."""
    rng = np.random.default_rng(9)
    X, y = rng.normal(size=(8, 1)), rng.normal(size=8)
    decay = WeightDecay(0.1, 0.1, 0.0, 0.0)
    near, far = decay.problem(X, y), decay.problem(X + 2.0**20, y)
    assert far.problem.design.row_norms == pytest.approx(near.problem.design.row_norms, rel=1e-9)
    result = fit_problem(near.reaching(30.0).problem)
    there = near.reaching(30.0).outside(result.network)
    moved = Network(np.vstack([there.hidden[:-1], there.hidden[-1] - 2.0**20 * there.hidden[0]]), there.output,
                    there.intercept, bias=True)  # fmt: skip
    assert far.value(moved) == pytest.approx(near.value(there), rel=1e-6)


def test_sparse_data() -> None:
    rng = np.random.default_rng(10)
    X, y = rng.normal(size=(8, 3)) * (rng.random((8, 3)) < 0.5), rng.normal(size=8)
    for decay in CONVENTIONS.values():
        dense, thin = decay.problem(X, y), decay.problem(sparse.csr_array(X), y)
        np.testing.assert_allclose(thin.problem.design.dense(), dense.problem.design.dense(), atol=1e-15)


# ------------------------------------------------------------------------------------------------------ bad input


@pytest.mark.parametrize(
    ("factors", "message"),
    [
        ((0.0, 1.0), "hidden must be positive and finite, not 0.0"),
        ((1.0, -1.0), "output must be positive"),
        ((1.0, np.inf), "output must be positive and finite"),
        ((1.0, 1.0, -0.1), "hidden_bias must be finite and not negative, or None"),
        ((1.0, 1.0, None, np.nan), "output_bias must be finite"),
        (("much", 1.0), "hidden must be positive and finite, not 'much'"),
    ],
)
def test_refused(factors: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        WeightDecay(*factors)


def test_what_does_not_fit_together() -> None:
    X, y = np.eye(3), np.ones(3)
    with_bias, without = Network(np.ones((4, 1)), np.ones(1), bias=True), Network(np.ones((3, 1)), np.ones(1))
    with pytest.raises(ValueError, match="has hidden biases, and the decay says nothing of them"):
        WeightDecay(1, 1).problem(X, y).check(with_bias)
    with pytest.raises(ValueError, match="this one has none: give hidden_bias=None"):
        WeightDecay(1, 1, 0.0).problem(X, y).check(without)
    with pytest.raises(ValueError, match="has an output bias"):
        WeightDecay(1, 1).problem(X, y).check(Network(np.ones((3, 1)), np.ones(1), [1.0]))
    with pytest.raises(ValueError, match="maps 2 features to 1 outputs; the data have 3 and 1"):
        WeightDecay(1, 1).problem(X, y).check(Network(np.ones((2, 1)), np.ones(1)))
    with pytest.raises(ValueError, match="X has 3 rows and y has 2"):
        WeightDecay(1, 1).problem(X, y[:2])
    with pytest.raises(ValueError, match="no finite optimum"):
        WeightDecay(1, 1, None, 0.0).problem(X, y, loss="logistic")
    assert WeightDecay(1, 1, None, 0.1).problem(X, y, loss="logistic").problem.intercept


def test_penalties_are_said() -> None:
    assert str(WeightDecay.uniform(0.5)) == "1/2 (0.5 |W|^2 + 0.5 |b|^2 + 0.5 |A|^2 + 0.5 |c|^2)"
    said = str(WeightDecay(1, 2, 0.0))
    assert said == "1/2 (1 |W|^2 + 2 |A|^2), hidden biases b not penalised, no output bias c"


def test_an_upper_bound_for_free_biases_holds() -> None:
    """g with a free bias, by a grid of biases, is at most q times g with the column, for multipliers that sum to 0."""
    rng = np.random.default_rng(11)
    X, y = rng.normal(size=(8, 2)), rng.normal(size=8)
    mapped = WeightDecay(1.0, 1.0, 0.0, 0.0).problem(X, y)
    lam = y - y.mean()
    U = rng.normal(size=(2, 400))
    U /= np.linalg.norm(U, axis=0)
    Z = (X @ U)[:, :, None] + np.linspace(-5, 5, 401)
    free = np.abs(np.einsum("i,ijk->jk", lam, np.maximum(Z, 0))).max()
    for factor in (1.0, 3.0, 1000.0):
        seen = mapped.reaching(factor)
        bounds = unscaled_bounds(
            seen.problem.design,
            lam[:, None],
            tol=1e-6,
            deadline=time.monotonic() + 2,  # with the longest column the tolerance is near rounding
            rng=np.random.default_rng(0),
        )
        assert free <= seen.excess * bounds.upper
        assert bounds.lower <= free * 1.02  # the grid is fine


@settings(max_examples=30)
@given(seeds)
def test_the_middle_of_the_rows(seed: int) -> None:
    """No farther from the rows than the mean, near the centre of their smallest ball, and translated with them."""
    rng = np.random.default_rng(seed)
    X = rng.standard_t(3, size=(int(rng.integers(2, 12)), int(rng.integers(1, 4))))
    reach = lambda c: np.linalg.norm(X - c, axis=1).max()  # noqa: E731
    found = middle(Design(X))
    assert reach(found) <= reach(X.mean(axis=0)) * (1 + 1e-12)
    half = 0.5 * max(np.linalg.norm(a - b) for a in X for b in X)
    assert half * (1 - 1e-12) <= reach(found) <= half * np.sqrt(2 * X.shape[1] / (X.shape[1] + 1)) * 1.01  # Jung
    np.testing.assert_allclose(middle(Design(X + 8.0)), found + 8.0, atol=0.02 * half)
