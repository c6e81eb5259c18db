"""Settings of the whole suite: the same Hypothesis examples every time, and no deadline on a busy machine."""

from __future__ import annotations

import os

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from threadpoolctl import threadpool_limits

import extremal

settings.register_profile(
    "stable",
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("stable")


def pytest_sessionstart() -> None:
    """In a fresh clone two workers share out what Numba compiles, instead of both compiling all of it."""
    X = np.vstack([np.eye(3), np.ones((1, 3)), np.arange(9.0).reshape(3, 3) ** 2])
    lam = np.array([1.0, -1.0, 1.0, -1.0, 1.0, -1.0, 1.0])
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    if worker == "gw0":
        extremal.gauge(X, lam, method="tree")
    elif worker == "gw1":
        extremal.gauge(X, lam, method="cones")
        extremal.gauge(X, lam, method="cells")
        extremal.arrangements(X).patterns.unpack()
        extremal.flow([[1.0, 2.0], [2.0, -1.0], [-1.0, 1.0]], [1.0, -1.0, 1.0], width=3)


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    """Small matrices on several threads mostly wait for each other, on a busy machine most of all."""
    with threadpool_limits(1), pytest.MonkeyPatch.context() as patch:
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
            patch.setenv(name, "1")  # the programs that tests start
        yield
