"""Pictures: of fits and their networks, of cells, and of trajectories."""

from __future__ import annotations

from extremal.plotting.animation import animate
from extremal.plotting.cells import arrangement
from extremal.plotting.dashboard import plot_flow
from extremal.plotting.directions import plot_directions
from extremal.plotting.duality import polar_set, rectified_ellipsoid
from extremal.plotting.ellipsoid import plot_ellipsoid
from extremal.plotting.events import plot_events
from extremal.plotting.fits import fit_1d, fit_2d, kinks_1d
from extremal.plotting.flow import plot_alignment, plot_loss, plot_norms
from extremal.plotting.landscape import plot_landscape, plot_path
from extremal.plotting.margin import compare, plot_margin
from extremal.plotting.polar import plot_polar
from extremal.plotting.progress import history
from extremal.plotting.race import plot_race
from extremal.plotting.sampled import plot_excess, plot_improving

__all__ = [
    "animate",
    "arrangement",
    "compare",
    "fit_1d",
    "fit_2d",
    "history",
    "kinks_1d",
    "plot_alignment",
    "plot_directions",
    "plot_ellipsoid",
    "plot_events",
    "plot_excess",
    "plot_flow",
    "plot_improving",
    "plot_landscape",
    "plot_loss",
    "plot_margin",
    "plot_norms",
    "plot_path",
    "plot_polar",
    "plot_race",
    "polar_set",
    "rectified_ellipsoid",
]
