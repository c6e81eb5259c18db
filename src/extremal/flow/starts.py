"""Many starts on the same data: how often does backpropagation reach the global optimum?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from extremal.design import Array
from extremal.flow import FlowResult, Moment, Verdict, flow
from extremal.training.constrained import MinNormResult, MinNormStatus

#: So many percentages fit into a sentence.
SHOWN = 8


@dataclass(frozen=True, eq=False)
class FlowStatistics:
    """The runs from several starts on the same data.

    Attributes
    ----------
    seeds : tuple of int
    results : tuple of FlowResult
    optimum : MinNormResult or None
        The global optimum, where a run had to be compared with it.
    interrupted : bool
        Whether Ctrl-C ended it before all starts were done.
    """

    seeds: tuple[int, ...]
    results: tuple[FlowResult, ...]
    optimum: MinNormResult | None
    interrupted: bool = False

    @property
    def counts(self) -> Counter[Verdict]:
        """How often each verdict was given."""
        return Counter(result.verdict for result in self.results)

    @property
    def worse(self) -> Array:
        """By how much the limits that are not global are worse than the best network known, ascending."""
        values = [r.value for r in self.results if r.verdict is Verdict.NOT_GLOBAL]
        return np.sort(np.array(values) / self.best - 1.0)

    @property
    def best(self) -> float:
        """The smallest 1/2 |theta|^2 known of a network that separates (interpolates)."""
        return min(result.upper for result in self.results)

    @property
    def lower(self) -> float:
        """The best proven lower bound on it."""
        return max(result.lower for result in self.results)

    @property
    def sentence(self) -> str:
        """What the runs show, in a sentence."""
        counts, total = self.counts, len(self.results)
        text = f"backprop reached the global optimum in {counts[Verdict.GLOBAL]} of {total} start{'s' * (total > 1)}"
        local, shares = counts[Verdict.NOT_GLOBAL], self._shares
        if shares and counts[Verdict.GLOBAL] + local == total:
            rest = "the others are" if local > 1 else "the other one is"
            return f"{text}; {rest if local < total else 'all are' if total > 1 else 'it is'} worse by {shares}"
        if local:
            text += f"; {local} ended in a worse network" + (f" (by {shares})" if shares else "")
        return text + "".join(f"; {counts[verdict]} {words}" for verdict, words in _WORDS.items() if counts[verdict])

    @property
    def _shares(self) -> str:
        """The percentages of `worse`, each once."""
        shares = Counter(f"{100 * excess:.2g} %" for excess in self.worse if excess > 1e-12)
        shown = [share + (f" ({times} times)" if times > 1 else "") for share, times in shares.items()]
        return ", ".join([*shown[:SHOWN], *["..."] * (len(shown) > SHOWN)])

    @property
    def table(self) -> str:
        """A line for every start."""
        lines = ["seed  verdict         1/2 |theta|^2      worse     g(lam)  neurons     time"]
        for seed, result in zip(self.seeds, self.results, strict=True):
            finite = np.isfinite(result.value)
            value = f"{result.value:.9g}" if finite else "-"
            excess = f"{100 * max(round(result.value / self.best - 1, 9), 0.0):.3g} %" if finite else "-"
            gauge = f"{result.gauge.upper:.6f}" if result.gauge is not None else "-"
            lines.append(
                f"{seed:4d}  {name_of(result.verdict):<14}{value:>15} {excess:>10} {gauge:>10} "
                f"{result.network.width:8d} {result.seconds:6.2f} s"
            )
        return "\n".join(lines)

    def __str__(self) -> str:
        return f"{self.table}\n{self.sentence}"


def name_of(verdict: Verdict) -> str:
    """A verdict in one or two words."""
    return verdict.name.lower().replace("_", " ")


_WORDS = {
    Verdict.UNDECIDED: "converged, whether globally is not decided",
    Verdict.STALLED: "stalled",
    Verdict.IMPOSSIBLE: "could not succeed: no network fits these labels",
    Verdict.NOT_CONVERGED: "did not converge",
    Verdict.POLISH_FAILED: "came close to a limit that could not be computed",
    Verdict.DIVERGED: "diverged",
}


def flows(
    X: ArrayLike,
    y: ArrayLike,
    *,
    seeds: int | Iterable[int] = 16,
    optimum: MinNormResult | None = None,
    each: Callable[[int, FlowResult], None] | None = None,
    progress: bool | Callable[[Moment], None] = False,
    **options: Any,
) -> FlowStatistics:
    """:func:`flow` from several random starts on the same data.

    Ctrl-C ends it with what is done so far, the start that it stopped included; before the first result it is raised.

    Parameters
    ----------
    X, y, optimum, progress and other options : as for :func:`flow`
    seeds : int or iterable of int
        How many starts, or their seeds.
    each : callable, optional
        Called with every seed and its result.
    """
    numbers = tuple(range(seeds)) if isinstance(seeds, int) else tuple(int(seed) for seed in seeds)
    if not numbers:
        raise ValueError("at least one start is needed")
    if "random_state" in options:
        raise ValueError("give the seeds of the starts as `seeds`, not `random_state`")
    if not isinstance(options.get("init", 1.0), (int, float)):
        raise ValueError("several starts are random: `init` is their scale")
    results: list[FlowResult] = []
    interrupted = False
    try:
        for seed in numbers:
            result = flow(X, y, optimum=optimum, random_state=seed, progress=progress, **options)
            interrupted = result.interrupted or _stopped(result.optimum, optimum)
            optimum = optimum if result.optimum is None else result.optimum
            results.append(result)
            if each is not None:
                each(seed, result)
            if interrupted:
                break
    except KeyboardInterrupt:
        if not results:
            raise
        interrupted = True
    return FlowStatistics(numbers[: len(results)], tuple(results), optimum, interrupted)


def _stopped(found: MinNormResult | None, known: MinNormResult | None) -> bool:
    """Whether Ctrl-C ended the search for the optimum in this run."""
    return found is not None and found is not known and found.status is MinNormStatus.INTERRUPTED
