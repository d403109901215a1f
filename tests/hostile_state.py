"""Files of state as a damaged disk, a half copy or somebody else leaves them, and the command that reads each.

`World` writes a tiny run, its models, predictions and evaluations once. `mutations` lists what is done to which file;
`World.tried` does it, runs the command in this process, and puts the file back.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import json
import shutil
import time
import traceback
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
import yaml
from PIL import Image

from segcct.cli import main

Change = Callable[[bytes], bytes]


@dataclass(frozen=True)
class Mutation:
    """One file made hostile."""

    name: str
    file: str
    """Below the world's folder."""
    change: Change
    command: str
    """A key of `World.commands`."""
    named: str | None = None
    """The file that the message must name; by default that file."""


@dataclass(frozen=True)
class Trial:
    """What a command did with it."""

    status: int | str
    """Exit status, or the exception that came out of it."""
    text: str
    seconds: float
    wrote: bool
    """It left an output."""


class World:
    """A run, its models and all that follows from them, in a folder."""

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
            "evaluate against": ["evaluate", *masks, "--against", self.at("masks"), "--output", out],
            "evaluate classes": ["evaluate", "--prediction", self.at("classes"), "--reference", self.at("pictures"),
                                 "--output", out],
            "report": ["report", "--evaluation", self.at("scores"), "--output", out],
            "report pair": ["report", "--evaluation", self.at("pair"), "--output", out],
            "report classes": ["report", "--evaluation", self.at("class_scores"), "--output", out],
            "resume": ["train-seg", "--resume", self.at("seg"), "--train.epochs", "2"],
            "pretrained": ["train-seg", "--config", self.at("seg.yaml"), "--run.name", "out", "--model.pretrained",
                           self.at("seg/best")],
            "from state": ["train-seg", "--config", self.at("seg.yaml"), "--run.name", "out", "--model.pretrained",
                           self.at("seg/last.ckpt")],
        }  # fmt: skip

    def tried(self, mutation: Mutation) -> Trial:
        """Make the file hostile, run the command, put the file back."""
        file = self.at(mutation.file)
        sound = file.read_bytes()
        file.write_bytes(mutation.change(sound))
        began = time.monotonic()
        try:
            status, text = run(self.commands[mutation.command])
            return Trial(status, text, time.monotonic() - began, self.out.exists())
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
    """Exit status of a command, or the exception that it ended in, and what it printed."""
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
    """An estimate of one signal, as calibration writes it."""
    card = json.loads((best / "model.json").read_text(encoding="utf-8"))
    classes = list(card["scheme"]["classes"])
    from segcct.inference.quality.signals import SIGNALS

    content = {
        "format": 1,
        "classes": classes,
        "features": [
            {
                "signal": SIGNALS[0],
                "transform": "identity",
                "centre": dict.fromkeys(classes, 0.5),
                "scale": dict.fromkeys(classes, 0.1),
            }
        ],
        "slopes": {name: [0.1] for name in classes},
        "intercepts": dict.fromkeys(classes, 1.0),
        "table": [[0.0, 1.0], [0.0, 1.0]],
        "spread": [[0.0, 1.0], [0.1, 0.1]],
        "widths": dict.fromkeys(classes, 1.5),
        "level": 0.9,
        "doubtful_below": 0.7,
        "uses_m2i": False,
        "generators": [],
        "facts": {"not_predicted": {name: {"cases": 2, "held_it": 1} for name in classes}},
        "weights_sha256": card["weights_sha256"],
    }
    (best / "quality.json").write_text(json.dumps(content), encoding="utf-8")


