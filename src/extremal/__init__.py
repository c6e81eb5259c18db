"""Two-layer ReLU networks trained to the certified global optimum.

Everything below is imported when it is first used, so that `import extremal` costs nothing.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from extremal import closed_forms, datasets, interop, losses, plotting, programs, reproductions
    from extremal.arrangements import (
        Arrangement,
        CellCount,
        Patterns,
        PatternSample,
        TooManyCells,
        arrangements,
        count_arrangements,
        sample_arrangements,
        scenario_size,
    )
    from extremal.certificate import Certificate, Status
    from extremal.closed_forms import is_orthogonally_separable, is_spike_free
    from extremal.conventions import WeightDecay
    from extremal.estimators import ReLUClassifier, ReLUClassifierCV, ReLURegressor, ReLURegressorCV
    from extremal.flow import FlowResult, Verdict, flow
    from extremal.flow.starts import FlowStatistics, flows
    from extremal.flow.trajectory import Trajectory
    from extremal.gauge import GaugeBounds, gauge
    from extremal.interop.judging import certify
    from extremal.judgement import Judgement
    from extremal.network import Network
    from extremal.problem import Problem
    from extremal.proof import Proof, SideTree
    from extremal.proving import with_proof
    from extremal.report import Report, citation, report
    from extremal.reproductions import reproduce
    from extremal.stationarity import Stationarity, stationarity
    from extremal.training import FitResult, Record, beta_max, fit, path
    from extremal.training.constrained import MinNormResult, MinNormStatus, max_margin, min_norm
    from extremal.verify import verify

__version__ = "0.1.0"

_ROOM_OF = {
    "Arrangement": "arrangements",
    "CellCount": "arrangements",
    "Certificate": "certificate",
    "FitResult": "training",
    "FlowResult": "flow",
    "FlowStatistics": "flow.starts",
    "GaugeBounds": "gauge",
    "Judgement": "judgement",
    "MinNormResult": "training.constrained",
    "MinNormStatus": "training.constrained",
    "Network": "network",
    "PatternSample": "arrangements",
    "Patterns": "arrangements",
    "Problem": "problem",
    "Proof": "proof",
    "ReLUClassifier": "estimators",
    "ReLUClassifierCV": "estimators",
    "ReLURegressor": "estimators",
    "ReLURegressorCV": "estimators",
    "Record": "training",
    "Report": "report",
    "SideTree": "proof",
    "Stationarity": "stationarity",
    "Status": "certificate",
    "TooManyCells": "arrangements",
    "Trajectory": "flow.trajectory",
    "Verdict": "flow",
    "WeightDecay": "conventions",
    "arrangements": "arrangements",
    "beta_max": "training",
    "certify": "interop.judging",
    "citation": "report",
    "count_arrangements": "arrangements",
    "fit": "training",
    "flow": "flow",
    "flows": "flow.starts",
    "gauge": "gauge",
    "is_orthogonally_separable": "closed_forms",
    "is_spike_free": "closed_forms",
    "max_margin": "training.constrained",
    "min_norm": "training.constrained",
    "path": "training",
    "report": "report",
    "reproduce": "reproductions",
    "sample_arrangements": "arrangements",
    "scenario_size": "arrangements",
    "stationarity": "stationarity",
    "verify": "verify",
    "with_proof": "proving",
}
_SUBMODULES = ("closed_forms", "datasets", "interop", "losses", "plotting", "programs", "reproductions")

__all__ = [
    "Arrangement",
    "CellCount",
    "Certificate",
    "FitResult",
    "FlowResult",
    "FlowStatistics",
    "GaugeBounds",
    "Judgement",
    "MinNormResult",
    "MinNormStatus",
    "Network",
    "PatternSample",
    "Patterns",
    "Problem",
    "Proof",
    "ReLUClassifier",
    "ReLUClassifierCV",
    "ReLURegressor",
    "ReLURegressorCV",
    "Record",
    "Report",
    "SideTree",
    "Stationarity",
    "Status",
    "TooManyCells",
    "Trajectory",
    "Verdict",
    "WeightDecay",
    "arrangements",
    "beta_max",
    "certify",
    "citation",
    "closed_forms",
    "count_arrangements",
    "datasets",
    "fit",
    "flow",
    "flows",
    "gauge",
    "interop",
    "is_orthogonally_separable",
    "is_spike_free",
    "losses",
    "max_margin",
    "min_norm",
    "path",
    "plotting",
    "programs",
    "report",
    "reproduce",
    "reproductions",
    "sample_arrangements",
    "scenario_size",
    "stationarity",
    "verify",
    "with_proof",
]


def __getattr__(name: str) -> Any:
    if name in _SUBMODULES:
        return import_module(f"extremal.{name}")
    if name not in _ROOM_OF:
        raise AttributeError(f"module 'extremal' has no attribute {name!r}")
    value = getattr(import_module(f"extremal.{_ROOM_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Package(ModuleType):
    """A package in which a public function keeps its name when a subpackage of the same name is imported.

    The import system binds every submodule to its parent; `extremal.gauge` is to stay the function.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _ROOM_OF and isinstance(value, ModuleType):
            return
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
