"""Cones and their projections, and the maps between networks and solutions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import nnls

import reference
from extremal.design import Design
from extremal.network import Network
from extremal.problem import Problem
from extremal.programs import ConvexSolution, pattern_program, split
from extremal.programs.blocks import Blocks

# ------------------------------------------------------------------------------------------------ cones


@st.composite
def cones(draw):
    """Integer rows with everything that degenerates, any pattern, any lam."""
    n, d, p = draw(st.integers(1, 8)), draw(st.integers(1, 4)), draw(st.integers(1, 4))
    row = st.lists(st.integers(-2, 2), min_size=d, max_size=d)
    X = np.array(draw(st.lists(row, min_size=n, max_size=n)), float)
    patterns = np.array(draw(st.lists(st.lists(st.booleans(), min_size=n, max_size=n), min_size=p, max_size=p)))
    lam = np.array(draw(st.lists(st.integers(-3, 3), min_size=n, max_size=n)), float)
    signs = np.array(draw(st.lists(st.sampled_from([-1.0, 1.0]), min_size=p, max_size=p)))
    return X, patterns, signs, lam


@settings(max_examples=200)
@given(cones())
def test_projections_onto_cones(task):
    """Proj_K c against nonnegative least squares, and by its own characterisation: in K, c - Proj c in the polar."""
    X, patterns, signs, lam = task
    blocks = Blocks.relu(Design(X), patterns, signs)
    projections = blocks.projections(lam)
    for k, (pattern, sign) in enumerate(zip(patterns, signs, strict=True)):
        rows = (2.0 * pattern - 1)[:, None] * X
        c = sign * X.T @ (pattern * lam)
        np.testing.assert_allclose(blocks.moments(lam)[k], c, atol=1e-12)
        assert np.linalg.norm(projections[k]) == pytest.approx(nnls(rows.T, -c)[1], abs=1e-9)
        assert (rows @ projections[k]).min() >= -1e-9
        assert projections[k] @ (c - projections[k]) == pytest.approx(0.0, abs=1e-8)


@settings(max_examples=100)
@given(cones(), st.integers(0, 100))
def test_sides_say_the_same_as_the_rows(task, seed):
    """u is in the cone of distinct lines iff (2D - I) X u >= 0, also at ties."""
    X, patterns, signs, _ = task
    blocks = Blocks.relu(Design(X), patterns, signs)
    u = np.random.default_rng(seed).integers(-2, 3, X.shape[1]).astype(float)
    for k, pattern in enumerate(patterns):
        U = np.zeros((X.shape[1], len(patterns)))
        U[:, k] = u
        assert (blocks.violation(U) <= 1e-12) == bool(np.all((2.0 * pattern - 1) * (X @ u) >= 0))


def test_distinct_lines_only():
    """Parallel, opposite, repeated and zero rows add nothing."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(5, 3))
    more = np.vstack([X, 2 * X[0], -3 * X[1], X[2], np.zeros(3)])
    pattern = (more @ rng.normal(size=3) >= 0)[None]
    assert len(Blocks.relu(Design(more), pattern, np.ones(1)).lines) == 5


def test_prices_are_the_gauge():
    """The longest projection over all cells is max |lam^T (Xu)_+|, and early ends only hide those below the cutoff."""
    rng = np.random.default_rng(1)
    X, lam = rng.normal(size=(12, 3)), rng.normal(size=12)
    cells = reference.cells(X)
    both = np.vstack([cells, cells])
    blocks = Blocks.relu(Design(X), both, np.repeat([1.0, -1.0], len(cells)))
    exact = np.linalg.norm(blocks.projections(lam), axis=1)
    assert exact.max() == pytest.approx(reference.exact_gauge(X, lam, cells), rel=1e-12)
    cutoff = 0.7 * exact.max()
    early = np.linalg.norm(blocks.projections(lam, cutoff), axis=1)
    np.testing.assert_array_equal(early[exact > cutoff], exact[exact > cutoff])
    assert np.all(early >= exact - 1e-12)
    assert early[exact <= cutoff].max() <= cutoff


# ------------------------------------------------------------------------------------------------ maps


def random_network(rng, d, m, bias=False):
    return Network(rng.normal(size=(d + bias, m)), rng.normal(size=m), rng.normal(size=1), bias=bias)


