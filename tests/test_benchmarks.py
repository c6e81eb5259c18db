"""The benchmarks start, and the race counts right: one function evaluates, the best so far, bounds below everything."""

from __future__ import annotations

import importlib
import re
import runpy
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extremal import Network

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "benchmarks"
SCRIPTS = sorted(path.stem for path in FOLDER.glob("*.py") if "__main__" in path.read_text())
#: Methods of the race that need nothing beyond the test extras.
INSTALLED = ("lbfgs", "adam", "sgd", "mlp", "clarabel")


@pytest.fixture(scope="module", autouse=True)
def _on_path() -> Any:
    """The scripts find each other as they do when they are run."""
    sys.path.insert(0, str(FOLDER))
    yield
    sys.path.remove(str(FOLDER))


@pytest.fixture(scope="module")
def entry() -> Any:
    """A small race: one setting of every method, .3 s each, and ours."""
    race, racers, problems = (importlib.import_module(name) for name in ("race", "racers", "problems"))
    rng = np.random.default_rng(0)
    features = rng.standard_normal((40, 3))
    split = problems.Split.of(features, np.maximum(features @ rng.standard_normal(3), 0), classes=False)
    problem = problems.Problem("small", split.X, split.y, 0.02)
    ours = racers.OurWatch(racers.Watch(problem, 2.0))
    result = ours.fit()
    outcomes = {"ours": race.outcome({"its defaults": ours.watch}, split)}
    for name, method in racers.METHODS.items():
        method.warm(0.1)
        first = dict([next(iter(method.runs.items()))])
        watches = replace(method, runs=first).race(problem, 0.3)
        for watch in watches.values():
            if watch.network is not None:
                assert problem.objective(watch.network) == watch.best == watch.points[-1][1]
        outcomes[name] = race.outcome(watches, split)
    results = importlib.import_module("race_results")
    return results.Entry(
        "small", *split.X.shape, 8, False, 0.1, 0.02, 0.3, 0.0, "a machine\n", outcomes, ours.bounds,
        ours.bounds[-1][1], result.network.width, race.baselines(split),
    )  # fmt: skip


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_script_says_what_it_does(
    script: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [script, "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(FOLDER / f"{script}.py"), run_name="__main__")
    assert ended.value.code == 0
    assert "usage" in capsys.readouterr().out


# --- the race -----------------------------------------------------------------------------------------------


def test_curves_fall_and_no_network_is_below_the_bound(entry: Any) -> None:
    assert set(INSTALLED) <= set(entry.peers)
    for name, outcome in entry.outcomes.items():
        if not outcome.curve:
            assert "not installed" in " ".join(outcome.notes.values()), name
            continue
        seconds, values = np.array(outcome.curve).T
        assert np.all(np.diff(seconds) >= 0)
        assert np.all(np.diff(values) < 0)
        assert values[-1] == min(value for value in outcome.runs.values() if value is not None)
        assert values[-1] >= entry.longer_bound * (1 - 1e-9)
    bounds = np.array(entry.bounds)[:, 1]
    assert np.all(np.diff(bounds) >= 0)
    assert entry.ours.objective <= entry.best * (1 + 1e-6)
    assert entry.gap(entry.longer_bound) <= 1e-5  # rank four: the gap closes


def test_what_was_raced_is_kept_and_makes_the_page(entry: Any, tmp_path: Path) -> None:
    results, page = importlib.import_module("race_results"), importlib.import_module("race_page")
    results.save([entry], tmp_path / "race.json")
    (again,) = results.load(tmp_path / "race.json")
    assert again.title == entry.title
    text = "\n".join(page.sections([again], tmp_path))
    assert f"{entry.ours.objective:.9f}" in text
    assert "a machine" in text
    shown = re.findall(r"!\[.*\]\((.*)\)", text)
    assert shown
    assert all((tmp_path / name).stat().st_size > 1000 for name in shown)


def test_the_page_says_when_ours_is_not_first(entry: Any) -> None:
    """A peer with a lower objective is counted as such, and so is a better score."""
    page = importlib.import_module("race_page")
    better = replace(entry.peers["lbfgs"], curve=[(0.1, entry.ours.objective / 2)], score=1.0)
    lost = replace(entry, outcomes={"ours": replace(entry.ours, score=0.5), "lbfgs": better})
    said = " ".join(page.summary([lost]))
    assert "ends below every peer on 0" in said
    assert "and above it on 1" in said
    assert "no better than the closest peer's network on 1 of 1" in " ".join(page.verdicts([lost]))
    assert "never" in page.summary_row(lost)


def test_evaluation_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    racers, problems = importlib.import_module("racers"), importlib.import_module("problems")
    problem = problems.Problem("tiny", *problems.teacher(10, 2), 0.1)
    watch = racers.Watch(problem, 10.0)

    def slow() -> Network:
        began = time.process_time()
        while time.process_time() < began + 0.2:
            pass
        return Network.zero(2)

    watch.evaluate(slow)
    assert watch.elapsed() < 0.1
    assert watch.standing >= 0.2
    assert watch.best == pytest.approx(0.5)  # standardised targets: half their variance


def test_the_network_seen_is_kept_as_it_was() -> None:
    """Weights that change in place afterwards, as an optimiser's do, change nothing."""
    racers, problems = importlib.import_module("racers"), importlib.import_module("problems")
    problem = problems.Problem("tiny", *problems.teacher(10, 2), 0.1)
    watch = racers.Watch(problem, 10.0)
    hidden, output = np.array([[0.1], [0.2]]), np.array([[0.3]])
    watch.evaluate(lambda: Network(hidden, output))
    hidden *= 100
    output *= -1
    assert problem.objective(watch.network) == watch.best


def test_weights_that_diverge_end_a_run() -> None:
    racers, problems = importlib.import_module("racers"), importlib.import_module("problems")
    problem = problems.Problem("tiny", *problems.teacher(10, 2), 0.1)
    watch = racers.watched(lambda watch: watch.evaluate(lambda: Network(np.full((2, 1), np.nan), [1.0])), problem, 1.0)
    assert watch.network is None
    assert watch.points == []


curves = st.lists(
    st.lists(st.tuples(st.floats(0, 10), st.floats(0, 10)), max_size=5).map(sorted), min_size=1, max_size=4
)


@given(curves)
def test_the_envelope_is_the_least_so_far(curves: list[list[tuple[float, float]]]) -> None:
    kept = importlib.import_module("race_results").envelope(curves)
    points = [point for curve in curves for point in curve]
    for moment in {seconds for seconds, _ in points}:
        least = min(value for seconds, value in points if seconds <= moment)
        assert [value for seconds, value in kept if seconds <= moment][-1] == least


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8).map(sorted))
def test_names_in_pictures_do_not_overlap(heights: list[float]) -> None:
    pictures = importlib.import_module("race_pictures")
    moved = pictures.spread(heights)
    assert np.all(np.diff(moved) >= pictures.ROOM * (1 - 1e-9))
    assert max(moved) <= 1


