"""A run as a film: directions and growing weights, what the network computes, and the clock."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from extremal.plotting.frames import Globe, Line, Norms, Panel, Plane, Rays, Rectified
from extremal.plotting.runs import pace

if TYPE_CHECKING:
    from matplotlib.animation import AbstractMovieWriter
    from matplotlib.figure import Figure

    from extremal.flow.trajectory import Trajectory

#: Seconds for which the last frame stays.
HOLD = 1.0


def animate(trajectory: Trajectory, path: str | Path, *, fps: int = 20, seconds: float = 8.0, dpi: int = 80) -> Path:
    """Write a film of a run in two or three dimensions, as .gif or .mp4.

    On the left the directions, on a circle with rays as long as |w_i| (relative to the longest) or on the globe. On the
    right what the network computes: the data and the sign of f, for two features or for one and a bias the curve; in
    three dimensions without bias the rectified ellipsoid, if there are two or three rows. Below, the norms. The frames
    are equally spaced on a clock that is a third tau, a third log |theta| and a third the angle that neurons turn by,
    so that alignment, growth and sliding are all seen; between snapshots states are interpolated.

    Parameters
    ----------
    trajectory : Trajectory
        With X of two or three columns, that of the bias included.
    path : str or Path
        Its ending decides on the format. Films in .mp4 need the program ffmpeg.
    fps : int
        Frames in a second.
    seconds : float
        The length of the film, without a second for which the last frame stays.
    dpi : int

    Returns
    -------
    Path

    Raises
    ------
    ValueError
        For another number of columns or another ending, or if fps, seconds or dpi are not positive.
    RuntimeError
        For .mp4 without ffmpeg.
    """
    path = Path(path)
    if trajectory.X.shape[1] not in (2, 3):
        raise ValueError(f"films are for X of 2 or 3 columns; this one has {trajectory.X.shape[1]}")
    if not (fps >= 1 and np.isfinite(seconds) and seconds > 0 and dpi > 0):
        raise ValueError(f"fps, seconds and dpi must be positive; got {fps!r}, {seconds!r} and {dpi!r}")
    writer = _writer(path, fps)
    film = evenly(trajectory, max(2, round(fps * seconds)))
    figure, panels = _stage(film)
    with writer.saving(figure, str(path), dpi):
        for k in [*range(len(film)), *[len(film) - 1] * round(HOLD * fps)]:
            for panel in panels:
                panel.show(k)
            writer.grab_frame()
    return path


def evenly(trajectory: Trajectory, count: int) -> Trajectory:
    """`count` states equally spaced on the clock `pace`, interpolated between snapshots."""
    clock = pace(trajectory)
    targets = np.linspace(0, 1, count)
    after = np.clip(np.searchsorted(clock, targets), 1, max(len(trajectory) - 1, 1))
    before = after - 1
    after = np.minimum(after, len(trajectory) - 1)
    width = clock[after] - clock[before]
    share = np.clip((targets - clock[before]) / np.where(width > 0, width, 1.0), 0, 1)

    def between(values: Any) -> Any:
        weight = share.reshape(-1, *[1] * (values.ndim - 1))
        return values[before] * (1 - weight) + values[after] * weight

    directions = between(trajectory.directions)
    size = np.linalg.norm(directions, axis=2, keepdims=True)
    return replace(
        trajectory,
        time=between(trajectory.time),
        log_clock=trajectory.log_clock[np.where(share < 1, before, after)],
        directions=directions / np.where(size > 0, size, 1.0),
        log_norms=between(trajectory.log_norms),
        ratios=between(trajectory.ratios),
        sliding=trajectory.sliding[np.where(share < 1, before, after)],
    )


def _stage(film: Trajectory) -> tuple[Figure, list[Panel]]:
    """The figure and what moves in it."""
    from matplotlib.figure import Figure

    n, d = film.X.shape
    solid = d == 3
    right = Line if d == 2 and film.bias else Plane if d == 2 or film.bias else Rectified if n in (2, 3) else None
    figure = Figure(figsize=(10.0 if right else 6.0, 6.6), layout="constrained")
    shape: Any = [["left", "right"], ["below", "below"]] if right else [["left"], ["below"]]
    kinds: dict[Any, dict[str, Any]] = {"left": {"projection": "3d"}} if solid else {}
    if right is Rectified and n == 3:
        kinds["right"] = {"projection": "3d"}
    parts = figure.subplot_mosaic(shape, height_ratios=[3, 1], per_subplot_kw=kinds)
    panels: list[Panel] = [(Globe if solid else Rays)(parts["left"], film), Norms(parts["below"], film)]
    if right:
        panels.append(right(parts["right"], film))
    return figure, panels


def _writer(path: Path, fps: int) -> AbstractMovieWriter:
    from matplotlib.animation import FFMpegWriter, PillowWriter

    ending = path.suffix.lower()
    if ending == ".gif":
        return PillowWriter(fps=fps)
    if ending != ".mp4":
        raise ValueError(f"films are written as .gif or .mp4, not {path.name!r}")
    if not FFMpegWriter.isAvailable():
        raise RuntimeError("films in .mp4 need the program ffmpeg, which was not found; .gif needs nothing")
    return FFMpegWriter(fps=fps)
