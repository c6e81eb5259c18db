"""How far is a network from the global optimum? Proven bounds, from weak duality and the gauge.

For any lam in the domain of the conjugate with g(lam) <= beta, D(lam) is a lower bound on the objective of EVERY
network of any width. lam = -grad loss at the network, scaled by beta / (upper bound of its gauge), is such a point, and
others may prove more (`training.dual`); a direction u with |lam^T (Xu)_+| > beta on the other hand, lam the network's
own, is a neuron that improves the network.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from extremal.design import Array
from extremal.gauge import check_threads, compile_kernels
from extremal.gauge.ascent import ascend, random_starts
from extremal.gauge.bounds import GaugeBounds, GaugeStatus
from extremal.losses import Loss
from extremal.network import Network
from extremal.problem import Bias, Problem, Scaling
from extremal.proof import Proof
from extremal.verify.statement import PREFIX

#: A pre-activation below this fraction of |u| |x_i| counts as a tie, x_i . u = 0.
TIE = 1e-7
#: A search that ends with a neuron known that violates g <= beta by more than this fraction has not converged.
LARGE_VIOLATION = 1e-4

#: Pre-activations that are looked at at once.
BLOCK = 2_000_000

#: Starts of the ascent for a network whose intercept is not the best one.
RAW_STARTS = 32


class Status(Enum):
    """What was found out about a network, and what to do next."""

    OPTIMAL = "globally optimal: the proven gap is within the tolerance"
    CONVERGED = (
        "converged: nothing was found that improves the network noticeably, but the proof of optimality is open; "
        "the gap shown is proven, and a longer time_limit may narrow it"
    )
    STALLED = (
        "stalled: the search was ended although the witness still improves the network a little; "
        "the gap shown is valid, and a time_limit lets the search go on"
    )
    TIME_LIMIT = "stopped at the time limit; the network and the gap shown are valid, and more time improves both"
    INTERRUPTED = "interrupted; the network is the best so far and the gap shown is valid"
    NOT_OPTIMAL = "not optimal: the witness is a neuron that improves the network"
    IMPROVED = "not optimal: a better network was found, see `improved`"

    @property
    def proven(self) -> bool:
        return self is Status.OPTIMAL


@dataclass(frozen=True, eq=False)
class Certificate:
    """Proven bounds on the distance of a network from the global optimum.

    Attributes
    ----------
    primal : float
        The network's objective, sum_i w_i loss + beta/2 (|W|^2 + |A|^2).
    dual : float
        A lower bound on the objective of every two-layer network for the same data and beta: D(lam).
    status : Status
    lam : array of shape (n, c)
        The dual point that proves it: g(lam) <= beta. The network's own -grad loss, scaled, or one that proves more.
    gauge : GaugeBounds
        What is known of g(lam), for this lam; its upper end is at most beta.
    violation : float
        A lower bound on g(-grad loss) / beta - 1 at the network. Positive: the witness improves the network.
    witness : array of shape (d,)
        The direction (in the features, with the bias last) that attains it.
    stationarity : float
        The largest residual of the neurons' optimality conditions relative to beta, with the best multipliers of ties.
    beta : float
    loss : str
    tol : float
        The relative gap that was asked for.
    proof : Proof, optional
        What `extremal.verify` needs to check it, if that was asked for. `primal` and `dual` are then what it proves.
    search_dual : float, optional
        The lower bound that the search found, where its proof shows less.
    """

    primal: float
    dual: float
    status: Status
    lam: Array
    gauge: GaugeBounds
    violation: float
    witness: Array
    stationarity: float
    beta: float
    loss: str
    tol: float
    proof: Proof | None = None
    search_dual: float | None = None

    @property
    def gap(self) -> float:
        """(primal - dual) / primal: no network of any width has an objective lower by more than this fraction."""
        return relative_gap(self.primal, self.dual)

    def __str__(self) -> str:
        return "\n".join(
            [
                f"objective of the network   {self.primal:.10g}",
                f"no network can be below    {self.dual:.10g}",
                f"relative gap               {self.gap:.2e}",
                f"stationarity               {self.stationarity:.1e}",
                f"violation of g <= beta     {self.violation:.1e}",
                f"gauge method               {self.gauge.method}",
                f"status                     {self.status.value}",
                *([] if self.search_dual is None else [f"proof                      {self.shortfall}"]),
            ]
        )

    @property
    def shortfall(self) -> str:
        """By how much the proof falls short of the search, in words; empty if it does not."""
        if self.search_dual is None:
            return ""
        return (
            f"shows less than the search found: no network can be below {self.search_dual:.10g}, a gap of "
            f"{relative_gap(self.primal, self.search_dual):.2e}; a longer time_limit may close the difference"
        )

    def save(self, path: str | Path, *, proof: bool = False) -> None:
        """Write the certificate to an .npz file (no pickle), with its proof for `extremal.verify` if that is asked for.

        Raises
        ------
        ValueError
            If there is no proof.
        """
        if proof and self.proof is None:
            raise ValueError(
                "this certificate has no proof; get one with certify(..., proof=True) or fit(..., proof=True)"
            )
        arrays: dict[str, Any] = self._arrays()
        if proof and self.proof is not None:
            arrays |= self.proof.named_arrays()
        with open(path, "wb") as file:
            (np.savez_compressed if proof else np.savez)(file, **arrays)

    def _arrays(self) -> dict[str, Array]:
        """What a file holds, without the proof."""
        arrays: dict[str, Array] = {"lam": self.lam, "witness": self.witness}
        if self.search_dual is not None:
            arrays["search_dual"] = np.array(self.search_dual)
        numbers = {name: getattr(self, name) for name in _NUMBERS}
        texts = {"status": self.status.name, "loss": self.loss, "gauge_status": self.gauge.status.name}
        gauge = {name: getattr(self.gauge, name) for name in ("lower", "upper", "witness", "method")}
        arrays |= {f"gauge_{name}": np.array(value) for name, value in gauge.items()}
        return arrays | {name: np.array(value) for name, value in (numbers | texts).items()}

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a certificate written by `save`."""
        with np.load(path, allow_pickle=False) as file:
            if "gauge_upper" not in file.files:
                raise ValueError(f"{path} is not a certificate")
            gauge = GaugeBounds(
                float(file["gauge_lower"]),
                float(file["gauge_upper"]),
                file["gauge_witness"],
                GaugeStatus[str(file["gauge_status"])],
                str(file["gauge_method"]),
            )
            numbers = {name: float(file[name]) for name in _NUMBERS}
            proof = {name.removeprefix(PREFIX): file[name] for name in file.files if name.startswith(PREFIX)}
            return cls(
                proof=Proof.from_arrays(proof) if proof else None,
                search_dual=float(file["search_dual"]) if "search_dual" in file.files else None,
                lam=file["lam"],
                witness=file["witness"],
                gauge=gauge,
                status=Status[str(file["status"])],
                loss=str(file["loss"]),
                **numbers,
                **cls._extras(file, path),
            )

    @classmethod
    def _extras(cls, file: Mapping[str, Array], path: str | Path) -> dict[str, Any]:
        """The further fields of a subclass."""
        return {}


