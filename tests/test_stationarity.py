"""What kind of point a network is, against closed forms, brute force over directions, programs and attacks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.spatial import ConvexHull, QhullError

import extremal
from extremal import Network, Problem
from extremal.programs import pattern_program
from extremal.stationarity import EscapeKind, Kind

ROOT = np.sqrt(0.9)
ONE_NEURON = Network([[ROOT], [0.0]], [ROOT])
WRONG_TIE = np.array([[1.0, -1.0], [0.0, 1.0]]), np.array([1.0, 1.0])
HELD_TIE = np.array([[1.0, 1.0], [0.0, 1.0]]), np.array([1.0, -1.0])


def objective(network, X, y, beta):
    """The objective of the squared loss, from its definition."""
    outputs = np.maximum(X @ network.hidden, 0) @ network.output + network.intercept
    residual = outputs - np.reshape(y, outputs.shape)
    return 0.5 * np.sum(residual**2) + 0.5 * beta * (np.sum(network.hidden**2) + np.sum(network.output**2))


def slope(network, X, y, beta, W, A):
    """The directional derivative of that objective, row by row."""
    Z = X @ network.hidden
    lam = np.reshape(y, (len(X), -1)) - np.maximum(Z, 0) @ network.output - network.intercept
    total = beta * (np.vdot(network.hidden, W) + np.vdot(network.output, A))
    rates = np.where(Z > 0, X @ W, np.where(Z == 0, np.maximum(X @ W, 0), 0.0))
    return total - np.vdot(lam, rates @ network.output + np.maximum(Z, 0) @ A)


def assert_escape_lowers(found, X, y, beta):
    before, after = objective(found.network, X, y, beta), objective(found.escape.network, X, y, beta)
    assert after < before
    assert found.escape.objective == pytest.approx(after, rel=1e-12)
    assert found.escape.decrease == pytest.approx(before - after, rel=1e-6, abs=1e-12 * before)
    assert found.escape.slope < 0


def attack(found, X, y, beta, rng, rounds=300, radius=1e-2):
    """No perturbation of a local minimum lowers the objective; directions are sparse in part, sizes from tiny up."""
    net, value = found.network, objective(found.network, X, y, beta)
    for _ in range(rounds):
        size = radius * 10.0 ** rng.uniform(-6, 0)
        keep = rng.random(net.width) < rng.choice([0.3, 1.0])
        W = size * rng.standard_normal(net.hidden.shape) * keep
        A = size * rng.standard_normal(net.output.shape) * keep[:, None]
        moved = Network(net.hidden + W, net.output + A, net.intercept)
        assert objective(moved, X, y, beta) >= value - 1e-14


# The three counter-examples to "Clarke stationary points are global optima of their own patterns' program"


def test_the_zero_network_is_stationary_but_no_minimum_if_it_has_a_neuron():
    """(1 - (u)_+ a)^2 + 1/2 (u^2 + a^2), halved: 1/2 at zero, 3/8 at u = a = 1/sqrt(2)."""
    found = extremal.stationarity(Network([[0.0]], [0.0]), [[1.0]], [1.0], beta=0.5)
    assert found.kind is Kind.DIRECTIONAL
    assert found.dead.tolist() == [0]
    assert found.clarke_distance == found.descent_rate == 0.0
    assert found.local_minimum is False
    assert found.objective == 0.5
    assert found.escape.objective == pytest.approx(0.375, rel=1e-12)
    assert found.escape.network.width == 1
    assert found.escape.slope == pytest.approx(0.5 - 1.0, rel=1e-12)  # beta - lam
    assert abs(found.escape.network.hidden[0, 0]) == pytest.approx(np.sqrt(0.5), rel=1e-5)
    problem = Problem.from_data([[1.0]], [1.0], beta=0.5, bias="none")
    assert pattern_program(problem, [[True]]).value == pytest.approx(0.375, rel=1e-7)
    with pytest.raises(ValueError, match="no pattern"):
        found.signed_program()


def test_without_any_neuron_the_zero_network_has_no_weights_to_perturb():
    found = extremal.stationarity(Network.zero(1), [[1.0]], [1.0], beta=0.5)
    assert found.kind is Kind.DIRECTIONAL
    assert found.local_minimum is True
    assert found.escape.kind is EscapeKind.NEURON
    assert found.escape.network.width == 1


def test_a_tie_of_the_wrong_sign():
    X, y = WRONG_TIE
    found = extremal.stationarity(ONE_NEURON, X, y, beta=0.1)
    assert found.kind is Kind.CLARKE_ONLY
    assert found.local_minimum is False
    assert found.objective == pytest.approx(0.595, abs=1e-15)
    assert found.clarke_residual < 1e-14
    assert found.wrong.tolist() == [1]
    # along (0, 1): a x_1.p (-lam_1) - lam_2 a (x_2.p)_+ = a (0.1 - 1)
    assert found.descent_rate == pytest.approx(0.9 * ROOT, rel=1e-12)
    assert found.escape.slope == pytest.approx(-0.9 * ROOT, rel=1e-12)
    assert np.abs(found.escape.hidden[:, 0]) == pytest.approx([0, 1], abs=1e-14)
    assert_escape_lowers(found, X, y, 0.1)
    problem = Problem.from_data(X, y, beta=0.1, bias="none")
    values = [pattern_program(problem, p).value for p in ([[1, 1]], [[1, 0]], [[1, 1], [1, 0]])]
    assert values == pytest.approx([0.2106, 0.5682, 0.1996], abs=1e-4)
    assert extremal.fit(X, y, beta=0.1, bias="none").certificate.primal == pytest.approx(0.1632, abs=1e-4)


def test_a_local_minimum_that_the_program_with_both_signs_undercuts():
    X, y = HELD_TIE
    found = extremal.stationarity(ONE_NEURON, X, y, beta=0.1)
    assert found.kind is Kind.DIRECTIONAL
    assert found.local_minimum is True
    assert found.wrong.tolist() == [0]
    assert found.ties.tolist() == [1]
    assert found.signed_program().value == pytest.approx(0.595, rel=1e-7)
    assert found.signed_program(completions=True).value == pytest.approx(0.595, rel=1e-7)
    assert pattern_program(found.problem, [[True, True]]).value == pytest.approx(0.226421, abs=1e-6)
    assert found.escape.kind is EscapeKind.NEURON
    assert_escape_lowers(found, X, y, 0.1)
    attack(found, X, y, 0.1, np.random.default_rng(0), rounds=2000)


# One neuron (e_1, 1) with ties, where every multiplier can be prescribed: brute force over its boundary


def tied_neuron(rows, lam, pull, beta):
    """Data for which w = e_1, a = 1 has the ties (0, rows) with multipliers lam, and h(p) = -beta pull . p - ...

    One active row (1, pull) with multiplier beta balances w and a; y is the output plus lam.
    """
    X = np.vstack([np.append(1.0, pull), np.column_stack([np.zeros(len(rows)), rows])])
    y = np.append(1.0 + beta, lam)
    return Network(np.eye(X.shape[1])[:, :1], [1.0]), X, y


@st.composite
def planar(draw):
    """Ties in the plane: small integers, so that lines coincide, oppose each other and depend on each other."""
    k = draw(st.integers(1, 5))
    pairs = st.tuples(st.integers(-2, 2), st.integers(-2, 2)).filter(any)
    rows = np.array(draw(st.lists(pairs, min_size=k, max_size=k)), dtype=float)
    lam = np.array(draw(st.lists(st.integers(-3, 2), min_size=k, max_size=k)), dtype=float)
    pull = np.array(draw(st.tuples(st.integers(-4, 4), st.integers(-4, 4))), dtype=float)
    return rows, lam, pull


def arcs(rows):
    """The angles at which a row's sign changes, and the middles of the arcs between them."""
    angles = np.arctan2(rows[:, 1], rows[:, 0])
    ends = np.unique(np.round(np.concatenate([angles + np.pi / 2, angles - np.pi / 2]) % (2 * np.pi), 12))
    return ends, 0.5 * (ends + np.append(ends[1:], ends[0] + 2 * np.pi))


