"""Right-hand sides to a relative gap of 1e-6: the flow, gradient descent at its best, and SciPy's integrators."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from extremal import FlowResult, flow
from extremal.datasets import gaussian_labels, orthogonally_separable, xor
from extremal.design import Design
from extremal.flow.discrete import SPACING, descend
from extremal.flow.state import State, random_start
from extremal.flow.trajectory import Recorder
from flow_timing import seconds_of
from report import table

GAP = 1e-6
SCALE = 1e-3
#: What every rule is tried with; the step is multiplied by these.
RULES = {"gd": 0.1, "momentum": 0.01, "adam": 1e-2, "normalised": 0.1, "decaying": 1.0, "unit": 1e-2}
FACTORS = (0.1, 1.0, 10.0)
#: Steps of the first round, and of the second, to which the best rules go on; right-hand sides for SciPy.
FIRST, SECOND, BUDGET = 100_000, 2_000_000, 100_000
FINALISTS = 3
#: Extrapolated steps beyond this say only that it is hopeless.
FARTHEST = 1e12
#: A method has gone to the flow's limit if it has come so close and is not below it.
SAME_LIMIT = 0.02


@dataclass(frozen=True)
class Case:
    """Data, a start, and where the flow goes from there."""

    name: str
    X: np.ndarray
    y: np.ndarray
    start: State
    limit: FlowResult
    seconds: float

    @classmethod
    def of(cls, name: str, X: np.ndarray, y: np.ndarray, width: int, seed: int) -> Case:
        start = random_start(X.shape[1], width, SCALE, np.random.default_rng(seed))
        result, seconds = seconds_of(lambda: flow(X, y, init=start.network(), proof_time=5.0))
        return cls(name, X, y, start, result, seconds)

    def gap(self, upper: np.ndarray) -> np.ndarray:
        return upper / self.limit.value - 1


@dataclass(frozen=True)
class Descended:
    """The gap of a method after so many steps."""

    rule: str
    step: float
    steps: np.ndarray
    gap: np.ndarray
    seconds: float

    @property
    def last(self) -> float:
        return float(self.gap[-1])

    def needed(self) -> tuple[float, bool]:
        """Steps to the gap wanted, and whether they are extrapolated from the slope of the last decade of steps."""
        below = np.flatnonzero(self.gap <= GAP)
        if len(below):
            return float(self.steps[below[0]]), False
        late = (self.steps >= self.steps[-1] / 10) & np.isfinite(self.gap)
        slope, level = np.polyfit(np.log(self.steps[late]), np.log(self.gap[late]), 1)
        with np.errstate(over="ignore"):
            return float(np.exp((np.log(GAP) - level) / slope)) if slope < 0 else np.inf, True


def rhs(quick: bool, pictures: Path | None) -> Iterator[str]:
    """The flow against everything else, from the same starts."""
    first, second, budget = (10_000, 50_000, 5_000) if quick else (FIRST, SECOND, BUDGET)
    cases = [
        Case.of("orthogonal 10x2, m=20", *orthogonally_separable(10, 2, random_state=0), 20, 0),
        Case.of("Gaussian 8x3, m=40", *gaussian_labels(8, 3, random_state=4), 40, 4),
        Case.of("XOR 20x3, m=40", *xor(20, 3, random_state=0), 40, 0),
    ]
    yield table(
        ["data", "flow ends", "1/2 |theta|^2", "right-hand sides", "events", "CPU s"],
        [
            [c.name, c.limit.verdict.name, f"{c.limit.value:.8g}", str(c.limit.evaluations),
             str(c.limit.trajectory.events.size), f"{c.seconds:.2f}"]
            for c in cases
        ],
    )  # fmt: skip
    for case in cases:
        yield f"{case.name}, gap to the flow's limit after so many steps, every rule at its best step:\n"
        yield descent_table(case, first, second)
    yield "SciPy's solve_ivp on the field without events (`rtol=1e-6, atol=1e-9`):\n"
    rows = [scipy_row(case, name, budget) for case in cases for name in ("RK45", "Radau", "LSODA")]
    yield table(["data", "method", "right-hand sides", "CPU s", "tau", "log10 r^2", "gap to the limit"], rows)
    yield from torch_table(cases[0], first // 5)


# --- gradient descent ---------------------------------------------------------------------------------------


def descent_table(case: Case, first: int, second: int) -> str:
    """Every rule at its best step, the best of them for more steps."""
    best = [best_step(case, rule, step, first) for rule, step in RULES.items()]
    ranked = sorted((found for found in best if found), key=lambda run: run.needed()[0])
    final = [descended(case, run.rule, run.step, second) for run in ranked[:FINALISTS]] + ranked[FINALISTS:]
    rows = []
    for run in final:
        needed, guessed = run.needed()
        known = needed < FARTHEST
        count = f"{needed:.1e}" if known else f"more than {FARTHEST:.0e}"
        ratio = f"{needed / case.limit.evaluations:,.0f}" if known else "more than 1e8"
        rows.append([
            run.rule, f"{run.step:g}", f"{run.steps[-1]:.0e}", f"{run.last:.1e}", f"{run.seconds:.1f}",
            count + (" (extrapolated)" if guessed else ""), ratio,
        ])  # fmt: skip
    missing = [rule for rule, found in zip(RULES, best, strict=True) if found is None]
    note = f"\nNot within {SAME_LIMIT:g} of that limit at any step size: {', '.join(missing)}.\n" if missing else ""
    return table(["rule", "step", "steps", "gap", "CPU s", "steps to 1e-6", "ratio"], rows) + note


def best_step(case: Case, rule: str, step: float, steps: int) -> Descended | None:
    """The step size that needs the fewest steps; None if none goes to the flow's limit."""
    runs = [descended(case, rule, factor * step, steps) for factor in FACTORS]
    same = [run for run in runs if GAP * -1 < run.last < SAME_LIMIT]
    return min(same, key=lambda run: (run.needed()[0], run.last), default=None)


