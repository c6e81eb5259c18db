"""Published experiments and claims, run again: the printed value, ours, and whether they agree.

Each runs within two minutes on data that are generated or shipped with scikit-learn. `reproduce(name)` runs one;
`extremal reproduce` lists them, and `extremal reproduce NAME --out FOLDER` writes its table and its picture.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from extremal.reproductions.result import Reproduction

__all__ = ["CATALOGUE", "Entry", "reproduce"]


@dataclass(frozen=True)
class Entry:
    """What can be reproduced: a function `module:function` below this package without arguments."""

    name: str
    title: str
    source: str
    where: str


#: Everything that can be reproduced, in the order of the list. Nothing is imported until it is run.
CATALOGUE = (
    Entry(
        "toy-landscape",
        "The landscape of one neuron and one sample, nonconvex next to convex",
        "Wang, Lacotte & Pilanci (ICLR 2022), talk",
        "toy:landscape",
    ),
    Entry(
        "talk-arrangement",
        "The four patterns of three samples in the plane, and Cover's numbers of cells",
        "Wang, Lacotte & Pilanci (ICLR 2022), talk",
        "cells:talk_arrangement",
    ),
    Entry(
        "stationarity-counterexamples",
        "Clarke stationary networks that are not optimal over their own patterns",
        "Wang, Lacotte & Pilanci (ICLR 2022), talk",
        "landscape:counterexamples",
    ),
    Entry(
        "path-to-the-optimum",
        "A path from any network to a global optimum along which the objective never rises",
        "Wang, Lacotte & Pilanci (ICLR 2022), abstract",
        "landscape:way_down",
    ),
    Entry(
        "blog-pattern-count",
        "Activation patterns along gradient descent, and the convex program over the first ones",
        "Blog post on Wang, Lacotte & Pilanci (ICLR 2022)",
        "blog:pattern_count",
    ),
    Entry(
        "blog-small-and-large-start",
        "A thousand neurons on four points of a line, from a small and from a large start",
        "Blog post on Wang, Lacotte & Pilanci (ICLR 2022)",
        "blog:two_starts",
    ),
    Entry(
        "sampled-patterns",
        "Programs over sampled patterns against the certified optimum, and the scenario bound",
        "Calafiore & Campi (2006); Mishkin, Sahiner & Pilanci (ICML 2022)",
        "sampling:sampled_programs",
    ),
    Entry(
        "relaxation-ratio",
        "The optimum over the relaxed program of random gates, against sqrt(log n)",
        "Kim & Pilanci (ICML 2024)",
        "sampling:relaxation_ratio",
    ),
    Entry(
        "hinge-toy",
        "The hinge loss on a circle's labels: all cells, and a hundred sampled patterns",
        "Pilanci & Ergen (ICML 2020), code",
        "hinge:hinge_toy",
    ),
)


def reproduce(name: str) -> Reproduction:
    """Run one reproduction.

    Parameters
    ----------
    name : str
        The name of an entry of `CATALOGUE`.

    Returns
    -------
    Reproduction
        `.comparisons`: what was published, what came out, and the verdict; `.sentence`; `.draw()` for its picture;
        `.save(folder)`.

    Raises
    ------
    ValueError
        If there is no entry of this name.
    """
    entries = {entry.name: entry for entry in CATALOGUE}
    if name not in entries:
        raise ValueError(f"there is no reproduction {name!r}; there are: {', '.join(entries)}")
    entry = entries[name]
    module, function = entry.where.split(":")
    start = time.perf_counter()
    run = getattr(import_module(f"extremal.reproductions.{module}"), function)
    result: Reproduction = run()
    return replace(result, name=entry.name, title=entry.title, source=entry.source, seconds=time.perf_counter() - start)
