"""The brats phantom: four skull-stripped MR contrasts of a brain with a glioma-like tumour, in the 2018-2021 layout."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segcct.files.atomic_file import atomic_path
from segcct.phantom.brain import BRAIN_EXTENT_MM, Brain, Tissues
from segcct.phantom.field import Frame, SmoothField
from segcct.phantom.phantom_files import Phantom, save, streams
from segcct.phantom.texture import bias_field, rician, soften
from segcct.phantom.tumor import Lesion, Tumour

SHAPE = (240, 240, 155)
_BRAIN_MIDDLE = np.array([119.5, 129.5, 74.5])
"""Where the brain's middle stands, in voxels of 1 mm."""

SIGNALS: dict[str, dict[str, float]] = {
    "t1": {"csf": 0.28, "grey": 0.66, "white": 0.92, "oedema": 0.64, "necrosis": 0.38, "enhancing": 0.64},
    "t1ce": {"csf": 0.28, "grey": 0.68, "white": 0.90, "oedema": 0.64, "necrosis": 0.38, "enhancing": 1.28},
    "t2": {"csf": 1.50, "grey": 0.78, "white": 0.54, "oedema": 1.00, "necrosis": 1.30, "enhancing": 0.90},
    "flair": {"csf": 0.24, "grey": 0.70, "white": 0.58, "oedema": 1.02, "necrosis": 0.55, "enhancing": 0.86},
}
"""Mean signal of each tissue where white matter on T1 is near 1; every patient's differ by some per cent."""


@dataclass(frozen=True)
class Extras:
    """Bright things that are no tumour, (X, Y, Z) in 0..1 each."""

    vessels: np.ndarray
    """Veins, sinuses and choroid plexus: as bright as enhancing tumour after contrast."""
    hyperintense: np.ndarray
    """White matter change of age: as bright as oedema on FLAIR and T2."""


def write_case(folder: Path, index: int, seed: int, reduce: int) -> str:
    """Write one case folder, whole or not at all, and return its id."""
    case_id = f"SegcctPhantom_{index:03d}"
    volumes, affine = draw(*streams("brats", seed, index), reduce)
    with atomic_path(folder / case_id) as staging:
        for name, array in volumes.items():
            save(array, affine, staging / f"{case_id}_{name}.nii.gz")
    return case_id


