"""The gallery: every script has what its page needs. Building the documentation runs them all; here, with -m slow.

A page that is built by sphinx-gallery fails the build if its script raises, so that nothing has to run twice.
"""

import ast
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

GALLERY = Path(__file__).parents[1] / "examples" / "gallery"
SCRIPTS = sorted(GALLERY.glob("plot_*.py"))
NAMES = [script.stem for script in SCRIPTS]
#: CPU seconds for one script.
LONGEST = 60


def calls(tree, name):
    found = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [func for func in found if name in (getattr(func, "attr", None), getattr(func, "id", None))]


def test_the_gallery_has_its_ten_pages():
    assert len(SCRIPTS) >= 10
    assert (GALLERY / "GALLERY_HEADER.rst").exists()


@pytest.mark.parametrize("script", SCRIPTS, ids=NAMES)
def test_a_page_has_a_title_formulas_pictures_numbers_and_asserts(script):
    source = script.read_text(encoding="utf-8")
    tree = ast.parse(source)
    title, underline, *text = ast.get_docstring(tree).split("\n")
    assert set(underline) == {"="}
    assert len(underline) >= len(title)
    assert ":math:" in "\n".join(text)
    assert ".. math::" in "\n".join(text)
    assert source.count("\n# %%\n") >= 2
    assert calls(tree, "show")
    assert calls(tree, "print")
    assert [node for node in ast.walk(tree) if isinstance(node, ast.Assert)]


@pytest.mark.parametrize("script", SCRIPTS, ids=NAMES)
def test_a_page_downloads_nothing_and_needs_only_what_is_installed_with_the_library(script):
    tree = ast.parse(script.read_text(encoding="utf-8"))
    imported = {node.module.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    imported |= {
        name.name.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names
    }
    own = {"extremal", "numpy", "scipy", "sklearn", "matplotlib"}
    assert not imported - own - set(sys.stdlib_module_names)
    assert "fetch_" not in script.read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=NAMES)
def test_a_page_runs_without_a_warning(script, tmp_path):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run = subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        cwd=tmp_path,
        env=os.environ | {"MPLBACKEND": "Agg", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=4 * LONGEST,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert run.returncode == 0, run.stderr
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < LONGEST
    assert run.stderr == ""
    assert run.stdout.strip()
    assert not list(tmp_path.iterdir())  # it leaves nothing behind