@pytest.mark.parametrize("bias", [False, True])
def test_network_to_solution_and_back(bias):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(15, 3))
    design = Design.from_data(X, bias=bias)
    network = random_network(rng, 3, 4, bias)
    solution = ConvexSolution.from_network(network, design)
    back = solution.network()
    np.testing.assert_allclose(back.predict(X), network.predict(X), atol=1e-12)
    assert back.penalty() == pytest.approx(solution.penalty, rel=1e-14)
    assert solution.penalty == pytest.approx(network.balance().penalty(), rel=1e-12)
    again = ConvexSolution.from_network(back, design)
    np.testing.assert_array_equal(again.patterns, solution.patterns)
    np.testing.assert_allclose(again.U, solution.U, atol=1e-12)
    np.testing.assert_array_equal(solution.patterns, (design.forward(solution.U) >= 0).T)


def test_neurons_of_one_pattern_become_one():
    """Their sum computes the same on the data, and costs no more."""
    rng = np.random.default_rng(1)
    X = rng.normal(size=(6, 4))
    center = rng.normal(size=4)
    hidden = center[:, None] + 1e-3 * rng.normal(size=(4, 5))
    network = Network(hidden, [1.0, 2.0, -1.0, -3.0, 0.5])
    solution = ConvexSolution.from_network(network, Design(X))
    assert sorted(solution.signs) == [-1, 1]
    np.testing.assert_allclose(solution.network().predict(X), network.predict(X), atol=1e-12)
    assert solution.penalty <= network.balance().penalty()


def test_ties_count_as_active():
    X = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    solution = ConvexSolution.from_network(Network([[1.0], [0.0]], [1.0]), Design(X))
    np.testing.assert_array_equal(solution.patterns, [[True, True, True]])


def test_split_is_undone_by_the_inverse_map():
    rng = np.random.default_rng(2)
    X = rng.normal(size=(10, 3))
    network = random_network(rng, 3, 3).balance()
    copies = split(network, [[1.0], [0.25, 0.75], [0.5, 0.3, 0.2]])
    assert copies.width == 6
    np.testing.assert_allclose(copies.predict(X), network.predict(X), atol=1e-12)
    assert copies.penalty() == pytest.approx(network.penalty(), rel=1e-14)
    one, two = (ConvexSolution.from_network(net, Design(X)) for net in (network, copies))
    np.testing.assert_array_equal(one.patterns, two.patterns)
    np.testing.assert_allclose(one.U, two.U, atol=1e-12)


def test_own_patterns_never_cost_more():
    """The signed program over the patterns of any network has a value no larger than the network's objective."""
    rng = np.random.default_rng(3)
    X, y = rng.normal(size=(10, 3)), rng.normal(size=10)
    problem = Problem.from_data(X, y, beta=0.1, intercept=True)
    for _ in range(5):
        network = random_network(rng, 3, 6, bias=True)
        own = ConvexSolution.from_network(network, problem.design)
        result = pattern_program(problem, own.patterns, own.signs)
        assert result.value <= problem.value(network)
        again = pattern_program(problem, result.solution.patterns, result.solution.signs)
        assert again.value == pytest.approx(result.value, rel=1e-9)
        np.testing.assert_allclose(result.solution.network().predict(X), result.network.predict(X), atol=1e-12)


def test_refusals():
    network = Network(np.eye(2), [1.0, -1.0])
    for shares in ([[1.0]], [[1.0], [0.5, 0.6]], [[1.0], [1.5, -0.5]], [[1.0], []]):
        with pytest.raises(ValueError, match="shares"):
            split(network, shares)
    with pytest.raises(ValueError, match="one output"):
        ConvexSolution.from_network(Network(np.eye(2), np.eye(2)), Design(np.eye(2)))
    with pytest.raises(ValueError, match="columns"):
        ConvexSolution.from_network(network, Design(np.ones((2, 3))))


def test_an_empty_network_is_a_solution():
    solution = ConvexSolution.from_network(Network.zero(2), Design(np.eye(2)))
    assert solution.U.shape == (2, 0)
    assert solution.network().width == 0
    assert split(Network.zero(2), []).width == 0
