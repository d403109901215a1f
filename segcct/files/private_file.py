"""Folders that their owner alone may enter, and pseudonyms of patients."""

from __future__ import annotations

import hashlib
import secrets
from pathlib import Path

KEY_BYTES = 32
_GROUP_WRITES, _ALL_WRITE = 0o020, 0o002


def make_private(folder: Path) -> None:
    """Make a folder, with its parents, that its owner alone may enter (mode 0700), where it is not there yet.

    Inside a folder that was opened for a group to write to, its group may too (0770, less the umask): that is how one
    is shared. A folder that all may write to, such as /tmp, shares nothing.
    """
    if folder.exists():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    mode = folder.parent.stat().st_mode
    shared = mode & _GROUP_WRITES and not mode & _ALL_WRITE
    folder.mkdir(mode=0o770 if shared else 0o700, exist_ok=True)


def new_key() -> str:
    """A random key for `pseudonym`, as text."""
    return secrets.token_hex(KEY_BYTES)


def pseudonym(name: str, key: str) -> str:
    """A name for a case or patient, a keyed BLAKE2b digest: without the key, guessed ids cannot be tried."""
    content = name.encode(errors="surrogateescape")
    return "case_" + hashlib.blake2b(content, key=bytes.fromhex(key), digest_size=8).hexdigest()
