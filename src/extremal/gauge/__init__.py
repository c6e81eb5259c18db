"""The gauge g(lam) = max over |u| <= 1 of |lam^T (Xu)_+|: the one constraint of the dual.

Lower bounds come from local ascent (`ascent`), upper bounds from exact and relaxed searches (`search`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache
from numbers import Integral

import numpy as np
from numpy.typing import ArrayLike

from extremal.design import Array, Design
from extremal.gauge.ascent import ascend, random_starts
from extremal.gauge.bounds import GaugeBounds, GaugeStatus, SideBound

__all__ = ["GaugeBounds", "GaugeStatus", "SideBound", "bounds_of", "compile_kernels", "gauge", "unscaled_bounds"]


def gauge(
    X: ArrayLike,
    lam: ArrayLike,
    *,
    tol: float = 1e-6,
    time_limit: float | None = None,
    random_state: int = 0,
    method: str = "auto",
    n_jobs: int = 1,
) -> GaugeBounds:
    """g(lam) = max over |u| <= 1 of |lam^T (Xu)_+|, as a proven interval with a witness.

    Parameters
    ----------
    X : array of shape (n, d)
        The data, used as they are (append a column of ones for a penalised bias).
    lam : array of shape (n,) or (n, c)
        For c > 1 the gauge is max |lam^T (Xu)_+|_2.
    tol : float
        The relative width of the interval at which the search stops.
    time_limit : float, optional
        Seconds; 10 by default. The interval is valid whenever the search ends.
    random_state : int
        Seed of the search from below; it has no influence on what is proved.
    method : str
        How the upper bound is found: "cells" (all activation patterns of the rows of positive weight: exact, few rows),
        "cones" (simplicial cones: low rank), "tree" (branch and bound over the signs of rows: any rank) or
        "relaxation" (its root by first-order steps: data of any size). By default what suits the rank, the number of
        rows and the time; the answer says in `method` which one it was. With several outputs it is the method for
        each direction of the outputs.
    n_jobs : int
        Threads for the tree; with one the answer is the same every time, unless the time limit ends it.

    Returns
    -------
    GaugeBounds

    Raises
    ------
    ValueError
        If X or lam are not finite, or do not fit together, or the method or n_jobs is unknown.

    References
    ----------
    Pilanci & Ergen (ICML 2020); for the reduction to the distance of two zonotopes see Bach (JMLR 2017).
    """
    design = Design.from_data(X)
    matrix = np.asarray(lam, dtype=np.float64)
    matrix = matrix[:, None] if matrix.ndim == 1 else matrix
    if matrix.ndim != 2 or matrix.shape[0] != design.n or matrix.shape[1] == 0:
        raise ValueError(f"lam must have shape ({design.n},) or ({design.n}, c); its shape is {np.shape(lam)}")
    if not np.isfinite(matrix).all():
        raise ValueError("lam contains NaN or infinity")
    check_method(method)
    check_threads(n_jobs)
    compile_kernels()
    deadline = time.monotonic() + (10.0 if time_limit is None else time_limit)
    rng = np.random.default_rng(random_state)
    return unscaled_bounds(design, matrix, tol=tol, deadline=deadline, rng=rng, method=method, n_jobs=n_jobs)


def check_method(method: str) -> None:
    """Raise ValueError for a method that does not exist."""
    from extremal.gauge.search import METHODS

    if method not in ("auto", *METHODS):
        raise ValueError(f"unknown method {method!r}; choose 'auto' or one of {', '.join(METHODS)}")


def check_limits(tol: float, time_limit: float | None = None) -> None:
    """Raise ValueError for a tolerance or a time limit that is not positive."""
    if not tol > 0:
        raise ValueError(f"tol must be positive, not {tol!r}")
    if time_limit is not None and not time_limit > 0:
        raise ValueError(f"time_limit must be positive, not {time_limit!r}")


def check_threads(n_jobs: int) -> None:
    """Raise ValueError for a number of threads that does not exist."""
    if isinstance(n_jobs, bool) or not isinstance(n_jobs, Integral) or n_jobs < 1:
        raise ValueError(f"n_jobs must be a positive integer, not {n_jobs!r}")


def unscaled_bounds(
    design: Design,
    lam: Array,
    *,
    tol: float,
    deadline: float,
    rng: np.random.Generator,
    near: Array | None = None,
    starts: int | None = None,
    method: str = "auto",
    n_jobs: int = 1,
) -> GaugeBounds:
    """`bounds_of` for data and a multiplier (n, c) of any size."""
    stretch, size = design.magnitude, float(np.abs(lam).max()) or 1.0
    unit = design.scaled(1.0 / stretch)
    found = bounds_of(
        unit, lam / size, tol=tol, deadline=deadline, rng=rng, near=near, starts=starts, method=method, n_jobs=n_jobs
    )
    return found.scaled(stretch * size)


@cache
def compile_kernels() -> None:
    """Have the compiled kernels ready before a clock starts: seconds when new, later a look at a cache."""
    from extremal.gauge.cells import FEW_ROWS, cell_bound
    from extremal.gauge.cones import cone_bound
    from extremal.gauge.sides import Side
    from extremal.gauge.tree import Search

    rng = np.random.default_rng(0)
    rows = rng.standard_normal((2 * FEW_ROWS + 4, 4))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    side = Side(rows, np.where(np.arange(len(rows)) % 2, 1.0, -1.0) / len(rows), np.zeros(4))
    cell_bound(side, tol=0.1)
    cone_bound(side, tol=0.1, max_nodes=10)
    Search([side], 0.0, tol=0.1).run(deadline=None, max_nodes=1)
    ascend(Design(rows), side.weights[:, None], rows[:1].T, rounds=1)


def bounds_of(
    design: Design,
    lam: Array,
    *,
    tol: float,
    deadline: float | None,
    rng: np.random.Generator,
    near: Array | None = None,
    starts: int | None = None,
    threshold: float | None = None,
    max_nodes: int | None = None,
    method: str = "auto",
    n_jobs: int = 1,
    report: Callable[[float], None] | None = None,
    unfinished: list | None = None,
) -> GaugeBounds:
    """The interval for a design of moderate scale: from below by ascent, then from above.

    `near` holds directions to start from; the ascent takes at most half of the time. With a `threshold` the search may
    stop as soon as g(lam) is known to be below or above it.
    """
    from extremal.gauge.search import upper_bounds

    if starts is None:
        starts = int(np.clip(4e6 / (design.n * design.d), 16, 128))
    U = random_starts(design, starts, rng, near)
    if near is not None and near.shape[1]:
        norm = np.linalg.norm(near, axis=0)
        U = np.hstack([near[:, norm > 0] / norm[norm > 0], U])
    now = time.monotonic()
    half = None if deadline is None else now + 0.5 * max(deadline - now, 0.0)
    best = ascend(design, lam, U, rounds=30, sweeps=20, rng=rng, deadline=half)
    lower, witness = (float(best.value[0]), best.U[:, 0]) if best.value.size else (0.0, np.zeros(design.d))
    return upper_bounds(
        design,
        lam,
        tol=tol,
        deadline=deadline,
        lower=max(lower, 0.0),
        witness=witness,
        threshold=threshold,
        max_nodes=max_nodes,
        method=method,
        n_jobs=n_jobs,
        report=report,
        unfinished=unfinished,
    )
