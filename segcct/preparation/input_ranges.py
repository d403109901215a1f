"""Ranges of the training cases' sizes and intensities, stored in model.json, and how a new case lies outside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import starmap

import numpy as np

from segcct.preparation.prepared_case import PreparedCase

Ranges = Mapping[str, Sequence[Sequence[float]]]
"""`spacing_mm` and `field_of_view_mm`: three pairs (lowest, highest) of the sorted axes; `dark` and `bright`: a pair
for each channel, of the 10th and 90th percentile on the scale from 0 to 1 that the intensity rule makes."""
_FACTOR = 1.25
"""How far outside the range a size may lie, as a factor."""
_DISTANCE = 0.1
"""How far outside the range an intensity may lie, on the scale from 0 to 1."""


def measures_of(case: PreparedCase) -> dict[str, list[float]]:
    """The measured values of one case; without sizes in mm where the files hold no voxel size."""
    image = case.thinned().astype(np.float32)
    dark, bright = np.percentile(image, (10, 90), axis=(0, 2, 3)).tolist()  # of each channel
    measures = {"dark": dark, "bright": bright}
    if case.spacing_mm is not None:
        measures["spacing_mm"] = sorted(case.spacing_mm)
        sides = zip(case.grid.shape_xyz, case.spacing_mm, strict=True)
        measures["field_of_view_mm"] = sorted(voxels * spacing for voxels, spacing in sides)
    return measures


def ranges_of(cases: Sequence[PreparedCase]) -> dict[str, list[list[float]]] | None:
    """The ranges over some cases; None where there are no cases."""
    measured = [measures_of(case) for case in cases]
    if not measured:
        return None
    common = sorted(set(measured[0]).intersection(*measured))
    columns = {name: zip(*(each[name] for each in measured), strict=True) for name in common}
    return {name: [[round(min(each), 4), round(max(each), 4)] for each in column] for name, column in columns.items()}


def unlike(case: PreparedCase, ranges: Ranges | None, channels: Sequence[str]) -> list[str]:
    """A sentence for each way in which a case lies outside the ranges; none where model.json has no ranges."""
    measures, sentences = measures_of(case), []
    for name, what in (("spacing_mm", "the voxels measure"), ("field_of_view_mm", "the image covers")):
        if not ranges or name not in ranges or name not in measures:
            continue
        pairs = list(zip(measures[name], ranges[name], strict=False))
        if any(not low / _FACTOR <= value <= high * _FACTOR for value, (low, high) in pairs):
            found = " x ".join(f"{value:.3g}" for value, _ in pairs)
            usual = " x ".join(starmap(_span, ranges[name]))
            sentences.append(f"{what} {found} mm, in training {usual} mm")
    for name, what in (("dark", "dark (10th percentile)"), ("bright", "bright (90th percentile)")):
        for channel, value, (low, high) in zip(channels, measures[name], (ranges or {}).get(name, ()), strict=False):
            if not low - _DISTANCE <= value <= high + _DISTANCE:
                sentences.append(
                    f"{what} tissue of channel {channel} is at {value:.2f} of its intensity scale, in training "
                    f"{_span(low, high)}: is the file in other units?"
                )
    return sentences


def _span(low: float, high: float) -> str:
    return f"{low:.3g}" if low == high else f"{low:.3g}-{high:.3g}"
