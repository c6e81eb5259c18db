"""The discrete methods that users run, on the clock of the flow: gradient descent, SGD, momentum, Adam and others."""

from __future__ import annotations

import time as wall
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, StrEnum
from functools import cache

import numpy as np

from extremal.design import Array, Design
from extremal.flow import steps as kernel
from extremal.flow.quantities import check_loss
from extremal.flow.state import State
from extremal.flow.trajectory import Recorder

#: Called now and then with the number of steps, tau and 1/2 |theta|^2.
Progress = Callable[[int, float, float], None]

#: Seconds between two looks at the clock, and the growth of the step numbers at which snapshots are taken.
CHUNK = 0.1
SPACING = 1.02

#: Beyond these |w_i| and its products under- or overflow.
SMALLEST_LOG, LARGEST_LOG = -700.0, 340.0


class Method(StrEnum):
    """How theta = (W, b) moves; g = -grad of the loss (summed over the rows), S = sum_k |lam_k| its slope."""

    GD = "gd"  #: theta += step g
    SGD = "sgd"  #: theta += step g, of n / batch_size times the rows of a batch; every epoch in a new order
    MOMENTUM = "momentum"  #: v <- momentum v + g, theta += step v
    ADAM = "adam"  #: Kingma & Ba (2015), with their bias correction
    NORMALISED = "normalised"  #: theta += step g / S
    DECAYING = "decaying"  #: theta += step / max(1, |theta|^2) g / S: does not chatter as the norm grows
    UNIT = "unit"  #: theta += step g / |g|


_CODES = {
    Method.GD: kernel.PLAIN,
    Method.SGD: kernel.PLAIN,
    Method.MOMENTUM: kernel.MOMENTUM,
    Method.ADAM: kernel.ADAM,
    Method.NORMALISED: kernel.NORMALISED,
    Method.DECAYING: kernel.DECAYING,
    Method.UNIT: kernel.UNIT,
}
_LOSSES = {"logistic": kernel.LOGISTIC, "exponential": kernel.EXPONENTIAL, "squared": kernel.SQUARED}


class DescentStop(Enum):
    """Why a discrete method ended."""

    MAX_STEPS = "stopped after the number of steps asked for"
    TIME_LIMIT = "stopped at the time limit"
    NORM_REACHED = "the weights have reached the norm asked for"
    FIXED = "a step changed no weight in double precision: it stays here for ever"
    DIVERGED = "the weights overflowed: the step is too large; the state is that of the last step that did not"
    INTERRUPTED = "interrupted; the state is that of the last step"


_STOPS = {
    kernel.LARGE: DescentStop.NORM_REACHED,
    kernel.NOT_FINITE: DescentStop.DIVERGED,
    kernel.FIXED: DescentStop.FIXED,
}


@dataclass(frozen=True, eq=False)
class Descent:
    """Where a discrete method ended.

    Attributes
    ----------
    state : State
    steps : int
    gradients : float
        Gradients over all rows that were evaluated; a batch counts for its share.
    stop : DescentStop
    time, log_clock : float
        tau and log t. A step takes as long as the flow needs for it: dt = step for GD and SGD, step / S for normalised
        GD, step / |g| for unit steps, step / (1 - momentum) with momentum, |step| / |averaged gradient| for Adam.
        dtau = S dt; for the squared loss sum_k |y_k| dt.
    half_norm2 : float
        1/2 |theta|^2.
    seconds : float
    """

    state: State
    steps: int
    gradients: float
    stop: DescentStop
    time: float
    log_clock: float
    half_norm2: float
    seconds: float

    def __str__(self) -> str:
        return "\n".join(
            [
                f"steps           {self.steps}, {self.gradients:.10g} gradients over all rows",
                f"time            tau = {self.time:.6g}, log t = {self.log_clock:.6g}",
                f"1/2 |theta|^2   {self.half_norm2:.6g}",
                f"status          {self.stop.value}",
                f"wall time       {self.seconds:.2f} s",
            ]
        )


