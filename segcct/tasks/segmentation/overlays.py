"""Overlays of a few validation cases, written whenever the model got better."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segcct.datasets.label_schemes import Scheme
from segcct.figures import best_slice, training_panel
from segcct.files.atomic_file import atomic_path
from segcct.preparation.prepared_case import PreparedCase


@dataclass(frozen=True)
class Overlay:
    """A labeled case to draw."""

    case: PreparedCase
    synthetic: bool = False

    def write(self, folder: Path, prediction: np.ndarray, scheme: Scheme, scores: Mapping[str, float | None]) -> None:
        """Image, reference and prediction (X, Y, Z, class indices) of the slice with most structure, as a PNG."""
        case, plane = self.case, self.case.plane
        assert case.full_label is not None  # or the case did not validate
        assert case.shown is not None
        reference = plane.slices(case.full_label)
        index = best_slice(reference, None)
        note = "synthetic data, " if self.synthetic else ""
        panel = training_panel(
            case.shown,
            reference[index],
            plane.slices(prediction)[index],
            list(scheme.classes),
            pixel_mm=plane.pixel_mm,
            letters=plane.letters,
            title=f"{case.case_id}, {note}{plane.name} slice {index + 1} of {len(reference)}",
            scores=scores,
        )
        with atomic_path(folder / f"{case.case_id}.png", private=True) as beside:
            beside.write_bytes(panel)
