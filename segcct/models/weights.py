"""Starting from trained weights: released checkpoints, ImageNet Swin, or an earlier run, with a full report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import isqrt
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segcct.errors import CheckpointError
from segcct.models.transformer import Encoder, resize_table, sine_table
from segcct.models.weight_files import read_weights
from segcct.models.weight_names import (
    Plan,
    has_blocks,
    is_computed,
    is_front,
    is_head,
    is_pooling,
    is_positional,
    is_tokenizer_norm,
    plan,
    pooling_of,
)

_OTHER_MODEL = "Choose the model these weights were made for"


@dataclass
class LoadReport:
    """What became of every tensor of the file and of the model; `str()` prints it.

    Args:
        file: the weights file.
        what: its kind in words.
        loaded: names in the model filled as they are in the file.
        resized: name in the model -> how the file's tensor was fitted to it.
        set_to_one: names in the model that were set to 1, because the file's model computes as if it had them so.
        skipped: name in the file -> why it was not used.
        missing: names in the model that the file does not have; they keep their initial values.
        notes: anything else a user should know.
    """

    file: Path
    what: str
    loaded: list[str] = field(default_factory=list)
    resized: dict[str, str] = field(default_factory=dict)
    set_to_one: list[str] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [f"{self.file}: {self.what}", f"  loaded   {_counted(self.loaded)}"]
        lines += [f"  resized  {name}: {how}" for name, how in self.resized.items()]
        lines += [
            f"  set to 1 {name}: the file's encoder, trained without it, counts in full" for name in self.set_to_one
        ]
        for reason in dict.fromkeys(self.skipped.values()):
            names = [name for name, why in self.skipped.items() if why == reason]
            lines.append(f"  skipped  {_counted(names)}: {reason}")
        if self.missing:
            lines.append(f"  missing  {_counted(self.missing)}: keep their initial values")
        lines += [f"  note     {note}" for note in self.notes]
        return "\n".join(lines)


def load_pretrained(model: nn.Module, path: str | Path) -> LoadReport:
    """Fill a model of `create_model` with the weights of a file, as far as they fit.

    Takes released Compact-Transformers files, Swin classifiers (official and timm names) for `swin_unet_*`, published
    Swin-Unet files, files of timm and MONAI for the networks that are theirs, and the best/ folder of a run: the same
    architecture, or a classifier's encoder for a segmenter and back. Positional tables are resized; heads of another
    class count stay as they are in the model.

    Args:
        model: is changed in place.
        path: the file, or a best/ folder.

    Returns a report of what was loaded, resized, skipped and missing.

    Raises:
        CheckpointError: the file is damaged, unsafe or of another architecture; the model is then unchanged.
    """
    path = Path(path)
    file = read_weights(path)
    state = model.state_dict()
    matched = plan(file.tensors, state)
    _require_match(matched, file.tensors, path)
    report = LoadReport(path, matched.what)
    filled = _fill(model, state, file.tensors, matched, report)
    used = set(matched.source_of.values())
    for name in file.tensors:
        if name not in used:
            why = "computed by the model itself" if is_computed(name) else "no place for it in the model"
            report.skipped[name] = matched.left_out.get(name, why)
    if file.other_keys:
        others = ", ".join(sorted(file.other_keys))
        report.notes.append(f"the weights under '{file.key}' were read; the file also holds, not read: {others}")
    model.load_state_dict({**state, **filled}, strict=True)
    return report


def _require_match(matched: Plan, source: Mapping[str, Tensor], path: Path) -> None:
    absent, surplus = matched.absent(), matched.surplus(source)
    if not (absent or surplus) and matched.source_of:
        return
    names = surplus or list(source)
    lacking = f"{len(absent)} that it lacks, such as {', '.join(absent[:3])}"
    differing = (*absent, *surplus)
    remedy = _OTHER_MODEL
    if has_blocks(source) and not has_blocks(matched.required) and any(map(is_front, matched.required)):
        remedy = "The model has no encoder blocks to fill: give it some by model.options.encoder_depth"
    elif differing and all(is_pooling(name) for name in differing):
        remedy = f"Set model.options.pooling: {pooling_of(source)}, as these weights were trained"
    elif differing and all(is_tokenizer_norm(name) for name in differing):
        remedy = f"Set model.options.tokenizer_norm: {'batch' if surplus else 'none'}, as these weights were trained"
    raise CheckpointError(
        "holds weights of another architecture",
        file=path,
        found=f"{len(names)} tensors{' too many' if surplus else ''}, such as {', '.join(names[:3])}",
        expected=lacking if absent else None if surplus else "names of the model",
        remedy=remedy,
    )


def _fill(
    model: nn.Module, state: Mapping[str, Tensor], source: Mapping[str, Tensor], matched: Plan, report: LoadReport
) -> dict[str, Tensor]:
    """The tensors that replace those in `state`; adds every name of the model to the report."""
    filled = {}
    for name, initial in state.items():
        source_name = matched.source_of.get(name)
        if source_name is None:
            if name in matched.set_to_one:
                filled[name] = torch.ones_like(initial)
                report.set_to_one.append(name)
            elif not is_computed(name):
                report.missing.append(name)
            continue
        fit = _fitted(model, name, initial, source_name, source, matched)
        if fit.note:
            report.notes.append(f"{name}: {fit.note}")
        if fit.value.shape == initial.shape:
            filled[name] = fit.value
            if fit.how:
                report.resized[name] = fit.how
            else:
                report.loaded.append(name)
        elif is_head(name) and fit.value.dim() == initial.dim():
            counts = f"{fit.value.shape[0]} classes in the file, {initial.shape[0]} in the model"
            report.skipped[source_name] = f"{counts}, which keeps its initial head"
        else:
            raise CheckpointError(
                "holds weights of another architecture",
                file=report.file,
                found=f"{source_name} of shape {tuple(source[source_name].shape)}",
                expected=str(tuple(initial.shape)),
                remedy=_OTHER_MODEL,
            )
    return filled


class _Fit(NamedTuple):
    """A tensor of the file, fitted to the model where that is possible."""

    value: Tensor
    how: str = ""
    """How it was resized; empty where it was not."""
    note: str = ""


def _fitted(
    model: nn.Module, name: str, initial: Tensor, source_name: str, source: Mapping[str, Tensor], matched: Plan
) -> _Fit:
    """The file's tensor for `name`, as far as it can be in the shape of the model's `initial`."""
    value = source[source_name]
    if value.dim() != initial.dim():
        return _Fit(value)
    if is_positional(name):
        encoder = _encoder_of(model, initial)
        lead = int(any(other.endswith(".class_emb") for other in source))
        return _Fit(value) if encoder is None else _fit_positional(encoder, initial, value, lead)
    if name.endswith("relative_position_bias_table"):
        return _fit_window(initial, value)
    return _fit_channels(initial, value) if name in matched.reads_image else _Fit(value)


def _encoder_of(model: nn.Module, table: Tensor) -> Encoder | None:
    """The encoder whose positional table this is; masked pre-training has several of different tables."""
    encoders = (module for module in model.modules() if isinstance(module, Encoder))
    tables = ((each, each.positional_emb) for each in encoders)
    return next((each for each, own in tables if own is not None and own.data_ptr() == table.data_ptr()), None)


def _fit_positional(encoder: Encoder, initial: Tensor, value: Tensor, lead: int) -> _Fit:
    """Resizes the token grid of a positional table, after `lead` rows for a class token; a table that cannot be one
    comes back unchanged."""
    tokens = max(0, value.shape[1] - lead)
    side = isqrt(tokens)
    if not side or side * side != tokens or value.shape[-1] != encoder.dim:
        return _Fit(value)
    how = f"{side}x{side} -> {encoder.grid[0]}x{encoder.grid[1]} tokens"
    note = ""
    if encoder.positional == "sine":
        sine = sine_table(value.shape[1], value.shape[2])
        if torch.allclose(value.float().cpu(), sine, atol=1e-3):  # half precision
            if value.shape == initial.shape:
                return _Fit(value)
            return _Fit(sine_table(initial.shape[1], initial.shape[2]), f"{how}, sine recomputed")
        note = "a sine table was asked for, but the file's is not sinusoidal; the file's is used, not trained"
    own_lead = int(encoder.class_emb is not None)
    table = value if lead == own_lead else torch.cat([initial[:, :own_lead], value[:, lead:]], dim=1)
    resized = resize_table(table.float(), (side, side), encoder.grid)
    return _Fit(resized, f"{how}, bilinear" if (side, side) != encoder.grid else "", note)


def _fit_window(initial: Tensor, value: Tensor) -> _Fit:
    """Relative position biases (positions, heads) of another window size, bicubic as in the official Swin code."""
    side, new_side = isqrt(value.shape[0]), isqrt(initial.shape[0])
    if side in (0, new_side) or side * side != value.shape[0] or value.shape[1] != initial.shape[1]:
        return _Fit(value)
    grid = value.float().T.reshape(1, -1, side, side)  # (1, heads, 2M-1, 2M-1)
    grid = F.interpolate(grid, size=(new_side, new_side), mode="bicubic", align_corners=False)
    return _Fit(grid.flatten(2)[0].T, f"window {(side + 1) // 2} -> {(new_side + 1) // 2}, bicubic")


def _fit_channels(initial: Tensor, value: Tensor) -> _Fit:
    """An input convolution (D, C, k, k) for another number of channels.

    Every channel gets the sum of the file's filters over the channel count, so that an image whose channels are equal
    has the response it had.
    """
    before, after = value.shape[1], initial.shape[1]
    if before == after or value.shape[0] != initial.shape[0] or value.shape[2:] != initial.shape[2:]:
        return _Fit(value)
    how = f"{before} -> {after} input channels, the sum of their filters divided equally"
    return _Fit((value.sum(dim=1, keepdim=True) / after).expand_as(initial), how)


def _counted(names: Iterable[str]) -> str:
    """Names by the module they belong to: `12 tensors (classifier.blocks 10, classifier.norm 2)`."""
    names = list(names)
    if len(names) == 1:
        return names[0]
    groups = Counter(".".join(name.split(".")[:-1][:2]) or name for name in names)
    parts = ", ".join(f"{group} {count}" for group, count in groups.items())
    return f"{len(names)} tensors ({parts})" if names else "nothing"
