"""Whitened data, X X^T = s I: one neuron for each direction of the targets, for every loss and every penalty.

The neurons' outputs are then any z >= 0 at the cost |z| / sqrt(s). Let the targets of the rows have directions v_k, no
two of them at an acute angle, and let u_k >= 0 be the unit vector of their sizes over the rows of direction v_k. The
functions u_k v_k^T do not disturb each other: for Lam = sum_k c_k u_k v_k^T

    |Lam^T z|^2 <= sum_k c_k^2 (u_k . z)^2 <= max c_k^2 |z|^2      for z >= 0,

because the u_k have disjoint supports and v_k . v_l <= 0. So training splits into one scalar problem for each k.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import entr

from extremal.closed_forms.result import ClosedForm
from extremal.closed_forms.rows import positive
from extremal.design import Array, Design
from extremal.losses import bind
from extremal.network import Network

Loss = Literal["squared", "hinge", "squared_hinge", "logistic", "softmax"]

#: Directions of targets with a cosine above 1 - SAME are one.
SAME = 1e-12


@dataclass(frozen=True, eq=False)
class WhitenedPath:
    """The best network for every beta, neuron by neuron, in the order in which they vanish: the strongest first.

    Attributes
    ----------
    loss : str
    thresholds : array of shape (m,)
        Neuron k is there if and only if beta < thresholds[k], decreasing; the first is beta_max.
    directions : array of shape (d, m)
        Unit vectors, the neurons' input weights.
    outputs : array of shape (m, c)
        Unit vectors, their output weights.
    profiles : array of shape (n, m)
        Unit vectors u_k >= 0 of disjoint supports: what the neurons put out on the rows, up to size.
    norm : float
        sqrt(s), the length of all rows.
    residual : float
        max |X X^T / s - I|.
    """

    loss: str
    thresholds: Array
    directions: Array
    outputs: Array
    profiles: Array
    norm: float
    residual: float
    _sizes: Array
    _scalar: bool

    @property
    def beta_max(self) -> float:
        """From here on the zero network is optimal; 0 if it always is."""
        return float(self.thresholds.max(initial=0.0))

    def strengths(self, beta: float) -> Array:
        """|w_k| |a_k|, shape (m,): zero from the threshold on."""
        share = self._shares(beta)
        with np.errstate(divide="ignore"):
            return _STRENGTHS[self.loss](self._sizes, share, self.outputs.shape[1]) / self.norm

    def value(self, beta: float) -> float:
        """The optimal value."""
        return float(_VALUES[self.loss](self._sizes, self._shares(beta), self.outputs.shape[1]).sum()) + 0.0

    def lam(self, beta: float) -> Array:
        """The dual solution sum_k min(beta, thresholds_k) / sqrt(s) u_k v_k^T, (n,) or (n, c)."""
        sizes = np.minimum(positive(beta), self.thresholds) / self.norm
        lam = (self.profiles * sizes) @ self.outputs
        return lam[:, 0] if self._scalar else lam

    def at(self, beta: float) -> ClosedForm:
        """The optimum for one beta."""
        root = np.sqrt(self.strengths(beta))
        used = np.flatnonzero(root)
        network = Network(self.directions[:, used] * root[used], self.outputs[used] * root[used][:, None])
        name, objective = f"whitened data, loss {self.loss!r}", "loss + beta/2 |theta|^2"
        return ClosedForm(name, objective, self.value(beta), network, self.lam(beta), self.residual)

    def _shares(self, beta: float) -> Array:
        """min(1, beta / threshold) for every neuron."""
        return np.minimum(positive(beta) / self.thresholds, 1.0)

    def __str__(self) -> str:
        shown = ", ".join(f"{threshold:.6g}" for threshold in self.thresholds[:8])
        more = ", ..." if len(self.thresholds) > 8 else ""
        return f"whitened data, loss {self.loss!r}: {len(self.thresholds)} neurons, there below beta = {shown}{more}"


def whitened_path(X: ArrayLike, y: ArrayLike, *, loss: Loss = "squared", tol: float = 1e-9) -> WhitenedPath:
    """The best network on whitened data as a function of beta:  min loss(f) + beta/2 |theta|^2.

    Neuron k has the input direction X^T u_k / sqrt(s) and the output direction v_k. With t = beta / sqrt(s), for a
    squared loss whose rows of direction v_k have targets of the total length s_k, and for a class of n_k rows:

    =============  ============================  =================================  ==========================
    loss           there if                      outputs of f on the rows           value
    =============  ============================  =================================  ==========================
    squared        t < s_k                       (1 - t / s_k) y_i                  t s_k - t^2/2, else s_k^2/2
    hinge          t < sqrt(n_k)                 y_i                                t sqrt(n_k), else n_k
    squared_hinge  t < sqrt(n_k)                 (1 - t / sqrt(n_k)) y_i            t sqrt(n_k) - t^2/2, else n_k/2
    logistic       t < sqrt(n_k) / 2             y_i log(1/p - 1), p = t/sqrt(n_k)  n_k H(p), else n_k log 2
    softmax        t < sqrt(n_k (K-1)/K)         own minus others log(K-1)(1/q-1)   n_k H(q), else n_k log K
    =============  ============================  =================================  ==========================

    H is the entropy of (p, 1 - p), and of (1 - q, q / (K-1), ..., q / (K-1)) with q = t sqrt((K-1) / (K n_k)), the
    total probability of the other classes. Zero targets have no neuron.

    Parameters
    ----------
    X : array of shape (n, d)
        Whitened: X X^T = s I for some s > 0.
    y : array of shape (n,) or (n, c)
        For the squared loss numbers: one column, or rows of which any two have the same direction or make no acute
        angle, such as one-hot rows, or any Y = U S V^T with U >= 0. Labels -1/+1 or 0/1 for the hinge and logistic
        losses, class numbers 0, ..., K-1 for the softmax.
    loss : {"squared", "hinge", "squared_hinge", "logistic", "softmax"}
        The squared loss is 1/2 r^2, all are sums over the rows. The hinge, (1 - y f)_+, exists here only.
    tol : float
        What the entries of X X^T / s may differ from those of I by.

    Raises
    ------
    ValueError
        If X is not whitened, two directions of targets make an acute angle (`soft_threshold_bound` is then a lower
        bound), or the data are not finite.

    Notes
    -----
    At a threshold of the hinge loss every output between 0 and y_i is optimal; here the neuron is gone.

    References
    ----------
    Ergen & Pilanci (JMLR 2021), Theorems 9 (squared), 12 (hinge) and 15 (one-hot); Sahiner, Ergen, Pauly & Pilanci
    (ICLR 2021) for the singular values. Values, angles, the scale s, and the smooth label losses are this library's.
    """
    if loss not in get_args(Loss):
        raise ValueError(f"loss must be one of {', '.join(get_args(Loss))}; not {loss!r}")
    rows = Design.from_data(X).dense()
    norm, residual = _whiteness(rows, tol)
    target = bind("squared_hinge" if loss == "hinge" else loss, y).target
    if len(target) != len(rows):
        raise ValueError(f"X has {len(rows)} rows and y has {len(target)}")
    c = target.shape[1]
    if loss == "softmax":
        target = target - 1.0 / c
        target /= np.linalg.norm(target, axis=1)[:, None]
    profiles, outputs, sizes = _groups(target)
    thresholds = sizes * norm * _FIRST.get(loss, lambda c: 1.0)(c)
    order = np.argsort(-thresholds, kind="stable")
    profiles, outputs, sizes = profiles[:, order], outputs[order], sizes[order]
    directions = rows.T @ profiles
    directions /= np.linalg.norm(directions, axis=0)
    scalar = np.ndim(y) == 1 and loss != "softmax"
    return WhitenedPath(loss, thresholds[order], directions, outputs, profiles, norm, residual, sizes, scalar)


def whitened_fit(X: ArrayLike, y: ArrayLike, *, beta: float, loss: Loss = "squared", tol: float = 1e-9) -> ClosedForm:
    """The best network on whitened data for one beta: `whitened_path` with the same parameters, at beta."""
    return whitened_path(X, y, loss=loss, tol=tol).at(beta)


def soft_threshold_bound(X: ArrayLike, Y: ArrayLike, *, beta: float, tol: float = 1e-9) -> float:
    """A lower bound on  min 1/2 |f - Y|^2 + beta/2 |theta|^2  on whitened data, whatever the targets.

    That of linear networks, sum_k beta s_k - beta^2/2 (s_k^2/2 from beta on) over the singular values s_k of Y: their
    penalty is the nuclear norm, which is no larger. It is the optimum if Y = U S V^T with U >= 0, and so in the cases
    of `whitened_path` with orthogonal directions.

    Parameters
    ----------
    X : array of shape (n, d)
        X X^T = s I for some s > 0.
    Y : array of shape (n,) or (n, c)
    beta : float
    tol : float
        As for `whitened_path`.

    Raises
    ------
    ValueError
        If X is not whitened, or the data are not finite.

    References
    ----------
    Sahiner, Ergen, Pauly & Pilanci (ICLR 2021).
    """
    rows = Design.from_data(X).dense()
    norm, _ = _whiteness(rows, tol)
    target = bind("squared", Y).target
    if len(target) != len(rows):
        raise ValueError(f"X has {len(rows)} rows and Y has {len(target)}")
    sizes = np.linalg.svd(target, compute_uv=False)
    part = np.minimum(positive(beta) / norm, sizes)
    return float((part * sizes - part**2 / 2).sum())


def _whiteness(rows: Array, tol: float) -> tuple[float, float]:
    """sqrt(s) and max |X X^T / s - I|."""
    if len(rows) > rows.shape[1]:
        raise ValueError(f"X is not whitened: {len(rows)} rows in {rows.shape[1]} dimensions are never orthonormal")
    unit = float(np.abs(rows).max()) or 1.0
    gram = (rows / unit) @ (rows / unit).T
    scale = float(np.trace(gram)) / len(rows)
    error = float(np.abs(gram / scale - np.eye(len(rows))).max()) if scale > 0 else np.inf
    if error > tol:
        raise ValueError(f"X is not whitened: X X^T differs from a multiple of I by {error:.3g} of it")
    return unit * float(np.sqrt(scale)), error


def _groups(target: Array) -> tuple[Array, Array, Array]:
    """The rows of each direction: (n, m) unit vectors of their lengths, (m, c) directions, (m,) total lengths."""
    lengths = np.linalg.norm(target, axis=1)
    rest = np.flatnonzero(lengths)
    units = target / np.where(lengths > 0, lengths, 1.0)[:, None]
    profiles, outputs = [], []
    while rest.size:
        same = 0.5 * np.square(units[rest] - units[rest[0]]).sum(axis=1) <= SAME
        profile = np.zeros(len(target))
        profile[rest[same]] = lengths[rest[same]]
        profiles.append(profile)
        outputs.append(units[rest[0]])
        rest = rest[~same]
    shape = (len(target), target.shape[1])
    V = np.array(outputs).reshape(len(outputs), shape[1])
    cosines = V @ V.T - np.eye(len(V))
    if cosines.max(initial=0.0) > SAME:
        raise ValueError(
            f"two rows of the targets make an acute angle (cosine {cosines.max():.3g}): no closed form is known"
        )
    U = np.array(profiles).reshape(len(profiles), shape[0]).T
    sizes = np.linalg.norm(U, axis=0)
    return U / sizes, V, sizes


def _quadratic_value(size: Array, share: Array, c: int) -> Array:
    return size**2 * (share - share**2 / 2)


def _hinge_strength(size: Array, share: Array, c: int) -> Array:
    return np.where(share < 1, size, 0.0)


def _logistic_strength(size: Array, share: Array, c: int) -> Array:
    return size * np.log(2.0 / share - 1.0)


def _logistic_value(size: Array, share: Array, c: int) -> Array:
    p = share / 2
    return size**2 * (entr(p) + entr(1 - p))


def _softmax_strength(size: Array, share: Array, c: int) -> Array:
    others = share * (c - 1) / c
    gap = np.where(share < 1, np.log((c - 1) * (1 - others) / others), 0.0)
    return size * np.maximum(gap, 0.0) * np.sqrt((c - 1) / c)


def _softmax_value(size: Array, share: Array, c: int) -> Array:
    others = share * (c - 1) / c
    return size**2 * (entr(1 - others) + (c - 1) * entr(others / (c - 1)))


#: beta_max over the size of the group, the strength in units of |X|, and the value, as functions of (size, share, c),
#: where share = min(1, beta / threshold).
_FIRST = {"logistic": lambda c: 0.5, "softmax": lambda c: np.sqrt((c - 1) / c)}
_STRENGTHS = {
    "squared": lambda size, share, c: size * (1 - share),
    "squared_hinge": lambda size, share, c: size * (1 - share),
    "hinge": _hinge_strength,
    "logistic": _logistic_strength,
    "softmax": _softmax_strength,
}
_VALUES = {
    "squared": _quadratic_value,
    "squared_hinge": _quadratic_value,
    "hinge": lambda size, share, c: size**2 * share,
    "logistic": _logistic_value,
    "softmax": _softmax_value,
}
