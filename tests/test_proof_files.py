"""fit and certify write proofs, verify accepts them, and they claim what they prove: any loss, any data, the shell."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.preprocessing import scale

import extremal
from extremal.cli import main
from extremal.design import Design
from extremal.gauge import sides, tree
from extremal.losses import bind
from extremal.proof import SideTree
from extremal.verify import side_bound
from extremal.verify.arithmetic import binary_rows

LOSSES = ("squared", "huber", "logistic", "squared_hinge", "softmax")


def targets(rng, loss: str, X, c: int = 1):
    y = X[:, 0] + 0.5 * rng.standard_normal(len(X))
    if loss in ("logistic", "squared_hinge"):
        return (y > np.median(y)).astype(float)
    if loss == "softmax":
        return np.arange(len(X)) % 3
    return y if c == 1 else rng.standard_normal((len(X), c))


def round_trip(certificate, X, y, tmp_path):
    """Save, load, verify: the file says what the certificate says."""
    path = tmp_path / "proof"
    certificate.save(path, proof=True)
    loaded = extremal.Certificate.load(path)
    assert (loaded.primal, loaded.dual, loaded.search_dual) == (
        certificate.primal,
        certificate.dual,
        certificate.search_dual,
    )
    verdict = extremal.verify(path, X, y)
    assert verdict.accepted, verdict
    assert verdict.dual == pytest.approx(certificate.dual, rel=1e-12)
    assert verdict.primal == pytest.approx(certificate.primal, rel=1e-12)
    assert extremal.verify(loaded.proof, X, y) == verdict
    return verdict


# --------------------------------------------------------------------------------------------- what is claimed


@pytest.mark.parametrize("intercept", [False, True])
@pytest.mark.parametrize("bias", ["penalized", "none"])
@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss(loss, bias, intercept, tmp_path):
    """The proof is as good as the search, to 1e-8 where there is one output, or better; and the network is in it."""
    rng = np.random.default_rng(LOSSES.index(loss))
    X = rng.standard_normal((24, 6)) / np.sqrt(6)
    y = targets(rng, loss, X)
    weight = np.where(np.arange(24) % 5, rng.uniform(0.5, 2.0, 24), 0.0)
    model = {"loss": loss, "bias": bias, "intercept": intercept, "sample_weight": weight}
    beta = 0.4 * extremal.beta_max(X, y, **model)
    plain = extremal.fit(X, y, beta=beta, time_limit=5, **model)
    certificate = extremal.with_proof(
        plain.certificate, plain.network, X, y, intercept=intercept, sample_weight=weight, time_limit=60
    )
    verdict = round_trip(certificate, X, y, tmp_path)
    if loss != "softmax":
        assert plain.certificate.status is extremal.Status.OPTIMAL
        assert certificate.gap <= plain.certificate.gap + 1e-8
    assert certificate.gap < 1e-6
    assert verdict.gap == pytest.approx(certificate.gap, abs=1e-12)
    assert certificate.status is extremal.Status.OPTIMAL
    assert certificate.search_dual is None
    assert certificate.primal == pytest.approx(plain.certificate.primal, rel=1e-10)
    assert certificate.gauge.lower <= certificate.gauge.upper <= beta * (1 + 1e-12)


@pytest.mark.parametrize(("n", "d", "outputs"), [(16, 5, 2), (16, 5, 3), (12, 2, 10)])
def test_several_outputs(n, d, outputs, tmp_path):
    """Cones over the outputs, or all of them at once, converge, where a frame of them is off by several percent."""
    rng = np.random.default_rng(outputs)
    X, y = rng.standard_normal((n, d)), rng.standard_normal((n, outputs))
    result = extremal.fit(X, y, beta=0.5 * extremal.beta_max(X, y), time_limit=10)
    certificate = extremal.with_proof(result.certificate, result.network, X, y, time_limit=20)
    assert round_trip(certificate, X, y, tmp_path).gap <= max(result.certificate.gap, 1e-6) * (1 + 1e-6)
    assert certificate.search_dual is None
    proof, c = certificate.proof, outputs
    if len(proof.trees) == 1:
        assert proof.trees[0].leaves > 1
        return
    assert len(proof.normals) > 2**c
    corners = [[1 - 2 * (k >> j & 1) for j in range(c)] for k in range(2**c)]
    normals = np.array(corners[::-1]) @ proof.directions[:, :c].T
    frame = replace(proof, cones=np.full((2**c, 3), -1), normals=normals)
    assert extremal.verify(frame.claiming(0.0, 1e9), X, y).gap > 1e-3


def test_fit_and_certify_take_proof():
    rng = np.random.default_rng(3)
    X = rng.standard_normal((20, 4))
    y = targets(rng, "squared", X)
    plain = extremal.fit(X, y, beta=3.0)
    assert plain.certificate.proof is None
    fitted = extremal.fit(X, y, beta=3.0, proof=True)
    assert fitted.certificate.proof is not None
    np.testing.assert_array_equal(fitted.network.hidden, plain.network.hidden)
    assert fitted.seconds > 0
    certified = extremal.certify(fitted.network, X, y, beta=3.0, proof=True)
    for certificate in (fitted.certificate, certified):
        assert certificate.gap < 1e-6
        assert (certificate.primal, certificate.dual) == (certificate.proof.primal, certificate.proof.dual)
        assert "checked" in str(certificate)


def test_a_network_that_is_not_optimal(tmp_path):
    """The proof of another's network states its distance, and the two ends hold for it."""
    rng = np.random.default_rng(4)
    X = rng.standard_normal((20, 4))
    y = targets(rng, "squared", X)
    best = extremal.fit(X, y, beta=3.0)
    worse = extremal.Network(1.05 * best.network.hidden, best.network.output, bias=True)
    certificate = extremal.certify(worse, X, y, beta=3.0, proof=True)
    verdict = round_trip(certificate, X, y, tmp_path)
    assert verdict.primal == pytest.approx(worse.objective(X, y, beta=3.0), rel=1e-12)
    assert verdict.dual <= best.certificate.primal
    assert 1e-5 < 1 - best.certificate.primal / verdict.primal <= verdict.gap < 0.2
    assert certificate.status is not extremal.Status.OPTIMAL


