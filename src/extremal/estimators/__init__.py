"""scikit-learn estimators: two-layer ReLU networks trained to the certified global optimum."""

from extremal.estimators.cross_validated import ReLUClassifierCV, ReLURegressorCV
from extremal.estimators.single import ReLUClassifier, ReLURegressor

__all__ = ["ReLUClassifier", "ReLUClassifierCV", "ReLURegressor", "ReLURegressorCV"]