def circle(angles):
    return np.column_stack([np.cos(angles), np.sin(angles)])


def steepest_in_the_plane(rows, lam, pull):
    """max over |p| <= 1 of pull . p + sum lam (rows . p)_+: on each arc it is v . p, largest at v/|v| or an end."""
    ends, middles = arcs(rows)
    gradients = [pull + lam[rows @ p > 0] @ rows[rows @ p > 0] for p in circle(middles)]
    lengths = [np.linalg.norm(v) for v in gradients]
    points = [*circle(ends), *(v / n for v, n in zip(gradients, lengths, strict=True) if n > 1e-12)]
    return max(0.0, *(pull @ p + lam @ np.maximum(rows @ p, 0) for p in points)), np.array(gradients)


def distance_from_hull(points):
    """Of 0 in the plane."""
    try:
        if np.all(ConvexHull(points).equations[:, -1] <= 1e-12):
            return 0.0
    except QhullError:
        pass
    best = np.inf
    for p in points:
        for q in points:
            t = np.clip(p @ (p - q) / max((p - q) @ (p - q), 1e-300), 0, 1)
            best = min(best, np.linalg.norm(p + t * (q - p)))
    return best


@settings(max_examples=60)
@given(planar())
def test_clarke_and_descent_against_all_arcs_of_the_plane(data):
    rows, lam, pull = data
    beta = 1.0
    network, X, y = tied_neuron(rows, lam, pull, beta)
    rate, gradients = steepest_in_the_plane(rows, lam, pull)
    found = extremal.stationarity(network, X, y, beta=beta)
    assert found.descent_rate == pytest.approx(rate, abs=1e-9)
    assert found.clarke_distance == pytest.approx(distance_from_hull(gradients), abs=1e-9)
    assert found.descent_rate >= found.clarke_distance - 1e-12
    program = found.signed_program(completions=True).value
    if rate > 1e-9:
        assert found.kind in (Kind.CLARKE_ONLY, Kind.NOT_STATIONARY)
        assert found.local_minimum is False
        assert (found.kind is Kind.CLARKE_ONLY) == (found.clarke_distance < 1e-9)
        assert slope(network, X, y, beta, found.escape.hidden, found.escape.output) == pytest.approx(-rate, rel=1e-9)
        assert_escape_lowers(found, X, y, beta)
        assert program < found.objective * (1 - 1e-7)
    else:
        assert found.kind in (Kind.DIRECTIONAL, Kind.GLOBAL)
        assert found.local_minimum is True
        assert program == pytest.approx(found.objective, rel=1e-7)
        assert found.signed_program().value == pytest.approx(found.objective, rel=1e-7)
        attack(found, X, y, beta, np.random.default_rng(1), rounds=100)


