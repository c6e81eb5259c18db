"""`.. public:: MODULE [NAME ...]`: what a module offers, as a table with a line each, and then in full.

Without names it is everything in the module's `__all__`, or, where there is none, its own public names.
"""

from __future__ import annotations

import inspect
from enum import Enum
from importlib import import_module
from types import ModuleType
from typing import Any

from docstrings import escaped
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


class Public(SphinxDirective):
    has_content = True
    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        module = import_module(self.arguments[0])
        names = " ".join(self.content).split() or public_names(module)
        lines = [f".. currentmodule:: {module.__name__}", "", *table(module, names)]
        for name in names:
            lines += entry(f"{module.__name__}.{name}", getattr(module, name))
        return self.parse_text_to_nodes(StringList(lines, source=self.get_source_info()[0]))


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("public", Public)
    app.connect("autodoc-skip-member", skip)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def public_names(module: ModuleType) -> list[str]:
    """Functions first, then classes, in the order of the alphabet; no submodules."""
    names = getattr(module, "__all__", None)
    if names is None:
        own = (name for name, value in vars(module).items() if getattr(value, "__module__", None) == module.__name__)
        names = [name for name in own if not name.startswith("_")]
    names = [name for name in names if not inspect.ismodule(getattr(module, name))]
    return sorted(names, key=lambda name: (name[0].isupper(), name))


def table(module: ModuleType, names: list[str]) -> list[str]:
    """A row for each name: the name, linked, and the first sentence of its docstring."""
    lines = [".. list-table::", "   :class: names", "   :widths: auto", ""]
    for name in names:
        line = escaped(summary(getattr(module, name)))
        lines += [f"   * - :py:obj:`{name} <{module.__name__}.{name}>`", f"     - {line}"]
    return [*lines, ""]


def summary(value: object) -> str:
    """The first paragraph of a docstring, in one line."""
    return " ".join((inspect.getdoc(value) or "").split("\n\n")[0].split())


def entry(name: str, value: object) -> list[str]:
    """The autodoc directive for one object."""
    if not inspect.isclass(value):
        return [f".. {'autofunction' if callable(value) else 'autodata'}:: {name}", ""]
    options = [":members:", ":undoc-members:" if issubclass(value, Enum) else ":inherited-members:"]
    return [f".. autoclass:: {name}", *(f"   {option}" for option in options), ""]


def skip(app: Sphinx, what: str, name: str, obj: Any, skipped: bool, options: Any) -> bool | None:
    """Leave out what is inherited from elsewhere, scikit-learn's metadata requests for instance."""
    module = getattr(inspect.unwrap(getattr(obj, "__func__", obj)), "__module__", None) or "extremal"
    return True if not module.startswith("extremal") else None
