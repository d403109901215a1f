"""What a task is: the contract that segmentation, reconstruction, classification and the tasks of other packages keep
to, and the table of all tasks."""

from __future__ import annotations

import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast

from segcct.errors import ConfigError, PluginError
from segcct.plugins import Registry

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor, nn
    from torch.utils.data import DataLoader

    from segcct.config import Experiment
    from segcct.datasets.split_record import Splits
    from segcct.inference.loaded_model import LoadedModel
    from segcct.model_card import Architecture, ModelCard, SchemeCard
    from segcct.models.zoo import Kind
    from segcct.run_folder import FoldsFolder, RunFolder

ENTRY_POINTS = "segcct.tasks"
"""Group of the entry points by which installed packages add to `TASKS`."""


class PreparedDataset(Protocol):
    """A dataset that is ready for training."""

    @property
    def splits(self) -> Splits: ...
    @property
    def fingerprint(self) -> str:
        """Digest of the files."""

    @property
    def synthetic(self) -> bool:
        """Some training case is a phantom."""


class DatasetSummary(NamedTuple):
    """A dataset before it is prepared."""

    splits: str
    """The split in words."""
    batches: int
    """Batches of an epoch."""


class Task(ABC):
    """One run of a task, from its configuration to the model card.

    The network is built at once, so that a wrong name or option shows before hours of preparation. `prepare` sets
    `dataset`, which the methods from `loader` on may use. `__init__` reads `architecture`, so a subclass sets what that
    needs before it calls `super().__init__()`. The loop sets `averaged` before it calls `loss`; it is still None when
    `loss` is tried on an `example` before training.

    Args:
        config: the experiment.
        resumed: the weights come from last.ckpt, so `model.pretrained` is not read.

    Raises `ConfigError`, `ModelError` or `CheckpointError`.
    """

    name: str
    """Key of `TASKS`, and what `task` in model.json, predictions.json and summary.json says."""
    model_kind: Kind
    score: str
    """The column of `validate` that selects the best weights; higher is better."""
    needs_labels = True
    """Every training case has a label; False: cases without one train too, and a model may have no scheme."""
    keeps_last = False
    """The result is the network after the last validation, not the one with the best score."""
    loss_remedy = "Look at these cases with `segcct check`; else lower"
    """Start of the remedy for a loss that is not finite."""
    frozen_models: Mapping[str, str] = {}
    """Key of the configuration -> digest of the weights of a model that it names and that does not change in the
    training. A run is resumed with the same ones, wherever they lie by then."""

    config: Experiment
    network: nn.Module
    transferred = ""
    """Which weights of `model.pretrained` were used and which were not, in lines; empty where none were read."""
    dataset: PreparedDataset
    averaged: nn.Module | None = None
    """The network with averaged weights; the loop sets it where there is one (`train.ema`)."""

    def __init__(self, config: Any, *, resumed: bool = False) -> None:
        from segcct.training.network import build_network

        self.config = config
        pretrained = None if resumed else config.model.pretrained
        self.network, self.transferred = build_network(
            self.architecture, self.model_kind, seed=config.run.seed, pretrained=pretrained
        )

    @property
    @abstractmethod
    def architecture(self) -> Architecture:
        """The network of the configuration, with channels and classes of the data."""

    @property
    @abstractmethod
    def scheme_card(self) -> SchemeCard | None:
        """The classes, for model.json; None where there are none."""

    @property
    @abstractmethod
    def reading(self) -> dict[str, Any]:
        """How the data are read, for model.json."""

    @property
    def stages(self) -> Sequence[float]:
        """Fractions of training, the last of them 1: between one and the next, steps take about the same time."""
        return (1.0,)

    @abstractmethod
    def find(self) -> DatasetSummary:
        """Find, check and split the data without preparing them. Raises `DataError` naming every problem."""

    @abstractmethod
    def prepare(self) -> None:
        """Set `dataset`. Raises as `find`."""

    @abstractmethod
    def example(self, size: int, device: str) -> dict[str, Any]:
        """A batch of random data for `loss`; needs no dataset."""

    @abstractmethod
    def loader(self, rank: int, world: int) -> DataLoader[Any]:
        """Training batches of this process; its sampler follows `set_epoch`."""

    @abstractmethod
    def loss(self, network: nn.Module, batch: dict[str, Any], progress: float) -> Tensor:
        """Scalar loss of a batch at `progress` in [0, 1] of training."""

    @abstractmethod
    def names(self, batch: dict[str, Any]) -> list[str]:
        """The cases of a batch, for error messages."""

    @abstractmethod
    def validate(self, network: nn.Module, device: str, rank: int, world: int) -> dict[str, float]:
        """Scores of the validation data, `score` among them, the same in every process."""

    @abstractmethod
    def validated_on(self) -> dict[str, int]:
        """How many cases or images `validate` uses, by noun."""

    def draw(self, network: nn.Module, device: str, folder: Path) -> None:  # noqa: B027 - optional
        """Write pictures of what the best model so far predicts."""

    def card(self, selected_on: dict[str, Any]) -> ModelCard:
        """The model card of the weights that scored `selected_on`."""
        from segcct.model_card import ModelCard
        from segcct.provenance import versions

        return ModelCard(
            task=self.name,
            architecture=self.architecture,
            data=self.reading,
            scheme=self.scheme_card,
            selected_on={**selected_on, **self.validated_on()},
            data_fingerprint=self.dataset.fingerprint,
            synthetic=self.dataset.synthetic,
            provenance=versions(),
        )

    @staticmethod
    def next_command(config: Any, run: RunFolder) -> Sequence[object]:
        """The command that uses what a run wrote."""
        from segcct.datasets.split_record import Splits

        split = "test" if Splits.load(run.splits).test else "val"
        data = ("--input", config.data.root, "--split", split)
        return ("predict", "--model", run.best, *data, "--output", run.path / "predictions")


