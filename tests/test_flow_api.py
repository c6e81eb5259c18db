"""`extremal.flow` and `extremal.flows`: every claim of a result, checked without the code that made it."""

from __future__ import annotations

import warnings
from functools import cache

import numpy as np
import pytest
from scipy import sparse
from scipy.optimize import lsq_linear

import extremal
import reference
from extremal import Trajectory, Verdict, closed_forms, datasets, flow, flows

FAMILIES = {
    "gaussian 6x2": lambda k: datasets.gaussian_labels(6, 2, random_state=k),
    "gaussian 8x3": lambda k: datasets.gaussian_labels(8, 3, random_state=k),
    "gaussian 7x3": lambda k: datasets.gaussian_labels(7, 3, random_state=k),
    "separable 8x2": lambda k: datasets.linearly_separable(8, 2, random_state=k),
    "xor 8x2": lambda k: datasets.xor(8, random_state=k),
    "spiral 8x2": lambda k: datasets.spiral(8, random_state=k),
}
CASES = [(family, seed) for family in FAMILIES for seed in range(4)]
LIMITS = (Verdict.GLOBAL, Verdict.NOT_GLOBAL)


def case(family, seed):
    return (*FAMILIES[family](seed), followed(family, seed))


@cache
def followed(family, seed):
    X, y = FAMILIES[family](seed)
    return flow(X, y, random_state=seed)


@cache
def by_cvxpy(family, seed):
    """P* by the convex program of Wang & Pilanci over all enumerated cells."""
    import cvxpy as cp

    X, y = FAMILIES[family](seed)
    patterns = reference.cells(X)
    U, V = (cp.Variable((X.shape[1], len(patterns))) for _ in range(2))
    outputs = cp.sum(cp.multiply(patterns.T.astype(float), X @ (U - V)), axis=1)
    inside = [cp.multiply((2.0 * patterns - 1).T, X @ part) >= 0 for part in (U, V)]
    size = cp.sum(cp.norm(U, 2, axis=0)) + cp.sum(cp.norm(V, 2, axis=0))
    program = cp.Problem(cp.Minimize(size), [cp.multiply(y, outputs) >= 1, *inside])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program.solve(solver=cp.CLARABEL, tol_gap_abs=1e-10, tol_gap_rel=1e-10, tol_feas=1e-10)
    return float(program.value)


def neurons(network):
    """(w_i, b_i) of every neuron."""
    return list(zip(network.hidden.T, network.output[:, 0], strict=True))


def stationarity_error(X, w, b, lam):
    """min over 0 <= theta <= 1 of |w - b X^T Dt lam| / |w|, Dt_kk = theta_k at ties, else 1(x_k . w > 0)."""
    z = X @ w
    tied = np.abs(z) <= 1e-8 * np.linalg.norm(X, axis=1) * np.linalg.norm(w)
    rest = w - b * X.T @ (lam * ((z > 0) & ~tied))
    open_ties = np.flatnonzero(tied & (lam != 0))
    if len(open_ties):
        found = lsq_linear(b * (X[open_ties] * lam[open_ties, None]).T, rest, (0, 1), tol=1e-15, method="bvls")
        return np.sqrt(2 * found.cost) / np.linalg.norm(w)
    return np.linalg.norm(rest) / np.linalg.norm(w)


def assert_kkt(X, y, result):
    """The conditions of theory of the max-margin problem: Lyu & Li (2020), Wang & Pilanci (2022)."""
    lam, margins = result.lam, y * result.network.predict(X)[:, 0]
    assert np.all(y * lam >= 0)
    assert margins.min() >= 1 - 1e-9
    assert np.abs(lam * (margins - 1)).max() <= 1e-9 * max(1, np.abs(lam).max())
    for w, b in neurons(result.network):
        assert abs(b) == pytest.approx(np.linalg.norm(w), rel=1e-9)
        assert lam @ np.maximum(X @ w, 0) == pytest.approx(b, rel=1e-9)
        assert stationarity_error(X, w, b, lam) <= 1e-9
    half_norm2 = 0.5 * (np.square(result.network.hidden).sum() + np.square(result.network.output).sum())
    assert result.value == pytest.approx(half_norm2, rel=1e-9)
    assert y @ lam == pytest.approx(result.value, rel=1e-9)


