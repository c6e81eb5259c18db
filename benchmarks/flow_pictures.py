"""The pictures of docs/flow.md:  python benchmarks/flow_pictures.py docs/pictures"""

from __future__ import annotations

import argparse
from pathlib import Path

from matplotlib import pyplot

from extremal import flow, max_margin, plotting
from extremal.datasets import gaussian_labels

#: Three rows in three dimensions whose flow slides, for what can be drawn in full.
SEED_SMALL = 3
DPI = 80


def save(path: Path) -> None:
    figure = pyplot.gcf()
    figure.savefig(path, dpi=DPI, bbox_inches="tight")
    pyplot.close(figure)


def three_rows(folder: Path) -> None:
    """The rectified ellipsoid with its spikes, the polar set, and the directions on the sphere."""
    X, y = gaussian_labels(3, 3, random_state=SEED_SMALL)
    result = flow(X, y, width=12, random_state=0)
    print(result)
    figure = pyplot.figure(figsize=(13, 5))
    plotting.plot_ellipsoid(result.trajectory, figure.add_subplot(1, 2, 1, projection="3d"), lam=result.lam)
    polar = figure.add_subplot(1, 2, 2, projection="3d")
    plotting.plot_polar(result.trajectory, polar, lam=result.lam)
    polar.zaxis.labelpad = -4  # type: ignore[attr-defined]
    save(folder / "flow-ellipsoid.png")
    figure = pyplot.figure(figsize=(9, 6.5), layout="constrained")
    plotting.plot_directions(result.trajectory, figure.add_subplot())
    save(folder / "flow-directions.png")


def bounds(folder: Path) -> None:
    """A run that reaches the global optimum and one that does not: the bounds along the way, and the events."""
    X, y = gaussian_labels(8, 3, random_state=4)
    good = flow(X, y, width=40, random_state=4)
    X, y = gaussian_labels(8, 3, random_state=1)
    bad = flow(X, y, width=40, random_state=1)
    print(good, bad, sep="\n")
    figure, panels = pyplot.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    for result, ax in zip((good, bad), panels, strict=True):
        optimum = max_margin(result.trajectory.X, result.trajectory.y).value
        plotting.plot_margin(result.trajectory, ax, value=result.value, optimum=optimum)
        ax.set_title(f"{result.verdict.name}: {ax.get_title()}", fontsize="medium")
    save(folder / "flow-bounds.png")
    figure = pyplot.figure(figsize=(10, 6))
    plotting.plot_events(good.trajectory, figure.add_subplot())
    save(folder / "flow-events.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    three_rows(folder)
    bounds(folder)


if __name__ == "__main__":
    main()
