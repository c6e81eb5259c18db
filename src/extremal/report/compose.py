"""A subject as the content of a page."""

from __future__ import annotations

from dataclasses import replace

from extremal import __version__
from extremal.report.citations import sources_of
from extremal.report.page import Content
from extremal.report.provenance import call_of, hashes, versions
from extremal.report.sections import Table, figures_of, neuron_table, starts_table
from extremal.report.subject import Subject
from extremal.report.verdict import headline_of, numbers_of

_TITLES = {
    "fit": "A two-layer ReLU network, and how close it is to the global optimum",
    "certify": "How far is this network from the global optimum?",
    "flow": "Where gradient flow ends up",
}


def compose(
    subject: Subject, *, title: str | None, command: str | None, random_state: int | None, note: str
) -> Content:
    """Everything that the page shows."""
    figures, moments = figures_of(subject)
    tables: dict[str, Table] = {}
    if subject.starts is not None:
        tables["Starts"] = starts_table(subject.starts)
    neurons = neuron_table(subject)
    if neurons is not None:
        tables["Neurons"] = neurons
    better = None if subject.better is None else neuron_table(replace(subject, network=subject.better))
    if better is not None:
        tables["Neurons of the better network"] = better
    digests = hashes(subject)
    seed = "not kept by the result (0 by default)" if random_state is None else str(random_state)
    origin = {
        "random_state": seed,
        "SHA-256 of X": digests["X"],
        "SHA-256 of y": digests["y"],
        **versions(),
    }
    return Content(
        title=title or _TITLES[subject.task],
        headline=headline_of(subject),
        note=note,
        numbers=numbers_of(subject),
        figures=figures,
        moments=moments,
        tables=tables,
        command=command or call_of(subject, random_state),
        origin=origin,
        sources=sources_of(subject.task),
        version=__version__,
    )
