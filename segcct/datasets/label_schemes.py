"""Label schemes: the named meaning of label values. "4 means enhancing tumor" comes from here, never from a guess."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from segcct.errors import CONVERTING_MASKS, LabelError, unknown_name
from segcct.files.file_names import JPEG_SUFFIXES
from segcct.plurals import counted

CHANGED_BY_JPEG = f"JPEG changes the values of a mask: restore them as PNG, by the lines in {CONVERTING_MASKS}"
_WHOLE = 1e-3
"""How far a stored label value may lie from a whole number: masks may be stored as scaled integers, or resampled."""
_SHOWN = 6
"""How many stray values a message names."""
_MANY = 50
"""With more stray values than this, a file is not a label in another scheme."""
_NO_LABEL = "Too many values for classes: is it the scan itself? Give the file of the label"
_LOOKED_UP = 2**22
"""Voxels looked up at once: numpy makes 8 bytes of each index."""


@dataclass(frozen=True)
class Scheme:
    """Classes (name -> value; 0 is background and not listed) and regions (name -> values), in display order.

    Networks see indices 0..K-1: background, then the classes in this order.
    """

    name: str
    classes: Mapping[str, int]
    regions: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    tolerance_mm: float = field(default=2.0, compare=False)
    """Distance up to which two surfaces count as equal in the surface Dice (NSD)."""

    def __post_init__(self) -> None:
        values = list(self.classes.values())
        distinct = len(set(values)) == len(values)
        if not 1 <= len(values) <= 255 or not distinct or min(values) < 1 or max(values) > 65535:
            raise LabelError(
                f"scheme {self.name} is not usable",
                found=dict(self.classes),
                expected="1 to 255 classes with distinct values within 1..65535 (0 is background)",
            )
        for region, members in self.regions.items():
            if not members or not set(members) <= set(values):
                raise LabelError(
                    f"region {region} of scheme {self.name} is not made of its classes",
                    found=list(members),
                    expected=f"values among {values}",
                )
            if region in self.classes and set(members) != {self.classes[region]}:
                raise LabelError(
                    f"region {region} of scheme {self.name} has the name of a class but other values",
                    found=list(members),
                    expected=f"[{self.classes[region]}]",
                )

    @property
    def num_classes(self) -> int:
        """Classes a network predicts, background included."""
        return len(self.classes) + 1

    @property
    def values(self) -> tuple[int, ...]:
        """Every value a label volume may hold, background first."""
        return (0, *self.classes.values())

    @property
    def dtype(self) -> np.dtype:
        """uint8 where the values fit, else uint16."""
        return np.dtype(np.uint8 if max(self.values) < 256 else np.uint16)

    def to_index(self, label: np.ndarray) -> np.ndarray:
        """Scheme values -> class indices (uint8), by lookup table. Raises `LabelError` on a stray value."""
        label = whole_values(label)
        self.check_values(label)
        table: np.ndarray = np.zeros(max(self.values) + 1, dtype=np.uint8)
        table[list(self.values)] = np.arange(self.num_classes)
        return _looked_up(table, label if label.dtype.kind == "u" else label.astype(np.uint16))

    def to_values(self, index: np.ndarray) -> np.ndarray:
        """Class indices -> the scheme's own values, in `dtype`."""
        return _looked_up(np.asarray(self.values, dtype=self.dtype), index)

    def stray_values(self, label: np.ndarray) -> dict[float, int]:
        """Values outside the scheme and how many voxels hold each."""
        # Counting the few known values is ten times faster than the sort of np.unique on a whole volume.
        if sum(int(np.count_nonzero(label == value)) for value in self.values) == label.size:
            return {}
        found, counts = np.unique(label, return_counts=True)
        return {v.item(): int(n) for v, n in zip(found, counts, strict=True) if v not in self.values}

    def check_values(self, label: np.ndarray, file: str | Path | None = None, *, remedy: str | None = None) -> None:
        """Raises a `LabelError` for values outside the scheme: it names the first of them, what the scheme allows, and
        a map to try or `remedy`."""
        stray = self.stray_values(label)
        if not stray:
            return
        named = [f"{value:g} ({counted(count, 'voxel')})" for value, count in sorted(stray.items())[:_SHOWN]]
        more = [f"{len(stray) - _SHOWN} more values"] if len(stray) > _SHOWN else []
        held = {value for value in self.values if (label == value).any()}
        if len(stray) > 1 and str(file).lower().endswith(JPEG_SUFFIXES):
            remedy = CHANGED_BY_JPEG
        elif len(stray) > _MANY:
            remedy = _NO_LABEL
        raise LabelError(
            f"label values outside scheme {self.name}",
            file=file,
            found=" and ".join([", ".join(named), *more]),
            expected=", ".join(f"{value} {name}" for name, value in {"background": 0, **self.classes}.items()),
            remedy=remedy or suggest(self, stray, held),
        )

    def masks(self, label: np.ndarray) -> dict[str, np.ndarray]:
        """Boolean mask per class, then per region, of a label volume in scheme values.

        A region with a class's name (ET of BraTS) is that class and stands once.
        """
        single = {name: label == value for name, value in self.classes.items()}
        return single | {name: np.isin(label, members) for name, members in self.regions.items()}


