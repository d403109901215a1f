"""Trained models from their `best/` folders: built as model.json says, with the weights of the folder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from segcct.datasets.label_schemes import Scheme
from segcct.errors import CheckpointError, LabelError, ModelError, is_out_of_memory, require_type, short_reason
from segcct.export.model_file import card_at, is_exported, read_exported
from segcct.hardware.devices import pick_device
from segcct.hardware.processor import limit_threads
from segcct.inference.ensemble import Models, common_card, find_members
from segcct.inference.ensemble_network import Ensemble
from segcct.inference.inference_choices import BackendName
from segcct.inference.inference_settings import InferenceSettings
from segcct.inference.mean_over_views import over_views
from segcct.model_card import CARD, WEIGHTS, Architecture, ModelCard, check_fit, load_weights
from segcct.preparation.preparation_settings import Preparation
from segcct.spark.spark_worker import received, task_device

_LARGE_IMAGE_PX, _MANY_CHANNELS, _MANY_CLASSES = 1024, 256, 2000
"""Above these, the network is compared with the weights before memory is allocated for it."""


class LoadedModel:
    """A trained network with all that is known about its input; a subclass is the predictor of a task.

    A model that was loaded is pickled as the paths of its folders and its settings, never as weights: another process
    loads it from there, once.

    Args:
        network: what the card describes; moved to the device.
        card: its model.json.
        how: batch size, precision, device.
    """

    task: str
    """The task, as `task` in model.json says."""
    noun: str
    """The name of such a model, with its article."""
    command: str
    """The command that trains one."""
    gives_probabilities = False
    """Its network gives logits over classes, so that probabilities can be averaged over networks or views."""
    adapts = False
    """It can be adapted to a case (`InferenceSettings.adapt`)."""

    generator: Path | None = None
    """Where another process finds the generator of `InferenceSettings.generator`."""

    def __init__(self, network: nn.Module, card: ModelCard, how: InferenceSettings | None = None) -> None:
        self.card = card
        self.how = how or InferenceSettings()
        if self.how.tta != "none" and not self.gives_probabilities:
            raise ModelError(f"test-time augmentation is not for {self.noun}", found=self.how.tta)
        if self.how.adapt != "none" and not self.adapts:
            raise ModelError(f"adaptation to a case is not for {self.noun}", found=self.how.adapt)
        self.network: Any = over_views(network, self.how.tta).to(pick_device(self.how.device)).eval()
        self.folders: tuple[Path, ...] = ()
        self.generator = self.how.generator

    def __reduce__(self) -> tuple[Any, ...]:
        if not self.folders:
            raise TypeError(f"{self.noun} that was not loaded from a folder cannot be sent to another process")
        how = self.how if self.generator is None else replace(self.how, generator=self.generator.absolute())
        return _loaded, (type(self), tuple(folder.absolute() for folder in self.folders), how)

    def relocate(self, folders: Iterable[Path], generator: Path | None) -> None:
        """Set where other processes find its folders and its generator, such as the copies that Spark sends them."""
        self.folders, self.generator = tuple(folders), generator

    @classmethod
    def load(cls, models: Models, how: InferenceSettings | None = None) -> Self:
        """The model of a `best/` folder, of an exported file or of `hf://OWNER/NAME`; of several, or of the folds of a
        cross-validation, their ensemble.

        Args:
            models: the folder, file or name, or a list of them.
            how: how the network runs; by default on a GPU if there is one, in the faster precision.

        Raises `RunError`, `CheckpointError`, `HubError`, or `ModelError` for another task's model or members that do
        not fit; `TypeError` where `how` is not an `InferenceSettings`.
        """
        require_type("how", how, InferenceSettings)
        cards = cls._cards(models)
        card = common_card(cards, cls.interface)
        how = how or default_settings(cards)
        networks = [cls.member_network(_network_of(folder, own, how), own, card) for folder, own in cards.items()]
        model = cls(networks[0] if len(networks) == 1 else Ensemble(networks), card, how)
        model.folders = tuple(cards)
        return model

    @classmethod
    def card_of(cls, models: Models) -> ModelCard:
        """The card that `load` gives the model, without its network. Raises as `load`."""
        return common_card(cls._cards(models), cls.interface)

    @classmethod
    def _cards(cls, models: Models) -> dict[Path, ModelCard]:
        cards = {folder: cls._card_of(folder) for folder in find_members(models)}
        if len(cards) > 1 and not cls.gives_probabilities:
            raise ModelError(f"{cls.noun} cannot be a member of an ensemble", found=f"{len(cards)} models")
        return cards

    @classmethod
    def _card_of(cls, folder: Path) -> ModelCard:
        card = card_at(folder)
        if card.task != cls.task:
            raise ModelError(
                f"is not {cls.noun}",
                file=folder,
                found=f"a model of task {card.task}",
                expected=f"the best/ folder of a segcct {cls.command} run",
            )
        cls.check_card(card, folder / CARD)
        return card

    @classmethod
    def interface(cls, card: ModelCard) -> dict[str, Any]:
        """What the members of an ensemble have in common: name -> value."""
        return {
            "classes": list(card.classes.items()),  # the network knows them by their order
            "image size": card.architecture.image_size,
            "dimensions": card.spatial_dims,
        }

    @classmethod
    def member_network(cls, network: nn.Module, own: ModelCard, common: ModelCard) -> nn.Module:  # noqa: ARG003 - for others
        """The network of a member, for input prepared as `common` says."""
        return network

    @classmethod
    def check_card(cls, card: ModelCard, file: Path) -> None:
        """Raises `CheckpointError` where the card lacks what the task needs; called before weights are read."""


def _loaded(kind: type[LoadedModel], folders: tuple[Path, ...], how: InferenceSettings) -> LoadedModel:
    """The model in this process, on the device of the task that runs in it now."""
    return _load_once(kind, folders, how, task_device(how.device))  # type: ignore[arg-type] # a class can be hashed


@cache
def _load_once(kind: type[LoadedModel], folders: tuple[Path, ...], how: InferenceSettings, device: str) -> LoadedModel:
    """The model in this process, with the precision that the first process chose."""
    limit_threads()
    generator = how.generator and received(how.generator)
    return kind.load([received(folder) for folder in folders], replace(how, device=device, generator=generator))


class VolumeModel(LoadedModel):
    """A model of slices of volumes, whose classes have a scheme."""

    def __init__(self, network: nn.Module, card: ModelCard, how: InferenceSettings | None = None) -> None:
        super().__init__(network, card, how)
        self.scheme: Scheme = card.label_scheme()
        self.data = card.data_section(Path())
        self.preparation = Preparation.of(self.data)

    @classmethod
    def check_card(cls, card: ModelCard, file: Path) -> None:
        """Raises `CheckpointError` unless the network has the classes of the scheme and the channels of the data."""
        try:
            data, scheme = card.data_section(Path()), card.label_scheme()
        except (CheckpointError, LabelError) as error:
            raise CheckpointError(error.what, file=file, found=error.found, expected=error.expected) from None
        check_fit(card, file, num_classes=scheme.num_classes, in_channels=len(data.channels))

    @classmethod
    def interface(cls, card: ModelCard) -> dict[str, Any]:
        """Also channels and preparation."""
        data = card.data_section(Path())
        preparation = {"preparation": Preparation.of(data).to_json()}
        return super().interface(card) | {"channels": list(data.channels)} | preparation


def default_settings(models: Iterable[Path]) -> InferenceSettings:
    """The default settings of some models."""
    return InferenceSettings(backend=default_backend(models))


def default_backend(models: Iterable[Path]) -> BackendName:
    """What runs some models by default: ONNX Runtime those that `segcct export` wrote, PyTorch others."""
    return "onnx" if all(map(is_exported, models)) else "torch"


def _network_of(folder: Path, card: ModelCard, how: InferenceSettings) -> nn.Module:
    """The network of a `best/` folder or an exported model, run by the backend that `how` names."""
    if is_exported(folder):
        from segcct.export.backends import backend_network

        return backend_network(how.backend, read_exported(folder), folder, how.precision)
    network = load_network(folder, card)
    if how.backend == "torch":
        return network
    from segcct.export.on_demand import ExportedOnDemand

    return ExportedOnDemand(network, card, folder, how.backend, how.precision)


def load_network(folder: Path, card: ModelCard) -> nn.Module:
    """Build the network of a card and load its weights.

    Args:
        folder: the `best/` folder.
        card: its model.json.

    Raises:
        CheckpointError: the weights are missing or damaged, the network cannot be built, or the two do not fit.
    """
    weights, sizes = load_weights(folder, card), card.architecture
    if sizes.image_size > _LARGE_IMAGE_PX or sizes.in_channels > _MANY_CHANNELS or sizes.num_classes > _MANY_CLASSES:
        with torch.device("meta"):
            _require_fit(_built(card.architecture, folder / CARD), weights, card, folder)
    network = _built(card.architecture, folder / CARD)
    _require_fit(network, weights, card, folder)
    network.load_state_dict(weights)
    return network


def _built(built: Architecture, file: Path) -> nn.Module:
    from segcct.models.zoo import create_model

    try:
        return create_model(built.name, built.in_channels, built.num_classes, built.image_size, built.options)
    except ModelError as error:
        raise CheckpointError(
            error.what, file=file, found=error.found, expected=error.expected, remedy=error.remedy
        ) from None
    except Exception as error:  # each network refuses sizes and options in its own way
        if is_out_of_memory(error):
            raise
        found = short_reason(error)
        raise CheckpointError(
            f"the network {built.name} cannot be built from model.json", file=file, found=found
        ) from error


def _require_fit(network: nn.Module, weights: Mapping[str, Tensor], card: ModelCard, folder: Path) -> None:
    """Raises `CheckpointError` unless the weights have the names and shapes of the network's."""
    expected = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    if found == expected:
        return
    missing, surplus = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
    other = [name for name in expected if name in found and expected[name] != found[name]]
    details = [
        f"{len(missing)} missing, such as {missing[0]}" if missing else "",
        f"{len(surplus)} too many, such as {surplus[0]}" if surplus else "",
        f"{other[0]} of shape {found[other[0]]}, not {expected[other[0]]}" if other else "",
    ]
    raise CheckpointError(
        f"weights do not fit the {card.architecture.name} of this version that model.json describes",
        file=folder / WEIGHTS,
        found="; ".join(detail for detail in details if detail),
        remedy="Copy the best/ folder again, whole, or train it again",
    )
