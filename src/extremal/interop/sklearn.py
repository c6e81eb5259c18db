"""scikit-learn's MLPRegressor and MLPClassifier, in both directions.

What they minimise, with one hidden layer of ReLUs and sample weights s (ones by default), is

    sum_i s_i loss(f(x_i), y_i) / sum(s) + alpha K / (2 sum(s)) (|W|_F^2 + |A|_F^2),

the biases free. The loss of a regressor is 1/2 (f - y)^2, averaged over the outputs as well; that of a classifier is
the logistic loss of one output for two classes, and the cross entropy of the softmax for more. K is the number of
batches in an epoch: 1 for the solver "lbfgs". The solvers "sgd" and "adam" divide alpha by the size of each batch, not
by n, so that every batch weighs its penalty as all of the data would: what they descend over an epoch, and what `loss_`
reports, is the objective with K = ceil(n / batch_size). With sample weights that is exact where all batches weigh the
same. With early_stopping a part of the data is held out: judge such a model on the rows that it was trained on.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from extremal.conventions import WeightDecay
from extremal.interop.arrays import from_arrays, layers
from extremal.interop.imported import Imported
from extremal.interop.units import Units

if TYPE_CHECKING:
    from extremal.design import Array
    from extremal.network import Network

#: Extremal's estimators, for `skops.io.load(path, trusted=TRUSTED)`: all else in their files are arrays and numbers.
TRUSTED = [
    "extremal.estimators.cross_validated.ReLUClassifierCV",
    "extremal.estimators.cross_validated.ReLURegressorCV",
    "extremal.estimators.single.ReLUClassifier",
    "extremal.estimators.single.ReLURegressor",
]


def imported(model: Any) -> Imported:
    """A fitted MLPRegressor or MLPClassifier, or one of Extremal's estimators, with the objective that it minimises.

    Raises
    ------
    ValueError
        If it is not fitted, or is not a network with one hidden layer of ReLUs and a loss that Extremal knows.
    """
    return _estimator(model) if hasattr(model, "network_") else _mlp(model)


def _mlp(model: Any) -> Imported:
    name = type(model).__name__
    loss = _loss(model, name)
    network = from_arrays(*model.coefs_, *model.intercepts_, layout="extremal")
    alpha, solver, batch_size = float(model.alpha), model.solver, model.batch_size

    def decay(weight: Array) -> WeightDecay:
        factor = alpha * batches(len(weight), solver, batch_size) / float(weight.sum())
        return WeightDecay(factor, factor, hidden_bias=0.0, output_bias=0.0)

    return Imported(
        network,
        decay=decay if alpha > 0 else None,
        loss=loss,
        factor=1.0 / network.n_outputs if loss == "squared" else 1.0,
        source=name,
        classes=model.classes_ if loss != "squared" else None,
    )


def batches(n: int, solver: str, batch_size: int | str) -> int:
    """The number K of batches in an epoch over n samples."""
    if solver == "lbfgs":
        return 1
    size = min(200, n) if batch_size == "auto" else min(int(batch_size), n)
    return -(-n // size)


def _loss(model: Any, name: str) -> str:
    """The loss in Extremal's terms; raises ValueError for a model that is something else."""
    if not hasattr(model, "coefs_"):
        raise ValueError(f"this {name} is not fitted; call fit first")
    if len(model.coefs_) != 2:
        raise ValueError(f"this {name} has {len(model.coefs_) - 1} hidden layers; one is needed")
    if model.activation != "relu":
        raise ValueError(f"the activation of this {name} is {model.activation!r}; activation='relu' is needed")
    if model.out_activation_ == "logistic" and model.n_outputs_ > 1:
        raise ValueError(
            f"this {name} is for several labels a row; a network for each label, or one for classes, can be judged"
        )
    losses = {"identity": "squared", "logistic": "logistic", "softmax": "softmax"}
    if model.out_activation_ not in losses:
        raise ValueError(f"the loss of this {name} is {model.loss!r}; loss='squared_error' is needed")
    return losses[model.out_activation_]


