"""Which prediction belongs to which reference: pairs of files, and every case that stands on one side only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from segcct.errors import EvaluationError
from segcct.evaluation.prediction_folder import PredictionFolder, is_there
from segcct.evaluation.reference_folder import HASHED, ReferenceCase, with_hashed
from segcct.inference.index import SOURCES
from segcct.inference.masks import SUFFIXES, VOLUME
from segcct.plurals import counted

_KEYED_LENGTH = len("case_") + 16


@dataclass(frozen=True)
class Matching:
    """Cases on both sides in order of id, and the ids on one side only."""

    pairs: dict[str, tuple[Path, ReferenceCase]]
    without_reference: dict[str, Path]
    """Case id -> its mask."""
    without_prediction: dict[str, Path]
    """Case id -> the mask that was looked for."""


def match(predictions: PredictionFolder, references: Mapping[str, ReferenceCase]) -> Matching:
    """Pair by case id; masks that are listed but not there count as missing.

    Where the predictions name a selection, references outside of it are not asked for. Raises `EvaluationError` where
    masks are named by a hash whose key is gone.
    """
    masks = {name: file for name, file in predictions.masks.items() if is_there(file)}
    strangers = [name for name in masks if HASHED.match(name) and name not in references]
    if predictions.key is None and any(len(name) == _KEYED_LENGTH for name in strangers):
        raise EvaluationError(
            "the masks are named by hashed ids, and the key that finds their references is gone",
            expected=f"{SOURCES} beside the masks",
            remedy=f"Put {SOURCES} back, or name the reference masks as the predicted ones",
        )
    references = with_hashed(masks, references, predictions.key, everyone=predictions.anonymized)
    if strangers and not set(strangers) & set(references):
        raise EvaluationError(
            "the masks are named by hashed ids, and none of them is that of a reference",
            file=predictions.path,
            found=f"{counted(len(strangers), 'mask')} such as {strangers[0]}, and "
            f"{counted(len(references), 'reference')}",
            remedy=f"Put the {SOURCES} of these masks back, or name the folder of their references",
        )
    asked = set(predictions.masks) if predictions.index.selection else set(predictions.masks) | set(references)
    lost = sorted(asked - set(masks))
    return Matching(
        {name: (masks[name], references[name]) for name in sorted(masks) if name in references},
        {name: masks[name] for name in sorted(masks) if name not in references},
        {name: predictions.masks.get(name, predictions.path / f"{name}{_usual_suffix(predictions)}") for name in lost},
    )


def named_alike(matching: Matching, first: Matching) -> Matching:
    """The same pairs under the names that `first` gives to their references: every anonymized folder has its own."""
    names = {str(reference.name()): case for case, (_, reference) in first.pairs.items()}
    pairs = {names.get(str(pair[1].name()), case): pair for case, pair in matching.pairs.items()}
    return replace(matching, pairs=dict(sorted(pairs.items())))


def _usual_suffix(predictions: PredictionFolder) -> str:
    """How the masks of a folder end, for the name of one that is missing."""
    name = next((file.name.lower() for file in predictions.masks.values()), VOLUME)
    return next((suffix for suffix in SUFFIXES if name.endswith(suffix)), VOLUME)
