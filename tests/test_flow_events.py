"""Ties against exact enumeration, events against gradient descent in decimals, invariants along trajectories."""

from __future__ import annotations

from decimal import Decimal, localcontext
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extremal import datasets
from extremal.flow.crossings import coefficients, first_root
from extremal.flow.fate import fate
from extremal.flow.integrate import Flow
from extremal.flow.lines import Lines
from extremal.flow.state import State, random_start
from extremal.flow.ties import field_on, resolve
from extremal.flow.trajectory import EventKind, Trajectory

NAMES = ("logistic", "exponential", "squared")


# ------------------------------------------------------------------------------------------- ties: the min-norm problem


def exact_min_norm(g0, N, low, high):
    """min |g0 + N^T tau| over low <= tau <= high: the minimiser g, by all faces of the box in fractions."""
    best = None
    for face in product("lhf", repeat=len(N)):
        free = [h for h, t in enumerate(face) if t == "f"]
        tau = [low[h] if t == "l" else high[h] for h, t in enumerate(face)]
        g = [x + sum(tau[h] * N[h][j] for h in range(len(N)) if h not in free) for j, x in enumerate(g0)]
        if free:
            gram = [[sum(p * q for p, q in zip(N[h], N[k], strict=True)) for k in free] for h in free]
            right = [-sum(p * q for p, q in zip(N[h], g, strict=True)) for h in free]
            answer = solve(gram, right)
            if answer is None or any(not low[h] <= t <= high[h] for h, t in zip(free, answer, strict=True)):
                continue
            g = [x + sum(t * N[h][j] for h, t in zip(free, answer, strict=True)) for j, x in enumerate(g)]
        size = sum(x * x for x in g)
        if best is None or size < best[0]:
            best = size, g
    return best[1]


def solve(A, b):
    """x with A x = b in fractions, None if A is singular."""
    rows = [[Fraction(t) for t in row] + [Fraction(t)] for row, t in zip(A, b, strict=True)]
    for j in range(len(rows)):
        pivot = next((i for i in range(j, len(rows)) if rows[i][j]), None)
        if pivot is None:
            return None
        rows[j], rows[pivot] = rows[pivot], rows[j]
        rows[j] = [t / rows[j][j] for t in rows[j]]
        for i in range(len(rows)):
            if i != j:
                rows[i] = [p - rows[i][j] * q for p, q in zip(rows[i], rows[j], strict=True)]
    return [row[-1] for row in rows]


small = st.integers(-3, 3)


@settings(max_examples=300)
@given(st.integers(1, 4), st.integers(1, 3), st.sampled_from([1.0, -1.0]), st.data())
def test_attracting_ties_are_the_box_problem(count, d, sign, data):
    """Any normals, dependent ones, opposite ones and more of them than dimensions included."""
    vector = st.lists(small, min_size=d, max_size=d)
    N = data.draw(st.lists(vector.filter(any), min_size=count, max_size=count))
    g0, one = data.draw(vector), data.draw(st.lists(small, min_size=count, max_size=count))
    jump = data.draw(st.lists(st.integers(1, 4), min_size=count, max_size=count))
    plus = np.array(one, float)
    minus = plus + sign * np.array(jump)  # sign (plus - minus) < 0: both sides push in, or across
    g0, N = np.array(g0, float), np.array(N, float)
    size = np.linalg.norm(N, axis=1)
    unit = g0, N / size[:, None], plus * size, minus * size
    found = resolve(*unit, sign, "on")
    low, high = ([Fraction(t) for t in f(plus, minus)] for f in (np.minimum, np.maximum))
    exact = np.array(
        [float(t) for t in exact_min_norm([Fraction(t) for t in g0], [[Fraction(t) for t in n] for n in N], low, high)]
    )
    g = field_on(found.side, *unit)
    assert found.unique
    assert g == pytest.approx(exact, abs=1e-9)
    push = sign * (N @ g)
    assert np.all(push[found.side > 0] >= -1e-9)
    assert np.all(push[found.side < 0] <= 1e-9)
    assert push[found.side == 0] == pytest.approx(0, abs=1e-9)