def test_the_plane_offers_every_kind():
    kinds = set()
    rng = np.random.default_rng(0)
    for _ in range(40):
        rows, lam = rng.integers(-2, 3, (4, 2)).astype(float), rng.integers(-3, 2, 4).astype(float)
        network, X, y = tied_neuron(rows, lam, rng.integers(-2, 3, 2).astype(float), 1.0)
        kinds.add(extremal.stationarity(network, X, y, beta=1.0).kind)
    assert kinds >= {Kind.NOT_STATIONARY, Kind.CLARKE_ONLY, Kind.DIRECTIONAL}


def test_dependent_ties_do_not_take_all_sides():
    """Of e_1, e_2 and e_1 + e_2 not every choice of sides is a cell: multipliers in a box would say stationary."""
    rows, lam = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]), np.array([1.0, 1.0, -1.0])
    _, gradients = steepest_in_the_plane(rows, lam, np.zeros(2))
    inside_box = np.array([0.9, 0.9])  # theta = (.9, .9, 0)
    assert distance_from_hull(gradients - inside_box) > 0.5
    network, X, y = tied_neuron(rows, lam, -inside_box, 1.0)
    found = extremal.stationarity(network, X, y, beta=1.0)
    assert found.kind is Kind.NOT_STATIONARY
    assert found.clarke_distance == pytest.approx(distance_from_hull(gradients - inside_box), rel=1e-9)


