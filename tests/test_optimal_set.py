"""The optimal set: known polytopes, members of equal objective, and CVXPY's answers to the same questions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.special import logit

import extremal
import rational
import reference
from extremal.network import Network
from extremal.problem import Problem
from extremal.programs.optimal_set import multiplier_error, optimal_set
from extremal.programs.sharpen import residual, sharpen

#: Four points with a square's symmetry, and the four optimal neurons for constant targets.
SQUARE = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
DIAGONALS = np.array([[1.0, -1.0, -1.0, 1.0], [1.0, 1.0, -1.0, -1.0]]) / np.sqrt(2)
BETA = 0.2


def square_network(level, intercept=0.0, outer=(1.0,)):
    """The network of the neurons (1, 1) and (-1, -1) that is `level` on the square's four points."""
    root = np.sqrt(np.sqrt(2) * level)
    outer = np.outer([root, root], outer)
    return Network(DIAGONALS[:, [0, 2]] * root, outer, np.full(outer.shape[1], intercept))


#: The squared loss: 4 (1 - level) = 2 sqrt(2) beta.
LEVEL = 1 - BETA / np.sqrt(2)


def square_set(loss="squared", level=LEVEL):
    problem = Problem.from_data(SQUARE, np.ones(4), beta=BETA, bias="none", loss=loss)
    return optimal_set(problem, square_network(level), patterns=reference.cells(SQUARE)), level


@pytest.mark.parametrize(("loss", "level"), [("squared", LEVEL), ("logistic", -logit(BETA / np.sqrt(2)))])
def test_the_square_has_a_segment_of_optimal_networks(loss, level):
    # lam is constant, and lam^T (Xu)_+ = lam (|u_1| + |u_2|) is largest at the diagonals. Their fits are dependent,
    # z_1 + z_3 = z_2 + z_4, and the stationarity of loss + 2 sqrt(2) beta level in the level gives the level.
    optimal, level = square_set(loss, level=level)
    assert (optimal.dimension, optimal.function_dimension, optimal.rank, optimal.unique) == (1, 1, 3, False)
    assert np.allclose(sorted(optimal.U.T.tolist()), sorted(DIAGONALS.T.tolist()), atol=1e-12)
    assert np.allclose(optimal.ranges, [0.0, np.sqrt(2) * level], atol=1e-9)
    assert np.allclose(optimal.least_norm().amplitudes, level / np.sqrt(2), atol=1e-7)
    found = optimal.sparsest()
    assert (found.member.width, found.vertices) == (2, 2)
    around = optimal.prediction_range([1.0, 1.0])
    assert (around.low, around.high) == pytest.approx((0.0, 2 * level), abs=1e-9)
    on_data = optimal.prediction_range([0.0, 3.0])
    assert (on_data.low, on_data.high) == pytest.approx((3 * level, 3 * level), abs=1e-9)
    for member in (optimal.given(), found.member, around.lowest, around.highest, optimal.least_norm()):
        assert abs(member.excess) <= 1e-12
        assert member.fit_difference <= 1e-9


def test_validation_data_choose_along_the_segment():
    optimal, level = square_set()
    for target in (0.3, 1.0, 5.0):  # f(1, 1) runs from 0 to 2 level
        member = optimal.best_on([[1.0, 1.0]], [target])
        assert member.network.predict([[1.0, 1.0]])[0, 0] == pytest.approx(min(target, 2 * level), abs=1e-8)
    weighed = optimal.best_on([[1.0, 1.0], [1.0, 1.0]], [0.0, 1.0], sample_weight=[1.0, 3.0])
    assert weighed.network.predict([[1.0, 1.0]])[0, 0] == pytest.approx(0.75, abs=1e-8)
    # huber: of the targets 0 (three times) and 100, the errors beyond delta pull with a constant force delta
    robust = optimal.best_on([[1.0, 1.0]] * 4, [0.0, 0.0, 0.0, 100.0], loss="huber")
    assert robust.network.predict([[1.0, 1.0]])[0, 0] == pytest.approx(1.35 / 3, abs=1e-6)
    assert abs(robust.excess) <= 1e-12
    # logistic: w_+ log(1 + exp(-v)) + w_- log(1 + exp(v)) is least at v = log(w_+ / w_-)
    labels, _ = square_set("logistic", level=-logit(BETA / np.sqrt(2)))
    chosen = labels.best_on([[1.0, 1.0]] * 4, [1, 1, 1, -1])
    assert chosen.network.predict([[1.0, 1.0]])[0, 0] == pytest.approx(np.log(3), abs=1e-6)


