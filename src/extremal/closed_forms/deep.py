"""Deep networks on data that do not mix: linear ones of any kind, and ReLU networks on orthonormal samples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from extremal.closed_forms.deep_network import Activation, DeepNetwork
from extremal.closed_forms.rows import positive, with_targets
from extremal.closed_forms.thresholds import deep_threshold, local_minimum
from extremal.design import Array


@dataclass(frozen=True, eq=False)
class DeepForm:
    """A deep network that can be written down, its value, and a proven lower bound on every network's.

    Attributes
    ----------
    name : str
        Which closed form it is.
    value : float
        1/2 |f(X) - Y|^2 + beta/2 sum_l |W_l|_F^2 of `network`.
    lower : float
        No network of this depth, of any width, has a smaller one.
    network : DeepNetwork
    amplitudes : array of shape (k,)
        What each path of the network (or singular value) puts out.
    """

    name: str
    value: float
    lower: float
    network: DeepNetwork
    amplitudes: Array

    @property
    def optimal(self) -> bool:
        """Whether the two bounds meet, up to rounding."""
        return self.value - self.lower <= 1e-12 * max(1.0, self.value)

    def __str__(self) -> str:
        kept = int(np.count_nonzero(self.amplitudes))
        state = "proven optimal" if self.optimal else f"no network can be below {self.lower:.12g}"
        return f"{self.name}: {self.network}\nvalue {self.value:.15g} with {kept} paths, {state}"


def deep_linear(X: ArrayLike, Y: ArrayLike, *, beta: float, depth: int) -> DeepForm:
    """min 1/2 |X W_1 ... W_L - Y|^2 + beta/2 sum_l |W_l|_F^2, for X whose nonzero singular values are all the same.

    Weight decay on L factors is beta L/2 sum_i sigma_i^(2/L) on the singular values of their product. With X = q U V^T
    and U^T Y = P diag(s) Q^T every s_i is shrunk on its own, to a_i = argmin 1/2 (s_i - a)^2 + beta' L/2 a^(2/L) with
    beta' = beta q^(-2/L); W_1 = V P diag(w), W_l = diag(w), W_L = diag(w) Q^T with w_i = (a_i / q)^(1/L): the layers
    align.

    Parameters
    ----------
    X : array of shape (n, d)
        With equal nonzero singular values: orthonormal columns or rows, or a multiple of them.
    Y : array of shape (n,) or (n, c)
    beta : float
        Positive.
    depth : int
        L >= 1.

    Returns
    -------
    DeepForm
        Proven optimal.

    Raises
    ------
    ValueError
        If the singular values differ, or the data are not finite or do not fit together.

    Notes
    -----
    Optimal by von Neumann's trace inequality, |A - B|_F^2 >= sum_i (sigma_i(A) - sigma_i(B))^2; L = 2 is the singular
    value decomposition of X^T Y with soft thresholds. Hidden layers have to be as wide as there are amplitudes kept.

    References
    ----------
    Ergen & Pilanci (ICML 2021).
    """
    _require_depth(depth, 1, "a linear network")
    rows, targets = with_targets(X, Y)
    U, singular, Vt = np.linalg.svd(rows, full_matrices=False)
    rank = int((singular > 1e-9 * singular[0]).sum()) if singular[0] > 0 else 0
    if rank and singular[0] - singular[rank - 1] > 1e-9 * singular[0]:
        raise ValueError(
            "the nonzero singular values of X have to be the same; they are between "
            f"{singular[rank - 1]:.6g} and {singular[0]:.6g}"
        )
    scale = float(singular[0]) or 1.0
    P, s, Qt = np.linalg.svd(U[:, :rank].T @ targets, full_matrices=False)
    rest = targets - U[:, :rank] @ (U[:, :rank].T @ targets)
    found = deep_threshold(s, _moved(beta, scale, depth), depth)
    value = 0.5 * float(np.vdot(rest, rest)) + float(found.value.sum())
    network = _paths(Vt[:rank].T @ P, Qt, found.amplitude / scale, depth, "linear")
    return DeepForm("deep linear network, shrunk singular values", value, value, network, found.amplitude)


def deep_whitened(X: ArrayLike, Y: ArrayLike, *, beta: float, depth: int) -> DeepForm:
    """1/2 |f(X) - Y|^2 + beta/2 sum_l |W_l|_F^2 for deep ReLU networks on orthonormal samples: one path a class.

    With X X^T = q^2 I and s_j = |y_j| for the columns y_j of Y (their positive and negative parts if both occur), class
    j has a path of single neurons along X^T y_j with the amplitude a_j = argmin 1/2 (s_j - a)^2 + beta' L/2 a^(2/L),
    beta' = beta q^(-2/L), and all its weights have the norm (a_j / q)^(1/L).

    Parameters
    ----------
    X : array of shape (n, d)
        Orthogonal rows of equal norm q.
    Y : array of shape (n,) or (n, c)
        At most one entry of every row is not zero, as in one-hot labels.
    beta : float
        Positive.
    depth : int
        L >= 2.

    Returns
    -------
    DeepForm
        Proven optimal for L = 2, and for a single class or sign with any L. Otherwise `lower` is below `value`.

    Raises
    ------
    ValueError
        If the rows are not orthogonal or differ in norm, a row of Y has two entries, or the data are not finite.

    Notes
    -----
    It is the lowest that descents find for two classes, and with two layers it is the optimum. But for five layers and
    six classes `deep_incidence` is below it: rectifiers let many classes share few neurons.

    `lower` holds for all networks: with unit vectors v_j along y_j, a_j = v_j . f_j and V_j the kept v_j of column j,
    sum_j a_j = tr(V^T H W_L) <= |H|_F |W_L|_F <= |W_1|_F ... |W_L|_F, as rectifiers and orthonormal samples lengthen
    nothing; so the penalty is at least beta L/2 (sum_j (a_j)_+)^(2/L), and the rest is a minimum over a.

    References
    ----------
    Ergen & Pilanci (ICML 2021); Súkeník, Lampert & Mondelli (NeurIPS 2024) on deep collapse that is not optimal.
    """
    _require_depth(depth, 2, "a ReLU network")
    rows, targets = with_targets(X, Y)
    scale = _row_norm(rows)
    directions, outputs, sizes = parts_of(targets)
    moved = _moved(beta, scale, depth)
    found = deep_threshold(sizes, moved, depth)
    value = float(found.value.sum())
    network = _paths(rows.T @ directions / scale, outputs, found.amplitude / scale, depth, "relu")
    lower = value if depth == 2 or sizes.size <= 1 else min(value, _shared_bound(sizes, moved, depth))
    return DeepForm("deep ReLU network, a path for each class", value, lower, network, found.amplitude)


def deep_incidence(X: ArrayLike, Y: ArrayLike, *, beta: float, depth: int) -> DeepForm:
    """A deep ReLU network on orthonormal samples whose classes share neurons: below `deep_whitened` for many classes.

    The classes are pairs {a, b} of r numbers, r (r - 1)/2 >= their number, and Z is the incidence matrix, with ones in
    the columns a and b. The hidden layers carry Z, of rank r, until (Z (Z^T - 1/2))_+ = I separates the classes: two
    pairs that are the same, share a number, or share none give 1, 0 and -1. So the layers between are r wide.

    Parameters
    ----------
    X, Y, beta
        As for `deep_whitened`, and Y nonnegative.
    depth : int
        L >= 3.

    Returns
    -------
    DeepForm
        With the better of this network and none at all; `lower` is that of `deep_whitened`.

    Raises
    ------
    ValueError
        As `deep_whitened`, and if Y has negative entries or the depth is below 3.

    Notes
    -----
    |Z|_F^2 = 2 K, |Z^T - 1/2|_F^2 = K r / 4 for K classes, so that with s = |Y|_F and the layers scaled alike the value
    is that of `deep_threshold` with beta (K^2 r^(L-2)/2)^(1/L). For K = r (r - 1)/2 equal classes that is below the
    value of K paths once (2/(r-1))^(L-2) r (r - 1)/4 < 1 (beta small): from r = 4, six classes, and L = 5 on.
    """
    _require_depth(depth, 3, "a network that shares neurons")
    rows, targets = with_targets(X, Y)
    if targets.min() < 0:
        raise ValueError("the targets must be nonnegative")
    scale = _row_norm(rows)
    directions, outputs, sizes = parts_of(targets)
    if sizes.size == 0:
        return deep_whitened(X, Y, beta=beta, depth=depth)
    first, *others = _incidence(sizes.size, depth)
    shape = [rows.T @ directions / scale @ first, *others]
    total = float(np.linalg.norm(sizes))
    squares = float(np.prod([np.sum(W**2) for W in shape]))
    found = deep_threshold(total, _moved(beta, scale, depth) * squares ** (1 / depth), depth)
    amplitudes = sizes * (float(found.amplitude) / total)
    layers = [*shape, (amplitudes / scale)[:, None] * outputs]
    norms = np.array([float(np.linalg.norm(W)) for W in layers])
    common = float(np.prod(norms)) ** (1 / depth)  # zero where the network is
    layers = [W * (common / norm if norm else 0.0) for W, norm in zip(layers, norms, strict=True)]
    lower = min(float(found.value), _shared_bound(sizes, _moved(beta, scale, depth), depth))
    network = DeepNetwork(tuple(layers), "relu")
    return DeepForm("deep ReLU network, classes as pairs", float(found.value), lower, network, amplitudes)


@dataclass(frozen=True)
class DeepDuality:
    """The smallest deep network that interpolates, next to its dual and to networks in parallel.

    Attributes
    ----------
    standard : float
        The product |W_1|_F ... |W_L|_F of the network known to be smallest: the optimum for linear networks, an upper
        bound for ReLU networks (a path for each class, or classes as pairs as in `deep_incidence`).
    parallel : float
        The sum of these products over networks in parallel, one for each singular value or class: the optimum.
    dual : float
        The dual of both problems, max <Lambda, Y> subject to <Lambda, f> <= 1 for all f of product one.
    multiplier : array of shape (n, c)
        A dual solution.
    """

    standard: float
    parallel: float
    dual: float
    multiplier: Array

    @property
    def gap(self) -> float:
        """standard - dual: the duality gap of a single network (for ReLU networks at most this); zero in parallel."""
        return self.standard - self.dual

    def __str__(self) -> str:
        return f"one network {self.standard:.10g}, in parallel {self.parallel:.10g}, dual {self.dual:.10g}"


def deep_duality(X: ArrayLike, Y: ArrayLike, *, depth: int, activation: Activation = "relu") -> DeepDuality:
    """min |W_1|_F ... |W_L|_F subject to f(X) = Y, alone and in parallel, and the dual, on orthonormal samples.

    By homogeneity the product is the least 1/L sum_l |W_l|_F^L. With s_j the norms of the classes (of the singular
    values of Y for linear networks) and q that of the rows,

        one network: |s|_(2/L) / q = (sum_j s_j^(2/L))^(L/2) / q,   in parallel and dual: |s|_1 / q,   Lambda = v_j / q.

    For ReLU networks the first is that of a path for each class. With many classes that share neurons, as in
    `deep_incidence`, the product is smaller, |s|_2 / q times the norms of the layers before, and `standard` is that.

    Parameters
    ----------
    X : array of shape (n, d)
        Orthogonal rows of equal norm.
    Y : array of shape (n,) or (n, c)
        For ReLU networks at most one entry of every row is not zero.
    depth : int
        L >= 2.
    activation : {"relu", "linear"}

    Raises
    ------
    ValueError
        If a condition fails.

    Notes
    -----
    <Lambda, f> = tr(V^T H W_L) / q <= 1 as in `deep_whitened`, so that Lambda is feasible, and |s|_1 / q is attained in
    parallel: no gap. For one network equality needs |(H W)_+|_F = |H|_F |W|_F in all layers between, hence H of rank
    one: with two classes and L >= 3 there is a gap, whatever the optimum is. For linear networks the gap is exact, the
    quasi-norm less the nuclear norm, its convex envelope.

    References
    ----------
    Wang, Ergen & Pilanci (2021), "Parallel deep neural networks have zero duality gap", with penalties |W_l|_F^L.
    """
    _require_depth(depth, 2, "a network with a hidden layer")
    rows, targets = with_targets(X, Y)
    scale = _row_norm(rows)
    if activation == "linear":
        P, sizes, Qt = np.linalg.svd(targets, full_matrices=False)
        kept = sizes > 1e-13 * sizes[0]
        directions, outputs, sizes = P[:, kept], Qt[kept], sizes[kept]
    elif activation == "relu":
        directions, outputs, sizes = parts_of(targets)
    else:
        raise ValueError(f"activation must be 'relu' or 'linear', not {activation!r}")
    dual = float(sizes.sum()) / scale
    standard = float(np.sum(sizes ** (2 / depth))) ** (depth / 2) / scale
    if activation == "relu" and depth > 2 and sizes.size:
        shared = float(np.prod([np.linalg.norm(W) for W in _incidence(sizes.size, depth)]))
        standard = min(standard, shared * float(np.linalg.norm(sizes)) / scale)
    return DeepDuality(standard, dual, dual, directions @ outputs / scale)


def _paths(inputs: Array, outputs: Array, amplitudes: Array, depth: int, activation: Activation) -> DeepNetwork:
    """A network of parallel paths, inputs (d, k) to outputs (k, c), of the amplitudes that are not zero."""
    kept = amplitudes > 0
    w = amplitudes[kept] ** (1 / depth)
    if depth == 1:
        return DeepNetwork(((inputs[:, kept] * w) @ outputs[kept],), activation)
    between = [np.diag(w)] * (depth - 2)
    return DeepNetwork((inputs[:, kept] * w, *between, w[:, None] * outputs[kept]), activation)


def _incidence(K: int, depth: int) -> list[Array]:
    """All layers but the last, for orthonormal inputs: Z of K pairs, identities that keep it, and Z^T - 1/2."""
    r = 2
    while r * (r - 1) // 2 < K:
        r += 1
    first, second = np.triu_indices(r, 1)
    Z = np.zeros((K, r))
    Z[np.arange(K), first[:K]] = Z[np.arange(K), second[:K]] = 1.0
    return [Z, *[np.eye(r)] * (depth - 3), Z.T - 0.5]


def parts_of(targets: Array) -> tuple[Array, Array, Array]:
    """Unit vectors of disjoint supports (n, k), unit outputs (k, c) and sizes s with targets = sum_j s_j v_j o_j^T."""
    if np.any(np.count_nonzero(targets, axis=1) > 1):
        raise ValueError("every row of Y may have one entry that is not zero, as one-hot labels have")
    directions, outputs, sizes = [], [], []
    for j, column in enumerate(targets.T):
        for sign in (1.0, -1.0):
            part = np.maximum(sign * column, 0.0)
            size = float(np.linalg.norm(part))
            if size > 0:
                directions.append(part / size)
                outputs.append(sign * np.eye(targets.shape[1])[j])
                sizes.append(size)
    k = len(sizes)
    n, c = targets.shape
    return np.array(directions).reshape(k, n).T, np.array(outputs).reshape(k, c), np.array(sizes)


def _shared_bound(sizes: Array, beta: float, depth: int) -> float:
    """min over a >= 0 of 1/2 |s - a|^2 + beta L/2 (sum a)^(2/L).

    The best a for a given sum is (s - nu)_+. With k of them positive it is one threshold in t = sum a / sqrt(k); a
    minimum is at its largest root, if k are positive there, or where another becomes positive.
    """
    s = -np.sort(-sizes)
    best = 0.5 * float(s @ s)
    for k in range(1, s.size + 1):
        head, rest = float(s[:k].sum()), 0.5 * float(s[k:] @ s[k:])
        root, moved = np.sqrt(k), beta * k ** (1 / depth)
        inner = local_minimum(head / root, moved, depth)
        low, high = head - k * s[k - 1], head - k * (s[k] if k < s.size else 0.0)
        for t in (inner, low / root, high / root):
            if low <= t * root * (1 + 1e-12) and t * root <= high * (1 + 1e-12):
                # (s - nu)_+ with sum t root: the k differences s - a are all nu
                nu = (head - t * root) / k
                best = min(best, rest + 0.5 * k * nu**2 + 0.5 * moved * depth * t ** (2 / depth))
    return best


def _moved(beta: float, scale: float, depth: int) -> float:
    """The penalty of outputs instead of weights, for inputs of norm `scale`."""
    return positive(beta) * scale ** (-2 / depth)


def _require_depth(depth: int, least: int, what: str) -> None:
    if isinstance(depth, bool) or not isinstance(depth, int | np.integer) or depth < least:
        raise ValueError(f"{what} has a whole number of layers, at least {least}; the depth is {depth!r}")


def _row_norm(rows: Array) -> float:
    """q with X X^T = q^2 I; ValueError if there is none."""
    norms = np.linalg.norm(rows, axis=1)
    scale = float(norms.max())
    if scale == 0 or norms.min() < scale * (1 - 1e-9):
        raise ValueError(
            f"the rows of X need the same norm; theirs are between {norms.min():.6g} and {scale:.6g} (a difference of "
            f"{1 - norms.min() / (scale or 1.0):.1e}, 1e-9 is allowed)"
        )
    cosines = rows @ rows.T / scale**2 - np.eye(len(rows))
    if np.abs(cosines).max() > 1e-9:
        raise ValueError(f"the rows of X are not orthogonal: two have a cosine of {np.abs(cosines).max():.3g}")
    return scale
