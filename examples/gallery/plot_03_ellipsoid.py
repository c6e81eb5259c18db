r"""
The rectified ellipsoid, its spikes, and the polar set
======================================================

Everything that one neuron of length one can do on the data is a point of the *rectified ellipsoid*

.. math::

    Q = \{ (X u)_+ : |u| \le 1 \} \subset \mathbb R^n.

A network adds such points up, with weights of either sign, and pays for their sum of absolute values. So the cost of an
output vector is its norm with respect to the convex hull of :math:`Q \cup -Q`, and the dual problem lives in the polar
set of this hull, the multipliers that no neuron violates:

.. math::

    Q^\circ = \{ \lambda : g(\lambda) \le 1 \}, \qquad g(\lambda) = \max_{|u| \le 1} |\lambda^T (X u)_+| .

A linear function over a hull is largest at an extreme point, so optimal networks are made of these. The sharp ones, the
*spikes* (Ergen and Pilanci, 2021; Wang and Pilanci, 2022), are special: each of them is the best neuron for a whole
cone of multipliers.
"""

# sphinx_gallery_thumbnail_number = 2

import matplotlib.pyplot as plt
import numpy as np
from scipy.spatial import ConvexHull

import extremal
from extremal import plotting
from extremal.gauge.few_rows import spikes

# %%
# Two rows
# --------
# Above, the rows form an obtuse angle: neurons active on one row only reach farther along the axes than the curved
# part does, and the spikes stick out. Below, the angle is acute, the flat parts along the axes are inside, and most
# of the hull's boundary is curved. In grey the mirror image :math:`-Q`, dotted the hull. Stars mark what the optimal
# multiplier of the max-margin problem touches; on the right it is the point of the polar set farthest along
# :math:`y`.

y = np.array([1.0, -1.0])
cases = {
    "obtuse rows": np.array([[1.5, 0.2], [-0.9, 1.2]]),
    "acute rows": np.array([[1.5, 0.4], [0.7, 1.3]]),
}
figure, axes = plt.subplots(2, 2, figsize=(8.2, 7.9), layout="constrained")
for (name, X), (left, right) in zip(cases.items(), axes, strict=True):
    best = extremal.max_margin(X, y)
    plotting.rectified_ellipsoid(X, left, lam=best.lam)
    plotting.polar_set(X, right, lam=best.lam, y=y)
    left.set(title=f"{name}: Q, −Q and their hull")
    right.set(title=f"polar set; P* = {best.value:.4f}")
    print(f"{name}: P* = {best.value:.6f}, yᵀλ = {y @ best.lam:.6f}, spikes at", *np.round(spikes(X), 3).tolist())

    # strong duality, and neurons only where the multiplier touches
    assert abs(best.value - best.dual_value) <= 1e-6 * best.value
    fits = np.maximum(X @ (best.network.hidden / np.linalg.norm(best.network.hidden, axis=0)), 0)
    np.testing.assert_allclose(np.abs(best.lam @ fits), 1, atol=1e-5)
plt.show()

# %%
# The gauge is the support function of the hull
# ---------------------------------------------
# That can be checked without any theory: take the hull of a hundred thousand neurons' outputs, and compare its
# support function with the certified gauge of a few random multipliers.

X = cases["obtuse rows"]
angle = np.linspace(0, 2 * np.pi, 100_000)
outputs = np.maximum(np.column_stack([np.cos(angle), np.sin(angle)]) @ X.T, 0)
points = np.concatenate([outputs, -outputs])
corners = points[ConvexHull(points).vertices]
worst = 0.0
for lam in np.random.default_rng(0).standard_normal((5, 2)):
    support, gauge = (corners @ lam).max(), extremal.gauge(X, lam)
    worst = max(worst, abs(support / gauge.upper - 1))
    print(f"λ = ({lam[0]:+.3f}, {lam[1]:+.3f}): support function {support:.8f}, gauge {gauge.upper:.8f}")
assert worst < 1e-7

# %%
# Three rows
# ----------
# With a third row :math:`Q` is a surface over the octant, with fins in the coordinate planes and spikes on the axes.
# A flat face of the polar set belongs to a spike: there that neuron alone holds the multiplier back. Curved faces
# belong to the fins and to the surface. The optimum (star) is on an edge where two faces meet, and the best network
# has the two neurons that they belong to: one on a fin, active on the rows 1 and 3, and one that is active on all
# rows.

X = np.array([[1.0, 0.1, 0.0], [-0.5, 1.0, 0.1], [0.3, -0.4, 1.0]])
y = np.array([1.0, 1.0, 1.0])
best = extremal.max_margin(X, y)
figure = plt.figure(figsize=(8.2, 4.3), layout="constrained")
left, right = (figure.add_subplot(1, 2, k, projection="3d") for k in (1, 2))
plotting.rectified_ellipsoid(X, left, lam=best.lam).set_title("rectified ellipsoid", y=1.0)
plotting.polar_set(X, right, lam=best.lam, y=y).set_title("polar set, where all λ ≥ 0", y=1.0)
plt.show()

gauge = extremal.gauge(X, best.lam)
print(f"P* = {best.value:.6f} = yᵀλ = {y @ best.lam:.6f}, g(λ) = {gauge.upper:.8f}, {best.network.width} neurons")
assert abs(y @ best.lam - best.value) <= 1e-6 * best.value
assert abs(gauge.upper - 1) <= 1e-6
active = np.maximum(X @ best.network.hidden, 0) > 1e-6
assert sorted(active.T.tolist()) == [[True, False, True], [True, True, True]]