def test_a_free_intercept_is_part_of_the_polytope():
    X = np.vstack([SQUARE, np.zeros(2)])
    b = 2 * np.sqrt(2) * BETA  # from stationarity in b and in the level, see the segment above
    level = 1 - BETA / np.sqrt(2) - b
    problem = Problem.from_data(X, [1.0, 1.0, 1.0, 1.0, 0.0], beta=BETA, bias="none", intercept=True)
    optimal = optimal_set(problem, square_network(level, b), patterns=reference.cells(X))
    assert (optimal.dimension, optimal.function_dimension) == (1, 1)
    assert optimal.least_norm().network.intercept[0] == pytest.approx(b, abs=1e-9)
    around = optimal.prediction_range([1.0, 1.0])
    assert (around.low, around.high) == pytest.approx((b, b + 2 * level), abs=1e-9)


def test_several_outputs_have_the_same_polytope_with_vector_fits():
    outer = np.array([0.6, -0.8])
    problem = Problem.from_data(SQUARE, np.outer(np.ones(4), outer), beta=BETA, bias="none")
    network = square_network(LEVEL, outer=outer)
    assert optimal_set(problem, network).unique  # on its own neurons
    optimal = optimal_set(problem, network, directions=3 * DIAGONALS)
    assert (optimal.dimension, optimal.rank) == (1, 3)
    assert np.allclose(optimal.V, outer, atol=1e-12)
    around = optimal.prediction_range([1.0, 1.0], output=1)
    assert (around.low, around.high) == pytest.approx((-1.6 * LEVEL, 0.0), abs=1e-9)
    with pytest.raises(ValueError, match="several outputs"):
        optimal_set(problem, network, patterns=reference.cells(SQUARE))


def test_softmax_with_two_classes():
    # along (-1, 1) / sqrt(2) the loss of class 1 is log(1 + exp(-sqrt(2) level)), with |lam_i| = sqrt(2) (1 - p)
    outer = np.array([-1.0, 1.0]) / np.sqrt(2)
    level = logit(1 - BETA / 2) / np.sqrt(2)
    problem = Problem.from_data(SQUARE, np.ones(4), beta=BETA, bias="none", loss="softmax")
    optimal = optimal_set(problem, square_network(level, outer=outer), directions=DIAGONALS)
    assert optimal.dimension == 1
    around = optimal.prediction_range([1.0, 1.0], output=1)
    assert (around.low, around.high) == pytest.approx((0.0, np.sqrt(2) * level), abs=1e-9)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_orthonormal_rows_have_the_unique_network_of_the_closed_form(seed):
    # Ergen & Pilanci (2021), Theorem 9: X^T y_+ / |y_+| and X^T (-y)_+ / |y_-| with amplitudes |y_+-| - beta
    rng = np.random.default_rng(seed)
    X = np.linalg.qr(rng.normal(size=(5, 5)))[0][:4]
    y = np.array([1.0, 2.0, -1.5, -0.5]) * rng.uniform(0.8, 1.2, 4)
    result = extremal.fit(X, y, beta=BETA, bias="none", tol=1e-9)
    problem = Problem.from_data(X, y, beta=BETA, bias="none")
    optimal = optimal_set(problem, result.network, patterns=reference.cells(X @ X.T))
    sizes = np.array([np.linalg.norm(np.maximum(y, 0)), np.linalg.norm(np.maximum(-y, 0))])
    assert optimal.unique
    assert (optimal.dimension, optimal.function_dimension, optimal.rank) == (0, 0, 2)
    order = np.argsort(-optimal.V[:, 0])
    assert np.allclose(optimal.U[:, order[0]], X.T @ np.maximum(y, 0) / sizes[0], atol=1e-10)
    assert np.allclose(optimal.U[:, order[1]], X.T @ np.maximum(-y, 0) / sizes[1], atol=1e-10)
    assert np.allclose(optimal.ranges[order], (sizes - BETA)[:, None], atol=1e-10)
    assert optimal.sparsest().member.width == optimal.prune().width == 2


def by_interior_point(seed, n=9, d=2, beta=0.05):
    """A problem and the network that an interior-point method returns: on the whole optimal set, not at a vertex."""
    rng = np.random.default_rng(seed)
    X, y = rng.normal(size=(n, d)), rng.normal(size=n)
    problem = Problem.from_data(X, y, beta=beta)
    truth = reference.solve(X, y, beta, bias="penalized")
    return problem, truth.patterns, Network(truth.hidden, truth.output, bias=True)


