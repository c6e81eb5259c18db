"""The record of a run: states along the way, the events between them, and what follows from both."""

from __future__ import annotations

import time as clock
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import IntEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from extremal.design import Array, Design
from extremal.flow.quantities import alignments, log_losses, log_smoothed, multipliers, scaled_outputs
from extremal.flow.state import State
from extremal.gauge import GaugeBounds, GaugeStatus

if TYPE_CHECKING:
    from pathlib import Path

_BY_SNAPSHOT = ("time", "log_clock", "directions", "log_norms", "ratios", "sliding")
_ARRAYS = ("X", "y", *_BY_SNAPSHOT, "events")


#: Normalised margins below this, relative to the largest row, are rounding.
ROUNDING = 1e-14


class EventKind(IntEnum):
    """What happened between a neuron and a row."""

    ON = 0  #: the row becomes active for the neuron
    OFF = 1  #: the row becomes inactive
    SLIDE = 2  #: the neuron starts to slide on the row's hyperplane
    LEAVE_ON = 3  #: it stops sliding, towards the active side
    LEAVE_OFF = 4  #: it stops sliding, towards the inactive side
    BRANCH = 5  #: the flow was not unique here; the choice made is the next event
    DEATH = 6  #: the neuron's weights reach zero


#: A structured array of events: when, what (`EventKind`), which neuron, which row (-1 if none).
EVENT = np.dtype([("time", "f8"), ("kind", "i1"), ("neuron", "i4"), ("row", "i4")])


class LowerBounds(NamedTuple):
    """Proven lower bounds on P*: `values[j]` is the best known at the snapshot `indices[j]`."""

    indices: Array
    values: Array


@dataclass(frozen=True, eq=False)
class Snapshot:
    """One moment of a run; see `Trajectory` for the quantities."""

    time: float
    log_clock: float
    state: State
    sliding: Array
    margins: Array
    lam: Array
    log_loss: float
    log_slope: float
    half_norm2: float
    normalised_margin: float