def _looked_up(table: np.ndarray, index: np.ndarray) -> np.ndarray:
    """`table[index]`, in the memory order of the index."""
    if not (index.flags.c_contiguous or index.flags.f_contiguous):
        index = np.ascontiguousarray(index)
    values = np.empty_like(index, dtype=table.dtype)
    places, results = index.ravel(order="K"), values.ravel(order="K")  # views
    for start in range(0, places.size, _LOOKED_UP):
        results[start : start + _LOOKED_UP] = table[places[start : start + _LOOKED_UP]]
    return values


def _numbered(names: str) -> dict[str, int]:
    """`a, b` -> {a: 1, b: 2}."""
    return {name: value for value, name in enumerate(names.split(", "), start=1)}


def _brats(name: str, classes: dict[str, int], core: tuple[int, ...], enhancing: int) -> Scheme:
    """A scheme with the challenge's regions: enhancing tumor, tumor core, whole tumor (every class but a cavity)."""
    whole = tuple(value for label, value in classes.items() if label != "RC")
    return Scheme(name, classes, {"ET": (enhancing,), "TC": core, "WT": whole}, tolerance_mm=1.0)


SCHEMES: dict[str, Scheme] = {
    scheme.name: scheme
    for scheme in (
        Scheme("binary", {"foreground": 1}),
        _brats("brats2015", _numbered("necrosis, edema, non-enhancing, enhancing"), core=(1, 3, 4), enhancing=4),
        _brats("brats2021", {"NCR": 1, "ED": 2, "ET": 4}, core=(1, 4), enhancing=4),
        _brats("brats2023", {"NCR": 1, "ED": 2, "ET": 3}, core=(1, 3), enhancing=3),
        _brats("brats2024_gli", {"NETC": 1, "SNFH": 2, "ET": 3, "RC": 4}, core=(1, 3), enhancing=3),
        Scheme("acdc", _numbered("RV, MYO, LV")),
        Scheme(
            "synapse",
            _numbered("aorta, gallbladder, left kidney, right kidney, liver, pancreas, spleen, stomach"),
        ),
        Scheme(
            "btcv",
            _numbered(
                "spleen, right kidney, left kidney, gallbladder, esophagus, liver, stomach, aorta, inferior vena cava, "
                "portal and splenic veins, pancreas, right adrenal gland, left adrenal gland"
            ),
        ),
    )
}

BTCV_TO_SYNAPSE: dict[int, int] = {8: 1, 4: 2, 3: 3, 2: 4, 6: 5, 11: 6, 1: 7, 7: 8, 5: 0, 9: 0, 10: 0, 12: 0, 13: 0}
"""The thirteen BTCV organs to the eight of TransUNet's order; the other five become background."""


