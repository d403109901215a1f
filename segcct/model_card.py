"""model.json, and the `best/` folder it lies in: what prediction, export and sharing need of a run.

`best/` holds weights.safetensors and model.json. Nothing is unpickled to load it.
"""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from segcct.config import DataSection
from segcct.config.settings import stored_section
from segcct.datasets.label_schemes import Scheme, stored_scheme
from segcct.errors import CheckpointError, RunError, SegcctError
from segcct.files.atomic_file import LEFT_BEHIND_SECONDS, atomic_path
from segcct.files.json_file import MOST_BYTES_OF_MODEL, read_object
from segcct.files.json_record import Record

if TYPE_CHECKING:
    import torch

WEIGHTS, CARD = "weights.safetensors", "model.json"
_SWAP_SECONDS = 0.5
_PRIVATE = {"root", "cache", "workers", "spark", "fold", "split", "foreground_fraction"}
"""Keys of the data section that belong to one machine or one run, not to the model."""


class Architecture(BaseModel):
    """What `create_model` needs."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: Annotated[str, Field(max_length=200)]
    in_channels: Annotated[int, Field(ge=1, le=4096)]
    num_classes: Annotated[int, Field(ge=1, le=100_000)]
    image_size: Annotated[int, Field(ge=1, le=8192)]
    options: dict[str, bool | int | float | str | None] = {}


class SchemeCard(BaseModel):
    """A label scheme as stored with a model."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    classes: dict[str, int]
    regions: dict[str, tuple[int, ...]] = {}

    @classmethod
    def of(cls, scheme: Scheme) -> SchemeCard:
        """The stored form of `scheme`."""
        return cls(name=scheme.name, classes=dict(scheme.classes), regions=dict(scheme.regions))

    def scheme(self) -> Scheme:
        """The scheme itself."""
        return stored_scheme(self.name, self.classes, self.regions)


class PostprocessingStep(BaseModel):
    """A step of `inference/postprocessing.py`, for some classes."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    step: Annotated[str, Field(max_length=200)]
    """fill_holes, largest_component or minimum_volume."""
    classes: tuple[str, ...]
    ml: Annotated[float, Field(gt=0)] | None = None
    """The smallest component that minimum_volume keeps."""

    def __str__(self) -> str:
        size = "" if self.ml is None else f" of {self.ml:g} ml"
        return f"{self.step}{size}: {', '.join(self.classes)}"


class ModelCard(Record):
    """model.json: all that must be known to use the weights next to it."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False)
    NOT_THIS: ClassVar[str] = "is not a model card of this version"
    ERROR: ClassVar[type[SegcctError]] = CheckpointError
    format: Literal[1] = 1
    task: str
    architecture: Architecture
    spatial_dims: Literal[2, 3] = 2
    """2: the network sees slices; 3: volumes."""
    data: dict[str, Any]
    """The data section without folders and split: layout, channels with patterns, orientation, intensity, sizes."""
    scheme: SchemeCard | None = None
    """Meaning of the classes; None where the task has none."""
    selected_on: dict[str, Any]
    """Metric, value and epoch that chose these weights, and the number of cases; their ids are in the run folder."""
    data_fingerprint: str
    synthetic: bool = False
    """Trained on phantoms."""
    postprocessing: tuple[PostprocessingStep, ...] = ()
    """What is done to every mask, in order; chosen by `segcct tune-postprocessing`."""
    intensity_quantiles: list[list[float]] | None = None
    """Standardized intensities of the training cases by channel (preparation/intensity_quantiles.py)."""
    input_ranges: dict[str, list[Annotated[list[float], Field(min_length=2, max_length=2)]]] | None = None
    """Voxel size, field of view and intensities of the training cases (preparation/input_ranges.py)."""
    provenance: dict[str, Any]
    weights_sha256: str = ""

    @field_validator("selected_on")
    @classmethod
    def _without_ids(cls, value: dict[str, Any]) -> dict[str, Any]:
        """Cases and images are counted, never listed: predictions.json and shared models repeat this."""
        if listed := [noun for noun in ("cases", "images") if not isinstance(value.get(noun, 0), int)]:
            raise ValueError(f"the {listed[0]} of selected_on must be a number")
        return value

    @property
    def classes(self) -> dict[str, int]:
        """Class -> value; empty where the task has none."""
        return {} if self.scheme is None else self.scheme.classes

    def label_scheme(self) -> Scheme:
        """The scheme. Raises `CheckpointError` or `LabelError` where there is none."""
        if self.scheme is None:
            raise CheckpointError("model.json does not say what the classes are")
        return self.scheme.scheme()

    def data_section(self, root: Path) -> DataSection:
        """How to read cases below `root` for this model. Raises `CheckpointError` where it cannot be used."""
        return stored_section(DataSection, {**self.data, "root": root}, file=CARD, error=CheckpointError)


