"""Lists of cases as text files: one case, patient, path or file name per line."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from segcct.config import DataSection, SplitSection
from segcct.datasets.case import Case
from segcct.datasets.split_record import Splits, repeated_ids
from segcct.errors import SplitError
from segcct.files.file_names import composed, stem_of
from segcct.files.json_file import reason_of_parse
from segcct.files.small_file import read_small
from segcct.plurals import counted, listed

_MOST_BYTES = 2**24
"""Largest list that is read; a hundred thousand full paths fit."""
_SLICE = re.compile(r"[-_]slice[-_]?\d+$", re.I)


def read_list(path: Path, key: str, cases: Sequence[Case]) -> list[str]:
    """Ids of the cases a list names, in its order; a patient's name stands for all of the patient's cases.

    Blank lines and everything after `#` are ignored. A line may be a case id, a path that ends in one, or a file name
    of the case.

    Args:
        path: the list; relative paths are relative to the working directory.
        key: the config key the list was given under, for the messages.
        cases: the cases of the dataset.

    Raises:
        SplitError: the file is missing or not text, names no case, a case twice, an unknown case, or slices.
    """
    entries = _entries(path, key)
    names = _Names(cases)
    found = [(entry, names.ids_of(entry)) for entry in entries]
    unknown = [entry for entry, ids in found if not ids]
    slices = [entry for entry in unknown if names.is_slice(entry)]
    if slices:
        raise SplitError(
            "this is a list of slices, not of cases",
            file=path,
            found=f"{counted(len(slices), 'line')} such as {slices[0]}",
            expected=f"a case or patient per line, such as {cases[0].id}",
            remedy=f"Give {key} a list of cases; the slices of a case always stay together",
        )
    if unknown:
        near = difflib.get_close_matches(_stem(unknown[0]), names.known(), n=1)
        raise SplitError(
            f"{len(unknown)} of {counted(len(entries), 'line')} without a case of the dataset that can be split",
            file=path,
            found=listed(unknown),
            expected=f"cases such as {near[0] if near else cases[0].id}",
            remedy=f"Correct the lines, or point data.root at the dataset that {key} belongs to",
        )
    case_ids = [case_id for _, ids in found for case_id in ids]
    if repeated := repeated_ids(case_ids):
        raise SplitError(
            "a case is listed more than once", file=path, found=listed(repeated), remedy="Leave one line per case"
        )
    return case_ids


def read_lists(cases: Sequence[Case], section: SplitSection, noun: str = "case") -> dict[str, list[str]]:
    """Split -> the case ids on its list; none where there is no list.

    Raises:
        SplitError: as `read_list`; a list for training or validation holds cases that the dataset keeps for test.
    """
    files = {"train": section.train_list, "val": section.val_list, "test": section.test_list}
    case_ids = {
        split: [] if path is None else read_list(path, f"data.split.{split}_list", cases)
        for split, path in files.items()
    }
    by_id = {case.id: case for case in cases}
    for split in ("train", "val"):  # holding back a training case for test does no harm
        tested = [case_id for case_id in case_ids[split] if by_id[case_id].split == "test"]
        if tested:
            raise SplitError(
                f"{counted(len(tested), noun)} listed for {split}, but the dataset itself keeps them for test",
                file=files[split],
                found=listed(tested),
                remedy="Take them off the list",
            )
    return case_ids


def unlabeled_cases(cases: Sequence[Case], data: DataSection, splits: Splits) -> list[Case]:
    """The cases of `data.split.unlabelled` or `unlabelled_list`, in the order of `cases` and stripped of any label.

    `rest` leaves out patients who validate or test, and what the dataset itself keeps for that.

    Raises:
        SplitError: the list cannot be read, names an unknown case or a training case, or a case of a patient who
            validates or tests; no case is left.
    """
    section, path = data.split, data.split.unlabelled_list
    evaluated = {splits.patient_of(name) for name in (*splits.val, *splits.test)}
    evaluated |= {case.patient for case in cases if case.split in ("val", "test")}
    if section.unlabelled == "rest":
        placed = {name for _, ids in splits.items() for name in ids}
        chosen = [case for case in cases if case.id not in placed and case.patient not in evaluated]
        if not chosen:
            raise SplitError(
                "no case is left to train without a label",
                file=data.root,
                found=f"{counted(len(cases), 'case')}, all in the split or of patients who validate or test",
                remedy="Add scans without labels, or leave data.split.unlabelled out",
            )
    elif path is not None:
        case_ids = set(read_list(path, "data.split.unlabelled_list", cases))
        chosen = [case for case in cases if case.id in case_ids]
        taken = [case.id for case in chosen if case.id in splits.train or case.patient in evaluated]
        if taken:
            split = splits.split_of(taken[0]) or "validation or test by its patient"
            raise SplitError(
                f"{len(taken)} unlabeled cases are in the split already",
                file=path,
                found=f"{listed(taken)}; {taken[0]} is in {split}",
                expected="cases that do not train with their label, of patients who do not validate or test",
                remedy="Take them off the list, or name the splits by data.split.kind: lists",
            )
    else:
        return []
    return [replace(case, label=None) for case in chosen]


def _entries(path: Path, key: str) -> list[str]:
    try:
        lines = read_small(Path(path), _MOST_BYTES).decode("utf-8-sig").splitlines()
    except FileNotFoundError:
        raise SplitError(
            "the list file does not exist",
            file=path,
            remedy=f"Set {key} to a text file with a case id per line (relative to the working directory)",
        ) from None
    except (OSError, ValueError) as error:
        raise SplitError(
            "the list file cannot be read as text",
            file=path,
            found=reason_of_parse(error),
            expected="a case id per line",
        ) from error
    entries = [line.split("#", 1)[0].strip() for line in lines]
    entries = [entry for entry in entries if entry]
    if not entries:
        raise SplitError(
            "the list is empty", file=path, expected="a case id per line", remedy=f"Fill it or remove {key}"
        )
    return entries


def _stem(entry: str) -> str:
    return stem_of(entry.replace("\\", "/"))


class _Names:
    """The names of a case in a list: its id, its patient, one of its files, a folder on the way to them. They are
    compared in composed Unicode."""

    def __init__(self, cases: Sequence[Case]) -> None:
        self._ids: dict[str, tuple[str, ...]] = {}
        self._slices: set[str] = set()
        of_patient: dict[str, list[str]] = {}
        for case in cases:
            of_patient.setdefault(composed(case.patient), []).append(case.id)
            for files in (*case.channels.values(), case.label or ()):
                stems = {composed(_stem(file.name)) for file in files}
                if len(files) > 1:
                    self._slices |= stems
                else:
                    self._ids |= {stem: (*self._ids.get(stem, ()), case.id) for stem in stems}
        # A file name that several cases share (`t1.nii.gz` in every folder) names none of them.
        self._ids = {stem: ids[:1] for stem, ids in self._ids.items() if len(set(ids)) == 1}
        self._ids |= {patient: tuple(ids) for patient, ids in of_patient.items()}
        self._ids |= {composed(case.id): (case.id,) for case in cases}

    def ids_of(self, entry: str) -> tuple[str, ...]:
        """Cases a line names; none when it is unknown."""
        entry = composed(entry)
        path = PurePosixPath(entry.replace("\\", "/"))
        if self.is_slice(entry):
            return ()
        # A folder may name its only case, never all cases of a patient: the file name said more than that.
        folders = [part for part in reversed(path.parts[:-1]) if [*map(composed, self._ids.get(part, ()))] == [part]]
        return next((self._ids[name] for name in (entry, path.name, _stem(entry), *folders) if name in self._ids), ())

    def is_slice(self, entry: str) -> bool:
        """Whether a line names a slice, and no case: an image that is a case of its own may be called a slice."""
        stem = composed(_stem(entry))
        return stem not in self._ids and (stem in self._slices or _SLICE.search(stem) is not None)

    def known(self) -> list[str]:
        """Every name that stands for a case."""
        return list(self._ids)
