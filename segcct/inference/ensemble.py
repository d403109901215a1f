"""Several models as one: the folders that they lie in, and the model card that stands for them all."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from segcct.errors import ModelError
from segcct.hub import local_model
from segcct.model_card import Architecture, ModelCard
from segcct.progress import say
from segcct.run_folder import FoldsFolder

Models = str | Path | Sequence[str | Path]
"""A `best/` folder, the folder of a cross-validation, `hf://OWNER/NAME`, or several of these."""


class Member(BaseModel):
    """One model of an ensemble, for predictions.json."""

    model_config = ConfigDict(frozen=True)
    weights_sha256: str
    architecture: Architecture
    selected_on: dict[str, Any]
    data_fingerprint: str


class EnsembleCard(ModelCard):
    """The card of several models: what they have in common; its `weights_sha256` is a digest over theirs."""

    members: tuple[Member, ...]


def splits_files(members: Iterable[Path]) -> list[Path]:
    """splits.json of the run of each model; a downloaded model has none."""
    return [member / ".." / "splits.json" for member in members]


def find_members(models: Models) -> tuple[Path, ...]:
    """The `best/` folders of some models; a cross-validation stands for those of its folds.

    Raises `RunError` where a fold is not trained yet, `HubError` where a model cannot be downloaded, and `ModelError`
    where a folder is named twice, or none at all.
    """
    paths = [models] if isinstance(models, str | Path) else models
    if not paths:
        raise ModelError("no model is named", expected="a best/ folder, or a list of them")
    members: list[Path] = []
    for path in map(local_model, paths):
        members += FoldsFolder.open(path).members() if FoldsFolder.is_at(path) else [path]
    places = [path.resolve() for path in members]
    if repeated := [path for path, place in zip(members, places, strict=True) if places.count(place) > 1]:
        raise ModelError("a member is named twice", file=repeated[0], remedy="Name every member of an ensemble once")
    return tuple(members)


def common_card(cards: Mapping[Path, ModelCard], interface: Callable[[ModelCard], Mapping[str, Any]]) -> ModelCard:
    """The card of one model as it is, or that of an ensemble.

    Args:
        cards: `best/` folder -> its card.
        interface: what has to be equal, so that one prepared case fits all networks and their outputs mean the same.

    Raises `ModelError` where a member does not fit the first one.
    """
    (folder, first), *others = cards.items()
    if not others:
        return first
    expected = interface(first)
    for other, card in others:
        found = interface(card)
        if different := [name for name in expected if found[name] != expected[name]]:
            raise ModelError(
                f"does not fit into an ensemble with {folder}: other {', '.join(different)}",
                file=other,
                found=found[different[0]],
                expected=expected[different[0]],
                remedy="Name models of one configuration, such as the folds of a cross-validation",
            )
    return _ensemble_card(list(cards.values()))


def _ensemble_card(cards: Sequence[ModelCard]) -> EnsembleCard:
    first = cards[0]
    scores = [card.selected_on.get("value") for card in cards]
    known = [float(score) for score in scores if isinstance(score, int | float)]
    fingerprints = sorted({card.data_fingerprint for card in cards})
    shared = {name: getattr(first, name) for name in ModelCard.model_fields}
    if any(card.postprocessing != first.postprocessing for card in cards):
        say("the members have different postprocessing, so none is applied; segcct tune-postprocessing chooses it")
        shared["postprocessing"] = ()
    return EnsembleCard.model_validate(
        shared
        | {
            "weights_sha256": _digest_of(card.weights_sha256 for card in cards),
            "data_fingerprint": fingerprints[0] if len(fingerprints) == 1 else _digest_of(fingerprints),
            "synthetic": any(card.synthetic for card in cards),
            "selected_on": {
                "metric": first.selected_on.get("metric"),
                "value": sum(known) / len(known) if len(known) == len(cards) else None,
                "members": len(cards),
            },
            "members": tuple(Member(**{name: getattr(card, name) for name in Member.model_fields}) for card in cards),
        }
    )


def _digest_of(digests: Iterable[str]) -> str:
    """A digest that does not depend on the order, as the mean of the members does not."""
    return hashlib.sha256("\n".join(sorted(digests)).encode()).hexdigest()
