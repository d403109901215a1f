"""Exported models run by ONNX Runtime or OpenVINO, as networks with the contract of the PyTorch ones.

(B, C, H, W) -> logits (B, K, H, W), so that inferers, ensembles and test-time augmentation take them as they are.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from segcct.errors import CheckpointError, ModelError
from segcct.export.model_file import EXTRA, ExportedModel, Size
from segcct.extras import import_extra
from segcct.runtime import INPUT, OnnxSession, RunnerError, in_a_line


class FixedSizeNetwork(nn.Module):
    """A network of another runtime, for images of one size.

    Args:
        size: of the images.
        file: named in errors.
    """

    def __init__(self, size: Size, file: Path) -> None:
        super().__init__()
        self.size = size
        self.file = file

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, H, W) -> logits. Raises `ModelError` for another size than the network's."""
        height, width = image.shape[-2:]
        if (height, width) != self.size:
            raise ModelError(
                "the exported model takes slices of one size",
                file=self.file,
                found=f"{height} x {width} pixels",
                expected=f"{self.size[0]} x {self.size[1]}",
                remedy=f"Write another file by segcct export --size {-(-max(height, width) // 32) * 32}",
            )
        try:
            return torch.from_numpy(self.run(np.ascontiguousarray(image.float().cpu().numpy()))).to(image.device)
        except RuntimeError as error:  # of the backend
            raise ModelError("the exported model cannot be run", file=self.file, found=in_a_line(error)) from error

    @abstractmethod
    def run(self, images: np.ndarray) -> np.ndarray:
        """(B, C, H, W) float32 -> logits."""


class OnnxNetwork(FixedSizeNetwork):
    """By ONNX Runtime, as the runner does; in fp32 where the file is."""

    def __init__(self, content: bytes, size: Size, file: Path, precision: str) -> None:  # noqa: ARG002 - for others
        super().__init__(size, file)
        import_extra("onnxruntime", EXTRA)
        try:
            self.session = OnnxSession(content, torch.get_num_threads())
        except RunnerError as error:
            raise CheckpointError("cannot be run by ONNX Runtime", file=file, found=in_a_line(error)) from error

    def run(self, images: np.ndarray) -> np.ndarray:
        """See `FixedSizeNetwork`."""
        try:
            return self.session(images)
        except RunnerError as error:
            raise ModelError(str(error), file=self.file) from error


class OpenVinoNetwork(FixedSizeNetwork):
    """By OpenVINO on the processor; `precision` bf16 where its instructions are there."""

    def __init__(self, content: bytes, size: Size, file: Path, precision: str) -> None:
        super().__init__(size, file)
        openvino = import_extra("openvino", EXTRA)
        settings = {
            "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "PERFORMANCE_HINT": "LATENCY",
        }
        try:
            core = openvino.Core()
            self.compiled: Any = core.compile_model(core.read_model(content), "CPU", settings)
        except Exception as error:  # OpenVINO has RuntimeError and others of its own
            raise CheckpointError("cannot be run by OpenVINO", file=file, found=in_a_line(error)) from error

    def run(self, images: np.ndarray) -> np.ndarray:
        """See `FixedSizeNetwork`; with a request for each call, since threads that predict images share the network."""
        return np.array(self.compiled.create_infer_request().infer({INPUT: images})[0])  # a copy: that is the request's


Backend = Callable[[bytes, Size, Path, str], FixedSizeNetwork]
BACKENDS: dict[str, Backend] = {"onnx": OnnxNetwork, "openvino": OpenVinoNetwork}
"""Name of `--backend` -> the network of an ONNX file: its bytes, its size, its name for errors, fp32 or bf16."""


def backend_network(name: str, model: ExportedModel, file: Path, precision: str = "fp32") -> FixedSizeNetwork:
    """An exported model as a network.

    Raises:
        ModelError: PyTorch, which runs no exported models.
        PackageError: the backend is not installed.
        CheckpointError: it cannot run the model.
    """
    if name not in BACKENDS:
        raise ModelError(
            "an exported model does not run in PyTorch",
            file=file,
            expected=f"--backend {' or '.join(BACKENDS)}",
            remedy="Or name the best/ folder it was exported from",
        )
    return BACKENDS[name](model.content, model.size, file, precision)
