"""PyTorch: the same function there and back, and the objective that its loss and its optimiser define."""

import copy
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import extremal
from extremal.conventions import WeightDecay

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

from extremal.interop.torch import from_torch, imported, state_dict, to_torch  # noqa: E402
from extremal.interop.torch.objectives import loss_of  # noqa: E402

OPTIMISERS = ("SGD", "ASGD", "Adam", "NAdam", "RAdam", "Adamax", "Adadelta", "Adagrad", "RMSprop")


def mlp(d=3, m=5, c=1, *, bias=True, dtype=torch.float64, seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(d, m, bias=bias), nn.ReLU(), nn.Linear(m, c, bias=bias)).to(dtype)


def data(n=12, d=3, c=1, kind="values", seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d))
    y = {
        "values": 2 * rng.standard_normal((n, c)),
        "labels": rng.integers(0, 2, (n, 1)).astype(float),
        "signs": 2.0 * rng.integers(0, 2, (n, 1)) - 1,
        "classes": rng.integers(0, c, n),
    }[kind]
    return X, y


def outputs(module, X):
    with torch.no_grad():
        return module(torch.from_numpy(X)).numpy()


class Own(nn.Module):
    """A module of a user's own, with its layers registered in the order in which they are not used."""

    def __init__(self, act=torch.relu):
        super().__init__()
        self.last, self.first, self.act = nn.Linear(4, 1), nn.Linear(3, 4), act

    def forward(self, x):
        return self.last(self.act(self.first(x))).squeeze(-1)


class TestRoundTrips:
    @given(
        st.integers(1, 6),
        st.integers(0, 8),
        st.integers(1, 4),
        st.booleans(),
        st.booleans(),
        st.integers(0, 99),
        st.floats(-6, 6),
    )
    def test_network_to_torch_and_back_changes_no_digit(self, d, m, c, bias, intercept, seed, power):
        rng = np.random.default_rng(seed)
        size = 10**power
        net = extremal.Network(
            size * rng.standard_normal((d + bias, m)),
            rng.standard_normal((m, c)) / size,
            rng.standard_normal(c) if intercept else None,
            bias=bias,
        )
        module, X = to_torch(net), rng.standard_normal((20, d))
        scale = 1 + np.abs(net.predict(X)).max()
        np.testing.assert_allclose(outputs(module, X), net.predict(X), rtol=1e-12, atol=1e-12 * scale)
        back = from_torch(module)
        assert back.bias == net.bias
        for name in ("hidden", "output", "intercept"):
            np.testing.assert_array_equal(getattr(back, name), getattr(net, name))
        again = from_torch(state_dict(net))
        np.testing.assert_array_equal(again.hidden, net.hidden)

    @pytest.mark.parametrize("bias", [True, False])
    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
    def test_torch_to_network_and_back_is_exact_in_every_precision(self, dtype, bias):
        module = mlp(d=4, c=3, bias=bias, dtype=dtype)
        back = to_torch(from_torch(module), dtype=dtype)
        for ours, theirs in zip(back.parameters(), module.parameters(), strict=True):
            assert torch.equal(ours, theirs)
        X = np.random.default_rng(0).standard_normal((50, 4))
        exact = outputs(copy.deepcopy(module).double(), X)
        np.testing.assert_allclose(from_torch(module).predict(X), exact, rtol=0, atol=1e-12)

    def test_biases_are_added_or_refused(self):
        plain = extremal.Network(np.eye(2), np.ones(2))
        assert all(layer.bias is not None for layer in to_torch(plain, bias=True) if isinstance(layer, nn.Linear))
        assert set(state_dict(plain)) == {"0.weight", "2.weight"}
        with pytest.raises(ValueError, match="has biases"):
            to_torch(from_torch(mlp()), bias=False)

    def test_a_network_without_neurons_is_its_intercept(self):
        module = to_torch(extremal.Network(np.zeros((3, 0)), np.zeros((0, 2)), np.array([1.0, -2.0])))
        np.testing.assert_array_equal(outputs(module, np.ones((4, 3))), np.tile([1.0, -2.0], (4, 1)))
        assert from_torch(module).width == 0

    def test_random_numbers_and_training_mode_are_left_alone(self):
        module, state = mlp(), torch.get_rng_state()
        module.train()
        to_torch(from_torch(module))
        assert torch.equal(state, torch.get_rng_state())
        assert module.training

    def test_a_network_is_a_copy_and_not_a_view_of_weights_that_train_on(self):
        for bias in (True, False):
            module = mlp(bias=bias)
            nets = [from_torch(module), from_torch(module.state_dict())]
            before = [net.hidden.copy() for net in nets]
            with torch.no_grad():
                module[0].weight += 1
            for net, hidden in zip(nets, before, strict=True):
                np.testing.assert_array_equal(net.hidden, hidden)


