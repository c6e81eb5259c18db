"""The gauge from above: for each sign the method that suits its rank and its number of convex rows.

Measured costs decide (benchmarks/gauge.py, benchmarks/proof.py): the plane is walked around; a few million
multiplications pay for all cells in any rank; cones win up to rank five, the more the more rows there are; from rank
six on, and where cones or cells do not finish, the tree of signs. Where even one node of that is too large, a
relaxation by first-order steps is all.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from extremal.design import Array, Design
from extremal.gauge.bounds import GaugeBounds, GaugeStatus, SideBound
from extremal.gauge.cells import MOVED, cell_bound, cell_work
from extremal.gauge.cones import cone_bound
from extremal.gauge.faces import face_bound
from extremal.gauge.outputs import MANY_OUTPUTS, largest_height
from extremal.gauge.relaxation import relaxed_bound
from extremal.gauge.several import several_bound
from extremal.gauge.sides import EPS, Reduction, Side, reduce_side
from extremal.gauge.tree import Search, node_work

#: Up to this rank the sphere is divided into cones.
CONE_RANK = 5

#: Up to this rank that can be asked for; the first division is into 2^rank cones.
MOST_CONE_RANK = 8

#: What can be asked for by name.
METHODS = ("cells", "cones", "tree", "relaxation")

#: Cells are visited at once if they cost no more multiplications than this; otherwise if the cones did not finish.
QUICK_WORK = 2e7

#: Multiplications in a second, and those that splitting a cone is worth; the most cones if nobody sets a limit.
WORK_PER_SECOND, WORK_OF_A_NODE, MOST_NODES = 2e9, 1e5, 2_000_000

#: With several outputs: the directions that are tried at most unless only time limits them, the share of the remaining
#: time and of the nodes that one may take, and the share of the largest height below which the others may stay unknown.
MOST_DIRECTIONS, DIRECTION_SHARE, FAR_BELOW = 2000, 0.1, 0.9

#: The share of the remaining time for the first of the two searches of several outputs, and the most nodes of the joint
#: one where nothing limits time.
FIRST_SHARE, JOINT_NODES = 0.7, 100

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
    method: str = "auto"
    n_jobs: int = 1
    report: Callable[[float], None] | None = None
    unfinished: list[Unfinished] | None = None

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
    def affordable_at_once(self) -> float:
        """The multiplications that a single bound may cost, whatever the limit on their number."""
        return replace(self, max_nodes=MOST_NODES).affordable

    def decided_by(self, lower: float) -> bool:
        """Whether this lower bound answers the question of the threshold."""
        return self.threshold is not None and lower > self.threshold

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
    method: str = "auto",
    n_jobs: int = 1,
    report: Callable[[float], None] | None = None,
    unfinished: list[Unfinished] | None = None,
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
        The largest number of cones to split, for each sign; of cells and of signs as many as cost the same.
    method : str
        "auto", or one of METHODS.
    n_jobs : int
        Threads of the tree of signs.
    report : callable, optional
        Is told upper bounds while they fall.
    unfinished : list, optional
        For one output, a tree of signs that was stopped early is added to it.

    Returns
    -------
    GaugeBounds
        Its `lower` is attained by its `witness`. After Ctrl-C the status is INTERRUPTED, the interval is
        valid.
    """
    multiplier = np.asarray(lam, dtype=np.float64).reshape(design.n, -1)
    start = np.ones(design.d) if witness is None else np.asarray(witness, dtype=np.float64)
    known = max(float(lower), attained(design, multiplier, start))
    options = Options(tol, deadline, known, threshold, max_nodes, method, n_jobs, report, unfinished)
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
    options = reduction_options(reduction, options)
    signed = [Side(side.rows, sign * side.weights, sign * side.linear) for sign in (1.0, -1.0)]
    bounds = [trivial_bound(s) for s in signed]
    methods: list[str] = []
    search, still_open = None, []
    try:
        for i, share in ((0, 0.5), (1, 1.0)):
            current = replace(options, deadline=options.until(share))
            bounds[i], used = one_side(signed[i], current, reduction.coordinates(start))
            options = replace(options, lower=max(options.lower, bounds[i].lower))
            methods += used
            if bounds[i].status is GaugeStatus.INTERRUPTED:
                raise KeyboardInterrupt
        still_open = [i for i in (0, 1) if not is_settled(bounds[i], options)]
        if still_open and not (options.decided_by(options.lower) or options.method in ("cells", "cones")):
            settled = max((bounds[i].upper for i in (0, 1) if i not in still_open), default=0.0)
            found, name, search = together([signed[i] for i in still_open], at_least(options, settled))
            for i, bound in zip(still_open, found, strict=True):
                bounds[i] = tighter(bounds[i], bound)
            methods.append(name)
    except KeyboardInterrupt:
        bounds = [replace(bound, status=GaugeStatus.INTERRUPTED) for bound in bounds]
    sides = in_units(reduction, bounds, ", ".join(dict.fromkeys(methods)) or "trivial")
    if options.unfinished is not None and search is not None and search.heap:
        options.unfinished.append(Unfinished(search, still_open, bounds, reduction, sides.method))
    return sides


