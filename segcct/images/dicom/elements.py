"""Values of header elements as numbers and text; what is malformed is an error that names the file and the tag."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from segcct.errors import VolumeError
from segcct.images.dicom.tags import Tag

_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")


@dataclass(frozen=True)
class Elements:
    """One dataset: the file's own, or an item of a sequence in it."""

    file: Path
    values: Mapping[int, bytes | list[Elements]]
    """Tag -> value as stored, or the items of a sequence."""
    big_endian: bool = False

    @property
    def sop_class(self) -> str:
        """UID of the kind of object; empty where the file names none."""
        return self.text(Tag.SOPClassUID) or self.text(Tag.MediaStorageSOPClassUID)

    def text(self, tag: Tag) -> str:
        """The value without padding; empty where there is none."""
        value = self.values.get(tag, b"")
        return value.decode("latin-1").strip(" \0") if isinstance(value, bytes) else ""

    def items(self, tag: Tag) -> list[Elements]:
        """The items of a sequence; none where there is none."""
        value = self.values.get(tag, [])
        return value if isinstance(value, list) else []

    def numbers(self, tag: Tag, count: int) -> tuple[float, ...] | None:
        """Decimal or integer strings; None where the element is absent or empty.

        Raises:
            VolumeError: another count of values, or one that is no finite number.
        """
        text = self.text(tag)
        if not text:
            return None
        parts = [part.strip(" \0") for part in text.split("\\")]
        if len(parts) != count or not all(_NUMBER.fullmatch(part) for part in parts):
            raise self.malformed(tag, text, f"{count} number{'s' if count > 1 else ''}")
        numbers = tuple(float(part) for part in parts)
        if max(abs(number) for number in numbers) > 1e30:
            raise self.malformed(tag, text, "numbers of sensible size")
        return numbers

    def number(self, tag: Tag) -> float | None:
        """One decimal or integer string; None where the element is absent or empty. Raises `VolumeError`."""
        numbers = self.numbers(tag, 1)
        return None if numbers is None else numbers[0]

    def integer(self, tag: Tag, default: int | None = None) -> int:
        """A binary unsigned number. Raises `VolumeError` where it is absent and there is no default, or malformed."""
        value = self.values.get(tag, b"")
        if not value and default is not None:
            return default
        if not isinstance(value, bytes) or len(value) not in (2, 4):
            raise self.malformed(tag, "" if not value else f"{len(value)} bytes", "one whole number")
        return int.from_bytes(value, "big" if self.big_endian else "little")

    def malformed(self, tag: Tag, found: str, expected: str) -> VolumeError:
        """The error that names file and tag."""
        what = f"{tag} is {'missing or empty' if not found else 'malformed'}"
        return VolumeError(what, file=self.file, found=printable(found) or None, expected=expected)


def printable(text: str) -> str:
    """What a file says, fit for one line of a message."""
    shown = text if len(text) <= 80 else f"{text[:80]}..."
    return "".join(letter if letter.isprintable() else "?" for letter in shown)
