"""The files of docs/how-to/extend.md, written as they stand there and installed as a package, are known everywhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import yaml

from segcct.images.volume import Volume
from tests.support.documents import ROOT, blocks

PAGE = ROOT / "docs" / "how-to" / "extend.md"

PROGRAM = """
import sys
from segcct.cli import main
def run(*words):
    code = main([str(word) for word in words])
    if code:
        sys.exit(f"{words} ended with {code}")
run("models", "plain_net")
run("init", "scans", "--output", "visits.yaml")
small = ("--config", "visits.yaml", "--data.image_size", 32, "--train.batch_size", 2, "--train.slices_per_epoch", 2,
         "--train.epochs", 1, "--train.device", "cpu")
segmentation = ("--model.name", "plain_net", "--model.options.width", 3, "--train.loss.terms.boundary", 0.5)
run("train-seg", *small, *segmentation, "--run.name", "seg")
run("predict", "--model", "runs/seg/best", "--input", "scans", "--output", "masks", "--device", "cpu")
run("evaluate", "--prediction", "masks", "--reference", "scans", "--output", "scores")
run("train-denoising", *small, "--model.name", "plain_net", "--run.name", "clean")
run("predict", "--model", "runs/clean/best", "--input", "scans", "--output", "denoised", "--device", "cpu")
"""


def install(folder: Path) -> None:
    """The files of the page, and what pip would note of its pyproject.toml."""
    (folder / "my_segcct").mkdir()
    (folder / "my_segcct" / "__init__.py").touch()
    for block in blocks(PAGE, "python"):
        path = block.text.partition("\n")[0].removeprefix("# ")
        (folder / path).write_text(block.text, encoding="utf-8")
    project = tomllib.loads(next(block.text for block in blocks(PAGE, "text") if "[project]" in block.text))["project"]
    record = folder / "my_segcct-1.0.dist-info"
    record.mkdir()
    (record / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    lines = []
    for group, points in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {place}" for name, place in points.items())]
    (record / "entry_points.txt").write_text("\n".join(lines) + "\n")


def write_scans(folder: Path) -> None:
    """Six patients with two visits each."""
    rng = np.random.default_rng(0)
    for patient in "ABCDEF":
        for date in ("2024-01-05", "2025-03-11"):
            label = np.zeros((32, 32, 3), np.uint8)
            label[8:20, 10:22] = 1
            image = (80 * label + rng.normal(0, 10, label.shape)).astype(np.float32)
            visit = folder / patient / date
            visit.mkdir(parents=True)
            for name, array in (("scan", image), ("mask", label)):
                Volume(array, np.eye(4), (1.0, 1.0, 1.0)).save(visit / f"{name}.nii.gz")


@pytest.mark.slow
def test_the_files_of_the_page_work_together(tmp_path: Path) -> None:
    install(tmp_path)
    write_scans(tmp_path / "scans")
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-1500:] + ran.stderr[-3000:]
    assert "\nplain_net " in ran.stdout
    assert yaml.safe_load((tmp_path / "visits.yaml").read_text())["data"]["layout"] == "visits"
    splits = json.loads((tmp_path / "runs" / "seg" / "splits.json").read_text())
    assert "A_2024-01-05" in str(splits)
    assert len(list((tmp_path / "masks").glob("?_20*.nii.gz"))) == 12
    overall = json.loads((tmp_path / "scores" / "summary.json").read_text())["overall"]
    assert 0 <= overall["volume_similarity"]["mean"] <= 1
    assert len(list((tmp_path / "denoised").glob("*.npy"))) == 12


def test_every_file_has_an_entry_point_and_every_entry_point_a_file(tmp_path: Path) -> None:
    install(tmp_path)
    points = (tmp_path / "my_segcct-1.0.dist-info" / "entry_points.txt").read_text()
    files = {path.stem for path in (tmp_path / "my_segcct").glob("[!_]*.py")}
    assert files == {line.rpartition(".")[2] for line in points.splitlines() if " = " in line}
