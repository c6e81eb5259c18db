"""Theorems about where the flow goes, each on data that it speaks of; and the parts that find the limit."""

from __future__ import annotations

import numpy as np
import pytest

import extremal
from extremal import datasets
from extremal.flow import Setting, Verdict
from extremal.flow.course import Ending, follow
from extremal.flow.limit import OUTGROWN, limit_of, upper_bound
from extremal.flow.sliding import Span
from extremal.flow.state import State, random_start

FAMILIES = {
    "gaussian": lambda seed: datasets.gaussian_labels(9, 3, random_state=seed),
    "separable": lambda seed: datasets.linearly_separable(12, 3, random_state=seed),
    "xor": lambda seed: datasets.xor(12, 2, random_state=seed),
}


def clarke_cosines(X, y, V, ratios):
    """cos of v and the min-norm element of s X^T D y over the ties of v, by the projection along their normals."""
    cosines = []
    for v, kappa in zip(V, ratios, strict=True):
        z = X @ v / np.linalg.norm(X, axis=1)
        ties = np.abs(z) <= 1e-9
        g = ((z > 0) & ~ties) * y @ X
        span = Span.of(np.zeros(ties.sum()), X[ties] / np.linalg.norm(X[ties], axis=1)[:, None]).orthonormal
        g = g - (span @ g) @ span
        size = np.linalg.norm(g)
        if size > 1e-9:
            cosines.append(np.sign(kappa) * (v @ g) / size)
    return np.array(cosines)


@pytest.mark.parametrize("family", FAMILIES)
def test_small_starts_align_with_stationary_points_of_the_correlation(family):
    """Wang & Pilanci (ICLR 2022): before the network is felt, neurons reach w = c s X^T D y, ties included."""
    X, y = FAMILIES[family](3)
    worst = []
    for scale in (1e-2, 1e-5, 1e-8):
        run = extremal.flow(X, y, width=24, init=scale, random_state=1, proof_time=0).trajectory
        early = int(np.searchsorted(run.half_norm2, max(1e-2, 4 * run.half_norm2[0])))
        heavy = np.argsort(run.log_norms[early])[-6:]
        cosines = clarke_cosines(X, y, run.directions[early][heavy], run.ratios[early][heavy])
        assert len(cosines) == 6
        worst.append(1 - cosines.min())
    assert worst[-1] < 1e-5
    assert worst[-1] <= worst[0]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("seed", range(3))
def test_neurons_of_a_global_limit_are_maximisers_of_the_gauge(family, seed):
    """Wang & Pilanci (ICLR 2022): the neurons of an optimum are extreme points, |lam^T (Xu)_+| = g(lam) = 1."""
    X, y = FAMILIES[family](seed)
    result = extremal.flow(X, y, width=30, random_state=seed)
    if result.verdict not in (Verdict.GLOBAL, Verdict.NOT_GLOBAL):
        return
    U = result.network.hidden / np.linalg.norm(result.network.hidden, axis=0)
    assert np.abs(result.lam @ np.maximum(X @ U, 0)) == pytest.approx(1, abs=1e-9)
    rng = np.random.default_rng(0)
    V = rng.standard_normal((X.shape[1], 20000))
    reached = np.abs(result.lam @ np.maximum(X @ (V / np.linalg.norm(V, axis=0)), 0)).max()
    assert reached <= result.gauge.upper
    if result.verdict is Verdict.GLOBAL:
        assert reached <= 1 + 1e-9


@pytest.mark.parametrize("family", FAMILIES)
def test_the_limit_does_not_depend_on_the_tolerance(family):
    X, y = FAMILIES[family](7)
    found = [extremal.flow(X, y, width=16, tol=tol, proof_time=0) for tol in (1e-5, 1e-6, 1e-8)]
    assert len({result.verdict for result in found}) == 1
    values = [result.value for result in found]
    if np.isfinite(values[0]):
        assert values == pytest.approx([values[0]] * 3, rel=1e-9)


@pytest.mark.parametrize(("family", "seed"), [("gaussian", 0), ("gaussian", 4), ("separable", 1), ("xor", 0)])
def test_an_accepted_limit_is_never_left(family, seed):
    """The flow goes on to a norm 1e6 times as large: its bound stays above the limit's value, and comes closer."""
    X, y = FAMILIES[family](seed)
    flow = Setting.of(X, y, "logistic", "none").flow(random_start(X.shape[1], 24, 1e-3, np.random.default_rng(seed)))
    course = follow(flow, max_steps=20000, time_limit=60.0)
    assert course.ending is Ending.LIMIT
    limit, start = course.limit, 2 * flow.offset + np.log(np.exp(2 * flow.state.log_norms).sum())
    for _ in range(3000):
        flow.advance()
        margin = (flow.y * flow.f)[flow.acting].min()
        if margin > 1e4:
            flow.shrink(0.5 * np.log(margin / 1e4))
        if 2 * flow.offset + np.log(np.exp(2 * flow.state.log_norms).sum()) > start + np.log(1e6):
            break
    gap = upper_bound(flow, limit.seen) / limit.value - 1
    assert -1e-9 <= gap < max(0.5 * course.gap, 2e-3)
    assert np.array_equal(flow.acting, limit.seen)