def descend(
    design: Design,
    y: Array,
    loss: str,
    start: State,
    *,
    method: Method | str = Method.GD,
    step: float,
    batch_size: int | None = None,
    momentum: float = 0.9,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    max_steps: int = 100_000,
    time_limit: float | None = None,
    max_half_norm2: float = np.inf,
    rng: np.random.Generator | None = None,
    recorder: Recorder | None = None,
    progress: Progress | None = None,
    time: float = 0.0,
    log_clock: float = -np.inf,
) -> Descent:
    """Minimise sum_k l(f(x_k), y_k) from `start`, with relu'(0) = 0 as in the common frameworks.

    Parameters
    ----------
    design : Design
        X, with the column of ones if there is a bias.
    y : array of shape (n,)
        Labels -1/+1, or targets for the squared loss.
    loss : "logistic", "exponential" or "squared"
    start : State
    method : Method
    step : float
        The step size for the sum over the rows (not the mean).
    batch_size : int, optional
        Rows in a step; required by SGD, possible with all methods but GD. The last batch of an epoch may be smaller.
    momentum, betas, eps : float
        The constants of momentum and of Adam.
    max_steps, time_limit, max_half_norm2
        Where to stop: steps, seconds, 1/2 |theta|^2.
    rng : numpy.random.Generator, optional
        For the order of the rows; seed 0 by default.
    recorder : Recorder, optional
        Receives the start, snapshots at steps spaced like a geometric sequence, and the end.
    progress : callable, optional
        ``progress(steps, tau, half_norm2)``, about ten times a second.
    time, log_clock : float
        tau and log t at the start, of a run that goes on. The means of momentum and Adam start at zero all the same.

    Raises
    ------
    ValueError
        If an argument is out of its range, or the start under- or overflows as plain weights.
    """
    code, constants = _code(method, batch_size), _constants(step, momentum, betas, eps)
    y = np.asarray(y, dtype=np.float64)
    _check_data(design, y, loss, start)
    compile_kernels()
    began = wall.monotonic()
    deadline = np.inf if time_limit is None else began + time_limit
    X, target = (np.require(part, np.float64, ["C", "W"]) for part in (design.dense(), y))
    theta = _parameters(start)
    first, second = np.zeros_like(theta), np.zeros_like(theta)
    clock = np.array([time, log_clock, kernel.half_square(theta), 0.0, 0.0])
    order = _Order(design.n, batch_size, rng or np.random.default_rng(0))
    snapshots = _Snapshots(recorder)
    chunk = max(1, int(1e6 / (X.size * start.width)))
    stop = DescentStop.MAX_STEPS
    try:
        snapshots.offer(clock, theta)
        while clock[kernel.STEPS] < max_steps:
            done = int(clock[kernel.STEPS])
            count = min(chunk, snapshots.next - done, max_steps - done)
            batches, sizes = order.take(count)
            before = wall.monotonic()
            end = kernel.advance(
                X, target, _LOSSES[loss], code, theta, first, second, clock, count, step, constants, batches, sizes,
                max_half_norm2,
            )  # fmt: skip
            now = wall.monotonic()
            chunk = int(np.clip(count * CHUNK / max(now - before, 1e-9), 1, 2 * chunk))
            snapshots.offer(clock, theta)
            if progress is not None:
                snapshots.report(progress, clock, now)
            if end != kernel.GOES_ON:
                stop = _STOPS[end]
                break
            if now >= deadline:
                stop = DescentStop.TIME_LIMIT
                break
    except KeyboardInterrupt:
        stop = DescentStop.INTERRUPTED
    snapshots.close(clock, theta)
    tau, log_t, half_norm2, steps, passes = clock.tolist()
    seconds = wall.monotonic() - began
    return Descent(_state(theta), int(steps), passes, stop, tau, log_t, half_norm2, seconds)


@cache
def compile_kernels() -> None:
    """Have the compiled loop ready before a clock starts: seconds when new, later a look at a cache."""
    one, rows, sizes = np.ones((1, 1)), np.zeros((0, 0), dtype=np.int64), np.zeros(0, dtype=np.int64)
    theta, clock = np.ones((2, 1)), np.zeros(5)
    kernel.advance(
        one, one[0], 0, 0, theta, theta.copy(), theta.copy(), clock, 1, 1.0, np.zeros(4), rows, sizes, np.inf
    )


