"""Patterns for datasets nobody has named: which part of a path is the case, and which files belong to it?

Three shapes are known: a folder per case; parallel folders of scans and masks; scans and masks side by side, which
differ in the ends of their names.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import takewhile
from pathlib import PurePosixPath

from segcct.datasets.layouts.file_roles import (
    ambiguity,
    ambiguous_labels,
    channel_names,
    label_score,
    names_modality,
    sort_roles,
)
from segcct.datasets.layouts.layout import Naming
from segcct.files.file_names import stem_of
from segcct.plurals import counted, listed

_MOST = 0.8
"""Fraction of the cases a pattern must hold for."""
_NUMBER = re.compile(r"(?<![tT\d])\d+")
"""Digits that may differ between cases; those of T1 and T2 may not."""
_OF_ONE_PATIENT = (
    "each image with a mask is a case, and a patient of its own: if cases whose names begin alike are of one patient, "
    "say so by data.patient"
)
_MADE = re.compile(r"^(pred|predictions?|preds|outputs?|results?|inference)$", re.IGNORECASE)
"""Folders of what a model made of the scans."""


def in_case_folders(names: Sequence[str], root_name: str) -> Naming | None:
    """A folder per case, with the same file names in each, give or take the case id and numbers."""
    folders = _case_folders(names)
    if not folders:
        return None
    fraction, patterns = 0.0, list[str]()
    for generalize in (str, _numbers_free, _any_start):
        if fraction < _MOST:
            found, common = _common_patterns(folders, root_name, generalize)
            if found > fraction:
                fraction, patterns = found, common
    if not patterns or (len(patterns) == 1 and len(folders) == 1):
        return None
    doubts = [] if fraction >= _MOST else [f"only {fraction:.0%} of the case folders hold all of {listed(patterns)}"]
    kinds = "the folder is one case" if list(folders) == [""] else counted(len(folders), "case folder")
    return _naming("folder", patterns, f"{kinds} with {counted(len(patterns), 'file')} each", doubts)


def in_parallel_folders(names: Sequence[str], layout: str) -> Naming | None:
    """images/A.png, masks/A.png; the folder's name tells which is which. None where masks lie in folders of cases."""
    if _nested(names) is not None:
        return None
    by_folder: dict[str, list[str]] = {}
    for name in names:
        path = PurePosixPath(name)
        by_folder.setdefault(path.parent.name, []).append(path.name)
    labels = sorted((folder for folder in by_folder if label_score(folder) > 0), key=lambda f: (-label_score(f), f))
    scans = [folder for folder in by_folder if folder and label_score(folder) == 0 and not _MADE.search(folder)]
    if not labels or not scans:
        return None
    label, *others = labels
    masks = [folder for folder in by_folder if label_score(folder) < 0] + [f for f in others if label_score(f) == 1]
    pairs = {scan: pair for scan in scans if (pair := _pair(by_folder[scan], by_folder[label]))}
    if not pairs:
        return None
    fraction, _, label_affix = max(pairs.values())
    channels = [f"{scan}/{affix}" for scan, (_, affix, _) in pairs.items()]
    doubts = [] if fraction >= _MOST else [f"only {fraction:.0%} of the scans have a file in {label}/"]
    if len(others) > len([mask for mask in masks if mask in others]):
        doubts += ambiguity("folders may hold labels", labels)
    named = dict(zip((scan.lower() for scan in pairs), channels, strict=True)) if len(channels) > 1 else None
    mask = _pair(by_folder[scans[0]], by_folder[masks[0]]) if masks else None
    return Naming(
        layout=layout,
        by_convention=False,
        channels=named or {"image": channels[0]},
        label=f"{label}/{label_affix}",
        why=f"scans in {', '.join(pairs)}/, masks in {label}/",
        mask=f"{masks[0]}/{mask[2]}" if mask else None,
        doubts=tuple(doubts),
    )


def in_nested_folders(names: Sequence[str], layout: str) -> Naming | None:
    """Masks in a folder inside that of their scans: p1/scan.png, p1/masks/scan.png. None where the folders of scans all
    have one name, as in images/masks/."""
    nested = _nested(names)
    if nested is None:
        return None
    label, places = nested
    files = [PurePosixPath(name) for name in names]
    scans = [file.name for file in files if file.parent in places]
    masks = [file.name for file in files if file.parent.name == label and file.parent.parent in places]
    pair = _pair(scans, masks)
    if pair is None or pair[0] < _MOST:
        return None
    return Naming(
        layout=layout,
        by_convention=False,
        channels={"image": pair[1]},
        label=f"{label}/{pair[2]}",
        why=f"masks in {label}/ next to their scans",
    )