@given(small, small, small, st.sampled_from([1.0, -1.0]), st.sampled_from(["on", "off", "slide"]))
def test_one_tie_is_filippov(pull, plus, minus, sign, choice):
    """Slide if and only if both sides push in; branch if and only if both push away; else go along."""
    if plus == minus:
        return
    n = np.array([[0.0, 1.0]])
    found = resolve(np.array([2.0, pull]), n, np.array([float(plus)]), np.array([float(minus)]), sign, choice)
    above, below = sign * (pull + plus), sign * (pull + minus)  # velocity across on the sides + and -
    side = found.side[0]
    if above < 0 < below:
        assert side == 0
        assert found.unique
    elif below < 0 < above:
        preferred = 1.0 if abs(plus) >= abs(minus) else -1.0
        assert not found.unique
        assert side == {"on": preferred, "off": -preferred, "slide": 0.0}[choice]
    elif above > 0 and below > 0:
        assert side == 1
        assert found.unique
    elif above < 0 and below < 0:
        assert side == -1
        assert found.unique
    elif above == 0 > below or below == 0 < above:  # tangential on one side, away on the other: not unique, or out
        assert side * (above if side > 0 else below) >= 0
    else:  # tangential on one side, and the other side pushes in
        assert side == (1 if above == 0 else -1) or side == 0


@settings(max_examples=200)
@given(st.integers(2, 3), st.sampled_from([1.0, -1.0]), st.sampled_from(["on", "off", "slide"]), st.data())
def test_repelling_and_attracting_ties_together(count, sign, choice, data):
    """Whatever is chosen is a solution: on each side the field leads away from the others or along them."""
    N = np.eye(3)[:count] if data.draw(st.booleans()) else np.array([[1.0, 0, 0], [1, 1, 0], [0, 1, 2]])[:count]
    N /= np.linalg.norm(N, axis=1)[:, None]
    vector = st.lists(small, min_size=count, max_size=count)
    g0 = np.array(data.draw(st.lists(small, min_size=3, max_size=3)), float)
    plus, minus = np.array(data.draw(vector), float), np.array(data.draw(vector), float)
    if np.any(plus == minus):
        return
    found = resolve(g0, N, plus, minus, sign, choice)
    g = field_on(found.side, g0, N, plus, minus)
    assert np.all(found.side * sign * (N @ g) >= -1e-9)
    slide = found.side == 0
    if slide.any():  # the share of each row that keeps the neuron there exists
        rest = g0 + np.where(found.side > 0, plus, np.where(found.side < 0, minus, 0.0)) @ N
        tau = np.linalg.lstsq(N[slide].T, g - rest, rcond=None)[0]
        assert np.all((tau - plus[slide]) * (tau - minus[slide]) <= 1e-9)


def test_rows_without_weight_follow_the_motion():
    zero = np.zeros(2)
    found = resolve(np.array([1.0, -2.0]), np.eye(2), zero, zero, -1.0, "on")
    assert list(found.side) == [-1, 1]
    assert found.unique


# ------------------------------------------------------------------------------------------------------ roots of cubics


@given(st.lists(st.floats(-1, 1), min_size=3, max_size=3), st.floats(1e-3, 1))
def test_first_roots(tail, start):
    p0, (p1, c3, c4) = start, tail
    s = first_root(*coefficients(p0, p1, c3, c4))
    grid = np.linspace(0, 1, 17)
    values = (1 - grid) * p0 + grid * (p1 + (1 - grid) * (c3 + grid * c4))
    if s < 0:
        assert values.min() > -1e-12
    else:
        assert abs((1 - s) * p0 + s * (p1 + (1 - s) * (c3 + s * c4))) < 1e-9
        assert np.all(values[grid < s - 1 / 16] > -1e-12)


