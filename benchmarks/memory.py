"""The most memory that a prediction takes: a large scan and a small network that has 14 classes.

    python benchmarks/memory.py [--shape 512 512 700] [--classes 14] [--rule clip] [--fit resize] [--layout single]

Prints the peak of `segcct predict` as the system saw it, the seconds, and the digest of the mask, by which two versions
of segcct are compared. The weights are random: what is measured does not depend on them.
"""

from __future__ import annotations

import argparse
import hashlib
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import torch

from segcct.config import DataSection
from segcct.hardware.memory import resident_mb
from segcct.model_card import Architecture, ModelCard, SchemeCard, reading, save_model
from segcct.models.zoo import create_model

MODEL, SIDE = "cct_unet_t", 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", type=int, nargs=3, default=[512, 512, 700], metavar=("X", "Y", "Z"))
    parser.add_argument("--classes", type=int, default=14, help="background included")
    parser.add_argument("--rule", choices=["clip", "zscore_nonzero"], default="clip", help="intensity normalization")
    parser.add_argument("--fit", choices=["resize", "pad"], default="resize", help="resized to 32 pixels, or as it is")
    parser.add_argument("--layout", choices=["single", "folder"], default="single", help="one file, or a case folder")
    parser.add_argument("--slope", type=float, default=1.0, help="intensity scale in the header")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_model(folder / "best", arguments)
        scan = write_scan(folder / "scans" / "case" / "ct.nii", arguments.shape, arguments.slope)
        source = scan if arguments.layout == "single" else folder / "scans"
        command = [sys.executable, "-m", "segcct.cli", "predict", "--model", str(folder / "best"),
                   "--input", str(source), "--output", str(folder / "masks"), "--precision", "fp32"]  # fmt: skip
        began = time.monotonic()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        seconds = time.monotonic() - began
        mask = np.asarray(nib.load(next((folder / "masks").glob("*.nii.gz"))).dataobj)
    peak_mb = resident_mb(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
    digest = hashlib.sha256(np.asfortranarray(mask).tobytes(order="F")).hexdigest()[:16]
    print(f"{vars(arguments)}\npeak {peak_mb:,.0f} MB, {seconds:.0f} s, {len(np.unique(mask))} values, mask {digest}")


def write_model(folder: Path, arguments: argparse.Namespace) -> None:
    """A `best/` folder of random weights."""
    labels = {f"organ {value}": value for value in range(1, arguments.classes)}
    data = DataSection.model_validate({
        "layout": "folder", "root": "nowhere", "channels": {"ct": "ct.nii"}, "scheme": "custom", "labels": labels,
        "fit": arguments.fit, "image_size": SIDE,
        "intensity": {"rule": "clip", "low": -160, "high": 240} if arguments.rule == "clip" else {},
    })  # fmt: skip
    torch.manual_seed(0)
    network = create_model(MODEL, 1, arguments.classes, SIDE, {})
    card = ModelCard(
        task="segmentation",
        architecture=Architecture(name=MODEL, in_channels=1, num_classes=arguments.classes, image_size=SIDE),
        data=reading(data),
        scheme=SchemeCard(name="custom", classes=labels),
        selected_on={},
        data_fingerprint="",
        provenance={},
    )
    save_model(folder, network.state_dict(), card)


def write_scan(file: Path, shape: list[int], slope: float) -> Path:
    """Smooth noise in Hounsfield units, the same for a shape."""
    file.parent.mkdir(parents=True)
    coarse = np.random.default_rng(0).normal(0, 150, [-(-side // 16) for side in shape]).astype(np.int16)
    voxels = np.asfortranarray(coarse.repeat(16, 0).repeat(16, 1).repeat(16, 2)[: shape[0], : shape[1], : shape[2]])
    image = nib.Nifti1Image(voxels, np.diag([0.8, 0.8, 1.0, 1.0]))
    image.header.set_slope_inter(slope, 0.0)
    nib.save(image, file)
    return file


if __name__ == "__main__":
    main()
