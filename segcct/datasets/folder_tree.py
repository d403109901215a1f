"""The folders and files below a dataset's root: each folder is listed once, however often it is asked for."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from segcct.errors import DataError, items
from segcct.plurals import counted
from segcct.progress import names_files, say

_MOST_ENTRIES = 1_000_000
_NO_DATA = ("/proc", "/sys", "/dev")
_OF_A_DISK = ("lost+found", "System Volume Information", "$RECYCLE.BIN")
"""Folders at the top of a disk, which only its administrator may read."""


class FolderTree:
    """What lies below `root`, without hidden names.

    A linked folder is entered once. A link to a folder that contains the root is not followed. Nor is a link that leads
    further away from a folder outside of the root: a line on stderr names it.

    Args:
        root: the dataset's folder.
        most_entries: files and folders that are looked through below it, at most.
        strict: raise for a folder below the root that cannot be read; else it counts as empty, and its error is in
            `unread`.
    """

    def __init__(self, root: Path, *, most_entries: int = _MOST_ENTRIES, strict: bool = True) -> None:
        self.root = root
        self.most_entries = most_entries
        self.strict = strict
        self.unread: list[DataError] = []
        """An error for each folder that could not be read so far."""
        self._listings: dict[Path, tuple[list[str], list[str]]] = {}
        self._named: set[Path] = set()
        """Links out of linked folders that a message has named."""

    def folders(self) -> Iterator[tuple[Path, list[str], list[str]]]:
        """Every folder from the root down with the names of its folders and files, sorted. A folder that the caller
        removes from the list is not entered, as in `os.walk`.

        Raises:
            DataError: a folder cannot be read (see `strict`), or there are too many files for this to be a dataset.
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
            if entries > self.most_entries:
                raise DataError(
                    f"there are more than {self.most_entries:,} files and folders below this one",
                    file=self.root,
                    remedy="Name the folder of the dataset itself",
                )
            below = [name for name in folders if not _hidden(name) and self._is_entered(place / name, here, top)]
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
        """Sorted names of the entries of a folder; none where there is no such folder."""
        folders, files = self._listing(folder)
        return sorted(name for name in (*folders, *files) if not _hidden(name))

    def _listing(self, place: Path) -> tuple[list[str], list[str]]:
        """Sorted names of the folders and the files in a folder; none where there is no such folder."""

        def refuse(error: OSError) -> None:
            # `Path.is_dir` raises where the folder around it may not be searched.
            if not os.path.isdir(place):  # noqa: PTH112
                return
            unreadable = DataError(
                "the folder cannot be read",
                file=place,
                found=error.strerror,
                remedy="Make it readable, or move it out of the dataset",
            )
            if self.strict or place == self.root:
                raise unreadable from None
            self.unread.append(unreadable)

        if place not in self._listings:
            folders, files = next(((below, names) for _, below, names in os.walk(place, onerror=refuse)), ([], []))
            self._listings[place] = sorted(folders), sorted(files)
        return self._listings[place]

    def _is_entered(self, path: Path, here: str, top: str) -> bool:
        """Whether a folder in `here` is walked through: not where it is a link to a folder around the root or of the
        system, or a second link out of the root."""
        if not path.is_symlink():
            return True
        target = os.path.realpath(path)
        if _within(target, top):
            return True
        if _within(top, target) or any(_within(target, place) for place in _NO_DATA):
            return False
        if _within(here, top):
            return True
        if path not in self._named:
            self._named.add(path)
            link = f"{path}, a link to {target}" if names_files() else "a link"
            say(f"not read: {link} from a folder that is itself linked into the dataset")
        return False


def unread_places(errors: Sequence[str], *, named: bool = True) -> str:
    """Says that files or folders could not be read, and which and why, if they may be named; empty if there are none.

    Args:
        errors: an error in words for each of them.
        named: list the errors.
    """
    if not errors:
        return ""
    what = "1 file or folder" if len(errors) == 1 else f"{counted(len(errors), 'file')} or folders"
    reasons = f":{items(errors)}" if named else ""
    return f"{what} could not be read, and what the input holds there is left out{reasons}"


def _hidden(name: str) -> bool:
    return name.startswith(".") or name in _OF_A_DISK or name == "__MACOSX"  # which macOS adds to archives


def _within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")
