"""A case read into memory: channels in the config's order, the label in the values of its scheme."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from segcct.config import DataSection
from segcct.datasets.case import Case, LoadedCase
from segcct.datasets.label_schemes import Scheme, custom_scheme, get_scheme, remap, whole_values
from segcct.datasets.layouts.layout_lookup import get_layout
from segcct.errors import DataError
from segcct.images.volume import Volume
from segcct.runtime import region_of


def scheme_of(data: DataSection) -> Scheme:
    """The label scheme the config names, or the custom one it defines. Raises `LabelError`."""
    return get_scheme(data.scheme) if data.labels is None else custom_scheme(data.labels, data.regions)


def read_case(case: Case, data: DataSection, scheme: Scheme, *, with_label: bool = True) -> LoadedCase:
    """A case in memory: channels in the config's order, label in the scheme's values.

    Raises:
        DataError: the case is incomplete.
        VolumeError: a file cannot be read.
        GeometryError: a channel, label or mask lies on another grid than the first channel.
        LabelError: label values that are not whole numbers or not in the scheme. Each names the file.
    """
    if case.error is not None:
        raise case.error
    layout = get_layout(data.layout)
    image, grid = layout.read_image(case, data)
    label = read_label(case, data, scheme, grid) if with_label and case.label else None
    mask = region_of(layout.read_mask(case.mask, data.intensity.mask or "", grid)) if case.mask else None
    return LoadedCase(case, image, grid, label, mask)


def read_label(case: Case, data: DataSection, scheme: Scheme, grid: Volume) -> np.ndarray:
    """(X, Y, Z) label of a case in the scheme's values, on a known grid; the channels are not read.

    Raises:
        VolumeError, GeometryError, LabelError: as `read_case`.
        DataError: the case has no label.
    """
    if not case.label:
        raise DataError("the case has no label", file=next(iter(case.channels.values()))[0])
    file = case.label[0]
    values = remap(whole_values(stored_label(case.label, data, grid), file), get_layout(data.layout).label_map(data))
    scheme.check_values(values, file if len(case.label) == 1 else f"{file.parent} ({case.id})")
    return values.astype(scheme.dtype, copy=False)


def stored_label(files: Sequence[Path], data: DataSection, grid: Volume) -> np.ndarray:
    """(X, Y, Z) label values before `data.label_map`, on a known grid. Raises as `read_label`."""
    layout = get_layout(data.layout)
    if layout.draw_label is not None:
        return layout.draw_label(files, data, grid)
    return layout.read_mask(files, data.label or "", grid)
