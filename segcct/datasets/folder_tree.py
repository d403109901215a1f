"""The folders and files below a dataset's root: each folder is listed once, however often it is asked for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from segcct.errors import DataError

_MOST_ENTRIES = 1_000_000
"""Files and folders that are looked through below one root."""
_NO_DATA = ("/proc", "/sys", "/dev")


class FolderTree:
    """What lies below `root`, without hidden names.

    Linked folders are followed once; not to a folder that holds the root, and no further link out of the root from
    there.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._listings: dict[Path, tuple[list[str], list[str]]] = {}

    def folders(self) -> Iterator[tuple[Path, list[str], list[str]]]:
        """Every folder from the root down with the names of its folders and files, sorted. What the caller takes off
        the list of folders is not entered.

        Raises:
            DataError: so many files that this is no dataset.
        """
        top = os.path.realpath(self.root)
        seen = set()
        entries = 0
        ahead = [self.root]
        while ahead:
            place = ahead.pop()
            here = os.path.realpath(place)
            if here in seen:
                continue
            seen.add(here)
            folders, files = self._listing(place)
            entries += len(folders) + len(files)
            if entries > _MOST_ENTRIES:
                raise DataError(
                    f"there are more than {_MOST_ENTRIES:,} files and folders below this one",
                    file=self.root,
                    remedy="Name the folder of the dataset itself",
                )
            below = [name for name in folders if not _hidden(name) and not _leads_away(place / name, here, top)]
            yield place, below, [name for name in files if not _hidden(name)]
            ahead += [place / name for name in reversed(below)]

    def files(self) -> list[str]:
        """Relative paths of all files, sorted, with forward slashes."""
        names: list[str] = []
        for folder, _, files in self.folders():
            place = folder.relative_to(self.root).as_posix()
            names += files if place == "." else [f"{place}/{name}" for name in files]
        return sorted(names)

    def names(self, folder: Path) -> list[str]:
        """Sorted names of what a folder holds; nothing where there is no such folder."""
        folders, files = self._listing(folder)
        return sorted(name for name in (*folders, *files) if not _hidden(name))

    def _listing(self, place: Path) -> tuple[list[str], list[str]]:
        """Sorted names of the folders and the files in a folder; none where it cannot be read."""
        if place not in self._listings:
            folders, files = next(((below, names) for _, below, names in os.walk(place)), ([], []))
            self._listings[place] = sorted(folders), sorted(files)
        return self._listings[place]


def _hidden(name: str) -> bool:
    return name.startswith(".")


def _leads_away(path: Path, here: str, top: str) -> bool:
    """A link to a folder around the root or of the system, or a second one out of the root."""
    if not path.is_symlink():
        return False
    target = os.path.realpath(path)
    if _within(target, top):
        return False
    return _within(top, target) or not _within(here, top) or any(_within(target, place) for place in _NO_DATA)


def _within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")
