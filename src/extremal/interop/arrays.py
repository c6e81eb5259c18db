"""Plain arrays and state dicts: PyTorch's names and shapes without PyTorch.

Extremal and scikit-learn keep a layer as (inputs, outputs): hidden (d, m), output (m, c). PyTorch keeps it as
(outputs, inputs): hidden (m, d), output (c, m).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from extremal.design import Array
from extremal.interop.imported import split_bias
from extremal.network import Network

Layout = Literal["auto", "extremal", "torch"]

#: Where training loops keep the state dict within a checkpoint.
_CHECKPOINTS = ("state_dict", "model_state_dict", "model")


def from_arrays(
    hidden: ArrayLike,
    output: ArrayLike,
    hidden_bias: ArrayLike | None = None,
    output_bias: ArrayLike | None = None,
    *,
    layout: Layout = "auto",
) -> Network:
    """The network f(x) = sum_j (w_j . x + b_j)_+ a_j + c with these weights, which are copied: training may go on.

    Parameters
    ----------
    hidden : array of shape (d, m)
        The hidden weights w_j as columns; (m, d) in PyTorch's layout.
    output : array of shape (m, c), or (m,) for one output
        The output weights a_j as rows; (c, m) in PyTorch's layout.
    hidden_bias : array of shape (m,), optional
    output_bias : array of shape (c,), optional
    layout : {"auto", "extremal", "torch"}
        "auto" takes the only layout that the shapes allow, and refuses shapes that allow both.

    Raises
    ------
    ValueError
        If the shapes do not fit, or fit both layouts.
    """
    first, second = _matrix(hidden, "hidden"), _matrix(output, "output")
    biases = [None if b is None else array_of(b).ravel() for b in (hidden_bias, output_bias)]
    if layout not in ("auto", "extremal", "torch"):
        raise ValueError(f"layout must be 'auto', 'extremal' or 'torch', not {layout!r}")
    ways = {"extremal": (first, second), "torch": (first.T, second if np.ndim(output) == 1 else second.T)}
    fitting = [name for name in ways if layout in ("auto", name) and _fits(*ways[name], *biases)]
    if not fitting:
        raise ValueError(_misfit(layout, first, second, biases))
    if len(fitting) == 2:
        raise ValueError(
            f"hidden {first.shape} and output {second.shape} fit two layouts; pass layout='extremal' for (d, m) and "
            "(m, c), or layout='torch' for (m, d) and (c, m)"
        )
    return _network(*ways[fitting[0]], *biases)


def from_state_dict(state: Mapping[str, Any]) -> Network:
    """The network of a state dict: two layers `NAME.weight` in PyTorch's layout, each with a `NAME.bias` or without.

    It may also be a checkpoint that holds one under "state_dict" or "model_state_dict", the arrays of
    `from_arrays` by name, or what `Network.save` writes. A state dict does not say what is between the layers: it is
    taken to be a ReLU.

    Raises
    ------
    ValueError
        If it is not that of two layers in a row.
    """
    state = _unwrapped(state)
    if {"hidden", "output"} <= set(state):
        return _named(state)
    names = [key.removesuffix("weight") for key in state if key == "weight" or key.endswith(".weight")]
    known = {name + part for name in names for part in ("weight", "bias")}
    strange = [key for key in state if key not in known]
    if len(names) != 2 or strange:
        raise ValueError(
            "the state dict of a two-layer network has two weights, such as '0.weight' and '2.weight', and at most "
            f"their biases; this one has {', '.join(map(repr, list(state)[:8])) or 'nothing'}"
        )
    layers = [(state[name + "weight"], state.get(name + "bias")) for name in _ordered(names)]
    (hidden, hidden_bias), (output, output_bias) = layers
    return from_arrays(hidden, output, hidden_bias, output_bias, layout="torch")


def layers(network: Network) -> tuple[Array, Array, Array, Array]:
    """Hidden weights (d, m), hidden biases (m,), output weights (m, c) and the intercept (c,), for other libraries.

    They do not like layers without neurons: a network without any gets one of zeros.
    """
    if not network.width:
        return np.zeros((network.n_features, 1)), np.zeros(1), np.zeros((1, network.n_outputs)), network.intercept
    weights, biases = split_bias(network)
    return weights, biases, network.output, network.intercept


def to_state_dict(network: Network) -> dict[str, Array]:
    """The arrays of `torch.nn.Sequential(Linear, ReLU, Linear)`, by PyTorch's names and in its layout.

    A network without hidden biases has no "0.bias", and one whose intercept is zero no "2.bias".
    """
    weights, biases, output, intercept = layers(network)
    state = {"0.weight": weights.T, "0.bias": biases, "2.weight": output.T, "2.bias": intercept}
    if not network.bias:
        del state["0.bias"]
    if not intercept.any():
        del state["2.bias"]
    return {name: np.array(part, order="C") for name, part in state.items()}


def _matrix(values: ArrayLike, name: str) -> Array:
    matrix = array_of(values)
    if matrix.ndim == 1 and name == "output":
        return matrix[:, None]
    if matrix.ndim != 2:
        raise ValueError(f"{name} must be a matrix; its shape is {matrix.shape}")
    return matrix


def _fits(hidden: Array, output: Array, hidden_bias: Array | None, output_bias: Array | None) -> bool:
    """Whether (d, m), (m, c), (m,) and (c,) are what these shapes are."""
    sizes = (hidden_bias is None or hidden_bias.size == hidden.shape[1]) and (
        output_bias is None or output_bias.size == output.shape[1]
    )
    return hidden.shape[1] == output.shape[0] and sizes


def _misfit(layout: Layout, first: Array, second: Array, biases: list[Array | None]) -> str:
    expected = {
        "extremal": "(d, m), (m, c), (m,) and (c,)",
        "torch": "(m, d), (c, m), (m,) and (c,)",
        "auto": "(d, m), (m, c), (m,) and (c,), or (m, d), (c, m), (m,) and (c,) in PyTorch's layout",
    }[layout]
    found = [str(first.shape), str(second.shape), *("none" if b is None else str(b.shape) for b in biases)]
    return f"hidden, output and their biases must have shapes {expected}; theirs are {', '.join(found)}"


def _network(hidden: Array, output: Array, hidden_bias: Array | None, output_bias: Array | None) -> Network:
    intercept = np.zeros(0) if output_bias is None else output_bias
    if hidden_bias is None:
        return Network(hidden, output, intercept)
    return Network(np.vstack([hidden, hidden_bias]), output, intercept, bias=True)


def _unwrapped(state: Mapping[str, Any]) -> Mapping[str, Any]:
    inner = next((state[key] for key in _CHECKPOINTS if isinstance(state.get(key), Mapping)), None)
    return state if inner is None else inner


def _named(state: Mapping[str, Any]) -> Network:
    """The arrays of `from_arrays`, or those of `Network.save`, by name."""
    if "hidden_bias" in state or "output_bias" in state:
        parts = ("hidden", "output", "hidden_bias", "output_bias")
        return from_arrays(*(state.get(part) for part in parts))  # type: ignore[arg-type]
    if "bias" in state or "intercept" in state:
        return Network(
            array_of(state["hidden"]),
            array_of(state["output"]),
            array_of(state.get("intercept", ())),
            bias=bool(state.get("bias", False)),
        )
    return from_arrays(state["hidden"], state["output"])


def _ordered(names: list[str]) -> list[str]:
    """Layers that end in different numbers by these numbers (files sort names as text), others as they come."""
    numbers = [re.search(r"(\d+)\.$", name) for name in names]
    if all(numbers) and len({match[1] for match in numbers if match}) == len(names):
        return sorted(names, key=lambda name: int(re.search(r"(\d+)\.$", name)[1]))  # type: ignore[index]
    return names


def array_of(value: Any) -> Array:
    """A copy in double precision of anything array-like, a tensor on a device or with a gradient included."""
    if hasattr(value, "detach"):
        value = value.detach().cpu().double().numpy()
    return np.array(value, dtype=np.float64)
