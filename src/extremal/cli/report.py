"""What a command has to say, for people and for programs."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from extremal.certificate import Certificate
    from extremal.cli.model import Model
    from extremal.cli.table import Table


@dataclass(frozen=True, eq=False)
class Report:
    """A certified network, where it came from and what it is good for."""

    table: Table
    model: Model
    certificate: Certificate
    seconds: float
    scores: dict[str, float] = field(default_factory=dict)
    saved: str | None = None
    proof: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def gap(self) -> float:
        return self.certificate.gap

    @property
    def interrupted(self) -> bool:
        return self.certificate.status.name == "INTERRUPTED"

    @property
    def out_of_time(self) -> bool:
        return self.certificate.status.name == "TIME_LIMIT"

    def json(self) -> str:
        """Everything as one JSON object; a number that is not finite is null."""
        return json.dumps(finite(self.content()), allow_nan=False)

    def content(self) -> dict[str, Any]:
        """Everything, by its name for programs."""
        model, certificate = self.model, self.certificate
        return {
            "data": self.table.name,
            "rows": len(self.table.cells),
            "features": model.features.tolist(),
            "target": model.target,
            "classes": model.classes.tolist(),
            "loss": model.loss,
            "alpha": model.alpha,
            "beta": certificate.beta,
            "neurons": model.network.width,
            "objective": certificate.primal,
            "bound": certificate.dual,
            "gap": certificate.gap,
            "status": certificate.status.name,
            "message": certificate.status.value,
            "proven": certificate.status.proven,
            "scores": self.scores,
            "seconds": round(self.seconds, 3),
            "model": self.saved,
            "proof": self.proof,
        }

    def rows(self) -> dict[str, str]:
        """What people read, by its name."""
        model, certificate = self.model, self.certificate
        kind = f"{len(model.classes)} classes" if model.classes.size else "regression"
        rows = {
            "data": f"{self.table.name}: {len(self.table.cells)} rows, {len(model.features)} features",
            "target": f"{model.target} ({kind}, {model.loss} loss)",
            "alpha": f"{model.alpha:.4g}",
            "neurons": f"{model.network.width}",
            "objective": f"{certificate.primal:.8g}",
            "proven lower bound": f"{certificate.dual:.8g}",
            "gap": _describe_gap(certificate.gap),
            **{name: f"{value:.4f}" for name, value in self.scores.items()},
            "time": f"{self.seconds:.2f} s",
        }
        written = {"model": self.saved, "proof": self.proof}
        return rows | {name: path for name, path in written.items() if path}

    def show(self) -> None:
        """Print a table for people."""
        from extremal.cli.screen import show_table

        status = self.certificate.status
        show_table(self.rows(), status.value, status.proven, self.notes)


@dataclass(frozen=True)
class Versions:
    """Names and versions."""

    of: dict[str, str]

    def json(self) -> str:
        return json.dumps(self.of)

    def __str__(self) -> str:
        width = max(map(len, self.of))
        return "\n".join(f"{name:<{width}}  {version}" for name, version in self.of.items())


def _describe_gap(gap: float) -> str:
    share = f"  ({gap:.2%} of the objective at most)" if gap >= 1e-4 else ""
    return f"{gap:.1e}{share}"


def finite(value: Any) -> Any:
    """The value with None for every number that is not finite."""
    if isinstance(value, dict):
        return {name: finite(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [finite(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