# ------------------------------------------------------------------------------------------- orthogonally separable


@pytest.mark.parametrize(("n", "d", "width"), [(2, 2, 6), (10, 2, 20), (7, 3, 20), (20, 4, 40), (30, 6, 40)])
@pytest.mark.parametrize("seed", range(3))
def test_orthogonally_separable_data_have_the_closed_form_as_limit(n, d, width, seed):
    """Phuong & Lampert (ICLR 2021), Wang & Pilanci (ICLR 2022): any start is globally solved, to the last digit."""
    X, y = datasets.orthogonally_separable(n, d, random_state=seed)
    truth = closed_forms.orthogonal_max_margin(X, y)
    result = flow(X, y, width=width, init=1e-4, random_state=seed + 100)
    assert result.verdict is Verdict.GLOBAL
    assert result.value == pytest.approx(truth.value, rel=1e-10)
    np.testing.assert_allclose(result.lam, truth.lam, atol=1e-10 * np.abs(truth.lam).max())
    assert result.network.width == 2
    for w, b in neurons(result.network):
        v = next(w for w, a in neurons(truth.network) if a * b > 0)
        np.testing.assert_allclose(w / np.linalg.norm(w), v / np.linalg.norm(v), atol=1e-10)
        share = truth.shares[0 if b > 0 else 1]
        assert (w @ w + b * b) / (2 * result.value) == pytest.approx(share, abs=1e-10)
    assert result.gauge.upper == pytest.approx(1.0, abs=1e-7)
    assert_kkt(X, y, result)


@pytest.mark.parametrize("loss", ["logistic", "exponential"])
@pytest.mark.parametrize("balanced", [True, False])
def test_the_limit_depends_on_neither_loss_nor_balance_there(loss, balanced):
    X, y = datasets.orthogonally_separable(8, 3, random_state=5)
    result = flow(X, y, loss=loss, balanced=balanced, init=1e-4)
    assert result.verdict is Verdict.GLOBAL
    assert result.value == pytest.approx(closed_forms.orthogonal_max_margin(X, y).value, rel=1e-10)


# ------------------------------------------------------------------------------------------------------ any data


@pytest.mark.parametrize(("family", "seed"), CASES)
def test_every_limit_satisfies_the_optimality_conditions(family, seed):
    """The optimality conditions of the max-margin problem."""
    X, y, result = case(family, seed)
    if result.verdict in LIMITS:
        assert_kkt(X, y, result)
        assert result.residual <= 1e-9
    else:
        assert result.verdict is Verdict.STALLED


@pytest.mark.parametrize(("family", "seed"), CASES)
def test_global_if_and_only_if_the_gauge_is_one(family, seed):
    """Wang & Pilanci (ICLR 2022), with the gauge by NNLS over all cells, and P* by CVXPY."""
    X, _, result = case(family, seed)
    if result.verdict not in LIMITS:
        return
    gauge, optimum = reference.exact_gauge(X, result.lam), by_cvxpy(family, seed)
    assert result.gauge.lower - 1e-9 <= gauge <= result.gauge.upper + 1e-9
    assert gauge >= 1 - 1e-9  # attained at the neurons
    assert (result.verdict is Verdict.GLOBAL) == (gauge <= 1 + 1e-6)
    assert (result.verdict is Verdict.GLOBAL) == (result.value <= optimum * (1 + 1e-6))
    tight = extremal.gauge(X, result.lam, tol=1e-10)
    assert tight.lower <= gauge * (1 + 1e-9)
    assert tight.upper >= gauge * (1 - 1e-9)


