"""Anyone's network is judged: the split adds up, nothing gets worse, and no bound is above what anybody finds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp

import extremal
from extremal import Judgement, Network, Status, WeightDecay
from extremal.certificate import Certificate
from extremal.interop import Imported
from extremal.judgement import descent, judge
from extremal.judgement.result import STAGES, percent, printed
from extremal.losses import LOSSES

Array = np.ndarray
DECAYS = {
    "none": WeightDecay(0.2, 0.2),
    "ours": WeightDecay(0.2, 0.2, 0.2, 0.0),
    "torch": WeightDecay.uniform(0.2),
    "all different": WeightDecay(0.3, 0.1, 0.05, 2.0),
    "sklearn": WeightDecay(0.2, 0.2, 0.0, 0.0),
    "free bias, penalised constant": WeightDecay(0.2, 0.2, 0.0, 0.3),
}


def data(loss: str = "squared", n: int = 12, d: int = 2, seed: int = 0) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d))
    if loss == "softmax":
        return X, np.arange(n) % 3
    y = np.sin(2 * X[:, 0]) + 0.3 * rng.normal(size=n)
    return X, np.where(y > np.median(y), 1.0, -1.0) if loss in ("logistic", "squared_hinge") else y


def random_network(decay: WeightDecay, d: int = 2, m: int = 6, c: int = 1, seed: int = 1) -> Network:
    rng = np.random.default_rng(seed)
    constant = rng.normal(size=c) if decay.output_bias is not None else None
    bias = decay.hidden_bias is not None
    return Network(rng.normal(size=(d + bias, m)), rng.normal(size=(m, c)), constant, bias=bias)


def check(judgement: Judgement, value_of) -> None:
    """What holds for every judgement."""
    objectives = [stage.objective for stage in judgement.stages]
    assert [stage.name for stage in judgement.stages] == list(STAGES)
    assert objectives == sorted(objectives, reverse=True)
    assert objectives[0] == judgement.primal
    for stage in judgement.stages:
        assert value_of(stage.network) == pytest.approx(stage.objective, rel=1e-11)
    split = judgement.split
    assert list(split) == [*list(STAGES)[1:], "open"]
    assert all(part >= 0 for part in split.values())
    assert sum(split.values()) == pytest.approx(judgement.primal - judgement.dual, rel=1e-13, abs=1e-13 * objectives[0])
    assert judgement.interval == (judgement.dual, judgement.best)
    assert judgement.dual <= judgement.best <= judgement.primal
    assert judgement.sentence.startswith("your network: ")
    assert judgement.sentence in str(judgement)


# ------------------------------------------------------------------------------------------------ what it promises


@pytest.mark.parametrize("loss", sorted(LOSSES))
@pytest.mark.parametrize("name", DECAYS)
def test_random_networks(name: str, loss: str) -> None:
    """Far from optimal: the witness improves the network, and the optimum does not depend on where it starts."""
    decay = DECAYS[name]
    X, y = data(loss)
    net = random_network(decay, c=3 if loss == "softmax" else 1)
    judgement = judge(net, X, y, decay=decay, loss=loss, time_limit=1.5)
    mapped = decay.problem(X, y, loss=loss)
    check(judgement, mapped.value)
    assert judgement.status is Status.NOT_OPTIMAL
    assert judgement.is_improved
    assert ".improved" in judgement.sentence
    assert "lower" in judgement.sentence
    step = with_neuron(net, judgement.witness, mapped)
    assert step < judgement.primal
    again = judge(judgement.improved, X, y, decay=decay, loss=loss, time_limit=1.5)
    assert again.primal == pytest.approx(judgement.best, rel=1e-12)
    assert again.best >= judgement.dual
    assert judgement.best >= again.dual
    if decay.hidden_bias != 0 and loss != "softmax":
        assert judgement.gap > 1e-3
        assert again.status is Status.OPTIMAL
        assert "it is optimal" in again.sentence


def with_neuron(net: Network, u: Array, mapped) -> float:
    """The least objective with a neuron of this direction, over a grid of sizes and its best outer direction."""
    if not net.bias:
        fit = np.maximum(mapped.design.dense() @ u, 0)
    else:
        fit = np.maximum(mapped.design.dense()[:, :-1] @ u[:-1] + u[-1], 0)
    pull = mapped.loss.dual(net.evaluate(mapped.design)).T @ fit
    v = pull / np.linalg.norm(pull)
    u = u / np.linalg.norm(u)
    sizes = 10.0 ** np.linspace(-4, 1, 41)
    return min(
        mapped.value(
            Network(np.column_stack([net.hidden, r * u]), np.vstack([net.output, r * v]), net.intercept, bias=net.bias)
        )
        for r in sizes
    )


@pytest.mark.parametrize("name", ["ours", "torch", "sklearn"])
def test_the_same_network_in_other_words(name: str) -> None:
    """Neurons permuted, scaled, split, and dead ones: only balancing has more to do; what follows is the same."""
    decay = DECAYS[name]
    X, y = data()
    mapped = decay.problem(X, y)
    rng = np.random.default_rng(4)
    start = descent.balanced(mapped, random_network(decay))
    m = start.width
    order, factor, share = rng.permutation(m), rng.uniform(0.2, 5, m), np.sqrt(rng.uniform(0.1, 0.9, m))
    rest = np.sqrt(1 - share**2)
    b = start.intercept
    others = {
        "permuted": Network(start.hidden[:, order], start.output[order], b, bias=start.bias),
        "scaled": Network(start.hidden * factor, start.output / factor[:, None], b, bias=start.bias),
        "split": Network(
            np.hstack([start.hidden * share, start.hidden * rest]),
            np.vstack([start.output * share[:, None], start.output * rest[:, None]]), b, bias=start.bias,
        ),
        "dead": Network(
            np.hstack([start.hidden, 3 * np.ones((len(start.hidden), 1))]), np.vstack([start.output, [[0.0]]]), b,
            bias=start.bias,
        ),
    }  # fmt: skip
    first = judge(start, X, y, decay=decay, time_limit=2)
    for kind, net in others.items():
        second = judge(net, X, y, decay=decay, time_limit=2)
        assert second.stages[1].objective == pytest.approx(first.stages[1].objective, rel=1e-9), kind
        # what differs in the last digit takes descent elsewhere now and then; mostly it does not
        assert second.stages[2].objective <= first.stages[1].objective, kind
        assert second.best == pytest.approx(first.best, rel=1e-4), kind
        more = second.split["balancing"] - first.split["balancing"]
        assert more == pytest.approx(second.primal - first.primal, abs=1e-9 * first.primal), kind


def test_where_the_gap_comes_from() -> None:
    """A network that lacks one thing loses it in the stage that is there for it."""
    X, y = data(n=14, seed=3)
    decay = DECAYS["ours"]
    best = extremal.fit(X, y, beta=0.2, intercept=True).network
    value = decay.problem(X, y).value(best)
    wide = Network(2 * best.hidden, best.output / 2, best.intercept, bias=True)
    judgement = extremal.certify(wide, X, y, decay=decay)
    assert judgement.split["balancing"] == pytest.approx(judgement.primal - value, rel=1e-6)
    rng = np.random.default_rng(0)
    moved = Network(best.hidden + 1e-3 * rng.normal(size=best.hidden.shape), best.output, best.intercept, bias=True)
    judgement = extremal.certify(moved, X, y, decay=decay)
    assert judgement.split["stationarity"] > 0.9 * (judgement.primal - judgement.dual)
    lacking = Network.zero(2, bias=True)
    judgement = extremal.certify(lacking, X, y, decay=decay)
    assert judgement.split["global search"] > 0.5 * (judgement.primal - judgement.dual)
    assert judgement.split["balancing"] == 0
    judgement = extremal.certify(best, X, y, decay=decay)
    assert judgement.status is Status.OPTIMAL
    assert judgement.split["open"] <= 1e-6 * value


def test_merging_has_its_part() -> None:
    """Two neurons of one pattern that are not parallel are one at less cost; descent that may not move leaves it."""
    X, y = data(n=10, d=2, seed=5)
    decay = WeightDecay(0.1, 0.1)
    mapped = decay.problem(X, y)
    u = np.array([[1.0, 1.0], [0.30, 0.32]])
    assert np.array_equal(X @ u[:, 0] > 0, X @ u[:, 1] > 0)
    net = Network(u, np.array([0.5, 0.5]))
    done = descent.merged(mapped, net, np.inf, np.random.default_rng(0))
    assert done.width == 1
    assert mapped.value(done) < mapped.value(net)


# ------------------------------------------------------------------------------------------------- ending early


@pytest.mark.parametrize("time_limit", [1e-6, 0.05, 0.5])
@pytest.mark.parametrize("name", ["torch", "sklearn"])
def test_time_limits(name: str, time_limit: float) -> None:
    decay = DECAYS[name]
    X, y = data(n=40, d=4)
    judgement = judge(random_network(decay, d=4, m=30), X, y, decay=decay, time_limit=time_limit)
    check(judgement, decay.problem(X, y).value)
    assert judgement.seconds < time_limit + 5  # a machine may be busy


@pytest.mark.parametrize("name", ["torch", "sklearn"])
@pytest.mark.parametrize("stage", ["stationary", "merged", "globally", "fit_problem"])
def test_ctrl_c(name: str, stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is done by then is returned, with a valid gap."""

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    if stage == "fit_problem" and name == "torch":
        monkeypatch.setattr(descent, stage, interrupted)
    else:
        monkeypatch.setattr(extremal.judgement, stage, interrupted)
    decay = DECAYS[name]
    X, y = data()
    judgement = judge(random_network(decay), X, y, decay=decay, time_limit=2)
    check(judgement, decay.problem(X, y).value)
    assert judgement.status is Status.INTERRUPTED
    assert judgement.dual >= 0
    assert judgement.split["balancing"] > 0


