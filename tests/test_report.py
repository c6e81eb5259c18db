"""The report: what its figures claim, how it is put together, and how it behaves in a browser."""

from __future__ import annotations

import base64
import gzip
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import assume, given
from hypothesis import strategies as st

import extremal
from extremal.cli import main
from extremal.report import citations, page
from extremal.report.compose import compose
from extremal.report.figures import ellipsoid, function, marks
from extremal.report.figures.common import Figure, log_axis, plain
from extremal.report.figures.moments import Moments
from extremal.report.page import Content
from extremal.report.subject import subject_of

HOSTILE = [
    "<script>window.pwned=1</script>",
    '"><img src=x onerror="window.pwned=2">',
    "</script><b>bold",
    "%{x} & $a$",
]


# --------------------------------------------------------------------------------------------------------- results


def curve_data() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = np.sort(rng.uniform(-2, 2, 30))[:, None]
    return x, np.sin(2 * x[:, 0]) + 0.1 * rng.standard_normal(30)


def class_data(classes: int, d: int, n: int = 45) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    y = np.arange(n) % classes
    return rng.standard_normal((n, d)) + 2.5 * rng.standard_normal((classes, d))[y], y


def several_data() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(2)
    X = rng.standard_normal((40, 4))
    return X, np.maximum(X[:, 0] + X[:, 1], 0) - 0.5 * np.maximum(X[:, 2], 0) + 0.1 * rng.standard_normal(40)


EIGHT = extremal.datasets.gaussian_labels(8, 3, random_state=4)
THREE = np.array([[2.0, 0.5, 0.1], [0.3, 1.6, 0.4], [-1.2, 0.4, 1.0]]), np.array([1, -1, 1])


def _fit(data: tuple[np.ndarray, np.ndarray], **options: Any) -> tuple[Any, np.ndarray, np.ndarray]:
    return extremal.fit(*data, time_limit=2, **options), *data


def _certificate() -> tuple[Any, np.ndarray, np.ndarray]:
    X, y = several_data()
    return extremal.certify(_random_network(), X, y, beta=3.0, time_limit=1, improve=False), X, y


def _judgement(penalty: Any) -> tuple[Any, np.ndarray, np.ndarray]:
    X, y = several_data()
    options = {"decay": penalty} if isinstance(penalty, extremal.WeightDecay) else {"beta": penalty}
    return extremal.certify(_random_network(), X, y, time_limit=1, **options), X, y


def _random_network() -> extremal.Network:
    rng = np.random.default_rng(3)
    return extremal.Network(rng.standard_normal((5, 4)), rng.standard_normal(4), bias=True)


MAKERS: dict[str, Callable[[], tuple[Any, np.ndarray, np.ndarray]]] = {
    "curve": lambda: _fit(curve_data(), beta=0.1),
    "slices": lambda: _fit(several_data(), beta=1.0),
    "surface": lambda: _fit((several_data()[0][:, :2], several_data()[1]), beta=2.0),
    "two classes": lambda: _fit(class_data(2, 2), beta=1.0, loss="logistic"),
    "three classes": lambda: _fit(class_data(3, 3), beta=2.0, loss="softmax"),
    "two outputs": lambda: _fit((several_data()[0][:, :2], np.column_stack([several_data()[1]] * 2)), beta=4.0),
    "zero network": lambda: _fit(curve_data(), beta=1e4),
    "certificate": _certificate,
    "judgement": lambda: _judgement(3.0),
    "judgement, free biases": lambda: _judgement(extremal.WeightDecay(1.0, 4.0, 0.0, 0.0)),
    "flow, two rows": lambda: _flow((np.array([[1.65, 0.47], [-0.47, 1.35]]), np.array([1, -1]))),
    "flow, three rows": lambda: _flow(THREE),
    "flow, three rows in the plane": lambda: _flow((THREE[0][:, :2], THREE[1])),
    "flow, eight rows": lambda: _flow(EIGHT, random_state=2, width=30),
    "flow, eight rows in the plane": lambda: _flow(extremal.datasets.orthogonally_separable(8, 2, random_state=0)),
    "flow, squared": lambda: _flow((np.array([[1.0, 0.2], [0.3, 1.0]]), np.array([1.0, -0.5])), loss="squared"),
    "flow, stopped": lambda: _flow(EIGHT, max_steps=10),
    "flow, adam": lambda: _flow(THREE, method="adam", max_steps=100, proof_time=0),
    "flows": lambda: (extremal.flows(*THREE, width=6, seeds=3), *THREE),
}
FITS = [name for name in MAKERS if not name.startswith(("flow", "judgement", "certificate"))]


JUDGED = ("judgement", "judgement, free biases")


def _flow(data: tuple[np.ndarray, np.ndarray], **options: Any) -> tuple[Any, np.ndarray, np.ndarray]:
    return extremal.flow(*data, **({"width": 10, "random_state": 1} | options)), *data


