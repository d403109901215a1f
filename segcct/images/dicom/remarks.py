"""What a user should know about files that are read nevertheless: a few lines on stderr."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from segcct.plurals import listed
from segcct.progress import names_files, say

_MOST = 3
_said: defaultdict[str, set[str]] = defaultdict(set)


def remark(path: Path, text: str, files: Sequence[str] = ()) -> None:
    """Print a remark once for a file or folder, however many steps of a command read it, and for a few files at most:
    what holds for one X-ray of a cohort holds for thousands. Where none may be named, it is printed once in all.

    Args:
        path: the file or folder.
        text: the remark.
        files: names of the files that it is about, if not of all.
    """
    place = str(path) if names_files() else "a scan"
    if files and names_files():
        text = f"{text}: {listed(files)}"
    places = _said[text]
    if place in places or len(places) > _MOST:
        return
    places.add(place)
    say(f"{place}: {text}" if len(places) <= _MOST else f"{place} and maybe others: {text}")
