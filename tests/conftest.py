"""Settings of the whole suite: the same Hypothesis examples every time, and no deadline on a busy machine."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings
from threadpoolctl import threadpool_limits

settings.register_profile(
    "stable",
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("stable")


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    """Small matrices on several threads mostly wait for each other, on a busy machine most of all."""
    with threadpool_limits(1):
        yield
