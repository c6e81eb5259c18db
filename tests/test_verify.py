"""The checker accepts proofs, says what they prove, and rejects every mutation or proves what it claims."""

from __future__ import annotations

import json
import shutil
import zipfile
from dataclasses import dataclass, replace
from decimal import Decimal, localcontext
from importlib import import_module

import mpmath as mp
import numpy as np
import pytest
from click.testing import CliRunner
from scipy import sparse

import extremal
from extremal.cli import main
from extremal.losses import bind
from extremal.problem import Problem
from extremal.proof import Proof, SideTree
from extremal.verify.arithmetic import DIGITS, SLACK, binary_rows
from extremal.verify.duality import dual_term, loss_term
from extremal.verify.leaves import Leaves, Lines
from extremal.verify.statement import LOSSES, TREE, fingerprint
from proofs import (
    FACTORS,
    MALFORMED,
    Case,
    Raw,
    check_mutant,
    copy_of,
    numeric,
    path_lengths,
    proof_of,
    sealed,
)

checker = import_module("extremal.verify")

CASES = {
    "squared": {},
    "squared, no bias": {"bias": "none"},
    "squared, intercept, weights": {"intercept": True, "weighted": True},
    "squared, 2 outputs": {"outputs": 2},
    "huber": {"loss": "huber"},
    "huber, intercept": {"loss": "huber", "intercept": True},
    "logistic": {"loss": "logistic"},
    "logistic, intercept": {"loss": "logistic", "intercept": True, "weighted": True},
    "squared_hinge, intercept": {"loss": "squared_hinge", "intercept": True},
    "softmax": {"loss": "softmax"},
    "softmax, intercept": {"loss": "softmax", "intercept": True},
}


def make_case(name: str) -> Case:
    options = dict(CASES[name])
    rng = np.random.default_rng(len(name))
    n, d = 8, 2
    X = rng.standard_normal((n, d))
    y = rng.standard_normal((n, options.pop("outputs", 1)))
    loss = options.get("loss", "squared")
    if loss in ("logistic", "squared_hinge"):
        y = np.where(X[:, :1] + y > 0, 1.0, -1.0)
    elif loss == "softmax":
        y = (np.arange(n) % 3)[:, None]
    weight = rng.uniform(0.5, 2.0, n) if options.pop("weighted", False) else None
    y = y[:, 0] if y.shape[1] == 1 else y
    return Case(X, y, proof_of(X, y, beta=0.3, sample_weight=weight, time_limit=10, **options))


@pytest.fixture(scope="module")
def cases() -> dict[str, Case]:
    return {name: make_case(name) for name in CASES}


@pytest.mark.parametrize("name", CASES)
def test_accepts_proofs_and_says_what_they_prove(cases, tmp_path, name):
    case = cases[name]
    path = tmp_path / "proof.npz"
    case.proof.save(path)
    for source in (case.proof, path, str(path), Proof.load(path)):
        verdict = extremal.verify(source, case.X, case.y)
        assert verdict.accepted
        assert verdict
        assert verdict.dual <= verdict.primal
        assert verdict.dual == pytest.approx(case.proof.dual, rel=1e-12)
    text = str(verdict)
    assert text.startswith("Proved: no two-layer ReLU network of any width has an objective below ")
    assert "8 x 2 data" in text
    assert "beta = 0.3" in text
    assert "\n" not in text
    if case.proof.lam.shape[1] == 1:
        assert verdict.gap < 1e-5


def test_the_sentence_rounds_the_safe_way():
    verdict = checker.Verdict(True, "", 0.12345678909, 0.12345678911, 2, "these data")
    assert "below 0.123456789 for" in str(verdict)
    assert "has 0.1234567892;" in str(verdict)
    assert verdict.gap >= (0.12345678911 - 0.12345678909) / 0.12345678911
    assert checker.in_digits(99999999999.0, 10) == "9.999999999e+10"


