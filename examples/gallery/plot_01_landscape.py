r"""
The landscape of one neuron, and its convex twin
================================================

One sample :math:`x = 1`, :math:`y = 1`, one neuron with weights :math:`(u, a)`: the smallest network there is, and
already its training problem is not convex,

.. math::

    \min_{u, a}\ (1 - (u)_+ a)^2 + \tfrac12 (u^2 + a^2).

Pilanci and Ergen (ICML 2020) showed that two-layer ReLU networks have a convex twin with the same optimal value. For
this one, with :math:`v = (u)_+ a` for a positive output weight and :math:`w` for a negative one,

.. math::

    \min_{v, w \ge 0}\ (1 - v + w)^2 + v + w,

because :math:`\tfrac12 (u^2 + a^2) \ge |u a|`, with equality if :math:`|u| = |a|`. The figure is from the talk of Wang,
Lacotte and Pilanci (ICLR 2022): both landscapes have the minimum :math:`3/4`, but the left one also has a point where
gradient methods stop.
"""

import matplotlib.pyplot as plt
import numpy as np

import extremal
from extremal.plotting.style import BLUE, ORANGE, VERMILION


def nonconvex(u, a):
    return (1 - np.maximum(u, 0) * a) ** 2 + 0.5 * (u**2 + a**2)


def convex(v, w):
    return (1 - v + w) ** 2 + v + w


# %%
# The two landscapes
# ------------------
# The height of both surfaces is the objective; the colours are the same on both sides.

U, A = np.meshgrid(np.linspace(-1.5, 1.5, 241), np.linspace(-1.5, 1.5, 241))
V, W = np.meshgrid(np.linspace(0, 1.5, 241), np.linspace(0, 1.5, 241))
top = 3.0
box = {"boxstyle": "round,pad=0.25", "facecolor": "white", "edgecolor": "none", "alpha": 0.85}
best = {"nonconvex": (0.5**0.5, 0.5**0.5), "convex": (0.5, 0.0)}
figure = plt.figure(figsize=(8.2, 4.1), layout="constrained")
for k, (name, x, y, height) in enumerate((("nonconvex", U, A, nonconvex), ("convex", V[:161], W[:161], convex))):
    ax = figure.add_subplot(1, 2, k + 1, projection="3d", computed_zorder=False)
    z = np.minimum(height(x, y), top)
    ax.plot_surface(
        x, y, z, cmap="cividis_r", vmin=0.6, vmax=top, rcount=120, ccount=120, linewidth=0, antialiased=False
    )
    ax.contour(x, y, z, levels=np.arange(0.8, top, 0.2), colors="white", linewidths=0.5, zorder=2)
    marks = [(*best[name], 2.5, "o", VERMILION, "optimum: 3/4")]
    if name == "nonconvex":
        marks.append((0, 0, 1.9, "X", "black", "zero network: 1"))
    for place_x, place_y, above, marker, colour, label in marks:
        low = height(place_x, place_y)
        ax.plot([place_x] * 2, [place_y] * 2, [low, above], color=colour, linewidth=1.2, zorder=8)
        ax.scatter(
            place_x, place_y, low, color=colour, edgecolor="white", marker=marker, s=80, zorder=9, depthshade=False
        )
        ax.text(place_x, place_y, above, label, color=colour, ha="center", va="bottom", zorder=10, bbox=box)
    ax.set_title(name, y=0.98, fontsize="x-large")
    ax.set(xlabel="uv"[k], ylabel="aw"[k], zlim=(0.5, top), zticks=[1, 2, 3])
    ax.set_box_aspect((1, 1, 0.75), zoom=0.95)
    ax.view_init(elev=40, azim=-105)
plt.show()

# %%
# Where gradient descent ends
# ---------------------------
# Every start with :math:`u + a > 0` and :math:`u > 0` finds the optimum. From the other side the neuron dies: on
# :math:`u \le 0` the loss does not see it, the penalty shrinks it to zero, and there it stays, at the value 1. The
# origin is stationary but no local minimum: along :math:`(1, 1)` the objective is :math:`1 - t^2 + t^4`.


def descend(start, gradient, project=lambda point: point, steps=4000, step=0.01):
    """Plain (projected) gradient descent, the whole way."""
    way = [np.array(start, dtype=float)]
    for _ in range(steps):
        way.append(project(way[-1] - step * gradient(*way[-1])))
    return np.array(way)


