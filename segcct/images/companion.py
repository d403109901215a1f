"""The file of voxels that a header names: one in the header's own folder, and no other."""

from __future__ import annotations

from pathlib import Path

from segcct.errors import VolumeError
from segcct.images.claims import refuse_special

_NO_PART_OF_A_NAME = frozenset('/\\:*?"<>|%')
"""Separators, and what formats use for patterns of several files."""


def companion(header: Path, name: str) -> Path:
    """The file named `name` next to a header.

    Raises:
        VolumeError: the name is no plain file name (a path, a list, a pattern of several files), or the file is
            missing, special, the header itself, or a link out of the folder.
    """
    plain = name.removeprefix("./")
    odd = not plain.isprintable() or bool(_NO_PART_OF_A_NAME & set(plain))
    if odd or plain != plain.strip() or plain in ("", ".", "..") or plain.upper().startswith("LIST"):
        raise VolumeError(
            "its voxels lie elsewhere",
            file=header,
            found=ascii(name[:80]),
            expected="the name of one file in the same folder",
            remedy="Put the voxels next to the header, or save both as one file (.nrrd, .mha)",
        )
    file = header.parent / plain
    refuse_special(file)
    if not file.is_file():
        raise VolumeError("the file of its voxels is missing", file=header, expected=file.name)
    target = file.resolve()
    if target.parent not in (header.parent.resolve(), header.resolve().parent) or target == header.resolve():
        raise VolumeError(
            "its voxels lie elsewhere",
            file=header,
            found=f"{file.name}, a link out of the folder" if target != header.resolve() else "its own name",
            expected="a file in the same folder",
            remedy="Copy the voxels next to the header",
        )
    return file
