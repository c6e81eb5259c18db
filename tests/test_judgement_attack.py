"""What an adversary tried on the judge: data on which bounds were too high, and what the numbers around them say."""

from __future__ import annotations

import dataclasses
import time
import warnings

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit

import extremal
import extremal.design
import extremal.judgement
import extremal.losses
from extremal import Network, Problem, WeightDecay
from extremal.design import Design
from extremal.gauge import compile_kernels
from extremal.gauge.cones import cone_bound
from extremal.gauge.sides import reduce_side
from extremal.interop import as_imported, from_arrays, from_state_dict
from extremal.interop.live import Look, Standard, verdict_of
from extremal.judgement import judge

Array = np.ndarray


def test_a_direction_that_the_normal_form_leaves_out() -> None:
    """The second column is too short for the rank of X, and yet a neuron along it is better than the bound was."""
    n, length, beta = 10_000, 1.9e-10, 5e-11
    X = np.zeros((n, 2))
    X[:, 0] = np.where(np.arange(n) % 2, 1.0, -1.0)
    X[:2] = [[-1.0, length], [-1.0, 0.0]]
    y = np.zeros(n)
    y[:2] = [1.0, -1.0]
    root = np.sqrt(0.75 / length)
    net = Network(np.array([[0.0], [root]]), np.array([[root]]))
    certificate = extremal.certify(Network.zero(2), X, y, beta=beta, improve=False, time_limit=2)
    assert certificate.dual <= net.objective(X, y, beta=beta)
    assert extremal.beta_max(X, y, bias="none") >= length


@pytest.mark.parametrize("loss", ["squared", "huber"])
@pytest.mark.parametrize("offset", [1e4, 1e8, 1e12])
def test_the_rounding_of_targets_far_from_zero(loss: str, offset: float) -> None:
    """What is common to the targets cancels in <lam, y>, its rounding does not: the bound is lowered by as much."""
    rng = np.random.default_rng(0)
    n, above = 40, 0
    for _ in range(50):
        X, y = rng.normal(size=(n, 1)), offset + rng.integers(-3, 4, n) / 4.0  # exact in either form
        lam = rng.normal(size=(n, 1)) / 4
        near = Problem.from_data(X, y - offset, beta=1.0, loss=loss, bias="none", intercept=True)
        far = Problem.from_data(X, y, beta=1.0, loss=loss, bias="none", intercept=True)
        lam = near.loss.centred(lam)
        point, value = far.dual_point(lam, 2.0)
        exact = float(near.loss.dual_value(near.loss.centred(point)))
        assert value <= exact + 1e-12 * near.zero_value
        above += far.loss.dual_value(point) > exact * (1 + 1e-12)
    assert above or offset < 1e8  # without the allowance the bound would be too high


def test_a_cross_entropy_of_almost_nothing_has_all_its_digits() -> None:
    """log(1 + exp(-a)) to relative precision, and not that of the outputs."""
    for a in (10.0, 30.0, 200.0):
        value = extremal.losses.Softmax.from_data(np.array([1])).value(np.array([[0.0, a], [0.0, 0.0]])[:1] + 3.0)
        assert value == pytest.approx(np.log1p(np.exp(-a)), rel=1e-13, abs=0)


# ------------------------------------------------------------------------------------------------------ what it says


def optimal(X: Array, y: Array, decay: WeightDecay) -> Network:
    """The best network, as a user may have it: neurons in another order, layers not balanced to the last digit."""
    best = judge(Network.zero(X.shape[1], bias=decay.hidden_bias is not None), X, y, decay=decay, tol=1e-8).improved
    order = np.random.default_rng(0).permutation(best.width)
    return Network(1.1 * best.hidden[:, order], best.output[order] / 1.1, best.intercept, bias=best.bias)


@pytest.mark.parametrize("decay", [WeightDecay(0.2, 0.2), WeightDecay.uniform(0.2)])
def test_rounding_is_no_part_of_the_gap(decay: WeightDecay) -> None:
    """Where there is nothing to gain the parts are zero, not 7e-18; and the sentence has no digits beyond its proof."""
    rng = np.random.default_rng(1)
    X, y = rng.normal(size=(14, 2)), rng.normal(size=14)
    judgement = judge(optimal(X, y, decay), X, y, decay=decay)
    split = judgement.split
    assert all(part == 0 or part > 1e-12 * judgement.primal for name, part in split.items() if name != "open")
    assert split["merging"] == split["global search"] == 0
    assert sum(split.values()) == pytest.approx(judgement.primal - judgement.dual, rel=1e-12)
    numbers = [word.strip(";,") for word in judgement.sentence.split() if word[0].isdigit()]
    assert max(len(number.replace(".", "").lstrip("0")) for number in numbers) <= 9