@pytest.mark.parametrize("k", [6, 14])
def test_many_wrong_signs_against_ascent_from_many_directions(k):
    """In four dimensions, with subsets and with cells: no direction is steeper, and ascent reaches the rate."""
    rng = np.random.default_rng(k)
    rows, lam, pull = rng.standard_normal((k + 3, 4)), np.append(rng.random(k), -rng.random(3)), rng.standard_normal(4)
    network, X, y = tied_neuron(rows, lam, pull, 1.0)
    found = extremal.stationarity(network, X, y, beta=1.0)
    assert found.wrong.tolist() == [k]
    P = rng.standard_normal((20000, 4))
    P /= np.linalg.norm(P, axis=1, keepdims=True)
    values = P @ pull + np.maximum(P @ rows.T, 0) @ lam
    assert values.max() <= found.descent_rate * (1 + 1e-12)
    best = max(
        -minimize(lambda p: -(pull @ p + lam @ np.maximum(rows @ p, 0)) / np.linalg.norm(p), p, method="BFGS").fun
        for p in P[np.argsort(-values)[:5]]
    )
    assert found.descent_rate == pytest.approx(best, rel=1e-6)
    assert found.descent_bound == pytest.approx(found.descent_residual, rel=1e-6)


def test_without_time_for_the_cells_the_bound_is_honest():
    rng = np.random.default_rng(3)
    rows, lam = rng.standard_normal((40, 9)), rng.random(40)
    network, X, y = tied_neuron(rows, lam, rng.standard_normal(9), 1.0)
    found = extremal.stationarity(network, X, y, beta=1.0, time_limit=0.0)
    assert found.descent_bound > found.descent_residual > 1
    assert slope(network, X, y, 1.0, found.escape.hidden, found.escape.output) == pytest.approx(-found.descent_rate)


# Networks of several neurons


def random_case(seed, n=8, d=3, m=5):
    rng = np.random.default_rng(seed)
    X, y = rng.standard_normal((n, d)), rng.standard_normal(n)
    return X, y, Network(rng.standard_normal((d, m)), rng.standard_normal(m)), rng


@pytest.mark.parametrize("seed", range(5))
def test_no_direction_is_steeper_than_the_steepest_and_differences_agree(seed):
    X, y, network, rng = random_case(seed)
    network.hidden[:, 0] = np.linalg.svd(X[:2])[2][2]  # two ties, made exact
    X[:2] -= np.outer(X[:2] @ network.hidden[:, 0], network.hidden[:, 0])
    found = extremal.stationarity(network, X, y, beta=0.1)
    assert found.kind is Kind.NOT_STATIONARY
    assert found.ties.tolist() == [2, 0, 0, 0, 0]
    for _ in range(2000):
        W, A = rng.standard_normal(network.hidden.shape), rng.standard_normal(network.output.shape)
        size = np.sqrt(np.sum(W**2) + np.sum(A**2))
        assert slope(network, X, y, 0.1, W / size, A / size) >= -found.descent_rate
    step = 1e-7
    moved = Network(network.hidden + step * found.escape.hidden, network.output + step * found.escape.output)
    difference = (objective(moved, X, y, 0.1) - objective(network, X, y, 0.1)) / step
    assert difference == pytest.approx(-found.descent_rate, rel=1e-5)
    assert found.escape.slope == pytest.approx(-found.descent_rate, rel=1e-12)
    assert_escape_lowers(found, X, y, 0.1)


