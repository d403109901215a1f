"""Case id, patient and split of DICOM studies, by the folders of their series and by PatientID."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import takewhile
from pathlib import Path

from segcct.datasets.layouts.patterns import split_of
from segcct.files.file_names import folder_name
from segcct.images.dicom.catalog import ImageSeries

_Folders = tuple[str, ...]
"""The names of the folders from the root down to one."""


def study_ids(studies: Mapping[str, Sequence[ImageSeries]], root: Path) -> dict[str, tuple[str, str, str | None]]:
    """Study -> case id, patient and split.

    A patient is named after its folder, with those above it where several patients' folders share the name. A case is
    named after its patient and, where the patient has several studies, the folder of the study, or all folders down to
    it. Folders with the same PatientID belong to one patient, named after the first of them, unless there is only that
    one PatientID.
    """
    places = {study: [_folders(one, root) for one in series] for study, series in studies.items()}
    shared = {study: _shared(paths) for study, paths in places.items()}
    owners = _patient_folders(studies, shared, root)
    namesakes = Counter(owner[-1:] for owner in set(owners.values()))
    studies_of = Counter(owners.values())
    below = {study: shared[study][len(owner) :] for study, owner in owners.items()}
    nearest = Counter((owners[study], folders[:1]) for study, folders in below.items())
    names_of = {
        owner: "_".join(owner if namesakes[owner[-1:]] > 1 else owner[-1:]) or folder_name(root)
        for owner in owners.values()
    }
    same = _same_patient(studies, owners)
    ids = {}
    for study, owner in owners.items():
        patient = names_of[owner]
        names = below[study] if nearest[owner, below[study][:1]] > 1 else below[study][:1]
        case_id = "_".join([patient, *names]) if studies_of[owner] > 1 else patient
        ids[study] = case_id, names_of[same[owner]], split_of(Path(*places[study][0], "x"))
    return ids


def _patient_folders(
    studies: Mapping[str, Sequence[ImageSeries]], shared: Mapping[str, _Folders], root: Path
) -> dict[str, _Folders]:
    """Study -> the folder of its patient: the topmost one with images of a single PatientID and not named as a split;
    where the files have none, the topmost one that does not hold all studies."""
    patients: dict[_Folders, set[str]] = defaultdict(set)
    for one in (one for series in studies.values() for one in series):
        folders = _folders(one, root)
        for depth in range(1, len(folders) + 1):
            patients[folders[:depth]].add(one.patient)
    above = len(_shared(list(shared.values()))) if len(shared) > 1 else 0
    owners = {}
    for study, folders in shared.items():
        depth = 1 if any(one.patient for one in studies[study]) else above + 1
        while depth < len(folders) and (len(patients[folders[:depth]]) > 1 or split_of(Path(folders[depth - 1], "x"))):
            depth += 1
        owners[study] = folders[:depth]
    return owners


def _same_patient(
    studies: Mapping[str, Sequence[ImageSeries]], owners: Mapping[str, _Folders]
) -> dict[_Folders, _Folders]:
    """Folder of a patient -> the first of those with the same PatientID."""
    folders_of: dict[str, set[_Folders]] = defaultdict(set)
    for study, series in studies.items():
        for patient in {one.patient for one in series if one.patient}:
            folders_of[patient].add(owners[study])
    same = {owner: owner for owner in owners.values()}
    if len(folders_of) > 1:  # a single one may be what anonymization wrote into all files
        for folders in folders_of.values():
            first = min(same[folder] for folder in folders)
            same |= {folder: first for folder, known in same.items() if known in {same[each] for each in folders}}
    return same


def _folders(series: ImageSeries, root: Path) -> _Folders:
    return series.folder.relative_to(root).parts


def _shared(paths: Sequence[_Folders]) -> _Folders:
    """The folders that all paths begin with."""
    levels = takewhile(lambda level: len(set(level)) == 1, zip(*paths, strict=False))
    return tuple(level[0] for level in levels)