@pytest.mark.parametrize(("family", "seed"), CASES)
def test_the_bounds_hold_along_the_way(family, seed):
    """y^T lam / g <= P* <= 1/2 |theta|^2 / min margin at any time, whatever the verdict."""
    X, y, result = case(family, seed)
    optimum = by_cvxpy(family, seed)
    assert result.lower <= optimum * (1 + 1e-7)
    assert result.upper >= optimum * (1 - 1e-7)
    assert np.all(result.trajectory.upper_bounds >= optimum * (1 - 1e-7))
    rng = np.random.default_rng(seed)
    U = rng.standard_normal((X.shape[1], 2000))
    for k in (0, len(result.trajectory) // 2, len(result.trajectory) - 1):
        lam = result.trajectory.lam[k]
        if reference.exact_gauge(X, lam) > 0:
            assert y @ lam / reference.exact_gauge(X, lam) <= optimum * (1 + 1e-7)
        seen = np.abs(lam @ np.maximum(X @ U, 0)) / np.linalg.norm(U, axis=0)
        assert seen.max() <= reference.exact_gauge(X, lam) * (1 + 1e-9)
    assert extremal.max_margin(X, y).value == pytest.approx(optimum, rel=2e-6)


def test_a_limit_that_is_not_global_comes_with_a_better_network():
    found = [case(*name) for name in CASES if followed(*name).verdict is Verdict.NOT_GLOBAL]
    assert found
    for X, y, result in found:
        better, u = result.optimum.network, result.violator
        assert (y * better.predict(X)[:, 0]).min() >= 1 - 1e-9
        assert better.penalty() < result.value
        assert np.linalg.norm(u) == pytest.approx(1.0, abs=1e-9)
        assert abs(result.lam @ np.maximum(X @ np.ravel(u), 0)) > 1 + 1e-8
        assert result.upper == pytest.approx(result.optimum.value)
        assert "worse than the best network" in result.sentence


def test_verdicts_without_a_limit_say_what_is_left_behind():
    found = [case(*name) for name in CASES if followed(*name).verdict is Verdict.STALLED]
    assert found
    for X, y, result in found:
        assert result.trajectory.margins[-1].min() <= 0
        assert not np.isfinite(result.value)
        assert "without separating" in result.sentence
        behind = y * result.network.predict(X)[:, 0] <= 0
        assert str(np.flatnonzero(behind)[0]) in result.sentence


@pytest.mark.parametrize("seed", range(4))
def test_two_neurons_that_see_their_classes_suffice(seed):
    """Wang & Pilanci (ICLR 2022): such a KKT point has g(lam) <= 1, whatever the start."""
    X, y = datasets.orthogonally_separable(9, 3, random_state=seed)
    rng = np.random.default_rng(seed)
    start = extremal.Network(np.column_stack([X[y > 0].mean(0), X[y < 0].mean(0)]) * rng.uniform(0.1, 2), [1.0, -0.5])
    for w, b in neurons(start):
        assert np.all((X @ w > 0) >= (y * b > 0))
    result = flow(X, y, init=start)
    assert result.verdict is Verdict.GLOBAL
    assert reference.exact_gauge(X, result.lam) <= 1 + 1e-9


# ------------------------------------------------------------------------------------------------- invariances


def test_same_seed_same_answer_and_rows_in_any_order():
    X, y = FAMILIES["gaussian 8x3"](1)
    result, again = followed("gaussian 8x3", 1), flow(X, y, random_state=1)
    np.testing.assert_array_equal(result.trajectory.log_norms, again.trajectory.log_norms)
    assert result.value == again.value
    order = np.random.default_rng(0).permutation(len(y))
    shuffled = flow(X[order], y[order], random_state=1)
    assert shuffled.verdict is result.verdict
    assert shuffled.value == pytest.approx(result.value, rel=1e-8)
    np.testing.assert_allclose(shuffled.lam, result.lam[order], atol=1e-8 * np.abs(result.lam).max())


@pytest.mark.parametrize("size", [1e-100, 1e-3, 1e3, 1e100])
def test_the_scale_of_the_data_scales_the_answer(size):
    """With X -> c X and a start 1/sqrt(c) times as large the flow is the same, and P* is divided by c."""
    X, y = FAMILIES["gaussian 6x2"](2)
    result = flow(X, y, random_state=2)
    scaled = flow(X * size, y, random_state=2, init=1e-3 / np.sqrt(size))
    assert scaled.verdict is result.verdict
    if result.verdict in LIMITS:
        assert scaled.value * size == pytest.approx(result.value, rel=1e-6)
        np.testing.assert_allclose(scaled.lam * size, result.lam, rtol=1e-5, atol=1e-7 * np.abs(result.lam).max())


def test_a_rotation_changes_nothing():
    X, y = datasets.orthogonally_separable(8, 3, random_state=1)
    Q = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))[0]
    assert flow(X @ Q, y).value == pytest.approx(flow(X, y).value, rel=1e-10)


