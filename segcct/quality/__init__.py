"""Quality without a reference: features of a predicted mask, an estimated Dice with an interval, and its calibration.

best = Path("runs/brats/best")
model = QualityModel.load(best / FILE, load_card(best))   # quality.json, written by `segcct calibrate`
model.estimate("ET", features)                            # Estimate(dice=0.81, low=0.70, high=0.89)
"""

from __future__ import annotations

from segcct.quality.features import FEATURES, GROUPS, CasePredictions, class_features
from segcct.quality.fitting import CalibrationRow, cross_fit, fit
from segcct.quality.quality_model import FILE, Estimate, QualityModel

__all__ = [
    "FEATURES",
    "FILE",
    "GROUPS",
    "CalibrationRow",
    "CasePredictions",
    "Estimate",
    "QualityModel",
    "class_features",
    "cross_fit",
    "fit",
]
