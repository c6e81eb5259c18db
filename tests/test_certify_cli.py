"""`extremal certify` for networks of other libraries, as a user types it."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from extremal import Network
from extremal.cli import main
from extremal.cli.model import Model
from extremal.cli.model import write as write_model
from extremal.interop import load, save

SECONDS = ("--time-limit", 2)


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def certified(*arguments):
    result = run("certify", *arguments, *SECONDS, "--json")
    assert result.exit_code in (0, 3), result.output
    return json.loads(result.stdout)


def write(path, header, columns):
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([header, *zip(*columns, strict=True)])
    return path


rng = np.random.default_rng(0)
X = rng.normal(loc=1, scale=[1, 3], size=(24, 2))
y = np.abs(X[:, 0]) + X[:, 1] + 5
words = np.where(X[:, 0] > 1, "yes", "no")
three = np.array(["c", "a", "b"])[(X[:, :1] > [0.5, 1.5]).sum(axis=1)]


def net(outputs=1, bias=True, intercept=True):
    generator = np.random.default_rng(outputs)
    shift = generator.normal(size=outputs) * intercept
    return Network(generator.normal(size=(2 + bias, 4)), generator.normal(size=(4, outputs)), shift, bias=bias)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write(tmp_path_factory.mktemp("data") / "house.csv", ["a", "b", "price"], [X[:, 0], X[:, 1], y])


@pytest.fixture(scope="module")
def flowers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    return {
        2: write(folder / "two.csv", ["a", "b", "kind"], [X[:, 0], X[:, 1], words]),
        3: write(folder / "three.csv", ["a", "b", "kind"], [X[:, 0], X[:, 1], three]),
    }


def parts(network):
    """|W|^2 + |A|^2, |b|^2 and |c|^2."""
    weights, biases = network.hidden[:2], network.hidden[2:]
    return (weights**2).sum() + (network.output**2).sum(), (biases**2).sum(), (network.intercept**2).sum()


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".pt", ".onnx"])
@pytest.mark.parametrize("biases", ["hidden", "all", "none", None])
def test_objectives_are_what_the_options_say(data, tmp_path, suffix, biases):
    path = tmp_path / f"net{suffix}"
    save(net(), path, **({"dtype": np.float64} if suffix == ".onnx" else {}))
    weights, hidden, output = parts(net())
    meant = biases or {".npz": "hidden", ".onnx": "hidden"}.get(suffix, "all")
    penalised = weights + {"hidden": hidden, "all": hidden + output, "none": 0}[meant]
    squares = ((net().predict(X)[:, 0] - y) ** 2).sum()
    options = [] if biases is None else ["--biases", biases]
    report = certified(path, data, "--beta", 0.7, *options)
    assert report["objective"] == pytest.approx(squares / 2 + 0.35 * penalised, rel=1e-10)
    assert report["best"] < report["objective"]
    assert report["bound"] <= report["best"]
    assert report["verdict"].startswith("your network: ")
    assert "improved" not in report["verdict"]
    assert sum(report["split"].values()) == pytest.approx(report["objective"] - report["bound"], rel=1e-9)
    if biases == "all":
        report = certified(path, data, "--alpha", 0.7, "--loss", "mse", *options)
        assert report["objective"] == pytest.approx(squares / len(y) + 0.35 * penalised, rel=1e-10)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("outputs", [1, 3])
def test_objectives_of_classes(flowers, tmp_path, outputs, bias):
    network = net(outputs, bias)
    save(network, tmp_path / "net.npz")
    F = network.predict(X)
    if outputs == 1:
        loss = np.logaddexp(0, -F[:, 0] * np.where(words == "yes", 1, -1)).sum()
    else:
        loss = sum(np.logaddexp.reduce(F, axis=1) - F[range(len(F)), np.searchsorted(["a", "b", "c"], three)])
    weights, hidden, _ = parts(network)
    report = certified(tmp_path / "net.npz", flowers[max(outputs, 2)], "--beta", 0.5)
    assert report["objective"] == pytest.approx(loss + 0.25 * (weights + hidden), rel=1e-10)
    assert report["loss"] == ("logistic" if outputs == 1 else "softmax")
    assert report["classes"] == (["no", "yes"] if outputs == 1 else ["a", "b", "c"])


def test_standardised_columns(data, tmp_path):
    save(net(), tmp_path / "net.npz")
    report = certified(tmp_path / "net.npz", data, "--beta", 0.5, "--standardize")
    inputs, target = (X - X.mean(axis=0)) / X.std(axis=0), (y - y.mean()) / y.std()
    assert report["objective"] == pytest.approx(net().objective(inputs, target, beta=0.5), rel=1e-10)


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".pt", ".onnx", ".skops"])
def test_the_better_network_is_saved(data, tmp_path, suffix):
    save(net(), tmp_path / "net.npz")
    better = tmp_path / f"better{suffix}"
    result = run("certify", tmp_path / "net.npz", data, "--beta", 0.5, *SECONDS, "--improved", better)
    assert result.exit_code in (0, 3), result.output
    assert result.output.startswith("your network: ")
    assert f"here it is: {better}" in result.output.replace("\n", "")
    for word in ("balancing", "stationarity", "merging", "global search", "still open", "best network found"):
        assert word in result.output
    found = load(better).network.objective(X, y, beta=0.5)
    report = certified(tmp_path / "net.npz", data, "--beta", 0.5)
    tolerance = 1e-5 if suffix == ".onnx" else 1e-9  # float32
    assert found == pytest.approx(report["best"], rel=1e-4)
    assert found >= report["bound"] * (1 - tolerance)
    assert found < report["objective"]


def test_models_of_fit_stay_models(data, flowers, tmp_path):
    for path, name in ((data, "price"), (flowers[3], "kind")):
        model, better = tmp_path / "model.npz", tmp_path / "better.npz"
        assert run("fit", path, "--alpha", 0.05, "--out", model).exit_code == 0
        weak = Model.load(str(model))
        save_worse(weak, model)
        report = certified(model, path, "--improved", better)
        assert report["best"] < report["objective"]
        again = certified(better, path)
        assert again["target"] == name
        assert again["objective"] == pytest.approx(report["best"], rel=1e-9)
        assert run("predict", better, path).exit_code == 0


def save_worse(model, path):
    """The same model with unbalanced layers."""
    network = model.network
    worse = Network(network.hidden * 2, network.output / 2, network.intercept, bias=network.bias)
    parts = {name: getattr(model, name) for name in ("features", "target", "loss", "alpha", "intercept", "centre")}
    parts |= {name: getattr(model, name) for name in ("scale", "target_centre", "target_scale", "classes")}
    Model(network=worse, **parts).save(str(path))


def test_models_in_the_users_units(data, flowers, tmp_path):
    """`fit --out` writes for what the suffix names, and the file predicts as the model does."""
    onnxruntime = pytest.importorskip("onnxruntime")
    import pandas
    from skops.io import load as load_skops

    for path in (data, flowers[2], flowers[3]):
        assert run("fit", path, "--alpha", 0.01, "--out", tmp_path / "model.npz").exit_code == 0
        model = Model.load(str(tmp_path / "model.npz"))
        for suffix in ("onnx", "skops", "pt"):
            write_model(model, str(tmp_path / f"model.{suffix}"), penalty=0.3)
        expected = model.predict((X - model.centre) / model.scale)
        session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        found = dict(zip(names, session.run(None, {"x": X.astype(np.float32)}), strict=True))
        predicted = load_skops(tmp_path / "model.skops").predict(pandas.DataFrame(X, columns=["a", "b"]))
        if model.classes.size:
            assert found["label"].tolist() == predicted.tolist() == expected.tolist()
        else:
            np.testing.assert_allclose(found["output"][:, 0], expected, rtol=1e-5)
            np.testing.assert_allclose(predicted, expected, rtol=1e-10)
        np.testing.assert_allclose(load(tmp_path / "model.pt").network.predict(X), model.network.predict(X), atol=1e-12)
    assert run("fit", data, "--alpha", 0.5, "--out", tmp_path / "direct.onnx").exit_code == 0
    assert load(tmp_path / "direct.onnx").network.n_features == 2


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_models_of_scikit_learn_know_their_penalty(data, flowers, tmp_path):
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from skops.io import dump

    settings = {"hidden_layer_sizes": (4,), "solver": "lbfgs", "alpha": 0.3, "random_state": 0}
    for path, kind, target in ((data, MLPRegressor, y), (flowers[2], MLPClassifier, words)):
        model = kind(**settings).fit(X, target)
        dump(model, tmp_path / "model.skops")
        assert certified(tmp_path / "model.skops", path)["objective"] == pytest.approx(model.loss_, rel=1e-10)
        # its alpha is --beta
        report = certified(tmp_path / "model.skops", path, "--beta", 0.3)
        assert report["objective"] == pytest.approx(24 * model.loss_, rel=1e-10)


def test_whole_modules_of_pytorch(data, tmp_path):
    torch = pytest.importorskip("torch")
    pytest.importorskip("extremal.interop.torch")
    module = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU(), torch.nn.Linear(3, 1)).double()
    torch.save(module, tmp_path / "whole.pt")
    torch.save(module.state_dict(), tmp_path / "state.pt")
    whole, state = (certified(tmp_path / f"{name}.pt", data, "--alpha", 0.1) for name in ("whole", "state"))
    assert whole["objective"] == state["objective"]
    with torch.no_grad():
        squares = ((module(torch.tensor(X))[:, 0] - torch.tensor(y)) ** 2).mean() / 2
        expected = squares + 0.05 * sum((part**2).sum() for part in module.parameters())
    assert whole["objective"] == pytest.approx(float(expected), rel=1e-10)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_class_that_does_not_occur(tmp_path):
    from sklearn.neural_network import MLPClassifier
    from skops.io import dump

    model = MLPClassifier(hidden_layer_sizes=(4,), solver="lbfgs", alpha=0.3, random_state=0).fit(X, three)
    dump(model, tmp_path / "model.skops")
    few = three != "c"
    path = write(tmp_path / "few.csv", ["a", "b", "kind"], [X[few, 0], X[few, 1], three[few]])
    report = certified(tmp_path / "model.skops", path, "--beta", 0.3, "--biases", "all")
    F = load(tmp_path / "model.skops").network.predict(X[few])
    loss = (np.logaddexp.reduce(F, axis=1) - F[range(len(F)), np.searchsorted(["a", "b", "c"], three[few])]).sum()
    penalty = sum(parts(load(tmp_path / "model.skops").network))
    assert report["objective"] == pytest.approx(loss + 0.15 * penalty, rel=1e-10)


def test_a_proof_of_a_plain_penalty(data, tmp_path):
    save(net(), tmp_path / "net.npz")
    proof = tmp_path / "proof.npz"
    assert run("certify", tmp_path / "net.npz", data, "--beta", 5, *SECONDS, "--proof", proof).exit_code in (0, 3)
    assert run("verify", proof, data).exit_code == 0


@pytest.mark.parametrize(
    ("network", "table", "options", "message"),
    [
        (net(), "house", [], "give --beta for loss summed over the rows"),
        (net(), "house", ["--beta", 1, "--drop", "a"], "reads 2 columns, and house.csv has 1 besides the target: b"),
        (net(3), "house", ["--beta", 1], "has 24 classes, and the network has 3 outputs"),
        (net(), "three", ["--beta", 1], "has 3 classes, and the network has 1 output:"),
        (net(), "two", ["--beta", 1, "--loss", "mse"], "is for numbers, and 'kind' holds classes"),
        (net(), "house", ["--beta", 1, "--improved", "better.h5"], "a network is written to .npz"),
        (net(), "house", ["--beta", 1, "--target", "cost"], "no column 'cost'"),
    ],
)
def test_messages(data, flowers, tmp_path, network, table, options, message):
    save(network, tmp_path / "net.npz")
    path = {"house": data, "two": flowers[2], "three": flowers[3]}[table]
    result = run("certify", tmp_path / "net.npz", path, *options)
    assert result.exit_code == 1
    assert message in result.stderr


def test_models_of_fit_are_not_described_twice(data, tmp_path):
    model = tmp_path / "model.npz"
    assert run("fit", data, "--alpha", 0.5, "--out", model).exit_code == 0
    for option in (["--loss", "huber"], ["--biases", "all"], ["--standardize"], ["--classes"]):
        result = run("certify", model, data, *option)
        assert result.exit_code == 1
        assert f"{option[0]} is for models of other libraries; model.npz says it itself" in result.stderr


def test_a_missing_package_is_one_line(data, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    Path(tmp_path / "net.onnx").write_bytes(b"not empty")
    result = run("certify", tmp_path / "net.onnx", data, "--beta", 1)
    assert result.exit_code == 1
    assert "pip install 'extremal[export]'" in result.stderr
