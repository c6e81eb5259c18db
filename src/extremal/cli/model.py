"""A trained network with everything needed to use it on the columns of a CSV file, in one .npz file."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np

from extremal.interop import Units, save
from extremal.network import Network

if TYPE_CHECKING:
    from extremal.cli.table import Table
    from extremal.design import Array


@dataclass(frozen=True, eq=False)
class Model:
    """A network, the columns that it reads, and how they are scaled.

    The file can be read as a bare network too, with `Network.load`: it then works in scaled units.

    Attributes
    ----------
    network : Network
    features : array of str, shape (d,)
    target : str
    loss : str
        "squared", "huber", "logistic", "softmax" or "squared_hinge".
    alpha : float
    intercept : bool
        Whether the output intercept was free.
    centre, scale : arrays of shape (d,)
        The network reads (x - centre) / scale.
    target_centre, target_scale : float
        The network predicts (y - target_centre) / target_scale.
    classes : array of shape (n_classes,)
        The classes, as numbers or words; empty for a regression.
    """

    network: Network
    features: np.ndarray
    target: str
    loss: str
    alpha: float
    intercept: bool
    centre: Array
    scale: Array
    target_centre: float
    target_scale: float
    classes: np.ndarray

    @property
    def units(self) -> Units | None:
        """How the columns and the target are scaled; None if they are as they are."""
        units = Units(self.centre, self.scale, self.target_centre, self.target_scale)
        plain = units.plain_target and not np.any(self.centre) and np.all(self.scale == 1)
        return None if plain else units

    def inputs(self, table: Table) -> Array:
        """The scaled features of a table, shape (n, d)."""
        return (table.numbers(self.features.tolist()) - self.centre) / self.scale

    def targets(self, table: Table, column: str | None = None) -> Array:
        """The scaled targets of a table, or the numbers of its classes, shape (n,)."""
        column = column or self.target
        if not self.classes.size:
            return (table.numbers([column])[:, 0] - self.target_centre) / self.target_scale
        table.refuse_missing([column])
        labels = table.text(column) if self.classes.dtype.kind == "U" else table.numbers([column])[:, 0]
        unknown = np.setdiff1d(labels, self.classes)
        if unknown.size:
            raise ValueError(f"the model does not know the class {unknown[0]} in column {column!r}")
        return np.searchsorted(self.classes, labels).astype(np.float64)

    def predict(self, X: Array) -> np.ndarray:
        """The predictions for scaled features, in the units or classes of the data."""
        outputs = self.network.predict(X)
        if not self.classes.size:
            return outputs[:, 0] * self.target_scale + self.target_centre
        winner = outputs.argmax(axis=1) if outputs.shape[1] > 1 else (outputs[:, 0] > 0).astype(int)
        return self.classes[winner]

    def save(self, path: str) -> None:
        """Write the model to an .npz file without pickled objects."""
        parts: dict[str, Any] = {
            field.name: getattr(self, field.name) for field in fields(self) if field.name != "network"
        }
        # the free intercept is a flag here, and the network's own array of that name keeps it
        parts["free_intercept"] = parts.pop("intercept")
        net = self.network
        network: dict[str, Any] = {
            "hidden": net.hidden,
            "output": net.output,
            "intercept": net.intercept,
            "bias": net.bias,
        }
        with open(path, "wb") as file:
            np.savez(file, **network, **parts)

    @staticmethod
    def is_one(path: str) -> bool:
        """Whether a file is a model written by `save`, and not a network alone or something else."""
        try:
            with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
                return "free_intercept" in file.files
        except (ValueError, EOFError, BadZipFile, TypeError):
            return False

    @classmethod
    def load(cls, path: str) -> Model:
        """Read a model written by `save`.

        Raises
        ------
        ValueError
            If the file is something else.
        """
        try:
            network = Network.load(path)
        except (ValueError, KeyError, BadZipFile) as error:
            raise ValueError(f"{path} is not a model saved with 'extremal fit --out'") from error
        with np.load(path, allow_pickle=False) as file:
            values: dict[str, Any] = {name: file[name] for name in file.files}
        values["intercept"] = values.pop("free_intercept", None)
        names = [field.name for field in fields(cls) if field.name != "network"]
        missing = [name for name in names if values.get(name) is None]
        if missing:
            raise ValueError(f"{path} is a bare network; a model saved with 'extremal fit --out' is needed")
        scalars = {name: value.item() if value.ndim == 0 else value for name, value in values.items()}
        return cls(network, **{name: scalars[name] for name in names})


def write(model: Model, path: str, *, penalty: float) -> None:
    """Write a model for what its suffix names: .onnx and .skops in the user's units and classes; Extremal's own else.

    Parameters
    ----------
    penalty : float
        beta for a sum over the samples, which is scikit-learn's alpha.
    """
    suffix = Path(path).suffix.lower()
    if suffix in (".pt", ".pth", ".safetensors"):
        save(model.network, path)
    elif suffix in (".onnx", ".skops"):
        options: dict[str, Any] = {"feature_names": model.features, "units": model.units}
        if model.classes.size:
            options["classes"] = model.classes
        if suffix == ".onnx":
            options["probabilities"] = model.loss != "squared_hinge"
        else:
            options["alpha"] = penalty
        save(model.network, path, **options)
    else:
        model.save(path)
