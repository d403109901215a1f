"""Starting from somebody's weights: released checkpoints, ImageNet Swin, or an earlier training; nothing is silent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isqrt
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from segcct.errors import CheckpointError
from segcct.models.checkpoint_file import read_weights
from segcct.models.transformer import Encoder, resize_table, sine_table
from segcct.models.weight_names import (
    Plan,
    is_computed,
    is_head,
    is_pooling,
    is_positional,
    is_tokenizer_norm,
    plan,
    pooling_of,
)


@dataclass
class LoadReport:
    """What became of every tensor of the file and of the model; `str()` prints it.

    Args:
        file: the weights file.
        what: its kind in words.
        loaded: names in the model filled as they are in the file.
        resized: name in the model -> how the file's tensor was fitted to it.
        skipped: name in the file -> why it was not used.
        missing: names in the model the file says nothing of; they keep their initial values.
        notes: what else a user should know.
    """

    file: Path
    what: str
    loaded: list[str] = field(default_factory=list)
    resized: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [f"{self.file}: {self.what}", f"  loaded   {_counted(self.loaded)}"]
        lines += [f"  resized  {name}: {how}" for name, how in self.resized.items()]
        for reason in dict.fromkeys(self.skipped.values()):
            names = [name for name, why in self.skipped.items() if why == reason]
            lines.append(f"  skipped  {_counted(names)}: {reason}")
        if self.missing:
            lines.append(f"  missing  {_counted(self.missing)}: keep their initial values")
        lines += [f"  note     {note}" for note in self.notes]
        return "\n".join(lines)


def load_pretrained(model: nn.Module, path: str | Path) -> LoadReport:
    """Fills a model of `create_model` with the weights of a file, as far as they fit.

    Takes released Compact-Transformers files, Swin classifiers (official and timm names) for `swin_unet_*`, published
    Swin-Unet files, files of timm and MONAI for the networks that are theirs, and the best/ folder of a run: the same
    architecture, or a classifier's encoder for a segmenter and back. Positional tables are resized; heads of another
    class count stay as they are in the model.

    Returns a report of what was loaded, resized, skipped and missing.

    Raises:
        CheckpointError: the file is damaged, unsafe or of another architecture; the model is then unchanged.
    """
    path = Path(path)
    held = read_weights(path)
    source = held.tensors
    state = model.state_dict()
    matched = plan(source, state)
    report = LoadReport(path, matched.what)
    _require_match(matched, source, path)
    filled = {}
    for name, own in state.items():
        if name in matched.source_of:
            fitted = _fitted(model, name, own, source, matched, report)
            if fitted is not None:
                filled[name] = fitted
        elif not is_computed(name):
            report.missing.append(name)
    _note_unused(source, matched, report)
    if held.beside:
        beside = ", ".join(sorted(held.beside))
        report.notes.append(f"the weights under '{held.key}' were read; the file also holds, not read: {beside}")
    model.load_state_dict({**state, **filled}, strict=True)
    return report


def _require_match(matched: Plan, source: Mapping[str, Tensor], path: Path) -> None:
    absent, surplus = matched.absent(), matched.surplus(source)
    if not (absent or surplus) and matched.source_of:
        return
    held = surplus or list(source)
    lacking = f"{len(absent)} that it lacks, such as {', '.join(absent[:3])}"
    raise CheckpointError(
        "holds weights of another architecture",
        file=path,
        found=f"{len(held)} tensors{' too many' if surplus else ''}, such as {', '.join(held[:3])}",
        expected=lacking if absent else None if surplus else "names of the model",
        remedy=_remedy(absent, surplus, source),
    )


def _remedy(absent: Sequence[str], surplus: Sequence[str], source: Collection[str]) -> str:
    """Choose another model, or its one option where that is all that differs."""
    differing = (*absent, *surplus)
    if differing and all(is_pooling(name) for name in differing):
        return f"Set model.options.pooling: {pooling_of(source)}, as these weights were trained"
    if differing and all(is_tokenizer_norm(name) for name in differing):
        return f"Set model.options.tokenizer_norm: {'batch' if surplus else 'none'}, as these weights were trained"
    return "Choose the model these weights were made for"


def _fitted(
    model: nn.Module, name: str, own: Tensor, source: Mapping[str, Tensor], matched: Plan, report: LoadReport
) -> Tensor | None:
    """The file's tensor in the shape of the model's `own`; None where the model keeps its own. Fills the report."""
    source_name = matched.source_of[name]
    given = source[source_name]
    if is_positional(name):
        encoder = next((module for module in model.modules() if isinstance(module, Encoder)), None)
        if encoder is not None:
            class_token = any(held.endswith(".class_emb") for held in source)
            given = _fit_positional(encoder, name, own, given, class_token, report)
    elif name.endswith("relative_position_bias_table") and given.shape != own.shape:
        given = _fit_window(name, own, given, report)
    elif name in matched.reads_image and given.shape[0] == own.shape[0] and given.shape[2:] == own.shape[2:]:
        given = _fit_channels(name, own, given, report)
    if given.shape == own.shape:
        if name not in report.resized:
            report.loaded.append(name)
        return given
    if is_head(name):
        counts = f"{given.shape[0]} classes in the file, {own.shape[0]} in the model"
        report.skipped[source_name] = f"{counts}, which keeps its initial head"
        return None
    raise CheckpointError(
        "holds weights of another architecture",
        file=report.file,
        found=f"{source_name} of shape {tuple(given.shape)}",
        expected=str(tuple(own.shape)),
        remedy="Choose the model these weights were made for",
    )


def _fit_positional(
    encoder: Encoder, name: str, own: Tensor, given: Tensor, class_token: bool, report: LoadReport
) -> Tensor:
    """Resizes the token grid of a positional table; a table that cannot be one comes back as it is."""
    lead, own_lead = int(class_token), int(encoder.class_emb is not None)
    if given.dim() != 3 or given.shape[-1] != encoder.dim:
        return given
    side = isqrt(given.shape[1] - lead)
    if side * side != given.shape[1] - lead:
        return given
    if encoder.positional == "sine" and _is_sinusoidal(given):
        if given.shape == own.shape:
            return given
        report.resized[name] = f"{side}x{side} -> {encoder.grid[0]}x{encoder.grid[1]} tokens, sine computed anew"
        return sine_table(own.shape[1], own.shape[2])
    if encoder.positional == "sine":
        report.notes.append(
            f"{name}: a sine table was asked for, but the file's is not sinusoidal; the file's is kept, not trained"
        )
    grid = given if lead == own_lead else torch.cat([own[:, :own_lead], given[:, lead:]], dim=1)
    if (side, side) != encoder.grid:
        rows, columns = encoder.grid
        report.resized[name] = f"{side}x{side} -> {rows}x{columns} tokens, bilinear"
    return resize_table(grid.float(), (side, side), encoder.grid)


def _is_sinusoidal(table: Tensor) -> bool:
    """Whether a (1, N, D) table is the sine table, to half precision."""
    return torch.allclose(table.float().cpu(), sine_table(table.shape[1], table.shape[2]), atol=1e-3)


def _fit_window(name: str, own: Tensor, given: Tensor, report: LoadReport) -> Tensor:
    """Relative position biases (positions, heads) of another window size, bicubic as in the official Swin code."""
    side, own_side = isqrt(given.shape[0]), isqrt(own.shape[0])
    if given.dim() != 2 or side * side != given.shape[0] or given.shape[1] != own.shape[1]:
        return given
    grid = given.float().T.reshape(1, -1, side, side)  # (1, heads, 2M-1, 2M-1)
    grid = F.interpolate(grid, size=(own_side, own_side), mode="bicubic", align_corners=False)
    report.resized[name] = f"window {(side + 1) // 2} -> {(own_side + 1) // 2}, bicubic"
    return grid.flatten(2)[0].T


def _fit_channels(name: str, own: Tensor, given: Tensor, report: LoadReport) -> Tensor:
    """An input convolution (D, C, k, k) for another number of channels.

    Every channel gets the sum of the file's filters over the channel count, so that an image whose channels are equal
    has the response it had.
    """
    before, after = given.shape[1], own.shape[1]
    if before == after:
        return given
    report.resized[name] = f"{before} -> {after} input channels, the sum of their filters shared evenly"
    return (given.sum(dim=1, keepdim=True) / after).expand_as(own)


def _note_unused(source: Mapping[str, Tensor], matched: Plan, report: LoadReport) -> None:
    used = set(matched.source_of.values())
    for name in source:
        if is_computed(name):
            report.skipped[name] = "computed by the model itself"
        elif name in matched.apart:
            report.skipped[name] = matched.apart[name]
        elif name not in used:
            report.skipped[name] = "no place for it in the model"


def _counted(names: Iterable[str]) -> str:
    """Names by the module they belong to: `12 tensors (classifier.blocks 10, classifier.norm 2)`."""
    names = list(names)
    if len(names) == 1:
        return names[0]
    groups = Counter(".".join(name.split(".")[:-1][:2]) or name for name in names)
    parts = ", ".join(f"{group} {count}" for group, count in groups.items())
    return f"{len(names)} tensors ({parts})" if names else "nothing"
