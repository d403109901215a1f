"""How slices go through a network: batch, arithmetic, device."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from segcct.errors import ModelError


@dataclass(frozen=True)
class Inference:
    """How slices go through a network."""

    batch_size: int = 16
    precision: str = "fp32"
    """fp32 or bf16."""
    device: str = "cpu"
    protocol: str = "soft"
    """soft: probabilities are resampled to the input grid; transunet: see protocol.py."""

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ModelError("a batch holds at least one slice", found=f"batch size {self.batch_size}")


def autocast(how: Inference) -> torch.autocast:
    """The arithmetic of `how`."""
    return torch.autocast(torch.device(how.device).type, torch.bfloat16, enabled=how.precision == "bf16")


def finite(values: torch.Tensor) -> torch.Tensor:
    """The values of a network as they are. Raises `ModelError` where one is NaN or infinite."""
    if not bool(values.isfinite().all()):
        raise ModelError(
            "the network gives values that are not finite",
            found="NaN or infinity",
            remedy="Try --precision fp32; if that does not help, it was trained badly: lower its --train.lr",
        )
    return values


def pick_device(name: str = "auto") -> str:
    """`auto` is the accelerator where there is one, else the processor.

    Raises `ModelError` for a device that is not there: a requested accelerator is never replaced in silence.
    """
    here = ["cpu"]
    if torch.cuda.is_available():
        here += ["cuda", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        here.append("mps")
    if name == "auto":
        return "cuda" if "cuda" in here else "cpu"
    if name not in here:
        raise ModelError("no such device on this machine", found=name, expected=", ".join(["auto", *here]))
    return name