# ----------------------------------------------------------------------------------------------- the walk of a neuron


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.integers(1, 3), st.booleans())
def test_fate_is_an_ascent_of_the_frozen_field(seed, d, lattice):
    """Where a neuron comes to rest, tiny steps along the pull of the cell it is in bring it there too."""
    rng = np.random.default_rng(seed)
    X = rng.integers(-2, 3, (5, d)).astype(float) if lattice else rng.standard_normal((5, d))
    if not X.any(axis=1).all():
        return
    lam, v = rng.standard_normal(5), rng.standard_normal(d)
    v, sign = v / np.linalg.norm(v), float(rng.choice([-1.0, 1.0]))
    lines = Lines.of(X)
    end = fate(v, np.sign(v @ lines.normals.T), sign, lam, X, lines, np.zeros(len(X)))
    assert end.settled
    w = v.copy()
    for _ in range(8000):
        g = ((X @ w > 0) * lam) @ X
        w = w + sign * 4e-3 * (g - (w @ g) * w)
        w /= np.linalg.norm(w)
    growth = sign * lam @ np.maximum(X @ w, 0)
    assert max(growth, 0) == pytest.approx(np.linalg.norm(end.pull), abs=2e-2)


# ----------------------------------------------------------------------- events: tiny-step gradient descent in decimals


#: Descent that comes back to a hyperplane within GAP slides on it, unless it is gone after BRIEF; and by how much the
#: logarithms of its times may be off.
GAP, BRIEF, SLACK = 0.25, 0.04, 0.12
#: Before this time the steps of the descent are coarse.
EARLY = 0.05
#: On 14 a row slides with a share so small that the descent is back only after more than GAP.
SLOW = [s for s in range(12, 30) if s != 14]


def descend(X, y, loss, W, b, step, end):
    """Gradient descent on the loss-normalised clock in 40 digits until tau = end.

    Returns the toggles (log t, tau, neuron, row, now on), log t shortly before the end, and the weights at the end.
    """
    with localcontext() as context:
        context.prec = 40
        X, y, W, b = (exactly(part) for part in (X, y, W, b))
        step, t, tau, toggles, on, late = Decimal(step), Decimal(0), Decimal(0), [], None, None
        while tau < end:
            Z = [[sum(p * q for p, q in zip(w, x, strict=True)) for x in X] for w in W]
            now = [[z > 0 for z in row] for row in Z]
            if on is not None:
                where = float(t.ln()), float(tau)
                toggles += [
                    (*where, i, k, now[i][k]) for i, k in product(range(len(W)), range(len(X))) if now[i][k] != on[i][k]
                ]
            on = now
            f = [sum((b[i] * Z[i][k] for i in range(len(W)) if on[i][k]), Decimal(0)) for k in range(len(X))]
            lam = [slope(loss, fk, yk) for fk, yk in zip(f, y, strict=True)]
            size = sum(map(abs, y if loss == "squared" else lam))
            for i in range(len(W)):
                g = [sum((lam[k] * X[k][j] for k in range(len(X)) if on[i][k]), Decimal(0)) for j in range(len(X[0]))]
                eta = step / size
                db = eta * sum(p * q for p, q in zip(W[i], g, strict=True))
                W[i] = [p + eta * b[i] * q for p, q in zip(W[i], g, strict=True)]
                b[i] += db
            t, tau = t + step / size, tau + step
            late = t if late is None and tau > end - 2 * GAP else late
        return toggles, float(late.ln()), np.array(W, float), np.array(b, float)


def slope(loss, f, y):
    if loss == "squared":
        return y - f
    return y * (-y * f).exp() if loss == "exponential" else y / (1 + (y * f).exp())


def exactly(x):
    return [exactly(part) for part in x] if np.ndim(x) else Decimal(float(x))