def test_ctrl_c_in_the_search_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    from extremal.training import solver

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(solver, "proven_bound", interrupted)
    X, y = data()
    judgement = judge(random_network(DECAYS["torch"]), X, y, decay=DECAYS["torch"])
    assert judgement.status is Status.INTERRUPTED
    assert judgement.is_improved


# ------------------------------------------------------------------------------------------------------- the door


def test_one_door_for_networks_of_all_kinds() -> None:
    """A network of ours by beta or by decay; the same as an import with a mean; and as it is."""
    X, y = data()
    n = len(y)
    net = random_network(DECAYS["ours"])
    by_beta = extremal.certify(net, X, y, beta=0.2, time_limit=2)
    by_decay = extremal.certify(net, X, y, decay=DECAYS["ours"], time_limit=2)
    assert isinstance(by_beta, Judgement)
    assert (by_beta.primal, by_beta.best) == (by_decay.primal, by_decay.best)
    assert by_beta.primal == pytest.approx(net.objective(X, y, beta=0.2), rel=1e-13)
    mean = Imported(net, WeightDecay(0.2 / n, 0.2 / n, 0.2 / n, 0.0), "squared", source="somebody")
    imported = extremal.certify(mean, X, y, time_limit=2)
    assert imported.primal * n == pytest.approx(by_beta.primal, rel=1e-12)
    assert imported.best * n == pytest.approx(by_beta.best, rel=1e-6)
    doubled = extremal.certify(mean, X, y, beta=0.4 / n, time_limit=2)
    assert str(doubled.decay) == str(WeightDecay(0.4 / n, 0.4 / n, 0.4 / n, 0.0))
    plain = extremal.certify(net, X, y, beta=0.2, improve=False)
    assert type(plain) is Certificate
    assert plain.primal == by_beta.primal
    assert plain.dual <= by_beta.dual * (1 + 1e-9)
    free = extremal.certify(net, X, y, decay=DECAYS["sklearn"], improve=False, time_limit=1)
    assert type(free) is Certificate
    assert 0 <= free.dual <= free.primal == pytest.approx(DECAYS["sklearn"].problem(X, y).value(net), rel=1e-12)
    assert "the squared loss + 1/2 (0.2 |W|^2 + 0.2 |b|^2 + 0.2 |A|^2), output bias c not penalised" in str(by_beta)


