r"""
Sampled gates against all patterns
==================================

The convex program of a two-layer ReLU network has a block of variables for every activation pattern
:math:`D = \operatorname{diag} 1(X u > 0)`,

.. math::

    \min \ \text{loss}\Bigl(\sum_{D} D X (v_D - w_D),\ y\Bigr) + \beta \sum_{D} |v_D| + |w_D|, \qquad
    (2 D - I) X v_D \ge 0,\ (2 D - I) X w_D \ge 0 .

There are too many to write down on most data, so one usually draws :math:`k` of them from random directions, and calls
the result the optimum. It is an upper bound. How far is it from the best network of all? With a certified optimum
that can be measured.
"""

import matplotlib.pyplot as plt
import numpy as np

import extremal
from extremal.closed_forms import sampled_patterns
from extremal.plotting.style import BLUE, GREEN, GREY, lighten
from extremal.programs import pattern_program

# %%
# Few dimensions: all patterns can be listed
# ------------------------------------------
# Forty rows in :math:`\mathbb R^3` have 1562 patterns. The program over all of them, solved by a general conic
# solver, has the value that `fit` certifies without any list: two methods with no code in common.

X, y = extremal.datasets.teacher(40, 3, random_state=0)
y = y + 0.1 * np.random.default_rng(0).standard_normal(40)
setting = {"beta": 0.02 * extremal.beta_max(X, y, bias="none"), "bias": "none"}
best = extremal.fit(X, y, **setting)
problem = extremal.Problem.from_data(X, y, **setting)
every = extremal.arrangements(X).patterns
full = pattern_program(problem, every.unpack())
print(f"all {len(every)} patterns {full.value:.9f}; fit {best.certificate.primal:.9f} >= {best.certificate.dual:.9f}")
assert len(every) == 1562
assert abs(full.value / best.certificate.primal - 1) < 1e-6
assert best.certificate.gap < 1e-6

# %%
# The network needs a handful of patterns only, its own. With these alone the program is as good as with all:

own = extremal.Patterns.of_network(X, best.network, closed=True)
few = pattern_program(problem, own.unpack())
print(f"the {len(own)} patterns of the best network {few.value:.9f}")
assert abs(few.value / full.value - 1) < 1e-6

# %%
# Drawing patterns
# ----------------
# Twelve samples of every size in three dimensions, and three in ten. In ten dimensions, where the list has some
# :math:`10^{12}` patterns, a sampled program of three thousand is still percents above the best network.

rng = np.random.default_rng(1)
wide = rng.standard_normal((100, 10))
wide_y = np.maximum(wide[:, 0], 0) - np.maximum(wide[:, 1] + wide[:, 2], 0) + 0.3 * rng.standard_normal(100)
wide_setting = {"beta": 0.05 * extremal.beta_max(wide, wide_y, bias="none"), "bias": "none"}
wide_best = extremal.fit(wide, wide_y, **wide_setting, time_limit=8)
print(
    f"ten dimensions: {extremal.count_arrangements(wide).value:.3g} patterns, "
    f"proven gap of the best network {wide_best.certificate.gap:.1e}"
)
sizes = np.array([10, 30, 100, 300, 1000, 3000])
small = [sampled_patterns(X, y, **setting, best=best, sizes=sizes, relaxed=False, probes=500, random_state=seed)
         for seed in range(12)]  # fmt: skip
large = [sampled_patterns(wide, wide_y, **wide_setting, best=wide_best, sizes=sizes, relaxed=False, probes=500,
                          random_state=seed) for seed in range(3)]  # fmt: skip

figure, (left, right) = plt.subplots(1, 2, figsize=(8.2, 4.0), layout="constrained")
floor = 1e-8
for tables, colour, name in ((small, GREEN, "3 dimensions, 40 rows"), (large, BLUE, "10 dimensions, 100 rows")):
    excess = np.array([[program.ratio - 1 for program in table.programs] for table in tables])
    improving = np.array([[program.improving for program in table.programs] for table in tables])
    assert np.all(np.diff(excess, axis=1) <= 1e-7)  # the samples are nested
    assert np.all(excess >= -1e-7)
    for row in excess:
        left.loglog(sizes, np.maximum(row, floor), color=colour, alpha=0.3, linewidth=1)
    middle = np.maximum(np.median(excess, axis=0), floor)
    left.loglog(sizes, middle, "o-", color=colour, linewidth=2.2)
    left.annotate(name, (sizes[2], middle[2]), xytext=(10, 8), textcoords="offset points", color=colour)
    chance = np.maximum(improving.mean(axis=0), 1 / (500 * len(tables)))
    right.loglog(sizes, chance, "o-", color=colour, linewidth=2.2)
    print(
        name,
        "excess in %:",
        np.round(100 * np.median(excess, axis=0), 4),
        "helpful:",
        np.round(improving.mean(axis=0), 4),
    )
left.plot(len(own), floor, "*", color=GREEN, markeredgecolor="white", markersize=16, zorder=5)
left.text(1.5 * len(own), 1.5 * floor, f"the {len(own)} patterns of\nthe best network: exact", color=GREEN)
left.set(title="above the best network", xlabel="sampled patterns", ylabel="(program − best) / best")
for tables, colour in ((small, GREEN), (large, BLUE)):
    bound = np.array([program.scenario for program in tables[0].programs])
    right.loglog(sizes[bound < 1], bound[bound < 1], ":", color=colour, linewidth=1.6)
right.text(1400, 0.45, "scenario bound", color=GREY, ha="center")
right.text(40, 0.03, "measured", color=GREY, ha="center")
right.set(title="does another pattern help?", xlabel="sampled patterns", ylabel="chance that it improves the program")
for ax in (left, right):
    lighten(ax)
plt.show()

# %%
# On the right is why one is easily deceived: the chance that another random pattern would help falls quickly, as the
# scenario bound (dotted) promises. But the patterns that are missing are rare cells, which no sampling finds, and the
# bound speaks of how often one helps and not of how much.

last = [table.programs[-1] for table in large]
print(f"3000 patterns in ten dimensions: {100 * np.mean([p.ratio - 1 for p in last]):.2f} % above, although only "
      f"{100 * np.mean([p.improving for p in last]):.1f} % of further patterns help")  # fmt: skip
assert min(program.ratio for program in last) > 1.005
