"""Packages that not everyone has: imported when they are used, with an error that names the extra."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def needs(package: str, extra: str) -> Any:
    """The package; raises ImportError with what to install if it is not there."""
    try:
        return import_module(package)
    except ImportError as error:
        raise ImportError(f"this needs {package}: pip install 'extremal[{extra}]'", name=package) from error
