"""Masks by clustering, without labels: how good they are, and how long they take.

    python benchmarks/clusters.py quality --brats data/brats2015 --acdc data/acdc_h5 --model runs/acdc_pretrain/best
    python benchmarks/clusters.py speed --slices 1000 --workers 2
    python benchmarks/clusters.py picture --output docs/results/clusters.png

quality: a table per dataset; rows are methods, columns numbers of clusters, cells mean Dice with its 95% interval over
    patients. All classes of a structure count as one: the whole tumor of BraTS 2015 in FLAIR, both ventricles of the
    ten patients of ACDC's val.list, the whole tumor of a phantom. `segcct assign-clusters` decides by the labels of the
    other patients which clusters are the structure.
speed: seconds of `segcct cluster-segment` for phantom slices of 512 x 512 pixels, a file each, with one set of centers.
picture: a figure of a phantom's FLAIR slice, its tumor, and the masks of three methods.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
import time
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import program
from case_scores import mean_text
from PIL import Image

from segcct.cli import main as segcct
from segcct.datasets.label_schemes import get_scheme
from segcct.errors import DataError
from segcct.evaluation.prediction_folder import read_predictions
from segcct.evaluation.reference_folder import read_references
from segcct.evaluation.scoring import read_mask, read_reference
from segcct.hardware.processor import core_share, processor_name
from segcct.metrics import dice

CONFIGS = Path(__file__).parents[1] / "configs"
METHODS = ("fuzzy-kmeans", "kmeans", "otsu")
TOKEN_METHODS = ("fuzzy-kmeans", "normalized-cut")
CLUSTERS = (2, 3, 4, 5)
_SIDE = 300


def run(*words: object) -> None:
    """Run a command without its output on stdout. Raises `SystemExit` if it fails."""
    with redirect_stdout(io.StringIO()):
        code = segcct([str(word) for word in words])
    if code:
        sys.exit(code)


def score(folder: Path, data: Path, reading: list[object], method: list[object]) -> str:
    """`0.754 [0.495, 1.000]`: mean Dice of the cases, and its 95% interval over patients."""
    clusters, masks = folder / "clusters", folder / "masks"
    run("cluster-segment", "--input", data, "--output", clusters, "--overwrite", *reading, *method)
    reference = ["--reference", data, "--scheme", "binary"]
    run("assign-clusters", "--prediction", clusters, "--output", masks, "--overwrite", *reference)
    predictions, scheme = read_predictions(masks), get_scheme("binary")
    references = read_references(data, predictions, None, scheme)
    found = {}
    for case, file in predictions.masks.items():
        mask = read_mask(file, scheme)
        found[case] = dice(mask.array > 0, read_reference(references[case], scheme, mask).array > 0)
    return mean_text(found, {case: references[case].patient for case in found})


def datasets(arguments: argparse.Namespace, folder: Path) -> dict[str, tuple[Path, list[object]]]:
    """Name -> root, and options that read all classes of the structure as one."""
    found: dict[str, tuple[Path, list[object]]] = {}
    binary = ["--data.scheme", "binary", "--data.label_map"]
    if arguments.brats is not None:
        config = ["--config", CONFIGS / "brats2015_cct_unet.yaml", "--channels", "flair"]
        found["BraTS 2015, whole tumor"] = arguments.brats, [*config, *binary, "{2: 1, 3: 1, 4: 1}"]
    if arguments.acdc is not None:
        root = folder / "acdc"
        root.mkdir()
        for case in (arguments.acdc / "val.list").read_text(encoding="utf-8").split():
            file = min(arguments.acdc.rglob(f"{case}.h5"), default=None)
            if file is None:
                raise DataError("no such case of val.list", file=arguments.acdc, found=f"no {case}.h5")
            (root / file.name).symlink_to(file.resolve())
        config = ["--config", CONFIGS / "acdc_slices_cct_unet.yaml"]
        found["ACDC, ventricles"] = root, [*config, *binary, "{2: 0, 3: 1}"]
    root = folder / "phantom"
    run("phantom", "brats", root, "--cases", 8, "--reduce", 4)
    config = ["--config", CONFIGS / "brats_cct_unet.yaml", "--channels", "flair"]
    found["phantom, whole tumor"] = root, [*config, *binary, "{2: 1, 4: 1}"]
    return found


def quality(arguments: argparse.Namespace) -> None:
    """Print a table for each dataset."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for title, (root, reading) in datasets(arguments, folder).items():
            print(f"\n| {title} | {' | '.join(f'{count} clusters' for count in CLUSTERS)} |")
            print("|---|" + "---|" * len(CLUSTERS), flush=True)
            for method in METHODS:
                row = [score(folder, root, reading, ["--method", method, "--clusters", each]) for each in CLUSTERS]
                print(f"| {method} | {' | '.join(row)} |", flush=True)
            if arguments.model is not None and title.startswith("ACDC"):
                for method in TOKEN_METHODS:
                    tokens = ["--model", arguments.model, "--method", method]
                    counts = [["--clusters", each] for each in CLUSTERS] if method == "fuzzy-kmeans" else [[]]
                    row = [score(folder, root, reading, [*tokens, *count]) for count in counts]
                    print(f"| {method} of tokens | {' | '.join(row)} |", flush=True)


