"""The gradient flow, step by step: smooth stretches by a stiff integrator, and the events between them exactly.

Between events the field is analytic: patterns and sliding sets are fixed, and one Rosenbrock step follows another. A
step ends where the boundary of a neuron meets a row or where a sliding neuron may leave; there `ties.resolve` decides.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.optimize import brentq

from extremal.design import Array
from extremal.flow.crossings import THROUGH, coefficients, crossings, first_root
from extremal.flow.fate import fate
from extremal.flow.field import LOSSES, multipliers, outputs, rosenbrock
from extremal.flow.field import field as field_at
from extremal.flow.lines import Lines
from extremal.flow.sliding import Sliding, Span
from extremal.flow.state import State
from extremal.flow.ties import EDGE, resolve
from extremal.flow.trajectory import EventKind, Recorder

#: The first step, the smallest one, and by how much a step may grow or shrink.
FIRST, SMALLEST, GROW, SHRINK = 1e-2, 1e-14, 5.0, 0.1
#: Tolerance of the outputs' error, weighted by |lam|, relative to that of the directions.
OUTPUTS = 1e4
#: A row is a tie at the start when |x . v| is below this fraction of |x|.
TIE = 1e-14
#: A boundary this far beyond a hyperplane is not on it any more.
LATE = 1e-9
#: Events are at the same moment when they are within this fraction of a step.
TOGETHER = 1e-9
#: A boundary that comes back within this fraction of a step has not left; a step is cut by as much to find out.
RETURN, CUT = 1e-6, 1e-2
#: No log norm changes by more in a step: where nothing else limits it, the norm is still seen to grow.
FASTEST = 1.0
#: As much as this while |theta| is held and its growth only noted.
FROZEN = 2.0
#: What a crossing that is passed may contribute, of the tolerance of a step, and how much slower it may go on.
PASSED, SLOWER = 0.1, 0.1
TINY = 1e-100
#: Lines that a neuron meets within this time are decided together.
SOON = 1e-6
#: Where |w| falls below this fraction of |b| the neuron has died.
DEAD = 1e-9

_NONE = np.zeros(0, dtype=int)
#: Gauss's rule on [0, 1].
_NODES = (np.polynomial.legendre.leggauss(8)[0] + 1) / 2, np.polynomial.legendre.leggauss(8)[1] / 2


class StepFailure(ArithmeticError):
    """No step is small enough: the field is not what the integrator can follow."""


@dataclass(eq=False)
class Flow:
    """The flow at one moment; `advance` takes it to the next step or event.

    Attributes
    ----------
    X, y : arrays of shape (n, d), (n,)
        Rows (and targets of the squared loss) of order one.
    loss : str
    state : State
    tol : float
        Tolerance of a step, absolute, in the directions and log norms.
    ties : {"on", "off", "slide"}
        The choice where the flow is not unique.
    offset : float
        log |w| is `state.log_norms` plus this; see `shrink`.
    drift : float
        The rate at which `offset` grows instead of the log norms; see `freeze`.
    """

    X: Array
    y: Array
    loss: str
    state: State
    tol: float = 1e-6
    ties: str = "on"
    recorder: Recorder = field(default_factory=Recorder)
    time: float = 0.0
    log_clock: float = -np.inf
    step: float = FIRST
    steps: int = 0
    evaluations: int = 0
    branches: int = 0
    offset: float = 0.0
    drift: float = 0.0

    def __post_init__(self) -> None:
        self.X, self.y = np.ascontiguousarray(self.X), np.ascontiguousarray(self.y)
        self.code = LOSSES[self.loss]
        self.total = float(np.abs(self.y).sum())
        self.lines = Lines.of(self.X)
        self.side = np.sign(self.state.directions @ self.lines.normals.T)
        ties = np.abs(self.state.directions @ self.lines.normals.T) <= TIE
        self.side[ties] = 1.0
        self.dead = np.zeros(self.state.width, bool)
        self.met: dict[tuple[int, int], float] = {}
        self.held: set[tuple[int, int]] = set()
        self.spans = [Span.of(side, self.lines.normals) for side in self.side]
        self._settle()
        self._look()
        if ties.any():
            neurons, lines = np.nonzero(ties)
            self._resolve(neurons, lines, fresh=True)
        self._record()

    # ------------------------------------------------------------------------------------------------ one step

    def advance(self, limit: float = np.inf) -> None:
        """One step, or the part of it up to the first event, but not beyond the time `limit`."""
        growth = max(float(np.abs(self._growth() - self.drift).max()), abs(self.drift) / FROZEN)
        step = min(self.step, limit - self.time, FASTEST / max(growth, TINY))
        while True:
            out = self._try(step)
            error = self._error(out)
            if error <= 1.0:
                break
            step *= max(SHRINK, 0.9 * error**-0.25) if np.isfinite(error) else SHRINK
            if step < SMALLEST:
                raise StepFailure(f"the step fell below {SMALLEST:g} at tau = {self.time:g}")
        self.step = step * min(GROW, 0.9 * max(error, 1e-8) ** -0.25)
        fraction, neurons, lines, leaving, late = self._first_event(out, step)
        self._move(out, fraction, fraction * step, late)
        self.offset += self.drift * fraction * step
        if leaving:
            neuron, line, side = leaving
            self._leave(neuron, line, side, at_once=fraction < RETURN)
        if len(neurons):
            self._resolve(neurons, lines, within=RETURN * step if fraction < RETURN else -1.0)
        if fraction > RETURN:
            self.held.clear()
        self._pass_zero()
        self._record()

    def _try(self, step: float) -> tuple[Array, ...]:
        V, a, kappa = self._arrays()
        self.evaluations += 6
        return rosenbrock(
            self.X, self.y, self.active, self.acting, self.sliding.orthonormal, self.sliding.start,
            V, a, kappa, step, self.code, self.total, self.drift,
        )  # fmt: skip

    def _error(self, out: tuple[Array, ...]) -> float:
        _, _, kappa, wrong_V, wrong_a, wrong_kappa, wrong_outputs = out[:7]
        parts = (
            np.abs(wrong_V).max() / self.tol,
            np.abs(wrong_a).max() / self.tol,
            np.abs(wrong_kappa / np.maximum(np.abs(kappa), 1.0)).max() / self.tol,
            wrong_outputs / (OUTPUTS * self.tol),
        )
        total = float(np.max(parts))
        return total if np.isfinite(total) else np.inf

    def _at(self, out: tuple[Array, ...], s: float) -> tuple[Array, Array, Array]:
        """The continuous output at the fraction s of the step."""
        start, end, third, fourth = self._arrays(), out[:3], out[7:10], out[10:13]
        if s == 1.0:
            return end[0], end[1], end[2]
        V, a, kappa = (
            (1 - s) * p0 + s * (p1 + (1 - s) * (p3 + s * p4))
            for p0, p1, p3, p4 in zip(start, end, third, fourth, strict=True)
        )
        return V, a, kappa

    def _move(self, out: tuple[Array, ...], s: float, step: float, late: Array | None) -> None:
        first, middle = self.log_slope, self._log_slope(out, s / 2)
        V, a, kappa = self._at(out, s)
        self.state = State(self.sliding.project(V if late is None else V + late), a, kappa)
        if late is not None:
            self._switch()
        self.time += step
        self.steps += 1
        self._look()
        self.log_clock = np.logaddexp(self.log_clock, _log_elapsed(step, first, middle, self.log_slope))

    def _switch(self) -> None:
        """Note the lines that were crossed within the step."""
        for time, i, line in sorted(self.crossed):
            self.side[i, line] *= -1.0
            self._event(i, line, -self.side[i, line], self.side[i, line], time)
        self._settle()

    def _log_slope(self, out: tuple[Array, ...], s: float) -> float:
        f, _ = outputs(self.X, self.active, *self._at(out, s))
        return float(multipliers(f, self.y, self.acting, self.code, self.total)[1])

    # -------------------------------------------------------------------------------------------------- events

    def _first_event(self, out: tuple[Array, ...], step: float) -> tuple[float, Array, Array, Any, Array | None]:
        """The fraction of the step up to the first event that matters, and what happens there.

        That is the ties (neurons, lines) that are met, the (neuron, line, side) that stops sliding, if one does, and
        what the directions miss for crossings that were passed.
        """
        N = self.lines.normals.T
        parts = [np.ascontiguousarray(V @ N) for V in (self.state.directions, out[0], out[7], out[10])]
        neuron, line, when = crossings(self.side, *parts)
        turning, at, moment = self._turning(out)
        leave, leaving = self._leaving(out)
        latest = np.append(when + self._allowance(out, neuron, line, step), moment)
        self._one_after_the_other(neuron, line, when, latest, step)
        end = min(leave, float(latest.min(initial=1.0)), 1.0)
        passed = when < np.minimum(end - TOGETHER, latest[: len(when)] - TOGETHER)
        late = self._pass(neuron[passed], line[passed], when[passed] * step, end * step) if passed.any() else None
        neuron, line = np.append(neuron[~passed], turning), np.append(line[~passed], at)
        met = np.append(when[~passed], moment) <= end + TOGETHER
        return end, neuron[met].astype(int), line[met].astype(int), leaving if leave <= end else (), late

    def _turning(self, out: tuple[Array, ...]) -> tuple[Array, Array, Array]:
        """When b changes its sign, for the neurons that slide then: what held them there now pushes them away.

        Neuron, one of its lines, fraction of the step. This cannot happen to a balanced neuron.
        """
        kappa = self.state.ratios
        turning = np.flatnonzero((self.sliding.count > 0) & (np.abs(kappa) > THROUGH) & (kappa * out[2] < 0))
        if not len(turning):
            return _NONE, _NONE, np.zeros(0)
        line = np.array([self.spans[i].line[0] for i in turning], dtype=int)
        t = np.sign(kappa[turning])
        cubics = zip(*(t * part[turning] for part in (kappa, out[2], out[9], out[12])), strict=True)
        return turning, line, np.array([first_root(*coefficients(*parts)) for parts in cubics])

    def _allowance(self, out: tuple[Array, ...], neuron: Array, line: Array, step: float) -> Array:
        """How far a step may go on, as a fraction of it, beyond where the boundary of a neuron meets a line.

        That is nothing unless the line is merely crossed. Then the direction is corrected by the jump of the field,
        times the time beyond, and what is left, of second order, has to be below the tolerance.
        """
        jump, kappa = (self.pull_plus - self.pull_minus)[line], self.state.ratios[neuron]
        motion = ((out[0] - self.state.directions)[neuron] * self.lines.normals[line]).sum(axis=1) / step
        free = self._free(neuron, line)
        after = motion - self.side[neuron, line] * kappa * jump * free  # with the row's pull switched
        crossed = (motion * after > 0) & (np.abs(after) > SLOWER * np.abs(motion))
        first = np.maximum(np.abs(jump * kappa), TINY)
        rate = np.abs(kappa) * np.linalg.norm(self.pull[neuron], axis=1) + np.abs(motion) + TINY
        weight = np.exp(2 * self.state.log_norms[neuron]) * np.abs(kappa) + TINY
        time = np.minimum(np.sqrt(PASSED * self.tol / (first * rate)), PASSED * OUTPUTS * self.tol / (first * weight))
        return np.where(crossed, time / step, 0.0)

    def _free(self, neuron: Array, line: Array) -> Array:
        """|P n|^2 for the normals n of these lines: the part of a jump that a sliding neuron can follow."""
        free = np.ones(len(neuron))
        for k in np.flatnonzero(self.sliding.count[neuron]):
            free[k] -= float(np.square(self.spans[neuron[k]].orthonormal @ self.lines.normals[line[k]]).sum())
        return free

    def _one_after_the_other(self, neuron: Array, line: Array, when: Array, latest: Array, step: float) -> None:
        """Let a step end (lower `latest`) where a neuron meets a second line too soon after one that it passed.

        The jump at the first may turn the neuron away from the second: together they are a matter for `ties`.
        """
        window = float(latest.min(initial=1.0))
        first: dict[int, int] = {}
        for k in np.argsort(when):
            if when[k] > window:
                return
            i = int(neuron[k])
            if i in first and step * (when[k] - when[first[i]]) < SOON:
                latest[first[i]] = when[first[i]]
                latest[k] = when[k]
                window = min(window, float(when[first[i]]))
            elif i in first:
                jump = (self.pull_plus - self.pull_minus)[line[first[i]]] * self.state.ratios[i]
                turn = abs(jump * (self.lines.normals[line[first[i]]] @ self.lines.normals[line[k]]))
                speed = abs(float(self.lines.normals[line[k]] @ self.pull[i]) * self.state.ratios[i])
                if turn > SLOWER * speed:
                    latest[k] = when[k]
                    window = min(window, float(when[k]))
            first[i] = int(k)

    def _pass(self, neuron: Array, line: Array, when: Array, end: float) -> Array:
        """Switch the sides of lines that are crossed within a step; what the directions miss for it at its end."""
        jump = (self.pull_plus - self.pull_minus)[line] * self.state.ratios[neuron]
        missed = np.zeros_like(self.state.directions)
        gain = -(self.side[neuron, line] * jump * (end - when))[:, None] * self.lines.normals[line]
        np.add.at(missed, neuron, gain)
        self.crossed = [(float(self.time + t), int(i), int(k)) for t, i, k in zip(when, neuron, line, strict=True)]
        return missed

    def _slack(self, out: tuple[Array, ...], s: float) -> Array:
        """How far inside its box the pull of each sliding row is: to the side + in row 0, to the side - in row 1."""
        f, _ = outputs(self.X, self.active, *self._at(out, s))
        lam = multipliers(f, self.y, self.acting, self.code, self.total)[0]
        plus, minus = self.lines.pulls(lam)
        who, index = np.unique(self.sliding.neuron, return_inverse=True)
        g0 = (self.active[who] * lam) @ self.X
        tau = -(self.sliding.dual * g0[index]).sum(axis=1)
        line = self.sliding.line
        inwards = np.sign(plus - minus)[line]
        return np.array([plus[line] - tau, tau - minus[line]]) * inwards + EDGE * np.abs(lam[self.acting]).max(
            initial=0.0
        )

    def _leaving(self, out: tuple[Array, ...]) -> tuple[float, Any]:
        """When the first neuron stops sliding (a fraction above 1 if none does): neuron, line, the side it takes."""
        if not len(self.sliding.neuron) or self._slack(out, 1.0).min() >= 0:
            return 2.0, ()
        first = 0.0
        if self._slack(out, 0.0).min() > 0:
            first = brentq(lambda s: float(self._slack(out, s).min()), 0.0, 1.0, xtol=1e-12)
        slack = self._slack(out, first)
        k = int(slack.min(axis=0).argmin())
        return first, (
            int(self.sliding.neuron[k]),
            int(self.sliding.line[k]),
            1.0 if slack[0, k] < slack[1, k] else -1.0,
        )

    def _leave(self, neuron: int, line: int, side: float, at_once: bool) -> None:
        """Stop sliding: at the end of its box the pull is that of the side which the neuron now enters."""
        if at_once and (neuron, line) in self.held:
            self.step *= CUT
        self.met[neuron, line] = self.time
        self.side[neuron, line] = side
        self._event(neuron, line, 0.0, side)
        self._settle(neuron)
        self._look()

    def _resolve(self, neurons: Array, lines: Array, fresh: bool = False, within: float = -1.0) -> None:
        """Decide the sides at the ties of these neurons, together with what they slide on.

        The decision is about the field at this moment, but the multiplier may be about to fall back, within a time of
        1 / |theta|^2, to where it is slaved to the slow motion. A tie that returns `within` that time was no exit.
        """
        beyond = self._beyond(neurons, lines)
        for i in np.unique(neurons[~beyond]):
            lines_of_i = lines[(neurons == i) & ~beyond]
            mine = np.union1d(lines_of_i, np.flatnonzero(self.side[i] == 0)).astype(int)
            old = self.side[i, mine]
            others = ~np.isin(self.lines.line, mine)
            sign = self._sign(i)
            g0 = (self.active[i] * others * self.lam) @ self.X
            found = resolve(
                g0,
                self.lines.normals[mine],
                self.pull_plus[mine],
                self.pull_minus[mine],
                sign,
                self.ties,
            )
            side = found.side
            for k, h in enumerate(mine):
                back = self.time - self.met.get((int(i), int(h)), -np.inf) <= within
                if back and (int(i), int(h)) not in self.held and sign * (self.pull_plus - self.pull_minus)[h] < 0:
                    side[k] = 0.0
                    self.held.add((int(i), int(h)))
                elif back:
                    self.step *= CUT
                self.met[int(i), int(h)] = self.time
            self._branch(i, int(self.lines.first[mine[0]]), found.unique)
            self.side[i, mine] = side
            for k, before, after in zip(mine, old, side, strict=True):
                if (fresh and self.time == 0.0) or (not fresh and before != after):
                    self._event(int(i), int(k), before, after)
        self._settle(*np.unique(neurons))
        self._look()

    def _beyond(self, neurons: Array, lines: Array) -> Array:
        """Which of these ties are none any more: crossed while the row had no weight. Only their sides change."""
        z = (self.state.directions[neurons] * self.lines.normals[lines]).sum(axis=1)
        before = self.side[neurons, lines]
        beyond = before * z < -LATE
        self.side[neurons[beyond], lines[beyond]] *= -1.0
        for i, line, side in zip(neurons[beyond], lines[beyond], before[beyond], strict=True):
            self._event(i, line, side, -side)
        return beyond

    def _sign(self, i: int) -> float:
        """The sign of b, where it is just changing that after the change."""
        ratio, v = float(self.state.ratios[i]), self.state.directions[i]
        return float(np.sign(ratio if abs(ratio) > THROUGH else v @ ((self.active[i] * self.lam) @ self.X))) or 1.0

    def _event(self, i: int, line: int, before: float, after: float, time: float | None = None) -> None:
        row = int(self.lines.first[line])
        on = after * self.lines.coefficient[row] > 0
        if after == 0:
            kind = EventKind.SLIDE
        elif before == 0:
            kind = EventKind.LEAVE_ON if on else EventKind.LEAVE_OFF
        else:
            kind = EventKind.ON if on else EventKind.OFF
        self.recorder.event(self.time if time is None else time, kind, i, row)

    def bury(self, neuron: int) -> None:
        """The neuron's inner weights have reached zero, where they stay (relu'(0) = 0)."""
        self.dead[neuron] = True
        self.side[neuron] = np.where(self.side[neuron] == 0, 1.0, self.side[neuron])
        self.recorder.event(self.time, EventKind.DEATH, int(neuron))
        self._settle(neuron)
        self._look()

    def rates(self) -> tuple[Array, Array]:
        """d log |w| / d tau and |dv / d tau| of every neuron."""
        V, a, kappa = self._arrays()
        dV, da, *_ = field_at(
            self.X, self.y, self.active, self.acting, self.sliding.orthonormal, self.sliding.start, V, a, kappa,
            self.code, self.total,
        )  # fmt: skip
        return da, np.linalg.norm(dV, axis=1)

    def _growth(self) -> Array:
        """d log |w| / d tau of every neuron."""
        return self.state.ratios * (self.state.directions * self.pull).sum(axis=1)

    def freeze(self) -> None:
        """Let |theta| stand still from now on, its growth noted in `offset`: the multiplier keeps its temperature."""
        mass = np.exp(2 * (self.state.log_norms - self.state.log_norms.max()))
        self.drift = float(mass @ self._growth() / mass.sum())

    def shrink(self, log_factor: float) -> None:
        """Divide all weights by e^log_factor and note it in `offset`: nothing is recorded from now on."""
        self.state.log_norms = self.state.log_norms - log_factor
        self.offset += log_factor
        self._look()

    def _pass_zero(self) -> None:
        """Inner weights that reach zero go on beyond it if the pull there takes them away, or they stay for good.

        Near zero the direction is infinitely fast, so that the walk of `fate` from the far side tells. To stay, as
        relu'(0) = 0 has it, is a solution too unless zero is a point between two rays only (d = 1).
        """
        for i in map(int, np.flatnonzero((np.abs(self.state.ratios) > 1 / DEAD) & ~self.dead)):
            before, sign = self.side[i].copy(), float(np.sign(self.state.ratios[i]))
            end = fate(-self.state.directions[i], -before, sign, self.lam, self.X, self.lines, np.zeros(len(self.y)))
            growth = float(np.linalg.norm(end.pull))
            if end.settled and growth > 0 and self.ties != "slide":
                self._branch(i, -1, unique=self.X.shape[1] == 1)
                self._reappear(i, sign * end.pull / growth, end.side)
                for line in map(int, np.flatnonzero(self.side[i] != before)):
                    self._event(i, line, before[line], self.side[i, line])
                self._settle(i)
                self._look()
            else:
                self._branch(i, -1, unique=growth == 0)
                self.bury(i)

    def _reappear(self, i: int, v: Array, side: Array) -> None:
        """Put neuron i on the direction v, with these sides of the lines that contain it."""
        z = self.lines.normals @ v
        self.state.directions[i] = v
        self.side[i] = np.where((side == 0) | (np.abs(z) <= TIE), side, np.sign(z))

    def _branch(self, i: int, row: int, unique: bool) -> None:
        if not unique:
            self.branches += 1
            self.recorder.event(self.time, EventKind.BRANCH, int(i), row)

    # ------------------------------------------------------------------------------------------------- upkeep

    def _settle(self, *neurons: int) -> None:
        """What follows from the sides, which have changed for these neurons."""
        for i in neurons:
            self.spans[i] = Span.of(self.side[i], self.lines.normals)
        self.sliding = Sliding.of(self.spans)
        self.active = self.lines.active(self.side)
        self.active[self.dead] = 0.0
        self.acting: Array = np.asarray(self.active.any(axis=0))
        if len(self.sliding.neuron):
            self.state.directions = self.sliding.project(self.state.directions)

    def _look(self) -> None:
        """What follows from the outputs."""
        self.f, _ = outputs(self.X, self.active, *self._arrays())
        self.lam, self.log_slope, _ = multipliers(self.f, self.y, self.acting, self.code, self.total)
        self.pull_plus, self.pull_minus = self.lines.pulls(self.lam)
        self.pull = (self.active * self.lam) @ self.X

    def _arrays(self) -> tuple[Array, Array, Array]:
        return self.state.directions, self.state.log_norms, self.state.ratios

    def leap(self, gains: Array, log_size: float, value: float) -> None:
        """Let |theta|^2 grow by e^log_size at a standing multiplier, y^T lam = `value`, while neurons gain or lose.

        `gains` are what log |w| changes by, relative to |theta|.
        """
        self.state.log_norms = self.state.log_norms + gains
        self.offset += 0.5 * log_size
        self.time += 0.5 * log_size * value
        self._look()

    def _record(self) -> None:
        if self.offset:
            return
        self.recorder.record(self.time, self.log_clock, *self._arrays(), sliding=self.sliding.count)


def _log_elapsed(step: float, first: float, middle: float, last: float) -> float:
    """log of the integral of 1 / S over a step of loss-normalised time, with log S quadratic through these values."""
    if step <= 0:
        return -np.inf
    s, weight = _NODES
    log_slope = first * (1 - s) * (1 - 2 * s) + 4 * middle * s * (1 - s) + last * s * (2 * s - 1)
    low = log_slope.min()
    return float(np.log(step) - low + np.log(weight @ np.exp(low - log_slope)))
