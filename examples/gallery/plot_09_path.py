r"""
The regularisation path: neurons enter one by one
=================================================

For a penalty :math:`\beta` above

.. math::

    \beta_{\max} = g(-\nabla \text{loss at } 0), \qquad g(\lambda) = \max_{|u| \le 1} |\lambda^T (X u)_+|

the best network is the zero network. From there down neurons enter. The optimal value

.. math::

    P(\beta) = \min_\theta\ \text{loss}(\theta) + \tfrac\beta2 |\theta|^2

is a minimum of functions that are linear in :math:`\beta`, hence concave, and its slope, half the squared norm of the
optimal network, can only grow as :math:`\beta` falls. None of this needs the network itself to move continuously.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

import extremal
from extremal.plotting.style import BLUE, GREY, ORANGE, VERMILION, lighten
from extremal.training import path

# %%
# One feature: the kinks of a curve
# ---------------------------------
# Sixty noisy points, and forty penalties over three decades, each fit started from the last. A neuron is a
# kink of the fitted curve. Every one of these optima is certified.

rng = np.random.default_rng(2)
x = np.sort(rng.uniform(-2, 2, 60))


def truth(x):
    return np.sin(2.5 * x) + 0.5 * x


y = truth(x) + 0.5 * rng.standard_normal(60)
X = x[:, None]
largest = extremal.beta_max(X, y)
betas = largest * np.geomspace(1.02, 5e-4, 40)
problem = extremal.Problem.from_data(X, y, beta=1.0)
results = path(problem, betas, time_limit=5)
primal = np.array([result.certificate.primal for result in results])
dual = np.array([result.certificate.dual for result in results])
print(f"beta_max = {largest:.6f}; largest gap on the path {max(r.certificate.gap for r in results):.1e}")
print("neurons:", *[result.network.width for result in results])
assert max(result.certificate.gap for result in results) < 1e-5
assert results[0].network.width == 0
assert extremal.fit(X, y, beta=0.999 * largest).network.width > 0

fresh = np.linspace(-2, 2, 2000)
error = np.array([np.mean((result.network.predict(fresh[:, None])[:, 0] - truth(fresh)) ** 2) for result in results])
train = np.array([np.mean((result.network.predict(X)[:, 0] - y) ** 2) for result in results])
best = int(np.argmin(error))

figure, (left, right) = plt.subplots(1, 2, figsize=(8.2, 4.2), layout="constrained", width_ratios=[1.25, 1])
left.plot(x, y, "o", color="0.65", markersize=4)
chosen = ((int(np.searchsorted(-betas, -0.3 * largest)), ORANGE), (best, BLUE), (len(betas) - 1, VERMILION))
for k, colour in chosen:
    left.plot(fresh, results[k].network.predict(fresh[:, None])[:, 0], color=colour, linewidth=2)
    kinks = [-b / w for w, b in results[k].network.hidden.T if w != 0 and abs(b / w) < 2]
    left.plot(kinks, results[k].network.predict(np.reshape(kinks, (-1, 1)))[:, 0], "o", color=colour, markersize=6,
              markeredgecolor="white")  # fmt: skip
    right.axhline(betas[k] / largest, color=colour, linewidth=1.6, zorder=0)
    right.text(2.05, betas[k] / largest, f"{results[k].network.width} neurons", color=colour, va="center", fontsize=9,
               clip_on=False)  # fmt: skip
left.set(title="three networks of the path", xlabel="x", ylabel="y")
lighten(left)
for beta, result in zip(betas, results, strict=True):
    for (w, b), size in zip(result.network.hidden.T, result.network.strength, strict=True):
        if w != 0 and abs(b / w) < 2:
            right.plot(-b / w, beta / largest, "o", color="black", markersize=1.5 + 2.2 * size**0.5, markeredgewidth=0)
right.set(
    yscale="log",
    title="where the kinks are",
    xlabel="x",
    ylabel=r"$\beta\, /\, \beta_{\max}$",
    xlim=(-2, 2),
    ylim=(4.5e-4, 1.2),
)
lighten(right)
plt.show()

# %%
# What must hold along every path
# -------------------------------
# Concavity can be tested with certified numbers: the upper bound at a penalty must not fall below the chord of the
# lower bounds at its neighbours. And the penalty that the optimal network pays, divided by :math:`\beta`, only grows.

share = (betas[1:-1] - betas[2:]) / (betas[:-2] - betas[2:])
assert np.all(primal[1:-1] >= share * dual[:-2] + (1 - share) * dual[2:])
norms = np.array([result.network.balance().penalty() for result in results])
assert np.all(np.diff(norms) >= -1e-4 * norms[1:])
assert np.all(np.diff(train) <= 1e-4 * train[1:])

# %%
# Fitting is not predicting
# -------------------------
# Left, the same path: the training error falls all the way, the error against the curve without noise has its minimum
# in between. Right, diabetes (442 patients, a half held back). The best penalty is a little better on the test set
# than ridge regression, and that flatters it, because it was chosen on this very set. At smaller penalties the
# training error falls and falls, and the prediction becomes worse than that of a linear model: the certified optimum
# of the training problem is no promise about new data.

data, target = load_diabetes(return_X_y=True)
parts = train_test_split(data, (target - target.mean()) / target.std(), test_size=0.5, random_state=0)
scaler = StandardScaler().fit(parts[0])
X_train, X_test, y_train, y_test = scaler.transform(parts[0]), scaler.transform(parts[1]), parts[2], parts[3]
many = extremal.beta_max(X_train, y_train, time_limit=1) * np.geomspace(1, 0.01, 10)
fits = path(extremal.Problem.from_data(X_train, y_train, beta=1.0), many, proof=False, time_limit=2)
train_error = np.array([np.mean((fit.network.predict(X_train)[:, 0] - y_train) ** 2) for fit in fits])
test_error = np.array([np.mean((fit.network.predict(X_test)[:, 0] - y_test) ** 2) for fit in fits])
ridge = RidgeCV(np.geomspace(1e-2, 1e4, 40)).fit(X_train, y_train)
linear = np.mean((ridge.predict(X_test) - y_test) ** 2)

figure, axes = plt.subplots(1, 2, figsize=(8.2, 3.7), layout="constrained")
for ax, penalties, inside, outside, name in (
    (axes[0], betas / largest, train, error, "one feature"),
    (axes[1], many / many[0], train_error, test_error, "diabetes"),
):
    ax.loglog(penalties, inside, color=BLUE, linewidth=2)
    ax.loglog(penalties, outside, color=VERMILION, linewidth=2)
    k = int(np.argmin(outside))
    ax.plot(penalties[k], outside[k], "o", color=VERMILION, markersize=8, markeredgecolor="white", zorder=5)
    m = len(penalties) * 3 // 4
    ax.annotate(
        "training", (penalties[m], inside[m]), xytext=(-6, -10), textcoords="offset points", color=BLUE, ha="right"
    )
    ax.annotate(
        "test", (penalties[-1], outside[-1]), xytext=(0, 8), textcoords="offset points", color=VERMILION, ha="right"
    )
    ax.invert_xaxis()
    ax.set(title=name, xlabel=r"$\beta\, /\, \beta_{\max}$", ylabel="mean squared error" if ax is axes[0] else "")
    lighten(ax)
axes[1].axhline(linear, color=GREY, linestyle="--", linewidth=1.2)
axes[1].text(many[-1] / many[0], 0.97 * linear, "ridge regression, test", color=GREY, va="top", ha="right", fontsize=9)
plt.show()

print(f"one feature: least error {error[best]:.4f} at {betas[best] / largest:.4f} beta_max, {error[-1]:.4f} at the end")
print(
    f"diabetes: least test error {test_error.min():.4f}, at the end {test_error[-1]:.4f}, ridge regression {linear:.4f}"
)
assert 0 < best < len(betas) - 1
assert error[-1] > error[best]
assert test_error[-1] > linear > test_error.min()
