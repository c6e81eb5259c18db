"""Gradient flow of the unregularised network to its limit: where backpropagation ends up, and whether that is optimal.

`flow` follows one start, `flows` many. The way: `integrate` (the flow with its events, on `field`, `crossings` and
`ties`), `course` (on to the limit), `limit` (the limit to the last digit), `verdict` (is it global?), `trajectory` (the
record); `discrete` runs gradient descent and its relatives instead.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from extremal.design import Array, Design
from extremal.flow.course import Course, Ending, Moment, follow
from extremal.flow.discrete import DescentStop, Method, descend
from extremal.flow.integrate import Flow
from extremal.flow.limit import limit_of, upper_bound
from extremal.flow.quantities import MARGIN_LOSSES, check_loss
from extremal.flow.state import State, random_start
from extremal.flow.trajectory import EventKind, Recorder, Trajectory
from extremal.flow.verdict import Evidence, FlowResult, Verdict, judge
from extremal.gauge import compile_kernels as compile_gauge
from extremal.losses import Logistic, Squared
from extremal.network import Network
from extremal.training.constrained import MinNormResult, MinNormStatus, impossible
from extremal.training.result import reporter

__all__ = ["EventKind", "FlowResult", "Moment", "Trajectory", "Verdict", "flow"]

#: The relative gap to its limit at which the end of a discrete method counts as on the way to it.
NEAR = 0.02
#: The scales of a start whose weights neither under- nor overflow on the way.
SMALLEST_START, LARGEST_START = 1e-100, 1e50
#: A discrete method ends at this 1/2 |theta|^2: normalised steps make it grow exponentially.
HUGE = 1e200
#: How far the network of an optimum may be from what it should do.
MISSED = 1e-6
#: Default steps: of the flow, and of a discrete method; and the default step size, for rows of norm one.
MAX_STEPS, MAX_DESCENT, STEP = 50_000, 100_000, 0.1


@dataclass(frozen=True, eq=False)
class Setting:
    """Checked arguments: the data as given (with the column of ones), and how they are scaled for the integrator."""

    X: Array
    y: Array
    loss: str
    bias: bool
    stretch: float
    height: float

    @classmethod
    def of(cls, X: ArrayLike, y: ArrayLike, loss: str, bias: str) -> Setting:
        check_loss(loss)
        if bias not in ("none", "penalized"):
            raise ValueError(f"bias must be 'none' or 'penalized', not {bias!r}")
        design = Design.from_data(X, bias=bias == "penalized")
        bound = (Logistic if loss in MARGIN_LOSSES else Squared).from_data(y).target
        if bound.shape[1] != 1:
            raise ValueError(f"the flow is that of networks of one output; y has {bound.shape[1]} columns")
        target = bound[:, 0]
        if len(target) != design.n:
            raise ValueError(f"X has {design.n} rows and y has {len(target)}")
        if not target.any():
            raise ValueError("y must not be all zero")
        if not design.row_norms.any():
            raise ValueError("X must not be all zero: no neuron would ever move")
        height = 1.0 if loss in MARGIN_LOSSES else float(np.exp2(np.ceil(np.log2(np.abs(target).max()))))
        return cls(design.dense(), target, loss, bias == "penalized", design.magnitude, height)

    @property
    def shift(self) -> float:
        """log |w| of the scaled problem minus log |w| of the given one."""
        return 0.5 * float(np.log(self.stretch) - np.log(self.height))

    @property
    def clock_shift(self) -> float:
        """log t of the scaled problem minus log t of the given one."""
        return float(np.log(self.stretch) + np.log(self.height))

    def flow(self, state: State, **options: Any) -> Flow:
        """The flow of the scaled problem from a state of the given one."""
        scaled = State(state.directions.copy(), state.log_norms + self.shift, state.ratios.copy())
        return Flow(np.ascontiguousarray(self.X / self.stretch), self.y / self.height, self.loss, scaled, **options)

    def unscaled(self, trajectory: Trajectory) -> Trajectory:
        """The record of the scaled problem in the units of the given one."""
        events = trajectory.events.copy()
        events["time"] /= self.stretch
        return replace(
            trajectory,
            X=self.X,
            y=self.y,
            time=trajectory.time / self.stretch,
            log_clock=trajectory.log_clock - self.clock_shift,
            log_norms=trajectory.log_norms - self.shift,
            events=events,
        )


def flow(
    X: ArrayLike,
    y: ArrayLike,
    *,
    width: int = 20,
    init: float | Network | Trajectory = 1e-3,
    loss: Literal["logistic", "exponential", "squared"] = "logistic",
    method: str = "flow",
    bias: Literal["none", "penalized"] = "none",
    balanced: bool = True,
    ties: Literal["on", "off", "slide"] = "on",
    tol: float = 1e-6,
    max_steps: int | None = None,
    time_limit: float | None = None,
    until: float = 0.0,
    step: float | None = None,
    batch_size: int | None = None,
    momentum: float = 0.9,
    betas: tuple[float, float] = (0.9, 0.999),
    optimum: MinNormResult | None = None,
    proof_time: float = 10.0,
    random_state: int = 0,
    progress: bool | Callable[[Moment], None] = False,
) -> FlowResult:
    """theta' = -grad sum_k l(y_k f(x_k)),  f(x) = sum_i b_i (w_i . x)_+, from a small start to its limit direction.

    The flow is that of Clarke's subgradients, followed through alignment, separation and sliding to t = infinity. There
    theta / |theta| is a stationary point of  P* = min 1/2 |theta|^2 subject to y_k f(x_k) >= 1,  and it is the global
    optimum if its multiplier satisfies g(lam) <= 1, and only then if it has no other. For the squared loss the limit is
    a network that interpolates, and the question is whether it is the smallest.

    Parameters
    ----------
    X : array of shape (n, d)
    y : array of shape (n,)
        Labels -1/+1 or 0/1; numbers for the squared loss.
    width : int
        The number of neurons of a random start.
    init : float, Network or Trajectory
        The scale of a random start (`extremal.flow.state.random_start`), the start itself, or an earlier run that goes
        on where it ended; its record and the new one are joined.
    loss : {"logistic", "exponential", "squared"}
    method : str
        "flow", or a discrete method: "gd", "sgd", "momentum", "adam", "normalised" (g / sum |lam|), "decaying" (the
        same divided by |theta|^2) or "unit" (g / |g|).
    bias : {"none", "penalized"}
        "penalized" appends a column of ones to X, whose weight counts in |theta|.
    balanced : bool
        Whether a random start has |w_i| = |b_i|, as in the theory, or independent Gaussian weights.
    ties : {"on", "off", "slide"}
        The choice where the flow is not unique: the active side, the inactive one, or to stay on the hyperplane.
        Every such point is recorded as an event BRANCH.
    tol : float
        The error allowed in a step, absolute, in directions and log norms.
    max_steps : int, optional
        Steps of the integrator (50 000 by default) or of the discrete method (100 000).
    time_limit : float, optional
        Seconds for the run; without limit by default.
    until : float
        The flow is followed, and recorded, at least to this 1/2 |theta|^2, even if its limit is known before.
    step, batch_size, momentum, betas
        Of the discrete methods, for the sum over the rows; see `extremal.flow.discrete.descend`.
    optimum : MinNormResult, optional
        The answer of :func:`max_margin` (:func:`min_norm`) on the same data, if it is known: it is then not computed.
    proof_time : float
        Seconds for the gauge, and as many for the global optimum where the limit is not global; with 0 no optimum is
        computed.
    random_state : int
    progress : bool or callable
        A line on the terminal, or a function that is called with every `Moment`.

    Returns
    -------
    FlowResult

    Raises
    ------
    ValueError
        If the data are not finite, the labels not of two classes, or an argument is out of its range.

    References
    ----------
    Wang & Pilanci (ICLR 2022); Lyu & Li (ICLR 2020); Ji & Telgarsky (2020); Phuong & Lampert (ICLR 2021).
    """
    setting = Setting.of(X, y, loss, bias)
    _check_arguments(method, ties, tol, max_steps, time_limit, proof_time, until)
    if optimum is not None:
        _check_optimum(setting, optimum)
    start, earlier = _start(setting, init, width, balanced, random_state)
    report, close = reporter(progress, str)
    try:
        course, trajectory, evaluations = _run(
            setting, start, earlier, method, ties, tol, step, max_steps, time_limit, until, report, random_state,
            batch_size=batch_size, momentum=momentum, betas=betas,
        )  # fmt: skip
        if course.ending is not Ending.INTERRUPTED:
            report(_last_moment(trajectory))
        if earlier is not None:
            trajectory = earlier.joined(trajectory)
        separates = course.ending is Ending.LIMIT and course.limit is not None and bool(course.limit.seen.all())
        if optimum is None and loss != "squared" and not separates:
            optimum = impossible(setting.X, setting.y, bias=setting.bias)
        evidence = Evidence(
            setting.X, setting.y, setting.bias, course, trajectory, evaluations, optimum, proof_time, random_state
        )
        return judge(evidence)
    finally:
        close()


def _last_moment(trajectory: Trajectory) -> Moment:
    """What a run shows of itself while its verdict is being proved."""
    last = trajectory[len(trajectory) - 1]
    size = last.state.log_size / float(np.log(10))
    margin = 0.0 if trajectory.loss == "squared" else last.normalised_margin
    return Moment("proof", last.time, size, margin)


def _run(
    setting: Setting,
    start: State,
    earlier: Trajectory | None,
    method: str,
    ties: str,
    tol: float,
    step: float | None,
    max_steps: int | None,
    time_limit: float | None,
    until: float,
    report: Callable[[Moment], None],
    random_state: int,
    **options: Any,
) -> tuple[Course, Trajectory, int]:
    """The flow or a discrete method: how it ended, its record, and the right-hand sides it took."""
    if method == "flow":
        compile_kernels()
        return _flowed(setting, start, earlier, ties, tol, max_steps, time_limit, until, report)
    return _descended(
        setting, start, earlier, method, step, max_steps, time_limit, report, random_state, **options
    )  # fmt: skip


def _flowed(
    setting: Setting,
    start: State,
    earlier: Trajectory | None,
    ties: str,
    tol: float,
    max_steps: int | None,
    time_limit: float | None,
    until: float,
    report: Callable[[Moment], None],
) -> tuple[Course, Trajectory, int]:
    """The flow to its end."""
    time = 0.0 if earlier is None else float(earlier.time[-1]) * setting.stretch
    clock = -np.inf if earlier is None else float(earlier.log_clock[-1]) + setting.clock_shift
    recorder = Recorder(rows=len(setting.y))
    run = setting.flow(start, ties=ties, tol=tol, recorder=recorder, time=time, log_clock=clock)
    course = follow(
        run,
        max_steps=max_steps or MAX_STEPS,
        time_limit=time_limit or np.inf,
        until=until * setting.stretch / setting.height,
        progress=report,
    )
    record = recorder.finish(run.X, run.y, loss=setting.loss, method="flow", bias=setting.bias)
    limit = course.limit
    if limit is not None:
        course = replace(course, limit=limit.scaled(setting.stretch))
    return course, setting.unscaled(record), run.evaluations


def _descended(
    setting: Setting,
    start: State,
    earlier: Trajectory | None,
    method: str,
    step: float | None,
    max_steps: int | None,
    time_limit: float | None,
    report: Callable[[Moment], None],
    random_state: int,
    **options: Any,
) -> tuple[Course, Trajectory, int]:
    """A discrete method to its end, and the limit that it is near."""
    recorder = Recorder(rows=len(setting.y))
    found = descend(
        Design(setting.X),
        setting.y,
        setting.loss,
        start,
        method=method,
        step=STEP / setting.stretch if step is None else step,
        max_steps=max_steps or MAX_DESCENT,
        time_limit=time_limit,
        rng=np.random.default_rng(random_state),
        recorder=recorder,
        max_half_norm2=HUGE,
        progress=_descent_report(report),
        time=0.0 if earlier is None else float(earlier.time[-1]),
        log_clock=-np.inf if earlier is None else float(earlier.log_clock[-1]),
        **options,
    )
    trajectory = recorder.finish(setting.X, setting.y, loss=setting.loss, method=method, bias=setting.bias)
    return _course_of(setting, trajectory, found.state, found.stop, found.seconds), trajectory, int(found.gradients)


def _course_of(setting: Setting, trajectory: Trajectory, state: State, stop: DescentStop, seconds: float) -> Course:
    """How a discrete run ended: at its limit if it was closing in on it in the second half of its record."""
    ending = _ENDING_OF[stop]
    if ending is Ending.DIVERGED or not state.width:
        return Course(ending, None, np.inf, seconds)
    if setting.loss == "squared":
        missed = float(np.abs(trajectory.margins[-1] - setting.y).max())
        done = missed <= 1e-6 * float(np.abs(setting.y).max()) and ending is not Ending.INTERRUPTED
        return Course(Ending.INTERPOLATED if done else ending, None, np.inf, seconds)
    run = setting.flow(state)
    limit = limit_of(run)
    if not limit.value > 0:
        return Course(ending, limit, np.inf, seconds)
    gap = upper_bound(run, limit.seen) / limit.value - 1
    limit = limit.scaled(setting.stretch)
    halfway = trajectory.upper_bounds[len(trajectory) // 2] / limit.value - 1
    close = not limit.failure and limit.seen.all() and 0 <= gap < min(NEAR, halfway)
    if close and ending is not Ending.INTERRUPTED:
        ending = Ending.LIMIT
    return Course(ending, limit, gap, seconds)


_ENDING_OF = {
    DescentStop.MAX_STEPS: Ending.MAX_STEPS,
    DescentStop.TIME_LIMIT: Ending.TIME_LIMIT,
    DescentStop.NORM_REACHED: Ending.FARTHEST,
    DescentStop.FIXED: Ending.STALLED,
    DescentStop.DIVERGED: Ending.DIVERGED,
    DescentStop.INTERRUPTED: Ending.INTERRUPTED,
}


def _start(
    setting: Setting, init: float | Network | Trajectory, width: int, balanced: bool, random_state: int
) -> tuple[State, Trajectory | None]:
    """The state to start from, and the run that it ended."""
    d = setting.X.shape[1]
    if isinstance(init, Trajectory):
        same = init.X.shape == setting.X.shape and init.loss == setting.loss and init.bias == setting.bias
        if not (same and np.array_equal(init.X, setting.X) and np.array_equal(init.y, setting.y)):
            raise ValueError("the run that is to go on was on other data, or for another loss or bias")
        return init[len(init) - 1].state, init
    if isinstance(init, Network):
        if init.hidden.shape[0] != d or init.bias != setting.bias:
            raise ValueError(f"the start is {init}; the data ask for {d - setting.bias} features, bias {setting.bias}")
        state = State.of_network(init)
        if not state.width:
            raise ValueError("the start has no neuron with weights that are not zero: it never moves")
        return state, None
    if isinstance(init, bool) or not isinstance(init, (int, float, np.number)):
        raise TypeError(f"init must be a scale, a Network or a Trajectory, not {type(init).__name__}")
    if not SMALLEST_START <= init <= LARGEST_START:
        raise ValueError(
            f"the scale of the start must be between {SMALLEST_START:g} and {LARGEST_START:g}, not {init!r}"
        )
    if width != int(width):
        raise ValueError(f"width must be a whole number, not {width!r}")
    return random_start(d, int(width), float(init), np.random.default_rng(random_state), balanced), None


def _check_arguments(
    method: str, ties: str, tol: float, max_steps: int | None, time_limit: float | None, proof_time: float, until: float
) -> None:
    if method != "flow" and method not in list(Method):
        raise ValueError(f"unknown method {method!r}; there are flow, {', '.join(Method)}")
    if ties not in ("on", "off", "slide"):
        raise ValueError(f"ties must be 'on', 'off' or 'slide', not {ties!r}")
    if not 0 < tol < 1:
        raise ValueError(f"tol must be between 0 and 1, not {tol!r}")
    if max_steps is not None and max_steps < 1:
        raise ValueError(f"max_steps must be positive, not {max_steps!r}")
    if time_limit is not None and not time_limit > 0:
        raise ValueError(f"time_limit must be positive, not {time_limit!r}")
    if not proof_time >= 0:
        raise ValueError(f"proof_time must not be negative, but is {proof_time!r}")
    if not 0 <= until < np.inf:
        raise ValueError(f"until must be finite and not negative, but is {until!r}")


def _check_optimum(setting: Setting, optimum: MinNormResult) -> None:
    """Refuse the answer to another problem: its network has to do what is asked, its bound to hold for it."""
    if optimum.status is MinNormStatus.IMPOSSIBLE:
        return
    wrong = ValueError("`optimum` is the answer to another problem")
    if optimum.network.hidden.shape[0] != setting.X.shape[1] or optimum.lam.shape != setting.y.shape:
        raise wrong
    outputs = optimum.network.evaluate(Design(setting.X))[:, 0]
    if setting.loss == "squared":
        missed = float(np.abs(outputs - setting.y).max() / np.abs(setting.y).max())
    else:
        missed = abs(1.0 - float((setting.y * outputs).min()))
    if optimum.network.width and missed > MISSED:
        raise wrong
    reached = float(np.abs(setting.y @ optimum.lam - optimum.dual_value))
    if reached > MISSED * max(abs(optimum.dual_value), 1e-300):
        raise wrong


def _descent_report(report: Callable[[Moment], None]) -> Callable[[int, float, float], None]:
    def show(steps: int, tau: float, half_norm2: float) -> None:
        report(Moment(f"step {steps}", tau, float(np.log10(max(2 * half_norm2, 1e-300))), 0.0))

    return show


@cache
def compile_kernels() -> None:
    """Have the compiled kernels ready before a clock starts."""
    compile_gauge()
    X = np.array([[1.0, 0.5], [-0.5, 1.0], [0.3, -1.0]])
    for loss in ("logistic", "squared"):
        run = Flow(X, np.array([1.0, -1.0, 1.0]), loss, random_start(2, 8, 0.1, np.random.default_rng(0)))
        follow(run, max_steps=200, time_limit=np.inf)
