"""The course of one flow: on to its limit direction, to a standstill, or until the budget is spent.

The recorded part ends when the smallest margin reaches `COLD`. Beyond it the softmax that makes the multiplier is as
good as a minimum, and what is left are slow exchanges of mass, (|theta|^2)^(|g| - 1) for a neuron of growth |g|. They
are followed at that temperature, with |theta| held and its growth noted, to any |theta|.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

import numpy as np

from extremal.flow.integrate import Flow, StepFailure
from extremal.flow.limit import OUTGROWN, Limit, limit_of, upper_bound


@dataclass(frozen=True)
class Moment:
    """What a run shows of itself: phase, tau, log10 |theta|^2, and the normalised margin.

    That is min q / |theta|^2 of the samples that some neuron sees; it tends to 1 / (2 P) at the limit's value P.
    """

    phase: str
    time: float
    size: float
    margin: float

    def __str__(self) -> str:
        bound = f", 1/2 |theta|^2 at margin 1: {0.5 / self.margin:.6g}" if self.margin > 0 else ""
        return f"{self.phase}: tau = {self.time:.4g}, |theta|^2 = 10^{self.size:.1f}{bound}"


#: Called after every step.
Progress = Callable[[Moment], None]

#: The smallest margin at which the temperature is frozen, and the log |theta|^2 at which the slow motion is given up.
COLD, FARTHEST = 1e4, 5000.0
#: By how much the logarithm of the margin may drift from there, and an offset that only says that nothing is recorded.
WARMER, TRACE = 1.0, 1e-12
#: |theta|^2 grows by this factor between two looks for the limit.
LOOK = 3.0
#: Steps between two looks, which double while the looks show nothing.
FIRST_PATIENCE, LAST_PATIENCE = 10, 320
#: A neuron with this share of the largest mass matters.
MATTERS = 1e-3
#: The gap to the limit: how large it may be at most, and how it has to shrink between two looks if it is above what the
#: softmax leaves at the temperature reached.
NEAR, SHRINKING, SOFT = 0.02, 0.9, 3.0
#: Rates, relative to the largest pull of a row, below which nothing moves any more.
STILL = 1e-7
#: A shrinking neuron with this share of the mass has died when everything else stands still.
NEGLIGIBLE = 1e-16
#: The residual, relative to the targets, at which a network interpolates.
INTERPOLATED = 1e-10


class Ending(Enum):
    """Why a course ended."""

    LIMIT = "the limit direction was found"
    INTERPOLATED = "the network interpolates"
    STALLED = "nothing moves any more"
    MAX_STEPS = "the steps are spent"
    TIME_LIMIT = "the time is spent"
    FARTHEST = "the slow motion did not end"
    INTERRUPTED = "interrupted"
    DIVERGED = "the weights overflowed"
    STEP_FAILURE = "the integrator found no step that is small enough"


@dataclass(frozen=True, eq=False)
class Course:
    """How a flow ended, and the limit that it was last seen near (None before the data were separated)."""

    ending: Ending
    limit: Limit | None
    gap: float
    seconds: float


def follow(
    flow: Flow, *, max_steps: int, time_limit: float, until: float = 0.0, progress: Progress | None = None
) -> Course:
    """Take the flow to its end, and on until 1/2 |theta|^2 = `until`."""
    began = time.monotonic()
    watch = _Watch(flow, began + time_limit)

    def course(ending: Ending) -> Course:
        return Course(ending, watch.limit, watch.gap, time.monotonic() - began)

    try:
        while flow.steps < max_steps:
            flow.advance()
            if progress is not None:
                progress(watch.moment)
            if time.monotonic() - began > time_limit:
                return course(Ending.TIME_LIMIT)
            if flow.loss == "squared" and watch.interpolates():
                return course(Ending.INTERPOLATED)
            if watch.stands_still():
                return course(Ending.STALLED)
            if flow.loss != "squared":
                if watch.found or watch.arrived():
                    watch.found = True
                    if 2 * watch.log_norm >= np.log(2 * max(until, 1e-300)):
                        return course(Ending.LIMIT)
                watch.cool(until)
                if 2 * (flow.offset + watch.log_norm) > FARTHEST:
                    return course(Ending.LIMIT if watch.arrived(patient=False) else Ending.FARTHEST)
        return course(Ending.MAX_STEPS)
    except KeyboardInterrupt:
        return course(Ending.INTERRUPTED)
    except StepFailure:
        return course(Ending.STEP_FAILURE)


class _Watch:
    """What is looked at after every step."""

    def __init__(self, flow: Flow, deadline: float = np.inf) -> None:
        self.flow = flow
        self.deadline, self.look_time = deadline, 0.0
        self.limit: Limit | None = None
        self.gap = np.inf
        self.found = False
        self.next_look, self.next_step, self.patience = -np.inf, 0, FIRST_PATIENCE

    @property
    def log_norm(self) -> float:
        """log |theta|, without the offset."""
        return 0.5 * self.flow.state.log_size

    @property
    def margin(self) -> float:
        """The smallest margin of the samples that some neuron sees."""
        seen = self.flow.acting
        return float((self.flow.y * self.flow.f)[seen].min()) if seen.any() else 0.0

    @property
    def phase(self) -> str:
        """What the flow is doing."""
        if self.flow.offset > 0:
            return "slow exchange"
        if self.margin > 0:
            return "margins grow"
        return "alignment" if self.log_norm < 0 else "separation"

    @property
    def moment(self) -> Moment:
        size = self.log_norm
        log10 = 2 * (self.flow.offset + size) / np.log(10)
        return Moment(self.phase, self.flow.time, log10, self.margin * float(np.exp(-2 * size)))

    def interpolates(self) -> bool:
        return bool(np.abs(self.flow.y - self.flow.f).max() <= INTERPOLATED * np.abs(self.flow.y).max())

    def stands_still(self) -> bool:
        """Whether no neuron grows or turns; those that only shrink, and weigh nothing, are buried first."""
        flow = self.flow
        growth, turning = (rate / self._pull for rate in flow.rates())
        if growth.max(initial=0.0) > STILL or turning[growth > -STILL].max(initial=0.0) > STILL:
            return False
        shrinking = np.flatnonzero((growth < -STILL) & ~flow.dead)
        if np.any(np.abs(flow.state.ratios[shrinking]) != 1.0):
            return False  # they come to zero, or change the sign of b, in finite time
        if not len(shrinking):
            return True
        mass = np.exp(2 * flow.state.log_norms)
        if mass[shrinking].max() < NEGLIGIBLE * mass.max():
            for i in shrinking:
                flow.bury(int(i))
        return False

    @property
    def _pull(self) -> float:
        """What rates are compared with: the residual of the squared loss, which may vanish; else the largest pull."""
        flow = self.flow
        if flow.loss == "squared":
            return max(float(np.abs(flow.y - flow.f).max() / np.abs(flow.y).max()), INTERPOLATED)
        pulls = np.abs(flow.lam) * np.linalg.norm(flow.X, axis=1)
        return float(pulls[flow.acting].max(initial=0.0)) or 1.0

    def arrived(self, patient: bool = True) -> bool:
        """Whether the flow has been seen closing in on the same KKT point twice."""
        flow, size = self.flow, 2 * (self.flow.offset + self.log_norm)
        if self.margin <= 0 or (patient and (size < self.next_look or flow.steps < self.next_step)):
            return False
        began = time.monotonic()
        if began + self.look_time > self.deadline:
            return False
        before, gap_before, self.limit = self.limit, self.gap, limit_of(flow, self.deadline)
        self.look_time = time.monotonic() - began
        found = self.limit.value > 0
        self.gap = upper_bound(flow, self.limit.seen) / self.limit.value - 1 if found else np.inf
        self.patience = FIRST_PATIENCE if found else min(2 * self.patience, LAST_PATIENCE)
        self.next_look, self.next_step = size + np.log(LOOK), flow.steps + self.patience
        soft = SOFT * np.log(len(flow.y) + 1) / self.margin
        closing = -1e-9 <= self.gap <= max(min(NEAR, SHRINKING * gap_before), min(soft, NEAR))
        if before is None or not closing or not abs(before.value / self.limit.value - 1) < 1e-9:
            return False
        if self.limit.failure == OUTGROWN and self.limit.unique and np.all(np.abs(flow.state.ratios) == 1.0):
            self._leap(self.limit)
        return not self.limit.failure

    def _leap(self, limit: Limit) -> None:
        """On to where the first of the neurons that outgrow the others matters.

        While they do not, lam stands still and the mass of a neuron is a power of |theta|^2, its growth the exponent.
        """
        flow = self.flow
        mass = np.exp(2 * flow.state.log_norms)
        rising = (limit.members < 0) & (limit.growth > 1)
        wait = np.log(MATTERS * mass.max() / mass[rising]) / (limit.growth[rising] - 1)
        if wait.min() > 0:
            flow.leap(np.where(limit.members < 0, 0.5 * (limit.growth - 1), 0.0) * wait.min(), wait.min(), limit.value)

    def cool(self, until: float) -> None:
        """Hold the smallest margin near `COLD` from where it has been reached, unless more is to be recorded."""
        flow = self.flow
        recorded = 2 * self.log_norm >= np.log(2 * max(until, 1e-300))
        if not flow.offset and (self.margin < COLD or not recorded):
            return
        if not flow.offset or abs(np.log(max(self.margin, 1e-300) / COLD)) > WARMER:
            flow.shrink(0.5 * np.log(max(self.margin, 1.0) / COLD) or TRACE)
        flow.freeze()