def in_units(reduction: Reduction, bounds: list[SideBound], method: str) -> Sides:
    """The bounds of the two sides in the units of the data."""
    uppers = [reduction.scale * (bound.upper + reduction.slack) * (1 + 8 * EPS) for bound in bounds]
    directions = [reduction.direction(bound.u) for bound in bounds]
    return Sides((uppers[0], uppers[1]), directions, worst([bound.status for bound in bounds]), method)


@dataclass(frozen=True, eq=False)
class Unfinished:
    """A tree of signs that was stopped early, and what is known of the sides besides."""

    search: Search
    open_sides: list[int]
    bounds: list[SideBound]
    reduction: Reduction
    method: str

    @property
    def settled(self) -> list[SideBound]:
        """The sides that other searches settled, and something that is no bound, so that there is a largest."""
        others = [bound for i, bound in enumerate(self.bounds) if i not in self.open_sides]
        return [*others, SideBound(0.0, 0.0, np.zeros(0), GaugeStatus.EXACT)]

    @property
    def excess(self) -> float:
        """What is left of the excess of the upper bound over the lower one, as a share of that of the root."""
        search = self.search
        return (search.upper - search.lower) / max(search.first - search.lower, 1e-300)

    def resumed(
        self,
        design: Design,
        lam: Array,
        known: GaugeBounds,
        *,
        tol: float,
        deadline: float | None,
        max_nodes: float,
        n_jobs: int,
        report: Callable[[float], None] | None = None,
    ) -> GaugeBounds:
        """What is known of the same multiplier after so many more nodes at most, from where the search stopped."""
        search = self.search
        scale, slack = self.reduction.scale, self.reduction.slack

        def tell(upper: float) -> None:
            if report is not None:
                report(scale * (max(upper, *(bound.upper for bound in self.settled)) + slack) * (1 + 8 * EPS))

        status = search.run(deadline=deadline, max_nodes=search.nodes + max_nodes, n_jobs=n_jobs, report=tell)
        for i, bound in zip(self.open_sides, search.bounds(status), strict=True):
            self.bounds[i] = replace(tighter(self.bounds[i], bound), status=status)
        sides = in_units(self.reduction, self.bounds, self.method)
        options = Options(tol, deadline, known.lower, None, None)
        directions = [known.witness, *sides.directions]
        return summary(design, lam.reshape(design.n, -1), sides.upper, directions, status, sides.method, options)


def reduction_options(reduction: Reduction, options: Options) -> Options:
    """The options in the units of the Side."""
    threshold, report = options.threshold, options.report
    if threshold is not None:
        threshold = max(threshold / reduction.scale * (1 - 16 * EPS) - reduction.slack, 0.0)

    def tell(upper: float) -> None:
        if report is not None:
            report(reduction.scale * (upper + reduction.slack) * (1 + 8 * EPS))

    return replace(
        options,
        lower=options.lower / reduction.scale,
        threshold=threshold,
        report=None if report is None else tell,
    )


def at_least(options: Options, upper: float) -> Options:
    """The options with reports that know the bound of a side which is settled."""
    report = options.report
    return options if report is None else replace(options, report=lambda value: report(max(value, upper)))


def trivial_bound(side: Side) -> SideBound:
    """What is known without any search: the sum of the positive weights."""
    u = np.ones(side.rank)
    return SideBound(max(side.value(u), 0.0), side.trivial + side.rounding, u, GaugeStatus.RELAXATION)


def one_side(side: Side, options: Options, start: Array) -> tuple[SideBound, list[str]]:
    """The searches that look at one side alone: faces in the plane, cones, cheap cells."""
    if side.weights.size == 0:
        length = float(np.linalg.norm(side.linear))
        return SideBound(length, length + side.rounding, side.linear, GaugeStatus.EXACT), ["linear"]
    if side.rank <= 2 and options.method in ("auto", "cones"):
        return face_bound(side), ["faces"]
    work = cell_work(side)
    bound = trivial_bound(side)
    used: list[str] = []
    for name, search in searches_of(side, work, options):
        bound = tighter(bound, search(side, work, options, bound.u if used else start))
        used.append(name)
        if is_settled(bound, options):
            break
    return bound, used


def searches_of(side: Side, work: float, options: Options) -> list[tuple[str, Callable[..., SideBound]]]:
    """The cheaper first. Cells come last where the tree of signs comes before."""
    cells, cones = ("cells", by_cells), ("cones", by_cones)
    if options.method == "cones" and side.rank > MOST_CONE_RANK:
        raise ValueError(
            f"cones divide spheres of rank {MOST_CONE_RANK} at most, not {side.rank}; method='tree' suits it"
        )
    if options.method != "auto":
        return [search for search in (cells, cones) if search[0] == options.method]
    chosen = [cells] if work <= min(options.affordable, np.inf if side.rank <= CONE_RANK else QUICK_WORK) else []
    if side.rank <= CONE_RANK:
        chosen.insert(1 if work <= QUICK_WORK else 0, cones)
    return chosen