def test_classes_of_others() -> None:
    """Labels as their model has them, and a class that does not occur in the data."""
    X, y = data("softmax")
    net = random_network(DECAYS["torch"], c=4)
    words = np.array(["ant", "bee", "cow", "dog"])
    model = Imported(net, DECAYS["torch"], "softmax", classes=words)
    judgement = extremal.certify(model, X, words[y], time_limit=1)
    onehot = np.eye(4)[y]
    mapped = DECAYS["torch"].problem(X, onehot, loss="softmax", sample_weight=np.full(len(y), 1 / len(y)))
    assert judgement.primal == pytest.approx(mapped.value(net), rel=1e-12)
    check(judgement, mapped.value)


def test_what_the_door_refuses() -> None:
    X, y = data()
    net = random_network(DECAYS["ours"])
    with pytest.raises(ValueError, match="the weight decay of this Network is not known; give beta="):
        extremal.certify(net, X, y)
    with pytest.raises(ValueError, match="two ways to give the penalty"):
        extremal.certify(net, X, y, beta=1.0, decay=DECAYS["ours"])
    with pytest.raises(ValueError, match="intercept= goes with beta="):
        extremal.certify(net, X, y, decay=DECAYS["ours"], intercept=True)
    with pytest.raises(ValueError, match="beta must be positive and finite"):
        extremal.certify(net, X, y, beta=0.0)
    with pytest.raises(ValueError, match="the loss of this somebody is not known; give loss="):
        extremal.certify(Imported(net, DECAYS["ours"], source="somebody"), X, y)
    for decay in (DECAYS["torch"], DECAYS["sklearn"]):
        with pytest.raises(ValueError, match="a proof can be checked for hidden biases that are penalised like"):
            extremal.certify(net, X, y, decay=decay, proof=True)
    with pytest.raises(ValueError, match="tol must be positive"):
        extremal.certify(net, X, y, beta=1.0, tol=0.0)
    with pytest.raises(ValueError, match="unknown loss"):
        extremal.certify(net, X, y, beta=1.0, loss="hinge")