_NUMBERS = ("primal", "dual", "violation", "stationarity", "beta", "tol")


@dataclass(frozen=True, eq=False)
class DualBound:
    """A dual-feasible lam of a problem, the bounds on its gauge, and the lower bound D(lam) that it proves."""

    value: float
    lam: Array
    gauge: GaugeBounds

    @classmethod
    def trivial(cls, problem: Problem) -> DualBound:
        """lam = 0, feasible for every beta: the loss of a perfect fit."""
        lam = np.zeros(problem.loss.shape)
        gauge = GaugeBounds(0.0, 0.0, np.zeros(problem.design.d), GaugeStatus.EXACT, "zero")
        return cls(problem.loss.dual_value(lam), lam, gauge)

    @classmethod
    def at(cls, problem: Problem, lam: Array, gauge: GaugeBounds) -> DualBound:
        """What the bounds on g(lam) prove, for lam in the dual domain."""
        if not np.isfinite(gauge.upper):
            return cls.trivial(problem)
        feasible, value = problem.dual_point(lam, gauge.upper)
        size = float(np.abs(lam).max())
        factor = float(np.abs(feasible).max()) / size if size > 0 else 1.0
        return cls(value, feasible, gauge.scaled(factor))

    def better(self, other: DualBound) -> DualBound:
        return other if other.value >= self.value else self


