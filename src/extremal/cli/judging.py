"""What `extremal certify` does: read a network of any library, judge it on a CSV file, and save what is better."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from extremal.cli.model import Model, write
from extremal.cli.report import Report
from extremal.cli.table import Table
from extremal.conventions import WeightDecay

if TYPE_CHECKING:
    from extremal.design import Array
    from extremal.interop import Imported
    from extremal.judgement import Judgement
    from extremal.network import Network

#: What describes a model that does not describe itself; models of `extremal fit` do.
DESCRIPTION = ("loss", "classes", "biases", "standardize")
#: Which biases the libraries' usual penalties include, by the file's suffix.
_BIASES = {".pt": "all", ".pth": "all", ".safetensors": "all", ".skops": "none"}
#: How a verdict ends where there is something better, for users of Python.
_HERE = "; here it is: .improved"


def certify(path: str, data: str, **options: Any) -> JudgementReport:
    """Judge a saved model on a CSV file."""
    from extremal.cli.commands import proof_notes, save_proof
    from extremal.judgement import judge

    subject = _own(path, data, options) if Model.is_one(path) else _foreign(path, data, options)
    if options["improved"]:
        subject.check_suffix(options["improved"])
    start = time.perf_counter()
    judgement = judge(
        subject.model.network,
        subject.X,
        subject.y,
        decay=subject.decay,
        loss=subject.model.loss,
        sample_weight=subject.weight,
        tol=options["tol"],
        time_limit=options["time_limit"],
        random_state=options["seed"],
        n_jobs=options["jobs"],
        proof=options["proof"] is not None,
    )
    if options["improved"]:
        subject.save(judgement.improved, options["improved"])
    return JudgementReport(
        table=subject.table,
        model=subject.model,
        certificate=judgement,
        seconds=time.perf_counter() - start,
        proof=save_proof(judgement, options["proof"]),
        notes=tuple(proof_notes(judgement, options)),
        judgement=judgement,
        improved=options["improved"],
    )


@dataclass(frozen=True, eq=False)
class Subject:
    """A network with the training problem that it is judged on.

    Attributes
    ----------
    model : Model
        The network with its columns, units and classes.
    X, y : arrays
        In the network's units.
    decay : WeightDecay
    weight : array of shape (n,)
        Of every sample's loss.
    own : bool
        Whether it is a model of `extremal fit`, which is saved as one.
    """

    table: Table
    model: Model
    X: Array
    y: Array
    decay: WeightDecay
    weight: Array
    own: bool

    def check_suffix(self, path: str) -> None:
        """Refuse a file that cannot be written before the work is done, not after."""
        from extremal.interop.files import WRITABLE

        if Path(path).suffix.lower() not in WRITABLE:
            raise ValueError(f"{path}: a network is written to {', '.join(WRITABLE)}")

    def save(self, network: Network, path: str) -> None:
        """Write another network for the same problem."""
        from extremal.interop import save

        model = replace(self.model, network=network)
        if self.own or Path(path).suffix.lower() in (".onnx", ".skops"):
            write(model, path, penalty=self.decay.beta * len(self.y) / float(self.weight.sum()))
        else:
            save(network, path)


def _own(path: str, data: str, options: dict[str, Any]) -> Subject:
    """A model of `extremal fit`, which says itself what it was trained on."""
    given = [name for name in DESCRIPTION if options[name]]
    if given:
        raise ValueError(f"--{given[0]} is for models of other libraries; {Path(path).name} says it itself")
    model = Model.load(path)
    table = _table(data, options, [*model.features, options["target"] or model.target])
    X, y = model.inputs(table), _targets(model, table, options["target"])
    beta = options["beta"] or (options["alpha"] or model.alpha) * len(y)
    decay = WeightDecay(beta, beta, beta if model.network.bias else None, 0.0 if model.intercept else None)
    return Subject(table, model, X, y, decay, np.ones(len(y)), own=True)


def _foreign(path: str, data: str, options: dict[str, Any]) -> Subject:
    """A network of another library, described by the options as far as its file does not."""
    from extremal.cli.commands import scaling, target_scaling
    from extremal.interop import load

    imported = load(path)
    table = _table(data, options)
    target = table.target(options["target"])
    features = [column for column in table.columns if column != target]
    X = table.numbers(features)
    _check_columns(imported, features, Path(path).name, table.name)
    classes, loss = _task(imported, table, target, options)
    centre, scale = scaling(X, options["standardize"])
    numeric = not classes.size
    units = target_scaling(table.numbers([target])[:, 0], options["standardize"]) if numeric else (0.0, 1.0)
    n = len(table.cells)
    decay, weight = _penalty(imported, n, loss == "mse", Path(path), options)
    model = Model(
        network=imported.network,
        features=np.array(features),
        target=target,
        loss="squared" if loss == "mse" else loss,
        alpha=decay.beta / float(weight.sum()),
        intercept=decay.output_bias is not None,
        centre=centre,
        scale=scale,
        target_centre=units[0],
        target_scale=units[1],
        classes=classes,
    )
    return Subject(table, model, model.inputs(table), _targets(model, table), decay, weight, own=False)


def _targets(model: Model, table: Table, column: str | None = None) -> Array:
    """The targets; a column for every class of the model if the last ones do not occur."""
    y, classes = model.targets(table, column), model.network.n_outputs
    return np.eye(classes)[y.astype(int)] if classes > 1 and y.max() + 1 < classes else y


def _table(data: str, options: dict[str, Any], columns: list[str] | None = None) -> Table:
    table = Table.read(data).without(options["drop"])
    return table.without_missing(columns or table.columns) if options["drop_missing"] else table


def _check_columns(imported: Imported, features: list[str], name: str, data: str) -> None:
    d = imported.network.n_features
    if d != len(features):
        raise ValueError(
            f"{name} reads {d} columns, and {data} has {len(features)} besides the target: {', '.join(features)}; "
            "they are taken in the file's order, and --drop leaves one out"
        )


def _task(imported: Imported, table: Table, target: str, options: dict[str, Any]) -> tuple[np.ndarray, str]:
    """The classes, empty for a regression, and the loss: "mse" for a mean of r^2."""
    table.refuse_missing([target])
    numeric, outputs = table.is_numeric(target), imported.network.n_outputs
    loss = options["loss"] or imported.loss
    if imported.classes is not None:
        classes = imported.classes if imported.classes.dtype.kind in "iuf" else imported.classes.astype(str)
    elif options["classes"] or not numeric or outputs > 1 or loss in ("logistic", "softmax", "squared_hinge"):
        classes = np.unique(table.numbers([target])[:, 0] if numeric else table.text(target))
    else:
        return np.array([]), loss or "squared"
    if outputs != (1 if len(classes) == 2 else len(classes)):
        raise ValueError(
            f"column {target!r} has {len(classes)} classes, and the network has {outputs} output"
            f"{'s' if outputs > 1 else ''}: one for two classes, otherwise one a class"
        )
    if loss in ("squared", "mse", "huber"):
        raise ValueError(f"--loss {loss} is for numbers, and {target!r} holds classes")
    return classes, loss if loss == "squared_hinge" else "logistic" if outputs == 1 else "softmax"


def _penalty(imported: Imported, n: int, mse: bool, path: Path, options: dict[str, Any]) -> tuple[WeightDecay, Array]:
    """The penalty and the weight of every sample's loss: with --alpha of a mean, with --beta of a sum."""
    alpha, beta, network = options["alpha"], options["beta"], imported.network
    factor = alpha or beta
    if factor is None:
        decay = imported.decay_for(n)
        if decay is None:
            raise ValueError(
                f"{path.name} does not say how its weights were penalised; give --beta for loss summed over the rows + "
                "beta/2 |weights|^2, or --alpha for a mean of the loss + alpha/2 |weights|^2"
            )
        return decay, imported.sample_weight(n)
    biases = options["biases"] or _BIASES.get(path.suffix.lower(), "hidden")
    hidden = {"hidden": factor, "all": factor, "none": 0.0}[biases] if network.bias else None
    output = (factor if biases == "all" else 0.0) if network.intercept.any() else None
    weight = (2.0 if mse else 1.0) / (1 if beta else n)
    return WeightDecay(factor, factor, hidden, output), np.full(n, weight)


