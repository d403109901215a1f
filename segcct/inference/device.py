"""How slices go through a network: batch, arithmetic, device."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Inference:
    """How slices go through a network."""

    batch_size: int = 16
    precision: str = "fp32"
    """fp32 or bf16."""
    device: str = "cpu"
    protocol: str = "soft"
    """soft: probabilities are resampled to the input grid; transunet: see protocol.py."""


def autocast(how: Inference) -> torch.autocast:
    """The arithmetic of `how`."""
    return torch.autocast(torch.device(how.device).type, torch.bfloat16, enabled=how.precision == "bf16")


def pick_device(name: str = "auto") -> str:
    """`auto` is the accelerator where there is one, else the processor."""
    if name != "auto":
        return name
    return "cuda" if torch.cuda.is_available() else "cpu"