@pytest.mark.parametrize("seed", [2, 4, 5, 17, 22])
def test_an_interior_point_has_dependent_fits_and_a_vertex_has_not(seed):
    problem, patterns, network = by_interior_point(seed)
    optimal = optimal_set(problem, network, patterns=patterns)
    assert optimal.residual < 1e-10
    rng = np.random.default_rng(seed)
    members = [optimal.vertex(rng.normal(size=len(optimal.V))) for _ in range(3)]
    members += [optimal.sparsest().member, optimal.prune()]
    for member in members:
        assert member.width <= min(optimal.rank, problem.design.n)
        fits = fits_of(problem, member.network)
        assert np.linalg.matrix_rank(fits, tol=1e-9 * np.linalg.norm(fits, 2)) == member.width
        assert abs(member.excess) <= 1e-8 * optimal.objective
        assert member.amplitudes.sum() == pytest.approx(optimal.given().amplitudes.sum(), rel=1e-12)
        # independently of the given network's own error: all members agree
        assert member.objective == pytest.approx(optimal.given().objective, rel=1e-12)
        assert np.allclose(member.network.evaluate(problem.design), optimal.given().network.evaluate(problem.design))


def fits_of(problem, network):
    return np.maximum(problem.design.forward(network.hidden), 0)


@pytest.mark.parametrize("seed", [4, 17, 22])
def test_some_interior_points_have_more_neurons_than_independent_fits(seed):
    problem, patterns, network = by_interior_point(seed)
    optimal = optimal_set(problem, network, patterns=patterns)
    assert optimal.given().width > optimal.rank
    assert optimal.dimension == optimal.given().width - optimal.rank
    assert optimal.prune().width == optimal.rank
    assert abs(optimal.prune().objective - optimal.given().objective) <= 1e-13 * optimal.objective


@pytest.mark.parametrize("seed", [4, 5, 17, 22])
def test_cvxpy_agrees_on_ranges_least_norm_and_validation(seed):
    import cvxpy as cp

    problem, patterns, network = by_interior_point(seed)
    optimal = optimal_set(problem, network, patterns=patterns)
    Z = fits_of(problem, replace(optimal.network, hidden=optimal.U, output=optimal.V)) * optimal.V[:, 0]
    yhat = optimal.network.evaluate(problem.design)[:, 0]
    alpha = cp.Variable(len(optimal.V), nonneg=True)
    inside = [Z @ alpha == yhat]
    tight = {"solver": cp.CLARABEL, "tol_gap_abs": 1e-10, "tol_gap_rel": 1e-10, "tol_feas": 1e-10}
    for k in range(0, len(optimal.V), 4):
        low = cp.Problem(cp.Minimize(alpha[k]), inside).solve(**tight)
        high = cp.Problem(cp.Maximize(alpha[k]), inside).solve(**tight)
        assert optimal.ranges[k] == pytest.approx((low, high), rel=1e-6, abs=2e-6)
    smallest = cp.Problem(cp.Minimize(cp.sum_squares(alpha)), inside).solve(**tight)
    assert np.square(optimal.least_norm().amplitudes).sum() == pytest.approx(smallest, rel=1e-6)
    rng = np.random.default_rng(seed)
    V, v = rng.normal(size=(7, 2)), rng.normal(size=7)
    maps = np.maximum(np.column_stack([V, np.ones(7)]) @ optimal.U, 0) * optimal.V[:, 0]
    best = cp.Problem(cp.Minimize(0.5 * cp.sum_squares(maps @ alpha - v)), inside).solve(**tight)
    member = optimal.best_on(V, v)
    assert 0.5 * np.square(member.network.predict(V)[:, 0] - v).sum() == pytest.approx(best, rel=1e-6)
    for other in (member, optimal.least_norm()):
        assert other.objective == pytest.approx(optimal.given().objective, rel=1e-11)


@pytest.mark.parametrize("seed", [0, 4, 17])
def test_generic_data_have_one_optimal_function(seed):
    problem, patterns, network = by_interior_point(seed, beta=0.02)
    optimal = optimal_set(problem, network, patterns=patterns)
    points = np.random.default_rng(seed).normal(size=(12, 2)) * 2
    widest = max(around.high - around.low for around in map(optimal.prediction_range, points))
    # in general position only pairs u, -u are dependent, by linear functions: other networks, the same function
    assert optimal.function_dimension == 0
    assert widest < 1e-9


def labels_or_values(loss, seed, n=10):
    rng = np.random.default_rng(seed)
    y = rng.normal(size=n)
    return rng.normal(size=(n, 2)), np.sign(y) if loss in ("logistic", "squared_hinge") else 3 * y


