"""Folders that say which files are scans and which are masks: images/ and masks/, next to each other or nested."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from segcct.datasets.layouts.file_roles import ambiguity, label_score
from segcct.datasets.layouts.layout import Naming
from segcct.datasets.layouts.patterns import SPLIT_FOLDERS
from segcct.init.case_folder_names import common_patterns
from segcct.init.grouping_proposal import MOST, WORD, Evidence, Proposal, is_made, without_made
from segcct.init.name_affixes import pair_up
from segcct.plurals import listed


def in_parallel_folders(names: Sequence[str], layout: str) -> Proposal | None:
    """images/A.png, masks/A.png; the folder's name tells which is which. None where masks lie in folders of cases."""
    if _nested(names) is not None:
        return None
    by_folder: dict[str, list[str]] = {}
    for name in names:
        path = PurePosixPath(name)
        by_folder.setdefault(path.parent.name, []).append(path.name)
    labels = without_made([folder for folder in by_folder if label_score(folder) > 0])
    labels.sort(key=lambda f: (-label_score(f), _split_in(f) not in ("", "train"), -len(by_folder[f]), f))
    scans = without_made([name for name in by_folder if name and label_score(name) == 0 and not is_made(name)])
    if not labels or not scans or _are_case_folders(labels, by_folder):
        return None
    label = labels[0]
    others = _of_other_splits(label, scans, by_folder)
    scans, rivals = ([folder for folder in some if folder not in others] for some in (scans, labels[1:]))
    masks = [folder for folder in by_folder if label_score(folder) < 0 and folder not in others]
    masks += [folder for folder in rivals if label_score(folder) < label_score(label)]
    pairs = {scan: pair for scan in scans if (pair := pair_up(by_folder[scan], by_folder[label]))}
    if not pairs:
        return None
    fraction, _, label_affix = max(pairs.values())
    if fraction < MOST and len(set(by_folder[label])) < len(by_folder[label]):  # a folder in each case
        return None
    channels = [f"{scan}/{affix}" for scan, (_, affix, _) in pairs.items()]
    doubts = [] if fraction >= MOST else [f"only {fraction:.0%} of the scans have a file in {label}/"]
    doubts += ambiguity("folders may hold labels", [label, *(folder for folder in rivals if folder not in masks)])
    if others:
        doubts.append(
            f"folders of other splits are not read: {listed(others)}; to read them, give each split a folder of its "
            "own, as in train/images/, train/masks/, test/images/, test/masks/"
        )
    named = dict(zip((scan.lower() for scan in pairs), channels, strict=True)) if len(channels) > 1 else None
    first, (_, first_affix, _) = next(iter(pairs.items()))
    mask = pair_up(by_folder[first], by_folder[masks[0]]) if masks else None
    if mask and mask[1] != first_affix:  # other ids than those of the labels
        mask = None
    naming = Naming(
        layout=layout,
        by_convention=False,
        channels=named or {"image": channels[0]},
        label=f"{label}/{label_affix}",
        why=f"scans in {', '.join(pairs)}/, masks in {label}/",
        mask=f"{masks[0]}/{mask[2]}" if mask else None,
        doubts=tuple(doubts),
    )
    return Proposal(naming, Evidence.FOLDERS)


def _are_case_folders(folders: Sequence[str], by_folder: Mapping[str, Sequence[str]]) -> bool:
    """Whether folders that differ in their numbers alone are cases rather than kinds of labels, because there are more
    of them than files in each: tumor_1/, tumor_2/, tumor_3/, with a scan and its mask."""
    alike = len({re.sub(r"\d+", "", folder) for folder in folders}) == 1
    return alike and len(folders) > max(2, *(len(by_folder[folder]) for folder in folders))


def _split_in(folder: str) -> str:
    """The split that a word of a folder's name is, as in train_images; empty where there is none."""
    words = [word.lower() for word in WORD.findall(folder)]
    return next((SPLIT_FOLDERS[word] for word in words if word in SPLIT_FOLDERS), "")


def _of_other_splits(label: str, scans: Sequence[str], by_folder: Mapping[str, Sequence[str]]) -> list[str]:
    """The folders of splits other than that of the label: test_images/ and test_masks/ next to train_images/ and
    train_masks/. Scans of one name in them are two cases, and not two channels of one."""
    own = _split_in(label)
    if not own and all(map(_split_in, scans)):
        own = _split_in(max(scans, key=lambda scan: len(by_folder[scan])))
    others = set(map(_split_in, scans)) - {"", own}
    return [folder for folder in by_folder if _split_in(folder) in others]


def in_parallel_trees(names: Sequence[str], layout: str) -> Proposal | None:
    """Folders of cases below those of scans and masks, with one file in each: images/p1/scan.png, masks/p1/scan.png."""
    roles: dict[str, dict[str, list[str]]] = {}
    for path in map(PurePosixPath, names):
        roles.setdefault(path.parent.parent.name, {}).setdefault(path.parent.name, []).append(path.name)
    patterns = {}
    for role, cases in roles.items():
        fraction, common = common_patterns(cases, "", str)
        if role and fraction >= MOST and len(common) == 1 and label_score(role) >= 0 and not is_made(role):
            patterns[role] = f"{role}/{{id}}/{common[0]}"
    labels = sorted((role for role in patterns if label_score(role) > 0), key=lambda role: (-label_score(role), role))
    scans = [role for role in patterns if label_score(role) == 0 and labels and roles[role].keys() & roles[labels[0]]]
    if not scans:
        return None
    channels = {role.lower(): patterns[role] for role in scans}
    naming = Naming(
        layout=layout,
        by_convention=False,
        channels=channels if len(channels) > 1 else {"image": patterns[scans[0]]},
        label=patterns[labels[0]],
        why=f"folders of cases in {', '.join(scans)}/ and {labels[0]}/",
        doubts=ambiguity("folders may hold labels", labels),
    )
    return Proposal(naming, Evidence.FOLDERS)


def in_nested_folders(names: Sequence[str], layout: str) -> Proposal | None:
    """Masks in a folder inside that of their scans: p1/scan.png, p1/masks/scan.png. None where the folders of scans all
    have one name, as in images/masks/."""
    nested = _nested(names)
    if nested is None:
        return None
    label, places = nested
    files = [PurePosixPath(name) for name in names]
    scans = [file.name for file in files if file.parent in places]
    masks = [file.name for file in files if file.parent.name == label and file.parent.parent in places]
    pair = pair_up(scans, masks)
    if pair is None or pair[0] < MOST:
        return None
    naming = Naming(
        layout=layout,
        by_convention=False,
        channels={"image": pair[1]},
        label=f"{label}/{pair[2]}",
        why=f"masks in {label}/ next to their scans",
    )
    return Proposal(naming, Evidence.FILE_NAMES)


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