@pytest.mark.parametrize("name", CASES)
def test_the_bound_is_below_every_network(cases, name):
    """Random networks, and the trained one with its weights disturbed, never come below the proven bound."""
    case, rng = cases[name], np.random.default_rng(0)
    dual = extremal.verify(case.proof, case.X, case.y).dual
    for _ in range(50):
        noise = 10.0 ** rng.uniform(-6, 0)
        network = extremal.Network(
            case.proof.hidden + noise * rng.standard_normal(case.proof.hidden.shape),
            case.proof.output + noise * rng.standard_normal(case.proof.output.shape),
            case.proof.offset + noise * rng.standard_normal(case.proof.offset.shape) * case.proof.intercept,
            bias=case.proof.bias,
        )
        assert objective(case, network) >= dual


def objective(case: Case, network: extremal.Network) -> float:
    proof = case.proof
    return network.objective(case.X, case.y, beta=proof.beta, loss=proof.loss, sample_weight=proof.weight)


# ------------------------------------------------------------------------------------------------- mutations


def trees_of(arrays) -> int:
    return sum(name.endswith(".splits") for name in arrays)


@pytest.mark.parametrize("name", CASES)
def test_mutated_multipliers_and_weights_never_prove_what_is_false(cases, name):
    case, rng = cases[name], np.random.default_rng(1)
    parts = ("w", "slopes", "vectors", "forces", "pulls", "extra", "pairs")
    rejected: dict[str, int] = {}
    for _ in range(200):
        arrays = copy_of(case)
        tree = int(rng.integers(0, trees_of(arrays)))
        part = str(rng.choice(["lam", "hidden", "output", "offset", "weight", "directions", "normals", *parts]))
        target = f"{tree}.{part}" if part in parts else part
        if numeric(rng, arrays, target, FACTORS):
            rejected[part] = rejected.get(part, 0) + check_mutant(case, arrays)
    assert rejected["lam"] > 5
    assert rejected["output"] > 3
    assert rejected["hidden"] > 3
    assert rejected["weight"] > 3


@pytest.mark.parametrize("name", ["squared", "logistic, intercept", "huber"])
def test_every_multiplier_of_a_decisive_leaf_matters(cases, name):
    """Forces and slopes of the leaves that attain the bound, each raised and lowered: most mutants are rejected."""
    case = cases[name]
    X = np.hstack([case.X, np.ones((len(case.X), 1))])
    exponents, rows = binary_rows(X)
    rejected = tried = 0
    for side, sign in enumerate((1, -1)):
        tree, lam = case.proof.trees[side], sign * case.proof.lam[:, 0]
        leaves = np.concatenate(
            [part.bounds() for part in Leaves.of(Lines.of(rows, np.ldexp(lam, exponents - 8)), tree)]
        )
        if leaves.max() < 0.999 * case.proof.beta / 256:
            continue
        leaf = int(leaves.argmax())
        lengths = np.array(path_lengths(tree.splits))
        first = lengths[:leaf].sum()
        for j in range(first, first + lengths[leaf]):
            for factor in (0.0, 0.5, 2.0, -1.0):
                arrays = copy_of(case)
                if arrays[f"{side}.forces"][j] > 1e-3:
                    arrays[f"{side}.forces"][j] *= factor
                    rejected, tried = rejected + check_mutant(case, arrays), tried + 1
        for i in range(tree.negative.size):
            for change in (-0.5, 0.5):
                arrays = copy_of(case)
                slope = arrays[f"{side}.slopes"][leaf, i]
                arrays[f"{side}.slopes"][leaf, i] = np.clip(slope + change, -1, 1)
                if arrays[f"{side}.slopes"][leaf, i] != slope:
                    rejected, tried = rejected + check_mutant(case, arrays), tried + 1
    assert tried >= 4
    assert rejected == tried


