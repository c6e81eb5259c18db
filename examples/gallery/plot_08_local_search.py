r"""
Local search against the certified optimum, on nine data sets
=============================================================

How good are the networks that restarts of a local optimiser find? Usually nobody knows, because the optimum is not
known. Here it is: for every data set `extremal.fit` returns a network *and* a proven lower bound on

.. math::

    P(W, A) = \sum_i \ell(f(x_i), y_i) + \tfrac\beta2 \bigl(|W|_F^2 + |A|_F^2\bigr)

over networks of every width. Against it five restarts of L-BFGS at width 50, SciPy's, which is also what scikit-learn's
``MLPRegressor(solver="lbfgs")`` uses; here on exactly this objective, in which the biases are penalised too. All data
are generated or come with scikit-learn, standardised; :math:`\beta` is a tenth of the largest useful one.
"""

import time

import matplotlib.pyplot as plt
import numpy as np
from scipy.optimize import minimize
from sklearn import datasets as sk

import extremal
from extremal import datasets
from extremal.plotting.style import BLUE, VERMILION, lighten

# %%
# Nine problems: three losses, 20 to 569 rows, 2 to 61 features.


def standardised(X):
    return (X - X.mean(axis=0)) / np.where(X.std(axis=0) > 0, X.std(axis=0), 1)


digits, digit = sk.load_digits(return_X_y=True)
pair = np.isin(digit, (3, 8))
wine, kind = sk.load_wine(return_X_y=True)
linnerud = sk.load_linnerud(return_X_y=True)
teacher_X, teacher_y = datasets.teacher(200, 8, 4, random_state=0)
teacher_y = teacher_y + 0.2 * teacher_y.std() * np.random.default_rng(0).standard_normal(200)
problems = {
    "linnerud (weight)": ("squared", linnerud[0], linnerud[1][:, 0]),
    "diabetes": ("squared", *sk.load_diabetes(return_X_y=True)),
    "Friedman 1": ("squared", *sk.make_friedman1(200, 6, noise=1.0, random_state=0)),
    "noisy teacher": ("squared", teacher_X, teacher_y),
    "breast cancer": ("logistic", *sk.load_breast_cancer(return_X_y=True)),
    "wine (0 or not)": ("logistic", wine, (kind == 0).astype(int)),
    "digits (3 or 8)": ("logistic", digits[pair][:, digits[pair].std(axis=0) > 0], (digit[pair] == 8).astype(int)),
    "two spirals": ("logistic", *datasets.spiral(120, random_state=0)),
    "iris": ("softmax", *sk.load_iris(return_X_y=True)),
}


# Far beyond SciPy's defaults, so that it is not stopped early.
LONG = {"maxiter": 1200, "maxfun": 1500, "ftol": 1e-13, "gtol": 1e-9, "maxls": 50}


def local_search(problem, width, rng):
    """One run of L-BFGS from a random start."""
    X, c = problem.design.dense(), problem.loss.shape[1]
    d = X.shape[1]

    def network(theta):
        return extremal.Network(theta[: d * width].reshape(d, width), theta[d * width :].reshape(width, c))

    def value_and_gradient(theta):
        net = network(theta)
        Z = X @ net.hidden
        lam = problem.multiplier(net)  # minus the gradient with respect to the outputs
        hidden = problem.beta * net.hidden - X.T @ ((lam @ net.output.T) * (Z > 0))
        output = problem.beta * net.output - np.maximum(Z, 0).T @ lam
        return problem.value(net), np.concatenate([hidden.ravel(), output.ravel()])

    start = rng.standard_normal(width * (d + c)) / np.sqrt(d)
    found = minimize(value_and_gradient, start, jac=True, method="L-BFGS-B", options=LONG)
    return problem.value(network(found.x).balance())


# %%
# The race
# --------

rng = np.random.default_rng(0)
rows = []
print(
    f"{'data':18s} {'size':>7} {'lower bound':>12} {'ours':>12} {'gap':>8} {'s':>5}"
    f" {'best of 5':>12} {'worst':>12} {'s':>5}"
)
for name, (loss, X, y) in problems.items():
    X = standardised(X)
    y = standardised(y) if loss == "squared" else y
    beta = 0.1 * extremal.beta_max(X, y, loss, time_limit=0.3)
    problem = extremal.Problem.from_data(X, y, beta=beta, loss=loss)
    clock = time.process_time()
    result = extremal.fit(X, y, beta=beta, loss=loss, time_limit=3)
    ours = time.process_time() - clock
    clock = time.process_time()
    restarts = sorted(local_search(problem, 50, rng) for _ in range(5))
    theirs = time.process_time() - clock
    proof = result.certificate
    rows.append((name, X.shape, proof, np.array(restarts)))
    print(
        f"{name:18s} {X.shape[0]:>4}x{X.shape[1]:<2} {proof.dual:12.6f} {proof.primal:12.6f} {proof.gap:8.1e}"
        f" {ours:5.1f} {restarts[0]:12.6f} {restarts[-1]:12.6f} {theirs:5.1f}"
    )
    assert proof.dual <= proof.primal
    assert proof.dual <= restarts[0]  # what is proved holds for everybody's networks
    assert proof.primal <= restarts[0] * (1 + 1e-6)  # no restart is better

# %%
# The picture
# -----------
# Everything relative to our network, at zero. The bar reaches down to the proven bound: the optimum is inside it, and
# where there is no bar to be seen it is known to :math:`10^{-6}`. Each circle is a restart. L-BFGS is good: at this
# penalty it ends within a percent of our network, and mostly much closer. But it never gets below, its restarts
# differ, and of itself it cannot tell how far there is to go.

figure, ax = plt.subplots(figsize=(8.6, 5.2), layout="constrained")
for k, (_, _, proof, restarts) in enumerate(rows):
    ax.barh(k, -100 * proof.gap, height=0.5, color=BLUE, alpha=0.35, linewidth=0)
    ax.plot(0, k, "D", color=BLUE, markersize=6, zorder=4)
    ax.plot(100 * (restarts / proof.primal - 1), np.full(5, k), "o", markerfacecolor="none", markeredgecolor=VERMILION,
            markersize=7, markeredgewidth=1.4, zorder=5)  # fmt: skip
ax.set_yticks(range(len(rows)), [f"{name}\n{shape[0]} × {shape[1]}" for name, shape, *_ in rows])
ax.set_xscale("symlog", linthresh=1e-3, linscale=0.6)
ticks = [-10, -1, -0.1, -0.01, 0, 0.01, 0.1, 1, 10]
ax.set_xticks(ticks, [f"{tick:g} %".replace("-", "−") for tick in ticks])
ax.set_xticks([], minor=True)
ax.axvline(0, color=BLUE, linewidth=0.8)
ax.invert_yaxis()
ax.text(0.02, 1.01, "bar: where the optimum can be", color=BLUE, transform=ax.transAxes)
ax.text(0.98, 1.01, "circles: five restarts of L-BFGS", color=VERMILION, transform=ax.transAxes, ha="right")
ax.set_xlabel("objective relative to ours")
lighten(ax)
plt.show()
