"""The command line, as a user types it."""

import csv
import json
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner

import extremal
from extremal.cli import main
from extremal.cli.model import Model
from extremal.cli.table import Table


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def write(path, header, rows):
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


@pytest.fixture(scope="module")
def regression(tmp_path_factory):
    rng = np.random.default_rng(0)
    X = rng.normal(loc=3, scale=[1, 20], size=(40, 2))
    y = 100 + 50 * np.abs(X[:, 0] - 3) + X[:, 1]
    path = tmp_path_factory.mktemp("data") / "house.csv"
    return write(path, ["size", "age", "price"], np.column_stack([X, y]).tolist())


@pytest.fixture(scope="module")
def flowers(tmp_path_factory):
    rng = np.random.default_rng(1)
    centres = {"iris": (0, 0), "rose": (3, 0), "lily": (0, 3)}
    rows = [[name, *rng.normal(centre, 0.3)] for name, centre in centres.items() for _ in range(12)]
    return write(tmp_path_factory.mktemp("data") / "flowers.csv", ["y", "a", "b"], rows)


def test_fit_prints_a_summary(regression):
    result = run("fit", regression, "--alpha", 0.1)
    assert result.exit_code == 0, result.output
    for word in ("house.csv: 40 rows, 2 features", "price", "neurons", "proven lower bound", "gap", "R2"):
        assert word in result.output


def test_time_limit_has_its_own_exit_code(regression, monkeypatch):
    from extremal.cli.report import Report

    assert run("fit", regression, "--alpha", 0.1).exit_code == 0
    monkeypatch.setattr(Report, "out_of_time", True)
    assert run("fit", regression, "--alpha", 0.1).exit_code == 3


def test_a_folder_that_is_not_there_is_found_out_first(regression, tmp_path):
    result = run("fit", regression, "--out", tmp_path / "nowhere" / "model.npz")
    assert result.exit_code == 2
    assert "no folder" in result.stderr


def test_json_is_one_object_and_nothing_else(regression):
    result = run("fit", regression, "--alpha", 0.1, "--json")
    report = json.loads(result.stdout)
    assert report["target"] == "price"
    assert report["features"] == ["size", "age"]
    assert report["bound"] <= report["objective"]
    assert report["beta"] == pytest.approx(0.1 * 40)
    assert report["status"] in ("OPTIMAL", "CONVERGED")
    assert report["proven"] == (report["status"] == "OPTIMAL")


def test_certify_reproduces_the_objective(regression, tmp_path):
    model = tmp_path / "model.npz"
    fitted = json.loads(run("fit", regression, "--alpha", 0.1, "--out", model, "--json").stdout)
    proof = json.loads(run("certify", model, regression, "--json").stdout)
    assert proof["objective"] == pytest.approx(fitted["objective"], rel=1e-12)
    assert proof["bound"] <= proof["objective"]
    other = json.loads(run("certify", model, regression, "--alpha", 0.2, "--json").stdout)
    assert other["beta"] == pytest.approx(2 * fitted["beta"])
    assert (
        other["beta"] == json.loads(run("certify", model, regression, "--beta", other["beta"], "--json").stdout)["beta"]
    )


def test_certify_reproduces_the_objective_of_classes(flowers, tmp_path):
    model = tmp_path / "model.npz"
    fitted = json.loads(run("fit", flowers, "--alpha", 0.05, "--out", model, "--json").stdout)
    assert fitted["classes"] == ["iris", "lily", "rose"]
    assert fitted["loss"] == "softmax"
    assert fitted["scores"]["accuracy on these rows"] == 1.0
    proof = json.loads(run("certify", model, flowers, "--json").stdout)
    assert proof["objective"] == pytest.approx(fitted["objective"], rel=1e-12)


def test_predict_writes_targets_in_their_units(regression, flowers, tmp_path):
    model, out = tmp_path / "model.npz", tmp_path / "out.csv"
    run("fit", regression, "--alpha", 0.001, "--out", model)
    assert run("predict", model, regression, "--out", out).exit_code == 0
    predicted, actual = Table.read(str(out)), Table.read(str(regression))
    assert predicted.columns == ("price",)
    np.testing.assert_allclose(predicted.numbers(["price"]), actual.numbers(["price"]), rtol=0.1)
    run("fit", flowers, "--alpha", 0.01, "--out", model)
    lines = run("predict", model, flowers).stdout.split()
    assert lines == ["y", *["iris"] * 12, *["rose"] * 12, *["lily"] * 12]


