"""Which hyperplanes each neuron slides on, and the bases that keep it there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from extremal.design import Array
from extremal.flow.field import project


@dataclass(frozen=True, eq=False)
class Span:
    """The hyperplanes (lines) one neuron slides on: an orthonormal basis of their normals, and their dual vectors."""

    line: Array
    orthonormal: Array
    dual: Array

    @classmethod
    def of(cls, side: Array, normals: Array) -> Span:
        line = np.flatnonzero(side == 0)
        N = normals[line]
        if not len(line):
            return cls(line, N, N)
        U, s, Vt = np.linalg.svd(N, full_matrices=False)
        rank = int((s > 1e-12 * s[0]).sum())
        return cls(line, Vt[:rank], (U[:, :rank] / s[:rank]) @ Vt[:rank])


@dataclass(frozen=True, eq=False)
class Sliding:
    """Which neuron slides on which line, one entry each, sorted by neuron.

    `start[i] : start[i + 1]` are the rows of `orthonormal` that span the normals of neuron i; `dual` gives the pull
    along each normal that keeps the neuron on all of its hyperplanes, tau = -dual . g0.
    """

    neuron: Array
    line: Array
    start: Array
    orthonormal: Array
    dual: Array
    count: Array

    @classmethod
    def of(cls, spans: list[Span]) -> Sliding:
        count = np.array([len(span.line) for span in spans])
        busy = [span for span in spans if len(span.line)] or spans[:1]
        return cls(
            np.repeat(np.arange(len(spans)), count),
            np.concatenate([span.line for span in busy]),
            np.concatenate([[0], np.cumsum([len(span.orthonormal) for span in spans])]),
            np.concatenate([span.orthonormal for span in busy]),
            np.concatenate([span.dual for span in busy]),
            count,
        )

    def project(self, V: Array) -> Array:
        """Unit vectors on the hyperplanes."""
        V = V.copy()
        if len(self.line):
            project(V, self.orthonormal, self.start)
        return V / np.linalg.norm(V, axis=1, keepdims=True)
