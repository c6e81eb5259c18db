"""Special cases with known answers: data whose best network can be written down, and the tests for such data."""

from extremal.closed_forms.minimal import MinimalNetwork, minimal_network
from extremal.closed_forms.orthogonal import (
    FlowLimit,
    multiclass_max_margin,
    orthogonal_flow_limit,
    orthogonal_max_margin,
    orthogonal_min_norm,
)
from extremal.closed_forms.result import ClosedForm
from extremal.closed_forms.separability import ClassCosines, class_cosines, is_orthogonally_separable
from extremal.closed_forms.spike_free import SpikeFreeDistance, is_spike_free, spike_free_distance
from extremal.closed_forms.spike_free_programs import spike_free_fit, spike_free_max_margin, spike_free_min_norm
from extremal.closed_forms.whitened import WhitenedPath, soft_threshold_bound, whitened_fit, whitened_path

__all__ = [
    "ClassCosines",
    "ClosedForm",
    "FlowLimit",
    "MinimalNetwork",
    "SpikeFreeDistance",
    "WhitenedPath",
    "class_cosines",
    "is_orthogonally_separable",
    "is_spike_free",
    "minimal_network",
    "multiclass_max_margin",
    "orthogonal_flow_limit",
    "orthogonal_max_margin",
    "orthogonal_min_norm",
    "soft_threshold_bound",
    "spike_free_distance",
    "spike_free_fit",
    "spike_free_max_margin",
    "spike_free_min_norm",
    "whitened_fit",
    "whitened_path",
]
