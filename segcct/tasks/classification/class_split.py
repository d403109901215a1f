"""Train, validation and test images: drawn class by class, copies and images of one patient kept together.

The order of a draw is a hash of (seed, image), so it depends on nothing else: an image added later leaves the order of
the others as it was.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from segcct.config import ImagesSection, SplitSection
from segcct.datasets.case import Case
from segcct.datasets.split_drawing import amount_of, fold_of, patients_in_order, splits_of
from segcct.datasets.split_lists import read_lists
from segcct.datasets.split_names import SPLIT_NAMES
from segcct.datasets.split_record import Splits
from segcct.errors import SplitError
from segcct.files.file_names import composed
from segcct.plurals import counted, listed
from segcct.tasks.classification.labeled_images import LabeledImages


def make_class_splits(images: LabeledImages, data: ImagesSection) -> Splits:
    """The split that `data.split` and `data.fold` ask for.

    An image that the dataset itself puts into another split than its copy is left out: the copy that tests (or else
    validates) stays. `left_out` names them.

    Raises:
        SplitError: a split is empty or lacks a class, or a list cannot be read, names unknown images, puts copies into
            two splits, or trains or selects on the dataset's own test images.
    """
    section = data.split
    ids = _listed(images, section, data.fold) if section.kind == "lists" else _drawn(images, section, data.fold)
    sizes = Counter(images.groups)
    groups = {name: group for name, group in zip(images.ids, images.groups, strict=True) if sizes[group] > 1}
    try:
        splits = splits_of(ids, section, data.fold, groups)
    except SplitError as error:
        problem = "copies, or images of one patient, are in two splits"
        raise SplitError(problem, found=error.found, remedy="Keep them in one split") from None
    _refuse_unusable(splits, images, section)
    return splits


def left_out(images: LabeledImages) -> list[str]:
    """Images left out of their split because a copy, or another image of the patient, is in one that has priority."""
    split_of = _dataset_splits(images)
    return [
        name
        for name, split, group in zip(images.ids, images.splits, images.groups, strict=True)
        if split not in (None, split_of[group])
    ]


def describe_class_splits(images: LabeledImages, splits: Splits) -> str:
    """`train 44,000, val 1,000, test 5,000 images of 10 classes`, with notes on copies, on splits of the dataset's own,
    on what was left out and on files that were not read."""
    sizes = ", ".join(f"{split} {len(getattr(splits, split)):,}" for split in SPLIT_NAMES)
    together = len(images.ids) - len(set(images.groups))
    notes = [f"{together:,} are copies, or of one patient, and stay in the split of the others"] if together else []
    fixed = [split for split in ("val", "test") if split in images.splits] if splits.kind == "fractions" else []
    if fixed:
        notes.append(f"{' and '.join(fixed)} as the dataset itself has it, whatever data.split says")
    out = [] if splits.kind == "lists" else left_out(images)
    notes += [f"{len(out):,} left out, such as {out[0]}: copies of images that test or validate"] if out else []
    if images.others:
        notes.append(f"{counted(len(images.others), 'other file', comma=True)} not read, such as {images.others[0]}")
    return f"{sizes} images of {len(images.classes)} classes" + (f" ({'; '.join(notes)})" if notes else "")


def _dataset_splits(images: LabeledImages) -> dict[str, str | None]:
    """Group -> the split the dataset puts it into; of several, test has priority over val, and val over train."""
    splits: dict[str, set[str | None]] = {}
    for group, split in zip(images.groups, images.splits, strict=True):
        splits.setdefault(group, set()).add(split)
    return {
        group: next((name for name in ("test", "val", "train") if name in of), None) for group, of in splits.items()
    }


def _drawn(images: LabeledImages, section: SplitSection, fold: int) -> dict[str, list[str]]:
    dataset_split = _dataset_splits(images)
    fixed = ("test",) if section.kind == "kfold" else ("test", "val")
    split_of = {group: split for group, split in dataset_split.items() if split is not None and split in fixed}
    pool = _by_class(images, [group for group in dataset_split if group not in split_of], section.seed)
    total = sum(len(groups) for groups in pool)
    if section.kind == "crossval":
        split_of = {group: "none" if split == "test" else split for group, split in split_of.items()}
        split_of |= dict.fromkeys(_fold(pool, fold, section), "test")
    elif "test" not in split_of.values():
        split_of |= dict.fromkeys(_first(pool, section.test, total), "test")
    rest = [[group for group in groups if group not in split_of] for groups in pool]
    if section.kind == "kfold":
        split_of |= dict.fromkeys(_fold(rest, fold, section), "val")
    elif "val" not in split_of.values():
        split_of |= dict.fromkeys(_first(rest, section.val, total), "val")
    ids: dict[str, list[str]] = {split: [] for split in (*SPLIT_NAMES, "none")}
    for name, split, group in zip(images.ids, images.splits, images.groups, strict=True):
        if split in (None, dataset_split[group]):
            ids[split_of.get(group, "train")].append(name)
    return ids


def _by_class(images: LabeledImages, groups: Sequence[str], seed: int) -> list[list[str]]:
    """Groups of each class in an order drawn by `seed`; a group is of its first image's class."""
    label = dict(zip(reversed(images.groups), reversed(images.labels.tolist()), strict=True))
    by_class: list[list[str]] = [[] for _ in images.classes]
    for group in groups:
        by_class[label[group]].append(group)
    return [patients_in_order(each, seed) for each in by_class]


