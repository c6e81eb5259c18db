"""Certificates with proofs that `extremal.verify` checks."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from extremal.certificate import Certificate, Status, problem_of, relative_gap
from extremal.design import Array
from extremal.gauge import compile_kernels
from extremal.gauge.bounds import GaugeBounds, GaugeStatus
from extremal.gauge.cone_proofs import compile_recorder
from extremal.gauge.proofs import Options, prove_gauge
from extremal.gauge.search import attained
from extremal.losses import Loss
from extremal.network import Network
from extremal.problem import Problem
from extremal.proof import Proof

#: A bound of the gauge below this fraction of beta needs no search.
NEGLIGIBLE = 1e-12

#: The tolerance of the bound of the gauge with one output and with several, in units of the certificate's.
TIGHTER, SEVERAL = 0.003, 0.1

#: Seconds for the search for a proof where nobody sets a limit.
SECONDS = 30.0


def with_proof(
    certificate: Certificate,
    network: Network,
    X: ArrayLike,
    y: ArrayLike,
    *,
    loss: str | Loss | None = None,
    intercept: bool | None = None,
    sample_weight: ArrayLike | None = None,
    time_limit: float | None = None,
    n_jobs: int = 1,
) -> Certificate:
    """The certificate of a network with a proof that `extremal.verify` accepts, found from its dual point `lam`.

    A certificate that carries a proof claims what the proof proves, no more and no less: `primal` and `dual` are the
    numbers that the checker recomputes. So `dual` rises where the new search gets further, and falls where the proof
    shows less than the search for the certificate did; that search's bound is then kept as `search_dual`.

    Parameters
    ----------
    certificate : Certificate
        Of this network, for these data; it may come from a file.
    network : Network
    X, y, loss, intercept, sample_weight
        As given to `certify`; the loss is the certificate's own by default.
    time_limit : float, optional
        Seconds for the search; 30 by default. The check comes on top.
    n_jobs : int
        Threads of the search; with one the proof is the same every time, unless time ends it.

    Returns
    -------
    Certificate
        With `.proof`. After Ctrl-C the certificate as it was.

    Raises
    ------
    ValueError
        If the network or the certificate does not belong to the data.
    """
    problem = problem_of(
        network,
        X,
        y,
        beta=certificate.beta,
        loss=certificate.loss if loss is None else loss,
        intercept=intercept,
        sample_weight=sample_weight,
    )
    if certificate.lam.shape != problem.loss.shape or certificate.loss != problem.loss.name:
        raise ValueError(
            f"the certificate is for the {certificate.loss} loss of {certificate.lam.shape[0]} rows and "
            f"{certificate.lam.shape[1]} outputs; these data have {problem.loss.shape[0]} and {problem.loss.shape[1]}"
        )
    return with_proof_on(problem, network, certificate, time_limit=time_limit, n_jobs=n_jobs)


def with_proof_on(
    problem: Problem,
    network: Network,
    certificate: Certificate,
    *,
    time_limit: float | None = None,
    n_jobs: int = 1,
) -> Certificate:
    """`with_proof` for a network that belongs to the problem's design."""
    compile_kernels()
    compile_recorder()
    deadline = time.monotonic() + (SECONDS if time_limit is None else time_limit)
    try:
        proof, gauge = prove_optimality(problem, network, certificate, deadline=deadline, n_jobs=n_jobs)
    except KeyboardInterrupt:
        return certificate
    gap, short = relative_gap(proof.primal, proof.dual), certificate.dual - proof.dual
    status = certificate.status
    if gap <= certificate.tol:
        status = Status.OPTIMAL
    elif status is Status.OPTIMAL:
        status = Status.CONVERGED
    return replace(
        certificate,
        primal=proof.primal,
        dual=proof.dual,
        search_dual=certificate.dual if short > 0.1 * certificate.tol * proof.primal else None,
        lam=proof.lam,
        gauge=gauge,
        status=status,
        proof=proof,
    )


def prove_optimality(
    problem: Problem, network: Network, certificate: Certificate, *, deadline: float, n_jobs: int
) -> tuple[Proof, GaugeBounds]:
    """The proof of a certificate, checked, and what it shows of the gauge at its dual point.

    The search ends where the bound is as good as the certificate's if that closed the gap, and else as late as it may.
    Then the best multiple of lam is taken: the checker only ever makes lam shorter.
    """
    normal, scaling = problem.normalised(rotate=False)
    lam = certificate.lam * (scaling.tau / scaling.scale)
    closed = certificate.gap <= certificate.tol
    enough, nothing = normal.beta if closed else 0.0, NEGLIGIBLE * normal.beta
    tol = certificate.tol * (TIGHTER if lam.shape[1] == 1 else SEVERAL)
    options = Options(tol, enough, nothing, deadline, n_jobs)
    near = np.column_stack([certificate.gauge.witness, certificate.witness, network.hidden])
    shown = prove_gauge(normal.design, lam, near, options)
    best = normal.dual_point(lam, shown.upper)[0]
    proof = Proof.of(
        problem,
        network,
        scaling.multiplier(best),
        shown.trees,
        directions=shown.directions,
        cones=shown.cones,
        normals=shown.normals,
    ).proved(plain_data(problem), problem.loss.target)
    values = [attained(normal.design, best, u) for u in near.T]
    size = float(np.abs(lam).max())
    upper = shown.upper * float(np.abs(best).max()) / size if size > 0 else 0.0
    return proof, GaugeBounds(
        scaling.gauge(max(values)),
        scaling.gauge(max(upper, *values)),
        near[:, int(np.argmax(values))],
        GaugeStatus.EXACT if upper <= max(values) * (1 + certificate.tol) else GaugeStatus.RELAXATION,
        f"{sum(tree.leaves for tree in shown.trees)} leaves, checked",
    )


def plain_data(problem: Problem) -> Array:
    """X as the user knows it, without the column of ones."""
    X = problem.design.dense()
    return X[:, :-1] if problem.bias else X
