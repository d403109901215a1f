"""Which steps of postprocessing raise the Dice of cases that a model was not trained on.

Per class: holes filled or not, then all components, the largest one, or those from a volume on. A mask is described by
its components' sizes and overlaps with the reference, from which the Dice of every choice follows. What was chosen for
each class alone is then done to the masks together, since a hole that one class fills is no longer one for another.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from segcct.datasets.case import Case
from segcct.datasets.layouts import read_case
from segcct.errors import DataError
from segcct.inference.postprocessing import postprocess
from segcct.inference.predictor import Predictor
from segcct.inference.unseen_cases import UnseenCases
from segcct.metrics.overlap import class_dice
from segcct.metrics.paired_statistics import Paired, paired
from segcct.model_card import PostprocessingStep

FRACTIONS = (0.01, 0.03, 0.1, 0.3)
"""Volumes of minimum_volume that are tried, as fractions of the median volume of the class in the references."""


@dataclass(frozen=True)
class Choice:
    """What may be done to a class."""

    fill: bool = False
    largest: bool = False
    ml: float | None = None


@dataclass(frozen=True)
class Components:
    """A class of a predicted mask."""

    sizes: np.ndarray
    """(n,) voxels of each component."""
    overlaps: np.ndarray
    """(n,) those of them that are in the reference."""
    reference: int
    """Voxels of the reference."""
    voxel_ml: float | None

    @classmethod
    def of(cls, mask: np.ndarray, reference: np.ndarray, voxel_ml: float | None) -> Components:
        """(X, Y, Z) bool both."""
        from scipy import ndimage

        numbers, count = ndimage.label(mask)
        sizes = np.bincount(numbers.ravel(), minlength=count + 1)[1:]
        overlaps = np.bincount(numbers[reference], minlength=count + 1)[1:]
        return cls(sizes, overlaps, int(reference.sum()), voxel_ml)

    def dice(self, choice: Choice) -> float:
        """Dice of the components that stay; 1 where neither mask nor reference has any."""
        kept = np.ones(len(self.sizes), dtype=bool)
        if choice.largest and len(self.sizes):
            kept = np.arange(len(self.sizes)) == self.sizes.argmax()
        elif choice.ml is not None and self.voxel_ml is not None:
            kept = self.sizes * self.voxel_ml >= choice.ml
        total = int(self.sizes[kept].sum()) + self.reference
        return float(2 * self.overlaps[kept].sum() / total) if total else 1.0


@dataclass(frozen=True)
class MeasuredClass:
    """One class of one case."""

    name: str
    patient: str
    plain: Components
    filled: Components

    def dice(self, choice: Choice) -> float:
        """The Dice of the mask after a choice."""
        return (self.filled if choice.fill else self.plain).dice(choice)


@dataclass(frozen=True)
class MeasuredCase:
    """Every class of a case, and the whole masks."""

    patient: str
    classes: tuple[MeasuredClass, ...]
    masks: bytes
    """(2, X, Y, Z) uint8, compressed: class indices as predicted, and of the reference."""
    shape: tuple[int, ...]
    """(X, Y, Z)."""
    voxel_ml: float | None

    def dice(self, steps: Sequence[PostprocessingStep]) -> float:
        """Mean over the classes of the Dice of the mask after some steps; 1 for a class that neither has."""
        predicted, reference = np.frombuffer(zlib.decompress(self.masks), dtype=np.uint8).reshape(2, *self.shape)
        names = tuple(each.name for each in self.classes)
        done = postprocess(predicted.copy(), steps, names, self.voxel_ml)
        scores = class_dice(done, reference, names).values()
        return float(np.mean([1.0 if np.isnan(score) else score for score in scores]))


@dataclass(frozen=True)
class Effect:
    """Masks with some steps compared with those without, on the same cases."""

    before: float
    """Mean Dice."""
    after: float
    difference: Paired

    @classmethod
    def of(cls, before: Sequence[float], after: Sequence[float], patients: Sequence[str]) -> Self:
        """From the Dice of every case."""
        return cls(float(np.mean(before)), float(np.mean(after)), paired(after, before, patients))


@dataclass(frozen=True)
class Tried:
    """The best choice for a class."""

    name: str
    choice: Choice
    effect: Effect

    @property
    def helps(self) -> bool:
        """The mean Dice rises; and no case gets worse, or the 95% interval of the difference does not go below 0."""
        low = self.effect.difference["ci95"][0]
        safe = self.effect.difference["losses"] == 0 or (low is not None and low >= 0)
        return safe and self.effect.after > self.effect.before


def measure(unseen: UnseenCases, case: Case) -> MeasuredCase:
    """Every class of one of the cases as the model predicts it. Raises `DataError` for a case without a label."""
    if case.label is None:
        raise DataError("a validation case has no reference", file=case.files()[0], found=case.id)
    given = unseen.predictor
    plain = Predictor(given.network, given.card, replace(given.how, postprocessing=False))
    segmented = plain.segment(read_case(case, unseen.data, plain.scheme))
    reference, voxel_ml = np.asarray(segmented.prepared.full_label), segmented.grid.voxel_ml
    names = tuple(plain.scheme.classes)
    measured = []
    for value, name in enumerate(names, start=1):
        fill = [PostprocessingStep(step="fill_holes", classes=(name,))]
        filled = postprocess(segmented.full.copy(), fill, names, voxel_ml)
        parts = (Components.of(mask == value, reference == value, voxel_ml) for mask in (segmented.full, filled))
        measured.append(MeasuredClass(name, case.patient, *parts))
    masks = zlib.compress(np.stack([segmented.full, reference]).tobytes(), level=1)
    return MeasuredCase(case.patient, tuple(measured), masks, segmented.full.shape, voxel_ml)


def try_all(measured: Sequence[MeasuredClass], classes: Sequence[str]) -> list[Tried]:
    """The best choice of every class that was measured."""
    tried = []
    for name in classes:
        own = [each for each in measured if each.name == name]
        patients = [each.patient for each in own]
        plain = [each.dice(Choice()) for each in own]
        rows = [(choice, [each.dice(choice) for each in own]) for choice in _choices(own)]
        choice, best = max(rows, key=lambda row: float(np.mean(row[1])))  # the first, simplest one of equals
        tried.append(Tried(name, choice, Effect.of(plain, best, patients)))
    return tried


def try_together(cases: Sequence[MeasuredCase], steps: Sequence[PostprocessingStep]) -> Effect:
    """What some steps do to all classes of the cases."""
    before, after = ([case.dice(chosen) for case in cases] for chosen in ((), steps))
    return Effect.of(before, after, [case.patient for case in cases])


def _choices(own: Sequence[MeasuredClass]) -> list[Choice]:
    volumes = [each.plain.reference * each.plain.voxel_ml for each in own if each.plain.voxel_ml is not None]
    present = [volume for volume in volumes if volume > 0]
    median = float(np.median(present)) if present else None
    sizes = [] if median is None else [float(f"{fraction * median:.2g}") for fraction in FRACTIONS]
    kinds = [Choice(), Choice(largest=True), *(Choice(ml=ml) for ml in sizes if ml > 0)]
    return [replace(kind, fill=fill) for fill in (False, True) for kind in kinds]


def steps_for(tried: Sequence[Tried]) -> tuple[PostprocessingStep, ...]:
    """The steps of the choices that help, for model.json."""
    chosen = [each for each in tried if each.helps]
    filled = tuple(each.name for each in chosen if each.choice.fill)
    largest = tuple(each.name for each in chosen if each.choice.largest)
    steps = [PostprocessingStep(step="fill_holes", classes=filled)] if filled else []
    steps += [PostprocessingStep(step="largest_component", classes=largest)] if largest else []
    steps += [
        PostprocessingStep(step="minimum_volume", classes=(each.name,), ml=each.choice.ml)
        for each in chosen
        if each.choice.ml is not None
    ]
    return tuple(steps)
