"""Whole inputs: a file, a case folder or a dataset root -> masks and predictions.json in an output folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from segcct.config import DataSection
from segcct.data.case import Case, Examination
from segcct.data.labels import Scheme
from segcct.data.layouts import find_new_cases, read_case, single_case
from segcct.data.splits import Splits
from segcct.errors import DataError, RunError, SegcctError, SplitError
from segcct.inference.masks import PICTURE, VOLUME, WRITTEN, save_mask
from segcct.inference.predictor import Predictor
from segcct.inference.quality.rows import keep_rows
from segcct.progress import Report
from segcct.runs import ModelCard, provenance, write_json
from segcct.volume import Volume, holds_dicom

INDEX = "predictions.json"


@dataclass(frozen=True)
class Request:
    """What is to be predicted: cases, or one volume of a one-channel model, and how the files are read."""

    cases: tuple[Case, ...]
    data: DataSection
    single: bool = False
    """The case is one volume file (or DICOM folder) read as it is, outside any layout."""
    selection: str | None = None
    seen: Mapping[str, str] = field(default_factory=dict)
    """Case id -> the side of the model's split, `train` or `val`, that it stands on."""

    @property
    def pictures(self) -> bool:
        """The cases are pictures, and so will their masks be."""
        return self.data.layout == "pictures" and not self.single


def resolve(card: ModelCard, source: Path, *, split: Path | None = None, side: str | None = None) -> Request:
    """What `source` is: a file, a DICOM folder, a case folder, a dataset root, or a folder of new files that are named
    as the dataset's are; read as the model's layout says.

    Args:
        card: the model's card.
        source: the input.
        split: splits.json of the model's run: which cases the model has seen, where the file is there.
        side: train, val or test: only these cases of that split.

    Raises:
        DataError: nothing there that the model can read.
        SplitError: the side is empty, or its cases are not below `source`.
    """
    if not source.exists():
        raise DataError("no such file or folder", file=source)
    data = card.data_section(source)
    if source.is_file() or (len(data.channels) == 1 and holds_dicom(source)):
        request = _single(card, source)
    else:
        request = Request(tuple(find_new_cases(data)), data)
    if split is not None and split.is_file():
        request = replace(request, seen=_seen(request.cases, Splits.load(split)))
    if side is None:
        return request
    wanted = _side(split, side)
    cases = {case.id: case for case in request.cases}
    missing = [name for name in wanted if name not in cases]
    if missing:
        raise SplitError(f"cases of side {side} are not there", file=source, found=f"no {', '.join(missing[:5])}")
    return replace(request, cases=tuple(cases[name] for name in wanted), selection=side)


def _seen(cases: Sequence[Case], splits: Splits) -> dict[str, str]:
    sides = {case.id: splits.side_of(case.id) for case in cases}
    return {name: side for name, side in sides.items() if side in ("train", "val")}


def predict_folder(
    predictor: Predictor,
    request: Request,
    output: Path,
    *,
    keep_largest: bool = False,
    overwrite: bool = False,
    anonymise: bool = False,
    progress: Report | None = None,
) -> list[Path]:
    """Write the mask of every case (see `masks.py`) and predictions.json; returns the masks.

    A case that fails leaves no mask; the others are written, then one `DataError` names every failure. Cases that the
    same model predicted into this folder before stay in predictions.json.

    Raises:
        RunError: masks of these cases, or another model's predictions, stand there and `overwrite` is off.
        DataError: some cases failed.
    """
    names = {case.id: hashed(case.id) if anonymise else case.id for case in request.cases}
    earlier = _earlier(output, predictor.card, overwrite=overwrite)
    _clear(output, list(names.values()), overwrite=overwrite)
    keep_rows(output, set(earlier.get("cases", {})) - set(names.values()))  # no old estimate beside a new mask
    output.mkdir(parents=True, exist_ok=True)
    masks: dict[str, Path] = {}
    failures: list[str] = []
    try:
        for done, case in enumerate(request.cases):
            if progress:
                progress(done, len(request.cases))
            try:
                mask = _predict_one(predictor, request, case, keep_largest=keep_largest)
                masks[case.id] = save_mask(mask, output, names[case.id], predictor.scheme, picture=request.pictures)
            except SegcctError as error:
                failures.append(str(error))
        if progress:
            progress(len(request.cases), len(request.cases))
    finally:  # an interrupt too leaves masks that say whose they are, and an evaluation misses the rest
        write_json(output / INDEX, _index(predictor, request, names, masks, earlier))
    if failures:
        raise DataError(
            f"{len(failures)} of {len(request.cases)} cases failed and have no mask:"
            + "".join(f"\n  - {failure}" for failure in failures)
        )
    return list(masks.values())


