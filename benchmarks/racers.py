"""The methods of the race, each with a clock that sees its network while it trains.

A method is trained from the start with every one of its settings, each run with the whole time and a clock of its own.
Networks are evaluated while the clock stands still, all by `Problem.objective`, in float64 and balanced.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

import extremal
from extremal import Network
from peers import (
    WIDTH,
    NotApplicable,
    TorchModel,
    network_of,
    sampled_patterns,
    solve_program,
    warm_torch,
    without_biases,
)
from problems import Problem, teacher

#: CPU seconds of the first evaluation, and the factor from one to the next.
FIRST, PACE = 1e-3, 1.1
#: What ends a little late still counts: a time limit is looked at between steps.
GRACE = 1.05


class TimeIsUp(Exception):
    """The run has used its CPU seconds, or its weights are no longer finite."""


@dataclass(eq=False)
class Watch:
    """The clock of one run, the lowest objective so far at some moments, and the network that has it."""

    problem: Problem
    seconds: float
    points: list[tuple[float, float]] = field(default_factory=list)
    network: Network | None = None
    best: float = np.inf
    standing: float = 0.0
    due: float = FIRST
    note: str = ""
    started: float = field(default_factory=time.process_time)

    def elapsed(self) -> float:
        """CPU seconds of this process since the start, evaluation left out."""
        return time.process_time() - self.started - self.standing

    def see(self, network: Callable[[], Network]) -> None:
        """Asked after every step: evaluates the network if it is time to.

        Raises
        ------
        TimeIsUp
        """
        now = self.elapsed()
        if now >= self.due or now >= self.seconds:
            self.evaluate(network)
        if now >= self.seconds:
            raise TimeIsUp

    def evaluate(self, network: Callable[[], Network]) -> None:
        """The objective now; it counts if it is the lowest so far and in time."""
        now = self.elapsed()
        self.due = max(self.due, PACE * now)
        try:
            seen = network().balance()  # a copy: the weights themselves go on changing
            value = self.problem.objective(seen)
        except ValueError as error:  # weights that are not finite
            raise TimeIsUp from error
        if value < self.best and now <= GRACE * self.seconds:
            self.best, self.network = value, seen
            self.points.append((now, value))
        self.standing += self.elapsed() - now


# --- ours ---------------------------------------------------------------------------------------------------


@dataclass(eq=False)
class OurWatch:
    """What is seen of `extremal.fit`: the networks on a `Watch`, and the lower bound at its moments."""

    watch: Watch
    bounds: list[tuple[float, float]] = field(default_factory=list)

    def fit(self) -> extremal.FitResult:
        """`extremal.fit` with its defaults and the time limit, which becomes one of CPU seconds."""
        from extremal import training
        from extremal.training.solver import Run

        watch, problem, bounds = self.watch, self.watch.problem, self.bounds
        scaling = extremal.Problem.from_data(
            problem.X, problem.y, beta=problem.b, bias="none", sample_weight=problem.weight
        ).normalised()[1]

        class Seen(Run):
            """A run whose network is looked at whenever it reports; its own clock is set to that of the watch."""

            def tell(self, phase: str) -> None:
                super().tell(phase)
                now = watch.elapsed()
                if now >= watch.due:
                    watch.evaluate(lambda: scaling.network(self.best.network()))
                value = scaling.value(self.bound.value)
                if value > (bounds[-1][1] if bounds else 0.0):
                    bounds.append((now, value))
                self.started = time.monotonic() - watch.elapsed()

        usual, training.Run = training.Run, Seen  # type: ignore[misc]
        try:
            result = extremal.fit(
                problem.X,
                problem.y,
                beta=problem.b,
                bias="none",
                sample_weight=problem.weight,
                time_limit=watch.seconds,
            )
        finally:
            training.Run = usual  # type: ignore[misc]
        watch.evaluate(lambda: result.network)
        bounds.append((watch.elapsed(), max([result.certificate.dual, *(value for _, value in bounds)])))
        return result


def warm_ours() -> None:
    """Load the compiled kernels of low and of high rank."""
    for n, d in ((20, 3), (30, 8)):
        X, y = teacher(n, d)
        extremal.fit(X, y, beta=0.3, bias="none", time_limit=2)


# --- local search -------------------------------------------------------------------------------------------


def adam(watch: Watch, rate: float) -> None:
    import torch

    model = TorchModel(watch.problem, seed=0)
    _steps(watch, model, torch.optim.Adam(model.parameters, lr=rate), rate)


def sgd(watch: Watch, rate: float, batch: int | None) -> None:
    import torch

    model = TorchModel(watch.problem, seed=0)
    _steps(watch, model, torch.optim.SGD(model.parameters, lr=rate, momentum=0.9), rate, batch)


def _steps(watch: Watch, model: TorchModel, optimiser: Any, rate: float, batch: int | None = None) -> None:
    """Steps until time is up; the rate falls to 0 along half a cosine over that time."""
    import torch

    n = len(model.y)
    batches: list[Any] = []
    while True:
        for group in optimiser.param_groups:
            group["lr"] = rate * 0.5 * (1 + np.cos(np.pi * min(watch.elapsed() / watch.seconds, 1.0)))
        if not batches:
            batches = [slice(None)] if batch is None else list(torch.randperm(n).split(batch))
        optimiser.zero_grad()
        model.loss(batches.pop()).backward()
        optimiser.step()
        watch.see(model.network)


def lbfgs(watch: Watch, seed: int) -> None:
    """Strong Wolfe, 20 pairs, until it ends by itself or time is up."""
    import torch

    model = TorchModel(watch.problem, seed)
    optimiser = torch.optim.LBFGS(
        model.parameters,
        max_iter=10**9,
        max_eval=10**9,
        history_size=20,
        tolerance_grad=1e-9,
        tolerance_change=1e-12,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Any:
        optimiser.zero_grad()
        value = model.loss()
        value.backward()
        watch.see(model.network)
        return value

    optimiser.step(closure)
    watch.evaluate(model.network)


def mlp(watch: Watch, seed: int) -> None:
    """scikit-learn's MLPRegressor by its L-BFGS, biases held at zero."""

    class Watched(without_biases()):  # type: ignore[misc]
        def _loss_grad_lbfgs(self, *arguments: Any) -> Any:
            answer = super()._loss_grad_lbfgs(*arguments)
            watch.see(lambda: network_of(self))
            return answer

    problem = watch.problem
    model = Watched(
        hidden_layer_sizes=(WIDTH,),
        solver="lbfgs",
        alpha=problem.b * problem.y.size,
        max_iter=10**9,
        max_fun=10**9,
        tol=1e-9,
        random_state=seed,
    )
    model.fit(problem.X, problem.y)
    watch.evaluate(lambda: network_of(model))


