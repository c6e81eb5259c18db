"""Convex losses, bound to their targets: value, dual variable, conjugate and curvature.

Every loss is a sum over samples, l(F) = sum_i w_i l_i(F_i), of the outputs F (n, c) of a network. The dual variable is
lam = -grad l(F), and the Fenchel dual of  min_f l(f) + beta |f|_atomic  is

    max_lam  D(lam) = -sum_i (w_i l_i)^*(-lam_i)   subject to   g(lam) <= beta,

with the gauge g (see `extremal.gauge`). `dual_value` is D; it is -inf outside the conjugate's domain.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, logsumexp, softmax, xlogy

from extremal.design import Array


@dataclass(frozen=True, eq=False)
class Loss(ABC):
    """A convex loss of the outputs F (n, c), bound to targets and sample weights.

    Attributes
    ----------
    target : array of shape (n, c)
        What the outputs are compared with: values, labels -1/+1, or one-hot rows.
    weight : array of shape (n,)
        Nonnegative sample weights.
    """

    target: Array
    weight: Array
    name: ClassVar[str]
    #: Whether the second-order model is the loss itself.
    quadratic: ClassVar[bool] = False
    #: Whether the loss is a sum over the outputs.
    separable: ClassVar[bool] = True

    @classmethod
    @abstractmethod
    def encode(cls, y: Array) -> Array:
        """The target matrix (n, c) of a user's y; raises ValueError on labels that the loss cannot use."""

    @classmethod
    def from_data(cls, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Check a user's targets and weights and bind the loss to them."""
        target = cls.encode(_as_target(y))
        return cls(target=target, weight=_as_weight(sample_weight, target.shape[0]))

    @property
    def shape(self) -> tuple[int, int]:
        """(n, c): samples and outputs."""
        return self.target.shape

    @abstractmethod
    def value(self, F: Array) -> float:
        """l(F)."""

    @abstractmethod
    def dual(self, F: Array) -> Array:
        """lam = -grad l(F), shape (n, c)."""

    @abstractmethod
    def dual_value(self, lam: Array) -> float:
        """D(lam) = -l^*(-lam); -inf outside the domain."""

    @abstractmethod
    def curvature(self, F: Array) -> Array:
        """The Hessian of every sample's loss, shape (n, c, c), or a majorising one where it jumps or vanishes."""

    @abstractmethod
    def centred(self, lam: Array) -> Array:
        """A point of the dual domain near lam whose columns sum to zero.

        That is the constraint which an unpenalised output intercept adds to the dual.
        """

    @property
    def holds_intercept(self) -> bool:
        """Whether an unpenalised intercept has a finite optimum."""
        return True

    def normalised(self) -> tuple[Loss, float, float]:
        """(unit, tau, scale) with l(tau F) = scale * unit(F), and unit's targets and weights of order one.

        tau and scale are powers of two, so nothing is rounded.
        """
        scale = _binary_scale(self.weight.sum())
        return replace(self, weight=self.weight / scale), 1.0, scale

    def at(self, sample: Array) -> Self:
        """The same loss on the rows `sample`."""
        return replace(self, target=self.target[sample], weight=self.weight[sample])

    def astype(self, dtype: type) -> Self:
        return replace(self, target=self.target.astype(dtype), weight=self.weight.astype(dtype))


class _Regression(Loss):
    """Losses of the residual, which may be shifted freely in the dual."""

    @classmethod
    def encode(cls, y: Array) -> Array:
        return y.reshape(y.shape[0], -1)

    def normalised(self) -> tuple[Loss, float, float]:
        unit, _, scale = super().normalised()
        tau = _binary_scale(np.abs(self.target).max())
        return replace(unit, target=self.target / tau), tau, scale * tau**2


@dataclass(frozen=True, eq=False)
class Squared(_Regression):
    """l(F) = 1/2 sum_i w_i |F_i - y_i|^2; D(lam) = sum_i <lam_i, y_i> - |lam_i|^2 / (2 w_i)."""

    name: ClassVar[str] = "squared"
    quadratic: ClassVar[bool] = True

    def value(self, F: Array) -> float:
        residual = F - self.target
        return 0.5 * float(self.weight @ np.einsum("ik,ik->i", residual, residual))

    def dual(self, F: Array) -> Array:
        return self.weight[:, None] * (self.target - F)

    def dual_value(self, lam: Array) -> float:
        if np.any(lam[self.weight == 0]):
            return -np.inf
        quadratic = _divide(np.einsum("ik,ik->i", lam, lam), self.weight)
        return float(np.vdot(lam, self.target) - 0.5 * quadratic.sum())

    def curvature(self, F: Array) -> Array:
        return self.weight[:, None, None] * np.eye(F.shape[1])

    def centred(self, lam: Array) -> Array:
        return lam - np.outer(self.weight / self.weight.sum(), lam.sum(axis=0))


@dataclass(frozen=True, eq=False)
class Huber(_Regression):
    """l(F) = sum_i w_i h(F_ik - y_ik), h(r) = r^2/2 for |r| <= delta and delta |r| - delta^2/2 beyond.

    D(lam) = sum <lam, y> - lam^2 / (2 w) on |lam_ik| <= delta w_i.
    """

    delta: float = 1.35
    name: ClassVar[str] = "huber"

    def value(self, F: Array) -> float:
        size = np.abs(F - self.target)
        inside = np.minimum(size, self.delta)
        return float(self.weight @ (inside * (size - 0.5 * inside)).sum(axis=1))

    def dual(self, F: Array) -> Array:
        return self.weight[:, None] * np.clip(self.target - F, -self.delta, self.delta)

    def dual_value(self, lam: Array) -> float:
        bound = self.delta * self.weight[:, None]
        if np.any(np.abs(lam) > bound * (1 + 1e-14)):
            return -np.inf
        quadratic = _divide(np.einsum("ik,ik->i", lam, lam), self.weight)
        return float(np.vdot(lam, self.target) - 0.5 * quadratic.sum())

    def curvature(self, F: Array) -> Array:
        # Beyond delta, where h'' = 0, that of the parabola which touches h from above: without any, Newton's
        # models would be unbounded there.
        size = np.maximum(np.abs(F - self.target), self.delta)
        return (self.weight[:, None] * (self.delta / size))[:, :, None] * np.eye(F.shape[1])

    def centred(self, lam: Array) -> Array:
        return balance_signs(lam)

    def normalised(self) -> tuple[Loss, float, float]:
        unit, tau, scale = super().normalised()
        return replace(unit, delta=self.delta / tau), tau, scale  # type: ignore[call-arg]


class _Labels(Loss):
    """Margin losses of labels -1/+1 and a single output."""

    @classmethod
    def encode(cls, y: Array) -> Array:
        labels = np.unique(y)
        if y.ndim != 1 or not (np.isin(labels, (-1, 1)).all() or np.isin(labels, (0, 1)).all()):
            shown = ", ".join(f"{label:g}" for label in labels[:5])
            raise ValueError(f"loss {cls.name!r} needs labels -1/+1 or 0/1 in one column; y holds {shown}")
        return np.where(y > 0, 1.0, -1.0)[:, None]

    def centred(self, lam: Array) -> Array:
        return balance_signs(lam)


@dataclass(frozen=True, eq=False)
class Logistic(_Labels):
    """l(F) = sum_i w_i log(1 + exp(-y_i F_i)); D(lam) = sum_i w_i H(p_i), p_i = y_i lam_i / w_i in [0, 1].

    H(p) = -p log p - (1 - p) log(1 - p) is the binary entropy.
    """

    name: ClassVar[str] = "logistic"

    @property
    def holds_intercept(self) -> bool:
        return np.unique(self.target[self.weight > 0]).size == 2

    def value(self, F: Array) -> float:
        return float(self.weight @ np.logaddexp(0, -self.target * F)[:, 0])

    def dual(self, F: Array) -> Array:
        return self.weight[:, None] * self.target * expit(-self.target * F)

    def dual_value(self, lam: Array) -> float:
        p = _divide(self.target[:, 0] * lam[:, 0], self.weight)
        if np.any(p < 0) or np.any(p > 1) or np.any(lam[self.weight == 0]):
            return -np.inf
        return -float(self.weight @ (xlogy(p, p) + xlogy(1 - p, 1 - p)))

    def curvature(self, F: Array) -> Array:
        return (self.weight[:, None] * expit(F) * expit(-F))[:, :, None]


@dataclass(frozen=True, eq=False)
class SquaredHinge(_Labels):
    """l(F) = 1/2 sum_i w_i (1 - y_i F_i)_+^2; D(lam) = sum_i y_i lam_i - lam_i^2 / (2 w_i) on y_i lam_i >= 0."""

    name: ClassVar[str] = "squared_hinge"

    def value(self, F: Array) -> float:
        short = np.maximum(1 - self.target * F, 0)
        return 0.5 * float(self.weight @ (short * short)[:, 0])

    def dual(self, F: Array) -> Array:
        return self.weight[:, None] * self.target * np.maximum(1 - self.target * F, 0)

    def dual_value(self, lam: Array) -> float:
        p = self.target[:, 0] * lam[:, 0]
        if np.any(p < 0) or np.any(p[self.weight == 0]):
            return -np.inf
        return float(p.sum() - 0.5 * _divide(p * p, self.weight).sum())

    def curvature(self, F: Array) -> Array:
        return (self.weight[:, None] * (self.target * F < 1))[:, :, None]


@dataclass(frozen=True, eq=False)
class Softmax(Loss):
    """l(F) = sum_i w_i (log sum_k exp F_ik - F_i,y_i), the cross entropy of K >= 2 classes, c = K outputs.

    lam_i = w_i (Y_i - p_i) with one-hot Y_i and a probability vector p_i; D(lam) = sum_i w_i H(p_i), H the entropy.
    """

    name: ClassVar[str] = "softmax"
    separable: ClassVar[bool] = False

    @classmethod
    def encode(cls, y: Array) -> Array:
        if y.ndim == 2 and y.shape[1] > 1:
            if np.isin(y, (0, 1)).all() and (y.sum(axis=1) == 1).all():
                return y
            raise ValueError("a target matrix for loss 'softmax' must be one-hot")
        labels = y.ravel()
        if np.any(labels < 0) or np.any(labels != np.floor(labels)) or labels.max() >= 10_000:
            raise ValueError("loss 'softmax' needs class numbers 0, 1, ..., K-1")
        return np.eye(max(int(labels.max()) + 1, 2))[labels.astype(int)]

    @property
    def holds_intercept(self) -> bool:
        return bool(np.all(self.weight @ self.target > 0))

    def value(self, F: Array) -> float:
        # relative to the output of the true class: where that is far ahead, a difference of two sums would cancel
        ahead = np.einsum("ik,ik->i", F, self.target)
        return float(self.weight @ logsumexp(F - ahead[:, None], axis=1))

    def dual(self, F: Array) -> Array:
        return self.weight[:, None] * (self.target - softmax(F, axis=1))

    def dual_value(self, lam: Array) -> float:
        p = self._probability(lam)
        if np.any(p < 0) or np.any(np.abs(p.sum(axis=1) - 1) > 1e-12) or np.any(lam[self.weight == 0]):
            return -np.inf
        return -float(self.weight @ xlogy(p, p).sum(axis=1))

    def curvature(self, F: Array) -> Array:
        p = softmax(F, axis=1)
        diagonal = p[:, :, None] * np.eye(F.shape[1])
        return self.weight[:, None, None] * (diagonal - p[:, :, None] * p[:, None, :])

    def centred(self, lam: Array) -> Array:
        # The class frequencies q give a dual point with vanishing column sums and entries bounded away from the
        # boundary; a little of it makes room for shifting every p_i by the same vector.
        total = self.weight.sum()
        frequency = self.weight @ self.target / total
        shift = lam.sum(axis=0) / total
        # A class that never occurs leaves no room at all.
        need = np.divide(np.maximum(-shift, 0), frequency, out=np.ones_like(shift), where=frequency > 0)
        share = min(1.0, 2 * float(need.max()))
        p = (1 - share) * (self._probability(lam) + shift) + share * frequency
        return self.weight[:, None] * (self.target - np.maximum(p, 0))

    def _probability(self, lam: Array) -> Array:
        p = self.target - _divide(lam, self.weight[:, None])
        return np.where((p < 0) & (p > -1e-15), 0.0, p)  # rounding of a probability that is zero


@dataclass(frozen=True, eq=False)
class Anchored(Loss):
    """A loss of all rows but the last, and w/2 |F|^2 of the last: D(lam) = its D - |lam_last|^2 / (2 w).

    At a row x = 0 the outputs are the intercept, so this is a penalty w/2 |intercept|^2. See :func:`anchored`.
    """

    inner: Loss
    name: ClassVar[str] = "anchored"
    separable: ClassVar[bool] = False

    @classmethod
    def around(cls, inner: Loss, weight: float) -> Anchored:
        """The loss `inner` and one more row."""
        target = np.vstack([inner.target, np.zeros((1, inner.shape[1]), dtype=inner.target.dtype)])
        return cls(target, np.append(inner.weight, inner.weight.dtype.type(weight)), inner)

    @classmethod
    def encode(cls, y: Array) -> Array:
        raise ValueError("an anchored loss is made from another loss")

    def value(self, F: Array) -> float:
        return self.inner.value(F[:-1]) + 0.5 * float(self.weight[-1] * (F[-1] @ F[-1]))

    def dual(self, F: Array) -> Array:
        return np.vstack([self.inner.dual(F[:-1]), -self.weight[-1] * F[-1:]])

    def dual_value(self, lam: Array) -> float:
        return self.inner.dual_value(lam[:-1]) - 0.5 * float(lam[-1] @ lam[-1] / self.weight[-1])

    def curvature(self, F: Array) -> Array:
        own = self.weight[-1] * np.eye(F.shape[1], dtype=F.dtype)
        return np.concatenate([self.inner.curvature(F[:-1]), own[None]])

    def centred(self, lam: Array) -> Array:
        return np.vstack([lam[:-1], -lam[:-1].sum(axis=0, keepdims=True)])

    def normalised(self) -> tuple[Loss, float, float]:
        unit, tau, scale = self.inner.normalised()
        return Anchored.around(unit, self.weight[-1] * (tau / scale) * tau), tau, scale

    def astype(self, dtype: type) -> Anchored:
        return Anchored.around(self.inner.astype(dtype), self.weight[-1])


def anchored(loss: Loss, weight: float) -> Loss:
    """The loss with one more row, of target 0 and loss weight/2 |F|^2."""
    if isinstance(loss, Squared):
        target = np.vstack([loss.target, np.zeros((1, loss.shape[1]))])
        return Squared(target, np.append(loss.weight, weight))
    return Anchored.around(loss, weight)


LOSSES: dict[str, type[Loss]] = {loss.name: loss for loss in (Squared, Logistic, Softmax, Huber, SquaredHinge)}


def bind(loss: str | Loss, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Loss:
    """The loss called `loss` ("squared", "logistic", "softmax", "huber", "squared_hinge"), bound to y.

    An instance that is bound already is returned as it is.

    Raises
    ------
    ValueError
        If the name is unknown, or y or the weights cannot be used with it.
    """
    if isinstance(loss, Loss):
        return loss
    if loss not in LOSSES:
        raise ValueError(f"unknown loss {loss!r}; choose one of {', '.join(sorted(LOSSES))}")
    return LOSSES[loss].from_data(y, sample_weight)


def _as_target(y: ArrayLike) -> Array:
    try:
        target = np.asarray(y, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError("y must be numeric; encode labels first, or use extremal.ReLUClassifier") from error
    if target.ndim not in (1, 2) or target.size == 0:
        raise ValueError(f"y must be a nonempty vector or matrix; its shape is {target.shape}")
    if not np.isfinite(target).all():
        raise ValueError("y contains NaN or infinity")
    if np.abs(target).max() > 1e100:
        raise ValueError("y has entries above 1e100 in magnitude; rescale it")
    return target


def _as_weight(sample_weight: ArrayLike | None, n: int) -> Array:
    if sample_weight is None:
        return np.ones(n)
    weight = np.asarray(sample_weight, dtype=np.float64)
    if weight.shape != (n,):
        raise ValueError(f"sample_weight must have shape ({n},); its shape is {weight.shape}")
    if not np.isfinite(weight).all() or np.any(weight < 0) or not np.any(weight > 0):
        raise ValueError("sample_weight must be finite and nonnegative, and not all zero")
    return weight


def _binary_scale(value: float) -> float:
    """A power of two within a factor of two of value (1 for zero)."""
    return float(np.ldexp(1.0, int(np.frexp(value)[1]))) if value > 0 else 1.0


def _divide(numerator: Array, denominator: Array) -> Array:
    """numerator / denominator, and 0 where the denominator is 0."""
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0)


def balance_signs(lam: Array) -> Array:
    """Shrink the heavier sign of every column until the column sums vanish; stays in any box that contains 0."""
    positive = np.maximum(lam, 0)
    negative = np.maximum(-lam, 0)
    up, down = positive.sum(axis=0), negative.sum(axis=0)
    total = np.minimum(up, down)
    return positive * _divide(total, up) - negative * _divide(total, down)