def draw(
    rng: np.random.Generator, noise_rng: np.random.Generator, reduce: int
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The volumes (`t1`, `t1ce`, `t2`, `flair` int16; `seg` uint8) of one patient and their affine (LPS)."""
    brain = Brain.draw(rng)
    tumour = Tumour.draw(rng, brain)
    whole = _frame(reduce)
    box = whole.box(-np.array(BRAIN_EXTENT_MM) / 2, np.array(BRAIN_EXTENT_MM) / 2)
    frame = whole.part(box)
    tissues = brain.tissues(frame, tumour.swellings)
    lesion = _lesion(tumour, frame, tissues)
    extras = _extras(rng, frame, tissues, lesion)
    volumes = {}
    for name, signals in SIGNALS.items():
        image = _contrast(rng, name, signals, frame, tissues, lesion, extras)
        image = _scanned(rng, noise_rng, image, name, frame) * tissues.mask
        volumes[name] = _pasted(image, box, whole.shape, np.int16)
    volumes["seg"] = _pasted(lesion.label, box, whole.shape, np.uint8)
    return volumes, _affine(reduce)


def _frame(reduce: int) -> Frame:
    axes = []
    for count, middle in zip(SHAPE, _BRAIN_MIDDLE, strict=True):
        voxel = (reduce - 1) / 2 + reduce * np.arange(-(-count // reduce))
        axes.append((voxel - middle).astype(np.float32))
    return Frame(tuple(axes))


def _affine(reduce: int) -> np.ndarray:
    affine = np.diag([-float(reduce), -float(reduce), float(reduce), 1.0])
    half = (reduce - 1) / 2
    affine[:3, 3] = (-half, SHAPE[1] - 1 - half, half)
    return affine


def _lesion(tumour: Tumour, frame: Frame, tissues: Tissues) -> Lesion:
    """The tumour over the whole frame, computed only where it can be."""
    box = tumour.box(frame)
    part = tumour.on(frame.part(box), tissues.part(box))
    necrosis, enhancing, oedema = (np.zeros(frame.shape, np.float32) for _ in range(3))
    whole = Lesion(necrosis, enhancing, oedema, np.zeros(frame.shape, np.uint8))
    for name in ("necrosis", "enhancing", "oedema", "label"):
        getattr(whole, name)[box] = getattr(part, name)
    return whole


def _extras(rng: np.random.Generator, frame: Frame, tissues: Tissues, lesion: Lesion) -> Extras:
    fields = [SmoothField.draw(rng, BRAIN_EXTENT_MM, step) for step in (12.0, 12.0, 7.0, 4.0, 20.0)]
    one, other, choroid, spots, patches = (field.on(frame) for field in fields)
    depth = tissues.depth_mm
    step = max(frame.spacing_mm)
    # Two random surfaces meet in curves: vessels, kept near the surface and in the sulci.
    width = np.float32(0.12 * max(1.0, step / 1.5))
    tubes = np.exp(-(one**2 + other**2) / (2 * width**2)) * np.clip(2.2 * tissues.csf + (depth < 12), 0, 1)
    x, y, _ = frame.open()
    sinus = np.exp(-(x**2) / 12) * ((depth < 5.0) & (y > -30)) * np.float32(0.9)
    dura = (depth < 2.2) * np.clip(patches - np.float32(0.6), 0, 1)
    plexus = (tissues.ventricle_mm < 0.5) * np.clip(choroid - np.float32(0.5), 0, 1)
    vessels = np.clip(tubes + sinus + dura + plexus, 0, 1)
    caps = np.exp(-tissues.ventricle_mm / 3.0) * np.clip(0.75 + 0.5 * patches, 0, 1.2)
    age = rng.uniform(0.0, 1.0)
    spotted = np.clip((spots - np.float32(3.2 - 0.7 * age)) * 2.5, 0, 1) * (depth > 8)
    hyper = np.clip(caps + spotted, 0, 1) * tissues.white * (lesion.label == 0)
    return Extras(vessels * (lesion.label == 0), hyper)


def _contrast(
    rng: np.random.Generator,
    name: str,
    signals: dict[str, float],
    frame: Frame,
    tissues: Tissues,
    lesion: Lesion,
    extras: Extras,
) -> np.ndarray:
    """The noise-free image of one contrast."""
    s = {tissue: np.float32(mean * rng.normal(1.0, 0.05)) for tissue, mean in signals.items()}
    if name == "flair":  # some necroses are as dark as fluid
        s["necrosis"] = np.float32(rng.uniform(0.3, 0.72))
    image = s["csf"] * tissues.csf + s["grey"] * tissues.grey + s["white"] * tissues.white
    if name in ("t1", "t1ce"):
        image += np.float32(0.6) * tissues.detail
    else:
        image -= np.float32(0.25) * tissues.detail
    bright = {"t1": 0.05, "t1ce": 0.75, "t2": -0.25, "flair": -0.1}[name]
    image += np.float32(bright) * extras.vessels
    if name in ("t2", "flair"):
        image += np.float32(0.8) * (s["oedema"] - s["white"]) * extras.hyperintense
    texture = SmoothField.draw(rng, BRAIN_EXTENT_MM, 5.0).on(frame)
    uneven = SmoothField.draw(rng, BRAIN_EXTENT_MM, 10.0).on(frame)
    healthy = 1 - lesion.necrosis - lesion.enhancing - lesion.oedema
    image *= healthy * (1 + np.float32(0.025) * texture) + np.float32(0.22) * lesion.oedema
    image += lesion.oedema * (np.float32(0.78) * s["oedema"] * (1 + np.float32(0.09) * uneven))
    image += lesion.enhancing * (s["enhancing"] * (1 + np.float32(0.14) * texture + np.float32(0.12) * uneven))
    image += lesion.necrosis * (s["necrosis"] * (1 + np.float32(0.10) * texture + np.float32(0.10) * uneven))
    return np.maximum(image, 0)


def _scanned(
    rng: np.random.Generator, noise_rng: np.random.Generator, image: np.ndarray, name: str, frame: Frame
) -> np.ndarray:
    """Bias, blur, noise and the scan's own intensity scale."""
    if name in ("t2", "flair") and frame.spacing_mm[2] < 2:
        image = soften(image, 0.25, (0, 1, 2))
    image = image * bias_field(rng, frame, BRAIN_EXTENT_MM, rng.uniform(0.06, 0.13))
    image = rician(noise_rng, image, rng.uniform(0.025, 0.045))
    scale = np.exp(rng.uniform(np.log(250), np.log(1100)))
    return np.clip(image * np.float32(scale), 1, 32000)


def _pasted(
    image: np.ndarray, box: tuple[slice, ...], shape: tuple[int, int, int], dtype: type[np.generic]
) -> np.ndarray:
    whole = np.zeros(shape, dtype)
    whole[box] = np.round(image).astype(dtype)
    return whole


PHANTOM = Phantom(write_case)
