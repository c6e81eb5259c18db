"""Formulas as MathML, written at build time.

Browsers draw MathML themselves, so that a page needs neither a script nor a server for its formulas. docutils
translates; what it cannot translate is a warning, and so an error of the build, instead of a red word in the page.
"""

from __future__ import annotations

import re

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.math import get_node_equation_number
from sphinx.writers.html5 import HTML5Translator

#: Bars are norms: they keep their size, and stand close to what they enclose.
BAR = re.compile(r'<mo(?: stretchy="false")?>(\||‖)</mo>')
#: In \\tfrac12 every digit is an argument, as TeX reads it; docutils would take 12.
HALF = re.compile(r"(\\[td]?frac)(\d)(\d)")
logger = logging.getLogger(__name__)


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_display, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def translate(node: nodes.Element, *, as_block: bool) -> str:
    try:
        formula = HALF.sub(r"\1{\2}{\3}", node.astext())
        return BAR.sub(r'<mo stretchy="false" lspace="0" rspace="0">\1</mo>', tex2mathml(formula, as_block=as_block))
    except MathError as error:
        logger.warning("not a formula: %s (%s)", node.astext(), error, location=node)
        return ""


def visit_inline(translator: HTML5Translator, node: nodes.math) -> None:
    translator.body.append(translate(node, as_block=False))
    raise nodes.SkipNode


def visit_display(translator: HTML5Translator, node: nodes.math_block) -> None:
    translator.body.append(translator.starttag(node, "div", CLASS="math"))
    translator.body.append(f'<div class="formula">{translate(node, as_block=True)}</div>')
    if node.get("number"):
        translator.body.append(f'<span class="eqno">({get_node_equation_number(translator, node)})')
        translator.add_permalink_ref(node, "Link to this equation")
        translator.body.append("</span>")
    translator.body.append("</div>\n")
    raise nodes.SkipNode
