"""Reading an exported model: nothing in the file is trusted before it is checked against what an export contains."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from segcct.errors import CheckpointError
from segcct.extras import import_extra
from segcct.files.file_memo import FileState
from segcct.model_card import ModelCard, check_fit, load_card
from segcct.runtime import INPUT, METADATA_KEY, OUTPUT, RunnerError, in_a_line, read_facts

EXTRA = "export"
Size = tuple[int, int]
"""Rows and columns in pixels."""
SUFFIX = ".onnx"
_MOST_BYTES = 2**31 - 1
"""Of a file that holds its weights itself."""
_LARGEST_SIZE = 8192
_PLAIN_ATTRIBUTES = frozenset({1, 2, 3, 4, 6, 7, 8, 9})
"""Types of attributes that are numbers, texts and dense tensors, or several of these: no graphs, no sparse tensors."""
_REMEDY = "Write it again by segcct export"


@dataclass(frozen=True)
class ExportedModel:
    """A file that was checked."""

    content: bytes
    card: ModelCard
    size: Size
    """Of the input."""
    precision: str
    """fp32 or int8."""
    made_by: Mapping[str, str | None]
    """The versions that wrote it."""


def is_exported(path: str | Path) -> bool:
    """Whether a path is named as an exported model, not as the folder of one."""
    return Path(path).suffix.lower() == SUFFIX


def card_at(path: Path) -> ModelCard:
    """The model card of a `best/` folder or of an exported model, whose weights are the file: files of other precision
    or size are other models. Raises as `load_card` and `read_exported`."""
    if not is_exported(path):
        return load_card(path)
    return _card_in(path, FileState.of(path) if path.is_file() else None)


@lru_cache(maxsize=32)
def _card_in(file: Path, state: FileState | None) -> ModelCard:  # noqa: ARG001 - changes with the file
    """The card of an exported model, read once though a prediction asks for it several times."""
    exported = read_exported(file)
    return exported.card.model_copy(update={"weights_sha256": hashlib.sha256(exported.content).hexdigest()})


def read_exported(file: Path) -> ExportedModel:
    """An exported model from its file.

    Raises:
        PackageError: the extra `export` is not installed.
        CheckpointError: the file is missing, damaged, or not what `segcct export` writes: without its metadata, with
            weights in other files, shapes larger than the weights it holds, or operators of other kinds.
    """
    onnx = import_extra("onnx", EXTRA)
    if not file.is_file():
        raise CheckpointError("no such file", file=file, expected="a file that segcct export wrote, or a best/ folder")
    if file.stat().st_size > _MOST_BYTES:
        raise CheckpointError("is too large for an exported model", file=file, found=f"{file.stat().st_size:,} bytes")
    content = file.read_bytes()
    try:
        model = onnx.load_model_from_string(content)
    except Exception as error:  # of protobuf, whose kinds differ between its versions
        raise CheckpointError("is not an ONNX file, or is cut off", file=file, found=in_a_line(error)) from error
    stored = {entry.key: entry.value for entry in model.metadata_props}.get(METADATA_KEY)
    try:
        facts = read_facts(stored, file)
    except RunnerError:
        raise CheckpointError(
            "was not written by segcct export", file=file, expected="its metadata", remedy=_REMEDY
        ) from None
    card = ModelCard.from_json(facts["card"], file)
    if model.functions:
        _refuse(file, "functions of its own")
    _check_graph(onnx, model.graph, file)
    size = (facts["size"][0], facts["size"][1])
    _check_ports(model.graph, card, size, file)
    made_by = facts.get("made_by")
    return ExportedModel(
        content, card, size, str(facts.get("precision"))[:20], made_by if isinstance(made_by, dict) else {}
    )


def _check_graph(onnx: Any, graph: Any, file: Path) -> None:
    """Raises `CheckpointError` for weights outside of the file, and for an operator that runs a graph of its own, which
    could compute forever."""
    if graph.sparse_initializer:
        _refuse(file, "sparse weights")
    tensors = list(graph.initializer)
    for node in graph.node:
        refused = [each for each in node.attribute if each.type not in _PLAIN_ATTRIBUTES]
        if refused or node.domain not in ("", "ai.onnx"):
            _refuse(file, f"operator {node.domain[:40]} {node.op_type[:40]}")
        tensors += [tensor for each in node.attribute for tensor in (each.t, *each.tensors)]
    for tensor in tensors:
        if tensor.external_data or tensor.data_location == onnx.TensorProto.EXTERNAL:
            _refuse(file, f"weights outside of the file: {tensor.name[:80]}")
        claimed = math.prod(tensor.dims) if tensor.dims else 0
        if min(tensor.dims, default=0) < 0 or claimed > 2 * tensor.ByteSize():  # of the shortest type, 4 bits each
            _refuse(file, f"{tensor.name[:80]} of {claimed:,} numbers in {tensor.ByteSize():,} bytes")


def _check_ports(graph: Any, card: ModelCard, size: Size, file: Path) -> None:
    """Input and output are those of the card: (B, C, S, S) -> (B, K, S, S), or (B, K)."""
    sizes = card.architecture
    if not all(1 <= side <= _LARGEST_SIZE for side in size):
        _refuse(file, f"slices of {size} pixels")
    planes = size if card.task == "segmentation" else ()
    for ports, name, channels, rest in (
        (graph.input, INPUT, sizes.in_channels, size),
        (graph.output, OUTPUT, sizes.num_classes, planes),
    ):
        shapes = [_shape(port) for port in ports if port.name == name]
        if len(ports) != 1 or len(shapes) != 1 or shapes[0][1:] != (channels, *rest):
            _refuse(file, f"{name} of shape {shapes[:1] or 'unknown'}, not (batch, {channels}, ...) at {size} pixels")
    if card.task == "segmentation":
        check_fit(card, file, num_classes=card.label_scheme().num_classes)


def _shape(port: Any) -> tuple[int, ...]:
    return tuple(int(axis.dim_value) for axis in port.type.tensor_type.shape.dim)


def _refuse(file: Path, found: str) -> None:
    raise CheckpointError("is not a model as segcct export writes it", file=file, found=found, remedy=_REMEDY)