def in_parallel_trees(names: Sequence[str], layout: str) -> Naming | None:
    """Folders of cases below those of scans and masks, with one file in each: images/p1/scan.png, masks/p1/scan.png."""
    roles: dict[str, dict[str, list[str]]] = {}
    for path in map(PurePosixPath, names):
        roles.setdefault(path.parent.parent.name, {}).setdefault(path.parent.name, []).append(path.name)
    patterns = {}
    for role, cases in roles.items():
        fraction, common = _common_patterns(cases, "", str)
        if role and fraction >= _MOST and len(common) == 1 and label_score(role) >= 0 and not _MADE.search(role):
            patterns[role] = f"{role}/{{id}}/{common[0]}"
    labels = sorted((role for role in patterns if label_score(role) > 0), key=lambda role: (-label_score(role), role))
    scans = [role for role in patterns if label_score(role) == 0 and labels and roles[role].keys() & roles[labels[0]]]
    if not scans:
        return None
    channels = {role.lower(): patterns[role] for role in scans}
    return Naming(
        layout=layout,
        by_convention=False,
        channels=channels if len(channels) > 1 else {"image": patterns[scans[0]]},
        label=patterns[labels[0]],
        why=f"folders of cases in {', '.join(scans)}/ and {labels[0]}/",
        doubts=ambiguity("folders may hold labels", labels),
    )


def in_one_heap(names: Sequence[str], layout: str) -> Naming | None:
    """Scans and masks side by side, whether the case or the role comes first in a name: what shows a label is right."""

    def namings(cut: Callable[[str, int], tuple[str, str]]) -> Iterator[Naming]:
        return (_naming(layout, one, "scans and masks side by side", []) for one in _side_by_side(names, cut))

    case_first = list(namings(_case_first))
    if case_first and (first := case_first[0]).label:
        sure = next((each for each in case_first if each.label and each.channels and not each.doubts), first)
        lost = bool(first.channels) and all(map(names_modality, first.channels))
        lost = lost and not any(map(names_modality, sure.channels))
        return first if sure is first or lost else replace(sure, doubts=(_OF_ONE_PATIENT,))
    likely = (naming for naming in namings(_role_first) if naming.label and naming.channels)
    return next(likely, case_first[0] if case_first else None)


def each_a_case(names: Sequence[str]) -> Naming:
    """Every scan of a folder is a case, without a mask."""
    _, pattern = _ids([PurePosixPath(name).name for name in names], suffix=False, prefix=False)
    return _naming("paired", [pattern], "scans in one folder, without masks", [])


def _side_by_side(names: Sequence[str], cut: Callable[[str, int], tuple[str, str]]) -> Iterator[list[str]]:
    """The patterns that most cases have alike, for each number of words at which names can be cut into case and
    role: A_ct.nii.gz, A_seg.nii.gz, B_ct.nii.gz, ..."""
    bases = [PurePosixPath(name).name for name in names]
    if not bases or len(set(bases)) < len(bases):
        return
    for length in range(1 + max(len(_pieces(base)) for base in bases)):
        of_case: dict[str, set[str]] = {}
        for base in bases:
            case, pattern = cut(base, length)
            of_case.setdefault(case, set()).add(pattern)
        common, times = Counter(frozenset(patterns) for patterns in of_case.values()).most_common(1)[0]
        if len(of_case) >= 2 and len(common) >= 2 and times >= _MOST * len(of_case):
            yield sorted(common)


def _case_first(base: str, length: int) -> tuple[str, str]:
    """(`A`, `{id}_ct.nii.gz`): the first words are the case, the rest says what the file is."""
    case = "".join(_pieces(base)[:length])
    return case, f"{{id}}{base[len(case) :]}"


def _role_first(base: str, length: int) -> tuple[str, str]:
    """(`0`, `volume-{id}.nii`): the words in front of a number at the end, or so many first words, say what it is."""
    name = stem_of(base)
    if length:
        case = "".join(_pieces(name)[length:]).lstrip("_-. ")
    else:
        number = re.search(r"(?<=\D)\d+$", name)
        case = number[0] if number else name
    return case, f"{name[: len(name) - len(case)]}{{id}}{base[len(name) :]}"


def _naming(layout: str, patterns: Sequence[str], why: str, doubts: Sequence[str]) -> Naming:
    channels, labels, masks = sort_roles(patterns)
    doubts = [*doubts, *ambiguous_labels(labels), *ambiguity("files may be masks of the body", masks)]
    alike = [name for name, times in Counter(stem_of(name) for name in channels).items() if times > 1]
    if alike:
        doubts.append(f"several channels are called {alike[0]}: if they hold one image in two formats, remove one")
    return Naming(
        layout=layout,
        by_convention=False,
        channels=channel_names(channels) if channels else {},
        label=labels[0] if labels else None,
        why=why,
        mask=masks[0] if masks else None,
        doubts=tuple(doubts),
    )


