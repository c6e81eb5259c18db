"""What the live judge costs: the time of an epoch with it and without it, side by side in one run.

    python benchmarks/judge.py [--epochs-for SECONDS]

Two copies of every training take turns, blocks of epochs with and without the judge in alternation, so that whatever
else the machine does hits both alike. The search before training is not in the times; the table gives it beside.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from extremal.interop.torch import Judge

BLOCKS = 60


@dataclass(frozen=True)
class Case:
    name: str
    n: int
    d: int
    width: int
    batch: int | None = None
    optimizer: str = "Adam"
    dtype: torch.dtype = torch.float32


CASES = (
    Case("full batch, small", 200, 5, 20),
    Case("full batch, small, SGD", 200, 5, 20, optimizer="SGD"),
    Case("full batch, medium", 2000, 20, 100),
    Case("mini-batches of 32", 2000, 20, 100, batch=32),
    Case("L-BFGS", 500, 10, 50, optimizer="LBFGS", dtype=torch.float64),
    Case("large, mini-batches of 256", 20_000, 100, 500, batch=256),
)


def data(case: Case) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((case.n, case.d))
    y = np.maximum(X @ rng.standard_normal((case.d, 3)), 0) @ rng.standard_normal((3, 1)) + rng.standard_normal(
        (case.n, 1)
    )
    return torch.as_tensor(X, dtype=case.dtype), torch.as_tensor(y, dtype=case.dtype)


def training(case: Case, X: torch.Tensor, y: torch.Tensor) -> tuple[nn.Module, Callable[[], None]]:
    """A module, and the function that trains it for an epoch."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(case.d, case.width), nn.ReLU(), nn.Linear(case.width, 1)).to(case.dtype)
    options = {"lr": 1e-3} if case.optimizer != "LBFGS" else {"line_search_fn": "strong_wolfe"}
    optimizer = getattr(torch.optim, case.optimizer)(module.parameters(), **options)
    loss = nn.MSELoss()

    def epoch() -> None:
        batches = [slice(None)] if case.batch is None else torch.randperm(case.n).split(case.batch)
        for batch in batches:

            def closure(batch: torch.Tensor | slice = batch) -> torch.Tensor:
                optimizer.zero_grad()
                value = loss(module(X[batch]), y[batch])
                value.backward()
                return value

            optimizer.step(closure)

    return module, epoch


def measure(case: Case, seconds: float) -> dict[str, float]:
    """Seconds of an epoch without and with the judge, its own account of its share, and how often it looked."""
    X, y = data(case)
    _, plain = training(case, X, y)
    module, watched = training(case, X, y)
    judge = Judge(X, y, beta=1e-2, loss=nn.MSELoss(), time_limit=2)
    judge(module)
    plain(), watched()
    began = time.perf_counter()
    plain()
    block = max(1, int(seconds / 2 / BLOCKS / max(time.perf_counter() - began, 1e-6)))
    judge.accounts.begin()
    spent = {"without": [], "with": []}
    for _ in range(BLOCKS):
        began = time.perf_counter()
        for _ in range(block):
            plain()
        spent["without"].append((time.perf_counter() - began) / block)
        began = time.perf_counter()
        judge.accounts.begin()  # the other copy's time is not this one's
        for _ in range(block):
            watched()
            judge(module)
        spent["with"].append((time.perf_counter() - began) / block)
    epochs = BLOCKS * block
    without, with_judge = np.array(spent["without"]), np.array(spent["with"])
    return {
        "epoch": float(np.median(without)),
        "mean": float(with_judge.sum() / without.sum() - 1),
        "median": float(np.median(with_judge / without) - 1),
        "share": judge.share,
        "epochs": epochs,
        "looks": len(judge.history) - 1,
        "before": judge.standard.seconds if judge.standard else 0.0,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs-for", type=float, default=20.0, help="seconds of training for each case")
    arguments = parser.parse_args()
    print(
        f"torch {torch.__version__}, {torch.get_num_threads()} threads, {platform.processor() or platform.machine()}\n"
    )
    print(
        "| case | n x d, width | epoch | time added: mean | median | its own account | epochs | looks | search before |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for case in CASES:
        found = measure(case, arguments.epochs_for)
        cells = (
            case.name,
            f"{case.n} x {case.d}, {case.width}",
            f"{1e3 * found['epoch']:.3g} ms",
            *(f"{found[name]:.1%}" for name in ("mean", "median", "share")),
            *(f"{found[name]:.0f}" for name in ("epochs", "looks")),
            f"{found['before']:.1f} s",
        )
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