def test_saved_model_is_a_network_without_pickle(regression, tmp_path):
    path = tmp_path / "model.npz"
    run(
        "fit",
        regression,
        "--alpha",
        0.1,
        "--out",
        path,
        "--no-intercept",
        "--bias",
        "none",
        "--no-standardize",
    )
    model = Model.load(str(path))
    network = extremal.Network.load(path)
    assert not network.bias
    np.testing.assert_array_equal(model.network.hidden, network.hidden)
    np.testing.assert_array_equal(model.centre, [0, 0])
    assert model.intercept is False
    assert model.target_scale == 1.0


def test_cross_validation_chooses_alpha(regression):
    report = json.loads(run("fit", regression, "--cv", "--json").stdout)
    assert report["alpha"] > 0
    assert report["scores"]["R2, five folds"] > 0.8


def test_history_is_drawn(regression, tmp_path):
    picture = tmp_path / "history.png"
    assert run("fit", regression, "--alpha", 0.1, "--history", picture).exit_code == 0
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_classes_and_hint(tmp_path):
    x = np.linspace(-1, 1, 30)
    path = write(tmp_path / "two.csv", ["x", "kind"], [[value, int(abs(value) > 0.5)] for value in x])
    plain = run("fit", path, "--alpha", 0.05)
    assert "--classes" in plain.output
    report = json.loads(run("fit", path, "--classes", "--alpha", 0.01, "--json").stdout)
    assert report["classes"] == [0.0, 1.0]
    assert report["loss"] == "logistic"
    hinge = json.loads(run("fit", path, "--loss", "squared_hinge", "--alpha", 0.01, "--json").stdout)
    assert hinge["loss"] == "squared_hinge"


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("a,b,y\n1,red,2\n2,blue,3\n", [], "column 'b'"),
        ("a,b,y\n1,,2\n2,NA,3\n,4,1\n", [], "3 missing values, in 'a' (1), 'b' (2)"),
        ("a,b,y\n1,2,3\n", ["--target", "price"], "it has a, b, y"),
        ("1,2,3\n4,5,6\n", [], "first row must name the columns"),
        ("a,b,y\n1,2,3\n1,2\n", [], "row 3 of data.csv has 2 values; the header has 3"),
        ("a,b,a\n1,2,3\n", [], "more than once"),
        ("a,b,y\n", [], "at least one row"),
        ("y\n1\n2\n", [], "no column besides the target"),
        ("a,y\n1,2\n2,3\n", ["--drop", "c"], "no column 'c'"),
        ("a,y\n1,up\n2,up\n", [], "one class only"),
        ("a,y\n1,up\n2,down\n", ["--loss", "huber"], "for numbers"),
        ("a,y\n1,inf\n2,3\n", [], "column 'y' of data.csv has infinity"),
        ("a,b,y\n1e300,2,3\n2,3,4\n", [], "column 'a' of data.csv has infinity, or values above 1e+100"),
        ("a;y\n1,5;2\n2,5;3\n", [], "(for example '1,5' in 'a'); write decimals with a point"),
        ('a,y\n"1,000",2\n2,3\n', [], "nothing between thousands"),
        ("a b y\n1 2 3\n", [], "columns are separated by commas"),
        (",a,y\n0,1,2\n1,2,3\n", [], "column 1 of data.csv has no name"),
        ("a,y\n1,2\n", ["--history", "picture.foo"], "no pictures of the kind .foo"),
    ],
)
def test_data_errors_say_what_is_wrong(tmp_path, text, options, message):
    path = tmp_path / "data.csv"
    path.write_text(text)
    result = run("fit", path, *options)
    assert result.exit_code == 1
    assert message in result.stderr
    assert "Traceback" not in result.output


@pytest.mark.parametrize("content", ["größe,y\n1,2\n".encode("latin-1"), "a,y\n1,2\n".encode("utf-16"), b"\x89PNG\xff"])
def test_files_that_are_not_utf8_text(tmp_path, content):
    path = tmp_path / "data.csv"
    path.write_bytes(content)
    result = run("fit", path)
    assert result.exit_code == 1
    assert "data.csv is not a CSV file in UTF-8" in result.stderr


def test_what_windows_writes(tmp_path):
    """A byte order mark, carriage returns and semicolons change nothing."""
    plain, windows = tmp_path / "plain.csv", tmp_path / "windows.csv"
    plain.write_text("a,y\n1,2\n3,4\n", encoding="utf-8")
    windows.write_bytes(b"\xef\xbb\xbfa;y\r\n1;2\r\n3;4\r\n")
    read, same = Table.read(str(plain)), Table.read(str(windows))
    assert same.columns == read.columns
    assert np.array_equal(same.cells, read.cells)


