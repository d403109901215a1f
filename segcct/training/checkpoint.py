"""last.ckpt: all that a training needs to go on, written next to its target and checked before it is used.

It is a file of torch.save, read without running anything that is in it.
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins.io import CheckpointIO
from torch import Tensor, nn

from segcct.errors import RunError, SegcctError, is_out_of_memory
from segcct.files.atomic_file import write_bytes
from segcct.model_card import ModelCard, load_card, load_weights
from segcct.run_folder import RunFolder

TRAINING = "training"
"""Key of what tells one training's state from another's."""
_BACK = "Bring the file back from a copy, or start again by --config under another --run.name"
_KINDS: dict[str, type | tuple[type, ...]] = {
    "epoch": int,
    "global_step": int,
    "state_dict": Mapping,
    "loops": Mapping,
    "callbacks": Mapping,
    "optimizer_states": list,
    "clock": Mapping,
    "averaged_steps": int,
}
"""What a state holds, among others, and of which type it is."""


def identity_of(card: ModelCard, seed: int) -> dict[str, Any]:
    """What tells one training from another: the model, how it reads its data, the data's content, and the seed."""
    stored = card.model_dump(mode="json")
    return {name: stored[name] for name in ("task", "architecture", "scheme", "data", "data_fingerprint")} | {
        "seed": seed
    }


class StateFile(CheckpointIO):
    """How Lightning writes and reads last.ckpt: atomically, and checked.

    Args:
        training: what `identity_of` gives.
        state: what `read_state` gave of a run that goes on.
    """

    def __init__(self, training: Mapping[str, Any], state: dict[str, Any] | None = None) -> None:
        self.training = dict(training)
        self.state = state

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a state, whole or not at all. Raises `StorageError`."""
        # In memory first: an error of the disk within torch.save ends the process.
        content = io.BytesIO()
        torch.save({**checkpoint, TRAINING: self.training}, content)
        write_bytes(Path(path), content.getbuffer())

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """The state that was read and checked before, else the file's. Raises `RunError`."""
        state, self.state = self.state, None
        return read_state(Path(path)) if state is None else state

    def remove_checkpoint(self, path: Any) -> None:
        """Remove a state."""
        Path(path).unlink(missing_ok=True)


def read_state(file: Path) -> dict[str, Any]:
    """The content of a last.ckpt. Raises `RunError` where it is damaged, of another kind, or could run code."""
    _check_archive(file)
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged stream makes the reader fail in any way
        if is_out_of_memory(error):
            raise
        raise _refused(file, "is not the state of a training, and was not opened", error) from error
    if not isinstance(state, dict):
        raise _refused(file, "is not the state of a training", type(state).__name__)
    for name, kind in _KINDS.items():
        value = state.get(name)
        if not isinstance(value, kind) or isinstance(value, bool):
            raise _refused(file, "is not the state of a training", f"no {name} of the right kind in it")
    if not _is_sound(state):
        raise _refused(file, "is not the state of a training", "weights, clock, scores or progress of another kind")
    return state


def best_of(state: Mapping[str, Any]) -> dict[str, Any] | None:
    """Metric, value and epoch of the best weights so far; None before the first validation."""
    stored = [each["best"] for each in state["callbacks"].values() if isinstance(each, Mapping) and "best" in each]
    best: dict[str, Any] | None = stored[0] if stored else None
    return best


def check_best(run: RunFolder, state: Mapping[str, Any]) -> None:
    """The best weights that a resumed run may end with are there. Raises `RunError` where they are not."""
    if best_of(state) is None:
        return
    try:
        load_weights(run.best, load_card(run.best))
    except SegcctError as error:
        raise RunError(
            "the best weights of the run are gone or damaged, so it cannot be resumed",
            file=run.best,
            found=error.what,
            remedy="Bring the folder back from a copy, or start again by --config under another --run.name",
        ) from error


