"""A fit as arrays, numbers and texts, for files that may hold nothing else: pickles of a later version, and skops."""

from __future__ import annotations

from dataclasses import fields
from enum import Enum
from typing import Any


def plain(value: Any) -> Any:
    """A result of ours as nested dictionaries, lists, arrays and numbers; anything else as it is."""
    kind = type(value).__name__
    if kind in _kinds() and isinstance(value, _kinds()[kind]):
        if isinstance(value, Enum):
            return {"kind": kind, "name": value.name}
        return {"kind": kind, **{part.name: plain(getattr(value, part.name)) for part in fields(value)}}
    return [plain(part) for part in value] if isinstance(value, tuple) else value


def restored(value: Any) -> Any:
    """What `plain` was given."""
    if isinstance(value, list):
        return tuple(restored(part) for part in value)
    if not isinstance(value, dict) or value.get("kind") not in _kinds():
        return value
    kind = _kinds()[value["kind"]]
    parts = {name: restored(part) for name, part in value.items() if name != "kind"}
    return kind[parts["name"]] if issubclass(kind, Enum) else kind(**parts)


def _kinds() -> dict[str, Any]:
    from extremal.certificate import Certificate, Status
    from extremal.gauge.bounds import GaugeBounds, GaugeStatus
    from extremal.network import Network
    from extremal.training.result import FitResult, Record

    kinds = (Certificate, FitResult, GaugeBounds, GaugeStatus, Network, Record, Status)
    return {kind.__name__: kind for kind in kinds}
