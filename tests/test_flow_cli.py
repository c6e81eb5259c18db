"""`extremal flow`, as a user types it."""

import csv
import json

import numpy as np
import pytest
from click.testing import CliRunner

import extremal
from extremal import closed_forms, datasets, plotting
from extremal.cli import METHODS, main
from extremal.flow.discrete import Method


def run(*arguments):
    return CliRunner().invoke(main, ["flow", *(str(argument) for argument in arguments)])


def write(path, X, labels, names=None):
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*(names or [f"x{k}" for k in range(X.shape[1])]), "y"])
        writer.writerows([*map(float, row), label] for row, label in zip(X, labels, strict=True))
    return path


@pytest.fixture(scope="module")
def separable(tmp_path_factory):
    X, y = datasets.orthogonally_separable(8, 2, random_state=0)
    path = write(tmp_path_factory.mktemp("data") / "two.csv", X, np.where(y > 0, "up", "down"))
    return path, closed_forms.orthogonal_max_margin(X, y).value


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """Data on which the flow from every start here ends in a worse network."""
    X, y = datasets.gaussian_labels(8, 3, random_state=1)
    return write(tmp_path_factory.mktemp("data") / "local.csv", X, y)


def test_verdicts_and_the_closing_sentence(separable):
    path, value = separable
    result = run(path, "--seeds", 3)
    assert result.exit_code == 0, result.output
    for words in ("two.csv: 8 rows, 2 features", "-1 is down, +1 is up", "gradient flow", f"{value:.9g}"):
        assert words in result.output
    assert "Backprop reached the global optimum in 3 of 3 starts." in result.output
    assert max(map(len, result.output.splitlines())) <= 80


def test_json_is_one_object_of_finite_numbers(separable):
    path, value = separable
    result = run(path, "--seeds", 2, "--seed", 5, "--width", 30, "--json")
    report = json.loads(result.stdout, parse_constant=pytest.fail)
    assert [start["seed"] for start in report["runs"]] == [5, 6]
    assert report["counts"] == {"global": 2}
    assert report["classes"] == {"-1": "down", "+1": "up"}
    assert report["bound"] <= report["best"] * (1 + 1e-12)
    assert not report["interrupted"]
    for start in report["runs"]:
        assert start["verdict"] == "global"
        assert start["value"] == pytest.approx(value, rel=1e-10)
        assert start["gauge"] == pytest.approx(1, abs=1e-6)


def test_how_much_worse_the_others_are(local):
    report = json.loads(run(local, "--seeds", 2, "--json").stdout)
    assert report["counts"] == {"not global": 2}
    excess = 100 * (report["runs"][0]["value"] / report["best"] - 1)
    assert excess > 0.1
    assert f"all are worse by {excess:.2g} % (2 times)" in report["sentence"]
    assert run(local, "--seeds", 1).exit_code == 0


def test_without_time_for_a_proof_nothing_is_claimed(local):
    report = json.loads(run(local, "--seeds", 1, "--proof-time", 0, "--json").stdout)
    assert report["counts"] == {"not global": 1}
    assert "1 ended in a worse network" in report["sentence"]
    assert "%" not in report["sentence"]