def check_architecture(file: Path, state: Mapping[str, Any], name: str, options: Mapping[str, Any]) -> None:
    """Raises `RunError` where a state is of another network than a configuration names; before data are read."""
    stored = _architecture(state)
    if stored is None:
        return
    if stored.get("name") != name or dict(stored.get("options") or {}) != dict(options):
        raise _of_another(file, f"a {_described(stored)}", _described({"name": name, "options": options}))


def check_training(file: Path, state: Mapping[str, Any], module: nn.Module, training: Mapping[str, Any]) -> None:
    """Raises `RunError` where a state belongs to another training than the one that goes on with it."""
    stored = state.get(TRAINING)
    if isinstance(stored, Mapping):  # segcct wrote none before this check
        other = [name for name, value in training.items() if stored.get(name) != value]
        if other:
            raise _of_another(file, f"another {', '.join(other).replace('_', ' ')}", "those of this run")
    expected = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in state["state_dict"].items()}
    if found != expected:
        strange = [name for name in found if found[name] != expected.get(name)] or sorted(expected.keys() - found)
        raise _of_another(file, f"weights such as {strange[0]}", f"{len(expected)} of this network")


def unusable(file: Path, error: Exception) -> RunError:
    """The error of a state that looks sound, and that the training yet cannot take up."""
    return _refused(file, "the run cannot be resumed from its state", f"{type(error).__name__}: {error}")


def _check_archive(file: Path) -> None:
    """A file of torch.save is a zip archive of stored members with checksums, whose table of contents comes last."""
    try:
        with zipfile.ZipFile(file) as archive:
            packed = any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist())
            damaged = "compressed members" if packed else archive.testzip()
    except Exception as error:  # a damaged table of contents makes the reader fail in any way
        raise _refused(file, "the run cannot be resumed: its state is damaged", error) from None
    if damaged is not None:
        raise _refused(file, "the run cannot be resumed: its state is damaged", f"wrong checksum of {damaged}")


def _is_sound(state: Mapping[str, Any]) -> bool:
    """Weights are tensors, times are numbers, and the best score is one or none."""
    clock, best = state["clock"], best_of(state)
    times = [clock.get("elapsed"), clock.get("validation")]
    ended = clock.get("ended")
    return (
        all(isinstance(name, str) and isinstance(value, Tensor) for name, value in state["state_dict"].items())
        and all(_is_number(value) for value in times)
        and (ended is None or _is_number(ended))
        and (best is None or (isinstance(best, Mapping) and _is_number(best.get("value"))))
        and _has_progress(state)
    )


def _has_progress(state: Mapping[str, Any]) -> bool:
    """The loop stands at the end of the epoch, and the optimizer has what it gathered until there.

    Without them a training would begin anew in silence.
    """
    try:
        behind = state["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"]
        optimizer = state["optimizer_states"][0]
        plain = all(group.get("momentum") == 0 for group in optimizer["param_groups"])  # SGD that gathers nothing
        gathered = bool(optimizer["state"]) or plain or state["global_step"] == 0
        return bool(state["epoch"] >= 0 and behind == state["epoch"] + 1 and gathered and optimizer["param_groups"])
    except (KeyError, TypeError, IndexError, AttributeError):
        return False


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _architecture(state: Mapping[str, Any]) -> Mapping[str, Any] | None:
    stored = state.get(TRAINING)
    built = stored.get("architecture") if isinstance(stored, Mapping) else None
    return built if isinstance(built, Mapping) else None


def _described(built: Mapping[str, Any]) -> str:
    options = "".join(f", {name} {value}" for name, value in dict(built.get("options") or {}).items())
    return f"{built.get('name')}{options}"


def _of_another(file: Path, found: str, expected: str) -> RunError:
    return RunError(
        f"{file.name} belongs to another training",
        file=file,
        found=found,
        expected=expected,
        remedy=_BACK,
    )


def _refused(file: Path, what: str, found: object) -> RunError:
    told = " ".join(str(found).split())[:200] or type(found).__name__
    return RunError(what, file=file, found=told, remedy=_BACK)
