"""A report: one HTML file about a fit, a certificate or a flow, which needs nothing else to be read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from numpy.typing import ArrayLike

from extremal.network import Network
from extremal.report.citations import citation

__all__ = ["Report", "citation", "report"]


@dataclass(frozen=True, eq=False)
class Report:
    """A page about a result.

    Attributes
    ----------
    html : str
        The whole file.
    title : str
    """

    html: str
    title: str

    def save(self, path: str | Path) -> Path:
        """Write the file; returns its path."""
        path = Path(path)
        path.write_text(self.html, encoding="utf-8")
        return path

    def __repr__(self) -> str:
        return f"Report({self.title!r}, {len(self.html.encode()) / 1e6:.1f} MB)"

    def _repr_html_(self) -> str:
        """In a notebook: the page in a frame of its own, so that neither changes the other's looks."""
        return (
            f'<iframe srcdoc="{escape(self.html)}" title="{escape(self.title)}" '
            'style="width:100%;height:800px;border:1px solid #888"></iframe>'
        )


def report(
    result: Any,
    X: ArrayLike,
    y: ArrayLike,
    path: str | Path | None = None,
    *,
    title: str | None = None,
    feature_names: Sequence[str] | None = None,
    class_names: Sequence[str] | None = None,
    network: Network | None = None,
    command: str | None = None,
    random_state: int | None = None,
    note: str = "",
) -> Report:
    """One self-contained HTML page about a result: verdict, numbers, interactive figures, neurons, how to do it again.

    It works offline: plotly.js is inside, compressed, and nothing is requested from anywhere.

    Parameters
    ----------
    result : FitResult, Certificate, FlowResult, FlowStatistics or fitted estimator
    X, y : arrays
        The data that the result is about.
    path : str or Path, optional
        Where to write it, too.
    title : str, optional
    feature_names, class_names : sequences of str, optional
        By default the columns of a data frame, and the labels.
    network : Network, optional
        For a certificate, which does not hold the network that it is about: without one there are no figures of it.
    command : str, optional
        What to type to get the result again; by default the Python call, as far as the result knows it.
    random_state : int, optional
        The seed, which results do not keep.
    note : str
        A remark below the verdict.

    Returns
    -------
    Report

    Raises
    ------
    ImportError
        If plotly is not installed.
    ValueError
        If the data do not belong to the result.
    """
    from extremal.report.compose import compose
    from extremal.report.page import bundle, render
    from extremal.report.subject import subject_of

    bundle()  # a missing plotly is told before the work
    subject = subject_of(result, X, y, network=network, feature_names=feature_names, class_names=class_names)
    content = compose(subject, title=title, command=command, random_state=random_state, note=note)
    page = Report(render(content), content.title)
    if path is not None:
        page.save(path)
    return page