def test_the_report(separable, tmp_path, monkeypatch):
    animate = plotting.animate
    shorter = {"seconds": 0.5}
    monkeypatch.setattr(plotting, "animate", lambda *args, **options: animate(*args, **(options | shorter)))
    folder = tmp_path / "new" / "out"
    result = run(separable[0], "--seeds", 2, "--report", folder, "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert {path.name for path in folder.iterdir()} == set(report["files"])
    with open(folder / "verdicts.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["verdict"] for row in rows] == ["global", "global"]
    needed = ("value", "excess", "gauge", "residual", "tau", "events", "seconds", "sentence")
    assert all(row[name] for row in rows for name in needed)
    run_of_best = extremal.Trajectory.load(folder / "best.npz")
    assert run_of_best.time[-1] == report["runs"][0]["tau"]
    assert (folder / "best.png").read_bytes().startswith(b"\x89PNG")
    assert (folder / "best.gif").read_bytes().startswith(b"GIF")


def test_a_report_of_a_run_without_limit(tmp_path):
    X, y = datasets.gaussian_labels(12, 4, random_state=0)
    path = write(tmp_path / "data.csv", X, y)
    result = run(path, "--seeds", 1, "--max-steps", 3, "--report", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert "1 did not converge" in result.output
    assert "<= P*" in result.output
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"verdicts.csv", "best.npz", "best.png", "report.html"}


def test_numbers_words_and_scales(tmp_path):
    X, y = datasets.orthogonally_separable(8, 2, random_state=1)
    numbers = write(tmp_path / "numbers.csv", 1000 * X, np.where(y > 0, 7, 3), ["wide", "high"])
    report = json.loads(run(numbers, "--seeds", 1, "--json", "--standardize").stdout)
    assert report["classes"] == {"-1": "3", "+1": "7"}
    scaled = (X - X.mean(0)) / X.std(0)
    assert report["bound"] <= extremal.max_margin(scaled, y).value * (1 + 1e-9)
    X[:, 0] *= 1000
    uneven = write(tmp_path / "uneven.csv", X, y, ["wide", "high"])
    output = run(uneven, "--seeds", 1).output
    assert "column 'wide' is" in output
    assert "--standardize" in output


def test_squared_loss(tmp_path):
    rng = np.random.default_rng(0)
    path = write(tmp_path / "numbers.csv", rng.standard_normal((4, 5)), rng.standard_normal(4))
    report = json.loads(run(path, "--loss", "squared", "--seeds", 1, "--json").stdout)
    assert report["classes"] == {}
    assert report["loss"] == "squared"
    words = write(tmp_path / "words.csv", rng.standard_normal((4, 5)), list("abab"))
    assert "is for numbers" in run(words, "--loss", "squared").stderr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b,y\n1,2,0\n1,2,1\n3,1,1\n", "rows 0 and 1 point the same way, with different labels"),
        ("a,b,y\n1,2,0\n0,0,1\n3,1,1\n", "row 1 is zero"),
        ("a,b,y\n1,2,0\n2,1,1\n3,1,2\n", "3 different values (0, 1, 2); the flow is that of two classes"),
        ("a,b,y\n1,2,x\n2,1,x\n3,1,x\n", "one class only (x)"),
        ("a,b,y\n1,2,x\n2,1,\n3,1,x\n", "1 missing value"),
        ("a,b,y\n1,red,1\n2,blue,0\n", "column 'b'"),
        ("a,y\n1,1\ninf,0\n", "infinity"),
    ],
)
def test_data_errors_say_what_is_wrong(tmp_path, text, message):
    path = tmp_path / "data.csv"
    path.write_text(text)
    result = run(path)
    assert result.exit_code == 1
    assert message in result.stderr
    assert "Traceback" not in result.output


def test_missing_rows_can_be_dropped(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text("a;b;note;y\n1;2;x;0\n2;;x;1\n-5;-6;;1\n-1;1;z;1\n")
    report = json.loads(run(path, "--drop", "note", "--drop-missing", "--json", "--seeds", 1).stdout)
    assert report["rows"] == 3
    assert report["features"] == ["a", "b"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["nowhere.csv"],
        [__file__, "--width", 0],
        [__file__, "--init", 0],
        [__file__, "--seeds", 0],
        [__file__, "--method", "newton"],
        [__file__, "--step", 0.1],
        [__file__, "--report", __file__],
    ],
)
def test_wrong_usage(arguments):
    assert run(*arguments).exit_code == 2


def test_methods_are_those_of_the_library(separable):
    assert ["flow", *Method] == METHODS
    result = run(separable[0], "--method", "decaying", "--step", 0.05, "--max-steps", 2000, "--seeds", 1, "--json")
    report = json.loads(result.stdout)
    assert report["method"] == "decaying"
    assert report["runs"][0]["evaluations"] <= 2001


def test_the_time_limit_has_its_exit_code(tmp_path):
    X, y = datasets.gaussian_labels(50, 5, random_state=0)
    path = write(tmp_path / "data.csv", X, y)
    result = run(path, "--time-limit", 0.05, "--proof-time", 0, "--seeds", 1)
    assert result.exit_code == 3, result.output
    assert "the time is spent" in " ".join(result.output.split())


def test_ctrl_c_reports_what_is_done(separable, tmp_path, monkeypatch):
    from extremal.cli import flowing

    report = flowing._Watch.moment

    def interrupt(self, moment):
        report(self, moment)
        if len(self.ended) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(flowing._Watch, "moment", interrupt)
    folder = tmp_path / "out"
    path = write(tmp_path / "data.csv", *datasets.orthogonally_separable(6, 4, random_state=0))
    result = run(path, "--report", folder, "--json")
    assert result.exit_code == 130
    found = json.loads(result.stdout)
    assert found["interrupted"]
    assert [start["verdict"] for start in found["runs"]] == ["global", "global", "not converged"]
    assert len((folder / "verdicts.csv").read_text().splitlines()) == 4
    assert "Interrupted after 3 of 16 starts." in run(separable[0]).output

    def at_once(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(flowing, "flows", at_once)
    result = run(separable[0])
    assert result.exit_code == 130
    assert "before there was a result" in result.stderr


def test_the_line_of_progress(separable):
    from extremal.cli.flowing import _Watch
    from extremal.flow import Moment

    said = []
    watch = _Watch(said.append, 4)
    X, y = datasets.orthogonally_separable(6, 2, random_state=0)
    watch.done(0, extremal.flow(X, y))
    watch.moment(Moment("margins grow", 12.0, 3.5, 0.05))
    assert said == [
        "start 2 of 4 (1 global), margins grow: tau = 12, |theta|^2 = 10^3.5, 1/2 |theta|^2 at margin 1: 10"
    ]