@pytest.mark.parametrize("form", ["list", "float32", "integer labels", "0/1", "sparse", "pandas", "fortran"])
def test_any_form_of_the_data(form):
    X, y = datasets.orthogonally_separable(6, 2, random_state=3)
    X = np.round(X * 64) / 64  # exact in single precision
    forms = {
        "list": (X.tolist(), y.tolist()),
        "float32": (X.astype(np.float32), y.astype(np.float32)),
        "integer labels": (X, y.astype(int)),
        "0/1": (X, y > 0),
        "sparse": (sparse.csr_matrix(X), y),
        "fortran": (np.asfortranarray(X), y),
    }
    if form == "pandas":
        pandas = pytest.importorskip("pandas")
        forms[form] = pandas.DataFrame(X), pandas.Series(y)
    assert flow(*forms[form]).value == pytest.approx(closed_forms.orthogonal_max_margin(X, y).value, rel=1e-10)


def test_a_bias_is_a_column_of_ones():
    X, y = datasets.one_dimensional(6, random_state=0)
    y = np.where(y > np.median(y), 1.0, -1.0)
    with_bias = flow(X, y, bias="penalized", random_state=3)
    column = flow(np.column_stack([X, np.ones(6)]), y, random_state=3)
    assert with_bias.verdict is column.verdict
    assert with_bias.network.bias
    assert not column.network.bias
    np.testing.assert_allclose(with_bias.network.predict(X), column.network.predict(np.column_stack([X, np.ones(6)])))


# ----------------------------------------------------------------------------------------------- data at the edge


@pytest.mark.parametrize(
    ("X", "y", "rows"),
    [
        ([[1.0, 2.0], [1.0, 2.0], [-1.0, 0.5]], [1, -1, 1], {0, 1}),
        ([[1.0, 2.0], [0.3, 0.6], [-1.0, 0.5]], [1, -1, 1], {0, 1}),
        ([[1.0, 2.0], [0.0, 0.0], [-1.0, 0.5]], [1, -1, 1], {1}),
    ],
)
def test_what_no_network_can_fit_is_said(X, y, rows):
    result = flow(X, y, width=6, max_steps=300)
    assert result.verdict is Verdict.IMPOSSIBLE
    assert result.value == np.inf
    assert "no network of any width" in result.sentence
    lam = result.optimum.lam
    assert set(np.flatnonzero(np.abs(lam) > 1e-9)) <= rows
    assert np.dot(y, lam) == pytest.approx(1.0)
    U = np.random.default_rng(0).standard_normal((2, 1000))
    assert np.abs(lam @ np.maximum(np.array(X) @ U, 0)).max() <= 1e-9


def test_opposite_rows_are_no_contradiction():
    X, y = np.array([[1.0, 2.0], [-1.0, -2.0]]), np.array([1.0, -1.0])
    result = flow(X, y)
    assert result.verdict is Verdict.GLOBAL
    assert result.value == pytest.approx(2 / np.sqrt(5), rel=1e-10)


@pytest.mark.parametrize(
    ("X", "y", "value"),
    [
        ([[3.0, 4.0]], [1], 0.2),
        ([[3.0, 4.0]], [-1], 0.2),
        ([[2.0]], [1], 0.5),
    ],
)
def test_one_row(X, y, value):
    result = flow(X, y, width=8)
    assert result.verdict is Verdict.GLOBAL
    assert result.value == pytest.approx(value, rel=1e-10)


def test_one_class():
    X = np.abs(np.random.default_rng(0).standard_normal((5, 3)))
    result = flow(X, np.ones(5))
    assert result.verdict is Verdict.GLOBAL
    assert result.value == pytest.approx(closed_forms.orthogonal_max_margin(X, np.ones(5)).value, rel=1e-10)


