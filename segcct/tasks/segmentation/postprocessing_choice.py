"""Which steps of postprocessing raise the Dice of cases that a model was not trained on.

Per class: holes filled or not, then all components, the largest one, or those from a volume on. A mask is described by
its components' sizes and overlaps with the reference, from which the Dice of every choice follows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from segcct.datasets.case import Case
from segcct.datasets.layouts import read_case
from segcct.errors import DataError
from segcct.inference.postprocessing import postprocess
from segcct.inference.predictor import Predictor
from segcct.metrics.paired_statistics import Paired, paired
from segcct.model_card import PostprocessingStep
from segcct.quality.calibration_run import Fold

FRACTIONS = (0.01, 0.03, 0.1, 0.3)
"""Volumes of minimum_volume that are tried, as fractions of the median volume of the class in the references."""


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


@dataclass(frozen=True)
class Choice:
    """What may be done to a class."""

    fill: bool = False
    largest: bool = False
    ml: float | None = None

    def dice(self, measured: MeasuredClass) -> float:
        """The Dice of a mask after it."""
        return (measured.filled if self.fill else measured.plain).dice(self)


@dataclass(frozen=True)
class Tried:
    """The best choice for a class, compared with none on the same cases."""

    name: str
    choice: Choice
    before: float
    after: float
    difference: Paired

    @property
    def helps(self) -> bool:
        """The mean Dice rises; and no case gets worse, or the 95% interval of the difference does not go below 0."""
        low = self.difference["ci95"][0]
        safe = self.difference["losses"] == 0 or (low is not None and low >= 0)
        return safe and self.after > self.before


def measure(fold: Fold, case: Case) -> list[MeasuredClass]:
    """Every class of a labeled case as the fold's model predicts it. Raises `DataError` for a case without a label."""
    if case.label is None:
        raise DataError("a validation case has no reference", file=case.files()[0], found=case.id)
    plain = Predictor(fold.predictor.network, fold.predictor.card, replace(fold.predictor.how, postprocessing=False))
    segmented = plain.segment(read_case(case, fold.data, plain.scheme))
    reference, voxel_ml = np.asarray(segmented.prepared.full_label), segmented.grid.voxel_ml
    names = tuple(plain.scheme.classes)
    measured = []
    for value, name in enumerate(names, start=1):
        fill = [PostprocessingStep(step="fill_holes", classes=(name,))]
        filled = postprocess(segmented.full.copy(), fill, names, voxel_ml)
        parts = (Components.of(mask == value, reference == value, voxel_ml) for mask in (segmented.full, filled))
        measured.append(MeasuredClass(name, case.patient, *parts))
    return measured


def try_all(measured: Sequence[MeasuredClass], classes: Sequence[str]) -> list[Tried]:
    """The best choice of every class that was measured."""
    tried = []
    for name in classes:
        own = [each for each in measured if each.name == name]
        patients = [each.patient for each in own]
        plain = [Choice().dice(each) for each in own]
        rows = [(choice, [choice.dice(each) for each in own]) for choice in _choices(own)]
        choice, best = max(rows, key=lambda row: float(np.mean(row[1])))  # the first, simplest one of equals
        means = float(np.mean(plain)), float(np.mean(best))
        tried.append(Tried(name, choice, *means, paired(best, plain, patients)))
    return tried


def _choices(own: Sequence[MeasuredClass]) -> list[Choice]:
    volumes = [each.plain.reference * each.plain.voxel_ml for each in own if each.plain.voxel_ml is not None]
    there = [volume for volume in volumes if volume > 0]
    median = float(np.median(there)) if there else None
    sizes = [] if median is None else [float(f"{fraction * median:.2g}") for fraction in FRACTIONS]
    kinds = [Choice(), Choice(largest=True), *(Choice(ml=ml) for ml in sizes if ml > 0)]
    return [replace(kind, fill=fill) for fill in (False, True) for kind in kinds]


def steps_of(tried: Sequence[Tried]) -> tuple[PostprocessingStep, ...]:
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


def table_of(tried: Sequence[Tried]) -> str:
    """What was found, as Markdown."""
    lines = ["| class | best choice | Dice without | Dice with | difference [95% interval] | better, worse | |"]
    lines.append("|---|---|---|---|---|---|---|")
    for each in tried:
        steps = ", ".join(str(step).partition(":")[0] for step in steps_of([each])) if each.helps else _words(each)
        found = each.difference
        low, high = ("not defined" if end is None else f"{end:+.4f}" for end in found["ci95"])
        lines.append(
            f"| {each.name} | {steps} | {each.before:.4f} | {each.after:.4f} | {each.after - each.before:+.4f} "
            f"[{low}, {high}] | {found['wins']}, {found['losses']} | {'chosen' if each.helps else 'left out'} |"
        )
    return "\n".join(lines)


def _words(tried: Tried) -> str:
    choice = tried.choice
    parts = ["fill_holes"] * choice.fill + ["largest_component"] * choice.largest
    parts += [] if choice.ml is None else [f"minimum_volume of {choice.ml:g} ml"]
    return ", ".join(parts) or "none"
