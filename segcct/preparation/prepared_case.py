"""From a loaded case to what a network sees. Training and prediction take this one path.

Per case: intensities to [0, 1] by the rule, slices by the grid, resampled in their plane, stored as float16 with the
mean and standard deviation of each channel, which are applied after augmentation.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

import numpy as np

from segcct.config import DataSection
from segcct.datasets import layouts
from segcct.datasets.case import Case, LoadedCase
from segcct.datasets.label_schemes import Scheme
from segcct.errors import CASE_FAILURES, DataError, GeometryError, LabelError, SegcctError, failure_of, items
from segcct.files.file_memo import FileMemo
from segcct.images.volume import Volume
from segcct.plurals import counted
from segcct.preparation.cache import Cache, CacheError
from segcct.preparation.cache_key import cache_key
from segcct.preparation.intensity import unit_scale
from segcct.preparation.preparation_settings import Preparation
from segcct.preparation.slice_grid import SliceGrid
from segcct.progress import Report
from segcct.runtime import UnitScale
from segcct.spark.spark_executor import SparkExecutor
from segcct.spark.spark_start import spark_context

if TYPE_CHECKING:
    from segcct.figures import Plane


@dataclass(frozen=True)
class PreparedCase:
    """One case as the network sees it, in memory or in the cache; pickles as a path when it is in the cache."""

    case_id: str
    patient: str
    arrays: Mapping[str, np.ndarray]
    """image, and for a case with a label: label, full_label, shown."""
    mean: np.ndarray
    """(C,) float32, in [0, 1] units."""
    std: np.ndarray
    """(C,) float32, above 0."""
    grid: SliceGrid
    spacing_mm: tuple[float, float, float] | None
    """Voxel size of the stored volume along X, Y, Z; None where the files hold none."""
    affine: np.ndarray
    """(4, 4) float64, voxel index of the stored volume -> RAS position in mm."""
    present: np.ndarray | None
    """(D, K) bool: which classes (column 0 is background) a slice of `label` holds."""

    @property
    def image(self) -> np.ndarray:
        """(D, C, h, w) float16 in [0, 1]; a read-only memory map when it comes from the cache."""
        return self.arrays["image"]

    @property
    def label(self) -> np.ndarray | None:
        """(D, h, w) uint8 class indices at the network's scale."""
        return self.arrays.get("label")

    @property
    def full_label(self) -> np.ndarray | None:
        """(X, Y, Z) uint8 class indices on the input's own grid: what predictions are scored against."""
        return self.arrays.get("full_label")

    @property
    def plane(self) -> Plane:
        """The plane in which the stored volume is shown."""
        from segcct.figures import plane_of

        return plane_of(self.grid.shape_xyz, self.affine, self.spacing_mm)

    @property
    def shown(self) -> np.ndarray | None:
        """(H, W) float32: the slice with most structure in `plane`, of the first channel in its own intensities."""
        return self.arrays.get("shown")

    def thinned(self) -> np.ndarray:
        """(d, C, h, w): at most 16 slices, evenly spaced, and of these every second row and column: enough for
        intensities."""
        places = np.unique(np.linspace(0, len(self.image) - 1, 16).round().astype(int))
        return np.asarray(self.image[places, :, ::2, ::2])

    def standardize(self, image: np.ndarray) -> np.ndarray:
        """(..., C, h, w) in [0, 1] -> float32 with mean 0 and standard deviation 1 over the case's foreground."""
        return np.asarray((image.astype(np.float32) - self.mean[:, None, None]) / self.std[:, None, None])