def test_a_proof_that_falls_short_says_so(tmp_path):
    """With no time the proof shows less than the search did; the certificate claims the less, and keeps the more."""
    rng = np.random.default_rng(5)
    X = rng.standard_normal((40, 7))
    y = rng.standard_normal(40)
    result = extremal.fit(X, y, beta=0.3 * extremal.beta_max(X, y), time_limit=10)
    short = extremal.with_proof(result.certificate, result.network, X, y, time_limit=1e-3)
    verdict = round_trip(short, X, y, tmp_path)
    assert verdict.gap == pytest.approx(short.gap, abs=1e-12)
    assert short.dual < result.certificate.dual * (1 - 1e-4)
    assert short.search_dual == result.certificate.dual
    assert short.status is extremal.Status.CONVERGED
    assert f"{result.certificate.dual:.10g}" in str(short)
    again = extremal.with_proof(short, result.network, X, y)
    assert again.gap < 1e-6
    assert again.status is extremal.Status.OPTIMAL
    assert again.search_dual is None


def test_interrupted_proofs_leave_the_certificate(monkeypatch):
    rng = np.random.default_rng(6)
    X, y = rng.standard_normal((12, 3)), rng.standard_normal(12)
    result = extremal.fit(X, y, beta=2.0)

    def interrupt(*_args, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr("extremal.proving.prove_gauge", interrupt)
    assert extremal.with_proof(result.certificate, result.network, X, y) is result.certificate


# ------------------------------------------------------------------------------------------------ any data


@st.composite
def problems(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    n, d = draw(st.integers(1, 9)), draw(st.integers(1, 4))
    X = rng.standard_normal((n, d))
    shape = draw(
        st.sampled_from(["plain", "repeated", "opposite", "zero row", "constant column", "low rank", "integers"])
    )
    if shape == "repeated":
        X[n // 2 :] = X[: n - n // 2]
    elif shape == "opposite":
        X[n // 2 :] = -2 * X[: n - n // 2]
    elif shape == "zero row":
        X[0] = 0.0
    elif shape == "constant column":
        X[:, 0] = 1.0
    elif shape == "low rank":
        X = np.outer(X[:, 0], X[0])
    elif shape == "integers":
        X = rng.integers(-1, 2, (n, d)).astype(float)
    bias = draw(st.sampled_from(["penalized", "none"]))
    X *= draw(st.sampled_from([1.0, 1e-100, 1e100] if bias == "none" else [1.0, 1e-2, 1e2]))
    loss = draw(st.sampled_from(LOSSES))
    y = draw(st.sampled_from([0.0, 1.0])) + draw(st.sampled_from([0.0, 1.0])) * rng.standard_normal(n)
    if loss in ("logistic", "squared_hinge"):
        y = (y > 0.5).astype(float)
    elif loss == "softmax":
        y = rng.integers(0, 3, n)
    weight = rng.integers(0, 3, n).astype(float)
    weight[0] = 1.0
    return (
        X,
        y,
        loss,
        weight,
        bias,
        draw(st.booleans()),
        draw(st.floats(0.1, 1.2)),
    )


@settings(max_examples=40)
@given(problems())
def test_any_small_problem(tmp_path_factory, case):
    check_problem(tmp_path_factory, case)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@settings(max_examples=400)
@given(problems())
def test_many_small_problems(tmp_path_factory, case):
    check_problem(tmp_path_factory, case)


def check_problem(tmp_path_factory, case):
    """The file says what the certificate says, whatever the problem; and the gap is closed."""
    X, y, loss, weight, bias, intercept, fraction = case
    bound = bind(loss, y, weight)
    model = {"loss": loss, "bias": bias, "intercept": intercept and bound.holds_intercept, "sample_weight": weight}
    limit = 1 if loss == "softmax" else 60  # a proof with several outputs may be long; the others end by themselves
    largest = extremal.beta_max(X, y, time_limit=limit, **model)
    beta = fraction * largest if largest > 0 else 1.0
    result = extremal.fit(X, y, beta=beta, time_limit=limit, proof=True, **model)
    certificate = result.certificate
    verdict = round_trip(certificate, X, y, tmp_path_factory.mktemp("proofs"))
    assert 0 <= verdict.dual <= verdict.primal
    sizes = np.linalg.norm(certificate.lam, axis=1) @ np.linalg.norm(X, axis=1)
    drowned = beta < 1e-6 * sizes  # contradictory targets: beta_max is rounding, and so is the gauge
    assert certificate.gap < (0.05 if loss == "softmax" else 1e-5) or verdict.primal < 1e-12 or drowned


def test_zero_networks(tmp_path):
    """At and beyond beta_max, for constant targets, and for targets of zero."""
    rng = np.random.default_rng(7)
    X, y = rng.standard_normal((9, 3)), rng.standard_normal(9)
    for target, intercept in ((y, False), (y, True), (np.ones(9), True), (np.zeros(9), False)):
        beta = (extremal.beta_max(X, target, intercept=intercept) or 1.0) * 1.001
        result = extremal.fit(X, target, beta=beta, intercept=intercept, proof=True)
        assert result.network.width == 0
        verdict = round_trip(result.certificate, X, target, tmp_path)
        assert verdict.primal - verdict.dual <= 1e-12 * (1 + verdict.primal)


def test_sparse_data_and_lists(tmp_path):
    rng = np.random.default_rng(8)
    X = rng.standard_normal((15, 3)) * rng.integers(0, 2, (15, 3))
    y = rng.standard_normal(15)
    result = extremal.fit(sparse.csr_array(X), y, beta=1.0, proof=True)
    round_trip(result.certificate, X, y, tmp_path)
    assert extremal.verify(result.certificate.proof, sparse.csr_array(X), y.tolist())


def test_wide_data(tmp_path):
    """Too many features for a tree: the relaxation by first-order steps is the proof, one leaf for either sign."""
    rng = np.random.default_rng(9)
    X = rng.standard_normal((80, 100)) / 10
    y = rng.standard_normal(80)
    result = extremal.fit(X, y, beta=0.7 * extremal.beta_max(X, y), time_limit=4)
    certificate = extremal.with_proof(result.certificate, result.network, X, y, time_limit=1)
    assert round_trip(certificate, X, y, tmp_path).leaves == 2
    assert certificate.gap < 0.5


@pytest.mark.parametrize(
    ("load", "loss", "fraction"),
    [
        (load_diabetes, "squared", 0.3),
        pytest.param(load_breast_cancer, "logistic", 0.6, marks=pytest.mark.slow),
    ],
)
def test_real_data(load, loss, fraction, tmp_path):
    X, y = load(return_X_y=True)
    X, y = scale(X), scale(y) if loss == "squared" else y
    beta = fraction * extremal.beta_max(X, y, loss)
    result = extremal.fit(X, y, beta=beta, loss=loss, time_limit=4)
    certificate = extremal.with_proof(result.certificate, result.network, X, y, time_limit=6)
    round_trip(certificate, X, y, tmp_path)
    assert certificate.gap < 0.02


# ------------------------------------------------------------------------------------------ trees of the search


@pytest.mark.parametrize("seed", range(6))
def test_stopped_searches_prove_what_they_say(seed):
    """Wherever a search stops, what its nodes prove is what the checker finds, and inner nodes step in for children."""
    from extremal.gauge.proofs import proof_of_root

    rng = np.random.default_rng(seed)
    X, c = rng.standard_normal((30, 5)), rng.standard_normal(30)
    X[20:25] = X[10:15] * -2
    reduction = sides.reduce_side(Design(X), c)
    search = tree.Search([reduction.side], 0.0, tol=1e-3, keep=True)
    exponents, rows = binary_rows(X)
    unit = int((np.frexp(np.abs(c))[1] + exponents).max())
    for most in (1, 2, 9, 60, 10_000):
        search.run(deadline=None, max_nodes=most)
        leaves, bound = proof_of_root(search.roots[0], reduction.side)
        proof = SideTree.assemble(leaves, reduction.index, np.eye(5) if reduction.basis is None else reduction.basis)
        checked = side_bound(rows, np.ldexp(c, exponents - unit), proof) * 2.0**unit
        assert checked == pytest.approx(reduction.scale * bound, rel=1e-5)
        assert bound <= search.upper_of(0) * (1 + 1e-12) + 4 * reduction.side.rounding
    assert search.upper_of(0) <= search.lower * (1 + 1e-3)


def test_rows_of_a_reduction_point_the_same_way():
    rng = np.random.default_rng(10)
    for _ in range(50):
        X = rng.integers(-2, 3, (12, 2)).astype(float)
        c = rng.integers(-2, 3, 12).astype(float)
        reduction = sides.reduce_side(Design(X), c)
        if reduction is None or not reduction.side.weights.size:
            continue
        basis = np.eye(2) if reduction.basis is None else reduction.basis
        chosen = X[reduction.index]
        chosen /= np.linalg.norm(chosen, axis=1)[:, None]
        np.testing.assert_allclose(chosen, reduction.side.rows @ basis.T, atol=1e-10)


# ------------------------------------------------------------------------------------------------- refusals


@pytest.fixture(scope="module")
def proved():
    rng = np.random.default_rng(11)
    X, y = rng.standard_normal((8, 2)), rng.standard_normal((8, 2))
    result = extremal.fit(X, y, beta=0.4 * extremal.beta_max(X, y), proof=True, time_limit=10)
    return X, y, result


def test_other_data_and_penalties_are_refused(proved):
    X, y, result = proved
    proof = result.certificate.proof
    assert extremal.verify(proof, X, y)
    assert "X is not the data" in extremal.verify(proof, X + 1e-9, y).reason
    assert "y is not the target" in extremal.verify(proof, X, y[::-1]).reason
    for beta in (0.9 * proof.beta, 1.1 * proof.beta):
        assert not extremal.verify(replace(proof, beta=beta), X, y)
    with pytest.raises(ValueError, match="certificate is for"):
        extremal.with_proof(result.certificate, result.network, X[:5], y[:5])
    with pytest.raises(ValueError, match="features"):
        extremal.with_proof(result.certificate, result.network, X[:, :1], y)
    with pytest.raises(ValueError, match="certificate is for"):
        extremal.with_proof(result.certificate, result.network, X, y, loss="huber")


def test_mutated_cones_never_prove_what_is_false(proved):
    """Every split, normal and direction changed: rejected, or nothing better than before is claimed to follow."""
    X, y, result = proved
    proof, rng = result.certificate.proof, np.random.default_rng(12)
    primal = result.certificate.primal
    rejected = 0
    for number in range(120):
        cones, normals, directions = proof.cones.copy(), proof.normals.copy(), proof.directions.copy()
        kind = number % 6
        at = rng.integers(len(cones))
        if kind == 0:
            cones[at, rng.integers(3)] += rng.choice([-1, 1, 2])
        elif kind == 1:
            cones = np.delete(cones, at, axis=0)
        elif kind == 2:
            cones[[at, rng.integers(len(cones))]] = cones[[rng.integers(len(cones)), at]]
        elif kind == 3:
            normals[rng.integers(len(normals))] *= rng.choice([-1.0, 0.0, 1e-3])
        elif kind == 4:
            normals = normals[rng.permutation(len(normals))]
        else:
            directions[rng.integers(2), rng.integers(directions.shape[1])] *= 1 + rng.choice([1e-12, 1e-3, -1e-3])
        mutant = replace(proof, cones=cones, normals=normals, directions=directions)
        verdict = extremal.verify(mutant, X, y)
        rejected += not verdict.accepted
        if verdict.accepted:
            assert verdict.dual <= primal
            assert verdict.dual >= proof.dual * (1 - 1e-8)
        # whatever is accepted when nothing is claimed is a bound as well
        assert extremal.verify(mutant.claiming(0.0, 1e300), X, y).dual <= primal
    assert rejected > 40


def test_cones_that_leave_a_gap_are_refused(proved):
    """A cover of half of the directions only, and one that starts from dependent directions."""
    X, y, result = proved
    proof = result.certificate.proof
    none = np.full((4, 3), -1)
    four = replace(proof, cones=none, normals=np.array([[a, b] for a in (-1.0, 1) for b in (-1.0, 1)])).claiming(
        0, 1e300
    )
    V = proof.directions[:, :2]
    corners = np.array([V @ [a, b] for b in (-1.0, 1) for a in (-1.0, 1)])
    assert extremal.verify(replace(four, normals=corners), X, y).accepted
    assert not extremal.verify(replace(four, normals=corners[::-1]), X, y)
    assert not extremal.verify(replace(four, cones=none[:3], normals=corners[:3]), X, y)
    assert not extremal.verify(replace(four, cones=np.full((5, 3), -1), normals=corners[[0, 1, 2, 3, 3]]), X, y)
    same = proof.directions.copy()
    same[:, 1] = same[:, 0]
    assert "span" in extremal.verify(replace(four, directions=same, normals=corners), X, y).reason


# ------------------------------------------------------------------------------------------------ the shell


def run(*arguments, code: int = 0) -> str:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result.stdout


def write_csv(path, columns, rows):
    path.write_text("\n".join([",".join(columns), *(",".join(map(str, row)) for row in rows)]))
    return path


def test_the_shell_proves_and_verifies(tmp_path):
    rng = np.random.default_rng(13)
    X = np.round(rng.standard_normal((25, 2)), 3)
    y = np.round(np.maximum(X[:, 0], 0) + 0.3 * rng.standard_normal(25), 3)
    data = write_csv(tmp_path / "data.csv", ("a", "b", "y"), np.column_stack([X, y]))
    proof, model, second = tmp_path / "p.npz", tmp_path / "m.npz", tmp_path / "q.npz"
    fitted = json.loads(run("fit", data, "--alpha", "0.1", "--proof", proof, "--out", model, "--json"))
    assert fitted["proof"] == str(proof)
    assert fitted["gap"] < 1e-6
    assert run("verify", proof, data).startswith("Proved: ")
    verdict = json.loads(run("verify", proof, data, "--json"))
    assert verdict["dual"] == pytest.approx(fitted["bound"], rel=1e-12)
    table = run("certify", model, data, "--proof", second)
    assert "the proven gap is within the tolerance" in table
    assert run("verify", second, data, "--model", model).startswith("Proved: ")
    other = write_csv(tmp_path / "other.csv", ("a", "b", "y"), np.column_stack([X[::-1], y]))
    assert run("verify", proof, other, code=5).startswith("Rejected: ")
    run("fit", data, "--proof", tmp_path / "no folder" / "p.npz", code=2)


def test_the_shell_proves_classifiers_of_words(tmp_path):
    rng = np.random.default_rng(14)
    X = np.round(rng.standard_normal((24, 2)), 3)
    X[3] = X[4]
    words = np.array(["red", "green", "blue"])[rng.integers(0, 3, 24)]
    words[3] = words[4]
    for names in (words, np.where(words == "red", "yes", "no")):
        rows = [(*x, name) for x, name in zip(X.tolist(), names, strict=True)]
        data, proof = write_csv(tmp_path / "data.csv", ("a", "b", "kind"), rows), tmp_path / "p.npz"
        run("fit", data, "--alpha", "0.1", "--proof", proof)
        assert run("verify", proof, data).startswith("Proved: ")


def test_the_shell_proves_classifiers_of_any_numbers(tmp_path):
    rng = np.random.default_rng(15)
    X = np.round(rng.standard_normal((20, 2)), 3)
    rows = [(*x, 1 + int(x[0] > 0.2)) for x in X.tolist()]
    data, proof = write_csv(tmp_path / "data.csv", ("a", "b", "y"), rows), tmp_path / "p.npz"
    run("fit", data, "--classes", "--alpha", "0.1", "--proof", proof)
    assert run("verify", proof, data).startswith("Proved: ")
    swapped = write_csv(tmp_path / "swapped.csv", ("a", "b", "y"), [(a, b, 3 - y) for a, b, y in rows])
    assert run("verify", proof, swapped, code=5).startswith("Rejected: ")