def test_one_neuron_cannot_have_both_signs():
    X, y = datasets.orthogonally_separable(6, 2, random_state=0)
    result = flow(X, y, width=1)
    assert result.verdict is Verdict.STALLED


def test_one_neuron_may_be_dead_from_the_start():
    X, y = datasets.orthogonally_separable(6, 2, random_state=0)
    same = X[y > 0]
    seeds = [flow(same, np.ones(len(same)), width=1, random_state=seed) for seed in range(6)]
    assert {r.verdict for r in seeds} == {Verdict.GLOBAL, Verdict.STALLED}


def test_integer_grids_have_coincident_ties():
    X = np.array([[a, b] for a in (-1, 0, 1) for b in (-1, 0, 1) if a or b], dtype=float)
    y = np.where(X[:, 0] * X[:, 1] > 0, 1.0, -1.0)
    for seed in range(3):
        result = flow(X, y, random_state=seed, init=1e-2)
        assert result.verdict in (*LIMITS, Verdict.STALLED)
        if result.verdict in LIMITS:
            assert_kkt(X, y, result)
            gauge = reference.exact_gauge(X, result.lam)
            assert (result.verdict is Verdict.GLOBAL) == (gauge <= 1 + 1e-6)


X0, Y0 = np.array([[1.0, 2.0], [0.5, -1.0], [-1.0, 0.3]]), np.array([1.0, -1.0, 1.0])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"X": [[np.nan, 1.0], [1, 2], [2, 3]]}, "NaN"),
        ({"X": [[np.inf, 1.0], [1, 2], [2, 3]]}, "infinity"),
        ({"X": X0[:2]}, "X has 2 rows and y has 3"),
        ({"X": X0[:, 0]}, "two-dimensional"),
        ({"X": np.zeros((0, 2)), "y": []}, "nonempty|sample"),
        ({"X": np.zeros((3, 0))}, "nonempty|feature"),
        ({"X": 1e151 * X0}, "above 1e\\+150"),
        ({"y": [1, 2, 3]}, "labels -1/\\+1 or 0/1"),
        ({"y": [0, 1, 2]}, "labels -1/\\+1 or 0/1"),
        ({"y": [1, 2, 1]}, "labels -1/\\+1 or 0/1"),
        ({"y": ["a", "b", "a"]}, "numeric"),
        ({"y": [1, np.nan, -1]}, "NaN or infinity"),
        ({"y": np.ones((3, 2))}, "one output|labels|columns"),
        ({"X": np.zeros((3, 2))}, "all zero"),
        ({"loss": "hinge"}, "loss"),
        ({"bias": "free"}, "bias must be"),
        ({"method": "newton"}, "unknown method 'newton'"),
        ({"ties": "left"}, "ties must be"),
        ({"width": 0}, "at least one"),
        ({"init": 0.0}, "scale of the start must be between"),
        ({"init": -1.0}, "scale of the start must be between"),
        ({"init": np.nan}, "scale of the start must be between"),
        ({"tol": 0.0}, "tol must be"),
        ({"max_steps": 0}, "max_steps must be"),
        ({"time_limit": 0.0}, "time_limit must be"),
        ({"time_limit": np.nan}, "time_limit must be"),
        ({"proof_time": -1.0}, "proof_time must"),
        ({"loss": "squared", "y": [0.0, 0.0, 0.0]}, "all zero"),
        ({"init": extremal.Network(np.ones((3, 1)), np.ones(1))}, "the start is"),
        ({"init": extremal.Network(np.zeros((2, 1)), np.ones(1))}, "never moves"),
        ({"init": extremal.Network(np.ones((2, 1)), np.ones((1, 2)))}, "one output"),
    ],
)
def test_wrong_arguments_are_refused(changed, message):
    with pytest.raises(ValueError, match=message):
        flow(**{"X": X0, "y": Y0, **changed})


# ----------------------------------------------------------------------------------------------------- squared loss


