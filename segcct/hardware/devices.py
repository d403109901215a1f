"""Where networks run: the processor or an accelerator."""

from __future__ import annotations

import torch

from segcct.errors import ModelError


def available_devices() -> list[str]:
    """Every device name that `pick_device` takes on this machine, `cpu` first."""
    devices = ["cpu"]
    if torch.cuda.is_available():
        devices += ["cuda", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        devices.append("mps")
    return devices


def pick_device(name: str = "auto") -> str:
    """`auto` is `cuda` where there is one, else `cpu`; `mps` is taken where it is named.

    Raises `ModelError` for a device that is not there: a requested accelerator is never replaced in silence.
    """
    devices = available_devices()
    if name == "auto":
        return "cuda" if "cuda" in devices else "cpu"
    if name not in devices:
        raise ModelError("no such device on this machine", found=name, expected=", ".join(["auto", *devices]))
    return name


def device_type(name: str) -> str:
    """`cuda:1` -> `cuda`. Raises `ModelError` for what names no device."""
    try:
        return torch.device(name).type
    except RuntimeError:
        raise ModelError("no such device", found=name, expected=", ".join(available_devices())) from None
