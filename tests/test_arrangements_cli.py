"""`extremal arrangements`, as a user types it."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

import extremal
from extremal.cli import main


def run(*arguments):
    return CliRunner().invoke(main, ["arrangements", *(str(argument) for argument in arguments)])


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    X = np.round(np.random.default_rng(0).normal(size=(12, 2)), 3)
    path = tmp_path_factory.mktemp("data") / "points.csv"
    path.write_text("a,b,y\n" + "".join(f"{a},{b},{i}\n" for i, (a, b) in enumerate(X)))
    return path, X


def test_counting(table):
    path, X = table
    report = json.loads(run(path, "--count", "--json").stdout)
    assert report["patterns"] == extremal.arrangements(np.column_stack([X, np.ones(12)])).count
    assert report["exact"]
    assert report["features"] == ["a", "b"]
    assert json.loads(run(path, "--count", "--json", "--bias", "none").stdout)["patterns"] == 24
    assert json.loads(run(path, "--count", "--json", "--drop", "b", "--bias", "none").stdout)["patterns"] == 2
    assert "exact" in run(path, "--count").output


def test_listing_and_saving(table, tmp_path):
    path, X = table
    out = tmp_path / "patterns.npz"
    result = run(path, "--out", out, "--target", "y")
    assert result.exit_code == 0, result.output
    expected = extremal.arrangements(np.column_stack([X, np.ones(12)])).patterns
    assert f"{expected.count}" in result.output
    with np.load(out) as file:
        bits = np.unpackbits(file["bits"], axis=1, count=int(file["n"]), bitorder="little").astype(bool)
    np.testing.assert_array_equal(np.unique(bits, axis=0), np.unique(expected.unpack(), axis=0))


def test_sampling(table):
    path, _ = table
    report = json.loads(run(path, "--sample", 500, "--method", "walk", "--json").stdout)
    assert report["draws"] <= 500
    assert 0 < report["patterns"] <= report["total"]
    assert "coverage" in run(path, "--sample", 50).output


def test_too_many_are_refused(tmp_path, table):
    X = np.random.default_rng(0).normal(size=(300, 10))
    path = tmp_path / "wide.csv"
    np.savetxt(path, X, delimiter=",", header=",".join(f"c{k}" for k in range(10)), comments="")
    refused = run(path)
    assert refused.exit_code == 1
    for word in ("to list", "--count", "--sample"):
        assert word in refused.stderr
    assert "at most" in run(path, "--count").output
    assert run(table[0], "--limit", 10).exit_code == 1
    assert run(table[0], "--limit", 10**6).exit_code == 0


def test_wrong_usage(table, tmp_path):
    assert run(table[0], "--count", "--sample", 5).exit_code == 2
    assert run(table[0], "--out", tmp_path / "nowhere" / "p.npz").exit_code == 2
    assert run(table[0], "--drop", "z").exit_code == 1
