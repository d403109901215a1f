"""Which prediction belongs to which reference: folders in, pairs of files out, every unmatched case named."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from segcct.config import DataSection
from segcct.datasets.case import Case
from segcct.datasets.label_schemes import SCHEMES, Scheme, get_scheme, stored_scheme
from segcct.datasets.layouts import LAYOUTS, find_cases, get_layout
from segcct.errors import DataError, EvaluationError, LabelError
from segcct.files.file_names import EXACT_IMAGE_SUFFIXES as PICTURE_SUFFIXES
from segcct.files.file_names import VOLUME_SUFFIXES, absolute, split_name
from segcct.files.json_file import read_object
from segcct.files.private_file import pseudonym
from segcct.inference.index import INDEX, SOURCES, check_cases, is_anonymized, read_key, read_sources
from segcct.inference.masks import SUFFIXES, VOLUME
from segcct.plurals import counted

REFERENCE_ENDINGS = ("_seg", "-seg", "_gt", "-gt", "_label", "_labels", "_mask", "_segmentation")
"""Endings that a reference's file name may carry behind the case id."""
_HASHED = re.compile(r"case_([0-9a-f]{12}|[0-9a-f]{16})$")

_KEYED_LENGTH = len("case_") + 16


@dataclass(frozen=True)
class PredictionFolder:
    """Predicted masks by case id, and what `predictions.json` says of them (when there is one)."""

    path: Path
    masks: dict[str, Path]
    channels: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    data: DataSection | None = None
    scheme: Scheme | None = None
    selection: str | None = None
    seen: dict[str, str] = field(default_factory=dict)
    """Case id -> `train` or `val`, for cases that the model was trained or selected on."""
    synthetic: frozenset[str] = frozenset()
    """Cases whose images say that they were generated."""
    synthetic_training: bool = False
    """The model was trained on such images."""
    anonymized: bool = False
    """Masks are named by hashed ids, and nothing that is told may name a case otherwise."""
    key: str | None = None
    """Of the hash; None where sources.json is not there, or was written before ids were hashed with a key."""
    weights_sha256: str | None = None
    """Of the model."""
    digests: dict[str, str] = field(default_factory=dict)
    """Case id -> digest of the mask that was predicted; a mask with another one was edited or replaced."""
    model: dict[str, Any] = field(default_factory=dict)
    """What predictions.json says of the model and of how it predicted, for the record."""


@dataclass(frozen=True)
class ReferenceCase:
    """Where the reference of a case is: a mask file, or a case of a dataset layout with how it is read."""

    id: str
    patient: str
    file: Path | None = None
    case: Case | None = None
    data: DataSection | None = None

    def files(self) -> tuple[Path, ...]:
        """What the reference is read from."""
        return (self.file,) if self.file is not None else (self.case.label or ()) if self.case else ()

    def name(self) -> str | list[str]:
        """The reference's file; files, where a label is several."""
        names = [absolute(file) for file in self.files()]
        return names[0] if len(names) == 1 else names


@dataclass(frozen=True)
class Matching:
    """Cases on both sides in order of id, and the ids on one side only."""

    pairs: dict[str, tuple[Path, ReferenceCase]]
    without_reference: dict[str, Path]
    """Case id -> its mask."""
    without_prediction: dict[str, Path]
    """Case id -> the mask that was looked for."""


def read_predictions(folder: Path) -> PredictionFolder:
    """The masks of a folder. Raises `EvaluationError` when it is missing, empty, or its index cannot be read."""
    if not folder.is_dir():
        raise EvaluationError("no such folder of predictions", file=folder, remedy="Name the folder that holds masks")
    index = folder / INDEX
    if not index.is_file():
        masks = _flat(folder, endings=())
        if not masks:
            raise EvaluationError("holds no masks", file=folder, expected=f"files ending in {', '.join(SUFFIXES)}")
        return PredictionFolder(folder, masks, key=read_key(folder))
    content = read_object(index, "is not an index of predictions", error=EvaluationError)
    try:
        check_cases(content)
        listed = {name: folder / entry["mask"] for name, entry in content["cases"].items()}
        sources = read_sources(folder) if is_anonymized(content) else content["cases"]
        channels = {name: dict(entry.get("channels") or {}) for name, entry in sources.items()}
        seen = {name: str(entry["seen"]) for name, entry in content["cases"].items() if entry.get("seen")}
        digests = {name: str(entry["digest"]) for name, entry in content["cases"].items() if entry.get("digest")}
        synthetic = frozenset(name for name, entry in content["cases"].items() if entry.get("synthetic"))
        data = DataSection.model_validate(content["data"]) if content.get("data") else None
        scheme = _scheme_of(content["scheme"]) if content.get("scheme") else None
        selection = content.get("selection")
        if selection is not None and not isinstance(selection, str):
            raise TypeError("a selection that is no text")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ValidationError, LabelError) as error:
        reason = " ".join(str(error).split())[:200]
        raise EvaluationError("is not an index of predictions", file=index, found=reason) from error
    return PredictionFolder(
        path=folder,
        masks=listed,  # what no index lists may be another model's, or no mask
        channels=channels,
        data=data,
        scheme=scheme,
        selection=selection,
        seen=seen,
        synthetic=synthetic,
        synthetic_training=bool(content.get("synthetic_training")),
        anonymized=is_anonymized(content),
        key=read_key(folder),
        weights_sha256=content.get("weights_sha256"),
        digests=digests,
        model={name: content.get(name) for name in ("architecture", "selected_on", "provenance")},
    )