@pytest.mark.parametrize("name", CASES)
def test_mutated_trees_never_prove_what_is_false(cases, name):
    case, rng = cases[name], np.random.default_rng(2)
    rejected = 0
    for _ in range(120):
        arrays = copy_of(case)
        tree = int(rng.integers(0, trees_of(arrays)))
        splits = arrays[f"{tree}.splits"]
        inner = np.flatnonzero(splits >= 0)
        if inner.size == 0:
            continue
        node = rng.choice(inner)
        kind = rng.integers(0, 6)
        if kind == 0:  # another row
            splits[node] = rng.integers(0, len(case.X))
        elif kind == 1:  # two rows exchanged
            other = rng.choice(inner)
            splits[[node, other]] = splits[[other, node]]
        elif kind == 2:  # two leaves exchanged
            a, b = rng.choice(len(arrays[f"{tree}.slopes"]), 2)
            for part in ("slopes", "vectors"):
                arrays[f"{tree}.{part}"][[a, b]] = arrays[f"{tree}.{part}"][[b, a]]
        elif kind == 3:  # the trees of two sides exchanged
            other = int(rng.integers(0, trees_of(arrays)))
            for part in TREE:
                a, b = f"{tree}.{part}", f"{other}.{part}"
                arrays[a], arrays[b] = arrays[b], arrays[a]
        elif kind == 4:  # the tree mirrored: the children of the root exchanged
            arrays[f"{tree}.forces"] = arrays[f"{tree}.forces"][::-1].copy()
            arrays[f"{tree}.slopes"] = arrays[f"{tree}.slopes"][::-1].copy()
        else:  # the whole tree replaced by its trivial bound
            for part, array in vars(SideTree.trivial(arrays["hidden"].shape[0])).items():
                arrays[f"{tree}.{part}"] = array
        rejected += check_mutant(case, arrays)
    assert rejected > 20


@pytest.mark.parametrize("name", CASES)
def test_mutated_objectives_never_prove_what_is_false(cases, name):
    case, rng = cases[name], np.random.default_rng(3)
    rejected = 0
    for _ in range(40):
        arrays = copy_of(case)
        kind = rng.integers(0, 5)
        if kind == 0:
            arrays["beta"] = arrays["beta"] * rng.choice([0.5, 0.999, 1.001, 2.0, 1 + 1e-7, 1 - 1e-7])
        elif kind == 1:
            arrays["loss"] = np.array(rng.choice(list(LOSSES)))
            arrays["delta"] = np.array(1.35)
        elif kind == 2:
            arrays["delta"] = arrays["delta"] * 0.5 + 0.1
        elif kind == 3:
            arrays["intercept"] = np.array(not arrays["intercept"])
        else:
            arrays["lam"] = arrays["lam"] * rng.choice([-1.0, 0.5, 0.99, 1.01, 2.0])
        if str(arrays["loss"]) in ("squared", "huber") and case.proof.loss == "softmax":
            continue  # the targets are others then, and y is refused before anything else
        same = str(arrays["loss"]) == case.proof.loss
        rejected += check_mutant(case, arrays) if same else not extremal.verify(sealed(arrays), case.X, case.y)
    assert rejected > 8


@pytest.mark.parametrize("name", CASES)
def test_claims_that_do_not_follow_are_rejected(cases, name):
    case = cases[name]
    for factor in (1 + 1e-8, 1 + 1e-4, 2.0):
        dual, primal = case.proof.dual, case.proof.primal
        verdict = extremal.verify(case.proof.claiming(dual * factor, primal), case.X, case.y)
        assert "claims the bound" in verdict.reason
        verdict = extremal.verify(case.proof.claiming(dual, primal / factor), case.X, case.y)
        assert "is claimed to have objective" in verdict.reason
        assert extremal.verify(case.proof.claiming(dual / factor, primal * factor), case.X, case.y).accepted


