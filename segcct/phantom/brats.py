"""The brats phantom: four skull-stripped MR contrasts of a brain with a glioma-like tumor, in the 2018-2021 layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from segcct.files.atomic_file import atomic_path
from segcct.phantom.brain import BRAIN_EXTENT_MM, Brain, Tissues
from segcct.phantom.canvas import bias_field, rician, soften
from segcct.phantom.field import Frame, SmoothField
from segcct.phantom.phantom_files import Phantom, save, streams
from segcct.phantom.tumor import Lesion, Tumor

SHAPE = (240, 240, 155)
_BRAIN_MIDDLE = (119.5, 129.5, 74.5)
"""Where the brain's middle stands, in voxels of 1 mm."""

SIGNALS: dict[str, dict[str, float]] = {
    "t1": {"csf": 0.28, "gray": 0.66, "white": 0.92, "edema": 0.64, "necrosis": 0.38, "enhancing": 0.64},
    "t1ce": {"csf": 0.28, "gray": 0.68, "white": 0.90, "edema": 0.64, "necrosis": 0.38, "enhancing": 1.28},
    "t2": {"csf": 1.50, "gray": 0.78, "white": 0.54, "edema": 1.00, "necrosis": 1.30, "enhancing": 0.90},
    "flair": {"csf": 0.24, "gray": 0.70, "white": 0.58, "edema": 1.02, "necrosis": 0.55, "enhancing": 0.86},
}
"""Mean signal of each tissue where white matter on T1 is near 1; every patient's differ by some per cent."""
_VESSEL_SIGNALS = {"t1": 0.05, "t1ce": 0.75, "t2": -0.25, "flair": -0.1}
"""What a vessel adds."""


def write_case(folder: Path, index: int, seed: int, reduce: int) -> str:
    """Write one case folder atomically and return its id."""
    case_id = f"SegcctPhantom_{index:03d}"
    volumes = draw(*streams("brats", seed, index), reduce)
    half = (reduce - 1) / 2
    affine = np.diag([-float(reduce), -float(reduce), float(reduce), 1.0])  # LPS
    affine[:3, 3] = (-half, SHAPE[1] - 1 - half, half)
    with atomic_path(folder / case_id) as staging:
        for name, array in volumes.items():
            save(array, affine, staging / f"{case_id}_{name}.nii.gz")
    return case_id


