"""The gauge from above: for each sign the method that suits its rank and its number of convex rows."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np

from extremal.design import Array, Design
from extremal.gauge.bounds import GaugeBounds, GaugeStatus, SideBound
from extremal.gauge.cells import MOVED, cell_bound, cell_work
from extremal.gauge.cones import cone_bound
from extremal.gauge.faces import face_bound
from extremal.gauge.lifted import lifted_bound
from extremal.gauge.outputs import MANY_OUTPUTS, largest_height
from extremal.gauge.sides import EPS, Side, reduce_side

#: Up to this rank the sphere is divided into cones.
CONE_RANK = 6

#: Cells are visited at once if they cost no more multiplications than this; otherwise if the cones did not finish.
QUICK_WORK = 2e7

#: Multiplications in a second, and those that splitting a cone is worth; the most cones if nobody sets a limit.
WORK_PER_SECOND, WORK_OF_A_NODE, MOST_NODES = 2e9, 1e5, 2_000_000

#: With several outputs: the directions that are tried at most unless only time limits them, the share of the remaining
#: time and of the nodes that one may take, and the share of the largest height below which the others may stay unknown.
MOST_DIRECTIONS, DIRECTION_SHARE, FAR_BELOW = 2000, 0.1, 0.9

#: From the best to the worst way to end.
ORDER = (
    GaugeStatus.EXACT,
    GaugeStatus.RELAXATION,
    GaugeStatus.NODE_LIMIT,
    GaugeStatus.TIME_LIMIT,
    GaugeStatus.INTERRUPTED,
)


@dataclass(frozen=True)
class Options:
    """What ends a search; `lower` and `threshold` are in the units of the Side."""

    tol: float
    deadline: float | None
    lower: float
    threshold: float | None
    max_nodes: int | None

    def until(self, share: float) -> float | None:
        """The time when a share of what remains is spent."""
        if self.deadline is None:
            return None
        now = time.monotonic()
        return now + share * max(self.deadline - now, 0.0)

    @property
    def affordable(self) -> float:
        """The multiplications that a search of all cells may cost."""
        left = np.inf if self.deadline is None else max(self.deadline - time.monotonic(), 0.0)
        nodes = np.inf if self.max_nodes is None else self.max_nodes
        return min(WORK_OF_A_NODE * nodes, WORK_PER_SECOND * left)

    @property
    def target(self) -> float:
        """An upper bound this small ends the search."""
        return max(self.lower * (1 + self.tol), self.threshold or 0.0)


def upper_bounds(
    design: Design,
    lam: Array,
    *,
    tol: float = 1e-6,
    deadline: float | None = None,
    lower: float = 0.0,
    witness: Array | None = None,
    threshold: float | None = None,
    max_nodes: int | None = MOST_NODES,
) -> GaugeBounds:
    """lower <= g(lam) = max over |u| <= 1 of |lam^T (Xu)_+|_2 <= upper, with a proven upper end.

    Parameters
    ----------
    design : Design
    lam : array (n,) or (n, c)
    tol : float
        The relative width at which the search is content.
    deadline : float, optional
        A time of time.monotonic(); soon after it the interval at hand is returned.
    lower, witness : float, array (d,), optional
        A known lower bound and the direction that attains it: the better they are, the more is pruned.
    threshold : float, optional
        Stop as soon as upper <= threshold or lower > threshold is known.
    max_nodes : int, optional
        The largest number of cones to split, for each sign.

    Returns
    -------
    GaugeBounds
        Its `lower` is attained by its `witness`. After Ctrl-C the status is INTERRUPTED, the interval is
        valid.
    """
    multiplier = np.asarray(lam, dtype=np.float64).reshape(design.n, -1)
    start = np.ones(design.d) if witness is None else np.asarray(witness, dtype=np.float64)
    known = max(float(lower), attained(design, multiplier, start))
    options = Options(tol, deadline, known, threshold, max_nodes)
    try:
        if multiplier.shape[1] > 1:
            return several_outputs(design, multiplier, options, start)
        sides = both_sides(design, multiplier[:, 0], options, start)
        directions = [start, *sides.directions]
        return summary(design, multiplier, sides.upper, directions, sides.status, sides.method, options)
    except KeyboardInterrupt:
        upper = largest_sum(design, multiplier)
        return summary(design, multiplier, upper, [start], GaugeStatus.INTERRUPTED, "trivial", options)


def largest_sum(design: Design, Lam: Array) -> float:
    """sum_i |Lam_i| |x_i|, with an allowance for rounding: no gauge is larger."""
    size, largest = design.magnitude, float(np.abs(Lam).max(initial=0.0))
    if largest == 0.0:
        return 0.0
    norms = np.linalg.norm(Lam / largest, axis=1)
    return float(norms @ design.scaled(1.0 / size).row_norms) * (1 + 1e-12 * design.d) * largest * size


@dataclass(frozen=True, eq=False)
class Sides:
    """The bounds on M(c) and M(-c), in the units of X and c, and the directions that were found."""

    uppers: tuple[float, float]
    directions: list[Array]
    status: GaugeStatus
    method: str

    @property
    def upper(self) -> float:
        return max(self.uppers)


def both_sides(design: Design, c: Array, options: Options, start: Array) -> Sides:
    """M(c) and M(-c), each pruned with what is known of the larger of them."""
    reduction = reduce_side(design, c)
    if reduction is None:
        return Sides((0.0, 0.0), [], GaugeStatus.EXACT, "zero")
    side = reduction.side
    lower = options.lower / reduction.scale
    threshold = options.threshold
    if threshold is not None:
        threshold = max(threshold / reduction.scale * (1 - 16 * EPS) - reduction.slack, 0.0)
    uppers, directions, statuses, methods = [], [], [], []
    for sign, share in ((1.0, 0.5), (-1.0, 1.0)):
        interrupted = GaugeStatus.INTERRUPTED in statuses
        current = replace(
            options, deadline=0.0 if interrupted else options.until(share), lower=lower, threshold=threshold
        )
        signed = Side(side.rows, sign * side.weights, sign * side.linear)
        bound, method = one_side(signed, current, reduction.coordinates(start))
        lower = max(lower, bound.lower)
        uppers.append(reduction.scale * (bound.upper + reduction.slack) * (1 + 8 * EPS))
        directions.append(reduction.direction(bound.u))
        statuses.append(bound.status)
        methods.append(method)
    return Sides((uppers[0], uppers[1]), directions, worst(statuses), " and ".join(dict.fromkeys(methods)))


def one_side(side: Side, options: Options, start: Array) -> tuple[SideBound, str]:
    """The bound of one side and the name of the method; Ctrl-C leaves the sum of the positive weights."""
    try:
        return dispatch(side, options, start)
    except KeyboardInterrupt:
        u = np.ones(side.rank)
        return SideBound(max(side.value(u), 0.0), side.trivial + side.rounding, u, GaugeStatus.INTERRUPTED), "trivial"


def dispatch(side: Side, options: Options, start: Array) -> tuple[SideBound, str]:
    """Faces in the plane; cones for rank <= 6 and cells, the cheaper first; else the lifted relaxation."""
    if side.weights.size == 0:
        length = float(np.linalg.norm(side.linear))
        return SideBound(length, length + side.rounding, side.linear, GaugeStatus.EXACT), "linear"
    if side.rank <= 2:
        return face_bound(side), "faces"
    work = cell_work(side)
    searches = [("cells", by_cells)] if work <= options.affordable else []
    if side.rank <= CONE_RANK:
        searches.insert(1 if work <= QUICK_WORK else 0, ("cones", by_cones))
    bound, method = None, ""
    for name, search in searches:
        bound = tighter(bound, search(side, work, options, start if bound is None else bound.u))
        method = f"{method}, {name}".strip(", ")
        if is_settled(bound, options):
            return bound, method
    other = lifted_bound(side, deadline=options.deadline, target=options.target)
    if bound is None:
        return other, "lifted"
    return tighter(bound, other), f"{method}, lifted" if other.upper < bound.upper else method


def by_cells(side: Side, work: float, options: Options, start: Array) -> SideBound:
    """All cells of the rows of positive weight."""
    return cell_bound(
        side,
        tol=options.tol,
        deadline=options.until(0.8),
        lower=options.lower,
        witness=start,
        threshold=options.threshold,
    )


def by_cones(side: Side, work: float, options: Options, start: Array) -> SideBound:
    """The cones, for about as long as the cells would take if those can be afforded and come next."""
    affordable = QUICK_WORK < work <= options.affordable
    nodes = options.max_nodes
    if affordable:
        nodes = min(int(work / WORK_OF_A_NODE), MOST_NODES if nodes is None else nodes)
    return cone_bound(
        side,
        tol=options.tol,
        deadline=options.until(0.5 if affordable else 0.8),
        lower=options.lower,
        witness=start,
        threshold=options.threshold,
        max_nodes=nodes,
    )


def is_settled(bound: SideBound, options: Options) -> bool:
    """Whether a search ended with what was asked of it, or by Ctrl-C."""
    decided = options.threshold is not None and bound.lower > options.threshold
    # nearly parallel rows can end a coordinate descent early: exact in name, but wide
    narrow = bound.upper <= max(options.target, bound.lower * (1 + options.tol)) + 2 * MOVED
    return (bound.status is GaugeStatus.EXACT and narrow) or bound.status is GaugeStatus.INTERRUPTED or decided


def tighter(first: SideBound | None, second: SideBound) -> SideBound:
    """Both bounds together, with the status of the second if it came to an end."""
    if first is None:
        return second
    lower, u = max(((b.lower, b.u) for b in (first, second)), key=lambda pair: pair[0])
    finished = second.status in (GaugeStatus.EXACT, GaugeStatus.INTERRUPTED)
    return SideBound(lower, min(first.upper, second.upper), u, second.status if finished else first.status)


def several_outputs(design: Design, Lam: Array, options: Options, start: Array) -> GaugeBounds:
    """Branch and bound over the directions of the outputs, in the row space of Lam."""
    largest = float(np.abs(Lam).max())
    if largest == 0.0:
        return summary(design, Lam, 0.0, [start], GaugeStatus.EXACT, "zero", options)
    reduced, frame, slack = outputs_row_space(design, Lam)
    directions, statuses, methods = [start], [], []
    lower, c = options.lower, frame.shape[1]
    # a height well below the largest one need not be known: narrow cones around it are dismissed all the same
    needed = FAR_BELOW if c <= MANY_OUTPUTS else 0.0
    share = DIRECTION_SHARE if c > 1 else 1.0
    nodes = None if options.max_nodes is None else int(options.max_nodes * share)

    def ask(v: Array) -> tuple[float, float]:
        nonlocal lower
        stopped = GaugeStatus.INTERRUPTED in statuses
        deadline = 0.0 if stopped else options.until(share)
        current = Options(options.tol, deadline, needed * lower, None, nodes)
        sides = both_sides(design, reduced @ v, current, start)
        statuses.append(sides.status)
        methods.append(sides.method)
        for u in sides.directions:
            value = attained(design, Lam, u)
            if value > lower:
                lower, directions[1:] = value, [u]
        return sides.uppers

    def is_enough(upper: float) -> bool:
        decided = options.threshold is not None and lower > options.threshold
        late = options.deadline is not None and time.monotonic() > options.deadline
        target = max(lower * (1 + options.tol), options.threshold or 0.0)
        return upper + slack <= target or decided or late or GaugeStatus.INTERRUPTED in statuses

    unlimited = options.max_nodes is None and options.deadline is not None
    upper, ended = largest_height(np.eye(c), ask, is_enough=is_enough, most=None if unlimited else MOST_DIRECTIONS)
    statuses.append(ended)
    if options.deadline is not None and time.monotonic() > options.deadline:
        statuses.append(GaugeStatus.TIME_LIMIT)
    method = " and ".join(dict.fromkeys(methods)) + f" in {len(methods)} directions of the outputs"
    return summary(design, Lam, upper + slack, directions, worst(statuses), method, options)


def outputs_row_space(design: Design, Lam: Array) -> tuple[Array, Array, float]:
    """(Lam V, V, slack) with orthonormal V (c, r) and g(Lam) <= max over |v| <= 1 of h(v) + slack.

    The slack includes the rounding of the products Lam V and of (Lam V) v, whose entries may cancel.
    """
    largest = float(np.abs(Lam).max())
    _, singular, Vt = np.linalg.svd(Lam / largest, full_matrices=False)
    V = Vt[singular > 1e-13 * singular[0]].T
    reduced = Lam @ V
    rounding = 4 * (Lam.shape[1] + 4) * EPS * largest_sum(design, Lam)
    return reduced, V, largest_sum(design, Lam - reduced @ V.T) + rounding


def summary(
    design: Design,
    Lam: Array,
    upper: float,
    directions: list[Array],
    status: GaugeStatus,
    method: str,
    options: Options,
) -> GaugeBounds:
    """The bounds with the best of the directions as the witness."""
    values = [attained(design, Lam, u) for u in directions]
    best = int(np.argmax(values))
    norm = float(np.linalg.norm(directions[best]))
    witness = directions[best] / norm if norm > 0 else np.eye(design.d)[0]
    lower = attained(design, Lam, witness)
    upper = max(upper, lower)
    resolution = 1e-11 * largest_sum(design, Lam)
    wide = upper > max(lower, options.lower) * (1 + 2 * options.tol) + resolution
    if not wide and status is not GaugeStatus.INTERRUPTED:
        status = GaugeStatus.EXACT
    elif wide and status is GaugeStatus.EXACT:
        status = GaugeStatus.NODE_LIMIT
    return GaugeBounds(lower, upper, witness, status, method)


def attained(design: Design, Lam: Array, u: Array) -> float:
    """|Lam^T (X u)_+|_2 / |u|, without overflow for huge or tiny Lam (0 for u = 0)."""
    norm, largest = float(np.linalg.norm(u)), float(np.abs(Lam).max(initial=0.0))
    if norm == 0.0 or largest == 0.0:
        return 0.0
    size = design.magnitude
    active = np.maximum(design.scaled(1.0 / size).forward(u / norm), 0)
    return float(np.linalg.norm((Lam / largest).T @ active)) * largest * size


def worst(statuses: list[GaugeStatus]) -> GaugeStatus:
    return max(statuses, key=ORDER.index)
