"""The gauge from above in low dimension: branch and bound over simplicial cones.

On the cone of u = V^T a, a >= 0, with unit generators v_k (the rows of V), the convex part of f is below the
interpolation of its values at the generators,

    sum_P w_i (x_i^T u)_+  <=  q^T a,    q_k = sum_P w_i (x_i^T v_k)_+,

and for t in [0, 1]^N the concave part is below -sum_N t_i |w_i| x_i^T u. Hence, for every vector r with
v_k^T (r + sum_N t_i |w_i| x_i) >= q_k for all k,

    max over |u| <= 1 in the cone of f(u)  <=  |r|.

The best r for given t is V^T a, with a = argmin over a >= 0 of |V^T a|^2 / 2 - e^T a and
e = q - V sum_N t_i |w_i| x_i, and t is improved by coordinate descent. A row whose sign is constant on the
cone is linear there and joins one vector `base`, so only the mixed rows are carried to the children.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from numba import njit

from extremal.design import Array
from extremal.gauge.bounds import GaugeStatus, SideBound
from extremal.gauge.sides import Side

DONE, SLICE_OVER, MORE_ROOM, DECIDED = 0, 1, 2, 3

#: Cones times rows between two looks at the clock: some hundredths of a second.
SLICE_WORK = 400_000

#: Where only time ends a search: the cones of its first slice, and the seconds that one should take.
FIRST_SLICE, SLICE_SECONDS = 50, 0.02

#: Steps of the local ascent from a direction that improves the lower bound.
ASCENT_STEPS = 20

#: The tolerance of the first search.
COARSE = 1e-2

#: Coordinate descent sweeps in t on a cone that is neither pruned nor known to survive.
SWEEPS = 100


@njit(cache=True, nogil=True)
def solve_active(gram: Array, e: Array, active: Array, a: Array, work: Array) -> bool:  # pragma: no cover - compiled
    """a = argmin of a^T G a / 2 - e^T a over the active entries, by Cholesky; False if G is singular."""
    d = e.size
    m = 0
    order = np.empty(d, np.int64)
    for k in range(d):
        a[k] = 0.0
        if active[k]:
            order[m] = k
            m += 1
    for i in range(m):
        for j in range(i + 1):
            total = gram[order[i], order[j]]
            for k in range(j):
                total -= work[i, k] * work[j, k]
            if i == j:
                if total <= 1e-14:
                    return False
                work[i, i] = np.sqrt(total)
            else:
                work[i, j] = total / work[j, j]
    for i in range(m):
        total = e[order[i]]
        for k in range(i):
            total -= work[i, k] * a[order[k]]
        a[order[i]] = total / work[i, i]
    for i in range(m - 1, -1, -1):
        total = a[order[i]]
        for k in range(i + 1, m):
            total -= work[k, i] * a[order[k]]
        a[order[i]] = total / work[i, i]
    return True


@njit(cache=True, nogil=True)
def nonnegative_projection(gram: Array, e: Array, a: Array, work: Array) -> None:  # pragma: no cover - compiled
    """a ~ argmin over a >= 0 of a^T G a / 2 - e^T a, for the Gram matrix of unit vectors, by exchanges.

    Any a >= 0 is allowed in the bound, which checks its defect; so a failure only costs tightness.
    """
    d = e.size
    active = np.ones(d, np.bool_)
    for _ in range(3 * d):
        if not solve_active(gram, e, active, a, work):
            break
        worst, change = 0.0, -1
        for k in range(d):
            if active[k]:
                slope = a[k]
            else:
                slope = -e[k]
                for j in range(d):
                    slope += gram[k, j] * a[j]
            if slope < worst - 1e-15:
                worst, change = slope, k
        if change < 0:
            break
        active[change] = not active[change]
    for k in range(d):
        a[k] = max(a[k], 0.0)
    for _ in range(3):
        for k in range(d):
            slope = e[k]
            for j in range(d):
                slope -= gram[k, j] * a[j]
            a[k] = max(a[k] + slope, 0.0)


@njit(cache=True, nogil=True)
def bound_cone(
    X: Array,
    w: Array,
    gens: Array,
    base: Array,
    rows: Array,
    z: Array,
    t: Array,
    m: int,
    cutoff: float,
    a: Array,
    r: Array,
    u: Array,
) -> tuple[float, float]:  # pragma: no cover - compiled
    """(upper bound on f over the cone, value of its concave majorant at u), improving t in place.

    Stops as soon as the bound is below the cutoff, or the majorant cannot fall below it.
    """
    d = base.size
    q = np.zeros(d)
    gram = np.empty((d, d))
    work = np.empty((d, d))
    shift = base.copy()
    e = np.empty(d)
    n_concave = 0
    for i in range(m):
        weight = w[rows[i]]
        if weight > 0:
            for k in range(d):
                if z[i, k] > 0:
                    q[k] += weight * z[i, k]
        else:
            n_concave += 1
            if t[i] != 0.0:
                for j in range(d):
                    shift[j] += weight * t[i] * X[rows[i], j]
    nearest = 1.0
    for k in range(d):
        for l in range(d):
            total = 0.0
            for j in range(d):
                total += gens[k, j] * gens[l, j]
            gram[k, l] = total
            nearest = min(nearest, total)
    spread = 1.0 / np.sqrt(max(nearest, 0.0) + (1.0 - max(nearest, 0.0)) / d)
    best = np.inf
    value = -np.inf
    for sweep in range(SWEEPS + 1):
        top = 0.0
        for k in range(d):
            total = q[k]
            for j in range(d):
                total += gens[k, j] * shift[j]
            e[k] = total
            top = max(top, total)
        nonnegative_projection(gram, e, a, work)
        size = 0.0
        for j in range(d):
            total = 0.0
            for k in range(d):
                total += a[k] * gens[k, j]
            r[j] = total
            size += total * total
        size = np.sqrt(size)
        defect = 0.0
        for k in range(d):
            total = e[k]
            for j in range(d):
                total -= gens[k, j] * r[j]
            defect = max(defect, total)
        best = min(best, min(size + spread * defect, top * spread))
        if best <= cutoff or size <= 0.0:
            break
        value = 0.0
        for k in range(d):
            value += a[k] * q[k]
        for j in range(d):
            u[j] = r[j] / size
            value += r[j] * base[j]
        value /= size
        for i in range(m):
            weight = w[rows[i]]
            if weight < 0:
                dot = 0.0
                for j in range(d):
                    dot += X[rows[i], j] * u[j]
                if dot > 0:
                    value += weight * dot
        if value > cutoff or n_concave == 0 or sweep == SWEEPS or best - value <= 1e-14:
            break
        for i in range(m):
            weight = w[rows[i]]
            if weight < 0:
                dot = 0.0
                for j in range(d):
                    dot += X[rows[i], j] * r[j]
                new = min(max(t[i] - dot / weight, 0.0), 1.0)
                change = (new - t[i]) * weight
                if change != 0.0:
                    t[i] = new
                    for j in range(d):
                        r[j] += change * X[rows[i], j]
                        shift[j] += change * X[rows[i], j]
    return best, value


@njit(cache=True, nogil=True)
def evaluate(X: Array, w: Array, linear: Array, u: Array) -> float:  # pragma: no cover - compiled
    """f(u) for a unit vector u."""
    n, d = X.shape
    value = (linear * u).sum()
    for i in range(n):
        dot = 0.0
        for j in range(d):
            dot += X[i, j] * u[j]
        if dot > 0:
            value += w[i] * dot
    return value


@njit(cache=True, nogil=True)
def ascend(X: Array, w: Array, linear: Array, u: Array) -> float:  # pragma: no cover - compiled
    """f at a local maximum above u, which is changed in place.

    With the convex rows linearised at u, f becomes q^T v - sum_N |w_i| (x_i^T v)_+, whose maximiser over the
    ball is the direction of r = q - sum_N t_i |w_i| x_i for the t in [0, 1]^N that minimises |r|.
    """
    n, d = X.shape
    t = np.empty(n)
    for i in range(n):
        t[i] = 1.0 if (X[i] * u).sum() > 0 else 0.0
    best = evaluate(X, w, linear, u)
    r = np.empty(d)
    for _ in range(ASCENT_STEPS):
        r[:] = linear
        for i in range(n):
            if (w[i] > 0 and (X[i] * u).sum() > 0) or (w[i] < 0 and t[i] > 0):
                factor = w[i] if w[i] > 0 else w[i] * t[i]
                for j in range(d):
                    r[j] += factor * X[i, j]
        for _sweep in range(SWEEPS):
            moved = 0.0
            for i in range(n):
                if w[i] > 0:
                    continue
                dot, square = 0.0, 0.0
                for j in range(d):
                    dot += X[i, j] * r[j]
                    square += X[i, j] * X[i, j]
                change = min(max(t[i] - dot / (w[i] * square), 0.0), 1.0) - t[i]
                if change != 0.0:
                    t[i] += change
                    moved = max(moved, abs(change * w[i]))
                    for j in range(d):
                        r[j] += change * w[i] * X[i, j]
            if moved <= 1e-15:
                break
        size = np.sqrt((r * r).sum())
        if size <= 0.0:
            break
        r /= size
        value = evaluate(X, w, linear, r)
        if value <= best:
            break
        gain = value - best
        best = value
        u[:] = r
        if gain <= 1e-15 * best:
            break
    return best


@njit(cache=True, nogil=True)
def choose_edge(
    w: Array, gens: Array, rows: Array, z: Array, a: Array, m: int, pair: Array
) -> None:  # pragma: no cover - compiled
    """The edge (k, l) to split: where the interpolation errs most, weighted by the maximiser of the majorant.

    The error of a row in the middle of the edge is w_i min(|z_k|, |z_l|) if its signs differ. Without any the
    longest edge is taken.
    """
    d = gens.shape[0]
    best = -1.0
    for k in range(d):
        for l in range(k + 1, d):
            error = 0.0
            for i in range(m):
                if w[rows[i]] > 0 and z[i, k] * z[i, l] < 0:
                    error += w[rows[i]] * min(abs(z[i, k]), abs(z[i, l]))
            cosine = 0.0
            for j in range(d):
                cosine += gens[k, j] * gens[l, j]
            score = error * (min(a[k], a[l]) + 0.1 * max(a[k], a[l])) + 1e-13 * (1.0 - cosine)
            if score > best:
                best = score
                pair[0] = k
                pair[1] = l


@njit(cache=True, nogil=True)
def search(
    X: Array,
    w: Array,
    linear: Array,
    gens: Array,
    base: Array,
    bounds: Array,
    coef: Array,
    first: Array,
    count: Array,
    rows: Array,
    z: Array,
    t: Array,
    state: Array,
    numbers: Array,
    witness: Array,
    tol: float,
    threshold: float,
    stop: float,
    margin: float,
    budget: int,
) -> int:  # pragma: no cover - compiled
    """Depth-first search from the open cones, for at most `budget` of them; the stack is kept in the arrays.

    A cone is pruned if its bound is at most max(lower (1 + tol) + margin, threshold); the search ends early
    if the lower bound exceeds `stop`.
    state = (open cones, cones looked at), numbers = (lower bound, largest bound among the pruned cones).
    """
    d = X.shape[1]
    size = X.shape[0]
    my_rows = np.empty(size, rows.dtype)
    my_z = np.empty((size, d))
    my_t = np.empty(size)
    new_z = np.empty(size)
    my_gens = np.empty((d, d))
    my_base = np.empty(d)
    my_a = np.empty(d)
    pair = np.empty(2, np.int64)
    r = np.empty(d)
    u = np.empty((2, d))
    for _ in range(budget):
        if state[0] == 0:
            return DONE
        if numbers[0] > stop:
            return DECIDED
        top = state[0] - 1
        cutoff = max(numbers[0] * (1.0 + tol) + margin, threshold)
        if bounds[top] <= cutoff:
            numbers[1] = max(numbers[1], bounds[top])
            state[0] = top
            continue
        parent_bound = bounds[top]
        begin = first[top]
        m = count[top]
        if begin + 2 * m > rows.size or top + 2 > bounds.size:
            return MORE_ROOM
        state[1] += 1
        for i in range(m):
            my_rows[i] = rows[begin + i]
            my_t[i] = t[begin + i]
            for k in range(d):
                my_z[i, k] = z[begin + i, k]
        my_gens[:] = gens[top]
        my_base[:] = base[top]
        my_a[:] = coef[top]
        choose_edge(w, my_gens, my_rows, my_z, my_a, m, pair)
        k1, k2 = pair[0], pair[1]
        middle = my_gens[k1] + my_gens[k2]
        length = np.sqrt((middle * middle).sum())
        middle /= length
        for i in range(m):
            new_z[i] = (my_z[i, k1] + my_z[i, k2]) / length
        place = top
        spot = begin
        for child in range(2):
            out = pair[child]
            gens[place] = my_gens
            gens[place, out] = middle
            base[place] = my_base
            kept = 0
            for i in range(m):
                low = new_z[i]
                high = new_z[i]
                for k in range(d):
                    if k != out:
                        low = min(low, my_z[i, k])
                        high = max(high, my_z[i, k])
                if high <= 0.0:
                    continue
                row = my_rows[i]
                if low >= 0.0:
                    for j in range(d):
                        base[place, j] += w[row] * X[row, j]
                    continue
                slot = spot + kept
                rows[slot] = row
                t[slot] = my_t[i]
                for k in range(d):
                    z[slot, k] = my_z[i, k]
                z[slot, out] = new_z[i]
                kept += 1
            bound, value = bound_cone(
                X,
                w,
                gens[place],
                base[place],
                rows[spot : spot + kept],
                z[spot : spot + kept],
                t[spot : spot + kept],
                kept,
                cutoff,
                coef[place],
                r,
                u[child],
            )
            bound = min(max(bound, 0.0), parent_bound)
            if bound <= cutoff:
                numbers[1] = max(numbers[1], bound)
                continue
            if value > numbers[0] and evaluate(X, w, linear, u[child]) > numbers[0]:
                numbers[0] = ascend(X, w, linear, u[child])
                witness[:] = u[child]
            bounds[place] = bound
            first[place] = spot
            count[place] = kept
            place += 1
            spot += kept
        state[0] = place
    return SLICE_OVER


@dataclass
class Stack:
    """The open cones of a search: generators, base vectors, bounds, and slices of the pool of mixed rows."""

    gens: Array
    base: Array
    bounds: Array
    coef: Array
    first: Array
    count: Array
    rows: Array
    z: Array
    t: Array

    @classmethod
    def empty(cls, cones: int, pool: int, d: int) -> Stack:
        return cls(
            gens=np.empty((cones, d, d)),
            base=np.empty((cones, d)),
            bounds=np.empty(cones),
            coef=np.empty((cones, d)),
            first=np.empty(cones, np.int64),
            count=np.empty(cones, np.int64),
            rows=np.empty(pool, np.int32),
            z=np.empty((pool, d)),
            t=np.empty(pool),
        )

    def grown(self) -> Stack:
        """The same stack with twice the room."""
        bigger = Stack.empty(2 * self.bounds.size, 2 * self.rows.size, self.base.shape[1])
        for name, old in vars(self).items():
            getattr(bigger, name)[: old.shape[0]] = old
        return bigger


def orthants(side: Side, axis: Array) -> Stack:
    """The 2^d orthants of a basis in which `axis` is the diagonal of the first one."""
    n, d = side.rows.shape
    basis = diagonal_basis(axis)
    stack = Stack.empty(2**d + 64, (2**d + 8) * n, d)
    for k in range(2**d):
        signs = np.array([-1.0 if k >> j & 1 else 1.0 for j in range(d)])
        gens = signs[:, None] * basis
        z = side.rows @ gens.T
        positive = (z >= 0).all(axis=1)
        mixed = np.flatnonzero(~positive & (z > 0).any(axis=1))
        start = int(stack.first[k - 1] + stack.count[k - 1]) if k else 0
        stop = start + mixed.size
        stack.gens[k], stack.first[k], stack.count[k] = gens, start, mixed.size
        stack.base[k] = side.linear + side.weights[positive] @ side.rows[positive]
        stack.rows[start:stop], stack.z[start:stop], stack.t[start:stop] = mixed, z[mixed], 0.5
        stack.bounds[k] = side.trivial
        stack.coef[k] = 1.0
    return stack


def diagonal_basis(axis: Array) -> Array:
    """An orthonormal basis (its rows) whose (1, ..., 1) / sqrt(d) is along the axis: a reflection."""
    d = axis.size
    size = float(np.linalg.norm(axis))
    diagonal = np.full(d, d**-0.5)
    mirror = diagonal - (axis / size if size > 0 else diagonal)
    length = float(mirror @ mirror)
    return np.eye(d) - (2 / length) * np.outer(mirror, mirror) if length > 1e-20 else np.eye(d)


def cone_bound(
    side: Side,
    *,
    tol: float = 1e-6,
    deadline: float | None = None,
    lower: float = 0.0,
    witness: Array | None = None,
    threshold: float | None = None,
    max_nodes: int | None = None,
) -> SideBound:
    """lower <= m <= upper by branch and bound, for a side of rank 2 to 6 or so.

    A coarse search comes first: depth first, a fine one may otherwise lose itself around a poor local
    maximum.

    Parameters
    ----------
    side : Side
    tol : float
        Cones with a bound of at most lower (1 + tol) are pruned.
    deadline : float, optional
        A time of time.monotonic(). The search stops soon after it, with a valid interval.
    lower : float
        A known number to prune with, of this side or of a larger one; if it exceeds m, `upper` is at most
        lower (1 + tol).
    witness : array (d,), optional
        A good direction; the first cones are laid around it.
    threshold : float, optional
        Stop as soon as upper <= threshold or lower > threshold is known.
    max_nodes : int, optional
        The largest number of cones to split.

    Returns
    -------
    SideBound
        Status EXACT if the search ended, at the tolerance or the threshold.
    """
    u = np.ones(side.rank) if witness is None else np.array(witness, dtype=np.float64)
    upper = side.trivial
    stops = Stops(deadline, max_nodes, 0.0, np.inf)
    if threshold is not None:
        stops = Stops(deadline, max_nodes, threshold - side.rounding, threshold + side.rounding)
    status = GaugeStatus.EXACT
    for level in (COARSE, tol) if tol < COARSE else (tol,):
        numbers = np.array([max(lower, side.value(u), 0.0), 0.0])
        found, status = run_search(side, u, numbers, level, stops)
        upper = min(upper, found)
        if status is not GaugeStatus.EXACT or numbers[0] > stops.above or upper <= stops.below:
            break
    return SideBound(max(side.value(u), 0.0), upper + side.rounding, u, status)


@dataclass(frozen=True)
class Stops:
    """What ends a search: a time, a number of cones, a small upper bound, a large lower bound."""

    deadline: float | None
    max_nodes: int | None
    below: float
    above: float


def run_search(side: Side, u: Array, numbers: Array, tol: float, stops: Stops) -> tuple[float, GaugeStatus]:
    """The upper bound of one search in slices; u and numbers[0] are improved in place."""
    n, d = side.rows.shape
    stack = orthants(side, u)
    state = np.array([2**d, 0])
    most = max(1, SLICE_WORK // (n + 20))
    # cones differ in cost by orders of magnitude: where time counts, and not their number, the clock is asked early
    timed = stops.deadline is not None and stops.max_nodes is None
    budget = min(FIRST_SLICE, most) if timed else most
    status = GaugeStatus.EXACT
    try:
        while True:
            began = time.monotonic()
            code = search(
                side.rows, side.weights, side.linear, stack.gens, stack.base, stack.bounds, stack.coef,
                stack.first, stack.count, stack.rows, stack.z, stack.t, state, numbers, u,
                tol, stops.below, stops.above, side.rounding, budget,
            )  # fmt: skip
            if code == MORE_ROOM:
                stack = stack.grown()
            elif code != SLICE_OVER:
                break
            elif stops.deadline is not None and time.monotonic() > stops.deadline:
                status = GaugeStatus.TIME_LIMIT
                break
            elif stops.max_nodes is not None and state[1] >= stops.max_nodes:
                status = GaugeStatus.NODE_LIMIT
                break
            elif timed:
                quick = time.monotonic() < began + SLICE_SECONDS
                budget = min(2 * budget, most) if quick else max(budget // 2, 1)
    except KeyboardInterrupt:
        status = GaugeStatus.INTERRUPTED
    return max(numbers[0], numbers[1], stack.bounds[: state[0]].max(initial=0.0)), status
