"""`extremal.fit` anywhere in a page becomes a link to the reference, so that pages stay plain Markdown.

Bare names are linked where they cannot be mistaken for a word: with an underline, or a capital first letter.
A name that starts with `extremal.` and is not in the reference is a warning.
"""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util import logging
from sphinx.util.nodes import make_refnode

logger = logging.getLogger(__name__)
NAME = re.compile(r"\.?[A-Za-z_][\w.]*(?=\(|$)")
#: Bare names that are no ordinary word.
DISTINCT = re.compile(r"\w+_\w+|[A-Z]\w+|\w+\.\w+")


class LinkNames(SphinxPostTransform):
    default_priority = 5

    def run(self, **kwargs: Any) -> None:
        known = self.env.domains["py"].data["objects"]
        for node in list(self.document.findall(nodes.literal)):
            if isinstance(node.parent, nodes.reference) or node.get("language"):
                continue
            name = self.target(node.astext(), known)
            if name is None or self.own_entry(node, known[name].node_id):
                continue
            entry = known[name]
            link = make_refnode(self.app.builder, self.env.docname, entry.docname, entry.node_id, [], name)
            node.replace_self(link)
            link += node

    def target(self, text: str, known: dict[str, Any]) -> str | None:
        match = NAME.match(text)
        if match is None:
            return None
        name = match.group().removeprefix("extremal.")
        for candidate in (f"extremal.{name}", f"extremal.closed_forms.{name}", f"extremal.programs.{name}"):
            if candidate in known and (text.startswith("extremal.") or DISTINCT.fullmatch(name)):
                return candidate
        return None

    def own_entry(self, node: nodes.Node, node_id: str) -> bool:
        """Whether the node is in the entry that it would lead to."""
        parent = node.parent
        while parent is not None:
            if isinstance(parent, addnodes.desc) and node_id in parent[0]["ids"]:
                return True
            parent = parent.parent
        return False


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_post_transform(LinkNames)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
