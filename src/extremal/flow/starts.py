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
from extremal.training.constrained import MinNormResult

#: Different excesses that are named in the sentence.
SHOWN = 6
#: Values that agree to this are the same.
SAME = 1e-9


@dataclass(frozen=True, eq=False)
class FlowStatistics:
    """The runs from several starts on the same data.

    Attributes
    ----------
    seeds : tuple of int
    results : tuple of FlowResult
    optimum : MinNormResult or None
        The global optimum, where a run had to be compared with it.
    """

    seeds: tuple[int, ...]
    results: tuple[FlowResult, ...]
    optimum: MinNormResult | None

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
        text = f"backprop reached the global optimum in {counts[Verdict.GLOBAL]} of {total} starts"
        if len(self.worse):
            shares = Counter(f"{100 * excess:.2g} %" for excess in self.worse)
            shown = [share + (f" ({times} times)" if times > 1 else "") for share, times in shares.items()]
            more = ", ..." if len(shown) > SHOWN else ""
            text += f"; {len(self.worse)} ended in a worse stationary direction, by {', '.join(shown[:SHOWN])}{more}"
        for verdict, words in _WORDS.items():
            if counts[verdict]:
                text += f"; {counts[verdict]} {words}"
        return text

    def __str__(self) -> str:
        lines = ["seed  verdict         1/2 |theta|^2      worse     g(lam)  neurons   time"]
        for seed, result in zip(self.seeds, self.results, strict=True):
            worse = result.value / self.best - 1 if np.isfinite(result.value) else np.nan
            excess = f"{100 * worse if worse > SAME else 0.0:8.3g} %" if np.isfinite(worse) else " " * 10
            gauge = f"{result.gauge.upper:10.6f}" if result.gauge is not None else " " * 10
            lines.append(
                f"{seed:4d}  {result.verdict.name.lower():<14}{result.value:15.9g} {excess} {gauge} "
                f"{result.network.width:8d} {result.seconds:5.2f}s"
            )
        return "\n".join([*lines, self.sentence])


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
    results = []
    for seed in numbers:
        result = flow(X, y, optimum=optimum, random_state=seed, progress=progress, **options)
        optimum = optimum if result.optimum is None else result.optimum
        results.append(result)
        if each is not None:
            each(seed, result)
    return FlowStatistics(numbers, tuple(results), optimum)