class _Order:
    """The batches of all epochs, one after the other; what is drawn does not depend on how many are taken at a time."""

    def __init__(self, n: int, batch_size: int | None, rng: np.random.Generator) -> None:
        self.n, self.rng = n, rng
        self.batch = 0 if batch_size is None else min(batch_size, n)
        self.rows = np.zeros((0, self.batch), dtype=np.int64)
        self.sizes = np.zeros(0, dtype=np.int64)

    def take(self, count: int) -> tuple[Array, Array]:
        """The rows (count, batch) of the next batches and their sizes (count,); nothing without batches."""
        if self.batch == 0:
            return self.rows, self.sizes
        missing = count - len(self.sizes)
        if missing > 0:
            epochs = -(-missing // -(-self.n // self.batch))
            drawn = [self._epoch() for _ in range(epochs)]
            self.rows = np.concatenate([self.rows, *(rows for rows, _ in drawn)])
            self.sizes = np.concatenate([self.sizes, *(sizes for _, sizes in drawn)])
        rows, sizes = self.rows[:count].copy(), self.sizes[:count].copy()
        self.rows, self.sizes = self.rows[count:], self.sizes[count:]
        return rows, sizes

    def _epoch(self) -> tuple[Array, Array]:
        number = -(-self.n // self.batch)
        rows = np.zeros(number * self.batch, dtype=np.int64)
        rows[: self.n] = self.rng.permutation(self.n)
        sizes = np.full(number, self.batch)
        sizes[-1] = self.n - (number - 1) * self.batch
        return rows.reshape(number, self.batch), sizes


class _Snapshots:
    """Offers the recorder steps 0, 1, 2, ... and later ever rarer ones, and the last."""

    def __init__(self, recorder: Recorder | None) -> None:
        self.recorder = recorder
        self.next = 0
        self.last = -1
        self.reported = wall.monotonic()

    def offer(self, clock: Array, theta: Array) -> None:
        done = int(clock[kernel.STEPS])
        if done >= self.next:
            self.next = max(done + 1, int(done * SPACING))
            self._record(done, clock, theta)

    def close(self, clock: Array, theta: Array) -> None:
        if self.last < int(clock[kernel.STEPS]):
            self._record(int(clock[kernel.STEPS]), clock, theta)

    def report(self, progress: Progress, clock: Array, now: float) -> None:
        if now - self.reported >= CHUNK:
            self.reported = now
            progress(int(clock[kernel.STEPS]), float(clock[kernel.TAU]), float(clock[kernel.HALF_NORM2]))

    def _record(self, done: int, clock: Array, theta: Array) -> None:
        self.last = done
        if self.recorder is not None:
            state = _state(theta)
            self.recorder.record(
                clock[kernel.TAU], clock[kernel.LOG_T], state.directions, state.log_norms, state.ratios
            )


def _code(method: Method | str, batch_size: int | None) -> int:
    chosen = Method(method)
    if chosen is Method.SGD and batch_size is None:
        raise ValueError("SGD needs a batch_size")
    if chosen is Method.GD and batch_size is not None:
        raise ValueError("gradient descent takes all rows; with a batch_size the method is 'sgd'")
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, not {batch_size}")
    return _CODES[chosen]


def _constants(step: float, momentum: float, betas: tuple[float, float], eps: float) -> Array:
    if not (np.isfinite(step) and step > 0):
        raise ValueError(f"step must be positive and finite, not {step!r}")
    if not all(0 <= value < 1 for value in (momentum, *betas)):
        raise ValueError(f"momentum and betas must be in [0, 1); got {momentum!r} and {betas!r}")
    if not eps >= 0:
        raise ValueError(f"eps must not be negative: {eps!r}")
    return np.array([momentum, *betas, eps])


def _check_data(design: Design, y: Array, loss: str, start: State) -> None:
    check_loss(loss)
    if y.shape != (design.n,) or not np.isfinite(y).all():
        raise ValueError(f"y must be finite numbers of shape ({design.n},); its shape is {y.shape}")
    if loss != "squared" and not np.all(np.abs(y) == 1):
        raise ValueError(f"the {loss} loss needs labels -1 and +1")
    if start.width == 0 or start.d != design.d:
        raise ValueError(f"the start has {start.width} neurons for {start.d} features, the data have {design.d}")
    if not np.all((start.log_norms > SMALLEST_LOG) & (start.log_norms < LARGEST_LOG)):
        raise ValueError(
            f"plain weights need log norms between {SMALLEST_LOG:g} and {LARGEST_LOG:g}; the start has one of "
            f"{start.log_norms[np.argmax(np.abs(start.log_norms))]:g}"
        )


def _parameters(start: State) -> Array:
    """theta of shape (d + 1, m), a column (w_i, b_i) for each neuron."""
    norms = np.exp(start.log_norms)
    weights = np.column_stack([start.directions * norms[:, None], start.ratios * norms])
    return np.ascontiguousarray(weights.T)


def _state(theta: Array) -> State:
    """The state of theta, all neurons kept.

    One whose hidden weights have become zero computes nothing and never moves again; it stays with a hidden norm that
    no output shows.
    """
    hidden, output = theta[:-1].T.copy(), theta[-1]
    dead = ~hidden.any(axis=1)
    hidden[dead, 0] = np.maximum(1e-150 * np.abs(output[dead]), 1e-150)
    return State.of_weights(hidden, output)
