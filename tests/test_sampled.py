"""Sampled programs: between the certified optimum and the zero network, and the scenario bound on what they miss."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from scipy.optimize import nnls

import extremal
import reference
from extremal import Network, Problem
from extremal.closed_forms import sampled_patterns, scenario_violation
from extremal.closed_forms.sampled import improving_share
from extremal.plotting import plot_excess, plot_improving


@pytest.mark.parametrize("seed", range(3))
def test_all_patterns_give_the_optimum(seed):
    """In the plane every cell is found, and the program is the enumerated one."""
    rng = np.random.default_rng(seed)
    X, y = rng.normal(size=(8, 2)), rng.normal(size=8)
    found = sampled_patterns(X, y, beta=0.1, bias="none", sizes=(1, 10, 5000), random_state=seed)
    last = found.programs[-1]
    assert last.patterns == 16
    truth = reference.solve(X, y, 0.1)
    assert truth.lower * (1 - 1e-7) <= last.value <= truth.upper * (1 + 1e-7)
    assert last.ratio == pytest.approx(1.0, abs=1e-6)
    assert last.improving == 0.0
    assert [program.size for program in found.programs] == [1, 10, 5000]


@settings(max_examples=8)
@given(st.integers(0, 2**32), st.sampled_from(["squared", "logistic", "huber", "squared_hinge"]), st.booleans())
def test_values_fall_to_the_optimum_and_the_relaxed_ones_are_below(seed, loss, intercept):
    rng = np.random.default_rng(seed)
    X, y = rng.normal(size=(9, 2)), np.where(np.arange(9) % 2 == 0, 1.0, -1.0)
    found = sampled_patterns(
        X, y, beta=0.05, loss=loss, intercept=intercept, sizes=(2, 6, 30, 400), probes=200, random_state=seed
    )
    values = [program.value for program in found.programs]
    zero = Problem.from_data(X, y, beta=0.05, loss=loss, intercept=intercept).zero_value
    assert all(after <= before * (1 + 1e-7) for before, after in zip([zero, *values], values, strict=False))
    for program in found.programs:
        assert program.value >= found.lower * (1 - 1e-9)
        assert 1 <= program.ratio <= program.largest_ratio
        assert program.relaxed <= program.value * (1 + 1e-7)
        assert program.gap <= 1e-6
        assert program.patterns <= program.size
    # without a pattern that improves it, a program over all cells that occur is optimal
    assert found.programs[-1].improving <= found.programs[0].improving + 0.05


@settings(max_examples=12)
@given(st.integers(0, 2**32), st.booleans())
def test_the_improving_share_is_that_of_nonnegative_least_squares(seed, integer):
    """max over the cell of +-lam^T (Xu)_+ = min over rho >= 0 of |+-X^T D lam + X^T (2D - I) rho|."""
    rng = np.random.default_rng(seed)
    X = rng.integers(-2, 3, (7, 3)).astype(float) if integer else rng.normal(size=(7, 3))
    y = rng.normal(size=7)
    network = Network(rng.normal(size=(3, 2)), rng.normal(size=2))
    beta = float(rng.uniform(0.3, 3))
    problem = Problem.from_data(X, y, beta=beta, bias="none")
    sample = extremal.sample_arrangements(X, 25, random_state=seed % 1000)
    if sample.draws == 0:
        return
    lam = (y - network.predict(X)[:, 0])[:, None]
    improving = 0
    for pattern, times in zip(sample.patterns.unpack(), sample.times, strict=True):
        turn = np.where(pattern, 1.0, -1.0)[:, None]
        prices = [nnls((turn * X).T, -s * X.T @ (pattern * lam[:, 0]))[1] for s in (1.0, -1.0)]
        improving += times * (max(prices) > beta)
    assert improving_share(problem, network, sample) == pytest.approx(improving / sample.draws, abs=1e-12)


def test_scenario_sizes_of_the_literature():
    """n = 100: 2080 patterns for violation 0.1, confidence 0.05; 21121.03, hence 21122, for 0.01 and 0.01."""
    assert extremal.scenario_size(100, 0.1, 0.05) == 2080
    assert extremal.scenario_size(100, 0.01, 0.01) == 21122
    assert round(2 / 0.01 * (101 - np.log(0.01))) == 21121
    assert scenario_violation(100, 2080, 0.05) <= 0.1 < scenario_violation(100, 2079, 0.05)
    assert scenario_violation(100, 21122, 0.01) <= 0.01 < scenario_violation(100, 21121, 0.01)
    assert scenario_violation(100, 10) == 1.0


@settings(max_examples=50)
@given(st.integers(1, 500), st.floats(1e-4, 0.5), st.floats(1e-4, 0.9))
def test_the_violation_is_the_inverse_of_the_size(n, violation, confidence):
    size = extremal.scenario_size(n, violation, confidence)
    assert scenario_violation(n, size, confidence) <= violation * (1 + 1e-6)
    if size > 1:
        assert scenario_violation(n, size - 1, confidence) >= violation * (1 - 1e-6)


def test_the_scenario_bound_holds_for_nearly_all_draws():
    """At confidence 0.2 it may fail for a fifth of the draws; 500 probes measure it to three sigma = 0.05."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(10, 4)), rng.normal(size=10)
    best = extremal.fit(X, y, beta=0.05, bias="none")
    failures = 0
    for seed in range(20):
        found = sampled_patterns(
            X, y, beta=0.05, bias="none", sizes=(40, 150), relaxed=False, probes=500, confidence=0.2, best=best,
            random_state=seed,
        )  # fmt: skip
        failures += sum(program.improving > program.scenario + 0.05 for program in found.programs)
    assert failures <= 0.2 * 40
    assert found.programs[1].scenario < 1


