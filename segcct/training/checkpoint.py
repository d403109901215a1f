"""last.ckpt: the state from which a run is resumed, written atomically and checked before it is used.

It is written by torch.save and read without running any code in it. It holds no random state, which follows from the
epoch: batch_seeds.py.
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

from segcct.errors import RunError, SegcctError, is_out_of_memory, short_reason
from segcct.files.atomic_file import atomic_path
from segcct.model_card import ModelCard, load_card, load_weights
from segcct.run_folder import RunFolder

TRAINING = "training"
"""Key of what `identity_of` gives."""
CONFIG = "config"
"""Key of the text of config.yaml."""
_FROZEN = "frozen_models"
_NO_STATE = "is not the state of a training run"
_TYPES: dict[str, type | tuple[type, ...]] = {
    "epoch": int,
    "global_step": int,
    "state_dict": Mapping,
    "loops": Mapping,
    "callbacks": Mapping,
    "optimizer_states": list,
    "clock": Mapping,
    "averaged_steps": int,
    TRAINING: Mapping,
    CONFIG: str,
}
"""Keys that every state has, and the types of their values."""


def identity_of(card: ModelCard, seed: int, frozen_models: Mapping[str, str]) -> dict[str, Any]:
    """What tells one run from another: the model, how it reads its data, the data's content, the seed, and the
    digests of `Task.frozen_models`."""
    stored = card.model_dump(mode="json")
    identity = {name: stored[name] for name in ("task", "architecture", "scheme", "data", "data_fingerprint")}
    return {**identity, "seed": seed, _FROZEN: dict(frozen_models)}


class StateFile(CheckpointIO):
    """How Lightning writes and reads last.ckpt.

    Args:
        training: what `identity_of` gives.
        state: what `read_state` gave, where the run is resumed.
    """

    def __init__(self, training: Mapping[str, Any], state: dict[str, Any] | None = None) -> None:
        self.training = dict(training)
        self.state = state

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a state atomically, for its owner alone: it holds config.yaml. Raises `StorageError`."""
        # In memory first: a disk error inside torch.save ends the process.
        content = io.BytesIO()
        torch.save({**checkpoint, TRAINING: self.training}, content)
        state = content.getbuffer()
        with atomic_path(path, private=True, needs_bytes=len(state)) as temporary:
            temporary.write_bytes(state)

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """The state given to `__init__`, once; else that of the file. Raises `RunError`."""
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
        raise _refused(file, f"{_NO_STATE}, and was not opened", error) from error
    if not isinstance(state, dict):
        raise _refused(file, _NO_STATE, type(state).__name__)
    for name, kind in _TYPES.items():
        value = state.get(name)
        if not isinstance(value, kind) or isinstance(value, bool):
            raise _refused(file, _NO_STATE, f"no {name} of the right kind in it")
    if not (_has_values(state) and _has_progress(state)):
        raise _refused(file, _NO_STATE, "weights, clock, scores or progress of another kind")
    return state


def best_of(state: Mapping[str, Any]) -> dict[str, Any] | None:
    """Metric, value and epoch of the best weights so far; None before the first validation."""
    stored = [each["best"] for each in state["callbacks"].values() if isinstance(each, Mapping) and "best" in each]
    best: dict[str, Any] | None = stored[0] if stored else None
    return best


def check_best(run: RunFolder, state: Mapping[str, Any]) -> None:
    """Raises `RunError` where the best weights, with which a resumed run may end, are not there."""
    if best_of(state) is None:
        return
    try:
        load_weights(run.best, load_card(run.best))
    except SegcctError as error:
        raise RunError(
            "the best weights of the run are missing or damaged, so it cannot be resumed",
            file=run.best,
            found=error.what,
            remedy=_restore("folder"),
        ) from error