class TestForms:
    def test_nested_with_flatten_and_what_is_inactive(self):
        inner = mlp(d=6, c=2)
        module = nn.Sequential(
            nn.Flatten(), nn.Sequential(inner[0], inner[1]), nn.Identity(), nn.Dropout(0.5), inner[2]
        )
        with pytest.raises(ValueError, match="Dropout in training mode"):
            from_torch(module)
        net = from_torch(module.eval())
        X = np.random.default_rng(1).standard_normal((5, 2, 3))
        np.testing.assert_allclose(outputs(module, X), net.predict(X.reshape(5, 6)), atol=1e-12)

    def test_a_module_of_ones_own_is_recognised_by_what_it_computes(self):
        module = Own().double()
        X = np.random.default_rng(1).standard_normal((9, 3))
        np.testing.assert_allclose(from_torch(module).predict(X)[:, 0], outputs(module, X), atol=1e-12)

    @pytest.mark.parametrize(
        "act",
        [torch.tanh, torch.abs, nn.functional.relu6, lambda z: torch.relu(z) + 1e-6 * z, torch.nn.functional.gelu],
    )
    def test_another_activation_inside_forward_is_found_out(self, act):
        with pytest.raises(ValueError, match="outputs differ"):
            from_torch(Own(act))

    def test_compiled_and_parallel_modules_are_unwrapped(self):
        module = mlp()
        expected = from_torch(module).hidden
        np.testing.assert_array_equal(from_torch(nn.DataParallel(module)).hidden, expected)
        np.testing.assert_array_equal(from_torch(torch.compile(module, backend="eager")).hidden, expected)

    def test_hooks_that_change_the_function_are_found_out(self):
        module = mlp()
        module.register_forward_hook(lambda module, inputs, output: 2 * output)
        with pytest.raises(ValueError, match="outputs differ"):
            from_torch(module)

    @pytest.mark.parametrize(
        ("module", "message"),
        [
            (nn.Sequential(nn.Linear(3, 2), nn.LeakyReLU(), nn.Linear(2, 1)), "layer 1 is LeakyReLU"),
            (nn.Sequential(nn.Linear(3, 2), nn.GELU(), nn.Linear(2, 1)), "layer 1 is GELU"),
            (nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 1), nn.Sigmoid()), "BCEWithLogitsLoss"),
            (nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.BatchNorm1d(2), nn.Linear(2, 1)), "BatchNorm1d"),
            (nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1)), "not Sequential"),
            (nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1)), "not Sequential"),
            (
                nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(3, 2)), nn.ReLU(), nn.Linear(2, 1)),
                "_norm",
            ),
            (nn.Sequential(nn.utils.spectral_norm(nn.Linear(3, 2)), nn.ReLU(), nn.Linear(2, 1)), "layer 0"),
            (nn.Sequential(nn.LazyLinear(2), nn.ReLU(), nn.Linear(2, 1)), "call the module once"),
            (nn.Linear(3, 1), "has 1 Linear layers"),
            (nn.Conv1d(3, 1, 1), "has 0 Linear layers"),
            (nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(4, 1)), "2 hidden neurons do not feed 4"),
            ("net", "Module or a state dict"),
            ({"weight": torch.ones(2, 2)}, "two weights"),
            ({"a.weight": torch.ones(2, 3), "b.weight": torch.ones(1, 3)}, "shapes"),
            ({"a.weight": torch.ones(2, 3), "b.weight": torch.ones(1, 2), "g": torch.ones(1)}, "two weights"),
        ],
    )
    def test_anything_else_is_refused_by_its_name(self, module, message):
        with pytest.raises(ValueError, match=message):
            from_torch(module)

    def test_other_parameters_and_shared_weights_are_refused(self):
        module = Own()
        module.extra = nn.Parameter(torch.ones(1))
        with pytest.raises(ValueError, match="besides those of its two Linear layers: extra"):
            from_torch(module)
        tied = mlp(d=3, m=3, c=3)
        tied[2].weight = tied[0].weight
        with pytest.raises(ValueError, match="share one weight"):
            from_torch(tied)

    def test_weights_that_blew_up_are_refused(self):
        module = mlp()
        with torch.no_grad():
            module[0].weight[0, 0] = float("nan")
        with pytest.raises(ValueError, match="NaN"):
            from_torch(module)


