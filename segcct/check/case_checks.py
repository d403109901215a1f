"""The check of one case: its headers, and where asked for its voxels: values, emptiness, intensities."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from segcct.check.duplicates import Image, digests
from segcct.check.problem import Problem
from segcct.config import DataSection
from segcct.datasets.case import Case, LoadedCase
from segcct.datasets.inventory import Inventory
from segcct.datasets.label_schemes import Scheme
from segcct.datasets.layouts import get_layout, read_case
from segcct.datasets.layouts.volumes import require_one_grid
from segcct.errors import SegcctError
from segcct.images.volume import Volume
from segcct.preparation.intensity import unit_scale

_T = TypeVar("_T")
_OUTSIDE_MASK = 0.01
"""Fraction of the labeled voxels outside the intensity mask that is worth a notice; a few at its rim are usual."""


@dataclass
class CaseContents:
    """What the check keeps of a case once its voxels are freed."""

    case: str
    """The case id."""
    problems: list[Problem] = field(default_factory=list)
    images: list[Image] = field(default_factory=list)
    """Digests of its images, to find copies."""
    values: set[int] | None = None
    """Label values; None without a readable label."""


def check_case(case: Case, inventory: Inventory, *, deep: bool) -> CaseContents:
    """The problems of one case: in its headers and, when `deep`, in its voxels."""
    contents = CaseContents(case.id)
    by_header = list(_check_headers(case, inventory))
    if deep:
        _check_voxels(case, inventory.data, inventory.scheme, contents)
    named = {problem.file for problem in by_header}  # what its header says of a file, its voxels need not repeat
    contents.problems = by_header + [problem for problem in contents.problems if problem.file not in named]
    return contents


def _check_headers(case: Case, inventory: Inventory) -> Iterator[Problem]:
    """Files that do not open, or lie on another grid than the first channel."""
    data = inventory.data
    groups = [(files, data.channels[name]) for name, files in case.channels.items()]
    drawn = get_layout(data.layout).draw_label is not None  # without a grid of its own
    groups += [(() if drawn else case.label or (), data.label or ""), (case.mask or (), data.intensity.mask or "")]
    first: Volume | None = None
    # Every file once per array that is read from it; array names matter to HDF5 and NPZ only.
    for file, array in dict.fromkeys((file, array) for files, array in groups for file in files):
        try:
            header = inventory.header(file, array)
            if first is None:
                first = header
            else:
                require_one_grid(header, first)
        except SegcctError as error:
            yield Problem.of(error, file=file)


def _check_voxels(case: Case, data: DataSection, scheme: Scheme, contents: CaseContents) -> None:
    """Add every problem in the voxels: of the case as a whole, or where it cannot be read, of each part."""
    whole, trouble = _read(case, data, scheme, case.files())
    if whole is not None:
        contents.problems += [*_check_image(whole, data, contents), *_check_label(whole, scheme, contents)]
        return
    first: DataSection | None = None
    for name, pattern in data.channels.items():
        alone = data.model_copy(update={"channels": {name: pattern}})
        image, problems = _read(replace(case, label=None, mask=None), alone, scheme, case.channels[name])
        contents.problems += problems
        if image is not None:
            first = first or alone
            contents.problems += _check_image(image, alone, contents, intensities=case.mask is None)
    if first is not None and case.label:
        labeled, problems = _read(replace(case, mask=None), first, scheme, case.label)
        contents.problems += problems
        contents.problems += [] if labeled is None else _check_label(labeled, scheme, contents)
    if first is not None and case.mask:
        contents.problems += _read(replace(case, label=None), first, scheme, case.mask)[1]
    contents.problems = contents.problems or trouble  # the parts are sound, but do not fit each other


def _check_image(
    loaded: LoadedCase, data: DataSection, contents: CaseContents, *, intensities: bool = True
) -> Iterator[Problem]:
    """Blank channels and intensities that do not fit the rule; remembers each image."""
    for index, name in enumerate(data.channels):
        voxels, files = loaded.image[index], loaded.case.channels[name]
        low = float(voxels.min())
        if low == voxels.max():
            yield Problem(
                str(files[0]),
                "the image is blank",
                found=f"every voxel is {low:g}",
                expected="an image with more than one value",
                remedy="Export it again, or remove the case",
            )
            continue
        if intensities:
            apply_rule = partial(unit_scale, voxels, data.intensity, mask=loaded.mask, file=files[0])
            yield from _attempt(apply_rule, files[0])[1]
        contents.images += digests(loaded.case, name, files, voxels)


def _check_label(loaded: LoadedCase, scheme: Scheme, contents: CaseContents) -> Iterator[Problem]:
    """Empty labels and slices, and what lies outside the mask; remembers the values."""
    label, files = loaded.label, loaded.case.label
    if label is None or files is None:
        return
    contents.values = {value for value in scheme.values if (label == value).any()}
    if not label.any():
        yield Problem.notice(
            files[0],
            "the label is empty",
            found="background only",
            expected="a structure of the scheme",
            remedy="Correct the label, or ignore this if there is nothing to segment in this case",
        )
        return
    if len(files) > 1 and len(files) == label.shape[2]:  # slices in files of their own
        for index, file in enumerate(files):
            if not label[:, :, index].any():
                yield Problem.notice(file, "a slice without foreground")
    if loaded.mask is not None:
        outside = np.count_nonzero(label[~loaded.mask]) / np.count_nonzero(label)
        if outside > _OUTSIDE_MASK:
            yield Problem.notice(
                files[0],
                "labeled voxels lie outside the intensity mask",
                found=f"{outside:.1%} of them",
                remedy="Check that label and mask belong together",
            )


def _read(
    case: Case, data: DataSection, scheme: Scheme, files: Sequence[Path]
) -> tuple[LoadedCase | None, list[Problem]]:
    return _attempt(partial(read_case, case, data, scheme), files[0])


def _attempt(read: Callable[[], _T], file: Path) -> tuple[_T | None, list[Problem]]:
    """What `read` gives, or the problem it met. A checker must outlive whatever a file does to its reader."""
    try:
        return read(), []
    except SegcctError as error:
        return None, [Problem.of(error, file=file)]
    except Exception as error:
        return None, [Problem(str(file), "cannot be read", found=f"{type(error).__name__}: {error}")]
