"""Overlays drawn during training: a PNG of each of the first validation cases, by the best weights so far."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from segcct.figures import best_slice, case_panel
from segcct.files.atomic_file import atomic_path
from segcct.preparation.prepared_case import PreparedCase

Scores = Mapping[str, float | None]
"""Dice per class; None where neither mask holds the class."""


def save_overlay(
    folder: Path, case: PreparedCase, prediction: np.ndarray, classes: list[str], scores: Scores, *, synthetic: bool
) -> None:
    """Write the `overlay` of a case to its file in `folder`."""
    panel = overlay(case, prediction, classes, scores, synthetic=synthetic)
    with atomic_path(folder / f"{case.case_id}.png", private=True) as temporary:
        temporary.write_bytes(panel)


def overlay(
    case: PreparedCase, prediction: np.ndarray, classes: list[str], scores: Scores, *, synthetic: bool
) -> bytes:
    """A PNG of image, reference and prediction (X, Y, Z, class indices) of the slice with most structure."""
    plane = case.plane
    assert case.full_label is not None  # or the case did not validate
    assert case.shown is not None
    reference = plane.slices(case.full_label)
    index = best_slice(reference, None)
    note = "synthetic data, " if synthetic else ""
    return case_panel(
        case.shown,
        reference[index],
        plane.slices(prediction)[index],
        classes,
        pixel_mm=plane.pixel_mm,
        letters=plane.letters,
        title=f"{case.case_id}, {note}{plane.name} slice {index + 1} of {len(reference)}",
        scores=scores,
        size_px=320,
    )
