"""The main job through the commands: phantom, check, train, predict, evaluate, report; geometry, resume, processes."""

from __future__ import annotations

import csv
import json
import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import segcct
from segcct.cli import main
from segcct.config import SegmentationConfig, settings
from segcct.datasets.inventory import Inventory
from segcct.datasets.layouts import find_cases
from segcct.datasets.split_record import Splits
from segcct.inference.loaded_model import load_network
from segcct.model_card import load_card
from segcct.run_folder import RunFolder
from segcct.tasks.segmentation.segmentation_task import SegmentationTask
from segcct.tasks.training_dataset import count_slices
from tests.conftest import training_command

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]


def run_script(arguments: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    """A training as users start it: its own process."""
    command = [sys.executable, str(ROOT / "scripts" / "train_seg.py"), *arguments[1:]]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run(command, env=env, capture_output=True, encoding="utf-8", check=False, timeout=240)


@pytest.fixture(scope="module")
def predicted(trained, phantom, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("predictions")
    arguments = ["predict", "--model", str(trained / "best"), "--input", str(phantom), "--split", "test"]
    assert main([*arguments, "--output", str(output)]) == 0
    return output


def test_the_phantom_is_sound(phantom, capsys, tmp_path):
    config = str(ROOT / "configs" / "brats_cct_unet.yaml")
    arguments = ["--config", config, "--data.root", str(phantom)]
    assert main(["check", *arguments]) == 0
    shown = capsys.readouterr().out
    assert "no problems found in" in shown
    assert f"next: {shlex.join(['segcct', 'train-seg', *arguments])}" in shown


def test_the_run_folder_is_whole(trained):
    names = {path.name for path in trained.iterdir()}
    assert {"config.yaml", "splits.json", "metrics.csv", "last.ckpt", "best", "summary.json", "pictures"} <= names
    assert sorted(path.name for path in (trained / "best").iterdir()) == ["model.json", "weights.safetensors"]
    card = load_card(trained / "best")
    assert card.synthetic
    assert card.selected_on["metric"] == "val_dice"
    assert list(card.data["channels"]) == ["flair", "t1ce", "t1", "t2"]
    assert "root" not in card.data
    drawn = list((trained / "pictures").glob("*.png"))
    assert drawn
    assert {stat.S_IMODE(picture.stat().st_mode) for picture in drawn} == {0o600}  # they name patients


def test_selection_never_sees_the_test_split(trained):
    splits = Splits.load(trained / "splits.json")
    assert load_card(trained / "best").selected_on["cases"] == len(splits.val)
    pictures = {path.stem for path in (trained / "pictures").iterdir()}
    assert pictures
    assert pictures <= set(splits.val)


def test_the_model_names_no_patient_path_or_command(trained, phantom):
    """best/ is what is shared; ids stay in the run folder, for its owner alone."""
    text = (trained / "best" / "model.json").read_text(encoding="utf-8")
    splits = Splits.load(trained / "splits.json")
    secrets = {
        *splits.train,
        *splits.val,
        *splits.test,
        *splits.patients.values(),
        str(phantom),
        str(trained),
        "command",
    }
    assert not [secret for secret in secrets if secret in text]
    assert "--" not in text
    for name in ("splits.json", "summary.json", "config.yaml", "last.ckpt"):  # of patients, or of paths that name them
        assert stat.S_IMODE((trained / name).stat().st_mode) == 0o600
    umask = os.umask(0)
    os.umask(umask)
    for file in (trained / "best").iterdir():  # weights are to be shared
        assert stat.S_IMODE(file.stat().st_mode) == 0o666 & ~umask
    assert stat.S_IMODE((trained / "best").stat().st_mode) == 0o777 & ~umask


def test_masks_lie_on_the_grid_of_the_scan(predicted, phantom):
    masks = sorted(predicted.glob("*.nii.gz"))
    assert masks
    for file in masks:
        case = file.name.removesuffix(".nii.gz")
        mask, scan = nib.load(file), nib.load(phantom / case / f"{case}_t1.nii.gz")
        assert mask.shape == scan.shape
        assert mask.get_data_dtype() == np.uint8
        np.testing.assert_array_equal(mask.affine, scan.affine)
        for code in ("sform_code", "qform_code", "xyzt_units"):
            assert mask.header[code] == scan.header[code]
        assert set(np.unique(np.asarray(mask.dataobj))) <= {0, 1, 2, 4}


def test_evaluation_and_report(predicted, phantom, tmp_path, capsys):
    evaluation, report = tmp_path / "evaluation", tmp_path / "report"
    arguments = ["evaluate", "--prediction", str(predicted), "--reference", str(phantom), "--scheme", "brats2021"]
    assert main([*arguments, "--output", str(evaluation)]) == 0
    rows = list(csv.DictReader((evaluation / "metrics.csv").read_text(encoding="utf-8").splitlines()))
    cases = {file.name.removesuffix(".nii.gz") for file in predicted.glob("*.nii.gz")}
    assert {row["case"] for row in rows} == cases
    assert {row["class"] for row in rows} >= {"NCR", "ED", "ET", "TC", "WT"}
    summary = json.loads((evaluation / "summary.json").read_text(encoding="utf-8"), parse_constant=pytest.fail)
    assert summary["convention"] == "default"
    assert summary["overall"]["dice"]["n"] == len(cases)
    assert main(["report", "--evaluation", str(evaluation), "--output", str(report)]) == 0
    page = (report / "report.html").read_text(encoding="utf-8")
    assert "synthetic" in page.lower()
    assert "NaN" not in page


def test_the_python_api_gives_the_same_mask(trained, predicted, phantom):
    file = next(iter(sorted(predicted.glob("*.nii.gz"))))
    case = file.name.removesuffix(".nii.gz")
    channels = {
        name: segcct.Volume.load(phantom / case / f"{case}_{name}.nii.gz") for name in ("t1", "t1ce", "t2", "flair")
    }
    mask = segcct.Predictor.load(trained / "best").predict(channels)
    np.testing.assert_array_equal(mask.array, np.asarray(nib.load(file).dataobj))


def test_a_case_folder_is_predicted_too(trained, phantom, tmp_path):
    case = sorted(phantom.iterdir())[0]
    arguments = ["predict", "--model", str(trained / "best"), "--input", str(case), "--output", str(tmp_path / "out")]
    assert main(arguments) == 0
    assert (tmp_path / "out" / f"{case.name}.nii.gz").is_file()
    entry = json.loads((tmp_path / "out" / "predictions.json").read_text())["cases"][case.name]
    split = Splits.load(trained / "splits.json").split_of(case.name)
    assert entry["seen"] == (None if split == "test" else split)


def test_masks_do_not_depend_on_batches(trained, predicted, phantom, tmp_path):
    arguments = ["predict", "--model", str(trained / "best"), "--input", str(phantom), "--split", "test"]
    assert main([*arguments, "--output", str(tmp_path), "--batch-size", "5"]) == 0
    for file in predicted.glob("*.nii.gz"):
        ours, theirs = (np.asarray(nib.load(folder / file.name).dataobj) for folder in (tmp_path, predicted))
        assert (ours != theirs).mean() < 1e-5  # other batch shapes may round otherwise at a tie


def test_a_resume_does_not_need_the_weights_it_began_with(trained, tmp_path):
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    config = run / "config.yaml"
    text = config.read_text(encoding="utf-8").replace("pretrained: null", "pretrained: gone.safetensors")
    config.write_text(text, encoding="utf-8")
    for more in ([], ["--dry-run"]):
        assert main(["train-seg", "--resume", str(run), *more]) == 0
    assert "pretrained: gone.safetensors" in config.read_text(encoding="utf-8")  # where it came from is not forgotten


def test_resume_takes_its_config_from_the_run(trained, tmp_path):
    run = tmp_path / "longer"
    shutil.copytree(trained, run)
    assert main(["train-seg", "--resume", str(run), "--train.epochs", "3"]) == 0
    with (run / "metrics.csv").open() as stream:
        assert [row["epoch"] for row in csv.DictReader(stream)] == ["0", "1", "2"]
    assert settings.load(SegmentationConfig, run / "config.yaml").train.epochs == 3


STEPS = re.compile(r"s per step measured here; about \d+ \w+ of training steps")
"""What a dry run says of the time."""
TWO_CASES = {"data__split__val": "0.4", "train__epochs": "1"}
"""To validate on, one for each of two processes."""


def check_validation(run: Path) -> None:
    """Two processes scored a case each: together as one process scores both with the same weights."""
    task, card = SegmentationTask(settings.load(SegmentationConfig, run / "config.yaml")), load_card(run / "best")
    task.prepare()
    alone = task.validate(load_network(run / "best", card), "cpu", 0, 1)
    assert card.selected_on["cases"] == len(task.dataset.val) == 2
    assert card.selected_on["value"] == pytest.approx(alone["val_dice"], abs=1e-4)
    assert alone["val_dice"] > 0.001
    (row,) = RunFolder(run).read_metrics()
    assert {name: float(row[name]) for name in alone} == pytest.approx(alone, abs=1e-4)


def test_two_processes(phantom, tmp_path):
    finished = run_script(training_command(phantom, tmp_path, train__devices="2", **TWO_CASES))
    assert finished.returncode == 0, finished.stderr[-2000:]
    check_validation(tmp_path / "small")


def test_torchrun(phantom, tmp_path):
    arguments = training_command(phantom, tmp_path, **TWO_CASES)[1:]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    finished = subprocess.run(
        [*command, str(ROOT / "scripts" / "train_seg.py"), *arguments],
        env=env, capture_output=True, encoding="utf-8", check=False, timeout=240,
    )  # fmt: skip
    assert finished.returncode == 0, finished.stderr[-2000:]
    check_validation(tmp_path / "small")


def test_dry_run_estimates_the_time_also_where_slices_are_counted(phantom, tmp_path, capsys):
    assert main([*training_command(phantom, tmp_path, train__slices_per_epoch="null"), "--dry-run"]) == 0
    assert STEPS.search(capsys.readouterr().out)


def test_dry_run_counts_the_slices_that_training_would_show(phantom, trained):
    config = settings.load(
        SegmentationConfig, trained / "config.yaml", {"data.crop": "none", "data.root": str(phantom)}
    )
    cases = find_cases(config.data)
    depths = [nib.load(next(iter(case.channels.values()))[0]).shape[2] for case in cases]
    assert count_slices(cases, Inventory(config.data)) == sum(depths)


def test_dry_run_writes_nothing(phantom, tmp_path, capsys):
    arguments = training_command(phantom, tmp_path)
    assert main([*arguments, "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert shown.splitlines()[-1] == f"next: {shlex.join(['segcct', *arguments])}"
    for word in ("image_size: 64", "parameters", "train 4 cases", "memory"):
        assert word in shown
    assert STEPS.search(shown)
    assert not list(tmp_path.iterdir())


def test_another_network_is_one_flag_away(phantom, tmp_path):
    small = {"data__image_size": "32", "train__epochs": "1", "train__slices_per_epoch": "4", "train__batch_size": "2"}
    assert main(training_command(phantom, tmp_path, model__name="unet_16", **small)) == 0
    assert load_card(tmp_path / "small" / "best").architecture.name == "unet_16"