def test_one_row_and_a_constant_target(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text("a,y\n1,2\n")
    result = run("fit", path, "--alpha", "0.1")
    assert result.exit_code == 0
    assert "'y' has the same value in every row" in result.output


def test_missing_rows_can_be_dropped(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text("a;b;note;y\n1;2;x;3\n2;;x;4\n5;6;;7\n8;1;z;2\n")
    report = json.loads(run("fit", path, "--drop", "note", "--drop-missing", "--json").stdout)
    assert report["rows"] == 3
    assert report["features"] == ["a", "b"]


def test_target_is_found(tmp_path):
    assert Table("t", ("a", "y", "b"), np.array([["1", "2", "3"]])).target(None) == "y"
    assert Table("t", ("target", "y", "b"), np.array([["1", "2", "3"]])).target(None) == "target"
    assert Table("t", ("a", "b"), np.array([["1", "2"]])).target(None) == "b"


@pytest.mark.parametrize(
    "arguments",
    [
        ["fit", "nowhere.csv"],
        ["fit", __file__, "--cv", "--alpha", "1"],
        ["fit", __file__, "--alpha", "-1"],
        ["fit", __file__, "--classes", "--loss", "huber"],
        ["certify", __file__, __file__, "--alpha", "1", "--beta", "1"],
        ["fitt"],
    ],
)
def test_wrong_usage(arguments):
    assert run(*arguments).exit_code == 2


def test_a_file_that_is_no_model(regression, tmp_path):
    result = run("certify", regression, regression)
    assert result.exit_code == 1
    assert "a network is read from .npz" in result.stderr
    result = run("predict", model := tmp_path / "array.npy", regression)
    assert result.exit_code == 2
    np.save(model, np.eye(2))
    assert "not a model" in run("predict", model, regression).stderr
    model.write_bytes(b"")
    assert "not a model" in run("predict", model, regression).stderr
    path = tmp_path / "net.npz"
    extremal.Network.zero(2).save(path)
    assert "net.npz does not say how its weights were penalised" in run("certify", path, regression).stderr
    assert "bare network" in run("predict", path, regression).stderr
    (tmp_path / "other.npz").write_bytes(b"other")
    assert "not a model" in run("predict", tmp_path / "other.npz", regression).stderr


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("model.npy", np.eye(2), "a network is read from .npz"),
        ("model.npz", b"", "model.npz: the file is empty"),
        ("model.pt", b"", "model.pt: the file is empty"),
        ("model.npz", b"PK\x03\x04nonsense", "model.npz"),
    ],
)
def test_files_that_are_no_network(regression, tmp_path, name, content, message):
    if isinstance(content, bytes):
        (tmp_path / name).write_bytes(content)
    else:
        np.save(tmp_path / name, content)
    result = run("certify", tmp_path / name, regression, "--alpha", 0.1)
    assert result.exit_code == 1
    assert message in result.stderr
    assert "Traceback" not in result.output


def test_predict_names_the_columns_that_are_not_there(regression, tmp_path):
    model, other = tmp_path / "model.npz", write(tmp_path / "other.csv", ["size", "price"], [[1, 2]])
    run("fit", regression, "--alpha", 0.1, "--out", model)
    result = run("predict", model, other)
    assert result.exit_code == 1
    assert "other.csv has no column 'age'; it has size, price" in result.stderr
    result = run("predict", model, regression, "--out", tmp_path / "nowhere" / "out.csv")
    assert result.exit_code == 2
    assert "no folder" in result.stderr


def test_exit_codes_of_gap_time_and_interrupt(regression, monkeypatch):
    assert run("fit", regression, "--alpha", 0.1, "--require-gap", 1).exit_code == 0
    assert run("fit", regression, "--alpha", 0.1, "--require-gap", 0).exit_code == 4

    from extremal.cli import screen

    def interrupt(self, record):
        raise KeyboardInterrupt

    monkeypatch.setattr(screen.ProgressLine, "show", interrupt)
    result = run("fit", regression, "--alpha", 0.1, "--json")
    assert result.exit_code == 130
    report = json.loads(result.stdout)
    assert report["status"] == "INTERRUPTED"
    assert report["bound"] <= report["objective"]


def test_info():
    versions = json.loads(run("info", "--json").stdout)
    assert versions["extremal"] == extremal.__version__
    assert "numpy" in run("info").stdout


def test_as_a_program(regression):
    command = [sys.executable, "-c", "from extremal.cli import main; main()"]
    done = subprocess.run(
        [*command, "fit", str(regression), "--alpha", "0.1", "--json"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert json.loads(done.stdout)["rows"] == 40