def descended(X, y, beta, network, steps=20000):
    """Subgradient descent with falling last steps; rows whose side still flips then are ties, the rest is smooth."""
    W, A = network.hidden.copy(), network.output[:, 0].copy()
    flips, last = 0, X @ W > 0
    for k in range(steps):
        eta = 0.02 / max(1.0, 0.01 * (k - 0.7 * steps))
        Z = X @ W
        lam = y - np.maximum(Z, 0) @ A
        G = X.T @ ((Z > 0) * np.outer(lam, A)) - beta * W
        A = A + eta * (np.maximum(Z, 0).T @ lam - beta * A)
        W = W + eta * G
        if k > 0.8 * steps:
            flips = flips + ((Z > 0) != last)
        last = Z > 0
    alive = np.linalg.norm(W, axis=0) * np.abs(A) > 1e-3
    W, A, tied = W[:, alive], A[alive], (flips > 10)[:, alive]
    active = (X @ W > 0) & ~tied
    bases = [null(X[t]) for t in tied.T]
    cuts = np.cumsum([0, *(B.shape[1] for B in bases)])

    def unpack(theta):
        parts = [B @ theta[i:j] for B, i, j in zip(bases, cuts[:-1], cuts[1:], strict=True)]
        return np.column_stack(parts), theta[cuts[-1] :]

    def smooth(theta):
        W, A = unpack(theta)
        Z = active * (X @ W)
        lam = y - Z @ A
        G = beta * W - X.T @ (active * np.outer(lam, A))
        gradient = np.concatenate([*(B.T @ g for B, g in zip(bases, G.T, strict=True)), beta * A - Z.T @ lam])
        return 0.5 * lam @ lam + 0.5 * beta * theta @ theta, gradient

    start = np.concatenate([*(B.T @ w for B, w in zip(bases, W.T, strict=True)), A])
    theta = minimize(smooth, start, jac=True, method="BFGS", options={"gtol": 1e-11, "maxiter": 5000}).x
    return Network(*unpack(theta))


def null(rows):
    return np.linalg.svd(np.vstack([rows, np.zeros((1, rows.shape[1]))]))[2][
        np.linalg.matrix_rank(rows) if len(rows) else 0 :
    ].T


@pytest.mark.parametrize("seed", range(6))
def test_where_subgradient_descent_ends(seed):
    """Directionally stationary, a local minimum, and the optimum of the signed program of its own patterns."""
    X, y, start, rng = random_case(seed, n=8, d=3, m=6)
    network = descended(X, y, 0.1, Network(0.5 * start.hidden, 0.5 * start.output))
    found = extremal.stationarity(network, X, y, beta=0.1, tol=1e-5)
    assert found.kind in (Kind.DIRECTIONAL, Kind.GLOBAL), str(found)
    assert found.local_minimum is True
    assert found.signed_program().value == pytest.approx(found.objective, rel=1e-6)
    attack(found, X, y, 0.1, rng, rounds=500, radius=1e-3)
    if found.escape is not None:
        assert_escape_lowers(found, X, y, 0.1)


@pytest.mark.parametrize("loss", ["squared", "logistic", "huber", "squared_hinge"])
def test_trained_networks_are_global(loss):
    X, y, _, _ = random_case(1, n=12)
    target = np.where(y > 0, 1, -1) if loss in ("logistic", "squared_hinge") else y
    fitted = extremal.fit(X, target, beta=0.2, loss=loss, intercept=loss != "squared")
    found = extremal.stationarity(fitted.network, X, target, beta=0.2, loss=loss, intercept=loss != "squared")
    assert found.kind is Kind.GLOBAL
    assert found.local_minimum is True
    assert found.escape is None
    assert found.descent_residual < 1e-6
    assert found.signed_program().value == pytest.approx(found.objective, rel=1e-6)


def test_trained_networks_of_several_outputs_are_global():
    X, _, _, rng = random_case(2, n=10)
    Y = rng.standard_normal((10, 2))
    found = extremal.stationarity(extremal.fit(X, Y, beta=0.5).network, X, Y, beta=0.5)
    assert found.kind is Kind.GLOBAL
    assert found.local_minimum is True
    with pytest.raises(ValueError, match="one output"):
        found.signed_program()


def two_outputs(across):
    """w = e_1, a = e_1 with X^T lam = diag(1, across): stationary for beta = 1, of curvature beta -+ across."""
    X = np.array([[1.0, 0.5], [1.0, -0.5]])
    lam = np.linalg.solve(X.T, np.diag([1.0, across]))
    network = Network([[1.0], [0.0]], [[1.0, 0.0]])
    return network, X, np.maximum(X @ network.hidden, 0) @ network.output + lam


