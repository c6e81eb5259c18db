"""The way down from every network: it never rises, it is continuous, it ends at the optimum, it keeps to its width."""

from __future__ import annotations

from itertools import combinations, pairwise

import matplotlib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib import pyplot
from scipy.optimize import linprog, nnls
from scipy.sparse import csr_array

import extremal
import reference
from extremal import Network, Problem
from extremal.closed_forms import critical_width, path_to_optimum, permute, same_orbit, split
from extremal.closed_forms.exchange import Stuck, exchange
from extremal.closed_forms.landscape import Hyperbola
from extremal.plotting import plot_landscape, plot_path
from extremal.plotting.landscape import between

LOSSES = ("squared", "logistic", "huber", "squared_hinge", "softmax")


def distance(first: Network, second: Network) -> float:
    parts = (first.hidden - second.hidden, first.output - second.output, first.intercept - second.intercept)
    return float(np.sqrt(sum(np.sum(part**2) for part in parts)))


def check_path(path, X, y, network, *, points=80, **problem):
    """All that a path promises, with the objective from the network's own definition."""
    t, values = path.sample(points)
    assert np.all(values - np.minimum.accumulate(values) <= 1e-12 * values)
    keywords = {key: value for key, value in problem.items() if key != "intercept"}
    for s in (0.0, 0.37, 1.0):
        assert path.network(s).objective(X, y, **keywords) == pytest.approx(path.objective(s), rel=1e-14)
        assert path.network(s).width == path.width >= network.width
    start = path.network(0.0)
    extended = Network(
        np.hstack([network.hidden, np.zeros((len(network.hidden), path.width - network.width))]),
        np.vstack([network.output, np.zeros((path.width - network.width, network.n_outputs))]),
        network.intercept,
        bias=network.bias,
    )
    end = path.network(1.0)
    shift = float(np.linalg.norm(end.intercept - start.intercept))
    size = shift + np.sqrt(2 * max(start.penalty(), end.penalty()))
    assert distance(start, extended) <= 1e-13 * size
    assert values[-1] <= path.target * (1 + 1e-12)
    assert path.needed <= max(path.enough, path.width)
    assert path.enough <= len(X) * network.n_outputs + 1
    # continuous: a step of 1e-9 moves the network by O(sqrt(1e-9)) of its size, across corners and within pieces
    for s in np.concatenate([t[::7], [stage.stop for stage in path.stages]]):
        for other in (max(s - 1e-9, 0.0), min(s + 1e-9, 1.0)):
            assert distance(path.network(s), path.network(other)) <= 2e-3 * size


