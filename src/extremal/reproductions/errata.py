"""Errors found in the sources, each with a counter-example that runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

import extremal
from extremal.closed_forms import is_spike_free
from extremal.plotting.style import BLUE, GREY, ORANGE, VERMILION, lighten
from extremal.reproductions.result import Agreement, Comparison, Reproduction
from extremal.stationarity import Kind

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: The data of JMLR proposition 1 and appendix 11, with two of its dual vectors and the printed solution.
POINTS, VALUES = np.arange(-2.0, 3.0), np.array([1.0, -1.0, 1.0, 1.0, -1.0])
DUAL, OTHER_DUAL = np.array([1.0, -3.0, 2.0, 1.0, -1.0]), np.array([1.0, -2.75, 1.25, 1.75, -1.25])
WEIGHTS = np.array([0, 6419 / 5000, -3919 / 2500, -8581 / 5000, 13581 / 5000, -1081 / 2500, -1419 / 5000, 0])
SIDES, SHIFTS = np.repeat([1.0, -1.0], [4, 4]), np.array([2.0, 1.0, 0.0, -1.0, -1.0, 0.0, 1.0, 2.0])


@dataclass(frozen=True)
class Erratum:
    """What is printed, what holds, and a counter-example.

    Attributes
    ----------
    where, printed, correct : str
    example : callable
        (what it shows in numbers, whether it refutes what is printed).
    """

    where: str
    printed: str
    correct: str
    example: Callable[[], tuple[str, bool]]

    def comparison(self) -> Comparison:
        """The erratum as a row of the table; ValueError if the counter-example does not refute what is printed."""
        shown, refutes = self.example()
        if not refutes:
            raise ValueError(f"{self.where}: the counter-example fails ({shown})")
        return Comparison(self.where, self.printed, shown, Agreement.DIFFERS, self.correct)


def all_errata() -> Reproduction:
    """Every erratum with its counter-example."""
    sentence = (
        "None of these changes a main result. The optimality check of the public CRONOS code, which calls a product "
        "with the wrong operator and an undefined name, was read and not run: no counter-example for it is here."
    )
    return Reproduction(tuple(erratum.comparison() for erratum in ERRATA), sentence, _draw)


def dual_sign() -> tuple[str, bool]:
    """The variable of max -loss*(v) is +grad loss: neurons of positive output have v^T (Xu)_+ = -beta."""
    X, y = extremal.datasets.gaussian_labels(12, 3, random_state=0)
    result = extremal.fit(X, y, beta=0.3, loss="logistic", bias="none")
    net, lam = result.network.balance(), result.certificate.lam[:, 0]
    j = int(np.argmax(net.strength * (net.output[:, 0] > 0)))
    fit = np.maximum(X @ net.hidden[:, j], 0) / np.linalg.norm(net.hidden[:, j])
    gradient = -y / (1 + np.exp(y * net.predict(X)[:, 0]))
    shown = f"at a neuron of positive output grad^T (Xu)_+ = {gradient @ fit:.6f}, -grad^T (Xu)_+ = {lam @ fit:.6f}"
    return f"{shown}, beta = 0.3", abs(gradient @ fit + 0.3) < 1e-5 and abs(lam @ fit - 0.3) < 1e-5


def transposed() -> tuple[str, bool]:
    X, u = np.ones((3, 2)), np.ones(2)
    return f"X is {X.shape}, u has {u.size} entries: X u has 3, X^T u does not exist", X.T.shape[1] != u.size


def printed_sign() -> tuple[str, bool]:
    A = np.maximum(POINTS[:, None] * SIDES + SHIFTS, 0)
    product = A.T @ DUAL
    signs = np.sign(WEIGHTS)
    exact = np.array_equal(product[signs != 0], signs[signs != 0])
    shown = f"A^T v = ({', '.join(f'{p:g}' for p in product)}), sign(w) = ({', '.join(f'{s:g}' for s in signs)})"
    return f"{shown}, v^T y = {DUAL @ VALUES:g}", exact and DUAL @ VALUES == 8


def all_vectors() -> tuple[str, bool]:
    cells = extremal.arrangements(np.array([[1.0], [-1.0]]))
    found = sorted(map(tuple, cells.patterns.unpack().astype(int).tolist()))
    return f"X = (1, -1): u = 0 gives (1, 1), the cells are {found}", (1, 1) not in found and len(found) == 2


def separated() -> tuple[str, bool]:
    loss = float(np.log1p(np.exp(0.5)))
    return f"one sample with y f = -0.5 is misclassified, and its logistic loss is {loss:.3f}", loss < 1


def one_sample() -> tuple[str, bool]:
    bound, count = 2 * 1 * (np.e * 0 / 1) ** 1, extremal.count_arrangements(np.ones((1, 1))).value
    return f"n = r = 1: the bound is {bound:g}, the number of patterns {count}", bound < count


def zero_neurons() -> tuple[str, bool]:
    X, y = np.ones((1, 1)), np.ones(1)
    point = extremal.stationarity(extremal.Network(np.zeros((1, 1)), np.zeros(1)), X, y, beta=0.5)
    best = extremal.fit(X, y, beta=0.5, bias="none").certificate.primal
    shown = f"X = y = 1: the zero network is Clarke stationary with value {2 * point.objective:g}, the program has"
    return f"{shown} {2 * best:.6g}", point.clarke_distance < 1e-12 and 2 * best < 0.76


def wrong_ties() -> tuple[str, bool]:
    point, values = _tied(np.array([[1.0, -1.0], [0.0, 1.0]]), np.ones(2), signed=False)
    shown = f"objective {point.objective:.4f}, Clarke residual {point.clarke_residual:.0e}; programs {values}"
    return f"{shown}; {point.kind.name}", point.kind is Kind.CLARKE_ONLY and max(values) < point.objective - 0.02


def both_signs() -> tuple[str, bool]:
    point, values = _tied(np.array([[1.0, 1.0], [0.0, 1.0]]), np.array([1.0, -1.0]), signed=False)
    _, signed = _tied(np.array([[1.0, 1.0], [0.0, 1.0]]), np.array([1.0, -1.0]), signed=True)
    shown = f"a local minimum with objective {point.objective:.6f}; programs {values}, with the sign {signed}"
    same = abs(signed[-1] - point.objective) < 1e-6
    return shown, bool(point.local_minimum) and same and values[0] < point.objective - 0.3


def _tied(X: np.ndarray, y: np.ndarray, *, signed: bool) -> tuple[extremal.Stationarity, list[float]]:
    """Stationarity of one neuron whose second sample is a tie, and the programs of (1, 1), of (1, 0) and of both."""
    root = np.sqrt(0.9)
    point = extremal.stationarity(extremal.Network(np.array([[root], [0.0]]), np.array([root])), X, y, beta=0.1)
    problem = extremal.Problem.from_data(X, y, beta=0.1, bias="none")
    values = []
    for patterns in ([[1, 1]], [[1, 0]], [[1, 1], [1, 0]]):
        signs = np.ones(len(patterns)) if signed else None
        program = extremal.programs.pattern_program(problem, np.array(patterns, dtype=bool), signs)
        values.append(round(float(program.value), 6))
    return point, values


def gaussian_spikes() -> tuple[str, bool]:
    rng = np.random.default_rng(0)
    shares = [float(np.mean([is_spike_free(rng.standard_normal((n, 500))) for _ in range(300)])) for n in (2, 3, 4)]
    shown = "shares of spike-free 500-dimensional data, n = 2, 3, 4: " + ", ".join(f"{s:.3f}" for s in shares)
    return f"{shown} (2^(-n(n-1)/2) = 0.5, 0.125, 0.016)", shares[0] < 0.6 and shares[2] < 0.1


def inner_approximation() -> tuple[str, bool]:
    X = np.array([[1.0, 0.0], [-0.6, 0.8]])
    z = np.maximum(X @ X[0], 0)
    length = float(np.linalg.norm(np.linalg.solve(X, z)))
    return f"x_1.x_2 = -0.6, u = x_1: (Xu)_+ = (1, 0) = Xz only for |z| = {length:g} > 1", length > 1.2


def minimal_neurons() -> tuple[str, bool]:
    X = np.linalg.cholesky(0.6 ** np.abs(np.subtract.outer(np.arange(3), np.arange(3))))
    y = np.array([2.0, 1.0, -1.0])
    pieces = [float(np.linalg.norm(np.linalg.solve(X, np.maximum(s * y, 0)))) for s in (1, -1)]
    best = extremal.min_norm(X, y).value
    shown = "three spike-free rows with cosines .6, .36, y = (2, 1, -1): lemma 9 costs"
    shown += f" {sum(pieces):.6f}, the optimum {best:.6f}"
    return shown, is_spike_free(X) and best < sum(pieces) - 1e-3


def unbounded_bias() -> tuple[str, bool]:
    v = np.array([1.0, 1.0])
    values = [float(np.abs(v @ np.maximum(np.array([0.0, 1.0]) + b, 0))) for b in (1.0, 1e3, 1e6)]
    return f"v = (1, 1): v^T (a + b)_+ = {', '.join(f'{x:g}' for x in values)} for b = 1, 1e3, 1e6", values[2] > 1e6


def infeasible_dual() -> tuple[str, bool]:
    def largest(v: np.ndarray) -> float:
        return max(abs(float(v @ np.maximum(s * (POINTS - t), 0))) for s in (1.0, -1.0) for t in POINTS)

    shown = f"max over kinks of |v^T (au + b)_+|: {largest(OTHER_DUAL):g} for the printed v^, {largest(DUAL):g} for v*"
    return shown, largest(OTHER_DUAL) == 1.25 and largest(DUAL) == 1.0


#: In the order of the sources.
ERRATA = (
    Erratum(
        "Ergen & Pilanci (JMLR 2021), theorem 13", "the dual variable of a general loss is as in theorems 8 and 10",
        "it is +grad loss there and -grad loss in theorems 8 and 10; the value is the same", dual_sign,
    ),
    Erratum(
        "Wang & Pilanci, slides on the dual and its geometry", "|lam^T (X^T u)_+| <= 1",
        "(Xu)_+ is meant", transposed,
    ),
    Erratum(
        "Ergen & Pilanci (JMLR 2021), equation 50", "A^T v + sign(w) = 0",
        "A^T v = sign(w) for the v that is printed", printed_sign,
    ),
    Erratum(
        "Pilanci & Ergen (ICML 2020), the set of patterns", "1(Xu >= 0) over all u",
        "u on boundaries gives patterns of no cell, which are redundant; cells are enough", all_vectors,
    ),
    Erratum(
        "Wang & Pilanci, slides on separation", "a loss below 1 means that the data are separated",
        "true for the exponential loss; for the logistic loss the threshold is log 2", separated,
    ),
    Erratum(
        "Pilanci & Ergen (ICML 2020), number of patterns", "at most 2 r (e (n - 1) / r)^r",
        "needs n > 1", one_sample,
    ),
    Erratum(
        "Wang, Lacotte & Pilanci (ICLR 2022), slides: stationary points and subsampled programs (a)",
        "a Clarke stationary network is optimal for the program of its patterns",
        "zero neurons have to be left out", zero_neurons,
    ),
    Erratum(
        "the same (b)", "a Clarke stationary network is optimal for the program of its patterns",
        "ties of the wrong sign make it false; directional stationarity is needed", wrong_ties,
    ),
    Erratum(
        "the same (c)", "a Clarke stationary network is optimal for the program of its patterns",
        "each pattern only with the sign of its neuron", both_signs,
    ),
    Erratum(
        "Ergen & Pilanci (JMLR 2021), theorem 5", "Gaussian data are spike-free with probability tending to one",
        "max |X^+ (Xu)_+| tends to one; the probability tends to 2^(-n(n-1)/2)", gaussian_spikes,
    ),
    Erratum(
        "Ergen & Pilanci (JMLR 2021), section 2.2.1",
        "X B cut with the orthant is a relaxation of the rectified ellipsoid",
        "it is a subset: bounds from it are upper bounds of P*, and its cutting planes can stop early",
        inner_approximation,
    ),
    Erratum(
        "Ergen & Pilanci (JMLR 2021), lemma 9 as an l1 optimum", "two neurons, one for each sign of y, are optimal",
        "they have the fewest neurons; of least norm only if lemma 10's test holds, as for orthogonal rows",
        minimal_neurons,
    ),
    Erratum(
        "Ergen & Pilanci (JMLR 2021), lemma 6", "the extreme points hold for any v",
        "only if the entries of v sum to zero (the bias is not penalised)", unbounded_bias,
    ),
    Erratum(
        "Ergen & Pilanci (JMLR 2021), appendix 11", "v^ certifies the second optimum",
        "v^ is infeasible; v* certifies both optima", infeasible_dual,
    ),
)  # fmt: skip


def _draw() -> Figure:
    from matplotlib import pyplot

    figure, (left, middle, right) = pyplot.subplots(1, 3, figsize=(13.5, 4), layout="constrained")
    q = np.linspace(-2, 2, 200)
    left.plot(q, np.log1p(np.exp(-q)), color=BLUE, label="logistic")
    left.plot(q, np.exp(-q), color=ORANGE, label="exponential")
    left.axhline(1, color=GREY, lw=0.8)
    left.axhline(np.log(2), color=VERMILION, lw=0.8, ls="--", label="log 2")
    left.axvline(0, color=GREY, lw=0.8)
    left.set(
        xlabel="y f(x), negative: misclassified", ylabel="loss", ylim=(0, 3), title="Loss below 1 is not separation"
    )
    left.legend()
    n = np.arange(1, 9)
    middle.semilogy(n, 2.0 ** (-n * (n - 1) / 2), "o-", color=BLUE, label="2^(-n(n-1)/2)")
    middle.axhline(1, color=VERMILION, ls="--", lw=0.8, label="as printed")
    middle.set(xlabel="n, with d to infinity", ylabel="probability", title="Gaussian data being spike-free")
    middle.legend()
    t = np.linspace(-2.5, 2.5, 501)
    for v, colour, name in ((DUAL, BLUE, "v*"), (OTHER_DUAL, ORANGE, "v^, as printed")):
        values = np.maximum(POINTS[:, None] - t, 0).T @ v
        right.plot(t, values, color=colour, label=name)
    for level in (1, -1):
        right.axhline(level, color=VERMILION, lw=0.8, ls="--", label="feasible within" if level == 1 else None)
    right.set(xlabel="kink t", ylabel="v^T (a - t)_+", title="Appendix 11: which v is feasible")
    right.legend()
    for ax in (left, middle, right):
        lighten(ax)
    return figure
