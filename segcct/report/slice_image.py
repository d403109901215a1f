"""One case of an evaluation as a picture file: image, reference, prediction, difference side by side."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from segcct import figures
from segcct.errors import EvaluationError
from segcct.files.atomic_file import atomic_path
from segcct.report.case_images import CaseImages, images_of
from segcct.report.changed import changed_files
from segcct.report.findings import ranked
from segcct.report.results import Results, read_results


def write_picture(
    evaluation: Path, output: Path, *, case: str | None = None, channel: str | None = None, size_px: int = 560
) -> Path:
    """Write a PNG of one case of an evaluation folder, at the slice of most disagreement.

    Args:
        evaluation: a folder written by `segcct evaluate`.
        output: the PNG file.
        case: case id; by default the median case by mean Dice, which is neither the best foot forward nor the worst.
        channel: the channel shown; by default the first.
        size_px: longer side of each of the four pictures.

    Raises:
        EvaluationError: the folder cannot be used, or holds no such case or channel.
        SegcctError: the images of the case cannot be read.
    """
    results = read_results(Path(evaluation))
    case = _median_case(results) if case is None else case
    if case not in results.cases:
        raise EvaluationError(
            f"no case '{case}' in the evaluation", file=evaluation, expected=", ".join(results.cases[:8])
        )
    changed = changed_files(results).get(case)
    if changed is not None:
        raise EvaluationError(
            f"the {changed} of case '{case}' is another file by now than the one that was scored",
            file=evaluation,
            remedy="Run `segcct evaluate` again",
        )
    images = images_of(results, case)
    channel = next(iter(images.channels)) if channel is None else channel
    if channel not in images.channels:
        raise EvaluationError(
            f"no channel '{channel}' in case {case}", file=evaluation, expected=", ".join(images.channels)
        )
    png = _panel(results, images, case, channel, size_px)
    with atomic_path(output, private=not results.anonymized) as temporary:  # the image names a patient
        temporary.write_bytes(png)
    return Path(output)


def _median_case(results: Results) -> str:
    picks = dict(ranked(results))
    if not picks:
        raise EvaluationError("no case has a score", file=results.folder)
    return picks.get("Median") or picks.get("Worst") or picks["Only"]


def _panel(results: Results, images: CaseImages, case: str, channel: str, size_px: int) -> bytes:
    plane = figures.plane_of(images.grid.shape, images.grid.affine, images.grid.spacing_mm)
    volume = images.channels[channel]
    prediction = plane.slices(images.prediction)
    reference = None if images.reference is None else plane.slices(images.reference)
    labels = [label for label in (reference, prediction) if label is not None]
    index = figures.best_slice(reference, prediction)
    if volume.ndim == 4:
        shown, picture = None, np.stack([plane.slices(volume[..., band])[index] for band in range(3)], axis=-1)
        grey = picture.max(axis=-1)
    else:
        shown, picture = images.window or figures.window(volume), plane.slices(volume)[index]
        grey = shown.apply(picture)
    box = figures.focus_box(grey[None], [label[index][None] for label in labels])
    scores = {name: score.values["dice"] for name, score in results.of_case(case).items() if name in results.classes}
    note = "synthetic data, " if images.synthetic else ""
    return figures.case_panel(
        picture[box],
        None if reference is None else reference[index][box],
        prediction[index][box],
        results.classes,
        pixel_mm=plane.pixel_mm,
        letters=plane.letters,
        shown=shown,
        title=f"{case}, {channel}: {note}{plane.name} slice {index + 1} of {len(prediction)}",
        scores=scores,
        size_px=size_px,
    )