@dataclass(frozen=True, eq=False)
class Trajectory:
    """T snapshots of a run on the loss-normalised clock, first and last included.

    Attributes
    ----------
    X : array of shape (n, d)
        The data as used, with the column of ones if there is a bias.
    y : array of shape (n,)
        Labels -1/+1, or targets for the squared loss.
    loss, method : str
    bias : bool
        Whether the last column of X is the constant 1.
    time : array of shape (T,)
        tau, d tau = S dt with the loss's slope S = sum_k |lam_k|, over the rows that some neuron is active on; for the
        squared loss d tau = sum_k |y_k| dt.
    log_clock : array of shape (T,)
        log t, -inf at the start.
    directions, log_norms, ratios : arrays of shape (T, m, d), (T, m), (T, m)
        The states, see `State`.
    sliding : integer array of shape (T, m)
        On how many rows' hyperplanes each neuron slides.
    events : structured array of dtype `EVENT`
        In order of time.
    """

    X: Array
    y: Array
    loss: str
    method: str
    bias: bool
    time: Array
    log_clock: Array
    directions: Array
    log_norms: Array
    ratios: Array
    sliding: Array
    events: Array

    # ------------------------------------------------------------------------------------------------ what follows

    @cached_property
    def half_norm2(self) -> Array:
        """1/2 |theta|^2 = 1/2 sum_i (|w_i|^2 + b_i^2), shape (T,)."""
        with np.errstate(over="ignore"):
            return np.exp(2 * self._outputs[1]) * self._scaled_half_norm2

    @cached_property
    def margins(self) -> Array:
        """q_k = y_k f(x_k), for the squared loss f(x_k), shape (T, n)."""
        outputs, top = self._outputs
        with np.errstate(over="ignore"):
            return outputs * np.exp(2 * top)[:, None]

    @cached_property
    def log_loss(self) -> Array:
        """log of the loss, shape (T,)."""
        return log_losses(self.loss, self.margins, self.y)

    @property
    def lam(self) -> Array:
        """-grad_f of the loss, divided by its slope: sum_k |lam_k| = 1, shape (T, n)."""
        return self._multipliers[0]

    @property
    def log_slope(self) -> Array:
        """log S, S = sum_k |lam_k| before that division, shape (T,)."""
        return self._multipliers[1]

    @cached_property
    def normalised_margin(self) -> Array:
        """min_k q_k / |theta|^2, shape (T,); NaN for the squared loss and without neurons.

        It never exceeds 1 / (2 P*)."""
        if self.loss == "squared":
            return np.full(len(self), np.nan)
        size = 2 * self._scaled_half_norm2
        return np.where(size > 0, self._outputs[0].min(axis=1) / np.where(size > 0, size, 1.0), np.nan)

    @cached_property
    def smoothed_margin(self) -> Array:
        """-log L / |theta|^2 (exponential), -log(e^L - 1) / |theta|^2 (logistic), NaN while negative, shape (T,).

        From where it is nonnegative the flow never lowers it (Lyu & Li, ICLR 2020).
        """
        size = 2 * self.half_norm2
        return np.where(size > 0, log_smoothed(self.loss, self.log_loss) / np.where(size > 0, size, 1.0), np.nan)

    @cached_property
    def alignment(self) -> Array:
        """cos(v_i, sign(b_i) X^T diag(x_k . v_i > 0) y), shape (T, m); NaN where that vector is zero."""
        return alignments(self.X, self.y, self.directions, self.ratios)

    @cached_property
    def upper_bounds(self) -> Array:
        """1/2 |theta|^2 / min_k q_k >= P*, infinite until the labels are separated (squared loss: always), (T,)."""
        margin = self.normalised_margin
        separated = margin > ROUNDING * float(np.linalg.norm(self.X, axis=1).max(initial=0.0))
        return np.where(separated, 0.5 / np.where(separated, margin, 1.0), np.inf)

    def patterns(self, k: int) -> Array:
        """x_j . v_i > 0, boolean of shape (m, n), at snapshot k."""
        return self.directions[k] @ self.X.T > 0

    def lower_bounds(self, points: int = 20, *, tol: float = 1e-6, time_limit: float = 10.0) -> LowerBounds:
        """y^T lam / g(lam) <= P* at up to `points` snapshots, the running maximum of what is proved.

        P* is the smallest 1/2 |theta|^2 of a network of margins 1 (squared loss: that interpolates). The last snapshot
        is bounded first; those for which no time is left are not in the answer. `time_limit` is in seconds.
        """
        from extremal.gauge import compile_kernels

        compile_kernels()
        deadline = clock.monotonic() + time_limit
        chosen = np.unique(np.linspace(0, len(self) - 1, max(points, 1)).round().astype(int)) if points > 1 else [-1]
        found: dict[int, float] = {}
        for left, k in zip(range(len(chosen), 0, -1), np.asarray(chosen)[::-1] % len(self), strict=True):
            now = clock.monotonic()
            if found and now >= deadline:
                break
            bounds = self._gauge(int(k), tol, now + (deadline - now) / left)
            found[int(k)] = self._reach(int(k)) / bounds.upper if bounds.upper > 0 else 0.0
            if bounds.status is GaugeStatus.INTERRUPTED:
                break
        indices = np.array(sorted(found))
        return LowerBounds(indices, np.maximum.accumulate([found[k] for k in indices]))

    # --------------------------------------------------------------------------------------------------- snapshots

    def __len__(self) -> int:
        return self.time.size

    def __iter__(self) -> Iterator[Snapshot]:
        return (self[k] for k in range(len(self)))

    def __getitem__(self, k: int) -> Snapshot:
        if not -len(self) <= k < len(self):
            raise IndexError(f"snapshot {k} of {len(self)}")
        return Snapshot(
            time=float(self.time[k]),
            log_clock=float(self.log_clock[k]),
            state=State(self.directions[k].copy(), self.log_norms[k].copy(), self.ratios[k].copy()),
            sliding=self.sliding[k],
            margins=self.margins[k],
            lam=self.lam[k],
            log_loss=float(self.log_loss[k]),
            log_slope=float(self.log_slope[k]),
            half_norm2=float(self.half_norm2[k]),
            normalised_margin=float(self.normalised_margin[k]),
        )

    def slice(self, start: int, stop: int) -> Trajectory:
        """The snapshots start, ..., stop - 1 and the events from the first of them to the last."""
        part = self._taken(np.arange(len(self))[start:stop])
        when = part.events["time"]
        return replace(part, events=part.events[(when >= part.time[0]) & (when <= part.time[-1])])

    def thin(self, count: int) -> Trajectory:
        """At most `count` >= 2 of the snapshots, the first and the last among them, and all events."""
        if count < 2:
            raise ValueError(f"the first and the last snapshot stay: count must be at least 2, not {count}")
        return self._taken(np.unique(np.linspace(0, len(self) - 1, min(count, len(self))).round().astype(int)))

    def joined(self, later: Trajectory) -> Trajectory:
        """This run and one that went on from its last snapshot, which is not repeated.

        Raises
        ------
        ValueError
            If the other run is on other data or for another loss, or does not start where this one ends.
        """
        same = (self.loss, self.bias, self.X.shape) == (later.loss, later.bias, later.X.shape)
        if not (same and np.array_equal(self.X, later.X) and np.array_equal(self.y, later.y)):
            raise ValueError("the runs are on different data or for different losses")
        ends, starts = self[-1], later[0]
        if ends.time != starts.time or not np.allclose(ends.state.log_norms, starts.state.log_norms):
            raise ValueError("the second run does not start where the first one ends")
        parts: dict[str, Any] = {
            name: np.concatenate([getattr(self, name), getattr(later, name)[1:]]) for name in _BY_SNAPSHOT
        }
        return replace(self, **parts, events=np.concatenate([self.events, later.events]))

    def __str__(self) -> str:
        end = self[len(self) - 1]
        return "\n".join(
            [
                f"run             {self.method}, {self.loss} loss, {self.ratios.shape[1]} neurons",
                f"recorded        {len(self)} snapshots, {self.events.size} events",
                f"time            tau = {end.time:.6g}, log t = {end.log_clock:.6g}",
                f"1/2 |theta|^2   {end.half_norm2:.6g}",
                f"log loss        {end.log_loss:.6g}",
                f"upper bound     {self.upper_bounds[-1]:.10g}",
            ]
        )

    # ------------------------------------------------------------------------------------------------------- files

    def save(self, path: str | Path) -> None:
        """Write everything to a compressed .npz file."""
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        names = {"loss": self.loss, "method": self.method, "bias": np.array(self.bias)}
        np.savez_compressed(path, **arrays, **names)  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: str | Path) -> Trajectory:
        """Read a trajectory written by `save`."""
        with np.load(path, allow_pickle=False) as file:
            missing = {*_ARRAYS, "loss", "method", "bias"} - set(file.files)
            if missing:
                raise ValueError(f"{path} is not a trajectory: it has no {' and no '.join(sorted(missing))}")
            arrays = {name: file[name] for name in _ARRAYS}
            return cls(**arrays, loss=str(file["loss"]), method=str(file["method"]), bias=bool(file["bias"]))

    # ---------------------------------------------------------------------------------------------------- internal

    @cached_property
    def _outputs(self) -> tuple[Array, Array]:
        """q / e^(2 s) (T, n) and s (T,), so that ratios of the two survive where q itself does not."""
        outputs, top = scaled_outputs(self.X, self.directions, self.log_norms, self.ratios)
        return (outputs if self.loss == "squared" else outputs * self.y), top

    @cached_property
    def _scaled_half_norm2(self) -> Array:
        relative = np.exp(2 * (self.log_norms - self._outputs[1][:, None]))
        return 0.5 * (relative * (1 + self.ratios**2)).sum(axis=1)

    @cached_property
    def _multipliers(self) -> tuple[Array, Array]:
        return multipliers(self.loss, self.margins, self.y)

    def _gauge(self, k: int, tol: float, deadline: float) -> GaugeBounds:
        """What can be known of g(lam) by the deadline; the directions of the neurons are starts from below."""
        from extremal.gauge import unscaled_bounds

        return unscaled_bounds(
            Design(self.X),
            self.lam[k][:, None],
            tol=tol,
            deadline=deadline,
            rng=np.random.default_rng(0),
            near=self.directions[k].T,
            starts=16,
        )

    def _reach(self, k: int) -> float:
        """y^T lam, lowered by what its evaluation may have rounded, or 0."""
        return max(
            float(self.y @ self.lam[k]) - 2 * self.y.size * np.finfo(float).eps * float(np.abs(self.y).max()), 0.0
        )

    def _taken(self, index: Array) -> Trajectory:
        if index.size == 0:
            raise ValueError("no snapshot is left")
        return replace(self, **{name: getattr(self, name)[index] for name in _BY_SNAPSHOT})


