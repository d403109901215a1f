"""The digest of an image by the content of all of its files, wherever they are."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from segcct.errors import DataError, VolumeError
from segcct.files.file_memo import FileMemo
from segcct.files.file_names import composed
from segcct.images.formats import format_named
from segcct.images.size_limits import refuse_unreadable
from segcct.images.voxel_data import companion

_PAIRS = {".hdr": ".img", ".img": ".hdr"}
_DIGEST = re.compile("[0-9a-f]{40}")


def content_digest(paths: Sequence[Path], memo: FileMemo | None = None) -> str:
    """A digest of the names and bytes of some files, in their order.

    A folder counts with all its files but hidden ones, such as .DS_Store; a header whose voxels are in another file
    counts with that file. The folders above do not count, nor does the Unicode spelling of names, so a dataset that is
    moved or copied keeps its digests.

    Args:
        paths: the files.
        memo: digests computed before.

    Raises:
        DataError: a file is missing or cannot be read.
    """
    memo = memo or FileMemo()
    digest = hashlib.blake2b(digest_size=20)
    for path in paths:
        for file in files_of(path, memo):
            digest.update(json.dumps([composed(file.name), file_digest(file, memo)]).encode())
    return digest.hexdigest()


def file_digest(file: Path, memo: FileMemo) -> str:
    """A digest of the bytes of one file. Raises `DataError` where it is missing or cannot be read."""
    try:
        digest: str = memo.value("content", file, lambda: _content(file), _is_digest)
    except OSError as error:
        raise DataError("cannot be read", file=file, found=error.strerror or str(error)) from None
    return digest


def files_of(path: Path, memo: FileMemo) -> list[Path]:
    """All files of an image; the header alone where it names a file that reading the image will refuse."""
    if path.is_dir():
        return sorted(file for file in path.rglob("*") if file.is_file() and not file.name.startswith("."))
    suffix = path.suffix.lower()
    with suppress(OSError, VolumeError):
        if suffix in _PAIRS:
            return [path, companion(path, path.with_suffix(_PAIRS[suffix]).name)]
        named = format_named(path.name)
        if named is not None and named.text is not None:
            read = named.text.data_file
            name = memo.value("data file", path, lambda: read(path), lambda value: isinstance(value, str | None))
            return [path] if name is None else [path, companion(path, name)]
    return [path]


def is_one_file(path: Path) -> bool:
    """Whether all of an image lies in that file: no folder, and no header of voxels in another file."""
    named = format_named(path.name)
    in_parts = path.suffix.lower() in _PAIRS or (named is not None and named.text is not None)
    return not in_parts and path.is_file()


def _content(file: Path) -> str:
    refuse_unreadable(file)
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=20)).hexdigest()


def _is_digest(value: Any) -> bool:
    return isinstance(value, str) and _DIGEST.fullmatch(value) is not None
