"""Reading weight files from anywhere without running anything that is in them."""

from __future__ import annotations

import argparse
import hashlib
import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from segcct.errors import CheckpointError, short_reason
from segcct.files.json_file import MOST_BYTES_OF_MODEL, read_object
from segcct.hub import local_model

NESTED = ("state_dict", "model", "model_state_dict")
"""Keys under which training code stores the weights among other things; the first one present is read."""

PREFIXES = ("module.", "_orig_mod.", "model.")
"""What wrappers (several devices, compilation, training frameworks) put before every name."""

_DOWNLOAD_AGAIN = "Download it again"
_STARTS = {
    b"<": ("is a web page, not a weights file", f"{_DOWNLOAD_AGAIN}: the server answered with a page"),
    b"version https://git-lfs": ("is a pointer to a large file, not the file", "Fetch it by git lfs pull"),
}
"""First bytes of files that are often mistaken for weights -> what they are, what to do."""


@dataclass(frozen=True)
class WeightsFile:
    """What a weights file holds."""

    tensors: dict[str, Tensor]
    """By name, on the CPU, without the prefixes of wrappers."""
    key: str | None
    """The key that they are stored under; None where they are the whole content."""
    other_keys: tuple[str, ...]
    """Keys that are not read."""


def read_weights(path: Path) -> WeightsFile:
    """The named tensors of a weights file.

    Reads safetensors, files of torch.save (old and new format), the best/ folder of a run, and `hf://OWNER/NAME`. Files
    of torch.save may hold tensors, plain containers and argparse.Namespace: anything else would have to be run to be
    read, and is refused.

    Raises:
        CheckpointError: missing, empty, truncated, damaged, not a weights file, or one that holds code.
    """
    path = local_model(path)
    file = _weights_of_folder(path) if path.is_dir() else path
    _check_start(file)
    content = _read_safetensors(file) if _is_safetensors(file) else _read_torch(file)
    _refuse_training_state(content, file)
    key, mapping = _unwrapped(content, file)
    other_keys = () if key is None else tuple(str(other) for other in content if other != key)
    return WeightsFile(_without_prefixes(_checked(mapping, file)), key, other_keys)


def _weights_of_folder(folder: Path) -> Path:
    file = folder / "weights.safetensors"
    if not file.is_file():
        inside = folder / "best"
        raise CheckpointError(
            "holds no weights",
            file=folder,
            expected="weights.safetensors in it",
            remedy=f"Name {inside}" if inside.is_dir() else "Name a weights file or the best/ folder of a run",
        )
    card = folder / "model.json"
    if card.is_file():
        content = read_object(card, "is not a model card", error=CheckpointError, most_bytes=MOST_BYTES_OF_MODEL)
        digest = content.get("weights_sha256")
        if digest and hashlib.sha256(file.read_bytes()).hexdigest() != digest:
            raise CheckpointError(
                "weights do not belong to the model.json of their folder, or are damaged",
                file=file,
                remedy="Copy the whole best/ folder again",
            )
    return file


def _check_start(file: Path) -> None:
    """Refuses by its first bytes a file that holds no weights, before any reader opens it."""
    if not file.is_file():
        raise CheckpointError("no such weights file", file=file)
    with file.open("rb") as stream:
        start = stream.read(512)
    if not start:
        raise CheckpointError("is an empty file", file=file, remedy=_DOWNLOAD_AGAIN)
    for first, (what, remedy) in _STARTS.items():
        if start.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(first):
            raise CheckpointError(what, file=file, remedy=remedy)
    if start.startswith(b"PK"):
        _check_archive(file)


def _check_archive(file: Path) -> None:
    """A file of torch.save is a zip archive: its index is at the end and its members have checksums."""
    try:
        with zipfile.ZipFile(file) as archive:
            damaged = archive.testzip()
            program = any(name.endswith("/constants.pkl") for name in archive.namelist())
    except Exception as error:  # a damaged index makes the reader fail in any way
        raise CheckpointError("is truncated or damaged", file=file, found=error, remedy=_DOWNLOAD_AGAIN) from error
    if damaged is not None:
        raise CheckpointError("is damaged", file=file, found=f"wrong checksum of {damaged}", remedy=_DOWNLOAD_AGAIN)
    if program:
        raise CheckpointError(
            "is a program (TorchScript), not a weights file, and was not opened",
            file=file,
            remedy="Save its state_dict() in a file of its own",
        )