def _nested(names: Sequence[str]) -> tuple[str, set[PurePosixPath]] | None:
    """The name of folders of masks that lie in folders of scans, and the latter: the dataset itself, or several. A file
    beside a folder of scans is none of them: preview.png, images/, masks/."""
    places = {PurePosixPath(name).parent for name in names}
    holders = places - {place.parent for place in places if place.name and label_score(place.name) == 0}
    inside = sorted(place for place in places if label_score(place.name) > 0 and place.parent in holders)
    if not inside:
        return None
    label = max((place.name for place in inside), key=label_score)
    above = {place.parent for place in inside if place.name == label}
    return (label, above) if PurePosixPath() in above or len({place.name for place in above}) > 1 else None


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
    p1/masks/liver.nii.gz."""
    places = {name: PurePosixPath(name).parent for name in names}
    scores: dict[PurePosixPath, list[int]] = {}
    for name, place in places.items():
        scores.setdefault(place, []).append(label_score(f"{place.name}/{PurePosixPath(name).name}"))
    of_scans = {place for place, each in scores.items() if min(each) <= 0} - {PurePosixPath()}
    of_labels = {place for place, each in scores.items() if min(each) > 0 and place.parent in of_scans}
    return {name: place.parent if place in of_labels else place for name, place in places.items()}


def _hold_labels_alike(places: Mapping[str, PurePosixPath]) -> bool:
    """Whether folders with one parent, none of them named as a modality, hold labels of the same name."""
    labels = Counter(
        (place.parent, file)
        for name, place in places.items()
        if label_score(file := PurePosixPath(name).name) > 0 and not names_modality(place.name.lower())
    )
    return max(labels.values(), default=0) > 1


def _common_patterns(
    folders: Mapping[str, Sequence[str]], root_name: str, generalize: Callable[[str], str]
) -> tuple[float, list[str]]:
    """Patterns that more than half of the folders hold exactly once, and the fraction of folders that hold all."""
    times = []
    for place, files in folders.items():
        case = PurePosixPath(place).name or root_name
        as_id = re.compile(rf"(?<![0-9A-Za-z]){re.escape(case)}(?![0-9A-Za-z])")
        times.append(Counter(generalize(as_id.sub("{id}", file)) for file in files))
    once = Counter(pattern for counts in times for pattern, number in counts.items() if number == 1)
    often = (pattern for pattern, number in once.items() if number > len(folders) / 2)
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
    pieces = _pieces(stem_of(name))
    return pattern if len(pieces) < 2 else f"{folder}{slash}*{pieces[-1]}{name[len(stem_of(name)) :]}"


def _pieces(base: str) -> list[str]:
    """Words of a file name with the separator before each: a_b-c.png -> a, _b, -c."""
    return re.findall(r"[_\-. ]*[^_\-. ]+", stem_of(base))


def _pair(scans: Sequence[str], labels: Sequence[str]) -> tuple[float, str, str] | None:
    """(fraction of scans with a label, pattern of scans, of labels) for the affixes that pair most of them."""
    pairs = []
    for suffix, prefix in ((False, False), (True, False), (True, True)):
        scan_ids, scan_pattern = _ids(scans, suffix=suffix, prefix=prefix)
        label_ids, label_pattern = _ids(labels, suffix=suffix, prefix=prefix)
        pairs.append((len(scan_ids & label_ids) / len(scan_ids), scan_pattern, label_pattern))
    best = max(pairs, key=lambda pair: pair[0])
    return best if best[0] > 0 else None


def _ids(names: Sequence[str], *, suffix: bool, prefix: bool) -> tuple[set[str], str]:
    """The ids in file names, and their pattern: what is left between a common end, a common start."""
    stems = {name: stem_of(name) for name in names}
    end = _common_end(list(stems.values())) if suffix else ""
    start = _common_start([one.removesuffix(end) for one in stems.values()]) if prefix else ""
    endings = Counter(name[len(one) :] for name, one in stems.items())
    ending = endings.most_common(1)[0][0] if len(endings) == 1 else ".*"
    ids = {one[len(start) : len(one) - len(end)] for one in stems.values()}
    return ids, f"{start}{{id}}{end}{ending}"


def _common_end(stems: Sequence[str]) -> str:
    """The common end, from its first separator on: 21_training, 22_training -> _training."""
    common = _shared_start([one[::-1] for one in stems])[::-1]
    start = re.search(r"[^0-9A-Za-z]", common)
    return common[start.start() :] if start and len(stems) > 1 else ""


def _common_start(stems: Sequence[str]) -> str:
    """img0001, img0002 -> img; digits belong to the case."""
    return _shared_start(stems).rstrip("0123456789") if len(stems) > 1 else ""


def _shared_start(words: Sequence[str]) -> str:
    """What all words begin with."""
    pairs = zip(min(words), max(words), strict=False)
    return "".join(letter for letter, _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