@pytest.fixture(scope="module")
def made() -> Callable[[str], tuple[Any, np.ndarray, np.ndarray]]:
    kept: dict[str, tuple[Any, np.ndarray, np.ndarray]] = {}

    def make(name: str) -> tuple[Any, np.ndarray, np.ndarray]:
        if name not in kept:
            kept[name] = MAKERS[name]()
        return kept[name]

    return make


def content_of(made: Callable[[str], Any], name: str, **options: Any) -> Content:
    result, X, y = made(name)
    network = _random_network() if name == "certificate" else None
    subject = subject_of(result, X, y, network=network, **options)
    return compose(subject, title=None, command=None, random_state=None, note="")


def figure_of(made: Callable[[str], Any], name: str, title: str) -> Figure:
    return next(figure for figure in content_of(made, name).figures if figure.title.startswith(title))


def flattened(figure: Figure, moment: int) -> list[dict[str, Any]]:
    """The traces at a moment, as the page's script sets them."""
    data = [json.loads(json.dumps(plain(trace))) for trace in figure.data]
    for part in figure.moving:
        for name, values in part.values.items():
            *path, last = name.split(".")
            place = data[part.trace]
            for step in path:
                place = place[step]
            place[last] = plain(values[moment])
    return data


# ------------------------------------------------------------------------------------------------------- structure


