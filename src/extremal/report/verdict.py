"""The headline of a report: one sentence, a badge, and the numbers behind it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from extremal.certificate import Certificate, Status, relative_gap
from extremal.flow import FlowResult, Verdict
from extremal.judgement import Judgement
from extremal.report.subject import Subject

Tone = Literal["good", "open", "bad"]

_BADGES: dict[Status, tuple[Tone, str]] = {
    Status.OPTIMAL: ("good", "proven optimal"),
    Status.CONVERGED: ("open", "converged, proof open"),
    Status.STALLED: ("open", "stalled"),
    Status.TIME_LIMIT: ("open", "time limit"),
    Status.INTERRUPTED: ("open", "interrupted"),
    Status.NOT_OPTIMAL: ("bad", "not optimal"),
    Status.IMPROVED: ("bad", "not optimal"),
}
_FLOW_BADGES: dict[Verdict, tuple[Tone, str]] = {
    Verdict.GLOBAL: ("good", "global optimum"),
    Verdict.NOT_GLOBAL: ("bad", "not the global optimum"),
    Verdict.UNDECIDED: ("open", "undecided"),
    Verdict.STALLED: ("bad", "stalled"),
    Verdict.IMPOSSIBLE: ("bad", "impossible"),
    Verdict.NOT_CONVERGED: ("open", "not converged"),
    Verdict.POLISH_FAILED: ("open", "no exact limit"),
    Verdict.DIVERGED: ("bad", "diverged"),
}


@dataclass(frozen=True)
class Headline:
    """What the page says first."""

    tone: Tone
    badge: str
    sentence: str


def headline_of(subject: Subject) -> Headline:
    if subject.flow is not None:
        tone, badge = _FLOW_BADGES[subject.flow.verdict]
        return Headline(tone, badge, _as_sentence(subject.flow.sentence))
    certificate = subject.certificate
    assert certificate is not None
    tone, badge = _BADGES[certificate.status]
    if isinstance(certificate, Judgement):
        return Headline(tone, badge, _as_sentence(certificate.sentence.replace("here it is: .improved", "it is below")))
    return Headline(tone, badge, _as_sentence(_sentence(certificate)))


def share(gap: float) -> str:
    """A relative gap as a percentage."""
    return f"{100 * gap:.3g}\u00a0%" if gap >= 1e-4 else f"{100 * gap:.1e}\u00a0%"


def _as_sentence(text: str) -> str:
    return text[:1].upper() + text[1:].rstrip(".") + "."


def _sentence(certificate: Certificate) -> str:
    gap = share(certificate.gap)
    if certificate.status is Status.OPTIMAL:
        return (
            "globally optimal: no two-layer ReLU network of any width has an objective that is lower by more than "
            f"{gap}"
        )
    between = f"between {certificate.dual:.8g} and {certificate.primal:.8g}"
    if certificate.status is Status.NOT_OPTIMAL:
        return f"not optimal: a neuron is known that improves this network; the best possible objective is {between}"
    return f"no two-layer ReLU network of any width can be better by more than {gap}; the best possible is {between}"


def numbers_of(subject: Subject) -> dict[str, str]:
    """Names and values for the table."""
    rows = _of_flow(subject.flow) if subject.flow is not None else _of_certificate(subject.certificate)
    kind = f"{len(subject.classes)} classes" if subject.is_classes else "regression"
    n, d = subject.X.shape
    rows |= {"data": f"{n} rows, {d} feature{'s' * (d > 1)}, {kind}", "loss": subject.loss}
    network = subject.network
    if network is not None:
        bias = "with" if network.bias else "without"
        outputs = f"{network.n_outputs} output{'s' * (network.n_outputs > 1)}"
        rows["network"] = f"{network.width} neuron{'s' * (network.width != 1)} {bias} bias, {outputs}"
        if network.intercept.any():
            rows["output intercept"] = ", ".join(f"{value:.6g}" for value in network.intercept)
    if subject.score is not None:
        name, value = subject.score
        rows[name] = f"{value:.4f}"
    if subject.seconds is not None:
        rows["time"] = f"{subject.seconds:.2f} s"
    return rows


def _of_certificate(certificate: Certificate | None) -> dict[str, str]:
    assert certificate is not None
    rows = {
        "objective of the network": f"{certificate.primal:.10g}",
        "no network can be below": f"{certificate.dual:.10g}",
        "relative gap": f"{certificate.gap:.2e}" + (f" = {share(certificate.gap)}" if certificate.gap >= 1e-4 else ""),
        "asked for": f"{certificate.tol:g}",
        "status": certificate.status.value,
        "penalty β": f"{certificate.beta:.8g}",
        "stationarity residual": f"{certificate.stationarity:.1e}",
        "violation of g(λ) ≤ β at the network": f"{certificate.violation:.1e}",
        "bound found by": certificate.gauge.method,
        "carries a proof for extremal.verify": "yes" if certificate.proof is not None else "no",
    }
    if isinstance(certificate, Judgement):
        better = f"{certificate.improved.width} neurons, objective {certificate.best:.10g}"
        rows = {
            "objective of the network": rows.pop("objective of the network"),
            "better network": better if certificate.is_improved else "none was found",
            **rows,
            "penalty": str(certificate.decay),
        }
        if certificate.is_improved:
            rows["relative gap of the better network"] = share(relative_gap(certificate.best, certificate.dual))
    if certificate.shortfall:
        rows["proof"] = certificate.shortfall
    return rows


def _of_flow(result: FlowResult) -> dict[str, str]:
    run = result.trajectory
    rows = {"½|θ|² at margin 1": f"{result.value:.10g}" if np.isfinite(result.value) else "no margin"}
    if result.lower > 0:
        rows["no network can be below"] = f"{result.lower:.10g}"
    if np.isfinite(result.upper):
        rows["best network known"] = f"{result.upper:.10g}"
    if np.isfinite(result.excess):
        rows["above the bound by"] = share(max(result.excess, 0.0))
    if result.gauge is not None:
        rows["gauge g(λ) of the limit's multiplier"] = f"{result.gauge.lower:.9g} to {result.gauge.upper:.9g}"
    if np.isfinite(result.residual):
        rows["residual of the limit"] = f"{result.residual:.1e}"
    how = "gradient flow" if run.method == "flow" else run.method
    rows |= {
        "run": f"{how} of {run.ratios.shape[1]} neurons, to τ = {run.time[-1]:.4g}",
        "ended because": result.ending.value,
        "events": f"{run.events.size} (neurons that cross or slide along the boundaries of rows)",
    }
    return rows