class Outcome(NamedTuple):
    """What a command did, printed as its last line."""

    wrote: str
    next_command: Sequence[object] = ()
    """Arguments of the `segcct` command that comes next, if any."""


@dataclass(frozen=True)
class TaskRow:
    """A row of `TASKS`. Places are `module:name`, imported when they are used."""

    name: str
    command: str
    """`train-...` or `pretrain...`, the command that trains it."""
    help: str
    """What that command does."""
    task: str
    """Place of the `Task`."""
    config: str
    """Place of its `Experiment`."""
    model: str = ""
    """Place of its `LoadedModel`."""
    predict: str = ""
    """Place of the function behind `segcct predict`: (paths of models, input, output, `PredictOptions`) -> `Outcome`;
    see task_options.py."""
    predict_options: tuple[str, ...] = ()
    """The options that it uses, such as `--split`, besides files and network options. Any other option is refused."""
    evaluate: str = ""
    """Of `segcct evaluate`: (predictions, references, output, `EvaluateOptions`) -> `Outcome`. It writes summary.json
    with the key `task`."""
    evaluate_options: tuple[str, ...] = ()
    """As `predict_options`."""
    report: str = ""
    """Of `segcct report`: (evaluation, output, `ReportOptions`) -> `Outcome`."""
    report_options: tuple[str, ...] = ()
    """As `predict_options`."""
    scores: str = ""
    """Place of the function: folder of an evaluation -> its scores as Markdown that names no case; for model cards."""
    out_of_fold: str = ""
    """Place of the function that evaluates the cases of a cross-validation, each by the fold that held it out; called
    with the folder, the configuration and the split that a fold holds out."""
    table: str = ""
    """Name of the table with all its predictions, if there is one: recognized also without predictions.json."""

    def load(self) -> type[Task]:
        """The task."""
        return cast("type[Task]", pkgutil.resolve_name(self.task))

    def load_config(self) -> type[Experiment]:
        """Its configuration."""
        return cast("type[Experiment]", pkgutil.resolve_name(self.config))

    def load_model(self) -> type[LoadedModel]:
        """The class of its trained models. Raises `ConfigError` where `model` is empty."""
        if not self.model:
            raise ConfigError(f"task {self.name} has no class of trained models")
        return cast("type[LoadedModel]", pkgutil.resolve_name(self.model))

    def evaluate_folds(self) -> Callable[[FoldsFolder, Any, str], Path]:
        """The function of `out_of_fold`; returns the table that it wrote."""
        return cast("Callable[[FoldsFolder, Any, str], Path]", pkgutil.resolve_name(self.out_of_fold))

    def function(self, command: str, file: Path) -> Callable[..., Outcome]:
        """The function behind a command, for a `file` of this task. Raises `ConfigError` where there is none."""
        place = {"predict": self.predict, "evaluate": self.evaluate, "report": self.report}[command]
        if not place:
            able = [row for row in TASKS.values() if getattr(row, command)]
            trained = " or ".join(f"segcct {row.command}" for row in able)
            raise ConfigError(
                f"task {self.name} is not for segcct {command}",
                file=file,
                expected=" or ".join(row.name for row in able),
                remedy=f"Use a model trained by {trained}, or its predictions",
            )
        return cast("Callable[..., Outcome]", pkgutil.resolve_name(place))

    def options(self, command: str) -> tuple[str, ...]:
        """The options of a command that its function uses."""
        return {
            "predict": self.predict_options,
            "evaluate": self.evaluate_options,
            "report": self.report_options,
        }[command]


