"""What made the masks of a folder, as predictions.json says it: a model, several models, or clusters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from segcct.datasets.label_schemes import Scheme
from segcct.inference.ensemble import EnsembleCard
from segcct.model_card import ModelCard


@dataclass(frozen=True)
class MaskSource:
    """What made masks; values are as JSON holds them."""

    scheme: Scheme
    """Of the masks."""
    architecture: Mapping[str, Any]
    """The name, sizes and options of the network, or of the method."""
    weights_sha256: str
    """Digest of the weights, or of all that masks without a model depend on besides their images."""
    task: str = "segmentation"
    synthetic: bool = False
    """Trained on generated images."""
    selected_on: Mapping[str, Any] = field(default_factory=dict)
    """Metric, value and epoch that chose the weights."""
    data_fingerprint: str = ""
    """Of the training cases."""
    members: Sequence[Mapping[str, Any]] | None = None
    """Digest, architecture and selection of each model of an ensemble."""
    patterns_are_names: bool = False
    """The patterns of channels were made from the names of the files that are read, as `--anonymize` must not say."""

    @classmethod
    def of(cls, card: ModelCard) -> Self:
        """A model, or an ensemble. Raises `CheckpointError` or `LabelError` where the card has no scheme."""
        members = [each.model_dump(mode="json") for each in card.members] if isinstance(card, EnsembleCard) else None
        return cls(
            card.label_scheme(),
            card.architecture.model_dump(mode="json"),
            card.weights_sha256,
            task=card.task,
            synthetic=card.synthetic,
            selected_on=card.selected_on,
            data_fingerprint=card.data_fingerprint,
            members=members,
        )
