"""The wheel and the sdist: what is in them, and the installed package at work, far from the repository."""

from __future__ import annotations

import csv
import email
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

import extremal

ROOT = Path(__file__).parent.parent
EXTRAS = {"torch", "export", "report", "bench", "docs", "test"}
IN_THE_SDIST = {
    *("src", "tests", "docs", "benchmarks", "examples"),
    *("pyproject.toml", "Makefile", ".importlinter", ".gitignore", "PKG-INFO"),
    *("LICENSE", "README.md", "CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md"),
}
MEGABYTE = 1e6


def call(command: list[Any], **options: Any) -> str:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def sources(folder: str) -> set[str]:
    """The files that belong to the repository: known to git, or, in an unpacked sdist, all of them."""
    if not (ROOT / ".git").exists():
        return {path.relative_to(ROOT).as_posix() for path in (ROOT / folder).rglob("*")
                if path.is_file() and "__pycache__" not in path.parts}  # fmt: skip
    listed = call(["git", "ls-files", "--cached", "--others", "--exclude-standard", folder], cwd=ROOT).splitlines()
    return {name for name in listed if (ROOT / name).is_file()}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the sdist; the wheel is built from the sdist, as `python -m build` does."""
    folder = tmp_path_factory.mktemp("dist")
    call([sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT])
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (path,) = built.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def sdist(built: Path) -> Path:
    (path,) = built.glob("*.tar.gz")
    return path


# --- what is in them ----------------------------------------------------------------------------------------


def test_the_wheel_has_the_whole_package_and_nothing_else(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    information = {name for name in names if name.startswith(f"extremal-{extremal.__version__}.dist-info/")}
    assert {f"src/{name}" for name in names - information} == sources("src/extremal")
    assert "extremal/py.typed" in names
    assert f"extremal-{extremal.__version__}.dist-info/licenses/LICENSE" in information


def test_the_sdist_has_what_builds_and_tests_it_and_no_pictures(sdist):
    with tarfile.open(sdist) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames()}
    assert {name.split("/")[0] for name in names} == IN_THE_SDIST
    for folder in ("src", "tests"):
        assert {name for name in names if name.startswith(f"{folder}/")} == sources(folder)
    assert {"docs/design.md", "benchmarks/fit.py", "examples/demo.py"} <= names
    assert not {name for name in names if name.endswith((".png", ".gif", ".npz", ".pyc", ".nbi", ".nbc"))}


def test_they_are_small(wheel, sdist, record_property):
    for path, most in ((wheel, 2), (sdist, 4)):
        size = path.stat().st_size / MEGABYTE
        record_property(path.suffix, f"{size:.2f} MB")
        print(f"{path.name}: {size:.2f} MB")
        assert size < most


def test_the_metadata_say_what_the_package_is(wheel):
    with zipfile.ZipFile(wheel) as archive:
        text = archive.read(f"extremal-{extremal.__version__}.dist-info/METADATA").decode()
    about = email.message_from_string(text)
    assert about["Name"] == "extremal"
    assert about["Version"] == extremal.__version__
    assert about["License-Expression"] == "BSD-3-Clause"
    assert about["Requires-Python"] == ">=3.11"
    assert about["Description-Content-Type"] == "text/markdown"
    assert "Typing :: Typed" in about.get_all("Classifier")
    assert set(about.get_all("Provides-Extra")) == EXTRAS
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert about.get_payload().strip() == readme.strip()


def test_one_version_everywhere():
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    version = re.escape(extremal.__version__)
    released = re.search(rf"^## \[{version}\] - (\d{{4}}-\d\d-\d\d)$", changes, re.MULTILINE)
    assert released, f"CHANGELOG.md has no entry for {extremal.__version__} with a date"
    assert re.search(rf"^version: {version}$", citation, re.MULTILINE)
    assert re.search(rf"^date-released: {released[1]}$", citation, re.MULTILINE)


# --- what comes with it -------------------------------------------------------------------------------------


def closure(name: str, found: set[str] | None = None) -> set[str]:
    """A distribution and all that it needs without extras, as installed here."""
    found = set() if found is None else found
    found.add(name)
    for text in metadata.requires(name) or []:
        requirement = Requirement(text)
        needed = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if needed and requirement.name.lower() not in found:
            closure(requirement.name.lower(), found)
    return found


def size_of(name: str) -> int:
    files = [Path(str(file.locate())) for file in metadata.files(name) or []]
    return sum(file.stat().st_size for file in files if file.is_file())


def test_the_core_stays_small():
    """With SciPy, llvmlite and NumPy, which are two thirds of it; no extra is among the dependencies."""
    sizes = {name: size_of(name) / MEGABYTE for name in closure("extremal")}
    largest = sorted(sizes, key=lambda name: -sizes[name])
    print(f"core install: {sum(sizes.values()):.0f} MB,", *(f"{name} {sizes[name]:.0f}" for name in largest[:6]))
    assert not sizes.keys() & {"torch", "plotly", "onnx", "pandas", "cvxpy", "sphinx", "tensorboard", "pytest"}
    assert sum(sizes.values()) < 750


# --- the installed package ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new environment with the wheel; its dependencies are those of this one, the repository is not among them."""
    folder = tmp_path_factory.mktemp("installed")
    call([sys.executable, "-m", "venv", "--without-pip", folder])
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    call([sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", wheel])
    here = Path(str(metadata.distribution("numpy").locate_file("")))
    there = call([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]).strip()
    # a path in a .pth file is searched last, and its own .pth files, such as that of an editable install, are not read
    (Path(there) / "dependencies.pth").write_text(f"{here}\n")
    return python.parent


@pytest.fixture
def user(installed: Path, tmp_path: Path) -> Callable[..., str]:
    """Runs a program of that environment in a folder of the user's own."""
    # with few rows Numba's compiler would take longer than all the rest
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "COV_"))}
    environment = {**clean, "NUMBA_DISABLE_JIT": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}

    def run(program: str, *arguments: object) -> str:
        return call([installed / program, *arguments], cwd=tmp_path, env=environment)

    return run


