"""One door for everything that may be a network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from extremal.interop.arrays import from_arrays, from_state_dict
from extremal.interop.imported import Imported
from extremal.network import Network

_UNDERSTOOD = (
    "an extremal.Network, a fitted ReLURegressor, ReLUClassifier, MLPRegressor or MLPClassifier, a torch module of two "
    "linear layers with a ReLU between them, a state dict, a tuple (hidden, output[, hidden_bias, output_bias]) of "
    "arrays, or the path of an .npz, .safetensors, .pt, .onnx or .skops file"
)


def as_imported(model: Any, **options: Any) -> Imported:
    """A network of any kind in Extremal's terms, with the objective that it was trained on as far as that is known.

    Parameters
    ----------
    model
        An `extremal.Network` or `Imported`; a fitted model of scikit-learn or of Extremal; a torch module; a state
        dict; a tuple of arrays as for `from_arrays`; the path of a file as for `interop.load`.
    options
        For the library that the model is of: `optimizer` and `loss` for a torch module (see `interop.torch`).

    Raises
    ------
    ValueError
        If the model is not a two-layer ReLU network.
    TypeError
        If it is not understood at all; the message lists what is.
    """
    if isinstance(model, str | Path):
        from extremal.interop.files import load

        return load(model, **options)
    libraries = _libraries(model)
    if "torch" in libraries and not isinstance(model, Mapping):
        from extremal.interop.torch import imported

        return imported(model, **options)
    given = [name for name, value in options.items() if value is not None]
    if given:
        raise TypeError(f"{' and '.join(given)}: these are read from a torch module only")
    return _without_options(model, libraries)


def _without_options(model: Any, libraries: set[str]) -> Imported:
    if isinstance(model, Imported):
        return model
    if isinstance(model, Network):
        return Imported(model, source="Network")
    if isinstance(model, Mapping):
        return Imported(from_state_dict(model), source="state dict")
    if isinstance(model, tuple | list) and 2 <= len(model) <= 4:
        return Imported(from_arrays(*model), source="arrays")
    if "sklearn" in libraries:
        return _from_sklearn(model)
    raise TypeError(f"{type(model).__name__} is not understood; a network is {_UNDERSTOOD}")


def _from_sklearn(model: Any) -> Imported:
    from extremal.interop.sklearn import imported

    name = type(model).__name__
    if hasattr(model, "steps"):
        raise ValueError(
            f"the network of a {name} sees transformed data; pass its last step and the data as that sees them: "
            "pipeline[-1] and pipeline[:-1].transform(X)"
        )
    for attribute in ("regressor_", "best_estimator_"):
        if hasattr(model, attribute):
            raise ValueError(f"pass the network of the {name}, its {attribute}, and the data as that sees them")
    if not any(hasattr(model, attribute) for attribute in ("coefs_", "network_", "hidden_layer_sizes", "alpha")):
        raise ValueError(f"{name} is not a network; of scikit-learn, MLPRegressor and MLPClassifier are understood")
    return imported(model)


def _libraries(model: Any) -> set[str]:
    """The packages that a model's class and its base classes are from; nothing is imported to find out."""
    return {base.__module__.partition(".")[0] for base in type(model).__mro__}
