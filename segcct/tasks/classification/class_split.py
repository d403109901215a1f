"""Who trains, who selects, who is tested: drawn class by class, copies and patients kept together.

The order of a draw is a hash of (seed, picture), so it depends on nothing else: a picture added later leaves the order
of the others as it was.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from segcct.config import PicturesSection, SplitSection
from segcct.datasets.case import Case
from segcct.datasets.split_lists import shown
from segcct.datasets.splits import SPLIT_NAMES, Splits, patients_in_order, read_lists, splits_of
from segcct.errors import SplitError
from segcct.plurals import counted
from segcct.tasks.classification.labeled_images import Collection


def make_class_splits(collection: Collection, data: PicturesSection) -> Splits:
    """The split that `data.split` and `data.fold` ask for.

    A picture that the dataset itself puts on another side than its copy stays out of the split: the copy that tests
    (or else validates) is kept. `left_out` names them.

    Raises:
        SplitError: a side is empty or lacks a class, or a list cannot be read, names unknown pictures, puts copies
            on two sides, or trains or selects on the dataset's own test side.
    """
    section = data.split
    sides = (
        _listed(collection, section, data.fold) if section.kind == "lists" else _drawn(collection, section, data.fold)
    )
    try:
        splits = splits_of(sides, section, data.fold, _shared_groups(collection))
    except SplitError as error:
        together = "copies, or pictures of one patient, are on two sides"
        raise SplitError(together, found=error.found, remedy="Keep them on one side") from None
    _refuse_unusable(splits, collection, section)
    return splits


def left_out(collection: Collection) -> list[str]:
    """Pictures kept off their side, for a copy (or another picture of the patient) is on one that goes before."""
    given = _given_sides(collection)
    return [
        name
        for name, own, group in zip(collection.ids, collection.sides, collection.groups, strict=True)
        if own not in (None, given[group])
    ]


def describe_class_splits(collection: Collection, splits: Splits) -> str:
    """`train 44,000, val 1,000, test 5,000 pictures of 10 classes`, with what was left out and whose sides."""
    sides = ", ".join(f"{side} {len(getattr(splits, side)):,}" for side in SPLIT_NAMES)
    together = len(collection.ids) - len(set(collection.groups))
    notes = [f"{together:,} are copies, or of one patient, and stay with the others"] if together else []
    own = [side for side in ("val", "test") if side in collection.sides] if splits.kind == "fractions" else []
    if own:
        notes.append(f"{' and '.join(own)} as the dataset itself has it, whatever data.split says")
    out = [] if splits.kind == "lists" else left_out(collection)
    notes += [f"{len(out):,} left out, such as {out[0]}: copies of pictures that test or validate"] if out else []
    return f"{sides} pictures of {len(collection.classes)} classes" + (f" ({'; '.join(notes)})" if notes else "")


def _shared_groups(collection: Collection) -> dict[str, str]:
    """Picture -> its group, where the group has several; a picture alone is its own."""
    sizes = Counter(collection.groups)
    return {name: group for name, group in zip(collection.ids, collection.groups, strict=True) if sizes[group] > 1}


def _given_sides(collection: Collection) -> dict[str, str | None]:
    """Group -> the side the dataset puts it on; test goes before val, val before train, for groups on several."""
    found: dict[str, set[str | None]] = {}
    for group, side in zip(collection.groups, collection.sides, strict=True):
        found.setdefault(group, set()).add(side)
    return {group: next((side for side in ("test", "val", "train") if side in on), None) for group, on in found.items()}


def _drawn(collection: Collection, section: SplitSection, fold: int) -> dict[str, list[str]]:
    given = _given_sides(collection)
    kept = ("test",) if section.kind == "kfold" else ("test", "val")
    side_of = {group: side for group, side in given.items() if side is not None and side in kept}
    pool = _by_class(collection, [group for group in given if group not in side_of], section.seed)
    everyone = sum(len(own) for own in pool)
    if section.kind == "crossval":
        side_of = {group: "none" if side == "test" else side for group, side in side_of.items()}
        side_of |= dict.fromkeys(_fold(pool, fold, section), "test")
    elif "test" not in side_of.values():
        side_of |= dict.fromkeys(_first(pool, section.test, everyone), "test")
    rest = [[group for group in own if group not in side_of] for own in pool]
    if section.kind == "kfold":
        side_of |= dict.fromkeys(_fold(rest, fold, section), "val")
    elif "val" not in side_of.values():
        side_of |= dict.fromkeys(_first(rest, section.val, everyone), "val")
    sides: dict[str, list[str]] = {side: [] for side in (*SPLIT_NAMES, "none")}
    for name, own, group in zip(collection.ids, collection.sides, collection.groups, strict=True):
        if own in (None, given[group]):
            sides[side_of.get(group, "train")].append(name)
    return sides


def _by_class(collection: Collection, groups: Sequence[str], seed: int) -> list[list[str]]:
    """Groups of each class in an order drawn by `seed`; a group is of its first picture's class."""
    label = dict(zip(reversed(collection.groups), reversed(collection.labels.tolist()), strict=True))
    own: list[list[str]] = [[] for _ in collection.classes]
    for group in groups:
        own[label[group]].append(group)
    return [patients_in_order(each, seed) for each in own]


def _first(pool: Sequence[Sequence[str]], amount: float, everyone: int) -> list[str]:
    """The first groups of every class: a share of `everyone`, or a number, in the classes' proportions."""
    sizes = np.array([len(own) for own in pool], dtype=float)
    total = int(min(round(amount * everyone if amount < 1 else amount), sizes.sum()))
    exact = sizes * (total / max(sizes.sum(), 1.0))
    counts = np.floor(exact).astype(int)
    counts[np.argsort(counts - exact, kind="stable")[: total - int(counts.sum())]] += 1  # the largest remainders
    return [group for own, count in zip(pool, counts, strict=True) for group in own[:count]]


def _fold(pool: Sequence[Sequence[str]], fold: int, section: SplitSection) -> list[str]:
    """Groups of one fold, class after class."""
    return [group for own in pool for group in own][fold :: section.folds]


def _listed(collection: Collection, section: SplitSection, fold: int) -> dict[str, list[str]]:
    given, group_of = _given_sides(collection), dict(zip(collection.ids, collection.groups, strict=True))
    cases = [
        Case(name, group_of[name], {"picture": (Path(name),)}, split=given[group_of[name]]) for name in collection.ids
    ]
    sides = {side: sorted(names) for side, names in read_lists(cases, section, "picture").items()}
    if section.val_list is None:
        groups = list(dict.fromkeys(group_of[name] for name in sides["train"]))
        validating = set(_fold(_by_class(collection, groups, section.seed), fold, section))
        sides["val"] = [name for name in sides["train"] if group_of[name] in validating]
        sides["train"] = [name for name in sides["train"] if group_of[name] not in validating]
    return sides


def _refuse_unusable(splits: Splits, collection: Collection, section: SplitSection) -> None:
    label = dict(zip(collection.ids, collection.labels.tolist(), strict=True))
    for side in ("train", "val"):
        held = {label[name] for name in getattr(splits, side)}
        lacking = [name for number, name in enumerate(collection.classes) if number not in held]
        if not held or (lacking and side == "train"):
            raise SplitError(
                f"the {side} split is empty" if not held else "classes have no training picture",
                found=f"{counted(len(set(collection.groups)), 'picture')} without copies of others"
                if not held
                else shown(lacking),
                expected="at least one picture of every class in train, and some in val",
                remedy="Change data.split, or add pictures" if section.kind != "lists" else "Change the lists",
            )