def events_of(toggles, end):
    """(log t, kind, neuron, row): a boundary that goes to and fro slides."""
    found = []
    for i, k in sorted({(i, k) for _, _, i, k, _ in toggles}):
        mine = [(t, tau, now) for t, tau, a, b, now in toggles if (a, b) == (i, k)]
        runs = [[mine[0]]]
        for event in mine[1:]:
            away = event[1] - runs[-1][-1][1]
            runs[-1].append(event) if away < GAP else runs.append([event])
        for run in runs:
            (first, begin, _), (last, tau, now) = run[0], run[-1]
            if tau - begin < BRIEF and tau < end - GAP:  # to and fro in the ripples of a sliding neuron: it crosses
                if len(run) % 2:
                    found.append((first, EventKind.ON if now else EventKind.OFF, i, k))
                continue
            found.append((first, EventKind.SLIDE, i, k))
            if tau < end - GAP:
                found.append((last, EventKind.LEAVE_ON if now else EventKind.LEAVE_OFF, i, k))
    return found


def flow_events(X, y, loss, state, log_clock, **options):
    """(log t, kind, neuron, row) up to that time."""
    flow = Flow(X, y, loss, state, **options)
    while flow.log_clock < log_clock:
        flow.advance()
    run = flow.recorder.finish(X, y, loss=loss, method="flow")
    clock = np.interp(run.events["time"], run.time, np.maximum(run.log_clock, -50))
    return [
        (t, EventKind(int(e["kind"])), int(e["neuron"]), int(e["row"]))
        for t, e in zip(clock, run.events, strict=True)
        if t <= log_clock
    ], flow


def small_case(seed, loss, balanced):
    rng = np.random.default_rng(seed)
    n, d, m = int(rng.integers(3, 6)), int(rng.integers(2, 4)), int(rng.integers(1, 5))
    X = rng.standard_normal((n, d))
    X /= np.linalg.norm(X, axis=1).max()
    y = rng.standard_normal(n) if loss == "squared" else np.where(rng.random(n) < 0.5, 1.0, -1.0)
    state = random_start(d, m, 0.1, rng, balanced)
    return X, y, state


def agree(seed, loss, balanced, step, end):
    """The events of both as long as the flow is unique, sorted by neuron and row: (neuron, row, log t, kind)."""
    X, y, state = small_case(seed, loss, balanced)
    net = state.network()
    toggles, last, _, _ = descend(X, y, loss, net.hidden.T, net.output.ravel(), step, end)
    expected = events_of(toggles, end)
    found, _ = flow_events(X, y, loss, state, last, tol=1e-8)
    for t, kind, *_ in sorted([*found, *expected], reverse=True):  # no event next to the end of the comparison
        if kind in (EventKind.BRANCH, EventKind.DEATH) or abs(t - last) < SLACK:
            last = min(last, t) - SLACK
    return [sorted((i, k, t, kind) for t, kind, i, k in events if t <= last) for events in (expected, found)]


@pytest.mark.parametrize("loss", NAMES)
@pytest.mark.parametrize("balanced", [True, False])
@pytest.mark.parametrize("seed", [0, 7, 9, 23, *(pytest.param(s, marks=pytest.mark.slow) for s in SLOW)])
def test_gradient_descent_in_decimals_has_the_same_events(seed, loss, balanced):
    expected, found = agree(seed, loss, balanced, "0.0025", 10)
    assert [(i, k, kind.name) for i, k, _, kind in found] == [(i, k, kind.name) for i, k, _, kind in expected]
    # a boundary leaves a sliding row when its last share is used up: gradient descent sees that to sqrt(step)
    times = [np.log(np.exp([t for _, _, t, _ in events]) + EARLY) for events in (found, expected)]
    assert times[0] == pytest.approx(times[1], abs=SLACK)


# --------------------------------------------------------------------------------------- what holds on every trajectory


