"""The optimal set as an object: its members, and what is asked of it, by small linear and quadratic programs."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import ArrayLike

from extremal.design import Array, Design
from extremal.losses import Loss, bind
from extremal.network import Network, remove_dependencies
from extremal.problem import Problem
from extremal.programs.members import Member, Narrowest, PredictionRange, Sparsest
from extremal.programs.polytope import Polytope


@dataclass(frozen=True, eq=False)
class OptimalSet:
    """{alpha >= 0, b : sum_k alpha_k z_k + b = yhat}: the optimal networks on the given optimal neurons.

    Attributes
    ----------
    U, V : arrays of shape (d, m) and (m, c)
        The optimal neurons: unit directions and unit outer weights (signs, for one output).
    ranges : array of shape (m, 2)
        The least and the largest amplitude of every neuron over the set.
    dimension : int
        Of the polytope; 0 if the optimal network is unique (on these neurons, up to permutation and splitting).
    function_dimension : int
        Of the set of functions of x that these networks compute; 0 if all of them are one function. (Neurons u and -u
        differ by a linear function only, so that networks may differ where functions do not.)
    rank : int
        Of the fits z_k (with the intercept's columns); no vertex has more neurons,
        unless rows on a straight part of the loss (squared hinge, Huber) take part by inequalities.
    singular : array
        The relative singular values that the rank was read from: those above max(1e-9, 10 residual) count.
    tol : float
        The relative deficit |lam^T (Xu)_+| >= (1 - tol) beta up to which a neuron counts as optimal.
    residual : float
        The residual of the optimality conditions of the polished network, relative to beta.
    objective : float
        Of the network that the set was built from.
    network : Network
        That network, polished, without neurons that are not optimal.
    """

    U: Array
    V: Array
    ranges: Array
    dimension: int
    function_dimension: int
    rank: int
    singular: Array
    tol: float
    residual: float
    objective: float
    network: Network
    _problem: Problem = field(repr=False)
    _polytope: Polytope = field(repr=False)
    _unit: float = field(repr=False)  # the amplitudes are unit * the polytope's variables
    _offset: float = field(repr=False)  # the intercept likewise
    _met: list[Array] = field(repr=False)  # vertices that are known already
    _outputs: Array = field(repr=False)

    @property
    def unique(self) -> bool:
        """Whether there is one optimal network on these neurons, up to permutation and splitting of neurons."""
        return self.dimension == 0

    def __str__(self) -> str:
        kind = "unique" if self.unique else f"one of a polytope of dimension {self.dimension}"
        function = "unique" if self.function_dimension == 0 else f"one of {self.function_dimension} dimensions"
        return "\n".join(
            [
                f"optimal network            {kind}",
                f"as a function              {function}",
                f"optimal neurons            {self.V.shape[0]}, {int((self.ranges[:, 1] > 0).sum())} of use",
                f"rank of their fits         {self.rank}",
                f"always there               {int((self.ranges[:, 0] > 1e-7 * self._unit).sum())}",
                f"tolerance                  {self.tol:.1e}, from a residual of {self.residual:.1e}",
            ]
        )

    def given(self) -> Member:
        """The network that the set was built from, polished."""
        return self._member(self._polytope.start)

    def vertex(self, objective: ArrayLike) -> Member:
        """A vertex of the polytope that minimises objective^T alpha; it has at most `rank` neurons."""
        slope = self._checked(objective, (self.V.shape[0],), "the objective")
        return self._member(self._polytope.minimise(self._padded(slope)))

    def least_norm(self) -> Member:
        """The member of least sum_k alpha_k^2: the most evenly spread one."""
        m = self.V.shape[0]
        size = self._polytope.start.size
        identity = np.diag((np.arange(size) < m).astype(float))
        return self._member(self._polytope.minimise_quadratic(identity, np.zeros(size)))

    def sparsest(self, *, objectives: int = 30, random_state: int | np.random.Generator | None = 0) -> Sparsest:
        """The narrowest vertex of those that minimise random objectives or one of the amplitudes.

        The narrowest of all is NP-hard to find; every vertex has at most `rank` neurons.
        """
        rng, m = np.random.default_rng(random_state), self.V.shape[0]
        count = objectives if self.dimension else 1
        found = [self._polytope.minimise(self._padded(rng.normal(size=(m,)))) for _ in range(count)] + self._met
        supports = {tuple(np.flatnonzero(x[:m] > 0)): x for x in found}
        best = min(supports, key=lambda support: (len(support), support))
        return Sparsest(self._member(supports[best]), len(supports), len(found))

    def narrowest(self, *, time_limit: float | None = 10.0) -> Narrowest:
        """The member with the fewest neurons of all, by a mixed-integer program (HiGHS), within `time_limit` seconds.

        Unlike `sparsest`, it says how few are possible. HiGHS decides up to its feasibility tolerance of 1e-6, relative
        to the total amplitude.
        """
        highest = self.ranges[:, 1] / self._unit
        x, lower = self._polytope.fewest(highest, time_limit=time_limit)
        found = min((self._member(x), self.sparsest().member), key=lambda member: member.width)
        return Narrowest(found, lower)

    def prune(self) -> Member:
        """The given network without dependent fits, hence with at most rank(Z) <= n c neurons (`Network.prune`)."""
        x, m = self._polytope.start, self.V.shape[0]
        used = np.flatnonzero(x[:m] > 0)
        share = remove_dependencies(self._fits()[:, used] * x[used], x[used])
        pruned = x.copy()
        pruned[used] *= share
        return self._member(pruned)

    def best_on(
        self,
        X: ArrayLike,
        y: ArrayLike,
        *,
        loss: str | Loss | None = None,
        sample_weight: ArrayLike | None = None,
        steps: int = 50,
    ) -> Member:
        """The member of least loss on validation data; by default the training loss.

        A quadratic program for the squared loss, otherwise damped Newton steps over the polytope, each a quadratic
        program, until the objective falls by less than 1e-12 of itself.
        """
        bound = self._same_loss(y, sample_weight) if loss is None else bind(loss, y, sample_weight)
        maps = self._output_maps(X)
        if bound.shape != maps.shape[:2]:
            raise ValueError(f"X and the network give outputs of shape {maps.shape[:2]}; the targets are {bound.shape}")
        x = self._polytope.start
        value = bound.value(maps @ x)
        for _ in range(1 if bound.quadratic else steps):
            gradient = -np.einsum("icp,ic->p", maps, bound.dual(maps @ x))
            hessian = np.einsum("icp,icq,iqr->pr", maps, bound.curvature(maps @ x), maps, optimize=True)
            step = self._polytope.minimise_quadratic(hessian, gradient - hessian @ x) - x
            t = 1.0
            while t > 1e-8 and bound.value(maps @ (x + t * step)) > value + 1e-4 * t * min(float(gradient @ step), 0.0):
                t *= 0.5
            trial = bound.value(maps @ (x + t * step))
            if trial >= value:
                break
            fall, value, x = value - trial, trial, x + t * step
            if fall <= 1e-12 * abs(value):
                break
        return self._member(x)

    def prediction_range(self, x: ArrayLike, *, output: int = 0) -> PredictionRange:
        """The least and the largest value that f(x) takes over the set, at one point x of shape (d,)."""
        point = np.asarray(x, dtype=np.float64).reshape(1, -1)
        maps = self._output_maps(point)
        if not 0 <= output < maps.shape[1]:
            raise ValueError(f"the networks have {maps.shape[1]} outputs; there is no output {output}")
        slope = maps[0, output]
        low, high = self._member(self._polytope.minimise(slope)), self._member(self._polytope.minimise(-slope))
        values = [float(member.network.predict(point)[0, output]) for member in (low, high)]
        return PredictionRange(values[0], values[1], low, high)

    def _member(self, x: Array) -> Member:
        m, c = self.V.shape
        amplitudes = self._unit * x[:m]
        keep = amplitudes > 0
        root = np.sqrt(amplitudes[keep])
        intercept = self._offset * x[m:] if self._problem.intercept else np.zeros(c)
        network = Network(self.U[:, keep] * root, self.V[keep] * root[:, None], intercept, bias=self._problem.bias)
        objective = self._problem.value(network)
        difference = float(np.abs(network.evaluate(self._problem.design) - self._outputs).max())
        return Member(network, amplitudes, objective, objective - self.objective, difference)

    def _same_loss(self, y: ArrayLike, sample_weight: ArrayLike | None) -> Loss:
        trained = self._problem.loss
        fresh = type(trained).from_data(y, sample_weight)
        return replace(trained, target=fresh.target, weight=fresh.weight)

    def _output_maps(self, X: ArrayLike) -> Array:
        """The outputs (n, c) on new data as a linear map (n, c, m + f) of the polytope's variables."""
        design = Design.from_data(X, bias=self._problem.bias)
        if design.d != self.U.shape[0]:
            raise ValueError(
                f"the networks have {self.U.shape[0] - self._problem.bias} features, X has "
                f"{design.d - self._problem.bias}"
            )
        hidden = np.maximum(design.forward(self.U), 0) * self._unit
        free = self._offset * np.eye(self.V.shape[1]) if self._problem.intercept else np.zeros((self.V.shape[1], 0))
        maps = np.einsum("im,mc->icm", hidden, self.V)
        return np.concatenate([maps, np.broadcast_to(free, (design.n, *free.shape))], axis=2)

    def _fits(self) -> Array:
        """z_k (n c, m) on the training data, for unit shares."""
        hidden = np.maximum(self._problem.design.forward(self.U), 0)
        return np.einsum("im,mc->icm", hidden, self.V).reshape(hidden.shape[0] * self.V.shape[1], self.V.shape[0])

    def _padded(self, objective: Array) -> Array:
        """An objective of the amplitudes as one of the amplitudes and the intercept."""
        return np.concatenate([objective, np.zeros(self._polytope.start.size - objective.size)])

    @staticmethod
    def _checked(values: ArrayLike, shape: tuple[int, ...], name: str) -> Array:
        array = np.asarray(values, dtype=np.float64)
        if array.shape != shape or not np.isfinite(array).all():
            raise ValueError(f"{name} must be finite numbers of shape {shape}; got shape {array.shape}")
        return array
