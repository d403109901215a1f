"""Peak memory of a prediction: a large synthetic scan, and a small network with many classes.

    python benchmarks/memory.py [--shape 512 512 700] [--classes 14] [--rule clip] [--fit resize] [--layout single]

Prints the peak memory of `segcct predict` as measured by the system, the seconds, and a digest of the mask, which shows
whether two versions of segcct write the same mask. The network has random weights, which changes neither memory nor
time.
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
import program
from machine import environment

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from segcct.config import DataSection
from segcct.hardware.memory import resident_mb
from tests.support.untrained import save_untrained

MODEL, SIDE = "cct_unet_t", 32


def main() -> None:
    """Predict one scan, and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", type=int, nargs=3, default=[512, 512, 700], metavar=("X", "Y", "Z"))
    parser.add_argument("--classes", type=int, default=14, help="number of classes, with background")
    parser.add_argument("--rule", choices=["clip", "zscore_nonzero"], default="clip", help="intensity normalization")
    parser.add_argument("--fit", choices=["resize", "pad"], default="resize", help="32 pixels, or full size")
    parser.add_argument("--layout", choices=["single", "folder"], default="single", help="one file, or a dataset root")
    parser.add_argument("--slope", type=float, default=1.0, help="intensity slope in the header")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_untrained(folder / "best", MODEL, data_of(arguments))
        scan = write_scan(folder / "scans" / "case" / "ct.nii", arguments.shape, arguments.slope)
        source = scan if arguments.layout == "single" else folder / "scans"
        command = [sys.executable, "-m", "segcct.cli", "predict", "--model", str(folder / "best"),
                   "--input", str(source), "--output", str(folder / "masks"), "--precision", "fp32"]  # fmt: skip
        began = time.monotonic()
        done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False, env=environment())
        seconds = time.monotonic() - began
        if done.returncode:
            sys.exit(done.stderr)
        mask = np.asarray(nib.Nifti1Image.from_filename(next((folder / "masks").glob("*.nii.gz"))).dataobj)
    peak_mb = resident_mb(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
    digest = hashlib.sha256(np.asfortranarray(mask).tobytes(order="F")).hexdigest()[:16]
    print(f"{vars(arguments)}\npeak {peak_mb:,.0f} MB, {seconds:.0f} s, {len(np.unique(mask))} values, mask {digest}")


def data_of(arguments: argparse.Namespace) -> DataSection:
    """The data section of the model."""
    return DataSection.model_validate({
        "layout": "folder", "root": "nowhere", "channels": {"ct": "ct.nii"}, "scheme": "custom",
        "labels": {f"organ {value}": value for value in range(1, arguments.classes)},
        "fit": arguments.fit, "image_size": SIDE,
        "intensity": {"rule": "clip", "low": -160, "high": 240} if arguments.rule == "clip" else {},
    })  # fmt: skip


def write_scan(file: Path, shape: list[int], slope: float) -> Path:
    """Write blocks of noise in Hounsfield units, always the same for a shape."""
    file.parent.mkdir(parents=True)
    coarse = np.random.default_rng(0).normal(0, 150, [-(-side // 16) for side in shape]).astype(np.int16)
    voxels = np.asfortranarray(coarse.repeat(16, 0).repeat(16, 1).repeat(16, 2)[: shape[0], : shape[1], : shape[2]])
    image = nib.Nifti1Image(voxels, np.diag([0.8, 0.8, 1.0, 1.0]))
    image.header.set_slope_inter(slope, 0.0)
    nib.save(image, file)
    return file


if __name__ == "__main__":
    program.run(main)
