"""Patterns for datasets nobody has named: which part of a path is the case, and which files belong to it?

Three shapes are known: a folder per case; parallel folders of scans and masks; scans and masks side by side, told apart
by the ends of their names.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath

from segcct.datasets.layouts.file_roles import channel_names, label_score, sort_roles
from segcct.datasets.layouts.naming import Naming
from segcct.files.file_names import stem_of
from segcct.plurals import counted

_MOST = 0.8
"""Share of the cases a pattern must hold for."""
_NUMBER = re.compile(r"(?<![tT\d])\d+")
"""Digits that may differ between cases; those of T1 and T2 may not."""

_MADE = re.compile(r"^(pred|predictions?|preds|outputs?|results?|inference)$", re.IGNORECASE)
"""Folders of what a model made of the scans."""

Templates = Mapping[str, Counter[str]]
"""Case folder -> how many of its files each pattern matches."""


def in_case_folders(names: Sequence[str], root_name: str) -> Naming | None:
    """A folder per case, with the same file names in each, give or take the case id and numbers."""
    folders = _case_folders(names)
    if not folders:
        return None
    best: tuple[float, list[str]] = (0.0, [])
    for generalise in (_exact, _numbers_free, _any_start):
        templates = {place: Counter(_patterns(place, files, root_name, generalise)) for place, files in folders.items()}
        share, kept = _shared(templates)
        if kept and share > best[0]:
            best = (share, kept)
        if share >= _MOST:
            break
    share, kept = best
    if not kept or (len(kept) == 1 and len(folders) == 1):
        return None
    doubts = [] if share >= _MOST else [f"only {share:.0%} of the case folders hold all of {', '.join(kept)}"]
    kinds = "the folder is one case" if list(folders) == [""] else counted(len(folders), "case folder")
    return _naming("folder", kept, f"{kinds} with {counted(len(kept), 'file')} each", doubts)


def in_parallel_folders(names: Sequence[str], layout: str) -> Naming | None:
    """images/A.png, masks/A.png; the folder's name tells which is which."""
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
    share, _, label_affix = max(pairs.values())
    channels = [f"{scan}/{affix}" for scan, (_, affix, _) in pairs.items()]
    doubts = [] if share >= _MOST else [f"only {share:.0%} of the scans have a file in {label}/"]
    if len(others) > len([mask for mask in masks if mask in others]):
        doubts.append(f"several folders may hold labels: {', '.join(labels)}; {label} is taken")
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


def in_one_heap(names: Sequence[str], layout: str) -> Naming | None:
    """Scans and masks side by side, whether the case or the role comes first in a name; what tells a label is right."""

    def namings(parted: Callable[[str, int], tuple[str, str]]) -> Iterator[Naming]:
        return (_naming(layout, one, "scans and masks side by side", []) for one in _side_by_side(names, parted))

    case_first = next(namings(_case_first), None)
    if case_first and case_first.label:
        return case_first
    return next((naming for naming in namings(_role_first) if naming.label and naming.channels), case_first)


def _side_by_side(names: Sequence[str], parted: Callable[[str, int], tuple[str, str]]) -> Iterator[list[str]]:
    """The patterns that most cases have alike, for each number of words at which names can be parted into case and
    role: A_ct.nii.gz, A_seg.nii.gz, B_ct.nii.gz, ..."""
    bases = [PurePosixPath(name).name for name in names]
    if not bases or len(set(bases)) < len(bases):
        return
    for length in range(1 + max(len(_pieces(base)) for base in bases)):
        of_case: dict[str, set[str]] = {}
        for base in bases:
            case, pattern = parted(base, length)
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
    doubts = list(doubts)
    if len(labels) > 1:
        doubts.append(f"several files may be labels: {', '.join(labels)}; {labels[0]} is taken")
    alike = [name for name, times in Counter(stem_of(name) for name in channels).items() if times > 1]
    if alike:
        doubts.append(f"several channels are called {alike[0]}: if they hold one image in two formats, take one away")
    if len(masks) > 1:
        doubts.append(f"several files may be masks of the body: {', '.join(masks)}; {masks[0]} is taken")
    return Naming(
        layout=layout,
        by_convention=False,
        channels=channel_names(channels) if channels else {},
        label=labels[0] if labels else None,
        why=why,
        mask=masks[0] if masks else None,
        doubts=tuple(doubts),
    )


