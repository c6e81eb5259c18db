"""Convex random features: filters that are extreme points of image patches, learnt without any descent."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import ArrayLike

from extremal.closed_forms.hulls import hull_distances
from extremal.design import Array

#: Numbers that are held at once while images are transformed.
BLOCK = 8_000_000


@dataclass(frozen=True, eq=False)
class ConvexFeatures:
    """Filters (patch . u + b)_+ on whitened patches of images, pooled over quadrants.

    Attributes
    ----------
    filters : array of shape (p, m)
        Unit vectors u in the space of whitened patches of p = patch * patch * channels pixels.
    biases : array of shape (m,)
    mean : array of shape (p,)
    whitening : array of shape (p, p)
        Patches z are whitened to (z - mean) @ whitening.
    patch : int
        Side of a patch in pixels.
    side : int
        Quadrants in one direction: features are means over side * side parts of the image.
    """

    filters: Array
    biases: Array
    mean: Array
    whitening: Array
    patch: int
    side: int = 2

    @property
    def n_filters(self) -> int:
        return self.biases.size

    def transform(self, images: ArrayLike) -> Array:
        """The features of images (n, height, width) or (n, height, width, channels), shape (n, side^2 m)."""
        images = _images(images, self.patch)
        kernel = self.whitening @ self.filters
        shift = self.biases - self.mean @ kernel
        step = max(1, BLOCK // (images[0, :, :, 0].size * max(kernel.shape)))
        return np.vstack([self._pooled(images[i : i + step], kernel, shift) for i in range(0, len(images), step)])

    def _pooled(self, images: Array, kernel: Array, shift: Array) -> Array:
        windows = _patches(images, self.patch)
        height, width, p = windows.shape[1:]
        if p != len(self.mean):
            raise ValueError(f"the filters are for patches of {len(self.mean)} numbers; these images have {p}")
        if min(height, width) < self.side:
            raise ValueError(
                f"{height} x {width} places for a patch cannot be divided into {self.side} x {self.side} parts"
            )
        maps = np.maximum(windows @ kernel + shift, 0)
        rows, columns = (np.array_split(np.arange(size), self.side) for size in (height, width))
        parts = [maps[:, r[0] : r[-1] + 1, c[0] : c[-1] + 1].mean(axis=(1, 2)) for r in rows for c in columns]
        return np.hstack(parts)

    def __str__(self) -> str:
        return (
            f"convex random features: {self.n_filters} filters of {self.patch} x {self.patch} pixels, "
            f"pooled over {self.side} x {self.side} parts"
        )


def convex_features(
    images: ArrayLike,
    n_filters: int,
    *,
    patch: int = 3,
    group: int = 5,
    side: int = 2,
    regularisation: float = 0.1,
    random_state: int = 0,
) -> ConvexFeatures:
    """Filters of which each is the extreme point along one patch among a random group of whitened patches.

    For a patch a and the others of its group, u = (a - p) / |a - p| with the closest point p of their convex hull and
    b = -max of u over them: of its group the neuron sees its own patch only.

    Parameters
    ----------
    images : array of shape (n, height, width) or (n, height, width, channels)
    n_filters : int
    patch : int
        Side of the patches in pixels.
    group : int
        Patches in a group. With 2 the filter is the difference of two patches, with its boundary through one of them;
        the more there are, the fewer patches a neuron sees.
    side : int
        Features are means over side * side parts of an image.
    regularisation : float
        Added to the eigenvalues of the patches' covariance, as a fraction of their mean, before inverting them (ZCA).
    random_state : int

    Returns
    -------
    ConvexFeatures

    Raises
    ------
    ValueError
        If the images are not finite, smaller than a patch, all their patches are the same, or a number makes no sense.

    References
    ----------
    Ergen & Pilanci (JMLR 2021), Lemma 7, Corollary 1 and algorithm 2 (Convex-RF).
    """
    if n_filters < 1 or patch < 1 or group < 2 or side < 1 or not regularisation > 0:
        raise ValueError(
            "n_filters, patch and side must be positive, group at least 2 and regularisation positive; they are "
            f"{n_filters}, {patch}, {side}, {group} and {regularisation}"
        )
    rng = np.random.default_rng(random_state)
    windows = _patches(_images(images, patch), patch)
    flat = windows.reshape(-1, windows.shape[-1])
    mean, whitening = _whitening(flat, regularisation)
    filters, biases = np.zeros((flat.shape[1], n_filters)), np.zeros(n_filters)
    found = 0
    for _ in range(20 * n_filters):
        chosen = (flat[rng.integers(len(flat), size=group)] - mean) @ whitening
        u, b = _along_first(chosen)
        if u.any():  # a patch among the others' convex combinations has no neuron of its own
            filters[:, found], biases[found] = u, b
            found += 1
        if found == n_filters:
            return ConvexFeatures(filters, biases, mean, whitening, patch, side)
    raise ValueError(f"only {found} of {20 * n_filters} patches were vertices among {group}; make the groups smaller")


def _along_first(patches: Array) -> tuple[Array, float]:
    """The extreme point along the first of some patches, (u, b); zero if it is within the hull of the others."""
    if len(patches) == 2:
        difference = patches[0] - patches[1]
        u = difference / (float(np.linalg.norm(difference)) or 1.0)
    else:
        u = hull_distances(patches, only=[0]).directions[0]
    return u, -float((patches[1:] @ u).max())


def _whitening(flat: Array, regularisation: float) -> tuple[Array, Array]:
    """The mean of patches, and the symmetric matrix that makes their covariance nearly the identity."""
    mean = flat.mean(axis=0)
    centred = flat - mean
    values, vectors = np.linalg.eigh(centred.T @ centred / len(flat))
    level = float(values.mean())
    if level <= 0:
        raise ValueError("all patches of the images are the same")
    return mean, (vectors / np.sqrt(np.maximum(values, 0.0) + regularisation * level)) @ vectors.T


def _images(images: ArrayLike, patch: int) -> Array:
    """Finite images (n, height, width, channels), at least as large as a patch."""
    array = np.asarray(images, dtype=np.float64)
    array = array[..., None] if array.ndim == 3 else array
    if array.ndim != 4 or array.size == 0:
        raise ValueError(
            f"images must have shape (n, height, width) or (n, height, width, channels); theirs is {np.shape(images)}"
        )
    if not np.isfinite(array).all():
        raise ValueError("the images contain NaN or infinity")
    if min(array.shape[1:3]) < patch:
        raise ValueError(f"the images are {array.shape[1]} x {array.shape[2]}, smaller than a patch of side {patch}")
    return array


def _patches(images: Array, patch: int) -> Array:
    """All patches (n, height - patch + 1, width - patch + 1, patch * patch * channels)."""
    windows = sliding_window_view(images, (patch, patch), axis=(1, 2))
    return windows.reshape(*windows.shape[:3], -1)