def problem_of(
    network: Network,
    X: ArrayLike,
    y: ArrayLike,
    *,
    beta: float,
    loss: str | Loss,
    intercept: bool | None,
    sample_weight: ArrayLike | None,
) -> Problem:
    """The training problem that a given network is a point of; raises ValueError if it does not fit the data."""
    if intercept is None:
        intercept = bool(np.any(network.intercept))
    elif not intercept and np.any(network.intercept):
        raise ValueError("the network has an output intercept; the model without one cannot be certified with it")
    bias: Bias = "penalized" if network.bias else "none"
    problem = Problem.from_data(X, y, beta=beta, loss=loss, bias=bias, intercept=intercept, sample_weight=sample_weight)
    if (problem.design.d, problem.loss.shape[1]) != (network.hidden.shape[0], network.n_outputs):
        raise ValueError(
            f"the network maps {network.n_features} features to {network.n_outputs} outputs; the data have "
            f"{problem.design.d - network.bias} and {problem.loss.shape[1]}"
        )
    return problem


def certify_on(
    problem: Problem,
    network: Network,
    *,
    tol: float = 1e-6,
    time_limit: float | None = None,
    random_state: int | np.random.Generator | None = 0,
    n_jobs: int = 1,
) -> Certificate:
    """Proven bounds for a network that belongs to the problem's design, as it is: nothing is improved.

    References
    ----------
    Pilanci & Ergen (ICML 2020) for strong duality; Wang, Lacotte & Pilanci (ICLR 2022) for the optimality check.
    """
    from extremal.training.atoms import Atoms
    from extremal.training.dual import Budget, proven_bound

    check_threads(n_jobs)
    normal, scaling = problem.normalised()
    inside = scaling.inverse(network)
    compile_kernels()
    deadline = time.monotonic() + (10.0 if time_limit is None else time_limit)
    rng = np.random.default_rng(random_state)
    budget = Budget(tol, deadline, n_jobs=n_jobs)
    bound, gauge = proven_bound(normal, Atoms.from_network(inside), budget=budget, rng=rng)
    lam, lower, witness = normal.multiplier(inside), gauge.lower, gauge.witness
    if normal.intercept and not np.array_equal(lam, normal.loss.centred(lam)):
        # the bound belongs to a multiplier whose columns sum to zero; a better neuron is one for the network's own
        starts = np.column_stack([witness, random_starts(normal.design, RAW_STARTS, rng)])
        found = ascend(normal.design, lam, starts, rng=rng, deadline=deadline)
        lower, witness = float(found.value[0]), found.U[:, 0]
    ended = Status.INTERRUPTED if gauge.status is GaugeStatus.INTERRUPTED else None
    return assemble(problem, normal, scaling, network, bound, lower, witness, tol, ended)


