"""A verdict on someone's network: the certificate, where its gap comes from, and the better network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Context
from pathlib import Path
from typing import Any

import numpy as np

from extremal.certificate import Certificate, relative_gap
from extremal.conventions import WeightDecay
from extremal.design import Array
from extremal.network import Network

#: The stages of the way down, in their order, and what is done in each.
STAGES = {
    "given": "the network as it was given",
    "balancing": "the same function at the least penalty: layers balanced, dead neurons gone, parallel ones joined",
    "stationarity": "descent with the neurons that are there",
    "merging": "neurons of one activation pattern merged, amplitudes fitted, dependent ones pruned",
    "global search": "new neurons, wherever they are",
}
#: Significant digits of the sentence: so many at the least and at the most.
FEWEST_DIGITS, MOST_DIGITS = 5, 9
#: A decrease of the objective below this fraction is rounding.
ROUNDING = 1e-12


@dataclass(frozen=True, eq=False)
class Stage:
    """Where the way down stood: one of STAGES, its network in the user's convention, and the objective of that."""

    name: str
    network: Network
    objective: float


@dataclass(frozen=True, eq=False, kw_only=True)
class Judgement(Certificate):
    """How far a network is from the global optimum of its own training problem, why, and what is better.

    The fields of :class:`extremal.Certificate` are about the given network, and in its own terms: `primal` is its
    objective, `dual` the best proven lower bound, `lam` (without a row of the mapped problem) the multiplier behind it,
    `witness` a neuron in the user's features, `beta` = sqrt(hidden output).

    Attributes
    ----------
    stages : tuple of Stage
        The network as it was given, and after each of balancing, stationarity, merging and global search; objectives
        never rise.
    decay : WeightDecay
        The penalty.
    seconds : float
    """

    stages: tuple[Stage, ...]
    decay: WeightDecay
    seconds: float

    @property
    def network(self) -> Network:
        """The network that was judged."""
        return self.stages[0].network

    @property
    def improved(self) -> Network:
        """The best network found, in the user's convention: layers balanced for that penalty, biases as they are."""
        return self.stages[-1].network

    @property
    def best(self) -> float:
        """The objective of `improved`."""
        return self.stages[-1].objective

    @property
    def interval(self) -> tuple[float, float]:
        """(dual, best): the global optimum lies between them."""
        return self.dual, self.best

    @property
    def split(self) -> dict[str, float]:
        """What each stage contributes to primal - dual, and what stays open: five nonnegative numbers, that is all."""
        values = [stage.objective for stage in self.stages]
        parts = {stage.name: values[k] - stage.objective for k, stage in enumerate(self.stages[1:])}
        return {**parts, "open": self.best - self.dual}

    @property
    def is_improved(self) -> bool:
        """Whether a network was found that is better by more than rounding and the tolerance."""
        return self.primal - self.best > max(self.tol, ROUNDING) * abs(self.primal)

    @property
    def sentence(self) -> str:
        """The verdict in one line."""
        primal, low, high = printed(self.primal, self.dual, self.best)
        possible = low if low == high else f"{low} .. {high}"
        if self.status.proven:
            return f"your network: {primal}; same data, same penalty, best possible: {possible}; it is optimal"
        if not self.is_improved:
            return (
                f"your network: {primal}; same data, same penalty, best possible: {possible}; nothing better was found"
            )
        share = (self.primal - self.best) / self.primal
        return (
            f"your network: {primal}; same data, same penalty, best possible: {possible} "
            f"({percent(share)} lower); here it is: .improved"
        )

    def __str__(self) -> str:
        width = max(len(name) for name in self.split) + 2
        own_gap = relative_gap(self.best, self.dual)
        total = self.primal - self.dual
        rows = [
            f"  {name:{width}}{part:14.6g}{percent(part / total) if total > 0 else '0 %':>10}"
            for name, part in self.split.items()
        ]
        better = f"{self.improved.width} neurons ({self.network.width} given)" if self.is_improved else "none found"
        return "\n".join(
            [
                self.sentence,
                f"judged on                  the {self.loss} loss + {self.decay}",
                f"objective of the network   {self.primal:.10g}",
                f"better network             {better}",
                f"best objective found       {rounded(self.best, 10, ROUND_CEILING)}",
                f"no network can be below    {rounded(self.dual, 10, ROUND_FLOOR)}",
                f"relative gap               {self.gap:.2e}, of the best found {own_gap:.2e}",
                "where the gap comes from",
                *rows,
                f"stationarity               {self.stationarity:.1e}",
                f"violation of g <= beta     {self.violation:.1e}",
                f"gauge method               {self.gauge.method}",
                f"status                     {self.status.value}",
                *([] if self.search_dual is None else [f"proof                      {self.shortfall}"]),
                f"time                       {self.seconds:.2f} s",
            ]
        )

    def _arrays(self) -> dict[str, Array]:
        arrays = super()._arrays()
        for k, stage in enumerate(self.stages):
            network = stage.network
            arrays |= {
                f"stage{k}_hidden": network.hidden,
                f"stage{k}_output": network.output,
                f"stage{k}_intercept": network.intercept,
                f"stage{k}_bias": np.array(network.bias),
            }
        decay = (self.decay.hidden, self.decay.output, self.decay.hidden_bias, self.decay.output_bias)
        return arrays | {
            "stages": np.array([stage.name for stage in self.stages]),
            "objectives": np.array([stage.objective for stage in self.stages]),
            "decay": np.array([np.nan if factor is None else factor for factor in decay]),
            "seconds": np.array(self.seconds),
        }

    @classmethod
    def _extras(cls, file: Mapping[str, Array], path: str | Path) -> dict[str, Any]:
        if "stages" not in file:
            raise ValueError(f"{path} is a certificate without a judgement; read it with Certificate.load")
        names, objectives = file["stages"], file["objectives"]
        stages = []
        for k in range(len(names)):
            hidden, output, intercept = (file[f"stage{k}_{part}"] for part in ("hidden", "output", "intercept"))
            network = Network(hidden, output, intercept, bias=bool(file[f"stage{k}_bias"]))
            stages.append(Stage(str(names[k]), network, float(objectives[k])))
        decay = WeightDecay(*(None if np.isnan(factor) else float(factor) for factor in file["decay"]))  # type: ignore[arg-type]
        return {"stages": tuple(stages), "decay": decay, "seconds": float(file["seconds"])}


def printed(primal: float, dual: float, best: float) -> tuple[str, str, str]:
    """The three numbers with so many digits that those differ that do: dual rounded downwards, best upwards."""
    for digits in range(FEWEST_DIGITS, MOST_DIGITS + 1):
        low, high = rounded(dual, digits, ROUND_FLOOR), rounded(best, digits, ROUND_CEILING)
        own = rounded(primal, digits, ROUND_CEILING)
        if best - dual > 10.0 ** (1 - digits) * abs(best) and (own != high or primal == best):
            break
    return own, low, high


def rounded(value: float, digits: int, rounding: str) -> str:
    """A number with so many significant digits, one of decimal's ROUND_FLOOR and ROUND_CEILING: a bound stays one."""
    return format(Context(prec=digits, rounding=rounding).create_decimal(repr(float(value))).normalize(), "f")


def percent(share: float) -> str:
    """A share with two digits: "3.3 %"."""
    return f"{100 * share:.2g} %" if share < 0.995 else f"{100 * share:.3g} %"