_TABLE = Registry("task", ENTRY_POINTS, {})
TASKS: Mapping[str, TaskRow] = _TABLE
"""Name -> task; see `register_task`."""


def register_task(row: TaskRow) -> None:
    """Add a task: `segcct` gets its command, and recognizes its models, predictions and evaluations by its name.

    An installed package calls this in a module that is an entry point of the group `segcct.tasks`.

    Raises `PluginError` where the name or the command is taken, the command does not begin with `train-` or `pretrain`,
    or the command has no such option (segmentation uses them all).
    """
    if not row.command.startswith(("train-", "pretrain")):
        what = f"'{row.command}' cannot be the command of task '{row.name}'"
        raise PluginError(what, expected="one that begins with train- or pretrain")
    if row.command in [other.command for name, other in _TABLE.registered.items() if name != row.name]:
        raise PluginError(
            f"task '{row.name}': there is a command '{row.command}' already", remedy="Give yours another command"
        )
    every = _TABLE.registered.get("segmentation", row)
    for command in ("predict", "evaluate", "report"):
        if unknown := set(row.options(command)) - set(every.options(command)):
            raise PluginError(
                f"'{min(unknown)}' is not an option of segcct {command}", expected=", ".join(every.options(command))
            )
    _TABLE.register(row.name, row)


def task_named(name: object, *, file: Path | None = None) -> TaskRow:
    """The row of the task that `file` names. Raises `ConfigError` for an unknown name."""
    if not isinstance(name, str) or name not in TASKS:
        raise ConfigError("names no task of this installation", file=file, found=name, expected=", ".join(TASKS))
    return TASKS[name]


def task_of(config: Experiment) -> TaskRow:
    """The row of the task that a configuration belongs to. Raises `ConfigError` where no task has its class."""
    for row in TASKS.values():
        if row.load_config() is type(config):
            return row
    raise ConfigError(
        "no task of this installation has this class of configuration",
        found=type(config).__name__,
        expected="that of a registered task (register_task)",
    )


for _row in (
    TaskRow(
        name="segmentation",
        command="train-seg",
        help="train a segmentation model (image to mask)",
        task="segcct.tasks.segmentation.segmentation_task:SegmentationTask",
        config="segcct.config.segmentation_config:SegmentationConfig",
        model="segcct.inference.predictor:Predictor",
        predict="segcct.tasks.segmentation.mask_commands:predict",
        predict_options=(
            *("--split", "--no-quality", "--format", "--keep-largest", "--no-postprocessing", "--probabilities"),
            *("--overwrite", "--continue", "--shard", "--max-failures", "--status", "--dry-run", "--engine"),
            *("--anonymize", "--protocol", "--generator"),
        ),
        evaluate="segcct.tasks.segmentation.mask_commands:evaluate",
        evaluate_options=(
            *("--scheme", "--convention", "--layout", "--against", "--tolerance", "--allow-unmatched"),
            *("--workers", "--max-failures", "--engine"),
        ),
        report="segcct.tasks.segmentation.mask_commands:report",
        report_options=("--picture", "--case", "--channel"),
        scores="segcct.evaluation.tables:public_scores",
        out_of_fold="segcct.tasks.segmentation.out_of_fold:evaluate_out_of_fold",
    ),
    TaskRow(
        name="classification",
        command="train-cls",
        help="train a classification model (image to class)",
        task="segcct.tasks.classification.classification_task:ClassificationTask",
        config="segcct.config.classification_config:ClassificationConfig",
        model="segcct.tasks.classification.classifier:Classifier",
        predict="segcct.tasks.classification.class_commands:predict",
        predict_options=("--split", "--overwrite"),
        evaluate="segcct.tasks.classification.class_commands:evaluate",
        evaluate_options=("--layout", "--allow-unmatched"),
        report="segcct.tasks.classification.class_commands:report",
        scores="segcct.tasks.classification.class_results:public_scores",
        out_of_fold="segcct.tasks.classification.class_folds:evaluate_out_of_fold",
        table="predictions.csv",
    ),
    TaskRow(
        name="reconstruction",
        command="train-m2i",
        help="train a generator (mask to image)",
        task="segcct.tasks.reconstruction.reconstruction_task:ReconstructionTask",
        config="segcct.config.reconstruction_config:ReconstructionConfig",
        model="segcct.inference.reconstructor:Reconstructor",
    ),
    TaskRow(
        name="pretraining",
        command="pretrain",
        help="pre-train an encoder on images without labels",
        task="segcct.tasks.pretraining.pretraining_task:PretrainingTask",
        config="segcct.config.pretraining_config:PretrainingConfig",
        model="segcct.tasks.pretraining.pretraining_task:PretrainedEncoder",
    ),
):
    register_task(_row)