@st.composite
def cases(draw):
    """Data and networks of all kinds: integers with ties and parallel rows, zero and dead and unbalanced neurons."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    loss = draw(st.sampled_from(LOSSES))
    n, d, m = draw(st.integers(2, 7)), draw(st.integers(1, 4)), draw(st.integers(0, 14))
    c = {"logistic": 1, "squared_hinge": 1, "softmax": 2}.get(loss) or draw(st.integers(1, 2))
    X = rng.integers(-1, 2, (n, d)).astype(float) if draw(st.booleans()) else rng.normal(size=(n, d))
    scale = draw(st.sampled_from([1.0, 1.0, 1.0, 1e-6, 1e5]))
    if loss in ("squared", "huber"):
        y = rng.normal(size=(n, c))
    else:
        y = np.append([0, 1], rng.integers(0, 2, n - 2))
    bias, intercept = draw(st.booleans()), draw(st.booleans())
    hidden, output = rng.normal(size=(d + bias, m)), rng.normal(size=(m, c))
    if draw(st.booleans()):
        hidden, output = np.round(hidden), np.round(output)
    ratio = np.exp(2 * rng.normal(size=m))
    hidden, output = hidden * ratio / np.sqrt(scale), output / ratio[:, None] / np.sqrt(scale)
    network = Network(hidden, output, rng.normal(size=c) * intercept, bias=bias)
    beta = scale * draw(st.sampled_from([1e-3, 0.1, 3.0]))
    return X * scale, y, network, {"loss": loss, "beta": beta, "intercept": intercept}


@settings(max_examples=15)
@given(cases())
def test_the_path_keeps_its_promises(case):
    X, y, network, problem = case
    path = path_to_optimum(network, X, y, time_limit=0.2, **problem)
    check_path(path, X, y, network, points=40, **problem)
    assert path.stages[-1].after >= path.lower


@pytest.mark.parametrize("seed", range(6))
def test_n_plus_one_neurons_are_enough_and_the_end_is_the_optimum(seed):
    """The optimum of the enumerated program, by CVXPY; the network is narrower than m_0 + m_*."""
    rng = np.random.default_rng(seed)
    X, y = rng.normal(size=(6, 3)), rng.normal(size=6)
    network = Network(rng.normal(size=(3, 7)), rng.normal(size=7))
    path = path_to_optimum(network, X, y, beta=0.05)
    assert path.stages[-1].name == "exchange"
    assert path.width == 7
    truth = reference.solve(X, y, 0.05)
    assert truth.lower * (1 - 1e-9) <= path.stages[-1].after <= truth.upper * (1 + 1e-9)
    check_path(path, X, y, network, points=400, beta=0.05)
    wide = Network(rng.normal(size=(3, 40)), rng.normal(size=40))
    path = path_to_optimum(wide, X, y, beta=0.05)
    assert [stage.name for stage in path.stages] == ["balance", "merge", "prune", "bring in"]
    assert path.stages[2].neurons <= 6
    check_path(path, X, y, wide, points=400, beta=0.05)


def test_a_local_minimum_is_left_with_a_second_neuron_only():
    """theory: with one neuron this network is a strict local minimum of value 0.595, so the path needs more width."""
    X, y, root = np.array([[1.0, 1.0], [0.0, 1.0]]), np.array([1.0, -1.0]), np.sqrt(0.9)
    network = Network([[root], [0.0]], [root])
    assert extremal.stationarity(network, X, y, beta=0.1).local_minimum
    path = path_to_optimum(network, X, y, beta=0.1)
    assert path.objective(0.0) == pytest.approx(0.595, abs=1e-15)
    assert path.width == path.needed > 1
    assert path.stages[-1].after == pytest.approx(extremal.fit(X, y, beta=0.1, bias="none").certificate.primal)
    check_path(path, X, y, network, beta=0.1)


def test_the_toy_of_one_neuron():
    """X = y = 1: from the dead side u < 0 through zero to u = a = 1/sqrt 2, value 3/8, with the one neuron there is."""
    network = Network([[-2.0]], [0.5])
    path = path_to_optimum(network, [[1.0]], [1.0], beta=0.5)
    assert path.width == 1
    assert path.stages[-1].after == pytest.approx(0.375, rel=1e-14)
    end = path.network(1.0)
    assert end.hidden[0, 0] == pytest.approx(np.sqrt(0.5), rel=1e-12)
    assert end.output[0, 0] == pytest.approx(np.sqrt(0.5), rel=1e-12)
    assert np.any([np.all(path.network(t).hidden == 0) for t in path.sample()[0]])


def test_the_last_stage_is_the_quarter_circle():
    """theta(t) = (sqrt(1 - t) theta_0, sqrt(t) theta_*): outputs and penalty are linear in t."""
    rng = np.random.default_rng(3)
    X, y = rng.normal(size=(5, 2)), rng.normal(size=5)
    path = path_to_optimum(Network(rng.normal(size=(2, 2)), rng.normal(size=2)), X, y, beta=0.1)
    last = path.stages[-1]
    assert last.name == "bring in"
    ends = [path.network(t) for t in (last.start, last.stop)]
    for s in (0.1, 0.5, 0.9):
        middle = path.network(last.start + s * (last.stop - last.start))
        assert np.allclose(middle.predict(X), (1 - s) * ends[0].predict(X) + s * ends[1].predict(X), atol=1e-12)
        assert middle.penalty() == pytest.approx((1 - s) * ends[0].penalty() + s * ends[1].penalty(), rel=1e-12)
        assert np.allclose(middle.hidden, np.sqrt(1 - s) * ends[0].hidden + np.sqrt(s) * ends[1].hidden, atol=1e-12)


def test_balancing_follows_the_hyperbola():
    network = Network([[4.0, 0.0, 3.0], [0.0, 0.0, 4.0]], [1.0, 2.0, 0.0])
    piece = Hyperbola.balancing(network)
    for s in np.linspace(0, 1, 11):
        hidden, output, _ = piece.weights(s)
        assert np.allclose(hidden[:, 0] * output[0], [4.0, 0.0], rtol=1e-14)
        assert output[1] == pytest.approx(2 * (1 - s))
        assert np.allclose(hidden[:, 2], np.array([3.0, 4.0]) * (1 - s))
    hidden, output, _ = piece.weights(1.0)
    assert np.linalg.norm(hidden, axis=0) == pytest.approx(np.abs(output[:, 0]), abs=1e-15)


def test_neurons_of_one_cell_and_one_sign_merge_to_their_sum():
    X = np.array([[1.0, 0.0], [0.0, 1.0]])
    # the first two are active on both rows, the third is of the other sign, the fourth of another cell
    network = Network([[2.0, 0.5, 1.0, 1.0], [0.5, 2.0, 1.0, -1.0]], [1.0, 1.0, -1.0, 1.0])
    path = path_to_optimum(network, X, [1.0, 1.0], beta=0.1)
    merge = next(stage for stage in path.stages if stage.name == "merge")
    assert merge.neurons == 3
    merged = path.network(merge.stop)
    assert np.allclose(merged.predict(X), network.predict(X), atol=1e-14)
    first = np.argmax(merged.strength)
    direction = merged.hidden[:, first] / np.linalg.norm(merged.hidden[:, first])
    assert np.allclose(direction, np.sqrt(0.5))
    assert merged.strength[first] == pytest.approx(np.linalg.norm([2.5, 2.5]))


def test_from_the_optimum_nowhere_and_to_no_optimum_no_higher():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(8, 2)), rng.normal(size=8)
    best = path_to_optimum(Network.zero(2), X, y, beta=0.1)
    optimum = best.network(1.0)
    path = path_to_optimum(optimum, X, y, beta=0.1, optimum=optimum)
    assert path.sample()[1] == pytest.approx(path.target, rel=1e-12)
    bad = Network(rng.normal(size=(2, 3)), rng.normal(size=3))
    for start in (Network.zero(2), optimum, Network(rng.normal(size=(2, 6)), rng.normal(size=6))):
        path = path_to_optimum(start, X, y, beta=0.1, optimum=bad)
        assert path.lower is None
        assert path.rise() <= 1e-12
        assert path.stages[-1].after <= min(path.target, start.objective(X, y, beta=0.1)) * (1 + 1e-12)


def test_beyond_beta_max_everything_shrinks_to_nothing():
    rng = np.random.default_rng(1)
    X, y = rng.normal(size=(5, 2)), rng.normal(size=5)
    network = Network(rng.normal(size=(2, 4)), rng.normal(size=4))
    path = path_to_optimum(network, X, y, beta=1.01 * extremal.beta_max(X, y, bias="none"))
    assert path.network(1.0).penalty() == 0.0
    assert path.stages[-1].neurons == 0
    assert path.rise() <= 1e-12


def test_several_outputs_and_a_hundred_neurons():
    rng = np.random.default_rng(2)
    X, Y = rng.normal(size=(12, 3)), rng.normal(size=(12, 2))
    network = Network(rng.normal(size=(4, 100)), rng.normal(size=(100, 2)), bias=True)
    path = path_to_optimum(network, X, Y, beta=0.3, time_limit=2)
    assert [stage.name for stage in path.stages] == ["balance", "prune", "bring in"]
    assert path.stages[1].neurons <= 24
    check_path(path, X, Y, network, points=300, beta=0.3)


@pytest.mark.parametrize("convert", [csr_array, lambda X: X.astype(np.float32)])
def test_other_containers(convert):
    X = np.array([[1.0, 2.0], [0.5, -1.0], [-2.0, 0.25]])
    network = Network([[1.0, 0.5], [0.25, -1.0]], [1.0, -2.0])
    path = path_to_optimum(network, convert(X), [1.0, 0.0, 2.0], beta=0.1)
    assert path.target == pytest.approx(path_to_optimum(network, X, [1.0, 0.0, 2.0], beta=0.1).target, rel=1e-9)
    assert path.rise() <= 1e-12


def test_extreme_imbalance():
    network = Network([[1e-120, 1e60], [0.0, 1e60]], [1e120, 1e-60])
    path = path_to_optimum(network, [[1.0, 0.0], [0.0, 1.0]], [1.0, 2.0], beta=0.1)
    assert path.rise() <= 1e-12
    assert path.stages[0].after == pytest.approx(1 + 0.1 * (1 + np.sqrt(2)), rel=1e-12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"X": [[1.0, np.nan], [0.0, 1.0]]}, "NaN"),
        ({"X": np.zeros((0, 2))}, "nonempty|minimum"),
        ({"X": [[1.0], [2.0]]}, "2 features"),
        ({"y": [1.0, 2.0, 3.0]}, "2 rows"),
        ({"beta": 0.0}, "beta must be positive"),
        ({"loss": "absolute"}, "loss"),
        ({"optimum": Network.zero(3)}, "does not belong"),
        ({"optimum": Network(np.eye(2), np.ones(2), [1.0])}, "intercept=True"),
    ],
)
def test_bad_input(change, message):
    arguments = {"X": np.eye(2), "y": [1.0, -1.0], "beta": 0.1} | change
    with pytest.raises(ValueError, match=message):
        path_to_optimum(Network(np.eye(2), np.ones(2)), **arguments)


def test_what_a_path_says():
    path = path_to_optimum(Network([[-2.0]], [0.5]), [[1.0]], [1.0], beta=0.5)
    assert "1 neurons at one time" in str(path)
    assert "bring in" in str(path)
    with pytest.raises(ValueError, match="must be in"):
        path.network(1.5)


# ----------------------------------------------------------------------------------------------------------- pictures


@pytest.fixture
def ax():
    matplotlib.use("Agg")
    figure, axes = pyplot.subplots()
    yield axes
    pyplot.close(figure)


def test_the_picture_of_a_path(ax):
    path = path_to_optimum(Network([[-2.0, 1.0]], [0.5, 2.0]), [[1.0]], [1.0], beta=0.5)
    plot_path(path, ax, points=50)
    curve = next(line for line in ax.lines if line.get_label() == "objective along the path")
    assert np.all(np.diff(curve.get_ydata()) <= 1e-15)
    assert [text.get_text().split()[0] for text in ax.texts] == [stage.name.split()[0] for stage in path.stages]


def test_the_slice_contains_the_last_stage(ax):
    """Along the circle the objectives of the picture's plane are those of the path."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(6, 2)), rng.normal(size=6)
    path = path_to_optimum(Network(rng.normal(size=(2, 2)), rng.normal(size=2)), X, y, beta=0.1)
    plot_landscape(path, ax, resolution=9)
    last = path.stages[-1]
    ends = [path.network(t) for t in (last.start, last.stop)]
    for s in (0.0, 0.3, 0.8, 1.0):
        there = path.problem.value(between(*ends, np.sqrt(1 - s), np.sqrt(s)))
        assert there == pytest.approx(path.objective(last.start + s * (last.stop - last.start)), rel=1e-12)
    narrow = path_to_optimum(Network(rng.normal(size=(2, 7)), rng.normal(size=7)), X, y, beta=0.01)
    assert narrow.stages[-1].name == "exchange"
    with pytest.raises(ValueError, match="in a plane"):
        plot_landscape(narrow, ax)


