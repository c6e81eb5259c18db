"""Anyone's network on its own training problem: how far from the best, why, and what is better."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, fields, replace

import numpy as np
from numpy.typing import ArrayLike

from extremal.certificate import Certificate, DualBound, Status, certify_on, relative_gap, stationarity
from extremal.conventions import MappedProblem, WeightDecay
from extremal.gauge import GaugeBounds, GaugeStatus, check_limits, check_threads, compile_kernels
from extremal.gauge.ascent import ascend, random_starts
from extremal.gauge.free_bias import free_bounds, is_affordable
from extremal.gauge.search import CONE_RANK
from extremal.judgement.descent import EXPLORING, REFINING, balanced, globally, merged, stationary
from extremal.judgement.result import ROUNDING, STAGES, Judgement, Stage
from extremal.losses import Loss
from extremal.network import Network
from extremal.proving import SECONDS as PROOF_SECONDS
from extremal.proving import plain_data, with_proof_on
from extremal.training import FitResult, fit_problem

__all__ = ["Judgement", "Stage", "certify_as_it_is", "judge"]

#: Seconds by default.
SECONDS = 12.0
#: The shares of the time after which descent, merging and, with a free hidden bias, the searches have to end.
DESCENT, MERGING, EXPLORED, REFINED = 0.15, 0.25, 0.4, (0.45, 0.55)
#: The columns of a free hidden bias with which bounds are sought, in units of the longest row. A longer one leaves
#: less to what the penalty of the bias may hide, and makes the gauge harder to bound.
LADDER = (1.0, 2.0, 5.0, 15.0, 50.0, 200.0, 1000.0)
#: The share of the time after which they give way to a tree of signs where every part has a column of its own, in more
#: than CONE_RANK dimensions: below, cones bound the gauge with long columns too.
LADDER_SHARE = 0.65
#: The share of the remaining time for a step of the ladder, and its gap relative to what the penalty may hide.
STEP, FINE_ENOUGH = 0.7, 0.02
#: Starts of the search for a neuron that improves the given network.
STARTS = 100


def judge(
    network: Network,
    X: ArrayLike,
    y: ArrayLike,
    *,
    decay: WeightDecay,
    loss: str | Loss = "squared",
    sample_weight: ArrayLike | None = None,
    tol: float = 1e-6,
    time_limit: float | None = None,
    random_state: int | np.random.Generator | None = 0,
    proof: bool = False,
    n_jobs: int = 1,
) -> Judgement:
    """How far a network is from the best of any width for  sum_i w_i loss(f(x_i), y_i) + its weight decay, and why.

    The network is balanced, made stationary with the neurons that it has, merged, and searched from for new neurons.
    Each stage keeps its network, the objective never rises, and the best lower bound met on the way is the certificate.

    Parameters
    ----------
    network : Network
        With ``bias=True`` if and only if there is a factor for hidden biases in `decay`.
    X, y, loss, sample_weight
        The data it was trained on, and its loss; `sample_weight` holds 1/n for a mean.
    decay : WeightDecay
        The penalty that it was trained with, for every group of parameters.
    tol : float
        The relative gap at which the network counts as optimal.
    time_limit : float, optional
        Seconds for everything (a proof comes on top); 12 by default.
    random_state : int
        Seed of the searches; it has no influence on what is proved.
    proof : bool
        Whether the judgement shall carry a proof that `extremal.verify` checks.
    n_jobs : int
        Threads of the search for the lower bound.

    Returns
    -------
    Judgement
        After Ctrl-C what there is by then, with a valid gap.

    Raises
    ------
    ValueError
        If the data or the parameters are unusable, or do not fit together.
    """
    check_limits(tol, time_limit)
    check_threads(n_jobs)
    mapped = checked(network, X, y, decay, loss, sample_weight, proof)
    compile_kernels()
    way = Way(mapped, tol, SECONDS if time_limit is None else time_limit, np.random.default_rng(random_state), n_jobs)
    way.offer("given", network)
    way.certificate = trivial(mapped, network, tol)
    try:
        way.certificate = own_terms(mapped, network, way)
        way.go_down()
    except KeyboardInterrupt:
        way.interrupted = True
    judgement = way.judgement()
    if proof and not way.interrupted:
        return proved(judgement, way, time_limit)
    return judgement


def certify_as_it_is(
    network: Network,
    X: ArrayLike,
    y: ArrayLike,
    *,
    decay: WeightDecay,
    loss: str | Loss = "squared",
    sample_weight: ArrayLike | None = None,
    tol: float = 1e-6,
    time_limit: float | None = None,
    random_state: int | np.random.Generator | None = 0,
    proof: bool = False,
    n_jobs: int = 1,
) -> Certificate:
    """The bounds that the network's own -grad loss proves, as `judge` states them; no better network is sought."""
    check_limits(tol, time_limit)
    mapped = checked(network, X, y, decay, loss, sample_weight, proof)
    ladder = (LADDER[1], LADDER[3]) if mapped.radius else (1.0,)
    limit = None if time_limit is None else time_limit / len(ladder)
    found = []
    for factor in ladder:
        seen = mapped.reaching(factor)
        inside = seen.inside(network)
        certificate = certify_on(
            seen.bounding, inside, tol=tol, time_limit=limit, random_state=random_state, n_jobs=n_jobs
        )
        found.append(in_users_terms(seen, network, certificate))
    best = max(found, key=lambda certificate: certificate.dual)
    if not proof:
        return best
    return with_proof_on(mapped.problem, mapped.inside(network), best, time_limit=time_limit, n_jobs=n_jobs)