LOSSES = [
    (nn.MSELoss(), 1, "values"),
    (nn.MSELoss(), 3, "values"),
    (nn.MSELoss(reduction="sum"), 3, "values"),
    (nn.HuberLoss(delta=1.35), 2, "values"),
    (nn.HuberLoss(delta=1.35, reduction="sum"), 1, "values"),
    (nn.SmoothL1Loss(beta=1.35), 2, "values"),
    (nn.SmoothL1Loss(beta=1.35, reduction="sum"), 2, "values"),
    (nn.BCEWithLogitsLoss(), 1, "labels"),
    (nn.BCEWithLogitsLoss(reduction="sum"), 1, "labels"),
    (nn.SoftMarginLoss(), 1, "signs"),
    (nn.CrossEntropyLoss(), 3, "classes"),
    (nn.CrossEntropyLoss(reduction="sum"), 2, "classes"),
]


def penalty(decay, module):
    """The factors of the four parameters, applied by hand."""
    factors = (decay.hidden, decay.hidden_bias, decay.output, decay.output_bias)
    present = [module[0].weight, module[0].bias, module[2].weight, module[2].bias]
    return sum(0.5 * f * (p**2).sum() for f, p in zip(factors, present, strict=True) if p is not None)


def grouped(module, decays, kind="SGD", **options):
    """An optimiser with a weight decay for each parameter."""
    groups = [{"params": [p], "weight_decay": w} for p, w in zip(module.parameters(), decays, strict=True)]
    return getattr(torch.optim, kind)(groups, lr=0.5, **options)