@pytest.mark.parametrize("name", ["none", "ours"])
def test_proofs(name: str, tmp_path) -> None:
    """The proof is about the given network, with the lower bound that the better one gave."""
    X, y = data(n=14, d=3)
    decay = DECAYS[name]
    net = random_network(decay, d=3)
    judgement = extremal.certify(net, X, y, decay=decay, proof=True)
    check(judgement, decay.problem(X, y).value)
    assert (judgement.primal, judgement.dual) == (judgement.proof.primal, judgement.proof.dual)
    judgement.save(tmp_path / "proof.npz", proof=True)
    verdict = extremal.verify(tmp_path / "proof.npz", X, y)
    assert verdict.accepted
    assert verdict.primal == pytest.approx(decay.problem(X, y).value(net), rel=1e-12)
    assert verdict.dual == judgement.dual
    assert judgement.best <= judgement.dual * (1 + 2e-6)


@pytest.mark.parametrize("name", ["torch", "sklearn", "none"])
def test_files(name: str, tmp_path) -> None:
    X, y = data()
    decay = DECAYS[name]
    judgement = judge(random_network(decay), X, y, decay=decay, time_limit=1)
    judgement.save(tmp_path / "judgement.npz")
    again = Judgement.load(tmp_path / "judgement.npz")
    assert str(again) == str(judgement)
    assert again.decay == decay
    for mine, theirs in zip(again.stages, judgement.stages, strict=True):
        np.testing.assert_array_equal(mine.network.hidden, theirs.network.hidden)
        assert mine.network.bias is theirs.network.bias
    assert Certificate.load(tmp_path / "judgement.npz").dual == judgement.dual
    extremal.fit(X, y, beta=0.2).certificate.save(tmp_path / "plain.npz")
    with pytest.raises(ValueError, match="is a certificate without a judgement"):
        Judgement.load(tmp_path / "plain.npz")


