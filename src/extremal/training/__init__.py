"""Training to the global optimum of  sum_i w_i loss(f(x_i), y_i) + beta/2 (|W|_F^2 + |A|_F^2)."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from extremal.certificate import DualBound, Status, assemble
from extremal.gauge import bounds_of, check_limits, check_threads, compile_kernels
from extremal.losses import Loss
from extremal.network import Network
from extremal.problem import Bias, Problem, Scaling
from extremal.proving import with_proof_on
from extremal.training.atoms import Atoms
from extremal.training.result import FitResult, Progress, Record, reporter
from extremal.training.solver import Run, train

__all__ = ["FitResult", "Record", "beta_max", "fit", "fit_problem", "path"]


def fit(
    X: ArrayLike,
    y: ArrayLike,
    *,
    beta: float,
    loss: str | Loss = "squared",
    bias: Bias = "penalized",
    intercept: bool = False,
    sample_weight: ArrayLike | None = None,
    tol: float = 1e-6,
    time_limit: float | None = None,
    random_state: int | np.random.Generator | None = 0,
    progress: Progress = False,
    start: Network | None = None,
    proof: bool = False,
    n_jobs: int = 1,
) -> FitResult:
    """The two-layer ReLU network of least  sum_i w_i loss(f(x_i), y_i) + beta/2 (|W|_F^2 + |A|_F^2), any width.

    Parameters
    ----------
    X : array, sparse matrix or data frame of shape (n, d)
    y : array of shape (n,) or (n, c)
        Values for "squared" and "huber", labels -1/+1 or 0/1 for "logistic" and "squared_hinge", class numbers
        0, ..., K-1 for "softmax".
    beta : float
        The penalty, positive. The loss is a SUM over samples; for the mean pass sample_weight = 1/n.
    loss : str
        "squared" (1/2 r^2), "logistic", "softmax", "huber" or "squared_hinge".
    bias : "penalized" or "none"
        Hidden biases, penalised like all hidden weights, or none.
    intercept : bool
        An unpenalised intercept of the outputs.
    sample_weight : array of shape (n,), optional
    tol : float
        The relative gap (objective - bound) / objective at which the search ends.
    time_limit : float, optional
        Seconds, proof included. By default training ends when the network has converged, and the proof when it has
        closed the gap or cost a fixed amount of work: some seconds, at most 30 or twice those of the training.
    random_state : int
        Seed of the search. The optimum does not depend on it; a local search that ends early may.
    progress : bool or callable
        True for a live line on the terminal; a callable gets every `Record`.
    start : Network, optional
        Where to start from, for example the solution for another beta.
    proof : bool
        Whether the certificate shall carry a proof that `extremal.verify` checks: `with_proof`, with as much time again
        (30 s without a time_limit).
    n_jobs : int
        Threads of the proof; with one the answer is the same every time, unless a time limit ends it.

    Returns
    -------
    FitResult
        The network, its certificate and the history. Ctrl-C returns the best network so far with a valid gap.

    Raises
    ------
    ValueError
        If the data or the parameters are unusable.

    References
    ----------
    Pilanci & Ergen (ICML 2020) and Ergen & Pilanci (JMLR 2021): strong duality. Boyd, Schiebinger & Recht (2017):
    alternating descent conditional gradient, the scheme that is refined here.
    """
    problem = Problem.from_data(X, y, beta=beta, loss=loss, bias=bias, intercept=intercept, sample_weight=sample_weight)
    result = fit_problem(
        problem,
        tol=tol,
        time_limit=time_limit,
        random_state=random_state,
        progress=progress,
        start=start,
        n_jobs=n_jobs,
    )
    return result_with_proof(problem, result, time_limit, n_jobs) if proof else result


def result_with_proof(problem: Problem, result: FitResult, time_limit: float | None, n_jobs: int) -> FitResult:
    """The result with a proof in its certificate, and the time for that."""
    began = time.monotonic()
    certificate = with_proof_on(problem, result.network, result.certificate, time_limit=time_limit, n_jobs=n_jobs)
    return replace(result, certificate=certificate, seconds=result.seconds + time.monotonic() - began)


def fit_problem(
    problem: Problem,
    *,
    tol: float = 1e-6,
    time_limit: float | None = None,
    random_state: int | np.random.Generator | None = 0,
    progress: Progress = False,
    start: Network | None = None,
    proof: bool = True,
    n_jobs: int = 1,
) -> FitResult:
    """`fit` for a problem that is bound already; without `proof` the gap stays open, which saves its time."""
    check_limits(tol, time_limit)
    check_threads(n_jobs)
    compile_kernels()
    began = time.monotonic()
    normal, scaling = problem.normalised()
    history: list[Record] = []
    report, close = reporter(progress)

    def record(seconds: float, value: float, bound: float, neurons: int, phase: str) -> None:
        history.append(Record(seconds, scaling.value(value), scaling.value(bound), neurons, phase))
        report(history[-1])

    zero = Atoms.empty(normal.design.d, normal.loss.shape[1])
    rng = np.random.default_rng(random_state)
    bound = DualBound.trivial(normal)
    run = Run(normal, tol, time_limit, rng, record, zero, bound, proof=proof, n_jobs=n_jobs, started=began)
    run.value, run.witness = zero.value(normal), np.zeros(normal.design.d)
    try:
        ended = train(run, _starting_atoms(problem, scaling, start))
    except KeyboardInterrupt:
        ended = Status.INTERRUPTED
    finally:
        close()
    return _result(problem, normal, scaling, run, ended, tuple(history))


def path(
    problem: Problem,
    betas: Iterable[float],
    *,
    tol: float = 1e-6,
    time_limit: float | None = None,
    random_state: int | np.random.Generator | None = 0,
    start: Network | None = None,
    proof: bool = True,
) -> list[FitResult]:
    """The solutions for every beta, each started from the last; `time_limit` is for each. Best in decreasing order.

    Ctrl-C ends the path: the last result is then the one that was interrupted.
    """
    results: list[FitResult] = []
    for beta in betas:
        current = replace(problem, beta=float(beta))
        result = fit_problem(
            current, tol=tol, time_limit=time_limit, random_state=random_state, start=start, proof=proof
        )
        results.append(result)
        if result.status is Status.INTERRUPTED:
            break
        start = result.network if result.network.width else None
    return results


def beta_max(
    X: ArrayLike,
    y: ArrayLike,
    loss: str | Loss = "squared",
    *,
    bias: Bias = "penalized",
    intercept: bool = False,
    sample_weight: ArrayLike | None = None,
    time_limit: float | None = None,
) -> float:
    """The smallest beta for which the zero network is optimal: g(-grad loss(0)).

    This is the proven upper end of the gauge's interval (relative width 1e-6 if the search finishes within `time_limit`
    seconds, 2 by default), so that any larger beta certainly gives the zero network.

    References
    ----------
    Ergen & Pilanci (JMLR 2021), Theorem 8.
    """
    problem = Problem.from_data(X, y, beta=1.0, loss=loss, bias=bias, intercept=intercept, sample_weight=sample_weight)
    normal, scaling = problem.normalised()
    lam = normal.multiplier(scaling.inverse(problem.zero_network))
    compile_kernels()
    deadline = time.monotonic() + (2.0 if time_limit is None else time_limit)
    found = bounds_of(normal.design, lam, tol=1e-6, deadline=deadline, rng=np.random.default_rng(0))
    lost = 0.0 if normal.left_out is None else float(normal.left_out @ np.linalg.norm(lam, axis=1))
    return scaling.gauge(found.upper + lost)


def _starting_atoms(problem: Problem, scaling: Scaling, start: Network | None) -> Atoms | None:
    if start is None:
        return None
    if start.hidden.shape[0] != problem.design.d or start.n_outputs != problem.loss.shape[1]:
        raise ValueError(
            f"the starting network maps {start.hidden.shape[0]} inputs (bias included) to {start.n_outputs} outputs; "
            f"the problem has {problem.design.d} and {problem.loss.shape[1]}"
        )
    return Atoms.from_network(scaling.inverse(start))


def _result(
    problem: Problem, normal: Problem, scaling: Scaling, run: Run, ended: Status, history: tuple[Record, ...]
) -> FitResult:
    network = run.best.network()
    pruned = network.prune_on(normal.design)
    if pruned.width < network.width and normal.value(pruned) <= normal.value(network) * (1 + 1e-12):
        network = pruned
    outer = scaling.network(network)
    lower = (1 + run.violation) * normal.beta
    certificate = assemble(problem, normal, scaling, outer, run.bound, lower, run.witness, run.tol, ended)
    return FitResult(outer, certificate, history, run.elapsed())
