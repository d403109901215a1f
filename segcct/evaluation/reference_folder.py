"""A folder of references: a flat folder of masks, or a dataset root that its layout reads."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from segcct.config import DataSection
from segcct.config.expressions import search_patient
from segcct.datasets.case import Case
from segcct.datasets.label_schemes import SCHEMES, Scheme
from segcct.datasets.layouts import LAYOUTS, find_cases, get_layout
from segcct.errors import DataError, EvaluationError
from segcct.evaluation.prediction_folder import PredictionFolder, mask_files
from segcct.files.file_names import absolute, composed
from segcct.files.pseudonyms import new_key, pseudonym
from segcct.predictions.mask_files import SUFFIXES
from segcct.predictions.predictions_index import INDEX

ENDINGS = ("_seg", "-seg", ".seg", "_gt", "-gt", "_label", "_labels", "_mask", "_segmentation")
"""Endings that the file name of a reference may have after the case id."""
HASHED = re.compile(r"case_[0-9a-f]{16}$")
"""Ids as `segcct predict --anonymize` writes them."""


@dataclass(frozen=True)
class ReferenceCase:
    """The reference of a case: a mask file, or a case of a dataset with its data section."""

    id: str
    patient: str
    file: Path | None = None
    case: Case | None = None
    data: DataSection | None = None

    def files(self) -> tuple[Path, ...]:
        """The files of the reference."""
        return (self.file,) if self.file is not None else (self.case.label or ()) if self.case else ()

    def name(self) -> str | list[str]:
        """The reference's file, or the list of its files."""
        names = [absolute(file) for file in self.files()]
        return names[0] if len(names) == 1 else names


def read_references(
    folder: Path, predictions: PredictionFolder, layout: str | None, scheme: Scheme
) -> dict[str, ReferenceCase]:
    """The references below a folder, by case id; only cases with a label count.

    A dataset root is read by `layout`, else by the data section of the predictions. If that finds none of the predicted
    cases, the masks directly in the folder are the references; its expression `patient` finds the patients in their
    names, and if it finds none or is not set, each mask is a patient of its own.

    Raises:
        EvaluationError: the folder is missing, holds no reference, or it is not known how to read it.
        DataError: from the layout's reader.
    """
    if not folder.is_dir():
        raise EvaluationError("no such folder of references", file=folder)
    flat = {} if layout else mask_files(folder, ENDINGS, ids=predictions.masks)
    channels = [files for case in predictions.channels.values() for files in case.values()]
    scans = {os.path.realpath(file) for files in channels for file in files}
    flat = {name: file for name, file in flat.items() if os.path.realpath(file) not in scans}
    if flat:
        cases = _labeled(predictions.data, folder) if predictions.data is not None else {}
        named = with_hashed(predictions.masks, cases, predictions.key, everyone=False)
        if {*map(composed, named)}.isdisjoint(map(composed, predictions.masks)):
            expression = None if predictions.data is None else predictions.data.patient
            return {name: ReferenceCase(name, _patient(name, expression), file=file) for name, file in flat.items()}
        return cases
    data = _reading(folder, predictions, layout, scheme)
    find_cases(data, strict=False)  # raises the layout's own error for a root without cases
    cases = _labeled(data, folder)
    if not cases:
        what = f"holds no labeled case of layout {data.layout}"
        raise EvaluationError(what, file=folder, expected=f"references named {data.label}" if data.label else None)
    return cases


def patients_sentence(references: Iterable[ReferenceCase]) -> str:
    """Says that each mask of a flat folder counts as a patient; empty if they do not, or if there is only one."""
    own = sum(case.file is not None and case.patient == case.id for case in references)
    if own < 2:
        return ""
    return (
        f"{own} masks of the flat folder of references count as a patient each. If some are of the same patient, name "
        "the root of the dataset as --reference, so that intervals and p values are computed by patient"
    )


def _patient(name: str, expression: str | None) -> str:
    """The patient in the name of a mask, else the name itself: a hashed name contains no patient."""
    match = None if expression is None else search_patient(expression, name)
    return name if match is None else match[1] or name


def _labeled(data: DataSection, folder: Path) -> dict[str, ReferenceCase]:
    """The labeled cases of a dataset root; none if it is not one."""
    data = data.model_copy(update={"root": folder})
    try:
        cases = find_cases(data, strict=False)
    except DataError:
        return {}
    return {case.id: ReferenceCase(case.id, case.patient, case=case, data=data) for case in cases if case.label}


def _reading(folder: Path, predictions: PredictionFolder, layout: str | None, scheme: Scheme) -> DataSection:
    """The data section by which a dataset root is read."""
    if predictions.data is not None and layout in (None, predictions.data.layout):
        return predictions.data.model_copy(update={"root": folder})
    if layout is None:
        raise EvaluationError(
            "how these references are stored is not known",
            file=folder,
            found="no mask files in the folder itself",
            expected=f"masks named by case id ({', '.join(SUFFIXES)}), or a dataset root",
            remedy="For a dataset root, name its layout with --layout, such as --layout brats, or its config with "
            "--scheme",
        )
    patterns = get_layout(layout).label_patterns if layout in LAYOUTS else ()
    if not patterns:
        fixed = [name for name in LAYOUTS if get_layout(name).label_patterns]
        raise EvaluationError(
            f"references of layout '{layout}' cannot be found without the config's file patterns",
            file=folder,
            expected=f"predictions with a {INDEX}, or layout {', '.join(fixed)}",
            remedy="Name the config with --scheme, or copy the reference masks into one flat folder, named by case id",
        )
    custom = scheme.name not in SCHEMES
    content = {
        "layout": layout,
        "root": folder,
        "scheme": "custom" if custom else scheme.name,
        "labels": dict(scheme.classes) if custom else None,
    }
    # The only channel is the label itself: evaluation reads no images.
    channels = [{"channels": {"label": pattern}, "label": pattern} for pattern in patterns]
    sections = [DataSection.model_validate({**content, **channel}) for channel in channels]
    return next((data for data in sections if _labeled(data, folder)), sections[0])


def with_hashed(
    masks: Iterable[str], references: Mapping[str, ReferenceCase], key: str | None, *, everyone: bool
) -> Mapping[str, ReferenceCase]:
    """References renamed as `segcct predict --anonymize` names their masks, if there are such masks; with `everyone`,
    also those without a mask.
    """
    unknown = {name for name in masks if HASHED.match(name) and name not in references}
    key = key or new_key()  # a new key hides the names and matches no mask
    names = {name: name if HASHED.match(name) else pseudonym(name, key, unknown) for name in references}
    names = {name: new if everyone or new in unknown else name for name, new in names.items()}
    return {names[name]: replace(reference, id=names[name]) for name, reference in references.items()}
