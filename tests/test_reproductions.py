"""The framework of reproductions, its command, and that every entry of the catalogue exists."""

from __future__ import annotations

import ast
import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

import extremal.reproductions as reproductions
from extremal.cli import main
from extremal.reproductions import CATALOGUE, Entry, reproduce
from extremal.reproductions.errata import ERRATA, Erratum
from extremal.reproductions.result import Agreement, Comparison, Reproduction

#: Entries that run within a few seconds; the others are in the slow tests.
QUICK = {
    "backprop-spikes",
    "blog-pattern-count",
    "jmlr-figure-7",
    "jmlr-lemma-9",
    "path-to-the-optimum",
    "separate-outputs",
    "toy-landscape",
}

#: Those of them that find an error in what was published.
REFUTED = {"jmlr-figure-7"}


@pytest.mark.parametrize("entry", CATALOGUE, ids=lambda entry: entry.name)
def test_every_entry_names_a_function_with_a_docstring(entry):
    module, function = entry.where.split(":")
    path = importlib.util.find_spec(f"extremal.reproductions.{module}").origin
    found = {node.name: node for node in ast.parse(Path(path).read_text("utf-8")).body if hasattr(node, "name")}
    assert ast.get_docstring(found[function])
    assert not found[function].args.args


def test_names_are_unique_and_usable_in_a_shell():
    names = [entry.name for entry in CATALOGUE]
    assert len(set(names)) == len(names)
    assert all(name == name.lower() and " " not in name for name in names)


def check(result: Reproduction, folder: Path) -> None:
    """It says why whatever differs differs, and its page and picture can be written."""
    assert result.comparisons
    for comparison in result.comparisons:
        assert comparison.verdict is Agreement.AGREES or comparison.why != "not known", str(comparison)
    assert result.save(folder).stat().st_size > 2000
    page = (folder / f"{result.name}.md").read_text("utf-8")
    assert all(comparison.ours.replace("|", "\\|") in page for comparison in result.comparisons)


@pytest.mark.parametrize("erratum", ERRATA, ids=lambda erratum: erratum.example.__name__)
def test_every_erratum_has_a_counter_example_that_refutes_it(erratum):
    assert erratum.comparison().verdict is Agreement.DIFFERS


@pytest.mark.parametrize("name", sorted(QUICK))
def test_quick_reproductions(name, tmp_path):
    result = reproduce(name)
    assert result.agrees or name in REFUTED, str(result)
    check(result, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", [entry.name for entry in CATALOGUE if entry.name not in QUICK])
def test_slow_reproductions(name, tmp_path):
    check(reproduce(name), tmp_path)


def test_a_comparison_that_does_not_agree_says_why():
    assert Comparison.number("x", 1.0, 1.0 + 1e-9, tol=1e-8).verdict is Agreement.AGREES
    assert Comparison.number("x", 1.0, 1.1, tol=1e-8).verdict is Agreement.DIFFERS
    assert Comparison.claim("x", "yes", "no", False, "because").why == "because"
    with pytest.raises(ValueError, match="has to say why"):
        Comparison.claim("x", "yes", "no", False)
    with pytest.raises(ValueError, match="has to say why"):
        Comparison.incomparable("x", "yes", "no", "")


def test_a_counter_example_that_fails_is_not_reported():
    with pytest.raises(ValueError, match="the counter-example fails"):
        Erratum("here", "wrong", "right", lambda: ("not shown", False)).comparison()


def fake(agrees: bool) -> Reproduction:
    from matplotlib.figure import Figure

    return Reproduction((Comparison.claim("a|b", "yes", "maybe", agrees, "" if agrees else "x"),), "Seen.", Figure)


@pytest.fixture
def catalogue(monkeypatch):
    outcome = {"good": fake(True), "bad": fake(False)}
    entries = tuple(Entry(name, name.title(), "nobody", f"fake:{name}") for name in outcome)
    monkeypatch.setattr("extremal.cli.reproducing.CATALOGUE", entries)
    monkeypatch.setattr(
        "extremal.cli.reproducing.run",
        lambda name: replace(outcome[name], name=name, title=name.title(), source="nobody"),
    )


def test_the_command_lists_runs_and_writes_a_page(catalogue, tmp_path):
    run = CliRunner().invoke
    assert "bad   Bad [nobody]" in run(main, ["reproduce"]).output
    out = tmp_path / "new" / "folder"
    result = run(main, ["reproduce", "--all", "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert "differs: x" in result.output
    page = (out / "README.md").read_text("utf-8")
    assert "| [good](#good) | nobody | 1 | 0 | 0 |" in page
    assert "| [bad](#bad) | nobody | 0 | 1 | 0 |" in page
    assert {path.name for path in out.iterdir()} == {"README.md", "good.md", "good.png", "bad.md", "bad.png"}
    [row] = json.loads(run(main, ["reproduce", "bad", "--json"]).output)
    assert row["comparisons"][0] == {
        "what": "a|b",
        "published": "yes",
        "ours": "maybe",
        "verdict": "differs",
        "why": "x",
    }


def test_an_interrupt_keeps_what_is_finished(catalogue, monkeypatch, tmp_path):
    done = replace(fake(True), name="good", title="Good", source="nobody")

    def run(name):
        if name == "bad":
            raise KeyboardInterrupt
        return done

    monkeypatch.setattr("extremal.cli.reproducing.run", run)
    result = CliRunner().invoke(main, ["reproduce", "--all", "--out", str(tmp_path)])
    assert result.exit_code == 130
    assert "agrees" in result.output
    assert "what was finished before is above and saved" in result.output
    assert {path.name for path in tmp_path.iterdir()} == {"README.md", "good.md", "good.png"}


def test_a_folder_that_cannot_be_made_is_refused_before_anything_runs(catalogue, monkeypatch, tmp_path):
    monkeypatch.setattr("extremal.cli.reproducing.run", lambda name: pytest.fail("it ran"))
    (tmp_path / "file").write_text("")
    result = CliRunner().invoke(main, ["reproduce", "good", "--out", str(tmp_path / "file" / "folder")])
    assert result.exit_code == 1
    assert "Error" in result.output


def test_unknown_names_are_refused_with_the_way_to_the_list():
    result = CliRunner().invoke(main, ["reproduce", "nothing"])
    assert result.exit_code == 1
    assert "`extremal reproduce` lists them" in result.output
    with pytest.raises(ValueError, match="toy-landscape"):
        reproductions.reproduce("nothing")
