"""The settings that follow from what was found, each with its reason and the doubts that remain."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import nibabel as nib
import numpy as np

from segcct.datasets.label_schemes import CHANGED_BY_JPEG, SCHEMES
from segcct.datasets.layouts import get_layout
from segcct.datasets.layouts.layout import Naming
from segcct.errors import CONVERTING_MASKS
from segcct.files.file_names import JPEG_SUFFIXES
from segcct.images.volume import Volume
from segcct.init.voxels import ChannelFacts, Facts, Orientation, SliceShape, slice_shape_of
from segcct.plurals import counted, listed

SOFT_TISSUE_WINDOW = (-160.0, 240.0)
_CT_LOW, _CT_HIGH = -500.0, 200.0
"""An image that reaches below the one and above the other is taken to be in Hounsfield units."""
_NARROWEST = 100.0
"""Width of a CT window, in HU, below which noise is all that is seen."""
_COARSE = 1.8
"""Slice distance over pixel size from which a scan counts as a stack of thick slices."""
_OBLIQUE_DEG = 15.0
_PLANES = {"S": "axial", "I": "axial", "A": "coronal", "P": "coronal", "R": "sagittal", "L": "sagittal"}
"""Direction in which slices follow each other -> their plane."""
_SIZES = (64, 96, 128, 160, 192, 224, 256)
_MANY_CLASSES = 60
_RARE, _SEVERAL = 0.01, 4
"""Fraction of the labeled pixels that a class rarely has less of; fewer rare values than this may be classes."""


@dataclass(frozen=True)
class Choice:
    """Settings of the config's data section that belong together."""

    settings: Mapping[str, object]
    why: str
    doubts: Sequence[str] = ()


def choose_labels(naming: Naming, facts: Facts) -> Choice:
    """The scheme that the names promise, if the values agree; else the values under plain names."""
    if naming.label is None:
        doubt = "no label files were recognized: set data.label and data.scheme before training"
        return Choice({"scheme": "binary"}, "no labels found", (doubt,))
    values = sorted({round(value) for value in facts.values if value > 0 and abs(value - round(value)) < 1e-3} - {0})
    doubts = []
    odd = [value for value in facts.values if abs(value - round(value)) >= 1e-3 or value < 0]
    if odd:
        some = f"{counted(len(odd), 'value')} that no class can have, such as {odd[0]:g}"
        doubts.append(f"labels hold {some}: is {naming.label} a label?")
    if naming.scheme is not None and naming.mapped is not None and set(values) <= set(naming.mapped.values):
        if values and set(values) <= set(SCHEMES[naming.scheme].values):
            doubts.append(naming.mapped.doubt)
        return Choice({"scheme": naming.scheme}, naming.mapped.why, doubts)
    if naming.scheme is not None and set(values) <= set(SCHEMES[naming.scheme].values):
        return Choice({"scheme": naming.scheme}, f"{naming.why}; values {_listed([0, *values])}", doubts)
    if naming.classes:
        return _named(naming, values, doubts)
    if len(values) == 1 and naming.scheme is None:
        settings: dict[str, object] = {"scheme": "binary"}
        if values[0] != 1:
            settings["label_map"] = {values[0]: 1}
        return Choice(settings, f"one value besides 0: {values[0]}", doubts)
    return _unnamed(naming, values, facts, doubts)


def _named(naming: Naming, values: Sequence[int], doubts: list[str]) -> Choice:
    """The classes that a file of the dataset names, such as dataset.json."""
    stray = [value for value in values if value not in naming.classes.values()]
    if stray:
        doubts.append(f"labels hold {_listed(stray)}, which {naming.classes_from} does not name")
    labels = dict(naming.classes) | {f"class_{value}": value for value in stray}
    settings: dict[str, object] = {"scheme": "custom", "labels": labels}
    if naming.regions:
        settings["regions"] = {name: list(parts) for name, parts in naming.regions.items()}
    return Choice(settings, f"class names of {naming.classes_from}", doubts)


