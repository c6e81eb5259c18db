r"""
Gradient flow runs to the spikes
================================

Train without a penalty, on labels :math:`y = \pm 1` with the logistic loss, from a small start. Once the labels are
separated the weights grow for ever, and their direction converges to a stationary point of the max-margin problem

.. math::

    P^* = \min \tfrac12 |\theta|^2 \quad \text{subject to} \quad y_k f(x_k) \ge 1.

On *orthogonally separable* data (inner products positive within a class, not positive across) the limit is the global
optimum (Wang and Pilanci, ICLR 2022), and it can be watched: the neurons' outputs :math:`(X w / |w|)_+` travel on the
rectified ellipsoid to its spikes, and the multiplier travels in the polar set :math:`\{g(\lambda) \le 1\}` to a corner.
"""

# sphinx_gallery_thumbnail_number = 3

import matplotlib.pyplot as plt
import numpy as np

import extremal
from extremal import plotting
from extremal.plotting.ellipsoid import draw_ellipsoid
from extremal.plotting.runs import mark_ends, shares, signs

# %%
# Two rows in the plane
# ---------------------
# Left, the ways of twenty neurons, bright at the start and dark at the end; triangles mark where they end, and stars
# the points that the hyperplanes :math:`\lambda^T z = \pm g(\lambda)` of the limit's multiplier touch. Right, the way
# of :math:`\lambda / g(\lambda)` along the boundary of the polar set to where :math:`y^T \lambda` is largest.

X, y = np.array([[1.65, 0.47], [-0.47, 1.35]]), np.array([1.0, -1.0])
result = extremal.flow(X, y, width=20, init=1e-3)
print(result)

figure, (left, right) = plt.subplots(1, 2, figsize=(8.2, 4.6), layout="constrained", width_ratios=[1.2, 1])
plotting.plot_ellipsoid(result.trajectory, left, lam=result.lam, colorbar=False)
plotting.plot_polar(result.trajectory, right, lam=result.lam, optimum=result.value, colorbar=False)
left.set_title("outputs on the rectified ellipsoid")
right.set_title("multiplier in the polar set")
right.get_legend().set_bbox_to_anchor((-0.42, -0.15))
for ax in (left, right):
    ax.get_legend().set_in_layout(False)
figure.get_layout_engine().set(rect=(0, 0.14, 1, 0.86))
plt.show()

# %%
# By hand, :math:`P^* = 1/|x_1| + 1/|x_2|`, and the neurons end at :math:`|x_1| e_1` and :math:`|x_2| e_2`.

lengths = np.linalg.norm(X, axis=1)
by_hand = (1 / lengths).sum()
net = result.network.balance()
fits = np.maximum(X @ (net.hidden / np.linalg.norm(net.hidden, axis=0)), 0)
print(f"value of the limit {result.value:.9f}, by hand {by_hand:.9f}")
assert result.verdict is extremal.Verdict.GLOBAL
assert abs(result.value - by_hand) < 1e-8
for column, a in zip(fits.T, net.output[:, 0], strict=True):
    k = 0 if a > 0 else 1
    np.testing.assert_allclose(column, lengths[k] * np.eye(2)[k], atol=1e-8)

# %%
# Four moments of the run
# -----------------------
# The area of a triangle is the neuron's share of the mass :math:`\sum_i |w_i| |a_i|`, up for positive output weights.
# First the neurons turn while all are equally small, then those that turned early outgrow the others.

run = result.trajectory
sizes = run.half_norm2
aligned = int(np.searchsorted(sizes, 1e-2))
turning = int(np.searchsorted(run.time, 0.25 * run.time[aligned]))
moments = {"start": 0, "turning": turning, "aligned, still small": aligned, "close to the limit": len(run) - 1}
figure, axes = plt.subplots(1, 4, figsize=(8.2, 2.6), layout="constrained", sharey=True)
for ax, (name, k) in zip(axes, moments.items(), strict=True):
    draw_ellipsoid(ax, X)
    mark_ends(ax, np.maximum(run.directions[k] @ X.T, 0), signs(run), shares(run, k), unit=2.0)
    ax.set_title(f"{name}\n|θ|² = {2 * sizes[k]:.2g}", fontsize="medium")
    ax.set(xlabel="(x₁·u)₊", ylabel="(x₂·u)₊" if k == 0 else "")
plt.show()

# %%
# Three rows in space
# -------------------
# The same with three rows: the ellipsoid is a surface now, with fins in the coordinate planes. The neurons of the class
# with two rows end on a fin: active on both of them, and not on the third. On the right the directions themselves; rows
# switch on the curves with teeth, and on the side of the teeth they are active.

X = np.array([[1.2, 0.2, 0.1], [-0.3, 1.0, 0.4], [-0.2, 0.5, 1.1]])
y = np.array([1.0, -1.0, -1.0])
assert extremal.is_orthogonally_separable(X, y)
result = extremal.flow(X, y, width=20, init=1e-3)
figure = plt.figure(figsize=(8.2, 4.3), layout="constrained")
left, right = (figure.add_subplot(1, 2, k, projection="3d") for k in (1, 2))
plotting.plot_ellipsoid(result.trajectory, left, lam=result.lam, colorbar=False)
plotting.plot_directions(result.trajectory, right, view="globe")
right.get_legend().remove()
left.set_box_aspect((1, 1, 1), zoom=0.82)
plt.show()

closed = extremal.closed_forms.orthogonal_max_margin(X, y)
print(f"value of the limit {result.value:.9f}, closed form {closed.value:.9f}; g(λ) = {result.gauge.upper:.9f}")
assert result.verdict is extremal.Verdict.GLOBAL
assert abs(result.value - closed.value) < 1e-8 * closed.value
assert abs(result.gauge.upper - 1) < 1e-6
net = result.network.balance()
active = X @ net.hidden > 1e-6
assert all(np.array_equal(column, y == np.sign(a)) for column, a in zip(active.T, net.output[:, 0], strict=True))