@pytest.mark.parametrize("seed", range(3))
def test_squared_loss_interpolates_and_is_compared_with_the_smallest(seed):
    rng = np.random.default_rng(seed)
    X, y = rng.standard_normal((5, 6)), rng.standard_normal(5)
    result = flow(X, y, loss="squared", width=30, random_state=seed)
    assert result.verdict in (*LIMITS, Verdict.STALLED)
    if result.verdict in LIMITS:
        np.testing.assert_allclose(result.network.predict(X)[:, 0], y, atol=1e-8)
        half_norm2 = 0.5 * (np.square(result.network.hidden).sum() + np.square(result.network.output).sum())
        assert result.value == pytest.approx(half_norm2, rel=1e-9)
        least = extremal.min_norm(X, y)
        assert result.lower <= least.value * (1 + 1e-9)
        assert result.value >= least.dual_value
        assert (result.verdict is Verdict.GLOBAL) == (result.value <= least.value * (1 + 1e-3))


def test_orthogonal_rows_are_interpolated_with_the_smallest_norm_as_the_start_shrinks():
    """Boursier, Pillaud-Vivien & Flammarion (2022), against the closed form."""
    Q = np.linalg.qr(np.random.default_rng(0).standard_normal((4, 4)))[0]
    X, y = Q * np.array([[1.0], [0.8], [1.3], [0.7]]), np.array([1.0, -0.5, 0.7, -1.1])
    least = closed_forms.orthogonal_min_norm(X, y).value
    scales = (0.3, 1e-2, 1e-4, 1e-8)
    results = [flow(X, y, loss="squared", init=init, width=40, random_state=1) for init in scales]
    excess = [result.value / least - 1 for result in results]
    assert np.all(np.diff(excess) < 0)
    assert -1e-9 <= excess[-1] <= 1e-3
    assert results[0].verdict is Verdict.NOT_GLOBAL
    assert results[-1].verdict is Verdict.GLOBAL


# ------------------------------------------------------------------------------------------------------ the record


def test_a_run_that_goes_on_ends_where_a_long_one_does():
    X, y = datasets.orthogonally_separable(8, 3, random_state=2)
    whole = flow(X, y, random_state=4)
    half = flow(X, y, random_state=4, max_steps=60)
    assert half.verdict is Verdict.NOT_CONVERGED
    assert half.lower <= whole.value <= half.upper
    joined = flow(X, y, init=half.trajectory)
    assert joined.verdict is whole.verdict
    assert joined.value == pytest.approx(whole.value, rel=1e-10)
    np.testing.assert_array_equal(joined.trajectory.time[: len(half.trajectory)], half.trajectory.time)
    assert np.all(np.diff(joined.trajectory.time) >= 0)
    later = np.linspace(half.trajectory.time[-1], min(whole.trajectory.time[-1], joined.trajectory.time[-1]), 9)
    size, again = (np.interp(later, r.trajectory.time, np.log(r.trajectory.half_norm2)) for r in (whole, joined))
    np.testing.assert_allclose(again, size, atol=2e-2)


def test_runs_on_other_data_cannot_go_on():
    X, y = datasets.orthogonally_separable(8, 3, random_state=2)
    run = flow(X, y, max_steps=5).trajectory
    with pytest.raises(ValueError, match="other data"):
        flow(X + 1, y, init=run)


def test_a_record_survives_the_file(tmp_path):
    run = followed("gaussian 8x3", 1).trajectory
    run.save(tmp_path / "run.npz")
    loaded = Trajectory.load(tmp_path / "run.npz")
    for name in ("X", "y", "time", "directions", "log_norms", "ratios", "events", "margins", "lam"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(run, name))


@pytest.mark.parametrize("method", ["flow", "gd"])
def test_an_interrupted_run_has_a_valid_interval(method):
    X, y = FAMILIES["gaussian 8x3"](1)
    calls = 0

    def interrupt(moment):
        nonlocal calls
        calls += 1
        if calls == (100 if method == "flow" else 1):
            raise KeyboardInterrupt

    result = flow(X, y, progress=interrupt, method=method, max_steps=10**7)
    assert result.verdict is Verdict.NOT_CONVERGED
    assert result.interrupted
    assert "interrupted" in result.sentence
    assert 0 < result.lower <= by_cvxpy("gaussian 8x3", 1) * (1 + 1e-7) <= result.upper * (1 + 1e-6)


