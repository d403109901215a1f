"""Tiny models with their predictions and evaluations, and the commands that read their files.

`World` writes them once; `World.tried` makes one file hostile, runs a command in this process, and restores the file.
"""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import yaml
from PIL import Image

from segcct.cli import main
from tests.support.hostile_state import Mutation


@dataclass(frozen=True)
class Trial:
    """How a command ended that read a hostile file."""

    status: int | str
    """Exit status, or the exception that came out of it."""
    text: str
    seconds: float
    """Processor time, so that other programs do not count."""
    wrote: bool
    """Whether it left an output."""

    @property
    def refusal(self) -> str:
        """The last line, `segcct COMMAND: ...`, which a list of reasons may follow; empty if there is none."""
        lines = self.text.strip().splitlines()
        while lines and lines[-1].startswith("  - "):
            lines.pop()
        return lines[-1] if lines and lines[-1].startswith("segcct ") else ""


class World:
    """A folder of scans, runs, predictions and evaluations."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.out = folder / "out"
        write_scans(folder / "scans")
        write_pictures(folder / "pictures")
        self._train("seg", "train-seg", {"layout": "folder", "root": str(folder / "scans"), **SCANS}, "cct_unet_t")
        self._train("m2i", "train-m2i", {"layout": "folder", "root": str(folder / "scans"), **SCANS}, "m2i_s")
        self._train("cls", "train-cls", {"root": str(folder / "pictures"), "image_size": 16}, "cct_2_3x2_32")
        self._must("predict", "--model", self.at("seg/best"), "--input", self.at("scans"), "--output", self.at("masks"))
        self._must("predict", "--model", self.at("cls/best"), "--input", self.at("pictures"), "--output",
                   self.at("classes"))  # fmt: skip
        self._must(*self.commands["evaluate"][:-1], self.at("scores"))
        self._must(*self.commands["evaluate classes"][:-1], self.at("class_scores"))
        self._must(*self.commands["evaluate against"][:-1], self.at("pair"))
        self._must("predict", "--model", self.at("seg/best"), "--input", self.at("scans"), "--anonymize", "--output",
                   self.at("anon"))  # fmt: skip
        self._must(*self.commands["evaluate anonymized"][:-1], self.at("anon_scores"))
        write_quality(self.at("seg/best"))

    def at(self, name: str) -> Path:
        """A path below the world's folder."""
        return self.folder / name

    @property
    def commands(self) -> dict[str, list[Any]]:
        """Name -> arguments, the output last."""
        scans, out = self.at("scans"), self.out
        masks = ["--prediction", self.at("masks"), "--reference", scans]
        return {
            "predict": ["predict", "--model", self.at("seg/best"), "--input", scans, "--output", out],
            "predict test": ["predict", "--model", self.at("seg/best"), "--input", scans, "--split", "test",
                             "--output", out],
            "predict classes": ["predict", "--model", self.at("cls/best"), "--input", self.at("pictures"), "--output",
                                out],
            "predict again": ["predict", "--model", self.at("seg/best"), "--input", scans, "--no-quality",
                              "--overwrite", "--output", self.at("masks")],
            "compare": ["compare", "--i2m", self.at("seg/best"), "--m2i", self.at("m2i/best"), "--input", scans,
                        "--output", out],
            "calibrate": ["calibrate", "--i2m", self.at("seg/best"), "--input", scans],
            "evaluate": ["evaluate", *masks, "--output", out],
            "evaluate anonymized": ["evaluate", "--prediction", self.at("anon"), "--reference", scans, "--output", out],
            "evaluate against": ["evaluate", *masks, "--against", self.at("masks"), "--output", out],
            "evaluate classes": ["evaluate", "--prediction", self.at("classes"), "--reference", self.at("pictures"),
                                 "--output", out],
            "report": ["report", "--evaluation", self.at("scores"), "--output", out],
            "report pair": ["report", "--evaluation", self.at("pair"), "--output", out],
            "report classes": ["report", "--evaluation", self.at("class_scores"), "--output", out],
            "report anonymized": ["report", "--evaluation", self.at("anon_scores"), "--output", out],
            "check config": ["check", "--config", self.at("seg.yaml")],
            "resume": ["train-seg", "--resume", self.at("seg"), "--train.epochs", "2"],
            "pretrained": ["train-seg", "--config", self.at("seg.yaml"), "--run.name", "out", "--model.pretrained",
                           self.at("seg/best")],
            "from state": ["train-seg", "--config", self.at("seg.yaml"), "--run.name", "out", "--model.pretrained",
                           self.at("seg/last.ckpt")],
        }  # fmt: skip

    def tried(self, mutation: Mutation) -> Trial:
        """Make the file hostile, run the command, and restore the file."""
        file = self.at(mutation.file)
        sound = file.read_bytes()
        file.write_bytes(mutation.change(sound))
        began = time.process_time()
        try:
            status, text = run(self.commands[mutation.command])
            return Trial(status, text, time.process_time() - began, self.out.exists())
        finally:
            file.write_bytes(sound)
            shutil.rmtree(self.out, ignore_errors=True)

    def _train(self, name: str, command: str, data: dict[str, Any], model: str) -> None:
        config = {
            "run": {"name": name, "root": str(self.folder)},
            "data": {**data, "cache": str(self.at("cache"))},
            "model": {"name": model},
            "train": {"epochs": 1, "batch_size": 4, "precision": "fp32"},
        }
        if command != "train-cls":
            config["train"]["slices_per_epoch"] = 4
        self.at(f"{name}.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
        self._must(command, "--config", self.at(f"{name}.yaml"))

    def _must(self, *arguments: object) -> None:
        status, text = run(list(arguments))
        if status != 0:
            raise RuntimeError(f"{arguments}: {status}\n{text}")


def run(arguments: list[Any]) -> tuple[int | str, str]:
    """Exit status of a command, or the exception that ended it, and what it printed."""
    text = io.StringIO()
    try:
        with contextlib.redirect_stdout(text), contextlib.redirect_stderr(text):
            return main([str(word) for word in arguments]), text.getvalue()
    except SystemExit as ended:
        return f"exit {ended.code}", text.getvalue()
    except Exception as error:
        traceback.print_exc(file=text)
        return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}", text.getvalue()


