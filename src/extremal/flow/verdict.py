"""The verdict on a run: where it ended, whether that is the global optimum, and why not if not."""

from __future__ import annotations

import time
from dataclasses import dataclass
from enum import Enum

import numpy as np

from extremal.design import Array, Design
from extremal.flow.course import Course, Ending
from extremal.flow.trajectory import Trajectory
from extremal.gauge import GaugeBounds, GaugeStatus, unscaled_bounds
from extremal.network import Network
from extremal.training.constrained import MinNormResult, MinNormStatus, max_margin, min_norm

#: The proven relative gap at which a limit counts as global: of the exact limit of a separating flow, and of a network
#: that interpolates, whose start leaves a trace.
GLOBAL, GLOBAL_SQUARED = 1e-6, 1e-3
#: A direction violates the dual constraint if it exceeds it by this fraction.
VIOLATION = 1e-8
#: Seconds for the gauge at least, and at most after Ctrl-C.
QUICK = 1.0


class Verdict(Enum):
    """Where a run ended."""

    GLOBAL = "reached the global optimum"
    NOT_GLOBAL = "converged to a stationary direction that is not the global optimum"
    UNDECIDED = "converged to a stationary direction; whether it is the global optimum is not decided"
    STALLED = "stalled"
    IMPOSSIBLE = "no network of any width fits these labels"
    NOT_CONVERGED = "not yet converged"
    POLISH_FAILED = "close to a limit, but no point near it satisfies the optimality conditions"
    DIVERGED = "the steps were too large and the weights overflowed"


@dataclass(frozen=True, eq=False)
class FlowResult:
    """Where a run ended.

    Attributes
    ----------
    verdict : Verdict
    sentence : str
        The verdict with its numbers and reasons.
    network : Network
        The limit, scaled to smallest margin 1 (one neuron for all with the same direction), if one was found; otherwise
        the network at the end of the run, as it is.
    value : float
        Its 1/2 |theta|^2, scaled to smallest margin 1; infinite if it does not separate (interpolate).
    lam : array of shape (n,)
        The multiplier of the limit, y^T lam = value; without a limit the normalised -grad loss at the end.
    gauge : GaugeBounds or None
        What is known of g(lam): the limit is global if g(lam) <= 1, and only then if lam is its only multiplier. Its
        witness is the violating direction.
    lower, upper : float
        The proven interval of P* = min 1/2 |theta|^2 over all networks that separate with margin 1 (interpolate).
    residual : float
        Of the optimality conditions at the limit; NaN without one.
    optimum : MinNormResult or None
        The global optimum, if it was computed or given: a better network where the verdict is NOT_GLOBAL.
    slowest : float
        The largest growth below one: the shares of dying neurons fall like |theta|^-2(1 - growth) or faster.
    trajectory : Trajectory
    evaluations : int
        Right-hand sides (gradients, for the discrete methods).
    seconds : float
        Wall time of the run, without that of the proof.
    ending : Ending
        Why the run ended.
    """

    verdict: Verdict
    sentence: str
    network: Network
    value: float
    lam: Array
    gauge: GaugeBounds | None
    lower: float
    upper: float
    residual: float
    optimum: MinNormResult | None
    slowest: float
    trajectory: Trajectory
    evaluations: int
    seconds: float
    ending: Ending

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C ended the run, or the proof that followed."""
        stopped = self.gauge is not None and self.gauge.status is GaugeStatus.INTERRUPTED
        return stopped or self.ending is Ending.INTERRUPTED

    @property
    def excess(self) -> float:
        """value / lower - 1: by how much the limit is worse than the global optimum, at most."""
        return self.value / self.lower - 1.0 if self.lower > 0 else np.inf

    @property
    def violator(self) -> Array | None:
        """A unit direction u with |lam^T (Xu)_+| > 1, if one is known: a neuron there improves the network."""
        if self.verdict is not Verdict.NOT_GLOBAL or self.gauge is None:
            return None
        return self.gauge.witness

    def __str__(self) -> str:
        last = self.trajectory[len(self.trajectory) - 1]
        rows = [
            ("verdict", self.sentence),
            ("network", str(self.network)),
            ("1/2 |theta|^2", f"{self.value:.10g}"),
            ("no network can be below", f"{self.lower:.10g}"),
        ]
        if self.gauge is not None:
            rows.append(("gauge of lam", f"{self.gauge.lower:.10g} to {self.gauge.upper:.10g}"))
        if np.isfinite(self.residual):
            rows.append(("residual", f"{self.residual:.1e}"))
        rows.append(("run", f"{self.trajectory.method}, {self.trajectory.loss} loss, to tau = {last.time:.4g}"))
        rows.append(("events", str(self.trajectory.events.size)))
        rows.append(("time", f"{self.seconds:.2f} s, {self.evaluations} right-hand sides"))
        return "\n".join(f"{name:<26}{text}" for name, text in rows)


@dataclass(frozen=True, eq=False)
class Evidence:
    """What a verdict is based on, in the units of the user's data."""

    X: Array
    y: Array
    bias: bool
    course: Course
    trajectory: Trajectory
    evaluations: int
    optimum: MinNormResult | None
    proof_time: float
    random_state: int

    @property
    def squared(self) -> bool:
        return self.trajectory.loss == "squared"


