"""One case of an evaluation as a PNG: image, reference, prediction, difference side by side."""

from __future__ import annotations

from pathlib import Path

from segcct import figures
from segcct.errors import EvaluationError
from segcct.files.atomic_file import atomic_path
from segcct.files.file_names import spelled_as
from segcct.report.case_images import CaseImages, images_of
from segcct.report.findings import ranked
from segcct.report.results import Results, read_results
from segcct.report.viewer import SliceChoice


def write_picture(evaluation: Path, output: Path, *, case: str | None = None, channel: str | None = None) -> Path:
    """Write a PNG of one case of an evaluation folder, at the slice of most disagreement.

    Args:
        evaluation: a folder written by `segcct evaluate`.
        output: the PNG file.
        case: case id; by default the median case by mean Dice, neither the best nor the worst.
        channel: the channel shown; by default the first.

    Raises:
        EvaluationError: the folder cannot be used, or holds no such case or channel.
        SegcctError: the images of the case cannot be read.
    """
    results = read_results(Path(evaluation))
    if case is None:
        picks = dict(ranked(results))
        if not picks:
            raise EvaluationError("no case has a score", file=results.folder)
        case = picks.get("Median") or picks.get("Worst") or picks["Only"]
    case = spelled_as([case], results.cases)[case]
    if case not in results.cases:
        expected = ", ".join(results.cases[:8])
        raise EvaluationError(f"no case '{case}' in the evaluation", file=evaluation, expected=expected)
    if case in results.changed_files:
        problem = f"the {results.changed_files[case]} of case '{case}' has changed since it was scored"
        raise EvaluationError(problem, file=evaluation, remedy="Run `segcct evaluate` again")
    images = images_of(results, case)
    channel = next(iter(images.channels)) if channel is None else channel
    if channel not in images.channels:
        expected = ", ".join(images.channels)
        raise EvaluationError(f"no channel '{channel}' in case {case}", file=evaluation, expected=expected)
    png = _panel(results, images, case, channel)
    with atomic_path(output, private=not results.anonymized) as temporary:  # the image names a patient
        temporary.write_bytes(png)
    return Path(output)


def _panel(results: Results, images: CaseImages, case: str, channel: str) -> bytes:
    choice = SliceChoice.of(images.grid, images.reference, images.prediction, 1)
    plane, pixels = choice.plane, choice.pick(images.channels[channel])
    shown = images.window_of(channel)
    gray = pixels.max(axis=-1) if shown is None else shown.apply(pixels)
    box = figures.focus_box(gray, choice.labels)
    note = "synthetic data, " if images.synthetic else ""
    return figures.case_panel(
        pixels[0][box],
        None if choice.reference is None else choice.reference[0][box],
        choice.prediction[0][box],
        results.classes,
        pixel_mm=plane.pixel_mm,
        letters=plane.letters,
        shown=shown,
        title=f"{case}, {channel}: {note}{plane.name} slice {choice.first + 1} of {choice.depth}",
        scores={name: score.values["dice"] for name, score in results.of_case(case).items() if name in results.classes},
    )
