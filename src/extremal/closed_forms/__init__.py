"""Special cases with known answers: data whose best network can be written down, and the tests for such data."""

from extremal.closed_forms.autoencoding import (
    ExtremePoint,
    GaussianHull,
    ZeroErrorNetwork,
    extreme_point,
    gaussian_hull,
    zero_error_network,
)
from extremal.closed_forms.batch_norm import BatchNormNetwork, batch_norm
from extremal.closed_forms.collapse import NeuralCollapse, network_collapse, neural_collapse, simplex_frame
from extremal.closed_forms.convex_features import ConvexFeatures, convex_features
from extremal.closed_forms.convolutional import ConvolutionalResult, fit_convolutional, patch_matrix
from extremal.closed_forms.copositive import CopositiveResult, NuclearResult, copositive_program, nuclear_program
from extremal.closed_forms.critical_width import CriticalWidth, critical_width
from extremal.closed_forms.deep import DeepDuality, DeepForm, deep_duality, deep_incidence, deep_linear, deep_whitened
from extremal.closed_forms.deep_network import DeepNetwork, descend
from extremal.closed_forms.generator import GameRun, GeneratorDynamics, best_step, descend_ascend, generator_dynamics
from extremal.closed_forms.hulls import HullDistances, hull_distances
from extremal.closed_forms.kernels import KernelInterpolant, ntk, ntk_interpolant, ramps
from extremal.closed_forms.landscape import Path, Stage, path_to_optimum
from extremal.closed_forms.layerwise import (
    LayerwiseResult,
    gram_alignment,
    ideal_gram,
    ideal_hidden,
    stack,
    stacked_features,
    train_layerwise,
)
from extremal.closed_forms.linear_networks import (
    LinearNetwork,
    linear_circular_convolution,
    linear_convolution,
    linear_network,
)
from extremal.closed_forms.linear_spline import LinearSpline
from extremal.closed_forms.minimal import MinimalNetwork, minimal_network
from extremal.closed_forms.nonnegative_form import NonnegativeMaximum, nonnegative_maximum
from extremal.closed_forms.optimal_splines import OptimalSplines
from extremal.closed_forms.orbits import permute, same_orbit, split
from extremal.closed_forms.orthogonal import (
    FlowLimit,
    multiclass_max_margin,
    orthogonal_flow_limit,
    orthogonal_max_margin,
    orthogonal_min_norm,
)
from extremal.closed_forms.result import ClosedForm
from extremal.closed_forms.sampled import SampledPatterns, SampledProgram, sampled_patterns, scenario_violation
from extremal.closed_forms.separability import ClassCosines, class_cosines, is_orthogonally_separable
from extremal.closed_forms.several_outputs import (
    PenaltyComparison,
    SeparateOutputs,
    compare_penalties,
    separate_outputs,
    soft_thresholded_svd,
)
from extremal.closed_forms.spike_free import SpikeFreeDistance, is_spike_free, spike_free_distance
from extremal.closed_forms.spike_free_programs import spike_free_fit, spike_free_max_margin, spike_free_min_norm
from extremal.closed_forms.splines import SplineResult, spline_fit, spline_max_margin, spline_min_norm
from extremal.closed_forms.thresholds import DeepThreshold, deep_threshold
from extremal.closed_forms.whitened import WhitenedPath, soft_threshold_bound, whitened_fit, whitened_path

__all__ = [
    "BatchNormNetwork",
    "ClassCosines",
    "ClosedForm",
    "ConvexFeatures",
    "ConvolutionalResult",
    "CopositiveResult",
    "CriticalWidth",
    "DeepDuality",
    "DeepForm",
    "DeepNetwork",
    "DeepThreshold",
    "ExtremePoint",
    "FlowLimit",
    "GameRun",
    "GaussianHull",
    "GeneratorDynamics",
    "HullDistances",
    "KernelInterpolant",
    "LayerwiseResult",
    "LinearNetwork",
    "LinearSpline",
    "MinimalNetwork",
    "NeuralCollapse",
    "NonnegativeMaximum",
    "NuclearResult",
    "OptimalSplines",
    "Path",
    "PenaltyComparison",
    "SampledPatterns",
    "SampledProgram",
    "SeparateOutputs",
    "SpikeFreeDistance",
    "SplineResult",
    "Stage",
    "WhitenedPath",
    "ZeroErrorNetwork",
    "batch_norm",
    "best_step",
    "class_cosines",
    "compare_penalties",
    "convex_features",
    "copositive_program",
    "critical_width",
    "deep_duality",
    "deep_incidence",
    "deep_linear",
    "deep_threshold",
    "deep_whitened",
    "descend",
    "descend_ascend",
    "extreme_point",
    "fit_convolutional",
    "gaussian_hull",
    "generator_dynamics",
    "gram_alignment",
    "hull_distances",
    "ideal_gram",
    "ideal_hidden",
    "is_orthogonally_separable",
    "is_spike_free",
    "linear_circular_convolution",
    "linear_convolution",
    "linear_network",
    "minimal_network",
    "multiclass_max_margin",
    "network_collapse",
    "neural_collapse",
    "nonnegative_maximum",
    "ntk",
    "ntk_interpolant",
    "nuclear_program",
    "orthogonal_flow_limit",
    "orthogonal_max_margin",
    "orthogonal_min_norm",
    "patch_matrix",
    "path_to_optimum",
    "permute",
    "ramps",
    "same_orbit",
    "sampled_patterns",
    "scenario_violation",
    "separate_outputs",
    "simplex_frame",
    "soft_threshold_bound",
    "soft_thresholded_svd",
    "spike_free_distance",
    "spike_free_fit",
    "spike_free_max_margin",
    "spike_free_min_norm",
    "spline_fit",
    "spline_max_margin",
    "spline_min_norm",
    "split",
    "stack",
    "stacked_features",
    "train_layerwise",
    "whitened_fit",
    "whitened_path",
    "zero_error_network",
]
