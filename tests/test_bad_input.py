"""What users get wrong, and data at the edge: a clear error or the right answer, and never a warning."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import sparse

import extremal
import reference
from extremal import Network, Status

X = np.array([[1.0, 2.0], [0.5, -1.0], [-1.0, 0.3], [2.0, 0.1], [-0.4, -0.7]])
y = np.array([1.0, -0.5, 0.3, 2.0, -1.0])
labels = np.array([1.0, -1.0, 1.0, 1.0, -1.0])


def at(index: tuple[int, int], value: float) -> np.ndarray:
    changed = X.copy()
    changed[index] = value
    return changed


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"X": at((1, 1), np.nan)}, "NaN or infinity"),
    ({"X": at((0, 0), np.inf)}, "NaN or infinity"),
    ({"X": at((0, 0), -np.inf)}, "NaN or infinity"),
    ({"X": sparse.csr_matrix(at((0, 0), np.nan))}, "NaN"),
    ({"X": [["a", "b"]] * 5}, "string|convert|numeric"),
    ({"X": X + 1j}, "[Cc]omplex"),
    ({"X": X[:, 0]}, "two-dimensional.*reshape"),
    ({"X": X[:, 0].tolist()}, "2D array|two-dimensional"),
    ({"X": X[None]}, "shape|dim"),
    ({"X": np.zeros((0, 2)), "y": []}, "nonempty|minimum|sample"),
    ({"X": np.zeros((5, 0))}, "nonempty|feature"),
    ({"X": [], "y": []}, "2D array|nonempty|two-dimensional"),
    ({"X": [[1.0, 2.0], [3.0]]}, "inhomogeneous|sequence"),
    ({"X": X[:4]}, "X has 4 rows and y has 5"),
    ({"X": 1e151 * X}, "above 1e\\+150 in magnitude; rescale"),
    ({"y": y[:3]}, "X has 5 rows and y has 3"),
    ({"y": [1.0, np.nan, 0, 0, 0]}, "y contains NaN or infinity"),
    ({"y": [1.0, np.inf, 0, 0, 0]}, "y contains NaN or infinity"),
    ({"y": list("abcde")}, "y must be numeric"),
    ({"y": [None] * 5}, "y"),
    ({"y": 3.0}, "nonempty vector"),
    ({"y": y[:, None, None]}, "vector or matrix"),
    ({"y": np.zeros((5, 0))}, "nonempty"),
    ({"y": 1e101 * y}, "above 1e100"),
    ({"beta": 0.0}, "beta must be positive"),
    ({"beta": -1.0}, "beta must be positive"),
    ({"beta": np.nan}, "beta must be positive and finite"),
    ({"beta": np.inf}, "beta must be positive and finite"),
    ({"beta": 1e-300}, "beta is too small|rescale"),
    ({"beta": "much"}, "beta|float"),
    ({"loss": "hinge"}, "unknown loss 'hinge'; choose one of"),
    ({"loss": "logistic"}, "labels -1/\\+1 or 0/1"),
    ({"loss": "logistic", "y": [1, 2, 1, 2, 1]}, "labels -1/\\+1 or 0/1"),
    ({"loss": "squared_hinge"}, "labels"),
    ({"loss": "softmax"}, "class numbers"),
    ({"loss": "logistic", "y": np.ones(5), "intercept": True}, "only one class"),
    ({"loss": "softmax", "y": [0, 2, 2, 0, 0], "intercept": True}, "class"),
    ({"bias": "free"}, "bias must be 'penalized' or 'none'"),
    ({"sample_weight": -np.ones(5)}, "sample_weight.*nonnegative"),
    ({"sample_weight": np.zeros(5)}, "sample_weight.*not all zero"),
    ({"sample_weight": np.ones(4)}, "sample_weight must have shape \\(5,\\)"),
    ({"sample_weight": [1, 1, np.nan, 1, 1]}, "sample_weight must be finite"),
    ({"sample_weight": [1, 1, np.inf, 1, 1]}, "sample_weight must be finite"),
    ({"tol": 0.0}, "tol must be positive"),
    ({"tol": -1.0}, "tol must be positive"),
    ({"tol": np.nan}, "tol must be positive"),
    ({"time_limit": 0.0}, "time_limit must be positive"),
    ({"time_limit": -3}, "time_limit must be positive"),
    ({"start": Network(np.ones((5, 1)), np.ones(1))}, "starting network"),
    ({"start": Network(np.ones((3, 1)), np.ones((1, 2)))}, "starting network"),
]


@pytest.mark.parametrize(
    ("changed", "message"), REFUSED, ids=[f"{i}-{'-'.join(case)}" for i, (case, _) in enumerate(REFUSED)]
)
def test_refused(changed: dict[str, Any], message: str) -> None:
    arguments = {"X": X, "y": y, "beta": 0.1, **changed}
    with pytest.raises(ValueError, match=message):
        extremal.fit(arguments.pop("X"), arguments.pop("y"), **arguments)


def test_certify_refuses_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="maps 4 features to 1 outputs; the data have 2 and 1"):
        extremal.certify(Network(np.ones((4, 1)), np.ones(1)), X, y, beta=0.1)
    with pytest.raises(ValueError, match="to 2 outputs"):
        extremal.certify(Network(np.ones((2, 1)), np.ones((1, 2))), X, y, beta=0.1)
    with pytest.raises(ValueError, match="output intercept"):
        extremal.certify(Network(np.ones((2, 1)), np.ones(1), [1.0]), X, y, beta=0.1, intercept=False)
    with pytest.raises(ValueError, match="X has 5 rows and y has 4"):
        extremal.certify(Network(np.ones((2, 1)), np.ones(1)), X, y[:4], beta=0.1)
    with pytest.raises(ValueError, match="NaN or infinity"):
        extremal.certify(Network(np.ones((2, 1)), np.ones(1)), at((0, 0), np.nan), y, beta=0.1)


def test_gauge_refuses_what_does_not_fit() -> None:
    for lam, message in ((y[:3], "shape \\(5,\\)"), (y * np.nan, "NaN"), (np.ones((5, 0)), "shape"), (1.0, "shape")):
        with pytest.raises(ValueError, match=message):
            extremal.gauge(X, lam)


# ---------------------------------------------------------------------------------------------- unusual but answerable


def solved(data: Any, target: Any, beta: float, **model: Any) -> float:
    result = extremal.fit(data, target, beta=beta, tol=1e-8, **model)
    assert result.certificate.gap <= 1e-6
    return result.certificate.primal


def answer_or_refusal(data: Any, target: Any, **model: Any) -> extremal.FitResult | None:
    """The fit, or None if it is refused in words that say what to do."""
    try:
        return extremal.fit(data, target, **model)
    except ValueError as error:
        if "rescale" not in str(error):
            raise
        return None


def test_every_container_gives_the_same_answer() -> None:
    pandas, polars = pytest.importorskip("pandas"), pytest.importorskip("polars")
    expected = solved(X, y, 0.1)
    for data in (
        X.tolist(),
        np.asfortranarray(X),
        X[::-1][::-1],
        sparse.csr_matrix(X),
        sparse.coo_array(X),
        sparse.csc_matrix(X),
    ):
        assert solved(data, y, 0.1) == pytest.approx(expected, rel=1e-8)
    assert solved(pandas.DataFrame(X), pandas.Series(y), 0.1) == pytest.approx(expected, rel=1e-8)
    assert solved(polars.DataFrame(X), polars.Series(y), 0.1) == pytest.approx(expected, rel=1e-8)
    assert solved(X, y[:, None], 0.1) == pytest.approx(expected, rel=1e-8)
    assert solved(X, y.tolist(), 0.1, sample_weight=[1] * 5) == pytest.approx(expected, rel=1e-8)


def test_float32_and_integers() -> None:
    grid = np.array([[1, 2], [0, -1], [-1, 0], [2, 0]])
    target = np.array([1, -1, 0, 2])
    expected = solved(grid.astype(float), target.astype(float), 0.1)
    for kind in (np.float32, np.int64, np.int8, np.float16):
        assert solved(grid.astype(kind), target.astype(kind), 0.1) == expected
    assert solved(grid, target, np.float32(0.1)) == pytest.approx(expected, rel=1e-6)


def test_read_only_data_are_not_changed() -> None:
    data, target = X.copy(), y.copy()
    data.flags.writeable = target.flags.writeable = False
    extremal.fit(data, target, beta=0.1)
    np.testing.assert_array_equal(data, X)


@pytest.mark.parametrize("bias", ["none", "penalized"])
@pytest.mark.parametrize("loss", ["squared", "logistic", "huber", "squared_hinge"])
def test_zero_data(loss: str, bias: str) -> None:
    target = y if loss in ("squared", "huber") else labels
    best = reference.solve(np.zeros((5, 2)), target, 0.1, loss=loss, bias=bias)
    result = extremal.fit(np.zeros((5, 2)), target, beta=0.1, loss=loss, bias=bias, tol=1e-8)
    assert result.certificate.primal == pytest.approx(best.value, rel=1e-8)
    assert result.certificate.gap <= 1e-6
    assert bias == "penalized" or result.network.width == 0


@pytest.mark.parametrize("intercept", [False, True])
def test_zero_targets(intercept: bool) -> None:
    for loss in ("squared", "huber"):
        result = extremal.fit(X, np.zeros(5), beta=0.1, loss=loss, intercept=intercept)
        assert result.network.width == 0
        assert result.certificate.primal == result.certificate.gap == 0
        assert result.status is Status.OPTIMAL
    assert extremal.beta_max(X, np.zeros(5)) == 0


@pytest.mark.parametrize("constant", [0.1, -3.0, 1e-30, 1e30])
def test_constant_targets(constant: float) -> None:
    """With a free intercept nothing else is needed, up to rounding; without one it is a usual problem."""
    result = extremal.fit(X, np.full(5, constant), beta=0.1 * abs(constant), intercept=True)
    assert result.network.width == 0
    assert result.certificate.primal <= 1e-28 * constant**2
    best = reference.solve(X, np.full(5, np.sign(constant)), 0.1, bias="penalized")
    assert solved(X, np.full(5, constant), 0.1 * abs(constant)) == pytest.approx(constant**2 * best.value, rel=1e-8)


@pytest.mark.parametrize("loss", ["logistic", "squared_hinge"])
def test_one_class(loss: str) -> None:
    best = reference.solve(X, np.ones(5), 0.1, loss=loss, bias="penalized")
    assert solved(X, np.ones(5), 0.1, loss=loss) == pytest.approx(best.value, rel=1e-8)
    if loss == "squared_hinge":
        assert extremal.fit(X, np.ones(5), beta=0.1, loss=loss, intercept=True).certificate.primal == 0


def test_one_class_of_several() -> None:
    result = extremal.fit(X, np.zeros(5), beta=0.1, loss="softmax", time_limit=2)
    assert result.certificate.dual <= result.certificate.primal < 5 * np.log(2)


def test_a_class_of_weight_zero_leaves_one_class() -> None:
    with pytest.raises(ValueError, match="class"):
        extremal.fit(X, labels, beta=0.1, loss="logistic", intercept=True, sample_weight=(labels > 0).astype(float))
    best = reference.solve(X[labels > 0], np.ones(3), 0.1, loss="logistic", bias="none")
    weighted = solved(X, labels, 0.1, loss="logistic", bias="none", sample_weight=(labels > 0).astype(float))
    assert weighted == pytest.approx(best.value, rel=1e-8)


@pytest.mark.parametrize("size", [1e-150, 1e-100, 1e-20, 1e20, 1e100, 1e150 / 2])
def test_a_common_scale(size: float) -> None:
    """beta scaled along: exactly the same problem. Otherwise a valid answer or a refusal."""
    expected = solved(X, y, 0.1, bias="none")
    assert solved(size * X, y, 0.1 * size, bias="none") == pytest.approx(expected, rel=1e-8)
    result = answer_or_refusal(size * X, y, beta=0.1, time_limit=2)
    if result is None:
        return
    assert 0 <= result.certificate.dual <= result.certificate.primal <= 0.5 * y @ y * (1 + 1e-12)
    if size < 1:
        best = reference.solve(np.zeros((5, 1)), y, 0.1, bias="penalized").value
        assert result.certificate.primal == pytest.approx(best, rel=1e-6)


@pytest.mark.parametrize(
    ("first", "second"), [(1e-150, 1.0), (1e-60, 1.0), (1.0, 1e8), (1.0, 1e60), (1e-150, 1e150 / 2)]
)
def test_columns_of_different_scale(first: float, second: float) -> None:
    """A column of vanishing size cannot pay its penalty: the answer is that without it, up to what it can do."""
    data = X * np.array([first, second])
    beta = 0.1 * max(first, second)
    result = answer_or_refusal(data, y, beta=beta, bias="none", time_limit=3)
    if result is None:
        return
    alone = solved(X[:, 1:], y, 0.1, bias="none")
    assert 0 <= result.certificate.dual <= result.certificate.primal
    assert result.certificate.primal == pytest.approx(alone, rel=1e-5)
    assert result.certificate.dual <= alone * (1 + 1e-5)


@pytest.mark.parametrize("height", [1e-150, 1e-100, 1e99])
def test_targets_of_any_scale(height: float) -> None:
    result = answer_or_refusal(X, height * y, beta=0.1 * height)
    if result is None:
        return
    assert 0 <= result.certificate.dual <= result.certificate.primal
    assert result.certificate.primal == pytest.approx(solved(X, y, 0.1) * height * height, rel=1e-6)


@pytest.mark.parametrize("weight", [1e-200, 1e-100, 1e100, 1e200])
def test_weights_of_any_scale(weight: float) -> None:
    result = answer_or_refusal(X, y, beta=0.1 * weight, sample_weight=np.full(5, weight))
    if result is None:
        return
    assert result.certificate.primal == pytest.approx(weight * solved(X, y, 0.1), rel=1e-6)
    assert result.certificate.gap <= 1e-6


@pytest.mark.parametrize("beta", [1e-12, 1e12, 1e200])
def test_extreme_penalties(beta: float) -> None:
    result = extremal.fit(X, y, beta=beta, time_limit=3)
    assert 0 <= result.certificate.dual <= result.certificate.primal <= 0.5 * y @ y * (1 + 1e-12)
    if beta > 1:
        assert result.network.width == 0
        assert result.status is Status.OPTIMAL
    else:
        assert result.certificate.primal <= 1e-6


def test_one_sample_and_one_feature() -> None:
    # f = 2 r: 1/2 (2r - 3)^2 + r/2 is least at r = 11/8
    assert solved([[2.0]], [3.0], 0.5, bias="none") == pytest.approx(0.5 * 0.25**2 + 0.5 * 11 / 8, rel=1e-10)
    assert solved([[2.0]], [3.0], 0.5, intercept=True) == pytest.approx(0, abs=1e-20)


def test_identical_rows_with_different_targets() -> None:
    best = reference.solve(np.ones((4, 2)), np.array([1.0, 2.0, 3.0, -1.0]), 0.1, bias="penalized")
    assert solved(np.ones((4, 2)), [1.0, 2.0, 3.0, -1.0], 0.1) == pytest.approx(best.value, rel=1e-8)


def test_subnormal_numbers() -> None:
    result = extremal.fit(at((0, 0), 5e-324), y, beta=0.1, tol=1e-8)
    assert result.certificate.primal == pytest.approx(solved(at((0, 0), 0.0), y, 0.1), rel=1e-8)