def problem(seed):
    """Data of some family, a loss and a start."""
    rng = np.random.default_rng(seed)
    n, d, m = int(rng.integers(1, 10)), int(rng.integers(1, 4)), int(rng.integers(1, 12))
    kind = seed % 5
    if kind == 0:
        X = rng.standard_normal((n, d))
    elif kind == 1:
        X = rng.integers(-1, 2, (n, d)).astype(float)  # coincident ties, zero rows
    elif kind == 2:
        X = np.column_stack([rng.standard_normal(n), np.ones(n)])
    elif kind == 3:
        X = rng.standard_normal((n, d))[rng.integers(0, n, n)] * rng.choice([1.0, 2.0, -1.0], n)[:, None]
    else:
        X, _ = datasets.orthogonally_separable(n + 1, d + 1, random_state=seed)
    X = X / max(np.linalg.norm(X, axis=1).max(), 1e-300)
    loss = NAMES[int(rng.integers(3))]
    y = rng.standard_normal(len(X)) if loss == "squared" else np.where(rng.random(len(X)) < 0.5, 1.0, -1.0)
    return X, y, loss, random_start(X.shape[1], m, 10 ** rng.uniform(-4, -1), rng, bool(rng.integers(2)))


def followed(X, y, loss, state, *, until=1e4, steps=3000, **options) -> tuple[Flow, Trajectory]:
    """The flow up to |theta|^2 = `until`, or so many steps, or rest."""
    flow = Flow(X, y, loss, state, **options)
    while flow.steps < steps and flow.time < 1e4 and np.exp(2 * flow.state.log_norms).sum() < until:
        flow.advance()
    return flow, flow.recorder.finish(X, y, loss=loss, method="flow")


@settings(max_examples=80)
@given(st.integers(0, 10**6))
def test_invariants_along_the_way(seed):
    X, y, loss, state = problem(seed)
    flow, run = followed(X, y, loss, state.copy())
    assert flow.steps < 3000
    assert all(np.isfinite(part).all() for part in (run.directions, run.log_norms, run.ratios))
    assert np.linalg.norm(run.directions, axis=2) == pytest.approx(1, abs=1e-9)
    w2 = np.exp(2 * run.log_norms)
    kept = np.abs(w2 * (1 - run.ratios**2) - state.invariants) / np.maximum(w2 * (1 + run.ratios**2), 1e-200)
    alive = run.ratios**2 < 1e12  # of a neuron near zero the ratio is all rounding
    assert kept[alive].max(initial=0) < 1e-4
    never = np.abs(state.ratios) >= 1  # |b| >= |w| > 0 for ever
    assert np.all(np.sign(run.ratios[:, never]) == np.sign(state.ratios[never]))
    balanced = np.abs(state.ratios) == 1
    assert np.all(run.ratios[:, balanced] == state.ratios[balanced])
    digits = 1e-4 * np.maximum(1, np.abs(run.log_loss[1:])) + 1e-14 * run.half_norm2[1:]  # f is that of rounded v
    assert np.all(np.diff(run.log_loss) <= digits)
    assert np.all(np.diff(run.time) >= 0)
    assert np.all(run.log_clock[1:] >= run.log_clock[:-1])
    if loss != "squared" and balanced.all():
        margin = run.smoothed_margin[run.smoothed_margin > 0]
        assert np.all(np.diff(margin) >= -1e-5 * margin[1:])
    z = flow.lines.normals @ flow.state.directions.T
    assert np.all((flow.side.T * z >= -1e-5) | flow.dead)
    assert np.abs(z[flow.side.T == 0]).max(initial=0) < 1e-12


