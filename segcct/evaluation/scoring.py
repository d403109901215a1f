"""The scores of one case: two masks are read, checked against each other and the scheme, and scored per structure.

This runs in the parent or in worker processes; the result is small.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from segcct.datasets.label_schemes import Scheme, whole_values
from segcct.datasets.layouts import get_layout, read_label
from segcct.datasets.layouts.volumes import require_one_grid
from segcct.errors import DataError, GeometryError, SegcctError
from segcct.evaluation.reference_folder import ReferenceCase
from segcct.files.file_memo import FileMemo, FileState
from segcct.images.content_digest import content_digest, files_of
from segcct.images.formats import SUFFIXES
from segcct.images.volume import Volume
from segcct.metrics import MaskPair, Metric, Scores, get_convention, label_map_accuracy, label_pairs
from segcct.metrics.metric_table import detail_metrics, learn_metrics
from segcct.predictions.mask_files import load_mask

_OTHER_VALUES = "Name the scheme that the masks follow with --scheme, or write them again with the values of this one"


@dataclass(frozen=True)
class Job:
    """One case to score."""

    id: str
    prediction: Path
    reference: ReferenceCase
    scheme: Scheme
    conventions: tuple[str, ...]
    tolerance_mm: float
    registered: tuple[Metric, ...] = ()
    """Metrics that were registered in the parent, and that a worker process does not know."""


@dataclass(frozen=True)
class Row:
    """One structure of one case."""

    case: str
    patient: str
    structure: str
    status: str
    volume_pred_ml: float | None
    volume_ref_ml: float | None
    scores: dict[str, Scores]
    """Convention -> scores."""
    details: dict[str, float | None]
    """Columns of details.csv."""


@dataclass(frozen=True)
class LabelMapScores:
    """The label maps of one case, all classes and the background at once."""

    case: str
    patient: str
    pixel_accuracy: float
    """Fraction of all voxels that have the same label."""
    background: float
    """Fraction of all voxels that are background in the reference: the pixel accuracy of an empty mask."""
    voxels: int


@dataclass(frozen=True)
class CaseScores:
    """The scores of one case."""

    id: str
    rows: tuple[Row, ...] = ()
    label_map: LabelMapScores | None = None
    """None if the case was only checked."""
    digests: Mapping[str, str] = field(default_factory=dict)
    """`prediction` and `reference` -> digest of the files that were scored."""


def score_case(job: Job) -> CaseScores:
    """Score one case; raises as `read_pair`, and `DataError` for a file that was replaced meanwhile."""
    learn_metrics(job.registered)
    files = {"prediction": (job.prediction,), "reference": job.reference.files()}
    before = _states(files)
    prediction, reference = read_pair(job)
    spacing_mm = prediction.spacing_mm if reference.spacing_mm is not None else None
    structures = structures_of(job.scheme)
    voxel_mm3 = None if prediction.voxel_ml is None else 1000 * prediction.voxel_ml
    pairs = label_pairs(prediction.array, reference.array, structures, spacing_mm, job.tolerance_mm, voxel_mm3)
    label_map = LabelMapScores(
        job.id,
        job.reference.patient,
        pixel_accuracy=label_map_accuracy(prediction.array, reference.array),
        background=float(np.count_nonzero(reference.array == 0) / reference.array.size),
        voxels=int(reference.array.size),
    )
    digests = {name: content_digest(paths) for name, paths in files.items()}
    if changed := [file for file, state in _states(files).items() if before.get(file) != state]:
        raise DataError("changed while it was scored", file=changed[0], remedy="Evaluate again once it is complete")
    return CaseScores(job.id, tuple(_row(job, name, pair) for name, pair in pairs), label_map, digests)


def _states(files: Mapping[str, Sequence[Path]]) -> dict[Path, tuple[int, int, int]]:
    """Size, time of modification and inode of every file; of none that is missing, which reading it says better."""
    states = {}
    for file in (file for paths in files.values() for path in paths for file in files_of(path, FileMemo())):
        with suppress(OSError):
            state = FileState.of(file)
            states[file] = (state.size, state.mtime_ns, state.inode)
    return states


def check_case(job: Job) -> CaseScores:
    """Only look for problems: another case had one, so no table will be written. Raises as `read_pair`."""
    read_pair(job)
    return CaseScores(job.id)


def read_pair(job: Job) -> tuple[Volume, Volume]:
    """Prediction and reference. Raises as `read_reference`, or, if the prediction cannot be read, an `ExceptionGroup`
    of the problems of both."""
    try:
        prediction = read_mask(job.prediction, job.scheme)
    except SegcctError as error:
        problems = [error]
        if job.reference.file is not None:
            try:
                read_mask(job.reference.file, job.scheme)
            except SegcctError as other:
                problems.append(other)
        raise ExceptionGroup(job.id, problems) from None
    return prediction, read_reference(job.reference, job.scheme, prediction)


def read_mask(file: Path, scheme: Scheme) -> Volume:
    """A mask file in scheme values. Raises `VolumeError`, or `LabelError` for other values than the scheme's."""
    volume = load_mask(file)
    values = whole_values(volume.array, file)
    scheme.check_values(values, file, remedy=_OTHER_VALUES)
    return volume.with_array(values.astype(scheme.dtype, copy=False))


def read_reference(reference: ReferenceCase, scheme: Scheme, prediction: Volume) -> Volume:
    """The reference of a case in scheme values, on the prediction's grid.

    Raises:
        GeometryError: the two grids differ, as `require_one_grid` says.
        VolumeError, LabelError, DataError: as `read_mask` and the layouts' readers.
    """
    if reference.file is not None:
        volume = read_mask(reference.file, scheme)
        require_one_grid(prediction, volume)
        return volume
    assert reference.case is not None
    assert reference.case.label
    assert reference.data is not None
    try:
        label = read_label(reference.case, reference.data, scheme, prediction)
        if label.shape != prediction.shape:
            raise GeometryError("shapes differ", found=label.shape, expected=prediction.shape)
    except GeometryError as error:
        raise GeometryError(
            "prediction and reference do not share one grid", file=prediction.path, found=str(error)
        ) from error
    file = reference.case.label[0]
    # Arrays and 2-D images have no voxel size, whatever the header of the prediction says.
    on_images = get_layout(reference.data.layout).draw_label is not None
    has_spacing = on_images or file.is_dir() or file.name.lower().endswith(SUFFIXES)
    return Volume(label, prediction.affine, prediction.spacing_mm if has_spacing else None, None, file)


def structures_of(scheme: Scheme) -> dict[str, tuple[int, ...]]:
    """Label values of the classes, then of the regions, by name; a region named as a class is that class."""
    return {name: (value,) for name, value in scheme.classes.items()} | {
        name: tuple(sorted(values)) for name, values in scheme.regions.items()
    }


def _row(job: Job, structure: str, pair: MaskPair) -> Row:
    voxel_ml = None if pair.voxel_mm3 is None else pair.voxel_mm3 / 1000.0
    voxels = pair.counts.prediction, pair.counts.reference
    details = {metric.key: metric(pair) for metric in detail_metrics()}
    return Row(
        job.id,
        job.reference.patient,
        structure,
        pair.status,
        None if voxel_ml is None else voxels[0] * voxel_ml,
        None if voxel_ml is None else voxels[1] * voxel_ml,
        {name: get_convention(name)(pair) for name in job.conventions},
        details | {"voxels_pred": voxels[0], "voxels_ref": voxels[1]},
    )
