"""A folder per case: which folders are cases, and which patterns their files have in common."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from segcct.datasets.layouts.file_roles import label_score, names_modality
from segcct.files.file_names import stem_of
from segcct.init.grouping_proposal import MOST, Evidence, Proposal, has_label, naming_of
from segcct.init.name_affixes import words_with_separators
from segcct.plurals import counted, listed

_NUMBER = re.compile(r"(?<![tT\d])\d+")
"""Digits that may differ between cases; those of T1 and T2 may not."""


def in_case_folders(names: Sequence[str], root_name: str) -> Proposal | None:
    """A folder per case, with the same file names in each, give or take the case id and numbers."""
    folders = _case_folders(names)
    if not folders:
        return None
    attempts = [common_patterns(folders, root_name, generalize) for generalize in (str, _numbers_free, _any_start)]
    fraction, patterns = max(attempts, key=lambda each: (has_label(each[1]), min(each[0], MOST)))
    if not patterns or (len(patterns) == 1 and len(folders) == 1):
        return None
    doubts = [] if fraction >= MOST else [f"only {fraction:.0%} of the case folders hold all of {listed(patterns)}"]
    kinds = "the folder is one case" if list(folders) == [""] else counted(len(folders), "case folder")
    naming = naming_of("folder", patterns, f"{kinds} with {counted(len(patterns), 'file')} each", doubts)
    return Proposal(naming, Evidence.DOUBTED if naming.doubts else Evidence.FOLDERS)


def in_case_folders_of_images(names: Sequence[str]) -> Proposal | None:
    """As `in_case_folders`, for 2-D images, where a file of each folder is a label: else each may be a case."""
    proposal = in_case_folders(names, "")
    if proposal is None or "" in _case_folders(names) or not (proposal.naming.channels and proposal.naming.label):
        return None
    naming = proposal.naming
    channels = {name: f"{{id}}/{pattern}" for name, pattern in naming.channels.items()}
    mask = f"{{id}}/{naming.mask}" if naming.mask else None
    naming = replace(naming, layout="pictures", channels=channels, label=f"{{id}}/{naming.label}", mask=mask)
    return replace(proposal, naming=naming)


def _case_folders(names: Sequence[str]) -> dict[str, list[str]]:
    """Case folder -> its files, relative to it. Folders named alike in every case (anat/) belong to the file names,
    unless two of a case hold a label of the same name: those are cases, such as a patient's visits."""
    places = _with_labels(names)
    while True:
        folders = set(places.values())
        parents = {folder.parent for folder in folders}
        if len({folder.name for folder in folders}) >= len(parents) or len(parents) < 2 or _hold_labels_alike(places):
            break
        places = {name: place.parent for name, place in places.items()}
    grouped: dict[str, list[str]] = {}
    for name, place in places.items():
        folder = "" if place == PurePosixPath() else str(place)
        grouped.setdefault(folder, []).append(str(PurePosixPath(name).relative_to(place)))
    return grouped


def _with_labels(names: Sequence[str]) -> dict[str, PurePosixPath]:
    """File -> its folder; of a folder of nothing but labels the one above, where that holds a scan: p1/ct.nii.gz and
    p1/masks/liver.nii.gz; and of a folder without labels the one above, where that holds nothing but labels:
    p1/orig/flair.nii.gz and p1/lesions.nii.gz."""
    places = {name: PurePosixPath(name).parent for name in names}
    scores: dict[PurePosixPath, list[int]] = {}
    for name, place in places.items():
        scores.setdefault(place, []).append(label_score(f"{place.name}/{PurePosixPath(name).name}"))
    of_scans = {place for place, each in scores.items() if min(each) <= 0} - {PurePosixPath()}
    of_labels = {place for place, each in scores.items() if min(each) > 0 and place.parent in of_scans}
    only_labels = {place for place, each in scores.items() if min(each) > 0} - {PurePosixPath()}
    below = of_labels | {place for place, each in scores.items() if max(each) <= 0 and place.parent in only_labels}
    return {name: place.parent if place in below else place for name, place in places.items()}


def _hold_labels_alike(places: Mapping[str, PurePosixPath]) -> bool:
    """Whether folders with one parent, none of them named as a modality, hold labels of the same name."""
    labels = Counter(
        (place.parent, file)
        for name, place in places.items()
        if label_score(file := PurePosixPath(name).name) > 0 and not names_modality(place.name.lower())
    )
    return max(labels.values(), default=0) > 1


def common_patterns(
    folders: Mapping[str, Sequence[str]], root_name: str, generalize: Callable[[str], str]
) -> tuple[float, list[str]]:
    """Patterns that more than half of the folders hold exactly once, and the fraction of folders that hold all. Where
    no such pattern is a label's, the most frequent one of a label is added: few cases may have one."""
    times = []
    for place, files in folders.items():
        case = PurePosixPath(place).name or root_name
        as_id = re.compile(rf"(?<![0-9A-Za-z]){re.escape(case)}(?![0-9A-Za-z])")
        times.append(Counter(generalize(as_id.sub("{id}", file)) for file in files))
    once = Counter(pattern for counts in times for pattern, number in counts.items() if number == 1)
    often = [pattern for pattern, number in once.items() if number > len(folders) / 2]
    if often and not has_label(often):
        often += sorted((p for p in once if label_score(p) > 0), key=lambda p: -once[p])[:1]
    patterns = sorted(often, key=lambda pattern: (pattern.count("/"), pattern))  # the label is next to the scan, if any
    whole = sum(all(counts[pattern] == 1 for pattern in patterns) for counts in times)
    return (whole / len(folders) if patterns else 0.0), patterns


def _numbers_free(pattern: str) -> str:
    folder, slash, name = pattern.rpartition("/")
    body = stem_of(name)
    return folder + slash + _NUMBER.sub("*", body) + name[len(body) :]


def _any_start(pattern: str) -> str:
    """Only the last word and the suffix stay: S0123_t1.nii.gz -> *_t1.nii.gz."""
    folder, slash, name = pattern.rpartition("/")
    pieces = words_with_separators(stem_of(name))
    return pattern if len(pieces) < 2 else f"{folder}{slash}*{pieces[-1]}{name[len(stem_of(name)) :]}"
