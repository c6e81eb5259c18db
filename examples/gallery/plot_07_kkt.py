r"""
Trained to a stationary point that is not the optimum, and the proof
====================================================================

Gradient flow on the logistic loss converges in direction to a stationary point of the max-margin problem

.. math::

    P^* = \min \tfrac12 |\theta|^2 \quad \text{subject to} \quad y_k f(x_k) \ge 1 .

Is it the best one? Its multiplier :math:`\lambda` knows (Wang and Pilanci, ICLR 2022): if

.. math::

    g(\lambda) = \max_{|u| \le 1} |\lambda^T (X u)_+| \le 1

it is, and if not, the direction that attains the maximum is a neuron that the network lacks. Fifteen linearly separable
points in the plane are enough to go wrong.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import extremal
from extremal.plotting.style import BLUE, GREEN, GREY, ORANGE, VERMILION, lighten

# %%
# Six starts, one limit, and it is 10 % too large
# -----------------------------------------------

X, y = extremal.datasets.linearly_separable(15, 2, random_state=1000)
best = extremal.max_margin(X, y)
runs = [extremal.flow(X, y, width=40, init=1e-3, random_state=seed, optimum=best) for seed in range(6)]
for run in runs:
    print(
        f"½|θ|² = {run.value:.6f}, {100 * run.excess:.2f} % above P* = {best.value:.6f}; g(λ) = {run.gauge.lower:.5f}"
    )
    assert run.verdict is extremal.Verdict.NOT_GLOBAL
    assert run.gauge.lower > 1.2
    assert run.value > 1.1 * best.dual_value  # a proven lower bound on every network
run = runs[0]

# %%
# The picture is the proof
# ------------------------
# In the plane a neuron is an angle, so that the condition can be drawn for all neurons at once. Above, the multiplier
# of the flow's limit: where its network has neurons (triangles) the curve touches :math:`\pm 1`, as at every
# stationary point, but between them it leaves the band. Below, the multiplier of the best network stays inside: no
# neuron whatsoever can improve it.

angle = np.linspace(0, 2 * np.pi, 2001)
circle = np.column_stack([np.cos(angle), np.sin(angle)])
fits = np.maximum(circle @ X.T, 0)
figure, axes = plt.subplots(2, 1, figsize=(8.4, 6.6), sharex=True, sharey=True, layout="constrained")
cases = (
    ("where gradient flow ends", run.network, run.lam, run.value),
    ("the optimum", best.network, best.lam, best.value),
)
for ax, (name, network, lam, value) in zip(axes, cases, strict=True):
    curve = fits @ lam
    degrees = np.degrees(angle)
    ax.axhspan(-1, 1, color=GREEN, alpha=0.12, linewidth=0)
    ax.plot(degrees, curve, color="black", linewidth=1.8)
    ax.fill_between(degrees, 1, curve, where=curve > 1 + 1e-7, color=ORANGE, alpha=0.8, linewidth=0)
    net = network.balance()
    neurons = np.degrees(np.arctan2(net.hidden[1], net.hidden[0])) % 360
    for place, a in zip(neurons, net.output[:, 0], strict=True):
        ax.plot(place, np.sign(a), "^" if a > 0 else "v", color=VERMILION if a > 0 else BLUE, markersize=11,
                markeredgecolor="white", clip_on=False, zorder=4)  # fmt: skip
    ax.set_title(f"{name}: ½|θ|² = {value:.4f}, largest |λᵀ(Xu)₊| = {np.abs(curve).max():.4f}")
    ax.set_ylabel("λᵀ (Xu)₊")
    lighten(ax)
    ax.grid(False)
    np.testing.assert_allclose(np.interp(neurons, degrees, curve), np.sign(net.output[:, 0]), atol=2e-3)
witness = np.degrees(np.arctan2(*run.violator[::-1])) % 360
axes[0].annotate(
    f"missing neuron\nat {witness:.0f}°", (witness, run.gauge.lower), xytext=(110, 0), textcoords="offset points",
    arrowprops={"arrowstyle": "-", "color": GREY}, va="center",
)  # fmt: skip
axes[1].set(xlabel="direction of u in degrees", xticks=range(0, 361, 45), xlim=(0, 360), ylim=(-1.35, 1.45))
plt.show()
assert np.abs(fits @ best.lam).max() <= 1 + 1e-6
assert np.abs(run.violator @ run.violator - 1) < 1e-9

# %%
# What the networks do
# --------------------
# Both separate the data with margin one. The flow serves the class above with one neuron; two smaller ones are
# cheaper.

figure, axes = plt.subplots(1, 2, figsize=(8.4, 4.9), sharex=True, sharey=True, layout="constrained")
size = 1.12 * np.abs(X).max()
grid = np.linspace(-size, size, 300)
points = np.stack(np.meshgrid(grid, grid), axis=-1).reshape(-1, 2)
for ax, (name, network, _, value) in zip(axes, cases, strict=True):
    values = network.predict(points).reshape(300, 300)
    ax.contourf(
        grid, grid, values, levels=[-1e9, -1, 0, 1, 1e9], colors=[BLUE, "#a9cfe6", "#f2c9ae", VERMILION], alpha=0.55
    )
    ax.contour(grid, grid, values, levels=[0], colors="black", linewidths=1.4)
    for sign, marker, colour in ((1, "^", VERMILION), (-1, "v", BLUE)):
        ax.scatter(*X[y == sign].T, marker=marker, color=colour, edgecolor="white", s=60, zorder=4)
    net = network.balance()
    for w in net.hidden.T:
        ax.annotate("", 0.3 * w, (0, 0), arrowprops={"arrowstyle": "-|>", "color": "black", "linewidth": 1.8})
    ax.set(title=f"{name}, {value:.4f}", aspect="equal", xlabel="$x_1$")
    assert (y * network.predict(X)[:, 0]).min() > 1 - 1e-6
axes[0].set_ylabel("$x_2$")
plt.show()

# %%
# With weight decay: a local minimum, and a proof in a file
# ---------------------------------------------------------
# The same happens with a penalty. Started in the limit of the flow, training with the squared hinge loss and
# :math:`\beta = 0.02` ends in a local minimum, the optimum over its own activation patterns. `stationarity` certifies
# that it is one and gives a way out. That the network found by `fit` is the best of all can be put into a file, and
# checked by a program that trusts nothing in it but the data's fingerprint.

setting = {"beta": 0.02, "loss": "squared_hinge"}
local = extremal.stationarity(run.network.balance(), X, y, **setting).signed_program().network
point = extremal.stationarity(local, X, y, **setting)
result = extremal.fit(X, y, bias="none", proof=True, **setting)
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "proof.npz"
    result.certificate.save(path, proof=True)
    verdict = extremal.verify(path, X, y)
print(point, "\n", verdict, sep="\n")
assert point.local_minimum
assert point.escape is not None
assert point.escape.network.objective(X, y, **setting) < point.objective
assert verdict.accepted
assert verdict.dual <= verdict.primal <= result.network.objective(X, y, **setting) * (1 + 1e-9)
assert verdict.gap < 1e-6
assert local.objective(X, y, **setting) > 1.09 * verdict.primal
