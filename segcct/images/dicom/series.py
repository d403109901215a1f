"""The image files of a folder: the one series of a volume, or X-rays that are each an image by itself.

What is no image is left out and named; damage is an error.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from segcct.errors import VolumeError
from segcct.images.dicom.elements import Tag, printable
from segcct.images.dicom.header import Header, claims_dicom, damaged, files_in, read_header
from segcct.images.dicom.instance import Instance, instance_of
from segcct.images.dicom.kinds import is_cross_section, is_private, kind_of_no_image
from segcct.images.dicom.remarks import remark
from segcct.plurals import counted, listed


def instances_in(path: Path) -> list[Instance]:
    """The image in a file, or those of the one series that a folder directly holds.

    Raises:
        VolumeError: a damaged file, by its name; no image, or several series.
    """
    if not path.is_dir():
        header = _header_of(path)
        kind = _no_image(header)
        if kind is not None:
            what = "is a DICOM object that is not an image"
            raise VolumeError(what, file=path, found=kind, expected="CT, MR or the like")
        return [instance_of(path, header)]
    images: list[tuple[Path, Header]] = []
    no_images: list[str] = []
    rest: list[Path] = []
    for file in files_in(path):
        if not claims_dicom(file):
            rest.append(file)
            continue
        header = _header_of(file)
        kind = _no_image(header)
        if kind is None:
            images.append((file, header))
        else:
            no_images.append(printable(f"{file.name} ({kind})"))
    if not images:
        entries = sorted(path.iterdir())
        below = any(entry.is_dir() for entry in entries)
        raise VolumeError(
            "the folder holds no DICOM image",
            file=path,
            found=listed(no_images or [printable(entry.name) for entry in entries]) or "an empty folder",
            expected="the slices of one series",
            remedy="Give the folder that directly holds the slices" if below else None,
        )
    _refuse_lost_slices(rest, images)
    instances = [instance_of(file, header) for file, header in images]
    _refuse_several(path, instances)
    if no_images:
        remark(path, "left out because they are not images", no_images)
    return instances


def projections_in(folder: Path) -> list[Path]:
    """The DICOM images directly in a folder, sorted, where they are projections such as X-rays; else none.

    Each is a 2-D image without a position, and none is a slice of a volume. Other objects, such as reports, are left
    out. A damaged file counts as an image among those that can be read, so that reading it says what is wrong. Headers
    are read until the first slice of a volume.
    """
    images: list[Path] = []
    readable = False
    for file in filter(claims_dicom, files_in(folder)):
        try:
            header = _header_of(file)
        except (VolumeError, OSError):
            images.append(file)
            continue
        if _no_image(header) is not None:
            continue
        if not _is_projection(header):
            return []
        images.append(file)
        readable = True
    return images if readable else []


def _is_projection(header: Header) -> bool:
    """Whether an image has no place in the patient by its nature."""
    elements = header.elements
    places = (Tag.ImagePositionPatient, Tag.ImageOrientationPatient)
    if any(elements.text(tag).strip() for tag in places) or elements.items(Tag.PerFrameFunctionalGroupsSequence):
        return False
    return not is_cross_section(elements.sop_class, elements.text(Tag.Modality))


def _header_of(file: Path) -> Header:
    """The header of a file that must be DICOM."""
    if not file.is_file():
        raise VolumeError("not a file that can be read", file=file, found="a broken link or not a regular file")
    header = read_header(file)
    if not header.elements.sop_class and not header.has_pixels:
        raise damaged(file, "0 bytes" if file.stat().st_size == 0 else "neither an image nor another DICOM object")
    return header


def _no_image(header: Header) -> str | None:
    """What an object is that is no image of a patient; None for an image, whole or damaged."""
    sop_class = header.elements.sop_class
    private = "a private object without pixels" if is_private(sop_class) and not header.has_pixels else None
    return kind_of_no_image(sop_class) or private


def _refuse_lost_slices(rest: Sequence[Path], images: Sequence[tuple[Path, Header]]) -> None:
    """A file that is not DICOM but named as the slices are is a slice that was lost in copying."""
    patterns = {_without_numbers(file.name) for file, _ in images}
    for file in rest:
        if _without_numbers(file.name) in patterns:
            empty = file.is_file() and file.stat().st_size == 0
            raise damaged(file, "0 bytes" if empty else "not DICOM, although it is named like the slices")


def _without_numbers(name: str) -> str:
    return re.sub(r"\d+", "#", name.lower())


def _refuse_several(folder: Path, instances: Sequence[Instance]) -> None:
    counts = Counter(instance.series for instance in instances)
    if len(counts) == 1:
        return
    single = max(counts.values()) == 1
    firsts = {instance.series: instance for instance in reversed(instances)}
    raise VolumeError(
        f"the folder holds {len(counts)} DICOM series",
        file=folder,
        found=listed([printable(_describe(firsts[uid], count)) for uid, count in counts.items()], separator="; "),
        expected="one series",
        remedy="Give one file at a time" if single else "Move each series into a folder of its own",
    )


def _describe(first: Instance, count: int) -> str:
    """`120 files from IM1 (CT, series 2)`."""
    modality, number = first.elements.text(Tag.Modality), first.elements.text(Tag.SeriesNumber)
    notes = printable(", ".join(filter(None, (modality, number and f"series {number}"))))
    return f"{counted(count, 'file')} from {first.file.name}" + (f" ({notes})" if notes else "")
