"""What file names alone say about a dataset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Naming:
    """A layout and its patterns, and what they were recognised by."""

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
    classes: Mapping[str, int] = field(default_factory=dict)
    """Class names written down in the dataset itself."""
    patient: str | None = None
    """Expression for the patient within a case id, where the names follow a standard."""
    case_id: str = "name"
    """As `data.case_id`."""
    doubts: tuple[str, ...] = ()