def _unnamed(naming: Naming, values: Sequence[int], facts: Facts, doubts: list[str]) -> Choice:
    if len(values) > 1 and str(naming.label).lower().endswith(JPEG_SUFFIXES):
        doubts.append(CHANGED_BY_JPEG)
        return Choice({"scheme": "binary"}, "JPEG changes label values", doubts)
    if not 1 <= len(values) <= 255:
        if values or not facts.trouble:
            doubts.append(f"{len(values) or 'no'} label values besides 0 were found: is {naming.label} a label?")
        return Choice({"scheme": "binary"}, "label values could not be determined", doubts)
    if len(values) > _MANY_CLASSES:
        doubts.append(f"{len(values)} label values are many: keep the classes you need, map the others to 0")
    if rare := _rare_values(naming, values, facts):
        doubts.append(
            f"{rare} of {len(values)} label values are rare, as in masks that were stored as JPEG or resized: if they "
            f"are no classes, restore the masks by the lines in {CONVERTING_MASKS}"
        )
    if naming.scheme == "brats2023" and 4 in values:
        doubts.append("value 4 among BraTS 2023+ names: in 2024 it is the resection cavity (scheme: brats2024_gli)")
    elif naming.scheme is not None:
        expected = _listed(SCHEMES[naming.scheme].values)
        doubts.append(f"{naming.why}, but the labels hold {_listed([0, *values])} and not {expected}")
    fitting = [scheme.name for scheme in SCHEMES.values() if set(scheme.classes.values()) == set(values)]
    hint = f"; the values would fit {' or '.join(fitting)}, if that is where the data is from" if fitting else ""
    labels = {f"class_{value}": value for value in values}
    return Choice({"scheme": "custom", "labels": labels}, f"rename the classes to what they mean{hint}", doubts)


def _rare_values(naming: Naming, values: Sequence[int], facts: Facts) -> int:
    """How many label values of 2-D images are rare, if those are most and more than a few; else 0."""
    labeled = sum(count for value, count in facts.values.items() if value > 0)
    rare = sum(facts.values[value] < _RARE * labeled for value in values)
    return rare if get_layout(naming.layout).spatial_dims == 2 and rare >= _SEVERAL and 2 * rare > len(values) else 0


def choose_orientation(naming: Naming, facts: Facts) -> Choice:
    """Axial slices, unless the scans are stacks of thick slices in another plane."""
    if naming.as_acquired is not None:
        return Choice({"orientation": "native"}, naming.as_acquired)
    grids = [grid for grid in facts.grids if grid.spacing_mm is not None]
    if not grids:
        return Choice({"orientation": "native"}, "the files hold no geometry")
    thick = [stack for grid in grids if (stack := _stack(grid)) is not None]
    if len(thick) <= len(grids) / 2:
        return Choice({"orientation": "canonical"}, "axial slices; voxels are about as deep as wide")
    (axis, plane), times = Counter((axis, plane) for axis, plane, _ in thick).most_common(1)[0]
    tilt_deg = median(stack[2] for stack in thick if stack[:2] == (axis, plane))
    mixed = ("scans differ in the plane or the stored axis of their slices",) if times < len(thick) else ()
    if plane == "axial" and tilt_deg < _OBLIQUE_DEG:
        return Choice({"orientation": "canonical"}, "stacks of axial slices", mixed)
    why = f"stacks of thick {plane} slices, tilted by {tilt_deg:.0f} degrees"
    if axis != 2:
        doubt = f"the slices lie along stored axis {axis + 1}, not 3: neither orientation shows them as acquired"
        return Choice({"orientation": "canonical"}, why, (*mixed, doubt))
    return Choice({"orientation": "native"}, why, mixed)


def _stack(grid: Volume) -> tuple[int, str, float] | None:
    """(stored axis, plane, tilt in degrees) of thick slices; None where voxels are about cubes or flat."""
    assert grid.spacing_mm is not None
    spacing = np.asarray(grid.spacing_mm)
    axis = int(np.argmax(spacing))
    if grid.shape[2] == 1 or spacing[axis] < _COARSE * float(np.median(spacing)):
        return None
    tilt_deg = math.degrees(float(nib.affines.obliquity(grid.affine)[axis]))
    return axis, _PLANES[nib.aff2axcodes(grid.affine)[axis]], tilt_deg


def choose_intensity(naming: Naming, facts: Facts) -> Choice:
    """The intensity rule that fits the ranges and backgrounds."""
    channels = [one for many in facts.channels.values() for one in many]
    if not channels:
        return Choice({"intensity": {"rule": "zscore_nonzero"}}, "no image could be read", ("no image was read",))
    low, high = min(one.low for one in channels), max(one.high for one in channels)
    if low >= 0 and high <= 1:
        return Choice({"intensity": {"rule": "none"}}, f"values lie in [0, 1] already ({low:g} to {high:g})")
    if get_layout(naming.layout).spatial_dims == 2:
        top = 255.0 if high <= 255 else _round(max(one.central[1] for one in channels))
        return Choice({"intensity": _clip(0.0, top)}, f"2-D images with values to {high:g}")
    computed = [one.low <= _CT_LOW and one.high >= _CT_HIGH for one in channels]
    if all(computed):
        return _ct(naming, channels, low, high)
    doubts = (
        ("some channels look like CT (Hounsfield units), others do not: one rule serves all",) if any(computed) else ()
    )
    other = [one for one in channels if one.background not in (None, 0.0)]
    if not other:
        zero = median(one.background_fraction for one in channels)
        why = f"background 0 ({zero:.0%} of the voxels)" if zero > 0 else "no constant background"
        return Choice({"intensity": {"rule": "zscore_nonzero"}}, why, doubts)
    found = f"the background is a constant other than 0, such as {other[0].background:g}"
    if naming.mask is not None:
        return Choice({"intensity": {"rule": "zscore_mask", "mask": naming.mask}}, f"{found}; a mask is there", doubts)
    bottom, top = min(one.central[0] for one in channels), max(one.central[1] for one in channels)
    doubt = f"{found}, and no mask of the body was found: with one, rule zscore_mask would be better than clip"
    why = "0.5 to 99.5 percentile of what was read"
    return Choice({"intensity": _clip(_round(bottom), _round(top))}, why, (*doubts, doubt))


