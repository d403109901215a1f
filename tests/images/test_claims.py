"""What a header may claim: what the file can hold and the memory can take, and no less than people's images need."""

from __future__ import annotations

from pathlib import Path

import pytest

from segcct.errors import VolumeError
from segcct.images import size_limits as claims
from segcct.images.size_limits import DEFLATE_RATIO, refuse_claim

FILE = Path("scan.nii.gz")


@pytest.fixture(autouse=True)
def large_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "free_memory_gb", lambda: 64.0)


@pytest.mark.parametrize(
    ("shape", "itemsize", "held", "ratio"),
    [
        ((512, 512, 1500), 8, 5_000_000, DEFLATE_RATIO),  # a mask of a whole body as float64, which is mostly zeros
        ((2000, 2000, 1000), 1, 4_000_000_000, 1),  # micro-CT
        ((512, 512, 3000), 8, 6_291_456_000, 1),
        ((512, 512, 3000), 4, 900_000_000, DEFLATE_RATIO),
    ],
)
def test_images_of_people_and_animals_are_read(shape: tuple[int, ...], itemsize: int, held: int, ratio: int) -> None:
    refuse_claim(FILE, shape, itemsize, held, ratio=ratio)


@pytest.mark.parametrize(
    ("shape", "itemsize", "held", "told"),
    [
        ((512, 512, 2500), 8, 8_000_000, r"compressed voxels become too many.*Save it in a smaller type"),
        ((512, 512, 100), 1, 20_000, r"truncated data, or a damaged header"),
        ((4000, 4000, 4000), 1, 10**10, r"more voxels than are read"),
        ((512, 0, 100), 1, 10**6, r"no usable size"),
    ],
)
def test_what_cannot_be_or_would_take_too_long_is_refused(
    shape: tuple[int, ...], itemsize: int, held: int, told: str
) -> None:
    with pytest.raises(VolumeError, match=told):
        refuse_claim(FILE, shape, itemsize, held, ratio=DEFLATE_RATIO)


def test_what_does_not_fit_into_the_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "free_memory_gb", lambda: 0.5)
    with pytest.raises(VolumeError, match="do not fit into the free memory"):
        refuse_claim(FILE, (1000, 1000, 1000), 1, 10**9)
