"""What all pictures share: colours, axes, and little else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's colours, which every kind of colour vision tells apart.
BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY, YELLOW = (
    "#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442",
)  # fmt: skip
CLASS_COLOURS = (BLUE, ORANGE, GREEN, PURPLE, VERMILION, SKY, YELLOW)
GREY = "0.45"
POINTS = 400


def class_colour(k: int) -> str:
    return CLASS_COLOURS[k % len(CLASS_COLOURS)]


def axes(ax: Axes | None) -> Axes:
    if ax is not None:
        return ax
    from matplotlib import pyplot

    return pyplot.subplots(layout="constrained")[1]


def solid_axes(ax: Axes | None) -> Any:
    """Axes of three dimensions.

    Raises
    ------
    ValueError
        If the axes given have two.
    """
    if ax is None:
        from matplotlib import pyplot

        return pyplot.figure(layout="constrained").add_subplot(projection="3d")
    if ax.name != "3d":
        raise ValueError('this picture needs axes of three dimensions: figure.add_subplot(projection="3d")')
    return ax


def flat_axes(ax: Axes | None) -> Axes:
    """Axes of two dimensions.

    Raises
    ------
    ValueError
        If the axes given have three.
    """
    if ax is not None and ax.name == "3d":
        raise ValueError("this picture needs axes of two dimensions; these have three")
    return axes(ax)


def lighten(ax: Axes) -> None:
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    ax.grid(True, color="0.9", linewidth=0.6)
    ax.set_axisbelow(True)