def mutations() -> Iterator[Mutation]:
    """All of them; names are unlike."""
    for kind, table in (("json", _JSON_FILES), ("table", _TABLE_FILES)):
        changes = _JSON_CHANGES if kind == "json" else _TABLE_CHANGES
        for file, command in table:
            for name, change in changes.items():
                yield Mutation(f"{file}: {name}", file, change, command)
    for file, command, changes in _VALUES:
        for name, change in changes.items():
            yield Mutation(f"{file}: {name}", file, _in_json(change), command)
    for name, change in _WEIGHTS.items():
        file = "seg/best/weights.safetensors"
        yield Mutation(f"{file}: {name}", file, change, "predict")
        yield Mutation(f"{file} as pretrained: {name}", file, change, "pretrained")
    for name, change in _STATES.items():
        yield Mutation(f"seg/last.ckpt: {name}", "seg/last.ckpt", change, "resume")
    yield Mutation("seg/last.ckpt as pretrained", "seg/last.ckpt", lambda sound: sound, "from state")
    for file, command, changes in _CELLS:
        for name, change in changes.items():
            yield Mutation(f"{file}: {name}", file, _in_table(change), command)


_JSON_FILES = (
    ("seg/best/model.json", "predict"),
    ("m2i/best/model.json", "compare"),
    ("cls/best/model.json", "predict classes"),
    ("seg/best/quality.json", "predict"),
    ("seg/splits.json", "predict test"),
    ("masks/predictions.json", "evaluate"),
    ("scores/summary.json", "report"),
    ("pair/paired.json", "report pair"),
    ("classes/predictions.json", "evaluate classes"),
    ("class_scores/summary.json", "report classes"),
)
_TABLE_FILES = (
    ("scores/metrics.csv", "report"),
    ("scores/details.csv", "report"),
    ("classes/predictions.csv", "evaluate classes"),
    ("class_scores/pictures.csv", "report classes"),
    ("seg/metrics.csv", "resume"),
)
_JSON_CHANGES: dict[str, Change] = {
    "empty": lambda sound: b"",
    "half": lambda sound: sound[: len(sound) // 2],
    "an array": lambda sound: b"[" + sound + b"]",
    "null": lambda sound: b"null",
    "a text": lambda sound: b'"model"',
    "an empty object": lambda sound: b"{}",
    "another object": lambda sound: b'{"name": "package", "version": "1.0.0", "scripts": {"test": "x"}}',
    "deep": lambda sound: b'{"x": ' + b"[" * 50_000 + b"]" * 50_000 + b"}",
    "deep objects": lambda sound: b'{"x":' * 500 + b"1" + b"}" * 500,
    "latin-1": lambda sound: b'{"x\xe4": 1, ' + sound[1:],
    "utf-16": lambda sound: sound.decode().encode("utf-16"),
    "not a number": lambda sound: b'{"x": NaN, ' + sound[1:],
    "beyond all numbers": lambda sound: b'{"x": 1e999, ' + sound[1:],
    "many digits": lambda sound: b'{"x": ' + b"7" * 6000 + b", " + sound[1:],
    "a key twice": lambda sound: b'{"x": 1, "x": 2, ' + sound[1:],
    "half a surrogate": lambda sound: b'{"x": "\\udc00", ' + sound[1:],
    "binary": lambda sound: bytes(range(128, 256)) * 8,
}
_TABLE_CHANGES: dict[str, Change] = {
    "empty": lambda sound: b"",
    "cut within a row": lambda sound: sound.rstrip()[: sound.rstrip().rindex(b",")],
    "json": lambda sound: b'{"case": 1}',
    "latin-1": lambda sound: sound + b"\xe4\xf6,1\n",
    "null character": lambda sound: sound.replace(b"\n", b"\n\0", 1),
    "too many cells": lambda sound: sound.rstrip() + b",1,2,3\r\n",
    "a column twice": lambda sound: sound.replace(b"\r\n", b",again,again\r\n", 1).replace(b"\r\n", b",1,1\r\n")
    .replace(b"again,again,1,1", b"again,again"),
    "an open quote": lambda sound: sound + b'"',
    "binary": lambda sound: bytes(range(128, 256)) * 8,
}  # fmt: skip


def _in_json(change: Callable[[dict[str, Any]], None]) -> Change:
    def changed(sound: bytes) -> bytes:
        content = json.loads(sound)
        change(content)
        return json.dumps(content).encode()

    return changed


def _put(*path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    """Set what lies at a path of keys; `*` is the first key."""

    def change(content: dict[str, Any]) -> None:
        *inner, last = path
        for key in inner:
            content = content[next(iter(content)) if key == "*" else key]
        content[next(iter(content)) if last == "*" else last] = value

    return change


def _drop(*path: str) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        for key in path[:-1]:
            content = content[next(iter(content)) if key == "*" else key]
        del content[path[-1]]

    return change


_CARD = {
    "another format": _put("format", value=2),
    "an unknown key": _put("pickle", value="x"),
    "no task": _drop("task"),
    "task of another kind": _put("task", value=["segmentation"]),
    "a task that is none": _put("task", value="poetry"),
    "no architecture": _drop("architecture"),
    "architecture as text": _put("architecture", value="unet"),
    "an unknown network": _put("architecture", "name", value="resnet_9000"),
    "an unknown timm network": _put("architecture", "name", value="timm:nothing"),
    "another network": _put("architecture", "name", value="unet"),
    "a network of another task": _put("architecture", "name", value="cct_2_3x2_32"),
    "no channels": _put("architecture", "in_channels", value=0),
    "another number of channels": _put("architecture", "in_channels", value=3),
    "a million channels": _put("architecture", "in_channels", value=10**6),
    "channels as text": _put("architecture", "in_channels", value="many"),
    "negative classes": _put("architecture", "num_classes", value=-4),
    "another number of classes": _put("architecture", "num_classes", value=5),
    "a billion classes": _put("architecture", "num_classes", value=10**9),
    "a billion pixels": _put("architecture", "image_size", value=10**9),
    "half a pixel": _put("architecture", "image_size", value=31.5),
    "another image size": _put("architecture", "image_size", value=4096),
    "an unknown option": _put("architecture", "options", value={"skip": 2}),
    "an option of another kind": _put("architecture", "options", value={"deep_supervision": "perhaps"}),
    "an option that is a list": _put("architecture", "options", value={"deep_supervision": [1]}),
    "other weights": _put("weights_sha256", value="0" * 64),
    "no digest": _put("weights_sha256", value=""),
    "scheme as list": _put("scheme", value=[1, 2]),
    "a class less": _drop("scheme", "classes", "two"),
    "class values alike": _put("scheme", "classes", value={"one": 1, "two": 1}),
    "class value beyond all": _put("scheme", "classes", "two", value=10**12),
    "class value negative": _put("scheme", "classes", "two", value=-1),
    "regions of strangers": _put("scheme", "regions", value={"all": [1, 2, 9]}),
    "no data": _put("data", value={}),
    "data as text": _put("data", value="folder"),
    "unknown layout": _put("data", "layout", value="attic"),
    "channels of another number": _put("data", "channels", value={"t1": "t1.nii.gz", "t2": "t2.nii.gz"}),
    "channels as list": _put("data", "channels", value=["t1"]),
    "unknown intensity rule": _put("data", "intensity", value={"rule": "guess"}),
    "clip upside down": _put("data", "intensity", value={"rule": "clip", "low": 5, "high": 1}),
    "image size beyond": _put("data", "image_size", value=-1),
    "an unknown data key": _put("data", "secret", value=1),
}
_CLASS_CARD = {
    "class numbers with a hole": _put("scheme", "classes", value={"a": 0, "b": 2}),
    "a class more": _put("scheme", "classes", value={"a": 0, "b": 1, "c": 2}),
    "no mean": _drop("data", "mean"),
    "mean of another length": _put("data", "mean", value=[0.5]),
    "deviation of zero": _put("data", "sd", value=[0.0, 0.1, 0.1]),
    "gray and three channels": _put("data", "channels", value="grey"),
    "a network of another task": _put("architecture", "name", value="unet"),
    "a segmenter": _put("task", value="segmentation"),
}
_QUALITY = {
    "another format": _put("format", value=7),
    "no slopes": _drop("slopes"),
    "slopes as text": _put("slopes", "one", value="steep"),
    "a slope too many": _put("slopes", "one", value=[0.1, 0.2]),
    "a class more": _put("classes", value=["one", "two", "three"]),
    "other weights": _put("weights_sha256", value="0" * 64),
    "an unknown signal": _put("features", value=[{"signal": "mood", "transform": "identity", "centre": {"one": 0,
                              "two": 0}, "scale": {"one": 1, "two": 1}}]),
    "a feature of another kind": _put("features", value=[7]),
    "knots of unequal length": _put("table", value=[[0.0, 1.0], [0.0]]),
    "knots not in order": _put("table", value=[[1.0, 0.0], [0.0, 1.0]]),
    "flag above one": _put("doubtful_below", value=7),
    "facts as list": _put("facts", value=[1]),
    "counts as text": _put("facts", "not_predicted", "one", value="often"),
}  # fmt: skip
_SPLITS = {
    "no test side": _drop("test"),
    "side as list": _put("test", value=["p0"]),
    "ids as text": _put("train", "*", value="p0"),
    "ids as numbers": _put("train", "*", value=[1, 2]),
    "seed as text": _put("seed", value="7"),
    "a patient on two sides": lambda content: content["test"].update(content["train"]),
}
_INDEX = {
    "cases as list": _put("cases", value=[]),
    "no cases": _drop("cases"),
    "an entry as text": _put("cases", "*", value="mask.nii.gz"),
    "no mask": _put("cases", "*", value={}),
    "a mask elsewhere": _put("cases", "*", "mask", value="../../../etc/passwd"),
    "a mask by its whole path": _put("cases", "*", "mask", value="/etc/passwd"),
    "a mask as number": _put("cases", "*", "mask", value=3),
    "channels as list": _put("cases", "*", "channels", value=["t1"]),
    "seen as number": _put("cases", "*", "seen", value=3),
    "scheme as text": _put("scheme", value="acdc"),
    "classes as list": _put("scheme", "classes", value=[1, 2]),
    "data as list": _put("data", value=[1]),
    "data of an unknown layout": _put("data", "layout", value="attic"),
    "selection as number": _put("selection", value=4),
}
_SUMMARY = {
    "no classes": _drop("classes"),
    "classes as list": _put("classes", value=[1]),
    "a class as number": _put("classes", "one", value=1),
    "mean as text": _put("classes", "one", "dice", "mean", value="high"),
    "interval of three": _put("overall", "dice", "ci95", value=[0, 1, 2]),
    "overall as list": _put("overall", value=[]),
    "convention as number": _put("convention", value=3),
    "labels as list": _put("labels", value=[1, 2]),
    "label values alike": _put("labels", value={"one": 1, "two": 1}),
    "label beyond all": _put("labels", "one", value=10**9),
    "files as list": _put("files", value=[1]),
    "a case's files as text": _put("files", "*", value="x"),
    "channels as list": _put("files", "*", "channels", value=["x"]),
    "provenance as text": _put("provenance", value="mine"),
    "definitions as list": _put("definitions", value=["dice"]),
    "seen as text": _put("unmatched", value="none"),
    "tolerance as text": _put("tolerance_mm", value="wide"),
    "patients as text": _put("patients", value="five"),
}
_CLASS_SUMMARY = {
    "confusion of another size": _put("confusion", value=[[1, 2]]),
    "confusion as text": _put("confusion", value="little"),
    "negative counts": _put("confusion", value=[[-1, 0], [0, 1]]),
    "pictures as text": _put("pictures", value="all"),
    "another number of pictures": _put("pictures", value=3),
    "no accuracy": _drop("overall", "accuracy"),
    "a class without f1": _drop("classes", "a", "f1"),
    "bins as numbers": _put("reliability", value=[1, 2]),
    "a bin without confidence": _put("reliability", value=[{"low": 0.0, "high": 1.0, "count": 3}]),
    "data as list": _put("data", value=[1]),
}
_VALUES = (
    ("seg/best/model.json", "predict", _CARD),
    ("cls/best/model.json", "predict classes", _CLASS_CARD),
    ("seg/best/quality.json", "predict", _QUALITY),
    ("seg/splits.json", "predict test", _SPLITS),
    ("masks/predictions.json", "evaluate", _INDEX),
    ("scores/summary.json", "report", _SUMMARY),
    ("class_scores/summary.json", "report classes", _CLASS_SUMMARY),
    ("classes/predictions.json", "evaluate classes", {
        "another task": _put("task", value="segmentation"),
        "data as list": _put("data", value=[1]),
        "data of an unknown layout": _put("data", "layout", value="attic"),
        "seen as text": _put("seen", value="none"),
        "failed as number": _put("failed", value=1),
    }),
)  # fmt: skip


def _flipped(place: float) -> Change:
    """One bit of one byte is another, at a share of the file's length."""

    def change(sound: bytes) -> bytes:
        at = min(int(place * len(sound)), len(sound) - 1)
        return sound[:at] + bytes([sound[at] ^ 0x10]) + sound[at + 1 :]

    return change


_WEIGHTS: dict[str, Change] = {
    "empty": lambda sound: b"",
    "half": lambda sound: sound[: len(sound) // 2],
    "a byte in the head": _flipped(0.0005),
    "a byte in the middle": _flipped(0.5),
    "the last byte": _flipped(1.0),
    "more at the end": lambda sound: sound + b"more",
    "a web page": lambda sound: b"<!DOCTYPE html><html></html>",
    "a Git LFS pointer": lambda sound: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
    "zeros": lambda sound: bytes(len(sound)),
    "a head that claims too much": lambda sound: (2**62).to_bytes(8, "little") + sound[8:],
}


def _saved(state: Any) -> bytes:
    content = io.BytesIO()
    torch.save(state, content)
    return content.getvalue()


def _in_state(change: Callable[[dict[str, Any]], None]) -> Change:
    def changed(sound: bytes) -> bytes:
        state = torch.load(io.BytesIO(sound), weights_only=True)
        change(state)
        return _saved(state)

    return changed


class Payload:
    """A pickle that would run code."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path("/tmp/segcct-payload-ran").touch, ())


def _with_payload(sound: bytes) -> bytes:
    return _saved({**torch.load(io.BytesIO(sound), weights_only=True), "extra": Payload()})


def _packed(sound: bytes) -> bytes:
    """The same archive with its members compressed: one could unpack to any size."""
    content = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(sound)) as source, zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            target.writestr(name, source.read(name))
    return content.getvalue()


def _cut(state: dict[str, Any]) -> None:
    name = next(iter(state["state_dict"]))
    state["state_dict"][name] = state["state_dict"][name].flatten()[:1]


def _renamed(state: dict[str, Any]) -> None:
    name = next(iter(state["state_dict"]))
    state["state_dict"][name + "_old"] = state["state_dict"].pop(name)


_STATES: dict[str, Change] = {
    "empty": lambda sound: b"",
    "half": lambda sound: sound[: len(sound) // 2],
    "a byte early": _flipped(0.1),
    "a byte in the middle": _flipped(0.5),
    "a byte late": _flipped(0.9),
    "a web page": lambda sound: b"<html></html>",
    "another archive": lambda sound: _zip({"readme.txt": b"hello"}),
    "compressed members": _packed,
    "a pickle that runs code": _with_payload,
    "only a list": lambda sound: _saved([1, 2]),
    "only weights": lambda sound: _saved(torch.load(io.BytesIO(sound), weights_only=True)["state_dict"]),
    "no clock": _in_state(lambda state: state.pop("clock")),
    "a clock without time": _in_state(lambda state: state["clock"].pop("elapsed")),
    "elapsed as text": _in_state(lambda state: state["clock"].update(elapsed="long")),
    "weights as text": _in_state(lambda state: state["state_dict"].update({next(iter(state["state_dict"])): "x"})),
    "a weight cut": _in_state(_cut),
    "a weight renamed": _in_state(_renamed),
    "epoch as text": _in_state(lambda state: state.update(epoch="one")),
    "epoch below zero": _in_state(lambda state: state.update(epoch=-3)),
    "loops as list": _in_state(lambda state: state.update(loops=[])),
    "loops of nothing": _in_state(lambda state: state.update(loops={"fit_loop": {"x": 1}})),
    "no optimizer": _in_state(lambda state: state.update(optimizer_states=[])),
    "an optimizer of another network": _in_state(lambda state: state["optimizer_states"][0].update(param_groups=[])),
    "callbacks of nothing": _in_state(lambda state: state.update(callbacks={"EpochEnd": 3})),
    "another network": _in_state(lambda state: state["training"]["architecture"].update(name="unet")),
    "another dataset": _in_state(lambda state: state["training"].update(data_fingerprint="0")),
    "another seed": _in_state(lambda state: state["training"].update(seed=99)),
}


def _zip(members: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, member in members.items():
            archive.writestr(name, member)
    return content.getvalue()


def _in_table(change: Callable[[list[list[str]]], None]) -> Change:
    def changed(sound: bytes) -> bytes:
        rows = list(csv.reader(io.StringIO(sound.decode())))
        change(rows)
        text = io.StringIO()
        csv.writer(text).writerows(rows)
        return text.getvalue().encode()

    return changed


def _cell(column: str, value: str) -> Callable[[list[list[str]]], None]:
    def change(rows: list[list[str]]) -> None:
        rows[1][rows[0].index(column)] = value

    return change


_CELLS = (
    ("scores/metrics.csv", "report", {
        "no dice": lambda rows: rows[0].__setitem__(rows[0].index("dice"), "iou2"),
        "dice as text": _cell("dice", "high"),
        "an unknown status": _cell("status", "great"),
        "an unknown class": _cell("class", "heart"),
        "no rows": lambda rows: rows.__delitem__(slice(1, None)),
    }),
    ("scores/details.csv", "report", {
        "no case": lambda rows: rows[0].__setitem__(0, "patient2"),
        "a cell as text": lambda rows: rows[1].__setitem__(-1, "much"),
    }),
    ("classes/predictions.csv", "evaluate classes", {
        "no picture": lambda rows: rows[0].__setitem__(0, "file"),
        "a probability as text": _cell("p_a", "likely"),
        "a probability above one": _cell("p_a", "7"),
        "not a number": _cell("p_a", "nan"),
        "a picture twice": lambda rows: rows.append(rows[1]),
    }),
    ("class_scores/pictures.csv", "report classes", {
        "an unknown class": _cell("predicted", "owl"),
        "confidence as text": _cell("confidence", "sure"),
        "confidence of infinity": _cell("confidence", "inf"),
        "a row less": lambda rows: rows.pop(),
    }),
    ("seg/metrics.csv", "resume", {
        "epoch as text": _cell("epoch", "first"),
        "epoch below zero": _cell("epoch", "-1"),
        "no epoch": lambda rows: rows[0].__setitem__(0, "step"),
    }),
)  # fmt: skip


def sealed(best: Path, weights: bytes) -> None:
    """Put other weights into a model's folder under a digest that fits, as who wants to deceive would."""
    (best / "weights.safetensors").write_bytes(weights)
    card = json.loads((best / "model.json").read_text(encoding="utf-8"))
    card["weights_sha256"] = hashlib.sha256(weights).hexdigest()
    (best / "model.json").write_text(json.dumps(card), encoding="utf-8")