class Outline(HTMLParser):
    """Ids, references, addresses and scripts of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.references: set[str] = set()
        self.addresses: list[tuple[str, str, str]] = []
        self.tags: list[str] = []
        self.handlers: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            elif name in ("for", "aria-labelledby", "aria-describedby", "aria-controls", "data-copy"):
                self.references |= set((value or "").split())
            elif name in ("href", "src", "srcset", "action", "poster", "data"):
                self.addresses.append((tag, name, value or ""))
            elif name.startswith("on"):
                self.handlers.append(name)


@pytest.mark.parametrize("name", MAKERS)
def test_page_is_whole_and_asks_nobody(made: Callable[[str], Any], name: str) -> None:
    html = page.render(content_of(made, name))
    outline = Outline(html)
    assert len(outline.ids) == len(set(outline.ids))
    assert outline.references <= set(outline.ids)
    assert outline.tags.count("script") == 3
    assert outline.tags.count("h1") == 1
    assert not outline.handlers
    inside = {f"#{anchor}" for anchor in outline.ids}
    for tag, attribute, address in outline.addresses:
        doi = tag == "a" and address.startswith("https://doi.org/")
        assert doi or address in inside or address == "data:,", (tag, attribute, address)
    assert "url(" not in html
    assert "@import" not in html
    assert "NaN" not in html[html.index('id="figure-data"') : html.index('id="plotly-bundle"')]


@pytest.mark.parametrize("name", MAKERS)
def test_plotly_accepts_every_figure_at_every_moment(made: Callable[[str], Any], name: str) -> None:
    from plotly.graph_objects import Figure as Checked

    content = content_of(made, name)
    assert content.figures or name == "zero network"
    for figure in content.figures:
        for moment in {0, max(len(content.moments) - 1, 0)} if figure.moving else {0}:
            data = flattened(figure, moment)
            Checked(data=data, layout=plain(figure.layout))  # raises for whatever is not in plotly's schema
            for trace in data:
                sizes = {len(trace[axis]) for axis in "xyz" if axis in trace and trace["type"].startswith("scatter")}
                assert len(sizes) <= 1
        for part in figure.moving:
            assert all(len(values) == len(content.moments) for values in part.values.values())
        for choice in figure.choices:
            Checked(data=plain(choice.data), layout=plain(choice.layout))


def test_every_kind_of_figure_is_there_where_it_applies(made: Callable[[str], Any]) -> None:
    titles = {name: " | ".join(f.title for f in content_of(made, name).figures) for name in MAKERS}
    for name in FITS:
        assert "Objective and proven bound" in titles[name]
        assert ("Activation patterns" in titles[name]) == (name != "zero network")
        assert "slices" in titles[name] if name in ("slices", "three classes") else "slices" not in titles[name]
    for name in MAKERS:
        assert ("multiplier" in titles[name]) == name.startswith("flow")
        plane_or_space = name not in ("slices", "three classes", "certificate", "zero network", *JUDGED)
        assert ("arrangement" in titles[name]) == plane_or_space, name
        assert ("ellipsoid" in titles[name]) == (name not in ("zero network", JUDGED[1])), name
        assert ("gap comes from" in titles[name]) == (name in JUDGED)


def test_bundle_is_plotly() -> None:
    from plotly.offline import get_plotlyjs

    assert gzip.decompress(base64.b64decode(page.bundle())).decode() == get_plotlyjs()


def test_missing_plotly_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    page.bundle.cache_clear()
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    with pytest.raises(ImportError, match=r"pip install 'extremal\[report\]'"):
        extremal.report(None, [[1.0]], [1.0])
    done = CliRunner().invoke(main, ["fit", __file__, "--report", "x.html"])
    assert done.exit_code == 1
    assert "extremal[report]" in done.output


def test_hostile_texts_stay_texts(made: Callable[[str], Any]) -> None:
    result, X, y = made("three classes")
    html = extremal.report(
        result, X, y, title=HOSTILE[0], command=HOSTILE[1], note=HOSTILE[2],
        feature_names=HOSTILE[:3], class_names=HOSTILE[1:],
    ).html  # fmt: skip
    outline = Outline(html)
    assert outline.tags.count("script") == 3
    assert "img" not in outline.tags
    assert "b" not in outline.tags
    assert not outline.handlers
    data = html[
        html.index('id="figure-data">') + len('id="figure-data">') : html.index('<script type="application/octet')
    ]
    assert not set("<>&") & set(data.removesuffix("</script>\n"))
    shown = json.loads(data.removesuffix("</script>\n"))
    titles = [choice["layout"]["xaxis"]["title"]["text"] for choice in shown["figures"][0]["choices"]]
    assert not any(set("<>") & set(title) for title in titles)  # plotly reads tags


def test_contrast_of_all_texts() -> None:
    css = page._asset("page.css")
    light, dark = (dict(re.findall(r"--([\w-]+): (#\w{6});", part)) for part in css.split("@media (prefers")[:2])
    for colours in (light, dark):
        for ink, papers in {
            "ink": ("paper", "card", "code", "good-paper", "open-paper", "bad-paper"),
            "soft": ("paper", "card"), "link": ("paper", "card"),
            "good": ("good-paper",), "open": ("open-paper",), "bad": ("bad-paper", "paper"),
        }.items():  # fmt: skip
            for paper in papers:
                assert contrast(colours[ink], colours[paper]) >= 4.5, (ink, paper)


def contrast(one: str, other: str) -> float:
    """WCAG 2: (brighter + .05) / (darker + .05)."""

    def light(colour: str) -> float:
        part = np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)]) / 255
        return float(
            np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722]
        )

    dark, bright = sorted([light(one), light(other)])
    return (bright + 0.05) / (dark + 0.05)


# ------------------------------------------------------------------------------------------------- what it claims


@pytest.mark.parametrize("name", ["curve", "slices", "surface", "two classes"])
def test_planes_of_a_certificate_hold_the_ellipsoid_and_neurons_touch_them(
    made: Callable[[str], Any], name: str
) -> None:
    result, X, _ = made(name)
    figure = figure_of(made, name, "The rectified ellipsoid")
    beta = result.certificate.beta
    mesh = next(trace for trace in figure.data if trace["type"] == "mesh3d")
    assert np.abs(mesh["x"]).max() <= beta * (1 + 1e-9)
    neurons = np.concatenate([trace["x"] for trace in figure.data if trace.get("mode") == "markers"])
    assert len(neurons) == result.network.width
    if result.certificate.gap < 1e-6:
        assert np.abs(neurons) == pytest.approx(beta, rel=1e-3)
    # the coordinate is lam^T z, computed from scratch
    rows = np.column_stack([X, np.ones(len(X))])
    U = result.network.hidden / np.linalg.norm(result.network.hidden, axis=0)
    assert np.sort(neurons) == pytest.approx(np.sort(result.certificate.lam[:, 0] @ np.maximum(rows @ U, 0)), rel=1e-9)


def test_tube_of_several_outputs_holds_the_ellipsoid(made: Callable[[str], Any]) -> None:
    result, _, _ = made("three classes")
    figure = figure_of(made, "three classes", "The rectified ellipsoid")
    mesh = next(trace for trace in figure.data if trace["type"] == "mesh3d")
    assert np.hypot(mesh["x"], mesh["y"]).max() <= result.certificate.beta * (1 + 1e-9)


def test_limit_of_a_flow_is_where_the_planes_touch(made: Callable[[str], Any]) -> None:
    result, X, _ = made("flow, three rows")
    assert result.verdict is extremal.Verdict.GLOBAL
    figure = figure_of(made, "flow, three rows", "The rectified ellipsoid")
    moments = len(figure.moving[0].values["x"])
    limit = next(trace for trace in figure.data if trace["name"] == "the limit")
    spikes = np.column_stack([limit[name] for name in "xyz"])
    assert len(spikes) == result.network.width
    assert np.abs(spikes @ result.lam) == pytest.approx(1, rel=1e-6)
    for moment in (0, moments // 2, moments - 1):
        planes = flattened(figure, moment)[4:6]
        lam = figure_lam(result, moment)
        for plane, side in zip(planes, (1, -1), strict=True):
            corners = np.array([plane[name] for name in "xyz"], dtype=float).T
            if np.isfinite(corners).all():  # a plane may miss the picture
                assert corners @ lam == pytest.approx(side * extremal.gauge(X, lam).upper, rel=1e-4)


def figure_lam(result: Any, moment: int) -> np.ndarray:
    return result.trajectory.lam[Moments.of(result.trajectory).index[moment]]


@pytest.mark.parametrize("name", ["flow, three rows", "flow, three rows in the plane", "flow, two rows"])
def test_neurons_of_a_flow_stay_on_the_ellipsoid(made: Callable[[str], Any], name: str) -> None:
    """z = (Xu)_+ with |u| <= 1: the least |u| that gives z, by a program of its own, is at most one."""
    from scipy.optimize import minimize

    _, X, _ = made(name)
    figure = figure_of(made, name, "The rectified ellipsoid")
    first = figure.moving[0]
    axes = [first.values[axis] for axis in "xyz" if axis in first.values]
    for moment in (0, len(axes[0]) - 1):
        for z in np.array([values[moment] for values in axes]).T:
            on = z > 1e-9
            program = minimize(
                lambda u: u @ u,
                np.linalg.pinv(X[on]) @ z[on],
                jac=lambda u: 2 * u,
                constraints=[
                    {"type": "eq", "fun": lambda u, on=on, z=z: X[on] @ u - z[on], "jac": lambda u, on=on: X[on]},
                    {"type": "ineq", "fun": lambda u, on=on: -X[~on] @ u, "jac": lambda u, on=on: -X[~on]},
                ],
                method="SLSQP",
            )
            assert program.fun <= 1 + 1e-6


def test_flow_that_is_not_global_shows_where_the_ellipsoid_sticks_out(made: Callable[[str], Any]) -> None:
    result, _, _ = made("flow, eight rows")
    assert result.verdict is extremal.Verdict.NOT_GLOBAL
    figure = figure_of(made, "flow, eight rows", "The rectified ellipsoid")
    star = next(trace for trace in figure.data if trace["name"] == "improving neuron")
    assert abs(star["x"][0]) == pytest.approx(result.gauge.lower, rel=1e-6)
    assert star["x"][0] ** 2 > 1
    assert "sticks out" in figure.caption


@given(
    st.lists(st.floats(-3, 3), min_size=3, max_size=3),
    st.lists(st.floats(0.1, 5), min_size=3, max_size=3),
    st.floats(-0.9, 0.9),
)
def test_cut_of_a_box_is_its_plane(lam: list[float], box: list[float], part: float) -> None:
    normal, size = np.array(lam), np.array(box)
    assume(np.abs(normal).max() > 1e-100)
    reach = np.maximum(normal, 0) @ size if part > 0 else np.minimum(normal, 0) @ size
    level = abs(part) * reach
    corners = ellipsoid._cut(normal, level, size)
    assert corners.shape == (6, 3)
    if not np.isfinite(corners).all():
        return
    assert corners @ normal == pytest.approx(level, abs=1e-9 * max(1.0, np.abs(normal).max() * size.max()))
    assert (corners >= -1e-9).all()
    assert (corners <= size + 1e-9).all()


@pytest.mark.parametrize(("rank", "area_of_all"), [(2, np.pi), (3, 4 * np.pi)])
def test_cut_mesh_has_no_kink_inside_a_triangle(rank: int, area_of_all: float) -> None:
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((6, rank))
    points, faces = ellipsoid._sphere(rank, 24)
    cut, pieces = ellipsoid._cut_at_rows(points, faces, rows)
    size = np.linalg.norm(cut, axis=1)
    assert size[size > 0] == pytest.approx(1)
    for row in rows:
        height = (cut @ row)[pieces] / np.linalg.norm(row)
        assert not ((height.max(axis=1) > 1e-7) & (height.min(axis=1) < -1e-7)).any()
    corners = np.pad(cut, ((0, 0), (0, 3 - rank)))[pieces]
    area = 0.5 * np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1).sum()
    assert area == pytest.approx(area_of_all, rel=2e-2)  # nothing is lost or doubled


def test_curve_is_the_network(made: Callable[[str], Any]) -> None:
    result, _, _ = made("curve")
    curve = next(t for t in figure_of(made, "curve", "The fitted function").data if t.get("name") == "network")
    middles = 0.5 * (curve["x"][1:] + curve["x"][:-1])
    between = 0.5 * (curve["y"][1:] + curve["y"][:-1])  # exact, because every kink is a point of the curve
    assert result.network.predict(middles[:, None])[:, 0] == pytest.approx(between, abs=1e-12)


@pytest.mark.parametrize(("name", "d"), [("two classes", 2), ("three classes", 3)])
def test_regions_are_the_predictions(made: Callable[[str], Any], name: str, d: int) -> None:
    result, X, _ = made(name)
    figure = figure_of(made, name, "Decision regions")
    heat = figure.data[0]
    order = function.importance(result.network, X)[:2]
    points = np.tile(np.median(X, axis=0), (heat["z"].size, 1))
    points[:, order[0]] = np.tile(heat["x"], len(heat["y"]))
    points[:, order[1]] = np.repeat(heat["y"], len(heat["x"]))
    outputs = result.network.predict(points)
    winner = outputs.argmax(axis=1) if d == 3 else (outputs[:, 0] > 0).astype(int)
    assert np.array_equal(np.floor(heat["z"]).ravel(), winner)


def test_patterns_are_those_of_the_network(made: Callable[[str], Any]) -> None:
    result, X, _ = made("slices")
    heat = figure_of(made, "slices", "Activation patterns").data[0]
    active = np.column_stack([X, np.ones(len(X))]) @ result.network.hidden > 0
    for line, name, rows in zip(heat["z"], heat["y"], heat["customdata"], strict=True):
        assert np.array_equal(line != 0, active[rows, int(name) - 1])
    assert sorted(heat["customdata"][0]) == list(range(len(X)))


@pytest.mark.parametrize("name", ["curve", "slices", "three classes", "flow, eight rows"])
def test_table_of_neurons_is_the_network(made: Callable[[str], Any], name: str) -> None:
    result, X, _ = made(name)
    network, table = result.network, content_of(made, name).tables["Neurons"]
    cells = np.array(table.rows, dtype=float)
    d, c = network.n_features, network.n_outputs
    U, outer = cells[:, 1 : 1 + d + network.bias], cells[:, 1 + d + network.bias : 1 + d + network.bias + c]
    rows = np.column_stack([X, np.ones(len(X))]) if network.bias else X
    fits = np.maximum(rows @ U.T, 0)
    assert fits @ outer + network.intercept == pytest.approx(network.predict(X), abs=1e-10)
    assert cells[:, table.columns.index("share of the penalty, %")].sum() == pytest.approx(100)
    assert np.array_equal(cells[:, table.columns.index("active rows")], (fits > 0).sum(axis=0))


@pytest.mark.parametrize("name", ["curve", "two classes", "flow, three rows"])
def test_the_call_gives_the_result_again(made: Callable[[str], Any], name: str) -> None:
    result, X, y = made(name)
    seed = 1 if name.startswith("flow") else 0
    subject = subject_of(result, X, y)
    command = compose(subject, title=None, command=None, random_state=seed, note="").command
    again = eval(command, {"extremal": extremal, "X": X, "y": y})
    if seed:
        assert again.value == pytest.approx(result.value, rel=1e-9)
    else:
        assert again.certificate.primal == pytest.approx(result.certificate.primal, rel=1e-6)


@pytest.mark.parametrize(("loss", "classes"), [("squared", 0), ("logistic", 2), ("softmax", 3)])
def test_weights_that_the_result_does_not_keep_are_mentioned(loss: str, classes: int) -> None:
    X, y = class_data(classes, 2, 30) if classes else (several_data()[0][:30, :2], several_data()[1][:30])
    for weight, said in ((None, False), (np.full(30, 1 / 30), True)):
        result = extremal.fit(X, y, beta=0.05, loss=loss, sample_weight=weight, time_limit=1)
        command = compose(subject_of(result, X, y), title=None, command=None, random_state=0, note="").command
        assert ("sample_weight" in command) == said


@pytest.mark.parametrize("name", JUDGED)
def test_judgement_says_where_the_gap_comes_from(made: Callable[[str], Any], name: str) -> None:
    result, X, y = made(name)
    figure = figure_of(made, name, "Where the gap comes from")
    steps = np.array(figure.data[0]["y"])
    assert steps[0] == result.primal
    assert steps.sum() == pytest.approx(result.dual, rel=1e-9)
    content = content_of(made, name)
    assert content.tables["Neurons of the better network"].rows
    command = content.command.replace("loss=", "time_limit=0.5, loss=")
    again = eval(command, {"extremal": extremal, "X": X, "y": y, "network": result.network})
    assert again.primal == pytest.approx(result.primal, rel=1e-12)


def test_hashes_are_those_of_a_proof(made: Callable[[str], Any]) -> None:
    result, X, y = made("curve")
    proved = extremal.with_proof(result.certificate, result.network, X, y)
    html = extremal.report(result, X, y).html
    assert str(proved.proof.X_hash) in html
    assert str(proved.proof.y_hash) in html
    other = X.copy()
    other[0] += 1e-9
    assert str(proved.proof.X_hash) not in extremal.report(result, other, y).html


def test_estimators_and_names() -> None:
    pandas = pytest.importorskip("pandas")
    X, y = class_data(3, 2, 30)
    frame = pandas.DataFrame(X, columns=["long", "wide"])
    model = extremal.ReLUClassifier(alpha=0.05, time_limit=3).fit(frame, np.array(["red", "green", "blue"])[y])
    html = extremal.report(model, frame, np.array(["red", "green", "blue"])[y]).html
    for word in ("long", "wide", "red", "green", "blue"):
        assert word in html


def test_wrong_arguments_are_told(made: Callable[[str], Any]) -> None:
    result, X, y = made("curve")
    with pytest.raises(ValueError, match="30 rows and y has 29"):
        extremal.report(result, X, y[1:])
    with pytest.raises(ValueError, match="1 features, X has 2"):
        extremal.report(result, np.hstack([X, X]), y)
    with pytest.raises(ValueError, match="feature_names has 2"):
        extremal.report(result, X, y, feature_names=["a", "b"])
    with pytest.raises(TypeError, match="not about Network"):
        extremal.report(result.network, X, y)


def test_sizes_of_marks_are_shares() -> None:
    share = np.array([0.0, 0.25, 1.0])
    small, middle, large = marks.sizes(share)
    assert middle - small == pytest.approx((large - small) / 2, abs=0.1)


@given(st.floats(1e-12, 1e6), st.floats(1.0, 1e15))
def test_log_axes_have_few_labels_inside(low: float, ratio: float) -> None:
    chosen = log_axis("", np.array([low, low * ratio, np.nan, 0.0])).get("tickvals", [])
    assert len(chosen) <= 7
    assert all(0.04 * low <= value <= 25 * low * ratio for value in chosen)


def test_numbers_for_json() -> None:
    assert plain({"a": np.array([1.0, np.nan, np.inf, 1 / 3])}) == {"a": [1, None, None, 0.333333]}
    assert plain([np.int64(3), np.float64(2.5), True, "x"]) == [3, 2.5, True, "x"]


def test_citations() -> None:
    text = extremal.citation()
    assert text.count("@") == len(citations.SOURCES)
    for source in citations.SOURCES.values():
        bibtex = extremal.citation(source.key)
        assert bibtex.count("{") == bibtex.count("}")
        assert {"author", "title", "year", "eprint"} <= set(source.fields)
        assert source.fields["year"] in source.plain
    for task in ("fit", "certify", "flow"):
        assert citations.sources_of(task)
    with pytest.raises(ValueError, match="there are pilanci2020neural"):
        extremal.citation("nobody")


def test_importing_the_report_does_not_import_plotly() -> None:
    code = "import sys, extremal; extremal.report; assert not any(m.startswith('plotly') for m in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


# ------------------------------------------------------------------------------------------------------------ shell


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shell")
    X, y = class_data(2, 2, 24)
    lines = [f"{a:.6g},{b:.6g},{'pear' if k else 'fig'}" for (a, b), k in zip(X, y, strict=True)]
    (folder / "fruit.csv").write_text("\n".join(["<i>long</i>,wide,kind", *lines]), encoding="utf-8")
    return folder / "fruit.csv"


def test_command_line(table: Path) -> None:
    model, here = str(table.with_suffix(".npz")), table.parent
    run = CliRunner().invoke
    typed = [
        "fit",
        str(table),
        "--alpha",
        "0.05",
        "--time-limit",
        "5",
        "--out",
        model,
        "--report",
        str(here / "a.html"),
    ]
    done = run(main, typed)
    assert done.exit_code == 0, done.output
    assert "a.html" in done.output
    html = (here / "a.html").read_text(encoding="utf-8")
    assert "--alpha 0.05" in html
    assert "extremal fit" in html
    assert "&lt;i&gt;long" in html
    assert "pear" in html
    done = run(main, ["certify", model, str(table), "--json", "--report", str(here / "b.html")])
    assert json.loads(done.output)["report"] == str(here / "b.html")
    done = run(main, ["report", model, str(table), "--out", str(here / "c.html")])
    assert done.exit_code == 0, done.output
    for name in ("b", "c"):
        assert "Activation patterns" in (here / f"{name}.html").read_text(encoding="utf-8")
    assert run(main, ["report", model, str(table), "--out", str(here / "no" / "c.html")]).exit_code == 2


def test_command_line_of_the_flow(tmp_path: Path) -> None:
    data = tmp_path / "three.csv"
    X, y = THREE
    lines = [",".join(map(str, [*x, 0.1, label])) for x, label in zip(X, y, strict=True)]  # four columns: no film
    data.write_text("\n".join(["a,b,c,d,y", *lines]), encoding="utf-8")
    options = ["flow", str(data), "--width", "6", "--seeds", "2", "--report"]
    done = CliRunner().invoke(main, [*options, str(tmp_path / "page.html")])
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["page.html", "three.csv"]
    html = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "Starts" in html
    assert "The multiplier" in html
    done = CliRunner().invoke(main, [*options, str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert {"report.html", "verdicts.csv", "best.npz", "best.png"} == {
        path.name for path in (tmp_path / "out").iterdir()
    }


# ---------------------------------------------------------------------------------------------------------- browser

OVERFLOW = "return document.scrollingElement.scrollWidth - innerWidth"
TITLES = "const l = document.getElementById('plot-0').layout; return l.xaxis.title.text + l.yaxis.title.text"
CHROMIUM, DRIVER = Path("/usr/bin/chromium"), Path("/usr/bin/chromedriver")
SWITCHES = (
    "headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking",
    "disable-component-update", "disable-sync", "enable-unsafe-swiftshader",
)  # fmt: skip


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Chromium without a network."""
    if not (CHROMIUM.exists() and DRIVER.exists()) and os.environ.get("EXTREMAL_BROWSER") != "required":
        pytest.skip("there is no chromium")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for switch in SWITCHES:
        options.add_argument(f"--{switch}")
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('chromium')}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(str(DRIVER), log_output=subprocess.DEVNULL)
    driver = webdriver.Chrome(options=options, service=service)
    driver.execute_cdp_cmd("Network.enable", {})
    offline = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
    driver.execute_cdp_cmd("Network.emulateNetworkConditions", offline)
    try:
        yield driver
    finally:
        driver.quit()


