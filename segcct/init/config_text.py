"""What `segcct init` found, chose and could not tell, for the terminal and as a commented YAML config."""

from __future__ import annotations

import json
import re
import shlex
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from segcct.config import DataSection, SegmentationConfig
from segcct.datasets.layouts import scheme_of

_PLAIN = re.compile(r"(\.{0,2}/|[A-Za-z_])[A-Za-z0-9_./-]*( [A-Za-z0-9_./-]+)*\Z")
_LARGE = 160
"""Side of training slices from which windows and batches of 8 are used: steps on less are short already."""
_NUMBERED = "label_map"
"""The setting whose keys are label values."""
_WORD = re.compile(r"[A-Z]?[a-z]+[0-9]*|[A-Z]+[0-9]*(?![a-z])")
"""A word of a class name, whether separated by spaces, signs or capitals; `L1` is a vertebra and one word."""
_LEFT_RIGHT = {"left", "right", "l", "r", "lh", "rh"}


@dataclass(frozen=True)
class Findings:
    """A dataset as it was understood; `data` is ready to be written as a config."""

    data: DataSection
    facts: tuple[str, ...]
    """What was seen, a line each."""
    reasons: Mapping[str, str]
    """Key of the data section -> why it was set so."""
    doubts: tuple[str, ...]
    """What was not clear; to be read by a human before training."""

    def describe(self) -> str:
        """The findings as text for a terminal."""
        lines = [f"looked at {self.data.root}", *(f"  {fact}" for fact in self.facts), "chosen"]
        width = max(len(key) for key in self.reasons)
        for key, reason in self.reasons.items():
            value = _short(getattr(self.data, key))
            lines.append(f"  {key:<{width}}  {value}{f'  ({reason})' if reason else ''}")
        if self.doubts:
            lines += ["in doubt", *(f"  - {doubt}" for doubt in self.doubts)]
        return "\n".join(lines)


def config_text(findings: Findings, name: str, file: Path | None = None) -> str:
    """A config for the dataset, opened by the commands; every setting says why it is so.

    `file` is where it will stand; default: configs/<name>.yaml. It is loaded once before it is returned, so that what
    `segcct init` writes can be used.
    """
    lines = [*_opening(findings, file or Path("configs") / f"{name}.yaml"), "run:", f"  name: {_scalar(name)}", "data:"]
    data = findings.data.model_dump(mode="json", exclude_unset=True)
    for key, value in data.items():
        lines += _entry(key, value, "  ", findings.reasons.get(key, ""))
    lines += _training(findings)
    text = "\n".join(lines) + "\n"
    SegmentationConfig.model_validate(yaml.safe_load(text))
    return text


def names_left_or_right(structure: str) -> bool:
    """Whether a flip would make this class another one: `kidney_left`, `Left-Kidney`, `kidneyRight`, `ctx-lh`."""
    return any(word.lower() in _LEFT_RIGHT for word in _WORD.findall(structure))


def _short(value: object) -> str:
    """A setting in one line: nested sections by what was set in them."""
    if hasattr(value, "model_dump"):
        value = value.model_dump(exclude_unset=True, mode="json")
    if isinstance(value, Mapping):
        inner = [f"{key} {one}" for key, one in value.items() if one is not None]
        return ", ".join(inner[:6]) + (f" and {len(inner) - 6} more" if len(inner) > 6 else "")
    return str(value)


def _opening(findings: Findings, file: Path) -> list[str]:
    config = _plain(shlex.quote(str(file)))
    written = _plain(f"Written by `segcct init {shlex.quote(str(findings.data.root))}`: read it and correct it.")
    lines = [
        *textwrap.wrap(_plain(findings.facts[0]) + ".", 116, initial_indent="# ", subsequent_indent="# "),
        f"# {written}",
        f"#   segcct check --config {config}",
        f"#   segcct train-seg --config {config}",
        "# Expected time and memory: run the second command with --dry-run. Expected score: not known for this data.",
    ]
    if findings.doubts:
        lines.append("# In doubt:")
        for doubt in findings.doubts:
            lines += textwrap.wrap(_plain(doubt), 112, initial_indent="#   - ", subsequent_indent="#     ")
    return lines


def _plain(text: str) -> str:
    """Text for a comment, without characters that would end its line or that YAML refuses."""
    return "".join(letter if letter.isprintable() else "?" for letter in " ".join(text.split()))


def _entry(key: object, value: object, indent: str, why: str = "") -> list[str]:
    """One setting with its reason, above it when the line would get long."""
    if isinstance(value, dict) and value:
        head = [f"{indent}{_scalar(key)}:"]
        inside = {int(inner) if key == _NUMBERED else inner: one for inner, one in value.items()}
        body = [line for inner, one in inside.items() for line in _entry(inner, one, indent + "  ")]
    else:
        head, body = [f"{indent}{_scalar(key)}: {_scalar(value)}"], []
    why = _plain(why)
    if not why:
        return head + body
    if len(head[0]) + len(why) < 116:
        return [f"{head[0]}  # {why}", *body]
    return [*textwrap.wrap(why, 112, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# "), *head, *body]


def _scalar(value: object) -> str:
    """A value in one line of YAML; text in quotes wherever it would be read as a number, a date, a boolean or null."""
    if not isinstance(value, str):
        return json.dumps(value)
    if _PLAIN.match(value) and value.lower() not in ("y", "n") and yaml.safe_load(value) == value:
        return value
    if value.isprintable():
        return json.dumps(value, ensure_ascii=False)
    return str(yaml.safe_dump(value, default_style='"', width=10**9)).strip()


def _training(findings: Findings) -> list[str]:
    """The recipe of configs/acdc_slices_cct_unet.yaml, as far as it suits slices of this size and every network."""
    side = findings.data.image_size
    window = 32 * (side // 64 + 1)  # more than half of the side, and a size that every network takes
    windows = f"  windows: {{{window}: 0.5}}  # for half of the training, parts of that side around the structures"
    paired = any(names_left_or_right(name) for name in scheme_of(findings.data).classes)
    augment = ["augment:", "  flip: 0.0  # left and right are classes of their own"] if paired else []
    return [
        *augment,
        "model:",
        "  name: cct_unet_s  # segcct models lists the others",
        "  # options: {encoder_depth: 0}  # smaller and faster, and no worse on cardiac MRI",
        "train:",
        "  epochs: 100  # or a length of time: budget: 30min",
        "  slices_per_epoch: 1024  # so that an epoch takes as long with few scans as with many",
        f"  batch_size: {8 if side >= _LARGE else 16}",
        "  optimizer: muon  # adamw for networks of tens of millions of parameters",
        "  lr: 2.0e-3",
        *([windows] if side >= _LARGE else []),
        "  validation_time: 0.05  # of the time, at most",
    ]
