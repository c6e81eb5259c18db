"""Docstrings are written for `help`: formulas are plain text, |lam^T (Xu)_+| and D_i X u*, and mean no markup.

Before numpydoc reads a docstring, what reStructuredText would take for markup is escaped, indented displays become
literal blocks, and `code` in single backticks stays what it is: a name that is linked if it is known.
"""

from __future__ import annotations

import re
from typing import Any

from sphinx.application import Sphinx

UNDERLINE = re.compile(r"-{3,}\s*$")
CODE = re.compile(r"(``.+?``|:\w+:`[^`]+`|`[^`]+`)")
MARKUP = re.compile(r"[\\*|]|_(?=\W|$)")
#: Sections whose lines without indentation are `name : type`.
FIELDS = {"Parameters", "Other Parameters", "Attributes", "Returns", "Yields", "Raises", "Warns", "Methods"}


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("autodoc-process-docstring", process, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def process(app: Sphinx, what: str, name: str, obj: object, options: Any, lines: list[str]) -> None:
    lines[:] = literal_displays(lines)


def escaped(line: str) -> str:
    """The line with everything but its code escaped; code may touch other characters, as in `frame`^T."""
    parts = [part if i % 2 else MARKUP.sub(r"\\\g<0>", part) for i, part in enumerate(CODE.split(line))]
    for i in range(1, len(parts), 2):
        if parts[i + 1][:1].strip():
            parts[i] += "\\ "
    return "".join(parts)


def literal_displays(lines: list[str]) -> list[str]:
    """Every line escaped, and indented paragraphs as literal blocks."""
    out: list[str] = []
    section, base, literal, in_table = "", 0, False, False
    for i, line in enumerate(lines):
        indent = len(line) - len(line.lstrip())
        blank, after_blank = not line.strip(), i == 0 or not lines[i - 1].strip()
        heading = i + 1 < len(lines) and UNDERLINE.match(lines[i + 1].strip()) is not None
        if heading and not indent:
            section, base, literal = line.strip(), 0, False
        field = section in FIELDS
        if line.lstrip().startswith("==="):
            in_table = True
        in_table = in_table and not blank
        if blank or in_table or UNDERLINE.match(line.strip()) or section == "Examples":
            out.append(line)
        elif field and indent == 0:
            base, literal = 4, False
            out.append(header(line))
        elif indent > base and (literal or (after_blank and not bullet(line))):
            if not literal:
                out += [" " * base + "::", ""]
                literal = True
            out.append(line)
        else:
            literal = False
            out.append(escaped(line))
    return out


def bullet(line: str) -> bool:
    return re.match(r"\s*([-*]|\d+\.) ", line) is not None


def header(line: str) -> str:
    """`name : type`, of which numpydoc escapes the name."""
    name, colon, kind = line.partition(" : ")
    return name + colon + escaped(kind)
