"""Losses: derivatives, conjugates by Fenchel-Young, the dual domain, scaling, and what they refuse."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extremal.design import Array
from extremal.losses import LOSSES, Loss, Squared, bind
from extremal.problem import best_intercept

many = settings(max_examples=60)
NAMES = sorted(LOSSES)
Case = tuple[Loss, Array, np.random.Generator]


def random_loss(name: str, rng: np.random.Generator, *, zero_weights: bool = True) -> tuple[Loss, Array]:
    """A loss bound to random targets and weights, and outputs F."""
    n, c = int(rng.integers(1, 7)), int(rng.integers(1, 4))
    if name in ("squared", "huber"):
        y = 10.0 ** rng.uniform(-1, 1) * rng.normal(size=(n, c))
    elif name == "softmax":
        y = np.eye(c + 1)[rng.integers(0, c + 1, n)]
    else:
        y = rng.choice([-1.0, 1.0], n)
    weight = rng.uniform(0.1, 3, n)
    if zero_weights and n > 1:
        weight[rng.random(n) < 0.2] = 0.0
        weight[0] = 1.5
    loss = bind(name, y, weight)
    return loss, 2 * rng.normal(size=loss.shape)


@st.composite
def cases(draw: st.DrawFn, *, zero_weights: bool = True) -> Case:
    """`random_loss` for a name and a seed, and the generator for whatever else is random."""
    name, rng = draw(st.sampled_from(NAMES)), np.random.default_rng(draw(st.integers(0, 10**6)))
    return *random_loss(name, rng, zero_weights=zero_weights), rng


def smooth_near(loss: Loss, F: Array, distance: float) -> bool:
    """Whether the loss has the second derivative that it reports within `distance` of F."""
    if loss.name == "huber":
        return bool(np.all(np.abs(F - loss.target) < loss.delta - distance))  # type: ignore[attr-defined]
    return loss.name != "squared_hinge" or bool(np.all(np.abs(1 - loss.target * F) > distance))


@many
@given(cases())
def test_dual_is_minus_the_gradient(case: Case) -> None:
    loss, F, rng = case
    direction, h = rng.normal(size=F.shape), 1e-5
    slope = (loss.value(F + h * direction) - loss.value(F - h * direction)) / (2 * h)
    assert slope == pytest.approx(-np.vdot(loss.dual(F), direction), rel=1e-6, abs=1e-6 * loss.weight.sum())


@many
@given(cases())
def test_curvature_is_the_derivative_of_the_gradient(case: Case) -> None:
    loss, F, rng = case
    h = 1e-5
    direction = rng.normal(size=F.shape)
    hessian = loss.curvature(F)
    assert np.array_equal(hessian, hessian.transpose(0, 2, 1))
    assert np.linalg.eigvalsh(hessian).min() >= -1e-14 * loss.weight.max()
    if loss.name == "huber" and rng.random() < 0.5:
        F = loss.target + 0.1 * F
        hessian = loss.curvature(F)
    if smooth_near(loss, F, 10 * h):
        change = -(loss.dual(F + h * direction) - loss.dual(F - h * direction)) / (2 * h)
        np.testing.assert_allclose(np.einsum("ikl,il->ik", hessian, direction), change, rtol=1e-5, atol=1e-8)


@many
@given(st.integers(0, 10**6))
def test_huber_is_below_its_quadratic_models(seed: int) -> None:
    """Value, gradient and curvature at F make a parabola above the loss, so that its minimiser is an improvement."""
    rng = np.random.default_rng(seed)
    loss, F = random_loss("huber", rng)
    F = 5 * F
    step = 10.0 ** rng.uniform(-2, 2) * rng.normal(size=F.shape)
    model = loss.value(F) - np.vdot(loss.dual(F), step) + 0.5 * np.einsum("ik,ikl,il", step, loss.curvature(F), step)
    assert loss.value(F + step) <= model * (1 + 1e-12) + 1e-12 * loss.value(F)


@many
@given(cases())
def test_fenchel_young(case: Case) -> None:
    """l(F) + l*(-lam) >= -<lam, F> for every lam, with equality at lam = dual(F)."""
    loss, F, rng = case
    lam = loss.dual(F)
    size = loss.value(F) + np.abs(lam * F).sum() + 1
    assert loss.value(F) == pytest.approx(loss.dual_value(lam) - np.vdot(lam, F), abs=1e-12 * size)
    for other in (
        loss.dual(F + rng.normal(size=F.shape)),
        rng.uniform(0, 1) * lam,
        0 * lam,
        rng.normal(size=F.shape),
    ):
        assert loss.dual_value(other) - np.vdot(other, F) <= loss.value(F) + 1e-12 * size


@many
@given(cases())
def test_the_dual_domain_is_convex_and_holds_zero_and_every_multiplier(case: Case) -> None:
    loss, F, _ = case
    for size in (1.0, 1e3, 1e-9):
        lam = loss.dual(size * F)
        assert np.isfinite(loss.dual_value(lam))
        for t in (0.0, 1e-12, 0.37, 1.0):
            assert np.isfinite(loss.dual_value(t * lam))
    assert loss.dual_value(np.zeros(loss.shape)) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("name", ["logistic", "huber", "softmax", "squared_hinge"])
def test_outside_the_domain_the_dual_is_minus_infinity(name: str) -> None:
    loss, F = random_loss(name, np.random.default_rng(3), zero_weights=False)
    if name == "squared_hinge":
        assert loss.dual_value(-loss.target * 0.1) == -np.inf
        return
    far = loss.dual(F) + 10 * loss.weight.max()
    assert loss.dual_value(far) == -np.inf
    assert loss.dual_value(-far) == -np.inf


@pytest.mark.parametrize("name", NAMES)
def test_a_multiplier_on_a_sample_of_weight_zero_is_outside(name: str) -> None:
    y = np.array([0.0, 1, 1]) if name == "softmax" else np.array([1.0, -1, 1])
    loss = bind(name, y, np.array([1.0, 1.0, 0.0]))
    lam = loss.dual(np.zeros(loss.shape))
    assert np.isfinite(loss.dual_value(lam))
    lam[2] = loss.target[2] * 0.1
    assert loss.dual_value(lam) == -np.inf


@many
@given(cases())
def test_samples_of_weight_zero_do_not_count(case: Case) -> None:
    loss, F, _ = case
    kept = np.flatnonzero(loss.weight)
    smaller = loss.at(kept)
    assert loss.value(F) == pytest.approx(smaller.value(F[kept]), rel=1e-13)
    assert loss.dual_value(loss.dual(F)) == pytest.approx(
        smaller.dual_value(smaller.dual(F[kept])), rel=1e-12, abs=1e-13
    )


@many
@given(cases())
def test_centred_stays_in_the_domain_with_zero_sums(case: Case) -> None:
    loss, F, _ = case
    lam = loss.dual(F)
    centred = loss.centred(lam)
    assert np.abs(centred.sum(axis=0)).max() <= 1e-13 * (np.abs(lam).sum() + loss.weight.sum())
    assert np.isfinite(loss.dual_value(centred))


@many
@given(cases(zero_weights=False))
def test_centred_changes_little_near_an_optimal_intercept(case: Case) -> None:
    loss, F, _ = case
    if not loss.holds_intercept:
        return
    b = best_intercept(loss, F, np.zeros(F.shape[1]))
    for shift in (1e-3, 1e-6, 1e-9):
        lam = loss.dual(F + (b + shift))
        moved = np.abs(loss.centred(lam) - lam).sum()
        assert moved <= 200 * shift * loss.weight.sum() / loss.weight.min() + 1e-7 * np.abs(lam).sum()


@many
@given(cases(), st.integers(-40, 40), st.integers(-40, 40))
def test_normalised_is_the_same_loss(case: Case, target_power: int, weight_power: int) -> None:
    """l(tau F) = scale * unit(F), exactly so in powers of two, and unit is of order one."""
    loss, F, _ = case
    loss = replace(loss, weight=loss.weight * 10.0**weight_power)
    if loss.name in ("squared", "huber"):
        loss = replace(loss, target=loss.target * 10.0**target_power)
    unit, tau, scale = loss.normalised()
    assert loss.value(tau * F) == pytest.approx(scale * unit.value(F), rel=1e-13)
    np.testing.assert_allclose(tau * loss.dual(tau * F), scale * unit.dual(F), rtol=1e-12, atol=0)
    assert 0.5 <= unit.weight.sum() <= 1
    assert np.abs(unit.target).max() <= 1
    assert np.frexp(tau)[0] == np.frexp(scale)[0] == 0.5


@settings(max_examples=150)
@given(cases(), st.sampled_from([1e-3, 1.0, 1e3, 1e6]))
def test_best_intercept_is_best(case: Case, size: float) -> None:
    """The gradient in the intercept vanishes; Huber's loss has no curvature far from its targets."""
    loss, F, rng = case
    if loss.name in ("squared", "huber"):
        loss = replace(loss, target=size * (loss.target + 3))
        F = size * F
    if not loss.holds_intercept:
        with pytest.raises(ValueError, match="no finite optimum"):
            best_intercept(loss, F, np.zeros(F.shape[1]))
        return
    b = best_intercept(loss, F, np.zeros(F.shape[1]))
    best = loss.value(F + b)
    for _ in range(20):
        step = 10.0 ** rng.uniform(-4, 1) * rng.normal(size=b.size) * (size if loss.name in ("squared", "huber") else 1)
        assert best <= loss.value(F + b + step) * (1 + 1e-12) + 1e-28


