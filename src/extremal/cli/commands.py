"""What the commands do: read, hand over to the library, report."""

from __future__ import annotations

import csv
import platform
import time
import warnings
from importlib import metadata
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from extremal.cli.model import Model, write
from extremal.cli.report import Report, Versions
from extremal.cli.table import Table

_FEW_VALUES = 10
_PEERS = ("numpy", "scipy", "clarabel", "numba", "scikit-learn", "click", "rich", "matplotlib")


def fit(data: str, *, quiet: bool, **options: Any) -> Report:
    """Train on a CSV file, save what was asked for, and report."""
    if options["history"]:
        _check_picture(options["history"])
    table = Table.read(data).without(options["drop"])
    target = table.target(options["target"])
    features = [column for column in table.columns if column != target]
    if options["drop_missing"]:
        table = table.without_missing(table.columns)
    X = table.numbers(features)
    y, is_classes = _target(table, target, options)
    notes = [] if is_classes else _hint(y, target)

    centre, scale = scaling(X, options["standardize"])
    target_centre, target_scale = (0.0, 1.0) if is_classes else target_scaling(y, options["standardize"])
    scaled = y if is_classes else (y - target_centre) / target_scale
    start = time.perf_counter()
    estimator = _trained(_estimator(is_classes, options), (X - centre) / scale, scaled, quiet, options)
    certificate = estimator.certificate_
    if options["proof"]:
        numbers = np.searchsorted(estimator.classes_, y).astype(np.float64) if is_classes else scaled
        certificate = _with_proof(certificate, estimator.network_, (X - centre) / scale, numbers, options)
    seconds = time.perf_counter() - start

    model = Model(
        network=estimator.network_,
        features=np.array(features),
        target=target,
        loss=estimator.certificate_.loss,
        alpha=float(getattr(estimator, "alpha_", estimator.alpha if not options["cv"] else 0.0)),
        intercept=options["intercept"],
        centre=centre,
        scale=scale,
        target_centre=target_centre,
        target_scale=target_scale,
        classes=estimator.classes_ if is_classes else np.array([]),
    )
    if options["out"]:
        write(model, options["out"], penalty=certificate.beta)
    if options["history"]:
        _draw(estimator.result_, options["history"])
    training = {
        ("accuracy" if is_classes else "R2") + " on these rows": float(estimator.score((X - centre) / scale, scaled))
        if len(y) > 1
        else float("nan")
    }
    if options["cv"]:
        training[("accuracy" if is_classes else "R2") + ", five folds"] = estimator.best_score_
    return Report(
        table=table,
        model=model,
        certificate=certificate,
        seconds=seconds,
        scores=training,
        saved=options["out"],
        proof=save_proof(certificate, options["proof"]),
        notes=(*notes, *proof_notes(certificate, options)),
    )


def predict(path: str, data: str, stream: TextIO) -> None:
    """Write the predictions for a CSV file, under the name of the target."""
    model = Model.load(path)
    predictions = model.predict(model.inputs(Table.read(data)))
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([model.target])
    writer.writerows([value] for value in predictions.tolist())


def info() -> Versions:
    """The versions of everything involved."""
    versions = {"extremal": metadata.version("extremal"), "python": platform.python_version()}
    for name in _PEERS:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return Versions({**versions, "platform": platform.platform()})


def _with_proof(certificate: Any, network: Any, X: np.ndarray, y: np.ndarray, options: dict[str, Any]) -> Any:
    import extremal

    return extremal.with_proof(
        certificate, network, X, y, intercept=options["intercept"], time_limit=options["time_limit"]
    )


def save_proof(certificate: Any, path: str | None) -> str | None:
    """Write the certificate with its proof if that was asked for; the path if it was written."""
    if path is None or certificate.proof is None:
        return None
    certificate.save(path, proof=True)
    return path


def proof_notes(certificate: Any, options: dict[str, Any]) -> list[str]:
    if options["proof"] is not None and certificate.proof is None:
        return ["interrupted before there was a proof; the gap shown is that of the search"]
    return [f"the proof {certificate.shortfall}"] if certificate.shortfall else []


def _target(table: Table, target: str, options: dict[str, Any]) -> tuple[np.ndarray, bool]:
    """The target column, as numbers or as words, and whether it holds classes."""
    numeric = table.is_numeric(target)
    is_classes = options["classes"] or not numeric or options["loss"] in ("logistic", "squared_hinge")
    if is_classes and options["loss"] in ("squared", "huber"):
        raise ValueError(f"column {target!r} holds words, and loss {options['loss']!r} is for numbers")
    table.refuse_missing([target])
    return (table.numbers([target])[:, 0] if numeric else table.text(target)), is_classes


def _hint(y: np.ndarray, target: str) -> list[str]:
    values = np.unique(y)
    if len(values) == 1:
        return [f"{target!r} has the same value in every row"]
    if len(values) > _FEW_VALUES or np.any(values != np.round(values)):
        return []
    return [f"{target!r} has only {len(values)} different values; --classes trains a classifier for them"]


def scaling(X: np.ndarray, standardize: bool) -> tuple[np.ndarray, np.ndarray]:
    """The mean and the standard deviation of every column; a constant column is left as zeros."""
    if not standardize:
        return np.zeros(X.shape[1]), np.ones(X.shape[1])
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(X)
    return scaler.mean_, scaler.scale_


def target_scaling(y: np.ndarray, standardize: bool) -> tuple[float, float]:
    centre, scale = scaling(y[:, None], standardize)
    return float(centre[0]), float(scale[0])


def _estimator(is_classes: bool, options: dict[str, Any]) -> Any:
    """The unfitted estimator that the options ask for."""
    import extremal

    kind = ("ReLUClassifier" if is_classes else "ReLURegressor") + ("CV" if options["cv"] else "")
    given = {"loss": options["loss"], "alpha": options["alpha"], "n_jobs": options["jobs"]}
    return getattr(extremal, kind)(
        bias=options["bias"],
        fit_intercept=options["intercept"],
        tol=options["tol"],
        time_limit=options["time_limit"],
        random_state=options["seed"],
        **{name: value for name, value in given.items() if value is not None},
    )


def _trained(estimator: Any, X: np.ndarray, y: np.ndarray, quiet: bool, options: dict[str, Any]) -> Any:
    from sklearn.exceptions import ConvergenceWarning

    from extremal.cli.screen import ProgressLine

    with ProgressLine(quiet, "choosing alpha on five folds" if options["cv"] else "starting") as line:
        estimator.set_params(verbose=line.show)
        with warnings.catch_warnings():
            # the report has the status and the gap
            warnings.simplefilter("ignore", ConvergenceWarning)
            return estimator.fit(X, y)


def _check_picture(path: str) -> None:
    """Refuse a kind of picture that cannot be written before the work is done, not after."""
    from matplotlib.backend_bases import FigureCanvasBase

    kind = Path(path).suffix.removeprefix(".")
    if kind and kind not in FigureCanvasBase.get_supported_filetypes():
        raise ValueError(f"there are no pictures of the kind .{kind}; --history takes .png, .svg, .pdf and others")


def _draw(result: Any, path: str) -> None:
    from matplotlib.figure import Figure

    from extremal import plotting

    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    plotting.history(result, ax=figure.add_subplot())
    figure.savefig(path, dpi=150)
