"""What file names alone say about a dataset."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class MappedLabels:
    """Labels in other values than the scheme's, which the layout maps as they are read."""

    values: Collection[int]
    """What the files may hold."""
    why: str
    doubt: str
    """Said where all values that were read are the scheme's own as well."""


@dataclass(frozen=True)
class Naming:
    """A layout and its patterns, what they were recognized by, and what is known of such datasets."""

    layout: str
    channels: Mapping[str, str]
    """Channel name -> pattern, in order."""
    label: str | None
    why: str
    """What the names look like, for the reader."""
    mask: str | None = None
    """Pattern of a mask of the brain or body."""
    scheme: str | None = None
    """A named scheme that these names promise; the values must still agree."""
    mapped: MappedLabels | None = None
    classes: Mapping[str, int] = field(default_factory=dict)
    """Class names written down in the dataset itself."""
    patient: str | None = None
    """Expression for the patient within a case id, where the names follow a standard."""
    case_id: str = "name"
    """As `data.case_id`."""
    as_acquired: str | None = None
    """Why slices are taken along the third stored axis (`data.orientation: native`), whatever the geometry says."""
    window_hu: tuple[float, float, str] | None = None
    """The usual window of such CT and its name."""
    by_convention: bool = True
    """A layout recognized its own names; else they were grouped by what they have in common."""
    doubts: tuple[str, ...] = ()
