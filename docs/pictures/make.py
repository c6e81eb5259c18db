"""The pictures of docs/idea.md: `python docs/pictures/make.py` writes them beside this file."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

import extremal
from extremal.plotting.style import BLUE, GREEN, GREY, ORANGE, SKY, VERMILION, lighten

HERE = Path(__file__).parent
#: Two samples in the plane, orthogonally separable: everything about them can be drawn.
X, y = np.array([[1.6, 0.4], [-1.3, 1.1]]), np.array([1.0, -1.0])


def landscape() -> Figure:
    """One neuron and one sample, x = y = 1: the nonconvex problem next to its convex twin."""
    u = np.meshgrid(np.linspace(-1.5, 1.5, 121), np.linspace(-1.5, 1.5, 121))
    v = np.meshgrid(np.linspace(0, 1.5, 91), np.linspace(0, 0.6, 37))
    top = 3.5
    sides = (
        ("training: nonconvex", u, lambda u, a: (1 - np.maximum(u, 0) * a) ** 2 + (u**2 + a**2) / 2, "ua"),
        ("the same, convex", v, lambda v, w: (1 - v + w) ** 2 + v + w, "vw"),
    )
    best = ((0.5**0.5, 0.5**0.5), (0.5, 0.0))
    figure = plt.figure(figsize=(9.6, 4.4), layout="constrained")
    for k, (title, (a, b), height, labels) in enumerate(sides):
        ax = figure.add_subplot(1, 2, k + 1, projection="3d", computed_zorder=False)
        z = height(a, b)
        z[z > top] = np.nan
        ax.plot_surface(a, b, z, cmap="Blues_r", vmin=0.5, vmax=4.5, rstride=3, cstride=3, lw=0.2, edgecolor="0.5")
        ax.scatter(*best[k], height(*best[k]), color=VERMILION, s=70, zorder=9, edgecolor="white", label="optimum, 3/4")
        if k == 0:
            ax.scatter(0, 0, 1, color="black", marker="X", s=70, zorder=9, edgecolor="white", label="stuck at zero, 1")
        ax.set(title=title, xlabel=labels[0], ylabel=labels[1], zlim=(0, top), zticks=[0, 1, 2, 3])
        ax.view_init(34, -130)
        ax.legend(loc="upper right", fontsize=9)
    return figure


def ellipsoid() -> Figure:
    """What one neuron can do on two samples, and the multipliers that allow it no more than one."""
    angle = np.linspace(0, 2 * np.pi, 1441)
    circle = np.array([np.cos(angle), np.sin(angle)])
    full, folded = X @ circle, np.maximum(X @ circle, 0)
    best = extremal.max_margin(X, y)
    lam, spikes = best.lam, np.diag(folded.max(axis=1))
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.6, 5.4), layout="constrained")

    left.plot(*full, color=GREY, ls="--", lw=1, label="Xu, |u| ≤ 1")
    for sign, shade in ((1, SKY), (-1, "0.85")):
        left.fill(*(sign * folded), color=shade, alpha=0.7, label="Q: (Xu)₊" if sign == 1 else "its mirror image")
        left.plot(*(sign * folded), color=SKY if sign == 1 else "0.75", lw=3)
    left.plot(*spikes, "*", color=VERMILION, ms=15, mec="white", label="spikes: the optimal neurons")
    corners = np.array([spikes[:, 0], -spikes[:, 1]])
    way = corners[1] - corners[0]
    left.plot(*(corners[0] + np.outer([-0.25, 1.25], way)).T, color=VERMILION, lw=1.2, label="λᵀz = 1")
    middle = corners.mean(axis=0)
    left.annotate("", middle + 0.5 * lam, middle, arrowprops={"arrowstyle": "->", "color": VERMILION, "lw": 1.6})
    left.text(*(middle + 0.62 * lam), "λ", color=VERMILION, ha="center", va="center")
    left.set(title="the rectified ellipsoid, in the space of outputs", xlabel="output on sample 1",
             ylabel="output on sample 2", xlim=(-2.1, 2.1), ylim=(-2.1, 2.1), aspect="equal")  # fmt: skip

    directions = np.array([np.cos(angle), np.sin(angle)])
    gauge = np.abs(directions.T @ folded).max(axis=1)
    polar = directions / gauge
    right.fill(*polar, color=ORANGE, alpha=0.35, label="g(λ) ≤ 1")
    right.plot(*polar, color=ORANGE, lw=1.2)
    levels = np.linspace(-1.2, 1.2, 2)
    for value, style in ((best.value, "-"), (best.value / 2, ":")):
        right.plot(levels, levels - value, color=BLUE, ls=style, lw=1.2,
                   label="yᵀλ = P*" if style == "-" else "yᵀλ = P*/2")  # fmt: skip
    right.plot(*lam, "*", color=VERMILION, ms=15, mec="white", label="λ: the dual optimum")
    right.set(title="its polar set, in the space of multipliers", xlabel="λ of sample 1", ylabel="λ of sample 2",
              xlim=(-0.95, 1.0), ylim=(-0.95, 1.0), aspect="equal")  # fmt: skip
    for ax in (left, right):
        ax.axhline(0, color="0.8", lw=0.8, zorder=0)
        ax.axvline(0, color="0.8", lw=0.8, zorder=0)
        lighten(ax)
        ax.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=2, frameon=False)
    return figure


def missing_neuron() -> Figure:
    """λᵀ(Xu)₊ around the circle: at a network that misses a neuron, and at the global optimum."""
    beta = 0.4
    data, target = extremal.datasets.gaussian_labels(8, 2, random_state=3)
    result = extremal.fit(data, target, beta=beta, bias="none")
    problem = extremal.Problem.from_data(data, target, beta=beta, bias="none")
    net = result.network.balance()
    kept = np.argsort(-net.strength)[:-1]
    patterns, signs = (data @ net.hidden[:, kept] > 0).T, np.sign(net.output[kept, 0])
    local = extremal.programs.pattern_program(problem, patterns, signs).network
    angle = np.linspace(0, 2 * np.pi, 2000)
    circle = np.array([np.cos(angle), np.sin(angle)])
    figure, axes = plt.subplots(1, 2, figsize=(9.6, 3.6), sharey=True, layout="constrained")
    for ax, network, title in zip(axes, (local, net), ("stationary, not optimal", "globally optimal"), strict=True):
        lam = target - network.predict(data)[:, 0]
        value = lam @ np.maximum(data @ circle, 0)
        ax.plot(np.degrees(angle), value / beta, color=BLUE, label="λᵀ(Xu)₊ / β")
        ax.fill_between([0, 360], -1, 1, color=GREEN, alpha=0.12, label="allowed: g(λ) ≤ β")
        at = np.degrees(np.arctan2(network.hidden[1], network.hidden[0])) % 360
        ax.plot(at, np.sign(network.output[:, 0]), "o", color="black", ms=7, label="the network's neurons")
        k = int(np.argmax(np.abs(value)))
        if abs(value[k]) > 1.001 * beta:
            star = {"color": VERMILION, "ms": 16, "mec": "white", "label": "the missing neuron"}
            ax.plot(np.degrees(angle[k]), value[k] / beta, "*", **star)
        certificate = extremal.certify(network, data, target, beta=beta)
        ax.set(title=f"{title}: {certificate.primal:.4f}, proven gap {certificate.gap:.1%}",
               xlabel="direction u, degrees", xlim=(0, 360), xticks=range(0, 361, 90))  # fmt: skip
        lighten(ax)
    axes[0].set_ylabel("in units of β")
    figure.legend(*axes[0].get_legend_handles_labels(), fontsize=9, loc="outside lower center", ncols=4, frameon=False)
    return figure


def certificate() -> Figure:
    """Objective and proven bound while a network is trained on the diabetes data: the proof closes the gap."""
    from sklearn.datasets import load_diabetes
    from sklearn.preprocessing import scale

    data, target = load_diabetes(return_X_y=True)
    result = extremal.fit(scale(data), scale(target), beta=110)
    time = np.array([record.time for record in result.history])
    upper = np.array([record.objective for record in result.history])
    lower = np.array([record.bound for record in result.history])
    end = result.certificate.primal
    figure, ax = plt.subplots(figsize=(7.6, 3.6), layout="constrained")
    ax.fill_between(time, lower, upper, step="post", color=SKY, alpha=0.35, label="where the optimum can be")
    ax.step(time, upper, where="post", color=BLUE, label="objective of the best network so far")
    ax.step(time, lower, where="post", color=VERMILION, label="no network of any width can be below")
    ax.set(xlabel="seconds", ylabel="objective", ylim=(0.97 * end, 1.03 * end),
           title=f"442 patients, 10 features: a gap of {result.certificate.gap:.0e} at the end")  # fmt: skip
    lighten(ax)
    ax.legend(loc="upper right")
    return figure


if __name__ == "__main__":
    for draw in (landscape, ellipsoid, missing_neuron, certificate):
        draw().savefig(HERE / f"idea-{draw.__name__.replace('_', '-')}.png", dpi=110)
