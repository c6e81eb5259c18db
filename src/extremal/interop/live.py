"""The live judge: how far from the best possible is the network that is being trained, epoch by epoch?

Before training it asks `judgement.judge` what the best possible is: a network and a proven lower bound. During training
a look at the network costs about one prediction, and a look is taken only when all looks together cost no more than a
share of the time that training itself took.
"""

from __future__ import annotations

import csv as tables
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from extremal.certificate import relative_gap
from extremal.conventions import MappedProblem
from extremal.judgement import judge
from extremal.judgement.result import printed
from extremal.network import Network

if TYPE_CHECKING:
    import os

    from matplotlib.axes import Axes
    from numpy.typing import ArrayLike

Clock = Callable[[], float]
#: The costs of so many looks, of which the largest is expected of the next.
RECENT = 3
#: What is planned with of the budget. The rest is for looks that take longer than expected, and for what no clock sees:
#: an epoch runs slower after a look that has used its caches, by as much as the look took if both are short (measured).
CAUTION = 0.4
#: Seconds of a search for a better bound: no shorter ones, and no longer ones.
SHORTEST, LONGEST = 1.0, 30.0
#: Only networks this close to the best known one promise a better bound.
CLOSE = 0.1
COLUMNS = ("epoch", "seconds", "objective", "lower_bound", "best_found", "gap")


@dataclass(frozen=True)
class Look:
    """A network at one moment of its training.

    Attributes
    ----------
    epoch : int
    seconds : float
        Of training since the first look; the judge's own time is not in it.
    objective : float
        What training minimises, on all data: infinite where it has diverged.
    lower : float
        What no network of any width can be below, as far as it was proven at the time.
    best : float
        The lowest objective that was known of any network at the time.
    """

    epoch: int
    seconds: float
    objective: float
    lower: float
    best: float

    @property
    def gap(self) -> float:
        """(objective - lower) / objective."""
        return relative_gap(self.objective, self.lower) if np.isfinite(self.objective) else 1.0

    def row(self) -> tuple[float, ...]:
        """As in the CSV file: `COLUMNS`."""
        return (self.epoch, self.seconds, self.objective, self.lower, self.best, self.gap)


@dataclass(eq=False)
class Standard:
    """What networks are measured by: the best one known and the proven lower bound. Both only ever improve.

    Attributes
    ----------
    X : array of shape (n, d)
    mapped : MappedProblem
        The training problem on X: its loss and its penalty.
    tol : float
        The relative gap between best and bound that is asked for.
    network : Network, optional
        Of the objective `best`, in the terms of the user; None where training itself has found a better one.
    best, lower : float
    seconds : float
        What it took to find them.
    """

    X: ArrayLike
    mapped: MappedProblem
    tol: float = 1e-6
    network: Network | None = None
    best: float = np.inf
    lower: float = -np.inf
    seconds: float = 0.0

    @property
    def is_open(self) -> bool:
        """Whether a better bound may be found."""
        return relative_gap(self.best, self.lower) > self.tol

    def meet(self, objective: float) -> None:
        """Take note of the objective of a network."""
        if objective < self.best:
            self.best, self.network = objective, None

    def search(self, network: Network, time_limit: float | None = None) -> Self:
        """Look for a better network and a better bound, by `judge`, starting from a network of the user."""
        began = time.perf_counter()
        mapped = self.mapped
        found = judge(
            network,
            self.X,
            mapped.loss.target,
            decay=mapped.decay,
            loss=mapped.loss,
            tol=self.tol,
            time_limit=time_limit,
        )
        if found.best < self.best:
            self.best, self.network = found.best, found.improved
        self.lower = max(self.lower, found.dual)
        self.seconds += time.perf_counter() - began
        return self


class Accounts:
    """Whose time it is: training's, or the judge's. The latter stays below a share of the former."""

    def __init__(self, share: float | None, clock: Clock) -> None:
        if share is not None and not 0 < share < np.inf:
            raise ValueError(f"budget must be a positive share of the training time, such as 0.05; not {share!r}")
        self.share, self.clock = share, clock
        self.judging = self._trained = 0.0
        self._since = self._seen = 0.0
        self._running = False

    @property
    def training(self) -> float:
        """Seconds of training, as of the last entry."""
        return self._trained + self._seen - self._since

    def begin(self) -> None:
        """From here on it is training's time."""
        self._trained = self.training
        self._since = self._seen = self.clock()
        self._running = True

    def pass_by(self) -> float:
        """The clock: training goes on. As cheap as can be, for it is called after every epoch."""
        self._seen = now = self.clock()
        return now

    def time_for(self, cost: float) -> float:
        """When the clock shows this, a look of that cost can be afforded if training goes on until then."""
        return self._seen if self.share is None else self._seen + (cost - self.left) / (CAUTION * self.share)

    def charge_training(self) -> None:
        """The time since the last charge was training's."""
        self._trained += self._elapsed()

    def charge_judging(self) -> float:
        """The time since the last charge was the judge's; returns it."""
        elapsed = self._elapsed()
        self.judging += elapsed
        return elapsed

    @property
    def left(self) -> float:
        """Seconds that the judge may spend now."""
        if self.share is None:
            return np.inf
        return CAUTION * self.share * self.training - self.judging

    def _elapsed(self) -> float:
        now = self.clock()
        elapsed = now - self._since if self._running else 0.0
        self._since = self._seen = now
        return elapsed


