"""Which images say of themselves that they were generated."""

from __future__ import annotations

from segcct.images.volume import Volume


def says_synthetic(volume: Volume) -> bool:
    """The header's description marks the image, or the mask that was written with it, as synthetic."""
    return volume.header is not None and b"synthetic" in bytes(volume.header["descrip"].item()).lower()
