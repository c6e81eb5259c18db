"""Special cases with known answers: data whose best network can be written down, and the tests for such data."""

from extremal.closed_forms.generator import GameRun, GeneratorDynamics, best_step, descend_ascend, generator_dynamics
from extremal.closed_forms.layerwise import (
    LayerwiseResult,
    gram_alignment,
    ideal_gram,
    ideal_hidden,
    stack,
    stacked_features,
    train_layerwise,
)
from extremal.closed_forms.orthogonal import orthogonal_max_margin, orthogonal_min_norm
from extremal.closed_forms.result import ClosedForm
from extremal.closed_forms.separability import is_orthogonally_separable
from extremal.closed_forms.spike_free import is_spike_free

__all__ = [
    "ClosedForm",
    "GameRun",
    "GeneratorDynamics",
    "LayerwiseResult",
    "best_step",
    "descend_ascend",
    "generator_dynamics",
    "gram_alignment",
    "ideal_gram",
    "ideal_hidden",
    "is_orthogonally_separable",
    "is_spike_free",
    "orthogonal_max_margin",
    "orthogonal_min_norm",
    "stack",
    "stacked_features",
    "train_layerwise",
]
