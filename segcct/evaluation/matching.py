"""Predictions and references matched by case id."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from segcct.errors import EvaluationError
from segcct.evaluation.prediction_folder import PredictionFolder, is_there
from segcct.evaluation.reference_folder import HASHED, ReferenceCase, with_hashed
from segcct.evaluation.summary_record import CaseFiles
from segcct.files.file_names import absolute, spelled_as
from segcct.plurals import counted
from segcct.predictions.mask_files import SUFFIXES, VOLUME
from segcct.predictions.predictions_record import CaseEntry
from segcct.predictions.sources_file import SOURCES


@dataclass(frozen=True)
class Matching:
    """Cases that have both, ordered by id, and those that lack one of the two."""

    folder: PredictionFolder
    pairs: dict[str, tuple[Path, ReferenceCase]]
    without_reference: dict[str, Path]
    """Case id -> its mask."""
    without_prediction: dict[str, Path]
    """Case id -> the mask that is missing."""

    def unmatched(self) -> list[str]:
        """A line for every case that lacks one of the two."""
        extra = [f"{case}: has a prediction ({mask}) but no reference" for case, mask in self.without_reference.items()]
        missing = [
            f"{case}: has a reference but no prediction ({expected} is missing)"
            for case, expected in self.without_prediction.items()
        ]
        return extra + missing

    def reference_files(self) -> set[tuple[Path, ...]]:
        """The files of every reference that has a prediction. They tell references apart where names are hashed."""
        return {reference.files() for _, reference in self.pairs.values()}

    def entries(self) -> dict[str, CaseEntry]:
        """Case -> what predictions.json says of its mask, whose hashed name differs between anonymized folders."""
        known = self.folder.index.cases
        return {case: known[reference.id] for case, (_, reference) in self.pairs.items() if reference.id in known}

    def files(self) -> dict[str, CaseFiles]:
        """Case -> the files of its mask, its reference and its images."""
        files = {}
        for case, (mask, reference) in self.pairs.items():
            channels = self.folder.channels.get(case, {})
            if reference.case is not None and not _are_here(channels):
                channels = {name: [absolute(p) for p in paths] for name, paths in reference.case.channels.items()}
            named = {"prediction": absolute(mask), "reference": reference.name(), "channels": channels}
            files[case] = CaseFiles.from_json(named, self.folder.path)
        return files


def _are_here(channels: Mapping[str, list[str]]) -> bool:
    """Whether the recorded files of an image are where they were, on this machine, and may be looked for: `Path.exists`
    raises an error in the home of another user."""
    return bool(channels) and all(os.path.exists(file) for files in channels.values() for file in files)  # noqa: PTH110


def match(
    predictions: PredictionFolder, references: Mapping[str, ReferenceCase], *, only: Matching | None = None
) -> Matching:
    """Pair by case id, in any spelling of Unicode; masks that are listed but do not exist count as missing.

    If the predictions are those of a split, references outside of it need no prediction. With `only`, cases without a
    pair in that matching are left out. Raises `EvaluationError` if masks are named by hashed ids that match no
    reference, or whose key is missing.
    """
    masks = {name: file for name, file in predictions.masks.items() if is_there(file)}
    references = _spelled_as(predictions.masks, references)
    unknown = [name for name in masks if HASHED.match(name) and name not in references]
    if predictions.key is None and unknown:
        raise EvaluationError(
            "the masks are named by hashed ids, and the key that finds their references is missing",
            expected=f"{SOURCES} next to the masks",
            remedy=f"Put {SOURCES} back, or name the reference masks like the predicted ones",
        )
    references = with_hashed(masks, references, predictions.key, everyone=predictions.anonymized)
    if unknown and not set(unknown) & set(references):
        raise EvaluationError(
            "the masks are named by hashed ids, and none of them matches a reference",
            file=predictions.path,
            found=f"{counted(len(unknown), 'mask')} such as {unknown[0]}, and {counted(len(references), 'reference')}",
            remedy=f"Put the {SOURCES} of these masks back, or name the folder of their references",
        )
    expected = set(predictions.masks) if predictions.index.selection else set(predictions.masks) | set(references)
    if only is not None:
        files = only.reference_files()
        references = {name: reference for name, reference in references.items() if reference.files() in files}
        masks = {name: file for name, file in masks.items() if name in references}
        expected &= set(references)
    missing = sorted(expected - set(masks))
    listed = next((file.name.lower() for file in predictions.masks.values()), VOLUME)
    suffix = next((suffix for suffix in SUFFIXES if listed.endswith(suffix)), VOLUME)
    return Matching(
        predictions,
        {name: (masks[name], references[name]) for name in sorted(masks) if name in references},
        {name: masks[name] for name in sorted(masks) if name not in references},
        {name: predictions.masks.get(name, predictions.path / f"{name}{suffix}") for name in missing},
    )


def _spelled_as(masks: Mapping[str, Path], references: Mapping[str, ReferenceCase]) -> dict[str, ReferenceCase]:
    """The references under the names of their masks, where the two differ in their Unicode spelling alone."""
    names = spelled_as(references, masks)
    return {names[name]: replace(reference, id=names[name]) for name, reference in references.items()}


def named_alike(matching: Matching, first: Matching) -> Matching:
    """The same pairs under the names of their references in `first`: every anonymized folder has its own key."""
    names = {str(reference.name()): case for case, (_, reference) in first.pairs.items()}
    pairs = {names.get(str(pair[1].name()), case): pair for case, pair in matching.pairs.items()}
    return replace(matching, pairs=dict(sorted(pairs.items())))
