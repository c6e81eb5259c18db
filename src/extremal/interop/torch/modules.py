"""Modules of PyTorch that are two-layer ReLU networks, read and written."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from extremal.design import Array
from extremal.interop.arrays import from_arrays, from_state_dict
from extremal.interop.extras import needs
from extremal.network import Network

if TYPE_CHECKING:
    import torch
    from torch import nn

SHAPE = "Sequential(Linear, ReLU, Linear)"
#: What the network computes may differ from what the module computes by this fraction, in double precision.
AGREEMENT = 1e-9
#: Inputs of these sizes are tried, so many of each.
SIZES, EACH = (0.01, 1.0, 100.0), 24


def from_torch(module: nn.Module | Mapping[str, torch.Tensor]) -> Network:
    """The network f(x) = sum_j (w_j . x + b_j)_+ a_j + c that a module of PyTorch computes.

    Parameters
    ----------
    module : Module or state dict
        `Sequential(Linear, ReLU, Linear)`, nested or not, with or without biases, with Flatten, Identity or inactive
        Dropout in between; or any other module with exactly two Linear layers and a ReLU between them. A state dict is
        read by `interop.from_state_dict`: that there is a ReLU between its layers is taken on trust.

    Returns
    -------
    Network
        In double precision. It is compared with the module on random inputs, in double precision too.

    Raises
    ------
    ValueError
        If the module computes anything else; the message names what is in the way.
    """
    if isinstance(module, Mapping):
        return from_state_dict(module)
    return layers_of(module).network()


def to_torch(
    network: Network, *, dtype: torch.dtype | None = None, device: Any = None, bias: bool | None = None
) -> Any:
    """`Sequential(Linear, ReLU, Linear)` that computes the same function.

    Parameters
    ----------
    network : Network
    dtype : torch.dtype
        float64 by default, which rounds nothing.
    device : device, optional
    bias : bool, optional
        Whether the layers have biases. By default those that the network has: hidden biases if `network.bias`, output
        biases if its intercept is not zero. True gives both layers biases, zero where the network has none.

    Returns
    -------
    torch.nn.Sequential

    Raises
    ------
    ValueError
        If `bias` is False and the network has biases that are not zero.
    """
    torch = needs("torch", "torch")
    d = network.n_features
    hidden_bias = network.hidden[-1] if network.bias else np.zeros(network.width)
    if bias is False and (hidden_bias.any() or network.intercept.any()):
        raise ValueError("the network has biases; bias=False would change what it computes")
    with_bias = (network.bias, bool(network.intercept.any())) if bias is None else (bias, bias)
    options = {"dtype": dtype or torch.float64, "device": device or "cpu"}
    hidden = _linear(network.hidden[:d].T, hidden_bias if with_bias[0] else None, options)
    output = _linear(network.output.T, network.intercept if with_bias[1] else None, options)
    return torch.nn.Sequential(hidden, torch.nn.ReLU(), output)


def _linear(weight: Array, shift: Array | None, options: dict[str, Any]) -> nn.Linear:
    """A Linear layer with these weights; the state of the random number generator stays as it is."""
    torch = needs("torch", "torch")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Initializing zero-element tensors")  # a network without neurons
        layer = torch.nn.utils.skip_init(torch.nn.Linear, *weight.T.shape, bias=shift is not None, **options)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weight.copy()))
        if shift is not None:
            layer.bias.copy_(torch.from_numpy(shift.copy()))
    return layer


def state_dict(network: Network, **options: Any) -> dict[str, torch.Tensor]:
    """The state dict of `to_torch(network, **options)`: 0.weight, 0.bias, 2.weight, 2.bias."""
    return to_torch(network, **options).state_dict()


@dataclass(frozen=True, eq=False)
class Layers:
    """The two Linear layers of a module. They are read again whenever the weights have changed."""

    hidden: nn.Linear
    output: nn.Linear
    source: str

    @property
    def biases(self) -> tuple[bool, bool]:
        """Whether the hidden layer and the output layer have biases."""
        return self.hidden.bias is not None, self.output.bias is not None

    def network(self) -> Network:
        """The network with the present weights."""
        hidden, output = self.hidden, self.output
        return from_arrays(hidden.weight, output.weight, hidden.bias, output.bias, layout="torch")


def layers_of(module: nn.Module) -> Layers:
    """The two layers of a module that is a two-layer ReLU network, checked on random inputs."""
    torch = needs("torch", "torch")
    if not isinstance(module, torch.nn.Module):
        raise ValueError(f"a torch.nn.Module or a state dict is needed, not {type(module).__name__}")
    module = _unwrapped(module)
    _refuse_parts(module)
    if isinstance(module, torch.nn.Sequential):
        candidates = [_sequential_layers(module)]
    else:
        linear = [part for part in module.modules() if isinstance(part, torch.nn.Linear)]
        if len(linear) != 2:
            raise ValueError(f"{_name(module)} has {len(linear)} Linear layers; exactly two are needed: {SHAPE}")
        candidates = [(linear[0], linear[1]), (linear[1], linear[0])]
    feeding = [(first, second) for first, second in candidates if first.out_features == second.in_features]
    first, second = candidates[0]
    error = f"{first.out_features} hidden neurons do not feed {second.in_features}"
    for hidden, output in feeding:
        _refuse_layers(module, hidden, output)
        layers = Layers(hidden, output, f"torch.nn.{type(module).__name__}" if _is_torch(module) else _name(module))
        error = _disagreement(module, layers)
        if not error:
            return layers
    raise ValueError(f"{_name(module)} is not a two-layer ReLU network, {SHAPE}: {error}")


def _unwrapped(module: nn.Module) -> nn.Module:
    """The module inside torch.compile and the parallel wrappers."""
    while True:
        inner = getattr(module, "_orig_mod", None)
        if inner is None and type(module).__name__ in ("DataParallel", "DistributedDataParallel"):
            inner = module.module
        if inner is None:
            return module
        module = inner


def _sequential_layers(module: nn.Module) -> tuple[Any, Any]:
    nn = needs("torch", "torch").nn
    steps = [
        step
        for step in _steps(module)
        if not isinstance(step, (nn.Identity, nn.Flatten, nn.modules.dropout._DropoutNd))
    ]
    kinds = [type(step).__name__ for step in steps]
    if kinds == ["Linear", "ReLU", "Linear"]:
        return steps[0], steps[2]
    raise ValueError(f"the module is Sequential({', '.join(kinds)}), not {SHAPE}{_hint(kinds)}")


def _hint(kinds: list[str]) -> str:
    last = {
        "Sigmoid": "BCEWithLogitsLoss",
        "Softmax": "CrossEntropyLoss",
        "LogSoftmax": "CrossEntropyLoss",
    }.get(kinds[-1] if kinds else "")
    return f"; leave the {kinds[-1]} to the loss: {last} contains it" if last else ""


def _steps(module: nn.Module) -> Iterator[nn.Module]:
    for step in module.children():
        if isinstance(step, needs("torch", "torch").nn.Sequential):
            yield from _steps(step)
        else:
            yield step


def _refuse_parts(module: nn.Module) -> None:
    """Refuse what no two-layer ReLU network contains, by its name."""
    torch = needs("torch", "torch")
    for name, part in module.named_modules():
        kind, called = type(part).__name__, f"layer {name}" if name else "the module"
        if isinstance(part, torch.nn.Linear) and "weight" not in part._parameters:
            raise ValueError(
                f"the weight of {called} is computed from other parameters (weight_norm, spectral_norm, pruning), "
                "which weight decay would act on; make it a plain parameter first, for example with "
                "torch.nn.utils.parametrize.remove_parametrizations(layer, 'weight')"
            )
        if isinstance(part, torch.nn.modules.dropout._DropoutNd) and part.training and part.p > 0:
            raise ValueError(
                f"{called} is {kind} in training mode, which trains another objective; "
                "call module.eval(), or set its p to 0"
            )
        activation = type(part).__module__ == "torch.nn.modules.activation"
        if activation and kind not in ("ReLU", "Sigmoid", "Softmax", "LogSoftmax"):
            raise ValueError(f"{called} is {kind}; only ReLU networks are known here")
    for name, value in module.named_parameters():
        if isinstance(value, torch.nn.parameter.UninitializedParameter):
            raise ValueError(f"{name} has no shape yet; call the module once on a row of data first")


def _refuse_layers(module: nn.Module, hidden: nn.Linear, output: nn.Linear) -> None:
    """Refuse shared weights, and parameters of anything else."""
    if hidden.weight is output.weight:
        raise ValueError("both layers share one weight; the two layers of a network must be free of each other")
    known = {id(value) for layer in (hidden, output) for value in layer.parameters()}
    other = [name for name, value in module.named_parameters() if id(value) not in known]
    if other:
        raise ValueError(f"{_name(module)} has parameters besides those of its two Linear layers: {', '.join(other)}")


def _disagreement(module: nn.Module, layers: Layers) -> str:
    """How the module differs from the network of its two layers on random inputs; empty if it does not."""
    torch = needs("torch", "torch")
    network = layers.network()
    X = _probes(network.n_features)
    state = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    state = {name: value.double() if value.is_floating_point() else value for name, value in state.items()}
    rows = torch.from_numpy(X).to(layers.hidden.weight.device)
    try:
        with torch.no_grad():
            found = torch.func.functional_call(module, state, (rows,))
        outputs = np.asarray(found.detach().cpu().double()).reshape(len(X), network.n_outputs)
    except (RuntimeError, ValueError, TypeError, AttributeError, IndexError) as error:
        return f"it does not map rows of {network.n_features} features to {network.n_outputs} outputs ({error})"
    inputs = np.column_stack([X, np.ones(len(X))]) if network.bias else X
    size = np.maximum(np.abs(inputs) @ np.abs(network.hidden), 0) @ np.abs(network.output) + np.abs(network.intercept)
    off = float((np.abs(outputs - network.predict(X)) / np.where(size > 0, size, 1.0)).max(initial=0.0))
    return "" if off <= AGREEMENT else f"on random inputs the outputs differ by {off:.1e} of their size"


def _probes(d: int) -> Array:
    rng = np.random.default_rng(0)
    return np.vstack([np.zeros((1, d)), *(size * rng.standard_normal((EACH, d)) for size in SIZES)])


def _is_torch(module: nn.Module) -> bool:
    return type(module).__module__.startswith("torch.")


def _name(module: nn.Module) -> str:
    return type(module).__name__
