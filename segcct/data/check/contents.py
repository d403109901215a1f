"""The part of the check that reads every voxel: values, emptiness, intensities, copies."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from segcct.config import DataSection
from segcct.data.case import Case, Examination
from segcct.data.check.copies import Copies
from segcct.data.check.problem import Problem
from segcct.data.intensity import to_unit
from segcct.data.labels import Scheme
from segcct.data.layouts import read_case
from segcct.data.splits import Splits
from segcct.errors import SegcctError

_T = TypeVar("_T")
_OUTSIDE_MASK = 0.01
"""Share of the labelled voxels outside the intensity mask that is worth a notice; a few at its rim are usual."""


class ContentCheck:
    """Reads case after case and remembers what only shows over all of them. One case is in memory at a time."""

    def __init__(self, data: DataSection, scheme: Scheme) -> None:
        self._data = data
        self._scheme = scheme
        self._copies = Copies()
        self._present: set[int] = set()
        self._labels = 0

    def read(self, case: Case) -> list[Problem]:
        """Every problem in the voxels of one case, whatever of it can be read."""
        whole, trouble = _read(case, self._data, self._scheme, case.files())
        if whole is None:
            return self._read_apart(case) or trouble  # trouble: the parts are sound, but do not fit each other
        return [*self._image(whole, self._data, judge=True), *self._label(whole)]

    def over_all_cases(self, splits: Splits | None) -> list[Problem]:
        """What several cases show together: copies of one image, and classes that no label holds."""
        problems = self._copies.problems(splits)
        absent = [name for name, value in self._scheme.classes.items() if value not in self._present]
        if self._labels and absent:
            problems.append(
                Problem(
                    str(self._data.root),
                    "classes of the scheme are in no label",
                    found=", ".join(absent),
                    expected=f"each class of scheme {self._scheme.name} in some case",
                    remedy="Check data.scheme and data.label_map, or take no notice when the data is a part of a set",
                    severity="notice",
                )
            )
        return problems

    def _read_apart(self, case: Case) -> list[Problem]:
        """Each channel, the label and the mask on their own, where the case as a whole cannot be read."""
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
            self._copies.add(case, name, files, voxels)

    def _label(self, examination: Examination) -> Iterator[Problem]:
        label, files = examination.label, examination.case.label
        if label is None or files is None:
            return
        self._labels += 1
        self._present |= {int(value) for value in np.unique(label)}
        if len(files) > 1:
            empty = [str(file) for index, file in enumerate(files) if not label[:, :, index].any()]
            for file in empty if len(empty) < len(files) else []:
                yield Problem(file, "a slice without foreground", severity="notice")
        if not label.any():
            yield Problem(
                str(files[0]),
                "the label is empty",
                found="background only",
                remedy="Take no notice if nothing is to be seen in this case",
                severity="notice",
            )
        elif examination.mask is not None:
            outside = np.count_nonzero(label[~examination.mask]) / np.count_nonzero(label)
            if outside > _OUTSIDE_MASK:
                yield Problem(
                    str(files[0]),
                    "labelled voxels lie outside the intensity mask",
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