def slope_nonconvex(u, a):
    residual = 1 - max(u, 0) * a
    return np.array([-2 * residual * a * (u > 0) + u, -2 * residual * max(u, 0) + a])


def slope_convex(v, w):
    residual = 1 - v + w
    return np.array([1 - 2 * residual, 1 + 2 * residual])


starts = [(1.45 * np.cos(t), 1.45 * np.sin(t)) for t in np.radians(np.arange(7.5, 360, 15))]
ways = [descend(start, slope_nonconvex) for start in starts]
ends = np.array([nonconvex(*way[-1]) for way in ways])
found, dead = np.isclose(ends, 0.75, atol=1e-9), np.isclose(ends, 1.0, atol=1e-9)
print(f"nonconvex: {found.sum()} of {len(ends)} starts reach 3/4, {dead.sum()} end in the zero network with value 1")
assert found.any()
assert dead.any()
assert np.all(found | dead)
assert np.array_equal(found, [u > 0 and u + a > 0 for u, a in starts])

corners = [(v, w) for v in (0.1, 0.7, 1.4) for w in (0.1, 0.7, 1.4)]
convex_ways = [descend(start, slope_convex, lambda point: np.maximum(point, 0)) for start in corners]
convex_ends = np.array([convex(*way[-1]) for way in convex_ways])
print(f"convex:    {np.isclose(convex_ends, 0.75).sum()} of {len(convex_ends)} starts reach 3/4")
np.testing.assert_allclose(convex_ends, 0.75, atol=1e-9)

figure, (left, right) = plt.subplots(1, 2, figsize=(8.2, 4.0), layout="constrained")
levels = np.geomspace(0.76, 6, 14)
for ax, (x, y), height in ((left, (U, A), nonconvex), (right, (V, W), convex)):
    ax.contourf(x, y, height(x, y), levels=levels, cmap="Greys_r", extend="both", alpha=0.4)
    ax.set_aspect("equal")
for way, good in zip(ways, found, strict=True):
    left.plot(*way.T, color=BLUE if good else ORANGE, linewidth=1.6)
    left.plot(*way[0], "o", color=BLUE if good else ORANGE, markersize=4)
for way in convex_ways:
    right.plot(*way.T, color=BLUE, linewidth=1.6)
    right.plot(*way[0], "o", color=BLUE, markersize=4)
for ax, place in ((left, best["nonconvex"]), (right, best["convex"])):
    ax.plot(*place, "*", color=VERMILION, markeredgecolor="white", markersize=18, clip_on=False, zorder=5)
left.plot(0, 0, "X", color="black", markeredgecolor="white", markersize=11, zorder=5)
left.text(0.72, 0.97, "optimum, 3/4", color=VERMILION, ha="center", bbox=box)
left.text(-0.75, -0.1, "dead neuron, 1", ha="center", va="top", bbox=box)
right.text(0.55, 0.09, "optimum, 3/4", color=VERMILION, ha="left", bbox=box)
left.set(title=f"gradient descent: {dead.sum()} of {len(ends)} starts die", xlabel="u", ylabel="a")
right.set(title="projected gradient descent: all arrive", xlabel="v", ylabel="w")
plt.show()

# %%
# The library says the same
# -------------------------
# Extremal's objective is half of the talk's, :math:`\tfrac12 r^2 + \tfrac\beta2 (u^2 + a^2)` with :math:`\beta =
# \tfrac12`. `fit` returns the optimum with a proven lower bound; `stationarity` says what the zero network is, and
# finds the way down that the gradient does not see.

X, y = np.ones((1, 1)), np.ones(1)
result = extremal.fit(X, y, beta=0.5, bias="none")
print(f"twice the objective    {2 * result.certificate.primal:.10f}")
print(f"twice its lower bound  {2 * result.certificate.dual:.10f}")
assert abs(2 * result.certificate.primal - 0.75) < 1e-8
assert abs(2 * result.certificate.dual - 0.75) < 2e-6

zero = extremal.stationarity(extremal.Network(np.zeros((1, 1)), np.zeros(1)), X, y, beta=0.5)
print(f"the zero network is {zero.kind.value}")
print(f"a new neuron lowers twice the objective to {2 * zero.escape.objective:.6f}")
assert zero.clarke_distance == 0
assert abs(2 * zero.escape.objective - 0.75) < 1e-6