def checked(
    network: Network,
    X: ArrayLike,
    y: ArrayLike,
    decay: WeightDecay,
    loss: str | Loss,
    sample_weight: ArrayLike | None,
    proof: bool,
) -> MappedProblem:
    """The problem, if the network belongs to it."""
    if proof and not decay.is_plain:
        raise ValueError(
            "a proof can be checked for hidden biases that are penalised like the hidden weights (or none), and an "
            f"output bias that is not penalised (or none); the penalty here is {decay}. Leave proof=False"
        )
    mapped = decay.problem(X, y, loss=loss, sample_weight=sample_weight)
    mapped.check(network)
    with np.errstate(over="ignore", invalid="ignore"):
        if not np.isfinite(mapped.value(network)):
            raise ValueError(
                "the objective of this network overflows; training has diverged, or the data are too large"
            )
    return mapped


def in_users_terms(mapped: MappedProblem, network: Network, certificate: Certificate) -> Certificate:
    """The certificate of a mapped network in terms of the user's network."""
    primal = mapped.value(network)
    dual = min(certificate.dual, primal)
    status = certificate.status
    if (relative_gap(primal, dual) <= certificate.tol) is not status.proven:
        status = Status.CONVERGED if status.proven else Status.OPTIMAL
    gauge = replace(certificate.gauge, witness=mapped.direction(certificate.gauge.witness))
    return replace(
        certificate,
        primal=primal,
        dual=dual,
        status=status,
        lam=certificate.lam[: mapped.loss.shape[0]],
        gauge=gauge,
        witness=mapped.direction(certificate.witness),
        beta=mapped.decay.beta,
        loss=mapped.loss.name,
    )


def trivial(mapped: MappedProblem, network: Network, tol: float) -> Certificate:
    """What is known of the given network at once: its objective, and dual = D(0)."""
    value, bound = mapped.value(network), DualBound.trivial(mapped.problem).value
    nowhere = np.zeros(mapped.design.d)
    return Certificate(
        primal=value,
        dual=min(bound, value),
        status=Status.CONVERGED,
        lam=np.zeros(mapped.loss.shape),
        gauge=GaugeBounds(0.0, 0.0, nowhere, GaugeStatus.EXACT, "zero"),
        violation=-1.0,
        witness=nowhere,
        stationarity=np.inf,
        beta=mapped.decay.beta,
        loss=mapped.loss.name,
        tol=tol,
    )


def own_terms(mapped: MappedProblem, network: Network, way: Way) -> Certificate:
    """What is known of the given network before any search for a better one: also its witness and its residual."""
    seen = mapped.reaching(EXPLORING)
    inside = seen.inside(network)
    normal, scaling = seen.problem.normalised()
    lam = seen.problem.multiplier(inside)
    starts = random_starts(normal.design, STARTS, way.rng, scaling.inverse(inside).hidden)
    found = ascend(
        normal.design, normal.multiplier(scaling.inverse(inside)), starts, rng=way.rng, deadline=way.until(0.1)
    )
    u = scaling.directions(found.U)
    height = np.linalg.norm(np.maximum(seen.problem.design.forward(u), 0).T @ lam, axis=1)
    length = np.linalg.norm(u[:-1] if mapped.radius else u, axis=0)
    # a direction without weights is a constant, which is not a neuron's business
    rate = np.divide(height, length, out=np.zeros_like(height), where=length > 1e-9)
    best = int(np.argmax(rate)) if rate.size else -1
    witness = seen.direction(u[:, best] if rate.size else np.zeros(seen.problem.design.d))
    assert way.certificate is not None
    return replace(
        way.certificate,
        gauge=replace(way.certificate.gauge, witness=witness),
        violation=max(float(rate[best]) / mapped.decay.beta - 1.0, -1.0) if rate.size else -1.0,
        witness=witness,
        stationarity=stationarity(seen.problem, inside, free_bias=mapped.radius > 0),
    )


