"""The masks of cases without labels: written like those of a network, in a scheme `cluster_N`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from segcct.case_runner import Done
from segcct.cluster.cluster_fits import fit_histogram, fit_points
from segcct.cluster.clusters import Clusters, Method
from segcct.cluster.cohort_clusters import CaseReader
from segcct.cluster.histogram import Histogram
from segcct.cluster.points import Points, PointsOf, in_order
from segcct.config import DataSection
from segcct.datasets.case import Case, LoadedCase
from segcct.datasets.label_schemes import Scheme
from segcct.images.content_digest import content_digest
from segcct.images.volume import Volume, says_synthetic
from segcct.predictions.case_files import MEMBERSHIPS
from segcct.predictions.case_tables import VOLUMES
from segcct.predictions.folder_prediction import without_description
from segcct.predictions.mask_files import VOLUME, save_mask
from segcct.predictions.mask_source import MaskSource
from segcct.predictions.tracked_case import PredictedCase
from segcct.predictions.volumes_table import rows_of_labels

Segment = Callable[[LoadedCase], tuple[np.ndarray, np.ndarray | None]]
"""A case -> labels (X, Y, Z) uint8, and memberships (K, X, Y, Z) float16 where they are wanted."""


@dataclass(frozen=True)
class ByClusters:
    """Labels by the clusters of the cohort, or where there are none by the case's own."""

    points_of: PointsOf
    method: Method
    clusters: Clusters | None
    memberships: bool

    def __call__(self, loaded: LoadedCase) -> tuple[np.ndarray, np.ndarray | None]:
        """See `Segment`."""
        points = self.points_of(loaded)
        clusters = self.clusters or fit_case(points, self.method)
        return points.labels(clusters), points.memberships(clusters) if self.memberships else None


@dataclass(frozen=True)
class WithoutClusters:
    """Labels by a method that fits nothing."""

    labels_of: Callable[[LoadedCase], np.ndarray]

    def __call__(self, loaded: LoadedCase) -> tuple[np.ndarray, None]:
        """See `Segment`."""
        return self.labels_of(loaded), None


@dataclass(frozen=True)
class MaskWriter:
    """The work on one case."""

    reader: CaseReader
    segment: Segment
    scheme: Scheme
    output: Path
    mask_format: str

    def __call__(self, named: tuple[str, Case]) -> PredictedCase:
        """Write the mask of a case under its name, and its memberships."""
        name, case = named
        loaded = self.reader.load(case)
        labels, memberships = self.segment(loaded)
        mask = loaded.grid.with_array(labels)
        stored = without_description(mask) if self.reader.request.anonymize else mask
        files = []
        for index, volume in enumerate([] if memberships is None else memberships):
            files.append(f"{MEMBERSHIPS}/{name}_cluster_{index + 1}{VOLUME}")
            _save_membership(stored, volume, self.output / files[-1])
        file = save_mask(stored, self.output, name, self.scheme, mask_format=self.mask_format)
        rows = rows_of_labels(list(self.scheme.classes), labels, loaded.grid)
        tables = {VOLUMES: Done(name, rows)}
        return PredictedCase(file, content_digest([file]), says_synthetic(mask), tables, files=tuple(files))


def fit_case(points: Points, method: Method) -> Clusters:
    """The clusters of one case. Raises `DataError` where it has too few distinct points."""
    coordinates, brightness = points.points, points.brightness
    if coordinates.shape[1] == 1:
        return fit_histogram(Histogram.of(coordinates), method)
    return in_order(fit_points(coordinates, method), coordinates, brightness)


def source_of(data: DataSection, method: Method, scheme: Scheme, facts: Mapping[str, Any]) -> MaskSource:
    """What predictions.json says of the masks.

    Args:
        data: how the cases are read.
        method: the method.
        scheme: of the masks.
        facts: all else that the masks depend on.
    """
    settings = {**asdict(method), **facts}
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
    options = {name: value for name, value in settings.items() if name not in ("name", "centers")}
    architecture = {
        "name": method.name,
        "in_channels": len(data.channels),
        "num_classes": scheme.num_classes,
        "image_size": data.image_size,
        "options": options,
    }
    return MaskSource(scheme, architecture, digest, patterns_are_names=True)


def _save_membership(grid: Volume, values: np.ndarray, file: Path) -> None:
    """float16 values, stored as float32: NIfTI has no shorter floats, and the zeros at the end compress."""
    grid.with_array(values.astype(np.float32)).save(file)