# --- the convex program -------------------------------------------------------------------------------------


def clarabel(watch: Watch, gates: int) -> None:
    """The convex program over the patterns of sampled gates; its answer is seen at the end only."""
    patterns = sampled_patterns(watch.problem.X, gates)
    network = solve_program(watch.problem, patterns, time_limit=watch.seconds)
    watch.evaluate(lambda: network)


def pyscnn(watch: Watch, gates: int) -> None:
    """Its augmented Lagrangian method in float32 with its defaults; columns are not unitised (another penalty)."""
    import logging

    from scnn import optimize
    from scnn.activations import sample_gate_vectors
    from scnn.metrics import Metrics
    from scnn.models import ConvexReLU
    from scnn.regularizers import NeuronGL1
    from scnn.solvers import AL

    problem, silent = watch.problem, logging.root.manager.disable

    def network_seen(model: Any) -> Network:
        positive, negative = np.asarray(model.weights, dtype=np.float64)[:, 0]
        return Network(np.vstack([positive, negative]).T, np.repeat([1.0, -1.0], len(positive)))

    def seen(model: Any, *_: Any) -> Any:
        watch.see(lambda: network_seen(model))
        return model

    logging.disable(logging.WARNING)
    usual = optimize.build_optimizer  # its procedures take a callback for every step, its public function does not
    optimize.build_optimizer = lambda *arguments: partial(usual(*arguments), callback=seen)
    try:
        model = ConvexReLU(sample_gate_vectors(0, problem.X.shape[1], gates))
        solver = AL(model, max_primal_iters=10**9, max_dual_iters=10**9)
        metrics = Metrics(metric_freq=10**9, objective=False, grad_norm=False, time=False)
        fitted, _ = optimize.optimize_model(
            model, solver, metrics, problem.X, problem.y, regularizer=NeuronGL1(problem.b), unitize_data=False
        )
    finally:
        optimize.build_optimizer = usual
        logging.disable(silent)
    hidden, output = (np.asarray(part, dtype=np.float64) for part in fitted.parameters)
    watch.evaluate(lambda: Network(hidden.T, output.T))


