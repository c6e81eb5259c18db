"""The HTML report: of a saved model, and for the option --report of the other commands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import click
import numpy as np

from extremal.cli.model import Model

#: Where the group keeps what was typed.
TYPED = "extremal.typed"


def write(path: str, result: Any, X: np.ndarray, y: np.ndarray, **details: Any) -> str:
    """Write the page about a result; returns its path."""
    import extremal

    extremal.report(result, X, y, path, command=typed(), **details)
    return path


def write_fit(
    path: str, estimator: Any, certificate: Any, X: np.ndarray, y: np.ndarray, model: Model, seed: int
) -> str:
    """The page about a trained estimator, whose certificate may have got a proof since."""
    result = replace(estimator.result_, certificate=certificate)
    return write(path, result, X, y, random_state=seed, **_described(model))


def write_certificate(path: str, certificate: Any, X: np.ndarray, y: np.ndarray, model: Model, seed: int) -> str:
    """The page about a certified model."""
    return write(path, certificate, X, y, network=model.network, random_state=seed, **_described(model))


def needs_plotly() -> None:
    """Refuse at once what could not be written at the end.

    Raises
    ------
    click.ClickException
        If plotly is not installed.
    """
    from extremal.report.page import bundle

    try:
        bundle()
    except ImportError as error:
        raise click.ClickException(str(error)) from error


def typed() -> str | None:
    """The command as it was typed."""
    import shlex

    context = click.get_current_context(silent=True)
    words: Sequence[str] | None = context.meta.get(TYPED) if context else None
    return None if words is None else shlex.join(["extremal", *words])


def _described(model: Model) -> dict[str, Any]:
    """Names, and a word on units."""
    scaled = np.any(model.scale != 1) or np.any(model.centre != 0)
    units = "Columns are standardised: mean 0 and variance 1 on the data of the training. " if scaled else ""
    target = f"The target is {model.target!r}" + (", standardised too." if model.target_scale != 1 else ".")
    return {
        "feature_names": [str(name) for name in model.features],
        "class_names": [str(name) for name in model.classes] or None,
        "title": f"{model.target}: a two-layer ReLU network and its distance from the global optimum",
        "note": units + target,
    }