# --- data and pages -----------------------------------------------------------------------------------------


def test_the_parts_of_a_data_set_are_prepared_alike() -> None:
    """One affine map for both parts, known from the training part alone."""
    problems = importlib.import_module("problems")
    rng = np.random.default_rng(0)
    features, target = rng.normal(3, 2, size=(50, 1)), rng.normal(5, 3, size=50)
    split = problems.Split.of(features, target, classes=False)
    assert (split.X.shape, split.X_test.shape) == ((40, 2), (10, 2))
    np.testing.assert_allclose([split.X[:, 0].mean(), split.y.mean()], 0, atol=1e-14)
    np.testing.assert_allclose([2 * split.X[:, 0].var(), split.y.var()], 1)
    seen = np.sort(np.concatenate([split.X, split.X_test])[:, 0])
    original = np.sort(features[:, 0])
    np.testing.assert_allclose(np.diff(seen) / np.ptp(seen), np.diff(original) / np.ptp(original), atol=1e-12)
    assert split.score(split.y_test) == 1.0
    assert split.score(np.full(10, split.y_test.mean())) == pytest.approx(0.0, abs=1e-12)


def test_a_page_keeps_its_introduction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    everything = importlib.import_module("all")
    monkeypatch.setattr(everything, "PAGES", tmp_path)
    (tmp_path / "fit.md").write_text(f"# Title\n\nBy hand.\n\n{everything.MARK}\n\nold numbers\n")
    everything.write("fit", "new numbers\n", tmp_path)
    text = (tmp_path / "fit.md").read_text()
    assert text.startswith("# Title\n\nBy hand.\n")
    assert text.endswith("new numbers\n")
    assert "old numbers" not in text
    assert text.count(everything.MARK) == 1


@pytest.mark.parametrize("name", ["fit", "race", "proof", "gauge", "arrangements", "flow", "splines"])
def test_pages_are_there_and_their_links_lead_somewhere(name: str) -> None:
    everything, page = importlib.import_module("all"), ROOT / "docs" / "benchmarks" / f"{name}.md"
    assert name in everything.CATALOGUE
    assert f"(benchmarks/{name}.md)" in (ROOT / "docs" / "benchmarks.md").read_text()
    text = page.read_text()
    assert text.count(everything.MARK) == 1
    for link in re.findall(r"\]\(([^)#]+)", text):
        assert (page.parent / link).exists(), link