def test_a_small_neuron_that_outgrows_the_others_is_waited_for():
    """A neuron of mass 1e-60 in a direction that violates the dual wins in the end, although that takes for ever."""
    X, y = datasets.gaussian_labels(8, 3, random_state=4)
    local = next(
        result
        for result in (extremal.flow(X, y, width=30, random_state=seed) for seed in range(8))
        if result.verdict is Verdict.NOT_GLOBAL
    )
    sign = np.sign(local.lam @ np.maximum(X @ local.violator, 0))
    state = State.of_network(local.network)
    alone = Setting.of(X, y, "logistic", "none").flow(state.copy())
    assert not limit_of(alone).failure
    both = State(
        np.vstack([state.directions, local.violator]), np.append(state.log_norms, -70.0), np.append(state.ratios, sign)
    )
    joined = Setting.of(X, y, "logistic", "none").flow(both.copy())
    assert limit_of(joined).failure == OUTGROWN
    result = extremal.flow(X, y, init=both.network())
    assert result.value < local.value * (1 - 1e-6)
    assert result.verdict is Verdict.GLOBAL


def test_a_sample_that_nobody_sees_is_a_wall_and_no_clock():
    """One neuron cannot serve both labels: it sees its own sample only, and the limit is that of this sample."""
    X, y = np.array([[1.0, 0.2], [0.2, -1.0]]), np.array([1, -1])
    network = extremal.Network(np.array([[1e-3], [1e-3]]), np.array([[1.4142135623730951e-3]]))
    result = extremal.flow(X, y, init=network, until=20)
    assert result.verdict is Verdict.STALLED
    assert "row 1" in result.sentence
    run = result.trajectory
    assert run.half_norm2[-1] >= 20  # the norm of the neuron that works grows all the same, exponentially in tau
    assert np.log(run.half_norm2[-1] / run.half_norm2[0]) == pytest.approx(
        2 * np.linalg.norm(X[0]) * run.time[-1], rel=0.05
    )


# ------------------------------------------------------------------------------------------------- what once went wrong


def test_lines_that_are_met_together_are_decided_together():
    """Rows 1, 6 and 7 are dependent: a neuron on one meets the others at one moment, and may not chatter."""
    X = [[0, 1, 0], [1, 2, 1], [-1, -1, -2], [1, 0, 2], [-1, 0, 2], [2, -1, 2], [0, -1, -1], [2, 0, -2]]
    y = [-1, -1, 1, -1, -1, 1, -1, -1]
    for tol in (1e-5, 1e-6, 1e-7):
        result = extremal.flow(X, y, width=16, random_state=12, tol=tol)
        assert result.verdict is Verdict.GLOBAL
        assert result.trajectory.events.size < 1000


def test_a_short_row_is_no_standstill():
    """All rates are relative to the rows that pull; 1e-8 is a small row, not a small rate."""
    for X in ([[1, 0], [1e-3, 1e-8]], [[1, 0], [0, 1e-8]]):
        result = extremal.flow(X, [1, -1], width=10, random_state=1, max_steps=2000, proof_time=1)
        assert result.verdict is not Verdict.STALLED


def test_an_output_weight_that_changes_its_sign_is_not_buried():
    """|b| < |w|: b passes through zero however small the neuron is."""
    for size in (1e-3, 1e-9):
        start = extremal.Network(np.array([[-1, size]]), np.array([[1], [-0.9 * size]]))
        assert extremal.flow([[1.0]], [1], init=start).verdict is Verdict.GLOBAL


def test_several_multipliers_prove_nothing_against_a_limit():
    """lam = (0, 1, 0) proves that the limit is global; one with g > 1 does not prove that it is not."""
    X, y = [[1, 3], [1, 0], [1, -3]], [1, 1, 1]
    start = extremal.Network(np.array([[1e-3], [0]]), np.array([[1e-3]]))
    assert extremal.flow(X, y, init=start, proof_time=0).verdict is not Verdict.NOT_GLOBAL
    result = extremal.flow(X, y, init=start)
    assert result.verdict is Verdict.GLOBAL
    assert result.violator is None
    assert extremal.flow(X, y, width=10, random_state=1).verdict is Verdict.GLOBAL


def test_the_answer_to_another_problem_is_refused():
    X, y = datasets.gaussian_labels(8, 3, random_state=4)
    for other in (X * 0.9, X[:, :2], X[:7]):
        with pytest.raises(ValueError, match="another problem"):
            extremal.flow(X, y, optimum=extremal.max_margin(other, y[: len(other)]))


def test_the_clock_of_the_squared_loss_is_time():
    """w' = b (y - w b) x for one balanced neuron, y = 1000: t = int dw / (w (1000 - w^2)) in closed form."""
    start = extremal.Network(np.array([[1.0]]), np.array([[1.0]]))
    run = extremal.flow([[1.0]], [1000.0], loss="squared", init=start, proof_time=0).trajectory
    for k in range(5, len(run) - 5, 7):
        f = float(np.exp(2 * run.log_norms[k, 0]))
        exact = (np.log(f / 1.0) - np.log((1000 - f) / 999)) / 2000
        assert np.exp(run.log_clock[k]) == pytest.approx(exact, rel=1e-3)
