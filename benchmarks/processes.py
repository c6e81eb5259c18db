"""Measurements in processes of their own, each on one thread."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from typing import Any

from threadpoolctl import threadpool_limits


def on_one_thread(function: Callable[..., Any], *arguments: Any) -> Any:
    with threadpool_limits(1):
        return function(*arguments)


def in_own_process(limit: float, function: Callable[..., Any], *arguments: Any) -> Any:
    """function(*arguments) in a fresh process that is stopped at the limit, sharing nothing."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        answer = pool.apply_async(on_one_thread, (function, *arguments)).get(timeout=limit)
        pool.close()
        pool.join()
        return answer
