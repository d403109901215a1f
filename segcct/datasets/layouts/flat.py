"""Finding cases that share folders: files are paired by the case id that stands in their names.

Patterns match at any depth below the root. `{id}`, or else the last `*`, of the first channel's pattern gives the
case id; in the other patterns it stands for the same id. Of several matches the nearest in the tree is taken, and none
that is nearer to another case of the same id: first by the folders that both paths begin with, then by those that both
end with, as images/train/1.png and masks/train/1.png do. Ids are compared in composed Unicode.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path

from segcct.config import DataSection
from segcct.datasets.case import Case
from segcct.datasets.folder_tree import FolderTree
from segcct.datasets.layouts.layout import Found
from segcct.datasets.layouts.patterns import ID, compiled, filled, only, split_of, with_id
from segcct.errors import DataError
from segcct.files.file_names import composed, split_name
from segcct.plurals import counted, listed

_Folders = tuple[str, ...]


@dataclass(frozen=True)
class Patterns:
    """The config's patterns as this layout completes them, each with `{id}`."""

    channels: Mapping[str, str]
    label: str | None
    mask: str | None

    @classmethod
    def of(cls, data: DataSection, image: str = "", mask: str = "") -> Patterns:
        """Patterns without a folder are looked for in folders named `image` (channels) or `mask` (the others)."""

        def complete(pattern: str, place: str) -> str:
            return with_id(pattern if "/" in pattern or not place else f"{place}/{pattern}")

        return cls(
            {name: complete(pattern, image) for name, pattern in data.channels.items()},
            None if data.label is None else complete(data.label, mask),
            None if data.intensity.mask is None else complete(data.intensity.mask, mask),
        )

    def all(self) -> tuple[str, ...]:
        """Every pattern once."""
        return tuple(dict.fromkeys(filter(None, (*self.channels.values(), self.label, self.mask))))


def find_flat(
    data: DataSection,
    tree: FolderTree,
    *,
    folders: tuple[str, str] = ("", ""),
    case_id_of: Callable[[str], str] = str,
    suffixes: Sequence[str] = (),
) -> Found:
    """Every case below `data.root` that has a file of the first channel.

    Args:
        data: the config's data section.
        tree: what lies below its root.
        folders: where patterns without a folder are looked for: of channels, of label and mask.
        case_id_of: what is captured from a name -> case id, which is also the patient.
        suffixes: file name endings that count; all when empty.
    """
    return _paired(data, Patterns.of(data, *folders), _with_suffix(tree.files(), suffixes), case_id_of)


def find_loose(data: DataSection, case_id_of: Callable[[str], str] = str, suffixes: Sequence[str] = ()) -> Found:
    """Cases among the files directly in `data.root`, named as the last parts of the patterns say: new scans, which lie
    in no dataset's folders. Nothing where file names alone do not distinguish the channels."""
    patterns = _without_folders(data)
    if patterns is None:
        return Found()
    names = sorted(entry.name for entry in data.root.iterdir() if entry.is_file() and not entry.name.startswith("."))
    return _paired(data, patterns, _with_suffix(names, suffixes), case_id_of)


def id_in(file: Path, pattern: str) -> str | None:
    """The case id that a file name holds by the last part of a pattern; None where it is named otherwise."""
    match = compiled(with_id(pattern).rpartition("/")[2]).match(file.name)
    return match.groupdict().get("id") if match else None


def _with_suffix(names: Sequence[str], suffixes: Sequence[str]) -> list[str]:
    return [name for name in names if not suffixes or name.lower().endswith(tuple(suffixes))]


