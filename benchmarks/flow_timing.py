"""What the parts of the flow's benchmark share: seconds, and a first call that does not count."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from extremal import flow
from extremal.datasets import gaussian_labels

Answer = TypeVar("Answer")


def seconds_of(function: Callable[[], Answer]) -> tuple[Answer, float]:
    """The answer and its CPU seconds."""
    began = time.process_time()
    answer = function()
    return answer, time.process_time() - began


def warm() -> None:
    """Load the compiled code of a run that ends globally and of one that does not, with its optimum."""
    for seed in range(4):
        X, y = gaussian_labels(8, 3, random_state=seed)
        flow(X, y, width=6, random_state=seed, proof_time=1.0)
