"""Gradient flow on orthogonally separable data (Wang & Pilanci, ICLR 2022): to the spikes, and how it begins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

import extremal
from extremal import datasets
from extremal.closed_forms import orthogonal_flow_limit
from extremal.design import Array
from extremal.flow import FlowResult, Verdict
from extremal.reproductions.result import Comparison, Reproduction

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: The talk's pictures have data of two or three dimensions that are not printed; these are recalled.
ROWS, LABELS = np.array([[1.65, 0.47], [-0.47, 1.35]]), np.array([1.0, -1.0])


def flow_to_the_spikes() -> Reproduction:
    """The flow on two rows in the plane, from small balanced starts, against the closed form of its limit."""
    said = orthogonal_flow_limit(ROWS, LABELS)
    optimum = extremal.max_margin(ROWS, LABELS)
    runs = [extremal.flow(ROWS, LABELS, width=20, init=1e-3, random_state=seed, optimum=optimum) for seed in range(8)]
    first = runs[0]
    net = first.network.balance()
    units = net.hidden / np.linalg.norm(net.hidden, axis=0)
    own = np.where(net.output[:, 0] > 0, 0, 1)
    mass = np.sum(net.hidden**2, axis=0) + net.output[:, 0] ** 2
    share = float(mass[own == 0].sum() / mass.sum())
    away = max(float(np.max(1 - np.sum(units * said.late[:, own], axis=0))), 0.0)
    spikes = np.maximum(ROWS @ said.late, 0)
    comparisons = (
        Comparison.claim(
            "the flow from a small balanced start ends at the global optimum",
            "always",
            f"{sum(run.verdict is Verdict.GLOBAL for run in runs)} of {len(runs)} starts",
            all(run.verdict is Verdict.GLOBAL for run in runs),
        ),
        Comparison.number(
            "P* by the closed form, 1/|x_1| + 1/|x_2|, and the value of the limit",
            1.282432,
            first.value,
            tol=1e-6,
            digits=7,
        ),
        Comparison.number("the same, and the proven lower bound", 1.282432, optimum.dual_value, tol=3e-6, digits=7),
        Comparison.claim(
            "the neurons reach the spikes",
            "along e_1 and e_2",
            f"(X u)_+ = {spikes[0, 0]:.4f} e_1 and {spikes[1, 1]:.4f} e_2; 1 - cos at most {away:.1g}",
            away < 1e-9 and abs(spikes[1, 0]) + abs(spikes[0, 1]) < 1e-12,
        ),
        Comparison.number(
            "share of |theta|^2 in class + by the closed form, and in the limit",
            float(said.shares[0]),
            share,
            tol=1e-8,
            digits=8,
        ),
        Comparison.claim(
            "g(lam) <= 1 at the limit, and only then it is global",
            "1",
            f"{first.gauge.lower:.9f} to {first.gauge.upper:.9f}" if first.gauge is not None else "not computed",
            first.gauge is not None and first.gauge.upper <= 1 + 1e-6,
        ),
    )
    sentence = (
        f"All {len(runs)} starts end with margin / |theta|^2 = {0.5 / first.value:.6f} = 1 / (2 P*), as the closed "
        "form says. The pictures are of the first; the talk does not print its data, these rows are recalled from it."
    )
    return Reproduction(comparisons, sentence, lambda: _draw_spikes(first))


def _draw_spikes(run: FlowResult) -> Figure:
    from matplotlib import pyplot

    from extremal.plotting import plot_ellipsoid, plot_margin

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 5.2), layout="constrained")
    plot_ellipsoid(run.trajectory, left, lam=run.lam)
    left.set(title="(X u)₊ on the rectified ellipsoid", xlabel="row 1 (label +1)", ylabel="row 2 (label -1)")
    plot_margin(run.trajectory, right, optimum=run.value, time_limit=1.0)
    right.set_title("Bounds on P* along the flow")
    return figure


SCALES = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-8)


def alignment() -> Reproduction:
    """cos(w_i, s X^T D(w_i) y) of the largest neuron of either sign when |W| reaches 0.1, for ever smaller starts."""
    data = datasets.orthogonally_separable(10, 4, random_state=0)
    cosines = np.array([[_alignment(*data, scale, seed) for seed in range(3)] for scale in SCALES])
    misses = 1 - cosines.min(axis=2)
    said = orthogonal_flow_limit(*data)
    run = extremal.flow(*data, width=20, init=1e-8, proof_time=0).trajectory
    early = _at_norm(run.half_norm2, 0.1**2)
    towards = [
        max(float(v @ said.early[:, k]) for v, kappa in zip(run.directions[early], run.ratios[early], strict=True)
            if np.sign(kappa) == said.labels[k])
        for k in range(2)
    ]  # fmt: skip
    comparisons = (
        Comparison.claim(
            "a neuron of either sign aligns with s X^T D y before the network is felt",
            "cos >= 1 - delta for every delta, if the start is small enough",
            f"1 - cos at most {misses[0].max():.1g} from a start of {SCALES[0]:g}, {misses[-1].max():.1g} from "
            f"{SCALES[-1]:g}",
            bool(misses[-1].max() < 1e-6 and misses[-1].max() < misses[0].max()),
        ),
        Comparison.claim(
            "on orthogonally separable data D covers the class: the direction is the sum of its rows",
            "1",
            f"cos {towards[0]:.9f} and {towards[1]:.9f}",
            min(towards) > 1 - 1e-6,
        ),
    )
    sentence = (
        "The smaller the start, the longer the neurons have for turning before they matter; later they leave the class "
        f"sums for the separators, at angles of {np.degrees(_angles(said.early, said.late)[0]):.1f} and "
        f"{np.degrees(_angles(said.early, said.late)[1]):.1f} degrees."
    )
    return Reproduction(comparisons, sentence, lambda: _draw_alignment(misses))


def _alignment(X: Array, y: Array, scale: float, seed: int) -> tuple[float, float]:
    """The cosines of the largest neuron of either sign when |W|_F reaches 0.1 (|theta|^2 = 0.02), or at the start."""
    run = extremal.flow(X, y, width=20, init=scale, random_state=seed, proof_time=0).trajectory
    k = _at_norm(run.half_norm2, 0.1**2)
    found = []
    for sign in (1.0, -1.0):
        own = np.where(np.sign(run.ratios[k]) == sign, run.log_norms[k], -np.inf)
        w = run.directions[k][int(np.argmax(own))]
        direction = sign * (X.T @ ((X @ w > 0) * y))
        found.append(float(w @ direction) / (float(np.linalg.norm(direction)) or 1.0))
    return found[0], found[1]


def _at_norm(half_norm2: Array, size: float) -> int:
    """The first snapshot with 1/2 |theta|^2 = |W|^2 >= size."""
    return min(int(np.searchsorted(half_norm2, size)), len(half_norm2) - 1)


def _angles(U: Array, V: Array) -> Array:
    return np.arccos(np.clip(np.sum(U * V, axis=0), -1, 1))


def _draw_alignment(misses: Array) -> Figure:
    from matplotlib import pyplot

    from extremal.plotting.style import BLUE, VERMILION, lighten

    figure, ax = pyplot.subplots(figsize=(6.4, 4.2), layout="constrained")
    points: dict[str, Any] = {"marker": "o", "linestyle": "none", "color": BLUE, "alpha": 0.5, "markersize": 4}
    for k in range(misses.shape[1]):
        ax.plot(SCALES, np.maximum(misses[:, k], 1e-16), label="three starts" if k == 0 else None, **points)
    ax.plot(SCALES, np.maximum(misses.max(axis=1), 1e-16), color=VERMILION, label="worst of them")
    ax.set(xscale="log", yscale="log", xlabel="scale of the start", ylabel="1 - cos(w, s Xᵀ D y)")
    ax.set_title("The largest neuron of either sign when |W| = 0.1")
    ax.legend(frameon=False)
    lighten(ax)
    return figure