def get_scheme(name: str) -> Scheme:
    """The scheme of that name. Raises `LabelError` listing the valid names."""
    if name not in SCHEMES:
        raise unknown_name(LabelError, "label scheme", name, SCHEMES, n=2)
    return SCHEMES[name]


def stored_scheme(name: str, classes: Mapping[str, int], regions: Mapping[str, tuple[int, ...]]) -> Scheme:
    """A scheme read from a file; what files do not hold is taken from the scheme of that name."""
    scheme = Scheme(name, classes, regions)
    return replace(scheme, tolerance_mm=SCHEMES[name].tolerance_mm) if name in SCHEMES else scheme


def custom_scheme(classes: Mapping[str, int], regions: Mapping[str, list[int]] | None = None) -> Scheme:
    """A scheme from the config's own names and values."""
    return Scheme("custom", dict(classes), {name: tuple(values) for name, values in (regions or {}).items()})


def whole_values(stored: np.ndarray, file: Path | None = None) -> np.ndarray:
    """Label values as integers; a value within 0.001 of a whole number counts as that number.

    Raises:
        LabelError: values between whole numbers, or not finite.
    """
    if stored.dtype.kind != "f":
        return stored
    with np.errstate(invalid="ignore"):  # infinite minus infinite
        rounded = np.rint(stored)
        between = ~(np.abs(stored - rounded) <= _WHOLE)
    count = int(np.count_nonzero(between))
    if count:
        values = [f"{float(value):.4g}" for value in stored[between][:3]]
        raise LabelError(
            "label values are not whole numbers",
            file=file,
            found=f"{counted(count, 'voxel')} with values such as {', '.join(dict.fromkeys(values))}",
            expected="one whole number per class",
            remedy="Is it a probability map? Store the class of each voxel, and resample labels by nearest neighbor",
        )
    largest = float(np.abs(rounded).max(initial=0))
    whole: np.ndarray = rounded.astype(np.int32) if largest < 2**31 else rounded
    return whole


def remap(label: np.ndarray, table: Mapping[int, int]) -> np.ndarray:
    """Label values through a table, each mapped once; values that it does not list stay the same."""
    changes = {value: other for value, other in table.items() if value != other}
    if not changes:
        return label
    mapped = label.astype(np.result_type(label.dtype, *map(np.min_scalar_type, changes.values())))
    for value, other in changes.items():
        mapped[label == value] = other
    return mapped


def suggest(scheme: Scheme, stray: Collection[float], held: Collection[float]) -> str:
    """The next step for stray values, next to values of the scheme that the label holds too: the maps where few are
    possible, a related scheme that has the values, or a map to fill in."""
    if not all(float(value).is_integer() for value in stray):
        return "Resample labels by nearest neighbor, so that they stay whole numbers"
    if len(stray) == 1 and len(scheme.classes) == 1:
        (value,), ((name, inside),) = stray, scheme.classes.items()
        if inside not in held:
            return f"Set data.label_map: {{{value:g}: {inside}}}"
        return f"Set data.label_map: {{{value:g}: 0}} if these voxels are background, {{{value:g}: {inside}}} if {name}"
    template = ", ".join(f"{value:g}: 0" for value in stray)
    by_map = f"map them by data.label_map, such as {{{template}}}, where 0 leaves a value out"
    related = [other.name for other in SCHEMES.values() if _related(scheme, other) and set(stray) <= set(other.values)]
    if related:
        return f"If the files follow {' or '.join(related)}, set data.scheme to it; else {by_map}"
    return by_map[0].upper() + by_map[1:]


def _related(one: Scheme, other: Scheme) -> bool:
    """Two schemes of one field: they share the name of a class or region."""
    names = ({*scheme.classes, *scheme.regions} for scheme in (one, other))
    return one.name != other.name and not set.isdisjoint(*names)
