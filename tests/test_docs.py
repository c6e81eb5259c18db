"""The documentation: its Python and its commands run, and print what the pages show; the reference is whole."""

import contextlib
import importlib
import inspect
import io
import re
import shlex
from itertools import zip_longest
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(
    page
    for page in (*DOCS.glob("*.md"), *DOCS.glob("howto/*.md"), *DOCS.glob("theory/*.md"))
    if "```python" in page.read_text()
)

FENCE = re.compile(r"^(```|~~~)(\w*)\n(.*?)^\1$", re.MULTILINE | re.DOTALL)
NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?(?: s\b)?")
#: Numbers as small as that are residuals, of which only the size counts.
TINY = 1e-5
#: What the search for an optimum promises.
RELATIVE = 2e-6


def blocks(page):
    """(language, code, what is shown, with its digits or not) for the code of a page.

    What is shown is the block that follows at once. Between ~~~ it depends on time or machine, and only words count.
    """
    text = page.read_text()
    found = list(FENCE.finditer(text))
    for block, after in zip_longest(found, found[1:]):
        _, language, code = block.groups()
        follows = after is not None and after[2] in ("", "text") and not text[block.end() : after.start()].strip()
        if language in ("python", "console"):
            yield language, code, after[3] if follows else None, not follows or after[1] == "```"


def words(line, digits):
    """The line without its numbers; where digits do not count an interval may also be a single number."""
    text = NUMBER.sub("#", " ".join(line.split()))
    if digits:
        return text
    return re.sub(r"^gauge method .*", "gauge method", text.replace("# .. #", "#"))  # it is whichever got further


def differs(shown, printed, digits=True):
    """Why a line is not what is shown, or None: words are to agree, numbers to their digits, seconds not at all."""
    if words(shown, digits) != words(printed, digits):
        return "other words"
    if not digits:
        return None
    for a, b in zip(NUMBER.findall(shown), NUMBER.findall(printed), strict=True):
        if not a.endswith(" s") and abs(float(a) - float(b)) > allowance(a):
            return f"{b}, not {a}"
    return None


def allowance(number):
    """How far from a number as it is shown another may be."""
    if abs(float(number)) < TINY and "e" in number:
        return TINY
    mantissa, _, exponent = number.partition("e")
    last_place = 10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2]))
    return max(RELATIVE * abs(float(number)), 1.01 * last_place if "." in number else 0.0)


def compare(shown, printed, digits=True):
    """Line by line; `...` in the page stands for any lines."""
    lines = [line for line in printed.splitlines() if line.strip()]
    elided = False
    for line in filter(str.strip, shown.splitlines()):
        if line.strip() == "...":
            elided = True
            continue
        while elided and lines and differs(line, lines[0], digits):
            lines.pop(0)
        assert lines, f"not printed: {line}\n{printed}"
        why = differs(line, lines[0], digits)
        assert why is None, f"{why}\n  shown   {line}\n  printed {lines[0]}"
        lines.pop(0)
        elided = False
    assert elided or not lines, f"not shown: {lines}"


def commands(block):
    """(command, shown) of a console block."""
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, _, shown = part.partition("\n")
        yield command, shown


def run_command(command):
    from click.testing import CliRunner

    from extremal.cli import main

    program, *arguments = shlex.split(command)
    assert program == "extremal", f"only our own commands are run: {command}"
    result = CliRunner().invoke(main, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_a_page_runs_and_prints_what_it_shows(page, tmp_path, monkeypatch):
    from matplotlib import pyplot

    pyplot.switch_backend("Agg")
    monkeypatch.chdir(tmp_path)
    names = {"__name__": page.stem}
    for language, code, shown, digits in blocks(page):
        if language == "console":
            for command, lines in commands(code):
                printed = run_command(command)
                if lines.strip():
                    compare(lines, printed)
            continue
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(compile(code, str(page), "exec"), names)
        assert shown is not None or not out.getvalue(), f"the page does not show what this prints:\n{code}"
        if shown is not None:
            compare(shown, out.getvalue(), digits)
    pyplot.close("all")


def test_the_comparison_sees_a_wrong_digit_and_a_missing_line():
    compare("value  1.2346\ntime  3.1 s", "value 1.23456789\ntime 0.2 s")
    compare("a 1\n...\nb 2.0e-09", "a 1\nx\ny\nb 7.3e-12\n")
    for shown, printed in (
        ("value 1.2346", "value 1.2349"), ("value 12", "value 13"), ("value 1", "values 1"), ("a", "a\nb"),
        ("a\nb", "a"), ("residual 1e-09", "residual 1e-03"),
    ):  # fmt: skip
        with pytest.raises(AssertionError):
            compare(shown, printed)


def listed(module):
    """The names that the reference lists for a module: those under its `public` directives."""
    names = []
    for page in DOCS.glob("api/*.rst"):
        directive = re.compile(rf"^\.\. public:: {re.escape(module)}\n((?:\n|   .*\n)*)", re.MULTILINE)
        for block in directive.findall(page.read_text()):
            names += block.split() or public(module)
    return names


def public(module):
    found = importlib.import_module(module)
    return [name for name in found.__all__ if not inspect.ismodule(getattr(found, name))]


@pytest.mark.parametrize("module", ["extremal", "extremal.closed_forms", "extremal.programs", "extremal.plotting"])
def test_the_reference_has_every_public_name_once(module):
    assert sorted(listed(module)) == sorted(public(module))


def test_links_between_pages_lead_somewhere():
    pages = [*DOCS.glob("*.md"), *DOCS.glob("howto/*.md"), *DOCS.glob("theory/*.md"), *ROOT.glob("*.md")]
    for page in pages:
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text()):
            if "://" not in target:
                there = (page.parent / target).exists()
                assert there or target.startswith(("gallery/", "../gallery/")), f"{page.name}: {target}"


def test_citing_and_reports_name_the_same_sources():
    from extremal.report.citations import SOURCES

    text = " ".join((DOCS / "citing.md").read_text().split())
    entries = dict(re.findall(r"@\w+\{(\w+),(.*?)\} ?(?=@|```)", text))
    for source in SOURCES.values():
        for name in ("author", "title", "year", "eprint"):
            value = re.search(rf"\b{name} *= \{{(.*?)\}},? ?(?:\w+ *= |$)", entries[source.key] + " ")
            if name in source.fields:
                plain = [re.sub(r"[{}]", "", given) for given in (value[1], source.fields[name])]
                assert plain[0] == plain[1], (source.key, name)