def _case_folders(names: Sequence[str]) -> dict[str, list[str]]:
    """Case folder -> its files, relative to it. Folders named alike in every case (anat/) belong to the file names."""
    places = {name: PurePosixPath(name).parent for name in names}
    while True:
        folders = set(places.values())
        own = {place.name for place in folders}
        parents = {place.parent for place in folders}
        if len(own) >= len(parents) or len(parents) < 2:
            break
        places = {name: place.parent for name, place in places.items()}
    grouped: dict[str, list[str]] = {}
    for name, place in places.items():
        grouped.setdefault("" if str(place) == "." else str(place), []).append(
            str(PurePosixPath(name).relative_to(place))
        )
    return grouped


def _patterns(place: str, files: Sequence[str], root_name: str, generalise: Callable[[str], str]) -> list[str]:
    case = PurePosixPath(place).name or root_name
    as_id = re.compile(rf"(?<![0-9A-Za-z]){re.escape(case)}(?![0-9A-Za-z])")
    return [generalise(as_id.sub("{id}", file)) for file in files]


def _exact(pattern: str) -> str:
    return pattern


def _numbers_free(pattern: str) -> str:
    folder, slash, name = pattern.rpartition("/")
    body = stem_of(name)
    return folder + slash + _NUMBER.sub("*", body) + name[len(body) :]


def _any_start(pattern: str) -> str:
    """Only the last word and the suffix stay: S0123_t1.nii.gz -> *_t1.nii.gz."""
    folder, slash, name = pattern.rpartition("/")
    pieces = _pieces(stem_of(name))
    return pattern if len(pieces) < 2 else f"{folder}{slash}*{pieces[-1]}{name[len(stem_of(name)) :]}"


def _shared(templates: Templates) -> tuple[float, list[str]]:
    """Share of the folders that hold every pattern kept, and the patterns that most folders hold exactly once."""
    once = Counter(pattern for counts in templates.values() for pattern, times in counts.items() if times == 1)
    kept = sorted(pattern for pattern, times in once.items() if times > len(templates) / 2)
    whole = sum(all(counts[pattern] == 1 for pattern in kept) for counts in templates.values())
    return (whole / len(templates) if kept else 0.0), kept


def _pieces(base: str) -> list[str]:
    """Words of a file name with the separator before each: a_b-c.png -> a, _b, -c."""
    return re.findall(r"[_\-. ]*[^_\-. ]+", stem_of(base))


def _pair(scans: Sequence[str], labels: Sequence[str]) -> tuple[float, str, str] | None:
    """(share of scans with a label, pattern of scans, pattern of labels) for the affixes that pair most of them."""
    best: tuple[float, str, str] | None = None
    for cut in (_no_affix, _suffix_only, _prefix_and_suffix):
        scan_ids, scan_pattern = _ids(scans, cut)
        label_ids, label_pattern = _ids(labels, cut)
        share = len(scan_ids & label_ids) / len(scan_ids)
        if share > 0 and (best is None or share > best[0]):
            best = (share, scan_pattern, label_pattern)
    return best


def _ids(names: Sequence[str], cut: Callable[[Sequence[str]], tuple[str, str]]) -> tuple[set[str], str]:
    stems = {name: stem_of(name) for name in names}
    prefix, suffix = cut(list(stems.values()))
    endings = Counter(name[len(one) :] for name, one in stems.items())
    ending = endings.most_common(1)[0][0] if len(endings) == 1 else ".*"
    ids = {one[len(prefix) : len(one) - len(suffix)] for one in stems.values()}
    return ids, f"{prefix}{{id}}{suffix}{ending}"


def _no_affix(stems: Sequence[str]) -> tuple[str, str]:  # noqa: ARG001
    return "", ""


def _suffix_only(stems: Sequence[str]) -> tuple[str, str]:
    """The common end, from its first separator on: 21_training, 22_training -> _training."""
    common = _common_start([one[::-1] for one in stems])[::-1]
    start = re.search(r"[^0-9A-Za-z]", common)
    return "", common[start.start() :] if start and len(stems) > 1 else ""


def _prefix_and_suffix(stems: Sequence[str]) -> tuple[str, str]:
    """img0001, img0002 -> img; digits belong to the case."""
    suffix = _suffix_only(stems)[1]
    prefix = _common_start([one[: len(one) - len(suffix)] for one in stems]).rstrip("0123456789")
    return prefix if len(stems) > 1 else "", suffix


def _common_start(words: Sequence[str]) -> str:
    """What all words begin with."""
    first, last = min(words), max(words)
    length = next(
        (index for index, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last))
    )
    return first[:length]
