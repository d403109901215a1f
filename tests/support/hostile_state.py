"""Mutations of the files that segcct writes, as after damage, a partial copy or an attack.

`hostile_world.World` has the files, and the command that reads each of them.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.hostile_anonymous import EMPTY_FILES, FILES, FILES_EITHER, SOURCES, SOURCES_EITHER
from tests.support.hostile_checkpoint import STATES, Change, flipped
from tests.support.hostile_configs import CARD_PATTERNS, CONFIGS, THEMSELVES
from tests.support.json_changes import JSON_CHANGES, drop, in_json, put


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
    """Another file or folder that the message may name instead of the file; empty: it need not name any."""
    either: bool = False
    """It may be accepted too: the command does not need what is damaged."""


def mutations(*, every: bool = False) -> Iterator[Mutation]:
    """All mutations, with distinct names.

    Of the damage that the common readers of JSON and tables refuse (files/test_state_files.py), a few mutations per
    file, which show that the file is read by them, or `every` one.
    """
    for files, changes, few in (
        (JSON_FILES, JSON_CHANGES, _FEW_OF_JSON),
        (_TABLE_FILES, _TABLE_CHANGES, _FEW_OF_TABLES),
    ):
        for file, command in files:
            for name in changes if every else few:
                either = file == "anon_scores/files.json" and name in EMPTY_FILES
                yield Mutation(f"{file}: {name}", file, changes[name], command, either=either)
    for file, command, changes in _VALUES:
        for name, change in changes.items():
            yield Mutation(f"{file}: {name}", file, in_json(change), command)
    for file, command, changes in _EITHER:
        for name, change in changes.items():
            yield Mutation(f"{file}: {name}", file, in_json(change), command, either=True)
    for name, change in _WEIGHTS.items():
        file = "seg/best/weights.safetensors"
        yield Mutation(f"{file}: {name}", file, change, "predict")
        yield Mutation(f"{file} as pretrained: {name}", file, change, "pretrained")
    for name, change in STATES.items():
        yield Mutation(f"seg/last.ckpt: {name}", "seg/last.ckpt", change, "resume")
    yield Mutation("seg/last.ckpt as pretrained", "seg/last.ckpt", lambda sound: sound, "from state")
    for name, change in _YAML.items():
        yield Mutation(f"seg/config.yaml: {name}", "seg/config.yaml", change, "resume")
    cards = {name: in_json(change) for name, change in CARD_PATTERNS.items()}
    for file, command, strange in (("seg/best/model.json", "predict", cards), ("seg.yaml", "check config", CONFIGS)):
        for name, change in strange.items():
            yield Mutation(f"{file}: {name}", file, change, command, named="" if name in THEMSELVES else "scans")
    for file, command, changes in _CELLS:
        for name, change in changes.items():
            yield Mutation(f"{file}: {name}", file, _in_table(change), command)


JSON_FILES = (
    ("seg/best/model.json", "predict"),
    ("m2i/best/model.json", "compare"),
    ("cls/best/model.json", "predict classes"),
    ("seg/best/quality.json", "predict"),
    ("seg/splits.json", "predict test"),
    ("masks/predictions.json", "evaluate"),
    ("anon/predictions.json", "evaluate anonymized"),
    ("anon/sources.json", "evaluate anonymized"),
    ("anon_scores/summary.json", "report anonymized"),
    ("anon_scores/files.json", "report anonymized"),
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
    ("class_scores/images.csv", "report classes"),
    ("seg/metrics.csv", "resume"),
)
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
_FEW_OF_JSON = ("half", "an empty object", "another object")
_FEW_OF_TABLES = ("cut within a row", "json")


_CARD = {
    "another format": put("format", value=2),
    "an unknown key": put("pickle", value="x"),
    "no task": drop("task"),
    "task of another kind": put("task", value=["segmentation"]),
    "a task that is none": put("task", value="poetry"),
    "no architecture": drop("architecture"),
    "architecture as text": put("architecture", value="unet"),
    "an unknown network": put("architecture", "name", value="resnet_9000"),
    "an unknown timm network": put("architecture", "name", value="timm:nothing"),
    "another network": put("architecture", "name", value="unet"),
    "a network of another task": put("architecture", "name", value="cct_2_3x2_32"),
    "no channels": put("architecture", "in_channels", value=0),
    "another number of channels": put("architecture", "in_channels", value=3),
    "a million channels": put("architecture", "in_channels", value=10**6),
    "channels as text": put("architecture", "in_channels", value="many"),
    "negative classes": put("architecture", "num_classes", value=-4),
    "another number of classes": put("architecture", "num_classes", value=5),
    "a billion classes": put("architecture", "num_classes", value=10**9),
    "a billion pixels": put("architecture", "image_size", value=10**9),
    "half a pixel": put("architecture", "image_size", value=31.5),
    "another image size": put("architecture", "image_size", value=4096),
    "an unknown option": put("architecture", "options", value={"skip": 2}),
    "an option of another kind": put("architecture", "options", value={"deep_supervision": "perhaps"}),
    "an option that is a list": put("architecture", "options", value={"deep_supervision": [1]}),
    "other weights": put("weights_sha256", value="0" * 64),
    "no digest": put("weights_sha256", value=""),
    "scheme as list": put("scheme", value=[1, 2]),
    "a class less": drop("scheme", "classes", "two"),
    "class values alike": put("scheme", "classes", value={"one": 1, "two": 1}),
    "class value beyond all": put("scheme", "classes", "two", value=10**12),
    "class value negative": put("scheme", "classes", "two", value=-1),
    "regions of strangers": put("scheme", "regions", value={"all": [1, 2, 9]}),
    "no data": put("data", value={}),
    "data as text": put("data", value="folder"),
    "unknown layout": put("data", "layout", value="attic"),
    "channels of another number": put("data", "channels", value={"t1": "t1.nii.gz", "t2": "t2.nii.gz"}),
    "channels as list": put("data", "channels", value=["t1"]),
    "unknown intensity rule": put("data", "intensity", value={"rule": "guess"}),
    "clip upside down": put("data", "intensity", value={"rule": "clip", "low": 5, "high": 1}),
    "image size beyond": put("data", "image_size", value=-1),
    "an unknown data key": put("data", "secret", value=1),
}
_CLASS_CARD = {
    "class numbers with a hole": put("scheme", "classes", value={"a": 0, "b": 2}),
    "a class more": put("scheme", "classes", value={"a": 0, "b": 1, "c": 2}),
    "no mean": drop("data", "mean"),
    "mean of another length": put("data", "mean", value=[0.5]),
    "deviation of zero": put("data", "std", value=[0.0, 0.1, 0.1]),
    "gray and three channels": put("data", "channels", value="gray"),
    "a network of another task": put("architecture", "name", value="unet"),
    "a segmenter": put("task", value="segmentation"),
}
_QUALITY = {
    "another format": put("format", value=7),
    "no slopes": drop("slopes"),
    "slopes as text": put("slopes", "one", value="steep"),
    "a slope too many": put("slopes", "one", value=[0.1, 0.2]),
    "a class more": put("classes", value=["one", "two", "three"]),
    "other weights": put("weights_sha256", value="0" * 64),
    "an unknown feature": put("covariates", value=[{"feature": "mood", "transform": "identity", "center": {"one": 0,
                              "two": 0}, "scale": {"one": 1, "two": 1}}]),
    "a covariate of another kind": put("covariates", value=[7]),
    "knots of unequal length": put("curve", value=[[0.0, 1.0], [0.0]]),
    "knots not in order": put("curve", value=[[1.0, 0.0], [0.0, 1.0]]),
    "flag above one": put("flag_below", value=7),
    "facts as list": put("facts", value=[1]),
    "counts as text": put("facts", "not_predicted", "one", value="often"),
}  # fmt: skip
_SPLITS = {
    "no test split": drop("test"),
    "split as list": put("test", value=["p0"]),
    "ids as text": put("train", "*", value="p0"),
    "ids as numbers": put("train", "*", value=[1, 2]),
    "seed as text": put("seed", value="7"),
    "a patient in two splits": lambda content: content["test"].update(content["train"]),
}
_INDEX = {
    "cases as list": put("cases", value=[]),
    "no cases": drop("cases"),
    "an entry as text": put("cases", "*", value="mask.nii.gz"),
    "no mask": put("cases", "*", value={}),
    "a mask elsewhere": put("cases", "*", "mask", value="../../../etc/passwd"),
    "a mask by its whole path": put("cases", "*", "mask", value="/etc/passwd"),
    "a mask as number": put("cases", "*", "mask", value=3),
    "channels as list": put("cases", "*", "channels", value=["t1"]),
    "a channel as number": put("cases", "*", "channels", "t1", value=3),
    "a channel as text": put("cases", "*", "channels", "t1", value="t1.nii.gz"),
    "a file as number": put("cases", "*", "channels", "t1", value=[3]),
    "a digest as number": put("cases", "*", "digest", value=3),
    "synthetic as text": put("cases", "*", "synthetic", value="no"),
    "seen as number": put("cases", "*", "seen", value=3),
    "scheme as text": put("scheme", value="acdc"),
    "classes as list": put("scheme", "classes", value=[1, 2]),
    "data as list": put("data", value=[1]),
    "data of an unknown layout": put("data", "layout", value="attic"),
    "selection as number": put("selection", value=4),
}
_SUMMARY = {
    "no classes": drop("classes"),
    "classes as list": put("classes", value=[1]),
    "a class as number": put("classes", "one", value=1),
    "mean as text": put("classes", "one", "dice", "mean", value="high"),
    "interval of three": put("overall", "dice", "ci95", value=[0, 1, 2]),
    "overall as list": put("overall", value=[]),
    "convention as number": put("convention", value=3),
    "labels as list": put("labels", value=[1, 2]),
    "label values alike": put("labels", value={"one": 1, "two": 1}),
    "label beyond all": put("labels", "one", value=10**9),
    "files as list": put("files", value=[1]),
    "a case's files as text": put("files", "*", value="x"),
    "channels as list": put("files", "*", "channels", value=["x"]),
    "provenance as text": put("provenance", value="mine"),
    "definitions as list": put("definitions", value=["dice"]),
    "seen as text": put("unmatched", value="none"),
    "tolerance as text": put("tolerance_mm", value="wide"),
    "label map as list": put("label_map", value=[1]),
    "digests as list": put("digests", value=[1]),
    "digests of a case as text": put("digests", "*", value="x"),
    "a digest as number": put("digests", "*", "prediction", value=3),
    "tables as list": put("tables", value=[1]),
    "model as list": put("model", value=[1]),
    "a model's provenance as text": put("model", value={"provenance": "mine"}),
    "a table's digest as number": put("tables", "*", value=3),
    "a label map without background": drop("label_map", "background"),
    "patients as text": put("patients", value="five"),
}
_CLASS_SUMMARY = {
    "confusion of another size": put("confusion", value=[[1, 2]]),
    "confusion as text": put("confusion", value="little"),
    "negative counts": put("confusion", value=[[-1, 0], [0, 1]]),
    "images as text": put("images", value="all"),
    "another number of images": put("images", value=3),
    "no accuracy": drop("overall", "accuracy"),
    "a class without f1": drop("classes", "a", "f1"),
    "bins as numbers": put("reliability", value=[1, 2]),
    "a bin without confidence": put("reliability", value=[{"low": 0.0, "high": 1.0, "count": 3}]),
    "data as list": put("data", value=[1]),
}
_VALUES = (
    ("seg/best/model.json", "predict", _CARD),
    ("cls/best/model.json", "predict classes", _CLASS_CARD),
    ("seg/best/quality.json", "predict", _QUALITY),
    ("seg/splits.json", "predict test", _SPLITS),
    ("masks/predictions.json", "evaluate", _INDEX),
    ("anon/sources.json", "evaluate anonymized", SOURCES),
    ("anon_scores/files.json", "report anonymized", FILES),
    ("scores/summary.json", "report", _SUMMARY),
    ("class_scores/summary.json", "report classes", _CLASS_SUMMARY),
    ("classes/predictions.json", "evaluate classes", {
        "another task": put("task", value="segmentation"),
        "data as list": put("data", value=[1]),
        "data of an unknown layout": put("data", "layout", value="attic"),
        "seen as text": put("seen", value="none"),
        "failed as number": put("failed", value=1),
        "digests as list": put("digests", value=[1]),
        "a digest as number": put("digests", "*", value=3),
    }),
)  # fmt: skip

_EITHER = (
    ("anon/sources.json", "evaluate anonymized", SOURCES_EITHER),
    ("anon_scores/files.json", "report anonymized", FILES_EITHER),
    ("masks/predictions.json", "evaluate", {
        "a file on a device": put("cases", "*", "channels", "t1", value=["/dev/zero"]),
        "a file of long name": put("cases", "*", "channels", "t1", value=["x" * 10_000]),
        "a file of no name": put("cases", "*", "channels", "t1", value=[""]),
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
        "no image": lambda rows: rows[0].__setitem__(0, "file"),
        "a probability as text": _cell("p_a", "likely"),
        "a probability above one": _cell("p_a", "7"),
        "not a number": _cell("p_a", "nan"),
        "an image twice": lambda rows: rows.append(rows[1]),
    }),
    ("class_scores/images.csv", "report classes", {
        "an unknown class": _cell("predicted", "owl"),
        "confidence as text": _cell("confidence", "sure"),
        "confidence of infinity": _cell("confidence", "inf"),
        "a row less": lambda rows: rows.pop(),
    }),
    ("seg/metrics.csv", "resume", {
        "epoch as text": _cell("epoch", "first"),
        "epoch below zero": _cell("epoch", "-1"),
        "epoch of 5,000 digits": _cell("epoch", "9" * 5000),
        "epoch of other digits": _cell("epoch", "²"),
        "no epoch": lambda rows: rows[0].__setitem__(0, "step"),
    }),
)  # fmt: skip


def sealed(best: Path, weights: bytes) -> None:
    """Put other weights into a model's folder, with the digest that fits, as an attacker would."""
    (best / "weights.safetensors").write_bytes(weights)
    card = json.loads((best / "model.json").read_text(encoding="utf-8"))
    card["weights_sha256"] = hashlib.sha256(weights).hexdigest()
    (best / "model.json").write_text(json.dumps(card), encoding="utf-8")