def _estimator(model: Any) -> Imported:
    alpha = float(getattr(model, "alpha_", model.alpha if hasattr(model, "alpha") else np.nan))
    biases = (alpha if model.bias == "penalized" else None, 0.0 if model.fit_intercept else None)
    return Imported(
        model.network_,
        decay=WeightDecay(alpha, alpha, *biases),
        loss=model.certificate_.loss,
        source=type(model).__name__,
        classes=getattr(model, "classes_", None),
    )


def to_sklearn(
    network: Network,
    *,
    alpha: float = 1e-4,
    classes: ArrayLike | None = None,
    units: Units | None = None,
    feature_names: ArrayLike | None = None,
) -> Any:
    """The network as a fitted model of scikit-learn that predicts the same.

    Parameters
    ----------
    network : Network
    alpha : float
        The model's penalty, for a later `fit` or `partial_fit`: scikit-learn's alpha is Extremal's beta (see above).
    classes : array, optional
        The classes in the order of the outputs, which makes it a classifier: two for one output, otherwise one an
        output.
    units : Units, optional
        How the columns and the target are scaled, which makes it a pipeline with a StandardScaler, in a
        TransformedTargetRegressor if the target is scaled.
    feature_names : array of str, optional

    Returns
    -------
    MLPRegressor or MLPClassifier, or a Pipeline or a TransformedTargetRegressor that ends in one
        It holds nothing but scikit-learn's types and arrays: `skops.io` loads it without trusting anything else.
    """
    model = _shell(network, alpha, classes)
    weights, biases, output, intercept = layers(network)
    model.coefs_, model.intercepts_ = [weights.copy(), output.copy()], [biases.copy(), intercept.copy()]
    if units is None:
        _name(model, feature_names)
        return model
    return _in_units(model, network, units, feature_names)


def _shell(network: Network, alpha: float, classes: ArrayLike | None) -> Any:
    """A model of the right shape that scikit-learn has set up itself, in one step on zeros."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    settings = {"hidden_layer_sizes": (max(network.width, 1),), "alpha": alpha, "random_state": 0}
    if classes is None:
        y = np.zeros((2, network.n_outputs)) if network.n_outputs > 1 else np.zeros(2)
        model = MLPRegressor(**settings).partial_fit(np.zeros((2, network.n_features)), y)
    else:
        labels = np.asarray(classes)
        _check_classes(labels, network.n_outputs)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            zeros = np.zeros((len(labels), network.n_features))
            model = MLPClassifier(**settings).partial_fit(zeros, labels, classes=labels)
    del model.loss_, model._optimizer  # of that one step
    model.n_iter_ = model.t_ = 0
    model.loss_curve_ = []
    model.best_loss_ = np.inf
    model.set_params(random_state=None)
    return model


def _check_classes(labels: np.ndarray, outputs: int) -> None:
    if np.any(labels[:-1] >= labels[1:]):
        raise ValueError("scikit-learn keeps classes sorted; pass them in order, and the network's outputs with them")
    if outputs != (1 if len(labels) == 2 else len(labels)):
        raise ValueError(f"a network of scikit-learn for {len(labels)} classes does not have {outputs} outputs")


def _in_units(model: Any, network: Network, units: Units, feature_names: ArrayLike | None) -> Any:
    from sklearn.compose import TransformedTargetRegressor
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler()
    scaler.mean_, scaler.scale_ = units.columns(network.n_features)
    scaler.var_ = scaler.scale_**2
    scaler.n_samples_seen_ = 0
    scaler.n_features_in_ = network.n_features
    _name(scaler, feature_names)
    pipeline = Pipeline([("scale", scaler), ("network", model)])
    if units.plain_target:
        return pipeline
    target = StandardScaler()
    target.mean_, target.scale_ = np.array([units.target_centre]), np.array([units.target_scale])
    target.var_ = target.scale_**2
    target.n_samples_seen_ = 0
    target.n_features_in_ = 1
    whole = TransformedTargetRegressor(regressor=pipeline, transformer=target)
    whole.regressor_, whole.transformer_ = pipeline, target
    whole._training_dim = 1 if network.n_outputs == 1 else 2
    _name(whole, feature_names)
    return whole


def _name(model: Any, feature_names: ArrayLike | None) -> None:
    if feature_names is not None:
        model.feature_names_in_ = np.asarray(feature_names, dtype=object)