@pytest.mark.parametrize("name", ["squared", "softmax, intercept", "logistic, intercept"])
def test_malformed_arrays_are_rejected(cases, name):
    """Every array: missing, truncated, reshaped, of another type, with NaN or infinity; all with a fresh seal."""
    case = cases[name]
    for part in copy_of(case):
        for mutate in MALFORMED:
            arrays = copy_of(case)
            new = mutate(arrays[part])
            if new is None:
                continue
            arrays[part] = new
            assert not extremal.verify(sealed(arrays), case.X, case.y), (part, mutate)
        arrays = copy_of(case)
        del arrays[part]
        assert "lacks arrays" in extremal.verify(sealed(arrays), case.X, case.y).reason
    for part in ("another", "9.splits", "-1.splits", "0.splitz"):
        arrays = copy_of(case) | {part: np.zeros(3, dtype=np.int32)}
        assert not extremal.verify(sealed(arrays), case.X, case.y), part


def test_anything_unsealed_is_rejected(cases):
    case, rng = cases["squared"], np.random.default_rng(4)
    names = [name for name, array in case.proof.arrays().items() if array.size and array.dtype.kind in "fi"]
    for _ in range(300):
        arrays = {name: np.array(array) for name, array in case.proof.arrays().items()}
        name = str(rng.choice(names))
        raw = arrays[name].reshape(-1).view(np.uint8)
        raw[rng.integers(0, raw.size)] ^= 1 << int(rng.integers(0, 8))
        arrays[name] = raw.view(arrays[name].dtype).reshape(arrays[name].shape)
        assert not extremal.verify(Raw(arrays), case.X, case.y)


@pytest.mark.parametrize("bad", [{"beta": 0.0}, {"beta": -1.0}, {"version": 2}, {"shape": [8, 3]}, {"shape": [-8, 2]}])
def test_impossible_numbers_are_rejected(cases, bad):
    case = cases["squared"]
    arrays = copy_of(case)
    for name, value in bad.items():
        arrays[name] = np.array(value, dtype=arrays[name].dtype)
    assert not extremal.verify(sealed(arrays), case.X, case.y)


def test_tampered_trees_are_rejected_for_what_they_are(cases):
    case = cases["squared"]
    for splits in ([], [0], [0, -1], [0, -1, -1, -1], [-1, -1], [99, -1, -1], [-2]):
        arrays = copy_of(case)
        arrays["0.splits"] = np.array(splits, dtype=np.int32)
        assert "cover" in extremal.verify(sealed(arrays), case.X, case.y).reason
    for part, value, reason in (("negative", 8, "exist"), ("negative", -1, "exist"), ("forces", -0.1, "negative")):
        arrays = copy_of(case)
        arrays[f"0.{part}"].flat[0] = value
        assert reason in extremal.verify(sealed(arrays), case.X, case.y).reason


def test_other_data_are_rejected(cases):
    case, rng = cases["squared"], np.random.default_rng(5)
    for _ in range(50):
        X = case.X.copy()
        X.view(np.uint64)[rng.integers(0, 8), rng.integers(0, 2)] ^= np.uint64(1) << np.uint64(rng.integers(0, 64))
        assert "X is not the data" in extremal.verify(case.proof, X, case.y).reason
        y = case.y.copy()
        y.view(np.uint64)[rng.integers(0, 8)] ^= np.uint64(1) << np.uint64(rng.integers(0, 64))
        assert "y is not the target" in extremal.verify(case.proof, case.X, y).reason
    for X, y in ((case.X[:-1], case.y[:-1]), (case.X.T, case.y), (case.X[::-1], case.y[::-1]), (case.X[:, :1], case.y)):
        assert not extremal.verify(case.proof, X, y)


def test_other_data_with_fresh_hashes_never_prove_what_is_false(cases):
    rng, rejected = np.random.default_rng(6), 0
    for case in cases.values():
        for _ in range(10):
            X, arrays = case.X.copy(), copy_of(case)
            X[rng.integers(0, 8)] += 10.0 ** rng.uniform(-12, 0) * rng.standard_normal(2)
            arrays["X_hash"] = np.array(fingerprint(X))
            rejected += check_mutant(case, arrays, X=X)
    assert rejected > 40