@pytest.mark.parametrize("name", NAMES)
def test_extreme_outputs_do_not_overflow(name: str) -> None:
    y = np.array([0.0, 1, 1]) if name == "softmax" else np.array([1.0, -1, 1])
    loss = bind(name, y)
    for size in (1e-300, 1e-20, 700.0, 800.0, 1e5):
        F = size * np.resize([1.0, -1, -1, 1, 1], loss.shape)
        lam = loss.dual(F)
        assert np.isfinite(loss.value(F))
        assert np.isfinite(lam).all()
        assert np.isfinite(loss.curvature(F)).all()
        assert loss.dual_value(lam) - np.vdot(lam, F) == pytest.approx(loss.value(F), rel=1e-12, abs=1e-12 * size)


@pytest.mark.parametrize(
    ("name", "y", "message"),
    [
        ("logistic", [0.0, 1, 2], "needs labels -1/\\+1 or 0/1.*y holds 0, 1, 2"),
        ("logistic", [[1.0, -1], [1, 1]], "in one column"),
        ("squared_hinge", [0.5, 1.0], "needs labels"),
        ("logistic", [-1.0, 0.0, 1.0], "needs labels"),
        ("softmax", [0.0, 1.5], "class numbers"),
        ("softmax", [-1.0, 1.0], "class numbers"),
        ("softmax", [0.0, 1e9], "class numbers"),
        ("softmax", [[1.0, 1.0], [0.0, 1.0]], "one-hot"),
        ("squared", ["a", "b"], "must be numeric"),
        ("squared", [1.0, np.nan], "NaN or infinity"),
        ("squared", [1.0, -np.inf], "NaN or infinity"),
        ("squared", [], "nonempty"),
        ("squared", 3.0, "nonempty vector"),
        ("squared", [[[1.0]]], "nonempty vector or matrix"),
        ("squared", [1e120, 1.0], "above 1e100"),
        ("squared", [[1.0, 2.0], [3.0]], "must be numeric"),
        ("absolute", [1.0], "unknown loss 'absolute'; choose one of huber"),
    ],
)
def test_unusable_targets(name: str, y: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        bind(name, y)  # type: ignore[arg-type]


@pytest.mark.parametrize("weight", [[1.0], [1.0, -1.0], [0.0, 0.0], [1.0, np.nan], [1.0, np.inf], [[1.0, 1.0]], 1.0])
def test_unusable_weights(weight: object) -> None:
    with pytest.raises(ValueError, match="sample_weight"):
        bind("squared", [1.0, 2.0], weight)  # type: ignore[arg-type]


def test_labels_in_both_conventions_and_class_numbers() -> None:
    assert np.array_equal(bind("logistic", [0, 1, 1]).target, bind("logistic", [-1, 1, 1]).target)
    assert np.array_equal(bind("logistic", [True, False]).target[:, 0], [1, -1])
    assert np.array_equal(bind("softmax", [0, 2]).target, [[1, 0, 0], [0, 0, 1]])
    assert bind("softmax", [0, 0]).shape == (2, 2)
    assert bind("squared", [[1.0, 2.0]]).shape == (1, 2)


def test_two_softmax_classes_are_the_logistic_loss() -> None:
    rng = np.random.default_rng(0)
    y, F = rng.integers(0, 2, 8), rng.normal(size=8)
    two = np.column_stack([-F / 2, F / 2])
    assert bind("softmax", y).value(two) == pytest.approx(bind("logistic", y).value(F[:, None]), rel=1e-14)


def test_a_bound_loss_is_taken_as_it_is() -> None:
    loss = bind("squared", [1.0, 2.0], [1.0, 3.0])
    assert isinstance(loss, Squared)
    assert bind(loss, [5.0, 6.0]) is loss
