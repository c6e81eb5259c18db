r"""
Small starts align before they grow
===================================

From a small start a network's outputs are nothing for a long while. The multiplier is then the constant :math:`y / 2`
and every neuron turns on its own, with :math:`s = \operatorname{sign}(a)`, uphill on the sphere:

.. math::

    w' = a\, X^T D(w)\, \tfrac{y}{2}, \qquad D(w) = \operatorname{diag} 1(X w > 0).

Wang and Pilanci (ICLR 2022): for every :math:`\delta` there is a start so small that some neuron of each sign comes to

.. math::

    \cos \angle \bigl(w,\ s X^T D(w)\, y\bigr) \ge 1 - \delta

before the network is felt. What it aligns with is a sum of rows; only later, when the outputs matter, does it
leave for the max-margin separator.
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy.optimize import lsq_linear

import extremal
from extremal import datasets, plotting
from extremal.closed_forms import orthogonal_flow_limit
from extremal.plotting.style import BLUE, GREEN, GREY, VERMILION, lighten

# %%
# One run
# -------
# Ten orthogonally separable rows in four dimensions, twenty neurons of size :math:`10^{-8}`. Above, the distance from
# alignment: it falls to rounding while the norms, below, have grown by some decades only. Then the outputs begin to
# matter, a little at first; at the dashed line they reach 0.1, and the neurons turn for good.

X, y = datasets.orthogonally_separable(10, 4, random_state=0)
result = extremal.flow(X, y, width=20, init=1e-8, proof_time=0)
run = result.trajectory
figure, (above, below) = plt.subplots(2, 1, figsize=(8.0, 6.2), sharex=True, layout="constrained")
plotting.plot_alignment(run, above)
plotting.plot_norms(run, below)
seen = run.time[np.flatnonzero(np.abs(run.margins).max(axis=1) > 0.1)[0]]
below.axvline(seen, color=GREY, linewidth=0.9, linestyle="--")
above.set(title="alignment ...", xlabel="")
below.set(title="... and growth", xlim=(0, min(run.time[-1], 2.2 * seen)))
plt.show()


def at_size(trajectory, size):
    """The first snapshot at which the hidden weights have this norm."""
    return min(int(np.searchsorted(trajectory.half_norm2, size**2)), len(trajectory) - 1)


def largest(trajectory, k, sign):
    """The direction of the largest neuron of a sign."""
    own = np.where(np.sign(trajectory.ratios[k]) == sign, trajectory.log_norms[k], -np.inf)
    return trajectory.directions[k][int(np.argmax(own))]


said = orthogonal_flow_limit(X, y)
limit = result.network.balance()
for label, sum_of_rows, separator in zip(said.labels, said.early.T, said.late.T, strict=True):
    early = largest(run, at_size(run, 0.1), label)
    w = limit.hidden[:, np.argmax(label * limit.output[:, 0])]
    angles = [np.degrees(np.arccos(np.clip(u @ v, -1, 1))) for u in (early, w / np.linalg.norm(w))
              for v in (sum_of_rows, separator)]  # fmt: skip
    print(
        f"class {label:+.0f}: when |W| = 0.1, {angles[0]:.4f}° from the class sum and {angles[1]:.1f}° from the "
        f"separator; in the limit {angles[2]:.1f}° and {angles[3]:.4f}°"
    )
    assert angles[0] < 0.01 < 1 < angles[1]
    assert angles[3] < 0.01 < 1 < angles[2]

# %%
# The smaller the start, the better the alignment
# -----------------------------------------------
# :math:`1 - \cos` of the largest neuron of either sign, whichever is worse, at the moment when :math:`|W|` has grown
# to 0.1; three starts of each size, and their medians. On orthogonally separable data it falls with the size of the
# start. On random labels it does not, with :math:`D` as it is written: there neurons come to *slide* along the
# hyperplane of a row, which pulls with a part of its weight that 0 or 1 cannot express. With the best numbers in
# :math:`[0, 1]` for these rows, as in Clarke's subdifferential, the theorem is back, down to the floor of some
# :math:`10^{-8}` that the outputs of a network of that size put under it.

scales = np.array([1e-2, 1e-3, 1e-4, 1e-6, 1e-8])


def misses(X, y, scale, seed):
    """The worse of both signs: with 0 or 1 for every row, and with the best share of the rows on the boundary."""
    run = extremal.flow(X, y, width=20, init=scale, random_state=seed, proof_time=0).trajectory
    k = at_size(run, 0.1)
    found = []
    for sign in (1.0, -1.0):
        w = largest(run, k, sign)
        tied = np.abs(X @ w) < 1e-9 * np.linalg.norm(X, axis=1)
        pull = sign * X.T @ (((X @ w > 0) & ~tied) * y)
        ties = sign * (X[tied] * y[tied, None]).T
        share = lsq_linear(ties, w * (w @ pull) - pull, (0, 1), tol=1e-14).x if tied.any() else np.zeros(0)
        found.append([miss(w, sign * X.T @ ((X @ w > 0) * y)), miss(w, pull + ties @ share)])
    return np.max(found, axis=0)


def miss(w, target):
    """1 - cos of the angle, without cancellation."""
    size = np.linalg.norm(target)
    return 0.5 * np.sum((w - target / size) ** 2) if size > 0 else 1.0


easy = datasets.orthogonally_separable(10, 4, random_state=0)
hard = datasets.gaussian_labels(10, 4, random_state=1)
tables = [np.array([[misses(*data, scale, seed) for seed in range(3)] for scale in scales]) for data in (easy, hard)]
curves = (
    ("orthogonally separable", tables[0][:, :, 0], BLUE, (4, -6, "left")),
    ("random labels, D in {0, 1}", tables[1][:, :, 0], VERMILION, (2, -14, "center")),
    ("random labels, D in [0, 1]", tables[1][:, :, 1], GREEN, (2, -16, "center")),
)
figure, ax = plt.subplots(figsize=(8.0, 4.6), layout="constrained")
for name, values, colour, (k, dy, side) in curves:
    middle = np.median(values, axis=1)
    ax.loglog(scales, values, "o", color=colour, alpha=0.45, markersize=5)
    ax.loglog(scales, middle, color=colour, linewidth=2)
    ax.annotate(name, (scales[k], middle[k]), xytext=(25 if side == "left" else 0, dy), textcoords="offset points",
                color=colour, ha=side, va="center")  # fmt: skip
    print(f"{name:27s} median 1 - cos", ", ".join(f"{m:.1e} from {s:.0e}" for m, s in zip(middle, scales, strict=True)))
ax.set(xlabel="size of the start", ylabel="1 − cos(w, s Xᵀ D(w) y) when |W| = 0.1")
lighten(ax)
plt.show()

for values in (curves[0][1], curves[2][1]):
    aligned = np.median(values, axis=1)
    assert aligned[-1] < 1e-6 < aligned[0]