# ----------------------------------------------------------------------------------------------------------- exchange


@settings(max_examples=60)
@given(st.integers(0, 2**32), st.integers(1, 6), st.integers(0, 6), st.integers(1, 6), st.booleans())
def test_the_exchange_ends_at_the_cheapest_representation(seed, rows, own, other, integer):
    """Every corner is feasible, sparse and no dearer than the line between the ends; the last is what HiGHS finds."""
    rng = np.random.default_rng(seed)
    own = min(own, rows)
    fits = rng.integers(-1, 2, (rows, own + other)).astype(float) if integer else rng.normal(size=(rows, own + other))
    fits = np.abs(fits) if integer else fits
    cost = rng.integers(1, 3, own + other).astype(float) if integer else rng.uniform(0.5, 2, own + other)
    start = np.append(np.ones(own), np.zeros(other))
    if np.linalg.matrix_rank(fits[:, :own]) < fits[:, :own].any(axis=0).sum():
        with pytest.raises(Stuck):
            exchange(fits, cost, start, 1 - start)
        return
    corners = exchange(fits, cost, start, 1 - start)
    assert np.array_equal(corners[0].shares, start)
    assert corners[-1].t == 1 or len(corners) == 1
    rank = np.linalg.matrix_rank(fits)
    times = [corner.t for corner in corners]
    assert times == sorted(times)
    for before, after in pairwise(corners):
        x = after.shares
        assert np.all(x >= 0)
        assert (x > 0).sum() <= rank
        assert ((before.shares > 0) | (x > 0)).sum() <= rank + 1
        target = (1 - after.t) * fits @ start + after.t * fits @ (1 - start)
        assert np.allclose(fits @ x, target, atol=1e-9)
        assert cost @ x <= (1 - after.t) * cost @ start + after.t * cost @ (1 - start) + 1e-9
        if before.t == after.t:
            assert cost @ x <= cost @ before.shares + 1e-12
    best = linprog(cost, A_eq=fits, b_eq=fits @ (1 - start), bounds=(0, None))
    assert cost @ corners[-1].shares == pytest.approx(best.fun, abs=1e-8)


