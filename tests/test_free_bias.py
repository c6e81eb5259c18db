"""The gauge with a free hidden bias against brute force, and what it is worth to a judgement."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import extremal
from extremal import Network, judgement
from extremal.design import Design
from extremal.gauge import GaugeStatus
from extremal.gauge.free_bias import FreeSearch, best_bias, free_bounds
from test_conventions import CONVENTIONS, optimum

Array = np.ndarray


def sampled(X: Array, lam: Array, W: Array) -> float:
    """max |lam^T (Xw + b)_+| over the unit columns of W and all breakpoints b = -x_i . w, by its definition."""
    Z = X @ (W / np.linalg.norm(W, axis=0))
    return float(np.abs(np.einsum("i,ijk->jk", lam, np.maximum(Z[:, :, None] - Z.T[None], 0))).max())


def directions(d: int, count: int) -> Array:
    """A fine grid of the directions in the line or the plane."""
    angles = np.linspace(0, 2 * np.pi, count, endpoint=False)
    return np.array([[1.0, -1.0]]) if d == 1 else np.array([np.cos(angles), np.sin(angles)])


def centred(rng: np.random.Generator, n: int, d: int) -> tuple[Array, Array]:
    X, lam = rng.normal(size=(n, d)), rng.normal(size=n)
    return X - X.mean(axis=0), lam - lam.mean()


@pytest.mark.parametrize(("n", "d"), [(2, 1), (12, 1), (3, 2), (7, 2), (12, 2)])
def test_closes_around_brute_force(n: int, d: int) -> None:
    X, lam = centred(np.random.default_rng(n + d), n, d)
    bounds = free_bounds(Design(X), lam, tol=1e-4, deadline=time.monotonic() + 20)
    assert bounds.status is GaugeStatus.EXACT
    assert bounds.gap <= 1.1e-4
    truth = sampled(X, lam, directions(d, 3000))
    assert truth <= bounds.upper
    assert bounds.lower <= truth * (1 + 1e-5)  # the grid is fine
    w, b = bounds.witness[:-1], bounds.witness[-1]
    assert np.linalg.norm(w) == pytest.approx(1, rel=1e-12)
    assert abs(lam @ np.maximum(X @ w + b, 0)) == pytest.approx(bounds.lower, rel=1e-9)


def spoiled(rng: np.random.Generator, kind: str) -> tuple[Array, Array]:
    """Data that are awkward in one way, and a multiplier that sums to zero."""
    n, d = int(rng.integers(4, 11)), 2
    X, lam = rng.normal(size=(n, d)), rng.normal(size=n)
    if kind == "duplicated":
        X[n // 2 :] = X[: n - n // 2]
    elif kind == "constant":
        X[:, 1] = 3.0
    elif kind == "scales":
        X *= 10.0 ** rng.choice([-6, 0, 6], size=(n, 1))
    elif kind == "rank deficient":
        X = X[:, :1] * rng.normal(size=(1, 4))
    elif kind == "zero rows":
        X[: n // 2] = 0.0
    elif kind == "no weight":
        lam[: n // 2] = 0.0
    elif kind == "far away":
        X, lam = X * 1e150, lam * 1e-200
    return X - X.mean(axis=0), lam - lam.mean()


KINDS = ("duplicated", "constant", "scales", "rank deficient", "zero rows", "no weight", "far away")


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_no_value_is_above(kind: str, seed: int) -> None:
    """Sampled neurons and the network's own way up, whenever the search ends; the time is too short for most."""
    rng = np.random.default_rng(seed)
    X, lam = spoiled(rng, kind)
    start = rng.normal(size=(X.shape[1], 3))
    bounds = free_bounds(Design(X), lam, near=start, tol=1e-3, deadline=time.monotonic() + 0.05)
    W = np.column_stack([rng.normal(size=(X.shape[1], 300)), X[np.any(X != 0, axis=1)].T])
    assert sampled(X, lam, W) <= bounds.upper
    assert sampled(X, lam, start) <= bounds.lower * (1 + 1e-9)
    assert bounds.lower <= bounds.upper
    if kind in ("constant", "rank deficient"):  # one feature in truth: the two directions are all
        line = np.linalg.svd(X)[2][0][:, None]
        assert sampled(X, lam, np.hstack([line, -line])) >= bounds.lower * (1 - 1e-9)


def test_nothing_to_bound() -> None:
    zero = free_bounds(Design(np.eye(3)), np.zeros(3))
    assert (zero.lower, zero.upper) == (0.0, 0.0)
    point = free_bounds(Design(np.zeros((3, 2))), np.array([1.0, -2.0, 1.0]))
    assert 0 <= point.lower <= point.upper <= 1e-12
    twins = free_bounds(Design(np.array([[1.0, 2.0], [1.0, 2.0], [-2.0, -4.0]])), np.array([1.0, -1.0, 0.0]))
    assert 0 <= twins.lower <= twins.upper <= 1e-11


