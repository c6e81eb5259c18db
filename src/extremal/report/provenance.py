"""Where a report comes from: the call, the versions, the data."""

from __future__ import annotations

import platform
from importlib import metadata

import numpy as np

from extremal.conventions import WeightDecay
from extremal.judgement import Judgement
from extremal.losses import LOSSES, bind
from extremal.report.subject import Subject
from extremal.verify.statement import fingerprint

_VERSIONS = ("extremal", "numpy", "scipy", "clarabel", "numba", "scikit-learn", "plotly")


def call_of(subject: Subject, random_state: int | None) -> str:
    """The Python call that makes the result, as far as the result knows it."""
    seed = {} if random_state is None else {"random_state": random_state}
    if subject.flow is not None:
        run = subject.flow.trajectory
        options = {
            "width": run.ratios.shape[1],
            "loss": run.loss,
            "method": run.method,
            "bias": _bias(run.bias),
            **seed,
        }
        return _call("flow", "X, y", options)
    certificate, network = subject.certificate, subject.network
    assert certificate is not None
    options = {"beta": certificate.beta, "loss": certificate.loss, **seed}
    tol = {} if certificate.tol == 1e-6 else {"tol": certificate.tol}
    weighted = "  # with the sample_weight that was given then" if _is_weighted(subject) else ""
    if subject.task == "certify":
        if isinstance(certificate, Judgement) and certificate.decay != _uniform(certificate.decay):
            options = {"decay": certificate.decay, "loss": certificate.loss, **seed}
        return _call("certify", "network, X, y", options | tol) + weighted
    model = {"bias": _bias(network.bias), "intercept": bool(network.intercept.any())} if network is not None else {}
    return _call("fit", "X, y", options | model | tol) + weighted


def _is_weighted(subject: Subject) -> bool:
    """Whether the objective is that of a loss whose samples do not all count once: results do not keep the weights."""
    certificate, network = subject.certificate, subject.network
    if certificate is None or network is None or certificate.loss not in LOSSES:
        return False
    y = subject.y[:, 0] if subject.y.shape[1] == 1 else subject.y
    if subject.loss == "softmax":
        y = np.eye(len(subject.classes))[y]
    penalty = certificate.beta * network.penalty()
    if isinstance(certificate, Judgement):
        penalty = certificate.decay.penalty(network)
    value = bind(certificate.loss, y).value(subject.outputs) + penalty
    return not np.isclose(value, certificate.primal, rtol=1e-6)


def _uniform(decay: WeightDecay) -> WeightDecay:
    """The penalty that beta= alone stands for."""
    bias = None if decay.hidden_bias is None else decay.beta
    return WeightDecay(decay.beta, decay.beta, bias, decay.output_bias or None)


def _bias(bias: bool) -> str:
    return "penalized" if bias else "none"


def _call(name: str, data: str, options: dict[str, object]) -> str:
    said = [f"{key}={_code(value)}" for key, value in options.items()]
    return f"extremal.{name}({', '.join([data, *said])})"


def _code(value: object) -> str:
    return f"extremal.{value!r}" if isinstance(value, WeightDecay) else repr(value)


def versions() -> dict[str, str]:
    """The versions of what took part."""
    found = {"Python": platform.python_version()}
    for name in _VERSIONS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return {**found, "platform": platform.platform()}


def hashes(subject: Subject) -> dict[str, str]:
    """SHA-256 of X and y: of their shapes and their entries as little-endian doubles, as in a proof file."""
    return {"X": fingerprint(subject.X), "y": fingerprint(subject.given)}