# ------------------------------------------------------------------------------------------------------------- orbits


@settings(max_examples=50)
@given(st.integers(0, 2**32), st.integers(1, 5), st.integers(1, 3))
def test_splitting_and_permuting_change_nothing(seed, m, c):
    rng = np.random.default_rng(seed)
    network = Network(rng.normal(size=(4, m)), rng.normal(size=(m, c)), rng.normal(size=c), bias=True)
    other = network
    for _ in range(3):
        other = split(other, int(rng.integers(other.width)), rng.dirichlet(np.ones(3)))
        other = permute(other, rng.permutation(other.width))
    X = rng.normal(size=(6, 3))
    assert other.width == m + 6
    assert np.allclose(other.predict(X), network.predict(X), atol=1e-12)
    assert other.penalty() == pytest.approx(network.penalty(), rel=1e-13)
    assert same_orbit(network, other, tol=1e-9)
    assert same_orbit(other, split(network, 0, [0.0, 1.0]), tol=1e-9)
    nudged = other.hidden.copy()
    nudged[int(rng.integers(4)), 0] += 1e-2 * np.linalg.norm(nudged[:, 0])
    assert not same_orbit(network, Network(nudged, other.output, other.intercept, bias=True), tol=1e-4)
    assert not same_orbit(network, Network(2 * network.hidden, network.output / 2, network.intercept, bias=True))
    shifted = Network(network.hidden, network.output, network.intercept + 1, bias=True)
    assert not same_orbit(network, shifted)