class LiveJudge(ABC):
    """Called once an epoch, takes a look when it can afford one, and writes down what it sees.

    What is common to the libraries; `interop.torch.Judge` and `interop.SklearnJudge` say how a model is read.

    Parameters
    ----------
    name : str
        Of the run, for its verdict and pictures.
    budget : float or None
        The share of the training time that may go into looks, on average. The first look, and the search for the best
        possible before it, are not counted: they come before training. None: a look after every epoch, whatever it
        costs. Longer trainings leave time for better bounds, which is used.
    every : int
        Epochs between two looks, at the least.
    csv : path, optional
        A table of the looks, a line each, written at once. An older file is replaced.
    log_dir : path, optional
        For TensorBoard: extremal/objective, extremal/lower_bound, extremal/gap and extremal/best_found.
    clock : callable
        Seconds that only ever grow.
    """

    def __init__(
        self,
        *,
        name: str = "",
        budget: float | None = 0.05,
        every: int = 1,
        csv: str | os.PathLike[str] | None = None,
        log_dir: str | os.PathLike[str] | None = None,
        clock: Clock = time.perf_counter,
    ) -> None:
        if every < 1:
            raise ValueError(f"every must be a number of epochs, at least 1; not {every!r}")
        self.name, self.every = name, every
        self.accounts = Accounts(budget, clock)
        self.standard: Standard | None = None
        self._looks: list[Look] = []
        self._epoch = -1
        self._costs: deque[float] = deque(maxlen=RECENT)
        self._not_before, self._due = -np.inf, 0
        self._listeners = [*_table(csv), *_board(log_dir)]

    @abstractmethod
    def _prepared(self, model: Any) -> Standard:
        """What a model is measured by; called before the first look."""

    @abstractmethod
    def _objective(self, model: Any) -> float:
        """What training minimises, at the model's present weights."""

    @abstractmethod
    def _network(self, model: Any) -> Network:
        """The model's present weights."""

    def _settle(self, model: Any) -> None:  # noqa: B027  (most have nothing to wait for)
        """Wait for what training has under way, so that it is not charged to the judge."""

    def __call__(self, model: Any, epoch: int | None = None) -> Look | None:
        """Take a look at the model if it can be afforded: once before training, and after every epoch.

        Parameters
        ----------
        model
            What is trained.
        epoch : int, optional
            The number of epochs since the start. By default the first call is 0 and every further one is the next.

        Returns
        -------
        Look or None
            None if the look would have cost too much.
        """
        self._epoch = self._epoch + 1 if epoch is None else int(epoch)
        if self.accounts.pass_by() < self._not_before or self._epoch < self._due:
            return None
        self.accounts.charge_training()
        if not self._looks:
            look = self._begin(model)
        elif max(self._costs) > self.accounts.left:  # not all of the time was training's
            look = None
        else:
            self._settle(model)
            self.accounts.charge_training()
            look = self._look(model)
            self._costs.append(self.accounts.charge_judging())
            self._improve(model)
            self.accounts.charge_judging()
        self._due = self._looks[-1].epoch + self.every
        self._not_before = self.accounts.time_for(max(self._costs))
        return look

    def _begin(self, model: Any) -> Look:
        """The look before training; its second evaluation tells what a look costs."""
        if self.standard is None:
            self.standard = self._prepared(model)
        self._objective(model)
        self.accounts.begin()
        look = self._look(model)
        self._costs.append(self.accounts.charge_judging())
        self.accounts.judging = 0.0
        return look

    def _look(self, model: Any) -> Look:
        standard = self.standard
        assert standard is not None
        value = self._objective(model)
        value = value if np.isfinite(value) else np.inf
        standard.meet(value)
        look = Look(self._epoch, self.accounts.training, value, standard.lower, standard.best)
        self._looks.append(look)
        for listener in self._listeners:
            listener.write(look)
        return look

    def _improve(self, model: Any) -> None:
        """Spend what the looks leave of the budget on a better bound, if there is one to be had."""
        standard, look = self.standard, self._looks[-1]
        seconds = min(0.5 * self.accounts.left, LONGEST)
        if (
            self.accounts.share is None
            or standard is None
            or not standard.is_open
            or seconds < SHORTEST
            or not np.isfinite(look.objective)
        ):
            return
        if look.objective <= standard.best * (1 + CLOSE):
            standard.search(self._network(model), seconds)

    def restart(self) -> None:
        """Forget the run, for another one; open files go on."""
        self.accounts = Accounts(self.accounts.share, self.accounts.clock)
        self.standard, self._epoch = None, -1
        self._looks, self._costs = [], deque(maxlen=RECENT)
        self._not_before, self._due = -np.inf, 0

    @property
    def history(self) -> tuple[Look, ...]:
        """All looks so far."""
        return tuple(self._looks)

    @property
    def share(self) -> float:
        """The judge's time, as a share of the training time."""
        return self.accounts.judging / self.accounts.training if self.accounts.training > 0 else 0.0

    def verdict(self, model: Any = None) -> str:
        """One line: how far from the best possible training has come.

        Parameters
        ----------
        model
            For a last look, whatever it costs: training is over.
        """
        if model is not None:
            self.accounts.charge_training()
            if not self._looks:
                raise ValueError("the judge has seen nothing of the training; call it after every epoch")
            if self._looks[-1].epoch < self._epoch:
                self._settle(model)
                self._look(model)
            self.accounts.begin()
        if not self._looks or self.standard is None:
            return "nothing was judged: call the judge once before training and after every epoch"
        return verdict_of(self.name or "training", self._looks[-1], self.standard)

    def plot(self, ax: Axes | None = None, *, against: str = "epochs") -> Axes:
        """The objective's distance from the proven lower bound: `plotting.plot_race` of this run alone."""
        return draw([self], ax, against=against)

    def close(self) -> None:
        """Finish the files. A table is complete after every look without it."""
        for listener in self._listeners:
            listener.close()
        self._listeners = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __str__(self) -> str:
        spent = f"{self.accounts.judging:.3g} s of looks in {self.accounts.training:.3g} s of training"
        before = 0.0 if self.standard is None else self.standard.seconds
        return (
            f"{self.verdict()}\n{len(self._looks)} looks; {spent} ({100 * self.share:.2g} %), {before:.3g} s before it"
        )


