"""What people use instead, each as a function of a problem that returns its best network and its CPU seconds.

Everything runs on one thread, so that CPU seconds compare; `fit.py` runs every peer in a process of its own
and stops it at the time limit. PyTorch and CVXPY come with `pip install -e .[bench]`. The published solver of
the convex program, pyscnn, declares more than it needs; this is enough:

    pip install --no-deps pyscnn linalg_backends opt_einsum tqdm
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations, product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from extremal import Network
from problems import Array, Problem

WIDTH = 200
RESTARTS = 5
GATES = 500
ENTRIES = 4_000_000  # nonzeros of the largest cone program that is tried; 2 million take .75 GB


@dataclass(frozen=True)
class Answer:
    """A peer's best network, what it cost, and what has to be known to read the number."""

    network: Network
    cpu_seconds: float
    note: str = ""


class NotApplicable(Exception):
    """The peer cannot be run on this problem; the message says why."""


def cpu_clock() -> float:
    """CPU seconds of this process, all of its threads and its finished children."""
    return sum(os.times()[:4])


# --- local search -------------------------------------------------------------------------------------------


def torch_lbfgs(problem: Problem) -> Answer:
    """PyTorch L-BFGS from its default initialisation: 1000 iterations, strong Wolfe, best of the restarts.

    In float64, because float32 stops early at larger penalties; with 20 pairs, because 100 end little lower
    for twice the time.
    """
    import torch

    def train(loss: Callable[[], Any], parameters: list[Any]) -> None:
        optimiser = torch.optim.LBFGS(
            parameters,
            max_iter=1000,
            max_eval=10_000,
            history_size=20,
            tolerance_grad=1e-9,
            tolerance_change=1e-12,
            line_search_fn="strong_wolfe",
        )

        def closure() -> Any:
            optimiser.zero_grad()
            value = loss()
            value.backward()
            return value

        optimiser.step(closure)

    return _torch_restarts(problem, train)


def torch_adam(problem: Problem) -> Answer:
    """PyTorch Adam on the full batch: 5000 steps, the rate falls from 1e-2 to 0; best of the restarts."""
    import torch

    def train(loss: Callable[[], Any], parameters: list[Any], steps: int = 5000) -> None:
        optimiser = torch.optim.Adam(parameters, lr=1e-2)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
        for _ in range(steps):
            optimiser.zero_grad()
            loss().backward()
            optimiser.step()
            schedule.step()

    return _torch_restarts(problem, train)


class TorchModel:
    """A network of 200 neurons in PyTorch's default initialisation, float64, with the objective as its loss."""

    def __init__(self, problem: Problem, seed: int) -> None:
        import torch

        torch.manual_seed(seed)
        self.X, self.y, self.b = torch.tensor(problem.X), torch.tensor(problem.y), problem.b
        self.W = torch.nn.Linear(self.X.shape[1], WIDTH, bias=False, dtype=self.X.dtype).weight
        self.a = torch.nn.Linear(WIDTH, 1, bias=False, dtype=self.X.dtype).weight

    @property
    def parameters(self) -> list[Any]:
        return [self.W, self.a]

    def loss(self, rows: Any = slice(None)) -> Any:
        """The objective, or its estimate from some rows."""
        import torch

        residual = torch.relu(self.X[rows] @ self.W.T) @ self.a[0] - self.y[rows]
        penalty = self.W.square().sum() + self.a.square().sum()
        return 0.5 * residual.square().mean() + 0.5 * self.b * penalty

    def network(self) -> Network:
        return Network(self.W.detach().numpy().T, self.a.detach().numpy().T)


def warm_torch() -> None:
    """One thread, and what PyTorch imports at the first step."""
    import torch

    torch.set_num_threads(1)
    torch.optim.SGD([torch.zeros(1, requires_grad=True)]).step()


def _torch_restarts(problem: Problem, train: Callable[..., None]) -> Answer:
    warm_torch()
    start = cpu_clock()
    networks = []
    for seed in range(RESTARTS):
        model = TorchModel(problem, seed)
        train(model.loss, model.parameters)
        networks.append(model.network())
    return Answer(min(networks, key=problem.objective), cpu_clock() - start, f"best of {RESTARTS}")


def without_biases() -> Any:
    """MLPRegressor with every bias at zero: it starts there and has no gradient."""
    from sklearn.neural_network import MLPRegressor

    class WithoutBiases(MLPRegressor):
        def _init_coef(self, *arguments: Any) -> tuple[Array, Array]:
            weights, biases = super()._init_coef(*arguments)
            return weights, np.zeros_like(biases)

        def _compute_loss_grad(self, layer: int, *arguments: Any) -> None:
            super()._compute_loss_grad(layer, *arguments)
            bias_gradients = arguments[-1]
            bias_gradients[layer] = np.zeros_like(bias_gradients[layer])

    return WithoutBiases


def network_of(model: Any) -> Network:
    """The network of a fitted MLPRegressor, whose biases are zero."""
    if any(np.any(bias) for bias in model.intercepts_):
        raise NotApplicable("this version of scikit-learn does not let its biases be held at zero")
    return Network(model.coefs_[0], model.coefs_[1])


