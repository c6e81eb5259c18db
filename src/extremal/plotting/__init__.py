"""Pictures: of fits and their networks, of cells, and of trajectories."""

from __future__ import annotations

from extremal.plotting.cells import arrangement
from extremal.plotting.fits import fit_1d, fit_2d, kinks_1d
from extremal.plotting.progress import history

__all__ = ["arrangement", "fit_1d", "fit_2d", "history", "kinks_1d"]
