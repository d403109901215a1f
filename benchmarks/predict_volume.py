"""Time and peak memory of predicting one scan, from files to a file, compared with two other procedures.

    python benchmarks/predict_volume.py --scan SCAN --repeat 3

SCAN is a folder of four sequences of 240 x 240 x 155 voxels, as of BraTS. Procedures:
    swin_unet  as published for Swin-Unet (Cao et al. 2021), with segcct's swin_unet_tiny: slice by slice, cubic resize
               to 224 pixels, one slice per call, argmax, nearest-neighbor resize back
    monai      MONAI's SliceInferer with its defaults, with segcct's cct_unet_s: windows of 160 pixels in batches of 16
    segcct     `segcct predict` with the same cct_unet_s
    onnx, openvino
               the same with `--backend`, after a first run that exports the network and does not count
    runner     `python -m segcct.runtime` with the exported cct_unet_s, without PyTorch

Table: a row per procedure and precision, each a process of its own that reads the scan, predicts and writes the mask.
Of the repeats, the shortest times and the largest peak memory count. The networks have random weights, which changes
neither time nor memory.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import program
import torch
from torch import Tensor, nn

from segcct.hardware.memory import resident_mb

CHANNELS = ("t2f", "t1c", "t1n", "t2w")
CLASSES = {"NCR": 1, "ED": 2, "ET": 3}
SIDE = 160
"""Image size of configs/brats_cct_unet.yaml."""
MODEL_FILE = "model.onnx"
ROWS = [
    ("swin_unet", "fp32"),
    ("swin_unet", "bf16"),
    ("monai", "fp32"),
    ("monai", "bf16"),
    ("segcct", "fp32"),
    ("segcct", "bf16"),
    ("onnx", "fp32"),
    ("openvino", "fp32"),
    ("openvino", "bf16"),
    ("runner", "fp32"),
]


def write_model(folder: Path) -> None:
    """Write the `best/` folder of cct_unet_s with random weights, which reads scans as configs/brats_cct_unet.yaml."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from segcct.config import DataSection
    from tests.support.untrained import save_untrained

    data = DataSection.model_validate({
        "layout": "folder", "root": "nowhere", "channels": {name: f"{name}.nii.gz" for name in CHANNELS},
        "scheme": "custom", "labels": CLASSES, "crop": "foreground", "image_size": SIDE,
    })  # fmt: skip
    save_untrained(folder, "cct_unet_s", data)


def network_of(name: str, side: int) -> nn.Module:
    """A network with random weights, the same in every process."""
    from segcct.models.zoo import create_model

    torch.manual_seed(0)
    return create_model(name, 4, 4, side, {}).eval()


def read(scan: Path) -> tuple[np.ndarray, np.ndarray]:
    """(4, X, Y, Z) float32, each channel standardized over its nonzero voxels, and the affine."""
    images = [nib.Nifti1Image.from_filename(scan / f"{name}.nii.gz") for name in CHANNELS]
    volume = np.stack([image.get_fdata(dtype=np.float32) for image in images])
    for channel in volume:
        inside = channel[channel > 0]
        channel -= inside.mean()
        channel /= inside.std()
    return volume, images[0].affine


@torch.inference_mode()
def swin_unet(scan: Path, output: Path) -> None:
    """The procedure of Swin-Unet."""
    from scipy.ndimage import zoom

    network, (volume, affine) = network_of("swin_unet_tiny", 224), read(scan)
    mask = np.zeros(volume.shape[1:], dtype=np.uint8)
    rows, columns = mask.shape[:2]
    for index in range(mask.shape[2]):
        small = zoom(volume[..., index], (1, 224 / rows, 224 / columns), order=3)
        labels = network(torch.from_numpy(small[None])).softmax(dim=1).argmax(dim=1)[0].numpy().astype(np.uint8)
        mask[..., index] = zoom(labels, (rows / 224, columns / 224), order=0)
    nib.save(nib.Nifti1Image(mask, affine), output / "mask.nii.gz")


@torch.inference_mode()
def monai(scan: Path, output: Path) -> None:
    """The procedure of MONAI."""
    from monai.inferers import SliceInferer

    network, (volume, affine) = network_of("cct_unet_s", SIDE), read(scan)
    inferer = SliceInferer(roi_size=(SIDE, SIDE), sw_batch_size=16, spatial_dim=2)
    logits = inferer(torch.from_numpy(volume)[None], network)
    assert isinstance(logits, Tensor)
    nib.save(nib.Nifti1Image(logits.argmax(dim=1)[0].to(torch.uint8).numpy(), affine), output / "mask.nii.gz")