def read_references(
    folder: Path, predictions: PredictionFolder, layout: str | None, scheme: Scheme
) -> dict[str, ReferenceCase]:
    """The references below a folder, by case id; only cases with a label count.

    A dataset root is read by `layout`, else as `predictions.json` says; where that finds none of the predicted cases,
    masks directly in the folder are the references.

    Raises:
        EvaluationError: the folder is missing, holds no reference, or it is not known how to read it.
        DataError: from the layout's reader.
    """
    if not folder.is_dir():
        raise EvaluationError("no such folder of references", file=folder)
    flat = {} if layout else _flat(folder, endings=REFERENCE_ENDINGS)
    channels = [files for case in predictions.channels.values() for files in case.values()]
    scans = {os.path.realpath(file) for files in channels for file in files}
    flat = {name: file for name, file in flat.items() if os.path.realpath(file) not in scans}
    if flat:
        cases = _labelled(predictions.data, folder) if predictions.data is not None else {}
        if not set(_with_hashed(predictions.masks, cases, predictions.key, everyone=False)) & set(predictions.masks):
            return {name: ReferenceCase(name, name, file=file) for name, file in flat.items()}
        return cases
    data = _reading(folder, predictions, layout, scheme)
    find_cases(data, strict=False)  # raises what the layout has to say about a root without cases
    cases = _labelled(data, folder)
    if not cases:
        raise EvaluationError(f"holds no labeled case of layout {data.layout}", file=folder)
    return cases


def _labelled(data: DataSection, folder: Path) -> dict[str, ReferenceCase]:
    """The labelled cases of a dataset root; none where it is not one."""
    data = data.model_copy(update={"root": folder})
    try:
        cases = find_cases(data, strict=False)
    except DataError:
        return {}
    return {case.id: ReferenceCase(case.id, case.patient, case=case, data=data) for case in cases if case.label}


def match(predictions: PredictionFolder, references: Mapping[str, ReferenceCase]) -> Matching:
    """Pair by case id; masks that are listed but not there count as missing.

    Where the predictions name a selection, references outside of it are not asked for. Raises `EvaluationError` where
    masks are named by a hash whose key is gone.
    """
    masks = {name: file for name, file in predictions.masks.items() if _is_there(file)}
    strangers = [name for name in masks if _HASHED.match(name) and name not in references]
    if predictions.key is None and any(len(name) == _KEYED_LENGTH for name in strangers):
        raise EvaluationError(
            "the masks are named by hashed ids, and the key that finds their references is gone",
            expected=f"{SOURCES} beside the masks",
            remedy=f"Put {SOURCES} back, or name the reference masks as the predicted ones",
        )
    references = _with_hashed(masks, references, predictions.key, everyone=predictions.anonymized)
    if strangers and not set(strangers) & set(references):
        raise EvaluationError(
            "the masks are named by hashed ids, and none of them is that of a reference",
            file=predictions.path,
            found=f"{counted(len(strangers), 'mask')} such as {strangers[0]}, and "
            f"{counted(len(references), 'reference')}",
            remedy=f"Put the {SOURCES} of these masks back, or name the folder of their references",
        )
    asked = set(predictions.masks) if predictions.selection else set(predictions.masks) | set(references)
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


def _with_hashed(
    masks: Iterable[str], references: Mapping[str, ReferenceCase], key: str | None, *, everyone: bool
) -> Mapping[str, ReferenceCase]:
    """References renamed as `segcct predict --anonymize` names their masks, where such masks are there; `everyone`:
    those without a mask too.
    """
    strangers = {name for name in masks if _HASHED.match(name) and name not in references}
    hashed = _hashed_without_key if key is None else partial(pseudonym, key=key)
    names = {name: name if _HASHED.match(name) else hashed(name) for name in references}
    names = {name: new if everyone or new in strangers else name for name, new in names.items()}
    return {names[name]: replace(reference, id=names[name]) for name, reference in references.items()}


