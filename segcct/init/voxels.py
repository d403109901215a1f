"""What headers and a sample of the voxels say about a dataset."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from segcct.config import DataSection
from segcct.datasets.case import Case
from segcct.datasets.label_schemes import whole_values
from segcct.datasets.layouts import get_layout, stored_label
from segcct.errors import LabelError, SegcctError
from segcct.files.file_names import IMAGE_SUFFIXES
from segcct.images.volume import Volume
from segcct.preparation.slice_grid import SliceGrid
from segcct.runtime import background_value

Orientation = Literal["canonical", "native"]

HEADERS = 200
"""Most cases whose headers are read."""
IMAGES = 4
"""Most cases whose image voxels are read."""
LABELS = 12
"""Most cases whose labels are read, where a label is a whole volume; small files are read up to `HEADERS`."""
_MOST_VALUES = 1000
"""Most values of one label that are counted; a file with more is not a label."""


@dataclass(frozen=True)
class ChannelFacts:
    """One channel of one case."""

    low: float
    high: float
    background: float | None
    """The constant around the image, if there is one."""
    background_fraction: float
    """Fraction of all voxels that are the background."""
    labeled: tuple[float, float, float, float] | None
    """0.5, 5, 95 and 99.5 percentile of the labeled voxels."""
    central: tuple[float, float]
    """0.5 and 99.5 percentile of the voxels that are not background."""


@dataclass(frozen=True)
class SliceShape:
    """Rows and columns of one case's slices as stored, and after cropping to the foreground."""

    full: tuple[int, int]
    cropped: tuple[int, int]
    pixel_mm: float | None
    """None where the files hold no spacing."""


@dataclass
class Facts:
    """What was read."""

    grids: list[Volume] = field(default_factory=list)
    """Headers of the first channel, without voxels."""
    channels: dict[str, list[ChannelFacts]] = field(default_factory=dict)
    slices: list[SliceShape] = field(default_factory=list)
    values: Counter[float] = field(default_factory=Counter)
    """Label value -> voxels."""
    labels_read: int = 0
    trouble: list[SegcctError] = field(default_factory=list)


def read_headers(cases: Sequence[Case], data: DataSection) -> Facts:
    """Grids of up to `HEADERS` cases."""
    facts = Facts()
    for case in spaced(cases, HEADERS):
        (name, pattern), *_ = data.channels.items()
        try:
            facts.grids.append(get_layout(data.layout).read_header(case.channels[name][0], pattern))
        except SegcctError as error:
            facts.trouble.append(error)
    return facts


def read_sample(cases: Sequence[Case], data: DataSection, facts: Facts, orientation: Orientation) -> None:
    """Add to `facts` the voxels of a few images and the values of more labels."""
    labeled = [case for case in cases if case.label]
    sample = spaced(labeled or cases, IMAGES)
    for case in sample:
        try:
            _read_image(case, data, facts, orientation)
        except SegcctError as error:
            facts.trouble.append(error)
    done = {case.id for case in sample}
    most = LABELS if get_layout(data.layout).has_geometry else HEADERS
    for case in spaced([case for case in labeled if case.id not in done], most):
        try:
            _count_values(_stored_label(case, data), facts)
        except SegcctError as error:
            facts.trouble.append(error)


def spaced(cases: Sequence[Case], most: int) -> list[Case]:
    """At most `most` cases, evenly spaced over all."""
    if len(cases) <= most:
        return list(cases)
    return [cases[round(index * (len(cases) - 1) / (most - 1))] for index in range(most)]


def _read_image(case: Case, data: DataSection, facts: Facts, orientation: Orientation) -> None:
    layout = get_layout(data.layout)
    image, grid = layout.read_image(case, data)
    label = None
    try:
        if case.label:
            label = stored_label(case.label, data, grid)
            _count_values(label, facts)
    except SegcctError as error:  # the image is as it is, whatever is wrong with its label
        facts.trouble.append(error)
    foreground = np.zeros(grid.shape, dtype=bool)
    for name, voxels in zip(data.channels, image, strict=True):
        background = background_value(voxels)
        shown = voxels != background if background is not None else np.ones(grid.shape, dtype=bool)
        foreground |= shown
        facts.channels.setdefault(name, []).append(_channel(voxels, background, shown, label))
    facts.slices.append(slice_shape_of(grid, orientation, foreground))


def _channel(voxels: np.ndarray, background: float | None, shown: np.ndarray, label: np.ndarray | None) -> ChannelFacts:
    inside = voxels[shown]
    marked = voxels[label > 0] if label is not None else voxels[:0]
    return ChannelFacts(
        low=float(voxels.min()),
        high=float(voxels.max()),
        background=background,
        background_fraction=1 - inside.size / voxels.size,
        labeled=_percentiles(marked) if marked.size else None,
        central=_percentiles(inside)[::3] if inside.size else (float(voxels.min()), float(voxels.max())),
    )


def _percentiles(voxels: np.ndarray) -> tuple[float, float, float, float]:
    lowest, low, high, highest = np.percentile(voxels[:: max(1, voxels.size // 1_000_000)], (0.5, 5, 95, 99.5))
    return float(lowest), float(low), float(high), float(highest)


def slice_shape_of(grid: Volume, orientation: Orientation, foreground: np.ndarray | None = None) -> SliceShape:
    """The shape of a volume's slices; cropped to `foreground` (X, Y, Z), if any."""

    def plan(box_of: np.ndarray | None) -> SliceGrid:
        return SliceGrid.plan(
            grid.shape, grid.affine, grid.spacing_mm, orientation=orientation, box_of=box_of, target_spacing_mm=None,
            fit="pad", image_size=16,
        )  # fmt: skip

    full = plan(None)
    rows_mm, columns_mm = full.spacing_dhw_mm[1:] if full.spacing_dhw_mm else (None, None)
    pixel_mm = None if rows_mm is None or columns_mm is None else (rows_mm * columns_mm) ** 0.5
    cropped = full if foreground is None else plan(foreground)
    return SliceShape(full.slice_shape[1:], cropped.slice_shape[1:], pixel_mm)


def _stored_label(case: Case, data: DataSection) -> np.ndarray:
    assert case.label is not None
    layout = get_layout(data.layout)
    if layout.draw_label is not None:
        return layout.draw_label(case.label, data, layout.read_header(next(iter(case.channels.values()))[0], ""))
    if not layout.has_geometry or case.label[0].name.lower().endswith(IMAGE_SUFFIXES):  # the mask of an X-ray
        return layout.read_mask(case.label, data.label or "", layout.read_image(case, data)[1])
    return Volume.load(case.label[0]).array


def _count_values(label: np.ndarray, facts: Facts) -> None:
    with suppress(LabelError):  # a probability map: its values show what it is
        label = whole_values(label)
    values, counts = np.unique(label, return_counts=True)
    pairs = zip(values[:_MOST_VALUES], counts[:_MOST_VALUES], strict=True)
    facts.values.update({float(value): int(count) for value, count in pairs})
    facts.labels_read += 1