@pytest.mark.parametrize("loss", ["logistic", "squared_hinge", "huber"])
@pytest.mark.parametrize("intercept", [False, True])
def test_every_loss_has_members_of_equal_objective(loss, intercept):
    X, y = labels_or_values(loss, 4)
    truth = reference.solve(X, y, 0.05, loss=loss, bias="penalized", intercept=intercept)
    problem = Problem.from_data(X, y, beta=0.05, loss=loss, intercept=intercept)
    network = Network(truth.hidden, truth.output, np.array([truth.intercept]), bias=True)
    optimal = optimal_set(problem, network, patterns=truth.patterns)
    X_new, y_new = labels_or_values(loss, 5)
    members = [optimal.given(), optimal.least_norm(), optimal.sparsest().member, optimal.best_on(X_new, y_new)]
    members += [optimal.prune(), optimal.prediction_range(X_new[0]).lowest]
    for member in members:
        assert truth.lower - 1e-12 <= member.objective <= truth.upper * (1 + 1e-9)
        assert member.objective == pytest.approx(optimal.given().objective, rel=1e-10)
    chosen = problem.loss.from_data(y_new).value(optimal.best_on(X_new, y_new).network.predict(X_new))
    for member in members:  # no other member is better there
        assert chosen <= problem.loss.from_data(y_new).value(member.network.predict(X_new)) * (1 + 1e-9)


def test_flat_parts_of_the_squared_hinge_are_inequalities():
    # On the square's points the loss is the squared one; f(1, 1) = sqrt(2) alpha_1 >= 1 shortens alpha_1's segment.
    X = np.vstack([SQUARE, [[1.0, 1.0]]])
    problem = Problem.from_data(X, np.ones(5), beta=BETA, bias="none", loss="squared_hinge")
    optimal = optimal_set(problem, square_network(LEVEL), patterns=reference.cells(X))
    first = int(np.argmax(optimal.U.sum(axis=0)))
    assert optimal.dimension == 1
    assert optimal.ranges[first] == pytest.approx((1 / np.sqrt(2), np.sqrt(2) * LEVEL), abs=1e-8)


def test_a_row_of_weight_zero_does_not_restrict_the_set():
    X = np.vstack([SQUARE, [[1.0, 1.0]]])
    problem = Problem.from_data(X, np.ones(5), beta=BETA, bias="none", sample_weight=[1, 1, 1, 1, 0])
    optimal = optimal_set(problem, square_network(LEVEL), patterns=reference.cells(X))
    assert np.allclose(optimal.ranges, [0.0, np.sqrt(2) * LEVEL], atol=1e-9)


@settings(max_examples=40)
@given(st.data())
def test_integer_data_with_all_degeneracies(data):
    n, d = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 3))
    X, y = data.draw(rational.integers(n, d)), data.draw(rational.integers(n))
    assume(np.any(y))
    truth = reference.solve(X, y, 0.3)
    problem = Problem.from_data(X, y, beta=0.3, bias="none")
    optimal = optimal_set(problem, Network(truth.hidden, truth.output), patterns=truth.patterns)
    rng = np.random.default_rng(0)
    members = [optimal.given(), optimal.prune(), optimal.least_norm(), optimal.vertex(rng.normal(size=len(optimal.V)))]
    for member in members:
        assert truth.lower - 1e-10 <= member.objective <= truth.upper * (1 + 1e-9)
        assert np.all(member.amplitudes >= optimal.ranges[:, 0] - 1e-8)
        assert np.all(member.amplitudes <= optimal.ranges[:, 1] + 1e-8)
    assert members[1].width <= optimal.rank
    assert members[3].width <= optimal.rank


def test_the_zero_network_beyond_beta_max():
    problem = Problem.from_data(SQUARE, np.ones(4), beta=2.0, bias="none")
    optimal = optimal_set(problem, Network.zero(2), patterns=reference.cells(SQUARE))
    assert optimal.unique
    assert optimal.least_norm().width == optimal.prune().width == optimal.sparsest().member.width == 0
    assert optimal.least_norm().objective == 2.0
    assert optimal.prediction_range([1.0, 1.0]).high == 0.0


@pytest.mark.parametrize("scale", [1e-100, 1e60])
def test_scales_do_not_matter(scale):
    # X times s and y over s: amplitudes are divided by s^2, and loss and penalty alike
    problem = Problem.from_data(SQUARE * scale, np.ones(4) / scale, beta=BETA, bias="none")
    network = square_network(LEVEL)
    shrunk = Network(network.hidden / scale, network.output / scale)
    optimal = optimal_set(problem, shrunk, patterns=reference.cells(SQUARE))
    assert optimal.dimension == 1
    assert np.allclose(optimal.ranges * scale**2, [0.0, np.sqrt(2) * LEVEL], atol=1e-9)


