"""What the text headers of NRRD and MetaImage files have in common: bounded, read strictly, refused in one error."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from segcct.errors import VolumeError

_USUAL, _MOST = 2**16, 2**23
_MOST_DIGITS = 12


class TextHeader:
    """The fields of one file's header, by name."""

    def __init__(self, path: Path, kind: str) -> None:
        self.path = path
        self.kind = kind
        """NRRD or MetaImage."""
        self.fields: dict[str, str] = {}
        self.end = 0
        """Bytes of the header."""

    def read_until(self, end_in: Callable[[bytes], int]) -> bytes:
        """The beginning of the file, as far as `end_in` finds the header's end in it (above 0); sets `end`."""
        with self.path.open("rb") as stream:
            content = stream.read(_USUAL)
            self.end = end_in(content)
            if self.end <= 0:
                content += stream.read(_MOST - _USUAL)
                self.end = end_in(content)
        if self.end <= 0 and len(content) == _MOST:
            raise self.unusable("no end of the header")
        return content

    def text(self, key: str) -> str:
        """A field; `missing` where there is none."""
        return self.fields.get(key, "missing")

    def shape(self, dimension: str, sizes: str) -> tuple[int, ...]:
        """Sizes of 2 to 5 axes, by the names of the two fields that give them. Raises `VolumeError`."""
        dims = self.whole(dimension)
        shape = tuple(self.whole(sizes, word) for word in self.fields.get(sizes, "").split())
        if not 2 <= dims <= 5 or len(shape) != dims:
            raise self.unusable(f"{dimension} {dims}, {sizes} {self.text(sizes)[:60]}")
        return shape

    def whole(self, key: str, word: str | None = None) -> int:
        """A field, or a word of it, as a whole number. Raises `VolumeError`."""
        word = self.text(key) if word is None else word
        if not word.removeprefix("-").isdecimal() or not word.isascii() or len(word) > _MOST_DIGITS:
            raise self.unusable(f"{key} {word[:40]!a}")
        return int(word)

    def unusable(self, found: str) -> VolumeError:
        """The error of a header that cannot be followed."""
        what = f"cannot be read as an image: its {self.kind} header is damaged or of an unknown kind"
        return VolumeError(what, file=self.path, found=found)
