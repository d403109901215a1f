"""Bytes under a name that a library can open; they vanish with the process, however it ends."""

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
def in_memory_file(data: bytes) -> Iterator[Path]:
    """A file that holds `data` while the block runs: in memory under Linux, in a temporary folder elsewhere.

    A process that is killed leaves nothing in the first case; in the second, what it left is removed a day later.
    """
    descriptor = None
    if hasattr(os, "memfd_create") and _DESCRIPTORS.is_dir():
        with suppress(OSError):
            descriptor = os.memfd_create("segcct")
    if descriptor is not None:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            yield _DESCRIPTORS / str(descriptor)
        return
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(OSError):
            if time.time() - folder.lstat().st_mtime > LEFT_BEHIND_SECONDS:
                shutil.rmtree(folder)
    with tempfile.TemporaryDirectory(prefix=_PREFIX) as temporary:
        file = Path(temporary, "frames.dcm")
        file.write_bytes(data)
        yield file
