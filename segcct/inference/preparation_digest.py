"""A digest of what model.json says besides the weights: masks made before and after an edit of it are not alike."""

from __future__ import annotations

from pathlib import Path

from segcct.files.file_memo import key_of
from segcct.inference.ensemble import EnsembleCard
from segcct.model_card import ModelCard
from segcct.preparation.preparation_settings import Preparation


def preparation_digest(card: ModelCard) -> str:
    """Of all that decides, for the same images and weights, what the networks see and do and the values of the classes.

    Postprocessing is left out, since masks can be made without it. So are file patterns, and the code's version. Values
    that are the default are left out too, so that a key which a later version adds does not change the digest.
    """
    data = card.data_section(Path())
    networks = [each.architecture for each in (card.members if isinstance(card, EnsembleCard) else (card,))]
    preparation = {name: value for name, value in Preparation.of(data).to_json().items() if name != "intensity"}
    return key_of(
        # The order of members does not matter.
        sorted(key_of(network.model_dump(mode="json", exclude_defaults=True)) for network in networks),
        list(data.channels),
        preparation,
        data.intensity.model_dump(mode="json", exclude_defaults=True),
        list(card.classes.items()),
    )