# --------------------------------------------------------------------------------------------------- what it says


@given(st.floats(1e-8, 1e8), st.floats(0, 0.9), st.floats(0, 0.9))
def test_printed_bounds_hold(primal: float, first: float, second: float) -> None:
    """Rounding never crosses: the printed interval contains the real one; ends that differ look different."""
    best = primal * (1 - first)
    dual = best * (1 - second)
    own, low, high = printed(primal, dual, best)
    assert float(low) <= dual
    assert best <= float(high)
    if second > 1e-9:
        assert low != high
    assert float(own) == pytest.approx(primal, rel=1e-4)


def test_percentages() -> None:
    assert [percent(share) for share in (0.0, 0.0333, 0.5, 1.0)] == ["0 %", "3.3 %", "50 %", "100 %"]


# ---------------------------------------------------------------------------------------- trained by others: attack


def trained_by_torch(kind: str, net: Network, mapped, loss: str, y: Array, w: Array, steps: int) -> Network:
    """Full-batch Adam, SGD or L-BFGS of PyTorch on the user's objective."""
    torch = pytest.importorskip("torch")
    decay, X = mapped.decay, torch.tensor(mapped.design.dense())
    parts = [torch.tensor(part, requires_grad=True) for part in (net.hidden, net.output, net.intercept)]
    target, weight = torch.tensor(mapped.loss.target), torch.tensor(w)
    split = len(net.hidden) - net.bias
    if decay.output_bias is None:
        parts[2].requires_grad_(False)

    def objective():
        W, A, c = parts
        F = torch.relu(X @ W) @ A + c
        if loss == "squared":
            values = 0.5 * ((F - target) ** 2).sum(dim=1)
        elif loss == "logistic":
            values = torch.nn.functional.softplus(-target * F)[:, 0]
        else:
            values = -(target * torch.log_softmax(F, dim=1)).sum(dim=1)
        factors = ((decay.hidden, W[:split]), (decay.hidden_bias, W[split:]), (decay.output, A), (decay.output_bias, c))
        return weight @ values + 0.5 * sum((factor or 0.0) * (part**2).sum() for factor, part in factors)

    free = [part for part in parts if part.requires_grad]
    if kind == "lbfgs":
        optimiser = torch.optim.LBFGS(free, max_iter=steps, line_search_fn="strong_wolfe")
    elif kind == "adam":
        optimiser = torch.optim.Adam(free, lr=0.02)
    else:
        optimiser = torch.optim.SGD(free, lr=0.02, momentum=0.9)

    def closure():
        optimiser.zero_grad()
        value = objective()
        value.backward()
        if kind == "sgd":
            torch.nn.utils.clip_grad_norm_(free, 5.0)
        return value

    for _ in range(1 if kind == "lbfgs" else steps):
        optimiser.step(closure)
    return Network(*(part.detach().numpy() for part in parts), bias=net.bias)


