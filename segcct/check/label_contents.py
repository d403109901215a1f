"""The part of the check that reads every voxel: values, emptiness, intensities, copies."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from segcct.check.duplicates import Image, digests
from segcct.check.problem import Problem
from segcct.config import DataSection
from segcct.datasets.case import Case, LoadedCase
from segcct.datasets.label_schemes import Scheme
from segcct.datasets.layouts import read_case
from segcct.datasets.splits import Splits, unshared_classes
from segcct.errors import SegcctError
from segcct.preparation.intensity import unit_scale

_T = TypeVar("_T")
_OUTSIDE_MASK = 0.01
"""Share of the labelled voxels outside the intensity mask that is worth a notice; a few at its rim are usual."""


@dataclass
class CaseContents:
    """What is left of a case when its voxels are gone."""

    case: str = ""
    """The case id."""
    problems: list[Problem] = field(default_factory=list)
    images: list[Image] = field(default_factory=list)
    """Digests of its images, to find copies."""
    values: set[int] | None = None
    """Label values; None without a readable label."""


def absent_classes(contents: Iterable[CaseContents], data: DataSection, scheme: Scheme) -> list[Problem]:
    """Classes that no label of the dataset holds."""
    present = [one.values for one in contents if one.values is not None]
    absent = [name for name, value in scheme.classes.items() if not any(value in values for values in present)]
    if not present or not absent:
        return []
    return [
        Problem(
            str(data.root),
            "classes of the scheme are in no label",
            found=", ".join(absent),
            expected=f"each class of scheme {scheme.name} in some case",
            remedy="Check data.scheme and data.label_map, or take no notice when the data is a part of a set",
            severity="notice",
        )
    ]


def uneven_classes(
    contents: Iterable[CaseContents], data: DataSection, scheme: Scheme, splits: Splits | None
) -> list[Problem]:
    """Classes that only one part of the split holds."""
    if splits is None:
        return []
    held = {one.case: one.values for one in contents if one.values is not None}
    classes = {
        case: frozenset(name for name, value in scheme.classes.items() if value in values)
        for case, values in held.items()
    }
    found = unshared_classes(classes, splits)
    if found is None:
        return []
    return [
        Problem(
            str(data.root),
            "classes are in one part of the split only",
            found=found,
            expected="each class in training, validation and test",
            remedy="Change data.split or its lists, or take no notice of a class that is rare",
            severity="notice",
        )
    ]


def read_contents(case: Case, data: DataSection, scheme: Scheme) -> CaseContents:
    """Every problem in the voxels of one case: of the case as a whole, or where it cannot be read, of each part."""
    contents = CaseContents(case.id)
    whole, trouble = _read(case, data, scheme, case.files())
    if whole is not None:
        contents.problems += [*_judge_image(whole, data, contents), *_judge_label(whole, scheme, contents)]
        return contents
    first: DataSection | None = None
    for name, pattern in data.channels.items():
        alone = data.model_copy(update={"channels": {name: pattern}})
        image, problems = _read(replace(case, label=None, mask=None), alone, scheme, case.channels[name])
        contents.problems += problems
        if image is not None:
            first = first or alone
            contents.problems += _judge_image(image, alone, contents, intensities=case.mask is None)
    if first is not None and case.label:
        labelled, problems = _read(replace(case, mask=None), first, scheme, case.label)
        contents.problems += problems
        contents.problems += [] if labelled is None else _judge_label(labelled, scheme, contents)
    if first is not None and case.mask:
        contents.problems += _read(replace(case, label=None), first, scheme, case.mask)[1]
    contents.problems = contents.problems or trouble  # the parts are sound, but do not fit each other
    return contents


def _judge_image(
    loaded: LoadedCase, data: DataSection, contents: CaseContents, *, intensities: bool = True
) -> Iterator[Problem]:
    """Blank channels and intensities that do not fit the rule; remembers each image."""
    case = loaded.case
    for index, name in enumerate(data.channels):
        voxels = loaded.image[index]
        files = case.channels[name]
        low, high = float(voxels.min()), float(voxels.max())
        if low == high:
            yield Problem(
                str(files[0]),
                "the image is blank",
                found=f"every voxel is {low:g}",
                expected="an image with more than one value",
                remedy="Export it again, or take the case out",
            )
            continue
        if intensities:
            apply_rule = partial(unit_scale, voxels, data.intensity, mask=loaded.mask, file=files[0])
            yield from _attempt(apply_rule, files[0])[1]
        contents.images += digests(case, name, files, voxels)


def _judge_label(loaded: LoadedCase, scheme: Scheme, contents: CaseContents) -> Iterator[Problem]:
    """Empty labels and slices, and what lies outside the mask; remembers the values."""
    label, files = loaded.label, loaded.case.label
    if label is None or files is None:
        return
    contents.values = {value for value in scheme.values if (label == value).any()}
    if len(files) > 1:
        empty = [str(file) for index, file in enumerate(files) if not label[:, :, index].any()]
        for file in empty if len(empty) < len(files) else []:
            yield Problem(file, "a slice without foreground", severity="notice")
    if not label.any():
        yield Problem(
            str(files[0]),
            "the label is empty",
            found="background only",
            expected="a structure of the scheme",
            remedy="Take the case out, or train all the same if nothing is to be seen in it: training accepts it",
        )
    elif loaded.mask is not None:
        outside = np.count_nonzero(label[~loaded.mask]) / np.count_nonzero(label)
        if outside > _OUTSIDE_MASK:
            yield Problem(
                str(files[0]),
                "labeled voxels lie outside the intensity mask",
                found=f"{outside:.1%} of them",
                remedy="Check that label and mask belong together",
                severity="notice",
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
