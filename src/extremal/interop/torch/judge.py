"""A judge that watches a PyTorch module train, on the device where it trains."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from extremal.conventions import WeightDecay
from extremal.interop.arrays import array_of
from extremal.interop.extras import needs
from extremal.interop.live import Clock, LiveJudge, Standard
from extremal.interop.torch.modules import Layers, layers_of
from extremal.interop.torch.objectives import LossOf, decay_of, loss_of
from extremal.losses import Loss
from extremal.network import Network

if TYPE_CHECKING:
    import os

    from torch import nn
    from torch.optim import Optimizer

#: Numbers in a block of rows that is taken to double precision at once.
BLOCK = 1 << 22


class Judge(LiveJudge):
    """Watches a two-layer ReLU module train: objective, proven lower bound and gap, for <= 5 % of the training time.

    Call it with the module once before training, which is when it looks for the best possible, and after every epoch:

        judge = Judge(X, y, loss=loss, optimizer=optimizer, csv="run.csv")
        judge(module)
        for epoch in range(200):
            ...  # train
            judge(module)
        print(judge.verdict(module))

    Parameters
    ----------
    X : tensor or array of shape (n, ...)
        All training data, on the device of the module if they are to stay there.
    y : tensor or array
        The targets, as the loss takes them.
    beta : float, optional
        The penalty beta/2 |theta|^2 of all weights and the hidden biases; the output bias is free.
    decay : WeightDecay, optional
        Any other penalty, a factor for each group of parameters.
    optimizer : Optimizer, optional
        Its weight decay is the penalty. Give one of beta, decay and optimizer.
    loss : loss module, or function of torch.nn.functional, or str, optional
        As for `imported`. A name such as "squared" means the sum of Extremal's loss over the samples, the default with
        `beta`.
    name : str, optional
        Of the run; by default that of the optimiser.
    tol, time_limit : float
        Of the search for the best possible before training: a relative gap, and seconds (12 by default).
    budget, every, csv, log_dir, clock
        See `LiveJudge`: 0.05, 1, None, None.

    Attributes
    ----------
    history : tuple of Look
        .epoch, .seconds, .objective, .lower, .best, .gap
    standard : Standard
        The best network found before training and the bound; shared with `rival`s.
    share : float
        What the looks have cost, as a share of the training time.
    """

    def __init__(
        self,
        X: Any,
        y: Any,
        *,
        beta: float | None = None,
        decay: WeightDecay | None = None,
        optimizer: Optimizer | None = None,
        loss: nn.Module | Callable[..., Any] | str | None = None,
        name: str | None = None,
        tol: float = 1e-6,
        time_limit: float | None = None,
        budget: float | None = 0.05,
        every: int = 1,
        csv: str | os.PathLike[str] | None = None,
        log_dir: str | os.PathLike[str] | None = None,
        clock: Clock = time.perf_counter,
    ) -> None:
        if sum(given is not None for given in (beta, decay, optimizer)) != 1:
            raise ValueError("the penalty comes from one of beta=, decay= and optimizer=; give exactly one of them")
        if beta is not None and not (np.isfinite(beta) and beta > 0):
            raise ValueError(f"beta must be positive and finite, not {beta!r}")
        if loss is None and optimizer is not None:
            raise ValueError("with an optimizer the loss is needed too: loss=, the loss module that you train with")
        if name is None:
            name = "" if optimizer is None else type(optimizer).__name__
        super().__init__(name=name, budget=budget, every=every, csv=csv, log_dir=log_dir, clock=clock)
        self._X, self._y = _rows(X), array_of(y)
        if len(self._X) != len(self._y):
            raise ValueError(f"X has {len(self._X)} rows and y has {len(self._y)}")
        self._beta, self._decay, self._optimizer, self._loss = beta, decay, optimizer, loss
        self._tol, self._time_limit = tol, time_limit
        self._module: nn.Module | None = None
        self._layers: Layers | None = None
        self._bound: Loss | None = None
        self._factors: WeightDecay | None = None

    def rival(self, name: str, *, csv: Any = None, log_dir: Any = None) -> Judge:
        """A judge for another run on the same problem, with the same standard: nothing is searched for again.

        Its module must have biases where this judge's module has them.
        """
        if self._factors is None:
            raise ValueError("call the judge with its own module first; its rivals share what it finds")
        other = Judge(
            self._X,
            self._y,
            decay=self._factors,
            loss=self._loss,
            name=name,
            budget=self.accounts.share,
            every=self.every,
            csv=csv,
            log_dir=log_dir,
            clock=self.accounts.clock,
        )
        other.standard, other._bound, other._factors = self.standard, self._bound, self._factors
        return other

    def attach(self, module: nn.Module, optimizer: Optimizer, *, steps: int = 1) -> Any:
        """Look at the module now, and after every `steps` steps of the optimiser, which make an epoch.

        Returns
        -------
        A handle; its `remove()` ends it.
        """
        if steps < 1:
            raise ValueError(f"steps must be the number of steps in an epoch, at least 1; not {steps!r}")
        taken = 0

        def count(*_: object) -> None:
            nonlocal taken
            taken += 1
            if taken % steps == 0:
                self(module)

        self(module)
        return optimizer.register_step_post_hook(count)

    def _prepared(self, module: nn.Module) -> Standard:
        layers = self._layers_of(module)
        self._factors = self._penalty(layers)
        self._belongs(layers, self._factors)
        self._bound = self._loss_for(layers).bind(self._y, layers.output.out_features)
        rows = self._X.reshape(len(self._X), -1).detach().cpu().double().numpy()
        mapped = self._factors.problem(rows, self._y, loss=self._bound)
        return Standard(rows, mapped, self._tol).search(layers.network(), self._time_limit)

    def _penalty(self, layers: Layers) -> WeightDecay:
        has_hidden, has_output = layers.biases
        if self._optimizer is not None:
            found = decay_of(layers, self._optimizer)
            if found is None:
                raise ValueError(
                    f"this {type(self._optimizer).__name__} has no weight decay; if the penalty is a part of your "
                    "loss, give beta= or decay= instead of the optimizer"
                )
            return found
        if self._beta is not None:
            return WeightDecay(self._beta, self._beta, self._beta if has_hidden else None, 0.0 if has_output else None)
        assert self._decay is not None
        return self._decay

    def _belongs(self, layers: Layers, decay: WeightDecay) -> None:
        """Refuse a module whose biases are not those that the weight decay speaks of, or of other shape."""
        for part, present, factor in zip(
            ("hidden", "output"), layers.biases, (decay.hidden_bias, decay.output_bias), strict=True
        ):
            if present != (factor is not None):
                raise ValueError(
                    f"the {part} layer {'has a bias' if present else 'has no bias'}; {part}_bias of the weight decay "
                    f"must be {'a number, 0 if it is not penalised' if present else 'None'}"
                )
        features, outputs = self._X[0].numel(), layers.output.out_features
        if layers.hidden.in_features != features:
            raise ValueError(f"the module takes {layers.hidden.in_features} features, X has {features}")
        if self._bound is not None and self._bound.shape[1] != outputs:
            raise ValueError(f"the module has {outputs} outputs, the run it is compared with {self._bound.shape[1]}")

    def _loss_for(self, layers: Layers) -> LossOf:
        if self._loss is None or isinstance(self._loss, str):
            return LossOf(self._loss or "squared", 1.0, mean=False)
        return loss_of(self._loss, layers.output.out_features)

    def _layers_of(self, module: nn.Module) -> Layers:
        """The layers of the module, recognised once."""
        if self._layers is None or module is not self._module:
            layers = layers_of(module)
            if self._factors is not None:
                self._belongs(layers, self._factors)
            self._layers, self._module = layers, module
        return self._layers

    def _objective(self, module: nn.Module) -> float:
        """Loss + penalty in double precision, in blocks of rows on the module's device; X is never copied whole."""
        torch = needs("torch", "torch")
        layers, decay = self._layers_of(module), self._factors
        assert decay is not None
        assert self._bound is not None
        with torch.inference_mode():
            W, b, A, c = (None if part is None else _double(part.detach()) for part in (
                layers.hidden.weight, layers.hidden.bias, layers.output.weight, layers.output.bias))  # fmt: skip
            factors = (decay.hidden, decay.hidden_bias, decay.output, decay.output_bias)
            penalty = sum(
                0.5 * factor * (part * part).sum()
                for factor, part in zip(factors, (W, b, A, c), strict=True)
                if factor and part is not None
            )
            width = max(self._X[0].numel(), layers.hidden.out_features, 1)
            outputs = [
                torch.nn.functional.linear(
                    torch.relu_(torch.nn.functional.linear(_double(rows.reshape(len(rows), -1).to(W.device)), W, b)),
                    A,
                    c,
                )
                for rows in self._X.split(max(BLOCK // width, 1))
            ]
            F = torch.cat(outputs).cpu().double().numpy()
            if not np.isfinite(F).all():
                return np.inf
            return self._bound.value(F) + float(penalty)

    def _network(self, module: nn.Module) -> Network:
        return self._layers_of(module).network()

    def _settle(self, module: nn.Module) -> None:
        """Kernels that training has queued belong to training."""
        device = self._layers_of(module).hidden.weight.device
        if device.type in ("cuda", "mps", "xpu"):
            getattr(needs("torch", "torch"), device.type).synchronize()


def _double(tensor: Any) -> Any:
    """In double precision where the device has it."""
    torch = needs("torch", "torch")
    return tensor.to(torch.float32 if tensor.device.type == "mps" else torch.float64)


def _rows(X: Any) -> Any:
    """X as a tensor, without a copy where it can be."""
    torch = needs("torch", "torch")
    tensor = X.detach() if isinstance(X, torch.Tensor) else torch.as_tensor(np.asarray(X))
    if tensor.ndim < 2 or len(tensor) == 0 or not (tensor.is_floating_point() or tensor.dtype != torch.bool):
        raise ValueError(f"X must be a nonempty tensor or array of shape (n, ...); its shape is {tuple(tensor.shape)}")
    return tensor