def together(sides: list[Side], options: Options) -> tuple[list[SideBound], str, Search | None]:
    """The tree of signs over all sides, or their relaxation where not even the roots of the tree can be afforded."""
    work = node_work(*sides[0].rows.shape)
    if options.method == "relaxation" or (options.method == "auto" and len(sides) * work > options.affordable_at_once):
        bounds = [relaxed_bound(side, deadline=options.deadline, target=options.target) for side in sides]
        return bounds, "relaxation", None
    search = Search(sides, options.lower, tol=options.tol, threshold=options.threshold)
    nodes = np.inf if options.max_nodes is None else options.max_nodes * WORK_OF_A_NODE / work
    status = search.run(
        deadline=options.deadline, max_nodes=max(nodes, 1.0), n_jobs=options.n_jobs, report=options.report
    )
    return search.bounds(status), "tree", search


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
    # nearly parallel rows can end a coordinate descent early: exact in name, but wide
    narrow = bound.upper <= max(options.target, bound.lower * (1 + options.tol)) + 2 * MOVED
    return (
        (bound.status is GaugeStatus.EXACT and narrow)
        or bound.status is GaugeStatus.INTERRUPTED
        or options.decided_by(bound.lower)
    )


def tighter(first: SideBound, second: SideBound) -> SideBound:
    """Both bounds together, with the status of the second unless the first search came to its end, or nearer to it."""
    lower, u = max(((b.lower, b.u) for b in (first, second)), key=lambda pair: pair[0])
    replaced = second.status in (GaugeStatus.EXACT, GaugeStatus.INTERRUPTED) or first.status is GaugeStatus.RELAXATION
    return SideBound(lower, min(first.upper, second.upper), u, second.status if replaced else first.status)


def several_outputs(design: Design, Lam: Array, options: Options, start: Array) -> GaugeBounds:
    """Few outputs in low rank: their directions first, each is quick and exact; otherwise all outputs at once first."""
    quick = Lam.shape[1] <= MANY_OUTPUTS and min(design.n, design.d) <= CONE_RANK + 1
    if options.method != "auto":
        return over_directions(design, Lam, options, start)
    first, second = (over_directions, all_at_once) if quick else (all_at_once, over_directions)
    bounds = first(design, Lam, replace(options, deadline=options.until(FIRST_SHARE)), start)
    if is_answered(bounds, options):
        return bounds
    try:
        options = replace(options, lower=max(options.lower, bounds.lower))
        other = second(design, Lam, options, bounds.witness)
    except KeyboardInterrupt:
        return replace(bounds, status=GaugeStatus.INTERRUPTED)
    better = bounds if bounds.upper <= other.upper else other
    method = other.method if other.upper < bounds.upper else bounds.method
    status = other.status if other.status is GaugeStatus.INTERRUPTED else better.status
    return summary(design, Lam, better.upper, [bounds.witness, other.witness], status, method, options)


def is_answered(bounds: GaugeBounds, options: Options) -> bool:
    """Whether a search ended with what was asked of it, or by Ctrl-C."""
    decided = options.threshold is not None and max(bounds.lower, options.lower) > options.threshold
    target = max(options.lower, bounds.lower) * (1 + options.tol)
    enough = bounds.upper <= max(target, options.threshold or 0.0)
    return decided or enough or bounds.status in (GaugeStatus.EXACT, GaugeStatus.INTERRUPTED)


def all_at_once(design: Design, Lam: Array, options: Options, start: Array) -> GaugeBounds:
    """The relaxation of all outputs together, and its branches."""
    nodes = JOINT_NODES if options.deadline is None else None
    if options.max_nodes is not None and options.max_nodes < MOST_NODES:
        nodes = min(options.max_nodes, nodes or options.max_nodes)
    found = several_bound(
        design,
        Lam,
        tol=options.tol,
        deadline=options.deadline,
        lower=options.lower,
        threshold=options.threshold,
        max_nodes=nodes,
    )
    return summary(design, Lam, found.upper, [start, found.u], found.status, "joint relaxation", options)


def over_directions(design: Design, Lam: Array, options: Options, start: Array) -> GaugeBounds:
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
        current = Options(options.tol, deadline, needed * lower, None, nodes, options.method, options.n_jobs)
        sides = both_sides(design, reduced @ v, current, start)
        statuses.append(sides.status)
        methods.append(sides.method)
        for u in sides.directions:
            value = attained(design, Lam, u)
            if value > lower:
                lower, directions[1:] = value, [u]
        return sides.uppers

    def is_enough(upper: float) -> bool:
        late = options.deadline is not None and time.monotonic() > options.deadline
        target = max(lower * (1 + options.tol), options.threshold or 0.0)
        return upper + slack <= target or options.decided_by(lower) or late or GaugeStatus.INTERRUPTED in statuses

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
