"""The weight decay of other libraries: which parameters are penalised, how much, and as which problem of ours.

Other libraries penalise with a factor of their own for every group of parameters,

    P = sum_i w_i loss(f(x_i), y_i) + 1/2 (hidden |W|_F^2 + hidden_bias |b|^2 + output |A|_F^2 + output_bias |c|^2),

of f(x) = sum_j (w_j . x + b_j)_+ a_j + c. `WeightDecay` names the four factors, and `WeightDecay.problem` maps P to a
`Problem`, beta/2 for all weights, of the same value:

- Rescaling the layers, (s W, A / s), shows that beta = sqrt(hidden output) is all that matters of the two.
- A bias with a factor of its own is the weight of a constant column r = sqrt(hidden / hidden_bias) instead of 1.
- A hidden bias that is not penalised is one whose column is a thousand times longer than the rows of X, which a
  translation has made as short as they get. Its weight then costs next to nothing, and what it costs is known
  (`free_column`). As a neuron with a huge bias is a constant, the outputs then have a free constant as well, whatever
  the factor of the output bias: the infimum is the same, although with output_bias > 0 (or None) it is approached only.
- A penalised output bias is a free one with one more row of data, x = 0 (and 0 in the constant column), where the
  outputs are c: there the loss is output_bias/2 |c|^2.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from extremal.design import Array, Design
from extremal.losses import Loss, anchored, bind
from extremal.network import Network
from extremal.problem import Problem

#: A free bias is one whose column is so much longer than the rows: its weight then costs next to nothing.
FREE = 1e3
#: Steps to the middle of the rows, and the multiplications that they may cost.
MOST_STEPS, STEPS_WORK = 300, 2e8
#: A constant that has to be a neuron: its outer weight relative to the largest of the others, and to the constant.
FAINT, FAINTER = 1e-6, 1e-8


@dataclass(frozen=True)
class WeightDecay:
    """The factors of  1/2 (hidden |W|_F^2 + hidden_bias |b|^2 + output |A|_F^2 + output_bias |c|^2).

    Parameters
    ----------
    hidden, output : float
        The factors of the two layers' weights, positive.
    hidden_bias, output_bias : float or None
        The factors of the biases; 0 for biases that are not penalised, None for layers without any.

    Raises
    ------
    ValueError
        If a factor of the weights is not positive (without it there is no optimum, or a trivial one), or one of the
        biases is negative.
    """

    hidden: float
    output: float
    hidden_bias: float | None = None
    output_bias: float | None = None

    def __post_init__(self) -> None:
        for name in ("hidden", "output"):
            object.__setattr__(self, name, _factor(getattr(self, name), name, positive=True))
        for name in ("hidden_bias", "output_bias"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, _factor(getattr(self, name), name, positive=False))

    @classmethod
    def uniform(cls, beta: float, *, hidden_bias: bool = True, output_bias: bool = True) -> WeightDecay:
        """One factor for every parameter there is, as PyTorch's `weight_decay` has it."""
        return cls(beta, beta, beta if hidden_bias else None, beta if output_bias else None)

    @property
    def beta(self) -> float:
        """sqrt(hidden output), the penalty of the problem that this one is mapped to."""
        return float(np.sqrt(self.hidden) * np.sqrt(self.output))

    @property
    def has_free_bias(self) -> bool:
        """Whether there are hidden biases that are not penalised."""
        return self.hidden_bias == 0

    @property
    def is_plain(self) -> bool:
        """Whether the problem it is mapped to is one of `extremal.fit`, with X as it is: other factors of the layers
        are only another scaling of the network."""
        return self.hidden_bias in (None, self.hidden) and self.output_bias in (None, 0)

    def penalty(self, network: Network) -> float:
        """1/2 (hidden |W|_F^2 + hidden_bias |b|^2 + output |A|_F^2 + output_bias |c|^2)."""
        W, b = _weights_and_bias(network)
        parts = (W, b, network.output, network.intercept)
        factors = (self.hidden, self.hidden_bias, self.output, self.output_bias)
        squares = (float(np.vdot(part, part)) for part in parts)
        return 0.5 * sum((factor or 0.0) * square for factor, square in zip(factors, squares, strict=True))

    def balance(self, network: Network) -> Network:
        """The same function at the least penalty that scaling its neurons can reach; dead neurons go.

        Then hidden |w_j|^2 + hidden_bias b_j^2 = output |a_j|^2. Where the hidden bias is free a constant costs (next
        to) nothing: neurons with w_j = 0 become a part of the output bias, or that becomes a neuron if it is penalised
        or missing.
        """
        W, b = _weights_and_bias(network)
        A, c = network.output, network.intercept
        if self.has_free_bias:
            moving = W.any(axis=0)
            c = c + np.maximum(b[~moving], 0) @ A[~moving]
            W, b, A = W[:, moving], b[moving], A[moving]
        size = np.sqrt(self.hidden) * np.linalg.norm(W, axis=0)
        inner = np.hypot(size, np.sqrt(self.hidden_bias or 0.0) * b)
        outer = np.sqrt(self.output) * np.linalg.norm(A, axis=1)
        alive = (inner > 0) & (outer > 0)
        ratio = np.sqrt(outer[alive]) / np.sqrt(inner[alive])
        W, b, A = W[:, alive] * ratio, b[alive] * ratio, A[alive] / ratio[:, None]
        if self.has_free_bias and self.output_bias != 0 and c.any():
            height = float(np.linalg.norm(c))
            faint = FAINT * float(np.abs(A).max()) if A.size else FAINTER * height
            W, b = np.column_stack([W, np.zeros(len(W))]), np.append(b, height / faint)
            A, c = np.vstack([A, c * (faint / height)]), np.zeros_like(c)
        hidden = np.vstack([W, b]) if network.bias else W
        return Network(hidden, A, c, bias=network.bias)

    def problem(
        self,
        X: ArrayLike,
        y: ArrayLike,
        *,
        loss: str | Loss = "squared",
        sample_weight: ArrayLike | None = None,
    ) -> MappedProblem:
        """min over networks of any width of  sum_i w_i loss(f(x_i), y_i) + this penalty, as a problem of ours.

        Parameters
        ----------
        X : array or sparse matrix of shape (n, d)
        y : array of shape (n,) or (n, c)
        loss : str
            "squared" (1/2 r^2), "logistic", "softmax", "huber" or "squared_hinge".
        sample_weight : array of shape (n,), optional
            The w_i, 1 by default; 1/n for a mean of the loss, 2/n for a mean of r^2.

        Raises
        ------
        ValueError
            If the data are unusable, or an output bias that is not penalised has no finite optimum.
        """
        given = Design.from_data(X)
        bound = bind(loss, y, sample_weight)
        if bound.shape[0] != given.n:
            raise ValueError(f"X has {given.n} rows and y has {bound.shape[0]}")
        user = given if self.hidden_bias is None else given.with_column(1.0)
        centre, radius, column, excess, design = np.zeros(given.d), 0.0, 0.0, 1.0, given
        if self.hidden_bias is not None and self.hidden_bias > 0:
            column = float(np.sqrt(self.hidden) / np.sqrt(self.hidden_bias))
        elif self.has_free_bias:
            centre = middle(given)
            design = given.shifted(-centre)
            column, excess = free_column(design)
            radius = column / FREE
        if column:
            design = design.with_column(column)
        inside, intercept = bound, self.has_free_bias or self.output_bias is not None
        if self.output_bias and not self.has_free_bias:
            design, inside = design.with_zero_row(), anchored(bound, self.output_bias)
        # the last column is one of ones for all rows: what a proof may be about
        plain = self.is_plain and self.hidden_bias is not None
        problem = Problem(design, inside, self.beta, bias=plain, intercept=intercept)
        problem.zero_network  # noqa: B018  (an intercept without a finite optimum is refused here)
        return MappedProblem(self, problem, user, bound, column, centre, radius, excess)

    def __str__(self) -> str:
        parts = [f"{self.hidden:.6g} |W|^2"]
        if self.hidden_bias:
            parts.append(f"{self.hidden_bias:.6g} |b|^2")
        parts.append(f"{self.output:.6g} |A|^2")
        if self.output_bias:
            parts.append(f"{self.output_bias:.6g} |c|^2")
        kinds = (("hidden biases b", self.hidden_bias), ("output bias c", self.output_bias))
        notes = [f"{name} not penalised" for name, factor in kinds if factor == 0]
        notes += [f"no {name}" for name, factor in kinds if factor is None]
        return ", ".join([f"1/2 ({' + '.join(parts)})", *notes])


