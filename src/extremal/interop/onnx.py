"""ONNX: the network as a graph Gemm, Relu, Gemm, and back.

The graph reads `x` (N, d) and writes `output` (N, c), with N free. With units it begins with (x - centre) / scale and
ends with the target's; with classes it also writes `label` (N,) and `probability` (N, number of classes).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from extremal.design import Array
from extremal.interop.arrays import from_arrays, layers
from extremal.interop.extras import needs
from extremal.interop.units import Units
from extremal.network import Network

#: Old enough for every ONNX runtime in use, new enough for all that the graph needs.
OPSET, IR_VERSION = 17, 8


def to_onnx(
    network: Network,
    path: str | Path | None = None,
    *,
    dtype: type[np.float32] | type[np.float64] = np.float32,
    classes: ArrayLike | None = None,
    probabilities: bool = True,
    units: Units | None = None,
    feature_names: ArrayLike | None = None,
) -> Any:
    """The network as an ONNX model, checked, and written to `path` if there is one.

    Parameters
    ----------
    network : Network
    path : str or Path, optional
    dtype : numpy.float32 or numpy.float64
        Of everything in the graph. In float32 the outputs agree with `predict` to about 1e-6 of their size.
    classes : array, optional
        The classes in the order of the outputs: two for one output, otherwise one an output.
    probabilities : bool
        Whether a classifier writes its probabilities: of the logistic function or the softmax.
    units : Units, optional
        How the columns and the target are scaled; the graph then reads and writes the user's units.
    feature_names : array of str, optional
        Kept in the model's metadata.

    Returns
    -------
    onnx.ModelProto
    """
    onnx = needs("onnx", "export")
    graph = _Graph(np.dtype(dtype))
    scores = _outputs(graph, network, units)
    results = [_value("output", graph.dtype, [None, network.n_outputs])]
    if classes is not None:
        results += _classify(graph, scores, np.asarray(classes), network.n_outputs, probabilities)
    entry = _value("x", graph.dtype, [None, network.n_features])
    helper = onnx.helper
    model = helper.make_model(
        helper.make_graph(graph.nodes, "extremal", [entry], results, graph.constants),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="extremal",
        doc_string=f"A two-layer ReLU network with {network.width} neurons",
    )
    if feature_names is not None:
        helper.set_model_props(model, {"features": ",".join(map(str, np.asarray(feature_names)))})
    onnx.checker.check_model(model, full_check=True)
    if path is not None:
        onnx.save(model, path)
    return model


@dataclass
class _Graph:
    """Nodes and constants, as they come."""

    dtype: np.dtype
    nodes: list[Any] = field(default_factory=list)
    constants: list[Any] = field(default_factory=list)

    def node(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        from onnx.helper import make_node

        self.nodes.append(make_node(operator, inputs, [output], **attributes))
        return output

    def constant(self, values: ArrayLike, name: str, dtype: Any = None) -> str:
        from onnx.numpy_helper import from_array

        self.constants.append(from_array(np.array(values, dtype=dtype or self.dtype, order="C"), name))
        return name


def _outputs(graph: _Graph, network: Network, units: Units | None) -> str:
    """The network's outputs, in the target's units under the name "output"; what it is called before these units."""
    weights, biases, output, intercept = layers(network)
    x = "x"
    if units is not None:
        centre, scale = units.columns(network.n_features)
        x = graph.node("Sub", [x, graph.constant(centre, "centre")], "centred")
        x = graph.node("Div", [x, graph.constant(scale, "scale")], "scaled")
    x = graph.node("Gemm", [x, graph.constant(weights, "W"), graph.constant(biases, "b")], "preactivation")
    x = graph.node("Relu", [x], "neurons")
    plain = units is None or units.plain_target
    last = "output" if plain else "scaled_output"
    graph.node("Gemm", [x, graph.constant(output, "A"), graph.constant(intercept, "c")], last)
    if units is not None and not plain:
        x = graph.node("Mul", [last, graph.constant(np.array(units.target_scale), "target_scale")], "spread")
        graph.node("Add", [x, graph.constant(np.array(units.target_centre), "target_centre")], "output")
    return last


def _classify(graph: _Graph, scores: str, classes: np.ndarray, outputs: int, probabilities: bool) -> list[Any]:
    """Label and probabilities from the outputs; the first class where two have the same score."""
    if classes.ndim != 1 or outputs != (1 if len(classes) == 2 else len(classes)):
        raise ValueError(f"a network for {len(classes)} classes does not have {outputs} outputs")
    if outputs == 1:
        scores = graph.node("Concat", [graph.node("Neg", [scores], "first"), scores], "scores", axis=1)
    dtype = np.dtype(object if classes.dtype.kind in "UO" else np.int64 if _whole(classes) else np.float64)
    winner = graph.node("ArgMax", [scores], "winner", axis=1, keepdims=0)
    graph.node("Gather", [graph.constant(classes, "classes", dtype), winner], "label")
    results = [_value("label", dtype, [None])]
    if probabilities:
        normalise = ("Sigmoid", {}) if outputs == 1 else ("Softmax", {"axis": 1})
        graph.node(normalise[0], [scores], "probability", **normalise[1])
        results.append(_value("probability", graph.dtype, [None, len(classes)]))
    return results


def _whole(numbers: np.ndarray) -> bool:
    return bool(np.all(numbers == np.round(numbers.astype(np.float64))))


def _value(name: str, dtype: np.dtype, shape: list[int | None]) -> Any:
    from onnx.helper import make_tensor_value_info, np_dtype_to_tensor_dtype

    return make_tensor_value_info(name, np_dtype_to_tensor_dtype(dtype), ["N", *shape[1:]])


def from_onnx(model: Any) -> Network:
    """The network of an ONNX graph that is affine, then a ReLU, then affine again.

    Gemm, MatMul, Add, Sub, Mul and Div with constants are understood, so that a scaling of the inputs or outputs
    becomes part of the weights. What follows the second affine part (a softmax, labels) is left out.

    Parameters
    ----------
    model : onnx.ModelProto, or the path of a file

    Raises
    ------
    ValueError
        If the graph is another one.
    """
    onnx = needs("onnx", "export")
    if isinstance(model, str | Path):
        try:
            model = onnx.load(model)
        except Exception as error:  # protobuf's error has no stable name
            raise ValueError("not an ONNX file") from error
    graph = model.graph
    constants = _constants(graph, onnx.numpy_helper.to_array)
    entries = [entry for entry in graph.input if entry.name not in constants]
    if len(entries) != 1:
        raise ValueError(f"a network reads one input; this graph has {len(entries)}")
    dimensions = entries[0].type.tensor_type.shape.dim
    if len(dimensions) != 2 or not dimensions[1].dim_value:
        raise ValueError("the input must be of shape (N, d), with d in the graph")
    hidden, biases, name = _affine(graph, constants, entries[0].name, dimensions[1].dim_value)
    relu = _reader(graph, name)
    if relu is None or relu.op_type != "Relu":
        raise ValueError(f"a ReLU must follow the first layer; here it is {relu.op_type if relu else 'nothing'}")
    output, intercept, name = _affine(graph, constants, relu.output[0], hidden.shape[1])
    last = _reader(graph, name)
    if last is not None and last.op_type not in _TAILS:
        raise ValueError(f"the graph goes on with {last.op_type} after the second layer")
    return from_arrays(hidden, output, biases if biases.any() else None, intercept, layout="extremal")


#: What turns outputs into labels or probabilities, and what leaves numbers as they are.
_TAILS = ("Sigmoid", "Softmax", "LogSoftmax", "ArgMax", "Neg", "Concat")
_SAME = ("Identity", "Flatten", "Dropout", "Cast")


def _constants(graph: Any, to_array: Any) -> dict[str, Array]:
    """The graph's constants by name, floats as doubles."""
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            tensors[node.output[0]] = node.attribute[0].t
    arrays = {name: to_array(tensor) for name, tensor in tensors.items()}
    return {name: part.astype(np.float64) if part.dtype.kind == "f" else part for name, part in arrays.items()}


