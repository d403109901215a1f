"""Folders that say which files are scans and which are masks: images/ and masks/, next to each other or nested."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Self

from segcct.datasets.layouts.file_roles import ambiguity, ambiguous_labels, label_score, names_modality
from segcct.datasets.layouts.layout import Naming
from segcct.datasets.layouts.patterns import SPLIT_FOLDERS
from segcct.files.file_names import stem_of
from segcct.init.case_folder_names import common_patterns
from segcct.init.grouping_proposal import MOST, WORD, Evidence, Proposal, is_made, without_made
from segcct.init.name_affixes import pair_up
from segcct.plurals import listed

_SCANS = re.compile(r"(?<![a-z])(images?|imgs?|scans?|raw|inputs?)(?![a-z])")


@dataclass(frozen=True)
class _Folders:
    """What folders hold, by their own names: those of one name count as one wherever they are, as in patterns."""

    files: Mapping[str, Sequence[str]]
    """Folder -> the names of its files."""
    scans: Sequence[str]
    labels: Sequence[str]
    """The best first."""
    body_masks: Sequence[str]
    of_structures: Collection[str]
    """Those of the labels that hold one structure each: masks/heart/, masks/lungs/."""
    of_other_splits: Sequence[str]
    """Folders of other splits than that of the first label, which are in none of the lists above."""

    @classmethod
    def of(cls, names: Sequence[str], structures: Collection[str]) -> Self | None:
        """None where no folder holds labels, or none holds scans, or each holds a case."""
        files: dict[str, list[str]] = {}
        for path in map(PurePosixPath, names):
            files.setdefault(path.parent.name, []).append(path.name)
        scans = without_made([name for name in files if name and label_score(name) == 0 and not is_made(name)])
        scans = [folder for folder in scans if folder not in structures]
        labels = without_made([folder for folder in files if label_score(folder) > 0 or folder in structures])
        labels.sort(key=lambda f: (-label_score(f), split_in(f) not in ("", "train"), -len(files[f]), f))
        if not labels or not scans or _are_case_folders(labels, files):
            return None
        others = _of_other_splits(labels[0], scans, files)
        best = label_score(labels[0])
        body_masks = [folder for folder in files if label_score(folder) < 0]
        body_masks += [folder for folder in labels if label_score(folder) < best and folder not in structures]
        scans, body_masks = ([folder for folder in some if folder not in others] for some in (scans, body_masks))
        labels = [labels[0], *(folder for folder in labels[1:] if folder not in (*others, *body_masks))]
        return cls(files, scans, labels, body_masks, structures, others)


def in_parallel_folders(names: Sequence[str], layout: str) -> Proposal | None:
    """images/A.png, masks/A.png or masks/heart/A.png; the folders' names tell which is which. None where masks lie in
    folders of cases."""
    if _nested(names) is not None:
        return None
    attempts = (_Folders.of(names, structures) for structures in (_structures(names), set[str]()))
    return next(filter(None, (_of_parallel(folders, layout) for folders in attempts if folders)), None)


def _structures(names: Sequence[str]) -> set[str]:
    """Folders in folders of labels alone, which may hold a structure each. Others there hold scans, by their names, as
    segmentation/images/ does, or the masks of a case, called as its scan is: images/A.png, masks/A/cell_1.png."""
    paths = [PurePosixPath(name) for name in names]
    places = {path.parent for path in paths}
    inside = {place.name for place in places if label_score(place.parent.name) > 0}
    outside = {place.name for place in places if label_score(place.parent.name) <= 0}
    of_cases = {stem_of(path.name) for path in paths}
    return {name for name in inside - outside - of_cases if not has_role(name)}


def has_role(folder: str) -> bool:
    """Whether a folder's name says that it holds scans, masks or a split, and so no single structure."""
    words = folder.lower()
    return label_score(words) != 0 or bool(split_in(folder) or _SCANS.search(words)) or names_modality(words)


def _of_parallel(folders: _Folders, layout: str) -> Proposal | None:
    """The proposal by which the scans have masks in the first folder of labels; None where they have none."""
    label, of_label = folders.labels[0], folders.files[folders.labels[0]]
    pairs = {scan: pair for scan in folders.scans if (pair := pair_up(folders.files[scan], of_label))}
    if not pairs:
        return None
    fraction, _, label_affix = max(pairs.values())
    repeated = len(set(of_label)) < len(of_label)
    if fraction < MOST and (label in folders.of_structures or repeated):
        return None
    if repeated and len(pairs) > 1 and all(2 * len(folders.files[scan]) <= len(of_label) for scan in pairs):
        return None  # the folders of scans are cases, with a folder of masks in each: A/1.png, A/masks/heart/1.png
    channels = [f"{scan}/{affix}" for scan, (_, affix, _) in pairs.items()]
    doubts = [] if fraction >= MOST else [f"only {fraction:.0%} of the scans have a file in {label}/"]
    doubts += ambiguous_labels(folders.labels, "folders may hold labels")
    if folders.of_other_splits:
        doubts.append(
            f"folders of other splits are not read: {listed(folders.of_other_splits)}; to read them, give each split a "
            "folder of its own, as in train/images/, train/masks/, test/images/, test/masks/"
        )
    named = dict(zip((scan.lower() for scan in pairs), channels, strict=True)) if len(channels) > 1 else None
    naming = Naming(
        layout=layout,
        by_convention=False,
        channels=named or {"image": channels[0]},
        label=f"{label}/{label_affix}",
        why=f"scans in {', '.join(pairs)}/, masks in {label}/",
        mask=_body_mask(folders, *next(iter(pairs.items()))),
        doubts=tuple(doubts),
    )
    return Proposal(naming, Evidence.FOLDERS)


def _body_mask(folders: _Folders, scan: str, pair: tuple[float, str, str]) -> str | None:
    """The pattern of the masks of the body, whose ids must be those by which a folder of scans has labels."""
    if not folders.body_masks:
        return None
    mask = folders.body_masks[0]
    of_mask = pair_up(folders.files[scan], folders.files[mask])
    return f"{mask}/{of_mask[2]}" if of_mask and of_mask[1] == pair[1] else None


def _are_case_folders(folders: Sequence[str], by_folder: Mapping[str, Sequence[str]]) -> bool:
    """Whether folders that differ in their numbers alone are cases rather than kinds of labels, because there are more
    of them than files in each: tumor_1/, tumor_2/, tumor_3/, with a scan and its mask."""
    alike = len({re.sub(r"\d+", "", folder) for folder in folders}) == 1
    return alike and len(folders) > max(2, *(len(by_folder[folder]) for folder in folders))


def split_in(folder: str) -> str:
    """The split that a word of a folder's name is, as in train_images; empty where there is none."""
    words = [word.lower() for word in WORD.findall(folder)]
    return next((SPLIT_FOLDERS[word] for word in words if word in SPLIT_FOLDERS), "")


def _of_other_splits(label: str, scans: Sequence[str], by_folder: Mapping[str, Sequence[str]]) -> list[str]:
    """The folders of splits other than that of the label: test_images/ and test_masks/ next to train_images/ and
    train_masks/. Scans of one name in them are two cases, and not two channels of one."""
    own = split_in(label)
    if not own and all(map(split_in, scans)):
        own = split_in(max(scans, key=lambda scan: len(by_folder[scan])))
    others = set(map(split_in, scans)) - {"", own}
    return [folder for folder in by_folder if split_in(folder) in others]


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
