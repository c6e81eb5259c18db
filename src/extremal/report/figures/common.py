"""What the figures share: what a figure is, colours, axes, and numbers as they go into the page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

import numpy as np

from extremal.design import Array
from extremal.plotting.style import BLUE, GREEN, ORANGE, PURPLE, SKY, VERMILION, class_colour

__all__ = [
    "BLUE", "GREEN", "MIDDLE", "ORANGE", "PURPLE", "SKY", "VERMILION", "Choice", "Figure", "Moving", "axis",
    "class_colour", "faded", "label", "log_axis", "plain", "scene", "sign_name", "spread",
]  # fmt: skip

#: A grey that is seen on white and on black.
MIDDLE = "#7d7d7d"
#: Names are cut here.
LONGEST = 32


@dataclass(frozen=True)
class Moving:
    """Attributes of a trace that the time slider moves: for every name a list with the value at each moment."""

    trace: int
    values: dict[str, Any]


@dataclass(frozen=True)
class Choice:
    """One entry of a figure's menu: what is drawn when it is chosen."""

    name: str
    data: list[dict[str, Any]]
    layout: dict[str, Any]


@dataclass(frozen=True)
class Figure:
    """A figure in plotly's terms, with what is said about it.

    Attributes
    ----------
    title, caption : str
        Plain text; the caption describes the figure to those who do not see it as well.
    data, layout
        As plotly.js has them. Texts of the user have gone through `label`.
    moving : sequence of Moving
        What the slider moves, for a figure of a run.
    choices : sequence of Choice
        A menu of variants; the first one is `data` and `layout`.
    wide, tall : bool
        Whether it deserves the full width of the page, and more height than others.
    """

    title: str
    caption: str
    data: list[dict[str, Any]]
    layout: dict[str, Any] = field(default_factory=dict)
    moving: Sequence[Moving] = ()
    choices: Sequence[Choice] = ()
    wide: bool = False
    tall: bool = False


def log_axis(title: str, values: Array, most: int = 6, **more: Any) -> dict[str, Any]:
    """A logarithmic axis with `most` labels at most: 1, 2 and 5 times powers of ten, or powers of ten alone."""
    known = values[np.isfinite(values) & (values > 0)]
    ticks: dict[str, Any] = {}
    if known.size:
        low, high = float(known.min()), float(known.max())
        powers = np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
        fine = np.outer(10.0**powers, [1, 2, 5]).ravel()
        inside = fine[(fine >= 0.95 * low) & (fine <= 1.05 * high)]
        step = max(1, -(-len(powers) // most))
        chosen = inside if len(inside) <= most else 10.0 ** powers[::-step]
        if len(chosen) > 1:
            ticks = {"tickmode": "array", "tickvals": chosen, "ticktext": [f"{value:g}" for value in chosen]}
    return axis(title, type="log", **ticks, **more)


def label(text: object) -> str:
    """A text of the user for plotly, which reads tags: escaped, and cut where it is long."""
    words = str(text)
    return escape(words if len(words) <= LONGEST else words[: LONGEST - 1] + "…", quote=True)


def plain(value: Any) -> Any:
    """A value for JSON: arrays as lists, numbers to six digits, None for what is not finite."""
    if isinstance(value, dict):
        return {str(name): plain(entry) for name, entry in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float):
        return _rounded(value)
    return value


def _rounded(value: float) -> float | int | None:
    if not math.isfinite(value):
        return None
    short = float(f"{value:.6g}")
    return int(short) if short.is_integer() and abs(short) < 1e15 else short


def axis(title: str, **more: Any) -> dict[str, Any]:
    return {"title": {"text": title}, **more}


def scene(titles: Sequence[str], **more: Any) -> dict[str, Any]:
    """A scene of three dimensions, equally long axes, seen from a corner."""
    axes = {f"{name}axis": axis(title) for name, title in zip("xyz", titles, strict=True)}
    camera = {
        "eye": {"x": 1.5, "y": 1.2, "z": 0.9},
        "center": {"x": 0, "y": 0, "z": -0.1},
        "projection": {"type": "orthographic"},
    }
    return {
        "scene": {
            **axes,
            "aspectmode": "manual",
            "aspectratio": {"x": 1.15, "y": 1.15, "z": 1.15},
            "camera": camera,
            **more,
        },
        "margin": {"l": 0, "r": 0, "t": 0, "b": 0},
    }


def faded(colour: str, alpha: float) -> str:
    """#rrggbb as rgba(...)."""
    red, green, blue = (int(colour[k : k + 2], 16) for k in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha:g})"


def sign_name(side: float) -> str:
    return f"{'positive' if side > 0 else 'negative'} output weight"


def spread(count: int, most: int) -> Array:
    """At most `most` of the numbers 0, ..., count - 1, evenly spread."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int)) if count else np.zeros(0, int)