# --- all of them --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Method:
    """A peer, and the settings that it is run with: what they are called, and the runs."""

    title: str
    short: str
    runs: dict[str, Callable[[Watch], None]]
    needs_torch: bool = True

    def race(self, problem: Problem, seconds: float) -> dict[str, Watch]:
        """A watch for every setting, in turn. A run that fails leaves what was seen of it, and why it failed."""
        return {setting: watched(run, problem, seconds) for setting, run in self.runs.items()}

    def warm(self, seconds: float = 0.5) -> None:
        """Import and compile what the first run would."""
        if self.needs_torch:
            warm_torch()
        run = next(iter(self.runs.values()))
        watched(run, Problem("warm", *teacher(20, 3), 0.01), seconds)


def watched(run: Callable[[Watch], None], problem: Problem, seconds: float) -> Watch:
    """The watch of one run; divergence, slow convergence and failures are part of the comparison."""
    watch = Watch(problem, seconds)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            run(watch)
        except TimeIsUp:
            pass
        except NotApplicable as error:
            watch.note = str(error)
        except ModuleNotFoundError as error:
            watch.note = f"not installed ({error.name})"
        except Exception as error:
            watch.note = f"failed: {type(error).__name__}: {error}"
    return watch


SEEDS = (0, 1, 2)
RATES = (0.01, 0.03, 0.1)
BATCHES: tuple[tuple[float, int | None], ...] = ((1.0, None), (3.0, None), (0.1, 32), (0.3, 32))
#: Sampled gates of the convex program for Clarabel, and for pyscnn.
GATES, FEWER_GATES = (30, 100, 300, 1000), (100, 500)

#: The peers by name.
METHODS: dict[str, Method] = {
    "lbfgs": Method("PyTorch L-BFGS", "L-BFGS", {f"seed {seed}": partial(lbfgs, seed=seed) for seed in SEEDS}),
    "adam": Method("PyTorch Adam", "Adam", {f"rate {rate:g}": partial(adam, rate=rate) for rate in RATES}),
    "sgd": Method(
        "PyTorch SGD",
        "SGD",
        {
            f"rate {rate:g}, {'all rows' if batch is None else f'batches of {batch}'}": partial(
                sgd, rate=rate, batch=batch
            )
            for rate, batch in BATCHES
        },
    ),
    "mlp": Method(
        "scikit-learn MLP", "MLP", {f"seed {seed}": partial(mlp, seed=seed) for seed in SEEDS}, needs_torch=False
    ),
    "clarabel": Method(
        "CVXPY + Clarabel",
        "Clarabel",
        {f"{gates} gates": partial(clarabel, gates=gates) for gates in GATES},
        needs_torch=False,
    ),
    "pyscnn": Method("pyscnn", "pyscnn", {f"{gates} gates": partial(pyscnn, gates=gates) for gates in FEWER_GATES}),
}