def in_process(procedure: str, precision: str, scan: Path, output: Path) -> None:
    """Run swin_unet or monai in this process."""
    from segcct.hardware.precision import autocast
    from segcct.hardware.processor import core_share

    torch.set_num_threads(core_share())
    with autocast("cpu", precision):
        {"swin_unet": swin_unet, "monai": monai}[procedure](scan, output)


def measured(command: list[str]) -> tuple[float, float, float]:
    """Seconds, seconds of all cores together, and peak megabytes of a process. Raises `SystemExit` if it fails."""
    from machine import environment  # it imports segcct.config, which the processes of other procedures do without

    with tempfile.TemporaryFile() as log:  # a pipe that nobody reads would stop a process that says much
        began = time.monotonic()
        process = subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL, stderr=log)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if status:
            log.seek(0)
            sys.exit(f"{' '.join(command)} failed: {log.read().decode(errors='replace')}")
    return seconds, usage.ru_utime + usage.ru_stime, resident_mb(usage.ru_maxrss)


def segcct(*words: str | Path | int) -> list[str]:
    """Command line of a segcct command."""
    return [sys.executable, "-m", "segcct.cli", *map(str, words)]


def command_of(procedure: str, precision: str, scan: Path, folder: Path) -> list[str]:
    """Command line of a row; models are below `folder`, where masks are written too."""
    if procedure in {"swin_unet", "monai"}:
        return [sys.executable, __file__, "--scan", str(scan), "--one", procedure, precision, str(folder)]
    if procedure == "runner":
        files = [folder / MODEL_FILE, *(scan / f"{name}.nii.gz" for name in CHANNELS), folder / "mask.nii.gz"]
        return [sys.executable, "-m", "segcct.runtime", *map(str, files), "--overwrite"]
    backend = "torch" if procedure == "segcct" else procedure
    return segcct("predict", "--model", folder / "best", "--input", scan, "--output", folder / "masks",
                  "--backend", backend, "--precision", precision, "--overwrite")  # fmt: skip


def main() -> None:
    """Run the procedures and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scan", type=Path, required=True, help="folder of t1c.nii.gz, t1n.nii.gz, t2f.nii.gz, ...")
    parser.add_argument("--repeat", type=int, default=3, help="runs of each row (default %(default)s)")
    names = sorted({procedure for procedure, _ in ROWS})
    parser.add_argument("--only", nargs="+", choices=names, help="only these procedures")
    parser.add_argument("--one", nargs=3, metavar=("PROCEDURE", "PRECISION", "OUTPUT"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        procedure, precision, output = arguments.one
        in_process(procedure, precision, arguments.scan, Path(output))
        return
    found: dict[tuple[str, str], tuple[float, float, float]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_model(folder / "best")
        if not arguments.only or "runner" in arguments.only:
            measured(segcct("export", "--model", folder / "best", "--output", folder / MODEL_FILE, "--size", 192))
        for procedure, precision in ROWS:
            if arguments.only and procedure not in arguments.only:
                continue
            command = command_of(procedure, precision, arguments.scan, folder)
            if procedure in {"onnx", "openvino"}:
                measured(command)  # exports
            runs = [measured(command) for _ in range(arguments.repeat)]
            found[procedure, precision] = min(runs)[0], min(run[1] for run in runs), max(run[2] for run in runs)
            print(f"{procedure} {precision}: {found[procedure, precision][0]:.1f} s", file=sys.stderr, flush=True)
    print("| procedure | precision | seconds | of all cores | peak MB | times segcct fp32 | times segcct bf16 |")
    print("|---|---|---|---|---|---|---|")
    for (procedure, precision), (seconds, cores_s, peak) in found.items():
        against = [found.get(("segcct", other)) for other in ("fp32", "bf16")]
        times = " | ".join("" if other is None else f"{seconds / other[0]:.1f}" for other in against)
        print(f"| {procedure} | {precision} | {seconds:.1f} | {cores_s:.1f} | {peak:,.0f} | {times} |")


if __name__ == "__main__":
    program.run(main)
