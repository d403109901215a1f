"""The files that a case may have next to its mask, in folders of their own: probabilities and memberships."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from segcct.files.atomic_file import is_temporary

PROBABILITIES = "probabilities"
"""Holds a folder per case, with `3_CLASS.nii.gz` and so on."""
MEMBERSHIPS = "memberships"
"""Holds `NAME_cluster_1.nii.gz` and so on."""
_PROBABILITY = re.compile(r"\d+_.*\.nii\.gz")
_MEMBERSHIP = re.compile(r"(.+)_cluster_\d+\.nii\.gz")


def files_of_cases(folder: Path, names: Collection[str]) -> dict[str, list[str]]:
    """Name of a mask -> those of its case that are there, relative to the folder; without cases that have none.

    Args:
        folder: that of the masks.
        names: of the masks.
    """
    found: defaultdict[str, list[str]] = defaultdict(list)
    for name in names if (folder / PROBABILITIES).is_dir() else ():
        for file in _names_in(folder / PROBABILITIES / name):
            if _PROBABILITY.fullmatch(file):
                found[name].append(f"{PROBABILITIES}/{name}/{file}")
    for file in _names_in(folder / MEMBERSHIPS):
        if (match := _MEMBERSHIP.fullmatch(file)) and match[1] in names:
            found[match[1]].append(f"{MEMBERSHIPS}/{file}")
    return dict(found)


def remove_files(folder: Path, names: Collection[str]) -> None:
    """Remove the files of cases whose masks are to be predicted again, and what killed processes left of them."""
    for files in files_of_cases(folder, names).values():
        for file in files:
            (folder / file).unlink(missing_ok=True)
    for name in names if (folder / PROBABILITIES).is_dir() else ():
        own = folder / PROBABILITIES / name
        for file in filter(is_temporary, _names_in(own)):
            (own / file).unlink(missing_ok=True)
        with suppress(OSError):  # there is none, or it holds what is not ours
            own.rmdir()


def _names_in(folder: Path) -> list[str]:
    with suppress(FileNotFoundError, NotADirectoryError):
        return sorted(file.name for file in folder.iterdir() if not file.is_dir())
    return []
