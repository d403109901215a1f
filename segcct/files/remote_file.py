"""Files named by URIs (`s3://bucket/scan.nii.gz`, `https://...`), fetched through fsspec when they are read.

A path may hold a URI; it then stands as `s3:/bucket/scan.nii.gz`, for paths have no double slashes.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path, PurePath, PurePosixPath
from urllib.parse import parse_qsl

from segcct.errors import DataError, short_reason
from segcct.files.atomic_file import atomic_path

_URI = re.compile(r"^([a-zA-Z][a-zA-Z0-9+.-]+):/+(.*)$", re.DOTALL)  # a drive has one letter
_PASSWORD = re.compile(r"(//[^/:\s]*):[^/\s]*@")  # names and passwords may hold an @ themselves
_HADOOP = re.compile("^hdfs:(/|///+)(?!/)", re.IGNORECASE)


def is_uri(path: str | PurePath) -> bool:
    """Whether a path, or a text, is a URI."""
    return _URI.match(path if isinstance(path, str) else path.as_posix()) is not None  # Windows writes s3:\\bucket


def path_of(uri: str) -> Path:
    """The path that holds a URI. `hdfs:///scans` and `hdfs:/scans`, on the file system that Hadoop is configured for,
    become `hdfs://default/scans`, as fsspec writes them, since a path has no empty host."""
    return Path(_HADOOP.sub("hdfs://default/", uri))


def uri_of(path: PurePath) -> str:
    """The URI that a path holds."""
    match = _URI.match(path.as_posix())
    assert match is not None
    return f"{match[1]}://{'/' if match[1] == 'file' else ''}{match[2]}"


def address_of(path: PurePath) -> str:
    """The URI that a path holds, safe to show and to store: without a password and, for a web address, without the
    query, which is not part of the name and may be a signature that lets anybody fetch the file."""
    uri = _PASSWORD.sub(r"\1@", uri_of(path), count=1)
    return uri.partition("?")[0] if uri.lower().startswith(("http://", "https://")) else uri


def fetch(path: Path, folder: Path) -> Path:
    """A copy of a remote file under its own name; raises `DataError` where it cannot be fetched."""
    import fsspec

    uri, copy = uri_of(path), folder / _name_of(path)
    try:
        with fsspec.open(uri, "rb") as source, atomic_path(copy) as temporary, temporary.open("wb") as target:
            shutil.copyfileobj(source, target, 2**20)
    except Exception as error:  # each file system has errors of its own, and an ImportError where it has no package
        text = str(error) if address_of(path) == uri else _PASSWORD.sub(r"\1@", re.sub(r"\?\S*", "", str(error)))
        found = short_reason(text) if text.strip() else type(error).__name__
        raise DataError("cannot be fetched", file=address_of(path), found=found) from error
    return copy


def _name_of(path: Path) -> str:
    """The name of a remote file; of a web address such as `download?file=scan.nii.gz`, the one in the query."""
    name = PurePosixPath(address_of(path)).name
    query = uri_of(path).partition("?")[2]
    named = [PurePosixPath(value).name for _, value in parse_qsl(query)]
    return name if "." in name else next((each for each in named if "." in each), name)


def size_of(path: Path) -> int | None:
    """Bytes of a remote file; None where its file system does not tell."""
    import fsspec

    try:
        system, name = fsspec.core.url_to_fs(uri_of(path))
        size: int | None = system.size(name)
    except Exception:  # see `fetch`, which tells what is wrong
        return None
    return size