def trained_by_sklearn(X: Array, y: Array, loss: str, alpha: float, width: int, seed: int):
    """A fitted MLP, whatever its optimiser had to say."""
    import warnings

    neural = pytest.importorskip("sklearn.neural_network")
    kind = neural.MLPRegressor if loss == "squared" else neural.MLPClassifier
    model = kind(
        hidden_layer_sizes=(width,), alpha=alpha, solver=("lbfgs", "adam")[seed % 2], max_iter=300, random_state=seed
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "maximum iterations reached": it is judged as it is
        return model.fit(X, y)


def attack(seed: int, time_limit: float) -> int:
    """One random problem and networks of all optimisers, judged; how many they are."""
    rng = np.random.default_rng(seed)
    loss = ("squared", "logistic", "softmax")[seed % 3]
    n, d, width = int(rng.integers(6, 31)), int(rng.integers(1, 5)), int(rng.integers(1, 25))
    X = rng.normal(size=(n, d)) @ np.diag(10.0 ** rng.uniform(-0.5, 0.5, d)) + rng.normal(size=d)
    signal = np.sin(2 * X[:, 0]) + 0.5 * rng.normal(size=n)
    y = signal if loss == "squared" else np.where(signal > np.median(signal), 1.0, -1.0)
    if loss == "softmax":
        y = np.argsort(np.argsort(signal)) * 3 // n
    beta = 10.0 ** rng.uniform(-3, -0.5)
    each = beta * 10.0 ** rng.uniform(-1, 1, 4)
    hidden_bias = (None, 0.0, each[2], beta)[int(rng.integers(4))]
    output_bias = (None, 0.0, each[3], beta)[int(rng.integers(4))]
    decay = WeightDecay(each[0], each[1], hidden_bias, output_bias)
    w = np.full(n, 1.0 / n)
    mapped = decay.problem(X, y, loss=loss, sample_weight=w)
    networks = []
    for k, kind in enumerate(("adam", "sgd", "lbfgs")):
        start = random_network(decay, d, width, mapped.loss.shape[1], seed=seed + k)
        small = Network(0.5 * start.hidden, 0.5 * start.output, start.intercept, bias=start.bias)
        networks.append(trained_by_torch(kind, small, mapped, loss, y, w, int(rng.integers(20, 400))))
    judged = [
        judge(net, X, y, decay=decay, loss=loss, sample_weight=w, time_limit=time_limit, tol=1e-5) for net in networks
    ]
    verdicts = [(judged, mapped.value)]
    model = trained_by_sklearn(X, y, loss, float(each[0]), width, seed)
    verdicts.append(([extremal.certify(model, X, y, time_limit=time_limit, tol=1e-5)], None))
    count = 0
    for judgements, value_of in verdicts:
        anyone = min(min(judgement.best, judgement.primal) for judgement in judgements)
        for judgement in judgements:
            if value_of is None:
                value_of = model_value(model, X, y, loss)
            check(judgement, value_of)
            assert judgement.dual <= anyone * (1 + 1e-12)
            assert judgement.best <= judgement.primal
            count += 1
    return count


def model_value(model, X: Array, y: Array, loss: str):
    """scikit-learn's own objective, of any network in its convention."""
    n, batches = len(X), 1 if model.solver == "lbfgs" else -(-len(X) // min(200, len(X)))
    targets = np.eye(3)[y] if loss == "softmax" else y[:, None]

    def value(net: Network) -> float:
        F = net.predict(X)
        if loss == "squared":
            fit = 0.5 * np.mean((F - targets) ** 2)
        elif loss == "logistic":
            fit = np.mean(np.logaddexp(0, -targets * F))
        else:
            own = (F * targets).sum(axis=1, keepdims=True)  # subtracted first: outputs may be huge, and the loss small
            fit = np.mean(logsumexp(F - own, axis=1))
        return fit + 0.5 * batches * model.alpha / n * float((net.hidden[:-1] ** 2).sum() + (net.output**2).sum())

    return value


@pytest.mark.parametrize("seed", range(5))
def test_networks_of_others(seed: int) -> None:
    """Twenty networks, in a second each; two hundred with more time are in the slow test."""
    assert attack(seed, 0.7) == 4


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 150))
def test_two_hundred_networks_of_others(seed: int) -> None:
    assert attack(seed, 3.0) == 4


@settings(max_examples=10)
@given(st.integers(0, 10**6))
def test_wild_scales(seed: int) -> None:
    """Columns and factors over many decades: nothing crosses."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(8, 2)) * 10.0 ** rng.uniform(-3, 3, 2)
    y = rng.normal(size=8) * 10.0 ** rng.uniform(-3, 3)
    each = 10.0 ** rng.uniform(-4, 4, 4)
    decay = WeightDecay(*(float(factor) for factor in each))
    judgement = judge(random_network(decay), X, y, decay=decay, time_limit=0.3)
    check(judgement, decay.problem(X, y).value)
