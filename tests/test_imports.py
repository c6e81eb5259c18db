"""`import extremal` costs nothing, and every public name is found when it is asked for."""

import os
import subprocess
import sys

import pytest

import extremal

CORE = ["numpy", "numba", "sklearn", "scipy", "matplotlib", "click", "rich", "clarabel"]
EXTRAS = ["torch", "tensorboard", "onnx", "onnxruntime", "safetensors", "skops", "plotly", "pandas", "polars", "cvxpy"]
HEAVY = [*CORE, *EXTRAS]


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def loaded_by(statement: str) -> set[str]:
    return set(run(f"{statement}\nimport sys\nprint(*[m for m in {HEAVY} if m in sys.modules])").split())


def test_import_loads_nothing_heavy():
    assert loaded_by("import extremal; extremal.__version__; dir(extremal)") == set()


def cpu_seconds(*arguments: str) -> float:
    """The least CPU time of a few runs of Python, start and end included: other processes cannot lengthen it."""

    def once() -> float:
        before = os.times()
        subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
        after = os.times()
        return after.children_user + after.children_system - before.children_user - before.children_system

    return min(once() for _ in range(5))


@pytest.mark.parametrize("arguments", [
    ["-c", "import extremal"],
    ["-c", "from extremal.cli import main; main()", "--help"],
    ["-c", "from extremal.cli import main; main()", "fit", "--help"],
])  # fmt: skip
def test_import_and_help_take_less_than_a_third_of_a_second(arguments):
    seconds = cpu_seconds(*arguments)
    print(f"{' '.join(arguments)}: {1e3 * seconds:.0f} ms")
    assert seconds < 0.3


def test_a_name_loads_what_it_needs():
    assert loaded_by("from extremal import Network") <= {"numpy", "scipy"}


def test_pictures_load_what_they_draw_with_when_they_draw():
    assert loaded_by("from extremal import plotting; plotting.plot_flow, plotting.animate") <= {"numpy", "scipy"}


def test_help_needs_only_click():
    statement = (
        "from click.testing import CliRunner\n"
        "from extremal.cli import main\n"
        "for command in ([], ['fit'], ['certify'], ['predict'], ['flow'], ['arrangements'], ['info']):\n"
        "    assert CliRunner().invoke(main, [*command, '--help']).exit_code == 0"
    )
    assert loaded_by(statement) == {"click"}


@pytest.mark.parametrize("name", extremal.__all__)
def test_every_public_name_exists(name):
    assert getattr(extremal, name) is not None
    assert name in dir(extremal)


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'fitt'"):
        extremal.fitt  # noqa: B018


def test_a_submodule_does_not_take_the_name_of_a_function():
    run(
        "import extremal.gauge.bounds\n"
        "import extremal\n"
        "from extremal.gauge import GaugeBounds\n"
        "from extremal.gauge.bounds import GaugeBounds as same\n"
        "assert callable(extremal.gauge) and GaugeBounds is same\n"
        "import sys\n"
        "assert extremal.gauge is sys.modules['extremal.gauge'].gauge\n"
    )


def test_version_is_that_of_the_distribution():
    from importlib.metadata import version

    assert version("extremal") == extremal.__version__