def _reader(graph: Any, name: str) -> Any:
    """The node that reads a value, None if there is none; of several the first, if all of them make labels."""
    readers = [node for node in graph.node if name in node.input]
    if len(readers) > 1 and not all(node.op_type in _TAILS for node in readers):
        raise ValueError("the graph has branches; two layers in a row are needed")
    return readers[0] if readers else None


def _affine(graph: Any, constants: dict[str, Array], name: str, d: int) -> tuple[Array, Array, str]:
    """The affine map x -> x @ matrix + shift that begins at a value of d columns, and the value where it ends."""
    matrix, shift = np.eye(d), np.zeros(d)
    while (node := _reader(graph, name)) is not None:
        if node.op_type in ("Gemm", "MatMul", "Add", "Sub", "Mul", "Div"):
            matrix, shift = _step(node, constants, name, matrix, shift)
        elif node.op_type not in _SAME:
            break
        name = node.output[0]
    return matrix, shift, name


def _step(node: Any, constants: dict[str, Array], name: str, matrix: Array, shift: Array) -> tuple[Array, Array]:
    """The affine map after one more node."""
    from onnx.helper import get_attribute_value

    others = [other for other in node.input if other != name]
    if not others or any(other not in constants for other in others):
        raise ValueError(f"{node.op_type} must have constants for its weights")
    first = constants[others[0]]
    if node.op_type in ("Gemm", "MatMul"):
        given = {attribute.name: get_attribute_value(attribute) for attribute in node.attribute}
        if node.input[0] != name or given.get("transA") or first.ndim != 2:
            raise ValueError(f"{node.op_type} must have the data on its left and a matrix on its right")
        weights = given.get("alpha", 1.0) * (first.T if given.get("transB") else first)
        bias = given.get("beta", 1.0) * constants[others[1]].reshape(-1) if len(others) > 1 else 0.0
        return matrix @ weights, shift @ weights + bias
    constant = first.reshape(-1)
    left = node.input[0] == name
    if node.op_type == "Add":
        return matrix, shift + constant
    if node.op_type == "Sub":
        return (matrix, shift - constant) if left else (-matrix, constant - shift)
    if node.op_type == "Div":
        if not left:
            raise ValueError("Div must have the data on its left")
        return matrix / constant, shift / constant
    return matrix * constant, shift * constant