@dataclass(eq=False)
class Way:
    """The way down from a network: its stages so far, and the best bound met."""

    mapped: MappedProblem
    tol: float
    seconds: float
    rng: np.random.Generator
    n_jobs: int
    stages: list[Stage] = field(default_factory=list)
    certificate: Certificate | None = None
    fitted: FitResult | None = None
    interrupted: bool = False
    began: float = field(default_factory=time.monotonic)

    @property
    def network(self) -> Network:
        return self.stages[-1].network

    def until(self, share: float) -> float:
        """The time of time.monotonic() when a share of the time is spent."""
        return self.began + share * self.seconds

    @property
    def left(self) -> float:
        return max(self.until(1.0) - time.monotonic(), 1e-3)

    def offer(self, name: str, network: Network) -> None:
        """End a stage, with the network if it is no worse than the last; or improve the stage that is under way.

        What a stage gains by rounding alone is not counted: its objective is then that of the last.
        """
        value = self.mapped.value(network)
        stage = Stage(name, network, value)
        if self.stages:
            last = self.stages[-1]
            if not value <= last.objective:
                stage = replace(last, name=name)
            elif last.objective - value <= ROUNDING * last.objective:
                stage = Stage(name, network, last.objective)
        if self.stages and self.stages[-1].name == name:
            self.stages[-1] = stage
        else:
            self.stages.append(stage)

    def go_down(self) -> None:
        """All stages; Ctrl-C leaves those that are done."""
        mapped = self.mapped
        self.offer("balancing", balanced(mapped, self.network))
        self.offer("stationarity", stationary(mapped, self.network, self.until(DESCENT), self.rng))
        self.offer("merging", merged(mapped, self.network, self.until(MERGING), self.rng))
        if mapped.radius:
            self.search_with_free_bias()
        else:
            self.search(mapped, 1.0, proof=True)

    def search(self, mapped: MappedProblem, share: float, *, proof: bool) -> FitResult:
        """The global search; its network is offered."""
        result = globally(
            mapped,
            self.network,
            tol=self.tol,
            deadline=self.until(share),
            rng=self.rng,
            n_jobs=self.n_jobs,
            proof=proof,
        )
        self.take(mapped, result, proof=proof)
        return result

    def search_with_free_bias(self) -> None:
        """A search that sees the data well, one for the last digits, and bounds: by longer columns, and by a tree."""
        self.search(self.mapped.reaching(EXPLORING), EXPLORED, proof=False)
        for factor, share in zip(REFINING, REFINED, strict=True):
            self.continued(self.mapped.reaching(factor), self.until(share) - time.monotonic(), self.tol, proof=False)
        grown = self.mapped.loss.shape[1] == 1 and is_affordable(self.mapped.centred, self.left)
        shared = grown and self.mapped.design.d > CONE_RANK
        self.climb_ladder(self.until(LADDER_SHARE if shared else 1.0))
        if grown and self.gap > self.tol and is_affordable(self.mapped.centred, self.left):
            self.bound_of_own_multiplier()

    def climb_ladder(self, deadline: float) -> None:
        """Bounds from longer and longer columns for the bias, as long as they improve."""
        bound = -np.inf
        for factor in LADDER:
            seen = self.mapped.reaching(factor)
            seen = replace(seen, problem=seen.bounding)
            tol = max(self.tol, FINE_ENOUGH * (seen.excess - 1))
            result = self.continued(seen, STEP * (deadline - time.monotonic()), tol, proof=True)
            over = deadline - time.monotonic() < 0.05 * self.seconds
            if result.certificate.dual <= bound or over or self.gap <= self.tol:
                return
            bound = result.certificate.dual

    def bound_of_own_multiplier(self) -> None:
        """What the best network's own multiplier proves, its gauge bounded with the bias as free as it is."""
        problem, inside = self.mapped.problem, self.mapped.inside(self.network)
        lam = problem.loss.centred(problem.multiplier(problem.with_best_intercept(inside)))
        gauge = free_bounds(
            self.mapped.centred,
            lam[:, 0],
            near=inside.hidden[:-1],
            tol=0.1 * self.tol,
            deadline=self.until(1.0),
            n_jobs=self.n_jobs,
        )
        w, b = gauge.witness[:-1], gauge.witness[-1]
        gauge = replace(gauge, witness=np.append(w, b - self.mapped.centre @ w))
        self.adopt(DualBound.at(problem, lam, gauge))
        if gauge.status is GaugeStatus.INTERRUPTED:
            raise KeyboardInterrupt

    def continued(self, mapped: MappedProblem, seconds: float, tol: float, *, proof: bool) -> FitResult:
        """Training from the best network; its network is offered."""
        result = fit_problem(
            mapped.problem,
            tol=tol,
            time_limit=max(seconds, 1e-3),
            random_state=self.rng,
            start=mapped.inside(self.network),
            proof=proof,
            n_jobs=self.n_jobs,
        )
        self.take(mapped, result, proof=proof)
        return result

    def take(self, mapped: MappedProblem, result: FitResult, *, proof: bool) -> None:
        """Offer the network of a fit, and take over its bound; Ctrl-C goes on after that."""
        self.offer("global search", mapped.outside(result.network))
        if proof:
            self.learn(mapped, result)
        if result.status is Status.INTERRUPTED:
            raise KeyboardInterrupt

    def learn(self, mapped: MappedProblem, result: FitResult) -> None:
        """Take over what a fit has proved if that is more."""
        assert self.certificate is not None
        found = result.certificate
        if found.dual > self.certificate.dual:
            self.fitted = result
        gauge = replace(found.gauge, witness=mapped.direction(found.gauge.witness))
        self.adopt(DualBound(found.dual, found.lam[: mapped.loss.shape[0]], gauge))

    def adopt(self, bound: DualBound) -> None:
        """Take over a bound, in the user's terms, if it is larger."""
        assert self.certificate is not None
        if bound.value > self.certificate.dual:
            self.certificate = replace(self.certificate, dual=bound.value, lam=bound.lam, gauge=bound.gauge)

    @property
    def gap(self) -> float:
        """The gap of the best network."""
        assert self.certificate is not None
        return relative_gap(self.stages[-1].objective, self.certificate.dual)

    def judgement(self) -> Judgement:
        """Everything together."""
        assert self.certificate is not None
        stages = list(self.stages)
        stages += [replace(stages[-1], name=name) for name in list(STAGES)[len(stages) :]]
        dual = min(self.certificate.dual, stages[-1].objective)
        known = {part.name: getattr(self.certificate, part.name) for part in fields(Certificate)}
        given = Judgement(
            **{**known, "dual": dual},
            stages=tuple(stages),
            decay=self.mapped.decay,
            seconds=time.monotonic() - self.began,
        )
        return replace(given, status=status_of(given, self.interrupted))


