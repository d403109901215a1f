"""From a trained network to the bytes of an ONNX file that carries its own pre- and post-processing as metadata.

The batch size is dynamic; height and width are fixed, because attention windows, their masks and the positional table
are laid out for them. A network for several sizes is several files.
"""

from __future__ import annotations

import json
import logging
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from segcct.errors import ModelError, is_out_of_memory
from segcct.export.model_file import EXTRA, Size
from segcct.extras import import_extra
from segcct.model_card import ModelCard
from segcct.preparation.preparation_settings import Preparation
from segcct.provenance import version_of
from segcct.runtime import INPUT, METADATA_FORMAT, METADATA_KEY, OUTPUT, in_a_line
from segcct.version import VERSION

OPSET = 18
"""The first that has every operator of the networks here; ONNX Runtime reads it from version 1.14 on."""
_MOST_AT_ONCE, _LARGEST_SIZE = 4096, 4096


def check_exportable(card: ModelCard) -> None:
    """Raises `ModelError` unless the model is a segmenter or classifier of 2-D images."""
    if card.spatial_dims != 2 or card.task not in ("segmentation", "classification"):
        found = f"a model of task {card.task} of {card.spatial_dims} dimensions"
        raise ModelError("cannot be exported", found=found, expected="a segmenter or classifier of 2-D images")


def card_of_size(card: ModelCard, size: int | None) -> tuple[ModelCard, int]:
    """The card of an export whose input is `size` x `size` pixels, and that size; None: the training size.

    Raises `ModelError` for what cannot be exported, or not at that size.
    """
    check_exportable(card)
    trained = card.architecture.image_size
    if size is None or size == trained:
        return card, trained
    if card.task == "classification" or card.data.get("fit") in ("resize", "letterbox"):
        raise ModelError(
            "this model scales every image to one size",
            found=f"--size {size}",
            expected=f"{trained}, as in training",
            remedy="Leave --size out",
        )
    if not trained <= size <= _LARGEST_SIZE:
        raise ModelError(
            "no size for this model", found=size, expected=f"{trained} (as in training) to {_LARGEST_SIZE}"
        )
    return card.model_copy(update={"data": {**card.data, "image_size": size}}), size


def export_onnx(network: nn.Module, card: ModelCard, size: Size) -> Any:
    """The `onnx.ModelProto` of a trained network, with its metadata.

    Args:
        network: as `to_onnx` takes it.
        card: what becomes the metadata, as `card_of_size` gives it.
        size: rows and columns in pixels.

    Raises `PackageError` and `ModelError` as `to_onnx`.
    """
    model = to_onnx(network, card.architecture.in_channels, size, card.architecture.name)
    set_facts(model, card, size, precision="fp32")
    return model


def to_onnx(network: nn.Module, channels: int, size: Size, name: str = "") -> Any:
    """The `onnx.ModelProto` of a network in evaluation mode, for input of (B, C, *size).

    Args:
        network: (B, C, H, W) -> logits (B, K, H, W), or (B, K) of a classifier; on the processor.
        channels: C.
        size: rows and columns in pixels.
        name: of the network, for errors.

    Raises:
        PackageError: the extra `export` is not installed.
        ModelError: the network cannot be exported.
    """
    for package in ("onnx", "onnxscript"):
        import_extra(package, EXTRA)
    example = torch.zeros(2, channels, *size)
    shapes = ({0: torch.export.Dim("batch", min=1, max=_MOST_AT_ONCE)},)
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        # Of the fused attention, the exporter does not know the order of the output in memory.
        with warnings.catch_warnings(), torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                _Plain(network.eval()),
                (example,),
                dynamo=True,
                input_names=[INPUT],
                output_names=[OUTPUT],
                opset_version=OPSET,
                dynamic_shapes=shapes,
                verbose=False,
            )
    except Exception as error:  # of the exporter, which has many
        if is_out_of_memory(error):
            raise
        found = in_a_line(error.__cause__ or error)
        raise ModelError(f"the network {name} cannot be exported to ONNX", found=found) from error
    finally:
        log.setLevel(level)
    assert program is not None
    model = program.model_proto
    _forget_source(model)
    return model


def set_facts(model: Any, card: ModelCard, size: Size, *, precision: str) -> None:
    """Give an `onnx.ModelProto` the metadata by which segcct and its runner know input, preparation and classes."""
    facts = {
        "format": METADATA_FORMAT,
        "size": size,
        "precision": precision,
        "made_by": made_by(),
        "preparation": _preparation(card),
        "card": card.model_dump(mode="json"),
    }
    del model.metadata_props[:]
    model.metadata_props.add(key=METADATA_KEY, value=json.dumps(facts, allow_nan=False))


def made_by() -> dict[str, str | None]:
    """The versions that an export depends on."""
    return {"segcct": VERSION, "torch": version_of("torch")}


def _preparation(card: ModelCard) -> dict[str, Any]:
    return {} if card.task == "classification" else Preparation.of(card.data_section(Path())).to_json()


def _forget_source(model: Any) -> None:
    """Remove what the exporter notes of every node: lines of source, with the folders of this machine."""
    model.doc_string = ""
    for item in (*model.graph.node, *model.graph.value_info, *model.graph.input, *model.graph.output, model.graph):
        item.doc_string = ""
        if hasattr(item, "metadata_props"):
            del item.metadata_props[:]


class _Plain(nn.Module):
    """A network for the exporter: its input is called as the ONNX file calls it."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        """See the class."""
        logits: Tensor = self.network(image)
        return logits
