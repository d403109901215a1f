"""The digest of an image by the content of all of its files, wherever they are."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from segcct.errors import DataError, VolumeError
from segcct.files.file_memo import FileMemo
from segcct.images.metaimage import data_file_of_metaimage
from segcct.images.nrrd import data_file_of_nrrd
from segcct.images.size_limits import refuse_special
from segcct.images.voxel_data import companion

_DATA_FILE = {
    ".mhd": data_file_of_metaimage,
    ".mha": data_file_of_metaimage,
    ".nhdr": data_file_of_nrrd,
    ".nrrd": data_file_of_nrrd,
}
"""Suffix of a format whose header may name the file of its voxels -> what reads that name."""
_PAIRS = {".hdr": ".img", ".img": ".hdr"}
_DIGEST = re.compile("[0-9a-f]{40}")


def content_digest(paths: Sequence[Path], memo: FileMemo | None = None) -> str:
    """A digest of the names and bytes of some files, in their order.

    A folder counts with all its files; a header whose voxels are in another file counts with that file. The folders
    above do not count, so a dataset that moves keeps its digests.

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
            digest.update(json.dumps([file.name, file_digest(file, memo)]).encode())
    return digest.hexdigest()


def file_digest(file: Path, memo: FileMemo) -> str:
    """A digest of the bytes of one file. Raises `DataError` where it is missing or cannot be read."""
    try:
        digest: str = memo.value("content", file, lambda: _content(file), _is_digest)
    except OSError as error:
        raise DataError("cannot be read", file=file, found=error.strerror or str(error)) from None
    return digest


def is_one_file(path: Path) -> bool:
    """Whether all of an image lies in that file: no folder, and no header of voxels in another file."""
    return path.suffix.lower() not in {*_PAIRS, *_DATA_FILE} and path.is_file()


def _content(file: Path) -> str:
    refuse_special(file)
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=20)).hexdigest()


def _is_digest(value: Any) -> bool:
    return isinstance(value, str) and _DIGEST.fullmatch(value) is not None


def files_of(path: Path, memo: FileMemo) -> list[Path]:
    """All files of an image; where the reading of the image will refuse one that its header names, the header alone."""
    if path.is_dir():
        return sorted(file for file in path.rglob("*") if file.is_file())
    suffix = path.suffix.lower()
    try:
        if suffix in _PAIRS:
            return [path, companion(path, path.with_suffix(_PAIRS[suffix]).name)]
        if suffix in _DATA_FILE:
            read = _DATA_FILE[suffix]
            name = memo.value("data file", path, lambda: read(path), lambda value: isinstance(value, str | None))
            return [path] if name is None else [path, companion(path, name)]
    except (OSError, VolumeError):
        pass
    return [path]