def reading(data: DataSection) -> dict[str, Any]:
    """The part of a data section that belongs to the model."""
    return data.model_dump(mode="json", exclude=_PRIVATE)


def save_model(folder: Path, weights: Mapping[str, torch.Tensor], card: ModelCard) -> None:
    """Write a `best/` folder: weights.safetensors and model.json that names their digest.

    A kill leaves the old folder, the new one, or a state that `recover_model` brings to one of them.
    """
    from safetensors.torch import save

    content = save({name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()})
    complete = card.model_copy(update={"weights_sha256": hashlib.sha256(content).hexdigest()})
    fresh, old = _swap_names(folder)
    shutil.rmtree(fresh, ignore_errors=True)
    with atomic_path(fresh, needs_bytes=len(content)) as staging:
        staging.mkdir()
        (staging / WEIGHTS).write_bytes(content)  # its mode follows the umask, which save_file's does not
        (staging / CARD).write_text(complete.model_dump_json(indent=2), encoding="utf-8")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    fresh.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def rewrite_card(folder: Path, card: ModelCard) -> None:
    """Replace model.json of a `best/` folder, atomically; the weights stay."""
    with atomic_path(folder / CARD) as temporary:
        temporary.write_text(card.model_dump_json(indent=2), encoding="utf-8")


def recover_model(folder: Path) -> None:
    """Bring back a `best/` folder whose writer was killed while it swapped the new one for the old one.

    The new one appears under its temporary name only when it is whole.
    """
    fresh, old = _swap_names(folder)
    leftovers = [each for each in (fresh, old) if each.is_dir()]
    if folder.exists():
        for leftover in leftovers:
            if time.time() - leftover.stat().st_mtime > LEFT_BEHIND_SECONDS:
                shutil.rmtree(leftover, ignore_errors=True)
    elif leftovers:
        time.sleep(_SWAP_SECONDS)  # a run that is alive is through with it by then
        if not folder.exists():
            (fresh if fresh.is_dir() else old).rename(folder)


def _swap_names(folder: Path) -> tuple[Path, Path]:
    """Where the new and the old folder are for the moment of a swap."""
    return folder.with_name(f".{folder.name}-new"), folder.with_name(f".{folder.name}-old")


def load_card(folder: Path) -> ModelCard:
    """model.json of a `best/` folder.

    Raises:
        RunError: no such folder, or no model in it.
        CheckpointError: the file is damaged or of another kind.
    """
    recover_model(folder)
    file = folder / CARD
    if not file.is_file():
        near = (folder / "best", folder.parent, folder.parent / "best")  # of a run, or of a file in a run or in best/
        model = next((place for place in near if (place / CARD).is_file()), "the best/ folder of a run")
        raise RunError("is not a model folder", file=folder, expected=f"{CARD} and {WEIGHTS}", remedy=f"Name {model}")
    content = read_object(file, ModelCard.NOT_THIS, error=CheckpointError, most_bytes=MOST_BYTES_OF_MODEL)
    return ModelCard.from_json(content, file)


def check_fit(card: ModelCard, file: Path, **wanted: int) -> None:
    """Raises `CheckpointError` where the network is of other sizes (fields of `Architecture`) than data and classes."""
    for name, size in wanted.items():
        if (found := getattr(card.architecture, name)) != size:
            what = f"architecture and data contradict each other in {name}"
            raise CheckpointError(what, file=file, found=found, expected=size)


def load_weights(folder: Path, card: ModelCard) -> dict[str, torch.Tensor]:
    """The tensors of a `best/` folder. Raises `CheckpointError` where they are missing, damaged or another card's."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    file = folder / WEIGHTS
    if not file.is_file():
        raise CheckpointError("weights are missing", file=file)
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    if digest != card.weights_sha256:
        raise CheckpointError(
            "weights do not belong to the model.json next to them, or are damaged",
            file=file,
            remedy="Copy the best/ folder again, whole",
        )
    try:
        return load_file(file)
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError("is not a safetensors file", file=file, found=error) from None
