"""A `best/` folder run by another backend than PyTorch: its network is exported the first time that a size is needed.

The files stay in `best/exported/`, one per size, and are used again as long as weights and versions are the same.
"""

from __future__ import annotations

import threading
from pathlib import Path

from torch import Tensor, nn

from segcct.errors import CheckpointError
from segcct.export.backends import FixedSizeNetwork, backend_network
from segcct.export.model_file import SUFFIX, ExportedModel, Size, read_exported
from segcct.export.onnx_export import check_exportable, export_onnx, made_by
from segcct.export.verification import compare_outputs, random_inputs, require_equal
from segcct.files.atomic_file import write_bytes
from segcct.model_card import ModelCard
from segcct.models.padding import crop_to, pad_to_multiple
from segcct.progress import say

EXPORTED = "exported"
_STEP = 16
_ONE_AT_A_TIME = threading.Lock()
"""Threads that predict images share the network, which is exported once."""


class ExportedOnDemand(nn.Module):
    """The network of a folder: (B, C, H, W) -> logits, of any size.

    Args:
        network: in PyTorch.
        card: its model.json.
        folder: its `best/` folder.
        backend: a name of `BACKENDS`.
        precision: fp32 or bf16.
    """

    def __init__(self, network: nn.Module, card: ModelCard, folder: Path, backend: str, precision: str) -> None:
        super().__init__()
        self.in_pytorch = (network,)  # no submodule: nothing that is done to its layers would change an output
        self.card, self.folder = card, folder
        self.backend, self.precision = backend, precision
        self.of_size: dict[Size, FixedSizeNetwork] = {}

    def forward(self, image: Tensor) -> Tensor:
        """See the class. Padded to multiples of 16 as the networks pad inside, so that few sizes are exported."""
        height, width = image.shape[-2:]
        padded = pad_to_multiple(image, _STEP) if self.card.task == "segmentation" else image
        rows, columns = padded.shape[-2:]
        logits: Tensor = self._network_for((rows, columns))(padded)
        return crop_to(logits, height, width) if logits.ndim == image.ndim else logits

    def _network_for(self, size: Size) -> FixedSizeNetwork:
        with _ONE_AT_A_TIME:
            if size in self.of_size:
                return self.of_size[size]
            file = self.folder / EXPORTED / f"{size[0]}x{size[1]}{SUFFIX}"
            model = _stored(file, self.card) or self._exported(file, size)
            self.of_size[size] = backend_network(self.backend, model, file, self.precision)
            return self.of_size[size]

    def _exported(self, file: Path, size: Size) -> ExportedModel:
        say(f"exporting the network for slices of {size[0]} x {size[1]} pixels ...")
        check_exportable(self.card)
        content = export_onnx(self.in_pytorch[0], self.card, size).SerializeToString()
        model = ExportedModel(content, self.card, size, "fp32", made_by())
        inputs = random_inputs(self.card.architecture.in_channels, size)
        require_equal(compare_outputs(self.in_pytorch[0], backend_network("onnx", model, file), inputs), "random input")
        try:
            write_bytes(file, content)
        except OSError:  # a folder of others, or a full disk: it is used from memory, and made again next time
            say(f"{file} could not be written, so the network will be exported again next time")
        return model


def _stored(file: Path, card: ModelCard) -> ExportedModel | None:
    """An earlier export of the same network and weights by the same versions."""
    if not file.is_file():
        return None
    try:
        model = read_exported(file)
    except CheckpointError:
        return None
    found, wanted = ((each.weights_sha256, each.architecture) for each in (model.card, card))
    return model if (found, model.made_by) == (wanted, made_by()) else None
