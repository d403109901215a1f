"""Arithmetic is chosen, not assumed: bf16 where it is measured to be faster on this machine, else fp32.

Processors with bf16 instructions (AVX512-BF16, AMX, recent ARM) run bf16 1.5 to 4 times faster than fp32; those without
emulate it, many times slower, and nothing in PyTorch says which of the two a machine does.
"""

from __future__ import annotations

import functools
import os
import time
from dataclasses import dataclass

import torch
from torch.nn import functional

from segcct.errors import ConfigError
from segcct.hardware.devices import device_type
from segcct.hardware.precision_names import PRECISIONS, AskedPrecision, Precision
from segcct.progress import say

ENVIRONMENT = "SEGCCT_PRECISION"
"""Environment variable that decides what `auto` is, in place of the measurement: fp32 or bf16."""
REPEATS = 5
CLEARLY_FASTER = 0.9
"""bf16 is chosen where it takes at most this fraction of the time of fp32."""
_PLAINLY_SLOWER = 3.0
_CLOCK = time.perf_counter if os.name == "nt" else time.thread_time
"""Windows counts the processor time of a thread in steps of 16 ms, longer than what is timed here."""


@dataclass(frozen=True)
class Timing:
    """Milliseconds of one convolution and one matrix product, the best of a few runs."""

    fp32_ms: float
    bf16_ms: float

    @property
    def slowdown(self) -> float:
        """Time of bf16 as a multiple of the time of fp32."""
        return self.bf16_ms / self.fp32_ms


@dataclass(frozen=True)
class Choice:
    """The arithmetic of a network, and why it was chosen."""

    precision: Precision
    reason: str

    def __str__(self) -> str:
        return f"precision {self.precision}: {self.reason}"


def choose_precision(wanted: AskedPrecision, device: str) -> Choice:
    """The arithmetic for `wanted` on a device; `auto` is measured once per process.

    An explicit bf16 is obeyed; where it is slower than fp32 on this processor, one line on stderr says by how much,
    and where this GPU has no instructions for it, that.

    Raises `ConfigError` for another word, here or in the environment variable SEGCCT_PRECISION.
    """
    if wanted not in PRECISIONS:
        raise ConfigError("unknown precision", found=wanted, expected=", ".join(PRECISIONS))
    kind = device_type(device)
    if wanted == "auto":
        return _automatic(kind)
    if wanted == "bf16":
        _warn_if_slower(kind)
    return Choice(wanted, "as requested")


def autocast(device: str, precision: str) -> torch.autocast:
    """The context in which a network computes in this precision on this device."""
    return torch.autocast(device_type(device), torch.bfloat16, enabled=precision == "bf16")


def _automatic(kind: str) -> Choice:
    pinned = os.environ.get(ENVIRONMENT)
    if pinned:  # an empty one counts as unset
        if pinned not in ("fp32", "bf16"):
            raise ConfigError(f"environment variable {ENVIRONMENT}", found=pinned, expected="fp32 or bf16")
        return Choice("bf16" if pinned == "bf16" else "fp32", f"set by the environment variable {ENVIRONMENT}")
    if kind == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return Choice("bf16", "this GPU has bf16 instructions")
        return Choice("fp32", "this GPU has no bf16 instructions")
    if kind != "cpu":
        return Choice("fp32", f"bf16 is not used on {kind}")
    timing = measure_cpu()
    faster = timing.slowdown <= CLEARLY_FASTER
    return Choice(
        "bf16" if faster else "fp32",
        f"measured here, bf16 takes {timing.bf16_ms:.2f} ms and fp32 {timing.fp32_ms:.2f} ms",
    )


@functools.cache
def _warn_if_slower(kind: str) -> None:
    """Once per process and kind of device."""
    if kind == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        say("warning: this GPU has no bf16 instructions and emulates them; use precision auto or fp32")
    if kind != "cpu":
        return
    slowdown = measure_cpu().slowdown
    if slowdown > 1.1:
        say(f"warning: bf16 is {slowdown:.1f} times slower than fp32 on this processor; use precision auto or fp32")


@functools.cache
def measure_cpu() -> Timing:
    """Time one convolution and one matrix product in both precisions on one core; tens of milliseconds, or a fifth of a
    second where bf16 is emulated.

    It is the processor time of one thread (not on Windows), which other work on the machine hardly changes: threads
    that wait for each other on a busy machine would.
    """
    with torch.random.fork_rng(devices=[]):  # of the sizes that networks here are made of
        torch.manual_seed(0)
        image, kernel = torch.randn(1, 64, 56, 56), torch.randn(64, 64, 3, 3)
        tokens, weight = torch.randn(512, 256), torch.randn(512, 256)
    best_ms = {"fp32": float("inf"), "bf16": float("inf")}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            for repeat in range(1 + REPEATS):  # the first run sets up kernels and is not counted
                for precision in best_ms:
                    with autocast("cpu", precision):
                        began = _CLOCK()
                        functional.conv2d(image, kernel, padding=1)
                        functional.linear(tokens, weight)
                        took_ms = 1e3 * (_CLOCK() - began)
                    if repeat:
                        best_ms[precision] = min(best_ms[precision], took_ms)
                if repeat and best_ms["bf16"] > _PLAINLY_SLOWER * best_ms["fp32"]:
                    break  # emulated: more runs would take long and add nothing
    finally:
        torch.set_num_threads(threads)
    return Timing(best_ms["fp32"], best_ms["bf16"])
