"""PyTorch: modules to networks and back, their objectives, and a judge that watches them train."""

from __future__ import annotations

from extremal.interop.torch.judge import Judge
from extremal.interop.torch.modules import from_torch, state_dict, to_torch
from extremal.interop.torch.objectives import imported
from extremal.interop.torch.racing import Race, race

__all__ = ["Judge", "Race", "from_torch", "imported", "race", "state_dict", "to_torch"]
