"""What lies below a dataset's root and is not read: images that no pattern takes, folders without a case, the rest."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from segcct.config import DataSection
from segcct.datasets.folder_tree import FolderTree
from segcct.datasets.layouts import get_layout
from segcct.datasets.layouts.layout import Found
from segcct.datasets.layouts.patterns import compiled
from segcct.files.file_names import (
    ARRAY_SUFFIXES,
    DICOM_SUFFIXES,
    IMAGE_SUFFIXES,
    VOLUME_SUFFIXES,
    split_name,
)
from segcct.plurals import counted, listed

_IMAGES = VOLUME_SUFFIXES + DICOM_SUFFIXES + ARRAY_SUFFIXES + IMAGE_SUFFIXES
_OF_SYSTEMS = ("thumbs.db", "desktop.ini")


@dataclass(frozen=True)
class Unread:
    """Relative paths with forward slashes, sorted."""

    folders: tuple[tuple[str, int], ...]
    """Topmost folders in which nothing is read, each with the number of its files."""
    images: tuple[str, ...]
    """Files of image formats outside of those folders."""
    others: tuple[str, ...]
    """Files of other kinds outside of those folders, without those that go with a file that is read."""

    def describe(self, *, folders: bool = True) -> list[str]:
        """How many there are of each and which, in a few words, a line each; folders only when asked for."""
        idle = [f"{name}/ ({counted(files, 'file')})" for name, files in self.folders if folders]
        parts = {
            "folder": (len(idle), listed(idle, 6)),
            "image file": (len(self.images), _by_kind(self.images)),
            "other file": (len(self.others), _by_kind(self.others)),
        }
        return [f"{counted(number, noun)}: {names}" for noun, (number, names) in parts.items() if number]


def find_unread(data: DataSection, found: Found, tree: FolderTree | None = None) -> Unread:
    """What of the files and folders below `data.root` no case holds and no error names; hidden names do not count.

    Args:
        data: the data section.
        found: what its layout met.
        tree: what lies below the root, where it is known already.
    """
    files, folders = _everything(tree or FolderTree(data.root))
    read = _read(data, found, files)
    alive = {"."} | {str(parent) for name in read for parent in PurePosixPath(name).parents}
    idle = [name for name in folders if name not in alive and str(PurePosixPath(name).parent) in alive]
    left = [name for name in files if name not in read]
    inside: dict[str, int] = dict.fromkeys(idle, 0)
    outside = []
    for name in left:
        folder = next((str(parent) for parent in PurePosixPath(name).parents if str(parent) in inside), None)
        if folder is None:
            outside.append(name)
        else:
            inside[folder] += 1
    images = [name for name in outside if split_name(name)[1].lower() in _IMAGES]
    partners = {_without_ending(name) for name in read}
    seen = set(images)
    others = [name for name in outside if name not in seen and _without_ending(name) not in partners]
    return Unread(tuple(inside.items()), tuple(images), tuple(others))


def _everything(tree: FolderTree) -> tuple[list[str], list[str]]:
    """Files and folders below the root."""
    files, folders = [], []
    for place, below, names in tree.folders():
        here = place.relative_to(tree.root)
        folders += [(here / name).as_posix() for name in below]
        files += [(here / name).as_posix() for name in names if name.lower() not in _OF_SYSTEMS]
    return sorted(files), sorted(folders)


def _read(data: DataSection, found: Found, files: Sequence[str]) -> set[str]:
    """Files that cases hold, that errors name, that the layout knows and leaves, or that list the cases."""
    split = data.split
    lists = (split.train_list, split.val_list, split.test_list, split.unlabelled_list)
    named = [Path(error.file) for error in found.errors if error.file is not None]
    case_files = [file for case in found.cases for file in case.files()]
    paths = {_below(path, data.root) for path in (*case_files, *named, *filter(None, lists))} - {None, "."}
    whole = {path for path in paths if path is not None and (data.root / path).is_dir()}
    aside = [compiled(pattern, anywhere=True) for pattern in get_layout(data.layout).aside]
    return {
        name for name in files if name in paths or _within(name, whole) or any(pattern.match(name) for pattern in aside)
    }


def _below(path: Path, root: Path) -> str | None:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else None


def _within(name: str, folders: Iterable[str]) -> bool:
    parents = {str(parent) for parent in PurePosixPath(name).parents}
    return not parents.isdisjoint(folders)


def _without_ending(name: str) -> str:
    """The path without its ending, also one of no image format: `scan.json` goes with `scan.nii.gz`."""
    stem, ending = split_name(name)
    return stem if ending else str(PurePosixPath(name).with_suffix(""))


def _by_kind(names: Sequence[str]) -> str:
    """The most frequent kinds of names, those of one kind differing in digits alone, each with an example."""
    kinds: dict[str, list[str]] = {}
    for name in names:
        kinds.setdefault(re.sub(r"\d+", "0", PurePosixPath(name).name), []).append(name)
    often = sorted(kinds.values(), key=lambda group: -len(group))
    return listed([group[0] if len(group) == 1 else f"{len(group)} like {group[0]}" for group in often], 6)