SCANS = {
    "channels": {"t1": "t1.nii.gz"},
    "label": "mask.nii.gz",
    "scheme": "custom",
    "labels": {"one": 1, "two": 2},
    "image_size": 32,
}


def write_scans(folder: Path, cases: int = 5) -> None:
    rng = np.random.default_rng(0)
    for place in range(cases):
        case = folder / f"p{place}"
        case.mkdir(parents=True)
        label = np.zeros((32, 32, 2), np.uint8)
        label[8:16, 8 : 20 + place % 8] = 1
        label[20:26, 6:18] = 2
        image = (rng.normal(100, 5, label.shape) + label * 40).astype(np.float32)
        for name, array in (("t1", image), ("mask", label)):
            nib.save(nib.Nifti1Image(array, np.diag([1.0, 1.0, 3.0, 1.0])), case / f"{name}.nii.gz")


def write_pictures(folder: Path) -> None:
    rng = np.random.default_rng(1)
    for number, name in enumerate("ab"):
        (folder / name).mkdir(parents=True)
        for place in range(10):
            pixels = rng.integers(0, 120, (16, 16, 3), np.uint8)
            pixels[..., number] += 100
            Image.fromarray(pixels).save(folder / name / f"{place}.png")


def write_quality(best: Path) -> None:
    """Write a quality.json with one feature, as calibration does."""
    from segcct.model_card import load_card
    from segcct.quality.features import FEATURES
    from segcct.quality.quality_model import identity_of_masks

    card = load_card(best)
    classes = list(card.classes)
    content = {
        "format": 1,
        "classes": classes,
        "covariates": [
            {
                "feature": FEATURES[0],
                "transform": "identity",
                "center": dict.fromkeys(classes, 0.5),
                "scale": dict.fromkeys(classes, 0.1),
            }
        ],
        "slopes": {name: [0.1] for name in classes},
        "intercepts": dict.fromkeys(classes, 1.0),
        "curve": [[0.0, 1.0], [0.0, 1.0]],
        "residual_scale": [[0.0, 1.0], [0.1, 0.1]],
        "quantiles": dict.fromkeys(classes, 1.5),
        "level": 0.9,
        "flag_below": 0.7,
        "facts": {"not_predicted": {name: {"cases": 2, "held_it": 1} for name in classes}},
        **identity_of_masks(card),
    }
    (best / "quality.json").write_text(json.dumps(content), encoding="utf-8")
