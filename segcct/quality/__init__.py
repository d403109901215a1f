"""Quality without a reference: signals of a predicted mask, an estimated Dice with an interval, and its calibration.

model = QualityModel.load(Path("runs/brats/best"))     # quality.json, written by `segcct calibrate`
model.estimate("ET", signals)                          # Estimate(dice=0.81, low=0.70, high=0.89)
"""

from __future__ import annotations

from segcct.quality.features import GROUPS, SIGNALS, Evidence, signals_of
from segcct.quality.fitting import Measured, cross_fit, fit
from segcct.quality.quality_model import DOUBTFUL_BELOW, FILE, Estimate, QualityModel

__all__ = [
    "DOUBTFUL_BELOW",
    "FILE",
    "GROUPS",
    "SIGNALS",
    "Estimate",
    "Evidence",
    "Measured",
    "QualityModel",
    "cross_fit",
    "fit",
    "signals_of",
]
