"""Special cases with known answers: data whose best network can be written down, and the tests for such data."""

from extremal.closed_forms.convolutional import ConvolutionalResult, fit_convolutional, patch_matrix
from extremal.closed_forms.copositive import CopositiveResult, NuclearResult, copositive_program, nuclear_program
from extremal.closed_forms.linear_networks import (
    LinearNetwork,
    linear_circular_convolution,
    linear_convolution,
    linear_network,
)
from extremal.closed_forms.nonnegative_form import NonnegativeMaximum, nonnegative_maximum
from extremal.closed_forms.orthogonal import orthogonal_max_margin, orthogonal_min_norm
from extremal.closed_forms.result import ClosedForm
from extremal.closed_forms.separability import is_orthogonally_separable
from extremal.closed_forms.several_outputs import (
    PenaltyComparison,
    SeparateOutputs,
    compare_penalties,
    separate_outputs,
    soft_thresholded_svd,
)
from extremal.closed_forms.spike_free import is_spike_free

__all__ = [
    "ClosedForm",
    "ConvolutionalResult",
    "CopositiveResult",
    "LinearNetwork",
    "NonnegativeMaximum",
    "NuclearResult",
    "PenaltyComparison",
    "SeparateOutputs",
    "compare_penalties",
    "copositive_program",
    "fit_convolutional",
    "is_orthogonally_separable",
    "is_spike_free",
    "linear_circular_convolution",
    "linear_convolution",
    "linear_network",
    "nonnegative_maximum",
    "nuclear_program",
    "orthogonal_max_margin",
    "orthogonal_min_norm",
    "patch_matrix",
    "separate_outputs",
    "soft_thresholded_svd",
]
