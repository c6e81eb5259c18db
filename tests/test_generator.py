"""Gradient descent-ascent of a ReLU generator against its linear recursion, and the stability of that."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from extremal.closed_forms import best_step, descend_ascend, generator_dynamics
from extremal.closed_forms.generator import mode_radius

seeds = st.integers(0, 2**32 - 1)


def game(seed: int, p: int, k: int, q: int = 3):
    rng = np.random.default_rng(seed)
    V = rng.standard_normal((p, k))
    W = rng.standard_normal((k, q)) * 3
    return rng, V, W


@settings(max_examples=40, deadline=None)
@given(seeds, st.integers(1, 5), st.integers(1, 8), st.floats(0.05, 1.9), st.floats(0.05, 0.9), st.floats(0.2, 3.0))
def test_the_recursion_is_exact_until_a_neuron_dies(seed, p, k, mu, share, sigma):
    rng, V, W = game(seed, p, k)
    top = generator_dynamics(V, eta=1.0, mu=mu, sigma=sigma).curvatures[-1]
    dynamics = generator_dynamics(V, eta=share / top, mu=mu, sigma=sigma)
    run = descend_ascend(dynamics, W, rng.standard_normal(p), steps=60)
    residuals, deltas = dynamics.residuals(run.residuals[0], np.zeros(p), 60)
    steps = dynamics.exact_steps(run.norms[0], deltas)
    scale = np.abs(residuals).max() + np.abs(run.norms).max()
    np.testing.assert_allclose(run.residuals[: steps + 1], residuals[: steps + 1], atol=1e-11 * scale)
    np.testing.assert_allclose(run.deltas[: steps + 1], deltas[: steps + 1], atol=1e-11 * scale)
    np.testing.assert_allclose(
        run.norms[: steps + 1], dynamics.norms(run.norms[0], deltas)[: steps + 1], atol=1e-11 * scale
    )


def test_it_is_not_exact_beyond_a_death():
    dynamics = generator_dynamics(np.eye(1), eta=1.0, mu=0.5)
    run = descend_ascend(dynamics, np.full((1, 1), 0.1), np.full(1, -2.0), steps=40)
    residuals, deltas = dynamics.residuals(run.residuals[0], np.zeros(1), 40)
    steps = dynamics.exact_steps(run.norms[0], deltas)
    assert 0 < steps < 39
    np.testing.assert_allclose(run.residuals[: steps + 1], residuals[: steps + 1], atol=1e-13)
    assert np.abs(run.residuals - residuals).max() > 0.1


def test_expectations_are_those_of_samples():
    rng, V, W = game(3, 3, 6)
    dynamics, mean = generator_dynamics(V, mu=0.5), rng.standard_normal(3) + 2
    exact = descend_ascend(dynamics, W, mean, steps=20)
    errors = []
    for samples in (1_000, 100_000):
        run = descend_ascend(dynamics, W, mean, steps=20, samples=samples)
        errors.append(np.abs(run.residuals - exact.residuals).max())
    assert errors[1] < 0.05 * np.abs(exact.residuals).max()
    assert errors[1] < 0.3 * errors[0]  # a tenth is expected


@settings(max_examples=200, deadline=None)
@given(st.floats(1e-3, 6.0), st.floats(1e-3, 5.0))
def test_radius_and_stability_region(step, mu):
    matrix = np.array([[1.0, -step], [mu, 1.0 - mu]])
    radius = np.abs(np.linalg.eigvals(matrix)).max()
    np.testing.assert_allclose(mode_radius(step, mu), radius, rtol=1e-6)
    assume(abs(radius - 1) > 1e-9)
    assert (radius < 1) == (step < 1 and mu * (2 - step) < 4)


@settings(max_examples=50, deadline=None)
@given(st.floats(0.01, 1.99), st.lists(st.floats(1e-2, 10.0), min_size=1, max_size=4))
def test_no_step_is_better_than_the_best_step(mu, curvatures):
    kappa = np.array(curvatures)
    eta = best_step(kappa, mu)
    best = mode_radius(eta * kappa, mu).max()
    others = eta * np.geomspace(0.2, 5, 201)
    assert best <= mode_radius(others[:, None] * kappa, mu).max(axis=1).min() + 1e-12
    if np.ptp(kappa) == 0:
        np.testing.assert_allclose([eta * kappa[0], best], [mu / 4, 1 - mu / 2], rtol=1e-7)


@pytest.mark.parametrize("eta", [0.05, 0.1])
def test_measured_rate_is_the_predicted_radius(eta):
    dynamics = generator_dynamics(np.diag([1.0, 2.0, 3.0]), eta=eta, mu=0.9)
    assert np.argmax(dynamics.radii) == 0  # a real root, which a line through logarithms fits
    run = descend_ascend(dynamics, 100 * np.eye(3), dynamics.c * 100 * np.array([1.01, 1.98, 3.0]), steps=800)
    assert run.measured_rate(40) == pytest.approx(dynamics.radius, abs=1e-8)


def test_what_the_decoder_cannot_reach_stays():
    V = np.array([[1.0, 2.0], [0.0, 0.0]])
    dynamics = generator_dynamics(V, mu=0.5)
    run = descend_ascend(dynamics, np.eye(2) * 5, np.array([6.3, 0.7]), steps=300)
    np.testing.assert_allclose(run.residuals[-1], [0.0, 0.7], atol=1e-10)
    np.testing.assert_allclose(run.deltas[-1], [0.0, 0.7], atol=1e-10)
    np.testing.assert_allclose(dynamics.reachable(run.residuals[0]), [run.residuals[0, 0], 0.0], atol=1e-14)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"V": np.zeros((2, 2))}, "not zero"),
        ({"V": np.ones(3)}, "finite matrix"),
        ({"V": [[np.nan]]}, "finite"),
        ({"V": np.eye(2), "eta": -1.0}, "eta must be positive"),
        ({"V": np.eye(2), "mu": np.inf}, "mu must be positive"),
        ({"V": np.eye(2), "sigma": 0.0}, "sigma must be positive"),
        ({"V": np.eye(2), "mu": 2.5}, r"mu must be in \(0, 2\)"),
    ],
)
def test_bad_dynamics(options, match):
    with pytest.raises(ValueError, match=match):
        generator_dynamics(options.pop("V"), **options)


@pytest.mark.parametrize(
    ("W", "mean", "match"),
    [
        (np.ones((3, 2)), np.zeros(2), r"W must be \(2, q\)"),
        (np.ones((2, 2)), np.zeros(3), "mean"),
        (np.zeros((2, 2)), np.zeros(2), "row of W is zero"),
        (np.ones((2, 2)), np.array([np.nan, 0]), "finite"),
    ],
)
def test_bad_starts(W, mean, match):
    with pytest.raises(ValueError, match=match):
        descend_ascend(generator_dynamics(np.eye(2)), W, mean, steps=2)


def test_steps_and_samples_that_are_none():
    dynamics = generator_dynamics(np.eye(2))
    for options in ({"steps": -1}, {"steps": 2, "samples": 0}):
        with pytest.raises(ValueError, match="steps must not be negative and samples positive"):
            descend_ascend(dynamics, np.ones((2, 2)), np.ones(2), **options)
