"""Bytes under a name that a library can open, gone when the process is, however it ends."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from segcct.files.atomic_file import LEFT_BEHIND_SECONDS

_PREFIX = "segcct-dicom-"
_DESCRIPTORS = Path("/proc/self/fd")


@contextmanager
def unsaved_file(data: bytes) -> Iterator[Path]:
    """A file that holds `data` while the block runs: in memory under Linux, in a temporary folder elsewhere.

    A process that is killed leaves nothing in the first case; in the second, what it left is removed a day later.
    """
    descriptor = _memory()
    if descriptor is not None:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            yield _DESCRIPTORS / str(descriptor)
        return
    _remove_stale()
    with tempfile.TemporaryDirectory(prefix=_PREFIX) as folder:
        file = Path(folder, "frames.dcm")
        file.write_bytes(data)
        yield file


def _memory() -> int | None:
    """Descriptor of a new file in memory; None where the system has none, or no name for it."""
    if hasattr(os, "memfd_create") and _DESCRIPTORS.is_dir():
        with suppress(OSError):
            return os.memfd_create("segcct")
    return None


def _remove_stale() -> None:
    """Folders of processes that were killed more than a day ago."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(OSError):
            if time.time() - folder.lstat().st_mtime > LEFT_BEHIND_SECONDS:
                shutil.rmtree(folder)
