"""Folders that their owner alone may enter."""

from __future__ import annotations

from pathlib import Path

_GROUP_WRITES, _ALL_WRITE = 0o020, 0o002


def make_private(folder: Path) -> None:
    """Make a folder that only its owner may enter (mode 0700), with its parents, where it is not there yet.

    Inside a folder that a group may write to, the group may enter it too (0770, less the umask): that is how one is
    shared. A folder that everyone may write to, such as /tmp, is not shared in this sense.
    """
    if folder.exists():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    mode = folder.parent.stat().st_mode
    shared = mode & _GROUP_WRITES and not mode & _ALL_WRITE
    folder.mkdir(mode=0o770 if shared else 0o700, exist_ok=True)