@dataclass(frozen=True, eq=False, kw_only=True)
class JudgementReport(Report):
    """The verdict on a network, and where its gap comes from."""

    judgement: Judgement
    improved: str | None = None

    @property
    def sentence(self) -> str:
        """The verdict in one line."""
        where = f"; here it is: {self.improved}" if self.improved else "; --improved FILE saves it"
        return self.judgement.sentence.replace(_HERE, where)

    def content(self) -> dict[str, Any]:
        judgement = self.judgement
        return {
            **super().content(),
            "penalty": asdict(judgement.decay),
            "verdict": judgement.sentence.removesuffix(_HERE),
            "best": judgement.best,
            "best_neurons": judgement.improved.width,
            "split": judgement.split,
            "improved": self.improved,
        }

    def rows(self) -> dict[str, str]:
        judgement, total = self.judgement, self.judgement.primal - self.judgement.dual
        rows = super().rows()
        rows = {("penalty" if name == "alpha" else name): value for name, value in rows.items()}
        rows["penalty"] = described(judgement.decay)
        split = {
            "  still open" if name == "open" else f"  {name}": f"{part:<10.4g} ({part / total if total else 0.0:.1%})"
            for name, part in judgement.split.items()
        }
        better = {"best network found": f"{judgement.best:.8g}, {judgement.improved.width} neurons"}
        last: dict[str, str] = {name: rows.pop(name) for name in ("time", "proof") if name in rows}
        return {**rows, **better, "objective - bound": f"{total:.4g}, of which", **split, **last}

    def show(self) -> None:
        """Print the verdict and a table."""
        print(self.sentence)
        super().show()


def described(decay: WeightDecay) -> str:
    """The penalty in words."""
    factors = f"{decay.hidden:.4g}" if decay.hidden == decay.output else f"{decay.hidden:.4g} and {decay.output:.4g}"
    biases = {"hidden": decay.hidden_bias, "output": decay.output_bias}
    words = {name: "penalised" if factor else "free" for name, factor in biases.items() if factor is not None}
    alike = set(words.values())
    parts = [f"biases {alike.pop()}"] if len(alike) == 1 else [f"{name} biases {word}" for name, word in words.items()]
    return "; ".join([f"{factors} / 2 |weights|^2", ", ".join(parts) or "no biases"])
