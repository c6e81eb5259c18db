"""`.. errata::`: the errata of the sources, each with what its counter-example gives when it runs."""

from __future__ import annotations

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from extremal.reproductions.errata import ERRATA, Erratum


class Errata(SphinxDirective):
    def run(self) -> list[nodes.Node]:
        return [node for number, erratum in enumerate(ERRATA, 1) for node in entry(number, erratum)]


def entry(number: int, erratum: Erratum) -> list[nodes.Node]:
    comparison = erratum.comparison()  # an error if it does not refute what is printed
    rows = (("printed", erratum.printed), ("what holds", erratum.correct), ("counter-example", comparison.ours))
    fields = nodes.field_list(classes=["erratum"])
    for name, text in rows:
        body = nodes.field_body("", nodes.paragraph(text, text))
        fields += nodes.field("", nodes.field_name(name, name), body)
    heading = f"{number}. {erratum.where}"
    return [nodes.rubric(heading, heading), fields]


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("errata", Errata)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