# ------------------------------------------------------------------------------------------------------- files


def test_damaged_files_are_rejected(cases, tmp_path):
    """Flipped bits and cuts anywhere in the file; a flip in the archive's unused fields leaves the proof as it is."""
    case, rng = cases["squared"], np.random.default_rng(7)
    good, bad = tmp_path / "good.npz", tmp_path / "bad.npz"
    case.proof.save(good)
    content, rejected = good.read_bytes(), 0
    for _ in range(400):
        broken = bytearray(content)
        broken[rng.integers(0, len(broken))] ^= 1 << int(rng.integers(0, 8))
        bad.write_bytes(bytes(broken))
        verdict = extremal.verify(bad, case.X, case.y)
        rejected += not verdict
        assert not verdict or verdict == extremal.verify(good, case.X, case.y)
    assert rejected > 200
    for cut in (0, 1, 100, len(content) // 2, len(content) - 1):
        bad.write_bytes(content[:cut])
        assert not extremal.verify(bad, case.X, case.y)
    for text in (b"", b"column\n1\n", b"\x93NUMPY"):
        bad.write_bytes(text)
        assert "damaged" in extremal.verify(bad, case.X, case.y).reason
    with pytest.raises(FileNotFoundError):
        extremal.verify(tmp_path / "none.npz", case.X, case.y)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_arrays_of_the_same_name_are_rejected(cases, tmp_path):
    case = cases["squared"]
    path, twice = tmp_path / "proof.npz", tmp_path / "twice.npz"
    case.proof.save(path)
    shutil.copy(path, twice)
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(twice, "a") as target:
        target.writestr("proof.dual.npy", source.read("proof.dual.npy"))
    assert "same name" in extremal.verify(twice, case.X, case.y).reason


def test_pickled_arrays_are_not_loaded(cases, tmp_path):
    case = cases["squared"]
    arrays = case.proof.named_arrays() | {"proof.loss": np.array({"a": 1}, dtype=object)}
    np.savez(tmp_path / "proof.npz", **arrays)
    assert "damaged" in extremal.verify(tmp_path / "proof.npz", case.X, case.y).reason


def test_certificates_carry_proofs(cases, tmp_path):
    case = cases["squared"]
    network = extremal.Network(case.proof.hidden, case.proof.output, case.proof.offset, bias=True)
    certificate = extremal.certify(network, case.X, case.y, beta=0.3)
    with pytest.raises(ValueError, match="proof=True"):
        certificate.save(tmp_path / "none.npz", proof=True)
    path = tmp_path / "certificate.npz"
    replace(certificate, proof=case.proof).save(path, proof=True)
    assert extremal.verify(path, case.X, case.y).accepted
    again = extremal.Certificate.load(path)
    assert again.primal == certificate.primal
    assert extremal.verify(again.proof, case.X, case.y).accepted
    certificate.save(path)
    assert extremal.Certificate.load(path).proof is None
    assert not extremal.verify(path, case.X, case.y)
    with pytest.raises(ValueError, match="no proof"):
        Proof.load(path)


# ------------------------------------------------------------------------------------------------ unusual data


@pytest.mark.parametrize(("size", "target"), [(1e-150, 1e-100), (1e-150, 1e99), (1e149, 1.0), (1.0, 1e-140), (1, 1)])
def test_data_of_any_size(size, target):
    rng = np.random.default_rng(8)
    X, y = size * rng.standard_normal((7, 2)), target * rng.standard_normal(7)
    proof = proof_of(X, y, beta=0.3 * size * target, bias="none", time_limit=10)
    verdict = extremal.verify(proof, X, y)
    assert verdict.accepted
    assert verdict.gap < 1e-6


def test_degenerate_data():
    """Zero rows, repeated rows, opposite rows, a constant column, d > n, one row, columns of far different sizes."""
    rng = np.random.default_rng(9)
    base = rng.standard_normal((3, 2))
    for X in (
        np.vstack([base, np.zeros((1, 2)), base, -base[:1], 3 * base[:1]]),
        np.hstack([base, np.ones((3, 1))]),
        rng.standard_normal((3, 6)),
        base[:1],
        base * [1e-12, 1e12],
    ):
        y = rng.standard_normal(len(X))
        proof = proof_of(X, y, beta=0.1 * float(np.abs(X).max()), time_limit=10)
        verdict = extremal.verify(proof, X, y)
        assert verdict.accepted
        assert verdict.gap < 1e-4


def test_forms_of_data(cases):
    case = cases["squared"]
    assert extremal.verify(case.proof, sparse.csr_array(case.X), case.y.tolist()).accepted
    assert extremal.verify(case.proof, case.X.tolist(), case.y[:, None]).accepted
    labels = cases["logistic"]
    assert extremal.verify(labels.proof, labels.X, labels.y > 0).accepted
    assert extremal.verify(cases["softmax"].proof, cases["softmax"].X, np.eye(3)[cases["softmax"].y]).accepted


def test_weights_of_zero(cases):
    rng = np.random.default_rng(10)
    X, y, weight = rng.standard_normal((6, 2)), rng.standard_normal(6), np.array([0, 1, 2, 0, 1, 1.0])
    proof = proof_of(X, y, beta=0.2, sample_weight=weight, time_limit=10)
    assert extremal.verify(proof, X, y).gap < 1e-5
    lam = proof.lam.copy()
    lam[0] = 1e-9
    assert "domain" in extremal.verify(replace(proof, lam=lam), X, y).reason


def test_the_trivial_proof_is_accepted():
    """lam = 0 proves that no objective is negative, and the zero network has the loss of zero."""
    X, y = np.ones((2, 1)), np.array([1.0, -2.0])
    problem = Problem.from_data(X, y, beta=1.0, bias="none")
    tree = SideTree.trivial(1)
    proof = Proof.of(problem, extremal.Network.zero(1), np.zeros((2, 1)), (tree, tree), dual=0.0, primal=2.5)
    verdict = extremal.verify(proof, X, y)
    assert (verdict.dual, verdict.primal) == (0.0, pytest.approx(2.5, rel=1e-14))
    assert not extremal.verify(proof.claiming(1e-300, 2.5), X, y)


def test_extra_half_spaces_and_directions_that_do_not_span(cases):
    """A tree that splits by a vector that is no row, and a frame that is not quite one."""
    case = cases["squared, 2 outputs"]
    trees = []
    for tree in case.proof.trees:
        lengths = np.array(path_lengths(tree.splits))
        forces = [[0.0, *part] for part in np.split(tree.forces, np.cumsum(lengths)[:-1])] * 2
        doubled = np.concatenate([[8], tree.splits, tree.splits])
        twice = {name: np.concatenate([getattr(tree, name)] * 2) for name in ("w", "slopes", "vectors")}
        pulls = np.zeros((sum(map(len, forces)), 3))
        extra = np.array([[1.0, -1.0, 0.3]])
        trees.append(replace(tree, splits=doubled, extra=extra, forces=np.concatenate(forces), pulls=pulls, **twice))
    proof = replace(case.proof, trees=tuple(trees))
    assert extremal.verify(proof, case.X, case.y).accepted
    for directions in ([[1.0, 1.0], [0.0, 0.0]], [[1.0, 0.0], [0.0, 0.0]], [[0.1, 0.0], [0.0, 0.1]]):
        assert "span" in extremal.verify(replace(proof, directions=np.array(directions)), case.X, case.y).reason


# --------------------------------------------------------------------------------------- losses and their conjugates


@pytest.mark.parametrize("loss", LOSSES)
def test_conjugate_meets_the_loss_where_they_touch(loss):
    """Fenchel-Young: D(lam) = loss(F) + lam . F at lam = -grad loss(F), in 50 digits, and D <= that elsewhere."""
    rng, D = np.random.default_rng(11), Decimal
    for _ in range(100):
        c = 3 if loss == "softmax" else 1
        F = (3 * rng.standard_normal(c)).tolist()
        w = float(rng.uniform(0.1, 2))
        y = np.eye(3)[rng.integers(0, 3)] if c == 3 else [rng.choice([-1.0, 1.0])]
        bound = bind(loss, np.array([y]) if c == 3 else y, [w])
        lam = bound.dual(np.array([F]))[0]
        y, F, v = ([D(float(t)) for t in part] for part in (y, F, lam * (1 - 1e-15)))
        with localcontext(DIGITS):
            if loss == "softmax":
                label = y.index(D(1))
                v[label] = -sum(v[:label] + v[label + 1 :])
            value, size = dual_term(loss, D(w), y, v)
            above = D(w) * loss_term(Objective(loss), y, F, [D(0)] * c)
            at = above + sum(a * b for a, b in zip(v, F, strict=True))
            assert value - SLACK * size <= at
            assert abs(at - value) < D("1e-13") * (1 + size)


@dataclass(frozen=True)
class Objective:
    loss: str
    delta: float = 1.35


@pytest.mark.parametrize("name", CASES)
def test_objective_is_that_of_100_digits_from_above(cases, name):
    case = cases[name]
    proof = case.proof
    target = bind(proof.loss, case.y).target
    with mp.workdps(100):
        X = np.hstack([case.X, np.ones((8, 1))]) if proof.bias else case.X
        X, W, A = (mp.matrix(part.tolist()) for part in (X, proof.hidden, proof.output))
        hidden = X * W
        F = hidden.apply(lambda z: max(z, mp.mpf(0))) * A
        total = mp.mpf(proof.beta) / 2 * (sum(w * w for w in W) + sum(a * a for a in A))
        for i in range(8):
            f = [F[i, k] + mp.mpf(float(b)) for k, b in enumerate(proof.offset)]
            total += mp.mpf(float(proof.weight[i])) * exact_loss(proof, f, [mp.mpf(float(t)) for t in target[i]])
        primal = extremal.verify(proof, case.X, case.y).primal
        assert total <= mp.mpf(primal) <= total * (1 + mp.mpf(10) ** -12)


def exact_loss(proof, f, y):
    if proof.loss == "squared":
        return sum((a - b) ** 2 for a, b in zip(f, y, strict=True)) / 2
    if proof.loss == "huber":
        r, delta = abs(f[0] - y[0]), mp.mpf(proof.delta)
        return r * r / 2 if r <= delta else delta * r - delta * delta / 2
    if proof.loss == "logistic":
        return mp.log(1 + mp.exp(-y[0] * f[0]))
    if proof.loss == "squared_hinge":
        return max(1 - y[0] * f[0], mp.mpf(0)) ** 2 / 2
    return mp.log(sum(mp.exp(v) for v in f)) - sum(a * b for a, b in zip(f, y, strict=True))


@pytest.mark.parametrize("name", [name for name in CASES if "intercept" in name])
def test_defects_of_the_sums_are_paid_for(cases, name):
    """A dual point off the constraint proves less, in proportion; the bound stays below the optimum."""
    case, rng = cases[name], np.random.default_rng(12)
    best = extremal.verify(case.proof, case.X, case.y)
    losses = []
    for size in (1e-12, 1e-8, 1e-5):
        lam = case.proof.lam * (1 - size * rng.random(case.proof.lam.shape))
        verdict = extremal.verify(replace(case.proof, lam=lam, dual=0.0), case.X, case.y)
        assert verdict.accepted
        assert verdict.dual <= best.primal
        losses.append(best.dual - verdict.dual)
    assert abs(losses[0]) < 1e-10 * best.dual
    assert losses[2] < 1e-2 * best.dual


# ------------------------------------------------------------------------------------------------ the command line


def test_command_line(cases, tmp_path):
    case = cases["squared"]
    proof, data = tmp_path / "proof.npz", tmp_path / "data.csv"
    case.proof.save(proof)
    write_csv(data, case.X, case.y)
    run = CliRunner().invoke(main, ["verify", str(proof), str(data)])
    assert run.exit_code == 0, run.output
    assert run.output.startswith("Proved: ")
    run = CliRunner().invoke(main, ["verify", str(proof), str(data), "--target", "y", "--json"])
    assert run.exit_code == 0
    assert json.loads(run.output)["accepted"] is True
    run = CliRunner().invoke(main, ["verify", str(proof), str(data), "--target", "x0"])
    assert run.exit_code == 5
    assert run.output.startswith("Rejected: X is not the data")
    run = CliRunner().invoke(main, ["verify", str(data), str(data), "--json"])
    assert run.exit_code == 5
    assert json.loads(run.output)["dual"] is None
    run = CliRunner().invoke(main, ["verify", str(proof), str(data), "--drop", "none"])
    assert run.exit_code == 1
    assert CliRunner().invoke(main, ["verify", str(proof)]).exit_code == 2


def test_command_line_finds_standardised_columns_and_words(tmp_path):
    from extremal.cli.commands import scaling, target_scaling

    rng = np.random.default_rng(13)
    X, y = 5 + 2 * rng.standard_normal((7, 2)), 3 + rng.standard_normal(7)
    data, proof = tmp_path / "data.csv", tmp_path / "proof.npz"
    write_csv(data, X, y)
    (centre, scale), (middle, size) = scaling(X, True), target_scaling(y, True)
    proof_of((X - centre) / scale, (y - middle) / size, beta=0.3, time_limit=10).save(proof)
    assert CliRunner().invoke(main, ["verify", str(proof), str(data)]).exit_code == 0
    proof_of((X - centre) / scale, y, beta=0.3, time_limit=10).save(proof)
    assert CliRunner().invoke(main, ["verify", str(proof), str(data)]).exit_code == 0
    words = np.where(y > 3, "yes", "no")
    write_csv(data, X, words)
    proof_of(X, (y > 3).astype(float), beta=0.3, loss="logistic", time_limit=10).save(proof)
    assert CliRunner().invoke(main, ["verify", str(proof), str(data)]).exit_code == 0


def test_command_line_takes_the_scaling_of_a_model(tmp_path):
    from extremal.cli.model import Model

    rng = np.random.default_rng(14)
    X, y = rng.standard_normal((7, 2)), rng.standard_normal(7)
    data, model, proof = tmp_path / "data.csv", tmp_path / "model.npz", tmp_path / "proof.npz"
    write_csv(data, X, y)
    centre, scale = np.array([0.5, -1.0]), np.array([2.0, 3.0])
    net = extremal.Network.zero(2, bias=True)
    names = np.array(["x0", "x1"])
    Model(net, names, "y", "squared", 0.1, False, centre, scale, 0.25, 4.0, np.array([])).save(str(model))
    proof_of((X - centre) / scale, (y - 0.25) / 4, beta=0.3, time_limit=10).save(proof)
    assert CliRunner().invoke(main, ["verify", str(proof), str(data), "--model", str(model)]).exit_code == 0
    assert CliRunner().invoke(main, ["verify", str(proof), str(data)]).exit_code == 5


def write_csv(path, X, y):
    lines = [",".join([*(repr(float(v)) for v in row), str(t)]) for row, t in zip(X, y, strict=True)]
    header = ",".join([*(f"x{k}" for k in range(X.shape[1])), "y"])
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