def _is_safetensors(file: Path) -> bool:
    """Such a file begins with the length of its JSON header (8 bytes) and the header itself."""
    with file.open("rb") as stream:
        return stream.read(9)[8:] == b"{" or file.suffix == ".safetensors"


def _read_safetensors(file: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(file)
    except (SafetensorError, OSError) as error:
        raise CheckpointError("is truncated or damaged", file=file, found=error, remedy=_DOWNLOAD_AGAIN) from error


def _read_torch(file: Path) -> Any:
    try:
        # The reader warns of odd but harmless encodings; what matters is refused below.
        with warnings.catch_warnings(), torch.serialization.safe_globals([argparse.Namespace]):
            warnings.simplefilter("ignore")
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged stream makes the reader fail in any way
        refused = isinstance(error, pickle.UnpicklingError)
        forbidden = re.search(r"GLOBAL (\S+)", str(error)) if refused else None
        if forbidden is not None:
            raise CheckpointError(
                "holds more than weights and was not opened: reading it could run code",
                file=file,
                found=forbidden[1].rstrip(".,"),
                expected="tensors, plain containers, argparse.Namespace",
                remedy="If you trust its source, save its tensors again, as safetensors",
            ) from error
        if refused and file.read_bytes()[:1] == b"\x80":
            raise CheckpointError(
                "is a pickle that was not opened: it is not a plain weights file and could run code, or is truncated",
                file=file,
                remedy=_DOWNLOAD_AGAIN,
            ) from error
        raise CheckpointError(
            "is truncated, damaged or not a weights file",
            file=file,
            found=None if refused else short_reason(error),
            remedy=_DOWNLOAD_AGAIN,
        ) from error


def _refuse_training_state(content: Any, file: Path) -> None:
    """A run's last.ckpt holds two networks and the optimizer's state: the weights to start from are in best/."""
    state = content.get("state_dict") if isinstance(content, Mapping) else None
    if not isinstance(state, Mapping) or "clock" not in content or "optimizer_states" not in content:
        return
    if any(str(name).startswith("network.") for name in state):
        best = file.parent / "best"
        raise CheckpointError(
            "is the state of a training run, not a model",
            file=file,
            remedy=f"Name {best}" if best.is_dir() else "Name the best/ folder of its run",
        )


def _unwrapped(content: Any, file: Path) -> tuple[str | None, Mapping[str, Any]]:
    """The mapping of tensors and its key among `NESTED`; no key where it is the whole content."""
    found = type(content).__name__
    if isinstance(content, Mapping):
        for key in NESTED:
            if isinstance(content.get(key), Mapping):
                return key, content[key]
        if any(isinstance(value, Tensor) for value in content.values()):
            return None, content
        found = f"keys {', '.join(map(str, list(content)[:8]))}"
    expected = f"a mapping of names to tensors, or one under {', '.join(NESTED)}"
    raise CheckpointError("holds no named weights", file=file, found=found, expected=expected)


def _checked(mapping: Mapping[str, Any], file: Path) -> dict[str, Tensor]:
    tensors = {str(name): value for name, value in mapping.items() if isinstance(value, Tensor)}
    for name, value in tensors.items():
        if value.layout is not torch.strided:
            raise CheckpointError("holds a tensor that is not dense", file=file, found=f"{name}: {value.layout}")
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise CheckpointError("holds values that are not finite (NaN or infinity)", file=file, found=name)
    if not tensors:
        raise CheckpointError("holds no named weights", file=file)
    return tensors


def _without_prefixes(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    for prefix in PREFIXES * len(PREFIXES):
        if all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
    return tensors
