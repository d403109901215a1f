"""Overlay pictures of a few validation cases, written whenever the model got better."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segcct.config import DataSection
from segcct.datasets.case import Case
from segcct.datasets.label_schemes import Scheme
from segcct.datasets.layouts import read_case
from segcct.datasets.synthetic import says_synthetic
from segcct.figures import Plane, best_slice, plane_of, training_panel
from segcct.files.atomic_file import atomic_path


@dataclass(frozen=True)
class Pictured:
    """What a picture needs of a case: its first channel and reference, and how they are laid on the page."""

    case_id: str
    image: np.ndarray
    """(X, Y, Z) float32."""
    reference: np.ndarray
    """(X, Y, Z) uint8 class indices."""
    plane: Plane
    synthetic: bool = False

    def write(self, folder: Path, prediction: np.ndarray, scheme: Scheme, scores: Mapping[str, float | None]) -> None:
        """Image, reference and prediction (X, Y, Z, class indices) of the slice with most structure, as a PNG."""
        image, reference, predicted = (self.plane.slices(each) for each in (self.image, self.reference, prediction))
        index = best_slice(reference, None)
        note = "synthetic data, " if self.synthetic else ""
        panel = training_panel(
            image[index],
            reference[index],
            predicted[index],
            list(scheme.classes),
            pixel_mm=self.plane.pixel_mm,
            letters=self.plane.letters,
            title=f"{self.case_id}, {note}{self.plane.name} slice {index + 1} of {len(image)}",
            scores=scores,
        )
        with atomic_path(folder / f"{self.case_id}.png", private=True) as beside:
            beside.write_bytes(panel)


def pictured(cases: Sequence[Case], data: DataSection, scheme: Scheme) -> dict[str, Pictured]:
    """The cases to draw, read from their files."""
    found = {}
    for case in cases:
        read = read_case(case, data, scheme)
        assert read.label is not None  # validation cases are labelled; the quick check saw to it
        plane = plane_of(read.label.shape, read.grid.affine, read.grid.spacing_mm)
        index = scheme.to_index(read.label)
        found[case.id] = Pictured(case.id, read.image[0], index, plane, says_synthetic(read.grid))
    return found
