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
        "copositive-relaxation",
        "Several outputs as a copositive program: the closed form, and when the relaxation is exact",
        "Sahiner, Ergen, Pauly & Pilanci (ICLR 2021)",
        "several_outputs:copositive",
    ),
    Entry(
        "separate-outputs",
        "Several outputs: weight decay next to a group lasso for every output",
        "Sahiner et al. (ICLR 2021); CRONOS (2024) and scnn, code",
        "several_outputs:penalties",
    ),
    Entry(
        "convolutional-networks",
        "Convolutional networks of two layers: Fourier lasso, nuclear norm, patch matrix",
        "Pilanci & Ergen (ICML 2020), convolutional networks",
        "convolution:networks",
    ),
    Entry(
        "gated-gap",
        "Gated ReLU next to ReLU: the gap and the bound of the cone decomposition",
        "Mishkin, Sahiner & Pilanci (ICML 2022), gap",
        "gates:gap",
    ),
    Entry(
        "neural-isometry",
        "Recovery of a planted neuron: a phase transition in n/d",
        "Wang, Hua, Candes & Pilanci (2022), neural isometry",
        "isometry:recovery",
    ),
    Entry(
        "optimal-set-spread",
        "Pruning and choosing within the optimal set, on real data",
        "Mishkin & Pilanci (ICML 2023), table 1 and figure 2",
        "pruning:spread",
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