@settings(max_examples=25)
@given(st.integers(0, 10**6))
def test_symmetries(seed):
    """Neurons in another order, rows in another order, labels and outputs negated, rows doubled: the same flow."""
    X, y, loss, state = problem(5 * seed)
    rng = np.random.default_rng(seed)
    rows, neurons = rng.permutation(len(X)), rng.permutation(state.width)
    options = {"steps": 120, "tol": 1e-8}
    flow, run = followed(X, y, loss, state.copy(), **options)
    if flow.branches:
        return
    end, at = flow.state, 1e-4
    moved = State(state.directions[neurons], state.log_norms[neurons], state.ratios[neurons])
    for other, order in (
        (followed(X[rows], y[rows], loss, state.copy(), **options), slice(None)),
        (followed(X, y, loss, moved, **options), neurons),
        (followed(X, -y, loss, State(state.directions, state.log_norms, -state.ratios), **options), slice(None)),
    ):
        found = other[0].state
        if other[0].time != pytest.approx(flow.time, rel=1e-6):
            continue  # a step more or less
        assert found.directions == pytest.approx(end.directions[order], abs=at)
        assert found.log_norms == pytest.approx(end.log_norms[order], abs=at)
        assert np.abs(found.ratios) == pytest.approx(np.abs(end.ratios[order]), rel=at, abs=at)
        assert other[1].events.size == run.events.size


def at_time(X, y, loss, state, end, **options):
    flow = Flow(X, y, loss, state.copy(), **options)
    while flow.time < end:
        flow.advance(end)
    return flow


@settings(max_examples=20)
@given(st.integers(0, 10**6), st.sampled_from([-3, 2]))
def test_scaled_rows_are_another_clock(seed, power):
    """f(2^p X; theta) = f(X; 2^(p/2) theta): norms by 2^(p/2), and w' by 2^(p/2) 2^p."""
    X, y, loss, state = problem(5 * seed)
    c = 2.0**power
    moved = State(state.directions, state.log_norms - np.log(c) / 2, state.ratios)
    flow = at_time(X, y, loss, state, 3.0, tol=1e-8)
    other = at_time(c * X, y, loss, moved, 3.0 / c, tol=1e-8)
    if flow.branches:
        return
    assert other.state.directions == pytest.approx(flow.state.directions, abs=1e-5)
    assert other.state.log_norms + np.log(c) / 2 == pytest.approx(flow.state.log_norms, abs=1e-5)


@settings(max_examples=20)
@given(st.integers(0, 10**6))
def test_copies_of_a_neuron_stay_together(seed):
    """Two copies of w / sqrt 2 and b / sqrt 2 are w and b."""
    X, y, loss, state = problem(5 * seed)
    twice = State(
        np.repeat(state.directions, 2, axis=0),
        np.repeat(state.log_norms - np.log(2) / 2, 2),
        np.repeat(state.ratios, 2),
    )
    flow, other = at_time(X, y, loss, state, 6.0, tol=1e-8), at_time(X, y, loss, twice, 6.0, tol=1e-8)
    if flow.branches:
        return
    assert other.state.directions[::2] == pytest.approx(flow.state.directions, abs=1e-5)
    assert other.state.directions[1::2] == pytest.approx(other.state.directions[::2], abs=1e-9)
    assert other.state.log_norms[::2] + np.log(2) / 2 == pytest.approx(flow.state.log_norms, abs=1e-5)


@settings(max_examples=25)
@given(st.integers(0, 10**6))
def test_error_follows_the_tolerance(seed):
    X, y, loss, state = problem(seed)
    best = at_time(X, y, loss, state, 8.0, tol=1e-11)
    if best.branches or best.dead.any() or np.abs(best.state.ratios).max() > 1e3:
        return
    for tol in (1e-5, 1e-7, 1e-9):
        found = at_time(X, y, loss, state, 8.0, tol=tol)
        assert found.state.directions == pytest.approx(best.state.directions, abs=1e4 * tol)
        assert found.state.log_norms == pytest.approx(best.state.log_norms, abs=1e4 * tol)