@dataclass(frozen=True, eq=False)
class MappedProblem:
    """A training problem with another weight decay, and the problem of ours that it is mapped to.

    Attributes
    ----------
    decay : WeightDecay
    problem : Problem
        Of the same optimal value; of one that is lower by a factor of 1 - 5e-7 at the most if the hidden bias is free.
    design : Design
        The user's X, with the column of ones if there is a hidden bias.
    loss : Loss
        The user's loss.
    column : float
        The constant column r that carries the hidden bias, 0 without one.
    centre : array of shape (d,)
        What is subtracted from the rows of X; not zero only if the hidden bias is free.
    radius : float
        The norm of the longest row then, 0 if the hidden bias is not free.
    excess : float
        q with g(lam) <= q (the mapped problem's g)(lam): 1 unless the hidden bias is free.
    """

    decay: WeightDecay
    problem: Problem
    design: Design
    loss: Loss
    column: float
    centre: Array
    radius: float
    excess: float

    def reaching(self, factor: float) -> MappedProblem:
        """The same with the column of a free hidden bias `factor` times as long as the longest row.

        Searches see the data best through a short column, where biases are penalised: its optimum is higher.
        """
        if not self.radius:
            return self
        column, excess = factor * self.radius, _excess(factor)
        design = self.centred.with_column(column)
        return replace(self, problem=replace(self.problem, design=design), column=column, excess=excess)

    @property
    def centred(self) -> Design:
        """The rows of X that are seen where the hidden bias is free, without the column that carries it."""
        return Design(self.problem.design.dense()[:, :-1])

    @property
    def bounding(self) -> Problem:
        """The problem whose dual values are lower bounds of the user's: with beta / excess for beta."""
        return self.problem if self.excess == 1 else replace(self.problem, beta=self.problem.beta / self.excess)

    def check(self, network: Network) -> None:
        """Raise ValueError if a network of the user does not belong to the data and the penalty."""
        decay = self.decay
        if network.bias and decay.hidden_bias is None:
            raise ValueError(
                "the network has hidden biases, and the decay says nothing of them; give hidden_bias= (0 if they are "
                "not penalised)"
            )
        if not network.bias and decay.hidden_bias is not None:
            raise ValueError("the decay is for a network with hidden biases; this one has none: give hidden_bias=None")
        if decay.output_bias is None and np.any(network.intercept):
            raise ValueError(
                "the network has an output bias, and the model without one cannot be certified with it; give "
                "output_bias= (0 if it is not penalised)"
            )
        features = self.design.d - network.bias
        if (network.n_features, network.n_outputs) != (features, self.loss.shape[1]):
            raise ValueError(
                f"the network maps {network.n_features} features to {network.n_outputs} outputs; the data have "
                f"{features} and {self.loss.shape[1]}"
            )

    def value(self, network: Network) -> float:
        """sum_i w_i loss(f(x_i), y_i) + the penalty of a network of the user, by their formula."""
        return self.loss.value(network.evaluate(self.design)) + self.decay.penalty(network)

    def inside(self, network: Network) -> Network:
        """The mapped problem's network for one of the user, of the same outputs on the data.

        Its objective there is the same too. If the hidden bias is free it differs by what `problem` takes for it (a
        factor of 1 + 5e-7 of the neurons' penalty), less what is paid for the output bias: biases beyond the data,
        |b| > R |w|, where a neuron is linear on all of them or on none, are exchanged for the constant.
        """
        s = self._ratio
        W, b = _weights_and_bias(network)
        A, c = network.output, network.intercept
        if self.decay.has_free_bias:
            reach = self.radius * (1 + 1e-12) * np.linalg.norm(W, axis=0)
            b = b + self.centre @ W
            c = c + np.maximum(b - reach, 0) @ A
            b = np.clip(b, -reach, reach)
        hidden = np.vstack([W, b / self.column]) if self.column else W
        return Network(s * hidden, A / s, c, bias=self.problem.bias)

    def outside(self, network: Network) -> Network:
        """The user's network for one of the mapped problem, balanced in the user's terms."""
        s = self._ratio
        hidden = network.hidden / s
        if self.column:
            W = hidden[:-1]
            hidden = np.vstack([W, self.column * hidden[-1] - self.centre @ W])
        return self.decay.balance(Network(hidden, s * network.output, network.intercept, bias=self.column > 0))

    def direction(self, u: Array) -> Array:
        """A neuron's direction in the user's features, with the bias last if there is one."""
        if not self.column:
            return u
        return np.append(u[:-1], self.column * u[-1] - self.centre @ u[:-1])

    @property
    def _ratio(self) -> float:
        """(hidden / output)^(1/4), between the scales of the two layers."""
        return float((self.decay.hidden / self.decay.output) ** 0.25)