def _without_folders(data: DataSection) -> Patterns | None:
    """The patterns of file names alone; None where two images would then share one name, or a name would hold no case
    id. A label of such a name is left out: nothing distinguishes it from the image."""
    mask = data.intensity.mask
    bare = {pattern: pattern.rpartition("/")[2] for pattern in filter(None, (*data.channels.values(), mask))}
    if len(set(bare.values())) < len(bare) or not all(map(_names_cases, bare.values())):
        return None
    channels = {name: with_id(bare[pattern]) for name, pattern in data.channels.items()}
    label = "" if data.label is None else data.label.rpartition("/")[2]
    labeled = label not in bare.values() and _names_cases(label)
    return Patterns(channels, with_id(label) if labeled else None, with_id(bare[mask]) if mask else None)


def _names_cases(pattern: str) -> bool:
    return ID in pattern or "*" in pattern


def _paired(data: DataSection, patterns: Patterns, names: Sequence[str], case_id_of: Callable[[str], str]) -> Found:
    """The files of every case among relative paths below `data.root`."""
    index = {pattern: _by_id(pattern, names) for pattern in patterns.all()}
    pattern = next(iter(patterns.channels.values()))
    index[pattern] = _without_others(patterns, index)
    found = Found()
    for key, files in index[pattern].items():
        ends = _ends_below(files)
        nearest = {pattern: _nearest(by_id.get(key, []), ends) for pattern, by_id in index.items()}
        for first in files:
            stored = _stored_id(first, pattern) or key
            case_id = case_id_of(stored)
            found.add(case_id, case_id, partial(_make_case, data.root, stored, case_id, first, patterns, nearest))
    for case_id, error in _without_first(data, patterns, index, case_id_of):
        found.lacks(case_id, case_id, error)
    alone = [names[0] for key, names in index.get(patterns.label or "", {}).items() if key not in index[pattern]]
    if alone:
        found.notices.append(
            DataError(
                f"{counted(len(alone), 'label file')} without an image",
                file=data.root / alone[0],
                found=listed(alone),
                expected=f"a file {pattern} for each",
                remedy="Add the images, or correct data.channels or data.label so that both give the same {id}",
            )
        )
    return found


def _without_others(patterns: Patterns, index: Mapping[str, Mapping[str, list[str]]]) -> dict[str, list[str]]:
    """Case id -> files of the first channel, without those that are another channel, the label, a further label or the
    mask of a case: next to `{id}_mask.png`, `{id}.png` matches `A_mask.png` and `A_mask_1.png` too."""
    pattern, *channels = patterns.channels.values()
    others = {*channels} - {pattern} | {*filter(None, (patterns.label, patterns.mask))}
    cases = index[pattern]
    taken = {name for other in others for key, names in index[other].items() if key in cases for name in names}
    labels = index.get(patterns.label or "", {})
    taken_labels = taken.intersection(chain(*labels.values())).intersection(chain(*cases.values()))
    stems = {split_name(name)[0] for name in taken_labels}
    for key in cases.keys() - labels.keys():
        taken.update(name for name in cases[key] if not stems.isdisjoint(_starts(split_name(name)[0])))
    kept = {key: [name for name in names if name not in taken] for key, names in cases.items()}
    return {key: names for key, names in kept.items() if names}


def _starts(stem: str) -> list[str]:
    """What stands before each separator of a name: `A`, `A_mask` in `A_mask_1`."""
    return [stem[: match.start()] for match in re.finditer(r"[_\-. ]", stem)]


def _without_first(
    data: DataSection,
    patterns: Patterns,
    index: Mapping[str, Mapping[str, list[str]]],
    case_id_of: Callable[[str], str],
) -> Iterator[tuple[str, DataError]]:
    """The id of each case that has another channel but not the first, and its error."""
    (channel, pattern), *others = patterns.channels.items()
    not_others = [pattern, *filter(None, (patterns.label, patterns.mask))]
    taken = {name for one in not_others for names in index[one].values() for name in names}
    # A file of a case, such as sub-01_desc-preproc_T1w.nii.gz, may also match another channel's {id}_T1w.nii.gz.
    taken.update(name for _, other in others for key in index[pattern] for name in index[other].get(key, ()))
    lone: dict[str, str] = {}
    for _, other in others:
        for key, names in index[other].items():
            if key not in index[pattern] and names[0] not in taken:
                lone.setdefault(key, names[0])
    for key, name in lone.items():
        case_id = case_id_of(key)
        yield case_id, _missing(f"channel {channel}", data.root / name, case_id, filled(pattern, key))