def test_orbits_of_degenerate_networks():
    empty = Network.zero(2)
    assert same_orbit(empty, Network(np.zeros((2, 3)), np.zeros(3)))
    assert not same_orbit(empty, Network([[1.0], [0.0]], [0.0]))  # it computes zero, and is no copy of the zero network
    assert same_orbit(Network([[3.0], [4.0]], [0.0]), Network([[1.8, 2.4], [2.4, 3.2]], [0.0, 0.0]))
    with pytest.raises(ValueError, match="same inputs and outputs"):
        same_orbit(empty, Network.zero(3))


@pytest.mark.parametrize("shares", [[0.5, 0.6], [-0.5, 1.5], [np.nan, 1.0], [[1.0]], []])
def test_bad_shares(shares):
    with pytest.raises(ValueError, match="shares"):
        split(Network([[1.0]], [1.0]), 0, shares)


def test_bad_neurons_and_orders():
    network = Network(np.eye(2), np.ones(2))
    with pytest.raises(ValueError, match="there is no neuron 2"):
        split(network, 2, [1.0])
    with pytest.raises(ValueError, match="permutation"):
        permute(network, [0, 0])
    assert permute(Network(np.zeros((2, 0)), np.zeros((0, 1))), []).width == 0
    with pytest.raises(ValueError, match=r"no neuron 0\.5"):
        split(network, 0.5, [1.0])  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(4))
