r"""
Hyperplane arrangements: how many patterns a neuron has
=======================================================

A neuron :math:`u` sees the data only through the rows that it is active on, its pattern
:math:`1(X u > 0) \in \{0, 1\}^n`. The hyperplanes :math:`\{u : x_i \cdot u = 0\}` cut the space of all neurons into
cells, one for each pattern, and in every cell the outputs :math:`(X u)_+ = D X u` are linear in :math:`u`: this is
what makes the training problem a finite convex program. Cover counted the cells: for :math:`n` rows in general
position in :math:`\mathbb R^r` there are

.. math::

    2 \sum_{k=0}^{r-1} \binom{n-1}{k} \le 2 r \Bigl(\frac{e (n-1)}{r}\Bigr)^{r},

polynomially many in :math:`n`. Extremal counts and lists them without solving a single linear program.
"""

# sphinx_gallery_thumbnail_number = 2

from math import comb

import matplotlib.pyplot as plt
import numpy as np

import extremal
from extremal import plotting
from extremal.plotting.style import BLUE, GREEN, GREY, VERMILION, lighten

rng = np.random.default_rng(3)

# %%
# In the plane
# ------------
# Left, five rows (arrows) and the ten sectors in which neurons have the same pattern; bright sectors have many active
# rows. Right, the example of the talk of Wang and Pilanci: two of its three rows are parallel and share a line, so
# only four patterns are left.

general = np.array([[1.0, 0.2], [0.5, 0.9], [-0.6, 0.9], [-1.0, 0.15], [0.35, -1.0]])
talk = np.array([[3.0, 3.0], [2.0, 2.0], [1.0, 0.0]])
figure, axes = plt.subplots(1, 2, figsize=(8.2, 4.2), layout="constrained")
for ax, X, name in zip(axes, (general, talk), ("general position", "two parallel rows"), strict=True):
    plotting.arrangement(X, ax)
    ax.set_title(f"{name}: {ax.get_title()}", fontsize="large")
plt.show()

patterns = {"".join(map(str, row)) for row in extremal.arrangements(talk).patterns.unpack().astype(int)}
print("patterns of the talk's example:", *sorted(patterns, reverse=True))
assert patterns == {"111", "110", "001", "000"}
assert len(extremal.arrangements(general).patterns) == 10

# %%
# In space
# --------
# Neurons of three weights live on the sphere, rows are great circles, and cells are the regions between them. On the
# right the hemisphere :math:`u_3 \ge 0` as a disc, with the patterns that fit in. The other hemisphere is its mirror
# image: if :math:`u` has a pattern, :math:`-u` has the opposite one.

X = np.array([[1, 0.2, 0.3], [-0.4, 1, 0.2], [-0.7, -0.8, 0.4], [0.3, -0.9, 0.9], [0.9, 0.8, -0.5], [0.4, 0.1, 1.0]])
figure = plt.figure(figsize=(8.2, 4.3), layout="constrained")
plotting.arrangement(X, figure.add_subplot(1, 2, 1, projection="3d"), view="globe").set_title("six great circles")
plotting.arrangement(X, figure.add_subplot(1, 2, 2))
plt.show()

found = extremal.arrangements(X).patterns
codes = {tuple(row) for row in found.unpack().astype(int)}
print(f"six rows in space: {len(found)} patterns")
assert len(found) == 2 * sum(comb(5, k) for k in range(3)) == 32
assert {tuple(1 - bit for bit in code) for code in codes} == codes

# %%
# How many there are, and how few a sample finds
# ----------------------------------------------
# The exact counts (dots, from the library) lie on Cover's formula; the usual bound is far above. Methods that sample
# patterns with Gaussian directions find the large cells again and again, and most of the small ones never.

sizes = np.unique(np.geomspace(4, 60, 9).round().astype(int))
figure, (left, right) = plt.subplots(1, 2, figsize=(8.2, 3.9), layout="constrained")
for r, colour in ((2, BLUE), (3, GREEN), (5, VERMILION)):
    n = sizes[sizes > r]
    counts = [extremal.count_arrangements(rng.standard_normal((size, r))).value for size in n]
    cover = [2 * sum(comb(int(size) - 1, k) for k in range(r)) for size in n]
    assert counts == cover
    left.loglog(n, counts, "o-", color=colour, markersize=4)
    left.loglog(n, 2 * r * (np.e * (n - 1) / r) ** r, ":", color=colour, linewidth=1.2)
    left.annotate(
        f"rank {r}", (n[-1], counts[-1]), xytext=(6, 0), textcoords="offset points", color=colour, va="center"
    )
left.annotate("bound", (30, 2 * 5 * (np.e * 29 / 5) ** 5), xytext=(-8, 0), textcoords="offset points", ha="right",
              color=GREY)  # fmt: skip
left.set(xlabel="rows n", ylabel="patterns", xlim=(None, 110))
lighten(left)

rows = rng.standard_normal((30, 4))
total = len(extremal.arrangements(rows).patterns)
draws = np.geomspace(10, 100_000, 9).round().astype(int)
seen = np.array([len(extremal.sample_arrangements(rows, int(k), random_state=0).patterns) for k in draws])
right.semilogx(draws, seen / total, "o-", color=BLUE, markersize=4)
right.axhline(1, color=GREY, linestyle="--", linewidth=1)
right.text(draws[0], 0.96, f"all {total} patterns", color=GREY, va="top")
right.set(xlabel="random directions", ylabel="share of the patterns found", ylim=(0, 1.06))
lighten(right)
plt.show()

print(f"30 rows in four dimensions: {total} patterns; {draws[-1]} random directions find {seen[-1]}")
assert np.all(np.diff(seen) >= 0)
assert seen[-1] < total
