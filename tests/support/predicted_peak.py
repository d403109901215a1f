"""Memory of a prediction, measured in this process and estimated: python -m tests.support.predicted_peak JSON DIR."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import nibabel as nib
import numpy as np
from torch import nn

from segcct.hardware.memory import peak_memory_mb
from segcct.inference import predictor as module
from segcct.inference.inference_settings import InferenceSettings
from segcct.inference.predictor import Predictor
from segcct.model_card import Architecture
from segcct.models.zoo import create_model
from segcct.predictions.folder_prediction import predict_folder
from segcct.predictions.prediction_request import resolve
from segcct.predictions.volumes_table import volumes_table
from tests.support import toy_pair
from tests.support.documents import ROOT

CASES: dict[str, tuple[list[int], dict[str, Any]]] = {
    "mask": ([256, 256, 300], {"channels": 1, "size": 32, "batch": 16, "fit": "resize"}),  # the scan and its mask
    "channels": ([256, 256, 100], {"channels": 4, "size": 32, "batch": 16, "fit": "resize", "intensity": {}}),
    "classes": ([256, 256, 16], {"channels": 1, "size": 64, "batch": 16, "classes": 14}),  # slices larger than trained
    "large": ([512, 512, 12], {"channels": 1, "size": 64, "batch": 16, "classes": 14}),  # in smaller batches
    "network": ([200, 200, 16], {"channels": 1, "size": 224, "batch": 8, "network": "cct_unet_s"}),
    "transunet": ([512, 512, 16], {"channels": 1, "size": 224, "batch": 16, "protocol": "transunet"}),
    "volumes": ([160, 160, 96], {"channels": 1, "size": 32, "batch": 4, "dims": 3, "classes": 14}),
}
"""Name -> shape of the scan, and settings of `made`; in each, another part takes the most memory."""


def peaks_of(name: str, folder: Path) -> dict[str, int]:
    """Bytes `measured` and `estimated` of one of `CASES`, from a process of its own; `folder` keeps its files."""
    shape, settings = CASES[name]
    if not folder.exists():
        write_case(folder / "small", [16, 16, 3], settings["channels"])
        write_case(folder / "large", shape, settings["channels"])
    given = json.dumps({"classes": 4, "network": "cct_unet_t", **settings})
    command = [sys.executable, "-m", "tests.support.predicted_peak", given, str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", check=True)
    found: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    return found


def made(
    channels: int, classes: int, network: str, size: int, batch: int, dims: int = 2, protocol: str = "soft", **data: Any
) -> Predictor:
    """An untrained model; a 3-D one is a single convolution."""
    labels = {f"organ {value}": value for value in range(1, classes)}
    names = {f"c{index}": f"c{index}.nii" for index in range(channels)}
    section = toy_pair.data_section(channels=names, labels=labels, image_size=size, **data)
    built = Architecture(name=network, in_channels=channels, num_classes=classes, image_size=size)
    scheme = {"name": "custom", "classes": labels}
    card = toy_pair.card("segmentation", section, architecture=built, scheme=scheme, spatial_dims=dims)
    card = type(card).model_validate(card.model_dump())
    of_slices = dims == 2
    model = create_model(network, channels, classes, size) if of_slices else nn.Conv3d(channels, classes, 1)
    return Predictor(model, card, InferenceSettings(batch, "fp32", "cpu", protocol))


def write_case(folder: Path, shape: list[int], channels: int) -> None:
    """A dataset of one case, of integers."""
    for index in range(channels):
        voxels = np.random.default_rng(index).integers(1, 99, [1, 1, shape[2]], dtype=np.int16)
        file = folder / "case" / f"c{index}.nii"
        file.parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(np.asfortranarray(np.broadcast_to(voxels, shape)), np.eye(4)), file)


def main(settings: dict[str, Any], folder: Path) -> None:
    """Predict the cases in `folder/small` and `folder/large`; print the bytes measured and estimated of the second."""
    predictor, estimates = made(**settings), []
    with mock.patch.object(
        module, "check_memory", lambda case, needed, _: estimates.append(needed(case.how.batch_size))
    ):
        for name in ("small", "large"):
            before = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize()
            request, tables = resolve(predictor.card, folder / name), [volumes_table(list(predictor.card.classes))]
            predict_folder(predictor, request, folder / f"masks of {name}", tables=tables)
    measured = round(1e6 * (peak_memory_mb() or 0)) - before
    print(json.dumps({"measured": measured, "estimated": max(estimates[-2:])}))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), Path(sys.argv[2]))
