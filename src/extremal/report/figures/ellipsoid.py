"""The rectified ellipsoid {(X u)_+ : |u| <= 1}, the neurons on it, and the hyperplanes of the multiplier that hold it.

With two or three rows it is drawn as it is. Otherwise it is projected so that one coordinate is lam^T z itself: that
all of it lies between the planes lam^T z = +-beta is what the certificate says, and that neurons touch them is what
optimality means.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from extremal.design import Array
from extremal.gauge.few_rows import gauge_values
from extremal.plotting.ellipsoid import ellipsoid
from extremal.report.figures.common import GREEN, MIDDLE, PURPLE, SKY, Figure, Moving, axis, faded, scene
from extremal.report.figures.marks import Neurons, marks, moving_marks, rings
from extremal.report.figures.moments import Moments

#: With so many rows at most the mesh is cut where they switch, so that the kinks are sharp.
CUT_ROWS = 24
#: Directions on the sphere, and numbers (rows times directions) that are worth the picture.
AROUND, MOST_NUMBERS = 96, 100_000_000


@dataclass(frozen=True, eq=False)
class View:
    """A linear map of R^n into three dimensions.

    Attributes
    ----------
    matrix : array of shape (3, n)
        z is drawn at matrix @ z.
    titles : list of str
    """

    matrix: Array
    titles: list[str]


@dataclass(frozen=True, eq=False)
class Support:
    """The multiplier whose hyperplanes hold the ellipsoid.

    Attributes
    ----------
    lam : array of shape (n, c)
    level : float or None
        beta, or 1 for a flow: where the hyperplanes are; None if that is not known.
    gauge : float
        An upper bound on g(lam): at most the level if the hyperplanes hold the ellipsoid.
    violator : array of shape (D,), optional
        A direction u at which it sticks out.
    over_time : array of shape (T, n), optional
        The multipliers at the moments of a run.
    limit : array of shape (k, D), optional
        The directions of the neurons at the limit of a run.
    """

    lam: Array
    level: float | None
    gauge: float
    violator: Array | None = None
    over_time: Array | None = None
    limit: Array | None = None

    @property
    def holds(self) -> bool:
        return self.level is not None and self.gauge <= self.level * (1 + 1e-6)


def ellipsoid_figure(X: Array, neurons: Neurons, support: Support, moments: Moments | None = None) -> Figure | None:
    """The figure, or None where there is nothing to see.

    Parameters
    ----------
    X : array of shape (n, D)
        With the column of ones, if there is one.
    neurons : Neurons
    support : Support
    moments : Moments, optional
        Of a run: the neurons then move.
    """
    n, c = support.lam.shape
    if n < 2 or not X.any() or n * AROUND > MOST_NUMBERS:
        return None
    if n == 2 and c == 1:
        return _flat(X, neurons, support, moments)
    if n == 3 and c == 1:
        return _exact(X, neurons, support, moments)
    return _projected(X, neurons, support, moments)


# ------------------------------------------------------------------------------------------------ two and three rows


def _flat(X: Array, neurons: Neurons, support: Support, moments: Moments | None) -> Figure:
    """Two rows: a plane figure."""
    data = [_outline(polygon) for polygon in ellipsoid(X)]
    first, lam = len(data), support.lam[:, 0]
    data += marks(_fits(X, neurons.directions), neurons)
    data += [_line(lam, level, X) for level in _both(X, lam)]
    moving = [] if moments is None else moving_marks(_fits(X, moments.directions), moments, first)
    if support.over_time is not None:
        for k, side in enumerate(_sides(X, support.over_time)):
            lines = [_line(row, level, X) for row, level in zip(support.over_time, side, strict=True)]
            moving.append(Moving(first + 2 + k, {name: [line[name] for line in lines] for name in "xy"}))
    if support.limit is not None:
        data.append(rings(_fits(X, support.limit)))
    size = 1.12 * np.linalg.norm(X, axis=1).max()
    layout = {
        "xaxis": axis(_row_title(1), range=[-0.08 * size, size]),
        "yaxis": axis(_row_title(2), range=[-0.08 * size, size], scaleanchor="x"),
    }
    return Figure(*_exact_words(moments), data, layout, moving)


def _exact(X: Array, neurons: Neurons, support: Support, moments: Moments | None) -> Figure:
    """Three rows: the thing itself in space."""
    patches, size, lam = list(ellipsoid(X)), np.linalg.norm(X, axis=1), support.lam[:, 0]
    edges = _joined([patch[1:] if len(patch) > 3 else patch for patch in patches if len(patch) != 3])
    data = [
        _mesh(*_triangles([patch for patch in patches if len(patch) > 2])),
        _thread(edges, MIDDLE, "edges", width=3),
        *marks(_fits(X, neurons.directions), neurons),
        *(_plane(lam, level, size) for level in _both(X, lam)),
    ]
    moving = [] if moments is None else moving_marks(_fits(X, moments.directions), moments, 2)
    if support.over_time is not None:
        for k, side in enumerate(_sides(X, support.over_time)):
            planes = [_plane(row, level, size) for row, level in zip(support.over_time, side, strict=True)]
            moving.append(Moving(4 + k, {name: [plane[name] for plane in planes] for name in "xyz"}))
    if moments is not None:
        data.append(_paths(_fits(X, moments.directions), moments))
    if support.limit is not None:
        data.append(rings(_fits(X, support.limit)))
    layout = scene([_row_title(k) for k in (1, 2, 3)])
    for name, length in zip("xyz", size, strict=True):
        layout["scene"][f"{name}axis"]["range"] = [0, 1.08 * max(length, 0.05 * size.max())]
    return Figure(*_exact_words(moments), data, layout, moving)


def _exact_words(moments: Moments | None) -> tuple[str, str]:
    caption = (
        "What one neuron of unit norm can output on the rows of the data. The lines or planes λᵀz = ±g(λ) of the "
        "multiplier support it and its mirror image. At the global optimum every neuron sits where they touch: at a "
        "spike."
    )
    if moments is not None:
        caption += " The slider moves the neurons and the multiplier over the flow; rings are its limit."
    return "The rectified ellipsoid {(Xu)₊ : |u| ≤ 1}", caption


def _fits(X: Array, directions: Array) -> Array:
    """(X u)_+ of directions (..., D)."""
    return np.maximum(directions @ X.T, 0)


def _both(X: Array, lam: Array) -> tuple[float, float]:
    gauge = float(gauge_values(X, lam[None])[0])
    return gauge, -gauge


def _sides(X: Array, lams: Array) -> tuple[Array, Array]:
    gauges = gauge_values(X, lams)
    return gauges, -gauges


def _line(lam: Array, level: float, X: Array) -> dict[str, Any]:
    """The line lam^T z = level, as long as the picture needs."""
    square = float(lam @ lam)
    nearest = lam * level / square if square > 0 else np.full(2, np.nan)
    along = np.array([-lam[1], lam[0]]) / (np.sqrt(square) or 1.0) * 4 * float(np.linalg.norm(X, axis=1).max())
    ends = np.array([nearest - along, nearest + along])
    style = {"color": GREEN, "width": 2, "dash": "dash"}
    return {
        "type": "scatter", "mode": "lines", "x": ends[:, 0], "y": ends[:, 1], "line": style, "name": "λᵀz = ±g(λ)",
        "legendgroup": "lam", "showlegend": level > 0, "hoverinfo": "name",
    }  # fmt: skip


def _plane(lam: Array, level: float, size: Array) -> dict[str, Any]:
    """The plane lam^T z = level inside the box [0, 1.08 size], as a fan of triangles over (at most) six corners."""
    corners = _cut(lam, level, 1.08 * np.maximum(size, 0.05 * size.max()))
    style = {"color": GREEN, "opacity": 0.3, "hoverinfo": "name", "name": "λᵀz = ±g(λ)", "flatshading": True}
    fan = {"i": [0, 0, 0, 0], "j": [1, 2, 3, 4], "k": [2, 3, 4, 5]}
    return {"type": "mesh3d", "x": corners[:, 0], "y": corners[:, 1], "z": corners[:, 2], **fan, **style}


def _cut(lam: Array, level: float, box: Array) -> Array:
    """The corners of the polygon {lam^T z = level} in the box [0, box], in order, six of them (the last repeated).

    NaN where they do not meet.
    """
    points, scale = [], float(np.abs(lam).max()) or 1.0
    lam, level = np.where(np.abs(lam) > 1e-12 * scale, lam, 0.0) / scale, level / scale
    for axis_ in range(3):
        others = [k for k in range(3) if k != axis_]
        for corner in ((0, 0), (0, 1), (1, 0), (1, 1)):
            z = np.zeros(3)
            z[others] = box[others] * corner
            if lam[axis_] != 0:
                z[axis_] = (level - lam @ z) / lam[axis_]
                if -1e-12 <= z[axis_] <= box[axis_] * (1 + 1e-12):
                    points.append(z)
    if len(points) < 3:
        return np.full((6, 3), np.nan)
    corners = np.array(points)
    middle = corners.mean(axis=0)
    frame = np.linalg.svd(lam[None])[2][1:]
    flat = (corners - middle) @ frame.T
    corners = corners[np.argsort(np.arctan2(flat[:, 1], flat[:, 0]))][:6]
    return np.concatenate([corners, np.repeat(corners[-1:], 6 - len(corners), axis=0)])


def _row_title(k: int) -> str:
    return f"(x<sub>{k}</sub>·u)₊"


# ----------------------------------------------------------------------------------------------------- more rows


def _projected(X: Array, neurons: Neurons, support: Support, moments: Moments | None) -> Figure | None:
    lam, level = support.lam, support.level
    view = _view(X, lam, _fits(X, neurons.directions) * neurons.share[:, None])
    basis, whole = _directions(X, neurons)
    sphere, faces = _sphere(basis.shape[1], AROUND if len(X) * AROUND**2 <= 4 * MOST_NUMBERS else AROUND // 3)
    if len(X) <= CUT_ROWS and len(faces):
        sphere, faces = _cut_at_rows(sphere, faces, X @ basis)
    points = _images(X, sphere @ basis.T, view)
    places = _images(X, neurons.directions, view)
    data = [_mesh(points, faces) if len(faces) else _thread(points, SKY, "ellipsoid"), *marks(places, neurons)]
    moving = []
    if moments is not None:
        ways = np.stack([_images(X, directions, view) for directions in moments.directions])
        moving = moving_marks(ways, moments, 1)
        data.append(_paths(ways, moments))
        places = ways.reshape(-1, 3)
    low, high = _box([points, places])
    if support.limit is not None:
        data.append(rings(_images(X, support.limit, view)))
    if support.violator is not None:
        data.append(_star(_images(X, support.violator[None], view)))
    if level is not None:
        data += _walls(level, low, high) if lam.shape[1] == 1 else _tube(level, low, high)
    words = _projected_words(support, whole, moments)
    return Figure("The rectified ellipsoid {(Xu)₊ : |u| ≤ 1}, projected", words, data, scene(view.titles), moving)


def _projected_words(support: Support, whole: bool, moments: Moments | None) -> str:
    n, c = support.lam.shape
    axes = "one axis is" if c == 1 else "two axes are"
    rest = "the others are principal axes" if c == 1 else "the third is the principal axis"
    words = [
        f"What one neuron of unit norm can output, {n} numbers, seen in three: {axes} the multiplier's own, {rest} of "
        "the neurons' outputs."
    ]
    if support.level is not None:
        limit = f"β = {support.level:.4g}" if moments is None else "1"
        held = f"The two planes λᵀz = ±{limit} hold it" if c == 1 else f"The tube |Λᵀz| = {limit} holds it"
        if support.violator is not None:
            words.append(
                f"It sticks out of the planes λᵀz = ±{limit}, by a factor of {support.gauge:.4g}: at the square is a "
                "neuron that improves the network."
            )
        elif support.holds:
            words.append(f"{held}, for every direction u: that is the certificate. The neurons of an optimum touch.")
        else:
            words.append(f"Whether the planes λᵀz = ±{limit} hold it for every direction u is not proved.")
    if not whole:
        words.append("Of the ellipsoid only the part of the neurons' three main directions u is drawn.")
    if moments is not None:
        words.append("The slider moves the neurons over the flow; λ and the rings are those of its end.")
    return " ".join(words)


def _view(X: Array, lam: Array, fits: Array) -> View:
    """Coordinates lam^T z (of several outputs: the two widest of Lam^T z), then principal axes of the fits."""
    if lam.shape[1] == 1:
        leading = lam.T
        titles = ["λᵀz"]
    else:
        leading = np.linalg.svd(lam, full_matrices=False)[2][:2] @ lam.T
        titles = ["Λᵀz (1)", "Λᵀz (2)"]
    kept = np.linalg.qr(leading.T)[0]
    largest = float(np.linalg.norm(fits)) or 1.0
    spare = np.maximum(np.concatenate([X, -X], axis=1), 0).T  # where the fits have too few directions
    samples = np.concatenate([fits, 1e-3 * largest * spare / (np.linalg.norm(spare) or 1.0)])
    rest = samples - samples @ kept @ kept.T
    others = np.linalg.svd(rest, full_matrices=False)[2][: 3 - len(leading)]
    others = others * np.where(others.sum(axis=1) < 0, -1.0, 1.0)[:, None]
    names = ["axis 2", "axis 3"] if len(leading) == 1 else ["axis 3"]
    return View(np.concatenate([leading, others]), [*titles, *names[: len(others)]])


def _directions(X: Array, neurons: Neurons) -> tuple[Array, bool]:
    """An orthonormal basis (D, at most 3) of directions u, and whether nothing of the row space is left out."""
    _, s, Vt = np.linalg.svd(X, full_matrices=False)
    rows = Vt[s > 1e-12 * s[0]]
    if len(rows) <= 3:
        return rows.T, True
    samples = np.concatenate(
        [neurons.directions * neurons.share[:, None], 1e-3 * rows * neurons.share.max(initial=1e-3)]
    )
    return np.linalg.svd(samples, full_matrices=False)[2][:3].T, False


def _sphere(rank: int, around: int) -> tuple[Array, Array]:
    """Unit vectors (k, rank) and triangles (f, 3) between them; one or two dimensions have no triangles."""
    turn = np.linspace(0, 2 * np.pi, around + 1)
    if rank == 1:
        return np.array([[-1.0], [0.0], [1.0]]), np.zeros((0, 3), int)
    if rank == 2:
        rim = np.column_stack([np.cos(turn), np.sin(turn)])
        fan = np.column_stack([np.zeros(around, int), np.arange(1, around + 1), np.arange(2, around + 2)])
        return np.concatenate([np.zeros((1, 2)), rim]), fan
    height = np.linspace(0, np.pi, around // 2 + 1)
    up, side = np.meshgrid(height, turn, indexing="ij")
    points = np.stack([np.sin(up) * np.cos(side), np.sin(up) * np.sin(side), np.cos(up)], axis=2).reshape(-1, 3)
    i, j = np.meshgrid(np.arange(len(height) - 1), np.arange(around), indexing="ij")
    corner = (i * (around + 1) + j).ravel()
    below = corner + around + 1
    return points, np.concatenate(
        [np.column_stack([corner, corner + 1, below]), np.column_stack([corner + 1, below + 1, below])]
    )


def _cut_at_rows(points: Array, faces: Array, rows: Array) -> tuple[Array, Array]:
    """The mesh with every triangle cut along the hyperplanes of the rows: u -> (X u)_+ has its kinks there."""
    for row in rows[rows.any(axis=1)]:
        height = points @ row
        height[np.abs(height) < 1e-9 * np.linalg.norm(row)] = 0.0
        above = np.sign(height)[faces]
        crossed = (above.max(axis=1) > 0) & (above.min(axis=1) < 0)
        if not crossed.any():
            continue
        new, pieces = _halves(points, height, faces[crossed], above[crossed])
        faces = np.concatenate([faces[~crossed], pieces])
        points = np.concatenate([points, new])
    return points, faces


def _halves(points: Array, height: Array, faces: Array, above: Array) -> tuple[Array, Array]:
    """New points on the edges where the height is zero, and the triangles that replace the given ones.

    The corner that is alone on its side comes first; what is left of the triangle is a quadrilateral. A corner of
    height zero counts as one of the pair: its new point falls on it.
    """
    positive = (above > 0).sum(axis=1)
    alone = np.where(positive == 1, (above > 0).argmax(axis=1), (above < 0).argmax(axis=1))
    turn = (alone[:, None] + np.arange(3)) % 3
    tip, left, right = np.take_along_axis(faces, turn, axis=1).T
    start = len(points)
    places = []
    for other in (left, right):
        share = height[tip] / (height[tip] - height[other])
        place = points[tip] + share[:, None] * (points[other] - points[tip])
        size = np.linalg.norm(place, axis=1, keepdims=True)
        places.append(place / np.where(size > 0, size, 1.0))  # the middle of a disc stays where it is
    first = start + np.arange(len(tip))
    second = first + len(tip)
    pieces = [(tip, first, second), (first, left, right), (first, right, second)]
    return np.concatenate(places), np.concatenate([np.column_stack(piece) for piece in pieces])


def _images(X: Array, U: Array, view: View) -> Array:
    """(X u)_+ of unit vectors U (k, D), drawn; in blocks of rows."""
    found = np.zeros((len(U), len(view.matrix)))
    block = max(1, 10_000_000 // len(U))
    for start in range(0, len(X), block):
        rows = slice(start, start + block)
        found += np.maximum(U @ X[rows].T, 0) @ view.matrix[:, rows].T
    return found


def _box(parts: list[Array]) -> tuple[Array, Array]:
    points = np.concatenate([part for part in parts if len(part)])
    low, high = np.nanmin(points, axis=0), np.nanmax(points, axis=0)
    margin = 0.04 * np.where(high > low, high - low, 1.0)
    return low - margin, high + margin


def _walls(bound: float, low: Array, high: Array) -> list[dict[str, Any]]:
    """The planes x = +-bound."""
    return [
        {
            "type": "mesh3d", "x": [side * bound] * 4, "y": [low[1], high[1], high[1], low[1]],
            "z": [low[2], low[2], high[2], high[2]], "i": [0, 0], "j": [1, 2], "k": [2, 3], "color": GREEN,
            "opacity": 0.3, "flatshading": True, "name": "λᵀz = ±bound", "hoverinfo": "name",
        }
        for side in (1.0, -1.0)
    ]  # fmt: skip


def _tube(bound: float, low: Array, high: Array) -> list[dict[str, Any]]:
    """The cylinder x^2 + y^2 = bound^2, as circles and lines."""
    turn = np.linspace(0, 2 * np.pi, 73)
    circle = bound * np.column_stack([np.cos(turn), np.sin(turn)])
    rings = [np.column_stack([circle, np.full(len(turn), level)]) for level in np.linspace(low[2], high[2], 7)]
    return [_thread(_joined(rings), GREEN, "|Λᵀz| = bound", width=3)]


# ------------------------------------------------------------------------------------------------------- traces


def _outline(polygon: Array) -> dict[str, Any]:
    return {
        "type": "scatter", "mode": "lines", "x": polygon[:, 0], "y": polygon[:, 1], "fill": "toself",
        "fillcolor": faded(SKY, 0.3), "line": {"color": SKY, "width": 2}, "hoverinfo": "skip", "showlegend": False,
    }  # fmt: skip


def _mesh(points: Array, faces: Array) -> dict[str, Any]:
    light = {"ambient": 0.65, "diffuse": 0.6, "specular": 0.15, "roughness": 0.7}
    return {
        "type": "mesh3d", "x": points[:, 0], "y": points[:, 1], "z": points[:, 2], "i": faces[:, 0], "j": faces[:, 1],
        "k": faces[:, 2], "color": SKY, "opacity": 0.55, "lighting": light, "hoverinfo": "skip", "name": "ellipsoid",
    }  # fmt: skip


def _triangles(polygons: list[Array]) -> tuple[Array, Array]:
    """The corners of all polygons, and a fan of triangles for each."""
    faces, start = [], 0
    for polygon in polygons:
        inner = np.arange(1, len(polygon) - 1)
        faces.append(start + np.column_stack([np.zeros_like(inner), inner, inner + 1]))
        start += len(polygon)
    if not polygons:
        return np.zeros((0, 3)), np.zeros((0, 3), int)
    return np.concatenate(polygons), np.concatenate(faces)


def _thread(points: Array, colour: str, name: str, width: float = 4) -> dict[str, Any]:
    return {
        "type": "scatter3d", "mode": "lines", "x": points[:, 0], "y": points[:, 1], "z": points[:, 2], "name": name,
        "line": {"color": colour, "width": width}, "hoverinfo": "name", "showlegend": False,
    }  # fmt: skip


def _joined(lines: list[Array]) -> Array:
    """Lines one after the other, with a gap between them."""
    gap = np.full((1, 3), np.nan)
    return np.concatenate([part for line in lines for part in (line, gap)]) if lines else np.zeros((0, 3))


def _paths(places: Array, moments: Moments) -> dict[str, Any]:
    """The ways (T, m, 3) of the neurons that end with mass."""
    heavy = np.flatnonzero(moments.share[-1] > 1e-3)
    return _thread(_joined([places[:, i] for i in heavy]), MIDDLE, "ways of the neurons", width=2)


def _star(place: Array) -> dict[str, Any]:
    return {
        "type": "scatter3d", "mode": "markers", "x": place[:, 0], "y": place[:, 1], "z": place[:, 2],
        "marker": {"symbol": "square", "size": 9, "color": PURPLE}, "name": "improving neuron", "hoverinfo": "name",
        "showlegend": True,
    }  # fmt: skip