def draw(rng: np.random.Generator, noise_rng: np.random.Generator, reduce: int) -> dict[str, np.ndarray]:
    """The volumes (`t1`, `t1ce`, `t2`, `flair` int16; `seg` uint8) of one patient."""
    brain = Brain(rng)
    tumor = Tumor(rng, brain)
    voxels = ((reduce - 1) / 2 + reduce * np.arange(-(-count // reduce)) for count in SHAPE)
    whole = Frame(tuple((voxel - at).astype(np.float32) for voxel, at in zip(voxels, _BRAIN_MIDDLE, strict=True)))
    box = whole.box(-np.array(BRAIN_EXTENT_MM) / 2, np.array(BRAIN_EXTENT_MM) / 2)
    frame = whole.part(box)
    tissues = brain.tissues(frame, tumor.swelling)
    lesion = tumor.on(frame, tissues)
    vessels, hyperintense = _normal_findings(rng, frame, tissues, lesion)
    volumes = {}
    for name in SIGNALS:
        image = _contrast(rng, name, frame, tissues, lesion, vessels, hyperintense)
        volumes[name] = np.zeros(whole.shape, np.int16)
        volumes[name][box] = np.round(_scanned(rng, noise_rng, image, name, frame) * tissues.mask)
    volumes["seg"] = np.zeros(whole.shape, np.uint8)
    volumes["seg"][box] = lesion.label
    return volumes


def _normal_findings(
    rng: np.random.Generator, frame: Frame, tissues: Tissues, lesion: Lesion
) -> tuple[np.ndarray, np.ndarray]:
    """Bright things that are no tumor, (X, Y, Z) in 0..1 each.

    First veins, sinuses and choroid plexus, as bright as enhancing tumor after contrast; then white matter changes of
    age, as bright as edema on FLAIR and T2.
    """
    fields = [SmoothField.draw(rng, BRAIN_EXTENT_MM, step) for step in (12.0, 12.0, 7.0, 4.0, 20.0)]
    one, other, choroid, spots, patches = (field.on(frame) for field in fields)
    depth = tissues.depth_mm
    # Two random surfaces meet in curves: vessels, kept near the surface and in the sulci.
    width = np.float32(0.12 * max(1.0, max(frame.spacing_mm) / 1.5))
    tubes = np.exp(-(one**2 + other**2) / (2 * width**2)) * np.clip(2.2 * tissues.csf + (depth < 12), 0, 1)
    x, y, _ = frame.open()
    sinus = np.exp(-(x**2) / 12) * ((depth < 5.0) & (y > -30)) * np.float32(0.9)
    dura = (depth < 2.2) * np.clip(patches - np.float32(0.6), 0, 1)
    plexus = (tissues.ventricle_mm < 0.5) * np.clip(choroid - np.float32(0.5), 0, 1)
    vessels = np.clip(tubes + sinus + dura + plexus, 0, 1)
    caps = np.exp(-tissues.ventricle_mm / 3.0) * np.clip(0.75 + 0.5 * patches, 0, 1.2)
    age = rng.uniform(0.0, 1.0)
    spotted = np.clip((spots - np.float32(3.2 - 0.7 * age)) * 2.5, 0, 1) * (depth > 8)
    hyperintense = np.clip(caps + spotted, 0, 1) * tissues.white * (lesion.label == 0)
    return vessels * (lesion.label == 0), hyperintense


def _contrast(
    rng: np.random.Generator,
    name: str,
    frame: Frame,
    tissues: Tissues,
    lesion: Lesion,
    vessels: np.ndarray,
    hyperintense: np.ndarray,
) -> np.ndarray:
    """The noise-free image of one contrast."""
    s = {tissue: np.float32(mean * rng.normal(1.0, 0.05)) for tissue, mean in SIGNALS[name].items()}
    if name == "flair":  # some necroses are as dark as fluid
        s["necrosis"] = np.float32(rng.uniform(0.3, 0.72))
    image = s["csf"] * tissues.csf + s["gray"] * tissues.gray + s["white"] * tissues.white
    image += np.float32(0.6 if name in ("t1", "t1ce") else -0.25) * tissues.detail
    image += np.float32(_VESSEL_SIGNALS[name]) * vessels
    if name in ("t2", "flair"):
        image += np.float32(0.8) * (s["edema"] - s["white"]) * hyperintense
    texture = SmoothField.draw(rng, BRAIN_EXTENT_MM, 5.0).on(frame)
    uneven = SmoothField.draw(rng, BRAIN_EXTENT_MM, 10.0).on(frame)
    healthy = 1 - lesion.necrosis - lesion.enhancing - lesion.edema
    image *= healthy * (1 + np.float32(0.025) * texture) + np.float32(0.22) * lesion.edema
    image += lesion.edema * (np.float32(0.78) * s["edema"] * (1 + np.float32(0.09) * uneven))
    image += lesion.enhancing * (s["enhancing"] * (1 + np.float32(0.14) * texture + np.float32(0.12) * uneven))
    image += lesion.necrosis * (s["necrosis"] * (1 + np.float32(0.10) * texture + np.float32(0.10) * uneven))
    return np.maximum(image, 0)


def _scanned(
    rng: np.random.Generator, noise_rng: np.random.Generator, image: np.ndarray, name: str, frame: Frame
) -> np.ndarray:
    """Bias, blur, noise and the scan's own intensity scale."""
    if name in ("t2", "flair") and frame.spacing_mm[2] < 2:
        image = soften(image, (0, 1, 2))
    image = image * bias_field(rng, frame, BRAIN_EXTENT_MM, rng.uniform(0.06, 0.13))
    image = rician(noise_rng, image, rng.uniform(0.025, 0.045))
    scale = np.exp(rng.uniform(np.log(250), np.log(1100)))
    return np.clip(image * np.float32(scale), 1, 32000)


PHANTOM = Phantom(write_case)