def _missing(what: str, file: Path, case_id: str, pattern: str) -> DataError:
    """The error for a case of which `file` is there, and another file is not."""
    return DataError(
        f"{what} is missing",
        file=file,
        found=f"no such file of case {case_id}",
        expected=pattern,
        remedy="Add the file, correct the pattern in the config, or remove the case from the dataset",
    )


def _by_id(pattern: str, names: Sequence[str]) -> dict[str, list[str]]:
    """Case id in composed Unicode -> files whose name has it where the pattern says."""
    files: dict[str, list[str]] = {}
    for name in names:
        if case_id := _stored_id(name, pattern):
            files.setdefault(composed(case_id), []).append(name)
    return files


def _stored_id(name: str, pattern: str) -> str | None:
    """The case id in a relative path; None where the pattern does not match."""
    match = compiled(pattern, anywhere=True).match(name)
    return match["id"] if match else None


def _make_case(
    root: Path,
    stored: str,
    case_id: str,
    first: str,
    patterns: Patterns,
    nearest: Mapping[str, Mapping[str, Sequence[str]]],
) -> Case:
    """The case of one file of the first channel, whose name holds the id as `stored`. `nearest`: pattern -> as
    `_nearest`."""

    def matches(pattern: str) -> list[Path]:
        files = nearest[pattern].get(first, [])
        alike = [name for name in files if stored in name]  # in the same Unicode spelling
        return [root / name for name in alike or files]

    def one(what: str, pattern: str) -> tuple[Path, ...]:
        files = matches(pattern)
        if not files:
            raise _missing(what, root / first, case_id, filled(pattern, stored))
        return (only(files, what, filled(pattern, stored), root / first),)

    channels = {name: one(f"channel {name}", pattern) for name, pattern in patterns.channels.items()}
    label = one("label", patterns.label) if patterns.label and matches(patterns.label) else None
    mask = one("intensity mask", patterns.mask) if patterns.mask else None
    return Case(case_id, case_id, channels, label, mask, split_of(first))


def _ends_below(firsts: Sequence[str]) -> dict[_Folders, dict[_Folders, list[str]]]:
    """Each start of the relative paths -> each end of the folders of those that begin with it -> these paths."""
    ends: dict[_Folders, dict[_Folders, list[str]]] = {}
    for first in firsts:
        parts = tuple(first.split("/"))
        for length in range(len(parts) + 1):
            below = ends.setdefault(parts[:length], {})
            for start in range(len(parts)):
                below.setdefault(parts[start:-1], []).append(first)
    return ends


def _nearest(names: Sequence[str], ends: Mapping[_Folders, Mapping[_Folders, Sequence[str]]]) -> dict[str, list[str]]:
    """Each file of the first channel -> the nearest of the names, without those that are nearer to another such file.

    Every pair of files is not looked at: where names such as 001.png recur for each patient, these are many.
    """
    near: dict[str, tuple[tuple[int, int], list[str]]] = {}
    for name in names:
        parts = tuple(name.split("/"))
        length = next(length for length in range(len(parts), -1, -1) if parts[:length] in ends)
        below = ends[parts[:length]]
        start = next(start for start in range(len(parts)) if parts[start:-1] in below)
        here = (length, len(parts) - 1 - start)
        for first in below[parts[start:-1]]:
            most, files = near.setdefault(first, (here, []))
            if here > most:
                near[first] = here, [name]
            elif here == most:
                files.append(name)
    return {first: files for first, (_, files) in near.items()}