def _hashed_without_key(case_id: str) -> str:
    """As ids were hashed before 0.2, for folders from then."""
    return "case_" + hashlib.sha256(case_id.encode(errors="surrogateescape")).hexdigest()[:12]


def choose_scheme(scheme: str | Scheme | None, predictions: PredictionFolder) -> Scheme:
    """The scheme as named, else that of `predictions.json`.

    Raises `EvaluationError` when neither says, or when the named one gives the masks' values another meaning.
    """
    if isinstance(scheme, Scheme):
        return scheme
    if scheme is None or (scheme == "custom" and predictions.scheme is not None):
        if predictions.scheme is None:
            raise EvaluationError(
                "the meaning of the label values is not known",
                file=predictions.path,
                found=f"no {INDEX}",
                remedy="Name it by --scheme, such as --scheme brats2021",
            )
        return predictions.scheme
    named, written = get_scheme(scheme), predictions.scheme
    renamed = written is not None and written.name == "custom" and set(written.values) == set(named.values)
    if written is not None and written.name != named.name and not renamed:
        raise EvaluationError(
            "the masks were not written under this scheme",
            file=predictions.path / INDEX,
            found=f"--scheme {named.name}",
            expected=f"{written.name} ({', '.join(f'{name} {value}' for name, value in written.classes.items())})",
            remedy="Leave --scheme out, or name the one the masks were written under",
        )
    return named


def _scheme_of(content: Mapping[str, Any]) -> Scheme:
    regions = {name: tuple(values) for name, values in (content.get("regions") or {}).items()}
    return stored_scheme(content["name"], dict(content["classes"]), regions)


def _flat(folder: Path, endings: tuple[str, ...]) -> dict[str, Path]:
    """Masks directly in a folder by case id: its volumes, or where it holds none its pictures."""
    return _named(folder, VOLUME_SUFFIXES, endings) or _named(folder, PICTURE_SUFFIXES, endings)


def _named(folder: Path, suffixes: tuple[str, ...], endings: tuple[str, ...] = ()) -> dict[str, Path]:
    """Files with such a suffix by case id; where `X` and `X_seg` both stand there, `X_seg` is the mask of X."""
    plain: dict[str, Path] = {}
    marked: dict[str, Path] = {}
    for file in sorted(folder.iterdir()):
        name = file.name
        stem, suffix = split_name(name)
        if suffix.lower() not in suffixes or name.startswith(".") or not _is_there(file):
            continue
        ending = next((end for end in endings if stem.lower().endswith(end) and len(stem) > len(end)), "")
        ids, case = (marked, stem[: -len(ending)]) if ending else (plain, stem)
        if case in ids:
            raise EvaluationError(
                f"two masks of case {case}",
                file=file,
                found=f"also {ids[case].name}",
                remedy="Take one of the two away, or rename it",
            )
        ids[case] = file
    return dict(sorted((plain | marked).items()))


def _is_there(file: Path) -> bool:
    """A file, or a link whose file is not there, which is told when it is read."""
    return file.is_file() or (file.is_symlink() and not file.exists())


def _reading(folder: Path, predictions: PredictionFolder, layout: str | None, scheme: Scheme) -> DataSection:
    """How a dataset root is read."""
    if predictions.data is not None and layout in (None, predictions.data.layout):
        return predictions.data.model_copy(update={"root": folder})
    if layout is None:
        raise EvaluationError(
            "how these references are stored is not known",
            file=folder,
            found="no mask files in the folder itself",
            expected=f"masks named by case id ({', '.join(SUFFIXES)}), or a dataset root",
            remedy="For a dataset root, name its layout by --layout, such as --layout brats",
        )
    patterns = get_layout(layout).label_patterns if layout in LAYOUTS else ()
    if not patterns:
        fixed = [name for name in LAYOUTS if get_layout(name).label_patterns]
        raise EvaluationError(
            f"references of layout '{layout}' cannot be found without the config's file patterns",
            file=folder,
            expected=f"predictions with a {INDEX}, or layout {', '.join(fixed)}",
            remedy="Or copy the reference masks into one flat folder, named by case id",
        )
    sections = [_labels_only(layout, pattern, folder, scheme) for pattern in patterns]
    return next((data for data in sections if _labelled(data, folder)), sections[0])


def _labels_only(layout: str, pattern: str, folder: Path, scheme: Scheme) -> DataSection:
    """A section whose only channel is the label itself: evaluation reads no images."""
    custom = scheme.name not in SCHEMES
    return DataSection.model_validate(
        {
            "layout": layout,
            "root": folder,
            "channels": {"label": pattern},
            "label": pattern,
            "scheme": "custom" if custom else scheme.name,
            "labels": dict(scheme.classes) if custom else None,
        }
    )