def prepare_case(loaded: LoadedCase, preparation: Preparation, scheme: Scheme) -> PreparedCase:
    """The network's view of one case, held in memory; with labels when the case has them.

    Raises:
        DataError: intensities or mask do not fit the rule.
        GeometryError: the case cannot be brought to the wanted spacing.
        LabelError: a label value outside the scheme. Each names the file.
    """
    case = loaded.case
    files = [paths[0] for paths in case.channels.values()]
    scales = [
        unit_scale(voxels, preparation.intensity, mask=loaded.mask, file=files[min(index, len(files) - 1)])
        for index, voxels in enumerate(loaded.image)  # an RGB image has three channels in one file
    ]
    grid = _plan(loaded, preparation, scales)
    arrays = {"image": _network_slices(loaded, scales, grid)}
    present = None
    if loaded.label is not None:
        arrays |= _label_arrays(loaded, grid, scheme)
        present = np.stack([(arrays["label"] == index).any(axis=(1, 2)) for index in range(scheme.num_classes)], axis=1)
    mean, std = np.asarray([(scale.mean, scale.std) for scale in scales], dtype=np.float32).T
    spacing_mm, affine = loaded.grid.spacing_mm, loaded.grid.affine
    prepared = PreparedCase(case.id, case.patient, arrays, mean, std, grid, spacing_mm, affine, present)
    if prepared.full_label is not None:
        from segcct.figures import best_slice

        plane = prepared.plane
        index = best_slice(plane.slices(prepared.full_label), None)
        arrays["shown"] = np.ascontiguousarray(plane.slices(loaded.image[0])[index])
    return prepared


def prepare_cases(
    cases: Sequence[Case],
    data: DataSection,
    scheme: Scheme,
    *,
    memo: FileMemo | None = None,
    progress: Report | None = None,
) -> list[PreparedCase]:
    """Cases through the cache, in order; what is not there yet is read, prepared and stored.

    Cases that are missing are prepared by `data.workers` processes where there are two or more, or on `data.spark`.

    Args:
        cases: the cases.
        data: how they are read and prepared, and where the cache is.
        scheme: the meaning of their labels.
        memo: digests of files that have not changed; without it, every file is read.
        progress: called with (done, total) after each case.

    Raises:
        SegcctError: the failure of a case, once the others are prepared and stored; all of them where several fail.
    """
    memo = memo or FileMemo()
    cache = Cache(data.cache_folder, memo)
    outcomes: dict[int, PreparedCase | Exception] = {}
    for place, outcome in _outcomes(cases, data, scheme, cache):
        outcomes[place] = outcome
        if progress is not None:
            progress(len(outcomes), len(cases))
    prepared = [outcome for _, outcome in sorted(outcomes.items()) if isinstance(outcome, PreparedCase)]
    failures = {place: outcome for place, outcome in outcomes.items() if isinstance(outcome, Exception)}
    if len(failures) == 1 and isinstance(failure := next(iter(failures.values())), SegcctError):
        raise failure
    if failures:
        reasons = [failure_of(error, cases[place].id) for place, error in failures.items()]
        all_cases = counted(len(cases), "case")
        raise DataError(f"{len(failures)} of {all_cases} cannot be prepared:{items(reasons, most=20)}")
    cache.sweep()  # not before: what has just been asked for is in use
    memo.save()
    return prepared


def _outcomes(
    cases: Sequence[Case], data: DataSection, scheme: Scheme, cache: Cache
) -> Iterator[tuple[int, PreparedCase | Exception]]:
    """Place and prepared case, or why it cannot be prepared: first those in the cache, then the others as they get
    ready, here or in several processes."""
    missing = {}
    for place, case in enumerate(cases):
        key = cache_key(case, data, scheme, cache.memo)
        entry = cache.get(key)
        if entry is None:
            missing[place] = (case, data, scheme, cache, key)
        else:
            yield place, _restored(case, *entry)
    if data.spark is None and (data.workers < 2 or len(missing) < 2):
        for place, job in missing.items():
            yield place, _outcome(partial(_make, *job))
        return
    with _pool(data, len(missing)) as pool:
        places = {pool.submit(_make, *job): place for place, job in missing.items()}
        try:
            for ready in as_completed(places):
                yield places[ready], _outcome(ready.result)
        except BrokenProcessPool:
            raise DataError(
                "a process that prepares cases was ended from outside",
                found="most often: out of memory",
                remedy=f"Use fewer processes than --data.workers {data.workers}",
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)


@contextmanager
def _pool(data: DataSection, cases: int) -> Iterator[Executor]:
    """Where cases are prepared side by side."""
    if data.spark is None:
        processes = min(data.workers, cases)
        yield ProcessPoolExecutor(processes, get_context("spawn"), initializer=_use_one_thread)
        return
    with spark_context(data.spark) as context:
        yield SparkExecutor(context)