def _first(pool: Sequence[Sequence[str]], amount: float, total: int) -> list[str]:
    """The first groups of every class: `amount` of `total`, in the classes' proportions."""
    sizes = np.array([len(groups) for groups in pool], dtype=float)
    wanted = int(min(amount_of(amount, total), sizes.sum()))
    exact = sizes * (wanted / max(sizes.sum(), 1.0))
    counts = np.floor(exact).astype(int)
    counts[np.argsort(counts - exact, kind="stable")[: wanted - int(counts.sum())]] += 1  # the largest remainders
    return [group for groups, count in zip(pool, counts, strict=True) for group in groups[:count]]


def _fold(pool: Sequence[Sequence[str]], fold: int, section: SplitSection) -> set[str]:
    """Groups of one fold, drawn class after class."""
    return fold_of([group for groups in pool for group in groups], fold, section.folds, "independent image")


def _listed(images: LabeledImages, section: SplitSection, fold: int) -> dict[str, list[str]]:
    dataset_split, group_of = _dataset_splits(images), dict(zip(images.ids, images.groups, strict=True))
    cases = [
        Case(name, group, {"image": (Path(name),)}, split=dataset_split[group]) for name, group in group_of.items()
    ]
    ids = {split: sorted(names, key=composed) for split, names in read_lists(cases, section, "image").items()}
    if section.val_list is None:
        groups = list(dict.fromkeys(group_of[name] for name in ids["train"]))
        validating = _fold(_by_class(images, groups, section.seed), fold, section)
        ids["val"] = [name for name in ids["train"] if group_of[name] in validating]
        ids["train"] = [name for name in ids["train"] if group_of[name] not in validating]
    return ids


def _refuse_unusable(splits: Splits, images: LabeledImages, section: SplitSection) -> None:
    label = dict(zip(images.ids, images.labels.tolist(), strict=True))
    for split in ("train", "val"):
        labels = {label[name] for name in getattr(splits, split)}
        missing = [name for number, name in enumerate(images.classes) if number not in labels]
        if not labels or (missing and split == "train"):
            independent = f"{counted(len(set(images.groups)), 'image')} without copies of others"
            raise SplitError(
                "classes have no training image" if labels else f"the {split} split is empty",
                found=listed(missing) if labels else independent,
                expected="at least one image of every class in train, and some in val",
                remedy="Change the lists" if section.kind == "lists" else "Change data.split, or add images",
            )