def check_training(file: Path, state: Mapping[str, Any], module: nn.Module, training: Mapping[str, Any]) -> None:
    """Raises `RunError` where a state belongs to another run than the one that resumes from it."""
    began = {_FROZEN: training[_FROZEN], **state[TRAINING]}  # states of earlier versions do not name them
    different = [name for name, value in training.items() if began.get(name) != value]
    if different == [_FROZEN] and isinstance(began[_FROZEN], Mapping):
        raise _other_frozen_model(file, began[_FROZEN], training[_FROZEN])
    if different:
        raise _other_training(file, f"another {', '.join(different).replace('_', ' ')}", "those of this run")
    expected = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    shapes = {name: tuple(value.shape) for name, value in state["state_dict"].items()}
    if shapes != expected:
        wrong = [name for name in shapes if shapes[name] != expected.get(name)] or sorted(expected.keys() - shapes)
        raise _other_training(file, f"weights such as {wrong[0]}", f"{len(expected)} of this network")


def unusable(file: Path, error: Exception) -> RunError:
    """The error for a state that passed the checks but from which the run cannot be resumed."""
    return _refused(file, "the run cannot be resumed from its state", f"{type(error).__name__}: {error}")


def _check_archive(file: Path) -> None:
    """Raises `RunError` where the file is not a complete archive of torch.save: a zip of uncompressed members with
    checksums, whose table of contents comes last."""
    try:
        with zipfile.ZipFile(file) as archive:
            packed = any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist())
            damaged = "compressed members" if packed else archive.testzip()
    except Exception as error:  # a damaged table of contents makes the reader fail in any way
        raise _refused(file, "the run cannot be resumed: its state is damaged", error) from None
    if damaged is not None:
        raise _refused(file, "the run cannot be resumed: its state is damaged", f"wrong checksum of {damaged}")


def _has_values(state: Mapping[str, Any]) -> bool:
    """Weights are tensors, times are numbers, and the best score is one or none."""
    clock, best = state["clock"], best_of(state)
    return (
        all(isinstance(name, str) and isinstance(value, Tensor) for name, value in state["state_dict"].items())
        and all(_is_number(clock.get(name)) for name in ("elapsed", "validation", "validations"))
        and (clock.get("ended") is None or _is_number(clock["ended"]))
        and (best is None or (isinstance(best, Mapping) and _is_number(best.get("value"))))
    )


def _has_progress(state: Mapping[str, Any]) -> bool:
    """The loop is at the end of an epoch, and the optimizer has its moments: without them, training would silently
    start over."""
    try:
        processed = state["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"]
        optimizer = state["optimizer_states"][0]
        stateless = all(group.get("momentum") == 0 for group in optimizer["param_groups"])  # plain SGD
        has_moments = bool(optimizer["state"]) or stateless or state["global_step"] == 0
        return bool(
            state["epoch"] >= 0 and processed == state["epoch"] + 1 and has_moments and optimizer["param_groups"]
        )
    except (KeyError, TypeError, IndexError, AttributeError):
        return False


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _other_training(file: Path, found: str, expected: str) -> RunError:
    what = f"{file.name} belongs to another run"
    return RunError(what, file=file, found=found, expected=expected, remedy=_restore("file"))


def _other_frozen_model(file: Path, began: Mapping[str, str], now: Mapping[str, str]) -> RunError:
    key = min(key for key in {*began, *now} if began.get(key) != now.get(key))
    found, expected = (
        f"weights {str(digests[key])[:12]}" if key in digests else "no model" for digests in (now, began)
    )
    return RunError(
        f"{key} is another model than the one that the run began with",
        file=file,
        found=found,
        expected=expected,
        remedy="Restore that model, and name its folder in config.yaml of the run if it was moved",
    )


def _refused(file: Path, what: str, found: object) -> RunError:
    return RunError(what, file=file, found=short_reason(found), remedy=_restore("file"))


def _restore(what: str) -> str:
    """The remedy where a `file` or `folder` cannot be used."""
    return f"Restore the {what} from a backup, or start again with --config under another --run.name"
