"""The image files of the one series in a folder; what is no image is left out and named, damage is an error."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from segcct.errors import VolumeError
from segcct.images.dicom.elements import printable
from segcct.images.dicom.header import Header, claims_dicom, damaged, files_in, read_header
from segcct.images.dicom.instance import Instance, instance_of
from segcct.images.dicom.kinds import is_private, kind_of_no_image
from segcct.images.dicom.remarks import remark
from segcct.images.dicom.tags import Tag

_SHOWN = 5


def instances_in(path: Path) -> list[Instance]:
    """The image in a file, or those of the one series that a folder directly holds.

    Raises:
        VolumeError: a damaged file, by its name; no image, or several series.
    """
    if not path.is_dir():
        header = header_of(path)
        kind = no_image(header)
        if kind is not None:
            raise VolumeError(
                "is a DICOM object that is no image", file=path, found=kind, expected="CT, MR or the like"
            )
        return [instance_of(path, header)]
    images, others, rest = _sorted_out(path)
    if not images:
        raise _no_series(path, others)
    _refuse_stumps(rest, images)
    instances = [instance_of(file, header) for file, header in images]
    _refuse_several(path, instances)
    if others:
        names = _listed([f"{file.name} ({kind})" for file, kind in others])
        remark(path, f"left out, being no images: {names}")
    return instances


def _sorted_out(folder: Path) -> tuple[list[tuple[Path, Header]], list[tuple[Path, str]], list[Path]]:
    """Images, other DICOM objects with their kind, and the rest."""
    images: list[tuple[Path, Header]] = []
    others: list[tuple[Path, str]] = []
    rest: list[Path] = []
    for file in files_in(folder):
        if not claims_dicom(file):
            rest.append(file)
            continue
        header = header_of(file)
        kind = no_image(header)
        if kind is None:
            images.append((file, header))
        else:
            others.append((file, kind))
    return images, others, rest


def header_of(file: Path) -> Header:
    """The header of a file that must be DICOM."""
    if not file.is_file():
        raise VolumeError("not a file that can be read", file=file, found="a broken link or no regular file")
    header = read_header(file)
    known = header.elements.sop_class or header.pixels is not None or Tag.Rows in header.elements.values
    if not known:
        raise damaged(file, "0 bytes" if file.stat().st_size == 0 else "neither an image nor another DICOM object")
    return header


def no_image(header: Header) -> str | None:
    """What an object is that is no image of a patient; None for an image, whole or damaged."""
    kind = kind_of_no_image(header.elements.sop_class)
    if kind is not None:
        return kind
    has_pixels = header.pixels is not None or Tag.Rows in header.elements.values
    return "a private object without pixels" if is_private(header.elements.sop_class) and not has_pixels else None


def _refuse_stumps(rest: Sequence[Path], images: Sequence[tuple[Path, Header]]) -> None:
    """A file that is not DICOM but named as the slices are is a slice that was lost in copying."""
    shapes = {_shape(file.name) for file, _ in images}
    for file in rest:
        if _shape(file.name) in shapes:
            empty = file.is_file() and file.stat().st_size == 0
            raise damaged(file, "0 bytes" if empty else "no DICOM, though it is named as the slices are")


def _shape(name: str) -> str:
    """A name with every number as #."""
    return re.sub(r"\d+", "#", name.lower())


def _no_series(folder: Path, others: Sequence[tuple[Path, str]]) -> VolumeError:
    names = [f"{file.name} ({kind})" for file, kind in others] or sorted(entry.name for entry in folder.iterdir())
    return VolumeError(
        "the folder holds no DICOM image",
        file=folder,
        found=_listed(names) or "an empty folder",
        expected="the slices of one series",
        remedy="Give the folder that directly holds the slices" if any(e.is_dir() for e in folder.iterdir()) else None,
    )


def _refuse_several(folder: Path, instances: Sequence[Instance]) -> None:
    counts = Counter(instance.series for instance in instances)
    if len(counts) == 1:
        return
    single = max(counts.values()) == 1
    firsts = {instance.series: instance for instance in reversed(instances)}
    raise VolumeError(
        f"the folder holds {len(counts)} DICOM series",
        file=folder,
        found=_listed([_describe(firsts[uid], count) for uid, count in counts.items()], "; "),
        expected="one series",
        remedy="Give one file at a time" if single else "Move each series into a folder of its own",
    )


def _describe(first: Instance, count: int) -> str:
    """`120 files from IM1 (CT, series 2)`."""
    modality, number = first.elements.text(Tag.Modality), first.elements.text(Tag.SeriesNumber)
    known = printable(", ".join(note for note in (modality, f"series {number}" if number else "") if note))
    return f"{count} file{'s' if count > 1 else ''} from {first.file.name}" + (f" ({known})" if known else "")


def _listed(names: Sequence[str], separator: str = ", ") -> str:
    shown = separator.join(printable(name) for name in names[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown}{separator}and {len(names) - _SHOWN} more"
