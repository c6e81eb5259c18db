"""A ReLU generator against a linear discriminator."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from extremal.closed_forms import descend_ascend, generator_dynamics
from extremal.closed_forms.generator import GameRun, GeneratorDynamics, mode_radius
from extremal.design import Array
from extremal.plotting.style import BLUE, GREEN, GREY, ORANGE, PURPLE, VERMILION, lighten
from extremal.reproductions.result import Comparison, Reproduction

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Features of the data, the latent variable's dimension, and the number of neurons.
FEATURES, LATENT, WIDTHS = 5, 8, (5, 10, 20, 40, 80, 160)
STEPS, SAMPLES, RUNS = 400, 2000, 20


def over_parameterisation() -> Reproduction:
    """Gradient descent-ascent for widths from m to 32 m: the recursion, its rate, and what more neurons change."""
    games = [_game(k, seed) for k in WIDTHS for seed in range(RUNS)]
    widest, run = games[-1]
    residuals, _ = widest.residuals(run.residuals[0], run.deltas[0], STEPS)
    error = np.abs(residuals - run.residuals).max() / np.abs(residuals).max()
    gentle = generator_dynamics(widest.decoder, eta=0.1 * widest.eta, mu=0.5)
    slow = descend_ascend(gentle, 40 * np.ones((160, LATENT)), _slowest(gentle), steps=400)
    noisy = descend_ascend(widest, _weights(160, RUNS - 1), _mean(widest, RUNS - 1), steps=STEPS, samples=SAMPLES)
    rates = np.array([dynamics.radius for dynamics, _ in games]).reshape(len(WIDTHS), RUNS)
    smallest = np.array([dynamics.curvatures[0] for dynamics, _ in games]).reshape(len(WIDTHS), RUNS)
    shares = np.median(smallest, axis=1) * FEATURES / (widest.c**2 * np.array(WIDTHS))
    rate = slow.measured_rate(60)
    largest = max(_final(run) for _, run in games[2 * RUNS :])
    wander = float(np.linalg.norm(noisy.residuals[-50:], axis=1).mean())
    comparisons = (
        Comparison.claim(
            "gradient descent-ascent on the weights follows the linear recursion",
            "exactly, while no neuron dies",
            f"largest difference {error:.1e}, relative, in {STEPS} steps",
            error < 1e-11,
        ),
        Comparison.claim(
            "the measured rate is the spectral radius of the recursion",
            "to nine digits",
            f"measured {rate:.9f}, predicted {gentle.radius:.9f}",
            abs(rate - gentle.radius) < 1e-9,
            "the run is too short",
        ),
        Comparison.incomparable(
            "the rate 0.968356218", "measured = predicted = 0.968356218", f"{gentle.radius:.9f} for our decoder",
            "the decoder and the steps of that number were not kept; that both agree to nine digits is the row above",
        ),
        Comparison.claim(
            "over-parameterised generators converge to the mean of the data",
            "globally, for k large against m",
            f"all {RUNS} runs of each k >= {WIDTHS[2]} to {largest:.0e} or less",
            largest < 1e-3,
        ),
        Comparison.claim(
            "the smallest curvature grows in proportion to the number of neurons",
            "like k: V V^T / k tends to a multiple of I",
            "kappa m / (c^2 k) = " + ", ".join(f"{share:.2f}" for share in shares)
            + f" (medians) for k = {', '.join(map(str, WIDTHS))}; the limit is 1",
            bool(np.all(np.diff(shares) > 0) and 0.5 < shares[-1] < 1),
            "it does not approach the limit",
        ),
    )  # fmt: skip
    sentence = (
        f"With the best step the median rate is {np.median(rates[0]):.4f} for {WIDTHS[0]} neurons and "
        f"{np.median(rates[-1]):.4f} for {WIDTHS[-1]}: more neurons condition V V^T better. With batches of {SAMPLES} "
        f"the residual, which is then an estimate, fluctuates about {wander:.1g}."
    )
    return Reproduction(comparisons, sentence, partial(_draw, games, rates, noisy))


def _weights(k: int, seed: int) -> Array:
    return 3 * np.random.default_rng([seed, k]).standard_normal((k, LATENT))


def _mean(dynamics: GeneratorDynamics, seed: int) -> Array:
    """The mean of some data: what the generator gives at first, and something near it."""
    k = dynamics.decoder.shape[1]
    first = dynamics.c * dynamics.decoder @ np.linalg.norm(_weights(k, seed), axis=1)
    return first + np.random.default_rng(seed).standard_normal(len(first))


def _game(k: int, seed: int) -> tuple[GeneratorDynamics, GameRun]:
    V = np.random.default_rng([seed, k, 1]).standard_normal((FEATURES, k)) / np.sqrt(FEATURES)
    dynamics = generator_dynamics(V, mu=0.5)
    return dynamics, descend_ascend(dynamics, _weights(k, seed), _mean(dynamics, seed), steps=STEPS)


def _slowest(dynamics: GeneratorDynamics) -> Array:
    """A mean that differs from the start 40 * ones along the slowest real mode."""
    _, Q = np.linalg.eigh(dynamics.decoder @ dynamics.decoder.T)
    return dynamics.c * 40 * np.sqrt(LATENT) * dynamics.decoder.sum(axis=1) + Q[:, 0]


def _final(run: GameRun) -> float:
    return float(np.linalg.norm(run.residuals[-1]))


def _draw(games: list[tuple[GeneratorDynamics, GameRun]], rates: Array, noisy: GameRun) -> Figure:
    from matplotlib import pyplot

    figure, (left, middle, right) = pyplot.subplots(1, 3, figsize=(14, 4.2), layout="constrained")
    for i, (k, colour) in enumerate(zip((5, 20, 160), (ORANGE, BLUE, GREEN), strict=True)):
        dynamics, run = games[WIDTHS.index(k) * RUNS + RUNS - 1]
        residuals, _ = dynamics.residuals(run.residuals[0], run.deltas[0], STEPS)
        left.semilogy(np.linalg.norm(run.residuals, axis=1)[:201], color=colour, lw=2.5, label=f"k = {k}")
        label = "recursion" if i == 2 else None
        left.semilogy(np.linalg.norm(residuals, axis=1)[:201], "k--", lw=0.9, label=label)
    left.semilogy(
        np.linalg.norm(noisy.residuals, axis=1)[:201], color=PURPLE, lw=1, label=f"k = 160, batches of {SAMPLES}"
    )
    left.set(xlabel="step", ylabel="|mean of data - mean of generator|", title="Descent-ascent and its recursion")
    left.set_ylim(1e-14, 10)
    left.legend(fontsize=9)
    middle.plot(WIDTHS, np.median(rates, axis=1), "o-", color=BLUE, label="median")
    middle.fill_between(WIDTHS, rates.min(axis=1), rates.max(axis=1), color=BLUE, alpha=0.2, label=f"{RUNS} decoders")
    middle.set(xscale="log", xlabel="neurons k", ylabel="rate at the best step", title=f"{FEATURES} features, mu = 0.5")
    middle.set_xticks(WIDTHS, [str(k) for k in WIDTHS])
    middle.minorticks_off()
    middle.legend(fontsize=9)
    step, mu = np.meshgrid(np.linspace(0.003, 1.3, 260), np.linspace(0.02, 4.4, 260))
    radius = mode_radius(step, mu)
    shown = right.contourf(step, mu, radius, levels=np.linspace(0, 1, 11), cmap="Blues_r")
    right.contour(step, mu, radius, levels=[1.0], colors=VERMILION, linewidths=2)
    grid = np.linspace(0.02, 4, 100)
    right.plot(grid / 4, grid, "--", color=GREY, label="eta kappa = mu / 4")
    right.set(xlabel="eta kappa", ylabel="mu", title="Rate of one mode; stable inside the line", xlim=(0, 1.3))
    right.legend(fontsize=9, loc="upper right")
    figure.colorbar(shown, ax=right, label="spectral radius")
    for ax in (left, middle):
        lighten(ax)
    return figure
