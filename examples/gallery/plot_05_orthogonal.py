r"""
Orthogonally separable data: a closed form, a program, and the flow
===================================================================

Data are orthogonally separable if :math:`x_i \cdot x_j > 0` within a class and :math:`\le 0` across. Then the two
classes do not disturb each other. With the hard-margin separators of each class from the origin,

.. math::

    v_\pm = \arg\min |v| \quad \text{subject to} \quad x_i \cdot v \ge 1 \ \text{ for } y_i = \pm 1,

the best network has one neuron for each class, :math:`f(x) = (v_+ \cdot x)_+ - (v_- \cdot x)_+`, and

.. math::

    P^* = |v_+| + |v_-|.

Three ways lead to this number: the closed form, the convex max-margin program over all patterns with its certificate,
and the limit of gradient flow, which shares no code with either.
"""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import LinearSegmentedColormap

import extremal
from extremal.closed_forms import orthogonal_flow_limit, orthogonal_max_margin
from extremal.plotting.style import BLUE, GREY, VERMILION, lighten

# %%
# Data, separators, and the function that training ends with
# ----------------------------------------------------------
# Each class lies in a cone of less than a right angle, and the classes are at least a right angle apart. The colours
# are the network in the limit of the flow, with smallest margin one; the lines are its levels :math:`f = \pm 1`, on
# which the rows that hold the separators lie.

X, y = extremal.datasets.orthogonally_separable(16, 2, random_state=5)
closed = orthogonal_max_margin(X, y)
said = orthogonal_flow_limit(X, y)
result = extremal.flow(X, y, width=30, init=1e-4)
print(closed)
print()
print(result)

inner = X @ X.T
assert np.all(inner[np.equal.outer(y, y)] > 0)
assert np.all(inner[~np.equal.outer(y, y)] <= 0)

figure, ax = plt.subplots(figsize=(7.2, 5.4), layout="constrained")
size = 1.15 * np.abs(X).max()
grid = np.linspace(-size, size, 300)
points = np.stack(np.meshgrid(grid, grid), axis=-1).reshape(-1, 2)
values = result.network.predict(points).reshape(300, 300)
colours = LinearSegmentedColormap.from_list("classes", [BLUE, "white", VERMILION])
top = np.abs(values).max()
image = ax.contourf(grid, grid, values, levels=np.linspace(-top, top, 41), cmap=colours, alpha=0.55)
lines = ax.contour(grid, grid, values, levels=[-1, 1], colors=[BLUE, VERMILION], linewidths=1.6)
ax.clabel(lines, fmt={-1: "f = −1", 1: "f = 1"}, fontsize=10)
for sign, marker, colour in ((1, "^", VERMILION), (-1, "v", BLUE)):
    ax.scatter(*X[y == sign].T, marker=marker, color=colour, edgecolor="white", s=70, zorder=4)
for direction, label in zip(said.late.T, said.labels, strict=True):
    colour = VERMILION if label > 0 else BLUE
    ax.annotate(
        "", 0.62 * size * direction, (0, 0), arrowprops={"arrowstyle": "-|>", "color": colour, "linewidth": 2.2}
    )
    ax.text(*(0.68 * size * direction), "v₊" if label > 0 else "v₋", color=colour, weight="bold", fontsize=13,
            ha="center", va="center")  # fmt: skip
ax.axhline(0, color=GREY, linewidth=0.6)
ax.axvline(0, color=GREY, linewidth=0.6)
ax.set(aspect="equal", xlabel="$x_1$", ylabel="$x_2$", title="one neuron for each class")
figure.colorbar(image, label="f(x)", ticks=[-10, -5, 0, 5, 10])
plt.show()

# %%
# Along the flow
# --------------
# At every moment of the run :math:`\tfrac12 |\theta|^2 / \min_k y_k f(x_k)` is above :math:`P^*`, and
# :math:`y^T \lambda / g(\lambda)` is below; both are drawn as distances from the closed form. The upper bound closes
# like :math:`1 / |\theta|^2`, and the lower one with it for most of the way.

run = result.trajectory
lower = run.lower_bounds(200)
figure, ax = plt.subplots(figsize=(7.2, 4.2), layout="constrained")
upper = run.upper_bounds / closed.value - 1
below = 1 - lower.values / closed.value
weight = run.half_norm2
far = np.isfinite(upper) & (upper > 0)
ax.loglog(weight[far], upper[far], color=VERMILION, linewidth=2)
deep = below > 1e-14
ax.loglog(weight[lower.indices][deep], below[deep], "o-", color=BLUE, markersize=2.5, linewidth=1.5)
ax.text(6e-4, 3, "upper bound, from the margin", color=VERMILION)
ax.text(6e-4, 0.25, "lower bound, from the multiplier", color=BLUE)
ax.set(xlabel="½|θ|²", ylabel="relative distance from the closed form", xlim=(3e-5, None))
lighten(ax)
plt.show()
assert np.all(run.upper_bounds >= closed.value * (1 - 1e-9))
assert np.all(lower.values <= closed.value * (1 + 1e-9))

# %%
# Three answers on eight data sets
# --------------------------------
# Dimensions two to five, up to twenty rows. The last column is the share of :math:`|\theta|^2` in the positive class,
# which theory puts at :math:`|v_+| / P^*`.

print(f"{'rows':>4} {'dim':>3}  {'closed form':>13} {'program':>13} {'flow':>13}  {'share +':>9} {'predicted':>9}")
for seed in range(8):
    n, d = 6 + 2 * seed, 2 + seed % 4
    X, y = extremal.datasets.orthogonally_separable(n, d, random_state=seed)
    closed, said = orthogonal_max_margin(X, y), orthogonal_flow_limit(X, y)
    program = extremal.max_margin(X, y)
    limit = extremal.flow(X, y, width=20, init=1e-4, random_state=seed, optimum=program)
    net = limit.network.balance()
    mass = (net.hidden**2).sum(axis=0) + net.output[:, 0] ** 2
    share = mass[net.output[:, 0] > 0].sum() / mass.sum()
    predicted = float(said.shares[list(said.labels).index(1)])
    print(
        f"{n:4d} {d:3d}  {closed.value:13.9f} {program.value:13.9f} {limit.value:13.9f}  {share:9.6f} {predicted:9.6f}"
    )
    assert limit.verdict is extremal.Verdict.GLOBAL
    assert abs(program.value / closed.value - 1) < 1e-6
    assert abs(limit.value / closed.value - 1) < 1e-8
    assert abs(share - predicted) < 1e-6
