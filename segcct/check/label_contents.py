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
from segcct.datasets.case import Case, Examination
from segcct.datasets.label_schemes import Scheme
from segcct.datasets.layouts import read_case
from segcct.datasets.split_classes import one_sided_classes
from segcct.datasets.splits import Splits
from segcct.errors import SegcctError
from segcct.preparation.intensity import to_unit

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


def read_contents(case: Case, data: DataSection, scheme: Scheme) -> CaseContents:
    """Every problem in the voxels of one case, whatever of it can be read."""
    return _Reader(case, data, scheme).read()


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
    found = one_sided_classes(classes, splits)
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


class _Reader:
    """Reads one case, whole if that goes, else part by part."""

    def __init__(self, case: Case, data: DataSection, scheme: Scheme) -> None:
        self._case = case
        self._data = data
        self._scheme = scheme
        self._contents = CaseContents(case.id)

    def read(self) -> CaseContents:
        """The case's problems, digests and label values."""
        whole, trouble = _read(self._case, self._data, self._scheme, self._case.files())
        if whole is not None:
            found = [*self._image(whole, self._data, judge=True), *self._label(whole)]
        else:
            found = self._read_apart() or trouble  # trouble: the parts are sound, but do not fit each other
        self._contents.problems = found
        return self._contents

    def _read_apart(self) -> list[Problem]:
        """Each channel, the label and the mask on their own, where the case as a whole cannot be read."""
        case = self._case
        problems: list[Problem] = []
        carrier: DataSection | None = None
        for name, pattern in self._data.channels.items():
            alone = self._data.model_copy(update={"channels": {name: pattern}})
            image, trouble = _read(replace(case, label=None, mask=None), alone, self._scheme, case.channels[name])
            problems += trouble
            if image is not None:
                carrier = carrier or alone
                problems += self._image(image, alone, judge=case.mask is None)
        if carrier is None:
            return problems
        if case.label:
            labelled, trouble = _read(replace(case, mask=None), carrier, self._scheme, case.label)
            problems += trouble
            problems += self._label(labelled) if labelled is not None else []
        if case.mask:
            problems += _read(replace(case, label=None), carrier, self._scheme, case.mask)[1]
        return problems

    def _image(self, examination: Examination, data: DataSection, *, judge: bool) -> Iterator[Problem]:
        """Blank channels and, when `judge`, intensities that do not fit the rule; remembers each image."""
        case = examination.case
        for index, name in enumerate(data.channels):
            voxels = examination.image[index]
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
            if judge:
                apply_rule = partial(to_unit, voxels, data.intensity, mask=examination.mask, file=files[0])
                yield from _attempt(apply_rule, files[0])[1]
            self._contents.images += digests(case, name, files, voxels)

    def _label(self, examination: Examination) -> Iterator[Problem]:
        label, files = examination.label, examination.case.label
        if label is None or files is None:
            return
        self._contents.values = {value for value in self._scheme.values if (label == value).any()}
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
        elif examination.mask is not None:
            outside = np.count_nonzero(label[~examination.mask]) / np.count_nonzero(label)
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
) -> tuple[Examination | None, list[Problem]]:
    return _attempt(partial(read_case, case, data, scheme), files[0])


def _attempt(read: Callable[[], _T], file: Path) -> tuple[_T | None, list[Problem]]:
    """What `read` gives, or the problem it met. A checker must outlive whatever a file does to its reader."""
    try:
        return read(), []
    except SegcctError as error:
        return None, [Problem.of(error, file=file)]
    except Exception as error:
        return None, [Problem(str(file), "cannot be read", found=f"{type(error).__name__}: {error}")]
