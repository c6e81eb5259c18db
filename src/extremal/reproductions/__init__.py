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
        "gaussian-hulls",
        "Distances of normal samples to each other's convex hull",
        "Ergen & Pilanci (JMLR 2021), theorem 7",
        "autoencoding:gaussian_hulls",
    ),
    Entry(
        "jmlr-table-1",
        "Least squares, backpropagation, convex training and convex random features",
        "Ergen & Pilanci (JMLR 2021), table 1",
        "autoencoding:table",
    ),
    Entry(
        "deep-closed-forms",
        "Deep linear, ReLU and batch-normalised networks against descents",
        "Ergen & Pilanci (ICML 2021)",
        "deep:closed_forms",
    ),
    Entry(
        "deep-shared-neurons",
        "Whether a path for each class is the best deep network",
        "Ergen & Pilanci (ICML 2021); Wang, Ergen & Pilanci (2021)",
        "deep:shared_neurons",
    ),
    Entry(
        "neural-collapse",
        "Collapse of the last layer in training and in closed form",
        "Ergen & Pilanci (ICML 2021); Papyan, Han & Donoho (PNAS 2020)",
        "deep:collapse",
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
