"""The page: sections as HTML, figures as JSON, the template, and plotly.js, all in one text."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cache
from html import escape
from importlib import resources
from string import Template

from extremal.report.citations import Source
from extremal.report.figures.common import Figure, plain
from extremal.report.sections import Table
from extremal.report.verdict import Headline


@dataclass(frozen=True)
class Content:
    """Everything that the page shows."""

    title: str
    headline: Headline
    note: str
    numbers: dict[str, str]
    figures: Sequence[Figure]
    moments: Sequence[str]
    tables: dict[str, Table]
    command: str
    origin: dict[str, str]
    sources: Sequence[Source]
    version: str


def render(content: Content) -> str:
    """The whole file."""
    sections = {
        "Numbers": _facts(content.numbers),
        "Figures": _figures(content.figures, content.moments),
        **{name: _data_table(f"table-{k}", table) for k, (name, table) in enumerate(content.tables.items())},
        "Do it again": _origin(content.command, content.origin),
        "Citations": _citations(content.sources),
    }
    body = [f'<section id="{_id(name)}"><h2>{escape(name)}</h2>{html}</section>' for name, html in sections.items()]
    script = _asset("page.js")
    return Template(_asset("page.html")).substitute(
        policy=_policy(script),
        title=escape(content.title),
        style=_asset("page.css"),
        tone=content.headline.tone,
        badge=escape(content.headline.badge),
        sentence=escape(content.headline.sentence),
        note=f'<p class="note">{escape(content.note)}</p>' if content.note else "",
        links="".join(f'<li><a href="#{_id(name)}">{escape(name)}</a></li>' for name in sections),
        body="\n".join(body),
        version=escape(content.version),
        figures=_json({"figures": [_as_dict(figure) for figure in content.figures], "moments": list(content.moments)}),
        plotly=bundle(),
        script=script,
    )


@cache
def bundle() -> str:
    """plotly.js, compressed, in base64.

    Raises
    ------
    ImportError
        If plotly is not installed.
    """
    try:
        from plotly.offline import get_plotlyjs
    except ImportError as error:
        raise ImportError("a report needs plotly: pip install 'extremal[report]'") from error
    return base64.b64encode(gzip.compress(get_plotlyjs().encode(), mtime=0)).decode()


def _policy(script: str) -> str:
    """Only this script may run, and nothing may be requested. plotly.js is evaluated by it."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        f"default-src 'none'; script-src 'sha256-{digest}' 'unsafe-eval'; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )


def _asset(name: str) -> str:
    return resources.files("extremal.report").joinpath(name).read_text(encoding="utf-8")


def _json(value: object) -> str:
    """JSON that cannot end the element it stands in."""
    text = json.dumps(plain(value), allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _as_dict(figure: Figure) -> dict[str, object]:
    moving = [{field.name: getattr(part, field.name) for field in fields(part)} for part in figure.moving]
    choices = [{field.name: getattr(part, field.name) for field in fields(part)} for part in figure.choices]
    return {"data": figure.data, "layout": figure.layout, "moving": moving, "choices": choices}


def _id(name: str) -> str:
    return name.lower().replace(" ", "-")


def _facts(rows: dict[str, str]) -> str:
    lines = (f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in rows.items())
    return f'<dl class="facts">{"".join(lines)}</dl>'


def _figures(figures: Sequence[Figure], moments: Sequence[str]) -> str:
    figures = _paired(figures)
    return f'<div class="figures">{"".join(_figure(k, part, moments) for k, part in enumerate(figures))}</div>'


def _paired(figures: Sequence[Figure]) -> list[Figure]:
    """The figures, the last one of the full width if it had no neighbour otherwise."""
    alone = sum(not figure.wide for figure in figures) % 2 == 1
    return [*figures[:-1], replace(figures[-1], wide=True)] if alone and not figures[-1].wide else list(figures)


def _figure(k: int, figure: Figure, moments: Sequence[str]) -> str:
    controls = _slider(k, moments) if figure.moving else _menu(k, figure) if figure.choices else ""
    kind = "plot tall" if figure.tall else "plot"
    return (
        f'<figure{" class=wide" if figure.wide else ""} aria-labelledby="title-{k}">'
        f'<h3 id="title-{k}">{escape(figure.title)}</h3>{controls}'
        f'<div class="{kind}" id="plot-{k}" role="img" aria-labelledby="title-{k}" aria-describedby="text-{k}"></div>'
        f'<figcaption id="text-{k}">{escape(figure.caption)}</figcaption></figure>'
    )


def _slider(k: int, moments: Sequence[str]) -> str:
    last, now = len(moments) - 1, escape(moments[-1])
    return (
        f'<div class="controls"><button type="button" class="play">Play</button><label for="time-{k}">time'
        f'<input type="range" class="time" id="time-{k}" min="0" max="{last}" value="{last}" '
        f'aria-valuetext="{now}"></label><output for="time-{k}">{now}</output></div>'
    )


def _menu(k: int, figure: Figure) -> str:
    options = "".join(f"<option>{escape(choice.name)}</option>" for choice in figure.choices)
    return (
        f'<div class="controls"><label for="choice-{k}">features '
        f'<select class="choice" id="choice-{k}" data-figure="{k}">{options}</select></label></div>'
    )


def _data_table(name: str, table: Table) -> str:
    heads = "".join(
        f'<th scope="col" aria-sort="none"><button type="button">{escape(column)}</button></th>'
        for column in table.columns
    )
    rows = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in table.rows)
    count = f"{len(table.rows)} of {len(table.rows)} rows"
    return (
        f'<p class="hint">{escape(table.caption)} A click on a heading sorts.</p>'
        f'<div class="controls"><label for="{name}-search">search <input type="search" id="{name}-search" '
        f'aria-controls="{name}"></label><output for="{name}-search">{count}</output></div>'
        f'<div class="scroll long" tabindex="0" role="region" aria-label="Table"><table class="data" id="{name}">'
        f"<thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _cell(value: object) -> str:
    if isinstance(value, int | float):
        known = value == value and abs(value) != float("inf")
        text = f"{value:.6g}" if known else "–"
        return f'<td class="number" data-value="{value!r}">{text}</td>' if known else f'<td class="number">{text}</td>'
    return f"<td>{escape(str(value))}</td>"


def _origin(command: str, rows: dict[str, str]) -> str:
    return (
        f'<pre id="command"><code>{escape(command)}</code></pre>'
        f'<p><button type="button" data-copy="command">Copy</button></p>{_facts(rows)}'
    )


def _citations(sources: Sequence[Source]) -> str:
    items = "".join(
        f"<li>{escape(source.plain)} {_link(source.link)}<br>For {escape(source.role)}.</li>" for source in sources
    )
    bibtex = escape("\n\n".join(source.bibtex for source in sources))
    return (
        f'<ul class="sources">{items}</ul><h3>BibTeX</h3>'
        f'<p><button type="button" data-copy="bibtex">Copy all</button></p><pre id="bibtex"><code>{bibtex}</code></pre>'
    )


def _link(address: str) -> str:
    return f'<a href="{escape(address)}" rel="noopener noreferrer">{escape(address)}</a>'
