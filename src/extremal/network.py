"""Two-layer ReLU networks f(x) = sum_j (w_j . x)_+ a_j, and the moves that keep what they compute."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from zipfile import BadZipFile

import numpy as np
from numpy.typing import ArrayLike

from extremal.design import Array, Design
from extremal.losses import Loss, bind

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, eq=False)
class Network:
    """f(x) = sum_j (w_j . x)_+ a_j + intercept.

    Parameters
    ----------
    hidden : array of shape (d, m)
        The hidden weights, a column w_j for each neuron. With ``bias=True`` the last row multiplies a constant 1.
    output : array of shape (m, c)
        The output weights, a row a_j for each neuron.
    intercept : array of shape (c,), optional
        A constant added to the outputs; zero by default. It is never penalised.
    bias : bool
        Whether the last row of `hidden` is the neurons' bias.

    Notes
    -----
    In the convex view a neuron is its direction u_j = w_j / |w_j| with the outer weight v_j = |w_j| a_j, and the
    penalty beta/2 (|W|^2 + |A|^2) of a balanced network (|w_j| = |a_j|) is beta sum_j |w_j| |a_j|.
    """

    hidden: Array
    output: Array
    intercept: Array = field(default_factory=lambda: np.zeros(0))
    bias: bool = False

    def __post_init__(self) -> None:
        hidden = np.asarray(self.hidden, dtype=np.float64)
        output = np.asarray(self.output, dtype=np.float64)
        if output.ndim == 1:
            output = output[:, None]
        if hidden.ndim != 2 or output.ndim != 2 or hidden.shape[1] != output.shape[0]:
            raise ValueError(
                f"hidden must be (d, m) and output (m, c) with the same m; got {hidden.shape} and {output.shape}"
            )
        intercept = np.atleast_1d(np.asarray(() if self.intercept is None else self.intercept, dtype=np.float64))
        if intercept.size == 0:
            intercept = np.zeros(output.shape[1])
        if intercept.shape != (output.shape[1],):
            raise ValueError(f"intercept must have shape ({output.shape[1]},); its shape is {intercept.shape}")
        if not all(np.isfinite(part).all() for part in (hidden, output, intercept)):
            raise ValueError("the network has weights that are NaN or infinite")
        object.__setattr__(self, "hidden", hidden)
        object.__setattr__(self, "output", output)
        object.__setattr__(self, "intercept", intercept)

    @classmethod
    def zero(cls, d: int, c: int = 1, *, bias: bool = False) -> Network:
        """The network without neurons, for d features."""
        return cls(np.zeros((d + bias, 0)), np.zeros((0, c)), bias=bias)

    @property
    def width(self) -> int:
        """The number of neurons m."""
        return self.hidden.shape[1]

    @property
    def n_features(self) -> int:
        return self.hidden.shape[0] - self.bias

    @property
    def n_outputs(self) -> int:
        return self.output.shape[1]

    def predict(self, X: ArrayLike) -> Array:
        """The outputs f(X), shape (n, c)."""
        return self.evaluate(self._design(X))

    def evaluate(self, design: Design) -> Array:
        """The outputs on a design that already has the column of ones, if there is one."""
        return np.maximum(design.forward(self.hidden), 0) @ self.output + self.intercept

    def penalty(self) -> float:
        """1/2 (|W|_F^2 + |A|_F^2)."""
        return 0.5 * (float(np.vdot(self.hidden, self.hidden)) + float(np.vdot(self.output, self.output)))

    def objective(
        self,
        X: ArrayLike,
        y: ArrayLike,
        *,
        beta: float,
        loss: str | Loss = "squared",
        sample_weight: ArrayLike | None = None,
    ) -> float:
        """sum_i w_i loss(f(x_i), y_i) + beta/2 (|W|_F^2 + |A|_F^2)."""
        return bind(loss, y, sample_weight).value(self.predict(X)) + beta * self.penalty()

    @property
    def strength(self) -> Array:
        """|w_j| |a_j|, what each neuron costs in the convex program, shape (m,)."""
        return np.linalg.norm(self.hidden, axis=0) * np.linalg.norm(self.output, axis=1)

    def balance(self) -> Network:
        """The same function with |w_j| = |a_j| for every neuron: the objective can only fall. Dead neurons go."""
        inner = np.linalg.norm(self.hidden, axis=0)
        outer = np.linalg.norm(self.output, axis=1)
        alive = (inner > 0) & (outer > 0)
        ratio = np.sqrt(outer[alive]) / np.sqrt(inner[alive])
        return self._with(self.hidden[:, alive] * ratio, self.output[alive] / ratio[:, None])

    def merge(self, tol: float = 1e-12) -> Network:
        """One neuron for all those with the same direction and the same outer direction (cosines within tol of 1).

        The function stays the same; the objective stays the same for a balanced network and falls for any other.
        """
        net = self.balance()
        directions = net.hidden / np.linalg.norm(net.hidden, axis=0)
        outers = net.output / np.linalg.norm(net.output, axis=1)[:, None]
        strength = net.strength
        free = np.ones(net.width, dtype=bool)
        hidden, output = [], []
        for j in range(net.width):
            if not free[j]:
                continue
            same = free & _close(directions.T, directions[:, j], tol) & _close(outers, outers[j], tol)
            free &= ~same
            total = directions[:, same] @ strength[same]
            size = np.linalg.norm(total)
            if size > 0:  # it may underflow
                hidden.append(total / np.sqrt(size))
                output.append(outers[j] * np.sqrt(size))
        if not hidden:
            return self._with(net.hidden[:, :0], net.output[:0])
        return self._with(np.column_stack(hidden), np.vstack(output))

    def prune(self, X: ArrayLike) -> Network:
        """A network with linearly independent fits and the same outputs on X, of objective no larger (balanced).

        Its width is at most n c, and at most the rank of the fits. Mishkin & Pilanci (2023): while the fits
        (X w_j)_+ a_j are dependent, mass moves along the dependency that does not raise the penalty until a neuron
        is empty.
        """
        return self.prune_on(self._design(X))

    def prune_on(self, design: Design) -> Network:
        """`prune` on a design that already has the column of ones, if there is one."""
        net = self.balance()
        strength = net.strength
        fits = np.einsum("ij,jk->ikj", np.maximum(design.forward(net.hidden), 0), net.output)
        share = remove_dependencies(fits.reshape(design.n * net.n_outputs, net.width), strength)
        keep = share > 0
        root = np.sqrt(share[keep])
        return net._with(net.hidden[:, keep] * root, net.output[keep] * root[:, None])

    def save(self, path: str | Path) -> None:
        """Write the network to an .npz file."""
        arrays = {"hidden": self.hidden, "output": self.output, "intercept": self.intercept}
        np.savez(path, bias=np.array(self.bias), **arrays)  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: str | Path) -> Network:
        """Read a network written by `save`.

        Raises
        ------
        ValueError
            If the file is something else.
        """
        # NumPy leaves a file open that it opened itself and cannot read
        with open(path, "rb") as opened:
            try:
                file = np.load(opened, allow_pickle=False)
            except (ValueError, EOFError, BadZipFile) as error:
                raise ValueError(f"{path} is not a network: it is no .npz file of arrays") from error
            if isinstance(file, np.ndarray):
                raise ValueError(f"{path} is not a network: it is a single array")
            missing = {"hidden", "output"} - set(file.files)
            if missing:
                raise ValueError(f"{path} is not a network: it has no {' and no '.join(sorted(missing))}")
            intercept = file["intercept"] if "intercept" in file.files else np.zeros(0)
            bias = bool(file["bias"]) if "bias" in file.files else False
            return cls(file["hidden"], file["output"], intercept, bias=bias)

    def __repr__(self) -> str:
        kind = "with" if self.bias else "without"
        return f"Network({self.n_features} features, {self.width} neurons {kind} bias, {self.n_outputs} outputs)"

    def _with(self, hidden: Array, output: Array) -> Network:
        return Network(hidden, output, self.intercept, bias=self.bias)

    def _design(self, X: ArrayLike) -> Design:
        design = Design.from_data(X, bias=self.bias)
        if design.d != self.hidden.shape[0]:
            raise ValueError(f"the network has {self.n_features} features, X has {design.d - self.bias}")
        return design


def remove_dependencies(fits: Array, cost: Array) -> Array:
    """Shares s >= 0 with fits @ s = fits @ 1, at most rank(fits) of them positive, and cost @ s <= cost @ 1.

    Parameters
    ----------
    fits : array of shape (N, m)
    cost : nonnegative array of shape (m,)
    """
    share = np.ones(fits.shape[1])
    norms = np.linalg.norm(fits, axis=0)
    share[norms == 0] = 0.0
    while True:
        active = np.flatnonzero(share)
        direction = dependency(fits[:, active] * share[active])
        if direction is None:
            return share
        slope = cost[active] * share[active] @ direction
        if slope > 0:  # the dependency may be followed either way; never raise the cost
            direction = -direction
        if not np.any(direction < 0):
            direction = -direction  # a cost of zero along it
        falling = direction < 0
        step = np.min(-1.0 / direction[falling])
        scale = 1.0 + step * direction
        scale[scale < 1e-14] = 0.0
        scale[np.flatnonzero(falling)[np.argmin(-1.0 / direction[falling])]] = 0.0
        share[active] *= scale


def dependency(fits: Array, tol: float = 1e-12) -> Array | None:
    """A nonzero z with fits @ z = 0 to working precision, or None if the columns (not zero) are independent.

    Columns count as dependent below `tol` times the size of the matrix, relative to the largest unit column.
    """
    from scipy.linalg import qr, solve_triangular

    m = fits.shape[1]
    if m == 0:
        return None
    norms = np.linalg.norm(fits, axis=0)
    _, R, order = qr(fits / norms, mode="economic", pivoting=True)
    diagonal = np.abs(np.diag(R))
    rank = int((diagonal > tol * max(fits.shape) * diagonal[0]).sum())
    if rank == m:
        return None
    z = np.zeros(m)
    z[order[rank]] = 1.0
    z[order[:rank]] = -solve_triangular(R[:rank, :rank], R[:rank, rank])
    return z / norms / np.abs(z / norms).max()


def _close(rows: Array, unit: Array, tol: float) -> Array:
    # 1 - cos = |difference|^2 / 2, without the cancellation
    return 0.5 * np.square(rows - unit).sum(axis=1) <= tol
