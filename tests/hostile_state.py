"""What a damaged disk, a half copy or somebody else makes of files of state: the list of mutations.

`hostile_world.World` has the files, and the command that reads each.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .hostile_checkpoint import STATES, Change, flipped


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
    for name, change in STATES.items():
        yield Mutation(f"seg/last.ckpt: {name}", "seg/last.ckpt", change, "resume")
    yield Mutation("seg/last.ckpt as pretrained", "seg/last.ckpt", lambda sound: sound, "from state")
    for name, change in _YAML.items():
        yield Mutation(f"seg/config.yaml: {name}", "seg/config.yaml", change, "resume")
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
    ("scores/cases.csv", "report"),
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
    "label map as list": _put("label_map", value=[1]),
    "a label map without background": _drop("label_map", "background"),
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


_WEIGHTS: dict[str, Change] = {
    "empty": lambda sound: b"",
    "half": lambda sound: sound[: len(sound) // 2],
    "a byte in the head": flipped(0.0005),
    "a byte in the middle": flipped(0.5),
    "the last byte": flipped(1.0),
    "more at the end": lambda sound: sound + b"more",
    "a web page": lambda sound: b"<!DOCTYPE html><html></html>",
    "a Git LFS pointer": lambda sound: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
    "zeros": lambda sound: bytes(len(sound)),
    "a head that claims too much": lambda sound: (2**62).to_bytes(8, "little") + sound[8:],
}


_YAML: dict[str, Change] = {
    "empty": lambda sound: b"",
    "binary": lambda sound: bytes(range(128, 256)) * 8,
    "utf-16": lambda sound: sound.decode().encode("utf-16"),
    "an array": lambda sound: b"- 1\n- 2\n",
    "deep": lambda sound: b"x: " + b"[" * 20_000 + b"]" * 20_000,
    "an open bracket": lambda sound: sound + b"\nx: [1, 2",
    "a date that is none": lambda sound: sound + b"\nx: 2026-99-99\n",
    "an unknown section": lambda sound: sound + b"\nextra: {a: 1}\n",
    "an object of Python": lambda sound: sound + b"\nx: !!python/object/apply:os.getcwd []\n",
    "another network": lambda sound: sound.replace(b"name: cct_unet_t", b"name: unet"),
}


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