def write_points(path: Path) -> Path:
    with path.open("w", newline="") as file:
        rows = [[i, (i * i) % 7, abs(i - 4) + 0.1 * ((i * i) % 7)] for i in range(10)]
        csv.writer(file).writerows([["a", "b", "price"], *rows])
    return path


def test_the_installed_package_is_the_one_that_is_imported(user, installed):
    where = user("python", "-c", "import extremal; print(extremal.__file__)").strip()
    assert Path(where).is_relative_to(installed.parent)
    assert not Path(where).is_relative_to(ROOT)


WITHOUT_EXTRAS = """
import importlib, pkgutil, sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {absent}:
            raise ModuleNotFoundError(f"no {{name}} in a core install", name=name)

sys.meta_path.insert(0, Absent())
import extremal
for module in pkgutil.walk_packages(extremal.__path__, "extremal."):
    if module.name.endswith("__main__"):
        continue
    try:
        importlib.import_module(module.name)
    except ImportError as error:
        if "extremal[" not in str(error):  # the name of the extra
            raise
for name in extremal.__all__:
    getattr(extremal, name)
"""


def test_every_module_imports_without_the_extras_or_names_the_one_it_needs(user):
    absent = {"torch", "tensorboard", "plotly", "onnx", "onnxruntime", "safetensors", "skops", "pandas", "polars",
              "cvxpy", "scnn", "sphinx", "pytest", "hypothesis", "mpmath", "selenium"}  # fmt: skip
    user("python", "-c", WITHOUT_EXTRAS.format(absent=absent))


def test_the_command_line_works_without_the_repository(user, tmp_path):
    data = write_points(tmp_path / "points.csv")
    assert "certify" in user("extremal", "--help")
    assert f"version {extremal.__version__}" in user("extremal", "--version")
    assert extremal.__version__ in user("extremal", "info")
    fitted = user("extremal", "fit", data, "--alpha", "0.3", "--out", "model.npz")
    assert "proven lower bound" in fitted
    assert "proven lower bound" in user("extremal", "certify", "model.npz", data)
    assert len(user("extremal", "predict", "model.npz", data).splitlines()) == 11


def test_the_flow_works_without_the_repository(user, tmp_path):
    (tmp_path / "two.csv").write_text("a,b,y\n1,0.5,1\n0.5,1,1\n-1,-0.5,-1\n-0.5,-1,-1\n")
    flowed = user("extremal", "flow", "two.csv", "--width", "4", "--seeds", "2", "--method", "gd", "--max-steps", "300")
    assert "starts" in flowed
