"""Files of text that are read whole: ordinary files of a bounded size, so that a link to a device, a pipe or a file of
gigabytes is refused instead of read."""

from __future__ import annotations

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
        content = stream.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise ValueError(f"more than {most_bytes:,} bytes")
    return content