def judge(evidence: Evidence) -> FlowResult:
    """The verdict."""
    course, limit = evidence.course, evidence.course.limit
    if course.ending is Ending.LIMIT and limit is not None and limit.seen.all():
        return _limit(evidence)
    if course.ending is Ending.INTERPOLATED:
        return _interpolated(evidence)
    return _without_limit(evidence)


def _limit(evidence: Evidence) -> FlowResult:
    """The limit is a KKT point: the gauge of its multiplier decides."""
    limit = evidence.course.limit
    assert limit is not None
    lam = limit.lam
    root = np.sqrt(limit.masses)
    network = Network(limit.directions.T * root, limit.signs * root, bias=evidence.bias)
    gauge = _gauge(evidence, lam, network.hidden)
    lower, optimum = _rounded_down(evidence.y, lam) / max(gauge.upper, 1.0), evidence.optimum
    if gauge.lower > 1 + VIOLATION and optimum is None and evidence.proof_time > 0:
        optimum = _optimum(evidence)
    if optimum is not None:
        lower = max(lower, optimum.dual_value)
    better = limit.value if optimum is None else min(limit.value, optimum.value)
    violated = gauge.lower > 1 + VIOLATION and (limit.unique or better < limit.value * (1 - GLOBAL))
    if limit.value <= lower * (1 + GLOBAL):
        verdict = Verdict.GLOBAL
        proof = "g(lam) <= 1, " if gauge.upper <= 1 + GLOBAL else ""
        gap = max(1 - lower / limit.value, 0.0)
        sentence = f"{verdict.value} of the max-margin problem: {proof}proven gap {gap:.1e}"
    elif violated:
        verdict = Verdict.NOT_GLOBAL
        sentence = f"{verdict.value}: g(lam) = {gauge.lower:.6g} > 1{_how_much(limit.value, better, lower)}"
    else:
        verdict = Verdict.UNDECIDED
        sentence = f"{verdict.value}: g(lam) <= {gauge.upper:.6g}, so no network is below {lower:.6g}"
    if evidence.trajectory.method != "flow":
        sentence = f"heading for a limit, {100 * evidence.course.gap:.2g} % above it: {sentence}"
    return _result(
        evidence, verdict, sentence, network, limit.value, lam, gauge, lower, better, limit.residual, optimum,
        limit.slowest,
    )  # fmt: skip


def _rounded_down(y: Array, lam: Array) -> float:
    """y^T lam without what its evaluation may have rounded up."""
    return float(y @ lam) * (1 - 1e-14 * len(lam))


def _how_much(value: float, better: float, lower: float) -> str:
    """By how much a better network exists, and can exist at most."""
    most = f"{100 * (value / lower - 1):.3g} %"
    if not better < value:
        return f"; at most {most} worse than the best"
    least = f"{100 * (value / better - 1):.3g} %"
    return f"; {least} worse than the best network" + ("" if least == most else f" found, {most} at most")


def _interpolated(evidence: Evidence) -> FlowResult:
    """A network that interpolates, against the smallest that does."""
    network = evidence.trajectory[len(evidence.trajectory) - 1].state.network(bias=evidence.bias)
    value, lam = network.balance().penalty(), evidence.trajectory.lam[-1]
    value = max(value, 0.5 * float(np.square(network.hidden).sum() + np.square(network.output).sum()))
    optimum = evidence.optimum
    if optimum is None and evidence.proof_time > 0:
        optimum = _optimum(evidence)
    lower = 0.0 if optimum is None else optimum.dual_value
    better = value if optimum is None else min(value, optimum.value)
    if value <= lower * (1 + GLOBAL_SQUARED):
        verdict, text = Verdict.GLOBAL, "interpolates with the smallest norm"
        sentence = f"{text}, to {max(value / lower - 1, 0.0):.1e}: {Verdict.GLOBAL.value}"
    elif better < value * (1 - GLOBAL_SQUARED):
        verdict = Verdict.NOT_GLOBAL
        sentence = f"interpolates, but not with the smallest norm{_how_much(value, better, lower)}"
    else:
        verdict, sentence = Verdict.UNDECIDED, f"interpolates; the smallest norm is at least {lower:.6g}"
    return _result(
        evidence, verdict, sentence, network, value, lam, None, lower, better, np.nan, optimum, 0.0
    )  # fmt: skip