class Recorder:
    """Collects snapshots within a limit of memory: when they exceed it, every second inner one goes.

    From then on only every second of those offered is kept. The first and the last are always kept.

    Parameters
    ----------
    limit_bytes : int
    rows : int
        The number of rows of the data, so that the arrays (T, n) which a trajectory derives are counted too.
    """

    def __init__(self, limit_bytes: int = 64_000_000, *, rows: int = 0) -> None:
        self.limit_bytes = limit_bytes
        self.rows = rows
        self.stride = 1
        self._offered = 0
        self._kept: list[tuple[float, float, Array, Array, Array, Array]] = []
        self._last: tuple[float, float, Array, Array, Array, Array] | None = None
        self._events = np.zeros(64, dtype=EVENT)
        self._n_events = 0

    def record(
        self,
        time: float,
        log_clock: float,
        directions: Array,
        log_norms: Array,
        ratios: Array,
        sliding: Array | None = None,
    ) -> None:
        """Offer a snapshot; the arrays are copied. Without `sliding` no neuron slides."""
        counts = np.zeros(len(log_norms), dtype=np.int32) if sliding is None else np.array(sliding, dtype=np.int32)
        snapshot = (float(time), float(log_clock), np.array(directions), np.array(log_norms), np.array(ratios), counts)
        self._last = snapshot
        if self._offered % self.stride == 0:
            self._kept.append(snapshot)
            self._last = None
            self._thin()
        self._offered += 1

    def event(self, time: float, kind: EventKind, neuron: int, row: int = -1) -> None:
        """Record an event."""
        if self._n_events == self._events.size:
            self._events = np.concatenate([self._events, np.zeros_like(self._events)])
        self._events[self._n_events] = (time, kind, neuron, row)
        self._n_events += 1

    def finish(self, X: Array, y: Array, *, loss: str, method: str, bias: bool = False) -> Trajectory:
        """The trajectory of what was kept; the recorder may go on."""
        kept = self._kept if self._last is None else [*self._kept, self._last]
        if not kept:
            raise ValueError("nothing was recorded")
        time, log_clock, directions, log_norms, ratios, sliding = (np.array(part) for part in zip(*kept, strict=True))
        events = self._events[: self._n_events].copy()
        return Trajectory(
            np.asarray(X, dtype=np.float64),
            np.asarray(y, dtype=np.float64),
            loss,
            method,
            bias,
            time,
            log_clock,
            directions,
            log_norms,
            ratios,
            sliding,
            events,
        )

    def _thin(self) -> None:
        size = sum(part.nbytes for part in self._kept[-1][2:]) + 3 * 8 * self.rows
        if len(self._kept) > 2 and len(self._kept) * size > self.limit_bytes:
            # those offered at multiples of the doubled stride stay, the first among them
            last = self._kept[-1]
            self._kept = self._kept[::2]
            self.stride *= 2
            if self._kept[-1] is not last:
                self._last = last