def test_time_ends_the_table_and_it_prints():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(8, 3)), rng.normal(size=8)
    found = sampled_patterns(X, y, beta=0.1, sizes=(5, 50, 500), time_limit=1e-9, relaxed=False)
    assert len(found.programs) == 1
    assert found.relaxation is None
    full = sampled_patterns(X, y, beta=0.1, sizes=(5, 50))
    assert len(str(full).splitlines()) == 5
    assert full.relaxation == pytest.approx(full.optimum / full.programs[-1].relaxed)
    assert full.root_log == pytest.approx(np.sqrt(np.log(16)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sizes": ()}, "increasing"),
        ({"sizes": (10, 10)}, "increasing"),
        ({"sizes": (0, 10)}, "increasing"),
        ({"probes": 0}, "probes"),
        ({"confidence": 1.0}, "confidence"),
        ({"y": np.eye(3)}, "one output"),
        ({"X": [[np.nan], [1.0], [2.0]]}, "NaN"),
        ({"beta": -1.0}, "beta"),
        ({"method": "none"}, "method"),
    ],
)
def test_bad_input(change, message):
    arguments = {"X": np.eye(3), "y": [1.0, 2.0, -1.0], "beta": 0.1} | change
    with pytest.raises(ValueError, match=message):
        sampled_patterns(**arguments)
    with pytest.raises(ValueError, match="between 0 and 1"):
        scenario_violation(10, 10, 0.0)


def test_pictures_of_what_samples_miss():
    rng = np.random.default_rng(0)
    found = sampled_patterns(rng.normal(size=(8, 3)), rng.normal(size=8), beta=0.05, sizes=(2, 8, 30), relaxed=False)
    figure = Figure()
    left, right = figure.subplots(1, 2)
    plot_excess(found, left, label="data")
    plot_improving(found, right)
    assert np.allclose(left.lines[0].get_ydata(), [program.ratio - 1 for program in found.programs])
    bound, measured = right.lines[0].get_ydata(), right.lines[1].get_ydata()
    assert np.all(np.asarray(measured) <= np.asarray(bound))