# ----------------------------------------------------------------------------------------------------------- Ctrl-C


@pytest.mark.parametrize("after", [0, 1, 3, 10, 40, 150])
@pytest.mark.parametrize("decay", [WeightDecay.uniform(0.2), WeightDecay(0.2, 0.2, 0.0, 0.0)])
def test_ctrl_c_at_any_product(decay: WeightDecay, after: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C arrives in the middle of some product with X; what is there by then is a valid judgement."""
    rng = np.random.default_rng(2)
    X, y = rng.normal(size=(12, 2)), rng.normal(size=12)
    net = Network(rng.normal(size=(3, 5)), rng.normal(size=5), [0.5], bias=True)
    mapped, forward, count, began = decay.problem(X, y), extremal.design.Design.forward, 0, False

    def interrupted(design: extremal.design.Design, U: Array) -> Array:
        nonlocal count
        count += began
        if count == after + 1:
            raise KeyboardInterrupt
        return forward(design, U)

    def begin(*given: object) -> object:
        nonlocal began
        began = True
        return own_terms(*given)

    own_terms = extremal.judgement.own_terms
    monkeypatch.setattr(extremal.design.Design, "forward", interrupted)
    monkeypatch.setattr(extremal.judgement, "own_terms", begin)
    judgement = judge(net, X, y, decay=decay, time_limit=2)
    monkeypatch.undo()
    assert judgement.status is extremal.Status.INTERRUPTED
    assert 0 <= judgement.dual <= judgement.best <= judgement.primal
    assert judgement.primal == pytest.approx(mapped.value(net), rel=1e-14)
    for stage in judgement.stages:
        assert mapped.value(stage.network) == pytest.approx(stage.objective, rel=1e-11)
    assert str(judgement)


def test_ctrl_c_keeps_the_bound_of_the_search_that_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    X, y = rng.normal(size=(12, 2)), rng.normal(size=12)
    fit = extremal.judgement.fit_problem

    def ended(problem: Problem, **settings: object) -> object:
        result = fit(problem, **settings)
        if not settings["proof"]:
            return result
        return dataclasses.replace(
            result, certificate=dataclasses.replace(result.certificate, status=extremal.Status.INTERRUPTED)
        )

    monkeypatch.setattr(extremal.judgement, "fit_problem", ended)
    judgement = judge(Network.zero(2, bias=True), X, y, decay=WeightDecay(0.2, 0.2, 0.0, 0.0), time_limit=2)
    assert judgement.status is extremal.Status.INTERRUPTED
    assert judgement.dual > 0


# ---------------------------------------------------------------------------------------------------- time is kept


@pytest.mark.parametrize(("n", "d", "far"), [(13, 3, 1e4), (13, 5, 1e5)])
def test_cones_of_any_cost_keep_the_time(n: int, d: int, far: float) -> None:
    """A slice of the search is a number of cones, which cost most for rows that are nearly parallel."""
    rng = np.random.default_rng(0)
    X, c = far + rng.normal(size=(n, d)), rng.normal(size=n)
    reduction = reduce_side(Design(X), c - c.mean())
    assert reduction is not None
    compile_kernels()
    began = time.process_time()
    found = cone_bound(reduction.side, tol=1e-9, deadline=time.monotonic() + 0.1)
    assert time.process_time() - began < 0.5
    assert found.lower <= found.upper


# ------------------------------------------------------------------------------------------------------- what it reads


def test_a_network_that_was_read_does_not_train_on() -> None:
    """Weights are copied, whatever they came from."""
    hidden, output, constant = np.ones((2, 3)), np.ones((3, 1)), np.ones(1)
    read = [
        from_arrays(hidden, output, None, constant),
        from_state_dict({"0.weight": hidden.T, "2.weight": output.T, "2.bias": constant}),
        from_state_dict({"hidden": hidden, "output": output, "intercept": constant}),
        from_state_dict({"hidden": hidden, "output": output, "output_bias": constant}),
    ]
    for part in (hidden, output, constant):
        part += 1.0
    for network in read:
        assert np.array_equal(network.predict(np.ones((1, 2))), [[7.0]])


def test_tensors_of_a_state_dict_are_copied() -> None:
    torch = pytest.importorskip("torch")
    module = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU(), torch.nn.Linear(3, 1)).double()
    network, given = from_state_dict(module.state_dict()), as_imported(module).network
    before = network.predict(np.ones((1, 2)))
    with torch.no_grad():
        for part in module.parameters():
            part.add_(1.0)
    assert np.array_equal(network.predict(np.ones((1, 2))), before)
    assert np.array_equal(given.predict(np.ones((1, 2))), before)


def test_a_model_of_scikit_learn_that_fits_on() -> None:
    neural = pytest.importorskip("sklearn.neural_network")
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(20, 2)), rng.normal(size=20)
    model = neural.MLPRegressor(hidden_layer_sizes=(4,), random_state=0, learning_rate_init=0.1).partial_fit(X, y)
    read = as_imported(model).network
    before = read.predict(X)
    model.partial_fit(X, y)
    assert np.array_equal(read.predict(X), before)


def test_a_model_without_a_penalty_is_judged_by_one_that_is_given() -> None:
    neural = pytest.importorskip("sklearn.neural_network")
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(20, 2)), rng.normal(size=20)
    model = neural.MLPRegressor(hidden_layer_sizes=(4,), alpha=0.0, random_state=0, solver="lbfgs", max_iter=20)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(X, y)
    with pytest.raises(ValueError, match=r"is not known; give beta=.*without any there is no best network"):
        extremal.certify(model, X, y)
    judgement = extremal.certify(model, X, y, beta=0.01, time_limit=0.5)
    assert judgement.dual <= judgement.best <= judgement.primal


def test_tiny_rows_under_a_free_bias() -> None:
    """The longest row is known to its last digit, however small the squares of its entries are."""
    X = np.array([[3.3], [-1.1]]) * 1e-162
    mapped = WeightDecay(1.0, 1.0, 0.0, 0.0).problem(X, [0.0, 1.0])
    assert mapped.radius == pytest.approx(2.2e-162, rel=1e-12, abs=0)


# ------------------------------------------------------------------------------------------------------------- attack


def user_objective(parts: list[Array], X: Array, y: Array, w: Array, loss: str, decay: WeightDecay) -> float:
    """The user's formula, written out."""
    W, b, A, c = parts
    F = (np.maximum(X @ W + b, 0) @ A + c)[:, 0]
    fit = 0.5 * (F - y) ** 2 if loss == "squared" else np.logaddexp(0, -y * F)
    factors = (decay.hidden, decay.hidden_bias, decay.output, decay.output_bias)
    return float(w @ fit) + 0.5 * sum(
        (f or 0.0) * float((part**2).sum()) for f, part in zip(factors, parts, strict=True)
    )


def descended(parts: list[Array], X: Array, y: Array, w: Array, loss: str, decay: WeightDecay) -> float:
    """Where SciPy's L-BFGS on the user's formula ends, with its gradient by hand."""
    shapes = [part.shape for part in parts]
    factors = (decay.hidden, decay.hidden_bias, decay.output, decay.output_bias)
    places = np.cumsum([part.size for part in parts])[:-1]

    def oracle(theta: Array) -> tuple[float, Array]:
        parts = [part.reshape(shape) for part, shape in zip(np.split(theta, places), shapes, strict=True)]
        W, b, A, c = parts
        Z = X @ W + b
        F = (np.maximum(Z, 0) @ A + c)[:, 0]
        slope = (w * (F - y) if loss == "squared" else -w * y * expit(-y * F))[:, None]
        back = (slope @ A.T) * (Z > 0)
        slopes = [X.T @ back, back.sum(axis=0), np.maximum(Z, 0).T @ slope, slope.sum(axis=0)]
        slopes = [0 * g if f is None else g + f * p for g, f, p in zip(slopes, factors, parts, strict=True)]
        return user_objective(parts, X, y, w, loss, decay), np.concatenate([g.ravel() for g in slopes])

    start = np.concatenate([part.ravel() for part in parts])
    return float(minimize(oracle, start, jac=True, method="L-BFGS-B", options={"maxiter": 300}).fun)


def parts_of(network: Network) -> list[Array]:
    if network.bias:
        return [network.hidden[:-1], network.hidden[-1], network.output, network.intercept]
    return [network.hidden, np.zeros(network.width), network.output, network.intercept]


@pytest.mark.parametrize("seed", range(30))
def test_no_network_is_below_the_bound(seed: int) -> None:
    """Data and penalties at the edges: one row, more columns than rows, equal rows, constant columns, huge and tiny."""
    rng = np.random.default_rng(seed)
    n, d, loss = int(rng.choice([1, 2, 5, 12])), int(rng.choice([1, 2, 7])), ("squared", "logistic")[seed % 2]
    X = rng.normal(size=(n, d)) * 10.0 ** (rng.uniform(-8, 8, d) if seed % 3 == 0 else np.zeros(d))
    X[:, 0] = X[0, 0] if seed % 4 == 0 else X[:, 0] + 1e3 * (seed % 5 == 0)
    X[n // 2 :] = X[: n - n // 2] if seed % 7 == 0 else X[n // 2 :]
    w = np.where(rng.random(n) < 0.2, 0.0, rng.uniform(0.1, 2, n))
    w[0] = 1.0
    y = rng.normal(size=n) * 10.0 ** rng.uniform(-3, 3) if loss == "squared" else np.where(np.arange(n) % 2, 1.0, -1.0)
    w[: min(n, 2)] = 1.0  # both classes
    some = 10.0 ** rng.uniform(-5, 2, 4)
    free = n > 1 or loss == "squared"
    hidden_bias = ((0.0 if free else 1.0), (0.0 if free else 1.0), None, some[2])[int(rng.integers(4))]
    output_bias = ((0.0 if free else 1.0), None, some[3])[int(rng.integers(3))]
    decay = WeightDecay(some[0], some[1], hidden_bias, output_bias)
    m = int(rng.choice([0, 1, 6]))
    W, b, A, c = rng.normal(size=(d, m)), rng.normal(size=m), rng.normal(size=(m, 1)), rng.normal(size=1)
    W[:, : m // 3], b = 0.0, b * 10.0 ** rng.uniform(0, 8)
    constant = c if output_bias is not None else None
    given = Network(W if hidden_bias is None else np.vstack([W, b]), A, constant, bias=hidden_bias is not None)
    judgement = judge(given, X, y, decay=decay, loss=loss, sample_weight=w, time_limit=0.15)
    data = (X, y, w, loss, decay)
    assert judgement.primal == pytest.approx(user_objective(parts_of(given), *data), rel=1e-11)
    assert user_objective(parts_of(judgement.improved), *data) <= judgement.primal * (1 + 1e-11)
    start = [
        rng.normal(size=(d, 8)) / np.abs(X).max(axis=0)[:, None],
        np.zeros(8),
        rng.normal(size=(8, 1)),
        np.zeros(1),
    ]
    found = min(descended(parts, *data) for parts in (parts_of(judgement.improved), parts_of(given), start))
    assert 0 <= judgement.dual <= found * (1 + 1e-12) + 1e-300


def test_a_network_that_has_diverged() -> None:
    net = Network(np.array([[1.0], [1e200]]), np.array([[1e200]]), bias=True)
    with pytest.raises(ValueError, match="the objective of this network overflows; training has diverged"):
        judge(net, np.ones((3, 1)), np.arange(3.0), decay=WeightDecay(0.1, 0.1, 0.0, None))


def test_the_interval_of_a_live_judge_holds_what_it_is_about() -> None:
    """Rounded to the nearest, the lower end would be above the bound, and even above the best network."""
    standard = Standard(np.zeros((1, 1)), WeightDecay(1.0, 1.0).problem(np.ones((1, 1)), [1.0]))
    standard.best, standard.lower = 0.12345674, 0.123456699
    words = verdict_of("Adam", Look(3, 1.0, 0.2, standard.lower, standard.best), standard)
    low, high = (float(end) for end in words[words.index("(") + 1 : -1].split(" .. "))
    assert low <= standard.lower <= standard.best <= high
    optimal = verdict_of("Adam", Look(3, 1.0, standard.best, standard.lower, standard.best), standard)
    assert float(optimal.split()[-1]) <= standard.lower
