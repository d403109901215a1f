"""What `segcct doctor` reports: versions, the machine, the speed of one reference step, what is missing."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import re
import shlex
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from segcct import provenance
from segcct.errors import SegcctError, short_reason
from segcct.files.disk_space import free_bytes
from segcct.hardware.devices import available_devices, pick_device
from segcct.hardware.memory import free_memory_gb, load_average
from segcct.hardware.precision import choose_precision, measure_cpu
from segcct.hardware.processor import container_cores, core_share, instruction_sets, limit_threads, processor_name
from segcct.provenance import version_of
from segcct.version import VERSION

PACKAGES = (*provenance.PACKAGES, "timm")
TABLE = "docs/machines.md"
"""Lists the seconds of other machines."""
_LITTLE_MEMORY_GB, _LITTLE_DISK_GB = 4.0, 5.0
_FOR_DEVELOPERS = {"test", "bench"}
"""Extras that no command needs."""


def examine(folder: Path, *, measure: bool = True) -> dict[str, Any]:
    """Facts of this machine as plain values.

    Args:
        folder: where datasets and runs will be; its free space is reported.
        measure: time the reference step and the backends of prediction too, which takes half a minute, and a minute
            where bf16 is emulated.
    """
    device = pick_device()
    threads, free_disk = limit_threads(), free_bytes(folder)
    facts: dict[str, Any] = {
        "segcct": VERSION,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
        "packages": {name: version_of(name) for name in PACKAGES},
        "devices": available_devices(),
        "device": device,
        "processor": processor_name(),
        "instruction_sets": instruction_sets(),
        "cores": {"machine": os.cpu_count(), "usable": core_share(), "container": container_cores()},
        "threads": threads,
        "load": load_average(),
        "free_memory_gb": free_memory_gb(),
        "free_disk_gb": None if free_disk is None else free_disk / 1e9,
        "missing": missing_packages(),
        "torch_is_compiled": has_bytecode("torch"),
    }
    choice = choose_precision("auto", device)
    facts["precision"] = {"auto": choice.precision, "reason": choice.reason}
    if measure:
        from segcct.tasks.segmentation.timed_step import DESCRIPTION, MACHINES, backend_times_s, reference_step_s

        try:
            facts["step"] = {
                "what": DESCRIPTION,
                "seconds": {precision: reference_step_s(device, precision) for precision in ("fp32", "bf16")},
                "elsewhere": dict(MACHINES),
                "reference_ms": vars(measure_cpu()),
            }
        except RuntimeError as error:  # of torch: a GPU that is full, or that this PyTorch is not made for
            facts["step_failed"] = f"{device}: {short_reason(error)}"
        try:
            facts["backends"] = backend_times_s()
        except SegcctError as error:  # this report is what it takes to find out why
            facts["backends_failed"] = str(error)
    facts["advice"] = advice(facts)
    return facts


def advice(facts: dict[str, Any]) -> list[str]:
    """What these facts mean for the user, a sentence each."""
    sentences = []
    usable, load = facts["cores"]["usable"], facts["load"]
    cores = facts["cores"]["machine"] or usable  # the load is that of the whole machine, in a container too
    if load is not None and load > cores + 0.5:
        sentences.append(
            f"Other processes want {load:.1f} cores and the machine has {cores}: trainings side by side are many times "
            "slower than one after the other, unless each is given fewer threads (OMP_NUM_THREADS=1)."
        )
    if facts["threads"] < usable:
        sentences.append(f"OMP_NUM_THREADS or the like allows {facts['threads']} of {usable} cores.")
    if "mps" in facts["devices"] and facts["device"] == "cpu":
        sentences.append("An Apple GPU is available but not used by default: try --train.device mps, and --device mps.")
    if facts["free_memory_gb"] is not None and facts["free_memory_gb"] < _LITTLE_MEMORY_GB:
        sentences.append(f"Only {facts['free_memory_gb']:.1f} GB of memory are free: lower --train.batch_size.")
    if facts["free_disk_gb"] is not None and facts["free_disk_gb"] < _LITTLE_DISK_GB:
        sentences.append(f"Only {facts['free_disk_gb']:.1f} GB of disk are free.")
    if failed := facts.get("step_failed"):
        sentences.append(f"The training step could not be timed on {failed}")
    if failed := facts.get("backends_failed"):
        sentences.append(f"The backends of prediction could not be timed: {failed}")
    if not facts["torch_is_compiled"]:
        sentences.append(
            "Python compiles PyTorch again at the start of each command, which takes seconds: unset "
            "PYTHONDONTWRITEBYTECODE, or compile all packages once by python -m compileall -q "
            + shlex.quote(sysconfig.get_path("purelib"))
        )
    for extra, packages in facts["missing"].items():
        sentences.append(f"{', '.join(packages)} not installed: pip install 'segcct[{extra}]'")
    return sentences


def missing_packages() -> dict[str, list[str]]:
    """Extra -> its packages that are not installed; extras of which nothing is missing, or that no command needs, are
    left out."""
    missing: dict[str, list[str]] = {}
    try:
        requirements = importlib.metadata.requires("segcct") or []
    except importlib.metadata.PackageNotFoundError:
        return missing
    for requirement in requirements:
        match = re.match(r"([\w.-]+).*extra == ['\"]([\w-]+)['\"]", requirement)
        if match and match[2] not in _FOR_DEVELOPERS and version_of(match[1]) is None:
            missing.setdefault(match[2], []).append(match[1])
    return missing


def has_bytecode(package: str) -> bool:
    """Whether the compiled form of a package is on disk, where Python finds it; True where Python has no such file."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.cached is None:
        return True
    return Path(spec.cached).exists()


