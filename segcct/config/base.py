"""What every experiment's config is made of: the frozen section, types of values, and the sections that all have."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from segcct.hardware.precision_names import AskedPrecision

DEFAULT_CACHE = Path(".cache") / "segcct"
"""Folder of prepared cases, below the working directory."""
_DURATION = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*(s|sec|min|h)\s*$")
_SECONDS = {"s": 1.0, "sec": 1.0, "min": 60.0, "h": 3600.0}


def parse_duration(value: object) -> object:
    """`30min`, `90s`, `1.5h` -> seconds; a number passes as seconds."""
    if isinstance(value, int | float):
        return value
    match = _DURATION.match(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("a duration such as 90s, 30min or 2h")
    return float(match[1]) * _SECONDS[match[2]]


Duration = Annotated[float, BeforeValidator(parse_duration)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
PositiveInt = Annotated[int, Field(ge=1, le=10**9)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Workers = Annotated[int, Field(ge=0, le=256)]


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*")
    @classmethod
    def expand_home(cls, value: Any) -> Any:
        """Paths with `~` replaced by the home folder; `~NAME` of an unknown user stays as it is."""
        # `Path.expanduser` raises for an unknown user.
        return Path(os.path.expanduser(value)) if isinstance(value, Path) else value  # noqa: PTH111


class RunSection(Section):
    name: str = "run"
    """Name of the run folder below `root`."""
    root: Path = Path("runs")
    """Where run folders are written."""
    seed: Seed = 0
    """Seed of everything random: initial weights, sampling, augmentation, dropout."""

    @property
    def path(self) -> Path:
        """The run folder."""
        return self.root / self.name


class ModelSection(Section):
    name: str = "cct_unet_s"
    """A name listed by `segcct models`."""
    options: dict[str, bool | int | float | str | None] = Field(default_factory=dict)
    """Options of that model, such as `upsample: bilinear` or `skips: 2` of swin_unet_tiny."""
    pretrained: Path | None = None
    """Weights to start from: a released checkpoint, the best/ folder of a run, or hf://OWNER/NAME."""


class TrainSection(Section):
    """What every training loop needs: length, optimizer, schedule, arithmetic."""

    epochs: PositiveInt = 100
    """Length of training; the schedule ends with it."""
    budget: Annotated[Duration, Field(gt=0)] | None = None
    """Wall-clock length (90s, 30min, 2h); replaces `epochs` and ends with a finished schedule. Where it is shorter than
    an epoch, the validation comes on top."""
    batch_size: PositiveInt = 16
    """Slices per batch."""
    accumulate: PositiveInt = 1
    """Batches whose gradients are added before a step."""
    optimizer: Literal["adamw", "sgd", "muon"] = "adamw"
    """AdamW; stochastic gradient descent with momentum; or Muon for matrices and kernels and AdamW for the rest."""
    lr: Annotated[float, Field(gt=0, le=1e6)] = 1e-3
    """Learning rate at the end of the warm-up, its largest value."""
    muon_lr: Annotated[float, Field(gt=0, le=1e6)] = 0.02
    """muon: learning rate of matrices and kernels; `lr` is that of the rest."""
    weight_decay: Annotated[float, Field(ge=0, le=1e6)] = 0.01
    """Weight decay of matrices, kernels and positional tables; biases, norms and scales have none."""
    momentum: Fraction = 0.9
    """Momentum of sgd."""
    schedule: Literal["cosine", "poly"] = "cosine"
    """How the learning rate falls to 0 after the warm-up; poly has exponent 0.9."""
    warmup: Fraction = 0.05
    """Fraction of training over which the learning rate rises from 0."""
    clip_norm: Annotated[float, Field(ge=0, le=1e9)] = 1.0
    """Largest norm of the gradient, which is scaled down to it; 0 does not clip."""
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.99
    """Decay per step of the averaged weights, which are validated and saved; 0 turns it off."""
    recalibrate: Annotated[int, Field(ge=0, le=1000)] = 0
    """How many of the last batches of an epoch give the statistics of BatchNorm for the averaged weights before a
    validation; 0 averages the statistics like the weights."""
    precision: AskedPrecision = "auto"
    """Arithmetic of the network; auto is bf16 where that is measured to be faster on this machine, else fp32."""
    precision_reason: str | None = None
    """Written by the run: why `auto` became what `precision` says, with the times that were measured."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where to train; auto is an NVIDIA GPU where there is one, else the processor."""
    validate_every: PositiveInt = 1
    """Epochs between two validations."""
    validation_time: Annotated[float, Field(gt=0, le=1)] | None = None
    """Largest fraction of the elapsed time that validations may take: a validation that would exceed it waits for a
    later epoch, except the first and the last one; null never waits."""
    patience: PositiveInt | None = None
    """Validations without a better score before an early stop; null never stops early."""
    logger: Literal["tensorboard", "csv", "mlflow", "wandb", "none"] = "tensorboard"
    """Where the curves go besides metrics.csv, which every run has: tensorboard/ of the run, MLflow
    (MLFLOW_TRACKING_URI, else mlflow.db next to the run) or Weights & Biases; csv and none: nowhere else."""
    devices: PositiveInt = 1
    """Processes on this machine, one accelerator or processor each; torchrun sets its own."""


class Experiment(Section):
    """The config of a task: what each adds to these."""

    if TYPE_CHECKING:  # a task declares them itself, in its order and with its defaults
        run: RunSection
        data: Any
        model: ModelSection
        train: TrainSection