def opened(browser: Any, path: Path, width: int = 1280, scheme: str = "light") -> Any:
    """The page, drawn, at a width."""
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    resize(browser, width)
    browser.get_log("browser")
    browser.get(path.as_uri())
    until(lambda: browser.execute_script("return document.documentElement.dataset.drawn") == "yes")
    return browser


def resize(browser: Any, width: int) -> None:
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def until(condition: Callable[[], Any], seconds: float = 30.0) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError("it did not happen in time")


def settled(reading: Callable[[], Any]) -> Any:
    """What is read once it no longer changes for half a second: a drag has momentum."""
    last, since = reading(), time.monotonic()
    while time.monotonic() < since + 0.5:
        time.sleep(0.1)
        now = reading()
        if now != last:
            last, since = now, time.monotonic()
    return last


def severe(browser: Any) -> list[str]:
    return [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]


def values(browser: Any, k: int, trace: int) -> str:
    return browser.execute_script(
        "const t = document.getElementById('plot-' + arguments[0]).data[arguments[1]];"
        "return JSON.stringify([t.x, t.y, t.z, t.marker && t.marker.size])", k, trace,
    )  # fmt: skip


@pytest.fixture(scope="module")
def pages(made: Callable[[str], Any], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    folder = tmp_path_factory.mktemp("pages")

    def write(name: str) -> Path:
        path = folder / f"{name.replace(' ', '-').replace(',', '')}.html"
        if not path.exists():
            result, X, y = made(name)
            names: dict[str, Any] = (
                {
                    "feature_names": HOSTILE[:3],
                    "class_names": HOSTILE[1:],
                    "title": HOSTILE[0] * 3,
                    "command": HOSTILE[2],
                }
                if name == "three classes"
                else {}
            )
            extremal.report(result, X, y, path, **names)
        return path

    return write


@pytest.mark.parametrize("name", ["curve", "two classes", "three classes", "flow, three rows"])
def test_page_in_a_browser(browser: Any, pages: Callable[[str], Path], name: str) -> None:
    opened(browser, pages(name))
    assert severe(browser) == []
    assert browser.execute_script("return performance.getEntriesByType('resource').map(e => e.name)") == []
    assert browser.execute_script("return window.pwned === undefined")
    count = browser.execute_script("return document.querySelectorAll('.plot').length")
    drawn = "return [...document.querySelectorAll('.plot')].filter(p => p.querySelector('svg.main-svg, canvas')).length"
    assert browser.execute_script(drawn) == count > 0
    for width in (1280, 400):
        resize(browser, width)
        until(lambda: browser.execute_script(OVERFLOW) <= 0, 5)
        wide = browser.execute_script(
            "return [...document.querySelectorAll('.plot')].filter(p => p.querySelector('.svg-container') && "
            "p.querySelector('.svg-container').getBoundingClientRect().right > innerWidth).length"
        )
        assert wide == 0
    assert severe(browser) == []


def test_slider_moves_all_figures_by_keyboard_and_play_runs(browser: Any, pages: Callable[[str], Path]) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    opened(browser, pages("flow, three rows in the plane"))
    traces = {0: 2, 1: 2, 2: 0}  # the ellipsoid's and the arrangement's neurons, the multiplier's bars
    plane, before = values(browser, 0, 4), {k: values(browser, k, trace) for k, trace in traces.items()}
    slider, label = (
        browser.find_element(By.ID, "time-0"),
        "return document.querySelector('output[for=time-1]').textContent",
    )
    last = browser.execute_script(label)
    slider.send_keys(Keys.HOME)
    assert slider.get_attribute("value") == "0"
    assert browser.execute_script(label) != last
    assert slider.get_attribute("aria-valuetext") == browser.execute_script(label)
    for k, trace in traces.items():
        browser.execute_script("document.getElementById('plot-' + arguments[0]).scrollIntoView()", k)
        until(lambda k=k, trace=trace: values(browser, k, trace) != before[k])
    assert values(browser, 0, 4) != plane
    slider.send_keys(Keys.ARROW_RIGHT)
    assert slider.get_attribute("value") == "1"
    last_figure = browser.find_element(By.ID, "plot-3")
    browser.execute_script("arguments[0].scrollIntoView()", last_figure)  # the figures in space are out of sight
    play = browser.find_elements(By.CSS_SELECTOR, "button.play")[2]
    play.click()
    until(lambda: int(slider.get_attribute("value")) >= 3)
    play.click()
    stopped = slider.get_attribute("value")
    time.sleep(0.3)
    assert slider.get_attribute("value") == stopped
    slider.send_keys(Keys.END)
    until(lambda: values(browser, 0, 2) == before[0])
    assert severe(browser) == []


def test_camera_turns_and_stays_when_time_moves(browser: Any, pages: Callable[[str], Path]) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    opened(browser, pages("flow, three rows in the plane"))
    eye = "const e = document.getElementById('plot-0')._fullLayout.scene._scene.getCamera().eye; return [e.x, e.y, e.z]"
    before = browser.execute_script(eye)
    scene = browser.find_element(By.CSS_SELECTOR, "#plot-0 canvas")
    ActionChains(browser).click_and_hold(scene).move_by_offset(80, 20).move_by_offset(40, 10).release().perform()
    until(lambda: np.abs(np.subtract(browser.execute_script(eye), before)).max() > 0.05)
    turned = settled(lambda: browser.execute_script(eye))
    data = values(browser, 0, 2)
    browser.find_element(By.ID, "time-0").send_keys(Keys.HOME)
    until(lambda: values(browser, 0, 2) != data)
    assert browser.execute_script(eye) == pytest.approx(turned, abs=1e-6)


def test_menu_table_copy_and_dark(browser: Any, pages: Callable[[str], Path]) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.select import Select

    opened(browser, pages("slices"))
    menu = Select(browser.find_element(By.ID, "choice-0"))
    before, data = browser.execute_script(TITLES), values(browser, 0, 1)
    menu.select_by_index(len(menu.options) - 1)
    until(lambda: browser.execute_script(TITLES) != before)
    assert values(browser, 0, 1) != data

    column = "return [...document.querySelectorAll('#table-0 tbody tr')].map(r => Number(r.cells[1].dataset.value))"
    head = browser.find_elements(By.CSS_SELECTOR, "#table-0 thead button")[1]
    head.click()
    ascending = browser.execute_script(column)
    assert ascending == sorted(ascending)
    head.click()
    assert browser.execute_script(column) == sorted(ascending, reverse=True)
    assert browser.execute_script("return document.querySelectorAll('#table-0 th')[1].ariaSort") == "descending"
    assert len(ascending) > 1

    shown = "return [...document.querySelectorAll('#table-0 tbody tr')].filter(r => !r.hidden).length"
    word = browser.find_element(By.CSS_SELECTOR, "#table-0 tbody td:nth-child(3)").text
    search = browser.find_element(By.ID, "table-0-search")
    search.send_keys(word)
    assert browser.execute_script(shown) == 1
    search.clear()
    search.send_keys("nothing like this")
    assert browser.execute_script(shown) == 0

    button = browser.find_element(By.CSS_SELECTOR, "button[data-copy=bibtex]")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", button)
    button.click()
    until(lambda: button.text == "Copied", 5)

    font = "return document.getElementById('plot-0')._fullLayout.font.color"
    light = browser.execute_script(font)
    features = [{"name": "prefers-color-scheme", "value": "dark"}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    until(lambda: browser.execute_script(font) != light, 10)
    assert contrast(browser.execute_script(font), "#1a1f26") >= 4.5
    assert severe(browser) == []


def test_notebook_frame_and_repr(made: Callable[[str], Any], tmp_path: Path) -> None:
    result, X, y = made("curve")
    report = extremal.report(result, X, y)
    assert re.fullmatch(r"Report\('.*', [12]\.\d MB\)", repr(report))
    frame = Outline(report._repr_html_())
    assert frame.tags == ["iframe"]
    assert report.save(tmp_path / "x.html").read_text(encoding="utf-8") == report.html
