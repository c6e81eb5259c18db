"""Networks in files, by their suffix: .npz, .safetensors, .pt, .onnx and .skops."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np

from extremal.interop.arrays import from_state_dict, to_state_dict
from extremal.interop.extras import needs
from extremal.interop.imported import Imported

if TYPE_CHECKING:
    from extremal.design import Array
    from extremal.network import Network

_DTYPES = {"F64": np.float64, "F32": np.float32, "F16": np.float16}


def load(path: str | Path, **options: Any) -> Imported:
    """The network in a file.

    Parameters
    ----------
    path : str or Path
        An .npz file of `Network.save` or of a state dict; .safetensors; .pt or .pth with a state dict or a
        `torch.nn.Sequential`, read without running any code that it may hold; .onnx; .skops with a model of
        scikit-learn.
    options
        For `as_imported`, where the file holds a model and not only arrays.

    Raises
    ------
    ValueError
        If it holds something else.
    ImportError
        If the package that reads it is not installed; it names the extra to install.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in _READERS:
        raise ValueError(
            f"{path}: a network is read from {', '.join(_READERS)}; load other files with their own library and pass "
            "what is in them"
        )
    if not Path(path).stat().st_size:
        raise ValueError(f"{Path(path).name}: the file is empty")
    try:
        return _READERS[suffix](path, options)
    except (ValueError, KeyError, BadZipFile, EOFError) as error:
        raise ValueError(f"{Path(path).name}: {error}") from error


def save(network: Network, path: str | Path, **options: Any) -> None:
    """Write a network to a file, by its suffix.

    Parameters
    ----------
    network : Network
    path : str or Path
        .npz (`Network.load` reads it), .safetensors, .pt or .pth (state dicts), .onnx, or .skops (scikit-learn).
    options
        For `to_onnx` and `to_sklearn`: classes, units, and more; other files hold the weights only.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in _WRITERS:
        raise ValueError(f"{path}: a network is written to {', '.join(_WRITERS)}")
    if options and suffix not in (".onnx", ".skops"):
        raise TypeError(f"a {suffix} file holds the weights only; {' and '.join(options)} cannot be kept in it")
    _WRITERS[suffix](network, path, options)


def _read_npz(path: str | Path, options: dict[str, Any]) -> Imported:
    with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
        return Imported(from_state_dict({name: file[name] for name in file.files}), source="npz file")


def _read_safetensors(path: str | Path, options: dict[str, Any]) -> Imported:
    safetensors = needs("safetensors", "export")
    try:
        entries = safetensors.deserialize(Path(path).read_bytes())
    except safetensors.SafetensorError as error:
        raise ValueError(f"not a safetensors file: {error}") from error
    return Imported(from_state_dict({name: _tensor(entry) for name, entry in entries}), source="safetensors file")


def _tensor(entry: dict[str, Any]) -> Array:
    """A tensor of the file as doubles; NumPy has no bfloat16, which is the upper half of a float32."""
    kind, data = entry["dtype"], entry["data"]
    if kind == "BF16":
        values = (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32)
    elif kind in _DTYPES:
        values = np.frombuffer(data, np.dtype(_DTYPES[kind]).newbyteorder("<"))
    else:
        raise ValueError(f"tensors of type {kind} are not weights")
    return values.reshape(entry["shape"]).astype(np.float64)


def _read_torch(path: str | Path, options: dict[str, Any]) -> Imported:
    torch = needs("torch", "torch")
    from pickle import UnpicklingError

    from torch import nn
    from torch.serialization import safe_globals

    known: list[Any] = [nn.Sequential, nn.Linear, nn.ReLU, nn.Flatten, nn.Identity, nn.Dropout]
    try:
        with safe_globals(known):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (UnpicklingError, RuntimeError) as error:
        raise ValueError(
            "it cannot be read without running code in it; save the weights alone, "
            "torch.save(module.state_dict(), path), or pass the module itself"
        ) from error
    if isinstance(content, dict):
        return Imported(from_state_dict(content), source="PyTorch state dict")
    return _understood(content, options)


def _read_onnx(path: str | Path, options: dict[str, Any]) -> Imported:
    from extremal.interop.onnx import from_onnx

    return Imported(from_onnx(path), source="ONNX file")


def _read_skops(path: str | Path, options: dict[str, Any]) -> Imported:
    needs("skops", "export")
    from skops.io import load
    from skops.io.exceptions import UntrustedTypesFoundException

    from extremal.interop.sklearn import TRUSTED

    try:
        return _understood(load(path, trusted=TRUSTED), options)
    except UntrustedTypesFoundException as error:
        raise ValueError(f"load it with skops.io.load and pass the model itself ({error})") from error


def _understood(model: Any, options: dict[str, Any]) -> Imported:
    from extremal.interop.understanding import as_imported

    return as_imported(model, **options)


def _write_npz(network: Network, path: str | Path, options: dict[str, Any]) -> None:
    network.save(path)


def _write_safetensors(network: Network, path: str | Path, options: dict[str, Any]) -> None:
    needs("safetensors", "export")
    from safetensors.numpy import save_file

    save_file(to_state_dict(network), path, metadata={"format": "pt"})


def _write_torch(network: Network, path: str | Path, options: dict[str, Any]) -> None:
    torch = needs("torch", "torch")
    torch.save({name: torch.from_numpy(part) for name, part in to_state_dict(network).items()}, path)


def _write_onnx(network: Network, path: str | Path, options: dict[str, Any]) -> None:
    from extremal.interop.onnx import to_onnx

    to_onnx(network, path, **options)


def _write_skops(network: Network, path: str | Path, options: dict[str, Any]) -> None:
    needs("skops", "export")
    from skops.io import dump

    from extremal.interop.sklearn import to_sklearn

    dump(to_sklearn(network, **options), path)


_READERS: dict[str, Callable[[str | Path, dict[str, Any]], Imported]] = {
    ".npz": _read_npz,
    ".safetensors": _read_safetensors,
    ".pt": _read_torch,
    ".pth": _read_torch,
    ".onnx": _read_onnx,
    ".skops": _read_skops,
}
_WRITERS: dict[str, Callable[[Network, str | Path, dict[str, Any]], None]] = {
    ".npz": _write_npz,
    ".safetensors": _write_safetensors,
    ".pt": _write_torch,
    ".pth": _write_torch,
    ".onnx": _write_onnx,
    ".skops": _write_skops,
}

#: The suffixes that `save` knows.
WRITABLE = tuple(_WRITERS)
