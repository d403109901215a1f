"""The comparison report: image, predicted mask, image made of the mask; what differs, and which masks to doubt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from segcct.data.case import Case, Examination
from segcct.errors import DataError, RunError, SegcctError
from segcct.evaluation.matching import PredictionFolder, ReferenceCase, read_references
from segcct.evaluation.scoring import read_reference
from segcct.inference.comparison import compare
from segcct.inference.cycle import Cycles
from segcct.inference.folder import Request, examination_of, hashed
from segcct.inference.quality.model import QualityModel
from segcct.progress import Report
from segcct.report.comparison_page import page_context
from segcct.report.comparison_summary import (
    DEFINITIONS,
    Cases,
    ordered,
    summary_of,
)
from segcct.report.comparison_viewer import Row, build_row
from segcct.report.html import listed, render, write_page
from segcct.report.images import says_synthetic
from segcct.runs import SchemeCard, provenance, write_json

SLICES = 10
"""Slices per case on the page."""
_PICTURES = 500
"""Slices times channels on a page, so that it stays below about 10 MB."""
_MOST_CHANNELS = 4


def write_comparison(
    cycles: Cycles,
    request: Request,
    output: Path,
    *,
    quality: QualityModel | None = None,
    references: Path | None = None,
    slices: int = SLICES,
    anonymise: bool = False,
    models: Mapping[str, Path] | None = None,
    progress: Report | None = None,
) -> Path:
    """Write `report.html` and `report.json` into the folder `output`.

    Args:
        cycles: segmenter and generator.
        request: the cases, and how they are read.
        output: made when missing.
        quality: the segmenter's quality.json.
        references: a dataset root or a flat folder of masks; None takes the labels beside the cases, where there
            are some.
        slices: shown per case, at most.
        anonymise: show hashed case ids.
        models: name -> folder, for the provenance.
        progress: called with (done, total).

    Raises:
        RunError: a report is there already.
        DataError: no case could be compared; where some could, the others are named on the page.
    """
    for name in ("report.html", "report.json"):
        if (output / name).exists():
            raise RunError("exists already", file=output / name, remedy="Choose another --output")
    labels = _references(cycles, request, references)
    channels = max(1, min(_MOST_CHANNELS, _PICTURES // max(1, slices * len(request.cases))))
    figures_of: dict[str, Mapping[str, Any]] = {}
    rows: dict[str, Row | None] = {}
    failures: dict[str, str] = {}
    synthetic = False
    classes = tuple(cycles.predictor.scheme.classes)
    for done, case in enumerate(request.cases):
        if progress:
            progress(done, len(request.cases))
        shown = hashed(case.id) if anonymise else case.id
        try:
            examination = _examination(cycles, request, case, labels)
            compared = compare(cycles, examination, quality=quality, channels=channels)
        except SegcctError as error:
            failures[shown] = str(error)
            continue
        patient = hashed(case.patient) if anonymise else case.patient
        figures_of[shown] = {**compared.figures, "patient": patient}
        rows[shown] = build_row(f"case-{done + 1}", compared, len(classes), count=slices)
        synthetic |= says_synthetic(compared.grid)
    if progress:
        progress(len(request.cases), len(request.cases))
    if not figures_of:
        raise DataError(
            f"none of the {len(request.cases)} cases can be compared:"
            + "".join(f"\n  - {reason}" for reason in failures.values())
        )
    content = _content(cycles, figures_of, failures, classes, quality, models or {}, synthetic=synthetic)
    page = render("comparison.html", page_context(content, rows, failures, classes, quality))
    output.mkdir(parents=True, exist_ok=True)
    write_json(output / "report.json", content)
    return write_page(output / "report.html", page)


def _references(cycles: Cycles, request: Request, folder: Path | None) -> dict[str, ReferenceCase] | None:
    """References named by the user, by case id; None where the layout's own labels are to be taken."""
    if folder is None:
        return None
    wanted = {case.id: Path() for case in request.cases}
    predictions = PredictionFolder(folder, wanted, data=request.data, scheme=cycles.predictor.scheme)
    found = read_references(folder, predictions, None, cycles.predictor.scheme)
    if not set(found) & set(wanted):
        raise DataError(
            "holds no reference of these cases",
            file=folder,
            found=listed(sorted(found)),
            expected=listed(sorted(wanted)),
        )
    return found


def _examination(
    cycles: Cycles, request: Request, case: Case, labels: Mapping[str, ReferenceCase] | None
) -> Examination:
    """The case as its layout reads it, with the label of the layout or the one the user named."""
    scheme = cycles.predictor.scheme
    own = labels is None and case.label is not None
    examination = examination_of(request, case, scheme, with_label=own)
    if labels is None or case.id not in labels:
        return examination
    return replace(examination, label=read_reference(labels[case.id], scheme, examination.grid).array)


def _content(
    cycles: Cycles,
    cases: Cases,
    failures: Mapping[str, str],
    classes: Sequence[str],
    quality: QualityModel | None,
    models: Mapping[str, Path],
    *,
    synthetic: bool,
) -> dict[str, Any]:
    """report.json."""
    segmenter, generator = cycles.predictor.card, cycles.reconstructor.card
    return {
        "format": 1,
        "scheme": SchemeCard.of(cycles.predictor.scheme).model_dump(mode="json"),
        "units": {"intensities": "normalised to 0..1", "psnr": "dB"},
        "definitions": DEFINITIONS,
        "synthetic": synthetic,
        "synthetic_training": segmenter.synthetic or generator.synthetic,
        "summary": summary_of(cases, classes, None if quality is None else quality.doubtful_below),
        "order": ordered(cases),
        "cases": dict(cases),
        "failed": dict(failures),
        "models": {
            name: {
                "folder": str(models[name]) if name in models else None,
                "architecture": card.architecture.model_dump(mode="json"),
                "selected_on": {key: value for key, value in card.selected_on.items() if key != "cases"},
            }
            for name, card in (("I2M", segmenter), ("M2I", generator))
        },
        "provenance": provenance(),
    }