class TestObjectives:
    @pytest.mark.parametrize(("loss", "c", "kind"), LOSSES)
    @pytest.mark.parametrize("bias", [True, False])
    def test_the_value_is_the_loss_modules_own(self, loss, c, kind, bias):
        X, y = data(n=17, c=c, kind=kind)
        module = mlp(c=c, bias=bias)
        optimiser = torch.optim.SGD(module.parameters(), lr=0.1, weight_decay=0.03)
        found = imported(module, optimiser, loss)
        theirs = loss(module(torch.from_numpy(X)), torch.from_numpy(y)).item()
        theirs += 0.5 * 0.03 * sum((p**2).sum().item() for p in module.parameters())
        weight = found.sample_weight(len(X))
        bound = loss_of(loss, c).bind(y, c)
        np.testing.assert_array_equal(bound.weight, weight)
        ours = bound.value(found.network.predict(X)) + penalty(found.decay, module).item()
        assert ours == pytest.approx(theirs, rel=1e-10)
        if kind != "classes" or set(y) == set(range(c)):
            target = y if c > 1 and kind == "values" else y.ravel()
            plain = found.network.objective(X, target, beta=1e-9, loss=found.loss, sample_weight=weight)
            assert plain == pytest.approx(bound.value(found.network.predict(X)) + 1e-9 * found.network.penalty())

    @pytest.mark.parametrize(("loss", "c", "kind"), LOSSES)
    def test_a_step_of_sgd_follows_the_gradient_of_the_objective_that_is_claimed(self, loss, c, kind):
        """theta - theta' = lr * grad(loss + penalty), the gradient taken here by central differences of ours."""
        X, y = data(n=9, c=c, kind=kind)
        module = mlp(m=4, c=c)
        decays = (0.3, 0.02, 0.7, 0.05)  # hidden weight, hidden bias, output weight, output bias
        optimiser = grouped(module, decays)
        found = imported(module, optimiser, loss)
        assert found.decay == WeightDecay(0.3, 0.7, hidden_bias=0.02, output_bias=0.05)
        bound = loss_of(loss, c).bind(y, c)
        start = [p.detach().clone() for p in module.parameters()]

        def objective(k, move):
            other = copy.deepcopy(module)
            with torch.no_grad():
                list(other.parameters())[k].copy_(start[k] + move)
                return bound.value(from_torch(other).predict(X)) + penalty(found.decay, other).item()

        rng = np.random.default_rng(0)
        directions = [torch.from_numpy(rng.standard_normal(p.shape)) for p in start]
        h = 1e-6
        slopes = [(objective(k, h * v) - objective(k, -h * v)) / (2 * h) for k, v in enumerate(directions)]
        loss(module(torch.from_numpy(X)), torch.from_numpy(y)).backward()
        optimiser.step()
        for p, before, v, slope in zip(module.parameters(), start, directions, slopes, strict=True):
            moved = ((before - p.detach()) / 0.5 * v).sum().item()
            assert moved == pytest.approx(slope, rel=1e-6, abs=1e-7)

    @pytest.mark.parametrize("kind", OPTIMISERS)
    def test_the_weight_decay_of_every_coupled_optimiser_is_part_of_its_gradient(self, kind):
        """With the penalty in the loss instead, the optimiser takes the same steps. ASGD has a further decay term."""
        X, y = data()
        rows, targets = torch.from_numpy(X), torch.from_numpy(y)
        built_in, explicit = mlp(), mlp()
        own, none = ({"lambd": 0.01, "alpha": 0.0}, {"lambd": 0.0, "alpha": 0.0}) if kind == "ASGD" else ({}, {})
        decay = imported(built_in, grouped(built_in, (0.3, 0.02, 0.7, 0.05), kind, **own)).decay
        runs = [
            (built_in, grouped(built_in, (0.3, 0.02, 0.7, 0.05), kind, **own)),
            (explicit, grouped(explicit, [0] * 4, kind, **none)),
        ]
        for module, optimiser in runs:
            for _ in range(5):
                optimiser.zero_grad()
                value = nn.functional.mse_loss(module(rows), targets)
                (value + penalty(decay, module) if module is explicit else value).backward()
                optimiser.step()
        for ours, theirs in zip(built_in.parameters(), explicit.parameters(), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)

    @pytest.mark.parametrize(
        "make",
        [
            lambda p: torch.optim.AdamW(p),
            lambda p: torch.optim.Adam(p, weight_decay=0.1, decoupled_weight_decay=True),
            lambda p: torch.optim.NAdam(p, weight_decay=0.1, decoupled_weight_decay=True),
            lambda p: torch.optim.Adafactor(p, weight_decay=0.1),
        ],
    )
    def test_decoupled_weight_decay_is_refused_and_says_what_to_do(self, make):
        module = mlp()
        with pytest.raises(ValueError, match=r"decoupled.*Adam\(weight_decay=\.\.\.\).*beta="):
            imported(module, make(module.parameters()))

    @pytest.mark.parametrize(
        "make", [torch.optim.LBFGS, torch.optim.Rprop, torch.optim.Adam, lambda p: torch.optim.AdamW(p, weight_decay=0)]
    )
    def test_without_weight_decay_the_penalty_is_not_known(self, make):
        module = mlp()
        assert imported(module, make(module.parameters())).decay is None
        assert imported(module).decay is None

    def test_what_is_not_trained_or_not_penalised_is_named(self):
        module = mlp()
        with pytest.raises(ValueError, match="hidden weight is not trained by this SGD"):
            imported(module, torch.optim.SGD(module[2].parameters(), lr=1, weight_decay=1))
        with pytest.raises(ValueError, match="output weight has no weight decay"):
            imported(module, grouped(module, (1, 1, 0, 0)))
        assert imported(module, grouped(module, (1, 0, 2, 0))).decay == WeightDecay(1, 2, 0.0, 0.0)
        module[0].bias.requires_grad_(False)
        with pytest.raises(ValueError, match="hidden bias is not trained"):
            imported(module, torch.optim.SGD(module.parameters(), lr=1, weight_decay=1))
        other = mlp(bias=False)
        with pytest.raises(ValueError, match="maximises"):
            imported(other, torch.optim.SGD(other.parameters(), lr=1, weight_decay=1, maximize=True))
        assert imported(other, grouped(other, (1, 2))).decay == WeightDecay(1, 2)

    def test_an_unknown_optimiser_is_refused(self):
        class Lion(torch.optim.SGD):
            pass

        module = mlp()
        with pytest.raises(ValueError, match="Lion"):
            imported(module, Lion(module.parameters(), lr=1, weight_decay=1))

    @pytest.mark.parametrize(
        ("loss", "c", "message"),
        [
            (nn.L1Loss(), 1, "L1Loss has no counterpart"),
            (nn.MSELoss(reduction="none"), 1, "reduction='none'"),
            (nn.BCELoss(), 1, "use BCEWithLogitsLoss"),
            (nn.NLLLoss(), 2, "use CrossEntropyLoss"),
            (nn.CrossEntropyLoss(label_smoothing=0.1), 2, "label_smoothing=0.1"),
            (nn.CrossEntropyLoss(weight=torch.ones(2)), 2, "weight"),
            (nn.CrossEntropyLoss(), 1, "single output"),
            (nn.BCEWithLogitsLoss(pos_weight=torch.ones(1)), 1, "pos_weight"),
            (nn.BCEWithLogitsLoss(), 2, "one output"),
            (nn.SmoothL1Loss(beta=0), 1, "absolute error"),
            (nn.HuberLoss(), 1, "bends at 1;"),
            (nn.functional.l1_loss, 1, "must be one of"),
            ("squared", 1, "must be one of"),
        ],
    )
    def test_losses_without_a_counterpart_are_refused_by_name(self, loss, c, message):
        with pytest.raises(ValueError, match=message):
            imported(mlp(c=c), loss=loss)

    def test_functions_stand_for_their_modules(self):
        assert loss_of(nn.functional.mse_loss, 2) == loss_of(nn.MSELoss(), 2)
        assert loss_of(nn.functional.cross_entropy, 2) == loss_of(nn.CrossEntropyLoss(), 2)

    @pytest.mark.parametrize("delta", [0.5, 3.0])
    def test_a_huber_loss_of_any_delta_is_bound_exactly(self, delta):
        X, y = data(c=2)
        module = mlp(c=2)
        for loss in (nn.HuberLoss(delta=delta), nn.SmoothL1Loss(beta=delta)):
            theirs = loss(module(torch.from_numpy(X)), torch.from_numpy(y)).item()
            assert loss_of(loss, 2).bind(y, 2).value(outputs(module, X)) == pytest.approx(theirs, rel=1e-12)

    def test_classes_that_do_not_occur_keep_their_outputs(self):
        y = np.array([0, 1, 1, 0])
        assert loss_of(nn.CrossEntropyLoss(), 4).bind(y, 4).shape == (4, 4)
        with pytest.raises(ValueError, match="class numbers up to 5"):
            loss_of(nn.CrossEntropyLoss(), 4).bind(np.array([0, 5]), 4)


def test_without_pytorch_the_error_names_the_extra(monkeypatch):
    from extremal.interop.torch import Judge

    monkeypatch.setitem(sys.modules, "torch", None)
    for call in (lambda: to_torch(extremal.Network.zero(2)), lambda: Judge(np.ones((2, 2)), np.ones(2), beta=1.0)):
        with pytest.raises(ImportError, match=r"extremal\[torch\]"):
            call()


def test_importing_the_interop_imports_no_torch():
    code = "import sys, extremal.interop.torch, extremal.interop; print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
