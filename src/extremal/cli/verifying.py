"""What `extremal verify` does: find the data that a proof is about in a CSV file, and hand them to the checker."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import numpy as np

import extremal
from extremal.cli.commands import scaling, target_scaling
from extremal.cli.model import Model
from extremal.cli.table import Table
from extremal.design import Array
from extremal.verify import Rejected, Verdict
from extremal.verify.statement import fingerprint, read


def verify(path: str, data: str, **options: Any) -> Verdict:
    """The checker's verdict on a proof for the data in a CSV file."""
    table = Table.read(data).without(options["drop"])
    if options["drop_missing"]:
        table = table.without_missing(table.columns)
    X, y = _modelled(table, options) if options["model"] else _plain(table, options["target"])
    candidates = [(inputs, y) for inputs in (X, _standardised(X))]
    candidates += [(inputs, _numbered(y)) for inputs, _ in candidates]
    candidates.append((_standardised(X), _standardised_target(y)))
    wanted = _hash(path)
    chosen = [pair for pair in candidates if fingerprint(pair[0]) == wanted] or candidates[:1]
    verdicts = [extremal.verify(path, *pair) for pair in chosen]
    return next((verdict for verdict in verdicts if verdict.accepted), verdicts[0])


def as_json(verdict: Verdict) -> str:
    """The verdict as one JSON object."""
    finite = {k: v if not isinstance(v, float) or np.isfinite(v) else None for k, v in asdict(verdict).items()}
    return json.dumps({**finite, "gap": verdict.gap, "sentence": str(verdict)})


def _hash(path: str) -> str:
    """The fingerprint of X in a proof; empty if there is none."""
    try:
        return str(read(path).get("X_hash", ""))
    except Rejected:
        return ""


def _modelled(table: Table, options: dict[str, Any]) -> tuple[Array, Array]:
    """Features and targets in the units of a saved model."""
    model = Model.load(options["model"])
    return model.inputs(table), model.targets(table, options["target"])


def _plain(table: Table, wanted: str | None) -> tuple[Array, Array]:
    """Features and targets as they are in the table, with numbers for classes that are words."""
    target = table.target(wanted)
    X = table.numbers([column for column in table.columns if column != target])
    table.refuse_missing([target])
    if table.is_numeric(target):
        return X, table.numbers([target])[:, 0]
    return X, _numbered(table.text(target))


def _numbered(y: np.ndarray) -> Array:
    """Classes as numbers, in order, as `fit` numbers them."""
    return np.unique(y, return_inverse=True)[1].astype(np.float64)


def _standardised(X: Array) -> Array:
    centre, scale = scaling(X, True)
    return (X - centre) / scale


def _standardised_target(y: Array) -> Array:
    centre, scale = target_scaling(y, True)
    return (y - centre) / scale
