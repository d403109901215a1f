"""Intervals that hold for new patients: a quantile over patients of scaled residuals.

Cases and classes of one patient are not independent, so patients are counted: each of P calibration patients has mass
1 / (P + 1), divided equally among its residuals, and the mass 1 / (P + 1) of the next patient lies at infinity (Lee,
Barber and Willett, 2023: "Distribution-free inference with hierarchical data"). If the residuals were not used in the
fit, an observation from a new, exchangeable patient falls into the interval with at least the stated probability. Here
the residuals are out of fold, by cross-fitting over patients (cross-conformal; Vovk 2015), and not from one held-out
part: the guarantee is weaker in theory, but the coverage is close to nominal in practice, as the tests measure.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np

LEVEL = 0.9


def patient_quantile(scores: Sequence[float], patients: Sequence[Hashable], level: float) -> float:
    """The smallest bound that holds for a fraction `level` of new patients' observations; infinite for few patients.

    Args:
        scores: nonconformity scores, one per observation, 0 or more.
        patients: the patient of each observation.
        level: the fraction; 0.9 needs at least nine patients.
    """
    sizes = Counter(patients)
    mass = np.array([1 / ((len(sizes) + 1) * sizes[name]) for name in patients])
    order = np.argsort(np.asarray(scores, dtype=float), kind="stable")
    reached = np.cumsum(mass[order]) >= level - 1e-9
    return float(np.asarray(scores, dtype=float)[order][reached.argmax()]) if reached.any() else math.inf


def patient_coverage(inside: Sequence[bool], patients: Sequence[Hashable]) -> float | None:
    """Fraction of covered observations, averaged within each patient first, so that every patient counts the same."""
    if not len(inside):
        return None
    groups: dict[Hashable, list[bool]] = {}
    for hit, name in zip(inside, patients, strict=True):
        groups.setdefault(name, []).append(bool(hit))
    return float(np.mean([np.mean(hits) for hits in groups.values()]))