def test_what_does_not_cancel_is_allowed_for() -> None:
    """The gauge of lam less its mean is below the bound at lam."""
    X, lam = centred(np.random.default_rng(5), 8, 2)
    off = lam + 0.01 * np.arange(8)
    bounds = free_bounds(Design(X), off, tol=1e-3, deadline=time.monotonic() + 5)
    assert sampled(X, off - off.mean(), directions(2, 500)) <= bounds.upper


def test_the_best_bias() -> None:
    rng = np.random.default_rng(2)
    for n in (1, 2, 9):
        z, mass = rng.normal(size=n), rng.normal(size=n)
        mass -= mass.mean()
        value, v = best_bias(z, mass)
        grid = np.linspace(-5, 5, 4001)
        assert value == pytest.approx(mass @ np.maximum(z + v, 0), abs=1e-12)
        assert value >= (mass @ np.maximum(z[:, None] + grid, 0)).max() - 1e-12


@pytest.mark.parametrize("exponent", [-1.0, 0.0, 0.3, 5.0])
def test_every_ball_contains_the_cylinder(exponent: float) -> None:
    """f at points of the cylinder, by the side with another column: below factor times its norm in that ball."""
    from extremal.gauge.free_bias import Cylinder

    rng = np.random.default_rng(4)
    X, lam = centred(rng, 9, 3)
    cylinder = Cylinder.around(Design(X), lam)
    search = FreeSearch([cylinder.side], 0.0)
    side, factor = search.ball(cylinder.side, exponent)
    for _ in range(50):
        w, v = rng.normal(size=3), rng.uniform(-1, 1)
        w /= np.linalg.norm(w) / rng.uniform() ** 0.2
        f = lam @ np.maximum(X @ w + v * cylinder.radius, 0)
        seen = np.append(w, v / 2**exponent) / np.sqrt(1 + 4**-exponent)
        assert np.linalg.norm(seen) <= 1 + 1e-12
        value = side.linear @ seen + side.weights @ np.maximum(side.rows @ seen, 0)
        assert cylinder.unit * factor * value == pytest.approx(f, rel=1e-10, abs=1e-12)


def test_interruption(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in any node leaves a valid interval, and a judgement that is valid too."""
    X, lam = centred(np.random.default_rng(7), 12, 2)
    truth = sampled(X, lam, directions(2, 500))
    original = FreeSearch.trial
    for stop in (1, 5, 40):
        calls = iter(range(1, 10**9))

        def trial(self: FreeSearch, *args: object, calls: object = calls, stop: int = stop) -> object:
            if next(calls) == stop:  # type: ignore[call-overload]
                raise KeyboardInterrupt
            return original(self, *args)  # type: ignore[arg-type]

        monkeypatch.setattr(FreeSearch, "trial", trial)
        bounds = free_bounds(Design(X), lam, tol=1e-6)
        assert bounds.status is GaugeStatus.INTERRUPTED
        assert truth <= bounds.upper


# ------------------------------------------------------------------------------------------------------- judgements


def judged(name: str, seconds: float) -> tuple[judgement.Judgement, float]:
    """A judgement of a random network, and the optimum of a program over all patterns."""
    rng = np.random.default_rng(len(name))
    X, w = rng.normal(size=(6, 2)) + 1.0, rng.uniform(0.5, 2.0, 6)
    y = rng.normal(size=6) + 1.0
    decay = CONVENTIONS[name]
    net = Network(rng.normal(size=(3, 2)), rng.normal(size=2), bias=True)
    found = extremal.certify(net, X, y, decay=decay, sample_weight=w, time_limit=seconds, tol=1e-5)
    return found, optimum(X, y, w, decay, "squared")


@pytest.mark.parametrize("name", ["sklearn", "free bias, penalised constant", "free bias, no constant"])
def test_bounds_of_judgements_stay_below_the_optimum(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the tree alone: D(lam) <= optimum, and D is what the multiplier proves at a gauge of beta at most."""
    monkeypatch.setattr(judgement.Way, "climb_ladder", lambda self, deadline: None)
    found, value = judged(name, 1.5)
    assert found.gauge.method == "tree over a free bias"
    assert value * 0.99 <= found.dual <= value * (1 + 1e-7)
    assert abs(found.lam.sum()) <= 1e-12 * np.abs(found.lam).sum()
    assert found.gauge.upper <= found.decay.beta * (1 + 1e-12)


def test_the_tree_never_takes_from_the_ladder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Six features, where long columns are hard to bound: with the tree the bound is larger."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 6))
    y = np.maximum(X @ rng.normal(size=6) - 0.5, 0) + 0.3 * rng.normal(size=60)
    net = Network(rng.normal(size=(7, 3)), rng.normal(size=3), bias=True)
    decay = extremal.WeightDecay(8.0, 8.0, 0.0, 0.0)
    both = extremal.certify(net, X, y, decay=decay, time_limit=2.5)
    monkeypatch.setattr(judgement, "is_affordable", lambda design, seconds: False)
    ladder = extremal.certify(net, X, y, decay=decay, time_limit=2.5)
    assert both.dual >= ladder.dual
    assert max(both.dual, ladder.dual) <= min(both.best, ladder.best)