def _without_limit(evidence: Evidence) -> FlowResult:
    """No limit that separates: what is known of P* all the same."""
    course, trajectory, limit = evidence.course, evidence.trajectory, evidence.course.limit
    last = trajectory[len(trajectory) - 1]
    network, lam = last.state.network(bias=evidence.bias), last.lam
    optimum = evidence.optimum
    lower = optimum.dual_value if optimum is not None else _lower_bound(evidence, lam)
    value = float(trajectory.upper_bounds[-1])
    upper = value if optimum is None else min(value, optimum.value)
    residual = np.nan if limit is None else limit.residual
    stuck = _stuck(evidence, last.margins)
    if optimum is not None and optimum.status is MinNormStatus.IMPOSSIBLE:
        verdict, sentence = Verdict.IMPOSSIBLE, f"{Verdict.IMPOSSIBLE.value}: a proof is optimum.lam"
    elif course.ending is Ending.DIVERGED:
        verdict, sentence = Verdict.DIVERGED, Verdict.DIVERGED.value
    elif stuck and course.ending in (Ending.LIMIT, Ending.STALLED):
        verdict, sentence = Verdict.STALLED, f"{Verdict.STALLED.value} {stuck}"
    elif limit is not None and limit.failure and course.gap < 1e-3:
        verdict, sentence = Verdict.POLISH_FAILED, f"{Verdict.POLISH_FAILED.value}: {limit.failure}"
    else:
        interval = f"{lower:.6g} <= P* <= {upper:.6g}" if np.isfinite(upper) else f"{lower:.6g} <= P*"
        verdict = Verdict.NOT_CONVERGED
        sentence = f"{verdict.value} ({course.ending.value}): {interval}"
    slowest = 0.0 if limit is None else limit.slowest
    return _result(
        evidence, verdict, sentence, network, value, lam, None, lower, upper, residual, optimum, slowest
    )  # fmt: skip


def _stuck(evidence: Evidence, margins: Array) -> str:
    """Which samples were left behind; empty if none was."""
    limit = evidence.course.limit
    if evidence.squared:
        return "without interpolating: no neuron moves any more, and the outputs are not the targets"
    if limit is not None and evidence.course.ending is Ending.LIMIT:
        unseen = np.flatnonzero(~limit.seen)
        if len(unseen):
            return f"without separating: no neuron is active on {_rows(unseen)}, and none will ever be"
    wrong = np.flatnonzero(margins <= 0)
    are = "is" if len(wrong) == 1 else "are"
    return f"without separating: nothing moves any more, and {_rows(wrong)} {are} misclassified" if len(wrong) else ""


def _rows(index: Array) -> str:
    shown = ", ".join(str(k) for k in index[:5]) + (", ..." if len(index) > 5 else "")
    return f"row {shown}" if len(index) == 1 else f"{len(index)} rows ({shown})"


def _gauge(evidence: Evidence, lam: Array, near: Array) -> GaugeBounds:
    """g(lam), from the neurons of the limit on."""
    seconds = QUICK if evidence.course.ending is Ending.INTERRUPTED else max(evidence.proof_time, QUICK)
    return unscaled_bounds(
        Design(evidence.X),
        lam[:, None],
        tol=0.1 * GLOBAL,
        deadline=time.monotonic() + seconds,
        rng=np.random.default_rng(evidence.random_state),
        near=near,
    )


def _lower_bound(evidence: Evidence, lam: Array) -> float:
    """y^T lam / g(lam) for the multiplier at the end."""
    if evidence.squared or not np.any(lam):
        return 0.0
    upper = _gauge(evidence, lam, np.zeros((evidence.X.shape[1], 0))).upper
    return _rounded_down(evidence.y, lam) / upper if upper > 0 else 0.0


def _optimum(evidence: Evidence) -> MinNormResult:
    """The global optimum, as far as the time allows."""
    solve = min_norm if evidence.squared else max_margin
    X = evidence.X[:, :-1] if evidence.bias else evidence.X
    kind = "penalized" if evidence.bias else "none"
    return solve(X, evidence.y, bias=kind, time_limit=evidence.proof_time, random_state=evidence.random_state)  # type: ignore[arg-type]


def _result(
    evidence: Evidence,
    verdict: Verdict,
    sentence: str,
    network: Network,
    value: float,
    lam: Array,
    gauge: GaugeBounds | None,
    lower: float,
    upper: float,
    residual: float,
    optimum: MinNormResult | None,
    slowest: float,
) -> FlowResult:
    course = evidence.course
    return FlowResult(
        verdict, sentence, network, value, lam, gauge, lower, upper, residual, optimum, slowest,
        evidence.trajectory, evidence.evaluations, course.seconds, course.ending,
    )  # fmt: skip
