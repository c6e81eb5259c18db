"""Special cases with known answers: data whose best network can be written down, and the tests for such data."""

from extremal.closed_forms.kernels import KernelInterpolant, ntk, ntk_interpolant, ramps
from extremal.closed_forms.linear_spline import LinearSpline
from extremal.closed_forms.optimal_splines import OptimalSplines
from extremal.closed_forms.orthogonal import orthogonal_max_margin, orthogonal_min_norm
from extremal.closed_forms.result import ClosedForm
from extremal.closed_forms.separability import is_orthogonally_separable
from extremal.closed_forms.spike_free import is_spike_free
from extremal.closed_forms.splines import SplineResult, spline_fit, spline_max_margin, spline_min_norm

__all__ = [
    "ClosedForm",
    "KernelInterpolant",
    "LinearSpline",
    "OptimalSplines",
    "SplineResult",
    "is_orthogonally_separable",
    "is_spike_free",
    "ntk",
    "ntk_interpolant",
    "orthogonal_max_margin",
    "orthogonal_min_norm",
    "ramps",
    "spline_fit",
    "spline_max_margin",
    "spline_min_norm",
]
