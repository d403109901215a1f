"""What lies below a dataset's root and is not read: images that match no pattern, folders without a case, the rest."""

from __future__ import annotations

import re
from collections.abc import Sequence
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
        """A line for each kind, with how many there are and which; folders only if requested."""
        idle = [f"{name}/ ({counted(files, 'file')})" for name, files in self.folders if folders]
        parts = {
            "folder": (len(idle), listed(idle, 6)),
            "image file": (len(self.images), _by_kind(self.images)),
            "other file": (len(self.others), _by_kind(self.others)),
        }
        return [f"{counted(number, noun)}: {names}" for noun, (number, names) in parts.items() if number]


def find_unread(data: DataSection, found: Found, tree: FolderTree | None = None) -> Unread:
    """The files and folders below `data.root` that no case uses and no error names, without hidden ones.

    Args:
        data: the data section.
        found: what its layout found.
        tree: what lies below the root, where it has been listed already.
    """
    tree = tree or FolderTree(data.root)
    files, folders = [], []
    for place, below, names in tree.folders():
        here = place.relative_to(tree.root)
        folders += [(here / name).as_posix() for name in below]
        files += [(here / name).as_posix() for name in names if name.lower() not in _OF_SYSTEMS]
    read = _read(data, found, files)
    alive = {"."}.union(*map(_above, read))
    idle = {name: 0 for name in sorted(folders) if name not in alive and _above(name)[0] in alive}
    outside = []
    for name in sorted(set(files) - read):
        folder = next((parent for parent in _above(name) if parent in idle), None)
        if folder is None:
            outside.append(name)
        else:
            idle[folder] += 1
    images = [name for name in outside if split_name(name)[1].lower() in _IMAGES]
    image_names = set(images)
    partners = set(map(_without_ending, read))
    others = [name for name in outside if name not in image_names and _without_ending(name) not in partners]
    return Unread(tuple(idle.items()), tuple(images), tuple(others))


def _read(data: DataSection, found: Found, files: Sequence[str]) -> set[str]:
    """The files that are part of a case, named by an error, ignored by the layout on purpose, or lists of cases."""
    split = data.split
    listings = (split.train_list, split.val_list, split.test_list, split.unlabelled_list)
    lists = {path.absolute(): path.name for path in listings if path is not None}
    named = [Path(error.file) for error in found.errors if error.file is not None]
    case_files = [file for case in found.all_cases for file in case.files()]
    paths = {
        path.relative_to(data.root)
        for path in (*case_files, *named)
        if path.is_relative_to(data.root) and path != data.root
    }
    names = {path.as_posix() for path in paths}
    whole = {path.as_posix() for path in paths if (data.root / path).is_dir()}
    ignored = [compiled(pattern, anywhere=True) for pattern in get_layout(data.layout).ignored]
    return {
        name
        for name in files
        if name in names
        or not whole.isdisjoint(_above(name))
        or any(pattern.match(name) for pattern in ignored)
        or (PurePosixPath(name).name in lists.values() and (data.root / name).absolute() in lists)
    }


def _above(name: str) -> list[str]:
    """The folders that a file lies in, the nearest first; the last is `.`."""
    return [str(parent) for parent in PurePosixPath(name).parents]


def _without_ending(name: str) -> str:
    """The path without its ending, of whatever format: `scan.json` goes with `scan.nii.gz`."""
    stem, ending = split_name(name)
    return stem if ending else str(PurePosixPath(name).with_suffix(""))


def _by_kind(names: Sequence[str]) -> str:
    """The most frequent kinds of names, those of one kind differing in digits alone, each with an example."""
    kinds: dict[str, list[str]] = {}
    for name in names:
        kinds.setdefault(re.sub(r"\d+", "0", PurePosixPath(name).name), []).append(name)
    often = sorted(kinds.values(), key=lambda group: -len(group))
    return listed([group[0] if len(group) == 1 else f"{len(group)} like {group[0]}" for group in often], 6)