def speed(arguments: argparse.Namespace) -> None:
    """Print how many seconds fitting and writing take."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        draw_slices(folder / "slices", arguments.slices)
        began = time.perf_counter()
        where = ["--input", folder / "slices", "--output", folder / "masks", "--centers", "cohort"]
        engine = ["--engine", "spark", "--master", arguments.master] if arguments.master else []
        run("cluster-segment", *where, "--workers", arguments.workers, *engine)
        seconds = time.perf_counter() - began
        who = f"{arguments.workers} workers" if not engine else f"Spark {arguments.master}"
        machine = f"{core_share()} cores of {processor_name()}"
        print(f"{arguments.slices} slices of 512 x 512 in {seconds:.1f} s: {who}, {machine}")


def picture(arguments: argparse.Namespace) -> None:
    """Write a PNG of one slice next to its reference, clusters and edges."""
    from segcct import figures
    from segcct.figures.colors import class_colors
    from segcct.figures.drawing import draw_masks, draw_slice
    from segcct.figures.sheet import draw_sheet, encode
    from segcct.images.volume import Volume

    methods = {"fuzzy k-means": "fuzzy-kmeans", "k-means": "kmeans", "Canny": "canny"}
    names = [f"cluster {number} of 4" for number in (1, 2, 3, 4)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run("phantom", "brats", folder / "scans", "--cases", 1, "--reduce", 2)
        (scan,), (truth,) = ((folder / "scans").rglob(f"*_{each}.nii.gz") for each in ("flair", "seg"))
        tumor = Volume.load(truth).array > 0
        place = int(tumor.sum(axis=(0, 1)).argmax())
        image = Volume.load(scan).array[..., place].T
        gray = figures.window(image).apply(image)

        def drawn(label: np.ndarray, fill: float) -> Image.Image:
            """The slice with (X, Y, Z) class indices drawn over it."""
            shown = draw_slice(gray, (_SIDE, _SIDE * gray.shape[0] // gray.shape[1]))
            plane = label[..., place].T
            masks = {name: plane == index for index, name in enumerate(names, start=1)}
            draw_masks(shown, masks, class_colors(len(names)), fill=fill, line_px=0.8)
            return shown

        pictures = [("FLAIR of a phantom", drawn(np.zeros_like(tumor), 0)), ("whole tumor", drawn(1 * tumor, 0.35))]
        for title, method in methods.items():
            count = [] if method == "canny" else ["--clusters", 4]
            run("cluster-segment", "--input", scan, "--output", folder / method, "--method", method, *count)
            (mask,) = (folder / method).glob("*.nii.gz")
            pictures.append((title, drawn(Volume.load(mask).array, 0.35)))
    legend = dict(zip(names, class_colors(len(names)), strict=True))
    arguments.output.write_bytes(
        encode(
            draw_sheet(pictures, "", "1 is the darkest cluster; the tumor and the edges have its color", legend, {}),
            tuple(legend.values()),
        )
    )


def draw_slices(folder: Path, count: int) -> None:
    """Write FLAIR slices of a brain phantom as 16-bit PNG: enlarged to 512 x 512, each with its own noise."""
    from scipy.ndimage import zoom

    from segcct.images.volume import Volume

    run("phantom", "brats", folder.with_name("phantom"), "--cases", 1)
    (file,) = folder.with_name("phantom").rglob("*_flair.nii.gz")
    volume = Volume.load(file).array
    planes = [volume[..., index] for index in range(volume.shape[2]) if np.mean(volume[..., index] > 0) > 0.1]
    enlarged = [zoom(plane.astype(np.float32), 512 / np.array(plane.shape), order=1) for plane in planes]
    folder.mkdir()
    for number in range(count):
        plane = enlarged[number % len(enlarged)]
        noise = np.random.default_rng(number).normal(0, 5, plane.shape) * (plane > 0)
        Image.fromarray((plane + noise).clip(0).round().astype(np.uint16)).save(folder / f"slice{number:04d}.png")


def parser() -> argparse.ArgumentParser:
    """Options of the three steps."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    steps = parser.add_subparsers(dest="step", required=True)
    step = steps.add_parser("quality", help="Dice of clusters, by method and number")
    step.add_argument("--brats", type=Path, help="folder of the BraTS 2015 cases")
    step.add_argument("--acdc", type=Path, help="folder of the .h5 files of ACDC")
    step.add_argument("--model", type=Path, help="cct_unet, or a pre-training: clusters of its tokens on ACDC")
    step.set_defaults(run=quality)
    step = steps.add_parser("picture", help="draw a slice of the phantom and its clusters")
    step.add_argument("--output", type=Path, required=True, metavar="FILE.png")
    step.set_defaults(run=picture)
    step = steps.add_parser("speed", help="time of a cohort")
    step.add_argument("--slices", type=int, default=1000)
    step.add_argument("--workers", type=int, default=2)
    step.add_argument("--master", help="use Spark at this address instead of workers")
    step.set_defaults(run=speed)
    return parser


def main() -> None:
    """Run one step."""
    arguments = parser().parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    program.run(main)