def descended(case: Case, rule: str, step: float, steps: int) -> Descended:
    recorder = Recorder(rows=len(case.y))
    with np.errstate(all="ignore"):
        end, seconds = seconds_of(
            lambda: descend(
                Design(case.X), case.y, "logistic", case.start, method=rule, step=step, max_steps=steps,
                recorder=recorder, time_limit=120.0,
            )
        )  # fmt: skip
        record = recorder.finish(case.X, case.y, loss="logistic", method=rule, bias=False)
        gap = np.minimum.accumulate(case.gap(record.upper_bounds))  # the best so far: steps may chatter
    numbers = step_numbers(end.steps)
    assert len(numbers) == len(gap)
    return Descended(rule, step, numbers[1:], gap[1:], seconds)


def step_numbers(last: int) -> np.ndarray:
    """The steps at which `descend` takes snapshots."""
    numbers = [0]
    while numbers[-1] < last:
        numbers.append(min(max(numbers[-1] + 1, int(numbers[-1] * SPACING)), last))
    return np.array(numbers)


def torch_table(case: Case, steps: int) -> Iterator[str]:
    """The same in PyTorch, as it is usually written."""
    try:
        import torch
    except ModuleNotFoundError:
        yield "PyTorch is not installed.\n"
        return
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    X, y = torch.tensor(case.X), torch.tensor(case.y)
    rows = []
    for name, make in (
        ("SGD, lr 1", lambda p: torch.optim.SGD(p, lr=1.0)),
        ("Adam, lr 1e-2", lambda p: torch.optim.Adam(p, lr=1e-2)),
    ):
        network = case.start.network()
        W = torch.tensor(network.hidden, requires_grad=True)
        b = torch.tensor(network.output[:, 0], requires_grad=True)
        optimiser = make([W, b])

        def train(W: Any = W, b: Any = b, optimiser: Any = optimiser) -> None:
            for _ in range(steps):
                optimiser.zero_grad()
                torch.nn.functional.softplus(-y * (torch.relu(X @ W) @ b)).sum().backward()
                optimiser.step()

        _, seconds = seconds_of(train)
        with torch.no_grad():
            margin = float((y * (torch.relu(X @ W) @ b)).min())
            size = float((W**2).sum() + (b**2).sum()) / 2
        gap = f"{size / margin / case.limit.value - 1:.1e}" if margin > 0 else "not separated"
        rows.append([name, f"{steps}", gap, f"{seconds:.1f}"])
    yield f"PyTorch (float64, one thread) on {case.name}; the flow took {case.seconds:.2f} CPU s:\n"
    yield table(["optimiser", "steps", "gap to the limit", "CPU s"], rows)


# --- SciPy --------------------------------------------------------------------------------------------------


class Spent(Exception):
    """The right-hand sides are spent."""


def naive_field(case: Case, budget: int, seen: dict[str, Any]) -> Callable[[float, np.ndarray], np.ndarray]:
    """v' = s (g - (v . g) v), a' = s v . g with g = X^T (lam on the active rows): no events, relu'(0) = 0.

    `seen` keeps the farthest state.
    """
    signs, (m, d) = case.start.signs, case.start.directions.shape

    def field(tau: float, z: np.ndarray) -> np.ndarray:
        seen["evaluations"] += 1
        if seen["evaluations"] > budget:
            raise Spent
        if tau >= seen["tau"]:
            seen["tau"], seen["z"] = tau, z.copy()
        V, a = z[: m * d].reshape(m, d), z[m * d :]
        Z = V @ case.X.T
        q = case.y * ((signs * np.exp(2 * a)) @ np.maximum(Z, 0.0))
        log_p = -np.logaddexp(0.0, q)
        weight = np.exp(log_p - np.logaddexp.reduce(log_p))
        G = signs[:, None] * (((Z > 0) * (weight * case.y)) @ case.X)
        h = (V * G).sum(axis=1)
        return np.concatenate([(G - h[:, None] * V).ravel(), h])

    return field


def scipy_row(case: Case, method: str, budget: int) -> list[str]:
    from scipy.integrate import solve_ivp

    start = np.concatenate([case.start.directions.ravel(), case.start.log_norms])
    seen: dict[str, Any] = {"evaluations": 0, "tau": 0.0, "z": start}
    end = case.limit.trajectory.time[-1]

    def run() -> str:
        try:
            found = solve_ivp(naive_field(case, budget, seen), (0.0, end), start, method=method, rtol=1e-6, atol=1e-9)
        except Spent:
            return "spent"
        return "done" if found.success else "gave up"

    ending, seconds = seconds_of(run)
    m, d = case.start.directions.shape
    V, a = seen["z"][: m * d].reshape(m, d), seen["z"][m * d :]
    size = np.exp(2 * a).sum()
    margin = (case.y * ((case.start.signs * np.exp(2 * a)) @ np.maximum(V @ case.X.T, 0.0))).min()
    gap = f"{size / margin / case.limit.value - 1:.1e}" if margin > 0 else "not separated"
    return [
        case.name, method, f"{min(seen['evaluations'], budget)} ({ending})", f"{seconds:.1f}",
        f"{seen['tau']:.2f} of {end:.0f}", f"{np.log10(size):.1f}", gap,
    ]  # fmt: skip
