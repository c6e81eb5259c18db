"""What moves in a film of a run: each panel draws its background once, and then any moment."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np

from extremal.plotting.directions import draw_rows
from extremal.plotting.ellipsoid import draw_ellipsoid
from extremal.plotting.flow import plot_norms
from extremal.plotting.runs import mark_ends, shares, sign_colour, signs
from extremal.plotting.sphere import camera, great_circles, half, look_from
from extremal.plotting.style import BLUE, GREY, VERMILION, lighten

if TYPE_CHECKING:
    from extremal.design import Array
    from extremal.flow.trajectory import Trajectory

#: Pixels along a side of the plane.
GRID = 121
#: Rays shorter than this fraction of the longest are not seen.
SHORT = 0.02


class Panel(ABC):
    """One part of the film."""

    def __init__(self, ax: Any, film: Trajectory) -> None:
        self.ax, self.film = ax, film
        self.signs = signs(film)
        self.colours = [sign_colour(sign) for sign in self.signs]
        self.passing: list[Any] = []
        self.prepare()

    @abstractmethod
    def prepare(self) -> None:
        """Draw what does not move."""

    @abstractmethod
    def draw(self, k: int) -> list[Any]:
        """Draw moment k; what is returned goes again."""

    def show(self, k: int) -> None:
        for artist in self.passing:
            artist.remove()
        self.passing = self.draw(k)

    def heads(self, points: Array, k: int, **style: Any) -> list[Any]:
        """Where the neurons are, with their mass."""
        return mark_ends(self.ax, points, self.signs, shares(self.film, k), **style)


class Rays(Panel):
    """The directions on the circle, and rays as long as |w_i| relative to the longest."""

    def prepare(self) -> None:
        turn = np.linspace(0, 2 * np.pi, 361)
        self.ax.plot(np.cos(turn), np.sin(turn), color="0.75", linewidth=0.8, zorder=1)
        draw_rows(self.ax, self.film)
        self.ax.set(xlim=(-1.25, 1.25), ylim=(-1.25, 1.25), aspect="equal")
        self.ax.set_axis_off()
        self.ax.set_title("directions; rays: relative norms", fontsize="medium")

    def draw(self, k: int) -> list[Any]:
        from matplotlib.collections import LineCollection

        logs, v = self.film.log_norms[k], self.film.directions[k]
        length = np.exp(logs - logs.max(initial=-np.inf))
        seen = length > SHORT
        rays = np.stack([np.zeros_like(v), v * length[:, None]], axis=1)[seen]
        colours = [colour for colour, drawn in zip(self.colours, seen, strict=True) if drawn]
        lines = self.ax.add_collection(
            LineCollection(list(rays), colors=colours, linewidths=2.2, zorder=4), autolim=False
        )
        return [lines, *self.heads(v, k)]


class Globe(Panel):
    """The directions on the globe with the way they have come."""

    def prepare(self) -> None:
        self.eye = camera(self.film)
        look_from(self.ax, self.eye)
        outline = next(great_circles(self.eye[None]))[0]
        self.ax.plot(*outline.T, color="0.3", linewidth=0.9)
        for circle, teeth in great_circles(self.film.X):
            for front, alpha in ((True, 0.8), (False, 0.2)):
                self.ax.plot(*half(circle, self.eye, front).T, color=GREY, linewidth=0.8, alpha=alpha)
            for tooth in teeth[teeth[:, 0] @ self.eye > 0]:
                self.ax.plot(*tooth.T, color=GREY, linewidth=0.8, alpha=0.8)
        limits = (-0.75, 0.75)
        self.ax.set(xlim=limits, ylim=limits, zlim=limits)
        self.ax.set_box_aspect((1, 1, 1))
        self.ax.set_axis_off()
        self.ax.set_title("directions", fontsize="medium")

    def draw(self, k: int) -> list[Any]:
        v = self.film.directions
        found = []
        for front, alpha in ((False, 0.25), (True, 0.9)):
            for i, colour in enumerate(self.colours):
                way = half(v[: k + 1, i], self.eye, front)
                found += self.ax.plot(*way.T, color=colour, linewidth=1.1, alpha=alpha)
            shown = np.where(((v[k] @ self.eye >= 0) == front)[:, None], v[k], np.nan)
            found += self.heads(shown, k, alpha=alpha, depthshade=False)
        return found


class Plane(Panel):
    """The sign of f over two features, paler where |f| is smaller, and the data."""

    def prepare(self) -> None:
        points, y = self.film.X[:, :2], self.film.y
        size = 1.15 * float(np.abs(points).max(initial=0.0)) or 1.0
        side = np.linspace(-size, size, GRID)
        self.grid = np.meshgrid(side, side)
        inputs = np.column_stack([axis.ravel() for axis in self.grid])
        self.inputs = np.column_stack([inputs, np.ones(len(inputs))]) if self.film.bias else inputs
        self.image = self.ax.imshow(
            np.ones((GRID, GRID, 3)), origin="lower", extent=(-size, size, -size, size), interpolation="bilinear"
        )
        for label, marker, colour in ((True, "o", VERMILION), (False, "s", BLUE)):
            mine = (y > 0) == label
            self.ax.scatter(*points[mine].T, s=34, marker=marker, color=colour, edgecolor="white", zorder=4)
        self.ax.set(xlabel="x₁", ylabel="x₂", xlim=(-size, size), ylim=(-size, size), aspect="equal")
        self.ax.set_title("f, where it is positive and negative", fontsize="medium")

    def draw(self, k: int) -> list[Any]:
        from matplotlib.colors import to_rgb

        values = outputs(self.film, k, self.inputs).reshape(GRID, GRID)
        depth = values / (np.abs(values).max() or 1.0)
        ends = [1 - np.array(to_rgb(colour)) for colour in (BLUE, VERMILION)]
        strength = np.where(depth == 0, 0.0, 0.18 + 0.5 * np.abs(depth))[:, :, None]
        self.image.set_data(1 - strength * np.where((depth > 0)[:, :, None], ends[1], ends[0]))
        if not values.min() < 0 < values.max():
            return []
        return [self.ax.contour(*self.grid, values, levels=[0.0], colors="0.15", linewidths=1.5)]


class Line(Panel):
    """f over one feature, for margin losses divided by its largest value, and the data."""

    def prepare(self) -> None:
        x, y = self.film.X[:, 0], self.film.y
        pad = 0.1 * float(x.max() - x.min()) or 1.0
        self.x = np.linspace(x.min() - pad, x.max() + pad, 4 * GRID)
        self.inputs = np.column_stack([self.x, np.ones_like(self.x)])
        for label, marker, colour in ((True, "o", VERMILION), (False, "s", BLUE)):
            mine = (y > 0) == label
            self.ax.scatter(x[mine], y[mine], s=34, marker=marker, color=colour, edgecolor="white", zorder=4)
        self.ax.axhline(0, color=GREY, linewidth=0.7)
        self.plain = self.film.loss == "squared"
        low, high = (min(y.min(), 0.0), max(y.max(), 0.0)) if self.plain else (-1.0, 1.0)
        room = 0.2 * (high - low) or 1.0
        self.ax.set(xlim=(self.x[0], self.x[-1]), ylim=(low - room, high + room), xlabel="x")
        self.ax.set_title("f" if self.plain else "f divided by its largest value", fontsize="medium")
        lighten(self.ax)

    def draw(self, k: int) -> list[Any]:
        values = outputs(self.film, k, self.inputs)
        if self.plain:
            values = values * np.exp(2 * self.film.log_norms[k].max(initial=-np.inf))
        else:
            values = values / (np.abs(values).max() or 1.0)
        return self.ax.plot(self.x, values, color="black", linewidth=2.0, zorder=3)


class Rectified(Panel):
    """(X v_i)_+ on the rectified ellipsoid with the way they have come."""

    def prepare(self) -> None:
        draw_ellipsoid(self.ax, self.film.X)
        self.points = np.maximum(self.film.directions @ self.film.X.T, 0)
        self.reach = np.maximum(np.linalg.norm(self.film.X, axis=1), 1e-300)
        self.solid: dict[str, Any] = {"depthshade": False} if len(self.film.y) == 3 else {}
        self.ax.set_title("(Xv)₊ on the rectified ellipsoid", fontsize="medium")

    def draw(self, k: int) -> list[Any]:
        found = []
        for i, colour in enumerate(self.colours):
            found += self.ax.plot(*self.points[: k + 1, i].T, color=colour, linewidth=1.2, alpha=0.8, zorder=4)
        return [*found, *self.heads(self.points[k], k, unit=self.reach, **self.solid)]


class Norms(Panel):
    """log |w_i| against tau, with a line at the present."""

    def prepare(self) -> None:
        plot_norms(self.film, self.ax)
        self.ax.get_legend().remove()
        self.now = self.ax.axvline(self.film.time[0], color="black", linewidth=1.2)

    def draw(self, k: int) -> list[Any]:
        self.now.set_xdata([self.film.time[k]] * 2)
        self.ax.set_title(
            f"τ = {self.film.time[k]:.3g},  min q / |θ|² = {self._margin(k)}", fontsize="medium", loc="left"
        )
        return []

    def _margin(self, k: int) -> str:
        margin = self.film.normalised_margin[k]
        return f"{margin:.3g}" if np.isfinite(margin) else "–"


def outputs(film: Trajectory, k: int, inputs: Array) -> Array:
    """f on other inputs (p, d), divided by the square of the largest |w_i|, shape (p,)."""
    logs = film.log_norms[k]
    weights = film.ratios[k] * np.exp(2 * (logs - logs.max(initial=-np.inf)))
    return np.maximum(inputs @ film.directions[k].T, 0) @ weights
