"""What the benchmarks print: what ran and on what, and Markdown tables."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Sequence
from pathlib import Path

PACKAGES = ("extremal", "numpy", "scipy", "numba", "scikit-learn", "torch", "cvxpy", "clarabel", "pyscnn")


def machine(packages: Sequence[str] = PACKAGES) -> str:
    """Processor, system and versions, in one line."""
    versions = ", ".join(f"{name} {version}" for name in packages if (version := _version(name)))
    system = f"{platform.system()} {platform.machine()}"
    return f"One thread, {_processor()}{system}; Python {platform.python_version()}, {versions}.\n"


def _processor() -> str:
    """The processor's model and how many there are, where the system says so."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")
    return f"{model} ({os.cpu_count()} cores), " if model else ""


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; a line instead of it if there are no rows."""
    if not rows:
        return f"{head[0]}: none\n"
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"