def test_a_unique_optimum_is_one_orbit(seed):
    """Wherever training starts and however wide it goes: all optima come from the convex one."""
    rng = np.random.default_rng(seed)
    X, y = rng.normal(size=(7, 2)), rng.normal(size=7)
    found = critical_width(X, y, beta=0.2, bias="none")
    assert found.complete
    assert found.optimal.unique
    for k in range(2):
        trained = extremal.fit(X, y, beta=0.2, bias="none", random_state=10 + k, tol=1e-9).network
        assert same_orbit(found.network, trained, tol=1e-3)
    split_up = split(found.network, 0, [0.3, 0.7]).objective(X, y, beta=0.2)
    assert split_up == pytest.approx(found.network.objective(X, y, beta=0.2), rel=1e-14)


# ----------------------------------------------------------------------------------------------------- critical width


def fewest_by_trying(problem: Problem, optimal) -> int:
    """The smallest support of alpha >= 0 with the optimal outputs, by nonnegative least squares over all supports."""
    hidden = np.maximum(problem.design.forward(optimal.U), 0) * optimal.V[:, 0]
    outputs = optimal.network.evaluate(problem.design)[:, 0]
    size = 1e-7 * max(np.linalg.norm(outputs), 1e-300)
    for count in range(optimal.V.shape[0] + 1):
        for support in combinations(range(optimal.V.shape[0]), count):
            if not support and np.linalg.norm(outputs) <= size:
                return 0
            if support and nnls(hidden[:, list(support)], outputs)[1] <= size:
                return count
    raise AssertionError("the optimal neurons do not give the optimal outputs")


@pytest.mark.parametrize("seed", range(8))
def test_the_critical_width_is_the_smallest_support(seed):
    rng = np.random.default_rng(seed)
    X, y = rng.integers(-2, 3, (7, 2)).astype(float), rng.integers(-2, 3, 7).astype(float)
    found = critical_width(X, y, beta=0.05, bias="none")
    problem = Problem.from_data(X, y, beta=0.05, bias="none")
    assert found.complete
    assert found.exact
    assert found.width == found.network.width == fewest_by_trying(problem, found.optimal)
    assert found.width <= found.rank <= found.bound == 7
    truth = reference.solve(X, y, 0.05)
    assert truth.lower * (1 - 1e-8) <= found.network.objective(X, y, beta=0.05) <= truth.upper * (1 + 1e-8)


def test_critical_widths_that_are_known():
    square = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
    # two of the four diagonals, or all four: a segment of optima with ends of two neurons; the rank is three
    found = critical_width(square, np.ones(4), beta=0.2, bias="none")
    assert (found.width, found.lower, found.rank, found.exact) == (2, 2, 3, True)
    assert critical_width(square, np.ones(4), beta=5.0, bias="none").width == 0
    # orthonormal rows: one neuron for each sign
    assert critical_width(np.eye(4), [1.0, 2.0, -1.0, -3.0], beta=0.1, bias="none").width == 2
    assert critical_width([[2.0]], [1.0], beta=0.1, bias="none").width == 1
    assert "critical width             2" in str(found)


@pytest.mark.parametrize("loss", ["logistic", "huber", "squared_hinge"])
def test_critical_widths_of_other_losses(loss):
    rng = np.random.default_rng(5)
    X, y = rng.normal(size=(8, 2)), np.where(np.arange(8) % 3 == 0, 1.0, -1.0)
    for intercept in (False, True):
        found = critical_width(X, y, beta=0.05, loss=loss, intercept=intercept)
        assert found.exact
        assert 0 < found.width <= 8
        best = extremal.fit(X, y, beta=0.05, loss=loss, intercept=intercept).certificate.primal
        assert found.network.objective(X, y, beta=0.05, loss=loss) == pytest.approx(best, rel=1e-7)


def test_without_all_cells_the_width_is_a_bound():
    rng = np.random.default_rng(5)
    X = rng.normal(size=(10, 3))
    few = critical_width(X, X[:, 0], beta=0.1, cells=10)
    assert not few.complete
    assert not few.exact
    assert "at most" in str(few)
    outputs = critical_width(X, X[:, :2], beta=0.1, time_limit=2)
    assert not outputs.complete
    assert outputs.width <= outputs.bound == 20
