"""Voxels as the text header of a NRRD or MetaImage file describes them, and the reading of them.

Sizes are checked against the file before memory is taken, and voxels that are not there are an error: ITK, given a
compressed stream that ends too early, hands out whatever stood in memory.
"""

from __future__ import annotations

import os
import zlib
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

import numpy as np

from segcct.errors import VolumeError
from segcct.images.claims import AGAIN, DEFLATE_RATIO, refuse_claim
from segcct.images.inflate import Inflated
from segcct.images.streams import read_exactly, skip

_DAMAGED = (OSError, EOFError, ValueError, OverflowError, zlib.error)
_MOST_TEXT = 2**25
"""Bytes of voxels written as text that are read."""
_EXACT = 2.0**53


@dataclass(frozen=True)
class Stored:
    """Where voxels are and how they are written."""

    header: Path
    """The file with the header, for messages."""
    file: Path
    """The file with the voxels, which may be the same."""
    shape: tuple[int, ...]
    """Sizes of all axes, fastest first."""
    dtype: np.dtype
    encoding: str = "raw"
    """raw, gzip (or bare zlib), ascii or hex."""
    start: int | None = 0
    """Bytes before the (compressed) voxels; None: they are the end of the file."""
    skip: int = 0
    """Bytes to pass over in the decompressed data."""

    def check(self) -> int:
        """Bytes of the voxels. Raises `VolumeError` where the file cannot hold them."""
        held = self.file.stat().st_size - (self.start or 0) - (0 if self.encoding == "gzip" else self.skip)
        ratio = {"gzip": DEFLATE_RATIO, "ascii": self.dtype.itemsize}.get(self.encoding, 1)
        if self.encoding in ("ascii", "hex") and held > _MOST_TEXT:
            raise VolumeError("too many voxels are written as text", file=self.header, remedy="Save it as raw or gzip")
        return refuse_claim(self.header, self.shape, self.dtype.itemsize, max(0, held), ratio=ratio)

    def read(self) -> np.ndarray:
        """All voxels, fastest axis first, in one row. Raises `VolumeError` where they end too early."""
        size = self.check()
        try:
            with self.file.open("rb") as stream:
                stream.seek(self.start if self.start is not None else os.fstat(stream.fileno()).st_size - size)
                if self.encoding == "ascii":
                    return self._from_text(stream.read())
                if self.encoding == "hex":
                    return self._from_hex(stream.read(), size)
                return self._from_bytes(stream, size)
        except _DAMAGED as error:
            early = isinstance(error, EOFError)
            raise VolumeError(
                "cannot be read as an image",
                file=self.header,
                found="truncated data: its voxels end too early" if early else str(error),
                remedy=AGAIN,
            ) from error

    def _from_bytes(self, stream: BufferedReader, size: int) -> np.ndarray:
        content: BufferedReader | Inflated = stream
        if self.encoding == "gzip":
            content = Inflated(stream, bare=True)
        skip(content, self.skip)
        voxels = read_exactly(content, size)
        if isinstance(content, Inflated):
            content.rest(0)  # where the stream ends here, its checksum is compared
        return voxels.view(self.dtype)

    def _from_hex(self, text: bytes, size: int) -> np.ndarray:
        voxels = np.frombuffer(bytearray.fromhex(text.decode("ascii")), np.uint8)
        if voxels.size < size:
            raise EOFError
        return voxels[:size].view(self.dtype)

    def _from_text(self, text: bytes) -> np.ndarray:
        voxels = int(np.prod(self.shape))
        numbers = np.array(text.split(maxsplit=voxels)[:voxels], dtype=np.float64)
        if numbers.size < voxels:
            raise EOFError
        if self.dtype.kind == "f":
            return numbers.astype(self.dtype)
        limits = np.iinfo(self.dtype)
        low, high = max(limits.min, -_EXACT), min(limits.max, _EXACT)
        if not ((numbers >= low) & (numbers <= high) & (numbers == np.rint(numbers))).all():
            raise ValueError(f"values that are no {self.dtype.name}")
        return numbers.astype(self.dtype)