def _ct(naming: Naming, channels: Sequence[ChannelFacts], low: float, high: float) -> Choice:
    """The usual window if it shows nine tenths of what is labeled, else the range of what is labeled."""
    found = f"CT: {low:g} to {high:g} HU"
    if naming.window_hu is not None:
        bottom, top, window = naming.window_hu
        return Choice({"intensity": _clip(bottom, top)}, f"{found}; {window}")
    labeled = [one.labeled for one in channels if one.labeled is not None]
    bottom, top = SOFT_TISSUE_WINDOW
    if any(one[1] < bottom or one[2] > top for one in labeled):
        bottom, top = min(one[0] for one in labeled), max(one[3] for one in labeled)
        if top - bottom < _NARROWEST:
            bottom, top = bottom - _NARROWEST / 2, top + _NARROWEST / 2
        why = f"{found}; 0.5 to 99.5 percentile of the labeled voxels"
        return Choice({"intensity": _clip(_round(bottom), _round(top))}, why)
    return Choice({"intensity": _clip(bottom, top)}, f"{found}; soft tissue window")


def _clip(low: float, high: float) -> dict[str, object]:
    """The rule; a range of nothing is widened, so that the config can be loaded and corrected."""
    return {"rule": "clip", "low": low, "high": high if high > low else low + 1}


def choose_size(naming: Naming, facts: Facts, orientation: Orientation, intensity: Choice) -> Choice:
    """Crop, pixel size and the size of the training slice."""
    if not facts.slices:
        return Choice({"crop": "none", "fit": "pad", "image_size": 224}, "no image could be read")
    rule = intensity.settings["intensity"]
    cropped = median(math.prod(one.cropped) / math.prod(one.full) for one in facts.slices)
    crop = isinstance(rule, dict) and str(rule["rule"]).startswith("zscore") and cropped <= 0.75
    slices = [slice_shape_of(grid, orientation) for grid in facts.grids]
    target_mm = _common_pixel(slices)
    longest = max(_pixels(max(one.cropped), one.pixel_mm, target_mm) for one in (facts.slices if crop else slices))
    why = f"slices reach {longest} pixels" + (f", cropped to {cropped:.0%} of their area" if crop else "")
    settings: dict[str, object] = {"crop": "foreground" if crop else "none"}
    if longest <= _SIZES[-1]:
        size = next(size for size in _SIZES if size >= longest)
        settings |= {"spacing_mm": target_mm} if target_mm else {}
        return Choice(settings | {"fit": "pad", "image_size": size}, why)
    if get_layout(naming.layout).spatial_dims == 2:
        why += "; windows of 224 at full detail (fit: letterbox shows them whole)"
        return Choice(settings | {"fit": "pad", "image_size": 224}, why)
    return Choice(settings | {"fit": "letterbox", "image_size": 224}, f"{why}; the longer side becomes 224")


def _common_pixel(slices: Sequence[SliceShape]) -> float | None:
    """The median pixel size in mm, where pixels differ too much between scans for each to keep its own."""
    pixels = [one.pixel_mm for one in slices if one.pixel_mm is not None]
    if not pixels or len(pixels) < len(slices) or max(pixels) < 1.2 * min(pixels):
        return None
    return _round(median(pixels))


def _pixels(length: int, pixel_mm: float | None, target_mm: float | None) -> int:
    """Rows or columns of a slice after resampling to the common pixel size, if there is one."""
    return length if target_mm is None or pixel_mm is None else math.ceil(length * pixel_mm / target_mm)


def _round(value: float) -> float:
    """Three significant figures, which are enough for a window or a pixel size."""
    return float(f"{value:.3g}")


def _listed(values: Sequence[int]) -> str:
    return listed([str(value) for value in values], 16)