def status_of(judgement: Judgement, interrupted: bool) -> Status:
    """What was found out about the given network."""
    if judgement.gap <= judgement.tol:
        return Status.OPTIMAL
    if interrupted:
        return Status.INTERRUPTED
    if judgement.violation > max(judgement.tol, 1e-9):
        return Status.NOT_OPTIMAL
    return Status.IMPROVED if judgement.is_improved else Status.CONVERGED


def proved(judgement: Judgement, way: Way, time_limit: float | None) -> Judgement:
    """The judgement with a proof: that of the best network, with the given network in its place."""
    problem, result = way.mapped.problem, way.fitted
    if result is None:
        return judgement
    began = time.monotonic()
    limit = PROOF_SECONDS if time_limit is None else time_limit
    best = with_proof_on(problem, result.network, result.certificate, time_limit=limit, n_jobs=way.n_jobs)
    if best.proof is None:
        return replace(judgement, status=Status.INTERRUPTED if not judgement.status.proven else judgement.status)
    inside = way.mapped.inside(judgement.network)
    own = replace(best.proof, hidden=inside.hidden, output=inside.output, offset=inside.intercept)
    proof = own.proved(plain_data(problem), problem.loss.target)
    first = replace(judgement.stages[0], objective=proof.primal)
    stages = [first]
    for stage in judgement.stages[1:]:
        stages.append(replace(stage, objective=min(stage.objective, stages[-1].objective)))
    stated = replace(
        judgement,
        primal=proof.primal,
        dual=min(proof.dual, stages[-1].objective),
        search_dual=best.search_dual,
        lam=proof.lam,
        gauge=best.gauge,
        proof=proof,
        stages=tuple(stages),
        seconds=judgement.seconds + time.monotonic() - began,
    )
    return replace(stated, status=status_of(stated, False))
