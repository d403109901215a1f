"""How a trained network runs: batch size, precision, device, test-time augmentation, adaptation."""

from __future__ import annotations

from dataclasses import dataclass, field
from numbers import Integral
from pathlib import Path, PurePath
from types import UnionType

import numpy as np
import torch

from segcct.errors import ModelError
from segcct.hardware.devices import pick_device
from segcct.hardware.precision import Choice, autocast, choose_precision
from segcct.hardware.precision_names import AskedPrecision
from segcct.hardware.processor import limit_threads
from segcct.hub import local_model
from segcct.inference.adaptation_methods import AdaptationMethods
from segcct.inference.inference_choices import BACKENDS, PROTOCOLS, BackendName, ProtocolName, ViewsName
from segcct.inference.views import VIEWS
from segcct.runtime import slices_per_batch

_TYPES: dict[str, tuple[type | UnionType, str]] = {
    "batch_size": (Integral, "a whole number"),
    **dict.fromkeys(("precision", "device", "protocol", "tta", "adapt", "backend"), (str, "a text")),
    "postprocessing": (bool | np.bool_, "True or False"),
    "generator": (str | PurePath | None, "a folder, or None"),
}


@dataclass(frozen=True)
class InferenceSettings:
    """How a trained network runs, such as `InferenceSettings(precision="fp32", tta="flips")`.

    Device and precision are chosen when it is made. Raises `ModelError` for settings that do not exist, are of another
    type, or do not go together.
    """

    batch_size: int = 16
    """Slices in the network at a time, at most (`batch_of`)."""
    precision: AskedPrecision = "auto"
    """fp32 or bf16; `auto` becomes the faster of the two on this device."""
    device: str = "auto"
    """`auto` becomes a GPU where there is one, else cpu."""
    protocol: ProtocolName = "soft"
    """soft: probabilities are resampled to the input grid; orientations: those of slices of three orientations are
    averaged before; transunet: the published slice protocol."""
    tta: ViewsName = "none"
    """Test-time augmentation: none, flips or rotations (views.py)."""
    adapt: str = "none"
    """How the model is adapted to each case (adaptation.py): `none`, or some of `statistics` (or `statistics:0.4`, with
    a weight), `image` and `model`, separated by commas."""
    postprocessing: bool = True
    """Apply the steps of the model card to masks."""
    backend: BackendName = "torch"
    """What runs the network: torch, onnx (ONNX Runtime) or openvino; the last two on the processor."""
    generator: Path | None = None
    """best/ of an M2I run on the same data section; adaptation by `model` then uses its cycle too."""
    choice: Choice = field(init=False, compare=False)
    """How `precision` was chosen."""

    def __post_init__(self) -> None:
        self._check_types()
        object.__setattr__(self, "batch_size", int(self.batch_size))  # numbers of NumPy cannot be written as JSON
        object.__setattr__(self, "postprocessing", bool(self.postprocessing))
        if self.batch_size < 1:
            raise ModelError("a batch holds at least one slice", found=f"batch size {self.batch_size}")
        for option, names in (("protocol", PROTOCOLS), ("tta", tuple(VIEWS)), ("backend", BACKENDS)):
            if (name := getattr(self, option)) not in names:
                raise ModelError(f"no such {option}", found=name, expected=", ".join(names))
        methods = AdaptationMethods.parse(self.adapt)
        if self.generator is not None:
            if not methods.model:
                raise ModelError(
                    "--generator does nothing without --adapt model",
                    remedy="Add --adapt model, or leave --generator out",
                )
            object.__setattr__(self, "generator", local_model(self.generator))
        if self.device == "auto":
            object.__setattr__(self, "device", pick_device() if self.backend == "torch" else "cpu")
        if self.backend != "torch" and self.device != "cpu":
            raise ModelError(f"backend {self.backend} runs on the processor", found=self.device, expected="cpu")
        if self.device == "cpu":
            limit_threads()
        object.__setattr__(self, "choice", self._choose())
        object.__setattr__(self, "precision", self.choice.precision)

    def _check_types(self) -> None:
        for name, (kinds, expected) in _TYPES.items():
            value = getattr(self, name)
            if not isinstance(value, kinds) or (isinstance(value, bool) and kinds is Integral):
                raise ModelError(f"{name} is of the wrong type", found=repr(value), expected=expected)

    def _choose(self) -> Choice:
        if self.backend != "onnx":
            return choose_precision(self.precision, self.device)
        if self.precision == "bf16":
            raise ModelError("backend onnx has no bf16", expected="--precision fp32, or --backend openvino or torch")
        return Choice("fp32", "ONNX Runtime computes in it")

    def batch_of(self, pixels: int, most: int | None = None) -> int:
        """How many slices of `pixels` pixels go through the network at a time: `most` (default: `batch_size`), or
        fewer where they are large and a processor computes."""
        most = self.batch_size if most is None else most
        return slices_per_batch(most, pixels) if self.device == "cpu" else most

    def autocast(self) -> torch.autocast:
        """Context in which the network runs in `precision`."""
        return autocast(self.device, self.precision)