def _outcome(prepare: Callable[[], PreparedCase]) -> PreparedCase | Exception:
    try:
        return prepare()
    except (CacheError, BrokenProcessPool):  # the other cases would fail too
        raise
    except CASE_FAILURES as error:
        return error


def _make(case: Case, data: DataSection, scheme: Scheme, cache: Cache, key: str) -> PreparedCase:
    with cache.claim(key):
        entry = cache.get(key)  # another process may have prepared it while this one waited
        return _restored(case, *(entry or _stored(case, data, scheme, cache, key)))


def _stored(
    case: Case, data: DataSection, scheme: Scheme, cache: Cache, key: str
) -> tuple[Mapping[str, np.ndarray], dict[str, Any]]:
    """Arrays and facts of a case, prepared and put into the cache."""
    made = prepare_case(layouts.read_case(case, data, scheme), Preparation.of(data), scheme)
    facts = {
        "case": made.case_id,
        "mean": made.mean.tolist(),
        "sd": made.std.tolist(),
        "grid": made.grid.to_json(),
        "spacing_mm": made.spacing_mm,
        "affine": made.affine.tolist(),
        "present": None if made.present is None else made.present.tolist(),
    }
    return cache.put(key, made.arrays, facts), facts


def _restored(case: Case, arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> PreparedCase:
    spacing, present = facts["spacing_mm"], facts["present"]
    return PreparedCase(
        case_id=case.id,
        patient=case.patient,
        arrays=arrays,
        mean=np.asarray(facts["mean"], dtype=np.float32),
        std=np.asarray(facts["sd"], dtype=np.float32),
        grid=SliceGrid.from_json(facts["grid"]),
        spacing_mm=None if spacing is None else (float(spacing[0]), float(spacing[1]), float(spacing[2])),
        affine=np.asarray(facts["affine"], dtype=np.float64),
        present=None if present is None else np.asarray(present, dtype=bool),
    )


def _use_one_thread() -> None:
    os.environ["OMP_NUM_THREADS"] = "1"  # read by torch when a resampling first imports it


def plan_grid(scan: Volume, preparation: Preparation, box_of: np.ndarray | None = None) -> SliceGrid:
    """The slices of a scan, cropped to what is true in `box_of` (X, Y, Z), as `SliceGrid.plan` makes them."""
    return SliceGrid.plan(
        scan.shape,
        scan.affine,
        scan.spacing_mm,
        orientation=preparation.orientation,
        box_of=box_of,
        target_spacing_mm=preparation.spacing_mm,
        fit=preparation.fit,
        image_size=preparation.image_size,
    )


def _plan(loaded: LoadedCase, preparation: Preparation, scales: Sequence[UnitScale]) -> SliceGrid:
    box_of = None
    if preparation.crop == "foreground":
        box_of = np.zeros(loaded.image.shape[1:], dtype=bool)
        for voxels, scale in zip(loaded.image, scales, strict=True):
            box_of |= scale.foreground(voxels, loaded.mask)
    try:
        return plan_grid(loaded.grid, preparation, box_of)
    except GeometryError as error:
        error.file = error.file or str(next(iter(loaded.case.channels.values()))[0])
        raise


def _network_slices(loaded: LoadedCase, scales: Sequence[UnitScale], grid: SliceGrid) -> np.ndarray:
    """(D, C, h, w) float16, a few slices of a channel at a time, so that no channel is held in float32 once more."""
    image = np.empty((grid.slice_shape[0], len(scales), *grid.size), dtype=np.float16)
    mask = None if loaded.mask is None else grid.to_slices(loaded.mask)
    for index, (voxels, scale) in enumerate(zip(loaded.image, scales, strict=True)):
        slices = grid.to_slices(voxels)
        for part in grid.parts():
            unit = scale.unit(slices[part], None if mask is None else mask[part])
            image[part, index] = grid.shrink(unit[:, None])[:, 0]
    return image


def _label_arrays(loaded: LoadedCase, grid: SliceGrid, scheme: Scheme) -> dict[str, np.ndarray]:
    assert loaded.label is not None
    try:
        full = scheme.to_index(loaded.label)
    except LabelError as error:
        error.file = error.file or (str(loaded.case.label[0]) if loaded.case.label else None)
        raise
    return {"label": grid.shrink_labels(grid.to_slices(full)), "full_label": full}
