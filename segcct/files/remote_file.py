"""Files named by URIs (`s3://bucket/scan.nii.gz`, `https://...`), fetched through fsspec when they are read.

A path may hold a URI; it then stands as `s3:/bucket/scan.nii.gz`, for paths have no double slashes.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from segcct.errors import DataError
from segcct.files.atomic_file import atomic_path

_URI = re.compile(r"^([a-zA-Z][a-zA-Z0-9+.-]+):/+(.*)$", re.DOTALL)  # a drive has one letter


def is_uri(path: str | Path) -> bool:
    """Whether a path, or a text, is a URI."""
    return _URI.match(str(path)) is not None


def uri_of(path: Path) -> str:
    """The URI that a path holds."""
    match = _URI.match(str(path))
    assert match is not None
    return f"{match[1]}://{'/' if match[1] == 'file' else ''}{match[2]}"


def fetch(path: Path, folder: Path) -> Path:
    """A copy of a remote file under its own name; raises `DataError` where it cannot be fetched."""
    import fsspec

    uri, copy = uri_of(path), folder / path.name
    try:
        with fsspec.open(uri, "rb") as source, atomic_path(copy) as temporary, temporary.open("wb") as target:
            shutil.copyfileobj(source, target, 2**20)
    except Exception as error:  # each file system has errors of its own, and an ImportError where it has no package
        found = " ".join(str(error).split())[:200] or type(error).__name__
        raise DataError("cannot be fetched", file=uri, found=found) from error
    return copy


def size_of(path: Path) -> int | None:
    """Bytes of a remote file; None where its file system does not tell."""
    import fsspec

    try:
        system, name = fsspec.core.url_to_fs(uri_of(path))
        size: int | None = system.size(name)
    except Exception:  # see `fetch`, which tells what is wrong
        return None
    return size