def middle(design: Design) -> Array:
    """A point whose farthest row is nearly as near as it gets: the mean, moved to one farthest row after the other.

    Badoiu & Clarkson (SODA 2003): the k-th step goes a share 1 / (k + 1) of the way. The best point met is kept.
    """
    mean = design.adjoint(np.full(design.n, 1.0 / design.n))
    centred = design.shifted(-mean)
    stretch = centred.magnitude
    rows = centred.scaled(1.0 / stretch).dense()
    squares, offset, best, smallest = np.einsum("ij,ij->i", rows, rows), np.zeros(design.d), np.zeros(design.d), np.inf
    for k in range(int(min(MOST_STEPS, STEPS_WORK / rows.size)) + 1):
        distances = squares - 2 * (rows @ offset) + offset @ offset
        far = int(np.argmax(distances))
        if distances[far] < smallest:
            best, smallest = offset, distances[far]
        offset = offset + (rows[far] - offset) / (k + 2)
    return mean + stretch * best


def free_column(design: Design) -> tuple[float, float]:
    """(r, q) for a free bias: the column r 1, and q with g_free(lam) <= q g(lam) for 1^T lam = 0.

    A bias beyond the data, |b| > R = max |x_i|, changes nothing as lam sums to zero, so the free gauge is attained at
    |u| <= 1, |b| <= R, where |(u, b / r)| <= sqrt(1 + (R / r)^2) = q.
    """
    unit = design.scaled(1.0 / design.magnitude)  # whose squares do not underflow
    longest = unit.row_norms.max() * (1 + design.d * np.finfo(float).eps) * design.magnitude
    return FREE * (float(longest) or 1.0), _excess(FREE)


def _excess(factor: float) -> float:
    """sqrt(1 + (R / r)^2) for r = factor R, rounded upwards."""
    return float(np.sqrt(1 + factor**-2.0)) * (1 + 1e-14)


def _weights_and_bias(network: Network) -> tuple[Array, Array]:
    """W (d, m) and b (m,), zero for a network without."""
    if network.bias:
        return network.hidden[:-1], network.hidden[-1]
    return network.hidden, np.zeros(network.width)


def _factor(value: float, name: str, *, positive: bool) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = np.nan
    if not (np.isfinite(number) and (number > 0 or (number == 0 and not positive))):
        kind = "positive and finite" if positive else "finite and not negative, or None for a layer without biases"
        why = ": without a penalty there is no best network" if number == 0 else ""
        raise ValueError(f"weight decay: {name} must be {kind}, not {value!r}{why}")
    return number
