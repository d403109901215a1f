"""Layout `acdc`: the official cardiac folders.

    ROOT/[training|testing/]patient001/patient001_frame01.nii.gz, patient001_frame01_gt.nii.gz, Info.cfg

A case is one frame, `patient001_frame01`: the two that Info.cfg names (ED, ES), or every frame file where Info.cfg is
missing. The whole sequence, `patient001_4d.nii.gz`, is not read. Folders `training` and `testing` give the split.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from segcct.config import DataSection
from segcct.datasets.folder_tree import FolderTree
from segcct.datasets.layouts import case_folders as folder
from segcct.datasets.layouts.layout import Found, Layout, Naming
from segcct.datasets.layouts.patterns import compiled, data_patterns, drawn, filled, split_of, with_id
from segcct.errors import DataError
from segcct.files.file_names import folder_name

_PATIENT = re.compile(r"patient\d+$")
_INFO = "Info.cfg"
_FILE = re.compile(r"(?:.*/)?(?P<patient>patient\d+)/(?P=patient)_frame\d+(?P<gt>_gt)?(?P<end>\.nii(?:\.gz)?)$")


def find(data: DataSection, tree: FolderTree) -> Found:
    """The end-diastolic and end-systolic frame of every patient folder below `data.root`."""
    found = Found()
    for place in _patient_folders(tree):
        patient = folder_name(place)
        split = split_of(place.relative_to(data.root))
        try:
            frames = _frames(tree, place, patient, data)
        except DataError as error:
            found.errors.append(error)
            continue
        for case_id in frames:
            found.add(case_id, patient, partial(folder.make_case, tree, place, case_id, patient, data, split))
    return found


def example(data: DataSection) -> str:
    """One patient folder with its frames."""
    patterns = data_patterns(data)
    names = [filled(pattern, f"patient001_frame{frame}") for frame in ("01", "12") for pattern in patterns]
    return drawn(data.root, {"patient001": [_INFO, *names], "...": []})


def recognize(root: Path, names: Sequence[str]) -> Naming | None:  # noqa: ARG001
    """patient001/patient001_frame01.nii.gz and _gt."""
    matches = [match for name in names if (match := _FILE.match(name))]
    if not matches:
        return None
    end = matches[0]["end"]
    labels = any(match["gt"] for match in matches)
    return Naming(
        layout="acdc",
        channels={"cine": f"{{id}}{end}"},
        label=f"{{id}}_gt{end}" if labels else None,
        why="patient folders of ACDC",
        scheme="acdc",
        as_acquired="short-axis slices as they were acquired",
    )


def _patient_folders(tree: FolderTree) -> Iterator[Path]:
    for place, below, _ in tree.folders():
        if _PATIENT.match(folder_name(place)):
            below.clear()
            yield place


def _frames(tree: FolderTree, place: Path, patient: str, data: DataSection) -> list[str]:
    """Case ids of a patient folder. Raises `DataError` when Info.cfg holds no frame numbers."""
    info = place / _INFO
    if _INFO in tree.names(place):
        numbers = re.findall(r"^\s*E[DS]\s*:\s*(\d+)\s*$", info.read_text(errors="replace"), re.MULTILINE)
        if not numbers:
            raise DataError("names no frames", file=info, expected="lines such as `ED: 1` and `ES: 12`")
        return sorted({f"{patient}_frame{int(number):02d}" for number in numbers})
    patterns = [compiled(with_id(pattern)) for pattern in data_patterns(data)]
    matches = [pattern.match(name) for name in tree.names(place) for pattern in patterns]
    ids = {match["id"] for match in matches if match}
    return sorted(case_id for case_id in ids if re.fullmatch(rf"{patient}_frame\d+", case_id))


LAYOUT = Layout(
    "acdc",
    find,
    example,
    recognize,
    label_patterns=("{id}_gt.nii.gz",),
    ignored=(_INFO, "patient*_4d.nii*"),
    phantom="segcct.phantom.acdc:PHANTOM",
)