def sklearn_mlp(problem: Problem) -> Answer:
    """scikit-learn's MLPRegressor by L-BFGS, 1000 iterations, best of the restarts.

    Its penalty is alpha/(2n) |W|^2, so alpha = b n. It has unpenalised biases that cannot be switched off;
    holding them at zero makes its model ours (with them, its objective is that of another, larger model).
    """
    import warnings

    Model = without_biases()
    start = cpu_clock()
    networks = []
    for seed in range(RESTARTS):
        model = Model(
            hidden_layer_sizes=(WIDTH,),
            solver="lbfgs",
            alpha=problem.b * problem.y.size,
            max_iter=1000,
            max_fun=10_000,
            tol=1e-9,
            random_state=seed,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that 1000 iterations were not enough is part of the comparison
            model.fit(problem.X, problem.y)
        networks.append(network_of(model))
    return Answer(min(networks, key=problem.objective), cpu_clock() - start, f"best of {RESTARTS}, biases held at 0")


# --- the convex program -------------------------------------------------------------------------------------


def clarabel_enumerated(problem: Problem) -> Answer:
    """The convex program over all patterns by CVXPY and Clarabel: the global optimum, where it fits."""
    n, d = problem.X.shape
    if d > 3 or n > 60:
        raise NotApplicable("all patterns are enumerated for d <= 3 and n <= 60 only")
    start = cpu_clock()
    patterns = all_patterns(problem.X)
    network = solve_program(problem, patterns)
    return Answer(network, cpu_clock() - start, f"all {patterns.shape[1]} patterns")


def sampled_patterns(X: Array, gates: int) -> NDArray[np.bool_]:
    """The patterns of so many Gaussian gates, each once."""
    directions = np.random.default_rng(0).standard_normal((X.shape[1], gates))
    return np.unique(X @ directions > 0, axis=1)


def clarabel_sampled(problem: Problem) -> Answer:
    """The convex program over the patterns of 500 Gaussian gates, by CVXPY and Clarabel."""
    start = cpu_clock()
    patterns = sampled_patterns(problem.X, GATES)
    network = solve_program(problem, patterns)
    return Answer(network, cpu_clock() - start, f"{patterns.shape[1]} patterns of {GATES} gates")


def all_patterns(X: Array) -> NDArray[np.bool_]:
    """The patterns (n, p) of all cells of {u : x_i . u = 0}, for rows in general position.

    Every cell touches a ray that is orthogonal to d - 1 rows; around the ray those rows take all signs.
    """
    n, d = X.shape
    signs = np.array(list(product((True, False), repeat=d - 1)))
    patterns = []
    for rows in map(list, combinations(range(n), d - 1)):
        ray = np.linalg.svd(X[rows].reshape(d - 1, d))[2][-1]
        for u in (ray, -ray):
            cells = np.repeat((X @ u > 0)[:, None], len(signs), axis=1)
            cells[rows] = signs.T
            patterns.append(cells)
    return np.unique(np.hstack(patterns), axis=1)


def solve_program(problem: Problem, patterns: NDArray[np.bool_], **settings: float) -> Network:
    """The finite convex program over the given patterns (Pilanci & Ergen, 2020), with its ReLU cones.

    min  1/(2n) |sum_p D_p X (v_p - w_p) - y|^2 + b sum_p (|v_p| + |w_p|)
    with (2 D_p - I) X v_p >= 0 and (2 D_p - I) X w_p >= 0. The settings are Clarabel's.
    """
    import cvxpy as cp

    X, y = problem.X, problem.y
    n, d = X.shape
    count = patterns.shape[1]
    if 2 * count * n * d > ENTRIES:
        raise NotApplicable(f"too large: the cone program has {2 * count * n * d / 1e6:.0f} million entries")
    positive, negative = cp.Variable((d, count)), cp.Variable((d, count))
    signs = 2.0 * patterns - 1.0
    outputs = cp.sum(cp.multiply(patterns, X @ (positive - negative)), axis=1)
    penalty = cp.sum(cp.norm(positive, 2, axis=0)) + cp.sum(cp.norm(negative, 2, axis=0))
    cones = [cp.multiply(signs, X @ v) >= 0 for v in (positive, negative)]
    objective = cp.Minimize(cp.sum_squares(outputs - y) / (2 * n) + problem.b * penalty)
    program = cp.Problem(objective, cones)
    program.solve(solver=cp.CLARABEL, **settings)
    if positive.value is None or negative.value is None:
        raise NotApplicable(f"Clarabel ended with status {program.status!r}")
    directions = np.hstack([positive.value, negative.value])
    return Network(directions, np.repeat([1.0, -1.0], count)).balance()


def pyscnn(problem: Problem) -> Answer:
    """The published solver, an augmented Lagrangian method in float32, on 500 sampled gates.

    Columns are not unitised, since that changes the penalty. At most 2000 primal and 50 dual iterations,
    where its defaults are 10000 of each.
    """
    import logging

    import torch
    from scnn.activations import sample_gate_vectors
    from scnn.metrics import Metrics
    from scnn.models import ConvexReLU
    from scnn.optimize import optimize_model
    from scnn.regularizers import NeuronGL1
    from scnn.solvers import AL

    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    start = cpu_clock()
    model = ConvexReLU(sample_gate_vectors(0, problem.X.shape[1], GATES))
    solver = AL(model, max_primal_iters=2000, max_dual_iters=50)
    fitted, _ = optimize_model(
        model, solver, Metrics(), problem.X, problem.y, regularizer=NeuronGL1(problem.b), unitize_data=False
    )
    hidden, output = (np.asarray(part, dtype=np.float64) for part in fitted.parameters)
    return Answer(Network(hidden.T, output.T), cpu_clock() - start, f"{GATES} gates")


#: Every peer by name, strongest first.
PEERS: dict[str, tuple[str, Callable[[Problem], Answer]]] = {
    "lbfgs": ("PyTorch L-BFGS", torch_lbfgs),
    "adam": ("PyTorch Adam", torch_adam),
    "mlp": ("scikit-learn MLPRegressor", sklearn_mlp),
    "enumerated": ("CVXPY + Clarabel, all patterns", clarabel_enumerated),
    "sampled": ("CVXPY + Clarabel, sampled gates", clarabel_sampled),
    "pyscnn": ("pyscnn (AL), sampled gates", pyscnn),
}