def verdict_of(name: str, look: Look, standard: Standard) -> str:
    """How far a network is from the best possible, in a sentence."""
    when = f"after {look.epoch} epoch{'' if look.epoch == 1 else 's'} {name}"
    low, high = standard.lower, standard.best
    own, *ends = printed(look.objective if np.isfinite(look.objective) else high, low, high)
    interval = f"({' .. '.join(dict.fromkeys(ends))})"
    if not np.isfinite(look.objective):
        return f"{when} has diverged; the best possible is {interval}"
    if relative_gap(look.objective, low) <= standard.tol:
        return f"{when} is globally optimal: {own}, and no network can be below {ends[0]}"
    if low <= 0:
        return f"{when} stands at {own}; the best possible is {interval}"
    least, most = (100 * max(look.objective - end, 0.0) / end for end in (high, low))
    if least == 0:
        return f"{when} is the best known, at most {most:.2g} % above the best possible {interval}"
    exact = f"{least:.2g}" == f"{most:.2g}"
    above = f"{most:.2g} %" if exact else f"{least:.2g} to {most:.2g} %"
    return f"{when} is {above} above the best possible {interval}"


def draw(judges: Sequence[LiveJudge], ax: Axes | None = None, *, against: str = "epochs") -> Axes:
    """Several runs on one problem, racing to its optimum."""
    from extremal.plotting.race import plot_race

    if against not in ("epochs", "seconds"):
        raise ValueError(f"against must be 'epochs' or 'seconds', not {against!r}")
    seen = [one for one in judges if one.standard is not None]
    if not seen:
        raise ValueError("nothing was judged yet: call the judges while their networks train")
    standards = [one.standard for one in seen if one.standard is not None]
    runs = {}
    for k, one in enumerate(seen):
        name = one.name or f"run {k + 1}"
        name = f"{name} ({k + 1})" if name in runs else name
        place = [look.epoch if against == "epochs" else look.seconds for look in one.history]
        runs[name] = (place, [look.objective for look in one.history])
    return plot_race(
        runs,
        lower=max(standard.lower for standard in standards),
        best=min(standard.best for standard in standards),
        xlabel=against if against == "epochs" else "seconds of training",
        log_x=against == "seconds",
        ax=ax,
    )


class _Table:
    """A CSV file that is whole after every line."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._file = open(path, "w", newline="", encoding="utf-8")  # noqa: SIM115  (closed by `close`)
        self._rows = tables.writer(self._file)
        self._rows.writerow(COLUMNS)
        self._file.flush()

    def write(self, look: Look) -> None:
        self._rows.writerow([look.epoch, *(repr(float(value)) for value in look.row()[1:])])
        self._file.flush()

    def close(self) -> None:
        self._file.close()


class _Board:
    """TensorBoard's scalars."""

    def __init__(self, log_dir: str | os.PathLike[str]) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise ImportError("log_dir needs PyTorch and TensorBoard: pip install 'extremal[torch]'") from error
        self._writer: Any = SummaryWriter(str(log_dir))

    def write(self, look: Look) -> None:
        for tag, value in (
            ("objective", look.objective),
            ("lower_bound", look.lower),
            ("gap", look.gap),
            ("best_found", look.best),
        ):
            self._writer.add_scalar(f"extremal/{tag}", value, look.epoch)

    def close(self) -> None:
        self._writer.close()


def _table(path: str | os.PathLike[str] | None) -> list[Any]:
    return [] if path is None else [_Table(path)]


def _board(log_dir: str | os.PathLike[str] | None) -> list[Any]:
    return [] if log_dir is None else [_Board(log_dir)]
