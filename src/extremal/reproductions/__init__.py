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
        "jmlr-figure-1",
        "Descent from small weights ends at the linear spline",
        "Ergen & Pilanci (JMLR 2021), figure 1",
        "splines:small_initialisation",
    ),
    Entry(
        "jmlr-figure-6",
        "The gap against the width, for one feature and rank-one rows",
        "Ergen & Pilanci (JMLR 2021), figure 6",
        "splines:width_and_gap",
    ),
    Entry(
        "jmlr-figure-7",
        "A problem with infinitely many optima, four of them drawn",
        "Ergen & Pilanci (JMLR 2021), figure 7",
        "splines:four_optima",
    ),
    Entry(
        "jmlr-figure-8",
        "The hinge loss in one dimension, theory and descent",
        "Ergen & Pilanci (JMLR 2021), figure 8",
        "splines:hinge",
    ),
    Entry(
        "jmlr-figure-10",
        "Classes that alternate along a line: test accuracy",
        "Ergen & Pilanci (JMLR 2021), figure 10",
        "splines:mixture",
    ),
    Entry(
        "icml-2020-figure-1",
        "The share of SGD runs that reach the convex optimum",
        "Pilanci & Ergen (ICML 2020), figure 1",
        "splines:widths_of_descent",
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
