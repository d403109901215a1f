"""What a user should know about files that are read nevertheless: a few lines on stderr."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from segcct.progress import say

_MOST = 3
_said: defaultdict[str, set[Path]] = defaultdict(set)


def remark(path: Path, text: str) -> None:
    """Print a remark once for a file or folder, however many steps of a command read it, and for a few files at most:
    what holds for one X-ray of a cohort holds for thousands."""
    paths = _said[text]
    if path in paths or len(paths) > _MOST:
        return
    paths.add(path)
    say(f"{path}: {text}" if len(paths) <= _MOST else f"{path} and maybe others: {text}")