def assemble(
    problem: Problem,
    normal: Problem,
    scaling: Scaling,
    network: Network,
    bound: DualBound,
    lower: float,
    witness: Array,
    tol: float,
    ended: Status | None = None,
) -> Certificate:
    """The certificate of a network, in the original units, from what was found out in the normal form.

    `lower` and `witness` are the best known lower bound on g(-grad loss) at the network; `ended` is the status if the
    gap is not closed.
    """
    primal, dual = problem.value(network), scaling.value(bound.value)
    violation = max(lower / normal.beta - 1.0, -1.0)
    if relative_gap(primal, dual) <= tol:
        status = Status.OPTIMAL
    elif ended is Status.CONVERGED and violation > max(10 * tol, LARGE_VIOLATION):
        status = Status.STALLED
    elif ended is not None:
        status = ended
    else:
        status = Status.NOT_OPTIMAL if violation > max(tol, 1e-9) else Status.CONVERGED
    factor = scaling.gauge(1.0)
    gauge = GaugeBounds(
        bound.gauge.lower * factor,
        bound.gauge.upper * factor,
        scaling.directions(bound.gauge.witness),
        bound.gauge.status,
        bound.gauge.method,
    )
    return Certificate(
        primal=primal,
        dual=dual,
        status=status,
        lam=scaling.multiplier(bound.lam),
        gauge=gauge,
        violation=violation,
        witness=scaling.directions(witness),
        stationarity=stationarity(normal, scaling.inverse(network)),
        beta=problem.beta,
        loss=problem.loss.name,
        tol=tol,
    )


def relative_gap(primal: float, dual: float) -> float:
    """(primal - dual) / primal, 0 if they agree."""
    return max(primal - dual, 0.0) / primal if primal > 0 else 0.0


def stationarity(problem: Problem, network: Network, *, free_bias: bool = False) -> float:
    """The largest residual of the optimality conditions over the neurons, relative to beta.

    For a neuron with unit directions u, v and c = lam v: |X^T (D + Theta) c - beta u| with the best multipliers
    Theta in [0, 1] of its ties, and |lam^T (Xu)_+ - beta v|; for a free intercept also |sum_i lam_i|.
    Imbalance counts: |w_j| and |a_j| must agree. With `free_bias` the weight of the last column is not penalised, and
    |w_j| is without it.
    """
    penalised = np.ones((problem.design.d, 1))
    penalised[-1] = not free_bias
    lam = problem.multiplier(network)
    worst = float(np.abs(lam.sum(axis=0)).max()) / problem.beta if problem.intercept else 0.0
    inner, outer = np.linalg.norm(penalised * network.hidden, axis=0), np.linalg.norm(network.output, axis=1)
    alive = np.flatnonzero((inner > 0) & (outer > 0))
    if np.any((inner > 0) != (outer > 0)):
        worst = max(worst, 1.0)
    inner, outer = inner[alive], outer[alive]
    worst = max(worst, float((np.abs(inner - outer) / np.maximum(inner, outer)).max(initial=0.0)))
    U, V = network.hidden[:, alive] / inner, network.output[alive] / outer[:, None]
    size = max(BLOCK // problem.design.n, 1)
    for k in range(0, alive.size, size):
        worst = max(worst, _residual(problem, lam, U[:, k : k + size], V[k : k + size], penalised) / problem.beta)
    return worst


def _residual(problem: Problem, lam: Array, U: Array, V: Array, penalised: Array) -> float:
    """The largest residual of the neurons U (d, k), V (k, c), at once."""
    design, beta = problem.design, problem.beta
    Z, C = design.forward(U), lam @ V.T
    tie = (np.abs(Z) <= TIE * design.row_norms[:, None]) & (C != 0)
    active = (Z > 0) & ~tie
    remainder = beta * penalised * U - design.adjoint(active * C)
    for j in np.flatnonzero(tie.any(axis=0)):
        ties = np.flatnonzero(tie[:, j])
        remainder[:, j] -= _best_of_ties(design.rows(ties).T * C[ties, j], remainder[:, j])
    outer = lam.T @ np.maximum(Z, 0) - beta * V.T
    return float(max(np.linalg.norm(remainder, axis=0).max(), np.linalg.norm(outer, axis=0).max()))


def _best_of_ties(A: Array, target: Array) -> Array:
    """A theta nearest to the target, theta in [0, 1]."""
    theta = np.linalg.lstsq(A, target, rcond=1e-10)[0]
    if np.any(theta < 0) or np.any(theta > 1):
        from scipy.optimize import lsq_linear

        theta = lsq_linear(A, target, bounds=(0.0, 1.0), tol=1e-14).x
    return A @ theta
