"""`.. commands::`: the help of every command of the command line, as click prints it."""

from __future__ import annotations

import click
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from extremal.cli import main


class Commands(SphinxDirective):
    def run(self) -> list[nodes.Node]:
        parent = click.Context(main, info_name="extremal", max_content_width=100)
        found = [self.section("extremal", main.get_help(parent))]
        for name in main.list_commands(parent):
            command = main.get_command(parent, name)
            if command is not None and not command.hidden:
                context = click.Context(command, parent=parent, info_name=name, max_content_width=100)
                found.append(self.section(f"extremal {name}", command.get_help(context)))
        return found

    def section(self, title: str, text: str) -> nodes.section:
        section = nodes.section(ids=[nodes.make_id(title)], names=[nodes.fully_normalize_name(title)])
        section += nodes.title(title, "", nodes.literal(title, title))
        section += nodes.literal_block(text, text, language="text")
        self.state.document.note_implicit_target(section)
        return section


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("commands", Commands)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