def describe(facts: dict[str, Any]) -> str:
    """The facts for a reader, a line each."""
    cores, step = facts["cores"], facts.get("step")
    limit = "" if cores["container"] is None else f", a container's limit of {cores['container']:g}"
    memory, disk = facts["free_memory_gb"], facts["free_disk_gb"]
    free_memory = "not known" if memory is None else f"{memory:.1f} GB free"
    free_disk = "disk not known" if disk is None else f"{disk:.0f} GB of disk free"
    lines = [
        ("segcct", f"{facts['segcct']}, Python {facts['python']}, {facts['system']}"),
        ("packages", ", ".join(f"{name} {version}" for name, version in facts["packages"].items())),
        ("device", f"{facts['device']} (available: {', '.join(facts['devices'])})"),
        ("processor", f"{facts['processor']} ({' '.join(facts['instruction_sets']) or 'instruction sets not known'})"),
        ("cores", f"{cores['usable']} usable of {cores['machine']}{limit}; threads: {facts['threads']}"),
        ("memory", f"{free_memory}; {free_disk}"),
        ("precision", f"auto is {facts['precision']['auto']}: {facts['precision']['reason']}"),
    ]
    if step is not None:
        lines.append(("speed", f"{step['what']}: {_seconds(step['seconds'])}"))
        lines += [("", f"{machine}: {_seconds(seconds)}") for machine, seconds in step["elsewhere"].items()]
        lines.append(("", f"more machines: {TABLE}"))
    if backends := facts.get("backends"):
        lines.append(("backends", f"prediction of four slices: {_seconds(backends)}"))
        lines.append(("", f"fastest: {_as_options(min(backends, key=backends.__getitem__))}"))
    lines += [("note", sentence) for sentence in facts["advice"]]
    return "\n".join(f"{name:<10}  {text}" for name, text in lines)


def _as_options(backend: str) -> str:
    """`openvino bf16` as the options of `segcct predict`."""
    name, precision = backend.split()
    return f"segcct predict --backend {name} --precision {precision}"


def _seconds(times: Mapping[str, float]) -> str:
    return ", ".join(f"{precision} {seconds:.2f} s" for precision, seconds in times.items())
