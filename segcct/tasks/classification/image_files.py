"""The files of a dataset, in a folder or inside a .tar or .tar.gz: their names, contents, images and digest.

Archives are read as streams and never unpacked to disk. Hidden files (`.DS_Store`, `._x.jpg`) do not count.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import zlib
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np

from segcct.datasets.folder_tree import FolderTree
from segcct.errors import DataError
from segcct.files.file_memo import FileMemo
from segcct.files.file_names import composed
from segcct.images.content_digest import file_digest
from segcct.images.size_limits import refuse_unreadable
from segcct.images.streams import Inflated
from segcct.tasks.classification.decoding import decode, is_image
from segcct.tasks.classification.image_layout import Decoder

ARCHIVES = (".tar", ".tar.gz", ".tgz")
_LARGEST = 2**30
"""Bytes of one file inside an archive, or decompressed; the largest of the MNIST-like datasets has half as many."""
_MOST_ENTRIES = 20_000_000
"""Files and folders below one root; ImageNet has 1.4 million."""
_DAMAGED = (tarfile.TarError, OSError, EOFError, zlib.error)


def is_archive(root: Path) -> bool:
    """Whether the name says that `root` is a tar file."""
    return root.name.lower().endswith(ARCHIVES)


def names(root: Path) -> list[str]:
    """As `readable_names`, but raises `DataError` for a folder that cannot be read, too."""
    paths, unread = readable_names(root)
    if unread:
        raise unread[0]
    return paths


def readable_names(root: Path) -> tuple[list[str], list[DataError]]:
    """Paths of the files below `root`, a folder or an archive, and an error for each folder that cannot be read.

    The paths have forward slashes and are sorted whatever their Unicode spelling; linked folders are followed.

    Raises:
        DataError: `root` does not exist, is neither folder nor archive, or cannot be read; the archive is damaged, or
            holds a name twice or a link instead of an image.
    """
    if not root.exists():
        raise DataError("no such dataset", file=root, expected="a folder, or a .tar or .tar.gz file")
    if root.is_dir():
        tree = FolderTree(root, most_entries=_MOST_ENTRIES, strict=False)
        return sorted(filter(_shown, tree.files()), key=composed), tree.unread
    if not is_archive(root):
        raise DataError("is neither a folder nor an archive", file=root, expected=" or ".join(ARCHIVES))
    members = [name for name, _ in _members(root, ())]
    twice = sorted(name for name, times in Counter(members).items() if times > 1)
    if twice:
        raise DataError("the archive holds a name twice", file=root, found=twice[0], remedy="Write it again")
    return sorted(members, key=composed), []


def contents(root: Path, wanted: Collection[str]) -> Iterator[tuple[str, bytes]]:
    """Name and content of the wanted files: sorted in a folder, as they come in an archive.

    Raises:
        DataError: a file cannot be read.
    """
    if root.is_dir():
        for name in sorted(wanted):
            yield name, read_file(root / name)
        return
    wanted = set(wanted)
    yield from ((name, content) for name, content in _members(root, wanted) if name in wanted)


def decoders(root: Path, wanted: Collection[str]) -> Iterator[tuple[str, Decoder]]:
    """Name and decoder of the wanted images: sorted in a folder, as they come in an archive.

    A file in a folder is read by its decoder, so that one that cannot be read fails alone.

    Raises:
        DataError: the archive cannot be read.
    """
    if root.is_dir():
        yield from ((name, partial(decode_file, root / name)) for name in sorted(wanted))
    else:
        yield from ((name, partial(decode, content, str(root / name))) for name, content in contents(root, wanted))


def decode_file(file: Path) -> np.ndarray:
    """The pixels of an image file. Raises as `decode`, and `DataError` where the file cannot be read."""
    return decode(read_file(file), str(file))


def read_file(file: Path) -> bytes:
    """The content of a file. Raises `DataError` where it cannot be read."""
    refuse_unreadable(file)
    try:
        return file.read_bytes()
    except OSError as error:
        raise DataError("cannot be read", file=file, found=error.strerror or str(error)) from None


def digest(root: Path, wanted: Collection[str], memo: FileMemo) -> str:
    """A digest of the archive, or of names and contents of the wanted files; a dataset that moves keeps it, also where
    its names get another Unicode spelling.

    Files that have not changed since the memo was written are not read. Of a file in a folder that cannot be read, the
    name alone counts: what decodes it says why.
    """
    if not root.is_dir():
        return file_digest(root, memo)
    combined = hashlib.blake2b(digest_size=20)
    for name in sorted(wanted, key=composed):
        content = None
        with suppress(DataError):
            content = file_digest(root / name, memo)
        combined.update(json.dumps([composed(name), content]).encode())
    return combined.hexdigest()


def damaged(file: Path, found: object, expected: str | None = None) -> DataError:
    """The error for a damaged file, of which another copy helps."""
    return DataError("is damaged", file=file, found=found, expected=expected, remedy="Copy or download it again")


def refuse_second(first: str | None, second: Path, problem: str) -> None:
    """Raises `DataError` for the second of two files of the same kind; `first` is None where there is only one."""
    if first is not None:
        raise DataError(problem, file=second, found=first, remedy="Keep one of them in the dataset folder")


def _members(root: Path, wanted: Collection[str]) -> Iterator[tuple[str, bytes]]:
    """Name of every regular file of an archive, with the content of the wanted ones (others: nothing)."""
    try:
        with tarfile.open(root, "r|*") as archive:
            for member in archive:
                name = PurePosixPath(member.name).as_posix()
                if (member.issym() or member.islnk()) and is_image(name) and _shown(name):
                    raise DataError(
                        "the archive holds a link instead of an image",
                        file=f"{root}/{name}",
                        found=f"a link to {member.linkname}",
                        remedy="Write it again with tar --dereference --hard-dereference",
                    )
                if member.isfile() and _shown(name):
                    _refuse_large(member.size if name in wanted else 0, f"{root}/{name}")
                    stream = archive.extractfile(member) if name in wanted else None
                    yield name, stream.read() if stream else b""
    except _DAMAGED as error:
        raise DataError(
            "the archive is damaged or not a tar file", file=root, found=error, remedy="Copy or download it again"
        ) from None


def _refuse_large(size: int, file: Path | str) -> None:
    """Raises `DataError` for a packed or compressed file that is larger than any image or table of labels."""
    if size > _LARGEST:
        raise DataError(
            "the file is too large",
            file=file,
            found=f"{size:,} bytes or more",
            expected=f"at most {_LARGEST:,} bytes, decompressed",
        )


def _shown(name: str) -> bool:
    return not any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))


def unzipped(name: str, content: bytes, root: Path) -> bytes:
    """The content of a file, decompressed where its name ends in .gz. Raises `DataError` when it is damaged."""
    if not name.lower().endswith(".gz"):
        return content
    try:
        stream = Inflated(io.BytesIO(content))
        parts, size = [], 0
        while part := stream.read():
            parts.append(part)
            size += len(part)
            _refuse_large(size, root / name)
        return b"".join(parts)
    except _DAMAGED as error:
        raise damaged(root / name, error) from None
