"""The live judge: what it says is true, what it costs stays below its budget, and what it writes can be read."""

import csv
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import extremal
from extremal import interop, plotting
from extremal.conventions import WeightDecay
from extremal.interop.live import COLUMNS, LiveJudge, Look, Standard, verdict_of

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

from extremal.interop.torch import Judge, from_torch, race, to_torch  # noqa: E402

RNG = np.random.default_rng(5)
X = RNG.standard_normal((30, 2))
Y = np.sin(2 * X[:, :1]) + 0.1 * RNG.standard_normal((30, 1))
LABELS = (Y > 0).astype(float)


class Time:
    """A clock that only moves when it is told to: where it stands still, looks cost nothing and are always taken."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


class Watch(LiveJudge):
    """A judge whose looks cost what they are told to, for a model that is its own objective."""

    def __init__(self, standard, cost, **options):
        self.time = Time()
        super().__init__(clock=self.time, **options)
        self._given, self._cost = standard, cost

    def _prepared(self, model):
        return self._given

    def _objective(self, model):
        self.time.now += self._cost(model) if callable(self._cost) else self._cost
        return float(model)

    def _network(self, model):
        raise AssertionError("nothing better is to be had")


def closed(best=1.0, lower=1.0, tol=1e-6):
    return Standard(None, None, tol, None, best, lower)


def module(c=1, m=8, bias=True, seed=0, dtype=torch.float64):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(2, m, bias=bias), nn.ReLU(), nn.Linear(m, c, bias=bias)).to(dtype)


def train(net, optimiser, judge, epochs, loss, rows=X, targets=Y):
    rows, targets = torch.as_tensor(rows), torch.as_tensor(targets)
    judge(net)
    for _ in range(epochs):
        optimiser.zero_grad()
        loss(net(rows), targets).backward()
        optimiser.step()
        judge(net)


class TestBudget:
    @given(
        st.lists(st.floats(1e-3, 10), min_size=30, max_size=200),
        st.floats(1e-4, 1),
        st.sampled_from([0.01, 0.05, 0.3]),
        st.integers(1, 7),
    )
    def test_looks_of_constant_cost_never_exceed_their_share(self, epochs, cost, budget, every):
        judge = Watch(closed(), cost, budget=budget, every=every)
        judge(2.0)
        for seconds in epochs:
            judge.time.now += seconds
            judge(2.0)
            assert judge.accounts.judging <= budget * judge.accounts.training + 1e-9
        assert judge.accounts.training == pytest.approx(sum(epochs))
        steps = np.diff([look.epoch for look in judge.history])
        assert np.all(steps >= every)
        # and it is not stingy: what is left would not have paid for a look at the last call, or it was not due
        if judge.history[-1].epoch < len(epochs) and len(epochs) - judge.history[-1].epoch >= every:
            assert cost > judge.accounts.left - 1e-9

    @given(st.lists(st.floats(1e-3, 0.2), min_size=20, max_size=60))
    def test_looks_of_any_cost_are_paid_back(self, costs):
        """Each look may cost more than was expected, by the excess over the largest of the last; then it waits."""
        left = iter([0.01, *costs, *costs, *costs])
        judge = Watch(closed(), lambda model: next(left), budget=0.05)
        judge(1.0)
        overdrawn = 0.0
        for _ in range(len(costs)):
            judge.time.now += 1.0
            spent = judge.accounts.judging
            if judge(1.0) is not None:
                assert spent <= 0.05 * judge.accounts.training
                overdrawn = judge.accounts.judging - spent
            assert judge.accounts.judging <= 0.05 * judge.accounts.training + overdrawn
        judge.time.now += 20 * overdrawn + 100
        judge.accounts.charge_training()
        assert judge.share <= 0.05

    def test_the_judges_own_time_is_not_in_the_seconds(self):
        judge = Watch(closed(), 7.0, budget=1e3)
        judge(3.0)
        for _ in range(3):
            judge.time.now += 2.0
            judge(3.0)
        assert [look.seconds for look in judge.history] == [0.0, 2.0, 4.0, 6.0]
        assert [look.epoch for look in judge.history] == [0, 1, 2, 3]

    def test_a_last_look_is_taken_whatever_it_costs_and_not_twice(self):
        judge = Watch(closed(), 5.0)
        judge(3.0)
        for _ in range(4):
            judge.time.now += 1.0
            judge(2.0)
        assert len(judge.history) == 1
        assert judge.verdict(1.5) == "after 4 epochs training is 50 % above the best possible (1)"
        assert judge.verdict(1.5) == judge.verdict()
        assert [look.epoch for look in judge.history] == [0, 4]

    def test_without_a_budget_there_is_a_look_after_every_epoch_and_no_search(self):
        judge = Watch(closed(best=2.0, lower=1.0), 50.0, budget=None)
        for _ in range(5):
            judge(2.0)
            judge.time.now += 1e-3
        assert [look.epoch for look in judge.history] == [0, 1, 2, 3, 4]

    @pytest.mark.parametrize("bad", [0, -0.1, np.nan, np.inf])
    def test_a_budget_is_a_positive_share(self, bad):
        with pytest.raises(ValueError, match="positive share"):
            Watch(closed(), 1.0, budget=bad)
        with pytest.raises(ValueError, match="at least 1"):
            Watch(closed(), 1.0, every=0)


class TestVerdict:
    @pytest.mark.parametrize(
        ("objective", "best", "lower", "words"),
        [
            (1.032, 1.0, 1.0, "is 3.2 % above the best possible (1)"),
            (1.05, 1.0, 0.9, "is 5 to 17 % above the best possible (0.9 .. 1)"),
            (1.0, 1.0, 0.8, "is the best known, at most 25 % above the best possible (0.8 .. 1)"),
            (1.0, 1.0, 1.0, "is globally optimal: 1, and no network can be below 1"),
            (np.inf, 1.0, 0.9, "has diverged; the best possible is (0.9 .. 1)"),
            (0.5, 0.4, 0.0, "stands at 0.5; the best possible is (0 .. 0.4)"),
        ],
    )
    def test_one_line_says_what_is_known(self, objective, best, lower, words):
        look = Look(200, 1.0, objective, lower, best)
        assert verdict_of("Adam", look, closed(best, lower)) == f"after 200 epochs Adam {words}"

    def test_before_anything_was_seen_it_says_so(self):
        judge = Watch(closed(), 1.0)
        assert "nothing was judged" in judge.verdict()
        with pytest.raises(ValueError, match="seen nothing"):
            judge.verdict(1.0)
        with pytest.raises(ValueError, match="nothing was judged"):
            judge.plot()

    def test_a_better_network_moves_the_best_and_a_diverged_one_nothing(self):
        judge = Watch(closed(best=2.0, lower=1.0), 0.0)
        for objective in (5.0, 1.5, np.nan, np.inf, 3.0):
            judge.time.now += 1
            judge(objective)
        assert judge.standard.best == 1.5
        assert [look.best for look in judge.history] == [2.0, 1.5, 1.5, 1.5, 1.5]
        assert [look.objective for look in judge.history] == [5.0, 1.5, np.inf, np.inf, 3.0]
        assert [look.gap for look in judge.history] == pytest.approx([0.8, 1 / 3, 1, 1, 2 / 3])


class TestTorch:
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    @pytest.mark.parametrize(
        ("loss", "targets"),
        [
            (nn.MSELoss(), Y),
            (nn.MSELoss(reduction="sum"), Y),
            (nn.HuberLoss(delta=0.4), Y),
            (nn.BCEWithLogitsLoss(), LABELS),
        ],
    )
    def test_the_objective_is_torchs_own_and_the_bound_is_below_everything(self, loss, targets, dtype):
        net = module(dtype=dtype)
        rows, y = torch.as_tensor(X, dtype=dtype), torch.as_tensor(targets, dtype=dtype)
        optimiser = torch.optim.SGD(net.parameters(), lr=0.02, momentum=0.9, weight_decay=0.1)
        judge = Judge(rows, y, optimizer=optimiser, loss=loss, clock=Time(), time_limit=20)
        train(net, optimiser, judge, 40, loss, rows, y)
        exact = net.double()
        penalty = 0.05 * sum((p**2).sum() for p in exact.parameters())
        theirs = (loss(exact(rows.double()), y.double()) + penalty).item()
        last = judge.history[-1]
        assert last.objective == pytest.approx(theirs, rel=1e-12)
        assert last.epoch == 40
        assert last.lower <= min(look.objective for look in judge.history) * (1 + 1e-12)
        assert last.lower <= last.best <= last.objective
        assert judge.standard.lower == pytest.approx(judge.standard.best, rel=1e-5)

    def test_with_beta_the_convention_is_that_of_fit(self):
        net = module()
        judge = Judge(X, Y, beta=0.3)
        look = judge(net)
        result = extremal.fit(X, Y, beta=0.3, intercept=True)
        assert look.objective == pytest.approx(from_torch(net).objective(X, Y, beta=0.3), rel=1e-12)
        assert judge.standard.best == pytest.approx(result.certificate.primal, rel=1e-5)
        without = Judge(X, Y, beta=0.3)
        without(module(bias=False))
        plain = extremal.fit(X, Y, beta=0.3, bias="none")
        assert without.standard.best == pytest.approx(plain.certificate.primal, rel=1e-5)

    def test_the_best_network_put_into_the_module_is_judged_optimal(self):
        first = Judge(X, Y, decay=WeightDecay(0.2, 0.3, 0.1, 0.4), loss=nn.MSELoss())
        first(module())
        best = to_torch(first.standard.network, bias=True)
        rival = first.rival("the best")
        rival(best)
        assert "globally optimal" in rival.verdict()
        assert rival.standard is first.standard

    def test_blocks_of_rows_change_nothing(self, monkeypatch):
        images = torch.randn(20, 1, 2, generator=torch.Generator().manual_seed(0))
        net = nn.Sequential(nn.Flatten(), module(c=3, dtype=torch.float32))
        classes = torch.arange(20) % 3
        found = []
        for block in (1, 1 << 20):
            monkeypatch.setattr("extremal.interop.torch.judge.BLOCK", block)
            judge = Judge(images, classes, beta=0.01, loss=nn.CrossEntropyLoss(), time_limit=1)
            found.append(judge(net).objective)
        assert found[0] == pytest.approx(found[1], rel=1e-14)

    def test_training_is_left_as_it_is(self):
        """The same weights to the last bit with and without a judge, and no graph is kept."""
        loss, ends = nn.MSELoss(), []
        for judged in (False, True):
            net = module()
            optimiser = torch.optim.Adam(net.parameters(), lr=0.01, weight_decay=0.1)
            judge = Judge(X, Y, optimizer=optimiser, loss=loss, clock=Time()) if judged else lambda net: None
            train(net, optimiser, judge, 10, loss)
            ends.append([p.detach().clone() for p in net.parameters()])
        assert all(torch.equal(a, b) for a, b in zip(*ends, strict=True))

    def test_divergence_is_recorded_and_does_not_end_training(self):
        net = module()
        optimiser = torch.optim.SGD(net.parameters(), lr=1e6, weight_decay=0.1)
        judge = Judge(X, Y, optimizer=optimiser, loss=nn.MSELoss(), clock=Time())
        train(net, optimiser, judge, 60, nn.MSELoss())
        assert judge.history[-1].objective == np.inf
        assert "has diverged" in judge.verdict()

    def test_attached_to_an_optimiser_it_counts_epochs_itself(self):
        net, loss = module(), nn.MSELoss()
        optimiser = torch.optim.SGD(net.parameters(), lr=0.01, weight_decay=0.1)
        judge = Judge(X, Y, optimizer=optimiser, loss=loss, clock=Time())
        handle = judge.attach(net, optimiser, steps=3)
        rows, targets = torch.as_tensor(X), torch.as_tensor(Y)
        for _ in range(4):
            for batch in torch.arange(30).split(10):
                optimiser.zero_grad()
                loss(net(rows[batch]), targets[batch]).backward()
                optimiser.step()
        assert [look.epoch for look in judge.history] == [0, 1, 2, 3, 4]
        handle.remove()
        optimiser.step()
        optimiser.step()
        optimiser.step()
        assert len(judge.history) == 5
        with pytest.raises(ValueError, match="at least 1"):
            judge.attach(net, optimiser, steps=0)

    def test_time_left_over_goes_into_a_better_bound(self):
        """With the search before training cut short, and a long training, the bound gets better; it stays a bound."""
        rng = np.random.default_rng(0)
        rows = rng.standard_normal((40, 6))
        y = rng.standard_normal((40, 1))
        clock = Time()
        judge = Judge(rows, y, beta=1.0, time_limit=0.02, clock=clock, tol=1e-3)
        net = nn.Sequential(nn.Linear(6, 20), nn.ReLU(), nn.Linear(20, 1)).double()
        judge(net)
        before = judge.standard.lower
        exact = extremal.fit(rows, y, beta=1.0, intercept=True, time_limit=3)
        near = to_torch(exact.network, bias=True)
        clock.now += 200.0
        judge(near)
        assert judge.standard.lower > before
        assert judge.standard.lower <= exact.certificate.primal * (1 + 1e-9)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({}, "exactly one"),
            ({"beta": 1.0, "decay": WeightDecay(1, 1)}, "exactly one"),
            ({"beta": -1.0}, "positive and finite"),
            ({"beta": 1.0, "budget": 0}, "positive share"),
            ({"beta": 1.0, "loss": "absolute"}, "absolute"),
            ({"beta": 1.0, "loss": nn.L1Loss()}, "L1Loss"),
            ({"decay": WeightDecay(1, 1)}, "hidden_bias of the weight decay must be a number"),
            (
                {"decay": WeightDecay(1, 1, 1, 1), "net": module(bias=False)},
                "hidden_bias of the weight decay must be None",
            ),
            ({"beta": 1.0, "net": nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 1))}, "3 features, X has 2"),
            ({"beta": 1.0, "net": nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 1))}, "Tanh"),
            ({"beta": 1.0, "y": Y[:3]}, "30 rows and y has 3"),
            ({"beta": 1.0, "X": X[:, 0]}, "nonempty"),
        ],
    )
    def test_bad_input_is_refused_before_training(self, options, message):
        net = options.pop("net", module())
        rows, targets = options.pop("X", X), options.pop("y", Y)
        with pytest.raises(ValueError, match=message):
            Judge(rows, targets, **options)(net)

    def test_an_optimiser_without_weight_decay_or_without_loss_is_refused(self):
        net = module()
        with pytest.raises(ValueError, match="the loss is needed"):
            Judge(X, Y, optimizer=torch.optim.Adam(net.parameters()))
        with pytest.raises(ValueError, match="no weight decay"):
            Judge(X, Y, optimizer=torch.optim.LBFGS(net.parameters()), loss=nn.MSELoss())(net)
        with pytest.raises(ValueError, match="decoupled"):
            Judge(X, Y, optimizer=torch.optim.AdamW(net.parameters()), loss=nn.MSELoss())(net)

    def test_rivals_must_be_alike(self):
        judge = Judge(X, Y, beta=1.0)
        with pytest.raises(ValueError, match="its own module first"):
            judge.rival("other")
        judge(module())
        with pytest.raises(ValueError, match="has no bias"):
            judge.rival("other")(module(bias=False))
        with pytest.raises(ValueError, match="2 outputs"):
            judge.rival("other")(module(c=2))


class TestLogs:
    def test_the_table_is_whole_after_every_look(self, tmp_path):
        path = tmp_path / "run.csv"
        judge = Watch(closed(best=1.5, lower=1.25), 0.0, csv=path)
        for objective in (3.0, 2.0, np.inf):
            judge.time.now += 0.1
            judge(objective)
            with open(path, newline="") as file:
                rows = list(csv.DictReader(file))
            assert tuple(rows[0]) == COLUMNS
            for row, look in zip(rows, judge.history, strict=True):
                assert tuple(float(value) for value in row.values()) == look.row()
        judge.close()

    def test_tensorboard_gets_the_same_numbers(self, tmp_path):
        pytest.importorskip("tensorboard")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of TensorBoard's own imports
            from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

            with Watch(closed(best=1.5, lower=1.25), 0.0, log_dir=tmp_path) as judge:
                for objective in (3.0, 2.0):
                    judge.time.now += 0.1
                    judge(objective)
            events = EventAccumulator(str(tmp_path)).Reload()
        for tag, name in (("objective", "objective"), ("lower_bound", "lower"), ("gap", "gap"), ("best_found", "best")):
            scalars = events.Scalars(f"extremal/{tag}")
            assert [event.step for event in scalars] == [0, 1]
            assert [event.value for event in scalars] == pytest.approx([getattr(look, name) for look in judge.history])

    def test_an_interrupted_training_leaves_its_table(self, tmp_path):
        net, loss = module(), nn.MSELoss()
        optimiser = torch.optim.SGD(net.parameters(), lr=0.01, weight_decay=0.1)
        judge = Judge(X, Y, optimizer=optimiser, loss=loss, csv=tmp_path / "run.csv", clock=Time())

        def interrupted(outputs, targets):
            if len(judge.history) == 3:
                raise KeyboardInterrupt
            return loss(outputs, targets)

        with pytest.raises(KeyboardInterrupt):
            train(net, optimiser, judge, 10, interrupted)
        assert len((tmp_path / "run.csv").read_text().splitlines()) == 4
        assert "after 2 epochs SGD" in judge.verdict()
        judge.close()


class TestRace:
    def test_all_start_alike_and_none_ends_below_the_bound(self):
        result = race(X, LABELS, beta=0.02, loss=nn.BCEWithLogitsLoss(), width=10, epochs=30)
        assert [judge.name for judge in result.judges] == ["Adam", "SGD", "L-BFGS"]
        assert len({judge.history[0].objective for judge in result.judges}) == 1
        for judge, net in zip(result.judges, result.modules, strict=True):
            assert judge.history[-1].epoch == 30
            assert judge.history[-1].objective >= result.standard.lower
            assert judge.history[-1].objective < judge.history[0].objective
            weights = [p for name, p in net.named_parameters() if name != "2.bias"]
            value = nn.BCEWithLogitsLoss()(net(torch.as_tensor(X)), torch.as_tensor(LABELS))
            value = value + 0.01 * sum((p**2).sum() for p in weights)
            assert judge.history[-1].objective == pytest.approx(value.item(), rel=1e-12)
        assert str(result).count("after 30 epochs") == 3

    def test_batches_and_sums(self):
        optimisers = {"SGD": lambda p: torch.optim.SGD(p, lr=1e-3)}
        result = race(X, Y, beta=0.5, loss=nn.MSELoss(reduction="sum"), optimizers=optimisers, epochs=20, batch_size=7)
        first, last = result.judges[0].history[0], result.judges[0].history[-1]
        assert last.objective < first.objective
        with pytest.raises(ValueError, match="at least one"):
            race(X, Y, beta=0.5, loss=nn.MSELoss(), optimizers={})
        with pytest.raises(ValueError, match="shape"):
            race(X, Y[:, 0], beta=0.5, loss=nn.MSELoss())

    def test_the_picture_shows_every_run_and_the_region_of_the_optimum(self):
        pyplot = pytest.importorskip("matplotlib.pyplot")
        runs = {"Adam": ([0, 1, 2], [3.0, 2.0, 1.5]), "SGD": ([0, 1, 2], [3.0, np.inf, 1.6]), "lost": ([0], [np.nan])}
        ax = plotting.plot_race(runs, lower=1.0, best=1.25)
        drawn = {line.get_label(): line for line in ax.lines}
        np.testing.assert_allclose(drawn["Adam"].get_ydata(), [2.0, 1.0, 0.5])
        np.testing.assert_allclose(drawn["SGD"].get_xdata(), [0, 2])
        assert "lost" not in drawn
        texts = [text.get_text() for text in ax.texts]
        assert {"Adam", "SGD"} <= set(texts)
        assert "the best possible is in here: 1 .. 1.25" in texts
        top = max(patch.get_y() + patch.get_height() for patch in ax.patches)
        assert top == pytest.approx(0.25)
        pyplot.close("all")

    @pytest.mark.parametrize("options", [{"lower": 0.0}, {"lower": 1.0, "log_x": True}, {"lower": 3.0, "best": 3.0}])
    def test_bounds_of_zero_and_closed_gaps_can_be_drawn(self, options):
        pyplot = pytest.importorskip("matplotlib.pyplot")
        ax = plotting.plot_race({"a": ([0, 1e-3, 5], [9.0, 4.0, 3.0]), "b": ([0, 1, 7], [9.0, 3.5, 3.0])}, **options)
        ax.figure.canvas.draw()
        pyplot.close("all")

    def test_bad_runs_are_refused(self):
        with pytest.raises(ValueError, match="no run"):
            plotting.plot_race({"a": ([0], [np.inf])}, lower=1.0)
        with pytest.raises(ValueError, match="one length"):
            plotting.plot_race({"a": ([0, 1], [2.0])}, lower=1.0)

    def test_a_judge_draws_its_own_run_against_epochs_or_seconds(self):
        pyplot = pytest.importorskip("matplotlib.pyplot")
        judge = Watch(closed(), 0.0)
        for objective in (3.0, 2.0, 1.5):
            judge.time.now += 1.0
            judge(objective)
        assert judge.plot().get_xlabel() == "epochs"
        np.testing.assert_allclose(judge.plot(against="seconds").lines[0].get_xdata(), [1.0, 2.0])
        with pytest.raises(ValueError, match="epochs"):
            judge.plot(against="hours")
        pyplot.close("all")


class TestSklearn:
    @pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
    @pytest.mark.parametrize("kind", ["regressor", "binary", "classes"])
    def test_every_solver_is_judged_by_its_own_objective(self, solver, kind):
        from sklearn.neural_network import MLPClassifier, MLPRegressor

        y = {"regressor": Y[:, 0], "binary": np.array(["no", "yes"])[LABELS[:, 0].astype(int)]}.get(kind)
        y = np.array(["a", "b", "c"])[np.arange(30) % 3] if y is None else y
        make = MLPRegressor if kind == "regressor" else MLPClassifier
        model = make(
            hidden_layer_sizes=(6,), alpha=0.5, solver=solver, max_iter=40, random_state=0, learning_rate_init=0.01
        )
        judge = interop.SklearnJudge(X, y, clock=Time(), time_limit=0.3)
        assert judge.fit(model) is model
        last = judge.history[-1]
        assert last.objective == pytest.approx(interop.as_imported(model).objective(X, y), rel=1e-12)
        assert judge.standard.lower <= min(look.objective for look in judge.history)
        assert solver in judge.verdict()
        assert model.get_params()["max_iter"] == 40
        assert model.get_params()["random_state"] == 0
        assert model.predict(X).shape == (30,)

    def test_epoch_by_epoch_is_what_fit_does(self):
        """Without shuffling the weights after k epochs are those of fit with max_iter=k."""
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.neural_network import MLPRegressor

        options = {"alpha": 0.1, "shuffle": False, "random_state": 3, "max_iter": 12, "batch_size": 10, "tol": 0.0}
        stepped = interop.SklearnJudge(X, Y[:, 0], time_limit=0.3).fit(MLPRegressor(hidden_layer_sizes=(5,), **options))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            whole = MLPRegressor(hidden_layer_sizes=(5,), **options).fit(X, Y[:, 0])
        for ours, theirs in zip(stepped.coefs_, whole.coefs_, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-12)
        assert stepped.n_iter_ == whole.n_iter_

    def test_batches_are_drawn_anew_in_every_epoch(self):
        from sklearn.neural_network import MLPRegressor

        class Recorded(MLPRegressor):
            rows = None

            def _backprop(self, X, *arguments):
                self.rows = [*(self.rows or []), X[:, 0].copy()]
                return super()._backprop(X, *arguments)

        model = Recorded(hidden_layer_sizes=(3,), batch_size=30, max_iter=3, random_state=0)
        interop.SklearnJudge(X, Y[:, 0], time_limit=0.3).fit(model)
        assert len(model.rows) == 3
        assert not np.array_equal(model.rows[0], model.rows[1])

    def test_it_ends_by_the_models_own_rule_and_goes_on_if_asked(self):
        from sklearn.neural_network import MLPRegressor

        model = MLPRegressor(
            hidden_layer_sizes=(4,), alpha=1.0, max_iter=500, tol=1e3, n_iter_no_change=3, random_state=0
        )
        judge = interop.SklearnJudge(X, Y[:, 0], time_limit=0.3)
        judge.fit(model)
        assert model.n_iter_ < 10
        before = judge.history[-1].epoch
        judge.fit(model, epochs=2)
        assert before < judge.history[-1].epoch <= before + 2

    def test_it_follows_the_callback_protocol(self):
        callback = pytest.importorskip("sklearn.callback")
        from sklearn.neural_network import MLPRegressor

        class Told(callback.CallbackSupportMixin, MLPRegressor):
            """scikit-learn's network, which tells its callbacks about every epoch as scikit-learn's estimators do."""

            @callback.with_callbacks
            def fit(self, X, y, epochs=8):
                context = self._init_callback_context(max_subtasks=epochs)
                context.call_on_fit_task_begin(estimator=self, X=X, y=y)
                for _ in range(epochs):
                    task = context.subcontext(task_name="epoch")
                    task.call_on_fit_task_begin(estimator=self, X=X, y=y)
                    self.partial_fit(X, y)
                    task.call_on_fit_task_end(estimator=self, X=X, y=y, reconstruction_attributes={})
                context.call_on_fit_task_end(estimator=self, X=X, y=y, reconstruction_attributes={})
                return self

        judge = interop.SklearnJudge(clock=Time(), time_limit=2)
        assert isinstance(judge, callback.FitCallback)
        model = Told(hidden_layer_sizes=5, alpha=0.5, random_state=0).set_callbacks(judge)
        model.fit(X, Y[:, 0])
        assert [look.epoch for look in judge.history] == list(range(1, 9))
        assert judge.history[-1].objective == pytest.approx(interop.as_imported(model).objective(X, Y[:, 0]), rel=1e-12)
        assert judge.standard.lower <= judge.history[-1].objective
        assert "Told" in judge.verdict()
        model.fit(X, Y[:, 0])
        assert len(judge.history) == 8

    def test_extremals_own_estimator_tells_it_about_its_end(self):
        pytest.importorskip("sklearn.callback")
        judge = interop.SklearnJudge(clock=Time(), time_limit=5)
        extremal.ReLURegressor(alpha=0.1).set_callbacks(judge).fit(X, Y[:, 0])
        assert "globally optimal" in judge.verdict()

    def test_what_cannot_be_judged_is_refused(self):
        from sklearn.linear_model import LinearRegression
        from sklearn.neural_network import MLPRegressor

        judge = interop.SklearnJudge(X, Y[:, 0], time_limit=0.3)
        with pytest.raises(ValueError, match="not LinearRegression"):
            judge.fit(LinearRegression())
        with pytest.raises(ValueError, match="early_stopping"):
            judge.fit(MLPRegressor(early_stopping=True))
        with pytest.raises(ValueError, match="hidden layers"):
            judge.fit(MLPRegressor(hidden_layer_sizes=(3, 3), max_iter=2))
        with pytest.raises(ValueError, match="tanh"):
            judge.fit(MLPRegressor(hidden_layer_sizes=(3,), activation="tanh", max_iter=2))
        with pytest.raises(ValueError, match="SklearnJudge\\(X, y\\)"):
            interop.SklearnJudge().fit(MLPRegressor(hidden_layer_sizes=(3,)))
        with pytest.raises(ValueError, match="both X and y"):
            interop.SklearnJudge(X)


class TestHonesty:
    @settings(max_examples=10)
    @given(
        st.integers(0, 10_000),
        st.floats(0.02, 2),
        st.sampled_from(["SGD", "Adam", "RMSprop"]),
        st.booleans(),
        st.floats(0.001, 0.1),
    )
    def test_no_run_at_random_settings_gets_below_the_bound(self, seed, penalty, kind, bias, rate):
        rng = np.random.default_rng(seed)
        rows, targets = rng.standard_normal((12, 2)), rng.standard_normal((12, 1))
        net = module(m=6, bias=bias, seed=seed)
        optimiser = getattr(torch.optim, kind)(net.parameters(), lr=rate, weight_decay=penalty)
        judge = Judge(rows, targets, optimizer=optimiser, loss=nn.MSELoss(), clock=Time(), time_limit=5)
        train(net, optimiser, judge, 60, nn.MSELoss(), rows, targets)
        for look in judge.history:
            assert judge.standard.lower <= look.objective * (1 + 1e-9)
            assert look.lower <= look.best
        assert judge.standard.best <= judge.history[-1].objective
