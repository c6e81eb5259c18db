"""Pictures hold the right data."""

import matplotlib

matplotlib.use("Agg")

import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.figure import Figure

import extremal
from extremal import plotting
from extremal.network import Network


@pytest.fixture
def ax():
    return Figure().add_subplot()


@pytest.fixture
def hat():
    """A network of one feature with kinks at -1, 0 and 1; the hat function."""
    hidden = np.array([[1.0, 1.0, 1.0], [1.0, 0.0, -1.0]])
    return Network(hidden, np.array([1.0, -2.0, 1.0]), bias=True)


def lines(ax, label):
    return [line for line in ax.get_lines() if line.get_label() == label]


def test_history_shows_objective_above_bound(ax):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(30, 2))
    result = extremal.fit(X, np.abs(X[:, 0]), beta=1.0)
    plotting.history(result, ax)
    (objective,), (bound,) = lines(ax, "objective"), lines(ax, "proven lower bound")
    above, below = objective.get_ydata(), bound.get_ydata()
    assert np.all(above >= 0)
    assert np.all(below <= 0)
    assert above[-1] == 0
    assert below[-1] == pytest.approx(-result.certificate.gap)
    assert above[0] == pytest.approx(result.history[0].objective / result.certificate.primal - 1)
    assert np.all(np.diff(objective.get_xdata()) >= 0)
    assert f"{result.network.width} neurons" in ax.get_title()


def test_kinks(hat):
    np.testing.assert_allclose(plotting.kinks_1d(hat), [-1, 0, 1])
    np.testing.assert_allclose(plotting.kinks_1d(Network(np.array([[2.0, -1.0]]), np.ones(2))), [0])


def test_fit_1d_draws_the_function_and_its_kinks(ax, hat):
    x = np.linspace(-2, 0.5, 11)
    plotting.fit_1d(hat, x[:, None], np.zeros(11), ax)
    (curve,), (kinks,) = lines(ax, "f(x)"), lines(ax, "kinks")
    grid, values = curve.get_data()
    np.testing.assert_allclose(values, hat.predict(grid[:, None])[:, 0])
    assert grid[0] <= -2
    assert grid[-1] >= 0.5
    np.testing.assert_allclose(kinks.get_xdata(), [-1, 0])  # the third lies outside the picture


def test_fit_1d_of_a_classifier_shows_probabilities(ax):
    x = np.linspace(-1, 1, 20)[:, None]
    model = extremal.ReLUClassifier().fit(x, np.where(x[:, 0] > 0, "up", "down"))
    plotting.fit_1d(model, x, np.where(x[:, 0] > 0, "up", "down"), ax)
    (curve,) = lines(ax, "probability of up")
    grid, values = curve.get_data()
    np.testing.assert_allclose(values, model.predict_proba(grid[:, None])[:, 1])


def test_fit_2d_draws_a_line_for_every_neuron(ax):
    network = Network(np.array([[1.0, 0.0], [0.0, 2.0], [0.5, -1.0]]), np.array([1.0, -1.0]), bias=True)
    X = np.random.default_rng(0).uniform(-1, 1, size=(25, 2))
    plotting.fit_2d(network, X, network.predict(X)[:, 0], ax)
    first, second = (line for line in ax.get_lines())
    assert first.get_xy1()[0] == pytest.approx(-0.5)  # x = -1/2
    assert second.get_xy1()[1] == pytest.approx(0.5)  # y = 1/2
    (points,) = (c for c in ax.collections if len(c.get_offsets()) == 25)
    np.testing.assert_allclose(points.get_offsets(), X)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # the time is short on purpose
def test_fit_2d_of_a_classifier_has_a_legend_of_classes(ax):
    X = np.random.default_rng(0).normal(size=(40, 2))
    y = (X[:, 0] * X[:, 1] > 0).astype(int) + (X[:, 0] > 1)
    plotting.fit_2d(extremal.ReLUClassifier(time_limit=2).fit(X, y), X, y, ax)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["0", "1", "2"]


def test_axes_are_made_when_none_are_given(hat):
    ax = plotting.fit_1d(hat, np.linspace(-1, 1, 5))
    assert ax in pyplot.gcf().axes
    pyplot.close(ax.figure)


def test_a_network_of_other_features_is_refused(ax, hat):
    with pytest.raises(ValueError, match="2 features"):
        plotting.fit_2d(hat, np.zeros((3, 2)), ax=ax)


def test_a_constant_network_can_be_drawn(ax):
    plotting.fit_2d(Network.zero(2), np.ones((4, 2)), np.zeros(4), ax)
    plotting.fit_1d(Network.zero(1, bias=True), np.ones(4), np.zeros(4), Figure().add_subplot())


def test_the_circle_has_a_sector_for_every_cell(ax):
    X = np.random.default_rng(0).normal(size=(5, 2))
    plotting.arrangement(X, ax)
    patterns = extremal.arrangements(X).patterns
    assert len(ax.patches) == patterns.count == 10
    assert sum(sector.theta2 - sector.theta1 for sector in ax.patches) == pytest.approx(360)
    texts = {text.get_text() for text in ax.texts if text.get_text()}
    assert texts <= {"".join(map(str, row.astype(int))) for row in patterns.unpack()}
    assert len(texts) >= 8
    for sector in ax.patches:
        angles = np.radians([sector.theta1, sector.theta2])
        np.testing.assert_allclose(np.abs(X @ [np.cos(angles), np.sin(angles)]).min(axis=0), 0, atol=1e-9)


def test_the_sphere_shows_great_circles_and_patterns(ax):
    X = np.random.default_rng(0).normal(size=(4, 3))
    plotting.arrangement(X, ax)
    patterns = extremal.arrangements(X).patterns
    assert f"{patterns.count} cells" in ax.get_title()
    for x, line in zip(X, ax.get_lines(), strict=True):
        a, b = line.get_data()
        square = a * a + b * b
        on_sphere = np.array([2 * a, 2 * b, 1 - square]) / (1 + square)
        np.testing.assert_allclose(x @ on_sphere, 0, atol=1e-12)
        assert (square <= 1 + 1e-12).all()
    for text in ax.texts:
        a, b = text.get_position()
        u = np.array([2 * a, 2 * b, 1 - a * a - b * b])
        assert text.get_text() == "".join(map(str, (X @ u > 0).astype(int)))


def test_arrangements_of_other_dimensions_are_refused(ax):
    with pytest.raises(ValueError, match="2 or 3 columns"):
        plotting.arrangement(np.ones((3, 4)), ax)


def test_arrangements_without_hyperplanes_can_be_drawn(ax):
    plotting.arrangement(np.zeros((2, 2)), ax)
    plotting.arrangement(np.zeros((2, 3)), Figure().add_subplot())
    plotting.arrangement([[0.0, 0.0, 1.0]], Figure().add_subplot())
