"""Case ids beyond the layouts' own rules: `data.case_id: path`, and what to do where two cases have one id."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from segcct.config import DataSection
from segcct.config.layout_table import LAYOUTS
from segcct.datasets.case import Case
from segcct.errors import DataError
from segcct.files.file_names import composed
from segcct.plurals import listed


def with_ids(cases: Sequence[Case], data: DataSection) -> list[Case]:
    """The cases with the ids that `data.case_id` asks for. A case that is its own patient remains so."""
    return [_renamed(case, _by_path(case, data)) for case in cases] if data.case_id == "path" else list(cases)


def clashes(cases: Sequence[Case], data: DataSection) -> list[DataError]:
    """An error for each id that several cases share, which says how to make their ids unique. Ids that differ in their
    Unicode spelling alone are one: no one can tell them apart, nor can macOS."""
    by_id: dict[str, list[Case]] = {}
    for case in cases:
        by_id.setdefault(composed(case.id), []).append(case)
    repeated = {case_id: group for case_id, group in by_id.items() if len(group) > 1}
    remedy = _remedy(cases, data) if repeated else ""
    return [
        DataError(
            "several cases have one id",
            file=data.root,
            found=f"{case_id} in {listed([_below_root(case, data) for case in group])}"
            + (", spelled differently in Unicode" if len({case.id for case in group}) > 1 else ""),
            expected="one case per id",
            remedy=remedy,
        )
        for case_id, group in sorted(repeated.items())
    ]


def _remedy(cases: Sequence[Case], data: DataSection) -> str:
    others = "rename them, narrow data.root, or make the pattern of the first channel more specific"
    times = Counter(composed(case.id) for case in cases)
    if data.case_id == "path" or len({composed(_by_path(case, data)) for case in cases}) < len(cases):
        return others[0].upper() + others[1:]
    example = next(new for case in cases if times[composed(case.id)] > 1 and (new := _by_path(case, data)) != case.id)
    return (
        f"Set data.case_id: path, which makes one of them {example} (a patient of its own, unless data.patient says "
        f"otherwise); or {others}"
    )


def _by_path(case: Case, data: DataSection) -> str:
    """The folders between the root and the case in front of its id: siteA/001/img.nii.gz is `siteA_001`.

    Folders that the first channel's pattern names do not count, nor does one that the id repeats. What `*` stands for
    counts where files are paired by their names: with images/*/{id}.png, images/siteA/001.png is `siteA_001` too.
    """
    pattern = "" if LAYOUTS[data.layout].names_arrays else next(iter(data.channels.values()))
    folders = _below_root(case, data).split("/")[:-1]
    depth = pattern.count("/")
    folders, matched = folders[: len(folders) - depth], folders[len(folders) - depth :]
    if LAYOUTS[data.layout].find_loose is not None:
        folders += [name for name, part in zip(matched, pattern.split("/"), strict=False) if part == "*"]
    if folders and _begins_with(case.id, folders[-1]):
        folders.pop()
    return "_".join([*folders, case.id])


def _begins_with(case_id: str, folder: str) -> bool:
    """Whether an id repeats its folder's name: A_1 does with A, but 10 does not with 1, whose number goes on."""
    rest = case_id[len(folder) :]
    return case_id.startswith(folder) and not (folder[-1:].isdigit() and rest[:1].isdigit())


def _renamed(case: Case, case_id: str) -> Case:
    return replace(case, id=case_id, patient=case_id if case.patient == case.id else case.patient)


def _below_root(case: Case, data: DataSection) -> str:
    """The path of a case's first file below the root, with forward slashes."""
    first = next(iter(case.channels.values()))[0]
    return (first.relative_to(data.root) if first.is_relative_to(data.root) else first).as_posix()
