"""Scans and masks side by side, which differ in the starts or ends of their names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import PurePosixPath

from segcct.datasets.layouts.file_roles import label_score, names_modality
from segcct.datasets.layouts.layout import Naming
from segcct.files.file_names import stem_of
from segcct.init.grouping_proposal import MOST, Evidence, Proposal, naming_of
from segcct.init.name_affixes import ids_in, words_with_separators

_Cut = Callable[[str, int], tuple[str, str]]
"""(file name, number of words) -> case, and the pattern of the case's file."""
_OF_ONE_PATIENT = (
    "each image with a mask is a case, and a patient of its own: if cases whose names begin alike are of one patient, "
    "say so by data.patient"
)


def side_by_side(names: Sequence[str], layout: str) -> Proposal | None:
    """Scans and masks side by side. Names begin with the case or with the role, whichever shows labels."""
    naming = _naming_of_files(names, layout)
    return None if naming is None else Proposal(naming, Evidence.FILE_NAMES)


def _naming_of_files(names: Sequence[str], layout: str) -> Naming | None:
    def namings(cut: _Cut, *, partly: bool = False) -> Iterator[Naming]:
        found = _partly_labeled(names, cut) if partly else _of_most_cases(names, cut)
        return (naming_of(layout, one, "scans and masks side by side") for one in found)

    case_first = list(namings(_case_first))
    if case_first and (first := case_first[0]).label:
        sure = next((each for each in case_first if each.label and each.channels and not each.doubts), first)
        lost = bool(first.channels) and all(map(names_modality, first.channels))
        lost = lost and not any(map(names_modality, sure.channels))
        if sure is first or lost:
            return first
        return replace(sure, doubts=() if layout == "pictures" else (_OF_ONE_PATIENT,))  # said of all 2-D images
    others = chain(namings(_role_first), namings(_case_first, partly=True), namings(_role_first, partly=True))
    likely = (naming for naming in others if naming.label and naming.channels)
    return next(likely, case_first[0] if case_first else None)


def _of_most_cases(names: Sequence[str], cut: _Cut) -> Iterator[list[str]]:
    """The patterns that most cases have alike, for each number of words at which names can be cut into case and
    role: A_ct.nii.gz, A_seg.nii.gz, B_ct.nii.gz, ... Where names recur, as in siteA/1_ct.nii.gz and siteB/1_ct.nii.gz,
    each folder has cases of its own, several on average."""
    files = [PurePosixPath(name) for name in names]
    unique = len({file.name for file in files}) == len(files)
    places = {PurePosixPath() if unique else file.parent for file in files}
    for length in range(1 + max((len(words_with_separators(file.name)) for file in files), default=-1)):
        of_case: dict[tuple[PurePosixPath, str], set[str]] = {}
        for file in files:
            case, pattern = cut(file.name, length)
            of_case.setdefault((PurePosixPath() if unique else file.parent, case), set()).add(pattern)
        common, times = Counter(frozenset(patterns) for patterns in of_case.values()).most_common(1)[0]
        if len(of_case) >= 2 * len(places) and len(common) >= 2 and times >= MOST * len(of_case):
            yield sorted(common)


def _partly_labeled(names: Sequence[str], cut: _Cut) -> Iterator[list[str]]:
    """As `_of_most_cases`, where too few cases have a label for most to be alike: the patterns of the scans that most
    have alike, and the most frequent one of a label. Case ids such as t1 would be channels."""
    bases = [PurePosixPath(name).name for name in names]
    if len(set(bases)) < len(bases):
        return
    for length in range(1 + max((len(words_with_separators(base)) for base in bases), default=-1)):
        of_case: dict[str, set[str]] = {}
        labels = Counter[str]()
        for base in bases:
            case, pattern = cut(base, length)
            if label_score(pattern) > 0:
                labels[pattern] += 1
            else:
                of_case.setdefault(case, set()).add(pattern)
        if len(of_case) < 2 or max(labels.values(), default=0) < 2 or any(names_modality(c.lower()) for c in of_case):
            continue
        common, times = Counter(frozenset(patterns) for patterns in of_case.values()).most_common(1)[0]
        if times >= MOST * len(of_case):
            yield sorted([*common, labels.most_common(1)[0][0]])


def _case_first(base: str, length: int) -> tuple[str, str]:
    """(`A`, `{id}_ct.nii.gz`): the first words are the case, the rest says what the file is."""
    case = "".join(words_with_separators(base)[:length])
    return case, f"{{id}}{base[len(case) :]}"


def _role_first(base: str, length: int) -> tuple[str, str]:
    """(`0`, `volume-{id}.nii`): the words in front of a number at the end, or so many first words, say what it is."""
    name = stem_of(base)
    if length:
        case = "".join(words_with_separators(name)[length:]).lstrip("_-. ")
    else:
        number = re.search(r"(?<=\D)\d+$", name)
        case = number[0] if number else name
    return case, f"{name[: len(name) - len(case)]}{{id}}{base[len(name) :]}"


def each_a_case(names: Sequence[str]) -> Proposal:
    """Every scan of a folder is a case, without a mask."""
    _, pattern = ids_in([PurePosixPath(name).name for name in names], suffix=False, prefix=False)
    return Proposal(naming_of("paired", [pattern], "scans in one folder, without masks"), Evidence.FILE_NAMES)
