"""PyTorch: modules to networks and back, their objectives, and a judge that watches them train."""

from __future__ import annotations

from extremal.interop.torch.judge import Judge
from extremal.interop.torch.modules import from_torch, load, state_dict, to_torch
from extremal.interop.torch.objectives import imported

__all__ = ["Judge", "from_torch", "imported", "load", "state_dict", "to_torch"]
