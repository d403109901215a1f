"""The splits of the runs whose models predict: which cases they have seen, and which are to be predicted."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from segcct.datasets.split_record import Splits
from segcct.errors import RunError, SplitError
from segcct.files.file_names import spelled_as
from segcct.plurals import counted
from segcct.progress import say


def read_splits(files: Sequence[Path], needed: str | None) -> dict[Path, Splits]:
    """File -> the splits in it, which say what cases the model of that run has seen.

    Where a split is `needed` (train, val or test), raises `RunError` for a missing file and `SplitError` for a damaged
    one; otherwise such files are left out, with a warning.
    """
    splits: dict[Path, Splits] = {}
    for file in files:
        if not file.is_file():
            if needed:
                raise RunError(
                    f"split {needed} is not known without the run's splits.json",
                    file=file,
                    remedy="Keep best/ in its run folder, or leave --split out",
                )
            say(f"{file}: no such file, so cases that the model was trained on are not marked as such")
            continue
        try:
            splits[file] = Splits.load(file)
        except SplitError as error:
            if needed:
                raise
            say(f"{error}. Cases that the model was trained on are not marked as such")
    return splits


def ids_of_split(
    splits: Mapping[Path, Splits], split: str, found: Collection[str], *, source: Path, noun: str
) -> tuple[str, ...]:
    """The ids of one split of the runs, all of which are to be predicted, spelled as below `source`.

    Args:
        splits: file -> splits of a run; at least one.
        split: train, val or test.
        found: the ids below `source`.
        source: the input, for messages.
        noun: what an id names: case or image.

    Raises:
        SplitError: the runs differ in that split, it is empty, or some of its ids are not below `source`.
    """
    file, ids = next((file, getattr(each, split)) for file, each in splits.items())
    for other, each in splits.items():
        if getattr(each, split) != ids:
            raise SplitError(
                f"the runs have different {split} splits",
                file=other,
                found=f"not those of {file}",
                remedy="Predict with one of the models, or leave --split out",
            )
    if not ids:
        remedy = "Predict with --split val, or cross-validate" if split == "test" else None
        raise SplitError(f"split {split} is empty", file=file, remedy=remedy)
    spelled = spelled_as(ids, found)
    missing = [name for name in ids if spelled[name] not in found]
    if missing:
        problem = f"{counted(len(missing), noun)} of split {split} cannot be found"
        raise SplitError(problem, file=source, found=f"no {', '.join(missing[:5])}")
    return tuple(spelled.values())