@pytest.mark.parametrize("family", ["gaussian", "xor", "orthogonal"])
@pytest.mark.parametrize("loss", ["logistic", "exponential"])
def test_bounds_bracket_the_optimum(family, loss):
    from extremal import max_margin

    make = {"gaussian": datasets.gaussian_labels, "xor": datasets.xor, "orthogonal": datasets.orthogonally_separable}
    X, y = make[family](6, 2, random_state=3)
    X = X / np.linalg.norm(X, axis=1).max()
    best = max_margin(X, y)
    _, run = followed(X, y, loss, random_start(2, 12, 1e-3, np.random.default_rng(0)), until=1e3)
    assert np.all(run.upper_bounds >= best.dual_value * (1 - 1e-9))
    assert np.all(run.lower_bounds(8).values <= best.value * (1 + 1e-9))
    assert run.upper_bounds[-1] < np.inf


def test_steps_stay_long_while_the_norm_grows():
    """|theta|^2 grows exponentially in tau, whatever the digits of the margins; that is a few steps for each power."""
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((6, 2)), np.where(rng.random(6) < 0.5, 1.0, -1.0)
    for loss in ("logistic", "exponential"):
        state = random_start(2, 20, 1e-3, np.random.default_rng(0))
        flow, _ = followed(X / np.linalg.norm(X, axis=1).max(), y, loss, state, until=1e8)
        assert flow.steps < 500


def test_rows_of_zeros_only():
    flow, run = followed(np.zeros((2, 2)), np.array([1.0, -1.0]), "logistic", State.of_weights(np.eye(2), np.ones(2)))
    assert flow.time >= 1e4
    assert run.log_clock[-1] == pytest.approx(np.log(flow.time))
    assert np.array_equal(flow.state.directions, np.eye(2))
    assert not flow.state.log_norms.any()


def test_a_neuron_goes_on_beyond_zero():
    """In one dimension, w' = -b on both sides of zero: nothing stops it there."""
    X, y = np.array([[1.0], [-1.0]]), np.array([-3.0, 3.0])
    flow = Flow(X, y, "squared", State.of_weights(np.array([[0.1]]), np.array([1.0])))
    while flow.time < 3:
        flow.advance(3)
    net = flow.state.network()
    assert net.hidden[0, 0] < 0 < net.output[0, 0]
    assert net.output[0, 0] ** 2 - net.hidden[0, 0] ** 2 == pytest.approx(0.99, abs=1e-5)
    kinds = [EventKind(int(k)) for k in flow.recorder.finish(X, y, loss="squared", method="flow").events["kind"]]
    assert EventKind.DEATH not in kinds
    assert EventKind.BRANCH not in kinds


def test_a_neuron_dies_where_both_sides_push_it_to_zero():
    X, y = np.array([[1.0], [-1.0]]), np.array([-3.0, -3.0])
    flow = Flow(X, y, "squared", State.of_weights(np.array([[0.1]]), np.array([1.0])))
    while flow.time < 3:
        flow.advance(3)
    events = flow.recorder.finish(X, y, loss="squared", method="flow").events
    assert [EventKind(int(k)) for k in events["kind"]] == [EventKind.DEATH]
    assert flow.state.log_norms[0] < -15
    assert flow.dead.all()


def test_a_sliding_neuron_leaves_where_its_output_weight_changes_sign():
    """What holds b > 0 on a hyperplane drives b < 0 away from it."""
    for ties in ("on", "off", "slide"):
        state = State.of_weights(np.array([[1.0, 0.2]]), np.array([0.4]))
        X = np.array([[-1.0, 1.0], [1.0, 1.0], [1.0, 0.0]])
        y = np.array([-1.0, -1.0, -1.0])
        flow = Flow(X, y, "logistic", state, ties=ties)
        while flow.time < 6:
            flow.advance(6)
        assert flow.state.ratios[0] < 0
        assert np.all(flow.side * (flow.state.directions @ flow.lines.normals.T) >= -1e-9)