def test_several_outputs_have_curvature_to_look_at():
    network, X, Y = two_outputs(0.9)
    held = extremal.stationarity(network, X, Y, beta=1.0)
    assert held.descent_residual < 1e-14
    assert held.local_minimum is True
    attack(held, X, Y, 1.0, np.random.default_rng(0), rounds=1000)
    network, X, Y = two_outputs(3.0)
    loose = extremal.stationarity(network, X, Y, beta=1.0)
    assert loose.kind is Kind.DIRECTIONAL
    assert loose.local_minimum is None
    assert_escape_lowers(loose, X, Y, 1.0)


def test_ties_of_several_outputs_hold_strictly():
    """The held tie of one output, with a second output that is zero everywhere."""
    X, y = HELD_TIE
    Y = np.column_stack([y, np.zeros(2)])
    network = Network(ONE_NEURON.hidden, np.column_stack([ONE_NEURON.output, [0.0]]))
    found = extremal.stationarity(network, X, Y, beta=0.1)
    assert found.kind is Kind.DIRECTIONAL
    assert found.local_minimum is True
    attack(found, X, Y, 0.1, np.random.default_rng(0))


def test_a_neuron_with_weights_in_one_layer_only_is_not_stationary():
    X, y = HELD_TIE
    for extra in (([0.3, 0.0], 0.0), ([0.0, 0.0], 0.3)):
        network = Network(np.column_stack([ONE_NEURON.hidden, extra[0]]), [ROOT, extra[1]])
        found = extremal.stationarity(network, X, y, beta=0.1)
        assert found.kind is Kind.NOT_STATIONARY
        assert found.descent_residual >= 1 - 1e-12
        assert found.dead.size == 0
        assert_escape_lowers(found, X, y, 0.1)


def test_a_dead_neuron_turns_a_local_minimum_into_none():
    X, y = HELD_TIE
    network = Network(np.column_stack([ONE_NEURON.hidden, [0.0, 0.0]]), [ROOT, 0.0])
    found = extremal.stationarity(network, X, y, beta=0.1)
    assert found.kind is Kind.DIRECTIONAL
    assert found.local_minimum is False
    assert found.escape.network.width == 2
    assert found.signed_program().value == pytest.approx(0.595, rel=1e-7)


def test_a_vanishing_neuron_is_dead_whatever_its_direction():
    """Its own residual, relative to its size, says nothing about the network."""
    X, y = HELD_TIE
    network = Network(np.column_stack([ONE_NEURON.hidden, [1e-9, -2e-9]]), [ROOT, 1e-9])
    found = extremal.stationarity(network, X, y, beta=0.1)
    assert found.dead.tolist() == [1]
    assert found.kind is Kind.DIRECTIONAL
    assert found.clarke_distance > 0
    assert found.local_minimum is False


# Invariances and input


@pytest.mark.parametrize("case", [WRONG_TIE, HELD_TIE])
@pytest.mark.parametrize(("s", "t"), [(1e-120, 1.0), (3.7, 1e60), (1e100, 1e-40), (1.0, 2e3)])
def test_scaling_changes_nothing(case, s, t):
    """X -> s X, y -> t y: the same point is sqrt(t/s) theta, for beta s t."""
    X, y = case
    plain = extremal.stationarity(ONE_NEURON, X, y, beta=0.1)
    root = np.sqrt(t) / np.sqrt(s)
    network = Network(root * ONE_NEURON.hidden, root * ONE_NEURON.output)
    found = extremal.stationarity(network, s * X, t * y, beta=0.1 * s * t)
    assert found.kind is plain.kind
    assert found.local_minimum == plain.local_minimum
    assert found.descent_residual == pytest.approx(plain.descent_residual, abs=1e-12, rel=1e-12)
    assert found.escape.objective / t**2 == pytest.approx(plain.escape.objective, rel=1e-6)
    assert found.descent_rate == pytest.approx(plain.descent_rate * t**2 / root, abs=1e-12 * t**2 / root, rel=1e-9)


