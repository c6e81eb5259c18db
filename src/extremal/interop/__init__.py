"""Networks of other libraries: to and from PyTorch, scikit-learn, ONNX, plain arrays and files.

Everything below is imported when it is first used; PyTorch, scikit-learn and ONNX only where they are needed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from extremal.interop.arrays import from_arrays, from_state_dict, to_state_dict
    from extremal.interop.files import load, save
    from extremal.interop.imported import Imported
    from extremal.interop.judging import certify
    from extremal.interop.onnx import from_onnx, to_onnx
    from extremal.interop.sklearn import to_sklearn
    from extremal.interop.sklearn_judge import SklearnJudge
    from extremal.interop.understanding import as_imported
    from extremal.interop.units import Units

_FILE_OF = {
    "Imported": "imported",
    "SklearnJudge": "sklearn_judge",
    "Units": "units",
    "as_imported": "understanding",
    "certify": "judging",
    "from_arrays": "arrays",
    "from_onnx": "onnx",
    "from_state_dict": "arrays",
    "load": "files",
    "save": "files",
    "to_onnx": "onnx",
    "to_sklearn": "sklearn",
    "to_state_dict": "arrays",
}

__all__ = [
    "Imported",
    "SklearnJudge",
    "Units",
    "as_imported",
    "certify",
    "from_arrays",
    "from_onnx",
    "from_state_dict",
    "load",
    "save",
    "to_onnx",
    "to_sklearn",
    "to_state_dict",
]


def __getattr__(name: str) -> Any:
    if name not in _FILE_OF:
        raise AttributeError(f"module 'extremal.interop' has no attribute {name!r}")
    value = getattr(import_module(f"extremal.interop.{_FILE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
