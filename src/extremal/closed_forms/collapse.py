"""Neural collapse: how near features and classifier are to a simplex, for arrays and for trained networks."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from extremal.design import Array, Design


@dataclass(frozen=True)
class NeuralCollapse:
    """The usual measures of neural collapse, zero for a simplex equiangular tight frame, and those of directions.

    Attributes
    ----------
    within : float
        NC1: tr(S_W S_B^+) / K, the scatter within classes relative to that of their means.
    equinorm : float
        NC2: standard deviation over mean of |mu_k - mu|, the lengths of the centred class means.
    equiangular : float
        NC2: the largest |cos + 1/(K-1)| between centred class means.
    duality : float
        NC3: |W^T / |W|_F - M / |M|_F|_F of classifier and centred class means; NaN without a classifier.
    nearest : float
        NC4: the share of samples for which the classifier's choice is not the nearest class mean; NaN without one.
    accuracy : float
        Of the nearest class mean.
    directional : float
        The largest angle, in radians, between the features of a sample and the mean of its class: samples of one class
        share a direction, not necessarily a length, where gradient flow from a small start separates data whose classes
        are orthogonally separable (Min, Zhu & Vidal, NeurIPS 2025).
    orthogonal : float
        The largest |cos| between class means that are not centred: zero on such data.
    """

    within: float
    equinorm: float
    equiangular: float
    duality: float
    nearest: float
    accuracy: float
    directional: float
    orthogonal: float

    def holds(self, tol: float = 1e-6) -> bool:
        """Whether NC1 to NC4, as far as they are known, are below tol."""
        known = [self.within, self.equinorm, self.equiangular, self.duality, self.nearest]
        return all(value <= tol for value in known if not np.isnan(value))

    def __str__(self) -> str:
        return (
            f"NC1 within {self.within:.3g}; NC2 lengths {self.equinorm:.3g}, angles {self.equiangular:.3g}; "
            f"NC3 duality {self.duality:.3g}; NC4 disagreement {self.nearest:.3g}"
        )


def simplex_frame(classes: int) -> Array:
    """The simplex equiangular tight frame: K unit rows in R^K with cosines -1/(K-1), K >= 2."""
    if classes < 2:
        raise ValueError(f"a simplex frame has at least two classes, not {classes}")
    return np.sqrt(classes / (classes - 1)) * (np.eye(classes) - 1 / classes)


def neural_collapse(
    features: ArrayLike, labels: ArrayLike, classifier: ArrayLike | None = None, intercept: ArrayLike | None = None
) -> NeuralCollapse:
    """The measures of neural collapse for the last hidden layer of any network.

    Parameters
    ----------
    features : array of shape (n, m)
        The inputs of the last layer.
    labels : array of shape (n,)
        K >= 2 different values of any kind.
    classifier : array of shape (m, K), optional
        The last layer, a column for each class in the order of the sorted labels.
    intercept : array of shape (K,), optional

    Returns
    -------
    NeuralCollapse

    Raises
    ------
    ValueError
        If the arrays are not finite or do not fit together, there is one class, or all class means are the same.

    References
    ----------
    Papyan, Han & Donoho (PNAS 2020).
    """
    H = np.asarray(features, dtype=np.float64)
    labels = np.asarray(labels)
    if H.ndim != 2 or H.size == 0 or not np.isfinite(H).all():
        raise ValueError(f"features must be a finite matrix of shape (n, m); their shape is {np.shape(features)}")
    if labels.shape != (len(H),):
        raise ValueError(f"labels must have shape ({len(H)},); their shape is {labels.shape}")
    names, index = np.unique(labels, return_inverse=True)
    K = names.size
    if K < 2:
        raise ValueError("neural collapse is about two classes or more; the labels have one")
    H = H / (float(np.abs(H).max()) or 1.0)
    means = np.array([H[index == k].mean(axis=0) for k in range(K)])
    centre = means.mean(axis=0)
    M = means - centre
    lengths = np.linalg.norm(M, axis=1)
    if lengths.max() <= 1e-14 * float(np.abs(H).max()):
        raise ValueError("all class means are the same")
    units = M / np.where(lengths > 0, lengths, 1.0)[:, None]
    angles = (units @ units.T)[~np.eye(K, dtype=bool)]
    duality, nearest = np.nan, np.nan
    closest = _closest(H, means)
    if classifier is not None:
        W = np.asarray(classifier, dtype=np.float64)
        if W.shape != (H.shape[1], K) or not np.isfinite(W).all():
            raise ValueError(f"classifier must be finite, of shape ({H.shape[1]}, {K}); its shape is {W.shape}")
        duality = float(np.linalg.norm(W.T / (float(np.linalg.norm(W)) or 1.0) - M / np.linalg.norm(M)))
        scores = np.asarray(features, dtype=np.float64) @ W
        if intercept is not None:
            shift = np.asarray(intercept, dtype=np.float64)
            if shift.shape != (K,) or not np.isfinite(shift).all():
                raise ValueError(f"intercept must be finite, of shape ({K},); its shape is {shift.shape}")
            scores = scores + shift
        nearest = float(np.mean(scores.argmax(axis=1) != closest))
    return NeuralCollapse(
        _within(H - means[index], M),
        float(lengths.std() / lengths.mean()),
        float(np.abs(angles + 1 / (K - 1)).max()),
        duality,
        nearest,
        float(np.mean(closest == index)),
        *_directions(H, means, index),
    )


def network_collapse(model: Any, X: ArrayLike, labels: ArrayLike) -> NeuralCollapse:
    """The measures for a trained network and data: one of this library, deep, or any torch module.

    Parameters
    ----------
    model : Network, DeepNetwork, BatchNormNetwork or torch.nn.Module
        Of a torch module the classifier is its last `Linear`, and the features are what that is given.
    X : array of shape (n, ...)
        As the network takes it.
    labels : array of shape (n,)
        Sorted labels belong to the outputs in their order. With one output a of a `Network` the second label is where
        it is positive: its classifier is (-a, a).

    Raises
    ------
    ValueError
        If the torch module has no linear layer, and as `neural_collapse`.
    TypeError
        If the model is none of these.
    """
    if hasattr(model, "register_forward_hook"):
        return neural_collapse(*_torch_layers(model, X, labels))
    if hasattr(model, "layers") and hasattr(model, "features"):
        return neural_collapse(model.features(X), labels, model.layers[-1])
    if hasattr(model, "features") and hasattr(model, "output"):
        return neural_collapse(model.features(X), labels, model.output)
    if hasattr(model, "hidden") and hasattr(model, "output"):
        design = Design.from_data(X, bias=model.bias)
        if design.d != len(model.hidden):
            raise ValueError(f"X has {design.d - model.bias} features, the network {len(model.hidden) - model.bias}")
        both = np.array([[-1.0, 1.0]]) if model.n_outputs == 1 else np.eye(model.n_outputs)
        features = np.maximum(design.forward(model.hidden), 0)
        return neural_collapse(features, labels, model.output @ both, model.intercept @ both)
    raise TypeError(f"expected a network of this library or a torch module, not {type(model).__name__}")


def _torch_layers(model: Any, X: ArrayLike, labels: ArrayLike) -> tuple[Array, Array, Array, Array | None]:
    """Features, labels, classifier and intercept of a torch module."""
    torch: Any = import_module("torch")
    linear = [module for module in model.modules() if isinstance(module, torch.nn.Linear)]
    if not linear:
        raise ValueError("the torch module has no linear layer, so that it has no classifier")
    last, seen = linear[-1], []
    hook = last.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    training = model.training
    try:
        model.eval()
        with torch.no_grad():
            model(torch.as_tensor(np.asarray(X), dtype=last.weight.dtype, device=last.weight.device))
    finally:
        hook.remove()
        model.train(training)
    intercept = None if last.bias is None else last.bias.detach().cpu().double().numpy()
    features, weight = seen[-1].detach().cpu().double().numpy(), last.weight.detach().cpu().double().numpy()
    return features, np.asarray(labels), weight.T, intercept


def _closest(H: Array, means: Array) -> Array:
    """The nearest mean of every row."""
    return np.asarray((np.sum(means**2, axis=1) - 2 * H @ means.T).argmin(axis=1))


def _directions(H: Array, means: Array, index: Array) -> tuple[float, float]:
    """The largest angle of a sample's features to its class mean, and the largest |cos| of two class means."""
    rays, axes = (rows / np.maximum(np.linalg.norm(rows, axis=1), 1e-300)[:, None] for rows in (H, means))
    # half the chord is the sine of half the angle, which is accurate where the cosine is not
    chord = np.minimum(0.5 * np.linalg.norm(rays - axes[index], axis=1), 1.0)
    apart = np.abs(axes @ axes.T)[~np.eye(len(means), dtype=bool)]
    return float(2 * np.arcsin(chord.max())), float(apart.max())


def _within(deviations: Array, M: Array) -> float:
    """tr(S_W S_B^+) / K with S_W = mean of squares of the deviations, S_B = M^T M / K, in the space of the means."""
    _, singular, Vt = np.linalg.svd(M, full_matrices=False)
    kept = singular > 1e-10 * singular[0]
    along = deviations @ Vt[kept].T / singular[kept]
    return float(np.sum(along**2) / len(deviations))