def test_order_of_rows_and_neurons_changes_nothing():
    X, y, network, rng = random_case(7)
    rows, neurons = rng.permutation(len(X)), rng.permutation(network.width)
    plain = extremal.stationarity(network, X, y, beta=0.1)
    other = Network(network.hidden[:, neurons], network.output[neurons])
    found = extremal.stationarity(other, X[rows], y[rows], beta=0.1)
    assert found.kind is plain.kind
    assert found.descent_rate == pytest.approx(plain.descent_rate, rel=1e-12)
    assert found.clarke_residual == pytest.approx(plain.clarke_residual, rel=1e-12)


def test_weights_are_repeated_rows():
    X, y = HELD_TIE
    weighted = extremal.stationarity(ONE_NEURON, X, y, beta=0.1, sample_weight=[2.0, 3.0])
    repeated = extremal.stationarity(ONE_NEURON, X[[0, 0, 1, 1, 1]], y[[0, 0, 1, 1, 1]], beta=0.1)
    assert weighted.descent_rate == pytest.approx(repeated.descent_rate, rel=1e-12)
    assert weighted.clarke_distance == pytest.approx(repeated.clarke_distance, rel=1e-12)


def test_a_component_outside_the_row_space_is_seen():
    """It changes no output and costs norm."""
    X, y = HELD_TIE
    network = Network(np.vstack([ONE_NEURON.hidden, [[0.1]]]), ONE_NEURON.output)
    found = extremal.stationarity(network, np.column_stack([X, np.zeros(2)]), y, beta=0.1)
    assert found.kind is Kind.NOT_STATIONARY
    assert found.clarke_distance == pytest.approx(0.1 * 0.1, rel=1e-9)


def test_a_free_intercept_has_its_own_gradient():
    X, y = HELD_TIE
    fitted = extremal.stationarity(ONE_NEURON, X, y, beta=0.1, intercept=True)
    assert fitted.clarke_distance == pytest.approx(abs(0.1 - 1.0), rel=1e-12)
    assert fitted.escape.intercept[0] == pytest.approx(-1.0)
    assert_escape_lowers(fitted, X, y, 0.1)


def test_zero_rows_and_other_containers():
    X, y = HELD_TIE
    longer = np.vstack([X, np.zeros((1, 2))])
    found = extremal.stationarity(ONE_NEURON, longer.astype(np.float32), np.append(y, 0.5), beta=0.1)
    assert found.local_minimum is True
    assert found.ties.tolist() == [1]
    from scipy import sparse

    same = extremal.stationarity(ONE_NEURON, sparse.csr_array(longer), np.append(y, 0.5), beta=0.1)
    assert same.descent_residual == pytest.approx(found.descent_residual, abs=1e-14)
    assert same.signed_program(completions=True).value == pytest.approx(found.objective, rel=1e-7)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"X": [[1.0, np.nan], [0.0, 1.0]]}, "NaN"),
        ({"X": [1.0, 2.0]}, "two-dimensional|Expected 2D"),
        ({"X": np.ones((2, 3))}, "maps 2 features"),
        ({"y": [1.0]}, "rows"),
        ({"y": np.ones((2, 2))}, "outputs"),
        ({"beta": -1.0}, "beta"),
        ({"beta": np.nan}, "beta"),
        ({"tol": 0.0}, "tol"),
        ({"tie": 2.0}, "tie"),
        ({"loss": "absolute"}, "unknown loss"),
        ({"sample_weight": [1.0]}, "sample_weight"),
    ],
)
def test_bad_input(change, message):
    X, y = HELD_TIE
    with pytest.raises(ValueError, match=message):
        extremal.stationarity(ONE_NEURON, **{"X": X, "y": y, "beta": 0.1, **change})


def test_it_prints_what_it_found():
    X, y = WRONG_TIE
    text = str(extremal.stationarity(ONE_NEURON, X, y, beta=0.1))
    assert "Clarke stationary only" in text
    assert "ties (wrong sign)          1 (1)" in text
    assert "0.403" in text