def test_what_is_not_optimal_or_does_not_fit_is_refused():
    problem = Problem.from_data(SQUARE, np.ones(4), beta=BETA, bias="none")
    rng = np.random.default_rng(0)
    # one neuron alone is stationary where it is active, and the opposite one improves it
    half = Network(DIAGONALS[:, :1] * np.sqrt(np.sqrt(2) * LEVEL), [[np.sqrt(np.sqrt(2) * LEVEL)]])
    with pytest.raises(ValueError, match="candidate neuron"):
        optimal_set(problem, half, directions=DIAGONALS)
    with pytest.raises(ValueError, match="does not belong"):
        optimal_set(problem, Network.zero(3))
    network = square_network(LEVEL)
    with pytest.raises(ValueError, match="patterns"):
        optimal_set(problem, network, patterns=np.ones((4, 3)))
    with pytest.raises(ValueError, match="directions"):
        optimal_set(problem, network, directions=np.ones((3, 2)))
    with pytest.raises(ValueError, match="tol"):
        optimal_set(problem, network, tol=-1.0)
    optimal = optimal_set(problem, network)
    for wrong in (lambda: optimal.vertex(np.ones(7)), lambda: optimal.prediction_range([1.0, 2.0, 3.0])):
        with pytest.raises(ValueError, match=r"shape|features"):
            wrong()
    with pytest.raises(ValueError, match="output"):
        optimal.prediction_range([1.0, 1.0], output=2)
    with pytest.raises(ValueError, match="targets"):
        optimal.best_on(rng.normal(size=(3, 2)), np.ones(4))
    tied = Network(np.array([[1.0], [0.3]]), [[1.0]])
    noisy = Problem.from_data(np.eye(2), [1.0, -1.0], beta=BETA, bias="none")
    with pytest.raises(ValueError, match="not optimal"):
        optimal_set(noisy, tied, patterns=reference.cells(np.eye(2)))


def test_the_error_of_the_multiplier_is_bounded_by_the_gap():
    for seed in range(10):
        problem, _, network = by_interior_point(seed)
        lam = problem.multiplier(network)
        rough = Network(
            network.hidden * (1 + 0.01 * np.random.default_rng(seed).normal(size=network.hidden.shape)),
            network.output,
            bias=True,
        )
        bound = multiplier_error(problem, problem.value(rough) - problem.value(network) + 1e-9)
        assert np.linalg.norm(problem.multiplier(rough) - lam) <= bound


@pytest.mark.parametrize("seed", [2, 4, 17])
def test_neurons_let_in_by_a_loose_tolerance_cannot_raise_the_objective(seed):
    problem, patterns, network = by_interior_point(seed)
    sharp = optimal_set(problem, network, patterns=patterns)
    loose = optimal_set(problem, network, patterns=patterns, tol=0.3)
    assert len(loose.V) > len(sharp.V)
    assert loose.dimension >= sharp.dimension
    rng = np.random.default_rng(seed)
    for member in (loose.least_norm(), loose.vertex(rng.normal(size=len(loose.V))), loose.sparsest().member):
        assert member.objective == pytest.approx(sharp.given().objective, rel=1e-9)


@pytest.mark.parametrize("loss", ["squared", "logistic", "huber"])
def test_sharpening_restores_a_network_from_its_cells(loss):
    X, y = labels_or_values(loss, 7)
    truth = reference.solve(X, y, 0.1, loss=loss, bias="penalized")
    problem = Problem.from_data(X, y, beta=0.1, loss=loss)
    sharp = sharpen(problem, Network(truth.hidden, truth.output, bias=True))
    assert residual(problem, sharp) < 1e-11
    # errors of 1e-6 that leave the ties (rows with x_i . u = 0) near enough to be recognised
    noise = 1e-6 * np.random.default_rng(0).normal(size=sharp.hidden.shape)
    rough = Network(sharp.hidden + noise, sharp.output, bias=True)
    again = sharpen(problem, rough)
    assert residual(problem, rough) > 1e-8
    assert residual(problem, again) < 1e-11
    assert truth.lower - 1e-12 <= problem.value(again) <= problem.value(rough)
    assert problem.value(again) == pytest.approx(problem.value(sharp), rel=1e-13)
