"""The objective that PyTorch minimises: the loss as its loss module has it, the penalty as its optimiser has it.

`weight_decay` adds its multiple of a parameter to that parameter's gradient, and so it is the gradient of
weight_decay/2 |parameter|^2, whatever the optimiser does with the gradient afterwards. Decoupled weight decay (AdamW)
shrinks the parameters beside the step instead, and is the gradient of nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from extremal.conventions import WeightDecay
from extremal.interop.extras import needs
from extremal.interop.imported import Imported
from extremal.interop.torch.modules import Layers, layers_of
from extremal.losses import Huber, Loss, Softmax, bind

if TYPE_CHECKING:
    from numpy.typing import ArrayLike
    from torch import nn
    from torch.optim import Optimizer

COUPLED = ("SGD", "ASGD", "Adam", "NAdam", "RAdam", "Adamax", "Adadelta", "Adagrad", "RMSprop")
DECOUPLED = ("AdamW", "Adafactor", "Muon")
WITHOUT = ("LBFGS", "Rprop", "SparseAdam")
SUPPORTED = "MSELoss, HuberLoss, SmoothL1Loss, BCEWithLogitsLoss, SoftMarginLoss and CrossEntropyLoss"


def imported(
    module: nn.Module, optimizer: Optimizer | None = None, loss: nn.Module | Callable[..., Any] | None = None
) -> Imported:
    """A module of PyTorch as a network, with the objective that it was trained on.

    Parameters
    ----------
    module : Module
        As for `from_torch`.
    optimizer : Optimizer, optional
        Where the weight decay is read from, a factor for each of its groups. Without weight decay (LBFGS, or a
        weight_decay of 0) `decay` is None: the penalty is then in your loss, and has to be given by hand.
    loss : loss module or function of torch.nn.functional, optional

    Returns
    -------
    Imported

    Raises
    ------
    ValueError
        If the objective has no counterpart: decoupled weight decay, parameters that are not trained, weighted classes.
    """
    layers = layers_of(module)
    decay = None if optimizer is None else decay_of(layers, optimizer)
    if loss is None:
        return Imported(layers.network(), decay, source=layers.source)
    objective = loss_of(loss, layers.output.out_features)
    if objective.delta not in (None, Huber.delta):
        raise ValueError(
            f"the Huber loss bends at {objective.delta:g}; a network is certified for delta={Huber.delta:g} only"
        )
    return Imported(layers.network(), decay, objective.name, objective.factor, objective.mean, layers.source)


def decay_of(layers: Layers, optimizer: Optimizer) -> WeightDecay | None:
    """The factors of 1/2 |parameter|^2 that an optimiser adds, or None if it adds nothing."""
    kind = type(optimizer).__name__
    if not isinstance(optimizer, needs("torch", "torch").optim.Optimizer):
        raise ValueError(f"optimizer must be a torch.optim.Optimizer, not {kind}")
    groups = {id(value): group for group in optimizer.param_groups for value in group["params"]}
    parameters = {
        "hidden weight": layers.hidden.weight,
        "hidden bias": layers.hidden.bias,
        "output weight": layers.output.weight,
        "output bias": layers.output.bias,
    }
    factors = {name: _factor(name, value, groups, kind) for name, value in parameters.items() if value is not None}
    if not any(factors.values()):
        return None
    for name in ("hidden weight", "output weight"):
        if factors[name] == 0:
            raise ValueError(
                f"the {name} has no weight decay and other parameters have: neurons may then be rescaled so that the "
                "weights' penalty vanishes, and no optimum exists; give both layers' weights a weight_decay"
            )
    return WeightDecay(
        factors["hidden weight"], factors["output weight"], factors.get("hidden bias"), factors.get("output bias")
    )


def _factor(name: str, value: Any, groups: dict[int, dict[str, Any]], kind: str) -> float:
    group = groups.get(id(value))
    if group is None or not value.requires_grad:
        raise ValueError(
            f"the {name} is not trained by this {kind} (frozen, or left out of its parameters); the global optimum is "
            "over all parameters. To judge the network all the same, give beta= or decay= instead of the optimizer"
        )
    factor = float(group.get("weight_decay", 0.0))
    if kind == "ASGD":  # its decay term, 1e-4 by default, has the step size of the gradient
        factor += float(group["lambd"])
    if group.get("maximize"):
        raise ValueError(f"this {kind} maximises; minimise the negative objective instead")
    if kind not in (*COUPLED, *DECOUPLED, *WITHOUT):
        raise ValueError(f"what {kind} does with its weight decay is not known; give beta= or decay= instead of it")
    if factor and (kind in DECOUPLED or group.get("decoupled_weight_decay")):
        raise ValueError(
            f"the weight decay of {kind} is decoupled: it shrinks the weights beside the gradient step and is not the "
            f"gradient of any penalty, so that there is no objective to judge by. Train with Adam(weight_decay=...), "
            f"or name the penalty that the network shall be judged by: beta={factor:g} is the one that Adam would use"
        )
    return factor


@dataclass(frozen=True)
class LossOf:
    """factor * loss called `name`, its mean over the samples or its sum; `delta` is where the Huber loss bends."""

    name: str
    factor: float
    mean: bool
    delta: float | None = None

    def bind(self, y: ArrayLike, c: int) -> Loss:
        """The loss of c outputs, bound to targets as the loss module takes them."""
        target = np.asarray(y, dtype=np.float64)
        if self.name == "softmax":
            target = one_hot(target, c)
        elif self.name == "logistic":
            target = target.ravel()
        elif target.ndim == 1:
            target = target[:, None]
        n = target.shape[0]
        weight = np.full(n, self.factor / n if self.mean else self.factor)
        if self.delta is not None:
            unit = Huber.from_data(target, weight)
            return Huber(unit.target, unit.weight, self.delta)
        return bind(self.name, target, weight)


def one_hot(y: np.ndarray, c: int) -> np.ndarray:
    """Class numbers as rows of a (n, c) matrix, so that classes may be missing from the data; matrices as they are."""
    if y.ndim == 2 and y.shape[1] > 1:
        return y
    labels = Softmax.from_data(y).target
    if labels.shape[1] > c and labels[:, c:].any():
        raise ValueError(f"y has class numbers up to {labels.shape[1] - 1}, and the network has {c} outputs")
    return np.pad(labels, ((0, 0), (0, max(c - labels.shape[1], 0))))[:, :c]


def loss_of(loss: Any, c: int) -> LossOf:
    """What a loss module, or the function of torch.nn.functional of the same name, means for c outputs."""
    torch = needs("torch", "torch")
    if not isinstance(loss, torch.nn.Module):
        loss = _module_of(loss)
    kind = type(loss).__name__
    if kind in ("BCELoss", "NLLLoss"):
        whole = {"BCELoss": "BCEWithLogitsLoss", "NLLLoss": "CrossEntropyLoss"}[kind]
        raise ValueError(f"{kind} acts on probabilities; use {whole} on the outputs of the last Linear layer")
    if type(loss) not in {getattr(torch.nn, name) for name in SUPPORTED.replace(" and", ",").split(", ")}:
        raise ValueError(f"the loss {kind} has no counterpart here; {SUPPORTED} have")
    if loss.reduction not in ("mean", "sum"):
        raise ValueError(f"{kind} has reduction={loss.reduction!r}; 'mean' and 'sum' are known")
    _refuse_variants(loss, kind)
    mean = loss.reduction == "mean"
    if kind == "CrossEntropyLoss":
        if c < 2:
            raise ValueError("CrossEntropyLoss of a single output is constant; use BCEWithLogitsLoss")
        return LossOf("softmax", 1.0, mean)
    if kind in ("BCEWithLogitsLoss", "SoftMarginLoss"):
        if c != 1:
            raise ValueError(f"{kind} is known for one output; the network has {c}")
        return LossOf("logistic", 1.0, mean)
    share = 1.0 / c if mean else 1.0  # a mean is one over samples and outputs
    if kind == "MSELoss":
        return LossOf("squared", 2.0 * share, mean)
    if kind == "HuberLoss":
        return LossOf("huber", share, mean, float(loss.delta))
    if loss.beta == 0:
        raise ValueError("SmoothL1Loss(beta=0) is the absolute error, which has no counterpart here; take beta > 0")
    return LossOf("huber", share / float(loss.beta), mean, float(loss.beta))


def _module_of(function: Any) -> Any:
    nn = needs("torch", "torch").nn
    known = {
        nn.functional.mse_loss: nn.MSELoss,
        nn.functional.huber_loss: nn.HuberLoss,
        nn.functional.smooth_l1_loss: nn.SmoothL1Loss,
        nn.functional.binary_cross_entropy_with_logits: nn.BCEWithLogitsLoss,
        nn.functional.soft_margin_loss: nn.SoftMarginLoss,
        nn.functional.cross_entropy: nn.CrossEntropyLoss,
    }
    if not callable(function) or function not in known:
        raise ValueError(f"loss must be one of torch.nn's {SUPPORTED}, not {function!r}")
    return known[function]()


def _refuse_variants(loss: Any, kind: str) -> None:
    for name in ("weight", "pos_weight"):
        if getattr(loss, name, None) is not None:
            raise ValueError(f"{kind} has {name}=...; weighted losses have no counterpart here")
    if getattr(loss, "label_smoothing", 0.0):
        raise ValueError(f"{kind} has label_smoothing={loss.label_smoothing:g}; only 0 has a counterpart here")
