"""Optimisers racing each other to the true optimum."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from extremal.interop.extras import needs
from extremal.interop.live import LiveJudge, Standard, draw
from extremal.interop.torch.judge import Judge

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from torch import nn
    from torch.optim import Optimizer

Maker = Callable[[Any], "Optimizer"]


@dataclass(frozen=True, eq=False)
class Race:
    """What became of every optimiser.

    Attributes
    ----------
    judges : tuple of Judge
        One for each run, in order: .name, .history, .verdict().
    modules : tuple of Module
        What they trained.
    """

    judges: tuple[Judge, ...]
    modules: tuple[nn.Module, ...]

    @property
    def standard(self) -> Standard:
        """The best network known and the proven lower bound."""
        standard = self.judges[0].standard
        assert standard is not None
        return standard

    def plot(self, ax: Axes | None = None, *, against: str = "epochs") -> Axes:
        """The runs' distance from the proven lower bound, against "epochs" or "seconds" of training."""
        return draw(self.judges, ax, against=against)

    def __str__(self) -> str:
        return "\n".join(judge.verdict() for judge in self.judges)


def race(
    X: Any,
    y: Any,
    *,
    beta: float,
    loss: nn.Module,
    optimizers: Mapping[str, Maker] | None = None,
    width: int = 50,
    bias: bool = True,
    epochs: int = 200,
    batch_size: int | None = None,
    random_state: int = 0,
    time_limit: float | None = None,
) -> Race:
    """Train one network with several optimisers from the same start, each watched by a `Judge`.

    All of them minimise loss + beta/2 |theta|^2, the penalty as a part of the loss; the output bias is free. There is a
    look after every epoch, and its time is not counted as theirs.

    Parameters
    ----------
    X : tensor or array of shape (n, d)
        Where it is, and in its precision, the networks train.
    y : tensor or array
        As the loss takes it.
    beta : float
    loss : loss module
        Its mean or its sum over the samples.
    optimizers : mapping of names to functions, optional
        Each function makes an optimiser of the parameters. By default Adam, SGD with momentum, and L-BFGS.
    width : int
        The number of neurons.
    bias : bool
        Whether both layers have biases.
    epochs : int
    batch_size : int, optional
        All samples by default; L-BFGS gets all of them in any case.
    random_state : int
        Of the start and the batches.
    time_limit : float, optional
        Seconds for the search for the best possible, before the start; 12 by default.

    Returns
    -------
    Race
    """
    torch = needs("torch", "torch")
    rows = torch.as_tensor(X)
    rows = rows if rows.is_floating_point() else rows.double()
    targets = torch.as_tensor(y, device=rows.device)
    targets = targets.to(rows.dtype) if targets.is_floating_point() else targets
    makers = default_optimizers() if optimizers is None else dict(optimizers)
    if not makers:
        raise ValueError("a race needs at least one optimiser")
    judges: list[Judge] = []
    modules = []
    for name, make in makers.items():
        module = _start(rows, _outputs(targets, loss), width, bias, random_state)
        if judges:
            judge = judges[0].rival(name)
        else:
            judge = Judge(rows, targets, beta=beta, loss=loss, name=name, time_limit=time_limit, budget=None)
        _run(module, make(module.parameters()), judge, (rows, targets, loss, beta), epochs, batch_size, random_state)
        judges.append(judge)
        modules.append(module)
    return Race(tuple(judges), tuple(modules))


def default_optimizers() -> dict[str, Maker]:
    """Adam, SGD with momentum, and L-BFGS with a line search."""
    optim = needs("torch", "torch").optim
    return {
        "Adam": lambda parameters: optim.Adam(parameters, lr=0.01),
        "SGD": lambda parameters: optim.SGD(parameters, lr=0.05, momentum=0.9),
        "L-BFGS": lambda parameters: optim.LBFGS(parameters, line_search_fn="strong_wolfe"),
    }


def _outputs(targets: Any, loss: nn.Module) -> int:
    if type(loss).__name__ == "CrossEntropyLoss" and targets.ndim == 1:
        return int(targets.max()) + 1
    if targets.ndim != 2:
        raise ValueError(
            f"y must have shape (n, c), as the outputs of the network; its shape is {tuple(targets.shape)}"
        )
    return int(targets.shape[1])


def _start(rows: Any, c: int, width: int, bias: bool, seed: int) -> nn.Module:
    """PyTorch's own random start; the state of its random number generator stays as it is."""
    torch = needs("torch", "torch")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        nn = torch.nn
        module = nn.Sequential(nn.Linear(rows.shape[1], width, bias=bias), nn.ReLU(), nn.Linear(width, c, bias=bias))
    return module.to(rows.device, rows.dtype)


def _run(
    module: nn.Module,
    optimizer: Optimizer,
    judge: LiveJudge,
    problem: tuple[Any, Any, nn.Module, float],
    epochs: int,
    batch_size: int | None,
    seed: int,
) -> None:
    torch = needs("torch", "torch")
    X, y, loss, beta = problem
    whole = batch_size is None or isinstance(optimizer, torch.optim.LBFGS)
    size = len(X) if whole else int(batch_size or 0)
    penalised = [value for name, value in module.named_parameters() if name != "2.bias"]
    rng = np.random.default_rng(seed)
    judge(module)
    for _ in range(epochs):
        order = None if whole else torch.from_numpy(rng.permutation(len(X))).to(X.device)
        for batch in (slice(None),) if order is None else order.split(size):
            inputs, targets = X[batch], y[batch]
            scale = len(X) / len(inputs) if loss.reduction == "sum" else 1.0

            def closure(inputs: Any = inputs, targets: Any = targets, scale: float = scale) -> Any:
                optimizer.zero_grad()
                value = scale * loss(module(inputs), targets)
                value = value + 0.5 * beta * sum((part * part).sum() for part in penalised)
                value.backward()
                return value

            optimizer.step(closure)
        judge(module)
    judge.verdict(module)
