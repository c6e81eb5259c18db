"""`extremal.certify`: anyone's network, whatever it is, judged on the objective that it was trained on."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from extremal.certificate import Certificate
from extremal.conventions import WeightDecay
from extremal.design import Array
from extremal.interop.imported import Imported
from extremal.judgement import certify_as_it_is, judge
from extremal.losses import Loss
from extremal.network import Network
from extremal.problem import positive


def certify(
    model: Any,
    X: ArrayLike,
    y: ArrayLike,
    *,
    beta: float | None = None,
    decay: WeightDecay | None = None,
    loss: Any = None,
    intercept: bool | None = None,
    sample_weight: ArrayLike | None = None,
    optimizer: Any = None,
    tol: float = 1e-6,
    time_limit: float | None = None,
    random_state: int | np.random.Generator | None = 0,
    proof: bool = False,
    improve: bool = True,
    n_jobs: int = 1,
) -> Certificate:
    """How far a network is from the global optimum of its own training problem, why, and which network is better.

    For a `Network` the problem is  sum_i w_i loss(f(x_i), y_i) + beta/2 (|W|_F^2 + |A|_F^2), W with the hidden bias, or
    has the penalty `decay` instead. A model of another library is judged on its own objective: its loss, its mean or
    sum over the samples, its weight decay and what it does with the biases, as far as the library knows them. One that
    knows neither its loss nor its penalty (arrays, a file of weights) is judged like a `Network`.

    Parameters
    ----------
    model
        A two-layer ReLU network, however it was trained: a `Network`, or what `interop.as_imported` understands.
    X : array of shape (n, d); y : array of shape (n,) or (n, c)
        The training data; for a classifier of another library its labels.
    beta : float, optional
        One penalty (positive) for all weights and the hidden bias, the output bias free, in place of what the model
        knows. For a `Network` the loss is a sum over samples; for a mean, pass sample_weight = 1/n.
    decay : WeightDecay, optional
        A penalty for each group of parameters, in place of what the model knows: see `extremal.WeightDecay`.
    loss : str, or a loss of PyTorch, optional
        "squared" (1/2 r^2), "logistic", "softmax", "huber" or "squared_hinge". By default what the model knows, and
        "squared" for a `Network`.
    intercept : bool, optional
        With `beta`: whether the output has a free, unpenalised bias. Default: if the network has one.
    sample_weight : array of shape (n,), optional
    optimizer : optional
        The optimiser of a model of PyTorch, for its weight decay.
    tol : float
        The relative gap at which the network counts as optimal.
    time_limit : float, optional
        Seconds for everything but a proof; 12 by default (10 for the network as it is).
    random_state : int
        Seed of the searches; it has no influence on what is proved.
    proof : bool
        Whether the certificate shall carry a proof that `extremal.verify` checks: `with_proof`, with as much time again
        (30 s without a time_limit). For hidden biases that are penalised like the weights (or none), and an output
        bias that is free (or none).
    improve : bool
        Whether a better network shall be sought: it shows where the gap comes from, and proves a better bound.
        Otherwise the network is certified as it is.
    n_jobs : int
        Threads of the search for the lower bound.

    Returns
    -------
    Judgement
        A `Certificate` with `.improved`, `.split` and `.sentence`; with ``improve=False`` a plain `Certificate`. After
        Ctrl-C what there is by then, with a valid gap.

    Raises
    ------
    ValueError
        If the data or the parameters are unusable, the network does not fit the data, or its objective is not known.

    References
    ----------
    Pilanci & Ergen (ICML 2020) for strong duality; Wang, Lacotte & Pilanci (ICLR 2022) for the optimality check.
    """
    if beta is not None and decay is not None:
        raise ValueError("beta= and decay= are two ways to give the penalty; give one of them")
    if decay is not None and intercept is not None:
        raise ValueError("intercept= goes with beta=; decay= says by its output_bias whether there is an output bias")
    imported = understood(model, loss, optimizer)
    settings: dict[str, Any] = {
        "tol": tol,
        "time_limit": time_limit,
        "random_state": random_state,
        "proof": proof,
        "n_jobs": n_jobs,
    }
    function = judge if improve else certify_as_it_is
    named = loss if isinstance(loss, str | Loss) else imported.loss
    penalty = penalty_of(imported, y, beta, decay, intercept, sample_weight)
    if imported.loss is None and imported.decay is None:
        named = named or "squared"
        return function(imported.network, X, y, decay=penalty, loss=named, sample_weight=sample_weight, **settings)
    if named is None:
        raise ValueError(f"the loss of this {imported.source} is not known; give loss=")
    targets = targets_of(imported, named, y)
    weight = imported.sample_weight(len(targets), sample_weight)
    return function(imported.network, X, targets, decay=penalty, loss=named, sample_weight=weight, **settings)


def understood(model: Any, loss: Any, optimizer: Any) -> Imported:
    """The model in Extremal's terms."""
    if optimizer is None and (loss is None or isinstance(loss, str | Loss)):
        if isinstance(model, Imported):
            return model
        if isinstance(model, Network):
            return Imported(model, source="Network")
    from extremal.interop import as_imported

    foreign = None if isinstance(loss, str | Loss) else loss
    options = {name: value for name, value in (("loss", foreign), ("optimizer", optimizer)) if value is not None}
    return as_imported(model, **options)


def penalty_of(
    imported: Imported,
    y: ArrayLike,
    beta: float | None,
    decay: WeightDecay | None,
    intercept: bool | None,
    sample_weight: ArrayLike | None,
) -> WeightDecay:
    """The penalty that was given, or that the model knows."""
    if decay is not None:
        return decay
    known = imported.decay_for(len(np.asarray(y)), sample_weight) if imported.decay is not None else None
    network = imported.network
    if beta is not None:
        if intercept is None:
            intercept = bool(np.any(network.intercept)) if known is None else known.output_bias is not None
        elif not intercept and np.any(network.intercept):
            raise ValueError("the network has an output intercept; the model without one cannot be certified with it")
        beta = positive(beta, "beta")
        return WeightDecay(beta, beta, beta if network.bias else None, 0.0 if intercept else None)
    if known is None:
        raise ValueError(
            f"the weight decay of this {imported.source} is not known; give beta= for one penalty for all weights, or "
            "decay=extremal.WeightDecay(hidden, output, hidden_bias=, output_bias=). If it was trained without one, "
            "name the penalty that it shall be judged by: without any there is no best network"
        )
    return known


def targets_of(imported: Imported, loss: str | Loss, y: ArrayLike) -> Array:
    """y as the loss wants it, with a column for every class of the model even if some do not occur in y."""
    targets = imported.targets(y)
    if loss == "softmax" and targets.ndim == 1 and np.isin(targets, np.arange(imported.network.n_outputs)).all():
        return np.eye(imported.network.n_outputs)[targets.astype(int)]
    return targets