def hashed(case_id: str) -> str:
    """A case id that does not name the patient; the same for the same id."""
    return "case_" + hashlib.sha256(case_id.encode()).hexdigest()[:12]


def examination_of(request: Request, case: Case, scheme: Scheme, *, with_label: bool) -> Examination:
    """A case of a request read into memory; a single file is read as it is and has no label."""
    if not request.single:
        return read_case(case, request.data, scheme, with_label=with_label)
    volume = Volume.load(next(iter(case.channels.values()))[0])
    return Examination(case, volume.array[None].astype(np.float32), volume)


def _predict_one(predictor: Predictor, request: Request, case: Case, *, keep_largest: bool) -> Volume:
    if request.single:
        file = next(iter(case.channels.values()))[0]
        return predictor.predict(Volume.load(file), keep_largest=keep_largest)
    examination = read_case(case, request.data, predictor.scheme, with_label=False)
    return predictor.predict_examination(examination, keep_largest=keep_largest)


def _single(card: ModelCard, source: Path) -> Request:
    data = card.data_section(source.parent)
    case = single_case(data, source) if source.is_file() else None
    if case is not None:
        return Request((case,), data)
    if len(data.channels) != 1:
        raise DataError(
            "one file is not enough for this model",
            file=source,
            expected=f"a case folder or dataset root with channels {', '.join(data.channels)} ({data.layout} layout)",
        )
    name = source.name.split(".")[0]
    return Request((Case(name, name, {next(iter(data.channels)): (source,)}),), data, single=True)


def _side(split: Path | None, side: str) -> Sequence[str]:
    if split is None or not split.is_file():
        raise RunError(
            f"side {side} is not known without the run's splits.json",
            file=split,
            remedy="Keep best/ in its run folder, or leave --split out",
        )
    names: Sequence[str] = getattr(Splits.load(split), side)
    if not names:
        raise SplitError(f"side {side} is empty", file=split)
    return names


def _earlier(output: Path, card: ModelCard, *, overwrite: bool) -> dict[str, Any]:
    """predictions.json of the same model, where one is there; another model's is refused, or dropped to overwrite."""
    if output.exists() and not output.is_dir():
        raise RunError("is not a folder", file=output)
    index = output / INDEX
    if not index.is_file():
        return {}
    try:
        content = json.loads(index.read_text(encoding="utf-8"))
        if not isinstance(content["cases"], dict):
            raise TypeError("'cases' is no mapping")
    except (ValueError, KeyError, TypeError) as error:
        if overwrite:
            return {}
        raise RunError(
            "is not an index of predictions",
            file=index,
            found=" ".join(str(error).split())[:200],
            remedy="Choose another --output, or add --overwrite",
        ) from None
    if content.get("weights_sha256") == card.weights_sha256:
        return content
    if not overwrite:
        raise RunError(
            "holds another model's predictions", file=output, remedy="Choose another --output, or add --overwrite"
        )
    return {}


def _clear(output: Path, names: Sequence[str], *, overwrite: bool) -> None:
    """Old masks are refused, or removed before the work, so that none is left to pass for a new one."""
    old = [file for name in names for suffix in WRITTEN if (file := output / f"{name}{suffix}").exists()]
    if old and not overwrite:
        raise RunError(
            f"{len(old)} of the masks exist already", file=output, found=old[0].name,
            remedy="Choose another --output, or add --overwrite",
        )  # fmt: skip
    for file in [*old, output / INDEX]:
        file.unlink(missing_ok=True)


def _index(
    predictor: Predictor,
    request: Request,
    names: Mapping[str, str],
    masks: Mapping[str, Path],
    earlier: Mapping[str, Any],
) -> dict[str, Any]:
    """predictions.json: every case asked for, also those that failed, so that an evaluation misses them."""
    card = predictor.card
    usual = PICTURE if request.pictures else VOLUME
    cases = {
        names[case.id]: {
            "mask": masks[case.id].name if case.id in masks else f"{names[case.id]}{usual}",
            "channels": {name: [str(file.resolve()) for file in files] for name, files in case.channels.items()},
            "seen": request.seen.get(case.id),
        }
        for case in request.cases
    }
    return {
        "cases": {**earlier.get("cases", {}), **cases},
        "data": {**request.data.model_dump(mode="json"), "root": str(request.data.root.resolve())},
        "scheme": card.scheme.model_dump(mode="json"),
        "selection": request.selection if earlier.get("selection", request.selection) == request.selection else "some",
        "protocol": predictor.how.protocol,
        "weights_sha256": card.weights_sha256,
        "synthetic_training": card.synthetic,
        "selected_on": card.selected_on,
        "architecture": card.architecture.model_dump(mode="json"),
        "provenance": provenance(card.data_fingerprint),
    }
