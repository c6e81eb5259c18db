"""scikit-learn's callbacks (version 1.9 and later), told about every step of the training."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:  # scikit-learn before 1.9: the same calls, and nobody listens

    class _NoContext:
        def subcontext(self, **_: Any) -> _NoContext:
            return self

        def call_on_fit_task_begin(self, **_: Any) -> _NoContext:
            return self

        def call_on_fit_task_end(self, **_: Any) -> bool:
            return False

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Stands in for scikit-learn's mixin where there is none."""

        def _init_callback_context(self, **_: Any) -> _NoContext:
            return _NoContext()

    def with_callbacks(method: Callable) -> Callable:
        return method


if TYPE_CHECKING:
    from extremal.training import Record

__all__ = ["CallbackSupportMixin", "progress_of", "with_callbacks"]


def progress_of(estimator: Any, context: Any, hook_arguments: dict[str, Any]) -> Any:
    """What to hand to `fit` as `progress`: the estimator's `verbose`, and its callbacks where it has any.

    Every record of the training is a subtask of `context`. A callback that asks to stop ends the training
    as a keyboard interrupt does: with the best network so far and a valid gap.
    """
    verbose = estimator.verbose
    if not hasattr(estimator, "_skl_callbacks"):
        return verbose if callable(verbose) else bool(verbose)

    def report(record: Record) -> None:
        if callable(verbose):
            verbose(record)
        task = context.subcontext(task_name=record.phase)
        task.call_on_fit_task_begin(estimator=estimator, **hook_arguments)
        if task.call_on_fit_task_end(estimator=estimator, **hook_arguments):
            raise KeyboardInterrupt

    return report