def test_a_time_limit_is_kept():
    X, y = datasets.gaussian_labels(60, 5, random_state=0)
    result = flow(X, y, time_limit=0.05)
    assert result.verdict is Verdict.NOT_CONVERGED
    assert result.seconds < 5
    assert "<= P*" in result.sentence


# ------------------------------------------------------------------------------------------------ discrete methods


@pytest.mark.parametrize("method", ["gd", "sgd", "momentum", "adam", "normalised", "decaying", "unit"])
def test_discrete_methods_by_the_same_interface(method):
    X, y = datasets.orthogonally_separable(6, 2, random_state=1)
    truth = closed_forms.orthogonal_max_margin(X, y)
    result = flow(X, y, method=method, width=10, max_steps=20_000, batch_size=2 if method == "sgd" else None)
    assert result.trajectory.method == method
    assert result.lower <= truth.value * (1 + 1e-7)
    assert result.upper >= truth.value * (1 - 1e-7)
    if result.verdict in LIMITS:
        assert_kkt(X, y, result)
    assert result.verdict in (*LIMITS, Verdict.NOT_CONVERGED, Verdict.POLISH_FAILED)


def test_the_flow_is_the_limit_of_gradient_descent():
    """With steps that shrink, gradient descent ends at the same limit, to the last digits after the polish."""
    X, y = datasets.orthogonally_separable(6, 2, random_state=1)
    truth = closed_forms.orthogonal_max_margin(X, y)
    result = flow(X, y, method="decaying", step=0.05, width=10, max_steps=200_000)
    assert result.verdict is Verdict.GLOBAL
    assert result.value == pytest.approx(truth.value, rel=1e-10)


# ------------------------------------------------------------------------------------------------------ many starts


def test_statistics_of_many_starts():
    X, y = FAMILIES["gaussian 6x2"](0)
    seen = []
    found = flows(X, y, seeds=4, each=lambda seed, result: seen.append((seed, result.verdict)))
    assert [seed for seed, _ in seen] == [0, 1, 2, 3] == list(found.seeds)
    assert sum(found.counts.values()) == 4
    assert f"{found.counts[Verdict.GLOBAL]} of 4 starts" in found.sentence
    assert found.lower <= found.best * (1 + 1e-9)
    assert found.results[2].value == flow(X, y, random_state=2).value
    assert not found.interrupted
    assert len(str(found).splitlines()) == 6
    assert max(map(len, found.table.splitlines())) <= 80


def test_the_sentence_counts_and_compares():
    names = [name for name in CASES if name[0] == "gaussian 8x3"]
    results = tuple(followed(*name) for name in names)
    from dataclasses import replace

    local = next(followed(*name) for name in CASES if followed(*name).verdict is Verdict.NOT_GLOBAL)
    best = local.optimum.value
    reached = replace(local, verdict=Verdict.GLOBAL, value=best, upper=best, lower=best)
    both = extremal.FlowStatistics((0, 1, 2), (reached, local, reached), local.optimum)
    assert both.sentence == (
        "backprop reached the global optimum in 2 of 3 starts; the other one is worse by "
        f"{100 * (local.value / best - 1):.2g} %"
    )
    twice = extremal.FlowStatistics((0, 1), (local, local), local.optimum)
    assert twice.sentence.endswith("(2 times)")
    assert "all are worse by" in twice.sentence
    assert extremal.FlowStatistics((0,), results[:1], None).sentence


def test_ctrl_c_ends_many_starts_with_what_is_done():
    X, y = datasets.orthogonally_separable(6, 2, random_state=1)

    def interrupt(seed, result):
        if seed == 1:
            raise KeyboardInterrupt

    found = flows(X, y, seeds=10, each=interrupt)
    assert found.seeds == (0, 1)
    assert found.interrupted

    def at_once(moment):
        raise KeyboardInterrupt

    found = flows(X, y, seeds=10, progress=at_once)
    assert found.interrupted
    assert [result.verdict for result in found.results] == [Verdict.NOT_CONVERGED]


@pytest.mark.parametrize("options", [{"seeds": 0}, {"random_state": 1}, {"init": extremal.Network.zero(2)}])
def test_flows_refuses(options):
    with pytest.raises(ValueError, match=r"seeds|start"):
        flows(X0, Y0, **options)
