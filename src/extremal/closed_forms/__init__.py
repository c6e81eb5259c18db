"""Special cases with known answers: data whose best network can be written down, and the tests for such data."""

from extremal.closed_forms.critical_width import CriticalWidth, critical_width
from extremal.closed_forms.landscape import Path, Stage, path_to_optimum
from extremal.closed_forms.orbits import permute, same_orbit, split
from extremal.closed_forms.orthogonal import orthogonal_max_margin, orthogonal_min_norm
from extremal.closed_forms.result import ClosedForm
from extremal.closed_forms.sampled import SampledPatterns, SampledProgram, sampled_patterns, scenario_violation
from extremal.closed_forms.separability import is_orthogonally_separable
from extremal.closed_forms.spike_free import is_spike_free

__all__ = [
    "ClosedForm",
    "CriticalWidth",
    "Path",
    "SampledPatterns",
    "SampledProgram",
    "Stage",
    "critical_width",
    "is_orthogonally_separable",
    "is_spike_free",
    "orthogonal_max_margin",
    "orthogonal_min_norm",
    "path_to_optimum",
    "permute",
    "same_orbit",
    "sampled_patterns",
    "scenario_violation",
    "split",
]
