"""Files of text that are read whole: ordinary files of a bounded size, so that a link to a device, a pipe or a file of
gigabytes is refused instead of read."""

from __future__ import annotations

import os
from pathlib import Path


def read_small(file: Path, most_bytes: int) -> bytes:
    """All bytes of a file.

    Raises:
        ValueError: a folder, a pipe or a device, or more bytes than that.
        OSError: the file is missing or cannot be read.
    """
    if file.exists() and not file.is_file():
        raise ValueError("a folder or a device")
    with file.open("rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        if size <= most_bytes:
            content = stream.read(size + 1)  # no more than that: so much memory is taken before the first byte is read
            if len(content) > size:  # it has grown, or its file system, such as /proc, does not know sizes
                content += stream.read(most_bytes + 1 - len(content))
            if len(content) <= most_bytes:
                return content
    raise ValueError(f"more than {most_bytes:,} bytes")
