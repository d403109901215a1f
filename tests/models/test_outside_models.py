"""A network from outside the package: one file, which an installed package names as an entry point."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

FILE = '''
from typing import Annotated

from pydantic import Field
from torch import nn

from segcct.models.options import ModelOptions
from segcct.models.zoo import Entry, register_model


class NarrowOptions(ModelOptions):
    """Options of the narrow network."""

    width: Annotated[int, Field(ge=1, le=64)] = 4
    """Channels inside."""


def build(*, in_channels, num_classes, image_size, options):
    return nn.Sequential(
        nn.Conv2d(in_channels, options.width, 3, padding=1), nn.ReLU(), nn.Conv2d(options.width, num_classes, 1)
    )


register_model(Entry("narrow_net", "segmenter", build, NarrowOptions))
'''


def install(folder: Path, source: str, *, group: str = "segcct.models") -> dict[str, str]:
    """A package of one file as pip would leave it; returns the environment that finds it."""
    (folder / "narrow_nets.py").write_text(source, encoding="utf-8")
    record = folder / "narrow_nets-1.0.dist-info"
    record.mkdir()
    (record / "METADATA").write_text("Metadata-Version: 2.1\nName: narrow-nets\nVersion: 1.0\n", encoding="utf-8")
    (record / "entry_points.txt").write_text(f"[{group}]\nnarrow = narrow_nets\n", encoding="utf-8")
    paths = [str(folder), str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def segcct(environment: dict[str, str], folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "ignore", "-m", "segcct.cli", *arguments]
    return subprocess.run(command, env=environment, cwd=folder, capture_output=True, encoding="utf-8", check=False)


def test_a_model_from_outside_is_known_to_every_command(tmp_path: Path) -> None:
    environment = install(tmp_path, FILE)
    listed = segcct(environment, tmp_path, "models", "narrow_net")
    assert listed.returncode == 0, listed.stderr
    assert " ".join(listed.stdout.splitlines()[1].split()[:3]) == "narrow_net segmenter 60"
    wrong = segcct(environment, tmp_path, "models", "narrow_nat")
    assert wrong.returncode == 1
    assert "Did you mean narrow_net?" in wrong.stderr


def test_a_package_that_cannot_be_loaded_is_named(tmp_path: Path) -> None:
    environment = install(tmp_path, "import nothing_of_that_name")
    assert segcct(environment, tmp_path, "models", "unet").returncode == 0  # the table's own need no plugin
    listed = segcct(environment, tmp_path, "models")
    assert listed.returncode == 1
    assert "narrow of package narrow-nets" in listed.stderr
    assert "nothing_of_that_name" in listed.stderr


@pytest.mark.slow
def test_a_config_trains_a_model_from_outside_and_its_best_folder_predicts(tmp_path: Path) -> None:
    environment = install(tmp_path, FILE)
    assert segcct(environment, tmp_path, "phantom", "acdc", "scans", "--cases", "6").returncode == 0
    (tmp_path / "narrow.yaml").write_text(
        "run: {name: narrow}\n"
        "data: {root: scans, layout: acdc, scheme: acdc, channels: {cine: '{id}.nii.gz'}, label: '{id}_gt.nii.gz',\n"
        "       image_size: 32, workers: 0}\n"
        "model: {name: narrow_net, options: {width: 3}}\n"
        "train: {epochs: 1, batch_size: 4, slices_per_epoch: 8, pictures: 0, precision: fp32}\n",
        encoding="utf-8",
    )
    keys = ("train-seg", "--config", "narrow.yaml")
    planned = segcct(environment, tmp_path, *keys, "--dry-run")
    assert planned.returncode == 0, planned.stderr
    assert "parameters  46" in planned.stdout  # 3 x 9 + 3 within, 3 x 4 + 4 for the classes
    trained = segcct(environment, tmp_path, *keys)
    assert trained.returncode == 0, trained.stderr
    case = next((tmp_path / "scans").rglob("patient*_frame*[0-9].nii.gz"))
    predicted = segcct(
        environment, tmp_path, "predict", "--model", "runs/narrow/best", "--input", str(case), "--output", "masks"
    )
    assert predicted.returncode == 0, predicted.stderr
    assert len(list((tmp_path / "masks").glob("*.nii.gz"))) == 1
