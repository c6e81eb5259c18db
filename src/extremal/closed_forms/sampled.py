"""How far the convex program over sampled patterns is from the certified optimum, next to what theory promises."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import pairwise
from math import log, sqrt

import numpy as np
from numpy.typing import ArrayLike

from extremal.arrangements import Patterns, PatternSample, sample_arrangements
from extremal.losses import Loss
from extremal.network import Network
from extremal.problem import Bias, Problem
from extremal.programs import gated_program, pattern_program
from extremal.programs.blocks import Blocks, lengths, signed
from extremal.training import FitResult, fit_problem

#: No relaxed program beyond so many patterns.
LARGEST_RELAXED = 10_000
#: A pattern improves the program if its price exceeds beta by more than this fraction.
IMPROVES = 1e-6


@dataclass(frozen=True)
class SampledProgram:
    """The convex program over the patterns of so many random directions.

    Attributes
    ----------
    size : int
        Directions drawn. The samples are nested: each one contains the smaller ones.
    patterns : int
        Distinct patterns among theirs.
    value : float
        The optimum of the program: the best network whose neurons have these patterns.
    gap : float
        The relative gap to which the program was solved.
    ratio : float
        value / objective of the best network known. The true ratio is at least that, and at most value / lower bound.
    largest_ratio : float
        value / proven lower bound.
    relaxed : float or None
        The optimum of the gated program of these patterns, without cone constraints.
    improving : float
        The share of fresh random patterns that would improve the program, measured.
    scenario : float
        The scenario bound on the chance of that, at the given confidence; 1 if it says nothing.
    seconds : float
        CPU time of the program.
    """

    size: int
    patterns: int
    value: float
    gap: float
    ratio: float
    largest_ratio: float
    relaxed: float | None
    improving: float
    scenario: float
    seconds: float


@dataclass(frozen=True, eq=False)
class SampledPatterns:
    """Sampled programs of growing size against the certified optimum.

    Attributes
    ----------
    programs : tuple of SampledProgram
    n : int
        Samples.
    rank : int
        Of the data, with the column of ones.
    optimum : float
        The objective of the best network known: trained, or better.
    lower : float
        A proven lower bound on the objective of every network.
    probes : int
        Fresh patterns behind `improving`.
    confidence : float
        The scenario bound may fail for such a part of the draws.
    """

    programs: tuple[SampledProgram, ...]
    n: int
    rank: int
    optimum: float
    lower: float
    probes: int
    confidence: float

    @property
    def root_log(self) -> float:
        """sqrt(log 2n): the order of the ratio optimum / relaxed program for Gaussian data (Kim & Pilanci 2024)."""
        return sqrt(log(2 * self.n))

    @property
    def relaxation(self) -> float | None:
        """optimum / relaxed value, over the largest sample for which that is known."""
        known = [program.relaxed for program in self.programs if program.relaxed]
        return self.optimum / known[-1] if known else None

    def __str__(self) -> str:
        head = f"n = {self.n}, rank {self.rank}; optimum {self.optimum:.8g}, proven to be at least {self.lower:.8g}"
        lines = [head, "draws     patterns  ratio              relaxed   improving  scenario bound  CPU s"]
        for row in self.programs:
            interval = f"{row.ratio:.5f} - {row.largest_ratio:.5f}"
            relaxed = "" if row.relaxed is None else f"{row.relaxed / self.optimum:.4f}"
            lines.append(
                f"{row.size:<10}{row.patterns:<10}{interval:<19}{relaxed:<10}{row.improving:<11.4f}"
                f"{row.scenario:<16.3g}{row.seconds:.1f}"
            )
        if self.relaxation is not None:
            lines.append(f"optimum / relaxed {self.relaxation:.3f}, sqrt(log 2n) = {self.root_log:.3f}")
        return "\n".join(lines)


def sampled_patterns(
    X: ArrayLike,
    y: ArrayLike,
    *,
    beta: float,
    loss: str | Loss = "squared",
    bias: Bias = "penalized",
    intercept: bool = False,
    sample_weight: ArrayLike | None = None,
    sizes: Iterable[int] = (10, 100, 1_000, 10_000, 100_000),
    method: str = "gaussian",
    relaxed: bool = True,
    probes: int = 2_000,
    confidence: float = 0.05,
    best: FitResult | None = None,
    time_limit: float = 60.0,
    random_state: int = 0,
) -> SampledPatterns:
    """The optimum of the convex program over random patterns, for more and more of them, against the certified optimum.

    Parameters
    ----------
    X, y, beta, loss, bias, intercept, sample_weight
        The training problem, as for :func:`extremal.fit`; one output.
    sizes : iterable of int
        Increasing numbers of random directions.
    method : str
        How they are drawn, as for :func:`extremal.sample_arrangements`. The scenario bound is for independent draws,
        "gaussian" or "data".
    relaxed : bool
        Also solve the gated program, without cone constraints, for up to 10,000 patterns.
    probes : int
        Fresh directions, to see how many would improve the program.
    confidence : float
        The scenario bound holds but for this part of the draws.
    best : FitResult, optional
        The certified optimum, if it is at hand; by default the problem is solved.
    time_limit : float
        Seconds from which on no further program is begun. (1e5 patterns for n = 100, d = 10 take about 25 s.)
    random_state : int

    Returns
    -------
    SampledPatterns

    Raises
    ------
    ValueError
        If there are several outputs, the sizes do not increase, or the data or parameters are unusable.

    Notes
    -----
    The scenario bound, for P independent patterns: with probability 1 - confidence over their draw, another pattern
    improves the program with probability at most min{(n + 1) / (confidence (P + 1)), 2 (n + 1 - log confidence) / P}.
    It bounds how often, not by how much: that the ratio is near 1 does not follow.

    References
    ----------
    Calafiore & Campi (2006) for scenarios; Kim & Pilanci (2024): for Gaussian data the optimum is within O(sqrt(log n))
    of the relaxed program over polynomially many gates.
    """
    counts = [int(size) for size in sizes]
    if not counts or counts[0] < 1 or any(a >= b for a, b in pairwise(counts)):
        raise ValueError("sizes must be positive and increasing")
    if probes < 1 or not 0 < confidence < 1:
        raise ValueError("probes must be positive, confidence between 0 and 1")
    problem = Problem.from_data(X, y, beta=beta, loss=loss, bias=bias, intercept=intercept, sample_weight=sample_weight)
    if problem.loss.shape[1] > 1:
        raise ValueError(f"sampled programs are for one output; y has {problem.loss.shape[1]}")
    began = time.monotonic()
    result = best if best is not None else fit_problem(problem)
    optimum, lower = result.certificate.primal, result.certificate.dual
    seeds = iter(np.random.default_rng(random_state).integers(2**31, size=len(counts) + 1).tolist())

    def draw(size: int) -> PatternSample:
        return sample_arrangements(problem.design.dense(), size, random_state=next(seeds), method=method)

    fresh = draw(probes)
    rows: list[SampledProgram] = []
    found: Patterns | None = None
    for drawn, size in zip([0, *counts[:-1]], counts, strict=True):
        if rows and time.monotonic() - began > time_limit:
            break
        new = draw(size - drawn).patterns
        found = new if found is None else found | new
        rows.append(_solved(problem, found, size, fresh, relaxed=relaxed, confidence=confidence))
        optimum = min(optimum, rows[-1].value)
    normal, _ = problem.normalised()
    programs = tuple(
        replace(row, ratio=row.value / optimum, largest_ratio=row.value / lower if lower > 0 else np.inf)
        for row in rows
    )
    return SampledPatterns(programs, problem.design.n, normal.design.d, optimum, lower, fresh.draws, confidence)


def scenario_violation(n: int, size: int, confidence: float = 0.05) -> float:
    """The chance up to which one more pattern helps after `size` independent ones, with probability 1 - confidence.

    The inverse of :func:`extremal.scenario_size`; at most 1.
    """
    if n < 1 or size < 1 or not 0 < confidence < 1:
        raise ValueError("n and size must be positive, confidence between 0 and 1")
    return min(1.0, (n + 1) / (confidence * (size + 1)), 2 * (n + 1 - log(confidence)) / size)


def improving_share(problem: Problem, network: Network, sample: PatternSample) -> float:
    """The part of the draws in a sample whose pattern has a neuron, of either sign, that improves the network.

    That is max {|lam^T (Xu)_+| : u in the cell, |u| <= 1} > beta, the length of a projection onto the cone of the cell.
    """
    normal, scaling = problem.normalised()
    lam = normal.multiplier(scaling.inverse(network))[:, 0]
    blocks = Blocks.relu(normal.design, *signed(sample.patterns.unpack(), None, normal.design.n))
    limit = normal.beta * (1 + IMPROVES)
    improves = lengths(blocks.projections(lam, cutoff=0.99 * limit).T).reshape(2, -1).max(axis=0) > limit
    return float(sample.times[improves].sum() / sample.draws)


def _solved(
    problem: Problem, found: Patterns, size: int, fresh: PatternSample, *, relaxed: bool, confidence: float
) -> SampledProgram:
    patterns = found.unpack()
    began = time.process_time()
    solution = pattern_program(problem, patterns)
    seconds = time.process_time() - began
    gated = gated_program(problem, patterns).value if relaxed and len(patterns) <= LARGEST_RELAXED else None
    return SampledProgram(
        size=size,
        patterns=len(patterns),
        value=solution.value,
        gap=solution.gap,
        ratio=1.0,
        largest_ratio=np.inf,
        relaxed=gated,
        improving=improving_share(problem, solution.network, fresh),
        scenario=scenario_violation(problem.design.n, size, confidence),
        seconds=seconds,
    )
