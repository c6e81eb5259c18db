"""Special cases with known answers: data whose best network can be written down, and the tests for such data."""

from extremal.closed_forms.autoencoding import (
    ExtremePoint,
    GaussianHull,
    ZeroErrorNetwork,
    extreme_point,
    gaussian_hull,
    zero_error_network,
)
from extremal.closed_forms.convex_features import ConvexFeatures, convex_features
from extremal.closed_forms.hulls import HullDistances, hull_distances
from extremal.closed_forms.orthogonal import orthogonal_max_margin, orthogonal_min_norm
from extremal.closed_forms.result import ClosedForm
from extremal.closed_forms.separability import is_orthogonally_separable
from extremal.closed_forms.spike_free import is_spike_free

__all__ = [
    "ClosedForm",
    "ConvexFeatures",
    "ExtremePoint",
    "GaussianHull",
    "HullDistances",
    "ZeroErrorNetwork",
    "convex_features",
    "extreme_point",
    "gaussian_hull",
    "hull_distances",
    "is_orthogonally_separable",
    "is_spike_free",
    "orthogonal_max_margin",
    "orthogonal_min_norm",
    "zero_error_network",
]
