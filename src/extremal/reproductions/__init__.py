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
        "gan-recursion",
        "Gradient descent-ascent of a ReLU generator, its exact recursion, and over-parameterisation",
        "Balaji et al. (ICLR 2021)",
        "games:over_parameterisation",
    ),
    Entry(
        "layerwise-digits",
        "Hidden layers trained one by one, next to training end to end",
        "Duan et al. (Neural Computation 2020)",
        "layers:digits",
    ),
    Entry(
        "errata",
        "Errors in the sources, each with a counter-example that runs",
        "various",
        "errata:all_errata",
    ),
    Entry(
        "backprop-spikes",
        "Gradient flow on two rows in the plane, to the spikes of the rectified ellipsoid",
        "Wang & Pilanci (ICLR 2022), talk",
        "orthogonal:flow_to_the_spikes",
    ),
    Entry(
        "backprop-alignment",
        "Neurons align with class sums before the network is felt",
        "Wang & Pilanci (ICLR 2022), alignment theorem",
        "orthogonal:alignment",
    ),
    Entry(
        "jmlr-figure-6c",
        "The duality gap on whitened data vanishes at two neurons",
        "Ergen & Pilanci (JMLR 2021), figure 6c",
        "whitened:gap_against_width",
    ),
    Entry(
        "jmlr-figures-11-12",
        "The closed form for whitened one-hot targets against SGD, on digits",
        "Ergen & Pilanci (JMLR 2021), figures 11 and 12",
        "whitened:closed_form_against_sgd",
    ),
    Entry(
        "jmlr-theorem-5",
        "How often Gaussian rows are spike-free",
        "Ergen & Pilanci (JMLR 2021), theorem 5",
        "spike_free:gaussian_rows",
    ),
    Entry(
        "jmlr-lemma-9",
        "The network of fewest neurons, and when it is the smallest",
        "Ergen & Pilanci (JMLR 2021), lemmas 9 and 10",
        "spike_free:fewest_neurons",
    ),
    Entry(
        "jmlr-algorithm-1",
        "Cutting planes on data that are not spike-free",
        "Ergen & Pilanci (JMLR 2021), algorithm 1 and section 2.2.1",
        "spike_free:cutting_planes",
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
